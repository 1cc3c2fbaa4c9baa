//! What an embedding program decides about clients, over real sockets.

mod common;

use common::{Client, connect, packet};
use metronome_tokio::host::engine::mqtt_proto::{ReasonCode, SubscribeOptions};
use metronome_tokio::host::engine::{Answer, Authenticate, Interest};
use metronome_tokio::{AllowAll, Broker, BrokerHandle, Client as Asking, Decision, Hook};
use std::net::SocketAddr;
use std::time::Duration;

fn start(hook: impl Hook + 'static) -> (BrokerHandle, SocketAddr) {
    let broker = Broker::builder().listen("127.0.0.1:0").hook(hook).start().unwrap();
    let address = broker.local_addrs()[0];
    (broker, address)
}

/// Denies with one reason.
struct Denies(ReasonCode);

impl Hook for Denies {
    fn authenticate(&mut self, _: &Asking, _: &Authenticate) -> Decision {
        Decision::deny(self.0)
    }
}

#[test]
fn a_denied_client_is_told_the_reason_in_the_codes_of_its_version() {
    for (reason, code, code_of_3) in [
        (ReasonCode::ClientIdNotValid, 0x85, 2),
        (ReasonCode::ServerUnavailable, 0x88, 3),
        (ReasonCode::BadUserNameOrPassword, 0x86, 4),
        (ReasonCode::NotAuthorized, 0x87, 5),
        (ReasonCode::Banned, 0x8a, 5),
    ] {
        let (_broker, address) = start(Denies(reason));
        for (version, wanted) in [(4, code_of_3), (5, code)] {
            let mut client = Client::open(address, version);
            client.send(&connect(version, "c"));
            let connack = client.packet();
            assert_eq!((connack[0], connack[2..4].to_vec()), (0x20, vec![0, wanted]), "{reason:?}");
            assert_eq!(client.try_packet(), None);
        }
    }
}

/// Grants QoS 1, and nothing for `secret`.
struct Reluctant;

impl Hook for Reluctant {
    fn authenticate(&mut self, _: &Asking, _: &Authenticate) -> Decision {
        Decision::allow()
    }

    fn subscribe(&mut self, client: &Asking, filters: &[(String, SubscribeOptions)]) -> Decision {
        assert_eq!(client.client_id, "c");
        let verdict = |filter: &str| match filter {
            "secret" => ReasonCode::UnspecifiedError,
            _ => ReasonCode::GrantedQoS1,
        };
        Answer::Filters(filters.iter().map(|(filter, _)| verdict(filter)).collect()).into()
    }
}

#[test]
fn it_is_asked_about_each_topic_filter() {
    let (_broker, address) = start(Reluctant);
    for (version, properties) in [(4, &[][..]), (5, &[0])] {
        let mut client = Client::connect(address, version, "c");
        let filters = b"\0\x06secret\x02\0\x04open\x02";
        client.send(&packet(0x82, &[&[0, 1], properties, filters].concat()));
        assert_eq!(client.packet(), packet(0x90, &[&[0, 1], properties, &[0x80, 1]].concat()));
    }
}

/// Would refuse everything, and does not want to be asked.
struct Indifferent;

impl Hook for Indifferent {
    fn interest(&self) -> Interest {
        Interest::NONE
    }

    fn authenticate(&mut self, _: &Asking, _: &Authenticate) -> Decision {
        Decision::allow()
    }

    fn subscribe(&mut self, _: &Asking, _: &[(String, SubscribeOptions)]) -> Decision {
        Decision::deny(ReasonCode::NotAuthorized)
    }
}

#[test]
fn it_is_asked_about_no_topic_filter_if_it_says_so() {
    let (_broker, address) = start(Indifferent);
    Client::connect(address, 5, "c").subscribe("t", 1);
}

/// Lets clients in from another thread: `slow` after a while, `never` not at all.
struct Elsewhere;

impl Hook for Elsewhere {
    fn authenticate(&mut self, client: &Asking, _: &Authenticate) -> Decision {
        let name = client.client_id.clone();
        Decision::later(move |responder| {
            std::thread::spawn(move || match &*name {
                "never" => drop(responder),
                "slow" => {
                    std::thread::sleep(Duration::from_millis(500));
                    responder.answer(Answer::Allow);
                }
                _ => responder.answer(Answer::Allow),
            });
        })
    }
}

#[test]
fn an_answer_may_come_from_another_thread_and_others_do_not_wait() {
    let (_broker, address) = start(Elsewhere);
    let mut slow = Client::open(address, 5);
    slow.send(&connect(5, "slow"));
    let mut never = Client::open(address, 5);
    never.send(&connect(5, "never"));
    assert_eq!(never.packet()[3], 0x87, "who cannot answer any more denies");
    Client::connect(address, 5, "quick").subscribe("t", 1);
    slow.stream.set_nonblocking(true).unwrap();
    assert!(slow.stream.peek(&mut [0]).is_err(), "the slow one still waits");
    slow.stream.set_nonblocking(false).unwrap();
    assert_eq!(slow.packet()[3], 0);
}

/// Has a bug that one client meets.
struct Panics;

impl Hook for Panics {
    fn authenticate(&mut self, client: &Asking, _: &Authenticate) -> Decision {
        assert_ne!(client.client_id, "unlucky", "this is the test's panic");
        Decision::NotMine
    }
}

#[test]
fn a_hook_that_panics_denies_and_the_broker_goes_on() {
    let broker = Broker::builder().listen("127.0.0.1:0").hook(Panics).hook(AllowAll).start().unwrap();
    let address = broker.local_addrs()[0];
    for _ in 0..2 {
        let mut unlucky = Client::open(address, 5);
        unlucky.send(&connect(5, "unlucky"));
        assert_eq!(unlucky.packet()[3], 0x87);
        Client::connect(address, 5, "lucky").subscribe("t", 1);
    }
}

/// What the documentation shows, which its own tests compile, is all that somebody has to write.
#[test]
fn hooks_are_short() {
    let page = include_str!("../../../docs/hooks.md");
    let examples = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<usize> = examples.map(|example| example.lines().count()).collect();
    assert!(matches!(lines[..], [at_once, later] if at_once < 20 && later < 40), "{lines:?}");
}
