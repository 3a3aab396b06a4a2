//! What data means: batches, spans, leaves, Debezium envelopes to Arrow, canonical text, keys.
//!
//! This crate does no I/O, reads no clock and draws no randomness. No error in it holds a cell
//! value.

#![warn(missing_docs)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failing test may panic"
    )
)]

pub mod batch;
pub mod canonical;
pub mod debezium;
pub mod keys;
pub mod leaf;
pub mod names;
pub mod record;
pub mod secret;
pub mod tuple;
