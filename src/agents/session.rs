//! Conversations with agents that go on over several jobs: who held one, and all that was said.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    job::{JobError, RawJson},
    llm::Message,
    store::{SharedStore, StoreError, key_part},
    tools::Taint,
};

/// Messages kept of one conversation; the oldest go first.
const MAX_MESSAGES: usize = 200;
/// Bytes of text kept of one conversation.
const MAX_BYTES: usize = 256 << 10;

/// A conversation as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The agent that had control last.
    pub agent: String,
    /// What was said, oldest first, without system messages.
    pub messages: Vec<Message>,
    /// What was read from outside on the way: it stays, also when the messages that held it have gone.
    #[serde(default)]
    pub taint: Taint,
}

impl Conversation {
    /// The newest part within the bounds. It begins with words of the user, so that no result of a tool stands
    /// there without its call.
    #[must_use]
    pub fn new(agent: &str, messages: &[Message]) -> Self {
        let mut bytes = 0;
        let fits = messages.iter().rev().take(MAX_MESSAGES).take_while(|message| {
            bytes += size(message);
            bytes <= MAX_BYTES
        });
        let newest = &messages[messages.len() - fits.count()..];
        let begins = newest.iter().position(|message| matches!(message, Message::User(_))).unwrap_or(newest.len());
        Self { agent: agent.to_owned(), messages: newest[begins..].to_vec(), taint: Taint::default() }
    }
}

fn size(message: &Message) -> usize {
    match message {
        Message::System(text) | Message::User(text) => text.len(),
        Message::Assistant { text, calls } => {
            text.len() + calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>()
        }
        Message::Tool { content, .. } => content.len(),
    }
}

/// Conversations in a store. One belongs to the `workflow_owner` in whose name it was begun.
#[derive(Clone)]
pub struct Conversations {
    store: SharedStore,
    ttl: Duration,
}

impl Conversations {
    /// Conversations in `store`, each kept for `ttl` after its last job.
    #[must_use]
    pub fn new(store: SharedStore, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// The conversation, where it is known.
    ///
    /// # Errors
    /// `internal` when the store fails.
    pub async fn get(&self, owner: Option<&str>, id: &str) -> Result<Option<Conversation>, JobError> {
        let kept = self.store.get(&key(owner, id)).await.map_err(failed)?;
        Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Keeps the conversation as it stands now.
    ///
    /// # Errors
    /// `internal` when the store fails.
    pub async fn put(&self, owner: Option<&str>, id: &str, conversation: &Conversation) -> Result<(), JobError> {
        let bytes = RawJson::of(conversation).bytes().clone();
        self.store.put(&key(owner, id), bytes, self.ttl).await.map_err(failed)
    }
}

fn key(owner: Option<&str>, id: &str) -> String {
    format!("agent-session:{}:{}", owner.map(key_part).unwrap_or_default(), key_part(id))
}

fn failed(error: StoreError) -> JobError {
    error.for_job("the conversation could not be read or kept")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{llm::ToolCall, store::MemoryStore};

    #[tokio::test]
    async fn a_conversation_is_its_owners_and_the_last_one_stands() {
        let kept = Conversations::new(MemoryStore::new(1 << 20), Duration::from_secs(60));
        let said = |agent: &str, text: &str| Conversation::new(agent, &[Message::User(text.into())]);
        kept.put(Some("ann"), "s", &said("triage", "one")).await.unwrap();
        kept.put(Some("ann"), "s", &said("billing", "two")).await.unwrap();
        assert_eq!(kept.get(Some("ann"), "s").await.unwrap(), Some(said("billing", "two")));
        for (owner, id) in [(Some("bob"), "s"), (None, "s"), (Some("ann"), "t")] {
            assert_eq!(kept.get(owner, id).await.unwrap(), None, "{owner:?} {id}");
        }
    }

    #[test]
    fn a_long_conversation_begins_with_words_of_the_user() {
        let call = ToolCall { id: "1".into(), name: "t".into(), arguments: RawJson::from_trusted("{}") };
        let turn = |n: usize| {
            [
                Message::User(n.to_string()),
                Message::Assistant { text: String::new(), calls: vec![call.clone()] },
                Message::Tool { call_id: "1".into(), name: "t".into(), content: "x".repeat(10) },
                Message::Assistant { text: "done".into(), calls: Vec::new() },
            ]
        };
        let all: Vec<Message> = (0..60).flat_map(turn).collect();
        let kept = Conversation::new("a", &all).messages;
        assert_eq!(kept.len(), MAX_MESSAGES);
        assert_eq!(kept[0], Message::User("10".into()));
        let cut = Conversation::new("a", &all[..all.len() - 2]).messages;
        assert!(matches!(cut[0], Message::User(_)) && cut.len() < MAX_MESSAGES);
        let large = Message::User("x".repeat(MAX_BYTES + 1));
        assert!(Conversation::new("a", &[large]).messages.is_empty());
    }
}
