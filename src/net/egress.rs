//! The client for requests that strangers can steer.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use url::Url;

use super::{
    Client, Lookup, Method, Policy, Request, Response, Route, Streamed, SystemLookup, build,
    policy::blocked,
    resolver::{Guard, Refused},
    trace_headers,
};
use crate::{
    job::{ErrorCode, JobError},
    settings,
};

/// Headers that steer the connection or the framing instead of speaking to the server.
const REFUSED_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that may follow a redirect or a link to another host: they say nothing about who asks.
const HARMLESS_HEADERS: &[&str] = &["accept", "accept-language", "content-type"];

/// More headers than a caller has reason to send.
const MAX_HEADERS: usize = 64;
/// Bytes of all of them: servers take no more.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Fetches from the public internet and from what the operator opened, and from nowhere else.
///
/// Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Egress {
    policy: Arc<Policy>,
    open: Client,
    guarded: Client,
    max_redirects: u32,
}

impl Egress {
    /// Makes the client. `never` names places (`host:port`) that stay closed whatever the settings allow.
    ///
    /// # Errors
    /// An unreadable entry of `egress.allow`, or TLS roots that cannot be read.
    pub fn new(settings: &settings::Egress, never: &[String]) -> Result<Self, String> {
        Self::with_lookup(settings, never, Arc::new(SystemLookup))
    }

    /// The same with a name server of the caller's.
    ///
    /// # Errors
    /// As [`Egress::new`].
    pub fn with_lookup(settings: &settings::Egress, never: &[String], lookup: Arc<dyn Lookup>) -> Result<Self, String> {
        let policy = Arc::new(Policy::new(settings, never)?);
        let connect_timeout = Duration::from_secs(settings.connect_timeout_secs);
        let client = |policy: Option<Arc<Policy>>| {
            build(connect_timeout, |builder| {
                builder.dns_resolver(Guard { lookup: Arc::clone(&lookup), policy: policy.clone() })
            })
        };
        let (open, guarded) = (client(None)?, client(Some(Arc::clone(&policy)))?);
        Ok(Self { policy, open, guarded, max_redirects: settings.max_redirects })
    }

    /// The rules, for whoever wants to check an address before there is a request.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sends a request and reads the whole answer, following redirects.
    ///
    /// # Errors
    /// `http_blocked` where the policy refuses (nothing was sent to that host), `limit_exceeded` for an answer
    /// above `max_bytes`, `http_failed` for everything else (retryable: timeouts, broken connections). An answer with an error
    /// status is an answer: see [`Response::success`].
    pub async fn fetch(&self, request: &Request) -> Result<Response, JobError> {
        match tokio::time::timeout(request.timeout, self.follow(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(timed_out(request.timeout)),
        }
    }

    /// Sends a request and gives the answer as it comes, following redirects. The request's time is for the head.
    ///
    /// # Errors
    /// As [`Egress::fetch`]; the body has errors of its own.
    pub async fn open(&self, request: &Request) -> Result<Streamed, JobError> {
        match tokio::time::timeout(request.timeout, self.exchange(request)).await {
            Ok(Ok(exchanged)) => Ok(Streamed::new(exchanged.answer, request.max_bytes)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(timed_out(request.timeout)),
        }
    }

    async fn follow(&self, request: &Request) -> Result<Response, JobError> {
        let Exchanged { answer, url, method } = self.exchange(request).await?;
        read(answer, url, method, request.max_bytes).await
    }

    /// The answer that is no redirect.
    async fn exchange(&self, request: &Request) -> Result<Exchanged, JobError> {
        let (mut url, mut route) = self.policy.parse(&request.url)?;
        if !request.params.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.params);
        }
        url.set_fragment(None);
        let mut method = request.method;
        let mut body = request.body.clone();
        let mut headers = headers(&request.headers)?;
        for (name, value) in &trace_headers() {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        for _ in 0..=self.max_redirects {
            let client = if route == Route::Open { &self.open } else { &self.guarded };
            let answer = send(client, method, &url, &headers, body.clone()).await?;
            let Some(next) = redirect_target(&url, &answer)? else {
                return Ok(Exchanged { answer, url, method });
            };
            let next_route = self.policy.decide(&next)?;
            if next.origin() != url.origin() {
                headers = only_harmless(&headers);
            }
            let status = answer.status().as_u16();
            if (status == 303 && method != Method::Head) || (matches!(status, 301 | 302) && method == Method::Post) {
                method = Method::Get;
                body = None;
                headers.remove(CONTENT_TYPE);
            }
            (url, route) = (next, next_route);
        }
        Err(failed(format!("more than {} redirects, the last to {}", self.max_redirects, shown(&url))))
    }
}

/// An answer whose body has not been read, with where it came from and how it was asked for.
struct Exchanged {
    answer: reqwest::Response,
    url: Url,
    method: Method,
}

async fn send(
    client: &Client,
    method: Method,
    url: &Url,
    headers: &HeaderMap,
    body: Option<Bytes>,
) -> Result<reqwest::Response, JobError> {
    let verb = reqwest::Method::from_bytes(method.as_str().as_bytes()).unwrap_or(reqwest::Method::GET);
    let mut request = client.request(verb, url.clone()).headers(headers.clone());
    if let Some(body) = body {
        request = request.body(body);
    }
    request.send().await.map_err(|error| transport_error(url, &error))
}

/// Where a redirect leads, or nothing when the answer is none.
fn redirect_target(from: &Url, answer: &reqwest::Response) -> Result<Option<Url>, JobError> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = answer.headers().get(LOCATION) else { return Ok(None) };
    let next = location.as_bytes();
    onward(from, std::str::from_utf8(next).ok(), "redirects").map(Some)
}

/// Where an answer from `from` leads, by a redirect or by a link.
fn onward(from: &Url, to: Option<&str>, leads: &str) -> Result<Url, JobError> {
    let next = to.and_then(|text| from.join(text).ok());
    let mut next = next.ok_or_else(|| failed(format!("{} {leads} to something that is no address", shown(from))))?;
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(blocked(format!("{} {leads} from https to http", shown(from))));
    }
    next.set_fragment(None);
    Ok(next)
}

impl Request {
    /// Turns to where the answer from `from` leads by a link. As with a redirect, what says who asks stays behind where
    /// that is another place than was asked.
    ///
    /// # Errors
    /// `http_blocked` for a link from https to http, `http_failed` for one that is no address.
    pub fn follow(&mut self, from: &Url, link: &str) -> Result<(), JobError> {
        let next = onward(from, Some(link), "links")?;
        let asked = Url::parse(self.url.trim()).map(|url| url.origin());
        if next.origin() != from.origin() || asked != Ok(next.origin()) {
            self.headers.retain(|(name, _)| is_harmless(&name.trim().to_ascii_lowercase()));
        }
        self.url = next.into();
        self.params.clear();
        Ok(())
    }
}

async fn read(
    mut answer: reqwest::Response,
    final_url: Url,
    method: Method,
    max_bytes: usize,
) -> Result<Response, JobError> {
    let too_large = || {
        JobError::new(
            ErrorCode::LimitExceeded,
            format!("{} answered with more than {max_bytes} bytes: ask for less", shown(&final_url)),
        )
    };
    let encoding = answer.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    if method != Method::Head && !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(failed(format!(
            "{} answered in the encoding {encoding:?}, which nobody asked for",
            shown(&final_url)
        )));
    }
    // The client takes the length away where it decompresses, so what stands here is what comes.
    let announced = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if method != Method::Head && announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| transport_error(&final_url, &error))? {
        if body.len() + chunk.len() > max_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let headers: Vec<(String, String)> =
        answer.headers().iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect();
    let content_type = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    Ok(Response { status: answer.status().as_u16(), headers, body: body.freeze(), content_type, final_url })
}

/// Reads the caller's headers. Compression is ours to ask for, so a wish for it is passed over.
fn headers(given: &[(String, String)]) -> Result<HeaderMap, JobError> {
    if given.len() > MAX_HEADERS {
        return Err(blocked(format!("{} headers: at most {MAX_HEADERS}", given.len())));
    }
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        return Err(blocked(format!("headers of {bytes} bytes: at most {MAX_HEADER_BYTES}")));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let (Ok(key), Ok(mut content)) = (HeaderName::from_bytes(name.trim().as_bytes()), HeaderValue::from_str(value))
        else {
            return Err(blocked(format!("the header {name:?} holds characters that headers cannot")));
        };
        if REFUSED_HEADERS.contains(&key.as_str()) {
            return Err(blocked(format!("the header {key} cannot be set")));
        }
        if key == reqwest::header::ACCEPT_ENCODING {
            continue;
        }
        content.set_sensitive(true);
        headers.append(key, content);
    }
    Ok(headers)
}

fn only_harmless(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| is_harmless(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn is_harmless(name: &str) -> bool {
    HARMLESS_HEADERS.contains(&name)
}

fn transport_error(url: &Url, error: &reqwest::Error) -> JobError {
    if let Some(refused) = refused(error) {
        return blocked(refused.0.clone());
    }
    if error.is_timeout() {
        return failed(format!("{} did not answer in time", shown(url))).with_retryable(true);
    }
    let what = if error.is_connect() { "cannot be reached" } else { "broke off" };
    failed(format!("{} {what}: {}", shown(url), innermost(error))).with_retryable(was_cut(error))
}

/// Whether a connection that was there ended before the answer did: another one may not.
fn was_cut(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    !error.is_connect() && causes.any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(|e| !e.is_parse()))
}

/// The policy's word among the causes of an error.
fn refused(error: &reqwest::Error) -> Option<&Refused> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return Some(refused);
        }
        cause = inner.source();
    }
    None
}

/// The deepest cause: the outer ones repeat the address.
fn innermost(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    deepest.to_string()
}

fn timed_out(after: Duration) -> JobError {
    failed(format!("no whole answer within {} ms: allow more time or ask for less", after.as_millis()))
        .with_retryable(true)
}

fn failed(message: String) -> JobError {
    JobError::new(ErrorCode::HttpFailed, message)
}

/// An address in messages: without its query, which may hold a key.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_redirect_leads_from_https_to_http() {
        // (from, location, where it leads or the code)
        let rows = [
            ("https://a.example/1", "http://a.example/2", Err(ErrorCode::HttpBlocked)),
            ("https://a.example/1", "HTTP://a.example:443/2", Err(ErrorCode::HttpBlocked)),
            ("https://a.example/1", "http:2", Err(ErrorCode::HttpBlocked)),
            ("https://a.example/1", "//b.example/2", Ok("https://b.example/2")),
            ("http://a.example/1", "https://a.example/2#x", Ok("https://a.example/2")),
            ("http://a.example/1", "http://b.example/2", Ok("http://b.example/2")),
            ("https://a.example/1", "https://[", Err(ErrorCode::HttpFailed)),
        ];
        for status in [301, 302, 303, 307, 308] {
            for (from, to, expected) in rows {
                let answer = http::Response::builder().status(status).header(LOCATION, to).body("").unwrap();
                let next = redirect_target(&from.parse().unwrap(), &answer.into());
                let next = next.map(|next| next.unwrap().to_string()).map_err(|error| error.code);
                assert_eq!(next, expected.map(str::to_owned), "{status} {from} {to}");
            }
        }
    }
}
