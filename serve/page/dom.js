// Elements out of names, attributes and children. Text is only ever text: nothing here parses HTML.
const NS = "http://www.w3.org/2000/svg";

const fill = (node, props, children) => {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};

export const el = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(NS, tag), props, children);

const numbers = new Intl.NumberFormat("en");
export const number = (value) => (value === null || value === undefined ? "–" : numbers.format(value));
export const many = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

const dates = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
export const time = (text) => {
  const at = new Date(text);
  if (!text || Number.isNaN(at.getTime())) return el("span", {}, text || "–");
  return el("time", { datetime: text }, `${dates.format(at)} UTC`);
};

/** How far away an instant is, in the largest unit that fits. */
export const away = (text, now = Date.now()) => {
  const ms = new Date(text).getTime() - now;
  if (Number.isNaN(ms)) return "";
  const steps = [[86_400_000, "day"], [3_600_000, "hour"], [60_000, "minute"]];
  const [unit, word] = steps.find(([step]) => Math.abs(ms) >= step) ?? [1000, "second"];
  const count = Math.floor(Math.abs(ms) / unit);
  return ms < 0 ? `${many(count, word)} ago` : `in ${many(count, word)}`;
};

/** A state as a shape and a word; colour says it a third time. */
const MARKS = {
  held: "■", lost: "■", failed: "■", resting: "▲", behind: "▲", starting: "▲", revoked: "■", rejected: "■", expired: "■", invalid: "■",
  draft: "▲", submitted: "▲", in_review: "▲", paused: "◇", stopped: "◇", ended: "◇", elsewhere: "◇", closed: "◇", caught_up: "●", running: "●", approved: "●",
};
const KINDS = { "■": "bad", "▲": "warn", "◇": "idle", "●": "good" };
export const state = (word, text = word.replaceAll("_", " ")) => {
  const mark = MARKS[word] ?? "◇";
  return el("span", { class: `state ${KINDS[mark]}` }, el("span", { "aria-hidden": "true" }, `${mark} `), text);
};

export const table = (caption, heads, rows) =>
  el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((cells) => el("tr", {},
        cells.map((cell, at) => (at === 0 ? el("th", { scope: "row" }, cell) : el("td", {}, cell))))))));

/** A command to be typed elsewhere, with a button that copies it. */
export const command = (text) => {
  const said = el("span", { class: "quiet", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "copied";
    } catch {
      said.textContent = "mark it and copy it by hand";
    }
  };
  return el("div", { class: "command" }, el("code", {}, text),
    el("button", { type: "button", onclick: copy, "aria-label": `Copy the command ${text}` }, "Copy"), said);
};

/** Puts children in the place of what was there, only where they say something else: focus and selection stay. */
export const swap = (node, key, make) => {
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(...[make()].flat(Infinity));
};
