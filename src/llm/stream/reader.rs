//! The body of an answer, whatever it turns out to be: server-sent events, one JSON document, several of
//! them, an HTML page from a proxy, or nothing.

use serde_json::Value;

use super::{
    chunk::Assembler,
    sse::{Decoder, Event},
};
use crate::llm::{
    classify::{ErrorBody, classify},
    fault::{Fault, Kind},
    usage::Heard,
};

pub(crate) use super::chunk::Assembled;

/// What the first byte told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Body {
    Unknown,
    Events,
    Json,
    Html,
}

/// Reads the bytes of one answer.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    body: Body,
    decoder: Decoder,
    /// The bytes so far of a body that is read whole.
    whole: Vec<u8>,
    assembler: Assembler,
    received: usize,
    max_bytes: usize,
    done: bool,
    /// What was heard of an answer that is finished.
    heard: Heard,
    model: &'a str,
    host: &'a str,
    mends: bool,
}

impl<'a> Reader<'a> {
    /// A reader for an answer of `model` at `host`, of at most `max_bytes` after decompression.
    pub(crate) fn new(model: &'a str, host: &'a str, max_bytes: usize) -> Self {
        Self {
            body: Body::Unknown,
            decoder: Decoder::default(),
            whole: Vec::new(),
            assembler: Assembler::default(),
            received: 0,
            max_bytes,
            done: false,
            heard: Heard::default(),
            model,
            host,
            mends: false,
        }
    }

    /// The same; with `mends`, calls that cannot be read and replies that are empty come as they are.
    pub(crate) fn mending(self, mends: bool) -> Self {
        Self { mends, ..self }
    }

    /// Takes the next bytes. True where they brought content.
    pub(crate) fn push(&mut self, bytes: &[u8], show: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        self.received += bytes.len();
        if self.received > self.max_bytes {
            return Err(Fault::new(
                Kind::TooLarge,
                format!("{} sent more than {} bytes (llm.max_response_bytes)", self.host, self.max_bytes),
            ));
        }
        if self.body == Body::Unknown {
            self.body = match bytes.trim_ascii_start().first() {
                None => return Ok(false),
                Some(b'{' | b'[') => Body::Json,
                Some(b'<') => Body::Html,
                Some(_) => Body::Events,
            };
        }
        if self.body != Body::Events {
            self.whole.extend_from_slice(bytes);
            return Ok(true);
        }
        let mut events = Vec::new();
        self.decoder.push(bytes, &mut events);
        let mut content = false;
        for event in events {
            content |= self.event(&event, false, show)?;
            if self.done {
                break;
            }
        }
        Ok(content)
    }

    /// Whether `[DONE]` was read: nothing of interest follows, even where the body stays open.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the model is done; counts of tokens may follow.
    pub(crate) fn is_finished(&self) -> bool {
        self.done || self.assembler.is_finished()
    }

    /// What was heard so far, on answers that are no success too.
    pub(crate) fn heard(&self) -> Heard {
        let now = self.assembler.heard();
        if now == Heard::default() { self.heard } else { now }
    }

    /// The whole reply. `offered` are the names of the tools that the model could call.
    pub(crate) fn finish(&mut self, offered: &[&str], show: &mut dyn FnMut(&str)) -> Result<Assembled, Fault> {
        match self.body {
            Body::Unknown => return Err(Fault::new(Kind::Unavailable, format!("{} sent an empty answer", self.host))),
            Body::Html => {
                return Err(Fault::new(
                    Kind::Unavailable,
                    format!("{} sent an HTML page in place of an answer; check llm.base_url", self.host),
                ));
            }
            Body::Json => self.documents(show)?,
            Body::Events => {
                if let Some(event) = self.decoder.finish()
                    && !self.done
                {
                    self.event(&event, true, show)?;
                }
            }
        }
        let assembler = std::mem::take(&mut self.assembler);
        self.heard = assembler.heard();
        assembler.finish(self.done, offered, self.mends)
    }

    /// One event. An unreadable last one (`cut`) was cut off, which the end of the reply says better.
    fn event(&mut self, event: &Event, cut: bool, show: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        let data = event.data.trim();
        if data.is_empty() {
            return Ok(false);
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(false);
        }
        match serde_json::from_str::<Value>(data) {
            Ok(chunk) => self.chunk(&chunk, &event.name, show),
            // Chunks that only a line feed separates arrive as one event.
            Err(_) if data.contains('\n') => {
                let mut content = false;
                for line in data.lines() {
                    let event = Event { name: event.name.clone(), data: line.to_owned() };
                    content |= self.event(&event, cut, show)?;
                }
                Ok(content)
            }
            Err(_) if event.name == "error" => Err(classify(200, &ErrorBody::read(data), self.model, self.host)),
            Err(_) if cut || !matches!(event.name.as_str(), "" | "message") => Ok(false),
            Err(error) => {
                Err(Fault::new(Kind::BadOutput, format!("{} sent a chunk that is not JSON ({error})", self.host)))
            }
        }
    }

    fn chunk(&mut self, chunk: &Value, name: &str, show: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        let set = |key: &str| chunk.get(key).is_some_and(|value| !value.is_null() && *value != Value::Bool(false));
        let is_error = set("error")
            || name == "error"
            || chunk.get("object").and_then(Value::as_str) == Some("error")
            || (chunk.get("choices").is_none() && (set("detail") || set("errors")));
        if is_error {
            return Err(classify(200, &ErrorBody::of(chunk), self.model, self.host));
        }
        self.assembler.take(chunk, show)
    }

    /// A body of JSON: one completion, an error, or chunks one after the other.
    fn documents(&mut self, show: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        let whole = std::mem::take(&mut self.whole);
        let mut any = false;
        for document in serde_json::Deserializer::from_slice(&whole).into_iter::<Value>() {
            match document {
                Ok(Value::Array(items)) => {
                    for item in &items {
                        self.chunk(item, "", show)?;
                    }
                }
                Ok(document) => {
                    self.chunk(&document, "", show)?;
                    any |= document.get("choices").is_some();
                    // A document that is whole needs no other sign of its end.
                    let message =
                        document.pointer("/choices/0/message").or_else(|| document.pointer("/choices/0/text"));
                    self.done |= message.is_some();
                }
                Err(error) if error.is_eof() => {
                    return Err(Fault::new(Kind::Cut, format!("the answer of {} broke off", self.host)));
                }
                Err(_) if any => break,
                Err(error) => {
                    return Err(Fault::new(
                        Kind::BadOutput,
                        format!("{} sent an answer that is not JSON ({error})", self.host),
                    ));
                }
            }
        }
        if any || self.assembler.is_finished() {
            Ok(())
        } else {
            Err(Fault::new(
                Kind::BadOutput,
                format!("{} sent JSON that is no chat completion; check llm.base_url", self.host),
            ))
        }
    }
}
