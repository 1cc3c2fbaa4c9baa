//! A plugin to begin with: a topic for each client says whether it is there.
//!
//! * [`LastSeen`] — the hook: it hears of clients that come and go, and publishes
//! * [`Section`] — its section of the configuration file, and [`read`], which takes it out of the broker's
//! * `main.rs` — a broker with this plugin
#![forbid(unsafe_code)]

use metronome_tokio::host::engine::mqtt_proto::QoS;
use metronome_tokio::host::engine::{ApplicationMessage, Command, Interest, Note};
use metronome_tokio::{BrokerConfig, Commands, Hook};
use serde::Deserialize;
use std::error::Error;
use std::net::SocketAddr;

/// What the file says below `[last_seen]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// What the topics begin with.
    pub topic: String,
    /// Clients of which nothing is told.
    #[serde(default)]
    pub except: Vec<String>,
}

/// Reads a file of the broker with the section of this plugin in it, which need not be there.
///
/// # Errors
/// The file says something that neither of them knows.
pub fn read(text: &str) -> Result<(BrokerConfig, Option<Section>), Box<dyn Error>> {
    let mut file: toml::Table = text.parse()?;
    let section = file.remove("last_seen").map(Section::deserialize).transpose();
    let section = section.map_err(|error| format!("last_seen: {}", error.message()))?;
    Ok((BrokerConfig::from_toml(&file.to_string())?, section))
}

/// Publishes `online` or `offline` to a retained topic of each client. It is loaded by being added to a broker, and unloaded by
/// being dropped, which a broker does with its hooks when it has stopped.
#[derive(Debug)]
pub struct LastSeen {
    section: Section,
    commands: Commands,
}

impl LastSeen {
    /// As the section says.
    pub fn new(section: Section) -> Self {
        Self { section, commands: Commands::default() }
    }

    fn tell(&self, client_id: &str, state: &'static str) {
        // Who was never let in has no name; and a name must not reach into other topics.
        let is_told = !client_id.is_empty() && !client_id.contains(['/', '+', '#']);
        if is_told && !self.section.except.iter().any(|name| name == client_id) {
            self.commands.send(Command::Publish(ApplicationMessage {
                topic: format!("{}/{client_id}", self.section.topic),
                payload: state.into(),
                qos: QoS::AtLeastOnce,
                retain: true,
                ..ApplicationMessage::default()
            }));
        }
    }
}

impl Hook for LastSeen {
    fn interest(&self) -> Interest {
        Interest::CLIENTS
    }

    fn joined(&mut self, commands: Commands) {
        self.commands = commands;
    }

    fn note(&mut self, note: &Note, _: Option<SocketAddr>) {
        match note {
            Note::Connected { client_id, .. } => self.tell(client_id, "online"),
            Note::Disconnected { client_id, .. } => self.tell(client_id, "offline"),
            _ => {}
        }
    }
}

impl Drop for LastSeen {
    fn drop(&mut self) {
        println!("last_seen is unloaded");
    }
}
