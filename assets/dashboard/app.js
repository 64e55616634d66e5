// What pages gain where scripts run: live parts, a job's events as they happen, and questions before what cannot
// be undone. Everything is our own; nothing is loaded from elsewhere.
"use strict";

const NAMES = { agent_id: "agent", tier_level: "tier" };
const MINUTE = 60, HOUR = 3600, DAY = 86400;

/** "3 min ago" beside the exact time, which stays in the title. */
function relative(root) {
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
  for (const time of root.querySelectorAll("time[datetime]")) {
    const seconds = (new Date(time.dateTime) - Date.now()) / 1000, far = Math.abs(seconds);
    if (Number.isNaN(seconds)) continue;
    const [size, unit] = far < MINUTE ? [1, "second"] : far < HOUR ? [MINUTE, "minute"] : far < DAY ? [HOUR, "hour"] : [DAY, "day"];
    time.title = time.dateTime;
    time.textContent = words.format(Math.round(seconds / size), unit);
  }
}

/** Fetches the page again now and then, and puts its live part in place of the old one. */
function refresh(part) {
  const again = async () => {
    // Nobody looks, or somebody has something open there.
    if (document.hidden || part.querySelector("details[open]") || part.contains(document.activeElement)) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.redirected || !answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
      if (fresh) { part.replaceChildren(...fresh.childNodes); relative(part); }
    } catch { /* the server is away: the next try may find it */ }
  };
  setInterval(again, Number(part.dataset.refresh) * 1000);
}

/** "12:03:07.120", of the day of who looks; the whole stamp stays in the title. */
function clock(stamp) {
  const pad = (number, width) => String(number).padStart(width, "0");
  return `${[stamp.getHours(), stamp.getMinutes(), stamp.getSeconds()].map((part) => pad(part, 2)).join(":")}.${pad(stamp.getMilliseconds(), 3)}`;
}

/** Milliseconds for people: as much of them as can be told apart. */
const span = (ms) => (ms < 1000 ? `${Number(ms.toPrecision(3))} ms` : `${(ms / 1000).toFixed(1)} s`);

/** What an event says, in words. */
function said(name, data) {
  const words = ["agent_id", "tool", "step", "text", "from", "to", "tier_level", "decision", "reason"]
    .filter((key) => data[key] != null).map((key) => (key === "text" ? data[key] : `${(NAMES[key] ?? key)} ${data[key]}`));
  if (!words.length && data.error) words.push(data.error.message || data.error);
  if (data.rows_out != null) words.push(`${data.rows_in ?? "?"} → ${data.rows_out} rows`);
  if (data.duration_ms != null) words.push(`took ${span(data.duration_ms)}`);
  if (data.delay_ms != null) words.push(`again in ${span(data.delay_ms)}`);
  return words.join(" · ");
}

/** Writes a job's events into its list; when the job ends, the page shows its outcome. */
function follow(list) {
  list.replaceChildren();
  const source = new EventSource(list.dataset.events);
  let tokens = null, first = null;
  const names = ["queued", "started", "intent", "plan", "tool_started", "tool_finished", "step_finished", "agent_started", "token",
    "agent_completed", "handoff", "tier", "approval", "retry", "completed", "failed", "cancelled"];
  for (const name of names) source.addEventListener(name, (event) => {
    const data = JSON.parse(event.data);
    if (name === "token" && tokens) { tokens.append(data.text || ""); return; }
    const item = document.createElement("li"), word = document.createElement("strong"), time = document.createElement("time");
    const after = document.createElement("span"), text = document.createElement("span"), at = new Date(data.at);
    word.textContent = name.replace("_", " ");
    time.className = after.className = "quiet";
    if (!Number.isNaN(at.getTime())) {
      first ??= at;
      time.dateTime = time.title = data.at;
      time.textContent = clock(at);
      after.textContent = ` +${((at - first) / 1000).toFixed(3)} s `;
    }
    text.textContent = ` ${said(name, data)} `;
    item.append(time, after, word, text);
    list.append(item);
    tokens = name === "token" ? text : null;
    if (["completed", "failed", "cancelled"].includes(name)) {
      source.close();
      if (list.dataset.live) location.reload();
    }
    // What was asked or decided before the page was made, it shows already.
    if (name === "approval" && list.dataset.live && data.at > list.dataset.now) location.reload();
  });
  source.onerror = () => { if (source.readyState === EventSource.CLOSED && !list.children.length) list.textContent = "No events are kept."; };
}

document.querySelectorAll("[data-refresh]").forEach(refresh);
document.querySelectorAll("[data-events]").forEach(follow);
document.querySelectorAll("[data-ask]").forEach((button) => button.addEventListener("click", (event) => {
  if (!confirm(button.dataset.ask)) event.preventDefault();
}));
document.querySelectorAll("[data-all]").forEach((box) => box.addEventListener("change", () => {
  for (const one of box.form.elements[box.dataset.all].length ? box.form.elements[box.dataset.all] : [box.form.elements[box.dataset.all]]) one.checked = box.checked;
}));
relative(document);
