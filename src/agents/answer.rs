//! The chosen agent answers: its instructions, its model, its tools, within bounds.

use std::{sync::Arc, time::Instant};

use tracing::Instrument;

use super::{
    registry::{Agent, ToolRef},
    run::{Action, AgentRun, Event, RunBounds},
};
use crate::{
    job::{ErrorCode, Event as JobEvent, EventKind, JobError, RawJson, ToolCallRecord, ToolStatus},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest, ToolCall, ToolChoice, ToolSpec},
    settings::limits,
    telemetry::spans,
    tools::{Tool, ToolContext, ToolEnd},
};

/// What an agent needs to answer.
pub struct Answering<'a> {
    /// The model client.
    pub model: &'a dyn ChatModel,
    /// The built-in tools there are; an agent is offered those that it names.
    pub tools: &'a [Arc<dyn Tool>],
    /// What surrounds a tool call; its journal keeps every reply that was paid for.
    pub tool_context: ToolContext<'a>,
    /// What surrounds a model call.
    pub call_context: CallContext<'a>,
    /// Bounds of the run.
    pub bounds: RunBounds,
    /// Begins the names of the journal's steps: unique within the job, the same at every delivery.
    pub step: &'a str,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The agent's words.
    pub text: String,
    /// Model calls made.
    pub model_calls: u32,
    /// Tool calls, in order.
    pub tool_calls: Vec<ToolCallRecord>,
    /// What did not go as one may have thought.
    pub warnings: Vec<String>,
}

/// Lets `agent` answer `prompt`.
///
/// # Errors
/// `llm_*` of the model, `loop_detected` past a bound, `limit_exceeded`, `budget_exceeded`, `timeout`, `cancelled`;
/// `handoff_failed` where a tool waits for an approval, which a routed agent cannot.
pub async fn answer(agent: &Agent, prompt: &str, with: &Answering<'_>) -> Result<Answer, JobError> {
    let tools = offered(agent, with.tools);
    let specs: Vec<ToolSpec> = tools.iter().map(|tool| tool.spec().clone()).collect();
    let mut run = AgentRun::new(with.bounds, &agent.instructions, prompt);
    let mut done = Answer::default();
    emit(with, agent, EventKind::AgentStarted, &[]);
    let mut event = Event::Start;
    loop {
        event = match run.next(event) {
            Action::Ask { tools } => {
                let request = request(agent, &run, if tools { &specs } else { &[] });
                done.model_calls = run.turns();
                Event::Replied(ask(with, &request, run.turns(), &mut done).await?)
            }
            Action::Call(call) => {
                let number = done.tool_calls.len() + 1;
                Event::Called(make_call(agent, &tools, &call, number, with, &mut done).await)
            }
            Action::Finish(text) => {
                emit(with, agent, EventKind::AgentCompleted, &[]);
                done.text = text;
                return Ok(done);
            }
            Action::Fail(error) => {
                emit(with, agent, EventKind::AgentCompleted, &[("error", error.to_string())]);
                return Err(error);
            }
        };
    }
}

/// The tools an agent names, in its order, as far as they are at hand.
fn offered<'a>(agent: &Agent, tools: &'a [Arc<dyn Tool>]) -> Vec<&'a Arc<dyn Tool>> {
    let names = agent.tools.iter().filter_map(|tool| match tool {
        ToolRef::BuiltIn(name) => Some(name),
        ToolRef::Mcp { .. } => None,
    });
    names.filter_map(|name| tools.iter().find(|tool| tool.spec().name == *name)).collect()
}

fn request(agent: &Agent, run: &AgentRun, tools: &[ToolSpec]) -> ChatRequest {
    ChatRequest {
        model: agent.model.clone(),
        messages: run.messages().to_vec(),
        tools: tools.to_vec(),
        tool_choice: if tools.is_empty() { ToolChoice::None } else { ToolChoice::Auto },
        temperature: agent.temperature,
        max_tokens: agent.max_tokens,
        response_format: None,
        prompt_cache_key: Some(format!("agent:{}", agent.id)),
    }
}

async fn ask(with: &Answering<'_>, request: &ChatRequest, turn: u32, done: &mut Answer) -> Result<ChatReply, JobError> {
    let context = &with.tool_context;
    let step = format!("{}:turn:{turn}", with.step);
    let reply = context.journal.step(&step, context.meter, with.model.chat(request, &with.call_context)).await;
    done.tool_calls.extend(context.journal.unreadable(&step, context.meter).await?);
    reply
}

/// One call with its events and its record.
async fn make_call(
    agent: &Agent,
    tools: &[&Arc<dyn Tool>],
    call: &ToolCall,
    number: usize,
    with: &Answering<'_>,
    done: &mut Answer,
) -> Result<String, JobError> {
    emit(with, agent, EventKind::ToolStarted, &[("tool", call.name.clone())]);
    let started = Instant::now();
    let step = format!("{}:tool:{number}", with.step);
    let span = spans::execute_tool(&call.name, Some(&call.id), None);
    let outcome = journalled(tools, call, &step, with, done).instrument(span.clone()).await;
    if let Err(error) = &outcome {
        spans::failed(&span, error.code.as_str());
    }
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let error = outcome.as_ref().err().map(ToString::to_string);
    let status = match &outcome {
        Ok(_) => ToolStatus::Ok,
        Err(error) if error.code == ErrorCode::HttpBlocked => ToolStatus::Refused,
        Err(_) => ToolStatus::Error,
    };
    let mut facts = vec![("tool", call.name.clone()), ("duration_ms", duration_ms.to_string())];
    facts.extend(error.iter().map(|text| ("error", text.clone())));
    emit(with, agent, EventKind::ToolFinished, &facts);
    let args = if call.arguments.len() > limits::RECORDED_ARGS_BYTES {
        RawJson::of(&serde_json::json!({"bytes": call.arguments.len()}))
    } else {
        call.arguments.clone()
    };
    done.tool_calls.push(ToolCallRecord { tool: call.name.clone(), args, status, duration_ms, error });
    outcome
}

/// What the model is told of a call. It goes on record, also when it is an error that the model may mend, so that
/// a redelivered job neither calls again nor tells another story.
async fn journalled(
    tools: &[&Arc<dyn Tool>],
    call: &ToolCall,
    step: &str,
    with: &Answering<'_>,
    done: &mut Answer,
) -> Result<String, JobError> {
    let context = &with.tool_context;
    let mut warnings = Vec::new();
    let told = context.journal.step(step, context.meter, async {
        match dispatch(tools, call, context, &mut warnings).await {
            Ok(text) => Ok(Ok(text)),
            Err(error) if error.retryable => Err(error),
            Err(error) => Ok(Err(error)),
        }
    });
    let told: Result<String, JobError> = told.await?;
    done.warnings.append(&mut warnings);
    told
}

async fn dispatch(
    tools: &[&Arc<dyn Tool>],
    call: &ToolCall,
    context: &ToolContext<'_>,
    warnings: &mut Vec<String>,
) -> Result<String, JobError> {
    let Some(tool) = tools.iter().find(|tool| tool.spec().name == call.name) else {
        let names: Vec<&str> = tools.iter().map(|tool| tool.spec().name.as_str()).collect();
        let message = format!("there is no tool {:?}: call one of [{}] or answer", call.name, names.join(", "));
        return Err(JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false));
    };
    if call.arguments.len() > limits::MAX_ARGUMENT_BYTES {
        let most = limits::MAX_ARGUMENT_BYTES;
        let message = format!("the arguments have {} bytes, at most {most} are taken", call.arguments.len());
        return Err(JobError::new(ErrorCode::LimitExceeded, message).with_tool(call.name.as_str()));
    }
    match tool.call(&call.arguments, context).await {
        Ok(ToolEnd::Done(output)) => {
            warnings.extend(output.warnings);
            Ok(output.summary)
        }
        Ok(ToolEnd::Told(text)) => Ok(text),
        Ok(ToolEnd::Park(_)) => {
            let message = format!("{} needs an approval, which a routed agent cannot wait for", call.name);
            Err(JobError::new(ErrorCode::HandoffFailed, message).with_tool(call.name.as_str()))
        }
        Err(mut error) => {
            error.tool.get_or_insert_with(|| call.name.clone());
            Err(error)
        }
    }
}

fn emit(with: &Answering<'_>, agent: &Agent, kind: EventKind, facts: &[(&str, String)]) {
    let event = JobEvent::new(kind).with("agent_id", agent.id.as_str());
    let event = facts.iter().fold(event, |event, (key, value)| event.with(key, value.as_str()));
    (with.tool_context.emit)(event);
}
