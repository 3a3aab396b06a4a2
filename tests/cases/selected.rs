//! Groups that noised counts select, on real Kafka: who is alone in a city is nowhere, a window without a
//! group that passes has no record and is charged, and a crash draws no second noise.

use std::time::Duration;

use serde_json::{Value, json};

use super::aggregates::{
    DAY_MS, DAYS, dies_at, first_day_ms, new_place, raw_texts, rfc3339, value,
};
use crate::cluster::Isolation;
use crate::pace::Instant;
use crate::place::{Setup, last_lines};
use crate::rig::{self, Kind};

const WINDOWS: u64 = 3;

/// Of rho 4 the counts of units have half: sigma is 1/2, and tau 5. The tree of three levels has sigma
/// sqrt(3) / 2 rows.
fn columns(from_ms: u64) -> String {
    format!(
        "classes:
  id: identifier
  customer_id: {{ class: identifier, subject: true, residency: eu }}
  city: quasi
  amount_cents: sensitive
  ordered_at: quasi
types: {{ id: int64, customer_id: int64, amount_cents: int64, ordered_at: timestamp }}
stages:
  - aggregate:
      unit: {{ leaf: customer_id, space: customers }}
      neighbours: add_remove
      level: w_event
      period: 3d
      window: {{ every: 1d, from: \"{from}\", time: ordered_at, closes_after: 0s }}
      groups: [{{ leaf: city }}]
      select: noisy_count
      l0: 1
      c: 1
      statistics:
        - {{ name: customers, count: units }}
        - {{ name: spent, quantiles: amount_cents, ranks: [0.5], low: 0, high: 511, levels: 3 }}
      rho: 4
      delta: 1e-12
      caps: {{ period: 13, life: 60, delta: 1e-9 }}
      late: quarantine
",
        from = rfc3339(from_ms),
    )
}

#[test]
fn groups_that_pass_a_noised_count_are_named_and_no_others() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    // The last three of them.
    let from_ms = first_day_ms() + (DAYS - WINDOWS) * DAY_MS;
    let mut setup = Setup::customers("selected", source.cluster(), target.cluster());
    setup.topics = vec!["selected.crm.public.orders".to_owned()];
    setup.columns = columns(from_ms);
    setup.overrides = String::new();
    let mut place = new_place(setup);

    let feed = place.setup.source.producer();
    let mut id = 0;
    let mut order = |city: &str, customer: u64, amount: u64, day: u64| {
        id += 1;
        let row = json!({"id": id, "customer_id": 7_340_000 + customer, "city": city,
            "amount_cents": amount, "ordered_at": from_ms + day * DAY_MS + id});
        let key = json!({"id": id}).to_string();
        let value = value("c", &Value::Null, &row);
        feed.send(&place.setup.topics[0], 0, Some(key.as_bytes()), Some(&value), &[]);
    };
    (0..60).for_each(|n| order("Graz", n, n * 8, 1));
    (0..40).for_each(|n| order("Wien", 100 + n, 200, 1));
    // One person with many orders, and one without any company on another day.
    (0..200).for_each(|n| order("Sankt Einsam", 200, n, 1));
    order("Sankt Einsam", 200, 7, 2);
    feed.flush();

    // The first window has no group, and is closed once all the same.
    dies_at(&mut place, "computed");
    let mut running = place.run();
    let began = Instant::now();
    while place.status()["windows"]["closed"] != json!(WINDOWS) {
        let late = began.elapsed() > Duration::from_secs(60);
        assert!(!late && running.ended().is_none(), "{}", last_lines(&running.said(), 20));
        std::thread::sleep(Duration::from_millis(200));
    }
    running.stop();

    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let mut rows: Vec<Value> = records.iter().map(crate::cluster::Record::json).collect();
    rows.sort_by_key(|row| row["city"].to_string());
    let cities: Vec<&str> = rows.iter().filter_map(|row| row["city"].as_str()).collect();
    assert_eq!(cities, ["Graz", "Wien"], "{rows:?}");
    for (row, customers, median) in [(&rows[0], 60, 240), (&rows[1], 40, 200)] {
        let near = |name: &str, was: i64, by: i64| {
            let is = row[name].as_i64().unwrap_or_else(|| panic!("{name} in {row}"));
            assert!((is - was).abs() < by, "{name}: {is} for {was}");
        };
        // Seven sigma; and a part of the first level with what its siblings' noise moves the rank by.
        near("customers", customers, 4);
        near("spent_p50", median, 160);
    }
    for text in raw_texts(&records) {
        assert!(!text.contains("Einsam") && !text.contains("73400"), "{text}");
    }
    place.verify().fine("verify");
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
    assert_eq!(budget[0]["releases"], json!(WINDOWS), "charged once a window: {budget}");
    assert_eq!(budget[0]["committed"], json!(WINDOWS), "{budget}");
    let policy = &budget[0]["policies"][0];
    assert_eq!((&policy["level"], &policy["cap"]), (&json!("w_event"), &json!(13.0)), "{policy}");
}
