//! What stands before every handler: who asks, from where, and what every answer carries.

use std::{net::IpAddr, panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;

use super::{
    App, Peer,
    access::{self, Access},
    dashboard,
    problem::Problem,
};
use crate::{settings::Http, telemetry::names};

/// Set on every answer that does not set them itself. Answers are for programs: a browser may neither run,
/// frame, sniff nor keep them.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Outermost: counts the answer, turns a panic into 500, and adds the headers every answer has.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        tracing::error!(route, "a request handler panicked");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed inside the server")
            .into_response()
    });
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    let status = response.status().as_str().to_owned();
    metrics::counter!(names::HTTP_REQUESTS_TOTAL, "route" => route, "status" => status).increment(1);
    response
}

/// Lets a request through when its host, origin and token are right, before a byte of its body is read.
/// Health and metrics are open: probes and scrapers carry no token.
pub(super) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let settings = &app.settings.http;
    if is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let verdict = one_host(&request)
        .and_then(|()| host_is_ours(request.headers(), settings))
        .and_then(|()| origin_is_ours(request.method(), request.headers()))
        .and_then(|()| has_allowance(&app, &request))
        .and_then(|()| who_asks(&request, settings));
    match verdict {
        Ok(access) => {
            let signed_in = settings.has_tokens() && dashboard::signed_in(request.headers(), settings).is_some();
            request.extensions_mut().insert(access);
            dashboard::answer(signed_in, next.run(request)).await
        }
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            dashboard::sign_in_first(&request).unwrap_or_else(|| problem.into_response())
        }
        Err(problem) => dashboard::told(&request, problem),
    }
}

/// Paths that need no token.
pub(super) fn is_open(path: &str) -> bool {
    matches!(path, "/health" | "/health/live" | "/health/ready" | "/metrics")
}

/// A request names one host, once: two readers of it must not come to two.
fn one_host(request: &Request) -> Result<(), Problem> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let (first, more) = (named.next(), named.next().is_some());
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let differs = target.zip(first).is_some_and(|(target, host)| !host.as_bytes().eq_ignore_ascii_case(target));
    if more || differs {
        return Err(Problem::bad_request("the request names more than one host"));
    }
    Ok(())
}

/// Without a token, the network is the only lock: a page in a browser could reach in through a name of its
/// own that resolves to us. So the name must be an address, `localhost`, or one of `http.allowed_hosts`.
fn host_is_ours(headers: &HeaderMap, settings: &Http) -> Result<(), Problem> {
    let anonymous_loopback = !settings.has_tokens() && !settings.allow_anonymous;
    if settings.allowed_hosts.is_empty() && !anonymous_loopback {
        return Ok(());
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host_name(host);
    let known = name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || settings.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    if known {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden_host",
        "the Host header names neither this machine nor one of http.allowed_hosts",
    ))
}

/// The host of `host:port`, brackets of an IPv6 address kept.
fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

/// A browser names the page that sends a request with effects: only our own pages may.
fn origin_is_ours(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    let foreign = match text(header::ORIGIN) {
        Some(origin) => !same_authority(origin, host),
        None => matches!(text(HeaderName::from_static("sec-fetch-site")), Some("cross-site" | "same-site")),
    };
    if foreign {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "the request comes from a page of another origin: only this server's own pages may send it",
        ));
    }
    Ok(())
}

/// Whether `origin` (`scheme://host[:port]`) is served at `host[:port]`. Behind a proxy the scheme may differ
/// from ours, so the authority decides.
fn same_authority(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
    !host.is_empty() && bare(authority) == bare(host)
}

/// Before the token is looked at, so that tokens cannot be tried out quickly. Requests that came through no
/// socket have no client.
fn has_allowance(app: &App, request: &Request) -> Result<(), Problem> {
    let Some(Peer(address)) = request.extensions().get::<Peer>() else { return Ok(()) };
    if app.rate.admits(address.ip().to_canonical(), Instant::now()) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_requests",
        "this address has used up its requests (http.requests_per_minute): try again shortly",
    )
    .with_header(header::RETRY_AFTER, "1"))
}

/// Who sends the request, where their role reaches for it.
fn who_asks(request: &Request, settings: &Http) -> Result<Access, Problem> {
    if !settings.has_tokens() || dashboard::is_open(request.uri().path()) {
        return Ok(Access::all());
    }
    let access = match dashboard::signed_in(request.headers(), settings) {
        Some(access) => access,
        None => {
            let Some(given) = access::bearer(request.headers()) else {
                return Err(unauthorized("this endpoint needs `Authorization: Bearer <token>`", "Bearer"));
            };
            Access::of_token(given, settings).ok_or_else(|| {
                unauthorized("the bearer token is not one of this server", "Bearer error=\"invalid_token\"")
            })?
        }
    };
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if access.role < access::needs(request.method(), path) {
        return Err(access::forbidden(access.role));
    }
    Ok(access)
}

fn unauthorized(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(header::WWW_AUTHENTICATE, challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_ours_when_its_authority_is_the_host_asked_for() {
        for (origin, host, ours) in [
            ("http://127.0.0.1:8082", "127.0.0.1:8082", true),
            ("http://LOCALHOST:8082", "localhost:8082", true),
            ("https://runner.example", "runner.example", true),
            ("https://runner.example:443", "runner.example", true),
            ("http://[::1]:8082", "[::1]:8082", true),
            ("http://127.0.0.1:8083", "127.0.0.1:8082", false),
            ("http://evil.example", "127.0.0.1:8082", false),
            ("http://127.0.0.1:8082.evil.example", "127.0.0.1:8082", false),
            ("null", "127.0.0.1:8082", false),
            ("", "", false),
            ("http://", "", false),
            ("file://127.0.0.1:8082", "127.0.0.1:8082", false),
        ] {
            assert_eq!(same_authority(origin, host), ours, "{origin} {host}");
        }
    }

    #[test]
    fn host_names_lose_their_port() {
        for (authority, name) in [
            ("localhost:8082", "localhost"),
            ("[::1]:8082", "[::1]"),
            ("[::1]", "[::1]"),
            ("runner", "runner"),
            ("a:b", "a:b"),
            ("", ""),
        ] {
            assert_eq!(host_name(authority), name);
        }
    }
}
