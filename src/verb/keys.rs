//! `keys init | status | rotate | expire | shred | detokenize | request | approve`

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use douane_ledger::detokenize as paper;
use douane_ledger::dsse::Envelope;
use douane_pipelines::detokenize::{self, Found, VALUES_MAX};
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::{KeyHome, TokenKey, init_approver};
use douane_pipelines::keys::{self, EpochState, Rotated, Status, What};
use douane_pipelines::signer::{KeyAt, Signer};
use douane_pipelines::{config, names};
use serde_json::json;

use crate::verb::shred;
use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Keys,
}

#[derive(clap::Subcommand)]
enum Keys {
    /// Makes the keys of this place (root, manifest, checkpoint, and the key that wraps them), or a
    /// person's signing key. Never overwrites. 0: made.
    Init {
        /// A person who approves releases, instead of this place.
        #[arg(long, requires = "out")]
        approver: Option<String>,
        /// Where the person's key goes; its public half goes beside it, with `.pub`.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Makes the key in a token, `pkcs11:token=…;object=…?module-path=…&pin-source=…`: only its
        /// public half goes beside `--out`.
        #[arg(long, requires = "approver")]
        token: Option<KeyAt>,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Versions, states, dates and ids of this place's keys, and who uses them. 0: all can be used.
    Status {
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Replaces a key by its next version; a running process takes it up between two transactions.
    /// 0: done.
    Rotate(Rotate),
    /// Destroys the keys that records were set aside under, of epochs whose time is over: what lies in
    /// the quarantine under them opens nowhere from then on. The ledger has it first. 0: done, or
    /// nothing was to be done.
    Expire(Expire),
    /// Destroys the keys of single subjects, or tenants: what was tokenised under them is never turned
    /// back. The ledger has it first; a certificate says what is gone and what remains. 0: destroyed.
    Shred(shred::Args),
    /// Turns reversible tokens or encrypted values of a column back, inside the zone; the ledger has
    /// it first. Values go to standard output, a line each. 0: all of them opened.
    Detokenize {
        #[command(flatten)]
        wanted: Wanted,
        /// A request that enough approvers signed, where the trust root asks for it.
        #[arg(long)]
        approve: Option<PathBuf>,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Writes down what is to be turned back, for approvers to sign. 0: written.
    Request {
        #[command(flatten)]
        wanted: Wanted,
        /// The request's file.
        #[arg(long)]
        out: PathBuf,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Shows a request and adds a signature to it. 0: signed.
    Approve {
        /// The request's file.
        request: PathBuf,
        /// The approver's signing key: a file, `ssh-agent:FILE.pub`, or a `pkcs11:` URI.
        #[arg(long)]
        key: KeyAt,
        /// With `json` what is signed goes to standard error before it is.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

#[derive(clap::Args)]
struct Wanted {
    /// A pipeline file.
    file: PathBuf,
    /// Of a file with `tables`, the one that has the column.
    #[arg(long)]
    table: Option<String>,
    /// The column, by its name outside.
    #[arg(long)]
    column: String,
    /// The version of the key, for encrypted values that do not say it.
    #[arg(long)]
    key_version: Option<u32>,
    /// Who asks; stands in the ledger.
    #[arg(long)]
    by: String,
    /// Why; stands in the ledger.
    #[arg(long)]
    reason: String,
    /// Tokens or encrypted values; from standard input, a line each, where none are given.
    values: Vec<String>,
}

#[derive(clap::Args)]
#[command(group(
    clap::ArgGroup::new("what").required(true).args(["domain", "root", "wrapping", "quarantine"])
))]
struct Rotate {
    /// A token domain: new values get new tokens, in every pipeline that uses it.
    domain: Option<String>,
    /// The root: for seals, for domains that nobody uses yet, and for the next versions of others.
    #[arg(long)]
    root: bool,
    /// The key that wraps the store; the old one is destroyed.
    #[arg(long)]
    wrapping: bool,
    /// The key that records are set aside under, before its time.
    #[arg(long)]
    quarantine: bool,
    /// How long the version before is still read back: a number and `d`, `h`, `m` or `s`.
    #[arg(long, default_value = "30d", value_parser = duration, requires = "domain")]
    overlap: Duration,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(clap::Args)]
struct Expire {
    /// This one, before its time; the newest is in use.
    #[arg(long)]
    epoch: Option<u32>,
    /// Who has it done; stands in the ledger.
    #[arg(long)]
    by: String,
    /// Why; stands in the ledger.
    #[arg(long)]
    reason: String,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match &args.verb {
        Keys::Init { approver, out, token, format } => {
            match (approver, out) {
                (Some(name), Some(out)) => init_person(name, out, token.as_ref(), *format)?,
                _ => init(place, *format)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Keys::Status { format } => {
            let status = keys::status(place)?;
            match format {
                Format::Json => verb::print_json(&status),
                Format::Text => print_status(&status),
            }
            Ok(ExitCode::SUCCESS)
        }
        Keys::Rotate(args) => {
            rotate(place, args)?;
            Ok(ExitCode::SUCCESS)
        }
        Keys::Expire(args) => {
            expire(place, args)?;
            Ok(ExitCode::SUCCESS)
        }
        Keys::Shred(args) => shred::run(place, args),
        Keys::Detokenize { wanted, approve, format } => {
            turn_back(place, wanted, approve.as_deref(), *format)
        }
        Keys::Request { wanted, out, format } => request(place, wanted, out, *format),
        Keys::Approve { request, key, format } => approve(request, key, *format),
    }
}

/// The values of the command line, or the lines of standard input.
fn values(wanted: &Wanted) -> Result<Vec<String>, RunFault> {
    if !wanted.values.is_empty() {
        return Ok(wanted.values.clone());
    }
    let input = Path::new("standard input");
    let lines = std::io::stdin().lock().lines().take(VALUES_MAX + 1);
    lines.collect::<Result<_, _>>().map_err(|error| verb::file_fault(input, &error))
}

fn turn_back(
    place: &Path,
    wanted: &Wanted,
    approve: Option<&Path>,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let values = values(wanted)?;
    let envelope = approve.map(envelope).transpose()?;
    let asked = detokenize::Wanted {
        file: &wanted.file,
        table: wanted.table.as_deref(),
        column: &wanted.column,
        key_version: wanted.key_version,
        values: &values,
    };
    let found =
        detokenize::detokenize(place, &asked, &wanted.by, &wanted.reason, envelope.as_ref())?;
    if format == Format::Json {
        verb::print_json(&found);
    } else {
        for (number, found) in found.iter().enumerate() {
            match found {
                Found::Value(value) => verb::print(value),
                Found::Refused(code) => {
                    let line = format!("value {}: refused: {code}", number + 1);
                    verb::say(&mut std::io::stderr(), &line);
                }
            }
        }
    }
    Ok(verb::answer(found.iter().all(|found| matches!(found, Found::Value(_)))))
}

fn request(
    place: &Path,
    wanted: &Wanted,
    out: &Path,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let values = values(wanted)?;
    let asked = detokenize::Wanted {
        file: &wanted.file,
        table: wanted.table.as_deref(),
        column: &wanted.column,
        key_version: wanted.key_version,
        values: &values,
    };
    let request = detokenize::request(place, &asked, &wanted.by, &wanted.reason)?;
    let unsigned = paper::draft(&request).and_then(|draft| draft.to_bytes().map_err(Into::into));
    let bytes = unsigned.map_err(|fault| RunFault::Release(fault.to_string()))?;
    std::fs::write(out, bytes).map_err(|error| verb::file_fault(out, &error))?;
    let said = format!("{}: {} values, until {}", out.display(), request.count, request.expires);
    let next = "next: each approver signs it: `douane keys approve FILE --key KEY`";
    verb::tell(
        format,
        &format!("{said}\n{next}"),
        json!({ "file": names::of_path(out), "request": request }),
    );
    Ok(ExitCode::SUCCESS)
}

fn approve(path: &Path, key: &KeyAt, format: Format) -> Result<ExitCode, RunFault> {
    let before = envelope(path)?;
    let no = |fault: paper::RequestFault| RunFault::Release(fault.to_string());
    let request = paper::unverified(&before).map_err(no)?;
    // What is signed, before it is.
    let versions: Vec<String> = request.key_versions.iter().map(ToString::to_string).collect();
    let what = format!(
        "{} values of column {} in {}\nmade with {} in domain {}, key versions {}\nrelease \
         fingerprint {}\nvalues and their order {}\nfor {}: {}; until {}",
        request.count,
        request.column,
        request.pipeline,
        request.purpose,
        request.domain,
        versions.join(", "),
        request.fingerprint,
        request.tokens,
        request.by,
        request.reason,
        request.expires,
    );
    verb::show_first(format, &what);
    let signed = detokenize::approve(before, &Signer::open(key)?)?;
    let bytes = signed.to_bytes().map_err(|fault| RunFault::Release(fault.to_string()))?;
    std::fs::write(path, bytes).map_err(|error| verb::file_fault(path, &error))?;
    let text = format!("signed: {}", path.display());
    verb::tell(format, &text, json!({ "file": names::of_path(path), "request": request }));
    Ok(ExitCode::SUCCESS)
}

fn envelope(path: &Path) -> Result<Envelope, RunFault> {
    let bytes = std::fs::read(path).map_err(|error| verb::file_fault(path, &error))?;
    Envelope::from_bytes(&bytes)
        .map_err(|fault| RunFault::Release(format!("{}: {fault}", path.display())))
}

fn init_person(
    name: &str,
    out: &Path,
    token: Option<&KeyAt>,
    format: Format,
) -> Result<(), RunFault> {
    let (public, key) = match token {
        None => (init_approver(name, out)?, names::of_path(out)),
        Some(KeyAt::Token(home)) => {
            let key = format!("key `{}` in token `{}`", home.key_label, home.token_label);
            (TokenKey::make(name, home, out)?, key)
        }
        Some(_) => {
            return Err(RunFault::Client("--token: expected a `pkcs11:` URI".to_owned()));
        }
    };
    if format == Format::Json {
        verb::print_json(&json!({"approver": name, "key": key, "public": public}));
        return Ok(());
    }
    verb::print(&format!("{name}: {key}"));
    verb::print(&format!("public half: {}", public.display()));
    Ok(())
}

fn init(place: &Path, format: Format) -> Result<(), RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let home = KeyHome::init(&place.keys)?;
    if format == Format::Json {
        let id = home.root().id().to_string();
        verb::print_json(&json!({"keys_dir": place.keys.dir, "root_key_id": id}));
        return Ok(());
    }
    verb::print(&format!("keys of this place: {}", place.keys.dir.display()));
    verb::print(&format!("root key id {}", home.root().id()));
    verb::print("back them up: tokens cannot be made again without the root key");
    Ok(())
}

fn print_status(status: &Status) {
    let home = &status.home;
    verb::print(&format!("store {}, region {}", status.store, status.region));
    verb::print(&format!(
        "wrapped by `{}`, generation {}, since {}{}",
        home.kind,
        home.generation,
        home.since,
        home.lease_s.map(|s| format!(", lease {s} s")).unwrap_or_default(),
    ));
    let memory = match status.locked {
        true => "keys are kept out of swap",
        false => "keys may be written to swap: this process may lock too little memory",
    };
    verb::print(memory);
    verb::print(&format!("manifest key {}", status.signing.manifest));
    verb::print(&format!("checkpoint key {}", status.signing.checkpoint));
    for root in status.roots.iter().rev() {
        let state = if root.active { "active" } else { "for older versions" };
        verb::print(&format!("root {}  {}  {state}  since {}", root.version, root.id, root.since));
    }
    if let Some(subjects) = &status.subjects {
        verb::print(&format!(
            "keys per subject: epoch {}, since {}",
            subjects.epoch, subjects.since
        ));
        for count in &subjects.domains {
            let (domain, keys, shredded) = (&count.domain, count.keys, count.shredded);
            verb::print(&format!("  domain {domain}  {keys} keys  {shredded} subjects shredded"));
        }
    }
    for epoch in &status.quarantine {
        let state = match epoch.state {
            EpochState::Active => "records are set aside under it",
            EpochState::Kept => "kept until",
            EpochState::Over => "over: `douane keys expire` destroys it; kept until",
            EpochState::Ending => "NOT ended yet: `douane keys expire` once more; kept until",
            EpochState::Ended => "ended",
        };
        let until = epoch.until.as_deref().unwrap_or_default();
        let line =
            format!("quarantine epoch {}  since {}  {state} {until}", epoch.number, epoch.since);
        verb::print(line.trim_end());
    }
    for domain in &status.domains {
        let used: Vec<String> = domain
            .used_by
            .iter()
            .map(|u| format!("{}{}", u.pipeline, if u.in_key { " (record key)" } else { "" }))
            .collect();
        verb::print(&format!("domain {}  used by {}", domain.domain, used.join(", ")));
        for version in &domain.versions {
            let state = format!("{:?}", version.state).to_lowercase();
            let until = version.until.as_ref().map(|until| format!(", read back until {until}"));
            verb::print(&format!(
                "  version {}  {state}  of root {}, since {}{}",
                version.version,
                version.root,
                version.since,
                until.unwrap_or_default(),
            ));
        }
    }
}

fn rotate(place: &Path, args: &Rotate) -> Result<(), RunFault> {
    let what = match &args.domain {
        Some(domain) => What::Domain { domain: domain.clone(), overlap: args.overlap },
        None if args.root => What::Root,
        None if args.quarantine => What::Quarantine,
        None => What::Wrapping,
    };
    let Rotated { changed, remains } = &keys::rotate(place, &what)?;
    if args.format == Format::Json {
        verb::print_json(&json!({"changed": changed, "remains": remains}));
        return Ok(());
    }
    for key in changed {
        verb::print(&format!("{} {}: {} -> {}", key.purpose, key.context, key.from, key.to));
    }
    match (&what, remains) {
        (_, Some(remains)) => {
            let word = if remains.is_final { "final" } else { "NOT final" };
            verb::print(&format!("the old wrapping key is destroyed; {word}: {}", remains.what));
        }
        (What::Root, _) => verb::print("domains in use keep their tokens until they are rotated"),
        (What::Quarantine, _) => verb::print(
            "a running process takes it up within seconds; `douane keys expire --epoch` ends the one \
             before",
        ),
        _ => verb::print("a running process takes it up between two transactions"),
    }
    Ok(())
}

fn expire(place: &Path, args: &Expire) -> Result<(), RunFault> {
    let wanted = keys::Expire { epoch: args.epoch, by: &args.by, reason: &args.reason };
    let expired = keys::expire(place, &wanted)?;
    if args.format == Format::Json {
        verb::print_json(&expired);
        return Ok(());
    }
    for number in &expired.ended {
        verb::print(&format!("quarantine epoch {number}: its key is destroyed"));
    }
    match &expired.remains {
        Some(remains) => {
            let word = if remains.is_final { "final" } else { "NOT final" };
            verb::print(&format!("the old wrapping key is destroyed; {word}: {}", remains.what));
        }
        None => verb::print("no epoch's time is over"),
    }
    Ok(())
}

/// A number and a unit, as in `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    units
        .into_iter()
        .find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(seconds).map(Duration::from_secs)
        })
        .ok_or_else(|| "expected a number and `d`, `h`, `m` or `s`, such as `30d`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("30d", Some(2_592_000)), ("12h", Some(43_200)), ("0s", Some(0))] {
            assert_eq!(duration(text).ok().map(|d| d.as_secs()), seconds, "{text}");
        }
        for bad in
            ["", "d", "30", "-1d", "1.5h", "1w", "99999999999999999999d", "999999999999999999d"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
