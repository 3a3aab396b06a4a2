//! The gate from outside: its public face only, with a release that the ledger verified.

mod approving;
mod coarser;
mod deriving;
mod encoding;
mod enveloping;
mod fixture;
mod refusing;
mod releases;
mod summing;

pub(crate) use fixture::keys;
