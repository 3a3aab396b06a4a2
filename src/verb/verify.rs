//! `verify [LEDGER]`, `verify --topic TOPIC`, `verify --artifact FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::log::verifier_key;
use douane_ledger::shred as paper;
use douane_ledger::verify::{self, Cosigned, Expect, Report};
use douane_pipelines::config;
use douane_pipelines::coverage::{self, Ask};
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::PublicKeys;
use douane_pipelines::names::checkpoint_origin;
use douane_pipelines::shred;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A ledger directory, or one log in it; the place's own where none is given.
    ledger: Option<PathBuf>,
    /// A checkpoint file kept from earlier: the log must still contain what it says. Without one,
    /// a log that was cut back as a whole looks sound.
    #[arg(long = "checkpoint")]
    checkpoints: Vec<PathBuf>,
    /// Manifest files (DSSE envelopes as they stand in the manifest topic) that must be of this
    /// ledger.
    #[arg(long = "manifest")]
    manifests: Vec<PathBuf>,
    /// The key of a witness, as `witness init` printed it, or a file with it: a checkpoint of each log
    /// must be cosigned by it, and the log must still contain what that says. With `--topic`: of each log in
    /// its newest bundle. Once for each.
    #[arg(long = "witness")]
    witnesses: Vec<String>,
    /// With `--witness`: each must have cosigned within so long, by its own clock: `36h`, `7d`. Without it a
    /// log that was put back to what was cosigned once, with that line, looks sound.
    #[arg(long, value_name = "DURATION", value_parser = seconds, requires = "witnesses")]
    cosigned_within: Option<u64>,
    /// The first line that the log's checkpoints must have, such as `douane/customers/shard-0`. Without it
    /// the checkpoint's own word is taken for which log this is. LEDGER is then one log.
    #[arg(long, value_name = "ORIGIN", requires_all = ["ledger", "keys"])]
    origin: Option<String>,
    /// Certificates of `keys shred`: signed by this place, and in this ledger.
    #[arg(long = "certificate")]
    certificates: Vec<PathBuf>,
    /// A folder with `manifest.key.pub` and `checkpoint.key.pub`; the place's own where none is
    /// given. No secret is needed.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// In the place of a ledger a global topic: everything visible in it is covered by exactly one
    /// manifest, nothing is missing, order and digests hold. From outside: it reads the global
    /// cluster and public keys alone.
    #[arg(long, conflicts_with_all = ["ledger", "checkpoints", "manifests", "certificates"])]
    topic: Option<String>,
    /// In the place of a ledger a model's file: it holds tensors and nothing else, and is what the
    /// statement beside it says, signed by enough, not expired, not revoked. From outside: it needs the
    /// trust root alone.
    #[arg(long, conflicts_with_all = ["ledger", "checkpoints", "manifests", "certificates", "topic"])]
    artifact: Option<PathBuf>,
    /// With `--topic`: a release file that records may have crossed under, and the revocations
    /// beside it. Once for each.
    #[arg(long = "release", requires = "topic")]
    releases: Vec<PathBuf>,
    /// The trust root's file; the place's own where none is given.
    #[arg(long)]
    trust: Option<PathBuf>,
    /// With `--topic`: an answer kept from earlier, as JSON; what it saw must still be there.
    /// Without one the newest transactions may be missing.
    #[arg(long, requires = "topic")]
    earlier: Option<PathBuf>,
    /// With `--topic`: the newest bundle of checkpoints must be of a tick within so long: `2h`. Twice the
    /// place's schedule shows that nothing was taken out at the end since.
    #[arg(long, value_name = "DURATION", value_parser = seconds, requires = "topic")]
    bundled_within: Option<u64>,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match (&args.topic, &args.artifact) {
        (Some(topic), _) => of_topic(place, topic, args),
        (None, Some(file)) => verb::artifact::verify(place, file, args.trust.as_ref(), args.format),
        (None, None) => of_ledger(place, args),
    }
}

fn of_topic(place: &Path, topic: &str, args: &Args) -> Result<ExitCode, RunFault> {
    let ask = Ask {
        topic: topic.to_owned(),
        keys: args.keys.clone(),
        trust: args.trust.clone(),
        releases: args.releases.clone(),
        earlier: args.earlier.clone(),
        witnesses: witnesses(&args.witnesses)?,
        bundled_within: args.bundled_within,
        cosigned_within: args.cosigned_within,
    };
    let answer = coverage::verify(place, &ask)?;
    match args.format {
        Format::Json => verb::print_json(&answer),
        Format::Text => verb::print(&answer.text()),
    }
    Ok(verb::answer(answer.holds))
}

fn of_ledger(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let place = config::load_place(place);
    let ledger = match (&args.ledger, &place) {
        (Some(ledger), _) => ledger.clone(),
        (None, Ok(place)) => place.ledger_dir.clone(),
        (None, Err(findings)) => return Err(RunFault::Findings(findings.clone())),
    };
    if !ledger.exists() {
        return Err(no_ledger(&ledger, args.ledger.is_some()));
    }
    // Public halves suffice. Without them signatures are not checked, and the answer says so.
    let keys_dir = args.keys.clone().or_else(|| place.ok().map(|place| place.keys.dir));
    let opened = keys_dir.map_or(Ok(None), |dir| PublicKeys::open(&dir));
    let keys = match (&args.keys, opened) {
        // Whoever named keys is not told of a log whose signatures nobody looked at.
        (Some(dir), Ok(None)) => {
            let why = "no `checkpoint.key.pub` and `manifest.key.pub` are in it";
            return Err(no_keys(&format!("{}: {why}", dir.display())));
        }
        (Some(_), Err(fault)) => return Err(no_keys(&fault.to_string())),
        (_, opened) => opened.map_err(|fault| RunFault::Keys(fault.to_string()))?,
    };
    let read = |paths: &[PathBuf]| {
        paths
            .iter()
            .map(|path| std::fs::read(path).map_err(|error| verb::file_fault(path, &error)))
            .collect::<Result<Vec<_>, RunFault>>()
    };
    let expect = Expect {
        old_checkpoints: read(&args.checkpoints)?,
        manifests: read(&args.manifests)?,
        witnesses: witnesses(&args.witnesses)?,
        cosigned_since: args
            .cosigned_within
            .map(|within| verb::witness::now().saturating_sub(within)),
        manifest_keys: keys.iter().map(|keys| keys.manifest).collect(),
        ..Expect::default()
    };
    let reports = match (&args.origin, &keys) {
        (None, _) => check(&ledger, &expect, keys.as_ref())?,
        (Some(origin), Some(keys)) if ledger.join("journals").is_dir() => {
            let key = verifier_key(origin, &keys.checkpoint);
            verify::home_with(&ledger, &expect, &|_| Some(key.clone()))
                .map_err(|error| verb::file_fault(&ledger, &error))?
        }
        (Some(_), Some(_)) => {
            let next = "`--origin` is of one log: name its folder";
            return Err(RunFault::File(format!("{}: no log\n  next: {next}", ledger.display())));
        }
        (Some(_), None) => {
            let next = "name the folder with `checkpoint.key.pub` with `--keys`";
            return Err(RunFault::Keys(format!("`--origin` needs the log's key\n  next: {next}")));
        }
    };
    for path in &args.certificates {
        certificate(path, &ledger, keys.as_ref())?;
    }
    // Whoever named keys asks whether all of it is signed.
    let is_bare = |report: &&Report| args.keys.is_some() && report.is_unsigned();
    let bare = reports.iter().filter(is_bare).count();
    let holds = !reports.is_empty() && bare == 0 && reports.iter().all(Report::holds);
    match args.format {
        Format::Json => {
            verb::print_json(&reports.iter().map(as_json).collect::<Vec<_>>());
        }
        Format::Text => {
            for report in &reports {
                print(report);
            }
            let tied = match args.manifests.len() {
                0 => String::new(),
                n => format!(", {n} manifests tied to their leaf"),
            };
            let tied = match args.certificates.len() {
                0 => tied,
                n => format!("{tied}, {n} certificates signed and in the ledger"),
            };
            for report in reports.iter().filter(is_bare) {
                let log = report.dir.display();
                verb::print(&format!("{log}: no checkpoint signs what was committed"));
            }
            let unsigned = reports.iter().filter(|of| of.entries > 0 && !of.signature_checked);
            let signatures = match (keys.is_some(), unsigned.count()) {
                (false, _) => "NOT checked: no --keys".to_owned(),
                (true, 0) => "checked".to_owned(),
                (true, some) => format!("checked but of {some}, which nothing signs yet"),
            };
            verb::print(&match (holds, reports.is_empty()) {
                (_, true) => "no log here".to_owned(),
                (true, _) => format!("all hold{tied}; signatures {signatures}"),
                (false, _) => "NOT sound".to_owned(),
            });
        }
    }
    Ok(verb::answer(holds))
}

/// There is nothing to be checked; a place has a ledger once something ran in it.
fn no_ledger(ledger: &Path, named: bool) -> RunFault {
    let (why, next) = match named {
        true => ("no such folder", "name a ledger's folder, or that of one log in it"),
        false => (
            "no ledger is here: nothing has run in this place",
            "`douane run FILE` begins it; a ledger elsewhere is named: `douane verify LEDGER`",
        ),
    };
    RunFault::File(format!("{}: {why}\n  next: {next}", ledger.display()))
}

/// The folder that was named with `--keys` holds none that can be read.
fn no_keys(why: &str) -> RunFault {
    let next = "name a folder that holds `checkpoint.key.pub` and `manifest.key.pub` with `--keys`";
    RunFault::Keys(format!("{why}\n  next: {next}"))
}

/// `90m`, `36h`, `7d`, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let unit = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let read = || {
        let each = unit(text.chars().last()?)?;
        let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
        number.checked_mul(each).filter(|all| *all > 0)
    };
    read().ok_or_else(|| "expected a number and one of s, m, h, d: `36h`".to_owned())
}

/// Keys as they are, or of files.
fn witnesses(given: &[String]) -> Result<Vec<String>, RunFault> {
    let key = |given: &String| match given.contains('+') {
        true => Ok(given.clone()),
        false => std::fs::read_to_string(given)
            .map(|text| text.trim().to_owned())
            .map_err(|error| verb::file_fault(Path::new(given), &error)),
    };
    given.iter().map(key).collect()
}

/// A certificate is signed by this place's key, and the ledger's log of keys names it.
fn certificate(path: &Path, ledger: &Path, keys: Option<&PublicKeys>) -> Result<(), RunFault> {
    let no = |why: &str| RunFault::Release(format!("{}: {why}", path.display()));
    let key = keys.and_then(|keys| keys.certificate).ok_or_else(|| {
        no("no public key of certificates\n  next: name the folder with `certificate.key.pub` with \
            `--keys`")
    })?;
    let bytes = std::fs::read(path).map_err(|error| verb::file_fault(path, &error))?;
    let envelope = Envelope::from_bytes(&bytes).map_err(|fault| no(&fault.to_string()))?;
    let (_, digest) = paper::verify(&envelope, key).map_err(|fault| no(&fault.to_string()))?;
    match shred::is_ledgered(ledger, &digest)? {
        true => Ok(()),
        false => Err(no("the log of keys does not name it")),
    }
}

/// Checks every log below `ledger`; with public keys, signatures as well.
pub fn check(
    ledger: &Path,
    expect: &Expect,
    keys: Option<&PublicKeys>,
) -> Result<Vec<Report>, RunFault> {
    verify::home_with(ledger, expect, &|dir| checkpoint_key(dir, keys))
        .map_err(|error| verb::file_fault(ledger, &error))
}

/// The key that signs a log's checkpoints: the log's name is part of what is signed.
fn checkpoint_key(dir: &Path, keys: Option<&PublicKeys>) -> Option<String> {
    let log = dir.file_name()?.to_string_lossy().into_owned();
    // The name that the checkpoint gives itself, where it is of this log: a copy of a ledger may
    // lie in a folder of any name.
    let checkpoint = std::fs::read_to_string(dir.join("tlog/checkpoint")).unwrap_or_default();
    let given = checkpoint.lines().next().unwrap_or_default();
    let origin = match given.starts_with("douane/") && given.ends_with(&format!("/{log}")) {
        true => given.to_owned(),
        false => checkpoint_origin(&dir.parent()?.file_name()?.to_string_lossy(), &log),
    };
    Some(verifier_key(&origin, &keys?.checkpoint))
}

fn as_json(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "log": report.dir,
        "holds": report.holds(),
        "findings": report.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "entries": report.entries,
        "root": canonical::hex(&report.root),
        "intents": report.intents,
        "committed": report.committed,
        "void": report.void,
        "open": report.open,
        "checkpoint": report.checkpoint,
        "origin": report.origin,
        "signature_checked": report.signature_checked,
        "manifests": report.manifests,
        "cosigned": report.cosigned.iter().map(|of| serde_json::json!({
            "witness": of.witness, "size": of.size, "time": of.time,
        })).collect::<Vec<_>>(),
    })
}

fn print(report: &Report) {
    verb::print(&format!(
        "{}: {} entries, {} intents ({} committed, {} void{}), checkpoint {}{}",
        report.dir.display(),
        report.entries,
        report.intents,
        report.committed,
        report.void,
        if report.open.is_some() { ", 1 open" } else { "" },
        match (report.checkpoint, &report.origin) {
            (Some(size), Some(origin)) => format!("{size} of {origin}"),
            _ => "none".to_owned(),
        },
        match (report.checkpoint, report.signature_checked) {
            (Some(_), false) => ", signature not checked (no key here)",
            _ => "",
        },
    ));
    for Cosigned { witness, size, time } in &report.cosigned {
        let at = jiff::Timestamp::from_second(i64::try_from(*time).unwrap_or(i64::MAX));
        let at = at.map_or_else(|_| time.to_string(), |at| at.to_string());
        verb::print(&format!("  cosigned by {witness}: {size} entries, {at}"));
    }
    for finding in &report.findings {
        verb::print(&format!("  {finding}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_ago_is_read_or_refused() {
        for (text, expected) in [("90s", 90), ("90m", 5_400), ("36h", 129_600), ("7d", 604_800)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for bad in ["", "d", "0d", "7", "-1d", "1.5h", "7w", "7\u{e9}", "99999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
