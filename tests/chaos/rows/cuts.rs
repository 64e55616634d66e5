//! A connection that breaks inside the reply to a claim, a renewal or a finish, after every number of bytes.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use agent_runner::{
    job::{Event, EventKind, RawJson, Status},
    queue::{End, Finished, Lease, Queue, RedisQueue, Standing},
};
use serde_json::json;

use super::{Row, audit};
use crate::support::{
    proxy::{Cut, Proxy},
    redis::{Redis, quick},
};

/// Whose reply is cut.
#[derive(Clone, Copy)]
pub enum Place {
    Claim,
    Renew,
    Finish,
}

impl Place {
    /// What its request contains: the hash of its script, or the end of its transaction.
    fn marker(self) -> String {
        let text = match self {
            Self::Claim => include_str!("../../../src/queue/lua/claim.lua"),
            Self::Renew => include_str!("../../../src/queue/lua/renew.lua"),
            Self::Finish => return "\r\nEXEC\r\n".into(),
        };
        redis::Script::new(text).get_hash().to_owned()
    }
}

pub async fn run(place: Place, bytes: RangeInclusive<usize>) -> Row {
    let redis = Redis::start();
    let proxy = Proxy::to(([127, 0, 0, 1], redis.port).into()).await;
    let mut settings = quick();
    settings.queue.lease_secs = 6;
    settings.queue.block_secs = 1;
    settings.redis.url = format!("redis://127.0.0.1:{}", proxy.port).as_str().into();
    let queue = RedisQueue::connect(&settings).await.unwrap();
    warm_up(&redis, &queue).await;
    let mut ids = vec!["warm".to_owned()];
    for after in bytes {
        let id = format!("j{after}");
        ids.push(id.clone());
        let cut = || proxy.cut(Cut { marker: place.marker().into(), after });
        let cuts = proxy.cuts_made();
        if matches!(place, Place::Claim) {
            cut();
        }
        redis.push(json!({"job_id": id, "prompt": "p"}).to_string().as_bytes()).await;
        let lease = one(&queue).await;
        if !matches!(place, Place::Claim) {
            cut();
        }
        if matches!(place, Place::Renew) {
            while proxy.cuts_made() == cuts {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        // Whatever came through, this process still has the job, and nobody else may.
        assert_eq!((lease.delivery.crashes, lease.delivery.standing), (0, Standing::Runnable), "{id}");
        assert_eq!(lease.finish(done(&id)).await.unwrap(), Finished::Done, "{id}");
    }
    while queue.stats().await.is_ok_and(|stats| stats.in_flight > 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut row = Row { faults: proxy.cuts_made(), ..Row::default() };
    audit(&mut redis.connection().await, &ids, &mut row).await;
    row
}

/// One job through every script, so that each is called by its hash from then on.
async fn warm_up(redis: &Redis, queue: &Arc<RedisQueue>) {
    redis.push(br#"{"job_id":"warm","prompt":"p"}"#).await;
    let lease = one(queue).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    lease.finish(done("warm")).await.unwrap();
}

async fn one(queue: &Arc<RedisQueue>) -> Lease {
    loop {
        if let Some(lease) = queue.claim(1).await.unwrap_or_default().pop() {
            return lease;
        }
    }
}

fn done(id: &str) -> End {
    End::Result {
        result: RawJson::from_trusted(&b"1"[..]),
        status: Status::Completed,
        lane: None,
        event: Event::new(EventKind::Completed),
        signal: Some(RawJson::of(&json!({"job_id": id}))),
        dead: None,
    }
}
