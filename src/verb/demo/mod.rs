//! `demo`: two brokers inside this process, invented customers, and all that douane does, each
//! step with its evidence. It needs no network, no configuration and no Java, and leaves nothing
//! behind. The steps use the functions of the verbs; what is shown of the outside is read by plain
//! Kafka clients.

mod account;
mod checks;
mod clients;
mod customers;
mod orders;
mod place;
mod raw_copy;
mod screen;
mod statistics;
mod stream;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use douane_broker::{Broker, Options};
use douane_connectors::kafka::Admin;
use douane_ledger::dsse::Envelope;
use douane_ledger::manifest;
use douane_ledger::verify::Expect;
use douane_pipelines::doctor::Line;
use douane_pipelines::explain;
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::PublicKeys;
use douane_pipelines::names::ledger_home;
use douane_pipelines::plan::Part;
use douane_pipelines::proof::Proof;
use douane_pipelines::status::{PartitionStatus, Status};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use serde_json::{Map, Value};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::verb;
use account::Account;
use checks::{Outside, Rows};
use clients::Shown;
use customers::{CHANGED, Customers, Expected, PARTITIONS, RAW, SHOWN};
use place::{Place, Released, TASKS};
use screen::{Screen, cut, thousands};
use stream::{Heard, Mark, Stream};

/// The steps' titles, in order; the README shows them.
const TITLES: [&str; 9] = [
    "Two brokers, in memory",
    "Change events of invented customers",
    "A pipeline, and a release that two people sign",
    "Run: raw rows in, protected records out",
    "A column that nobody approved: its partition is held",
    "A class, a stage, two signatures: it goes on",
    "Every event accounted for",
    "Statistics with noise in the place of rows",
    "Beside a raw copy",
];

#[derive(clap::Args)]
pub struct Args {
    /// Change events to invent.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    records: u64,
}

/// Why the demo ends before its end, or with 1.
#[derive(Debug, thiserror::Error)]
enum DemoFault {
    #[error("{0}")]
    Run(#[from] RunFault),
    #[error("{0}")]
    Outside(String),
    #[error("not seen in time: {0}")]
    NotSeen(String),
    #[error("stopped")]
    Interrupted,
}

impl DemoFault {
    fn kafka(what: &str, error: &KafkaError) -> Self {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        Self::Outside(format!("{what}: {code:?}"))
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Run(fault) => fault.exit_code(),
            Self::Outside(_) | Self::NotSeen(_) => verb::NO,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

/// As shells have it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;
/// How long an orderly end may take after Ctrl-C.
const GRACE: Duration = Duration::from_secs(3);
/// How long the last of a partition may take after its last record has crossed.
const SETTLED: Duration = Duration::from_secs(15);
/// Bytes that each broker may hold.
const BROKER_BYTES_MAX: usize = 3 << 30;
/// The source of randomness of all that is invented.
const SEED: u64 = 20_261_121;

/// Whether somebody pressed Ctrl-C.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Hears SIGINT and SIGTERM. What does not end in time is ended, its folder removed first: the
    /// brokers' ports and memory end with the process.
    fn listen(folder: PathBuf) -> Result<Self, DemoFault> {
        let fault = |error: std::io::Error| DemoFault::Outside(format!("signals: {error}"));
        let asked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asked);
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(fault)?;
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                flag.store(true, Ordering::Relaxed);
                // Nobody ever sends: it is a clock that needs no sleep.
                let (_keep, clock) = std::sync::mpsc::channel::<()>();
                let _ = clock.recv_timeout(GRACE);
                // What still writes may put a file into a folder that is being removed.
                for _ in 0..100 {
                    if std::fs::remove_dir_all(&folder).is_ok() || !folder.exists() {
                        break;
                    }
                }
                std::process::exit(i32::from(INTERRUPTED));
            }
        });
        Ok(Self(asked))
    }

    fn check(&self) -> Result<(), DemoFault> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(DemoFault::Interrupted),
            false => Ok(()),
        }
    }
}

pub fn run(args: &Args) -> Result<ExitCode, RunFault> {
    let mut screen = Screen::new();
    let started = Instant::now();
    let folder = tempfile::Builder::new()
        .prefix("douane-demo-")
        .tempdir()
        .map_err(|error| verb::file_fault(&std::env::temp_dir(), &error))?;
    let outcome = Interrupt::listen(folder.path().to_owned()).and_then(|interrupt| {
        let demo = Demo { records: args.records, folder: folder.path(), interrupt: &interrupt };
        demo.steps(&mut screen)
    });
    let path = folder.path().to_owned();
    folder.close().map_err(|error| verb::file_fault(&path, &error))?;
    screen.gap();
    match &outcome {
        Ok(missing) if missing.is_empty() => {
            screen.seen(&format!(
                "all of it was seen, in {:.1} s; nothing is left behind",
                started.elapsed().as_secs_f64()
            ));
            screen.say("next: README.md, \"Five minutes to your own topics\"");
        }
        Ok(missing) => missing.iter().for_each(|what| screen.not_seen(what)),
        Err(DemoFault::Interrupted) => screen.say("stopped; nothing is left behind"),
        Err(fault) => screen.not_seen(&fault.to_string()),
    }
    Ok(ExitCode::from(code_of(&outcome)))
}

/// 0 only where every step came to its end and nothing is missing.
fn code_of(outcome: &Result<checks::Missing, DemoFault>) -> u8 {
    match outcome {
        Ok(missing) if missing.is_empty() => 0,
        Ok(_) => verb::NO,
        Err(fault) => fault.exit_code(),
    }
}

/// What all steps share.
struct Demo<'a> {
    records: u64,
    folder: &'a Path,
    interrupt: &'a Interrupt,
}

/// What a step was to show: seen, or what is missing, here and at the end.
struct Judge {
    missing: checks::Missing,
}

impl Judge {
    fn hear(&mut self, screen: &mut Screen, step: usize, found: checks::Missing, seen: &str) {
        if found.is_empty() {
            screen.seen(seen);
        }
        for what in found {
            screen.not_seen(&what);
            self.missing.push(format!("step {step}: {what}"));
        }
    }
}

impl Demo<'_> {
    /// All steps in order; what was not seen of them.
    fn steps(&self, screen: &mut Screen) -> Result<checks::Missing, DemoFault> {
        let mut judge = Judge { missing: checks::Missing::new() };
        let title = |screen: &mut Screen, step: usize| screen.title(step, TITLES[step - 1]);
        title(screen, 1);
        let (sovereign, global) = self.brokers(screen)?;
        // Declared after the brokers: what is connected to them ends first.
        let place = Place::write(self.folder, &sovereign, &global)?;
        title(screen, 2);
        let (expected, shown_at) = self.invent(screen, &place, &sovereign)?;
        title(screen, 3);
        self.release(screen, &place)?;
        title(screen, 4);
        let mut stream = Stream::start(&place.yaml, &place.pipeline);
        let heard = self.others_cross(screen, &mut stream, &expected)?;
        let rows = self.show_rows(screen, &place, &sovereign, &global, &shown_at)?;
        let seen = "three rows on both sides; no protected cell stands in its record";
        judge.hear(screen, 4, checks::rows(&rows), seen);
        title(screen, 5);
        let held = |partitions: &[PartitionStatus]| checks::held(partitions, &expected);
        let (status, found) = self.settled(&place, &stream, &held)?;
        self.show_hold(screen, &place, &status);
        judge.hear(screen, 5, found, "that partition waits, the three others are at their ends");
        title(screen, 6);
        self.approve_the_column(screen, &place, &mut stream, &expected)?;
        let resumed = |partitions: &[PartitionStatus]| checks::resumed(partitions, &expected);
        let (status, found) = self.settled(&place, &stream, &resumed)?;
        let text = place.short(&status.text());
        screen.say(&text.lines().skip(1).collect::<Vec<_>>().join("\n"));
        judge.hear(screen, 6, found, "nothing is held any more, every partition is at its end");
        stream.stop()?;
        title(screen, 7);
        let (account, outside) = self.count(&place, &sovereign, &global)?;
        show_account(screen, &account, &outside, &expected);
        let seen = format!(
            "{} + {} + {} = {} of {}; none lost, none twice",
            thousands(account.crossed),
            thousands(account.merged),
            thousands(account.quarantined),
            thousands(account.crossed + account.merged + account.quarantined),
            thousands(expected.events)
        );
        judge.hear(screen, 7, checks::accounted(&account, &outside, &expected), &seen);
        title(screen, 8);
        let (missing, seen) = self.statistics(screen, &place, &sovereign, &global)?;
        judge.hear(screen, 8, missing, &seen);
        title(screen, 9);
        let copied = self.raw_copy(screen, &place, &sovereign, &global)?;
        show_rates(screen, &heard, &expected, &copied);
        let seen = format!("the copy took the same {} records", thousands(copied.records));
        judge.hear(screen, 9, checks::copied(copied.records, &expected), &seen);
        Ok(judge.missing)
    }

    fn brokers(&self, screen: &mut Screen) -> Result<(Broker, Broker), DemoFault> {
        let start = || {
            let options = Options { bytes_max: Some(BROKER_BYTES_MAX), ..Options::default() };
            Broker::start(options).map_err(|fault| DemoFault::Outside(format!("broker: {fault}")))
        };
        let (sovereign, global) = (start()?, start()?);
        for (zone, what, broker) in [
            ("sovereign", "raw rows; they stay here", &sovereign),
            ("global", "where models are trained", &global),
        ] {
            screen.seen(&format!(
                "{zone:<10} {}  cluster {}  ({what})",
                broker.bootstrap(),
                broker.cluster_id()
            ));
        }
        screen.say("development brokers of this repository, in this process: nothing leaves it");
        Ok((sovereign, global))
    }

    fn invent(
        &self,
        screen: &mut Screen,
        place: &Place,
        sovereign: &Broker,
    ) -> Result<(Expected, [i64; SHOWN]), DemoFault> {
        let (files, pipeline, _) = place.names()?;
        let topic = &pipeline.source.topics[0];
        Admin::open(&files.sovereign)
            .and_then(|admin| admin.create_topic(topic, PARTITIONS, 1, &[]))
            .map_err(|fault| DemoFault::Outside(fault.to_string()))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Whole seconds, and all of them past by now: a record is not older than its row.
        let start_ms = (now.as_secs() as i64 - 3_600) * 1_000;
        let mut customers = Customers::new(SEED, self.records, start_ms);
        let shown_at = std::array::from_fn(|number| customers.shown_at_ms(number));
        let started = Instant::now();
        let bootstrap = sovereign.bootstrap();
        clients::write(&bootstrap, topic, customers.by_ref(), self.interrupt, &mut |written| {
            screen.progress(written, self.records, "events written");
        })?;
        let expected = customers.expected();
        screen.seen(&format!(
            "{} Debezium events in {topic}, {PARTITIONS} partitions, {:.1} s",
            thousands(expected.events),
            started.elapsed().as_secs_f64()
        ));
        screen.say(
            "seeded and invented: card numbers under a prefix that no issuer uses, telephone \
             numbers\nfrom the range kept for fiction, so that showing raw rows here shows nobody",
        );
        Ok((expected, shown_at))
    }

    fn release(&self, screen: &mut Screen, place: &Place) -> Result<(), DemoFault> {
        let files = ["douane.yaml", "pipelines/domains.yaml", "pipelines/customers-json.yaml"];
        screen.seen(&format!("written: {}", files.join(", ")));
        place.keys_and_trust()?.iter().for_each(|line| screen.seen(line));
        let lines = place.examine()?;
        let wrong: Vec<String> =
            lines.iter().filter(|line| !line.is_well()).map(Line::to_string).collect();
        if !wrong.is_empty() {
            return Err(DemoFault::Outside(wrong.join("\n")));
        }
        screen.seen(&format!("douane doctor --create: {} parts, all can be used", lines.len()));
        let released = place.release()?;
        screen.gap();
        screen.say(&shortened(&explain::proof(&place.yaml, &place.pipeline)?));
        screen.gap();
        show_signed(screen, &released);
        self.interrupt.check()
    }

    /// Step 4: until all that may cross has crossed, and the one partition is held.
    fn others_cross(
        &self,
        screen: &mut Screen,
        stream: &mut Stream,
        expected: &Expected,
    ) -> Result<Heard, DemoFault> {
        let due = expected.crossed - expected.waiting;
        let heard = stream.until("the other partitions cross", self.interrupt, &mut |heard| {
            let rate = heard.reading.zip(heard.committed).map_or(0.0, |(reading, committed)| {
                let (took, _) = committed.since(reading);
                heard.crossed as f64 / took.as_secs_f64().max(0.001)
            });
            let held = if heard.held.is_empty() { "" } else { "   partition 3 HELD" };
            let word = format!("records crossed  {:>7}/s{held}", thousands(rate as u64));
            screen.progress(heard.crossed, expected.crossed, &word);
            heard.crossed >= due && !heard.held.is_empty()
        })?;
        screen.seen(&format!(
            "{} records crossed in transactions of two shards; partition {CHANGED} waits (step 5)",
            thousands(heard.crossed)
        ));
        Ok(heard)
    }

    /// Step 4: the same rows on both sides, found again by their second.
    fn show_rows(
        &self,
        screen: &mut Screen,
        place: &Place,
        sovereign: &Broker,
        global: &Broker,
        shown_at: &[i64; SHOWN],
    ) -> Result<Rows, DemoFault> {
        let (_, pipeline, names) = place.names()?;
        let read = |broker: &Broker, topic: &str| {
            let mut found: [Option<Shown>; SHOWN] = std::array::from_fn(|_| None);
            clients::read_committed(&broker.bootstrap(), topic, self.interrupt, &mut |message| {
                let at = message.timestamp().to_millis();
                for (place, shown_at) in found.iter_mut().zip(shown_at) {
                    if at == Some(*shown_at) {
                        *place = Some(Shown::of(message));
                    }
                }
            })?;
            Ok::<_, DemoFault>(found)
        };
        let before = read(sovereign, &pipeline.source.topics[0])?;
        let after = read(global, &names.data)?;
        let mut rows = Rows::default();
        screen.gap();
        for (before, after) in before.iter().zip(&after) {
            let (Some(before), Some(after)) = (before, after) else { continue };
            rows.shown += 1;
            rows.raw += show_row(screen, rows.shown, before, after, &names.data);
        }
        Ok(rows)
    }

    /// The status once it is as it should be, or as it is when that takes too long: tombstones and
    /// refused records at a partition's end are read after its last record has crossed.
    fn settled(
        &self,
        place: &Place,
        stream: &Stream,
        check: &dyn Fn(&[PartitionStatus]) -> checks::Missing,
    ) -> Result<(Status, checks::Missing), DemoFault> {
        let deadline = Instant::now() + SETTLED;
        loop {
            let status = place.status()?;
            let missing = check(&status.partitions);
            if missing.is_empty() || Instant::now() > deadline {
                return Ok((status, missing));
            }
            self.interrupt.check()?;
            stream.rest();
        }
    }

    fn show_hold(&self, screen: &mut Screen, place: &Place, status: &Status) {
        for held in status.partitions.iter().filter_map(|partition| partition.held.as_ref()) {
            screen.alarm(&place.short(&held.message));
        }
        for partition in &status.partitions {
            let state = if partition.held.is_some() { "HELD" } else { "at its end" };
            screen.say(&format!(
                "{}[{}]  {state}, next offset {}, {} behind",
                partition.topic,
                partition.partition,
                thousands(partition.next.max(0) as u64),
                thousands(partition.lag.max(0) as u64)
            ));
        }
    }

    /// Step 6: the file is changed and released anew; the run that goes on takes it up.
    fn approve_the_column(
        &self,
        screen: &mut Screen,
        place: &Place,
        stream: &mut Stream,
        expected: &Expected,
    ) -> Result<(), DemoFault> {
        for line in place.grow()? {
            screen.say(&format!("+ {}", line.trim_start()));
        }
        let released = place.release()?;
        show_signed(screen, &released);
        let heard = stream.until("the held partition goes on", self.interrupt, &mut |heard| {
            screen.progress(heard.crossed, expected.crossed, "records crossed");
            heard.crossed >= expected.crossed && heard.quarantined >= expected.quarantined
        })?;
        screen.seen(&format!(
            "partition {CHANGED} resumed: {} records crossed in all, without a restart",
            thousands(heard.crossed)
        ));
        Ok(())
    }

    /// Step 7: what the ledger says, what an auditor's check says of the ledger, and what is
    /// outside.
    fn count(
        &self,
        place: &Place,
        sovereign: &Broker,
        global: &Broker,
    ) -> Result<(Account, Outside), DemoFault> {
        let (files, pipeline, names) = place.names()?;
        let home = ledger_home(&files.ledger_dir, &pipeline.name);
        let logs: Vec<String> = (0..TASKS).map(|shard| names.log(shard)).collect();
        let account =
            Account::of(&home, &logs).map_err(|fault| DemoFault::Run(RunFault::Ledger(fault)))?;
        let mut outside = Outside::default();
        let read = |broker: &Broker, topic: &str, each: &mut dyn FnMut(&[u8], &[u8])| {
            let empty: &[u8] = &[];
            clients::read_committed(&broker.bootstrap(), topic, self.interrupt, &mut |message| {
                each(message.key().unwrap_or(empty), message.payload().unwrap_or(empty));
            })
        };
        let mut raw = 0;
        outside.records = read(global, &names.data, &mut |key, value| {
            let holds = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes);
                RAW.iter().any(|raw| text.contains(raw))
            };
            raw += u64::from(holds(key) || holds(value));
        })?;
        outside.raw = raw;
        let mut keys = std::collections::BTreeSet::new();
        read(sovereign, &names.quarantine, &mut |key, _| {
            keys.insert(key.to_vec());
        })?;
        outside.quarantined = keys.len() as u64;
        let mut manifests = Vec::new();
        outside.manifests = read(global, &names.manifest, &mut |_, value| {
            manifests.push(value.to_vec());
        })?;
        self.audit(&files.ledger_dir, &files.keys.dir, manifests, &mut outside)?;
        Ok((account, outside))
    }

    /// `douane verify`, with every manifest that was sent.
    fn audit(
        &self,
        ledger: &Path,
        keys: &Path,
        manifests: Vec<Vec<u8>>,
        outside: &mut Outside,
    ) -> Result<(), DemoFault> {
        let keys = PublicKeys::open(keys).map_err(|fault| RunFault::Keys(fault.to_string()))?;
        let signers: Vec<_> = keys.iter().map(|keys| keys.manifest).collect();
        for bytes in &manifests {
            let signed = Envelope::from_bytes(bytes)
                .map_err(|fault| DemoFault::Outside(format!("a manifest: {fault}")))
                .and_then(|envelope| {
                    manifest::verify(&envelope, &signers)
                        .map_err(|fault| DemoFault::Outside(format!("a manifest: {fault}")))
                })?;
            outside.stated += signed.predicate.subjects.iter().map(|s| s.count).sum::<u64>();
        }
        let expect = Expect { manifests, manifest_keys: signers, ..Expect::default() };
        let reports = verb::verify::check(ledger, &expect, keys.as_ref())?;
        outside.logs = reports.len();
        outside.findings = reports.iter().map(|report| report.findings.len()).sum();
        outside.tied = reports.iter().map(|report| report.manifests as u64).sum();
        outside.signatures_checked =
            reports.iter().all(|report| report.checkpoint.is_none() || report.signature_checked);
        Ok(())
    }
}

impl Demo<'_> {
    /// Step 9: the same topic once more, by the plainest program that is as careful about
    /// transactions.
    fn raw_copy(
        &self,
        screen: &mut Screen,
        place: &Place,
        sovereign: &Broker,
        global: &Broker,
    ) -> Result<RawCopy, DemoFault> {
        let (files, pipeline, _) = place.names()?;
        let (from, to) = (&pipeline.source.topics[0], "raw-copy");
        Admin::open(&files.global)
            .and_then(|admin| admin.create_topic(to, PARTITIONS, 1, &[]))
            .map_err(|fault| DemoFault::Outside(fault.to_string()))?;
        let before = Mark::now();
        let (source, target) = (sovereign.bootstrap(), global.bootstrap());
        let copied = raw_copy::copy(&source, from, Some((target.as_str(), to)), &mut |copied| {
            screen.progress(copied, self.records, "records copied");
            self.interrupt.check().is_ok()
        })
        .map_err(|error| DemoFault::kafka("the raw copy", &error))?;
        self.interrupt.check()?;
        let (_, cpu) = Mark::now().since(before);
        Ok(RawCopy { records: copied.records, took: copied.took, cpu })
    }
}

/// What the raw copy did and took.
struct RawCopy {
    records: u64,
    took: Duration,
    cpu: Option<f64>,
}

/// The proof with the first rows of its two tables.
fn shortened(proof: &Proof) -> String {
    const ROWS_MAX: usize = 6;
    let first = |rows: Vec<String>| {
        let left_out = rows.len().saturating_sub(ROWS_MAX);
        let more = (left_out > 0).then(|| format!("  … and {left_out} more"));
        rows.into_iter().take(ROWS_MAX).chain(more).collect::<Vec<_>>().join("\n")
    };
    let crosses = proof.columns.iter().map(|row| {
        format!(
            "  {:<4} {:<14} {:<12} {:<44} {}",
            if row.part == Part::Key { "key" } else { "" },
            row.column,
            row.class,
            cut(&row.protection, 43),
            cut(&row.rule, 36)
        )
    });
    let behind = proof.behind.iter().map(|behind| {
        format!("  {:<19} {:<12} {}", cut(&behind.leaf, 18), behind.class, behind.why)
    });
    format!(
        "what they read, and signed (shortened; `douane explain` prints all of it)\n\nwhat crosses\n\
         {}\nwhat stays behind\n{}",
        first(crosses.collect()),
        first(behind.collect())
    )
}

fn show_signed(screen: &mut Screen, released: &Released) {
    let Released { draft, signed, state } = released;
    screen.seen(&format!(
        "release {} proposed by {}, signed by {}",
        draft.version,
        draft.author,
        signed.join(" and ")
    ));
    screen.seen(state);
}

/// A row on both sides, a line a column; how many raw cells stand in the record that may not.
fn show_row(
    screen: &mut Screen,
    number: usize,
    before: &Shown,
    after: &Shown,
    topic: &str,
) -> usize {
    const COLUMNS: [&str; 13] = [
        "id",
        "email",
        "phone",
        "national_id",
        "card_number",
        "full_name",
        "street",
        "birth_date",
        "notes",
        "city",
        "country",
        "balance_cents",
        "updated_at",
    ];
    /// Columns that cross as they are.
    const PUBLIC: [&str; 2] = ["city", "country"];
    const WIDTH: usize = 44;
    let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let mut raw = object(&before.value);
    let raw = raw.remove("after").and_then(|row| row.as_object().cloned()).unwrap_or_default();
    let mut record = object(&after.value);
    record.insert("id".to_owned(), Value::String(after.key.clone()));
    let text = |value: Option<&Value>| match value {
        None => "– stays behind".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let heading = format!("row {number}");
    screen.say(&format!("{heading:<14} {:<WIDTH$} {topic}", "raw, crm.public.customers"));
    let mut found = 0;
    for column in COLUMNS {
        let (from, to) = (text(raw.get(column)), text(record.get(column)));
        let (cell, crossed) = (cut(&from, WIDTH - 2), cut(&to, WIDTH));
        screen.say(&format!("{column:<14} {cell:<WIDTH$} {crossed}"));
        let is_raw = !PUBLIC.contains(&column) && from.len() > 1;
        found += usize::from(is_raw && (after.value.contains(&from) || after.key == from));
    }
    screen.gap();
    found
}

fn show_account(screen: &mut Screen, account: &Account, outside: &Outside, expected: &Expected) {
    let n = thousands;
    let (read, crossed) = (n(account.read), n(account.crossed));
    let (merged, quarantined) = (n(account.merged), n(account.quarantined));
    screen.say(&format!(
        "douane verify: {} logs, {} findings, {} manifests tied to their leaf, signatures {}",
        outside.logs,
        outside.findings,
        n(outside.tied),
        if outside.signatures_checked { "checked" } else { "NOT checked" }
    ));
    screen.say(&format!(
        "\n{:>9}  events written to the source\n{read:>9}  read, by the ledger\n{crossed:>9}    \
         crossed: the ledger says {crossed}, manifests {}, a reader outside {}\n{:>9}      of \
         them after their partition was held and resumed\n{merged:>9}    merged: a delete and its \
         tombstone are one\n{quarantined:>9}    quarantined: values cut off on their way; {} \
         sealed in the zone",
        n(expected.events),
        n(outside.stated),
        n(outside.records),
        n(expected.waiting),
        n(outside.quarantined)
    ));
}

/// Rates of both, in words that promise no more than was measured.
fn show_rates(screen: &mut Screen, heard: &Heard, expected: &Expected, copied: &RawCopy) {
    let behind = expected.held_at.map_or(0, |at| expected.by_partition[CHANGED as usize] - at);
    let read = expected.events - behind.max(0) as u64;
    let (took, cpu) = match heard.committed.zip(heard.reading) {
        Some((committed, reading)) => committed.since(reading),
        None => (Duration::ZERO, None),
    };
    for (name, records, took, cpu) in
        [("douane", read, took, cpu), ("raw copy", copied.records, copied.took, copied.cpu)]
    {
        let rate = records as f64 / took.as_secs_f64().max(0.001);
        let cpu = cpu.map_or("not measured here".to_owned(), |cpu| {
            format!("{:.1} CPU s a million", cpu * 1e6 / records.max(1) as f64)
        });
        screen.say(&format!("{name:<9} {:>9} source records/s   {cpu}", thousands(rate as u64)));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    screen.say(&format!(
        "douane from its first poll to the hold, {TASKS} shards; the copy after it, one thread. One \
         run of\nseconds on this machine ({cores} cores), and the brokers' own work is in both \
         figures: compare\nthe two with each other, not with Kafka's. The copy protects, checks, \
         signs and records nothing."
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_a_step_that_is_not_seen_exits_with_1() {
        assert_eq!(code_of(&Ok(checks::Missing::new())), 0);
        assert_eq!(code_of(&Ok(vec!["step 5: nothing is held".to_owned()])), 1);
        assert_eq!(code_of(&Err(DemoFault::NotSeen("a hold".to_owned()))), 1);
        assert_eq!(code_of(&Err(DemoFault::Outside("a broker".to_owned()))), 1);
        assert_eq!(code_of(&Err(DemoFault::Interrupted)), 130);
    }

    #[test]
    fn raw_cells_in_a_record_are_counted() {
        let shown = |key: &str, value: &str| Shown { key: key.to_owned(), value: value.to_owned() };
        let before =
            shown("{\"id\":77}", "{\"after\":{\"id\":77,\"email\":\"a@b\",\"city\":\"Graz\"}}");
        let clean = shown("token", "{\"email\":\"other\",\"city\":\"Graz\"}");
        let leaky = shown("77", "{\"email\":\"a@b\",\"city\":\"Graz\"}");
        let mut screen = Screen::new();
        assert_eq!(show_row(&mut screen, 1, &before, &clean, "t"), 0);
        assert_eq!(show_row(&mut screen, 1, &before, &leaky, "t"), 2);
    }
}
