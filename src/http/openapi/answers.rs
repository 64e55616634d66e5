//! Answers that many operations have. Each stands once in the document, by the name of its status.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, schema::Type},
};

use super::outcomes::{Accepted, Object};

/// An RFC 9457 problem document.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "a shape: described, never built")]
pub(super) struct ProblemDocument {
    /// `urn:agent-runner:problem:` and the code.
    #[schema(format = "uri")]
    r#type: String,
    title: String,
    status: u16,
    /// What was wrong and what to do.
    detail: String,
    /// A stable word to match on.
    code: String,
    /// Facts for programs.
    #[schema(required = false)]
    details: Object,
}

/// Status, what it means, and the header that comes with it.
type Row = (u16, &'static str, Option<(&'static str, &'static str)>);

const ANSWERS: [Row; 13] = [
    (202, "It will be done.", Some(("Location", "Where to look for the job."))),
    (304, "The client has it already (`If-None-Match`).", Some(("ETag", "The tag that was named."))),
    (400, "Something in the request is wrong; `detail` says what.", None),
    (401, "The bearer token is missing or wrong.", Some(("WWW-Authenticate", "`Bearer`, and why."))),
    (
        403,
        "The Host or Origin header is not this server's, the token's role does not reach so far (`forbidden`), or \
         `workflow_owner` is not the token's (`foreign_owner`).",
        None,
    ),
    (404, "Nothing has that id.", None),
    (408, "The body did not arrive in time.", None),
    (409, "The job is not in a state for that, or its id is taken.", None),
    (413, "The body is over `http.max_body_bytes`.", None),
    (415, "The body is not JSON, or compressed.", None),
    (
        429,
        "The client's address used up its requests, or the `workflow_owner` its quota (`quota_exceeded`).",
        Some(("Retry-After", "When to come back, in seconds.")),
    ),
    (502, "The model server behind the choice failed; `code` is that of the job error.", None),
    (
        503,
        "The queue or the store cannot be reached, or too many requests wait already.",
        Some(("Retry-After", "When to come back, in seconds.")),
    ),
];

/// The name of a status among the document's components: `not_found`.
fn name(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    reason.to_ascii_lowercase().replace(' ', "_")
}

/// Every shared answer, by name.
pub(super) fn all() -> impl Iterator<Item = (String, RefOr<Response>)> {
    ANSWERS.into_iter().map(|(status, means, header)| {
        let mut answer = ResponseBuilder::new().description(means);
        if let Some((name, means)) = header {
            let text = ObjectBuilder::new().schema_type(Type::String);
            answer = answer.header(name, HeaderBuilder::new().description(Some(means)).schema(Some(text)).build());
        }
        let content = |schema| ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        answer = match status {
            202 => answer.content("application/json", content(Accepted::name())),
            304 => answer,
            _ => answer.content("application/problem+json", content(ProblemDocument::name())),
        };
        (name(status), answer.build().into())
    })
}

fn refer(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let refer = |status: &u16| (status.to_string(), Ref::from_response_name(name(*status)).into());
    statuses.iter().map(refer).collect()
}

/// In `responses(…)`: the shared answer with this status.
pub(in crate::http) enum Answer<const STATUS: u16> {}

impl<const STATUS: u16> IntoResponses for Answer<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refer(&[STATUS])
    }
}

/// In `responses(…)`: what `guard` may answer in place of any handler behind it, and what a gone queue or store
/// comes to.
pub(in crate::http) enum Guarded {}

impl IntoResponses for Guarded {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refer(&[401, 403, 429, 503])
    }
}

/// In `responses(…)`: what reading a body may come to.
pub(in crate::http) enum WithBody {}

impl IntoResponses for WithBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refer(&[400, 408, 413, 415])
    }
}
