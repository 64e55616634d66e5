//! A server that is a child process: its environment is what the agents file says, and it never outlives its connection.

use std::{collections::BTreeMap, process::Stdio, sync::Arc};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use crate::settings::Secret;

/// Files that a server may have open.
#[cfg(target_os = "linux")]
const MAX_OPEN_FILES: u64 = 1024;
/// Lines of its standard error that are logged; more are read and dropped, so that it does not block on them.
const MAX_LOGGED_LINES: usize = 200;
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

/// A child with everything it started. The child is not waited for before the kill: so its number stays its own.
#[derive(Clone)]
pub(super) struct Group(Arc<Mutex<Option<Child>>>);

impl Group {
    /// Ends every process of the group at once. Again: nothing.
    pub(super) fn kill(&self) {
        let Some(child) = self.0.lock().take() else { return };
        if let Some(pid) = child.id().and_then(pid) {
            // Without an answer there is nobody left to kill.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        // Dropped here, it is collected in the background.
    }
}

/// A started program with its pipes.
pub(super) struct Started {
    pub(super) group: Group,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

/// Starts the program of `server` in a group of its own.
///
/// # Errors
/// Why it cannot be started.
pub(super) fn start(server: &str, program: &Program) -> Result<Started, String> {
    let (name, arguments) = program.command.split_first().ok_or("its command is empty")?;
    let mut command = Command::new(name);
    command.args(arguments).env_clear().envs(program.env.iter().map(|(key, value)| (key, value.expose_secret())));
    if let Some(cwd) = &program.cwd {
        command.current_dir(cwd);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    command.process_group(0);
    let mut child =
        command.kill_on_drop(true).spawn().map_err(|error| format!("{name:?} cannot be started: {error}"))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let limited = limit(&child, program);
    let group = Group(Arc::new(Mutex::new(Some(child))));
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        group.kill();
        return Err(format!("{name:?} has no pipes"));
    };
    if let Err(error) = limited {
        group.kill();
        return Err(format!("{name:?} cannot be limited: {error}"));
    }
    tokio::spawn(log(server.to_owned(), stderr));
    Ok(Started { group, stdin, stdout })
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// No core files, few descriptors, and as much memory as the agents file allows.
#[cfg(target_os = "linux")]
fn limit(child: &Child, program: &Program) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, prlimit};
    let Some(pid) = child.id().and_then(pid) else { return Ok(()) };
    let memory = program.memory_mb.map(|mb| (Resource::As, mb.saturating_mul(1 << 20)));
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
fn limit(_: &Child, program: &Program) -> Result<(), String> {
    match program.memory_mb {
        Some(_) => Err("memory_mb needs Linux".into()),
        None => Ok(()),
    }
}

/// What a server says beside the protocol, for whoever looks for its faults.
async fn log(server: String, stderr: ChildStderr) {
    let mut lines = BufReader::new(stderr);
    for _ in 0..MAX_LOGGED_LINES {
        let mut line = Vec::new();
        match (&mut lines).take(MAX_LOGGED_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tracing::info!(server, said = %String::from_utf8_lossy(&line).trim_end(), "an MCP server said"),
        }
    }
    tracing::info!(server, "an MCP server says more than is logged");
    let mut rest = vec![0; 8 << 10];
    while lines.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
