//! The border guard: the last, independent check before anything leaves.
//!
//! The gate knows the signed release and nothing of the plan. It shares no code with the stages:
//! it holds the batch against the released schema, each value against its column's shape,
//! computes FPE, masks and coarser values once more from the raw ones, and searches what crosses
//! as it is for what must not. Only the gate makes [`Approved`], [`Bundled`] and [`Sealed`], the
//! only things that a sink takes.
//!
//! It does no I/O, reads no clock and draws no randomness. No fault or refusal holds a cell.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failing test may panic"
    )
)]

mod admission;
mod border;
mod bundle;
mod derived;
pub mod detectors;
mod encode;
mod envelope;
mod fault;
mod floor;
mod forms;
pub mod murmur2;
mod passed;
mod quarantine;
mod refusal;
mod seal;
mod shapes;
mod stamp;
mod statistics;
#[cfg(test)]
mod tests;
mod tokens;
mod twins;

pub use border::{Crossing, Gate, GateKeys, Target, TransactionIds};
pub use bundle::Bundled;
pub use encode::avro_schema;
pub use fault::GateFault;
pub use passed::{FirstUnlike, HEADER_MANIFEST, HEADER_TRACEPARENT, Passed, There, Unlike};
pub use quarantine::{
    Cause, ClearHeader, Quarantined, QuarantinedRecord, RefusedBy, quarantine_key, read_quarantined,
};
pub use refusal::{GateRefusal, Place, RefusalReason};
pub use seal::{
    Destination, SealContext, Sealed, bucket, open, open_spans, seal_position, sealed_by,
    sealed_len,
};
pub use stamp::{Approved, Evidence, OutRecord, REFUSED_LISTED_MAX, SealedEvidence, open_evidence};
