//! `release trust | propose | sign | show | renew | one-shot | revoke | reject | artifact`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::log::SpanEntry;
use douane_ledger::release::{self as releases, Limits, Release as Drafted, State};
use douane_ledger::signing::VerifyingKey;
use douane_ledger::trust::{self, Approver, Role, Root, TrustRoot};
use douane_pipelines::aggregate::allowed;
use douane_pipelines::fault::RunFault;
use douane_pipelines::known::Known;
use douane_pipelines::replay::Range;
use douane_pipelines::signer::{KeyAt, Signer};
use douane_pipelines::{aggregate, bundle, config, explain, once, release, revocation};

use crate::verb::replay::{instant, range};
use crate::{Format, verb};

/// How long a one-shot release lives unless it says otherwise.
const ONE_SHOT_DAYS: u32 = 7;

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
        /// Signing keys: of the first approvers, or, for a successor, of the old threshold. A key file,
        /// `ssh-agent:FILE.pub`, or a `pkcs11:` URI.
        #[arg(long = "sign", required = true)]
        sign: Vec<KeyAt>,
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
        /// Of statistics: what all windows under it may cost a unit together, at the account's delta.
        #[arg(long)]
        epsilon: Option<String>,
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
    /// Drafts a release of one span of the source, for an export by hand: exactly that crosses, once, and
    /// nothing else ever does under it.
    OneShot {
        file: PathBuf,
        /// Who proposes: does not count among the approvers.
        #[arg(long)]
        author: String,
        /// Records written from this instant on: RFC 3339. Turned into offsets now.
        #[arg(long, value_parser = instant)]
        from: Option<i64>,
        /// Records written before this instant; all that there are unless said.
        #[arg(long, value_parser = instant)]
        to: Option<i64>,
        /// In place of times, offsets of one partition, the last one not among them. Once for each.
        #[arg(long = "records", value_name = "TOPIC[PARTITION]@FROM-TO", value_parser = range,
              required_unless_present_any = ["from", "to"], conflicts_with_all = ["from", "to"])]
        ranges: Vec<Range>,
        /// Days until it expires.
        #[arg(long, default_value_t = ONE_SHOT_DAYS)]
        days: u32,
    },
    /// Stops releases, for good: a process that runs under one ends within seconds. Unless it is said which,
    /// the one in the file, and each that the ledger here knows to have been in force and that lives still:
    /// a process may go on under an earlier one.
    Revoke {
        file: PathBuf,
        /// Of a file with `tables`, only this one's.
        #[arg(long)]
        table: Option<String>,
        /// Only the release with this digest, or the one that begins so.
        #[arg(long, value_name = "DIGEST")]
        release: Option<String>,
        /// The key of somebody who may revoke: one is enough. A key file, `ssh-agent:FILE.pub`, or a
        /// `pkcs11:` URI.
        #[arg(long)]
        key: KeyAt,
        /// For people; no data.
        #[arg(long)]
        reason: String,
    },
    /// Says no to a draft, for good: whatever signs it later, it is never live. The release in force
    /// stays.
    Reject {
        file: PathBuf,
        /// Of a file with `tables`, only this one's.
        #[arg(long)]
        table: Option<String>,
        /// The key of somebody who may revoke, as of `revoke`.
        #[arg(long)]
        key: KeyAt,
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
        /// The signer's key: a key file, `ssh-agent:FILE.pub` where an agent holds it, or a URI
        /// `pkcs11:token=…;object=…?module-path=…&pin-source=…` where a token does.
        #[arg(long)]
        key: KeyAt,
    },
    /// A model that leaves in place of data: a statement about its file, drafted, signed by as many as a
    /// release, or revoked. Outside, `verify --artifact FILE` checks it.
    Artifact(verb::artifact::Args),
    /// What a release lets cross, who signed it, and where it stands in its life, by the files and by the
    /// ledger where it is here. 0: it is live, and the files are what it was signed for.
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
        Release::Propose { file, author, days, records, bytes, epsilon, format } => {
            let epsilon = epsilon.clone();
            let limits = Limits { records: *records, bytes: *bytes, epsilon };
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
        Release::OneShot { file, author, from, to, ranges, days } => {
            one_shot(place, file, author, *days, (*from, *to), ranges)
        }
        Release::Revoke { file, table, release, key, reason } => {
            let what = release.as_ref().map_or(What::AllThatLive, What::Named);
            stop(place, file, table.as_ref(), key, reason, what)
        }
        Release::Reject { file, table, key, reason } => {
            stop(place, file, table.as_ref(), key, reason, What::Draft)
        }
        Release::Artifact(args) => verb::artifact::run(place, args),
        Release::Show { file, format } => show(place, file, *format),
    }
}

fn fault(what: impl std::fmt::Display) -> RunFault {
    RunFault::Release(what.to_string())
}

/// Puts a file in the place of the one before.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), RunFault> {
    // Written whole or not at all: a torn release file would only be refused, but a torn trust
    // root would have to be made again by everybody.
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::create(&aside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            // Before the name: a crash leaves what was there, or all of the new one.
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&aside, path))
        // What was printed as done is there after a power cut.
        .and_then(|()| std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|error| verb::file_fault(path, &error))
}

/// Writes the trust root or its successor; says which.
pub fn make_trust(
    place: &Path,
    approvers: &[String],
    threshold: u32,
    detokenize: Option<u32>,
    sign: &[KeyAt],
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
    let signers = sign.iter().map(Signer::open).collect::<Result<Vec<_>, _>>()?;
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
    let mut envelope = trust::sign(&root, &[]).map_err(fault)?;
    signers.iter().try_for_each(|signer| signer.sign(&mut envelope))?;
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
    let proposal =
        release::Proposal { author: author.to_owned(), life: life(days), limits, once: None };
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
        let epsilon = limits.epsilon.as_deref();
        match (&pipeline.aggregate, epsilon) {
            (None, Some(_)) => {
                return Err(fault("`--epsilon`: rows cost none, only statistics do"));
            }
            (Some(aggregate), Some(_)) if allowed::windows(aggregate, epsilon)? == Some(0) => {
                return Err(fault("`--epsilon`: not even one window stays within it"));
            }
            _ => {}
        }
        let proposal = release::Proposal { author, life: life(days), limits, once: None };
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

/// Drafts a release of one span.
fn one_shot(
    place: &Path,
    file: &Path,
    author: &str,
    days: u32,
    (from, to): (Option<i64>, Option<i64>),
    ranges: &[Range],
) -> Result<ExitCode, RunFault> {
    let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
    aggregate::of_single_rows(&pipeline, "a one-shot release")?;
    let wanted: Vec<SpanEntry> = ranges
        .iter()
        .map(|Range { topic, partition, start, end }| SpanEntry {
            topic: topic.clone(),
            partition: *partition,
            start: *start,
            end: *end,
        })
        .collect();
    let spans = match wanted.is_empty() {
        true => once::between(&place, &pipeline, from, to)?,
        false => once::exactly(&place, &pipeline, &wanted)?,
    };
    let plan = explain::fresh_plan(&place, &pipeline)?;
    let limits = Limits { records: None, bytes: None, epsilon: None };
    let (author, once) = (author.to_owned(), Some(spans));
    let proposal = release::Proposal { author, life: life(days), limits, once };
    let draft = release::propose(&place, &pipeline, &plan, &proposal)?;
    print_proposed(&drafted(&pipeline, draft)?, file);
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

/// What a revocation is about.
#[derive(Clone, Copy)]
enum What<'a> {
    AllThatLive,
    Named(&'a String),
    Draft,
}

fn stop(
    place: &Path,
    file: &Path,
    table: Option<&String>,
    key: &KeyAt,
    reason: &str,
    what: What<'_>,
) -> Result<ExitCode, RunFault> {
    let (place, mut pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    keep_tables(&mut pipelines, table.map(std::slice::from_ref).unwrap_or_default(), file)?;
    let signer = Signer::open(key)?;
    let mut meant = Vec::new();
    for pipeline in &pipelines {
        meant.extend(meant_by(&place, pipeline, what)?.into_iter().map(|of| (pipeline, of)));
    }
    // Nobody has to have its file: another machine's process may run under it.
    if let (What::Named(digest), true, Some(pipeline)) = (what, meant.is_empty(), pipelines.first())
        && canonical::hex_array::<32>(digest).is_some()
    {
        meant.push((pipeline, digest.clone()));
    }
    if let (What::Named(digest), false) = (what, meant.len() == 1) {
        return Err(fault(format!(
            "{} releases that are known here begin with {digest}\n  next: give all 64 characters; \
             `douane audit column` and the ledger's APPROVED have them",
            meant.len()
        )));
    }
    // One that cannot be stopped, or was before, leaves no other one going on.
    let mut first = None;
    for (pipeline, digest) in &meant {
        match stop_one(&place, pipeline, digest, &signer, reason, what) {
            Ok(()) => {}
            Err(RunFault::Revoked { by, at }) if meant.len() > 1 => {
                let name = &pipeline.name;
                verb::print(&format!(
                    "release {digest} of {name} was revoked by {by} at {at} already"
                ));
            }
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    let blind = pipelines.iter().find(|one| !Known::of(&place, one).is_ok_and(|k| k.is_here));
    if let (What::AllThatLive, Some(pipeline), None) = (what, blind, &first) {
        verb::print(&format!(
            "no ledger of {} is here: a process that runs under an EARLIER release than the file's goes \
             on\n  next: `--release DIGEST` stops that one too; `douane status` where it runs says which",
            pipeline.name
        ));
    }
    first.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Digests of what is to be stopped.
fn meant_by(
    place: &config::Place,
    pipeline: &config::Pipeline,
    what: What<'_>,
) -> Result<Vec<String>, RunFault> {
    if let What::Draft = what {
        let draft = bundle::find(&bundle::draft_file(pipeline), pipeline)?;
        let draft = draft.ok_or_else(|| fault(format!("no draft of `{}` waits", pipeline.name)))?;
        return Ok(vec![digest_of(&draft)?]);
    }
    let lying = bundle::find(&pipeline.release, pipeline)?;
    let mut all: Vec<String> = lying.iter().map(digest_of).collect::<Result<_, _>>()?;
    // A ledger that cannot be read stops nobody from stopping what the files name.
    let known = Known::of(place, pipeline).inspect_err(|fault| {
        verb::print(&format!("the ledger of {} was not asked: {fault}", pipeline.name));
    });
    match what {
        What::Named(digest) => {
            let more = known.map(|known| known.in_force).unwrap_or_default();
            let more = more.into_iter().filter(|known| !all.contains(known));
            all.extend(more.collect::<Vec<_>>());
            all.retain(|known| known.starts_with(digest.as_str()));
        }
        What::AllThatLive | What::Draft => {
            let root = release::trust_root(place)?;
            let running = known.and_then(|known| known.may_run(place, &root, SystemTime::now()));
            let running = running.inspect_err(|fault| {
                let name = &pipeline.name;
                verb::print(&format!("what else may run of {name} cannot be told: {fault}"));
            });
            all.extend(
                running
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|digest| lying.is_none() || *digest != all[0])
                    .collect::<Vec<_>>(),
            );
            if all.is_empty() {
                // Says what is not there.
                release::envelope(pipeline)?;
            }
        }
    }
    Ok(all)
}

fn digest_of(envelope: &Envelope) -> Result<String, RunFault> {
    let draft = releases::draft(envelope).map_err(fault)?;
    Ok(canonical::hex(&releases::digest(&draft).map_err(fault)?))
}

fn stop_one(
    place: &config::Place,
    pipeline: &config::Pipeline,
    digest: &str,
    signer: &Signer,
    reason: &str,
    what: What<'_>,
) -> Result<(), RunFault> {
    let _alone = revocation::alone(place);
    let (revoked, written) = revocation::revoke(place, pipeline, digest, signer, reason)?;
    for (file, lines) in &written {
        write(file, lines)?;
    }
    let what = match what {
        What::AllThatLive | What::Named(_) => "release",
        What::Draft => "draft",
    };
    verb::print(&format!(
        "{what} {}… of {} revoked by {} at {}; {}",
        digest.get(..12).unwrap_or(digest),
        pipeline.name,
        revoked.by,
        revoked.at,
        revocation::file(pipeline).display()
    ));
    Ok(())
}

/// Whose signature it is, and what it made of the draft.
pub struct Signature {
    pub person: String,
    pub state: String,
}

/// Makes the draft again from the files, and signs it if they are equal.
pub fn sign(place: &Path, file: &Path, key: &KeyAt) -> Result<Signature, RunFault> {
    let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
    sign_one(&place, &pipeline, &Signer::open(key)?, |_| {})
}

/// As [`sign`], of each table that has a draft, or of those named. Each proof is shown before it
/// is signed.
fn sign_all(
    place: &Path,
    file: &Path,
    tables: &[String],
    key: &KeyAt,
) -> Result<ExitCode, RunFault> {
    let (place, mut pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    keep_tables(&mut pipelines, tables, file)?;
    let signer = Signer::open(key)?;
    let mut signed = false;
    for pipeline in &pipelines {
        let draft = bundle::find(&bundle::draft_file(pipeline), pipeline)?;
        if pipeline.table.is_none() || draft.is_some() {
            let Signature { person, state, .. } = sign_one(&place, pipeline, &signer, |draft| {
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
    signer: &Signer,
    show: impl FnOnce(&Drafted),
) -> Result<Signature, RunFault> {
    let root = release::trust_root(place)?;
    let Some(person) = root.person(&signer.verifying_key(), Role::Approve) else {
        return Err(fault("the key is not an approver's in the trust root"));
    };
    let (draft, mut envelope) = release::checked(place, pipeline)?;
    // Also of the release in force: more signatures do not bring it back.
    let digest = canonical::hex(&releases::digest(&draft).map_err(fault)?);
    if let Some(stopped) = revocation::of(place, pipeline, &digest)? {
        return Err(stopped.into());
    }
    show(&draft);
    signer.sign(&mut envelope)?;
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
        "\nrelease {} of {}, by {}, {} to {}\nlimits: records {}, bytes {}{}\noutput: {}, \
         timestamps cut to {} ms",
        release.version,
        release.pipeline,
        release.author,
        release.created,
        release.expires,
        limit(release.limits.records),
        limit(release.limits.bytes),
        release.limits.epsilon.as_ref().map_or_else(String::new, |e| format!(", epsilon {e}")),
        release.target.format,
        release.target.timestamp_ms_granularity,
    ) + &release.once.iter().flatten().fold(String::new(), |text, span| {
        let head =
            if text.is_empty() { "\none shot, and nothing else crosses under it:" } else { "" };
        let SpanEntry { topic, partition, start, end } = span;
        format!("{text}{head}\n  {topic}[{partition}]  offsets {start} to {}", end - 1)
    })
}

fn show(place: &Path, file: &Path, format: Format) -> Result<ExitCode, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let mut all_live = true;
    let mut shown = Vec::new();
    for pipeline in &pipelines {
        let draft_file = bundle::draft_file(pipeline);
        let waiting = bundle::find(&draft_file, pipeline)?;
        let envelope: Envelope = match bundle::find(&pipeline.release, pipeline)? {
            Some(envelope) => envelope,
            None => release::to_sign(pipeline)?,
        };
        let draft = releases::draft(&envelope).map_err(fault)?;
        let digest = canonical::hex(&releases::digest(&draft).map_err(fault)?);
        let state = release::state(&place, pipeline, &envelope)?;
        let waiting =
            waiting.map(|waiting| release::state(&place, pipeline, &waiting)).transpose()?;
        let misfit = release::misfit(&place, pipeline, &draft);
        all_live &= state.is_live() && misfit.is_none();
        if format == Format::Text {
            verb::print(&draft.explain);
            verb::print(&terms(&draft));
            verb::print(&state.to_string());
            if let Some(why) = &misfit {
                verb::print(&format!("does NOT fit the files: {why}"));
            }
            if let Some(waiting) = &waiting {
                verb::print(&format!("beside it {}: {waiting}", draft_file.display()));
            }
        }
        shown.push(serde_json::json!({
            "release": draft, "digest": digest, "live": state.is_live(), "fits": misfit.is_none(),
            "misfit": misfit, "state": state.word(), "said": state.to_string(), "draft": waiting.as_ref().map(State::word),
        }));
    }
    if format == Format::Json {
        verb::print_json_of(&shown);
    }
    Ok(verb::answer(all_live))
}
