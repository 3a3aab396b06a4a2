//! `doctor [FILE…] [--create]`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::doctor::{self, Make};
use douane_pipelines::fault::RunFault;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline files whose topics are looked at too.
    files: Vec<PathBuf>,
    /// Makes missing topics as the files expect them.
    #[arg(long)]
    create: bool,
    /// Makes a quarantine's topic that was lost anew as well, empty: what was set aside is given up.
    #[arg(long, requires = "create")]
    quarantine_anew: bool,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let make = match (args.create, args.quarantine_anew) {
        (false, _) => Make::Nothing,
        (true, false) => Make::Missing,
        (true, true) => Make::Quarantine,
    };
    let lines = doctor::examine(place, &args.files, make)?;
    match args.format {
        Format::Text => lines.iter().for_each(|line| verb::print(&line.to_string())),
        Format::Json => verb::print_json(&lines),
    }
    let unreachable = lines.iter().any(|line| line.state == doctor::State::Unreachable);
    if unreachable {
        return Ok(ExitCode::from(3));
    }
    Ok(verb::answer(lines.iter().all(doctor::Line::is_well)))
}
