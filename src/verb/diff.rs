//! `diff OLD NEW`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::diff;
use douane_pipelines::fault::RunFault;
use douane_pipelines::sample;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file, or a release file (`.json`).
    old: PathBuf,
    /// What takes its place.
    new: PathBuf,
    /// Of files with `tables`, this one's.
    #[arg(long)]
    table: Option<String>,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Beside the difference: how the values of a topic or file of the sovereign side are spread
    /// under each of two pipelines. A disclosure of its own.
    #[arg(long, value_name = "TOPIC|FILE")]
    sample: Option<String>,
    /// Records of each partition that the sample reads at most.
    #[arg(long, requires = "sample", default_value_t = sample::RECORDS_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..=sample::RECORDS_MAX))]
    records: u64,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let diff = diff::run(place, args.table.as_deref(), &args.old, &args.new)?;
    let sampled = |file: &Path| match &args.sample {
        Some(topic) => sample::run(place, (file, args.table.as_deref()), topic, args.records),
        None => Ok(Vec::new()),
    };
    let (old, new) = (sampled(&args.old)?, sampled(&args.new)?);
    match args.format {
        Format::Text => {
            verb::print(&diff.text());
            for (label, samples) in [("old", &old), ("new", &new)] {
                samples.iter().for_each(|sample| {
                    verb::print(&format!("\n{label}: {}", sample.text()));
                });
            }
        }
        Format::Json if args.sample.is_none() => verb::print_json(&diff),
        Format::Json => {
            let mut document = serde_json::to_value(&diff).unwrap_or_default();
            document["sample"] = serde_json::json!({ "old": old, "new": new });
            verb::print_json(&document);
        }
    }
    Ok(verb::answer(diff.release_holds))
}
