//! `keys detokenize`: what stands outside in a column, turned back inside the zone. The ledger has
//! who asked, for what and how many before any value is shown; nobody else hears of one.

use std::path::Path;
use std::time::{Duration, SystemTime};

use douane_ledger::detokenize::{self as paper, FORMAT, Request};
use douane_ledger::dsse::Envelope;
use douane_ledger::log::Entry;
use douane_ledger::signing::SigningKey;
use douane_ledger::trust::is_person;
use douane_schemas::keys::Purpose;
use douane_transforms::reversible::{self, OpenFault};
use douane_transforms::{Keyring, Stage, TransformFault};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::{self, Pipeline, Place};
use crate::explain;
use crate::fault::RunFault;
use crate::keys::{self, Book};
use crate::plan::{OutputColumn, Plan};
use crate::release;

/// Values in one call.
pub const VALUES_MAX: usize = 10_000;
/// Bytes of one.
const VALUE_BYTES_MAX: usize = 128 << 10;
/// How long a request may be used.
pub const REQUEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is asked for.
pub struct Wanted<'a> {
    /// The pipeline's file.
    pub file: &'a Path,
    /// The column outside.
    pub column: &'a str,
    /// Of encrypted values, which do not say it themselves.
    pub key_version: Option<u32>,
    /// Tokens or encrypted values.
    pub values: &'a [String],
}

/// One value, or the word for why there is none. No `Debug`.
#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    Value(String),
    Refused(&'static str),
}

fn no(what: impl std::fmt::Display) -> RunFault {
    RunFault::Release(format!("detokenize: {what}"))
}

/// Turns values back. Without `envelope` only where the trust root asks for no approval.
pub fn detokenize(
    place: &Path,
    wanted: &Wanted<'_>,
    by: &str,
    reason: &str,
    envelope: Option<&Envelope>,
) -> Result<Vec<Found>, RunFault> {
    let (place, pipeline, column) = opened(place, wanted)?;
    check_words(by, reason)?;
    let home = keys::open(&place)?;
    let mut book = Book::open(&place, &home)?;
    let approval = approval(&place, &pipeline, wanted, by, envelope, &book)?;
    let found = turn_back(&pipeline, &column, &home.keyring(), wanted)?;
    let opened = found.iter().filter(|found| matches!(found, Found::Value(_))).count();
    let (approvers, request) = approval;
    book.write(&[Entry::Detokenized {
        by: by.to_owned(),
        reason: reason.to_owned(),
        pipeline: pipeline.name.clone(),
        column: column.name.clone(),
        domain: domain_of(&column).unwrap_or_default().to_owned(),
        asked: found.len() as u32,
        opened: opened as u32,
        approvers,
        request,
    }])?;
    // Crash here: the ledger says more than anybody saw.
    book.publish()?;
    Ok(found)
}

/// A request for approval, which nobody has signed.
pub fn request(
    place: &Path,
    wanted: &Wanted<'_>,
    by: &str,
    reason: &str,
) -> Result<Request, RunFault> {
    let (_, pipeline, column) = opened(place, wanted)?;
    check_words(by, reason)?;
    let life = SignedDuration::try_from(REQUEST_LIFE).map_err(no)?;
    let expires = Timestamp::now().checked_add(life).map_err(no)?;
    let nonce = paper::nonce().map_err(no)?;
    Ok(Request {
        v: FORMAT,
        tokens: paper::digest(&nonce, wanted.values),
        nonce,
        by: by.to_owned(),
        reason: reason.to_owned(),
        pipeline: pipeline.name,
        column: column.name,
        count: wanted.values.len() as u32,
        expires: expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
}

/// A request with one signature more.
pub fn approve(
    envelope: Option<Envelope>,
    request: &Request,
    key: &SigningKey,
) -> Result<Envelope, RunFault> {
    paper::sign(envelope, request, key).map_err(no)
}

/// The approvers' names and the request's nonce, where the trust root asks for approval.
fn approval(
    place: &Place,
    pipeline: &Pipeline,
    wanted: &Wanted<'_>,
    by: &str,
    envelope: Option<&Envelope>,
    book: &Book<'_>,
) -> Result<(Vec<String>, Option<String>), RunFault> {
    let root = release::trust_root(place)?;
    let Some(needed) = root.root().detokenize else { return Ok((Vec::new(), None)) };
    let envelope = envelope.ok_or_else(|| {
        no(format_args!(
            "the trust root asks for {needed} approvers\n  next: `douane keys request`, have them sign \
             it with `douane keys approve`, and name it with `--approve`"
        ))
    })?;
    let (request, approvers) = paper::verify(envelope, &root, SystemTime::now()).map_err(no)?;
    let same = request.pipeline == pipeline.name
        && request.column == wanted.column
        && request.by == by
        && request.tokens == paper::digest(&request.nonce, wanted.values);
    if !same {
        return Err(no("the request is for other values, another column or another person"));
    }
    let used = |entry: &Entry| matches!(entry, Entry::Detokenized { request: Some(nonce), .. } if *nonce == request.nonce);
    if book.entries(place)?.iter().any(used) {
        return Err(no("the request was used already\n  next: make another"));
    }
    Ok((approvers, Some(request.nonce)))
}

fn check_words(by: &str, reason: &str) -> Result<(), RunFault> {
    if !is_person(by) {
        return Err(no("`--by` is not a name: a-z, 0-9, `.`, `_`, `@`, `-`"));
    }
    if reason.is_empty() || reason.len() > 200 || reason.contains(douane_ledger::release::is_hidden)
    {
        return Err(no("a reason has 1 to 200 characters in one line"));
    }
    Ok(())
}

fn opened(place: &Path, wanted: &Wanted<'_>) -> Result<(Place, Pipeline, OutputColumn), RunFault> {
    let (place, pipeline) = config::load(place, wanted.file).map_err(RunFault::Findings)?;
    if wanted.values.is_empty() || wanted.values.len() > VALUES_MAX {
        return Err(no(format_args!("expected 1 to {VALUES_MAX} values")));
    }
    if wanted.values.iter().any(|value| value.len() > VALUE_BYTES_MAX) {
        return Err(no(format_args!("a value has more than {VALUE_BYTES_MAX} bytes")));
    }
    let plan = plan(&place, &pipeline)?;
    let found = plan.columns.iter().chain(&plan.keys).find(|c| c.name == wanted.column);
    let column = found.filter(|column| domain_of(column).is_some()).cloned().ok_or_else(|| {
        no(format_args!(
            "`{}` is no column of {} that is tokenised or encrypted\n  next: `douane explain` lists \
             the columns",
            wanted.column, pipeline.name
        ))
    })?;
    Ok((place, pipeline, column))
}

/// As it was released; without a release as the source has it.
fn plan(place: &Place, pipeline: &Pipeline) -> Result<Plan, RunFault> {
    let released = release::envelope(pipeline)
        .ok()
        .and_then(|envelope| douane_ledger::release::draft(&envelope).ok())
        .and_then(|draft| release::leaves(&draft).ok());
    match released {
        Some(leaves) => Plan::new(pipeline, leaves).map_err(RunFault::Findings),
        None => explain::plan(place, pipeline),
    }
}

fn domain_of(column: &OutputColumn) -> Option<&str> {
    match &column.protection.as_ref()?.stage {
        Stage::Tokenize(config) => Some(&config.domain),
        Stage::Fpe(config) => Some(&config.domain),
        _ => None,
    }
}

fn turn_back(
    pipeline: &Pipeline,
    column: &OutputColumn,
    ring: &Keyring,
    wanted: &Wanted<'_>,
) -> Result<Vec<Found>, RunFault> {
    match column.protection.as_ref().map(|protection| &protection.stage) {
        Some(Stage::Tokenize(config)) => {
            let domain = pipeline.domains.get("tokenize", &config.domain).map_err(no)?;
            if !domain.algorithm.reversible() {
                return Err(no(format_args!(
                    "tokens of domain `{}` are made by a MAC: nobody can turn them back\n  next: make \
                     the tokens of the values you look for, and compare",
                    config.domain
                )));
            }
            let one = |token: &String| {
                let number = match reversible::key_number(domain.form, token) {
                    Ok(number) => number,
                    Err(fault) => return Found::Refused(word(fault)),
                };
                let Some(key) = ring.key_of_version(Purpose::TokenSiv, &config.domain, number)
                else {
                    return Found::Refused("retired");
                };
                let (name, version) = (&config.domain, domain.version.get());
                match reversible::open(&key, name, version, domain.form, token) {
                    Ok(text) => Found::Value(text.as_str().to_owned()),
                    Err(fault) => Found::Refused(word(fault)),
                }
            };
            Ok(wanted.values.iter().map(one).collect())
        }
        Some(Stage::Fpe(config)) => {
            let live = ring.versions(&config.domain);
            let number = match (wanted.key_version, live.as_slice()) {
                (Some(number), _) => number,
                (None, [only]) => *only,
                (None, _) => {
                    let live: Vec<String> = live.iter().map(ToString::to_string).collect();
                    return Err(no(format_args!(
                        "encrypted values do not say under which version, and {} may be read\n  next: \
                         name one with `--key-version`",
                        live.join(", ")
                    )));
                }
            };
            let Some(key) = ring.key_of_version(Purpose::Ff1, &config.domain, number) else {
                return Ok(vec![Found::Refused("retired"); wanted.values.len()]);
            };
            let fpe = config
                .with_key(&column.from.leaf, &pipeline.domains, &key)
                .map_err(|fault| no(fault.to_string()))?;
            let one = |printed: &String| match fpe.decrypt(printed).map(Zeroizing::new) {
                Ok(text) => Found::Value(text.as_str().to_owned()),
                Err(fault) => Found::Refused(TransformFault::code(&fault)),
            };
            Ok(wanted.values.iter().map(one).collect())
        }
        _ => Err(no("the column is neither tokenised nor encrypted")),
    }
}

fn word(fault: OpenFault) -> &'static str {
    match fault {
        OpenFault::Form => "form",
        OpenFault::Key => "key",
    }
}
