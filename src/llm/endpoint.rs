//! One model server: its address, its key, what it is known not to take, and its circuit breaker.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    Breaker,
    quirks::{Bound, Memory, Quirks},
    trace,
};
use crate::settings::Secret;

/// Where requests go when nothing is configured.
pub(super) const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// A shorter key keeps nobody out, and stands in too many words to be cut out of them.
const SHORTEST_SECRET: usize = 8;

/// One model server.
pub(super) struct Endpoint {
    /// The address of chat completions.
    pub(super) url: Url,
    /// Who runs it, as traces and metrics name it.
    pub(super) provider: &'static str,
    /// Host and port, for messages.
    pub(super) host: String,
    /// The key, as the server wants it.
    pub(super) headers: HeaderMap,
    key: Option<Secret>,
    pub(super) memory: Memory,
    pub(super) breaker: Arc<Breaker>,
}

impl Endpoint {
    /// Checks address and key. The error does not show the key.
    pub(super) fn new(
        base_url: &str,
        key: Option<&Secret>,
        stream: bool,
        breaker: impl FnOnce(String) -> Arc<Breaker>,
    ) -> Result<Self, String> {
        let mut url = Url::parse(base_url).map_err(|e| format!("base_url: {base_url:?} is no address: {e}"))?;
        let host = url.host_str().ok_or_else(|| format!("base_url: {base_url:?} names no host"))?.to_owned();
        let path = url.path().trim_end_matches('/');
        let path =
            if path.ends_with("/chat/completions") { path.to_owned() } else { format!("{path}/chat/completions") };
        url.set_path(&path);
        let key = key.filter(|key| !key.expose_secret().trim().is_empty());
        let azure = host.ends_with(".azure.com");
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let key = key.expose_secret().trim();
            let (name, value) = if azure {
                (HeaderName::from_static("api-key"), key.to_owned())
            } else {
                (AUTHORIZATION, format!("Bearer {key}"))
            };
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| "api_key: holds characters that cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        // The field that newer models insist on is unknown to most other servers.
        let bound = if azure || host == "api.openai.com" { Bound::MaxCompletionTokens } else { Bound::MaxTokens };
        let provider = trace::provider(&host);
        let host = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Ok(Self {
            breaker: breaker(format!("llm:{host}")),
            memory: Memory::new(Quirks::new(bound, stream)),
            key: key.cloned(),
            url,
            provider,
            host,
            headers,
        })
    }

    /// `text` without the key, should a server have repeated it, and without anything that looks like one.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let key = self.key.as_ref().map(|key| key.expose_secret().trim());
        if let Some(key) = key.filter(|key| key.len() >= SHORTEST_SECRET) {
            text = text.replace(key, "[key]");
        }
        // Providers show keys in part: `sk-ab***yz`.
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = ["sk-", "Bearer "].iter().filter_map(|mark| rest.find(mark)).min() {
            let mark = if rest[at..].starts_with("sk-") { 3 } else { 7 };
            let end = rest[at + mark..]
                .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ')' | '}'))
                .map_or(rest.len(), |end| at + mark + end);
            out.push_str(&rest[..at]);
            let word_before = at > 0 && rest.as_bytes()[at - 1].is_ascii_alphanumeric();
            out.push_str(if word_before || end - at < mark + 4 { &rest[at..end] } else { "[key]" });
            rest = &rest[end..];
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn endpoint(base_url: &str, key: Option<&str>) -> Result<Endpoint, String> {
        let key = key.map(Secret::from);
        Endpoint::new(base_url, key.as_ref(), true, |name| Breaker::new(name, 5, Duration::from_secs(1)))
    }

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (base, url, host) in [
            ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1/chat/completions", "127.0.0.1:11434"),
            ("http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1/chat/completions", "127.0.0.1:11434"),
            ("https://x.y/v1/chat/completions", "https://x.y/v1/chat/completions", "x.y"),
            ("https://x.y/o?api-version=1", "https://x.y/o/chat/completions?api-version=1", "x.y"),
            ("https://x.y", "https://x.y/chat/completions", "x.y"),
        ] {
            let endpoint = endpoint(base, None).ok().unwrap();
            assert_eq!((endpoint.url.as_str(), endpoint.host.as_str()), (url, host));
            assert!(endpoint.headers.is_empty());
        }
        assert!(endpoint("nowhere", None).is_err());
    }

    #[test]
    fn keys_go_where_the_server_looks_and_into_no_message() {
        let header = |base: &str, name: &str| {
            let endpoint = endpoint(base, Some(" k-123\n")).ok().unwrap();
            endpoint.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header("https://x.y/v1", "authorization").as_deref(), Some("Bearer k-123"));
        assert_eq!(header("https://r.openai.azure.com/openai/v1", "api-key").as_deref(), Some("k-123"));
        let error = endpoint("https://x.y", Some("k\u{1}canary")).map(|_| ()).unwrap_err();
        assert!(!error.contains("canary"), "{error}");

        let endpoint = endpoint("https://x.y", Some("canary-1")).ok().unwrap();
        for (text, want) in [
            ("bad key canary-1!", "bad key [key]!"),
            ("Incorrect API key: sk-ab***yz, see", "Incorrect API key: [key], see"),
            ("got 'Bearer abcdefgh'", "got '[key]'"),
            ("a task-oriented risk-free desk-", "a task-oriented risk-free desk-"),
            ("é sk-", "é sk-"),
        ] {
            assert_eq!(endpoint.redact(text), want);
        }
        let short = self::endpoint("https://x.y", Some("e")).ok().unwrap();
        assert_eq!(short.redact("the server fell silent"), "the server fell silent");
    }
}
