//! `/metrics`: as Prometheus reads them, under the names that the usual exporter gives Kafka
//! Connect's, and its own beside them.
//!
//! Labels are names of connectors, pipelines, identity spaces and rules of the release, numbers of tasks, and
//! words of this program; topics, columns and leaves stand in none. Written by hand: a library would put its own endings to names
//! that have to be the exporter's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use douane_pipelines::audit;
use douane_pipelines::certificates::{expiries, soon, validity};
use douane_pipelines::meters::Tally;
use douane_pipelines::status::{self, Status};
use douane_pipelines::traces;

use super::lifecycle;
use crate::call::{Answer, Call};
use crate::connector::{Connector, Member, Phase, State, thread_name};
use crate::refusals::Why;
use crate::routes;
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
    /// What is known of each connector that runs here: how old it is in seconds, and its pipelines.
    pub fn all(&self, service: &Service) -> BTreeMap<String, (Option<u64>, Vec<Status>)> {
        self.refresh(service, &here(service));
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
            // One that was dealt to another worker meanwhile is read there.
            for connector in old.into_iter().filter(|connector| connector.is_here()) {
                let began = Instant::now();
                let read = status::read_all(&place, &connector.file).map(|all| all.pipelines);
                // What cannot be read stays as it was, and its age says so: an alert that fell
                // silent with the link would be none. What waits at the source grows older.
                let read = read.unwrap_or_default();
                let is_read = !read.is_empty() && read.iter().all(|(_, status)| status.is_ok());
                let found = match is_read {
                    true => Some(read.into_iter().filter_map(|(_, s)| s.ok()).collect()),
                    false => waits_at_source(&statuses, &place, &connector),
                };
                let now = Instant::now();
                let mut known = statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let reading = known.entry(connector.name.clone()).or_default();
                reading.due = Some(now + rest(now - began));
                if let Some(found) = found {
                    reading.statuses = found;
                }
                if is_read {
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

/// What was read of a connector last, with what the source says by itself.
fn waits_at_source(
    statuses: &Mutex<BTreeMap<String, Reading>>,
    place: &Path,
    connector: &Connector,
) -> Option<Vec<Status>> {
    // Not under the lock: to ask the source may take long, and whoever reads waits for it.
    let mut known = {
        let all = statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(&connector.name)?.statuses.clone()
    };
    status::look_at_source(place, &connector.file, &mut known).ok().map(|()| known)
}

/// Of a group each worker reads and says what it runs itself.
fn here(service: &Service) -> Vec<Arc<Connector>> {
    let mut connectors = service.fleet.all();
    connectors.retain(|connector| connector.is_here());
    connectors
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

pub fn read(service: &Service, call: &Call) -> Answer {
    let connectors = here(service);
    service.readings.refresh(service, &connectors);
    let states: Vec<(String, State)> =
        connectors.iter().map(|c| (c.name.clone(), c.state())).collect();
    let mut page = Page::default();
    of_connect(&mut page, &states);
    of_worker(&mut page, service);
    of_pipelines(&mut page, &states);
    of_meters(&mut page, &states);
    of_clusters(&mut page, service, &states);
    // Who may not read the accounts reads them here no more than there.
    if routes::may_read("/v1/budget", &call.roles) {
        of_budget(&mut page, service);
    }
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
    let unreadable = "douane_unreadable";
    page.family(
        unreadable,
        "gauge",
        "1 while the file of a connector that is to run cannot be read: nothing of it runs.",
    );
    for (name, state) in states {
        let value = f64::from(u8::from(state.is_aimed() && state.unreadable.is_some()));
        page.sample(unreadable, &[("connector", name)], value);
    }
    of_tasks(page, states);
    let families: [(&str, &str, fn(&Member) -> u64); 2] = [
        (
            "kafka_connect_task_error_total_retries",
            "How often pipelines were begun again by themselves.",
            |member| member.restarts,
        ),
        (
            "kafka_connect_task_error_total_errors_logged",
            "Lines of the log that told of something wrong.",
            |member| member.errors_logged,
        ),
    ];
    for (name, help, of) in families {
        page.family(name, "counter", help);
        for (connector, state) in states {
            let sum = float(state.members.iter().map(of).sum());
            page.sample(name, &[("connector", connector)], sum);
        }
    }
}

/// Of this process, whatever became of its connectors.
fn of_worker(page: &mut Page, service: &Service) {
    let starts = &service.fleet.starts;
    let rebalances = service.worker.as_ref().map(|worker| &worker.rebalances);
    let count = |count: &AtomicU64| float(count.load(Ordering::Relaxed));
    for (name, help, value) in [
        (
            "kafka_connect_worker_task_startup_attempts_total",
            "How often tasks were begun.",
            count(&starts.attempts),
        ),
        (
            "kafka_connect_worker_task_startup_success_total",
            "How often tasks came to run.",
            count(&starts.successes),
        ),
        (
            "kafka_connect_worker_task_startup_failure_total",
            "How often tasks failed before they ran.",
            count(&starts.failures),
        ),
        (
            "kafka_connect_worker_rebalance_completed_rebalances_total",
            "How often this worker was dealt its part of the group.",
            rebalances.map_or(0.0, count),
        ),
    ] {
        page.family(name, "counter", help);
        page.sample(name, &[], value);
    }
    let refused = "douane_rest_refused_total";
    page.family(refused, "counter", "Calls that were refused, by why.");
    for why in Why::ALL {
        page.sample(refused, &[("reason", why.name())], float(service.refusals.count(why)));
    }
}

/// A task: its number, its pipeline, and what its shard counted.
struct Task<'a> {
    connector: &'a str,
    number: u32,
    shard: u32,
    member: &'a Member,
    tally: Tally,
}

fn tasks(states: &[(String, State)]) -> Vec<Task<'_>> {
    let mut all = Vec::new();
    for (connector, state) in states {
        let mut number = 0;
        for member in &state.members {
            let counts = member.meters.counts();
            for shard in 0..member.shards {
                let tally = counts.shard(shard);
                all.push(Task { connector, number, shard, member, tally });
                number += 1;
            }
        }
    }
    all
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
fn ms(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}

/// Of each task, under Kafka Connect's names, since the process began.
fn of_tasks(page: &mut Page, states: &[(String, State)]) {
    let share = |part: u64, all: u64| if all == 0 { 0.0 } else { float(part) / float(all) };
    let tried = |tally: &Tally| tally.commits.count + tally.commits_failed;
    type Of<'a> = &'a dyn Fn(&Task<'_>) -> f64;
    let families: [(&str, &str, &str, Of<'_>); 19] = [
        (
            "kafka_connect_sink_task_sink_record_read_total",
            "counter",
            "Records that committed transactions took in.",
            &|task| float(task.tally.records_read),
        ),
        (
            "kafka_connect_sink_task_sink_record_send_total",
            "counter",
            "Records that crossed.",
            &|task| float(task.tally.records_written),
        ),
        (
            "kafka_connect_sink_task_partition_count",
            "gauge",
            "Source partitions of the task.",
            &|task| float(task.member.partitions.get(&task.shard).copied().unwrap_or(0)),
        ),
        (
            "kafka_connect_sink_task_put_batch_avg_time_ms",
            "gauge",
            "How long a transaction takes, from the first stage to the commit.",
            &|task| ms(task.tally.transactions.mean()),
        ),
        (
            "kafka_connect_sink_task_put_batch_max_time_ms",
            "gauge",
            "How long the longest transaction took.",
            &|task| ms(task.tally.transactions.max),
        ),
        (
            "kafka_connect_sink_task_offset_commit_completion_total",
            "counter",
            "Commits: positions are in the transactions of the data.",
            &|task| float(task.tally.commits.count),
        ),
        (
            "kafka_connect_connector_task_offset_commit_avg_time_ms",
            "gauge",
            "How long a commit takes.",
            &|task| ms(task.tally.commits.mean()),
        ),
        (
            "kafka_connect_connector_task_offset_commit_max_time_ms",
            "gauge",
            "How long the longest commit took.",
            &|task| ms(task.tally.commits.max),
        ),
        (
            "kafka_connect_connector_task_offset_commit_success_percentage",
            "gauge",
            "Which part of the commits went through, from 0 to 1.",
            &|task| share(task.tally.commits.count, tried(&task.tally)),
        ),
        (
            "kafka_connect_connector_task_offset_commit_failure_percentage",
            "gauge",
            "Which part of the commits failed, from 0 to 1.",
            &|task| share(task.tally.commits_failed, tried(&task.tally)),
        ),
        (
            "kafka_connect_connector_task_batch_size_avg",
            "gauge",
            "Records that a transaction takes in.",
            &|task| share(task.tally.records_read, task.tally.transactions.count),
        ),
        (
            "kafka_connect_connector_task_batch_size_max",
            "gauge",
            "Records that the largest transaction took in.",
            &|task| float(task.tally.rows_max),
        ),
        (
            "kafka_connect_connector_task_running_ratio",
            "gauge",
            "Which part of the time it ran, from 0 to 1.",
            &|task| task.member.running_ratio(),
        ),
        (
            "kafka_connect_task_error_total_record_failures",
            "counter",
            "Records that were set aside.",
            &|task| float(task.tally.set_aside),
        ),
        (
            "kafka_connect_task_error_total_record_errors",
            "counter",
            "Records that were set aside.",
            &|task| float(task.tally.set_aside),
        ),
        (
            "kafka_connect_task_error_total_records_skipped",
            "counter",
            "Records that were set aside.",
            &|task| float(task.tally.set_aside),
        ),
        (
            "kafka_connect_task_error_deadletterqueue_produce_requests",
            "counter",
            "Records that were written to the quarantine.",
            &|task| float(task.tally.set_aside),
        ),
        (
            "kafka_connect_task_error_deadletterqueue_produce_failures",
            "counter",
            "Writes to the quarantine that failed.",
            &|task| float(task.tally.aside_failed),
        ),
        (
            "kafka_connect_task_error_last_error_timestamp",
            "gauge",
            "When something failed or was set aside last, in milliseconds since the epoch; 0: never.",
            &|task| {
                let last = task.tally.last_error_ms.max(task.member.failed_at_ms);
                float(last.unwrap_or(0).unsigned_abs())
            },
        ),
    ];
    let tasks = tasks(states);
    for (name, kind, help, of) in families {
        page.family(name, kind, help);
        for task in &tasks {
            let number = task.number.to_string();
            page.sample(name, &[("connector", task.connector), ("task", &number)], of(task));
        }
    }
}

/// Of each pipeline, from this process.
fn of_pipelines(page: &mut Page, states: &[(String, State)]) {
    let wanted = "douane_wanted";
    page.family(wanted, "gauge", "1 where the pipeline is to run: nobody paused or stopped it.");
    for (connector, state) in states {
        for member in &state.members {
            let labels = [("connector", connector.as_str()), ("pipeline", &member.pipeline)];
            page.sample(wanted, &labels, f64::from(u8::from(state.wants(member))));
        }
    }
    type Of = fn(&Member) -> Option<u64>;
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

/// What the shards of each pipeline count. Of statistics nothing: what a window is made of is nobody's to see.
fn of_meters(page: &mut Page, states: &[(String, State)]) {
    let mut all = Vec::new();
    for (connector, state) in states {
        for member in state.members.iter().filter(|member| !member.is_statistics) {
            let labels =
                [("connector", connector.as_str()), ("pipeline", member.pipeline.as_str())];
            all.push((labels, member.meters.counts()));
        }
    }
    type Of = fn(&Tally) -> u64;
    let bytes: [(&str, &str, Of); 2] = [
        (
            "douane_bytes_read_total",
            "Bytes of keys, values and headers that were taken in.",
            |tally| tally.bytes_read,
        ),
        ("douane_bytes_written_total", "Bytes of keys and values that crossed.", |tally| {
            tally.bytes_written
        }),
    ];
    for (name, help, of) in bytes {
        page.family(name, "counter", help);
        for (labels, counts) in &all {
            page.sample(name, labels, float(counts.shards.iter().map(of).sum()));
        }
    }
    let help = "From a record's time in the source to the commit of what it became.";
    page.family("douane_latency_seconds", "histogram", help);
    for (labels, counts) in &all {
        let (up_to, count) = counts.latency.up_to();
        let ends = up_to.iter().map(|(end_ms, sum)| (float(end_ms.unsigned_abs()) / 1e3, *sum));
        for (end, sum) in ends.chain([(f64::INFINITY, count)]) {
            let end = if end.is_finite() { end.to_string() } else { "+Inf".to_owned() };
            let labels = [labels[0], labels[1], ("le", &end)];
            page.sample("douane_latency_seconds_bucket", &labels, float(sum));
        }
        page.sample("douane_latency_seconds_sum", labels, float(counts.latency.sum_ms) / 1e3);
        page.sample("douane_latency_seconds_count", labels, float(count));
    }
    let refused = "douane_refused_total";
    page.family(
        refused,
        "counter",
        "Records that were set aside, by the code of what refused them.",
    );
    for (labels, counts) in &all {
        for (code, count) in &counts.refused {
            page.sample(refused, &[labels[0], labels[1], ("code", code)], float(*count));
        }
    }
    let cells = "douane_cells_total";
    page.family(
        cells,
        "counter",
        "Cells that went through a stage, by the policy's rule for them.",
    );
    for (labels, counts) in &all {
        for of in &counts.cells {
            let labels = [labels[0], labels[1], ("stage", of.stage), ("rule", &of.rule)];
            page.sample(cells, &labels, float(of.cells));
        }
    }
}

/// Of each pipeline, as target, source and ledger have it; at most a minute old where somebody looks
/// often.
fn of_clusters(page: &mut Page, service: &Service, states: &[(String, State)]) {
    type Of = fn(&Status) -> Option<f64>;
    let families: [(&str, &str, Of); 4] = [
        ("douane_lag_records", "Records that have not crossed yet, as offsets.", |s| {
            Some(float(s.partitions.iter().map(|p| p.lag.unsigned_abs()).sum()))
        }),
        (
            "douane_hours_until_retention",
            "Hours until the source deletes the first record that waits.",
            |s| {
                let least = s.partitions.iter().filter_map(|p| p.hours_left).min();
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
    let known: Vec<(&String, &Reading)> =
        states.iter().filter_map(|(name, _)| known.get_key_value(name)).collect();
    for (name, help, of) in families {
        page.family(name, "gauge", help);
        for (connector, reading) in &known {
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
    for (connector, reading) in &known {
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

/// When what the service is known by ends, and from when on that is told; what cannot be read has no
/// line.
fn of_certificates(page: &mut Page, service: &Service) {
    let own = service.place.serve.tls.as_ref().and_then(|tls| validity(&tls.cert_file));
    let own = own.map(|(begins, ends)| ("service", soon(Some(begins), ends), ends));
    let sides = [("sovereign", &service.place.sovereign), ("global", &service.place.global)];
    // Of a certificate and a token what ends first: a line of each would be one of two of one series.
    let of_sides = sides.into_iter().filter_map(|(side, cluster)| {
        let end = expiries(cluster).into_iter().min_by_key(|end| end.ends)?;
        Some((side, end.soon(), end.ends))
    });
    let all: Vec<_> = own.into_iter().chain(of_sides).collect();
    let ends = "douane_certificate_expires_timestamp_seconds";
    page.family(ends, "gauge", "When a certificate or a token ends, by what it is for.");
    for (of, _, at) in &all {
        page.sample(ends, &[("of", of)], float(at.as_second().unsigned_abs()));
    }
    let soon = "douane_certificate_expires_soon_timestamp_seconds";
    page.family(soon, "gauge", "From when on it is told that a certificate or a token ends.");
    for (of, at, _) in &all {
        page.sample(soon, &[("of", of)], float(at.as_second().unsigned_abs()));
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
    of_gpu(page, states);
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

/// No finer than the processor's time: how much noise was drawn for is as little anybody's to see.
fn of_gpu(page: &mut Page, states: &[(String, State)]) {
    let gpu = "douane_gpu_seconds_total";
    page.family(gpu, "counter", "Time of a pipeline's jobs on the GPU; 0 without one.");
    for (connector, state) in states {
        for member in &state.members {
            let labels = [("connector", connector.as_str()), ("pipeline", &member.pipeline)];
            let hundredths = member.meters.counts().gpu.as_millis() / 10;
            let hundredths = u64::try_from(hundredths).unwrap_or(u64::MAX);
            page.sample(gpu, &labels, float(hundredths) / TICKS_PER_S);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::views;
    use crate::connector::Runs;
    use crate::service::tests::Rig;
    use crate::store::{Saved, TargetState};

    /// With a group each worker reads what it runs; page and metrics share the readings of that.
    #[test]
    fn page_and_metrics_have_one_set_of_readings_of_what_runs_here() {
        let rig = Rig::new("");
        let service = &*rig.service;
        for name in ["a", "b", "c"] {
            let saved = Saved { target: TargetState::Stopped, ..Saved::default() };
            service.fleet.add(name, &service.fleet.store.file_of(name), saved);
        }
        service.fleet.get("b").unwrap().runs(Runs::Elsewhere);
        let call = Call {
            params: BTreeMap::new(),
            query: Vec::new(),
            roles: Vec::new(),
            origin: String::new(),
            if_none_match: None,
            body: Vec::new(),
        };
        let now = || Reading { at: Some(Instant::now()), ..Reading::default() };
        let known = || -> BTreeSet<String> {
            service.readings.statuses.lock().unwrap().keys().cloned().collect()
        };
        // Nothing is read meanwhile but what the test puts there.
        service.readings.is_reading.store(true, Ordering::Relaxed);
        let here = BTreeSet::from(["a".to_owned(), "c".to_owned()]);
        let asks: [fn(&Service, &Call) -> Answer; 3] = [read, views::partitions, read];
        for ask in asks {
            for name in ["a", "b", "c"] {
                service.readings.statuses.lock().unwrap().entry(name.into()).or_insert_with(now);
            }
            assert_eq!(ask(service, &call).status, 200);
            assert_eq!(known(), here);
        }
        // One that moves away while it is read is said where it runs.
        service.fleet.get("c").unwrap().runs(Runs::Elsewhere);
        let states = vec![("a".to_owned(), service.fleet.get("a").unwrap().state())];
        let mut page = Page::default();
        of_clusters(&mut page, service, &states);
        let ages = page.0.lines().filter(|line| line.starts_with("douane_reading_age_seconds{"));
        assert_eq!(ages.collect::<Vec<_>>(), ["douane_reading_age_seconds{connector=\"a\"} 0"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_number_of_its_own() {
        let rig = Rig::new("");
        let fleet = &rig.service.fleet;
        let saved = Saved { target: TargetState::Stopped, ..Saved::default() };
        fleet.add("a", &fleet.store.file_of("a"), saved);
        let mut stopped = fleet.get("a").unwrap().state();
        stopped.unreadable = Some("why".into());
        let mut torn = stopped.clone();
        torn.saved.target = TargetState::Running;
        let mut page = Page::default();
        of_connect(&mut page, &[("a".to_owned(), stopped), ("b".to_owned(), torn)]);
        let said = page.0.lines().filter(|line| line.starts_with("douane_unreadable{"));
        let said: Vec<&str> = said.collect();
        assert_eq!(
            said,
            ["douane_unreadable{connector=\"a\"} 0", "douane_unreadable{connector=\"b\"} 1"]
        );
        assert!(!page.0.contains("why"), "the reason is no label");
    }

    /// A hundred years: a week before. One that is not there has no line.
    #[test]
    fn a_certificate_is_told_at_the_instant_that_the_log_goes_by() {
        let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");
        let more = "cert_file: \"TLS/server.pem\", key_file: \"TLS/server.key\"";
        let more = format!("serve: {{ tls: {{ {more} }} }}\n").replace("TLS", tls);
        let lines_of = |more: &str| -> Vec<String> {
            let mut page = Page::default();
            of_certificates(&mut page, &Rig::new(more).service);
            page.0.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        // `openssl x509 -in server.pem -noout -enddate`: 2126-10-29T07:34:06Z.
        let ends: f64 = 4_948_932_846.0;
        let line = |name: &str, at: f64| {
            format!("douane_certificate_{name}_timestamp_seconds{{of=\"service\"}} {at}")
        };
        let week = 7.0 * 86_400.0;
        assert_eq!(lines_of(&more), [line("expires", ends), line("expires_soon", ends - week)]);
        assert_eq!(lines_of(""), Vec::<String>::new());
    }

    /// What the exporter of Kafka Connect gives of a sink, and has a meaning here.
    const OF_CONNECT: &str = "
        connector_status
        worker_connector_count worker_task_count worker_connector_failed_task_count
        worker_task_startup_attempts_total worker_task_startup_success_total
        worker_task_startup_failure_total worker_rebalance_completed_rebalances_total
        sink_task_sink_record_read_total sink_task_sink_record_send_total sink_task_partition_count
        sink_task_put_batch_avg_time_ms sink_task_put_batch_max_time_ms
        sink_task_offset_commit_completion_total
        connector_task_offset_commit_avg_time_ms connector_task_offset_commit_max_time_ms
        connector_task_offset_commit_success_percentage
        connector_task_offset_commit_failure_percentage
        connector_task_batch_size_avg connector_task_batch_size_max connector_task_running_ratio
        task_error_total_record_failures task_error_total_record_errors
        task_error_total_records_skipped task_error_total_retries task_error_total_errors_logged
        task_error_deadletterqueue_produce_requests task_error_deadletterqueue_produce_failures
        task_error_last_error_timestamp";

    #[test]
    fn the_names_of_kafka_connect_are_there_and_documented() {
        let rig = Rig::new("");
        let mut page = Page::default();
        let states = [("c".to_owned(), State::of_test(TargetState::Running, Phase::Running))];
        of_connect(&mut page, &states);
        of_worker(&mut page, &rig.service);
        let start = "kafka_connect_";
        let samples = page.0.lines().filter_map(|line| line.strip_prefix(start));
        let written: BTreeSet<&str> =
            samples.map(|rest| rest.split(['{', ' ']).next().unwrap()).collect();
        let expected: BTreeSet<&str> = OF_CONNECT.split_whitespace().collect();
        assert_eq!(written, expected);
        let docs = include_str!("../../../docs/serve.md");
        for name in expected {
            assert!(docs.contains(&format!("`{start}{name}")), "{name} is documented nowhere");
        }
        // Two shards are two tasks.
        for task in ["0", "1"] {
            let line = format!(
                "kafka_connect_sink_task_sink_record_send_total{{connector=\"c\",task=\"{task}\"}} 0\n"
            );
            assert!(page.0.contains(&line), "{}", page.0);
        }
    }

    #[test]
    fn the_histogram_has_the_form_that_prometheus_reads() {
        let mut page = Page::default();
        let mut of_windows = State::of_test(TargetState::Running, Phase::Running);
        of_windows.members[0].is_statistics = true;
        let rows = State::of_test(TargetState::Running, Phase::Running);
        of_meters(&mut page, &[("c".to_owned(), rows), ("windows".to_owned(), of_windows)]);
        let labels = "connector=\"c\",pipeline=\"p\"";
        for line in [
            format!("douane_latency_seconds_bucket{{{labels},le=\"0.05\"}} 0\n"),
            format!("douane_latency_seconds_bucket{{{labels},le=\"3600\"}} 0\n"),
            format!("douane_latency_seconds_bucket{{{labels},le=\"+Inf\"}} 0\n"),
            format!("douane_latency_seconds_count{{{labels}}} 0\n"),
            format!("douane_bytes_read_total{{{labels}}} 0\n"),
        ] {
            assert!(page.0.contains(&line), "{line} is not in\n{}", page.0);
        }
        assert!(!page.0.contains("windows"), "of statistics nothing is told");
    }

    #[test]
    fn time_on_a_gpu_is_said_of_each_pipeline_in_hundredths_and_is_0_without_one() {
        let state = State::of_test(TargetState::Running, Phase::Running);
        let said = || {
            let mut page = Page::default();
            of_gpu(&mut page, &[("c".to_owned(), state.clone())]);
            let line = "douane_gpu_seconds_total{connector=\"c\",pipeline=\"p\"} ";
            page.0.lines().find_map(|found| found.strip_prefix(line)).unwrap().to_owned()
        };
        assert_eq!(said(), "0");
        state.members[0].meters.drawn(Duration::from_micros(9_999));
        assert_eq!(said(), "0");
        state.members[0].meters.drawn(Duration::from_micros(1_240_002));
        assert_eq!(said(), "1.25");
    }

    /// What the alert goes by: one that somebody paused or stopped, or that came to the end of its source, is
    /// down and wanted by nobody.
    #[test]
    fn a_pipeline_is_wanted_until_somebody_stops_it_or_its_source_has_ended() {
        let said = |target, phase| {
            let state = State::of_test(target, phase);
            let mut page = Page::default();
            of_pipelines(&mut page, &[("c".to_owned(), state)]);
            let value = |name: &str| {
                let line = format!("{name}{{connector=\"c\",pipeline=\"p\"}} ");
                page.0.lines().find_map(|found| found.strip_prefix(&line)).unwrap().to_owned()
            };
            (value("douane_wanted"), value("douane_up"))
        };
        let trace = || "x".to_owned();
        for (target, phase, wanted, up) in [
            (TargetState::Running, Phase::Running, "1", "1"),
            (TargetState::Running, Phase::Starting, "1", "0"),
            (TargetState::Running, Phase::Resting { trace: trace() }, "1", "0"),
            (TargetState::Running, Phase::Failed { trace: trace() }, "1", "0"),
            (TargetState::Running, Phase::Ended, "0", "0"),
            (TargetState::Paused, Phase::Ended, "0", "0"),
            (TargetState::Stopped, Phase::Ended, "0", "0"),
            (TargetState::Stopped, Phase::Failed { trace: trace() }, "0", "0"),
        ] {
            let found = said(target, phase.clone());
            assert_eq!(found, (wanted.to_owned(), up.to_owned()), "{target:?} {phase:?}");
        }
    }

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
