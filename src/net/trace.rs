//! The trace a request belongs to, as W3C Trace Context: taken from the job, told to every server that is asked on its
//! behalf.

use std::{future::Future, sync::OnceLock};

use reqwest::header::{HeaderMap, HeaderValue};

/// The header's name.
const TRACEPARENT: &str = "traceparent";

/// Knows the span that is open right now, where spans are exported.
type Current = fn() -> Option<String>;

static CURRENT: OnceLock<Current> = OnceLock::new();

tokio::task_local! {
    static TAKEN: HeaderValue;
}

/// From now on `current` names the span that a request is made in, in place of the job's own header.
pub fn trace_with(current: Current) {
    // Exporting starts once in a process.
    let _ = CURRENT.set(current);
}

/// Runs `work` within the trace that the job named. A text that is no `traceparent` names none.
pub async fn traced<T>(traceparent: Option<&str>, work: impl Future<Output = T>) -> T {
    let known = traceparent.filter(|text| is_traceparent(text)).and_then(|text| HeaderValue::from_str(text).ok());
    match known {
        Some(taken) => TAKEN.scope(taken, work).await,
        None => work.await,
    }
}

/// The headers that put a request into the trace of the work it is made for; none outside of any.
#[must_use]
pub fn trace_headers() -> HeaderMap {
    let current = CURRENT.get().and_then(|current| current()).and_then(|text| HeaderValue::from_str(&text).ok());
    let value = current.or_else(|| TAKEN.try_with(Clone::clone).ok());
    value.map(|value| (reqwest::header::HeaderName::from_static(TRACEPARENT), value)).into_iter().collect()
}

/// Whether `text` is a `traceparent` of version 00: `00-<trace>-<span>-<flags>` in lower-case hexadecimal, neither id
/// all zeros (<https://www.w3.org/TR/trace-context/#traceparent-header>).
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        parts
            .next()
            .filter(|part| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    };
    let named = |id: Option<&str>| id.is_some_and(|id| id.bytes().any(|byte| byte != b'0'));
    hex(2) == Some("00") && named(hex(32)) && named(hex(16)) && hex(2).is_some() && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_traceparent_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (text, whole) in [
            (good.to_owned(), true),
            (good.to_uppercase(), false),
            (format!("{good}-00"), false),
            (good.replacen("00-", "01-", 1), false),
            (good.replace("b7ad6b7169203331", "0000000000000000"), false),
            (good.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"), false),
            (format!("{good}\r\nx: y"), false),
            (String::new(), false),
        ] {
            assert_eq!(is_traceparent(&text), whole, "{text:?}");
        }
    }

    #[tokio::test]
    async fn requests_carry_the_trace_of_the_work_they_are_made_for() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let told = |traceparent| traced(traceparent, async { trace_headers().get(TRACEPARENT).cloned() });
        assert_eq!(told(Some(good)).await.unwrap(), good);
        assert_eq!(told(Some("nonsense")).await, None);
        assert_eq!(told(None).await, None);
    }
}
