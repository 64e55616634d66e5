//! `agent-runner jobs`.

use clap::Subcommand;

use super::{Failure, assemble, output, part::Part, search};
use crate::{
    job::JobId,
    queue::{CancelOutcome, Decision, DecisionOutcome, JobFilter, JobPlace, RetryOutcome, SharedQueue},
    settings::Settings,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List jobs, latest first
    #[command(
        after_help = "Examples:\n  agent-runner jobs list --status failed --limit 20\n  agent-runner jobs list --all --json"
    )]
    List {
        /// Only jobs in this state: queued, scheduled (queued for later), running, awaiting_approval, completed, failed,
        /// cancelled
        #[arg(long, value_parser = JobFilter::STATUSES)]
        status: Option<String>,
        #[command(flatten)]
        part: Part<JobPlace>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Search the records of ended jobs in PostgreSQL, latest first
    Search(search::Args),
    /// Show one job with its result
    #[command(after_help = "Example:\n  agent-runner jobs show uuid-123")]
    Show {
        /// The job's id
        #[arg(value_parser = JobId::parse)]
        job_id: JobId,
    },
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
        Command::List { status, part, json } => {
            let filter = JobFilter::default();
            let filter = status.and_then(|word| filter.clone().of_status(&word)).unwrap_or(filter);
            list(queue, filter, part, json).await
        }
        Command::Show { job_id } => {
            let job = queue.job(&job_id).await.map_err(assemble::queue_failed)?.ok_or_else(|| unknown(&job_id))?;
            output::json(&job);
            Ok(())
        }
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
            job.state.as_str().to_owned(),
            job.lane.clone().unwrap_or_default(),
            job.attempts.to_string(),
            job.created_at.clone().unwrap_or_default(),
            job.completed_at.clone().unwrap_or_default(),
        ]
    });
    output::table(["job", "state", "lane", "attempts", "created", "completed"], rows);
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

fn unknown(job_id: &JobId) -> Failure {
    Failure::Failed(format!("nothing is known of {job_id}"))
}

#[expect(clippy::unnecessary_wraps, reason = "an arm beside others that fail")]
pub(super) fn said(text: String) -> Result<(), Failure> {
    eprintln!("{text}");
    Ok(())
}
