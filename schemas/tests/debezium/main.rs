//! The decoder against what Debezium really wrote, against invented evolutions of a table, and
//! against everything that is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod capture;
mod captures;
mod customers;
mod evolution;
mod mutations;
mod options;
mod refusals;
