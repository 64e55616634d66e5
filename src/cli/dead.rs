//! `agent-runner dead`.

use clap::Subcommand;

use super::{Failure, assemble, jobs::said, output};
use crate::{
    job::JobId,
    queue::{DeadLetter, SharedQueue},
    settings::Settings,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List dead letters, latest first
    #[command(after_help = "Example:\n  agent-runner dead list --limit 20")]
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a dead letter back into the queue, to start afresh
    #[command(after_help = "Example:\n  agent-runner dead retry uuid-123")]
    Retry {
        /// The job's id
        #[arg(value_parser = JobId::parse)]
        job_id: JobId,
    },
    /// Throw dead letters away
    #[command(after_help = "Examples:\n  agent-runner dead discard uuid-123\n  agent-runner dead discard --all")]
    Discard {
        /// The job's id
        #[arg(required_unless_present = "all", value_parser = JobId::parse)]
        job_id: Option<JobId>,
        /// All of them, those without an id too
        #[arg(long, conflicts_with = "job_id")]
        all: bool,
    },
}

pub(super) async fn run(settings: Settings, command: Command) -> Result<(), Failure> {
    let queue = assemble::redis_queue(&settings).await?;
    let done = act(&queue, command).await;
    queue.close().await;
    done
}

async fn act(queue: &SharedQueue, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { limit, json } => {
            let letters = queue.dead(0, limit).await.map_err(assemble::queue_failed)?;
            let letters: Vec<DeadLetter> = letters.into_iter().map(DeadLetter::masked).collect();
            if json {
                output::json(&letters);
                return Ok(());
            }
            let rows = letters.iter().map(|letter| {
                [
                    letter.job_id.clone().unwrap_or_else(|| "-".into()),
                    letter.error.code.as_str().to_owned(),
                    letter.error.message.clone(),
                    letter.attempts.to_string(),
                    letter.crashes.to_string(),
                    letter.failed_at.clone(),
                ]
            });
            output::table(["job", "error", "message", "attempts", "crashes", "failed at"], rows);
            Ok(())
        }
        Command::Retry { job_id } => match queue.retry_dead(&job_id).await.map_err(assemble::queue_failed)? {
            true => said(format!("{job_id} starts afresh")),
            false => Err(Failure::Failed(format!("there is no dead letter of {job_id}"))),
        },
        Command::Discard { job_id, .. } => {
            let gone =
                queue.discard_dead(job_id.as_ref().map(std::slice::from_ref)).await.map_err(assemble::queue_failed)?;
            match job_id {
                Some(job_id) if gone == 0 => Err(Failure::Failed(format!("there is no dead letter of {job_id}"))),
                _ => said(format!("{gone} dead letters are gone")),
            }
        }
    }
}
