//! Between the runner and a server that is a child process: this program once more, which outlives the runner by a
//! moment and takes the server, and all that it started, with it.
//!
//! The runner ends its servers itself, but for a `kill -9`. The guard is told of that by the kernel: the writing end of
//! its standard input, which is the server's too, is the runner's alone and is closed with it.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ExitCode, ExitStatus},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, kill_current_process_group, setpgid},
};
use tokio::process::Command;

use super::process::{Program, limit};

/// The first argument of a guard.
const NAME: &str = "__mcp-guard";
/// Its option for the server's memory.
const MEMORY: &str = "--memory-mb";
/// A guard ends with this where its server cannot be started, as shells do.
pub(super) const NOT_STARTED: i32 = 127;
/// How long a server may take to end by itself when its input has ended. The runner is quicker where it is there.
const GRACE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The program that knows how to be a guard: this one, also where its file was replaced since.
#[must_use]
pub fn guard_program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let known = Path::new("/proc/self/exe");
    if own.exists() { Some(own) } else { known.exists().then(|| known.to_owned()) }
}

/// How the guard of `program` is started.
pub(super) fn command(guard: &Path, program: &Program) -> Command {
    let mut command = Command::new(guard);
    command.arg(NAME);
    if let Some(mb) = program.memory_mb {
        command.arg(MEMORY).arg(mb.to_string());
    }
    command.arg("--").args(&program.command);
    command
}

/// Is a guard, where these arguments of the process say so, and gives the exit code of what it guarded. `tell` is told
/// why that could not be started.
#[must_use]
pub fn guard(arguments: impl IntoIterator<Item = OsString>, tell: impl Fn(&str)) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != NAME {
        return None;
    }
    let mut memory_mb = None;
    for option in arguments.by_ref() {
        if option == "--" {
            break;
        }
        memory_mb = option.to_str().and_then(|mb| mb.parse().ok()).or(memory_mb);
    }
    let code = match start(arguments.collect(), memory_mb) {
        Ok(child) => wait(child),
        Err(why) => {
            tell(&why);
            NOT_STARTED
        }
    };
    Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Starts the server in the group of the guard, with its standard streams, environment and folder.
fn start(command: Vec<OsString>, memory_mb: Option<u64>) -> Result<Child, String> {
    let (name, arguments) = command.split_first().ok_or("no command to guard")?;
    // It leads a group already where the runner started it; nobody else's group must end with it.
    let _ = setpgid(None, None);
    let child = std::process::Command::new(name).args(arguments).spawn();
    let mut child = child.map_err(|error| format!("{} cannot be started: {error}", name.display()))?;
    if let Err(error) = limit(child.id(), memory_mb) {
        let _ = child.kill();
        return Err(format!("{} cannot be limited: {error}", name.display()));
    }
    Ok(child)
}

fn wait(mut child: Child) -> i32 {
    // The output ends when the server closes it: it is not held open here.
    if let Ok(nowhere) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(nowhere);
    }
    std::thread::spawn(end_with_the_runner);
    let code = child.wait().map_or(NOT_STARTED, code);
    if has_lost_the_runner(Some(&Timespec::default())) {
        let _ = kill_current_process_group(Signal::KILL);
    }
    // The runner ends whatever the server leaves behind, now that its guard is gone.
    code
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(NOT_STARTED)
}

/// Waits for the end of the runner, and ends the group, this process with it.
fn end_with_the_runner() {
    while !has_lost_the_runner(None) {}
    while let Err(rustix::io::Errno::INTR) = poll(&mut [], Some(&GRACE)) {}
    let _ = kill_current_process_group(Signal::KILL);
}

/// Waits `at_most` so long until nobody can write to the standard input any more. No events are asked for: that the
/// other end is closed is told all the same, and nothing is read.
fn has_lost_the_runner(at_most: Option<&Timespec>) -> bool {
    let input = std::io::stdin();
    let mut ends = [PollFd::new(&input, PollFlags::empty())];
    poll(&mut ends, at_most).is_ok_and(|ended| ended > 0)
}
