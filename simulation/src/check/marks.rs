//! Things that a campaign must have seen at least once, faults among them: a world where they never happen shows
//! nothing about them.

use mqtt_proto::ReasonCode;
use std::collections::BTreeMap;

/// Everything that is worth seeing.
pub const MARKS: [&str; 111] = [
    "a batch that was kept when the process ended in the midst of it",
    "a client back just before its session ended",
    "a client back just behind the end of its session",
    "a client goes on with what was unfinished",
    "a client refused for want of room",
    "a client that does not read is closed",
    "a client that authenticates again",
    "a client that is not let in",
    "a client that is not read for a while",
    "a client that is refused when it authenticates again",
    "a client's packet identifiers begin again at 1",
    "a client's topic alias used",
    "a connection ended between PUBLISH and PUBACK",
    "a connection ended between PUBLISH and PUBREC",
    "a connection ended between PUBREC and PUBREL",
    "a connection ended between PUBREL and PUBCOMP",
    "a connection is refused",
    "a connection that breaks",
    "a connection that breaks and the broker is not told",
    "a connection that ended before its CONNECT",
    "a filter subscribed to again at once",
    "a filter refused that reaches too far",
    "a keep-alive that ran out",
    "a long identifier in 3.1",
    "a Maximum Packet Size below CONNACK",
    "a member of a shared group gone with messages in flight",
    "a message between two versions",
    "a message or will that is not offered",
    "a message discarded by a hook",
    "a message dropped: expired",
    "a message dropped: not to be read any more",
    "a message dropped: packet too large",
    "a message dropped: QoS 0 for a client that is away",
    "a message dropped: QoS 0 for a slow reader",
    "a message dropped: queue full",
    "a message dropped: queue full in bytes",
    "a message expired in the queue of a client that is there",
    "a message expired while its client was away",
    "a message for a hundred subscriptions of one client",
    "a message of the broker itself",
    "a message refused by its receiver",
    "a message refused by the broker",
    "a message replaced by a hook",
    "a message sent again behind its expiry",
    "a message that was acknowledged comes again",
    "a message to a shared subscription",
    "a packet larger than the broker takes",
    "a packet sent again",
    "a QoS 2 message repeated as if it were new",
    "a QoS 2 message repeated on its connection",
    "a question that nobody answers",
    "a queue full behind messages in flight",
    "a PROXY header in front of MQTT",
    "a quota of one used up",
    "a quota used up",
    "a quota used up while a PUBREL waits",
    "a Receive Maximum of 65,535",
    "a retained message cleared while others were on their way",
    "a retained message to a new subscription",
    "a second CONNECT on a connection",
    "a session goes on",
    "a session taken over",
    "a session taken over between PUBREC and PUBREL",
    "a session taken over where no more clients are let in",
    "a session taken over with messages in flight",
    "a session that ended",
    "a session that never expires",
    "a shared message handed on to another member",
    "a socket that is full",
    "a subscription by the operator",
    "a subscription refused",
    "a subscription that is not offered",
    "a subscription replaced",
    "a thousand filters in one packet",
    "a Topic Alias Maximum of 65,535",
    "a topic alias used",
    "a will",
    "a will cancelled shortly before it was due",
    "a will sent because its session ended before its delay",
    "a will with a delay",
    "acknowledgements out of order",
    "an acknowledgement for nothing",
    "an answer about a message of a connection that ended",
    "an answer after its connection ended",
    "an end of a subscription refused",
    "an engine from an earlier snapshot",
    "an engine from its snapshot",
    "an identifier in use in both directions",
    "an identifier longer than the broker takes",
    "an oversized message in front of others",
    "bytes held up for long",
    "bytes that mean nothing",
    "clients cut off one by one come back in another order",
    "CONNECT and more at once",
    "DISCONNECT by the operator",
    "DISCONNECT for a breach of the protocol",
    "DISCONNECT for a malformed packet",
    "DISCONNECT for too many messages at once",
    "DISCONNECT that leaves the will due",
    "DISCONNECT with another expiry",
    "more filters or user properties than a packet may have",
    "MQTT in WebSocket frames",
    "packet identifiers begin again at 1",
    "PUBREC for nothing",
    "PUBREC two times",
    "PUBREL for nothing",
    "PUBREL sent again",
    "several messages of a client that are asked about at once",
    "SUBSCRIBE and PUBLISH in one chunk",
    "the end of a connection discards what was sent last",
    "UNSUBSCRIBE with messages in flight",
];

/// Every class of fault that can happen here, by its place in the catalogue: network, time, clients, hostile bytes, hooks,
/// store, process. New ones come behind these, as a fuzzer's bytes belong to a class by its place.
pub const FAULTS: [(&str, &str); 58] = [
    ("N01", "everything arrives byte by byte"),
    ("N02", "what is sent at once arrives in pieces"),
    ("N03", "something takes up to a minute"),
    ("N04", "there is little bandwidth"),
    ("N05", "a socket takes only a part"),
    ("N06", "bytes are held up for long; clients are cut off one by one and come back in another order"),
    ("N07", "a connection breaks and the broker is not told"),
    ("N08", "a client ends in the middle of a packet, or ends its own direction and reads on"),
    ("N09", "a connection breaks at any byte; its end discards what was sent last"),
    ("N10", "clients are cut off together, or one alone, in one direction or in both"),
    ("N11", "a client connects many times at once"),
    ("N12", "most clients lose their connections in one moment"),
    ("N13", "a client comes from another address, or behind a PROXY header that is none"),
    ("N14", "more clients come than may be there"),
    ("N15", "bytes come behind the broker's close"),
    ("T01", "the wall clock jumps"),
    ("T02", "a client's clock goes wrong"),
    ("T03", "the world stands still for up to two hours"),
    ("T04", "a timer is late, comes twice, or not at all"),
    ("T05", "time is near a limit of what it is counted in"),
    ("C01", "a client reads slowly, or stops"),
    ("C02", "a client acknowledges late, never, in reverse, twice, with an error, or what never came"),
    ("C03", "PUBREL or PUBCOMP never comes, a QoS 2 message comes again"),
    ("C04", "a connection ends between two steps of QoS 1 or 2"),
    ("C05", "a client's limits are at their ends"),
    ("C06", "a client subscribes and unsubscribes again and again"),
    ("C07", "thousands of filters overlap"),
    ("C08", "clients take a session from each other again and again"),
    ("C09", "CONNECT or DISCONNECT changes the session's expiry"),
    ("C10", "a connection says nothing, or CONNECT byte by byte"),
    ("C11", "everybody's will goes to everybody"),
    ("C12", "clients of different versions talk"),
    ("M01", "bits and bytes are changed"),
    ("M02", "a length is not that of what follows"),
    ("M03", "properties that may not be there"),
    ("M04", "text that is none"),
    ("M05", "a packet that is not for this state"),
    ("M06", "reserved bits"),
    ("M07", "two sessions in one stream"),
    ("M08", "what brokers have stumbled over before"),
    ("M09", "WebSocket as no client speaks it"),
    ("M11", "another protocol"),
    ("H01", "a question is answered late"),
    ("H02", "a question is not answered, or twice, or too late, or nobody asked it"),
    ("H03", "an answer changes what was asked for"),
    ("H05", "who answers ends connections, publishes, subscribes, or changes what a client may"),
    ("S01", "the store takes its time"),
    ("S02", "the store fails"),
    (
        "P01",
        "the process ends without a word; another has a snapshot of that moment or before, the store, or nothing",
    ),
    (
        "P02",
        "the broker is shut down, told so again, and goes on from its snapshot, the store, or with nothing",
    ),
    ("P03", "memory is short"),
    ("P04", "no socket takes anything"),
    ("H04", "what a client may publish and read changes"),
    ("S03", "another process begins from what the store had kept when the one before ended"),
    ("S04", "records of the store are damaged, gone, there twice, or of an unknown kind"),
    ("S05", "a process ends as soon as it has begun from the store"),
    ("S06", "the store has no room for a while"),
    ("S07", "another process has other limits"),
];

/// States in which a packet of each type must have come.
pub const STATES: [&str; 4] = ["before CONNECT", "before CONNACK", "connected", "closing"];

/// What was seen, and how often.
#[derive(Clone, Debug)]
pub struct Marks {
    seen: BTreeMap<&'static str, u64>,
    faults: [u64; FAULTS.len()],
    /// Packets by state and type.
    cells: [[u64; 16]; STATES.len()],
}

impl Default for Marks {
    fn default() -> Self {
        Self { seen: BTreeMap::new(), faults: [0; FAULTS.len()], cells: [[0; 16]; STATES.len()] }
    }
}

fn place(class: &str) -> Option<usize> {
    FAULTS.iter().position(|(known, _)| *known == class)
}

impl Marks {
    pub(crate) fn hit(&mut self, mark: &'static str) {
        debug_assert!(MARKS.contains(&mark), "{mark:?} is in the list");
        *self.seen.entry(mark).or_default() += 1;
    }

    /// A fault of a class has happened.
    pub(crate) fn fault(&mut self, class: &'static str) {
        debug_assert!(place(class).is_some(), "{class} is in the list");
        if let Some(place) = place(class) {
            self.faults[place] += 1;
        }
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.seen {
            *self.seen.entry(mark).or_default() += count;
        }
        for (mine, theirs) in self.faults.iter_mut().zip(other.faults) {
            *mine += theirs;
        }
        for (mine, theirs) in self.cells.iter_mut().flatten().zip(other.cells.iter().flatten()) {
            *mine += theirs;
        }
    }

    /// Somebody has asked for what is not offered.
    pub(crate) fn refused(&mut self, breach: ReasonCode) {
        self.hit(match breach {
            ReasonCode::PacketTooLarge => "a packet larger than the broker takes",
            ReasonCode::QuotaExceeded => "more filters or user properties than a packet may have",
            ReasonCode::ClientIdNotValid => "an identifier longer than the broker takes",
            ReasonCode::SharedSubscriptionsNotSupported
            | ReasonCode::SubscriptionIdsNotSupported
            | ReasonCode::WildcardSubscriptionsNotSupported => "a subscription that is not offered",
            _ => "a message or will that is not offered",
        });
    }

    /// A packet with this first byte has come in a state.
    pub(crate) fn packet(&mut self, state: usize, first: u8) {
        self.cells[state][usize::from(first >> 4)] += 1;
    }

    /// How often a mark was seen.
    pub fn count(&self, mark: &str) -> u64 {
        self.seen.get(mark).copied().unwrap_or_default()
    }

    /// How often faults happened, in the order of [`FAULTS`].
    pub fn faults(&self) -> [u64; FAULTS.len()] {
        self.faults
    }

    /// How often a fault of a class has happened.
    pub fn fault_count(&self, class: &str) -> u64 {
        place(class).map_or(0, |place| self.faults[place])
    }

    /// What was never seen, faults by their class.
    pub fn missing(&self) -> Vec<String> {
        let marks = MARKS.into_iter().filter(|mark| self.count(mark) == 0).map(str::to_owned);
        let faults = FAULTS.iter().zip(self.faults).filter(|(_, count)| *count == 0);
        let cells = STATES.iter().zip(&self.cells).flat_map(|(state, types)| {
            let never = types.iter().enumerate().filter(|(_, count)| **count == 0);
            never.map(move |(kind, _)| format!("a packet of type {kind} {state}"))
        });
        marks.chain(faults.map(|((class, _), _)| (*class).to_owned())).chain(cells).collect()
    }
}
