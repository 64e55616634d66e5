//! How a message travels inside the private keys: `attempts:crashes:ready_ms:flags:entry:extra_len:` +
//! extra + message.
//!
//! The message itself is never decoded or changed in Redis.

use bytes::Bytes;

use crate::queue::Approval;

/// Its wait (`run_at`, `delay_ms`, a retry) has been served.
pub(super) const WAITED: u32 = 1;
/// The entry of the stream had no token in it.
pub(super) const NO_TOKEN: u32 = 2;

/// A message with what the queue knows of it.
#[derive(Debug, PartialEq)]
pub(super) struct Envelope {
    /// Attempts that ended in a retry.
    pub(super) attempts: u32,
    /// Workers that died over it.
    pub(super) crashes: u32,
    /// From when it could be taken, in Redis' milliseconds.
    pub(super) ready_ms: u64,
    pub(super) flags: u32,
    /// The entry of the stream it came in.
    pub(super) entry: Option<String>,
    /// A decision on a parked job.
    pub(super) approval: Option<Approval>,
    pub(super) message: Bytes,
}

impl Envelope {
    /// Opens an envelope; nothing when it is none of ours.
    pub(super) fn open(text: &Bytes) -> Option<Self> {
        let mut at = 0;
        let mut word = || -> Option<&str> {
            let end = at + text[at..].iter().take(42).position(|byte| *byte == b':')?;
            let word = std::str::from_utf8(&text[at..end]).ok()?;
            at = end + 1;
            Some(word)
        };
        let number = |word: &str| word.parse::<u64>().ok();
        let (attempts, crashes) = (number(word()?)?, number(word()?)?);
        let (ready_ms, flags) = (number(word()?)?, number(word()?)?);
        let entry = Some(word()?.to_owned()).filter(|entry| !entry.is_empty());
        let extra: usize = word()?.parse().ok()?;
        let message_at = at.checked_add(extra).filter(|end| *end <= text.len())?;
        Some(Self {
            attempts: u32::try_from(attempts).ok()?,
            crashes: u32::try_from(crashes).ok()?,
            ready_ms,
            flags: u32::try_from(flags).ok()?,
            entry,
            approval: serde_json::from_slice(&text[at..message_at]).ok(),
            message: text.slice(message_at..),
        })
    }

    /// A fresh envelope whose time the script fills in.
    pub(super) fn fresh(message: &[u8], flags: u32) -> Vec<u8> {
        let mut text = format!("0:0:NOW:{flags}::0:").into_bytes();
        text.extend_from_slice(message);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_open_and_keep_every_byte_of_the_message() {
        let open = |text: &'static [u8]| Envelope::open(&Bytes::from_static(text));
        let plain = open(b"2:1:1700000000000:1::0:\xff:{}").unwrap();
        assert_eq!((plain.attempts, plain.crashes, plain.ready_ms, plain.flags), (2, 1, 1_700_000_000_000, 1));
        assert_eq!(plain.message, b"\xff:{}"[..]);
        assert!(plain.approval.is_none() && plain.entry.is_none());
        let decided = open(br#"1:0:5:0:1700-3:34:{"approved":true,"pending":[1.10]}{"job_id":"a"}"#).unwrap();
        let approval = decided.approval.unwrap();
        assert_eq!((approval.approved, approval.pending.as_str()), (true, "[1.10]"));
        assert_eq!(decided.entry.as_deref(), Some("1700-3"));
        assert_eq!(decided.message, br#"{"job_id":"a"}"#[..]);
        for bad in [&b""[..], b"1:2", b"x:0:0:0::0:a", b"0:0:0:0::9:short", b"0:0:0:0:0:a"] {
            assert!(Envelope::open(&Bytes::from(bad)).is_none());
        }
    }
}
