//! The engine against a slow reference written from the contract, over random small tables.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

/// A cell as written, or none.
type Raw = Option<&'static str>;

/// What a cell means to the reference: a rank for its type, then its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    Null,
    Bool(bool),
    /// In hundredths: no number here has more than two places.
    Number(i128),
    Text(String),
    List(Vec<Meaning>),
}

fn meaning(raw: Raw) -> Meaning {
    let value: serde_json::Value = serde_json::from_str(raw.unwrap_or("null")).unwrap();
    of_value(&value)
}

fn of_value(value: &serde_json::Value) -> Meaning {
    match value {
        serde_json::Value::Null => Meaning::Null,
        serde_json::Value::Bool(truth) => Meaning::Bool(*truth),
        serde_json::Value::Number(number) => {
            let text = number.to_string();
            let (whole, places) = text.split_once('.').unwrap_or((&text, ""));
            let digits = format!("{whole}{places:0<2}");
            Meaning::Number(digits.parse().unwrap())
        }
        serde_json::Value::String(text) => Meaning::Text(text.clone()),
        serde_json::Value::Array(list) => Meaning::List(list.iter().map(of_value).collect()),
        serde_json::Value::Object(_) => unreachable!("no objects in cells"),
    }
}

const CELLS: [Raw; 20] = [
    None,
    Some("null"),
    Some("true"),
    Some("false"),
    Some("0"),
    Some("-0"),
    Some("1"),
    Some("1.0"),
    Some("1.10"),
    Some("1.1"),
    Some("-2"),
    Some("9007199254740992"),
    Some("9007199254740993"),
    Some("\"\""),
    Some("\"a\""),
    Some("\"\\u0061\""),
    Some("\"b\""),
    Some("\"1\""),
    Some("[1]"),
    Some("[1.0,\"a\"]"),
];

type Row = [Raw; 2];

fn row() -> impl Strategy<Value = Row> {
    (0..CELLS.len(), 0..CELLS.len()).prop_map(|(a, b)| [CELLS[a], CELLS[b]])
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(row(), 0..24)
}

fn row_text(index: usize, row: &Row) -> String {
    let member = |(name, raw): (&str, &Raw)| raw.map(|raw| format!("\"{name}\": {raw}"));
    let members: Vec<String> = ["a", "b"].into_iter().zip(row).filter_map(member).collect();
    let separator = if members.is_empty() { "" } else { "," };
    format!("{{\"i\":{index}{separator}{}}}", members.join(","))
}

fn table_text(rows: &[Row]) -> String {
    let rows: Vec<String> = rows.iter().enumerate().map(|(i, row)| row_text(i, row)).collect();
    format!("[{}]", rows.join(", "))
}

/// The rows with these numbers, as they came.
fn chosen(rows: &[Row], numbers: impl IntoIterator<Item = usize>) -> String {
    let rows: Vec<String> = numbers.into_iter().map(|i| row_text(i, &rows[i])).collect();
    format!("[{}]", rows.join(","))
}

/// Runs steps without the column check, which knows that no row has a column that none has.
fn engine(input: &str, steps: &str) -> String {
    let plan = Plan::parse(&RawJson::from_trusted(steps.to_owned()), &Limits::default()).unwrap();
    let body = json_body(input);
    let run_on = |threads| {
        let control = Control { threads, ..Control::default() };
        run(&plan, Some(&body), &Inputs::default(), &Limits::default(), &control).unwrap().data
    };
    assert_eq!(run_on(1).as_str(), run_on(4).as_str(), "{steps}");
    run_on(1).as_str().to_owned()
}

fn same_kind(a: &Meaning, b: &Meaning) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn holds(cell: &Meaning, op: &str, value: &Meaning) -> bool {
    let ordered = same_kind(cell, value) && !matches!(cell, Meaning::Null | Meaning::List(_));
    match op {
        "==" if *value == Meaning::Null => *cell == Meaning::Null,
        "!=" if *value == Meaning::Null => *cell != Meaning::Null,
        _ if *cell == Meaning::Null || !same_kind(cell, value) => false,
        "==" => cell == value,
        "!=" => cell != value,
        "<" => ordered && cell < value,
        "<=" => ordered && cell <= value,
        ">" => ordered && cell > value,
        _ => ordered && cell >= value,
    }
}

fn by(a: &Meaning, b: &Meaning, descending: bool) -> Ordering {
    match (*a == Meaning::Null, *b == Meaning::Null) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if descending => b.cmp(a),
        _ => a.cmp(b),
    }
}

/// Row numbers, stably sorted by one column.
fn sorted(rows: &[Row], column: usize, descending: bool) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..rows.len()).collect();
    numbers.sort_by(|x, y| by(&meaning(rows[*x][column]), &meaning(rows[*y][column]), descending));
    numbers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filters_agree(rows in rows(), op in prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]), value in 1..CELLS.len()) {
        let value = CELLS[value].unwrap();
        let unordered = value.starts_with('[') || value == "null";
        prop_assume!(!(unordered && op.contains(['<', '>'])));
        let steps = format!(r#"[{{"step":"table_filter","condition":{{"field":"a","op":"{op}","value":{value}}}}}]"#);
        let wanted = meaning(Some(value));
        let kept = (0..rows.len()).filter(|i| holds(&meaning(rows[*i][0]), op, &wanted));
        prop_assert_eq!(engine(&table_text(&rows), &steps), chosen(&rows, kept));
    }

    #[test]
    fn sorts_agree_and_top_k_is_their_beginning(rows in rows(), descending: bool, k in 1_usize..30) {
        let order = if descending { "desc" } else { "asc" };
        let expected = sorted(&rows, 0, descending);
        let sort = format!(r#"{{"step":"table_sort","field":"a","order":"{order}"}}"#);
        let input = table_text(&rows);
        prop_assert_eq!(engine(&input, &format!("[{sort}]")), chosen(&rows, expected.iter().copied()));
        let first = chosen(&rows, expected.into_iter().take(k));
        prop_assert_eq!(&engine(&input, &format!(r#"[{sort},{{"step":"top_k","k":{k}}}]"#)), &first);
        prop_assert_eq!(&engine(&input, &format!(r#"[{{"step":"top_k","k":{k},"by":"a","order":"{order}"}}]"#)), &first);
        prop_assert_eq!(&engine(&input, &format!(r#"[{sort},{{"step":"slice","limit":{k}}}]"#)), &first);
    }

    #[test]
    fn sorting_by_two_keys_agrees(rows in rows()) {
        let mut expected: Vec<usize> = (0..rows.len()).collect();
        expected.sort_by(|x, y| {
            let cell = |row: &usize, column: usize| meaning(rows[*row][column]);
            by(&cell(x, 0), &cell(y, 0), false).then_with(|| by(&cell(x, 1), &cell(y, 1), true))
        });
        let steps = r#"[{"step":"table_sort","by":[{"field":"a"},{"field":"b","order":"desc"}]}]"#;
        prop_assert_eq!(engine(&table_text(&rows), steps), chosen(&rows, expected));
    }

    #[test]
    fn groups_agree(rows in rows()) {
        let mut groups: Vec<(Meaning, Raw, Vec<usize>)> = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let key = meaning(row[0]);
            match groups.iter_mut().find(|(known, ..)| *known == key) {
                Some((_, _, members)) => members.push(i),
                None => groups.push((key, row[0], vec![i])),
            }
        }
        let lines: Vec<String> = groups.iter().map(|(_, raw, members)| {
            let cells: Vec<Meaning> = members.iter().map(|i| meaning(rows[*i][1])).collect();
            let numbers: Vec<i128> = cells.iter().filter_map(|cell| match cell {
                Meaning::Number(hundredths) => Some(*hundredths),
                _ => None,
            }).collect();
            let sum = hundredths(numbers.iter().sum());
            let distinct: std::collections::BTreeSet<&Meaning> = cells.iter().filter(|cell| **cell != Meaning::Null).collect();
            let values = cells.iter().filter(|cell| **cell != Meaning::Null).count();
            format!(r#"{{"a":{},"n":{},"v":{values},"d":{},"s":{sum}}}"#, raw.unwrap_or("null"), members.len(), distinct.len())
        }).collect();
        let steps = r#"[{"step":"group_by","by":["a"],"aggregates":[{"op":"count","as":"n"},{"op":"count","field":"b","as":"v"},
            {"op":"count_distinct","field":"b","as":"d"},{"op":"sum","field":"b","as":"s"}]}]"#;
        prop_assert_eq!(engine(&table_text(&rows), steps), format!("[{}]", lines.join(",")));
    }

    #[test]
    fn distinct_agrees(rows in rows()) {
        let first = (0..rows.len()).filter(|i| !rows[..*i].iter().any(|row| meaning(row[0]) == meaning(rows[*i][0])));
        prop_assert_eq!(engine(&table_text(&rows), r#"[{"step":"distinct","fields":["a"]}]"#), chosen(&rows, first));
    }

    #[test]
    fn semi_and_anti_joins_share_the_rows(left in rows(), right in rows()) {
        let matches = |i: &usize| {
            let key = meaning(left[*i][0]);
            key != Meaning::Null && right.iter().any(|row| meaning(row[0]) == key)
        };
        let other = table_text(&right);
        let join = |how: &str| format!(r#"[{{"step":"join","right":{other},"on":"a","how":"{how}"}}]"#);
        let input = table_text(&left);
        prop_assert_eq!(engine(&input, &join("semi")), chosen(&left, (0..left.len()).filter(|i| matches(i))));
        prop_assert_eq!(engine(&input, &join("anti")), chosen(&left, (0..left.len()).filter(|i| !matches(i))));
    }

    #[test]
    fn joins_pair_what_is_equal_in_order(left in rows(), right in rows()) {
        let pairs: Vec<(usize, usize)> = (0..left.len()).flat_map(|i| {
            let key = meaning(left[i][0]);
            let right = &right;
            (0..right.len()).filter(move |j| key != Meaning::Null && meaning(right[*j][0]) == key).map(move |j| (i, j))
        }).collect();
        let steps = format!(r#"[{{"step":"join","right":{},"on":"a"}},{{"step":"table_select","fields":["i","i_right"]}}]"#, table_text(&right));
        let pairs: Vec<String> = pairs.into_iter().map(|(i, j)| format!(r#"{{"i":{i},"i_right":{j}}}"#)).collect();
        prop_assert_eq!(engine(&table_text(&left), &steps), format!("[{}]", pairs.join(",")));
    }

    #[test]
    fn the_scanner_takes_what_serde_takes(text in r#"[\[\]{}",:0-9a-c\\ntrue .eE+-]{0,24}"#) {
        let ours = { let mut scanner = read::Scanner::new(&text); scanner.space(); scanner.value().is_ok() && scanner.end().is_ok() };
        let serde = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(ours, serde, "{:?}", text);
    }

    #[test]
    fn no_plan_panics(text in r#"[\[\]{}",:0-9a-z_ ]{0,80}"#) {
        let _ = Plan::parse(&RawJson::from_trusted(text), &Limits::default());
    }
}

fn hundredths(sum: i128) -> String {
    let text = format!("{}{:03}", if sum < 0 { "-" } else { "" }, sum.abs());
    let (whole, places) = text.split_at(text.len() - 2);
    let places = places.trim_end_matches('0');
    if places.is_empty() { whole.to_owned() } else { format!("{whole}.{places}") }
}
