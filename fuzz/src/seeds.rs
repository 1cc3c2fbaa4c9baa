//! Inputs in the formats that the broker writes by itself, which no fuzzer finds: a snapshot, and a segment of a
//! recording. They are of the version that wrote them, so whoever changes a format writes them anew.

use crate::snapshots;
use broker_engine::{Config, Engine, HashKey, ListenerId, Seed, Time};
use metronome_host::recording::{RecordOptions, Recorder};
use metronome_host::{AllowAll, Driver};
use std::io;
use std::path::Path;

/// A segment is full soon, so that the second one begins in the midst of something.
const SEGMENT: u64 = 3000;

/// Writes them into a folder of corpora.
///
/// # Errors
/// A file cannot be written.
pub fn write(corpora: &Path) -> io::Result<()> {
    std::fs::write(corpora.join("snapshot_bytes/snapshot"), snapshots::sound())?;
    let folder = std::env::temp_dir().join(format!("metronome-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let recorded = record(&folder.join("broker")).and_then(|()| std::fs::read(folder.join("broker.2")));
    std::fs::remove_dir_all(&folder)?;
    std::fs::write(corpora.join("recording/segment"), recorded?)
}

/// A client subscribes to everything, others publish and go.
fn record(file: &Path) -> io::Result<()> {
    let seed = Seed(9);
    let engine = Engine::new(Config::default(), seed, HashKey([1, 2]));
    let options = RecordOptions { segment_bytes: SEGMENT, segments: usize::MAX, ..RecordOptions::new(file) };
    let recorder = Recorder::create(options, &engine, seed, |error| panic!("{error}"))?;
    let mut driver = Driver::new(engine, AllowAll);
    driver.record(recorder);
    let subscriber = driver.open(Time::from_secs(1), ListenerId(0), None);
    let connect = b"\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01s";
    driver.received(Time::from_secs(1), subscriber, connect);
    driver.received(Time::from_secs(1), subscriber, b"\x82\x06\0\x01\0\x01#\x01");
    for number in 1..60_u8 {
        let now = Time::from_secs(1 + u64::from(number));
        let publisher = driver.open(now, ListenerId(0), None);
        // MQTT 5, with a password and a will; each message is retained and acknowledged.
        driver.received(
            now,
            publisher,
            b"\x10\x1f\0\x04MQTT\x05\xc6\0\x3c\0\0\x01p\0\0\x01w\0\x03bye\0\x01u\0\x03key",
        );
        driver.received(now, publisher, &[0x33, 7, 0, 1, b't', 0, 1, 0, number]);
        driver.received(now, subscriber, &[0x40, 2, 0, number]);
        driver.received(now, publisher, b"\xe0\0");
        driver.release(publisher);
    }
    driver.write_recording(Time::from_secs(100));
    Ok(())
}
