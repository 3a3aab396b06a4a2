//! What a running pipeline says about itself: one JSON object a line, one text line on a terminal,
//! or a call to whoever runs it. Names, counts and offsets; never a value.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::hold::Waiting;

/// Hears each event, one word and an object, and each commit as `progress`.
pub type Listener = Arc<dyn Fn(&str, &Value) + Send + Sync>;

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
    voice: Voice,
    started: Instant,
    state: Mutex<State>,
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

impl Report {
    pub fn new(pipeline: &str, voice: Voice) -> Self {
        let now = Instant::now();
        Self {
            pipeline: pipeline.to_owned(),
            voice,
            started: now,
            state: Mutex::new(State {
                records: 0,
                transactions: 0,
                quarantined: Some(0),
                told: (0, 0),
                told_at: now,
            }),
        }
    }

    /// Something that happened once: `event` is one word, `fields` an object.
    pub fn event(&self, event: &str, fields: Value) {
        let at_ms = self.started.elapsed().as_millis() as u64;
        let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let pipeline = &self.pipeline;
        let mut line = json!({"event": event, "pipeline": pipeline, "at": at, "at_ms": at_ms});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), &fields) {
            line.extend(fields.clone());
        }
        match &self.voice {
            Voice::Listener(hear) => hear(event, &fields),
            Voice::Lines => self.write(&line.to_string(), true),
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

    /// A partition waits for people: on a terminal in full, as `status` says it.
    pub fn held(&self, shard: u32, waiting: &Waiting<'_>) {
        if matches!(self.voice, Voice::Terminal) {
            return self.write(&format!("\r\x1b[K{waiting}"), true);
        }
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

    /// What is heard after these commits.
    fn heard(commits: &[(u64, Option<u64>)]) -> Vec<Value> {
        let said = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&said);
        let listener: Listener = Arc::new(move |_, fields| {
            hear.lock().unwrap().push(fields.clone());
        });
        let report = Report::new("p", Voice::Listener(listener));
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
