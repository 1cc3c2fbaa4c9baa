//! Attacks that take time, as tables for a person: a delayed will and what can happen to its client in any order,
//! and intervals at the ends of their ranges.

use broker_engine::{Command, ConnId, Time};
use metronome_spec::Version;
use metronome_spec::engine::EngineTransport;
use metronome_spec::run::{Patience, Transport};
use metronome_spec::wire::encode;
use mqtt_proto::ReasonCode;
use std::fmt::Write;

/// A broker where sessions may last for ever, at some hour of its clock.
fn broker(now: Time) -> EngineTransport {
    let no_caps =
        ["max_session_expiry = 4294967295", "max_message_expiry = 4294967295", "max_keep_alive = 0"];
    EngineTransport::new(&no_caps.map(str::to_owned)).at(now)
}

/// A new connection that sends these; what it gets is not looked at.
fn client(broker: &mut EngineTransport, lines: &[&str]) -> ConnId {
    let mut conn = broker.open();
    for line in lines {
        broker.send(&mut conn, &encode(line, Version::V5));
    }
    broker.receive(&mut conn, &mut Vec::new(), Patience::Short);
    conn
}

fn got(broker: &mut EngineTransport, conn: ConnId) -> Option<String> {
    Some(broker.answer(conn, Version::V5)).filter(|answer| answer != "-")
}

/// What can happen to a client whose will waits 20 seconds, and whose session lasts 30.
const EVENTS: [&str; 6] = ["cut", "kicked", "goodbye", "back", "anew", "20 s"];

/// When the will came, in seconds from the first event on; `None` where one is absent and cannot be cut.
fn wills(events: &[&str]) -> Option<String> {
    let mut broker = broker(Time::from_secs(1));
    let watcher = client(&mut broker, &["CONNECT w clean", "SUBSCRIBE #1 will"]);
    let connect = "CONNECT c session-expiry-interval=30 will=will will.will-delay-interval=20";
    let anew = format!("{connect} clean");
    let mut here = Some(client(&mut broker, &[connect]));
    let (mut seconds, mut wills) = (0, String::new());
    for event in events.iter().chain(&["20 s"; 3]) {
        match *event {
            "cut" => broker.cut(here.take()?),
            "goodbye" => {
                let mut conn = here.take()?;
                broker.send(&mut conn, &encode("DISCONNECT", Version::V5));
            }
            "kicked" => {
                here.take()?;
                let reason = ReasonCode::AdministrativeAction;
                broker.command(Command::Disconnect { client_id: "c".into(), reason, end_session: false });
            }
            "back" => here = Some(client(&mut broker, &[connect])),
            "anew" => here = Some(client(&mut broker, &[&anew])),
            _ => {
                for _ in 0..20 {
                    broker.wait(1000);
                    seconds += 1;
                    if got(&mut broker, watcher).is_some() {
                        write!(wills, " {seconds} s").unwrap();
                    }
                }
            }
        }
        if got(&mut broker, watcher).is_some() {
            write!(wills, " {seconds} s").unwrap();
        }
    }
    Some(if wills.is_empty() { " never".into() } else { wills })
}

/// A-15 [MQTT-3.1.3-9] [U-3.1.3.2.2-will-after-delay, U-3.1.4-no-delayed-will-on-takeover]
#[test]
fn a_delayed_will_in_every_order_of_events() {
    let mut table = String::new();
    for first in EVENTS {
        for second in EVENTS {
            for third in EVENTS {
                if let Some(wills) = wills(&[first, second, third]) {
                    writeln!(table, "{first:<8} {second:<8} {third:<8} will at:{wills}").unwrap();
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// Seconds at which something may be due.
const INSTANTS: [u64; 6] = [0, 1, 2, 0xffff_fffe, 0xffff_ffff, 0x1_0000_0000];

fn at(instant: Option<u64>) -> String {
    instant.map_or_else(|| "never".into(), |seconds| format!("at {seconds} s"))
}

/// When the will comes of a client that is cut off, and when its session ends.
fn will_and_session(now: Time, expiry: u32, delay: u32) -> String {
    let mut broker = broker(now);
    let watcher = client(&mut broker, &["CONNECT w clean", "SUBSCRIBE #1 will"]);
    let connect =
        format!("CONNECT c session-expiry-interval={expiry} will=will will.will-delay-interval={delay}");
    let conn = client(&mut broker, &[&connect]);
    broker.cut(conn);
    let (mut will, mut end, mut seconds) = (None, None, 0);
    for instant in INSTANTS {
        broker.wait((instant - seconds) * 1000);
        seconds = instant;
        if got(&mut broker, watcher).is_some() {
            assert_eq!(will.replace(instant), None, "one will");
        }
        if broker.view().sessions() == 1 {
            end.get_or_insert(instant);
        }
    }
    format!("will {}, session ends {}", at(will), at(end))
}

/// What a client that was away for so long gets of a message.
fn message(now: Time, expiry: u32, away: u64) -> String {
    let mut broker = broker(now);
    let connect = "CONNECT s session-expiry-interval=4294967295";
    let conn = client(&mut broker, &[connect, "SUBSCRIBE #1 t q1"]);
    broker.cut(conn);
    let publish = format!("PUBLISH t m q1 #1 message-expiry-interval={expiry}");
    client(&mut broker, &["CONNECT p clean", &publish]);
    broker.wait(away * 1000);
    let mut conn = broker.open();
    broker.send(&mut conn, &encode(connect, Version::V5));
    let got = got(&mut broker, conn).unwrap_or_default();
    got.split_once(", ").map_or_else(|| "nothing".into(), |(_, message)| message.to_owned())
}

/// After how many milliseconds a client that says nothing is closed.
fn silence(now: Time, keep: u16) -> String {
    let mut broker = broker(now);
    let conn = client(&mut broker, &[&format!("CONNECT c clean keep={keep}")]);
    let mut passed = 0;
    for millis in [1_499, 1_500, 98_302_499, 98_302_500, 4_294_967_296_000] {
        broker.wait(millis - passed);
        passed = millis;
        if let Some(answer) = got(&mut broker, conn) {
            return format!("{answer} after {millis} ms");
        }
    }
    "stays".into()
}

/// A-16 [U-3.1.3.2.2-will-at-the-end-of-the-session]: whatever the broker's own clock says.
#[test]
fn intervals_at_the_ends_of_their_ranges() {
    let of = |now: Time| {
        let mut table = String::new();
        for expiry in [0, 1, u32::MAX - 1, u32::MAX] {
            for delay in [0, 1, u32::MAX - 1, u32::MAX] {
                let ends = will_and_session(now, expiry, delay);
                writeln!(table, "Session Expiry {expiry:>10}, Will Delay {delay:>10}: {ends}").unwrap();
            }
        }
        for expiry in [0, 1, u32::MAX] {
            for away in INSTANTS {
                let got = message(now, expiry, away);
                writeln!(table, "Message Expiry {expiry:>10}, away for {away:>10} s: {got}").unwrap();
            }
        }
        for keep in [0, 1, u16::MAX] {
            writeln!(table, "Keep Alive {keep:>5}: {}", silence(now, keep)).unwrap();
        }
        table
    };
    let table = of(Time::from_secs(1));
    assert_eq!(of(Time::from_micros(u64::MAX / 2)), table, "after 292,000 years");
    insta::assert_snapshot!(table);
}
