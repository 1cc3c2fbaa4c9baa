//! How much memory a session takes that nobody uses: the engine by hand, and nothing beside it.

use broker_engine::{
    Answer, CloseCause, Config, ConnIds, Engine, HashKey, Input, ListenerId, Outbox, Seed, Time,
};
use mqtt_proto::{Connect, ConnectProperties, Packet, Version};

/// An engine full of sessions.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Sessions that are there.
    pub sessions: usize,
    /// Bytes by the engine's own account, all clients connected.
    pub connected: u64,
    /// Bytes by which the process grew until then, where that can be known.
    pub resident: Option<u64>,
    /// Bytes by the engine's own account, once all connections are gone.
    pub offline: u64,
}

/// Lets so many clients in, and takes their connections away.
///
/// # Panics
/// Never: every CONNECT can be written.
pub fn measure(sessions: usize) -> Idle {
    let before = resident();
    let config = Config { max_sessions: u32::MAX, ..Config::default() };
    let mut engine = Engine::new(config, Seed(0), HashKey([1, 2]));
    let (mut ids, mut out) = (ConnIds::new(), Outbox::new());
    let mut bytes = Vec::new();
    let mut conns = Vec::new();
    for number in 0..sessions {
        let (now, conn) = (Time::from_micros(number as u64), ids.allocate());
        bytes.clear();
        connect(&format!("client-{number}"))
            .encode(Version::V5, &mut bytes)
            .expect("a packet that can be written");
        engine.handle(now, Input::Opened { conn, listener: ListenerId(0), peer: None }, &mut out);
        engine.handle(now, Input::Received { conn, data: &bytes }, &mut out);
        for call in std::mem::take(&mut out.calls) {
            engine.handle(now, Input::Reply { call: call.id, answer: Answer::Allow }, &mut out);
        }
        out.clear();
        conns.push(conn);
    }
    let connected = engine.view().memory_used();
    let resident = resident().zip(before).map(|(after, before)| after.saturating_sub(before));
    for conn in conns {
        engine.handle(Time::ZERO, Input::Closed { conn, cause: CloseCause::PeerClosed }, &mut out);
        out.clear();
    }
    let view = engine.view();
    Idle { sessions: view.sessions(), connected, resident, offline: view.memory_used() }
}

fn connect(client_id: &str) -> Packet<'_> {
    Packet::Connect(Connect {
        version: Version::V5,
        client_id,
        clean_start: false,
        keep_alive: 60,
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties { session_expiry_interval: Some(3600), ..ConnectProperties::default() },
    })
}

/// Bytes of this process that are in memory, as Linux tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_there_and_small() {
        let idle = measure(1000);
        assert_eq!(idle.sessions, 1000);
        assert!(
            0 < idle.offline && idle.offline < idle.connected && idle.connected < 2048 * 1000,
            "{idle:?}"
        );
    }
}
