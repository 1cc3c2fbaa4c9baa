//! From the records of a store to an engine that goes on.

use crate::clock::{Clock, system_time};
use crate::record::{self, Kind, Totals, Unreadable};
use crate::store::{Batch, Store, StoreError};
use broker_engine::Boot;
use mqtt_proto::planted;
use std::ops::ControlFlow;
use std::time::Duration;

/// Records between two reports of progress.
const PROGRESS: u64 = 100_000;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Records that were read.
    pub records: u64,
    /// Records that cannot be read. They are kept aside and looked at no more.
    pub quarantined: u64,
    /// The store was left in the midst of something, which it has undone.
    pub was_interrupted: bool,
}

/// Gives every record of a store to `boot`; `progress` hears of their number now and then. An empty store becomes one
/// of ours. Says what was found, and by which clock the store lives.
///
/// # Errors
/// The store cannot be read or written, is none of ours, or is of a newer version. Nothing is changed then.
pub fn load(
    store: &mut dyn Store,
    boot: &mut Boot,
    progress: impl FnMut(u64),
) -> Result<(LoadReport, Clock), StoreError> {
    load_at(system_time(), store, boot, progress)
}

/// The same where the time, Unix microseconds, comes from elsewhere.
///
/// # Errors
/// As [`load()`].
pub fn load_at(
    system: u64,
    store: &mut dyn Store,
    boot: &mut Boot,
    mut progress: impl FnMut(u64),
) -> Result<(LoadReport, Clock), StoreError> {
    let mut clock = begin(store, system)?;
    let now = clock.at(system, Duration::ZERO);
    let mut report = LoadReport { was_interrupted: store.was_interrupted(), ..LoadReport::default() };
    let (mut unreadable, mut newer) = (Batch::default(), None);
    let mut in_flight_known = false;
    store.scan(&[], &mut |key, value| {
        let kind = Kind::of(key);
        let is_counters = key == record::counters_key() && record::counters(value).is_ok();
        if is_counters || matches!(kind, Some(Kind::Store | Kind::Quarantined)) {
            return ControlFlow::Continue(());
        }
        if kind > Some(Kind::InFlight) && !std::mem::replace(&mut in_flight_known, true) {
            boot.in_flight_known();
        }
        match record::read(key, value, now) {
            Ok(op) => {
                boot.push(op);
                report.records += 1;
                if report.records.is_multiple_of(PROGRESS) {
                    progress(report.records);
                }
            }
            Err(Unreadable::Newer(format)) => {
                newer = Some(format);
                return ControlFlow::Break(());
            }
            Err(Unreadable::Damaged) => {
                report.quarantined += u64::from(!planted!("damage-untold"));
                unreadable.remove(key.to_vec());
                unreadable.put(record::quarantined_key(key), value.to_vec());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(format) = newer {
        return Err(StoreError::Newer(format));
    }
    if !unreadable.is_empty() {
        store.commit(&unreadable)?;
    }
    Ok((report, clock))
}

/// The totals that a store has, none if there are none or [`load()`] has put them aside.
///
/// # Errors
/// The store cannot be read.
pub fn counters(store: &dyn Store) -> Result<Totals, StoreError> {
    let mut totals = Totals::default();
    store.scan(&record::counters_key(), &mut |key, value| {
        if key == record::counters_key() {
            totals = record::counters(value).unwrap_or_default();
        }
        ControlFlow::Break(())
    })?;
    Ok(totals)
}

/// The clock of a store that is one of ours, or becomes one because it is empty.
fn begin(store: &mut dyn Store, system: u64) -> Result<Clock, StoreError> {
    let mut first = None;
    store.scan(&[], &mut |key, value| {
        first = Some((key.to_vec(), value.to_vec()));
        ControlFlow::Break(())
    })?;
    match first {
        None => {
            let mut clock = Clock::default();
            let mut batch = Batch::default();
            batch.put(record::store_key(), record::store_value(clock.at(system, Duration::ZERO)));
            store.commit(&batch)?;
            Ok(clock)
        }
        Some((key, value)) if key == record::store_key() => match record::store_time(&value) {
            Ok(_) if planted!("clock-goes-back") => Ok(Clock::default()),
            Ok(latest) => Ok(Clock::behind(latest)),
            Err(Unreadable::Newer(format)) => Err(StoreError::Newer(format)),
            // What it lives by is damaged, and its records are checked one by one.
            Err(Unreadable::Damaged) => Ok(Clock::default()),
        },
        Some((key, _)) if Kind::of(&key).is_some() => {
            Err(StoreError::Foreign("an import into it was cut off: remove it, and import again".to_owned()))
        }
        Some(_) => Err(StoreError::Foreign("its first record is of something else".to_owned())),
    }
}
