//! The orchestrator's API: the only I/O of this room.
//!
//! Who waits for what: a 429 is waited out here, because the orchestrator says when. After a lost answer we look
//! once whether the patch arrived. Everything else that may pass (5xx, timeouts) is the job's to try again, and it
//! looks first ([`Orchestrator::find`]).

mod answer;
mod transport;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Effects, Operation, State, Workflow, same};
use crate::{
    job::{ErrorCode, JobError, PatchTarget},
    net, settings,
};
use answer::{artifact_id, operations_of, patches_of, workflow_of};
use transport::Failure;

/// Patches of a run whose operations are fetched one by one when we look for ours, latest first.
const MAX_LOOKED_AT: usize = 20;

/// What surrounds a call.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// `workflow_owner` of the job: the only owner there is.
    pub owner: &'a str,
    /// The job's id, as `Idempotency-Key`.
    pub job_id: &'a str,
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
    /// When the job's time is over.
    pub deadline: Instant,
    /// Fires when the job must stop.
    pub cancel: &'a CancellationToken,
}

/// Which patch, to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The stored workflow or a run.
    pub target: PatchTarget,
    /// The workflow's tag; empty where a run is patched and no tag is known.
    pub tag: String,
    /// The run, where one is patched.
    pub run_id: String,
    /// The node that asks, where a run is patched.
    pub node_id: String,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Where to.
    pub to: &'a Destination,
    /// Resolved operations.
    pub operations: &'a [Operation],
    /// What they are for.
    pub description: &'a str,
    /// What they do, for finding out whether they arrived.
    pub effects: &'a Effects,
}

/// A patch that the orchestrator has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The orchestrator's name for it, where it gave one.
    pub artifact_id: Option<String>,
    /// It was found there and not sent now.
    pub found: bool,
}

/// A client for one orchestrator.
pub struct Orchestrator {
    client: net::Client,
    base: Url,
    headers: BTreeMap<String, settings::Secret>,
    timeout: Duration,
    max_retries: u32,
    max_response_bytes: usize,
}

impl Orchestrator {
    /// A client for the configured orchestrator, or nothing where none is configured.
    ///
    /// # Errors
    /// An address that cannot be used, or TLS roots that cannot be read.
    pub fn new(settings: &settings::Orchestrator) -> Result<Option<Self>, String> {
        let Some(api_url) = &settings.api_url else { return Ok(None) };
        Ok(Some(Self {
            client: net::operator_client(Duration::from_secs(settings.timeout_secs.min(10)))?,
            base: base(api_url)?,
            headers: settings.headers.clone(),
            timeout: Duration::from_secs(settings.timeout_secs),
            max_retries: settings.max_retries,
            max_response_bytes: settings.max_response_bytes,
        }))
    }

    /// The workflow as it is stored now.
    ///
    /// # Errors
    /// `orchestrator_failed`; retryable for timeouts, 429 and 5xx.
    pub async fn workflow(&self, tag: &str, caller: &Caller<'_>) -> Result<Workflow, JobError> {
        let mut url = self.url(&["workflows", tag])?;
        url.set_query(Some("materialize=true"));
        let answer = self.request("GET", url, None, caller).await.map_err(Failure::into_error)?;
        workflow_of(answer)
            .map_err(|message| failed(format!("the orchestrator's workflow {tag} cannot be used: {message}")))
    }

    /// Sends a patch. With `look_first` (it may have been sent before) it is looked for and sent only when it is
    /// not there.
    ///
    /// # Errors
    /// `patch_conflict` for 409 and 412 and where the workflow was changed by somebody else meanwhile;
    /// `orchestrator_failed` for the rest, retryable for timeouts, 429 and 5xx.
    pub async fn send(&self, patch: &Outgoing<'_>, look_first: bool, caller: &Caller<'_>) -> Result<Posted, JobError> {
        if look_first && let Some(posted) = self.find(patch, caller).await? {
            return Ok(posted);
        }
        let mut body = json!({ "operations": patch.operations, "description": patch.description });
        let (method, url) = match patch.to.target {
            PatchTarget::Workflow => ("PATCH", self.url(&["workflows", &patch.to.tag, "patch"])?),
            PatchTarget::Run => {
                body["node_id"] = Value::String(patch.to.node_id.clone());
                ("POST", self.url(&["runs", &patch.to.run_id, "patches"])?)
            }
        };
        match self.request(method, url, Some(&body), caller).await {
            Ok(answer) => Ok(Posted { artifact_id: artifact_id(&answer), found: false }),
            Err(Failure::Final(error)) => Err(error),
            // The answer is lost, the patch perhaps not: one look decides. If looking fails too, the job's
            // next attempt looks again.
            Err(Failure::Lost(error)) => match self.find(patch, caller).await {
                Ok(Some(posted)) => Ok(posted),
                Err(conflict) if conflict.code == ErrorCode::PatchConflict => Err(conflict),
                Ok(None) | Err(_) => Err(error),
            },
        }
    }

    /// Looks whether the orchestrator has the patch already.
    ///
    /// # Errors
    /// `patch_conflict` where the workflow is neither as the patch found it nor as it would leave it;
    /// `orchestrator_failed` where looking fails.
    pub async fn find(&self, patch: &Outgoing<'_>, caller: &Caller<'_>) -> Result<Option<Posted>, JobError> {
        match patch.to.target {
            PatchTarget::Workflow => self.find_in_workflow(patch, caller).await,
            PatchTarget::Run => self.find_in_run(patch, caller).await,
        }
    }

    async fn find_in_workflow(&self, patch: &Outgoing<'_>, caller: &Caller<'_>) -> Result<Option<Posted>, JobError> {
        let current = self.workflow(&patch.to.tag, caller).await?;
        match patch.effects.state(current.document()) {
            State::Applied => Ok(Some(Posted { artifact_id: None, found: true })),
            State::NotApplied => Ok(None),
            State::Unclear => Err(JobError::new(
                ErrorCode::PatchConflict,
                format!(
                    "the workflow {} was changed by somebody else while the patch was on its way: \
                     look at it and ask again",
                    patch.to.tag
                ),
            )),
        }
    }

    async fn find_in_run(&self, patch: &Outgoing<'_>, caller: &Caller<'_>) -> Result<Option<Posted>, JobError> {
        let url = self.url(&["runs", &patch.to.run_id, "patches"])?;
        let listed = self.request("GET", url, None, caller).await.map_err(Failure::into_error)?;
        let wanted = serde_json::to_value(patch.operations).unwrap_or_default();
        let patches = patches_of(&listed);
        for entry in patches.iter().rev().take(MAX_LOOKED_AT) {
            let text = |name| entry.get(name).and_then(Value::as_str);
            let other_words = text("description").is_some_and(|words| words != patch.description);
            let other_node = text("node_id").is_some_and(|node| node != patch.to.node_id);
            if other_words || other_node {
                continue;
            }
            let id = artifact_id(entry);
            let operations = match (operations_of(entry), &id) {
                (Some(operations), _) => operations.clone(),
                (None, Some(id)) => {
                    let url = self.url(&["runs", &patch.to.run_id, "patches", id, "operations"])?;
                    let answer = self.request("GET", url, None, caller).await.map_err(Failure::into_error)?;
                    operations_of(&answer).cloned().unwrap_or_default()
                }
                (None, None) => continue,
            };
            if same(&operations, &wanted) {
                return Ok(Some(Posted { artifact_id: id, found: true }));
            }
        }
        Ok(None)
    }

    /// An address below the base; each part is one segment, whatever it holds.
    fn url(&self, parts: &[&str]) -> Result<Url, JobError> {
        let mut url = self.base.clone();
        // A dot segment would climb, however it is escaped.
        if let Some(bad) = parts.iter().find(|part| part.is_empty() || matches!(**part, "." | "..")) {
            return Err(JobError::new(ErrorCode::InvalidJob, format!("{bad:?} cannot name a workflow or a run")));
        }
        url.path_segments_mut().map_err(|()| failed("the orchestrator's address has no path".into()))?.extend(parts);
        Ok(url)
    }
}

/// The address of the API, whether or not it was given with `/api/v1`.
fn base(api_url: &str) -> Result<Url, String> {
    let mut url = Url::parse(api_url).map_err(|error| format!("orchestrator.api_url: {error}"))?;
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if path.ends_with("/api/v1") { path } else { format!("{path}/api/v1") };
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn failed(message: String) -> JobError {
    JobError::new(ErrorCode::OrchestratorFailed, message)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_base_may_have_the_api_path_or_not() {
        for given in ["http://o:1", "http://o:1/", "http://o:1/api/v1", "http://o:1/api/v1/"] {
            assert_eq!(super::base(given).unwrap().as_str(), "http://o:1/api/v1", "{given}");
        }
        assert_eq!(super::base("https://o/behind/proxy").unwrap().as_str(), "https://o/behind/proxy/api/v1");
    }
}
