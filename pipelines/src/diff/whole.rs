//! What changes beside the columns. Everything that an approval is for is named here: a field of
//! the fingerprint that is not does not compile.

use std::collections::BTreeSet;

use douane_ledger::fingerprint::{
    Endpoint, FORMAT, Fingerprinted, FingerprintedDomain, FingerprintedStage, Named,
};
use douane_ledger::log::SpanEntry;
use douane_ledger::release::{
    Changes, Column, Deletes, Limits, Override, RecordEnvelope, Release, ReleasedLeaf, Truncate,
    Unavailable, UnknownLeaf,
};
use serde::Serialize;

use super::{Other, Risk};

type Cost = (Risk, &'static str);

const NAME: Cost = (Risk::Readers, "positions are the name's own: everything crosses again");
const READ: Cost = (Risk::Approval, "people must have read what it is for, and by which rules");
const DATA: Cost = (Risk::Disclosure, "other records than those that were approved can cross");
const FEWER: Cost = (Risk::Readers, "records that crossed no longer do");
const PARSED: Cost = (Risk::Readers, "records are read in another way: values may differ");
const PLACE: Cost = (Risk::Disclosure, "others than before can read what crosses");
const FORMATS: Cost = (Risk::Schema, "readers' schemas no longer fit");
const PARTITIONS: Cost =
    (Risk::Keys, "a row's updates and deletes go to other partitions than the row did");
const CLOSER: Cost = (Risk::Disclosure, "when something happened shows outside more closely");
const COARSER: Cost = (Risk::Readers, "times are coarser, or records arrive later");
const IMAGES: Cost = (
    Risk::Disclosure,
    "the row before each change and the kind of change cross too; readers' schemas no longer fit",
);
const SOURCE_NAME: Cost =
    (Risk::Disclosure, "the source's name crosses; changes of another database or table hold");
const SOURCE_GONE: Cost = (Risk::Readers, "readers no longer find the source's name");
const DELETED: Cost =
    (Risk::Disclosure, "a deleted row crosses once more, as the image before its delete");
const TOMBSTONES: Cost = (Risk::Readers, "a delete no longer crosses as an event of its own");
const NULLS: Cost = (
    Risk::Readers,
    "records that were set aside cross, with null for a value that may still stand in the source",
);
const ASIDE: Cost = (Risk::Readers, "records that crossed with null are set aside");
const PLACEHOLDERS: Cost = (
    Risk::Readers,
    "a text that stood for a value that the source did not send may cross as the value, or no longer",
);
const STALE: Cost =
    (Risk::Keys, "rows that the source truncated stay outside, and nothing takes them back");
const STOPS: Cost = (Risk::Readers, "it holds where it went on: a person has to look");
const UNSEEN: Cost = (
    Risk::Disclosure,
    "when the source adds a leaf records go on crossing, and nobody is asked what it means",
);
const LEAF: Cost = (Risk::Approval, "people must have read what the input holds");
const STAGES: Cost =
    (Risk::Approval, "people must have read it; what it does to a column is told with the column");
const LESS: Cost = (Risk::Readers, "SQL decides what crosses: rows may cross no more");
const MORE: Cost = (
    Risk::Disclosure,
    "rows that stayed behind may cross, or something else is computed of those that cross",
);
const TOKENS: Cost = (Risk::Joins, "what the domain makes does not join with what crossed");
const DETECTED: Cost = (Risk::Disclosure, "what was redacted in free text may cross");
const REDACTED: Cost = (Risk::Readers, "more of a free text is redacted");
const PRIVACY: Cost = (Risk::Disclosure, "the noise, or how much may be spent of it, is another");
const EXCEPTION: Cost = (Risk::Disclosure, "an exception from the default policy");
const NO_EXCEPTION: Cost = (Risk::Readers, "what only the exception let cross stays behind");
const SMALLER_GROUPS: Cost = (Risk::Disclosure, "rows that fewer persons share may cross");
const FEWER_ROWS: Cost = (Risk::Readers, "rows of small groups stay behind, or are withdrawn");
const ORDER: Cost = (Risk::Approval, "the same in another order");
const KEY_ORDER: Cost =
    (Risk::Keys, "updates and deletes no longer find the rows that crossed under the old key");
const COLUMN_ORDER: Cost = (Risk::Readers, "who reads by position reads another column");
const LOOSER: Cost = (Risk::Disclosure, "more may cross under one release");
const TIGHTER: Cost = (Risk::Readers, "less may cross under one release: it stops earlier");
const UNSAID: Cost = (
    Risk::Disclosure,
    "a release file does not say every setting of a stage: compare the pipelines' files",
);

/// A group of more persons, seen in more columns, lets fewer rows cross; all else may let more.
fn group_cost(old: &Fingerprinted, new: &Fingerprinted) -> Cost {
    let stricter = match (&old.min_group, &new.min_group) {
        (None, Some(_)) => true,
        (Some(was), Some(is)) => {
            is.unit == was.unit
                && is.k >= was.k
                && was.columns.iter().all(|column| is.columns.contains(column))
        }
        (_, None) => false,
    };
    if stricter { FEWER_ROWS } else { SMALLER_GROUPS }
}

/// What a release says of its pipeline; what it does not say is `like` the other one.
pub(super) fn said(release: &Release, like: Option<&Fingerprinted>) -> Fingerprinted {
    // Each field, so that a new one is thought of here.
    let Release {
        pipeline,
        purpose,
        source,
        target,
        leaves,
        key,
        columns,
        domains,
        changes,
        overrides,
        policy,
        v: _,
        version: _,
        fingerprint: _,
        nonce: _,
        author: _,
        created: _,
        expires: _,
        limits: _,
        once: _,
        explain: _,
    } = release;
    Fingerprinted {
        v: like.map_or(FORMAT, |l| l.v),
        pipeline: pipeline.clone(),
        purpose: purpose.clone(),
        source: Endpoint {
            cluster_id: source.cluster_id.clone(),
            zone: source.zone.clone(),
            topics: source.topics.clone(),
            format: like.map(|l| l.source.format.clone()).unwrap_or_default(),
        },
        target: Endpoint {
            cluster_id: target.cluster_id.clone(),
            zone: target.zone.clone(),
            topics: vec![target.topic.clone()],
            format: target.format.clone(),
        },
        partition_by: target.partition_by.clone(),
        timestamp_ms_granularity: target.timestamp_ms_granularity,
        publish_ms: like.and_then(|l| l.publish_ms),
        min_group: like.and_then(|l| l.min_group.clone()),
        record_shape: changes.shape_name().to_owned(),
        changes: changes.clone(),
        leaves: leaves.clone(),
        stages: like.map(|l| l.stages.clone()).unwrap_or_default(),
        key: key.clone(),
        columns: columns.clone(),
        domains: match (domains.is_empty(), like) {
            // One of before they were written down.
            (true, Some(like)) => like.domains.clone(),
            _ => domains.clone(),
        },
        detectors: like.map(|l| l.detectors.clone()).unwrap_or_default(),
        dp: like.and_then(|l| l.dp.clone()),
        overrides: overrides.clone(),
        policy_digest: policy.digest.clone(),
        envelope_list: like.map_or(0, |l| l.envelope_list),
    }
}

/// One line for each change.
#[derive(Default)]
pub(super) struct Lines(Vec<Other>);

impl Lines {
    pub(super) fn into_others(self) -> Vec<Other> {
        self.0
    }

    fn line<T: PartialEq>(
        &mut self,
        what: impl Into<String>,
        (before, after): (&T, &T),
        text: impl Fn(&T) -> String,
        (risk, why): Cost,
    ) {
        if before != after {
            let (before, after) = (text(before), text(after));
            self.0.push(Other { what: what.into(), before, after, risk, why });
        }
    }

    fn text(&mut self, what: &str, pair: (&String, &String), cost: Cost) {
        self.line(what, pair, |text| text.clone(), cost);
    }

    /// One line for each that is not what it was, by name; one where only their order is another.
    fn named<T: PartialEq + Serialize>(
        &mut self,
        what: &str,
        (old, new): (&[T], &[T]),
        name: impl Fn(&T) -> String,
        cost: impl Fn(Option<&T>, Option<&T>) -> Cost,
    ) {
        let by = |all: &'_ [T]| -> Vec<String> { all.iter().map(&name).collect() };
        let found = |all: &[T], wanted: &str| all.iter().position(|one| name(one) == wanted);
        let mut names = by(old);
        names.extend(by(new).into_iter().filter(|name| found(old, name).is_none()));
        let mut told = false;
        for name in names {
            let was = found(old, &name).map(|at| &old[at]);
            let is = found(new, &name).map(|at| &new[at]);
            told |= was != is;
            let text = |one: &Option<&T>| one.map_or_else(none, json);
            self.line(format!("{what} {name}"), (&was, &is), text, cost(was, is));
        }
        if !told {
            let text = |all: &&[T]| by(all).join(", ");
            self.line(format!("order of {what}s"), (&old, &new), text, ORDER);
        }
    }

    /// Everything that an approval is for, but what the columns themselves are.
    pub(super) fn approved(&mut self, old: &Fingerprinted, new: &Fingerprinted) {
        let Fingerprinted {
            v,
            pipeline,
            purpose,
            source,
            target,
            partition_by,
            timestamp_ms_granularity,
            publish_ms,
            min_group,
            record_shape,
            changes,
            leaves,
            stages,
            key,
            columns,
            domains,
            detectors,
            dp,
            overrides,
            policy_digest,
            envelope_list,
        } = new;
        let closer = |closer| if closer { CLOSER } else { COARSER };
        self.line("format of the fingerprint", (&old.v, v), u32::to_string, READ);
        self.text("pipeline", (&old.pipeline, pipeline), NAME);
        self.text("purpose", (&old.purpose, purpose), READ);
        self.endpoint("source", (&old.source, source), (DATA, PARSED));
        self.endpoint("target", (&old.target, target), (PLACE, FORMATS));
        self.text("partition by", (&old.partition_by, partition_by), PARTITIONS);
        let (was, is) = (old.timestamp_ms_granularity, *timestamp_ms_granularity);
        let what = "timestamp granularity in ms";
        self.line(what, (&was, &is), u64::to_string, closer(is < was));
        // Without a schedule records show as they come: closer than any.
        let (was, is) = (old.publish_ms, *publish_ms);
        self.line("publish every ms", (&was, &is), number, closer(is < was));
        let text = |group: &Option<_>| group.as_ref().map_or_else(none, json);
        self.line("min_group", (&old.min_group, min_group), text, group_cost(old, new));
        let shape = if record_shape == "envelope" { IMAGES } else { FORMATS };
        self.text("record shape", (&old.record_shape, record_shape), shape);
        self.changes(&old.changes, changes);
        let leaf = |leaf: &ReleasedLeaf| format!("{}.{}", leaf.part, leaf.path);
        self.named("leaf", (&old.leaves, leaves), leaf, |_, _| LEAF);
        self.stages(&old.stages, stages);
        self.order("key", (&old.key, key), KEY_ORDER);
        self.order("columns", (&old.columns, columns), COLUMN_ORDER);
        self.domains(&old.domains, domains);
        let detector = |named: &Named| named.name.clone();
        let cost = |was: Option<&Named>, _: Option<&Named>| was.map_or(REDACTED, |_| DETECTED);
        self.named("detector", (&old.detectors, detectors), detector, cost);
        let text = |dp: &Option<_>| dp.as_ref().map_or_else(none, json);
        self.line("differential privacy", (&old.dp, dp), text, PRIVACY);
        let name = |one: &Override| one.name.clone();
        let cost =
            |_: Option<&Override>, is: Option<&Override>| is.map_or(NO_EXCEPTION, |_| EXCEPTION);
        self.named("override", (&old.overrides, overrides), name, cost);
        self.text("policy", (&old.policy_digest, policy_digest), READ);
        let what = "list of envelope leaves";
        self.line(what, (&old.envelope_list, envelope_list), u32::to_string, READ);
    }

    fn endpoint(&mut self, end: &str, (old, new): (&Endpoint, &Endpoint), costs: (Cost, Cost)) {
        let Endpoint { cluster_id, zone, topics, format } = new;
        let (other, parsed) = costs;
        self.text(&format!("{end} cluster"), (&old.cluster_id, cluster_id), other);
        self.text(&format!("{end} zone"), (&old.zone, zone), other);
        let fewer = topics.iter().all(|topic| old.topics.contains(topic));
        let cost = if fewer { FEWER } else { other };
        let what = format!("{end} {}", if topics.len() > 1 { "topics" } else { "topic" });
        self.line(what, (&old.topics, topics), |topics| topics.join(", "), cost);
        self.text(&format!("{end} format"), (&old.format, format), parsed);
    }

    fn changes(&mut self, old: &Changes, new: &Changes) {
        let Changes { envelope, unavailable, placeholder, truncate, unknown_leaf } = new;
        let parts = |envelope: &Option<RecordEnvelope>| {
            let RecordEnvelope { db, table, deletes } = envelope.clone()?;
            Some((db, table, deletes))
        };
        let (was, is) = (parts(&old.envelope), parts(envelope));
        let name = |name: &Option<&String>| name.map_or_else(none, String::clone);
        let cost = if is.is_some() { SOURCE_NAME } else { SOURCE_GONE };
        let pair = (&was.as_ref().map(|p| &p.0), &is.as_ref().map(|p| &p.0));
        self.line("source.db", pair, name, cost);
        let pair = (&was.as_ref().map(|p| &p.1), &is.as_ref().map(|p| &p.1));
        self.line("source.table", pair, name, cost);
        // The state shape has tombstones, as the envelope does where it says nothing.
        let deletes = |parts: Option<(_, _, Deletes)>| parts.map(|p| p.2).unwrap_or_default();
        let (was, is) = (deletes(was), deletes(is));
        let cost = if is == Deletes::Keep { DELETED } else { TOMBSTONES };
        self.line("deletes", (&was, &is), json, cost);
        let cost = if *unavailable == Unavailable::Nullify { NULLS } else { ASIDE };
        self.line("unavailable", (&old.unavailable, unavailable), json, cost);
        self.line("placeholder", (&old.placeholder, placeholder), json, PLACEHOLDERS);
        let cost = if *truncate == Truncate::Drop { STALE } else { STOPS };
        self.line("truncate", (&old.truncate, truncate), json, cost);
        let cost = if *unknown_leaf == UnknownLeaf::Strip { UNSEEN } else { STOPS };
        self.line("unknown_leaf", (&old.unknown_leaf, unknown_leaf), json, cost);
    }

    fn stages(&mut self, old: &[FingerprintedStage], new: &[FingerprintedStage]) {
        let settings = |stages: &[FingerprintedStage]| -> Vec<FingerprintedStage> {
            let bare = |s: &FingerprintedStage| FingerprintedStage { sql: None, ..s.clone() };
            stages.iter().map(bare).collect()
        };
        let (was, is) = (settings(old), settings(new));
        let only = |all: &[FingerprintedStage], others: &[FingerprintedStage]| {
            let text = |s: &FingerprintedStage| {
                let FingerprintedStage { verb, semantics, config, sql: _ } = s;
                format!("{verb} (version {semantics}) {config}")
            };
            let missing: Vec<String> =
                all.iter().filter(|s| !others.contains(s)).map(text).collect();
            match (missing.is_empty(), all.is_empty()) {
                (false, _) => missing.join("; "),
                // The same, in another order or number.
                (true, false) => all.iter().map(|s| s.verb.as_str()).collect::<Vec<_>>().join(", "),
                (true, true) => none(),
            }
        };
        if was != is {
            let (risk, why) = STAGES;
            let (before, after) = (only(&was, &is), only(&is, &was));
            self.0.push(Other { what: "stages".into(), before, after, risk, why });
        }
        let sql = |stages: &[FingerprintedStage]| {
            let texts: Vec<&str> = stages.iter().filter_map(|s| s.sql.as_deref()).collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        };
        let (was, is) = (sql(old), sql(new));
        // One spelling: a text that goes on with WHERE had none and is otherwise the same.
        let narrower = match (&was, &is) {
            (None, Some(_)) => true,
            (Some(was), Some(is)) => is.strip_prefix(was).is_some_and(|w| w.starts_with(" WHERE ")),
            (_, None) => false,
        };
        let cost = if narrower { LESS } else { MORE };
        self.line("sql", (&was, &is), |sql| sql.clone().unwrap_or_else(none), cost);
    }

    fn order(&mut self, what: &str, (old, new): (&[Column], &[Column]), cost: Cost) {
        let names = |columns: &[Column]| -> Vec<String> {
            columns.iter().map(|column| column.name.clone()).collect()
        };
        let (was, is) = (names(old), names(new));
        let sorted = |mut names: Vec<String>| {
            names.sort_unstable();
            names
        };
        // Others are told column by column.
        if sorted(was.clone()) == sorted(is.clone()) {
            self.line(format!("order of {what}"), (&was, &is), |names| names.join(", "), cost);
        }
    }

    fn domains(&mut self, old: &[FingerprintedDomain], new: &[FingerprintedDomain]) {
        // Tokens and encryption of one name are two.
        let name = |d: &FingerprintedDomain| format!("{} ({})", d.name, d.algorithm);
        let cost = |was: Option<&FingerprintedDomain>, is: Option<&FingerprintedDomain>| {
            let (Some(was), Some(is)) = (was, is) else { return READ };
            // What it may be used for makes no other token.
            let same = *is == FingerprintedDomain { purposes: is.purposes.clone(), ..was.clone() };
            if same { READ } else { TOKENS }
        };
        self.named("domain", (old, new), name, cost);
    }

    /// Of releases, where both are known.
    pub(super) fn limits(&mut self, old: &Limits, new: &Limits) {
        let Limits { records, bytes, epsilon } = new;
        // None is not limited.
        let looser = |was: Option<u64>, is: Option<u64>| {
            if is.unwrap_or(u64::MAX) > was.unwrap_or(u64::MAX) { LOOSER } else { TIGHTER }
        };
        let cost = looser(old.records, *records);
        self.line("limit of records", (&old.records, records), number, cost);
        let cost = looser(old.bytes, *bytes);
        self.line("limit of bytes", (&old.bytes, bytes), number, cost);
        let text = |epsilon: &Option<String>| epsilon.clone().unwrap_or_else(none);
        self.line("limit of epsilon", (&old.epsilon, epsilon), text, LOOSER);
    }

    /// Of releases, where both are known: whether one span crosses, or the stream.
    pub(super) fn once(&mut self, old: &Release, new: &Release) {
        let text = |once: &Option<Vec<SpanEntry>>| {
            let span =
                |s: &SpanEntry| format!("{}[{}]@{}-{}", s.topic, s.partition, s.start, s.end);
            let spans = once.as_ref().map(|once| once.iter().map(span).collect::<Vec<_>>());
            spans.map_or_else(none, |spans| spans.join(", "))
        };
        self.line("one-shot span", (&old.once, &new.once), text, LOOSER);
    }

    /// Of two fingerprints that differ where one stands in a release file: the lines of the signed
    /// proofs that are not in the other one say what the file itself has no field for.
    pub(super) fn unsaid(&mut self, old: &Release, new: &Release) {
        let lines = |release: &Release| -> BTreeSet<String> {
            // Tables are padded to their widest cell.
            let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            let all = release.explain.lines().map(squeezed);
            all.filter(|line| !line.is_empty() && !line.starts_with("fingerprint ")).collect()
        };
        let (was, is) = (lines(old), lines(new));
        let only = |all: &BTreeSet<String>, others: &BTreeSet<String>| {
            let missing: Vec<&str> = all.difference(others).map(String::as_str).collect();
            if missing.is_empty() { none() } else { missing.join("; ") }
        };
        if old.fingerprint != new.fingerprint {
            let (risk, why) = UNSAID;
            let (before, after) = (only(&was, &is), only(&is, &was));
            self.0.push(Other { what: "proof".into(), before, after, risk, why });
        }
    }
}

fn none() -> String {
    "none".to_owned()
}

fn number(number: &Option<u64>) -> String {
    number.map_or_else(none, |number| number.to_string())
}

/// A word as it stands in YAML, or the whole as JSON.
fn json<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    super::plain(&value)
}
