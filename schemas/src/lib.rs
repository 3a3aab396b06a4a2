//! What data means: batches, spans, leaves, Debezium envelopes to Arrow, canonical text, keys.
//!
//! This crate does no I/O, reads no clock and draws no randomness. No error in it holds a cell
//! value.

pub mod batch;
pub mod canonical;
pub mod keys;
pub mod leaf;
pub mod names;
pub mod record;
pub mod tuple;
