//! The engine without runtime, socket or clock: two clients' bytes go in, and what comes out is printed.
//!
//! `cargo run -p broker-engine --example by_hand`

use broker_engine::{
    Answer, Config, ConnId, ConnIds, Engine, HashKey, Input, ListenerId, Outbox, Seed, Time,
};

fn main() {
    let mut engine = Engine::new(Config::default(), Seed(1), HashKey([2, 3]));
    let mut ids = ConnIds::new();
    let (alice, bob) = (ids.allocate(), ids.allocate());
    let mut step = |millis: u64, what: &str, input: Input<'_>| {
        println!("{millis:>3} ms  {what}");
        let (now, mut out) = (Time::from_micros(millis * 1000), Outbox::new());
        engine.handle(now, input, &mut out);
        // The engine asks who may connect; here everybody may. Answers are inputs like any other.
        for call in std::mem::take(&mut out.calls) {
            engine.handle(now, Input::Reply { call: call.id, answer: Answer::Allow }, &mut out);
        }
        for (name, conn) in [("alice", alice), ("bob", bob)] {
            let bytes = out.bytes_for(conn);
            if !bytes.is_empty() {
                println!("        -> {name}: {bytes:02x?}");
            }
        }
    };
    let open = |conn: ConnId| Input::Opened { conn, listener: ListenerId(0), peer: None };
    let from = |conn: ConnId, data: &'static [u8]| Input::Received { conn, data };
    step(0, "alice's transport opens", open(alice));
    step(1, "alice sends CONNECT", from(alice, b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05alice"));
    step(2, "bob's transport opens", open(bob));
    step(3, "bob sends CONNECT", from(bob, b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03bob"));
    step(4, "alice subscribes to t/+", from(alice, b"\x82\x08\x00\x01\x00\x03t/+\x01"));
    step(5, "bob publishes to t/1 with QoS 1", from(bob, b"\x32\x09\x00\x03t/1\x00\x07hi"));
    step(6, "alice acknowledges", from(alice, b"\x40\x02\x00\x01"));
    println!("next deadline: {:?}", engine.next_deadline());
    println!("deliveries completed: {}", engine.view().counters().completed);
}
