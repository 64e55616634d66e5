//! The offline rules: a lane from the words of a prompt, in microseconds, without a model.

use super::{
    Facts,
    cue::Cue,
    follow::refines,
    score::{Score, score},
    words::{normalise, words},
};
use crate::job::{Intent, IntentKind, IntentSource};

/// Lanes in the order of the weights.
const LANES: [IntentKind; 3] = [IntentKind::Execute, IntentKind::Patch, IntentKind::Handoff];
/// Evidence below which nothing is decided.
const LEAST_EVIDENCE: f32 = 0.85;
/// Lead over the next lane below which nothing is decided.
const LEAST_LEAD: f32 = 0.3;
/// How often a decision with at least this strength is right: measured on the dev set.
const CALIBRATION: &[(f32, f64)] =
    &[(0.0, 0.3), (0.3, 0.5), (0.6, 0.65), (0.9, 0.78), (1.4, 0.86), (2.0, 0.92), (3.0, 0.96), (4.5, 0.99)];
/// How sure a refinement of the rows before is.
const FOLLOWS: f64 = 0.9;
/// Cues named in the reasoning.
const REASONS: usize = 3;

/// The lane a prompt asks for. Pure; looks at a bounded part of the prompt.
#[must_use]
pub fn classify(prompt: &str, facts: &Facts<'_>) -> Intent {
    let text = normalise(prompt);
    let words = words(&text, facts);
    let decided = decide(&score(&words));
    let open = matches!(decided.intent, IntentKind::Execute | IntentKind::Unclear) && decided.confidence < FOLLOWS;
    if facts.goes_on && open && refines(&words, facts.has_workflow) {
        return Intent {
            intent: IntentKind::Execute,
            confidence: FOLLOWS,
            reasoning: "a one-time data operation: the prompt goes on from the rows before it in the session.".into(),
            source: IntentSource::Rules,
        };
    }
    decided
}

fn decide(score: &Score) -> Intent {
    let mut order = [0, 1, 2];
    order.sort_by(|a, b| score.lanes[*b].total_cmp(&score.lanes[*a]));
    let (best, next) = (order[0], order[1]);
    let (evidence, rival) = (score.lanes[best], score.lanes[next].max(0.0));
    let strength = (evidence - rival).min(evidence * 0.8 + 0.3);
    if evidence < LEAST_EVIDENCE || evidence - rival < LEAST_LEAD {
        return unclear(score, best, next);
    }
    Intent {
        intent: LANES[best],
        confidence: rounded(calibrated(strength)),
        reasoning: format!("{}: the prompt has {}.", lane_words(LANES[best]), named(&score.cues, best)),
        source: IntentSource::Rules,
    }
}

fn unclear(score: &Score, best: usize, next: usize) -> Intent {
    let evidence = score.lanes[best];
    let reasoning = if score.lanes[next] > 0.0 {
        format!(
            "unclear: {} speaks for {}, but {} speaks for {}.",
            named(&score.cues, best),
            LANES[best].as_str(),
            named(&score.cues, next),
            LANES[next].as_str()
        )
    } else if evidence > 0.0 {
        format!("unclear: only {} was found, and no operation that can be carried out.", named(&score.cues, best))
    } else {
        "unclear: the prompt names neither data to work on, nor a workflow change, nor somebody to ask.".into()
    };
    // The further from a decision, the surer that there is none; never so sure that a model is not asked.
    let confidence = rounded(f64::from((0.65 - 0.3 * evidence.max(0.0)).clamp(0.2, 0.65)));
    Intent { intent: IntentKind::Unclear, confidence, reasoning, source: IntentSource::Rules }
}

/// Three digits say all that a confidence knows.
fn rounded(confidence: f64) -> f64 {
    (confidence * 1000.0).round() / 1000.0
}

/// The confidence for a strength, between the measured points.
fn calibrated(strength: f32) -> f64 {
    let mut low = CALIBRATION[0];
    for point in CALIBRATION {
        if strength < point.0 {
            let share = f64::from((strength - low.0) / (point.0 - low.0));
            return low.1 + share * (point.1 - low.1);
        }
        low = *point;
    }
    low.1
}

fn lane_words(lane: IntentKind) -> &'static str {
    match lane {
        IntentKind::Execute => "a one-time data operation",
        IntentKind::Patch => "a lasting workflow change",
        IntentKind::Handoff => "work for an agent",
        IntentKind::Unclear => "unclear",
    }
}

/// The weightiest cues for a lane, in words.
fn named(cues: &[Cue], lane: usize) -> String {
    let mut found: Vec<Cue> = cues.iter().copied().filter(|cue| cue.weights()[lane] > 0.0).collect();
    found.sort_by(|a, b| b.weights()[lane].total_cmp(&a.weights()[lane]));
    let words: Vec<&str> = found.iter().take(REASONS).map(|cue| cue.words()).collect();
    match words.split_last() {
        None => "nothing".into(),
        Some((only, [])) => (*only).into(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
