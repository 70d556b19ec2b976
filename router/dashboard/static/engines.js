// The engines: who answers, how full they are, what is wrong.

import { attribute, h, keyed, put, say } from "./dom.js";
import { plural, whole } from "./format.js";
import { meter, profileColour } from "./marks.js";
import { style } from "./dom.js";

export class Engines {
  constructor() {
    this.list = h("ul", { class: "engines" });
    this.root = h("section", { class: "card", "aria-labelledby": "engines-title" },
      h("h2", { id: "engines-title" }, "Engines"), this.list);
  }

  show({ engines }) {
    keyed(this.list, engines, (engine) => engine.profile, create, fill);
  }
}

function create(engine) {
  const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
  style(swatch, { background: engine.max_k ? profileColour(engine.profile) : "var(--plain)" });
  return h("li", {},
    h("div", { class: "row" }, swatch, h("strong", {}), h("span", { class: "muted small" }), h("span", { class: "tag end" })),
    h("div", { class: "row" }),
    h("p", { class: "bad small", hidden: true }));
}

function fill(element, engine) {
  const [head, load, trouble] = element.children;
  const [, name, kind, state] = head.children;
  say(name, engine.profile);
  const drafts = engine.max_k ? `${engine.method}, k up to ${engine.max_k}` : "plain decoding";
  say(kind, engine.replicas > 1 ? `${drafts}, ${engine.replicas} replicas` : drafts);
  const away = engine.ejected.length;
  say(state, !engine.available ? "does not answer" : away ? `${plural(away, "replica")} left alone` : "answers");
  attribute(state, "class", `tag end ${!engine.available ? "bad" : away ? "warn" : "good"}`);
  put(load, meter(engine.in_flight, engine.capacity, `Load of ${engine.profile}`),
    h("span", { class: "small" }, `${whole(engine.in_flight)} of ${whole(engine.capacity)} in flight`));
  trouble.hidden = !engine.last_error;
  say(trouble, engine.last_error ?? "");
}
