//! The end-to-end tests: the `douane` binary between two real Apache Kafka clusters.
//!
//! `tests/run` runs them. Every guard has a control: the same case without it must fail.
//! The cases share two brokers and two cores, so they run one after the other (`rig::exclusive`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failing test may panic, and says what it saw"
)]

mod cluster;
mod customers;
mod delivery;
mod feed;
mod leaks;
mod manifests;
mod oracle;
mod pace;
mod place;
mod proxy;
mod rig;
mod say;

mod cases {
    pub mod aggregates;
    mod backup;
    pub mod bad_input;
    pub mod bench;
    mod broker_faults;
    pub mod bundles;
    mod captures;
    mod changes;
    pub mod connect_rest;
    pub mod coverage;
    pub mod debezium;
    mod demo;
    mod editors;
    mod enrich;
    pub mod epochs;
    mod expiry;
    mod federated;
    pub mod files;
    mod five_minutes;
    mod formats;
    mod install;
    pub mod keys;
    pub mod kill;
    mod late_end_txn;
    mod leak_scan;
    mod leaktest;
    pub mod life;
    mod link_down;
    mod memory;
    mod min_group;
    mod page;
    mod peers;
    mod policy;
    mod protections;
    mod publish;
    mod record_key;
    pub mod redrive;
    mod replay;
    mod rig_itself;
    mod secured;
    mod selected;
    mod shred;
    pub mod source_loss;
    mod sql;
    pub mod swap;
    mod tables;
    mod tools;
    mod trainer;
    pub mod verbs;
    mod verifiers;
    mod walked;
    mod witness;
    pub mod workers;
    mod zombie;
}
