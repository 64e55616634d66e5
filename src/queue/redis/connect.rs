//! From `redis.url` to connections: one server, Sentinel, or a cluster.

use std::time::Duration;

use ::redis::{
    Arg, AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisResult, TlsCertificates, TlsMode, Value,
    aio::{MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use secrecy::ExposeSecret;

use super::address::{Address, Kind};
use crate::{net, queue::QueueError, settings};

/// Knows where Redis is and opens connections to it.
pub(super) struct Connector {
    target: Target,
    certificates: Option<TlsCertificates>,
    connect_timeout: Duration,
    /// How long an ordinary answer may take.
    pub(super) response_timeout: Duration,
}

enum Target {
    Single(Box<Client>),
    /// Asked again at every connection: a client that is pinned to a primary stays on it when it is demoted.
    Sentinel(Box<tokio::sync::Mutex<SentinelClient>>),
    Cluster(Vec<ConnectionInfo>),
}

/// An open connection; clones share it.
#[derive(Clone)]
pub(super) enum Conn {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connector {
    /// Reads `redis.url`. Nothing is dialled yet.
    pub(super) fn new(redis: &settings::Redis) -> Result<Self, QueueError> {
        let refuse = |why: String| QueueError(format!("redis.url: {why}"));
        let url = redis.url.expose_secret();
        let address = Address::parse(url).map_err(refuse)?;
        let connect_timeout = Duration::from_secs(redis.connect_timeout_secs.max(1));
        if address.tls {
            net::install_tls();
        }
        let certificates = if address.tls { certificates(redis)? } else { None };
        let target = target(&address, redis, certificates.as_ref()).map_err(|e| refuse(e.to_string()))?;
        Ok(Self {
            target,
            certificates,
            connect_timeout,
            response_timeout: Duration::from_secs(redis.response_timeout_secs.max(1)),
        })
    }

    /// Whether keys of several slots may not meet in one script.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.target, Target::Cluster(_))
    }

    /// Opens a connection whose answers may take `response_timeout`.
    pub(super) async fn open(&self, response_timeout: Duration) -> RedisResult<Conn> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(response_timeout));
        Ok(match &self.target {
            Target::Single(client) => Conn::Single(client.get_multiplexed_async_connection_with_config(&config).await?),
            Target::Sentinel(_) => {
                Conn::Single(self.primary().await?.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Target::Cluster(nodes) => {
                let mut builder = ClusterClient::builder(nodes.clone())
                    .connection_timeout(self.connect_timeout)
                    .response_timeout(response_timeout)
                    .retries(3);
                if let Some(certificates) = &self.certificates {
                    builder = builder.certs(certificates.clone());
                }
                Conn::Cluster(builder.build()?.get_async_connection().await?)
            }
        })
    }

    /// Opens a connection that listens to channels. In a cluster any node hears everything.
    pub(super) async fn pubsub(&self) -> RedisResult<PubSub> {
        match &self.target {
            Target::Single(client) => client.get_async_pubsub().await,
            Target::Sentinel(_) => self.primary().await?.get_async_pubsub().await,
            Target::Cluster(nodes) => {
                let mut last = None;
                for node in nodes {
                    match client(node.clone(), self.certificates.as_ref())?.get_async_pubsub().await {
                        Ok(pubsub) => return Ok(pubsub),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| (::redis::ErrorKind::InvalidClientConfig, "no nodes").into()))
            }
        }
    }

    async fn primary(&self) -> RedisResult<Client> {
        match &self.target {
            Target::Single(client) => Ok((**client).clone()),
            Target::Sentinel(sentinel) => sentinel.lock().await.async_get_client().await,
            Target::Cluster(nodes) => client(nodes[0].clone(), self.certificates.as_ref()),
        }
    }
}

impl Conn {
    /// Runs commands in one go; the pipeline ignores errors, so that each has its answer. The outer error is the connection's, after which it must not be used again;
    /// the inner ones are the server's.
    pub(super) async fn run(&mut self, commands: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        match self {
            Self::Single(connection) => commands.query_async(connection).await,
            Self::Cluster(connection) => {
                let commands: Vec<&Cmd> = commands.cmd_iter().collect();
                let one = |command: &Cmd| {
                    let (mut connection, command) = (connection.clone(), command.clone());
                    async move { command.query_async::<Value>(&mut connection).await }
                };
                // A confirmation by replicas is asked for when what it confirms has been done.
                let done = commands.iter().position(|command| is_wait(command)).unwrap_or(commands.len());
                let mut answers = futures::future::join_all(commands[..done].iter().copied().map(one)).await;
                for command in &commands[done..] {
                    answers.push(one(command).await);
                }
                // Without any answer it is the connection that failed.
                match answers.iter().find(|answer| answer.as_ref().is_err_and(|e| e.is_io_error())) {
                    Some(Err(error)) => Err(error.clone()),
                    _ => Ok(answers),
                }
            }
        }
    }
}

fn is_wait(command: &Cmd) -> bool {
    matches!(command.args_iter().next(), Some(Arg::Simple(b"WAIT")))
}

/// The files for TLS, where any are named.
fn certificates(redis: &settings::Redis) -> Result<Option<TlsCertificates>, QueueError> {
    let read = |key: &str, file: &Option<String>| -> Result<Option<Vec<u8>>, QueueError> {
        let Some(file) = file.as_ref().filter(|file| !file.is_empty()) else { return Ok(None) };
        std::fs::read(file).map(Some).map_err(|e| QueueError(format!("redis.{key}: {file} cannot be read: {e}")))
    };
    let root_cert = read("tls_ca_file", &redis.tls_ca_file)?;
    let client_tls = match (read("tls_cert_file", &redis.tls_cert_file)?, read("tls_key_file", &redis.tls_key_file)?) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        _ => return Err(QueueError("redis.tls_cert_file and redis.tls_key_file: give both or none".into())),
    };
    Ok((root_cert.is_some() || client_tls.is_some()).then_some(TlsCertificates { client_tls, root_cert }))
}

fn client(server: impl IntoConnectionInfo, certificates: Option<&TlsCertificates>) -> RedisResult<Client> {
    match certificates {
        Some(certificates) => Client::build_with_tls(server, certificates.clone()),
        None => Client::open(server),
    }
}

fn target(address: &Address, redis: &settings::Redis, certificates: Option<&TlsCertificates>) -> RedisResult<Target> {
    Ok(match &address.kind {
        Kind::Single => Target::Single(Box::new(client(address.url(&address.hosts[0]), certificates)?)),
        Kind::Cluster => {
            let nodes = address.hosts.iter().map(|host| address.url(host).into_connection_info());
            Target::Cluster(nodes.collect::<RedisResult<_>>()?)
        }
        Kind::Sentinel { primary } => {
            Target::Sentinel(Box::new(sentinel(address, primary, redis, certificates)?.into()))
        }
    })
}

/// The login of the address is that of the servers; Sentinels have their own, if any.
fn sentinel(
    address: &Address,
    primary: &str,
    redis: &settings::Redis,
    certificates: Option<&TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let mut sentinels: Vec<ConnectionAddr> = Vec::new();
    for host in &address.hosts {
        sentinels.push(address.sentinel_url(host).into_connection_info()?.addr().clone());
    }
    let server = address.url(&address.hosts[0]).into_connection_info()?;
    let login = server.redis_settings();
    let mut builder = SentinelClientBuilder::new(sentinels, primary, SentinelServerType::Master)?;
    if let Some(user) = login.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = login.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = &redis.sentinel_username {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = &redis.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password.expose_secret());
    }
    if address.tls {
        builder =
            builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
    }
    if let Ok(database) = address.database.parse() {
        builder = builder.set_client_to_redis_db(database);
    }
    builder.build()
}
