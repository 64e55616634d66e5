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
