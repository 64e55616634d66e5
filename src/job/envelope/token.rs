//! A token of an orchestrator's stream, read as a job.
//!
//! Two shapes are taken: the coordinator's own token, and a job document as it would stand in a list. What a
//! token only names (the previous result, the workflow of its run) is added by whoever fetches it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    Context, Job, JobLimits, LaneChoice, PatchTarget, PreviousResult, Priority,
    fields::{FieldError, Fields},
    read,
};
use crate::job::{ErrorCode, JobError, JobId, RawJson, Rejected};

/// A job that came as a token, with what is still to be fetched for it.
#[derive(Debug, Clone)]
pub struct Token {
    /// The job, complete but for what is named below.
    pub job: Job,
    /// The run it belongs to.
    pub run_id: String,
    /// The node before it, whose result it may work on.
    pub from_node: Option<String>,
    /// Names the previous result.
    pub payload_ref: Option<String>,
}

impl Token {
    /// Reads a token. Without a usable id, or without a run, there is nobody to answer: the [`Rejected`] then
    /// names no job.
    pub fn parse(message: &Bytes, limits: &JobLimits) -> Result<Self, Rejected> {
        let fields = read::members(message)?;
        let run_id = match fields.text("run_id") {
            Ok(Some(run_id)) if !run_id.trim().is_empty() => run_id,
            Ok(_) => return Err(read::nobody("the token has no run_id: its completion has nowhere to go".into())),
            Err(text) => return Err(read::nobody(text)),
        };
        let mut token = Self {
            job: job(&fields, message, limits, &run_id)?,
            run_id,
            from_node: fields.text("from_node").ok().flatten(),
            payload_ref: fields.text("payload_ref").ok().flatten().filter(|text| !text.trim().is_empty()),
        };
        token.job.patch_target.get_or_insert(PatchTarget::Run);
        token.job.current_workflow = token.job.current_workflow.map(unfolded);
        Ok(token)
    }

    /// The id of a token, as far as it can be read at all.
    #[must_use]
    pub fn legible_id(message: &Bytes) -> Option<JobId> {
        let fields = read::members(message).ok()?;
        ["id", "job_id"].into_iter().find_map(|key| JobId::parse(&fields.text(key).ok()??).ok())
    }

    /// Whether the workflow of the run can tell something that the token does not.
    #[must_use]
    pub fn wants_workflow(&self) -> bool {
        let job = &self.job;
        job.current_workflow.is_none() || job.workflow_owner.is_none() || job.workflow_tag.is_none()
    }

    /// Adds what the workflow of the run (`nodes` as a list or a map, `metadata`) says and the token did not.
    pub fn add_workflow(&mut self, text: Bytes) {
        let Ok(raw) = RawJson::parse(text) else { return };
        let Ok(Value::Object(document)) = raw.to_value() else { return };
        let told = |key: &str| document.get("metadata").and_then(|metadata| text_of(metadata.get(key)?));
        let job = &mut self.job;
        job.workflow_owner = job.workflow_owner.take().or_else(|| told("username"));
        job.workflow_tag = job.workflow_tag.take().or_else(|| told("tag"));
        if job.current_workflow.is_none() && document.contains_key("nodes") {
            job.current_workflow = Some(unfold(&document).map_or(raw, |workflow| RawJson::from(&workflow)));
        }
    }

    /// Adds the previous result as the latest one.
    pub fn add_previous(&mut self, result_ref: String, data: Option<RawJson>) {
        let node_id = self.from_node.clone();
        let data = data.map(rows_of);
        let result = PreviousResult { node_id, result_ref: Some(result_ref), preview: None, data };
        self.job.context.previous_results.push(result);
    }
}

fn job(fields: &Fields<'_>, message: &Bytes, limits: &JobLimits, run_id: &str) -> Result<Job, Rejected> {
    if fields.raw("job_id").is_some() && fields.raw("id").is_none() {
        return read::job(message, limits);
    }
    let job_id = fields
        .text("id")
        .and_then(|id| JobId::parse(&id.ok_or("the token has no id")?))
        .map_err(|text| read::nobody(text.replace("job_id", "id")))?;
    let reject = |error: JobError| Rejected {
        job_id: Some(job_id.clone()),
        run_id: Some(run_id.to_owned()),
        node_id: fields.text("to_node").ok().flatten(),
        error,
    };
    read::size(message, limits).map_err(reject)?;
    coordinator(fields, message, limits, job_id.clone())
        .map_err(|text| reject(JobError::new(ErrorCode::InvalidJob, text)))
}

/// The coordinator's shape. Options of a job may stand in the node's `config`.
fn coordinator(fields: &Fields<'_>, message: &Bytes, limits: &JobLimits, job_id: JobId) -> Result<Job, FieldError> {
    fields.bounded("the token")?;
    let config = fields.object("config")?.unwrap_or_default();
    let metadata = fields.object("metadata")?.unwrap_or_default();
    let lane = read::lane(&config)?;
    let job = Job {
        job_id,
        run_id: read::name(fields, "run_id")?,
        node_id: read::name(fields, "to_node")?,
        workflow_tag: read::name(&metadata, "workflow_tag")?.filter(|tag| !tag.is_empty()),
        workflow_owner: read::name(fields, "workflow_owner")?.filter(|owner| !owner.is_empty()),
        prompt: prompt(&metadata, &config, limits)?.map(Into::into),
        current_workflow: metadata.shared("workflow", message),
        context: context(&metadata, message),
        timeout: read::timeout(&config)?,
        retry_count: 0,
        created_at: read::name(fields, "created_at")?,
        lane,
        pipeline: config.shared("pipeline", message),
        patch_spec: config.shared("patch_spec", message),
        patch_target: read::patch_target(&config)?,
        dry_run: read::flag(&config, "dry_run")?,
        require_approval: read::flag(&config, "require_approval")?,
        input_ref: read::name(&config, "input_ref")?,
        data: config.shared("data", message),
        handoff: read::handoff(&config, limits)?,
        run_at_ms: None,
        delay_ms: None,
        priority: Priority::Normal,
        budget: read::budget(&config)?,
        traceparent: read::name(&metadata, "traceparent")?,
    };
    read::something_to_do(&job).map_err(|_| {
        if lane == LaneChoice::Auto {
            "nothing to do: the token has no task in `metadata.task`, `config.task`, `config.prompt` or `metadata.prompt`"
        } else {
            "nothing to do: the token names a lane and no task"
        }
    })?;
    read::handoff_is_whole(&job)?;
    Ok(job)
}

/// The first text that is not blank.
fn prompt(metadata: &Fields<'_>, config: &Fields<'_>, limits: &JobLimits) -> Result<Option<String>, FieldError> {
    for (members, key) in [(metadata, "task"), (config, "task"), (config, "prompt"), (metadata, "prompt")] {
        let Some(text) = members.text(key).ok().flatten().filter(|text| !text.trim().is_empty()) else { continue };
        read::bounded(key, &text, limits)?;
        return Ok(Some(text));
    }
    Ok(None)
}

/// `metadata.context` as a job's context; in any other shape it is what the orchestrator keeps about the run.
fn context(metadata: &Fields<'_>, message: &Bytes) -> Context {
    match read::context(metadata, message) {
        Ok(context)
            if !context.previous_results.is_empty()
                || context.session_id.is_some()
                || context.workflow_state.is_some() =>
        {
            context
        }
        _ => Context { workflow_state: metadata.shared("context", message), ..Context::default() },
    }
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// A workflow whose nodes are a list.
fn unfolded(raw: RawJson) -> RawJson {
    match raw.to_value() {
        Ok(Value::Object(document)) => unfold(&document).map_or(raw, |workflow| RawJson::from(&workflow)),
        _ => raw,
    }
}

/// A compiled workflow keeps its nodes in a map, and its edges in each node's `dependents`: back to lists.
/// Nothing when it is not of that shape.
fn unfold(document: &Map<String, Value>) -> Option<Value> {
    let map = document.get("nodes")?.as_object()?;
    let mut nodes = Vec::with_capacity(map.len());
    let mut edges = Vec::new();
    for (id, node) in map {
        let mut out = Map::new();
        out.insert("id".into(), id.as_str().into());
        for (key, value) in node.as_object().into_iter().flatten() {
            if !matches!(key.as_str(), "id" | "dependents" | "dependencies") {
                out.insert(key.clone(), value.clone());
            }
        }
        nodes.push(Value::Object(out));
        for to in node.get("dependents").and_then(Value::as_array).into_iter().flatten() {
            edges.push(json!({"from": id, "to": to}));
        }
    }
    let mut workflow = Map::new();
    for (key, value) in document {
        match key.as_str() {
            "nodes" => workflow.insert(key.clone(), Value::Array(std::mem::take(&mut nodes))),
            "edges" => None,
            _ => workflow.insert(key.clone(), value.clone()),
        };
    }
    workflow.insert("edges".into(), Value::Array(edges));
    Some(Value::Object(workflow))
}

/// The rows in a previous result: those of a finished pipeline stand in its `data`.
fn rows_of(raw: RawJson) -> RawJson {
    match raw.to_value() {
        Ok(Value::Object(members)) if members.get("status").is_some_and(|status| status == "success") => {
            members.get("data").filter(|data| data.is_array()).map_or(raw, RawJson::from)
        }
        _ => raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: JobLimits = JobLimits { max_job_bytes: 100_000, max_prompt_bytes: 1000 };

    fn token(value: &Value) -> Result<Token, Rejected> {
        Token::parse(&value.to_string().into(), &LIMITS)
    }

    fn base(more: Value) -> Value {
        let mut token = json!({"id": "t1", "run_id": "r1", "from_node": "fetch", "to_node": "agent",
            "payload_ref": "cas://sha256:1", "created_at": "2026-01-01T00:00:00Z"});
        let Value::Object(more) = more else { unreachable!() };
        token.as_object_mut().unwrap().extend(more);
        token
    }

    #[test]
    fn a_coordinator_token_is_a_job_on_its_run() {
        let token =
            token(&base(json!({"workflow_owner": "ann", "metadata": {"task": "top 10", "workflow_tag": "main",
            "workflow": {"nodes": [], "edges": []}, "context": {"session_id": "s"}}})))
            .unwrap();
        let job = &token.job;
        assert_eq!(
            (job.job_id.as_str(), job.run_id.as_deref(), job.node_id.as_deref()),
            ("t1", Some("r1"), Some("agent"))
        );
        assert_eq!((job.workflow_tag.as_deref(), job.workflow_owner.as_deref()), (Some("main"), Some("ann")));
        assert_eq!((job.prompt_text(), job.patch_target), ("top 10", Some(PatchTarget::Run)));
        assert_eq!(job.context.session_id.as_deref(), Some("s"));
        assert_eq!(job.current_workflow.as_ref().unwrap().as_str(), r#"{"nodes":[],"edges":[]}"#);
        assert_eq!((token.from_node.as_deref(), token.payload_ref.as_deref()), (Some("fetch"), Some("cas://sha256:1")));
        assert!(!token.wants_workflow());
    }

    #[test]
    fn the_task_is_the_first_that_is_not_blank() {
        let rows = [
            (json!({"metadata": {"task": "a", "prompt": "d"}, "config": {"task": "b", "prompt": "c"}}), "a"),
            (json!({"metadata": {"task": " ", "prompt": "d"}, "config": {"task": "b", "prompt": "c"}}), "b"),
            (json!({"metadata": {"task": {}, "prompt": "d"}, "config": {"task": "", "prompt": "c"}}), "c"),
            (json!({"metadata": {"prompt": "d"}, "config": null}), "d"),
        ];
        for (more, want) in rows {
            assert_eq!(token(&base(more)).unwrap().job.prompt_text(), want);
        }
    }

    #[test]
    fn options_of_a_job_may_stand_in_the_config() {
        let config =
            json!({"pipeline": [{"step": "count"}], "timeout_sec": 3, "dry_run": true, "patch_target": "workflow"});
        let job = token(&base(json!({"config": config, "metadata": {"context": "free text"}}))).unwrap().job;
        assert_eq!(job.pipeline.unwrap().as_str(), r#"[{"step":"count"}]"#);
        assert_eq!(
            (job.timeout.unwrap().as_secs(), job.dry_run, job.patch_target),
            (3, true, Some(PatchTarget::Workflow))
        );
        assert_eq!(job.context.workflow_state.unwrap().as_str(), r#""free text""#);
    }

    #[test]
    fn a_job_document_is_a_token_too() {
        let token = token(&json!({"job_id": "j", "run_id": "r", "prompt": "p"})).unwrap();
        assert_eq!((token.job.job_id.as_str(), token.job.patch_target), ("j", Some(PatchTarget::Run)));
    }

    #[test]
    fn a_token_without_run_or_id_has_nobody_to_answer() {
        for (bad, word) in [
            (json!({"id": "t", "metadata": {"task": "x"}}), "run_id"),
            (json!({"id": "t", "run_id": " ", "metadata": {"task": "x"}}), "run_id"),
            (json!({"id": "t", "run_id": 7, "metadata": {"task": "x"}}), "run_id"),
            (json!({"run_id": "r", "metadata": {"task": "x"}}), "id"),
            (json!({"job_id": "t", "prompt": "x"}), "run_id"),
            (json!([1]), "object"),
        ] {
            let rejected = token(&bad).unwrap_err();
            assert!(rejected.job_id.is_none() && rejected.error.message.contains(word), "{bad}: {rejected:?}");
        }
        assert_eq!(Token::legible_id(&Bytes::from_static(br#"{"id":"t"}"#)).unwrap().as_str(), "t");
        for (bad, word) in
            [(json!({}), "no task"), (json!({"config": 7}), "config"), (json!({"config": {"lane": "x"}}), "lane")]
        {
            let rejected = token(&base(bad)).unwrap_err();
            assert_eq!((rejected.job_id.unwrap().as_str(), rejected.run_id.as_deref()), ("t1", Some("r1")));
            assert_eq!(rejected.node_id.as_deref(), Some("agent"));
            assert!(rejected.error.message.contains(word), "{}", rejected.error.message);
        }
    }

    #[test]
    fn the_workflow_of_the_run_fills_what_is_missing() {
        let mut token = token(&base(json!({"metadata": {"task": "x"}}))).unwrap();
        assert!(token.wants_workflow());
        let ir = json!({"version": "1", "metadata": {"username": "bob", "tag": "dev"}, "nodes": {
            "a": {"id": "a", "type": "http", "config": {"n": 1}, "dependents": ["b"], "dependencies": []},
            "b": {"type": "agent", "dependencies": ["a"]}}});
        token.add_workflow(ir.to_string().into());
        assert_eq!(
            (token.job.workflow_owner.as_deref(), token.job.workflow_tag.as_deref()),
            (Some("bob"), Some("dev"))
        );
        let workflow = token.job.current_workflow.clone().unwrap().to_value().unwrap();
        assert_eq!(
            workflow["nodes"],
            json!([{"id": "a", "type": "http", "config": {"n": 1}}, {"id": "b", "type": "agent"}])
        );
        assert_eq!(workflow["edges"], json!([{"from": "a", "to": "b"}]));
        let before = token.clone();
        token.add_workflow(Bytes::from_static(b"not json"));
        assert_eq!(token.job.workflow_tag, before.job.workflow_tag);
    }

    #[test]
    fn the_previous_result_is_the_last_with_its_rows() {
        let mut token = token(&base(json!({"metadata": {"task": "x"}}))).unwrap();
        for (text, want) in [
            (r#"[{"p":1.10}]"#, r#"[{"p":1.10}]"#),
            (r#"{"status":"success","data":[{"p":1.10}]}"#, r#"[{"p":1.10}]"#),
            (r#"{"a":1}"#, r#"{"a":1}"#),
        ] {
            token.add_previous("cas://1".into(), Some(RawJson::from_trusted(text.as_bytes().to_vec())));
            let last = token.job.context.previous_results.last().unwrap();
            assert_eq!((last.data.as_ref().unwrap().as_str(), last.node_id.as_deref()), (want, Some("fetch")));
        }
    }
}
