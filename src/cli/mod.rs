//! The commands: one file each.

mod agent_tools;
mod agents;
mod agents_push;
mod assemble;
mod completions;
mod config;
mod dead;
mod eval;
mod jobs;
mod man;
mod output;
mod part;
mod queue;
mod replay;
mod replies;
mod run;
mod search;
mod serve;
mod stores;
mod submit;
mod tools;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    settings::{Settings, environment},
    tools::mcp,
};

/// Takes JSON jobs from Redis, plans them with or without a model, and publishes exactly one result each.
#[derive(Debug, Parser)]
#[command(name = "agent-runner", version, about, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Configuration file [default: $AGENT_RUNNER_CONFIG, else config.yaml where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work on the queue until told to stop, with health, metrics and the API beside it
    Serve(serve::Args),
    /// Run one job in this process: no Redis, no key needed
    Run(run::Args),
    /// Put a job into the queue
    Submit(submit::Args),
    /// Look at jobs, cancel, approve, reject or retry them
    #[command(subcommand, after_help = "Example:\n  agent-runner jobs list --status failed")]
    Jobs(jobs::Command),
    /// Look at dead letters, put them back or throw them away
    #[command(subcommand, after_help = "Example:\n  agent-runner dead list")]
    Dead(dead::Command),
    /// Numbers of the queue; pause and resume it for the whole fleet
    #[command(subcommand, after_help = "Example:\n  agent-runner queue stats")]
    Queue(queue::Command),
    /// Run a job that has ended once more from its journal, and compare
    Replay(replay::Args),
    /// List and check the agents; find the one for a prompt
    #[command(subcommand)]
    Agents(agents::Command),
    /// List promoted tools (pipelines that worked twice), show one, switch it off and on
    #[command(subcommand, after_help = "Example:\n  agent-runner tools list")]
    Tools(tools::Command),
    /// Measure decisions over a labelled file
    #[command(subcommand, after_help = "Example:\n  agent-runner eval intents tests/data/intents.jsonl")]
    Eval(eval::Command),
    /// Check or show the configuration
    #[command(subcommand, after_help = "Example:\n  agent-runner config check")]
    Config(config::Command),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page, or write the pages of all commands
    Man(man::Args),
}

/// Why a command ended badly.
#[derive(Debug)]
pub enum Failure {
    /// The command line, a file or the configuration is wrong: exit code 2.
    Usage(String),
    /// The work itself failed: exit code 1.
    Failed(String),
    /// It failed and has said so already: exit code 1.
    Told,
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Told => ExitCode::from(1),
        }
    }
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything is read: a guard has the environment of an MCP server.
    if let Some(code) = mcp::guard(std::env::args_os(), |why| eprintln!("error: {why}")) {
        return code;
    }
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Failure::Usage(text) | Failure::Failed(text) = &failure {
                for line in text.lines() {
                    eprintln!("error: {line}");
                }
            }
            failure.code()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    match &cli.command {
        Command::Completions(args) => return completions::run(args),
        Command::Man(args) => return man::run(args),
        _ => {}
    }
    let settings = Settings::load(cli.config.as_deref(), &environment()).map_err(|e| Failure::Usage(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("the async runtime did not start: {e}")))?;
    runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(settings, args).await,
            Command::Run(args) => run::run(settings, args).await,
            Command::Submit(args) => submit::run(settings, args).await,
            Command::Jobs(command) => jobs::run(settings, command).await,
            Command::Dead(command) => dead::run(settings, command).await,
            Command::Queue(command) => queue::run(settings, command).await,
            Command::Replay(args) => replay::run(settings, args).await,
            Command::Agents(command) => agents::run(&settings, command).await,
            Command::Tools(command) => tools::run(settings, command).await,
            Command::Eval(command) => eval::run(settings, command).await,
            Command::Config(command) => config::run(&settings, &command),
            Command::Completions(_) | Command::Man(_) => Ok(()),
        }
    })
}
