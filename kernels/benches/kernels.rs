//! What the kernels do in a second: the twins on one core, and a Vulkan device beside them.
//!
//! `cargo bench -p douane-kernels --features gpu` prints a line for each figure, with the device's
//! name. Without the feature, or without a device, the twins alone. `DOUANE_BENCH_ROUNDS` is how often
//! a kernel runs over what lies on the device, 20 by itself: more on a fast one.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot measure has nothing to say, and prints what it has"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use douane_kernels::alias_table::{AliasTable, Variance};
use douane_kernels::{Choice, Device, On, Ran, chacha20, noise, segmented_sum};

/// Of several, the shortest: others use this machine too.
const TRIES: usize = 5;
const KEY: [u8; 32] = [7; 32];
const SAMPLES: usize = 1 << 24;
/// One step of the kernel: 96 MiB.
const ROWS: usize = 1 << 23;

fn shortest<T>(mut call: impl FnMut() -> T) -> Duration {
    let time = |_| {
        let started = Instant::now();
        black_box(call());
        started.elapsed()
    };
    (0..TRIES).map(time).min().expect("several tries")
}

/// As above, of this thread's time on the processor: what a core does, whoever else is there.
fn shortest_on_the_core<T>(mut call: impl FnMut() -> T) -> Duration {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("not before the start")
    };
    let time = |_| {
        let started = now();
        black_box(call());
        now() - started
    };
    (0..TRIES).map(time).min().expect("several tries")
}

fn table(sigma: u128) -> AliasTable {
    let variance = Variance::new(sigma * sigma, 1).expect("in range");
    AliasTable::new(variance).expect("exact")
}

/// Millions a second.
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64() / 1e6
}

struct Rows {
    what: &'static str,
    segments: Vec<u32>,
    groups: usize,
}

fn rows() -> (Vec<i64>, Vec<Rows>) {
    let words = |seed: u32, count: usize| {
        let part = |at: u32| {
            let ran = chacha20::run(&Device::cpu(), &[9; 32], 0, [seed, at, 0], 1 << 19);
            ran.expect("blocks").value
        };
        (0..count.div_ceil(1 << 23) as u32).flat_map(part).take(count).collect::<Vec<u32>>()
    };
    // What a bounded value is like: small, of either sign.
    let values = words(1, ROWS).into_iter().map(|word| i64::from(word as i32 >> 12)).collect();
    let few = words(2, ROWS).into_iter().map(|word| word % 1_000).collect();
    let many: Vec<u32> = words(3, ROWS).into_iter().map(|word| word % (1 << 20)).collect();
    let mut sorted = many.clone();
    sorted.sort_unstable();
    let rows = vec![
        Rows { what: "1,000 groups, unsorted", segments: few, groups: 1_000 },
        Rows { what: "2^20 groups, unsorted", segments: many, groups: 1 << 20 },
        Rows { what: "2^20 groups, sorted", segments: sorted, groups: 1 << 20 },
    ];
    (values, rows)
}

fn tables() {
    for sigma in [10, 1024, 8192] {
        let time = shortest_on_the_core(|| table(sigma));
        println!("figure: alias table of sigma {sigma}: {:.1} ms", time.as_secs_f64() * 1e3);
    }
}

fn on_the_processor(values: &[i64], rows: &[Rows]) {
    for sigma in [10, 1024, 8192] {
        let table = table(sigma);
        let time =
            shortest_on_the_core(|| noise::twin(&KEY, &table, 0, 0, SAMPLES).expect("ordinals"));
        println!("figure: noised values, one core, sigma {sigma}: {:.1} M/s", rate(SAMPLES, time));
    }
    for Rows { what, segments, groups } in rows {
        let run = || segmented_sum::run(&Device::cpu(), segments, values, *groups);
        let rate = rate(ROWS, shortest_on_the_core(|| run().expect("rows")));
        let bytes = rate * 12.0 / 1e3;
        println!("figure: sums, one core, {what}: {rate:.1} M rows/s, {bytes:.2} GB/s");
    }
}

/// The time of one round, from two runs that differ in rounds only: what both need to get there and
/// back cancels out.
fn round<T>(rounds: usize, call: impl Fn(usize) -> Ran<T>) -> Duration {
    let time = |rounds| {
        shortest(|| {
            let ran = call(rounds);
            assert_eq!(ran.on, On::Gpu);
        })
    };
    let (one, many) = (time(1), time(1 + rounds));
    many.saturating_sub(one).max(Duration::from_nanos(1)) / rounds as u32
}

fn on_the_gpu(gpu: &Device, rounds: usize, values: &[i64], rows: &[Rows]) {
    let name = gpu.adapter().map_or("", |adapter| adapter.name.as_str());
    for sigma in [10, 1024, 8192] {
        let table = table(sigma);
        let run = |rounds| noise::repeated(gpu, &KEY, &table, SAMPLES, rounds).expect("ordinals");
        let alone = rate(SAMPLES, round(rounds, run));
        println!("figure: noised values, {name}, sigma {sigma}, the kernel alone: {alone:.1} M/s");
        let there = || noise::run(gpu, &KEY, &table, 0, 0, SAMPLES).expect("ordinals");
        let whole = rate(SAMPLES, shortest(there));
        println!("figure: noised values, {name}, sigma {sigma}, with the way back: {whole:.1} M/s");
    }
    for Rows { what, segments, groups } in rows {
        let run =
            |rounds| segmented_sum::repeated(gpu, segments, values, *groups, rounds).expect("rows");
        let alone = rate(ROWS, round(rounds, run));
        let bytes = alone * 12.0 / 1e3;
        println!(
            "figure: sums, {name}, {what}, the kernel alone: {alone:.1} M rows/s, {bytes:.2} GB/s"
        );
        let there = || segmented_sum::run(gpu, segments, values, *groups).expect("rows");
        let rate = rate(ROWS, shortest(there));
        println!("figure: sums, {name}, {what}, with the way there: {rate:.1} M rows/s");
    }
}

fn main() {
    let rounds = std::env::var("DOUANE_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let (values, rows) = rows();
    tables();
    on_the_processor(&values, &rows);
    match Device::open(Choice::Gpu) {
        Ok(gpu) => {
            println!("device: {:?}", gpu.adapter());
            on_the_gpu(&gpu, rounds.unwrap_or(20), &values, &rows);
        }
        Err(why) => println!("skipped: the GPU's figures: {why}"),
    }
}
