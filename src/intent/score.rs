//! From clauses to weighted cues.

use super::{
    class::Class, clause::clauses, cue::Cue, nouns::nouns, people::people, permanence::permanence, verbs::verb,
    words::Word,
};

const EXECUTE: usize = 0;
const PATCH: usize = 1;
const HANDOFF: usize = 2;

/// The cues found, and what they add up to per lane (execute, patch, handoff).
#[derive(Debug, Default)]
pub(super) struct Score {
    pub(super) lanes: [f32; 3],
    pub(super) cues: Vec<Cue>,
}

impl Score {
    /// Adds a cue, once.
    pub(super) fn add(&mut self, cue: Cue) {
        if self.cues.contains(&cue) {
            return;
        }
        self.cues.push(cue);
        for (sum, weight) in self.lanes.iter_mut().zip(cue.weights()) {
            *sum += weight;
        }
    }

    pub(super) fn add_if(&mut self, holds: bool, cue: Cue) {
        if holds {
            self.add(cue);
        }
    }

    /// Whether any of `cues` was found.
    pub(super) fn has(&self, cues: &[Cue]) -> bool {
        cues.iter().any(|cue| self.cues.contains(cue))
    }
}

/// Weighs a prompt.
pub(super) fn score(words: &[Word<'_>]) -> Score {
    let mut score = Score::default();
    let clauses = clauses(words);
    let event = clauses.iter().any(|clause| clause.event.is_some());
    for clause in &clauses {
        match clause.event {
            Some(event) => score.add_if(event == Class::EVERY_EVENT, Cue::EveryEvent),
            None => {
                verb(&mut score, clause, event);
                people(&mut score, clause, event);
            }
        }
    }
    permanence(&mut score, words, event);
    nouns(&mut score, &clauses, words);
    interplay(&mut score);
    score
}

/// Cues that change what others mean.
fn interplay(score: &mut Score) {
    let lasting =
        score.has(&[Cue::Permanent, Cue::Schedule, Cue::EveryEvent, Cue::EventAction, Cue::EffectAfter, Cue::Never]);
    let structural = score.has(&[Cue::EditFlow, Cue::EditNode, Cue::SetSetting, Cue::EditPlaced, Cue::WantPart]);
    if lasting {
        // A table operation that is to hold from now on belongs into the workflow.
        score.lanes[EXECUTE] *= 0.45;
        score.lanes[HANDOFF] *= 0.4;
    }
    if structural {
        // "add a step that sums the prices": what stands after the step describes it.
        score.lanes[EXECUTE] *= 0.4;
        score.lanes[HANDOFF] *= 0.4;
    }
    let free = !structural && !lasting;
    if free && score.has(&[Cue::Delegate, Cue::Involve, Cue::TalkTo, Cue::NeedPerson]) {
        score.lanes[EXECUTE] *= 0.5;
        score.lanes[PATCH] *= 0.5;
    }
    if free && score.has(&[Cue::AskVerb, Cue::Quantity]) {
        // "display the schedule": parts of a workflow may be looked at.
        score.lanes[PATCH] *= 0.5;
    }
    if score.has(&[Cue::KeepWorkflow]) {
        score.lanes[PATCH] *= 0.3;
    }
}
