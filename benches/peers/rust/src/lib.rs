//! What both programs share: how a run is asked for, timed and ended. See benches/peers/README.md.

use std::{
    io::BufRead,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use redis::aio::ConnectionManager;

/// What the program was asked to do.
pub enum Ask {
    Fill(usize),
    Drain { jobs: usize, concurrency: usize },
    Work,
}

pub fn ask() -> Ask {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args[at].parse().unwrap();
    match args[0].as_str() {
        "fill" => Ask::Fill(number(1)),
        "drain" => Ask::Drain { jobs: number(1), concurrency: number(2) },
        _ => Ask::Work,
    }
}

pub fn url() -> String {
    std::env::var("REDIS_URL").unwrap()
}

static DONE: AtomicUsize = AtomicUsize::new(0);

/// One empty job ran.
pub fn ran() {
    DONE.fetch_add(1, Ordering::Relaxed);
}

/// Says that everything is there, and waits for the word to start.
pub fn wait_for_start() -> Instant {
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    Instant::now()
}

/// Waits until so many jobs ran, says how long it took, and ends the process.
pub async fn finish(jobs: usize, began: Instant) -> ! {
    while DONE.load(Ordering::Relaxed) < jobs {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    println!("{}", began.elapsed().as_secs_f64());
    // What the last jobs owe Redis is part of the measured processor time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::process::exit(0);
}

pub async fn connection() -> ConnectionManager {
    redis::Client::open(url()).unwrap().get_connection_manager().await.unwrap()
}

/// A job with an effect that can be counted.
pub async fn effect(mut redis: ConnectionManager, job: String) {
    let _: () = redis::cmd("RPUSH").arg("started").arg(&job).query_async(&mut redis).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let _: () = redis::cmd("RPUSH").arg("effects").arg(job).query_async(&mut redis).await.unwrap();
}
