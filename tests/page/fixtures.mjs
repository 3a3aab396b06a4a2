// Answers of `/v1` as the service gives them, larger and stranger than a test's place has them. A test holds their fields
// against those of real answers.
const topic = (n) => `crm.public.table_${n}`;
const message = `pipelines/customers.yaml:14:3: error: no class for leaf \`after.passport\` (first seen at crm.public.customers[3]@8812)
  partition 3 is held; nothing of it crosses until the leaf has a class; retention deletes it in 61 h
  propose: \`passport: identifier\` (an unknown leaf defaults to identifier)
  next: add the class and a stage for it, then \`douane release propose pipelines/customers.yaml\``;
const held = { topic: "crm.public.customers", partition: 3, shard: 1, offset: 8812, code: "unknown_leaf", leaf: "after.passport", others: [], message };

const pipeline = (n, count, tick) => ({
  connector: `table-${n}`, pipeline: `table-${n}`, state: n === 7 ? "resting" : n === 9 ? "paused" : "running",
  why: n === 7 ? "unreachable: the global cluster\n  begun again in 8 s, after 4 tries in a row" : null,
  records: 1000 * n + tick, transactions: 10 * n, restarts: n === 7 ? 4 : 0, quarantined: 0, read_s: 12, held: [],
  release: 3, release_expires: "2027-05-20T00:00:00Z", ledger_records: 1000 * n, ledger_quarantined: n % 5,
  partitions: Array.from({ length: count }, (_, p) => ({
    topic: topic(n), partition: p, state: (n + p) % 9 === 0 ? "behind" : "caught_up", next: 5000 + p + tick, lag: (n + p) % 9 === 0 ? 40 + tick % 7 : 0,
  })),
});
const customers = (count) => ({
  ...pipeline(0, 0, 0), connector: "customers", pipeline: "customers", held: [held],
  partitions: Array.from({ length: count }, (_, p) => ({ topic: "crm.public.customers", partition: p, state: p === 3 ? "held" : "caught_up", next: 8812, lag: p === 3 ? 40 : 0, ...(p === 3 ? { hours_left: 61 } : {}) })),
});
export const partitions = (pipelines, count, tick = 0) => ({ pipelines: [...Array.from({ length: pipelines - 1 }, (_, n) => pipeline(n + 1, count, tick)), customers(count)] });

const column = (part, name, direct, type, word, protection, keeps, rule, indirect = direct, more = {}) =>
  ({ part, column: name, type, direct, indirect, class: word, residency: null, subject: false, protection, keeps, rule, ...more });
const after = (name) => [`after.${name}`];
export const border = {
  borders: [{
    proof: {
      pipeline: "customers", purpose: "model-training", source: "eu-de (Mk3): crm.public.customers", target: "global (Qz9): training.customers", fingerprint: "ab".repeat(32),
      columns: [
        column("key", "id", ["key.id"], "text", "identifier", "token (domain `customer`)", ["uniqueness", "joinability"], "identifier: tokenize", ["key.id"], { subject: true, residency: "eu", joins: { domain: "customer", columns: ["id"] } }),
        column("row", "id", after("id"), "text", "identifier", "token (domain `customer`)", ["uniqueness", "joinability"], "identifier: tokenize"),
        column("row", "email", after("email"), "text", "identifier", "token (domain `customer_email`)", ["uniqueness", "joinability"], "identifier: tokenize"),
        column("row", "phone", after("phone"), "text", "identifier", "fpe over digits (domain `phone`), first 3 kept", ["uniqueness", "length"], "identifier: fpe"),
        column("row", "card_number", after("card_number"), "text", "identifier", "mask, last 4 kept", ["length"], "identifier: mask, at most 4 kept"),
        column("row", "notes", after("notes"), "text", "free_text", "redact: email, phone, card, iban", [], "override `notes`"),
        column("row", "birth_date", after("birth_date"), "int32", "quasi", "generalize to year", ["order"], "quasi: generalize"),
        column("row", "balance_cents", after("balance_cents"), "text", "sensitive", "bins 0, 100000, 1000000", ["order"], "sensitive: bins"),
        column("row", "city", after("city"), "text", "public", "none", ["uniqueness", "joinability", "length", "order", "nulls"], "public"),
        column("row", "diagnosis_group", after("diagnosis"), "text", "special", "map of 12 groups", [], "override `research`"),
        column("row", "domestic", after("country"), "bool", "public", "sql: country = 'DE'", [], "public", ["after.country", "after.balance_cents"]),
        column("row", "updated_at", after("updated_at"), "timestamp", "public", "generalize to hour", ["order"], "public"),
      ],
      changes: [], behind: [
        { leaf: "after.national_id", class: "identifier", why: "dropped" }, { leaf: "after.full_name", class: "identifier", why: "dropped" },
        { leaf: "after.street", class: "quasi", why: "dropped" }, { leaf: "after.password_hash", class: "secret", why: "never crosses" }, { leaf: "after.row_version", class: "technical", why: "not listed" },
      ],
      sql: { text: "SELECT … FROM batch WHERE consent", filter: ["after.consent"] },
      overrides: [{ name: "notes", columns: ["notes"], detectors: ["email", "phone", "card", "iban"], residual: ["names", "addresses", "health"], min_recall: 0.9, measured: "0.9592 measured: email 47 of 49 (0.9592)" }],
      policy: "default policy, version 6",
    },
    release: { live: true, fits: true, version: 3, fingerprint: "ab".repeat(32), author: "cleo", expires: "2027-05-20T00:00:00Z", approvers: ["ada", "bo"], why: null },
    held: [held],
  }],
};

const crosses = border.borders[0].proof.columns.map(({ column: name, type, class: word, protection }) => ({ name, type, class: word, shape: protection.split(" ")[0] }));
const one = (version, more) => ({
  version, fingerprint: `${version}f`.repeat(32), author: "cleo", created: "2026-11-22T09:00:00Z", expires: "2027-05-20T00:00:00Z", purpose: "model-training",
  target: "global: training.customers", limits: { records: null, bytes: null, epsilon: null }, signed: ["ada", "bo"], may_still: [], key: crosses.slice(0, 1), columns: crosses.slice(1),
  overrides: ["notes"], state: "approved", said: "approved by ada, bo; live until 2027-05-20T00:00:00Z", ...more,
});
export const releases = {
  releases: [{
    pipeline: "customers", threshold: 2, in_force: one(3, { approvers: ["ada", "bo"], until: "2027-05-20T00:00:00Z" }),
    waiting: one(4, { state: "in_review", found: 1, needed: 2, said: "in review: 1 of 2 approvals that count", signed: ["ada"], may_still: ["bo", "dora"], limits: { records: "1000000", bytes: null, epsilon: null } }),
    diff: {
      old: "release 3", new: "release 4",
      columns: [
        { part: "row", column: "passport", what: "added", after: "token (domain `passport`)", risk: "disclosure", why: "a new column: more of each row can be read outside" },
        { part: "row", column: "email", what: "domain", before: "token (domain `a`)", after: "token (domain `b`)", risk: "joins", why: "tokens and encrypted values of new records do not join with those that crossed" },
        { part: "row", column: "city", what: "removed", before: "none", risk: "readers", why: "readers of the column find nothing more in it; what has crossed keeps it" },
      ],
      others: [{ what: "records", before: "not limited", after: "1000000", risk: "approval", why: "people must have read what it is for, and by which rules" }],
      schema_compatible: true, release_holds: false, release: border.borders[0].release,
    },
    sign: "douane release sign pipelines/customers.yaml --key KEYFILE",
  }],
};
const plain = (name) => ({ releases: [{ pipeline: name, threshold: 2, in_force: one(3, {}), waiting: null, diff: null, sign: null }] });

const charge = (rho) => ({ rho, epsilon: rho * 9, delta: 1e-9 });
const policy = (name, spent, cap, level = "unit_period") => ({ pipeline: name, level, spent: charge(spent), now: charge(spent), cap, left: cap - spent, cap_life: 8, left_life: 8 - spent, renews: level === "unit_period" ? "2027-01-01T00:00:00Z" : null });
export const budget = {
  accounts: [
    { space: "customers", spent: charge(0.42), releases: 42, committed: 40, open: 1, void: 1, policies: [policy("daily-counts", 0.3, 0.5), policy("weekly-means", 0.12, 0.5, "w_event")], runs_out: "2026-12-14T00:00:00Z" },
    { space: "devices", spent: charge(0.01), releases: 1, committed: 1, open: 0, void: 0, policies: [policy("device-use", 0.01, 1, "unit_lifetime")], runs_out: null },
  ],
};
export const ledger = (pipeline) => ({
  heads: ["control", "shard-0", "shard-1"].map((log, n) => ({
    pipeline, log, size: n ? 2500 * n : 12, root: "5c".repeat(32), key: `douane/${pipeline}/${log}+0a1b2c3d+${"A".repeat(44)}`,
    checkpoint: `douane/${pipeline}/${log}\n${n ? 2500 * n : 12}\n${"R".repeat(43)}=\n\n— douane/${pipeline}/${log} ${"S".repeat(90)}\n`,
  })),
});
export const quarantine = {
  total: 1203, waits: 1200, leftovers: 3, closed: 0, more: false, left_out: 1143, codes: { malformed_value: 1190, domain_too_small: 13 },
  records: Array.from({ length: 60 }, (_, n) => ({
    topic: "crm.public.table_1", partition: n % 4, offset: 700 + n, code: n % 9 ? "malformed_value" : "domain_too_small", since: "2026-11-22T08:10:00Z", whole: true,
    ...(n % 7 ? { state: "waiting" } : { state: "tried", outcome: "still_refused" }),
  })),
};

/** What the service answers to a path; nothing where it is none of these. */
export const answer = ({ pathname }, { pipelines = 50, count = 64, tick = 0 } = {}) => {
  if (pathname === "/v1/partitions") return partitions(pipelines, count, tick);
  if (pathname === "/v1/budget") return budget;
  const [, connector, what] = /^\/v1\/pipelines\/([^/]+)\/(\w+)$/.exec(pathname) ?? [];
  return { border, releases: connector === "customers" ? releases : plain(connector), ledger: ledger(connector), quarantine }[what];
};
