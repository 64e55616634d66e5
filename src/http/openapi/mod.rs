//! The API's own description, made from what stands on the handlers.
//!
//! Each handler says with `#[utoipa::path]` what it takes and answers; `router::api` collects them. `jobs`, `outcomes`
//! and `agents` have the shapes of what goes over the wire, `answers` what many operations answer with.

pub(super) mod agents;
mod answers;
pub(super) mod jobs;
pub(super) mod outcomes;

use std::{collections::BTreeMap, mem, sync::LazyLock};

use axum::{http::HeaderMap, response::Response};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        RefOr, Required,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{router, tagged::Tagged};

pub(super) use answers::{Answer, Guarded, WithBody};

/// Everything but the operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "agent-runner",
        description = "Jobs in, results out; health and metrics. \
                       Every error is an RFC 9457 problem document with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    security(("bearer" = [])),
    tags(
        (name = "jobs", description = "Submitting and following jobs."),
        (name = "agents", description = "Who there is, who takes a prompt, and why."),
        (name = "queue", description = "Dead letters and the queue's switch."),
        (name = "operation", description = "Health, metrics, this document.")
    ),
    components(schemas(answers::ProblemDocument, outcomes::Accepted)),
    modifiers(&Shared)
)]
pub(super) struct Frame;

/// Adds what operations refer to by name.
struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("`http.token` or one of `http.tokens`, where there are any."));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.responses.extend(answers::all());
    }
}

/// The document, made once: it says nothing that depends on the configuration.
static DOCUMENT: LazyLock<Tagged> = LazyLock::new(|| Tagged::of(rendered()));

fn rendered() -> String {
    let mut document = router::api().into_openapi();
    // A parameter that takes the rest of the path has no mark of its own there.
    let paths = mem::take(&mut document.paths.paths).into_iter();
    let mut paths: BTreeMap<_, _> = paths.map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    // A body that may be missing is none that may be null, which is what an `Option` on the handler would say.
    let chat = paths.get_mut("/test/chat").and_then(|path| path.post.as_mut());
    if let Some(RefOr::T(body)) = chat.and_then(|chat| chat.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
    document.paths.paths = paths;
    document.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the API's description could not be rendered");
        String::from("{}")
    })
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "operation",
    responses(
        (status = 200, description = "This document.", body = Object, headers(("ETag" = String))),
        Answer<304>,
        Guarded
    )
)]
pub(super) async fn document(headers: HeaderMap) -> Response {
    DOCUMENT.answer(&headers, "application/json", "no-cache")
}
