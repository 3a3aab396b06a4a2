//! Arithmetic of aggregates, in integers: the same bytes on a GPU and on the processor.
//!
//! Each kernel is a WGSL shader and its twin in Rust; the twin says what is right. Kernels know no
//! columns: slices go in, vectors come out. No key is kept, no clock is read, nothing is logged.

pub mod alias_table;
pub mod chacha20;
pub mod clip;
mod device;
pub mod encode;
pub mod filter;
pub mod histogram;
pub mod noise;
mod rows;
pub mod segmented_sum;
pub mod selftest;

pub use device::{Adapter, Cause, Choice, Clock, Device, NoGpu, On, Ran};
pub use rows::{DIMENSIONS_MAX, EDGES_MAX, ROWS_MAX, RowsFault, SUMS_MAX};

#[cfg(test)]
mod tests;
