//! What a running pipeline says about itself: one JSON object a line, or one text line on a
//! terminal. Names, counts and offsets; never a value.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

/// Progress of one pipeline, shared by its shards.
pub struct Report {
    pipeline: String,
    terminal: bool,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    told: Instant,
    records: u64,
    transactions: u64,
    quarantined: u64,
    since: u64,
}

/// Seconds between two progress lines.
const EVERY_S: u64 = 1;

impl Report {
    pub fn new(pipeline: &str) -> Self {
        let now = Instant::now();
        Self {
            pipeline: pipeline.to_owned(),
            terminal: std::io::stderr().is_terminal(),
            started: now,
            state: Mutex::new(State {
                told: now,
                records: 0,
                transactions: 0,
                quarantined: 0,
                since: 0,
            }),
        }
    }

    /// Something that happened once: `event` is one word, `fields` an object.
    pub fn event(&self, event: &str, fields: Value) {
        let at_ms = self.started.elapsed().as_millis() as u64;
        let mut line = json!({"event": event, "pipeline": self.pipeline, "at_ms": at_ms});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), &fields) {
            line.extend(fields.clone());
        }
        if self.terminal {
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
        } else {
            self.write(&line.to_string(), true);
        }
    }

    /// A transaction was committed.
    pub fn committed(&self, shard: u32, records: u64, quarantined: u64) {
        let Ok(mut state) = self.state.lock() else { return };
        state.records += records;
        state.since += records;
        state.transactions += 1;
        state.quarantined += quarantined;
        let first = state.transactions == 1;
        let elapsed = state.told.elapsed();
        if !first && elapsed.as_secs() < EVERY_S {
            return;
        }
        let rate = state.since as f64 / elapsed.as_secs_f64().max(0.001);
        let fields = json!({
            "shard": shard,
            "records": state.records,
            "transactions": state.transactions,
            "quarantined": state.quarantined,
            "records_per_second": rate.round(),
            "seconds": self.started.elapsed().as_secs(),
        });
        state.told = Instant::now();
        state.since = 0;
        drop(state);
        if self.terminal {
            let text = format!(
                "\r\x1b[K{}: {} records, {} transactions, {} quarantined, {}/s",
                self.pipeline,
                fields["records"],
                fields["transactions"],
                fields["quarantined"],
                fields["records_per_second"]
            );
            self.write(&text, false);
        } else {
            self.event("progress", fields);
        }
    }

    fn write(&self, text: &str, line: bool) {
        // A closed standard error stops nothing: the ledger is the record.
        let mut out = std::io::stderr().lock();
        let _ = if line { writeln!(out, "{text}") } else { write!(out, "{text}") };
        let _ = out.flush();
    }
}
