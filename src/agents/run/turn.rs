//! One reply of the model with its calls: which are transfers, which are made, and what each is told.

use serde::{Deserialize, Serialize};

use super::seat::{Door, TransferWords, blurred};
use crate::{
    agents::registry::TRANSFER_PREFIX,
    llm::{Message, ToolCall},
    settings::limits::MAX_CALLS_PER_TURN,
};

/// The transfer that a turn ends with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Transfer {
    /// Where it goes.
    pub(super) door: Door,
    /// What was said with it.
    pub(super) words: TransferWords,
}

/// What a call is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    /// To be made, or made with this result.
    Tool(Option<String>),
    /// The transfer that is made.
    Transfer(Transfer),
    /// A transfer behind another one.
    Late,
    /// A transfer that cannot be made, and why.
    Refused(String),
    /// Behind the last call that is taken of one turn.
    Beyond,
}

/// The open turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn(Vec<(ToolCall, Kind)>);

impl Turn {
    /// Sorts the calls of a reply. The first transfer that can be made wins.
    pub(super) fn new(calls: Vec<ToolCall>, doors: &[Door]) -> Self {
        let mut found = false;
        let sorted = calls.into_iter().enumerate().map(|(at, call)| {
            let kind = match transfer(&call, doors) {
                _ if at >= MAX_CALLS_PER_TURN => Kind::Beyond,
                None => Kind::Tool(None),
                Some(Err(why)) => Kind::Refused(why),
                Some(Ok(_)) if found => Kind::Late,
                Some(Ok(transfer)) => {
                    found = true;
                    Kind::Transfer(transfer)
                }
            };
            (call, kind)
        });
        Self(sorted.collect())
    }

    /// The calls that count towards the bound on repeats: all but transfers that can be made.
    pub(super) fn counted(&self) -> impl Iterator<Item = &ToolCall> {
        let counts = |kind: &Kind| matches!(kind, Kind::Tool(_) | Kind::Refused(_));
        self.0.iter().filter(move |(_, kind)| counts(kind)).map(|(call, _)| call)
    }

    /// Why transfers cannot be made.
    pub(super) fn refusals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(_, kind)| match kind {
            Kind::Refused(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// The next call to make.
    pub(super) fn next_call(&self) -> Option<&ToolCall> {
        self.0.iter().find(|(_, kind)| matches!(kind, Kind::Tool(None))).map(|(call, _)| call)
    }

    /// Notes the result of that call.
    pub(super) fn answer(&mut self, content: String) {
        if let Some((_, kind)) = self.0.iter_mut().find(|(_, kind)| matches!(kind, Kind::Tool(None))) {
            *kind = Kind::Tool(Some(content));
        }
    }

    /// The transfer to make, once nothing else is left.
    pub(super) fn transfer(&self) -> Option<Transfer> {
        self.0.iter().find_map(|(_, kind)| match kind {
            Kind::Transfer(transfer) => Some(transfer.clone()),
            _ => None,
        })
    }

    /// The results of the turn, in call order. `open` is what calls are told that were not made.
    pub(super) fn results(self, open: Option<&str>) -> Vec<Message> {
        self.told(open.unwrap_or("not done"), "not done")
    }

    /// The results of a turn that ended with control at `to`.
    pub(super) fn passed(self, to: &str) -> Vec<Message> {
        self.told("not done", &format!("control is now with {to}"))
    }

    fn told(self, open: &str, transferred: &str) -> Vec<Message> {
        let message = |(call, kind): (ToolCall, Kind)| {
            let content = match kind {
                Kind::Tool(done) => done.unwrap_or_else(|| open.to_owned()),
                Kind::Transfer(_) => transferred.to_owned(),
                Kind::Late => "not done: only the first transfer of a turn is made".to_owned(),
                Kind::Refused(why) => format!("error: {why}"),
                Kind::Beyond => format!(
                    "error: not done: only the first {MAX_CALLS_PER_TURN} calls of one reply are made, ask for this one again"
                ),
            };
            Message::Tool { call_id: call.id, name: call.name, content }
        };
        self.0.into_iter().map(message).collect()
    }
}

/// Reads a call as a transfer; nothing where it is an ordinary tool's.
fn transfer(call: &ToolCall, doors: &[Door]) -> Option<Result<Transfer, String>> {
    let Some(door) = meant(&call.name, doors) else {
        if !is_transfer(&call.name) || doors.is_empty() {
            return None;
        }
        let known: Vec<String> = doors.iter().map(Door::tool).collect();
        return Some(Err(format!("there is no {:?}: call one of {} or answer", call.name, known.join(", "))));
    };
    let words = TransferWords::read(&call.arguments);
    Some(words.map(|words| Transfer { door: door.clone(), words }))
}

/// Whether a call of this name asks for a transfer, to whomever.
pub(super) fn is_transfer(name: &str) -> bool {
    spellings(name).any(|name| blurred(name).starts_with(TRANSFER_PREFIX))
}

/// A name as it was called, and without what some models put before it (`functions.`).
fn spellings(name: &str) -> impl Iterator<Item = &str> {
    [Some(name), name.rsplit_once(['.', ':', '/']).map(|(_, bare)| bare)].into_iter().flatten()
}

/// The door that `name` means: the one of that very name, else the only one that it can be, by its words or, where they are
/// not parted, by its letters.
fn meant<'a>(name: &str, doors: &'a [Door]) -> Option<&'a Door> {
    let letters = |name: &str| blurred(name).replace('_', "");
    let readings: [&dyn Fn(&str) -> String; 2] = [&blurred, &letters];
    let only = |read: &&dyn Fn(&str) -> String| {
        let mut alike = doors.iter().filter(|door| spellings(name).any(|name| read(name) == read(&door.tool())));
        alike.next().filter(|_| alike.next().is_none())
    };
    doors.iter().find(|door| door.tool() == name).or_else(|| readings.iter().find_map(only))
}
