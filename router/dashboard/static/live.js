// The stream of figures. EventSource cannot send a token, so it is read by hand; it connects anew with growing waits.

import { open } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const SILENCE_MS = 30_000;

/** Keeps a stream open. `onState(state)` is one of: connecting, live, reconnecting, no token. */
export class Live {
  constructor({ onEvent, onState }) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.query = "";
    this.control = null;
  }

  /** Look at something else, or the same with another token. */
  start(parameters) {
    const given = Object.entries(parameters).filter(([, value]) => value);
    this.query = new URLSearchParams(given).toString();
    this.control?.abort();
    this.control = new AbortController();
    this.keep(this.control.signal);
  }

  async keep(signal) {
    let wait = FIRST_WAIT_MS;
    while (!signal.aborted) {
      let why = null;
      try {
        const ended = await this.read(signal, () => {
          wait = FIRST_WAIT_MS;
          this.onState("live");
        });
        if (ended) continue;
      } catch (error) {
        why = error;
      }
      if (signal.aborted) return;
      if (why?.needsToken) {
        this.onState("no token", why.message);
        return;
      }
      this.onState("reconnecting", why?.message);
      await rest(wait * (0.5 + Math.random()), signal);
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    }
  }

  /** Whether the service ended the stream on purpose. */
  async read(signal, onFirst) {
    const own = new AbortController();
    const stop = () => own.abort();
    signal.addEventListener("abort", stop);
    let watchdog = setTimeout(stop, SILENCE_MS);
    try {
      const response = await open(`live${this.query ? `?${this.query}` : ""}`, { signal: own.signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = "";
      for (let first = true; ; first = false) {
        const { value, done } = await reader.read();
        if (done) return false;
        clearTimeout(watchdog);
        watchdog = setTimeout(stop, SILENCE_MS);
        if (first) onFirst();
        const parts = (buffer + value).split("\n\n");
        buffer = parts.pop();
        for (const part of parts) {
          const { name, data } = event(part);
          if (name === "end") return true;
          if (!signal.aborted) this.onEvent(name, data);
        }
      }
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", stop);
      own.abort();
    }
  }
}

function event(text) {
  const fields = {};
  for (const line of text.split("\n")) {
    const colon = line.indexOf(": ");
    fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return { name: fields.event, data: JSON.parse(fields.data ?? "null") };
}

function rest(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
