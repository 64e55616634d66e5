//! A web site on loopback that answers as each test says and records what came.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Visit {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Visit {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

pub type Reply = Response<BoxBody<Bytes, Infallible>>;

type Handler = dyn Fn(&Visit) -> Reply + Send + Sync;

/// A running site; it stops when it is dropped.
pub struct Site {
    address: SocketAddr,
    visits: Arc<Mutex<Vec<Visit>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Site {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start(handler: impl Fn(&Visit) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at((IpAddr::from([127, 0, 0, 1]), 0).into(), handler).await.unwrap()
    }

    /// Starts at `address`; none where it is taken.
    pub async fn start_at(
        address: SocketAddr,
        handler: impl Fn(&Visit) -> Reply + Send + Sync + 'static,
    ) -> Option<Self> {
        let listener = TcpListener::bind(address).await.ok()?;
        let address = listener.local_addr().unwrap();
        let (visits, connections) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let (seen, counter) = (Arc::clone(&visits), Arc::clone(&connections));
        let handler: Arc<Handler> = Arc::new(handler);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&seen), Arc::clone(&handler), request));
                    // Clients that go away in the middle are part of the tests.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Some(Self { address, visits, connections, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn visits(&self) -> Vec<Visit> {
        self.visits.lock().clone()
    }

    /// Connections made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn answer(
    seen: Arc<Mutex<Vec<Visit>>>,
    handler: Arc<Handler>,
    request: Request<Incoming>,
) -> Result<Reply, hyper::Error> {
    let (parts, body) = request.into_parts();
    let visit = Visit {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: body.collect().await?.to_bytes(),
    };
    seen.lock().push(visit.clone());
    Ok(handler(&visit))
}

/// An answer with a body.
pub fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into()).boxed()).unwrap()
}

/// An answer whose body never ends.
pub fn endless() -> Reply {
    let chunks = futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10]))));
    Response::new(BodyExt::boxed(StreamBody::new(chunks)))
}

/// An answer whose body never begins.
pub fn silent() -> Reply {
    Response::new(BodyExt::boxed(StreamBody::new(futures::stream::pending())))
}
