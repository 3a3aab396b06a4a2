//! Rounds of federated training through douane on real Kafka: what three sites send of each patient leaves
//! as one noised sum a round, and the model that comes of it is near the one without noise.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::aggregates::{DAY_MS, DAYS, dies_at, first_day_ms, new_place, rfc3339, value};
use crate::cluster::Isolation;
use crate::pace::Instant;
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Kind};
use crate::say;

const EXAMPLE: &str = include_str!("../../pipelines/examples/federated.yaml");
const SITES: [&str; 3] = ["north", "south", "east"];
const PATIENTS: usize = 1_500;
const DIMS: usize = 6;
const ROUNDS: usize = 6;
const STEP: f64 = 5.0;
const GRID: f64 = 0.001;
const TRUE: [f64; DIMS] = [2.0, -1.5, 1.0, -0.5, 0.75, 0.25];
/// What docs/federated.md states: how far the model may be from the one without noise and clipping. Noise
/// passes it once in 10^9 runs.
const DISTANCE: f64 = 0.45;
/// Length of a round, in seconds.
const EVERY_S: u64 = 2;

type Model = [f64; DIMS];

/// Invented patients, the same as those of federated.py (SplitMix64).
struct Patients(Vec<(Model, f64)>);

impl Patients {
    fn new(mut state: u64) -> Self {
        let mut unit = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            #[allow(clippy::cast_precision_loss, reason = "53 bits")]
            let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
            unit
        };
        let patient = |_| {
            let mut row = [1.0; DIMS];
            row[..DIMS - 1].fill_with(|| 2.0 * unit() - 1.0);
            let sick = if unit() < chance(&TRUE, &row) { 1.0 } else { 0.0 };
            (row, sick)
        };
        Self((0..PATIENTS).map(patient).collect())
    }

    /// What each patient alone would change.
    fn gradients(&self, model: &Model) -> Vec<Model> {
        let of = |(row, sick): &(Model, f64)| row.map(|x| (sick - chance(model, row)) * x);
        self.0.iter().map(of).collect()
    }

    fn accuracy(&self, model: &Model) -> f64 {
        let right = |(row, sick): &&(Model, f64)| (dot(model, row) > 0.0) == (*sick > 0.5);
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        let share = self.0.iter().filter(right).count() as f64 / PATIENTS as f64;
        share
    }
}

fn dot(a: &Model, b: &Model) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn chance(model: &Model, row: &Model) -> f64 {
    1.0 / (1.0 + (-dot(model, row)).exp())
}

fn moved(model: &mut Model, total: &[f64]) {
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let rate = STEP / PATIENTS as f64;
    model.iter_mut().zip(total).for_each(|(weight, total)| *weight += rate * total);
}

fn length(model: &Model) -> f64 {
    dot(model, model).sqrt()
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
    u64::try_from(now).expect("a time")
}

/// The shipped pipeline with rounds of seconds, which begin now, and caps for those in which nobody sends.
fn columns(from: &str) -> String {
    let (_, rest) = EXAMPLE.split_once("classes:").expect("classes");
    let (columns, _) = rest.split_once("sink:").expect("a sink");
    let columns = columns
        .replace("every: 1h", &format!("every: {EVERY_S}s"))
        .replace("2026-12-01T08:00:00Z", from)
        .replace("{ period: 0.12, life: 1.2, delta: 1e-9 }", "{ period: 4, life: 8, delta: 1e-9 }");
    assert!(columns.contains(from) && columns.contains("period: 4,"), "{columns}");
    format!("classes:{columns}")
}

struct Rounds {
    place: Place,
    from_ms: u64,
    tail: crate::cluster::Tail,
    running: crate::place::Running,
    sent: u64,
}

impl Rounds {
    /// Sends what patients would change, all within one window that is still open, and reads its sum. A
    /// window that closed meanwhile is passed over: how fast this machine is decides nothing but the time
    /// it takes.
    fn sum(&mut self, updates: &[Vec<f64>]) -> Vec<i64> {
        let every_ms = EVERY_S * 1_000;
        let topic = self.place.setup.topics[0].clone();
        loop {
            // Half a second at least to send.
            let window = (now_ms() + 500).saturating_sub(self.from_ms) / every_ms;
            let (start, end) =
                (self.from_ms + window * every_ms, self.from_ms + (window + 1) * every_ms);
            let feed = self.place.setup.source.producer();
            for (patient, gradient) in updates.iter().enumerate() {
                self.sent += 1;
                let row = json!({
                    "id": format!("u{}", self.sent),
                    "patient": format!("patient-{patient}"),
                    "site": SITES[patient % SITES.len()],
                    "round_at": start,
                    "gradient": gradient,
                });
                let value = json!({
                    "before": null, "after": row, "op": "c", "ts_ms": 1,
                    "source": {"version": "3.7.0.Final", "connector": "postgresql", "name": "fl",
                        "ts_ms": 1, "snapshot": "false", "db": "fl", "schema": "public", "table": "updates"},
                });
                let key = json!({"id": format!("u{}", self.sent)}).to_string();
                let partition = i32::try_from(patient % SITES.len()).expect("a partition");
                let value = value.to_string().into_bytes();
                feed.send(&topic, partition, Some(key.as_bytes()), Some(&value), &[]);
            }
            feed.flush();
            if now_ms() < end {
                return self.published(window);
            }
        }
    }

    fn published(&mut self, window: u64) -> Vec<i64> {
        let at = usize::try_from(window).expect("a count");
        let all = self.tail.wait_for(at + 1, Duration::from_secs(60));
        assert!(all, "{}", last_lines(&self.running.said(), 20));
        // Windows are closed one after the other, each with one record; partitions are read as they come.
        let start = second(self.from_ms + window * EVERY_S * 1_000);
        let row = |record: &crate::cluster::Record| record.json();
        let found =
            self.tail.records.iter().map(row).find(|row| {
                row["window_start"].as_str().is_some_and(|text| text.starts_with(&start))
            });
        let found = found.unwrap_or_else(|| panic!("no window {start}"));
        let numbers = found["gradient"].as_array().expect("an array").iter();
        numbers.map(|number| number.as_i64().expect("an integer")).collect()
    }
}

/// As it stands in a record: `2026-11-22T10:00:02`.
fn second(ms: u64) -> String {
    let of_day = ms / 1_000 % 86_400;
    let day = rfc3339(ms);
    format!("{}T{:02}:{:02}:{:02}", &day[..10], of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

fn begin(name: &str) -> Rounds {
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = (now_ms() / 1_000 + 2) * 1_000;
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    setup.topics = vec![format!("{name}.training.updates")];
    setup.columns = columns(&format!("{}Z", second(from_ms)));
    setup.overrides = String::new();
    setup.target_partitions = 1;
    setup.source.create(&setup.topics[0], i32::try_from(SITES.len()).expect("a count"), &[]);
    let place = Place::unreleased(setup);
    place.setup.target.set_topic_config(&place.data_topic(), "cleanup.policy", "delete");
    place.release();
    let running = place.run();
    let tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    Rounds { place, from_ms, tail, running, sent: 0 }
}

#[test]
fn rounds_of_three_sites_end_near_the_model_without_noise() {
    let _turn = rig::exclusive();
    let started = Instant::now();
    let mut rounds = begin("federated");
    let patients = Patients::new(7);
    let (mut model, mut plain) = ([0.0; DIMS], [0.0; DIMS]);
    let (mut noised, mut exact) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let all = patients.gradients(&plain);
        let total: Vec<f64> = (0..DIMS).map(|at| all.iter().map(|own| own[at]).sum()).collect();
        moved(&mut plain, &total);
        let updates: Vec<Vec<f64>> =
            patients.gradients(&model).iter().map(|g| g.to_vec()).collect();
        #[allow(clippy::cast_possible_truncation, reason = "cut towards zero")]
        let clipped = |own: &Vec<f64>| -> Vec<i64> {
            let norm = own.iter().map(|v| v * v).sum::<f64>().sqrt().max(1.0);
            own.iter().map(|v| (v / norm / GRID) as i64).collect()
        };
        let own: Vec<Vec<i64>> = updates.iter().map(clipped).collect();
        exact.push((0..DIMS).map(|at| own.iter().map(|g| g[at]).sum()).collect::<Vec<i64>>());
        let sum = rounds.sum(&updates);
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let total: Vec<f64> = sum.iter().map(|steps| *steps as f64 * GRID).collect();
        moved(&mut model, &total);
        noised.push(sum);
    }
    rounds.running.stop();
    let mut apart = model;
    apart.iter_mut().zip(&plain).for_each(|(a, b)| *a -= b);
    let (distance, of) = (length(&apart), length(&plain));
    say::figure("federated.seconds", started.elapsed().as_secs(), "s");
    say::note(format!(
        "distance {distance:.3} of a model of length {of:.3}; right in {:.3}, without noise {:.3}",
        patients.accuracy(&model),
        patients.accuracy(&plain)
    ));
    assert!(of > 4.0 * DISTANCE, "the model learnt nothing: {of}");
    assert!(distance < DISTANCE, "{distance} from the model without noise");
    assert!(patients.accuracy(&model) > patients.accuracy(&plain) - 0.03);
    // sigma = norm / sqrt(2 rho) = 5: what came back is the clipped sum with it, and not without.
    let errors = noised.iter().flatten().zip(exact.iter().flatten()).map(|(a, b)| a.abs_diff(*b));
    let errors: Vec<u64> = errors.collect();
    // Rounding of a text beside a product: a step a patient at most, far below sigma.
    assert!(errors.iter().all(|error| *error < 7 * 5_000 + 1_500), "{errors:?}");
    assert!(errors.iter().any(|error| *error > 1_500), "there is noise: {errors:?}");
    for record in &rounds.tail.records {
        let text =
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        assert!(!text.contains("patient") && !text.contains("north"), "{text}");
    }
    rounds.place.verify().fine("verify");
}

/// The same loop with federated.py as the sites, on NumPy: `DOUANE_TRAINER="python3 pipelines/examples/federated.py"`, with
/// `--torch` if PyTorch is there.
#[test]
fn rounds_of_a_trainer_in_python_end_near_the_model_without_noise() {
    let Ok(trainer) = std::env::var("DOUANE_TRAINER") else {
        return say::skipped("federated.py", "DOUANE_TRAINER names no command with NumPy");
    };
    let _turn = rig::exclusive();
    let mut rounds = begin("federated-python");
    let mut words = trainer.split_whitespace();
    let mut child = Command::new(words.next().expect("a command"))
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a trainer");
    let mut to = child.stdin.take().expect("a pipe");
    let from = BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut updates, mut said) = (Vec::new(), Value::Null);
    for line in from.lines() {
        let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        if line["round"].is_u64() {
            let sum = rounds.sum(&std::mem::take(&mut updates));
            writeln!(to, "{}", json!(sum)).expect("a reader");
        } else if let Some(gradient) = line["gradient"].as_array() {
            updates.push(gradient.iter().map(|g| g.as_f64().expect("a number")).collect());
        } else {
            said = line;
        }
    }
    rounds.running.stop();
    assert!(child.wait().expect("its end").success());
    say::note(format!("{said}"));
    assert!(said["distance"].as_f64().expect("a distance") < DISTANCE, "{said}");
}

/// Vectors as bytes of floats, as wide as a record may be: `DOUANE_DIMS=1048575`, a multiple of three.
#[test]
fn a_wide_vector_crosses_in_one_record() {
    const SUMMED: usize = 99;
    let dims = say::count("DOUANE_DIMS", 20_001);
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(Kind::asked_for());
    let from_ms = first_day_ms() + (DAYS - 1) * DAY_MS;
    let mut setup = Setup::customers("wide", source.cluster(), target.cluster());
    setup.topics = vec!["wide.training.updates".to_owned()];
    setup.columns = columns(&rfc3339(from_ms))
        .replace(&format!("every: {EVERY_S}s"), "every: 1d")
        .replace("gradient: array", "gradient: bytes")
        .replace("dims: 6, norm: 1, grid: 0.001", &format!("dims: {dims}, norm: 1000, grid: 1"))
        .replace("rho:  0.02", "rho:  32")
        .replace("{ period: 4, life: 8,", "{ period: 64, life: 64,");
    setup.overrides = String::new();
    setup.target_partitions = 1;
    let mut place = new_place(setup);
    let bytes = (dims * 16).max(1 << 20).to_string();
    place.setup.source.set_topic_config(&place.setup.topics[0], "max.message.bytes", &bytes);
    place.setup.target.set_topic_config(&place.data_topic(), "max.message.bytes", &bytes);

    // 60 three times as floats of 32 bits, lowest byte first, in base64; and 0 three times.
    let vector = "AABwQgAAcEIAAHBC".repeat(SUMMED / 3) + &"A".repeat((dims - SUMMED) / 3 * 16);
    let feed = place.setup.source.producer();
    for patient in 0..3 {
        let row = json!({"id": patient.to_string(), "patient": patient.to_string(), "site": "north",
            "round_at": from_ms, "gradient": vector});
        let key = json!({"id": patient.to_string()}).to_string();
        let value = value("c", &Value::Null, &row);
        feed.send(&place.setup.topics[0], 0, Some(key.as_bytes()), Some(&value), &[]);
    }
    feed.flush();
    // Its noise is drawn twice, and is the same: the account refuses other bytes.
    dies_at(&mut place, "computed");
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(tail.wait_for(1, Duration::from_secs(90)), "{}", last_lines(&running.said(), 20));
    let (_, peak_mib) = running.used();
    running.stop();
    let row = tail.records[0].json();
    let numbers = row["gradient"].as_array().expect("an array").iter();
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let numbers: Vec<f64> =
        numbers.map(|number| number.as_i64().expect("an integer") as f64).collect();
    assert_eq!(numbers.len(), dims);
    // Norm 1000 and rho 32: sigma is 125. Three times 60 in front, and nothing behind; seven sigma.
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (front, rest) = numbers.split_at(SUMMED);
    assert!((mean(front) - 180.0).abs() < 7.0 * 125.0 / 99_f64.sqrt(), "{}", mean(front));
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let root = (rest.len() as f64).sqrt();
    assert!(mean(rest).abs() < 7.0 * 125.0 / root, "{}", mean(rest));
    let squares: Vec<f64> = rest.iter().map(|number| number * number).collect();
    let sigma = mean(&squares).sqrt();
    assert!((sigma / 125.0 - 1.0).abs() < 7.0 / root, "{sigma}");
    let length = tail.records[0].value.as_deref().map_or(0, <[u8]>::len);
    say::note(format!("{dims} numbers: a record of {length} bytes, peak {peak_mib} MiB"));
    place.verify().fine("verify");
    let budget = place.verb(&["audit", "budget", "--format", "json"]).fine("audit budget");
    let budget: Value = serde_json::from_str(&budget.out).expect("JSON");
    assert_eq!(
        (&budget[0]["releases"], &budget[0]["committed"]),
        (&json!(1), &json!(1)),
        "{budget}"
    );
}
