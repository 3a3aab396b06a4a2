//! `replay FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use douane_pipelines::fault::RunFault;
use douane_pipelines::replay::{self, Ask, BATCH_ROWS, Range};

use crate::{Format, verb};

#[derive(clap::Args)]
pub struct Args {
    /// The pipeline's file, as it was when the transactions crossed.
    file: PathBuf,
    /// A manifest's id. Once for each; without any of these, all transactions.
    #[arg(long = "manifest", value_name = "ID", value_parser = manifest)]
    manifests: Vec<String>,
    /// Source offsets: transactions that read any of them.
    #[arg(long = "records", value_name = "TOPIC[PARTITION]@FROM-TO", value_parser = range)]
    ranges: Vec<Range>,
    /// Sent from this instant on: RFC 3339.
    #[arg(long, value_parser = instant)]
    from: Option<i64>,
    /// Sent before this instant.
    #[arg(long, value_parser = instant)]
    to: Option<i64>,
    /// Under the release with this digest, or one that begins so.
    #[arg(long)]
    release: Option<String>,
    /// The i-th of n parts, for several machines: `1/4`.
    #[arg(long, value_parser = part)]
    part: Option<(usize, usize)>,
    /// Rows that stages take at once; no number of them changes a byte.
    #[arg(long, default_value_t = BATCH_ROWS)]
    batch: usize,
    /// Threads; one a core unless said.
    #[arg(long)]
    threads: Option<usize>,
    /// Who asks: stands in the ledger.
    #[arg(long)]
    by: String,
    /// Why, in one line without data: stands in the ledger.
    #[arg(long)]
    reason: String,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let ask = Ask {
        file: args.file.clone(),
        manifests: args.manifests.clone(),
        ranges: args.ranges.clone(),
        from_ms: args.from,
        to_ms: args.to,
        release: args.release.clone(),
        part: args.part,
        batch_rows: args.batch,
        threads: args.threads.unwrap_or_else(cores),
        by: args.by.clone(),
        reason: args.reason.clone(),
    };
    let told = replay::replay(place, &ask)?;
    match args.format {
        Format::Json => verb::print_json(&told),
        Format::Text => verb::print(&told.text()),
    }
    Ok(verb::answer(told.holds))
}

fn manifest(text: &str) -> Result<String, String> {
    let hex =
        text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    hex.then(|| text.to_owned()).ok_or_else(|| "expected 32 hexadecimal characters".to_owned())
}

fn range(text: &str) -> Result<Range, String> {
    let read = || {
        let (place, offsets) = text.rsplit_once('@')?;
        let (topic, partition) = place.strip_suffix(']')?.rsplit_once('[')?;
        let (start, end) = offsets.split_once('-')?;
        let partition = partition.parse().ok()?;
        let (start, end) = (start.parse::<i64>().ok()?, end.parse::<i64>().ok()?);
        (start >= 0 && start < end && !topic.is_empty()).then(|| Range {
            topic: topic.to_owned(),
            partition,
            start,
            end,
        })
    };
    read().ok_or_else(|| "expected TOPIC[PARTITION]@FROM-TO, TO not among them".to_owned())
}

pub fn instant(text: &str) -> Result<i64, String> {
    replay::instant(text).ok_or_else(|| "expected RFC 3339, as 2026-05-20T00:00:00Z".to_owned())
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let read = || {
        let (part, parts) = text.split_once('/')?;
        let (part, parts) = (part.parse().ok()?, parts.parse().ok()?);
        (part >= 1 && part <= parts).then_some((part, parts))
    };
    read().ok_or_else(|| "expected I/N, I from 1 to N".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_read_or_refused() {
        let good = Range { topic: "crm.x".to_owned(), partition: 3, start: 5, end: 9 };
        assert_eq!(range("crm.x[3]@5-9"), Ok(good));
        for bad in ["crm.x[3]@9-5", "crm.x@5-9", "[3]@5-9", "crm.x[3]@5", "crm.x[a]@5-9"] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert_eq!(part("2/3"), Ok((2, 3)));
        assert!(part("0/3").is_err() && part("4/3").is_err() && part("3").is_err());
        assert_eq!(instant("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(instant("yesterday").is_err());
        assert!(manifest(&"0f".repeat(16)).is_ok() && manifest("0F").is_err());
    }
}
