//! `man DIR`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use douane_pipelines::fault::RunFault;

use crate::Douane;
use crate::verb::file_fault;

#[derive(clap::Args)]
pub struct Args {
    /// Takes `douane.1`, `douane-run.1` and so on. It is made where it is missing.
    dir: PathBuf,
}

pub fn run(args: &Args) -> Result<ExitCode, RunFault> {
    std::fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(Douane::command(), &args.dir))
        .map_err(|error| file_fault(&args.dir, &error))?;
    Ok(ExitCode::SUCCESS)
}
