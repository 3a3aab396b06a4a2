//! Statistics with differential privacy on real Kafka: a week of invented orders, closed window by
//! window; killed at every step; charged once, published once.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Isolation, Record};
use crate::customers::Random;
use crate::pace::Instant;
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Kind};
use crate::say;

const PARTITIONS: i32 = 4;
pub(super) const DAY_MS: u64 = 86_400_000;
pub(super) const DAYS: u64 = 7;
const COUNTRIES: [&str; 3] = ["AT", "DE", "CH"];
/// Steps at which a process can be made to die, in their order.
const STEPS: [&str; 11] = [
    "before-store",
    "after-store",
    "pinned",
    "opened",
    "reserved",
    "computed",
    "intent",
    "sent",
    "positioned",
    "committed",
    "settled",
];

/// Peak resident memory that open windows may take.
const OPEN_MIB_MAX: u64 = 512;

/// A window's statistics of a country, before noise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Truth {
    pub customers: i64,
    pub orders: i64,
    pub spent: i64,
}

/// The first midnight of seven whole days that are over.
pub(super) fn first_day_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
    (u64::try_from(now).expect("a time") / DAY_MS - DAYS) * DAY_MS
}

/// A midnight.
pub(super) fn rfc3339(ms: u64) -> String {
    // Of whole days only: civil from days, by Howard Hinnant's algorithm.
    let days = i64::try_from(ms / DAY_MS).expect("a day") + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) =
        if month < 10 { (month + 3, year + era * 400) } else { (month - 9, year + era * 400 + 1) };
    format!("{year:04}-{month:02}-{day:02}T00:00:00Z")
}

fn columns(from_ms: u64, caps: &str) -> String {
    format!(
        "classes:
  id: identifier
  customer_id: {{ class: identifier, subject: true, residency: eu }}
  country: public
  amount_cents: sensitive
  diagnosis: special
  ordered_at: quasi
types: {{ id: int64, customer_id: int64, amount_cents: int64, ordered_at: timestamp }}
stages:
  - aggregate:
      unit: {{ leaf: customer_id, space: customers }}
      neighbours: add_remove
      level: unit_period
      period: 30d
      window: {{ every: 1d, from: \"{from}\", time: ordered_at, closes_after: 0s }}
      groups: [{{ leaf: country, keys: [AT, DE, CH] }}]
      l0: 3
      c: 64
      statistics:
        - {{ name: customers, count: units, weight: 2 }}
        - {{ name: orders, count: rows }}
        - {{ name: spent_cents, sum: amount_cents, low: 0, high: 1000 }}
      rho: 1
      caps: {caps}
      late: quarantine
",
        from = rfc3339(from_ms),
    )
}

pub(super) fn setup(name: &str, source: &Cluster, target: &Cluster, from_ms: u64) -> Setup {
    let mut setup = Setup::customers(name, source.clone(), target.clone());
    setup.topics = vec![format!("{name}.crm.public.orders")];
    setup.columns = columns(from_ms, "{ period: 20, life: 40, delta: 1e-9 }");
    setup.overrides = String::new();
    setup.tasks = 2;
    setup
}

pub(super) fn value(op: &str, before: &Value, after: &Value) -> Vec<u8> {
    json!({
        "before": before, "after": after, "op": op, "ts_ms": 1,
        "source": {"version": "3.7.0.Final", "connector": "postgresql", "name": "crm", "ts_ms": 1,
            "snapshot": "false", "db": "crm", "schema": "public", "table": "orders"},
    })
    .to_string()
    .into_bytes()
}

/// Orders of some customers over seven days, with changes and deletes, and what they add up to.
pub(super) fn send(
    cluster: &Cluster,
    topic: &str,
    from_ms: u64,
    orders: u64,
    seed: u64,
) -> BTreeMap<(u64, String), Truth> {
    let feed = cluster.producer();
    let mut random = Random::new(seed);
    let mut rows: BTreeMap<u64, Value> = BTreeMap::new();
    let put = |id: u64, op: &str, before: &Value, after: &Value| {
        let key = json!({"id": id}).to_string();
        let partition = i32::try_from(id % 4).expect("a partition");
        feed.send(topic, partition, Some(key.as_bytes()), Some(&value(op, before, after)), &[]);
        if op == "d" {
            feed.send(topic, partition, Some(key.as_bytes()), None, &[]);
        }
    };
    for id in 0..orders {
        // Every fifth is of a country that is not published.
        let country = *["AT", "DE", "CH", "AT", "XX"]
            .get(usize::try_from(random.below(5)).expect("a place"))
            .expect("a country");
        let row = json!({
            "id": id,
            "customer_id": 7_340_000 + random.below(60),
            "country": country,
            "amount_cents": i64::try_from(random.below(1_200)).expect("an amount") - 100,
            "diagnosis": "none of your business",
            "ordered_at": from_ms + random.below(DAYS * DAY_MS),
        });
        put(id, "c", &Value::Null, &row);
        rows.insert(id, row);
        if id % 7 == 3 {
            let other = random.below(id + 1);
            if let Some(before) = rows.get(&other).cloned() {
                let mut after = before.clone();
                after["amount_cents"] = json!(random.below(900));
                if id % 2 == 0 {
                    after["country"] = json!("CH");
                }
                put(other, "u", &before, &after);
                rows.insert(other, after);
            }
        }
        if id % 11 == 5 {
            let other = random.below(id + 1);
            if let Some(before) = rows.remove(&other) {
                put(other, "d", &before, &Value::Null);
            }
        }
    }
    feed.flush();
    let mut truth: BTreeMap<(u64, String), Truth> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for day in 0..DAYS {
        for country in COUNTRIES {
            truth.insert((day, country.to_owned()), Truth::default());
        }
    }
    for row in rows.values() {
        let day = (row["ordered_at"].as_u64().expect("a time") - from_ms) / DAY_MS;
        let country = row["country"].as_str().expect("a country").to_owned();
        let Some(sum) = truth.get_mut(&(day, country.clone())) else { continue };
        sum.orders += 1;
        sum.spent += row["amount_cents"].as_i64().expect("an amount").clamp(0, 1_000);
        sum.customers += i64::from(seen.insert((day, country, row["customer_id"].to_string())));
    }
    truth
}

/// What stands outside, by day and country; every record once.
pub(super) fn published(place: &Place, from_ms: u64) -> BTreeMap<(u64, String), Truth> {
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let mut all = BTreeMap::new();
    for record in &records {
        let row = record.json();
        let start = row["window_start"].as_str().map_or_else(
            || row["window_start"].as_u64().expect("a time"),
            |text| {
                let found =
                    (0..DAYS).find(|day| rfc3339(from_ms + day * DAY_MS).starts_with(&text[..10]));
                from_ms + found.unwrap_or_else(|| panic!("no window {text}")) * DAY_MS
            },
        );
        let number = |name: &str| row[name].as_i64().unwrap_or_else(|| panic!("{name} in {row}"));
        let sums = Truth {
            customers: number("customers"),
            orders: number("orders"),
            spent: number("spent_cents"),
        };
        let group =
            ((start - from_ms) / DAY_MS, row["country"].as_str().expect("a key").to_owned());
        assert!(record.key.is_none(), "statistics have no key");
        let before = all.insert(group.clone(), sums);
        assert!(before.is_none(), "{group:?} twice");
    }
    all
}

/// sigma is `sqrt(L0) D_inf / sqrt(2 rho_s)`: of rho 1 half goes to customers, a quarter to each other.
fn check(found: &BTreeMap<(u64, String), Truth>, truth: &BTreeMap<(u64, String), Truth>) {
    assert_eq!(found.len(), truth.len(), "every window has every public group");
    let sigma = |d_inf: f64, rho: f64| (3.0 * d_inf * d_inf / (2.0 * rho)).sqrt();
    let (mut off, mut exact) = (0, 0);
    for (group, was) in truth {
        let is = found[group];
        for (is, was, sigma) in [
            (is.customers, was.customers, sigma(1.0, 0.5)),
            (is.orders, was.orders, sigma(64.0, 0.25)),
            (is.spent, was.spent, sigma(64_000.0, 0.25)),
        ] {
            let error = (is - was).abs();
            #[allow(clippy::cast_precision_loss, reason = "a small number")]
            let far = error as f64 / sigma;
            assert!(far < 7.0, "{group:?}: {is} for {was}, {far} sigma");
            off += usize::from(error != 0);
            exact += usize::from(error == 0);
        }
    }
    assert!(off > exact, "there is noise: {off} differ, {exact} do not");
}

pub(super) fn wait_for(place: &Place, records: usize, running: &mut crate::place::Running) {
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let all = tail.wait_for(records, Duration::from_secs(90));
    assert!(all, "only {} of {records}\n{}", tail.records.len(), last_lines(&running.said(), 20));
    assert_eq!(running.ended(), None, "{}", last_lines(&running.said(), 20));
}

pub(super) fn new_place(setup: Setup) -> Place {
    let topic = setup.topics[0].clone();
    // Longer than a window is open, or `doctor` would say so.
    setup.source.create(&topic, PARTITIONS, &[("retention.ms", "-1")]);
    let place = Place::unreleased(setup);
    place.release();
    place
}

pub(super) fn raw_texts(records: &[Record]) -> Vec<String> {
    let values = records.iter().filter_map(|r| r.value.as_deref());
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

#[test]
fn a_week_is_closed_window_by_window_with_noise() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let place = new_place(setup("week", &source.cluster(), &target.cluster(), from_ms));
    let truth = send(&place.setup.source, &place.setup.topics[0], from_ms, 3_000, 5);
    let groups = truth.len();

    let mut running = place.run();
    wait_for(&place, groups, &mut running);
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    check(&published(&place, from_ms), &truth);
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    for text in raw_texts(&records) {
        assert!(!text.contains("73400") && !text.contains("none of your"), "{text}");
    }
    place.verify().fine("verify");

    // A second start publishes nothing more, and charges nothing; what comes now is late.
    let late = json!({"id": 1_000_001, "customer_id": 7_340_001, "country": "AT",
        "amount_cents": 5, "diagnosis": "-", "ordered_at": from_ms});
    let feed = place.setup.source.producer();
    let key = json!({"id": 1_000_001}).to_string();
    let record = value("c", &Value::Null, &late);
    feed.send(&place.setup.topics[0], 1, Some(key.as_bytes()), Some(&record), &[]);
    feed.flush();
    let mut again = place.run();
    assert!(again.wait_for_word("assigned", Duration::from_secs(30)), "{}", again.said());
    let mut aside = place.setup.source.tail(&place.quarantine_topic(), Isolation::Committed);
    assert!(aside.wait_for(1, Duration::from_secs(30)), "{}", last_lines(&again.said(), 20));
    std::thread::sleep(Duration::from_secs(2));
    again.stop();
    assert_eq!(published(&place, from_ms).len(), groups);
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget = super::verbs::is_as_documented("audit-budget", &budget, &[]);
    let account = &budget[0];
    assert_eq!(account["space"], "customers");
    assert_eq!(account["releases"], json!(DAYS));
    let spent = account["spent"]["rho"].as_f64().expect("rho");
    assert!((spent - 7.0).abs() < 1e-6, "{budget}");
}

/// Dies at each step once, in a place of its own, and goes on by itself.
#[test]
fn a_crash_at_any_step_is_charged_once_and_published_once() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let setup = setup("steps", &source.cluster(), &target.cluster(), from_ms);
    let mut place = new_place(setup);
    let truth = send(&place.setup.source, &place.setup.topics[0], from_ms, 1_500, 6);
    let started = Instant::now();
    for step in STEPS {
        place.env("DOUANE_TEST_CONTROL", &format!("die-at-{step}"));
        let mut running = place.run();
        let code = running.wait(Duration::from_secs(60));
        assert_eq!(code, Some(-9), "{step}: {}", last_lines(&running.said(), 20));
    }
    place.env("DOUANE_TEST_CONTROL", "");
    let mut running = place.run();
    wait_for(&place, truth.len(), &mut running);
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    check(&published(&place, from_ms), &truth);
    say::figure("aggregate.kills_at_steps", STEPS.len(), "kills");
    say::note(format!("{} steps in {:?}", STEPS.len(), started.elapsed()));
    place.verify().fine("verify");
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
    assert_eq!(budget[0]["releases"], json!(DAYS), "charged once a window: {budget}");
    assert_eq!(budget[0]["committed"], json!(DAYS), "{budget}");
}

/// A store that is lost is read again from the source, to the same sums and the same bytes: what was
/// charged and computed before is what is sent. Where the source has lost it too, nothing is sent.
#[test]
fn a_lost_store_is_read_again_or_its_window_is_not_published() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    for (name, gone) in [("lost", false), ("gone", true)] {
        let setup = setup(name, &source.cluster(), &target.cluster(), from_ms);
        let mut place = new_place(setup);
        let topic = place.setup.topics[0].clone();
        let truth = send(&place.setup.source, &topic, from_ms, 1_000, 7);
        place.env("DOUANE_TEST_CONTROL", "die-at-computed");
        let code = place.run().wait(Duration::from_secs(60));
        assert_eq!(code, Some(-9), "{}", place.log());
        place.env("DOUANE_TEST_CONTROL", "");
        std::fs::remove_dir_all(place.dir.join("state")).expect("the store");
        if gone {
            for partition in 0..PARTITIONS {
                place.setup.source.delete_records(&topic, partition, 100);
            }
        } else {
            // Orders of the day that is charged already: late, however the store was lost.
            send_late(&place.setup.source, &topic, from_ms);
        }
        let mut running = place.run();
        if gone {
            let code = running.wait(Duration::from_secs(60));
            assert_eq!(code, Some(1), "{}", last_lines(&running.said(), 20));
            assert!(running.said().contains("is not in the source"), "{}", running.said());
            assert_eq!(published(&place, from_ms).len(), 0);
            continue;
        }
        wait_for(&place, truth.len(), &mut running);
        std::thread::sleep(Duration::from_millis(500));
        running.stop();
        check(&published(&place, from_ms), &truth);
        let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
        let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
        // One charge a window: the account refuses other bytes for the same release.
        assert_eq!(budget[0]["releases"], json!(DAYS), "{budget}");
        assert_eq!(budget[0]["committed"], json!(DAYS), "{budget}");
    }
}

/// Orders of the first day, behind all others in every partition.
fn send_late(cluster: &Cluster, topic: &str, from_ms: u64) {
    let feed = cluster.producer();
    for id in 1_000_000..1_000_012_u64 {
        let row = json!({
            "id": id, "customer_id": 7_340_001, "country": "AT", "amount_cents": 700, "diagnosis": "-",
            "ordered_at": from_ms + 1,
        });
        let key = json!({"id": id}).to_string();
        let partition = i32::try_from(id % 4).expect("a partition");
        let value = value("c", &Value::Null, &row);
        feed.send(topic, partition, Some(key.as_bytes()), Some(&value), &[]);
    }
    feed.flush();
}

/// With `late: current` orders of a closed day count in the day that is closed next, once; also where the store is
/// lost after that day was computed, and with it which window was the current one.
#[test]
fn late_orders_count_in_the_window_that_is_closed_next() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let mut setup = setup("late", &source.cluster(), &target.cluster(), from_ms);
    setup.columns = setup.columns.replace("late: quarantine", "late: current");
    let mut place = new_place(setup);
    let told = place.verb(&["explain", &place.pipeline_file(), "--format", "json"]).fine("explain");
    assert!(told.out.contains("\"late\": \"current\""), "{}", told.out);
    let topic = place.setup.topics[0].clone();
    let mut truth = send(&place.setup.source, &topic, from_ms, 600, 13);
    dies_at(&mut place, "committed");
    // Two hundred other customers of the first day, far beyond its noise.
    let feed = place.setup.source.producer();
    for id in 2_000_000..2_000_200_u64 {
        let row = json!({
            "id": id, "customer_id": id, "country": "AT", "amount_cents": 700, "diagnosis": "-",
            "ordered_at": from_ms + 1,
        });
        let key = json!({"id": id}).to_string();
        let partition = i32::try_from(id % 4).expect("a partition");
        let record = value("c", &Value::Null, &row);
        feed.send(&topic, partition, Some(key.as_bytes()), Some(&record), &[]);
    }
    feed.flush();
    let next = truth.get_mut(&(1, "AT".to_owned())).expect("the second day");
    next.customers += 200;
    next.orders += 200;
    next.spent += 200 * 700;
    dies_at(&mut place, "computed");
    // What was computed of the second day is in the account: other sums would be refused.
    std::fs::remove_dir_all(place.dir.join("state")).expect("the store");
    let mut running = place.run();
    wait_for(&place, truth.len(), &mut running);
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    check(&published(&place, from_ms), &truth);
    let aside = place.setup.source.read(&place.quarantine_topic(), Isolation::Committed);
    assert!(aside.is_empty(), "{} were set aside", aside.len());
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
    assert_eq!(budget[0]["releases"], json!(DAYS), "{budget}");
    place.verify().fine("verify");
}

/// Runs until the process dies at a step.
pub(super) fn dies_at(place: &mut Place, step: &str) -> String {
    place.env("DOUANE_TEST_CONTROL", &format!("die-at-{step}"));
    let mut running = place.run();
    let code = running.wait(Duration::from_secs(60));
    assert_eq!(code, Some(-9), "{step}: {}", last_lines(&running.said(), 20));
    place.env("DOUANE_TEST_CONTROL", "");
    running.said()
}

/// What a person brings before and after a rotation is one person's: a store that is read again has the same sums, or
/// the account, which has their digest, would refuse them.
#[test]
fn a_rotation_of_the_root_in_an_open_window_moves_no_unit() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let mut place = new_place(setup("rooted", &source.cluster(), &target.cluster(), from_ms));
    let topic = place.setup.topics[0].clone();
    send(&place.setup.source, &topic, from_ms, 600, 10);
    dies_at(&mut place, "after-store");
    place.verb(&["keys", "rotate", "--root"]).fine("keys rotate --root");
    // The same customers: the first window is pinned already, the others are open.
    send(&place.setup.source, &topic, from_ms, 600, 11);
    dies_at(&mut place, "committed");
    dies_at(&mut place, "computed");
    std::fs::remove_dir_all(place.dir.join("state")).expect("the store");
    let mut running = place.run();
    wait_for(&place, COUNTRIES.len() * usize::try_from(DAYS).expect("a count"), &mut running);
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
    assert_eq!(budget[0]["releases"], json!(DAYS), "{budget}");
    assert_eq!(budget[0]["committed"], json!(DAYS), "{budget}");
}

/// The noise is for the bounds of the release: rows that were kept by others are not added up under it.
#[test]
fn rows_kept_by_other_bounds_are_not_published() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let mut place = new_place(setup("bounds", &source.cluster(), &target.cluster(), from_ms));
    send(&place.setup.source, &place.setup.topics[0], from_ms, 600, 12);
    dies_at(&mut place, "after-store");
    place.setup.columns = place.setup.columns.replace("high: 1000", "high: 10");
    place.write_files();
    place.release();
    let mut running = place.run();
    let code = running.wait(Duration::from_secs(60));
    assert_eq!(code, Some(1), "{}", last_lines(&running.said(), 20));
    assert!(running.said().contains("move it away"), "{}", last_lines(&running.said(), 20));
    assert!(published(&place, from_ms).is_empty());
    // Its next step helps.
    std::fs::remove_dir_all(place.dir.join("state")).expect("the store");
    let mut running = place.run();
    wait_for(&place, COUNTRIES.len() * usize::try_from(DAYS).expect("a count"), &mut running);
    running.stop();
}

#[test]
fn a_full_account_stops_before_the_first_byte_with_the_day_it_renews() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let mut setup = setup("full", &source.cluster(), &target.cluster(), from_ms);
    setup.columns = columns(from_ms, "{ period: 3.5, life: 40, delta: 1e-9 }");
    let place = new_place(setup);
    send(&place.setup.source, &place.setup.topics[0], from_ms, 500, 8);
    let mut running = place.run();
    let code = running.wait(Duration::from_secs(90));
    let said = running.said();
    assert_eq!(code, Some(1), "{}", last_lines(&said, 20));
    let renews = rfc3339(from_ms + 30 * DAY_MS);
    assert!(said.contains("it renews at") && said.contains(&renews[..10]), "{said}");
    let days: std::collections::BTreeSet<u64> =
        published(&place, from_ms).keys().map(|(day, _)| *day).collect();
    assert_eq!(days, (0..3).collect(), "three windows fit");
    let text = place.verb(&["audit", "budget"]).fine("audit budget").out;
    assert!(text.contains("0.500000 of 3.500000 left"), "{text}");
}

/// A release's own limit, beside the account's caps: of rho 1 a window, two stay within epsilon 16 and three do not.
#[test]
fn a_releases_epsilon_lets_so_many_windows_out() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let setup = setup("epsilon", &source.cluster(), &target.cluster(), from_ms);
    let place = new_place(setup);
    let file = place.pipeline_file();
    let propose = ["release", "propose", &file, "--author", "cleo", "--epsilon"];
    let nothing = place.verb(&[&propose[..], &["0.5"]].concat());
    assert!(nothing.code == 1 && nothing.err.contains("not even one window"), "{}", nothing.err);
    place.verb(&[&propose[..], &["16"]].concat()).fine("release propose");
    for key in ["approvers/ada", "approvers/bo"] {
        place.verb(&["release", "sign", &file, "--key", key]).fine("release sign");
    }
    send(&place.setup.source, &place.setup.topics[0], from_ms, 500, 8);
    // The second start finds in the ledger what the first one took.
    for _ in 0..2 {
        let mut running = place.run();
        assert_eq!(running.wait(Duration::from_secs(90)), Some(1), "{}", running.said());
        assert!(running.said().contains("its epsilon lets 2 windows out"), "{}", running.said());
    }
    let days: std::collections::BTreeSet<u64> =
        published(&place, from_ms).keys().map(|(day, _)| *day).collect();
    assert_eq!(days, (0..2).collect(), "two windows are outside");
    place.verify().fine("verify");
}

/// A process that was asleep while another took over sends nothing.
#[test]
fn of_two_processes_one_publishes() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let place = new_place(setup("twice", &source.cluster(), &target.cluster(), from_ms));
    let truth = send(&place.setup.source, &place.setup.topics[0], from_ms, 2_000, 9);
    let mut first = place.run();
    assert!(first.wait_for_word("closing", Duration::from_secs(60)), "{}", first.said());
    first.freeze();
    let mut second = place.run();
    std::thread::sleep(Duration::from_secs(4));
    first.thaw();
    let code = first.wait(Duration::from_secs(60));
    assert_eq!(code, Some(1), "the first is fenced\n{}", last_lines(&first.said(), 20));
    wait_for(&place, truth.len(), &mut second);
    std::thread::sleep(Duration::from_millis(500));
    second.stop();
    check(&published(&place, from_ms), &truth);
}

/// Computed by one, published by the other: the account refuses other bytes for a window that it knows,
/// so noise of a GPU, of the processor, and of the processor because the GPU was lost is one.
#[test]
fn a_window_has_the_same_bytes_on_a_gpu_on_the_processor_and_where_one_is_lost() {
    let _turn = rig::exclusive();
    if cfg!(not(feature = "gpu")) {
        say::skipped("noise on a GPU", "this build has none in it");
        return;
    }
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let mut setup = setup("device", &source.cluster(), &target.cluster(), from_ms);
    setup.place = "device: cpu";
    let mut place = new_place(setup);
    let truth = send(&place.setup.source, &place.setup.topics[0], from_ms, 700, 13);
    dies_at(&mut place, "computed");
    // Bound to what the processor drew; this one is lost on the way.
    place.setup.place = "device: gpu";
    place.write_files();
    let said = dies_at(&mut place, "committed,lose-device");
    assert!(said.contains("device_failed") && said.contains("device_lost"), "{said}");
    let status = place.status();
    assert_eq!(status["windows"]["closed"], json!(1), "{status}");
    assert_eq!(status["windows"]["device"]["code"], "device_lost", "{status}");
    // And the other way about.
    let said = dies_at(&mut place, "computed");
    assert!(said.contains("vulkan") && !said.contains("device_failed"), "{said}");
    assert!(place.status()["windows"]["device"].is_null(), "that one went well");
    place.setup.place = "device: cpu";
    place.write_files();
    let mut running = place.run();
    wait_for(&place, truth.len(), &mut running);
    running.stop();
    check(&published(&place, from_ms), &truth);
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
    assert_eq!(budget[0]["releases"], json!(DAYS), "one charge a window: {budget}");
    let doctor = place.verb(&["doctor"]).out;
    assert!(doctor.contains("the processor, as douane.yaml says"), "{doctor}");
}

/// Orders of many customers, all in one window that is over, made without a tree: there may be 10^7 of them.
fn send_many(cluster: &Cluster, topic: &str, from_ms: u64, records: usize) {
    let feed = cluster.producer();
    let mut random = Random::new(14);
    let customers = (records as u64 / 10).max(100);
    for id in 0..records as u64 {
        let country = COUNTRIES[usize::try_from(random.below(3)).expect("a place")];
        let value = format!(
            "{{\"before\":null,\"after\":{{\"id\":{id},\"customer_id\":{},\"country\":\"{country}\",\
             \"amount_cents\":{},\"diagnosis\":\"-\",\"ordered_at\":{}}},\"op\":\"c\",\"ts_ms\":1,\"source\":\
             {{\"version\":\"3.7.0.Final\",\"connector\":\"postgresql\",\"name\":\"crm\",\"ts_ms\":1,\
             \"snapshot\":\"false\",\"db\":\"crm\",\"schema\":\"public\",\"table\":\"orders\"}}}}",
            random.below(customers),
            random.below(1_200),
            from_ms + random.below(DAYS * DAY_MS),
        );
        let key = format!("{{\"id\":{id}}}");
        let partition = i32::try_from(id % 4).expect("a partition");
        feed.send(topic, partition, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    feed.flush();
}

/// Until a window's statistics are outside: what they are, and the most bytes of the store meanwhile.
fn values(
    place: &Place,
    running: &mut crate::place::Running,
    patience: Duration,
) -> (Vec<Vec<u8>>, u64) {
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let (since, mut store) = (Instant::now(), 0);
    while !tail.wait_for(COUNTRIES.len(), Duration::from_millis(200)) {
        store = store.max(store_bytes(place));
        assert_eq!(running.ended(), None, "{}", last_lines(&running.said(), 20));
        assert!(since.elapsed() < patience, "{}", last_lines(&running.said(), 20));
    }
    let mut values: Vec<Vec<u8>> = tail.records.iter().filter_map(|r| r.value.clone()).collect();
    values.sort();
    (values, store)
}

fn store_bytes(place: &Place) -> u64 {
    std::fs::metadata(place.dir.join("state/open.redb")).map_or(0, |found| found.len())
}

/// Records in an open window, killed again and again while they are read: the statistics are those of a run that
/// nobody stopped, byte for byte, and their noise hangs on every bit of the sums. The whole of it:
/// `DOUANE_OPEN_RECORDS=10000000 DOUANE_OPEN_KILLS=20`.
#[test]
fn records_in_an_open_window_count_once_however_often_it_is_killed() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let (records, kills) =
        (say::count("DOUANE_OPEN_RECORDS", 100_000), say::count("DOUANE_OPEN_KILLS", 3));
    let patience = Duration::from_secs(60 + records as u64 / 4_000);
    let from_ms = first_day_ms();
    let mut setup = setup("open", &source.cluster(), &target.cluster(), from_ms);
    setup.columns = setup.columns.replace("every: 1d", "every: 7d");
    let mut place = new_place(setup);
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.expect("cp").success());
    };
    let before = place.dir.with_extension("before");
    copied(&place.dir, &before);
    let started = Instant::now();
    send_many(&place.setup.source, &place.setup.topics[0], from_ms, records);
    say::note(format!("{records} records sent in {:.1?}", started.elapsed()));

    let started = Instant::now();
    let mut running = place.run();
    let (straight, mut store) = values(&place, &mut running, patience);
    let took = started.elapsed();
    let (_, mut peak) = running.used();
    running.stop();
    say::note(format!("a straight run: {took:.1?}"));

    // The same place once more, as it was before it ran, but for the key that its first start drew; and nothing outside.
    copied(&place.dir.join("keys/spaces"), &before.join("keys/spaces"));
    std::fs::remove_dir_all(&place.dir).expect("the place");
    std::fs::rename(&before, &place.dir).expect("the place as it was");
    for topic in [
        place.data_topic(),
        format!("{}.position", place.data_topic()),
        format!("{}.manifest", place.data_topic()),
    ] {
        place.setup.target.delete(&topic);
    }
    place.setup.target.create(&place.data_topic(), 4, &[("cleanup.policy", "delete")]);
    place.doctor();
    let mut random = Random::new(15);
    let most_ms = 500 + records as u64 / kills as u64 / 30;
    let mut bitten = 0;
    let started = Instant::now();
    for kill in 0..kills {
        // The first falls between the records and their position, whatever the machine's speed.
        let control = if kill == 0 { "die-at-before-store" } else { "" };
        place.env("DOUANE_TEST_CONTROL", control);
        let mut running = place.run();
        let rest = Duration::from_millis(random.between(100, most_ms));
        if control.is_empty() || running.wait(Duration::from_secs(10)).is_none() {
            // Where the window ends is fixed when a life begins, and from then on it reads.
            assert!(running.wait_for_word("assigned", patience), "{}", running.said());
            std::thread::sleep(rest);
            assert_eq!(running.ended(), None, "{}", last_lines(&running.said(), 20));
            peak = peak.max(running.used().1);
            running.kill();
        }
        store = store.max(store_bytes(&place));
        let outside = place.setup.target.read(&place.data_topic(), Isolation::Committed);
        bitten += usize::from(outside.is_empty());
    }
    place.env("DOUANE_TEST_CONTROL", "");
    let mut running = place.run();
    let (killed, last) = values(&place, &mut running, patience);
    store = store.max(last);
    peak = peak.max(running.used().1);
    running.stop();
    assert!(killed == straight, "other statistics than those of a straight run");
    assert!(bitten > 0, "no kill fell into the open window");
    say::figure("aggregate.open.records", records, "records");
    say::figure("aggregate.open.kills", format!("{bitten} of {kills}"), "in the open window");
    say::figure("aggregate.open.straight", format!("{:.1}", took.as_secs_f64()), "s");
    say::figure("aggregate.open.killed", format!("{:.1}", started.elapsed().as_secs_f64()), "s");
    say::figure("aggregate.open.store", store >> 20, "MiB");
    say::figure("aggregate.open.memory", peak, "MiB");
    assert!(peak <= OPEN_MIB_MAX, "{peak} MiB");
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
    assert_eq!(budget[0]["releases"], json!(1), "{budget}");
}

/// SIGKILL at any moment, again and again, while a week is read and closed.
#[test]
fn sigkill_is_charged_once_and_published_once() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms();
    let place = new_place(setup("kills", &source.cluster(), &target.cluster(), from_ms));
    let truth = send(&place.setup.source, &place.setup.topics[0], from_ms, 4_000, 10);
    let mut random = Random::new(10);
    let kills = say::count("DOUANE_KILLS", 12);
    let mut seen = 0;
    for _ in 0..kills {
        let mut running = place.run();
        std::thread::sleep(Duration::from_millis(random.between(300, 2_500)));
        assert_eq!(running.ended(), None, "{}", last_lines(&running.said(), 20));
        running.kill();
        seen = published(&place, from_ms).len();
    }
    say::figure("aggregate.sigkills", kills, "kills");
    say::note(format!("{seen} of {} records were there after the last kill", truth.len()));
    let mut running = place.run();
    wait_for(&place, truth.len(), &mut running);
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    check(&published(&place, from_ms), &truth);
    place.verify().fine("verify");
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
    assert_eq!(budget[0]["releases"], json!(DAYS), "{budget}");
    let status = place.status();
    assert_eq!(status["windows"]["closed"], json!(DAYS), "{status}");
}
