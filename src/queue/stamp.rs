//! Times as they stand in documents. Leases are never judged by them.

use bytes::Bytes;
use jiff::Timestamp;

use crate::job::{Event, JobId};

/// Now, as RFC 3339 in UTC.
pub(super) fn now() -> String {
    of(now_ms())
}

/// Now, as RFC 3339 in UTC, to the microsecond.
pub(super) fn precisely_now() -> String {
    format!("{:.6}", Timestamp::now())
}

/// Now, in milliseconds since the epoch.
pub(super) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// Milliseconds since the epoch as RFC 3339 in UTC.
pub(super) fn of(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    format!("{time:.3}")
}

/// The milliseconds of an RFC 3339 time.
pub(super) fn parse(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}

/// An event's data with `job_id` and `at` in front.
pub(super) fn dated(job_id: &JobId, event: &Event) -> Bytes {
    let id = serde_json::to_string(job_id.as_str()).unwrap_or_default();
    format!("{{\"job_id\":{id},\"at\":\"{}\"{}}}", now(), event.facts()).into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn stamps_round_trip_to_the_millisecond() {
        assert_eq!(super::of(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
        assert_eq!(super::parse("2023-11-14T22:13:20.007Z"), Some(1_700_000_000_007));
        assert_eq!(super::parse("yesterday"), None);
    }
}
