//! A server that is a child process: its environment is what the agents file says, and it never outlives its connection.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::guard;
use crate::settings::Secret;

/// Files that a server may have open.
#[cfg(target_os = "linux")]
const MAX_OPEN_FILES: u64 = 1024;
/// Lines of its standard error that are logged; more are read and dropped, so that it does not block on them.
const MAX_LOGGED_LINES: usize = 200;
/// Bytes from which on a value of the environment is hidden: shorter ones stand in any line.
const MIN_SECRET: usize = 6;
/// Bytes of one such line.
const MAX_LOGGED_LINE: u64 = 2 << 10;

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// Program and arguments.
    pub command: Vec<String>,
    /// All of its environment.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs; where this process runs, if absent.
    pub cwd: Option<String>,
    /// Address space in MiB, at most.
    pub memory_mb: Option<u64>,
}

/// A child with everything it started. The child is not collected before the kill: so its number stays its own.
#[derive(Clone)]
pub(super) struct Group(Arc<Watched>);

struct Watched {
    child: Mutex<Option<Child>>,
    gone: CancellationToken,
    code: OnceLock<i32>,
}

impl Group {
    fn of(child: Child) -> Self {
        let group = Self(Arc::new(Watched {
            child: Mutex::new(Some(child)),
            gone: CancellationToken::new(),
            code: OnceLock::new(),
        }));
        tokio::spawn(group.clone().watch());
        group
    }

    /// Ends every process of the group at once. Again: nothing.
    pub(super) fn kill(&self) {
        let Some(child) = self.0.child.lock().take() else { return };
        if let Some(pid) = child.id().and_then(pid) {
            self.has_ended(pid);
            // Without an answer there is nobody left to kill.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        self.0.gone.cancel();
        // Dropped here, it is collected in the background.
    }

    /// Fires when the child is gone, by itself or not; whoever it started is gone then, too.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.0.gone
    }

    /// How the child ended, where it did so by itself.
    pub(super) fn code(&self) -> Option<i32> {
        self.0.code.get().copied()
    }

    /// Waits for the child's end, which need not be the end of its output: a process that it started may hold that open.
    async fn watch(self) {
        let Ok(mut ends) = signal(SignalKind::child()) else { return };
        let Some(pid) = self.0.child.lock().as_ref().and_then(Child::id).and_then(pid) else { return };
        while !self.has_ended(pid) {
            tokio::select! {
                _ = ends.recv() => {}
                () = self.0.gone.cancelled() => return,
            }
        }
        self.kill();
    }

    /// Looks, and leaves the child to be collected later.
    fn has_ended(&self, pid: Pid) -> bool {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Ok(Some(status)) = waitid(WaitId::Pid(pid), how) else { return false };
        if let Some(code) = status.exit_status() {
            let _ = self.0.code.set(code);
        }
        true
    }
}

/// A started program with its pipes.
pub(super) struct Started {
    pub(super) group: Group,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

/// Starts the program of `server` in a group of its own; behind a guard where there is one.
///
/// # Errors
/// Why it cannot be started.
pub(super) fn start(server: &str, program: &Program, guard: Option<&Path>) -> Result<Started, String> {
    let (name, arguments) = program.command.split_first().ok_or("its command is empty")?;
    can_limit(program.memory_mb)?;
    let mut command = match guard {
        Some(guard) => guard::command(guard, program),
        None => {
            let mut command = Command::new(name);
            command.args(arguments);
            command
        }
    };
    command.env_clear().envs(program.env.iter().map(|(key, value)| (key, value.expose_secret())));
    if let Some(cwd) = &program.cwd {
        command.current_dir(cwd);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    let mut child =
        command.kill_on_drop(true).spawn().map_err(|error| format!("{name:?} cannot be started: {error}"))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // A guard limits what it starts, not itself.
    let limited = match child.id().filter(|_| guard.is_none()) {
        Some(id) => limit(id, program.memory_mb),
        None => Ok(()),
    };
    let group = Group::of(child);
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        group.kill();
        return Err(format!("{name:?} has no pipes"));
    };
    if let Err(error) = limited {
        group.kill();
        return Err(format!("{name:?} cannot be limited: {error}"));
    }
    tokio::spawn(log(server.to_owned(), stderr, program.env.values().cloned().collect()));
    Ok(Started { group, stdin, stdout })
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// No core files, few descriptors, and as much memory as the agents file allows.
#[cfg(target_os = "linux")]
pub(super) fn limit(id: u32, memory_mb: Option<u64>) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, prlimit};
    let Some(pid) = pid(id) else { return Ok(()) };
    let memory = memory_mb.map(|mb| (Resource::As, mb.saturating_mul(1 << 20)));
    let limits = [(Resource::Core, 0), (Resource::Nofile, MAX_OPEN_FILES)].into_iter().chain(memory);
    for (what, most) in limits {
        match prlimit(Some(pid), what, Rlimit { current: Some(most), maximum: Some(most) }) {
            // One that is gone already, or has less, needs no limit.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(rustix::io::Errno::PERM) if what != Resource::As => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// Elsewhere a process cannot be limited from outside.
#[cfg(not(target_os = "linux"))]
pub(super) fn limit(_: u32, memory_mb: Option<u64>) -> Result<(), String> {
    can_limit(memory_mb)
}

fn can_limit(memory_mb: Option<u64>) -> Result<(), String> {
    let can = cfg!(target_os = "linux") || memory_mb.is_none();
    if can { Ok(()) } else { Err("memory_mb needs Linux".into()) }
}

/// What a server says beside the protocol, for whoever looks for its faults.
/// Values that the server was given are not repeated.
async fn log(server: String, stderr: ChildStderr, given: Vec<Secret>) {
    let mut lines = BufReader::new(stderr);
    for _ in 0..MAX_LOGGED_LINES {
        let mut line = Vec::new();
        match (&mut lines).take(MAX_LOGGED_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let mut said = String::from_utf8_lossy(&line).trim_end().to_owned();
                for value in given.iter().map(|value| value.expose_secret().trim()) {
                    if value.len() >= MIN_SECRET {
                        said = said.replace(value, "***");
                    }
                }
                tracing::info!(server, %said, "an MCP server said");
            }
        }
    }
    tracing::info!(server, "an MCP server says more than is logged");
    let mut rest = vec![0; 8 << 10];
    while lines.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
