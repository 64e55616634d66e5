//! Workers that die amid a handoff: a transfer, a tool that leaves a trace outside, a delegated task, an answer. Nothing
//! that was answered is asked for again, nothing is left out, and the story that is told is that of an undisturbed run.

use serde_json::{Value, json};

use super::{Row, audit};
use crate::support::{
    model::{Gate, ModelServer, Reply},
    site::{Site, reply},
    stage::Stage,
};

const AGENTS: &str = "\
agents:
  - {id: triage, instructions: You sort., handoffs: [billing]}
  - {id: billing, instructions: You bill., tools: [execute_pipeline, delegate_to_agent]}
  - {id: ann}
";
/// The points of an agent's life, and how often one handoff comes by each.
pub const POINTS: [(&str, usize); 3] = [("turn_paid", 4), ("tool_made", 2), ("transfer_taken", 1)];
/// Model calls of one handoff.
const CALLS: usize = 4;

/// Everything around the workers.
struct Scene {
    site: Site,
    model: ModelServer,
    stage: Stage,
    ids: Vec<String>,
    _agents: tempfile::NamedTempFile,
}

impl Scene {
    async fn set(lease_secs: u32) -> Self {
        let site = Site::start(|_| reply(200, &[("content-type", "application/json")], "[{\"a\":1}]")).await;
        let model = ModelServer::start([]);
        let agents = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(agents.path(), AGENTS).unwrap();
        let stage = Stage::set()
            .await
            .with("AGENT_RUNNER__AGENTS__FILE", agents.path().to_str().unwrap())
            .with("AGENT_RUNNER__EMBEDDINGS__PROVIDER", "lexical")
            .with("AGENT_RUNNER__EGRESS__ALLOW", site.address().to_string())
            .with("AGENT_RUNNER__QUEUE__LEASE_SECS", lease_secs.to_string())
            .with("OPENAI_BASE_URL", model.base_url());
        Self { site, model, stage, ids: Vec::new(), _agents: agents }
    }

    /// The replies to one handoff, in order. Each is only for that one, and there is none to spare: the model server
    /// says so when a request comes twice.
    fn replies(&self, id: &str) -> [Reply; CALLS] {
        let fetch = json!({"pipeline": [{"step": "http_request", "url": self.site.url(&format!("/{id}"))}]});
        let task = json!({"agent": "ann", "task": format!("look after {id}.")});
        [
            Reply::call("transfer_to_billing", &json!({"reason": "money", "message": "a refund"})),
            Reply::calls(&[("execute_pipeline", fetch), ("delegate_to_agent", task)]),
            Reply::text("Looked after."),
            Reply::text("Refunded."),
        ]
        .map(|reply| reply.on(&format!("{id}.")))
    }

    async fn push(&mut self, id: &str) {
        let handoff = json!({"mode": "network", "agent": "triage"});
        self.stage.push(&json!({"job_id": id, "prompt": format!("refund {id}."), "handoff": handoff})).await;
        self.ids.push(id.to_owned());
    }

    /// Waits for the result of a handoff and looks at all that it tells.
    async fn ended(&self, id: &str) {
        let result = self.stage.result(id).await;
        assert_eq!(result["status"], "completed", "{result}");
        let network = &result["result"];
        assert_eq!((&network["answer"], &network["model_calls"]), (&json!("Refunded."), &json!(CALLS)), "{result}");
        assert_eq!(network["handoffs"], json!([{"from": "triage", "to": "billing", "reason": "money"}]));
        let tools: Vec<&Value> =
            result["metadata"]["tool_calls"].as_array().unwrap().iter().map(|call| &call["tool"]).collect();
        assert_eq!(tools, ["execute_pipeline", "delegate_to_agent"], "{result}");
        let visits = self.site.visits().iter().filter(|visit| visit.path() == format!("/{id}")).count();
        assert_eq!(visits, 1, "the tool of {id} was made {visits} times");
        let key = format!("agent:handoffs:{}", network["execution_id"].as_str().unwrap());
        let trail: Vec<String> = self.stage.redis.run(&["LRANGE", &key, "0", "-1"]).await;
        let trail: Vec<Value> = trail.iter().map(|entry| serde_json::from_str(entry).unwrap()).collect();
        let told: Vec<String> = trail.iter().map(|entry| format!("{} {}", entry["kind"], entry["agent_id"])).collect();
        let want = [
            ["transfer", "triage"],
            ["tool", "billing"],
            ["select", "ann"],
            ["execute", "ann"],
            ["tool", "billing"],
            ["execute", "billing"],
        ];
        assert_eq!(told, want.map(|[kind, agent]| format!("\"{kind}\" \"{agent}\"")), "{id}");
        // The closing event follows the result.
        self.stage.events(id).await;
    }

    async fn row(self, faults: usize) -> Row {
        let mut row = Row { faults, ..Row::default() };
        audit(&mut self.stage.redis.connection().await, &self.ids, &mut row).await;
        row
    }
}

/// So many deaths at each place where a handoff comes by a point. Needs a program built with `--features failpoints`.
pub async fn run(deaths: usize) -> Row {
    let mut scene = Scene::set(2).await;
    let places: Vec<(&str, usize)> =
        POINTS.iter().flat_map(|(point, times)| (1..=*times).map(|at| (*point, at))).collect();
    for (point, at) in places.iter().copied() {
        for n in 0..deaths {
            let id = format!("{}-{at}-{n}", point.replace('_', "-"));
            for reply in scene.replies(&id) {
                scene.model.push(reply);
            }
            let at = at.to_string();
            // Alone with the job, so that it dies over this one and over no other's request.
            let more = [("AGENT_RUNNER_FAILPOINT", point), ("AGENT_RUNNER_FAILPOINT_AT", &at)];
            let mut mortal = scene.stage.spawn_with(&more);
            scene.push(&id).await;
            tokio::task::block_in_place(|| mortal.wait());
            let _heir = tokio::task::block_in_place(|| scene.stage.serve());
            scene.ended(&id).await;
        }
    }
    scene.row(deaths * places.len()).await
}

/// Kills the worker of one handoff each time when one of these requests (from 1) has come to the model server and is not
/// answered. That request is sent again, and no other.
pub async fn killed_while_asking(requests: &[usize]) -> Row {
    let mut scene = Scene::set(5).await;
    let id = "asking";
    let gate = Gate::new();
    for (n, reply) in (1..).zip(scene.replies(id)) {
        if requests.contains(&n) {
            scene.model.push(reply.clone().gate_at(0, &gate));
        }
        scene.model.push(reply);
    }
    let mut worker = tokio::task::block_in_place(|| scene.stage.serve());
    scene.push(id).await;
    for _ in requests {
        gate.reached().await;
        worker.signal("KILL");
        worker.wait();
        worker = tokio::task::block_in_place(|| scene.stage.serve());
    }
    scene.ended(id).await;
    let asked: Vec<Value> = scene.model.requests().iter().map(|request| request.json()).collect();
    assert_eq!(asked.len(), CALLS + requests.len());
    for pair in asked.windows(2).filter(|pair| pair[0]["messages"] == pair[1]["messages"]) {
        assert_eq!(pair[0], pair[1], "what is asked again is the same in every byte");
    }
    drop(worker);
    scene.row(requests.len()).await
}
