//! How many jobs one owner may start.

use axum::http::StatusCode;

use super::{App, problem::Problem};
use crate::{
    job::Owner,
    store::{Draw, Visit},
};

/// Takes one job from the allowance of `owner`, over the fleet; 429 with the time to wait when it is used up.
/// Jobs of nobody have no quota.
pub(super) async fn charge(app: &App, owner: Option<&str>) -> Result<(), Problem> {
    let Some((name, owner)) = owner.and_then(|name| Some((name, Owner::of(name)?))) else { return Ok(()) };
    let per_minute = app.settings.security.quotas.of(name).jobs_per_minute;
    if per_minute == 0 {
        return Ok(());
    }
    let key = format!("quota:{}", owner.as_str());
    let draw = Draw { per_minute, amount: 1 };
    let wait = app.kept.store.draw(&key, &[draw], Visit::Now).await;
    let wait = wait.map_err(|error| Problem::store_unavailable(&error.to_string()))?;
    if wait.is_zero() {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "quota_exceeded",
        format!("this workflow_owner may start {per_minute} jobs in a minute (security.quotas): try again later"),
    )
    .retry_after(wait))
}
