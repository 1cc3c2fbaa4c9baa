use super::{Matching, RetainedStore, ScanStep, SubscriptionIndex};
use crate::collections::HashKey;
use alloc::{collections::BTreeMap, format, string::String, string::ToString, vec, vec::Vec};
use mqtt_proto::{TopicFilter, TopicName, matches};
use proptest::prelude::*;

fn topic() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "ab", "", "$x", "a!"]);
    prop::collection::vec(level, 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a name", |t| TopicName::parse(t).is_ok())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "ab", "", "$x", "+", "+", "#"]);
    prop::collection::vec(level, 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a filter", |t| TopicFilter::parse(t).is_ok())
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(String, Option<u8>),
    Unsubscribe(usize),
    Match(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (filter(), prop::option::of(0..3_u8)).prop_map(|(f, group)| Step::Subscribe(f, group)),
        any::<usize>().prop_map(Step::Unsubscribe),
        topic().prop_map(Step::Match),
    ]
}

/// A topic filter and perhaps a share name.
type Place = (&'static str, Option<&'static str>);

fn place() -> impl Strategy<Value = Place> {
    (prop::sample::select(vec!["a", "b"]), prop::option::of(prop::sample::select(vec!["g", "h", "i"])))
}

proptest! {
    /// The index finds what a linear search finds, whatever came before and whatever the cache remembers.
    #[test]
    fn index_agrees_with_the_definition(steps in prop::collection::vec(step(), 1..60), key: [u64; 2]) {
        let mut index = SubscriptionIndex::new(HashKey(key), 4);
        let mut model = BTreeMap::new();
        let mut next = 0_u32;
        for step in steps {
            match step {
                Step::Subscribe(filter, group) => {
                    let group = group.map(|group| format!("g{group}"));
                    let at = index.subscribe(&filter, group.as_deref(), next);
                    model.insert(next, (filter, group, at));
                    next += 1;
                }
                Step::Unsubscribe(which) => {
                    let Some(entry) = model.keys().nth(which % (model.len() + 1)).copied() else { continue };
                    let (_, _, at) = model.remove(&entry).unwrap();
                    prop_assert_eq!(index.entry_mut(at).copied(), Some(entry));
                    if let Some((moved, at)) = index.unsubscribe(at).unwrap().moved {
                        model.get_mut(&moved).unwrap().2 = at;
                    }
                }
                Step::Match(topic) => {
                    let (mut matching, mut found) = (Matching::default(), Vec::new());
                    prop_assert!(index.matches(&topic, &mut matching, &mut u32::MAX.clone()));
                    for filter in matching.filters {
                        let filter = index.filter(filter).unwrap();
                        found.extend(filter.plain.iter().copied());
                        for group in filter.groups.clone() {
                            found.extend(index.group_mut(group).unwrap().members.iter().copied());
                        }
                    }
                    found.sort_unstable();
                    let wanted: Vec<u32> =
                        model.iter().filter(|(_, (f, ..))| matches(f, &topic)).map(|(entry, _)| *entry).collect();
                    prop_assert_eq!(found, wanted);
                }
            }
        }
        while let Some((_, (_, _, at))) = model.pop_first() {
            if let Some((moved, at)) = index.unsubscribe(at).unwrap().moved {
                model.get_mut(&moved).unwrap().2 = at;
            }
        }
        prop_assert_eq!((index.entries(), index.sizes()), (0, (0, 0)));
    }

    /// Whoever comes, goes and changes meanwhile, also the filter with its last subscriber: who is watched is who was
    /// there at the moment. When that is forgotten, who is here is seen again.
    #[test]
    fn who_is_watched_stays(
        before in prop::collection::vec(place(), 1..20),
        changes in prop::collection::vec((0..3_u8, place(), any::<prop::sample::Index>()), 0..60),
    ) {
        let mut index = SubscriptionIndex::new(HashKey([1, 2]), 4);
        let add = |index: &mut SubscriptionIndex<u32>, (filter, group): Place, entry| {
            (entry, index.subscribe(filter, group, entry))
        };
        let mut here: Vec<_> = (0..).zip(before).map(|(entry, place)| add(&mut index, place, entry)).collect();
        let filters = ["a", "b"].map(|topic| {
            let mut matching = Matching::default();
            index.matches(topic, &mut matching, &mut u32::MAX.clone());
            matching.filters.pop()
        });
        let seen = |index: &SubscriptionIndex<u32>| {
            filters.iter().flatten().map(|filter| {
                let mut subscribers = Vec::with_capacity(100);
                index.subscribers(*filter, 0, &mut subscribers);
                let groups = (0..).map_while(|position| index.group(*filter, position));
                (index.crowd(*filter), subscribers, groups.collect::<Vec<_>>())
            }).collect::<Vec<_>>()
        };
        let then = seen(&index);
        index.watch();
        for (number, (change, place, which)) in (1000..).zip(changes) {
            match change {
                0 => here.push(add(&mut index, place, number)),
                _ if here.is_empty() => {}
                1 => {
                    let at = which.index(here.len());
                    here[at].0 = number;
                    *index.entry_mut(here[at].1).unwrap() = number;
                }
                _ => {
                    let (_, at) = here.swap_remove(which.index(here.len()));
                    if let Some((moved, at)) = index.unsubscribe(at).unwrap().moved {
                        here.iter_mut().find(|(entry, _)| *entry == moved).unwrap().1 = at;
                    }
                }
            }
        }
        prop_assert_eq!(seen(&index), then);
        while index.forget_change() {}
        prop_assert_eq!(index.watched_bytes(), 0);
        for (id, (count, subscribers, groups)) in filters.iter().flatten().zip(seen(&index)) {
            let filter = index.filter(*id);
            prop_assert_eq!(filter.map_or(0, |filter| filter.plain.len()), count as usize);
            prop_assert_eq!(filter.map_or(&[][..], |filter| &filter.plain), subscribers);
            prop_assert_eq!(filter.map_or(&[][..], |filter| &filter.groups), groups);
        }
    }

    /// A paged scan finds each matching topic once, in order, also with the smallest page.
    #[test]
    fn retained_scan_agrees_with_the_definition(
        topics in prop::collection::btree_set(topic(), 0..40),
        filter in filter(),
        page in 1..4_u32,
    ) {
        let mut store = RetainedStore::default();
        for topic in &topics {
            store.insert(topic, topic.clone());
        }
        let (mut found, mut after, mut budget) = (Vec::new(), None, page);
        loop {
            match store.scan(&filter, after.as_ref(), &mut budget) {
                ScanStep::Found(key, value) => {
                    prop_assert_eq!(&key.topic(), value);
                    found.push(value.clone());
                    after = Some(key.clone());
                }
                ScanStep::OutOfBudget(key) => {
                    after = key.or(after);
                    budget = page;
                }
                ScanStep::Done => break,
            }
        }
        let mut wanted: Vec<String> = topics.iter().filter(|t| matches(&filter, t)).map(ToString::to_string).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        prop_assert_eq!(found, wanted);
    }
}
