use super::*;
use ErrorCode::{HttpFailed, InvalidPipeline, LimitExceeded, PipelineFailed};

#[test]
fn distinct() {
    expect(&[
        (
            r#"[{"a":1,"b":2},{"b":2.0,"a":1.0},{"a":1},{"a":"1","b":2}]"#,
            r#"[{"step":"distinct"}]"#,
            r#"[{"a":1,"b":2},{"a":1},{"a":"1","b":2}]"#,
        ),
        (
            r#"[{"a":1,"b":2},{"a":1,"b":3},{"b":4},{"a":null}]"#,
            r#"[{"step":"distinct","fields":["a"]}]"#,
            r#"[{"a":1,"b":2},{"b":4}]"#,
        ),
        (r#"[{"s":"\u00e9"},{"s":"é"}]"#, r#"[{"step":"distinct"}]"#, r#"[{"s":"\u00e9"}]"#),
    ]);
}

#[test]
fn slice_and_count() {
    let rows = r#"[{"a":1},{"a":2},{"a":3}]"#;
    expect(&[
        (rows, r#"[{"step":"slice","offset":1}]"#, r#"[{"a":2},{"a":3}]"#),
        (rows, r#"[{"step":"slice","offset":1,"limit":1}]"#, r#"[{"a":2}]"#),
        (rows, r#"[{"step":"slice","limit":0}]"#, "[]"),
        (rows, r#"[{"step":"slice","offset":9,"limit":1}]"#, "[]"),
        (
            rows,
            r#"[{"step":"table_sort","field":"a","order":"desc"},{"step":"slice","offset":1,"limit":1}]"#,
            r#"[{"a":2}]"#,
        ),
        (rows, r#"[{"step":"count"}]"#, r#"[{"count":3}]"#),
        (rows, r#"["count"]"#, r#"[{"count":3}]"#),
        (
            rows,
            r#"[{"step":"table_filter","condition":{"field":"a","op":">","value":1}},{"step":"count","as":"n"}]"#,
            r#"[{"n":2}]"#,
        ),
        ("[]", r#"[{"step":"count"}]"#, r#"[{"count":0}]"#),
        (r#"{"a":1}"#, r#"[{"step":"count"}]"#, r#"[{"count":1}]"#),
    ]);
}

#[test]
fn explode() {
    let rows = r#"[{"a":1,"l":[1.10,"x"]},{"a":2,"l":[]},{"a":3,"l":null},{"a":4},{"a":5,"l":"s"}]"#;
    expect(&[
        (rows, r#"[{"step":"explode","field":"l"}]"#, r#"[{"a":1,"l":1.10},{"a":1,"l":"x"},{"a":5,"l":"s"}]"#),
        (
            rows,
            r#"[{"step":"explode","field":"l","keep_empty":true}]"#,
            r#"[{"a":1,"l":1.10},{"a":1,"l":"x"},{"a":2,"l":null},{"a":3,"l":null},{"a":4,"l":null},{"a":5,"l":"s"}]"#,
        ),
        (
            r#"[{"o":{"l":[1,2]}}]"#,
            r#"[{"step":"explode","field":"o.l"}]"#,
            r#"[{"o":{"l":[1,2]},"o.l":1},{"o":{"l":[1,2]},"o.l":2}]"#,
        ),
    ]);
}

#[test]
fn extract() {
    expect(&[
        (r#"{"data":{"items":[{"a":1.10}]}}"#, r#"[{"step":"extract","path":"data.items"}]"#, r#"[{"a":1.10}]"#),
        (
            r#"{"data":{"items":[{"a":1}]}}"#,
            r#"[{"step":"extract","path":"$.data.items"},{"step":"table_sort","field":"a"}]"#,
            r#"[{"a":1}]"#,
        ),
        (r#"{"data":{"x":1}}"#, r#"[{"step":"extract","path":"data"}]"#, r#"{"x":1}"#),
        (
            r#"[{"l":[{"a":1}]},{"l":[{"a":2},{"a":3}]},{"l":null},{},{"l":{"a":4}}]"#,
            r#"[{"step":"extract","path":"l"}]"#,
            r#"[{"a":1},{"a":2},{"a":3},{"a":4}]"#,
        ),
        (r#"[{"l":[1]},{"l":[2]}]"#, r#"[{"step":"top_k","k":5},{"step":"extract","path":"l"}]"#, "[1,2]"),
        (r#"[{"l":[1]},{"l":[2]}]"#, r#"[{"step":"extract","path":"[1].l"}]"#, "[2]"),
    ]);
    expect_errors(&[(
        r#"{"data":1,"b":2}"#,
        r#"[{"step":"extract","path":"items"}]"#,
        PipelineFailed,
        "step 1 extract: the input has nothing at \"items\" (it has data, b)",
    )]);
    assert_eq!(HttpFailed.as_str(), "http_failed");
}

#[test]
fn jq() {
    let rows = r#"[{"a":2,"p":1.10},{"a":9007199254740993}]"#;
    expect(&[
        (rows, r#"[{"step":"jq_transform","query":"map(.a)"}]"#, "[2,9007199254740993]"),
        (
            rows,
            r#"[{"step":"jq_transform","query":".[] | {a, p}"},{"step":"table_sort","field":"a","order":"desc"}]"#,
            r#"[{"a":9007199254740993,"p":null},{"a":2,"p":1.10}]"#,
        ),
        (rows, r#"[{"step":"jq_transform","query":"length"}]"#, "2"),
        (rows, r#"[{"step":"jq_transform","query":"empty"}]"#, "[]"),
        (
            rows,
            r#"[{"step":"jq_transform","query":"{n: length, s: (map(.a) | add)}"}]"#,
            r#"{"n":2,"s":9007199254740995}"#,
        ),
        (rows, r#"[{"step":"jq_transform","query":"[.[] | select(.a > 5) | .a * 2 - 1]"}]"#, "[18014398509481985]"),
        (rows, r#"[{"step":"jq_transform","query":"[(1,2) * (10,100)]"}]"#, "[10,20,100,200]"),
        (rows, r#"[{"step":"jq_transform","query":"[limit(3; repeat(1))]"}]"#, "[1,1,1]"),
        (
            rows,
            r#"[{"step":"jq_transform","query":"map(.a += 1 | .b |= \"x\")"}]"#,
            r#"[{"a":3,"p":1.10,"b":"x"},{"a":9007199254740994,"b":"x"}]"#,
        ),
        (
            rows,
            r#"[{"step":"jq_transform","query":"def twice(f): f | f; [.[].a | twice(. + 1)]"}]"#,
            "[4,9007199254740995]",
        ),
        (rows, r#"[{"step":"jq_transform","query":"group_by(.a) | map(length)"}]"#, "[1,1]"),
        (rows, r#"[{"step":"jq_transform","query":"[.[] | try error(\"x\") catch .]"}]"#, r#"["x","x"]"#),
        (rows, r#"[{"step":"jq_transform","query":"to_entries | map(.key)"}]"#, "[0,1]"),
        (
            rows,
            r#"[{"step":"jq_transform","query":"walk(if type == \"number\" then . + 1 else . end) | map(.a)"}]"#,
            "[3,9007199254740994]",
        ),
        (rows, r#"[{"step":"jq_transform","query":"[.[] | .x?.y // \"none\"]"}]"#, r#"["none","none"]"#),
        (
            rows,
            r#"[{"step":"jq_transform","query":"reduce .[] as $r (0; . + $r.a) | [., . - 1]"}]"#,
            "[9007199254740995,9007199254740994]",
        ),
        (rows, r#"[{"step":"jq_transform","query":"del(.[].p) | map(keys)"}]"#, r#"[["a"],["a"]]"#),
        (rows, r#"[{"step":"jq_transform","query":"[paths]"}]"#, r#"[[0],[0,"a"],[0,"p"],[1],[1,"a"]]"#),
        (rows, r#"[{"step":"jq_transform","query":"[range(2;6;2), (\"a,b\" | split(\",\"))]"}]"#, r#"[2,4,["a","b"]]"#),
    ]);
}

#[test]
fn bad_jq_programs() {
    let rows = r#"[{"a":1}]"#;
    for (query, code, message) in [
        ("map(", InvalidPipeline, "the jq program cannot be read"),
        ("nope(1)", InvalidPipeline, "there is no filter nope/1"),
        ("$ENV", InvalidPipeline, "undefined"),
        ("env", InvalidPipeline, "there is no filter env/0"),
        ("halt", InvalidPipeline, "there is no filter halt/0"),
        ("input", InvalidPipeline, "there is no filter input/0"),
        ("import \"a\" as a; .", InvalidPipeline, "cannot be read"),
        ("def f: 1 + f; f", InvalidPipeline, "the definition of 'f' calls itself"),
        (".[].a.b", PipelineFailed, "the jq program failed: cannot index"),
        ("{(1|tostring): 2} | {(.[\"1\"]): 1}", PipelineFailed, ""),
    ] {
        let steps = serde_json::json!([{"step": "jq_transform", "query": query}]).to_string();
        let error = pipeline(rows, &steps).unwrap_err();
        assert_eq!(error.code, code, "{query}: {error}");
        assert!(error.to_string().contains(message), "{query}: {error}");
    }
}

#[test]
fn jq_programs_are_bounded() {
    for query in [
        "[range(1e18)]",
        "last(range(1e18))",
        "[limit(1; range(1e18) | empty)]",
        "(range(1e18) | error?) // 1",
        "[range(1e18) | try error(\"x\") catch empty]",
        "until(false; .)",
        "[recurse(. + [1])] | length",
        "last(repeat(1))",
        "\"x\" * 1000000000",
        "reduce range(100) as $i (\"x\"; . + .)",
        "reduce range(100) as $i (\"x\"; . += .)",
        "reduce range(100) as $i ([1]; . + .)",
        "reduce range(100) as $i (3; . * .)",
        "[range(20000)] | . - . | [range(20000)] | contains([range(20000)])",
    ] {
        let steps = serde_json::json!([{"step": "jq_transform", "query": query}]).to_string();
        let limits = Limits { max_rows: 10_000, max_table_bytes: 1 << 22, ..Limits::default() };
        match pipeline_with(Some("[]"), &steps, &Inputs::default(), &limits) {
            Err(error) => assert_eq!(error.code, LimitExceeded, "{query}: {error}"),
            Ok(output) => panic!("{query} gave {:?}", output.data),
        }
    }
}

#[test]
fn deep_jq_programs_are_read_or_refused() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let chain = |length: usize| format!("1{}", " + 1".repeat(length));
    let pipes = |length: usize| format!(".{}", " | .".repeat(length));
    for (query, good) in [
        (nested(100), true),
        (nested(5000), false),
        (chain(1900), true),
        (chain(4000), false),
        (pipes(1900), true),
        (pipes(4000), false),
        (format!("{}1", "-".repeat(1900)), true),
        (format!("{}. {}", "if . then ".repeat(400), "else . end".repeat(400)), false),
    ] {
        let steps = serde_json::json!([{"step": "jq_transform", "query": query}]).to_string();
        assert_eq!(pipeline("[]", &steps).is_ok(), good, "{}", &query[..20]);
    }
}

#[test]
fn text_that_a_sort_cannot_read_as_a_number_is_counted() {
    let rows = r#"[{"a":"x"},{"a":"10"},{"a":9},{"a":null},{"a":true}]"#;
    for (steps, data) in [
        (
            r#"[{"step":"table_sort","field":"a","cast":"number"}]"#,
            r#"[{"a":true},{"a":9},{"a":"10"},{"a":"x"},{"a":null}]"#,
        ),
        (r#"[{"step":"top_k","k":2,"by":"a","cast":"number"}]"#, r#"[{"a":"x"},{"a":"10"}]"#),
    ] {
        let output = pipeline(rows, steps).unwrap();
        assert_eq!(output.data.as_str(), data, "{steps}");
        assert!(
            output.warnings[0].ends_with(": 2 values of 'a' sorted by type: not a number"),
            "{:?}",
            output.warnings
        );
    }
    let quiet = pipeline(rows, r#"[{"step":"table_sort","field":"a"}]"#).unwrap();
    assert!(quiet.warnings.is_empty(), "{:?}", quiet.warnings);
}
