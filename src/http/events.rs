//! A job's events as a server-sent event stream.

use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::{App, access::Access, extract::PathId, problem::Problem, submit::long_permit};
use crate::{
    job::{EventKind, JobId},
    queue::StoredEvent,
};

/// A comment goes out after so long without an event, so that proxies keep the connection and a client that
/// is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What an `EventSource` is told to wait before it connects again, in milliseconds.
const HELLO: &[u8] = b"retry: 2000\n\n";

/// `GET /v1/jobs/{id}/events`: what has happened (or what came after `Last-Event-ID`), then what happens, until
/// the job ends. 204 tells a browser that came back after the end to stop asking.
pub(super) async fn stream(
    State(app): State<App>,
    access: Access,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_event_id(&headers)?;
    let permit = long_permit(&app)?;
    let job = access.job(&app, &id).await?;
    let first = app.queue.events(&id, after.as_deref(), Duration::ZERO).await?;
    if first.is_empty() && job.state.has_ended() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follow = Follow { app, id, after, pending: Some(first), ended: false, seen_last: false, _permit: permit };
    let chunks = stream::unfold(follow, |mut follow| async move {
        follow.next().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), follow))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Without it nginx collects the stream before it passes it on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// An event id as we give them out: digits, perhaps two groups of them.
fn last_event_id(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    let digits = |part: &str| !part.is_empty() && part.len() <= 20 && part.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('-').map_or_else(|| digits(text), |(time, place)| digits(time) && digits(place)) {
        true => Ok(Some(text.to_owned())),
        false => Err(Problem::bad_request("`Last-Event-ID` is not one that this server gave out")),
    }
}

/// A reader on its way through a job's events.
struct Follow {
    app: App,
    id: JobId,
    after: Option<String>,
    /// What was read before the answer began; taken by the first chunk.
    pending: Option<Vec<StoredEvent>>,
    ended: bool,
    /// A last event was read, and others behind it.
    seen_last: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follow {
    /// The next piece of the stream; nothing when it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if let Some(first) = self.pending.take() {
            let mut chunk = BytesMut::from(HELLO);
            self.write(&first, &mut chunk);
            return Some(chunk.freeze());
        }
        let mut events = self.more().await?;
        if events.is_empty() {
            if self.is_over().await {
                return None;
            }
            // It was started afresh.
            if std::mem::take(&mut self.seen_last) {
                events = self.more().await?;
            }
        }
        let mut chunk = BytesMut::new();
        if events.is_empty() {
            chunk.put_slice(b": keep-alive\n\n");
        }
        self.write(&events, &mut chunk);
        Some(chunk.freeze())
    }

    /// Events behind those that were written; nothing where there is nobody to ask any more.
    async fn more(&self) -> Option<Vec<StoredEvent>> {
        let patience = if self.seen_last { Duration::ZERO } else { KEEP_ALIVE };
        tokio::select! {
            events = self.app.queue.events(&self.id, self.after.as_deref(), patience) => events.ok(),
            () = self.app.closing.cancelled() => None,
        }
    }

    /// Whether no event can come: the job is gone, or its last one was missed. A queue that cannot answer ends
    /// the stream as well; the client comes back with its `Last-Event-ID`.
    async fn is_over(&self) -> bool {
        match self.app.queue.job(&self.id).await {
            Ok(Some(job)) => job.state.has_ended(),
            Ok(None) | Err(_) => true,
        }
    }

    /// Writes events. The stream is over after a last event. One with others behind it asks for a look at the job: those
    /// may be of a worker that did not know yet, or the job was started afresh.
    fn write(&mut self, events: &[StoredEvent], out: &mut BytesMut) {
        for event in events {
            frame(event, out);
            self.seen_last |= is_last(&event.event);
        }
        if let Some(event) = events.last() {
            self.after = Some(event.id.clone());
            self.ended = is_last(&event.event);
        }
    }
}

fn is_last(word: &str) -> bool {
    [EventKind::Completed, EventKind::Failed, EventKind::Cancelled].iter().any(|kind| kind.as_str() == word)
}

/// One event on the wire. Data over several lines becomes several `data` fields, as the format wants.
fn frame(event: &StoredEvent, out: &mut BytesMut) {
    let fields = [("id: ", event.id.as_str()), ("event: ", event.event.as_str())];
    for (name, value) in fields {
        out.put_slice(name.as_bytes());
        out.put_slice(value.as_bytes());
        out.put_u8(b'\n');
    }
    for line in event.data.as_str().split(['\n', '\r']) {
        out.put_slice(b"data: ");
        out.put_slice(line.as_bytes());
        out.put_u8(b'\n');
    }
    out.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::RawJson;

    #[test]
    fn an_event_is_one_frame_whatever_its_data_looks_like() {
        let event = StoredEvent {
            id: "5-0".into(),
            event: "plan".into(),
            data: RawJson::from_trusted("{\n\"a\":\r\n1}".as_bytes()),
        };
        let mut out = BytesMut::new();
        frame(&event, &mut out);
        assert_eq!(&out[..], b"id: 5-0\nevent: plan\ndata: {\ndata: \"a\":\ndata: \ndata: 1}\n\n");
    }

    #[test]
    fn only_ids_of_ours_are_taken() {
        for (text, good) in [
            ("5", true),
            ("1700000000000-12", true),
            ("", true),
            ("$", false),
            ("5-", false),
            ("-5", false),
            ("5-0-1", false),
            ("999999999999999999999", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", text.parse().unwrap());
            assert_eq!(last_event_id(&headers).is_ok(), good, "{text:?}");
        }
    }
}
