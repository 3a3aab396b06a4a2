//! What a running pipeline says about itself: one JSON object a line, one text line on a terminal,
//! or a call to whoever runs it. Names, counts and offsets; never a value.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::config::{Pipeline, Place};
use crate::hold::Waiting;
use crate::meters::Meters;
use crate::repeats::Repeats;

type Hear = Arc<dyn Fn(&str, &Value, bool) + Send + Sync>;

/// Hears each event, one word, an object and whether people are to be told of it, for the same may have been told just
/// now; and each commit as `progress`; and has the counts.
#[derive(Clone)]
pub struct Listener {
    hear: Hear,
    meters: Arc<Meters>,
}

impl Listener {
    pub fn new(
        hear: impl Fn(&str, &Value, bool) + Send + Sync + 'static,
        meters: Arc<Meters>,
    ) -> Self {
        Self { hear: Arc::new(hear), meters }
    }
}

/// What each line of a log says of where it comes from.
pub struct Labels {
    zone: String,
    /// Where values of the pipelines' leaves belong, as their files have it.
    residency: Vec<String>,
}

impl Labels {
    pub fn of(place: &Place, pipelines: &[Pipeline]) -> Self {
        Self { zone: place.sovereign.zone.clone(), residency: residency(pipelines) }
    }
}

/// The residencies that leaves have, each once.
pub fn residency(pipelines: &[Pipeline]) -> Vec<String> {
    let classes = pipelines.iter().flat_map(|pipeline| &pipeline.classes);
    let all: BTreeSet<&String> = classes.filter_map(|rule| rule.residency.as_ref()).collect();
    all.into_iter().cloned().collect()
}

/// Where a pipeline's events go.
#[derive(Clone)]
pub enum Voice {
    /// Standard error, as a person at a terminal reads it.
    Terminal,
    /// Standard error, a JSON object a line.
    Lines,
    /// Whoever runs the pipeline from inside.
    Listener(Listener),
}

impl Voice {
    /// Standard error, in the form of what stands behind it.
    pub fn standard_error() -> Self {
        if std::io::stderr().is_terminal() { Self::Terminal } else { Self::Lines }
    }
}

/// Progress of one pipeline, shared by its shards.
pub struct Report {
    pipeline: String,
    labels: Labels,
    voice: Voice,
    started: Instant,
    state: Mutex<State>,
    repeats: Mutex<Repeats>,
}

struct State {
    records: u64,
    transactions: u64,
    /// None where it is nobody's to see.
    quarantined: Option<u64>,
    /// Records and transactions that the last progress line told of, and when it did.
    told: (u64, u64),
    told_at: Instant,
}

impl State {
    fn totals(&self) -> Value {
        let mut totals = json!({"records": self.records, "transactions": self.transactions});
        if let Some(quarantined) = self.quarantined {
            totals["quarantined"] = json!(quarantined);
        }
        totals
    }
}

/// Seconds between two progress lines.
const EVERY_S: u64 = 1;

/// What a life, a turn or a look meets again for as long as its cause lasts.
const REPEATED: [&str; 7] =
    ["again", "bundle", "checkpoint", "held", "set_aside", "source_trouble", "stripped"];

impl Report {
    pub fn new(pipeline: &str, labels: Labels, voice: Voice) -> Self {
        let now = Instant::now();
        Self {
            pipeline: pipeline.to_owned(),
            labels,
            voice,
            started: now,
            state: Mutex::new(State {
                records: 0,
                transactions: 0,
                quarantined: Some(0),
                told: (0, 0),
                told_at: now,
            }),
            repeats: Mutex::default(),
        }
    }

    /// Whether people are told of an event: not of the same over and over. With other files all is new.
    fn is_told(&self, event: &str, fields: &mut Value) -> bool {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if event == "swapped" {
            repeats.forget();
        }
        !REPEATED.contains(&event) || repeats.is_told(event, fields)
    }

    /// Something that happened: `event` is one word, `fields` an object.
    pub fn event(&self, event: &str, mut fields: Value) {
        let is_told = self.is_told(event, &mut fields);
        let at_ms = self.started.elapsed().as_millis() as u64;
        let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        match &self.voice {
            Voice::Listener(listener) => (listener.hear)(event, &fields, is_told),
            _ if !is_told => {}
            Voice::Lines => self.write(&self.line(event, &fields, &at, at_ms).to_string(), true),
            Voice::Terminal => {
                let fields: Vec<String> = match &fields {
                    Value::Object(map) => map
                        .iter()
                        .map(|(k, v)| match v {
                            Value::String(text) => format!("{k} {text}"),
                            other => format!("{k} {other}"),
                        })
                        .collect(),
                    _ => Vec::new(),
                };
                self.write(&format!("\r\x1b[K{event}: {}", fields.join(", ")), true);
            }
        }
    }

    fn line(&self, event: &str, fields: &Value, at: &str, at_ms: u64) -> Value {
        let (pipeline, Labels { zone, residency }) = (&self.pipeline, &self.labels);
        let mut line = json!({"event": event, "pipeline": pipeline, "zone": zone,
            "residency": residency, "at": at, "at_ms": at_ms});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields.clone());
        }
        line
    }

    /// The counts, where somebody reads them.
    pub fn meters(&self) -> Option<&Meters> {
        match &self.voice {
            Voice::Listener(listener) => Some(&listener.meters),
            Voice::Terminal | Voice::Lines => None,
        }
    }

    /// A partition waits for people: on a terminal in full, as `status` says it.
    pub fn held(&self, shard: u32, waiting: &Waiting<'_>) {
        let mut fields = json!({
            "shard": shard,
            "topic": waiting.topic,
            "partition": waiting.partition,
            "offset": waiting.offset,
            "message": waiting.to_string(),
        });
        let reason = serde_json::to_value(waiting.reason).unwrap_or_default();
        if let (Some(fields), Value::Object(reason)) = (fields.as_object_mut(), reason) {
            fields.extend(reason);
        }
        if matches!(self.voice, Voice::Terminal) {
            if self.is_told("held", &mut fields) {
                self.write(&format!("\r\x1b[K{waiting}"), true);
            }
            return;
        }
        self.event("held", fields);
    }

    /// A transaction was committed. `quarantined`: records that were set aside in it; None where how
    /// many is not told.
    pub fn committed(&self, records: u64, quarantined: Option<u64>) {
        let Ok(mut state) = self.state.lock() else { return };
        state.records += records;
        state.transactions += 1;
        state.quarantined = state.quarantined.zip(quarantined).map(|(all, own)| all + own);
        // A listener draws its own picture, at its own pace.
        let now = state.transactions == 1 || matches!(self.voice, Voice::Listener(_));
        drop(state);
        self.progress(now);
    }

    /// Says how far it is, if there is news and enough time has passed; `now` does not wait.
    pub fn progress(&self, now: bool) {
        let Ok(mut state) = self.state.lock() else { return };
        let elapsed = state.told_at.elapsed();
        if state.transactions == state.told.1 || (!now && elapsed.as_secs() < EVERY_S) {
            return;
        }
        let rate = (state.records - state.told.0) as f64 / elapsed.as_secs_f64().max(0.001);
        let mut fields = state.totals();
        fields["records_per_second"] = json!(rate.round());
        state.told_at = Instant::now();
        state.told = (state.records, state.transactions);
        drop(state);
        if matches!(self.voice, Voice::Terminal) {
            let quarantined = fields.get("quarantined");
            let quarantined = quarantined.map_or(String::new(), |n| format!(", {n} quarantined"));
            let text = format!(
                "\r\x1b[K{}: {} records, {} transactions{quarantined}, {}/s",
                self.pipeline,
                fields["records"],
                fields["transactions"],
                fields["records_per_second"]
            );
            self.write(&text, false);
        } else {
            self.event("progress", fields);
        }
    }

    /// The end, with what there was in all.
    pub fn stopped(&self) {
        let fields = self.state.lock().map_or(Value::Null, |state| state.totals());
        self.event("stopped", fields);
    }

    fn write(&self, text: &str, line: bool) {
        // A closed standard error stops nothing: the ledger is the record.
        let mut out = std::io::stderr().lock();
        let _ = if line { writeln!(out, "{text}") } else { write!(out, "{text}") };
        let _ = out.flush();
    }
}

/// How far a long piece of work is: a line on a terminal that is drawn over itself, nothing elsewhere.
pub struct Bar {
    what: &'static str,
    total: u64,
    shown: bool,
    started: Instant,
    /// Done so far, and when it was drawn last.
    state: Mutex<(u64, Option<Instant>)>,
}

impl Bar {
    /// `total`: records.
    pub fn new(what: &'static str, total: u64) -> Self {
        let shown = std::io::stderr().is_terminal();
        Self { what, total, shown, started: Instant::now(), state: Mutex::new((0, None)) }
    }

    /// So many more are done.
    pub fn step(&self, records: u64) {
        let Ok(mut state) = self.state.lock() else { return };
        state.0 += records;
        let recent = state.1.is_some_and(|drawn| drawn.elapsed().as_millis() < 100);
        if !self.shown || recent {
            return;
        }
        state.1 = Some(Instant::now());
        let mut out = std::io::stderr().lock();
        let _ = write!(out, "\r\x1b[K{}", self.line(state.0, self.started.elapsed().as_secs_f64()));
        let _ = out.flush();
    }

    /// Takes the line away.
    pub fn end(&self) {
        if self.shown {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[K");
            let _ = out.flush();
        }
    }

    fn line(&self, done: u64, seconds: f64) -> String {
        let share = done as f64 / self.total.max(1) as f64;
        let filled = (share.min(1.0) * 20.0) as usize;
        let rate = done as f64 / seconds.max(0.001);
        let left = self.total.saturating_sub(done) as f64 / rate.max(0.001);
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(20 - filled));
        format!(
            "{} [{bar}] {done} of {} records, {rate:.0}/s, {left:.0} s left",
            self.what, self.total
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels { zone: "eu-de".to_owned(), residency: vec!["eu".to_owned()] }
    }

    #[test]
    fn each_line_says_its_zone_and_residency() {
        let report = Report::new("p", labels(), Voice::Lines);
        let line = report.line("held", &json!({"shard": 1}), "T", 5);
        let expected = json!({"event": "held", "pipeline": "p", "zone": "eu-de",
            "residency": ["eu"], "at": "T", "at_ms": 5, "shard": 1});
        assert_eq!(line, expected);
    }

    #[test]
    fn residencies_are_those_of_the_leaves_each_once() {
        let yaml = |id: &str, mail: &str| {
            let text = std::fs::read_to_string("testdata/lint/pipeline_good_least.yaml").unwrap();
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("least.yaml");
            let at = text.find("classes:\n").unwrap() + "classes:\n".len();
            let more = format!("  x.a: {id}\n  x.b: {mail}\n  x.c: {mail}\n");
            std::fs::write(&file, format!("{}{more}{}", &text[..at], &text[at..])).unwrap();
            let place = std::path::Path::new("testdata/lint/douane.yaml");
            let (_, pipeline) = crate::config::load(place, &file).unwrap();
            residency(&[pipeline])
        };
        let public = "{ class: public, residency: us }";
        assert_eq!(yaml("{ class: public, residency: eu }", public), ["eu", "us"]);
        assert_eq!(yaml("public", "public"), [""; 0]);
    }

    /// What is heard after these commits.
    fn heard(commits: &[(u64, Option<u64>)]) -> Vec<Value> {
        let said = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&said);
        let hear =
            move |_: &str, fields: &Value, _: bool| hear.lock().unwrap().push(fields.clone());
        let listener = Listener::new(hear, Arc::default());
        let report = Report::new("p", labels(), Voice::Listener(listener));
        commits.iter().for_each(|(records, refused)| report.committed(*records, *refused));
        report.stopped();
        let said = said.lock().unwrap();
        said.clone()
    }

    #[test]
    fn how_many_were_set_aside_is_not_told_of_statistics() {
        for fields in heard(&[(3, None), (3, None)]) {
            assert_eq!(fields.get("quarantined"), None, "{fields}");
            assert!(fields["records"].as_u64() >= Some(3));
        }
        // Control: of rows it is.
        let rows = heard(&[(3, Some(1)), (3, Some(2))]);
        assert_eq!(rows.last().unwrap()["quarantined"], 3);
    }

    /// Whoever runs the pipeline hears all of it, and people are told what is new to them.
    #[test]
    fn trouble_that_lasts_is_heard_each_time_and_told_once() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&said);
        let hear = move |event: &str, _: &Value, is_told: bool| {
            hear.lock().unwrap().push((event.to_owned(), is_told));
        };
        let voice = Voice::Listener(Listener::new(hear, Arc::default()));
        let report = Report::new("p", labels(), voice);
        let events = ["source_trouble", "source_trouble", "again", "again", "swapped", "again"];
        for event in events {
            report.event(event, json!({"why": "away"}));
        }
        let told = [true, false, true, false, true, true];
        let expected: Vec<_> = events.into_iter().map(str::to_owned).zip(told).collect();
        assert_eq!(*said.lock().unwrap(), expected);
        // Control: what is no trouble is told however often it is the same.
        let again = |event| (0..2).all(|_| report.is_told(event, &mut json!({})));
        assert!(again("keys_away") && again("started") && !again("held"));
    }

    #[test]
    fn a_bar_says_how_far_how_fast_and_how_long() {
        let bar = Bar::new("replay", 400);
        assert_eq!(
            bar.line(100, 2.0),
            "replay [#####...............] 100 of 400 records, 50/s, 6 s left"
        );
        assert!(bar.line(400, 2.0).contains("[####################] 400 of 400"));
        assert!(Bar::new("nothing", 0).line(0, 0.0).contains("0 of 0"));
    }
}
