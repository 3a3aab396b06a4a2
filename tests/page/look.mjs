// look.mjs MODULES CHROMIUM BASE PICTURES: drives the page in a Chromium. Takes a JSON object a line on standard input, answers
// each with one on standard output: { ok: true, … } or { error }. The token is in DOUANE_TOKEN.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as fixtures from "./fixtures.mjs";

const [modules, executablePath, base, pictures] = process.argv.slice(2);
const { chromium } = createRequire(join(modules, "package.json"))("playwright-core");
const axe = readFileSync(join(modules, "node_modules/axe-core/axe.min.js"), "utf8");
mkdirSync(pictures, { recursive: true });

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
const faults = [];
const open = async ({ scheme = "light", width = 1280, height = 900, token = process.env.DOUANE_TOKEN, invented = null } = {}) => {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height }, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.on("pageerror", (error) => faults.push(`${page.url()}: ${error.message}`));
  // What the browser says of an answer that is no success is no fault of the page.
  page.on("console", (m) => { if (m.type() === "error" && !m.text().startsWith("Failed to load resource")) faults.push(`${page.url()}: ${m.text()}`); });
  page.on("request", (request) => { if (!request.url().startsWith(base)) faults.push(`it asks ${new URL(request.url()).origin}`); });
  if (token) await page.addInitScript((text) => sessionStorage.setItem("douane.token", text), token);
  if (invented) {
    let tick = 0;
    await page.route(`${base}/v1/**`, (route) => {
      const body = fixtures.answer(new URL(route.request().url()), { ...invented, tick: tick++ });
      return body ? route.fulfill({ json: body }) : route.fulfill({ status: 404, json: { message: "no such thing" } });
    });
  }
  return page;
};
const ready = async (page, hash) => {
  await page.goto(`${base}/page${hash}`);
  await page.waitForSelector(`main[data-ready="${hash.split("/")[1] || "pipelines"}"]`, { timeout: 20_000 });
};
// Machines stand still for seconds now and then. How long this process came late at the most since it was last asked: what was
// measured meanwhile is not the page's own.
const TICK_MS = 20;
const STILL_MS = 100;
let [ticked, late] = [performance.now(), 0];
const tick = () => {
  const now = performance.now();
  late = Math.max(late, now - ticked - TICK_MS);
  ticked = now;
};
setInterval(tick, TICK_MS).unref();
const stoodStill = () => {
  tick();
  const most = late;
  late = 0;
  return most > STILL_MS;
};
const picture = (page, name, fullPage = true) => page.screenshot({ path: join(pictures, `${name}.png`), fullPage });
const violations = async (page) => {
  await page.evaluate(axe);
  const { violations: found } = await page.evaluate(() => globalThis.axe.run());
  return found.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 2).map((n) => n.html.slice(0, 160)).join(" | ")}`);
};

const VIEWS = ["pipelines", "border", "releases", "budget", "ledger", "held"];
const SIZES = [["wide", 1280], ["phone", 390]];

/** Every view with invented answers: light and dark, wide and phone; axe on all of them. */
const views = async () => {
  const found = [];
  for (const scheme of ["light", "dark"]) {
    for (const [size, width] of SIZES) {
      const page = await open({ scheme, width, invented: { pipelines: 12, count: 64 } });
      for (const view of VIEWS) {
        await ready(page, `#/${view}`);
        if (view === "pipelines") await page.locator("details.pipeline summary").first().click();
        for (const details of await page.locator("main details:not(.pipeline)").all()) await details.evaluate((d) => { d.open = true; });
        found.push(...(await violations(page)).map((text) => `${view} ${scheme} ${size}: ${text}`));
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wide > 0) found.push(`${view} ${scheme} ${size}: wider than the screen by ${wide}`);
        await picture(page, `${view}-${scheme}-${size}`);
      }
      await page.context().close();
    }
  }
  const page = await open({ token: null });
  await page.goto(`${base}/page`);
  await page.waitForSelector("#token");
  found.push(...(await violations(page)).map((text) => `sign-in: ${text}`));
  await picture(page, "sign-in");
  await page.context().close();
  return { violations: found, looked: VIEWS.length * 4 + 1 };
};

/** All is reached with the keyboard alone, in an order, with a focus that is seen. */
const keyboard = async () => {
  const page = await open({ invented: { pipelines: 3, count: 4 } });
  await ready(page, "#/pipelines");
  const seen = [];
  for (let n = 0; n < 14; n += 1) {
    await page.keyboard.press("Tab");
    seen.push(await page.evaluate(() => {
      const at = document.activeElement;
      return { what: (at.textContent || at.id).trim().slice(0, 30), tag: at.tagName, outline: getComputedStyle(at).outlineStyle };
    }));
  }
  await page.locator("summary").first().focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("details.pipeline[open] tbody tr");
  const role = await page.locator("details.pipeline[open] tbody tr").first().ariaSnapshot();
  await page.context().close();
  return { seen, role };
};

/** First paint and what came for it, from the service itself: five looks while the machine ran, of twenty at most. */
const paint = async () => {
  const [ran, stood] = [[], []];
  let bytes = 0;
  for (let n = 0; n < 20 && ran.length < 5; n += 1) {
    const page = await open();
    stoodStill();
    let sum = 0;
    const sizes = [];
    page.on("response", (response) => sizes.push(response.body().then((b) => { sum += b.length; }).catch(() => {})));
    await ready(page, "#/pipelines");
    const at = await page.evaluate(() => new Promise((resolve) => {
      const known = performance.getEntriesByName("first-contentful-paint")[0];
      if (known) resolve(known.startTime);
      else new PerformanceObserver((list) => resolve(list.getEntries().at(-1).startTime)).observe({ type: "paint", buffered: true });
    }));
    (stoodStill() ? stood : ran).push(at);
    await Promise.all(sizes);
    bytes = Math.max(bytes, sum);
    await page.context().close();
  }
  const times = [...ran, ...stood].slice(0, 5).sort((a, b) => a - b);
  return { best_ms: times[0], median_ms: times[2], bytes };
};

/** 50 pipelines with 64 partitions each: what a look costs, and a walk down the whole list. */
const fluid = async () => {
  let looked;
  for (let n = 0; n < 4; n += 1) {
    stoodStill();
    looked = await walkedDown();
    if (!stoodStill()) break;
  }
  return looked;
};
const walkedDown = async () => {
  const page = await open({ invented: { pipelines: 50, count: 64 } });
  await ready(page, "#/pipelines");
  const cells = await page.locator("rect.cell").count();
  const result = await page.evaluate(async () => {
    const long = [];
    new PerformanceObserver((list) => list.getEntries().forEach((e) => long.push(e.duration))).observe({ type: "longtask" });
    const gaps = [];
    let last = performance.now();
    const high = document.documentElement.scrollHeight;
    for (let y = 0; y < high; y += 60) {
      scrollTo(0, y);
      await new Promise((resolve) => requestAnimationFrame(resolve));
      const now = performance.now();
      gaps.push(now - last);
      last = now;
    }
    // Two more readings of everything come meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 6500));
    gaps.sort((a, b) => a - b);
    return { frames: gaps.length, p95: gaps[Math.floor(gaps.length * 0.95)], longest: Math.max(0, ...long) };
  });
  const held = await page.locator("ul.pipelines > li").first().textContent();
  await page.context().close();
  return { cells, held, ...result };
};

/** Bytes of a folder as `/v1/pipelines/{c}/ledger/{l}/bytes` frames them. */
const walk = (dir, name = "") => readdirSync(join(dir, name), { withFileTypes: true }).flatMap((entry) => {
  const path = name ? `${name}/${entry.name}` : entry.name;
  return entry.isDirectory() ? walk(dir, path) : [path];
});
const lying = (dir) => ["journals", "tlog"].flatMap((part) => { try { return walk(dir, part); } catch { return []; } }).sort((a, b) => (a < b ? -1 : 1));
const framed = (dir, query) => {
  const [from, offset, one] = [query.get("file"), Number(query.get("offset")), query.get("one") === "true"];
  const parts = [];
  let left = 4 << 20;
  for (const name of lying(dir).filter((n) => (one ? n === from : n >= from))) {
    if (!left) break;
    const start = name === from ? offset : 0;
    const bytes = readFileSync(join(dir, name)).subarray(start, start + left);
    left -= bytes.length;
    const path = Buffer.from(name);
    const head = Buffer.alloc(16 + path.length);
    head.writeUInt32BE(path.length, 0);
    path.copy(head, 4);
    head.writeBigUInt64BE(BigInt(start), 4 + path.length);
    head.writeUInt32BE(bytes.length, 12 + path.length);
    parts.push(head, bytes);
  }
  return Buffer.concat(parts);
};
const press = async (page, log) => {
  const card = page.locator("section.card", { has: page.getByRole("heading", { name: log, exact: true }) });
  await card.getByRole("button", { name: /Verify in this browser/ }).click();
  const outcome = card.locator(".outcome, [role=status] .bad-text").first();
  await outcome.waitFor({ timeout: 60_000 });
  return {
    holds: await outcome.getAttribute("data-holds"), ms: Number(await outcome.getAttribute("data-ms")), said: await outcome.innerText(),
    findings: await card.locator(".outcome > ul > li").allInnerTexts(),
  };
};

let desk = null;
/** A log's folder, checked by the page as if the service had it. */
const folder = async ({ dir, key, old }) => {
  if (!desk) {
    desk = { page: await open(), dir: null, key: null };
    const reply = (route) => {
      const url = new URL(route.request().url());
      if (url.pathname.endsWith("/files")) {
        const files = lying(desk.dir).map((file) => { const s = statSync(join(desk.dir, file)); return { file, bytes: s.size, changed: String(s.mtimeMs) }; });
        return route.fulfill({ json: { files } });
      }
      if (url.pathname.endsWith("/bytes")) return route.fulfill({ contentType: "application/octet-stream", body: framed(desk.dir, url.searchParams) });
      if (url.pathname.endsWith("/ledger")) return route.fulfill({ json: { heads: [{ pipeline: "p", log: "shard-0", size: 1, root: "00", key: desk.key, checkpoint: null }] } });
      return route.fulfill({ json: fixtures.partitions(1, 1) });
    };
    await desk.page.route(`${base}/v1/**`, reply);
  }
  Object.assign(desk, { dir, key });
  // One page is enough for all of them.
  if (!desk.page.url().endsWith("#/ledger/p")) await ready(desk.page, "#/ledger/p");
  await desk.page.locator("main details").evaluate((d) => { d.open = true; });
  await desk.page.locator("textarea").fill(old ?? "");
  await desk.page.locator("div[role=status]").last().evaluate((said) => said.replaceChildren());
  const began = performance.now();
  return { ...await press(desk.page, "p / shard-0"), whole_ms: performance.now() - began };
};

let walker = null;
/** Waits until all texts stand on a view, and none of those that must not; takes its picture. */
const see = async ({ hash, has = [], lacks = [], name, css }) => {
  walker ??= await open();
  if (!walker.url().endsWith(hash)) await ready(walker, hash);
  await walker.waitForFunction(([has, lacks]) => {
    const text = document.querySelector("main").innerText.replaceAll("\u00a0", " ");
    return has.every((h) => text.includes(h)) && !lacks.some((l) => text.includes(l));
  // What is read from the clusters may be a minute old.
  }, [has, lacks], { timeout: 90_000 }).catch(async () => { throw new Error(`not seen: ${has} without ${lacks} in: ${await walker.locator("main").innerText()}`); });
  const found = css ? await walker.locator(css).first().evaluate((node) => { const s = getComputedStyle(node); return { text: node.textContent, color: s.color, fill: s.fill, stroke: s.stroke, border: s.borderLeftColor }; }) : null;
  if (name) await picture(walker, name);
  return { found, violations: await violations(walker), body: await walker.locator("body").innerText() };
};
const verify = async ({ hash, log, name, key }) => {
  await see({ hash, has: [log] });
  if (key) {
    await walker.locator("main details").evaluateAll((all) => all.forEach((d) => { d.open = true; }));
    await walker.locator("input[id^=key-]").fill(key);
  }
  const began = performance.now();
  const said = { ...await press(walker, log), whole_ms: Math.round(performance.now() - began) };
  if (name) await picture(walker, name);
  return said;
};
/** A call as a client of the service makes it. */
const call = async ({ method, path, body }) => {
  const answer = await fetch(base + path, { method, body: body && JSON.stringify(body), headers: { Authorization: `Bearer ${process.env.DOUANE_TOKEN}`, "Content-Type": "application/json" } });
  return { status: answer.status, text: await answer.text() };
};
/** Fields of answers, by path: those of the service, and those that are invented here. */
const shapes = async ({ paths }) => {
  const fields = (value, at = "", out = new Set()) => {
    if (Array.isArray(value)) value.forEach((one) => fields(one, `${at}[]`, out));
    else if (value && typeof value === "object") for (const [key, one] of Object.entries(value)) fields(one, /codes$/.test(at) ? `${at}.*` : `${at}.${key}`, out);
    else out.add(at);
    return out;
  };
  const missing = [];
  for (const path of paths) {
    const { text } = await call({ method: "GET", path });
    const real = fields(JSON.parse(text));
    const invented = fields(fixtures.answer(new URL(base + path)));
    const whole = JSON.parse(text);
    const parents = new Set([...real].map((f) => f.slice(0, f.lastIndexOf("."))));
    // What is invented of a part that a real answer has too must be there.
    // Hours are known once a reading has seen the hold.
    invented.forEach((f) => { if (f.endsWith(".hours_left")) invented.delete(f); });
    missing.push(...[...invented].filter((f) => parents.has(f.slice(0, f.lastIndexOf("."))) && !real.has(f)).map((f) => `${path}: ${f} in ${JSON.stringify(whole).slice(0, 200)}`));
  }
  return { missing };
};

const DO = { views, keyboard, paint, fluid, folder, see, verify, call, shapes };
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = { ok: true, ...await DO[asked.do](asked), faults: faults.splice(0) };
  } catch (error) {
    answer = { error: String(error.stack ?? error), faults: faults.splice(0) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
