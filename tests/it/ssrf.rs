//! Ways inside that a single address does not show: chains, names that change their mind, credentials, our own parts.

use std::{
    collections::BTreeMap,
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
    net::{Credentials, Egress, Lookup, Request},
    settings::{self, AuthProfile},
};
use async_trait::async_trait;
use secrecy::ExposeSecret;

use crate::support::site::{Reply, Site, Visit, reply};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn get(url: impl Into<String>) -> Request {
    Request::get(url, Duration::from_secs(20), 1 << 20)
}

fn ok(_: &Visit) -> Reply {
    reply(200, &[], "{}")
}

fn settings(allow: &[String], ports: &[u16]) -> settings::Egress {
    settings::Egress { allow: allow.to_vec(), ports: [&[80, 443], ports].concat(), ..settings::Egress::default() }
}

/// A name server with one rule, which counts.
struct Names<F> {
    answer: F,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl<F: Fn(&str, usize) -> Vec<IpAddr> + Send + Sync + 'static> Lookup for Names<F> {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((self.answer)(host, self.asked.fetch_add(1, Ordering::SeqCst)))
    }
}

/// A trap at every address of the loopback, on a port of its own and on IPv6 where there is any.
struct Traps(Vec<Site>);

impl Traps {
    async fn set(ports: usize) -> Self {
        let mut traps = Vec::new();
        for _ in 0..ports {
            let trap = Site::start_at(([0, 0, 0, 0], 0).into(), ok).await.unwrap();
            let six = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]);
            traps.extend(Site::start_at((six, trap.address().port()).into(), ok).await);
            traps.push(trap);
        }
        Self(traps)
    }

    fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.0.iter().map(|trap| trap.address().port()).collect();
        ports.dedup();
        ports
    }

    fn connections(&self) -> usize {
        self.0.iter().map(Site::connections).sum()
    }
}

#[tokio::test]
async fn no_payload_reaches_a_trap_wherever_it_is_named() {
    let traps = Traps::set(3).await;
    let ports = traps.ports();
    let asked = Arc::new(AtomicUsize::new(0));
    let names = Arc::new(Names { answer: |_: &str, _| vec![LOOPBACK], asked });
    // The ports are open, every name leads inside, and the list opens our own parts: they stay closed all the same.
    let own = format!("127.0.0.1:{}", ports[0]);
    let allow = [own.clone(), format!("localhost:{}", ports[0]), format!("[::1]:{}", ports[0])];
    let guarded = Egress::with_lookup(&settings(&[], &ports), &[], names.clone()).unwrap();
    let opened = Egress::with_lookup(&settings(&allow, &ports), &[own], names.clone()).unwrap();
    let payloads: Vec<String> =
        include_str!("data/ssrf.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(payloads.len() >= 380, "{}", payloads.len());
    let (targets, open) = (payloads.clone(), ports.clone());
    let site = Site::start(move |visit| {
        let n = visit.path()[1..].parse::<usize>().ok().filter(|n| *n < targets.len());
        let to = n.map(|n| targets[n].replace("{port}", &open[n % open.len()].to_string()));
        let mut moved = reply(302, &[], "");
        let location = to.and_then(|to| hyper::header::HeaderValue::from_str(&to).ok());
        moved.headers_mut().extend(location.map(|to| (hyper::header::LOCATION, to)));
        moved
    })
    .await;
    let allow = [site.address().to_string()];
    let redirected = Egress::with_lookup(&settings(&allow, &ports), &[], names.clone()).unwrap();
    for (n, payload) in payloads.iter().enumerate() {
        for (egress, port) in [(&guarded, ports[n % ports.len()]), (&opened, ports[0])] {
            let url = payload.replace("{port}", &port.to_string());
            let error = egress.fetch(&get(&url)).await.expect_err(&url);
            assert_eq!((error.code, error.retryable), (ErrorCode::HttpBlocked, false), "{url}: {error}");
        }
        // As the target of a redirect, from a site that is open. What is no whole address leads back to that site.
        match redirected.fetch(&get(site.url(&format!("/{n}")))).await {
            Ok(answer) => assert_eq!(answer.status, 302, "{payload}"),
            Err(error) => {
                assert!(matches!(error.code, ErrorCode::HttpBlocked | ErrorCode::HttpFailed), "{payload}: {error}");
            }
        }
    }
    assert_eq!(traps.connections(), 0);
}

#[tokio::test]
async fn one_name_that_changes_its_mind_a_thousand_times_never_leads_inside() {
    let good = IpAddr::from([127, 0, 0, 3]);
    // Each answer ends its connection, so that each request asks for the address anew.
    let site = Site::start_at((good, 0).into(), |_| reply(200, &[("connection", "close")], "{}")).await.unwrap();
    let port = site.address().port();
    let trap = Site::start_at((LOOPBACK, port).into(), ok).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = move |_: &str, n: usize| if n.is_multiple_of(2) { vec![good] } else { vec![LOOPBACK] };
    let names = Arc::new(Names { answer, asked: asked.clone() });
    let egress = Egress::with_lookup(&settings(&["127.0.0.3/32".to_owned()], &[port]), &[], names).unwrap();
    let mut fetched = 0;
    for _ in 0..1000 {
        match egress.fetch(&get(format!("http://fickle.example:{port}/"))).await {
            Ok(_) => fetched += 1,
            Err(error) => assert_eq!(error.code, ErrorCode::HttpBlocked, "{error}"),
        }
    }
    assert_eq!((fetched, asked.load(Ordering::SeqCst), site.connections()), (500, 1000, 500));
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_chain_is_cut_at_the_hop_that_leads_inside() {
    let trap = Traps::set(1).await;
    let port = trap.ports()[0];
    let inside = [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://2130706433:{port}/"),
        "http://169.254.169.254/latest/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1:6379/_x".to_owned(),
    ];
    for hops in 1..=5_usize {
        for (target, status) in inside.iter().zip([301, 302, 303, 307, 308].into_iter().cycle()) {
            let to = target.clone();
            let site = Site::start(move |visit| {
                let n: usize = visit.path()[1..].parse().unwrap();
                let next = if n == hops { to.clone() } else { format!("/{}", n + 1) };
                reply(status, &[("location", &next)], "")
            })
            .await;
            let egress = Egress::new(&settings(&[site.address().to_string()], &[]), &[]).unwrap();
            let error = egress.fetch(&get(site.url("/1"))).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::HttpBlocked, "{hops} {target}: {error}");
            assert_eq!(site.visits().len(), hops, "{target}");
        }
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn a_credential_stays_where_it_is_bound_and_does_not_come_back_from_a_detour() {
    let back = Arc::new(parking_lot::Mutex::new(String::new()));
    let home = back.clone();
    let other = Site::start(move |_| reply(307, &[("location", &home.lock())], "")).await;
    let away = other.url("/there");
    let site = Site::start(move |visit| match visit.path() {
        "/here" => reply(302, &[("location", "/away")], ""),
        "/away" => reply(302, &[("location", &away)], ""),
        _ => ok(visit),
    })
    .await;
    *back.lock() = site.url("/home");
    let profile = AuthProfile { hosts: vec![site.url("")], bearer: Some("s3cret".into()), ..AuthProfile::default() };
    let allow = [site.address().to_string(), other.address().to_string()];
    let auth_profiles = BTreeMap::from([("main".to_owned(), profile)]);
    let settings = settings::Egress { auth_profiles, ..settings(&allow, &[]) };
    let credentials = Credentials::new(&settings);
    assert_eq!(credentials.header("main", &other.url("/")).unwrap_err().code, ErrorCode::HttpBlocked);
    let (name, value) = credentials.header("main", &site.url("/here")).unwrap();
    let request = Request { headers: vec![(name, value.expose_secret().to_owned())], ..get(site.url("/here")) };
    Egress::new(&settings, &[]).unwrap().fetch(&request).await.unwrap();
    let sent = |site: &Site| -> Vec<(String, bool)> {
        let visits = site.visits();
        visits.iter().map(|visit| (visit.path().to_owned(), visit.header("authorization").is_some())).collect()
    };
    let row = |path: &str, with: bool| (path.to_owned(), with);
    assert_eq!(sent(&site), [row("/here", true), row("/away", true), row("/home", false)]);
    assert_eq!(sent(&other), [row("/there", false)]);
}

#[tokio::test]
async fn the_list_opens_hosts_ports_and_ranges_and_nothing_beside_them() {
    let site = Site::start_at(([0, 0, 0, 0], 0).into(), ok).await.unwrap();
    let port = site.address().port();
    // (the entry, whether the port is among the usual ones, the host, whether it is reached)
    let rows = [
        ("127.0.0.1:{port}", false, "127.0.0.1", true),
        ("127.0.0.1:{port}", false, "0x7f.1", true),
        ("127.0.0.1:{port}", false, "127.0.0.2", false),
        ("127.0.0.1:{port}", false, "localhost", false),
        ("127.0.0.1", false, "127.0.0.1", false),
        ("127.0.0.1", true, "127.0.0.1", true),
        ("inside.example", true, "inside.example", true),
        ("inside.example", true, "Inside.Example.", true),
        ("inside.example", true, "x.inside.example", false),
        ("inside.example:{port}", false, "inside.example", true),
        ("inside.example:1", false, "inside.example", false),
        ("127.0.0.0/8", true, "127.9.9.9", true),
        ("127.0.0.0/8", true, "named.example", true),
        ("127.0.0.0/8", false, "127.9.9.9", false),
        ("127.0.0.0/16", true, "127.1.0.1", false),
        ("127.0.0.2/32", true, "named.example", false),
        ("10.0.0.0/8", true, "127.0.0.1", false),
        ("127.0.0.0/8", true, "[::ffff:127.0.0.1]", false),
    ];
    for (entry, usual, host, reached) in rows {
        let names = Names { answer: |_: &str, _| vec![LOOPBACK], asked: Arc::default() };
        let allow = [entry.replace("{port}", &port.to_string())];
        let usual: &[u16] = if usual { &[port] } else { &[] };
        let egress = Egress::with_lookup(&settings(&allow, usual), &[], Arc::new(names)).unwrap();
        let before = site.connections();
        let answer = egress.fetch(&get(format!("http://{host}:{port}/"))).await;
        assert_eq!(answer.is_ok(), reached, "{entry} {host}: {answer:?}");
        assert_eq!(site.connections() - before, usize::from(reached), "{entry} {host}");
    }
}
