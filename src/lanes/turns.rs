//! The loop between a planner and its tools, as a state machine without I/O.
//!
//! Feed it what happened, do what it says. All calls of a turn run: one after the other, and neighbours that only
//! read side by side; what came of them is taken in, in the order of the calls. A turn whose calls all succeeded ends
//! the loop, unless all it did was to look something up; errors go back to a planner that can mend them, within bounds.

use serde::{Deserialize, Serialize};

use crate::{
    job::{ErrorCode, JobError},
    llm::ToolCall,
    planner::{Exchange, ToolReport, Turn},
    settings::limits::MAX_SIDE_BY_SIDE,
};

/// Bounds of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Turns of the planner, at most.
    pub max_turns: u32,
    /// Times a patch may be refused before the job fails.
    pub max_patch_tries: u32,
    /// The same call with the same arguments ends the loop when it is asked for so many times.
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
    Planned {
        /// What it said.
        turn: Turn,
        /// For each call of the turn whether it only reads; what is not said counts as a change.
        reads: Vec<bool>,
    },
    /// The calls that were asked for are done: one outcome for each, in their order.
    Called(Vec<Result<ToolReport, JobError>>),
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Ask the planner, with [`Turns::transcript`].
    Plan,
    /// Make these calls, side by side: one, or several that only read.
    Call(Vec<ToolCall>),
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
    /// Calls still to make, the next one last, each with whether it only reads.
    waiting: Vec<(ToolCall, bool)>,
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
            Event::Planned { turn: Turn::Answer(text), .. } => Action::Answer(text),
            Event::Planned { turn: Turn::Calls { calls, text }, reads } => self.planned(calls, text, &reads),
            Event::Called(outcomes) => {
                for outcome in outcomes {
                    if let Err(error) = self.called(outcome) {
                        return Action::Fail(error);
                    }
                }
                self.go_on()
            }
        }
    }

    fn planned(&mut self, calls: Vec<ToolCall>, text: String, reads: &[bool]) -> Action {
        if let Some(call) = calls.iter().find(|call| self.repeats(call) + 1 >= self.bounds.max_repeats) {
            return Action::Fail(self.same_call(&call.name));
        }
        let reads = reads.iter().copied().chain(std::iter::repeat(false));
        let mut waiting: Vec<_> = calls.into_iter().zip(reads).collect();
        waiting.reverse();
        self.open = Some(Open { text, waiting, done: Vec::new() });
        self.go_on()
    }

    /// Takes in what came of the next waiting call. An error here ends the loop.
    fn called(&mut self, outcome: Result<ToolReport, JobError>) -> Result<(), JobError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some((call, _)) = open.waiting.pop() else { return Ok(()) };
        let report = match outcome {
            Ok(report) => report,
            Err(error) if !self.bounds.mends || ends_the_job(&error) => return Err(error),
            Err(error) => {
                self.refused_patches += u32::from(error.code == ErrorCode::InvalidPatch);
                let report = ToolReport::failed(error_for_model(&error));
                self.last_error = Some(error);
                report
            }
        };
        open.done.push((call, report));
        Ok(())
    }

    /// The next calls of the open turn, or what follows when there are none.
    fn go_on(&mut self) -> Action {
        if let Some(calls) = self.open.as_ref().map(Open::next_calls).filter(|calls| !calls.is_empty()) {
            return Action::Call(calls);
        }
        let Some(open) = self.open.take() else { return Action::Plan };
        let all_ok =
            open.done.iter().all(|(_, report)| report.ok) && open.done.iter().any(|(_, report)| report.concludes);
        self.transcript.push(Exchange { text: open.text, calls: open.done });
        if all_ok {
            return Action::Finish;
        }
        let turns = u32::try_from(self.transcript.len()).unwrap_or(u32::MAX);
        match self.last_error.take_if(|_| self.refused_patches >= self.bounds.max_patch_tries) {
            Some(error) => Action::Fail(given_up(error, turns)),
            None if turns >= self.bounds.max_turns => Action::Fail(self.out_of_turns()),
            None => Action::Plan,
        }
    }

    /// The bound is what ended it; what went wrong last is told with it.
    fn out_of_turns(&mut self) -> JobError {
        let turns = self.bounds.max_turns;
        let message = format!("the plan came to no end within {turns} turns: raise llm.max_turns or ask for less");
        self.looped("max_turns", message)
    }

    /// A planner that asks for the same again has not understood what was wrong with it. A patch ends with that.
    fn same_call(&mut self, name: &str) -> JobError {
        if let Some(error) = self.last_error.take_if(|error| error.code == ErrorCode::InvalidPatch) {
            return given_up(error, self.refused_patches);
        }
        let times = self.bounds.max_repeats;
        let message = format!(
            "the planner asked for {name} with the same arguments {times} times: say more exactly what is wanted, or use another model"
        );
        self.looped("same_call", message)
    }

    fn looped(&mut self, reason: &str, message: String) -> JobError {
        let error = JobError::new(ErrorCode::LoopDetected, "").with_detail("reason", reason);
        match self.last_error.take() {
            Some(last) => {
                let told = serde_json::json!({"type": last.code.as_str(), "message": last.message});
                JobError { message: format!("{message}; the last error: {last}"), ..error }
                    .with_detail("last_error", told)
            }
            None => JobError { message, ..error },
        }
    }

    fn repeats(&self, call: &ToolCall) -> u32 {
        let made = self.transcript.iter().flat_map(|exchange| &exchange.calls);
        let same = made.filter(|(earlier, _)| earlier.name == call.name && earlier.arguments == call.arguments);
        u32::try_from(same.count()).unwrap_or(u32::MAX)
    }
}

impl Open {
    /// The next call, with those right behind it where all of them only read.
    fn next_calls(&self) -> Vec<ToolCall> {
        let mut next = self.waiting.iter().rev();
        let Some((first, reads)) = next.next() else { return Vec::new() };
        let with = next.take_while(|(_, also_reads)| *reads && *also_reads).take(MAX_SIDE_BY_SIDE - 1);
        std::iter::once(first).chain(with.map(|(call, _)| call)).cloned().collect()
    }
}

fn given_up(mut error: JobError, tries: u32) -> JobError {
    error.message = format!("gave up after {tries} tries; the last one: {}", error.message);
    error
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

    const BOUNDS: Bounds = Bounds { max_turns: 3, max_patch_tries: 3, max_repeats: 3, mends: true };

    fn call(name: &str, arguments: &'static str) -> ToolCall {
        ToolCall { id: name.into(), name: name.into(), arguments: RawJson::from_trusted(arguments) }
    }

    fn calls(calls: &[ToolCall]) -> Event {
        reading(calls, &[])
    }

    fn reading(calls: &[ToolCall], reads: &[bool]) -> Event {
        Event::Planned { turn: Turn::Calls { calls: calls.to_vec(), text: String::new() }, reads: reads.to_vec() }
    }

    fn ok() -> Event {
        Event::Called(vec![Ok(ToolReport::done("3 rows"))])
    }

    fn error(code: ErrorCode) -> Event {
        Event::Called(vec![Err(JobError::new(code, "no"))])
    }

    #[test]
    fn all_calls_of_a_turn_run_in_order_and_success_ends_it_without_another_turn() {
        let (a, b) = (call("a", "{}"), call("b", "{}"));
        let mut turns = Turns::new(BOUNDS);
        assert_eq!(turns.next(Event::Start), Action::Plan);
        assert_eq!(turns.next(calls(&[a.clone(), b.clone()])), Action::Call(vec![a]));
        assert_eq!(turns.next(ok()), Action::Call(vec![b]));
        assert_eq!(turns.next(ok()), Action::Finish);
    }

    #[test]
    fn an_error_goes_back_and_the_rest_of_the_turn_still_runs() {
        let mut turns = Turns::new(BOUNDS);
        turns.next(calls(&[call("a", "{}"), call("b", "{}")]));
        assert_eq!(turns.next(error(ErrorCode::InvalidPipeline)), Action::Call(vec![call("b", "{}")]));
        assert_eq!(turns.next(ok()), Action::Plan);
        assert_eq!(turns.transcript()[0].calls[0].1.content, "invalid_pipeline: no");
    }

    #[test]
    fn neighbours_that_only_read_run_side_by_side_and_a_change_by_itself() {
        // (which calls read, the sizes of the batches)
        let many = vec![true; 2 * MAX_SIDE_BY_SIDE + 1];
        let rows: [(&[bool], &[usize]); 6] = [
            (&[true, true, true], &[3]),
            (&[true, true, false, true], &[2, 1, 1]),
            (&[false, true, true], &[1, 2]),
            (&[false, false], &[1, 1]),
            (&[], &[1, 1, 1]),
            (&many, &[MAX_SIDE_BY_SIDE, MAX_SIDE_BY_SIDE, 1]),
        ];
        for (reads, sizes) in rows {
            let made: Vec<ToolCall> = (0..reads.len().max(if reads.is_empty() { 3 } else { 0 }))
                .map(|i| ToolCall { id: i.to_string(), ..call("t", "{}") })
                .collect();
            let mut turns = Turns::new(BOUNDS);
            let mut action = turns.next(reading(&made, reads));
            let (mut seen, mut batches) = (Vec::new(), Vec::new());
            while let Action::Call(batch) = action {
                batches.push(batch.len());
                let outcomes = batch.iter().map(|call| Ok(ToolReport::done(call.id.clone()))).collect();
                seen.extend(batch);
                action = turns.next(Event::Called(outcomes));
            }
            assert_eq!((batches.as_slice(), seen), (sizes, made), "{reads:?}");
            assert_eq!(action, Action::Finish);
            let told: Vec<_> =
                turns.transcript()[0].calls.iter().map(|(call, report)| (&call.id, &report.content)).collect();
            assert!(told.iter().all(|(id, content)| id == content), "each call has its own outcome: {told:?}");
        }
    }

    #[test]
    fn of_several_errors_the_first_in_order_of_the_calls_ends_the_loop() {
        let mut turns = Turns::new(BOUNDS);
        turns.next(reading(&[call("a", "{}"), call("b", "{}"), call("c", "{}")], &[true; 3]));
        let failed = |code| Err(JobError::new(code, "no"));
        let outcomes =
            vec![failed(ErrorCode::InvalidPipeline), failed(ErrorCode::Timeout), failed(ErrorCode::Internal)];
        let Action::Fail(error) = turns.next(Event::Called(outcomes)) else { panic!("the loop goes on") };
        assert_eq!(error.code, ErrorCode::Timeout);
    }

    #[test]
    fn looking_something_up_ends_nothing() {
        let looked = || Ok(ToolReport { concludes: false, ..ToolReport::done("two tools") });
        let mut turns = Turns::new(BOUNDS);
        turns.next(calls(&[call("search", "{}")]));
        assert_eq!(turns.next(Event::Called(vec![looked()])), Action::Plan);
        turns.next(reading(&[call("search", "{\"q\":1}"), call("a", "{}")], &[true, true]));
        assert_eq!(turns.next(Event::Called(vec![looked(), Ok(ToolReport::done("3 rows"))])), Action::Finish);
    }

    #[test]
    fn each_bound_has_its_own_end() {
        // (error of every call, same arguments every time, planner mends, code, turns made)
        let rows = [
            (ErrorCode::InvalidPipeline, false, true, ErrorCode::LoopDetected, 3),
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
    fn the_bound_on_turns_names_its_setting_and_the_last_error() {
        let mut turns = Turns::new(Bounds { max_turns: 1, ..BOUNDS });
        turns.next(calls(&[call("a", "{}")]));
        let Action::Fail(failed) = turns.next(error(ErrorCode::InvalidPipeline)) else { panic!("it goes on") };
        assert!(failed.message.contains("llm.max_turns") && failed.message.ends_with("invalid_pipeline: no"));
        assert_eq!(
            (&failed.details["reason"], &failed.details["last_error"]["type"]),
            (&serde_json::json!("max_turns"), &serde_json::json!("invalid_pipeline"))
        );
        let mut looking = Turns::new(Bounds { max_turns: 1, ..BOUNDS });
        looking.next(calls(&[call("search", "{}")]));
        let told = Event::Called(vec![Ok(ToolReport::told("two tools"))]);
        let Action::Fail(failed) = looking.next(told) else { panic!("it goes on") };
        assert_eq!((failed.code, failed.details.contains_key("last_error")), (ErrorCode::LoopDetected, false));
    }

    #[test]
    fn the_third_time_for_the_same_call_says_why_and_what_to_do() {
        let mut turns = Turns::new(Bounds { max_turns: 9, ..BOUNDS });
        for _ in 0..2 {
            turns.next(calls(&[call("a", "{}")]));
            assert_eq!(turns.next(error(ErrorCode::InvalidPipeline)), Action::Plan);
        }
        let Action::Fail(failed) = turns.next(calls(&[call("a", "{}")])) else { panic!("it goes on") };
        assert_eq!(
            (failed.code, &failed.details["reason"]),
            (ErrorCode::LoopDetected, &serde_json::json!("same_call"))
        );
        assert_eq!(failed.details["last_error"]["type"], "invalid_pipeline");
        assert!(failed.message.contains("a with the same arguments 3 times: say"), "{failed}");
        assert!(failed.message.ends_with("the last error: invalid_pipeline: no"), "{failed}");
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
