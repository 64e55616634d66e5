//! What Redis has to be like, asked at the start.

use std::sync::atomic::Ordering;

use ::redis::{Value, cmd};

use super::{claim::read, core::Core, dump};
use crate::queue::QueueError;

/// Pops with a count came with 6.2.
const OLDEST: (u32, u32) = (6, 2);

/// Refuses a server that cannot do the work, or (with `queue.durable`) may lose it; warns otherwise.
pub(super) async fn run(core: &Core) -> Result<(), QueueError> {
    let answer = core.work.one(cmd("INFO").take()).await?;
    for info in texts(answer) {
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        if let Some(version) = field("redis_version") {
            let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
            if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
                return Err(QueueError(format!("redis {version} is too old: 6.2 or newer is needed")));
            }
        }
        let mut faults = Vec::new();
        if let Some(policy) = field("maxmemory_policy").filter(|policy| *policy != "noeviction") {
            faults.push(format!("maxmemory-policy is {policy}: jobs may be evicted; set it to noeviction"));
        }
        if field("aof_enabled") == Some("0") {
            faults.push(
                "appendonly is off: a crash of redis loses what came since its last snapshot; set appendonly yes"
                    .into(),
            );
        }
        let replicas: usize = field("connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0);
        if replicas > 0 {
            core.replicated.store(true, Ordering::Relaxed);
        } else if core.config.durable.is_some_and(|(wanted, _)| wanted > 0) {
            tracing::warn!("queue.durable is on and redis has no replica: results are as safe as its disk");
        }
        if core.config.durable.is_some() && !faults.is_empty() {
            return Err(QueueError(format!("queue.durable is on, but {}", faults.join("; and "))));
        }
        for fault in faults {
            tracing::warn!("redis: {fault}");
        }
    }
    let transactions = !core.connector.is_cluster() && takes_transactions(core).await;
    if !transactions && !core.connector.is_cluster() {
        tracing::warn!(
            "redis: this user may not WATCH, MULTI and EXEC, so that ending a job takes more round trips; see docs/queue.md"
        );
    }
    core.transactions.store(transactions, Ordering::Relaxed);
    core.dumps.store(takes_dumps(core).await, Ordering::Relaxed);
    Ok(())
}

/// Whether everything that a transaction needs is allowed to us.
async fn takes_transactions(core: &Core) -> bool {
    let Some(keys) = core.names.intakes.first() else { return false };
    let calls = [cmd("UNWATCH"), cmd("WATCH").arg(&keys.scratch).take(), cmd("MULTI"), cmd("EXEC")];
    core.work.run(calls).await.is_ok_and(|answers| answers.iter().all(Result::is_ok))
}

/// Whether the server makes a stream of a dump of ours, and what comes out is what went in.
async fn takes_dumps(core: &Core) -> bool {
    let Some(keys) = core.names.intakes.first() else { return false };
    let scratch = format!("{}:{}", keys.scratch, core.new_prefix());
    let made = dump::stream(1, &[("started", b"{}"), ("completed", b"{}")]);
    let calls = [
        cmd("RESTORE").arg(&scratch).arg(1000).arg(made).arg("REPLACE").take(),
        cmd("XRANGE").arg(&scratch).arg("-").arg("+").take(),
        cmd("DEL").arg(&scratch).take(),
    ];
    let Ok(mut answers) = core.work.run(calls).await else { return false };
    let entries: Result<Vec<(String, Vec<String>)>, _> = read(Some(answers.swap_remove(1)));
    let expected = |id: &str, name: &str| (id.to_owned(), ["event", name, "data", "{}"].map(str::to_owned).to_vec());
    entries.is_ok_and(|entries| entries == [expected("1-0", "started"), expected("1-1", "completed")])
}

/// One text per server: a cluster answers with those of all nodes.
fn texts(answer: Value) -> Vec<String> {
    match answer {
        Value::BulkString(text) => vec![String::from_utf8_lossy(&text).into_owned()],
        Value::VerbatimString { text, .. } => vec![text],
        Value::Map(nodes) => nodes.into_iter().flat_map(|(_, answer)| texts(answer)).collect(),
        Value::Array(nodes) => nodes.into_iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
