//! `keys init`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::config;
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::{KeyHome, init_approver};

use serde_json::json;

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Keys,
}

#[derive(clap::Subcommand)]
enum Keys {
    /// Makes the keys of this place (root, manifest, checkpoint), or a person's signing key.
    /// Never overwrites. 0: made.
    Init {
        /// A person who approves releases, instead of this place.
        #[arg(long, requires = "out")]
        approver: Option<String>,
        /// Where the person's key goes; its public half goes beside it, with `.pub`.
        #[arg(long)]
        out: Option<PathBuf>,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let Keys::Init { approver, out, format } = &args.verb;
    let fault = |f: douane_pipelines::key_home::KeyFault| RunFault::Keys(f.to_string());
    match (approver, out) {
        (Some(name), Some(out)) => {
            let public = init_approver(name, out).map_err(fault)?;
            if *format == Format::Json {
                verb::print_json(&json!({"approver": name, "key": out, "public": public}));
                return Ok(ExitCode::SUCCESS);
            }
            verb::print(&format!("{name}: {}", out.display()));
            verb::print(&format!("public half: {}", public.display()));
        }
        _ => {
            let place = config::load_place(place).map_err(RunFault::Findings)?;
            let home = KeyHome::init(&place.keys_dir).map_err(fault)?;
            if *format == Format::Json {
                let id = home.root().id().to_string();
                verb::print_json(&json!({"keys_dir": place.keys_dir, "root_key_id": id}));
                return Ok(ExitCode::SUCCESS);
            }
            verb::print(&format!("keys of this place: {}", place.keys_dir.display()));
            verb::print(&format!("root key id {}", home.root().id()));
            verb::print("back them up: tokens cannot be made again without the root key");
        }
    }
    Ok(ExitCode::SUCCESS)
}
