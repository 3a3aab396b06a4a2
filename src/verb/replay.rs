//! `replay FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use douane_pipelines::fault::RunFault;
use douane_pipelines::replay::{self, Ask, BATCH_ROWS, RATE, Range};

use crate::verb;

#[derive(clap::Args)]
pub struct Args {
    /// The pipeline's file, as it was when the transactions crossed.
    #[arg(required_unless_present = "join")]
    file: Option<PathBuf>,
    /// Of a file with `tables`, this one's transactions.
    #[arg(long)]
    table: Option<String>,
    /// In place of a replay: what `--part I/N --format json` printed for each part, as one answer.
    #[arg(long, num_args = 1.., value_name = "JSON", conflicts_with_all = ["file", "table", "part", "manifests",
          "ranges", "from", "to", "release", "rate"])]
    join: Vec<PathBuf>,
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
    /// Records a second at most, of all threads together: the source has other readers.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), default_value_t = RATE)]
    rate: u64,
    /// Who asks: stands in the ledger.
    #[arg(long, required_unless_present = "join")]
    by: Option<String>,
    /// Why, in one line without data: stands in the ledger.
    #[arg(long, required_unless_present = "join")]
    reason: Option<String>,
    /// The answer as a sum, as a page to be filed, or as a JSON document.
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
}

/// A sum, a page to be filed, or a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    /// One page without scripts, with the chain of reasons of each transaction.
    Html,
    Json,
}

pub fn run(place: &Path, args: &Args) -> Result<ExitCode, RunFault> {
    let told = match &args.file {
        None => replay::join(&args.join)?,
        Some(file) => replay::replay(place, &asked(file, args))?,
    };
    match args.format {
        Form::Json => verb::print_json(&told),
        Form::Html => verb::print(&replay::page(&told)),
        Form::Text => verb::print(&told.text()),
    }
    Ok(verb::answer(told.holds))
}

fn asked(file: &Path, args: &Args) -> Ask {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Ask {
        file: file.to_owned(),
        table: args.table.clone(),
        manifests: args.manifests.clone(),
        ranges: args.ranges.clone(),
        from_ms: args.from,
        to_ms: args.to,
        release: args.release.clone(),
        part: args.part,
        batch_rows: args.batch,
        threads: args.threads.unwrap_or_else(cores),
        rate: Some(args.rate),
        by: args.by.clone().unwrap_or_default(),
        reason: args.reason.clone().unwrap_or_default(),
    }
}

fn manifest(text: &str) -> Result<String, String> {
    let hex =
        text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    hex.then(|| text.to_owned()).ok_or_else(|| "expected 32 hexadecimal characters".to_owned())
}

pub fn range(text: &str) -> Result<Range, String> {
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
