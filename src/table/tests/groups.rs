use super::*;
use ErrorCode::{InvalidPipeline, PipelineFailed};

const SALES: &str = r#"[{"shop":"a","amount":1.10,"n":1},{"shop":null,"amount":5},{"shop":"b","amount":2.20,"n":"x"},
    {"shop":"a","amount":3},{"amount":null},{"shop":"b"}]"#;

#[test]
fn groups_come_in_order_of_first_appearance_and_null_is_one() {
    expect(&[
        (
            SALES,
            r#"[{"step":"group_by","by":["shop"],"aggregates":[{"op":"count"},{"op":"sum","field":"amount"}]}]"#,
            r#"[{"shop":"a","count":2,"sum_amount":4.1},{"shop":null,"count":2,"sum_amount":5},{"shop":"b","count":2,"sum_amount":2.2}]"#,
        ),
        (
            r#"[{"k":1},{"k":1.0},{"k":"1"},{"k":1e0},{"k":true},{"k":[1,{"a":2}]},{"k":[1.0,{"a":2.0}]}]"#,
            r#"[{"step":"groupby","by":"k","aggregates":[{"op":"count","as":"n"}]}]"#,
            r#"[{"k":1,"n":3},{"k":"1","n":1},{"k":true,"n":1},{"k":[1,{"a":2}],"n":2}]"#,
        ),
        (
            r#"[{"a":1,"b":{"c":"x"}},{"a":1,"b":{"c":"y"}},{"a":1,"b":{"c":"x"}}]"#,
            r#"[{"step":"group_by","by":["a","b.c"],"aggregates":[{"op":"count"}]}]"#,
            r#"[{"a":1,"b.c":"x","count":2},{"a":1,"b.c":"y","count":1}]"#,
        ),
        ("[]", r#"[{"step":"group_by","by":["k"],"aggregates":[{"op":"count"}]}]"#, "[]"),
        (
            r#"[{"k":"ab","l":"c"},{"k":"a","l":"bc"}]"#,
            r#"[{"step":"group_by","by":["k","l"]}]"#,
            r#"[{"k":"ab","l":"c"},{"k":"a","l":"bc"}]"#,
        ),
    ]);
}

#[test]
fn every_aggregate_over_mixed_values() {
    let values = r#"[{"v":2},{"v":null},{"v":"x"},{"v":10.50},{},{"v":2.0},{"v":"3"}]"#;
    for (op, expected) in [
        (r#"{"op":"count","as":"r"}"#, "7"),
        (r#"{"op":"count","field":"v","as":"r"}"#, "5"),
        (r#"{"op":"count_distinct","field":"v","as":"r"}"#, "4"),
        (r#"{"op":"sum","field":"v","as":"r"}"#, "14.5"),
        (r#"{"op":"avg","field":"v","as":"r"}"#, "4.833333333333333"),
        (r#"{"op":"min","field":"v","as":"r"}"#, "2"),
        (r#"{"op":"max","field":"v","as":"r"}"#, "10.50"),
        (r#"{"op":"median","field":"v","as":"r"}"#, "2.0"),
        (r#"{"op":"first","field":"v","as":"r"}"#, "2"),
        (r#"{"op":"last","field":"v","as":"r"}"#, r#""3""#),
        (r#"{"op":"collect","field":"v","as":"r"}"#, r#"[2,null,"x",10.50,null,2.0,"3"]"#),
        (r#"{"op":"sum","field":"v","cast":"number","as":"r"}"#, "17.5"),
        (r#"{"op":"median","field":"v","cast":"number","as":"r"}"#, "2.5"),
        (r#"{"op":"max","field":"v","cast":"number","as":"r"}"#, "10.50"),
        (r#"{"op":"count_distinct","field":"v","cast":"number","as":"r"}"#, "4"),
    ] {
        let steps = format!(r#"[{{"step":"aggregate","aggregates":[{op}]}}]"#);
        assert_eq!(data(values, &steps), format!(r#"[{{"r":{expected}}}]"#), "{op}");
    }
    let text = r#"[{"d":"2026-02-01"},{"d":"2025-12-31"},{"d":null}]"#;
    let steps = r#"[{"step":"aggregate","aggregates":[{"op":"min","field":"d"},{"op":"max","field":"d"}]}]"#;
    assert_eq!(data(text, steps), r#"[{"min_d":"2025-12-31","max_d":"2026-02-01"}]"#);
}

#[test]
fn aggregates_of_nothing() {
    let steps = r#"[{"step":"aggregate","aggregates":[{"op":"count"},{"op":"count","field":"v"},{"op":"sum","field":"v"},
        {"op":"avg","field":"v"},{"op":"min","field":"v"},{"op":"max","field":"v"},{"op":"median","field":"v"},
        {"op":"first","field":"v"},{"op":"last","field":"v"},{"op":"collect","field":"v"},{"op":"count_distinct","field":"v"}]}]"#;
    let expected = r#"[{"count":0,"count_v":0,"sum_v":0,"avg_v":null,"min_v":null,"max_v":null,"median_v":null,"first_v":null,"last_v":null,"collect_v":[],"count_distinct_v":0}]"#;
    assert_eq!(data("[]", steps), expected);
}

#[test]
fn sums_keep_integers_and_never_wrap() {
    let sum = r#"[{"step":"aggregate","aggregates":[{"op":"sum","field":"v","as":"s"}]}]"#;
    expect(&[
        (r#"[{"v":9007199254740993},{"v":1}]"#, sum, r#"[{"s":9007199254740994}]"#),
        (
            r#"[{"v":170141183460469231731687303715884105726},{"v":1}]"#,
            sum,
            r#"[{"s":170141183460469231731687303715884105727}]"#,
        ),
        (r#"[{"v":0.1},{"v":0.2}]"#, sum, r#"[{"s":0.3}]"#),
    ]);
    expect_errors(&[
        (
            r#"[{"v":170141183460469231731687303715884105727},{"v":1}]"#,
            sum,
            PipelineFailed,
            "step 1 aggregate: the sum of 'v' needs more than 128 bits",
        ),
        (r#"[{"v":1e400}]"#, sum, PipelineFailed, "step 1 aggregate: the sum of 'v' needs more than 128 bits"),
        (
            SALES,
            r#"[{"step":"group_by","by":["shop"],"aggregates":[{"op":"summ","field":"amount"}]}]"#,
            InvalidPipeline,
            "step 1 group_by: unknown aggregate 'summ'; did you mean 'sum'?: use one of count count_distinct sum avg min max median first last collect",
        ),
        (
            SALES,
            r#"[{"step":"group_by","by":["shop"],"aggregates":[{"op":"sum"}]}]"#,
            InvalidPipeline,
            "step 1 group_by: sum needs a field",
        ),
        (
            SALES,
            r#"[{"step":"group_by","by":[],"aggregates":[{"op":"count"}]}]"#,
            InvalidPipeline,
            "step 1 group_by: by must name at least one column; aggregate makes one row of everything",
        ),
        (
            SALES,
            r#"[{"step":"group_by","by":["shop"],"aggregates":[{"op":"count"},{"op":"count"}]}]"#,
            InvalidPipeline,
            "step 1 group_by: the result would have two columns 'count': name one of them with as",
        ),
        (
            SALES,
            r#"[{"step":"group_by","by":["shopp"],"aggregates":[{"op":"count"}]}]"#,
            InvalidPipeline,
            "step 1 group_by: no column 'shopp'; did you mean 'shop'?",
        ),
    ]);
}

#[test]
fn skipped_values_are_counted() {
    let output = pipeline(
        r#"[{"v":1},{"v":"x"},{"v":true},{"v":null}]"#,
        r#"[{"step":"aggregate","aggregates":[{"op":"sum","field":"v"},{"op":"max","field":"v"}]}]"#,
    )
    .unwrap();
    assert_eq!(output.data.as_str(), r#"[{"sum_v":1,"max_v":1}]"#);
    assert_eq!(
        output.warnings,
        [
            "step 1 aggregate: 2 values of 'v' skipped: not a number",
            "step 1 aggregate: 2 values of 'v' skipped: not a number",
        ]
    );
}
