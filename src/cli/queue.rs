//! `agent-runner queue`.

use clap::Subcommand;

use super::{Failure, assemble, jobs::said, output};
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// How many jobs are where
    #[command(after_help = "Example:\n  agent-runner queue stats --json")]
    Stats {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop taking jobs, on every worker of the fleet
    #[command(after_help = "Example:\n  agent-runner queue pause")]
    Pause,
    /// Take jobs again
    #[command(after_help = "Example:\n  agent-runner queue resume")]
    Resume,
}

pub(super) async fn run(settings: Settings, command: Command) -> Result<(), Failure> {
    let queue = assemble::redis_queue(&settings).await?;
    let done = match command {
        Command::Stats { json } => {
            let stats = queue.stats().await.map_err(assemble::queue_failed)?;
            if json {
                output::json(&stats);
            } else {
                let rows = [
                    ["pending", &stats.pending.to_string()],
                    ["ready again", &stats.ready.to_string()],
                    ["scheduled", &stats.scheduled.to_string()],
                    ["in flight", &stats.in_flight.to_string()],
                    ["awaiting approval", &stats.awaiting_approval.to_string()],
                    ["dead letters", &stats.dead.to_string()],
                    ["oldest, seconds", &format!("{:.1}", stats.oldest_age_ms as f64 / 1000.0)],
                    ["paused", if stats.paused { "yes" } else { "no" }],
                ];
                output::table(["", "jobs"], rows.map(|row| row.map(str::to_owned)).into_iter());
            }
            Ok(())
        }
        Command::Pause => {
            queue.set_paused(true).await.map_err(assemble::queue_failed)?;
            said("the queue is paused for the whole fleet".into())
        }
        Command::Resume => {
            queue.set_paused(false).await.map_err(assemble::queue_failed)?;
            said("the queue goes on".into())
        }
    };
    queue.close().await;
    done
}
