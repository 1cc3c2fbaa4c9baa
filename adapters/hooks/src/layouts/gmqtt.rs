//! gmqtt: `listeners`, `mqtt`, `plugins`, and more that has no counterpart.

use super::Becomes::{AtMost, Same, Seconds, Word};
use super::{Foreign, Keys, Rule, listener, wrong};
use crate::source::LoadError;
use metronome_host::BrokerConfig;
use metronome_host::config::AccountsHash;
use metronome_host::config::listeners::{ClientCertificates, TlsConfig, Transport};
use serde_json::Value;
use std::path::Path;

const RULES: &[Rule] = &[
    ("mqtt.session_expiry", "limits", "max_session_expiry", Seconds),
    ("mqtt.message_expiry", "limits", "max_message_expiry", Seconds),
    ("mqtt.max_packet_size", "limits", "max_packet_size", AtMost(super::LARGEST_PACKET)),
    ("mqtt.server_receive_maximum", "limits", "receive_maximum", Same),
    ("mqtt.max_keepalive", "limits", "max_keep_alive", Same),
    ("mqtt.topic_alias_maximum", "limits", "topic_alias_maximum", Same),
    ("mqtt.subscription_identifier_available", "limits", "subscription_ids", Same),
    ("mqtt.wildcard_subscription_available", "limits", "wildcard_subscriptions", Same),
    ("mqtt.shared_subscription_available", "limits", "shared_subscriptions", Same),
    ("mqtt.maximum_qos", "limits", "maximum_qos", Same),
    ("mqtt.retain_available", "limits", "retain_available", Same),
    ("mqtt.max_queued_messages", "limits", "max_queued_messages", Same),
    ("mqtt.max_inflight", "limits", "max_inflight", Same),
    ("mqtt.queue_qos0_messages", "limits", "queue_qos0_offline", Same),
    (
        "mqtt.delivery_mode",
        "limits",
        "overlap",
        Word(&[("onlyonce", "once"), ("overlap", "per-subscription")]),
    ),
    ("mqtt.allow_zero_length_clientid", "limits", "allow_empty_client_id", Same),
];

/// Choices there that are how it is here.
const AS_HERE: [(&str, &str); 2] = [("persistence.type", "memory"), ("topic_alias_manager.type", "fifo")];

pub(super) fn translate(path: &Path, file: Value, base: BrokerConfig) -> Result<Foreign, LoadError> {
    let mut keys = Keys::of(file);
    let mut config = keys.follow(base, RULES)?;
    let mut ignored = Vec::new();
    for entry in keys.take("listeners").as_ref().and_then(Value::as_array).into_iter().flatten() {
        let address = entry.get("address").and_then(Value::as_str);
        let mut listener = listener(address.ok_or_else(|| wrong("listeners", "one has no address"))?);
        let text = |section: &str, key: &str| entry.get(section)?.get(key)?.as_str().map(ToOwned::to_owned);
        let below = |file: String| path.parent().unwrap_or(Path::new("")).join(file);
        listener.tls = text("tls", "cert").zip(text("tls", "key")).map(|(certificate, key)| TlsConfig {
            certificate: below(certificate),
            key: below(key),
            ca: text("tls", "cacert").map(below),
            client_certificates: match entry.pointer("/tls/verify").and_then(Value::as_bool) {
                Some(true) => ClientCertificates::Required,
                _ => ClientCertificates::None,
            },
            ..TlsConfig::default()
        });
        listener.path = text("websocket", "path");
        listener.transport = Some(match (&listener.tls, &listener.path) {
            (None, None) => Transport::Tcp,
            (Some(_), None) => Transport::Tls,
            (None, Some(_)) => Transport::Ws,
            (Some(_), Some(_)) => Transport::Wss,
        });
        config.listeners.push(listener);
    }
    let order = keys.take("plugin_order");
    let order = order.as_ref().and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let (auth, others): (Vec<&str>, Vec<&str>) = order.partition(|plugin| *plugin == "auth");
    ignored.extend(others.into_iter().map(|plugin| format!("plugin_order: {plugin}")));
    let file = keys.take_text("plugins.auth.password_file")?;
    let hash = keys.take_text("plugins.auth.hash")?;
    if auth.is_empty() {
        // It lets in everybody then.
        config.allow_anonymous = true;
    } else {
        let file = file.unwrap_or_else(|| "gmqtt_password.yml".to_owned());
        config.access_control.accounts = Some(path.parent().unwrap_or(Path::new("")).join(file));
        config.access_control.accounts_hash = match hash.as_deref() {
            None | Some("md5") => AccountsHash::Md5,
            Some("plain") => AccountsHash::Plain,
            Some("sha256") => AccountsHash::Sha256,
            Some("bcrypt") => AccountsHash::Bcrypt,
            Some(_) => return Err(wrong("plugins.auth.hash", "is none of plain, md5, sha256 and bcrypt")),
        };
    }
    for (key, choice) in AS_HERE {
        if keys.0.get(key).is_some_and(|value| value == choice) {
            keys.take(key);
        }
    }
    ignored.extend(keys.ignored());
    ignored.sort();
    Ok(Foreign { config, ignored })
}
