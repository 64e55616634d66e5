//! What a call asks for, where it goes and in whose name.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Pending;
use crate::{
    job::{ErrorCode, Job, JobError, PatchTarget, RawJson},
    tools::ToolContext,
    workflow::orchestrator::{Caller, Destination, Outgoing, There},
};

/// The arguments of a call.
pub(super) struct Arguments {
    pub(super) spec: RawJson,
    pub(super) workflow_tag: Option<String>,
}

#[derive(Deserialize)]
struct RawArguments<'a> {
    #[serde(borrow)]
    patch_spec: Option<&'a RawValue>,
    #[serde(borrow)]
    workflow_tag: Option<&'a RawValue>,
}

impl Arguments {
    /// `{patch_spec, workflow_tag?}`, or the patch itself.
    pub(super) fn read(raw: &RawJson) -> Result<Self, JobError> {
        let fields: RawArguments<'_> = match serde_json::from_str(raw.as_str()) {
            Ok(fields) => fields,
            Err(_) => return Ok(Self { spec: raw.clone(), workflow_tag: None }),
        };
        let workflow_tag =
            fields.workflow_tag.and_then(|tag| serde_json::from_str::<Option<String>>(tag.get()).ok().flatten());
        let spec = fields.patch_spec.map_or_else(|| raw.clone(), |spec| RawJson::slice_of(raw.bytes(), spec));
        Ok(Self { spec, workflow_tag: workflow_tag.filter(|tag| !tag.is_empty()) })
    }
}

/// Where the patch goes. The job decides; a model may name the workflow only where the job does not.
pub(super) fn destination(job: &Job, asked: Option<&str>) -> Result<Destination, JobError> {
    let tag = match (job.workflow_tag.as_deref(), asked) {
        (Some(own), Some(other)) if own != other => {
            return Err(JobError::new(
                ErrorCode::InvalidPatch,
                format!("this job is about the workflow {own:?}, not {other:?}: leave workflow_tag out"),
            ));
        }
        (own, other) => own.or(other).unwrap_or_default().to_owned(),
    };
    Ok(Destination {
        target: job.patch_target.unwrap_or(PatchTarget::Workflow),
        tag,
        run_id: job.run_id.clone().unwrap_or_default(),
        node_id: job.node_id.clone().unwrap_or_default(),
    })
}

/// Refuses a job that lacks what sending needs, before anything is shown or approved.
pub(super) fn complete(job: &Job, to: &Destination) -> Result<(), JobError> {
    owner(job)?;
    match to.target {
        PatchTarget::Workflow if to.tag.is_empty() => {
            Err(invalid_job("workflow_tag is missing: it names the workflow to change"))
        }
        PatchTarget::Run if to.run_id.is_empty() => Err(invalid_job("run_id is missing: patch_target run needs it")),
        _ => Ok(()),
    }
}

pub(super) fn owner(job: &Job) -> Result<&str, JobError> {
    let owner = job.workflow_owner.as_deref().unwrap_or_default();
    if owner.is_empty() {
        return Err(invalid_job("workflow_owner is missing: a workflow is read and changed in its owner's name"));
    }
    if owner.chars().any(|c| c.is_control()) {
        return Err(invalid_job("workflow_owner holds control characters"));
    }
    Ok(owner)
}

pub(super) fn caller<'a>(owner: &'a str, context: &'a ToolContext<'_>) -> Caller<'a> {
    let job = context.job;
    Caller { owner, job_id: job.job_id.as_str(), deadline: context.deadline, cancel: context.cancel }
}

pub(super) fn outgoing<'a>(pending: &'a Pending, there: Option<&'a There>) -> Outgoing<'a> {
    Outgoing {
        to: &pending.to,
        operations: &pending.prepared.operations,
        description: &pending.prepared.description,
        effects: &pending.prepared.effects,
        there,
    }
}

pub(super) fn invalid_job(message: impl Into<String>) -> JobError {
    JobError::new(ErrorCode::InvalidJob, message)
}
