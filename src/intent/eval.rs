//! How well the rules do on a labelled file.

use std::{collections::BTreeMap, time::Instant};

use serde::{Deserialize, Serialize};

use super::{Facts, classify};
use crate::job::{IntentKind, in_plain_words};

/// Share of right answers that the calibrated threshold must keep.
const PRECISION: f64 = 0.98;

/// A line of the file. Other fields are ignored, but `set` may be used to choose lines.
#[derive(Deserialize)]
struct Line {
    prompt: String,
    expected: IntentKind,
    #[serde(default)]
    set: Option<String>,
}

/// One wrong answer.
#[derive(Debug, Clone, Serialize)]
pub struct Miss {
    /// The prompt.
    pub prompt: String,
    /// What the file says.
    pub expected: IntentKind,
    /// What the rules say.
    pub found: IntentKind,
    /// With this confidence.
    pub confidence: f64,
    /// And this reason.
    pub reasoning: String,
}

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Prompts judged.
    pub total: usize,
    /// Answers that were right.
    pub correct: usize,
    /// `correct / total`; 0 of an empty file.
    pub accuracy: f64,
    /// Expected lane → found lane → prompts.
    pub confusion: BTreeMap<IntentKind, BTreeMap<IntentKind, usize>>,
    /// The least confidence from which on 98 % of the decided answers (all but `unclear`) are right.
    pub calibrated_threshold: f64,
    /// Share of all prompts decided at or above that threshold.
    pub coverage: f64,
    /// Median time of one decision in microseconds.
    pub median_us: f64,
    /// What was wrong.
    pub misses: Vec<Miss>,
}

/// A line that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "line {number}: {reason}; each line must be {{\"prompt\": \"…\", \"expected\": \"execute|patch|handoff|unclear\"}}"
)]
pub struct ReadError {
    /// From 1.
    pub number: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Runs the rules over a JSON Lines text; with `set`, only over the lines whose field `set` equals it.
///
/// # Errors
/// The first line that is no labelled prompt.
pub fn evaluate(text: &str, set: Option<&str>) -> Result<Evaluation, ReadError> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| ReadError { number: at + 1, reason: in_plain_words(&error.to_string()) })?;
        if set.is_none_or(|set| line.set.as_deref() == Some(set)) {
            lines.push(line);
        }
    }
    // The lexicon is built once, outside of what is measured.
    let _ = classify("", &Facts::default());
    Ok(judge(&lines))
}

fn judge(lines: &[Line]) -> Evaluation {
    let mut confusion: BTreeMap<IntentKind, BTreeMap<IntentKind, usize>> = BTreeMap::new();
    let (mut misses, mut times, mut decided) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        let start = Instant::now();
        let found = classify(&line.prompt, &Facts::default());
        times.push(start.elapsed().as_secs_f64() * 1e6);
        *confusion.entry(line.expected).or_default().entry(found.intent).or_default() += 1;
        let right = found.intent == line.expected;
        if found.intent != IntentKind::Unclear {
            decided.push((found.confidence, right));
        }
        if !right {
            misses.push(Miss {
                prompt: line.prompt.clone(),
                expected: line.expected,
                found: found.intent,
                confidence: found.confidence,
                reasoning: found.reasoning,
            });
        }
    }
    let correct = lines.len() - misses.len();
    let calibrated_threshold = threshold(&mut decided);
    let above = decided.iter().filter(|(confidence, _)| *confidence >= calibrated_threshold).count();
    Evaluation {
        total: lines.len(),
        correct,
        accuracy: share(correct, lines.len()),
        confusion,
        calibrated_threshold,
        coverage: share(above, lines.len()),
        median_us: median(&mut times),
        misses,
    }
}

/// The least confidence such that the answers at or above it are right often enough; 1 where none is.
fn threshold(decided: &mut [(f64, bool)]) -> f64 {
    decided.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut right, mut found) = (0, 1.0);
    for (at, (confidence, is_right)) in decided.iter().enumerate() {
        right += usize::from(*is_right);
        let last_of_equals = decided.get(at + 1).is_none_or(|next| next.0 < *confidence);
        if last_of_equals && share(right, at + 1) >= PRECISION {
            found = *confidence;
        }
    }
    found
}

#[expect(clippy::cast_precision_loss, reason = "counts of lines stay far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
