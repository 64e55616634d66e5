//! No plan panics, whatever it says; one that is accepted shows a normal form that is accepted too, and what
//! it gives is JSON.
#![no_main]

use std::time::{Duration, Instant};

use agent_runner::{
    job::RawJson,
    table::{Body, Control, Inputs, Limits, Plan, run},
};
use libfuzzer_sys::fuzz_target;

const ROWS: &str = r#"[{"a":1,"b":"x","l":[1,{"c":2}],"o":{"k":1.10}},{"a":null,"b":"1"},{"b":9007199254740993,"l":[]}]"#;

fuzz_target!(|text: &str| {
    let limits = Limits { max_rows: 1000, max_table_bytes: 1 << 20, ..Limits::default() };
    let Ok(plan) = Plan::parse(&RawJson::from_trusted(text.to_owned()), &limits) else { return };
    Plan::parse(&plan.steps_json(), &limits).expect("the normal form is a plan");
    let rows = RawJson::from_trusted(ROWS);
    if !plan.needs().is_empty() || plan.check(Some(&rows)).is_err() {
        return;
    }
    let control = Control { deadline: Some(Instant::now() + Duration::from_secs(2)), ..Control::default() };
    if let Ok(output) = run(&plan, Some(&Body::from(rows)), &Inputs::default(), &limits, &control) {
        serde_json::from_slice::<&serde_json::value::RawValue>(output.data.bytes()).expect("JSON comes out");
    }
});
