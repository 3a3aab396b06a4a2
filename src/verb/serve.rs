//! `serve [DIR]`, `serve token NAME`, `serve tokens`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use douane_pipelines::config::{self, Role};
use douane_pipelines::fault::RunFault;
use douane_serve::tokens;
use jiff::Timestamp;
use serde_json::json;

use crate::{Format, verb};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// The folder of pipelines; `serve.pipelines` of douane.yaml unless said.
    folder: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Serve>,
}

impl Args {
    /// Whether it is the service itself.
    pub fn listens(&self) -> bool {
        self.command.is_none()
    }
}

#[derive(Subcommand)]
enum Serve {
    /// Makes a token for a caller, in the place of an older one of that name, and prints it: it
    /// stands nowhere else. 0: made.
    Token {
        /// Who it is for.
        name: String,
        /// What its holder may do; several by saying it again.
        #[arg(long = "role", required_unless_present = "revoke", value_enum)]
        roles: Vec<RoleName>,
        /// How long it serves.
        #[arg(long, default_value_t = tokens::LIFE_DAYS_DEFAULT)]
        days: u32,
        /// Takes the token of that name back instead: from the next call on it is nobody's.
        #[arg(long, conflicts_with_all = ["roles", "days"])]
        revoke: bool,
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Lists who has a token, for what and until when. 0: listed.
    Tokens {
        /// What is printed: words for people, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

/// A role on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    Author,
    Approver,
    Operator,
    Auditor,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Author => Self::Author,
            RoleName::Approver => Self::Approver,
            RoleName::Operator => Self::Operator,
            RoleName::Auditor => Self::Auditor,
        }
    }
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    match &args.command {
        None => {
            let stop = verb::asked_to_stop()?;
            douane_serve::run(place, args.folder.as_deref(), &stop)?;
        }
        Some(Serve::Token { name, revoke: true, format, .. }) => {
            let loaded = config::load_place(place).map_err(RunFault::Findings)?;
            let fault = |fault: tokens::TokensFault| RunFault::File(fault.to_string());
            tokens::revoke(&loaded.serve.tokens, name).map_err(fault)?;
            let document = json!({ "name": name, "token": null });
            verb::tell(*format, &format!("{name} has no token any more"), document);
        }
        Some(Serve::Tokens { format }) => {
            let loaded = config::load_place(place).map_err(RunFault::Findings)?;
            let fault = |fault: tokens::TokensFault| RunFault::File(fault.to_string());
            let (mut lines, mut documents) = (Vec::new(), Vec::new());
            for (holder, expires) in tokens::list(&loaded.serve.tokens).map_err(fault)? {
                let name = &holder.name;
                let roles: Vec<&str> = holder.roles.iter().map(|role| role.name()).collect();
                let over = expires <= Timestamp::now();
                let said = if over { ", over" } else { "" };
                lines.push(format!("{name}: {}, until {expires}{said}", roles.join(" ")));
                documents.push(json!({
                    "name": name, "roles": roles, "expires": expires.to_string(), "over": over,
                }));
            }
            match format {
                Format::Text => lines.iter().for_each(|line| verb::print(line)),
                Format::Json => verb::print_json(&documents),
            }
        }
        Some(Serve::Token { name, roles, days, format, .. }) => {
            let loaded = config::load_place(place).map_err(RunFault::Findings)?;
            let mut roles: Vec<Role> = roles.iter().map(|role| Role::from(*role)).collect();
            roles.sort_unstable();
            roles.dedup();
            let path = &loaded.serve.tokens;
            let token = tokens::make(path, name, &roles, *days, Timestamp::now())
                .map_err(|fault| RunFault::File(fault.to_string()))?;
            verb::tell(*format, &token, json!({ "name": name, "token": token }));
        }
    }
    Ok(ExitCode::SUCCESS)
}
