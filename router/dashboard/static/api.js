// Talks to the admin API. The token is kept in this tab only.

const KEY = "specroute.token";
const ROOT = new URL("admin/v1/", document.baseURI);

/** What the service said is wrong. `status` is HTTP's, 0 when it could not be reached. */
export class ServiceError extends Error {
  constructor(message, status, body = null) {
    super(message);
    this.status = status;
    this.body = body;
  }

  get needsToken() {
    return this.status === 401 || this.status === 403;
  }
}

export function token() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function setToken(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** A response that succeeded. `path` is relative to /admin/v1/. Throws ServiceError. */
export async function open(path, { method = "GET", body, headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(new URL(path, ROOT), {
      method,
      body,
      signal,
      headers: { ...headers, ...(token() ? { Authorization: `Bearer ${bytes(token())}` } : {}) },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("the service cannot be reached", 0);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

/** The JSON of an answer. */
export async function get(path, options) {
  return (await open(path, options)).json();
}

async function failure(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // Something between us and the service answered in a form of its own.
  }
  const told = body?.error?.message;
  return new ServiceError(told ?? `the service answered with status ${response.status}`, response.status, body);
}

/** Header values are bytes: UTF-8, a character each. */
export function bytes(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}
