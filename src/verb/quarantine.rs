//! `quarantine list | redrive`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::quarantine::{
    self, At, LIST_DEFAULT, LIST_MAX, Listing, Outcome, Redriven, SetAside, State, Wanted,
};
use serde::Serialize;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Quarantine,
}

#[derive(clap::Subcommand)]
enum Quarantine {
    /// What was set aside and waits: its place and why, never what it holds. 0: nothing waits.
    List {
        /// A pipeline file.
        file: PathBuf,
        /// Of a file with `tables`, only this one's; unless said, each table's.
        #[arg(long)]
        table: Option<String>,
        /// Show so many of each pipeline, the first in the order of the source; sums are of all.
        #[arg(long, value_name = "N", default_value_t = LIST_DEFAULT as u64,
            value_parser = clap::value_parser!(u64).range(0..=LIST_MAX as u64))]
        limit: u64,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Tries waiting records again, under the live release: by the process that runs the pipeline,
    /// or, where none does on this machine, by this one. 0: all of them crossed or are superseded.
    Redrive {
        /// A pipeline file.
        file: PathBuf,
        /// Of a file with `tables`, this one's.
        #[arg(long)]
        table: Option<String>,
        /// Only records that were refused with this code.
        #[arg(long)]
        code: Option<String>,
        /// Only this record, `TOPIC[PARTITION]@OFFSET`; may be repeated.
        #[arg(long = "record")]
        records: Vec<At>,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match &args.verb {
        Quarantine::List { file, table, limit, format } => {
            let limit = usize::try_from(*limit).unwrap_or(LIST_MAX);
            list(place, file, table.as_deref(), limit, *format)
        }
        Quarantine::Redrive { file, table, code, records, format } => {
            let wanted = Wanted { code: code.clone(), records: records.clone() };
            redrive(place, file, table.as_deref(), &wanted, *format)
        }
    }
}

/// One pipeline's list. It has a name where a file has several.
#[derive(Serialize)]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<String>,
    #[serde(flatten)]
    listing: Listing,
}

fn list(
    place: &Path,
    file: &Path,
    table: Option<&str>,
    limit: usize,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let all = match table {
        Some(_) => {
            let listing = quarantine::list(place, file, table, limit)?;
            vec![Told { pipeline: None, listing }]
        }
        None => {
            let all = quarantine::list_all(place, file, limit)?;
            let several = all.len() > 1;
            let told = |(name, listing)| Told { pipeline: several.then_some(name), listing };
            all.into_iter().map(told).collect()
        }
    };
    match format {
        Format::Json => verb::print_json_of(&all),
        Format::Text => all.iter().for_each(print_list),
    }
    Ok(verb::answer(all.iter().all(|told| told.listing.waits == 0)))
}

fn print_list(Told { pipeline, listing: all }: &Told) {
    all.records.iter().for_each(|record| verb::print(&line(record)));
    if all.left_out > 0 {
        let more = format!("… and {} more: `--limit`, at most {LIST_MAX}", all.left_out);
        verb::print(&more);
    }
    let of = pipeline.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let closed = match all.closed {
        0 => String::new(),
        closed => format!(", {closed} that nobody opens any more"),
    };
    let more = if all.more { "; more than can be counted" } else { "" };
    let (waits, leftovers) = (all.waits, all.leftovers);
    verb::print(&format!("{of}{waits} wait, {leftovers} leftovers{closed}{more}"));
}

fn line(record: &SetAside) -> String {
    let state = match &record.state {
        State::Waiting => "waits".to_owned(),
        State::Leftover => "leftover of a turn that did not come to pass".to_owned(),
        State::Tried(outcome) => outcome.to_string(),
        State::EpochEnded => {
            "closed: the key of its epoch has ended (`douane keys status`); next: \
                              write the row again at its source"
                .to_owned()
        }
        State::KeyUnknown => "closed: this key store never had its key, or lost it; next: put the \
                              newest `keys/store.json` back"
            .to_owned(),
        State::Unreadable => "unreadable: nothing that this place sealed for this topic; next: with a \
                              code it is known to the ledger, and `douane quarantine redrive` reads \
                              the source"
            .to_owned(),
    };
    format!("{}  {}  {}  {state}", record.at, record.since, record.code)
}

#[derive(Serialize)]
struct Tried<'a> {
    #[serde(flatten)]
    at: &'a At,
    /// `None`: not tried in time.
    outcome: Option<&'a Outcome>,
}

fn redrive(
    place: &Path,
    file: &Path,
    table: Option<&str>,
    wanted: &Wanted,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let stop = verb::asked_to_stop()?;
    let Redriven { tried, ended } = quarantine::redrive(place, file, table, wanted, &stop)?;
    let done = tried.iter().filter(|(_, o)| o.as_ref().is_some_and(Outcome::is_done)).count();
    match format {
        Format::Json => {
            let tried: Vec<_> =
                tried.iter().map(|(at, o)| Tried { at, outcome: o.as_ref() }).collect();
            verb::print_json(&tried);
        }
        Format::Text => {
            for (at, outcome) in &tried {
                match outcome {
                    Some(outcome) => verb::print(&format!("{at}  {outcome}")),
                    None => verb::print(&format!("{at}  not tried in time")),
                }
            }
            verb::print(&format!("{done} of {} done", tried.len()));
        }
    }
    if let Some(fault) = ended {
        verb::say(&mut std::io::stderr(), &format!("douane: {}", fault.told()));
    }
    Ok(verb::answer(done == tried.len()))
}
