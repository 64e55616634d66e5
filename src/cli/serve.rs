//! `agent-runner serve`.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Failure, assemble};
use crate::{
    agents, http, intent,
    settings::Settings,
    telemetry,
    worker::{self, Drained, Pool},
};

/// Longest time that answers, records and spans under way have after the last job.
const ENDING: Duration = Duration::from_secs(5);

/// Work on the queue until told to stop, with health, metrics and the API beside it
///
/// SIGTERM or Ctrl-C: takes no more jobs, lets running ones finish for worker.grace_secs, hands the rest back. A
/// second one hands back at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  agent-runner serve
  agent-runner serve --memory    # try everything without Redis: jobs come through HTTP")]
pub(super) struct Args {
    /// Keep queue and store in this process: no Redis, nothing survives its end
    #[arg(long)]
    memory: bool,
}

pub(super) async fn run(settings: Settings, args: Args) -> Result<(), Failure> {
    let export = telemetry::Export::prepare(&settings.telemetry, &settings.service).map_err(Failure::Usage)?;
    telemetry::init(&settings.telemetry, export.as_ref()).map_err(|e| Failure::Usage(e.to_string()))?;
    let metrics = telemetry::install();
    let settings = Arc::new(settings);
    let listener = TcpListener::bind(settings.http.bind.as_str())
        .await
        .map_err(|e| Failure::Failed(format!("http.bind {}: {e}", settings.http.bind)))?;
    let bind = listener.local_addr().map_err(|e| Failure::Failed(format!("http.bind: {e}")))?;
    let registry = assemble::registry(&settings)?;
    let mut parts = if args.memory {
        assemble::in_memory(&settings, registry.clone())?
    } else {
        assemble::on_redis(&settings, registry.clone()).await?
    };
    // The lexicon is built on first use: not by the first job.
    let _ = intent::classify("", &intent::Facts::default());
    let app = parts.http_app(metrics.clone());
    let draining = app.draining.clone();
    let (stop, at_once, closing) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    watch_signals(stop.clone(), at_once.clone())?;
    // From here on SIGHUP reads the agents file again and never ends the process, not even before the watcher runs.
    let _hangup = listen(SignalKind::hangup())?;
    let known = registry.current().agents.len();
    let beside = TaskTracker::new();
    beside.spawn(agents::learn_ahead(parts.router(), registry.clone(), closing.clone()));
    beside.spawn({
        let closing = closing.clone();
        async move { registry.watch(closing).await }
    });
    beside.spawn(http::serve(app, listener, closing.clone()));
    beside.spawn(worker::record(parts.runner.clone(), parts.queue.clone(), closing.clone()));
    beside.spawn(parts.artifacts.clone().sweep(closing.clone()));
    if let Some(scribe) = parts.scribe.take() {
        beside.spawn(scribe.run(closing.clone()));
    }
    if let Some(export) = export {
        beside.spawn(export.run(metrics, closing.clone()));
    }
    beside.close();
    tracing::info!(
        bind = %bind,
        concurrency = settings.worker.concurrency,
        provider = ?settings.provider(),
        memory = args.memory,
        agents = known,
        "ready"
    );

    let drain = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            draining.cancel();
        }
    };
    let pool = Pool::new(parts.runner.clone(), parts.queue.clone());
    let (drained, ()) = tokio::join!(pool.run(stop, at_once), drain);
    parts.queue.close().await;
    closing.cancel();
    let _ = tokio::time::timeout(ENDING, beside.wait()).await;
    match drained {
        Drained::Finished => tracing::info!("stopped; every running job has finished"),
        Drained::HandedBack => tracing::info!("stopped; running jobs were handed back to the queue"),
    }
    Ok(())
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e| Failure::Failed(format!("signals cannot be watched: {e}")))
}

/// First signal: stop in order. Second: hand back at once.
fn watch_signals(stop: CancellationToken, at_once: CancellationToken) -> Result<(), Failure> {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping: no more jobs are taken");
        stop.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping at once: running jobs are handed back");
        at_once.cancel();
    });
    Ok(())
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}
