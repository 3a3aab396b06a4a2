// Which view is shown, and when it is read again. A view is a module with `show(main, { rest, signal, stale })`; it returns
// a function that reads anew, or nothing.
import { ask, Refused, token } from "./ask.js";
import { el } from "./dom.js";
import * as pipelines from "./partitions.js";

const VIEWS = {
  pipelines: { title: "Pipelines", load: async () => pipelines, every: 3000 },
  border: { title: "Border", load: () => import("./border.js"), every: 5000 },
  releases: { title: "Releases", load: () => import("./releases.js"), every: 5000 },
  budget: { title: "Budget", load: () => import("./budget.js"), every: 10_000 },
  ledger: { title: "Ledger", load: () => import("./ledger.js"), every: 0 },
  held: { title: "Held", load: () => import("./held.js"), every: 10_000 },
};

const main = document.getElementById("main");
const notice = document.getElementById("notice");
const leave = document.getElementById("leave");
let shown = null;

const place = () => {
  const [view, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return { name: VIEWS[view] ? view : "pipelines", rest };
};

const say = (text, bad = true) => {
  if (notice.textContent === text) return;
  notice.className = text ? `notice ${bad ? "bad" : ""}` : "";
  notice.textContent = text;
};

/** What a refusal means to whoever looks. */
const told = (fault) => {
  if (fault instanceof Refused && fault.status === 403) return `Not yours to see: ${fault.message}.`;
  if (fault instanceof Refused) return fault.message;
  throw fault;
};

const signIn = (why) => {
  const field = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const enter = (event) => {
    event.preventDefault();
    if (!field.value.trim()) return;
    token.set(field.value);
    go();
  };
  main.replaceChildren(el("form", { class: "card narrow", onsubmit: enter },
    el("h1", {}, "Sign in"),
    el("p", {}, "With a token of yours, as ", el("code", {}, "douane serve token NAME --role auditor"), " printed it. It stays in this tab."),
    why ? el("p", { class: "bad-text", role: "alert" }, why) : null,
    el("label", { for: "token" }, "Token"), field,
    el("button", { type: "submit" }, "Sign in")));
  field.focus();
};

const go = async () => {
  shown?.stop();
  const { name, rest } = place();
  const stop = new AbortController();
  const mine = { stop: () => stop.abort() };
  shown = mine;
  const { title, load, every } = VIEWS[name];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${title} – douane`;
  leave.hidden = !token.get();
  say("");
  let again = null;
  let good = Date.now();
  const read = async () => {
    try {
      if (again) await again();
      else {
        const view = await load();
        if (shown !== mine) return;
        main.replaceChildren(el("h1", {}, title), el("p", { class: "quiet" }, "Reading…"));
        again = await view.show(main, { rest, signal: stop.signal }) ?? null;
        if (shown === mine) main.dataset.ready = name;
      }
      good = Date.now();
      if (shown === mine) say("");
    } catch (fault) {
      if (shown !== mine || fault.name === "AbortError") return;
      if (fault.status === 401) return signIn(token.get() ? fault.message : "");
      const text = told(fault);
      if (!again) main.replaceChildren(el("h1", {}, title), el("p", { class: "bad-text" }, text));
      else say(`${text}. What is shown is ${Math.round((Date.now() - good) / 1000)} s old.`);
    }
    if (every && shown === mine) setTimeout(() => { if (shown === mine) read(); }, every);
  };
  delete main.dataset.ready;
  await read();
};

leave.addEventListener("click", () => { token.forget(); go(); });
addEventListener("hashchange", () => { main.focus({ preventScroll: true }); go(); });
go();
