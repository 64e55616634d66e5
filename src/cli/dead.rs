//! `agent-runner dead`.

use clap::Subcommand;

use super::{
    Failure, assemble,
    jobs::said,
    listing::{self, Column},
    output,
    part::Part,
};
use crate::{
    queue::{Again, DeadLetter, LetterFilter, LetterPlace, LetterRetry, SharedQueue},
    settings::Settings,
};

/// Letters put back in one go.
const BATCH: usize = 200;

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
    /// Put dead letters back into the queue, to start afresh
    ///
    /// With --all, letters whose job is under way again or has completed since are passed over.
    #[command(
        after_help = "Examples:\n  agent-runner dead retry uuid-123\n  agent-runner dead retry --all --error llm_unavailable --since 2h"
    )]
    Retry {
        /// The id of a job, for its latest letter, or of one letter
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them, or those that --error and --since leave
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// Only those that failed with this error type
        #[arg(long, value_name = "TYPE", requires = "all")]
        error: Option<String>,
        /// Only those written at or after this time (RFC 3339), or in the time since: 30m, 2h, 7d
        #[arg(long, value_name = "TIME", requires = "all", value_parser = listing::time)]
        since: Option<jiff::Timestamp>,
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
                    letter.job_id.clone().unwrap_or_else(|| letter.letter_id.clone()),
                    format!("{}: {}", letter.error.code.as_str(), letter.error.message),
                    letter.attempts.to_string(),
                    letter.crashes.to_string(),
                    listing::age(Some(&letter.failed_at)),
                    letter.letter_id.clone(),
                ]
            });
            let columns = [
                ("job, or letter", Column::Whole),
                ("error", Column::Words),
                ("tries", Column::Spare(2)),
                ("crashes", Column::Spare(3)),
                ("age", Column::Spare(1)),
                ("letter", Column::Spare(4)),
            ];
            listing::print(columns, rows);
            Ok(())
        }
        Command::Retry { id: None, error, since, .. } => {
            let since_ms = since.and_then(|since| u64::try_from(since.as_millisecond()).ok());
            retry_all(queue, &Again { error, since_ms }).await
        }
        Command::Retry { id: Some(id), .. } => match queue.retry_dead(&id).await.map_err(assemble::queue_failed)? {
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

/// A batch at a time, with a bar that says how far it is.
async fn retry_all(queue: &SharedQueue, again: &Again) -> Result<(), Failure> {
    let all = queue.stats().await.map_err(assemble::queue_failed)?.dead;
    let bar = output::progress(usize::try_from(all).unwrap_or(usize::MAX), "dead letters");
    let (mut retried, mut passed_over, mut from) = (0, 0, None);
    loop {
        let done = again.page(&**queue, from, BATCH).await.map_err(|error| {
            eprintln!("{retried} dead letters are back in the queue");
            assemble::queue_failed(error)
        })?;
        (retried, passed_over) = (retried + done.retried, passed_over + done.passed_over);
        bar.inc(done.looked_at);
        from = done.older;
        if from.is_none() {
            break;
        }
    }
    bar.finish_and_clear();
    if passed_over > 0 {
        eprintln!("{passed_over} were left: their jobs are under way again, or have completed");
    }
    said(format!("{retried} dead letters are back in the queue"))
}

fn none(id: &str) -> Failure {
    Failure::Failed(format!("there is no dead letter of {id}"))
}
