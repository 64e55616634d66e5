//! One tick of the flusher: commands for whatever every item needs next, and what the answers mean.

use std::{collections::HashMap, sync::atomic::Ordering};

use ::redis::{Cmd, RedisError, RedisResult, Value, cmd, from_redis_value};
use bytes::Bytes;

use super::{
    commit::{self, Sent},
    core::Core,
    failpoint,
    finish::{Announce, Item, Outcome, PUT_OFF, Queued, Stage, Work, by_intake},
    link::{Answer, is_passing, pipeline},
    lists::NOTED,
    scripts,
};
use crate::{
    job::JobId,
    queue::{
        Finished,
        closing::{Closing, Facts},
        count,
    },
    settings::ResultKind,
};

/// Most results in one call: a script must not hold Redis for long.
pub(super) const PUBLISH_CHUNK: usize = 64;
/// Most bytes of results in one call, unless one alone is larger.
pub(super) const PUBLISH_BYTES: usize = 4 << 20;

/// What a command was for.
pub(super) enum Use {
    /// Its answer says nothing that another does not say.
    Nothing,
    Events,
    Hold(usize),
    Watch(Vec<usize>),
    /// How many closing records are there.
    Records(Vec<usize>),
    /// How many streams of events are there.
    Streams(Vec<usize>),
    /// Everything at once.
    Exec(Sent),
    Publish(Vec<usize>),
    Repair(usize),
    Announce(Vec<usize>),
    Ack(Vec<usize>),
    HandBack(Vec<usize>),
    Sole(usize),
    /// Confirmation of replicas.
    Wait,
}

/// The commands of one tick.
#[derive(Default)]
pub(super) struct Plan {
    commands: Vec<Cmd>,
    uses: Vec<Use>,
}

impl Plan {
    pub(super) fn add(&mut self, command: Cmd, purpose: Use) {
        self.commands.push(command);
        self.uses.push(purpose);
    }

    pub(super) fn len(&self) -> usize {
        self.uses.len()
    }
}

/// Sends one pipeline and notes the outcome of every item. An error means that no answer came.
pub(super) async fn tick(core: &Core, items: &mut [Item], events: &mut Vec<Queued>, again: bool) -> RedisResult<()> {
    let mut plan = Plan::default();
    commit::sort_out(core, items, events, again);
    plan_events(core, events, again, &mut plan);
    let bound_to = commit::plan_commit(core, items, &mut plan);
    commit::plan_look(core, items, &mut plan);
    plan_results(core, items, &mut plan);
    plan_announcements(core, items, &mut plan);
    plan_ends(core, items, &mut plan);
    plan_notes(core, items, &mut plan);
    if let Some((replicas, timeout)) = core.config.durable
        && plan.uses.iter().any(|purpose| matches!(purpose, Use::Publish(_)))
    {
        plan.add(cmd("WAIT").arg(replicas).arg(timeout).take(), Use::Wait);
    }
    if plan.uses.is_empty() {
        return Ok(());
    }
    if plan.uses.iter().any(|purpose| matches!(purpose, Use::Publish(_) | Use::Exec(_))) {
        failpoint::reach("publishing");
    }
    let (generation, answers) = core.flush.run_on(bound_to, pipeline(plan.commands)).await?;
    for purpose in &plan.uses {
        match purpose {
            Use::Exec(_) => ["published", "announced", "acknowledged"].into_iter().for_each(failpoint::reach),
            Use::Publish(_) => failpoint::reach("published"),
            Use::Announce(_) => failpoint::reach("announced"),
            Use::Ack(_) => failpoint::reach("acknowledged"),
            _ => {}
        }
    }
    for (purpose, answer) in plan.uses.into_iter().zip(answers) {
        apply(core, items, purpose, answer, generation);
    }
    Ok(())
}

/// Groups what may share a call: everything on one server, nothing in a cluster.
fn shared<T>(core: &Core, all: Vec<T>, most: usize) -> Vec<Vec<T>> {
    let most = if core.connector.is_cluster() { 1 } else { most };
    let mut groups = Vec::new();
    let mut all = all.into_iter().peekable();
    while all.peek().is_some() {
        groups.push(all.by_ref().take(most).collect());
    }
    groups
}

fn plan_events(core: &Core, events: &[Queued], again: bool, plan: &mut Plan) {
    let mut streams: Vec<(&JobId, Vec<&Queued>)> = Vec::new();
    let mut places: HashMap<&JobId, usize> = HashMap::new();
    for event in events {
        let place = *places.entry(&event.job_id).or_insert_with(|| {
            streams.push((&event.job_id, Vec::new()));
            streams.len() - 1
        });
        streams[place].1.push(event);
    }
    for group in shared(core, streams, 128) {
        let keys: Vec<String> = group.iter().map(|(job_id, _)| core.names.events(job_id)).collect();
        let mut call = events_call(core, &keys, again);
        for (_, events) in group {
            call.arg(events.len());
            for event in events {
                call.arg(event.name).arg(&event.data[..]).arg(0);
            }
        }
        plan.add(call, Use::Events);
    }
}

fn events_call(core: &Core, keys: &[String], again: bool) -> Cmd {
    let mut call = scripts::EVENTS.on(keys);
    call.arg(core.config.result_ttl).arg(core.config.events_max_len).arg(u8::from(again));
    call
}

fn plan_results(core: &Core, items: &[Item], plan: &mut Plan) {
    let mut chunk: Vec<(usize, &JobId, &Closing)> = Vec::new();
    let mut bytes = 0;
    for (i, item) in items.iter().enumerate() {
        match (item.stage, &item.work, &item.held.job_id) {
            (Stage::Hold, ..) => {
                let keys = &core.names.intakes[item.held.intake];
                let mut call = scripts::RENEW.on(&[&keys.leases, &keys.cancelled]);
                call.arg(core.config.lease.as_millis()).arg(&item.held.claim).arg("");
                plan.add(call, Use::Hold(i));
            }
            (Stage::Repair, _, Some(job_id)) => {
                plan.add(cmd("GET").arg(core.names.closing(job_id)).take(), Use::Repair(i));
            }
            (Stage::Publish, Work::Close(closing), Some(job_id)) => {
                bytes += closing.result.len() * 2 + closing.message.as_ref().map_or(0, Bytes::len);
                chunk.push((i, job_id, closing));
                if bytes > PUBLISH_BYTES || chunk.len() >= PUBLISH_CHUNK {
                    publish(core, std::mem::take(&mut chunk), plan);
                    bytes = 0;
                }
            }
            _ => {}
        }
    }
    publish(core, chunk, plan);
}

/// What a result is, in the words of the scripts.
pub(super) fn kind(core: &Core) -> &'static str {
    match core.config.result_kind {
        ResultKind::List => "list",
        ResultKind::String => "string",
    }
}

fn publish(core: &Core, all: Vec<(usize, &JobId, &Closing)>, plan: &mut Plan) {
    for group in shared(core, all, PUBLISH_CHUNK) {
        let keys: Vec<String> =
            group.iter().flat_map(|(_, job_id, _)| [core.names.closing(job_id), core.names.result(job_id)]).collect();
        let mut call = scripts::PUBLISH.on(&keys);
        call.arg(core.config.result_ttl).arg(kind(core));
        for (_, _, closing) in &group {
            let around = closing.around();
            call.arg(around.head).arg(&closing.result.bytes()[..]).arg(around.tail);
        }
        plan.add(call, Use::Publish(group.iter().map(|(i, ..)| *i).collect()));
    }
}

fn plan_announcements(core: &Core, items: &[Item], plan: &mut Plan) {
    let waiting: Vec<(usize, &Announce)> = items
        .iter()
        .enumerate()
        .filter(|(_, item)| item.stage == Stage::Announce)
        .filter_map(|(i, item)| Some((i, item.announce.as_ref()?)))
        .collect();
    let signals: Vec<(usize, &JobId, &Bytes)> =
        waiting.iter().filter_map(|(i, one)| Some((*i, &one.job_id, one.signal.as_ref()?))).collect();
    if !signals.is_empty() {
        let mut keys = vec![core.names.signal_list.clone()];
        keys.extend(signals.iter().map(|(_, job_id, _)| core.names.signalled(job_id)));
        let mut call = scripts::SIGNAL.on(&keys);
        call.arg(core.config.result_ttl);
        for (_, _, signal) in &signals {
            call.arg(&signal[..]);
        }
        plan.add(call, Use::Announce(signals.into_iter().map(|(i, ..)| i).collect()));
    }
    if core.config.publish_pending {
        for (i, one) in &waiting {
            plan.add(cmd("DEL").arg(core.names.pending(&one.job_id)).take(), Use::Announce(vec![*i]));
        }
    }
    for group in shared(core, waiting, 128) {
        let keys: Vec<String> = group.iter().map(|(_, one)| core.names.events(&one.job_id)).collect();
        let mut call = events_call(core, &keys, false);
        for (_, one) in &group {
            call.arg(1).arg(&one.event.0).arg(&one.event.1[..]).arg(1);
        }
        plan.add(call, Use::Announce(group.into_iter().map(|(i, _)| i).collect()));
    }
}

fn plan_ends(core: &Core, items: &[Item], plan: &mut Plan) {
    let claim_and_id = |call: &mut Cmd, item: &Item| {
        call.arg(&item.held.claim).arg(item.held.job_id.as_ref().map_or("", JobId::as_str));
    };
    for (intake, group) in by_intake(items, |item| item.stage == Stage::Ack && item.letter.is_none()) {
        let keys = &core.names.intakes[intake];
        for group in group.chunks(256) {
            let mut call =
                scripts::ACK.on(&keys.with_stream(&[&keys.leases, &keys.bodies, &keys.jobs, &keys.cancelled]));
            call.arg(keys.group());
            group.iter().for_each(|i| claim_and_id(&mut call, &items[*i]));
            plan.add(call, Use::Ack(group.to_vec()));
        }
    }
    let back = |item: &Item| item.stage == Stage::Sole && matches!(item.work, Work::HandBack);
    for (intake, group) in by_intake(items, back) {
        let keys = &core.names.intakes[intake];
        for group in group.chunks(256) {
            let mut call = scripts::HANDBACK.on(&[&keys.leases, &keys.bodies, &keys.jobs, &keys.ready]);
            call.arg(&core.names.control);
            // The head of the list is pushed last.
            let group: Vec<usize> = group.iter().rev().copied().collect();
            group.iter().for_each(|i| claim_and_id(&mut call, &items[*i]));
            plan.add(call, Use::HandBack(group));
        }
    }
    for (i, item) in items.iter().enumerate() {
        let keys = &core.names.intakes[item.held.intake];
        let mut call = match (&item.work, item.stage) {
            (Work::Delay { .. }, Stage::Sole) => {
                scripts::DELAY.on(&[&keys.leases, &keys.bodies, &keys.jobs, &keys.delayed])
            }
            (Work::Park { .. }, Stage::Sole) => {
                scripts::PARK.on(&[&keys.leases, &keys.bodies, &keys.jobs, &keys.parked])
            }
            (Work::Bury, Stage::Sole) | (Work::Close(_), Stage::Ack) if item.letter.is_some() => {
                let own = [&keys.leases, &keys.bodies, &keys.jobs, &keys.cancelled, &keys.dead];
                scripts::BURY.on(&keys.with_stream(&own.map(String::as_str)))
            }
            _ => continue,
        };
        claim_and_id(&mut call, item);
        match &item.work {
            Work::Delay { due, attempts } => call.arg(due).arg(attempts).arg(PUT_OFF),
            Work::Park { pending } => call.arg(&pending[..]),
            _ => call.arg(item.letter.as_deref().unwrap_or_default()).arg(core.config.max_dead).arg(keys.group()),
        };
        plan.add(call, Use::Sole(i));
        if let (Work::Park { pending }, true, Some(job_id)) =
            (&item.work, core.config.publish_pending, &item.held.job_id)
        {
            let mut set = cmd("SET");
            set.arg(core.names.pending(job_id)).arg(&pending[..]).arg("EX").arg(core.config.result_ttl);
            plan.add(set, Use::Events);
        }
    }
}

/// Ids of jobs that did not end well, so that lists of them need not look through all others. A note that is lost, or
/// made twice, changes nothing else.
fn plan_notes(core: &Core, items: &[Item], plan: &mut Plan) {
    for status in ["failed", "cancelled"] {
        let ends = |item: &Item| {
            let now = matches!(item.stage, Stage::Commit(_) | Stage::Announce);
            now && matches!(&item.work, Work::Close(closing) if closing.facts.status == status)
        };
        for (intake, group) in by_intake(items, ends) {
            let keys = &core.names.intakes[intake];
            let list = if status == "failed" { &keys.failed } else { &keys.gone };
            let mut push = cmd("LPUSH");
            push.arg(list);
            for held in group.iter().map(|i| &items[*i].held) {
                held.job_id.iter().for_each(|id| {
                    push.arg(format!("{} {id}", held.created));
                });
            }
            plan.add(push, Use::Events);
            plan.add(cmd("LTRIM").arg(list).arg(0).arg(NOTED - 1).take(), Use::Events);
        }
    }
}

fn apply(core: &Core, items: &mut [Item], purpose: Use, answer: Answer, generation: u64) {
    let outcome = match purpose {
        Use::Nothing => Ok(()),
        Use::Watch(_) | Use::Records(_) | Use::Streams(_) | Use::Exec(_) => {
            commit::apply(core, items, purpose, answer, generation);
            Ok(())
        }
        Use::Events => {
            if let Err(error) = answer {
                tracing::warn!(%error, "events could not be written");
            }
            Ok(())
        }
        Use::Hold(i) => parse(answer)
            .map(|held: Vec<u8>| hold(core, &mut items[i], held.first() != Some(&0)))
            .map_err(|e| (vec![i], e)),
        Use::Publish(group) => parse(answer)
            .map(|lines: Vec<String>| group.iter().zip(lines).for_each(|(i, line)| published(&mut items[*i], &line)))
            .map_err(|e| (group, e)),
        Use::Repair(i) => {
            parse(answer).map(|text: Option<Vec<u8>>| repair(&mut items[i], text)).map_err(|e| (vec![i], e))
        }
        Use::Announce(group) => answer.map(|_| announced(items, &group)).map_err(|e| (group, e)),
        Use::Ack(group) => answer
            .map(|_| group.iter().for_each(|i| items[*i].outcome = Outcome::Over(Finished::Done)))
            .map_err(|e| (group, e)),
        Use::HandBack(group) => parse(answer)
            .map(|done: Vec<u8>| {
                group.iter().zip(done).for_each(|(i, done)| items[*i].outcome = Outcome::Over(fenced(done == 1)));
            })
            .map_err(|e| (group, e)),
        Use::Sole(i) => parse(answer).map(|done: u8| sole(core, &mut items[i], done == 1)).map_err(|e| (vec![i], e)),
        Use::Wait => {
            confirmed(core, items, answer);
            Ok(())
        }
    };
    if let Err((group, error)) = outcome {
        let passing = is_passing(&error);
        for i in group {
            items[i].outcome = Outcome::Failed(error.to_string(), passing);
        }
    }
}

fn announced(items: &mut [Item], group: &[usize]) {
    for i in group {
        // An error of another part of the same announcement stays.
        if !matches!(items[*i].outcome, Outcome::Failed(..)) {
            items[*i].outcome = Outcome::To(Stage::Ack, None);
        }
    }
}

pub(super) fn parse<T: ::redis::FromRedisValue>(answer: Answer) -> RedisResult<T> {
    from_redis_value(answer?).map_err(RedisError::from)
}

fn fenced(done: bool) -> Finished {
    if done { Finished::Done } else { Finished::Lost }
}

fn hold(core: &Core, item: &mut Item, held: bool) {
    item.outcome = if held {
        core.table.renewed(&item.held, std::time::Instant::now());
        Outcome::To(Stage::Publish, None)
    } else {
        count::lost("expired");
        Outcome::Over(Finished::Lost)
    };
}

fn published(item: &mut Item, line: &str) {
    let (Work::Close(closing), Some(job_id)) = (&item.work, &item.held.job_id) else { return };
    let ours = line.is_empty() || Facts::read(line).is_some_and(|facts| facts.claim == item.held.claim);
    if ours {
        let (signal, event) = (closing.signal.clone(), closing.event.clone());
        item.announce = Some(Announce { job_id: job_id.clone(), signal, event });
        item.outcome = Outcome::To(Stage::Announce, Some(Finished::Done));
    } else {
        count::duplicate();
        item.letter = None;
        item.outcome = Outcome::To(Stage::Repair, Some(Finished::Superseded));
    }
}

/// Completes what the writer of the standing record may have left undone.
fn repair(item: &mut Item, text: Option<Vec<u8>>) {
    let closing = text.and_then(|text| Closing::read(&text.into()));
    item.outcome = match (closing, &item.held.job_id) {
        (Some(closing), Some(job_id)) => {
            item.announce = Some(Announce { job_id: job_id.clone(), signal: closing.signal, event: closing.event });
            Outcome::To(Stage::Announce, None)
        }
        _ => Outcome::To(Stage::Ack, None),
    };
}

fn sole(core: &Core, item: &mut Item, done: bool) {
    match (&item.work, done) {
        (Work::Bury | Work::Close(_), true) => count::dead_letter(),
        (Work::Delay { .. }, true) => core.sweep_now.notify_one(),
        _ => {}
    }
    item.outcome = Outcome::Over(fenced(done));
}

/// Without the confirmation of enough replicas a result is published again: that changes nothing where it
/// stands, and writes it where a failover took it away. A server that never had replicas has none to wait for.
fn confirmed(core: &Core, items: &mut [Item], answer: Answer) {
    let wanted = core.config.durable.map_or(0, |(replicas, _)| replicas) as i64;
    let confirmed = match answer {
        Ok(Value::Int(replicas)) => Some(replicas),
        _ => None,
    };
    if confirmed.is_some_and(|replicas| replicas > 0) {
        core.replicated.store(true, Ordering::Relaxed);
    }
    let alone = confirmed == Some(0) && !core.replicated.load(Ordering::Relaxed);
    if alone || confirmed.is_some_and(|replicas| replicas >= wanted) {
        return;
    }
    tracing::warn!(
        confirmed,
        wanted,
        results = items.iter().filter(|item| item.stage == Stage::Publish).count(),
        "too few replicas confirmed results in time (queue.wait_replicas, queue.wait_timeout_ms): they are published again"
    );
    for item in items.iter_mut().filter(|item| item.stage == Stage::Publish) {
        item.outcome = Outcome::Failed("too few replicas confirmed the result in time".into(), true);
    }
}
