//! A server on a free port of the loopback that keeps one bucket as S3 does.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use agent_runner::settings::S3;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, RawQuery, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};

/// Objects of one page of a listing: so few that listings have several.
const PAGE: usize = 2;

#[derive(Default)]
struct Held {
    objects: BTreeMap<String, (Bytes, Timestamp)>,
    requests: Vec<String>,
    /// Answers to the next requests, before it works again.
    fails: Vec<StatusCode>,
}

pub struct S3Server {
    address: SocketAddr,
    held: Arc<Mutex<Held>>,
    task: JoinHandle<()>,
}

impl S3Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new(Mutex::new(Held::default()));
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(held.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, held, task }
    }

    pub fn settings(&self) -> S3 {
        S3 {
            endpoint: Some(format!("http://{}", self.address)),
            access_key_id: Some("AKTEST".into()),
            secret_access_key: Some("s3-secret".into()),
            allow_http: true,
            ..S3::default()
        }
    }

    /// Answers the next requests with these.
    pub fn fail_with(&self, statuses: &[u16]) {
        self.held.lock().fails = statuses.iter().map(|status| StatusCode::from_u16(*status).unwrap()).collect();
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.held.lock().requests.clone()
    }

    pub fn keys(&self) -> Vec<String> {
        self.held.lock().objects.keys().cloned().collect()
    }

    /// Makes the object whose key ends so older.
    pub fn age(&self, end: &str, secs: i64) {
        let mut held = self.held.lock();
        let (_, at) = held.objects.iter_mut().find(|(key, _)| key.ends_with(end)).unwrap().1;
        *at -= SignedDuration::from_secs(secs);
    }

    /// Changes a byte of the object whose key ends so.
    pub fn damage(&self, end: &str) {
        let mut held = self.held.lock();
        let (bytes, _) = held.objects.iter_mut().find(|(key, _)| key.ends_with(end)).unwrap().1;
        let mut changed = bytes.to_vec();
        changed[0] ^= 1;
        *bytes = changed.into();
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(held): State<Arc<Mutex<Held>>>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut held = held.lock();
    held.requests.push(format!("{method} {}", uri.path()));
    if !held.fails.is_empty() {
        return held.fails.remove(0).into_response();
    }
    let signature = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = signature.starts_with("AWS4-HMAC-SHA256 Credential=AKTEST/") && signature.contains("Signature=");
    let Some(rest) = uri.path().strip_prefix("/bucket").filter(|_| signed) else {
        let status = if signed { StatusCode::NOT_FOUND } else { StatusCode::FORBIDDEN };
        return status.into_response();
    };
    let key = rest.trim_start_matches('/').to_owned();
    match method {
        Method::GET if key.is_empty() => listing(&held, &query.unwrap_or_default()),
        Method::PUT => {
            held.objects.insert(key, (body, Timestamp::now()));
            (StatusCode::OK, [(header::ETAG, "\"1\"")]).into_response()
        }
        Method::DELETE => {
            held.objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        Method::GET | Method::HEAD => match held.objects.get(&key) {
            Some((bytes, at)) => {
                let at = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                let fixed = [(header::ETAG, "\"1\"".to_owned()), (header::LAST_MODIFIED, at)];
                (fixed, bytes.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn listing(held: &Held, query: &str) -> Response {
    let parameter = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let (prefix, after) =
        (parameter("prefix").unwrap_or_default(), parameter("continuation-token").unwrap_or_default());
    let mut fit: Vec<_> = held.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after).collect();
    let more = fit.len() > PAGE;
    fit.truncate(PAGE);
    let next = match (more, fit.last()) {
        (true, Some((key, _))) => format!("<NextContinuationToken>{key}</NextContinuationToken>"),
        _ => String::new(),
    };
    let contents: String = fit
        .iter()
        .map(|(key, (bytes, at))| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>{at:.0}</LastModified><ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                bytes.len()
            )
        })
        .collect();
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>bucket</Name><Prefix>{prefix}</Prefix><IsTruncated>{more}</IsTruncated>{next}{contents}</ListBucketResult>"
    );
    ([(header::CONTENT_TYPE, "application/xml")], text).into_response()
}
