//! An OpenAPI document: read leniently, referred to locally, searched by operation id.

use serde_json::{Map, Value};
use url::Url;

/// References in a chain.
const MAX_HOPS: usize = 64;
/// Operations of a document that count.
const MAX_OPERATIONS: usize = 5000;
/// Names in an error.
const SHOWN: usize = 5;

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "head"];

/// A document of OpenAPI 3.0 or 3.1.
#[derive(Debug)]
pub(super) struct Document {
    /// Where it came from, after redirects: relative servers count from there.
    pub(super) base: Url,
    root: Value,
}

/// One operation of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) id: &'a str,
    /// In lower case.
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) item: &'a Value,
    pub(super) operation: &'a Value,
}

impl Found<'_> {
    /// What it does, in a line.
    pub(super) fn summary(&self) -> &str {
        let said = |key: &str| self.operation.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        said("summary").or_else(|| said("description")).unwrap_or_default().lines().next().unwrap_or_default()
    }
}

impl Document {
    /// Reads JSON, or YAML where it is none.
    ///
    /// # Errors
    /// That it is neither, or no document of OpenAPI 3.
    pub(super) fn read(bytes: &[u8], base: Url) -> Result<Self, String> {
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let looks_like_json = text.trim_start_matches('\u{feff}').trim_start().starts_with('{');
        let mut root: Value = if looks_like_json {
            serde_json::from_str(text.trim_start_matches('\u{feff}'))
                .map_err(|error| format!("it is no JSON: {error}"))?
        } else {
            serde_saphyr::from_str(text).map_err(|error| format!("it is no YAML: {}", error.without_snippet()))?
        };
        let version = root.get("openapi").map(super::encode::plain).unwrap_or_default();
        if root.get("swagger").is_some() {
            return Err("it is Swagger 2.0: only OpenAPI 3.0 and 3.1 are read; convert it".into());
        }
        if !version.starts_with("3.") {
            return Err(format!("its `openapi` is {version:?}: only 3.0 and 3.1 are read"));
        }
        if version.starts_with("3.0") {
            modern(&mut root, true);
        }
        Ok(Self { base, root })
    }

    /// Every operation that has an id, in the document's order.
    pub(super) fn operations(&self) -> impl Iterator<Item = Found<'_>> {
        let paths = self.root.get("paths").and_then(Value::as_object).into_iter().flatten();
        let found = paths.flat_map(move |(path, item)| {
            let item = self.resolved(item).unwrap_or(item);
            METHODS.iter().filter_map(move |method| {
                let operation = item.get(method)?;
                let id = operation.get("operationId")?.as_str()?;
                Some(Found { id, method, path, item, operation })
            })
        });
        found.take(MAX_OPERATIONS)
    }

    /// The operation called `id`.
    ///
    /// # Errors
    /// The names that come near it.
    pub(super) fn operation(&self, id: &str) -> Result<Found<'_>, String> {
        let mut same = self.operations().filter(|found| found.id == id);
        match (same.next(), same.next()) {
            (Some(found), None) => return Ok(found),
            (Some(_), Some(_)) => return Err(format!("the document has several operations {id:?}")),
            (None, _) => {}
        }
        let mut near: Vec<(f64, Found<'_>)> = self
            .operations()
            .map(|found| (strsim::jaro_winkler(&id.to_lowercase(), &found.id.to_lowercase()), found))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let all = near.len();
        if all == 0 {
            return Err("the document has no operation with an operationId".into());
        }
        let near: Vec<String> = near.iter().take(SHOWN).map(|(_, found)| shown(found)).collect();
        Err(format!("there is no operation {id:?} among its {all}; the nearest are {}", near.join(", ")))
    }

    /// What `value` stands for: itself, or what it refers to.
    ///
    /// # Errors
    /// A reference that leads out of the document, nowhere, or round in a circle.
    pub(super) fn resolved<'a>(&'a self, mut value: &'a Value) -> Result<&'a Value, String> {
        for _ in 0..MAX_HOPS {
            let Some(to) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
            let pointer = to.strip_prefix('#').ok_or_else(|| format!("{to:?} refers to another document"))?;
            let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy();
            value = self.root.pointer(&pointer).ok_or_else(|| format!("{to:?} refers to nothing"))?;
        }
        Err("its references go round in a circle".into())
    }

    /// A member of the document itself.
    pub(super) fn member(&self, key: &str) -> Option<&Value> {
        self.root.get(key)
    }

    /// A JSON Schema that stands for `schema` outside of the document: with what it may refer to.
    pub(super) fn standing_alone(&self, schema: &Value) -> Value {
        let mut whole = Map::new();
        whole.insert("allOf".into(), Value::Array(vec![schema.clone()]));
        let text = schema.to_string();
        for key in ["components", "paths"] {
            let needed = (key == "components" && text.contains("\"$ref\"")) || text.contains(&format!("#/{key}/"));
            if let Some(member) = self.root.get(key).filter(|_| needed) {
                whole.insert(key.into(), member.clone());
            }
        }
        Value::Object(whole)
    }
}

fn shown(found: &Found<'_>) -> String {
    let summary: String = found.summary().chars().take(60).collect();
    let summary = if summary.is_empty() { summary } else { format!(": {summary}") };
    format!("{} ({} {}{summary})", found.id, found.method.to_uppercase(), found.path)
}

/// Writes the schemas of 3.0 as JSON Schema has them. Examples and the like are data, and left alone.
fn modern(value: &mut Value, is_schema_place: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| modern(item, is_schema_place)),
        Value::Object(members) => {
            if is_schema_place {
                nullable(members);
                exclusive(members, "exclusiveMinimum", "minimum");
                exclusive(members, "exclusiveMaximum", "maximum");
            }
            for (key, member) in members.iter_mut() {
                let data = matches!(key.as_str(), "example" | "examples" | "default" | "enum" | "const");
                modern(member, is_schema_place && !data);
            }
        }
        _ => {}
    }
}

fn nullable(members: &mut Map<String, Value>) {
    if members.get("nullable") != Some(&Value::Bool(true)) {
        return;
    }
    if let Some(Value::String(kind)) = members.get("type").cloned() {
        members.remove("nullable");
        members.insert("type".into(), Value::Array(vec![kind.into(), "null".into()]));
        if let Some(Value::Array(allowed)) = members.get_mut("enum") {
            allowed.push(Value::Null);
        }
    }
}

fn exclusive(members: &mut Map<String, Value>, flag: &str, bound: &str) {
    match members.get(flag) {
        Some(Value::Bool(true)) => {
            members.remove(flag);
            if let Some(value) = members.remove(bound) {
                members.insert(flag.into(), value);
            }
        }
        Some(Value::Bool(false)) => {
            members.remove(flag);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Document, String> {
        Document::read(text.as_bytes(), Url::parse("https://api.example.com/v1/openapi.yaml").unwrap())
    }

    #[test]
    fn documents_are_json_or_yaml_of_version_3() {
        let rows = [
            (r#"{"openapi":"3.1.0","paths":{"/a":{"get":{"operationId":"a"}}}}"#, Ok(1)),
            ("\u{feff}{\"openapi\":\"3.0.3\",\"paths\":{}}", Ok(0)),
            (
                "openapi: 3.0.3\npaths:\n  /a:\n    get: {operationId: a}\n    post: {operationId: b}\n    trace: {operationId: c}\n",
                Ok(2),
            ),
            ("openapi: 3.0.3\n", Ok(0)),
            (r#"{"swagger":"2.0"}"#, Err("Swagger 2.0")),
            (r#"{"openapi":"4.0.0"}"#, Err("only 3.0 and 3.1")),
            (r#"{"openapi":"#, Err("no JSON")),
            ("a: [", Err("no YAML")),
            ("<html>", Err("only 3.0 and 3.1")),
        ];
        for (text, expected) in rows {
            match (read(text).map(|document| document.operations().count()), expected) {
                (Ok(count), Ok(wanted)) => assert_eq!(count, wanted, "{text}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn references_are_local_and_end() {
        let document = read(
            r##"{"openapi":"3.1.0","a":{"$ref":"#/b"},"b":{"$ref":"#/x~1y"},"x/y":7,"loop":{"$ref":"#/loop"},"out":{"$ref":"other.yaml#/a"},"gone":{"$ref":"#/nowhere"}}"##,
        )
        .unwrap();
        let of = |key: &str| document.resolved(document.member(key).unwrap()).cloned();
        assert_eq!(of("a"), Ok(Value::from(7)));
        for (key, part) in [("loop", "circle"), ("out", "another document"), ("gone", "refers to nothing")] {
            assert!(of(key).unwrap_err().contains(part), "{key}");
        }
    }

    #[test]
    fn an_unknown_operation_is_answered_with_the_nearest() {
        let document = read(
            r#"{"openapi":"3.1.0","paths":{"/p":{"get":{"operationId":"getPet","summary":"one pet"},"post":{"operationId":"createPet"}},"/o":{"get":{"operationId":"listOrders"}},"/d":{"get":{"operationId":"twice"},"put":{"operationId":"twice"}}}}"#,
        )
        .unwrap();
        assert_eq!(document.operation("getPet").unwrap().path, "/p");
        let why = document.operation("getpets").unwrap_err();
        assert!(why.contains("the nearest are getPet (GET /p: one pet)"), "{why}");
        assert!(document.operation("twice").unwrap_err().contains("several"));
    }

    #[test]
    fn schemas_of_3_0_become_json_schema() {
        let document = read(
            r#"{"openapi":"3.0.0","components":{"schemas":{"A":{"type":"integer","nullable":true,"minimum":3,"exclusiveMinimum":true,"example":{"nullable":true,"type":"x"}}}}}"#,
        )
        .unwrap();
        let schema = document.member("components").unwrap()["schemas"]["A"].clone();
        assert_eq!(
            schema,
            serde_json::json!({"type":["integer","null"],"exclusiveMinimum":3,"example":{"nullable":true,"type":"x"}})
        );
    }
}
