//! `openapi_action` against a site that keeps what it was sent.

use std::sync::Arc;

use agent_runner::{
    job::ErrorCode,
    net::{Credentials, Egress},
    settings::{self, AuthProfile},
    tools::{OpenApiAction, Taint, Watch},
};
use serde_json::{Value, json};

use crate::support::{
    site::{Site, reply},
    tools::{Workbench, registry},
};

const DOCUMENT: &str = r##"
openapi: 3.1.0
servers: [{url: ../api}]
paths:
  /pets:
    get:
      operationId: listPets
      summary: All pets of the shop
      parameters:
        - {name: limit, in: query, schema: {type: integer, maximum: 100}}
        - {name: status, in: query, schema: {type: array, items: {enum: [sold, free]}}}
        - {name: X-Shop, in: header, required: true, schema: {type: string}}
    post:
      operationId: addPet
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
  /pets/{id}:
    delete: {operationId: removePet, parameters: [{name: id, in: path, required: true, schema: {type: string}}]}
  /away:
    get: {operationId: away, servers: [{url: "http://169.254.169.254"}]}
  /moved:
    get: {operationId: moved}
  /picture:
    get: {operationId: picture}
components:
  schemas:
    Pet: {type: object, required: [name], properties: {name: {type: string}, friend: {$ref: "#/components/schemas/Pet"}}}
"##;

async fn site() -> Site {
    Site::start(|visit| match (visit.method.as_str(), visit.path()) {
        ("GET", "/docs/openapi.yaml") => reply(200, &[("content-type", "application/yaml")], DOCUMENT),
        ("GET", "/docs/json") => reply(200, &[], r#"{"openapi":"3.0.0","paths":{}}"#),
        ("GET", "/docs/none") => reply(200, &[], "<html>"),
        ("GET", "/docs/old") => reply(200, &[], "swagger: '2.0'"),
        ("GET", "/api/picture") => reply(200, &[("content-type", "image/png")], &[0xff_u8, 0xd8][..]),
        ("GET", "/api/moved") => reply(302, &[("location", "http://localhost:1/elsewhere")], ""),
        ("DELETE", _) => reply(204, &[], ""),
        ("POST", _) => reply(409, &[("content-type", "application/json")], r#"{"why":"there is one"}"#),
        ("GET", "/api/pets") => reply(200, &[("content-type", "application/json")], r#"[{"name":"Rex","price":1.10}]"#),
        _ => reply(404, &[], "no such thing"),
    })
    .await
}

fn bench(settings: &settings::Egress) -> Workbench {
    let mut bench = Workbench::with(settings);
    let egress = Arc::new(Egress::new(settings, &[]).unwrap());
    let tool = OpenApiAction::new(egress, Credentials::new(settings));
    bench.source(tool.known());
    bench.built_ins.push(Arc::new(tool));
    bench
}

fn open(site: &Site) -> settings::Egress {
    settings::Egress { allow: vec![site.address().to_string()], ..settings::Egress::default() }
}

#[tokio::test]
async fn an_operation_is_called_by_name_with_everything_checked_first() {
    let site = site().await;
    let registry = registry(json!(["openapi_action"]), json!({}));
    let bench = bench(&open(&site));
    let kit = bench.kit(&registry).await;
    let url = site.url("/docs/openapi.yaml");
    // (operation, what goes with it, what the model is told, what was sent)
    let rows: Vec<(&str, Value, &str, &str)> = vec![
        (
            "listPets",
            json!({"params": {"X-Shop": "a", "limit": 3, "status": ["sold", "free"]}}),
            "200 application/json\n[{\"name\":\"Rex\",\"price\":1.10}]",
            "GET /api/pets?limit=3&status=sold&status=free",
        ),
        ("listPets", json!({"params": {"limit": 3}}), "!params.X-Shop is missing", ""),
        ("listPets", json!({"params": {"X-Shop": "a", "limit": 300}}), "!params.limit: 300 is greater", ""),
        ("listPets", json!({"params": {"X-Shop": "a", "status": ["lost"]}}), "!params.status: /0", ""),
        (
            "listPets",
            json!({"params": {"X-Shop": "a", "size": 1}}),
            "!no parameter \"size\": there are limit, status, X-Shop",
            "",
        ),
        ("listPet", json!({}), "!the nearest are listPets (GET /pets: All pets of the shop)", ""),
        ("removePet", json!({"params": {"id": "a/b"}}), "204 \n(no content)", "DELETE /api/pets/a%2Fb"),
        ("removePet", json!({"params": {"id": ".."}}), "!cannot stand in a path", ""),
        ("addPet", json!({"body": {"name": "Rex", "friend": {"name": 1}}}), "!body: /friend", ""),
        ("addPet", json!({"body": {"name": "Rex"}}), "!answered 409: {\"why\":\"there is one\"}", "POST /api/pets"),
        ("addPet", json!({}), "!body is missing", ""),
        ("picture", json!({}), "200 image/png\n[image/png, 2 bytes: not shown]", "GET /api/picture"),
        ("away", json!({}), "!link-local", ""),
        ("moved", json!({}), "!port 1", "GET /api/moved"),
        ("listPets", json!({"auth_profile": "mine", "params": {"X-Shop": "a"}}), "!no auth profile \"mine\"", ""),
    ];
    for (n, (operation, more, told, sent)) in rows.into_iter().enumerate() {
        let mut arguments = json!({"openapi_url": url, "operation_id": operation});
        for (key, value) in more.as_object().unwrap() {
            arguments[key] = value.clone();
        }
        let before = site.visits().len();
        let answer = bench.call(&kit, "openapi_action", &arguments.to_string(), u32::try_from(n).unwrap()).await;
        match told.strip_prefix('!') {
            None => assert_eq!(answer.as_deref(), Ok(told), "{operation} {more}"),
            Some(part) => {
                let error = answer.expect_err(operation);
                assert!(error.message.contains(part) && !error.retryable, "{operation} {more}: {error}");
            }
        }
        let visits = site.visits();
        let calls: Vec<String> = visits[before..]
            .iter()
            .filter(|visit| visit.path() != "/docs/openapi.yaml")
            .map(|visit| format!("{} {}", visit.method, visit.target))
            .collect();
        assert_eq!(calls.join(", "), sent, "{operation} {more}");
    }
    let fetched = site.visits().iter().filter(|visit| visit.path() == "/docs/openapi.yaml").count();
    assert_eq!(fetched, 1, "the document is kept");
}

#[tokio::test]
async fn a_document_that_is_none_is_told_and_so_are_bad_arguments() {
    let site = site().await;
    let registry = registry(json!(["openapi_action"]), json!({}));
    let bench = bench(&open(&site));
    let kit = bench.kit(&registry).await;
    let rows = [
        (json!({"openapi_url": site.url("/docs/none"), "operation_id": "x"}), "only 3.0 and 3.1"),
        (json!({"openapi_url": site.url("/docs/old"), "operation_id": "x"}), "Swagger 2.0"),
        (json!({"openapi_url": site.url("/docs/json"), "operation_id": "x"}), "no operation with an operationId"),
        (json!({"openapi_url": site.url("/gone"), "operation_id": "x"}), "answered 404"),
        (json!({"openapi_url": "http://10.0.0.1/x", "operation_id": "x"}), "egress.allow"),
        (json!({"openapi_url": "file:///etc/passwd", "operation_id": "x"}), "http"),
        (json!({"operation_id": "x"}), "openapi_url is missing"),
        (json!({"openapi_url": site.url("/docs/json")}), "operation_id is missing"),
        (json!([1]), "the arguments must be"),
        (json!({"openapi_url": 7}), "the arguments must be"),
    ];
    for (n, (arguments, part)) in rows.into_iter().enumerate() {
        let told = bench.call(&kit, "openapi_action", &arguments.to_string(), u32::try_from(n).unwrap()).await;
        let error = told.expect_err(part);
        assert!(error.message.contains(part) && !error.retryable, "{arguments}: {error}");
    }
}

#[tokio::test]
async fn a_credential_goes_with_the_call_to_its_host_and_never_elsewhere() {
    let site = site().await;
    let registry = registry(json!(["openapi_action"]), json!({}));
    let profile = |host: String| AuthProfile {
        hosts: vec![host],
        header: Some("X-Key".into()),
        value: Some("s3cret".into()),
        ..AuthProfile::default()
    };
    let here = format!("http://{}", site.address());
    let mut settings = open(&site);
    settings.auth_profiles =
        [("here".to_owned(), profile(here)), ("there".to_owned(), profile("other.example".into()))].into();
    let bench = bench(&settings);
    let kit = bench.kit(&registry).await;
    let call = |operation: &str, profile: &str| {
        json!({"openapi_url": site.url("/docs/openapi.yaml"), "operation_id": operation, "auth_profile": profile, "params": {"X-Shop": "a"}}).to_string()
    };
    bench.call(&kit, "openapi_action", &call("listPets", "here"), 1).await.unwrap();
    assert!(site.visits().iter().all(|visit| visit.header("x-key") == Some("s3cret")));
    let before = site.visits().len();
    let error = bench.call(&kit, "openapi_action", &call("listPets", "there"), 2).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::HttpBlocked);
    assert!(error.message.contains("is for other.example, not for"), "{error}");
    assert!(site.visits()[before..].iter().all(|visit| visit.header("x-key").is_none()));
}

#[tokio::test]
async fn a_call_that_changes_something_is_not_made_twice() {
    let site = site().await;
    let registry = registry(json!(["openapi_action"]), json!({}));
    let bench = bench(&open(&site));
    let kit = bench.kit(&registry).await;
    let call = |operation: &str| json!({"openapi_url": site.url("/docs/openapi.yaml"), "operation_id": operation, "params": {"id": "7", "X-Shop": "a"}});
    let mut removal = call("removePet");
    removal["params"] = json!({"id": "7"});
    let mut list = call("listPets");
    list["params"] = json!({"X-Shop": "a"});
    bench.call(&kit, "openapi_action", &removal.to_string(), 1).await.unwrap();
    bench.call(&kit, "openapi_action", &list.to_string(), 2).await.unwrap();
    // The worker died before the outcome went on record.
    let bench = bench.redelivered();
    let kit = bench.kit(&registry).await;
    let error = bench.call(&kit, "openapi_action", &removal.to_string(), 1).await.unwrap_err();
    assert_eq!(error.details["reason"], "outcome_unknown");
    bench.call(&kit, "openapi_action", &list.to_string(), 2).await.unwrap();
    assert_eq!(site.visits().iter().filter(|visit| visit.method == "DELETE").count(), 1);
}

#[tokio::test]
async fn descriptions_are_found_by_those_whose_jobs_read_them_and_taint() {
    let site = site().await;
    let registry = registry(json!(["openapi_action", "search_tools"]), json!({}));
    let ann = bench(&open(&site)).job_of(Some("ann"));
    let bob = ann.job_of(Some("bob"));
    let arguments = json!({"openapi_url": site.url("/docs/openapi.yaml?key=anns"), "operation_id": "listPets", "params": {"X-Shop": "a"}});
    let searched = async |who: &Workbench| {
        let (kit, watch) = (who.kit(&registry).await, Watch::over(Taint::default()));
        let found = who.call_under(&kit, "search_tools", r#"{"query":"pets of the shop"}"#, 7, Some(&watch)).await;
        (found.unwrap().contains("key=anns"), watch.fresh())
    };
    assert_eq!(searched(&ann).await, (false, vec![]));
    ann.call(&ann.kit(&registry).await, "openapi_action", &arguments.to_string(), 0).await.unwrap();
    assert_eq!(searched(&ann).await, (true, vec!["openapi_action 127.0.0.1".to_owned()]));
    assert_eq!(searched(&bob).await, (false, vec![]));
}
