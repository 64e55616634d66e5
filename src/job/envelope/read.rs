//! From message to job, field by field.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Context, Job, JobLimits, LaneChoice, PatchTarget, PreviousResult, Priority,
    fields::{AtMost, FieldError, Fields, shorten},
};
use crate::job::{Budget, ErrorCode, Handoff, HandoffMode, JobError, JobId, Rejected, in_plain_words};

/// Longest time limit a job may ask for: a week.
const MAX_TIMEOUT_SECS: f64 = 7.0 * 86_400.0;
/// Longest delay a job may ask for: a year.
const MAX_DELAY_MS: u64 = 366 * 86_400_000;
/// Longest text of the small members (`run_id`, `node_id`, `workflow_tag` …), in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// Most earlier results that a job may bring.
const MAX_PREVIOUS: usize = 10_000;

/// A message nobody can be told about.
pub(super) fn nobody(text: String) -> Rejected {
    Rejected { job_id: None, run_id: None, node_id: None, error: JobError::new(ErrorCode::InvalidJob, text) }
}

/// The members of a message.
pub(super) fn members(message: &Bytes) -> Result<Fields<'_>, Rejected> {
    let text = std::str::from_utf8(message)
        .map_err(|e| nobody(format!("the message is not UTF-8 (byte {}): send JSON text", e.valid_up_to())))?;
    serde_json::from_str(text)
        .map_err(|e| nobody(format!("the message is not a JSON object: {}", in_plain_words(&e.to_string()))))
}

pub(super) fn job(message: &Bytes, limits: &JobLimits) -> Result<Job, Rejected> {
    let fields = members(message)?;
    let job_id =
        fields.text("job_id").and_then(|id| JobId::parse(&id.ok_or("the message has no job_id")?)).map_err(nobody)?;

    let reject = |error: JobError| Rejected {
        job_id: Some(job_id.clone()),
        run_id: fields.text("run_id").ok().flatten(),
        node_id: fields.text("node_id").ok().flatten(),
        error,
    };
    size(message, limits).and_then(|()| version(&fields)).map_err(&reject)?;
    fields.bounded("the job").map_err(|text| reject(JobError::new(ErrorCode::InvalidJob, text)))?;
    body(&fields, message, limits, job_id.clone()).map_err(|text| reject(JobError::new(ErrorCode::InvalidJob, text)))
}

pub(super) fn size(message: &Bytes, limits: &JobLimits) -> Result<(), JobError> {
    if message.len() <= limits.max_job_bytes {
        return Ok(());
    }
    Err(JobError::new(
        ErrorCode::InvalidJob,
        format!(
            "the job has {} bytes, at most {} are taken (worker.max_job_bytes): put large data behind input_ref",
            message.len(),
            limits.max_job_bytes
        ),
    ))
}

/// `version` is absent or `1.x`. A bare number is read as its text.
fn version(fields: &Fields<'_>) -> Result<(), JobError> {
    let Some(raw) = fields.raw("version") else { return Ok(()) };
    let text = raw.get().trim_matches('"');
    let mut parts = text.splitn(2, '.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let major = parts.next().unwrap_or_default();
    if !is_number(major) || !parts.next().is_none_or(|minor| minor.split('.').all(is_number)) {
        return Err(JobError::new(
            ErrorCode::InvalidJob,
            format!("`version` must be like \"1.0\", found {}", shorten(raw.get())),
        ));
    }
    if major.trim_start_matches('0') != "1" {
        return Err(JobError::new(
            ErrorCode::UnsupportedVersion,
            format!("job version {} is not supported: this runner reads 1.x", shorten(text)),
        ));
    }
    Ok(())
}

fn body(fields: &Fields<'_>, message: &Bytes, limits: &JobLimits, job_id: JobId) -> Result<Job, FieldError> {
    let job = Job {
        job_id,
        run_id: name(fields, "run_id")?,
        node_id: name(fields, "node_id")?,
        workflow_tag: name(fields, "workflow_tag")?,
        workflow_owner: name(fields, "workflow_owner")?,
        prompt: prompt(fields, limits)?.map(Into::into),
        current_workflow: fields.shared("current_workflow", message),
        context: context(fields, message)?,
        timeout: timeout(fields)?,
        retry_count: fields.read("retry_count", "a whole number from 0")?.unwrap_or(0),
        created_at: name(fields, "created_at")?,
        lane: lane(fields)?,
        pipeline: fields.shared("pipeline", message),
        patch_spec: fields.shared("patch_spec", message),
        patch_target: patch_target(fields)?,
        dry_run: flag(fields, "dry_run")?,
        require_approval: flag(fields, "require_approval")?,
        input_ref: name(fields, "input_ref")?,
        data: fields.shared("data", message),
        handoff: handoff(fields, limits)?,
        run_at_ms: run_at(fields)?,
        delay_ms: delay(fields)?,
        priority: priority(fields)?,
        budget: budget(fields)?,
        traceparent: name(fields, "traceparent")?,
    };
    something_to_do(&job)?;
    handoff_is_whole(&job)?;
    Ok(job)
}

pub(super) fn something_to_do(job: &Job) -> Result<(), FieldError> {
    if job.prompt.is_none() && job.pipeline.is_none() && job.patch_spec.is_none() && job.handoff.is_none() {
        return Err("nothing to do: give one of `prompt`, `pipeline`, `patch_spec` or `handoff`".into());
    }
    Ok(())
}

/// A short text member.
pub(super) fn name(fields: &Fields<'_>, key: &str) -> Result<Option<String>, FieldError> {
    match fields.text(key)? {
        Some(text) if text.len() > MAX_NAME_BYTES => {
            Err(format!("`{key}` has {} bytes, at most {MAX_NAME_BYTES} are taken", text.len()))
        }
        text => Ok(text),
    }
}

pub(super) fn flag(fields: &Fields<'_>, key: &str) -> Result<bool, FieldError> {
    Ok(fields.read(key, "true or false")?.unwrap_or(false))
}

/// `prompt`, or its alias `task`; blank text counts as absent.
fn prompt(fields: &Fields<'_>, limits: &JobLimits) -> Result<Option<String>, FieldError> {
    for key in ["prompt", "task"] {
        let Some(text) = fields.text(key)? else { continue };
        bounded(key, &text, limits)?;
        if !text.trim().is_empty() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The handoff block: a mode that there is, names as short as others, words for the tiers no longer than a prompt, and
/// numbers that mean something.
pub(super) fn handoff(fields: &Fields<'_>, limits: &JobLimits) -> Result<Option<Handoff>, FieldError> {
    let Some(members) = fields.object("handoff")? else { return Ok(None) };
    let modes = HandoffMode::ALL.map(HandoffMode::as_str);
    if let Some(other) = members.text("mode")?.filter(|mode| !modes.contains(&mode.as_str())) {
        return Err(format!("`handoff.mode` must be route, tiers, network or pool, found {:?}", shorten(&other)));
    }
    let Some(handoff) = fields.read::<Handoff>("handoff", "an object with a mode")? else { return Ok(None) };
    let Handoff { agent, tiers, pool, capability, .. } = &handoff;
    for (key, text) in [("agent", agent), ("tiers", tiers), ("pool", pool), ("capability", capability)] {
        if let Some(text) = text.as_deref().filter(|text| text.len() > MAX_NAME_BYTES) {
            return Err(format!("`handoff.{key}` has {} bytes, at most {MAX_NAME_BYTES} are taken", text.len()));
        }
    }
    bounded("handoff.context", handoff.context.as_deref().unwrap_or_default(), limits)?;
    handoff.threshold.map_or(Ok(()), Handoff::check_threshold)?;
    handoff.num_tiers.map_or(Ok(()), Handoff::check_num_tiers)?;
    Ok(Some(handoff))
}

/// What a handoff that will run lacks, as far as that shows before the agents are looked at.
pub(super) fn handoff_is_whole(job: &Job) -> Result<(), FieldError> {
    let runs = match job.lane {
        LaneChoice::Auto => job.patch_spec.is_none(),
        choice => choice == LaneChoice::Handoff,
    };
    let Some(asked) = job.handoff.as_ref().filter(|_| runs) else { return Ok(()) };
    let is_dry = asked.dry_run || job.dry_run;
    match asked.mode() {
        HandoffMode::Route => Ok(()),
        HandoffMode::Pool if asked.pool.is_none() => {
            Err("handoff.pool is missing: name the pool whose agents shall answer".into())
        }
        // In a session that goes on the agent that holds it begins.
        HandoffMode::Network if asked.agent.is_none() && job.context.session_id.is_none() => {
            Err(Handoff::NO_AGENT.into())
        }
        _ if !is_dry && job.prompt.is_none() => Err("`prompt` is missing: say what the agents shall do".into()),
        _ => Ok(()),
    }
}

/// Refuses a prompt that is too long.
pub(super) fn bounded(key: &str, text: &str, limits: &JobLimits) -> Result<(), FieldError> {
    if text.len() <= limits.max_prompt_bytes {
        return Ok(());
    }
    Err(format!(
        "`{key}` has {} bytes, at most {} are taken (worker.max_prompt_bytes): pass data as `data` or `input_ref`",
        text.len(),
        limits.max_prompt_bytes
    ))
}

pub(super) fn lane(fields: &Fields<'_>) -> Result<LaneChoice, FieldError> {
    Ok(match fields.text("lane")?.as_deref() {
        None | Some("auto") => LaneChoice::Auto,
        Some("execute") => LaneChoice::Execute,
        Some("patch") => LaneChoice::Patch,
        Some("handoff") => LaneChoice::Handoff,
        Some(other) => {
            return Err(format!("`lane` must be auto, execute, patch or handoff, found {:?}", shorten(other)));
        }
    })
}

pub(super) fn patch_target(fields: &Fields<'_>) -> Result<Option<PatchTarget>, FieldError> {
    Ok(match fields.text("patch_target")?.as_deref() {
        None => None,
        Some("workflow") => Some(PatchTarget::Workflow),
        Some("run") => Some(PatchTarget::Run),
        Some(other) => return Err(format!("`patch_target` must be workflow or run, found {:?}", shorten(other))),
    })
}

fn priority(fields: &Fields<'_>) -> Result<Priority, FieldError> {
    Ok(match fields.text("priority")?.as_deref() {
        None | Some("normal") => Priority::Normal,
        Some("high") => Priority::High,
        Some("low") => Priority::Low,
        Some(other) => return Err(format!("`priority` must be high, normal or low, found {:?}", shorten(other))),
    })
}

pub(super) fn timeout(fields: &Fields<'_>) -> Result<Option<Duration>, FieldError> {
    let what = "a number of seconds above 0 and at most a week";
    match fields.read::<f64>("timeout_sec", what)? {
        None => Ok(None),
        Some(secs) if secs > 0.0 && secs <= MAX_TIMEOUT_SECS => Ok(Some(Duration::from_secs_f64(secs))),
        Some(secs) => Err(format!("`timeout_sec` must be {what}, found {secs}")),
    }
}

fn delay(fields: &Fields<'_>) -> Result<Option<u64>, FieldError> {
    let what = "a whole number of milliseconds from 0 to a year";
    match fields.read::<u64>("delay_ms", what)? {
        Some(ms) if ms > MAX_DELAY_MS => Err(format!("`delay_ms` must be {what}, found {ms}")),
        ms => Ok(ms),
    }
}

/// `run_at` is an RFC 3339 time or milliseconds since the epoch.
fn run_at(fields: &Fields<'_>) -> Result<Option<u64>, FieldError> {
    let Some(raw) = fields.raw("run_at") else { return Ok(None) };
    if let Ok(ms) = serde_json::from_str::<u64>(raw.get()) {
        return Ok(Some(ms));
    }
    let time: Option<jiff::Timestamp> =
        serde_json::from_str::<String>(raw.get()).ok().and_then(|text| text.trim().parse().ok());
    match time {
        Some(time) => Ok(Some(u64::try_from(time.as_millisecond()).unwrap_or(0))),
        None => Err(format!(
            "`run_at` must be an RFC 3339 time (\"2026-01-01T00:00:00Z\") or milliseconds since the epoch, found {}",
            shorten(raw.get())
        )),
    }
}

pub(super) fn budget(fields: &Fields<'_>) -> Result<Budget, FieldError> {
    let Some(members) = fields.object("budget")? else { return Ok(Budget::default()) };
    let max_cost_usd = members.read::<f64>("max_cost_usd", "a number of dollars")?;
    if max_cost_usd.is_some_and(|cost| cost < 0.0) {
        return Err("`budget.max_cost_usd` must not be negative".into());
    }
    Ok(Budget { max_tokens: members.read("max_tokens", "a whole number of tokens")?, max_cost_usd })
}

pub(super) fn context(fields: &Fields<'_>, message: &Bytes) -> Result<Context, FieldError> {
    let Some(members) = fields.object("context")? else { return Ok(Context::default()) };
    let mut previous_results = Vec::new();
    if let Some(raw) = members.raw("previous_results") {
        let AtMost::<Fields<'_>, MAX_PREVIOUS>(list) = serde_json::from_str(raw.get()).map_err(|_| {
            let found = shorten(raw.get());
            format!("`context.previous_results` must be a list of objects, at most {MAX_PREVIOUS}, found {found}")
        })?;
        for entry in list {
            entry.bounded("an entry of `context.previous_results`")?;
            previous_results.push(PreviousResult {
                node_id: name(&entry, "node_id")?,
                result_ref: name(&entry, "result_ref")?,
                preview: entry.shared("preview", message),
                data: entry.shared("data", message),
            });
        }
    }
    Ok(Context {
        previous_results,
        session_id: name(&members, "session_id")?,
        workflow_state: members.shared("workflow_state", message),
    })
}
