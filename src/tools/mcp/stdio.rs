//! The transport to a child process: one message a line, each bounded, and noise passed over.

use std::{io, pin::pin, time::Duration};

use rmcp::{
    RoleClient,
    model::{ServerJsonRpcMessage, ServerResult},
    service::TxJsonRpcMessage,
    transport::Transport,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Listed, MAX_MESSAGE_BYTES,
    blocks::readable,
    process::{Group, Started},
    result,
};

/// Lines that are no message before a server counts as broken: many print a greeting where only messages belong.
const MAX_NOISE_LINES: usize = 100;
/// Messages under way in one direction.
const QUEUE: usize = 64;
/// How long a server may take to end by itself when its input ends.
const GRACE: Duration = Duration::from_millis(500);

/// The pipes of a child process.
pub(super) struct Pipes {
    outgoing: Option<mpsc::Sender<Vec<u8>>>,
    incoming: mpsc::Receiver<ServerJsonRpcMessage>,
    reader: JoinHandle<()>,
    group: Group,
}

impl Pipes {
    /// Speaks with `started`.
    pub(super) fn new(server: &str, started: Started) -> Self {
        let Started { group, stdin, stdout } = started;
        let (outgoing, to_write) = mpsc::channel(QUEUE);
        let (to_read, incoming) = mpsc::channel(QUEUE);
        tokio::spawn(write(stdin, to_write));
        let reader = tokio::spawn(read(server.to_owned(), stdout, to_read, group.gone().clone()));
        Self { outgoing: Some(outgoing), incoming, reader, group }
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.reader.abort();
        self.group.kill();
    }
}

impl Transport<RoleClient> for Pipes {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let outgoing = self.outgoing.clone();
        async move {
            let mut line = serde_json::to_vec(&item).map_err(io::Error::other)?;
            line.push(b'\n');
            let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the server's input is closed");
            outgoing.ok_or_else(gone)?.send(line).await.map_err(|_| gone())
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        self.incoming.recv().await
    }

    /// Ends its input, gives it a moment, and then ends it with all it started.
    async fn close(&mut self) -> Result<(), io::Error> {
        self.outgoing = None;
        self.incoming.close();
        let _ = tokio::time::timeout(GRACE, &mut self.reader).await;
        self.group.kill();
        Ok(())
    }
}

/// What one line of a server comes to.
#[derive(Debug)]
pub enum Frame {
    /// No message.
    Noise,
    /// A list of tools, as far as they are within limits.
    Tools(Listed),
    /// The words of a tool's answer.
    Words(String),
    /// Any other message.
    Other,
}

/// Reads what a server wrote, line by line, up to a line that breaks the bound: without a server, for whoever wants to
/// prove the reader.
pub async fn frames(mut written: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Ok(Some(line)) = line(&mut written).await {
        frames.push(match serde_json::from_slice::<ServerJsonRpcMessage>(&readable(&line)) {
            Err(_) => Frame::Noise,
            Ok(ServerJsonRpcMessage::Response(response)) => match response.result {
                ServerResult::ListToolsResult(list) => Frame::Tools(Listed::read("server", &list.tools)),
                ServerResult::CallToolResult(called) => Frame::Words(result::read(&called).text),
                _ => Frame::Other,
            },
            Ok(_) => Frame::Other,
        });
    }
    frames
}

/// Writes whole messages: who sends one may go away in the middle.
async fn write(mut stdin: ChildStdin, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        if stdin.write_all(&message).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Reads until the output ends, or the process: one that it started may hold the output open.
async fn read(
    server: String,
    stdout: ChildStdout,
    messages: mpsc::Sender<ServerJsonRpcMessage>,
    gone: CancellationToken,
) {
    let mut reader = BufReader::new(stdout);
    let mut noise = 0_usize;
    let mut last = None;
    loop {
        let line = match next(&mut reader, &gone, &mut last).await {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(server, %error, "an MCP server broke the protocol and is ended");
                return;
            }
        };
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<ServerJsonRpcMessage>(&readable(&line)) {
            Ok(message) => {
                if messages.send(message).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                noise += 1;
                tracing::debug!(server, %error, "an MCP server wrote something that is no message");
                if noise > MAX_NOISE_LINES {
                    tracing::warn!(server, "an MCP server writes only noise and is ended");
                    return;
                }
            }
        }
    }
    // How it ended is known a moment after its output has.
    let _ = tokio::time::timeout(GRACE, gone.cancelled()).await;
}

/// The next line; of a process that is gone, what it had written before, until `last`.
async fn next(
    reader: &mut (impl AsyncBufRead + Unpin),
    gone: &CancellationToken,
    last: &mut Option<Instant>,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = pin!(line(reader));
    tokio::select! {
        biased;
        line = &mut line, if last.is_none() => return line,
        () = gone.cancelled() => {}
    }
    let until = *last.get_or_insert_with(|| Instant::now() + GRACE);
    tokio::time::timeout_at(until, line).await.unwrap_or(Ok(None))
}

/// The next line without its end; nothing at the end of the stream.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let piece = reader.fill_buf().await?;
        if piece.is_empty() {
            return Ok((!line.is_empty()).then_some(line));
        }
        let end = memchr::memchr(b'\n', piece);
        let taken = end.unwrap_or(piece.len());
        if line.len() + taken > MAX_MESSAGE_BYTES {
            return Err(io::Error::other(format!("a message of more than {MAX_MESSAGE_BYTES} bytes")));
        }
        line.extend_from_slice(&piece[..taken]);
        reader.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_and_may_come_in_pieces() {
        let long = vec![b'x'; MAX_MESSAGE_BYTES + 1];
        type Row<'a> = (&'a [u8], &'a [&'a [u8]], bool);
        let rows: [Row<'_>; 5] = [
            (b"a\nbc\n", &[b"a", b"bc"], true),
            (b"a\nrest", &[b"a", b"rest"], true),
            (b"\n\n", &[b"", b""], true),
            (b"", &[], true),
            (&long, &[], false),
        ];
        for (bytes, expected, ends_well) in rows {
            let mut reader = BufReader::with_capacity(3, bytes);
            let mut lines = Vec::new();
            let ended = loop {
                match line(&mut reader).await {
                    Ok(Some(line)) => lines.push(line),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            assert_eq!((lines.iter().map(Vec::as_slice).collect::<Vec<_>>(), ended), (expected.to_vec(), ends_well));
        }
    }

    #[tokio::test]
    async fn lines_are_noise_or_messages_within_limits() {
        let written = b"hello\n[]\n\
            {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[{\"name\":\"\",\"inputSchema\":{}},{\"name\":\"q\",\"inputSchema\":{}}]}}\n\
            {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}}\n\
            {\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":1,\"message\":\"x\"}}\n";
        let read: Vec<String> = frames(written)
            .await
            .into_iter()
            .map(|frame| match frame {
                Frame::Tools(listed) => format!("{} tools, {} left out", listed.tools.len(), listed.left_out.len()),
                frame => format!("{frame:?}"),
            })
            .collect();
        assert_eq!(read, ["Noise", "Noise", "1 tools, 1 left out", "Words(\"a\")", "Other"]);
    }
}
