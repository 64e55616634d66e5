//! What is different about a stream: entries that others left pending, the wait for a new one, and keys of the
//! orchestrator that complete a token.

use std::{collections::HashMap, time::Duration};

use ::redis::{Cmd, FromRedisValue, Value, cmd};
use bytes::Bytes;

use super::{
    claim::{Taken, read},
    core::Core,
    keys::{Intake, Names, Stream},
    link::{Answer, Link},
    scripts,
};
use crate::{
    job::{ErrorCode, JobError, RawJson, Rejected},
    queue::QueueError,
};

/// Pending entries looked at in one call.
const CHUNK: usize = 100;

/// Why an entry without a token cannot run.
pub(super) fn no_token() -> Rejected {
    let error = JobError::new(ErrorCode::InvalidJob, "the stream entry has no field `token`: XADD … * token <json>");
    Rejected { job_id: None, run_id: None, node_id: None, error }
}

/// Takes over what consumers of the group left behind that do not renew as we do.
pub(super) async fn adopt_all(core: &Core) {
    for keys in &core.names.intakes {
        let Some(stream) = &keys.stream else { continue };
        if let Err(error) = adopt(core, keys, stream).await {
            tracing::debug!(%error, "pending entries could not be looked at");
        }
    }
}

async fn adopt(core: &Core, keys: &Intake, stream: &Stream) -> Result<(), QueueError> {
    let mut cursor = "0-0".to_owned();
    loop {
        let mut call = scripts::ADOPT.on(&[&*keys.name, &stream.entries, &keys.ready]);
        call.arg(&stream.group).arg(&stream.consumer).arg(core.config.lease.as_millis());
        call.arg(&cursor).arg(CHUNK).arg(&core.names.control);
        let (next, adopted): (String, u64) = read(Some(core.work.one(call).await))?;
        if adopted > 0 {
            tracing::info!(adopted, stream = %keys.name, "pending entries of other consumers were taken over");
        }
        if next == "0-0" || core.stop.is_cancelled() {
            return Ok(());
        }
        cursor = next;
    }
}

/// What is known of the group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) last_delivered: String,
    /// Entries that it has not read, where the server counts them.
    pub(super) lag: u64,
}

impl Core {
    /// What is known of the group; nothing when there is none yet.
    pub(super) async fn group(&self, keys: &Intake, stream: &Stream) -> Result<Option<Group>, QueueError> {
        group(&self.work, keys, stream).await
    }
}

async fn group(link: &Link, keys: &Intake, stream: &Stream) -> Result<Option<Group>, QueueError> {
    let answer = link.one(cmd("XINFO").arg("GROUPS").arg(&*keys.name).take()).await;
    if answer.as_ref().is_err_and(|e| e.code() == Some("ERR")) {
        return Ok(None);
    }
    let groups: Vec<HashMap<String, Value>> = read(Some(answer))?;
    Ok(groups.into_iter().find_map(|mut facts| {
        let mut text = |key: &str| facts.remove(key).and_then(|value| String::from_redis_value(value).ok());
        let lag = text("lag").and_then(|lag| lag.parse().ok()).unwrap_or(0);
        let last_delivered = text("last-delivered-id")?;
        (text("name")? == stream.group).then_some(Group { last_delivered, lag })
    }))
}

/// Waits until the stream has an entry that the group has not read. It is only looked at: the claim takes it.
pub(super) async fn wait_for_entry(
    link: &Link,
    keys: &Intake,
    stream: &Stream,
    block: Duration,
) -> Result<bool, QueueError> {
    let last = group(link, keys, stream).await?.map_or_else(|| "0-0".to_owned(), |group| group.last_delivered);
    let mut wait = cmd("XREAD");
    wait.arg("COUNT").arg(1).arg("BLOCK").arg(block.as_millis()).arg("STREAMS").arg(&*keys.name).arg(last);
    Ok(link.one(wait).await? != Value::Nil)
}

/// Fetches what tokens only name: the previous result, and the workflow of their run.
pub(super) async fn complete(core: &Core, taken: &mut [Taken]) -> Result<(), QueueError> {
    let wanting: Vec<usize> = (0..taken.len()).filter(|i| taken[*i].token.is_some()).collect();
    if wanting.is_empty() {
        return Ok(());
    }
    let mut calls: Vec<Cmd> = Vec::new();
    for token in wanting.iter().filter_map(|i| taken[*i].token.as_ref()) {
        let output = format!("{}:output", token.from_node.as_deref().unwrap_or_default());
        calls.push(cmd("HGET").arg(format!("context:{}", token.run_id)).arg(output).take());
        if token.wants_workflow() {
            calls.push(bounded_get(core, format!("ir:{}", token.run_id)));
        }
    }
    let mut answers = core.work.run(calls).await?.into_iter();
    let mut references: Vec<(usize, Vec<String>)> = Vec::new();
    for i in wanting {
        let Some(token) = &mut taken[i].token else { continue };
        let output = text(answers.next())?.and_then(|text| reference(&text));
        if token.wants_workflow()
            && let Some(workflow) = text(answers.next())?
        {
            token.add_workflow(workflow);
        }
        let mut named: Vec<String> = token.payload_ref.clone().into_iter().chain(output).collect();
        named.dedup();
        references.push((i, named));
    }
    add_previous(core, taken, references).await?;
    for one in taken {
        if let Some(token) = one.token.take() {
            one.job = Ok(token.job);
        }
    }
    Ok(())
}

/// Adds to each token the first of its references behind which something is. What is too large stays there.
async fn add_previous(
    core: &Core,
    taken: &mut [Taken],
    references: Vec<(usize, Vec<String>)>,
) -> Result<(), QueueError> {
    let places: Vec<(usize, &String, String)> = references
        .iter()
        .flat_map(|(i, named)| named.iter().map(|name| (*i, name)))
        .flat_map(|(i, name)| Names::blobs(name).into_iter().map(move |key| (i, name, key)))
        .collect();
    if places.is_empty() {
        return Ok(());
    }
    let calls: Vec<Cmd> = places.iter().map(|(.., key)| bounded_get(core, key.clone())).collect();
    let mut found: HashMap<usize, (&String, Option<Bytes>)> = HashMap::new();
    for ((i, name, _), answer) in places.iter().zip(core.work.run(calls).await?) {
        let entry = found.entry(*i).or_insert((*name, None));
        if let (None, Some(text)) = (&entry.1, text(Some(answer))?) {
            *entry = (*name, Some(text));
        }
    }
    for (i, (name, text)) in found {
        let whole = text.filter(|text| text.len() <= core.config.limits.max_job_bytes);
        let data = whole.and_then(|text| RawJson::parse(text).ok());
        if let Some(token) = &mut taken[i].token {
            token.add_previous(name.clone(), data);
        }
    }
    Ok(())
}

/// Reads a string, and of one that is too large not more than tells so.
fn bounded_get(core: &Core, key: String) -> Cmd {
    cmd("GETRANGE").arg(key).arg(0).arg(core.config.limits.max_job_bytes).take()
}

/// A text that is there; a key of another type is none of ours to complain about.
fn text(answer: Option<Answer>) -> Result<Option<Bytes>, QueueError> {
    match answer {
        Some(Err(error)) if error.code() == Some("WRONGTYPE") => Ok(None),
        answer => {
            let text: Option<Vec<u8>> = read(answer)?;
            Ok(text.filter(|text| !text.is_empty()).map(Bytes::from))
        }
    }
}

/// A reference as it stands in a hash: bare, or as a JSON string.
fn reference(text: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
    (!bare.is_empty() && bare.len() <= 1024).then_some(bare)
}
