//! A place to try prompts: they run in this process, past the queue.

use askama::Template;
use axum::{body::Body, extract::State, http::HeaderMap};
use serde_json::{Value, json};

use super::{
    super::{
        App,
        access::Access,
        body,
        extract::Query,
        quota,
        submit::{long_permit, stopping},
    },
    outcome::Outcome,
    page::{Fault, Page},
};
use crate::job::{Job, RawJson};

/// What the form shows at first.
const EXAMPLE: (&str, &str) = (
    "the 2 cheapest flights, only airline and price",
    r#"[{"airline":"Aurora","price":129.90},{"airline":"Skyway","price":74.00},{"airline":"Nordlys","price":98.50}]"#,
);

#[derive(Template)]
#[template(path = "playground.html")]
struct Playground {
    nav: &'static str,
    prompt: String,
    data: String,
    workflow: String,
    dry_run: bool,
    problem: Option<String>,
    outcome: Option<Outcome>,
}

/// `GET /ui/playground`.
pub(super) async fn form() -> Page<impl Template> {
    Page(Playground {
        nav: "playground",
        prompt: EXAMPLE.0.to_owned(),
        data: EXAMPLE.1.to_owned(),
        workflow: String::new(),
        dry_run: true,
        problem: None,
        outcome: None,
    })
}

/// `POST /ui/playground`.
pub(super) async fn run(
    State(app): State<App>,
    access: Access,
    headers: HeaderMap,
    body: Body,
) -> Result<Page<impl Template>, Fault> {
    let form = Query::parse(&body::read(&headers, body, &app.settings.http).await?);
    let field = |name| form.get(name).unwrap_or_default().trim().to_owned();
    let mut page = Playground {
        nav: "playground",
        prompt: field("prompt"),
        data: field("data"),
        workflow: field("workflow"),
        dry_run: form.get("dry_run").is_some(),
        problem: None,
        outcome: None,
    };
    match job(&page, &app, &access) {
        Err(problem) => page.problem = Some(problem),
        Ok(job) => {
            quota::charge(&app, job.workflow_owner.as_deref()).await?;
            let _held = long_permit(&app)?;
            let workflow = job.current_workflow.as_ref().and_then(|workflow| workflow.to_value().ok());
            let result = tokio::select! {
                result = (app.run)(job) => result,
                () = app.closing.cancelled() => return Err(stopping("the server stopped before the job ended").into()),
            };
            let document = serde_json::to_value(result).unwrap_or_default();
            page.outcome = Some(Outcome::of(&document, workflow.as_ref()));
        }
    }
    Ok(Page(page))
}

/// The job of a form; what is wrong with it in one sentence.
fn job(page: &Playground, app: &App, access: &Access) -> Result<Job, String> {
    // Only a change of a workflow lasts. A dry run of anything else would give a plan and no rows.
    let mut document = json!({ "prompt": page.prompt, "dry_run": page.dry_run && !page.workflow.is_empty() });
    for (name, member, text) in [("the rows", "data", &page.data), ("the workflow", "current_workflow", &page.workflow)]
    {
        if !text.is_empty() {
            let value: Value = serde_json::from_str(text).map_err(|error| format!("{name} are no JSON: {error}"))?;
            document[member] = value;
        }
    }
    let message = body::with_job_id(RawJson::of(&document).bytes().clone());
    let signed = access.sign(message, &app.settings.job_limits());
    signed.map(|(job, _)| job).map_err(|problem| problem.detail().to_owned())
}
