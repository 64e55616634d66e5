//! Who asks, and what they may see and do.
//!
//! A token with an owner is bound to it: jobs of others are not forbidden but unknown, so that nobody learns from an
//! answer that they are there.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, StatusCode, request::Parts},
};
use bytes::Bytes;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    App, body,
    jobs::{no_letter, unknown},
    problem::Problem,
};
use crate::{
    job::{Job, JobId, JobLimits, Owner},
    queue::JobView,
    settings::{Http, Role, Secret},
};

/// Paths whose GET any token may ask for.
const READ: [&str; 18] = [
    "/openapi.json",
    "/v1/jobs",
    "/v1/jobs/{job_id}",
    "/v1/jobs/{job_id}/events",
    "/v1/dead",
    "/v1/agents",
    "/v1/handoffs",
    "/v1/handoffs/{execution_id}",
    "/v1/artifacts/{*reference}",
    "/",
    "/assets/{name}",
    "/ui/login",
    "/ui/jobs",
    "/ui/jobs/{job_id}",
    "/ui/dead",
    "/ui/agents",
    "/ui/handoffs/{execution_id}",
    "/ui/playground",
];

/// Paths with effects on the jobs of one owner.
const SUBMIT: [&str; 13] = [
    "/v1/jobs",
    "/v1/jobs/{job_id}",
    "/v1/jobs/{job_id}/approve",
    "/v1/jobs/{job_id}/reject",
    "/v1/jobs/{job_id}/retry",
    "/v1/dead/{job_id}",
    "/v1/dead/{job_id}/retry",
    "/v1/agents/route",
    "/test/chat",
    "/ui/jobs/{job_id}",
    "/ui/dead",
    "/ui/agents",
    "/ui/playground",
];

/// The least role for a request. What is in neither list is for admins: a path that is forgotten here is closed.
pub(super) fn needs(method: &Method, path: Option<&str>) -> Role {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match path {
        // There is nothing there, which anybody with a token may be told.
        None | Some("/ui/logout") => Role::Read,
        Some(path) if reads && READ.contains(&path) => Role::Read,
        Some(path) if !reads && SUBMIT.contains(&path) => Role::Submit,
        Some(_) => Role::Admin,
    }
}

/// What the sender of a request may see and do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) role: Role,
    /// Set where the token is bound to one owner.
    name: Option<Arc<str>>,
}

impl Access {
    /// Of `http.token`, of admins, and of everybody where there are no tokens.
    pub(super) fn all() -> Self {
        Self { role: Role::Admin, name: None }
    }

    /// Of the token `given`. All are compared, and their digests have one length: neither which one it is like nor
    /// how far shows in the time taken.
    pub(super) fn of_token(given: &str, settings: &Http) -> Option<Self> {
        let given = Sha256::digest(given);
        Self::of_first(settings, |token| bool::from(Sha256::digest(token).ct_eq(&given)))
    }

    /// Of the token that `is_it`; every token is asked.
    pub(super) fn of_first(settings: &Http, is_it: impl Fn(&str) -> bool) -> Option<Self> {
        let plain = |token: &Secret| is_it(token.expose_secret().trim());
        let mut found = settings.token.as_ref().filter(|token| plain(token)).map(|_| Self::all());
        for entry in &settings.tokens {
            if plain(&entry.token) && found.is_none() {
                found = Some(Self { role: entry.role, name: entry.owner.as_deref().map(Into::into) });
            }
        }
        found
    }

    /// Whose jobs may be seen; nothing where all may.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.name.as_deref().and_then(Owner::of)
    }

    /// The name of [`Self::owner`].
    pub(super) fn owner_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether everything may be seen.
    pub(super) fn sees_all(&self) -> bool {
        self.name.is_none()
    }

    /// Whether anything may be changed.
    pub(super) fn acts(&self) -> bool {
        self.role > Role::Read
    }

    /// Whether something of `owner` may be seen.
    pub(super) fn sees(&self, owner: Option<&Owner>) -> bool {
        self.owner().is_none_or(|own| owner == Some(&own))
    }

    /// What is known of a job; one that may not be seen is unknown.
    pub(super) async fn job(&self, app: &App, id: &JobId) -> Result<JobView, Problem> {
        let view = app.queue.job(id).await?.filter(|view| self.sees(view.owner.as_ref()));
        view.ok_or_else(|| unknown(id))
    }

    /// Refuses a job that may not be seen, as unknown.
    pub(super) async fn check(&self, app: &App, id: &JobId) -> Result<(), Problem> {
        if self.sees_all() {
            return Ok(());
        }
        self.job(app, id).await.map(drop)
    }

    /// Refuses dead letters that `id` names and of which one may not be seen, as unknown.
    pub(super) async fn check_dead(&self, app: &App, id: &str) -> Result<(), Problem> {
        if self.sees_all() {
            return Ok(());
        }
        let owners = app.queue.dead_owners(id).await?;
        if owners.is_empty() || !owners.iter().all(|owner| self.sees(owner.as_ref())) {
            return Err(no_letter(id));
        }
        Ok(())
    }

    /// The job in `message`, in the name of this token's owner: added where the message names nobody.
    pub(super) fn sign(&self, message: Bytes, limits: &JobLimits) -> Result<(Job, Bytes), Problem> {
        let job = Job::parse(&message, limits)?;
        match (&self.name, job.workflow_owner.as_deref().filter(|owner| !owner.is_empty())) {
            (Some(own), Some(named)) if named != &**own => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "foreign_owner",
                "`workflow_owner` is not the owner that this token is for: leave it out",
            )),
            (Some(own), None) => {
                let message = body::with_member(&message, "workflow_owner", own);
                Ok((Job::parse(&message, limits)?, message))
            }
            _ => Ok((job, message)),
        }
    }

    /// Refuses an id that stands for a job of somebody else: its result would be given out under it.
    pub(super) async fn refuse_taken(&self, app: &App, id: &JobId) -> Result<(), Problem> {
        if self.sees_all() {
            return Ok(());
        }
        match app.queue.job(id).await? {
            Some(view) if !self.sees(view.owner.as_ref()) => {
                Err(Problem::conflict(format!("the job id {id} cannot be used: leave it out, or choose another")))
            }
            _ => Ok(()),
        }
    }
}

/// What is said to a token whose role does not reach.
pub(super) fn forbidden(role: Role) -> Problem {
    let may = match role {
        Role::Read => "this token may only look (role read)",
        Role::Submit | Role::Admin => "this is for admins: the token is for the jobs of one owner",
    };
    Problem::new(StatusCode::FORBIDDEN, "forbidden", may)
}

/// The token of `Authorization: Bearer <token>`; the scheme is read in any case.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(axum::http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl<S: Send + Sync> FromRequestParts<S> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Put there by `guard::admit`; a path that it lets through unasked has no business with jobs.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| forbidden(Role::Read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_thought_of_is_for_admins() {
        for (method, path, role) in [
            (Method::GET, Some("/v1/jobs"), Role::Read),
            (Method::POST, Some("/v1/jobs"), Role::Submit),
            (Method::PUT, Some("/v1/queue/pause"), Role::Admin),
            (Method::POST, Some("/v1/queue/pause"), Role::Admin),
            (Method::POST, Some("/ui/queue"), Role::Admin),
            (Method::GET, Some("/v1/new"), Role::Admin),
            (Method::POST, Some("/v1/new"), Role::Admin),
            (Method::GET, None, Role::Read),
        ] {
            assert_eq!(needs(&method, path), role, "{method} {path:?}");
        }
    }

    #[test]
    fn bearer_tokens_are_read_leniently_in_form_only() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            let headers = HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(bearer(&headers), token, "{value:?}");
        }
    }
}
