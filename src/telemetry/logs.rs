//! Log lines to standard error, one event a line whatever is in it.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt, registry, util::SubscriberInitExt};

use super::Export;
use crate::settings::{LogFormat, Telemetry};

/// The filter in `telemetry.log` cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.log: {0}: write a level (info) or directives (info,agent_runner::queue=debug)")]
pub struct FilterError(String);

/// Starts logging to standard error as `telemetry.log` and `telemetry.format` say, and spans on their way to `export`. A
/// second call in one process only checks the filter.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(settings: &Telemetry, export: Option<&Export>) -> Result<(), FilterError> {
    // The MCP library repeats messages of servers in its own lines.
    let filter = EnvFilter::try_new(format!("rmcp=off,{}", settings.log)).map_err(|e| FilterError(e.to_string()))?;
    let ansi = settings.format == LogFormat::Text && io::stderr().is_terminal();
    let writer = Escaping { ansi, inner: io::stderr };
    let lines = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(writer);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let mut layers = vec![lines.with_filter(filter).boxed()];
    // What is exported does not depend on what is logged.
    layers.extend(export.map(|export| export.layer().boxed()));
    // The only error is that a subscriber stands already: tests start the program more than once.
    let _already = registry().with(layers).try_init().is_err();
    Ok(())
}

/// Makes writers that let no control character through, so that text from a job can neither start a line of
/// its own nor steer a terminal. Colours of the formatter pass where `ansi` is on: the formatter itself
/// escapes them in values.
pub(super) struct Escaping<M> {
    /// Whether escape characters come from the formatter.
    pub(super) ansi: bool,
    /// Where the text goes.
    pub(super) inner: M,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Escaping<M> {
    type Writer = EscapingWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapingWriter { ansi: self.ansi, inner: self.inner.make_writer() }
    }
}

/// Writes whole formatted events, as the subscriber hands them over in one piece each.
pub(super) struct EscapingWriter<W> {
    ansi: bool,
    inner: W,
}

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.chars().all(|c| self.passes(c)) {
            self.inner.write_all(event)?;
        } else {
            let mut clean = String::with_capacity(event.len() + 16);
            for c in line.chars() {
                if self.passes(c) { clean.push(c) } else { push_escaped(&mut clean, c) }
            }
            clean.push('\n');
            self.inner.write_all(clean.as_bytes())?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W> EscapingWriter<W> {
    fn passes(&self, c: char) -> bool {
        // Line and paragraph separators end a line for some readers; marks of direction make one read otherwise.
        let steers = matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        (!c.is_control() && !steers) || c == '\t' || (c == '\u{1b}' && self.ansi)
    }
}

fn push_escaped(out: &mut String, c: char) {
    use fmt::Write as _;
    // Writing into a String cannot fail.
    let _infallible = write!(out, "{}", c.escape_default());
}
