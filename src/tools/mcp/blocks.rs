//! Blocks of content that the protocol's library cannot read. It would give up the whole answer for one of them, so that
//! words stand in their place before it reads the message.

use std::borrow::Cow;

use rmcp::model::ContentBlock;
use serde_json::{Map, Value, json};

/// What a block of each kind consists of. All else in it only says something about it.
const KINDS: [(&str, &[&str]); 5] = [
    ("text", &["text"]),
    ("image", &["data", "mimeType"]),
    ("audio", &["data", "mimeType"]),
    ("resource_link", &["uri", "name"]),
    ("resource", &["resource"]),
];
/// Characters of the name of a kind that are told.
const KIND_CHARS: usize = 40;

/// `message` in a form that the library can read: blocks that it knows as they are, words in the place of all others.
pub(super) fn readable(message: &[u8]) -> Cow<'_, [u8]> {
    // Few messages hold content, and hardly any of them anything else than text.
    if memchr::memmem::find(message, b"\"content\"").is_none() {
        return Cow::Borrowed(message);
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(message) else { return Cow::Borrowed(message) };
    let Some(Value::Array(blocks)) = value.pointer_mut("/result/content") else { return Cow::Borrowed(message) };
    let mut changed = false;
    for block in blocks.iter_mut().filter(|block| !is_known(block)) {
        *block = stand_in(block);
        changed = true;
    }
    if changed { Cow::Owned(value.to_string().into_bytes()) } else { Cow::Borrowed(message) }
}

/// Whether the library reads it, from text as it does.
fn is_known(block: &Value) -> bool {
    serde_json::from_str::<ContentBlock>(&block.to_string()).is_ok()
}

/// What the block consists of, where that is enough; else words that name it.
fn stand_in(block: &Value) -> Value {
    let kind = block["type"].as_str();
    let members = kind.and_then(|kind| KINDS.iter().find(|(known, _)| *known == kind)).map(|(_, members)| *members);
    if let (Some(kind), Some(members)) = (kind, members) {
        let own = members.iter().filter_map(|name| Some(((*name).to_owned(), block.get(*name)?.clone())));
        let bare = Value::Object(own.chain([("type".to_owned(), kind.into())]).collect::<Map<_, _>>());
        if is_known(&bare) {
            return bare;
        }
    }
    let kind = kind.map(|kind| kind.chars().take(KIND_CHARS).collect::<String>());
    let text = match (kind, members) {
        (None, _) => "[content without a kind: not shown]".to_owned(),
        (Some(kind), Some(_)) => format!("[content of the kind {kind:?} that cannot be read: not shown]"),
        (Some(kind), None) => format!("[content of the kind {kind:?}, which is not known: not shown]"),
    };
    json!({"type": "text", "text": text})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_stays_as_it_came_and_the_rest_is_named() {
        let same = [
            "not json \"content\"",
            r#"{"result":{"content":{"type":"video"}}}"#,
            r#"{"result":{"content":[{"type":"text","text":"a"}],"structuredContent":{"content":[{"type":"x"}]}}}"#,
            r#"{"result":{"tools":[],"n":1.10}}"#,
        ];
        for message in same {
            assert!(matches!(readable(message.as_bytes()), Cow::Borrowed(_)), "{message}");
        }
        let long = "k".repeat(50);
        let block = |block: Value| {
            let message =
                json!({"id": 1.10, "result": {"content": [block, {"type": "text", "text": "b"}]}}).to_string();
            let read: Value = serde_json::from_slice(&readable(message.as_bytes())).unwrap();
            assert_eq!(read["result"]["content"][1]["text"], "b");
            read["result"]["content"][0].clone()
        };
        for (found, told) in [
            (json!({"type": "video"}), "[content of the kind \"video\", which is not known: not shown]".to_owned()),
            (json!({"type": long}), format!("[content of the kind {:?}, which is not known: not shown]", &long[..40])),
            (
                json!({"type": "audio", "data": 1}),
                "[content of the kind \"audio\" that cannot be read: not shown]".into(),
            ),
            (json!({"type": null}), "[content without a kind: not shown]".into()),
            (json!(1), "[content without a kind: not shown]".into()),
            (json!({"type": "text", "text": "a", "annotations": {"priority": "high"}}), "a".into()),
        ] {
            assert_eq!(block(found.clone()), json!({"type": "text", "text": told}), "{found}");
        }
    }
}
