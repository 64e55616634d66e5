//! What the process takes of its machine, under the names that Prometheus' own clients give.

use std::{
    fmt::Write,
    fs,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// When the metrics were installed, in seconds since the epoch: within moments of the start.
static STARTED: OnceLock<f64> = OnceLock::new();

/// Notes the start, once.
pub(super) fn begin() {
    STARTED.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
}

/// The metrics in the Prometheus text format. What a system does not tell is left out.
pub(super) fn text() -> String {
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    put("process_cpu_seconds_total", "counter", "CPU time of the process, in seconds", cpu_seconds());
    put("process_resident_memory_bytes", "gauge", "memory in RAM", memory(&status, "VmRSS:"));
    put("process_virtual_memory_bytes", "gauge", "memory that is mapped", memory(&status, "VmSize:"));
    put("process_open_fds", "gauge", "open files and sockets", open_files());
    put("process_max_fds", "gauge", "most files and sockets that may be open", most_files());
    put("process_start_time_seconds", "gauge", "when the process began, since the epoch", STARTED.get().copied());
    text
}

#[expect(clippy::cast_precision_loss, reason = "seconds of CPU time stay far below 2^53")]
fn cpu_seconds() -> Option<f64> {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Some(spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9)
}

/// A line of `/proc/self/status`, which counts in KiB.
fn memory(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^53 files open")]
fn open_files() -> Option<f64> {
    // One of them is the directory itself, while it is read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

#[expect(clippy::cast_precision_loss, reason = "a limit on files is far below 2^53")]
fn most_files() -> Option<f64> {
    Some(getrlimit(Resource::Nofile).current? as f64)
}
