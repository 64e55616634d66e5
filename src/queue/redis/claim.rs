//! Taking jobs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::redis::{Cmd, RedisError, Value, cmd, from_redis_value};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    admin::mark,
    core::{Core, RECENT},
    envelope::{Envelope, NO_TOKEN, WAITED},
    failpoint,
    held::NewLease,
    keys::Intake,
    link::{Answer, Backoff, is_away},
    scripts, stream,
};
use crate::{
    job::{Job, JobId, Priority, Rejected, Token},
    queue::{Delivery, End, Lease, LeaseBackend, QueueError, Standing, count, stamp},
    settings::PopSide,
};

/// Longest pause between two looks while Redis is away: the first claim comes soon after its return.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// One claimed envelope.
pub(super) struct Taken {
    pub(super) claim: String,
    pub(super) envelope: Envelope,
    pub(super) job: Result<Job, Rejected>,
    /// Set where it came as a token of a stream.
    pub(super) token: Option<Token>,
}

/// What one call of the script brought.
struct Batch {
    paused: bool,
    now: u64,
    asked: Instant,
    taken: Vec<Taken>,
}

impl Taken {
    /// Reads an envelope that came under `claim`.
    pub(super) fn open(core: &Core, intake: usize, claim: String, text: Vec<u8>) -> Self {
        let text = Bytes::from(text);
        let envelope = Envelope::open(&text).unwrap_or_else(|| Envelope {
            attempts: 0,
            crashes: 0,
            ready_ms: stamp::now_ms(),
            flags: WAITED,
            entry: None,
            approval: None,
            message: text,
        });
        let limits = &core.config.limits;
        let (job, token) = match core.names.intakes[intake].stream {
            None => (Job::parse(&envelope.message, limits), None),
            Some(_) if envelope.flags & NO_TOKEN != 0 => (Err(stream::no_token()), None),
            Some(_) => match Token::parse(&envelope.message, limits) {
                Ok(token) => (Ok(token.job.clone()), Some(token)),
                Err(rejected) => (Err(rejected), None),
            },
        };
        Self { claim, envelope, job, token }
    }

    fn job_id(&self) -> Option<&JobId> {
        match &self.job {
            Ok(job) => Some(&job.job_id),
            Err(rejected) => rejected.job_id.as_ref(),
        }
    }

    /// The lease on it.
    pub(super) fn lease(&self, intake: usize, created: u64, now: u64, asked: Instant) -> NewLease {
        NewLease {
            claim: self.claim.clone(),
            intake,
            job_id: self.job_id().cloned(),
            entry: self.envelope.entry.clone(),
            created,
            started: now,
            asked,
        }
    }

    fn attempt(&self) -> u32 {
        self.envelope.attempts + 1
    }

    /// When it may run, in the words of the script, if it asked for a later time and has not waited yet.
    fn due(&self, now: u64) -> Option<String> {
        let job = self.job.as_ref().ok().filter(|_| self.envelope.flags & WAITED == 0)?;
        match (job.run_at_ms, job.delay_ms) {
            (Some(at), _) if at > now => Some(format!("@{at}")),
            (None, Some(delay)) if delay > 0 => Some(delay.to_string()),
            _ => None,
        }
    }
}

/// Takes up to `max` jobs, waiting for the first one up to the block time.
pub(super) async fn claim(core: &Arc<Core>, max: usize) -> Result<Vec<Lease>, QueueError> {
    let max = max.min(core.config.claim_batch);
    let deadline = tokio::time::Instant::now() + core.config.block;
    let mut backoff = Backoff::default();
    while max > 0 && !core.claims_over.is_cancelled() {
        // Armed before looking: what comes in between rings.
        let rung = core.bell.jobs.notified();
        tokio::pin!(rung);
        rung.as_mut().enable();
        let mut _waiting = None;
        let wait = match detached(core, max).await {
            Ok((leases, _)) if !leases.is_empty() => return Ok(leases),
            Ok((_, paused)) => {
                if !paused {
                    _waiting = Some(core.bell.arm());
                }
                core.config.block
            }
            Err(error) => {
                if tokio::time::Instant::now() + LOOK_AGAIN >= deadline {
                    tracing::warn!(%error, "no jobs can be taken; trying again");
                }
                backoff.next().min(LOOK_AGAIN)
            }
        };
        let until = deadline.min(tokio::time::Instant::now() + wait);
        tokio::select! {
            () = rung => {}
            () = core.claims_over.cancelled() => {}
            () = tokio::time::sleep_until(until) => {}
        }
        if tokio::time::Instant::now() >= deadline {
            break;
        }
    }
    Ok(Vec::new())
}

/// Looks once, in a task of its own: when the caller is gone by the time jobs have come, they go back.
async fn detached(core: &Arc<Core>, max: usize) -> Result<(Vec<Lease>, bool), QueueError> {
    let (tell, told) = oneshot::channel();
    let shared = core.clone();
    core.tasks.spawn(async move {
        let found = look(&shared, max).await;
        if let Err(Ok((leases, _))) = tell.send(found) {
            for lease in leases {
                let _ = lease.finish(End::HandBack).await;
            }
        }
    });
    told.await.unwrap_or_else(|_| Err(QueueError("the queue is closed".into())))
}

/// One claim over the lists, in an order drawn by their weights.
async fn look(core: &Arc<Core>, max: usize) -> Result<(Vec<Lease>, bool), QueueError> {
    let mut leases = Vec::new();
    let mut paused = false;
    for intake in order(&core.names.intakes) {
        let batch = take(core, intake, max - leases.len()).await?;
        paused |= batch.paused;
        if !batch.taken.is_empty() {
            leases.extend(register(core, intake, batch).await?);
        }
        if leases.len() >= max {
            break;
        }
    }
    leases.sort_by_key(|lease: &Lease| lease.delivery.job.as_ref().map_or(Priority::Normal, |job| job.priority));
    Ok((leases, paused))
}

/// A weighted shuffle: every list comes first as often as its weight says.
fn order(intakes: &[Intake]) -> Vec<usize> {
    let mut drawn: Vec<(f64, usize)> = intakes
        .iter()
        .enumerate()
        .map(|(i, intake)| (rand::random::<f64>().max(f64::MIN_POSITIVE).ln() / f64::from(intake.weight.max(1)), i))
        .collect();
    drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
    drawn.into_iter().map(|(_, i)| i).collect()
}

/// One call of the claim script. When its answer is lost, a second call gives out what the first one took. It
/// has claims of its own: a first call that comes late, after them, must not take anything under known ones.
async fn take(core: &Core, intake: usize, max: usize) -> Result<Batch, QueueError> {
    let keys = &core.names.intakes[intake];
    let (mut prefix, first) = (core.new_prefix(), core.new_prefix());
    let call = |prefix: &str, lost: &str| {
        let mut call = scripts::CLAIM.on(&[
            &keys.paused,
            &keys.high,
            &keys.ready,
            &keys.inbox,
            &*keys.name,
            &keys.low,
            &keys.leases,
            &keys.bodies,
            keys.stream.as_ref().map_or(&keys.bodies, |stream| &stream.entries),
        ]);
        call.arg(max).arg(core.config.lease.as_millis()).arg(prefix);
        call.arg(if keys.stream.is_some() { "XREADGROUP" } else { pop(core.config.pop_side) });
        call.arg(core.config.claim_bytes).arg(lost);
        if let Some(stream) = &keys.stream {
            call.arg(&stream.group).arg(&stream.consumer);
        }
        call
    };
    let mut asked = Instant::now();
    let mut answer = core.work.one(call(&first, "")).await;
    let lost = answer.as_ref().is_err_and(RedisError::is_io_error);
    if lost {
        asked = Instant::now();
        answer = core.work.one(call(&prefix, &first)).await;
    }
    if answer.as_ref().is_err_and(is_away) {
        core.missed();
    }
    let mut parts: Vec<Value> = from_redis_value(answer?).map_err(RedisError::from)?;
    if parts.len() > 2 {
        failpoint::reach("claimed");
    }
    let bodies = parts.split_off(2.min(parts.len()));
    let (now, state): (u64, u8) = from_redis_value(Value::Array(parts)).map_err(RedisError::from)?;
    if !lost || state == 2 {
        prefix = first;
    }
    let taken = bodies.into_iter().enumerate().filter_map(|(i, body)| match body {
        Value::BulkString(text) => Some(Taken::open(core, intake, format!("{prefix}{}", i + 1), text)),
        _ => None,
    });
    Ok(Batch { paused: state == 1, now, asked, taken: taken.collect() })
}

fn pop(side: PopSide) -> &'static str {
    match side {
        PopSide::Left => "LPOP",
        PopSide::Right => "RPOP",
    }
}

/// Notes whose the claims are, puts off what is not due, and makes leases of the rest.
async fn register(core: &Arc<Core>, intake: usize, batch: Batch) -> Result<Vec<Lease>, QueueError> {
    let Batch { now, asked, mut taken, .. } = batch;
    let known = async {
        stream::complete(core, &mut taken).await?;
        standings(core, intake, now, &taken).await
    };
    let standings = match known.await {
        Ok(standings) => standings,
        Err(error) => {
            // Nobody gets to see these: they go back as if they had not been taken.
            for one in taken {
                core.table.insert(one.lease(intake, now, now, asked));
                core.give_back(&one.claim);
            }
            return Err(error);
        }
    };
    failpoint::reach("registered");
    let mut leases = Vec::with_capacity(taken.len());
    for (one, (standing, created)) in taken.into_iter().zip(standings) {
        let due = one.due(now).filter(|_| standing == Standing::Runnable);
        let (stop, why) = core.table.insert(one.lease(intake, created, now, asked));
        if let Some(due) = due {
            core.put_off(&one.claim, due);
            continue;
        }
        let claim = one.claim.clone();
        let delivery = delivery(core, intake, now, one, standing);
        leases.push(Lease::new(delivery, core.clone() as Arc<dyn LeaseBackend>, claim, stop, why));
    }
    Ok(leases)
}

/// What a worker gets to see.
pub(super) fn delivery(core: &Core, intake: usize, now: u64, taken: Taken, standing: Standing) -> Delivery {
    let attempt = taken.attempt();
    let Taken { envelope, job, .. } = taken;
    // A message that was pushed raw says itself since when it waits.
    let sent = job
        .as_ref()
        .ok()
        .filter(|_| envelope.flags & WAITED == 0 && envelope.attempts == 0 && envelope.crashes == 0)
        .and_then(|job| stamp::parse(job.created_at.as_deref()?));
    let since = sent.map_or(envelope.ready_ms, |sent| sent.min(envelope.ready_ms));
    let queue_time = Duration::from_millis(now.saturating_sub(since));
    count::waited(queue_time);
    Delivery {
        raw: envelope.message,
        job,
        source: core.names.intakes[intake].source.clone(),
        standing,
        attempt,
        crashes: envelope.crashes,
        queue_time,
        approval: envelope.approval,
    }
}

/// Which of `taken` may run, and when each came first. One round trip: the records of the intake, and
/// whether any result stands.
pub(super) async fn standings(
    core: &Core,
    intake: usize,
    now: u64,
    taken: &[Taken],
) -> Result<Vec<(Standing, u64)>, QueueError> {
    let known: Vec<usize> = (0..taken.len()).filter(|i| taken[*i].job_id().is_some()).collect();
    let mut out = vec![(Standing::Runnable, now); taken.len()];
    let ids: Vec<&JobId> = known.iter().filter_map(|i| taken[*i].job_id()).collect();
    if ids.is_empty() {
        return Ok(out);
    }
    let keys = &core.names.intakes[intake];
    let mut note = scripts::REGISTER.on(&[&keys.jobs, &keys.cancelled, &keys.leases, &keys.bodies, &keys.recent]);
    note.arg(now).arg(RECENT);
    for (i, id) in known.iter().zip(&ids) {
        note.arg(id.as_str()).arg(&taken[*i].claim).arg(taken[*i].attempt());
        let owner = taken[*i].job.as_ref().ok().and_then(Job::owner);
        note.arg(mark(owner.as_ref()));
    }
    let closing: Vec<String> = ids.iter().map(|id| core.names.closing(id)).collect();
    let mut commands = vec![note];
    commands.extend(exist(core, &closing));
    let mut answers = core.work.run(commands).await?.into_iter();
    let verdicts: Vec<(u8, u64)> = read(answers.next())?;
    let ended = ended(core, &closing, answers.collect()).await?;
    for (((i, (verdict, created)), ended), _) in known.into_iter().zip(verdicts).zip(ended).zip(&ids) {
        let standing = match verdict {
            _ if ended => Standing::Duplicate,
            1 => Standing::Duplicate,
            2 => Standing::Cancelled,
            _ => Standing::Runnable,
        };
        out[i] = (standing, created);
    }
    Ok(out)
}

/// Asks whether any of `keys` is there: all at once where one server has them all.
fn exist(core: &Core, keys: &[String]) -> Vec<Cmd> {
    let ask = |keys: &[String]| {
        let mut ask = cmd("EXISTS");
        ask.arg(keys);
        ask
    };
    if core.connector.is_cluster() { keys.chunks(1).map(ask).collect() } else { vec![ask(keys)] }
}

/// Which of `keys` are there, from the answers to [`exist`]; looks closer in the rare case that one is.
async fn ended(core: &Core, keys: &[String], answers: Vec<Answer>) -> Result<Vec<bool>, QueueError> {
    let counts: Vec<u64> = answers.into_iter().map(|answer| read(Some(answer))).collect::<Result<_, _>>()?;
    if counts.len() == keys.len() {
        return Ok(counts.into_iter().map(|count| count > 0).collect());
    }
    if counts.iter().all(|count| *count == 0) {
        return Ok(vec![false; keys.len()]);
    }
    let each: Vec<Cmd> = keys
        .iter()
        .map(|key| {
            let mut ask = cmd("EXISTS");
            ask.arg(key);
            ask
        })
        .collect();
    core.work.run(each).await?.into_iter().map(|answer| read(Some(answer))).collect()
}

/// An answer as a `T`.
pub(super) fn read<T: ::redis::FromRedisValue>(answer: Option<Answer>) -> Result<T, QueueError> {
    let value = answer.unwrap_or(Ok(Value::Nil))?;
    Ok(from_redis_value(value).map_err(RedisError::from)?)
}
