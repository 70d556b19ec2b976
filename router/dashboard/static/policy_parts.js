// Lists around the policy's text: problems, changes, versions, routers.

import { h } from "./dom.js";
import { ago, clock, plural } from "./format.js";

/** Problems with their places; a click goes there. */
export function problemList(problems, editor, kind) {
  if (!problems.length) return null;
  return h("ul", { class: "problems" }, problems.map((one) => {
    const place = one.line ? `line ${one.line}${one.column ? `, column ${one.column}` : ""}` : "the whole text";
    return h("li", { class: kind },
      one.line
        ? h("button", { type: "button", class: "link", onclick: () => editor.goTo(one.line, one.column ?? 1) }, place)
        : h("span", {}, place),
      one.path ? h("code", {}, one.path) : null,
      h("span", {}, one.message),
      one.hint ? h("span", { class: "muted" }, one.hint) : null);
  }));
}

/** What changes for whom, the broadest first. */
export function changeList({ changes, more }) {
  if (!changes.length) return h("p", {}, "Nothing changes for anyone.");
  const groups = [];
  for (const one of changes) {
    if (groups.at(-1)?.who === one.who) groups.at(-1).changes.push(one);
    else groups.push({ who: one.who, changes: [one] });
  }
  return [
    ...groups.map(({ who, changes: rows }) =>
      h("div", { class: "change" }, h("h3", {}, who),
        h("ul", {}, rows.map((row) =>
          h("li", {}, h("code", {}, row.path), h("span", {}, row.change),
            row.except ? h("span", { class: "muted" }, `except ${row.except}`) : null))))),
    more ? h("p", { class: "muted" }, `and ${plural(more, "change")} more; specroute policy diff shows all.`) : null,
  ];
}

/** The last versions, the newest first, each but the one in force with a way back. */
export function historyTable({ history, revision }, rollBack) {
  if (!history.length) return h("p", { class: "empty" }, "The store has no versions now: it keeps the last twenty once it answers.");
  return h("ol", { class: "versions", tabindex: "0", "aria-label": "Versions" }, history.map((one, index) =>
    h("li", {},
      h("div", { class: "row" },
        h("strong", {}, `${one.version}`), h("code", {}, `${one.name}@${one.revision}`),
        index === 0 && one.revision === revision
          ? h("span", { class: "tag good end" }, "in force")
          : h("button", { type: "button", class: "quiet end", "aria-label": `Roll back to version ${one.version}`, onclick: () => rollBack(one) }, "Roll back…")),
      h("p", { class: "muted small" },
        [one.origin, one.author || one.source, clock(one.at, { date: true })].filter(Boolean).join(" · ")),
      one.note ? h("p", { class: "small" }, one.note) : null)));
}

/** Whether every router has it. */
export function routerList({ routers, revision }) {
  if (!routers.length) return h("p", { class: "empty" }, "Nothing is known of routers while the store is away.");
  const now = Date.now() / 1000;
  return h("ul", { class: "plain-list" }, routers.map((one) =>
    h("li", {}, h("div", { class: "row" },
      h("code", {}, one.id),
      h("span", { class: one.revision === revision ? "tag good end" : "tag warn end" },
        one.revision === revision ? "has it" : `has ${one.revision}`)),
    h("p", { class: "muted small" },
      `heard of ${ago(now - one.seen_s_ago, now)}${one.rejects_newer ? "; cannot use a newer version" : ""}`))));
}
