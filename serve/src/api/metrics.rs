//! `/metrics`: as Prometheus reads them, under the names that the usual exporter gives Kafka
//! Connect's, and its own beside them.
//!
//! Labels are names of connectors, pipelines and identity spaces, and words of this program; topics,
//! columns and leaves stand in none. Written by hand: a library would put its own endings to names
//! that have to be the exporter's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use douane_pipelines::audit;
use douane_pipelines::certificates::{expiries, validity};
use douane_pipelines::status::{self, PartitionState, Status};
use douane_pipelines::traces;

use super::lifecycle;
use crate::call::{Answer, Call};
use crate::connector::{Connector, Phase, State, thread_name};
use crate::service::Service;

/// To read the clusters costs clients on both: at most one part in so many of the time goes to it.
const READING_SHARE: u32 = 20;
const REST_MIN: Duration = Duration::from_secs(3);
const REST_MAX: Duration = Duration::from_secs(60);

/// What is read from outside between two looks at the metrics.
#[derive(Default)]
pub struct Readings {
    statuses: Arc<Mutex<BTreeMap<String, Reading>>>,
    is_reading: Arc<AtomicBool>,
    cpu: Mutex<Cpu>,
}

#[derive(Default)]
struct Reading {
    /// When it is to be tried again, and when it last could be read.
    due: Option<Instant>,
    at: Option<Instant>,
    statuses: Vec<Status>,
}

impl Readings {
    /// What is known of each connector: how old it is in seconds, and its pipelines.
    pub fn all(
        &self,
        service: &Service,
        connectors: &[Arc<Connector>],
    ) -> BTreeMap<String, (Option<u64>, Vec<Status>)> {
        self.refresh(service, connectors);
        let known = self.statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of = |(name, reading): (&String, &Reading)| {
            let age_s = reading.at.map(|at| at.elapsed().as_secs());
            (name.clone(), (age_s, reading.statuses.clone()))
        };
        known.iter().map(of).collect()
    }

    /// Reads anew what is old, beside whoever asked: the next look has it.
    fn refresh(&self, service: &Service, connectors: &[Arc<Connector>]) {
        let mut known = self.statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.retain(|name, _| connectors.iter().any(|connector| connector.name == *name));
        let is_old = |connector: &&Arc<Connector>| {
            let due = known.get(&connector.name).and_then(|reading| reading.due);
            due.is_none_or(|due| due <= Instant::now())
        };
        let old: Vec<Arc<Connector>> = connectors.iter().filter(is_old).map(Arc::clone).collect();
        drop(known);
        if old.is_empty() || self.is_reading.swap(true, Ordering::Relaxed) {
            return;
        }
        let (statuses, is_reading) = (Arc::clone(&self.statuses), Arc::clone(&self.is_reading));
        let place = service.place_file.clone();
        let ended = Arc::clone(&self.is_reading);
        let spawned = std::thread::Builder::new().name("readings".to_owned()).spawn(move || {
            for connector in old {
                let began = Instant::now();
                let read = status::read_all(&place, &connector.file).map(|all| all.pipelines);
                let now = Instant::now();
                let mut known = statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let reading = known.entry(connector.name.clone()).or_default();
                reading.due = Some(now + rest(now - began));
                // What cannot be read stays as it was, and its age says so: an alert that fell
                // silent with the link would be none.
                let read = read.unwrap_or_default();
                if !read.is_empty() && read.iter().all(|(_, status)| status.is_ok()) {
                    reading.statuses = read.into_iter().filter_map(|(_, s)| s.ok()).collect();
                    reading.at = Some(now);
                }
            }
            is_reading.store(false, Ordering::Relaxed);
        });
        if spawned.is_err() {
            ended.store(false, Ordering::Relaxed);
        }
    }
}

/// How long a reading is fresh that took so long.
fn rest(took: Duration) -> Duration {
    took.saturating_mul(READING_SHARE).clamp(REST_MIN, REST_MAX)
}

/// Processor time of threads by their names. A thread that ended counts with what it had used when
/// it was last seen.
#[derive(Default)]
struct Cpu {
    /// Of threads that live: name and ticks.
    living: BTreeMap<u32, (String, u64)>,
    ended: BTreeMap<String, u64>,
}

/// Linux counts in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

impl Cpu {
    /// Ticks by name, of all that was ever seen.
    fn look(&mut self) -> BTreeMap<String, u64> {
        let mut now = BTreeMap::new();
        for entry in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
            let id = entry.file_name().to_string_lossy().parse::<u32>().ok();
            if let (Some(id), Some(name), Some(stat)) = (id, read("comm"), read("stat")) {
                now.insert(id, (name.trim_end().to_owned(), ticks(&stat)));
            }
        }
        for (id, (name, used)) in std::mem::replace(&mut self.living, now) {
            // The number of one that ended may be another's by now.
            let same = self.living.get(&id).is_some_and(|(n, u)| *n == name && *u >= used);
            if !same {
                *self.ended.entry(name).or_default() += used;
            }
        }
        let mut sums = self.ended.clone();
        for (name, used) in self.living.values() {
            *sums.entry(name.clone()).or_default() += used;
        }
        sums
    }
}

/// User and system time of a line of `/proc/…/stat`; the name before it may hold anything.
fn ticks(stat: &str) -> u64 {
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    rest.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
}

/// The text that is answered.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        // Prometheus writes it so.
        let value = if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// A label's value: quotes, backslashes and line ends would end it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
fn float(count: u64) -> f64 {
    count as f64
}

pub fn read(service: &Service, _: &Call) -> Answer {
    let mut connectors = service.fleet.all();
    // Of a group each worker says what it runs itself.
    connectors.retain(|connector| connector.is_here());
    service.readings.refresh(service, &connectors);
    let states: Vec<(String, State)> =
        connectors.iter().map(|c| (c.name.clone(), c.state())).collect();
    let mut page = Page::default();
    of_connect(&mut page, &states);
    of_pipelines(&mut page, &states);
    of_clusters(&mut page, service);
    of_budget(&mut page, service);
    of_certificates(&mut page, service);
    of_traces(&mut page);
    of_process(&mut page, service, &states);
    Answer::text(200, "text/plain; version=0.0.4; charset=utf-8", page.0)
}

/// Under Kafka Connect's names.
fn of_connect(page: &mut Page, states: &[(String, State)]) {
    let status = "kafka_connect_connector_status";
    page.family(status, "gauge", "1 for the state that a task is in.");
    let mut failed = Vec::new();
    let mut tasks = 0;
    for (name, state) in states {
        let all = lifecycle::task_states(state);
        for (number, word) in all.iter().enumerate() {
            let number = number.to_string();
            let labels =
                [("connector", name.as_str()), ("task", &number), ("status", &word.to_lowercase())];
            page.sample(status, &labels, 1.0);
        }
        tasks += all.len();
        failed.push((name, all.iter().filter(|word| **word == "FAILED").count()));
    }
    let count = "kafka_connect_worker_connector_count";
    page.family(count, "gauge", "Connectors of this worker.");
    page.sample(count, &[], float(states.len() as u64));
    let count = "kafka_connect_worker_task_count";
    page.family(count, "gauge", "Tasks of this worker.");
    page.sample(count, &[], float(tasks as u64));
    let count = "kafka_connect_worker_connector_failed_task_count";
    page.family(count, "gauge", "Tasks of a connector that failed.");
    for (name, number) in failed {
        page.sample(count, &[("connector", name)], float(number as u64));
    }
    let sum = |state: &State, of: &dyn Fn(&crate::connector::Member) -> u64| {
        float(state.members.iter().map(of).sum())
    };
    let families: [(&str, &str, &dyn Fn(&crate::connector::Member) -> u64); 3] = [
        (
            "kafka_connect_sink_task_sink_record_send_total",
            "Records that crossed since the process began.",
            &|member| member.totals.records,
        ),
        (
            "kafka_connect_task_error_total_records_skipped",
            "Records that were set aside since the process began.",
            &|member| member.totals.quarantined.unwrap_or(0),
        ),
        (
            "kafka_connect_task_error_total_retries",
            "How often pipelines were begun again by themselves.",
            &|member| member.restarts,
        ),
    ];
    for (name, help, of) in families {
        page.family(name, "counter", help);
        for (connector, state) in states {
            page.sample(name, &[("connector", connector)], sum(state, of));
        }
    }
}

/// Of each pipeline, from this process.
fn of_pipelines(page: &mut Page, states: &[(String, State)]) {
    type Of = fn(&crate::connector::Member) -> Option<u64>;
    let families: [(&str, &str, &str, Of); 6] = [
        ("douane_up", "gauge", "1 while the pipeline runs.", |m| {
            Some(u64::from(m.phase == Phase::Running))
        }),
        ("douane_records_total", "counter", "Records that crossed since the process began.", |m| {
            Some(m.totals.records)
        }),
        ("douane_transactions_total", "counter", "Transactions since the process began.", |m| {
            Some(m.totals.transactions)
        }),
        (
            "douane_quarantined_total",
            "counter",
            "Records set aside since the process began.",
            |m| m.totals.quarantined,
        ),
        ("douane_restarts_total", "counter", "How often it was begun again by itself.", |m| {
            Some(m.restarts)
        }),
        ("douane_held_partitions", "gauge", "Partitions that wait for people.", |m| {
            Some(m.held.len() as u64)
        }),
    ];
    for (name, kind, help, of) in families {
        page.family(name, kind, help);
        for (connector, state) in states {
            for member in &state.members {
                if let Some(value) = of(member) {
                    let labels =
                        [("connector", connector.as_str()), ("pipeline", &member.pipeline)];
                    page.sample(name, &labels, float(value));
                }
            }
        }
    }
}

/// Of each pipeline, as target, source and ledger have it; at most a minute old where somebody looks
/// often.
fn of_clusters(page: &mut Page, service: &Service) {
    type Of = fn(&Status) -> Option<f64>;
    let families: [(&str, &str, Of); 4] = [
        ("douane_lag_records", "Records that have not crossed yet, as offsets.", |s| {
            Some(float(s.partitions.iter().map(|p| p.lag.unsigned_abs()).sum()))
        }),
        (
            "douane_hours_until_retention",
            "Hours until the source deletes the first record that waits at a held partition.",
            |s| {
                let waits = s.partitions.iter().filter(|p| p.state == PartitionState::Held);
                let least = waits.filter_map(|p| p.hours_left).min();
                least.map(|hours| float(hours.max(0).unsigned_abs()))
            },
        ),
        ("douane_release_expires_timestamp_seconds", "When the release's life is over.", |s| {
            let expires: jiff::Timestamp = s.release_expires.parse().ok()?;
            Some(float(expires.as_second().unsigned_abs()))
        }),
        ("douane_ledger_records", "Records that crossed, by the ledger.", |s| {
            Some(float(s.records))
        }),
    ];
    let known = service.readings.statuses.lock();
    let known = known.unwrap_or_else(std::sync::PoisonError::into_inner);
    for (name, help, of) in families {
        page.family(name, "gauge", help);
        for (connector, reading) in known.iter() {
            for status in &reading.statuses {
                if let Some(value) = of(status) {
                    let labels =
                        [("connector", connector.as_str()), ("pipeline", &status.pipeline)];
                    page.sample(name, &labels, value);
                }
            }
        }
    }
    let age = "douane_reading_age_seconds";
    page.family(age, "gauge", "How old the readings from the clusters are.");
    for (connector, reading) in known.iter() {
        let seconds = reading.at.map_or(f64::INFINITY, |at| at.elapsed().as_secs_f64().floor());
        page.sample(age, &[("connector", connector)], seconds);
    }
}

/// What is left of the accounts of identity spaces.
fn of_budget(page: &mut Page, service: &Service) {
    let left = "douane_budget_rho_left";
    page.family(left, "gauge", "What a policy may still spend of its cap, in rho.");
    for account in audit::budget(&service.place_file).unwrap_or_default() {
        for policy in account.policies {
            let labels = [("space", account.space.as_str()), ("pipeline", &policy.pipeline)];
            page.sample(left, &labels, policy.left);
        }
    }
}

/// When what the service is known by ends; what cannot be read has no line.
fn of_certificates(page: &mut Page, service: &Service) {
    let ends = "douane_certificate_expires_timestamp_seconds";
    page.family(ends, "gauge", "When a certificate or a token ends, by what it is for.");
    let own = service.place.serve.tls.as_ref().and_then(|tls| validity(&tls.cert_file));
    let sides = [("sovereign", &service.place.sovereign), ("global", &service.place.global)];
    let of_sides = sides.into_iter().flat_map(|(side, cluster)| {
        expiries(cluster).into_iter().map(move |end| (side, end.ends)).collect::<Vec<_>>()
    });
    for (of, at) in own.into_iter().map(|(_, end)| ("service", end)).chain(of_sides) {
        page.sample(ends, &[("of", of)], float(at.as_second().unsigned_abs()));
    }
}

/// Spans that nobody took.
fn of_traces(page: &mut Page) {
    let name = "douane_traces_lost_total";
    page.family(name, "counter", "Traces that could not be handed on.");
    page.sample(name, &[], float(traces::lost()));
}

/// What the process uses, and which connector of it.
fn of_process(page: &mut Page, service: &Service, states: &[(String, State)]) {
    let mut cpu = service.readings.cpu.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let used = cpu.look();
    let own = "douane_cpu_seconds_total";
    page.family(
        own,
        "counter",
        "Processor time of a connector's own threads; Kafka clients' apart.",
    );
    for (connector, _) in states {
        let ticks = used.get(&thread_name(connector)).copied().unwrap_or(0);
        page.sample(own, &[("connector", connector)], float(ticks) / TICKS_PER_S);
    }
    let all = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    page.family("process_cpu_seconds_total", "counter", "Processor time of the process.");
    page.sample("process_cpu_seconds_total", &[], float(ticks(&all)) / TICKS_PER_S);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    page.family("process_resident_memory_bytes", "gauge", "Memory in use.");
    page.sample("process_resident_memory_bytes", &[], float(resident.unwrap_or(0) * 1024));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_take_a_small_share_of_the_time_and_are_at_most_a_minute_old() {
        let ms = Duration::from_millis;
        for (took, fresh) in
            [(0, 3_000), (100, 3_000), (500, 10_000), (3_000, 60_000), (90_000, 60_000)]
        {
            assert_eq!(rest(ms(took)), ms(fresh), "{took} ms");
        }
    }

    #[test]
    fn a_hostile_label_ends_neither_its_text_nor_its_line() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"} 1\nm{a=\"\\")], 2.0);
        assert_eq!(page.0, "m{a=\"x\\\"} 1\\nm{a=\\\"\\\\\"} 2\n");
        assert_eq!(page.0.lines().count(), 1);
        page.sample("m", &[], f64::INFINITY);
        assert!(page.0.ends_with("m +Inf\n"), "{}", page.0);
    }

    #[test]
    fn processor_time_goes_on_over_the_end_of_a_thread() {
        assert_eq!(ticks("7 (p:a) b) R 1 1 1 0 -1 4 0 0 0 0 12 30 0 0 20"), 42);
        let mut cpu = Cpu::default();
        cpu.living.insert(u32::MAX, ("gone".to_owned(), 7));
        let first = cpu.look();
        assert_eq!(first["gone"], 7);
        assert_eq!(cpu.look()["gone"], 7, "it is counted once");
        assert!(first.len() > 1, "this thread has a name too");
    }
}
