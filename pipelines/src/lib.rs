//! Order and time: YAML, lint, plan, proof, run.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failing test may panic"
    )
)]

pub mod config;
pub mod control;
pub mod crossing;
pub mod doctor;
mod evidence;
pub mod explain;
pub mod fault;
pub mod key_home;
pub mod plan;
pub mod policy;
pub mod position;
pub mod proof;
pub mod release;
pub mod report;
pub mod run;
pub mod shard;
pub mod status;
mod stop;
mod turn;
