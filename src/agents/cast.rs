//! From the agents file to seats: who an agent is, what it may use, and where it may pass control to in this job.

use super::{
    pools::{Choice, Need, Pools},
    predicate,
    registry::{Agent, HandoffTarget, Pool, Registry, Strategy, ToolRef},
    run::{Door, Seat},
};
use crate::{
    job::{ErrorCode, Job, JobError},
    llm::{CallContext, ChatModel},
};

/// The agents of one job.
#[derive(Clone, Copy)]
pub struct Cast<'a> {
    /// Who there is.
    pub registry: &'a Registry,
    /// Who of a pool.
    pub pools: &'a Pools,
    /// For predicates, and for what a pool needs to know.
    pub job: &'a Job,
    /// Who tells which capability is needed, where a pool asks for that.
    pub model: Option<&'a dyn ChatModel>,
    /// What surrounds that question.
    pub quiet: CallContext<'a>,
}

impl Cast<'_> {
    /// The seat of an agent.
    ///
    /// # Errors
    /// `handoff_failed` for one that is not there (any more).
    pub fn agent(&self, id: &str) -> Result<Seat, JobError> {
        let agent = self.registry.agent(id).ok_or_else(|| unknown(id, self.registry))?;
        Ok(Seat { doors: self.doors(agent), ..self.alone(agent) })
    }

    /// The seat of an agent that passes control to nobody.
    #[must_use]
    pub fn alone(&self, agent: &Agent) -> Seat {
        Seat {
            agent: agent.id.clone(),
            instructions: agent.instructions.clone(),
            model: agent.model.clone(),
            temperature: agent.temperature,
            max_tokens: agent.max_tokens,
            tools: agent.tools.iter().map(ToolRef::text).collect(),
            ..Seat::default()
        }
    }

    /// The seat that a pool chose, with those behind it.
    pub(super) fn pooled(&self, choice: &Choice) -> Result<Seat, JobError> {
        let (first, rest) = choice.agents.split_first().ok_or_else(|| nobody(&choice.pool))?;
        Ok(Seat { reserves: rest.to_vec(), ..self.agent(first)? })
    }

    /// Chooses in a pool. `present` is the agent that has control now: it does not pass control to itself.
    pub(super) async fn choose(&self, name: &str, present: Option<&str>, holder: &str) -> Result<Choice, JobError> {
        let pool = self.registry.pools.get(name).ok_or_else(|| nobody(name))?;
        let need = Need {
            capability: self.job.handoff.as_ref().and_then(|handoff| handoff.capability.as_deref()),
            prompt: self.job.prompt_text(),
            model: self.model,
            context: &self.quiet,
        };
        self.pools.choose(self.registry, name, pool, present, holder, &need).await
    }

    /// Whether the choice in a pool may take a question to the model.
    pub(super) fn may_ask(&self, name: &str) -> bool {
        let asks = |pool: &Pool| pool.strategy == Strategy::Capability && pool.classify;
        self.model.is_some() && self.registry.pools.get(name).is_some_and(asks)
    }

    fn doors(&self, agent: &Agent) -> Vec<Door> {
        let open = agent.handoffs.iter().filter(|target| predicate::holds(target.enabled_when.as_deref(), self.job));
        open.map(|target| self.door(target)).collect()
    }

    fn door(&self, target: &HandoffTarget) -> Door {
        let known = self.registry.agent(&target.to);
        let description = target.description.clone().or_else(|| known.map(|agent| agent.description.clone()));
        Door {
            to: target.to.clone(),
            pool: known.is_none(),
            description: description.unwrap_or_default(),
            history: target.history,
        }
    }
}

fn nobody(pool: &str) -> JobError {
    JobError::new(ErrorCode::HandoffFailed, format!("the pool {pool:?} has nobody: look at pools in the agents file"))
}

/// The error of an agent that is not there (any more).
#[must_use]
pub fn unknown(id: &str, registry: &Registry) -> JobError {
    let ids: Vec<&str> = registry.agents.iter().map(|agent| agent.id.as_str()).collect();
    let message = format!("there is no agent {id:?}: there are {}", ids.join(", "));
    JobError::new(ErrorCode::HandoffFailed, message)
}
