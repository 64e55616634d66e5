//! A private PostgreSQL cluster on a free port.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;

use super::{redis::free_port, service::signal};

/// A server of our own; dropping it stops it, by its process id.
pub struct Postgres {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Postgres {
    /// An empty cluster that answers.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same over TLS alone, with a certificate of its own for 127.0.0.1 and no other name.
    pub fn start_encrypted() -> Self {
        Self::start_with(|data| {
            certify(data);
            let trusting = "hostssl all all 127.0.0.1/32 trust\n";
            std::fs::write(data.join("pg_hba.conf"), trusting).unwrap();
            let settings = OpenOptions::new().append(true).open(data.join("postgresql.conf"));
            settings.unwrap().write_all(b"ssl = on\n").unwrap();
        })
    }

    fn start_with(prepare: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        // The server refuses to run as root.
        if is_root() {
            let status = Command::new("chown").arg("postgres").arg(dir.path()).status().unwrap();
            assert!(status.success(), "chown");
        }
        let made = program("initdb", dir.path())
            .args(["--auth=trust", "--username=agent", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        prepare(&data);
        for _ in 0..20 {
            let port = free_port();
            if let Some(child) = spawn(port, dir.path()) {
                return Self { child, port, dir };
            }
        }
        panic!("postgres does not start");
    }

    /// The certificate of an encrypted server.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("data/server.crt")
    }

    pub fn url(&self) -> String {
        format!("postgres://agent@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops it; everybody is cut off.
    pub fn stop(&mut self) {
        signal(self.child.id(), "INT");
        self.child.wait().unwrap();
    }

    /// Starts again on the same port with the same data.
    pub fn start_again(&mut self) {
        for _ in 0..200 {
            if let Some(child) = spawn(self.port, self.dir.path()) {
                self.child = child;
                return;
            }
        }
        panic!("postgres does not start again");
    }

    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(2).connect(&self.url()).await.unwrap()
    }

    /// Job and document of every row, once there are `n`.
    pub async fn rows(&self, n: usize) -> Vec<(String, String)> {
        let pool = self.pool().await;
        loop {
            let rows: Result<Vec<(String, String)>, _> =
                sqlx::query_as("SELECT job_id, document::text FROM agent_results ORDER BY job_id")
                    .fetch_all(&pool)
                    .await;
            // Before the service has made the table there is none.
            match rows {
                Ok(rows) if rows.len() >= n => return rows,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        // At once, and its children with it.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A key and a certificate signed with it, where the server looks for them.
fn certify(data: &Path) {
    let (key, certificate) = (data.join("server.key"), data.join("server.crt"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=agent-runner test", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    if is_root() {
        let status = Command::new("chown").arg("postgres").args([&key, &certificate]).status().unwrap();
        assert!(status.success(), "chown");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of the server's package, as somebody who may run it.
fn program(name: &str, dir: &Path) -> Command {
    let path = found(name);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

/// Where the newest server that is installed has it.
fn found(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    paths.retain(|path| path.exists());
    paths.sort();
    let elsewhere = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map(|folder| Path::new(folder).join(name));
    let elsewhere = elsewhere.into_iter().find(|path| path.exists());
    paths.pop().or(elsewhere).unwrap_or_else(|| panic!("{name} is needed: scripts/install-postgres.sh"))
}

/// Starts the server and waits until it accepts connections; nothing when it ended instead (the port was taken).
fn spawn(port: u16, dir: &Path) -> Option<Child> {
    let mut child = program("postgres", dir)
        .arg("-D")
        .arg(dir.join("data"))
        .arg("-k")
        .arg(dir)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
        .args(["-c", "shared_buffers=16MB", "-c", "max_connections=20", "-c", "logging_collector=off"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept connections"));
    if ready {
        // Nobody reads on: the server must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        return Some(child);
    }
    let _ = child.wait();
    None
}
