//! What goes into the log about clients. Text that clients chose is given as text: each form of the log escapes it in its
//! own way.

use broker_engine::{Interest, Note};
use metronome_host::Hook;
use std::net::SocketAddr;

/// Logs what happens, and leaves decisions to others.
pub struct Log;

impl Hook for Log {
    /// A line for each dropped message would be a flood, so it has to be asked for; `drops` counts them for everybody
    /// else.
    fn interest(&self) -> Interest {
        let drops = tracing::enabled!(tracing::Level::DEBUG);
        if drops { Interest::CLIENTS | Interest::DROPS } else { Interest::CLIENTS }
    }

    fn note(&mut self, note: &Note, peer: Option<SocketAddr>) {
        log(note, peer);
    }
}

fn log(note: &Note, peer: Option<SocketAddr>) {
    let peer = peer.map(tracing::field::display);
    match note {
        Note::Connected { conn, client_id, version, session_present } => {
            let (conn, client, version) = (conn.slot(), client_id.as_str(), version.name());
            tracing::info!(conn, peer, client, version, session_present, "client connected");
        }
        Note::Disconnected { conn, client_id, reason, detail } if client_id.is_empty() => {
            let (conn, reason, detail) = (conn.slot(), reason.name(), detail.as_str());
            tracing::info!(conn, peer, reason, detail, "connection refused");
        }
        Note::Disconnected { conn, client_id, reason, detail } => {
            let (conn, reason, detail) = (conn.slot(), reason.name(), detail.as_str());
            tracing::info!(conn, peer, client = client_id.as_str(), reason, detail, "client disconnected");
        }
        Note::WillSent { client_id, topic } => {
            tracing::debug!(client = client_id.as_str(), topic = topic.as_str(), "will sent");
        }
        Note::SessionEnded { client_id, reason } => {
            tracing::debug!(client = client_id.as_str(), ?reason, "session ended");
        }
        Note::MessageDropped { client_id, topic, reason } => {
            let (client, topic, reason) = (client_id.as_str(), topic.as_str(), reason.name());
            tracing::debug!(client, topic, reason, "message dropped");
        }
        _ => {}
    }
}
