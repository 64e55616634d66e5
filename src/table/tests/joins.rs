use super::*;
use ErrorCode::InvalidPipeline;

const LEFT: &str =
    r#"[{"id":1,"v":"a"},{"id":2,"v":"b"},{"id":null,"v":"c"},{"id":2.0,"v":"d"},{"v":"e"},{"id":9,"v":"f"}]"#;
const RIGHT: &str = r#"[{"id":2,"v":"x","w":1.10},{"id":1,"w":2},{"id":2,"v":"z"},{"id":null,"w":3},{"id":7,"w":4}]"#;

fn joined(parameters: &str) -> String {
    data(LEFT, &format!(r#"[{{"step":"join","right":{RIGHT},{parameters}}}]"#))
}

#[test]
fn joins() {
    let matched = r#"{"id":1,"v":"a","v_right":null,"w":2},{"id":2,"v":"b","v_right":"x","w":1.10},{"id":2,"v":"b","v_right":"z","w":null},"#;
    let fourth = r#"{"id":2.0,"v":"d","v_right":"x","w":1.10},{"id":2.0,"v":"d","v_right":"z","w":null}"#;
    let unmatched_left = [
        r#"{"id":null,"v":"c","v_right":null,"w":null},"#,
        r#",{"v":"e","v_right":null,"w":null},{"id":9,"v":"f","v_right":null,"w":null}"#,
    ];
    let unmatched_right = r#",{"id":null,"v":null,"v_right":null,"w":3},{"id":7,"v":null,"v_right":null,"w":4}"#;
    for (how, expected) in [
        ("inner", format!("[{matched}{fourth}]")),
        ("left", format!("[{matched}{}{fourth}{}]", unmatched_left[0], unmatched_left[1])),
        ("right", format!("[{matched}{fourth}{unmatched_right}]")),
        ("full", format!("[{matched}{}{fourth}{}{unmatched_right}]", unmatched_left[0], unmatched_left[1])),
        ("semi", r#"[{"id":1,"v":"a"},{"id":2,"v":"b"},{"id":2.0,"v":"d"}]"#.to_owned()),
        ("anti", r#"[{"id":null,"v":"c"},{"v":"e"},{"id":9,"v":"f"}]"#.to_owned()),
    ] {
        assert_eq!(joined(&format!(r#""on":"id","how":"{how}""#)), expected, "{how}");
    }
}

#[test]
fn keys_of_different_names_stay_both() {
    let steps =
        r#"[{"step":"join","right":[{"code":"OSL","name":"Oslo"}],"left_on":"from","right_on":"code","how":"left"}]"#;
    expect(&[
        (
            r#"[{"from":"OSL"},{"from":"ARN"},{}]"#,
            steps,
            r#"[{"from":"OSL","code":"OSL","name":"Oslo"},{"from":"ARN","code":null,"name":null},{"code":null,"name":null}]"#,
        ),
        (
            r#"[{"from":"OSL"}]"#,
            r#"[{"step":"join","right":[{"code":"X"}],"left_on":["from"],"right_on":["code"],"how":"full","suffix":"_r"}]"#,
            r#"[{"from":"OSL","code":null},{"from":null,"code":"X"}]"#,
        ),
        (
            r#"[{"a":{"k":1},"v":1,"v_r":2}]"#,
            r#"[{"step":"join","right":[{"k":1,"v":3}],"left_on":"a.k","right_on":"k","suffix":"_r"}]"#,
            r#"[{"a":{"k":1},"v":1,"v_r":2,"k":1,"v_r_r":3}]"#,
        ),
        (r#"[{"k":1}]"#, r#"[{"step":"join","right":[{"k":1}],"on":"k"}]"#, r#"[{"k":1}]"#),
        (r#"[{"k":1}]"#, r#"[{"step":"join","right":[],"on":"k","how":"left"}]"#, r#"[{"k":1}]"#),
        ("[]", r#"[{"step":"join","right":[{"k":1,"w":2}],"on":"k","how":"full"}]"#, r#"[{"k":1,"w":2}]"#),
    ]);
}

#[test]
fn the_other_side_may_be_a_pipeline_or_an_artifact() {
    let steps = r#"[{"step":"join","right":{"pipeline":[{"step":"literal","rows":[{"k":1,"w":5},{"k":2,"w":6}]},
        {"step":"table_filter","condition":{"field":"w","op":">","value":5}}]},"on":"k"},
        {"step":"union","with":{"input_ref":"artifact://a"}}]"#;
    let mut inputs = Inputs::default();
    inputs.add(0, json_body(r#"[{"z":true}]"#));
    let output = pipeline_with(Some(r#"[{"k":2},{"k":1}]"#), steps, &inputs, &Limits::default()).unwrap();
    assert_eq!(output.data.as_str(), r#"[{"k":2,"w":6},{"z":true}]"#);
    let plan = Plan::parse(&RawJson::from_trusted(steps), &Limits::default()).unwrap();
    assert!(
        matches!(plan.needs(), [Need { id: 0, kind: NeedKind::InputRef(reference), .. }] if reference == "artifact://a")
    );
}

#[test]
fn bad_joins() {
    expect_errors(&[
        (
            LEFT,
            r#"[{"step":"join","right":[{"id":1}]}]"#,
            InvalidPipeline,
            "step 1 join: name the key columns: on, or left_on and right_on together",
        ),
        (
            LEFT,
            r#"[{"step":"join","right":5,"on":"id"}]"#,
            InvalidPipeline,
            "step 1 join: right must be a list of rows, {input_ref} or {pipeline}, found 5",
        ),
        (
            LEFT,
            r#"[{"step":"join","right":[{"ix":1}],"on":"id"}]"#,
            InvalidPipeline,
            "step 1 join: on the right, no column 'id'; there are ix",
        ),
        (
            LEFT,
            r#"[{"step":"join","right":[{"id":1},2],"on":"id"}]"#,
            InvalidPipeline,
            "step 1 join: right must be a list of rows: row 2 is number, not an object",
        ),
        (
            LEFT,
            r#"[{"step":"union","with":[null]}]"#,
            InvalidPipeline,
            "step 1 union: with must be a list of rows: row 1 is null, not an object",
        ),
        (
            LEFT,
            r#"[{"step":"join","right":{"pipeline":[{"step":"top_k","k":1}]},"on":"id"}]"#,
            InvalidPipeline,
            "step 1 join: in its own pipeline, step 1 top_k: a pipeline within a step must start with http_request or literal: it has no other data",
        ),
        (
            LEFT,
            r#"[{"step":"union","with":{"pipeline":[{"step":"literal","rows":[{"a":1}]},{"step":"table_sort","field":"b"}]}}]"#,
            InvalidPipeline,
            "step 1 union: in its own pipeline, step 2 table_sort: no column 'b'; there are a",
        ),
    ]);
    let limits = Limits { max_rows: 5, ..Limits::default() };
    let many = r#"[{"k":1},{"k":1},{"k":1}]"#;
    let steps = format!(r#"[{{"step":"join","right":{many},"on":"k"}}]"#);
    let error = pipeline_with(Some(many), &steps, &Inputs::default(), &limits).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitExceeded);
}

#[test]
fn unions_go_by_name() {
    expect(&[
        (r#"[{"a":1}]"#, r#"[{"step":"union","with":[{"b":2,"a":3}]}]"#, r#"[{"a":1},{"b":2,"a":3}]"#),
        ("[]", r#"[{"step":"union","with":[]}]"#, "[]"),
    ]);
}
