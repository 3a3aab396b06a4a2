//! `keys detokenize`: what stands outside in a column, turned back inside the zone. The ledger has
//! who asked, for what and how many before any value is shown; nobody else hears of one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use douane_ledger::canonical;
use douane_ledger::detokenize::{self as paper, FORMAT, LIFE, Request};
use douane_ledger::dsse::Envelope;
use douane_ledger::log::Entry;
use douane_ledger::trust::{TrustRoot, is_person};
use douane_schemas::keys::Purpose;
use douane_transforms::reversible::{self, OpenFault};
use douane_transforms::subject_tokens::SubjectToken;
use douane_transforms::subjects::{Subject, SubjectId};
use douane_transforms::{Domain, Stage, TransformFault};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::{self, Pipeline, Place};
use crate::fault::RunFault;
use crate::key_home::{self, Detokenized, KeyHome};
use crate::keys::{self, Book};
use crate::plan::OutputColumn;
use crate::release;
use crate::signer::Signer;

/// Values in one call.
pub const VALUES_MAX: usize = 10_000;
/// Bytes of one.
const VALUE_BYTES_MAX: usize = 128 << 10;

/// What is asked for.
pub struct Wanted<'a> {
    /// The pipeline's file.
    pub file: &'a Path,
    /// Which one of a file with several tables.
    pub table: Option<&'a str>,
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
    let (case, home) = opened(place, wanted)?;
    check_words(by, reason)?;
    let mut book = Book::open(&case.place, &home)?;
    let entries = book.entries(&case.place)?;
    let calls = book.calls(&case.place, &entries)?;
    let root = trust_root(&case.place, &book)?;
    let now = Clock::of(&case.place)?.now();
    let approval = approval(&case, wanted, by, envelope, (&root, &entries), now)?;
    let found = turn_back(&case, &home, wanted)?;
    let opened = found.iter().filter(|found| matches!(found, Found::Value(_))).count();
    let (approvers, request) = approval;
    book.write(&[Entry::Detokenized {
        by: by.to_owned(),
        reason: reason.to_owned(),
        pipeline: case.pipeline.name.clone(),
        column: case.column.name.clone(),
        domain: case.domain,
        asked: found.len() as u32,
        opened: opened as u32,
        approvers,
        request,
    }])?;
    // Crash here or below: the ledger says more than anybody saw.
    let pinned = Detokenized {
        calls: calls + 1,
        trust_version: root.root().version,
        trust_digest: canonical::hex(&root.digest()),
    };
    key_home::pin_detokenized(&case.place.keys, pinned)?;
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
    let (case, _) = opened(place, wanted)?;
    check_words(by, reason)?;
    let life = SignedDuration::try_from(LIFE).map_err(no)?;
    let expires = Timestamp::now().checked_add(life).map_err(no)?;
    let nonce = paper::nonce().map_err(no)?;
    Ok(Request {
        v: FORMAT,
        tokens: paper::digest(&nonce, wanted.values),
        nonce,
        by: by.to_owned(),
        reason: reason.to_owned(),
        pipeline: case.pipeline.name,
        fingerprint: case.fingerprint,
        column: case.column.name,
        domain: case.domain,
        purpose: case.purpose.label().to_owned(),
        key_versions: case.key_versions,
        count: wanted.values.len() as u32,
        expires: expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
}

/// A request with one signature more.
pub fn approve(mut envelope: Envelope, signer: &Signer) -> Result<Envelope, RunFault> {
    paper::unverified(&envelope).map_err(no)?;
    signer.sign(&mut envelope)?;
    Ok(envelope)
}

/// The trust root, which is the one of the last time or follows from it.
fn trust_root(place: &Place, book: &Book) -> Result<TrustRoot, RunFault> {
    let root = release::trust_root(place)?;
    let bytes = std::fs::read(&place.trust).map_err(|error| no(error.kind()))?;
    let follows = book.detokenized().is_none_or(|before| {
        release::holds_version(&bytes, before.trust_version, &before.trust_digest)
    });
    match follows {
        true => Ok(root),
        false => Err(no(format_args!(
            "{} does not hold the trust root that values were turned back under before\n  next: put \
             that file back; `douane release trust` adds a root that the old threshold signs",
            place.trust.display()
        ))),
    }
}

/// The approvers' names and the request's nonce, where the trust root asks for approval.
fn approval(
    case: &Case,
    wanted: &Wanted<'_>,
    by: &str,
    envelope: Option<&Envelope>,
    (root, entries): (&TrustRoot, &[Entry]),
    now: SystemTime,
) -> Result<(Vec<String>, Option<String>), RunFault> {
    let Some(needed) = root.root().detokenize else { return Ok((Vec::new(), None)) };
    let envelope = envelope.ok_or_else(|| {
        no(format_args!(
            "the trust root asks for {needed} approvers\n  next: `douane keys request`, have them sign \
             it with `douane keys approve`, and name it with `--approve`"
        ))
    })?;
    let (request, approvers) = paper::verify(envelope, root, now).map_err(no)?;
    let same = request.by == by
        && request.count as usize == wanted.values.len()
        && request.tokens == paper::digest(&request.nonce, wanted.values);
    if !same {
        return Err(no("the request is for other values or another person"));
    }
    let same = request.pipeline == case.pipeline.name
        && request.fingerprint == case.fingerprint
        && request.column == case.column.name
        && request.domain == case.domain
        && request.purpose == case.purpose.label()
        && request.key_versions == case.key_versions;
    if !same {
        return Err(no(
            "the request is for another column, other keys, or the column under another release\n  \
             next: make another",
        ));
    }
    let used = |entry: &Entry| matches!(entry, Entry::Detokenized { request: Some(nonce), .. } if *nonce == request.nonce);
    if entries.iter().any(used) {
        return Err(no("the request was used already\n  next: make another"));
    }
    Ok((approvers, Some(request.nonce)))
}

/// Who asks, and why, as the ledger takes them.
pub(crate) fn check_words(by: &str, reason: &str) -> Result<(), RunFault> {
    if !is_person(by) {
        return Err(no("`--by` is not a name: a-z, 0-9, `.`, `_`, `@`, `-`"));
    }
    if reason.is_empty() || reason.len() > 200 || reason.contains(douane_ledger::release::is_hidden)
    {
        return Err(no("a reason has 1 to 200 characters in one line"));
    }
    Ok(())
}

/// A column as the release in force has it, and what opens its values.
struct Case {
    place: Place,
    pipeline: Pipeline,
    fingerprint: String,
    column: OutputColumn,
    domain: String,
    purpose: Purpose,
    /// Those that the values name; of encrypted values, the one that is asked for.
    key_versions: Vec<u32>,
}

fn opened(place: &Path, wanted: &Wanted<'_>) -> Result<(Case, KeyHome), RunFault> {
    let (place, pipeline) =
        config::load_table(place, wanted.file, wanted.table).map_err(RunFault::Findings)?;
    if wanted.values.is_empty() || wanted.values.len() > VALUES_MAX {
        return Err(no(format_args!("expected 1 to {VALUES_MAX} values")));
    }
    if wanted.values.iter().any(|value| value.len() > VALUE_BYTES_MAX) {
        return Err(no(format_args!("a value has more than {VALUE_BYTES_MAX} bytes")));
    }
    let unknown = || {
        no(format_args!(
            "`{}` is no column of {} that is tokenised or encrypted\n  next: `douane explain` lists \
             the columns",
            wanted.column, pipeline.name
        ))
    };
    // What a column is, people signed: a draft or a changed file says nothing about it.
    let (signed, plan) = release::hold(&place, &pipeline)?;
    let mut columns = plan.columns.iter().chain(&plan.keys);
    let column = columns.find(|column| column.name == wanted.column).ok_or_else(&unknown)?;
    let stage = column.protection.as_ref().map(|protection| &protection.stage);
    let home = keys::open(&place)?;
    let (domain, purpose, key_versions) = match stage {
        Some(Stage::Tokenize(config)) => {
            let domain = pipeline.domains.get("tokenize", &config.domain).map_err(no)?;
            if !domain.algorithm.reversible() {
                return Err(no(format_args!(
                    "tokens of domain `{}` are made by a MAC: nobody can turn them back\n  next: make \
                     the tokens of the values you look for, and compare",
                    config.domain
                )));
            }
            let number = |token: &String| match domain.key_per {
                None => reversible::key_number(domain.form, token).ok(),
                Some(_) => SubjectToken::read(domain.form, token).ok().map(|t| t.key_number),
            };
            let numbers: BTreeSet<u32> = wanted.values.iter().filter_map(number).collect();
            (&config.domain, domain.key_purpose(), numbers.into_iter().collect())
        }
        Some(Stage::Fpe(config)) => {
            let live = home.keyring().versions(&config.domain);
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
            (&config.domain, Purpose::Ff1, vec![number])
        }
        _ => return Err(unknown()),
    };
    let case = Case {
        fingerprint: signed.release.fingerprint.clone(),
        domain: domain.clone(),
        column: column.clone(),
        purpose,
        key_versions,
        pipeline,
        place,
    };
    Ok((case, home))
}

fn turn_back(case: &Case, home: &KeyHome, wanted: &Wanted<'_>) -> Result<Vec<Found>, RunFault> {
    let ring = home.keyring();
    let key = |version| ring.key_of_version(case.purpose, &case.domain, version);
    match case.column.protection.as_ref().map(|protection| &protection.stage) {
        Some(Stage::Tokenize(config)) => {
            let domain = case.pipeline.domains.get("tokenize", &config.domain).map_err(no)?;
            if domain.key_per.is_some() {
                return of_subjects(home, &config.domain, domain, wanted.values);
            }
            let one = |token: &String| {
                let number = match reversible::key_number(domain.form, token) {
                    Ok(number) => number,
                    Err(fault) => return Found::Refused(word(fault)),
                };
                let Some(key) = key(number) else { return Found::Refused("retired") };
                let (name, version) = (&config.domain, domain.version.get());
                match reversible::open(&key, name, version, domain.form, token) {
                    Ok(text) => Found::Value(text.as_str().to_owned()),
                    Err(fault) => Found::Refused(word(fault)),
                }
            };
            Ok(wanted.values.iter().map(one).collect())
        }
        Some(Stage::Fpe(config)) => {
            let Some(key) = case.key_versions.first().and_then(|version| key(*version)) else {
                return Ok(vec![Found::Refused("retired"); wanted.values.len()]);
            };
            let fpe = config
                .with_key(&case.column.from.leaf, &case.pipeline.domains, &key)
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

/// Tokens under keys of single subjects, all of one version at a time.
fn of_subjects(
    home: &KeyHome,
    name: &str,
    domain: &Domain,
    values: &[String],
) -> Result<Vec<Found>, RunFault> {
    let ring = home.keyring();
    let Some(kept) = home.subjects() else { return Ok(vec![Found::Refused("key"); values.len()]) };
    let mut found = vec![Found::Refused("form"); values.len()];
    let mut versions: BTreeMap<u32, Vec<(usize, SubjectToken)>> = BTreeMap::new();
    for (at, value) in values.iter().enumerate() {
        if let Ok(token) = SubjectToken::read(domain.form, value) {
            versions.entry(token.key_number).or_default().push((at, token));
        }
    }
    for (version, tokens) in versions {
        let Some(mask) = ring.key_of_version(Purpose::SubjectMask, name, version) else {
            tokens.iter().for_each(|(at, _)| found[*at] = Found::Refused("retired"));
            continue;
        };
        let subjects: Vec<SubjectId> =
            tokens.iter().map(|(_, token)| token.subject(&mask)).collect();
        kept.find(name, version, &subjects, &mut |n, subject| {
            let (at, token) = &tokens[n];
            found[*at] = match subject {
                None => Found::Refused("key"),
                Some(Subject::Shredded) => Found::Refused("shredded"),
                Some(Subject::Key(key)) => {
                    match token.open(key, subjects[n], name, domain.version.get()) {
                        Ok(text) => Found::Value(text.as_str().to_owned()),
                        Err(fault) => Found::Refused(word(fault)),
                    }
                }
            };
        })?;
    }
    Ok(found)
}

fn word(fault: OpenFault) -> &'static str {
    match fault {
        OpenFault::Form => "form",
        OpenFault::Key => "key",
    }
}

#[cfg(test)]
mod tests;
