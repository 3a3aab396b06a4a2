//! Protection: batch in, batch out.
//!
//! Six verbs turn a classed leaf into a column that may cross: [`tokenize`], [`fpe`], [`mask`],
//! [`redact`], [`generalize`] and [`drop`]. Each is one file: declaration, config, build, apply,
//! tests. [`sql`] selects among what they let cross. [`stage::ALL`] is the list of all.
//!
//! Nothing here does I/O, reads a clock or draws randomness; nothing here knows where keys live.
//! No error holds a cell value.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failing test may panic"
    )
)]
#![warn(missing_docs)]

pub mod alphabet;
#[cfg(test)]
mod bad_input;
pub mod check_digit;
pub mod cmac;
pub mod column;
#[cfg(test)]
mod conformance;
pub mod detectors;
pub mod domains;
pub mod dp;
pub mod drop;
pub mod fault;
pub mod ff1;
pub mod forms;
pub mod fpe;
pub mod function;
pub mod generalize;
#[cfg(test)]
mod guarantees;
pub mod hmac;
pub mod keep;
pub mod keyring;
pub mod mask;
pub mod number;
pub mod on_bad;
pub mod redact;
pub mod reversible;
pub mod siv;
pub mod sql;
pub mod stage;
pub mod subject_tokens;
pub mod subjects;
pub mod tokenize;

pub use domains::{Algorithm, Domain, Domains, Normalize};
pub use fault::{StageFault, TransformFault};
pub use forms::Form;
pub use keyring::{Keyring, Versions};
pub use on_bad::OnBad;
pub use stage::{ALL, Declaration, Declared, Guarantees, Produces, Stage};
