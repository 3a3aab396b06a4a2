//! One file per verb: its arguments, what it does, what its exit code means.

pub mod artifact;
pub mod audit;
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

use douane_pipelines::fault::RunFault;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

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

/// Prints what a file's pipelines come to: a list where there are several.
pub fn print_json_of<T: Serialize>(values: &[T]) {
    match values {
        [one] => print_json(one),
        several => print_json(&several),
    }
}

/// Whether the command line, which was understood, asks for JSON: then a fault is a document too.
pub fn wants_json() -> bool {
    let args: Vec<String> = std::env::args().collect();
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
        "error": { "code": fault.code(), "message": fault.to_string(), "findings": findings },
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
