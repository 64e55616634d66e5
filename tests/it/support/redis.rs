//! A private redis-server on a free port.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use agent_runner::settings::Settings;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisResult, aio::MultiplexedConnection};
use tempfile::TempDir;

/// A server of our own; dropping it kills it, by its process id.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    dir: TempDir,
    options: Vec<String>,
}

impl Redis {
    /// A server without persistence.
    pub(crate) fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// A server with these options. It answers when this returns.
    pub(crate) fn with(options: &[&str]) -> Self {
        Self::of(&["--save", ""], options)
    }

    /// One with these leading arguments (a configuration file, `--sentinel`) and options.
    pub(crate) fn of(first: &[&str], options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options: Vec<String> = first.iter().chain(options).map(|option| (*option).to_owned()).collect();
        for _ in 0..20 {
            let port = free_port();
            if let Some(child) = spawn(port, dir.path(), &options) {
                return Self { child, port, dir, options };
            }
        }
        panic!("redis-server does not start: is it installed?");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Settings for this server with quick leases.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = quick();
        settings.redis.url = self.url().into();
        settings
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts again on the same port with the same data.
    pub(crate) fn start_again(&mut self) {
        for _ in 0..200 {
            if let Some(child) = spawn(self.port, self.dir.path(), &self.options) {
                self.child = child;
                return;
            }
        }
        panic!("redis-server does not start again");
    }

    /// Stops (`STOP`) or continues (`CONT`) the process.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        self.try_connection().await.unwrap()
    }

    pub(crate) async fn try_connection(&self) -> RedisResult<MultiplexedConnection> {
        // Blocking commands of a test may wait longer than the client's default patience.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(90)));
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Runs one command: `redis.run(&["LLEN", "agent:jobs"])`.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_run(words).await.unwrap()
    }

    pub(crate) async fn try_run<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.try_connection().await?).await
    }

    /// Pushes a raw message as a producer does.
    pub(crate) async fn push(&self, message: &[u8]) {
        let mut connection = self.connection().await;
        let _: i64 = redis::cmd("RPUSH").arg("agent:jobs").arg(message).query_async(&mut connection).await.unwrap();
    }
}

impl Redis {
    /// Adds a token to the stream as an orchestrator does.
    pub(crate) async fn add_token(&self, token: &[u8]) {
        let mut connection = self.connection().await;
        let mut add = redis::cmd("XADD");
        add.arg("wf.tasks.agent").arg("*").arg("token").arg(token);
        let _: String = add.query_async(&mut connection).await.unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Settings with leases of four seconds, renewed so early that a process which waits for a processor keeps them.
pub(crate) fn quick() -> Settings {
    let mut settings = Settings::default();
    settings.queue.lease_secs = 4;
    settings.queue.renew_secs = 1;
    settings.queue.sweep_secs = 1;
    settings.queue.block_secs = 1;
    settings
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_ready(line: String) -> bool {
    line.contains("Ready to accept connections") || line.contains("Sentinel ID is")
}

/// Starts a server and waits until it accepts connections; nothing when it ended instead (the port was taken).
fn spawn(port: u16, dir: &Path, options: &[String]) -> Option<Child> {
    let tls = options.iter().any(|option| option == "--tls-cert-file");
    let port = port.to_string();
    let mut child = Command::new("redis-server")
        .args(options)
        .args(["--bind", "127.0.0.1", "--dir"])
        .arg(dir)
        .args(if tls { ["--port", "0", "--tls-port", &port] } else { ["--port", &port, "--tls-port", "0"] })
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed: install it with the system's package manager");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(is_ready);
    if ready {
        // Nobody reads on: the server must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        return Some(child);
    }
    let _ = child.wait();
    None
}
