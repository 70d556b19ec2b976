// What the service's names mean, in words.

import { decimal, interval, percent, plural, seconds, times } from "./format.js";

export function armName(profile, k) {
  return k > 0 ? `${profile}, k = ${k}` : `plain on ${profile}`;
}

const BASIS = {
  holdout: "holdout",
  predicted: "predicted",
};

/** What a measured speedup stands on: `{short, long}`. */
export function basis(speedup) {
  if (!speedup) return { short: "", long: "Not known yet: it takes ten answers that can be compared with plain decoding." };
  const range = `90 % interval ${interval([speedup.lower, speedup.upper], (value) => decimal(value))} times`;
  if (speedup.basis === "holdout") {
    return {
      short: BASIS.holdout,
      long: `Measured: ${plural(speedup.requests, "request")} beside ${whole(speedup.plain)} kept plain at random (the policy's holdout). ${range}.`,
    };
  }
  return {
    short: BASIS.predicted,
    long: `Measured decode times of ${plural(speedup.requests, "request")} against the times predicted for plain decoding, which are corrected by measured plain requests. ${range}. For proof set holdout.share in the policy.`,
  };
}

function whole(count) {
  return plural(count, "request");
}

export function speedupText(speedup) {
  return speedup ? times(speedup.estimate) : "–";
}

export function speedupRange(speedup) {
  return speedup ? interval([speedup.lower, speedup.upper], (value) => decimal(value)) : "";
}

export function savedText(speedup) {
  return speedup ? seconds(speedup.saved_s[0]) : "–";
}

export function savedRange(speedup) {
  return speedup ? interval([speedup.saved_s[1], speedup.saved_s[2]], seconds) : "";
}

/** Shares of routes and pools of a task's requests: `[{label, share, k, profile, requests}]`, largest first. */
export function shares(arms) {
  const whole = arms.reduce((sum, arm) => sum + arm.requests, 0);
  const groups = new Map();
  for (const { profile, k, requests } of arms) {
    const label = k > 0 ? profile : "plain";
    groups.set(label, (groups.get(label) ?? 0) + requests);
  }
  return [...groups]
    .map(([label, requests]) => ({ label, requests, share: requests / whole, plain: label === "plain" }))
    .sort((one, other) => one.plain - other.plain || other.requests - one.requests);
}

/** Requests by k, without plain ones: `[{k, requests}]`. */
export function byK(arms) {
  const counts = new Map();
  for (const { k, requests } of arms) if (k > 0) counts.set(k, (counts.get(k) ?? 0) + requests);
  return [...counts].map(([k, requests]) => ({ k, requests })).sort((one, other) => one.k - other.k);
}

export function sharesText(arms) {
  return shares(arms).map(({ label, share }) => `${percent(share)} ${label}`).join(" · ");
}

const REASONS = {
  gain: "faster, surely enough",
  no_gain: "no faster",
  uncertain: "not surely faster",
  objective: "meets the objective",
  affinity: "prefix is cached there",
  alpha_above: "α above the threshold",
  alpha_below: "α below the threshold",
  hysteresis: "last choice stood",
  cold_start: "too few steps yet",
  exploration: "at random, to learn",
  holdout: "at random, to measure",
  shadow: "only tried out",
  mode: "the policy's mode",
  override: "the request asked for it",
  unsupported: "cannot be speculated",
  saturated: "preferred pool full",
  pool_unavailable: "no drafting pool answers",
  failover: "first pool failed",
};

export function reasonWords(reason) {
  return REASONS[reason] ?? reason;
}

const MODES = {
  adaptive: "each request is decided by what it should gain",
  threshold: "each request is decided by its task's α",
  shadow: "decisions are only tried out: everything is served plain",
  always_speculative: "everything is speculated",
  always_vanilla: "kill switch: everything is decoded plainly",
};

export function modeWords(mode) {
  return MODES[mode] ?? "";
}
