//! `audit budget`

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use douane_pipelines::audit;
use douane_pipelines::fault::RunFault;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Privacy accounts: what is spent, by whom, what is left, and when it runs out.
    Budget {
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let What::Budget { format } = &args.what;
    let accounts = audit::budget(place)?;
    match format {
        Format::Json => verb::print_json(&accounts),
        Format::Text => verb::print(&audit::text(&accounts)),
    }
    Ok(ExitCode::SUCCESS)
}
