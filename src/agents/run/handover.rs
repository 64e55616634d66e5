//! What goes from one agent to the next when control does, as guardrails see it.

use super::{
    AgentRun, Phase,
    seat::TransferWords,
    turn::{Transfer, is_transfer},
    view::{self, View},
};
use crate::{
    agents::registry::History,
    llm::{Message, ToolCall},
};

impl AgentRun {
    /// What the agent that is about to take over is shown beside the prompt: the words of people and agents before it,
    /// the newest first. Results of tools are not among them.
    #[must_use]
    pub fn handed_over(&self) -> Option<String> {
        let Phase::Transfer(_, Transfer { door, words }) = &self.phase else {
            return said(self.view.messages(&self.history), self.asked());
        };
        // A summary is made of what would go along without tools.
        let filter = if door.history == History::Summary { History::NoTools } else { door.history };
        let view = View::after(filter, &self.history, &self.seat.agent, words, None);
        said(view.messages(&self.history), self.asked())
    }

    /// What the agent that is about to lose control leaves to the next one: all that it has said since it took its seat,
    /// the words of its transfer included.
    #[must_use]
    pub fn left_behind(&self) -> Option<String> {
        said(self.history.get(self.seated..).unwrap_or_default().iter(), "")
    }
}

/// The words in `messages`, the newest first, without those of the `prompt`, which is checked by itself.
fn said<'a>(messages: impl DoubleEndedIterator<Item = &'a Message>, prompt: &str) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for message in messages.rev() {
        match message {
            Message::User(text) if text != prompt => parts.push(text.clone()),
            Message::Assistant { text, calls } => {
                parts.extend(calls.iter().rev().filter(|call| is_transfer(&call.name)).filter_map(words));
                parts.push(text.clone());
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// The words of a transfer; as they came where they cannot be read.
fn words(call: &ToolCall) -> Option<String> {
    match TransferWords::read(&call.arguments) {
        Ok(words) => view::said(&words),
        Err(_) => Some(call.arguments.as_str().to_owned()),
    }
}
