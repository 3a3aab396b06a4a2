//! Evidence: canonical JSON, signatures, the trust root, releases, manifests, the Merkle log of
//! what crossed, and a verifier that shares no code with the writer.
//!
//! No async and no columns: a trainer links this crate to check what it was given.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failing test may panic"
    )
)]

pub mod artifact;
pub mod budget;
pub mod bundle;
pub mod canonical;
pub mod coverage;
pub mod detokenize;
pub mod dsse;
pub mod fingerprint;
pub mod log;
pub mod manifest;
pub mod release;
pub mod shred;
pub mod signing;
pub mod statement;
pub mod trust;
pub mod verify;
pub mod witness;
