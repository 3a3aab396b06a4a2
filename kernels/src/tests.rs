//! Every kernel on a Vulkan device against its twin. Where none is installed these tests fail; a build
//! without the feature `gpu` has the rest of them only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test may panic"
)]

#[cfg(feature = "gpu")]
mod faults;
#[cfg(feature = "gpu")]
mod on_gpu;
#[cfg(feature = "gpu")]
mod shaders;

use crate::{Choice, Device, NoGpu};

/// Words that no test chose.
#[cfg(feature = "gpu")]
fn words(seed: u32, count: usize) -> Vec<u32> {
    let mut words = crate::chacha20::twin(&[seed; 8], 0, [0; 3], count.div_ceil(16));
    words.truncate(count);
    words
}

#[test]
fn the_processor_is_always_there() {
    assert!(Device::open(Choice::Cpu).unwrap().adapter().is_none());
    let auto = Device::open(Choice::Auto).unwrap();
    // Software is never chosen unasked.
    assert_eq!(auto.adapter().is_some(), auto.without_gpu().is_none());
    assert!(auto.adapter().is_none_or(|adapter| !adapter.is_software));
    if cfg!(not(feature = "gpu")) {
        assert_eq!(auto.without_gpu(), Some(&NoGpu::NotBuilt));
        assert_eq!(Device::open(Choice::Gpu).err(), Some(NoGpu::NotBuilt));
    }
}
