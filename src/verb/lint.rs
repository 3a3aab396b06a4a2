//! `lint FILE…`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::config;
use douane_pipelines::fault::RunFault;

use crate::Format;
use crate::verb;

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let mut all = Vec::new();
    let mut unreadable = false;
    for file in &args.files {
        let (findings, pipelines) = config::lint(place, file);
        unreadable |= findings.unreadable();
        all.extend(findings);
        all.extend(pipelines.iter().flat_map(douane_pipelines::plan::lint));
    }
    // The place's own findings come with each file; say them once.
    let mut seen = Vec::new();
    all.retain(|finding| {
        let new = !seen.contains(finding);
        if new {
            seen.push(finding.clone());
        }
        new
    });
    match args.format {
        Format::Json => verb::print_json(&all),
        Format::Text => {
            for finding in &all {
                verb::print(&finding.to_string());
            }
            let count = all.len();
            verb::say(
                &mut std::io::stderr(),
                &match count {
                    0 => "no finding".to_owned(),
                    1 => "1 finding".to_owned(),
                    _ => format!("{count} findings"),
                },
            );
        }
    }
    Ok(if unreadable { ExitCode::from(2) } else { verb::answer(all.is_empty()) })
}
