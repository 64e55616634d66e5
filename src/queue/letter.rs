//! Dead letters.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;

use super::{DeadLetter, Delivery, stamp};
use crate::job::{JobError, JobId, Token};

impl DeadLetter {
    /// A letter about a delivery that came from the list or stream `source`, dated now. An id that can be read
    /// although nothing else can makes the letter easier to find.
    pub(super) fn new(delivery: &Delivery, job_id: Option<&JobId>, error: &JobError, source: Option<&str>) -> Self {
        let message = &delivery.raw;
        let text = std::str::from_utf8(message).ok();
        Self {
            raw: text.map(str::to_owned),
            raw_base64: text.is_none().then(|| BASE64.encode(message)),
            job_id: job_id.cloned().or_else(|| Token::legible_id(message)).map(String::from),
            source: source.map(str::to_owned),
            error: error.clone(),
            attempts: delivery.attempt,
            crashes: delivery.crashes,
            failed_at: stamp::now(),
        }
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
        job::{ErrorCode, Job, JobLimits},
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
            let read: DeadLetter = serde_json::from_slice(&serde_json::to_vec(&letter).unwrap()).unwrap();
            assert_eq!(read, letter);
            assert_eq!(read.message(), message);
        }
    }
}
