//! Conversations over several jobs: `context.session_id`.

use serde_json::{Value, json};

use crate::support::{
    model::{ModelServer, Reply},
    stage::Stage,
};

fn job(id: &str, owner: &str, prompt: &str) -> Value {
    json!({"job_id": id, "workflow_owner": owner, "prompt": prompt, "context": {"session_id": "s"}})
}

fn with_data(mut job: Value) -> Value {
    job["data"] = json!([{"flight": "A", "price": 700}, {"flight": "B", "price": 300}, {"flight": "C", "price": 1.10}]);
    job
}

#[tokio::test]
async fn a_follow_up_works_on_the_previous_result_without_a_model() {
    let stage = Stage::set().await;
    let mut service = stage.serve();
    stage.run(with_data(job("1", "ann", "sort by price descending"))).await;
    service.signal("TERM");
    service.wait();
    // Any process of the fleet goes on.
    let _service = stage.serve();
    let second = stage.run(job("2", "ann", "now only those under 500")).await;
    assert_eq!(
        second["result"]["data"],
        json!([{"flight": "B", "price": 300}, {"flight": "C", "price": 1.10}]),
        "{second}"
    );
    // Few words are enough where there is something to go on from.
    let third = stage.run(job("3", "ann", "under 100")).await;
    assert_eq!(third["result"]["data"], json!([{"flight": "C", "price": 1.10}]), "{third}");
    let ready = json!({"job_id": "4", "workflow_owner": "ann", "context": {"session_id": "s"}, "pipeline": [{"step": "table_select", "fields": ["flight"]}]});
    assert_eq!(stage.run(ready).await["result"]["data"], json!([{"flight": "C"}]));
    // Data of its own comes first, and a failed job changes nothing.
    let own = stage.run(with_data(job("5", "ann", "top 1 by price"))).await;
    assert_eq!(own["result"]["data"], json!([{"flight": "A", "price": 700}]), "{own}");
    assert_eq!(stage.run(job("6", "ann", "top 1 by colour")).await["status"], "failed");
    assert_eq!(stage.run(job("7", "ann", "sort by price")).await["status"], "completed");

    let foreign = stage.run(job("8", "bob", "now only those under 500")).await;
    assert_eq!(foreign["status"], "failed", "a session belongs to its owner: {foreign}");
    assert!(stage.command(&["replay", "2"]).status.success(), "the session has moved on; the journal has not");
}

#[tokio::test]
async fn a_model_is_told_what_was_asked_before() {
    let plan =
        |k: u8| Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "k": k, "by": "price"}]}));
    let model = ModelServer::start([plan(2), plan(1)]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url());
    let service = stage.serve();
    stage.run(with_data(job("1", "ann", "the two dearest flights"))).await;
    let second = stage.run(job("2", "ann", "only the dearest of those")).await;
    assert_eq!(second["result"]["data"], json!([{"flight": "A", "price": 700}]), "{second}");
    let asked: Vec<String> = model
        .requests()
        .iter()
        .map(|seen| seen.json()["messages"][1]["content"].as_str().unwrap().to_owned())
        .collect();
    assert!(!asked[0].contains("Earlier in this session"), "{}", asked[0]);
    for part in ["Earlier in this session", "the two dearest flights", "\"k\":2", "2 rows: flight, price"] {
        assert!(asked[1].contains(part), "{part} is not in {}", asked[1]);
    }
    assert!(asked[1].ends_with("# Task\nonly the dearest of those"), "the task stays last");
    // Rules recognise what goes on from a table: each of these is one call, for the plan.
    for (id, prompt) in [("3", "now only those under 500"), ("4", "and by city?"), ("5", "the first five")] {
        model.push(plan(1));
        let next = stage.run(job(id, "ann", prompt)).await;
        assert_eq!((&next["status"], &next["metadata"]["llm_calls"]), (&json!("completed"), &json!(1)), "{next}");
        assert_eq!(next["metadata"]["intent"]["source"], "rules", "{prompt}");
    }
    drop((service, model));
    let replayed = stage.command(&["replay", "2"]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
}
