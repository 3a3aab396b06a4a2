//! `audit budget`, `audit column FILE`, `audit crossed TOPIC`, `audit lineage FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;
use douane_pipelines::audit;
use douane_pipelines::audit::column;
use douane_pipelines::audit::crossed::{self, Ask};
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
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// What one column was under each release that was in force: from which one on, who signed it, what
    /// its rule was. 0: every release that the ledger names is there, and holds.
    Column {
        /// A pipeline file.
        file: PathBuf,
        /// The column, by its name outside.
        #[arg(long)]
        column: String,
        /// Older release files, from git: of releases that this ledger did not keep. Once for each.
        #[arg(long = "release")]
        releases: Vec<PathBuf>,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// What a global topic took, for which purpose, under which release, and who approved: from its
    /// signed manifests. 0: all of them are signed.
    Crossed {
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
            let accounts = audit::budget(place)?;
            match format {
                Format::Json => verb::print_json(&accounts),
                Format::Text => verb::print(&audit::text(&accounts)),
            }
            Ok(ExitCode::SUCCESS)
        }
        What::Column { file, column, releases, format } => {
            let (file, column, releases) = (file.clone(), column.clone(), releases.clone());
            let found = column::history(place, &column::Ask { file, column, releases })?;
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
