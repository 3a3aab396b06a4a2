// What waits for people: held partitions, and records that were set aside, each with its next step.
import { ask, each, of } from "./ask.js";
import { command, el, many, number, state, swap, table, time } from "./dom.js";
import { aside, heldCard } from "./partitions.js";

const SHOWN = 50;
const WORDS = { waiting: "can be tried again", leftover: "copy of a turn that did not come to pass", epoch_ended: "its key was destroyed: write the row again at its source", key_unknown: "sealed under a key that is not here", unreadable: "nothing that this place sealed for this topic" };

// A pipeline of a file with several tables is called NAME.TABLE.
const tableOf = ({ pipeline, connector }) => (pipeline.startsWith(`${connector}.`) ? pipeline.slice(connector.length + 1) : "");

const list = (name, { total, codes, records, connector, tableName }) => el("section", { class: "card" },
  el("h2", {}, name, " ", state(total ? "behind" : "caught_up", many(total, "record"))),
  el("ul", {}, Object.entries(codes).sort(([, a], [, b]) => b - a).map(([code, n]) => el("li", {}, el("code", {}, code), `: ${number(n)}`))),
  el("p", {}, "Mend what refused them, then:"),
  command(`douane quarantine redrive pipelines/${connector}.yaml${tableName && ` --table ${tableName}`}`),
  table(`Records of ${name} that were set aside${total > SHOWN ? `, the first ${SHOWN} of ${number(total)}` : ""}`, ["Record", "Code", "Since", "State"],
    records.slice(0, SHOWN).map((r) => [`${r.topic}[${r.partition}]@${r.offset}`, el("code", {}, r.code), time(r.since),
      r.state === "tried" ? `tried: ${String(r.outcome).replaceAll("_", " ")}` : WORDS[r.state] ?? r.state])));

export const show = async (main, { signal }) => {
  const held = el("div", {});
  const set = el("div", {});
  // A list reads the whole topic of what was set aside: once, and when somebody asks for it.
  const lists = new Map();
  const again = el("button", { type: "button", onclick: () => (lists.clear(), read()) }, "Look again");
  const read = async () => {
    const { pipelines } = await ask("/v1/partitions", signal);
    const waiting = pipelines.flatMap((p) => p.held.map((h) => [p, h]));
    const unread = (p) => ["paused", "stopped", "ended"].includes(p.state) && p.read_s === null;
    const unknown = !pipelines.length || pipelines.some((p) => p.state === "elsewhere" || p.state === "failed" || unread(p));
    swap(held, JSON.stringify([unknown, waiting.map(([p, h]) => [p.pipeline, h])]), () => (waiting.length
      ? [el("ul", { class: "plain", "aria-label": "Held partitions" }, waiting.map(([p, h]) => heldCard(p, h)))]
      : [el("p", {}, unknown ? "nothing is known to be held: of what another worker runs, failed, or was not read yet, this one does not know"
        : state("caught_up", "nothing is held"))]));
    // Only where some are, by the ledger: a list costs clients on both clusters.
    const some = new Map(pipelines.filter(aside).map((p) => [p.pipeline, p]));
    const names = [...some.keys()];
    const uncounted = pipelines.some((p) => p.state === "elsewhere" || p.read_s === null);
    await each(names.filter((name) => !lists.has(name)), 2, async (name) => {
      try {
        const [{ connector }, tableName] = [some.get(name), tableOf(some.get(name))];
        const query = tableName && `?table=${encodeURIComponent(tableName)}`;
        lists.set(name, { ...(await ask(`${of(connector, "quarantine")}${query}`, signal)), connector, tableName });
      } catch (fault) {
        if (fault.name === "AbortError" || fault.status === 401 || fault.status === 0) throw fault;
        lists.set(name, { fault: fault.message.split("\n")[0] });
      }
    });
    const known = names.filter((name) => lists.has(name));
    swap(set, JSON.stringify([uncounted, known.map((name) => lists.get(name))]), () => (known.length
      ? known.map((name) => (lists.get(name).fault ? el("section", { class: "card" }, el("h2", {}, name), el("p", { class: "bad-text" }, lists.get(name).fault)) : list(name, lists.get(name))))
      : [el("p", {}, uncounted ? "nothing is known to be set aside: of what another worker runs, or was not read yet, this one does not know"
        : state("caught_up", "nothing is set aside"))]));
  };
  await read();
  main.replaceChildren(el("h1", {}, "Held"), held, el("h2", { class: "part" }, "Set aside"), el("p", {}, again), set);
  return read;
};
