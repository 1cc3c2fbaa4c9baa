//! Topic names and filters in the words of the standard, level by level.

use arbitrary::{Arbitrary, Unstructured};
use mqtt_proto::{TopicFilter, TopicName};

/// Two texts with a line feed between them: a topic filter and a topic name.
pub fn topics(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (filter, name) = text.split_once('\n').unwrap_or((text, text));
    let parsed_name = TopicName::parse(name);
    assert_eq!(parsed_name.is_ok(), is_name(name), "{name:?}");
    let parsed = TopicFilter::parse(filter);
    assert_eq!(parsed.ok().map(|filter| (filter.share(), filter.filter())), parts(filter), "{filter:?}");
    if let (Ok(filter), Ok(name)) = (parsed, parsed_name) {
        let wanted = reaches(filter.filter(), name.as_str());
        assert_eq!(filter.matches(name), wanted, "{filter:?} {name:?}");
    }
}

fn is_sound(text: &str) -> bool {
    !text.is_empty() && text.len() <= 65_535 && !text.contains('\0')
}

fn is_name(text: &str) -> bool {
    is_sound(text) && !text.contains(['+', '#'])
}

/// Share name and filter, if the text is a topic filter.
fn parts(text: &str) -> Option<(Option<&str>, &str)> {
    let (share, filter) = match text.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').map(|(name, filter)| (Some(name), filter))?,
        None => (None, text),
    };
    let share_is_good = share.is_none_or(|name| !name.is_empty() && !name.contains(['+', '#']));
    let levels: Vec<&str> = filter.split('/').collect();
    let wildcards_are_good = levels.iter().enumerate().all(|(at, level)| match *level {
        "#" => at + 1 == levels.len(),
        "+" => true,
        other => !other.contains(['+', '#']),
    });
    (is_sound(text) && share_is_good && !filter.is_empty() && wildcards_are_good).then_some((share, filter))
}

/// Does a filter, without its `$share` part, reach a topic?
pub(crate) fn reaches(filter: &str, name: &str) -> bool {
    fn levels(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            // "sport/#" also matches the parent level.
            ([], []) | (["#"], _) => true,
            (["+", filter @ ..], [_, name @ ..]) => levels(filter, name),
            ([wanted, filter @ ..], [level, name @ ..]) => wanted == level && levels(filter, name),
            _ => false,
        }
    }
    let hidden = name.starts_with('$') && filter.starts_with(['+', '#']);
    let (filter, name): (Vec<_>, Vec<_>) = (filter.split('/').collect(), name.split('/').collect());
    !hidden && levels(&filter, &name)
}

/// A short topic name of few letters, so that filters match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) String);

/// A short topic filter without `$share` part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Filter(pub(crate) String);

const LEVELS: [&str; 6] = ["a", "b", "ab", "", "$x", "a!"];

impl<'a> Arbitrary<'a> for Name {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let count = u.int_in_range(1..=4)?;
        let levels: Vec<&str> = (0..count).map(|_| u.choose(&LEVELS).copied()).collect::<Result<_, _>>()?;
        let text = levels.join("/");
        Ok(Self(if text.is_empty() { "a".to_owned() } else { text }))
    }
}

impl<'a> Arbitrary<'a> for Filter {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let name = Name::arbitrary(u)?;
        let wild = u8::arbitrary(u)?;
        let mut levels: Vec<&str> = name.0.split('/').collect();
        for (at, level) in levels.iter_mut().enumerate() {
            if wild >> at & 1 != 0 {
                *level = "+";
            }
        }
        if wild & 0x10 != 0 {
            levels.push("#");
        }
        if wild & 0x20 != 0 {
            levels = vec!["#"];
        }
        Ok(Self(levels.join("/")))
    }
}
