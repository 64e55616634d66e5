use std::time::Duration;

use super::*;

#[test]
fn rows_pass_through_as_they_came() {
    let odd = r#"[ {"b" : 1.10,"a":9007199254740993, "s":"caf\u00e9 \/"} ,{"a":-0,"e":1e400}]"#;
    expect(&[
        (
            odd,
            r#"[{"step":"table_filter","condition":{"field":"a","op":"not_null"}}]"#,
            r#"[{"b" : 1.10,"a":9007199254740993, "s":"caf\u00e9 \/"},{"a":-0,"e":1e400}]"#,
        ),
        (odd, r#"[{"step":"top_k","k":1}]"#, r#"[{"b" : 1.10,"a":9007199254740993, "s":"caf\u00e9 \/"}]"#),
        (
            odd,
            r#"[{"step":"table_sort","field":"a"}]"#,
            r#"[{"a":-0,"e":1e400},{"b" : 1.10,"a":9007199254740993, "s":"caf\u00e9 \/"}]"#,
        ),
        ("[]", r#"[{"step":"table_sort","field":"a"}]"#, "[]"),
        (r#"{"a":2}"#, r#"[{"step":"table_filter","condition":{"field":"a","op":">","value":1}}]"#, r#"[{"a":2}]"#),
        ("{\"a\":2}\n{\"a\":1}\n", r#"[{"step":"table_sort","field":"a"}]"#, r#"[{"a":1},{"a":2}]"#),
        ("a,b\n2,x\n1,y\n", r#"[{"step":"table_sort","field":"a"}]"#, r#"[{"a":1,"b":"y"},{"a":2,"b":"x"}]"#),
    ]);
}

/// Which of the rows `{"v": …}` a condition keeps.
fn kept(values: &str, condition: &str) -> String {
    let rows: Vec<String> = values.split(" ; ").map(|value| format!("{{\"v\":{value}}}")).collect();
    let input = format!("[{{\"other\":0}},{}]", rows.join(","));
    let steps = format!("[{{\"step\":\"table_filter\",\"condition\":{condition}}}]");
    let data = data(&input, &steps);
    let mut kept = Vec::new();
    read::Scanner::new(&data).array(|row| kept.push(read::found_at(row, "v").unwrap_or("missing"))).unwrap();
    kept.join(" ; ")
}

#[test]
fn conditions() {
    let mixed = r#"1 ; "1" ; null ; true ; [1] ; 2.50 ; "b""#;
    for (values, condition, expected) in [
        (mixed, r#"{"field":"v","op":"==","value":1}"#, "1"),
        (mixed, r#"{"field":"v","op":"==","value":1.0}"#, "1"),
        (mixed, r#"{"field":"v","op":"!=","value":1}"#, "2.50"),
        (mixed, r#"{"field":"v","op":"!=","value":"1"}"#, r#""b""#),
        (mixed, r#"{"field":"v","op":">=","value":1}"#, "1 ; 2.50"),
        (mixed, r#"{"field":"v","op":"<","value":"b"}"#, r#""1""#),
        (mixed, r#"{"field":"v","op":"==","value":null}"#, "missing ; null"),
        (mixed, r#"{"field":"v","op":"!=","value":null}"#, r#"1 ; "1" ; true ; [1] ; 2.50 ; "b""#),
        (mixed, r#"{"field":"v","op":"is_null"}"#, "missing ; null"),
        (mixed, r#"{"field":"v","op":"==","value":true}"#, "true"),
        (mixed, r#"{"field":"v","op":"==","value":[1.0]}"#, "[1]"),
        (mixed, r#"{"field":"v","op":"in","value":[1,"b"]}"#, r#"1 ; "b""#),
        (mixed, r#"{"field":"v","op":"in","value":[1,null]}"#, "missing ; 1 ; null"),
        (mixed, r#"{"field":"v","op":"in","value":[]}"#, ""),
        (mixed, r#"{"field":"v","op":"not_in","value":[1]}"#, "2.50"),
        (mixed, r#"{"field":"v","op":"not_in","value":[1,"b"]}"#, r#""1" ; 2.50"#),
        (mixed, r#"{"field":"v","op":"between","value":[1,2.5]}"#, "1 ; 2.50"),
        (mixed, r#"{"field":"v","op":"contains","value":1}"#, "[1]"),
        (mixed, r#"{"not":{"field":"v","op":"==","value":1}}"#, r#"missing ; "1" ; null ; true ; [1] ; 2.50 ; "b""#),
        (mixed, r#"{"and":[{"field":"v","op":">","value":0},{"field":"v","op":"<","value":2}]}"#, "1"),
        (
            mixed,
            r#"{"or":[{"field":"v","op":"==","value":"b"},{"field":"v","op":"==","value":true}]}"#,
            r#"true ; "b""#,
        ),
        (mixed, r#"{"and":[]}"#, r#"missing ; 1 ; "1" ; null ; true ; [1] ; 2.50 ; "b""#),
        (mixed, r#"{"field":"v","op":">","value":0,"cast":"number"}"#, r#"1 ; "1" ; 2.50"#),
        (
            r#"9007199254740992 ; 9007199254740993"#,
            r#"{"field":"v","op":"==","value":9007199254740993}"#,
            "9007199254740993",
        ),
        ("1e400 ; 2e400", r#"{"field":"v","op":">","value":1e400}"#, "2e400"),
        ("-0 ; 0 ; 0.0", r#"{"field":"v","op":"==","value":0}"#, "-0 ; 0 ; 0.0"),
        (
            r#""Oslo" ; "OSLO" ; "caf\u00e9""#,
            r#"{"field":"v","op":"==","value":"oslo","ignore_case":true}"#,
            r#""Oslo" ; "OSLO""#,
        ),
        (r#""Oslo" ; "OSLO" ; "caf\u00e9""#, r#"{"field":"v","op":"==","value":"café"}"#, r#""caf\u00e9""#),
        (r#""Oslo" ; "Bergen""#, r#"{"field":"v","op":"starts_with","value":"Os"}"#, r#""Oslo""#),
        (r#""Oslo" ; "Bergen""#, r#"{"field":"v","op":"ends_with","value":"EN","ignore_case":true}"#, r#""Bergen""#),
        (r#""Oslo" ; "Bergen""#, r#"{"field":"v","op":"contains","value":"erg"}"#, r#""Bergen""#),
        (r#""Oslo" ; "Bergen""#, r#"{"field":"v","op":"matches","value":"^o.*o$","ignore_case":true}"#, r#""Oslo""#),
        (r#"["a","B"] ; ["c"]"#, r#"{"field":"v","op":"contains","value":"b","ignore_case":true}"#, r#"["a","B"]"#),
        (r#"{"x":1,"y":2} ; {"x":1}"#, r#"{"field":"v","op":"==","value":{"y":2,"x":1.0}}"#, r#"{"x":1,"y":2}"#),
        (r#"{"x":1} ; {"x":5}"#, r#"{"field":"v.x","op":">","value":2}"#, r#"{"x":5}"#),
        (r#""2" ; " 10 " ; "x" ; 3"#, r#"{"field":"v","op":">","value":"2","cast":"number"}"#, r#"" 10 " ; 3"#),
    ] {
        assert_eq!(kept(values, condition), expected, "{condition}");
    }
}

#[test]
fn what_a_comparison_skipped_is_counted() {
    let output = pipeline(
        r#"[{"p":1},{"p":"2"},{"p":"x"},{"p":null},{}]"#,
        r#"[{"step":"table_filter","condition":{"field":"p","op":">","value":0}}]"#,
    )
    .unwrap();
    assert_eq!(output.warnings, ["step 1 table_filter: 2 values of 'p' skipped: not a number"]);
}

#[test]
fn sorting() {
    let mixed = r#"[{"v":"b"},{"v":2},{"v":null},{"v":{"a":1}},{"v":true},{},{"v":[2]},{"v":10},{"v":false},{"v":[1,9]},{"v":"B"}]"#;
    let names = r#"[{"n":1,"p":2},{"n":2,"p":1.0},{"n":3,"p":1},{"n":4},{"n":5,"p":"10"}]"#;
    expect(&[
        (
            mixed,
            r#"[{"step":"table_sort","field":"v"}]"#,
            r#"[{"v":false},{"v":true},{"v":2},{"v":10},{"v":"B"},{"v":"b"},{"v":[1,9]},{"v":[2]},{"v":{"a":1}},{"v":null},{}]"#,
        ),
        (
            mixed,
            r#"[{"step":"table_sort","field":"v","order":"DESC"}]"#,
            r#"[{"v":{"a":1}},{"v":[2]},{"v":[1,9]},{"v":"b"},{"v":"B"},{"v":10},{"v":2},{"v":true},{"v":false},{"v":null},{}]"#,
        ),
        (
            names,
            r#"[{"step":"table_sort","field":"p"},{"step":"table_select","fields":["n"]}]"#,
            r#"[{"n":2},{"n":3},{"n":1},{"n":5},{"n":4}]"#,
        ),
        (
            names,
            r#"[{"step":"table_sort","field":"p","order":"desc","nulls":"first"},{"step":"table_select","fields":["n"]}]"#,
            r#"[{"n":4},{"n":5},{"n":1},{"n":2},{"n":3}]"#,
        ),
        (
            names,
            r#"[{"step":"table_sort","field":"p","cast":"number","order":"desc"},{"step":"table_select","fields":["n"]}]"#,
            r#"[{"n":5},{"n":1},{"n":2},{"n":3},{"n":4}]"#,
        ),
        (
            names,
            r#"[{"step":"table_sort","by":[{"field":"p"},{"field":"n","order":"desc"}]},{"step":"table_select","fields":["n"]}]"#,
            r#"[{"n":3},{"n":2},{"n":1},{"n":5},{"n":4}]"#,
        ),
        (
            names,
            r#"[{"step":"table_sort","by":"n","order":"desc"},{"step":"top_k","k":2},{"step":"table_select","fields":["n"]}]"#,
            r#"[{"n":5},{"n":4}]"#,
        ),
        (
            r#"[{"v":9007199254740993},{"v":9007199254740992},{"v":1e400},{"v":-1e400}]"#,
            r#"[{"step":"table_sort","field":"v"}]"#,
            r#"[{"v":-1e400},{"v":9007199254740992},{"v":9007199254740993},{"v":1e400}]"#,
        ),
    ]);
}

#[test]
fn top_k() {
    let rows = r#"[{"n":1,"p":5},{"n":2},{"n":3,"p":7},{"n":4,"p":5},{"n":5,"p":null},{"n":6,"p":1}]"#;
    expect(&[
        (
            rows,
            r#"[{"step":"top_k","k":3,"by":"p"},{"step":"table_select","fields":["n"]}]"#,
            r#"[{"n":3},{"n":1},{"n":4}]"#,
        ),
        (
            rows,
            r#"[{"step":"top_k","k":3,"by":"p","order":"asc"},{"step":"table_select","fields":["n"]}]"#,
            r#"[{"n":6},{"n":1},{"n":4}]"#,
        ),
        (
            rows,
            r#"[{"step":"top_k","k":5,"by":"p"},{"step":"table_select","fields":["n"]}]"#,
            r#"[{"n":3},{"n":1},{"n":4},{"n":6},{"n":2}]"#,
        ),
        (rows, r#"[{"step":"top_k","k":2},{"step":"table_select","fields":["n"]}]"#, r#"[{"n":1},{"n":2}]"#),
        // Rows of one table need not be spaced alike.
        (r#"[{"a":1},{"a": 3},{"a" :2}]"#, r#"[{"step":"top_k","k":1,"by":"a"}]"#, r#"[{"a": 3}]"#),
        (rows, r#"[{"step":"top_k","k":2.0},{"step":"table_select","fields":["n"]}]"#, r#"[{"n":1},{"n":2}]"#),
        (rows, r#"[{"step":"slice","offset":1.0,"limit":1e0},{"step":"table_select","fields":["n"]}]"#, r#"[{"n":2}]"#),
        (rows, r#"[{"step":"top_k","k":100,"by":"n"},{"step":"top_k","k":1}]"#, r#"[{"n":6,"p":1}]"#),
    ]);
}

#[test]
fn selecting() {
    let row = r#"[{"a":1.10,"seats":{"economy":3},"legs":[{"from":"OSL"}],"x.y":7}]"#;
    expect(&[
        (row, r#"[{"step":"table_select","fields":["x.y","a","nope"]}]"#, r#"[{"x.y":7,"a":1.10,"nope":null}]"#),
        (
            row,
            r#"[{"step":"table_select","fields":["seats.economy",{"field":"legs[0].from","as":"from"}]}]"#,
            r#"[{"seats.economy":3,"from":"OSL"}]"#,
        ),
        (row, r#"[{"step":"table_select","fields":"a"}]"#, r#"[{"a":1.10}]"#),
        (row, r#"[{"table_select":{"fields":["a"]}}]"#, r#"[{"a":1.10}]"#),
        (row, r#"[{"op":"table_select","params":{"fields":["a"]}}]"#, r#"[{"a":1.10}]"#),
        (row, r#"{"pipeline":[{"name":"table_select","fields":["a"]}]}"#, r#"[{"a":1.10}]"#),
    ]);
}

#[test]
fn a_source_of_its_own() {
    let output = pipeline_with(
        None,
        r#"[{"step":"literal","rows":[{"a":1.10},{"a":2}]},{"step":"top_k","k":1,"by":"a"}]"#,
        &Inputs::default(),
        &Limits::default(),
    )
    .unwrap();
    assert_eq!(output.data.as_str(), r#"[{"a":2}]"#);
    assert_eq!(output.row_count, 1);
    let counts: Vec<_> =
        output.steps.iter().map(|stat| (stat.step, stat.rows_in.unwrap(), stat.rows_out.unwrap())).collect();
    assert_eq!(counts, [("literal", 0, 2), ("top_k", 2, 1)]);
}

#[test]
fn an_http_request_is_a_need_and_its_body_becomes_rows() {
    let steps = RawJson::from_trusted(
        r#"[{"step":"http_request","url":"https://api.example.com/x","params":{"q":9007199254740993},"rows":"data.items"},
            {"step":"table_sort","field":"a"}]"#,
    );
    let plan = Plan::parse(&steps, &Limits::default()).unwrap();
    let NeedKind::Http(need) = &plan.needs()[0].kind else { panic!("an http need") };
    assert_eq!((need.method.as_str(), need.params["q"].to_string().as_str()), ("GET", "9007199254740993"));
    let mut inputs = Inputs::default();
    inputs.add(0, json_body(r#"{"data":{"items":[{"a":2},{"a":1}]}}"#));
    inputs.add(0, json_body(r#"{"data":{"items":[{"a":0}]}}"#));
    let output = run(&plan, None, &inputs, &Limits::default(), &Control::default()).unwrap();
    assert_eq!(output.data.as_str(), r#"[{"a":0},{"a":1},{"a":2}]"#);
    let counts: Vec<_> =
        output.steps.iter().map(|stat| (stat.step, stat.rows_in.unwrap(), stat.rows_out.unwrap())).collect();
    assert_eq!(counts, [("http_request", 0, 3), ("table_sort", 3, 3)]);
}

#[test]
fn what_was_waited_for_is_the_time_of_its_step() {
    let steps = RawJson::from_trusted(
        r#"[{"step":"http_request","url":"https://a.example/x"},
            {"step":"join","on":"a","right":{"pipeline":[{"step":"http_request","url":"https://b.example/x"}]}},
            {"step":"table_sort","field":"a"}]"#,
    );
    let plan = Plan::parse(&steps, &Limits::default()).unwrap();
    let places: Vec<_> = plan.needs().iter().map(|need| (need.id, need.step_number)).collect();
    assert_eq!(places, [(0, 1), (1, 2)]);
    let mut inputs = Inputs::default();
    for ((id, step), seconds) in places.into_iter().zip([10_000, 1000]) {
        inputs.add(id, json_body(r#"[{"a":2},{"a":1}]"#));
        inputs.took(step, Duration::from_secs(seconds));
        inputs.took(step, Duration::from_secs(seconds));
    }
    let output = run(&plan, None, &inputs, &Limits::default(), &Control::default()).unwrap();
    let thousands: Vec<_> = output.steps.iter().map(|stat| (stat.duration_ms / 1e6) as u32).collect();
    assert_eq!(thousands, [20, 2, 0]);
}

#[test]
fn what_was_done_before_a_step_failed_is_told() {
    let steps = r#"[{"step":"literal","rows":[{"v":1e400},{"v":1}]},{"step":"top_k","k":1},
                    {"step":"aggregate","aggregates":[{"op":"sum","field":"v","as":"s"}]},{"step":"top_k","k":1}]"#;
    let plan = Plan::parse(&RawJson::from_trusted(steps), &Limits::default()).unwrap();
    let done = parking_lot::Mutex::new(Vec::new());
    let on_failure = |steps| *done.lock() = steps;
    let control = Control { on_failure: Some(&on_failure), ..Control::default() };
    let error = run(&plan, None, &Inputs::default(), &Limits::default(), &control).unwrap_err();
    assert_eq!(error.step_number, Some(3), "{error}");
    let done: Vec<_> = done.into_inner().iter().map(|stat| (stat.step, stat.rows_in, stat.rows_out)).collect();
    assert_eq!(done, [("literal", Some(0), Some(2)), ("top_k", Some(2), Some(1))]);
}

#[test]
fn every_step_counts_its_rows() {
    let output = pipeline(
        r#"[{"a":1},{"a":2},{"a":3},{"a":4}]"#,
        r#"[{"step":"table_filter","condition":{"field":"a","op":">","value":1}},
            {"step":"table_filter","condition":{"field":"a","op":"<","value":4}},
            {"step":"table_sort","field":"a","order":"desc"},
            {"step":"top_k","k":1},
            {"step":"table_filter","condition":{"field":"a","op":">","value":9}}]"#,
    )
    .unwrap();
    let counts: Vec<_> = output.steps.iter().map(|stat| (stat.rows_in.unwrap(), stat.rows_out.unwrap())).collect();
    assert_eq!(counts, [(4, 3), (3, 2), (2, 2), (2, 1), (1, 0)]);
    assert_eq!(output.row_count, 0);
}

#[test]
fn columns_and_preview() {
    let data = RawJson::from_trusted(r#"[{"a":1,"b":"x"},{"a":null,"b":2,"c":[1]},{"a":2.5,"d":true}]"#);
    let (columns, count) = columns(&data, 100);
    let kinds: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.kind.as_str())).collect();
    assert_eq!(kinds, [("a", "number"), ("b", "mixed"), ("c", "array"), ("d", "boolean")]);
    assert_eq!(count, 3);
    assert_eq!(columns[0].examples.iter().map(RawJson::as_str).collect::<Vec<_>>(), ["1", "2.5"]);
    let shown = serde_json::to_value(preview(&data, 3)).unwrap();
    assert_eq!(shown["columns"], serde_json::json!(["a", "b", "c", "d"]));
    assert_eq!(shown["sample"].as_array().unwrap().len(), 3);
    let object = serde_json::to_value(preview(&RawJson::from_trusted(r#"{"x":1}"#), 1)).unwrap();
    assert_eq!(object, serde_json::json!({"type": "object", "keys": ["x"]}));
}

#[test]
fn a_plan_shows_its_normal_form() {
    let limits = Limits::default();
    let steps = RawJson::from_trusted(r#"[{"top_k":{"k":1}},{"type":"top_k","args":{"k":2}}]"#);
    let plan = Plan::parse(&steps, &limits).unwrap();
    assert_eq!(plan.steps_json().as_str(), r#"[{"step":"top_k","k":1},{"step":"top_k","k":2}]"#);
    let again = Plan::parse(&plan.steps_json(), &limits).unwrap();
    assert_eq!(again.steps_json(), plan.steps_json());
}

#[test]
fn schema_and_docs_are_stable_and_name_every_step() {
    let schema = parameters_schema();
    assert_eq!(schema.to_string(), parameters_schema().to_string());
    let docs = step_docs();
    for name in step_names() {
        assert!(schema.to_string().contains(&format!("{{\"const\":\"{name}\"}}")), "{name}");
        assert!(docs.lines().any(|line| line.starts_with(&format!("{name}("))), "{name} in {docs}");
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = serde_json::json!({"pipeline": [
        {"step": "table_filter", "condition": {"and": [{"field": "a", "op": ">", "value": 1}]}},
        {"step": "table_sort", "by": [{"field": "a", "order": "desc"}]},
        {"step": "table_select", "fields": ["a", {"field": "b", "as": "c"}]}]});
    assert!(validator.is_valid(&good));
    assert!(!validator.is_valid(&serde_json::json!({"pipeline": [{"step": "nope"}]})));
}
