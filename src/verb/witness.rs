//! `witness init | trust | cosign`, for somebody outside who witnesses a ledger; `witness ask | attach`,
//! for whose ledger it is. What goes between them is files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use douane_ledger::log::verifier_key;
use douane_ledger::signing::{SigningKey, VerifyingKey};
use douane_ledger::witness::{self, Refused, Witness};
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::init_approver;
use zeroize::Zeroizing;

use crate::verb;

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
    },
    /// Cosigns a request's checkpoint where it goes on from the last one cosigned, and prints the line.
    /// 0: cosigned.
    Cosign {
        #[arg(long)]
        name: String,
        /// What `witness init` wrote.
        #[arg(long)]
        key: PathBuf,
        #[arg(long)]
        state: PathBuf,
        /// What `witness ask` printed.
        request: PathBuf,
    },
    /// Prints what a witness is asked: the published checkpoint, and the proof that it goes on. 0: printed.
    Ask {
        /// One log's folder, such as `ledger/customers/shard-0`.
        log: PathBuf,
        /// The size that the witness cosigned last; he says it where it is another.
        #[arg(long, default_value_t = 0)]
        since: u64,
    },
    /// Puts a witness's lines beside the log, into `tlog/cosigned`. 0: done.
    Attach {
        log: PathBuf,
        /// What was asked.
        #[arg(long)]
        request: PathBuf,
        /// What was answered.
        #[arg(long)]
        cosignature: PathBuf,
    },
}

pub fn run(args: &Args) -> Result<ExitCode, RunFault> {
    match &args.verb {
        Verb::Init { name, out } => init(name, out)?,
        Verb::Trust { state, origin, log_key } => {
            let text = read_text(log_key)?;
            let key = VerifyingKey::parse(&text).map_err(|fault| of_file(log_key, &fault))?;
            // Only what it remembers matters: it signs nothing here.
            let nobody = SigningKey::generate().map_err(|fault| of_file(state, &fault))?;
            let witness = Witness::new("nobody", nobody, state).map_err(refused)?;
            witness.trust(&verifier_key(origin, &key)).map_err(refused)?;
            verb::print(&format!("{origin} is witnessed from size 0 on"));
        }
        Verb::Cosign { name, key, state, request } => {
            let witness = Witness::new(name, signing_key(key)?, state).map_err(refused)?;
            match witness.cosign(&read(request)?, now()) {
                Ok(line) => verb::print(&line),
                Err(fault @ Refused::State { .. }) => return Err(refused(fault)),
                Err(fault) => {
                    verb::say(
                        &mut std::io::stderr(),
                        &format!("not cosigned: {}: {fault}", fault.code()),
                    );
                    return Ok(verb::answer(false));
                }
            }
        }
        Verb::Ask { log, since } => {
            let request = witness::request(log, *since).map_err(|fault| asked(&fault))?;
            verb::print(&String::from_utf8_lossy(&request));
        }
        Verb::Attach { log, request, cosignature } => {
            let (request, lines) = (read(request)?, read_text(cosignature)?);
            let path = witness::attach(log, &request, &lines).map_err(|fault| asked(&fault))?;
            verb::print(&format!("{} is there", path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn init(name: &str, out: &Path) -> Result<(), RunFault> {
    let _ = init_approver(name, out)?;
    verb::print(&witness::witness_key(name, &signing_key(out)?));
    Ok(())
}

fn signing_key(path: &Path) -> Result<SigningKey, RunFault> {
    let bytes = Zeroizing::new(read(path)?);
    SigningKey::from_bytes(&bytes).map_err(|fault| of_file(path, &fault))
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
