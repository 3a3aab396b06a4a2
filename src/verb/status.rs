//! `status FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::status;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file. Its process need not be up: this reads the target and the ledger.
    file: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let status = status::read(place, &args.file)?;
    match args.format {
        Format::Text => verb::print(&status.text()),
        Format::Json => verb::print_json(&status),
    }
    Ok(verb::answer(!status.is_held()))
}
