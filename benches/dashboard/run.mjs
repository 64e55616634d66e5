// What pages of the dashboard, lists of the API and /metrics take of a server that keeps JOBS ended jobs, and how long
// the program takes from its start until it is ready. Needs node, redis-server and a release build:
//   cargo build --locked --release && node benches/dashboard/run.mjs
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { end, freePort, startRedis, until } from "../../tests/browser/servers.mjs";

const JOBS = Number(process.env.JOBS ?? 100_000), TIMES = Number(process.env.TIMES ?? 50);
const root = resolve(import.meta.dirname, "../..");
const program = process.env.AGENT_RUNNER ?? resolve(root, "target/release/agent-runner");
const dir = mkdtempSync(join(tmpdir(), "dashboard-bench-"));
const [redis, port] = await Promise.all([startRedis(), freePort()]);
const url = `http://127.0.0.1:${port}`;
const env = {
  PATH: process.env.PATH, REDIS_URL: `redis://127.0.0.1:${redis.port}`, AGENT_RUNNER__HTTP__BIND: `127.0.0.1:${port}`,
  AGENT_RUNNER__AGENTS__FILE: resolve(root, "examples/agents.yaml"), AGENT_RUNNER__LLM__PROVIDER: "rules", RUST_LOG: "error",
};

/** Starts the program; milliseconds until it says that it is ready, asked on one connection after the other. */
async function serve() {
  const from = performance.now();
  const child = spawn(program, ["serve"], { env, cwd: dir, stdio: "ignore" });
  const ask = () => new Promise((done) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write("GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
    let text = "";
    socket.on("data", (data) => { text += data; }).on("error", () => done("")).on("close", () => done(text));
  });
  while (!(await ask()).startsWith("HTTP/1.1 200")) await new Promise((go) => setTimeout(go, 1));
  return { child, ms: performance.now() - from };
}

/** Pushes many jobs in one go. */
async function push(jobs) {
  const socket = net.connect(redis.port, "127.0.0.1");
  const answered = new Promise((done, failed) => socket.once("data", done).on("error", failed));
  const words = ["RPUSH", "agent:jobs", ...jobs].map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  socket.write(`*${words.length}\r\n${words.join("")}`);
  await answered;
  socket.destroy();
}

async function measure(path) {
  const all = [];
  let bytes = 0;
  for (let n = 0; n < TIMES; n += 1) {
    const from = performance.now();
    const answer = await fetch(url + path);
    bytes = (await answer.arrayBuffer()).byteLength;
    all.push(performance.now() - from);
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
  }
  all.sort((a, b) => a - b);
  const at = (share) => all[Math.floor(all.length * share)].toFixed(1).padStart(8);
  console.log(`${path.padEnd(46)}${at(0.5)}${at(0.95)}${String(bytes).padStart(10)}`);
}

const starts = [];
let service;
try {
  const rows = [{ airline: "Aurora", price: 129.9 }, { airline: "Skyway", price: 74 }, { airline: "Nordlys", price: 98.5 }];
  const good = [{ step: "table_sort", field: "price" }, { step: "top_k", k: 2 }], bad = [{ step: "table_sort" }];
  for (let from = 0; from < JOBS; from += 1000) {
    await push(Array.from({ length: Math.min(1000, JOBS - from) }, (_, n) => JSON.stringify({
      job_id: `order-${from + n}`, prompt: "the two cheapest flights", pipeline: (from + n) % 100 ? good : bad, data: rows,
    })));
  }
  service = await serve();
  starts.push(service.ms);
  const left = async () => Number((await redis.call("LLEN", "agent:jobs")).slice(1)) + Number((await redis.call("HLEN", "{agent:jobs}:jobs")).slice(1))
    + Number((await redis.call("LLEN", "{agent:jobs}:inbox")).slice(1));
  while ((await left()) > 0) await new Promise((go) => setTimeout(go, 100));
  console.log(`${JOBS} jobs ended in ${((performance.now()) / 1000).toFixed(0)} s; ${await redis.call("DBSIZE")} keys`);
  await fetch(`${url}/v1/jobs`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ job_id: "later", prompt: "p", delay_ms: 3_600_000 }) });
  await fetch(`${url}/v1/agents/route`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ prompt: "review my pull request" }) });
  console.log(`${"path".padEnd(46)}${"median".padStart(8)}${"p95 ms".padStart(8)}${"bytes".padStart(10)}`);
  const last = `order-${JOBS - 1}`;
  for (const path of ["/", "/?range=day", "/ui/jobs", "/ui/jobs?limit=200", "/ui/jobs?limit=1000", "/ui/jobs?status=completed", "/ui/jobs?status=failed", "/ui/jobs?status=cancelled",
    "/ui/jobs?status=running", "/ui/jobs?status=scheduled", "/ui/jobs?lane=execute", "/ui/jobs?lane=handoff", "/ui/jobs?q=99", "/ui/jobs?q=field+to+sort", "/ui/jobs?q=nothing+has+this",
    `/ui/jobs/${last}`, "/ui/dead", "/ui/agents", "/ui/playground", "/v1/jobs", "/v1/jobs?limit=1000", "/v1/jobs?status=failed", "/v1/jobs?status=cancelled", "/v1/jobs?q=nothing",
    `/v1/jobs/${last}`, "/health", "/metrics"]) await measure(path);
  for (let n = 0; n < 10; n += 1) {
    service.child.kill("SIGTERM");
    await until("the end", async () => service.child.exitCode !== null);
    service = await serve();
    starts.push(service.ms);
  }
  starts.sort((a, b) => a - b);
  console.log(`start to ready: median ${starts[5].toFixed(0)} ms, slowest ${starts.at(-1).toFixed(0)} ms of ${starts.length}`);
} finally {
  if (service) await end(service.child);
  await redis.stop();
  rmSync(dir, { recursive: true, force: true });
}
