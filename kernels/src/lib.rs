//! Arithmetic of aggregates, in integers: the same bytes on a GPU and on the processor.
//!
//! Each kernel is a WGSL shader and its twin in Rust; the twin says what is right. Kernels know no
//! columns: slices go in, vectors come out. No key is kept, no clock is read, nothing is logged.

pub mod alias_table;
pub mod chacha20;
pub mod noise;
