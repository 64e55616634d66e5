//! The schema, brought up to date by whoever comes first.

use sqlx::{Acquire, PgPool, Postgres, Transaction};

/// Every change of the schema, in order. A number is never used again.
const STEPS: &[(i32, &str)] = &[(1, include_str!("0001_results.sql"))];

/// One process at a time: any number that nobody else uses.
const LOCK: i64 = 0x6167_656e_7472_756e;

/// Makes every step that the database does not have, all or none.
pub(super) async fn migrate(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut step: Transaction<'_, Postgres> = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *step).await?;
    let known: bool =
        sqlx::query_scalar("SELECT to_regclass('agent_runner_migrations') IS NOT NULL").fetch_one(&mut *step).await?;
    if !known {
        let table = "CREATE TABLE agent_runner_migrations (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())";
        sqlx::raw_sql(table).execute(&mut *step).await?;
    }
    let last: Option<i32> =
        sqlx::query_scalar("SELECT max(version) FROM agent_runner_migrations").fetch_one(&mut *step).await?;
    for (version, sql) in STEPS.iter().filter(|(version, _)| last.is_none_or(|last| *version > last)) {
        sqlx::raw_sql(*sql).execute(&mut *step).await?;
        sqlx::query("INSERT INTO agent_runner_migrations (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *step)
            .await?;
        tracing::info!(version, "the schema of the records was brought up to date");
    }
    step.commit().await
}
