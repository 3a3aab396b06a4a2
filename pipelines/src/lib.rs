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

pub mod aggregate;
pub mod alone;
pub mod artifact;
mod aside;
pub mod audit;
pub mod backup;
pub mod bundle;
pub mod calls;
/// When certificates and tokens of a place end.
pub mod certificates {
    pub use douane_connectors::kafka::expiry::{expiries, soon, validity};
}
mod carried;
pub mod cases;
pub mod classify;
pub mod clock;
pub mod config;
mod control;
pub mod coverage;
mod crossing;
pub mod detokenize;
pub mod diff;
pub mod doctor;
pub mod dry_run;
mod edges;
mod enrich;
mod evidence;
pub mod explain;
pub mod fault;
pub mod feed;
pub mod group;
pub mod hidden_names;
pub mod hold;
mod identity;
pub mod import;
mod journals;
pub mod key_home;
pub mod keys;
pub mod known;
pub mod leaktest;
pub mod lineage;
mod merge;
pub mod meters;
mod min_group;
pub mod names;
pub mod once;
pub mod plan;
mod policy;
mod position;
pub mod proof;
pub mod quarantine;
mod quota;
pub mod record_key;
pub mod release;
pub mod repeats;
pub mod replay;
pub mod report;
pub mod revocation;
pub mod run;
pub mod sample;
mod schedule;
pub mod scorecard;
pub mod selftest;
mod shard;
pub mod shred;
pub mod signer;
mod software;
mod stamp;
pub mod status;
mod stop;
mod swap;
mod topics;
pub mod traces;
mod trial;
mod turn;
mod vigil;
pub mod waiting;
