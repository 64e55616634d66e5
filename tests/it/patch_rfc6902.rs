//! RFC 6902, row by row, through the reader and the editor that every patch passes.
//!
//! The rows of Appendix A carry its numbers. Where we refuse something the standard would take, the row says why.

use agent_runner::{
    job::RawJson,
    workflow::{Limits, PatchSpec, apply},
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

const LIMITS: Limits = Limits { max_operations: 100, max_result_bytes: 1 << 20 };

#[derive(Deserialize)]
struct Row<'a> {
    name: String,
    doc: Value,
    #[serde(borrow)]
    patch: &'a RawValue,
    #[serde(borrow)]
    expected: Option<&'a RawValue>,
    error: Option<String>,
}

fn rows() -> Vec<Row<'static>> {
    include_str!("data/rfc6902.jsonl").lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The document afterwards, or `conflict` or `refused`.
fn outcome(document: &Value, patch: &str) -> Result<(Value, Value), &'static str> {
    let word = |conflict| if conflict { "conflict" } else { "refused" };
    let spec = PatchSpec::read(&RawJson::from_trusted(patch.to_owned()), LIMITS.max_operations)
        .map_err(|refusal| word(refusal.conflict))?;
    let applied = apply(document, &spec.operations, &LIMITS).map_err(|refusal| word(refusal.conflict))?;
    let undone = apply(&applied.document, &applied.inverse, &LIMITS).expect("an inverse always holds");
    Ok((applied.document, undone.document))
}

#[test]
fn every_row_comes_out_byte_for_byte_and_goes_back_byte_for_byte() {
    let rows = rows();
    assert!(rows.len() >= 112);
    for row in rows {
        match (outcome(&row.doc, row.patch.get()), row.expected, row.error) {
            (Ok((document, undone)), Some(expected), None) => {
                let expected: Value = serde_json::from_str(expected.get()).unwrap();
                assert_eq!(document.to_string(), expected.to_string(), "{}", row.name);
                assert_eq!(undone.to_string(), row.doc.to_string(), "{}: undone", row.name);
            }
            (Err(word), None, Some(error)) => assert_eq!(word, error, "{}", row.name),
            (got, ..) => panic!("{}: {got:?}", row.name),
        }
    }
}

/// A case of the public suite. Its `error` is prose of no fixed wording.
#[derive(Deserialize)]
struct Case<'a> {
    comment: Option<String>,
    doc: Value,
    #[serde(borrow)]
    patch: &'a RawValue,
    expected: Option<Value>,
    error: Option<String>,
    #[serde(default)]
    disabled: bool,
}

#[test]
fn the_public_suite_passes_where_it_was_fetched() {
    const DIRECTORY: &str = "target/json-patch-tests";
    let mut seen = 0;
    for name in ["tests.json", "spec_tests.json"] {
        let Ok(text) = std::fs::read_to_string(format!("{DIRECTORY}/{name}")) else {
            eprintln!("SKIPPED: {DIRECTORY} is not there; run scripts/fetch-json-patch-tests.sh");
            return;
        };
        let cases: Vec<Case<'_>> = serde_json::from_str(&text).unwrap();
        for case in cases.iter().filter(|case| !case.disabled) {
            let what = format!("{name}: {} {}", case.comment.as_deref().unwrap_or_default(), case.patch);
            match (outcome(&case.doc, case.patch.get()), &case.expected, &case.error) {
                (Ok((document, undone)), expected, None) => {
                    assert!(expected.as_ref().is_none_or(|expected| alike(&document, expected)), "{what}: {document}");
                    assert_eq!(undone.to_string(), case.doc.to_string(), "{what}: undone");
                }
                (Err(_), None, Some(_)) => {}
                (got, ..) => panic!("{what}: {got:?}"),
            }
            seen += 1;
        }
    }
    assert!(seen >= 90, "{seen} cases");
}

/// Equal, whatever the order of members.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        _ => a == b,
    }
}

/// JSON with few names and numbers in several notations, so that paths meet.
fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof!["-?(0|[1-9][0-9]{0,20})", "-?(0|[1-9][0-9]?)\\.[0-9]{1,3}", "[1-9]e-?[0-9]"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(|text| serde_json::from_str(&text).unwrap()),
        "[a-c~/\"é ]{0,3}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-d]", Just(String::new()), Just("~/".to_owned()), Just("0".to_owned()), Just("nodes".to_owned())]
}

/// A path that exists, or one beside it; chosen by numbers so that it can follow the document as it changes.
fn path_in(document: &Value, choices: &[u8], beside: bool) -> String {
    let mut here = document;
    let mut path = String::new();
    let step = |path: &mut String, name: &str| {
        path.push('/');
        path.push_str(&name.replace('~', "~0").replace('/', "~1"));
    };
    for choice in choices {
        match here {
            Value::Object(members) if !members.is_empty() => {
                let (name, next) = members.iter().nth(usize::from(*choice) % members.len()).unwrap();
                step(&mut path, name);
                here = next;
            }
            Value::Array(items) if !items.is_empty() => {
                let index = usize::from(*choice) % items.len();
                step(&mut path, &index.to_string());
                here = &items[index];
            }
            _ => break,
        }
    }
    if beside {
        match here {
            Value::Object(_) => step(&mut path, ["a", "x", "", "~/"][usize::from(choices[0]) % 4]),
            Value::Array(_) => step(&mut path, "-"),
            _ => {}
        }
    }
    path
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_and_undoing_gives_back_every_byte(
        document in any_json(),
        moves in prop::collection::vec((0_u8..6, prop::collection::vec(any::<u8>(), 1..5), prop::collection::vec(any::<u8>(), 1..5), any::<bool>(), any_json()), 1..12),
    ) {
        let mut operations: Vec<Value> = Vec::new();
        let mut now = document.clone();
        for (kind, to, from, beside, value) in moves {
            let (path, from) = (path_in(&now, &to, beside), path_in(&now, &from, false));
            let operation = match kind {
                0 => json!({"op": "add", "path": path, "value": value}),
                1 => json!({"op": "remove", "path": path}),
                2 => json!({"op": "replace", "path": path, "value": value}),
                3 => json!({"op": "move", "path": path, "from": from}),
                4 => json!({"op": "copy", "path": path, "from": from}),
                _ => json!({"op": "test", "path": path, "value": now.pointer(&path).cloned().unwrap_or_default()}),
            };
            // What cannot be done is left out; the rest must undo whatever was left in.
            if let Ok((next, _)) = outcome(&now, &json!([operation]).to_string()) {
                now = next;
                operations.push(operation);
            }
        }
        let (after, undone) = outcome(&document, &json!(operations).to_string()).unwrap();
        prop_assert_eq!(after.to_string(), now.to_string());
        prop_assert_eq!(undone.to_string(), document.to_string());
    }
}
