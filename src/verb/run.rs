//! `run FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use douane_pipelines::fault::RunFault;
use signal_hook::consts::{SIGINT, SIGTERM};

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file.
    file: PathBuf,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second signal ends the process at once: nothing is lost either way.
        let registered =
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
        registered.map_err(|error| RunFault::Client(format!("signals: {}", error.kind())))?;
    }
    douane_pipelines::run::run(place, &args.file, &stop)?;
    Ok(ExitCode::SUCCESS)
}
