//! `agent-runner man`.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Cli, Failure, output};

/// Print the manual page, or write the pages of all commands
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  agent-runner man | man -l -\n  agent-runner man --dir /usr/local/share/man/man1")]
pub(super) struct Args {
    /// Write `agent-runner.1` and a page per command into this directory
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let command = Cli::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(|e| Failure::Failed(e.to_string()))?;
        output::line(String::from_utf8_lossy(&page).trim_end());
        return Ok(());
    };
    clap_mangen::generate_to(command, dir)
        .map_err(|e| Failure::Failed(format!("the pages could not be written to {}: {e}", dir.display())))
}
