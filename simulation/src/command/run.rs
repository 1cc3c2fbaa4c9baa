//! One seed.

use super::{Playing, at_least_one, tell, write};
use clap::{Args, ValueEnum};
use simulation::scenario::{Profile, generate};
use simulation::variants::play_compared;
use simulation::world::Options;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Run {
    /// The seed
    seed: u64,
    /// Print what happens
    #[arg(long)]
    trace: bool,
    /// Save the scenario to this file
    #[arg(long)]
    save: Option<PathBuf>,
    /// How large a world
    #[arg(long, value_enum, default_value_t = Size::Small)]
    profile: Size,
    /// Clients of a large one
    #[arg(long, default_value_t = 1000, value_parser = at_least_one())]
    clients: usize,
    #[command(flatten)]
    playing: Playing,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// A few clients, everything that can go wrong
    Small,
    /// The same, and processes that end again and again and begin from the store
    Crash,
    /// Many clients that publish and subscribe
    Dense,
    /// Very many clients that are mostly idle
    Fleet,
}

impl Run {
    pub(crate) fn run(&self) -> Result<bool, String> {
        let clients = self.clients;
        let profile = match self.profile {
            Size::Small => Profile::Small,
            Size::Crash => Profile::Crash,
            Size::Dense => Profile::Dense { clients },
            Size::Fleet => Profile::Fleet { clients },
        };
        let scenario = generate(self.seed, profile);
        if let Some(file) = &self.save {
            write(file, &scenario.to_json())?;
        }
        let options = Options { trace: self.trace, ..self.playing.options() };
        Ok(tell(&play_compared(&scenario, options), self.trace))
    }
}
