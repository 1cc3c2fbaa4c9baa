//! What an embedding program decides about clients, over real sockets.

mod common;

use common::{Client, connect, packet};
use metronome_tokio::host::engine::mqtt_proto::ReasonCode;
use metronome_tokio::host::engine::{Answer, Interest, Question};
use metronome_tokio::{Authenticator, Broker, BrokerHandle};
use std::net::SocketAddr;

fn start(authenticator: impl Authenticator + 'static) -> (BrokerHandle, SocketAddr) {
    let broker = Broker::builder().listen("127.0.0.1:0").authenticator(authenticator).start().unwrap();
    let address = broker.local_addrs()[0];
    (broker, address)
}

/// Denies with one reason.
struct Denies(ReasonCode);

impl Authenticator for Denies {
    fn answer(&mut self, _: &Question) -> Answer {
        Answer::Deny(self.0)
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

impl Authenticator for Reluctant {
    fn interest(&self) -> Interest {
        Interest::SUBSCRIBE
    }

    fn answer(&mut self, question: &Question) -> Answer {
        let Question::Subscribe { client_id, filters } = question else { return Answer::Allow };
        assert_eq!(client_id, "c");
        let verdict = |filter: &str| match filter {
            "secret" => ReasonCode::UnspecifiedError,
            _ => ReasonCode::GrantedQoS1,
        };
        Answer::Filters(filters.iter().map(|(filter, _)| verdict(filter)).collect())
    }
}

#[test]
fn it_is_asked_about_each_topic_filter_if_it_says_so() {
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

impl Authenticator for Indifferent {
    fn answer(&mut self, question: &Question) -> Answer {
        match question {
            Question::Subscribe { .. } => Answer::Deny(ReasonCode::NotAuthorized),
            _ => Answer::Allow,
        }
    }
}

#[test]
fn it_is_asked_about_no_topic_filter_unless_it_says_so() {
    let (_broker, address) = start(Indifferent);
    Client::connect(address, 5, "c").subscribe("t", 1);
}
