//! Recordings of real brokers, played again in the engine alone: what happened happens again, and can be stopped, traced
//! and made smaller.
//!
//! * `packets` — the packets in the bytes of many connections
//! * `shrink` — the shortest recording that still fails

mod packets;
mod shrink;

pub use shrink::{Shrunk, shrink, shrink_by};

use crate::trace::seconds;
use broker_engine::{Engine, HashKey, Input, Outbox, Time, Wire};
use metronome_host::recording::{Digest, Entry, Segment, SegmentError, segments_of};
use packets::Packets;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// How to play.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Tell every input and every packet.
    pub trace: bool,
    /// Stop before the input of this number, counted from 0 as in the recording.
    pub stop_at: Option<u64>,
}

/// What did not go as it was recorded, or should not have happened then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The engine panicked, with these words.
    Panic(String),
    /// The engine contradicts itself: see [`broker_engine::View::verify`].
    Inconsistent(&'static str),
    /// The engine said something else than when it was recorded.
    Differs,
    /// The snapshot that begins a segment is another state than the one the segment before ends in.
    OtherState,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(words) => write!(f, "the engine panics: {words}"),
            Self::Inconsistent(what) => write!(f, "the engine contradicts itself: {what}"),
            Self::Differs => {
                f.write_str("the outputs since the last digest are others than in the recording")
            }
            Self::OtherState => f.write_str("the state is another than the snapshot of the next segment"),
        }
    }
}

/// What playing came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Inputs that were played.
    pub inputs: u64,
    /// Digests that were equal.
    pub digests: u64,
    /// Snapshots of later segments that were equal to the state.
    pub snapshots: u64,
    /// Time between first and last input, microseconds.
    pub time: u64,
    /// The first segment that cannot be read to its end, and the byte behind which. Nothing is played behind it.
    pub torn: Option<(u64, usize)>,
    /// Number of the input after which it failed, and how.
    pub failure: Option<(u64, Failure)>,
    /// Lines for a person.
    pub trace: Vec<String>,
}

/// A recording that was read.
#[derive(Debug)]
pub struct Recording {
    /// Its segments, oldest first.
    pub segments: Vec<Segment>,
    /// What is wrong with the last one, which is left out then: a broker that was killed may have just begun it.
    pub left_out: Option<String>,
}

/// Reads all segments of a recording that are there.
///
/// # Errors
/// There are none, or one of them is none, unless it is the last of several; says which.
pub fn read(path: &Path) -> Result<Recording, String> {
    let named = |path: &Path, error: SegmentError| format!("{}: {error}", path.display());
    let paths = segments_of(path).map_err(|error| named(path, error))?;
    let (mut segments, mut left_out) = (Vec::new(), None);
    for (number, path) in (1..).zip(&paths) {
        match Segment::open(path) {
            Ok(segment) => segments.push(segment),
            Err(error) if number == paths.len() && number > 1 => left_out = Some(named(path, error)),
            Err(error) => return Err(named(path, error)),
        }
    }
    Ok(Recording { segments, left_out })
}

/// Plays segments of one recording, oldest first.
///
/// # Errors
/// A snapshot was written by another version of the engine.
pub fn play(segments: &[Segment], options: Options) -> Result<Report, String> {
    let mut report = Report::default();
    // Number of inputs, state and time at the end of the segment before.
    let mut end: Option<(u64, Vec<u8>, Option<Time>)> = None;
    for segment in segments {
        let before = segment.header.inputs_before;
        let mut last = None;
        if let Some((_, state, time)) = end.take().filter(|(inputs, ..)| *inputs == before) {
            if state != segment.snapshot() {
                report.failure = Some((before, Failure::OtherState));
                return Ok(report);
            }
            report.snapshots += 1;
            last = time;
        }
        let engine = Engine::restore(segment.snapshot(), HashKey([1, 2]));
        let engine = engine.map_err(|error| {
            format!("segment {} of version {}: {error}", segment.header.segment, segment.header.version)
        })?;
        let mut player = Player::new(engine, segment, last, options, &mut report);
        if !player.play(segment) {
            break;
        }
        end = Some((player.number, player.engine.snapshot(), player.last));
    }
    Ok(report)
}

struct Player<'r> {
    engine: Engine,
    digest: Digest,
    packets: Packets,
    /// Of the next input.
    number: u64,
    /// Time of the last input.
    last: Option<Time>,
    options: Options,
    report: &'r mut Report,
}

impl<'r> Player<'r> {
    fn new(
        engine: Engine,
        segment: &Segment,
        last: Option<Time>,
        options: Options,
        report: &'r mut Report,
    ) -> Self {
        let digest = Digest::new(segment.header.payloads_masked);
        let number = segment.header.inputs_before;
        Self { engine, digest, packets: Packets::default(), number, last, options, report }
    }

    /// Plays one segment; says whether to go on with the next.
    fn play(&mut self, segment: &Segment) -> bool {
        for entry in segment.entries() {
            match entry {
                Entry::Input(..) if self.options.stop_at == Some(self.number) => return false,
                Entry::Input(now, input) => {
                    if let Err(words) = self.input(now, input) {
                        self.fail(Failure::Panic(words));
                        return false;
                    }
                    let last = self.last.replace(now).unwrap_or(now);
                    self.report.time += now.as_micros().saturating_sub(last.as_micros());
                    self.number += 1;
                    self.report.inputs += 1;
                }
                Entry::Digest(recorded) if self.digest.value() != recorded => {
                    self.fail(Failure::Differs);
                    return false;
                }
                Entry::Digest(_) => {
                    self.report.digests += 1;
                    if !self.verify() {
                        return false;
                    }
                }
                Entry::Torn(at) => {
                    self.report.torn = Some((segment.header.segment, at));
                    self.verify();
                    return false;
                }
                _ => {}
            }
        }
        self.verify()
    }

    /// Gives the engine one input; its words if it panics.
    fn input(&mut self, now: Time, input: Input<'_>) -> Result<(), String> {
        if self.options.trace {
            self.trace_input(now, &input);
        }
        let mut out = Outbox::new();
        let handled = catch_unwind(AssertUnwindSafe(|| self.engine.handle(now, input, &mut out)));
        handled.map_err(|panic| match panic.downcast::<String>() {
            Ok(words) => *words,
            Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("without a word").to_owned(),
        })?;
        self.digest.add(&out);
        if self.options.trace {
            self.trace_output(now, &out);
        }
        Ok(())
    }

    fn verify(&mut self) -> bool {
        let result = self.engine.view().verify();
        if let Err(what) = result {
            self.fail(Failure::Inconsistent(what));
        }
        result.is_ok()
    }

    fn fail(&mut self, failure: Failure) {
        self.report.failure = Some((self.number, failure));
    }

    fn trace_input(&mut self, now: Time, input: &Input<'_>) {
        let number = self.number;
        let mut tell = |text: String| self.report.trace.push(line(now, &format!("[{number}] {text}")));
        match input {
            Input::Received { conn, data } => {
                let known = self.engine.view().connection(*conn);
                let name = packets::name(*conn);
                for packet in self.packets.received(*conn, known, data) {
                    tell(format!("{name} > {packet}"));
                }
            }
            Input::Opened { conn, peer, .. } => {
                let from = peer.map_or_else(String::new, |peer| format!(" from {peer}"));
                tell(format!("{} opened{from}", packets::name(*conn)));
            }
            Input::Closed { conn, cause } => tell(format!("{} gone: {cause:?}", packets::name(*conn))),
            Input::Backlog { conn, unsent } => {
                tell(format!("{}: {unsent} bytes unsent", packets::name(*conn)));
            }
            Input::Tick => {}
            other => tell(format!("{other:?}")),
        }
    }

    fn trace_output(&mut self, now: Time, out: &Outbox) {
        for wire in &out.wire {
            let mut sent = |conn, bytes: &[u8]| {
                let version = self.engine.view().connection(conn).map(|(version, _)| version);
                let packet = self.packets.sent(conn, version, bytes);
                self.report.trace.push(line(now, &format!("{} < {packet}", packets::name(conn))));
            };
            match wire {
                Wire::Send { conn, frame } => sent(*conn, &[out.head(frame), &frame.payload].concat()),
                Wire::Fanout { frame, packet_id_at, targets } => {
                    for target in out.targets(targets) {
                        let mut head = out.head(frame).to_vec();
                        broker_engine::patch_packet_id(&mut head, *packet_id_at, target.packet_id);
                        sent(target.conn, &[&head, &frame.payload[..]].concat());
                    }
                }
                Wire::Close { conn } => {
                    self.report.trace.push(line(now, &format!("{} closed", packets::name(*conn))));
                }
                _ => {}
            }
        }
    }
}

fn line(now: Time, text: &str) -> String {
    format!("{:>12.6}  {text}", seconds(now.as_micros()))
}
