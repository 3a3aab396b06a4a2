//! `audit budget`, `audit column FILE`, `audit crossed TOPIC`, `audit lineage FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;
use douane_pipelines::audit;
use douane_pipelines::audit::column;
use douane_pipelines::audit::crossed::{self, Ask};
use douane_pipelines::config;
use douane_pipelines::fault::RunFault;
use douane_pipelines::lineage;

use crate::verb::replay::instant;
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
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// What one column was under each release that was in force: from which one on, who signed it, what
    /// its rule was. 0: every release that the ledger names is there, and holds.
    Column {
        /// A pipeline file.
        file: PathBuf,
        /// Of a file with `tables`, the one that has the column.
        #[arg(long)]
        table: Option<String>,
        /// The column, by its name outside.
        #[arg(long)]
        column: String,
        /// Older release files, from git: of releases that this ledger did not keep. Once for each.
        #[arg(long = "release")]
        releases: Vec<PathBuf>,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// What a global topic took, for which purpose, under which release, and who approved: from its
    /// signed manifests. 0: all of them are signed.
    Crossed {
        /// A topic of the global cluster that a pipeline writes to.
        topic: String,
        /// Sent from this instant on: RFC 3339.
        #[arg(long, value_parser = instant)]
        from: Option<i64>,
        /// Sent before this instant.
        #[arg(long, value_parser = instant)]
        to: Option<i64>,
        /// A folder with `manifest.key.pub`; the place's own where none is given.
        #[arg(long)]
        keys: Option<PathBuf>,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// The proof as OpenLineage events, a line a pipeline: columns, the leaves that they are made
    /// of, and whether they are masked. 0: written, or taken.
    Lineage {
        /// A pipeline file.
        file: PathBuf,
        /// Posts them to this address in place of printing them.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
    },
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match &args.what {
        What::Budget { format } => {
            let ledger = config::load_place(place).map_err(RunFault::Findings)?.ledger_dir;
            if !ledger.exists() {
                return Err(no_ledger(&ledger));
            }
            let accounts = audit::budget(place)?;
            match format {
                Format::Json => verb::print_json(&accounts),
                Format::Text => verb::print(&audit::text(&accounts)),
            }
            Ok(ExitCode::SUCCESS)
        }
        What::Column { file, table, column, releases, format } => {
            let ask = column::Ask {
                file: file.clone(),
                table: table.clone(),
                column: column.clone(),
                releases: releases.clone(),
            };
            let found = column::history(place, &ask)?;
            match format {
                Format::Json => verb::print_json(&found),
                Format::Text => verb::print(&found.text()),
            }
            Ok(verb::answer(found.holds))
        }
        What::Crossed { topic, from, to, keys, format } => {
            let ask = Ask { topic: topic.clone(), keys: keys.clone(), from_ms: *from, to_ms: *to };
            let found = crossed::crossed(place, &ask)?;
            match format {
                Format::Json => verb::print_json(&found),
                Format::Text => verb::print(&found.text()),
            }
            Ok(verb::answer(found.holds))
        }
        What::Lineage { file, to } => {
            let events = lineage::events(place, file, SystemTime::now())?;
            match to {
                Some(url) => lineage::send(url, &events)?,
                None => events.iter().for_each(|event| verb::print(&event.to_string())),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A place whose ledger is not there has no accounts that could be empty.
fn no_ledger(ledger: &Path) -> RunFault {
    RunFault::File(format!(
        "{}: no ledger is here, and so no accounts: nothing has run in this place\n  next: `douane run FILE` \
         begins it; another place is named: `douane -c DOUANE.YAML audit budget`",
        ledger.display()
    ))
}
