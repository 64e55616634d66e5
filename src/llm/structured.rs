//! JSON that was asked for, out of whatever a model wrote: fenced, with prose around it, numbers as text.

use serde_json::{Map, Value};

/// Longest answer that is searched for JSON, in bytes: these answers are small by nature.
const MAX_BYTES: usize = 1 << 20;

/// An object that a model wrote.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer(Map<String, Value>);

/// Finds the object in `text`: the whole text, a fenced block, or the first object amid prose. Thoughts in
/// tags and JSON inside a JSON text are seen through. None where there is none.
#[must_use]
pub fn read(text: &str) -> Option<Answer> {
    let text = text.get(..MAX_BYTES).unwrap_or(text).trim();
    if let Some(found) = object(unfence(text)) {
        return Some(found);
    }
    // The first object that is whole, wherever it begins; what lies inside a broken one is no answer.
    let mut from = 0;
    while let Some(at) = text[from..].find('{').map(|at| from + at) {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(Value::Object(members))) if !members.is_empty() => return Some(Answer(members)),
            Some(Err(error)) if error.is_eof() => return None,
            _ => from = at + 1,
        }
    }
    None
}

/// Whether all of `text` is one object, fenced or not, and no prose that holds one.
#[must_use]
pub fn is_object(text: &str) -> bool {
    let text = unfence(text.trim());
    match serde_json::from_str(text) {
        Ok(Value::Object(_)) => true,
        Ok(Value::String(inner)) => matches!(serde_json::from_str(unfence(inner.trim())), Ok(Value::Object(_))),
        _ => false,
    }
}

fn object(text: &str) -> Option<Answer> {
    match serde_json::from_str(text).ok()? {
        Value::Object(members) => Some(Answer(members)),
        Value::String(inner) => match serde_json::from_str(unfence(inner.trim())).ok()? {
            Value::Object(members) => Some(Answer(members)),
            _ => None,
        },
        Value::Array(mut items) if items.len() == 1 => match items.pop()? {
            Value::Object(members) => Some(Answer(members)),
            _ => None,
        },
        _ => None,
    }
}

/// The inside of the first fenced block that stands alone, or the text as it is.
#[must_use]
pub fn unfence(text: &str) -> &str {
    let Some(rest) = text.trim().strip_prefix("```") else { return text };
    let body = rest.split_once('\n').map_or(rest, |(_, body)| body);
    body.split_once("```").map_or(body, |(body, _)| body).trim()
}

impl Answer {
    /// A member as it is. Names are compared without regard to case, spaces, dashes and underscores.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).or_else(|| self.0.iter().find(|(key, _)| same_name(key, name)).map(|(_, value)| value))
    }

    /// A number, also from text (`"0.8"`, `"80%"` is 0.8, `"8/10"` is 0.8).
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        number(self.get(name)?)
    }

    /// Words; a number or truth value as its text. None where empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let text = match self.get(name)? {
            Value::String(text) => text.trim().to_owned(),
            value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    /// Yes or no, in any of the ways models say it.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => number.as_f64().map(|number| number != 0.0),
            Value::String(text) => yes_or_no(text),
            _ => None,
        }
    }

    /// A list of words: of an array its texts, of one text its parts between commas.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let words: Vec<&str> = match self.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) => text.split(',').collect(),
            _ => Vec::new(),
        };
        words.into_iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    }

    /// All members.
    #[must_use]
    pub fn into_members(self) -> Map<String, Value> {
        self.0
    }
}

fn same_name(a: &str, b: &str) -> bool {
    fn plain(name: &str) -> impl Iterator<Item = char> + '_ {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase)
    }
    plain(a).eq(plain(b))
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let text = text.trim();
            if let Some(percent) = text.strip_suffix('%') {
                percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0)
            } else if let Some((part, whole)) = text.split_once('/') {
                let (part, whole) = (part.trim().parse::<f64>().ok()?, whole.trim().parse::<f64>().ok()?);
                (whole != 0.0).then(|| part / whole)
            } else {
                text.parse().ok()
            }
        }
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// Reads "Yes", "yes, because …", "true", "No." and the like.
#[must_use]
pub fn yes_or_no(text: &str) -> Option<bool> {
    let first = text.trim().split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty())?.to_ascii_lowercase();
    match first.as_str() {
        "yes" | "y" | "true" | "1" => Some(true),
        "no" | "n" | "false" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        let got = read(text).map(|answer| Value::Object(answer.into_members()).to_string());
        assert_eq!(got.as_deref(), want, "{text}");
    }

    #[test]
    fn the_object_is_found_wherever_it_stands() {
        let want = Some(r#"{"a":1}"#);
        check(r#"{"a":1}"#, want);
        check("```json\n{\"a\":1}\n```", want);
        check("```\n{\"a\":1}\n```\nHope this helps!", want);
        check("Sure! Here it is: {\"a\":1}. Anything else?", want);
        check("Here:\n```json\n{\"a\":1}\n```\nBye {x}", want);
        check("a set {1,2} and then {\"a\":1}", want);
        check(r#""{\"a\":1}""#, want);
        check(r#"[{"a":1}]"#, want);
        check("{\"a\":1} {\"b\":2}", want);
        check("{} {\"a\":1}", want);
        check("{\"a\": {\"b\":", None);
        check("no json", None);
        check("[1,2]", None);
        check("", None);
    }

    #[test]
    fn an_object_is_told_from_prose_that_holds_one() {
        for (text, want) in [
            ("{}", true),
            (" {\"a\": 1}\n", true),
            ("```json\n{\"a\": 1}\n```", true),
            (r#""{\"a\": 1}""#, true),
            ("Here: {\"a\": 1}", false),
            ("{\"a\": 1} is what it says", false),
            ("[{\"a\": 1}]", false),
            ("prose", false),
            ("", false),
        ] {
            assert_eq!(is_object(text), want, "{text}");
        }
    }

    #[test]
    fn members_are_read_in_any_spelling() {
        let answer = read(
            r#"{"Can Handle":"Yes, easily","complexity-score":"0.4","confidence":"85%","mark":"8/10","tags":["a"," b ",3],
                "words":"x, y,,","n":3,"big":1e999,"empty":" ","off":false}"#,
        )
        .unwrap();
        assert_eq!(answer.flag("can_handle"), Some(true));
        assert_eq!(answer.number("complexity_score"), Some(0.4));
        assert_eq!(answer.number("confidence"), Some(0.85));
        assert_eq!(answer.number("mark"), Some(0.8));
        assert_eq!((answer.number("big"), answer.number("tags")), (None, None));
        assert_eq!(answer.list("tags"), ["a", "b"]);
        assert_eq!(answer.list("words"), ["x", "y"]);
        assert_eq!((answer.text("n").as_deref(), answer.text("empty")), (Some("3"), None));
        assert_eq!((answer.flag("off"), answer.flag("n"), answer.flag("words")), (Some(false), Some(true), None));
        assert_eq!(yes_or_no("**No**, because"), Some(false));
        assert_eq!(yes_or_no("perhaps"), None);
    }
}
