//! What a driver recorded plays again, is told as a trace, and is made shorter.

use broker_engine::{Config, Engine, HashKey, Input, ListenerId, Outbox, Seed, Time};
use metronome_host::recording::{RecordOptions, Recorder, Segment, segments_of};
use metronome_host::{AllowAll, Driver};
use simulation::recording::{Failure, Options, play, read, shrink, shrink_by};
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Left by an earlier run, or not there.
    let _absent = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("broker.rec")
}

fn engine() -> Engine {
    Engine::new(Config::default(), Seed(5), HashKey([3, 4]))
}

fn recorder(options: RecordOptions, engine: &Engine) -> Recorder {
    Recorder::create(options, engine, Seed(5), |error| panic!("{error}")).unwrap()
}

/// MQTT 3.1.1, keeps its session.
fn connect(name: u8) -> [u8; 15] {
    [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, name]
}

/// One client subscribes to everything, each of the others publishes a message and goes.
fn record(options: RecordOptions) {
    let engine = engine();
    let recorder = recorder(options, &engine);
    let mut driver = Driver::new(engine, AllowAll);
    driver.record(recorder);
    let subscriber = driver.open(Time::from_secs(1), ListenerId(0), None);
    driver.received(Time::from_secs(1), subscriber, &connect(b's'));
    // The segment may begin in the middle of this.
    driver.received(Time::from_secs(1), subscriber, &[0x82, 6, 0, 1]);
    driver.received(Time::from_secs(1), subscriber, &[0, 1, b'#', 1]);
    for number in 0..60 {
        let now = Time::from_secs(2 + u64::from(number));
        let publisher = driver.open(now, ListenerId(0), None);
        driver.received(now, publisher, &connect(b'A' + number));
        driver.received(now, publisher, &[0x32, 6, 0, 1, b't', 0, 1, b'A' + number]);
        driver.received(now, publisher, &[0xe0, 0]);
        driver.release(publisher);
        driver.received(now, subscriber, &[0x40, 2, 0, number + 1]);
    }
}

#[test]
fn a_recording_plays_again_over_all_its_segments() {
    let file = file("replay");
    record(RecordOptions { segment_bytes: 6 << 10, segments: 100, ..RecordOptions::new(&file) });
    let segments = read(&file).unwrap().segments;
    assert!(segments.len() > 1);
    let report = play(&segments, Options::default()).unwrap();
    assert_eq!((report.failure, report.torn), (None, None));
    assert_eq!(report.snapshots + 1, segments.len() as u64);
    assert!(report.digests >= segments.len() as u64);
    // From the first second to the sixty-first.
    assert_eq!(report.time, 60_000_000);
    // From any segment on.
    assert_eq!(play(&segments[1..], Options::default()).unwrap().failure, None);
}

/// A broker that is killed may have just begun a segment, and a disk may damage any.
#[test]
fn what_is_whole_is_played() {
    let file = file("torn");
    record(RecordOptions { segment_bytes: 6 << 10, segments: 100, ..RecordOptions::new(&file) });
    let whole = read(&file).unwrap().segments;
    let paths = segments_of(&file).unwrap();
    let (last, first) = (paths.last().unwrap(), &paths[0]);
    for len in [0, 100] {
        std::fs::write(last, &std::fs::read(last).unwrap()[..len.min(100)]).unwrap();
        let recording = read(&file).unwrap();
        assert!(recording.left_out.unwrap().contains(last.to_str().unwrap()));
        assert_eq!(recording.segments.len() + 1, whole.len());
        let report = play(&recording.segments, Options::default()).unwrap();
        assert_eq!((report.failure, report.torn), (None, None));
        std::fs::write(last, whole.last().unwrap().bytes()).unwrap();
    }
    // Nothing is played behind damage.
    let mut damaged = whole[0].bytes().to_vec();
    let at = damaged.len() - 20;
    damaged[at] ^= 1;
    std::fs::write(first, damaged).unwrap();
    let report = play(&read(&file).unwrap().segments, Options::default()).unwrap();
    assert!(matches!(report.torn, Some((1, torn)) if torn <= at), "{:?}", report.torn);
    assert_eq!((report.failure, report.snapshots), (None, 0));
    assert_eq!(read(first).unwrap().segments.len(), 1);
}

#[test]
fn a_trace_reads_like_packets() {
    let file = file("trace");
    record(RecordOptions::new(&file));
    let segments = read(&file).unwrap().segments;
    let report = play(&segments, Options { trace: true, stop_at: Some(9) }).unwrap();
    insta::assert_snapshot!(report.trace.join("\n"));
}

#[test]
fn another_engine_is_noticed() {
    let file = file("differs");
    let mut engine = engine();
    let mut recorder = recorder(RecordOptions::new(&file), &engine);
    let mut ids = broker_engine::ConnIds::new();
    let conn = ids.allocate();
    for input in [
        Input::Opened { conn, listener: ListenerId(0), peer: None },
        Input::Received { conn, data: &connect(b'c') },
    ] {
        recorder.input(Time::from_secs(1), &input);
        // What this engine says is not what counts.
        recorder.output(&Outbox::new());
        engine.handle(Time::from_secs(1), input, &mut Outbox::new());
    }
    drop(recorder);
    let segments = read(&file).unwrap().segments;
    let report = play(&segments, Options::default()).unwrap();
    assert_eq!(report.failure, Some((2, Failure::Differs)));
    assert!(shrink(&segments[0], 10).unwrap_err().starts_with("cannot be made shorter"));
}

#[test]
fn the_shortest_recording_in_which_a_client_gets_a_message() {
    let file = file("shrink");
    record(RecordOptions::new(&file));
    let whole = read(&file).unwrap().segments.remove(0);
    assert_eq!(shrink(&whole, 10).unwrap_err(), "this recording does not fail");
    let gets_it = |segment: &Segment| {
        let report = play(std::slice::from_ref(segment), Options { trace: true, stop_at: None }).unwrap();
        report.trace.iter().any(|line| line.contains("c0.0 < PUBLISH t"))
    };
    let shrunk = shrink_by(&whole, 10_000, gets_it);
    // Two opened, two let in, a SUBSCRIBE in two pieces, a PUBLISH.
    assert_eq!(shrunk.inputs, (whole.entries().count() - 2, 9));
    assert!(gets_it(&Segment::from_bytes(shrunk.segment.bytes().to_vec()).unwrap()));
}
