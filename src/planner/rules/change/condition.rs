//! What happens, as a condition: `the price drops below 500 and the status is failed`.

use super::{
    flow::Flow,
    nodes::{NODE_WORDS, node},
};
use crate::planner::rules::{
    cursor::{Cursor, Problem},
    lex::{Kind, Unit},
};

/// A condition over the output of a node.
pub(super) struct Event {
    /// CEL over `output`.
    pub(super) cel: String,
    /// The first field, for names.
    pub(super) field: String,
    /// Whose output, where it was said.
    pub(super) node: Option<String>,
    /// What was taken for granted.
    pub(super) notes: Vec<String>,
}

const COMPARISONS: &[(&str, &str)] = &[
    ("drops below", "<"),
    ("drops under", "<"),
    ("drop below", "<"),
    ("drop under", "<"),
    ("falls below", "<"),
    ("falls under", "<"),
    ("fall below", "<"),
    ("goes below", "<"),
    ("goes under", "<"),
    ("dips below", "<"),
    ("sinks below", "<"),
    ("gets below", "<"),
    ("is below", "<"),
    ("is under", "<"),
    ("is less than", "<"),
    ("is lower than", "<"),
    ("is smaller than", "<"),
    ("is fewer than", "<"),
    ("less than", "<"),
    ("below", "<"),
    ("under", "<"),
    ("<", "<"),
    ("is at most", "<="),
    ("at most", "<="),
    ("<=", "<="),
    ("rises above", ">"),
    ("rises over", ">"),
    ("rise above", ">"),
    ("goes above", ">"),
    ("goes over", ">"),
    ("climbs above", ">"),
    ("climbs over", ">"),
    ("gets above", ">"),
    ("jumps above", ">"),
    ("is above", ">"),
    ("is over", ">"),
    ("is more than", ">"),
    ("is greater than", ">"),
    ("is higher than", ">"),
    ("is larger than", ">"),
    ("more than", ">"),
    ("greater than", ">"),
    ("exceeds", ">"),
    ("exceed", ">"),
    ("above", ">"),
    ("over", ">"),
    (">", ">"),
    ("reaches", ">="),
    ("hits", ">="),
    ("is at least", ">="),
    ("at least", ">="),
    (">=", ">="),
    ("is not", "!="),
    ("isnt", "!="),
    ("is not equal to", "!="),
    ("does not equal", "!="),
    ("!=", "!="),
    ("is equal to", "=="),
    ("equals", "=="),
    ("becomes", "=="),
    ("turns", "=="),
    ("is", "=="),
    ("==", "=="),
    ("=", "=="),
];

/// Words of a field's name.
const FIELD_WORDS: usize = 3;

/// One comparison, or several joined by `and` or by `or`.
pub(super) fn expression(at: &mut Cursor<'_>, flow: &Flow) -> Result<Event, Problem> {
    let mut event = comparison(at, flow)?;
    let mut joined: Option<&str> = None;
    loop {
        let before = at.look();
        let Some(join) = at.eat_key(&[("and", "&&"), ("or", "||")]) else { break };
        match comparison(&mut at.look(), flow) {
            Ok(_) if joined.is_none_or(|known| known == join) => {
                let next = comparison(at, flow)?;
                event.cel = format!("{} {join} {}", event.cel, next.cel);
                event.notes.extend(next.notes);
                joined = Some(join);
            }
            Ok(_) => return Err("a condition with both \"and\" and \"or\"".into()),
            Err(_) => {
                *at = before;
                break;
            }
        }
    }
    Ok(event)
}

fn comparison(at: &mut Cursor<'_>, flow: &Flow) -> Result<Event, Problem> {
    let start = at.look();
    at.articles();
    at.eat_any(&["value of the", "value of", "output of the", "output of"]);
    at.articles();
    let mut words = Vec::new();
    let mut owner = None;
    let sign = loop {
        if !words.is_empty()
            && let Some(sign) = at.eat_key(COMPARISONS)
        {
            break sign;
        }
        if !words.is_empty() && at.eat_any(&["of", "in", "from", "at"]).is_some() {
            owner = node(at, flow)?;
            if owner.is_none() {
                return Err(cannot(&start));
            }
            continue;
        }
        let word = at.peek(0).filter(|token| token.is_word() && words.len() < FIELD_WORDS && owner.is_none());
        let Some(token) = word.filter(|token| !NODE_WORDS.contains(&&*token.text)) else { return Err(cannot(&start)) };
        words.push(token.raw.clone());
        at.at += 1;
    };
    let field = path(&words).ok_or_else(|| cannot(&start))?;
    let mut notes = Vec::new();
    let value = value(at, &mut notes)?.ok_or_else(|| cannot(&start))?;
    let textual = value.starts_with('"') || value == "true" || value == "false";
    if textual && !matches!(sign, "==" | "!=") {
        return Err(cannot(&start));
    }
    Ok(Event { cel: format!("output.{field} {sign} {value}"), field, node: owner, notes })
}

/// A field of the output: one identifier, or words that become one.
fn path(words: &[String]) -> Option<String> {
    let joined = words.join("_");
    let joined = joined.strip_prefix("output.").unwrap_or(&joined).to_owned();
    let plain = joined.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
    let field = if words.len() > 1 { joined.to_lowercase() } else { joined };
    (plain && field.is_ascii() && !field.starts_with(|c: char| c.is_ascii_digit())).then_some(field)
}

/// A value as CEL writes it.
fn value(at: &mut Cursor<'_>, notes: &mut Vec<String>) -> Result<Option<String>, Problem> {
    at.articles();
    let Some(token) = at.peek(0) else { return Ok(None) };
    let text = match &token.kind {
        Kind::Number(digits, unit @ (Unit::Plain | Unit::Money | Unit::Percent)) => {
            at.at += 1;
            if *unit == Unit::Percent || at.eat_any(&["percent", "%"]).is_some() {
                return Err(format!(
                    "the share {digits} percent (write the number as the field has it, as in \"below 5\" or \"below 0.05\")"
                ));
            }
            let currency = at.eat_any(&["dollars", "euros", "usd", "eur", "pounds"]);
            if currency.is_some() || *unit == Unit::Money {
                notes.push(format!("{digits} is compared as a number: in which currency the field is was not checked"));
            }
            return Ok(Some(digits.clone()));
        }
        Kind::Word if matches!(&*token.text, "true" | "false") => token.text.clone(),
        Kind::Quoted | Kind::Date => serde_json::Value::from(token.raw.as_str()).to_string(),
        Kind::Word if !["and", "or", "then", "a", "the", "not"].contains(&&*token.text) => {
            serde_json::Value::from(token.raw.as_str()).to_string()
        }
        _ => return Ok(None),
    };
    at.at += 1;
    Ok(Some(text))
}

fn cannot(start: &Cursor<'_>) -> Problem {
    let words: Vec<&str> = start.rest().iter().take(6).map(|token| token.raw.as_str()).collect();
    format!(
        "the condition \"{}\" (say it with a field and a value, as in \"the price drops below 500\")",
        words.join(" ")
    )
}
