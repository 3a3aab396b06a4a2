//! `keys shred`: its subjects never stand on the command line, where a shell keeps them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_ledger::shred::Certificate;
use douane_pipelines::fault::RunFault;
use douane_pipelines::shred::{self, SUBJECTS_MAX, Wanted};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{Format, verb};

/// Bytes of one subject.
const SUBJECT_BYTES_MAX: usize = 4096;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true).args(["subject", "subject_file", "resume"])))]
pub struct Args {
    /// A token domain with `key_per`.
    #[arg(long)]
    domain: String,
    /// `-`: subjects (or tenants, where the domain has its keys per tenant) from standard input, a line
    /// each, as their column has them.
    #[arg(long, visible_alias = "tenant", value_parser = only_standard_input, value_name = "-")]
    subject: Option<String>,
    /// Subjects from a file, a line each.
    #[arg(long, visible_alias = "tenant-file", value_name = "FILE")]
    subject_file: Option<PathBuf>,
    /// Ends what was begun and did not end.
    #[arg(long)]
    resume: bool,
    /// Who has it done; stands in the ledger and in the certificate.
    #[arg(long)]
    by: String,
    /// Why; stands in the ledger and in the certificate, and names no subject.
    #[arg(long)]
    reason: String,
    /// The certificate's file; it is not there yet.
    #[arg(long)]
    out: PathBuf,
    /// Pipeline files: the certificate says what of their subjects remains outside.
    files: Vec<PathBuf>,
    /// What is printed: words for people, or one JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn only_standard_input(text: &str) -> Result<String, String> {
    match text {
        "-" => Ok(text.to_owned()),
        _ => Err(
            "a subject on the command line stays in the shell's history: write `--subject -` and \
                  give it on standard input, or `--subject-file FILE`"
                .to_owned(),
        ),
    }
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let subjects = match (&args.subject, &args.subject_file) {
        (None, None) => Vec::new(),
        (_, Some(path)) => {
            let file = std::fs::File::open(path).map_err(|error| verb::file_fault(path, &error))?;
            subjects(file, path)?
        }
        (Some(_), None) => subjects(std::io::stdin().lock(), Path::new("standard input"))?,
    };
    if subjects.is_empty() && !args.resume {
        return Err(RunFault::Release("shred: no subject was given".to_owned()));
    }
    let wanted = Wanted {
        domain: &args.domain,
        subjects: &subjects,
        files: &args.files,
        by: &args.by,
        reason: &args.reason,
        out: &args.out,
    };
    let certificate = shred::shred(place, &wanted)?;
    match args.format {
        Format::Json => {
            verb::print_json(&json!({"certificate": args.out, "says": certificate}));
        }
        Format::Text => print(&certificate, &args.out),
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines that are not empty.
fn subjects(from: impl Read, path: &Path) -> Result<Vec<Zeroizing<String>>, RunFault> {
    let fault = |error: std::io::Error| verb::file_fault(path, &error);
    let bytes_max = SUBJECTS_MAX * (SUBJECT_BYTES_MAX + 2);
    let mut text = Zeroizing::new(String::with_capacity(SUBJECT_BYTES_MAX));
    from.take(bytes_max as u64 + 1).read_to_string(&mut text).map_err(fault)?;
    let lines = text.lines().filter(|line| !line.is_empty());
    let subjects: Vec<Zeroizing<String>> =
        lines.map(|line| Zeroizing::new(line.to_owned())).collect();
    if text.len() > bytes_max || subjects.len() > SUBJECTS_MAX {
        return Err(RunFault::Release(format!("shred: expected at most {SUBJECTS_MAX} subjects")));
    }
    Ok(subjects)
}

pub fn print(certificate: &Certificate, out: &Path) {
    let gone = &certificate.destroyed;
    let word = if gone.is_final { "final" } else { "NOT final" };
    verb::print(&format!(
        "domain {}: {} subjects, {} keys destroyed, {} others wrapped anew",
        gone.domain,
        gone.subjects,
        gone.key_ids.len(),
        certificate.survivors,
    ));
    verb::print(&format!("{word}: {}", gone.what));
    for remaining in &certificate.remains {
        let columns: Vec<String> =
            remaining.columns.iter().map(|c| format!("{} ({})", c.column, c.how)).collect();
        let columns = columns.join(", ");
        verb::print(&format!("remains in {}: {columns}", remaining.topic));
    }
    for pipeline in &certificate.not_looked_at {
        verb::print(&format!("not looked at: {pipeline}"));
    }
    verb::print(&format!("certificate: {}", out.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_lines_and_never_arguments() {
        let read = |text: &str| subjects(text.as_bytes(), Path::new("x"));
        let lines = |text| read(text).unwrap().iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(lines("1\n\na b \r\n3"), ["1", "a b ", "3"]);
        assert!(read(&"1\n".repeat(SUBJECTS_MAX)).is_ok());
        assert!(read(&"1\n".repeat(SUBJECTS_MAX + 1)).is_err());
        assert!(only_standard_input("-").is_ok());
        let refused = only_standard_input("4711").unwrap_err();
        assert!(refused.contains("--subject-file") && !refused.contains("4711"));
    }
}
