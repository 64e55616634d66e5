//! A network: agents that pass control to each other until one of them answers.

use serde::{Deserialize, Serialize};

use super::{
    cast::unknown,
    pools,
    run::{AgentRun, Handoff, RunBounds, Seat},
    session::Conversation,
    stage::{Made, Stage, Step},
    trail::{Trail, TrailKind},
};
use crate::job::{ErrorCode, JobError};

/// The `result` of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct NetworkResult {
    pub mode: String,
    pub execution_id: String,
    pub final_agent: String,
    pub answer: Option<String>,
    pub handoffs: Vec<Handoff>,
    pub model_calls: u32,
}

impl NetworkResult {
    /// What a network would begin with.
    #[must_use]
    pub fn dry(execution_id: &str, seat: &Seat) -> Self {
        Self {
            mode: "network".into(),
            execution_id: execution_id.to_owned(),
            final_agent: seat.agent.clone(),
            answer: None,
            handoffs: Vec::new(),
            model_calls: 0,
        }
    }
}

/// Who speaks first: the agent that held the conversation, else the one that the job names.
///
/// # Errors
/// `invalid_job` where that is nobody.
pub fn entry(stage: &Stage<'_>, named: Option<&str>, held: Option<&str>) -> Result<String, JobError> {
    let registry = stage.cast.registry;
    // An agent that has left the file holds nothing any more.
    if let Some(id) = held.filter(|id| registry.agent(id).is_some()) {
        return Ok(id.to_owned());
    }
    let Some(id) = named else {
        return Err(JobError::new(ErrorCode::InvalidJob, crate::job::Handoff::NO_AGENT));
    };
    if registry.agent(id).is_none() && !registry.pools.contains_key(id) {
        return Err(JobError { code: ErrorCode::InvalidJob, ..unknown(id, registry) });
    }
    Ok(id.to_owned())
}

/// The seat of the entry: an agent, or whoever a pool chooses.
///
/// # Errors
/// Those of a pool's choice.
pub async fn entry_seat(stage: &Stage<'_>, id: &str, trail: &mut Trail) -> Result<Seat, JobError> {
    if stage.cast.registry.agent(id).is_some() {
        return stage.cast.agent(id);
    }
    let step = format!("pool:{}:0", stage.scope);
    let holder = format!("{}:{step}", trail.id());
    let chosen = stage.recorded(Step::Free(&step), trail, stage.cast.choose(id, None, &holder)).await?;
    pools::note(trail, &chosen);
    stage.cast.pools.move_on(&stage.loans, Some(&chosen.value)).await;
    stage.cast.pooled(&chosen.value)
}

/// Runs a network from `seat` on.
///
/// # Errors
/// As [`Stage::play`].
pub async fn network(
    stage: &Stage<'_>,
    bounds: RunBounds,
    seat: Seat,
    earlier: Option<Conversation>,
    prompt: &str,
    trail: &mut Trail,
    made: &mut Made,
) -> Result<(NetworkResult, Conversation), JobError> {
    let earlier = earlier.map(|conversation| {
        made.taint.join(&conversation.taint);
        conversation.messages
    });
    let earlier = earlier.unwrap_or_default();
    let mut run = AgentRun::go_on_from(bounds, seat, earlier, prompt);
    let ended = stage.play(&mut run, trail, made).await;
    let stint = std::mem::take(&mut made.stint);
    let agent = run.seat().agent.clone();
    let answer = ended.inspect_err(|error| trail.stop(Some(&agent), error))?;
    let entry = trail.add(TrailKind::Execute);
    entry.agent_id = Some(agent.clone());
    entry.tokens = Some(stint.tokens);
    entry.duration_ms = stint.ms;
    let result = NetworkResult {
        mode: "network".into(),
        execution_id: trail.id().to_owned(),
        final_agent: agent.clone(),
        answer: Some(answer),
        handoffs: run.handoffs().to_vec(),
        model_calls: run.model_calls(),
    };
    let taint = made.taint.clone();
    Ok((result, Conversation { taint, ..Conversation::new(&agent, run.history()) }))
}
