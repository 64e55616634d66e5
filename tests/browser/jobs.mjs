// Jobs of every kind, so that every page has something to show.
import { workflow } from "./rig.mjs";

export const hostile = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)> \u202eevil\u202c {{7*7}}";
export const longWord = "x".repeat(10_000);

export const flights = [
  { airline: "Aurora", price: 129.90, seats: 3 }, { airline: "Skyway", price: 74.00, seats: 0 },
  { airline: "Nordlys", price: 98.50, seats: 12 }, { airline: "Boreal", price: 310.25, seats: 7 },
];

const plan = [
  { step: "table_filter", condition: { field: "seats", op: ">", value: 0 } },
  { step: "table_sort", field: "price" },
  { step: "top_k", k: 2 },
  { step: "table_select", fields: ["airline", "price"] },
];

export const patch = {
  description: "a mail in place of the report, and a stricter filter",
  operations: [
    { op: "add", path: "/nodes/-", value: { id: "mail", type: "http", config: { url: "https://mail.example.com/send", method: "POST" } } },
    { op: "add", path: "/edges/-", value: { from: "cheap", to: "mail" } },
    { op: "replace", path: "/nodes/id:cheap/config/condition", value: "item.price < 300" },
    { op: "remove", path: "/edges/id:cheap->report" },
    { op: "remove", path: "/nodes/id:report" },
  ],
};

/** Puts them all in and waits for each. */
export async function seed(rig) {
  rig.model.say("[flights]", { calls: [["execute_pipeline", { pipeline: plan }]] });
  rig.model.say("[words]", { text: "The fleet has four airlines. Boreal is the most expensive one." });
  rig.model.say("[charged-twice]",
    { text: "I pass you on.", calls: [["transfer_to_billing", { reason: "double charge", message: "order 1042 was charged twice" }]] },
    { text: "Order 1042 was charged twice. One of the charges is refunded." });
  rig.model.say("[e42]",
    { text: JSON.stringify({ can_handle: "no", complexity_score: 0.5, reasoning: "an error code I do not know", requires_tier: 2 }) },
    { text: "Yes, E42 is a full disk on the export worker." },
    { text: JSON.stringify({ result: "E42 means that the export worker's disk is full.", confidence: 0.8 }) });
  const http = [{ step: "http_request", url: `${rig.busy}/rows` }];
  const many = Array.from({ length: 150 }, (_, at) => ({ id: at, name: `row ${at}`, city: "Reykjavík", price: at * 1.5 }));
  await Promise.all([
    rig.job({ job_id: "flights", prompt: "the two cheapest flights with free seats, only airline and price [flights]", data: flights }, "completed"),
    rig.job({ job_id: "words", prompt: "tell me about the airlines in words [words]", data: flights, lane: "execute" }, "completed"),
    rig.job({ job_id: "rows", pipeline: [{ step: "literal", rows: many }, { step: "table_sort", field: "price", order: "desc" }] }, "completed"),
    rig.job({ job_id: "planned", pipeline: plan, data: flights, dry_run: true }, "completed"),
    rig.job({ job_id: "patched", patch_spec: patch, current_workflow: workflow, workflow_tag: "main", workflow_owner: "ada" }, "completed"),
    rig.job({ job_id: "wants-approval", prompt: "mail the report", patch_spec: patch, current_workflow: workflow, workflow_tag: "main", workflow_owner: "ada", require_approval: true }, "awaiting_approval"),
    rig.job({ job_id: "wants-rejection", patch_spec: patch, current_workflow: workflow, workflow_tag: "main", workflow_owner: "ada", require_approval: true }, "awaiting_approval"),
    rig.job({ job_id: "bad-plan", pipeline: [{ step: "table_sort" }], data: flights }, "failed"),
    rig.job({ job_id: "network", prompt: "I was charged twice for order 1042 [charged-twice]", handoff: { mode: "network", agent: "triage" } }, "completed"),
    rig.job({ job_id: "tiers", prompt: "Exports fail with error E42 [e42]", handoff: { mode: "tiers" } }, "completed"),
    rig.job({ job_id: "later", prompt: "tomorrow's report", delay_ms: 3_600_000 }, "queued"),
    rig.job({ job_id: "given-up", prompt: "nobody wants this", delay_ms: 3_600_000 }, "queued"),
    ...[1, 2, 3, 4, 5].map((n) => rig.job({ job_id: `dead-${n}`, pipeline: http }, "failed")),
    rig.job({ job_id: "hostile", prompt: `${hostile} ${longWord}`, data: [{ [hostile]: hostile, long: longWord }], pipeline: [{ step: "slice", limit: 5 }] }, "completed"),
    rig.job({ job_id: "<b>\"'&\u00e9-%2F", prompt: hostile, pipeline: [{ step: hostile }], data: flights }, "failed"),
    rig.job({ job_id: "w".repeat(200), pipeline: [{ step: "slice", limit: 1 }], data: flights }, "completed"),
  ]);
  await rig.redis.call("RPUSH", "agent:jobs", `${hostile} is no job`);
}
