// The first view: what is gained where, by how much, what changed, and who decided what.

import { Chart, legend } from "./chart.js";
import { attribute, h, put, say } from "./dom.js";
import { Detail } from "./detail.js";
import { Engines } from "./engines.js";
import { Feed, Timeline } from "./feed.js";
import { alpha, percent, whole } from "./format.js";
import { alphaRange, alphaText, colour, intervalBar, kBars, shareBar, spark } from "./marks.js";
import { address, current } from "./route.js";
import { table } from "./table.js";
import { Tiles } from "./tiles.js";
import { basis, savedRange, savedText, speedupRange, speedupText } from "./words.js";

const WINDOWS = [["15m", "15 min"], ["1h", "1 hour"], ["6h", "6 hours"]];
const MOST_LINES = 8;
const TASKS = [
  ["Task", "name"],
  ["α (90 % interval)", "alpha"],
  ["α trend", "trend"],
  ["Served by, last hour", "arms"],
  ["k when speculated", "k"],
  ["Speedup", "speedup"],
  ["Decode time saved", "saved"],
  ["Requests, last hour", "number"],
];

export class Tasks {
  constructor() {
    this.tiles = new Tiles();
    this.engines = new Engines();
    this.feed = new Feed();
    this.timeline = new Timeline();
    this.detail = new Detail();
    this.table = table("Tasks", TASKS);
    this.scope = h("div", { class: "scope" });
    this.windows = h("div", { class: "segments", role: "group", "aria-label": "Time shown" });
    this.chartTitle = h("h2", { id: "chart-title" });
    this.chartHost = h("div", { class: "chart" });
    this.lines = h("ul", { class: "legend" });
    this.chart = new Chart(this.chartHost, { label: "α over time", format: alpha });
    this.none = h("div", { class: "empty", hidden: true });
    this.root = h("div", { class: "view" },
      h("h1", { class: "hidden-title" }, "Tasks"),
      h("div", { class: "bar" }, this.scope, this.windows),
      this.tiles.root,
      h("div", { class: "columns" },
        h("section", { class: "card wide", "aria-labelledby": "chart-title" },
          h("div", { class: "card-head" }, this.chartTitle, this.lines), this.chartHost),
        h("div", { class: "stack" }, this.engines.root, this.timeline.root)),
      this.detail.root,
      h("section", { class: "card", "aria-labelledby": "tasks-title" },
        h("h2", { id: "tasks-title" }, "Tasks"), this.none, this.table.element),
      this.feed.root);
    this.alphas = null;
    this.task = null;
    this.state = null;
  }

  show(route) {
    put(this.windows, WINDOWS.map(([value, name]) =>
      h("a", { href: address({ window: value }), "aria-current": route.window === value ? "true" : null }, name)));
    put(this.scope,
      h("span", { class: "muted" }, "Tenant"),
      h("strong", {}, route.tenant || "all"),
      route.tenant
        ? h("a", { href: address({ tenant: "" }) }, "show all")
        : h("a", { href: address({ view: "tenants" }) }, "choose one"));
    this.task = this.state = null;
    const looksAt = `${route.tenant} ${route.window}`;
    if (looksAt !== this.looksAt) this.alphas = null;
    this.looksAt = looksAt;
  }

  onState(state) {
    this.state = state;
    this.tiles.show(state);
    this.engines.show(state);
    this.feed.show(state);
    this.timeline.show(state);
    this.detail.show(state);
    this.showTasks(state);
    this.showChart();
  }

  onHistory(history) {
    this.alphas = history.alphas;
    this.task = history.task;
    this.detail.onHistory(history);
    if (this.state) {
      this.showTasks(this.state);
      this.showChart();
    }
  }

  showTasks(state) {
    const route = current();
    const trends = new Map((this.alphas?.series ?? []).map((one) => [`${one.task} ${one.profile}`, one.values[0]]));
    this.table.element.hidden = !state.tasks.length;
    this.none.hidden = state.tasks.length > 0;
    if (!state.tasks.length) put(this.none, nothingYet(state, route));
    this.table.fill(state.tasks, (task) => task.task, (cells, task, row) => {
      attribute(row, "class", task.task === route.task ? "chosen" : null);
      fillTask(cells, task, trends, route);
    });
  }

  showChart() {
    const route = current();
    const lines = route.task ? this.taskLines(route.task) : this.allLines();
    const tasks = this.state?.tasks ?? [];
    const chosen = tasks.find((task) => task.task === route.task);
    say(this.chartTitle, route.task ? `α of ${route.task}` : "α by task");
    legend(this.lines, lines);
    const events = this.state?.events ?? [];
    this.chart.show({
      times: (route.task ? this.task : this.alphas)?.times ?? [],
      lines,
      marks: events.filter((one) => !route.task || !one.task || one.task === route.task),
      limits: chosen?.thresholds ?? [],
      range: [0, 1],
      empty: "No samples yet. The first comes within ten seconds of the first answered requests with drafts.",
    });
  }

  allLines() {
    const order = (this.state?.tasks ?? []).map((task) => task.task);
    const all = (this.alphas?.series ?? []).filter((one) => order.includes(one.task));
    const several = new Set(all.map((one) => one.profile)).size > 1;
    const named = [...order].sort();
    return all
      .sort((one, other) => order.indexOf(one.task) - order.indexOf(other.task))
      .slice(0, MOST_LINES)
      .map((one) => ({
        label: several ? `${one.task}, ${one.profile}` : one.task,
        colour: colour(named.indexOf(one.task)),
        values: one.values[0],
      }));
  }

  taskLines(name) {
    return (this.task?.series ?? [])
      .filter((one) => one.task === name && one.profile !== null)
      .map((one, index) => ({
        label: one.profile,
        colour: colour(index),
        values: one.values[0],
        low: one.values[1],
        high: one.values[2],
      }));
  }
}

function fillTask(cells, task, trends, route) {
  const [name, alphaCell, trend, arms, k, speedup, saved, requests] = cells;
  const link = name.firstElementChild ?? name.appendChild(h("a", {}));
  say(link, task.task);
  attribute(link, "href", address({ task: task.task === route.task ? "" : task.task }));
  attribute(link, "aria-current", task.task === route.task ? "true" : null);
  attribute(link, "title", task.task === route.task ? "Show all tasks" : `Show ${task.task} in detail`);
  const several = task.evidence.length > 1;
  put(alphaCell, task.evidence.length ? null : h("span", { class: "muted" }, "no drafts yet"), task.evidence.map((row) =>
    h("div", { class: "alpha-row", "data-profile": row.profile },
      several ? h("span", { class: "muted small" }, row.profile) : null,
      h("strong", { class: "alpha-value" }, alphaText(row)),
      intervalBar(row, task.thresholds),
      h("span", { class: "muted small alpha-range" }, alphaRange(row)))));
  const best = task.evidence.reduce((most, row) => (row.steps > (most?.steps ?? -1) ? row : most), null);
  spark(trend, trends.get(`${task.task} ${best?.profile}`) ?? [], `α of ${task.task}`);
  shareBar(arms, task.arms);
  kBars(k, task.arms);
  fillSpeedup(speedup, task.speedup);
  put(saved, h("strong", {}, savedText(task.speedup)), range(savedRange(task.speedup)));
  put(requests, h("strong", {}, whole(task.requests)),
    task.requests ? range(`${percent(task.speculative / task.requests)} speculated`) : null);
}

/** A speedup with its interval, and what it stands on. */
export function fillSpeedup(cell, speedup) {
  const { short, long } = basis(speedup);
  attribute(cell, "title", long);
  const kind = !speedup ? "" : speedup.lower > 1 ? "good" : speedup.upper < 1 ? "bad" : "";
  put(cell, h("strong", { class: kind }, speedupText(speedup)), range(speedupRange(speedup)),
    short ? h("span", { class: "tag" }, short) : null);
}

function range(text) {
  return text ? h("span", { class: "muted small" }, text) : null;
}

function nothingYet(state, route) {
  if (route.tenant) {
    return [
      h("p", {}, `Nothing is known of tenant ${route.tenant} here. `,
        h("a", { href: address({ tenant: "", task: "" }) }, "Show all tenants"), "."),
    ];
  }
  const body = `{"model": "${state.router.model}", "messages": [{"role": "user", "content": "Write a sonnet."}]}`;
  const command = `curl ${new URL("v1/chat/completions", document.baseURI)} -H "Content-Type: application/json" -d '${body}'`;
  return [
    h("p", {}, "No traffic yet: send a request, for example"),
    h("pre", { tabindex: "0" }, command),
  ];
}

