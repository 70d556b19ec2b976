// Small drawings beside numbers: intervals, shares, distributions, trends. Each says in words what it shows.

import { h, put, style, svg } from "./dom.js";
import { alpha, interval, percent, whole } from "./format.js";
import { byK, shares, sharesText } from "./words.js";

const PALETTE = 8;

/** A colour of the page's palette that stays with a name as long as the names come in the same order. */
export function colour(index) {
  return `var(--c${(index % PALETTE) + 1})`;
}

const profiles = [];

export function profileColour(profile) {
  if (!profiles.includes(profile)) profiles.push(profile);
  return colour(profiles.indexOf(profile));
}

export function setProfiles(names) {
  for (const name of names) if (!profiles.includes(name)) profiles.push(name);
}

/** α on a line from 0 to 1, with its interval and the policy's thresholds. */
export function intervalBar(row, thresholds) {
  const bar = h("span", { class: "interval", "aria-hidden": "true" });
  if (row.alpha === null) return bar;
  const [low, high] = row.interval;
  const range = h("span", { class: "range" });
  style(range, { left: `${low * 100}%`, width: `${Math.max(1, (high - low) * 100)}%` });
  const point = h("span", { class: "point" });
  style(point, { left: `${row.alpha * 100}%` });
  bar.append(range, point);
  for (const value of new Set(thresholds ?? [])) {
    const limit = h("span", { class: "limit" });
    style(limit, { left: `${value * 100}%` });
    bar.append(limit);
  }
  return bar;
}

export function alphaText(row) {
  return row.alpha === null ? "not known yet" : `${alpha(row.alpha)}`;
}

export function alphaRange(row) {
  return row.interval ? interval(row.interval) : "";
}

/** Who answered: a bar of shares and the same in words. */
export function shareBar(host, arms) {
  const found = shares(arms);
  if (!found.length) {
    put(host, h("span", { class: "muted" }, "no requests"));
    return;
  }
  const bar = h("span", { class: "shares", "aria-hidden": "true" });
  for (const { label, share, plain } of found) {
    const part = h("span", { title: `${label} ${percent(share)}` });
    style(part, { width: `${share * 100}%`, background: plain ? "var(--plain)" : profileColour(label) });
    bar.append(part);
  }
  put(host, bar, h("span", { class: "small" }, sharesText(arms)));
}

/** How many draft tokens per step: a small histogram over k. */
export function kBars(host, arms) {
  const found = byK(arms);
  if (!found.length) {
    put(host, h("span", { class: "muted" }, "–"));
    return;
  }
  const total = found.reduce((sum, one) => sum + one.requests, 0);
  const highest = Math.max(...found.map((one) => one.requests));
  const largest = Math.max(8, ...found.map((one) => one.k));
  const words = found.map(({ k, requests }) => `k = ${k}: ${percent(requests / total)}`).join(", ");
  const drawing = svg("svg", { class: "kbars", viewBox: `0 0 ${largest * 10} 30`, role: "img", "aria-label": words });
  drawing.append(svg("title", {}, words));
  for (let k = 1; k <= largest; k += 1) {
    const requests = found.find((one) => one.k === k)?.requests ?? 0;
    const height = requests ? Math.max(2, (requests / highest) * 26) : 1;
    drawing.append(
      svg("rect", { x: k * 10 - 8.5, y: 28 - height, width: 7, height, rx: 1, class: requests ? "on" : "off" }),
    );
  }
  const mean = found.reduce((sum, one) => sum + one.k * one.requests, 0) / total;
  put(host, drawing, h("span", { class: "small" }, `mean k ${mean.toFixed(1)}`));
}

/** A trend without axes: the last value is a dot. */
export function spark(host, values, label) {
  const known = values.map((value, at) => [at, value]).filter(([, value]) => value !== null);
  if (known.length < 2) {
    put(host, h("span", { class: "muted small" }, "not yet"));
    return;
  }
  const low = Math.min(...known.map(([, value]) => value));
  const high = Math.max(...known.map(([, value]) => value));
  const room = Math.max(0.1, high - low);
  const middle = (low + high) / 2;
  const x = (at) => 2 + (at / Math.max(1, values.length - 1)) * 92;
  const y = (value) => 14 - ((value - middle) / room) * 22;
  const path = known.map(([at, value], index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`);
  const [lastAt, last] = known[known.length - 1];
  const words = `${label}: from ${alpha(known[0][1])} to ${alpha(last)}`;
  put(
    host,
    svg("svg", { class: "spark", viewBox: "0 0 98 28", role: "img", "aria-label": words },
      svg("title", {}, words),
      svg("path", { d: path.join(" ") }),
      svg("circle", { cx: x(lastAt), cy: y(last), r: 2.5 })),
  );
}

/** A bar of how full something is, said in words beside it. */
export function meter(used, room, label) {
  const share = room ? Math.min(1, used / room) : 0;
  const fill = h("span", { class: share >= 0.95 ? "fill hot" : "fill" });
  style(fill, { width: `${share * 100}%` });
  return h("span", { class: "meter", role: "img", "aria-label": `${label}: ${whole(used)} of ${whole(room)}` }, fill);
}
