// The page that `eval routing --out` writes: one file that loads nothing, in light, dark and narrow.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { chromium, launch, program, shots } from "./rig.mjs";
import { pale } from "./contrast.mjs";

test("the evaluation page is legible, named and fits a narrow screen", async () => {
  mkdirSync(shots, { recursive: true });
  const root = resolve(import.meta.dirname, "../.."), file = resolve(shots, "../routing.html");
  execFileSync(program, ["eval", "routing", "tests/data/routing.jsonl", "--agents", "examples/agents.yaml", "--out", file], {
    cwd: root, env: { PATH: process.env.PATH, AGENT_RUNNER__LLM__PROVIDER: "rules" }, stdio: "ignore",
  });
  const browser = await chromium.launch(launch);
  try {
    for (const [name, options] of Object.entries({ light: { colorScheme: "light" }, dark: { colorScheme: "dark" }, narrow: { viewport: { width: 320, height: 700 } } })) {
      const page = await browser.newPage(options);
      const complaints = [];
      page.on("console", (message) => complaints.push(message.text()));
      page.on("request", (request) => { if (request.url() !== pathToFileURL(file).href) complaints.push(request.url()); });
      await page.goto(pathToFileURL(file).href);
      await page.screenshot({ path: `${shots}/evaluation-${name}.png`, fullPage: true });
      assert.deepEqual(complaints, []);
      assert.deepEqual(await page.evaluate(pale), [], name);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), name);
      await page.getByRole("img", { name: /^Shares over the threshold, calibrated at 0\.\d+/ }).waitFor();
      assert.equal(await page.getByRole("table").count(), 3);
      assert.equal(await page.getByRole("rowheader", { name: "right agent first" }).count(), 1);
      await page.close();
    }
  } finally {
    await browser.close();
  }
});
