//! How parameters stand in an address or a header: the styles of OpenAPI.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Everything but what RFC 3986 leaves unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, where the document allows reserved characters; what would change the address stays encoded.
const ALLOWED: &AsciiSet = &RESERVED
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';');

/// How a value becomes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    SpaceDelimited,
    PipeDelimited,
    DeepObject,
    /// One JSON text.
    Json,
}

impl Style {
    /// The style a document names.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "simple" => Self::Simple,
            "label" => Self::Label,
            "matrix" => Self::Matrix,
            "form" => Self::Form,
            "spaceDelimited" => Self::SpaceDelimited,
            "pipeDelimited" => Self::PipeDelimited,
            "deepObject" => Self::DeepObject,
            _ => return None,
        })
    }
}

/// How one parameter is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writing {
    pub(super) style: Style,
    pub(super) explode: bool,
    pub(super) allow_reserved: bool,
}

impl Writing {
    fn encoded(self, text: &str) -> String {
        utf8_percent_encode(text, if self.allow_reserved { ALLOWED } else { RESERVED }).to_string()
    }

    fn items(self, items: &[Value], between: &str) -> String {
        items.iter().map(|item| self.encoded(&plain(item))).collect::<Vec<_>>().join(between)
    }

    /// `k,v` pairs, or `k=v` where the style explodes.
    fn members(self, members: &serde_json::Map<String, Value>, between: &str) -> String {
        let equals = if self.explode { "=" } else { between };
        let pair =
            |(key, value): (&String, &Value)| format!("{}{equals}{}", self.encoded(key), self.encoded(&plain(value)));
        members.iter().map(pair).collect::<Vec<_>>().join(between)
    }

    /// The value in a path, encoded.
    pub(super) fn path(self, name: &str, value: &Value) -> String {
        let (lead, between) = match (self.style, self.explode) {
            (Style::Label, true) => (".", "."),
            (Style::Label, false) => (".", ","),
            (Style::Matrix, true) => (";", ";"),
            _ => ("", ","),
        };
        let matrix = self.style == Style::Matrix;
        let named = |text: String| if matrix { format!(";{name}={text}") } else { format!("{lead}{text}") };
        match value {
            Value::Array(items) if matrix && self.explode => {
                items.iter().map(|item| format!(";{name}={}", self.encoded(&plain(item)))).collect()
            }
            Value::Array(items) => named(self.items(items, between)),
            Value::Object(members) if matrix && self.explode => format!(";{}", self.members(members, ";")),
            Value::Object(members) => named(self.members(members, between)),
            scalar => named(self.encoded(&plain(scalar))),
        }
    }

    /// The pairs in a query, encoded.
    pub(super) fn query(self, name: &str, value: &Value) -> Vec<String> {
        let pair = |name: &str, value: &str| format!("{}={value}", self.encoded(name));
        let between = match self.style {
            Style::SpaceDelimited => "%20",
            Style::PipeDelimited => "%7C",
            _ => ",",
        };
        match (self.style, value) {
            (Style::Json, value) => vec![pair(name, &self.encoded(&value.to_string()))],
            (Style::DeepObject, Value::Object(members)) => members
                .iter()
                .map(|(key, value)| {
                    format!("{}[{}]={}", self.encoded(name), self.encoded(key), self.encoded(&plain(value)))
                })
                .collect(),
            (_, Value::Array(items)) if self.explode => {
                items.iter().map(|item| pair(name, &self.encoded(&plain(item)))).collect()
            }
            (_, Value::Array(items)) => vec![pair(name, &self.items(items, between))],
            (_, Value::Object(members)) if self.explode => {
                members.iter().map(|(key, value)| pair(key, &self.encoded(&plain(value)))).collect()
            }
            (_, Value::Object(members)) => vec![pair(name, &self.members(members, between))],
            (_, scalar) => vec![pair(name, &self.encoded(&plain(scalar)))],
        }
    }

    /// The value of a header, as it is.
    pub(super) fn header(self, value: &Value) -> String {
        let equals = if self.explode { "=" } else { "," };
        match value {
            value if self.style == Style::Json => value.to_string(),
            Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| format!("{key}{equals}{}", plain(value)))
                .collect::<Vec<_>>()
                .join(","),
            scalar => plain(scalar),
        }
    }
}

/// Text as it is, anything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn styles_write_what_the_specification_shows() {
        let (scalar, list, object) = (json!("blue"), json!(["blue", "black"]), json!({"R": 100, "G": 200}));
        let (path, query) = ("path", "query");
        let rows = [
            (path, Style::Simple, false, &scalar, "blue"),
            (path, Style::Simple, false, &list, "blue,black"),
            (path, Style::Simple, true, &list, "blue,black"),
            (path, Style::Simple, false, &object, "R,100,G,200"),
            (path, Style::Simple, true, &object, "R=100,G=200"),
            (path, Style::Label, false, &scalar, ".blue"),
            (path, Style::Label, true, &list, ".blue.black"),
            (path, Style::Label, false, &list, ".blue,black"),
            (path, Style::Label, true, &object, ".R=100.G=200"),
            (path, Style::Matrix, false, &scalar, ";color=blue"),
            (path, Style::Matrix, false, &list, ";color=blue,black"),
            (path, Style::Matrix, true, &list, ";color=blue;color=black"),
            (path, Style::Matrix, false, &object, ";color=R,100,G,200"),
            (path, Style::Matrix, true, &object, ";R=100;G=200"),
            (query, Style::Form, true, &scalar, "color=blue"),
            (query, Style::Form, true, &list, "color=blue&color=black"),
            (query, Style::Form, false, &list, "color=blue,black"),
            (query, Style::Form, true, &object, "R=100&G=200"),
            (query, Style::Form, false, &object, "color=R,100,G,200"),
            (query, Style::SpaceDelimited, false, &list, "color=blue%20black"),
            (query, Style::PipeDelimited, false, &list, "color=blue%7Cblack"),
            (query, Style::DeepObject, true, &object, "color[R]=100&color[G]=200"),
            (query, Style::Json, false, &object, "color=%7B%22R%22%3A100%2C%22G%22%3A200%7D"),
        ];
        for (place, style, explode, value, expected) in rows {
            let writing = Writing { style, explode, allow_reserved: false };
            let written =
                if place == "path" { writing.path("color", value) } else { writing.query("color", value).join("&") };
            assert_eq!(written, expected, "{place} {style:?} {explode}");
        }
        let hostile = Writing { style: Style::Simple, explode: false, allow_reserved: true };
        assert_eq!(hostile.path("x", &json!("a/../b?c#d&e=%2e")), "a/../b?c%23d%26e%3D%252e");
        let hostile = Writing { allow_reserved: false, ..hostile };
        assert_eq!(hostile.path("x", &json!("a/../b?c")), "a%2F..%2Fb%3Fc");
    }
}
