//! `agent-runner jobs`.

use clap::Subcommand;

use super::{
    Failure, assemble,
    listing::{self, Column},
    output,
    part::Part,
    search, show,
};
use crate::{
    job::JobId,
    queue::{CancelOutcome, Decision, DecisionOutcome, JobFilter, JobPlace, RetryOutcome, SharedQueue},
    settings::Settings,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List jobs, latest first
    #[command(
        after_help = "Examples:\n  agent-runner jobs list --status failed --limit 20\n  agent-runner jobs list --lane patch -q \"timed out\"\n  agent-runner jobs list --all --json"
    )]
    List {
        /// Only jobs in this state: queued, scheduled (queued for later), running, awaiting_approval, completed, failed,
        /// cancelled
        #[arg(long, value_parser = JobFilter::STATUSES)]
        status: Option<String>,
        /// Only jobs that went this way: execute, patch, handoff, answer
        #[arg(long, value_parser = ["execute", "patch", "handoff", "answer"])]
        lane: Option<String>,
        /// Only jobs with this text in their id or in the message of their error
        #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
        query: String,
        #[command(flatten)]
        part: Part<JobPlace>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    Search(search::Args),
    Show(show::Args),
    /// Cancel a job, waiting or running
    #[command(after_help = "Example:\n  agent-runner jobs cancel uuid-123")]
    Cancel {
        /// The job's id
        #[arg(value_parser = JobId::parse)]
        job_id: JobId,
    },
    /// Approve what a job waits for
    #[command(after_help = "Example:\n  agent-runner jobs approve uuid-123")]
    Approve {
        /// The job's id
        #[arg(value_parser = JobId::parse)]
        job_id: JobId,
    },
    /// Reject what a job waits for
    #[command(after_help = "Example:\n  agent-runner jobs reject uuid-123")]
    Reject {
        /// The job's id
        #[arg(value_parser = JobId::parse)]
        job_id: JobId,
    },
    /// Start an ended job afresh
    #[command(after_help = "Example:\n  agent-runner jobs retry uuid-123")]
    Retry {
        /// The job's id
        #[arg(value_parser = JobId::parse)]
        job_id: JobId,
    },
}

pub(super) async fn run(settings: Settings, command: Command) -> Result<(), Failure> {
    if let Command::Search(args) = command {
        return search::run(&settings, args).await;
    }
    let queue = assemble::redis_queue(&settings).await?;
    let done = act(&queue, command).await;
    queue.close().await;
    done
}

async fn act(queue: &SharedQueue, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { status, lane, query, part, json } => {
            let filter = JobFilter { lane, text: query, ..JobFilter::default() };
            let filter = status.and_then(|word| filter.clone().of_status(&word)).unwrap_or(filter);
            list(queue, filter, part, json).await
        }
        Command::Show(args) => show::run(queue, args).await,
        // It needs no queue.
        Command::Search(_) => Ok(()),
        Command::Cancel { job_id } => match queue.cancel(&job_id).await.map_err(assemble::queue_failed)? {
            CancelOutcome::Accepted => said(format!("{job_id} is being cancelled")),
            CancelOutcome::AlreadyEnded => Err(Failure::Failed(format!("{job_id} has ended already"))),
            CancelOutcome::Unknown => Err(unknown(&job_id)),
        },
        Command::Approve { job_id } => decide(queue, &job_id, Decision::Approve).await,
        Command::Reject { job_id } => decide(queue, &job_id, Decision::Reject).await,
        Command::Retry { job_id } => match queue.retry(&job_id).await.map_err(assemble::queue_failed)? {
            RetryOutcome::Accepted => said(format!("{job_id} starts afresh")),
            RetryOutcome::NotEnded => Err(Failure::Failed(format!("{job_id} has not ended yet"))),
            RetryOutcome::Unknown => Err(unknown(&job_id)),
        },
    }
}

async fn list(queue: &SharedQueue, filter: JobFilter, part: Part<JobPlace>, json: bool) -> Result<(), Failure> {
    let filter = &filter;
    let page = async |from, limit| {
        queue.jobs(&JobFilter { from, limit, ..filter.clone() }).await.map_err(assemble::queue_failed)
    };
    let jobs = part.read(page).await?;
    if json {
        output::json(&jobs);
        return Ok(());
    }
    let rows = jobs.iter().map(|job| {
        [
            job.job_id.to_string(),
            job.due_at.as_ref().map_or_else(
                || job.state.as_str().to_owned(),
                |due| format!("{} ({})", job.state.as_str(), listing::until(due)),
            ),
            job.lane.clone().unwrap_or_default(),
            job.attempts.to_string(),
            listing::age(job.created_at.as_deref()),
            listing::between(job.started_at.as_deref(), job.completed_at.as_deref()),
            job.error.as_ref().map(show::error).unwrap_or_default(),
        ]
    });
    let columns = [
        ("job", Column::Whole),
        ("state", Column::Whole),
        ("lane", Column::Spare(2)),
        ("tries", Column::Spare(4)),
        ("age", Column::Spare(1)),
        ("took", Column::Spare(3)),
        ("error", Column::Words),
    ];
    listing::print(columns, rows);
    Ok(())
}

async fn decide(queue: &SharedQueue, job_id: &JobId, decision: Decision) -> Result<(), Failure> {
    match queue.decide(job_id, decision).await.map_err(assemble::queue_failed)? {
        DecisionOutcome::Accepted if decision == Decision::Approve => said(format!("{job_id} is approved and goes on")),
        DecisionOutcome::Accepted => said(format!("{job_id} is rejected")),
        DecisionOutcome::NotWaiting => Err(Failure::Failed(format!("{job_id} does not wait for approval"))),
        DecisionOutcome::Unknown => Err(unknown(job_id)),
    }
}

pub(super) fn unknown(job_id: &JobId) -> Failure {
    Failure::Failed(format!("nothing is known of {job_id}"))
}

#[expect(clippy::unnecessary_wraps, reason = "an arm beside others that fail")]
pub(super) fn said(text: String) -> Result<(), Failure> {
    eprintln!("{text}");
    Ok(())
}
