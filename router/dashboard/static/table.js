// Tables that become cards on a phone. Roles are written out, since cards are laid out as blocks.

import { h, keyed } from "./dom.js";

/** `columns` are `[name, class]`; the body is filled by `fill(items, keyOf, cells)`. */
export function table(label, columns) {
  const head = h("thead", { role: "rowgroup" },
    h("tr", { role: "row" }, columns.map(([name, kind]) => h("th", { role: "columnheader", scope: "col", class: kind }, name))));
  const body = h("tbody", { role: "rowgroup" });
  const element = h("table", { role: "table", class: "cards", "aria-label": label }, head, body);
  const create = () =>
    h("tr", { role: "row" }, columns.map(([name, kind], index) =>
      index
        ? h("td", { role: "cell", class: kind, "data-label": name })
        : h("th", { role: "rowheader", scope: "row", class: kind })));
  return {
    element,
    fill(items, keyOf, update) {
      keyed(body, items, keyOf, create, (row, item) => update([...row.children], item, row));
    },
  };
}
