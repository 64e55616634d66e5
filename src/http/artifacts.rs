//! What results point at.

use std::time::Duration;

use axum::{extract::State, http::HeaderMap, response::Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    App,
    access::Access,
    extract::PathText,
    openapi::{Answer, Guarded},
    problem::Problem,
    tagged::Tagged,
};
use crate::{
    job::{JobId, RawJson},
    store::Artifacts,
};

/// What a `result_ref` points at.
#[utoipa::path(
    get,
    path = "/v1/artifacts/{*reference}",
    operation_id = "getArtifact",
    tag = "jobs",
    params((
        "reference" = String,
        Path,
        description = "`artifact://<id>` or `cas://sha256:<hex>`, percent-encoded, or the bare id."
    )),
    responses(
        (status = 200, description = "The bytes.", body = Value, headers(("ETag" = String))),
        Answer<304>,
        Answer<400>,
        Answer<404>,
        Guarded
    )
)]
pub(super) async fn get(
    State(app): State<App>,
    access: Access,
    PathText(given): PathText,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reference = normalise(&given).ok_or_else(|| {
        Problem::not_found("no artifact has that reference: it looks like artifact://<id> or cas://sha256:<hex>")
    })?;
    let found = if may_see(&app, &access, &reference).await? { find(&app, &reference).await? } else { None };
    let bytes = found.ok_or_else(|| {
        Problem::not_found(format!("nothing is kept at {reference}: it never was, or its time is over"))
    })?;
    // A content address never changes its content; an artifact does when its job is started afresh.
    let keep = if reference.starts_with("cas://") { "private, max-age=86400, immutable" } else { "private, no-cache" };
    Ok(Tagged::of(bytes).answer(&headers, "application/json", keep))
}

/// Whether what is behind `reference` belongs to a job that may be seen. What an orchestrator keeps belongs to none.
async fn may_see(app: &App, access: &Access, reference: &str) -> Result<bool, Problem> {
    if access.sees_all() {
        return Ok(true);
    }
    if let Some(owner) = access.owner() {
        let theirs = Artifacts::is_of(&app.kept.store, reference, &owner).await;
        if theirs.map_err(|error| Problem::store_unavailable(&error.to_string()))? {
            return Ok(true);
        }
    }
    let Some(id) = reference.strip_prefix("artifact://") else { return Ok(false) };
    let Ok(job_id) = JobId::parse(id) else { return Ok(false) };
    let job = app.queue.job(&job_id).await?;
    Ok(job.is_some_and(|job| access.sees(job.owner.as_ref())))
}

async fn find(app: &App, reference: &str) -> Result<Option<Bytes>, Problem> {
    let kept = (app.kept.artifacts)(reference.to_owned()).await.map_err(|error| Problem::store_unavailable(&error))?;
    let Some(id) = reference.strip_prefix("artifact://") else { return Ok(kept) };
    match (kept, JobId::parse(id)) {
        // A result small enough to stand in its document is kept there alone, under the job's id.
        (None, Ok(job_id)) => {
            let document = app.queue.result(&job_id, Duration::ZERO).await?;
            Ok(document.as_ref().and_then(inline))
        }
        (kept, _) => Ok(kept),
    }
}

/// The `result` member of a result document.
fn inline(document: &RawJson) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow, default)]
        result: Option<&'a RawValue>,
    }
    let peek: Peek<'_> = serde_json::from_slice(document.bytes()).ok()?;
    peek.result.map(|result| document.bytes().slice_ref(result.get().as_bytes()))
}

/// The full form of a reference, where it can be one.
fn normalise(given: &str) -> Option<String> {
    // Ids are as free as job ids are: printable, bounded.
    let id = |text: &str| JobId::parse(text).is_ok();
    match given.split_once("://") {
        Some(("artifact" | "cas", rest)) => id(rest).then(|| given.to_owned()),
        Some(_) => None,
        None if given.starts_with("sha256:") => id(given).then(|| format!("cas://{given}")),
        None => id(given).then(|| format!("artifact://{given}")),
    }
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn references_are_taken_in_every_form_and_nothing_else_is() {
        for (given, full) in [
            ("0198-a", Some("artifact://0198-a")),
            ("artifact://0198-a", Some("artifact://0198-a")),
            ("cas://sha256:ab", Some("cas://sha256:ab")),
            ("sha256:ab", Some("cas://sha256:ab")),
            ("http://x", None),
            ("artifact://", None),
            ("a b", None),
            ("a\nb", None),
            ("", None),
            (&"a".repeat(257), None),
        ] {
            assert_eq!(normalise(given).as_deref(), full, "{given}");
        }
    }
}
