//! Signing in: where there are tokens, a browser trades one for a cookie that no script can read.
//!
//! The cookie says until when it holds, and carries a code over that time which only somebody who knows the token
//! can make (HMAC-SHA-256): whose token that is, is whose session it is. So it holds at every replica, over restarts, and no longer than the token.

use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{
    super::{App, access::Access, body, extract::Query, problem::Problem},
    page::{Fault, encoded, html, is_page},
};
use crate::settings::Http;

const COOKIE: &str = "agent_runner_session";

/// How long one stays signed in.
const HOLDS_SECS: i64 = 12 * 3600;
/// Bytes of the form: it holds a token and a path.
const MAX_FORM: usize = 16 << 10;

#[derive(Template)]
#[template(path = "login.html")]
struct Form<'a> {
    nav: &'static str,
    next: &'a str,
    refused: bool,
}

/// Paths that a browser needs before it is signed in.
pub(in crate::http) fn is_open(path: &str) -> bool {
    path == "/ui/login" || path.starts_with("/assets/")
}

/// Whether the request is for a page, which asks to sign in where a program is told that its token is missing.
pub(in crate::http) fn sign_in_first(request: &Request) -> Option<Response> {
    is_page(request.uri().path()).then(|| {
        let next = request.uri().path_and_query().map_or("/", |whole| whole.as_str());
        Redirect::to(&format!("/ui/login?next={}", encoded(next))).into_response()
    })
}

/// What the cookie of the request allows, where it is one of ours that still holds.
pub(in crate::http) fn signed_in(headers: &HeaderMap, settings: &Http) -> Option<Access> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    let (until, code) = value.split_once('.')?;
    until.parse::<i64>().ok().filter(|until| *until > now())?;
    Access::of_first(settings, |token| bool::from(code.as_bytes().ct_eq(code_of(token, until).as_bytes())))
}

/// The code over the end of a session.
fn code_of(token: &str, until: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(token.as_bytes()) else { return String::new() };
    mac.update(b"agent-runner dashboard until ");
    mac.update(until.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// `GET /ui/login`.
pub(super) async fn form(query: Query) -> Response {
    page(query.get("next").unwrap_or("/"), false)
}

fn page(next: &str, refused: bool) -> Response {
    let form = Form { nav: "", next: ours(next), refused };
    let status = if refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    html(status, form.render().unwrap_or_default())
}

/// A path of this server, whatever was asked for: nobody is led elsewhere.
fn ours(next: &str) -> &str {
    // Browsers drop tabs and line ends from addresses before they read them.
    let plain = next.chars().all(|c| c != '\\' && !c.is_control() && !c.is_whitespace());
    if plain && next.starts_with('/') && !next.starts_with("//") { next } else { "/" }
}

/// `POST /ui/login`.
pub(super) async fn sign_in(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response, Fault> {
    let form = Query::parse(&body::read_at_most(MAX_FORM, &headers, body, &app.settings.http).await?);
    let next = ours(form.get("next").unwrap_or("/"));
    if !app.settings.http.has_tokens() {
        return Ok(Redirect::to(next).into_response());
    }
    let given = form.get("token").unwrap_or_default().trim();
    if given.is_empty() || Access::of_token(given, &app.settings.http).is_none() {
        return Ok(page(next, true));
    }
    let until = (now() + HOLDS_SECS).to_string();
    let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let cookie = format!("{until}.{}; Max-Age={HOLDS_SECS}", code_of(given, &until));
    Ok((set_cookie(&cookie, secure)?, Redirect::to(next)).into_response())
}

/// `POST /ui/logout`.
pub(super) async fn sign_out() -> Result<Response, Fault> {
    Ok((set_cookie("; Max-Age=0", false)?, Redirect::to("/ui/login")).into_response())
}

fn set_cookie(value: &str, secure: bool) -> Result<HeaderMap, Fault> {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}");
    let value = HeaderValue::from_str(&text).map_err(|_| Problem::bad_request("the cookie cannot be written"))?;
    Ok(HeaderMap::from_iter([(header::SET_COOKIE, value)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Http {
        Http { token: Some("s3cret".into()), ..Http::default() }
    }

    fn with_cookie(value: &str) -> HeaderMap {
        let line = format!("other=1; {COOKIE}={value}");
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&line).unwrap())])
    }

    #[test]
    fn a_cookie_holds_until_its_time_and_for_its_token_only() {
        let until = (now() + 60).to_string();
        let good = format!("{until}.{}", code_of("s3cret", &until));
        assert!(signed_in(&with_cookie(&good), &settings()).is_some());
        let past = (now() - 1).to_string();
        let later = (now() + 99).to_string();
        for bad in [
            format!("{past}.{}", code_of("s3cret", &past)),
            format!("{later}.{}", code_of("s3cret", &until)),
            format!("{until}.{}", code_of("another", &until)),
            format!("{until}."),
            until,
            String::new(),
        ] {
            assert!(signed_in(&with_cookie(&bad), &settings()).is_none(), "{bad}");
        }
        assert!(signed_in(&with_cookie(&good), &Http::default()).is_none());
    }

    #[test]
    fn nobody_is_led_elsewhere() {
        for (next, path) in [
            ("/ui/jobs?status=failed", "/ui/jobs?status=failed"),
            ("//evil.example", "/"),
            ("https://x", "/"),
            ("/\\e", "/"),
            ("/\t/evil.example", "/"),
            ("/\n/evil.example", "/"),
            ("/ /evil.example", "/"),
        ] {
            assert_eq!(ours(next), path);
        }
    }
}
