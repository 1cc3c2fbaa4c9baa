//! Limits of the broker, many of them tiny: bounds find bugs.

use super::Small;
use broker_engine::{Config, Overlap, QueueFull, SharedStrategy};
use mqtt_proto::QoS;
use std::time::Duration;

impl Small {
    pub(super) fn limits(&mut self) -> Config {
        let Self { limits: stream, .. } = self;
        let mut config = Config::default();
        if stream.chance(500) {
            config.max_inflight = u16::try_from(stream.by_magnitude(1, 20)).unwrap_or(1);
        }
        if stream.chance(300) {
            config.max_queued_messages = u32::try_from(stream.by_magnitude(1, 50)).unwrap_or(1);
        }
        if stream.chance(200) {
            config.max_queued_bytes = u32::try_from(stream.by_magnitude(50, 5000)).unwrap_or(50);
        }
        if stream.chance(300) {
            config.receive_maximum = u16::try_from(stream.by_magnitude(1, 20)).unwrap_or(1);
        }
        config.max_session_expiry = match stream.below(10) {
            0 | 1 => u32::try_from(stream.by_magnitude(1, 600)).unwrap_or(1),
            2 | 3 => u32::MAX,
            _ => config.max_session_expiry,
        };
        if stream.chance(100) {
            config.max_sessions = u32::try_from(stream.between(1, 6)).unwrap_or(1);
        }
        if stream.chance(200) {
            config.max_message_expiry = u32::try_from(stream.by_magnitude(1, 100)).unwrap_or(1);
        }
        if stream.chance(300) {
            config.work_per_call = u32::try_from(stream.by_magnitude(1, 64)).unwrap_or(1);
        }
        if stream.chance(200) {
            config.match_cache_entries = u32::try_from(stream.below(4)).unwrap_or(0);
        }
        if stream.chance(300) {
            (config.egress_high, config.egress_low) = (2000, 500);
        }
        if stream.chance(300) {
            config.stall_timeout = Duration::from_secs(stream.by_magnitude(1, 30));
        }
        config.queue_qos0_offline = stream.chance(300);
        if stream.chance(300) {
            config.queue_full = QueueFull::DropNew;
        }
        if stream.chance(300) {
            config.overlap = Overlap::PerSubscription;
        }
        // Only taking turns can be seen from outside.
        let strategies = [
            SharedStrategy::RoundRobin,
            SharedStrategy::RoundRobin,
            SharedStrategy::RoundRobin,
            SharedStrategy::RoundRobin,
            SharedStrategy::RoundRobin,
            SharedStrategy::Random,
            SharedStrategy::Sticky,
            SharedStrategy::LeastInflight,
            SharedStrategy::HashClient,
            SharedStrategy::HashTopic,
        ];
        config.shared_strategy = *stream.pick(&strategies);
        if stream.chance(100) {
            config.maximum_qos = QoS::AtLeastOnce;
        }
        config.bind_session_to_user = stream.chance(300);
        // Those that came later have a stream of their own.
        let mut stream = (self.stream)("small limits");
        if stream.chance(150) {
            config.max_retained_messages = u32::try_from(stream.between(1, 4)).unwrap_or(1);
        }
        if stream.chance(150) {
            config.max_subscriptions_per_session = u32::try_from(stream.between(1, 5)).unwrap_or(1);
        }
        if stream.chance(150) {
            config.max_keep_alive = u16::try_from(stream.by_magnitude(1, 60)).unwrap_or(1);
        }
        if let Some(mut stream) = self.class("N14") {
            config.max_connections = u32::try_from(stream.between(2, 8)).unwrap_or(1);
        }
        self.offer(&mut config);
        config
    }

    /// What clients may ask for, and how much of it in a packet. Whoever does not care gets in and leaves all the same.
    fn offer(&self, config: &mut Config) {
        let mut stream = (self.stream)("offers");
        if !stream.chance(400) {
            return;
        }
        let mut is_offered = || !stream.chance(200);
        config.retain_available = is_offered();
        config.wildcard_subscriptions = is_offered();
        config.shared_subscriptions = is_offered();
        config.subscription_ids = is_offered();
        if !is_offered() {
            config.maximum_qos = QoS::AtMostOnce;
        }
        let mut some = |low, high| {
            let number = u16::try_from(stream.by_magnitude(low, high)).unwrap_or(u16::MAX);
            stream.chance(200).then_some(number)
        };
        config.max_packet_size = some(24, 400).map_or(config.max_packet_size, u32::from);
        config.max_packet_size_before_connect =
            some(100, 400).map_or(config.max_packet_size_before_connect, u32::from);
        config.max_client_id_length = some(2, 30).unwrap_or(config.max_client_id_length);
        config.max_topic_length = some(1, 12).unwrap_or(config.max_topic_length);
        config.max_topic_levels = some(1, 3).unwrap_or(config.max_topic_levels);
        config.max_user_properties = some(0, 3).unwrap_or(config.max_user_properties);
        config.max_user_property_bytes = some(1, 60).map_or(config.max_user_property_bytes, u32::from);
        config.max_filters_per_packet = some(1, 2).unwrap_or(config.max_filters_per_packet);
        config.topic_alias_maximum = some(0, 2).unwrap_or(config.topic_alias_maximum);
    }
}
