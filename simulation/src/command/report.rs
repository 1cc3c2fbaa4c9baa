//! Campaigns of many days, added up.

use crate::output::put;
use crate::report::table;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Report {
    /// What `swarm --database` has kept
    #[arg(long)]
    database: PathBuf,
}

impl Report {
    pub(crate) fn run(&self) -> Result<bool, String> {
        put(format_args!("{}", table(&self.database)?));
        Ok(true)
    }
}
