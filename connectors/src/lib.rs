//! The edges: all I/O on data.
