/** The page: one conversation. Whatever was said is put in as text, never as markup. */
import { events } from "./events.js";

const POLL_MS = 1000;
const NEAR_END_PX = 60;
const part = Object.fromEntries(
  ["log", "empty", "form", "status", "question", "stop", "send", "new", "model"].map((id) => [id, document.getElementById(id)]),
);
let conversation = null;
let leaving = false;

addEventListener("pagehide", () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });

function say(text, bad = false) {
  part.status.textContent = text;
  part.status.classList.toggle("bad", bad);
}

/** Browsers say "Failed to fetch" and the like in a TypeError. */
function complain(error) {
  say(error instanceof TypeError ? "The chat's server does not answer. Try again." : error.message, true);
}

function busy(is) {
  part.log.setAttribute("aria-busy", String(is));
  part.stop.hidden = !is;
  part.send.disabled = is;
}

/** Keep the end in view, unless its reader has scrolled up. */
function following(change) {
  const { log } = part;
  const near = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
  change();
  if (near) log.scrollTop = log.scrollHeight;
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Add what somebody said; returns its text, which may grow, and the item. */
function show(kind, text) {
  const item = element("div", `said ${kind}`, "");
  const body = element("p", "text", text);
  item.append(element("p", "who", kind === "question" ? "You" : "Assistant"), body);
  following(() => part.log.append(item));
  part.empty.hidden = true;
  return { item, body };
}

/** How an answer ended, and how it was made: small, below it. */
function about({ state, details }) {
  const parts = [];
  if (state === "stopped") parts.push("stopped");
  if (state === "broken") parts.push("broke off");
  if (details.finish_reason === "length") parts.push("cut at the longest allowed answer");
  if (details.route) parts.push(details.k ? `${details.route}, k ${details.k}` : details.route);
  if (details.task) parts.push(details.task);
  if (details.acceptance_length) parts.push(`${details.acceptance_length.toFixed(1)} tokens a step`);
  if (details.measured_s) parts.push(`${details.measured_s.toFixed(1)} s`);
  return parts.join(" · ");
}

function finish({ item, body }, turn) {
  following(() => {
    body.textContent = turn.answer;
    item.dataset.state = turn.state;
    const line = about(turn);
    if (line) {
      const details = element("p", "details", line);
      if (turn.details.request_id) details.title = `request ${turn.details.request_id}`;
      item.append(details);
    }
  });
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Error(told.error ?? `The chat's server says ${response.status}. Try again.`);
  }
  return response;
}

/** Show the conversation as it is stored; waits for an answer that another page, or this one before, began. */
async function load() {
  busy(true);
  part.stop.hidden = true;
  for (;;) {
    const response = await fetch("api/conversation");
    if (!response.ok) throw new Error("The chat's server does not answer. Reload the page.");
    const found = await response.json();
    conversation = found.id;
    part.model.textContent = found.model;
    part.question.maxLength = found.max_question_chars;
    part.log.replaceChildren();
    part.empty.hidden = found.turns.length > 0;
    for (const turn of found.turns) {
      show("question", turn.question);
      finish(show("answer", ""), turn);
    }
    if (!found.answering) break;
    say("An answer is being written…");
    part.stop.hidden = false;
    await new Promise((resume) => setTimeout(resume, POLL_MS));
  }
  say("");
  busy(false);
}

/** Nothing was said to it: it goes back into the box. */
function giveBack(question, text) {
  question.item.remove();
  part.empty.hidden = part.log.children.length > 0;
  if (!part.question.value) part.question.value = text;
}

async function ask(text) {
  busy(true);
  say("Waiting for the answer…");
  part.question.value = "";
  const answers = part.log.querySelectorAll(".answer").length;
  const question = show("question", text);
  let answer = null;
  let end = null;
  try {
    const response = await post("api/questions", { text, conversation });
    for await (const { kind, data } of events(response)) {
      if (kind === "waiting") {
        say(`The model service is busy. Asking again in ${Math.ceil(data.seconds)} s…`);
      } else if (kind === "piece") {
        if (answer === null) {
          answer = show("answer", "");
          say("Answering…");
        }
        following(() => answer.body.append(data.text));
      } else if (kind === "end") {
        end = data;
      }
    }
    if (end === null) throw new Error("The connection broke off.");
  } catch (error) {
    if (leaving) return;
    // The server stops an answer that nobody listens to, and keeps what there is of it; only it knows how much.
    await load().catch(() => busy(false));
    if (part.log.querySelectorAll(".answer").length === answers) giveBack(question, text);
    complain(error);
    return;
  }
  conversation = end.conversation;
  if (end.turn) {
    finish(answer ?? show("answer", ""), end.turn);
  } else {
    giveBack(question, text);
  }
  say(end.message ?? "", end.message !== null);
  busy(false);
}

/** Do it, and say what went wrong. */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    busy(false);
    complain(error);
  }
  part.question.focus();
}

part.form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = part.question.value.trim();
  if (text && !part.send.disabled) attempt(() => ask(text));
});
part.question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  part.form.requestSubmit();
});
part.stop.addEventListener("click", () => attempt(() => post("api/stop", {})));
part.new.addEventListener("click", () =>
  attempt(async () => {
    await post("api/conversation", {});
    await load();
  }),
);
attempt(load);
