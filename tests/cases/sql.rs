//! The `sql` stage on real Kafka: rows that enter and leave WHERE, deletes that bypass it, a cell that fails, a batch
//! border anywhere. What stands outside at the end is what SELECT makes of the source's rows as they stand.

use std::collections::BTreeMap;
use std::time::Duration;

use douane_ledger::log::Entry;
use serde_json::{Value, json};

use crate::cluster::{Isolation, Record};
use crate::customers::Random;
use crate::feed::Load;
use crate::manifests::disagreements;
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

const PARTITIONS: i32 = 2;

const COLUMNS: &str = "classes:
  id: { class: identifier, subject: true, residency: eu }
  email: identifier
  country: public
  cents: public
  parts: public
  serial: public
types: { id: int64, cents: int64, parts: int64, serial: int64 }
stages:
  - tokenize: { columns: [id], domain: customer }
  - tokenize: { columns: [email], domain: customer_email }
  - sql: select serial, id as customer, country = 'DE' as domestic,
      case when parts > 1 then cents / parts else cents end as share, cents % parts as rest
      from batch where country in ('DE', 'FR')
";

/// One row as it stands in the source.
#[derive(Clone, PartialEq, Debug)]
struct Row {
    country: &'static str,
    cents: i64,
    parts: i64,
    serial: i64,
}

impl Row {
    fn inside(&self) -> bool {
        matches!(self.country, "DE" | "FR")
    }

    /// By hand, what SELECT makes of it; none where it fails.
    fn selected(&self) -> Option<Value> {
        let rest = (self.parts != 0).then(|| self.cents % self.parts)?;
        let share = if self.parts > 1 { self.cents / self.parts } else { self.cents };
        let domestic = self.country == "DE";
        Some(json!({"serial": self.serial, "domestic": domestic, "share": share, "rest": rest}))
    }
}

/// The table, the records that were sent, and what must come of them.
struct Table {
    random: Random,
    load: Load,
    serial: i64,
    rows: BTreeMap<i64, Row>,
    filtered: u64,
    withdrawn: u64,
    refused: usize,
}

impl Table {
    fn send(&mut self, id: i64, op: &str, after: Option<&Row>) {
        let key = json!({ "id": id }).to_string();
        let after = after.map(|row| {
            json!({
                "id": id, "email": format!("made-up-{id}@example.com"), "country": row.country,
                "cents": row.cents, "parts": row.parts, "serial": row.serial,
            })
        });
        let value = json!({"before": null, "after": after, "source": null, "op": op, "ts_ms": 1});
        let partition = i32::try_from(id % i64::from(PARTITIONS)).expect("a partition");
        self.load.raw(partition, Some(key.as_bytes()), Some(value.to_string().as_bytes()), &[]);
        if op == "d" {
            self.load.raw(partition, Some(key.as_bytes()), None, &[]);
        }
    }

    fn row(&mut self) -> Row {
        let countries = ["DE", "FR", "IT", "PL"];
        self.serial += 1;
        Row {
            country: countries[self.random.below(4) as usize],
            cents: self.random.between(0, 10_000) as i64 - 5_000,
            parts: if self.random.chance(30) { 0 } else { self.random.between(1, 9) as i64 },
            serial: self.serial,
        }
    }

    /// One change; what fails keeps its key's last state outside.
    fn change(&mut self) {
        let id = self.random.between(1, 300) as i64 * 1_000_003;
        let known = self.rows.contains_key(&id);
        if known && self.random.chance(80) {
            self.rows.remove(&id);
            self.send(id, "d", None);
            return;
        }
        let mut row = self.row();
        if known && row.parts == 0 {
            // Only rows that are new fail here: an earlier state of theirs cannot stand outside.
            row.parts = 1;
        }
        let op = match known {
            false => "c",
            true if self.random.chance(100) => "r",
            true => "u",
        };
        self.send(id, op, Some(&row));
        match (row.inside(), row.selected()) {
            (false, _) if op == "c" => self.filtered += 1,
            (false, _) => self.withdrawn += 1,
            (true, None) => self.refused += 1,
            (true, Some(_)) => {}
        }
        self.rows.insert(id, row);
    }
}

/// The last value of each key, as a reader of the compacted topic has it.
fn outside(records: &[Record]) -> BTreeMap<String, Value> {
    let mut last = BTreeMap::new();
    for record in records {
        last.insert(record.key_text(), record.json());
    }
    last.retain(|_, value| !value.is_null());
    last
}

/// Sums over the intents of what crossed, of all logs: filtered and withdrawn.
fn ledgered(place: &Place) -> (u64, u64) {
    let mut sums = (0, 0);
    for entry in (0..place.setup.tasks).flat_map(|shard| place.entries(shard)) {
        if let Entry::Intent(intent) = entry {
            sums.0 += intent.filtered;
            sums.1 += intent.withdrawn;
        }
    }
    sums
}

#[test]
fn rows_enter_and_leave_where() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("sql", source.cluster(), target.cluster());
    setup.columns = COLUMNS.to_owned();
    setup.overrides = String::new();
    setup.target_partitions = 2;
    let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
    source.create(&topic, PARTITIONS, &[]);
    let place = Place::new(setup);
    let told = place.verb(&["explain", &place.pipeline_file()]).fine("explain").out;
    for word in [
        "post-processing of columns that may cross",
        "not selected by sql",
        "sql: (country = 'DE')",
    ] {
        assert!(told.contains(word), "{told}");
    }

    let mut table = Table {
        random: Random::new(41),
        load: Load::new(PARTITIONS),
        serial: 0,
        rows: BTreeMap::new(),
        filtered: 0,
        withdrawn: 0,
        refused: 0,
    };
    for _ in 0..4_000 {
        table.change();
    }
    // The last records: two rows inside, so that it can be seen when all is through.
    for id in [2_000_000_000_000, 2_000_000_000_001] {
        let row = Row { country: "DE", cents: 1, parts: 1, serial: id };
        table.send(id, "c", Some(&row));
        table.rows.insert(id, row);
    }
    table.load.send(&source, &topic);
    let mut running = place.run();
    // Stopped hard in between: batches are cut elsewhere then.
    std::thread::sleep(Duration::from_millis(700));
    running.kill();
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let serials: Vec<i64> = table.rows.values().filter(|r| r.inside()).map(|r| r.serial).collect();
    let newest = |records: &[Record]| {
        let seen = |serial: &i64| records.iter().any(|r| r.json()["serial"] == *serial);
        [2_000_000_000_000, 2_000_000_000_001].iter().all(seen)
    };
    for _ in 0..120 {
        tail.poll(Duration::from_millis(500));
        if newest(&tail.records) {
            break;
        }
    }
    assert!(newest(&tail.records), "{}", last_lines(&running.said(), 20));
    std::thread::sleep(Duration::from_millis(500));
    running.stop();

    let crossed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let found = outside(&crossed);
    let mut wanted: Vec<Value> =
        table.rows.values().filter(|row| row.inside()).filter_map(Row::selected).collect();
    let mut seen: Vec<Value> = Vec::new();
    for (key, value) in &found {
        let mut value = value.clone();
        // The token of the row is the token of its key.
        assert_eq!(value["customer"], **key);
        value.as_object_mut().expect("an object").remove("customer");
        seen.push(value);
    }
    let by_serial = |value: &Value| value["serial"].as_i64();
    wanted.sort_by_key(by_serial);
    seen.sort_by_key(by_serial);
    assert!(!wanted.is_empty() && serials.len() >= wanted.len());
    assert_eq!(seen, wanted);

    // Nothing of what stays behind is in any record; what was set aside is counted.
    let all = crossed.iter().map(|r| r.json().to_string()).collect::<String>();
    for word in ["email", "country", "made-up", "IT", "PL"] {
        assert!(!all.contains(&format!("\"{word}")), "{word} crossed");
    }
    let aside = source.read(&place.quarantine_topic(), Isolation::Committed);
    let aside: std::collections::BTreeSet<String> = aside.iter().map(Record::key_text).collect();
    assert_eq!(aside.len(), table.refused);
    assert!(table.refused > 0 && table.filtered > 0 && table.withdrawn > 0);
    // A withdrawal just after a tombstone of the same key is not written again.
    let (filtered, withdrawn) = ledgered(&place);
    assert_eq!(filtered + withdrawn, table.filtered + table.withdrawn);
    assert!(filtered >= table.filtered, "{filtered} {withdrawn}");
    say::figure("sql.filtered", filtered, "rows");
    say::figure("sql.withdrawn", withdrawn, "rows");
    let manifests = place.setup.target.read(&place.manifest_topic(), Isolation::Committed);
    assert_eq!(disagreements(&crossed, &manifests), Vec::<String>::new());
    place.verify().fine("verify");
}
