// Pipelines and their partitions, those that wait for people on top. Cells and tables are made for what is on the screen.
import { ask } from "./ask.js";
import { away, el, many, number, state, svg, swap } from "./dom.js";

const ORDER = ["held", "lost", "behind", "caught_up"];
const GRAVE = { failed: 0, resting: 1, starting: 2 };

const count = (pipeline, word) => pipeline.partitions.filter((p) => p.state === word).length;
const lag = (pipeline) => pipeline.partitions.reduce((sum, p) => sum + (p.lag ?? 0), 0);
const waits = (pipeline) => count(pipeline, "held") + count(pipeline, "lost");
const least = (pipeline) => {
  const hours = pipeline.partitions.map((p) => p.hours_left).filter((h) => h !== undefined);
  return hours.length ? Math.min(...hours) : null;
};

/** Records that were set aside, by the ledger; until that was read, since the process began. */
export const aside = (pipeline) => pipeline.ledger_quarantined ?? pipeline.quarantined ?? 0;

const rank = (a, b) =>
  Number(waits(b) > 0) - Number(waits(a) > 0)
  || (GRAVE[a.state] ?? 9) - (GRAVE[b.state] ?? 9)
  || lag(b) - lag(a)
  || a.pipeline.localeCompare(b.pipeline, "en", { numeric: true });

/** In words what the cells show. */
const words = (pipeline) => {
  const found = ORDER.map((word) => [count(pipeline, word), word.replace("_", " ")]).filter(([n]) => n > 0);
  const text = found.map(([n, word]) => `${number(n)} ${word}`).join(", ");
  if (pipeline.state === "elsewhere") return "partitions are read on that worker";
  return pipeline.partitions.length ? `${many(pipeline.partitions.length, "partition")}: ${text}` : "partitions not read yet";
};

const CELL = 12;
const strip = (pipeline) => {
  const sorted = [...pipeline.partitions].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
  const wide = 32;
  const rows = Math.ceil(sorted.length / wide);
  const cells = sorted.map((p, at) => {
    const [x, y] = [(at % wide) * CELL, Math.floor(at / wide) * CELL];
    // Height says it beside the colour.
    const inset = p.state === "held" || p.state === "lost" ? 0 : p.state === "behind" ? 2 : 4;
    return svg("rect", { class: `cell ${p.state}`, x: x + 1, y: y + 1 + inset, width: CELL - 2, height: CELL - 2 - inset });
  });
  const width = Math.min(sorted.length, wide) * CELL;
  return svg("svg", { class: "strip", width, height: rows * CELL, viewBox: `0 0 ${Math.max(width, 1)} ${Math.max(rows * CELL, 1)}`, "aria-hidden": "true" }, cells);
};

const partitionTable = (pipeline) => {
  const sorted = [...pipeline.partitions].sort((a, b) =>
    ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || (b.lag ?? 0) - (a.lag ?? 0) || a.topic.localeCompare(b.topic) || a.partition - b.partition);
  return el("table", {},
    el("caption", {}, `Partitions of ${pipeline.pipeline}`),
    el("thead", {}, el("tr", {}, ["Partition", "State", "Lag", "Next offset", "Hours until retention"].map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, sorted.map((p) => el("tr", { class: p.state },
      el("th", { scope: "row" }, `${p.topic}[${p.partition}]`), el("td", {}, state(p.state)),
      el("td", { class: "num" }, number(p.lag)), el("td", { class: "num" }, number(p.next)),
      el("td", { class: "num" }, p.hours_left === undefined ? "–" : number(p.hours_left))))));
};

/** One held partition with all that a person needs to go on. */
export const heldCard = (pipeline, held) => {
  const read = pipeline.partitions.find((p) => p.topic === held.topic && p.partition === held.partition);
  const hours = read?.hours_left;
  const name = encodeURIComponent(pipeline.connector);
  return el("li", { class: "card held" },
    el("h2", { class: "small" }, state("held"), ` ${held.topic}[${held.partition}]@${held.offset}`),
    el("p", {}, el("strong", {}, pipeline.pipeline), " · ", el("code", {}, held.code),
      held.leaf ? [" · leaf ", el("code", { class: "bad-text" }, [held.leaf, ...held.others].join(", "))] : null,
      hours === undefined ? null : [" · ", el("strong", { class: "bad-text" }, `retention deletes it in ${many(hours, "hour")}`)]),
    el("pre", { tabindex: "0", role: "region", "aria-label": `What was found at ${held.topic}[${held.partition}], and the next step` }, held.message),
    el("p", {}, el("a", { href: `#/border/${name}` }, "its border"), " · ", el("a", { href: `#/releases/${name}` }, "its releases")));
};

/** A row that stays in the document while its pipeline is there; cells and tables are made when it is seen. */
class Row {
  constructor(seen) {
    this.name = el("span", { class: "name" });
    this.about = el("span", { class: "about" });
    this.cells = el("span", { class: "cells" });
    this.figures = el("span", { class: "figures" });
    this.body = el("div", { class: "scroll", tabindex: "0", role: "region" });
    this.open = el("details", { class: "pipeline", ontoggle: () => this.draw() },
      el("summary", {}, this.name, this.about, this.cells, this.figures), this.body);
    this.node = el("li", {}, this.open);
    this.seen = false;
    seen.observe(this.node);
    this.node.row = this;
  }

  update(pipeline) {
    this.pipeline = pipeline;
    this.draw();
  }

  draw() {
    const { pipeline } = this;
    if (!pipeline) return;
    swap(this.name, pipeline.pipeline, () => pipeline.pipeline);
    const held = waits(pipeline);
    swap(this.about, `${pipeline.state} ${held} ${words(pipeline)}`, () => [
      held ? state("held", `${number(held)} held`) : null, " ", state(pipeline.state), " ", el("span", { class: "quiet" }, words(pipeline)),
    ].filter((part) => part !== null));
    const hours = least(pipeline);
    const figures = [pipeline.worker ? `on ${pipeline.worker}` : "", (pipeline.why ?? "").split("\n")[0], `lag ${number(lag(pipeline))}`, pipeline.records === undefined ? "" : `${number(pipeline.records)} records`,
      aside(pipeline) ? `${number(aside(pipeline))} set aside` : "",
      hours === null ? "" : `${number(hours)} h until retention`,
      pipeline.release ? `release ${pipeline.release}, ends ${away(pipeline.release_expires)}` : "",
      pipeline.restarts ? `begun again ${number(pipeline.restarts)} times` : ""].filter(Boolean).join(" · ");
    swap(this.figures, figures, () => figures);
    this.open.classList.toggle("is-held", held > 0);
    this.open.classList.toggle("is-failed", pipeline.state === "failed" || pipeline.state === "resting");
    if (!this.seen) return;
    swap(this.cells, pipeline.partitions.map((p) => p.state[0]).join(""), () => strip(pipeline));
    this.body.setAttribute("aria-label", `Partitions of ${pipeline.pipeline}`);
    if (this.open.open) {
      swap(this.body, JSON.stringify([pipeline.partitions, pipeline.why]), () =>
        [pipeline.why ? el("pre", {}, pipeline.why) : null, partitionTable(pipeline)].filter(Boolean));
    } else swap(this.body, "", () => []);
  }

  look(isSeen) {
    this.seen = isSeen;
    if (isSeen) return this.draw();
    // What nobody sees costs nothing: the row keeps its height by the style sheet.
    if (!this.open.open && !this.open.contains(document.activeElement)) swap(this.cells, "", () => []);
  }
}

export const show = async (main, { signal }) => {
  const rows = new Map();
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.target.row.look(entry.isIntersecting);
  }, { rootMargin: "200px" });
  const summary = el("p", { class: "summary" });
  const held = el("ul", { class: "plain", "aria-label": "Held partitions" });
  const list = el("ul", { class: "plain pipelines", "aria-label": "Pipelines" });
  const find = el("input", { type: "search", id: "find", placeholder: "name", oninput: () => sift() });
  let last = [];
  const sift = () => {
    const text = find.value.trim().toLowerCase();
    for (const [name, row] of rows) row.node.hidden = text !== "" && !name.toLowerCase().includes(text);
  };
  const draw = ({ pipelines }) => {
    last = [...pipelines].sort(rank);
    const all = last.flatMap((p) => p.partitions);
    const [stuck, failed] = [last.reduce((n, p) => n + waits(p), 0), last.filter((p) => p.state in GRAVE && p.state !== "starting").length];
    // Of what another worker runs, or what failed, nobody here knows what it holds.
    const away = last.filter((p) => p.state === "elsewhere" || p.state === "failed").length;
    const text = `${many(last.length, "pipeline")}, ${many(all.length, "partition")}; lag ${number(all.reduce((n, p) => n + (p.lag ?? 0), 0))}`;
    swap(summary, `${text} ${stuck} ${failed} ${away}`, () => [
      stuck ? state("held", `${many(stuck, "partition")} held`)
        : away || !last.length ? "nothing is known to be held" : state("caught_up", "nothing is held"), " ",
      failed ? state("failed", `${many(failed, "pipeline")} failed`) : "", ` ${text}`]);
    const waiting = last.flatMap((p) => p.held.map((h) => [p, h]));
    swap(held, JSON.stringify(waiting.map(([p, h]) => [p.pipeline, h])), () => waiting.slice(0, 20).map(([p, h]) => heldCard(p, h)));
    const names = new Set(last.map((p) => p.pipeline));
    for (const [name, row] of rows) {
      if (names.has(name)) continue;
      seen.unobserve(row.node);
      row.node.remove();
      rows.delete(name);
    }
    last.forEach((pipeline, at) => {
      let row = rows.get(pipeline.pipeline);
      if (!row) rows.set(pipeline.pipeline, row = new Row(seen));
      // Moved only where the order changed: whoever reads keeps the place.
      if (list.children[at] !== row.node) list.insertBefore(row.node, list.children[at] ?? null);
      row.update(pipeline);
    });
    sift();
  };
  const read = async () => draw(await ask("/v1/partitions", signal));
  await read();
  signal.addEventListener("abort", () => seen.disconnect());
  main.replaceChildren(el("h1", {}, "Pipelines"), summary, held,
    el("div", { class: "tools" }, el("label", { for: "find" }, "Find"), find), list,
    last.length ? "" : el("p", { class: "quiet" }, "No pipeline yet: put a file into the folder of pipelines, or create a connector."));
  return read;
};
