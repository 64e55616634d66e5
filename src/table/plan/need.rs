//! What a plan asks its caller to fetch, and how a list of pages goes on.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::table::{
    TableError,
    read::{Scanner, found_at},
    value::Cell,
};

/// Something to fetch before a plan runs.
#[derive(Debug, Clone)]
pub struct Need {
    /// The key under which it is handed in.
    pub id: usize,
    /// The step that needs it, from 1; within nested pipelines the outer one.
    pub step_number: usize,
    /// That step's name.
    pub step: &'static str,
    /// What it is.
    pub kind: NeedKind,
}

/// What to fetch.
#[derive(Debug, Clone)]
pub enum NeedKind {
    /// An HTTP request, already checked except for the address policy.
    Http(Box<HttpNeed>),
    /// An artifact: `artifact://…` or `cas://sha256:…`.
    InputRef(String),
}

/// One HTTP request.
#[derive(Debug, Clone)]
pub struct HttpNeed {
    /// An http or https URL.
    pub url: String,
    /// The method.
    pub method: Method,
    /// With GET and HEAD the query; else the JSON body, unless `body` is there.
    pub params: Map<String, Value>,
    /// Headers, as given.
    pub headers: Vec<(String, String)>,
    /// A JSON body, as given.
    pub body: Option<Bytes>,
    /// Time limit of the request in milliseconds, below the run's own.
    pub timeout_ms: Option<u64>,
    /// How to read the answer; `auto` leaves it to its content type and first characters.
    pub format: Format,
    /// Where the rows are in each page.
    pub rows: Option<String>,
    /// Whether and how more pages follow.
    pub paginate: Option<Paginate>,
}

/// HTTP methods of `http_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the methods' own names")]
pub enum Method {
    #[default]
    #[serde(alias = "get")]
    Get,
    #[serde(alias = "post")]
    Post,
    #[serde(alias = "put")]
    Put,
    #[serde(alias = "patch")]
    Patch,
    #[serde(alias = "delete")]
    Delete,
    #[serde(alias = "head")]
    Head,
}

impl Method {
    /// As it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
        }
    }

    /// Whether sending it again changes nothing: only then may a failed request be tried again.
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete)
    }
}

/// How bytes become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// By the first characters.
    #[default]
    Auto,
    /// One JSON value.
    Json,
    /// JSON values one after another.
    Ndjson,
    /// Comma separated values with a header.
    Csv,
}

impl Format {
    /// The format that a `Content-Type` announces; `auto` where it says nothing useful.
    #[must_use]
    pub fn of_content_type(value: &str) -> Self {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/csv" | "application/csv" => Self::Csv,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/jsonlines" => {
                Self::Ndjson
            }
            _ => Self::Auto,
        }
    }
}

/// How more pages are found: by the `Link` header (`rel="next"`), or by a cursor in the answer that goes
/// into a query parameter. Reading ends without a next link or cursor, or at `max_pages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paginate {
    /// Path to the next cursor in the answer; without it the `Link` header is followed.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Query parameter that takes the cursor.
    #[serde(default)]
    pub param: Option<String>,
    /// Most pages to read.
    #[serde(default = "Paginate::default_pages", deserialize_with = "super::whole")]
    #[schemars(with = "u32", range(min = 1, max = 1000))]
    pub max_pages: u32,
}

/// Where the next page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextPage {
    /// At this URL, which may be relative to the one just read.
    Url(String),
    /// At the same URL, with this query parameter set.
    Query(String, String),
}

impl Paginate {
    /// Most pages that a plan may ask for.
    pub const MAX_PAGES: u32 = 1000;

    fn default_pages() -> u32 {
        20
    }

    pub(crate) fn check(&self) -> Result<(), TableError> {
        let wrong = |message: String| Err(TableError::invalid(message).with_field("paginate"));
        if self.cursor.is_some() != self.param.is_some() {
            return wrong("cursor (where the answer has it) and param (where the query takes it) go together".into());
        }
        if self.max_pages == 0 || self.max_pages > Self::MAX_PAGES {
            return wrong(format!("max_pages must be 1 to {}, found {}", Self::MAX_PAGES, self.max_pages));
        }
        Ok(())
    }

    /// Where the page after this one is; none at the end. A cursor that is itself a URL is one.
    #[must_use]
    pub fn next(&self, body: &[u8], link_header: Option<&str>) -> Option<NextPage> {
        let (Some(path), Some(param)) = (&self.cursor, &self.param) else {
            return next_link(link_header?).map(NextPage::Url);
        };
        let text = std::str::from_utf8(body).ok()?;
        let mut scanner = Scanner::new(text);
        scanner.space();
        let cursor = match Cell::read(found_at(scanner.value().ok()?, path)) {
            Cell::Text(text) if !text.is_empty() => text.into_owned(),
            Cell::Number(number) => number.text().to_owned(),
            _ => return None,
        };
        let is_url = cursor.starts_with("https://") || cursor.starts_with("http://");
        Some(if is_url { NextPage::Url(cursor) } else { NextPage::Query(param.clone(), cursor) })
    }
}

/// The target of `rel="next"` in a `Link` header.
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, parameters) = after.split_once('>')?;
        let own = parameters.split_once('<').map_or(parameters, |(own, _)| own);
        let is_next = own.split([';', ',']).any(|parameter| {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            key.trim().eq_ignore_ascii_case("rel") && value.split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.to_owned());
        }
        rest = parameters;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paginate(json: &str) -> Paginate {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn pages_are_followed_by_link_or_cursor() {
        let link = paginate("{}");
        let header = r#"<https://a.b/x?p=1>; rel="prev", <https://a.b/x?p=3>; title="a"; rel="last next""#;
        assert_eq!(link.next(b"[]", Some(header)), Some(NextPage::Url("https://a.b/x?p=3".into())));
        assert_eq!(link.next(b"[]", Some(r#"<https://a.b/x>; rel="prev""#)), None);
        assert_eq!(link.next(b"[]", None), None);

        let cursor = paginate(r#"{"cursor":"meta.next","param":"after"}"#);
        for (body, expected) in [
            (r#"{"meta":{"next":"abc"}}"#, Some(NextPage::Query("after".into(), "abc".into()))),
            (r#"{"meta":{"next":9007199254740993}}"#, Some(NextPage::Query("after".into(), "9007199254740993".into()))),
            (r#"{"meta":{"next":"https://a.b/2"}}"#, Some(NextPage::Url("https://a.b/2".into()))),
            (r#"{"meta":{"next":null}}"#, None),
            (r#"{"meta":{"next":""}}"#, None),
            ("[1]", None),
            ("no json", None),
        ] {
            assert_eq!(cursor.next(body.as_bytes(), None), expected, "{body}");
        }
    }

    #[test]
    fn pagination_is_bounded_and_whole() {
        assert!(paginate("{}").check().is_ok());
        for bad in [r#"{"cursor":"a"}"#, r#"{"param":"a"}"#, r#"{"max_pages":0}"#, r#"{"max_pages":1001}"#] {
            assert_eq!(paginate(bad).check().unwrap_err().field.as_deref(), Some("paginate"), "{bad}");
        }
    }
}
