//! `douane`: the customs office for change events. The verbs; no data logic.

#[cfg(test)]
mod house;
mod verb;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use mimalloc::MiMalloc;

/// Batches come and go by the thousand, some of them from thread to thread.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Change events from a sovereign Kafka to a global Kafka: exactly once, and only what is
/// declared, approved and stamped.
///
/// Exit codes: 0 as each verb says; 1 the answer is no; 2 usage, or a file that cannot be read;
/// 3 something outside cannot be reached.
#[derive(Parser)]
#[command(name = "douane", version, max_term_width = 100)]
struct Douane {
    /// The place: zones, clusters, keys, ledger, trust.
    #[arg(short = 'c', long = "config", global = true, default_value = "douane.yaml")]
    place: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Verb {
    /// Two brokers in memory, invented customers, all that douane does, with evidence; nothing is
    /// left behind. 0: all of it was seen.
    Demo(verb::demo::Args),
    /// Everything that can be known without a network, all findings at once. 0: no finding.
    Lint(verb::lint::Args),
    /// The proof: what each output column is made of and why it may cross. 0: it may run.
    Explain(verb::explain::Args),
    /// What changes for each output column, and its risk. 0: the release still holds.
    Diff(verb::diff::Args),
    /// Runs a file's pipelines in the foreground until stopped. 0: stopped cleanly.
    Run(verb::run::Args),
    /// Runs the pipelines of a folder in one process, behind the REST API of Kafka Connect. 0: stopped
    /// cleanly.
    Serve(verb::serve::Args),
    /// Runs the tests inside the files, through the real path, with throw-away keys. 0: all pass.
    Test(verb::test::Args),
    /// Plants markers and looks for them in everything that the pipeline writes or says. 0: no leak,
    /// and every planted one was found.
    Leaktest(verb::leaktest::Args),
    /// Per partition: state, lag, and what is held by which leaf. 0: nothing is held.
    Status(verb::status::Args),
    /// Whether what runs in this container does: a service is asked, of another verb's process it is
    /// seen that it is not stopped. 0: it is well.
    Health,
    /// Reaches every part that douane.yaml names, a line each. 0: all can be used.
    Doctor(verb::doctor::Args),
    /// What was set aside: lists it, or tries it again.
    Quarantine(verb::quarantine::Args),
    /// Checks a ledger (log, checkpoints, outcomes), or a global topic. 0: all hold.
    Verify(verb::verify::Args),
    /// Somebody outside who cosigns a ledger's checkpoints, so that nobody is shown another history.
    Witness(verb::witness::Args),
    /// Makes again what crossed, from the source and by the recorded plan, and compares the bytes.
    /// 0: all equal.
    Replay(verb::replay::Args),
    /// The trainer's side: verifies what a global topic brought, then hands it over as Arrow or
    /// Parquet. 0: all of it was verified.
    Feed(verb::feed::Args),
    /// What crossed and what it cost: the privacy accounts.
    Audit(verb::audit::Args),
    /// Keys and ledger as they are at one moment, while pipelines run, into a folder; verified there.
    Backup(verb::backup::Args),
    /// Keys of this place, and signing keys of persons.
    Keys(verb::keys::Args),
    /// Releases: who approved what, in files that fit in git.
    Release(verb::release::Args),
    /// Proposes classes from a sample of a topic, inside the zone: shares in buckets, no values.
    Classify(verb::classify::Args),
    /// Runs the detectors over labelled text: recall, precision, F1 and F2 of each kind, and no
    /// text. 0: the least recall that was asked for is reached.
    Scorecard(verb::scorecard::Args),
    /// Vectors of the standards, built in and in files, on this machine. 0: none fails.
    Selftest(verb::selftest::Args),
    /// A connector's configuration of Kafka Connect as a pipeline file, a line for each key, and what
    /// the connector let out. 0: all could be kept.
    Import(verb::import::Args),
    /// The JSON schema of a sort of file, for editors.
    Schema(verb::schema::Args),
    /// A script that completes this command line in a shell.
    Completions(verb::completions::Args),
    /// Man pages of all verbs, a file each, into a folder.
    Man(verb::man::Args),
}

fn main() -> ExitCode {
    let douane = Douane::parse();
    let place = douane.place.as_path();
    let outcome = match douane.verb {
        Verb::Demo(args) => verb::demo::run(&args),
        Verb::Lint(args) => verb::lint::run(place, &args),
        Verb::Explain(args) => verb::explain::run(place, &args),
        Verb::Diff(args) => verb::diff::run(place, &args),
        Verb::Run(args) => verb::run::run(place, &args),
        Verb::Serve(args) => verb::serve::run(place, &args),
        Verb::Test(args) => verb::test::run(place, &args),
        Verb::Leaktest(args) => verb::leaktest::run(place, &args),
        Verb::Status(args) => verb::status::run(place, &args),
        Verb::Health => Ok(verb::health::run()),
        Verb::Doctor(args) => verb::doctor::run(place, &args),
        Verb::Quarantine(args) => verb::quarantine::run(place, &args),
        Verb::Verify(args) => verb::verify::run(place, &args),
        Verb::Witness(args) => verb::witness::run(&args),
        Verb::Replay(args) => verb::replay::run(place, &args),
        Verb::Feed(args) => verb::feed::run(place, &args),
        Verb::Audit(args) => verb::audit::run(place, &args),
        Verb::Backup(args) => verb::backup::run(place, &args),
        Verb::Keys(args) => verb::keys::run(place, &args),
        Verb::Release(args) => verb::release::run(place, &args),
        Verb::Classify(args) => verb::classify::run(place, &args),
        Verb::Scorecard(args) => verb::scorecard::run(&args),
        Verb::Selftest(args) => verb::selftest::run(&args),
        Verb::Import(args) => verb::import::run(&args),
        Verb::Schema(args) => Ok(verb::schema::run(&args)),
        Verb::Completions(args) => Ok(verb::completions::run(&args)),
        Verb::Man(args) => verb::man::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(fault) => {
            verb::say(&mut std::io::stderr(), &format!("douane: {}", fault.told()));
            if verb::wants_json() {
                verb::print_json(&verb::fault_json(&fault));
            }
            ExitCode::from(fault.exit_code())
        }
    }
}
