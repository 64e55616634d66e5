//! The listener: bounded connections, bounded header time, and an orderly end.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{App, router, stall::Impatient};

/// Longest request head, in bytes: above what browsers and proxies send. Longer is 431, and so are more than
/// hyper's 100 header lines.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How long answers under way may take once the server stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How long a client may take nothing of an answer that is waiting for it.
const STILL_READER: Duration = Duration::from_secs(30);
/// How long to wait after the system refused a connection (usually for want of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often observations are folded into histogram buckets, so that they do not pile up unscraped.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// A connection's place, kept as long as the connection. Nobody closes the semaphore: there is no error.
type Slot = Result<OwnedSemaphorePermit, AcquireError>;

/// Who sent a request, for handlers that want it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves `app` on `listener` until `shutdown` fires; then takes no more connections, ends streams, gives
/// answers under way two seconds, and returns when every connection is closed.
pub async fn serve(mut app: App, listener: TcpListener, shutdown: CancellationToken) {
    app.closing = shutdown.clone();
    let http = builder(&app);
    let slots = Arc::new(Semaphore::new(app.settings.http.max_connections));
    let metrics = app.metrics.clone();
    let router = router(app);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut upkeep = tokio::time::interval(METRICS_UPKEEP);
    loop {
        tokio::select! {
            (stream, peer, slot) = accept(&listener, &slots) => {
                let service = service(router.clone(), peer);
                let connection = graceful.watch(http.serve_connection(TokioIo::new(Impatient::new(stream, STILL_READER)), service));
                connections.spawn(async move {
                    // Clients that vanish, stall or talk nonsense are their own business.
                    let _closed = connection.await;
                    drop(slot);
                });
            }
            Some(_ended) = connections.join_next() => {}
            _ = upkeep.tick() => metrics.upkeep(),
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(LAST_ANSWERS, graceful.shutdown()).await.is_err() {
        tracing::warn!("some HTTP answers were cut off: they took more than 2 s to end");
    }
    connections.shutdown().await;
}

fn builder(app: &App) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(app.settings.http.header_timeout_secs))
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES);
    http
}

/// The next connection with a slot to hold it. At the limit the rest wait in the backlog; the header timeout
/// sees to it that idle ones make room.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, SocketAddr, Slot) {
    let slot = Arc::clone(slots).acquire_owned().await;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Events are small and wanted at once. Where it cannot be set, they come a little later.
                let _unset = stream.set_nodelay(true);
                return (stream, peer, slot);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn service(
    router: Router,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future = impl Future<Output = Result<axum::response::Response, Infallible>> + Send,
> {
    service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request)
    })
}
