//! Traces for OpenTelemetry: what each transaction took, step by step. They stay inside; the trace
//! that a record's header names outside is another one, and the inner one links to it.
//!
//! OTLP as JSON, one request a line of a file, or a POST each. Attributes are names of pipelines,
//! numbers and words of this program: there is no way to give one a value of a record. What cannot be
//! handed on is dropped and counted: nothing waits for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use ureq::Agent;

use crate::config::Telemetry;

/// Spans of transactions that wait to be written.
const WAITING_MAX: usize = 256;
/// One request's worth of them.
const BATCH_MAX: usize = 64;
/// A file that has grown to it becomes `NAME.1`, in the place of the one before.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// One request, with its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Traces that were dropped since the process began.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many traces nobody took.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Where spans go; nowhere unless the place says so.
#[derive(Clone, Default)]
pub struct Traces(Option<SyncSender<Value>>);

impl Traces {
    /// One thread for each place that spans go to, for as long as the process lives.
    pub fn of(telemetry: Option<&Telemetry>) -> Self {
        static ALL: Mutex<BTreeMap<String, SyncSender<Value>>> = Mutex::new(BTreeMap::new());
        let Some(to) = telemetry else { return Self::default() };
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{to:?}");
        if let Some(known) = all.get(&key) {
            return Self(Some(known.clone()));
        }
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let to = to.clone();
        let thread = std::thread::Builder::new().name("traces".to_owned());
        if thread.spawn(move || write(&to, &receiver)).is_err() {
            return Self::default();
        }
        all.insert(key, sender.clone());
        Self(Some(sender))
    }

    /// A trace of its own, which begins now. `pipeline`: empty for what belongs to none.
    pub fn begin(&self, name: &'static str, pipeline: &str, shard: u32) -> Trace {
        let Some(to) = &self.0 else { return Trace(None) };
        let mut ids = [0; 24];
        if aws_lc_rs::rand::fill(&mut ids).is_err() {
            return Trace(None);
        }
        Trace(Some(Box::new(Open {
            to: to.clone(),
            name,
            trace: HEXLOWER.encode(&ids[..16]),
            root: HEXLOWER.encode(&ids[16..]),
            parent: None,
            pipeline: pipeline.to_owned(),
            shard,
            links: Vec::new(),
            began: (now_ns(), Instant::now()),
            steps: Vec::new(),
            counts: Vec::new(),
            is_well: false,
        })))
    }

    fn give(to: &SyncSender<Value>, spans: Value) {
        if to.try_send(spans).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// One trace: steps, one after another. Dropped without an end it says that something went wrong.
pub struct Trace(Option<Box<Open>>);

struct Open {
    to: SyncSender<Value>,
    name: &'static str,
    trace: String,
    root: String,
    parent: Option<String>,
    pipeline: String,
    shard: u32,
    links: Vec<(String, String)>,
    began: (u64, Instant),
    steps: Vec<(&'static str, u64)>,
    counts: Vec<(&'static str, u64)>,
    is_well: bool,
}

impl Trace {
    /// The step before ends, and this one begins.
    pub fn step(&mut self, name: &'static str) {
        if let Some(open) = &mut self.0 {
            let at = open.now();
            open.steps.push((name, at));
        }
    }

    /// Another trace that belongs to it, by its W3C context.
    pub fn link(&mut self, traceparent: &str) {
        if let (Some(open), Some((trace, span))) = (&mut self.0, context(traceparent)) {
            open.links.push((trace.to_owned(), span.to_owned()));
        }
    }

    /// It goes on the trace of whoever asked, by its W3C context.
    pub fn child_of(&mut self, traceparent: Option<&str>) {
        if let (Some(open), Some((trace, span))) = (&mut self.0, traceparent.and_then(context)) {
            (open.trace, open.parent) = (trace.to_owned(), Some(span.to_owned()));
        }
    }

    /// It is over and went well. `counts`: what there is to say of it, in numbers.
    pub fn end(mut self, counts: &[(&'static str, u64)]) {
        if let Some(open) = &mut self.0 {
            open.counts = counts.to_vec();
            open.is_well = true;
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            Traces::give(&open.to, open.spans());
        }
    }
}

/// Trace and span of a `traceparent` (W3C Trace Context, 3.2), if it is one.
fn context(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|b| b != b'0');
    let is_one = is_hex(version, 2) && version != "ff" && is_id(trace, 32) && is_id(span, 16);
    (is_one && is_hex(flags, 2) && (version != "00" || parts.next().is_none()))
        .then_some((trace, span))
}

impl Open {
    fn now(&self) -> u64 {
        let since = u64::try_from(self.began.1.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.began.0.saturating_add(since)
    }

    /// The root and its steps, as OTLP writes them.
    fn spans(&self) -> Value {
        let ended = self.now();
        let number = |(name, value): &(&str, u64)| json!({"key": format!("douane.{name}"), "value": {"intValue": value.to_string()}});
        let mut attributes: Vec<Value> = self.counts.iter().map(number).collect();
        if !self.pipeline.is_empty() {
            let pipeline = json!({"stringValue": self.pipeline});
            attributes.push(json!({"key": "douane.pipeline", "value": pipeline}));
            attributes.push(number(&("shard", u64::from(self.shard))));
        }
        let links: Vec<Value> = self
            .links
            .iter()
            .map(|(trace, span)| json!({"traceId": trace, "spanId": span}))
            .collect();
        let span = |id: &str, parent: Option<&str>, name: &str, from: u64, to: u64| {
            let mut span = json!({
                "traceId": self.trace, "spanId": id, "name": name, "kind": 1,
                "startTimeUnixNano": from.to_string(), "endTimeUnixNano": to.to_string(),
            });
            if let Some(parent) = parent {
                span["parentSpanId"] = json!(parent);
            }
            span
        };
        let began = self.began.0;
        let mut root = span(&self.root, self.parent.as_deref(), self.name, began, ended);
        root["attributes"] = json!(attributes);
        root["links"] = json!(links);
        // 1: well, 2: not; why is in the log, in words that hold no data.
        root["status"] = json!({"code": if self.is_well { 1 } else { 2 }});
        let mut all = vec![root];
        let ends = self.steps.iter().skip(1).map(|(_, at)| *at).chain([ended]);
        for (number, ((name, from), to)) in self.steps.iter().zip(ends).enumerate() {
            // An id within this trace: the root's, counted on.
            let root = u64::from_str_radix(&self.root, 16).unwrap_or(0);
            let id = format!("{:016x}", root.wrapping_add(number as u64 + 1).max(1));
            all.push(span(&id, Some(&self.root), name, *from, to));
        }
        json!(all)
    }
}

/// Writes what comes until nobody can send any more.
fn write(to: &Telemetry, from: &Receiver<Value>) {
    let agent: Agent = Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
    while let Ok(first) = from.recv() {
        let batch: Vec<Value> =
            std::iter::once(first).chain(from.try_iter()).take(BATCH_MAX).collect();
        let count = batch.len() as u64;
        let spans: Vec<&Value> = batch.iter().filter_map(Value::as_array).flatten().collect();
        let service = json!({"key": "service.name", "value": {"stringValue": "douane"}});
        let request = json!({"resourceSpans": [{
            "resource": {"attributes": [service]},
            "scopeSpans": [{
                "scope": {"name": "douane", "version": env!("CARGO_PKG_VERSION")},
                "spans": spans,
            }],
        }]});
        let is_written = match to {
            Telemetry::File(path) => append(path, &request).is_ok(),
            Telemetry::Otlp(url) => agent
                .post(url)
                .header("Content-Type", "application/json")
                .send(request.to_string())
                .is_ok(),
        };
        if !is_written {
            LOST.fetch_add(count, Ordering::Relaxed);
        }
    }
}

fn append(path: &Path, request: &Value) -> std::io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() >= FILE_BYTES_MAX) {
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        fs::rename(path, PathBuf::from(old))?;
    }
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{request}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpListener;

    use super::*;

    const OUTSIDE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn spans(request: &Value) -> Vec<Value> {
        request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    }

    fn one(traces: &Traces) {
        let mut trace = traces.begin("transaction", "customers", 3);
        trace.step("stages");
        trace.step("gate");
        trace.link(OUTSIDE);
        trace.end(&[("records", 7)]);
    }

    #[test]
    fn a_transaction_is_a_trace_of_its_own_with_steps_and_a_link_to_the_one_outside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("traces.jsonl");
        let to = Telemetry::File(path.clone());
        let traces = Traces::of(Some(&to));
        one(&traces);
        drop(traces.begin("transaction", "customers", 3));
        let mut all = Vec::new();
        let until = Instant::now() + Duration::from_secs(20);
        while all.len() < 4 {
            assert!(Instant::now() < until, "{all:?}");
            std::thread::yield_now();
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            all = lines.flat_map(|request| spans(&request)).collect();
        }
        let [root, stages, gate, failed] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(
            [&root["name"], &stages["name"], &gate["name"]],
            ["transaction", "stages", "gate"]
        );
        assert_eq!(root["links"][0]["spanId"], "00f067aa0ba902b7");
        assert_ne!(root["traceId"], root["links"][0]["traceId"], "the inner one is another");
        for step in [stages, gate] {
            assert_eq!(
                [&step["traceId"], &step["parentSpanId"]],
                [&root["traceId"], &root["spanId"]]
            );
        }
        assert_eq!(stages["endTimeUnixNano"], gate["startTimeUnixNano"]);
        assert_eq!([&root["status"]["code"], &failed["status"]["code"]], [1, 2]);
        let shown = root["attributes"].to_string();
        assert!(shown.contains("\"7\"") && shown.contains("customers"), "{shown}");
        // What nobody asked for is made nowhere.
        one(&Traces::of(None));
        assert_eq!(fs::read_to_string(&path).unwrap().matches("\"gate\"").count(), 1);
    }

    #[test]
    fn a_collector_is_asked_and_one_that_is_away_costs_spans_alone() {
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", bound.local_addr().unwrap());
        one(&Traces::of(Some(&Telemetry::Otlp(url))));
        let (mut stream, _) = bound.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut head) = (String::new(), String::new());
        while reader.read_line(&mut line).unwrap() > 2 {
            head.push_str(&line.to_lowercase());
            line.clear();
        }
        assert!(head.starts_with("post /v1/traces") && head.contains("application/json"), "{head}");
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!(spans(&serde_json::from_slice(&body).unwrap()).len(), 3);
        drop((stream, reader, bound));
        let before = lost();
        one(&Traces::of(Some(&Telemetry::Otlp("http://127.0.0.1:1/v1/traces".into()))));
        let until = Instant::now() + Duration::from_secs(20);
        while lost() == before {
            assert!(Instant::now() < until, "it is not counted");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_context_is_w3c_s_or_none() {
        assert!(context(OUTSIDE).is_some());
        assert!(context(&OUTSIDE.replace("00-4b", "01-4b").replace("-01", "-01-x")).is_some());
        for bad in [
            "",
            "00-x-y-01",
            &OUTSIDE.replace("-01", "-01-x"),
            &OUTSIDE.replace("00-4b", "ff-4b"),
            &OUTSIDE.replace("4bf9", "4BF9"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(context(bad), None, "{bad}");
        }
    }
}
