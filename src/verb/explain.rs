//! `explain FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::explain;
use douane_pipelines::fault::RunFault;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file.
    file: PathBuf,
    /// Only this output column.
    #[arg(long)]
    column: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let mut proofs = explain::proofs(place, &args.file)?;
    if let Some(column) = &args.column {
        proofs = proofs.into_iter().map(|proof| proof.only(column)).collect();
        proofs.retain(|proof| !proof.columns.is_empty() || !proof.behind.is_empty());
        if proofs.is_empty() {
            verb::say(&mut std::io::stderr(), &format!("no column or leaf `{column}`"));
            return Ok(verb::answer(false));
        }
    }
    match args.format {
        Format::Text => proofs.iter().for_each(|proof| verb::print(&proof.text())),
        Format::Json => verb::print_json_of(&proofs),
    }
    Ok(ExitCode::SUCCESS)
}
