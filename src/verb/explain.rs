//! `explain FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use douane_pipelines::fault::RunFault;
use douane_pipelines::proof::{self, Proof};
use douane_pipelines::quarantine::At;
use douane_pipelines::release::Standing;
use douane_pipelines::{explain, hidden_names, sample};

use crate::verb;

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file.
    file: PathBuf,
    /// Only this output column.
    #[arg(long)]
    column: Option<String>,
    /// The proof as a table, as a page to be signed, as a graph, or as a JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
    /// In place of the proof: how the values of a topic or file of the sovereign side are spread,
    /// before and after. A disclosure of its own.
    #[arg(long, value_name = "TOPIC|FILE", conflicts_with = "column")]
    sample: Option<String>,
    /// Records of each partition that the sample reads at most.
    #[arg(long, requires = "sample", default_value_t = sample::RECORDS_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..=sample::RECORDS_MAX))]
    records: u64,
    /// In place of the proof: the names of one record's leaves that messages show as a number, because
    /// they may be data. For those who may read the raw topic.
    #[arg(long, value_name = "TOPIC[PARTITION]@OFFSET", conflicts_with_all = ["column", "sample"])]
    names: Option<At>,
}

/// A table, a page, a graph, or a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    /// One page without scripts, to be read, printed and signed.
    Html,
    /// A graph for Graphviz.
    Dot,
    Json,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    if let Some(topic) = &args.sample {
        return run_sample(place, args, topic);
    }
    if let Some(at) = &args.names {
        return run_names(place, args, at);
    }
    let mut proofs = explain::proofs(place, &args.file)?;
    if let Some(column) = &args.column {
        proofs = explain::only(proofs, &args.file, column)?;
    }
    match args.format {
        Form::Text => proofs.iter().for_each(|(proof, _)| verb::print(&proof.text())),
        Form::Html => verb::print(&proof::page(&proofs)),
        Form::Dot => proofs.iter().for_each(|(proof, _)| verb::print(&proof.dot())),
        Form::Json => {
            let document = |(proof, standing): &(Proof, Standing)| {
                let mut document = serde_json::to_value(proof).unwrap_or_default();
                document["release"] = serde_json::to_value(standing).unwrap_or_default();
                document
            };
            verb::print_json_of(&proofs.iter().map(document).collect::<Vec<_>>());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_names(place: &Path, args: &Args, at: &At) -> Result<ExitCode, RunFault> {
    if matches!(args.format, Form::Html | Form::Dot) {
        let why = "--names goes with --format text or json: no page holds what it shows";
        return Err(RunFault::File(why.to_owned()));
    }
    let hidden = hidden_names::of(place, &args.file, at)?;
    match args.format {
        Form::Json => verb::print_json(&hidden),
        _ => {
            verb::print(hidden_names::NOTICE);
            // As JSON has it: a name may hold what a terminal would act on.
            let shown = |name: &String| serde_json::to_string(name).unwrap_or_default();
            hidden.iter().for_each(|h| verb::print(&format!("{}  {}", h.leaf, shown(&h.name))));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_sample(place: &Path, args: &Args, topic: &str) -> Result<ExitCode, RunFault> {
    if matches!(args.format, Form::Html | Form::Dot) {
        let why = "--sample goes with --format text or json: no page holds what a sample shows";
        return Err(RunFault::File(why.to_owned()));
    }
    let samples = sample::run(place, (&args.file, None), topic, args.records)?;
    match args.format {
        Form::Json => verb::print_json_of(&samples),
        _ => samples.iter().for_each(|sample| verb::print(&sample.text())),
    }
    Ok(ExitCode::SUCCESS)
}
