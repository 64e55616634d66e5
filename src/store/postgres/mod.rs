//! Records in PostgreSQL, table `agent_results`. Queries are text files beside this one.

mod migrate;

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
use tokio::sync::OnceCell;

use super::{Query, Record, RecordPlace, Recorded, Records, StoreError};
use crate::{
    job::{JobId, RawJson},
    queue::{Cursor, Page},
};

/// Writing is one task's work; the others are for people who search.
const CONNECTIONS: u32 = 4;
const CONNECT: Duration = Duration::from_secs(5);
/// A statement that takes longer is given up; the records wait.
const PATIENCE: Duration = Duration::from_secs(30);

const WRITE: &str = include_str!("write.sql");
const SEARCH: &str = concat!(include_str!("search.sql"), include_str!("latest.sql"));
const SEARCH_BEHIND: &str = concat!(include_str!("search.sql"), include_str!("behind.sql"), include_str!("latest.sql"));
const PRUNE: &str = include_str!("prune.sql");

/// Records in a database.
pub struct PostgresRecords {
    pool: PgPool,
    migrated: OnceCell<()>,
}

impl PostgresRecords {
    /// Records at `url` (`postgres://user:password@host:5432/database?sslmode=verify-full`). Nothing is dialled.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|e| StoreError::refused(format!("store.url: is no address of a PostgreSQL database: {e}")))?
            .application_name("agent-runner")
            .disable_statement_logging();
        let pool =
            PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(CONNECT).connect_lazy_with(options);
        Ok(Self { pool, migrated: OnceCell::new() })
    }

    /// One statement for all of `records`, which have different jobs.
    async fn insert(&self, records: &[&Record]) -> Result<(), sqlx::Error> {
        let texts = |of: fn(&Record) -> Option<&str>| -> Vec<Option<String>> {
            records.iter().map(|record| of(record).map(storable)).collect()
        };
        let numbers = |of: fn(&Record) -> u64| -> Vec<i64> {
            records.iter().map(|record| i64::try_from(of(record)).unwrap_or(i64::MAX)).collect()
        };
        let small = |of: fn(&Record) -> u32| -> Vec<i32> {
            records.iter().map(|record| i32::try_from(of(record)).unwrap_or(i32::MAX)).collect()
        };
        let statement = sqlx::query(WRITE)
            .bind(texts(|r| Some(r.job_id.as_str())))
            .bind(texts(|r| r.run_id.as_deref()))
            .bind(texts(|r| r.node_id.as_deref()))
            .bind(texts(|r| r.owner.as_deref()))
            .bind(texts(|r| Some(r.status.as_str())))
            .bind(texts(|r| r.lane.as_deref()))
            .bind(texts(|r| r.model.as_deref()))
            .bind(texts(|r| r.error_code.as_deref()))
            .bind(texts(|r| r.error_message.as_deref()))
            .bind(texts(|r| Some(r.tool_calls.as_str())))
            .bind(numbers(|r| r.tokens.prompt))
            .bind(numbers(|r| r.tokens.completion))
            .bind(numbers(|r| r.tokens.cached))
            .bind(numbers(|r| r.tokens_used))
            .bind(records.iter().map(|r| r.cost_usd).collect::<Vec<f64>>())
            .bind(small(|r| r.llm_calls))
            .bind(records.iter().map(|r| r.cache_hit).collect::<Vec<bool>>())
            .bind(small(|r| r.attempts))
            .bind(numbers(|r| r.execution_ms))
            .bind(texts(|r| r.created_at.as_deref()))
            .bind(texts(|r| r.started_at.as_deref()))
            .bind(texts(|r| r.finished_at.as_deref()))
            .bind(texts(|r| r.result_ref.as_deref()))
            .bind(texts(|r| Some(r.document.as_str())))
            .bind(texts(|r| r.prompt.as_deref()))
            .bind(numbers(|r| r.mark));
        within(statement.execute(&self.pool)).await.map(drop)
    }
}

/// Text as PostgreSQL takes it: it knows no character zero.
fn storable(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>> + Send) -> Result<T, sqlx::Error> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// The class of what the server said, where it said something.
fn class(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    code.get(..2).map(str::to_owned)
}

/// Whether it is this row that the server will never take: its data, its size.
fn is_of_the_row(error: &sqlx::Error) -> bool {
    matches!(class(error).as_deref(), Some("22" | "23" | "54"))
}

/// Whoever is refused (password, rights, no such database) has to be helped; all else may pass by itself.
fn failed(error: sqlx::Error) -> StoreError {
    let refused = matches!(class(&error).as_deref(), Some("28" | "3D" | "3F" | "42"))
        || matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::Tls(_));
    let message = format!("postgres: {error}");
    if refused { StoreError::refused(message) } else { StoreError::away(message) }
}

#[async_trait]
impl Records for PostgresRecords {
    async fn ready(&self) -> Result<(), StoreError> {
        within(self.migrated.get_or_try_init(|| migrate::migrate(&self.pool))).await.map_err(failed).map(drop)
    }

    async fn write(&self, records: &[Record]) -> Result<Vec<(JobId, String)>, StoreError> {
        self.ready().await?;
        let mut latest: Vec<&Record> = records.iter().collect();
        // In one order everywhere, so that two writers never wait for each other in a circle.
        latest.sort_by(|a, b| a.job_id.as_str().cmp(b.job_id.as_str()).then(b.mark.cmp(&a.mark)));
        latest.dedup_by(|later, first| later.job_id == first.job_id);
        match self.insert(&latest).await {
            Ok(()) => return Ok(Vec::new()),
            Err(error) if is_of_the_row(&error) => {}
            Err(error) => return Err(failed(error)),
        }
        let mut refused = Vec::new();
        for record in latest {
            match self.insert(&[record]).await {
                Ok(()) => {}
                Err(error) if is_of_the_row(&error) => refused.push((record.job_id.clone(), error.to_string())),
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(refused)
    }

    async fn search(&self, query: &Query) -> Result<Page<Recorded, RecordPlace>, StoreError> {
        self.ready().await?;
        let pattern = query.text.as_ref().map(|text| {
            let plain = storable(text).replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            format!("%{plain}%")
        });
        let text = if query.behind.is_some() { SEARCH_BEHIND } else { SEARCH };
        let mut statement = sqlx::query(text)
            .bind(query.status.as_deref())
            .bind(query.lane.as_deref())
            .bind(query.owner.as_deref())
            .bind(query.error.as_deref())
            .bind(pattern)
            .bind(query.since.as_deref())
            .bind(i64::from(query.limit) + 1);
        if let Some(place) = &query.behind {
            statement = statement.bind(&place.finished_at).bind(&place.job_id);
        }
        let rows = within(statement.fetch_all(&self.pool)).await.map_err(failed)?;
        let mut items: Vec<Recorded> = rows.iter().map(recorded).collect::<Result<_, _>>().map_err(failed)?;
        let most = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let more = items.len() > most;
        items.truncate(most);
        // One that does not say when its job ended comes last, and nothing behind it.
        let place = |last: &Recorded| Some((last.finished_at.clone()?, last.job_id.clone()));
        let place = items.last().filter(|_| more).and_then(place);
        let older = place.map(|(finished_at, job_id)| RecordPlace { finished_at, job_id });
        Ok(Page { items, older: older.map(|place| Cursor { place, newer: false }), newer: None })
    }

    async fn prune(&self, days: u32, most: u32) -> Result<u64, StoreError> {
        self.ready().await?;
        let days = i32::try_from(days).unwrap_or(i32::MAX);
        let statement = sqlx::query(PRUNE).bind(days).bind(i64::from(most));
        let done = within(statement.execute(&self.pool)).await.map_err(failed)?;
        Ok(done.rows_affected())
    }
}

fn recorded(row: &PgRow) -> Result<Recorded, sqlx::Error> {
    Ok(Recorded {
        job_id: row.try_get("job_id")?,
        run_id: row.try_get("run_id")?,
        node_id: row.try_get("node_id")?,
        owner: row.try_get("owner")?,
        status: row.try_get("status")?,
        lane: row.try_get("lane")?,
        model: row.try_get("model")?,
        error_code: row.try_get("error_code")?,
        tokens_used: row.try_get("tokens_used")?,
        cost_usd: row.try_get("cost_usd")?,
        attempts: row.try_get("attempts")?,
        created_at: row.try_get("created_at")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        document: RawJson::from_trusted(row.try_get::<String, _>("document")?),
    })
}
