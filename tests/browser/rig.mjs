// The real program with everything around it, and a browser that tells on it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { end, freePort, startModel, startBusy, startOrchestrator, startRedis, until } from "./servers.mjs";

const root = resolve(import.meta.dirname, "../..");
const target = resolve(root, "target/browser");
export const { chromium } = createRequire(`${target}/`)("playwright-core");
export const program = resolve(process.env.AGENT_RUNNER ?? resolve(root, "target/debug/agent-runner"));
export const launch = { executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] };
export const shots = resolve(target, "screenshots");

export const workflow = {
  nodes: [
    { id: "fetch", type: "http", config: { url: "https://api.example.com/flights" } },
    { id: "cheap", type: "filter", config: { condition: "item.price < 500" } },
    { id: "report", type: "function", config: { name: "make_report" } },
  ],
  edges: [{ from: "fetch", to: "cheap" }, { from: "cheap", to: "report" }],
};

/** Starts all of it. `settings` are environment variables of the program. */
export async function start(settings = {}) {
  mkdirSync(shots, { recursive: true });
  const [redis, model, orchestrator, port, busy] = await Promise.all(
    [startRedis(), startModel(), startOrchestrator(workflow), freePort(), startBusy()],
  );
  const dir = mkdtempSync(join(tmpdir(), "browser-"));
  const env = {
    PATH: process.env.PATH,
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    OPENAI_BASE_URL: model.url,
    OPENAI_API_KEY: "none",
    ORCHESTRATOR_URL: orchestrator.url,
    AGENT_RUNNER__HTTP__BIND: `127.0.0.1:${port}`,
    AGENT_RUNNER__AGENTS__FILE: resolve(import.meta.dirname, "agents.yaml"),
    AGENT_RUNNER__EMBEDDINGS__PROVIDER: "lexical",
    AGENT_RUNNER__RETRY__MAX_ATTEMPTS: "1",
    AGENT_RUNNER__EGRESS__ALLOW: new URL(busy.url).host,
    ...settings,
  };
  const said = [];
  const child = spawn(program, ["serve"], { env, cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
  child.stderr.on("data", (data) => said.push(data));
  const url = `http://127.0.0.1:${port}`;
  await until("the program", async () => (await fetch(`${url}/health/ready`)).ok).catch((error) => {
    throw new Error(`${error.message}:\n${Buffer.concat(said)}`);
  });
  const browser = await chromium.launch(launch);
  return {
    url, redis, model, browser, busy: busy.url,
    async stop() {
      await browser.close();
      await end(child);
      await Promise.all([redis.stop(), model.stop(), orchestrator.stop(), busy.stop()]);
      rmSync(dir, { recursive: true, force: true });
    },
    /** Puts a job in; with `state`, waits until it is there. */
    async job(document, state) {
      const answer = await fetch(`${url}/v1/jobs`, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(document),
      });
      assert.equal(answer.status, 202, await answer.text());
      if (state) await this.reaches(document.job_id, state);
    },
    async view(id) {
      return (await fetch(`${url}/v1/jobs/${encodeURIComponent(id)}`)).json();
    },
    async reaches(id, state) {
      const over = ["completed", "failed", "cancelled"];
      const view = await until(`${id} to be ${state}`, async () => {
        const view = await this.view(id);
        return (view.state === state || over.includes(view.state)) && view;
      });
      assert.equal(view.state, state, `${id}: ${JSON.stringify(view).slice(0, 2000)}`);
    },
    /** Opens a page that must not complain: every complaint fails `close`. */
    async open(path, options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
      const page = await context.newPage();
      page.setDefaultTimeout(20_000);
      const complaints = [];
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
      });
      page.on("pageerror", (error) => complaints.push(`script: ${error.message}`));
      page.on("request", (request) => {
        if (!request.url().startsWith(`${url}/`)) complaints.push(`asked for ${request.url()}`);
      });
      page.on("response", (response) => {
        if (response.status() >= 500) complaints.push(`${response.status()} of ${response.url()}`);
      });
      await page.addInitScript(() => {
        addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
      });
      await page.goto(url + path);
      page.finish = async () => {
        await context.close();
        assert.deepEqual(complaints, [], `complaints on ${path}`);
      };
      return page;
    },
  };
}
