//! What a patch costs: the whole way from its text to a checked result, on a large workflow; and what a flood costs
//! before it is refused.

use std::time::{Duration, Instant};

use agent_runner::{
    job::RawJson,
    settings::Patch,
    workflow::{Mode, PatchSpec, Prepared, Refusal, Rules, Workflow, prepare},
};
use serde_json::{Value, json};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 1000;
const OPERATIONS: usize = 50;
const ROUNDS: usize = 200;

type Outcome = Result<Prepared, Refusal>;

fn main() -> Result<(), String> {
    let rules = Rules::new(&Patch::default())?;
    let workflow = large();
    let source = Workflow::from_value(workflow)?;
    let run = |patch: &RawJson| {
        PatchSpec::read(patch, rules.limits.max_operations).and_then(|spec| prepare(&source, &spec, &rules, Mode::Full))
    };
    let patch = RawJson::of(&json!({ "operations": operations(), "description": "bench" }));
    let prepared = run(&patch).map_err(|refusal| refusal.text())?;
    let median = measured(|| run(&patch));
    println!("{NODES} nodes, {OPERATIONS} operations: median {median:?} ({} changed)", prepared.effects.0.len());

    let one = r#"{"op":"test","path":"/nodes/0/id","value":"n0"}"#;
    let flood = RawJson::from_trusted(format!("[{}]", vec![one; 100_000].join(",")));
    println!("100000 operations: refused in {:?}", measured(|| run(&flood)));
    let copies: Vec<Value> = std::iter::once(json!({"op": "add", "path": "/metadata/x", "value": "x".repeat(60_000)}))
        .chain((0..90).map(|i| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/c{i}")})))
        .collect();
    let copies = RawJson::of(&json!({ "operations": copies }));
    println!("doubling copies: refused in {:?}", measured(|| run(&copies)));
    Ok(())
}

/// A chain with a conditional branch at every tenth node.
fn large() -> Value {
    let nodes: Vec<Value> = (0..NODES)
        .map(|i| match i % 10 {
            0 => json!({"id": format!("n{i}"), "type": "conditional"}),
            5 => json!({"id": format!("n{i}"), "type": "agent", "config": {"task": "look at it", "timeout_ms": 1000}}),
            _ => json!({"id": format!("n{i}"), "type": "http", "config": {"url": "https://a.example/x", "retry": {"max_attempts": 3}}}),
        })
        .collect();
    let edges: Vec<Value> = (1..NODES)
        .flat_map(|i| {
            let next = json!({"from": format!("n{}", i - 1), "to": format!("n{i}")});
            let branch = json!({"from": format!("n{}", i - 1), "to": format!("n{}", (i + 3).min(NODES - 1)), "condition": format!("output.price < {i} && output.ok")});
            if i % 10 == 1 { vec![next, branch] } else { vec![next] }
        })
        .collect();
    json!({ "nodes": nodes, "edges": edges, "metadata": {} })
}

fn operations() -> Vec<Value> {
    (0..OPERATIONS / 5)
        .flat_map(|i| {
            let (new, old) = (format!("new{i}"), format!("n{}", i * 90 + 1));
            [
                json!({"op": "add", "path": "/nodes/-", "value": {"id": new, "type": "function", "config": {}}}),
                json!({"op": "add", "path": "/edges/-", "value": {"from": old, "to": new, "condition": "output.ok"}}),
                json!({"op": "replace", "path": format!("/nodes/id:{old}/config/url"), "value": "https://b.example"}),
                json!({"op": "test", "path": format!("/nodes/id:{old}/type"), "value": "http"}),
                json!({"op": "add", "path": format!("/metadata/k{i}"), "value": [i, 1.5, null]}),
            ]
        })
        .collect()
}

/// The median of many rounds; the first few warm up.
fn measured(work: impl Fn() -> Outcome) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            let outcome = work();
            let took = started.elapsed();
            std::hint::black_box(outcome.is_ok());
            took
        })
        .skip(ROUNDS / 10)
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
