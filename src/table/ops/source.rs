//! `http_request` and `literal`: where a pipeline's own data comes from.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::Operation;
use crate::{
    job::ErrorCode,
    table::{
        Body, Format, HttpNeed, Method, Need, NeedKind, Paginate, TableError,
        plan::{Checker, Columns, Compiler, Spec, maybe_whole},
        read::{Document, Source, about_short},
        run::{Cx, Table},
    },
};

/// Fetches rows over HTTP. Must come first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSpec {
    url: String,
    #[serde(default)]
    method: Method,
    /// With GET the query; else the JSON body, unless `body` is given.
    params: Option<Map<String, Value>>,
    headers: Option<BTreeMap<String, String>>,
    /// The body to send, as JSON.
    #[schemars(with = "Option<Value>")]
    body: Option<Box<RawValue>>,
    /// Milliseconds.
    #[serde(default, deserialize_with = "maybe_whole")]
    #[schemars(with = "Option<u64>", range(min = 1))]
    timeout_ms: Option<u64>,
    /// Path to the array of rows in the answer.
    rows: Option<String>,
    #[serde(default)]
    format: Format,
    paginate: Option<Paginate>,
}

impl Spec for HttpSpec {
    const NAME: &'static str = "http_request";

    fn compile(self, compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let url = checked_url(&self.url)?;
        if self.body.is_some() && matches!(self.method, Method::Get | Method::Head) {
            let message = "a GET or HEAD sends no body: use params, or another method";
            return Err(TableError::invalid(message).with_field("body"));
        }
        if self.timeout_ms == Some(0) {
            return Err(TableError::invalid("timeout_ms must be at least 1").with_field("timeout_ms"));
        }
        if let Some(paginate) = &self.paginate {
            paginate.check()?;
        }
        let need = HttpNeed {
            url,
            method: self.method,
            params: self.params.unwrap_or_default(),
            headers: self.headers.unwrap_or_default().into_iter().collect(),
            body: self.body.map(|body| Bytes::from(String::from(Box::<str>::from(body)))),
            timeout_ms: self.timeout_ms,
            format: self.format,
            rows: self.rows.clone(),
            paginate: self.paginate,
        };
        let name = format!("the answer of {}", host_of(&need.url));
        let id = compiler.need(NeedKind::Http(Box::new(need)));
        Ok(Box::new(Http { need: id, rows: self.rows, format: self.format, name }))
    }
}

fn checked_url(text: &str) -> Result<String, TableError> {
    let wrong = |why: String| TableError::invalid(why).with_field("url").with_found(text);
    let url = url::Url::parse(text).map_err(|error| wrong(format!("the url {text:?} cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("the url must start with http:// or https://, found {text:?}")));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong(format!("the url {text:?} names no host")));
    }
    Ok(text.to_owned())
}

/// Scheme and host only: a query may hold a key.
fn host_of(text: &str) -> String {
    url::Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

struct Http {
    need: usize,
    rows: Option<String>,
    format: Format,
    name: String,
}

impl Operation for Http {
    fn is_source(&self) -> bool {
        true
    }

    fn columns(&self, _before: Columns, _checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        Ok(Columns::Unknown)
    }

    fn run(&self, _table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let (number, step) = cx.place();
        let (code, name) = (ErrorCode::HttpFailed, self.name.clone());
        let source = Source { code, name, step: Some((number, step)), is_input: false };
        let bodies = cx.fetched(self.need)?;
        let size: usize = bodies.iter().map(|body| body.bytes.len()).sum();
        if size > cx.limits.max_response_bytes {
            return Err(TableError::limit(format!(
                "the answer has {size} bytes, more than pipeline.max_response_bytes ({})",
                cx.limits.max_response_bytes
            )));
        }
        let open = |body: &Body| {
            let format = if self.format == Format::Auto { body.format } else { self.format };
            let document = Document::open(&Body { bytes: body.bytes.clone(), format }, source.clone())?;
            match &self.rows {
                None => Ok(document),
                Some(path) => part(&document, path, "rows"),
            }
        };
        let documents = bodies.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        if let Some(warning) = about_short(documents.iter().map(|document| document.short_rows).sum()) {
            cx.warn(warning);
        }
        Ok(documents.into())
    }
}

/// The part of a document at a path that must be there.
pub(super) fn part(document: &Document, path: &str, parameter: &str) -> Result<Document, TableError> {
    let found = document.part(path)?;
    found.ok_or_else(|| {
        let keys = crate::table::columns::keys_of(document.text().unwrap_or_default());
        let had = if keys.is_empty() { String::new() } else { format!(" (it has {})", keys.join(", ")) };
        document.source.error(&format!("has nothing at {path:?}{had}")).with_field(parameter).with_found("nothing")
    })
}

/// Rows given in the plan.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiteralSpec {
    /// A list of objects.
    #[schemars(with = "Vec<Map<String, Value>>")]
    rows: Box<RawValue>,
}

impl Spec for LiteralSpec {
    const NAME: &'static str = "literal";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        Ok(Box::new(Literal { rows: literal_rows(self.rows, "rows")? }))
    }
}

/// Takes rows that stand in a plan; one object counts as one row.
pub(super) fn literal_rows(raw: Box<RawValue>, field: &str) -> Result<Bytes, TableError> {
    let text = String::from(Box::<str>::from(raw));
    if !text.starts_with(['[', '{']) {
        return Err(TableError::invalid("rows must be a list of objects").with_field(field).with_found(text));
    }
    Ok(text.into())
}

struct Literal {
    rows: Bytes,
}

impl Operation for Literal {
    fn is_source(&self) -> bool {
        true
    }

    fn columns(&self, _before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        checker.scan(&self.rows)
    }

    fn run(&self, _table: Table, _cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let body = Body { bytes: self.rows.clone(), format: Format::Json };
        Ok(vec![Document::open(&body, Source::given("the literal"))?].into())
    }
}

impl Compiler<'_> {
    /// Notes what must be fetched; gives the id under which it will be handed in.
    pub(super) fn need(&mut self, kind: NeedKind) -> usize {
        let id = self.needs.len();
        let (step_number, step) = self.at;
        self.needs.push(Need { id, step_number, step, kind });
        id
    }
}
