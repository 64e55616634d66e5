//! What routing costs: a lexical route among 150 agents, an exact scan of 50,000 vectors, and with the feature `hnsw` a
//! query to a graph over very many: `cargo bench --features hnsw --bench routing -- 1000000` (a quarter of an hour on two
//! processors; 100,000 where no number is given).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    agents::{Registry, RouteOptions, RouteRequest, Router},
    embed::{Lexical, VectorIndex},
    job::Meter,
    llm::CallContext,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

const AGENTS: usize = 150;
const EXAMPLES: usize = 10;
const PROMPTS: usize = 2000;
const VECTORS: usize = 50_000;
const DIMENSION: usize = 384;
const SCANS: usize = 50;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(lexical());
    scan();
    #[cfg(feature = "hnsw")]
    {
        let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
        graph::measure(number.unwrap_or(100_000));
    }
}

/// A sentence of ten words, of which half belong to the agent.
fn sentence(rng: &mut StdRng, agent: usize) -> String {
    let mut text = String::new();
    for place in 0..10 {
        let word = if place % 2 == 0 { 1000 + agent * 12 + rng.random_range(0..12) } else { rng.random_range(0..400) };
        // Words of six letters, made from their number.
        let letters = (0..6).map(|i| char::from(b'a' + u8::try_from((word >> i) * 7 % 26).unwrap()));
        let _ = write!(text, "{}{} ", letters.collect::<String>(), word % 10);
    }
    text
}

async fn lexical() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut yaml = String::from("agents:\n");
    for agent in 0..AGENTS {
        let _ = writeln!(yaml, "- id: agent-{agent}\n  tags: [tag-{agent}, group-{}]\n  examples:", agent % 10);
        for _ in 0..EXAMPLES {
            let _ = writeln!(yaml, "  - {}", sentence(&mut rng, agent));
        }
    }
    let registry = Arc::new(Registry::parse(&yaml, &Vec::new()).unwrap());
    let router = Router::new(Arc::new(Lexical), None, RouteOptions { show_top_n: 5, ..RouteOptions::default() });
    let started = Instant::now();
    router.prepare(&registry).await.unwrap();
    println!("learning {AGENTS} agents with {EXAMPLES} examples each: {:?}", started.elapsed());

    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(600);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let mut right = 0;
    let mut times: Vec<Duration> = Vec::with_capacity(PROMPTS);
    for prompt in 0..PROMPTS {
        let agent = prompt % AGENTS;
        let text = sentence(&mut rng, agent);
        let started = Instant::now();
        let decision = router.route(&registry, &text, &RouteRequest::default(), &context, None).await.unwrap();
        times.push(started.elapsed());
        right += usize::from(decision.winner() == Some(&format!("agent-{agent}")));
    }
    let share = 100.0 * right as f64 / PROMPTS as f64;
    println!(
        "lexical route among {AGENTS}: median {:?}, p99 {:?} ({share:.0} % right)",
        at(&mut times, 50),
        at(&mut times, 99)
    );
}

fn scan() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut vector = || (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
    let mut index = VectorIndex::new();
    for _ in 0..VECTORS {
        index.push(&vector()).unwrap();
    }
    let queries: Vec<Vec<f32>> = (0..SCANS).map(|_| index.unit(&vector()).unwrap()).collect();
    let mut times: Vec<Duration> = queries
        .iter()
        .map(|query| {
            let started = Instant::now();
            std::hint::black_box(index.cosines(query).fold(-1.0, f32::max));
            started.elapsed()
        })
        .collect();
    println!("exact scan of {VECTORS} x {DIMENSION}: fastest {:?}, median {:?}", at(&mut times, 0), at(&mut times, 50));
}

fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

#[cfg(feature = "hnsw")]
mod graph {
    use agent_runner::embed::{Graph, Index, processors};

    use super::{DIMENSION, Duration, Instant, RngExt, SeedableRng, StdRng, VectorIndex, at};

    /// Vectors of texts fill few of their dimensions and lie in groups: so many of each here.
    const DIRECTIONS: usize = 32;
    const GROUPS: usize = 1000;
    const QUERIES: usize = 200;
    const NEAREST: usize = 10;

    /// Makes vectors like those of texts: around the middles of groups, in few directions, with noise in all.
    struct Texts {
        rng: StdRng,
        directions: Vec<f32>,
        middles: Vec<f32>,
    }

    impl Texts {
        fn new() -> Self {
            let mut texts = Self { rng: StdRng::seed_from_u64(7), directions: Vec::new(), middles: Vec::new() };
            texts.directions = (0..DIMENSION * DIRECTIONS).map(|_| texts.number()).collect();
            texts.middles = (0..GROUPS * DIRECTIONS).map(|_| texts.number()).collect();
            texts
        }

        /// Nearly normal, around 0.
        fn number(&mut self) -> f32 {
            (0..4).map(|_| self.rng.random_range(-1.0_f32..1.0)).sum()
        }

        fn vector(&mut self) -> Vec<f32> {
            let group = self.rng.random_range(0..GROUPS) * DIRECTIONS;
            let place: Vec<f32> = (group..group + DIRECTIONS).map(|i| self.middles[i] + 0.6 * self.number()).collect();
            (0..DIMENSION)
                .map(|row| {
                    let along = &self.directions[row * DIRECTIONS..(row + 1) * DIRECTIONS];
                    along.iter().zip(&place).map(|(a, b)| a * b).sum::<f32>() + 0.3 * self.number()
                })
                .collect()
        }
    }

    pub fn measure(count: usize) {
        let mut texts = Texts::new();
        let mut index = VectorIndex::new();
        for _ in 0..count {
            index.push(&texts.vector()).unwrap();
        }
        let started = Instant::now();
        let threads = processors();
        let graph = Graph::build(&index, threads, || true).unwrap().unwrap();
        println!("graph over {count} x {DIMENSION}: built by {threads} threads in {:?}", started.elapsed());
        let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| index.unit(&texts.vector()).unwrap()).collect();
        let (mut exact, mut times): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
        let mut found = 0;
        for query in &queries {
            let started = Instant::now();
            let nearest = graph.nearest(query, NEAREST, None);
            times.push(started.elapsed());
            let started = Instant::now();
            let truth = index.nearest(query, NEAREST, None);
            exact.push(started.elapsed());
            found += nearest.iter().filter(|place| truth.contains(place)).count();
        }
        let recall = found as f64 / (QUERIES * NEAREST) as f64;
        println!(
            "graph query: median {:?}, p99 {:?}, recall@{NEAREST} {recall:.3}; exact scan: median {:?}",
            at(&mut times, 50),
            at(&mut times, 99),
            at(&mut exact, 50)
        );
    }
}
