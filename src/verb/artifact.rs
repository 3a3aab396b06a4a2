//! `release artifact FILE`, `verify --artifact FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use douane_ledger::artifact::{Artifact, Kind, unsigned};
use douane_ledger::canonical;
use douane_pipelines::artifact::{self, Proposal, Vetted};
use douane_pipelines::fault::RunFault;
use douane_pipelines::signer::{KeyAt, Signer};
use douane_pipelines::{config, names, release};
use serde_json::json;

use crate::verb::release::write;
use crate::{Format, verb};

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("step").required(true).args(["kind", "key", "revoke"])))]
pub struct Args {
    /// The model's file: safetensors. Its statement lies beside it, `FILE.artifact.json`.
    file: PathBuf,
    /// Drafts a statement about the file.
    #[arg(long, value_enum, requires_all = ["author", "purpose"])]
    kind: Option<What>,
    /// Who proposes: does not count among the approvers.
    #[arg(long, requires = "kind")]
    author: Option<String>,
    /// What it may be used for.
    #[arg(long, requires = "kind")]
    purpose: Option<String>,
    /// Of what is quantised, or a diff: the checkpoint that it is made of, as a file or a SHA-256.
    #[arg(long, requires = "kind")]
    base: Option<String>,
    /// Days until it expires.
    #[arg(long, requires = "kind", default_value_t = release::LIFE_DAYS_DEFAULT)]
    days: u32,
    /// Signs the statement, after the file was vetted again: a key file, `ssh-agent:FILE.pub`, or a
    /// `pkcs11:` URI.
    #[arg(long)]
    key: Option<KeyAt>,
    /// Stops it for good, by the key of somebody who may revoke.
    #[arg(long, requires = "reason")]
    revoke: Option<KeyAt>,
    /// For people; no data.
    #[arg(long, requires = "revoke")]
    reason: Option<String>,
    /// With `json` what is signed goes to standard error before it is.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Kinds of models, as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// All weights, as they were trained.
    Checkpoint,
    /// All weights, in fewer bits.
    Quantised,
    /// What changed against another checkpoint.
    Diff,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match (&args.kind, &args.key, &args.revoke) {
        (Some(kind), ..) => propose(args, *kind),
        (None, Some(key), _) => sign(place, &args.file, key, args.format),
        (None, None, Some(key)) => {
            let reason = args.reason.as_deref().unwrap_or_default();
            revoke(place, &args.file, key, reason, args.format)
        }
        (None, None, None) => Err(RunFault::Client("nothing is asked for".to_owned())),
    }
}

fn propose(args: &Args, kind: What) -> Result<ExitCode, RunFault> {
    let proposal = Proposal {
        kind: match kind {
            What::Checkpoint => Kind::Checkpoint,
            What::Quantised => Kind::Quantised,
            What::Diff => Kind::Diff,
        },
        purpose: args.purpose.clone().unwrap_or_default(),
        author: args.author.clone().unwrap_or_default(),
        base: args.base.as_deref().map(base).transpose()?,
        life: Duration::from_secs(u64::from(args.days) * 86_400),
    };
    let (drafted, vetted) = artifact::propose(&args.file, &proposal)?;
    let envelope = unsigned(&drafted).and_then(|envelope| envelope.to_bytes().map_err(fault));
    let path = artifact::statement(&args.file);
    write(&path, &envelope.map_err(|fault| RunFault::Release(fault.to_string()))?)?;
    show(&drafted, &vetted, args.format);
    let (said, file) = (format!("draft in {}", path.display()), names::typed(&args.file));
    let next =
        format!("next: each approver signs it: `douane release artifact {file} --key KEYFILE`");
    let document = json!({ "artifact": drafted, "file": names::of_path(&path), "said": said });
    verb::tell(args.format, &format!("{said}\n  {next}"), document);
    Ok(ExitCode::SUCCESS)
}

fn fault(fault: douane_ledger::dsse::EnvelopeFault) -> douane_ledger::release::ReleaseFault {
    douane_ledger::statement::StatementFault::from(fault).into()
}

/// A digest, or a file's.
fn base(text: &str) -> Result<String, RunFault> {
    let is_digest = canonical::hex_array::<32>(text).is_some();
    match is_digest {
        true => Ok(text.to_owned()),
        false => artifact::vet(Path::new(text), Kind::Checkpoint).map(|vetted| vetted.sha256),
    }
}

fn sign(place: &Path, file: &Path, key: &KeyAt, format: Format) -> Result<ExitCode, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let root = release::trust_root(&place)?;
    let signer = Signer::open(key)?;
    let mut signed = None;
    let show = |artifact: &Artifact, vetted: &Vetted| {
        show(artifact, vetted, format);
        signed = Some(artifact.clone());
    };
    let (envelope, state) = artifact::sign(file, &root, &place.trust, &signer, show)?;
    let bytes = envelope.to_bytes().map_err(|fault| RunFault::Release(fault.to_string()))?;
    let path = artifact::statement(file);
    write(&path, &bytes)?;
    let said = state.to_string();
    verb::tell(
        format,
        &said,
        json!({ "artifact": signed, "file": names::of_path(&path), "said": said }),
    );
    Ok(ExitCode::SUCCESS)
}

fn revoke(
    place: &Path,
    file: &Path,
    key: &KeyAt,
    reason: &str,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let (revoked, written) = artifact::revoke(file, &place.trust, &Signer::open(key)?, reason)?;
    for (path, lines) in &written {
        write(path, lines)?;
    }
    let path = artifact::revocations(file);
    let said = format!("revoked by {} at {}", revoked.by, revoked.at);
    let document = json!({ "artifact": null, "file": names::of_path(&path), "said": said });
    verb::tell(format, &format!("{said}; {}", path.display()), document);
    Ok(ExitCode::SUCCESS)
}

/// What people read before they sign.
fn show(artifact: &Artifact, vetted: &Vetted, format: Format) {
    let Artifact { name, kind, sha256, bytes, base, purpose, author, expires, contents, .. } =
        artifact;
    let mut text = format!(
        "{} {name}, {bytes} bytes, SHA-256 {sha256}\n{} tensors of {}, {} numbers; for {purpose}, by \
         {author}, until {expires}",
        kind.word(),
        contents.tensors,
        contents.dtypes.join(", "),
        contents.parameters,
    );
    if let Some(base) = base {
        text.push_str(&format!("\nmade of {base}"));
    }
    for (name, leaves) in &vetted.metadata {
        text.push_str(&format!("\ntext that leaves with it  {name}: {leaves}"));
    }
    verb::show_first(format, &text);
}

/// `verify --artifact FILE`
pub fn verify(
    place: &Path,
    file: &Path,
    trust: Option<&PathBuf>,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let trust = match trust {
        Some(trust) => trust.clone(),
        None => {
            config::load_outside(place).map_err(RunFault::Findings)?.trust.ok_or_else(|| {
                RunFault::Release("no trust root\n  next: name its file with `--trust`".to_owned())
            })?
        }
    };
    let answer = artifact::verify(file, &trust)?;
    match format {
        Format::Json => verb::print_json(&answer),
        Format::Text => verb::print(&format!(
            "{}: {} of {} tensors, for {}\n{}",
            file.display(),
            answer.artifact.kind.word(),
            answer.artifact.contents.tensors,
            answer.artifact.purpose,
            answer.said
        )),
    }
    Ok(verb::answer(answer.holds))
}
