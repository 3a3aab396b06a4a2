//! Record batches of format 2. A producer's batch is kept as it came: its header is read, its checksum compared, and
//! the broker writes the two fields that the checksum leaves out, and the time where a topic wants its own. Records stay
//! compressed and unread, but for questions by time.
//!
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>; control batches: the section after it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::code::Code;
use crate::wire::Reader;

const HEADER: usize = 61;
/// Where the checksum begins to count.
const CHECKED_FROM: usize = 21;

const COMPRESSION: i16 = 0x07;
/// All records have the time at which the batch was appended.
const APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

pub(crate) const NO_PRODUCER: i64 = -1;

/// What a batch's header says, as far as a broker needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Records, at least one.
    pub count: i32,
    pub timestamp_first: i64,
    pub timestamp_max: i64,
    pub producer: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub transactional: bool,
}

impl Header {
    /// Reads and checks a producer's batch: all of `bytes` is one batch.
    ///
    /// # Errors
    /// `CorruptMessage` for a length or checksum that does not hold, `InvalidRecord` for what no producer may send.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Code> {
        let header = Self::read(bytes).ok_or(Code::CorruptMessage)??;
        Ok(header)
    }

    /// `None` where the header is cut off.
    fn read(bytes: &[u8]) -> Option<Result<Self, Code>> {
        if bytes.len() < HEADER {
            return None;
        }
        let mut reader = Reader::new(bytes);
        reader.i64().ok()?; // base offset: ours to write
        let length = reader.i32().ok()?;
        reader.i32().ok()?; // leader epoch: ours to write
        let magic = reader.i8().ok()?;
        let checksum = reader.i32().ok()?;
        let attributes = reader.i16().ok()?;
        let last_delta = reader.i32().ok()?;
        let timestamp_first = reader.i64().ok()?;
        let timestamp_max = reader.i64().ok()?;
        let producer = reader.i64().ok()?;
        let epoch = reader.i16().ok()?;
        let sequence = reader.i32().ok()?;
        let count = reader.i32().ok()?;
        let length = usize::try_from(length).ok()?.checked_add(12)?;
        // One batch a partition and request, as Kafka demands since version 3 of Produce.
        if magic != 2 || length < bytes.len() {
            return Some(Err(Code::InvalidRecord));
        }
        if length != bytes.len() || crc32c::crc32c(&bytes[CHECKED_FROM..]) != checksum as u32 {
            return Some(Err(Code::CorruptMessage));
        }
        let transactional = attributes & TRANSACTIONAL != 0;
        let numbered = producer != NO_PRODUCER;
        if attributes & CONTROL != 0
            || count < 1
            || last_delta != count - 1
            || numbered && (producer < 0 || epoch < 0 || sequence < 0)
            || transactional && !numbered
        {
            return Some(Err(Code::InvalidRecord));
        }
        Some(Ok(Self {
            count,
            timestamp_first,
            timestamp_max,
            producer,
            epoch,
            sequence,
            transactional,
        }))
    }
}

/// A batch as it lies in a log.
pub(crate) struct Batch {
    pub base: i64,
    /// Offset of its last record.
    pub last: i64,
    /// The largest time up to and with this batch, so that times can be searched by halving.
    pub timestamp_max_so_far: i64,
    timestamp_max: i64,
    pub bytes: Arc<[u8]>,
}

impl Batch {
    /// A producer's batch at its place in the log; with the time of its appending, where that counts and not the
    /// producer's.
    pub(crate) fn at(
        base: i64,
        header: &Header,
        bytes: &[u8],
        appended: Option<i64>,
        max_before: i64,
    ) -> Self {
        let mut bytes: Arc<[u8]> = bytes.into();
        if let Some(bytes) = Arc::get_mut(&mut bytes) {
            place(bytes, base);
            if let Some(time) = appended {
                bytes[22] |= APPEND_TIME as u8;
                bytes[35..43].copy_from_slice(&time.to_be_bytes());
                let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..]);
                bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
            }
        }
        let timestamp_max = appended.unwrap_or(header.timestamp_max);
        Self {
            base,
            last: base + i64::from(header.count) - 1,
            timestamp_max_so_far: timestamp_max.max(max_before),
            timestamp_max,
            bytes,
        }
    }

    /// The control batch that ends a transaction in a partition.
    pub(crate) fn marker(base: i64, producer: i64, epoch: i16, end: End, max_before: i64) -> Self {
        let now = now_ms();
        let mut bytes = vec![0; HEADER];
        bytes[16] = 2;
        bytes[21..23].copy_from_slice(&(TRANSACTIONAL | CONTROL).to_be_bytes());
        bytes[27..35].copy_from_slice(&now.to_be_bytes());
        bytes[35..43].copy_from_slice(&now.to_be_bytes());
        bytes[43..51].copy_from_slice(&producer.to_be_bytes());
        bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&(-1i32).to_be_bytes());
        bytes[57..61].copy_from_slice(&1i32.to_be_bytes());
        // One record of 16 bytes: attributes, both deltas, a key of 4 (version, kind), a value of 6 (version,
        // coordinator's epoch), no headers; lengths are zigzag.
        let kind = i16::from(end == End::Commit).to_be_bytes();
        bytes.extend([32, 0, 0, 0, 8, 0, 0, kind[0], kind[1], 12, 0, 0, 0, 0, 0, 0, 0]);
        let length = i32::try_from(bytes.len() - 12).unwrap_or(i32::MAX);
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        place(&mut bytes, base);
        let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        Self {
            base,
            last: base,
            timestamp_max_so_far: now.max(max_before),
            timestamp_max: now,
            bytes: bytes.into(),
        }
    }

    /// Offset and time of the first record at `offset_min` or later whose time is `time` or later.
    ///
    /// BUG: records of a compressed batch are not looked at: its first offset stands for them, which may be early, never
    /// late.
    pub(crate) fn at_time(&self, time: i64, offset_min: i64) -> Option<(i64, i64)> {
        if self.timestamp_max < time {
            return None;
        }
        let mut reader = Reader::new(&self.bytes);
        reader.raw(CHECKED_FROM).ok()?;
        let attributes = reader.i16().ok()?;
        let count = reader.i32().ok()?.checked_add(1)?;
        let first = reader.i64().ok()?;
        reader.raw(HEADER - 35).ok()?;
        if attributes & (COMPRESSION | APPEND_TIME) != 0 {
            return Some((self.base.max(offset_min), self.timestamp_max));
        }
        for index in 0..count {
            let length = usize::try_from(zigzag(&mut reader)?).ok()?;
            let mut record = Reader::new(reader.raw(length).ok()?);
            record.i8().ok()?;
            let at = (self.base + i64::from(index), first + zigzag(&mut record)?);
            if at.1 >= time && at.0 >= offset_min {
                return Some(at);
            }
        }
        None
    }

    /// The time that answers a question for the largest one.
    pub(crate) fn timestamp_max(&self) -> i64 {
        self.timestamp_max
    }
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Abort,
}

/// Base offset and leader epoch, the two fields outside the checksum.
fn place(bytes: &mut [u8], base: i64) {
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[12..16].copy_from_slice(&0i32.to_be_bytes());
}

/// A signed number of a record.
fn zigzag(reader: &mut Reader<'_>) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = reader.i8().ok()? as u8;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A batch as a producer sends it, uncompressed, one record per time.
    pub(crate) fn batch(producer: i64, epoch: i16, sequence: i32, times: &[i64]) -> Vec<u8> {
        let first = times[0];
        let mut bytes = vec![0; HEADER];
        bytes[16] = 2;
        let attributes = if producer >= 0 { TRANSACTIONAL } else { 0 };
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&(times.len() as i32 - 1).to_be_bytes());
        bytes[27..35].copy_from_slice(&first.to_be_bytes());
        bytes[35..43].copy_from_slice(&times.iter().max().unwrap().to_be_bytes());
        bytes[43..51].copy_from_slice(&producer.to_be_bytes());
        bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&(times.len() as i32).to_be_bytes());
        for (index, time) in times.iter().enumerate() {
            // Deltas of one byte only: tests keep them small.
            let delta = u8::try_from((time - first) * 2).unwrap();
            bytes.extend([12, 0, delta, index as u8 * 2, 1, 1, 0]);
        }
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        seal(&mut bytes);
        bytes
    }

    fn seal(bytes: &mut [u8]) {
        let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    }

    #[test]
    fn a_batch_is_taken_with_its_checksum_only() {
        let good = batch(7, 1, 0, &[100, 101]);
        let header = Header::of(&good).unwrap();
        assert_eq!((header.count, header.producer, header.epoch), (2, 7, 1));
        assert!(header.transactional);
        for at in CHECKED_FROM..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Header::of(&bad), Err(Code::CorruptMessage), "byte {at}");
        }
        for length in 0..good.len() {
            assert_eq!(Header::of(&good[..length]), Err(Code::CorruptMessage), "{length} bytes");
        }
    }

    #[test]
    fn what_no_producer_may_send_bad_batches() {
        let good = batch(7, 1, 0, &[100, 101]);
        let two = [good.clone(), good.clone()].concat();
        assert_eq!(Header::of(&two), Err(Code::InvalidRecord));
        type Change = fn(&mut Vec<u8>);
        let changes: [(&str, Change); 5] = [
            ("control", |b| b[22] |= CONTROL as u8),
            ("no record", |b| b[57..61].copy_from_slice(&0i32.to_be_bytes())),
            ("another count", |b| b[26] = 9),
            ("old format", |b| b[16] = 1),
            ("transactional without a producer", |b| b[43..51].fill(0xff)),
        ];
        for (what, change) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            seal(&mut bad);
            assert_eq!(Header::of(&bad), Err(Code::InvalidRecord), "{what}");
        }
    }

    #[test]
    fn a_marker_has_a_checksum_that_holds() {
        let marker = Batch::marker(40, 7, 2, End::Abort, 0);
        let checksum = crc32c::crc32c(&marker.bytes[CHECKED_FROM..]).to_be_bytes();
        assert_eq!(marker.bytes[17..21], checksum);
        assert_eq!(marker.bytes[..8], 40i64.to_be_bytes());
        assert_eq!(marker.at_time(0, 0).map(|at| at.0), Some(40));
    }

    #[test]
    fn a_time_is_found_within_a_batch() {
        let bytes = batch(-1, -1, -1, &[100, 105, 103]);
        let header = Header::of(&bytes).unwrap();
        let batch = Batch::at(10, &header, &bytes, None, 0);
        assert_eq!(batch.at_time(0, 0), Some((10, 100)));
        assert_eq!(batch.at_time(101, 0), Some((11, 105)));
        assert_eq!(batch.at_time(101, 12), Some((12, 103)));
        assert_eq!(batch.at_time(106, 0), None);
        let batch = Batch::at(10, &header, &bytes, Some(200), 0);
        assert_eq!(batch.at_time(106, 11), Some((11, 200)), "all were appended then");
        assert_eq!(batch.at_time(201, 0), None);
    }
}
