//! From the bytes of an answer to a whole reply, without I/O: server-sent events, chunks, tool-call deltas.

mod calls;
mod chunk;
mod printed;
mod reader;
mod sse;
#[cfg(test)]
mod tests;
mod think;

pub(super) use reader::{Assembled, Reader};

use super::{fault::Fault, message::ToolCall};
use crate::job::JobError;

/// Reads an answer from its pieces, as they come from a server: its words and calls, or why it is none. Without a
/// server, for whoever wants to prove the reader.
///
/// # Errors
/// `llm_*` as for an answer that was asked for.
pub fn decode(
    pieces: &[&[u8]],
    offered: &[&str],
    max_bytes: usize,
    show: &mut dyn FnMut(&str),
) -> Result<(String, Vec<ToolCall>), JobError> {
    let mut reader = Reader::new("model", "server", max_bytes);
    let mut read = || -> Result<Assembled, Fault> {
        for piece in pieces {
            reader.push(piece, show)?;
            if reader.is_done() {
                break;
            }
        }
        reader.finish(offered, show)
    };
    let reply = read().map_err(Fault::into_job_error)?;
    Ok((reply.text, reply.calls))
}
