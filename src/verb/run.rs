//! `run FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use douane_pipelines::dry_run::{self, DryRun};
use douane_pipelines::fault::RunFault;
use douane_pipelines::report::Voice;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file.
    file: PathBuf,
    /// Reads what is there and counts what would become of it: no group, no writes, no release.
    /// 0: nothing would be held.
    #[arg(long)]
    dry_run: bool,
    /// Records of each partition that a dry run reads at most.
    #[arg(long, requires = "dry_run", default_value_t = 1000)]
    records: u64,
    /// How a dry run's counts are printed.
    #[arg(long, requires = "dry_run", value_enum, default_value = "text")]
    format: Format,
}

/// How long a stop may take. What is not committed by then is not lost: the next start reads it
/// again from the position.
const STOP: Duration = Duration::from_secs(5);

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    if args.dry_run {
        let counted = dry_run::run(place, &args.file, args.records)?;
        match args.format {
            Format::Text => counted.iter().for_each(|one| verb::print(&one.text())),
            Format::Json => verb::print_json_of(&counted),
        }
        return Ok(verb::answer(counted.iter().all(DryRun::goes_through)));
    }
    let stop = verb::asked_to_stop()?;
    let asked = Arc::clone(&stop);
    std::thread::spawn(move || {
        while !asked.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(STOP);
        std::process::exit(0);
    });
    douane_pipelines::run::run(place, &args.file, &stop, Voice::standard_error())?;
    Ok(ExitCode::SUCCESS)
}
