//! Carries out what an [`AgentRun`] asks for: the only place where agents, a model and tools meet.
//!
//! What is not deterministic goes on record before the next step, with its moment, duration and cost. A redelivered
//! job walks the same way again and pays for nothing twice.

mod call;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    cast::Cast,
    delegate,
    errand::{Errands, Order, Report},
    guardrails::{Guarding, Side, guard},
    kit::Kit,
    pools::{self, Loans},
    run::{Action, AgentRun, Ask, Event, Note, Seat, Target, may_pass_to_another},
    trail::{Trail, TrailKind, now},
};
use crate::{
    job::{ErrorCode, Event as JobEvent, EventKind, JobError, RawJson, Tokens, ToolCallRecord},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest, ToolChoice, ToolSpec},
    queue::failpoint,
    settings::limits,
    tools::{Taint, ToolContext},
};

/// A value on record, with how it came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Timed<T> {
    pub(super) value: T,
    /// When it stood, RFC 3339.
    pub(super) at: String,
    pub(super) ms: u64,
    pub(super) cost_usd: f64,
}

/// When a run has to be over, beside the job's own end.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    /// The end.
    pub until: Instant,
    /// What the setting says, for the message.
    pub secs: u64,
}

/// Everything around a run.
pub struct Stage<'a> {
    /// Who the agents are.
    pub cast: Cast<'a>,
    /// Who speaks for them.
    pub model: &'a dyn ChatModel,
    /// The tools there are; an agent is offered those that it names.
    pub tools: &'a Kit,
    /// What surrounds a tool call; its journal keeps every reply that was paid for.
    pub context: ToolContext<'a>,
    /// Part of the names of the journal's steps: unique within the job, the same at every delivery.
    pub scope: &'a str,
    /// The run's own time.
    pub wall_clock: Option<WallClock>,
    /// What the run has borrowed of pools.
    pub loans: Loans,
    /// Someone goes on when the run fails: its failure is part of the story, and goes on record.
    pub is_backed: bool,
}

/// A step of a run that goes on record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    /// One that costs nothing.
    Free(&'a str),
    /// One that asks a model: that it is about to goes on record first.
    Paid(&'a str),
}

/// What came of runs, beside their words.
#[derive(Debug, Default)]
pub struct Made {
    /// Tool calls, in order.
    pub tool_calls: Vec<ToolCallRecord>,
    /// What did not go as one may have thought.
    pub warnings: Vec<String>,
    /// Of model calls since this was last taken: a stint of an agent, or a tier.
    pub(super) stint: Stint,
    /// What was read from outside, by whoever of them: it stays with the execution.
    pub(super) taint: Taint,
    /// Model calls over all, with those of what was delegated.
    pub model_calls: u32,
    /// Tokens of all of them.
    pub tokens: u64,
    /// Dollars over all.
    pub cost_usd: f64,
    /// Where delegations take orders and leave reports.
    pub(super) errands: Errands,
    /// How many delegations deep this is.
    pub(super) depth: u32,
}

/// What one agent used while it had control.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stint {
    pub(super) tokens: Tokens,
    /// Tokens of what was delegated.
    pub(super) elsewhere: u64,
    pub(super) ms: u64,
    pub(super) cost_usd: f64,
}

impl Stint {
    /// Tokens of the agent and of what it delegated.
    pub(super) fn all_tokens(&self) -> u64 {
        self.tokens.total() + self.elsewhere
    }
}

impl Made {
    /// Lays an order down for a delegation that the next call of `run` may be.
    fn order(&self, run: &AgentRun, trail: &Trail) {
        self.errands.lay(Order {
            execution_id: trail.id().to_owned(),
            at: trail.now().to_owned(),
            from: run.seat().agent.clone(),
            // One is left for the agent that delegates, so that it can conclude.
            calls: run.left_in_all().saturating_sub(1),
            depth: self.depth + 1,
        });
    }

    /// Takes in what came of delegated work. Gives its model calls.
    pub(super) fn take_in(&mut self, report: Report, trail: &mut Trail) -> u32 {
        if let Some(last) = report.entries.last() {
            trail.tick(&last.timestamp);
        }
        trail.extend(report.entries);
        self.tool_calls.extend(report.tool_calls);
        self.model_calls += report.model_calls;
        self.tokens += report.tokens;
        self.stint.elsewhere += report.tokens;
        self.stint.cost_usd += report.cost_usd;
        self.cost_usd += report.cost_usd;
        report.model_calls
    }

    /// Where delegations of these runs take orders and leave reports.
    #[must_use]
    pub fn errands(&self) -> Errands {
        self.errands.clone()
    }

    /// Takes in what a delegation that was dropped in the middle of its work has left.
    pub fn take_in_what_is_left(&mut self, trail: &mut Trail) {
        if let Some(report) = self.errands.report() {
            self.take_in(report, trail);
        }
    }

    pub(super) fn spent(&mut self, tokens: Tokens, ms: u64, cost_usd: f64) {
        self.tokens += tokens.total();
        self.stint.tokens.prompt += tokens.prompt;
        self.stint.tokens.completion += tokens.completion;
        self.stint.tokens.cached += tokens.cached;
        self.stint.ms += ms;
        self.stint.cost_usd += cost_usd;
        self.cost_usd += cost_usd;
    }
}

impl Stage<'_> {
    /// Runs to the end: the last agent's words.
    ///
    /// # Errors
    /// `llm_*` of the model, `loop_detected` with its reason past a bound, `limit_exceeded`, `budget_exceeded`,
    /// `timeout`, `cancelled`; `handoff_failed` where a whole pool failed.
    pub async fn play(&self, run: &mut AgentRun, trail: &mut Trail, made: &mut Made) -> Result<String, JobError> {
        self.emit(&run.seat().agent, EventKind::AgentStarted, &[]);
        let ended = self.cast.pools.holding(&self.loans, Box::pin(self.steps(run, trail, made))).await;
        let agent = run.seat().agent.clone();
        match &ended {
            Ok(_) => self.emit(&agent, EventKind::AgentCompleted, &[]),
            // The run waits, and has not ended.
            Err(error) if error.deferred => {}
            Err(error) => self.emit(&agent, EventKind::AgentCompleted, &[("error", error.to_string())]),
        }
        ended
    }

    async fn steps(&self, run: &mut AgentRun, trail: &mut Trail, made: &mut Made) -> Result<String, JobError> {
        let asked = run.asked().to_owned();
        self.guard(Side::Input, &run.seat().agent, run, &asked).await?;
        let mut event = Event::Start;
        loop {
            let action = run.next(event);
            for note in run.take_notes() {
                self.tell(note, trail, made);
            }
            event = match action {
                Action::Ask(ask) => match self.ask(run, ask, trail, made).await {
                    Ok(reply) => Event::Replied(reply),
                    Err(error) => Event::Failed(error),
                },
                Action::Call(call) => Event::Called(self.call(run, &call, trail, made).await),
                Action::Seat(target) => Event::Seated(Box::new(self.hand_over(run, &target, trail).await?)),
                Action::Finish(text) => {
                    let agent = run.seat().agent.as_str();
                    self.guard(Side::Output, agent, run, &text).await?;
                    if self.is_held_back(agent) {
                        (self.context.emit)(
                            JobEvent::new(EventKind::Token).with("agent_id", agent).with("text", text.as_str()),
                        );
                    }
                    return Ok(text);
                }
                Action::Fail(error) => return Err(error),
            };
        }
    }

    /// Finds who takes over and checks what goes along: for whoever leaves it behind, and for whom it goes to.
    async fn hand_over(&self, run: &AgentRun, target: &Target, trail: &mut Trail) -> Result<Seat, JobError> {
        let step = |what: &str| format!("{}:{}:{what}", self.scope, run.turns());
        if let Some(left) = run.left_behind() {
            self.guard_at(Side::Left, &run.seat().agent, &step("left"), &left).await?;
        }
        let seat = self.seat(run, target, trail).await?;
        self.guard(Side::Input, &seat.agent, run, run.asked()).await?;
        if let Some(words) = run.handed_over() {
            self.guard_at(Side::Words, &seat.agent, &step("words"), &words).await?;
        }
        Ok(seat)
    }

    async fn ask(&self, run: &AgentRun, ask: Ask, trail: &mut Trail, made: &mut Made) -> Result<ChatReply, JobError> {
        if ask.tools {
            self.bring_tools(run.seat(), made).await?;
        }
        made.taint.tell();
        let request = self.request(run, ask, made.depth);
        let agent = run.seat().agent.as_str();
        let on_text = |text: &str| {
            (self.context.emit)(JobEvent::new(EventKind::Token).with("agent_id", agent).with("text", text));
        };
        let context = CallContext {
            meter: self.context.meter,
            deadline: self.deadline(),
            cancel: self.context.cancel,
            on_text: if ask.summary || self.is_held_back(agent) { None } else { Some(&on_text) },
        };
        made.model_calls += 1;
        let step = format!("ask:{}:{}", self.scope, run.turns());
        let said = self
            .recorded(Step::Paid(&step), trail, async {
                match self.in_time(self.model.chat(&request, &context)).await {
                    // Part of the run's story: the second walk takes the same turn.
                    Err(error) if self.goes_on(run, &error) => Ok(Err(error)),
                    Err(error) => Err(reasoned(error)),
                    Ok(reply) => Ok(Ok(reply)),
                }
            })
            .await?;
        failpoint::reach("turn_paid");
        let reply: ChatReply = said.value?;
        made.spent(reply.tokens, said.ms, said.cost_usd);
        Ok(reply)
    }

    /// Whether anybody goes on after `error`, in this run or after it.
    fn goes_on(&self, run: &AgentRun, error: &JobError) -> bool {
        run.survives(error) || (self.is_backed && may_pass_to_another(error))
    }

    fn request(&self, run: &AgentRun, ask: Ask, depth: u32) -> ChatRequest {
        let seat = run.seat();
        let mut tools: Vec<ToolSpec> = Vec::new();
        if ask.tools {
            let own = self.tools.offered(&seat.tools);
            let own = own.iter().map(|tool| tool.spec()).filter(|spec| delegate::is_offered(&spec.name, depth));
            tools.extend(own.cloned());
            tools.extend(run.transfers());
        }
        let format = seat.format.clone().filter(|_| tools.is_empty() && !ask.summary);
        ChatRequest {
            model: seat.model.clone(),
            messages: run.messages(ask),
            tool_choice: if tools.is_empty() { ToolChoice::None } else { ToolChoice::Auto },
            tools,
            temperature: seat.temperature,
            max_tokens: seat.max_tokens.filter(|_| !ask.summary),
            response_format: format,
            prompt_cache_key: (!ask.summary).then(|| format!("agent:{}", seat.agent)),
            mends: true,
        }
    }

    /// Asks the servers whose tools `seat` names, where nobody has in this run. What is wrong is said once, also where
    /// an agent that a task was delegated to met with it.
    async fn bring_tools(&self, seat: &Seat, made: &mut Made) -> Result<(), JobError> {
        let warnings = self.in_time(Box::pin(self.tools.seat(&seat.agent, &seat.tools, &self.context))).await?;
        for warning in warnings {
            if !made.warnings.contains(&warning) {
                made.warnings.push(warning);
            }
        }
        Ok(())
    }

    /// Checks what an agent is asked, or what it answers, with its guardrails. A tier without an agent has none.
    async fn guard(&self, side: Side, agent: &str, run: &AgentRun, text: &str) -> Result<(), JobError> {
        self.guard_at(side, agent, &format!("{}:{}", self.scope, run.turns()), text).await
    }

    /// Whether nobody may hear the agent's words before its output guardrails have.
    fn is_held_back(&self, agent: &str) -> bool {
        self.cast.registry.agent(agent).is_some_and(|agent| !agent.guardrails.output.is_empty())
    }

    /// The same for a text that has a step of its own.
    pub(super) async fn guard_at(&self, side: Side, agent: &str, step: &str, text: &str) -> Result<(), JobError> {
        let Some(agent) = self.cast.registry.agent(agent) else { return Ok(()) };
        let quiet = CallContext {
            meter: self.context.meter,
            deadline: self.deadline(),
            cancel: self.context.cancel,
            on_text: None,
        };
        let with = Guarding { model: self.model, tools: &self.context, quiet, step };
        guard(side, agent, text, &with).await
    }

    /// Finds who takes over. A pool's choice is not deterministic: it goes on record.
    async fn seat(&self, run: &AgentRun, target: &Target, trail: &mut Trail) -> Result<Seat, JobError> {
        let present = run.seat().agent.as_str();
        let step = format!("pool:{}:{}", self.scope, run.turns());
        if target.pool {
            let chosen = self.chosen(&target.to, Some(present), &step, trail).await?;
            self.cast.pools.move_on(&self.loans, Some(&chosen)).await;
            self.cast.pooled(&chosen)
        } else {
            self.cast.pools.move_on(&self.loans, None).await;
            self.cast.agent(&target.to)
        }
    }

    /// A choice in the pool `name`: of the record, so that a redelivered job turns no wheel again, or a new one.
    pub(super) async fn chosen(
        &self,
        name: &str,
        present: Option<&str>,
        step: &str,
        trail: &mut Trail,
    ) -> Result<pools::Choice, JobError> {
        let holder = format!("{}:{step}", trail.id());
        let on_record = if self.cast.may_ask(name) { Step::Paid(step) } else { Step::Free(step) };
        let chosen = self.recorded(on_record, trail, self.cast.choose(name, present, &holder)).await?;
        pools::note(trail, &chosen);
        Ok(chosen.value)
    }

    /// The value of `step` from the record, or that of `work`, put on record with how it came to be.
    pub(super) async fn recorded<T>(
        &self,
        step: Step<'_>,
        trail: &mut Trail,
        work: impl Future<Output = Result<T, JobError>>,
    ) -> Result<Timed<T>, JobError>
    where
        T: Serialize + DeserializeOwned,
    {
        let ToolContext { journal, meter, .. } = self.context;
        let timed = match step {
            Step::Free(step) => journal.step(step, meter, self.timed(work)).await?,
            Step::Paid(step) => journal.paid(step, meter, self.timed(work)).await?,
        };
        trail.tick(&timed.at);
        Ok(timed)
    }

    async fn timed<T>(&self, work: impl Future<Output = Result<T, JobError>>) -> Result<Timed<T>, JobError> {
        let meter = self.context.meter;
        let (started, spent) = (Instant::now(), meter.spend().cost_usd);
        let value = work.await?;
        Ok(Timed { value, at: now(), ms: millis(started.elapsed()), cost_usd: meter.spend().cost_usd - spent })
    }

    /// Ends `work` with the run's own time, and gives that as the reason.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, JobError>>) -> Result<T, JobError> {
        let Some(WallClock { until, secs }) = self.wall_clock else { return work.await };
        let over = || {
            let message = format!("the agents took longer than {secs} s: raise network.timeout_secs or ask for less");
            JobError::new(ErrorCode::Timeout, message).with_detail("reason", "wall_clock")
        };
        if Instant::now() >= until {
            return Err(over());
        }
        match tokio::time::timeout_at(until.into(), work).await {
            Ok(Err(error)) if error.code == ErrorCode::Timeout && Instant::now() >= until => Err(over()),
            Ok(outcome) => outcome,
            Err(_) => Err(over()),
        }
    }

    fn deadline(&self) -> Instant {
        self.wall_clock.map_or(self.context.deadline, |clock| clock.until.min(self.context.deadline))
    }

    /// Writes a note into the trail, and tells it as an event.
    fn tell(&self, note: Note, trail: &mut Trail, made: &mut Made) {
        match note {
            Note::Transfer { handoff, pool } => {
                failpoint::reach("transfer_taken");
                let stint = std::mem::take(&mut made.stint);
                let entry = trail.add(TrailKind::Transfer);
                entry.agent_id = Some(handoff.from.clone());
                entry.from = Some(handoff.from.clone());
                entry.to = Some(handoff.to.clone());
                entry.reason.clone_from(&handoff.reason);
                entry.handoff_decision = Some("transferred".into());
                entry.tokens = Some(stint.tokens);
                entry.duration_ms = stint.ms;
                entry.details = pool.map(|pool| RawJson::of(&serde_json::json!({"pool": pool})));
                let event = JobEvent::new(EventKind::Handoff).with("from", handoff.from.as_str());
                let event = event.with("to", handoff.to.as_str());
                (self.context.emit)(match handoff.reason {
                    Some(reason) => event.with("reason", reason),
                    None => event,
                });
                self.emit(&handoff.from, EventKind::AgentCompleted, &[]);
                self.emit(&handoff.to, EventKind::AgentStarted, &[]);
            }
            Note::Refused { agent, why } => {
                let entry = trail.add(TrailKind::Transfer);
                entry.agent_id = Some(agent.clone());
                entry.from = Some(agent);
                entry.reason = Some(why);
                entry.handoff_decision = Some("refused".into());
            }
            Note::Fallback { from, to, error } => {
                if let Some(to) = &to {
                    self.emit(&from, EventKind::AgentCompleted, &[("error", error.to_string())]);
                    self.fell_back(&from, Some(to), &error, trail);
                    self.emit(to, EventKind::AgentStarted, &[]);
                } else {
                    self.fell_back(&from, None, &error, trail);
                }
            }
            Note::Nudged { agent } => {
                made.warnings.push(format!("{agent} answered with nothing and was asked once more"));
            }
            Note::TooMany { agent, asked } => {
                let most = limits::MAX_CALLS_PER_TURN;
                made.warnings
                    .push(format!("{agent} asked for {asked} calls in one reply: the first {most} were taken"));
            }
            Note::NoSummary { why } => {
                let warning = format!("no summary went along with a transfer, but the words without tools: {why}");
                made.warnings.push(warning);
            }
        }
    }

    /// Notes that an agent of a pool failed, and tells who goes on.
    pub(super) fn fell_back(&self, from: &str, to: Option<&str>, error: &JobError, trail: &mut Trail) {
        let entry = trail.add(TrailKind::Fallback);
        entry.agent_id = Some(from.to_owned());
        entry.from = Some(from.to_owned());
        entry.to = to.map(str::to_owned);
        entry.reason = Some(error.to_string());
        let Some(to) = to else { return };
        let event = JobEvent::new(EventKind::Handoff).with("from", from).with("to", to);
        (self.context.emit)(event.with("reason", error.to_string()).with("fallback", true));
    }

    pub(super) fn emit(&self, agent: &str, kind: EventKind, facts: &[(&str, String)]) {
        let event = JobEvent::new(kind).with("agent_id", agent);
        let event = facts.iter().fold(event, |event, (key, value)| event.with(key, value.as_str()));
        (self.context.emit)(event);
    }
}

/// The budget is a bound too, with its reason.
pub(super) fn reasoned(error: JobError) -> JobError {
    if error.code == ErrorCode::BudgetExceeded { error.with_detail("reason", "budget") } else { error }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
