// The policy in force, and its change: check, compare, apply, roll back, and the kill switch.

import { applied, differences, inForce, isStale, rolledBack, validated, withMode } from "./changes.js";
import { confirmed } from "./dialog.js";
import { attribute, h, put, say } from "./dom.js";
import { Editor } from "./editor.js";
import { clock, plural } from "./format.js";
import { changeList, historyTable, problemList, routerList } from "./policy_parts.js";
import { modeWords } from "./words.js";

const KILL = "always_vanilla";
const AUTHOR = "specroute.author";

export class Policy {
  constructor() {
    this.shown = null;
    this.heard = null;
    this.mode = "";
    this.warned = false;
    this.heading = h("h1", { id: "policy-title" }, "Policy");
    this.about = h("div", { class: "facts" });
    this.kill = h("button", { type: "button", class: "danger", onclick: () => this.killSwitch() }, "Kill switch…");
    this.killText = h("p", { class: "small" });
    this.editor = new Editor({ label: "Policy text (YAML)", onInput: () => this.edited() });
    this.note = h("input", { id: "policy-note", maxlength: 200, autocomplete: "off" });
    this.author = h("input", { id: "policy-author", maxlength: 200, autocomplete: "name", value: localStorage.getItem(AUTHOR) });
    this.buttons = {
      check: button("Validate", () => this.validate()),
      compare: button("Show what changes", () => this.compare()),
      apply: button("Apply…", () => this.apply(), "primary"),
      discard: button("Discard edits", () => this.load({ force: true }), "quiet"),
    };
    this.status = h("p", { class: "status", role: "status" });
    this.result = h("div", { id: "policy-problems" });
    this.history = h("div", {});
    this.routers = h("div", {});
    this.root = h("div", { class: "view policy" }, this.layout());
  }

  layout() {
    return h("div", { class: "columns" },
      h("section", { class: "card wide", "aria-labelledby": "policy-title" },
        this.heading, this.about, this.editor.root,
        h("div", { class: "fields" },
          h("div", { class: "field" }, h("label", { for: "policy-author" }, "Your name (kept in this browser)"), this.author),
          h("div", { class: "field grow" }, h("label", { for: "policy-note" }, "Why, for the history"), this.note)),
        h("div", { class: "row buttons" }, Object.values(this.buttons)),
        this.status, this.result),
      h("div", { class: "stack" },
        h("section", { class: "card", "aria-labelledby": "kill-title" },
          h("h2", { id: "kill-title" }, "Kill switch"), this.killText, h("div", { class: "row buttons" }, this.kill)),
        h("section", { class: "card", "aria-labelledby": "history-title" },
          h("h2", { id: "history-title" }, "History"), this.history),
        h("section", { class: "card", "aria-labelledby": "routers-title" },
          h("h2", { id: "routers-title" }, "Routers"), this.routers)));
  }

  get signature() {
    localStorage.setItem(AUTHOR, this.author.value);
    return { author: this.author.value, note: this.note.value };
  }

  get dirty() {
    return this.shown !== null && this.editor.text !== this.shown.text;
  }

  show() {
    this.load();
  }

  onHistory() {}

  onState({ policy }) {
    this.mode = policy.mode;
    this.showKill();
    if (this.heard && policy.revision !== this.heard && !this.busy) this.load();
  }

  /** Read the policy in force. Edits stay, unless they are given up. */
  async load({ force = false } = {}) {
    await this.doing("", async () => {
      const found = await inForce();
      this.heard = found.revision;
      const keeps = this.dirty && !force;
      const changed = this.shown && found.revision !== this.shown.revision;
      if (!keeps) this.shown = null;
      this.take(found, { keeps, told: keeps && changed });
      if (!force) return;
      this.note.value = "";
      this.say("");
    });
  }

  take(found, { keeps = false, told = false } = {}) {
    const scroll = this.editor.area.scrollTop;
    if (!keeps) {
      this.shown = found;
      this.warned = false;
      this.editor.text = found.text;
      this.editor.area.scrollTop = scroll;
      put(this.result);
    }
    const version = found.version === null ? "" : `, version ${found.version}`;
    const who = found.author ? ` by ${found.author}` : "";
    put(this.about,
      h("p", {}, h("strong", { id: "policy-label" }, `${found.name}@${found.revision}`),
        `${version} · from ${found.origin}${who}${found.at ? ` · ${clock(found.at, { date: true })}` : ""}`),
      found.note ? h("p", { class: "muted" }, `“${found.note}”`) : null,
      found.file.path ? h("p", { class: "muted small" }, `File ${found.file.path} ${found.file.in_force ? "is in force" : "is not what is in force"}.`) : null,
      found.rejected ? h("div", { class: "notice bad" }, h("p", {}, "A newer policy was rejected:"), h("pre", { tabindex: "0" }, found.rejected)) : null,
      found.store_up ? null : h("p", { class: "notice bad" }, "The store is away: the policy cannot be changed from here until it is back."));
    put(this.history, historyTable(found, (version) => this.rollBack(version)));
    put(this.routers, routerList(found));
    this.edited();
    if (told && !this.warned) this.say(`${found.name}@${found.revision} is in force now; your text was made from ${this.shown.revision}. Copy what you need and discard your edits.`, "bad");
  }

  showKill() {
    this.isKilled = this.mode === KILL;
    say(this.kill, this.isKilled ? "Take it back: roll back…" : "Kill switch…");
    attribute(this.kill, "class", this.isKilled ? "primary" : "danger");
    say(this.killText, this.isKilled
      ? "On: every request is decoded plainly."
      : `Sets mode: ${KILL}, and nothing else, on all routers at once: ${modeWords(KILL).replace("kill switch: ", "")}.`);
  }

  edited() {
    for (const name of ["compare", "apply", "discard"]) this.buttons[name].disabled = !this.dirty;
  }

  validate() {
    return this.doing("Checking…", async () => {
      const found = await validated(this.editor.text);
      put(this.result, problemList(found.warnings, this.editor, "warning"));
      this.say(`${found.name}@${found.revision} is valid${found.warnings.length ? `, with ${plural(found.warnings.length, "warning")}` : ""}.`, "good");
    });
  }

  compare() {
    return this.doing("Comparing…", async () => {
      const found = await differences(this.editor.text);
      put(this.result, changeList(found));
      this.say(found.changes.length ? "This would change:" : "Nothing would change for anyone.", "");
    });
  }

  apply() {
    return this.doing("Comparing…", async () => {
      const text = this.editor.text;
      const found = await differences(text);
      this.say("");
      const yes = await confirmed({
        title: `Put ${found.name}@${found.revision} in force?`,
        body: changeList(found),
        yes: "Apply on all routers",
      });
      if (!yes) return;
      const state = await applied(text, this.shown.revision, this.signature);
      this.done(state, `${state.name}@${state.revision} is in force.`);
      put(this.result, problemList(state.warnings ?? [], this.editor, "warning"));
    });
  }

  rollBack(version) {
    return this.doing("", async () => {
      const label = version ? `${version.name}@${version.revision}` : "the version before";
      const yes = await confirmed({
        title: `Roll back to ${label}?`,
        body: [h("p", {}, `${label} takes the place of ${this.shown.name}@${this.shown.revision} on all routers.`),
          this.dirty ? h("p", { class: "bad" }, "Your edits in the text field are given up.") : null],
        yes: "Roll back",
      });
      if (!yes) return;
      const state = await rolledBack(version?.revision, this.shown.revision, this.signature);
      this.done(state, `${state.name}@${state.revision} is in force again.`);
    });
  }

  killSwitch() {
    if (this.isKilled) return this.rollBack(null);
    return this.doing("", async () => {
      const yes = await confirmed({
        title: "Decode everything plainly?",
        body: [
          h("p", {}, `Every request of every tenant is decoded plainly from now on, on all routers: mode: ${KILL}. Nothing else in the policy changes.`),
          h("p", {}, "Requests under way end as they began. It is taken back by rolling back.")],
        yes: "Turn speculation off",
        danger: true,
      });
      if (!yes) return;
      const { author, note } = this.signature;
      const state = await withMode(KILL, { author, note: note ? `set-mode ${KILL}: ${note}` : `set-mode ${KILL}` });
      this.done(state, "The kill switch is on: everything is decoded plainly.", { keeps: this.dirty });
    });
  }

  done(state, text, { keeps = false } = {}) {
    this.heard = state.revision;
    this.take(state, { keeps });
    this.note.value = "";
    this.say(text, "good");
  }

  /** Do something that asks the service; tell what is wrong with the text, or with the service. */
  async doing(text, act) {
    this.busy = true;
    if (text) {
      put(this.result);
      this.say(text);
    }
    try {
      await act();
    } catch (error) {
      this.failed(error);
    } finally {
      this.busy = false;
    }
  }

  failed(error) {
    const problems = error.body?.problems;
    if (problems?.length) {
      put(this.result, problemList(problems, this.editor, "problem"));
      this.editor.mark(problems.map((one) => one.line));
      this.say(`Refused: ${plural(problems.length, "problem")}.`, "bad");
    } else if (isStale(error)) {
      this.warned = true;
      this.say(`Not applied: ${error.message}`, "bad");
    } else {
      this.say(error.message, "bad");
    }
  }

  say(text, kind = "") {
    say(this.status, text);
    attribute(this.status, "class", `status ${kind}`);
  }
}

function button(name, act, kind = null) {
  return h("button", { type: "button", class: kind, onclick: act }, name);
}
