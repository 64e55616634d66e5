use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

#[test]
fn the_documentation_has_the_table_of_the_schema() {
    let docs = include_str!("../../docs/workflow.md");
    let table = Schema::new(&BTreeMap::new()).unwrap().markdown();
    assert!(docs.contains(&table), "docs/workflow.md must hold this table:\n{table}");
}

#[test]
fn the_prompt_names_every_type_and_stays_the_same() {
    let first = prompt_text(&crate::settings::Patch::default());
    let schema = Schema::new(&BTreeMap::new()).unwrap();
    assert_eq!(first, schema.prompt_text());
    for name in
        ["function", "http", "agent", "hitl", "conditional", "loop", "parallel", "transform", "aggregate", "filter"]
    {
        assert!(first.contains(&format!("\n- {name}: ")), "{name}");
        assert!(schema.tool_parameters().to_string().contains(name), "{name}");
    }
}

#[test]
fn numbers_are_equal_by_value_and_texts_are_not_numbers() {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (a, b, equal) in [
        ("1", "1.0", true),
        ("10e-1", "1", true),
        ("-0", "0.000e5", true),
        ("1e400", "10e399", true),
        ("1e400", "1e401", false),
        ("0.1", "0.10000000000000000001", false),
        ("9007199254740993", "9007199254740992", false),
        ("1e99999999999999999999", "1e99999999999999999999", true),
        ("1e99999999999999999999", "10e99999999999999999998", false),
        ("-1", "1", false),
        ("\"1\"", "1", false),
        ("[1,2]", "[1.0,2]", true),
        ("{\"a\":1,\"b\":2}", "{\"b\":2.0,\"a\":1}", true),
        ("{\"a\":1}", "{\"a\":1,\"b\":null}", false),
    ] {
        assert_eq!(same(&read(a), &read(b)), equal, "{a} {b}");
    }
}

/// (before, after, found, what it is)
#[test]
fn a_workflow_is_told_to_have_a_patch_or_not() {
    let with = |node: Value| json!({"nodes": [{"id": "a"}, node], "edges": []});
    let without = json!({"nodes": [{"id": "a"}], "edges": []});
    let n = |config: Value| json!({"id": "n", "type": "http", "config": config});
    let decorated = json!({"id": "n", "type": "http", "config": {"x": 1, "default": true}, "created_by": "o"});
    for (before, after, now, state) in [
        (without.clone(), with(n(json!({"x": 1}))), with(n(json!({"x": 1.0}))), State::Applied),
        (without.clone(), with(n(json!({"x": 1}))), without.clone(), State::NotApplied),
        (without.clone(), with(n(json!({"x": 1}))), with(decorated.clone()), State::Applied),
        (without.clone(), with(n(json!({"x": 1}))), with(n(json!({"x": 2}))), State::Unclear),
        (with(n(json!({"x": 1}))), without.clone(), without.clone(), State::Applied),
        (with(n(json!({"x": 1}))), without.clone(), with(decorated.clone()), State::NotApplied),
        (with(n(json!({"x": 0}))), with(n(json!({"x": 1}))), with(decorated), State::Applied),
        (with(n(json!({"x": 1}))), with(n(json!({"x": 1, "y": 2}))), with(n(json!({"x": 1}))), State::NotApplied),
        (with(n(json!({"x": 1, "y": 2}))), with(n(json!({"x": 1}))), with(n(json!({"x": 1}))), State::Applied),
        (with(n(json!({"x": 1}))), with(n(json!({"x": 2}))), with(n(json!({"x": 3}))), State::Unclear),
        (without.clone(), without.clone(), without, State::Unclear),
    ] {
        assert_eq!(Effects::between(&before, &after).state(&now), state, "{before} {after} {now}");
    }
}
