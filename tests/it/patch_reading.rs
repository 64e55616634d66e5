//! What models and producers write as a patch, node types of one's own, floods, and undoing as algebra.

use std::collections::BTreeMap;

use agent_runner::{
    job::{ErrorCode, RawJson},
    settings::{Patch, Settings},
    tools::{PatchWorkflow, Tool},
    workflow::{Mode, PatchSpec, Rules, Schema, Workflow, apply, prepare, same},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::patches::{add_edge, add_node, node, ops, rules, try_on, workflow};

#[test]
fn what_models_write_is_read_where_it_can_mean_one_thing() {
    let list = json!([add_node(node("n")), add_edge("store", "n")]);
    let text = list.to_string();
    let node_text = json!([{"op": "ADD", "path": "/nodes/-", "value": node("n").to_string()}, add_edge("store", "n")]);
    let value_json =
        json!([{"op": "add", "path": "/nodes/-", "value_json": node("n").to_string()}, add_edge("store", "n")]);
    let texts: Vec<String> = list.as_array().unwrap().iter().map(Value::to_string).collect();
    for spec in [
        json!({"operations": list, "description": "d"}),
        list.clone(),
        json!(text),
        json!({"operations": text}),
        json!({"ops": list}),
        json!({"patch": list}),
        json!({"patches": list}),
        json!({"changes": text}),
        json!(format!("```json\n{text}\n```")),
        json!({"operations": format!("Here it is: {text} I hope this helps.")}),
        json!(json!({"operations": list}).to_string()),
        json!({"operations": node_text}),
        json!({"operations": value_json}),
        json!({"operations": texts}),
        json!({"operations": list, "description": 5, "confidence": 0.9}),
    ] {
        let prepared =
            try_on(&workflow(), &spec.to_string()).unwrap_or_else(|refusal| panic!("{spec}: {}", refusal.text()));
        assert_eq!(prepared.diff.nodes_added, ["n"], "{spec}");
        assert_eq!(prepared.document["nodes"][3], node("n"), "{spec}");
    }
    for spec in [
        json!({"operations": list, "ops": list}),
        json!({"steps": list}),
        json!({}),
        json!(null),
        json!(7),
        json!("please add a node"),
        json!(format!("{text} or rather {text}")),
        json!({"operations": null}),
        json!({"operations": 5}),
        json!({"operations": [[]]}),
        json!({"operations": [{"op": "add", "path": "/nodes/-", "value": {}, "value_json": "{}"}]}),
        json!({"operations": [{"op": "append", "path": "/nodes/-", "value": {}}]}),
    ] {
        let refusal = try_on(&workflow(), &spec.to_string()).expect_err(&spec.to_string());
        assert!(!refusal.conflict && !refusal.reasons.is_empty());
    }
    // Text stays text where text can stand.
    let kept = try_on(
        &workflow(),
        &ops(json!([{"op": "add", "path": "/nodes/id:fetch/config/payload", "value": "{\"a\":1}"}])),
    )
    .unwrap();
    assert_eq!(kept.document["nodes"][0]["config"]["payload"], "{\"a\":1}");
    let single = try_on(&workflow(), r#"{"op":"replace","path":"/nodes/fetch/config/url","value":"u"}"#).unwrap();
    assert_eq!(single.operations[0].path, "/nodes/0/config/url");
}

#[test]
fn node_types_can_be_added_with_a_schema() {
    let custom = BTreeMap::from([
        (
            "slack".to_owned(),
            json!({"description": "posts a message", "type": "object", "required": ["channel"], "properties": {"channel": {"type": "string", "pattern": "^#"}, "when": {"format": "cel"}}}),
        ),
        ("anything".to_owned(), Value::Null),
    ]);
    let rules = Rules::new(&Patch { node_types: custom.clone(), ..Patch::default() }).unwrap();
    for (node, good) in [
        (json!({"id": "n", "type": "slack", "config": {"channel": "#ops", "when": "output.ok"}}), true),
        (json!({"id": "n", "type": "slack", "config": {"channel": "ops"}}), false),
        (json!({"id": "n", "type": "slack", "config": {}}), false),
        (json!({"id": "n", "type": "slack", "config": {"channel": "#ops", "when": "output."}}), false),
        (json!({"id": "n", "type": "anything", "config": {"x": [1]}}), true),
        (json!({"id": "n", "type": "http"}), true),
    ] {
        let spec =
            PatchSpec::read(&RawJson::from_trusted(ops(json!([add_node(node.clone()), add_edge("store", "n")]))), 100)
                .unwrap();
        let outcome = prepare(&Workflow::from_value(workflow()).unwrap(), &spec, &rules, Mode::Full);
        assert_eq!(outcome.is_ok(), good, "{node}: {outcome:?}");
    }
    let text = rules.schema.prompt_text();
    assert!(text.contains("- slack: posts a message\n  - channel (string, required)"), "{text}");
    assert_eq!(text, Schema::new(&custom).unwrap().prompt_text(), "the same bytes every time");
    assert!(rules.schema.tool_parameters().to_string().contains("slack"));
    for (name, schema) in [
        ("x", json!({"type": "nonsense"})),
        ("two words", json!({})),
        ("y", json!({"$ref": "https://evil.example/schema"})),
    ] {
        let error = Schema::new(&BTreeMap::from([(name.to_owned(), schema)])).unwrap_err();
        assert!(error.starts_with(&format!("patch.node_types.{name}")), "{error}");
    }
}

#[test]
fn floods_are_refused_before_they_cost_anything() {
    let flood = format!("[{}]", vec![r#"{"op":"test","path":"/nodes/0/id","value":"fetch"}"#; 100_000].join(","));
    let doubling: Vec<Value> =
        std::iter::once(json!({"op": "add", "path": "/metadata/x", "value": "x".repeat(60_000)}))
            .chain((0..90).map(|i| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/c{i}")})))
            .collect();
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let rows = [
        (flood.clone(), "more than 100 operations"),
        (json!(flood).to_string(), "more than 100 operations"),
        (ops(json!(doubling)), "max_result_bytes"),
        (ops(json!([{"op": "add", "path": "/metadata/x", "value": "x".repeat(2 << 20)}])), "max_result_bytes"),
        (format!(r#"[{{"op":"add","path":"/metadata/x","value":{deep}}}]"#), "levels of nesting"),
        (format!(r#"[{{"op":"add","path":"/metadata/x","value":{}}}]"#, "[".repeat(100_000)), "cannot be read"),
        (ops(json!([{"op": "add", "path": "/metadata".to_owned() + &"/x".repeat(5_000), "value": 1}])), "bytes"),
        (
            ops(json!([{"op": "add", "path": "/metadata".to_owned() + &"/x".repeat(500), "value": 1}])),
            "levels of nesting",
        ),
        (ops(json!([{"op": "add", "path": "/edges/0/condition", "value": "(".repeat(2_000)}])), "brackets"),
        (ops(json!([{"op": "add", "path": "/edges/0/condition", "value": "!".repeat(2_000)}])), "CEL"),
        (ops(json!([{"op": "add", "path": "/edges/0/condition", "value": "a?".repeat(1_000)}])), "CEL"),
        (ops(json!([{"op": "add", "path": "/edges/0/condition", "value": "x".repeat(1 << 19)}])), "at most"),
    ];
    for (spec, words) in rows {
        let refusal = try_on(&workflow(), &spec).expect_err(words);
        assert!(refusal.text().contains(words), "{words}: {}", refusal.text().chars().take(300).collect::<String>());
        assert!(refusal.text().len() < 8_000, "{words}: a reason of {} bytes", refusal.text().len());
    }
}

#[test]
fn a_patch_that_is_too_long_is_refused_like_any_other() {
    let tool = PatchWorkflow::new(&Settings::default()).unwrap();
    let flood: Vec<Value> = (0..100_000).map(|i| json!({"op": "remove", "path": format!("/metadata/k{i}")})).collect();
    let long = json!([{"op": "add", "path": "/metadata/x", "value": "x".repeat(5 << 20)}]);
    for (operations, words) in [(json!(flood), "more than 100 operations"), (long, "bytes")] {
        let error = tool.too_long(&RawJson::of(&json!({"patch_spec": {"operations": operations}})), 4 << 20);
        assert_eq!(error.code, ErrorCode::InvalidPatch);
        assert!(error.details["reasons"][0]["reason"].as_str().unwrap().contains(words), "{error}");
    }
}

/// A workflow in a row with some branches, where every node is sound.
fn any_workflow() -> impl Strategy<Value = Value> {
    prop::collection::vec((0_usize..4, any::<bool>()), 1..8).prop_map(|shape| {
        let nodes: Vec<Value> =
            (0..shape.len()).map(|i| json!({"id": format!("n{i}"), "type": "function", "config": {"a": i}})).collect();
        let edges: Vec<Value> = (1..shape.len())
            .map(|i| {
                let from = format!("n{}", i.saturating_sub(1 + shape[i].0 % 2));
                if shape[i].1 {
                    json!({"from": from, "to": format!("n{i}"), "condition": "output.ok"})
                } else {
                    json!({"from": from, "to": format!("n{i}")})
                }
            })
            .collect();
        json!({"id": "w", "nodes": nodes, "metadata": {"a": 1, "b": {"c": 1.0}}, "edges": edges, "zeta": null})
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_passes_can_be_undone_and_folded(
        workflow in any_workflow(),
        choices in prop::collection::vec((0_u8..9, 0_usize..8, 0_usize..8), 1..10),
    ) {
        let operations: Vec<Value> = choices.iter().enumerate().map(|(i, (kind, a, b))| match kind {
            0 => add_node(node(&format!("x{i}"))),
            1 => add_edge(&format!("n{a}"), &format!("x{}", i.saturating_sub(1))),
            2 => json!({"op": "remove", "path": format!("/edges/{a}")}),
            3 => json!({"op": "remove", "path": format!("/nodes/id:n{a}")}),
            4 => json!({"op": "add", "path": format!("/nodes/id:n{a}/config/b"), "value": b}),
            5 => json!({"op": "remove", "path": format!("/nodes/id:n{a}/type")}),
            6 => json!({"op": "remove", "path": "/metadata"}),
            7 => json!({"op": "move", "from": format!("/nodes/id:n{a}"), "path": format!("/nodes/{b}")}),
            _ => json!({"op": "replace", "path": format!("/nodes/id:n{a}/config"), "value": {"z": [b]}}),
        }).collect();
        let rules = rules();
        let source = Workflow::from_value(workflow.clone()).unwrap();
        let read = |operations: &[Value]| PatchSpec::read(&RawJson::of(&json!(operations)), 100).unwrap();
        // Patches that do not hold leave the workflow alone; the longest that holds is taken.
        let longest = (1..=operations.len()).rev().find_map(|n| prepare(&source, &read(&operations[..n]), &rules, Mode::Full).ok().map(|p| (n, p)));
        prop_assert_eq!(source.document(), &workflow);
        let Some((n, prepared)) = longest else { return Ok(()) };
        let after = Workflow::from_value(prepared.document.clone()).unwrap();
        let spec = PatchSpec { operations: prepared.inverse.clone(), ..PatchSpec::default() };
        let undone = apply(after.document(), &spec.operations, &rules.limits).unwrap();
        prop_assert_eq!(undone.document.to_string(), workflow.to_string());
        // The one rule that an inverse may break: a first node that was removed comes back as a new node, and
        // nothing leads to a first node.
        match prepare(&after, &spec, &rules, Mode::Full) {
            Ok(undone) => prop_assert_eq!(undone.document.to_string(), workflow.to_string()),
            Err(refusal) => prop_assert!(
                refusal.reasons.iter().all(|reason| reason.message.contains("leads to the new node")),
                "{}", refusal.text()
            ),
        }
        if !prepared.diff.metadata_changed {
            let folded = prepare(&source, &read(&operations[..n]), &rules, Mode::Shallow).unwrap();
            prop_assert_eq!(&folded.diff.nodes_added, &prepared.diff.nodes_added);
            prop_assert!(folded.effects.0.iter().zip(&prepared.effects.0).all(|(a, b)| same(&json!(a), &json!(b))));
        }
    }
}
