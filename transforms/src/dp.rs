//! Differential privacy: the arithmetic of aggregates, in integers from the quantised cell to the
//! released number. Nothing here reads a clock, draws randomness or does I/O.
//!
//! | file | what |
//! |---|---|
//! | [`decimal`], [`window`] | a cell to an integer on a public grid; event time to a window |
//! | [`design`] | what is declared, what each statistic costs, how much noise that takes; refusals |
//! | [`sampler`], [`bounding`] | which rows of a person count: the same whatever the order they come in |
//! | [`sums`] | all persons' rows to sums: `f`, the vector before noise |
//! | [`release`] | `f` to noised integers, under a key that hangs on `f` |
//! | [`decode`] | noised integers to what is read |
//! | [`accountant`] | rho to (epsilon, delta), never below the exact value |
//!
//! The unit of privacy is a person, told by a keyed token. Two inputs are neighbours where one has
//! all of one person's rows and the other none of them (add/remove). What is promised, and what is
//! not, stands in docs/privacy.md.

pub mod accountant;
pub mod bounding;
pub mod decimal;
pub mod decode;
pub mod design;
pub mod release;
pub mod sampler;
pub mod sums;
pub mod window;

#[cfg(test)]
mod tests;
