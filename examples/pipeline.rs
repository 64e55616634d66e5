//! Runs a pipeline over a file: `pipeline STEPS.json [DATA.json|csv|ndjson]`, result on stdout.
//!
//! The smallest use of the table engine as a library; the benchmarks run it as a whole process.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    thread,
};

use agent_runner::{
    job::RawJson,
    table::{Body, Control, Format, Inputs, Limits, Plan, run},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let steps = arguments.next().ok_or("usage: pipeline STEPS.json [DATA]")?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let limits = Limits { max_response_bytes: 1 << 30, max_table_bytes: 2 << 30, ..Limits::default() };
    let plan = Plan::parse(&RawJson::parse(std::fs::read(steps)?.into())?, &limits)?;
    let data = arguments.next().map(|path| read(&path, threads)).transpose()?;
    let format = Format::Auto;
    let body = data.map(|bytes| Body { bytes: bytes.into(), format });
    plan.check_body(body.as_ref())?;
    let control = Control { threads, ..Control::default() };
    let output = run(&plan, body.as_ref(), &Inputs::default(), &limits, &control)?;
    for warning in &output.warnings {
        eprintln!("warning: {warning}");
    }
    for stat in &output.steps {
        let rows = |count: Option<usize>| count.map_or("-".to_owned(), |count| count.to_string());
        let (taken, given) = (rows(stat.rows_in), rows(stat.rows_out));
        eprintln!("{}: {taken} -> {given} rows, {:.3} ms", stat.step, stat.duration_ms);
    }
    let mut out = io::stdout().lock();
    out.write_all(output.data.bytes())?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Reads a file, each thread its share: half of the time goes into mapping the memory.
fn read(path: &str, threads: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size];
    let share = size.div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts = bytes.chunks_mut(share).enumerate();
        let reads: Vec<_> = parts
            .map(|(i, part)| {
                scope.spawn({
                    let file = &file;
                    move || file.read_exact_at(part, (i * share) as u64)
                })
            })
            .collect();
        reads
            .into_iter()
            .try_for_each(|read| read.join().unwrap_or_else(|_| Err(io::Error::other("a reader broke off"))))
    })?;
    Ok(bytes)
}
