//! Not one byte differs between a Vulkan device and the twins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::words;
use crate::alias_table::{AliasTable, Variance};
use crate::device::{Cause, Gpu, Shader};
use crate::{
    Choice, Device, On, Ran, chacha20, clip, encode, filter, histogram, noise, segmented_sum,
};

pub(super) fn gpu() -> Device {
    let device = Device::open(Choice::Gpu);
    device.unwrap_or_else(|error| panic!("{error}"))
}

/// The same call on both; where it ran is part of the comparison.
fn same<T: PartialEq>(what: &str, gpu: &Device, call: impl Fn(&Device) -> Ran<T>) {
    let there = call(gpu);
    assert_eq!(there.on, On::Gpu, "{what}");
    let here = call(&Device::cpu());
    assert_eq!(here.on, On::Cpu);
    assert!(there.value == here.value, "{what} differs");
}

fn table(numerator: u128, denominator: u128) -> AliasTable {
    AliasTable::new(Variance::new(numerator, denominator).unwrap()).unwrap()
}

fn numbers(seed: u32, count: usize) -> Vec<i64> {
    crate::device::joined(&words(seed, 2 * count))
}

const KEY: [u8; 32] = *b"fixed, so that no test is flaky.";

/// Around a lane, a workgroup and its rows, and primes.
const SIZES: [usize; 17] =
    [0, 1, 2, 3, 7, 8, 9, 255, 256, 257, 1_021, 2_047, 2_048, 2_049, 4_099, 65_537, 100_003];

#[test]
fn blocks_are_those_of_rfc_8439_there_too() {
    let gpu = gpu();
    for (key, counter, nonce, expected) in chacha20::tests::vectors() {
        let ran = chacha20::run(&gpu, &key, counter, nonce, 1).unwrap();
        assert_eq!(ran.on, On::Gpu);
        let found: Vec<u8> = ran.value.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(found, expected);
    }
    for count in SIZES {
        same("blocks", &gpu, |on| chacha20::run(on, &KEY, u32::MAX - 5, [1, 2, 3], count).unwrap());
    }
    assert!(chacha20::run(&gpu, &KEY, 0, [0; 3], chacha20::BLOCKS_MAX + 1).is_err());
}

/// A clock that is a second on whenever somebody looks at it.
fn clock() -> Duration {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    Duration::from_secs(LOOKS.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn jobs_are_timed_and_what_the_twin_does_is_not() {
    let second = Duration::from_secs(1);
    let draw = |on: &Device| noise::run(on, &KEY, &table(100, 1), 1, 0, 1_000).unwrap().on;
    let timed = gpu().timed(clock);
    assert_eq!((draw(&timed), timed.busy()), (On::Gpu, second));
    assert_eq!(timed.busy(), Duration::ZERO, "it was said");
    timed.provoke(Cause::Timeout);
    assert_eq!(draw(&timed), On::CpuInstead(Cause::Timeout));
    assert_eq!(timed.busy(), second, "what failed was there too");
    // Opened anew it is timed all the same.
    assert_eq!((draw(&timed), timed.busy()), (On::Gpu, second));
    for none in [gpu(), Device::cpu().timed(clock)] {
        draw(&none);
        assert_eq!(none.busy(), Duration::ZERO, "control: {none:?}");
    }
}

#[test]
fn ten_million_samples_are_the_same() {
    let gpu = gpu();
    let narrow = table(100, 1);
    same("noise", &gpu, |on| noise::run(on, &KEY, &narrow, 1, 3, 10_000_001).unwrap());
    for wide in [table(1, 64), table(1 << 20, 1), table(1 << 26, 1)] {
        same("noise", &gpu, |on| noise::run(on, &KEY, &wide, 2, 0, 200_003).unwrap());
    }
    for count in SIZES {
        same("noise", &gpu, |on| noise::run(on, &KEY, &narrow, 3, 1, count).unwrap());
    }
    let last = noise::ORDINALS_MAX - 1_001;
    same("noise", &gpu, |on| noise::run(on, &KEY, &narrow, u32::MAX, last, 1_001).unwrap());
    // More than one job: what a job leaves over must not show.
    let first = (1 << 33) + 2;
    same("noise", &gpu, |on| noise::run(on, &KEY, &narrow, 4, first, 17_000_003).unwrap());
}

#[test]
fn sums_of_millions_of_rows_are_the_same() {
    let gpu = gpu();
    let rows = 2_100_003;
    let values = numbers(1, rows);
    for groups in [1_usize, 3, 1_000, 1 << 20] {
        // A few segments beyond the last, which nothing sums.
        let any = |word: u32| word % (groups as u32 + groups as u32 / 8 + 1);
        let mut segments: Vec<u32> = words(2, rows).into_iter().map(any).collect();
        let sum = |on: &Device, segments: &[u32]| {
            segmented_sum::run(on, segments, &values, groups).unwrap()
        };
        same("unsorted sums", &gpu, |on| sum(on, &segments));
        segments.sort_unstable();
        same("sorted sums", &gpu, |on| sum(on, &segments));
    }
    for count in SIZES {
        let (segments, values) = (vec![0; count], &values[..count]);
        same("sums", &gpu, |on| segmented_sum::run(on, &segments, values, 1).unwrap());
        same("sums", &gpu, |on| segmented_sum::run(on, &segments, values, 5).unwrap());
        same("sums", &gpu, |on| segmented_sum::run(on, &segments, values, 0).unwrap());
    }
    // More than a step.
    let (long, words) = (numbers(2, 8_400_003), words(3, 8_400_003));
    let segments: Vec<u32> = words.into_iter().map(|word| word % 1_001).collect();
    same("sums", &gpu, |on| segmented_sum::run(on, &segments, &long, 1_000).unwrap());
    let extreme = vec![i64::MIN; 4_097];
    same("sums", &gpu, |on| segmented_sum::run(on, &[0; 4_097], &extreme, 1).unwrap());
}

#[test]
fn histograms_of_a_million_rows_are_the_same() {
    let gpu = gpu();
    let values = numbers(3, 1_000_003);
    let segments: Vec<u32> = words(4, values.len()).iter().map(|word| word % 70).collect();
    let mut edges = numbers(5, 1_000);
    edges.sort_unstable();
    for edges in [&edges[..], &edges[..1], &[], &[i64::MIN, -1, 0, 1, i64::MAX]] {
        let run = |on: &Device| histogram::run(on, &segments, &values, edges, 64).unwrap();
        same("histogram", &gpu, run);
    }
    for count in SIZES {
        let (segments, values) = (&segments[..count], &values[..count]);
        same("histogram", &gpu, |on| histogram::run(on, segments, values, &edges, 3).unwrap());
    }
    let many = words(6, 1_000_003).into_iter().map(|word| word % (1 << 20)).collect::<Vec<_>>();
    same("histogram", &gpu, |on| histogram::run(on, &many, &values, &[0], 1 << 20).unwrap());
}

#[test]
fn encoded_and_filtered_rows_are_the_same() {
    let gpu = gpu();
    let values = numbers(7, 1_000_003);
    let mut grids = vec![encode::Grid::new(1, i64::MIN, i64::MAX).unwrap()];
    for (divisor, bound) in [(3, 1 << 40), (10, i64::MAX), ((1 << 31) - 1, 1 << 20)] {
        grids.push(encode::Grid::new(divisor, -bound, bound / 2).unwrap());
    }
    for grid in grids {
        same("integers", &gpu, |on| encode::integers(on, grid, &values).unwrap());
        let edges = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX];
        same("integers", &gpu, |on| encode::integers(on, grid, &edges).unwrap());
    }
    // Every exponent, not-a-numbers and infinities among them.
    let floats: Vec<f32> = words(8, 1_000_003).into_iter().map(f32::from_bits).collect();
    for (shift, bound) in [(0, i32::MAX), (16, 1 << 20), (-149, 1), (149, i32::MAX), (30, 0)] {
        let grid = encode::BinaryGrid::new(shift, bound).unwrap();
        same("floats", &gpu, |on| encode::floats(on, grid, &floats).unwrap());
    }
    let ranks: Vec<u32> = words(9, 2_000_006).into_iter().map(|word| word % 5).collect();
    let (rows, groups) = ranks.split_at(1_000_003);
    let bounds = filter::Bounds { rows_max: 3, groups_max: 4 };
    let segments = words(10, rows.len());
    same("filter", &gpu, |on| filter::run(on, bounds, &segments, rows, groups).unwrap());
    let grid = encode::Grid::new(10, -50, 50).unwrap();
    let half = encode::BinaryGrid::new(4, 1 << 10).unwrap();
    for count in SIZES {
        same("integers", &gpu, |on| encode::integers(on, grid, &values[..count]).unwrap());
        same("floats", &gpu, |on| encode::floats(on, half, &floats[..count]).unwrap());
        let (rows, groups) = (&rows[..count], &groups[..count]);
        let segments = &segments[..count];
        same("filter", &gpu, |on| filter::run(on, bounds, segments, rows, groups).unwrap());
    }
}

#[test]
fn clipped_vectors_sum_to_the_same() {
    let gpu = gpu();
    let all: Vec<i32> = words(11, 2_100_000).into_iter().map(|word| word as i32).collect();
    let compare = |rows: usize, dimensions: usize, shorter_by: u32, norm_max: u32| {
        let cut = |value: &i32| value >> shorter_by;
        let vectors: Vec<i32> = all[..rows * dimensions].iter().map(cut).collect();
        let what = format!("clip {rows} {dimensions} {shorter_by} {norm_max}");
        same(&what, &gpu, |on| clip::run(on, &vectors, dimensions, norm_max).unwrap());
    };
    // Odd ones, with every kind of bound; then as long as they come, and more than a step.
    for shorter_by in [0, 12, 24] {
        for norm_max in [0, 1, 1_000, 1 << 22, u32::MAX] {
            compare(1_001, 257, shorter_by, norm_max);
            compare(1_537, 3, shorter_by, norm_max);
        }
    }
    compare(2, 1 << 20, 0, 1 << 22);
    compare(1_001, 2_000, 12, 1 << 22);
    compare(33_001, 1, 0, 1_000);
    let extreme = vec![i32::MIN; 1 << 20];
    same("clip", &gpu, |on| clip::run(on, &extreme, 1 << 20, u32::MAX).unwrap());
    same("clip", &gpu, |on| clip::run(on, &[], 5, 1).unwrap());
}

/// A shader with one place changed; the place is there once.
fn changed(shader: &Shader, name: &'static str, from: &str, to: &str) -> Shader {
    let source = shader.source();
    assert_eq!(source.matches(from).count(), 1, "{from}");
    let source: &'static str = Box::leak(source.replace(from, to).into_boxed_str());
    Shader { name, sources: Box::leak(Box::new([source])), ..*shader }
}

/// The result of a changed shader, and of the twin.
fn apart<T: PartialEq>(
    on: &Device,
    call: impl FnOnce(&Gpu) -> Result<T, Cause>,
    twin: impl Fn() -> T,
) -> bool {
    let ran = on.batch(call, &twin);
    assert_eq!(ran.on, On::Gpu);
    ran.value != twin()
}

#[test]
fn control_one_wrong_bit_in_a_kernel_is_caught() {
    let gpu = gpu();
    let key = chacha20::key_words(&KEY);
    let wrong = changed(&chacha20::SHADER, "wrong_chacha20", "0x61707865u", "0x61707864u");
    let twin = || chacha20::twin(&key, 0, [0; 3], 9);
    assert!(apart(&gpu, |gpu| chacha20::on(gpu, &wrong, &key, 0, [0; 3], 9), twin));

    let (values, segments) = (numbers(1, 4_099), words(2, 4_099));
    let segments: Vec<u32> = segments.into_iter().map(|word| word % 5).collect();
    let carry = "let low = a.x + b.x;\n    return vec2<u32>(low, a.y + b.y + select(0u, 1u,";
    let without = &carry.replace("select(0u, 1u,", "select(0u, 0u,");
    let wrong = changed(&segmented_sum::SHADER, "wrong_sum", carry, without);
    let twin = || segmented_sum::twin(&segments, &values, 5);
    let call = |gpu: &Gpu| segmented_sum::on(gpu, &wrong, &segments, &values, 5);
    assert!(apart(&gpu, call, twin));
    let last = changed(&segmented_sum::SHADER, "wrong_tree", "step < LANES", "step < LANES / 2u");
    let call = |gpu: &Gpu| segmented_sum::on(gpu, &last, &segments, &values, 5);
    assert!(apart(&gpu, call, twin));

    let grid = encode::Grid::new(7, -1_000, 1_000).unwrap();
    let small: Vec<i64> = values.iter().map(|value| value >> 50).collect();
    let wrong = changed(&encode::SHADER, "wrong_encode", "(31u - bit)) & 1u", "(31u - bit)) & 0u");
    let twin = || encode::integers(&Device::cpu(), grid, &small).unwrap().value;
    assert!(apart(&gpu, |gpu| encode::integers_on(gpu, &wrong, grid, &small), twin));

    let bounds = filter::Bounds { rows_max: 2, groups_max: 2 };
    let rows = [&segments[..], &segments[..], &segments[..]];
    let wrong = changed(&filter::SHADER, "wrong_filter", "] < params.rows", "] <= params.rows");
    let twin = || filter::run(&Device::cpu(), bounds, rows[0], rows[1], rows[2]).unwrap().value;
    assert!(
        !apart(&gpu, |gpu| filter::on(gpu, &wrong, bounds, rows), twin),
        "the other bound holds"
    );
    let free = filter::Bounds { groups_max: 9, ..bounds };
    let twin = || filter::run(&Device::cpu(), free, rows[0], rows[1], rows[2]).unwrap().value;
    assert!(apart(&gpu, |gpu| filter::on(gpu, &wrong, free, rows), twin));

    let wrong = changed(&histogram::SHADER, "wrong_bin", "low = middle + 1u", "low = middle | 1u");
    let edges = [-1_i64 << 62, 0, 1 << 61, 1 << 62];
    let twin = || histogram::run(&Device::cpu(), &segments, &values, &edges, 5).unwrap().value;
    let call = |gpu: &Gpu| histogram::on(gpu, &wrong, &segments, &values, &edges, 5);
    let call = |gpu: &Gpu| call(gpu).map(|counts| counts.into_iter().map(i64::from).collect());
    assert!(apart(&gpu, call, twin));

    let vectors: Vec<i32> = words(3, 3_000).into_iter().map(|word| word as i32 >> 8).collect();
    let wrong = changed(&clip::SHADER, "wrong_root", "step < 48u", "step < 47u");
    let twin = || clip::run(&Device::cpu(), &vectors, 30, 1 << 20).unwrap().value;
    assert!(apart(&gpu, |gpu| clip::on(gpu, &wrong, &vectors, 30, 1 << 20), twin));
}

#[test]
fn control_a_wrong_sample_among_millions_is_caught() {
    let gpu = gpu();
    let table = table(100, 1);
    let key = chacha20::key_words(&KEY);
    let drawn = noise::Drawn { key: &key, table: &table, statistic: 0, first: 0, count: 1_000_003 };
    // One bit in about one of 10^4 samples, wherever they are.
    let rare = "select(entry.w, slot ^ select(0u, 1u, choice < 429496u), below)";
    let wrong = changed(&noise::SHADER, "wrong_rarely", "select(entry.w, slot, below)", rare);
    let unchecked = gpu.batch(|gpu| drawn.rounds_on(gpu, &wrong, 1), || drawn.twin());
    let pairs = unchecked.value.iter().zip(drawn.twin());
    let differing = pairs.filter(|(there, here)| *there != here).count();
    assert!(unchecked.on == On::Gpu && (10..100).contains(&differing), "{differing}");
    let ran = gpu.batch(|gpu| drawn.on(gpu, &wrong), || drawn.twin());
    assert_eq!(ran.on, On::CpuInstead(Cause::Differs));
    assert!(ran.value == drawn.twin());
    // One bit in every sample.
    let wrong =
        changed(&noise::SHADER, "wrong_reach", "- i32(params.reach)", "- i32(params.reach ^ 1u)");
    let ran = gpu.batch(|gpu| drawn.on(gpu, &wrong), || drawn.twin());
    assert_eq!(ran.on, On::CpuInstead(Cause::Differs));
    assert!(ran.value == drawn.twin());
}
