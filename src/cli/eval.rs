//! `agent-runner eval`.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Failure, agents, output};
use crate::{intent, settings::Settings};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Judge the intent rules over a labelled file
    #[command(after_help = "Each line: {\"prompt\": \"…\", \"expected\": \"execute|patch|handoff|unclear\"}

Example:
  agent-runner eval intents tests/data/intents.jsonl --set test")]
    Intents {
        /// JSON Lines
        file: PathBuf,
        /// Only lines whose field `set` is this
        #[arg(long)]
        set: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    Routing(agents::EvalArgs),
}

pub(super) async fn run(settings: Settings, command: Command) -> Result<(), Failure> {
    match command {
        Command::Intents { file, set, json } => intents(&file, set.as_deref(), json),
        Command::Routing(args) => agents::eval(&settings, args).await,
    }
}

fn intents(file: &Path, set: Option<&str>, json: bool) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?;
    let judged = intent::evaluate(&text, set).map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?;
    if json {
        output::json(&judged);
        return Ok(());
    }
    let rows = judged.confusion.iter().flat_map(|(expected, found)| {
        found.iter().map(move |(found, n)| [expected.as_str().to_owned(), found.as_str().to_owned(), n.to_string()])
    });
    output::table(["expected", "found", "prompts"], rows);
    for miss in &judged.misses {
        output::line(format_args!(
            "{} instead of {}: {}",
            miss.found.as_str(),
            miss.expected.as_str(),
            output::clean(&miss.prompt)
        ));
    }
    output::line(format_args!(
        "{} of {} right ({:.1} %), calibrated threshold {:.2} covers {:.1} %, median {:.1} µs",
        judged.correct,
        judged.total,
        judged.accuracy * 100.0,
        judged.calibrated_threshold,
        judged.coverage * 100.0,
        judged.median_us
    ));
    Ok(())
}
