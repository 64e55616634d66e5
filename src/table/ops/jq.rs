//! `jq_transform`: a jq program over the whole table.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Operation,
    jq_program::{Outputs, Program},
};
use crate::table::{
    Body, Format, TableError,
    plan::{Checker, Columns, Compiler, Spec},
    read::{Document, Source},
    run::{Cx, Data, Table},
};

/// Runs a jq program on the whole table. One array out becomes the rows; several values become rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JqSpec {
    /// Like `map(select(.price < 100))`.
    query: String,
}

impl Spec for JqSpec {
    const NAME: &'static str = "jq_transform";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let wrong = |why: String| TableError::invalid(why).with_field("query").with_found(self.query.clone());
        let query = self.query.clone();
        let compile = move || Program::compile(&query);
        let thread = thread::Builder::new().name("jq".into()).stack_size(COMPILER_STACK_BYTES).spawn(compile);
        let compiled = thread.map_err(|error| wrong(format!("no thread to read the jq program: {error}")))?.join();
        match compiled {
            Ok(program) => Ok(Box::new(Jq { program: Arc::new(program.map_err(wrong)?) })),
            Err(_) => Err(wrong("the jq program cannot be read".into())),
        }
    }
}

struct Jq {
    program: Arc<Program>,
}

/// Largest table that a program is given: its values take some twenty times the text.
const MAX_INPUT_BYTES: usize = 64 << 20;

/// Stack of the program's thread. Only touched pages cost memory; programs nest as deep as their data.
const STACK_BYTES: usize = 512 << 20;

/// Stack of the thread that reads a program: parser and compiler recurse over its nesting.
const COMPILER_STACK_BYTES: usize = 64 << 20;

/// How often the waiting side looks whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Operation for Jq {
    fn columns(&self, _before: Columns, _checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        Ok(Columns::Unknown)
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let input = whole_text(table, cx)?;
        if input.len() > MAX_INPUT_BYTES {
            return Err(TableError::limit(format!(
                "the table has {} bytes, jq_transform takes at most {MAX_INPUT_BYTES}: filter or select earlier",
                input.len()
            )));
        }
        let outputs = self.on_its_own_thread(input, cx)?;
        let source = Source::given("what the jq program gave");
        let text: Bytes = match <[Vec<u8>; 1]>::try_from(outputs) {
            Ok([single]) => single.into(),
            Err(several) => [b"[".as_slice(), &several.join(&b','), b"]"].concat().into(),
        };
        let body = Body { bytes: text, format: Format::Json };
        Ok(vec![Document::open(&body, source)?].into())
    }
}

impl Jq {
    /// Runs the program where it may use a deep stack, and where it can be left behind if it does not stop.
    fn on_its_own_thread(&self, input: Bytes, cx: &Cx<'_>) -> Result<Outputs, TableError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let (program, stopped, limits) = (Arc::clone(&self.program), Arc::clone(&stop), *cx.limits);
        let work = move || {
            // The other side may have gone: then nobody wants the answer.
            let _ = sender.send(program.run(&input, stopped, &limits));
        };
        thread::Builder::new()
            .name("jq".into())
            .stack_size(STACK_BYTES)
            .spawn(work)
            .map_err(|error| TableError::failed(format!("no thread for the jq program: {error}")))?;
        loop {
            match receiver.recv_timeout(LOOK_EVERY) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => cx.control.check().inspect_err(|_| {
                    stop.store(true, Ordering::Relaxed);
                })?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(TableError::failed("the jq program broke off").with_field("query"));
                }
            }
        }
    }
}

/// The table as one JSON text.
fn whole_text(table: Table, cx: &mut Cx<'_>) -> Result<Bytes, TableError> {
    match &table.data {
        Data::Documents(_) => Ok(table.into_left(cx)?.into_json().bytes().clone()),
        Data::Rows(_) => Ok(table.into_rows(cx)?.to_json().bytes().clone()),
    }
}
