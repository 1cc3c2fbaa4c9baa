//! Choices of the configuration: who may come in at all, and how much a refusal tells.

mod common;

use broker_engine::{Answer, Config, Interest};
use common::{World, clean};
use mqtt_proto::{ReasonCode, SubscribeOptions, Version};

#[test]
fn versions_below_the_lowest_are_refused() {
    for minimum_protocol_version in [Version::V31, Version::V311, Version::V5] {
        for version in [Version::V31, Version::V311, Version::V5] {
            let mut world = World::new(Config { minimum_protocol_version, ..Config::default() });
            let conn = world.connect_with(&clean(version, "c"));
            let refused = ["CONNACK Unsupported Protocol Version", "closed"];
            let wanted = if version < minimum_protocol_version { &refused[..] } else { &["CONNACK Success"] };
            assert_eq!(world.take(conn), wanted, "{version:?}, {minimum_protocol_version:?} at least");
        }
    }
}

#[test]
fn why_a_subscription_is_refused_can_be_kept_back() {
    for (obscure_not_authorized, not_authorized) in [(false, "87"), (true, "80")] {
        let config = Config { interest: Interest::SUBSCRIBE, obscure_not_authorized, ..Config::default() };
        let mut world = World::new(config);
        let client = world.client(Version::V5, "c");
        world.hold_questions = true;
        for (reason, wanted) in
            [(ReasonCode::NotAuthorized, not_authorized), (ReasonCode::QuotaExceeded, "97")]
        {
            world.subscribe_with(client, "t", SubscribeOptions::default(), None);
            world.answer(Answer::Deny(reason));
            world.expect(client, &[&format!("SUBACK #9 {wanted}")]);
        }
    }
}
