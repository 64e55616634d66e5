//! Dead letters.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{DeadLetter, Delivery, stamp};
use crate::job::{Job, JobError, JobId, JobLimits, Owner, Token, mask_secrets};

impl DeadLetter {
    /// A letter about a delivery that came from the list or stream `source`, dated now. An id that can be read
    /// although nothing else can makes the letter easier to find.
    pub(super) fn new(delivery: &Delivery, job_id: Option<&JobId>, error: &JobError, source: Option<&str>) -> Self {
        let message = &delivery.raw;
        let text = std::str::from_utf8(message).ok();
        Self {
            letter_id: String::new(),
            raw: text.map(str::to_owned),
            raw_base64: text.is_none().then(|| BASE64.encode(message)),
            job_id: job_id.cloned().or_else(|| Token::legible_id(message)).map(String::from),
            workflow_owner: delivery.job.as_ref().ok().and_then(|job| job.workflow_owner.clone()),
            source: source.map(str::to_owned),
            error: error.clone(),
            attempts: delivery.attempt,
            crashes: delivery.crashes,
            // No two letters are alike, even of the same message.
            failed_at: stamp::precisely_now(),
        }
    }

    /// The letter in a text of a list, with its id: a digest of the text, so that a letter has it wherever it is read
    /// and whoever wrote it.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let letter: Self = serde_json::from_slice(text).ok()?;
        let digest: String = Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(Self { letter_id: format!("letter-{digest}"), ..letter })
    }

    /// The text under which it is kept.
    pub(super) fn text(&self) -> Bytes {
        let letter = Self { letter_id: String::new(), ..self.clone() };
        serde_json::to_vec(&letter).unwrap_or_default().into()
    }

    /// Whether `id` names it: the id of its job, or its own.
    #[must_use]
    pub fn is(&self, id: &str) -> bool {
        self.letter_id == id || self.job_id.as_deref() == Some(id)
    }

    /// The job that its message asks for, else the one that it is filed under.
    pub(super) fn about(&self, limits: &JobLimits) -> Option<JobId> {
        let read = Job::parse(&self.message(), limits);
        let asked = read.map_or_else(|rejected| rejected.job_id, |job| Some(job.job_id));
        asked.or_else(|| JobId::parse(self.job_id.as_deref()?).ok())
    }

    /// Whose job it was; nobody's where its message could not be read.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.workflow_owner.as_deref().and_then(Owner::of)
    }

    /// The letter as people get to see it: credentials in its message and its error are hidden. The message itself
    /// stays as it was received, so that it can go back into the queue.
    #[must_use]
    pub fn masked(self) -> Self {
        let text = match (&self.raw, &self.raw_base64) {
            (Some(text), _) => Some(mask_secrets(text).into_owned()),
            (None, Some(_)) => {
                let message = self.message();
                let text = String::from_utf8_lossy(&message);
                // Shown as text only where there is something to hide.
                match mask_secrets(&text) {
                    Cow::Owned(clean) => Some(clean),
                    Cow::Borrowed(_) => None,
                }
            }
            (None, None) => None,
        };
        let details = serde_json::to_string(&self.error.details).unwrap_or_default();
        let error = JobError {
            message: mask_secrets(&self.error.message).into_owned(),
            details: serde_json::from_str(&mask_secrets(&details)).unwrap_or_default(),
            ..self.error
        };
        Self { raw_base64: self.raw_base64.filter(|_| text.is_none()), raw: text, error, ..self }
    }

    /// The message as it was received.
    #[must_use]
    pub fn message(&self) -> Bytes {
        match (&self.raw, &self.raw_base64) {
            (Some(text), _) => Bytes::copy_from_slice(text.as_bytes()),
            (None, Some(coded)) => BASE64.decode(coded).unwrap_or_default().into(),
            (None, None) => Bytes::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        job::ErrorCode,
        queue::{Source, Standing},
    };

    const LIMITS: JobLimits = JobLimits { max_job_bytes: 1000, max_prompt_bytes: 100 };

    #[test]
    fn a_letter_keeps_every_byte() {
        let error = JobError::new(ErrorCode::InvalidJob, "no");
        for message in [&b"{\"job_id\":1}"[..], b"\xff\xfe", b"", "é\u{0}".as_bytes()] {
            let message = Bytes::from_static(message);
            let delivery = Delivery {
                job: Job::parse(&message, &LIMITS),
                raw: message.clone(),
                source: Source::Local,
                standing: Standing::Runnable,
                attempt: 1,
                crashes: 0,
                queue_time: Duration::ZERO,
                approval: None,
            };
            let letter = DeadLetter::new(&delivery, None, &error, Some("agent:jobs"));
            let read = DeadLetter::read(&letter.text()).unwrap();
            assert_eq!(read, DeadLetter { letter_id: read.letter_id.clone(), ..letter });
            assert_eq!(read.message(), message);
            assert_eq!(DeadLetter::read(&read.text()), Some(read.clone()), "the id is no part of the text");
            assert!(read.is(&read.letter_id) && !read.is("letter-") && !read.is(""));
        }
    }

    #[test]
    fn what_people_see_has_no_credentials_in_it() {
        let error = JobError::new(ErrorCode::InvalidJob, "found \"password=canary\"").with_detail("api_key", "canary");
        for message in [&br#"{"headers":{"authorization":"canary"}}"#[..], b"\xff {\"token\":\"canary\"}"] {
            let delivery = Delivery {
                job: Job::parse(&Bytes::from_static(message), &LIMITS),
                raw: Bytes::from_static(message),
                source: Source::Local,
                standing: Standing::Runnable,
                attempt: 1,
                crashes: 0,
                queue_time: Duration::ZERO,
                approval: None,
            };
            let letter = DeadLetter::new(&delivery, None, &error, None);
            assert_eq!(letter.message(), message);
            let shown = serde_json::to_string(&letter.masked()).unwrap();
            assert!(!shown.contains("canary") && !shown.contains("raw_base64"), "{shown}");
        }
    }
}
