//! What the headers of an answer say about trying again.

use std::time::Duration;

use reqwest::header::HeaderMap;

/// What a server says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Hints {
    /// How long to wait.
    pub(super) wait: Option<Duration>,
    /// `x-should-retry`.
    pub(super) should_retry: Option<bool>,
}

/// Reads `retry-after-ms`, `retry-after` (seconds or a date), `x-should-retry`, and, where nothing else says
/// how long, the `x-ratelimit-reset-*` of a limit that is used up.
pub(super) fn read(headers: &HeaderMap, now_unix: f64) -> Hints {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let should_retry = match text("x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    let wait = text("retry-after-ms")
        .and_then(|value| seconds(value).map(|ms| ms / 1000.0))
        .or_else(|| text("retry-after").and_then(|value| seconds(value).or_else(|| until_date(value, now_unix))))
        .or_else(|| used_up_reset(headers, now_unix))
        .filter(|wait| wait.is_finite())
        // A day is as good as forever, and keeps the arithmetic of durations safe.
        .map(|wait| Duration::from_secs_f64(wait.clamp(0.0, 86_400.0)));
    Hints { wait, should_retry }
}

fn seconds(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
}

/// `Wed, 21 Oct 2026 07:28:00 GMT`, or RFC 3339.
fn until_date(text: &str, now_unix: f64) -> Option<f64> {
    let at = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text.replace("GMT", "+0000"))
        .or_else(|_| text.parse::<jiff::Timestamp>())
        .ok()?;
    Some((at.as_duration().as_secs_f64() - now_unix).max(0.0))
}

fn used_up_reset(headers: &HeaderMap, now_unix: f64) -> Option<f64> {
    ["requests", "tokens"]
        .iter()
        .filter(|what| {
            let left = headers.get(format!("x-ratelimit-remaining-{what}")).and_then(|value| value.to_str().ok());
            left.is_some_and(|left| left.trim().parse::<f64>().is_ok_and(|left| left <= 0.0))
        })
        .filter_map(|what| headers.get(format!("x-ratelimit-reset-{what}"))?.to_str().ok())
        .filter_map(|text| reset(text.trim(), now_unix))
        .reduce(f64::max)
}

/// `1s`, `6m0s`, `20ms`, `1h2m3.5s`, bare seconds, seconds or milliseconds since 1970, or a date.
fn reset(text: &str, now_unix: f64) -> Option<f64> {
    if let Some(value) = seconds(text) {
        return Some(match value {
            value if value > 1e12 => (value / 1000.0 - now_unix).max(0.0),
            value if value > 1e9 => (value - now_unix).max(0.0),
            value => value,
        });
    }
    span(text).or_else(|| until_date(text, now_unix))
}

fn span(mut text: &str) -> Option<f64> {
    let mut total = 0.0;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = text[..digits].parse().ok()?;
        let rest = &text[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += value
            * match &rest[..letters] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        text = &rest[letters..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_800_000_000.0;

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], wait_ms: Option<u64>, should_retry: Option<bool>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let want = Hints { wait: wait_ms.map(Duration::from_millis), should_retry };
        assert_eq!(read(&map, NOW), want, "{headers:?}");
    }

    #[test]
    fn every_way_to_say_when_is_understood() {
        check(&[], None, None);
        check(&[("retry-after-ms", "250")], Some(250), None);
        check(&[("retry-after-ms", "250"), ("retry-after", "9")], Some(250), None);
        check(&[("retry-after", "2")], Some(2000), None);
        check(&[("retry-after", " 1.5 ")], Some(1500), None);
        check(&[("retry-after", "Fri, 15 Jan 2027 08:00:10 GMT")], Some(10_000), None);
        check(&[("retry-after", "Fri, 15 Jan 2027 07:00:00 GMT")], Some(0), None);
        check(&[("retry-after", "2027-01-15T08:00:10Z")], Some(10_000), None);
        check(&[("retry-after", "soon")], None, None);
        check(&[("retry-after", "-1")], None, None);
        check(&[("retry-after", "1e300")], Some(86_400_000), None);
        check(&[("retry-after", "inf")], None, None);
        check(&[("x-should-retry", "false"), ("retry-after", "1")], Some(1000), Some(false));
        check(&[("x-should-retry", "true")], None, Some(true));
        check(&[("x-should-retry", "maybe")], None, None);
    }

    #[test]
    fn resets_count_only_for_what_is_used_up() {
        let used_up = ("x-ratelimit-remaining-requests", "0");
        check(&[("x-ratelimit-reset-requests", "1s")], None, None);
        for (text, ms) in [
            ("1s", 1000),
            ("6m0s", 360_000),
            ("20ms", 20),
            ("1h2m3.5s", 3_723_500),
            ("7.66s", 7660),
            ("12", 12_000),
            ("1800000005", 5000),
            ("1800000005000", 5000),
            ("2027-01-15T08:00:10Z", 10_000),
        ] {
            check(&[used_up, ("x-ratelimit-reset-requests", text)], Some(ms), None);
        }
        check(&[used_up, ("x-ratelimit-reset-requests", "soon")], None, None);
        let both = [
            used_up,
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-reset-tokens", "3s"),
        ];
        check(&both, Some(3000), None);
    }
}
