//! Conversations: what was asked in a session before, and what came of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{SharedStore, StoreError, key_part};
use crate::job::RawJson;

/// Turns kept of one session; the oldest go first.
const MAX_TURNS: usize = 50;
/// Turns past that before the list is cut, so that it is not cut each time.
const SLACK: usize = 10;
/// Characters kept of a request, and of what came of it.
const MAX_CHARS: usize = 1000;
/// Characters of a request that is only summed up.
const SUMMED_CHARS: usize = 100;
/// Bytes of text per token, for the bound.
const BYTES_PER_TOKEN: usize = 4;

/// One job of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionTurn {
    /// The job, so that one delivered twice counts once.
    pub job_id: String,
    /// What was asked.
    pub request: String,
    /// The tool that was called last, with its arguments, where they are small.
    pub plan: Option<(String, RawJson)>,
    /// What came of it, in a sentence.
    pub outcome: String,
    /// Where its rows are, when it had any.
    pub rows_ref: Option<String>,
}

/// A session as a job sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Oldest first.
    pub turns: Vec<SessionTurn>,
    /// Older turns that are not shown.
    pub dropped: usize,
}

impl Session {
    /// Where the rows of the last turn that had any are.
    #[must_use]
    pub fn last_rows(&self) -> Option<&str> {
        self.turns.iter().rev().find_map(|turn| turn.rows_ref.as_deref())
    }

    /// The session within `max_tokens`: the newest turns whole, older ones only as what was asked, the oldest not
    /// at all. The same turns always give the same.
    #[must_use]
    pub fn within(mut self, max_tokens: usize) -> Self {
        let mut left = max_tokens.saturating_mul(BYTES_PER_TOKEN);
        let mut kept: Vec<SessionTurn> = Vec::new();
        let mut whole = true;
        for turn in self.turns.drain(..).rev() {
            let short = SessionTurn { request: cut(&turn.request, SUMMED_CHARS), plan: None, ..turn.clone() };
            whole = whole && size(&turn) <= left;
            let turn = if whole { turn } else { SessionTurn { outcome: String::new(), ..short } };
            match left.checked_sub(size(&turn)) {
                Some(rest) => left = rest,
                None => break,
            }
            kept.push(turn);
        }
        kept.reverse();
        Self { dropped: self.dropped, turns: kept }
    }
}

fn size(turn: &SessionTurn) -> usize {
    let plan = turn.plan.as_ref().map_or(0, |(tool, arguments)| tool.len() + arguments.len());
    turn.request.len() + turn.outcome.len() + plan + 40
}

fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Sessions in a store. A session belongs to the `workflow_owner` in whose name it was begun: the same id of
/// another owner is another session.
#[derive(Clone)]
pub struct Sessions {
    store: SharedStore,
    ttl: Duration,
}

impl Sessions {
    /// Sessions in `store`, each kept for `ttl` after its last turn.
    #[must_use]
    pub fn new(store: SharedStore, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// What was said in a session, within `max_tokens`; empty for one that is not known.
    pub async fn get(&self, owner: Option<&str>, id: &str, max_tokens: usize) -> Result<Session, StoreError> {
        let lines = self.store.list(&key(owner, id)).await?;
        let mut turns: Vec<SessionTurn> = Vec::new();
        for turn in lines.iter().filter_map(|line| serde_json::from_slice::<SessionTurn>(line).ok()) {
            turns.retain(|known| known.job_id != turn.job_id);
            turns.push(turn);
        }
        let old = turns.len().saturating_sub(MAX_TURNS);
        turns.drain(..old);
        let all = turns.len();
        let mut session = Session { turns, dropped: 0 }.within(max_tokens);
        session.dropped = all - session.turns.len();
        Ok(session)
    }

    /// Adds what a job was asked and what came of it.
    pub async fn add(&self, owner: Option<&str>, id: &str, turn: SessionTurn) -> Result<(), StoreError> {
        let key = key(owner, id);
        let turn =
            SessionTurn { request: cut(&turn.request, MAX_CHARS), outcome: cut(&turn.outcome, MAX_CHARS), ..turn };
        self.store.append(&key, RawJson::of(&turn).bytes().clone(), self.ttl).await?;
        if self.store.list(&key).await?.len() > MAX_TURNS + SLACK {
            self.store.trim(&key, MAX_TURNS).await?;
        }
        Ok(())
    }
}

fn key(owner: Option<&str>, id: &str) -> String {
    // No owner is not the owner "none": key parts of owners are never empty.
    format!("session:{}:{}", owner.map(key_part).unwrap_or_default(), key_part(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    const HOUR: Duration = Duration::from_secs(3600);

    fn turn(n: usize) -> SessionTurn {
        SessionTurn {
            job_id: format!("j{n}"),
            request: format!("request {n} {}", "x".repeat(200)),
            plan: Some(("execute_pipeline".into(), RawJson::from_trusted("{\"pipeline\":[]}"))),
            outcome: format!("{n} rows"),
            rows_ref: n.is_multiple_of(2).then(|| format!("artifact://{n}")),
        }
    }

    #[tokio::test]
    async fn a_session_is_its_owners_and_a_job_counts_once() {
        let sessions = Sessions::new(MemoryStore::new(1 << 20), HOUR);
        for n in [0, 1, 1] {
            sessions.add(Some("ann"), "s", turn(n)).await.unwrap();
        }
        let session = sessions.get(Some("ann"), "s", 1000).await.unwrap();
        assert_eq!((session.turns.len(), session.dropped, session.last_rows()), (2, 0, Some("artifact://0")));
        for (owner, id) in [(Some("bob"), "s"), (None, "s"), (Some("ann"), "t"), (Some("ann:s"), "")] {
            assert_eq!(sessions.get(owner, id, 1000).await.unwrap(), Session::default(), "{owner:?} {id}");
        }
    }

    #[tokio::test]
    async fn the_newest_turns_stay_whole_and_the_list_is_bounded() {
        let sessions = Sessions::new(MemoryStore::new(1 << 20), HOUR);
        for n in 0..70 {
            sessions.add(None, "s", turn(n)).await.unwrap();
        }
        let session = sessions.get(None, "s", 400).await.unwrap();
        assert_eq!(session, sessions.get(None, "s", 400).await.unwrap());
        let whole = session.turns.iter().filter(|turn| turn.plan.is_some()).count();
        assert!(whole >= 3 && whole < session.turns.len(), "{session:?}");
        assert_eq!(session.turns.last(), Some(&turn(69)));
        assert!(session.turns[0].request.chars().count() <= 101 && session.turns[0].outcome.is_empty());
        assert_eq!(session.turns.len() + session.dropped, 50);
        assert!(session.turns.iter().map(size).sum::<usize>() <= 1600);
        assert!(sessions.get(None, "s", 0).await.unwrap().turns.is_empty());
    }
}
