//! `test FILE…`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::cases::{self, Report};
use douane_pipelines::fault::RunFault;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline files with `tests:` in them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let run = |file: &PathBuf| cases::run(place, file);
    let reports = args.files.iter().map(run).collect::<Result<Vec<_>, RunFault>>()?.concat();
    match args.format {
        Format::Text => reports.iter().for_each(|report| verb::print(&report.text())),
        Format::Json => verb::print_json(&reports),
    }
    Ok(verb::answer(reports.iter().all(Report::passes)))
}
