//! Requests that strangers can steer: what is refused, what is bounded, what travels on.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_runner::{
    job::ErrorCode,
    net::{Egress, Lookup, Method, Request},
    settings,
};
use async_trait::async_trait;

use crate::support::site::{Reply, Site, endless, reply, silent};

const TIMEOUT: Duration = Duration::from_secs(20);
const TRAP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A name server that leads every name where the test says.
struct Names<F>(F);

#[async_trait]
impl<F: Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static> Lookup for Names<F> {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match (self.0)(host) {
            none if none.is_empty() => Err(io::Error::other("no such name")),
            addresses => Ok(addresses),
        }
    }
}

fn settings(allow: &[String], ports: &[u16]) -> settings::Egress {
    settings::Egress { allow: allow.to_vec(), ports: [&[80, 443], ports].concat(), ..settings::Egress::default() }
}

/// A client that may reach `sites` and nothing else.
fn client(sites: &[&Site]) -> Egress {
    let allow: Vec<String> = sites.iter().map(|site| site.address().to_string()).collect();
    Egress::new(&settings(&allow, &[]), &[]).unwrap()
}

fn get(url: impl Into<String>) -> Request {
    Request::get(url, TIMEOUT, 1 << 20)
}

fn ok(_: &crate::support::site::Visit) -> Reply {
    reply(200, &[("content-type", "application/json; charset=utf-8")], "{}")
}

fn redirect(status: u16, to: &str) -> Reply {
    reply(status, &[("location", to)], "moved")
}

#[tokio::test]
async fn no_notation_of_an_inside_address_makes_a_connection() {
    let trap = Site::start_at(([0, 0, 0, 0], 0).into(), ok).await.unwrap();
    let port = trap.address().port();
    // Machines without IPv6 have one trap less.
    let trap6 = Site::start_at((IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), port).into(), ok).await;
    // The port is open and every name leads to the trap: only the address policy is left to refuse.
    let names = Arc::new(Names(|_: &str| vec![TRAP]));
    let egress = Egress::with_lookup(&settings(&[], &[port]), &[], names).unwrap();
    let corpus: Vec<String> =
        include_str!("data/ssrf.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(corpus.len() >= 190);
    for row in &corpus {
        let url = row.replace("{port}", &port.to_string());
        let error = egress.fetch(&get(&url)).await.expect_err(&url);
        assert_eq!(error.code, ErrorCode::HttpBlocked, "{url}: {error}");
        assert!(!error.retryable, "{url}");
    }
    assert_eq!(trap.connections() + trap6.map_or(0, |trap| trap.connections()), 0);
}

#[tokio::test]
async fn a_name_that_alternates_never_reaches_the_bad_address() {
    let good = IpAddr::from([127, 0, 0, 2]);
    let site = Site::start_at((good, 0).into(), ok).await.unwrap();
    let port = site.address().port();
    let trap = Site::start_at((TRAP, port).into(), ok).await.unwrap();
    let turn = AtomicUsize::new(0);
    let names = Names(move |_: &str| match turn.fetch_add(1, Ordering::SeqCst) % 4 {
        0 => vec![good],
        1 => vec![TRAP],
        2 => vec![good, TRAP],
        _ => vec![TRAP, good],
    });
    let egress = Egress::with_lookup(&settings(&["127.0.0.2/32".to_owned()], &[port]), &[], Arc::new(names)).unwrap();
    let (mut fetched, mut blocked) = (0, 0);
    for i in 0..1000 {
        // Names differ, so that no connection is reused and each one is looked up.
        match egress.fetch(&get(format!("http://host{i}.example:{port}/"))).await {
            Ok(_) => fetched += 1,
            Err(error) => {
                assert_eq!(error.code, ErrorCode::HttpBlocked);
                blocked += 1;
            }
        }
    }
    assert_eq!((fetched, blocked, trap.connections()), (250, 750, 0));
}

#[tokio::test]
async fn a_name_that_cannot_be_found_is_refused() {
    let names = Arc::new(Names(|_: &str| Vec::new()));
    let egress = Egress::with_lookup(&settings(&["inside.example".to_owned()], &[]), &[], names).unwrap();
    for url in ["http://nowhere.example/", "http://inside.example/"] {
        assert_eq!(egress.fetch(&get(url)).await.unwrap_err().code, ErrorCode::HttpBlocked, "{url}");
    }
}

#[tokio::test]
async fn a_request_arrives_as_it_was_given_and_nothing_else_with_it() {
    let site = Site::start(|_| {
        reply(200, &[("content-type", "Text/CSV; charset=utf-8"), ("set-cookie", "a=1"), ("x-two", "2")], "a,b")
    })
    .await;
    let egress = client(&[&site]);
    let request = Request {
        method: Method::Post,
        params: vec![("q".into(), "ä &=".into()), ("q".into(), "2".into())],
        headers: vec![
            ("X-Key".into(), "k".into()),
            ("Content-Type".into(), "application/json".into()),
            ("Accept-Encoding".into(), "br".into()),
        ],
        body: Some("{\"a\":1}".into()),
        ..get(site.url("/p?x=1#fragment"))
    };
    let response = egress.fetch(&request).await.unwrap();
    egress.fetch(&get(site.url("/"))).await.unwrap();
    let visits = site.visits();
    assert_eq!((visits[0].method.as_str(), visits[0].target.as_str()), ("POST", "/p?x=1&q=%C3%A4+%26%3D&q=2"));
    assert_eq!(visits[0].body, "{\"a\":1}");
    assert_eq!((visits[0].header("x-key"), visits[0].header("accept-encoding")), (Some("k"), Some("gzip")));
    for name in ["cookie", "authorization", "referer", "x-key"] {
        assert_eq!(visits[1].header(name), None, "{name}");
    }
    assert_eq!((response.status, &response.body[..]), (200, &b"a,b"[..]));
    assert_eq!((response.content_type.as_deref(), response.header("x-two")), (Some("text/csv"), Some("2")));
}

#[tokio::test]
async fn headers_that_steer_the_connection_cannot_be_set() {
    let site = Site::start(ok).await;
    let egress = client(&[&site]);
    for (name, value) in [
        ("Host", "inside"),
        ("connection", "close"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Proxy-Authorization", "x"),
        ("Upgrade", "h2c"),
        ("TE", "x"),
        ("Expect", "x"),
        ("a b", "x"),
        ("x", "a\r\nb: c"),
        ("", "x"),
    ] {
        let request = Request { headers: vec![(name.into(), value.into())], ..get(site.url("/")) };
        assert_eq!(egress.fetch(&request).await.unwrap_err().code, ErrorCode::HttpBlocked, "{name}");
    }
    let many = Request { headers: (0..100).map(|i| (format!("x-{i}"), "v".into())).collect(), ..get(site.url("/")) };
    assert_eq!(egress.fetch(&many).await.unwrap_err().code, ErrorCode::HttpBlocked);
    assert_eq!(site.connections(), 0);
}

#[tokio::test]
async fn redirects_are_checked_like_first_addresses() {
    let trap = Site::start(ok).await;
    let inside = trap.url("/secret");
    let targets = [
        inside.clone(),
        inside.replace("127.0.0.1", "0x7f.1"),
        inside.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        inside.replace("http:", ""),
        "file:///etc/passwd".into(),
        inside.replace("//", "//u:p@"),
        "gopher://x/".into(),
    ];
    for target in targets {
        let to = target.clone();
        let site = Site::start(move |_| redirect(302, &to)).await;
        let error = client(&[&site]).fetch(&get(site.url("/"))).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::HttpBlocked, "{target}");
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn redirects_end() {
    let site = Site::start(|visit| {
        let n: usize = visit.path()[1..].parse().unwrap_or(0);
        if n == 0 { ok(visit) } else { redirect(302, &format!("/{}", n - 1)) }
    })
    .await;
    let egress = client(&[&site]);
    let response = egress.fetch(&get(site.url("/5"))).await.unwrap();
    assert_eq!(response.final_url.path(), "/0");
    let error = egress.fetch(&get(site.url("/6"))).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::HttpFailed, false));
    let nowhere = Site::start(|_| reply(302, &[], "no location")).await;
    assert_eq!(client(&[&nowhere]).fetch(&get(nowhere.url("/"))).await.unwrap().status, 302);
}

/// (status, method, method that arrives, whether the body does)
#[tokio::test]
async fn methods_bodies_and_headers_travel_by_the_rules() {
    for (status, method, arrives, body) in [
        (301, Method::Post, "GET", false),
        (302, Method::Post, "GET", false),
        (303, Method::Put, "GET", false),
        (307, Method::Post, "POST", true),
        (308, Method::Patch, "PATCH", true),
        (302, Method::Delete, "DELETE", true),
        (303, Method::Head, "HEAD", true),
    ] {
        let other = Site::start(ok).await;
        let to = other.url("/there");
        let site =
            Site::start(move |visit| redirect(status, if visit.path() == "/away" { &to } else { "/here" })).await;
        let egress = client(&[&site, &other]);
        let request = Request {
            method,
            headers: vec![
                ("Authorization".into(), "Bearer s".into()),
                ("X-Api-Key".into(), "s".into()),
                ("Cookie".into(), "s".into()),
                ("Accept".into(), "text/csv".into()),
            ],
            body: Some("secret".into()),
            ..get(site.url("/away"))
        };
        egress.fetch(&request).await.unwrap();
        let [there] = other.visits().try_into().unwrap();
        assert_eq!(there.method, arrives, "{status}");
        assert_eq!(there.body == "secret", body, "{status}");
        assert_eq!(there.header("accept"), Some("text/csv"));
        for name in ["authorization", "x-api-key", "cookie"] {
            assert_eq!(there.header(name), None, "{status} {name}");
        }
        let same = Request { url: site.url("/stay"), ..request };
        egress.fetch(&same).await.unwrap_err();
        assert_eq!(site.visits()[2].header("authorization"), Some("Bearer s"), "{status}");
    }
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    const ZEROS: &[u8] = include_bytes!("data/zeros.gz");
    let site = Site::start(|visit| match visit.path() {
        "/long" => reply(200, &[], vec![b'x'; (1 << 20) + 1]),
        "/fits" => reply(200, &[], vec![b'x'; 1 << 20]),
        "/endless" => endless(),
        "/bomb" => reply(200, &[("content-encoding", "gzip")], ZEROS),
        "/silent" => silent(),
        "/brotli" => reply(200, &[("content-encoding", "br")], "?"),
        "/torn" => reply(200, &[("content-encoding", "gzip")], &ZEROS[..100]),
        _ => reply(200, &[("content-length", "9999999999")], ""),
    })
    .await;
    let egress = client(&[&site]);
    for (path, code) in [
        ("/long", ErrorCode::LimitExceeded),
        ("/endless", ErrorCode::LimitExceeded),
        ("/bomb", ErrorCode::LimitExceeded),
        ("/brotli", ErrorCode::HttpFailed),
        ("/torn", ErrorCode::HttpFailed),
    ] {
        let error = egress.fetch(&get(site.url(path))).await.unwrap_err();
        assert_eq!((error.code, error.retryable), (code, false), "{path}: {error}");
    }
    assert_eq!(egress.fetch(&get(site.url("/fits"))).await.unwrap().body.len(), 1 << 20);
    let unpacked = egress.fetch(&Request { max_bytes: 64 << 20, ..get(site.url("/bomb")) }).await.unwrap();
    assert_eq!(unpacked.body.len(), 32 << 20);
    let head = Request { method: Method::Head, ..get(site.url("/head")) };
    assert_eq!(egress.fetch(&head).await.unwrap().status, 200);

    let slow = Request { timeout: Duration::from_millis(50), ..get(site.url("/silent")) };
    let error = egress.fetch(&slow).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::HttpFailed, true));
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let site = Site::start(|_| {
        let mut flood = reply(200, &[], "");
        for i in 0..10_000 {
            let name: hyper::header::HeaderName = format!("x-{i}").parse().unwrap();
            flood.headers_mut().insert(name, "v".parse().unwrap());
        }
        flood
    })
    .await;
    let error = client(&[&site]).fetch(&get(site.url("/"))).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::HttpFailed);
}

#[tokio::test]
async fn error_statuses_are_answers_until_someone_asks_for_success() {
    for (status, retryable) in [(404, false), (400, false), (429, true), (500, true), (503, true)] {
        let site = Site::start(move |_| reply(status, &[("retry-after", "7")], "what went wrong")).await;
        let response = client(&[&site]).fetch(&get(site.url("/?key=secret"))).await.unwrap();
        assert_eq!(response.status, status);
        let error = response.success().unwrap_err();
        assert_eq!((error.code, error.retryable), (ErrorCode::HttpFailed, retryable));
        assert!(error.message.contains("what went wrong") && !error.message.contains("secret"), "{error}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_query() {
    let gone = {
        let site = Site::start(ok).await;
        site.address().to_string()
    };
    let egress = Egress::new(&settings(std::slice::from_ref(&gone), &[]), &[]).unwrap();
    let error = egress.fetch(&get(format!("http://{gone}/p?key=secret"))).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::HttpFailed, false));
    assert!(error.message.contains(&gone) && !error.message.contains("secret"), "{error}");
}
