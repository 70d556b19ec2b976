// What was decided last and why, and what happened.

import { attribute, h, keyed, put, say } from "./dom.js";
import { ago, clock, decimal, seconds } from "./format.js";
import { address } from "./route.js";
import { armName, reasonWords } from "./words.js";

const KINDS = { drift: "drift", policy: "policy", engine: "engine", canary: "canary" };

/** The newest decisions. It can be held still, to read it. */
export class Feed {
  constructor() {
    this.list = h("ol", { class: "feed" });
    this.none = h("p", { class: "empty", hidden: true }, "No decisions yet: they appear here as requests end.");
    this.hold = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => this.toggle() }, "Hold");
    this.held = false;
    this.title = h("h2", { id: "feed-title" });
    this.root = h("section", { class: "card", "aria-labelledby": "feed-title" },
      h("div", { class: "card-head" }, this.title, this.hold),
      this.none, this.list);
  }

  toggle() {
    this.held = !this.held;
    attribute(this.hold, "aria-pressed", String(this.held));
    say(this.hold, this.held ? "Held: go on" : "Hold");
  }

  show({ decisions, scope }) {
    say(this.title, ["Newest decisions", scope.task && `for ${scope.task}`, scope.tenant && `of ${scope.tenant}`].filter(Boolean).join(" "));
    if (this.held) return;
    this.none.hidden = decisions.length > 0;
    keyed(this.list, decisions, (one) => `${one.request_id} ${one.at}`, createDecision, () => {});
  }
}

function createDecision(one) {
  const facts = [
    one.expected_speedup === null ? null : `expected ${decimal(one.expected_speedup)} ×`,
    one.ttft_s === null ? null : `first token ${seconds(one.ttft_s)}`,
    one.total_s === null ? null : `whole ${seconds(one.total_s)}`,
    one.completion_tokens === null ? null : `${one.completion_tokens} tokens`,
  ].filter(Boolean);
  return h("li", {},
    h("div", { class: "row" },
      h("time", { datetime: new Date(one.at * 1000).toISOString(), class: "muted small" }, clock(one.at)),
      h("span", { class: one.k > 0 ? "tag arm" : "tag" }, armName(one.profile, one.k)),
      h("strong", {}, one.task),
      h("span", { class: "muted" }, one.tenant),
      one.result === "completed" ? null : h("span", { class: "tag bad" }, one.result),
      h("a", { class: "end", href: address({ view: "why", id: one.request_id }), "aria-label": `Why: request ${one.request_id}` }, "why?")),
    h("p", {}, h("span", { class: "reason" }, `${reasonWords(one.reason)}. `), one.explanation),
    facts.length ? h("p", { class: "muted small" }, facts.join(" · ")) : null);
}

/** Drift, policies, engines and the canary: the same events that charts mark. */
export class Timeline {
  constructor() {
    this.list = h("ol", { class: "events", tabindex: "0", "aria-labelledby": "events-title" });
    this.none = h("p", { class: "empty" }, "Nothing happened since this router started: no drift, no change of policy, no engine lost.");
    this.root = h("section", { class: "card", "aria-labelledby": "events-title" },
      h("h2", { id: "events-title" }, "What happened"), this.none, this.list);
  }

  show({ events, at }) {
    this.none.hidden = events.length > 0;
    keyed(this.list, events, (one) => one.id, create, (element, one) => say(element.querySelector("time"), ago(one.at, at)));
  }
}

function create(one) {
  const element = h("li", {});
  put(element,
    h("div", { class: "row" },
      h("span", { class: one.bad ? "tag bad" : "tag" }, KINDS[one.kind] ?? one.kind),
      h("time", { class: "muted small", datetime: new Date(one.at * 1000).toISOString(), title: clock(one.at, { date: true }) })),
    h("p", {}, one.text));
  return element;
}
