//! The tool `delegate_to_agent`: another agent does a task and its answer comes back as the tool's result.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::{
    cast::Cast,
    errand::{Errand, Errands},
    kit::Kit,
    pools::{Loans, Pools},
    registry::{Agent, Registry, ToolRef},
    run::{RunBounds, may_pass_to_another},
    solo::solo,
    stage::Stage,
};
use crate::{
    job::{ErrorCode, JobError, Lane, Preview, RawJson},
    llm::{CallContext, ChatModel, ToolSpec},
    settings::limits::MAX_DELEGATION_DEPTH,
    tools::{Effect, Tool, ToolContext, ToolEnd, ToolOutput, Watch},
};

/// Name of the tool.
const NAME: &str = "delegate_to_agent";

/// Whether the tool `name` is offered to an agent that is itself `depth` delegations deep: this one only as long as
/// another delegation may follow.
pub(super) fn is_offered(name: &str, depth: u32) -> bool {
    name != NAME || depth < MAX_DELEGATION_DEPTH
}

/// Lets an agent hand a task to another one.
#[derive(Clone)]
pub struct DelegateToAgent {
    spec: ToolSpec,
    registry: Arc<Registry>,
    model: Arc<dyn ChatModel>,
    /// The tools of the run, without this one.
    tools: Kit,
    pools: Arc<Pools>,
    bounds: RunBounds,
    errands: Errands,
}

#[derive(Deserialize)]
struct Arguments {
    agent: String,
    task: String,
}

impl DelegateToAgent {
    /// The tool. `tools` are the others of the run; with `errands` it belongs to the runs of one handoff.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        model: Arc<dyn ChatModel>,
        tools: Kit,
        pools: Arc<Pools>,
        bounds: RunBounds,
        errands: Errands,
    ) -> Self {
        Self { spec: spec(&registry), registry, model, tools, pools, bounds, errands }
    }

    /// The tools of the agent that a task goes to.
    fn tools_for(&self, agent: &Agent) -> Kit {
        if !agent.tools.contains(&ToolRef::BuiltIn(NAME.into())) {
            return self.tools.clone();
        }
        self.tools.with(Arc::new(self.clone()))
    }

    /// The agent meant, whatever its spelling.
    fn find(&self, name: &str) -> Result<&Agent, JobError> {
        let plain = |text: &str| text.trim().to_lowercase().replace([' ', '_'], "-");
        let wanted = plain(name);
        let found =
            self.registry.agents.iter().find(|agent| plain(&agent.id) == wanted || plain(&agent.name) == wanted);
        found.ok_or_else(|| {
            let ids: Vec<&str> = self.registry.agents.iter().map(|agent| agent.id.as_str()).collect();
            refused(format!("there is no agent {name:?}: delegate to one of {}", ids.join(", ")))
        })
    }
}

fn spec(registry: &Registry) -> ToolSpec {
    let list: Vec<String> =
        registry.agents.iter().map(|agent| format!("{}: {}", agent.id, first_words(&agent.description))).collect();
    ToolSpec {
        name: NAME.into(),
        description: format!(
            "Hands a task to another agent and gives back its answer. The agent sees the task only, so say all it \
             needs to know. Agents:\n{}",
            list.join("\n")
        ),
        parameters: json!({
            "type": "object",
            "properties": {
                "agent": {"type": "string", "description": "Id of the agent"},
                "task": {"type": "string", "description": "What it shall do, with everything it needs to know"},
            },
            "required": ["agent", "task"],
            "additionalProperties": false,
        }),
        strict: true,
    }
}

fn first_words(text: &str) -> String {
    text.chars().take(160).collect()
}

/// The failure of a delegate that has tried again what could be: the model that delegated decides what becomes of it. The
/// job's own end, its bounds and our own failures are no delegate's.
fn for_whoever_delegated(error: JobError) -> JobError {
    if may_pass_to_another(&error) { error.with_retryable(false) } else { error }
}

fn refused(message: String) -> JobError {
    JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false).with_tool(NAME)
}

#[async_trait]
impl Tool for DelegateToAgent {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// Every step of the other agent is on record.
    fn effect(&self, _: &RawJson) -> Effect {
        Effect::Repeatable
    }

    /// What the other agent does with its tools is judged there: it begins under the same taint.
    async fn has_consequences(&self, _: &RawJson, _: &ToolContext<'_>) -> Result<bool, JobError> {
        Ok(false)
    }

    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        let Arguments { agent, task } = arguments
            .read()
            .map_err(|e| refused(format!("the arguments must be {{\"agent\": …, \"task\": …}}: {e}")))?;
        if task.trim().is_empty() {
            return Err(refused("the task is empty: say what the agent shall do".into()));
        }
        let agent = self.find(&agent)?;
        let mut errand = Errand::begin(&self.errands, &agent.id)?;
        let bounds = RunBounds { max_in_all: errand.order.calls, ..self.bounds };
        let tools = self.tools_for(agent);
        let quiet =
            CallContext { meter: context.meter, deadline: context.deadline, cancel: context.cancel, on_text: None };
        // The step of the call is unique within the job: so are those of the delegation.
        let scope = format!("{}delegate", context.step);
        let stage = Stage {
            cast: Cast { registry: &self.registry, pools: &self.pools, job: context.job, model: None, quiet },
            model: &*self.model,
            tools: &tools,
            context: *context,
            scope: &scope,
            wall_clock: None,
            loans: Loans::default(),
            // Whoever delegated goes on.
            is_backed: true,
        };
        let Errand { trail, made, .. } = &mut errand;
        made.taint = context.watch.map(Watch::before).unwrap_or_default();
        let outcome = solo(&stage, bounds, agent, &task, trail, made).await;
        if let Some(watch) = context.watch {
            watch.join(&made.taint);
        }
        errand.ended(&agent.id, &outcome);
        let text = outcome.map_err(for_whoever_delegated)?;
        let result = RawJson::of(&json!({"type": "text_response", "agent": agent.id, "message": text}));
        let preview = Preview::text(&text);
        Ok(ToolEnd::Done(ToolOutput {
            result,
            lane: Lane::Handoff,
            preview,
            summary: text,
            warnings: std::mem::take(&mut errand.made.warnings),
        }))
    }
}
