//! The reader takes what serde_json takes, and a pipeline's result is JSON, on one thread and on several.
#![no_main]

use agent_runner::{
    job::RawJson,
    table::{Body, Control, Format, Inputs, Limits, Plan, columns_of, run},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let body = |format| Body { bytes: data.to_vec().into(), format };
    let ours = columns_of(&body(Format::Json), usize::MAX).is_ok();
    let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(data).is_ok();
    let deep = data.iter().filter(|byte| b"[{".contains(byte)).count() > 500;
    let marked = data.starts_with(b"\xEF\xBB\xBF");
    assert!(ours == theirs || deep || marked, "ours {ours}, serde_json {theirs}");

    let limits = Limits::default();
    let steps = r#"[{"step":"table_sort","field":"a"},{"step":"distinct"},{"step":"table_select","fields":["a","b.c","d[0]"]}]"#;
    let plan = Plan::parse(&RawJson::from_trusted(steps), &limits).expect("a good plan");
    for format in [Format::Auto, Format::Csv, Format::Ndjson] {
        let run_on = |threads| {
            run(&plan, Some(&body(format)), &Inputs::default(), &limits, &Control { threads, ..Control::default() })
        };
        let (alone, shared) = (run_on(1), run_on(3));
        assert_eq!(alone.is_ok(), shared.is_ok());
        if let (Ok(alone), Ok(shared)) = (alone, shared) {
            assert_eq!(alone.data, shared.data);
            serde_json::from_slice::<&serde_json::value::RawValue>(alone.data.bytes()).expect("JSON comes out");
        }
    }
});
