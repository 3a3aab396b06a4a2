//! One file per verb: its arguments, what it does, what its exit code means.

pub mod artifact;
pub mod audit;
pub mod backup;
pub mod classify;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod feed;
pub mod health;
pub mod import;
pub mod keys;
pub mod leaktest;
pub mod lint;
pub mod man;
pub mod quarantine;
pub mod release;
pub mod replay;
pub mod run;
pub mod schema;
pub mod scorecard;
pub mod selftest;
pub mod serve;
pub mod shred;
pub mod status;
pub mod test;
pub mod verify;
pub mod witness;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use douane_pipelines::config::Pipeline;
use douane_pipelines::fault::RunFault;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Format;

/// The answer is no.
pub const NO: u8 = 1;

/// What an answer of yes or no exits with.
pub fn answer(yes: bool) -> ExitCode {
    if yes { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}

/// Set once SIGINT or SIGTERM came. Asking twice is asking once: shells and supervisors repeat
/// themselves.
pub fn asked_to_stop() -> Result<Arc<AtomicBool>, RunFault> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| RunFault::Client(format!("signals: {}", error.kind())))?;
    }
    Ok(stop)
}

/// Prints a line. A reader that went away is no fault of ours.
pub fn say(out: &mut impl Write, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// Prints to standard output.
pub fn print(text: &str) {
    say(&mut std::io::stdout(), text.trim_end());
}

/// Prints a value as JSON.
pub fn print_json(value: &impl Serialize) {
    print(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints what a person reads, or the document in its place.
pub fn tell(format: Format, text: &str, document: impl Serialize) {
    match format {
        Format::Text => print(text),
        Format::Json => print_json(&document),
    }
}

/// Prints what a person has to have read before something is done with it. Beside a document it goes
/// to standard error.
pub fn show_first(format: Format, text: &str) {
    match format {
        Format::Text => print(text),
        Format::Json => say(&mut std::io::stderr(), text.trim_end()),
    }
}

/// Does the same for each of a file's pipelines. A fault at one of several tables says in the answer what was done
/// before it, and which tables are left: what was done stays done.
pub fn one_by_one(
    format: Format,
    pipelines: &[Pipeline],
    mut one: impl FnMut(&Pipeline) -> Result<Option<serde_json::Value>, RunFault>,
) -> Result<ExitCode, RunFault> {
    let mut done = Vec::new();
    for (at, pipeline) in pipelines.iter().enumerate() {
        match one(pipeline) {
            Ok(document) => done.extend(document),
            Err(fault) if pipelines.len() == 1 => return Err(fault),
            Err(fault) => {
                let left = pipelines[at..].iter().map(|left| left.name.as_str());
                return Ok(in_part(format, &fault, &done, &left.collect::<Vec<_>>()));
            }
        }
    }
    if format == Format::Json {
        print_json_of(&done);
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells a fault that came when some of what was asked for was done.
pub fn in_part(
    format: Format,
    fault: &RunFault,
    done: &[serde_json::Value],
    left: &[&str],
) -> ExitCode {
    let told = format!("douane: {}\n  not done: {}", fault.told(), left.join(", "));
    say(&mut std::io::stderr(), &told);
    if format == Format::Json {
        let mut document = fault_json(fault);
        document["done"] = serde_json::json!(done);
        document["not_done"] = serde_json::json!(left);
        print_json(&document);
    }
    ExitCode::from(fault.exit_code())
}

/// Prints what a file's pipelines come to: a list where there are several.
pub fn print_json_of<T: Serialize>(values: &[T]) {
    match values {
        [one] => print_json(one),
        several => print_json(&several),
    }
}

/// Whether the command line, which was understood, asks for JSON: then a fault is a document too.
pub fn wants_json() -> bool {
    // Of any bytes: names of files may stand among them.
    let args: Vec<_> = std::env::args_os().collect();
    let apart = args.windows(2).any(|pair| pair == ["--format", "json"]);
    apart || args.iter().any(|arg| arg == "--format=json")
}

/// A fault as a document: the word, the text, and findings one by one.
pub fn fault_json(fault: &RunFault) -> serde_json::Value {
    let findings = match fault {
        RunFault::Findings(findings) => serde_json::to_value(findings).unwrap_or_default(),
        _ => serde_json::json!([]),
    };
    serde_json::json!({
        "error": { "code": fault.code(), "message": fault.told(), "findings": findings },
    })
}

/// A file that cannot be read or written, as a fault with exit code 2.
pub fn file_fault(path: &Path, error: &std::io::Error) -> RunFault {
    RunFault::File(format!(
        "{}: {}\n  next: mend the name or its rights",
        path.display(),
        error.kind()
    ))
}
