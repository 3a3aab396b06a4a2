//! `diff OLD NEW`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::diff;
use douane_pipelines::fault::RunFault;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file, or a release file (`.json`).
    old: PathBuf,
    /// What takes its place.
    new: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let diff = diff::run(place, &args.old, &args.new)?;
    match args.format {
        Format::Text => verb::print(&diff.text()),
        Format::Json => verb::print_json(&diff),
    }
    Ok(verb::answer(diff.release_holds))
}
