//! Ending jobs with their results in one transaction, where one server has every key.
//!
//! Redis hashes and copies every text that a script is given: that was two thirds of what a job cost it. Plain commands
//! in `MULTI` cost nothing of the kind, but cannot decide anything. So one tick looks, and the next one writes. The look
//! watches the closing records (and the markers of signals) and asks whether any is there, or a result; the transaction then runs
//! only if nobody wrote one in between, and on the connection that watched. Whatever it does not settle goes on through
//! the stages one by one: a record of another claim, an answer that never came, a server error.
//!
//! A transaction takes up the watches of its connection, so there is one in a tick; while it is written, the next jobs
//! are looked at in the same round trip.

use std::{io::Write, sync::atomic::Ordering};

use ::redis::{Cmd, RedisWrite, Value, cmd};
use rustc_hash::FxHashMap;

use super::{
    core::Core,
    dump,
    finish::{Announce, Item, Outcome, Queued, Stage},
    link::Answer,
    scripts,
    stages::{PUBLISH_BYTES, PUBLISH_CHUNK, Plan, Use, kind, parse},
};
use crate::{
    job::{EventKind, JobId},
    queue::{Finished, closing::Closing},
};

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The connection that watches.
    generation: u64,
    /// Some of the jobs have events on record already, so that dumps cannot be used.
    events: bool,
}

/// A transaction that was sent: which of its replies belong to whom.
pub(super) struct Sent {
    /// Places of the items, each with the number of its replies.
    jobs: Vec<(usize, usize)>,
    /// Places of the items of each acknowledgement, which come last.
    acks: Vec<Vec<usize>>,
}

/// Whether the end of this item may be written in a transaction.
fn fits(core: &Core, item: &Item) -> bool {
    // Confirmation comes between two stages; a dead letter has a script of its own.
    let plain = core.config.durable.is_none() && !core.config.publish_pending;
    plain
        && core.transactions.load(Ordering::Relaxed)
        && item.stage == Stage::Publish
        && !item.staged
        && item.letter.is_none()
        && item.held.job_id.is_some()
}

/// Puts every item on its way, with the events that go with it. When the last answer never came (`again`), nothing is
/// known of any transaction: all go through the stages, and their events to the call that looks what is there.
pub(super) fn sort_out(core: &Core, items: &mut [Item], events: &mut Vec<Queued>, again: bool) {
    let mut places: FxHashMap<JobId, usize> = FxHashMap::default();
    for (place, item) in items.iter_mut().enumerate() {
        let under_way = matches!(item.stage, Stage::Look | Stage::Commit(_));
        if again && under_way {
            item.leave_to_stages();
        } else if (under_way || fits(core, item))
            && let Some(job_id) = &item.held.job_id
        {
            // Of two ends of one job the second must find the record of the first.
            if places.insert(job_id.clone(), place).is_some() {
                item.leave_to_stages();
            } else if !under_way {
                item.stage = Stage::Look;
            }
        }
        if !matches!(item.stage, Stage::Look | Stage::Commit(_)) {
            events.append(&mut item.events);
        }
    }
    for event in std::mem::take(events) {
        match places.get(&event.job_id).filter(|_| !again) {
            Some(place) => items[*place].events.push(event),
            None => events.push(event),
        }
    }
}

/// Looks at the next jobs. Comes after [`plan_commit`], whose transaction would end the watches.
pub(super) fn plan_look(core: &Core, items: &[Item], plan: &mut Plan) {
    let (mut group, mut bytes) = (Vec::new(), 0);
    for (place, item) in items.iter().enumerate().filter(|(_, item)| item.stage == Stage::Look) {
        bytes += size(item);
        group.push(place);
        if group.len() >= PUBLISH_CHUNK || bytes > PUBLISH_BYTES {
            break;
        }
    }
    if group.is_empty() {
        return;
    }
    let (mut records, mut results, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for (job_id, closing) in group.iter().filter_map(|place| items[*place].closing()) {
        records.push(core.names.closing(job_id));
        if closing.signal.is_some() {
            records.push(core.names.signalled(job_id));
        }
        results.push(core.names.result(job_id));
        streams.push(core.names.events(job_id));
    }
    // What an earlier look watched, and no transaction took up.
    plan.add(cmd("UNWATCH"), Use::Nothing);
    plan.add(cmd("WATCH").arg(&records).take(), Use::Watch(group.clone()));
    plan.add(cmd("EXISTS").arg(&records).arg(&results).take(), Use::Records(group.clone()));
    plan.add(cmd("EXISTS").arg(&streams).take(), Use::Streams(group));
}

fn size(item: &Item) -> usize {
    item.closing()
        .map_or(0, |(_, closing)| closing.result.len() * 2 + closing.message.as_ref().map_or(0, bytes::Bytes::len))
}

/// What the answers to a look and to a transaction mean.
pub(super) fn apply(core: &Core, items: &mut [Item], purpose: Use, answer: Answer, generation: u64) {
    let how_many = |answer: Answer| parse::<u64>(answer).ok();
    match purpose {
        Use::Watch(group) if answer.is_err() => give_up(items, &group),
        // The watches stand, so far.
        Use::Watch(group) => {
            for place in group {
                items[place].outcome = Outcome::To(Stage::Commit(Look { generation, events: false }), None);
            }
        }
        // Where any is there, some job of the group has ended before, or something else sits where its result belongs.
        Use::Records(group) => {
            let taken = how_many(answer) != Some(0);
            give_up(items, if taken { &group } else { &[] });
        }
        Use::Streams(group) => {
            let events = how_many(answer) != Some(0);
            for place in group {
                if let Outcome::To(Stage::Commit(look), _) = &mut items[place].outcome {
                    look.events = events;
                }
            }
        }
        Use::Exec(sent) => executed(core, items, &sent, answer),
        _ => {}
    }
}

/// Leaves a group to the stages.
fn give_up(items: &mut [Item], group: &[usize]) {
    for place in group {
        items[*place].staged = true;
        items[*place].outcome = Outcome::To(Stage::Publish, None);
    }
}

/// Writes what the last tick looked at. Gives the connection on which alone that may be done.
pub(super) fn plan_commit(core: &Core, items: &[Item], plan: &mut Plan) -> Option<u64> {
    let mut generation = None;
    let mut sent = Sent { jobs: Vec::new(), acks: Vec::new() };
    for (place, item) in items.iter().enumerate() {
        let (Stage::Commit(look), Some((job_id, closing))) = (item.stage, item.closing()) else { continue };
        if generation.replace(look.generation).is_none() {
            plan.add(cmd("MULTI"), Use::Nothing);
        }
        let before = plan.len();
        write_result(core, job_id, closing, plan);
        write_events(core, item, job_id, closing, look, plan);
        sent.jobs.push((place, plan.len() - before));
    }
    generation?;
    for (intake, group) in super::finish::by_intake(items, |item| matches!(item.stage, Stage::Commit(_))) {
        let keys = &core.names.intakes[intake];
        let mut call = scripts::ACK.on(&keys.with_stream(&[&keys.leases, &keys.bodies, &keys.jobs, &keys.cancelled]));
        call.arg(keys.group());
        for item in group.iter().map(|place| &items[*place]) {
            call.arg(&item.held.claim).arg(item.held.job_id.as_ref().map_or("", JobId::as_str));
        }
        plan.add(call, Use::Nothing);
        sent.acks.push(group);
    }
    plan.add(cmd("EXEC"), Use::Exec(sent));
    generation
}

/// The closing record, the result, and the signal.
fn write_result(core: &Core, job_id: &JobId, closing: &Closing, plan: &mut Plan) {
    let (names, ttl) = (&core.names, core.config.result_ttl);
    let result = closing.result.bytes();
    let around = closing.around();
    let mut set = Cmd::with_capacity(5, around.head.len() + result.len() + around.tail.len() + 128);
    set.arg("SET").arg(names.closing(job_id));
    {
        let mut record = set.writer_for_next_arg();
        for part in [&around.head[..], result, &around.tail] {
            // Writing to memory does not fail.
            let _ = record.write_all(part);
        }
    }
    set.arg("EX").arg(ttl);
    plan.add(set, Use::Nothing);
    let key = names.result(job_id);
    let with = |words: &[&str]| {
        let mut call = Cmd::with_capacity(5, result.len() + 128);
        call.arg(words).arg(&key).arg(&result[..]);
        call
    };
    if kind(core) == "string" {
        plan.add(with(&["SET"]).arg("EX").arg(ttl).take(), Use::Nothing);
    } else {
        plan.add(with(&["RPUSH"]), Use::Nothing);
        plan.add(cmd("EXPIRE").arg(&key).arg(ttl).take(), Use::Nothing);
    }
    plan.add(with(&["PUBLISH"]), Use::Nothing);
    if let Some(signal) = &closing.signal {
        plan.add(cmd("SET").arg(names.signalled(job_id)).arg(1).arg("EX").arg(ttl).take(), Use::Nothing);
        plan.add(cmd("RPUSH").arg(&names.signal_list).arg(&signal[..]).take(), Use::Nothing);
    }
}

/// The last events of a job: as one dump, or one by one where there are many, some are there, or the server takes no
/// dumps.
fn write_events(core: &Core, item: &Item, job_id: &JobId, closing: &Closing, look: Look, plan: &mut Plan) {
    let (key, most, ttl) = (core.names.events(job_id), core.config.events_max_len, core.config.result_ttl);
    let (name, data) = &closing.event;
    let before = item.events.iter().map(|event| (event.name, &event.data[..]));
    let all: Vec<(&str, &[u8])> = before.chain([(name.as_str(), &data[..])]).collect();
    let bytes: usize = all.iter().map(|(_, data)| data.len()).sum();
    let few = all.len() <= dump::MAX_ENTRIES.min(most) && bytes <= dump::MAX_BYTES;
    // Where the beginning is not among them, there is a stream, or was.
    let whole = all[0].0 == EventKind::Started.as_str();
    if few && whole && !look.events && core.dumps.load(Ordering::Relaxed) {
        let dump = dump::stream(closing.facts.completed, &all);
        plan.add(cmd("RESTORE").arg(&key).arg(ttl * 1000).arg(dump).take(), Use::Nothing);
        return;
    }
    for (name, data) in all {
        let mut add = Cmd::with_capacity(9, key.len() + data.len() + 64);
        add.arg("XADD").arg(&key).arg(&["MAXLEN", "~"]).arg(most).arg(&["*", "event", name, "data"]).arg(data);
        plan.add(add, Use::Nothing);
    }
    plan.add(cmd("EXPIRE").arg(&key).arg(ttl).take(), Use::Nothing);
}

/// What became of a transaction.
fn executed(core: &Core, items: &mut [Item], sent: &Sent, answer: Answer) {
    let Ok(Value::Array(replies)) = answer else {
        // A watched record was written, or the server refused a command: which one, the stages will find out.
        let all: Vec<usize> = sent.jobs.iter().map(|(place, _)| *place).collect();
        return give_up(items, &all);
    };
    let mut replies = replies.into_iter();
    for (place, count) in &sent.jobs {
        let errors = replies.by_ref().take(*count).filter_map(|reply| reply.extract_error().err());
        // To the end: the next replies are another job's.
        let failed = errors.last();
        let item = &mut items[*place];
        item.outcome = match failed {
            None => Outcome::Over(Finished::Done),
            Some(error) => unfinished(core, item, &error),
        };
        if matches!(item.outcome, Outcome::Over(_)) {
            item.events.clear();
        }
    }
    for (group, reply) in sent.acks.iter().zip(replies) {
        if reply.extract_error().is_err() {
            for place in group {
                if matches!(items[*place].outcome, Outcome::Over(_)) {
                    items[*place].outcome = Outcome::To(Stage::Ack, Some(Finished::Done));
                }
            }
        }
    }
}

/// The result stands, something beside it does not: it is announced on its own.
fn unfinished(core: &Core, item: &mut Item, error: &::redis::RedisError) -> Outcome {
    let Some((job_id, closing)) = item.closing() else { return Outcome::To(Stage::Ack, Some(Finished::Done)) };
    if error.code() != Some("BUSYKEY") && core.dumps.swap(false, Ordering::Relaxed) {
        tracing::warn!(%error, "events are written to redis one by one from now on");
    }
    let (signal, event) = (closing.signal.clone(), closing.event.clone());
    item.announce = Some(Announce { job_id: job_id.clone(), signal, event });
    Outcome::To(Stage::Announce, Some(Finished::Done))
}
