//! Several ten thousand damaged captures: an answer each, and never a panic or a half row.

use douane_schemas::debezium::{Decoder, Refusal, leaves_of_avro, leaves_of_json_schema};
use douane_schemas::leaf::TableLeaves;
use douane_schemas::record::Format;

use crate::capture::{Event, Registry, decoder, events, frame_id, registry};

/// Mutants of each format.
const MUTANTS: usize = 12_000;
/// Longer captures say nothing more, and take long.
const BYTES_MAX: usize = 12_000;
const ROWS_MAX: usize = 64;

/// xorshift64*, with a fixed seed: the same mutants every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % n.max(1)
    }

    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length);
        (start, (start + 1 + self.below(16)).min(length))
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        const NASTY: [&[u8]; 12] = [
            b"\"", b"\\", b"{", b"}", b"[", b"\\ud800", b"null", b"1e999", b"\0", b"\xff", b"-",
            b",",
        ];
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                return;
            }
            let (start, end) = self.range(bytes.len());
            match self.below(8) {
                0 => bytes[start] ^= 1 << self.below(8),
                1 => bytes[start] = u8::try_from(self.below(256)).unwrap(),
                2 => drop(bytes.drain(start..end)),
                3 => {
                    let again = bytes[start..end].to_vec();
                    bytes.splice(start..start, again);
                }
                4 => {
                    let nasty = NASTY[self.below(NASTY.len())];
                    bytes.splice(start..start, nasty.iter().copied());
                }
                5 => bytes.truncate(start),
                6 => {
                    let (from, to) = self.range(other.len());
                    bytes.splice(start..end, other[from..to].iter().copied());
                }
                _ => {
                    let tail = other.get(start..).unwrap_or(&[]).to_vec();
                    bytes.truncate(start);
                    bytes.extend(tail);
                }
            }
        }
    }
}

fn leaves(format: Format, event: &Event, schemas: &Registry) -> Option<TableLeaves> {
    let value = event.value.as_deref()?;
    if format == Format::DebeziumAvro {
        let text = |id: u32| schemas.0[&id].as_str();
        let key = event.key.as_deref().and_then(frame_id).map(text);
        return leaves_of_avro(key, text(event.schema_id()?)).ok();
    }
    leaves_of_json_schema(event.key.as_deref(), value).ok()
}

/// Tables of the captures, each with the leaves of its first event.
fn decoders(format: Format, schemas: &Registry) -> Vec<(String, Decoder)> {
    let described =
        if format == Format::DebeziumJson { Format::DebeziumJsonSchema } else { format };
    let mut found: Vec<(String, Decoder)> = Vec::new();
    for event in events(described) {
        let Some(table) = event.table() else { continue };
        if event.key.is_none() || found.iter().any(|(known, _)| known == table) {
            continue;
        }
        if let Some(leaves) = leaves(described, &event, schemas) {
            found.push((table.to_owned(), decoder(format, &leaves)));
        }
    }
    found
}

fn mutate(format: Format, seed: u64) {
    let mut schemas = registry();
    let mut decoders = decoders(format, &schemas);
    let small = |event: &Event| {
        event.table().is_some() && event.value.as_ref().is_none_or(|v| v.len() < BYTES_MAX)
    };
    let events: Vec<Event> = events(format).into_iter().filter(small).collect();
    let mut random = Random(seed);
    let (mut rows, mut held, mut quarantined) = (0, 0, 0);
    for _ in 0..MUTANTS {
        let mut event = events[random.below(events.len())].clone();
        let other = &events[random.below(events.len())];
        let table = event.table().unwrap().to_owned();
        let Some((_, decoder)) = decoders.iter_mut().find(|(name, _)| *name == table) else {
            continue;
        };
        let part = if random.below(8) == 0 { &mut event.key } else { &mut event.value };
        if let Some(bytes) = part {
            random.damage(bytes, other.value.as_deref().unwrap_or_default());
        }
        let before = decoder.len();
        match event.push(decoder, &mut schemas) {
            Ok(()) => {
                rows += 1;
                assert_eq!(decoder.len(), before + 1);
            }
            Err(refusal) => {
                assert_eq!(decoder.len(), before);
                assert!(refusal.to_string().len() < 400);
                match refusal {
                    Refusal::Hold(_) => held += 1,
                    Refusal::Quarantine(_) => quarantined += 1,
                    Refusal::Away(_) | Refusal::Full => panic!("{refusal}"),
                }
            }
        }
        // Finishing asserts that each column has one value a row.
        if decoder.len() == ROWS_MAX {
            assert_eq!(decoder.finish().rows.num_rows(), ROWS_MAX);
        }
    }
    // The damage is neither always deadly nor always without effect.
    assert!(rows > 500 && held > 500 && quarantined > 1_000, "{rows} {held} {quarantined}");
}

#[test]
fn damaged_json_is_answered() {
    mutate(Format::DebeziumJson, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn damaged_json_with_schemas_is_answered() {
    mutate(Format::DebeziumJsonSchema, 0xbf58_476d_1ce4_e5b9);
}

#[test]
fn damaged_avro_is_answered() {
    mutate(Format::DebeziumAvro, 0x94d0_49bb_1331_11eb);
}

#[test]
fn damaged_schemas_are_answered() {
    let texts: Vec<String> = registry().0.into_values().collect();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut usable = 0;
    for _ in 0..2_000 {
        let mut bytes = texts[random.below(texts.len())].clone().into_bytes();
        let other = texts[random.below(texts.len())].as_bytes();
        random.damage(&mut bytes, other);
        let text = String::from_utf8_lossy(&bytes);
        usable += usize::from(leaves_of_avro(Some(&text), &text).is_ok());
        usable += usize::from(leaves_of_avro(None, &text).is_ok());
    }
    assert!(usable > 100);
}
