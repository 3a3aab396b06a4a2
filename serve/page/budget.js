// Privacy accounts: what was spent, what is left, and the day it runs out.
import { ask } from "./ask.js";
import { away, el, many, number, state, swap, table, time } from "./dom.js";

const LEVELS = { unit_period: "a person, each period", unit_lifetime: "a person, for life", w_event: "a window of events" };
const small = (value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(3));

/** Spent and left of one cap: the bar's length is what was spent, and the words say it too. */
const bar = (name, spent, cap) => {
  const share = cap > 0 ? spent / cap : 1;
  const word = share >= 1 ? "bad" : share >= 0.8 ? "warn" : "good";
  return el("div", { class: "bar" },
    el("meter", { class: word, min: 0, max: 1, value: Math.min(share, 1), low: 0.8, high: 0.95, optimum: 0, "aria-label": `${name}: ${small(spent)} of ${small(cap)} rho spent` }),
    el("span", {}, `${name}: ${small(spent)} of ${small(cap)} rho spent, ${small(Math.max(cap - spent, 0))} left`));
};

const account = (one) => el("section", { class: "card" },
  el("h2", {}, one.space),
  el("p", { class: "summary" }, one.runs_out
    ? [state(new Date(one.runs_out) < Date.now() + 30 * 86_400_000 ? "held" : "behind", `runs out ${away(one.runs_out)}`), " on ", time(one.runs_out), ", if every pipeline goes on as it does"]
    : state("approved", "does not run out within ten years")),
  el("p", {}, `${many(one.releases, "window")} charged: ${number(one.committed)} outside, ${number(one.open)} open, ${number(one.void)} never outside. Spent in all: rho ${small(one.spent.rho)}`,
    one.spent.epsilon === null ? ", no epsilon at this delta" : `, epsilon ${small(one.spent.epsilon)} at delta ${one.spent.delta}`, "."),
  one.policies.map((policy) => [bar(policy.pipeline, policy.now.rho, policy.cap),
    policy.cap_life === null ? null : bar(`${policy.pipeline}, for life`, policy.cap_life - policy.left_life, policy.cap_life)]),
  table(`Policies of ${one.space}`, ["Pipeline", "Protects", "Spent (rho)", "Counts now", "Cap", "Left", "Counts anew"],
    one.policies.map((p) => [p.pipeline, LEVELS[p.level] ?? p.level, small(p.spent.rho), small(p.now.rho), small(p.cap), small(p.left), p.renews ? time(p.renews) : "never"])));

export const show = async (main, { signal }) => {
  const body = el("div", {});
  const read = async () => {
    const { accounts } = await ask("/v1/budget", signal);
    const soonest = (a) => (a.runs_out ? new Date(a.runs_out).getTime() : Infinity);
    swap(body, JSON.stringify(accounts), () => (accounts.length
      ? accounts.sort((a, b) => soonest(a) - soonest(b)).map(account)
      : [el("p", { class: "quiet" }, "No account: no pipeline of statistics has charged one. Rows cost no budget.")]));
  };
  await read();
  main.replaceChildren(el("h1", {}, "Budget"), body);
  return read;
};
