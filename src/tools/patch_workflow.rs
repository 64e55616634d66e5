//! `patch_workflow`: prepares a patch, and sends it.
//!
//! The two halves are apart, so that a job can wait for approval between them, or be journalled: [`Pending`] holds
//! everything the second half needs and survives a restart.

mod asked;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use asked::{Arguments, caller, complete, destination, invalid_job, outgoing, owner};

use super::{Effect, Tool, ToolContext, ToolEnd, ToolOutput};
use crate::{
    job::{ErrorCode, JobError, Lane, PatchTarget, Preview, RawJson},
    llm::ToolSpec,
    settings::{RunPatchMode, Settings, WorkflowPatchMode},
    store::Before,
    workflow::{
        Mode, PatchSpec, Prepared, Refusal, Rules, Workflow,
        orchestrator::{Destination, Orchestrator, Posted, There},
        prepare,
    },
};

/// The name it is offered under.
const NAME: &str = "patch_workflow";

/// A patch between its two halves: checked, and not sent yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Where it goes.
    pub to: Destination,
    /// Whose workflow that is, by the job.
    pub owner: String,
    /// As it was asked for.
    pub spec: PatchSpec,
    /// As it would be sent.
    pub prepared: Prepared,
    /// Shown only, never sent.
    pub dry_run: bool,
}

impl Pending {
    /// What a person is shown before approving: the result as it would be.
    #[must_use]
    pub fn proposal(&self) -> RawJson {
        RawJson::of(&self.result(None))
    }

    fn result(&self, artifact_id: Option<&str>) -> Value {
        let prepared = &self.prepared;
        let mut result = json!({
            "status": "success",
            "target": self.to.target,
            "artifact_id": artifact_id,
            "op_count": prepared.operations.len(),
            "operations": prepared.operations,
            "inverse": prepared.inverse,
            "diff": prepared.diff,
            "mermaid": prepared.mermaid,
            "description": prepared.description,
        });
        if prepared.no_op {
            result["no_op"] = Value::Bool(true);
        }
        if self.dry_run {
            result["dry_run"] = Value::Bool(true);
        }
        result
    }

    fn output(&self, posted: Option<&Posted>) -> ToolOutput {
        let diff = &self.prepared.diff;
        let state = match posted {
            _ if self.prepared.no_op => "nothing to change",
            _ if self.dry_run => "checked, not sent (dry run)",
            Some(Posted { found: true, .. }) => "already there from an earlier attempt",
            _ => "applied",
        };
        ToolOutput {
            result: RawJson::of(&self.result(posted.and_then(|posted| posted.artifact_id.as_deref()))),
            lane: Lane::Patch,
            preview: Preview::Patch(self.prepared.preview()),
            summary: format!(
                "{state}: {} operations; nodes added {:?}, removed {:?}, changed {:?}; edges added {:?}, removed {:?}",
                self.prepared.operations.len(),
                diff.nodes_added,
                diff.nodes_removed,
                diff.nodes_changed,
                diff.edges_added,
                diff.edges_removed,
            ),
            warnings: self.prepared.warnings.clone(),
        }
    }
}

/// What became of the second half.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Outcome {
    /// The patch as it was prepared again, where that was needed.
    fresh: Option<Pending>,
    posted: Option<Posted>,
}

impl Outcome {
    fn output(&self, pending: &Pending) -> ToolOutput {
        self.fresh.as_ref().unwrap_or(pending).output(self.posted.as_ref())
    }
}

/// How the second half is carried out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Commit {
    /// Time has passed since the check (an approval was waited for): fetch the workflow again and check against
    /// it. A patch that does not hold any more, or does something else now, is a `patch_conflict`.
    pub recheck: bool,
    /// Whether it was sent before, by a worker that is gone or one whose record is: where that may be, look first.
    pub sent: Before,
}

/// What a run had before a patch was sent to it.
struct Known {
    there: There,
    /// Seen just now, not on record from an earlier delivery.
    fresh: bool,
}

/// The tool.
pub struct PatchWorkflow {
    spec: ToolSpec,
    rules: Arc<Rules>,
    orchestrator: Option<Arc<Orchestrator>>,
    run_mode: Mode,
    workflow_mode: Mode,
    preview_only: bool,
}

impl PatchWorkflow {
    /// The tool for these settings.
    ///
    /// # Errors
    /// A node type or an address in the settings that cannot be used; the message names the key.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let rules = Arc::new(Rules::new(&settings.patch)?);
        let spec = ToolSpec {
            name: NAME.to_owned(),
            description: "changes the stored workflow for good: adds, removes, connects or configures nodes. \
                          Give the smallest patch that does what was asked."
                .to_owned(),
            parameters: rules.schema.tool_parameters().clone(),
            strict: false,
        };
        let run_mode = match settings.orchestrator.run_patch_mode {
            RunPatchMode::Full => Mode::Full,
            RunPatchMode::AppendOnly => Mode::AppendOnly,
        };
        let workflow_mode = match settings.orchestrator.workflow_patch_mode {
            WorkflowPatchMode::Full => Mode::Full,
            WorkflowPatchMode::Shallow => Mode::Shallow,
        };
        let orchestrator = Orchestrator::new(&settings.orchestrator)?.map(Arc::new);
        Ok(Self { spec, rules, orchestrator, run_mode, workflow_mode, preview_only: false })
    }

    /// The same for a process without an orchestrator: every patch is a dry run.
    #[must_use]
    pub fn preview_only(mut self) -> Self {
        self.preview_only = true;
        self
    }

    /// What patches must keep to.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The workflow a job is about in its normal form, for a planner: its own `current_workflow`, else the stored
    /// one; nothing where the job names none.
    ///
    /// # Errors
    /// `invalid_job` for a workflow that is none, `orchestrator_failed` where it cannot be fetched.
    pub async fn current_workflow(&self, context: &ToolContext<'_>) -> Result<Option<Value>, JobError> {
        let job = context.job;
        let tag = job.workflow_tag.as_deref().unwrap_or_default();
        let known = job.current_workflow.is_some()
            || (self.orchestrator.is_some() && !tag.is_empty() && job.workflow_owner.is_some());
        if !known {
            return Ok(None);
        }
        self.workflow(tag, context).await.map(|workflow| Some(workflow.document().clone()))
    }

    /// The workflow that a patch of this job is prepared against.
    async fn workflow(&self, tag: &str, context: &ToolContext<'_>) -> Result<Workflow, JobError> {
        match &context.job.current_workflow {
            Some(raw) => Workflow::parse(raw).map_err(|message| invalid_job(format!("current_workflow: {message}"))),
            // On record, so that a redelivered job plans on the same one, and a replay has it at all.
            None => {
                let fetch = async { Ok(self.stored_workflow(tag, context).await?.document().clone()) };
                let document: Value =
                    context.journal.step(&format!("{}workflow:{tag}", context.step), context.meter, fetch).await?;
                Workflow::parse(&RawJson::of(&document))
                    .map_err(|message| invalid_job(format!("the workflow: {message}")))
            }
        }
    }

    async fn stored_workflow(&self, tag: &str, context: &ToolContext<'_>) -> Result<Workflow, JobError> {
        let Some(orchestrator) = &self.orchestrator else {
            return Err(invalid_job(
                "the job has no current_workflow, and no orchestrator is configured to fetch it from: send it in the job, or set orchestrator.api_url",
            ));
        };
        if tag.is_empty() {
            return Err(invalid_job("the job has neither current_workflow nor workflow_tag: give one"));
        }
        orchestrator.workflow(tag, &caller(owner(context.job)?, context)).await
    }

    /// The first half: reads the arguments (or a bare patch), resolves, applies to a copy and checks.
    ///
    /// # Errors
    /// `invalid_patch` with the reasons, `patch_conflict` for a `test` that does not hold, `invalid_job` for a
    /// job that lacks what its target needs, or whatever fetching the workflow failed with.
    pub async fn prepare_for(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<Pending, JobError> {
        let job = context.job;
        let arguments = Arguments::read(arguments)?;
        let spec = PatchSpec::read(&arguments.spec, self.rules.limits.max_operations)?;
        let to = destination(job, arguments.workflow_tag.as_deref())?;
        let workflow = self.workflow(&to.tag, context).await?;
        let mut prepared = prepare(&workflow, &spec, &self.rules, self.mode(to.target))?;
        let dry_run = job.dry_run || self.preview_only;
        if !dry_run && !prepared.no_op {
            complete(job, &to)?;
        }
        if self.preview_only && !job.dry_run {
            prepared
                .warnings
                .push("no orchestrator is configured (orchestrator.api_url): the patch was not sent".into());
        }
        let owner = job.workflow_owner.clone().unwrap_or_default();
        Ok(Pending { to, owner, spec, prepared, dry_run })
    }

    /// The second half: sends what [`prepare_for`](Self::prepare_for) made, unless there is nothing to send.
    ///
    /// # Errors
    /// `patch_conflict` where the workflow has changed so that the patch does not hold or would do something
    /// else (`details.diff`), `orchestrator_failed` where it cannot be sent.
    pub async fn commit(
        &self,
        pending: &Pending,
        how: Commit,
        context: &ToolContext<'_>,
    ) -> Result<ToolOutput, JobError> {
        self.post(pending, how, None, context).await.map(|outcome| outcome.output(pending))
    }

    /// Sends with a record of it under `step`, so that whoever comes after looks before sending again.
    async fn once(
        &self,
        pending: &Pending,
        step: &str,
        approved: bool,
        context: &ToolContext<'_>,
    ) -> Result<Outcome, JobError> {
        let known = self.known(pending, step, context).await?;
        let sent = context.journal.about_to(step, context.meter).await?;
        // A workflow that came with the job stays the basis; one that was fetched may have changed since.
        let recheck = approved || (sent == Before::Noted && context.job.current_workflow.is_none());
        self.post(pending, Commit { recheck, sent }, known, context).await
    }

    /// The patches that a run had before this one was sent. Equal patches are common there, and nothing in a listed
    /// one says whose it is.
    async fn known(&self, pending: &Pending, step: &str, context: &ToolContext<'_>) -> Result<Option<Known>, JobError> {
        let Some(orchestrator) = self.orchestrator.as_ref().filter(|_| pending.to.target == PatchTarget::Run) else {
            return Ok(None);
        };
        let mut fresh = false;
        let look = async {
            fresh = true;
            orchestrator.there(&pending.to, &caller(&pending.owner, context)).await
        };
        let there: Option<There> = context.journal.step(&format!("{step}:there"), context.meter, look).await?;
        Ok(there.map(|there| Known { there, fresh }))
    }

    async fn post(
        &self,
        pending: &Pending,
        how: Commit,
        known: Option<Known>,
        context: &ToolContext<'_>,
    ) -> Result<Outcome, JobError> {
        if pending.dry_run || pending.prepared.no_op {
            return Ok(Outcome::default());
        }
        let Some(orchestrator) = &self.orchestrator else {
            return Err(no_orchestrator());
        };
        let caller = caller(&pending.owner, context);
        if how.sent != Before::Never {
            // What is there now says nothing of a patch that may have been sent before.
            let there = known.as_ref().filter(|known| !known.fresh).map(|known| &known.there);
            match orchestrator.find(&outgoing(pending, there), &caller).await {
                Ok(Some(posted)) => return Ok(Outcome { fresh: None, posted: Some(posted) }),
                Ok(None) => {}
                // It is most likely the first time: an orchestrator that cannot tell, or a workflow that somebody else
                // has changed, stops no patch then.
                Err(error) if how.sent == Before::Perhaps && !error.retryable && !error.stops() => {
                    tracing::debug!(job_id = %context.job.job_id, %error, "nobody can tell whether the patch is there");
                }
                Err(error) => return Err(error),
            }
        }
        let fresh = if how.recheck { Some(self.rechecked(pending, context).await?) } else { None };
        let there = known.as_ref().map(|known| &known.there);
        let posted = orchestrator.send(&outgoing(fresh.as_ref().unwrap_or(pending), there), &caller).await?;
        Ok(Outcome { fresh, posted: Some(posted) })
    }

    /// Prepares the same patch against the workflow as it is now. What was approved is what it does, so that is
    /// what must be the same; numbers in its paths may differ.
    async fn rechecked(&self, pending: &Pending, context: &ToolContext<'_>) -> Result<Pending, JobError> {
        let workflow = self.workflow_now(pending, context).await?;
        let conflict = |message: String| JobError::new(ErrorCode::PatchConflict, message);
        let prepared =
            prepare(&workflow, &pending.spec, &self.rules, self.mode(pending.to.target)).map_err(|refusal| {
                let reasons = JobError::from(refusal.clone()).details;
                let mut error = conflict(format!(
                    "the workflow has changed and the patch does not hold any more: {}",
                    refusal.text()
                ));
                error.details = reasons;
                error
            })?;
        if prepared.effects != pending.prepared.effects {
            return Err(conflict("the workflow has changed and the patch would do something else now: look at the new diff and ask again".to_owned())
                .with_detail("diff", json!(prepared.diff))
                .with_detail("mermaid", prepared.mermaid.as_str()));
        }
        Ok(Pending { prepared, ..pending.clone() })
    }

    /// The workflow as it is now, whatever the job came with.
    async fn workflow_now(&self, pending: &Pending, context: &ToolContext<'_>) -> Result<Workflow, JobError> {
        let to = &pending.to;
        let Some(orchestrator) = self.orchestrator.as_ref().filter(|_| to.target == PatchTarget::Run) else {
            return self.stored_workflow(&to.tag, context).await;
        };
        if context.job.current_workflow.is_none() {
            return self.stored_workflow(&to.tag, context).await;
        }
        // Without a tag nobody can be asked: what the job knows is the latest there is.
        if to.tag.is_empty() {
            return self.workflow(&to.tag, context).await;
        }
        match orchestrator.run_workflow(to, &self.rules.limits, &caller(owner(context.job)?, context)).await {
            // A run of a workflow that was never stored.
            Err(error) if error.details.get("status") == Some(&json!(404)) => self.workflow(&to.tag, context).await,
            workflow => workflow,
        }
    }

    fn mode(&self, target: PatchTarget) -> Mode {
        match target {
            PatchTarget::Workflow => self.workflow_mode,
            PatchTarget::Run => self.run_mode,
        }
    }
}

#[async_trait]
impl Tool for PatchWorkflow {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// A patch is refused as such, with the bound that it breaks: reading stops after as many operations as are taken.
    fn too_long(&self, arguments: &RawJson, most: usize) -> JobError {
        let patch = Arguments::read(arguments);
        match patch.map(|patch| PatchSpec::read(&patch.spec, self.rules.limits.max_operations)) {
            Ok(Err(refusal)) => refusal.into(),
            _ => Refusal::general(format!("the patch has {} bytes, at most {most} are taken", arguments.len())).into(),
        }
    }

    /// It keeps its own record, and looks before it sends again.
    fn effect(&self, _: &RawJson) -> Effect {
        Effect::Repeatable
    }

    fn prepares(&self, context: &ToolContext<'_>) -> bool {
        context.job.require_approval
    }

    /// Prepares, then sends or waits for approval. What was prepared and that it is about to be sent go on record
    /// first, so that a redelivered job sends the same patch, and not twice.
    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        let step = format!("{}patch:{}", context.step, fingerprint(arguments));
        let prepare = self.prepare_for(arguments, context);
        let pending = context.journal.step(&step, context.meter, prepare).await.map_err(named)?;
        if pending.dry_run || pending.prepared.no_op {
            return Ok(ToolEnd::Done(pending.output(None)));
        }
        if context.job.require_approval {
            // Nobody is asked to agree to what cannot be sent.
            if self.orchestrator.is_none() && !context.journal.replays() {
                return Err(named(no_orchestrator()));
            }
            return Ok(ToolEnd::Park(RawJson::of(&pending)));
        }
        let mark = format!("{step}:send");
        let send = self.once(&pending, &mark, false, context);
        let outcome: Outcome =
            context.journal.step(&format!("{step}:sent"), context.meter, send).await.map_err(named)?;
        Ok(ToolEnd::Done(outcome.output(&pending)))
    }

    async fn resume(&self, pending: &RawJson, context: &ToolContext<'_>) -> Result<ToolOutput, JobError> {
        let step = format!("patch:{}:approved", fingerprint(pending));
        let pending: Pending = pending.read().map_err(|error| {
            JobError::new(ErrorCode::Internal, format!("what was approved cannot be read: {error}")).with_tool(NAME)
        })?;
        let send = self.once(&pending, &step, true, context);
        let outcome: Outcome =
            context.journal.step(&format!("{step}:sent"), context.meter, send).await.map_err(named)?;
        Ok(outcome.output(&pending))
    }
}

fn named(error: JobError) -> JobError {
    error.with_tool(NAME)
}

fn no_orchestrator() -> JobError {
    let message = "no orchestrator is configured: set orchestrator.api_url, or ask for a dry_run";
    JobError::new(ErrorCode::OrchestratorFailed, message)
}

/// Tells the patches of one job apart in its journal.
fn fingerprint(text: &RawJson) -> String {
    Sha256::digest(text.bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
