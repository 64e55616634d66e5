//! `agent-runner dead`.

use clap::Subcommand;

use super::{Failure, assemble, jobs::said, output, part::Part};
use crate::{
    queue::{DeadLetter, LetterFilter, LetterPlace, LetterRetry, SharedQueue},
    settings::Settings,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List dead letters, latest first
    #[command(after_help = "Example:\n  agent-runner dead list --limit 20")]
    List {
        #[command(flatten)]
        part: Part<LetterPlace>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a dead letter back into the queue, to start afresh
    #[command(after_help = "Example:\n  agent-runner dead retry uuid-123")]
    Retry {
        /// The id of its job, or of the letter
        id: String,
    },
    /// Throw dead letters away
    #[command(after_help = "Examples:\n  agent-runner dead discard uuid-123\n  agent-runner dead discard --all")]
    Discard {
        /// The id of a job, for all its letters, or of one letter
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them
        #[arg(long, conflicts_with = "id")]
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
        Command::List { part, json } => {
            let page = async |from, limit| {
                let filter = LetterFilter { from, limit, ..LetterFilter::default() };
                queue.letters(&filter).await.map_err(assemble::queue_failed)
            };
            let letters: Vec<DeadLetter> = part.read(page).await?.into_iter().map(DeadLetter::masked).collect();
            if json {
                output::json(&letters);
                return Ok(());
            }
            let rows = letters.iter().map(|letter| {
                [
                    letter.letter_id.clone(),
                    letter.job_id.clone().unwrap_or_else(|| "-".into()),
                    letter.error.code.as_str().to_owned(),
                    letter.error.message.clone(),
                    letter.attempts.to_string(),
                    letter.crashes.to_string(),
                    letter.failed_at.clone(),
                ]
            });
            output::table(["letter", "job", "error", "message", "attempts", "crashes", "failed at"], rows);
            Ok(())
        }
        Command::Retry { id } => match queue.retry_dead(&id).await.map_err(assemble::queue_failed)? {
            LetterRetry::Accepted(Some(job_id)) => said(format!("{job_id} starts afresh")),
            LetterRetry::Accepted(None) => said(format!("the message of {id} is back in the queue")),
            LetterRetry::Unknown => Err(none(&id)),
        },
        Command::Discard { id, .. } => {
            let ids = id.map(|id| [id]);
            let gone =
                queue.discard_dead(ids.as_ref().map(<[_; 1]>::as_slice)).await.map_err(assemble::queue_failed)?;
            match ids {
                Some([id]) if gone == 0 => Err(none(&id)),
                _ => said(format!("{gone} dead letters are gone")),
            }
        }
    }
}

fn none(id: &str) -> Failure {
    Failure::Failed(format!("there is no dead letter of {id}"))
}
