//! What must have been seen for the demo to end with 0: each line of its account, against what was
//! known before the first event was read, and from three sides: the source's own count, the
//! ledger, and a reader outside.

use douane_pipelines::status::{PartitionState, PartitionStatus};

use super::account::Account;
use super::customers::{CHANGED, Expected, PARTITIONS, SHOWN};
use super::orders::{COUNTRIES, Orders, WEEKS};
use super::statistics::ByGroup;

/// Step 4.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Rows that were found on both sides.
    pub shown: usize,
    /// Raw cells of a row that stand in the record made of it, although they may not.
    pub raw: usize,
}

/// Step 7: what was counted outside, and what an auditor's check said.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// Committed records of the target topic.
    pub records: u64,
    /// Of them, those that hold one of the raw texts.
    pub raw: u64,
    /// Manifests, and the sum of the records that they state.
    pub manifests: u64,
    pub stated: u64,
    /// Sealed records in the quarantine topic, by distinct key.
    pub quarantined: u64,
    /// Logs that were checked, findings in them, and manifests that were tied to their leaf.
    pub logs: usize,
    pub findings: usize,
    pub tied: u64,
    pub signatures_checked: bool,
}

/// Step 8: what was read outside, and what the account says.
#[derive(Clone, Debug, Default)]
pub struct Released {
    pub sums: ByGroup,
    pub records: u64,
    /// Of them, those that hold a raw text or a leaf's name that stays behind.
    pub raw: u64,
    /// Windows that were charged and are outside.
    pub charged: usize,
    pub spent: f64,
    /// Findings of `verify` in all logs, the account's too.
    pub findings: usize,
}

/// What is missing, in words; nothing where all of it was seen.
pub type Missing = Vec<String>;

fn equal<T: PartialEq + std::fmt::Debug>(missing: &mut Missing, what: &str, found: T, due: T) {
    if found != due {
        missing.push(format!("{what}: expected {due:?}, found {found:?}"));
    }
}

/// Step 4: rows on both sides, and nothing raw in the records.
pub fn rows(rows: &Rows) -> Missing {
    let mut missing = Missing::new();
    equal(&mut missing, "rows shown before and after", rows.shown, SHOWN);
    equal(&mut missing, "raw cells in the records shown", rows.raw, 0);
    missing
}

/// Step 5: one partition is held where the column appears; the others are at their end.
pub fn held(partitions: &[PartitionStatus], expected: &Expected) -> Missing {
    let mut missing = Missing::new();
    equal(&mut missing, "partitions", partitions.len(), PARTITIONS as usize);
    for partition in partitions {
        let what = format!("partition {}", partition.partition);
        let (state, next) = match partition.partition {
            CHANGED => (PartitionState::Held, expected.held_at),
            other => (PartitionState::CaughtUp, expected.by_partition.get(other as usize).copied()),
        };
        equal(&mut missing, &what, partition.state, state);
        equal(&mut missing, &format!("{what}, next offset"), Some(partition.next), next);
        let names_it =
            partition.held.as_ref().is_some_and(|held| held.message.contains("`after.passport`"));
        equal(
            &mut missing,
            &format!("{what}, `passport` named"),
            names_it,
            state == PartitionState::Held,
        );
    }
    missing
}

/// Step 6: nothing is held any more, and everything is read.
pub fn resumed(partitions: &[PartitionStatus], expected: &Expected) -> Missing {
    let mut missing = Missing::new();
    equal(&mut missing, "partitions", partitions.len(), PARTITIONS as usize);
    for partition in partitions {
        let what = format!("partition {}", partition.partition);
        equal(&mut missing, &what, partition.state, PartitionState::CaughtUp);
        let end = expected.by_partition.get(partition.partition as usize).copied();
        equal(&mut missing, &format!("{what}, next offset"), Some(partition.next), end);
    }
    missing
}

/// Step 7: the sums.
pub fn accounted(account: &Account, outside: &Outside, expected: &Expected) -> Missing {
    let mut missing = Missing::new();
    let m = &mut missing;
    equal(m, "events that the ledger says were read", account.read, expected.events);
    let sum = account.crossed + account.merged + account.quarantined;
    equal(m, "crossed, merged and quarantined together", sum, expected.events);
    equal(m, "crossed", account.crossed, expected.crossed);
    equal(m, "merged", account.merged, expected.merged);
    equal(m, "quarantined", account.quarantined, expected.quarantined);
    let at: Vec<(i32, i64)> = expected.held_at.map(|at| (CHANGED, at)).into_iter().collect();
    // A new life meets the same record and says so again.
    let mut held = account.held.clone();
    held.dedup();
    equal(m, "HELD in the ledger", &held, &at);
    let places = account.resumed.iter().map(|(partition, at, _)| (*partition, *at));
    equal(m, "RESUMED in the ledger", &places.collect(), &at);
    let last = account.resumed.last().map(|(_, _, release)| release);
    equal(m, "releases that records crossed under", account.releases.len(), 2);
    equal(m, "the release that it resumed under is the second", last, account.releases.get(1));
    equal(m, "records that a reader outside sees", outside.records, expected.crossed);
    equal(m, "records outside with a raw text", outside.raw, 0);
    equal(m, "manifests, one a transaction", outside.manifests, account.transactions);
    equal(m, "records that the manifests state", outside.stated, expected.crossed);
    equal(m, "manifests tied to their leaf", outside.tied, account.transactions);
    equal(m, "records in quarantine", outside.quarantined, expected.quarantined);
    equal(m, "logs checked, control and shards", outside.logs, 1 + super::place::TASKS as usize);
    equal(m, "findings in the ledger", outside.findings, 0);
    equal(m, "signatures of checkpoints checked", outside.signatures_checked, true);
    missing
}

/// A sample of noise beyond so many sigma comes once in 10^11: then something else is wrong.
const SIGMAS_MAX: f64 = 7.0;

/// Step 8: each week and country once, each number as far from what counted as its noise puts it, and
/// each week paid for once. `rho`: of a window; `sigma`: of a column.
pub fn released(
    released: &Released,
    orders: &Orders,
    rho: f64,
    sigma: &dyn Fn(&str) -> f64,
) -> Missing {
    let mut missing = Missing::new();
    let m = &mut missing;
    equal(m, "records of statistics outside", released.records, orders.groups() as u64);
    equal(m, "weeks and countries among them", released.sums.len(), orders.groups());
    equal(m, "records of statistics with a raw text", released.raw, 0);
    equal(m, "windows charged and outside", released.charged, WEEKS);
    let is_spent = (released.spent - rho * WEEKS as f64).abs() < 1e-4;
    equal(m, "rho spent, once a window", is_spent && rho > 0.0, true);
    equal(m, "findings in the account and the ledger", released.findings, 0);
    let mut with_noise = 0;
    for ((week, country), sums) in &released.sums {
        let counted = orders.truth[*week].get(country).copied().unwrap_or_default().counted;
        for ((name, released), (_, counted)) in sums.named().into_iter().zip(counted.named()) {
            let off = (released - counted).abs();
            with_noise += usize::from(off > 0);
            let near = off as f64 <= SIGMAS_MAX * sigma(name);
            equal(m, &format!("week {week}, {country}: {name} within its noise"), near, true);
        }
    }
    // Of three numbers a group; that all of them drew 0 does not happen.
    equal(m, "numbers with noise, of each country", with_noise > COUNTRIES.len(), true);
    missing
}

/// Step 9: the copy took all of it, so the two rates are of the same work.
pub fn copied(records: u64, expected: &Expected) -> Missing {
    let mut missing = Missing::new();
    equal(&mut missing, "records that the raw copy took", records, expected.events);
    missing
}

#[cfg(test)]
mod tests {
    use super::super::orders::{Sums, Truth};
    use douane_pipelines::hold::Reason;
    use douane_pipelines::status::Held;

    use super::*;

    fn expected() -> Expected {
        Expected {
            events: 100,
            crossed: 90,
            waiting: 10,
            merged: 7,
            quarantined: 3,
            held_at: Some(12),
            by_partition: [25, 25, 25, 25],
        }
    }

    fn hold(message: &str) -> Held {
        let reason = Reason::new("unknown_leaf", message.to_owned());
        Held { offset: 12, reason, message: message.to_owned() }
    }

    fn partitions(held: bool) -> Vec<PartitionStatus> {
        let partitions = (0..PARTITIONS).map(|partition| {
            let is_held = held && partition == CHANGED;
            PartitionStatus {
                topic: "t".into(),
                partition,
                shard: 0,
                state: if is_held { PartitionState::Held } else { PartitionState::CaughtUp },
                next: if is_held { 12 } else { 25 },
                lag: 0,
                held: is_held.then(|| hold("no class for leaf `after.passport`")),
                hours_left: None,
            }
        });
        partitions.collect()
    }

    fn account() -> Account {
        Account {
            transactions: 4,
            read: 100,
            crossed: 90,
            merged: 7,
            quarantined: 3,
            held: vec![(CHANGED, 12), (CHANGED, 12)],
            resumed: vec![(CHANGED, 12, "second".into())],
            releases: vec!["first".into(), "second".into()],
        }
    }

    fn outside() -> Outside {
        Outside {
            records: 90,
            raw: 0,
            manifests: 4,
            stated: 90,
            quarantined: 3,
            logs: 3,
            findings: 0,
            tied: 4,
            signatures_checked: true,
        }
    }

    #[test]
    fn nothing_is_missing_where_all_of_it_was_seen() {
        let none = Missing::new();
        assert_eq!(rows(&Rows { shown: SHOWN, raw: 0 }), none);
        assert_eq!(held(&partitions(true), &expected()), none);
        assert_eq!(resumed(&partitions(false), &expected()), none);
        assert_eq!(accounted(&account(), &outside(), &expected()), none);
        assert_eq!(copied(100, &expected()), none);
    }

    #[test]
    fn control_each_thing_that_is_not_seen_is_named() {
        assert!(!rows(&Rows { shown: SHOWN - 1, raw: 0 }).is_empty());
        assert!(!rows(&Rows { shown: SHOWN, raw: 1 }).is_empty());
        assert!(!copied(99, &expected()).is_empty());
        // Nothing is held; all is held; another column; another place; a partition behind.
        assert!(!held(&partitions(false), &expected()).is_empty());
        assert!(!resumed(&partitions(true), &expected()).is_empty());
        let mut other = partitions(true);
        other[CHANGED as usize].held = Some(hold("no class for leaf `after.visa`"));
        assert_eq!(held(&other, &expected()).len(), 1);
        let mut other = partitions(true);
        other[CHANGED as usize].next = 13;
        assert_eq!(held(&other, &expected()).len(), 1);
        let mut other = partitions(true);
        other[0].next = 24;
        assert_eq!(held(&other, &expected()).len(), 1);
        let mut other = partitions(true);
        other.truncate(3);
        assert_eq!(held(&other, &expected()).len(), 1);
    }

    #[test]
    fn control_statistics_that_are_not_the_released_ones_are_named() {
        let orders = Orders::new(1, 1_000, 1_795_000_000_000);
        let sigma = |name: &str| if name == "customers" { 1.0 } else { 1_000.0 };
        let mut good = Released { records: 12, charged: WEEKS, spent: 0.04, ..Released::default() };
        for (week, countries) in orders.truth.iter().enumerate() {
            for (country, truth) in countries {
                let mut sums = truth.counted;
                (sums.customers, sums.orders) = (sums.customers - 7, sums.orders + 1);
                good.sums.insert((week, *country), sums);
            }
        }
        assert_eq!(released(&good, &orders, 0.01, &sigma), Missing::new());
        let at = (WEEKS - 1, COUNTRIES[0].0);
        let wrong: [fn(&mut Released, (usize, &'static str)); 8] = [
            |r, _| r.records += 1,
            |r, at| r.sums.retain(|group, _| *group != at),
            |r, _| r.raw = 1,
            |r, _| r.charged -= 1,
            |r, _| r.spent += 0.01,
            |r, _| r.findings = 1,
            |r, at| r.sums.entry(at).or_default().customers -= 1,
            |r, at| r.sums.entry(at).or_default().orders += 8_000,
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            let mut other = good.clone();
            change(&mut other, at);
            assert_eq!(released(&other, &orders, 0.01, &sigma).len(), 1, "{number}");
        }
        // Without noise, or with the shop's orders in it.
        let sums = |of: fn(&Truth) -> Sums| {
            let mut all = ByGroup::new();
            for (week, countries) in orders.truth.iter().enumerate() {
                all.extend(countries.iter().map(|(country, truth)| ((week, *country), of(truth))));
            }
            all
        };
        let plain = Released { sums: sums(|truth| truth.counted), ..good.clone() };
        assert_eq!(released(&plain, &orders, 0.01, &sigma).len(), 1);
        let unbounded = Released { sums: sums(|truth| truth.all), ..good };
        assert!(!released(&unbounded, &orders, 0.01, &sigma).is_empty());
    }

    #[test]
    fn control_each_wrong_sum_is_named() {
        let wrong_account: [fn(&mut Account); 11] = [
            |a| a.read -= 1,
            |a| a.crossed -= 1,
            |a| a.merged += 1,
            |a| a.quarantined = 0,
            |a| a.transactions += 1,
            |a| a.held.clear(),
            |a| a.held.push((0, 1)),
            |a| a.resumed.clear(),
            |a| a.resumed[0].2 = "first".into(),
            |a| a.releases.truncate(1),
            |a| a.resumed[0].1 = 13,
        ];
        for (number, change) in wrong_account.into_iter().enumerate() {
            let mut account = account();
            change(&mut account);
            assert!(!accounted(&account, &outside(), &expected()).is_empty(), "{number}");
        }
        let wrong_outside: [fn(&mut Outside); 9] = [
            |o| o.records -= 1,
            |o| o.raw = 1,
            |o| o.manifests -= 1,
            |o| o.stated += 1,
            |o| o.quarantined = 0,
            |o| o.logs = 0,
            |o| o.findings = 1,
            |o| o.tied -= 1,
            |o| o.signatures_checked = false,
        ];
        for (number, change) in wrong_outside.into_iter().enumerate() {
            let mut outside = outside();
            change(&mut outside);
            assert_eq!(accounted(&account(), &outside, &expected()).len(), 1, "{number}");
        }
    }
}
