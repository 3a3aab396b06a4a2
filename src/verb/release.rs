//! `release trust | propose | sign | show | renew | revoke`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::release::{self as releases, Limits, Release as Drafted};
use douane_ledger::signing::{SigningKey, VerifyingKey};
use douane_ledger::trust::{self, Approver, Role, Root, TrustRoot};
use douane_pipelines::fault::RunFault;
use douane_pipelines::{bundle, config, explain, release, revocation};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Release,
}

#[derive(clap::Subcommand)]
enum Release {
    /// Makes the trust root, or its successor: who may approve, and how many must.
    Trust {
        /// `NAME=PUBLIC_KEY_FILE`, once per person.
        #[arg(long = "approver", required = true)]
        approvers: Vec<String>,
        /// How many distinct approvers a release needs.
        #[arg(long, default_value_t = 2)]
        threshold: u32,
        /// How many approvers must sign a request to turn tokens back (`keys detokenize`); as before
        /// unless said, and none at first.
        #[arg(long)]
        detokenize: Option<u32>,
        /// Signing key files: of the first approvers, or, for a successor, of the old threshold.
        #[arg(long = "sign", required = true)]
        sign: Vec<PathBuf>,
    },
    /// Drafts a release of a pipeline beside douane.yaml.
    Propose {
        file: PathBuf,
        /// Who proposes: does not count among the approvers.
        #[arg(long)]
        author: String,
        /// Days until it expires.
        #[arg(long, default_value_t = release::LIFE_DAYS_DEFAULT)]
        days: u32,
        /// Records that may cross under it, in all.
        #[arg(long)]
        records: Option<u64>,
        /// Bytes of keys and values that may cross under it, in all.
        #[arg(long)]
        bytes: Option<u64>,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Drafts the release in force anew with another life: the files must still be what was signed.
    Renew {
        file: PathBuf,
        /// Who proposes: does not count among the approvers.
        #[arg(long)]
        author: String,
        /// Days until it expires.
        #[arg(long, default_value_t = release::LIFE_DAYS_DEFAULT)]
        days: u32,
    },
    /// Stops the release in force, for good: a process that runs under it ends within seconds.
    Revoke {
        file: PathBuf,
        /// Of a file with `tables`, only this one's.
        #[arg(long)]
        table: Option<String>,
        /// The key file of somebody who may revoke: one is enough.
        #[arg(long)]
        key: PathBuf,
        /// For people; no data.
        #[arg(long)]
        reason: String,
    },
    /// Makes the proof again from the files, shows it with its fingerprint, and signs it if they
    /// are equal.
    Sign {
        file: PathBuf,
        /// Of a file with `tables`, only this one's draft; may be given again.
        #[arg(long = "table")]
        tables: Vec<String>,
        /// The signer's key file.
        #[arg(long)]
        key: PathBuf,
    },
    /// What a release lets cross, who signed it, and whether it is live. 0: it is live.
    Show {
        file: PathBuf,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match &args.verb {
        Release::Trust { approvers, threshold, detokenize, sign } => {
            verb::print(&make_trust(place, approvers, *threshold, *detokenize, sign)?);
            Ok(ExitCode::SUCCESS)
        }
        Release::Propose { file, author, days, records, bytes, format } => {
            let limits = Limits { records: *records, bytes: *bytes, epsilon: None };
            propose_all(place, file, author, *days, &limits, *format)
        }
        Release::Sign { file, tables, key } => sign_all(place, file, tables, key),
        Release::Renew { file, author, days } => {
            let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
            for pipeline in &pipelines {
                let draft = release::renew(&place, pipeline, author, life(*days))?;
                print_proposed(&drafted(pipeline, draft)?, file);
            }
            Ok(ExitCode::SUCCESS)
        }
        Release::Revoke { file, table, key, reason } => {
            revoke(place, file, table.as_ref(), key, reason)
        }
        Release::Show { file, format } => show(place, file, *format),
    }
}

fn fault(what: impl std::fmt::Display) -> RunFault {
    RunFault::Release(what.to_string())
}

fn signing_key(path: &Path) -> Result<SigningKey, RunFault> {
    let bytes = std::fs::read(path).map_err(|error| verb::file_fault(path, &error))?;
    SigningKey::from_bytes(&bytes).map_err(|f| fault(format!("{}: {f}", path.display())))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunFault> {
    // Written whole or not at all: a torn release file would only be refused, but a torn trust
    // root would have to be made again by everybody.
    let aside = path.with_extension("tmp");
    std::fs::File::create(&aside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            // Before the name: a crash leaves what was there, or all of the new one.
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&aside, path))
        .map_err(|error| verb::file_fault(path, &error))
}

/// Writes the trust root or its successor; says which.
pub fn make_trust(
    place: &Path,
    approvers: &[String],
    threshold: u32,
    detokenize: Option<u32>,
    sign: &[PathBuf],
) -> Result<String, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let approvers = approvers
        .iter()
        .map(|text| {
            let (name, file) = text
                .split_once('=')
                .ok_or_else(|| fault(format!("`{text}`: expected NAME=PUBLIC_KEY_FILE")))?;
            let file = Path::new(file);
            let key =
                std::fs::read_to_string(file).map_err(|error| verb::file_fault(file, &error))?;
            let key =
                VerifyingKey::parse(&key).map_err(|f| fault(format!("{}: {f}", file.display())))?;
            Ok(Approver {
                name: name.to_owned(),
                key,
                roles: vec![Role::Approve, Role::Revoke, Role::Trust],
            })
        })
        .collect::<Result<Vec<_>, RunFault>>()?;
    let keys = sign.iter().map(|path| signing_key(path)).collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let mut file = match std::fs::read(&place.trust) {
        // A root that is there and cannot be read is not a first one.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(verb::file_fault(&place.trust, &error));
        }
        read => read.unwrap_or_default(),
    };
    let mut root = match file.is_empty() {
        true => Root::first(threshold, approvers),
        false => TrustRoot::load(&file, None).map_err(fault)?.propose(threshold, approvers),
    };
    root.detokenize = detokenize.or(root.detokenize);
    let envelope = trust::sign(&root, &keys).map_err(fault)?;
    file.extend(envelope.to_bytes().map_err(fault)?);
    // It must hold before it replaces what holds.
    let loaded = TrustRoot::load(&file, None).map_err(fault)?;
    write(&place.trust, &file)?;
    Ok(format!(
        "trust root version {}: {} approvers, {} must sign; {}",
        loaded.root().version,
        loaded.root().approvers.len(),
        loaded.threshold(),
        place.trust.display()
    ))
}

/// A draft, and where it lies.
pub struct Proposed {
    pub draft: Drafted,
    pub file: PathBuf,
}

/// Drafts a release beside douane.yaml.
pub fn propose(
    place: &Path,
    file: &Path,
    author: &str,
    days: u32,
    limits: Limits,
) -> Result<Proposed, RunFault> {
    let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
    let plan = explain::fresh_plan(&place, &pipeline)?;
    let proposal = release::Proposal { author: author.to_owned(), life: life(days), limits };
    let draft = release::propose(&place, &pipeline, &plan, &proposal)?;
    drafted(&pipeline, draft)
}

/// Drafts a release of the pipeline, or of each table that changed.
fn propose_all(
    place: &Path,
    file: &Path,
    author: &str,
    days: u32,
    limits: &Limits,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let mut documents = Vec::new();
    for pipeline in &pipelines {
        let plan = explain::fresh_plan(&place, pipeline)?;
        if pipeline.table.is_some() && release::unchanged(&place, pipeline, &plan)? {
            let next = "its release stays (`renew` gives it another life)";
            if format == Format::Text {
                verb::print(&format!("{}: unchanged, {next}", pipeline.name));
            }
            continue;
        }
        let (author, limits) = (author.to_owned(), limits.clone());
        let proposal = release::Proposal { author, life: life(days), limits };
        let draft = release::propose(&place, pipeline, &plan, &proposal)?;
        let proposed = drafted(pipeline, draft)?;
        match format {
            Format::Text => print_proposed(&proposed, file),
            Format::Json => documents.push(serde_json::json!({
                "release": proposed.draft, "file": proposed.file,
            })),
        }
    }
    if format == Format::Json {
        verb::print_json_of(&documents);
    }
    Ok(ExitCode::SUCCESS)
}

fn life(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

/// Writes a draft beside the release in force.
fn drafted(pipeline: &config::Pipeline, draft: Drafted) -> Result<Proposed, RunFault> {
    let envelope = releases::sign(&draft, &[]).map_err(fault)?;
    let draft_file = bundle::draft_file(pipeline);
    write(&draft_file, &bundle::with(&draft_file, pipeline, &envelope)?)?;
    Ok(Proposed { draft, file: draft_file })
}

/// Leaves the named tables, or all where none is named.
fn keep_tables(
    pipelines: &mut Vec<config::Pipeline>,
    tables: &[String],
    file: &Path,
) -> Result<(), RunFault> {
    let is = |one: &config::Pipeline, name: &String| {
        one.table.as_ref().is_some_and(|table| table.name == *name)
    };
    if let Some(unknown) = tables.iter().find(|name| !pipelines.iter().any(|one| is(one, name))) {
        return Err(fault(format!("{} has no table `{unknown}`", file.display())));
    }
    pipelines.retain(|one| tables.is_empty() || tables.iter().any(|name| is(one, name)));
    Ok(())
}

fn revoke(
    place: &Path,
    file: &Path,
    table: Option<&String>,
    key: &Path,
    reason: &str,
) -> Result<ExitCode, RunFault> {
    let (place, mut pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    keep_tables(&mut pipelines, table.map(std::slice::from_ref).unwrap_or_default(), file)?;
    let key = signing_key(key)?;
    for pipeline in &pipelines {
        let (revoked, lines) = revocation::revoke(&place, pipeline, &key, reason)?;
        let revocations = revocation::file(pipeline);
        write(&revocations, &lines)?;
        verb::print(&format!(
            "release of {} revoked by {} at {}; {}",
            pipeline.name,
            revoked.by,
            revoked.at,
            revocations.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose signature it is, and what it made of the draft.
pub struct Signature {
    pub person: String,
    pub state: String,
}

/// Makes the draft again from the files, and signs it if they are equal.
pub fn sign(place: &Path, file: &Path, key: &Path) -> Result<Signature, RunFault> {
    let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
    sign_one(&place, &pipeline, &signing_key(key)?, |_| {})
}

/// As [`sign`], of each table that has a draft, or of those named. Each proof is shown before it
/// is signed.
fn sign_all(
    place: &Path,
    file: &Path,
    tables: &[String],
    key: &Path,
) -> Result<ExitCode, RunFault> {
    let (place, mut pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    keep_tables(&mut pipelines, tables, file)?;
    let key = signing_key(key)?;
    let mut signed = false;
    for pipeline in &pipelines {
        let draft = bundle::find(&bundle::draft_file(pipeline), pipeline)?;
        if pipeline.table.is_none() || draft.is_some() {
            let Signature { person, state, .. } = sign_one(&place, pipeline, &key, |draft| {
                print_draft(draft);
                verb::print(&format!("fingerprint: {}", draft.fingerprint));
            })?;
            verb::print(&format!("\nsigned by {person}\n{state}"));
            signed = true;
        }
    }
    match signed {
        false => Err(fault("no table has a draft\n  next: `douane release propose` or `renew`")),
        true => Ok(ExitCode::SUCCESS),
    }
}

fn sign_one(
    place: &config::Place,
    pipeline: &config::Pipeline,
    key: &SigningKey,
    show: impl FnOnce(&Drafted),
) -> Result<Signature, RunFault> {
    let root = release::trust_root(place)?;
    let Some(person) = root.person(&key.verifying_key(), Role::Approve) else {
        return Err(fault("the key is not an approver's in the trust root"));
    };
    let (draft, mut envelope) = release::checked(place, pipeline)?;
    show(&draft);
    envelope.add_signature(key).map_err(fault)?;
    let draft_file = bundle::draft_file(pipeline);
    let state = match releases::verify(&envelope, &root, SystemTime::now()) {
        Ok(live) => {
            // Crash here: the draft is there still, and signing it again changes nothing.
            write(&pipeline.release, &bundle::with(&pipeline.release, pipeline, &envelope)?)?;
            if draft_file.exists() {
                let rest = bundle::without(&draft_file, pipeline)?;
                let gone = match rest.is_empty() {
                    true => std::fs::remove_file(&draft_file)
                        .map_err(|error| verb::file_fault(&draft_file, &error)),
                    false => write(&draft_file, &rest),
                };
                gone?;
            }
            format!(
                "release {} is live until {}, approved by {}",
                draft.version,
                draft.expires,
                live.approvers().join(", ")
            )
        }
        Err(why) => {
            let target = if draft_file.exists() { &draft_file } else { &pipeline.release };
            write(target, &bundle::with(target, pipeline, &envelope)?)?;
            format!("not live yet: {why}")
        }
    };
    Ok(Signature { person: person.name.clone(), state })
}

/// What people read before they sign.
fn print_draft(draft: &Drafted) {
    verb::print(&draft.explain);
    verb::print(&terms(draft));
}

fn print_proposed(proposed: &Proposed, file: &Path) {
    print_draft(&proposed.draft);
    verb::print(&format!(
        "\ndraft in {}\n  next: `douane release sign {} --key KEYFILE`",
        proposed.file.display(),
        file.display()
    ));
}

/// What is signed beside the proof.
fn terms(release: &Drafted) -> String {
    let limit = |l: Option<u64>| l.map_or("not limited".to_owned(), |l| l.to_string());
    format!(
        "\nrelease {} of {}, by {}, {} to {}\nlimits: records {}, bytes {}\noutput: {}, \
         timestamps cut to {} ms",
        release.version,
        release.pipeline,
        release.author,
        release.created,
        release.expires,
        limit(release.limits.records),
        limit(release.limits.bytes),
        release.target.format,
        release.target.timestamp_ms_granularity,
    )
}

fn show(place: &Path, file: &Path, format: Format) -> Result<ExitCode, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let mut all_live = true;
    let mut shown = Vec::new();
    for pipeline in &pipelines {
        let draft_file = bundle::draft_file(pipeline);
        let waiting = bundle::find(&draft_file, pipeline)?.is_some();
        let envelope: Envelope = match bundle::find(&pipeline.release, pipeline)? {
            Some(envelope) => envelope,
            None => release::to_sign(pipeline)?,
        };
        let draft = releases::draft(&envelope).map_err(fault)?;
        let root = release::trust_root(&place)?;
        let digest = canonical::hex(&releases::digest(&draft).map_err(fault)?);
        let verified = releases::verify(&envelope, &root, SystemTime::now());
        let revoked = revocation::of(&place, pipeline, &digest)?;
        let live = verified.is_ok() && revoked.is_none();
        all_live &= live;
        let state = match (&verified, revoked) {
            (_, Some(revoked)) => {
                format!("revoked by {} at {}: {}", revoked.by, revoked.at, revoked.reason)
            }
            (Ok(live), None) => format!("live; approved by {}", live.approvers().join(", ")),
            (Err(why), None) => format!("not live: {why}"),
        };
        if format == Format::Text {
            verb::print(&draft.explain);
            verb::print(&terms(&draft));
            verb::print(&state);
            if waiting {
                verb::print(&format!("a draft waits for approvals: {}", draft_file.display()));
            }
        }
        shown.push(serde_json::json!({
            "release": draft, "digest": digest, "live": live, "state": state,
        }));
    }
    if format == Format::Json {
        verb::print_json_of(&shown);
    }
    Ok(verb::answer(all_live))
}
