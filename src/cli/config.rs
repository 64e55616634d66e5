//! `agent-runner config`.

use clap::Subcommand;

use super::{Failure, output};
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether the configuration is good, and every fault when it is not
    #[command(after_help = "Example:\n  agent-runner config check --config config.yaml")]
    Check,
    /// Show what is in force, secrets masked
    #[command(after_help = "Example:\n  AGENT_RUNNER__WORKER__CONCURRENCY=8 agent-runner config show")]
    Show,
}

#[expect(clippy::unnecessary_wraps, reason = "every command has this shape")]
pub(super) fn run(settings: &Settings, command: &Command) -> Result<(), Failure> {
    match command {
        // A faulty configuration has been refused before any command runs.
        Command::Check => eprintln!("the configuration is good"),
        Command::Show => output::line(settings.shown()),
    }
    Ok(())
}
