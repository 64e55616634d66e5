// How pages look, sound and feel: colours, narrow screens, keyboard, names for screen readers, hostile texts.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { shots, start } from "./rig.mjs";
import { hostile, longWord, seed } from "./jobs.mjs";
import { until } from "./servers.mjs";
import { pale } from "./contrast.mjs";

let rig;
const pages = new Map([
  ["overview", "/"], ["overview-day", "/?range=day"], ["jobs", "/ui/jobs"], ["job", "/ui/jobs/flights"], ["job-rows", "/ui/jobs/rows"],
  ["job-tree", "/ui/jobs/planned"], ["job-failed", "/ui/jobs/bad-plan"], ["job-words", "/ui/jobs/words"], ["job-handoff", "/ui/jobs/network"],
  ["job-scheduled", "/ui/jobs/later"], ["patch", "/ui/jobs/patched"], ["approval", "/ui/jobs/wants-approval"], ["hostile", "/ui/jobs/hostile"],
  ["hostile-id", `/ui/jobs/${encodeURIComponent("<b>\"'&é-%2F")}`], ["dead", "/ui/dead"], ["agents", "/ui/agents"],
  ["playground", "/ui/playground"], ["login", "/ui/login"], ["missing", "/ui/jobs/nobody"],
]);

before(async () => {
  rig = await start();
  await seed(rig);
  for (const id of ["network", "tiers"]) {
    pages.set(`handoff-${id}`, `/ui/handoffs/${(await rig.view(id)).result.result.execution_id}`);
  }
  await until("charts", async () => /Throughput, UTC: [^"]*at most [1-9]/.test(await (await fetch(rig.url)).text()));
});
after(() => rig?.stop());

test("every page is legible in light and dark", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const grounds = new Set();
    for (const [name, path] of pages) {
      if (name === "missing") continue;
      const page = await rig.open(path, { colorScheme });
      await page.screenshot({ path: `${shots}/${name}-${colorScheme}.png`, fullPage: true });
      assert.deepEqual(await page.evaluate(pale), [], `${name} in ${colorScheme}`);
      grounds.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await page.finish();
    }
    assert.deepEqual([...grounds], [colorScheme === "dark" ? "rgb(15, 19, 24)" : "rgb(246, 247, 249)"]);
  }
});

test("no page needs to be moved sideways on a narrow screen", async () => {
  for (const [name, path] of pages) {
    if (name === "missing") continue;
    const page = await rig.open(path, { viewport: { width: 320, height: 700 } });
    const wide = await page.evaluate(() => [document.documentElement.scrollWidth, [...document.querySelectorAll("main *")]
      .filter((one) => one.getBoundingClientRect().right > innerWidth && !one.closest(".scroll, pre, .tree, svg, .hidden"))
      .slice(0, 3).map((one) => `${one.tagName}.${one.className} ${one.textContent.slice(0, 30)}`)]);
    await page.screenshot({ path: `${shots}/${name}-narrow.png` });
    assert.deepEqual(wide, [320, []], name);
    await page.finish();
  }
});

test("every page is walked through with the keyboard alone, and shows where one is", async () => {
  for (const [name, path] of pages) {
    if (name === "missing") continue;
    const page = await rig.open(path);
    const wanted = await page.evaluate(() => {
      document.activeElement?.blur();
      const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")];
      return all.filter((one) => one.checkVisibility()).length;
    });
    const reached = new Set();
    for (let step = 0; step < wanted + 40 && reached.size < wanted; step += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const one = document.activeElement, style = getComputedStyle(one);
        window.visited ??= new Map();
        if (!visited.has(one)) visited.set(one, visited.size);
        const box = one.getBoundingClientRect();
        return {
          key: visited.get(one), scrolls: !one.matches("a, button, input, select, textarea, summary"), body: one === document.body,
          text: (one.textContent || one.name || one.id).trim().slice(0, 40),
          seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight,
          outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
        };
      });
      if (at.body || at.scrolls) continue;
      if (reached.size === 0 && name !== "login") assert.equal(at.text, "Skip to the content", name);
      assert.ok(at.outlined && at.seen, `${name}: focus on ${JSON.stringify(at)} cannot be seen`);
      reached.add(at.key);
    }
    assert.equal(reached.size, wanted, `${name}: some controls are not reached with Tab`);
    await page.finish();
  }
});

test("the skip link leads past the navigation, and forms go with Enter and Space", async () => {
  const page = await rig.open("/ui/dead");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  assert.equal(await page.locator("input[name=id]:checked").count(), 6);
  await page.goto(`${rig.url}/ui/agents`);
  await page.getByLabel("Who would take").focus();
  await page.keyboard.type("I was charged twice");
  await page.keyboard.press("Enter");
  await page.getByRole("status").waitFor();
  await page.finish();
});

test("every control and drawing has a name, and pages have one heading and their landmarks", async () => {
  for (const [name, path] of pages) {
    if (name === "missing") continue;
    const page = await rig.open(path);
    const tree = await page.locator("body").ariaSnapshot();
    const nameless = tree.split("\n").filter((line) => /^\s*- (link|button|textbox|searchbox|checkbox|combobox|img|group)(:|$| \[)/.test(line));
    assert.deepEqual(nameless.filter((line) => !/group/.test(line)), [], `${name}:\n${tree}`);
    for (const part of ["banner", "main", "contentinfo", "search", "navigation \"Pages\""]) {
      assert.match(tree, new RegExp(`- ${part}`), `${name} has no ${part}:\n${tree}`);
    }
    assert.equal(await page.getByRole("heading", { level: 1 }).count(), 1, name);
    const levels = await page.locator("h1, h2, h3, h4").evaluateAll((all) => all.map((one) => Number(one.tagName[1])));
    levels.slice(1).forEach((level, at) => assert.ok(level <= levels[at] + 1, `${name}: headings ${levels}`));
    const twice = await page.evaluate(() => {
      const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
      return ids.filter((id, at) => ids.indexOf(id) !== at);
    });
    assert.deepEqual(twice, [], `${name}: ids that stand for several things`);
    assert.match(await page.title(), /\S+.* · agent-runner$/);
    await page.finish();
  }
});

test("what comes from outside stays text", async () => {
  for (const path of ["/ui/jobs", pages.get("hostile"), pages.get("hostile-id"), "/ui/dead", `/ui/jobs?q=${encodeURIComponent(hostile)}`]) {
    const page = await rig.open(path);
    page.on("dialog", () => assert.fail(`${path} ran something`));
    assert.deepEqual(await page.evaluate(() => [document.scripts.length, document.images.length, document.querySelectorAll("main b, main script, [onerror]").length]), [1, 0, 0], path);
    await page.finish();
  }
  const page = await rig.open(pages.get("hostile"));
  assert.equal(await page.locator("blockquote").textContent(), `${hostile} ${longWord}`);
  assert.equal(await page.locator("table.rows th").first().textContent(), hostile);
  assert.equal(await page.locator("table.rows td").first().textContent(), hostile);
  await page.goto(rig.url + pages.get("hostile-id"));
  assert.equal(await page.locator("h1 .id").textContent(), "<b>\"'&é-%2F");
  assert.ok((await page.locator(".problem").textContent()).includes("<script>alert(1)</script>"));
  await page.goto(`${rig.url}/ui/playground`);
  await page.getByLabel("Prompt").fill(hostile);
  await page.getByLabel("Rows (JSON)").fill(hostile);
  await page.getByRole("button", { name: "Run" }).click();
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByLabel("Prompt").inputValue(), hostile);
  await page.finish();
});

test("a page that is not there says so as a page", async () => {
  const answer = await fetch(rig.url + pages.get("missing"));
  assert.equal(answer.status, 404);
  assert.match(await answer.text(), /no job nobody is known/);
});
