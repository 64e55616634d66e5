//! `agent-runner jobs search`: records of ended jobs in PostgreSQL.

use super::{Failure, output, part::Part, stores};
use crate::{
    queue::Cursor,
    settings::Settings,
    store::{Query, RecordPlace},
};

/// Search the records of ended jobs (store.backend: postgres), latest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  agent-runner jobs search --owner ann --error pipeline_failed --since 2026-01-01T00:00:00Z"
)]
pub(super) struct Args {
    /// Somewhere in the job's id, its run's id, or its prompt where prompts are kept
    text: Option<String>,
    /// Only jobs that ended so: completed, failed, cancelled
    #[arg(long, value_parser = ["completed", "failed", "cancelled"])]
    status: Option<String>,
    /// Only jobs of this lane: execute, patch, handoff, answer
    #[arg(long, value_parser = ["execute", "patch", "handoff", "answer"])]
    lane: Option<String>,
    /// Only jobs of this workflow_owner
    #[arg(long)]
    owner: Option<String>,
    /// Only jobs that failed with this error type
    #[arg(long, value_name = "TYPE")]
    error: Option<String>,
    /// Only jobs that ended at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,
    #[command(flatten)]
    part: Part<RecordPlace>,
    /// Print JSON, with the result documents
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, args: Args) -> Result<(), Failure> {
    let Some(records) = stores::records(settings)? else {
        return Err(Failure::Usage("store.backend: only postgres keeps records that can be searched".into()));
    };
    let Args { text, status, lane, owner, error, since, part, json } = args;
    let query = Query { status, lane, owner, error, text, since, ..Query::default() };
    let page = async |from: Option<Cursor<RecordPlace>>, limit: usize| {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let query = Query { behind: from.map(|cursor| cursor.place), limit, ..query.clone() };
        records.search(&query).await.map_err(|e| Failure::Failed(e.to_string()))
    };
    let found = part.read(page).await?;
    if json {
        output::json(&found);
        return Ok(());
    }
    let rows = found.into_iter().map(|record| {
        [
            record.job_id,
            record.status,
            record.lane.unwrap_or_default(),
            record.owner.unwrap_or_default(),
            record.error_code.unwrap_or_default(),
            record.tokens_used.to_string(),
            record.finished_at.unwrap_or_default(),
        ]
    });
    output::table(["job", "status", "lane", "owner", "error", "tokens", "finished"], rows);
    Ok(())
}

fn time(text: &str) -> Result<String, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| "a time like 2026-01-01T00:00:00Z is needed".to_owned())?;
    Ok(time.to_string())
}
