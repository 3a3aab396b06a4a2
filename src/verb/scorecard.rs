//! `scorecard FILE`

use std::path::PathBuf;
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::scorecard::{self, Demand};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// Labelled text: a JSON list of `{ full_text, spans: [{ entity_type, entity_value,
    /// start_position, end_position }] }`, offsets in characters.
    file: PathBuf,
    /// Detectors that run, in one pass; all of them unless said.
    #[arg(long, value_delimiter = ',')]
    detectors: Vec<String>,
    /// The least share of labels found and removed, of each labelled kind or of one: `0.9`,
    /// `phone=0.8`.
    #[arg(long, value_delimiter = ',')]
    min_recall: Vec<String>,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(args: &Args) -> Result<ExitCode, RunFault> {
    let demand = Demand::parse(&args.min_recall)?;
    let detectors = scorecard::named(&args.detectors)?;
    let card = scorecard::measure(&args.file, &detectors)?;
    if let Some(kind) = demand.not_run(&card) {
        return Err(RunFault::File(format!(
            "--min-recall names `{kind}`, which did not run\n  next: name it in --detectors too"
        )));
    }
    match args.format {
        Format::Text => verb::print(&card.text()),
        Format::Json => verb::print_json(&card),
    }
    let of_nothing = demand.of_nothing(&card);
    if let Some(least) = of_nothing {
        let others: u64 = card.not_scored.iter().map(|other| other.planted).sum();
        let line = format!(
            "no kind is labelled that the recall {least} is demanded of: {others} labels are of no kind that \
             ran, at least one that is was expected\n  next: write a detector's name, or Presidio's word for \
             it, as `entity_type`"
        );
        verb::say(&mut std::io::stderr(), &line);
    }
    let missed = demand.missed(&card);
    for missed in &missed {
        let found = missed.recall.map_or("nothing of it is labelled".to_owned(), |recall| {
            format!("recall of what is removed {recall}")
        });
        let line = format!("{}: {found}, at least {} is demanded", missed.kind, missed.least);
        verb::say(&mut std::io::stderr(), &line);
    }
    Ok(verb::answer(missed.is_empty() && of_nothing.is_none()))
}
