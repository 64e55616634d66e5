//! Taint: what a run has read that strangers may have written, and that may be meant to steer it.
//!
//! A call whose result may hold such data adds its source; nothing takes one away. The gate alone sets it and judges by
//! it. Calls of the same turn were decided on before the data was read: only what a model has been told counts.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Sources that are kept by name: one is enough to taint.
const MAX_SOURCES: usize = 8;
/// Characters of a source.
const MAX_SOURCE_CHARS: usize = 120;

/// Where the outside data of a run came from; empty for a run that has read none. It only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// What the model has been told.
    seen: Vec<String>,
    /// What was read since it last spoke.
    fresh: Vec<String>,
}

impl Taint {
    /// Notes outside data from `source`, which the model is told next.
    pub fn read(&mut self, source: &str) {
        let source: String = source.chars().take(MAX_SOURCE_CHARS).collect();
        add(&mut self.fresh, source);
    }

    /// Notes everything that another run, or an earlier turn of the session, had read.
    pub fn join(&mut self, other: &Self) {
        for source in other.seen.iter().chain(&other.fresh) {
            add(&mut self.fresh, source.clone());
        }
    }

    /// The model is told of everything that was read: what it decides from here on may be steered by it.
    pub fn tell(&mut self) {
        for source in std::mem::take(&mut self.fresh) {
            add(&mut self.seen, source);
        }
    }

    /// What the model knew when it last spoke.
    #[must_use]
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// What was read since.
    #[must_use]
    pub fn fresh(&self) -> &[String] {
        &self.fresh
    }
}

fn add(sources: &mut Vec<String>, source: String) {
    if sources.len() < MAX_SOURCES && !sources.contains(&source) {
        sources.push(source);
    }
}

/// The taint around one call: what was known before it, and what it reads.
#[derive(Debug)]
pub struct Watch {
    taint: Mutex<Taint>,
    reads_only: AtomicBool,
}

impl Watch {
    /// Around a call that was decided on under `taint`.
    #[must_use]
    pub fn over(taint: Taint) -> Self {
        Self { taint: Mutex::new(taint), reads_only: AtomicBool::new(false) }
    }

    /// What the one who decided on the call had been told.
    #[must_use]
    pub fn before(&self) -> Taint {
        Taint { seen: self.taint.lock().seen.clone(), fresh: Vec::new() }
    }

    /// Notes what the call read.
    pub fn read(&self, source: &str) {
        self.taint.lock().read(source);
    }

    /// Notes what the run behind the call has read beyond what was known before it.
    pub fn join(&self, run: &Taint) {
        let mut taint = self.taint.lock();
        let known = taint.seen.clone();
        for source in run.seen.iter().chain(&run.fresh).filter(|source| !known.contains(source)) {
            add(&mut taint.fresh, source.clone());
        }
    }

    /// What has been read by now, in the open turn.
    #[must_use]
    pub fn fresh(&self) -> Vec<String> {
        self.taint.lock().fresh.clone()
    }

    /// The gate let the call pass because it only reads.
    pub(super) fn let_read(&self) {
        self.reads_only.store(true, Ordering::Relaxed);
    }

    /// Whether the call may do no more than read.
    #[must_use]
    pub fn reads_only(&self) -> bool {
        self.reads_only.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taint_only_grows_and_counts_once_the_model_is_told() {
        let mut taint = Taint::default();
        taint.read("a");
        taint.read("a");
        assert_eq!((taint.seen(), taint.fresh()), (&[][..], &["a".to_owned()][..]));
        let kept: Taint = serde_json::from_str(&serde_json::to_string(&taint).unwrap()).unwrap();
        assert_eq!(kept, taint);
        taint.tell();
        taint.tell();
        let mut next = Taint::default();
        next.join(&taint);
        next.tell();
        assert_eq!(next.seen(), ["a"]);
        for n in 0..1000 {
            next.read(&"é".repeat(n));
            next.tell();
            assert_eq!(next.seen()[0], "a");
        }
        assert_eq!(next.seen().len(), MAX_SOURCES);
        assert!(next.seen().iter().all(|source| source.chars().count() <= MAX_SOURCE_CHARS));
    }

    #[test]
    fn a_call_is_judged_by_what_was_known_before_it() {
        let mut taint = Taint::default();
        taint.read("page");
        taint.tell();
        taint.read("same turn");
        let watch = Watch::over(taint);
        assert_eq!(watch.before().seen(), ["page"]);
        assert!(watch.before().fresh().is_empty());
        let mut run = watch.before();
        run.read("other");
        watch.join(&run);
        assert_eq!(watch.fresh(), ["same turn", "other"]);
    }
}
