// Which view, and what it looks at: all in the address, so that it can be kept and sent to somebody.
// #/tasks?tenant=acme&task=code&window=1h

export const VIEWS = ["tasks", "tenants", "policy", "why", "savings"];

/** What the address says: `{view, tenant, task, window, id}`; what it does not say is "". */
export function current() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const given = new URLSearchParams(query);
  return {
    view: VIEWS.includes(path) ? path : "tasks",
    tenant: given.get("tenant") ?? "",
    task: given.get("task") ?? "",
    window: given.get("window") ?? "1h",
    id: given.get("id") ?? "",
  };
}

/** The address of the present one with changes. */
export function address(changes) {
  const { view, ...rest } = { ...current(), ...changes };
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(rest)) {
    if (value && !(name === "window" && value === "1h")) given.set(name, value);
  }
  const query = given.toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

export function go(changes) {
  location.hash = address(changes);
}
