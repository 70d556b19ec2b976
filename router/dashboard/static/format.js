// Numbers as people read them, always with their unit. What is not known is a dash, never 0.

export const UNKNOWN = "–";

const WHOLE = new Intl.NumberFormat("en");

export function whole(value) {
  if (!known(value)) return UNKNOWN;
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)} M`;
  return WHOLE.format(Math.round(value));
}

export function percent(share) {
  if (!known(share)) return UNKNOWN;
  const value = share * 100;
  const digits = value > 0 && value < 1 || value > 99 && value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} %`;
}

export function alpha(value) {
  return known(value) ? value.toFixed(2) : UNKNOWN;
}

export function interval(bounds, format = alpha) {
  return bounds ? `${format(bounds[0])} to ${format(bounds[1])}` : "";
}

export function times(value) {
  return known(value) ? `${value.toFixed(2)} ×` : UNKNOWN;
}

export function perSecond(value) {
  if (!known(value)) return UNKNOWN;
  return `${value >= 100 ? Math.round(value) : value.toFixed(value >= 10 ? 1 : 2)} /s`;
}

export function seconds(value) {
  if (!known(value)) return UNKNOWN;
  if (value < 0) return `−${seconds(-value)}`;
  const size = value;
  if (size < 0.0005) return "0 ms";
  if (size < 1) return `${(value * 1000).toFixed(size < 0.01 ? 1 : 0)} ms`;
  if (size < 60) return `${value.toFixed(size < 10 ? 2 : 1)} s`;
  if (size < 3600) return `${(value / 60).toFixed(1)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function decimal(value, digits = 2) {
  return known(value) ? value.toFixed(digits) : UNKNOWN;
}

export function clock(at, { date = false } = {}) {
  if (!known(at)) return UNKNOWN;
  const moment = new Date(at * 1000);
  const time = moment.toLocaleTimeString("en-GB", { hour12: false });
  return date ? `${moment.toLocaleDateString("en-CA")} ${time}` : time;
}

export function hourMinute(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

export function ago(at, now) {
  const passed = Math.max(0, now - at);
  if (passed < 5) return "now";
  if (passed < 60) return `${Math.round(passed)} s ago`;
  if (passed < 3600) return `${Math.round(passed / 60)} min ago`;
  return passed < 86400 ? `${Math.round(passed / 3600)} h ago` : `${Math.round(passed / 86400)} days ago`;
}

export function plural(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

export function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}
