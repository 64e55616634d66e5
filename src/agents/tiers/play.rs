//! Carries out an escalation: asks, lets tiers execute, and writes down what came of each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    TierReport,
    escalation::{Action, Escalation, Event, Ladder},
    read::{Evaluation, Missing, Product},
    words::{self, Task},
};
use crate::{
    agents::{
        analytics::TierFigures,
        guardrails::Side,
        registry::{Agent, Registry, Tier},
        run::{AgentRun, RunBounds, Seat, may_pass_to_another},
        stage::{Made, Stage, Step, Timed, reasoned},
        trail::{Trail, TrailEntry, TrailKind},
    },
    job::{ErrorCode, Event as JobEvent, EventKind, Handoff, JobError},
    llm::{CallContext, ChatReply},
};

/// The `result` of tiers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct TiersResult {
    pub mode: String,
    pub execution_id: String,
    pub final_tier: u32,
    pub escalation_count: u32,
    pub result: Option<Value>,
    pub confidence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub execution_metadata: Option<Value>,
    pub trail: Vec<TrailEntry>,
    pub analytics: TierReport,
}

/// The tiers of a request within its `max_tier`: a named set, the set `default` where the file has one, or
/// `num_tiers` on the default model.
///
/// # Errors
/// `invalid_job` for a set that is not there, or a number out of range.
pub fn ladder(registry: &Registry, asked: &Handoff, num_tiers: u32) -> Result<Vec<Tier>, JobError> {
    let invalid = |message: String| JobError::new(ErrorCode::InvalidJob, message);
    let number = asked.num_tiers.unwrap_or(num_tiers);
    Handoff::check_num_tiers(number).map_err(invalid)?;
    let set = match asked.tiers.as_deref() {
        Some(name) => Some(registry.tiers.get(name).ok_or_else(|| {
            let known: Vec<&str> = registry.tiers.keys().map(String::as_str).collect();
            invalid(format!("there is no set of tiers {name:?}: there are [{}]", known.join(", ")))
        })?),
        None if asked.num_tiers.is_none() => registry.tiers.get("default"),
        None => None,
    };
    let mut tiers: Vec<Tier> = match set {
        Some(set) => set.clone(),
        None => (1..=number).map(Tier::plain).collect(),
    };
    if let Some(most) = asked.max_tier {
        tiers.retain(|tier| tier.level <= most);
    }
    Ok(tiers)
}

/// One escalation.
pub struct TierPlay<'a> {
    /// Where it is played.
    pub stage: &'a Stage<'a>,
    /// The tiers that may be used, by ascending level.
    pub tiers: &'a [Tier],
    /// Whether a level may be jumped to.
    pub skip_to_required: bool,
    /// What is to be done.
    pub prompt: &'a str,
    /// What every tier shall know.
    pub context: Option<&'a str>,
    /// Bounds of one execution.
    pub bounds: RunBounds,
    /// Evaluate only.
    pub dry_run: bool,
}

impl TierPlay<'_> {
    /// Plays to the end. The figures are there however it ended.
    ///
    /// # Errors
    /// `handoff_failed` without any tier; what the last tier failed with; `cancelled`, `timeout`, `budget_exceeded`.
    pub async fn run(
        &self,
        trail: &mut Trail,
        made: &mut Made,
        figures: &mut Vec<TierFigures>,
    ) -> Result<TiersResult, JobError> {
        let levels = self.tiers.iter().map(|tier| tier.level).collect();
        let mut escalation = Escalation::new(Ladder { levels, skip_to_required: self.skip_to_required });
        let played = self.steps(&mut escalation, trail, made, figures).await;
        let product = played.inspect_err(|error| {
            let level = escalation.level();
            let who = (level > 0).then(|| self.name_of(&escalation));
            trail.stop(who.as_deref(), error);
            if let (Some(entry), true) = (trail.last(), level > 0) {
                entry.tier_level = Some(level);
            }
        })?;
        let final_tier = escalation.level();
        Ok(TiersResult {
            mode: "tiers".into(),
            execution_id: trail.id().to_owned(),
            final_tier,
            escalation_count: u32::try_from(escalation.steps().len()).unwrap_or(u32::MAX),
            confidence: product.as_ref().and_then(|product| product.confidence),
            execution_metadata: product.as_ref().and_then(|product| product.execution_metadata.clone()),
            result: product.map(|product| product.result),
            trail: trail.entries().to_vec(),
            analytics: TierReport::of(figures, final_tier),
        })
    }

    async fn steps(
        &self,
        escalation: &mut Escalation,
        trail: &mut Trail,
        made: &mut Made,
        figures: &mut Vec<TierFigures>,
    ) -> Result<Option<Product>, JobError> {
        let mut action = escalation.next(Event::Start);
        loop {
            action = match action {
                Action::Evaluate(level) => {
                    figures.push(TierFigures { tier_level: level, ..TierFigures::default() });
                    self.evaluate(escalation, trail, made, figures).await?
                }
                Action::Execute { .. } if self.dry_run => return Ok(None),
                Action::Execute { forced, .. } => self.execute(escalation, forced, trail, made, figures).await?,
                Action::Finish(product) => {
                    if let Some(figures) = figures.last_mut() {
                        figures.resolved = true;
                    }
                    return Ok(Some(product));
                }
                Action::Fail(error) => return Err(error),
            };
        }
    }

    async fn evaluate(
        &self,
        escalation: &mut Escalation,
        trail: &mut Trail,
        made: &mut Made,
        figures: &mut [TierFigures],
    ) -> Result<Action, JobError> {
        let (tier, agent) = self.present(escalation);
        let (level, who) = (escalation.level(), self.name_of(escalation));
        // What an agent may not be asked, it may not be asked to judge either.
        if let Some(agent) = agent {
            let texts = [(Side::Input, "evaluate", Some(self.prompt)), (Side::Words, "context", self.context)];
            for (side, what, text) in texts {
                let Some(text) = text else { continue };
                let step = format!("{}:{level}:{what}", self.stage.scope);
                if let Err(error) = self.stage.guard_at(side, &agent.id, &step, text).await {
                    return Ok(Action::Fail(error));
                }
            }
        }
        let asked = self.ask(escalation, tier, agent, trail, made).await?;
        let stint = std::mem::take(&mut made.stint);
        let evaluation = asked.value.and_then(|reply| {
            // A judgement that cannot be read counts as no, and says so.
            Evaluation::read(&reply.text).map_err(|why| JobError::new(ErrorCode::LlmBadOutput, why))
        });
        let said = evaluation.as_ref().ok().cloned();
        let failure = evaluation.as_ref().err().map(ToString::to_string);
        let action = escalation.next(Event::Evaluated(evaluation));
        let (decision, forced) = match &action {
            Action::Execute { forced, .. } => (if *forced { "forced" } else { "execute" }, *forced),
            _ => ("escalate", false),
        };
        let entry = trail.add(TrailKind::Evaluate);
        entry.agent_id = Some(who.clone());
        entry.tier_level = Some(level);
        entry.can_handle = Some(said.as_ref().is_some_and(|said| said.can_handle));
        entry.complexity_score = said.as_ref().and_then(|said| said.complexity_score);
        entry.reasoning = said.as_ref().and_then(|said| said.reasoning.clone());
        entry.requires_tier = said.as_ref().and_then(|said| said.requires_tier);
        entry.handoff_decision = Some(decision.to_owned());
        entry.forced = forced.then_some(true);
        entry.reason = failure.map(|why| format!("the evaluation failed: {why}"));
        entry.tokens = Some(stint.tokens);
        entry.duration_ms = asked.ms;
        if let Some(figures) = figures.last_mut() {
            figures.complexity_score = said.and_then(|said| said.complexity_score);
            figures.tokens += stint.all_tokens();
            figures.cost_usd += stint.cost_usd;
        }
        self.stepped(escalation, decision, (level, &who), trail, figures);
        Ok(action)
    }

    async fn ask(
        &self,
        escalation: &Escalation,
        tier: &Tier,
        agent: Option<&Agent>,
        trail: &mut Trail,
        made: &mut Made,
    ) -> Result<Timed<Result<ChatReply, JobError>>, JobError> {
        let context = &self.stage.context;
        let request = self.task().to_evaluate(escalation, tier, agent);
        let quiet =
            CallContext { meter: context.meter, deadline: context.deadline, cancel: context.cancel, on_text: None };
        made.model_calls += 1;
        let step = format!("ask:{}:evaluate:{}", self.stage.scope, escalation.level());
        let asked = self
            .stage
            .recorded(Step::Paid(&step), trail, async {
                match self.stage.model.chat(&request, &quiet).await {
                    Err(error) if may_pass_to_another(&error) => Ok(Err(error)),
                    Err(error) => Err(reasoned(error)),
                    Ok(reply) => Ok(Ok(reply)),
                }
            })
            .await?;
        let tokens = asked.value.as_ref().map(|reply| reply.tokens).unwrap_or_default();
        made.spent(tokens, asked.ms, asked.cost_usd);
        Ok(asked)
    }

    async fn execute(
        &self,
        escalation: &mut Escalation,
        forced: bool,
        trail: &mut Trail,
        made: &mut Made,
        figures: &mut [TierFigures],
    ) -> Result<Action, JobError> {
        let (tier, agent) = self.present(escalation);
        let level = escalation.level();
        let scope = format!("{}:{level}", self.stage.scope);
        let stage = Stage {
            scope: &scope,
            is_backed: !escalation.at_the_top(),
            loans: self.stage.loans.clone(),
            ..*self.stage
        };
        let mut run = AgentRun::new(self.bounds, self.seat(tier, agent), &self.task().to_execute(escalation));
        let played = stage.play(&mut run, trail, made).await;
        let stint = std::mem::take(&mut made.stint);
        let product = played.and_then(|text| Product::read(&text).map_err(|missing| failed(level, missing)));
        let entry = trail.add(TrailKind::Execute);
        entry.agent_id = Some(run.seat().agent.clone());
        entry.tier_level = Some(level);
        entry.forced = forced.then_some(true);
        entry.reason = product.as_ref().err().map(|error| format!("the execution failed: {error}"));
        entry.tokens = Some(stint.tokens);
        entry.duration_ms = stint.ms;
        if let Some(figures) = figures.last_mut() {
            figures.tokens += stint.all_tokens();
            figures.cost_usd += stint.cost_usd;
        }
        if let Err(error) = &product
            && !(may_pass_to_another(error) || error.code == ErrorCode::LoopDetected)
        {
            return Ok(Action::Fail(error.clone()));
        }
        let action = escalation.next(Event::Executed(product));
        if matches!(action, Action::Evaluate(_)) {
            self.stepped(escalation, "escalate", (level, &run.seat().agent), trail, figures);
        }
        Ok(action)
    }

    /// Tells what was decided about `level`, and notes a step up.
    fn stepped(
        &self,
        escalation: &Escalation,
        decision: &str,
        (level, who): (u32, &str),
        trail: &mut Trail,
        figures: &mut [TierFigures],
    ) {
        let event = JobEvent::new(EventKind::Tier).with("tier_level", level).with("decision", decision);
        let step = escalation.steps().last().filter(|step| decision == "escalate" && step.from == level);
        let Some(step) = step else { return (self.stage.context.emit)(event) };
        if let Some(figures) = figures.last_mut() {
            figures.escalated = true;
        }
        let entry = trail.add(TrailKind::Escalate);
        entry.agent_id = Some(who.to_owned());
        entry.tier_level = Some(level);
        entry.from = Some(step.from.to_string());
        entry.to = Some(step.to.to_string());
        entry.reason = Some(step.reason.clone());
        entry.handoff_decision = Some("escalate".into());
        let event = event.with("from", step.from).with("to", step.to).with("reason", step.reason.as_str());
        (self.stage.context.emit)(event);
    }

    fn task(&self) -> Task<'_> {
        Task { prompt: self.prompt, context: self.context }
    }

    fn present(&self, escalation: &Escalation) -> (&Tier, Option<&Agent>) {
        let level = escalation.level();
        // The machine only knows levels that are there.
        let tier = self.tiers.iter().find(|tier| tier.level == level).unwrap_or(&self.tiers[0]);
        (tier, tier.agent.as_deref().and_then(|id| self.stage.cast.registry.agent(id)))
    }

    /// The agent of the present tier, or a name for the tier.
    fn name_of(&self, escalation: &Escalation) -> String {
        let (tier, agent) = self.present(escalation);
        agent.map_or_else(|| format!("tier-{}", tier.level), |agent| agent.id.clone())
    }

    /// The agent of a tier, in the tier's own settings.
    fn seat(&self, tier: &Tier, agent: Option<&Agent>) -> Seat {
        let own = agent.map(|agent| self.stage.cast.alone(agent)).unwrap_or_default();
        let level = tier.level;
        Seat {
            agent: if own.agent.is_empty() { format!("tier-{level}") } else { own.agent },
            instructions: words::to_execute(tier, agent),
            model: tier.model.clone().or(own.model),
            temperature: tier.temperature.or(own.temperature),
            max_tokens: tier.max_tokens.or(own.max_tokens),
            tools: own.tools,
            format: Some(words::format()),
            ..Seat::default()
        }
    }
}

/// The reply is on record: another attempt would read the same.
fn failed(level: u32, missing: Missing) -> JobError {
    let (reason, what) = match missing {
        Missing::Empty => ("empty_answer", "nothing"),
        Missing::NoResult => ("no_result", "JSON that has no `result`"),
    };
    let message = format!("tier {level} answered with {what}");
    JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false).with_detail("reason", reason)
}
