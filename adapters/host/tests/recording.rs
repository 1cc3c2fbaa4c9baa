//! A recording plays again as it was, holds no secret, and is readable as far as it goes.

use broker_engine::mqtt_proto::ReasonCode;
use broker_engine::{
    Admission, Answer, ApplicationMessage, CloseCause, Config, Engine, HashKey, Input, KeptWill, ListenerId,
    Outbox, Question, Seed, Time,
};
use metronome_host::recording::{Digest, Entry, RecordOptions, Recorder, Segment, SegmentError, segments_of};
use metronome_host::{Client, Decision, Driver, Hook};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

const SECRET: &[u8] = b"open sesame";
const PAYLOAD: &[u8] = b"deep thoughts";

/// Lets everybody in, in two steps where a method is named.
struct TwoSteps;

impl Hook for TwoSteps {
    fn answer(&mut self, _: &Client, question: &Question) -> Decision {
        let answer = match question {
            Question::Authenticate(client) if client.method.is_some() => Answer::Continue(SECRET.to_vec()),
            Question::Authenticate(client) if client.password.as_deref() == Some(b"wrong") => {
                Answer::Deny(ReasonCode::BadUserNameOrPassword)
            }
            Question::AuthenticateStep { .. } => {
                let will =
                    ApplicationMessage { topic: "w".into(), payload: PAYLOAD.into(), ..Default::default() };
                let will = KeptWill::Instead(Box::new(will));
                Answer::Admit(Box::new(Admission { data: SECRET.to_vec(), will, ..Admission::default() }))
            }
            _ => Answer::Allow,
        };
        answer.into()
    }
}

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Left by an earlier run, or not there.
    let _absent = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("broker.rec")
}

fn text(text: &[u8]) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[first, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

/// MQTT 5, with user name and password.
fn connect(client_id: &str) -> Vec<u8> {
    let fixed = b"\x00\x04MQTT\x05\xc2\x00\x3c\x00";
    packet(0x10, &[fixed, &text(client_id.as_bytes()), &text(b"user"), &text(SECRET)])
}

/// MQTT 5, with an authentication method and its data, and a session that lasts.
fn connect_with_method(client_id: &str) -> Vec<u8> {
    let expiry = [0x11, 0, 0, 0, 100];
    let properties = [&expiry[..], &[0x15], &text(b"m"), &[0x16], &text(SECRET)].concat();
    let len = [u8::try_from(properties.len()).unwrap()];
    packet(0x10, &[b"\x00\x04MQTT\x05\x00\x00\x3c", &len, &properties, &text(client_id.as_bytes())])
}

fn auth() -> Vec<u8> {
    let properties = [&[0x15][..], &text(b"m"), &[0x16], &text(SECRET)].concat();
    packet(0xf0, &[&[0x18, u8::try_from(properties.len()).unwrap()], &properties])
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x33, &[&text(topic.as_bytes()), &[0, 7, 0], payload])
}

/// Everything that can be secret, in pieces, and a session that stays.
fn record(options: RecordOptions, turns: u64) {
    let engine = Engine::new(Config::default(), Seed(9), HashKey([3, 4]));
    let recorder = Recorder::create(options, &engine, Seed(9), |error| panic!("{error}")).unwrap();
    let mut driver = Driver::new(engine, TwoSteps);
    driver.record(recorder);
    let mut now = 0;
    let mut at = || {
        now += 1000;
        Time::from_micros(now)
    };
    let subscribe = packet(0x82, &[&[0, 1, 0], &text(b"#"), &[1]]);
    for turn in 0..turns {
        let first = driver.open(at(), ListenerId(0), None);
        for piece in connect(&format!("c{turn}")).chunks(7) {
            driver.received(at(), first, piece);
        }
        let second = driver.open(at(), ListenerId(0), None);
        driver.received(at(), second, &connect_with_method("second"));
        driver.received(at(), second, &auth());
        driver.received(at(), second, &subscribe);
        for piece in publish("t", PAYLOAD).chunks(5) {
            driver.received(at(), first, piece);
        }
        // Something is unfinished whenever a segment begins.
        driver.received(at(), second, &publish("u", PAYLOAD)[..12]);
        driver.closed(at(), first, CloseCause::PeerClosed);
        driver.release(first);
        driver.closed(at(), second, CloseCause::Fault);
        driver.release(second);
    }
}

/// What the engine panics at is the last that is recorded.
#[test]
fn a_panic_of_the_engine_leaves_all_of_the_recording() {
    let options = RecordOptions::new(file("panic"));
    let caught = std::panic::catch_unwind(|| {
        let engine = Engine::new(Config::default(), Seed(9), HashKey([3, 4]));
        let mut recorder =
            Recorder::create(options.clone(), &engine, Seed(9), |error| panic!("{error}")).unwrap();
        recorder.input(Time::from_micros(7), &Input::Tick);
        panic!("this is the test's panic");
    });
    assert!(caught.is_err());
    let segments = segments_of(&options.file).unwrap();
    let segment = Segment::open(&segments[0]).unwrap();
    let entries: Vec<_> = segment.entries().collect();
    assert!(matches!(entries[..], [Entry::Input(at, Input::Tick)] if at == Time::from_micros(7)));
}

/// Plays one segment; says how many inputs and equal digests it had.
fn play(segment: &Segment) -> (u64, u64) {
    let mut engine = Engine::restore(segment.snapshot(), HashKey([5, 6])).unwrap();
    let mut digest = Digest::new(segment.header.payloads_masked);
    let (mut inputs, mut digests) = (0, 0);
    for entry in segment.entries() {
        match entry {
            Entry::Input(now, input) => {
                let mut out = Outbox::new();
                engine.handle(now, input, &mut out);
                digest.add(&out);
                inputs += 1;
            }
            Entry::Digest(recorded) => {
                assert_eq!(digest.value(), recorded, "after {inputs} inputs");
                digests += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    engine.view().verify().unwrap();
    (inputs, digests)
}

#[test]
fn a_recording_plays_again_and_holds_no_secret() {
    for mask_payloads in [false, true] {
        let file = file(if mask_payloads { "masked" } else { "plain" });
        let options = RecordOptions {
            mask_payloads,
            segment_bytes: 8 << 10,
            segments: 100,
            ..RecordOptions::new(&file)
        };
        record(options, 60);
        let paths = segments_of(&file).unwrap();
        assert!(paths.len() > 2, "{paths:?}");
        let mut inputs = 0;
        for path in paths {
            let segment = Segment::open(&path).unwrap();
            assert_eq!((segment.header.inputs_before, &*segment.header.seed), (inputs, "0000000000000009"));
            let (played, digests) = play(&segment);
            assert!(digests > 0);
            inputs += played;
            let bytes = std::fs::read(&path).unwrap();
            let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!holds(SECRET) && !holds(&SECRET[..7]));
            assert_eq!(holds(&PAYLOAD[2..7]), !mask_payloads);
        }
        assert!(inputs > 60 * 13);
    }
}

#[test]
fn the_oldest_segments_go_and_the_next_run_goes_on_behind_them() {
    let file = file("rotation");
    let options = RecordOptions { segment_bytes: 32 << 10, segments: 3, ..RecordOptions::new(&file) };
    for _ in 0..2 {
        record(options.clone(), 200);
        let paths = segments_of(&file).unwrap();
        assert_eq!(paths.len(), 3);
        assert!(paths.iter().all(|path| play(&Segment::open(path).unwrap()).0 > 0));
    }
    #[cfg(unix)]
    for path in segments_of(&file).unwrap() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// Each segment begins with the whole state: the larger that is, the longer they are and the fewer.
#[test]
fn a_large_state_is_not_copied_again_and_again() {
    for (name, retained, segments) in [("small", 1, 8), ("large", 60, 3), ("too-large", 400, 0)] {
        let file = file(name);
        let options = RecordOptions { segment_bytes: 8 << 10, segments: 8, ..RecordOptions::new(&file) };
        let ended = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&ended);
        let engine = Engine::new(Config::default(), Seed(9), HashKey([3, 4]));
        let recorder = Recorder::create(options, &engine, Seed(9), move |error| {
            *told.lock().unwrap() = error.to_string();
        });
        let mut driver = Driver::new(engine, TwoSteps);
        driver.record(recorder.unwrap());
        let now = Time::from_secs(1);
        let conn = driver.open(now, ListenerId(0), None);
        driver.received(now, conn, &connect("c"));
        for number in 0..retained {
            driver.received(now, conn, &publish(&format!("r/{number}"), &[b'.'; 100]));
        }
        let ping = [0xc0, 0].repeat(50);
        (0..1000).for_each(|_| driver.received(now, conn, &ping));
        drop(driver);
        let words = ended.lock().unwrap().clone();
        if segments == 0 {
            assert!(words.contains("is too large for a recording of 65536"), "{words}");
            continue;
        }
        assert_eq!(words, "", "{name}");
        let paths = segments_of(&file).unwrap();
        let bytes: u64 = paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
        assert!(paths.len() >= segments && bytes <= 66 << 10, "{name}: {} of {bytes} bytes", paths.len());
        let inputs: u64 = paths.iter().map(|path| play(&Segment::open(path).unwrap()).0).sum();
        assert!(inputs > 100, "{name}: {inputs}");
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_readable_up_to_there() {
    let file = file("torn");
    record(RecordOptions::new(&file), 2);
    let bytes = std::fs::read(&segments_of(&file).unwrap()[0]).unwrap();
    let whole = Segment::from_bytes(bytes.clone()).unwrap();
    let entries = whole.entries().count();
    let mut seen = Vec::new();
    for len in 0..bytes.len() {
        match Segment::from_bytes(bytes[..len].to_vec()) {
            Err(SegmentError::Foreign) => assert!(len < 8),
            Err(error) => assert!(matches!(error, SegmentError::NoBeginning), "{error}"),
            Ok(segment) => {
                let readable = segment.entries().filter(|entry| !matches!(entry, Entry::Torn(_))).count();
                assert!(readable < entries && segment.entries().count() - readable <= 1);
                seen.push(readable);
            }
        }
    }
    // One more and one more, up to the last but one.
    assert!(seen.is_sorted());
    seen.dedup();
    assert_eq!(seen, (0..entries).collect::<Vec<_>>());
    for at in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        match Segment::from_bytes(damaged) {
            Ok(segment) => assert!(matches!(segment.entries().last(), Some(Entry::Torn(_))), "{at}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn what_is_no_recording_says_so() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "not a recording"),
        (b"{\"seed\": 1}", "not a recording"),
        (b"METRREC\x09and so on", "a recording of format 9; this program reads format 1"),
        (b"METRREC\x01", "cut off or damaged before its first input"),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(Segment::from_bytes(bytes.to_vec()).unwrap_err().to_string(), wanted);
    }
    let nowhere = file("nowhere");
    assert_eq!(segments_of(&nowhere).unwrap_err().to_string(), "no such recording, and no segment of it");
}
