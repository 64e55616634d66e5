use super::*;
use ErrorCode::{HttpFailed, InvalidPipeline, LimitExceeded, PipelineFailed};

#[test]
fn bad_plans_say_where_and_what() {
    let rows = r#"[{"price":1,"name":"x"}]"#;
    expect_errors(&[
        (rows, "[]", InvalidPipeline, "the pipeline has no steps: give at least one"),
        (
            rows,
            r#""text""#,
            InvalidPipeline,
            "the pipeline must be a list of steps like {\"step\": \"table_sort\", \"field\": \"price\"}",
        ),
        (
            rows,
            r#"[{"step":"table_sort","field":"prise"}]"#,
            InvalidPipeline,
            "step 1 table_sort: no column 'prise'; did you mean 'price'?",
        ),
        (
            rows,
            r#"[{"step":"table_select","fields":["name"]},{"step":"top_k","k":1},{"step":"table_sort","field":"price"}]"#,
            InvalidPipeline,
            "step 3 table_sort: no column 'price'; there are name",
        ),
        (
            rows,
            r#"[{"step":"table_filter","condition":{"field":"cost","op":">","value":1}}]"#,
            InvalidPipeline,
            "step 1 table_filter: no column 'cost'; there are price, name",
        ),
    ]);
    let unknown = pipeline(rows, r#"[{"step":"sort","field":"price"}]"#).unwrap_err();
    assert!(unknown.message.starts_with("unknown step 'sort'; did you mean 'table_sort'?"), "{unknown}");
}

#[test]
fn bad_parameters_say_which_and_what() {
    let rows = r#"[{"price":1,"name":"x"}]"#;
    expect_errors(&[
        (
            rows,
            r#"[{"step":"table_sort","feild":"price"}]"#,
            InvalidPipeline,
            "step 1 table_sort: unknown parameter 'feild'; did you mean 'field'?; it takes field, order, nulls, cast, by",
        ),
        (
            rows,
            r#"[{"step":"table_sort"}]"#,
            InvalidPipeline,
            "step 1 table_sort: needs a field to sort by, or by with several",
        ),
        (
            rows,
            r#"[{"step":"table_sort","field":"price","order":"down"}]"#,
            InvalidPipeline,
            "step 1 table_sort: order: must be asc or desc, found 'down'",
        ),
        (rows, r#"[{"step":"top_k"}]"#, InvalidPipeline, "step 1 top_k: the parameter 'k' is missing"),
        (rows, r#"[{"step":"top_k","k":0}]"#, InvalidPipeline, "step 1 top_k: k must be a whole number from 1"),
        (
            rows,
            r#"[{"step":"top_k","k":"10"}]"#,
            InvalidPipeline,
            "step 1 top_k: k: must be a whole number, found \"10\"",
        ),
        (rows, r#"[{"step":"top_k","k":2.5}]"#, InvalidPipeline, "step 1 top_k: k: must be a whole number, found 2.5"),
        (rows, r#"[{"step":"top_k","k":-1}]"#, InvalidPipeline, "step 1 top_k: k: must be a whole number, found -1"),
        (
            rows,
            r#"[{"step":"top_k","k":null}]"#,
            InvalidPipeline,
            "step 1 top_k: k: must be a whole number, found null",
        ),
        (
            rows,
            r#"[{"step":"slice","limit":1e30}]"#,
            InvalidPipeline,
            "step 1 slice: limit: must be a whole number, found 1e30",
        ),
        (
            rows,
            r#"[{"step":"parse_date","field":"name","format":"%H:%M"}]"#,
            InvalidPipeline,
            "step 1 parse_date: the format \"%H:%M\" makes no date: it needs year and month, like %Y-%m-%d",
        ),
        (
            rows,
            r#"[{"field":"price"}]"#,
            InvalidPipeline,
            "step 1 ?: the step has no name: a step is an object like {\"step\": \"table_sort\", \"field\": \"price\"}",
        ),
    ]);
}

#[test]
fn bad_conditions_and_sources_say_what() {
    let rows = r#"[{"price":1,"name":"x"}]"#;
    expect_errors(&[
        (
            rows,
            r#"[{"step":"table_filter","condition":{"field":"price","op":"~","value":1}}]"#,
            InvalidPipeline,
            "step 1 table_filter: the condition on 'price' has the unknown op '~': use one of == != < <= > >= in not_in \
          between contains starts_with ends_with matches is_null not_null",
        ),
        (
            rows,
            r#"[{"step":"table_filter","condition":{"field":"price","op":"between","value":5}}]"#,
            InvalidPipeline,
            "step 1 table_filter: between on 'price' takes [low, high] as its value, found 5",
        ),
        (
            rows,
            r#"[{"step":"table_filter","condition":{"field":"name","op":"matches","value":"("}}]"#,
            InvalidPipeline,
            "step 1 table_filter: the pattern \"(\" cannot be used: unclosed group",
        ),
        (
            rows,
            r#"[{"step":"table_filter","condition":{}}]"#,
            InvalidPipeline,
            "step 1 table_filter: a condition is {field, op, value}, {and: [..]}, {or: [..]} or {not: ..}: exactly one of them",
        ),
        (
            rows,
            r#"[{"step":"table_select","fields":["a","a"]}]"#,
            InvalidPipeline,
            "step 1 table_select: the result would have two columns 'a': name one of them with as",
        ),
        (
            rows,
            r#"[{"step":"top_k","k":1},{"step":"literal","rows":[]}]"#,
            InvalidPipeline,
            "step 2 literal: literal brings its own data and must be the first step; use union or join to bring in more",
        ),
        (
            rows,
            r#"[{"step":"http_request","url":"ftp://a.b/"}]"#,
            InvalidPipeline,
            "step 1 http_request: the url must start with http:// or https://, found \"ftp://a.b/\"",
        ),
    ]);
}

#[test]
fn bad_data_says_where_and_what() {
    let sort = r#"[{"step":"table_sort","field":"a"}]"#;
    expect_errors(&[
        (
            r#"[{"a":1},3]"#,
            sort,
            PipelineFailed,
            "step 1 table_sort: row 2 is a number; table steps need rows that are objects",
        ),
        ("[[1]]", sort, PipelineFailed, "step 1 table_sort: row 1 is an array; table steps need rows that are objects"),
        (
            r#"[{"a":1},{"a":tru}]"#,
            sort,
            PipelineFailed,
            "the input is not valid JSON at line 1, column 15: expected true, false or null, found \"tru}]\"",
        ),
        (
            "[{\"a\":1},\n{\"a\":01}]",
            sort,
            PipelineFailed,
            "the input is not valid JSON at line 2, column 7: expected ',' or '}', found \"1}]\"",
        ),
        ("", sort, PipelineFailed, "the input is empty: nothing there is JSON"),
        (
            r#"[{"a":1}"#,
            sort,
            PipelineFailed,
            "the input is not valid JSON at line 1, column 9: expected ',' or ']', found the end of the text",
        ),
    ]);
}

#[test]
fn a_bad_answer_is_the_servers_fault() {
    let steps = r#"[{"step":"http_request","url":"https://api.example.com/x?key=secret","rows":"items"},{"step":"table_sort","field":"a"}]"#;
    for (body, message) in [
        (
            "<html>",
            "step 1 http_request: the answer of api.example.com is not valid JSON at line 1, column 1: expected a value, found \"<html>\"",
        ),
        (
            r#"{"data":[],"page":1}"#,
            "step 1 http_request: the answer of api.example.com has nothing at \"items\" (it has data, page)",
        ),
        ("", "step 1 http_request: the answer of api.example.com is empty: nothing there is JSON"),
    ] {
        let mut inputs = Inputs::default();
        inputs.add(0, json_body(body));
        let error = pipeline_with(None, steps, &inputs, &Limits::default()).unwrap_err();
        assert_eq!((error.code, error.to_string().as_str()), (HttpFailed, message));
        assert_eq!(error.step_number, Some(1));
    }
}

#[test]
fn limits_are_kept() {
    let limits = Limits { max_steps: 2, max_rows: 3, max_response_bytes: 20, max_table_bytes: 30 };
    let run = |input: &str, steps: &str| pipeline_with(Some(input), steps, &Inputs::default(), &limits);
    let rows = r#"[{"a":1},{"a":2},{"a":3},{"a":4}]"#;
    for (steps, message) in [
        (
            r#"[{"step":"top_k","k":1},{"step":"top_k","k":1},{"step":"top_k","k":1}]"#,
            "the pipeline has 3 steps, at most 2 are allowed (pipeline.max_steps)",
        ),
        (
            r#"[{"step":"top_k","k":1,"by":"a"}]"#,
            "step 1 top_k: more than 3 rows: filter earlier, or raise pipeline.max_rows",
        ),
        (
            r#"[{"step":"table_select","fields":[{"field":"a","as":"a long name"}]}]"#,
            "step 1 table_select: the step writes more than 30 bytes: filter or select earlier, or raise pipeline.max_response_bytes",
        ),
    ] {
        let error = run(rows, steps).unwrap_err();
        assert_eq!((error.code, error.to_string().as_str()), (LimitExceeded, message));
    }
}

#[test]
fn a_run_can_be_stopped() {
    let plan =
        Plan::parse(&RawJson::from_trusted(r#"[{"step":"table_sort","field":"a"}]"#), &Limits::default()).unwrap();
    let body = json_body(r#"[{"a":1}]"#);
    let stop = |control| run(&plan, Some(&body), &Inputs::default(), &Limits::default(), &control).unwrap_err().code;
    assert_eq!(stop(Control { cancelled: &|| true, ..Control::default() }), ErrorCode::Cancelled);
    let late = Control { deadline: Some(std::time::Instant::now()), ..Control::default() };
    assert_eq!(stop(late), ErrorCode::Timeout);
}

#[test]
fn an_error_carries_its_place_into_the_result() {
    let error = pipeline(r#"[{"price":1}]"#, r#"[{"step":"table_sort","field":"prise"}]"#).unwrap_err();
    let job = crate::job::JobError::from(error);
    assert_eq!(job.step.as_deref(), Some("table_sort"));
    assert_eq!(serde_json::json!(job.details)["step_number"], 1);
    assert_eq!(serde_json::json!(job.details)["field"], "prise");
}

#[test]
fn a_column_that_may_still_come_is_only_warned_about() {
    let mut rows: Vec<String> =
        (0..90_000).map(|i| format!(r#"{{"price":{i},"note":"a text that fills the row up"}}"#)).collect();
    rows.push(r#"{"rare":1}"#.into());
    let large = RawJson::from_trusted(format!("[{}]", rows.join(",")));
    let plan = |steps: &str| Plan::parse(&RawJson::from_trusted(steps.to_owned()), &Limits::default()).unwrap();
    let rare = plan(r#"[{"step":"table_sort","field":"rare"}]"#);
    let warnings = rare.check(Some(&large)).unwrap();
    assert_eq!(warnings, ["step 1 table_sort: no column 'rare'; there are price, note (in the first 1000 rows)"]);
    let run = |plan: &Plan, threads| {
        let control = Control { threads, ..Control::default() };
        run(plan, Some(&large.clone().into()), &Inputs::default(), &Limits::default(), &control).unwrap()
    };
    assert!(run(&rare, 2).warnings.is_empty());
    let none = plan(r#"[{"step":"table_sort","field":"prise"},{"step":"top_k","k":1}]"#);
    assert_eq!(run(&none, 2).warnings, ["step 1 table_sort: no column 'prise'; did you mean 'price'?"]);
}
