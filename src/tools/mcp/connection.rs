//! A live MCP server: its tools listed and called within limits.

use std::{path::Path, sync::Arc, time::Duration};

use rmcp::{
    ClientLifecycleMode, RoleClient,
    model::{
        CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, JsonObject, PaginatedRequestParams,
        ProtocolVersion,
    },
    serve_client_with_lifecycle,
    service::{RunningService, ServiceError},
    transport::streamable_http_client::{StreamableHttpClientTransport, StreamableHttpClientTransportConfig},
};
use secrecy::ExposeSecret;

use super::{
    MAX_MESSAGE_BYTES, Program, Reach, ServerSpec,
    guard::NOT_STARTED,
    http::HttpClient,
    listed::{Listed, MAX_TOOLS},
    process::{self, Group},
    result::{Called, read},
    stdio::Pipes,
};
use crate::{
    net::{Credentials, Egress},
    settings::Secret,
};

/// Pages of a list of tools.
const MAX_PAGES: usize = 32;
/// Time for the last message of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection. Dropped, its process is gone with all it started.
pub(super) struct Connection {
    service: Option<RunningService<RoleClient, ClientConfig>>,
    group: Option<Group>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            group.kill();
        }
    }
}

/// Why there is no connection.
enum Begun {
    /// Nothing was begun: it would be the same again.
    Not(String),
    /// The server was there, and something went wrong with it.
    Started(String),
}

/// Who we are, and that we offer servers nothing: no roots, no sampling, no questions to people.
fn about_us() -> ClientConfig {
    let us = Implementation::new("agent-runner", env!("CARGO_PKG_VERSION"));
    ClientConfig::new(ClientCapabilities::default(), us).with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
}

/// The newest version where the server knows how to say that it speaks it, else what it agrees to at the handshake.
fn lifecycle() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::LATEST],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    }
}

impl Connection {
    /// Starts the server, or connects to it, and agrees on a version. A server that cannot bear to be asked for its
    /// versions is begun again with the handshake of the earlier ones.
    ///
    /// # Errors
    /// Why it cannot be had, in a sentence.
    pub(super) async fn open(
        spec: &ServerSpec,
        egress: &Arc<Egress>,
        credentials: &Credentials,
        guard: Option<&Path>,
    ) -> Result<Self, String> {
        let opened = tokio::time::timeout(spec.timeout, async {
            match Self::connect(spec, egress, credentials, guard, lifecycle()).await {
                Err(Begun::Started(_)) => {
                    Self::connect(spec, egress, credentials, guard, ClientLifecycleMode::Initialize).await
                }
                connected => connected,
            }
        });
        let why = match opened.await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(Begun::Not(why) | Begun::Started(why))) => why,
            Err(_) => format!("it was not ready within {} s (timeout_secs)", spec.timeout.as_secs()),
        };
        Err(format!("the MCP server {} cannot be used: {why}", spec.name))
    }

    async fn connect(
        spec: &ServerSpec,
        egress: &Arc<Egress>,
        credentials: &Credentials,
        guard: Option<&Path>,
        lifecycle: ClientLifecycleMode,
    ) -> Result<Self, Begun> {
        match &spec.reach {
            Reach::Program(program) => {
                let started = process::start(&spec.name, program, guard).map_err(Begun::Not)?;
                let group = started.group.clone();
                let pipes = Pipes::new(&spec.name, started);
                let service = serve_client_with_lifecycle(about_us(), pipes, lifecycle).await;
                let service = service.map_err(|error| ended(program, &group, guard, &error))?;
                Ok(Self { service: Some(service), group: Some(group) })
            }
            Reach::Http { url, headers, auth_profile } => {
                let mut sent: Vec<(String, Secret)> =
                    headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().into())).collect();
                if let Some(profile) = auth_profile {
                    let header = credentials.header(profile, url);
                    sent.push(header.map_err(|error| Begun::Not(error.to_string()))?);
                }
                let client = HttpClient::new(egress.clone(), sent, spec.timeout);
                let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
                config.max_sse_event_size = MAX_MESSAGE_BYTES;
                let transport = StreamableHttpClientTransport::with_client(client, config);
                let service = serve_client_with_lifecycle(about_us(), transport, lifecycle).await;
                let service = service.map_err(|error| Begun::Started(shortened(&error)))?;
                Ok(Self { service: Some(service), group: None })
            }
        }
    }

    /// Whether the server is still there, as far as can be told without asking it.
    pub(super) fn is_open(&self) -> bool {
        self.service.as_ref().is_some_and(|service| !service.is_closed() && !service.is_transport_closed())
    }

    fn service(&self) -> Result<&RunningService<RoleClient, ClientConfig>, String> {
        self.service.as_ref().ok_or_else(|| "the connection is closed".to_owned())
    }

    /// Its tools, all pages.
    pub(super) async fn list(&self, server: &str) -> Result<Listed, String> {
        let service = self.service()?;
        let (mut tools, mut cursor) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let page = service.list_tools(Some(PaginatedRequestParams::default().with_cursor(cursor))).await;
            let page = page.map_err(|error| format!("the MCP server {server} lists no tools: {}", said(&error)))?;
            tools.extend(page.tools);
            if tools.len() > MAX_TOOLS {
                return Err(format!("the MCP server {server} lists more than {MAX_TOOLS} tools"));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(Listed::read(server, &tools));
            }
        }
        Err(format!("the MCP server {server} lists its tools without end"))
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// What the server or the connection failed with; that the tool itself failed is an answer.
    pub(super) async fn call(&self, tool: &str, arguments: JsonObject, time: Duration) -> Result<Called, String> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        match tokio::time::timeout(time, self.service()?.call_tool(params)).await {
            Ok(Ok(result)) => Ok(read(&result)),
            Ok(Err(error)) => Err(said(&error)),
            Err(_) => Err(format!("no answer within {} s (timeout_secs)", time.as_secs_f64())),
        }
    }

    /// Ends the session as the protocol wants it, and the process with all it started.
    pub(super) async fn close(mut self) {
        if let Some(mut service) = self.service.take() {
            let _ = service.close_with_timeout(CLOSE_TIMEOUT).await;
        }
    }
}

/// Why there is no conversation with a program, with how it ended where it did.
fn ended(program: &Program, group: &Group, guard: Option<&Path>, error: &impl std::fmt::Display) -> Begun {
    match group.code() {
        Some(NOT_STARTED) if guard.is_some() => Begun::Not(format!(
            "{:?} cannot be started: write its whole path, or give it the PATH to look in (env), and see that it is \
             executable",
            program.command.first().map_or("", String::as_str)
        )),
        Some(code) => Begun::Started(format!("it ended with exit code {code}: {}", shortened(error))),
        None => Begun::Started(shortened(error)),
    }
}

/// What went wrong, for a model: the protocol's words, and not our address of the server.
fn said(error: &ServiceError) -> String {
    match error {
        ServiceError::McpError(error) => shortened(&format!("{} (code {})", error.message, error.code.0)),
        ServiceError::TransportClosed => "it has ended, or broke the protocol".to_owned(),
        ServiceError::TransportSend(error) => shortened(&innermost(error.error.as_ref())),
        other => shortened(other),
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    deepest.to_string()
}

fn shortened(error: &impl std::fmt::Display) -> String {
    error.to_string().chars().take(300).collect()
}
