// What speculation saved, proven by the requests that were held out: the report of `specroute report`.

import { get } from "./api.js";
import { attribute, h, put, say } from "./dom.js";
import { clock, decimal, interval, percent, plural, seconds, times, whole } from "./format.js";
import { current } from "./route.js";
import { table } from "./table.js";

const WINDOWS = [["24h", "24 hours"], ["7d", "7 days"], ["35d", "35 days"]];
const NOT_FOUND = 404;
const MOST_ROWS = 50;
const VERDICTS = {
  saved: ["saved", "good"],
  slower: ["slower", "bad"],
  undecided: ["no difference shown", ""],
  not_enough_evidence: ["not enough evidence", ""],
  no_holdout: ["no holdout", "warn"],
  unsound: ["not sound", "warn"],
  no_requests: ["no requests", ""],
};
const COLUMNS = [
  ["", "name"],
  ["Verdict", "verdict"],
  ["Speedup", "speedup"],
  ["Decode time saved", "saved"],
  ["Share saved", "share"],
  ["Target passes saved", "number"],
  ["Requests, held out", "number"],
];

export class Savings {
  constructor() {
    this.absent = true;
    this.onPresence = () => {};
    this.window = WINDOWS[0][0];
    this.picks = h("div", { class: "segments", role: "group", "aria-label": "Window of the report" });
    this.status = h("p", { class: "status", role: "status" });
    this.overall = h("div", {});
    this.capacity = h("p", { class: "lead" });
    this.capacityCard = h("section", { class: "card", "aria-labelledby": "capacity-title" },
      h("h2", { id: "capacity-title" }, "Capacity"), this.capacity);
    this.tasks = table("Savings by task", named("Task"));
    this.tenants = table("Savings by tenant", named("Tenant"));
    this.search = h("input", { type: "search", id: "savings-search", autocomplete: "off" });
    this.more = h("p", { class: "muted small" });
    this.search.addEventListener("input", () => this.fillTenants());
    this.root = h("div", { class: "view" },
      h("section", { class: "card", "aria-labelledby": "savings-title" },
        h("div", { class: "card-head" }, h("h1", { id: "savings-title" }, "Savings"), this.picks),
        this.status, this.overall),
      this.capacityCard,
      section("By task", "savings-tasks", this.tasks.element),
      section("By tenant", "savings-tenants",
        h("div", { class: "field" }, h("label", { for: "savings-search" }, "Search by name"), this.search),
        this.tenants.element, this.more));
    this.showPicks();
  }

  showPicks() {
    put(this.picks, WINDOWS.map(([value, name]) =>
      h("button", {
        type: "button",
        class: "segment",
        "aria-pressed": String(this.window === value),
        onclick: () => {
          this.window = value;
          this.showPicks();
          this.show();
        },
      }, name)));
  }

  /** See whether this service makes reports. */
  async look() {
    if (!this.absent) return;
    try {
      await get(`report?window=${this.window}`);
      this.appear();
    } catch (error) {
      if (error.status !== NOT_FOUND && !error.needsToken) this.appear();
    }
  }

  appear() {
    if (!this.absent) return;
    this.absent = false;
    this.onPresence();
  }

  onState() {}

  onHistory() {}

  async show() {
    say(this.status, "Adding up…");
    try {
      const report = await get(`report?window=${this.window}`);
      this.appear();
      this.fill(report);
    } catch (error) {
      if (current().view === "savings") say(this.status, error.message);
    }
  }

  fill(report) {
    const { overall, capacity, notes, holdout } = report;
    say(this.status, "");
    const [verdict, kind] = VERDICTS[overall.verdict] ?? [overall.verdict, ""];
    put(this.overall,
      h("p", { class: "lead" }, h("strong", { class: kind }, overall.speedup === null ? verdict : `${times(overall.speedup)} as fast as plain decoding`)),
      h("p", {}, overall.note),
      h("p", { class: "muted small" },
        `${clock(report.since, { date: true })} to ${clock(report.until, { date: true })} · ${plural(overall.requests, "request")}, `
        + `${whole(holdout.requests)} of them held out (share now ${percent(holdout.share)}) · intervals of ${percent(report.confidence)}`
        + `${report.store_up ? "" : " · the store does not answer: this router's newest requests only"}`),
      notes.map((note) => h("p", { class: "small" }, note)));
    this.capacityCard.hidden = !capacity;
    say(this.capacity, capacity?.statement ?? "");
    this.tasks.fill(report.tasks, (row) => row.task, (cells, row) => fillRow(cells, row, row.task));
    this.rows = report.tenants;
    this.fillTenants();
  }

  fillTenants() {
    const wanted = this.search.value.trim().toLowerCase();
    const found = (this.rows ?? []).filter((row) => row.tenant.toLowerCase().includes(wanted));
    this.tenants.fill(found.slice(0, MOST_ROWS), (row) => row.tenant, (cells, row) => fillRow(cells, row, row.tenant));
    say(this.more, found.length > MOST_ROWS ? `${whole(found.length)} tenants match, ${MOST_ROWS} shown: those with the most decode time.` : "");
  }
}

function named(name) {
  return COLUMNS.map(([title, kind]) => [title || name, kind]);
}

function section(title, id, ...children) {
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), children);
}

function fillRow(cells, row, name) {
  const [title, verdict, speedup, saved, share, passes, requests] = cells;
  const [words, kind] = VERDICTS[row.verdict] ?? [row.verdict, ""];
  say(title, name);
  put(verdict, h("span", { class: `tag ${kind}` }, words));
  attribute(verdict, "title", row.note);
  put(speedup, h("strong", {}, times(row.speedup)), besides(interval(row.speedup_interval, (value) => decimal(value))));
  put(saved, h("strong", {}, seconds(row.saved_s)), besides(interval(row.saved_s_interval, seconds)));
  put(share, h("strong", {}, percent(row.saved_share)), besides(interval(row.saved_share_interval, percent)));
  put(passes, h("strong", {}, whole(row.passes_saved)), besides(`${whole(row.passes_made)} made`));
  put(requests, h("strong", {}, whole(row.requests)), besides(`${whole(row.holdout_requests)} held out`));
}

function besides(text) {
  return text ? h("span", { class: "muted small" }, text) : null;
}
