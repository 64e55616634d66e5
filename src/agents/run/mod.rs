//! One agent loop for every mode, as a state machine without I/O: feed it what happened, do what it says.
//!
//! Every tool call gets exactly one result, in the order of the calls, before the model is asked again. A transfer
//! swaps the seat and keeps the conversation. The state is serialisable: it can be kept, resumed and replayed.

mod bounds;
mod handover;
mod note;
mod seat;
#[cfg(test)]
mod tests;
mod turn;
mod view;

use serde::{Deserialize, Serialize};

pub use bounds::{RunBounds, Scope};
pub use note::{Handoff, Note};
pub use seat::{Door, Seat, TransferWords};

use crate::{
    agents::{guardrails::is_trip, registry::History},
    job::{ErrorCode, JobError},
    llm::{ChatReply, Message, ToolCall, ToolSpec},
    settings::limits,
};
use bounds::looped;
use turn::{Transfer, Turn};
use view::View;

/// What a model is told that has said nothing.
const NUDGE: &str = "Your last reply was empty. Answer in words, or call a tool.";

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Nothing yet.
    Start,
    /// The model replied.
    Replied(ChatReply),
    /// The model, or a choice in a pool, failed.
    Failed(JobError),
    /// The call that was asked for is done; the text is what the model is told.
    Called(Result<String, JobError>),
    /// The agent that was asked for is found.
    Seated(Box<Seat>),
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Ask the model with [`AgentRun::messages`].
    Ask(Ask),
    /// Make this call.
    Call(ToolCall),
    /// Find the agent that takes over.
    Seat(Target),
    /// Finish with these words.
    Finish(String),
    /// Give up.
    Fail(JobError),
}

/// How the model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Whether tools are offered.
    pub tools: bool,
    /// For a summary of the conversation, not for the agent's next words.
    pub summary: bool,
}

/// Who shall take over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Id of an agent, or name of a pool.
    pub to: String,
    /// Whether it is a pool.
    pub pool: bool,
}

/// What the run waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Phase {
    /// A reply, or the start.
    Reply,
    /// The result of a call of this turn.
    Calls(Turn),
    /// The agent that a transfer of this turn goes to.
    Transfer(Turn, Transfer),
    /// The agent that takes over from one that failed.
    Reserve(JobError),
    /// A summary of the conversation, after this transfer.
    Summary { from: String, words: TransferWords },
}

/// State of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRun {
    bounds: RunBounds,
    seat: Seat,
    /// Everything that was said, without system messages.
    history: Vec<Message>,
    /// Where this run begins in `history`: what is before it belongs to the session.
    began: usize,
    /// Where the present agent took its seat in `history`.
    seated: usize,
    view: View,
    phase: Phase,
    turns: u32,
    /// Model calls of what was delegated.
    elsewhere: u32,
    /// The last reply was empty, and the model is asked once more.
    nudged: bool,
    calls: u32,
    handoffs: Vec<Handoff>,
    /// Transfers since the last user message or tool result.
    lately: Vec<(String, String)>,
    /// Agents of the present pool that failed.
    causes: Vec<(String, JobError)>,
    notes: Vec<Note>,
}

impl AgentRun {
    /// A run that has not begun: `seat` is asked for `prompt`.
    #[must_use]
    pub fn new(bounds: RunBounds, seat: Seat, prompt: &str) -> Self {
        Self::go_on_from(bounds, seat, Vec::new(), prompt)
    }

    /// A run that goes on from an earlier conversation.
    #[must_use]
    pub fn go_on_from(bounds: RunBounds, seat: Seat, earlier: Vec<Message>, prompt: &str) -> Self {
        let began = earlier.len();
        let mut history = earlier;
        history.push(Message::User(prompt.to_owned()));
        let mut run = Self {
            bounds,
            seat: Seat::default(),
            history,
            began,
            seated: began,
            view: View::whole(),
            phase: Phase::Reply,
            turns: 0,
            elsewhere: 0,
            nudged: false,
            calls: 0,
            handoffs: Vec::new(),
            lately: Vec::new(),
            causes: Vec::new(),
            notes: Vec::new(),
        };
        run.sit(seat);
        run
    }

    /// Who speaks.
    #[must_use]
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// What this run was asked, without what a session had said before.
    #[must_use]
    pub fn asked(&self) -> &str {
        match self.history.get(self.began) {
            Some(Message::User(prompt)) => prompt,
            _ => "",
        }
    }

    /// The messages to ask the model with.
    #[must_use]
    pub fn messages(&self, ask: Ask) -> Vec<Message> {
        if ask.summary {
            return view::summary_request(&self.history);
        }
        let system = (!self.seat.instructions.is_empty()).then(|| Message::System(self.seat.instructions.clone()));
        // Said once, and kept nowhere: it is no part of the conversation.
        let nudge = self.nudged.then(|| Message::User(NUDGE.to_owned()));
        system.into_iter().chain(self.view.messages(&self.history).cloned()).chain(nudge).collect()
    }

    /// The transfers that are offered.
    #[must_use]
    pub fn transfers(&self) -> Vec<ToolSpec> {
        self.seat.doors.iter().map(Door::spec).collect()
    }

    /// The whole conversation, as a session keeps it.
    #[must_use]
    pub fn history(&self) -> &[Message] {
        &self.history
    }

    /// Model calls so far, without those of what was delegated.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// Model calls so far, with those of what was delegated.
    #[must_use]
    pub fn model_calls(&self) -> u32 {
        self.turns.saturating_add(self.elsewhere)
    }

    /// Model calls that are left to the run itself.
    fn left(&self) -> u32 {
        self.bounds.max_turns.saturating_sub(self.turns).min(self.left_in_all())
    }

    /// Model calls that are left to the run and all that it delegates.
    #[must_use]
    pub fn left_in_all(&self) -> u32 {
        self.bounds.max_in_all.saturating_sub(self.model_calls())
    }

    /// Counts the model calls of what the last call delegated.
    pub fn count_elsewhere(&mut self, calls: u32) {
        self.elsewhere = self.elsewhere.saturating_add(calls);
    }

    /// Tool calls so far.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// The transfers so far.
    #[must_use]
    pub fn handoffs(&self) -> &[Handoff] {
        &self.handoffs
    }

    /// What happened since this was last asked.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Whether the run goes on after `error`: such an error is part of its story and goes on record.
    #[must_use]
    pub fn survives(&self, error: &JobError) -> bool {
        may_pass_to_another(error) && (!self.seat.reserves.is_empty() || matches!(self.phase, Phase::Summary { .. }))
    }

    /// Takes in what happened and says what to do.
    pub fn next(&mut self, event: Event) -> Action {
        let phase = std::mem::replace(&mut self.phase, Phase::Reply);
        match (event, phase) {
            (Event::Start, _) => self.ask(),
            (Event::Replied(reply), Phase::Summary { from, words }) => self.summed_up(&from, &words, &reply.text),
            (Event::Replied(reply), _) => self.replied(reply),
            (Event::Failed(error), Phase::Summary { from, words }) if may_pass_to_another(&error) => {
                self.notes.push(Note::NoSummary { why: error.to_string() });
                self.look(History::NoTools, &from, &words, None)
            }
            (Event::Failed(error), _) => self.fail(error),
            (Event::Called(outcome), Phase::Calls(turn)) => self.called(turn, outcome),
            (Event::Seated(seat), Phase::Transfer(turn, transfer)) => self.transferred(turn, transfer, *seat),
            (Event::Seated(seat), Phase::Reserve(error)) => self.replaced(*seat, error),
            (Event::Called(_) | Event::Seated(_), _) => {
                Action::Fail(JobError::new(ErrorCode::Internal, "an agent's run was told of something it did not ask"))
            }
        }
    }

    fn ask(&mut self) -> Action {
        if self.left() == 0 {
            return Action::Fail(self.too_many_turns());
        }
        self.turns += 1;
        Action::Ask(Ask { tools: self.left() > 0 || self.bounds.max_turns == 1, summary: false })
    }

    fn too_many_turns(&self) -> JobError {
        self.bounds.too_many_turns(self.turns, self.elsewhere)
    }

    /// A reply without words and calls: asked once more, where a model call is left for it.
    fn empty(&mut self) -> Action {
        if self.left() > 0 && !self.nudged {
            self.nudged = true;
            self.notes.push(Note::Nudged { agent: self.seat.agent.clone() });
            return self.ask();
        }
        // The reply is on record: another attempt would read the same.
        let message = format!("the model answered with nothing for {}", self.seat.agent);
        let error = JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false);
        self.fail(error.with_detail("reason", "empty_answer"))
    }

    fn replied(&mut self, reply: ChatReply) -> Action {
        let ChatReply { text, calls, .. } = reply;
        if calls.is_empty() && text.trim().is_empty() {
            return self.empty();
        }
        self.nudged = false;
        if calls.is_empty() {
            self.history.push(Message::Assistant { text: text.clone(), calls });
            return Action::Finish(text);
        }
        // No tool was offered: what it asks for would lead nowhere.
        if self.left() == 0 {
            return Action::Fail(self.too_many_turns());
        }
        if calls.len() > limits::MAX_CALLS_PER_TURN {
            self.notes.push(Note::TooMany { agent: self.seat.agent.clone(), asked: calls.len() });
        }
        let turn = Turn::new(calls.clone(), &self.seat.doors);
        self.history.push(Message::Assistant { text, calls });
        if let Some(call) = turn.counted().find(|call| self.times_asked(call) >= self.bounds.max_repeats) {
            let message = format!(
                "{} asked for {} with the same arguments {} times",
                self.seat.agent, call.name, self.bounds.max_repeats
            );
            return Action::Fail(looped("same_call", message));
        }
        let agent = &self.seat.agent;
        self.notes.extend(turn.refusals().map(|why| Note::Refused { agent: agent.clone(), why: why.to_owned() }));
        self.go_on(turn)
    }

    /// The next call of the turn, or what follows when there is none.
    fn go_on(&mut self, turn: Turn) -> Action {
        if let Some(call) = turn.next_call() {
            let call = call.clone();
            self.calls += 1;
            self.phase = Phase::Calls(turn);
            return Action::Call(call);
        }
        let Some(transfer) = turn.transfer() else {
            self.history.extend(turn.results(None));
            return self.ask();
        };
        let target = Target { to: transfer.door.to.clone(), pool: transfer.door.pool };
        self.phase = Phase::Transfer(turn, transfer);
        Action::Seat(target)
    }

    fn called(&mut self, mut turn: Turn, outcome: Result<String, JobError>) -> Action {
        let content = match outcome {
            Ok(content) => content,
            Err(error) if ends_the_run(&error) => {
                let told = format!("error: {error}");
                self.history.extend(turn.results(Some(&shortened(&told))));
                return self.fail(error);
            }
            Err(error) => shortened(&format!("error: {error}")),
        };
        turn.answer(content);
        self.lately.clear();
        self.go_on(turn)
    }

    fn transferred(&mut self, turn: Turn, transfer: Transfer, seat: Seat) -> Action {
        let from = std::mem::take(&mut self.seat.agent);
        let Transfer { door, words, .. } = &transfer;
        let (to, reason) = (seat.agent.clone(), words.reason.clone());
        let handoff = Handoff { from: from.clone(), to, reason, fallback: false };
        self.lately.push((from.clone(), seat.agent.clone()));
        self.handoffs.push(handoff.clone());
        if let Some(fault) = self.bounds.transfer_fault(&self.handoffs, &self.lately) {
            self.handoffs.pop();
            self.seat.agent = from;
            return Action::Fail(fault);
        }
        self.history.extend(turn.passed(&seat.agent));
        self.notes.push(Note::Transfer { handoff, pool: door.pool.then(|| door.to.clone()) });
        self.causes.clear();
        self.sit(seat);
        let room = self.left() > 1;
        if door.history == History::Summary && room {
            self.turns += 1;
            self.phase = Phase::Summary { from, words: words.clone() };
            return Action::Ask(Ask { tools: false, summary: true });
        }
        self.look(door.history, &from, words, None)
    }

    fn summed_up(&mut self, from: &str, words: &TransferWords, summary: &str) -> Action {
        if summary.trim().is_empty() {
            self.notes.push(Note::NoSummary { why: "the model gave none".into() });
            return self.look(History::NoTools, from, words, None);
        }
        self.look(History::Summary, from, words, Some(summary))
    }

    fn look(&mut self, filter: History, from: &str, words: &TransferWords, summary: Option<&str>) -> Action {
        self.view = View::after(filter, &self.history, from, words, summary);
        self.ask()
    }

    /// The next of the pool, where the agent has one behind it and may be replaced.
    fn fail(&mut self, error: JobError) -> Action {
        if !may_pass_to_another(&error) {
            return Action::Fail(error);
        }
        if self.seat.reserves.is_empty() {
            if self.causes.is_empty() {
                return Action::Fail(error);
            }
            let from = self.seat.agent.clone();
            self.causes.push((from.clone(), error.clone()));
            self.notes.push(Note::Fallback { from, to: None, error });
            return Action::Fail(all_failed(&self.causes));
        }
        let to = self.seat.reserves.remove(0);
        self.phase = Phase::Reserve(error);
        Action::Seat(Target { to, pool: false })
    }

    fn replaced(&mut self, seat: Seat, error: JobError) -> Action {
        let from = std::mem::take(&mut self.seat.agent);
        let reserves = std::mem::take(&mut self.seat.reserves);
        let (to, reason) = (seat.agent.clone(), Some(error.to_string()));
        self.handoffs.push(Handoff { from: from.clone(), to: to.clone(), reason, fallback: true });
        self.notes.push(Note::Fallback { from: from.clone(), to: Some(to), error: error.clone() });
        self.causes.push((from, error));
        self.sit(Seat { reserves, ..seat });
        self.ask()
    }

    fn sit(&mut self, seat: Seat) {
        self.seat = seat;
        self.seated = self.history.len();
        self.nudged = false;
        if self.bounds.max_handoffs == 0 {
            self.seat.doors.clear();
        }
    }

    /// How often the run has asked for a call, the open turn included.
    fn times_asked(&self, call: &ToolCall) -> u32 {
        let arguments = call.arguments.to_value().ok();
        let asked = self.history[self.began..].iter().filter_map(|message| match message {
            Message::Assistant { calls, .. } => Some(calls),
            _ => None,
        });
        let same = asked.flatten().filter(|earlier| {
            earlier.name == call.name
                && (earlier.arguments == call.arguments || earlier.arguments.to_value().ok() == arguments)
        });
        u32::try_from(same.count()).unwrap_or(u32::MAX)
    }
}

/// The error of a pool none of whose agents could do it, with the cause of each.
#[must_use]
pub(super) fn all_failed(causes: &[(String, JobError)]) -> JobError {
    let told: Vec<String> = causes.iter().map(|(agent, error)| format!("{agent}: {error}")).collect();
    let details: Vec<serde_json::Value> =
        causes.iter().map(|(agent, error)| serde_json::json!({"agent_id": agent, "error": error})).collect();
    let message = format!("all agents failed: {}", told.join("; "));
    JobError::new(ErrorCode::HandoffFailed, message).with_detail("causes", details)
}

/// Errors after which another agent may do better: not those of the job itself, of our own parts, or of a bound.
#[must_use]
pub(super) fn may_pass_to_another(error: &JobError) -> bool {
    let ends_all = matches!(
        error.code,
        ErrorCode::Cancelled
            | ErrorCode::Timeout
            | ErrorCode::BudgetExceeded
            | ErrorCode::Internal
            | ErrorCode::LoopDetected
    );
    !ends_all && !error.deferred && !is_trip(error)
}

/// Errors that the model cannot mend: those that pass with time belong to the job's retry.
fn ends_the_run(error: &JobError) -> bool {
    error.retryable
        || error.deferred
        || is_trip(error)
        || matches!(error.code, ErrorCode::Cancelled | ErrorCode::Timeout | ErrorCode::BudgetExceeded)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(limits::MODEL_ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
