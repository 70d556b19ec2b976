// A text field with line numbers that can point at a place.

import { h, put, say, style } from "./dom.js";

export class Editor {
  constructor({ label, onInput }) {
    this.numbers = h("div", { class: "numbers", "aria-hidden": "true" });
    this.area = h("textarea", {
      id: "policy-text",
      spellcheck: "false",
      autocapitalize: "off",
      wrap: "off",
      rows: 24,
      "aria-label": label,
      "aria-describedby": "policy-problems",
    });
    this.root = h("div", { class: "editor" }, this.numbers, this.area);
    this.marked = new Map();
    this.area.addEventListener("input", () => {
      this.mark([]);
      onInput();
    });
    this.area.addEventListener("scroll", () => style(this.numbers, { "--scroll": `${-this.area.scrollTop}px` }));
  }

  get text() {
    return this.area.value;
  }

  set text(value) {
    this.area.value = value;
    this.mark([]);
  }

  /** Mark the lines of problems. */
  mark(lines) {
    const count = this.text.split("\n").length;
    const wrong = new Set(lines);
    if (this.numbers.childElementCount !== count) {
      put(this.numbers, Array.from({ length: count }, (_, index) => h("span", {}, `${index + 1}`)));
    }
    [...this.numbers.children].forEach((line, index) => {
      line.className = wrong.has(index + 1) ? "wrong" : "";
      say(line, `${index + 1}`);
    });
  }

  /** Put the cursor at a place, counted from 1, and show it. */
  goTo(line, column = 1) {
    const lines = this.text.split("\n");
    const before = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
    const at = before + Math.max(0, column - 1);
    this.area.focus();
    this.area.setSelectionRange(at, before + (lines[line - 1]?.length ?? 0));
    this.area.scrollTop = Math.max(0, (line - 6) * 20);
  }
}
