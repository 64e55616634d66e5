//! Records in PostgreSQL: a real server, and the service beside it.

use std::{collections::BTreeMap, sync::Arc};

use agent_runner::{
    job::{JobId, RawJson, Tokens},
    queue::{Cursor, JobState},
    store::{PostgresRecords, Query, Record, RecordPlace, Records},
};
use serde_json::{Value, json};

use crate::support::{
    model::{Gate, ModelServer, Reply},
    postgres::Postgres,
    stage::Stage,
};

fn record(id: &str, mark: u64) -> Record {
    Record {
        job_id: JobId::parse(id).unwrap(),
        run_id: None,
        node_id: None,
        owner: Some("ann".into()),
        status: JobState::Completed,
        lane: Some("execute".into()),
        model: None,
        error_code: None,
        error_message: None,
        tool_calls: RawJson::from_trusted("[]"),
        tokens: Tokens::default(),
        tokens_used: 3,
        cost_usd: 0.25,
        llm_calls: 1,
        cache_hit: false,
        attempts: 1,
        execution_ms: 9,
        created_at: Some("2026-01-01T00:00:00.001Z".into()),
        started_at: None,
        finished_at: Some("2026-01-02T00:00:00.002Z".into()),
        result_ref: None,
        document: RawJson::from_trusted(format!(r#"{{"mark":{mark}}}"#)),
        prompt: None,
        mark,
    }
}

fn records(server: &Postgres) -> PostgresRecords {
    PostgresRecords::new(&server.url()).unwrap()
}

async fn found(records: &PostgresRecords, query: Query) -> Vec<String> {
    let query = Query { limit: if query.limit == 0 { 100 } else { query.limit }, ..query };
    records.search(&query).await.unwrap().items.into_iter().map(|record| record.job_id).collect()
}

#[tokio::test]
async fn a_job_has_one_row_and_the_latest_mark_wins() {
    let server = Postgres::start();
    let records = records(&server);
    // One batch holds a job twice, as when its note was taken twice.
    let batch = [record("a", 5), record("b", 1), record("a", 4)];
    assert_eq!(records.write(&batch).await.unwrap(), []);
    let documents = |rows: Vec<(String, String)>| rows.into_iter().map(|(_, document)| document).collect::<Vec<_>>();
    assert_eq!(documents(server.rows(2).await), [r#"{"mark":5}"#, r#"{"mark":1}"#]);
    for (mark, stands) in [(4, 5), (5, 5), (6, 6), (5, 6)] {
        records.write(&[record("a", mark)]).await.unwrap();
        assert_eq!(documents(server.rows(2).await)[0], format!(r#"{{"mark":{stands}}}"#), "after {mark}");
    }
}

#[tokio::test]
async fn a_document_keeps_its_bytes() {
    let server = Postgres::start();
    let records = records(&server);
    let text = "{\"a\":1.10,\"b\":9007199254740993,\"b\":\"\\u0000\\ud800\", \"c\":\"é\"}";
    let odd = Record {
        document: RawJson::from_trusted(text),
        error_message: Some("zero \0 inside".into()),
        ..record("a", 1)
    };
    assert_eq!(records.write(&[odd]).await.unwrap(), []);
    assert_eq!(server.rows(1).await[0].1, text);
}

#[tokio::test]
async fn a_row_that_is_refused_for_good_is_named_and_the_others_are_written() {
    let server = Postgres::start();
    let records = records(&server);
    let bad = Record { finished_at: Some("yesterday, about noon".into()), ..record("b", 1) };
    let refused = records.write(&[record("a", 1), bad, record("c", 1)]).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0.as_str(), "b");
    assert_eq!(server.rows(2).await.len(), 2);
}

#[tokio::test]
async fn records_are_found_by_what_people_ask_for() {
    let server = Postgres::start();
    let records = records(&server);
    let failed = Record {
        owner: Some("bob".into()),
        status: JobState::Failed,
        lane: None,
        error_code: Some("timeout".into()),
        finished_at: Some("2026-01-03T00:00:00Z".into()),
        ..record("late_50%", 1)
    };
    let asked = Record { prompt: Some("Flights to ROME".into()), run_id: Some("run-7".into()), ..record("early", 1) };
    records.write(&[failed, asked]).await.unwrap();
    let (early, late) = (vec!["early"], vec!["late_50%"]);
    let text = |text: &str| Some(text.to_owned());
    for (query, ids) in [
        (Query::default(), vec!["late_50%", "early"]),
        (Query { limit: 1, ..Query::default() }, late.clone()),
        (Query { status: text("failed"), ..Query::default() }, late.clone()),
        (Query { lane: text("execute"), ..Query::default() }, early.clone()),
        (Query { owner: text("bob"), ..Query::default() }, late.clone()),
        (Query { owner: text("bob"), lane: text("execute"), ..Query::default() }, vec![]),
        (Query { error: text("timeout"), ..Query::default() }, late.clone()),
        (Query { text: text("rome"), ..Query::default() }, early.clone()),
        (Query { text: text("RUN-7"), ..Query::default() }, early.clone()),
        (Query { text: text("_50%"), ..Query::default() }, late.clone()),
        (Query { text: text("e%y"), ..Query::default() }, vec![]),
        (Query { since: text("2026-01-02T12:00:00Z"), ..Query::default() }, late),
    ] {
        assert_eq!(found(&records, query.clone()).await, ids, "{query:?}");
    }
    let early = &records.search(&Query { limit: 2, ..Query::default() }).await.unwrap().items[1];
    assert_eq!(early.finished_at.as_deref(), Some("2026-01-02T00:00:00.002Z"));
    assert_eq!((early.tokens_used, early.cost_usd), (3, 0.25));
}

#[tokio::test]
async fn pages_of_a_search_follow_each_other_whatever_is_recorded_meanwhile() {
    let server = Postgres::start();
    let records = records(&server);
    let at = |id: &str, second: u32| Record {
        finished_at: Some(format!("2026-01-02T00:00:{second:02}.002Z")),
        ..record(id, 1)
    };
    // Two ended in the same moment.
    records.write(&[at("e", 5), at("d", 4), at("c", 3), at("b", 3), at("a", 1)]).await.unwrap();
    let (mut seen, mut behind) = (Vec::new(), None);
    loop {
        let query = Query { behind, limit: 2, owner: Some("ann".into()), ..Query::default() };
        let page = records.search(&query).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|record| record.job_id));
        records.write(&[at(&format!("new-{}", seen.len()), 9)]).await.unwrap();
        let Some(next) = page.older else { break };
        // As it comes from a command line.
        behind = Some(next.to_string().parse::<Cursor<RecordPlace>>().unwrap().place);
    }
    assert_eq!(seen, ["e", "d", "b", "c", "a"]);
}

#[tokio::test]
async fn old_records_go_a_batch_at_a_time() {
    let server = Postgres::start();
    let records = records(&server);
    let now = jiff::Timestamp::now();
    let ago = |days: i64| Some((now - jiff::SignedDuration::from_hours(24 * days)).to_string());
    let aged = [100, 91, 95, 89, 0].map(|days| Record { finished_at: ago(days), ..record(&format!("d{days}"), 1) });
    records.write(&aged).await.unwrap();
    assert_eq!(records.prune(90, 2).await.unwrap(), 2);
    assert_eq!(found(&records, Query::default()).await, ["d0", "d89", "d91"], "the oldest first");
    assert_eq!(records.prune(90, 2).await.unwrap(), 1);
    assert_eq!(records.prune(90, 2).await.unwrap(), 0);
}

#[tokio::test]
async fn processes_that_start_together_make_the_schema_once() {
    let server = Arc::new(Postgres::start());
    let starts = (0..4).map(|_| {
        let records = records(&server);
        tokio::spawn(async move { records.ready().await })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
    assert!(found(&records(&server), Query::default()).await.is_empty());
}

#[tokio::test]
async fn whoever_is_refused_is_told_and_whoever_is_away_may_come_back() {
    let mut server = Postgres::start();
    let nobody = PostgresRecords::new(&server.url().replace("agent@", "nobody@")).unwrap();
    let refused = nobody.ready().await.unwrap_err();
    assert!(!refused.is_away() && refused.to_string().contains("nobody"), "{refused}");
    let records = records(&server);
    server.stop();
    assert!(records.ready().await.unwrap_err().is_away());
    server.start_again();
    records.write(&[record("a", 1)]).await.unwrap();
    server.stop();
    assert!(records.write(&[record("b", 1)]).await.unwrap_err().is_away());
}

async fn stage(server: &Postgres) -> Stage {
    Stage::set().await.with("AGENT_RUNNER__STORE__BACKEND", "postgres").with("AGENT_RUNNER__STORE__URL", server.url())
}

fn small(id: &str) -> Value {
    json!({"job_id": id, "workflow_owner": "ann", "prompt": "SECRET sort by a", "data": [{"a": 2.50}, {"a": 1}],
           "pipeline": [{"step": "table_sort", "field": "a"}]})
}

#[tokio::test]
async fn a_killed_service_leaves_one_row_for_each_job_as_in_redis() {
    const HALF: usize = 50;
    let server = Postgres::start();
    let gate = Gate::new();
    let reply = || Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "table_sort", "field": "a"}]}));
    let model = ModelServer::start([reply().gate_at(0, &gate), reply()]);
    let stage =
        stage(&server).await.with("AGENT_RUNNER__WORKER__CONCURRENCY", "1").with("OPENAI_BASE_URL", model.base_url());
    let mut first = stage.serve();
    let mut results = BTreeMap::new();
    stage.push(&small("before")).await;
    results.insert("before".to_owned(), stage.result_text("before").await);
    server.rows(1).await;
    // Nobody can write a row now: whatever ends is owed.
    let pool = server.pool().await;
    let mut lock = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE agent_results IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let mut ids: Vec<String> = (0..2 * HALF).map(|i| format!("job-{i:03}")).collect();
    for (i, id) in ids.iter().enumerate() {
        if i == HALF {
            stage.push(&json!({"job_id": "middle", "prompt": "sort by a", "data": [{"a": 2}, {"a": 1}]})).await;
        }
        stage.push(&small(id)).await;
    }
    ids.push("middle".into());
    // Half of them have ended, one is at work, and the others wait for the only slot.
    gate.reached().await;
    first.signal("KILL");
    first.wait();
    let owed: i64 = stage.redis.run(&["ZCARD", "agent:{records}:times"]).await;
    assert_eq!(owed, HALF as i64 + 1);
    assert_eq!(server.rows(1).await.len(), 1);
    // What the dead process had sent may even now be carried out, beside what the next one writes.
    lock.rollback().await.unwrap();
    gate.open();
    let _second = stage.serve();
    for id in &ids {
        results.insert(id.clone(), stage.result_text(id).await);
    }
    let rows: BTreeMap<String, String> = server.rows(ids.len() + 1).await.into_iter().collect();
    assert_eq!(rows, results);
    for id in &ids {
        assert_eq!(stage.redis.run::<i64>(&["EXISTS", &format!("agent:results:{id}")]).await, 0, "a second result");
    }
}

#[tokio::test]
async fn jobs_go_on_while_the_database_is_away_and_their_records_follow() {
    let mut server = Postgres::start();
    let stage = stage(&server).await;
    let mut service = stage.serve();
    stage.run(small("before")).await;
    server.rows(1).await;
    server.stop();
    let during = stage.run(small("during")).await;
    assert_eq!(during["status"], "completed", "{during}");
    service.wait_for_log("cannot be written now");
    server.start_again();
    let ids: Vec<String> = server.rows(2).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["before", "during"]);
}

#[tokio::test]
async fn a_service_starts_while_the_database_is_away_but_not_where_it_is_refused() {
    let mut server = Postgres::start();
    let refused = stage(&server).await.with("AGENT_RUNNER__STORE__URL", server.url().replace("agent@", "nobody@"));
    let output = refused.command(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("error: store.url: "), "{said}");
    let stage = stage(&server).await;
    server.stop();
    let _service = stage.serve();
    stage.run(small("a")).await;
    server.start_again();
    assert_eq!(server.rows(1).await[0].0, "a");
}

#[tokio::test]
async fn a_job_that_is_started_afresh_has_the_row_of_its_new_result() {
    let server = Postgres::start();
    let stage = stage(&server).await;
    let _service = stage.serve();
    stage.push(&small("a")).await;
    let first = stage.result_text("a").await;
    assert_eq!(server.rows(1).await[0].1, first);
    assert!(stage.command(&["jobs", "retry", "a"]).status.success());
    let second = stage.result_text("a").await;
    assert_ne!(first, second);
    loop {
        let rows = server.rows(1).await;
        assert_eq!(rows.len(), 1);
        if rows[0].1 == second {
            break;
        }
    }
}

#[tokio::test]
async fn records_are_searched_from_the_command_line_and_hold_no_prompt_unasked() {
    let server = Postgres::start();
    let gate = Gate::new();
    let model = ModelServer::start([Reply::text("no plan").gate_at(0, &gate)]);
    let stage = stage(&server).await.with("OPENAI_BASE_URL", model.base_url());
    let _service = stage.serve();
    stage.run(small("good")).await;
    let bad = json!({"job_id": "bad", "pipeline": [{"step": "nonsense"}]});
    stage.run(bad).await;
    stage.push(&json!({"job_id": "running", "prompt": "SECRET think hard about it"})).await;
    gate.reached().await;
    server.rows(2).await;
    let search = |args: &[&str]| {
        let output = stage.command(&[&["jobs", "search", "--json"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()
    };
    let all = search(&[]);
    assert_eq!(all.len(), 2, "what has not ended has no record: {all:?}");
    let good = search(&["--owner", "ann", "--status", "completed", "oo"]);
    assert_eq!(good[0]["document"]["result"]["data"], json!([{"a": 1}, {"a": 2.50}]));
    assert_eq!(search(&["--error", "invalid_pipeline"])[0]["job_id"], "bad");
    let pool = server.pool().await;
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT agent_results::text FROM agent_results").fetch_all(&pool).await.unwrap();
    assert!(rows.iter().all(|(row,)| !row.contains("SECRET")), "{rows:?}");
}
