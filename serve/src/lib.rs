//! Many pipelines in one process, behind the REST API of Kafka Connect.
//!
//! A pipeline's file is a connector, its shards are tasks. A call comes in by [`listener`], which
//! alone is asynchronous; [`service`] says who may make it ([`routes`], [`tokens`]), writes it into
//! the ledger and hands it to one file of `api`. [`fleet`] runs what there is. Nothing here sees a
//! record, and nothing that is answered holds a value of one.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failing test may panic"
    )
)]

mod api;
mod call;
mod certificate;
mod config;
mod connector;
mod fleet;
mod group;
mod listener;
mod loggers;
mod page;
pub mod ping;
mod refusals;
mod routes;
mod second;
mod service;
mod store;
pub mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use douane_pipelines::config as files;
use douane_pipelines::fault::RunFault;

use service::Service;

/// Serves the pipelines of a folder until `asked` is set. `folder`: in the place of
/// `serve.pipelines`.
///
/// # Errors
/// What keeps the service from starting. A pipeline that cannot run is no reason: its status says
/// why.
pub fn run(place: &Path, folder: Option<&Path>, asked: &Arc<AtomicBool>) -> Result<(), RunFault> {
    let mut loaded = files::load_place(place).map_err(RunFault::Findings)?;
    if let Some(folder) = folder {
        loaded.serve.pipelines = folder.to_owned();
    }
    let service = Arc::new(Service::open(place, loaded)?);
    listener::listen(&service, asked)
}
