//! The orchestrator's API: the only I/O of this room.
//!
//! Who waits for what: a 429 is waited out here, because the orchestrator says when. After a lost answer we look
//! whether the patch arrived, several times where it may be under way still. Everything else that may pass (5xx, timeouts) is the job's to try again, and it
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

use super::{Effects, Limits, Operation, State, Workflow, apply, same};
use crate::{
    job::{ErrorCode, JobError, PatchTarget},
    net, settings,
};
use answer::{artifact_id, name_of, operations_of, patches_of, workflow_of};
use transport::{Failure, cancelled};

/// Patches of a run whose operations are fetched one by one when we look for ours, latest first.
const MAX_LOOKED_AT: usize = 20;

/// Waits before each further look after a request that was not answered in time: it may be carried out late.
const LOOK_AGAIN: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// What surrounds a call.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// `workflow_owner` of the job: the only owner there is.
    pub owner: &'a str,
    /// The job's id, as `Idempotency-Key`.
    pub job_id: &'a str,
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
    /// The run's patches from before it was sent, where they are known: an equal one among them is not this one.
    pub there: Option<&'a There>,
}

/// The names of a run's patches at one time. Where patches are named by their content, two may have the same name.
pub type There = Vec<String>;

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

    /// Sends a patch. Where the answer is lost it looks whether the patch is there.
    ///
    /// # Errors
    /// `patch_conflict` for 409 and 412 and where the workflow was changed by somebody else meanwhile;
    /// `orchestrator_failed` for the rest, retryable for timeouts, 429 and 5xx.
    pub async fn send(&self, patch: &Outgoing<'_>, caller: &Caller<'_>) -> Result<Posted, JobError> {
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
            Err(Failure::Lost(error)) => self.arrived(patch, &[], error, caller).await,
            Err(Failure::Late(error)) => self.arrived(patch, &LOOK_AGAIN, error, caller).await,
        }
    }

    /// The answer is lost, the patch perhaps not: a look decides, or one of those after `waits`. If looking fails too,
    /// the job's next attempt looks again.
    async fn arrived(
        &self,
        patch: &Outgoing<'_>,
        waits: &[Duration],
        error: JobError,
        caller: &Caller<'_>,
    ) -> Result<Posted, JobError> {
        let mut waits = waits.iter();
        loop {
            match self.find(patch, caller).await {
                Ok(Some(posted)) => return Ok(posted),
                Err(found) if found.code == ErrorCode::PatchConflict || found.stops() => return Err(found),
                Ok(None) | Err(_) => {}
            }
            let Some(wait) = waits.next().filter(|wait| Instant::now() + **wait < caller.deadline) else {
                return Err(error);
            };
            tokio::select! {
                () = tokio::time::sleep(*wait) => {}
                () = caller.cancel.cancelled() => return Err(cancelled()),
            }
        }
    }

    /// What a run has before a patch is sent to it. Nothing where the orchestrator cannot tell: a lost answer is then
    /// looked up among all of them.
    ///
    /// # Errors
    /// `orchestrator_failed` where it is not reached or has no time (429), `cancelled`.
    pub async fn there(&self, to: &Destination, caller: &Caller<'_>) -> Result<Option<There>, JobError> {
        match self.run_patches(&to.run_id, caller).await {
            Ok(listed) => Ok(Some(patches_of(&listed).into_iter().map(name_of).collect())),
            Err(error) if cannot_tell(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The workflow of a run as it is now: the stored one with the run's patches that apply to it.
    ///
    /// # Errors
    /// As [`Orchestrator::workflow`]; where the run's patches cannot be had they are left out.
    pub async fn run_workflow(
        &self,
        to: &Destination,
        limits: &Limits,
        caller: &Caller<'_>,
    ) -> Result<Workflow, JobError> {
        let mut workflow = self.workflow(&to.tag, caller).await?;
        let listed = match self.run_patches(&to.run_id, caller).await {
            Err(error) if !cannot_tell(&error) => return Err(error),
            listed => listed.unwrap_or_default(),
        };
        for entry in patches_of(&listed) {
            let operations = self.operations(entry, &to.run_id, caller).await?;
            let operations: Vec<Operation> =
                operations.and_then(|o| serde_json::from_value(o).ok()).unwrap_or_default();
            if let Ok(applied) = apply(workflow.document(), &operations, limits)
                && let Ok(patched) = Workflow::from_value(applied.document)
            {
                workflow = patched;
            }
        }
        Ok(workflow)
    }

    async fn run_patches(&self, run_id: &str, caller: &Caller<'_>) -> Result<Value, JobError> {
        let url = self.url(&["runs", run_id, "patches"])?;
        self.request("GET", url, None, caller).await.map_err(Failure::into_error)
    }

    /// The operations of a listed patch, asked for where the list does not have them.
    async fn operations(&self, entry: &Value, run_id: &str, caller: &Caller<'_>) -> Result<Option<Value>, JobError> {
        if let Some(operations) = operations_of(entry) {
            return Ok(Some(operations.clone()));
        }
        let Some(id) = artifact_id(entry) else { return Ok(None) };
        let url = self.url(&["runs", run_id, "patches", &id, "operations"])?;
        let answer = self.request("GET", url, None, caller).await.map_err(Failure::into_error)?;
        Ok(Some(operations_of(&answer).cloned().unwrap_or_default()))
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
        let listed = self.run_patches(&patch.to.run_id, caller).await?;
        let wanted = serde_json::to_value(patch.operations).unwrap_or_default();
        let mut patches = patches_of(&listed);
        // Each name from before stands for one patch: a second one of that name is new.
        let mut before: Vec<&str> = patch.there.into_iter().flatten().map(String::as_str).collect();
        before.sort_unstable();
        patches.retain(|entry| match before.binary_search(&name_of(entry).as_str()) {
            Ok(place) => {
                before.remove(place);
                false
            }
            Err(_) => true,
        });
        for entry in patches.into_iter().rev().take(MAX_LOOKED_AT) {
            let text = |name| entry.get(name).and_then(Value::as_str);
            let other_words = text("description").is_some_and(|words| words != patch.description);
            let other_node = text("node_id").is_some_and(|node| node != patch.to.node_id);
            if other_words || other_node {
                continue;
            }
            let operations = self.operations(entry, &patch.to.run_id, caller).await?;
            if operations.is_some_and(|operations| same(&operations, &wanted)) {
                return Ok(Some(Posted { artifact_id: artifact_id(entry), found: true }));
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

/// Whether an orchestrator that was asked for the patches of a run is there and has no answer to that: some know no such
/// list, and some answer every error with a 500.
fn cannot_tell(error: &JobError) -> bool {
    match error.details.get("status").and_then(Value::as_u64) {
        Some(status) => status != 429,
        None => !error.retryable && !error.stops(),
    }
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
