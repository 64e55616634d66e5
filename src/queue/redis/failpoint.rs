//! Named points of a job's life at which a test can end the process, as a power cut would.
//!
//! Only in programs built with the feature `failpoints`; elsewhere a point is nothing at all.

/// Passes the point `name`, unless `AGENT_RUNNER_FAILPOINT` names it: then the process dies here, the
/// `AGENT_RUNNER_FAILPOINT_AT`-th time.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };

    #[expect(clippy::disallowed_methods, reason = "no setting: only test builds know it")]
    static DEADLY: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let name = std::env::var("AGENT_RUNNER_FAILPOINT").ok()?;
        let at = std::env::var("AGENT_RUNNER_FAILPOINT_AT").ok().and_then(|at| at.parse().ok());
        Some((name, at.unwrap_or(1)))
    });
    static PASSED: AtomicU32 = AtomicU32::new(0);
    if let Some((deadly, at)) = &*DEADLY
        && deadly == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 >= *at
    {
        std::process::abort();
    }
}

/// Passes the point `name`.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn reach(_name: &str) {}
