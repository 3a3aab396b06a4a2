//! `completions SHELL`

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::Douane;

#[derive(clap::Args)]
pub struct Args {
    /// The shell that reads it.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &Args) -> ExitCode {
    let mut script = Vec::new();
    generate(args.shell, &mut Douane::command(), "douane", &mut script);
    crate::verb::print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
