//! The floor that rates are compared with: copies a topic from one cluster to another, byte for byte, in transactions,
//! on one thread, with nothing in between. `douane demo` runs the same copy. Without a target it only reads.
//!
//!     raw_copy SOURCE_BOOTSTRAP TOPIC [TARGET_BOOTSTRAP TOPIC]
//!
//! Prints one JSON object: records, records a second, CPU seconds per million, peak resident MiB.

#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::error::Error;

#[path = "../src/verb/demo/raw_copy.rs"]
mod raw_copy;

use raw_copy::Copied;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let (source, from, target) = match args.as_slice() {
        [_, source, from] => (source, from, None),
        [_, source, from, target, to] => (source, from, Some((target.as_str(), to.as_str()))),
        _ => return Err("usage: raw_copy SOURCE_BOOTSTRAP TOPIC [TARGET_BOOTSTRAP TOPIC]".into()),
    };
    report(raw_copy::copy(source, from, target, &mut |_| true)?);
    // closing a consumer takes seconds and says nothing about the copy
    std::process::exit(0)
}

#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
fn report(Copied { records, took }: Copied) {
    let cpu = raw_copy::cpu_seconds().unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak_kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    println!(
        "{{\"records\":{records},\"records_per_s\":{:.0},\"cpu_s_per_million\":{:.2},\"peak_mib\":{}}}",
        records as f64 / took.as_secs_f64(),
        cpu / records.max(1) as f64 * 1e6,
        peak_kib / 1024
    );
}
