//! A server on a free port of the loopback that keeps collections as the REST interface of Qdrant does.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

pub const KEY: &str = "qd-secret";

#[derive(Default)]
struct Kept {
    size: usize,
    /// Payload keys that have an index.
    indexed: Vec<String>,
    /// Vector and payload by id.
    points: BTreeMap<String, (Vec<f64>, Value)>,
}

#[derive(Default)]
struct Held {
    collections: BTreeMap<String, Kept>,
    requests: Vec<String>,
    /// Answers everything with it, where it is set.
    fails: Option<StatusCode>,
}

pub struct QdrantServer {
    address: SocketAddr,
    held: Arc<Mutex<Held>>,
    task: JoinHandle<()>,
}

impl QdrantServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new(Mutex::new(Held::default()));
        let router = Router::new().fallback(answer).with_state(held.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, held, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.held.lock().requests.clone()
    }

    pub fn fail_with(&self, status: Option<u16>) {
        self.held.lock().fails = status.map(|status| StatusCode::from_u16(status).unwrap());
    }

    /// The payloads of a collection.
    pub fn payloads(&self, collection: &str) -> Vec<Value> {
        self.held.lock().collections[collection].points.values().map(|(_, payload)| payload.clone()).collect()
    }

    /// Puts a point in by another way than ours.
    pub fn put(&self, collection: &str, id: &str, vector: &[f64], payload: Value) {
        let mut held = self.held.lock();
        held.collections.get_mut(collection).unwrap().points.insert(id.into(), (vector.to_vec(), payload));
    }
}

impl Drop for QdrantServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(held): State<Arc<Mutex<Held>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let mut held = held.lock();
    held.requests.push(format!("{method} {}", uri.path()));
    if let Some(status) = held.fails {
        return (status, error("out of order"));
    }
    if headers.get("api-key").is_none_or(|key| key != KEY) {
        return (StatusCode::UNAUTHORIZED, "Must provide an API key or an Authorization bearer token".into());
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path: Vec<&str> = uri.path().trim_matches('/').splitn(3, '/').collect();
    let ["collections", name, rest @ ..] = path.as_slice() else { return (StatusCode::NOT_FOUND, String::new()) };
    let rest = rest.first().copied().unwrap_or_default();
    if (method.as_str(), rest) == ("PUT", "") {
        let size = usize::try_from(body["vectors"]["size"].as_u64().unwrap()).unwrap();
        assert_eq!(body["vectors"]["distance"], "Cosine");
        held.collections.insert((*name).into(), Kept { size, ..Kept::default() });
        return (StatusCode::OK, ok(json!(true)));
    }
    let Some(kept) = held.collections.get_mut(*name) else {
        return (StatusCode::NOT_FOUND, error(&format!("Not found: Collection `{name}` doesn't exist!")));
    };
    match kept.answer(method.as_str(), rest, &body) {
        Ok(result) => (StatusCode::OK, ok(result)),
        Err(why) => (StatusCode::BAD_REQUEST, error(&why)),
    }
}

fn ok(result: Value) -> String {
    json!({"result": result, "status": "ok", "time": 0.001}).to_string()
}

fn error(why: &str) -> String {
    json!({"status": {"error": why}, "time": 0.001}).to_string()
}

impl Kept {
    fn answer(&mut self, method: &str, rest: &str, body: &Value) -> Result<Value, String> {
        match (method, rest) {
            ("GET", "") => Ok(json!({"status": "green", "points_count": self.points.len()})),
            ("PUT", "index") => {
                self.indexed.push(body["field_name"].as_str().unwrap().into());
                Ok(json!({"operation_id": 1, "status": "completed"}))
            }
            ("PUT", "points") => {
                for point in body["points"].as_array().unwrap() {
                    let id = uuid::Uuid::parse_str(point["id"].as_str().unwrap()).map_err(|e| e.to_string())?;
                    self.points.insert(id.to_string(), (self.vector(&point["vector"])?, point["payload"].clone()));
                }
                Ok(json!({"operation_id": 2, "status": "completed"}))
            }
            ("POST", "points/query") => self.query(body),
            ("POST", "points/delete") => {
                let kept: Vec<String> = texts(&body["filter"]["must_not"][0]["has_id"]);
                self.points.retain(|id, _| kept.contains(id));
                Ok(json!({"operation_id": 3, "status": "completed"}))
            }
            ("POST", "facet") => {
                let key = body["key"].as_str().unwrap();
                if !self.indexed.iter().any(|indexed| indexed == key) {
                    return Err(format!("Bad request: Index required but not found for \"{key}\""));
                }
                let mut counts: BTreeMap<String, u32> = BTreeMap::new();
                for value in self.points.values().flat_map(|(_, payload)| texts(&payload[key])) {
                    *counts.entry(value).or_default() += 1;
                }
                let hit = |(value, count): (String, u32)| json!({"value": value, "count": count});
                Ok(json!({"hits": counts.into_iter().map(hit).collect::<Vec<_>>()}))
            }
            other => Err(format!("the stub does not know {other:?}")),
        }
    }

    fn vector(&self, value: &Value) -> Result<Vec<f64>, String> {
        let vector: Vec<f64> = value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let (want, got) = (self.size, vector.len());
        (want == got)
            .then_some(vector)
            .ok_or_else(|| format!("Wrong input: Vector dimension error: expected dim: {want}, got {got}"))
    }

    fn query(&self, body: &Value) -> Result<Value, String> {
        let query = self.vector(&body["query"])?;
        let fits = |payload: &Value| {
            body["filter"]["must"].as_array().unwrap().iter().all(|condition| {
                let own = texts(&payload[condition["key"].as_str().unwrap()]);
                let mut wanted = texts(&condition["match"]["any"]);
                wanted.extend(condition["match"]["value"].as_str().map(str::to_owned));
                own.iter().any(|value| wanted.contains(value))
            })
        };
        let mut hits: Vec<(f64, Value)> = self
            .points
            .iter()
            .filter(|(_, (_, payload))| fits(payload))
            .map(|(id, (vector, payload))| {
                let score = cosine(vector, &query);
                (score, json!({"id": id, "version": 1, "score": score, "payload": payload}))
            })
            .collect();
        hits.sort_by(|a, b| b.0.total_cmp(&a.0));
        hits.truncate(usize::try_from(body["limit"].as_u64().unwrap()).unwrap());
        assert_eq!(body["with_payload"], true);
        Ok(json!({"points": hits.into_iter().map(|(_, hit)| hit).collect::<Vec<_>>()}))
    }
}

/// A text, or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
