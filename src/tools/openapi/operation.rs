//! From an operation and the values for it to one request, everything checked before it is sent.

use jsonschema::PatternOptions;
use serde_json::{Map, Value};
use url::Url;

use super::{
    document::{Document, Found},
    encode::{Style, Writing, plain},
};
use crate::{job::RawJson, net::Method};

/// Complaints about one value that are told.
const SHOWN: usize = 3;

/// A request that is ready to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<String>,
}

/// Makes the request for `found` with these values.
///
/// # Errors
/// Every value that does not fit, and every one that is missing.
pub(super) fn ready(
    document: &Document,
    found: &Found<'_>,
    params: &Map<String, Value>,
    body: Option<&RawJson>,
) -> Result<Ready, String> {
    let mut faults = Vec::new();
    let mut path = found.path.to_owned();
    let (mut query, mut headers) = (Vec::new(), vec![("accept".to_owned(), "application/json, */*;q=0.5".to_owned())]);
    let parameters = parameters(document, found)?;
    unknown(&parameters, params, found, &mut faults);
    for parameter in &parameters {
        let Some(value) = params.get(&parameter.name).filter(|value| !value.is_null()) else {
            if parameter.required {
                faults.push(format!("params.{} is missing: it is required", parameter.name));
            }
            continue;
        };
        if let Err(why) = fits(document, &parameter.schema, value) {
            faults.push(format!("params.{}: {why}", parameter.name));
            continue;
        }
        match parameter.place {
            Place::Path => match in_path(&path, parameter, value) {
                Ok(filled) => path = filled,
                Err(why) => faults.push(why),
            },
            Place::Query => query.extend(parameter.writing.query(&parameter.name, value)),
            Place::Header => headers.push((parameter.name.clone(), parameter.writing.header(value))),
        }
    }
    let body = match prepared(document, found, body) {
        Ok(body) => body,
        Err(why) => {
            faults.push(why);
            None
        }
    };
    if let Some(open) = path.find('{') {
        faults.push(format!("the path has a parameter that the document does not describe: {}", &path[open..]));
    }
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    let body = body.map(|(kind, text)| {
        headers.push(("content-type".to_owned(), kind));
        text
    });
    let method = Method::parse(found.method).ok_or_else(|| format!("{} is no method that is sent", found.method))?;
    Ok(Ready { method, url: address(document, found, &path, &query)?, headers, body })
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Header,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    place: Place,
    required: bool,
    schema: Value,
    writing: Writing,
}

/// The parameters of the operation, over those of its path. Cookies are not ours to send.
fn parameters(document: &Document, found: &Found<'_>) -> Result<Vec<Parameter>, String> {
    let mut all: Vec<Parameter> = Vec::new();
    for owner in [found.item, found.operation] {
        for raw in owner.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let Some(parameter) = parameter(document.resolved(raw)?)? else { continue };
            all.retain(|known| known.name != parameter.name || known.place != parameter.place);
            all.push(parameter);
        }
    }
    Ok(all)
}

fn parameter(raw: &Value) -> Result<Option<Parameter>, String> {
    let text = |key: &str| raw.get(key).and_then(Value::as_str);
    let flag = |key: &str| raw.get(key).and_then(Value::as_bool);
    let name = text("name").ok_or("the document has a parameter without name")?.to_owned();
    let (place, usual) = match text("in") {
        Some("path") => (Place::Path, Style::Simple),
        Some("query") => (Place::Query, Style::Form),
        Some("header") => (Place::Header, Style::Simple),
        Some("cookie") if flag("required") == Some(true) => {
            return Err(format!("the operation needs the cookie {name:?}, and cookies are not sent"));
        }
        _ => return Ok(None),
    };
    // These are said elsewhere in the document, and are not for parameters.
    if place == Place::Header && ["accept", "content-type", "authorization"].contains(&name.to_lowercase().as_str()) {
        return Ok(None);
    }
    let style = match text("style") {
        _ if raw.get("content").is_some() => Style::Json,
        None => usual,
        Some(style) => Style::parse(style).ok_or_else(|| format!("params.{name}: its style {style:?} is not known"))?,
    };
    let content = raw.get("content").and_then(Value::as_object).and_then(|content| content.values().next());
    let schema = raw.get("schema").or_else(|| content.and_then(|content| content.get("schema")));
    Ok(Some(Parameter {
        required: place == Place::Path || flag("required").unwrap_or(false),
        schema: schema.cloned().unwrap_or(Value::Bool(true)),
        writing: Writing {
            style,
            explode: flag("explode").unwrap_or(style == Style::Form),
            allow_reserved: place == Place::Query && flag("allowReserved").unwrap_or(false),
        },
        name,
        place,
    }))
}

fn unknown(parameters: &[Parameter], params: &Map<String, Value>, found: &Found<'_>, faults: &mut Vec<String>) {
    for name in params.keys().filter(|name| parameters.iter().all(|known| known.name != **name)) {
        let names: Vec<&str> = parameters.iter().map(|known| known.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        faults.push(format!("{} has no parameter {name:?}: there are {names}", found.id));
    }
}

/// The path with a value in it. Dots alone would climb, however they are encoded.
fn in_path(path: &str, parameter: &Parameter, value: &Value) -> Result<String, String> {
    let name = parameter.name.as_str();
    let written = parameter.writing.path(name, value);
    if written.is_empty() || written == "." || written == ".." {
        return Err(format!("params.{name}: {:?} cannot stand in a path", plain(value)));
    }
    Ok(path.replace(&format!("{{{name}}}"), &written))
}

/// The first server of the operation, its path or the document, with the defaults of its variables.
fn address(document: &Document, found: &Found<'_>, path: &str, query: &[String]) -> Result<String, String> {
    let first = |owner: Option<&Value>| owner?.as_array()?.first().cloned();
    let servers = [found.operation.get("servers"), found.item.get("servers"), document.member("servers")];
    let server = servers.into_iter().find_map(first);
    let mut text = server.as_ref().and_then(|server| server.get("url")).map_or_else(|| "/".to_owned(), plain);
    let variables = server.as_ref().and_then(|server| server.get("variables")).and_then(Value::as_object);
    for (name, variable) in variables.into_iter().flatten() {
        text = text.replace(&format!("{{{name}}}"), &variable.get("default").map(plain).unwrap_or_default());
    }
    let server: Url =
        document.base.join(&text).map_err(|error| format!("its server {text:?} is no address: {error}"))?;
    let mut whole = server.as_str().split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').to_owned();
    whole.push('/');
    whole.push_str(path.trim_start_matches('/'));
    if !query.is_empty() {
        whole.push('?');
        whole.push_str(&query.join("&"));
    }
    Ok(whole)
}

/// The body with its kind.
fn prepared(
    document: &Document,
    found: &Found<'_>,
    body: Option<&RawJson>,
) -> Result<Option<(String, String)>, String> {
    let given = body.filter(|body| body.as_str() != "null");
    let Some(described) = found.operation.get("requestBody") else {
        return match given {
            Some(_) => Err(format!("{} takes no body", found.id)),
            None => Ok(None),
        };
    };
    let described = document.resolved(described)?;
    let Some(given) = given else {
        let required = described.get("required").and_then(Value::as_bool).unwrap_or(false);
        return if required { Err("body is missing: it is required".into()) } else { Ok(None) };
    };
    let content = described.get("content").and_then(Value::as_object).ok_or("its body is not described")?;
    let is_json = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
        kind == "application/json" || kind.ends_with("+json") || kind == "*/*"
    };
    let is_form = |kind: &str| kind.starts_with("application/x-www-form-urlencoded");
    let chosen =
        content.iter().find(|(kind, _)| is_json(kind)).or_else(|| content.iter().find(|(kind, _)| is_form(kind)));
    let Some((kind, media)) = chosen else {
        let kinds: Vec<&str> = content.keys().map(String::as_str).collect();
        return Err(format!("its body must be {}, and only JSON and forms are sent", kinds.join(" or ")));
    };
    let value = given.to_value().map_err(|error| format!("body: {error}"))?;
    if let Some(schema) = media.get("schema") {
        fits(document, schema, &value).map_err(|why| format!("body: {why}"))?;
    }
    if is_form(kind) {
        let writing = Writing { style: Style::Form, explode: true, allow_reserved: false };
        return match &value {
            Value::Object(_) => Ok(Some((kind.clone(), writing.query("", &value).join("&")))),
            _ => Err("body: a form must be an object".into()),
        };
    }
    let kind = if kind == "*/*" { "application/json" } else { kind };
    Ok(Some((kind.to_owned(), given.as_str().to_owned())))
}

/// Whether a value is what a schema of the document allows. Patterns are matched in linear time.
fn fits(document: &Document, schema: &Value, value: &Value) -> Result<(), String> {
    let whole = document.standing_alone(schema);
    let validator = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(false)
        .build(&whole)
        .map_err(|error| format!("the document's schema cannot be used: {}", shortened(&error)))?;
    let complaints: Vec<String> = validator
        .iter_errors(value)
        .take(SHOWN)
        .map(|error| {
            let at = error.instance_path().to_string();
            if at.is_empty() { shortened(&error) } else { format!("{at}: {}", shortened(&error)) }
        })
        .collect();
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join(", ")) }
}

fn shortened(error: &impl std::fmt::Display) -> String {
    error.to_string().chars().take(200).collect()
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
