//! `keys shred`: the keys of single subjects are destroyed, and a certificate says what that means. The
//! ledger has the intent first. A crash at any point leaves it open, and who comes next does it again.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use douane_connectors::control_switch;
use douane_ledger::canonical;
use douane_ledger::log::{Entry, LedgerFault};
use douane_ledger::shred::{Certificate, Destroyed, FORMAT, Remaining, remaining, sign};
use douane_ledger::signing::SigningKey;
use douane_schemas::keys::KeyId;
use douane_transforms::subjects::{Namer, SubjectId};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::config::{self, Place, Retention};
use crate::detokenize::check_words;
use crate::fault::RunFault;
use crate::key_home::{self, Changed, KeyFault, Shred, Shredded, Store};
use crate::keys::{self, Book, rotated};
use crate::release;

/// Subjects in one call: the ledger names each, and an entry of it has an end.
pub const SUBJECTS_MAX: usize = 400;

/// What is asked for.
pub struct Wanted<'a> {
    pub domain: &'a str,
    /// As their column has them; none to end what was begun.
    pub subjects: &'a [Zeroizing<String>],
    /// Pipelines whose live releases say what remains.
    pub files: &'a [PathBuf],
    pub by: &'a str,
    pub reason: &'a str,
    /// Where the certificate goes.
    pub out: &'a Path,
}

fn no(what: impl std::fmt::Display) -> RunFault {
    RunFault::Release(format!("shred: {what}"))
}

/// What began and did not end, as the log has it.
#[derive(Default)]
struct Open {
    subjects: BTreeSet<SubjectId>,
    key_ids: BTreeSet<String>,
}

/// Destroys, and writes the certificate.
///
/// # Errors
/// Nothing was destroyed, or, where the fault comes after that, the next call ends it.
pub fn shred(place_file: &Path, wanted: &Wanted<'_>) -> Result<Certificate, RunFault> {
    let place = config::load_place(place_file).map_err(RunFault::Findings)?;
    check_words(wanted.by, wanted.reason)?;
    if wanted.subjects.len() > SUBJECTS_MAX {
        return Err(no(format_args!("expected at most {SUBJECTS_MAX} subjects in one call")));
    }
    if wanted.out.exists() {
        return Err(no(format_args!("{}: is there already", wanted.out.display())));
    }
    let home = keys::open(&place)?;
    let book = Book::open(&place, &home)?;
    let entries = book.entries(&place)?;
    book.calls(&place, &entries)?;
    let open = left_open(&entries, wanted.domain)?;
    let mut subjects = open.subjects;
    let namer = Namer::new(&home.keyring().subject_namer(wanted.domain), wanted.domain);
    subjects.extend(wanted.subjects.iter().map(|subject| namer.name(subject)));
    if subjects.is_empty() {
        return Err(no(format_args!("nothing was begun in the domain `{}`", wanted.domain)));
    }
    // In the order that they were given, then those of before: faults count.
    let given: Vec<SubjectId> = wanted.subjects.iter().map(|subject| namer.name(subject)).collect();
    let rest = subjects.iter().filter(|id| !given.contains(id));
    let mut ordered: Vec<SubjectId> = given.iter().chain(rest).copied().collect();
    let mut seen = BTreeSet::new();
    ordered.retain(|id| seen.insert(*id));
    let book = RefCell::new(book);
    let done = destroy(&place, wanted, &ordered, &book)?;
    let mut key_ids = open.key_ids;
    key_ids.extend(done.key_ids.iter().map(ToString::to_string));
    let store = key_home::read_store(&place.keys)?;
    let (remains, not_looked_at) = remaining_of(place_file, &place, wanted, &store);
    let certificate = Certificate {
        v: FORMAT,
        store: store.store.clone(),
        region: store.region.clone(),
        at: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        by: wanted.by.to_owned(),
        reason: wanted.reason.to_owned(),
        destroyed: Destroyed {
            domain: wanted.domain.to_owned(),
            subjects: ordered.len() as u32,
            key_ids: key_ids.into_iter().collect(),
            wrapped_under: done.epoch.from.clone(),
            home: store.wrapping.home.clone(),
            generation: done.generation,
            is_final: done.remains.is_final,
            what: done.remains.what.to_owned(),
        },
        survivors: done.survivors,
        remains,
        not_looked_at,
        notes: notes(&store, place.keys.quarantine),
    };
    write_down(wanted, &ordered, &certificate, &done, book.into_inner())?;
    Ok(certificate)
}

/// Subjects of SHREDDING entries without a SHREDDED.
fn left_open(entries: &[Entry], domain: &str) -> Result<Open, RunFault> {
    let mut open: std::collections::BTreeMap<&str, Open> = Default::default();
    for entry in entries {
        match entry {
            Entry::Shredding { domain, subjects, key_ids, .. } => {
                let of = open.entry(domain).or_default();
                of.subjects.extend(subjects.iter().filter_map(|text| named(text)));
                of.key_ids.extend(key_ids.iter().cloned());
            }
            // It takes up all that was open in its domain.
            Entry::Shredded { domain, .. } => {
                open.remove(domain.as_str());
            }
            _ => {}
        }
    }
    let mine = open.remove(domain).unwrap_or_default();
    match open.keys().next() {
        Some(other) => Err(no(format_args!(
            "one of the domain `{other}` was begun and did not end\n  next: `douane keys shred \
             --domain {other} --resume`"
        ))),
        None => Ok(mine),
    }
}

fn named(text: &str) -> Option<SubjectId> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(SubjectId)
}

fn names(subjects: &[SubjectId]) -> Vec<String> {
    subjects.iter().map(|id| HEXLOWER.encode(&id.0)).collect()
}

fn destroy(
    place: &Place,
    wanted: &Wanted<'_>,
    subjects: &[SubjectId],
    book: &RefCell<Book>,
) -> Result<Shredded, RunFault> {
    let ledger: RefCell<Option<LedgerFault>> = RefCell::new(None);
    let write = |entry: Entry| {
        book.borrow_mut().write(&[entry]).map_err(|fault| {
            ledger.replace(Some(fault));
            KeyFault::NotLedgered
        })
    };
    let mut intended = |key_ids: &[KeyId], wrapped_under: &str| {
        write(Entry::Shredding {
            domain: wanted.domain.to_owned(),
            subjects: names(subjects),
            key_ids: key_ids.iter().map(ToString::to_string).collect(),
            wrapped_under: wrapped_under.to_owned(),
            by: wanted.by.to_owned(),
            reason: wanted.reason.to_owned(),
        })
    };
    let mut written = |changed: &Changed| write(rotated(changed));
    let request = Shred {
        domain: wanted.domain,
        subjects,
        intended: &mut intended,
        rotated: &mut written,
        step: &control_switch::die_at,
    };
    let outcome = key_home::shred(&place.keys, request);
    match ledger.into_inner() {
        Some(fault) => Err(fault.into()),
        None => Ok(outcome?),
    }
}

/// What the live releases of the given pipelines let cross besides, and who was not looked at.
fn remaining_of(
    place_file: &Path,
    place: &Place,
    wanted: &Wanted<'_>,
    store: &Store,
) -> (Vec<Remaining>, Vec<String>) {
    let mut remains = Vec::new();
    let uses = store.domains.iter().flat_map(|domain| &domain.used_by);
    let mut unseen: BTreeSet<String> = uses.map(|used| used.pipeline.clone()).collect();
    for file in wanted.files {
        let Ok((_, pipelines)) = config::load_all(place_file, file) else { continue };
        for pipeline in pipelines {
            match release::hold(place, &pipeline) {
                Ok((signed, _)) => {
                    unseen.remove(&pipeline.name);
                    remains.push(remaining(&signed.release, &signed.digest, wanted.domain));
                }
                Err(_) => {
                    unseen.insert(pipeline.name.clone());
                }
            }
        }
    }
    (remains, unseen.into_iter().collect())
}

/// What these keys do not reach.
fn notes(store: &Store, retention: Retention) -> Vec<String> {
    let quarantine = match store.quarantine.last() {
        None => "until the retention of those topics ends".to_owned(),
        // Its key is kept for so long after it served for so long, if it is not ended before.
        Some(newest) => {
            let (at, number) = (newest.made, newest.number);
            let until = [retention.epoch, retention.keep].into_iter().try_fold(at, |at, length| {
                at.checked_add(SignedDuration::try_from(length).ok()?).ok()
            });
            let until = until.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%d");
            format!(
                "until the key of their epoch is destroyed (`keys expire`), which is due for the \
                 newest, {number}, from {until} on, and for what was set aside before the first \
                 epoch until the retention of those topics ends"
            )
        }
    };
    let set_aside = format!(
        "records that were set aside lie sealed in the quarantine topics, with the source's own \
         bytes, {quarantine}"
    );
    [
        "tokens by a MAC stay linkable, and can be made again of a value that is known, while the \
         keys of their domain live",
        "encrypted values (fpe) and reversible tokens of domains without keys per subject open while \
         the keys of their domain live",
        &set_aside,
        "rows of statistics' open windows, and of some that are closed, lie sealed in the stores under \
         `state`, and in copies of them, until their pages are written over or the files are deleted",
        "the source, and what columns show as it is or coarser, are not reached by keys",
    ]
    .map(str::to_owned)
    .into()
}

/// The certificate first: without it in its file the ledger does not say that it ended.
fn write_down(
    wanted: &Wanted<'_>,
    subjects: &[SubjectId],
    certificate: &Certificate,
    done: &Shredded,
    mut book: Book,
) -> Result<(), RunFault> {
    let key = SigningKey::from_bytes(done.certificate.as_bytes())
        .map_err(|fault| RunFault::Keys(fault.to_string()))?;
    let envelope = sign(certificate, &key).map_err(no)?;
    let digest = canonical::sha256_hex(&envelope.unverified_payload().map_err(no)?);
    let bytes = envelope.to_bytes().map_err(no)?;
    fs::write(wanted.out, &bytes)
        .and_then(|()| fs::File::open(wanted.out)?.sync_all())
        .map_err(|error| RunFault::File(format!("{}: {}", wanted.out.display(), error.kind())))?;
    control_switch::die_at("certified");
    book.write(&[Entry::Shredded {
        domain: wanted.domain.to_owned(),
        subjects: names(subjects),
        keys: certificate.destroyed.key_ids.len() as u32,
        certificate: digest,
        at: certificate.at.clone(),
        by: wanted.by.to_owned(),
        reason: wanted.reason.to_owned(),
    }])?;
    Ok(book.publish()?)
}

/// What the log of keys says of a certificate: whether it stands in it.
///
/// # Errors
/// The log cannot be read.
pub fn is_ledgered(ledger_dir: &Path, digest: &str) -> Result<bool, RunFault> {
    let entries = keys::entries(ledger_dir)?;
    let is_it = |entry: &Entry| matches!(entry, Entry::Shredded { certificate, .. } if certificate == digest);
    Ok(entries.iter().any(is_it))
}
