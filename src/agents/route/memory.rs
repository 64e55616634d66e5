//! Decisions that were made before.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::record::Decision;

/// Decisions kept at most; the oldest go first.
const MAX_DECISIONS: usize = 2048;

/// Remembers decisions of one state of the registry.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    registry_hash: String,
    decisions: FxHashMap<[u8; 32], Decision>,
    ages: VecDeque<[u8; 32]>,
}

impl Memory {
    pub(super) fn get(&self, registry_hash: &str, key: &[u8; 32]) -> Option<Decision> {
        let state = self.0.lock();
        if state.registry_hash != registry_hash { None } else { state.decisions.get(key).cloned() }
    }

    pub(super) fn put(&self, registry_hash: &str, key: [u8; 32], decision: Decision) {
        let mut state = self.0.lock();
        if state.registry_hash != registry_hash {
            *state = State { registry_hash: registry_hash.to_owned(), ..State::default() };
        }
        if state.decisions.insert(key, decision).is_none() {
            state.ages.push_back(key);
        }
        while state.ages.len() > MAX_DECISIONS {
            if let Some(oldest) = state.ages.pop_front() {
                state.decisions.remove(&oldest);
            }
        }
    }
}
