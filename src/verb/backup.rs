//! `backup DIR`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::{backup, config};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A folder that is not there yet.
    dir: PathBuf,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let made = backup::make(&place, &args.dir)?;
    match args.format {
        Format::Text => verb::print(&made.text()),
        Format::Json => verb::print_json(&made),
    }
    Ok(ExitCode::SUCCESS)
}
