//! The store in Redis, shared by the fleet.

use std::{sync::Arc, time::Duration};

use ::redis::{Cmd, FromRedisValue, RedisError, Value, cmd, from_redis_value};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Draw, Held, Hold, Store, StoreError, Visit, Write, epoch::Epoch};
use crate::{
    queue::{Link, is_away},
    settings::Settings,
};

/// Values are strings and lists are lists, at `<queue.prefix>:<key>`.
pub struct RedisStore {
    link: Link,
    prefix: String,
    epoch: Epoch,
}

impl RedisStore {
    /// A store at `store.url`, or at `redis.url` where that is not set or names another kind of store. Nothing is
    /// dialled before the first use; only an address that cannot be read is refused.
    pub fn connect(settings: &Settings) -> Result<Arc<Self>, StoreError> {
        let mut redis = settings.redis.clone();
        let own = settings.store.redis_url().cloned();
        let name = if own.is_some() { "store.url" } else { "redis.url" };
        redis.url = own.unwrap_or(redis.url);
        let link = Link::to(&redis).map_err(|e| StoreError::refused(e.0.replace("redis.url", name)))?;
        Ok(Arc::new(Self { link, prefix: settings.queue.prefix.clone(), epoch: Epoch::default() }))
    }

    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix)
    }

    /// Writes a value in pieces under a name of its own, and then gives it its key.
    async fn put_pieces(&self, key: &str, value: &Bytes, ttl: Duration) -> Result<(), StoreError> {
        let key = self.key(key);
        // The braces keep both names in one cluster slot. What a death leaves behind ends by itself.
        let draft = format!("{{{key}}}:{}", uuid::Uuid::now_v7());
        let first = value.len().min(PIECE_BYTES);
        let set = cmd("SET").arg(&draft).arg(&value[..first]).arg("PX").arg(millis(ttl)).take();
        self.ask::<()>(set).await?;
        let mut written = first;
        for piece in value[first..].chunks(PIECE_BYTES) {
            // Sent once: a second time it would stand there twice.
            let append = cmd("APPEND").arg(&draft).arg(piece).take();
            let length: usize = read(self.link.run([append]).await.map_err(failed)?.pop())?;
            written += piece.len();
            if length != written {
                return Err(StoreError::refused(format!(
                    "redis: {length} bytes of a large value are there instead of {written}"
                )));
            }
        }
        read(self.link.run([cmd("RENAME").arg(&draft).arg(&key).take()]).await.map_err(failed)?.pop())
    }

    /// A call of a script on several keys of one thing, which share a cluster slot.
    pub(super) fn on(&self, script: &str, key: &str, parts: &[&str]) -> Cmd {
        let mut call = cmd("EVAL");
        call.arg(script).arg(parts.len());
        for part in parts {
            call.arg(self.key(&format!("{{{key}}}:{part}")));
        }
        call
    }

    fn on_loans(&self, script: &str, key: &str) -> Cmd {
        self.on(script, key, &["until", "who", "count"])
    }

    /// One command that may be sent twice: the first connection may have died unnoticed.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, StoreError> {
        let mut answers = self.link.run([command.clone()]).await;
        if answers.as_ref().is_err_and(RedisError::is_io_error) {
            answers = self.link.run([command]).await;
        }
        read(answers.map_err(failed)?.pop())
    }
}

/// What is sent of a large value at once: on its way to the socket a command is copied several times.
const PIECE_BYTES: usize = 4 << 20;

fn failed(error: RedisError) -> StoreError {
    let message = format!("redis: {error}");
    if is_away(&error) { StoreError::away(message) } else { StoreError::refused(message) }
}

fn read<T: FromRedisValue>(answer: Option<Result<Value, RedisError>>) -> Result<T, StoreError> {
    let value = answer.unwrap_or(Ok(Value::Nil)).map_err(failed)?;
    from_redis_value(value).map_err(|e| failed(e.into()))
}

/// Takes from rate limits. Sent as text: it runs only where limits are set, and beside a model call.
const DRAW: &str = include_str!("lua/draw.lua");

/// Holds parts of allowances for requests under way.
const HOLD: &str = include_str!("lua/hold.lua");
const SETTLE: &str = include_str!("lua/settle.lua");

/// Lends the least loaded of several, and takes it back.
const BORROW: &str = include_str!("lua/borrow.lua");
const GIVE_BACK: &str = include_str!("lua/give_back.lua");

/// Redis refuses a time of zero.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}

#[async_trait]
impl Store for RedisStore {
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.ask(cmd("SET").arg(self.key(key)).arg(&value[..]).arg("PX").arg(millis(ttl)).take()).await
    }

    async fn put_large(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        if value.len() <= PIECE_BYTES {
            return self.put(key, value, ttl).await;
        }
        match self.put_pieces(key, &value, ttl).await {
            // The connection may have died in the middle, or a failover lost the beginning: once more from there.
            Err(_) => self.put_pieces(key, &value, ttl).await,
            written => written,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let value: Option<Vec<u8>> = self.ask(cmd("GET").arg(self.key(key)).take()).await?;
        Ok(value.map(Bytes::from))
    }

    async fn append(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let key = self.key(key);
        let push = cmd("RPUSH").arg(&key).arg(&value[..]).take();
        let expire = cmd("PEXPIRE").arg(&key).arg(millis(ttl)).take();
        // Sent once: a second push would be a second entry.
        for answer in self.link.run([push, expire]).await.map_err(failed)? {
            read::<i64>(Some(answer))?;
        }
        Ok(())
    }

    async fn list(&self, key: &str) -> Result<Vec<Bytes>, StoreError> {
        let entries: Vec<Vec<u8>> = self.ask(cmd("LRANGE").arg(self.key(key)).arg(0).arg(-1).take()).await?;
        Ok(entries.into_iter().map(Bytes::from).collect())
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.ask::<i64>(cmd("DEL").arg(self.key(key)).take()).await?;
        Ok(())
    }

    async fn trim(&self, key: &str, keep: usize) -> Result<(), StoreError> {
        let newest = -i64::try_from(keep.max(1)).unwrap_or(i64::MAX);
        self.ask::<()>(cmd("LTRIM").arg(self.key(key)).arg(newest).arg(-1).take()).await
    }

    async fn count(&self, key: &str, deltas: &[(&str, i64)], ttl: Duration) -> Result<Vec<i64>, StoreError> {
        let key = self.key(key);
        let add = |(field, delta): &(&str, i64)| cmd("HINCRBY").arg(&key).arg(field).arg(delta).take();
        let mut commands: Vec<Cmd> = deltas.iter().map(add).collect();
        commands.push(cmd("PEXPIRE").arg(&key).arg(millis(ttl)).take());
        // Sent once: it would be added twice.
        let mut answers = self.link.run(commands).await.map_err(failed)?;
        answers.truncate(deltas.len());
        answers.into_iter().map(|answer| read(Some(answer))).collect()
    }

    async fn sums(&self, keys: &[String]) -> Result<Vec<Vec<(String, i64)>>, StoreError> {
        let commands: Vec<Cmd> = keys.iter().map(|key| cmd("HGETALL").arg(self.key(key)).take()).collect();
        let answers = self.link.run(commands).await.map_err(failed)?;
        answers.into_iter().map(|answer| read(Some(answer))).collect()
    }

    async fn draw(&self, key: &str, draws: &[Draw], visit: Visit<'_>) -> Result<Duration, StoreError> {
        let mut call = self.on(DRAW, key, &["level", "line", "until"]);
        match visit {
            Visit::Now => call.arg("now").arg(0).arg("").arg(0).arg(0),
            Visit::Settle => call.arg("settle").arg(0).arg("").arg(0).arg(0),
            Visit::Shut(time) => call.arg("shut").arg(millis(time)).arg("").arg(0).arg(0),
            Visit::Line(place) => {
                let look_again = if place.look_again.is_zero() { 0 } else { millis(place.look_again) };
                call.arg("line").arg(millis(place.at_most)).arg(place.holder).arg(look_again).arg(millis(place.keep))
            }
        };
        for draw in draws {
            call.arg(draw.per_minute).arg(draw.amount);
        }
        let answer = self.link.run([call]).await.map_err(failed)?.pop();
        read::<u64>(answer).map(Duration::from_millis)
    }

    async fn hold(&self, hold: &Hold<'_>, limits: [u64; 2], ttl: Duration) -> Result<Held, StoreError> {
        let mut call = self.on(HOLD, &format!("spend:{}", hold.owner), &[hold.period, "held"]);
        call.arg(hold.holder).arg(millis(ttl)).arg(&hold.amounts[..]).arg(&limits[..]).arg(&hold.least[..]);
        // Sent again it is the same hold.
        match self.ask::<[u64; 3]>(call).await? {
            [0, tokens, micros] => Ok(Held::Yes([tokens, micros])),
            [1, ..] => Ok(Held::Later),
            [_, tokens, micros] => Ok(Held::UsedUp([tokens, micros])),
        }
    }

    async fn settle(&self, hold: &Hold<'_>, ttl: Duration) -> Result<(), StoreError> {
        let mut call = self.on(SETTLE, &format!("spend:{}", hold.owner), &[hold.period, "held"]);
        call.arg(hold.holder).arg(&hold.amounts[..]).arg(millis(ttl));
        // Sent once: it would be added twice.
        read::<u64>(self.link.run([call]).await.map_err(failed)?.pop()).map(drop)
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut commands = Vec::with_capacity(writes.len() * 3);
        for write in &writes {
            let (key, ttl) = match write {
                Write::Replace { key, entries, ttl } => {
                    let key = self.key(key);
                    commands.push(cmd("DEL").arg(&key).take());
                    if !entries.is_empty() {
                        let mut push = cmd("RPUSH").arg(&key).take();
                        entries.iter().for_each(|entry| {
                            push.arg(&entry[..]);
                        });
                        commands.push(push);
                    }
                    (key, ttl)
                }
                Write::Push { key, entry, keep, ttl } => {
                    let key = self.key(key);
                    let newest = -i64::try_from((*keep).max(1)).unwrap_or(i64::MAX);
                    commands.push(cmd("RPUSH").arg(&key).arg(&entry[..]).take());
                    commands.push(cmd("LTRIM").arg(&key).arg(newest).arg(-1).take());
                    (key, ttl)
                }
            };
            commands.push(cmd("PEXPIRE").arg(&key).arg(millis(*ttl)).take());
        }
        if commands.is_empty() {
            return Ok(());
        }
        // Sent once: a second push would be a second entry.
        for answer in self.link.run(commands).await.map_err(failed)? {
            read::<Value>(Some(answer))?;
        }
        Ok(())
    }

    async fn borrow(&self, key: &str, among: &[&str], holder: &str, ttl: Duration) -> Result<usize, StoreError> {
        let mut call = self.on_loans(BORROW, key);
        call.arg(holder).arg(millis(ttl));
        among.iter().for_each(|name| {
            call.arg(*name);
        });
        // Sent again it is the same loan.
        self.ask(call).await
    }

    async fn give_back(&self, key: &str, holder: &str) -> Result<(), StoreError> {
        let mut call = self.on_loans(GIVE_BACK, key);
        call.arg(holder);
        self.ask::<i64>(call).await.map(drop)
    }

    async fn may_have_forgotten(&self) -> Result<bool, StoreError> {
        self.epoch.is_young(&self.link, &self.key("epoch")).await.map_err(failed)
    }

    async fn foreign(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let value: Option<Vec<u8>> = self.ask(cmd("GET").arg(key).take()).await?;
        Ok(value.map(Bytes::from))
    }
}
