//! The shortest recording that still fails: whole connections go first, then ever smaller runs of inputs.

use super::{Failure, Options, play};
use broker_engine::{ConnId, Input};
use metronome_host::recording::{Entry, Segment};
use std::collections::BTreeSet;
use std::mem::discriminant;

/// How far it got.
#[derive(Debug)]
pub struct Shrunk {
    /// What is left.
    pub segment: Segment,
    /// Inputs before and after.
    pub inputs: (usize, usize),
    /// Recordings that were tried.
    pub tried: u64,
}

/// Makes a segment shorter as long as it fails in the same way, trying at most so many.
///
/// # Errors
/// It does not fail, or only in that it differs from what was recorded: that can be told only as long as inputs are the
/// same.
pub fn shrink(segment: &Segment, most: u64) -> Result<Shrunk, String> {
    let fails = |segment: &Segment| {
        let report = play(std::slice::from_ref(segment), Options::default())?;
        Ok::<_, String>(report.failure.map(|(_, failure)| failure))
    };
    let failure = fails(segment)?.ok_or("this recording does not fail")?;
    if matches!(failure, Failure::Differs | Failure::OtherState) {
        return Err(format!("cannot be made shorter: {failure}"));
    }
    let same = |other: &Failure| discriminant(other) == discriminant(&failure);
    Ok(shrink_by(segment, most, |shorter| fails(shorter).is_ok_and(|other| other.as_ref().is_some_and(same))))
}

/// Makes a segment shorter as long as `still` holds for it, trying at most so many.
pub fn shrink_by(segment: &Segment, most: u64, mut still: impl FnMut(&Segment) -> bool) -> Shrunk {
    let mut best = segment.with_only(|_| true);
    let mut tried = 0;
    let mut try_one = |best: &mut Segment, keep: &dyn Fn(usize) -> bool| {
        if tried >= most {
            return false;
        }
        tried += 1;
        let shorter = best.with_only(keep);
        let holds = still(&shorter);
        if holds {
            *best = shorter;
        }
        holds
    };
    for conn in connections(&best) {
        let others: Vec<bool> = best.entries().map(|entry| connection(&entry) != Some(conn)).collect();
        try_one(&mut best, &|number| others[number]);
    }
    let mut run = inputs(&best).div_ceil(2);
    while run > 0 {
        let mut at = 0;
        while at < inputs(&best) {
            if !try_one(&mut best, &|number| !(at..at + run).contains(&number)) {
                at += run;
            }
        }
        run /= 2;
    }
    Shrunk { inputs: (inputs(segment), inputs(&best)), segment: best, tried }
}

fn inputs(segment: &Segment) -> usize {
    segment.entries().filter(|entry| matches!(entry, Entry::Input(..))).count()
}

fn connections(segment: &Segment) -> BTreeSet<ConnId> {
    segment.entries().filter_map(|entry| connection(&entry)).collect()
}

fn connection(entry: &Entry<'_>) -> Option<ConnId> {
    match entry {
        Entry::Input(
            _,
            Input::Opened { conn, .. }
            | Input::Received { conn, .. }
            | Input::Backlog { conn, .. }
            | Input::Closed { conn, .. },
        ) => Some(*conn),
        _ => None,
    }
}
