//! Ending jobs with their results in one call, where one server has every key.
//!
//! Between publishing, announcing and acknowledging there is then no moment at which anything could go wrong, and
//! no round trip. Whatever the call does not settle goes on through the stages one by one: a record of another
//! claim, an answer that never came, a server error.

use std::sync::atomic::Ordering;

use ::redis::Cmd;
use rustc_hash::FxHashMap;

use super::{
    core::Core,
    dump,
    finish::{Item, Queued, Stage, Work, by_intake},
    scripts,
    stages::{PUBLISH_BYTES, PUBLISH_CHUNK, kind},
};
use crate::{
    job::{EventKind, JobId},
    queue::closing::Closing,
};

/// Jobs that can be ended in one call, and their events that go with it.
pub(super) struct AtOnce<'a> {
    /// Places of the items, by intake and in calls of a bounded size.
    groups: Vec<(usize, Vec<usize>)>,
    events: FxHashMap<usize, Vec<&'a Queued>>,
    /// Events of all other jobs.
    pub(super) others: Vec<&'a Queued>,
}

/// Whether the end of this item may be written in one call.
pub(super) fn fits(core: &Core, item: &Item) -> bool {
    // Confirmation comes between two stages; a dead letter has a script of its own.
    let plain = core.config.durable.is_none() && !core.config.publish_pending && !core.connector.is_cluster();
    plain && item.stage == Stage::Publish && item.tries == 0 && item.letter.is_none() && item.held.job_id.is_some()
}

fn size(item: &Item) -> usize {
    match &item.work {
        Work::Close(closing) => closing.result.len() * 2 + closing.message.as_ref().map_or(0, bytes::Bytes::len),
        _ => 0,
    }
}

impl<'a> AtOnce<'a> {
    /// Groups what is to end in one call. When the last answer never came (`again`), events may be there already:
    /// they are all left to a call that looks.
    pub(super) fn choose(items: &[Item], events: &'a [Queued], again: bool) -> Self {
        let mut chosen = Self { groups: Vec::new(), events: FxHashMap::default(), others: Vec::new() };
        for (intake, all) in by_intake(items, |item| item.at_once) {
            let (mut group, mut bytes) = (Vec::new(), 0);
            for i in all {
                bytes += size(&items[i]);
                group.push(i);
                if group.len() >= PUBLISH_CHUNK || bytes > PUBLISH_BYTES {
                    chosen.groups.push((intake, std::mem::take(&mut group)));
                    bytes = 0;
                }
            }
            if !group.is_empty() {
                chosen.groups.push((intake, group));
            }
        }
        if again {
            chosen.others = events.iter().collect();
            return chosen;
        }
        let all = chosen.groups.iter().flat_map(|(_, group)| group);
        let places: FxHashMap<&JobId, usize> =
            all.filter_map(|i| Some((items[*i].held.job_id.as_ref()?, *i))).collect();
        for event in events {
            match places.get(&event.job_id) {
                Some(i) => chosen.events.entry(*i).or_default().push(event),
                None => chosen.others.push(event),
            }
        }
        chosen
    }

    /// The calls, each with the places of its items.
    pub(super) fn calls(&self, core: &Core, items: &[Item]) -> Vec<(Cmd, Vec<usize>)> {
        self.groups.iter().map(|(intake, group)| (self.call(core, items, *intake, group), group.clone())).collect()
    }

    fn call(&self, core: &Core, items: &[Item], intake: usize, group: &[usize]) -> Cmd {
        let names = &core.names;
        let keys = &names.intakes[intake];
        let jobs: Vec<(&Item, &JobId, &Closing)> = group
            .iter()
            .filter_map(|i| match (&items[*i].work, &items[*i].held.job_id) {
                (Work::Close(closing), Some(job_id)) => Some((&items[*i], job_id, &**closing)),
                _ => None,
            })
            .collect();
        let own = jobs.iter().flat_map(|(_, job_id, _)| {
            [names.closing(job_id), names.result(job_id), names.events(job_id), names.signalled(job_id)]
        });
        let shared = [&keys.leases, &keys.bodies, &keys.jobs, &keys.cancelled, &names.signal_list, &keys.scratch];
        let all: Vec<String> = shared.into_iter().cloned().chain(own).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut call = scripts::FINISH.on(&keys.with_stream(&all));
        call.arg(core.config.result_ttl).arg(kind(core)).arg(core.config.events_max_len).arg(keys.group());
        call.arg(jobs.len());
        for ((item, job_id, closing), place) in jobs.into_iter().zip(group) {
            let around = closing.around();
            let (begins, ends) = (around.head.len() + 1, around.head.len() + closing.result.len());
            call.arg(&item.held.claim).arg(job_id.as_str());
            call.arg([&around.head, &closing.result.bytes()[..], &around.tail].concat()).arg(begins).arg(ends);
            call.arg(closing.signal.as_deref().unwrap_or_default());
            add_events(core, &mut call, closing, self.events.get(place).map_or(&[][..], Vec::as_slice));
        }
        call
    }
}

/// Adds the last events of a job: as one dump, or one by one where there are many or the server takes no dumps.
fn add_events(core: &Core, call: &mut Cmd, closing: &Closing, events: &[&Queued]) {
    let (name, data) = &closing.event;
    let before = events.iter().map(|event| (event.name, &event.data[..]));
    let all: Vec<(&str, &[u8])> = before.chain([(name.as_str(), &data[..])]).collect();
    let bytes: usize = all.iter().map(|(_, data)| data.len()).sum();
    let few = all.len() <= dump::MAX_ENTRIES.min(core.config.events_max_len) && bytes <= dump::MAX_BYTES;
    // Where the beginning is not among them, there is a stream already.
    let whole = all.len() > 2 && all[0].0 == EventKind::Started.as_str();
    if few && whole && core.dumps.load(Ordering::Relaxed) {
        call.arg(dump::stream(closing.facts.completed, &all)).arg(0);
        return;
    }
    call.arg("").arg(all.len());
    for (name, data) in all {
        call.arg(name).arg(data);
    }
}
