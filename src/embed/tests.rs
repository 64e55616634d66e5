use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use super::{
    lexical::FittedLexical,
    nearest::{MAX_EXACT, SHORTLIST},
    *,
};
use crate::{
    job::{ErrorCode, Meter},
    settings::Aggregation,
    store::MemoryStore,
};

fn profile(description: &str, examples: &[&str]) -> Profile {
    let examples = examples.iter().map(|text| (*text).to_owned()).collect();
    Profile { name: String::new(), description: description.into(), examples, tools: Vec::new() }
}

async fn scores(fitted: &dyn Fitted, text: &str) -> Result<Vec<f64>, JobError> {
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let question = fitted.question(text, &context).await?;
    Ok(fitted.scores(&question, None).into_iter().map(|(_, score)| score).collect())
}

#[test]
fn a_description_alone_is_a_cosine() {
    let fitted = FittedLexical::new(&[profile("sharpening of kitchen knives", &[]), profile("piano lessons", &[])]);
    let scores = fitted.score("sharpening of kitchen knives");
    assert!((scores[0] - 1.0).abs() < 1e-5 && scores[1].abs() < 0.3, "{scores:?}");
    assert_eq!(fitted.score(""), [0.0, 0.0]);
    assert!(fitted.score("zzz qqq").iter().all(|score| score.abs() < 1e-6));
}

#[test]
fn examples_teach_what_sets_agents_apart() {
    let fitted = FittedLexical::new(&[
        profile("helps with cards", &["my card was declined", "the card does not work", "activate my card"]),
        profile("helps with cards", &["where is my new card", "my card has not arrived", "track the card"]),
    ]);
    for (text, expected) in [("has the card arrived yet", 1), ("my card got declined again", 0)] {
        let scores = fitted.score(text);
        assert!(scores[expected] > scores[1 - expected], "{text}: {scores:?}");
    }
}

#[test]
fn related_words_meet_without_a_common_one() {
    let fitted = FittedLexical::new(&[profile("turns tables into charts", &[]), profile("reviews pull requests", &[])]);
    let scores = fitted.score("draw a histogram");
    assert!(scores[0] > scores[1] && scores[0] > 0.05, "{scores:?}");
}

#[test]
fn very_many_profiles_are_scored_as_few_are() {
    let words = ["apple", "bridge", "candle", "dragon", "engine", "forest", "guitar", "harbour", "island", "jungle"];
    let name = |i: usize| format!("{} {} {} number{i}", words[i % 10], words[i / 10 % 10], words[i / 100 % 10]);
    let profiles: Vec<Profile> = (0..2500).map(|i| profile(&name(i), &[])).collect();
    let fitted = FittedLexical::new(&profiles);
    let scores = fitted.score(&name(1234));
    assert_eq!(scores.len(), 2500);
    let best = (0..2500).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
    assert_eq!(best, 1234);
    assert!((scores[best] - 1.0).abs() < 1e-4);
}

/// Vectors from a table; other texts get the fallback. Counts the texts.
struct Table {
    rows: Vec<(&'static str, Vec<f32>)>,
    encoded: AtomicUsize,
}

#[async_trait]
impl Encoder for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn default_threshold(&self, _: bool) -> f64 {
        0.5
    }

    fn default_aggregation(&self) -> Aggregation {
        Aggregation::Auto
    }

    async fn encode(&self, texts: &[String], _: &CallContext<'_>) -> Result<Vec<Result<Vec<f32>, JobError>>, JobError> {
        self.encoded.fetch_add(texts.len(), Ordering::Relaxed);
        let one = |text: &String| {
            let row = self.rows.iter().find(|(known, _)| known == text);
            row.map(|(_, vector)| vector.clone()).ok_or_else(|| JobError::new(ErrorCode::LlmRefused, "unknown"))
        };
        Ok(texts.iter().map(one).collect())
    }
}

fn table(rows: &[(&'static str, &[f32])]) -> Arc<Table> {
    let rows = rows.iter().map(|(text, vector)| (*text, vector.to_vec())).collect();
    Arc::new(Table { rows, encoded: AtomicUsize::new(0) })
}

const ROWS: &[(&str, &[f32])] = &[
    ("about", &[1.0, 0.0]),
    ("example", &[0.0, 2.0]),
    ("other", &[-1.0, 0.0]),
    ("prompt", &[3.0, 0.0]),
    ("zero", &[0.0, 0.0]),
    ("long", &[1.0, 0.0, 0.0]),
];

#[tokio::test]
async fn vectors_become_scores_as_the_aggregate_says() {
    let half = 0.5_f64.sqrt();
    let rows = [
        (Aggregation::Centroid, [half, -1.0]),
        (Aggregation::MaxCentroid, [(1.0 + half) / 2.0, -1.0]),
        (Aggregation::Auto, [(1.0 + half) / 2.0, -1.0]),
    ];
    for (aggregation, expected) in rows {
        let dense = Dense::new(table(ROWS), aggregation, None);
        // The second agent has a description only: its score is the plain cosine, whatever the aggregate.
        let fitted = dense.fit(&[profile("about", &["example"]), profile("other", &[])]).await.unwrap();
        let found = scores(&*fitted, "prompt").await.unwrap();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{aggregation:?} {found:?}");
    }
    let hybrid = Dense::new(table(ROWS), Aggregation::Hybrid, None);
    let fitted = hybrid.fit(&[profile("about", &["example"]), profile("other", &[])]).await.unwrap();
    // Words know the first agent's example, vectors do not tell "other" from "about".
    let found = scores(&*fitted, "example").await.unwrap();
    assert!(found[0] > 0.8 && found[1] < 0.1, "{found:?}");
    let linear = Dense::new(table(ROWS), Aggregation::Linear, None);
    let fitted = linear.fit(&[profile("about", &["example"]), profile("other", &[])]).await.unwrap();
    let found = scores(&*fitted, "prompt").await.unwrap();
    assert!(found[0] > 0.5 && found[1] < 0.0, "{found:?}");
}

/// Says of every sentence but a few that it lies in one direction.
struct OneWay;

#[async_trait]
impl Encoder for OneWay {
    fn name(&self) -> &'static str {
        "one way"
    }

    fn default_threshold(&self, _: bool) -> f64 {
        0.5
    }

    fn default_aggregation(&self) -> Aggregation {
        Aggregation::Hybrid
    }

    async fn encode(&self, texts: &[String], _: &CallContext<'_>) -> Result<Vec<Result<Vec<f32>, JobError>>, JobError> {
        let one = |text: &String| match text.as_str() {
            "tinkering" => vec![0.0, 1.0],
            "prompt" => vec![0.8, 0.6],
            _ => vec![1.0, 0.0],
        };
        Ok(texts.iter().map(|text| Ok(one(text))).collect())
    }
}

#[tokio::test]
async fn what_is_near_to_everything_is_not_found_for_that() {
    let dense = Dense::new(Arc::new(OneWay), Aggregation::Auto, None);
    let fitted = dense.fit(&[profile("whatever", &[]), profile("tinkering", &[])]).await.unwrap();
    let found = scores(&*fitted, "prompt").await.unwrap();
    assert!(found[0] < fitted.default_threshold() && found[1] > fitted.default_threshold(), "{found:?}");
    // With an example, examples say what belongs to whom.
    let fitted = dense.fit(&[profile("whatever", &["anything"]), profile("tinkering", &[])]).await.unwrap();
    let found = scores(&*fitted, "prompt").await.unwrap();
    assert!(found[0] > found[1], "{found:?}");
}

#[tokio::test]
async fn only_those_asked_for_are_scored() {
    let profiles = [profile("about", &[]), profile("other", &[]), profile("prompt", &["example"])];
    let dense: Box<dyn Embedder> = Box::new(Dense::new(table(ROWS), Aggregation::Auto, None));
    for embedder in [dense, Box::new(Lexical)] {
        let fitted = embedder.fit(&profiles).await.unwrap();
        let (meter, cancel) = (Meter::default(), CancellationToken::new());
        let deadline = Instant::now() + Duration::from_secs(60);
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
        let question = fitted.question("prompt", &context).await.unwrap();
        let all = fitted.scores(&question, None);
        assert_eq!(all.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1, 2], "{}", embedder.name());
        assert_eq!(fitted.scores(&question, Some(&[0, 2])), [all[0], all[2]], "{}", embedder.name());
        assert!(fitted.scores(&question, Some(&[])).is_empty());
    }
}

/// Vectors of `dimension` numbers around `groups` middles, in pairs.
fn scattered(count: usize, dimension: usize, groups: usize) -> VectorIndex {
    let mut rng = StdRng::seed_from_u64(7);
    let mut number = || rng.random_range(-1.0_f32..1.0);
    let middles: Vec<Vec<f32>> = (0..groups).map(|_| (0..dimension).map(|_| number()).collect()).collect();
    let mut index = VectorIndex::new();
    for place in 0..count {
        let vector: Vec<f32> = middles[place / 2 % groups].iter().map(|value| value + 0.5 * number()).collect();
        index.push(&vector).unwrap();
    }
    index
}

#[tokio::test]
async fn with_very_many_vectors_only_the_nearest_agents_are_compared() {
    // Two texts each, so that they are more than are scanned although the agents are not.
    let index = scattered(MAX_EXACT + 2, 16, 40);
    let rows: Vec<(String, Vec<f32>)> =
        (0..index.len()).map(|row| (format!("text {row}"), index.row(row).to_vec())).collect();
    let profiles: Vec<Profile> = rows.chunks(2).map(|pair| profile(&pair[0].0, &[&pair[1].0])).collect();
    let dense = Dense::new(Arc::new(Known(rows.into_iter().collect())), Aggregation::MaxCentroid, None);
    let fitted = dense.fit(&profiles).await.unwrap();
    let question = Question { text: String::new(), unit: Some(index.row(4242).to_vec()) };
    let scores = fitted.scores(&question, None);
    assert_eq!(scores.len(), SHORTLIST);
    assert!(scores.is_sorted_by_key(|(place, _)| *place));
    let best = scores.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(best.0, 2121);
    // Few enough are compared in full, whoever is near.
    let few: Vec<usize> = (0..500).collect();
    assert_eq!(fitted.scores(&question, Some(&few)).len(), 500);
}

/// Vectors by text.
struct Known(rustc_hash::FxHashMap<String, Vec<f32>>);

#[async_trait]
impl Encoder for Known {
    fn name(&self) -> &'static str {
        "known"
    }

    fn default_threshold(&self, _: bool) -> f64 {
        0.3
    }

    fn default_aggregation(&self) -> Aggregation {
        Aggregation::Auto
    }

    async fn encode(&self, texts: &[String], _: &CallContext<'_>) -> Result<Vec<Result<Vec<f32>, JobError>>, JobError> {
        Ok(texts.iter().map(|text| Ok(self.0[text].clone())).collect())
    }
}

#[cfg(feature = "hnsw")]
#[test]
fn a_graph_finds_nearly_what_a_scan_finds() {
    let index = scattered(4000, 32, 100);
    let graph = Graph::build(&index, 2, || true).unwrap().unwrap();
    let some: Vec<usize> = (0..4000).filter(|place| place % 3 == 0).collect();
    for among in [None, Some(some.as_slice())] {
        let mut found = 0;
        for query in (0..4000).step_by(40) {
            let unit = index.row(query);
            let (exact, near) = (index.nearest(unit, 10, among), graph.nearest(unit, 10, among));
            assert!(near.iter().all(|place| among.is_none_or(|among| among.contains(place))));
            found += near.iter().filter(|place| exact.contains(place)).count();
        }
        assert!(found >= 950, "{found} of 1000");
    }
    assert!(Graph::build(&index, 2, || false).unwrap().is_none(), "nobody waits for it");
}

#[tokio::test]
async fn vectors_that_cannot_be_compared_are_errors_and_never_scores() {
    let dense = Dense::new(table(ROWS), Aggregation::Auto, None);
    let fitted = dense.fit(&[profile("about", &[])]).await.unwrap();
    for text in ["zero", "long"] {
        assert_eq!(scores(&*fitted, text).await.unwrap_err().code, ErrorCode::LlmBadOutput, "{text}");
    }
    // A text that cannot be embedded is left out; an agent without any other cannot be found.
    assert!(dense.fit(&[profile("about", &["never heard of"])]).await.is_ok());
    assert!(dense.fit(&[profile("never heard of", &[])]).await.is_err());
    assert!(dense.fit(&[profile("about", &["long"])]).await.is_err());
}

#[tokio::test]
async fn a_text_is_embedded_once_also_over_restarts() {
    let store = MemoryStore::new(1 << 20);
    let profiles = [profile("about", &["example", "about"]), profile("other", &["example"])];
    for expected in [3, 0] {
        let table = table(ROWS);
        let dense = Dense::new(table.clone(), Aggregation::Auto, Some(VectorCache::new(store.clone())));
        dense.fit(&profiles).await.unwrap();
        assert_eq!(table.encoded.load(Ordering::Relaxed), expected);
    }
    let table = table(ROWS);
    let dense = Dense::new(table.clone(), Aggregation::Auto, Some(VectorCache::new(store)));
    dense.fit(&[profile("about", &["prompt"])]).await.unwrap();
    assert_eq!(table.encoded.load(Ordering::Relaxed), 1, "only the changed text is embedded");
}
