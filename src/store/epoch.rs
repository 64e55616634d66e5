//! Since when a Redis has kept everything it was given.
//!
//! Redis answers before its disk has the write (`appendfsync everysec`), and a replica that takes over may lack the
//! newest writes. Nothing in the data says that something is missing; that another process of the server answers does.

use std::time::{Duration, Instant};

use ::redis::{RedisError, RedisResult, Value, cmd, from_redis_value};
use parking_lot::Mutex;

use crate::{queue::Link, settings::limits::DOUBT_AFTER_RESTART};

/// How long an answer is good for while the connection stands: a cluster changes servers behind it.
const CHECKED_FOR: Duration = Duration::from_secs(5);
/// How long the mark of a server is kept after it was last needed.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is known of the server behind a link.
#[derive(Default)]
pub(super) struct Epoch(Mutex<Option<Seen>>);

#[derive(Clone)]
struct Seen {
    /// Of the link when it was looked.
    generation: u64,
    at: Instant,
    server: String,
    young: bool,
}

impl Epoch {
    /// Whether the server took up its work not long ago, on data that an earlier one had. Its name stands at `key`, so
    /// that a process that begins later knows of it too.
    pub(super) async fn is_young(&self, link: &Link, key: &str) -> RedisResult<bool> {
        let before = self.0.lock().clone();
        if let Some(seen) = &before
            && seen.generation == link.generation()
            && seen.at.elapsed() < CHECKED_FOR
        {
            return Ok(seen.young);
        }
        // Of before: a connection that is opened meanwhile is looked at once more.
        let generation = link.generation();
        let asked = [cmd("INFO").arg("server").take(), cmd("GET").arg(key).take(), cmd("TIME")];
        let mut answers = link.run(asked).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let Ok(info) = next() else {
            // Who may not ask cannot know, and is no worse off than without the question.
            return Ok(false);
        };
        let server = processes(&info);
        let known: Option<String> = from_redis_value(next()?).map_err(RedisError::from)?;
        let (now, _): (u64, u64) = from_redis_value(next()?).map_err(RedisError::from)?;
        let replaced = before.is_some_and(|seen| seen.server != server);
        let (since, new) = since(known.as_deref(), &server, replaced, now);
        if new {
            let mark = cmd("SET").arg(key).arg(format!("{since} {server}")).arg("EX").arg(KEPT.as_secs()).take();
            for answer in link.run([mark]).await? {
                answer?;
            }
        }
        let young = now.saturating_sub(since) < DOUBT_AFTER_RESTART.as_secs();
        *self.0.lock() = Some(Seen { generation, at: Instant::now(), server, young });
        Ok(young)
    }
}

/// When `server` took over, in seconds of Redis' clock, and whether that has to be written down. `replaced`: this
/// process has seen another one there.
fn since(known: Option<&str>, server: &str, replaced: bool, now: u64) -> (u64, bool) {
    match known.and_then(|known| known.split_once(' ')) {
        Some((since, name)) if name == server => (since.parse().unwrap_or(now), false),
        None if !replaced => (0, true),
        _ => (now, true),
    }
}

/// The processes that answer: one, or those of a cluster.
fn processes(info: &Value) -> String {
    let mut ids: Vec<String> = Vec::new();
    collect(info, &mut ids);
    ids.sort();
    ids.join(",")
}

fn collect(info: &Value, ids: &mut Vec<String>) {
    let mut read =
        |text: &str| ids.extend(text.lines().filter_map(|line| line.strip_prefix("run_id:")).map(str::to_owned));
    match info {
        Value::BulkString(bytes) => read(&String::from_utf8_lossy(bytes)),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => read(text),
        Value::Map(nodes) => nodes.iter().for_each(|(_, info)| collect(info, ids)),
        Value::Array(nodes) => nodes.iter().for_each(|info| collect(info, ids)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_of_the_server_is_noticed_and_a_first_one_is_not_suspicious() {
        // (what stands there, another was seen, since, to be written)
        let rows = [
            (None, false, 0, true),
            (None, true, 900, true),
            (Some("0 a"), false, 0, false),
            (Some("700 a"), true, 700, false),
            (Some("0 b"), false, 900, true),
            (Some("garbage"), false, 0, true),
        ];
        for (known, replaced, at, new) in rows {
            assert_eq!(since(known, "a", replaced, 900), (at, new), "{known:?} {replaced}");
        }
        let text = |id: &str| Value::BulkString(format!("# Server\r\nredis_version:7\r\nrun_id:{id}\r\n").into());
        assert_eq!(processes(&text("x")), "x");
        let nodes = Value::Map(vec![(Value::Nil, text("y")), (Value::Nil, text("x"))]);
        assert_eq!(processes(&nodes), "x,y");
    }
}
