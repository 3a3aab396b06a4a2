//! `quarantine list | redrive`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::quarantine::{self, At, Outcome, SetAside, State, Wanted};
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
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Tries waiting records again, under the live release: by the process that runs the pipeline,
    /// or, where none does on this machine, by this one. 0: all of them crossed or are superseded.
    Redrive {
        /// A pipeline file.
        file: PathBuf,
        /// Only records that were refused with this code.
        #[arg(long)]
        code: Option<String>,
        /// Only this record, `TOPIC[PARTITION]@OFFSET`; may be repeated.
        #[arg(long = "record")]
        records: Vec<At>,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match &args.verb {
        Quarantine::List { file, format } => list(place, file, *format),
        Quarantine::Redrive { file, code, records, format } => {
            let wanted = Wanted { code: code.clone(), records: records.clone() };
            redrive(place, file, &wanted, *format)
        }
    }
}

fn list(place: &Path, file: &Path, format: Format) -> Result<ExitCode, RunFault> {
    let list = quarantine::list(place, file)?;
    let count = |is: fn(&State) -> bool| list.iter().filter(|record| is(&record.state)).count();
    let waits = count(State::waits);
    let leftovers = count(|state| *state == State::Leftover);
    let closed = list.len() - waits - leftovers;
    match format {
        Format::Json => verb::print_json(&list),
        Format::Text => {
            list.iter().for_each(|record| verb::print(&line(record)));
            let closed = match closed {
                0 => String::new(),
                closed => format!(", {closed} that nobody opens any more"),
            };
            verb::print(&format!("{waits} wait, {leftovers} leftovers{closed}"));
        }
    }
    Ok(verb::answer(waits == 0))
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
    wanted: &Wanted,
    format: Format,
) -> Result<ExitCode, RunFault> {
    let stop = verb::asked_to_stop()?;
    let tried = quarantine::redrive(place, file, wanted, &stop)?;
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
    Ok(verb::answer(done == tried.len()))
}
