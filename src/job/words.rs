//! What a reader of JSON says about a value that does not fit, in words of JSON in place of Rust's types.

/// A message of serde for people: `expected an object, found text "x"`.
///
/// What it does not know stays as it is. Where in the text something was found is kept.
#[must_use]
pub fn in_plain_words(message: &str) -> String {
    let (head, place) = match message.rfind(" at line ") {
        Some(at) => message.split_at(at),
        None => (message, ""),
    };
    let said = head.strip_prefix("invalid type: ").or_else(|| head.strip_prefix("invalid value: "));
    let plain = match said.and_then(|said| said.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("expected {}, found {}", wanted(expected), found_value(found)),
        None => member(head),
    };
    format!("{plain}{place}")
}

/// What was wanted.
fn wanted(expected: &str) -> String {
    if let Some((_, size)) = expected.split_once("tuple of ").or_else(|| expected.split_once("array of ")) {
        return format!("a list of {size}");
    }
    let first = expected.split(' ').next().unwrap_or_default();
    let plain = match first {
        "struct" | "map" => "an object",
        "a" | "an" => match expected.rsplit(' ').next().unwrap_or_default() {
            "sequence" => "a list",
            "map" => "an object",
            "string" => "text",
            "boolean" => "true or false",
            _ => expected,
        },
        "sequence" => "a list",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "string" | "str" | "enum" | "variant" => "text",
        "unit" | "null" => "null",
        _ => expected,
    };
    plain.to_owned()
}

/// What was found.
fn found_value(found: &str) -> String {
    let value = found.split_once('`').map(|(_, rest)| rest.trim_end_matches('`'));
    let kind = found.split([' ', '`']).next().unwrap_or_default();
    match (kind, value) {
        ("string", _) => format!("text{}", found.trim_start_matches("string")),
        ("boolean", Some(value)) => value.to_owned(),
        ("integer" | "floating", Some(value)) => format!("the number {value}"),
        ("integer" | "floating" | "number", None) => "a number".to_owned(),
        ("sequence", _) => "a list".to_owned(),
        ("map" | "newtype" | "struct", _) => "an object".to_owned(),
        ("null" | "unit" | "Option", _) => "null".to_owned(),
        _ => found.to_owned(),
    }
}

/// Messages about members.
fn member(message: &str) -> String {
    if let Some(name) = message.strip_prefix("missing field ") {
        return format!("{name} is missing");
    }
    for (from, to) in [
        ("unknown variant ", "unknown value "),
        ("unknown field ", "unknown member "),
        ("duplicate field ", "there is twice "),
        ("invalid length ", "found a list of length "),
    ] {
        if let Some(rest) = message.strip_prefix(from) {
            return format!("{to}{rest}");
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, de::DeserializeOwned};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only what cannot be read is of interest")]
    struct Inner {
        count: u32,
        share: f64,
        list: Vec<String>,
        flag: bool,
        choice: Choice,
        map: BTreeMap<String, u8>,
        pair: (u8, u8),
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        One,
        Two,
    }

    fn said<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
        let message = serde_json::from_str::<T>(text).unwrap_err().to_string();
        let plain = in_plain_words(&message);
        assert_eq!(in_plain_words(&plain), plain, "once is enough");
        plain
    }

    #[test]
    fn no_name_of_a_rust_type_is_left() {
        let rows = [
            (said::<Inner>("\"x\""), "expected an object, found text \"x\" at line 1 column 3"),
            (said::<Inner>("7"), "expected an object, found the number 7 at line 1 column 1"),
            (
                said::<Inner>("{\"count\":\"7\"}"),
                "expected a whole number from 0, found text \"7\" at line 1 column 12",
            ),
            (
                said::<Inner>("{\"count\":-7}"),
                "expected a whole number from 0, found the number -7 at line 1 column 11",
            ),
            (said::<Inner>("{\"share\":true}"), "expected a number, found true at line 1 column 13"),
            (said::<Inner>("{\"list\":{}}"), "expected a list, found an object at line 1 column 8"),
            (said::<Inner>("{\"list\":[null]}"), "expected text, found null at line 1 column 13"),
            (said::<Inner>("{\"flag\":[]}"), "expected true or false, found a list at line 1 column 8"),
            (
                said::<Inner>("{\"map\":\"a, expected b\"}"),
                "expected an object, found text \"a, expected b\" at line 1 column 22",
            ),
            (said::<Inner>("{\"count\":1}"), "`share` is missing at line 1 column 11"),
            (said::<Choice>("\"three\""), "unknown value `three`, expected `one` or `two` at line 1 column 7"),
        ];
        let wrong: Vec<_> = rows.iter().filter(|(found, want)| found != want).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        for (found, _) in rows {
            for word in ["struct", "sequence", "u32", "f64", "map", "string", "boolean"] {
                assert!(!found.contains(word), "{found}");
            }
        }
        assert!(said::<Inner>("{\"pair\":7}").contains("a list of size 2"));
        assert!(said::<Inner>("{").starts_with("EOF while parsing"));
    }
}
