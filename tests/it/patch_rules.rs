//! What a patch may do to a workflow: the check list, what passes, what is only worth a warning.

use agent_runner::{
    job::{ErrorCode, JobError, RawJson},
    settings::Patch,
    workflow::{Mode, PatchSpec, Rules, Workflow, prepare},
};
use serde_json::{Value, json};

use crate::support::patches::{add_edge, add_node, node, ops, try_on, workflow};

/// Each row: operations, the operation to blame counted from 1 or 0 for none, words of the reason.
fn refused(rows: &[(Value, usize, &str)]) {
    for (operations, blamed, words) in rows {
        let refusal = try_on(&workflow(), &ops(operations.clone())).expect_err(&operations.to_string());
        let found = refusal
            .reasons
            .iter()
            .any(|reason| reason.message.contains(*words) && reason.operation.map_or(0, |index| index + 1) == *blamed);
        assert!(found, "{operations}\nwanted {blamed} {words:?}, got {:#?}", refusal.reasons);
        let error = JobError::from(refusal);
        assert_eq!((error.code, error.retryable), (ErrorCode::InvalidPatch, false));
    }
}

#[test]
fn paths_nodes_and_edges_must_be_sound() {
    refused(&[
        (json!([{"op": "add", "path": "/owner", "value": "eve"}]), 1, "outside"),
        (json!([{"op": "replace", "path": "/version", "value": "2"}]), 1, "outside"),
        (json!([{"op": "replace", "path": "", "value": {}}]), 1, "outside"),
        (json!([{"op": "copy", "from": "/version", "path": "/metadata/v"}]), 1, "outside"),
        (json!([{"op": "move", "from": "/metadata/name", "path": "/name"}]), 1, "outside"),
        (json!([{"op": "add", "path": "/__proto__/x", "value": 1}]), 1, "outside"),
        (json!([{"op": "add", "path": "/constructor/prototype/x", "value": 1}]), 1, "outside"),
        (json!([add_node(json!({"type": "function"})), add_edge("store", "x")]), 1, "no id"),
        (json!([add_node(node("two words"))]), 1, "letters, digits"),
        (json!([add_node(node("ünder"))]), 1, "letters, digits"),
        (json!([add_node(node(""))]), 1, "letters, digits"),
        (json!([add_node(json!({"id": 7, "type": "function"}))]), 1, "must be text"),
        (json!([add_node(node("store"))]), 1, "there twice"),
        (json!([{"op": "replace", "path": "/nodes/id:store/id", "value": "fetch"}]), 1, "there twice"),
        (json!([add_node(json!({"id": "n"})), add_edge("store", "n")]), 1, "no type"),
        (json!([add_node(json!({"id": "n", "type": "htpp"})), add_edge("store", "n")]), 1, "did you mean http"),
        (json!([add_node(json!({"id": "n", "type": "teleport"})), add_edge("store", "n")]), 1, "use one of"),
        (
            json!([add_node(json!({"id": "n", "type": "function", "config": []})), add_edge("store", "n")]),
            1,
            "an object",
        ),
        (
            json!([add_node(json!({"id": "n", "type": "function", "config": null})), add_edge("store", "n")]),
            1,
            "an object",
        ),
        (json!([add_node(json!("n"))]), 1, "an object"),
        (json!([add_node(json!([]))]), 1, "an object"),
        (json!([add_edge("fetch", "nobody")]), 1, "no node"),
        (json!([add_edge("nobody", "fetch")]), 1, "no node"),
        (json!([add_edge("__proto__", "fetch")]), 1, "no node"),
        (json!([{"op": "add", "path": "/edges/-", "value": {"from": "fetch"}}]), 1, "has no to"),
        (json!([{"op": "add", "path": "/edges/-", "value": {"from": "fetch", "to": 3}}]), 1, "id of a node"),
        (json!([{"op": "add", "path": "/edges/-", "value": "fetch->store"}]), 1, "an object"),
    ]);
}

#[test]
fn the_graph_and_the_settings_must_be_sound() {
    let six_agents: Vec<Value> = (0..6)
        .flat_map(|i| {
            let id = format!("agent{i}");
            [add_node(json!({"id": id, "type": "agent", "config": {"task": "t"}})), add_edge("store", &id)]
        })
        .collect();
    let many: Vec<Value> = (0..101).map(|_| json!({"op": "test", "path": "/nodes/0/id", "value": "fetch"})).collect();
    refused(&[
        (json!([{"op": "remove", "path": "/nodes/id:store"}]), 1, "hangs on"),
        (json!([{"op": "replace", "path": "/nodes/id:store/id", "value": "save"}]), 1, "hangs on"),
        (json!([add_node(node("n")), add_edge("store", "n"), add_edge("n", "fetch")]), 3, "cycle"),
        (json!([add_edge("store", "store")]), 1, "cycle"),
        (json!([{"op": "remove", "path": "/edges/id:check->store"}]), 1, "leads nowhere"),
        (json!([add_node(json!({"id": "n", "type": "conditional"})), add_edge("store", "n")]), 1, "leads nowhere"),
        (json!([{"op": "replace", "path": "/nodes/id:store/type", "value": "conditional"}]), 1, "leads nowhere"),
        (json!([add_node(node("n"))]), 1, "leads to the new node"),
        (json!([add_node(node("n")), add_edge("n", "fetch")]), 1, "leads to the new node"),
        (json!([add_node(node("n")), add_node(node("m")), add_edge("n", "m")]), 2, "leads to the new node"),
        (json!(six_agents), 11, "6 new agent nodes"),
        (json!(many), 0, "more than 100 operations"),
        (json!([{"op": "add", "path": "/edges/id:check->store/condition", "value": "output.price >"}]), 1, "CEL"),
        (json!([{"op": "add", "path": "/edges/id:check->store/condition", "value": 5}]), 1, "must be text"),
        (
            json!([{"op": "add", "path": "/edges/id:check->store/condition", "value": {"type": "cel", "expression": "a &&"}}]),
            1,
            "CEL",
        ),
        (json!([{"op": "add", "path": "/nodes/id:fetch/config/url", "value": 5}]), 1, "url"),
        (json!([{"op": "add", "path": "/nodes/id:fetch/config/method", "value": "FETCH"}]), 1, "method"),
        (
            json!([{"op": "add", "path": "/nodes/id:fetch/config/retry", "value": {"max_attempts": 11}}]),
            1,
            "max_attempts",
        ),
        (json!([{"op": "add", "path": "/nodes/id:fetch/retry", "value": {"max_attempts": 0}}]), 1, "retry"),
        (json!([{"op": "add", "path": "/nodes/id:fetch/config/timeout_ms", "value": -1}]), 1, "timeout_ms"),
        (
            json!([
                add_node(json!({"id": "l", "type": "loop", "config": {"loop_back_to": "gone"}})),
                add_edge("store", "l")
            ]),
            1,
            "loop_back_to",
        ),
        (
            json!([
                add_node(json!({"id": "l", "type": "loop", "config": {"condition": "((("}})),
                add_edge("store", "l")
            ]),
            1,
            "condition",
        ),
        (json!([{"op": "remove", "path": "/nodes"}]), 1, "must stay a list"),
        (json!([{"op": "replace", "path": "/edges", "value": {}}]), 1, "must stay a list"),
        (json!([{"op": "replace", "path": "/metadata", "value": []}]), 1, "must be an object"),
        (
            json!([{"op": "replace", "path": "/nodes/id:nobody/type", "value": "http"}]),
            1,
            "there is no node \"nobody\"",
        ),
        (json!([{"op": "remove", "path": "/edges/id:fetch->store"}]), 1, "there is no edge"),
        (json!([{"op": "remove", "path": "/nodes/7"}]), 1, "3 elements"),
        (json!([{"op": "add", "path": "/nodes/99999999999999999999", "value": node("n")}]), 1, "3 elements"),
        (json!([{"op": "add", "path": "nodes/-", "value": node("n")}]), 1, "JSON pointer"),
        (json!([{"op": "replace", "path": "/nodes/0/config/payload", "value": 1}]), 1, "no member"),
    ]);
}

#[test]
fn a_condition_must_be_able_to_come_out_true_or_false() {
    let edge = |condition: &str| json!([{"op": "add", "path": "/edges/id:check->store/condition", "value": condition}]);
    let rows = [
        ("", "empty"),
        ("  ", "empty"),
        ("foo(output)", "calls foo"),
        ("output.a == 1 && output.foo(2)", "calls foo"),
        ("output.price + 5", "a calculation"),
        ("-output.price", "a calculation"),
        ("(output.a * 2)", "a calculation"),
        ("'yes'", "a text"),
        ("5", "a number"),
        ("null", "null"),
        ("[output.a]", "a list"),
        ("size(output.a)", "a value"),
        ("output.a ? 1 : 2", "a number"),
        ("output.a && 'b'", "a text"),
    ];
    for (condition, words) in rows {
        refused(&[(edge(condition), 1, words)]);
    }
    for sound in [
        "true",
        "output",
        "output.ok",
        "!output.ok",
        "output['a-b'] || output.list[0]",
        "size(output.a) + 1 > 2",
        "output.name.startsWith('a') && has(output.b)",
        "output.items.exists(item, item.price < 5)",
        "output.a in ['x', 'y']",
        "output.a ? output.b : false",
        "timestamp(output.at).getFullYear() > 2020",
        "output.name.lowerAscii().matches('^a')",
    ] {
        if let Err(refusal) = try_on(&workflow(), &ops(edge(sound))) {
            panic!("{sound}: {}", refusal.text());
        }
    }
}

#[test]
fn nodes_that_are_cut_off_are_told() {
    let cut = |operations: Value| -> Vec<String> {
        let chain = json!({"nodes": [node("a"), node("b"), node("c")], "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}]});
        let told = try_on(&chain, &ops(operations)).unwrap().warnings;
        told.into_iter().filter(|warning| warning.contains("no longer be reached")).collect()
    };
    let found = cut(json!([{"op": "remove", "path": "/edges/id:a->b"}]));
    assert!(found.len() == 1 && found[0].starts_with("b, c can"), "{found:?}");
    for whole in [
        json!([{"op": "remove", "path": "/edges/id:a->b"}, add_edge("a", "c"), {"op": "remove", "path": "/edges/id:b->c"}, {"op": "remove", "path": "/nodes/id:b"}]),
        json!([{"op": "remove", "path": "/edges/id:a->b"}, {"op": "remove", "path": "/nodes/id:a"}]),
        json!([{"op": "remove", "path": "/edges/id:b->c"}, add_edge("a", "c")]),
    ] {
        assert_eq!(cut(whole.clone()), Vec::<String>::new(), "{whole}");
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let operations = json!([
        add_node(json!({"id": "a b", "type": "nope"})),
        add_edge("fetch", "gone"),
        {"op": "add", "path": "/nodes/id:fetch/config/url", "value": 1}
    ]);
    let refusal = try_on(&workflow(), &ops(operations)).unwrap_err();
    let blamed: Vec<Option<usize>> = refusal.reasons.iter().map(|reason| reason.operation).collect();
    for index in 0..3 {
        assert!(blamed.contains(&Some(index)), "{:#?}", refusal.reasons);
    }
}

#[test]
fn sound_patches_pass() {
    let rows = [
        json!([
            add_node(json!({"id": "n", "type": "http", "config": {"url": "u", "method": "post", "payload": [1]}})),
            add_edge("store", "n")
        ]),
        json!([add_edge("check", "n"), add_node(node("n"))]),
        json!([{"op": "add", "path": "/nodes/0", "value": node("n")}, add_edge("fetch", "n")]),
        json!([{"op": "add", "path": "/nodes/id:store", "value": node("n")}, add_edge("fetch", "n")]),
        json!([{"op": "add", "path": "/nodes/id:n", "value": node("n")}, add_edge("fetch", "n")]),
        json!([{"op": "remove", "path": "/edges/id:check->store"}, {"op": "replace", "path": "/nodes/id:check/type", "value": "function"}, {"op": "remove", "path": "/nodes/id:store"}]),
        json!([{"op": "replace", "path": "/nodes/id:fetch/id", "value": "load"}, {"op": "replace", "path": "/edges/id:fetch->check/from", "value": "load"}]),
        json!([
            add_node(
                json!({"id": "l", "type": "loop", "config": {"max_iterations": 3, "loop_back_to": "fetch", "condition": "output.more"}})
            ),
            add_edge("store", "l"),
            add_edge("l", "fetch")
        ]),
        json!([
            add_node(json!({"id": "l", "type": "loop", "config": {"break_path": ["out"]}})),
            add_edge("store", "l"),
            add_node(node("out"))
        ]),
        json!([{"op": "add", "path": "/edges/id:check->store/condition", "value": {"type": "cel", "expression": "output.a in [1, 2] && size(output.b) > 0"}}]),
        json!([{"op": "replace", "path": "/metadata/tags/0", "value": "z"}, {"op": "add", "path": "/metadata/__proto__", "value": {"x": 1}}]),
        json!([{"op": "test", "path": "/nodes/id:fetch/type", "value": "http"}, {"op": "replace", "path": "/nodes/id:fetch/config/url", "value": "u"}]),
        json!([{"op": "move", "from": "/nodes/id:fetch", "path": "/nodes/id:store"}]),
        json!([{"op": "copy", "from": "/nodes/id:store", "path": "/nodes/-"}, {"op": "replace", "path": "/nodes/3/id", "value": "copy"}, add_edge("fetch", "copy")]),
    ];
    for operations in rows {
        let prepared = try_on(&workflow(), &ops(operations.clone()))
            .unwrap_or_else(|refusal| panic!("{operations}: {}", refusal.text()));
        let resolved = serde_json::to_string(&prepared.operations).unwrap();
        assert!(!resolved.contains("id:"), "{resolved}");
        let back = try_on(&prepared.document, &ops(serde_json::to_value(&prepared.inverse).unwrap())).unwrap();
        assert_eq!(back.document.to_string(), workflow().to_string(), "{operations}");
    }
}

#[test]
fn ids_are_resolved_as_each_turn_comes() {
    let operations = json!([
        {"op": "remove", "path": "/edges/id:fetch->check"},
        {"op": "add", "path": "/nodes/0", "value": node("start")},
        {"op": "replace", "path": "/nodes/id:fetch/config/url", "value": "u"},
        {"op": "add", "path": "/edges/-", "value": {"from": "fetch", "to": "start"}},
        {"op": "add", "path": "/edges/-", "value": {"from": "start", "to": "check"}}
    ]);
    let prepared = try_on(&workflow(), &ops(operations)).unwrap();
    let paths: Vec<&str> = prepared.operations.iter().map(|operation| operation.path.as_str()).collect();
    assert_eq!(paths, ["/edges/0", "/nodes/0", "/nodes/1/config/url", "/edges/-", "/edges/-"]);
    assert_eq!(prepared.diff.edges_removed, ["fetch->check"]);
    assert_eq!(prepared.diff.nodes_changed, ["fetch"]);

    let moved =
        try_on(&workflow(), &ops(json!([{"op": "move", "from": "/nodes/id:fetch", "path": "/nodes/id:store"}])))
            .unwrap();
    assert_eq!(
        (moved.operations[0].from.as_deref(), moved.operations[0].path.as_str()),
        (Some("/nodes/0"), "/nodes/1")
    );
}

#[test]
fn the_first_of_equal_edges_is_meant_and_that_is_said() {
    let mut twice = workflow();
    twice["edges"].as_array_mut().unwrap().push(json!({"from": "fetch", "to": "check", "condition": "output.b"}));
    let prepared = try_on(&twice, &ops(json!([{"op": "remove", "path": "/edges/id:fetch->check"}]))).unwrap();
    assert_eq!(prepared.operations[0].path, "/edges/0");
    assert!(prepared.warnings.iter().any(|warning| warning.contains("the first is meant")), "{:?}", prepared.warnings);
}

#[test]
fn old_faults_that_are_not_touched_are_warnings() {
    let broken = json!({
        "nodes": [{"id": "a", "type": "teleport", "config": {"x": 1}}, {"id": "b", "type": "function"}, {"id": "c", "type": "conditional"}],
        "edges": [{"from": "a", "to": "gone"}, {"from": "a", "to": "b"}, {"from": "b", "to": "a"}, {"from": "b", "to": "c"}]
    });
    let elsewhere = json!([{"op": "add", "path": "/metadata", "value": {"k": 1}}, {"op": "replace", "path": "/nodes/id:a/config/x", "value": 2}]);
    let prepared = try_on(&broken, &ops(elsewhere)).unwrap();
    let old = prepared.warnings.iter().filter(|warning| warning.starts_with("already there: ")).count();
    assert_eq!(old, 4, "{:?}", prepared.warnings);
    for touching in [
        json!([{"op": "replace", "path": "/nodes/id:a/type", "value": "warp"}]),
        json!([{"op": "replace", "path": "/edges/id:a->gone/to", "value": "away"}]),
        json!([{"op": "add", "path": "/edges/id:a->b/condition", "value": "output.x"}]),
        json!([{"op": "add", "path": "/edges/id:b->c/x", "value": 1}, {"op": "replace", "path": "/nodes/id:c", "value": {"id": "c", "type": "conditional"}}]),
    ] {
        assert!(try_on(&broken, &ops(touching.clone())).is_err(), "{touching}");
    }
    let mended = json!([{"op": "remove", "path": "/edges/id:a->gone"}, {"op": "remove", "path": "/edges/id:b->a"}, {"op": "replace", "path": "/nodes/id:a/type", "value": "function"}, {"op": "replace", "path": "/nodes/id:c/type", "value": "function"}]);
    assert!(try_on(&broken, &ops(mended)).unwrap().warnings.is_empty());
}

#[test]
fn an_empty_workflow_takes_its_first_nodes() {
    for empty in [json!(null), json!({}), json!({"nodes": [], "edges": []})] {
        let prepared =
            try_on(&empty, &ops(json!([add_node(node("a")), add_node(node("b")), add_edge("a", "b")]))).unwrap();
        assert_eq!(prepared.diff.nodes_added, ["a", "b"]);
        if empty == json!({}) {
            // The lists have to be made first, and go again.
            let paths: Vec<&str> = prepared.operations.iter().map(|operation| operation.path.as_str()).collect();
            assert_eq!(paths[..2], ["/edges", "/nodes"]);
            assert_eq!(
                prepared.inverse.iter().rev().take(2).map(|operation| operation.path.as_str()).collect::<Vec<_>>(),
                ["/edges", "/nodes"]
            );
        }
    }
}

#[test]
fn a_coordinators_node_map_becomes_lists() {
    let map = json!({"version": "1", "nodes": {
        "fetch": {"id": "fetch", "type": "http", "config": {"url": "u"}, "dependents": ["a", "b"]},
        "a": {"type": "function", "dependents": []},
        "b": {"type": "function"}
    }, "metadata": {"username": "ada"}});
    for form in [map.clone(), map["nodes"].clone()] {
        let workflow = Workflow::from_value(form).unwrap();
        let ids: Vec<&str> = workflow.nodes().iter().map(|node| node["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["fetch", "a", "b"]);
        assert_eq!(workflow.edges(), [json!({"from": "fetch", "to": "a"}), json!({"from": "fetch", "to": "b"})]);
        assert_eq!(workflow.node("fetch").unwrap()["dependents"], json!(["a", "b"]));
    }
    for bad in [json!(7), json!([]), json!("x"), json!({"nodes": 1}), json!({"nodes": [], "edges": {}})] {
        assert!(Workflow::from_value(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn a_failing_test_is_a_conflict_and_a_patch_without_effect_a_no_op() {
    let refusal =
        try_on(&workflow(), &ops(json!([{"op": "test", "path": "/nodes/id:fetch/config/url", "value": "other"}])))
            .unwrap_err();
    assert_eq!(JobError::from(refusal).code, ErrorCode::PatchConflict);
    for operations in [
        json!([]),
        json!([{"op": "test", "path": "/metadata/name", "value": "prices"}]),
        json!([{"op": "replace", "path": "/metadata/name", "value": "prices"}]),
        json!([add_node(node("n")), {"op": "remove", "path": "/nodes/id:n"}]),
    ] {
        let prepared = try_on(&workflow(), &ops(operations)).unwrap();
        assert!(prepared.no_op && prepared.operations.is_empty() && prepared.inverse.is_empty());
    }
}

#[test]
fn warnings_tell_what_may_not_be_meant() {
    let rows = [
        (json!([add_edge("fetch", "check")]), "two edges lead from fetch to check"),
        (json!([{"op": "replace", "path": "/edges/id:check->store/condition", "value": "output.a"}]), "no default"),
        (json!([{"op": "replace", "path": "/edges/id:check->store/condition", "value": "price < 5"}]), "output.price?"),
        (json!([add_edge("fetch", "store")]), "runs once for each"),
        (json!([add_node(json!({"id": "n", "type": "http"})), add_edge("store", "n")]), "has no url"),
    ];
    for (operations, words) in rows {
        let prepared = try_on(&workflow(), &ops(operations.clone())).unwrap();
        assert!(
            prepared.warnings.iter().any(|warning| warning.contains(words)),
            "{operations}: {:?}",
            prepared.warnings
        );
    }
    let settings = Patch { executable_types: vec!["http".into()], ..Patch::default() };
    let spec = PatchSpec::read(&RawJson::from_trusted(ops(json!([add_node(node("n")), add_edge("store", "n")]))), 100)
        .unwrap();
    let prepared =
        prepare(&Workflow::from_value(workflow()).unwrap(), &spec, &Rules::new(&settings).unwrap(), Mode::Full)
            .unwrap();
    assert!(prepared.warnings.iter().any(|warning| warning.contains("no worker runs nodes of type function")));
}

#[test]
fn the_picture_shows_what_changes_and_cannot_be_broken_out_of() {
    let operations = json!([
        add_node(json!({"id": "mail", "type": "hitl"})),
        {"op": "add", "path": "/edges/-", "value": {"from": "check", "to": "mail", "condition": "output.a == \"]\" + 'x#y<script>'"}},
        {"op": "replace", "path": "/nodes/id:fetch/config/url", "value": "u"}
    ]);
    let prepared = try_on(&workflow(), &ops(operations)).unwrap();
    assert_eq!(
        prepared.mermaid,
        r##"flowchart TD
  n0["fetch<br/>http"]
  n1{"check<br/>conditional"}
  n2["store<br/>function"]
  n3(["mail<br/>hitl"])
  n0 --> n1
  n1 -->|"output.price #gt; 10"| n2
  n1 ==>|"output.a == #quot;]#quot; + 'x#35;y#lt;script#gt;'"| n3
  style n3 fill:#d4f7d4,stroke:#2e7d32
  style n0 fill:#fff3cd,stroke:#b26a00
"##
    );
}
