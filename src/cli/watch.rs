//! `run --watch`: what happens while a job runs, as lines on stderr.

use std::io::Write;

use parking_lot::Mutex;
use serde_json::Value;

use super::output::clean;
use crate::job::{Event, EventKind};

/// Shows events as they come. The words of an agent run on in one line until something else happens.
#[derive(Default)]
pub(super) struct Watch {
    /// Whether words have been written that no line break follows yet.
    in_words: Mutex<bool>,
}

impl Watch {
    /// Shows one event.
    pub(super) fn show(&self, event: &Event) {
        let mut in_words = self.in_words.lock();
        let mut out = std::io::stderr().lock();
        let data = event.data();
        let text = |key: &str| match data.get(key) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => clean(text),
            Some(other) => clean(&other.to_string()),
        };
        if event.event == EventKind::Token {
            let words = text("text");
            *in_words = *in_words || !words.is_empty();
            // A terminal that is gone is no reason to stop the job.
            let _ = write!(out, "{words}").and_then(|()| out.flush());
            return;
        }
        let Some(line) = line(event.event, text) else { return };
        if std::mem::take(&mut *in_words) {
            let _ = writeln!(out);
        }
        let _ = writeln!(out, "{line}");
    }
}

/// An event as a line; nothing for those that say nothing to a person.
fn line(kind: EventKind, text: impl Fn(&str) -> String) -> Option<String> {
    let because = |words: String| if words.is_empty() { words } else { format!(": {words}") };
    let failed = || because(text("error"));
    Some(match kind {
        EventKind::Intent => format!("· intent {}{}", text("intent"), because(text("reason"))),
        EventKind::AgentStarted => format!("▸ {}", text("agent_id")),
        EventKind::AgentCompleted => format!("◂ {}{}", text("agent_id"), failed()),
        EventKind::Handoff if text("from").is_empty() => format!("→ {}{}", text("to"), because(text("reason"))),
        EventKind::Handoff => format!("→ {} to {}{}", text("from"), text("to"), because(text("reason"))),
        EventKind::Tier if !text("to").is_empty() => {
            format!("↑ tier {} to {}{}", text("from"), text("to"), because(text("reason")))
        }
        EventKind::Tier => format!("= tier {} {}", text("tier_level"), text("decision")),
        EventKind::ToolStarted => format!("+ {}", text("tool")),
        EventKind::ToolFinished => format!("- {} {} ms{}", text("tool"), text("duration_ms"), failed()),
        EventKind::StepFinished => format!("  {} {} rows", text("step"), text("rows_out")),
        EventKind::Plan | EventKind::Token | EventKind::Queued | EventKind::Started => return None,
        EventKind::Approval | EventKind::Retry | EventKind::Completed | EventKind::Failed | EventKind::Cancelled => {
            format!("· {}", kind.as_str())
        }
    })
}
