//! One agent's run as a state machine without I/O: feed it what happened, do what it says.
//!
//! Every tool call gets exactly one result, in the order of the calls, before the model is asked again. The state is
//! serialisable: it can be journalled, resumed and replayed.

use serde::{Deserialize, Serialize};

use crate::{
    job::{ErrorCode, JobError},
    llm::{ChatReply, Message, ToolCall},
    settings::limits,
};

/// Bounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBounds {
    /// Model calls, at most. In the last one no tool is offered, so that the model concludes.
    pub max_turns: u32,
    /// How often the same tool may be called with the same arguments before the run is a loop.
    pub max_repeats: u32,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Nothing yet.
    Start,
    /// The model replied.
    Replied(ChatReply),
    /// The call that was asked for is done; the text is what the model is told.
    Called(Result<String, JobError>),
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Ask the model with [`AgentRun::messages`]; with tools or without.
    Ask {
        /// Whether tools are offered.
        tools: bool,
    },
    /// Make this call.
    Call(ToolCall),
    /// Finish with these words.
    Finish(String),
    /// Give up.
    Fail(JobError),
}

/// State of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRun {
    bounds: RunBounds,
    messages: Vec<Message>,
    /// Calls of the open turn still to make, the next one last.
    waiting: Vec<ToolCall>,
    turns: u32,
}

impl AgentRun {
    /// A run that has not begun.
    #[must_use]
    pub fn new(bounds: RunBounds, instructions: &str, prompt: &str) -> Self {
        let system = (!instructions.is_empty()).then(|| Message::System(instructions.to_owned()));
        let messages = system.into_iter().chain([Message::User(prompt.to_owned())]).collect();
        Self { bounds, messages, waiting: Vec::new(), turns: 0 }
    }

    /// The conversation so far.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Model calls so far.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// Takes in what happened and says what to do.
    pub fn next(&mut self, event: Event) -> Action {
        match event {
            Event::Start => self.ask(),
            Event::Replied(reply) => self.replied(reply),
            Event::Called(outcome) => self.called(outcome),
        }
    }

    fn ask(&mut self) -> Action {
        if self.turns >= self.bounds.max_turns {
            let message = format!("the agent came to no end within {} model calls (llm.max_turns)", self.turns);
            return Action::Fail(JobError::new(ErrorCode::LoopDetected, message).with_detail("reason", "max_turns"));
        }
        self.turns += 1;
        Action::Ask { tools: self.turns < self.bounds.max_turns || self.bounds.max_turns == 1 }
    }

    fn replied(&mut self, reply: ChatReply) -> Action {
        let ChatReply { text, calls, .. } = reply;
        if calls.is_empty() {
            if text.trim().is_empty() {
                let message = "the agent's model answered with nothing";
                return Action::Fail(JobError::new(ErrorCode::LlmBadOutput, message));
            }
            self.messages.push(Message::Assistant { text: text.clone(), calls });
            return Action::Finish(text);
        }
        if calls.len() > limits::MAX_CALLS_PER_TURN {
            let most = limits::MAX_CALLS_PER_TURN;
            let message = format!("{} tool calls in one reply, at most {most} are taken", calls.len());
            return Action::Fail(JobError::new(ErrorCode::LlmBadOutput, message));
        }
        self.waiting = calls.iter().rev().cloned().collect();
        self.messages.push(Message::Assistant { text, calls });
        if let Some(call) = self.waiting.iter().find(|call| self.times_asked(call) > self.bounds.max_repeats) {
            let message = format!("the agent asked for {} with the same arguments again and again", call.name);
            return Action::Fail(JobError::new(ErrorCode::LoopDetected, message).with_detail("reason", "same_call"));
        }
        self.go_on()
    }

    fn called(&mut self, outcome: Result<String, JobError>) -> Action {
        let Some(call) = self.waiting.pop() else { return self.go_on() };
        let content = match outcome {
            Ok(content) => content,
            Err(error) if ends_the_run(&error) => return Action::Fail(error),
            Err(error) => shortened(&format!("error: {error}")),
        };
        self.messages.push(Message::Tool { call_id: call.id, name: call.name, content });
        self.go_on()
    }

    fn go_on(&mut self) -> Action {
        match self.waiting.last() {
            Some(call) => Action::Call(call.clone()),
            None => self.ask(),
        }
    }

    fn times_asked(&self, call: &ToolCall) -> u32 {
        let asked = self.messages.iter().filter_map(|message| match message {
            Message::Assistant { calls, .. } => Some(calls),
            _ => None,
        });
        let same = asked.flatten().filter(|earlier| earlier.name == call.name && earlier.arguments == call.arguments);
        u32::try_from(same.count()).unwrap_or(u32::MAX)
    }
}

/// Errors that the model cannot mend: those that pass with time belong to the job's retry.
fn ends_the_run(error: &JobError) -> bool {
    error.retryable || matches!(error.code, ErrorCode::Cancelled | ErrorCode::Timeout | ErrorCode::BudgetExceeded)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(limits::MODEL_ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{RawJson, Tokens};

    const BOUNDS: RunBounds = RunBounds { max_turns: 3, max_repeats: 2 };

    fn call(id: &str, name: &str, arguments: &'static str) -> ToolCall {
        ToolCall { id: id.into(), name: name.into(), arguments: RawJson::from_trusted(arguments) }
    }

    fn reply(text: &str, calls: &[ToolCall]) -> Event {
        let (text, calls) = (text.to_owned(), calls.to_vec());
        Event::Replied(ChatReply { text, calls, tokens: Tokens::default(), model: "m".into() })
    }

    #[test]
    fn every_call_gets_one_result_in_order_before_the_model_is_asked_again() {
        let (a, b) = (call("1", "a", "{}"), call("2", "b", "{}"));
        let mut run = AgentRun::new(BOUNDS, "be brief", "go");
        assert_eq!(run.next(Event::Start), Action::Ask { tools: true });
        assert_eq!(run.next(reply("", &[a.clone(), b.clone()])), Action::Call(a));
        assert_eq!(run.next(Event::Called(Ok("3 rows".into()))), Action::Call(b));
        let failed = JobError::new(ErrorCode::InvalidPipeline, "no such step");
        assert_eq!(run.next(Event::Called(Err(failed))), Action::Ask { tools: true });
        let told: Vec<_> = run.messages()[3..].iter().collect();
        assert!(matches!(told[0], Message::Tool { call_id, content, .. } if call_id == "1" && content == "3 rows"));
        assert!(
            matches!(told[1], Message::Tool { call_id, content, .. } if call_id == "2" && content.contains("no such step"))
        );
        assert_eq!(run.next(reply("done", &[])), Action::Finish("done".into()));
    }

    #[test]
    fn each_bound_has_its_own_end() {
        // Other arguments every time: the turns run out, and the last one offers no tool.
        let mut run = AgentRun::new(BOUNDS, "", "go");
        let arguments = ["{\"i\":0}", "{\"i\":1}", "{\"i\":2}"];
        let mut offered = Vec::new();
        let mut action = run.next(Event::Start);
        for arguments in arguments {
            let Action::Ask { tools } = action else { panic!("{action:?}") };
            offered.push(tools);
            run.next(reply("", &[call("1", "a", arguments)]));
            action = run.next(Event::Called(Ok("x".into())));
        }
        assert_eq!(offered, [true, true, false]);
        assert!(matches!(action, Action::Fail(error) if error.details["reason"] == "max_turns"));
        // The same call three times.
        let mut run = AgentRun::new(RunBounds { max_turns: 9, ..BOUNDS }, "", "go");
        run.next(Event::Start);
        let again = || reply("", &[call("1", "a", "{}")]);
        for _ in 0..2 {
            assert!(matches!(run.next(again()), Action::Call(_)));
            run.next(Event::Called(Ok("x".into())));
        }
        assert!(matches!(run.next(again()), Action::Fail(error) if error.details["reason"] == "same_call"));
    }

    #[test]
    fn a_failing_model_or_service_never_looks_like_an_answer() {
        let mut run = AgentRun::new(BOUNDS, "", "go");
        run.next(Event::Start);
        assert!(matches!(run.next(reply(" \n", &[])), Action::Fail(error) if error.code == ErrorCode::LlmBadOutput));
        let mut run = AgentRun::new(BOUNDS, "", "go");
        run.next(Event::Start);
        run.next(reply("", &[call("1", "a", "{}")]));
        let gone = JobError::new(ErrorCode::HttpFailed, "503").with_retryable(true);
        assert_eq!(run.next(Event::Called(Err(gone.clone()))), Action::Fail(gone));
    }

    #[test]
    fn the_state_survives_a_round_trip_through_json() {
        let mut run = AgentRun::new(BOUNDS, "x", "go");
        run.next(Event::Start);
        run.next(reply("hm", &[call("1", "a", "{\"k\":1.10}"), call("2", "b", "{}")]));
        let copy: AgentRun = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
        assert_eq!(copy, run);
    }
}
