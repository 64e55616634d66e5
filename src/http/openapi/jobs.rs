//! The shape of a job as it is sent here, and of parameters.
//!
//! What is read when the job comes in is described as it is read; what is read when it runs may be anything at first.

#![expect(dead_code, reason = "shapes: described, never built")]

use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        AllOfBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, SchemaFormat,
        schema::{AnyOfBuilder, SchemaType, Type},
    },
};

/// 1 to 200 printable characters, no spaces.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 200, pattern = r"^[^\s\u0000-\u001f\u007f-\u009f]+$")]
pub(in crate::http) struct JobId(String);

/// A short text, of at most 1024 bytes.
#[derive(ToSchema)]
#[schema(max_length = 1024)]
pub(super) struct Name(String);

/// Words that are not blank.
#[derive(ToSchema)]
#[schema(pattern = r"\S")]
pub(in crate::http) struct Words(String);

/// A prompt in a form, unless the query has it.
#[derive(ToSchema)]
pub(in crate::http) struct PromptForm {
    #[schema(required = false)]
    prompt: Words,
}

/// Length of a page.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 1000, default = 50)]
pub(in crate::http) struct Limit(usize);

/// Place in a list.
#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 1000000, default = 0)]
pub(in crate::http) struct Offset(usize);

/// A place in a list, as one of its pages gave it out; nothing else is one.
#[derive(ToSchema)]
#[schema(format = "cursor")]
pub(in crate::http) struct Cursor(String);

/// Seconds to wait.
#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 300, default = 0)]
pub(in crate::http) struct Wait(usize);

/// The id of an event; empty: none was seen.
#[derive(ToSchema)]
#[schema(pattern = r"^([0-9]{1,20}(-[0-9]{1,20})?)?$")]
pub(in crate::http) struct EventId(String);

/// Where a job stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(in crate::http) enum State {
    Queued,
    Running,
    AwaitingApproval,
    Completed,
    Failed,
    Cancelled,
}

/// What a list can be narrowed to: the states of a job, and those that are queued for later.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(in crate::http) enum Status {
    Queued,
    Scheduled,
    Running,
    AwaitingApproval,
    Completed,
    Failed,
    Cancelled,
}

/// The way a job went.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(in crate::http) enum Lane {
    Execute,
    Patch,
    Handoff,
    Answer,
}

/// The way a job is to go.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case", default = "auto")]
enum LaneChoice {
    Auto,
    Execute,
    Patch,
    Handoff,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum PatchTarget {
    Workflow,
    Run,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case", default = "normal")]
enum Priority {
    High,
    Normal,
    Low,
}

/// One of the handoff systems.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(in crate::http) enum Mode {
    Route,
    Tiers,
    Network,
    Pool,
}

/// The members of a job.
#[derive(ToSchema)]
struct JobMembers {
    /// Absent or 1.x.
    #[schema(schema_with = version)]
    version: Option<String>,
    /// Made where there is none.
    job_id: Option<JobId>,
    run_id: Option<Name>,
    node_id: Option<Name>,
    workflow_tag: Option<Name>,
    workflow_owner: Option<Name>,
    /// What is wanted, in words.
    prompt: Option<String>,
    /// Another name for `prompt`.
    task: Option<String>,
    lane: Option<LaneChoice>,
    /// A ready plan: a list of steps. It is read when the job runs, and what is wrong with it stands in the result.
    pipeline: Option<Value>,
    /// A ready patch, read like `pipeline`.
    patch_spec: Option<Value>,
    patch_target: Option<PatchTarget>,
    dry_run: Option<bool>,
    require_approval: Option<bool>,
    /// `artifact://…` or `cas://sha256:…`: the first data.
    input_ref: Option<Name>,
    /// Rows: the first data. They are read when the job runs.
    data: Option<Value>,
    /// Nodes and edges, read when the job runs.
    current_workflow: Option<Value>,
    context: Option<Context>,
    handoff: Option<Handoff>,
    /// The job's time, in seconds; at most a week.
    #[schema(exclusive_minimum = 0, maximum = 604800)]
    timeout_sec: Option<f64>,
    /// Attempts made elsewhere.
    #[schema(minimum = 0, maximum = 4294967295u32)]
    retry_count: Option<usize>,
    /// Not before: an RFC 3339 time, or whole milliseconds since the epoch.
    #[schema(schema_with = time)]
    run_at: Option<String>,
    /// Not before so many milliseconds have passed; at most a year.
    #[schema(minimum = 0, maximum = 31622400000u64)]
    delay_ms: Option<usize>,
    priority: Option<Priority>,
    budget: Option<Budget>,
    /// W3C trace context.
    traceparent: Option<Name>,
    created_at: Option<Name>,
}

/// What surrounds a job.
#[derive(ToSchema)]
struct Context {
    /// Oldest first; the last one with data is the first data.
    #[schema(max_items = 10000)]
    previous_results: Option<Vec<PreviousResult>>,
    /// Continues a conversation.
    session_id: Option<Name>,
    workflow_state: Option<Value>,
}

#[derive(ToSchema)]
struct PreviousResult {
    node_id: Option<Name>,
    result_ref: Option<Name>,
    preview: Option<Value>,
    data: Option<Value>,
}

/// Which agents do it, and how. Each mode reads its own members.
#[derive(ToSchema)]
struct Handoff {
    /// Absent: the one whose own members are given, else `route`.
    mode: Option<Mode>,
    /// Route: least score, -1 to 1.
    threshold: Option<f64>,
    /// Route: how many scored agents are shown.
    #[schema(minimum = 0)]
    show_top_n: Option<usize>,
    /// Choose only.
    #[schema(required = false)]
    dry_run: bool,
    /// Network: the agent that starts.
    agent: Option<Name>,
    /// Network: forget the session and start over.
    #[schema(required = false)]
    reset: bool,
    /// Tiers: name of a set.
    tiers: Option<Name>,
    /// Tiers: words handed to every tier.
    context: Option<String>,
    /// Tiers: highest level that may be used.
    #[schema(minimum = 0, maximum = 4294967295u32)]
    max_tier: Option<usize>,
    /// Tiers: how many, without a named set.
    #[schema(minimum = 0, maximum = 4294967295u32)]
    num_tiers: Option<usize>,
    /// Pool: its name.
    pool: Option<Name>,
    /// Pool: what the agent has to be able to do.
    capability: Option<Name>,
}

/// Bounds on every model call of a job.
#[derive(ToSchema)]
struct Budget {
    #[schema(minimum = 0)]
    max_tokens: Option<usize>,
    #[schema(minimum = 0)]
    max_cost_usd: Option<f64>,
}

fn version() -> Schema {
    let text = text().pattern(Some(r"^0*1(\.[0-9]+)*$"));
    let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(1)).exclusive_maximum(Some(2));
    OneOfBuilder::new().item(text).item(number).item(null()).build().into()
}

fn time() -> Schema {
    let text = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    OneOfBuilder::new().item(text).item(number).item(null()).build().into()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Null)
}

/// A job document.
pub(in crate::http) struct Job;

impl PartialSchema for Job {
    fn schema() -> RefOr<Schema> {
        let with = |member: &str, schema: RefOr<Schema>| ObjectBuilder::new().property(member, schema).required(member);
        let given = [Type::Object, Type::Array, Type::String, Type::Number, Type::Boolean];
        let given = ObjectBuilder::new().schema_type(SchemaType::from_iter(given)).build();
        let words = Ref::from_schema_name(Words::name());
        let one = AnyOfBuilder::new()
            .item(with("prompt", words.clone().into()))
            .item(with("task", words.into()))
            .item(with("pipeline", given.clone().into()))
            .item(with("patch_spec", given.clone().into()))
            .item(with("handoff", given.into()));
        AllOfBuilder::new()
            .description(Some(
                "A job document: its members, of which one says what is to be done. Members that nobody knows are \
                 ignored, and null is as good as absent. docs/protocol.md explains each.",
            ))
            .item(Ref::from_schema_name(JobMembers::name()))
            .item(one)
            .examples(examples())
            .into()
    }
}

fn examples() -> [Value; 4] {
    [
        json!({"prompt": "top 2 by price", "data": [{"price": 3}, {"price": 1}, {"price": 2}]}),
        json!({"pipeline": [{"step": "table_sort", "field": "price"}], "data": [{"price": 2}, {"price": 1}]}),
        json!({
            "patch_spec": {"operations": [{"op": "remove", "path": "/nodes/id:mail"}], "description": "no mail"},
            "current_workflow": {"nodes": [{"id": "mail", "type": "email", "config": {}}], "edges": []},
            "dry_run": true,
        }),
        json!({"prompt": "review my pull request for bugs", "handoff": {"mode": "route", "dry_run": true}}),
    ]
}

impl ToSchema for Job {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((JobMembers::name().into(), JobMembers::schema()));
        schemas.push((Words::name().into(), Words::schema()));
        JobMembers::schemas(schemas);
    }
}
