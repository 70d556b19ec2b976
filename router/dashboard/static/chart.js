// Line charts with interval bands, thresholds and marked events, drawn by uPlot.

import uPlot from "./vendor/uPlot.esm.js";
import { h, put, say, style } from "./dom.js";
import { clock, hourMinute } from "./format.js";

const HEIGHT = 380;
const NEAR_PX = 8;
const WIDEST_LABEL_PX = 64;

/** One chart in `host`. `label` names it for screen readers, `format` writes its values, `onAxis` those beside the axis. */
export class Chart {
  constructor(host, { label, format, onAxis = format, height = HEIGHT }) {
    this.host = host;
    this.label = label;
    this.format = format;
    this.onAxis = onAxis;
    this.height = height;
    this.plot = null;
    this.shape = "";
    this.tip = h("div", { class: "tip", hidden: true });
    this.canvas = h("div", { class: "plot", role: "img" });
    this.empty = h("p", { class: "empty" });
    put(host, this.canvas, this.empty);
    new ResizeObserver(() => this.resize()).observe(host);
    document.addEventListener("specroute-theme", () => {
      this.shape = "";
      if (this.shown) this.show(this.shown);
    });
  }

  /**
   * Show `{times, lines: [{label, colour, values, low, high}], marks, limits, range, empty}`; `empty` is what
   * to say where there is nothing. `range` is [smallest, largest] that may be shown, null: from 0.
   */
  show(shown) {
    this.shown = shown;
    const points = shown.lines.reduce((sum, line) => sum + line.values.filter((value) => value !== null).length, 0);
    this.empty.hidden = points > 0;
    this.canvas.hidden = points === 0;
    say(this.empty, shown.empty);
    this.canvas.setAttribute("aria-label", this.words(shown));
    if (!points) return;
    const shape = JSON.stringify(shown.lines.map(({ label, colour, low }) => [label, colour, Boolean(low)]));
    if (shape !== this.shape || !this.plot) this.build(shape);
    this.plot.setData(this.data());
  }

  words({ lines }) {
    const last = lines
      .map(({ label, values }) => [label, values.filter((value) => value !== null).at(-1)])
      .filter(([, value]) => value !== undefined)
      .map(([label, value]) => `${label} ${this.format(value)}`);
    return `${this.label}. Newest values: ${last.join(", ") || "none"}`;
  }

  data() {
    const { times, lines } = this.shown;
    return [times, ...lines.flatMap(({ values, low, high }) => (low ? [values, high, low] : [values]))];
  }

  build(shape) {
    this.shape = shape;
    this.plot?.destroy();
    const colours = getComputedStyle(document.documentElement);
    const read = (colour) => {
      const name = /^var\((--[\w-]+)\)$/.exec(colour)?.[1];
      return name ? colours.getPropertyValue(name).trim() : colour;
    };
    const series = [{}];
    const bands = [];
    for (const { label, colour, low } of this.shown.lines) {
      series.push({ label, stroke: read(colour), width: 2, points: { show: false }, spanGaps: true });
      if (low) {
        const at = series.length;
        series.push({ label: `${label} high`, width: 0, points: { show: false }, spanGaps: true });
        series.push({ label: `${label} low`, width: 0, points: { show: false }, spanGaps: true });
        bands.push({ series: [at, at + 1], fill: `${read(colour)}2e` });
      }
    }
    const axis = {
      stroke: read("var(--muted)"),
      grid: { stroke: read("var(--grid)"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    this.plot = new uPlot(
      {
        width: this.width(),
        height: this.height,
        series,
        bands,
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { show: false } },
        scales: { x: { time: true }, y: { range: (_, low, high) => this.range(low, high) } },
        axes: [
          { ...axis, size: 32, space: WIDEST_LABEL_PX, values: (_, splits) => splits.map(wholeMinutes(splits) ? hourMinute : clock) },
          { ...axis, size: 52, values: (_, splits) => splits.map((value) => this.onAxis(value)) },
        ],
        hooks: {
          draw: [(plot) => this.drawMarks(plot, read)],
          setCursor: [(plot) => this.point(plot)],
        },
      },
      this.data(),
      this.canvas,
    );
    this.plot.over.append(this.tip);
    this.plot.over.addEventListener("mouseleave", () => { this.tip.hidden = true; });
  }

  range(low, high) {
    const { range, limits = [] } = this.shown;
    if (low === null || high === null) return range ?? [0, 1];
    if (!range) return [0, high > 0 ? high * 1.15 : 1];
    const all = [low, high, ...limits.filter((value) => value > low - 0.15 && value < high + 0.15)];
    return [Math.max(range[0], Math.min(...all) - 0.05), Math.min(range[1], Math.max(...all) + 0.05)];
  }

  drawMarks(plot, read) {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.lineWidth = ratio;
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    for (const limit of new Set(this.shown.limits ?? [])) {
      const y = plot.valToPos(limit, "y", true);
      if (y < top || y > top + height) continue;
      ctx.strokeStyle = read("var(--muted)");
      line(ctx, left, y, left + width, y);
    }
    for (const mark of this.marks(plot)) {
      ctx.strokeStyle = ctx.fillStyle = read(mark.bad ? "var(--bad)" : "var(--accent)");
      line(ctx, mark.x, top, mark.x, top + height);
      ctx.beginPath();
      ctx.moveTo(mark.x - 5 * ratio, top);
      ctx.lineTo(mark.x + 5 * ratio, top);
      ctx.lineTo(mark.x, top + 8 * ratio);
      ctx.fill();
    }
    ctx.restore();
  }

  /** The events in view, with where they are in the canvas' pixels. */
  marks(plot) {
    const { left, width } = plot.bbox;
    return (this.shown.marks ?? [])
      .map((mark) => ({ ...mark, x: plot.valToPos(mark.at, "x", true) }))
      .filter(({ x }) => x >= left && x <= left + width);
  }

  point(plot) {
    const { idx, left } = plot.cursor;
    if (idx === null || idx === undefined || left < 0) {
      this.tip.hidden = true;
      return;
    }
    const rows = [h("strong", {}, clock(this.shown.times[idx]))];
    for (const { label, colour, values, low, high } of this.shown.lines) {
      const value = values[idx];
      if (value === null || value === undefined) continue;
      const swatch = h("span", { class: "swatch" });
      style(swatch, { background: colour });
      const range = low && low[idx] !== null ? ` (${this.format(low[idx])} to ${this.format(high[idx])})` : "";
      rows.push(h("span", {}, swatch, `${label} ${this.format(value)}${range}`));
    }
    for (const mark of this.marks(plot)) {
      const x = (mark.x - plot.bbox.left) / devicePixelRatio;
      if (Math.abs(x - left) <= NEAR_PX) rows.push(h("span", { class: mark.bad ? "bad" : "" }, mark.text));
    }
    put(this.tip, rows);
    this.tip.hidden = false;
    const room = plot.over.clientWidth - this.tip.offsetWidth;
    style(this.tip, { left: `${Math.max(0, Math.min(left + 12, room))}px`, top: "8px" });
  }

  width() {
    return Math.max(200, this.host.clientWidth);
  }

  resize() {
    if (this.plot && this.host.clientWidth) this.plot.setSize({ width: this.width(), height: this.height });
  }
}

function wholeMinutes(splits) {
  return splits.every((at) => at % 60 === 0);
}

function line(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

/** What the colours of a chart mean. */
export function legend(host, lines) {
  put(host, lines.map(({ label, colour }) => {
    const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
    style(swatch, { background: colour });
    return h("li", {}, swatch, label);
  }));
}
