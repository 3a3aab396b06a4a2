//! The ledger's home in a topic: the journals of a pipeline's logs are durable in a topic of the
//! sovereign cluster, a partition a log, and its folder holds a copy for whoever reads.
//!
//! A log has a transactional id of its own there. Who takes it over fences the old holder first and
//! reads the partition then, so nothing that was acknowledged is missing and nothing comes after it.

use std::ops::ControlFlow;

use douane_connectors::edge::SinkFault;
use douane_connectors::kafka::{KafkaFault, Records, WriteFault, Writer};
use douane_ledger::log::{Copied, Head, JournalId, Keeper, LedgerFault, Log, LogKeys};

use crate::config::{LedgerHome, Place};
use crate::crossing::TRY;
use crate::edges;
use crate::fault::RunFault;
use crate::names::{Names, ledger_home};

/// Frames in one record: less than the usual `max.message.bytes`.
const RECORD_BYTES_MAX: usize = 512 << 10;

/// Becomes the holder of a pipeline's log, at the head that the target names.
pub(crate) fn take_over(
    place: &Place,
    names: &Names,
    pipeline: &str,
    log: &str,
    at: Option<&Head>,
    keys: LogKeys,
) -> Result<Log, RunFault> {
    let home = ledger_home(&place.ledger_dir, pipeline);
    if place.ledger_home == LedgerHome::Folder {
        return Ok(Log::take_over(&home, log, at, keys)?);
    }
    let records = edges::records(place)?;
    let partition = Names::journal_partition(log).ok_or(LedgerFault::Name)?;
    let id = names.journal_transactional_id(log);
    let writer = records.fence(&id, &names.journal, partition, TRY).map_err(not_fenced)?;
    let topic = records.identity(&names.journal).map_err(unreachable)?;
    let mut copied = Copied::open(&home, log, &topic.id)?;
    let next = copy(&records, names, partition, &mut copied)?;
    // A folder that has more was the home of an older ledger, or the topic lost what it had.
    copied.complete()?;
    copied.keep(next)?;
    Ok(Log::take_over_kept(&home, log, at, keys, Box::new(InTopic { writer }))?)
}

/// Brings the copy of all of a pipeline's journals up to date, for whoever reads only.
pub(crate) fn refresh(place: &Place, names: &Names, pipeline: &str) -> Result<(), RunFault> {
    if place.ledger_home == LedgerHome::Folder {
        return Ok(());
    }
    let records = edges::records(place)?;
    let home = ledger_home(&place.ledger_dir, pipeline);
    let topic = records.identity(&names.journal).map_err(unreachable)?;
    for partition in records.written(&names.journal, TRY).map_err(unreachable)? {
        let mut copied = Copied::open(&home, &Names::log_of_journal(partition), &topic.id)?;
        let next = copy(&records, names, partition, &mut copied)?;
        copied.keep(next)?;
    }
    Ok(())
}

/// Reads a partition from where the copy stands to its end, and says where that is.
fn copy(
    records: &Records,
    names: &Names,
    partition: i32,
    copied: &mut Copied,
) -> Result<u64, RunFault> {
    let topic = &names.journal;
    let (low, end) = records.extent(topic, partition, TRY).map_err(unreachable)?;
    is_whole(low)?;
    let mut from = i64::try_from(copied.next()).unwrap_or(i64::MAX);
    if from > end {
        copied.begin_anew();
        from = 0;
    }
    let mut fault = None;
    let read = records.read(topic, partition, from, TRY * 3, &mut |record| {
        let put = place_of(record.key)
            .and_then(|(journal, offset)| Some((journal, offset, record.value?)))
            .ok_or(LedgerFault::Unreadable { index: None })
            .and_then(|(journal, offset, frames)| copied.put(journal, offset, frames));
        match put {
            Ok(()) => ControlFlow::Continue(()),
            Err(found) => {
                fault = Some(found);
                ControlFlow::Break(())
            }
        }
    });
    let reached = read.map_err(unreachable)?;
    match fault {
        None => Ok(u64::try_from(reached).unwrap_or(0)),
        Some(fault) => Err(fault.into()),
    }
}

/// Whether a partition has its first record still, wherever the copy stands: another machine reads it
/// from there.
fn is_whole(low: i64) -> Result<(), LedgerFault> {
    match low {
        ..=0 => Ok(()),
        first => Err(LedgerFault::HomeCut { first: first.unsigned_abs() }),
    }
}

/// Journal and offset of a record, as its key says.
fn place_of(key: Option<&[u8]>) -> Option<(JournalId, u64)> {
    let (journal, offset) = std::str::from_utf8(key?).ok()?.split_once('.')?;
    Some((journal.parse().ok()?, offset.parse().ok()?))
}

fn not_fenced(fault: SinkFault) -> RunFault {
    match fault {
        SinkFault::Settings(why) => RunFault::Client(why.to_string()),
        SinkFault::Away(why) | SinkFault::Refused(why) => {
            RunFault::Again(format!("the ledger's topic: {why}"))
        }
    }
}

fn unreachable(fault: KafkaFault) -> RunFault {
    match fault.is_away() {
        true => RunFault::Again(format!("the ledger's topic: {fault}")),
        false => RunFault::Edge(format!("the ledger's topic: {fault}")),
    }
}

/// Keeps a log's journals in its partition.
struct InTopic {
    writer: Writer,
}

impl Keeper for InTopic {
    fn keep(&mut self, journal: JournalId, offset: u64, frames: &[u8]) -> Result<(), LedgerFault> {
        let chunks = frames.chunks(RECORD_BYTES_MAX).enumerate();
        let records: Vec<_> = chunks
            .map(|(number, chunk)| {
                let offset = offset + (number * RECORD_BYTES_MAX) as u64;
                (format!("{journal}.{offset}").into_bytes(), Some(chunk.to_vec()))
            })
            .collect();
        self.writer.commit(&records).map_err(|fault| match fault {
            WriteFault::Fenced => LedgerFault::Fenced,
            other => LedgerFault::Home { why: other.to_string() },
        })
    }

    fn idle(&self) {
        self.writer.idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_lost_its_start_is_a_lost_ledger() {
        assert!(is_whole(0).is_ok());
        let fault = RunFault::from(is_whole(7).unwrap_err());
        assert_eq!(fault.code(), "ledger_lost");
        assert!(fault.to_string().contains("offset 7"), "{fault}");
    }

    #[test]
    fn a_record_says_its_place_and_others_are_refused() {
        let journal = JournalId([0xab; 16]);
        let key = format!("{journal}.524288");
        assert_eq!(place_of(Some(key.as_bytes())), Some((journal, 524_288)));
        for bad in ["", "ab.1", &format!("{journal}"), &format!("{journal}.x"), "\u{1}.1"] {
            assert_eq!(place_of(Some(bad.as_bytes())), None, "{bad}");
        }
        assert_eq!(place_of(None), None);
    }
}
