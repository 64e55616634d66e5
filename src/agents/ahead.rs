//! Agents are learned when the process starts and when their file changes, not by the first prompt.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{registry::LiveRegistry, route::Router};

/// Has `router` learn every state of `registry` as it comes into force, until `stop` fires. A failure is logged and no
/// more: the next prompt tries again, and it is that prompt's.
pub async fn learn_ahead(router: Arc<Router>, registry: Arc<LiveRegistry>, stop: CancellationToken) {
    let mut changes = registry.changes();
    loop {
        changes.mark_unchanged();
        let current = registry.current();
        let learned = tokio::select! {
            () = stop.cancelled() => return,
            learned = router.prepare(&current) => learned,
        };
        if let Err(error) = learned {
            tracing::warn!(%error, "the agents could not be learned ahead of the first prompt");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}
