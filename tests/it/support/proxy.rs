//! A TCP proxy that misbehaves on demand: latency, a cut inside a reply, silence.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// A running proxy; it stops when it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Faults {
    /// One way, in microseconds.
    latency: AtomicU64,
    cut: Mutex<Option<Cut>>,
    cuts_made: AtomicUsize,
    /// Connections that exist keep silent from now on.
    silence: Mutex<CancellationToken>,
}

/// Ends the connection inside the reply to the next request that contains `marker`.
#[derive(Clone)]
pub(crate) struct Cut {
    pub(crate) marker: Bytes,
    /// Bytes of the reply that still come through.
    pub(crate) after: usize,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Forwards to `upstream` from a free port.
    pub(crate) async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(Faults::default());
        let shared = faults.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let faults = shared.clone();
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(upstream).await {
                        carry(client, server, faults).await;
                    }
                });
            }
        });
        Self { port, faults, task }
    }

    /// Delays every byte so long in each direction, without holding up what follows.
    pub(crate) fn set_latency(&self, one_way: Duration) {
        self.faults.latency.store(u64::try_from(one_way.as_micros()).unwrap(), Ordering::Relaxed);
    }

    /// Arms a cut.
    pub(crate) fn cut(&self, cut: Cut) {
        *self.faults.cut.lock() = Some(cut);
    }

    /// Cuts that happened.
    pub(crate) fn cuts_made(&self) -> usize {
        self.faults.cuts_made.load(Ordering::Acquire)
    }

    /// Existing connections stay open and carry nothing any more; new ones work.
    pub(crate) fn silence(&self) {
        std::mem::take(&mut *self.faults.silence.lock()).cancel();
    }
}

async fn carry(client: TcpStream, server: TcpStream, faults: Arc<Faults>) {
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let silence = faults.silence.lock().clone();
    let left = Arc::new(Mutex::new(None));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = pass(from_client, to_server, faults.clone(), silence.clone(), Side::Request(left.clone()));
    let back = pass(from_server, to_client, faults, silence, Side::Reply(left));
    // Whichever side ends takes the other with it, as a broken connection does.
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// Bytes of the reply that may still pass, once a cut is under way.
type Left = Arc<Mutex<Option<usize>>>;

enum Side {
    Request(Left),
    Reply(Left),
}

async fn pass(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    faults: Arc<Faults>,
    silence: CancellationToken,
    side: Side,
) {
    let (send, receive) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let write = write(to, receive, silence);
    let read = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n) = from.read(&mut buffer).await {
            let mut bytes = &buffer[..n];
            let mut last = n == 0;
            match &side {
                Side::Request(left) => arm(&faults, left, bytes),
                Side::Reply(left) => {
                    if let Some(left) = left.lock().as_mut() {
                        last |= bytes.len() >= *left;
                        bytes = &bytes[..bytes.len().min(*left)];
                        *left -= bytes.len();
                    }
                }
            }
            let due = Instant::now() + Duration::from_micros(faults.latency.load(Ordering::Relaxed));
            let _ = send.send((due, Bytes::copy_from_slice(bytes)));
            if last {
                break;
            }
        }
        drop(send);
    };
    tokio::join!(read, write);
}

fn arm(faults: &Faults, left: &Left, request: &[u8]) {
    let mut cut = faults.cut.lock();
    let hit = cut.as_ref().is_some_and(|cut| memchr::memmem::find(request, &cut.marker).is_some());
    if let Some(cut) = cut.take_if(|_| hit) {
        *left.lock() = Some(cut.after);
        faults.cuts_made.fetch_add(1, Ordering::AcqRel);
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut receive: mpsc::UnboundedReceiver<(Instant, Bytes)>,
    silence: CancellationToken,
) {
    while let Some((due, bytes)) = receive.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        if silence.is_cancelled() {
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
