// Releases: what waits, what it changes and lets cross, who signed, who still may, and the command that signs it. Signing
// is done elsewhere, with a key that this page never sees.
import { ask, each, of } from "./ask.js";
import { connectors } from "./border.js";
import { away, command, el, many, number, state, swap, table, time } from "./dom.js";

const first = (text) => (text ?? "").split("\n")[0];
const GRAVE = ["disclosure", "keys", "joins", "schema", "readers", "approval"];
const risk = (word) => state({ disclosure: "held", keys: "held" }[word] ?? (word === "approval" ? "ended" : "behind"), word);

const changes = (diff) => {
  const all = [
    ...diff.columns.map((c) => ({ ...c, about: `${c.part === "key" ? "key: " : ""}${c.column}` })),
    ...diff.others.map((o) => ({ ...o, about: o.what, what: "changed" })),
  ].sort((a, b) => GRAVE.indexOf(a.risk) - GRAVE.indexOf(b.risk));
  if (!all.length) return el("p", {}, "Nothing that crosses changes: only its life or its limits.");
  return table("What it changes, against the release in force", ["What", "Risk", "Change", "Before", "After", "Why it matters"],
    all.map((c) => [c.about, risk(c.risk), c.what, c.before ?? "–", c.after ?? "–", c.why]));
};

const columns = (one) => table("What it lets cross", ["Column", "Class", "Type", "Shape of its values"],
  [...one.key.map((c) => [`key: ${c.name}`, c]), ...one.columns.map((c) => [c.name, c])].map(([name, c]) => [name, c.class, c.type, c.shape]));

const limits = ({ records, bytes, epsilon }) => [
  records ? many(Number(records), "record") : null, bytes ? `${number(Number(bytes))} bytes` : null, epsilon ? `epsilon ${epsilon}` : null,
].filter(Boolean).join(", ") || "not limited";

const facts = (one) => el("dl", { class: "facts" },
  [["Version", one.version], ["For", one.purpose], ["Goes to", one.target], ["Proposed by", `${one.author} (does not count)`],
    ["Lives", [time(one.created), " to ", time(one.expires), ` (${away(one.expires)})`]], ["May cross in all", limits(one.limits)],
    ["Overrides", one.overrides.join(", ") || "none"], ["Fingerprint", el("code", {}, one.fingerprint)]]
    .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

const signatures = (one, threshold) => {
  const count = one.signed.filter((name) => name !== one.author).length;
  return [
    el("p", {}, el("strong", {}, `${count} of ${threshold} approvals`), " ",
      el("progress", { max: threshold, value: Math.min(count, threshold), "aria-label": "Approvals" })),
    el("ul", { class: "people" },
      one.signed.map((name) => el("li", {}, state("approved", name), " signed")),
      one.may_still.map((name) => el("li", {}, state("draft", name), " may still"))),
  ];
};

const waiting = (connector, r) => el("section", { class: "card waiting" },
  el("h2", {}, r.pipeline, " ", state(r.waiting.state)),
  el("p", {}, `Release ${r.waiting.version} waits. ${first(r.waiting.said)}.`),
  signatures(r.waiting, r.threshold),
  el("p", {}, "Whoever holds a key signs it on a command line; it makes the proof anew and shows it first:"),
  command(r.sign),
  r.diff ? changes(r.diff) : el("p", {}, el("strong", {}, "The first release of this pipeline"), ": nothing crossed before."),
  columns(r.waiting), facts(r.waiting));

const inForce = (all) => table("Releases in force", ["Pipeline", "State", "Version", "Ends", "Approved by", "Proposed by"],
  all.map(([connector, r]) => [el("a", { href: `#/border/${encodeURIComponent(connector)}` }, r.pipeline),
    r.in_force ? state(r.in_force.state) : state("draft", "none"), r.in_force?.version ?? "–",
    r.in_force ? [time(r.in_force.expires), ` (${away(r.in_force.expires)})`] : "–",
    r.in_force?.signed.join(", ") || "–", r.in_force?.author ?? "–"]));

export const show = async (main, { rest, signal }) => {
  const body = el("div", {});
  const read = async () => {
    const names = rest[0] ? [rest[0]] : await connectors(signal);
    const found = new Map();
    const faults = [];
    await each(names, 4, async (name) => {
      try {
        found.set(name, (await ask(of(name, "releases"), signal)).releases);
      } catch (fault) {
        if (fault.name === "AbortError" || fault.status === 401 || fault.status === 0) throw fault;
        faults.push(`${name}: ${first(fault.message)}`);
      }
    });
    const all = names.flatMap((name) => (found.get(name) ?? []).map((r) => [name, r]));
    const drafts = all.filter(([, r]) => r.waiting);
    swap(body, JSON.stringify([all, faults]), () => [
      rest[0] ? el("p", {}, el("a", { href: "#/releases" }, "all pipelines")) : null,
      el("p", { class: "summary" }, drafts.length ? state("draft", `${many(drafts.length, "release")} waiting`) : state("approved", "no release waits")),
      drafts.map(([name, r]) => waiting(name, r)),
      all.length ? el("section", { class: "card" }, inForce(all)) : null,
      faults.length ? el("ul", { class: "bad-text" }, faults.map((text) => el("li", {}, text))) : null,
    ].flat().filter(Boolean));
  };
  await read();
  main.replaceChildren(el("h1", {}, "Releases"), body);
  return read;
};
