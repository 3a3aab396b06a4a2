//! `witness init | trust | cosign`, for somebody outside who witnesses a ledger; `witness ask | attach`,
//! for whose ledger it is. What goes between them is files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use douane_ledger::log::verifier_key;
use douane_ledger::signing::SigningKey;
use douane_ledger::witness::{self, Refused, Witness};
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::init_approver;
use douane_pipelines::names;
use douane_pipelines::signer::{private_key, public_key};
use serde_json::{Value, json};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Makes a witness's key, and prints what others check cosignatures with. 0: made.
    Init {
        /// As it will stand in checkpoints, such as `witness.example`.
        #[arg(long)]
        name: String,
        /// Where the key goes.
        #[arg(long)]
        out: PathBuf,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// From now on the witness cosigns this log. 0: done.
    Trust {
        /// The witness's memory: a folder of his own.
        #[arg(long)]
        state: PathBuf,
        /// The first line of the log's checkpoints.
        #[arg(long)]
        origin: String,
        /// `checkpoint.key.pub` of the place that writes the log.
        #[arg(long)]
        log_key: PathBuf,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Cosigns a request's checkpoint where it goes on from the last one cosigned, and prints the line.
    /// 0: cosigned.
    Cosign {
        /// The witness's name, as its key was made for.
        #[arg(long)]
        name: String,
        /// What `witness init` wrote.
        #[arg(long)]
        key: PathBuf,
        /// The witness's memory, as `witness trust` began it.
        #[arg(long)]
        state: PathBuf,
        /// What `witness ask` printed.
        request: PathBuf,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Prints what a witness is asked: the published checkpoint, and the proof that it goes on. 0: printed.
    Ask {
        /// One log's folder, such as `ledger/customers/shard-0`.
        log: PathBuf,
        /// The size that the witness cosigned last; he says it where it is another.
        #[arg(long, default_value_t = 0)]
        since: u64,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Puts a witness's lines beside the log, into `tlog/cosigned`. 0: done.
    Attach {
        /// The log's folder, as for `ask`.
        log: PathBuf,
        /// What was asked.
        #[arg(long)]
        request: PathBuf,
        /// What was answered.
        #[arg(long)]
        cosignature: PathBuf,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

pub fn run(args: &Args) -> Result<ExitCode, RunFault> {
    match &args.verb {
        Verb::Init { name, out, format } => init(name, out, *format)?,
        Verb::Trust { state, origin, log_key, format } => {
            let key = public_key(log_key)?;
            // Only what it remembers matters: it signs nothing here.
            let nobody = SigningKey::generate().map_err(|fault| of_file(state, &fault))?;
            let witness = Witness::new("nobody", nobody, state).map_err(refused)?;
            witness.trust(&verifier_key(origin, &key)).map_err(refused)?;
            let text = format!("{origin} is witnessed from size 0 on");
            verb::tell(*format, &text, json!({ "origin": origin, "size": 0 }));
        }
        Verb::Cosign { name, key, state, request, format } => {
            let witness = Witness::new(name, private_key(key)?, state).map_err(refused)?;
            match witness.cosign(&read(request)?, now()) {
                Ok(line) => verb::tell(*format, &line, cosigned(Some(&line), None)),
                Err(fault @ Refused::State { .. }) => return Err(refused(fault)),
                Err(fault) => {
                    verb::say(
                        &mut std::io::stderr(),
                        &format!("not cosigned: {}: {fault}", fault.code()),
                    );
                    if *format == Format::Json {
                        verb::print_json(&cosigned(None, Some(&fault)));
                    }
                    return Ok(verb::answer(false));
                }
            }
        }
        Verb::Ask { log, since, format } => {
            let request = witness::request(log, *since).map_err(|fault| asked(&fault))?;
            let request = String::from_utf8_lossy(&request);
            verb::tell(*format, &request, json!({ "request": request }));
        }
        Verb::Attach { log, request, cosignature, format } => {
            let (request, lines) = (read(request)?, read_text(cosignature)?);
            let path = witness::attach(log, &request, &lines).map_err(|fault| asked(&fault))?;
            verb::tell(
                *format,
                &format!("{} is there", path.display()),
                json!({ "file": names::of_path(&path) }),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn init(name: &str, out: &Path, format: Format) -> Result<(), RunFault> {
    let _ = init_approver(name, out)?;
    let key = witness::witness_key(name, &private_key(out)?);
    verb::tell(format, &key, json!({ "name": name, "key": key }));
    Ok(())
}

/// What became of a request: a line, or the word for why there is none.
fn cosigned(line: Option<&str>, refused: Option<&Refused>) -> Value {
    let (code, message) = (refused.map(Refused::code), refused.map(ToString::to_string));
    json!({ "cosigned": line.is_some(), "line": line, "code": code, "message": message })
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read(path: &Path) -> Result<Vec<u8>, RunFault> {
    std::fs::read(path).map_err(|error| verb::file_fault(path, &error))
}

fn read_text(path: &Path) -> Result<String, RunFault> {
    let text = String::from_utf8(read(path)?);
    text.map_err(|_| RunFault::File(format!("{}: is not UTF-8", path.display())))
}

fn of_file(path: &Path, fault: &impl std::fmt::Display) -> RunFault {
    RunFault::File(format!("{}: {fault}", path.display()))
}

fn refused(fault: Refused) -> RunFault {
    RunFault::File(fault.to_string())
}

fn asked(fault: &witness::AskFault) -> RunFault {
    RunFault::File(fault.to_string())
}
