//! What a tool of a server gave, as a model is told it: all of the words, and an honest note for everything else.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};

/// A tool's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called {
    /// Its words.
    pub(super) text: String,
    /// The tool says that it failed.
    pub(super) is_error: bool,
}

/// Reads a result. Structured content stands for itself only where no words say the same.
pub(super) fn read(result: &CallToolResult) -> Called {
    let mut parts: Vec<String> = result.content.iter().map(part).collect();
    if let Some(structured) = &result.structured_content {
        let same =
            |text: &String| serde_json::from_str(text).is_ok_and(|value: serde_json::Value| value == *structured);
        if !parts.iter().any(same) {
            parts.push(structured.to_string());
        }
    }
    let text = if parts.is_empty() { "(the tool gave nothing)".to_owned() } else { parts.join("\n") };
    Called { text, is_error: result.is_error.unwrap_or(false) }
}

fn part(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => not_shown("image", &image.mime_type, &image.data),
        ContentBlock::Audio(audio) => not_shown("audio", &audio.mime_type, &audio.data),
        ContentBlock::ResourceLink(link) => format!("[resource {}: {}]", link.name, link.uri),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("[resource {uri}]\n{text}"),
            ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                let kind = mime_type.as_deref().unwrap_or("unknown type");
                format!("[resource {uri}] {}", not_shown("data", kind, blob))
            }
            _ => "[a resource of a kind that is not known: not shown]".to_owned(),
        },
        _ => "[content of a kind that is not known: not shown]".to_owned(),
    }
}

/// Base64 says four characters for three bytes.
fn not_shown(what: &str, kind: &str, data: &str) -> String {
    format!("[{what}, {kind}, {} bytes: not shown]", data.len() / 4 * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_content_is_told_or_noted() {
        let rows = [
            (r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, "a\nb", false),
            (r#"{"content":[]}"#, "(the tool gave nothing)", false),
            (r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#, "no", true),
            (r#"{"content":[],"structuredContent":{"n":1.10}}"#, r#"{"n":1.10}"#, false),
            (
                r#"{"content":[{"type":"text","text":"{ \"n\": 1 }"}],"structuredContent":{"n":1}}"#,
                "{ \"n\": 1 }",
                false,
            ),
            (r#"{"content":[{"type":"text","text":"one"}],"structuredContent":{"n":1}}"#, "one\n{\"n\":1}", false),
            (
                r#"{"content":[{"type":"image","data":"AAAAAAAA","mimeType":"image/png"}]}"#,
                "[image, image/png, 6 bytes: not shown]",
                false,
            ),
            (
                r#"{"content":[{"type":"audio","data":"AAAA","mimeType":"audio/wav"}]}"#,
                "[audio, audio/wav, 3 bytes: not shown]",
                false,
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"file:///a","text":"hi"}}]}"#,
                "[resource file:///a]\nhi",
                false,
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"file:///a","blob":"AAAA"}}]}"#,
                "[resource file:///a] [data, unknown type, 3 bytes: not shown]",
                false,
            ),
            (
                r#"{"content":[{"type":"resource_link","uri":"file:///a","name":"a"}]}"#,
                "[resource a: file:///a]",
                false,
            ),
        ];
        for (result, text, is_error) in rows {
            let read = read(&serde_json::from_str(result).unwrap());
            assert_eq!((read.text.as_str(), read.is_error), (text, is_error), "{result}");
        }
    }
}
