//! What every driver of the store has to do: one suite, run for each.

use std::{sync::Arc, time::Duration};

use agent_runner::store::{Artifacts, Draw, Held, Hold, MemoryStore, Place, RedisStore, Store, Visit, Write};
use bytes::Bytes;

use crate::support::redis::Redis;

const HOUR: Duration = Duration::from_secs(3600);

/// A driver under test.
struct Rig {
    store: Arc<dyn Store>,
    redis: Option<Redis>,
}

impl Rig {
    fn memory() -> Self {
        Self { store: MemoryStore::new(1 << 20), redis: None }
    }

    fn redis() -> Self {
        let redis = Redis::start();
        Self { store: RedisStore::connect(&redis.settings()).unwrap(), redis: Some(redis) }
    }
}

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() { super::$name(super::Rig::memory()).await; })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() { super::$name(super::Rig::redis()).await; })*
        }
    };
}

suite! {
    a_value_stands_until_it_is_replaced_or_removed,
    a_list_keeps_the_order_of_its_entries,
    a_key_ends_after_its_time,
    artifacts_are_found_by_reference_and_by_bare_id,
    a_list_keeps_its_newest_entries,
    counters_add_up_each_by_its_name,
    buckets_give_all_or_nothing,
    who_stands_in_line_is_not_overtaken,
    what_comes_back_moves_the_line_forward,
    a_place_that_nobody_comes_back_for_is_given_up,
    nobody_takes_from_what_is_shut,
    an_allowance_is_held_and_then_used,
    what_a_dead_process_held_comes_back,
    several_writes_go_out_together,
    the_least_loaded_is_lent_and_the_dead_give_back,
}

/// Only a server that took over the data of another may lack something.
#[tokio::test]
async fn a_redis_that_was_started_again_may_have_forgotten() {
    let mut redis = Redis::with(&["--appendonly", "yes"]);
    let connect = || RedisStore::connect(&redis.settings()).unwrap();
    let (before, other) = (connect(), connect());
    for store in [&before, &other, &before] {
        assert!(!store.may_have_forgotten().await.unwrap(), "it is the first one");
    }
    let settings = redis.settings();
    redis.kill();
    assert!(before.list("a").await.unwrap_err().is_away());
    redis.start_again();
    let after = RedisStore::connect(&settings).unwrap();
    for store in [&after, &before, &other] {
        // Whoever asks has just written, and so knows of a connection that broke.
        store.list("a").await.unwrap();
        assert!(store.may_have_forgotten().await.unwrap());
    }
    let age: String = redis.run(&["GET", "agent:epoch"]).await;
    let (since, server) = age.split_once(' ').unwrap();
    let long_ago = format!("{} {server}", since.parse::<u64>().unwrap() - 3600);
    redis.run::<()>(&["SET", "agent:epoch", &long_ago]).await;
    assert!(!RedisStore::connect(&settings).unwrap().may_have_forgotten().await.unwrap(), "that was long ago");
}

async fn a_list_keeps_its_newest_entries(rig: Rig) {
    let store = &rig.store;
    store.trim("a", 2).await.unwrap();
    for entry in ["1", "2", "3"] {
        store.append("a", entry.into(), HOUR).await.unwrap();
    }
    store.trim("a", 2).await.unwrap();
    assert_eq!(store.list("a").await.unwrap(), ["2", "3"]);
}

async fn counters_add_up_each_by_its_name(rig: Rig) {
    let store = &rig.store;
    assert_eq!(store.count("c", &[("x", 5), ("y", -1)], HOUR).await.unwrap(), [5, -1]);
    assert_eq!(store.count("c", &[("y", 3)], HOUR).await.unwrap(), [2]);
    assert_eq!(store.count("other", &[("x", 1)], HOUR).await.unwrap(), [1]);
    let keys = ["c", "nothing", "other"].map(str::to_owned);
    let mut sums = store.sums(&keys).await.unwrap();
    sums[0].sort();
    assert_eq!(sums[0], [("x".to_owned(), 5), ("y".to_owned(), 2)]);
    assert_eq!(sums[1..], [vec![], vec![("x".to_owned(), 1)]]);
    store.count("soon", &[("x", 1)], Duration::from_millis(1)).await.unwrap();
    while store.count("soon", &[("x", 0)], Duration::from_millis(1)).await.unwrap() != [0] {
        tokio::task::yield_now().await;
    }
}

async fn buckets_give_all_or_nothing(rig: Rig) {
    let store = &rig.store;
    let draws = |a: i64, b: i64| [Draw { per_minute: 1000, amount: a }, Draw { per_minute: 10, amount: b }];
    let wait = async |a, b, forced| {
        let visit = if forced { Visit::Settle } else { Visit::Now };
        store.draw("l", &draws(a, b), visit).await.unwrap().as_secs_f64()
    };
    assert_eq!(wait(400, 10, false).await, 0.0);
    let empty = wait(1, 5, false).await;
    assert!(empty > 15.0 && empty <= 30.0, "{empty}");
    assert_eq!(wait(590, 0, false).await, 0.0, "the refusal took nothing");
    assert_eq!(wait(0, -10, true).await, 0.0);
    assert_eq!(wait(0, 9, false).await, 0.0);
    assert_eq!(wait(2000, 0, true).await, 0.0);
    let owed = wait(1, 0, false).await;
    assert!(owed > 60.0 && owed <= 121.0, "{owed}");
    let none = [Draw { per_minute: 0, amount: 1_000_000 }];
    assert!(store.draw("none", &none, Visit::Now).await.unwrap().is_zero());
}

/// One visit at a bucket that gains ten in a minute, as seconds. Generous bounds: a busy machine lets time pass.
async fn visit(store: &Arc<dyn Store>, amount: i64, visit: Visit<'_>) -> f64 {
    store.draw("l", &[Draw { per_minute: 10, amount }], visit).await.unwrap().as_secs_f64()
}

fn place(holder: &str) -> Visit<'_> {
    Visit::Line(Place { holder, at_most: HOUR, look_again: Duration::ZERO, keep: HOUR })
}

#[track_caller]
fn about(seconds: f64, most: f64) {
    assert!(seconds <= most && seconds > most - 20.0, "{seconds} is not a little less than {most}");
}

async fn who_stands_in_line_is_not_overtaken(rig: Rig) {
    let store = &rig.store;
    assert_eq!(visit(store, 10, Visit::Now).await, 0.0);
    for (holder, most) in [("a", 60.0), ("b", 120.0), ("c", 180.0)] {
        about(visit(store, 10, place(holder)).await, most);
    }
    about(visit(store, 10, Visit::Now).await, 240.0);
    about(visit(store, 10, place("b")).await, 120.0);
    about(visit(store, 1, place("d")).await, 186.0);
    visit(store, -10, Visit::Settle).await;
    assert!(visit(store, 10, place("b")).await > 30.0, "it is the turn of another");
    assert_eq!(visit(store, 10, place("a")).await, 0.0);
    about(visit(store, 10, place("b")).await, 60.0);
}

async fn what_comes_back_moves_the_line_forward(rig: Rig) {
    let store = &rig.store;
    assert_eq!(visit(store, 10, Visit::Now).await, 0.0);
    about(visit(store, 10, place("a")).await, 60.0);
    about(visit(store, 10, place("b")).await, 120.0);
    visit(store, -9, Visit::Settle).await;
    about(visit(store, 10, place("b")).await, 66.0);
    about(visit(store, 10, place("c")).await, 126.0);
    assert_eq!(visit(store, 5, place("a")).await, 0.0, "less than it stood for");
    about(visit(store, 10, place("b")).await, 36.0);
}

async fn a_place_that_nobody_comes_back_for_is_given_up(rig: Rig) {
    let store = &rig.store;
    assert_eq!(visit(store, 10, Visit::Now).await, 0.0);
    let gone = Place { holder: "gone", at_most: HOUR, look_again: Duration::from_millis(1), keep: Duration::ZERO };
    assert_eq!(visit(store, 10, Visit::Line(gone)).await, 0.001);
    while visit(store, 10, Visit::Now).await > 60.0 {
        tokio::task::yield_now().await;
    }
    let hasty = Place { holder: "hasty", at_most: Duration::from_secs(5), ..gone };
    let told = visit(store, 10, Visit::Line(Place { look_again: Duration::ZERO, ..hasty })).await;
    assert!(told > 5.0, "{told}");
    about(visit(store, 10, Visit::Now).await, 60.0);
}

async fn nobody_takes_from_what_is_shut(rig: Rig) {
    let store = &rig.store;
    for secs in [300, 60] {
        visit(store, 0, Visit::Shut(Duration::from_secs(secs))).await;
    }
    about(visit(store, 1, Visit::Now).await, 300.0);
    about(visit(store, 1, place("a")).await, 300.0);
    assert_eq!(visit(store, 1, Visit::Settle).await, 0.0);
}

async fn an_allowance_is_held_and_then_used(rig: Rig) {
    let store = &rig.store;
    let limits = [100, 50];
    let hold = |holder, tokens, micros| Hold {
        owner: "ann",
        period: "today",
        holder,
        amounts: [tokens, micros],
        least: [tokens.min(1), micros.min(1)],
    };
    let ask = async |holder, tokens, micros| store.hold(&hold(holder, tokens, micros), limits, HOUR).await.unwrap();
    assert_eq!(ask("a", 500, 0).await, Held::Yes([100, 0]), "all that is left");
    assert_eq!(ask("b", 1, 0).await, Held::Later);
    assert_eq!(ask("a", 90, 0).await, Held::Yes([90, 0]), "the same once more");
    assert_eq!(ask("b", 11, 0).await, Held::Later, "alone it would get more");
    assert_eq!(ask("b", 10, 0).await, Held::Yes([10, 0]));
    store.settle(&hold("a", 60, 49), HOUR).await.unwrap();
    assert_eq!(ask("c", 1, 5).await, Held::Yes([1, 1]));
    let large = Hold { least: [41, 0], ..hold("e", 50, 0) };
    assert_eq!(store.hold(&large, limits, HOUR).await.unwrap(), Held::UsedUp([60, 49]), "others cannot leave so much");
    assert_eq!(ask("d", 1, 1).await, Held::Later, "the other sum is full");
    store.settle(&hold("c", 0, 0), HOUR).await.unwrap();
    store.settle(&hold("b", 0, 1), HOUR).await.unwrap();
    assert_eq!(ask("d", 1, 1).await, Held::UsedUp([60, 50]));
    assert_eq!(ask("d", 1, 0).await, Held::Yes([1, 0]), "what costs nothing needs nothing of it");
    let tomorrow = Hold { period: "tomorrow", ..hold("d", 1, 1) };
    assert_eq!(store.hold(&tomorrow, limits, HOUR).await.unwrap(), Held::Yes([1, 1]));
    let bob = Hold { owner: "bob", ..hold("d", 1, 1) };
    assert_eq!(store.hold(&bob, limits, HOUR).await.unwrap(), Held::Yes([1, 1]));
    assert_eq!(store.hold(&hold("e", 1, 1), [0, 0], HOUR).await.unwrap(), Held::Yes([1, 1]), "no limits");
}

async fn what_a_dead_process_held_comes_back(rig: Rig) {
    let store = &rig.store;
    let hold = |holder| Hold { owner: "ann", period: "today", holder, amounts: [50, 0], least: [1, 0] };
    // Others go on, so that it cannot be the whole record that is forgotten.
    store.hold(&Hold { amounts: [1, 0], ..hold("alive") }, [100, 0], HOUR).await.unwrap();
    store.hold(&hold("dead"), [100, 0], Duration::from_millis(1)).await.unwrap();
    while store.hold(&hold("next"), [100, 0], HOUR).await.unwrap() != Held::Yes([50, 0]) {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.hold(&hold("other"), [100, 0], HOUR).await.unwrap(), Held::Later, "nothing used: only held");
}

async fn a_value_stands_until_it_is_replaced_or_removed(rig: Rig) {
    let store = &rig.store;
    assert_eq!(store.get("a").await.unwrap(), None);
    for value in [&b""[..], b"\xff\0\n", b"2"] {
        store.put("a", Bytes::from_static(value), HOUR).await.unwrap();
        assert_eq!(store.get("a").await.unwrap().unwrap(), value);
    }
    assert_eq!(store.get("b").await.unwrap(), None);
    store.remove("a").await.unwrap();
    store.remove("a").await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), None);
}

async fn a_list_keeps_the_order_of_its_entries(rig: Rig) {
    let store = &rig.store;
    assert!(store.list("a").await.unwrap().is_empty());
    for entry in ["3", "1", "2"] {
        store.append("a", entry.into(), HOUR).await.unwrap();
    }
    assert_eq!(store.list("a").await.unwrap(), ["3", "1", "2"]);
    store.remove("a").await.unwrap();
    assert!(store.list("a").await.unwrap().is_empty());
}

async fn a_key_ends_after_its_time(rig: Rig) {
    let store = &rig.store;
    let soon = Duration::from_millis(1);
    store.put("value", "1".into(), soon).await.unwrap();
    store.append("list", "1".into(), soon).await.unwrap();
    store.put("other", "1".into(), Duration::ZERO).await.unwrap();
    while store.get("value").await.unwrap().is_some()
        || !store.list("list").await.unwrap().is_empty()
        || store.get("other").await.unwrap().is_some()
    {
        tokio::task::yield_now().await;
    }
    store.put("value", "2".into(), HOUR).await.unwrap();
    assert_eq!(store.get("value").await.unwrap().unwrap(), "2");
}

async fn artifacts_are_found_by_reference_and_by_bare_id(rig: Rig) {
    let artifacts = Artifacts::new(rig.store.clone(), HOUR);
    let reference = artifacts.put(Bytes::from_static(b"[1.10]")).await.unwrap();
    assert_eq!(artifacts.get(&reference).await.unwrap().unwrap(), "[1.10]");
    // Written by an earlier version, under an id of its own.
    rig.store.put("artifacts:0198-a", "[2]".into(), HOUR).await.unwrap();
    assert_eq!(artifacts.get("artifact://0198-a").await.unwrap().unwrap(), "[2]");
    assert_eq!(artifacts.get("0198-a").await.unwrap().unwrap(), "[2]");
    assert_eq!(artifacts.get("artifact://nobody").await.unwrap(), None);
    if let Some(redis) = &rig.redis {
        let _: () = redis.run(&["SET", "cas:sha256:1", "[7]"]).await;
        assert_eq!(artifacts.get("cas://sha256:1").await.unwrap().unwrap(), "[7]");
    }
}

#[tokio::test]
async fn keys_in_redis_carry_the_prefix_and_end_by_themselves() {
    let redis = Redis::start();
    let mut settings = redis.settings();
    settings.queue.prefix = "other".into();
    let store = RedisStore::connect(&settings).unwrap();
    store.put("k", "v".into(), HOUR).await.unwrap();
    store.append("l", "v".into(), HOUR).await.unwrap();
    for key in ["other:k", "other:l"] {
        let ttl: i64 = redis.run(&["TTL", key]).await;
        assert!((3_590..=3_600).contains(&ttl), "{key} lives {ttl} s");
    }
    assert_eq!(store.foreign("other:k").await.unwrap().unwrap(), "v");
    assert_eq!(store.foreign("k").await.unwrap(), None);
}

#[tokio::test]
async fn a_store_has_its_own_address_and_outlives_a_restart_of_the_server() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut settings = redis.settings();
    settings.redis.url = format!("redis://127.0.0.1:{}", crate::support::redis::free_port()).as_str().into();
    settings.store.url = Some("localhost".into());
    assert!(RedisStore::connect(&settings).err().unwrap().to_string().contains("store.url"));
    settings.store.url = Some(redis.url().as_str().into());
    let store = RedisStore::connect(&settings).unwrap();
    store.put("k", "v".into(), HOUR).await.unwrap();
    redis.kill();
    assert!(store.get("k").await.is_err());
    redis.start_again();
    assert_eq!(store.get("k").await.unwrap().unwrap(), "v");
}

async fn several_writes_go_out_together(rig: Rig) {
    let store = &rig.store;
    let replace = |entries: &[&'static str]| Write::Replace {
        key: "trail".into(),
        entries: entries.iter().map(|entry| Bytes::from_static(entry.as_bytes())).collect(),
        ttl: HOUR,
    };
    let push = |entry: &'static str| Write::Push { key: "index".into(), entry: entry.into(), keep: 2, ttl: HOUR };
    store.write(vec![replace(&["a", "b"]), push("1")]).await.unwrap();
    store.write(vec![replace(&["c"]), push("2"), push("3")]).await.unwrap();
    assert_eq!(store.list("trail").await.unwrap(), ["c"], "a second attempt takes the place of the first");
    assert_eq!(store.list("index").await.unwrap(), ["2", "3"]);
    store.write(vec![replace(&[])]).await.unwrap();
    assert!(store.list("trail").await.unwrap().is_empty());
    store.write(Vec::new()).await.unwrap();
}

async fn the_least_loaded_is_lent_and_the_dead_give_back(rig: Rig) {
    let store = &rig.store;
    let among = ["a", "b", "c"];
    let borrow = async |holder: &str, ttl| among[store.borrow("load", &among, holder, ttl).await.unwrap()];
    assert_eq!((borrow("1", HOUR).await, borrow("2", HOUR).await, borrow("3", HOUR).await), ("a", "b", "c"));
    assert_eq!(borrow("2", HOUR).await, "b", "a holder keeps what it has");
    assert_eq!(borrow("4", HOUR).await, "a", "the first of equals");
    store.give_back("load", "2").await.unwrap();
    store.give_back("load", "2").await.unwrap();
    store.give_back("load", "nobody").await.unwrap();
    assert_eq!(borrow("5", HOUR).await, "b");
    // A holder that is never heard of again: its loan ends by itself.
    let two = ["p", "q"];
    assert_eq!(store.borrow("soon", &two, "dead", Duration::from_millis(1)).await.unwrap(), 0);
    while store.borrow("soon", &two, "next", HOUR).await.unwrap() != 0 {
        store.give_back("soon", "next").await.unwrap();
    }
    assert_eq!(store.borrow("other", &among, "1", HOUR).await.unwrap(), 0, "each key counts for itself");
    assert_eq!(store.borrow("load", &["x"], "1", HOUR).await.unwrap(), 0, "who moves on gives back");
    assert_eq!(borrow("9", HOUR).await, "a", "a: 4, b: 5, c: 3");
}
