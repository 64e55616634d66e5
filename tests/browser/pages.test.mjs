// What each page shows, and what can be done on it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start } from "./rig.mjs";
import { flights, seed } from "./jobs.mjs";
import { until } from "./servers.mjs";

let rig;
before(async () => {
  rig = await start();
  await seed(rig);
});
after(() => rig?.stop());

const texts = (page, selector) => page.locator(selector).allInnerTexts();
const ids = (page) => texts(page, "#live td.id");

test("the overview counts, charts every figure, and renews itself", async () => {
  const page = await rig.open("/");
  const tile = (name) => page.locator(".tiles div", { has: page.locator("dt", { hasText: name }) }).locator("dd");
  assert.equal(await tile("Approval").innerText(), "2");
  assert.equal(await tile("Scheduled").innerText(), "2");
  assert.equal(await tile("Dead letters").innerText(), "6");
  // The sums behind the charts are written every few seconds.
  const drawn = async (title, words) => until(`${title} to be drawn`, async () => {
    await page.reload();
    return words.test(await page.getByRole("img", { name: title }).getAttribute("aria-label"));
  });
  await drawn("Throughput", /at most [1-9]/);
  const charts = {
    Throughput: ["jobs completed"], Failures: ["cancelled", "failed"], Queue: ["waiting", "running"],
    "Time per job": ["half", "95 %", "99 %"], Tokens: ["prompt", "completion", "cached"], Cost: ["US dollars"],
  };
  for (const [title, lines] of Object.entries(charts)) {
    const figure = page.locator("figure", { has: page.getByRole("img", { name: title }) });
    assert.deepEqual(await figure.locator(".legend li").allInnerTexts(), lines);
    assert.equal(await figure.locator("polyline").count(), lines.length);
    const heights = await figure.locator("polyline").evaluateAll((all) => all.map((line) => line.getBBox().height));
    if (title !== "Queue") assert.ok(Math.max(...heights) > 50, `${title} is ${heights} high`);
    await figure.getByText("Numbers").click();
    assert.equal(await figure.locator("tbody tr").count(), 60);
  }
  await page.getByRole("link", { name: "The last day" }).click();
  assert.equal(await page.locator("figure").first().locator("tbody tr").count(), 96);
  await rig.job({ job_id: "renewed", prompt: "p", delay_ms: 3_600_000 }, "queued");
  await tile("Scheduled").filter({ hasText: "3" }).waitFor();
  await page.finish();
});

test("the queue is paused and resumed with a question", async () => {
  const page = await rig.open("/");
  page.once("dialog", (dialog) => dialog.dismiss());
  await page.getByRole("button", { name: "Pause" }).click();
  assert.equal(await page.getByText("The queue is paused").count(), 0);
  page.once("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("status").filter({ hasText: "The queue is paused" }).waitFor();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("button", { name: "Pause" }).waitFor();
  await page.finish();
});

test("jobs are narrowed by state, lane and words, and found by id", async () => {
  const page = await rig.open("/ui/jobs");
  const narrowed = async (choose) => {
    await page.goto(`${rig.url}/ui/jobs`);
    await choose();
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL(/\?/);
    return (await ids(page)).sort();
  };
  const state = (word) => () => page.getByLabel("State").selectOption(word);
  assert.deepEqual(await narrowed(state("awaiting_approval")), ["wants-approval", "wants-rejection"]);
  assert.ok((await narrowed(state("scheduled"))).includes("later"));
  assert.ok((await narrowed(state("failed"))).includes("bad-plan"));
  assert.ok(!(await narrowed(state("completed"))).includes("bad-plan"));
  assert.deepEqual(await narrowed(() => page.getByLabel("Lane").selectOption("handoff")), ["network", "tiers"]);
  const words = (text) => () => page.getByLabel("Id or error contains").fill(text);
  assert.deepEqual(await narrowed(words("dead-")), [1, 2, 3, 4, 5].map((n) => `dead-${n}`));
  assert.deepEqual(await narrowed(words("field to sort by")), ["bad-plan"]);
  assert.deepEqual(await narrowed(words("no such thing")), []);
  await page.getByText("No such job").waitFor();
  await page.getByLabel("Find a job").fill("flights");
  await page.getByLabel("Find a job").press("Enter");
  await page.waitForURL(/\/ui\/jobs\/flights$/);
  await page.finish();
});

test("a job's page has prompt, intent, plan, waterfall, model calls, table and events", async () => {
  const page = await rig.open("/ui/jobs/flights");
  assert.match(await page.locator("blockquote").innerText(), /two cheapest flights/);
  assert.match(await page.locator(".intent").innerText(), /^execute, \d+ % sure \(rules\): a one-time data operation/);
  assert.match(await page.locator("details", { hasText: "execute_pipeline" }).innerText(), /"step": "table_filter"/);
  const steps = page.locator("table.steps tbody tr");
  assert.deepEqual((await steps.allInnerTexts()).map((row) => row.split("\t").slice(0, 2)), [
    ["table_filter", "4 → 3"], ["table_sort", "3 → 3"], ["top_k", "3 → 2"], ["table_select", "2 → 2"],
  ]);
  const bars = await steps.locator("rect").evaluateAll((all) => all.map((bar) => [bar.x.baseVal.value, bar.width.baseVal.value]));
  bars.slice(1).forEach(([x], at) => assert.ok(x >= bars[at][0], "a step begins where the one before ended"));
  assert.ok(bars.every(([x, width]) => width >= 1 && x + width <= 303), `${bars}`);
  const table = page.locator("table.rows");
  assert.deepEqual(await table.locator("th").allInnerTexts(), ["airline", "price"]);
  assert.deepEqual(await table.locator("td").allInnerTexts(), ["Nordlys", "98.5", "Aurora", "129.9"]);
  const calls = page.locator("h2:text('Model calls') + .scroll td");
  assert.deepEqual(await calls.allInnerTexts(), ["turn:0", "gpt-4o-mini", "1280", "$0.000151"]);
  const events = page.locator(".events li strong");
  await events.filter({ hasText: "completed" }).waitFor();
  const names = await events.allInnerTexts();
  for (const name of ["queued", "started", "intent", "plan", "step finished", "completed"]) assert.ok(names.includes(name), name);
  assert.equal((await fetch(rig.url + await page.getByRole("link", { name: "as JSON" }).getAttribute("href"))).status, 200);
  await page.finish();
});

test("many rows are cut, other results are a tree that opens and closes, words are words", async () => {
  const page = await rig.open("/ui/jobs/rows");
  assert.equal(await page.locator("table.rows tbody tr").count(), 100);
  await page.getByText("and 50 more rows").waitFor();
  await page.goto(`${rig.url}/ui/jobs/planned`);
  const condition = page.locator(".tree details", { hasText: "condition" }).last();
  assert.equal(await condition.locator("li").first().isVisible(), false);
  await condition.locator("summary").click();
  assert.deepEqual(await condition.locator("li").allInnerTexts(), ["field seats", "op >", "value 0"]);
  await page.goto(`${rig.url}/ui/jobs/words`);
  assert.match(await page.locator("pre.words").innerText(), /^The fleet has four airlines/);
  await page.finish();
});

test("events come in while a job runs, and its end shows its outcome", async () => {
  rig.model.say("[live]", { wait: "Thinking about it", text: " and done." });
  await rig.job({ job_id: "live", prompt: "say something [live]", data: flights, lane: "execute" }, "running");
  const page = await rig.open("/ui/jobs/live");
  assert.match(await page.locator("blockquote").innerText(), /say something/);
  await page.locator(".events li", { hasText: "Thinking about it" }).waitFor();
  assert.equal(await page.locator(".state").first().innerText(), "running");
  rig.model.go("[live]");
  await page.locator("h1 .state.completed").waitFor();
  assert.equal(await page.locator("pre.words").innerText(), "Thinking about it and done.");
  await page.finish();
});

test("a running job is cancelled, a failed one runs again", async () => {
  rig.model.say("[stuck]", { wait: "Hm" });
  await rig.job({ job_id: "stuck", prompt: "say something [stuck]", data: flights, lane: "execute" }, "running");
  const page = await rig.open("/ui/jobs/stuck");
  page.on("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.locator("h1 .state.cancelled").waitFor();
  rig.model.say("[stuck]", { text: "Now it works." });
  await page.getByRole("button", { name: "Run again" }).click();
  await page.locator("h1 .state.completed").waitFor();
  assert.equal(await page.locator("pre.words").innerText(), "Now it works.");
  await page.finish();
});

test("a patch is shown before and after in colours before it is approved or rejected", async () => {
  const page = await rig.open("/ui/jobs/wants-approval");
  await page.getByRole("heading", { name: "Waits for approval" }).waitFor();
  const before = page.getByRole("img", { name: "Before: fetch, cheap (changed), report (removed); fetch to cheap, cheap to report (removed)" });
  const after = page.getByRole("img", { name: "After: fetch, cheap (changed), mail (added); fetch to cheap, cheap to mail (added)" });
  const stroke = (drawing, selector) => drawing.locator(selector).evaluate((shape) => getComputedStyle(shape).stroke);
  const colours = await Promise.all([
    stroke(before, ".removed rect"), stroke(before, ".changed rect"), stroke(after, ".added rect"), stroke(before, ".node:not(.removed, .changed) rect"),
  ]);
  assert.equal(new Set(colours).size, 4, `${colours}`);
  assert.equal(await stroke(after, ".arrow.added"), colours[2]);
  assert.equal(await stroke(before, ".arrow.removed"), colours[0]);
  assert.deepEqual(await texts(page, ".marks li"), ["added", "changed", "removed"]);
  await page.getByText("What undoes them").click();
  assert.match(await page.locator("details", { hasText: "What undoes them" }).locator("pre").innerText(), /"op": "add"/);
  await page.getByRole("button", { name: "Approve" }).click();
  await page.locator("h1 .state.completed").waitFor();
  await page.getByRole("img", { name: "After: fetch, cheap (changed), mail (added)" }).waitFor();
  await page.goto(`${rig.url}/ui/jobs/wants-rejection`);
  await page.getByRole("button", { name: "Reject" }).click();
  await page.locator("h1 .state.cancelled").waitFor();
  await page.finish();
});

test("a handoff is a timeline and a network with its traffic", async () => {
  const page = await rig.open("/ui/jobs/network");
  await page.getByRole("link", { name: /^Trail/ }).click();
  const kinds = await texts(page, ".trail > li > p:first-child strong");
  assert.deepEqual(kinds, ["transfer", "execute"]);
  assert.match((await texts(page, ".trail")).join(), /from triage · to billing · decision: transferred · tokens 1280\s+double charge/);
  const drawing = page.getByRole("img", { name: /^The network and the way it took: triage \(taken\), billing \(taken\), technical, sales; triage to billing \(1×\) \(taken\)/ });
  assert.deepEqual(await drawing.locator("text.label").allTextContents(), ["1×"]);
  assert.equal(await drawing.locator(".arrow.taken").count(), 1);
  assert.ok(await drawing.locator(".arrow:not(.taken)").count() >= 3);
  await page.goto(`${rig.url}/ui/agents`);
  await page.locator("tr", { hasText: "tiers" }).getByRole("link").click();
  assert.match((await texts(page, ".trail")).join(), /escalate/);
  await page.getByRole("img", { name: "tier-1 (taken), tier-2 (taken); tier-1 to tier-2 (1×) (taken)" }).waitFor();
  await page.finish();
});

test("dead letters go back or away, several at once", async () => {
  const page = await rig.open("/ui/dead");
  page.on("dialog", (dialog) => dialog.accept());
  const choose = (id) => page.getByLabel(`Choose ${id}`).check();
  await choose("dead-1");
  await choose("dead-2");
  await page.getByRole("button", { name: "Discard" }).click();
  await page.getByRole("status").filter({ hasText: "2 letters are gone for good." }).waitFor();
  const left = async () => (await texts(page, "td.id")).sort();
  assert.deepEqual(await left(), ["dead-3", "dead-4", "dead-5", "no id"]);
  await page.getByLabel("all of this page").check();
  assert.equal(await page.locator("input[name=id]:checked").count(), 4);
  await page.getByLabel("Choose dead-5").uncheck();
  await page.getByRole("button", { name: "Back into the queue" }).click();
  await page.getByRole("status").filter({ hasText: "3 letters are back in the queue." }).waitFor();
  // They run, fail as before, and are dead again.
  await until("the letters to come back", async () => {
    await page.goto(`${rig.url}/ui/dead`);
    return (await left()).length === 4;
  });
  await page.locator("tr", { hasText: "no id" }).getByText("Message").click();
  await page.locator("pre", { hasText: "is no job" }).waitFor();
  await page.finish();
});

test("a sentence is tried on the agents", async () => {
  const page = await rig.open("/ui/agents");
  await page.getByLabel("Who would take this sentence?").fill("write a SQL query for the average order value");
  await page.getByRole("button", { name: "Try" }).click();
  await page.getByRole("status").filter({ hasText: "Data Analyst takes it." }).waitFor();
  const rows = (await texts(page, "table.steps tbody tr")).map((row) => row.split("\t"));
  assert.equal(rows.length, 5);
  assert.equal(rows[0][0], "Data Analyst");
  const scores = rows.map((row) => Number(row[1]));
  assert.deepEqual(scores, [...scores].sort((a, b) => b - a));
  const widths = await page.locator("table.steps rect").evaluateAll((all) => all.map((bar) => bar.width.baseVal.value));
  assert.equal(widths[0], Math.max(...widths));
  await page.getByRole("link", { name: "Why" }).click();
  assert.match((await texts(page, ".trail")).join(), /select data-analyst/);
  await page.goto(`${rig.url}/ui/agents`);
  await page.getByRole("img", { name: /^Who hands over to whom: triage, billing/ }).waitFor();
  await page.finish();
});

test("the playground runs a prompt and says what is wrong with one", async () => {
  rig.model.say("[try]", { calls: [["execute_pipeline", { pipeline: [{ step: "top_k", k: 1, by: "price" }] }]] });
  const page = await rig.open("/ui/playground");
  await page.getByLabel("Prompt").fill("the most expensive flight [try]");
  await page.getByLabel("only show what would change").uncheck();
  await page.getByRole("button", { name: "Run" }).click();
  await page.locator("#outcome .state.completed").first().waitFor();
  assert.deepEqual(await texts(page, "#outcome table.rows td"), ["Aurora", "129.90"]);
  await page.getByLabel("Rows (JSON)").fill("[{");
  await page.getByRole("button", { name: "Run" }).click();
  await page.getByRole("alert").filter({ hasText: "the rows are no JSON" }).waitFor();
  await page.finish();
});

test("pages work without a script", async () => {
  const page = await rig.open("/ui/jobs/given-up", { javaScriptEnabled: false });
  await page.getByRole("button", { name: "Cancel" }).click();
  await until("given-up to be cancelled", async () => {
    await page.reload();
    return (await page.locator("h1 .state").innerText()) === "cancelled";
  });
  await page.getByRole("link", { name: "the stream itself" }).waitFor();
  await page.finish();
});
