//! `selftest [FILE…] [--gpu]`

use std::path::PathBuf;
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::selftest::{self, NoGpu, Report};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// Vector files of Project Wycheproof's form (FF1, HMAC-SHA-256, AES-CMAC, AES-SIV, AES-GCM,
    /// AES-GCM-SIV) or ACVP's (FF1), and folders of them. What is built in runs in any case.
    files: Vec<PathBuf>,
    /// Runs the kernels of aggregates on a GPU too, each against its twin on the processor.
    #[arg(long)]
    gpu: bool,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(args: &Args) -> Result<ExitCode, RunFault> {
    let mut reports = selftest::built_in();
    let given = selftest::files(&args.files);
    reports.extend(given.map_err(|(path, error)| verb::file_fault(&path, &error))?);
    if args.gpu {
        let fault =
            |why: NoGpu| RunFault::Unreachable { what: "a GPU".into(), why: why.to_string() };
        reports.extend(selftest::on_gpu().map_err(fault)?);
    }
    match args.format {
        Format::Json => verb::print_json(&reports),
        Format::Text => print(&reports),
    }
    Ok(verb::answer(reports.iter().all(Report::holds)))
}

fn print(reports: &[Report]) {
    if let Some(gpu) = reports.iter().find_map(|report| report.adapter.as_ref()) {
        let software = if gpu.software { ", software" } else { "" };
        verb::print(&format!("GPU: {}, {}, {}{software}", gpu.name, gpu.backend, gpu.driver));
    }
    for report in reports {
        verb::print(&format!(
            "{} ({}): {} passed, {} failed, {} not supported",
            report.file, report.algorithm, report.passed, report.failed, report.not_supported
        ));
        for failure in &report.failures {
            let selftest::Failure { group, case, what } = failure;
            match *group == 0 && report.adapter.is_none() {
                true => verb::print(&format!("  FAILED: {what}")),
                false => verb::print(&format!("  FAILED: group {group} case {case}: {what}")),
            }
        }
        for reason in report.reasons_in_words() {
            verb::print(&format!("  {reason}"));
        }
    }
    let sum = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    verb::print(&format!(
        "{}: {} passed, {} failed, {} not supported in {} sets",
        if reports.iter().all(Report::holds) { "all pass" } else { "NOT all pass" },
        sum(|r| r.passed),
        sum(|r| r.failed),
        sum(|r| r.not_supported),
        reports.len(),
    ));
}
