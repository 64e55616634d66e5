//! What differs between two result documents of one job. Times, attempts and references are not compared.

use indexmap::IndexMap;
use serde_json::{Value, value::RawValue};

use crate::job::RawJson;

/// Differences that are told, at most.
const MAX_LINES: usize = 20;
/// Characters of a value that are told.
const MAX_VALUE: usize = 120;

/// Members of the document that are compared.
const MEMBERS: [&str; 4] = ["status", "lane", "result", "error"];
/// Members of `metadata` that are compared: what was done, and what it cost.
const DONE: [&str; 3] = ["intent", "plan", "tool_calls"];
const COST: [&str; 7] = ["tokens_used", "tokens", "cost_usd", "cache_hit", "llm_calls", "llm_model", "warnings"];

/// One line for each place where `again` is not what `original` was. Where a call was cut short (`cut`), what it cost is on
/// record only in the result, and a job that was stopped while nobody worked at it has no record of what was done.
pub(super) fn between(original: &RawJson, again: &RawJson, cut: bool) -> Result<Vec<String>, serde_json::Error> {
    let (was, is) = (members(original.as_str())?, members(again.as_str())?);
    let mut lines = Vec::new();
    for name in MEMBERS {
        member(&format!("/{name}"), was.get(name).map(|raw| &**raw), is.get(name).map(|raw| &**raw), &mut lines)?;
    }
    let (was, is) = (nested(&was, "metadata")?, nested(&is, "metadata")?);
    let names: Vec<&str> = match cut {
        true if !was.contains_key("intent") => Vec::new(),
        true => DONE.to_vec(),
        false => DONE.into_iter().chain(COST).collect(),
    };
    for name in names {
        member(
            &format!("/metadata/{name}"),
            was.get(name).map(|raw| &**raw),
            is.get(name).map(|raw| &**raw),
            &mut lines,
        )?;
    }
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("… and {more} more differences"));
    }
    Ok(lines)
}

type Members = IndexMap<String, Box<RawValue>>;

fn members(text: &str) -> Result<Members, serde_json::Error> {
    serde_json::from_str(text)
}

fn nested(members: &Members, name: &str) -> Result<Members, serde_json::Error> {
    members.get(name).map_or(Ok(Members::new()), |raw| self::members(raw.get()))
}

/// Compares texts first: a table of millions of rows is only read where it differs.
fn member(
    place: &str,
    was: Option<&RawValue>,
    is: Option<&RawValue>,
    lines: &mut Vec<String>,
) -> Result<(), serde_json::Error> {
    let text = |raw: Option<&RawValue>| raw.map_or_else(|| "null".to_owned(), |raw| raw.get().to_owned());
    let (was, is) = (text(was), text(is));
    if was == is {
        return Ok(());
    }
    if place == "/result"
        && let (Ok(was), Ok(is)) = (members(&was), members(&is))
    {
        let mut names: Vec<&String> = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name))).collect();
        names.retain(|name| *name != "execution_id");
        for name in names {
            let place = format!("/result/{name}");
            member(&place, was.get(name.as_str()).map(|raw| &**raw), is.get(name.as_str()).map(|raw| &**raw), lines)?;
        }
        return Ok(());
    }
    let timed = place == "/result/steps" || place == "/metadata/tool_calls";
    let read = |text: &str| -> Result<Value, serde_json::Error> {
        let mut value: Value = serde_json::from_str(text)?;
        for entry in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).filter(|_| timed) {
            entry.shift_remove("duration_ms");
        }
        Ok(value)
    };
    values(place, &read(&was)?, &read(&is)?, lines);
    Ok(())
}

fn values(place: &str, was: &Value, is: &Value, lines: &mut Vec<String>) {
    match (was, is) {
        (was, is) if was == is => {}
        // Each run has its own.
        _ if place == "/error/details/execution_id" => {}
        (Value::Object(was), Value::Object(is)) => {
            for name in was.keys().chain(is.keys().filter(|name| !was.contains_key(*name))) {
                let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                values(&format!("{place}/{name}"), &of(was), &of(is), lines);
            }
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (i, (was, is)) in was.iter().zip(is).enumerate() {
                values(&format!("{place}/{i}"), was, is, lines);
            }
        }
        (was, is) => lines.push(format!("{place}: was {}, is {}", shown(was), shown(is))),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_do_not_count_and_every_other_place_is_named() {
        let document = |status: &str, data: &str, ms: u32, warning: &str| {
            RawJson::from_trusted(format!(
                r#"{{"status":"{status}","result":{{"data":{data},"steps":[{{"step":"top_k","duration_ms":{ms}}}]}},
                    "metadata":{{"attempt":{ms},"tool_calls":[{{"tool":"t","duration_ms":{ms}}}],"warnings":["{warning}"]}},
                    "completed_at":"{ms}"}}"#
            ))
        };
        let original = document("completed", r#"[{"a":1.10,"duration_ms":5}]"#, 1, "x");
        let check = |again: RawJson, lines: &[&str]| assert_eq!(between(&original, &again, false).unwrap(), lines);
        check(document("completed", r#"[{"a":1.10,"duration_ms":5}]"#, 2, "x"), &[]);
        check(
            document("completed", r#"[{"a":1.10,"duration_ms":6}]"#, 2, "x"),
            &["/result/data/0/duration_ms: was 5, is 6"],
        );
        check(document("completed", r#"[{"a":1.1,"duration_ms":5}]"#, 2, "x"), &["/result/data/0/a: was 1.10, is 1.1"]);
        check(
            document("failed", "[]", 1, "y"),
            &[
                r#"/status: was "completed", is "failed""#,
                r#"/result/data: was [{"a":1.10,"duration_ms":5}], is []"#,
                r#"/metadata/warnings/0: was "x", is "y""#,
            ],
        );
    }

    #[test]
    fn a_failed_run_has_its_own_id_and_a_cut_call_its_own_cost() {
        let document = |id: &str, tokens: u32| {
            RawJson::from_trusted(format!(
                r#"{{"error":{{"type":"x","details":{{"execution_id":"{id}"}}}},"metadata":{{"tokens_used":{tokens}}}}}"#
            ))
        };
        let original = document("a", 1);
        assert_eq!(between(&original, &document("b", 1), false).unwrap(), [""; 0]);
        assert_eq!(between(&original, &document("b", 2), true).unwrap(), [""; 0]);
        assert_eq!(between(&original, &document("b", 2), false).unwrap(), ["/metadata/tokens_used: was 1, is 2"]);
    }

    #[test]
    fn long_differences_are_cut() {
        let many = |n: usize, x: u8| {
            let rows: Vec<String> = (0..n).map(|_| format!(r#"{{"k":"{}"}}"#, x.to_string().repeat(500))).collect();
            RawJson::from_trusted(format!(r#"{{"result":{{"data":[{}]}}}}"#, rows.join(",")))
        };
        let lines = between(&many(30, 1), &many(30, 2), false).unwrap();
        assert_eq!((lines.len(), lines[20].as_str()), (21, "… and 10 more differences"));
        assert!(lines[0].chars().count() < 400 && lines[0].contains("(502 bytes)"), "{}", lines[0]);
    }
}
