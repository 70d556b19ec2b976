// Why one request went where it went: every arm that was compared, and what spoke for each.

import { get } from "./api.js";
import { h, put, say } from "./dom.js";
import { alpha, clock, decimal, percent, seconds, times, UNKNOWN } from "./format.js";
import { current, go } from "./route.js";
import { armName, reasonWords } from "./words.js";

const ARMS = ["Arm", "Expected time", "Against plain", "Tokens per step", "Queue and first token", "Decoding", "Chance", "Stands on"];

export class Why {
  constructor() {
    this.input = h("input", { id: "request-id", autocomplete: "off", spellcheck: "false", maxlength: 200, required: true });
    this.status = h("p", { class: "status", role: "status" });
    this.result = h("div", {});
    this.root = h("div", { class: "view" },
      h("section", { class: "card", "aria-labelledby": "why-title" },
        h("h1", { id: "why-title" }, "Why did this request go there?"),
        h("form", { class: "ask", onsubmit: (event) => this.ask(event) },
          h("div", { class: "field grow" }, h("label", { for: "request-id" }, "Request id (the answer's X-Request-Id)"), this.input),
          h("button", { type: "submit", class: "primary" }, "Explain")),
        this.status),
      this.result);
  }

  ask(event) {
    event.preventDefault();
    const id = this.input.value.trim();
    if (id === current().id) this.show({ id });
    else go({ view: "why", id });
  }

  onState() {}

  onHistory() {}

  async show({ id }) {
    this.input.value = id;
    this.asked = id;
    put(this.result);
    if (!id) {
      say(this.status, "Each of the newest decisions on the first page links here.");
      return;
    }
    say(this.status, "Looking…");
    try {
      const found = await get(`decisions?${new URLSearchParams({ request_id: id })}`);
      if (this.asked !== id) return;
      const { decisions } = found;
      say(this.status, decisions.length
        ? ""
        : "No decision of that id is kept on the router that answered. Each keeps its last 1,000 until it restarts; with several routers, ask again, or look in the decision log.");
      put(this.result, decisions.map(card));
    } catch (error) {
      if (this.asked === id) say(this.status, error.message);
    }
  }
}

function card(one) {
  const name = armName(one.profile, one.k);
  return h("section", { class: "card", "aria-label": `Request ${one.request_id}` },
    h("h2", {}, name),
    h("p", { class: "lead" }, one.explanation),
    h("dl", { class: "facts-grid" }, facts(one).flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])),
    h("h3", {}, "All arms that were compared"),
    one.arms.length
      ? [arms(one), h("p", { class: "muted small" }, NOTE)]
      : h("p", { class: "muted" }, "None was: the policy's mode, the request or an outage left no choice."));
}

const NOTE = "Expected times are what the decision weighed: from arrival to the last token, with what the request costs others beside it. "
  + "“Measured” arms have shown the policy's min_steps steps for this task; the others stand on what is usual.";

function facts(one) {
  return [
    ["Reason", `${one.reason}: ${reasonWords(one.reason)}`],
    ["Task", `${one.task}${one.task_confidence === null ? "" : ` (${percent(one.task_confidence)} sure)`}, ${one.temperature} temperature`],
    ["Tenant", one.tenant],
    ["α used", alpha(one.alpha)],
    ["Expected speedup", one.expected_speedup === null ? UNKNOWN
      : `${times(one.expected_speedup)}${one.confidence === null ? "" : `, enough with probability ${percent(one.confidence)}`}`],
    ["Probability of this arm", percent(one.propensity)],
    ["Policy", `${one.policy}${one.canary ? " (canary's candidate)" : ""}`],
    ["Result", `${one.result}, status ${one.status}${one.error ? `: ${one.error}` : ""}`],
    ["Ended", clock(one.at, { date: true })],
    ["First token", seconds(one.ttft_s)],
    ["Decoding", `${seconds(one.decode_s)} measured, ${seconds(one.predicted_s)} predicted`],
    ["Whole", seconds(one.total_s)],
    ["Tokens", `${one.prompt_tokens ?? UNKNOWN} in, ${one.completion_tokens ?? UNKNOWN} out (${decimal(one.expected_tokens, 0)} expected)`],
    ["Drafts", one.steps === null ? "not counted" : `${one.accepted} of ${one.drafted} accepted in ${one.steps} steps`],
    ["Moved to another engine", one.failovers ? `${one.failovers} times` : "no"],
    ["Request id", one.request_id],
  ];
}

function arms(one) {
  const chances = new Map(one.chances.map(([profile, k, chance]) => [`${profile} ${k}`, chance]));
  const plain = Math.min(...one.arms.filter((arm) => arm.k === 0).map((arm) => arm.cost_s));
  const longest = Math.max(...one.arms.map((arm) => arm.cost_s));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Arms" },
    h("table", { class: "plain arms" },
      h("thead", {}, h("tr", {}, ARMS.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, one.arms.map((arm) => row(one, arm, { chances, plain, longest })))));
}

function row(one, arm, { chances, plain, longest }) {
  const taken = arm.profile === one.profile && arm.k === one.k;
  const wanted = one.intended?.[0] === arm.profile && one.intended?.[1] === arm.k;
  const chance = chances.get(`${arm.profile} ${arm.k}`);
  return h("tr", { class: taken ? "chosen" : null },
    h("th", { scope: "row" }, armName(arm.profile, arm.k),
      taken ? h("span", { class: "tag good" }, "taken") : null,
      wanted ? h("span", { class: "tag" }, "decided") : null),
    h("td", {}, h("span", { class: "cost" }, costBar(arm.cost_s / longest), `${seconds(arm.cost_s)} ± ${percent(arm.spread)}`)),
    h("td", {}, Number.isFinite(plain) ? times(plain / arm.cost_s) : UNKNOWN),
    h("td", {}, decimal(arm.length)),
    h("td", {}, seconds(arm.wait_s + arm.ttft_s)),
    h("td", {}, seconds(arm.decode_s)),
    h("td", {}, chance === undefined ? "0 %" : percent(chance)),
    h("td", {}, arm.k === 0 ? "step times" : arm.measured ? "measured" : "what is usual",
      arm.meets_objective ? null : h("span", { class: "tag warn" }, "misses objective")));
}

function costBar(share) {
  const fill = h("span", { class: "fill" });
  fill.style.setProperty("width", `${share * 100}%`);
  return h("span", { class: "meter", "aria-hidden": "true" }, fill);
}
