//! `status FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::status::{self, Status};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file. Its process need not be up: this reads the target and the ledger.
    file: PathBuf,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let all = status::read_all(place, &args.file)?;
    let waits = all.pipelines.iter().any(|(_, one)| one.as_ref().is_ok_and(Status::needs_people));
    match args.format {
        Format::Text => {
            for (name, one) in &all.pipelines {
                match one {
                    Ok(status) => verb::print(&status.text()),
                    Err(_) if all.pipelines.len() == 1 => {}
                    Err(fault) => verb::print(&format!("{name}: no status: {fault}")),
                }
            }
            for topic in &all.not_read {
                verb::print(&format!("not read: {topic} (no entry under `tables`)"));
            }
        }
        Format::Json => match all.pipelines.as_slice() {
            [(_, one)] if all.not_read.is_empty() => {
                one.iter().for_each(|status| verb::print_json(status));
            }
            several => {
                let pipelines: Vec<_> = several
                    .iter()
                    .map(|(name, one)| match one {
                        Ok(status) => serde_json::json!(status),
                        Err(fault) => serde_json::json!({"pipeline": name, "fault": fault.code()}),
                    })
                    .collect();
                verb::print_json(
                    &serde_json::json!({"pipelines": pipelines, "not_read": all.not_read}),
                );
            }
        },
    }
    // What cannot be told is the graver answer.
    match all.pipelines.into_iter().find_map(|(_, one)| one.err()) {
        Some(fault) => Err(fault),
        None => Ok(verb::answer(!waits)),
    }
}
