//! A device that fails in the middle: the twin takes the batch, the bytes stay, the caller is told.

use super::on_gpu::gpu;
use super::words;
use crate::alias_table::{AliasTable, Variance};
use crate::{Cause, Device, On, noise, segmented_sum};

const CAUSES: [Cause; 5] =
    [Cause::DeviceLost, Cause::OutOfMemory, Cause::Validation, Cause::Timeout, Cause::Differs];

#[test]
fn a_batch_that_a_gpu_fails_is_the_twins_and_the_next_is_the_gpus() {
    let gpu = gpu();
    let table = AliasTable::new(Variance::new(100, 1).unwrap()).unwrap();
    let draw = |on: &Device| noise::run(on, &[9; 32], &table, 0, 0, 1_000_003).unwrap();
    let expected = draw(&Device::cpu()).value;
    for cause in CAUSES {
        for round in 0..3 {
            gpu.provoke(cause);
            let failed = draw(&gpu);
            assert_eq!(failed.on, On::CpuInstead(cause), "round {round}");
            assert!(failed.value == expected, "{cause}");
            let next = draw(&gpu);
            assert_eq!(next.on, On::Gpu, "after {cause}");
            assert!(next.value == expected, "after {cause}");
        }
    }
}

/// Not at places that could be known beforehand, and at the end as well.
#[test]
fn one_wrong_bit_anywhere_is_found() {
    let gpu = gpu();
    let table = AliasTable::new(Variance::new(100, 1).unwrap()).unwrap();
    // The bit is turned in the third part of a job's output: another place for each count.
    for count in [1, 3, 1_000, 4_097, 30_011, 1_000_003] {
        let draw = |on: &Device| noise::run(on, &[9; 32], &table, 0, 2, count).unwrap();
        let expected = draw(&Device::cpu()).value;
        gpu.provoke(Cause::Differs);
        let wrong = draw(&gpu);
        // Of one sample the bit is in a word of the block that nobody asked for.
        let asked_for = count > 1;
        assert_eq!(wrong.on == On::CpuInstead(Cause::Differs), asked_for, "{count}");
        assert!(wrong.value == expected, "{count}");
        assert_eq!(draw(&gpu).on, On::Gpu);
    }
}

#[test]
fn a_device_that_is_lost_again_and_again_is_not_tried_for_ever() {
    let gpu = gpu();
    let segments: Vec<u32> = words(1, 10_000).into_iter().map(|word| word % 16).collect();
    let values = vec![3; segments.len()];
    let sum = |on: &Device| segmented_sum::run(on, &segments, &values, 16).unwrap();
    let expected = sum(&Device::cpu()).value;
    let mut tried = 0;
    for _ in 0..8 {
        gpu.provoke(Cause::DeviceLost);
        let ran = sum(&gpu);
        assert_eq!(ran.on, On::CpuInstead(Cause::DeviceLost));
        assert!(ran.value == expected);
        tried += 1;
    }
    // Gone for good: without any provocation too.
    assert_eq!(sum(&gpu).on, On::CpuInstead(Cause::DeviceLost));
    assert_eq!(tried, 8);
}

#[test]
fn one_failed_step_of_several_fails_the_batch() {
    let gpu = gpu();
    // Three steps of rows.
    let rows = 9_000_001;
    let (segments, values) = (vec![0; rows], vec![-1; rows]);
    for cause in [Cause::Validation, Cause::DeviceLost] {
        gpu.provoke(cause);
        let ran = segmented_sum::run(&gpu, &segments, &values, 1).unwrap();
        assert_eq!(ran.on, On::CpuInstead(cause));
        assert_eq!(ran.value, [-9_000_001]);
    }
    let ran = segmented_sum::run(&gpu, &segments, &values, 1).unwrap();
    assert_eq!((ran.on, ran.value), (On::Gpu, vec![-9_000_001]));
}
