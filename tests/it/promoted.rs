//! Pipelines that worked twice: they become tools, a known sentence needs no model, and nothing else is touched.

use serde_json::{Value, json};

use crate::support::{
    model::{ModelServer, Reply},
    stage::Stage,
};

fn rows() -> Value {
    json!([{"id": 1, "price": 250}, {"id": 2, "price": 450}, {"id": 3, "price": 650}])
}

fn job(id: &str, owner: &str, prompt: &str) -> Value {
    json!({"job_id": id, "workflow_owner": owner, "prompt": prompt, "data": rows()})
}

fn below(price: u32) -> Reply {
    let condition = json!({"field": "price", "op": "<", "value": price});
    Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "table_filter", "condition": condition}]}))
}

/// Where the plan of a result came from, and how many requests the job sent.
fn origin(result: &Value) -> (&str, u64) {
    assert_eq!(result["status"], "completed", "{result}");
    let metadata = &result["metadata"];
    (metadata["plan"]["source"].as_str().unwrap(), metadata["llm_calls"].as_u64().unwrap())
}

async fn stage(model: &ModelServer) -> Stage {
    Stage::set().await.with("OPENAI_BASE_URL", model.base_url()).with("OPENAI_MODEL", "gpt-4o-mini")
}

fn tools(stage: &Stage, args: &[&str]) -> Value {
    let output = stage.command(&[&["tools"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[tokio::test]
async fn the_third_time_needs_no_model_until_it_is_switched_off() {
    let model = ModelServer::start([below(300), below(500), below(900)]);
    let stage = stage(&model).await;
    let _service = stage.serve();
    for (id, prompt) in [("a", "show rows with price under 300"), ("b", "show rows with price under 500")] {
        assert_eq!(origin(&stage.run(job(id, "ann", prompt)).await), ("model", 1));
    }
    let known = stage.run(job("c", "ann", "show rows with price under 700")).await;
    assert_eq!(origin(&known), ("promoted", 0));
    assert_eq!(known["result"]["row_count"], 3);
    assert_eq!(known["metadata"]["plan"]["arguments"], json!({"price_below": 700}));
    assert_eq!(known["metadata"]["tool_calls"][0]["args"]["pipeline"][0]["condition"]["value"], 700);
    assert_eq!((&known["metadata"]["tokens_used"], &known["metadata"]["cost_usd"]), (&json!(0), &json!(0.0)));
    assert_eq!(known["metadata"]["intent"]["intent"], "execute");

    let listed = tools(&stage, &["list", "--json"]);
    let tool = &listed[0];
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&tool["owner"], &tool["enabled"], &tool["runs"]), (&json!("ann"), &json!(true), &json!(2)));
    assert_eq!(tool["parameters"][0]["name"], "price_below");
    assert_eq!(tool["wordings"], json!(["show rows with price under [number]"]));
    assert_eq!(tool["uses"], 1);
    let name = known["metadata"]["plan"]["tool"].as_str().unwrap();
    assert_eq!(tool["name"], name);
    assert_eq!(tools(&stage, &["show", name])["steps"][0]["step"], "table_filter");

    tools(&stage, &["disable", name, "--owner", "ann"]);
    assert_eq!(origin(&stage.run(job("d", "ann", "show rows with price under 900")).await), ("model", 1));
    assert_eq!(tools(&stage, &["list", "--json"])[0]["enabled"], false);
    tools(&stage, &["enable", name]);
    assert_eq!(origin(&stage.run(job("e", "ann", "show rows with price under 100")).await), ("promoted", 0));
    let missing = stage.command(&["tools", "show", "nothing"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no tool nothing"));
}

#[tokio::test]
async fn what_is_not_the_same_is_planned_by_the_model() {
    let model = ModelServer::start((0..7).map(|_| below(300)));
    let stage = stage(&model).await;
    let _service = stage.serve();
    let prompt = "show rows with price under 300";
    for id in ["a", "b"] {
        stage.run(job(id, "ann", prompt)).await;
    }
    assert_eq!(origin(&stage.run(job("known", "ann", prompt)).await), ("promoted", 0));
    // Somebody else, nobody, another sentence, other columns, a conversation.
    let mut others = vec![
        job("bob", "bob", prompt),
        job("nobody", "", prompt),
        job("other", "ann", "show rows with price over 300"),
        json!({"job_id": "columns", "workflow_owner": "ann", "prompt": prompt, "data": [{"price": "1"}]}),
    ];
    let talk = |id: &str| {
        let mut talk = job(id, "ann", prompt);
        talk["context"] = json!({"session_id": "s"});
        talk
    };
    assert_eq!(origin(&stage.run(talk("first")).await), ("promoted", 0));
    others.push(talk("second"));
    for job in others {
        let result = stage.run(job).await;
        assert_eq!(origin(&result), ("model", 1), "{result}");
    }
}

#[tokio::test]
async fn it_can_be_switched_off_altogether() {
    let model = ModelServer::start((0..3).map(|_| below(300)));
    let stage = stage(&model).await.with("AGENT_RUNNER__LLM__PROMOTE", "false");
    let _service = stage.serve();
    for id in ["a", "b", "c"] {
        let result = stage.run(job(id, "ann", "show rows with price under 300")).await;
        assert_eq!(origin(&result), ("model", 1));
    }
    assert_eq!(tools(&stage, &["list", "--json"]), json!([]));
}

#[tokio::test]
async fn a_model_finds_it_runs_it_and_all_of_that_is_replayed() {
    let model = ModelServer::start([below(300), below(500)]);
    let stage = stage(&model).await;
    let service = stage.serve();
    stage.run(job("a", "ann", "show rows with price under 300")).await;
    let offered = |n: usize| {
        let tools = model.requests()[n].json()["tools"].clone();
        let names = tools.as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    stage.run(job("b", "ann", "show rows with price under 500")).await;
    assert_eq!(offered(1), ["execute_pipeline"]);
    let name = tools(&stage, &["list", "--json"])[0]["name"].as_str().unwrap().to_owned();
    model.push(Reply::call("search_tools", &json!({"query": "rows below a price"})));
    model.push(Reply::call("call_tool", &json!({"name": name, "arguments": {"price_below": 400}})).on(&name));
    let result = stage.run(job("c", "ann", "which rows cost less than 400? show their price")).await;
    assert_eq!(origin(&result), ("model", 2));
    assert_eq!(offered(2), ["execute_pipeline", "search_tools", "call_tool"]);
    assert_eq!((&result["result"]["row_count"], &result["metadata"]["plan"]["tool"]), (&json!(1), &json!(name)));
    let calls: Vec<_> = result["metadata"]["tool_calls"].as_array().unwrap().iter().map(|call| &call["tool"]).collect();
    assert_eq!(calls, ["search_tools", "call_tool"]);
    let known = stage.run(job("d", "ann", "show rows with price under 700")).await;
    assert_eq!(origin(&known), ("promoted", 0));
    drop((service, model));
    // What happens to the tool afterwards is no part of what happened then.
    tools(&stage, &["disable", &name]);
    let _: i64 = stage.redis.run(&["DEL", "agent:runs:ann"]).await;
    for id in ["c", "d"] {
        let output = stage.command(&["replay", id]);
        assert_eq!(output.status.code(), Some(0), "{id}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn a_plan_that_is_refused_goes_to_the_model_with_its_error() {
    let k = |k: u32| Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "by": "price", "k": k}]}));
    let model = ModelServer::start([k(1), k(2), k(3).on("k must be")]);
    let stage = stage(&model).await;
    let _service = stage.serve();
    stage.run(job("a", "ann", "top 1 by price")).await;
    stage.run(job("b", "ann", "top 2 by price")).await;
    let mended = stage.run(job("c", "ann", "top 0 by price")).await;
    assert_eq!(origin(&mended), ("model", 1), "{mended}");
    let calls = mended["metadata"]["tool_calls"].as_array().unwrap();
    assert_eq!((&calls[0]["status"], &calls[1]["status"]), (&json!("error"), &json!("ok")));
}
