//! The binary: everything is in the library.

use std::process::ExitCode;

/// Small allocations from many threads are what a job is made of; this allocator is good at them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    agent_runner::cli::main()
}
