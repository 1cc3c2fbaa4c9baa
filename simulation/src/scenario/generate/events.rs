//! Faults that have their time: partitions, storms, pauses, clocks that jump, clients that change their minds.

use super::{SECOND, Small};
use crate::random::Stream;
use crate::scenario::{Client, Filter, Operation, What};

/// Adds what a class of faults brings, for these clients until the end.
type Class = fn(&mut Small, &mut Stream, &[Client], u64, &mut List);

/// Operations that are being gathered.
type List = Vec<Operation>;

fn add(list: &mut List, at: u64, client: usize, what: What) {
    list.push(Operation { at, client, what });
}

fn one_of(clients: &[Client], stream: &mut Stream) -> usize {
    usize::try_from(stream.below(clients.len() as u64)).unwrap_or(0)
}

fn shuffled(mut places: Vec<usize>, stream: &mut Stream) -> Vec<usize> {
    let mut order = Vec::new();
    while !places.is_empty() {
        let at = usize::try_from(stream.below(places.len() as u64)).unwrap_or(0);
        order.push(places.swap_remove(at));
    }
    order
}

impl Small {
    pub(super) fn events(&mut self, clients: &[Client], end: u64) -> List {
        let mut list = List::new();
        let classes: [(&'static str, Class); 12] = [
            ("N06", |_, stream, clients, end, list| swizzle(stream, clients, end, list)),
            ("N08", |_, stream, clients, end, list| ends(stream, clients, end, list)),
            ("N10", |_, stream, clients, end, list| partition(stream, clients, end, list)),
            ("N11", |_, stream, clients, end, list| duplicates(stream, clients, end, list)),
            ("N12", |_, stream, clients, end, list| storm(stream, clients, end, list)),
            ("T01", |_, stream, clients, end, list| wall_clock(stream, clients, end, list)),
            ("T03", |_, stream, clients, end, list| pauses(stream, clients, end, list)),
            ("C03", |_, stream, clients, end, list| repeats(stream, clients, end, list)),
            ("C06", Self::flapping),
            ("C08", |_, stream, clients, end, list| at_odds(stream, clients, end, list)),
            ("C09", |_, stream, clients, end, list| just_in_time(stream, clients, end, list)),
            ("C11", Self::own_wills),
        ];
        for (class, what) in classes {
            if let Some(mut stream) = self.class(class) {
                what(self, &mut stream, clients, end, &mut list);
            }
        }
        list
    }

    /// Subscribes and unsubscribes, with options that change, while messages come.
    fn flapping(&mut self, stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
        let client = one_of(clients, stream);
        let new = clients[client].version == 5;
        let filter = (*stream.pick(&self.filters)).to_owned();
        let (mut at, pause) = (stream.below(end), stream.by_magnitude(10_000, SECOND));
        for _ in 0..stream.by_magnitude(4, 40) {
            let what = match stream.below(4) {
                0 => What::Unsubscribe(filter.clone()),
                1 => What::Publish(self.message(new)),
                _ => {
                    What::Subscribe(vec![Filter { filter: filter.clone(), ..self.filter_like(new, &filter) }])
                }
            };
            add(list, at, client, what);
            at += pause;
        }
    }

    fn filter_like(&mut self, new: bool, filter: &str) -> Filter {
        let options = self.filter(new);
        Filter { no_local: options.no_local && !filter.starts_with("$share"), ..options }
    }

    /// Everybody subscribes to where everybody's will goes.
    fn own_wills(&mut self, _: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
        for client in 0..clients.len() {
            let options = self.filter_like(false, "");
            let filter = Filter { filter: self.topics[0].to_owned(), ..options };
            add(list, end / 4, client, What::Subscribe(vec![filter]));
        }
    }
}

/// Clients are cut off one by one, and come back in another order.
fn swizzle(stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
    let start = stream.below(end);
    let everybody: Vec<usize> = (0..clients.len()).collect();
    for (number, client) in shuffled(everybody.clone(), stream).into_iter().enumerate() {
        add(list, start + number as u64 * SECOND / 2, client, What::Hold { up: true, down: true });
    }
    let back = start + stream.by_magnitude(8 * SECOND, 30 * SECOND);
    for (number, client) in shuffled(everybody, stream).into_iter().enumerate() {
        add(list, back + number as u64 * SECOND / 2, client, What::Release);
    }
}

fn ends(stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
    for _ in 0..stream.by_magnitude(1, 8) {
        let what = stream.pick(&[What::EndMidPacket, What::HalfClose]).clone();
        add(list, stream.below(end), one_of(clients, stream), what);
    }
}

/// A group, or one alone, is cut off from the broker, in one direction or in both.
fn partition(stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
    for _ in 0..stream.by_magnitude(1, 4) {
        let start = stream.below(end);
        let back = start + stream.by_magnitude(SECOND / 10, 60 * SECOND);
        let (up, down) = *stream.pick(&[(true, true), (true, false), (false, true)]);
        let alone = stream.chance(300).then(|| one_of(clients, stream));
        for client in 0..clients.len() {
            if alone.map_or_else(|| stream.chance(500), |alone| alone == client) {
                add(list, start, client, What::Hold { up, down });
                add(list, back, client, What::Release);
            }
        }
    }
}

fn duplicates(stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
    for _ in 0..stream.by_magnitude(1, 4) {
        let count = u8::try_from(stream.by_magnitude(2, 50)).unwrap_or(2);
        add(list, stream.below(end), one_of(clients, stream), What::ConnectMany(count));
    }
}

/// Most clients lose their connections in one moment and come back at once, together, or each in its time.
fn storm(stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
    let at = stream.below(end);
    let share = stream.between(500, 1000);
    let back_off = *stream.pick(&[0, SECOND, 5 * SECOND]);
    let jitter = *stream.pick(&[0, SECOND]);
    for client in 0..clients.len() {
        if stream.chance(u32::try_from(share).unwrap_or(1000)) {
            add(list, at, client, What::Cut);
            add(list, at + back_off + stream.below(jitter + 1), client, What::Connect);
        }
    }
}

fn wall_clock(stream: &mut Stream, _: &[Client], end: u64, list: &mut List) {
    const TEN_YEARS: u64 = 10 * 365 * 86_400 * 1000;
    for _ in 0..stream.by_magnitude(1, 8) {
        let step = i64::try_from(stream.by_magnitude(1, TEN_YEARS)).unwrap_or(1);
        let step = if stream.chance(500) { step } else { -step };
        add(list, stream.below(end), 0, What::WallClock(step));
    }
}

fn pauses(stream: &mut Stream, _: &[Client], end: u64, list: &mut List) {
    for _ in 0..stream.between(1, 3) {
        let pause = stream.by_magnitude(SECOND, 7200 * SECOND);
        add(list, stream.below(end), 0, What::Pause(pause));
    }
}

fn repeats(stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
    for _ in 0..stream.by_magnitude(4, 40) {
        let what = stream.pick(&[What::Repeat, What::RepeatAsNew]).clone();
        add(list, stream.below(end), one_of(clients, stream), what);
    }
}

/// Those who share an identifier take the session from each other again and again.
fn at_odds(stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
    let one = one_of(clients, stream);
    let owners: Vec<usize> =
        (0..clients.len()).filter(|other| clients[*other].id == clients[one].id).collect();
    let (mut at, pause) = (stream.below(end), stream.by_magnitude(1000, 2 * SECOND));
    for round in 0..usize::try_from(stream.by_magnitude(4, 30)).unwrap_or(4) {
        let what = if owners.len() > 1 { What::Connect } else { What::ConnectMany(2) };
        add(list, at, owners[round % owners.len()], what);
        at += pause;
    }
}

/// A session whose client comes back just before it ends, or just after.
fn just_in_time(stream: &mut Stream, clients: &[Client], end: u64, list: &mut List) {
    for _ in 0..stream.between(2, 8) {
        let client = one_of(clients, stream);
        let mut at = stream.below(end);
        let (at_first, at_last) = (*stream.pick(&[1, 3, 10]), *stream.pick(&[1, 2, 10]));
        add(list, at, client, What::ConnectFor(at_first));
        at += 5 * SECOND;
        let new = clients[client].version == 5;
        let says = (new && stream.chance(500)).then_some(at_last);
        add(list, at, client, What::Disconnect { with_will: new && stream.chance(500), expiry: says });
        let life = u64::from(says.unwrap_or(at_first)) * SECOND;
        let back = at + life + stream.below(3);
        add(list, back - 1, client, What::ConnectFor(at_first));
    }
}
