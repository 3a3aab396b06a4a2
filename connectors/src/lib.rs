//! The edges: all I/O on data.
//!
//! What the run loop needs of them ([`edge`]), Kafka ([`kafka`]), files ([`file`]), and the schema
//! registry ([`registry`]). Nothing here decides what may cross:
//! to the target go only [`douane_gate::Approved`] records and [`douane_gate::Sealed`] positions,
//! and only the gate makes those.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failing test may panic"
    )
)]

#[cfg(test)]
mod conformance;
pub mod control_switch;
pub mod edge;
pub mod file;
pub mod kafka;
pub mod registry;
