//! Numbers over all intakes.

use ::redis::{Cmd, cmd};
use bytes::Bytes;

use super::{
    claim::read,
    core::Core,
    envelope::Envelope,
    keys::{Intake, Stream},
    link::Answer,
    stream::Group,
};
use crate::{
    job::Job,
    queue::{QueueError, QueueStats, stamp},
    settings::PopSide,
};

impl Core {
    /// Numbers over all intakes.
    pub(super) async fn stats(&self) -> Result<QueueStats, QueueError> {
        let mut stats = QueueStats::default();
        for keys in &self.names.intakes {
            self.add_private(keys, &mut stats).await?;
            match &keys.stream {
                Some(stream) => self.add_stream(keys, stream, &mut stats).await?,
                None => self.add_list(keys, &mut stats).await?,
            }
        }
        let letters: Vec<Cmd> = self.names.dead_lists().into_iter().map(|dead| cmd("LLEN").arg(dead).take()).collect();
        for answer in self.work.run(letters).await? {
            stats.dead += read::<u64>(Some(answer))?;
        }
        Ok(stats)
    }

    async fn add_private(&self, keys: &Intake, stats: &mut QueueStats) -> Result<(), QueueError> {
        let sizes = [
            ("LLEN", &keys.inbox),
            ("LLEN", &keys.ready),
            ("LLEN", &keys.high),
            ("LLEN", &keys.low),
            ("ZCARD", &keys.delayed),
            ("ZCARD", &keys.leases),
            ("HLEN", &keys.parked),
            ("EXISTS", &keys.paused),
        ];
        let mut calls: Vec<Cmd> = sizes.iter().map(|(word, key)| cmd(word).arg(*key).take()).collect();
        let heads = [&keys.inbox, &keys.ready, &keys.high, &keys.low];
        calls.extend(heads.iter().map(|key| cmd("LINDEX").arg(*key).arg(0).take()));
        let mut answers = self.work.run(calls).await?.into_iter();
        let mut next = || read::<u64>(answers.next());
        stats.pending += next()?;
        stats.ready += next()? + next()? + next()?;
        stats.scheduled += next()?;
        stats.in_flight += next()?;
        stats.awaiting_approval += next()?;
        stats.paused |= next()? > 0;
        answers.try_for_each(|answer| self.add_age(answer, stats))
    }

    async fn add_list(&self, keys: &Intake, stats: &mut QueueStats) -> Result<(), QueueError> {
        let head = match self.config.pop_side {
            PopSide::Left => 0,
            PopSide::Right => -1,
        };
        let calls = [cmd("LLEN").arg(&*keys.name).take(), cmd("LINDEX").arg(&*keys.name).arg(head).take()];
        let mut answers = self.work.run(calls).await?.into_iter();
        stats.pending += read::<u64>(answers.next())?;
        answers.try_for_each(|answer| self.add_age(answer, stats))
    }

    /// What the group has not read yet. Before Redis 7 nobody counts it; then only its age is known.
    async fn add_stream(&self, keys: &Intake, stream: &Stream, stats: &mut QueueStats) -> Result<(), QueueError> {
        let group = match self.group(keys, stream).await? {
            Some(group) => group,
            // Without a group nobody has read anything yet.
            None => Group {
                last_delivered: "0-0".into(),
                lag: read(Some(self.work.one(cmd("XLEN").arg(&*keys.name).take()).await))?,
            },
        };
        stats.pending += group.lag;
        let mut range = cmd("XRANGE");
        range.arg(&*keys.name).arg(format!("({}", group.last_delivered)).arg("+").arg("COUNT").arg(1);
        let next: Vec<(String, ::redis::Value)> = read(Some(self.work.one(range).await))?;
        let since = next.first().and_then(|(id, _)| id.split_once('-')?.0.parse().ok());
        stats.oldest_age_ms = stats.oldest_age_ms.max(since.map_or(0, age));
        Ok(())
    }

    fn add_age(&self, answer: Answer, stats: &mut QueueStats) -> Result<(), QueueError> {
        let text: Option<Vec<u8>> = read(Some(answer))?;
        let since = text.and_then(|text| self.waiting_since(&text.into()));
        stats.oldest_age_ms = stats.oldest_age_ms.max(since.map_or(0, age));
        Ok(())
    }

    /// Since when a message in a list waits, if that can be told.
    fn waiting_since(&self, text: &Bytes) -> Option<u64> {
        match Envelope::open(text) {
            Some(envelope) => Some(envelope.ready_ms),
            None => stamp::parse(Job::parse(text, &self.config.limits).ok()?.created_at.as_deref()?),
        }
    }
}

fn age(since: u64) -> u64 {
    stamp::now_ms().saturating_sub(since)
}
