// Tenants: the busiest, or those that are searched for. However many there are, twenty are shown.

import { attribute, h, put, say } from "./dom.js";
import { fillSpeedup } from "./tasks.js";
import { alpha, percent, plural, whole } from "./format.js";
import { intervalBar } from "./marks.js";
import { address } from "./route.js";
import { table } from "./table.js";
import { savedRange, savedText } from "./words.js";

const TYPING_MS = 250;
const COLUMNS = [
  ["Tenant", "name"],
  ["Requests, last hour", "number"],
  ["α by task, most evidence first", "tenant-tasks"],
  ["Speedup", "speedup"],
  ["Decode time saved", "saved"],
];

export class Tenants {
  /** `search(text)` is called when something else is searched for. */
  constructor(search) {
    this.input = h("input", { type: "search", id: "tenant-search", autocomplete: "off", spellcheck: "false", maxlength: 64 });
    this.count = h("p", { class: "muted", role: "status" });
    this.none = h("p", { class: "empty", hidden: true });
    this.table = table("Tenants", COLUMNS);
    this.root = h("div", { class: "view" },
      h("section", { class: "card", "aria-labelledby": "tenants-title" },
        h("h1", { id: "tenants-title" }, "Tenants"),
        h("div", { class: "field" }, h("label", { for: "tenant-search" }, "Search by name"), this.input),
        this.count, this.none, this.table.element));
    let timer = 0;
    this.input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => search(this.input.value.trim()), TYPING_MS);
    });
  }

  get search() {
    return this.input.value.trim();
  }

  show() {}

  onHistory() {}

  onState({ tenants, scope }) {
    const { rows, known, matching } = tenants;
    const shown = rows.length < matching ? `, ${whole(rows.length)} shown, the busiest first` : "";
    say(this.count, scope.search
      ? `${whole(matching)} of ${plural(known, "tenant")} match “${scope.search}”${shown}`
      : `${plural(known, "tenant")}${shown}`);
    this.none.hidden = rows.length > 0;
    this.table.element.hidden = !rows.length;
    say(this.none, scope.search
      ? "No tenant of that name has sent anything. Names are searched in part, without regard to case."
      : "No tenants yet: they appear with their first request. Who they are, docs/tenants.md tells.");
    this.table.fill(rows, (row) => row.tenant, fill);
  }
}

function fill(cells, row) {
  const [name, requests, tasks, speedup, saved] = cells;
  const link = name.firstElementChild ?? name.appendChild(h("a", {}));
  say(link, row.tenant);
  attribute(link, "href", address({ view: "tasks", tenant: row.tenant, task: "" }));
  attribute(link, "title", `Show the tasks of ${row.tenant}`);
  put(requests, h("strong", {}, whole(row.requests)),
    row.requests ? h("span", { class: "muted small" }, `${percent(row.speculative / row.requests)} speculated`) : null);
  put(tasks,
    row.tasks.length
      ? row.tasks.map((one) =>
          h("div", { class: "alpha-row" },
            h("span", { class: "task-name" }, one.task),
            h("strong", {}, alpha(one.alpha)),
            intervalBar(one, null)))
      : h("span", { class: "muted" }, "no drafts counted yet"),
    row.more_tasks ? h("span", { class: "muted small" }, `and ${row.more_tasks} more`) : null);
  fillSpeedup(speedup, row.speedup);
  put(saved, h("strong", {}, savedText(row.speedup)),
    row.speedup ? h("span", { class: "muted small" }, savedRange(row.speedup)) : null);
}
