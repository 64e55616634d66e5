//! One agent by itself: the one that was routed to, or those of a pool until one of them answers.

use serde::{Deserialize, Serialize};

use super::{
    pools,
    registry::{Agent, Strategy},
    route::SelectedAgent,
    run::{AgentRun, RunBounds, all_failed, may_pass_to_another},
    stage::{Made, Stage},
    trail::{Trail, TrailKind},
};
use crate::job::JobError;

/// The `result` of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct PoolResult {
    pub mode: String,
    pub execution_id: String,
    pub pool: String,
    pub strategy: Strategy,
    pub selected_agent: SelectedAgent,
    pub answer: Option<String>,
}

/// Lets `agent` answer `prompt`, with its tools and without transfers.
///
/// # Errors
/// As [`Stage::play`].
pub async fn solo(
    stage: &Stage<'_>,
    bounds: RunBounds,
    agent: &Agent,
    prompt: &str,
    trail: &mut Trail,
    made: &mut Made,
) -> Result<String, JobError> {
    let mut run = AgentRun::new(bounds, stage.cast.alone(agent), prompt);
    let ended = stage.play(&mut run, trail, made).await;
    let stint = std::mem::take(&mut made.stint);
    let entry = trail.add(TrailKind::Execute);
    entry.agent_id = Some(agent.id.clone());
    entry.tokens = Some(stint.tokens);
    entry.duration_ms = stint.ms;
    entry.reason = ended.as_ref().err().map(ToString::to_string);
    ended
}

/// Chooses in the pool `name`. On record, so that a redelivered job turns no wheel again.
///
/// # Errors
/// Those of the choice.
pub async fn choose(stage: &Stage<'_>, name: &str, trail: &mut Trail) -> Result<pools::Choice, JobError> {
    stage.chosen(name, None, &format!("pool:{}:0", stage.scope), trail).await
}

/// Lets the chosen agent answer; of a fallback pool the next one, when it fails. Gives who answered, and what.
///
/// # Errors
/// As [`Stage::play`]; `handoff_failed` with every cause where all of a fallback pool failed.
pub async fn pool(
    stage: &Stage<'_>,
    bounds: RunBounds,
    choice: &pools::Choice,
    prompt: &str,
    trail: &mut Trail,
    made: &mut Made,
) -> Result<(String, String), JobError> {
    stage.cast.pools.move_on(&stage.loans, Some(choice)).await;
    let backed = choice.strategy == Strategy::Fallback;
    let mut causes: Vec<(String, JobError)> = Vec::new();
    for (i, id) in choice.agents.iter().enumerate() {
        let agent = stage.cast.registry.agent(id).ok_or_else(|| super::cast::unknown(id, stage.cast.registry))?;
        let scope = format!("{}:{i}", stage.scope);
        let part = Stage { scope: &scope, is_backed: backed, loans: stage.loans.clone(), ..*stage };
        match solo(&part, bounds, agent, prompt, trail, made).await {
            Ok(answer) => return Ok((id.clone(), answer)),
            Err(error) if backed && (may_pass_to_another(&error) || is_loop(&error)) => {
                stage.fell_back(id, choice.agents.get(i + 1).map(String::as_str), &error, trail);
                causes.push((id.clone(), error));
            }
            Err(error) => {
                trail.stop(Some(id), &error);
                return Err(error);
            }
        }
    }
    let error = all_failed(&causes);
    trail.stop(None, &error);
    Err(error)
}

/// A loop is one agent's own; the next one begins afresh.
fn is_loop(error: &JobError) -> bool {
    error.code == crate::job::ErrorCode::LoopDetected
}
