//! `search_tools` and `call_tool`: the owner's promoted pipelines for a model that plans, and for agents.
//!
//! Two tools that never change stand for all that there are: a list that grew would change the beginning of every
//! request, and with it what the provider has kept.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{ExecutePipeline, SearchSource, Tool, ToolContext, ToolEnd, ToolHit, execute_pipeline::NAME as PIPELINE};
use crate::{
    job::{ErrorCode, Job, JobError, RawJson},
    llm::ToolSpec,
    planner::{Catalogue, Found, Promoted},
    store::Runs,
};

const CALL: &str = "call_tool";

/// Finds promoted pipelines by words.
pub struct SearchTools {
    spec: ToolSpec,
    catalogue: Arc<Catalogue>,
}

impl SearchTools {
    /// A search over `catalogue`.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        let spec = ToolSpec {
            name: "search_tools".into(),
            description:
                "Finds saved pipelines that worked before for the same owner, by words. Worth a look where the \
                          task sounds like one that comes again; run what fits with call_tool."
                    .into(),
            parameters: json!({
                "type": "object",
                "properties": {"query": {"type": "string", "description": "what it should do"}},
                "required": ["query"],
                "additionalProperties": false
            }),
            strict: false,
        };
        Self { spec, catalogue }
    }
}

#[async_trait]
impl Tool for SearchTools {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn only_reads(&self, _: &RawJson) -> bool {
        true
    }

    async fn call(&self, arguments: &RawJson, _: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        let members = object(arguments, "search_tools")?;
        let query = members.get("query").and_then(Value::as_str).unwrap_or_default();
        if query.trim().is_empty() {
            return Err(bad("search_tools", "`query` is missing: say what the tool should do"));
        }
        let found: Vec<Value> = self.catalogue.search(query).into_iter().map(shown).collect();
        Ok(ToolEnd::Told(if found.is_empty() {
            "no saved pipeline is like that: plan it with execute_pipeline".to_owned()
        } else {
            json!({"tools": found, "run_with": CALL}).to_string()
        }))
    }
}

fn shown(tool: &Promoted) -> Value {
    json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters_schema()})
}

/// The promoted pipelines of a job's owner for the search of an agent, which runs them with `execute_pipeline`.
pub struct SavedPipelines(Runs);

impl SavedPipelines {
    /// Those of `runs`.
    #[must_use]
    pub fn new(runs: Runs) -> Self {
        Self(runs)
    }
}

#[async_trait]
impl SearchSource for SavedPipelines {
    fn called_with(&self) -> Option<&str> {
        Some(PIPELINE)
    }

    /// Of the job's owner alone; a job that nobody owns is shown what nobody owns.
    async fn tools(&self, job: &Job) -> Result<Vec<ToolHit>, String> {
        let owner = job.workflow_owner.as_deref().unwrap_or_default();
        let read = tokio::try_join!(self.0.of(owner), self.0.disabled(owner));
        let (runs, disabled) = read.map_err(|error| format!("saved pipelines cannot be read now: {error}"))?;
        Ok(Catalogue::of(&runs, &disabled).enabled().map(hit).collect())
    }
}

fn hit(tool: &Promoted) -> ToolHit {
    let steps = json!({"pipeline": tool.steps});
    let mut call = json!({"tool": PIPELINE, "arguments": steps});
    if !tool.parameters.is_empty() {
        // In the steps stand those of the latest run.
        call["replace"] =
            tool.parameters.iter().map(|given| json!({"name": given.name, "value": given.example})).collect();
    }
    let description = format!("{} {}", tool.description, tool.wordings.join(" "));
    ToolHit { name: tool.name.clone(), description: description.trim_end().to_owned(), kind: "pipeline".into(), call }
}

/// Runs a promoted pipeline.
pub struct CallTool {
    spec: ToolSpec,
    catalogue: Arc<Catalogue>,
    pipeline: Arc<ExecutePipeline>,
}

impl CallTool {
    /// Runs what `catalogue` has, with `pipeline`.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, pipeline: Arc<ExecutePipeline>) -> Self {
        let spec = ToolSpec {
            name: CALL.into(),
            description: "Runs a saved pipeline that search_tools found, on the data at hand.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "name of the saved pipeline"},
                    "arguments": {"type": "object", "description": "its parameters"}
                },
                "required": ["name"],
                "additionalProperties": false
            }),
            strict: false,
        };
        Self { spec, catalogue, pipeline }
    }

    fn found(&self, arguments: &RawJson) -> Result<Found, JobError> {
        let members = object(arguments, CALL)?;
        let name = members.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(tool) = self.catalogue.enabled().find(|tool| tool.name == name) else {
            return Err(bad(CALL, &format!("there is no saved pipeline {name:?}: look with search_tools")));
        };
        match members.get("arguments") {
            None | Some(Value::Null) => tool.call(&Map::new()),
            Some(Value::Object(given)) => tool.call(given),
            Some(_) => Err(bad(CALL, "`arguments` must be an object")),
        }
    }
}

#[async_trait]
impl Tool for CallTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn only_reads(&self, _: &RawJson) -> bool {
        true
    }

    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        // What the tool stands for may be gone or another thing when the job walks this way again.
        let print: String =
            Sha256::digest(arguments.bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let found = async { self.found(arguments) };
        let found: Found = context.journal.step(&format!("saved:{print}"), context.meter, found).await?;
        let plan = RawJson::from_trusted(format!("{{\"pipeline\":{}}}", found.steps.as_str()));
        self.pipeline.call(&plan, context).await
    }
}

fn object(arguments: &RawJson, tool: &str) -> Result<Map<String, Value>, JobError> {
    match arguments.to_value() {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(bad(tool, "the arguments must be an object")),
    }
}

fn bad(tool: &str, message: &str) -> JobError {
    JobError::new(ErrorCode::InvalidPipeline, message).with_tool(tool)
}
