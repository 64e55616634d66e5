//! What an embeddings server answers.

use std::fmt;

use base64::Engine;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::Value;

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

/// Numbers, or the bytes of little-endian floats in base64.
struct Vector(Vec<f32>);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers or base64")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vector, A::Error> {
                let mut values = Vec::with_capacity(items.size_hint().unwrap_or(1536));
                while let Some(value) = items.next_element::<f32>()? {
                    values.push(value);
                }
                Ok(Vector(values))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vector, E> {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(E::custom)?;
                let (values, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(E::custom("base64 that is no list of floats"));
                }
                Ok(Vector(values.iter().map(|value| f32::from_le_bytes(*value)).collect()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The vectors in order of their texts, and the tokens they cost.
pub(super) fn read(body: &[u8], expected: usize) -> Result<(Vec<Vec<f32>>, u64), String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if answer.data.len() != expected {
        return Err(format!("it has {} vectors for {expected} texts", answer.data.len()));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; expected];
    for (position, item) in answer.data.into_iter().enumerate() {
        let index = item.index.unwrap_or(position);
        let Some(slot @ None) = vectors.get_mut(index) else {
            return Err(format!("the index {index} is out of range or there twice"));
        };
        *slot = Some(item.embedding.0);
    }
    let tokens = answer.usage.and_then(|usage| usage.prompt_tokens.or(usage.total_tokens)).unwrap_or_default();
    Ok((vectors.into_iter().flatten().collect(), tokens))
}

/// The words of an error answer, whatever its shape.
pub(super) fn message(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body);
        return if text.trim_start().starts_with('<') { "an HTML page".into() } else { text.trim().to_owned() };
    };
    let places = ["/error/message", "/error", "/detail", "/message"];
    let found = places.iter().find_map(|place| value.pointer(place)?.as_str());
    let code = value.pointer("/error/code").or_else(|| value.pointer("/error/type")).and_then(Value::as_str);
    match (found, code) {
        (Some(text), Some(code)) => format!("{text} ({code})"),
        (Some(text), None) => text.to_owned(),
        (None, _) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_put_in_order_and_counted() {
        let body = br#"{"data":[{"index":1,"embedding":[3,4e0]},{"index":0,"embedding":[1.5,-2]}],"usage":{"prompt_tokens":7}}"#;
        assert_eq!(read(body, 2).unwrap(), (vec![vec![1.5, -2.0], vec![3.0, 4.0]], 7));
        let base64 = r#"{"data":[{"embedding":"AADAPwAAAMA="}]}"#;
        assert_eq!(read(base64.as_bytes(), 1).unwrap(), (vec![vec![1.5, -2.0]], 0));
    }

    #[test]
    fn answers_that_do_not_fit_are_errors() {
        for body in [
            r#"{"data":[]}"#,
            r#"{"data":[{"index":1,"embedding":[1]}]}"#,
            r#"{"data":[{"embedding":"AAA"}]}"#,
            r#"{"data":[{"embedding":"AAAA"}]}"#,
            r#"{"data":[{"embedding":null}]}"#,
            "<html>",
            "",
        ] {
            assert!(read(body.as_bytes(), 1).is_err(), "{body}");
        }
        let twice = r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#;
        assert!(read(twice.as_bytes(), 2).is_err());
    }

    #[test]
    fn errors_of_every_shape_have_words() {
        for (body, expected) in [
            (r#"{"error":{"message":"no","code":"insufficient_quota"}}"#, "no (insufficient_quota)"),
            (r#"{"error":"no"}"#, "no"),
            (r#"{"detail":"no"}"#, "no"),
            (r#"{"message":"no"}"#, "no"),
            (r#"{"error":{"message":"no","code":400}}"#, "no"),
            ("no", "no"),
            ("<!doctype html>", "an HTML page"),
        ] {
            assert_eq!(message(body.as_bytes()), expected);
        }
    }
}
