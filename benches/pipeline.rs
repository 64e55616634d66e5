//! What a small job costs in the table engine: 1,000 rows, from the text of the plan to the result and its preview.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use agent_runner::{
    job::RawJson,
    table::{Body, Control, Inputs, Limits, Plan, TableError, columns, run},
};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 1000;
const ROUNDS: usize = 2000;

const JOBS: [(&str, &str); 4] = [
    ("top 10 by price", r#"[{"step":"table_sort","field":"price","order":"desc"},{"step":"top_k","k":10}]"#),
    (
        "filter, sort, top 20",
        r#"[{"step":"table_filter","condition":{"and":[{"field":"from","op":"==","value":"OSL"},{"field":"stops","op":"==","value":0}]}},
            {"step":"table_sort","field":"price"},{"step":"top_k","k":20}]"#,
    ),
    (
        "group by, two aggregates",
        r#"[{"step":"group_by","by":["airline"],"aggregates":[{"op":"avg","field":"price"},{"op":"sum","field":"duration_min"}]}]"#,
    ),
    ("sort all", r#"[{"step":"table_sort","field":"price"}]"#),
];

fn main() -> Result<(), TableError> {
    let rows = RawJson::from_trusted(flights());
    println!("{ROWS} rows, {} bytes; medians and best of {ROUNDS} rounds", rows.len());
    for (name, steps) in JOBS {
        let steps = RawJson::from_trusted(steps);
        job(&steps, &rows)?;
        let (median, best) = measured(|| job(&steps, &rows));
        println!("  {name:28} {median:>10.1?} {best:>10.1?}");
    }
    let (median, best) = measured(|| Ok(columns(&rows, ROWS)));
    println!("  {:28} {median:>10.1?} {best:>10.1?}", "columns for a planner");
    Ok(())
}

/// One job as the tool does it.
fn job(steps: &RawJson, rows: &RawJson) -> Result<usize, TableError> {
    let limits = Limits::default();
    let plan = Plan::parse(steps, &limits)?;
    plan.check(Some(rows))?;
    let body = Body::from(rows.clone());
    let output = run(&plan, Some(&body), &Inputs::default(), &limits, &Control::default())?;
    black_box(output.preview());
    Ok(output.result().len())
}

fn measured<T>(mut work: impl FnMut() -> Result<T, TableError>) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            let _ = black_box(work());
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    (times[ROUNDS / 2], times[0])
}

/// Rows like those of `benches/table/generate.py`.
fn flights() -> String {
    let airlines = ["Nordlys Air", "Skyway", "Blue Fjord", "Continental Star", "Aurora", "Iberica", "Zephyr"];
    let airports = ["OSL", "ARN", "CPH", "HEL", "LHR", "CDG", "FRA", "AMS", "JFK", "SIN", "NRT"];
    let rows: Vec<String> = (0..ROWS)
        .map(|i| {
            let scattered = i * 7919 % 10_007;
            format!(
                r#"{{"id":{},"flight":"SK{}","airline":"{}","from":"{}","to":"{}","departure":"2026-{:02}-{:02}T{:02}:{:02}:00Z","duration_min":{},"price":{}.{:02},"seats":{{"economy":{},"business":{}}},"stops":{}}}"#,
                9_007_199_254_740_993 + i,
                100 + scattered % 9900,
                airlines[scattered % airlines.len()],
                airports[scattered % airports.len()],
                airports[(scattered + 3) % airports.len()],
                1 + scattered % 12,
                1 + scattered % 28,
                scattered % 24,
                scattered % 60,
                45 + scattered % 855,
                15 + scattered % 2485,
                scattered % 100,
                scattered % 200,
                scattered % 30,
                scattered % 3,
            )
        })
        .collect();
    format!("[{}]", rows.join(","))
}
