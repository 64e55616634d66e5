//! Several Redis servers that belong together: a cluster, or a primary with replicas and Sentinels.

use std::time::Duration;

use agent_runner::settings::Settings;
use redis::{FromRedisValue, cluster::ClusterClient};
use tempfile::TempDir;

use super::{
    redis::{Redis, free_port, quick},
    service::PATIENCE,
};

/// Three primaries that share the slots.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// A cluster whose every node knows that it is complete.
    pub(crate) async fn start() -> Self {
        let node = |_| {
            let bus = free_port().to_string();
            Redis::with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-port", &bus])
        };
        let cluster = Self { nodes: (0..3).map(node).collect() };
        for (i, node) in cluster.nodes.iter().enumerate() {
            let _: () = node.run(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]).await;
            let (from, to) = (16384 * i / 3, 16384 * (i + 1) / 3 - 1);
            let _: () = node.run(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]).await;
            if i > 0 {
                let bus: Vec<String> = node.run(&["CONFIG", "GET", "cluster-port"]).await;
                let port = node.port.to_string();
                let _: () = cluster.nodes[0].run(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus[1]]).await;
            }
        }
        for node in &cluster.nodes {
            let whole = |info: &str| info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3");
            until(node, &["CLUSTER", "INFO"], whole).await;
        }
        cluster
    }

    /// Settings for this cluster with quick leases.
    pub(crate) fn settings(&self) -> Settings {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let mut settings = quick();
        settings.redis.url = format!("redis+cluster://{}", hosts.join(",")).into();
        settings
    }

    /// Runs one command where its key lives.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let urls: Vec<String> = self.nodes.iter().map(Redis::url).collect();
        let mut connection = ClusterClient::new(urls).unwrap().get_async_connection().await.unwrap();
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut connection).await.unwrap()
    }
}

/// A primary, two replicas and the three Sentinels that watch them.
pub(crate) struct Watched {
    pub(crate) servers: Vec<Redis>,
    pub(crate) sentinels: Vec<Redis>,
    _configs: TempDir,
}

/// What the Sentinels call the primary.
const NAME: &str = "main";

impl Watched {
    /// All of them, once the replicas follow and the Sentinels know each other. `options` are those of the servers.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let primary = Redis::with(options);
        let port = primary.port.to_string();
        let replica = |_| Redis::with(&[options, &["--replicaof", &format!("127.0.0.1 {port}")]].concat());
        let servers: Vec<Redis> = std::iter::once(primary).chain((0..2).map(replica)).collect();
        until(&servers[0], &["INFO", "replication"], |info| info.matches("state=online").count() == 2).await;
        let configs = tempfile::tempdir().unwrap();
        let sentinel = |i| {
            let file = configs.path().join(format!("sentinel-{i}.conf"));
            let lines = [
                format!("sentinel monitor {NAME} 127.0.0.1 {port} 2"),
                // Long enough that a server which waits for a processor is not taken for dead.
                format!("sentinel down-after-milliseconds {NAME} 2500"),
                format!("sentinel failover-timeout {NAME} 6000"),
                format!("sentinel parallel-syncs {NAME} 2"),
            ];
            std::fs::write(&file, lines.join("\n")).unwrap();
            Redis::of(&[file.to_str().unwrap(), "--sentinel"], &[])
        };
        let sentinels: Vec<Redis> = (0..3).map(sentinel).collect();
        let watched = Self { servers, sentinels, _configs: configs };
        watched.settled().await;
        watched
    }

    /// Settings that ask the Sentinels.
    pub(crate) fn settings(&self) -> Settings {
        let hosts: Vec<String> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        let mut settings = quick();
        settings.redis.url = format!("redis+sentinel://{}/{NAME}", hosts.join(",")).into();
        settings
    }

    /// Waits until every Sentinel sees two others and two replicas that follow the same primary.
    pub(crate) async fn settled(&self) {
        for sentinel in &self.sentinels {
            until(sentinel, &["INFO", "sentinel"], |info| {
                info.contains("status=ok") && info.contains("slaves=2") && info.contains("sentinels=3")
            })
            .await;
        }
        // Who that is may change while one looks.
        loop {
            let primary = &self.servers[self.primary().await];
            let info = primary.try_run::<String>(&["INFO", "replication"]).await.unwrap_or_default();
            if info.matches("state=online").count() == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs one command on whoever leads, again while that changes hands.
    pub(crate) async fn on_primary<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let began = tokio::time::Instant::now();
        loop {
            match self.servers[self.primary().await].try_run(words).await {
                Ok(answer) => return answer,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{words:?}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Pushes a raw message as a producer does that wants to be sure of it. Where a failover comes in between it may
    /// stand there twice, which a queue has to bear.
    pub(crate) async fn push(&self, message: &str) {
        let _: i64 = self.on_primary(&["RPUSH", "agent:jobs", message]).await;
    }

    /// Waits until both replicas have everything, whoever leads.
    pub(crate) async fn replicated(&self) {
        self.replicated_to(2).await;
    }

    /// Waits until so many replicas have everything.
    pub(crate) async fn replicated_to(&self, replicas: i64) {
        // `WAIT` speaks of what its own connection wrote.
        let mut wait = redis::pipe();
        wait.cmd("INCR").arg("written").ignore().cmd("WAIT").arg(replicas).arg(1000);
        loop {
            if let Ok(mut connection) = self.servers[self.primary().await].try_connection().await
                && wait.query_async::<(i64,)>(&mut connection).await.is_ok_and(|(held,)| held >= replicas)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Which server the Sentinels call the primary.
    pub(crate) async fn primary(&self) -> usize {
        let (_, port): (String, String) = self.sentinels[0].run(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).await;
        self.servers.iter().position(|server| server.port.to_string() == port).unwrap()
    }
}

/// Asks again and again until the answer will do.
pub(crate) async fn until(server: &Redis, words: &[&str], good: impl Fn(&str) -> bool) {
    loop {
        if server.try_run::<String>(words).await.is_ok_and(|answer| good(&answer)) {
            return;
        }
        // Servers need the processor more than we do.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
