//! A connection that is opened when needed and replaced when it failed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::Mutex;

use super::{
    connect::{Conn, Connector},
    scripts,
};
use crate::{
    queue::{QueueError, count},
    settings,
};

/// One connection to Redis for one purpose: a single server, the primary that Sentinels name, or a cluster.
pub(crate) struct Link {
    connector: Arc<Connector>,
    response_timeout: Duration,
    conn: Mutex<Option<(u64, Conn)>>,
    opened: AtomicU64,
    /// Its commands wait for something to come: how long they take says nothing about Redis.
    waits: bool,
}

/// One answer to one command.
pub(crate) type Answer = RedisResult<Value>;

impl Link {
    /// A link to `redis.url`. Nothing is dialled before the first command.
    pub(crate) fn to(redis: &settings::Redis) -> Result<Self, QueueError> {
        let connector = Connector::new(redis)?;
        let patience = connector.response_timeout;
        Ok(Self::new(Arc::new(connector), patience))
    }

    pub(super) fn new(connector: Arc<Connector>, response_timeout: Duration) -> Self {
        Self { connector, response_timeout, conn: Mutex::default(), opened: AtomicU64::new(0), waits: false }
    }

    /// A link for commands that block.
    pub(super) fn waiting(connector: Arc<Connector>, response_timeout: Duration) -> Self {
        Self { waits: true, ..Self::new(connector, response_timeout) }
    }

    /// Runs commands in one round trip. An error means that nothing is known about any of them; the connection
    /// is then replaced, and the next call uses the new one.
    pub(crate) async fn run(&self, commands: impl IntoIterator<Item = Cmd>) -> RedisResult<Vec<Answer>> {
        Ok(self.run_on(None, pipeline(commands)).await?.1)
    }

    /// Runs commands in one round trip on the connection of this generation and no other, where one is given. Says
    /// which it was.
    pub(super) async fn run_on(&self, bound_to: Option<u64>, commands: Pipeline) -> RedisResult<(u64, Vec<Answer>)> {
        let (generation, mut conn) = self.get().await?;
        if bound_to.is_some_and(|wanted| wanted != generation) {
            return Err((ErrorKind::Io, "the connection was replaced").into());
        }
        let began = Instant::now();
        let answers = conn.run(&commands).await;
        if !self.waits {
            count::roundtrip(began.elapsed());
        }
        let mut answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                self.give_up(generation).await;
                return Err(error);
            }
        };
        self.teach(&mut conn, &commands, &mut answers).await?;
        if answers.iter().any(|answer| answer.as_ref().is_err_and(is_demoted)) {
            self.give_up(generation).await;
        }
        Ok((generation, answers))
    }

    /// Runs one command.
    pub(super) async fn one(&self, command: Cmd) -> Answer {
        self.run([command]).await?.pop().unwrap_or(Ok(Value::Nil))
    }

    /// How often a connection was opened: it changes with every reconnect.
    pub(crate) fn generation(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Sends again, with their text, the scripts the server did not know.
    async fn teach(&self, conn: &mut Conn, commands: &Pipeline, answers: &mut [Answer]) -> RedisResult<()> {
        let unknown: Vec<usize> =
            (0..answers.len()).filter(|i| answers[*i].as_ref().is_err_and(|e| e.code() == Some("NOSCRIPT"))).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let again = pipeline(unknown.iter().filter_map(|i| scripts::with_text(commands.cmd_iter().nth(*i)?)));
        for (i, answer) in unknown.into_iter().zip(conn.run(&again).await?) {
            answers[i] = answer;
        }
        Ok(())
    }

    async fn get(&self) -> RedisResult<(u64, Conn)> {
        let mut slot = self.conn.lock().await;
        if let Some(open) = &*slot {
            return Ok(open.clone());
        }
        let conn = self.connector.open(self.response_timeout).await?;
        let generation = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        *slot = Some((generation, conn.clone()));
        Ok((generation, conn))
    }

    /// Drops the connection, unless someone has replaced it already. An answer may still be on its way on the
    /// old one, so it is never used again.
    pub(super) async fn give_up(&self, generation: u64) {
        let mut slot = self.conn.lock().await;
        if slot.as_ref().is_some_and(|(current, _)| *current == generation) {
            *slot = None;
        }
    }
}

/// Commands for one round trip, each with an answer or an error of its own.
pub(super) fn pipeline(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    commands.into_iter().for_each(|command| {
        pipeline.add_command(command);
    });
    pipeline.ignore_errors();
    pipeline
}

/// The server is no primary any more: the right one has to be found again.
fn is_demoted(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "UNBLOCKED" | "MASTERDOWN" | "CLUSTERDOWN"))
}

/// Whether the server cannot be asked now, and can be later: it is gone, starts, or is no primary.
pub(crate) fn is_away(error: &RedisError) -> bool {
    let starting = matches!(error.code(), Some("LOADING" | "TRYAGAIN" | "NOREPLICAS" | "NOQUORUM"));
    let nobody = matches!(error.kind(), ErrorKind::ClusterConnectionNotFound | ErrorKind::MasterNameNotFoundBySentinel);
    error.is_io_error() || starting || nobody || is_demoted(error)
}

/// Whether waiting may help: everything but a key of the wrong type or a command that is not allowed.
pub(super) fn is_passing(error: &RedisError) -> bool {
    !matches!(error.code(), Some("WRONGTYPE" | "NOPERM" | "ERR"))
}

impl From<RedisError> for QueueError {
    fn from(error: RedisError) -> Self {
        Self(format!("redis: {error}"))
    }
}

/// Waits that grow from 50 ms to 2 s, with full jitter above half.
#[derive(Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let top = 50u64 << self.0.min(6);
        self.0 += 1;
        let top = top.min(2000);
        Duration::from_millis(rand::random_range(top / 2..=top))
    }

    /// Starts over after a success.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}
