//! `leaktest FILE`: the pipeline as it would run, in a place of its own: two brokers in this
//! process, keys and approvers that nobody keeps, this binary started as a process, killed and
//! served again, behind its REST API. Then everything that it wrote or said is searched for what was planted; in each
//! kind of place a leak is planted as well, which must be found.

mod kafka;
mod lodging;
mod service;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use douane_broker::{Broker, Options};
use douane_pipelines::config;
use douane_pipelines::fault::RunFault;
use douane_pipelines::leaktest::{Kit, LeafSeen, Leak, Marker, Planted, Report, Scanner, Sink};
use douane_pipelines::names::Names;
use douane_pipelines::status::{PartitionState, PartitionStatus};

use crate::{Format, verb};
use lodging::{Lodging, Running};
use service::Answer;

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file.
    file: PathBuf,
    /// Of a file with `tables`, this one alone; without it, each in turn.
    #[arg(long)]
    table: Option<String>,
    /// Records that are well; one more is sent for each way of being wrong.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(40..=20_000))]
    records: u64,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Something must happen within this time, on a slow and busy machine as well.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);
const METRICS: &str = "/metrics";
const LOUD: &str = "{\"level\":\"TRACE\"}";
/// The folder that `feed` fills.
const FED: &str = "fed";
/// Partitions that hold nothing that is wrong.
const WELL: usize = 2;

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let tables = config::singly(&args.file).map_err(RunFault::Findings)?;
    if tables.is_empty() || args.table.is_some() {
        // Of a file that has no such table, loading it says so.
        let table = args.table.as_deref();
        let text = tables.into_iter().find(|(name, _)| Some(&**name) == table);
        let report = test(place, args, table, text.map(|(_, text)| text))?;
        match args.format {
            Format::Text => verb::print(&report.text()),
            Format::Json => verb::print_json(&report),
        }
        return Ok(verb::answer(report.passes()));
    }
    let mut reports = Vec::new();
    for (table, text) in tables {
        reports.push(test(place, args, Some(&table), Some(text))?);
    }
    match args.format {
        Format::Text => {
            let texts: Vec<String> = reports.iter().map(Report::text).collect();
            verb::print(&texts.join("\n"));
        }
        Format::Json => verb::print_json(&reports),
    }
    Ok(verb::answer(reports.iter().all(Report::passes)))
}

/// Of one pipeline. `text`: a table's, as a file of its own.
fn test(
    place: &Path,
    args: &Args,
    table: Option<&str>,
    text: Option<String>,
) -> Result<Report, RunFault> {
    let kit = Kit::new(place, &args.file, table)?;
    let leaves = kit.pairs()?;
    Test::new(&kit, &args.file, text)?.run(args.records as usize, leaves)
}

fn fault(what: impl std::fmt::Display) -> RunFault {
    RunFault::Client(format!("leaktest: {what}"))
}

/// Two brokers and a place beside them.
struct Test<'a> {
    kit: &'a Kit,
    names: Names,
    /// The source's topics.
    raw: Vec<String>,
    /// In what processes say: the name of the pipeline, and the beginning of its topics'.
    planted: Plant,
    stop: Arc<AtomicBool>,
    // Before the brokers: what is connected to them ends first.
    lodging: Lodging,
    sovereign: Broker,
    global: Broker,
}

impl<'a> Test<'a> {
    fn new(kit: &'a Kit, file: &Path, text: Option<String>) -> Result<Self, RunFault> {
        let start = || Broker::start(Options::default()).map_err(fault);
        let (sovereign, global) = (start()?, start()?);
        let planted = Plant::new()?;
        let lodging = Lodging::build(kit, (file, text), &planted.text, [&sovereign, &global])?;
        // From here on there is something to leave behind.
        let stop = verb::asked_to_stop()?;
        let (names, raw) = (lodging.names()?, lodging.topics()?);
        Ok(Self { kit, names, raw, planted, stop, lodging, sovereign, global })
    }

    fn run(&self, records: usize, leaves: Vec<LeafSeen>) -> Result<Report, RunFault> {
        let wrong = self.kit.wrong()?;
        let ways: Vec<&'static str> = wrong.iter().map(|planted| planted.wrong).collect();
        let partitions = WELL + wrong.len();
        for topic in &self.raw {
            self.lodging.create_topic(topic, partitions as i32)?;
        }
        self.lodging.open()?;
        let mut markers = Vec::new();
        let half = records / 2;
        let mut sent = self.send(0..half, wrong, partitions, &mut markers)?;
        let environment = self.cut()?;
        // Whatever was committed before the cut: the service has records of its own to carry over.
        sent += self.send(half..records, Vec::new(), partitions, &mut markers)?;
        let mut not_seen = self.kit.blind(&leaves);
        let planted = Plant::new()?;
        let answers = self.cross(partitions, &planted, &mut not_seen)?;
        let scanner = Kit::scanner(&markers);
        // Before anything is planted in topics: `verify` and `feed` would read no further.
        let mut sinks = self.said(&scanner, &markers, environment, &mut not_seen)?;
        sinks.extend(self.topics(&scanner, &markers)?);
        sinks.extend(self.answered(&scanner, &markers, &planted, &answers)?);
        sinks.extend(self.files(&scanner, &markers)?);
        let data = kafka::read(&self.global.bootstrap(), &self.names.data)?;
        if data.len() < records / 4 {
            not_seen.push(format!("{} of {records} records outside", data.len()));
        }
        let traces = self.lodging.files_below("traces")?;
        let is_trace = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("\"transaction\"");
        if !traces.iter().any(|(_, bytes)| is_trace(bytes)) {
            not_seen.push("a trace of a transaction".to_owned());
        }
        let manifests = kafka::read(&self.global.bootstrap(), &self.names.manifest)?;
        if !manifests.iter().any(kafka::is_bundle) {
            not_seen.push("a bundle of checkpoints".to_owned());
        }
        if kafka::read(&self.sovereign.bootstrap(), &self.names.quarantine)?.is_empty() {
            not_seen.push("a record in quarantine".to_owned());
        }
        Ok(Report {
            pipeline: self.kit.pipeline.name.clone(),
            records: sent,
            markers: markers.len() as u64,
            wrong: ways,
            instead: self.lodging.instead.clone(),
            leaves,
            sinks,
            not_seen,
        })
    }

    /// Each way of being wrong has a partition of its own, with records that are well around it.
    /// `well`: the numbers of those.
    fn send(
        &self,
        well: Range<usize>,
        wrong: Vec<Planted>,
        partitions: usize,
        markers: &mut Vec<Marker>,
    ) -> Result<u64, RunFault> {
        let topic = &self.raw[0];
        let feed = kafka::Feed::open(&self.sovereign.bootstrap())?;
        let mut sent = 0;
        let mut put = |planted: Planted, partition: usize| {
            feed.send(topic, partition as i32, &planted)?;
            markers.extend(planted.markers);
            sent += 1;
            Ok::<(), RunFault>(())
        };
        for number in well {
            put(self.kit.well(number)?, number % partitions)?;
        }
        for (partition, planted) in (WELL..).zip(wrong) {
            put(planted, partition)?;
        }
        feed.flush()?;
        Ok(sent)
    }

    /// A run that is killed in the middle: with the first data outside. What `/proc` tells of it.
    fn cut(&self) -> Result<Vec<u8>, RunFault> {
        let bootstrap = self.global.bootstrap();
        let mut running = self.lodging.start("run-killed")?;
        let seen = self.lodging.proc_of(running.id());
        let deadline = Instant::now() + PATIENCE;
        while kafka::read(&bootstrap, &self.names.data)?.is_empty() {
            self.still_runs(&mut running, "run-killed")?;
            if Instant::now() > deadline {
                let said = self.lodging.last_said("run-killed");
                return Err(fault(format!("nothing crosses; the last it said:\n{said}")));
            }
            self.rest();
        }
        running.kill()?;
        Ok(seen)
    }

    /// Served until nothing moves any more. What was answered to calls.
    fn cross(
        &self,
        partitions: usize,
        planted: &Plant,
        not_seen: &mut Vec<String>,
    ) -> Result<Vec<Answer>, RunFault> {
        let (mut running, token) = self.lodging.serve("serve", &planted.text)?;
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            self.rest();
            self.still_runs(&mut running, "serve")?;
            if let Some(address) = service::listens_at(&self.lodging.printed("serve", "err")?) {
                break address;
            }
            if Instant::now() > deadline {
                return Err(fault("the service does not listen"));
            }
        };
        // There is no level at which it says a value.
        let loud = service::call(&address, &token, "PUT", "/admin/loggers/root", Some(LOUD))?;
        if loud.status != 200 {
            not_seen.push("logs at TRACE".to_owned());
        }
        loop {
            self.rest();
            self.still_runs(&mut running, "serve")?;
            let at_rest = |p: &&PartitionStatus| p.state == PartitionState::Held || p.lag == 0;
            if self.lodging.status()?.partitions.iter().filter(at_rest).count() >= partitions {
                break;
            }
            if Instant::now() > deadline {
                not_seen.push("every partition at its end, or held".to_owned());
                break;
            }
        }
        let pipeline = &self.lodging.name;
        let mut answers = service::everything(&address, &token, pipeline, &planted.text)?;
        // What is read from the clusters comes with a later look.
        let deadline = Instant::now() + PATIENCE;
        let is_read = |answer: &Answer| answer.text().contains("douane_lag_records{");
        loop {
            let metrics = service::call(&address, &token, "GET", METRICS, None)?;
            let ends = is_read(&metrics) || Instant::now() > deadline;
            answers.push(metrics);
            if ends {
                break;
            }
            self.rest();
        }
        if !answers.iter().any(is_read) {
            not_seen.push("metrics with what is read from the clusters".to_owned());
        }
        running.kill()?;
        Ok(answers)
    }

    /// What the service answered. The plants: a connector whose name is one stands in the metrics, in
    /// the logs and in a refusal.
    fn answered(
        &self,
        scanner: &Scanner,
        markers: &[Marker],
        planted: &Plant,
        answers: &[Answer],
    ) -> Result<Vec<Sink>, RunFault> {
        let is_metrics = |answer: &&Answer| answer.path == METRICS;
        let (metrics, rest): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(is_metrics);
        let mut sinks = Vec::new();
        for (sink, answers) in [("serve: REST answers", rest), ("serve: metrics", metrics)] {
            let mut search = Search::new(sink, scanner, markers);
            let mut found = false;
            for answer in answers {
                search.bytes(&answer.path, &answer.bytes);
                found |= planted.is_in(&answer.bytes);
            }
            sinks.push(search.end(found.then_some(0).into_iter().collect(), 1));
        }
        let sink = "serve: both streams, logs at TRACE";
        sinks.push(self.streams("serve", planted, Search::new(sink, scanner, markers))?);
        Ok(sinks)
    }

    /// For a moment.
    fn rest(&self) {
        // Nobody ever sends: it is a clock that needs no sleep.
        let (_keep, clock) = std::sync::mpsc::channel::<()>();
        let _ = clock.recv_timeout(LOOK);
    }

    /// Ctrl-C ends it between two steps: what it made goes with it.
    fn go_on(&self) -> Result<(), RunFault> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(fault("stopped; nothing is left behind")),
            false => Ok(()),
        }
    }

    fn still_runs(&self, running: &mut Running, name: &str) -> Result<(), RunFault> {
        self.go_on()?;
        match running.ended()? {
            None => Ok(()),
            Some(code) => {
                let said = self.lodging.last_said(name);
                Err(fault(format!("it ended by itself, {code}; the last it said:\n{said}")))
            }
        }
    }

    /// Everything that a client of either cluster can read, but the raw topics themselves.
    fn topics(&self, scanner: &Scanner, markers: &[Marker]) -> Result<Vec<Sink>, RunFault> {
        let raw = &self.raw;
        let Names { data, manifest, position, quarantine, .. } = &self.names;
        let all = [
            ("target: data, aborted records too", &self.global, data),
            ("target: manifests", &self.global, manifest),
            ("target: positions", &self.global, position),
            ("sovereign: quarantine, sealed", &self.sovereign, quarantine),
        ];
        let mut sinks = Vec::new();
        for (sink, broker, topic) in all {
            self.go_on()?;
            let records = kafka::read(&broker.bootstrap(), topic)?;
            let shows = topic == data;
            let mut search = Search::new(sink, scanner, markers);
            for record in &records {
                search.record(topic, record, shows.then_some(self.kit));
            }
            let plant = Plant::new()?;
            plant.send(&broker.bootstrap(), topic)?;
            let again = kafka::read(&broker.bootstrap(), topic)?;
            let found = again.iter().filter_map(|record| plant.found_in(record)).collect();
            sinks.push(search.end(found, 3));
        }
        // Others that nobody counts on, and the names of all.
        let mut search = Search::new("names of topics, and other topics", scanner, markers);
        for broker in [&self.sovereign, &self.global] {
            for topic in kafka::topics(&broker.bootstrap())? {
                search.bytes(&topic, topic.as_bytes());
                let known = [data, manifest, position, quarantine].contains(&&topic);
                if known || raw.contains(&topic) {
                    continue;
                }
                for record in kafka::read(&broker.bootstrap(), &topic)? {
                    search.record(&topic, &record, None);
                }
            }
        }
        let plant = Plant::new()?;
        self.lodging.create_topic(&plant.text, 1)?;
        let names = kafka::topics(&self.sovereign.bootstrap())?;
        let found: BTreeSet<usize> = names
            .iter()
            .any(|name| plant.is_in(name.as_bytes()))
            .then_some(0)
            .into_iter()
            .collect();
        sinks.push(search.end(found, 1));
        Ok(sinks)
    }

    /// What the processes said: every verb that reads what crossed, or what it crossed from. What a
    /// verb is asked to show of the data (`explain --sample`, `--names`, `keys detokenize`) is for those
    /// who may read it, and is not among them.
    fn said(
        &self,
        scanner: &Scanner,
        markers: &[Marker],
        environment: Vec<u8>,
        not_seen: &mut Vec<String>,
    ) -> Result<Vec<Sink>, RunFault> {
        let mut sinks = Vec::new();
        let Lodging { file, .. } = &self.lodging;
        let (file, ledger, release) =
            (file.display().to_string(), self.lodging.at("ledger"), self.lodging.release()?);
        let (fed, topic, raw) = (self.lodging.at(FED), &self.names.data, &self.raw[0]);
        let (column, wrong) = (self.kit.column(), self.lodging.wrong()?);
        let verbs: [(&'static str, Vec<&str>); 21] = [
            ("status", vec!["status", &file]),
            ("status --format json", vec!["status", &file, "--format", "json"]),
            ("quarantine list", vec!["quarantine", "list", &file]),
            (
                "quarantine list --format json",
                vec!["quarantine", "list", &file, "--format", "json"],
            ),
            ("run --dry-run", vec!["run", &file, "--dry-run", "--records", "1000"]),
            ("classify", vec!["classify", raw, "--records", "1000"]),
            ("explain --format json", vec!["explain", &file, "--format", "json"]),
            ("explain --format html", vec!["explain", &file, "--format", "html"]),
            ("lint", vec!["lint", &wrong]),
            ("doctor", vec!["doctor", &file]),
            ("diff", vec!["diff", &release, &file]),
            ("release show", vec!["release", "show", &file]),
            ("keys status", vec!["keys", "status"]),
            ("verify", vec!["verify", &ledger]),
            ("verify --topic", vec!["verify", "--topic", topic, "--release", &release]),
            ("replay", vec!["replay", &file, "--by", "leaktest", "--reason", "a leak"]),
            (
                "replay --format html",
                vec!["replay", &file, "--by", "leaktest", "--reason", "a leak", "--format", "html"],
            ),
            ("audit crossed", vec!["audit", "crossed", topic]),
            ("audit column", vec!["audit", "column", &file, "--column", column]),
            ("audit lineage", vec!["audit", "lineage", &file]),
            ("feed", vec!["feed", topic, "--release", &release, "--out", &fed, "--as", "arrow"]),
        ];
        for (name, args) in verbs {
            self.go_on()?;
            let mut search = Search::new(name, scanner, markers);
            let said = self.lodging.say(&args)?;
            search.bytes("standard output", &said.out);
            search.bytes("standard error", &said.err);
            if !said.did() {
                not_seen.push(format!("{name} at its work"));
            }
            let found = self.planted.is_in(&said.out);
            sinks.push(search.end(found.then_some(0).into_iter().collect(), 1));
        }
        let search = Search::new("run: both streams", scanner, markers);
        sinks.push(self.streams("run-killed", &self.planted, search)?);
        let mut search = Search::new("run: command line and environment", scanner, markers);
        search.bytes("/proc", &environment);
        let plant = Plant::new()?;
        let found = plant.is_in(&self.lodging.proc_of_a_child_with(&plant.text)?);
        sinks.push(search.end(found.then_some(0).into_iter().collect(), 1));
        Ok(sinks)
    }

    /// What a process said that ran on. One place for both streams: of some the first stays empty as
    /// long as all is well.
    fn streams(&self, process: &str, plant: &Plant, mut search: Search) -> Result<Sink, RunFault> {
        let mut found = false;
        for stream in ["out", "err"] {
            let bytes = self.lodging.printed(process, stream)?;
            search.bytes(stream, &bytes);
            found |= plant.is_in(&bytes);
        }
        Ok(search.end(found.then_some(0).into_iter().collect(), 1))
    }

    /// What lies on the disk.
    fn files(&self, scanner: &Scanner, markers: &[Marker]) -> Result<Vec<Sink>, RunFault> {
        let mut sinks = Vec::new();
        let folders = [
            ("ledger", "ledger"),
            ("keys", "keys"),
            ("traces", "traces"),
            ("feed: what it handed over", FED),
            ("everything else", ""),
        ];
        for (sink, folder) in folders {
            let mut search = Search::new(sink, scanner, markers);
            for (path, bytes) in self.lodging.files_below(folder)? {
                // It has what the data topic has.
                let shows = path.starts_with(FED);
                search.search(&path, &bytes, |at| shows && self.kit.may_show(at));
            }
            let plant = Plant::new()?;
            let found = self.lodging.with_a_file_in(folder, &plant.text, |files| {
                files.iter().any(|(_, bytes)| plant.is_in(bytes))
            })?;
            sinks.push(search.end(found.then_some(0).into_iter().collect(), 1));
        }
        Ok(sinks)
    }
}

/// One sink being searched.
struct Search<'a> {
    sink: &'static str,
    scanner: &'a Scanner,
    markers: &'a [Marker],
    bytes: u64,
    leaks: BTreeSet<Leak>,
}

impl<'a> Search<'a> {
    fn new(sink: &'static str, scanner: &'a Scanner, markers: &'a [Marker]) -> Self {
        Self { sink, scanner, markers, bytes: 0, leaks: BTreeSet::new() }
    }

    fn bytes(&mut self, place: &str, bytes: &[u8]) {
        self.search(place, bytes, |_| false);
    }

    /// `shows`: a data record, in whose key and value may stand what the proof lets cross.
    fn record(&mut self, topic: &str, record: &kafka::Read, shows: Option<&Kit>) {
        let may = |at: &str| shows.is_some_and(|kit| kit.may_show(at));
        for bytes in [&record.key, &record.value].into_iter().flatten() {
            self.search(topic, bytes, may);
        }
        for (name, value) in &record.headers {
            self.bytes(topic, name.as_bytes());
            self.bytes(topic, value);
        }
    }

    fn search(&mut self, place: &str, bytes: &[u8], may: impl Fn(&str) -> bool) {
        self.bytes += bytes.len() as u64;
        for (number, form) in self.scanner.scan(bytes) {
            let of = &self.markers[number].at;
            if !may(of) {
                self.leaks.insert(Leak { of: of.clone(), form, place: place.to_owned() });
            }
        }
    }

    /// `found`: which of the `plants` that were put there were found.
    fn end(self, found: BTreeSet<usize>, plants: usize) -> Sink {
        let Self { sink, bytes, leaks, .. } = self;
        Sink { sink, bytes, plant_found: found.len() == plants, leaks: leaks.into_iter().collect() }
    }
}

/// A leak on purpose.
struct Plant {
    text: String,
    scanner: Scanner,
}

impl Plant {
    fn new() -> Result<Self, RunFault> {
        let marker = Kit::plant()?;
        let scanner = Kit::scanner(std::slice::from_ref(&marker));
        Ok(Self { text: marker.text, scanner })
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        !self.scanner.scan(bytes).is_empty()
    }

    /// In a key, a value and a header, of three records.
    fn send(&self, bootstrap: &str, topic: &str) -> Result<(), RunFault> {
        let feed = kafka::Feed::open(bootstrap)?;
        let bytes = format!("..{}..", self.text).into_bytes();
        let empty = Planted::default();
        let key = Planted { key: Some(bytes.clone()), ..empty.clone() };
        let value = Planted { value: Some(bytes.clone()), ..empty.clone() };
        let headers = Planted { headers: vec![("planted".to_owned(), bytes)], ..empty };
        for planted in [key, value, headers] {
            feed.send(topic, 0, &planted)?;
        }
        feed.flush()
    }

    /// Which of the three.
    fn found_in(&self, record: &kafka::Read) -> Option<usize> {
        let in_headers = || record.headers.iter().any(|(_, value)| self.is_in(value));
        let holds = |bytes: &Option<Vec<u8>>| bytes.as_deref().is_some_and(|b| self.is_in(b));
        match () {
            () if holds(&record.key) => Some(0),
            () if holds(&record.value) => Some(1),
            () if in_headers() => Some(2),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str, header: &str) -> kafka::Read {
        kafka::Read {
            key: Some(key.as_bytes().to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: vec![("h".to_owned(), header.as_bytes().to_vec())],
        }
    }

    #[test]
    fn a_marker_is_a_leak_in_each_part_of_a_record() {
        let plant = Plant::new().unwrap();
        let markers = [Marker { at: "after.email".to_owned(), text: plant.text.clone() }];
        let t = plant.text.as_str();
        for (number, record) in
            [record(t, "", ""), record("", t, ""), record("", "", t)].into_iter().enumerate()
        {
            let mut search = Search::new("a topic", &plant.scanner, &markers);
            search.record("topic", &record, None);
            let sink = search.end(plant.found_in(&record).into_iter().collect(), 1);
            assert_eq!(sink.leaks.len(), 1, "{number}");
            assert_eq!(sink.leaks[0].of, "after.email");
            assert_eq!(plant.found_in(&record), Some(number));
        }
        let mut search = Search::new("a topic", &plant.scanner, &markers);
        search.record("topic", &record("k", "v", "h"), None);
        let sink = search.end(BTreeSet::new(), 1);
        assert!(sink.leaks.is_empty() && !sink.plant_found);
    }

    #[test]
    fn what_may_show_may_show_in_key_and_value_only() {
        let plant = Plant::new().unwrap();
        let markers = [Marker { at: "after.city".to_owned(), text: plant.text.clone() }];
        let mut search = Search::new("a topic", &plant.scanner, &markers);
        search.search("topic", plant.text.as_bytes(), |at| at == "after.city");
        assert!(search.leaks.is_empty());
        search.bytes("topic", plant.text.as_bytes());
        assert_eq!(search.leaks.len(), 1);
    }
}
