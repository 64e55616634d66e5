//! The real program as a child process.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use serde_json::Value;

/// Longest wait for anything in a test: generous, since a wait ends as soon as its condition holds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `agent-runner serve`; killed when dropped.
pub struct Service {
    child: Child,
    /// Where its HTTP side listens.
    pub http: SocketAddr,
    log: Receiver<Value>,
    said: Arc<Mutex<String>>,
}

impl Service {
    /// Starts `serve` with `args`, configured by `env` alone, on a free HTTP port, and waits until it is ready.
    pub fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut service = Self::spawn(args, env);
        let ready = service.wait_for_log("ready");
        service.http = text_of(&ready, "bind").parse().unwrap();
        service
    }

    /// The same with at most so many open files.
    pub fn start_with_files(files: u32, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), PROGRAM]);
        let mut service = Self::spawn_as(alone(shell, env), args);
        let ready = service.wait_for_log("ready");
        service.http = text_of(&ready, "bind").parse().unwrap();
        service
    }

    /// Starts it and waits for nothing: it may die before it is ready.
    pub fn spawn(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn_as(program(env), args)
    }

    fn spawn_as(mut program: Command, args: &[&str]) -> Self {
        let mut child = program
            .arg("serve")
            .args(args)
            .env("AGENT_RUNNER__HTTP__BIND", "127.0.0.1:0")
            .env("AGENT_RUNNER__TELEMETRY__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Reading to the end keeps the child from ever waiting on a full pipe.
        let said = Arc::new(Mutex::new(String::new()));
        let all = said.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut all = all.lock().unwrap();
                all.push_str(&line);
                all.push('\n');
                drop(all);
                let _ = send.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Self { child, http: SocketAddr::from(([127, 0, 0, 1], 0)), log, said }
    }

    /// Waits for a log line with this message and gives it.
    pub fn wait_for_log(&mut self, message: &str) -> Value {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if text_of(&line, "message").contains(message) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no log line {message:?} ({error}); seen: {seen:#?}"),
            }
        }
    }

    /// Everything it has written to standard error.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The most memory it ever had, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The address of a path of its HTTP side.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A member of a log line, wherever the format puts it.
fn text_of(line: &Value, key: &str) -> String {
    let found = line.get(key).or_else(|| line["fields"].get(key));
    found.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Sends a signal by name (`TERM`, `KILL`, `STOP`, `CONT`).
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_agent-runner");

/// The program with nothing of this environment but what it needs to start.
fn program(env: &[(&str, &str)]) -> Command {
    alone(Command::new(PROGRAM), env)
}

fn alone(mut command: Command, env: &[(&str, &str)]) -> Command {
    command.env_clear().current_dir(std::env::temp_dir()).envs(env.iter().copied());
    command
}

/// Runs a command of the program to its end, with `input` on stdin.
pub fn command(args: &[&str], input: &str, env: &[(&str, &str)]) -> Output {
    let mut child = program(env)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read; the broken pipe is then its right.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
