//! Agents through the real program and real Redis: processes that die, that share, and what the outside sees.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    model::{Gate, ModelServer, Reply},
    service::{PATIENCE, Service},
    stage::Stage,
};

const AGENTS: &str = "\
agents:
  - {id: triage, instructions: You sort., handoffs: [billing, wheel]}
  - {id: billing, instructions: You bill., tools: [execute_pipeline], handoffs: [triage]}
  - {id: ann}
  - {id: bob}
  - {id: lead, tools: [delegate_to_agent]}
  - {id: strict, capabilities: [sql], guardrails: {input: [{check: is about money}], output: [{check: promises nothing}]}}
pools:
  able: {strategy: capability, agents: [strict], classify: true, default: ann}
  wheel: {strategy: round_robin, agents: [ann, bob]}
  least: {strategy: least_loaded, agents: [ann, bob]}
";

/// A stage with these agents and this model. The file lives as long as what is given with it.
async fn stage(model: &ModelServer) -> (Stage, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), AGENTS).unwrap();
    let stage = Stage::set()
        .await
        .with("AGENT_RUNNER__AGENTS__FILE", file.path().to_str().unwrap())
        .with("AGENT_RUNNER__EMBEDDINGS__PROVIDER", "lexical")
        .with("OPENAI_BASE_URL", model.base_url());
    (leases(stage, 15), file)
}

/// Long leases, so that a busy machine loses none; shorter ones where a test waits for them to end.
fn leases(stage: Stage, secs: u32) -> Stage {
    stage
        .with("AGENT_RUNNER__QUEUE__LEASE_SECS", secs.to_string())
        .with("AGENT_RUNNER__QUEUE__RENEW_SECS", (secs / 5).to_string())
}

fn network(id: &str) -> Value {
    json!({"job_id": id, "prompt": "refund me", "handoff": {"mode": "network", "agent": "triage"}})
}

fn transfer(to: &str) -> Reply {
    Reply::call(&format!("transfer_to_{to}"), &json!({"reason": "money", "message": "wants a refund"}))
}

fn count_rows() -> Reply {
    Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "literal", "rows": [{"a": 1}]}, {"step": "count"}]}))
}

async fn get(service: &Service, path: &str) -> Value {
    let client = agent_runner::net::operator_client(PATIENCE).unwrap();
    let text = client.get(service.url(path)).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
}

fn kinds(trail: &Value) -> Vec<String> {
    trail["trail"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_killed_network_goes_on_where_it_was() {
    let gate = Gate::new();
    let model = ModelServer::start([
        transfer("billing"),
        count_rows(),
        Reply::text("never heard").gate_at(0, &gate),
        Reply::text("Refunded."),
    ]);
    let (stage, _file) = stage(&model).await;
    let stage = leases(stage, 5);
    let mut first = stage.serve();
    stage.push(&network("k")).await;
    gate.reached().await;
    first.signal("KILL");
    first.wait();
    let second = stage.serve();
    let result = stage.result("k").await;
    assert_eq!(result["status"], "completed", "{result}");
    let network = &result["result"];
    assert_eq!((&network["answer"], &network["final_agent"]), (&json!("Refunded."), &json!("billing")));
    // The request that the kill cut off was sent; no turn of the run came of it.
    assert_eq!((&network["model_calls"], &result["metadata"]["llm_calls"]), (&json!(3), &json!(4)));
    assert_eq!(result["metadata"]["tool_calls"].as_array().unwrap().len(), 1);
    let requests = model.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[2].json(), requests[3].json(), "the question that was open is asked again, and no other");
    let events = stage.events("k").await;
    let tools = events.iter().filter(|(_, fields)| fields[1] == "tool_started").count();
    assert_eq!(tools, 1, "the tool ran once");
    let id = network["execution_id"].as_str().unwrap();
    assert_eq!(kinds(&get(&second, &format!("/v1/handoffs/{id}")).await), ["transfer", "tool", "execute"]);
    let replayed = stage.command(&["replay", "k"]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
}

#[tokio::test]
async fn events_stand_in_the_order_of_what_happened() {
    let model = ModelServer::start([transfer("billing"), count_rows(), Reply::text("All is well.")]);
    let (stage, _file) = stage(&model).await;
    let _service = stage.serve();
    stage.run(network("e")).await;
    let mut told: Vec<String> = Vec::new();
    for (_, fields) in stage.events("e").await {
        let data: Value = serde_json::from_str(&fields[3]).unwrap();
        let who = ["agent_id", "from", "tool"].iter().filter_map(|key| data[key].as_str()).collect::<Vec<_>>();
        let line = format!("{} {}", fields[1], who.join(" "));
        if told.last() != Some(&line) {
            told.push(line);
        }
    }
    let want = [
        "agent_started triage",
        "handoff triage",
        "agent_completed triage",
        "agent_started billing",
        "tool_started billing execute_pipeline",
        "tool_finished billing execute_pipeline",
        "token billing",
        "agent_completed billing",
        "completed ",
    ];
    let from = told.iter().position(|line| line.starts_with("agent_started")).unwrap();
    let told: Vec<&str> =
        told[from..].iter().map(String::as_str).filter(|line| !line.starts_with("step_finished")).collect();
    assert_eq!(told, want);
}

#[tokio::test]
async fn two_processes_share_a_wheel_exactly() {
    let gate = Gate::new();
    let slow = || Reply::text("ok").gate_at(0, &gate);
    let model = ModelServer::start([slow(), slow()].into_iter().chain((0..18).map(|_| Reply::text("ok"))));
    let (stage, _file) = stage(&model).await;
    let stage = stage.with("AGENT_RUNNER__WORKER__CONCURRENCY", "1");
    let _both = [stage.serve(), stage.serve()];
    let job =
        |n: usize| json!({"job_id": format!("w{n}"), "prompt": "hi", "handoff": {"mode": "pool", "pool": "wheel"}});
    for n in 0..2 {
        stage.push(&job(n)).await;
    }
    // Each process has one slot, so both are at work.
    for _ in 0..2 {
        gate.reached().await;
    }
    for n in 2..20 {
        stage.push(&job(n)).await;
    }
    gate.open();
    gate.open();
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..20 {
        let result = stage.result(&format!("w{n}")).await;
        let agent = result["result"]["selected_agent"]["id"].as_str().unwrap_or_else(|| panic!("{result}"));
        *turns.entry(agent.to_owned()).or_default() += 1;
    }
    assert_eq!(turns, BTreeMap::from([("ann".to_owned(), 10), ("bob".to_owned(), 10)]));
    let wheel: Vec<String> = stage.redis.run(&["HGETALL", "agent:pool-wheel:wheel"]).await;
    assert_eq!(wheel, ["turn", "20"]);
}

#[tokio::test]
async fn loads_of_a_killed_process_are_given_back() {
    let gate = Gate::new();
    let model = ModelServer::start([Reply::text("never heard").gate_at(0, &gate)]);
    let (stage, _file) = stage(&model).await;
    let stage = leases(stage, 5);
    let job = |id: &str| json!({"job_id": id, "prompt": "hi", "handoff": {"mode": "pool", "pool": "least"}});
    let loads = async || -> Vec<String> { stage.redis.run(&["HGETALL", "agent:{agent-loads}:count"]).await };
    let mut first = stage.serve();
    stage.push(&job("l1")).await;
    gate.reached().await;
    assert_eq!(loads().await, ["ann", "1"]);
    first.signal("KILL");
    first.wait();
    assert_eq!(loads().await, ["ann", "1"], "nobody has noticed yet");
    for _ in 0..2 {
        model.push(Reply::text("ok"));
    }
    let _second = stage.serve();
    let resumed = stage.result("l1").await;
    assert_eq!(resumed["result"]["selected_agent"]["id"], "ann", "{resumed}");
    let next = stage.run(job("l2")).await;
    assert_eq!(next["result"]["selected_agent"]["id"], "ann", "nobody is loaded: the first of equals");
    assert!(loads().await.is_empty());
}

#[tokio::test]
async fn executions_are_listed_and_summed_up() {
    let say = |text: &str| Reply::text(text);
    let model = ModelServer::start([
        say(r#"{"can_handle":"yes","complexity_score":0.2}"#),
        say("easy"),
        say(r#"{"can_handle":"no","complexity_score":0.8}"#),
        say(r#"{"can_handle":"yes","complexity_score":0.5}"#),
        say(r#"{"result":"harder","confidence":0.7}"#),
        say("hello"),
    ]);
    let (stage, _file) = stage(&model).await;
    let service = stage.serve();
    let tiers = |id: &str| json!({"job_id": id, "prompt": "help", "handoff": {"mode": "tiers"}});
    for id in ["t1", "t2"] {
        assert_eq!(stage.run(tiers(id)).await["status"], "completed");
    }
    stage.run(network("n1")).await;
    let listed = get(&service, "/v1/handoffs?mode=tiers&limit=1").await;
    assert_eq!(listed["handoffs"].as_array().unwrap().len(), 1);
    assert_eq!((&listed["handoffs"][0]["job_id"], &listed["handoffs"][0]["final_tier"]), (&json!("t2"), &json!(2)));
    let sums = &listed["analytics"];
    assert_eq!((&sums["executions"], &sums["ok"], &sums["escalations"]), (&json!(2), &json!(2), &json!(1)), "{sums}");
    assert_eq!(sums["mean_complexity"], 0.5);
    let shares: Vec<&Value> = sums["tiers"].as_array().unwrap().iter().map(|tier| &tier["resolved_share"]).collect();
    assert_eq!(shares, [&json!(0.5), &json!(0.5)]);
    assert!(sums["tiers"][0]["cost_usd"].as_f64().unwrap() > 0.0, "{sums}");
    let all = get(&service, "/v1/handoffs").await;
    assert_eq!(all["handoffs"][0]["mode"], "network");
    assert_eq!(all["analytics"]["executions"], 3);
    assert_eq!(get(&service, "/v1/handoffs?mode=orbit").await["status"], 400);
    let metrics = agent_runner::net::operator_client(PATIENCE).unwrap();
    let metrics = metrics.get(service.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for line in [
        r#"agent_runner_handoffs_total{mode="tiers",outcome="ok"} 2"#,
        r#"agent_runner_escalations_total{tier="1"} 1"#,
        r#"agent_runner_tiers_resolved_total{tier="2"} 1"#,
        r#"agent_runner_tier_complexity_ratio_count{tier="1"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_cancelled_network_leaves_its_trail() {
    let gate = Gate::new();
    let model = ModelServer::start([transfer("billing"), Reply::text("never heard").gate_at(0, &gate)]);
    let (stage, _file) = stage(&model).await;
    let service = stage.serve();
    stage.push(&network("c")).await;
    gate.reached().await;
    let client = agent_runner::net::operator_client(PATIENCE).unwrap();
    assert_eq!(client.delete(service.url("/v1/jobs/c")).send().await.unwrap().status(), 202);
    let result = stage.result("c").await;
    assert_eq!((&result["status"], &result["error"]["details"]["reason"]), (&json!("cancelled"), &json!("cancelled")));
    let listed = loop {
        let listed = get(&service, "/v1/handoffs?mode=network").await;
        if listed["handoffs"][0].is_object() {
            break listed;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(listed["handoffs"][0]["outcome"], "cancelled");
    let id = listed["handoffs"][0]["execution_id"].as_str().unwrap();
    assert_eq!(result["error"]["details"]["execution_id"], id);
    let trail = get(&service, &format!("/v1/handoffs/{id}")).await;
    assert_eq!(kinds(&trail), ["transfer", "stop"]);
    assert_eq!(trail["trail"][1]["handoff_decision"], "cancelled");
}

#[tokio::test]
async fn a_network_out_of_time_says_so_and_where_its_trail_is() {
    let gate = Gate::new();
    let model = ModelServer::start([transfer("billing"), Reply::text("never heard").gate_at(0, &gate)]);
    let (stage, _file) = stage(&model).await;
    let service = stage.serve();
    let mut job = network("t");
    // Long enough for the first turn on a busy machine; whatever comes first, the second one is never answered.
    job["timeout_sec"] = 5.into();
    let result = stage.run(job).await;
    let error = &result["error"];
    assert_eq!((&error["type"], &error["details"]["reason"]), (&json!("timeout"), &json!("deadline")), "{result}");
    let id = error["details"]["execution_id"].as_str().unwrap();
    let trail = get(&service, &format!("/v1/handoffs/{id}")).await;
    let stop = trail["trail"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&stop["kind"], &stop["handoff_decision"]), (&json!("stop"), &json!("deadline")), "{trail}");
    assert!(stop["reason"].as_str().unwrap().contains("time"), "{stop}");
}

#[tokio::test]
async fn a_worker_that_goes_says_so_in_the_trail() {
    let gate = Gate::new();
    let model = ModelServer::start([
        Reply::call("delegate_to_agent", &json!({"agent": "ann", "task": "look it up"})),
        Reply::text("never heard").gate_at(0, &gate),
        Reply::text("looked up"),
        Reply::text("All is well."),
    ]);
    let (stage, _file) = stage(&model).await;
    let mut first = stage.serve();
    stage.push(&json!({"job_id": "g", "prompt": "hm", "handoff": {"mode": "network", "agent": "lead"}})).await;
    gate.reached().await;
    // At once, with what it does.
    for _ in 0..2 {
        first.signal("TERM");
    }
    first.wait();
    let second = stage.serve();
    let result = stage.result("g").await;
    assert_eq!((&result["status"], &result["result"]["model_calls"]), (&json!("completed"), &json!(3)), "{result}");
    let id = result["result"]["execution_id"].as_str().unwrap();
    let whole = get(&second, &format!("/v1/handoffs/{id}")).await;
    assert_eq!(kinds(&whole), ["select", "execute", "tool", "execute"], "{whole}");
    let who: Vec<&Value> = whole["trail"].as_array().unwrap().iter().map(|entry| &entry["agent_id"]).collect();
    assert_eq!(who, ["ann", "ann", "lead", "lead"]);
    let replayed = stage.command(&["replay", "g"]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
}

#[tokio::test]
async fn calls_that_cannot_be_read_go_back_to_the_model_and_their_neighbours_are_made() {
    let call = |index: u32, name: &str, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        let call = json!({"index": index, "id": format!("c{index}"), "type": "function", "function": function});
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).to_string()
    };
    let plan = json!({"pipeline": [{"step": "literal", "rows": [{"a": 1}]}, {"step": "count"}]}).to_string();
    let bad = [
        call(0, "execute_pipeline", "{\"pipeline\": oops"),
        call(1, "execute_pipeline", &plan),
        call(2, "transfer_to_triage", "because"),
    ];
    let bad: Vec<&str> = bad.iter().map(String::as_str).chain(["[DONE]"]).collect();
    let model = ModelServer::start([Reply::events(&bad), Reply::events(&["[DONE]"]), Reply::text("One row.")]);
    let (stage, _file) = stage(&model).await;
    let _service = stage.serve();
    let result =
        stage.run(json!({"job_id": "u", "prompt": "count", "handoff": {"mode": "network", "agent": "billing"}})).await;
    assert_eq!(result["result"]["answer"], "One row.", "{result}");
    // Every request is a model call of the run: nothing is asked again in silence.
    assert_eq!((&result["result"]["model_calls"], &result["metadata"]["llm_calls"]), (&json!(3), &json!(3)));
    assert!(result["metadata"]["warnings"].to_string().contains("billing answered with nothing"), "{result}");
    let made = result["metadata"]["tool_calls"].as_array().unwrap();
    assert_eq!(made.iter().map(|call| &call["status"]).collect::<Vec<_>>(), ["error", "ok"]);
    let told = model.requests()[1].json()["messages"].clone();
    let told: Vec<&str> =
        told.as_array().unwrap().iter().rev().take(3).map(|message| message["content"].as_str().unwrap()).collect();
    assert!(
        told[2].contains("are not JSON") && told[1].contains("\"count\"") && told[0].contains("must be"),
        "{told:?}"
    );
    assert!(model.requests()[2].body.windows(5).any(|word| word == b"empty"), "the model is told once");
}

#[tokio::test]
async fn an_attempt_that_failed_stands_in_the_trail_of_the_next_one() {
    let gone = || Reply::error(503, "overloaded", "later");
    let tiers = json!({"job_id": "f2", "prompt": "help", "handoff": {"mode": "tiers", "num_tiers": 1}});
    let route = json!({"job_id": "f3", "prompt": "hm", "handoff": {"mode": "route", "threshold": -1}});
    let judged = Reply::text(r#"{"can_handle":"yes","complexity_score":0.2}"#);
    let done = || Reply::text("Done.");
    // (the job, replies, kinds of the trail behind those of the choice)
    type Row = (Value, Vec<Reply>, &'static [&'static str]);
    let rows: [Row; 3] = [
        (network("f1"), vec![transfer("billing"), gone(), gone(), done()], &["transfer", "stop", "stop", "execute"]),
        (tiers, vec![judged, gone(), done()], &["evaluate", "stop", "execute"]),
        (route, vec![gone(), done()], &["stop", "execute"]),
    ];
    for (job, replies, want) in rows {
        let model = ModelServer::start(replies);
        let (stage, _file) = stage(&model).await;
        let stage = stage.with("AGENT_RUNNER__LLM__MAX_RETRIES", "0");
        let service = stage.serve();
        let id = job["job_id"].as_str().unwrap().to_owned();
        let result = stage.run(job).await;
        assert_eq!(result["status"], "completed", "{result}");
        let trail =
            get(&service, &format!("/v1/handoffs/{}", result["result"]["execution_id"].as_str().unwrap())).await;
        let kinds: Vec<String> =
            kinds(&trail).into_iter().filter(|kind| !matches!(kind.as_str(), "tag" | "score" | "select")).collect();
        assert_eq!(kinds, want, "{trail}");
        let entries = trail["trail"].as_array().unwrap();
        for stop in entries.iter().filter(|entry| entry["kind"] == "stop") {
            assert_eq!(stop["handoff_decision"], "llm_unavailable", "{trail}");
            assert!(stop["reason"].as_str().unwrap().starts_with("llm_unavailable: "), "{trail}");
        }
        let at: Vec<&str> = entries.iter().map(|entry| entry["timestamp"].as_str().unwrap()).collect();
        assert!(at.is_sorted(), "{trail}");
        let replayed = stage.command(&["replay", &id]);
        assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    }
}

#[tokio::test]
async fn what_guardrails_and_choices_ask_is_on_the_bill_and_is_no_turn() {
    let judged = || Reply::text(r#"{"violates": false, "reason": ""}"#);
    let chosen = || Reply::text(r#"{"capability": "sql"}"#);
    let gate = Gate::new();
    let model =
        ModelServer::start([chosen().gate_at(0, &gate), chosen(), judged(), Reply::text("Refunded."), judged()]);
    let (stage, _file) = stage(&model).await;
    let stage = leases(stage, 5);
    let mut first = stage.serve();
    let mut job = network("b");
    job["handoff"]["agent"] = "able".into();
    stage.push(&job).await;
    gate.reached().await;
    first.signal("KILL");
    first.wait();
    let _second = stage.serve();
    let result = stage.result("b").await;
    assert_eq!(result["result"]["answer"], "Refunded.", "{result}");
    assert_eq!(result["result"]["model_calls"], 1, "turns of agents alone: {result}");
    // With the choice that the kill cut off, whose tokens nobody knows.
    assert_eq!(
        (&result["metadata"]["llm_calls"], &result["metadata"]["tokens_used"]),
        (&json!(5), &json!(4 * 110)),
        "{result}"
    );
}
