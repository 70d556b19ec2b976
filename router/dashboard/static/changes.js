// Acts on the policy in force: the same endpoints that `specroute policy` uses.

import { ServiceError, bytes, get } from "./api.js";

const ATTEMPTS = 10;
const STALE = 412;

/** The policy in force: `{…, text, revision, history, routers}`. */
export function inForce() {
  return get("policy");
}

export function validated(text) {
  return get("policy/validate", { method: "POST", body: text });
}

/** What a text would change, for whom. */
export function differences(text) {
  return get("policy/diff", { method: "POST", body: text });
}

/** Put a text in force, if the policy is still `revision`. */
export function applied(text, revision, signature) {
  return get("policy", { method: "PUT", body: text, headers: { "If-Match": `"${revision}"`, ...signed(signature) } });
}

/** Put an earlier version in force, if the policy is still `present`. */
export function rolledBack(revision, present, signature) {
  const body = JSON.stringify(revision ? { revision } : {});
  return get("policy/rollback", { method: "POST", body, headers: { "If-Match": `"${present}"`, ...signed(signature) } });
}

/** Change the mode alone, in whatever policy is in force by then. */
export async function withMode(mode, signature) {
  for (let attempt = 1; ; attempt += 1) {
    const edited = await get("policy/edit", { method: "POST", body: JSON.stringify({ mode }) });
    try {
      return await applied(edited.text, edited.replacing, signature);
    } catch (error) {
      const stale = error instanceof ServiceError && error.status === STALE;
      if (!stale || attempt >= ATTEMPTS) throw error;
    }
  }
}

export function isStale(error) {
  return error instanceof ServiceError && error.status === STALE;
}

function signed({ author = "", note = "" }) {
  const line = (text) => bytes(text.split(/\s+/).join(" ").trim());
  return { "X-Specroute-Author": line(author || "dashboard"), "X-Specroute-Note": line(note) };
}
