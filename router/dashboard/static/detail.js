// One task: by position, by reason, and how its traffic went.

import { Chart } from "./chart.js";
import { h, put, say } from "./dom.js";
import { alpha, decimal, percent, perSecond, whole } from "./format.js";
import { address, current } from "./route.js";
import { armName, reasonWords } from "./words.js";

export class Detail {
  constructor() {
    this.title = h("h2", { id: "detail-title" });
    this.facts = h("div", { class: "facts" });
    this.reasons = h("div", {});
    this.host = h("div", { class: "chart" });
    this.chart = new Chart(this.host, {
      label: "Requests per second over time",
      format: perSecond,
      onAxis: (value) => `${Number(value.toPrecision(2))} /s`,
      height: 220,
    });
    this.close = h("a", {}, "close");
    this.root = h("section", { class: "card", "aria-labelledby": "detail-title", hidden: true },
      h("div", { class: "card-head" }, this.title, this.close),
      h("div", { class: "columns even" },
        h("div", {}, this.facts, this.reasons),
        h("div", {}, h("h3", {}, "Requests per second"), this.host)));
  }

  show(state) {
    const name = current().task;
    const task = state.tasks.find((one) => one.task === name);
    this.root.hidden = !task;
    if (!task) return;
    say(this.title, state.scope.tenant ? `${name} of ${state.scope.tenant}` : name);
    this.close.href = address({ task: "" });
    const used = task.in_use;
    put(this.facts,
      h("p", {}, used
        ? ["In use now: ", h("strong", {}, armName(used.profile, used.k)), ` (${reasonWords(used.reason)})`]
        : "No arm in use yet: nothing was decided on evidence."),
      task.evidence.map(evidence));
    put(this.reasons, h("h3", {}, "Why, last hour"), reasons(task));
  }

  onHistory({ task }) {
    if (!task) return;
    const traffic = task.series.find((one) => one.profile === null);
    const rate = (values) => values.map((value) => (value === null ? 0 : value / task.every_s));
    const [requests, speculative] = traffic?.values ?? [[], []];
    this.chart.show({
      times: task.times,
      lines: traffic
        ? [
            { label: "all", colour: "var(--plain)", values: rate(requests) },
            { label: "speculated", colour: "var(--c1)", values: rate(speculative) },
          ]
        : [],
      range: null,
      empty: "No samples yet: the first comes within ten seconds of traffic.",
    });
  }
}

function evidence(row) {
  const most = row.alpha_by_position.length;
  const head = ["", ...Array.from({ length: most }, (_, index) => `${index + 1}`)];
  const line = (name, values) =>
    h("tr", {}, h("th", { scope: "row" }, name), values.map((value) => h("td", {}, alpha(value))));
  const told = [
    row.acceptance_length === null ? null : `${decimal(row.acceptance_length)} tokens per step`,
    row.draft_acceptance_rate === null ? null : `${percent(row.draft_acceptance_rate)} of drafts accepted`,
    `${whole(row.steps)} steps counted (older ones weigh less)`,
    row.replayed_requests ? `${whole(row.replayed_requests)} answers replayed` : null,
  ].filter(Boolean);
  return [
    h("h3", {}, `Evidence on ${row.profile}`),
    h("p", { class: "small" }, told.join(" · ")),
    most
      ? h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `By position on ${row.profile}` },
          h("table", { class: "plain" },
            h("thead", {}, h("tr", {}, head.map((text, index) =>
              index ? h("th", { scope: "col" }, text) : h("th", { scope: "col" }, "draft token")))),
            h("tbody", {}, line("accepted, if proposed", row.alpha_by_position), line("proposed at all", row.coverage))))
      : null,
  ];
}

function reasons(task) {
  const found = Object.entries(task.reasons);
  if (!found.length) return h("p", { class: "muted" }, "No requests in the last hour.");
  return h("ul", { class: "plain-list" }, found.map(([reason, count]) =>
    h("li", {}, h("strong", {}, percent(count / task.requests)), ` ${reasonWords(reason)} `, h("code", {}, reason))));
}
