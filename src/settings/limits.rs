//! Bounds that are not settings: each protects the process, with its reason.

use std::time::Duration;

/// Characters of an error that go back to a model: enough to mend a call, too few to flood a prompt.
pub const MODEL_ERROR_CHARS: usize = 800;

/// Bytes of tool arguments kept in `metadata.tool_calls`: results stay readable, literal rows stay out.
pub const RECORDED_ARGS_BYTES: usize = 4096;

/// Longest wait for a model's limit, a server or a circuit that a job sits out in its worker's slot, in seconds: a way
/// through the queue costs less than a slot for longer than that.
pub const MAX_WAIT_IN_SLOT_SECS: u64 = 2;

/// How long after a restart of Redis, or a failover, jobs look whether a patch is there before they send it: those that
/// ran before it stand at the head of the queue, and each look costs the orchestrator a request.
pub const DOUBT_AFTER_RESTART: Duration = Duration::from_secs(600);

/// Warnings kept on one result: past that only their number grows.
pub const MAX_WARNINGS: usize = 50;

/// Tool calls taken from one reply of a model: more is a model gone wrong.
pub const MAX_CALLS_PER_TURN: usize = 32;

/// Tool calls read from one reply of a model. An agent is told that those past [`MAX_CALLS_PER_TURN`] were not made, and
/// every one that is told stays in its conversation; a reply with more than this is dropped whole.
pub const MAX_CALLS_READ: usize = 256;

/// How deep delegations of agents nest, the first one included: each level repeats the task in other words and leaves
/// less of the run's model calls to whoever does it.
pub const MAX_DELEGATION_DEPTH: u32 = 3;

/// Calls of one turn that run at the same time: each may hold a whole fetched document, and one job is not the only one.
pub const MAX_SIDE_BY_SIDE: usize = 4;

/// Bytes of one call's arguments: a plan with literal rows fits, a runaway does not.
pub const MAX_ARGUMENT_BYTES: usize = 4 << 20;

/// The same tool call with the same arguments, asked for so often, ends a loop: nothing new will come of it.
pub const MAX_REPEATS: u32 = 3;

/// Bytes of one CEL expression: chains of operators make trees as deep as they are long.
pub const MAX_EXPRESSION_BYTES: usize = 2048;

/// Brackets within brackets in one CEL expression: the parser spends up to 130 KiB of stack on each level, and a
/// stack that overflows ends the whole process.
pub const MAX_EXPRESSION_NESTING: usize = 8;

/// Why a CEL expression must not even be parsed, or nothing. Brackets in text literals and comments do not count.
#[must_use]
pub fn expression_fault(text: &str) -> Option<String> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Some(format!("an expression of {} bytes: at most {MAX_EXPRESSION_BYTES}", text.len()));
    }
    let (mut rest, mut depth, mut raw) = (text, 0_usize, false);
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' | '\'' => literal(rest, c, raw),
            '/' if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            _ => c.len_utf8(),
        };
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_EXPRESSION_NESTING {
            return Some(format!("brackets {depth} deep: at most {MAX_EXPRESSION_NESTING}, split the expression"));
        }
        raw = matches!(c, 'r' | 'R') || (raw && matches!(c, 'b' | 'B'));
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

/// Length of the text literal that `rest` begins with, three quotes included; to the end where it does not close.
fn literal(rest: &str, quote: char, raw: bool) -> usize {
    let triple: String = [quote; 3].iter().collect();
    let mark = if rest.starts_with(&triple) { triple } else { quote.to_string() };
    let mut at = mark.len();
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with(&mark) {
            return at + mark.len();
        }
        let next = here.chars().next().map_or(1, char::len_utf8);
        let escaped = !raw && here.starts_with('\\');
        at += if escaped { 1 + here[1..].chars().next().map_or(0, char::len_utf8) } else { next };
        // A plain literal does not go over a line; what follows is read as it stands.
        if mark.len() == 1 && here.starts_with(['\n', '\r']) {
            return at;
        }
    }
    rest.len()
}
