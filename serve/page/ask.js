// Calls of `/v1`, with the token of whoever looks. The token lives as long as the tab, and goes nowhere else.
const KEPT = "douane.token";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEPT),
  set: (text) => sessionStorage.setItem(KEPT, text.trim()),
  forget: () => sessionStorage.removeItem(KEPT),
};

export const fetched = async (path, signal) => {
  const said = token.get();
  const headers = said ? { Authorization: `Bearer ${said}` } : {};
  let answer;
  try {
    answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Refused(0, "the service does not answer");
  }
  if (answer.ok) return answer;
  let message = `status ${answer.status}`;
  try {
    message = (await answer.json()).message ?? message;
  } catch { /* no JSON: the status says it */ }
  throw new Refused(answer.status, message);
};

export const ask = async (path, signal) => (await fetched(path, signal)).json();

/** Paths are made of names that the service gave. */
export const of = (connector, rest) => `/v1/pipelines/${encodeURIComponent(connector)}/${rest}`;

/** At most `width` at a time, in their order. */
export const each = async (items, width, one) => {
  const left = [...items];
  const turn = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await one(item);
  };
  await Promise.all(Array.from({ length: width }, turn));
};
