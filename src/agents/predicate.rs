//! `enabled_when`: a CEL expression over the job that says whether a transfer is offered.

use std::{collections::HashMap, sync::Arc};

use cel::{
    Context, Program, Value as Cel,
    objects::{Key, Map},
};
use serde_json::Value;

use crate::job::Job;

/// Longest state of a workflow that an expression may look at, in bytes.
const MAX_STATE_BYTES: usize = 64 << 10;

/// Whether the expression holds for `job`; none always does. One that fails does not hold, and the log says why.
pub(super) fn holds(expression: Option<&str>, job: &Job) -> bool {
    let Some(expression) = expression else { return true };
    match evaluate(expression, job) {
        Ok(truth) => truth,
        Err(why) => {
            tracing::warn!(job_id = %job.job_id, expression, why, "enabled_when could not be decided; the transfer is not offered");
            false
        }
    }
}

fn evaluate(expression: &str, job: &Job) -> Result<bool, String> {
    let program = Program::compile(expression).map_err(|error| error.to_string())?;
    let mut context = Context::default();
    context.add_variable_from_value("job", shown(job));
    match program.execute(&context) {
        Ok(Cel::Bool(truth)) => Ok(truth),
        Ok(other) => Err(format!("it is {} and no truth value", other.type_of())),
        Err(error) => Err(error.to_string()),
    }
}

/// What an expression sees: absent members are null, texts empty.
fn shown(job: &Job) -> Cel {
    let text = |text: Option<&str>| Cel::String(Arc::new(text.unwrap_or_default().to_owned()));
    let state = job.context.workflow_state.as_ref().filter(|state| state.len() <= MAX_STATE_BYTES);
    let state = state.and_then(|state| state.to_value().ok()).unwrap_or_default();
    let context = map([("session_id", text(job.context.session_id.as_deref())), ("workflow_state", value(&state))]);
    map([
        ("job_id", text(Some(job.job_id.as_str()))),
        ("run_id", text(job.run_id.as_deref())),
        ("node_id", text(job.node_id.as_deref())),
        ("workflow_tag", text(job.workflow_tag.as_deref())),
        ("workflow_owner", text(job.workflow_owner.as_deref())),
        ("prompt", text(Some(job.prompt_text()))),
        ("has_data", Cel::Bool(job.data.is_some())),
        ("context", context),
    ])
}

fn map<const N: usize>(members: [(&str, Cel); N]) -> Cel {
    let members: HashMap<Key, Cel> =
        members.into_iter().map(|(key, value)| (Key::String(Arc::new(key.to_owned())), value)).collect();
    Cel::Map(Map { map: Arc::new(members) })
}

fn value(json: &Value) -> Cel {
    match json {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cel::Int(whole),
            None => Cel::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(value).collect())),
        Value::Object(members) => {
            let members: HashMap<Key, Cel> =
                members.iter().map(|(key, member)| (Key::String(Arc::new(key.clone())), value(member))).collect();
            Cel::Map(Map { map: Arc::new(members) })
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::job::JobLimits;

    #[test]
    fn a_transfer_is_offered_where_its_predicate_holds() {
        let document = r#"{"job_id":"j","prompt":"what is the price?","workflow_owner":"ann","data":[{"a":1}],
            "context":{"session_id":"s","workflow_state":{"plan":"gold","seats":3,"tags":["x"],"ratio":0.5}}}"#;
        let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
        let job = Job::parse(&Bytes::from_static(document.as_bytes()), &limits).map_err(|r| r.error).unwrap();
        for (expression, want) in [
            ("job.prompt.contains('price')", true),
            ("job.prompt.contains('invoice')", false),
            ("job.workflow_owner == 'ann' && job.has_data", true),
            ("job.context.session_id != ''", true),
            ("job.context.workflow_state.plan == 'gold'", true),
            ("job.context.workflow_state.seats > 2", true),
            ("job.context.workflow_state.ratio < 0.4", false),
            ("'x' in job.context.workflow_state.tags", true),
            ("job.run_id == ''", true),
            // What cannot be decided does not hold.
            ("job.context.workflow_state.nothing == 1", false),
            ("job.prompt", false),
            ("job.prompt ==", false),
            ("unknown == 1", false),
        ] {
            assert_eq!(holds(Some(expression), &job), want, "{expression}");
        }
        assert!(holds(None, &job));
    }
}
