// The figures at the top: the whole of what is looked at, in six numbers.

import { attribute, h, say } from "./dom.js";
import { percent, perSecond, plural, whole } from "./format.js";
import { basis, modeWords, savedRange, savedText, speedupRange, speedupText } from "./words.js";

const NAMES = ["Requests", "Speculated", "Speedup over plain", "Decode time saved", "In flight", "Policy"];

export class Tiles {
  constructor() {
    this.tiles = NAMES.map((name) => {
      const value = h("dd", { class: "value" });
      const besides = h("dd", { class: "muted small" });
      return { value, besides, root: h("div", { class: "tile", "data-name": name }, h("dt", {}, name), value, besides) };
    });
    this.root = h("dl", { class: "tiles", "aria-label": "Summary" }, this.tiles.map((tile) => tile.root));
  }

  show({ total, load, policy }) {
    const { requests, speculative, speedup, per_second: rate, results } = total;
    const lost = (results.failed ?? 0) + (results.refused ?? 0);
    const { short, long } = basis(speedup);
    this.set(0, perSecond(rate), `${whole(requests)} in the last hour${lost ? `, ${whole(lost)} not answered` : ""}`);
    this.set(1, requests ? percent(speculative / requests) : "–", `${whole(speculative)} of ${plural(requests, "request")}`);
    this.set(2, speedupText(speedup), speedup ? `${speedupRange(speedup)}, ${short}` : "not enough answers to compare yet", long);
    this.set(3, savedText(speedup), speedup ? savedRange(speedup) : "last hour");
    this.set(4, whole(load.running), `of ${plural(load.slots, "slot")}, ${whole(load.waiting)} waiting`);
    this.set(5, policy.mode.replace("_", " "), `${policy.name}@${policy.revision}`, modeWords(policy.mode));
  }

  set(index, value, besides, title = null) {
    const tile = this.tiles[index];
    say(tile.value, value);
    say(tile.besides, besides);
    attribute(tile.root, "title", title);
  }
}
