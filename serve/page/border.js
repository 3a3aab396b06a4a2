// The border of one pipeline as a picture: leaves on the left, columns on the right, protections between. What the picture
// shows stands in tables below it.
import { ask, of } from "./ask.js";
import { el, many, state, svg, swap, table, time } from "./dom.js";

/** Each class has a shape, a colour and its name. */
const SHAPES = {
  identifier: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
  quasi: "M0 -6L6 0L0 6L-6 0z",
  sensitive: "M0 -6L6 5L-6 5z",
  special: "M-3 -6L3 -6L6 0L3 6L-3 6L-6 0z",
  free_text: "M-5 -5H5V5H-5zM-3 -2H3M-3 1H3",
  public: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0zM-2 0a2 2 0 1 0 4 0a2 2 0 1 0 -4 0z",
  technical: "M-5 -5H5V5H-5zM-2 -2H2V2H-2z",
  secret: "M-5 -3L-3 -5L0 -2L3 -5L5 -3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0z",
  metadata: "M-5 -1.5H5V1.5H-5z",
  held: "M-5 -5H5V5H-5z",
};
const WIDE = 1100;
const HIGH = 40;
const BOX = { leaf: [10, 280], guard: [400, 300], column: [810, 280] };

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const classOf = (word) => (SHAPES[word] ? word : "metadata");
const badge = (word, x, y) => svg("path", { class: `class ${classOf(word)}`, d: SHAPES[classOf(word)], transform: `translate(${x} ${y})` });

const box = (kind, y, title, under, word, more = "") => {
  const [x, width] = BOX[kind];
  return svg("g", { class: `node ${kind} ${more}` },
    svg("rect", { x, y: y + 3, width, height: HIGH - 6, rx: 5 }),
    word ? badge(word, x + 14, y + HIGH / 2) : null,
    svg("text", { x: x + (word ? 28 : 10), y: y + (under ? 17 : 24) }, cut(title, word ? 32 : 34), svg("title", {}, title)),
    under ? svg("text", { class: "under", x: x + (word ? 28 : 10), y: y + 31 }, cut(under, word ? 38 : 46), svg("title", {}, under)) : null);
};

const flow = (from, to, y0, y1, kind) => {
  const [x0, x1] = [BOX[from][0] + BOX[from][1], BOX[to][0]];
  const middle = (x0 + x1) / 2;
  return svg("path", { class: `flow ${kind}`, d: `M${x0} ${y0 + HIGH / 2}C${middle} ${y0 + HIGH / 2} ${middle} ${y1 + HIGH / 2} ${x1} ${y1 + HIGH / 2}` });
};

/** Names of leaves as a person says them: of both images of the row, or of the key. */
const bare = (leaf) => leaf.replace(/^(after|before)\.(?!\*)/, "");

/** What is drawn, in rows: held leaves, then columns beside their first leaf, then what stays. */
export const layout = ({ proof, held }) => {
  const leaves = new Map();
  const add = (leaf, known = {}) => {
    const name = bare(leaf);
    if (!leaves.has(name)) leaves.set(name, { name, class: null, ...known });
    return leaves.get(name);
  };
  const leavesOf = (h) => [h.leaf, ...h.others].map((leaf) => ({ ...h, leaf }));
  for (const { leaf, code, topic, partition } of held.filter((h) => h.leaf).flatMap(leavesOf)) {
    const one = add(leaf, { held: code, at: [] });
    one.at?.push(`${topic}[${partition}]`);
  }
  const columns = proof.columns.map((column) => {
    const direct = [...new Set(column.direct.map(bare))];
    const indirect = [...new Set(column.indirect.map(bare))].filter((leaf) => !direct.includes(leaf));
    // A column of one leaf says what that leaf is.
    for (const leaf of direct) {
      const one = add(leaf);
      if (direct.length === 1) one.class ??= column.class;
    }
    return { ...column, direct, indirect };
  });
  for (const column of columns) column.indirect.forEach((leaf) => add(leaf));
  const filter = [...new Set((proof.sql?.filter ?? []).map(bare))];
  filter.forEach((leaf) => add(leaf));
  for (const { leaf, class: word, why } of proof.behind) {
    const one = add(leaf, { behind: why });
    one.class ??= word;
  }
  const all = [...leaves.values()];
  const stays = all.filter((leaf) => leaf.behind);
  const rest = [...all.filter((leaf) => leaf.held), ...all.filter((leaf) => !leaf.held && !leaf.behind)];
  return { columns, filter, leaves: [...rest, ...stays] };
};

const picture = (border) => {
  const { columns, filter, leaves } = layout(border);
  const at = new Map(leaves.map((leaf, row) => [leaf.name, row * HIGH + 34]));
  const lead = leaves.filter((leaf) => leaf.held).length;
  const y = columns.map((_, row) => (row + lead) * HIGH + 34);
  const guard = (columns.length + lead) * HIGH + 34;
  const high = Math.max(leaves.length * HIGH, guard - 34 + (filter.length ? HIGH : 0)) + 44;
  const flows = [];
  const nodes = [];
  columns.forEach((column, row) => {
    for (const leaf of column.direct) flows.push(flow("leaf", "guard", at.get(leaf), y[row], `direct ${classOf(column.class)}`));
    for (const leaf of column.indirect) flows.push(flow("leaf", "guard", at.get(leaf), y[row], "indirect"));
    flows.push(flow("guard", "column", y[row], y[row], `direct ${classOf(column.class)}`));
    const isOpen = column.protection === "none";
    nodes.push(box("guard", y[row], isOpen ? "crosses as it is" : column.protection, column.rule, null, isOpen ? "open" : ""));
    nodes.push(box("column", y[row], `${column.part === "key" ? "key: " : ""}${column.column}`, `${column.class}, ${column.type}`, column.class));
  });
  for (const leaf of leaves) {
    const top = at.get(leaf.name);
    const under = leaf.held ? `HELD: ${leaf.held.replaceAll("_", " ")}, ${leaf.at.length === 1 ? leaf.at[0] : many(leaf.at.length, "partition")}`
      : leaf.behind ? `${leaf.class ?? ""}; stays: ${leaf.behind}` : leaf.class ?? "decides or is part of others";
    nodes.push(box("leaf", top, leaf.name, under, leaf.held ? "held" : leaf.class ?? "metadata", leaf.held ? "is-held" : leaf.behind ? "stays" : ""));
    if (leaf.held || leaf.behind) {
      const x = BOX.leaf[0] + BOX.leaf[1];
      const line = top + HIGH / 2;
      flows.push(svg("path", { class: `flow ${leaf.held ? "stopped" : "ends"}`, d: `M${x} ${line}H${x + 44}M${x + 44} ${line - 8}V${line + 8}` }));
    }
  }
  if (filter.length) {
    for (const leaf of filter) flows.push(flow("leaf", "guard", at.get(leaf), guard, "indirect"));
    nodes.push(box("guard", guard, "WHERE", "decides whether a row crosses", null, "open"));
  }
  const head = (kind, text) => svg("text", { class: "head", x: BOX[kind][0], y: 20 }, text);
  return svg("svg", {
    class: "border", viewBox: `0 0 ${WIDE} ${high}`, width: WIDE, height: high, role: "img",
    "aria-label": `${many(leaves.length, "leaf", "leaves")} on the left, ${many(columns.length, "column")} on the right, what protects each between; ${lead ? `${many(lead, "leaf", "leaves")} held` : "no leaf held"}. The tables below say the same.`,
  }, head("leaf", "inside: leaves"), head("guard", "at the border: protections"), head("column", "outside: columns"),
  svg("path", { class: "line", d: `M${BOX.guard[0] + BOX.guard[1] + 55} 28V${high - 8}` }), flows, nodes);
};

const legend = (border) => {
  const { columns, leaves } = layout(border);
  const words = [...new Set([...columns, ...leaves].map((one) => one.class).filter(Boolean).map(classOf))];
  const line = (kind) => svg("svg", { width: 34, height: 14, viewBox: "0 0 34 14", "aria-hidden": "true" }, svg("path", { class: `flow ${kind}`, d: "M1 7H33" }));
  return el("ul", { class: "legend", "aria-label": "What shapes and lines mean" },
    words.map((word) => el("li", {}, svg("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, badge(word, 0, 0)), word.replace("_", " "))),
    el("li", {}, line("direct"), "its value is in the column"), el("li", {}, line("indirect"), "it decides, and is not in it"),
    el("li", {}, line("stopped"), "held"));
};

const tables = ({ proof, held }) => [
  held.length ? table("Held", ["Leaf", "Why", "Where"], held.map((h) => [[h.leaf ?? "–", ...h.others].join(", "), state("held", h.code), `${h.topic}[${h.partition}]@${h.offset}`])) : null,
  table("Columns: what crosses", ["Column", "Class", "Made of", "Decided by", "Protection", "Keeps", "Rule"], proof.columns.map((c) => [
    `${c.part === "key" ? "key: " : ""}${c.column}`, c.class, c.direct.join(", ") || "–", c.indirect.filter((leaf) => !c.direct.includes(leaf)).join(", ") || "–",
    c.protection, c.keeps.join(", ") || "nothing", c.rule])),
  proof.behind.length ? table("Leaves: what stays", ["Leaf", "Class", "Why"], proof.behind.map((b) => [b.leaf, b.class, b.why])) : null,
  proof.overrides.length ? table("Overrides: what people let cross by name", ["Name", "Columns", "Detectors", "What may remain", "Least recall"], proof.overrides.map((o) =>
    [o.name, o.columns.join(", "), o.detectors.join(", ") || "–", o.residual.join(", ") || "–", o.measured ? `${o.min_recall}, ${o.measured}` : o.min_recall ?? "–"])) : null,
];

const release = (standing) => {
  if (!standing.version) return el("p", {}, state("draft", "no release"), ` ${(standing.why ?? "").split("\n")[0]}`);
  const people = standing.approvers.length ? `, approved by ${standing.approvers.join(" and ")}` : "";
  return el("p", {}, state(standing.live ? "approved" : "rejected", standing.live ? "live" : "not live"),
    ` release ${standing.version}, by ${standing.author}${people}, until `, time(standing.expires),
    standing.fits ? null : el("strong", {}, " · the file is another than what was signed"),
    standing.why ? el("span", { class: "bad-text" }, ` · ${standing.why.split("\n")[0]}`) : null);
};

const one = (border) => el("section", { class: "card" },
  el("h2", {}, border.proof.pipeline),
  el("p", {}, `${border.proof.source} → ${border.proof.target} · for ${border.proof.purpose}`),
  release(border.release), legend(border),
  el("div", { class: "scroll picture", tabindex: "0", role: "region", "aria-label": `Picture of the border of ${border.proof.pipeline}` }, picture(border)),
  el("details", { class: "as-tables" }, el("summary", {}, "The same as tables"), tables(border)));

/** A choice among connectors, kept in the address. */
export const chooser = (view, names, chosen) => el("div", { class: "tools" },
  el("label", { for: "choose" }, "Pipeline"),
  el("select", { id: "choose", onchange: (event) => { location.hash = `#/${view}/${encodeURIComponent(event.target.value)}`; } },
    names.map((name) => el("option", { value: name, selected: name === chosen }, name))));

export const connectors = async (signal) => {
  const { pipelines } = await ask("/v1/partitions", signal);
  // What waits for people is what people come for.
  const waits = new Map();
  for (const { connector, held } of pipelines) waits.set(connector, (waits.get(connector) ?? 0) + held.length);
  return [...waits].sort(([a, n], [b, m]) => m - n || a.localeCompare(b, "en", { numeric: true })).map(([name]) => name);
};

export const show = async (main, { rest, signal }) => {
  const names = await connectors(signal);
  const chosen = rest[0] ?? names[0];
  if (!chosen) {
    main.replaceChildren(el("h1", {}, "Border"), el("p", { class: "quiet" }, "No pipeline yet."));
    return null;
  }
  const body = el("div", {});
  const read = async () => {
    const { borders } = await ask(of(chosen, "border"), signal);
    const open = body.querySelector("details.as-tables")?.open;
    swap(body, JSON.stringify(borders), () => borders.map(one));
    if (open) for (const details of body.querySelectorAll("details.as-tables")) details.open = true;
  };
  await read();
  main.replaceChildren(el("h1", {}, "Border"), chooser("border", names.includes(chosen) ? names : [chosen, ...names], chosen), body);
  return read;
};
