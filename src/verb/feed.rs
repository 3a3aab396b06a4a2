//! `feed TOPIC --out DIR`

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::Ordering;

use clap::ValueEnum;
use douane_pipelines::coverage::Ask;
use douane_pipelines::fault::RunFault;
use douane_pipelines::feed::{self, FileFormat, Order};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A global topic, with its manifests in `TOPIC.manifest`.
    topic: String,
    /// Where shards go; it goes on where the last one ended, moved away or not.
    #[arg(long)]
    out: PathBuf,
    /// What they are written as.
    #[arg(long = "as", value_enum, default_value = "parquet")]
    shards: Shards,
    /// A release that records may have crossed under, and the revocations beside it. Once for each.
    #[arg(long = "release", required = true)]
    releases: Vec<PathBuf>,
    /// The trust root's file; the place's own where none is given.
    #[arg(long)]
    trust: Option<PathBuf>,
    /// A folder with `manifest.key.pub`; the place's own where none is given.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Rows of a shard.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Hands nothing over before so many new rows wait.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    wait_for: Option<u64>,
    /// Takes what is left where retention took records before they were taken; else that is refused.
    #[arg(long)]
    allow_retired: bool,
    /// A text file of Prometheus that says how much approved data waits: written at each look of
    /// `--wait-for`, and at the end.
    #[arg(long)]
    metrics_file: Option<PathBuf>,
    /// A consumer group of the global cluster that is told how far this took, so that its lag is what
    /// waits, also while no `feed` runs: for KEDA and for lag tools. It is never read back.
    #[arg(long)]
    lag_group: Option<String>,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Started once new rows were handed over, and again by the next call until it ends well;
    /// `DOUANE_FEED` names the folder.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shards {
    Arrow,
    Parquet,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let order = Order {
        ask: Ask {
            topic: args.topic.clone(),
            keys: args.keys.clone(),
            trust: args.trust.clone(),
            releases: args.releases.clone(),
            ..Ask::default()
        },
        out: args.out.clone(),
        format: match args.shards {
            Shards::Arrow => FileFormat::Arrow,
            Shards::Parquet => FileFormat::Parquet,
        },
        rows_max: args.rows,
        wait_for: args.wait_for,
        retired: args.allow_retired,
        command: !args.command.is_empty(),
        metrics: args.metrics_file.clone(),
        lag_group: args.lag_group.clone(),
    };
    let asked = verb::asked_to_stop()?;
    let fed = feed::feed(place, &order, &asked)?;
    match args.format {
        Format::Json => verb::print_json(&fed),
        Format::Text => verb::print(&fed.text()),
    }
    let Some((program, rest)) = args.command.split_first() else {
        return Ok(verb::answer(fed.holds));
    };
    let Some(shard) = fed.starts(asked.load(Ordering::Relaxed))? else {
        return Ok(verb::answer(fed.holds));
    };
    let status = start(program, rest, &args.out)?;
    // Crash here: it is started once more.
    if status.success() {
        feed::command_done(&args.out, shard)?;
        return Ok(ExitCode::SUCCESS);
    }
    let failed = format!(
        "douane: the command after `--`, {program}, ended with {status}\n  next: mend it; the next \
         `feed` with a command starts it again, without a wait"
    );
    verb::say(&mut std::io::stderr(), &failed);
    Ok(ExitCode::from(exit_code(status)))
}

/// What a shell would say: of one that a signal ended, 128 and the signal.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Runs a command to its end.
fn start(program: &str, rest: &[String], out: &Path) -> Result<ExitStatus, RunFault> {
    let status = Command::new(program).args(rest).env("DOUANE_FEED", out).status();
    status.map_err(|error| {
        RunFault::File(format!("{program}: {}\n  next: mend the command after `--`", error.kind()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_failed_decides_how_douane_ends() {
        let ends = |script: &str| {
            let rest = ["-c".to_owned(), script.to_owned()];
            exit_code(start("sh", &rest, Path::new(".")).unwrap())
        };
        assert_eq!((ends("exit 0"), ends("exit 7"), ends("exit 255")), (0, 7, 255));
        assert_eq!(ends("kill -KILL $$"), 137);
        assert!(start("no such command", &[], Path::new(".")).is_err());
    }
}
