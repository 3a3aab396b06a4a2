//! `release trust | propose | sign | show | renew | one-shot | revoke | reject | artifact`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::log::SpanEntry;
use douane_ledger::release::{self as releases, Limits, Release as Drafted, State};
use douane_ledger::trust::{self, Approver, Role, Root, TrustFault, TrustRoot};
use douane_pipelines::aggregate::allowed;
use douane_pipelines::diff::Since;
use douane_pipelines::fault::RunFault;
use douane_pipelines::known::Known;
use douane_pipelines::replay::Range;
use douane_pipelines::signer::{KeyAt, Signer, public_key};
use douane_pipelines::{
    aggregate, bundle, config, explain, hold, names, once, record_key, release, revocation,
};
use serde::Serialize;
use serde_json::{Value, json};

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
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Drafts a release of a pipeline beside douane.yaml.
    Propose {
        /// A pipeline file.
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
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Drafts the release in force anew with another life: the files must still be what was signed.
    Renew {
        /// A pipeline file.
        file: PathBuf,
        /// Who proposes: does not count among the approvers.
        #[arg(long)]
        author: String,
        /// Days until it expires.
        #[arg(long, default_value_t = release::LIFE_DAYS_DEFAULT)]
        days: u32,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Drafts a release of one span of the source, for an export by hand: exactly that crosses, once, and
    /// nothing else ever does under it.
    OneShot {
        /// A pipeline file.
        file: PathBuf,
        /// Of a file with `tables`, this one's.
        #[arg(long)]
        table: Option<String>,
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
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Stops releases, for good: a process that runs under one ends within seconds. Unless it is said which,
    /// the one in the file, and each that the ledger here knows to have been in force and that lives still:
    /// a process may go on under an earlier one.
    Revoke {
        /// A pipeline file.
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
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Says no to a draft, for good: whatever signs it later, it is never live. The release in force
    /// stays.
    Reject {
        /// A pipeline file.
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
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Makes the proof again from the files, shows it with its fingerprint, and signs it if they
    /// are equal.
    Sign {
        /// A pipeline file.
        file: PathBuf,
        /// Of a file with `tables`, only this one's draft; may be given again.
        #[arg(long = "table")]
        tables: Vec<String>,
        /// The signer's key: a key file, `ssh-agent:FILE.pub` where an agent holds it, or a URI
        /// `pkcs11:token=…;object=…?module-path=…&pin-source=…` where a token does.
        #[arg(long)]
        key: KeyAt,
        /// With `json` the proof goes to standard error before it is signed.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// A model that leaves in place of data: a statement about its file, drafted, signed by as many as a
    /// release, or revoked. Outside, `verify --artifact FILE` checks it.
    Artifact(verb::artifact::Args),
    /// What a release lets cross, who signed it, and where it stands in its life, by the files and by the
    /// ledger where it is here. 0: it is live, and the files are what it was signed for.
    Show {
        /// A pipeline file.
        file: PathBuf,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match &args.verb {
        Release::Trust { approvers, threshold, detokenize, sign, format } => {
            let made = make_trust(place, approvers, *threshold, *detokenize, sign)?;
            verb::tell(*format, &made.to_string(), &made);
            Ok(ExitCode::SUCCESS)
        }
        Release::Propose { file, author, days, records, bytes, epsilon, format } => {
            let epsilon = epsilon.clone();
            let limits = Limits { records: *records, bytes: *bytes, epsilon };
            propose_all(place, file, author, *days, &limits, *format)
        }
        Release::Sign { file, tables, key, format } => sign_all(place, file, tables, key, *format),
        Release::Renew { file, author, days, format } => {
            let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
            verb::one_by_one(*format, &pipelines, |pipeline| {
                let draft = release::renew(&place, pipeline, author, life(*days))?;
                Ok(Some(tell_draft(&drafted(&place, pipeline, draft)?, file, *format)))
            })
        }
        Release::OneShot { file, table, author, from, to, ranges, days, format } => {
            let proposed =
                one_shot(place, (file, table.as_deref()), author, *days, (*from, *to), ranges)?;
            let document = tell_draft(&proposed, file, *format);
            if *format == Format::Json {
                verb::print_json(&document);
            }
            Ok(ExitCode::SUCCESS)
        }
        Release::Revoke { file, table, release, key, reason, format } => {
            let what = release.as_ref().map_or(What::AllThatLive, What::Named);
            stop(place, file, table.as_ref(), key, reason, what, *format)
        }
        Release::Reject { file, table, key, reason, format } => {
            stop(place, file, table.as_ref(), key, reason, What::Draft, *format)
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

/// A trust root as it was written.
#[derive(Serialize)]
pub struct Trusted {
    version: u64,
    approvers: Vec<String>,
    threshold: usize,
    #[serde(serialize_with = "names::path_as_text")]
    file: PathBuf,
}

impl std::fmt::Display for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, approvers, threshold, file } = self;
        let (approvers, file) = (approvers.len(), file.display());
        write!(
            f,
            "trust root version {version}: {approvers} approvers, {threshold} must sign; {file}"
        )
    }
}

/// Writes the trust root or its successor; says which.
pub fn make_trust(
    place: &Path,
    approvers: &[String],
    threshold: u32,
    detokenize: Option<u32>,
    sign: &[KeyAt],
) -> Result<Trusted, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let approvers = approvers
        .iter()
        .map(|text| {
            let (name, file) = text.split_once('=').ok_or_else(|| {
                let next = "`--approver ada=approvers/ada.pub`";
                fault(format!("`{text}`: expected NAME=PUBLIC_KEY_FILE\n  next: {next}"))
            })?;
            Ok(Approver {
                name: name.to_owned(),
                key: public_key(Path::new(file))?,
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
        false => {
            let lying =
                TrustRoot::load(&file, None).map_err(|fault| broken_trust(&place, &fault))?;
            lying.propose(threshold, approvers)
        }
    };
    root.detokenize = detokenize.or(root.detokenize);
    let mut envelope = trust::sign(&root, &[]).map_err(|fault| no_trust(&fault))?;
    signers.iter().try_for_each(|signer| signer.sign(&mut envelope))?;
    file.extend(envelope.to_bytes().map_err(fault)?);
    // It must hold before it replaces what holds.
    let loaded = TrustRoot::load(&file, None).map_err(|fault| no_trust(&fault))?;
    write(&place.trust, &file)?;
    Ok(Trusted {
        version: loaded.root().version,
        approvers: loaded.root().approvers.iter().map(|one| one.name.clone()).collect(),
        threshold: loaded.threshold(),
        file: place.trust,
    })
}

/// The root that lies there is none.
fn broken_trust(place: &config::Place, why: &TrustFault) -> RunFault {
    let next = "put the file back as it was, from git: a trust root is replaced, not edited";
    fault(format!("{}: {why}\n  next: {next}", place.trust.display()))
}

/// The root that was asked for is none; nothing was written.
fn no_trust(why: &TrustFault) -> RunFault {
    let of = |version: &u64| match version {
        1 => "its approvers",
        _ => "the approvers of the root before it",
    };
    let next = match why {
        TrustFault::Threshold { version, needed, .. } => {
            format!("`--sign KEYFILE` of {needed} of {}, once for each", of(version))
        }
        TrustFault::Statement { version, .. } => {
            format!("`--sign` takes keys of {}, and of nobody else", of(version))
        }
        _ => "mend `--approver NAME=FILE`, `--threshold` or `--detokenize`".to_owned(),
    };
    fault(format!("{why}\n  next: {next}"))
}

/// A draft, and where it lies.
pub struct Proposed {
    pub draft: Drafted,
    pub file: PathBuf,
    /// Whose signatures under the draft in its place are gone with it.
    dropped: Vec<String>,
    /// Leaves that partitions wait for, and that it has no class for.
    unanswered: Vec<String>,
    /// Why no run goes on under it where something crossed under the release before it.
    record_key: Option<String>,
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
    drafted(&place, &pipeline, draft)
}

/// A draft as it is told: at once to people, and as a document.
fn tell_draft(proposed: &Proposed, file: &Path, format: Format) -> Value {
    if format == Format::Text {
        print_proposed(proposed, file);
    }
    json!({
        "release": proposed.draft, "file": names::of_path(&proposed.file),
        "dropped_signatures": proposed.dropped, "unanswered": proposed.unanswered,
        "record_key": proposed.record_key,
    })
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
    verb::one_by_one(format, &pipelines, |pipeline| {
        let plan = explain::fresh_plan(&place, pipeline)?;
        if pipeline.table.is_some() && release::unchanged(&place, pipeline, &plan)? {
            let next = "its release stays (`renew` gives it another life)";
            if format == Format::Text {
                verb::print(&format!("{}: unchanged, {next}", pipeline.name));
            }
            return Ok(None);
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
        Ok(Some(tell_draft(&drafted(&place, pipeline, draft)?, file, format)))
    })
}

/// Drafts a release of one span.
fn one_shot(
    place: &Path,
    (file, table): (&Path, Option<&str>),
    author: &str,
    days: u32,
    (from, to): (Option<i64>, Option<i64>),
    ranges: &[Range],
) -> Result<Proposed, RunFault> {
    let (place, pipeline) = config::load_table(place, file, table).map_err(RunFault::Findings)?;
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
    drafted(&place, &pipeline, draft)
}

fn life(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

/// Writes a draft beside the release in force.
fn drafted(
    place: &config::Place,
    pipeline: &config::Pipeline,
    draft: Drafted,
) -> Result<Proposed, RunFault> {
    let envelope = releases::sign(&draft, &[]).map_err(fault)?;
    let file = bundle::draft_file(pipeline);
    let dropped = match bundle::find(&file, pipeline)?.filter(Envelope::is_signed) {
        Some(before) => release::signers(place, &before),
        None => Vec::new(),
    };
    // Advice: a ledger that cannot be read here keeps nobody from a draft.
    let unanswered = hold::unanswered(place, pipeline).unwrap_or_default();
    let before = bundle::find(&pipeline.release, pipeline)?;
    let before = before.map(|before| releases::draft(&before).map_err(fault)).transpose()?;
    let record_key = before.and_then(|before| record_key::drafted(&before, &draft));
    let record_key = record_key.map(|fault| fault.to_string());
    write(&file, &bundle::with(&file, pipeline, &envelope)?)?;
    Ok(Proposed { draft, file, dropped, unanswered, record_key })
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

/// What was stopped, and what to know beside it, as it is told.
struct Stops {
    format: Format,
    revoked: Vec<Value>,
    notes: Vec<String>,
}

impl Stops {
    fn note(&mut self, text: String) {
        match self.format {
            Format::Text => verb::print(&text),
            Format::Json => self.notes.push(text),
        }
    }
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
    format: Format,
) -> Result<ExitCode, RunFault> {
    let mut stops = Stops { format, revoked: Vec::new(), notes: Vec::new() };
    let (place, mut pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    keep_tables(&mut pipelines, table.map(std::slice::from_ref).unwrap_or_default(), file)?;
    let signer = Signer::open(key)?;
    let mut meant = Vec::new();
    for pipeline in &pipelines {
        let digests = meant_by(&place, pipeline, what, &mut stops)?;
        meant.extend(digests.into_iter().map(|of| (pipeline, of)));
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
    let (mut first, mut left) = (None, Vec::new());
    for (pipeline, digest) in &meant {
        match stop_one(&place, pipeline, digest, (&signer, reason), what, &mut stops) {
            Ok(()) => {}
            Err(RunFault::Revoked { by, at }) if meant.len() > 1 => {
                let name = &pipeline.name;
                stops.note(format!(
                    "release {digest} of {name} was revoked by {by} at {at} already"
                ));
            }
            Err(fault) => {
                first = first.or(Some(fault));
                left.push(format!("{} {digest}", pipeline.name));
            }
        }
    }
    let blind = pipelines.iter().find(|one| !Known::of(&place, one).is_ok_and(|k| k.is_here));
    if let (What::AllThatLive, Some(pipeline), None) = (what, blind, &first) {
        stops.note(format!(
            "no ledger of {} is here: a process that runs under an EARLIER release than the file's goes \
             on\n  next: `--release DIGEST` stops that one too; `douane status` where it runs says which",
            pipeline.name
        ));
    }
    match first {
        Some(fault) if meant.len() == 1 => return Err(fault),
        Some(fault) => {
            let left: Vec<&str> = left.iter().map(String::as_str).collect();
            return Ok(verb::in_part(format, &fault, &stops.revoked, &left));
        }
        None => {}
    }
    if format == Format::Json {
        verb::print_json(&json!({ "revoked": stops.revoked, "notes": stops.notes }));
    }
    Ok(ExitCode::SUCCESS)
}

/// Digests of what is to be stopped.
fn meant_by(
    place: &config::Place,
    pipeline: &config::Pipeline,
    what: What<'_>,
    stops: &mut Stops,
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
        stops.note(format!("the ledger of {} was not asked: {fault}", pipeline.name));
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
                stops.note(format!("what else may run of {name} cannot be told: {fault}"));
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
    (signer, reason): (&Signer, &str),
    what: What<'_>,
    stops: &mut Stops,
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
    let (name, file) = (&pipeline.name, revocation::file(pipeline));
    match stops.format {
        Format::Text => verb::print(&format!(
            "{what} {}… of {name} revoked by {} at {}; {}",
            digest.get(..12).unwrap_or(digest),
            revoked.by,
            revoked.at,
            file.display()
        )),
        Format::Json => stops.revoked.push(json!({
            "pipeline": name, "what": what, "release": digest, "by": revoked.by, "at": revoked.at,
            "file": names::of_path(&file),
        })),
    }
    Ok(())
}

/// Whose signature it is, and what it made of the draft.
pub struct Signature {
    pub person: String,
    /// It was the last one that was missing.
    live: bool,
    pub state: String,
    since: Since,
}

/// Makes the draft again from the files, and signs it if they are equal.
pub fn sign(place: &Path, file: &Path, key: &KeyAt) -> Result<Signature, RunFault> {
    let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
    sign_one(&place, &pipeline, &Signer::open(key)?, |_, _| {})
}

/// As [`sign`], of each table that has a draft, or of those named. Each proof, and its difference
/// to the release before, is shown before it is signed.
fn sign_all(
    place: &Path,
    file: &Path,
    tables: &[String],
    key: &KeyAt,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let (place, mut pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    keep_tables(&mut pipelines, tables, file)?;
    let signer = Signer::open(key)?;
    // Looked at first: of what cannot be read none is signed.
    let mut drafted = Vec::new();
    for pipeline in pipelines {
        let draft = bundle::find(&bundle::draft_file(&pipeline), &pipeline)?;
        if pipeline.table.is_none() || draft.is_some() {
            drafted.push(pipeline);
        }
    }
    if drafted.is_empty() {
        return Err(fault("no table has a draft\n  next: `douane release propose` or `renew`"));
    }
    verb::one_by_one(format, &drafted, |pipeline| {
        let mut fingerprint = String::new();
        let signature = sign_one(&place, pipeline, &signer, |draft, since| {
            verb::show_first(format, &draft.explain);
            verb::show_first(format, &terms(draft));
            verb::show_first(format, &format!("\n{}", since.text()));
            verb::show_first(format, &format!("fingerprint: {}", draft.fingerprint));
            fingerprint.clone_from(&draft.fingerprint);
        })?;
        let Signature { person, live, state, since } = signature;
        if format == Format::Text {
            verb::print(&format!("\nsigned by {person}\n{state}"));
        }
        Ok(Some(json!({
            "pipeline": pipeline.name, "fingerprint": fingerprint, "signed_by": person,
            "live": live, "said": state, "difference": since.diff(),
        })))
    })
}

fn sign_one(
    place: &config::Place,
    pipeline: &config::Pipeline,
    signer: &Signer,
    show: impl FnOnce(&Drafted, &Since),
) -> Result<Signature, RunFault> {
    let root = release::trust_root(place)?;
    let Some(person) = root.person(&signer.verifying_key(), Role::Approve) else {
        let who: Vec<&str> = root.with_role(Role::Approve).map(|one| one.name.as_str()).collect();
        let next = format!(
            "sign with a key of {}; `douane release trust` makes a root with others",
            who.join(", ")
        );
        return Err(fault(format!(
            "the key is not an approver's in the trust root\n  next: {next}"
        )));
    };
    let (draft, mut envelope) = release::checked(place, pipeline)?;
    // Also of the release in force: more signatures do not bring it back.
    let digest = canonical::hex(&releases::digest(&draft).map_err(fault)?);
    if let Some(stopped) = revocation::of(place, pipeline, &digest)? {
        return Err(stopped.into());
    }
    let since = Since::of(place, pipeline, &draft)?;
    show(&draft, &since);
    signer.sign(&mut envelope)?;
    let draft_file = bundle::draft_file(pipeline);
    let (live, state) = match releases::verify(&envelope, &root, SystemTime::now()) {
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
            let state = format!(
                "release {} is live until {}, approved by {}",
                draft.version,
                draft.expires,
                live.approvers().join(", ")
            );
            (true, state)
        }
        Err(why) => {
            let target = if draft_file.exists() { &draft_file } else { &pipeline.release };
            write(target, &bundle::with(target, pipeline, &envelope)?)?;
            (false, format!("not live yet: {why}"))
        }
    };
    Ok(Signature { person: person.name.clone(), live, state, since })
}

/// What people read before they sign.
fn print_draft(draft: &Drafted) {
    verb::print(&draft.explain);
    verb::print(&terms(draft));
}

fn print_proposed(proposed: &Proposed, file: &Path) {
    print_draft(&proposed.draft);
    if !proposed.dropped.is_empty() {
        verb::print(&format!(
            "\nit takes the place of a draft that {} had signed; signatures do not go over: each signs \
             this one",
            proposed.dropped.join(", ")
        ));
    }
    if !proposed.unanswered.is_empty() {
        verb::print(&format!(
            "\nheld partitions wait for leaves that have no class in it: {}\n  next: add them and \
             propose once more, or they are held again under this release",
            proposed.unanswered.join(", ")
        ));
    }
    if let Some(why) = &proposed.record_key {
        verb::print(&format!(
            "\n`run` refuses it where something crossed under the release before: {why}"
        ));
    }
    verb::print(&format!(
        "\ndraft in {}\n  next: `douane release sign {} --key KEYFILE`",
        proposed.file.display(),
        names::typed(file)
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
        shown.push(json!({
            "release": draft, "digest": digest, "live": state.is_live(), "fits": misfit.is_none(),
            "misfit": misfit, "state": state.word(), "said": state.to_string(), "draft": waiting.as_ref().map(State::word),
        }));
    }
    if format == Format::Json {
        verb::print_json_of(&shown);
    }
    Ok(verb::answer(all_live))
}
