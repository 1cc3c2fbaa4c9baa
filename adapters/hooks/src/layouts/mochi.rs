//! Mochi: `listeners`, `hooks`, `options`, `logging`.

use super::Becomes::{AtMost, Flag, Milliseconds, Same};
use super::keys::{Keys, wrong};
use super::{Foreign, Rule, listener};
use crate::source::LoadError;
use metronome_host::BrokerConfig;
use metronome_host::config::ListenerConfig;
use metronome_host::config::listeners::Transport;
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
    ("options.capabilities.compatibilities.restore_sys_info_on_restart", "storage", "keep_counters", Same),
];

/// Zero means another number there.
const ZEROES: [(&str, u64); 2] = [
    ("options.capabilities.maximum_packet_size", super::LARGEST_PACKET),
    ("options.capabilities.maximum_inflight", 8192),
];

/// What of it is here as if it were off.
const OFF: [&str; 6] = [
    "hooks.auth.enable",
    "hooks.debug.enable",
    "options.capabilities.compatibilities.passive_client_disconnect",
    "options.capabilities.compatibilities.always_return_response_info",
    "options.capabilities.compatibilities.restore_sys_info_on_restart",
    "options.capabilities.compatibilities.no_inherited_properties_on_ack",
];

pub(super) fn translate(path: &Path, mut keys: Keys, base: BrokerConfig) -> Result<Foreign, LoadError> {
    for (key, meant) in ZEROES {
        keys.reword(key, 0, meant);
    }
    let mut config = keys.follow(base, RULES)?;
    let mut ignored = Vec::new();
    for at in keys.entries("listeners")? {
        let kind = keys.take_text(&format!("{at}.type"))?.ok_or_else(|| wrong(&at, "has no type"))?;
        let (transport, path) = match &*kind {
            "tcp" => (None, None),
            // It takes any path, and its own example none.
            "ws" => (Some(Transport::Ws), Some("/".to_owned())),
            "unix" => (Some(Transport::Unix), None),
            "healthcheck" | "sysinfo" => (Some(Transport::Http), None),
            _ => {
                keys.take_below(&at);
                ignored.push(format!("{at}: a listener of the type {kind}"));
                continue;
            }
        };
        let address =
            keys.take_text(&format!("{at}.address"))?.ok_or_else(|| wrong(&at, "has no address"))?;
        let name = keys.take_text(&format!("{at}.id"))?.unwrap_or_default();
        let listener = match transport {
            Some(Transport::Unix) => ListenerConfig::at(address),
            _ => listener(&address),
        };
        config.listeners.push(ListenerConfig { transport, path, name, ..listener });
    }
    if config.listeners.is_empty() && !ignored.is_empty() {
        return Err(wrong("listeners", "none of them is of a type that there is here"));
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
    // Inline clients are there whenever somebody asks for one.
    keys.take("options.inline_client");
    for key in OFF {
        keys.take_if(key, false);
    }
    ignored.extend(keys.ignored());
    ignored.sort();
    Ok(Foreign { config, ignored })
}
