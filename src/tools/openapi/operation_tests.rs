use serde_json::json;

use super::*;

const PETS: &str = r##"
openapi: 3.0.3
servers: [{url: "/api/{v}", variables: {v: {default: v2}}}]
paths:
  /pets/{id}:
    parameters: [{$ref: "#/components/parameters/id"}]
    get:
      operationId: getPet
      parameters:
        - {name: fields, in: query, schema: {type: array, items: {type: string, enum: [name, age]}}}
        - {name: deep, in: query, style: deepObject, schema: {type: object}}
        - {name: X-Trace, in: header, schema: {type: string, maxLength: 5}}
        - {name: Authorization, in: header, schema: {type: string}}
        - {name: theme, in: cookie, schema: {type: string}}
    put:
      operationId: putPet
      servers: [{url: "https://other.example/base/"}]
      requestBody: {$ref: "#/components/requestBodies/pet"}
  /pets:
    post:
      operationId: addPet
      requestBody: {required: true, content: {"application/x-www-form-urlencoded": {schema: {type: object}}}}
    get:
      operationId: needsCookie
      parameters: [{name: sid, in: cookie, required: true}]
  /odd/{what}:
    get: {operationId: odd}
  /upload:
    post:
      operationId: upload
      requestBody: {content: {"multipart/form-data": {}}}
components:
  parameters:
    id: {name: id, in: path, required: true, schema: {type: string, pattern: "^[^ ]+$"}}
  requestBodies:
    pet: {content: {"application/json": {schema: {$ref: "#/components/schemas/Pet"}}}}
  schemas:
    Pet:
      type: object
      required: [name]
      properties:
        name: {type: string}
        age: {type: integer, nullable: true, minimum: 0, exclusiveMinimum: true}
        parent: {$ref: "#/components/schemas/Pet"}
"##;

fn run(id: &str, params: Value, body: Option<&str>) -> Result<Ready, String> {
    let document = Document::read(PETS.as_bytes(), Url::parse("https://api.example.com/docs/openapi.yaml").unwrap())?;
    let body = body.map(|body| RawJson::parse(body.to_owned().into_bytes().into()).unwrap());
    let params = params.as_object().cloned().unwrap_or_default();
    let found = document.operation(id)?;
    ready(&document, &found, &params, body.as_ref())
}

#[test]
fn a_request_is_made_from_names_and_values() {
    let rows = [
        ("getPet", json!({"id": "7"}), None, "GET https://api.example.com/api/v2/pets/7", ""),
        ("getPet", json!({"id": "a/b ..", "fields": ["name", "age"], "X-Trace": "t"}), None, "!params.id", ""),
        (
            "getPet",
            json!({"id": "a/b", "fields": ["name", "age"], "deep": {"a": 1}, "X-Trace": "t"}),
            None,
            "GET https://api.example.com/api/v2/pets/a%2Fb?fields=name&fields=age&deep[a]=1",
            "",
        ),
        ("getPet", json!({"id": ".."}), None, "!cannot stand in a path", ""),
        ("getPet", json!({}), None, "!params.id is missing", ""),
        ("getPet", json!({"id": "7", "fields": ["colour"]}), None, "!params.fields: /0", ""),
        ("getPet", json!({"id": 7}), None, "!params.id: 7 is not of type", ""),
        ("getPet", json!({"id": "7", "X-Trace": "too long"}), None, "!params.X-Trace", ""),
        (
            "getPet",
            json!({"id": "7", "colour": 1}),
            None,
            "!no parameter \"colour\": there are id, fields, deep, X-Trace",
            "",
        ),
        ("getPet", json!({"id": "7", "Authorization": "Bearer stolen"}), None, "!no parameter \"Authorization\"", ""),
        ("getPet", json!({"id": "7"}), Some("{}"), "!takes no body", ""),
        (
            "putPet",
            json!({"id": "7"}),
            Some(r#"{"name":"Rex","age":1.0,"parent":{"name":"Max","age":null}}"#),
            "PUT https://other.example/base/pets/7",
            r#"{"name":"Rex","age":1.0,"parent":{"name":"Max","age":null}}"#,
        ),
        ("putPet", json!({"id": "7"}), Some(r#"{"age":3}"#), "!\"name\" is a required property", ""),
        ("putPet", json!({"id": "7"}), Some(r#"{"name":"R","age":0}"#), "!body: /age", ""),
        ("putPet", json!({"id": "7"}), Some(r#"{"name":"R","parent":{"age":1}}"#), "!body: /parent", ""),
        ("putPet", json!({"id": "7"}), None, "PUT https://other.example/base/pets/7", ""),
        ("addPet", json!({}), None, "!body is missing", ""),
        ("addPet", json!({}), Some(r#"{"a":"x y","b":1}"#), "POST https://api.example.com/api/v2/pets", "a=x%20y&b=1"),
        ("addPet", json!({}), Some("[1]"), "!body:", ""),
        ("needsCookie", json!({}), None, "!cookies are not sent", ""),
        ("odd", json!({}), None, "!does not describe: {what}", ""),
        ("upload", json!({}), Some("{}"), "!must be multipart/form-data", ""),
        ("getpet", json!({}), None, "!the nearest are getPet", ""),
    ];
    for (id, params, body, expected, sent) in rows {
        match (run(id, params.clone(), body), expected.strip_prefix('!')) {
            (Ok(ready), None) => {
                assert_eq!(format!("{} {}", ready.method.as_str(), ready.url), expected, "{params}");
                assert_eq!(ready.body.unwrap_or_default(), sent, "{id} {params}");
            }
            (Err(why), Some(part)) => assert!(why.contains(part), "{id} {params}: {why}"),
            (found, _) => panic!("{id} {params}: {found:?}"),
        }
    }
}
