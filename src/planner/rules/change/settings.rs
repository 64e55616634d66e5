//! Settings: `set the timeout of fetch to 30 seconds`, `retry fetch 3 times`.

use serde_json::{Value, json};

use super::{
    condition,
    edit::Found,
    flow::{Flow, Node},
    nodes::{must, node},
};
use crate::planner::rules::{
    cursor::{Cursor, Problem, number_word},
    lex::Kind,
    names,
};

/// Words of a setting's name.
const KEY_WORDS: usize = 4;

/// `set <setting> of <node> to <value>`, and its other orders.
pub(super) fn set(at: &mut Cursor<'_>, flow: &mut Flow) -> Found {
    let start = at.look();
    let verbs = [
        "set", "change", "update", "increase", "decrease", "raise", "lower", "adjust", "modify", "make", "reduce",
        "extend", "shorten", "replace",
    ];
    if at.eat_any(&verbs).is_none() {
        return retry(at, flow);
    }
    at.articles();
    let (words, id) = match setting_of(at, flow)? {
        Some(found) => found,
        None => {
            *at = start;
            return Err("what to set (as in \"set the timeout of fetch to 30 seconds\")".into());
        }
    };
    let by = at.eat("by");
    if !by && at.eat_any(&["to", "=", "with", "as"]).is_none() {
        return Err(format!("what to set `{}` of `{id}` to", words.join("_")));
    }
    let Some(node) = flow.node(&id) else { return Ok(false) };
    let (mut value, unit) = value(at)?;
    let key = key(node, &words, unit);
    if by {
        value = step(node, &key, &value, start.sees("decrease") || start.sees("lower") || start.sees("reduce"))?;
    }
    let value = in_unit(&key, value, unit)?;
    flow.set(&id, &key, value);
    Ok(true)
}

/// The words of the setting and the node: `timeout of fetch`, `fetch's timeout`, `fetch timeout`.
fn setting_of(at: &mut Cursor<'_>, flow: &Flow) -> Result<Option<(Vec<String>, String)>, Problem> {
    let start = at.look();
    let mut words = Vec::new();
    while let Some(token) = at.peek(0).filter(|token| token.is_word() && words.len() < KEY_WORDS) {
        if !words.is_empty() && at.eat_any(&["of", "on", "for", "in", "from"]).is_some() {
            return Ok(Some((words, must(at, flow)?)));
        }
        if matches!(&*token.text, "to" | "by" | "with" | "as") {
            break;
        }
        words.push(token.text.clone());
        at.at += 1;
    }
    *at = start;
    let Some(id) = node(at, flow)? else { return Ok(None) };
    let mut words = Vec::new();
    while let Some(token) = at.peek(0).filter(|token| token.is_word() && words.len() < KEY_WORDS) {
        if matches!(&*token.text, "to" | "by" | "with" | "as") {
            break;
        }
        words.push(token.text.clone());
        at.at += 1;
    }
    Ok((!words.is_empty()).then_some((words, id)))
}

/// `retry fetch 3 times`, `let fetch retry 3 times`.
fn retry(at: &mut Cursor<'_>, flow: &mut Flow) -> Found {
    let start = at.look();
    let early = at.eat("retry");
    if !early && at.eat_any(&["let", "make", "have"]).is_none() {
        return Ok(false);
    }
    let Some(id) = node(at, flow)? else {
        *at = start;
        return Ok(false);
    };
    let retries = early || at.eat("retry");
    at.eat_any(&["up to", "at most"]);
    let count = at.count();
    let (true, Some(count), true) = (retries, count, at.eat("times")) else {
        *at = start;
        return Err(format!("how often to retry `{id}` (as in \"retry {id} 3 times\")"));
    };
    let config = flow.node(&id).and_then(|node| node.config.as_ref());
    let own = config.and_then(|config| config.keys().find(|key| matches!(&***key, "retries" | "max_retries")).cloned());
    match own {
        Some(key) => flow.set(&id, &key, count.into()),
        None => {
            let known = config.and_then(|config| config.get("retry")).filter(|retry| retry.is_object()).cloned();
            let mut retry = known.unwrap_or_else(|| json!({}));
            retry["max_attempts"] = count.into();
            flow.set(&id, "retry", retry);
        }
    }
    Ok(true)
}

/// The key of the config that the words name, or the words as a new key.
fn key(node: &Node, words: &[String], unit: Option<Unit>) -> String {
    let wanted: Vec<String> = words.iter().flat_map(|word| names::words(word)).collect();
    let keys = || node.config.iter().flat_map(|config| config.keys());
    let exact = keys().find(|key| names::words(key) == wanted);
    // `timeout` may stand there as `timeout_ms`, `retries` as `max_retries`.
    let longer = || {
        let mut found = keys().filter(|key| super::flow::has_words(key, &wanted));
        found.next().filter(|_| found.next().is_none())
    };
    match exact.or_else(longer) {
        Some(key) => key.clone(),
        None if unit.is_some() && wanted.len() == 1 => format!("{}_ms", words.join("_")),
        None => words.join("_"),
    }
}

/// A unit of time, in milliseconds.
type Unit = u64;

/// Units of time in milliseconds.
const UNITS: &[(&str, Unit)] = &[
    ("milliseconds", 1),
    ("ms", 1),
    ("seconds", 1000),
    ("second", 1000),
    ("secs", 1000),
    ("s", 1000),
    ("min", 60_000),
    ("minutes", 60_000),
    ("minute", 60_000),
    ("mins", 60_000),
    ("hours", 3_600_000),
    ("hour", 3_600_000),
];

/// `5s`, `30min`: a number with its unit in one word.
fn joined(word: &str) -> Option<(Value, Unit)> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (_, unit) = UNITS.iter().find(|(name, _)| digits > 0 && *name == &word[digits..])?;
    Some((serde_json::from_str(&word[..digits]).ok()?, *unit))
}

/// A value with the unit behind it.
fn value(at: &mut Cursor<'_>) -> Result<(Value, Option<Unit>), Problem> {
    let Some(token) = at.peek(0) else { return Err("the new value".into()) };
    let number = match &token.kind {
        Kind::Number(digits, _) => serde_json::from_str(digits).ok(),
        Kind::Word => number_word(&token.text).map(Value::from),
        _ => None,
    };
    if let Some(number) = number {
        at.at += 1;
        let unit = at.eat_key(UNITS);
        return Ok((number, unit));
    }
    if let Some((number, unit)) = joined(&token.text) {
        at.at += 1;
        return Ok((number, Some(unit)));
    }
    at.at += 1;
    Ok((
        match &token.kind {
            Kind::Word if token.text == "true" => true.into(),
            Kind::Word if token.text == "false" => false.into(),
            Kind::Word if token.text == "null" => Value::Null,
            Kind::Sign => return Err(format!("the value \"{}\"", token.raw)),
            _ => token.raw.as_str().into(),
        },
        None,
    ))
}

/// The value in the unit that the key is named after.
fn in_unit(key: &str, value: Value, unit: Option<Unit>) -> Result<Value, Problem> {
    let Some(unit) = unit else { return Ok(value) };
    let words = names::words(key);
    let has = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    let of_key = if has(&["m", "ms", "milli", "millisecond", "millis"]) {
        1
    } else if has(&["sec", "second", "s"]) {
        1000
    } else if has(&["min", "minute", "mins"]) {
        60_000
    } else {
        return Err(format!("a unit of time for `{key}`, whose own unit is not known (give the bare number)"));
    };
    let milliseconds = value.as_u64().and_then(|number| number.checked_mul(unit));
    match milliseconds {
        Some(milliseconds) if milliseconds % of_key == 0 => Ok((milliseconds / of_key).into()),
        _ => Err(format!("{value} in the unit of `{key}` (give a whole number)")),
    }
}

/// `increase … by 2`.
fn step(node: &Node, key: &str, by: &Value, down: bool) -> Result<Value, Problem> {
    let now = node.config.as_ref().and_then(|config| config.get(key)).and_then(Value::as_i64);
    let sum = now.zip(by.as_i64()).and_then(|(now, by)| if down { now.checked_sub(by) } else { now.checked_add(by) });
    sum.map(Value::from).ok_or_else(|| format!("changing `{key}` of `{}` by {by}: it holds no whole number", node.id))
}

/// `url https://…`, `method POST`, `timeout_ms 500`: a key and its value.
pub(super) fn pair(at: &mut Cursor<'_>, flow: &Flow) -> Result<(String, Value), Problem> {
    at.articles();
    let Some(token) = at.peek(0).filter(|token| token.is_word()) else {
        return Err("a setting behind \"with\" (as in \"with url https://…\")".into());
    };
    let key = token.text.clone();
    at.at += 1;
    at.eat_any(&["=", ":", "of", "set to"]);
    if at.done() || matches!(at.word(0), "and" | "," | "after" | "before" | "between" | "called" | "named") {
        return Err(format!("the value of the setting \"{key}\""));
    }
    if key == "condition" && at.peek(0).is_some_and(|token| token.kind != Kind::Quoted) {
        return Ok((key, condition::expression(at, flow)?.cel.into()));
    }
    let (value, unit) = value(at)?;
    let key = if unit.is_some() && !key.contains('_') { format!("{key}_ms") } else { key };
    let value = in_unit(&key, value, unit)?;
    Ok((key, value))
}
