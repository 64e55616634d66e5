//! `agent-runner completions`.

use clap::CommandFactory;

use super::{Cli, Failure, output};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  agent-runner completions bash > /etc/bash_completion.d/agent-runner")]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "every command has this shape")]
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agent-runner", &mut script);
    output::line(String::from_utf8_lossy(&script));
    Ok(())
}
