//! `classify TOPIC`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::classify;
use douane_pipelines::fault::RunFault;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A topic of the sovereign cluster.
    #[arg(required_unless_present = "file")]
    topic: Option<String>,
    /// In place of a topic a file of JSON lines.
    #[arg(long, conflicts_with = "topic")]
    file: Option<PathBuf>,
    /// Records that are looked at at most.
    #[arg(long, default_value_t = 10_000)]
    records: u64,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let classified = match (&args.file, &args.topic) {
        (Some(file), _) => classify::file(file, args.records)?,
        (None, topic) => {
            classify::topic(place, topic.as_deref().unwrap_or_default(), args.records)?
        }
    };
    match args.format {
        Format::Text => verb::print(&classified.text()),
        Format::Json => verb::print_json(&classified),
    }
    Ok(ExitCode::SUCCESS)
}
