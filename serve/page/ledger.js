// Heads of the ledger, and the verifier that runs here: the same code as `douane verify`, as WebAssembly in a worker. It is
// fetched when somebody presses the button.
import { ask, fetched, of } from "./ask.js";
import { chooser, connectors } from "./border.js";
import { el, many, number, state, swap } from "./dom.js";

const TRIES = 5;
const CHECKPOINT = "tlog/checkpoint";
const TILES = "tlog/tile/";
const JOURNALS = "journals/";

/** Frames of an answer: name, offset, bytes. docs/page.md has the form. */
export const frames = (buffer) => {
  const view = new DataView(buffer);
  const found = [];
  for (let at = 0; at < buffer.byteLength;) {
    const long = view.getUint32(at);
    const name = new TextDecoder().decode(new Uint8Array(buffer, at + 4, long));
    at += 4 + long;
    const offset = Number(view.getBigUint64(at));
    const bytes = view.getUint32(at + 8);
    found.push({ name, offset, at: at + 12, bytes });
    at += 12 + bytes;
  }
  return found;
};

/** The verifier in its worker: one message, one answer, in order. */
class Verifier {
  constructor() {
    this.worker = new Worker("/page/verifier.js", { type: "module" });
    this.waiting = [];
    this.worker.onmessage = ({ data }) => this.waiting.shift()?.resolve(data);
    this.worker.onerror = (event) => this.waiting.splice(0).forEach(({ reject }) => reject(new Error(event.message ?? "the verifier did not start")));
  }

  ask(message, moved = []) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.worker.postMessage(message, moved);
    });
  }

  end() {
    this.worker.terminate();
  }
}

/** Brings a log's files into the verifier. A log that is in use moves on meanwhile: so the checkpoint comes first, then the tiles
 *  that it needs, then the journals that bear both out. What is newer than the checkpoint is held against them too. */
const bring = async (verifier, base, query, said, signal) => {
  const path = (rest) => `${base}/${rest}${rest.includes("?") ? "&" : "?"}${query}`;
  const have = new Map();
  let bytes = 0;
  const drop = async (name) => have.delete(name) && verifier.ask({ drop: name });
  const lying = async (below) => {
    const { files } = await ask(path("files"), signal);
    return new Map(files.filter((f) => f.file.startsWith(below)).map((f) => [f.file, f.bytes]));
  };
  /** Frames from a place on, of which those below a folder, and of these names, are kept. */
  const take = async (file, offset, { one = false, below = "", of } = {}) => {
    const rest = `bytes?file=${encodeURIComponent(file)}&offset=${offset}${one ? "&one=true" : ""}`;
    const buffer = await (await fetched(path(rest), signal)).arrayBuffer();
    const found = frames(buffer);
    bytes += buffer.byteLength;
    said(`${number(Math.round(bytes / 1024))} KiB read…`);
    const kept = found.filter(({ name }) => name.startsWith(below) && (!of || of.has(name)));
    for (const { name, offset: at, bytes: long } of kept) have.set(name, at + long);
    if (kept.length) await verifier.ask({ put: buffer, frames: kept }, [buffer]);
    return found;
  };
  const folder = async (below, of) => {
    let [file, offset] = [below, 0];
    for (;;) {
      const last = (await take(file, offset, { below, of })).at(-1);
      if (!last || !last.name.startsWith(below) || (last.name === file && last.bytes === 0)) return;
      [file, offset] = [last.name, last.offset + last.bytes];
    }
  };
  /** Whether the tiles are those that lie there: wider ones take the place of others. */
  const tiles = async () => {
    const lie = await lying(TILES);
    for (const name of [...have.keys()].filter((n) => n.startsWith(TILES) && !lie.has(n))) await drop(name);
    const lacking = [...lie].filter(([name, long]) => have.get(name) !== long);
    for (const [name] of lacking) {
      await drop(name);
      await take(name, 0, { one: true });
    }
    return !lacking.length;
  };
  for (let turn = 0; turn < TRIES; turn += 1) {
    await take(CHECKPOINT, 0, { one: true });
    await folder(TILES);
    for (let look = 0; look < TRIES && !await tiles(); look += 1) { /* they have moved on */ }
    const early = !have.has(CHECKPOINT) && [...have.keys()].some((name) => name.startsWith(TILES));
    if (!early) break;
    // Before the first checkpoint there are tiles.
    await new Promise((after) => { setTimeout(after, 200); });
  }
  // A successor that comes while they are read goes on from more than was read of the one before it.
  await folder(JOURNALS, await lying(JOURNALS));
  return bytes;
};

const outcome = (report, ms, bytes) => el("div", { class: "outcome", "data-holds": String(report.holds), "data-ms": String(Math.round(ms)) },
  el("p", {}, report.holds ? state("approved", "it holds") : state("held", `it does NOT hold: ${many(report.findings.length, "finding")}`),
    report.entries === undefined ? "" : ` · ${many(report.entries, "entry", "entries")}, ${many(report.committed, "committed transaction")}, ${number(report.void)} void; checkpoint at ${number(report.checkpoint)}`,
    ` · ${number(Math.round(ms))} ms for ${number(Math.round(bytes / 1024))} KiB · `,
    report.signature_checked ? "the checkpoint's signature was checked" : el("strong", { class: "bad-text" }, "no signature was checked")),
  report.findings.length ? el("ul", { class: "bad-text" }, report.findings.slice(0, 50).map((text) => el("li", {}, text))) : null,
  report.root ? el("p", { class: "quiet" }, "root ", el("code", {}, report.root)) : null);

const head = (connector, one, signal) => {
  const id = `${one.pipeline}-${one.log}`.replace(/[^a-z0-9-]/gi, "-");
  const said = el("div", { role: "status", "aria-live": "polite" });
  const kept = el("textarea", { id: `kept-${id}`, rows: 5, spellcheck: "false" });
  const key = el("input", { id: `key-${id}`, type: "text", value: one.key ?? "", spellcheck: "false", size: 60 });
  const verify = async () => {
    button.disabled = true;
    const verifier = new Verifier();
    const tell = (text) => { said.textContent = text; };
    try {
      tell("Reading the log…");
      const base = of(connector, `ledger/${encodeURIComponent(one.log)}`);
      const bytes = await bring(verifier, base, `pipeline=${encodeURIComponent(one.pipeline)}`, tell, signal);
      tell("Checking…");
      const checkpoints = kept.value.trim() ? [`${kept.value.replaceAll("\r", "").trimEnd()}\n`] : [];
      const { report, ms } = await verifier.ask({ check: { log: one.log, key: key.value.trim() || null, checkpoints } });
      said.replaceChildren(outcome(report, ms, bytes));
    } catch (fault) {
      if (fault.name !== "AbortError") said.replaceChildren(el("p", { class: "bad-text" }, `It could not be checked: ${fault.message}`));
    } finally {
      verifier.end();
      button.disabled = false;
    }
  };
  const button = el("button", { type: "button", onclick: verify, "aria-label": `Verify in this browser: ${one.pipeline}/${one.log}` }, "Verify in this browser");
  return el("section", { class: "card" },
    el("h2", {}, `${one.pipeline} / ${one.log}`),
    one.size === null ? el("p", {}, state("behind", "nothing published yet"))
      : el("p", {}, `${many(one.size, "entry", "entries")} under the signed head; root `, el("code", {}, one.root)),
    el("p", {}, button), said,
    el("details", {}, el("summary", {}, "The checkpoint, and what to hold it against"),
      one.checkpoint ? el("pre", { tabindex: "0", role: "region", "aria-label": `Checkpoint of ${one.log}` }, one.checkpoint) : null,
      el("p", {}, "Keep it where the operators of this service cannot write. A checkpoint kept from earlier shows a log that was cut back or forked."),
      el("label", { for: `kept-${id}` }, "A checkpoint kept from earlier"), kept,
      el("label", { for: `key-${id}` }, "The key that must have signed: best one that you were given elsewhere"), key));
};

export const show = async (main, { rest, signal }) => {
  const names = await connectors(signal);
  const chosen = rest[0] ?? names[0];
  if (!chosen) {
    main.replaceChildren(el("h1", {}, "Ledger"), el("p", { class: "quiet" }, "No pipeline yet."));
    return null;
  }
  const { heads } = await ask(of(chosen, "ledger"), signal);
  const body = el("div", {});
  swap(body, "once", () => (heads.length ? heads.map((one) => head(chosen, one, signal)) : [el("p", { class: "quiet" }, "No log of it lies here: it has not run, or another worker runs it.")]));
  main.replaceChildren(el("h1", {}, "Ledger"),
    el("p", {}, "Each log is a Merkle tree of what was decided before anything crossed. The button fetches its files and checks all of them here, with the verifier of ",
      el("code", {}, "douane verify"), "; what this service says of itself is not asked."),
    chooser("ledger", names.includes(chosen) ? names : [chosen, ...names], chosen), body);
  return null;
};
