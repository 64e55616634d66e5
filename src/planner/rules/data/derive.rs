//! New columns: `add a column total = price * quantity`.

use super::{
    columns::{Columns, Known},
    select::new_name,
    stage::Stage,
};
use crate::planner::rules::cursor::{Cursor, Problem};
use crate::planner::rules::lex::Kind;

/// `add a column NAME as A times B`.
pub(super) fn derive(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Result<bool, Problem> {
    let start = at.look();
    let verb = at.eat_any(&["add", "create", "make", "calculate", "compute", "derive"]);
    at.articles();
    at.eat("new");
    let column = at.eat_any(&["column", "field"]).is_some();
    at.eat_any(&["called", "named", ":"]);
    let early = new_name(at);
    let with =
        at.eat_any(&["=", ":", "as", "equal to", "equals", "with", "from", "being", "that is", "which is"]).is_some();
    let (Some(_), true, Some(name), true) =
        (verb, column || start.sees("calculate") || start.sees("compute"), early, with)
    else {
        *at = start;
        return Ok(false);
    };
    if !column && columns.at(&start.rest()[1..]).is_some() {
        *at = start;
        return Ok(false);
    }
    if columns.get(&name).is_some() {
        return Err(format!("a new column `{name}`, which is there already"));
    }
    at.articles();
    match expression(at, columns) {
        Some(expr) => {
            stage.derive.push((name, expr));
            Ok(true)
        }
        None => Err(format!("what `{name}` is computed from (as in \"add a column {name} = price * quantity\")")),
    }
}

/// Operands joined by signs or their words, as a CEL expression.
fn expression(at: &mut Cursor<'_>, columns: &Columns) -> Option<String> {
    const SIGNS: &[(&str, &str)] = &[
        ("+", "+"),
        ("plus", "+"),
        ("-", "-"),
        ("minus", "-"),
        ("less", "-"),
        ("*", "*"),
        ("x", "*"),
        ("times", "*"),
        ("multiplied by", "*"),
        ("/", "/"),
        ("divided by", "/"),
        ("over", "/"),
    ];
    let mut terms = vec![operand(at, columns)?];
    let mut signs = Vec::new();
    loop {
        let before = at.look();
        let Some(sign) = at.eat_key(SIGNS) else { break };
        at.articles();
        let Some(next) = operand(at, columns) else {
            *at = before;
            break;
        };
        terms.push(next);
        signs.push(sign);
    }
    if signs.contains(&"/") {
        // Whole numbers divide to whole numbers there, which is not what a person means by "half of it".
        terms.iter_mut().for_each(|term| *term = format!("double({term})"));
    }
    let mut expr = terms.first()?.clone();
    for (sign, term) in signs.iter().zip(&terms[1..]) {
        expr = format!("{expr} {sign} {term}");
    }
    (!signs.is_empty()).then_some(expr)
}

fn operand(at: &mut Cursor<'_>, columns: &Columns) -> Option<String> {
    if at.eat("(") {
        let inner = expression(at, columns)?;
        return at.eat(")").then(|| format!("({inner})"));
    }
    if let Some(Kind::Number(digits, _)) = at.peek(0).map(|token| &token.kind) {
        at.at += 1;
        return Some(digits.clone());
    }
    let name = at.column(columns)?;
    let plain =
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    let textual = columns.get(&name).is_some_and(Known::numeric_text);
    let row = if plain { format!("row.{name}") } else { format!("row[{}]", serde_json::Value::from(name)) };
    // Numbers written as text count as numbers.
    Some(if textual { format!("double({row})") } else { row })
}
