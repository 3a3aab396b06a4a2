//! Single requests, field by field: the codes that librdkafka turns into something else, or never lets happen.
//!
//! Versions without compact fields are spoken where they say enough.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::client::Cluster;

pub struct Raw {
    stream: TcpStream,
}

/// A request's or an answer's fields in a row.
#[derive(Default)]
pub struct Fields(Vec<u8>);

macro_rules! fields {
    ($($name:ident)*) => {
        impl Fields {
            $(pub fn $name(mut self, value: $name) -> Self {
                self.0.extend_from_slice(&value.to_be_bytes());
                self
            })*
        }
    };
}
fields!(i8 i16 i32 i64);

impl Fields {
    pub fn text(self, text: &str) -> Self {
        let mut fields = self.i16(i16::try_from(text.len()).expect("a short text"));
        fields.0.extend_from_slice(text.as_bytes());
        fields
    }

    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.i32(i32::try_from(bytes.len()).expect("a short text")).raw(bytes)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// How many items follow, of a compact list.
    fn count(self, items: usize) -> Self {
        self.i8(i8::try_from(items + 1).expect("a short list"))
    }

    fn compact(self, text: &str) -> Self {
        self.count(text.len()).raw(text.as_bytes())
    }

    /// No tagged fields.
    fn tags(self) -> Self {
        self.i8(0)
    }
}

pub struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.take(1).try_into().expect("bytes"))
    }

    /// Items of a compact list, or bytes of a compact text: none for null.
    fn count(&mut self) -> usize {
        let (mut count, mut shift) = (0, 0);
        loop {
            let byte = self.i8();
            count |= usize::from(byte as u8 & 0x7f) << shift;
            shift += 7;
            if byte >= 0 {
                return count.saturating_sub(1);
            }
        }
    }

    fn tags(&mut self) {
        assert_eq!(self.i8(), 0, "no tagged fields");
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().expect("bytes"))
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("bytes"))
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("bytes"))
    }

    pub fn take(&mut self, count: usize) -> &[u8] {
        self.at += count;
        &self.bytes[self.at - count..self.at]
    }

    pub fn text(&mut self) -> String {
        let length = usize::try_from(self.i16()).expect("a text");
        String::from_utf8(self.take(length).to_vec()).expect("a text")
    }

    /// `None` for null.
    pub fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.i32()).ok()?;
        Some(self.take(length).to_vec())
    }
}

/// What became of one Produce.
#[derive(Debug, PartialEq, Eq)]
pub struct Appended {
    pub code: i16,
    pub base: i64,
}

/// What a reader gets of one partition.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    pub code: i16,
    pub end: i64,
    pub stable: i64,
    /// Producers, and the first offsets of what they aborted.
    pub aborted: Vec<(i64, i64)>,
    pub records: Vec<u8>,
}

/// A code, a time and an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed(pub i16, pub i64, pub i64);

/// A producer's id and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(pub i64, pub i16);

impl Raw {
    pub fn to(cluster: &Cluster) -> Self {
        let stream = TcpStream::connect(&cluster.bootstrap).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Self { stream }
    }

    /// Sends bytes as a frame, and reads the frame that answers; `None` where the connection is closed instead.
    pub fn frame(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let length = i32::try_from(body.len()).expect("a short frame");
        self.stream.write_all(&length.to_be_bytes()).ok()?;
        self.stream.write_all(body).ok()?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        self.stream.read_exact(&mut answer).ok()?;
        Some(answer)
    }

    fn ask(&mut self, key: i16, version: i16, body: Fields) -> Answer {
        let mut frame = Fields::default().i16(key).i16(version).i32(7).text("raw").0;
        frame.extend_from_slice(&body.0);
        let bytes = self.frame(&frame).expect("an answer");
        let mut answer = Answer { bytes, at: 0 };
        assert_eq!(answer.i32(), 7, "the answer to this request");
        answer
    }

    /// The same with compact fields.
    fn ask_compact(&mut self, key: i16, version: i16, body: Fields) -> Answer {
        let mut answer = self.ask(key, version, Fields::default().tags().raw(&body.0));
        answer.tags();
        answer
    }

    /// Asks again while the coordinator is busy with what it was told before, as clients do.
    fn until_settled(&mut self, mut ask: impl FnMut(&mut Self) -> i16) -> i16 {
        const LOADING: i16 = 14;
        const NOT_AVAILABLE: i16 = 15;
        const NOT_COORDINATOR: i16 = 16;
        const CONCURRENT_TRANSACTIONS: i16 = 51;
        let busy = [LOADING, NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS];
        for _ in 0..400 {
            let code = ask(self);
            if !busy.contains(&code) {
                return code;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("the coordinator stays busy");
    }

    /// InitProducerId 1.
    pub fn init(&mut self, id: &str, timeout_ms: i32) -> Result<Holder, i16> {
        let mut holder = Holder(-1, -1);
        let code = self.until_settled(|raw| {
            // Kafka makes the coordinator's topic when it is first asked for it.
            raw.ask(10, 1, Fields::default().text(id).i8(1));
            let code;
            (code, holder) = raw.init_once(id, timeout_ms);
            code
        });
        if code == 0 { Ok(holder) } else { Err(code) }
    }

    /// InitProducerId 1, with whatever is answered.
    pub fn init_once(&mut self, id: &str, timeout_ms: i32) -> (i16, Holder) {
        let mut answer = self.ask(22, 1, Fields::default().text(id).i32(timeout_ms));
        answer.i32();
        (answer.i16(), Holder(answer.i64(), answer.i16()))
    }

    /// InitProducerId 3 or 4 of who holds the id already.
    pub fn init_as(&mut self, version: i16, id: &str, now: Holder) -> Result<Holder, i16> {
        let mut holder = Holder(-1, -1);
        let code = self.until_settled(|raw| {
            let body = Fields::default().compact(id).i32(10_000).i64(now.0).i16(now.1).tags();
            let mut answer = raw.ask_compact(22, version, body);
            answer.i32();
            let code = answer.i16();
            holder = Holder(answer.i64(), answer.i16());
            code
        });
        if code == 0 { Ok(holder) } else { Err(code) }
    }

    /// AddPartitionsToTxn 0 or 2, for partition 0 of topics: a code each.
    pub fn add(&mut self, version: i16, id: &str, holder: Holder, topics: &[&str]) -> Vec<i16> {
        let mut codes = Vec::new();
        self.until_settled(|raw| {
            let mut body = Fields::default().text(id).i64(holder.0).i16(holder.1);
            body = body.i32(i32::try_from(topics.len()).expect("a count"));
            for topic in topics {
                body = body.text(topic).i32(1).i32(0);
            }
            let mut answer = raw.ask(24, version, body);
            answer.i32();
            let count = answer.i32();
            let mut found: Vec<(String, i16)> = (0..count)
                .map(|_| {
                    let topic = answer.text();
                    assert_eq!((answer.i32(), answer.i32()), (1, 0));
                    (topic, answer.i16())
                })
                .collect();
            // In the order of the question.
            found.sort_by_key(|(topic, _)| topics.iter().position(|asked| asked == topic));
            codes = found.into_iter().map(|(_, code)| code).collect();
            codes[0]
        });
        codes
    }

    /// EndTxn 1 or 2.
    pub fn end(&mut self, version: i16, id: &str, holder: Holder, commit: bool) -> i16 {
        self.until_settled(|raw| {
            let body = Fields::default().text(id).i64(holder.0).i16(holder.1).i8(i8::from(commit));
            let mut answer = raw.ask(26, version, body);
            answer.i32();
            answer.i16()
        })
    }

    /// AddOffsetsToTxn 0 or 2.
    pub fn add_group(&mut self, version: i16, id: &str, holder: Holder, group: &str) -> i16 {
        self.until_settled(|raw| {
            // Kafka makes the groups' topic when it is first asked for one.
            raw.ask(10, 1, Fields::default().text(group).i8(0));
            let body = Fields::default().text(id).i64(holder.0).i16(holder.1).text(group);
            let mut answer = raw.ask(25, version, body);
            answer.i32();
            answer.i16()
        })
    }

    /// TxnOffsetCommit 2: an offset of partition 0 of a topic, of a group without members.
    pub fn hold_offset(&mut self, id: &str, holder: Holder, group: &str, topic: &str) -> i16 {
        self.until_settled(|raw| {
            let body = Fields::default().text(id).text(group).i64(holder.0).i16(holder.1);
            let body = body.i32(1).text(topic).i32(1).i32(0).i64(1).i32(-1).i16(-1);
            one_code(raw.ask(28, 2, body), true)
        })
    }

    /// OffsetCommit 2, of a member in a generation.
    pub fn commit_offset(&mut self, group: &str, member: (&str, i32), topic: &str) -> i16 {
        self.until_settled(|raw| {
            raw.ask(10, 1, Fields::default().text(group).i8(0));
            let body = Fields::default().text(group).i32(member.1).text(member.0).i64(-1);
            let body = body.i32(1).text(topic).i32(1).i32(0).i64(1).i16(-1);
            one_code(raw.ask(8, 2, body), false)
        })
    }

    /// Heartbeat 0, of a member in a generation.
    pub fn heartbeat(&mut self, group: &str, member: (&str, i32)) -> i16 {
        self.until_settled(|raw| {
            raw.ask(12, 0, Fields::default().text(group).i32(member.1).text(member.0)).i16()
        })
    }

    /// Produce 7 to partition 0.
    pub fn produce(&mut self, id: Option<&str>, topic: &str, batch: &[u8]) -> Appended {
        self.produce_to(0, id, topic, batch)
    }

    pub fn produce_to(
        &mut self,
        partition: i32,
        id: Option<&str>,
        topic: &str,
        batch: &[u8],
    ) -> Appended {
        let body = match id {
            Some(id) => Fields::default().text(id),
            None => Fields::default().i16(-1),
        };
        let body = body.i16(-1).i32(5000).i32(1).text(topic).i32(1).i32(partition).bytes(batch);
        let mut answer = self.ask(0, 7, body);
        assert_eq!(answer.i32(), 1);
        answer.text();
        assert_eq!((answer.i32(), answer.i32()), (1, partition));
        let code = answer.i16();
        Appended { code, base: answer.i64() }
    }

    /// Fetch 4 from partition 0: code and records.
    pub fn fetch(&mut self, topic: &str, from: i64) -> (i16, Vec<u8>) {
        let fetched = self.fetch_of(topic, 0, from, false);
        assert_eq!(fetched.aborted, [], "no list of aborted transactions for who reads all");
        (fetched.code, fetched.records)
    }

    /// Fetch 4.
    pub fn fetch_of(&mut self, topic: &str, partition: i32, from: i64, committed: bool) -> Fetched {
        let body = Fields::default().i32(-1).i32(0).i32(0).i32(1 << 20).i8(i8::from(committed));
        let body = body.i32(1).text(topic).i32(1).i32(partition).i64(from).i32(1 << 20);
        let mut answer = self.ask(1, 4, body);
        answer.i32();
        assert_eq!(answer.i32(), 1);
        answer.text();
        assert_eq!((answer.i32(), answer.i32()), (1, partition));
        let (code, end, stable) = (answer.i16(), answer.i64(), answer.i64());
        let count = answer.i32();
        let aborted = (0..count).map(|_| (answer.i64(), answer.i64())).collect();
        let records = answer.bytes().unwrap_or_default();
        Fetched { code, end, stable, aborted, records }
    }

    /// Fetch 13, by a topic's id, of all of partition 0: code, and how many bytes.
    pub fn fetch_by_id(&mut self, id: [u8; 16]) -> (i16, usize) {
        let body = Fields::default().i32(-1).i32(0).i32(0).i32(1 << 20).i8(0);
        let body = body.i32(0).i32(-1); // no session
        let body = body.count(1).raw(&id).count(1);
        let body = body.i32(0).i32(-1).i64(0).i32(-1).i64(-1).i32(1 << 20).tags().tags();
        let mut answer = self.ask_compact(1, 13, body.count(0).compact("").tags());
        answer.i32();
        assert_eq!((answer.i16(), answer.i32()), (0, 0));
        assert_eq!(answer.count(), 1);
        assert_eq!(answer.take(16), id);
        assert_eq!((answer.count(), answer.i32()), (1, 0));
        let code = answer.i16();
        answer.take(3 * 8);
        assert_eq!(answer.count(), 0, "no list of aborted transactions for who reads all");
        answer.i32();
        (code, answer.count())
    }

    /// ListOffsets 2, or 7 with compact fields: code, time and offset.
    pub fn list(&mut self, version: i16, topic: &str, committed: bool, time: i64) -> Listed {
        let body = Fields::default().i32(-1).i8(i8::from(committed));
        if version < 6 {
            let body = body.i32(1).text(topic).i32(1).i32(0).i64(time);
            let mut answer = self.ask(2, version, body);
            assert_eq!((answer.i32(), answer.i32()), (0, 1));
            answer.text();
            assert_eq!((answer.i32(), answer.i32()), (1, 0));
            return Listed(answer.i16(), answer.i64(), answer.i64());
        }
        let body = body.count(1).compact(topic).count(1).i32(0).i32(-1).i64(time);
        let mut answer = self.ask_compact(2, version, body.tags().tags().tags());
        assert_eq!((answer.i32(), answer.count()), (0, 1));
        let length = answer.count();
        answer.take(length);
        assert_eq!((answer.count(), answer.i32()), (1, 0));
        Listed(answer.i16(), answer.i64(), answer.i64())
    }

    /// Metadata 10: a topic's id.
    pub fn topic_id(&mut self, topic: &str) -> [u8; 16] {
        // Header with tags; one topic; no id, a compact name, tags; three flags; tags.
        let mut frame = Fields::default().i16(3).i16(10).i32(7).text("raw").i8(0).i8(2).0;
        frame.extend([0; 16]);
        frame.push(u8::try_from(topic.len() + 1).expect("a short name"));
        frame.extend_from_slice(topic.as_bytes());
        frame.extend([0, 0, 0, 0, 0]);
        let answer = self.frame(&frame).expect("an answer");
        let name = answer.windows(topic.len()).position(|part| part == topic.as_bytes());
        let at = name.expect("the topic in its answer") + topic.len();
        answer[at..at + 16].try_into().expect("an id")
    }
}

/// The code of an answer about one partition of one topic.
fn one_code(mut answer: Answer, throttled: bool) -> i16 {
    if throttled {
        answer.i32();
    }
    assert_eq!(answer.i32(), 1);
    answer.text();
    assert_eq!((answer.i32(), answer.i32()), (1, 0));
    answer.i16()
}

/// The time of what says no other.
pub const THEN: i64 = 1_700_000_000_000;

/// A batch of records without keys, uncompressed, whose producer numbers it. All of one time.
pub fn batch(holder: Holder, sequence: i32, transactional: bool, values: &[&str]) -> Vec<u8> {
    batch_at(THEN, holder, sequence, transactional, values)
}

pub fn batch_at(
    now: i64,
    holder: Holder,
    sequence: i32,
    transactional: bool,
    values: &[&str],
) -> Vec<u8> {
    let count = i32::try_from(values.len()).expect("a count");
    let mut records = Vec::new();
    for (index, value) in values.iter().enumerate() {
        // Lengths of one byte only: tests keep them small, and zigzag doubles them.
        let byte = |n: usize| u8::try_from(n * 2).expect("a short value");
        records.extend([byte(value.len() + 6), 0, 0, byte(index), 1, byte(value.len())]);
        records.extend_from_slice(value.as_bytes());
        records.push(0);
    }
    let checked = Fields::default()
        .i16(if transactional { 0x10 } else { 0 })
        .i32(count - 1)
        .i64(now)
        .i64(now)
        .i64(holder.0)
        .i16(holder.1)
        .i32(sequence)
        .i32(count);
    let checked = [checked.0, records].concat();
    let length = i32::try_from(checked.len() + 9).expect("a length");
    let head = Fields::default().i64(0).i32(length).i32(-1).i8(2);
    let head = head.i32(crc32c::crc32c(&checked) as i32);
    [head.0, checked].concat()
}
