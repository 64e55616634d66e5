// What the program needs around it: a Redis of its own, a model that says what it is told to, an orchestrator.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A port nobody listens on. */
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Asks until there is an answer that is not nothing; what keeps failing is said after a minute. */
export async function until(what, ask) {
  const end = Date.now() + 60_000;
  for (;;) {
    const answer = await ask().catch(() => null);
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited a minute for ${what}`);
    await new Promise((go) => setTimeout(go, 50));
  }
}

/** Ends a process this test started. */
export async function end(child) {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}

/** A redis-server on a free port, and one command at a time to it. */
export async function startRedis() {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), "browser-redis-"));
  const child = spawn("redis-server", ["--port", port, "--save", "", "--appendonly", "no", "--dir", dir], { stdio: "ignore" });
  const call = (...words) => new Promise((done, failed) => {
    const socket = net.connect(port, "127.0.0.1");
    const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
    socket.on("error", failed).on("data", (data) => {
      socket.destroy();
      const text = data.toString();
      if (text.startsWith("-")) failed(new Error(text));
      else done(text.trim());
    });
    socket.write(`*${words.length}\r\n${parts.join("")}`);
  });
  await until("redis", () => call("PING"));
  return { port, call, async stop() { await end(child); rmSync(dir, { recursive: true, force: true }); } };
}

/** Reads a whole body. */
async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function listen(handler) {
  const server = http.createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, url: `http://127.0.0.1:${server.address().port}`, async stop() { server.closeAllConnections(); server.close(); } };
}

/**
 * A Chat Completions server. `say(mark, ...replies)` is for requests whose body holds `mark`, in turn; a reply is
 * `{text}`, `{calls: [[name, arguments]]}` or `{wait}`: words that are sent, and the rest when `go(mark)` is called.
 */
export async function startModel() {
  const script = new Map();
  const gates = new Map();
  const gate = (mark) => {
    if (!gates.has(mark)) {
      let open;
      const opened = new Promise((go) => { open = go; });
      gates.set(mark, { opened, open });
    }
    return gates.get(mark);
  };
  const server = await listen(async (request, response) => {
    const text = await body(request);
    const mark = [...script.keys()].find((known) => text.includes(known) && script.get(known).length > 0);
    const reply = mark ? script.get(mark).shift() : { text: "{\"tags\": []}" };
    response.writeHead(200, { "content-type": "text/event-stream" });
    const send = (data) => response.write(`data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`);
    const delta = (content) => send({ choices: [{ index: 0, delta: content }] });
    if (reply.wait) {
      delta({ content: reply.wait });
      await gate(mark).opened;
    }
    if (reply.text) delta({ content: reply.text });
    (reply.calls ?? []).forEach(([name, args], index) => delta({
      tool_calls: [{ index, id: `call_${index + 1}`, type: "function", function: { name, arguments: JSON.stringify(args) } }],
    }));
    send({ choices: [{ index: 0, delta: {}, finish_reason: reply.calls ? "tool_calls" : "stop" }] });
    send({ choices: [], usage: { prompt_tokens: 1200, completion_tokens: 80, total_tokens: 1280, prompt_tokens_details: { cached_tokens: 1024 } } });
    send("[DONE]");
    response.end();
  });
  return {
    url: `${server.url}/v1`,
    stop: server.stop,
    say(mark, ...replies) { script.set(mark, [...(script.get(mark) ?? []), ...replies]); },
    go(mark) { gate(mark).open(); },
  };
}

/** Takes every workflow patch. */
export async function startOrchestrator(workflow) {
  return listen(async (request, response) => {
    await body(request);
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(request.method === "GET" ? workflow : { artifact_id: "0198-artifact" }));
  });
}

/** Answers nothing but 503: whoever asks may try again. */
export async function startBusy() {
  return listen(async (request, response) => {
    await body(request);
    response.writeHead(503).end();
  });
}
