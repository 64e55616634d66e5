//! The closing record of a job: what stands beside its result so that there is never a second one.
//!
//! One line of facts, then the result, the completion signal, the closing event and the message as received.
//! The result and the rest are there so that a repeated delivery can finish what a dead worker began, a
//! result can be read after its consumer took it, and the job can be started afresh.

use bytes::Bytes;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{JobState, JobView, stamp};
use crate::job::{JobId, Owner, RawJson};

/// Everything that is known of a job that ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Closing {
    pub(super) facts: Facts,
    pub(super) result: RawJson,
    pub(super) signal: Option<Bytes>,
    /// Name and data of the closing event.
    pub(super) event: (String, Bytes),
    /// The message, unless it was too large to keep.
    pub(super) message: Option<Bytes>,
}

/// The first line. Times in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Facts {
    /// Which claim wrote it.
    pub(super) claim: String,
    /// Where the job came from.
    pub(super) intake: String,
    pub(super) created: u64,
    pub(super) started: u64,
    pub(super) completed: u64,
    pub(super) attempts: u32,
    pub(super) status: String,
    pub(super) lane: Option<String>,
    pub(super) owner: Option<Owner>,
}

/// The parts that go around the result text.
pub(super) struct Around {
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
}

impl Closing {
    /// What stands before and after the result.
    pub(super) fn around(&self) -> Around {
        let f = &self.facts;
        let signal = self.signal.as_deref().unwrap_or_default();
        let message = self.message.as_deref().unwrap_or_default();
        let head = format!(
            "1 {} {} {} {} {} {} {} {} {} {} {} {} {} {}\n",
            f.claim,
            f.intake,
            f.created,
            f.started,
            f.completed,
            f.attempts,
            f.status,
            f.lane.as_deref().unwrap_or("-"),
            self.result.len(),
            signal.len(),
            self.event.0,
            self.event.1.len(),
            message.len(),
            f.owner.as_ref().map_or("-", Owner::as_str),
        );
        Around { head: head.into_bytes(), tail: [signal, &self.event.1, message].concat() }
    }

    /// Reads a record; nothing when it is none of ours.
    pub(super) fn read(text: &Bytes) -> Option<Self> {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&text[..end]).ok()?;
        let facts = Facts::read(line)?;
        let words: Vec<&str> = line.split(' ').collect();
        let mut at = end + 1;
        let mut part = |word: usize| -> Option<Bytes> {
            let length: usize = words.get(word)?.parse().ok()?;
            let until = at.checked_add(length).filter(|until| *until <= text.len())?;
            let part = text.slice(at..until);
            at = until;
            Some(part)
        };
        let result = RawJson::from_trusted(part(9)?);
        let signal = Some(part(10)?).filter(|signal| !signal.is_empty());
        let event = ((*words.get(11)?).to_owned(), part(12)?);
        let message = Some(part(13)?).filter(|message| !message.is_empty());
        Some(Self { facts, result, signal, event, message })
    }

    /// The job as seen from outside.
    pub(super) fn view(&self, job_id: &JobId, with_result: bool) -> JobView {
        #[derive(Deserialize)]
        struct Outline<'a> {
            #[serde(borrow)]
            error: Option<&'a RawValue>,
        }
        let outline: Option<Outline<'_>> = serde_json::from_str(self.result.as_str()).ok();
        let error: Option<Value> =
            outline.and_then(|outline| outline.error).and_then(|error| serde_json::from_str(error.get()).ok());
        JobView { result: with_result.then(|| self.result.clone()), error, ..self.facts.view(job_id) }
    }
}

impl Facts {
    /// The job as seen from outside, without its result.
    pub(super) fn view(&self, job_id: &JobId) -> JobView {
        JobView {
            job_id: job_id.clone(),
            state: match self.status.as_str() {
                "completed" => JobState::Completed,
                "cancelled" => JobState::Cancelled,
                _ => JobState::Failed,
            },
            lane: self.lane.clone(),
            attempts: self.attempts,
            created_at: Some(stamp::of(self.created)),
            due_at: None,
            started_at: Some(stamp::of(self.started)),
            completed_at: Some(stamp::of(self.completed)),
            result: None,
            error: None,
            pending: None,
            owner: self.owner.clone(),
        }
    }

    /// Reads the first line.
    pub(super) fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        // Records of before owners were kept have one word less.
        if !(14..=15).contains(&words.len()) || words[0] != "1" {
            return None;
        }
        Some(Self {
            claim: words[1].to_owned(),
            intake: words[2].to_owned(),
            created: words[3].parse().ok()?,
            started: words[4].parse().ok()?,
            completed: words[5].parse().ok()?,
            attempts: words[6].parse().ok()?,
            status: words[7].to_owned(),
            lane: Some(words[8].to_owned()).filter(|lane| lane != "-"),
            owner: words.get(14).filter(|owner| **owner != "-").and_then(|owner| Owner::stored(owner)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written() {
        let facts = Facts {
            claim: "w.1.1".into(),
            intake: "agent:jobs".into(),
            created: 1,
            started: 2,
            completed: 3,
            attempts: 1,
            status: "failed".into(),
            lane: None,
            owner: Owner::of("ann b"),
        };
        for (signal, message) in [(None, None), (Some(&b"{}\n"[..]), Some(&b"\xff\n1 2"[..]))] {
            let closing = Closing {
                facts: facts.clone(),
                result: RawJson::from_trusted(&b"{\"a\":1.10}"[..]),
                signal: signal.map(Bytes::from_static),
                event: ("failed".into(), Bytes::from_static(b"{}")),
                message: message.map(Bytes::from_static),
            };
            let around = closing.around();
            let text = [&around.head[..], closing.result.bytes(), &around.tail].concat();
            assert_eq!(Closing::read(&text.into()), Some(closing));
        }
        assert_eq!(Closing::read(&Bytes::from_static(b"{\"old\":1}\n")), None);
    }
}
