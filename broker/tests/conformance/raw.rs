//! Single requests, field by field: the codes that librdkafka turns into something else, or never lets happen.
//!
//! Only versions without compact fields are spoken, but for Metadata 10, which alone tells topic ids.

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
        let mut fields = self.i32(i32::try_from(bytes.len()).expect("a short text"));
        fields.0.extend_from_slice(bytes);
        fields
    }
}

pub struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
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
            let mut answer = raw.ask(22, 1, Fields::default().text(id).i32(timeout_ms));
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

    /// Produce 7 to partition 0.
    pub fn produce(&mut self, id: Option<&str>, topic: &str, batch: &[u8]) -> Appended {
        let body = match id {
            Some(id) => Fields::default().text(id),
            None => Fields::default().i16(-1),
        };
        let body = body.i16(-1).i32(5000).i32(1).text(topic).i32(1).i32(0).bytes(batch);
        let mut answer = self.ask(0, 7, body);
        assert_eq!(answer.i32(), 1);
        answer.text();
        assert_eq!((answer.i32(), answer.i32()), (1, 0));
        let code = answer.i16();
        Appended { code, base: answer.i64() }
    }

    /// Fetch 4 from partition 0: code and records.
    pub fn fetch(&mut self, topic: &str, from: i64) -> (i16, Vec<u8>) {
        let body = Fields::default().i32(-1).i32(0).i32(0).i32(1 << 20).i8(0);
        let body = body.i32(1).text(topic).i32(1).i32(0).i64(from).i32(1 << 20);
        let mut answer = self.ask(1, 4, body);
        answer.i32();
        assert_eq!(answer.i32(), 1);
        answer.text();
        assert_eq!((answer.i32(), answer.i32()), (1, 0));
        let code = answer.i16();
        answer.i64();
        answer.i64();
        assert!(answer.i32() <= 0, "no list of aborted transactions for who reads all");
        (code, answer.bytes().unwrap_or_default())
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

/// A batch of records without keys, uncompressed, whose producer numbers it. All of one time.
pub fn batch(holder: Holder, sequence: i32, transactional: bool, values: &[&str]) -> Vec<u8> {
    let count = i32::try_from(values.len()).expect("a count");
    let now = 1_700_000_000_000i64;
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
