//! `schema pipeline | place | domains | catalog`

use std::process::ExitCode;

use clap::ValueEnum;
use douane_pipelines::config;

use crate::verb;

#[derive(clap::Args)]
pub struct Args {
    /// The sort of file.
    #[arg(value_enum)]
    file: File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum File {
    Pipeline,
    /// `douane.yaml`
    Place,
    /// The token domains.
    Domains,
    /// The classes of many tables.
    Catalog,
}

pub fn run(args: &Args) -> ExitCode {
    verb::print_json(&match args.file {
        File::Pipeline => config::json_schema(),
        File::Place => config::place_json_schema(),
        File::Domains => config::domains_json_schema(),
        File::Catalog => config::catalog_json_schema(),
    });
    ExitCode::SUCCESS
}
