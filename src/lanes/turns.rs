//! The loop between a planner and its tools, as a state machine without I/O.
//!
//! Feed it what happened, do what it says. All calls of a turn run, in order; a turn whose calls all succeeded
//! ends the loop; errors go back to a planner that can mend them, within bounds.

use serde::{Deserialize, Serialize};

use crate::{
    job::{ErrorCode, JobError},
    llm::ToolCall,
    planner::{Exchange, ToolReport, Turn},
};

/// Bounds of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Turns of the planner, at most.
    pub max_turns: u32,
    /// Times a patch may be refused before the job fails.
    pub max_patch_tries: u32,
    /// Times the same call with the same arguments may be asked for.
    pub max_repeats: u32,
    /// Whether the planner can do anything with an error.
    pub mends: bool,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Nothing yet.
    Start,
    /// The planner spoke.
    Planned(Turn),
    /// The call that was asked for is done.
    Called(Result<ToolReport, JobError>),
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Ask the planner, with [`Turns::transcript`].
    Plan,
    /// Make this call.
    Call(ToolCall),
    /// Finish with the output of the last call that succeeded.
    Finish,
    /// Finish with these words.
    Answer(String),
    /// Give up.
    Fail(JobError),
}

/// State of the loop. Serialisable: it is the whole memory of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turns {
    bounds: Bounds,
    transcript: Vec<Exchange>,
    open: Option<Open>,
    last_error: Option<JobError>,
    refused_patches: u32,
}

/// The turn that is being carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    text: String,
    /// Calls still to make, the next one last.
    waiting: Vec<ToolCall>,
    done: Vec<(ToolCall, ToolReport)>,
}

impl Turns {
    /// A loop that has not begun.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, transcript: Vec::new(), open: None, last_error: None, refused_patches: 0 }
    }

    /// Every finished turn.
    #[must_use]
    pub fn transcript(&self) -> &[Exchange] {
        &self.transcript
    }

    /// Takes in what happened and says what to do.
    pub fn next(&mut self, event: Event) -> Action {
        match event {
            Event::Start => Action::Plan,
            Event::Planned(Turn::Answer(text)) => Action::Answer(text),
            Event::Planned(Turn::Calls { mut calls, text }) => {
                if let Some(call) = calls.iter().find(|call| self.repeats(call) >= self.bounds.max_repeats) {
                    return Action::Fail(JobError::new(
                        ErrorCode::LoopDetected,
                        format!("the planner asked for {} with the same arguments again and again", call.name),
                    ));
                }
                calls.reverse();
                self.open = Some(Open { text, waiting: calls, done: Vec::new() });
                self.go_on()
            }
            Event::Called(outcome) => {
                let Some(open) = &mut self.open else { return self.go_on() };
                let Some(call) = open.waiting.pop() else { return self.go_on() };
                let report = match outcome {
                    Ok(report) => report,
                    Err(error) if !self.bounds.mends || ends_the_job(&error) => return Action::Fail(error),
                    Err(error) => {
                        self.refused_patches += u32::from(error.code == ErrorCode::InvalidPatch);
                        let report = ToolReport { ok: false, content: error_for_model(&error) };
                        self.last_error = Some(error);
                        report
                    }
                };
                open.done.push((call, report));
                self.go_on()
            }
        }
    }

    /// The next call of the open turn, or what follows when there is none.
    fn go_on(&mut self) -> Action {
        if let Some(call) = self.open.as_ref().and_then(|open| open.waiting.last()) {
            return Action::Call(call.clone());
        }
        let Some(open) = self.open.take() else { return Action::Plan };
        let all_ok = !open.done.is_empty() && open.done.iter().all(|(_, report)| report.ok);
        self.transcript.push(Exchange { text: open.text, calls: open.done });
        if all_ok {
            return Action::Finish;
        }
        let turns = u32::try_from(self.transcript.len()).unwrap_or(u32::MAX);
        if turns >= self.bounds.max_turns || self.refused_patches >= self.bounds.max_patch_tries {
            return Action::Fail(self.give_up(turns));
        }
        Action::Plan
    }

    fn give_up(&mut self, turns: u32) -> JobError {
        let mut error = self
            .last_error
            .take()
            .unwrap_or_else(|| JobError::new(ErrorCode::LoopDetected, "the planner came to no end"));
        error.message = format!("gave up after {turns} tries; the last one: {}", error.message);
        error
    }

    fn repeats(&self, call: &ToolCall) -> u32 {
        let made = self.transcript.iter().flat_map(|exchange| &exchange.calls);
        let same = made.filter(|(earlier, _)| earlier.name == call.name && earlier.arguments == call.arguments);
        u32::try_from(same.count()).unwrap_or(u32::MAX)
    }
}

/// Errors that no other plan can mend: the job's own retry owns those that pass with time.
fn ends_the_job(error: &JobError) -> bool {
    error.retryable
        || matches!(
            error.code,
            ErrorCode::Cancelled
                | ErrorCode::Timeout
                | ErrorCode::BudgetExceeded
                | ErrorCode::PatchConflict
                | ErrorCode::OrchestratorFailed
        )
}

/// What the planner is told about an error, bounded.
fn error_for_model(error: &JobError) -> String {
    let mut text = error.to_string();
    if !error.details.is_empty() {
        let details = serde_json::to_string(&error.details).unwrap_or_default();
        text = format!("{text}\ndetails: {details}");
    }
    let bound = crate::settings::limits::MODEL_ERROR_CHARS;
    match text.char_indices().nth(bound) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::RawJson;

    const BOUNDS: Bounds = Bounds { max_turns: 3, max_patch_tries: 3, max_repeats: 2, mends: true };

    fn call(name: &str, arguments: &'static str) -> ToolCall {
        ToolCall { id: name.into(), name: name.into(), arguments: RawJson::from_trusted(arguments) }
    }

    fn calls(calls: &[ToolCall]) -> Event {
        Event::Planned(Turn::Calls { calls: calls.to_vec(), text: String::new() })
    }

    fn ok() -> Event {
        Event::Called(Ok(ToolReport { ok: true, content: "3 rows".into() }))
    }

    fn error(code: ErrorCode) -> Event {
        Event::Called(Err(JobError::new(code, "no")))
    }

    #[test]
    fn all_calls_of_a_turn_run_in_order_and_success_ends_it_without_another_turn() {
        let (a, b) = (call("a", "{}"), call("b", "{}"));
        let mut turns = Turns::new(BOUNDS);
        assert_eq!(turns.next(Event::Start), Action::Plan);
        assert_eq!(turns.next(calls(&[a.clone(), b.clone()])), Action::Call(a));
        assert_eq!(turns.next(ok()), Action::Call(b));
        assert_eq!(turns.next(ok()), Action::Finish);
    }

    #[test]
    fn an_error_goes_back_and_the_rest_of_the_turn_still_runs() {
        let mut turns = Turns::new(BOUNDS);
        turns.next(calls(&[call("a", "{}"), call("b", "{}")]));
        assert_eq!(turns.next(error(ErrorCode::InvalidPipeline)), Action::Call(call("b", "{}")));
        assert_eq!(turns.next(ok()), Action::Plan);
        assert_eq!(turns.transcript()[0].calls[0].1.content, "invalid_pipeline: no");
    }

    #[test]
    fn each_bound_has_its_own_end() {
        // (error of every call, same arguments every time, planner mends, code, turns made)
        let rows = [
            (ErrorCode::InvalidPipeline, false, true, ErrorCode::InvalidPipeline, 3),
            (ErrorCode::InvalidPatch, false, true, ErrorCode::InvalidPatch, 3),
            (ErrorCode::InvalidPipeline, true, true, ErrorCode::LoopDetected, 2),
            (ErrorCode::InvalidPipeline, false, false, ErrorCode::InvalidPipeline, 0),
            (ErrorCode::Internal, false, true, ErrorCode::Internal, 0),
            (ErrorCode::PatchConflict, false, true, ErrorCode::PatchConflict, 0),
        ];
        for (code, same, mends, expected, made) in rows {
            let mut turns = Turns::new(Bounds { mends, ..BOUNDS });
            let failed = (0..10).find_map(|i| {
                let arguments = if same { "{}" } else { ["{\"a\":0}", "{\"a\":1}", "{\"a\":2}", "{}"][i.min(3)] };
                if let Action::Fail(error) = turns.next(calls(&[call("t", arguments)])) {
                    return Some(error);
                }
                match turns.next(error(code)) {
                    Action::Fail(error) => Some(error),
                    _ => None,
                }
            });
            assert_eq!(failed.unwrap().code, expected, "{code:?}");
            assert_eq!(turns.transcript().len(), made, "{code:?}");
        }
    }

    #[test]
    fn the_state_survives_a_round_trip_through_json() {
        let mut turns = Turns::new(BOUNDS);
        turns.next(calls(&[call("a", "{\"k\":1.10}"), call("b", "{}")]));
        turns.next(error(ErrorCode::InvalidPipeline));
        let copy: Turns = serde_json::from_str(&serde_json::to_string(&turns).unwrap()).unwrap();
        assert_eq!(copy, turns);
    }

    #[test]
    fn what_the_model_hears_of_an_error_is_bounded() {
        let error = JobError::new(ErrorCode::InvalidPatch, "é".repeat(5000));
        assert_eq!(error_for_model(&error).chars().count(), 801);
    }
}
