//! Mochi: `listeners`, `hooks`, `options`, `logging`.

use super::Becomes::{AtMost, Flag, Milliseconds, Same};
use super::{Foreign, Keys, Rule, listener, wrong};
use crate::source::LoadError;
use metronome_host::BrokerConfig;
use metronome_host::config::ListenerConfig;
use metronome_host::config::listeners::Transport;
use serde_json::Value;
use std::path::Path;

const RULES: &[Rule] = &[
    ("options.sys_topic_resend_interval", "sys_topics", "interval_ms", Milliseconds),
    ("options.capabilities.maximum_clients", "limits", "max_connections", AtMost(u32::MAX as u64)),
    (
        "options.capabilities.maximum_message_expiry_interval",
        "limits",
        "max_message_expiry",
        AtMost(u32::MAX as u64),
    ),
    (
        "options.capabilities.maximum_client_writes_pending",
        "limits",
        "max_queued_messages",
        AtMost(u32::MAX as u64),
    ),
    (
        "options.capabilities.maximum_session_expiry_interval",
        "limits",
        "max_session_expiry",
        AtMost(u32::MAX as u64),
    ),
    ("options.capabilities.maximum_packet_size", "limits", "max_packet_size", AtMost(super::LARGEST_PACKET)),
    ("options.capabilities.receive_maximum", "limits", "receive_maximum", Same),
    ("options.capabilities.maximum_inflight", "limits", "max_inflight", Same),
    ("options.capabilities.topic_alias_maximum", "limits", "topic_alias_maximum", Same),
    ("options.capabilities.shared_sub_available", "limits", "shared_subscriptions", Flag),
    ("options.capabilities.minimum_protocol_version", "limits", "minimum_protocol_version", Same),
    ("options.capabilities.maximum_qos", "limits", "maximum_qos", Same),
    ("options.capabilities.retain_available", "limits", "retain_available", Flag),
    ("options.capabilities.wildcard_sub_available", "limits", "wildcard_subscriptions", Flag),
    ("options.capabilities.sub_id_available", "limits", "subscription_ids", Flag),
    ("options.capabilities.compatibilities.obscure_not_authorized", "limits", "obscure_not_authorized", Same),
];

/// Zero means another number there.
const ZEROES: [(&str, u64); 2] = [
    ("options.capabilities.maximum_packet_size", super::LARGEST_PACKET),
    ("options.capabilities.maximum_inflight", 8192),
];

pub(super) fn translate(path: &Path, file: Value, base: BrokerConfig) -> Result<Foreign, LoadError> {
    let mut keys = Keys::of(file);
    for (key, meant) in ZEROES {
        if keys.0.get(key).is_some_and(|value| *value == 0) {
            keys.0.insert(key.to_owned(), meant.into());
        }
    }
    let mut config = keys.follow(base, RULES)?;
    let mut ignored = Vec::new();
    for entry in keys.take("listeners").as_ref().and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        match (text("type"), text("address")) {
            (Some("tcp"), Some(address)) => config.listeners.push(listener(address)),
            (Some("ws"), Some(address)) => {
                // It takes any path, and its own example none.
                let (transport, path) = (Some(Transport::Ws), Some("/".to_owned()));
                config.listeners.push(ListenerConfig { transport, path, ..listener(address) });
            }
            (Some("unix"), Some(address)) => {
                let transport = Some(Transport::Unix);
                config.listeners.push(ListenerConfig { transport, ..ListenerConfig::at(address) });
            }
            (Some("healthcheck" | "sysinfo"), Some(address)) => {
                let transport = Some(Transport::Http);
                config.listeners.push(ListenerConfig { transport, ..listener(address) });
            }
            (Some(kind), _) => ignored.push(format!("listeners: a listener of the type {kind}")),
            (None, _) => return Err(wrong("listeners", "one has no type")),
        }
    }
    let allow_all = keys.take_flag("hooks.auth.allow_all")?;
    let has_ledger = keys.take_below("hooks.auth.ledger");
    match (allow_all, has_ledger) {
        (true, true) => ignored.push("hooks.auth.ledger: hooks.auth.allow_all is stronger".to_owned()),
        (true, false) => {}
        (false, true) => config.access_control.ledgers.push(path.to_owned()),
        (false, false) => return Err(wrong("hooks.auth", "says nothing: nobody could connect")),
    }
    config.allow_anonymous = allow_all;
    // Inline clients are there whenever somebody asks for one, and what is off needs nothing.
    keys.take("options.inline_client");
    keys.0.retain(|_, value| *value != false);
    ignored.extend(keys.ignored());
    ignored.sort();
    Ok(Foreign { config, ignored })
}
