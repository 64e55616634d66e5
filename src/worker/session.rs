//! Sessions: where a job goes on from, and what it leaves for the next one.

use std::time::Duration;

use super::Runner;
use crate::{
    job::{ErrorCode, Job, JobError, JobResult, Lane, Meter, Preview, RawJson, Status, ToolStatus},
    settings::limits,
    store::{Journal, Session, SessionTurn, Sessions},
};

/// Names of columns told in the outcome of a turn.
const TOLD_COLUMNS: usize = 20;

impl Runner {
    fn sessions(&self) -> Sessions {
        Sessions::new(self.store.clone(), Duration::from_secs(self.settings.results.session_ttl_secs))
    }

    /// What was said in the job's session, as it stood when the job was first taken.
    pub(super) async fn session(
        &self,
        job: &Job,
        journal: &Journal,
        meter: &Meter,
    ) -> Result<Option<Session>, JobError> {
        let Some(id) = &job.context.session_id else { return Ok(None) };
        let read = async {
            let bound = self.settings.llm.session_max_tokens;
            let session = self.sessions().get(job.workflow_owner.as_deref(), id, bound).await;
            session.map_err(|e| e.for_job("the session could not be read"))
        };
        journal.step("session", meter, read).await.map(Some)
    }

    /// The first data of a job: its own, else the last rows of its session, where they are still kept.
    pub(super) async fn first_data(&self, job: &Job, session: Option<&Session>) -> Result<Option<RawJson>, JobError> {
        if let Some(data) = self.sources.first_data(job).await? {
            return Ok(Some(data));
        }
        let Some(reference) = session.and_then(Session::last_rows) else { return Ok(None) };
        match self.sources.rows(reference, job).await {
            Err(gone) if gone.code == ErrorCode::InvalidPipeline => Ok(None),
            rows => rows.map(Some),
        }
    }

    /// Adds a job that has ended to its session. A failure here only costs the next job its memory.
    pub(super) async fn remember(&self, job: &Job, document: &JobResult) {
        let Some(id) = &job.context.session_id else { return };
        // Agents keep their own conversations.
        if document.lane == Some(Lane::Handoff) || document.status == Status::Cancelled {
            return;
        }
        let added = async {
            let turn = self.turn(job, document).await.map_err(|e| e.to_string())?;
            self.sessions().add(job.workflow_owner.as_deref(), id, turn).await.map_err(|e| e.to_string())
        };
        if let Err(error) = added.await {
            tracing::warn!(job_id = %job.job_id, %error, "the session could not be continued");
        }
    }

    async fn turn(&self, job: &Job, document: &JobResult) -> Result<SessionTurn, crate::store::StoreError> {
        let has_rows = document.lane == Some(Lane::Execute) && document.result.is_some() && !job.dry_run;
        let rows_ref = match (&document.result_ref, &document.result) {
            (Some(reference), _) if has_rows => Some(reference.clone()),
            (None, Some(result)) if has_rows => {
                Some(self.artifacts.put_for(job.owner().as_ref(), result.bytes().clone()).await?)
            }
            _ => None,
        };
        let last = document.metadata.tool_calls.iter().rev().find(|call| call.status == ToolStatus::Ok);
        let plan = last.filter(|call| call.args.len() <= limits::RECORDED_ARGS_BYTES);
        Ok(SessionTurn {
            job_id: job.job_id.to_string(),
            request: job.prompt_text().to_owned(),
            plan: plan.map(|call| (call.tool.clone(), call.args.clone())),
            outcome: outcome(document),
            rows_ref,
        })
    }
}

/// What came of a job, in a sentence.
fn outcome(document: &JobResult) -> String {
    if let Some(error) = &document.error {
        return format!("failed: {error}");
    }
    match &document.result_preview {
        Some(Preview::Dataset { row_count, columns, .. }) => {
            let more = if columns.len() > TOLD_COLUMNS { ", …" } else { "" };
            format!("{row_count} rows: {}{more}", columns[..columns.len().min(TOLD_COLUMNS)].join(", "))
        }
        Some(Preview::Patch(patch)) => format!(
            "workflow changed by {} operations: {} nodes added, {} removed, {} changed",
            patch.op_count, patch.nodes_added, patch.nodes_removed, patch.nodes_changed
        ),
        Some(Preview::Text { text } | Preview::Handoff { text, .. }) => text.clone(),
        Some(Preview::Object { keys }) => format!("an object: {}", keys.join(", ")),
        None => String::new(),
    }
}
