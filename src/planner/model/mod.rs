//! The planner that asks a model.

mod prompt;
#[cfg(test)]
mod tests;
mod written;

use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{Brief, Exchange, Planner, Turn};
use crate::{
    job::{ErrorCode, Job, JobError},
    llm::{CallContext, ChatModel, ChatRequest, Message, ToolChoice},
    settings::limits::{MAX_CALLS_PER_TURN, MODEL_ERROR_CHARS},
};

/// What a model must know about the tools beyond their schemas. Never changes while the program runs.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    /// The steps of a table pipeline; given where `execute_pipeline` is offered.
    pub pipeline_docs: String,
    /// Node types with their configuration, and how a patch is written; given where `patch_workflow` is offered.
    pub workflow_docs: String,
}

/// Asks a model for the next turn.
pub struct ModelPlanner {
    chat: Arc<dyn ChatModel>,
    reference: Reference,
}

impl ModelPlanner {
    /// A planner that asks `chat`.
    #[must_use]
    pub fn new(chat: Arc<dyn ChatModel>, reference: Reference) -> Self {
        Self { chat, reference }
    }

    /// The request for the next turn: what all jobs share, then what all jobs on one workflow share, then this
    /// job, its task last, and what was done about it so far.
    #[must_use]
    pub fn request(&self, brief: &Brief<'_>, transcript: &[Exchange]) -> ChatRequest {
        let mut messages = vec![
            Message::System(prompt::instructions(brief.tools, &self.reference)),
            Message::User(prompt::task(brief)),
        ];
        messages.extend(transcript.iter().flat_map(told));
        ChatRequest {
            messages,
            tools: brief.tools.to_vec(),
            // A model that must call a tool invents one where a question would be right; that it says something
            // is held by the client.
            tool_choice: ToolChoice::Auto,
            prompt_cache_key: cache_key(brief.job),
            ..ChatRequest::default()
        }
    }
}

/// One finished turn as messages: what was called, then one result for each call, in the order of the calls.
fn told(exchange: &Exchange) -> Vec<Message> {
    let calls = exchange.calls.iter().map(|(call, _)| call.clone()).collect();
    let said = Message::Assistant { text: exchange.text.clone(), calls };
    let results = exchange.calls.iter().map(|(call, report)| Message::Tool {
        call_id: call.id.clone(),
        name: call.name.clone(),
        content: if report.ok { report.content.clone() } else { failure(&report.content) },
    });
    std::iter::once(said).chain(results).collect()
}

fn failure(content: &str) -> String {
    let content: String = content.chars().take(MODEL_ERROR_CHARS).collect();
    format!("error: {content}")
}

/// One key per workflow: the provider sends requests with one key to the machine that has their beginning.
fn cache_key(job: &Job) -> Option<String> {
    if job.workflow_tag.is_none() && job.workflow_owner.is_none() {
        return None;
    }
    let mut hash = Sha256::new();
    for part in [&job.workflow_owner, &job.workflow_tag] {
        hash.update(part.as_deref().unwrap_or_default());
        hash.update([0]);
    }
    let hex: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("workflow-{hex}"))
}

#[async_trait]
impl Planner for ModelPlanner {
    fn asks(&self, _: &[Exchange]) -> bool {
        true
    }

    async fn next(
        &self,
        brief: &Brief<'_>,
        transcript: &[Exchange],
        context: &CallContext<'_>,
    ) -> Result<Turn, JobError> {
        let reply = self.chat.chat(&self.request(brief, transcript), context).await?;
        if reply.calls.len() > MAX_CALLS_PER_TURN {
            return Err(JobError::new(
                ErrorCode::LlmBadOutput,
                format!(
                    "the model asked for {} tool calls at once, at most {MAX_CALLS_PER_TURN} run",
                    reply.calls.len()
                ),
            ));
        }
        Ok(match reply.calls {
            calls if calls.is_empty() => match written::plan(&reply.text, transcript.len(), brief) {
                Some(call) => Turn::Calls { calls: vec![call], text: String::new() },
                None => Turn::Answer(reply.text),
            },
            calls => Turn::Calls { calls, text: reply.text },
        })
    }
}
