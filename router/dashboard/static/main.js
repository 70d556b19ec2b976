// Starts the page: views, the stream, the token and the theme.

import { setToken, token } from "./api.js";
import { attribute, h, put, say } from "./dom.js";
import { clock, plural } from "./format.js";
import { Live } from "./live.js";
import { setProfiles } from "./marks.js";
import { Policy } from "./policy.js";
import { address, current } from "./route.js";
import { Savings } from "./savings.js";
import { Tasks } from "./tasks.js";
import { Tenants } from "./tenants.js";
import { Why } from "./why.js";

const THEMES = ["auto", "light", "dark"];
const THEME_KEY = "specroute.theme";
const byId = (id) => document.getElementById(id);

const views = {
  tasks: { name: "Tasks", view: new Tasks() },
  tenants: { name: "Tenants", view: new Tenants(() => listen()) },
  policy: { name: "Policy", view: new Policy() },
  why: { name: "Why?", view: new Why() },
  savings: { name: "Savings", view: new Savings() },
};
let newest = null;
let listensTo = "";

const live = new Live({
  onEvent(name, data) {
    if (name === "state") showState(data);
    if (name === "history") views[current().view].view.onHistory(data);
  },
  onState(state, why) {
    attribute(byId("live"), "data-state", state);
    say(byId("live-text"), state);
    attribute(byId("live"), "title", why ?? "Figures are renewed every two seconds.");
    attribute(byId("content"), "data-stale", state === "live" ? null : "true");
    if (state === "no token") askForToken(why);
  },
});

function showState(state) {
  newest = state;
  setProfiles(state.engines.filter((engine) => engine.max_k).map((engine) => engine.profile));
  say(byId("model"), state.router.model);
  banners(state);
  foot(state);
  views[current().view].view.onState(state);
}

/** The links to the views that there are. */
function showLinks() {
  const route = current();
  put(byId("views"), Object.entries(views)
    .filter(([, { view }]) => !view.absent)
    .map(([name, { name: title }]) =>
      h("a", { href: address({ view: name, id: "" }), "aria-current": name === route.view ? "page" : null }, title)));
}

function showRoute({ focus = false } = {}) {
  const route = current();
  showLinks();
  const { name, view } = views[route.view];
  document.title = `${name} · specroute`;
  const content = byId("content");
  if (content.firstElementChild !== view.root) {
    put(content, view.root);
    if (focus) content.focus();
  }
  view.show(route);
  listen();
  if (newest) view.onState(newest);
}

/** Have the stream tell what the view looks at; `force`: also if it does already. */
function listen({ force = false } = {}) {
  const { view, tenant, task, window } = current();
  const search = view === "tenants" ? views.tenants.view.search : "";
  const wanted = view === "tasks" ? { tenant, task, window } : { search };
  const key = JSON.stringify(wanted);
  if (key === listensTo && !force) return;
  listensTo = key;
  newest = null;
  live.start(wanted);
}

function banners({ store, policy }) {
  const told = [
    store.up ? null : "The statistics store is away: figures are what this router knows, and policies cannot be changed.",
    policy.rejected ? "A newer policy was rejected; the last good one stays in force." : null,
    policy.mode === "always_vanilla" ? "The kill switch is on: every request is decoded plainly." : null,
    policy.mode === "shadow" ? "Shadow mode: decisions are only tried out, every request is decoded plainly." : null,
  ].filter(Boolean);
  const host = byId("banners");
  if (host.textContent !== told.join("")) {
    put(host, told.map((text) => h("p", { class: "banner" }, text, " ", h("a", { href: address({ view: "policy" }) }, "Policy"))));
  }
}

function foot({ router, at, since }) {
  const several = router.routers > 1
    ? ` There are ${plural(router.routers, "router")}: α is shared by all; requests, shares, speedups and decisions here are this one's own.`
    : "";
  say(byId("foot"), `Router ${router.router}, up since ${clock(router.started_s, { date: true })}.${several} Figures of ${clock(at)}`
    + `${since === null ? "" : `, activity since ${clock(since)}`}. α is of recent traffic: older requests weigh less.`);
}

function askForToken(why) {
  const dialog = byId("token-dialog");
  say(byId("token-why"), why ?? "The service shows its figures to operators. The token is what it was started with as SPECROUTE_ADMIN_TOKEN.");
  byId("token-input").value = token();
  if (!dialog.open) dialog.showModal();
}

function wireToken() {
  byId("token-button").addEventListener("click", () => askForToken());
  byId("token-cancel").addEventListener("click", () => byId("token-dialog").close());
  byId("token-form").addEventListener("submit", () => {
    setToken(byId("token-input").value.trim());
    showRoute();
    listen({ force: true });
    views.savings.view.look();
  });
}

function wireTheme() {
  const button = byId("theme-button");
  const show = () => {
    const chosen = localStorage.getItem(THEME_KEY) ?? "auto";
    attribute(document.documentElement, "data-theme", chosen === "auto" ? null : chosen);
    say(button, `Theme: ${chosen}`);
    document.dispatchEvent(new Event("specroute-theme"));
  };
  button.addEventListener("click", () => {
    const chosen = localStorage.getItem(THEME_KEY) ?? "auto";
    localStorage.setItem(THEME_KEY, THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length]);
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

/** The address says which view is shown, so a link to a place in the page must leave it alone. */
function wireSkip() {
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("content").focus();
  });
}

wireSkip();
wireToken();
wireTheme();
window.addEventListener("hashchange", () => showRoute({ focus: true }));
views.savings.view.onPresence = showLinks;
showRoute();
views.savings.view.look();
