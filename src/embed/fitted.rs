//! Scores of agents by vectors: how near a prompt is to each, and who is the likeliest.

use std::sync::Arc;

use async_trait::async_trait;
use rustc_hash::FxHashMap;

use super::{
    Aggregate, Encoder, Fitted, Profile, Question,
    index::VectorIndex,
    lexical::FittedLexical,
    nearest::{MAX_EXACT, Nearest, SHORTLIST},
    softmax::Softmax,
    texts::everyday,
};
use crate::{
    job::{ErrorCode, JobError},
    llm::CallContext,
};

/// Texts times agents up to which a classifier is trained: half a minute of one processor.
const MAX_LESSONS: usize = 3_000_000;

/// Share of words and letters in how near an agent is, where there are examples, and where there are not. These and the
/// next were chosen by cross-validation over agents' examples (`docs/benchmarks.md`).
const WORDS_SHARE: f64 = 0.2;
const WORDS_SHARE_DESCRIPTIONS: f64 = 0.41;
/// What cosine and words weigh beside the classifier when agents are put in order. The fewer texts it learned from, the
/// more the words know that it does not.
const COSINE_WEIGHT: f64 = 5.0;
const WORDS_WEIGHT_TEXTS: f64 = 1700.0;
const LEAST_WORDS_WEIGHT: f64 = 2.0;
const MOST_WORDS_WEIGHT: f64 = 15.0;
/// What an agent must be behind the likeliest in that order to score 1 less.
const SPREAD: f64 = 20.0;

/// One in so many of the sentences of every day, those nearest to a description, say what is usual for it.
const ONE_IN: usize = 5;
/// How much nearer than that a prompt has to be.
const LEAST_ABOVE_USUAL: f64 = 0.035;

/// The agents' vectors, and what was learned from them.
pub(super) struct FittedDense {
    encoder: Arc<dyn Encoder>,
    aggregate: Aggregate,
    rows: VectorIndex,
    /// By agent: its first row; the end of the last agent's beside them.
    firsts: Vec<usize>,
    nearest: Nearest,
    classifier: Option<Softmax>,
    words: Option<FittedLexical>,
    /// By agent: how near sentences of every day are to it, where only descriptions are known.
    usual: Option<Vec<f64>>,
    has_examples: bool,
}

impl FittedDense {
    /// Learns `profiles`, each with its `texts`, from the `vectors` of these and of the sentences of every day.
    pub(super) fn learn(
        encoder: Arc<dyn Encoder>,
        aggregate: Aggregate,
        profiles: &[Profile],
        texts: &[Vec<String>],
        vectors: &FxHashMap<String, Vec<f32>>,
    ) -> Result<Self, JobError> {
        let (mut rows, mut firsts, mut centroids) = (VectorIndex::new(), vec![0], VectorIndex::new());
        for (profile, texts) in profiles.iter().zip(texts) {
            let first = rows.len();
            for vector in texts.iter().filter_map(|text| vectors.get(text)) {
                rows.push(vector)?;
            }
            if rows.len() == first {
                let message = format!("no text of the agent {:?} could be embedded", profile.name);
                return Err(JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false));
            }
            centroids.push(&mean(&rows, first))?;
            firsts.push(rows.len());
        }
        let has_examples = profiles.iter().any(|profile| !profile.examples.is_empty());
        let learns = matches!(aggregate, Aggregate::Linear | Aggregate::Hybrid) && has_examples;
        let classifier = (learns && rows.len() * profiles.len() <= MAX_LESSONS).then(|| classifier(&rows, &firsts));
        // Where only the nearest are compared, words do not find anybody.
        let mixes = aggregate == Aggregate::Hybrid && rows.len() <= MAX_EXACT && !profiles.is_empty();
        let words = mixes.then(|| FittedLexical::new(profiles));
        let nearest = Nearest::over(centroids);
        let mut fitted =
            Self { encoder, aggregate, rows, firsts, nearest, classifier, words, usual: None, has_examples };
        if mixes && !has_examples {
            let everyday: Vec<Vec<f32>> = everyday()
                .filter_map(|sentence| vectors.get(sentence))
                .map(|vector| fitted.rows.unit(vector))
                .collect::<Result<_, _>>()?;
            fitted.usual = Some((0..profiles.len()).map(|agent| fitted.usual(agent, &everyday)).collect());
        }
        Ok(fitted)
    }

    /// How near those sentences are to `agent` that are nearest to it.
    fn usual(&self, agent: usize, sentences: &[Vec<f32>]) -> f64 {
        let mut near: Vec<f64> = sentences.iter().map(|sentence| self.near(agent, sentence)).collect();
        near.sort_unstable_by(|a, b| b.total_cmp(a));
        near.truncate(near.len().div_ceil(ONE_IN));
        near.iter().sum::<f64>() / near.len().max(1) as f64
    }

    /// How many vectors the agents `among` have.
    fn vectors_of(&self, among: &[usize]) -> usize {
        among.iter().map(|agent| self.firsts[agent + 1] - self.firsts[*agent]).sum()
    }

    /// The agents that are compared in full: all that may be, or, where that is too much, those with the nearest means.
    fn compared(&self, unit: &[f32], among: Option<&[usize]>) -> Vec<usize> {
        let vectors = among.map_or(self.rows.len(), |among| self.vectors_of(among));
        if vectors <= MAX_EXACT {
            return among.map_or_else(|| (0..self.firsts.len() - 1).collect(), <[usize]>::to_vec);
        }
        let mut nearest = self.nearest.places(unit, SHORTLIST, among);
        nearest.sort_unstable();
        nearest
    }

    /// The cosine with an agent's vectors, as the aggregate takes it.
    fn near(&self, agent: usize, unit: &[f32]) -> f64 {
        let centroid = self.nearest.centroids.cosine(agent, unit);
        if self.aggregate == Aggregate::Centroid {
            return centroid.into();
        }
        let rows = self.firsts[agent]..self.firsts[agent + 1];
        let best = rows.map(|row| self.rows.cosine(row, unit)).fold(-1.0, f32::max);
        f64::from(centroid + best) / 2.0
    }

    fn words_share(&self) -> f64 {
        match (&self.words, &self.usual) {
            (None, _) => 0.0,
            (Some(_), None) => WORDS_SHARE,
            (Some(_), Some(_)) => WORDS_SHARE_DESCRIPTIONS,
        }
    }

    /// What words weigh in the order of agents.
    fn words_weight(&self) -> f64 {
        (WORDS_WEIGHT_TEXTS / self.rows.len() as f64).clamp(LEAST_WORDS_WEIGHT, MOST_WORDS_WEIGHT)
    }
}

/// How one agent is compared with a prompt.
struct Compared {
    agent: usize,
    /// Its score, as near as it is.
    near: f64,
    /// How likely it is beside the others; only the order counts.
    likely: f64,
}

/// Scores in which the likeliest is first: it scores as near as it is, and who is behind it less the further behind.
fn in_order(compared: &[Compared]) -> Vec<(usize, f64)> {
    let Some(first) = compared.iter().max_by(|a, b| a.likely.total_cmp(&b.likely).then(b.agent.cmp(&a.agent))) else {
        return Vec::new();
    };
    let behind = |one: &Compared| first.near - (first.likely - one.likely) / SPREAD;
    compared.iter().map(|one| (one.agent, one.near.min(behind(one)).clamp(-1.0, 1.0))).collect()
}

/// The mean of the rows from `first` on.
fn mean(rows: &VectorIndex, first: usize) -> Vec<f32> {
    let mut sum = rows.row(first).to_vec();
    for row in first + 1..rows.len() {
        for (sum, value) in sum.iter_mut().zip(rows.row(row)) {
            *sum += value;
        }
    }
    // Opposite texts may cancel out: the first one then has to stand for all.
    if sum.iter().all(|value| value.abs() < 1e-6) { rows.row(first).to_vec() } else { sum }
}

/// What tells the owners of `rows` apart.
fn classifier(rows: &VectorIndex, firsts: &[usize]) -> Softmax {
    let vectors: Vec<&[f32]> = (0..rows.len()).map(|row| rows.row(row)).collect();
    let owners: Vec<usize> =
        firsts.windows(2).enumerate().flat_map(|(agent, rows)| std::iter::repeat_n(agent, rows[1] - rows[0])).collect();
    Softmax::train(&vectors, &owners, firsts.len() - 1)
}

#[async_trait]
impl Fitted for FittedDense {
    fn default_threshold(&self) -> f64 {
        let share = self.words_share();
        let words = self.words.as_ref().map_or(0.0, FittedLexical::default_threshold);
        let meaning = match self.usual {
            Some(_) => LEAST_ABOVE_USUAL,
            None => self.encoder.default_threshold(self.has_examples),
        };
        (1.0 - share) * meaning + share * words
    }

    async fn question(&self, text: &str, context: &CallContext<'_>) -> Result<Question, JobError> {
        // Servers refuse an empty text; it has no meaning to compare either way.
        let asked = if text.trim().is_empty() { "(nothing)" } else { text };
        let encoded = self.encoder.encode(std::slice::from_ref(&asked.to_owned()), context).await?;
        let vector = encoded
            .into_iter()
            .next()
            .ok_or_else(|| JobError::new(ErrorCode::LlmBadOutput, "the embedder gave no vector for the prompt"))??;
        Ok(Question { text: text.to_owned(), unit: Some(self.rows.unit(&vector)?) })
    }

    fn scores(&self, question: &Question, among: Option<&[usize]>) -> Vec<(usize, f64)> {
        // Words alone are no question of this embedder's: they fit nobody.
        let Some(unit) = &question.unit else { return Vec::new() };
        let learned = self.classifier.as_ref().map(|classifier| classifier.apply(unit));
        let words = self.words.as_ref().map(|words| words.score(&question.text));
        let (share, words_weight) = (self.words_share(), self.words_weight());
        let compare = |agent: usize| {
            let cosine = self.near(agent, unit) - self.usual.as_ref().map_or(0.0, |usual| usual[agent]);
            let words = words.as_ref().map_or(0.0, |words| words[agent]);
            let learned = learned.as_ref().map_or(0.0, |learned| f64::from(learned[agent]));
            Compared {
                agent,
                near: (1.0 - share) * cosine + share * words,
                likely: learned + COSINE_WEIGHT * cosine + words_weight * words,
            }
        };
        let compared: Vec<Compared> = self.compared(unit, among).into_iter().map(compare).collect();
        match self.classifier {
            Some(_) => in_order(&compared),
            None => compared.iter().map(|one| (one.agent, one.near.clamp(-1.0, 1.0))).collect(),
        }
    }

    fn vector(&self, place: usize) -> Option<&[f32]> {
        Some(self.nearest.centroids.row(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(agent: usize, near: f64, likely: f64) -> Compared {
        Compared { agent, near, likely }
    }

    #[test]
    fn the_likeliest_scores_as_near_as_it_is_and_nobody_more() {
        let rows = [
            (vec![one(0, 0.6, 1.0), one(1, 0.5, 3.0), one(2, 0.1, 2.0)], vec![(0, 0.4), (1, 0.5), (2, 0.1)]),
            // Of equally likely ones the first in the file.
            (vec![one(3, 0.2, 1.0), one(5, 0.3, 1.0)], vec![(3, 0.2), (5, 0.2)]),
            (vec![one(0, 0.5, 100.0), one(1, 0.5, 0.0)], vec![(0, 0.5), (1, -1.0)]),
            (vec![], vec![]),
        ];
        for (compared, expected) in rows {
            let found = in_order(&compared);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-9, "{found:?} {expected:?}");
            }
        }
    }
}
