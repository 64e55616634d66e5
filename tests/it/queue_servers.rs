//! The queue on servers as operators run them: Sentinel, a cluster, TLS, a user with few rights.

use std::{collections::BTreeSet, path::Path, process::Command, sync::Arc, time::Duration};

use agent_runner::{
    job::{Event, EventKind, RawJson, Status},
    queue::{End, Finished, Lease, Queue, RedisQueue},
    settings::Settings,
    store::{RedisStore, Store},
};
use serde_json::json;

use crate::support::{
    fleet::Watched,
    redis::{Redis, quick},
    rig::{Rig, id_of, job},
};

fn done() -> End {
    End::Result {
        result: RawJson::from_trusted(&b"1"[..]),
        status: Status::Completed,
        lane: None,
        event: Event::new(EventKind::Completed),
        signal: Some(RawJson::from_trusted(&b"1"[..])),
        dead: None,
    }
}

fn message(id: &str) -> String {
    json!({"job_id": id, "prompt": "p"}).to_string()
}

/// Takes jobs and ends them until so many different ones have ended, those of `ended` among them.
async fn work_off(queue: &Arc<RedisQueue>, mut ended: BTreeSet<String>, jobs: usize) -> BTreeSet<String> {
    while ended.len() < jobs {
        // An error is the failover that is under way.
        for lease in queue.claim(8).await.unwrap_or_default() {
            let id = id_of(&lease).to_owned();
            if lease.finish(done()).await.is_ok() {
                ended.insert(id);
            }
        }
    }
    ended
}

/// Jobs, once there are any.
async fn some(queue: &Arc<RedisQueue>) -> Vec<Lease> {
    loop {
        let leases = queue.claim(8).await.unwrap();
        if !leases.is_empty() {
            return leases;
        }
    }
}

const SAFE: [&str; 6] = ["--appendonly", "no", "--min-replicas-to-write", "1", "--repl-diskless-sync-delay", "0"];

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_is_replaced_and_no_job_is_lost() {
    let mut watched = Watched::start(&SAFE).await;
    let queue = RedisQueue::connect(&watched.settings()).await.unwrap();
    for n in 0..40 {
        watched.push(&message(&format!("j{n}"))).await;
    }
    // Some are in flight when it happens.
    let leases = some(&queue).await;
    watched.replicated().await;
    let victim = watched.primary().await;
    watched.servers[victim].kill();
    let mut ended = BTreeSet::new();
    for lease in leases {
        let id = id_of(&lease).to_owned();
        if lease.finish(done()).await.is_ok_and(|finished| finished == Finished::Done) {
            ended.insert(id);
        }
    }
    work_off(&queue, ended, 40).await;
    // Each Sentinel learns of it in its own time.
    while watched.primary().await == victim {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watched.replicated_to(1).await;
    // Whoever leads once it is back: a busy machine may make the Sentinels change their minds again.
    watched.servers[victim].start_again();
    watched.settled().await;
    for n in 0..40 {
        assert_eq!(watched.on_primary::<i64>(&["LLEN", &format!("agent:results:j{n}")]).await, 1, "j{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_moves_everyone_to_the_new_primary() {
    let watched = Watched::start(&SAFE).await;
    let mut settings = watched.settings();
    settings.queue.durable = false;
    let queue = RedisQueue::connect(&settings).await.unwrap();
    let store = RedisStore::connect(&settings).unwrap();
    // A claimer waits, so the doorbell blocks on the old primary.
    let waiting = queue.clone();
    let taker = tokio::spawn(async move { work_off(&waiting, BTreeSet::new(), 2).await });
    watched.push(&message("before")).await;
    // A failover that is planned waits for nobody: what has not been replicated is lost.
    watched.replicated().await;
    let old = watched.primary().await;
    // A Sentinel that has not heard of the replicas lately refuses.
    while watched.sentinels[0].try_run::<()>(&["SENTINEL", "FAILOVER", "main"]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while watched.primary().await == old {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watched.settled().await;
    watched.push(&message("after")).await;
    assert_eq!(taker.await.unwrap(), BTreeSet::from(["before".to_owned(), "after".to_owned()]));
    while store.put("k", "v".into(), Duration::from_secs(60)).await.is_err() {}
    assert_eq!(watched.on_primary::<String>(&["GET", "agent:k"]).await, "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_from_a_cluster() {
    let rig = Rig::cluster_stream().await;
    rig.push_job("a").await;
    rig.push(b"no token").await;
    for _ in 0..2 {
        let lease = rig.one().await;
        let end = match &lease.delivery.job {
            Ok(_) => done(),
            Err(rejected) => End::Dead { error: rejected.error.clone() },
        };
        assert_eq!(lease.finish(end).await.unwrap(), Finished::Done);
    }
    assert_eq!(rig.result("a").await.as_deref(), Some("1"));
    assert_eq!(rig.queue.dead(0, 10).await.unwrap().len(), 1);
}

/// Makes an authority and a certificate for 127.0.0.1.
fn certificates(dir: &Path) {
    let openssl = |args: &[&str]| {
        let made = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl is needed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ]);
    openssl(&[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=redis",
        "-keyout",
        "redis.key",
        "-out",
        "redis.csr",
    ]);
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "redis.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "redis.pem",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_through_tls_with_an_authority_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("redis.pem"), file("redis.key"));
    // The server wants to know the client too.
    let redis = Redis::with(&["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca]);
    let mut settings = quick();
    settings.redis.url = format!("rediss://127.0.0.1:{}", redis.port).into();
    let refused = RedisQueue::connect(&settings).await;
    assert!(refused.is_err(), "nobody vouches for the server");
    settings.redis.tls_ca_file = Some(ca);
    settings.redis.tls_cert_file = Some(cert);
    assert!(RedisQueue::connect(&settings).await.err().unwrap().0.contains("both or none"));
    settings.redis.tls_key_file = Some(key);
    works(&settings).await;
    settings.redis.tls_ca_file = Some("/nowhere".into());
    assert!(RedisQueue::connect(&settings).await.err().unwrap().0.contains("tls_ca_file"));
}

/// Puts a job in, takes it, ends it and reads its result and its events.
async fn works(settings: &Settings) {
    let queue = RedisQueue::connect(settings).await.unwrap();
    let id = job("a");
    let submission = agent_runner::queue::immediate(id.clone(), message("a").into());
    queue.submit(submission).await.unwrap();
    assert_eq!(work_off(&queue, BTreeSet::new(), 1).await.len(), 1);
    let wait = Duration::from_secs(30);
    assert_eq!(queue.result(&id, wait).await.unwrap().unwrap().as_str(), "1");
    assert!(!queue.events(&id, None, wait).await.unwrap().is_empty());
    queue.close().await;
}
