//! gmqtt: `listeners`, `mqtt`, `plugins`, and more that has no counterpart.

use super::Becomes::{AtMost, Same, Seconds, Word};
use super::keys::{Keys, wrong};
use super::{Foreign, Rule, listener};
use crate::source::LoadError;
use metronome_host::BrokerConfig;
use metronome_host::config::AccountsHash;
use metronome_host::config::listeners::{ClientCertificates, TlsConfig, Transport};
use metronome_host::engine::Durability;
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

pub(super) fn translate(path: &Path, mut keys: Keys, base: BrokerConfig) -> Result<Foreign, LoadError> {
    let mut config = keys.follow(base, RULES)?;
    let mut ignored = Vec::new();
    for at in keys.entries("listeners")? {
        let address =
            keys.take_text(&format!("{at}.address"))?.ok_or_else(|| wrong(&at, "has no address"))?;
        let mut listener = listener(&address);
        listener.tls = tls(&mut keys, &format!("{at}.tls"), path)?;
        let url_path = keys.take_text(&format!("{at}.websocket.path"))?;
        if keys.take_below(&format!("{at}.websocket")) || url_path.is_some() {
            listener.path = url_path.or_else(|| Some("/".to_owned()));
        }
        listener.transport = Some(match (&listener.tls, &listener.path) {
            (None, None) => Transport::Tcp,
            (Some(_), None) => Transport::Tls,
            (None, Some(_)) => Transport::Ws,
            (Some(_), Some(_)) => Transport::Wss,
        });
        config.listeners.push(listener);
    }
    let order = keys.take_words("plugin_order")?;
    let (auth, others): (Vec<String>, Vec<String>) = order.into_iter().partition(|plugin| plugin == "auth");
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
    if keys.take_if("persistence.type", "memory") {
        config.storage.durability = Durability::Memory;
    }
    // As here.
    keys.take_if("topic_alias_manager.type", "fifo");
    ignored.extend(keys.ignored());
    ignored.sort();
    Ok(Foreign { config, ignored })
}

/// The section of TLS at this place. What is in it and not known is an error, or clients would come in without what it asks for.
fn tls(keys: &mut Keys, at: &str, path: &Path) -> Result<Option<TlsConfig>, LoadError> {
    if !keys.has_below(at) {
        return Ok(None);
    }
    let mut file = |key: &str| {
        let file = keys.take_text(&format!("{at}.{key}"))?;
        Ok(file.map(|file| path.parent().unwrap_or(Path::new("")).join(file)))
    };
    let (certificate, key, ca) = (file("cert")?, file("key")?, file("cacert")?);
    let client_certificates = if keys.take_flag(&format!("{at}.verify"))? {
        ClientCertificates::Required
    } else {
        ClientCertificates::None
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) if !keys.has_below(at) => {
            Ok(Some(TlsConfig { certificate, key, ca, client_certificates, ..TlsConfig::default() }))
        }
        _ => Err(wrong(at, "has to have cert and key, and may have cacert and verify")),
    }
}
