//! What the demo's source writes: change events of one table of customers, as Debezium writes
//! them, from a seed. All of it is invented: card numbers carry a right check digit under a prefix
//! that no issuer uses, telephone numbers are from the range kept for fiction, bank codes and
//! national ids begin with a zero that no real one has, addresses end in `example.com`.
//!
//! One in four events makes a row, about one in fifty deletes one, and each delete is followed by
//! its tombstone. Half-way, the rows of one partition grow a column, `passport`. A few values are
//! cut off, as a broken producer would leave them.

use std::collections::HashMap;
use std::fmt::Write as _;

/// Partitions of the source topic; a row's partition is its id's remainder.
pub const PARTITIONS: i32 = 4;
/// Where the new column appears.
pub const CHANGED: i32 = 3;
/// What stands in every value that must not cross as it is: e-mail addresses and passports.
pub const RAW: [&str; 2] = ["@example.", "P-4711-"];
/// Rows that are shown; each has a second to itself, by which it is found again outside.
pub const SHOWN: usize = 3;
/// Values that are cut off.
const BROKEN: u64 = 10;
/// The oldest row that still changes: a table of any size has a bounded part in memory.
const ROWS_MAX: u64 = 50_000;

const FIRST: [&str; 16] = [
    "Ada", "Bo", "Chen", "Dora", "Emil", "Fatma", "Goran", "Hana", "Ivo", "Jana", "Kofi", "Lena",
    "Milo", "Nadia", "Omar", "Pia",
];
const LAST: [&str; 16] = [
    "Abel", "Berg", "Costa", "Dietz", "Ehlers", "Fuchs", "Gruber", "Horvat", "Ilic", "Jansen",
    "Kovac", "Lang", "Moreau", "Novak", "Okafor", "Petit",
];
const STREET: [&str; 6] = ["Mill", "Station", "Harbour", "Church", "Garden", "River"];
const CITY: [(&str, &str); 8] = [
    ("Berlin", "DE"),
    ("Lyon", "FR"),
    ("Porto", "PT"),
    ("Gdansk", "PL"),
    ("Gent", "BE"),
    ("Graz", "AT"),
    ("Turku", "FI"),
    ("Cork", "IE"),
];
const WORDS: [&str; 24] = [
    "asked", "about", "the", "delivery", "of", "an", "order", "that", "was", "late", "and",
    "wanted", "to", "know", "when", "it", "would", "come", "agent", "said", "invoice", "sent",
    "twice", "spring",
];

/// splitmix64: small, seeded, the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, in_thousand: u64) -> bool {
        self.below(1000) < in_thousand
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[(self.next() % list.len() as u64) as usize]
    }
}

/// One record of the source topic.
pub struct Event {
    pub partition: i32,
    pub timestamp_ms: i64,
    pub key: Vec<u8>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What must become of the events, known before any of them is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Records of the source topic.
    pub events: u64,
    /// Records that cross, in all.
    pub crossed: u64,
    /// Of them, those that wait behind the new column.
    pub waiting: u64,
    /// Tombstones that become one with their delete.
    pub merged: u64,
    /// Values that no row can be made of.
    pub quarantined: u64,
    /// Offset of the first record with the new column.
    pub held_at: Option<i64>,
    /// Records of the source topic by partition.
    pub by_partition: [i64; PARTITIONS as usize],
}

/// One row as the table holds it.
#[derive(Clone)]
struct Row {
    id: u64,
    email: String,
    phone: String,
    national_id: String,
    card_number: String,
    full_name: String,
    street: String,
    city: &'static str,
    country: &'static str,
    /// Days since 1970.
    birth_date: i64,
    notes: String,
    balance_cents: i64,
    /// Microseconds since 1970.
    updated_at: i64,
}

/// The stream of events, and what is expected of it so far.
pub struct Customers {
    random: Random,
    rows: HashMap<u64, Row>,
    first_id: u64,
    next_id: u64,
    /// Time of the first event.
    start_ms: i64,
    records: u64,
    tombstone: Option<u64>,
    expected: Expected,
}

impl Customers {
    pub fn new(seed: u64, records: u64, start_ms: i64) -> Self {
        let first_id = 7_340_012;
        Self {
            random: Random(seed),
            rows: HashMap::new(),
            first_id,
            next_id: first_id,
            start_ms,
            records,
            tombstone: None,
            expected: Expected::default(),
        }
    }

    /// What must become of the events made so far.
    pub fn expected(&self) -> Expected {
        self.expected
    }

    /// Whole seconds of its own for each row that is shown; a millisecond for each other event.
    pub fn shown_at_ms(&self, number: usize) -> i64 {
        self.start_ms + number as i64 * 1_000
    }

    fn timestamp_ms(&self) -> i64 {
        let made = self.expected.events as usize;
        match made < SHOWN {
            true => self.shown_at_ms(made),
            false => self.shown_at_ms(SHOWN) + 1_000 + made as i64,
        }
    }

    fn notes(&mut self, plant: bool) -> String {
        let mut words: Vec<String> = (0..18).map(|_| self.random.of(&WORDS).to_owned()).collect();
        if plant {
            let planted = match self.random.below(4) {
                0 => format!("ask.{}@example.org", self.random.of(&LAST).to_lowercase()),
                1 => phone(&mut self.random),
                2 => card(&mut self.random),
                _ => iban(self.random.below(10_000_000_000)),
            };
            let at = self.random.below(18) as usize;
            words[at] = planted;
        }
        words.join(" ")
    }

    fn row(&mut self, id: u64, updated_at: i64) -> Row {
        let (first, last) = (self.random.of(&FIRST), self.random.of(&LAST));
        let (city, country) = self.random.of(&CITY);
        let plant = self.rows.len() < SHOWN || self.random.chance(300);
        let notes = self.notes(plant);
        let random = &mut self.random;
        Row {
            id,
            email: format!("{first}.{last}{id}@example.com").to_lowercase(),
            phone: phone(random),
            national_id: format!("0{:010}", random.below(10_000_000_000)),
            card_number: card(random),
            full_name: format!("{first} {last}"),
            street: format!("{} Street {}", random.of(&STREET), 1 + random.below(300)),
            city,
            country,
            birth_date: random.below(16_650) as i64 - 3_650,
            notes,
            balance_cents: random.below(11_000_000) as i64 - 1_000_000,
            updated_at,
        }
    }

    /// A row that changes or goes; any of the newer ones.
    fn any_row(&mut self) -> Option<Row> {
        let oldest = self.first_id.max(self.next_id.saturating_sub(ROWS_MAX));
        let id = oldest + self.random.below(self.next_id - oldest);
        self.rows.get(&id).cloned()
    }

    fn change(&mut self, timestamp_ms: i64) -> Event {
        loop {
            let dice = self.random.below(1000);
            if dice < 260 || self.rows.len() < 10 {
                let id = self.next_id;
                self.next_id += 1;
                let row = self.row(id, timestamp_ms * 1000);
                self.rows.insert(id, row.clone());
                return self.event(timestamp_ms, id, "c", None, Some(&row));
            }
            let Some(before) = self.any_row() else { continue };
            // The column appears with a new row.
            if partition_of(before.id) == CHANGED && self.changes() {
                continue;
            }
            if dice < 980 {
                let plant = self.random.chance(300);
                let after = Row {
                    notes: self.notes(plant),
                    balance_cents: before.balance_cents + self.random.below(10_000) as i64 - 5_000,
                    updated_at: timestamp_ms * 1000,
                    ..before.clone()
                };
                self.rows.insert(after.id, after.clone());
                return self.event(timestamp_ms, after.id, "u", Some(&before), Some(&after));
            }
            self.rows.remove(&before.id);
            self.tombstone = Some(before.id);
            return self.event(timestamp_ms, before.id, "d", Some(&before), None);
        }
    }

    /// The next row of the changed partition is the first with the new column.
    fn changes(&self) -> bool {
        self.expected.held_at.is_none() && self.expected.events >= self.records / 2
    }

    fn event(
        &mut self,
        timestamp_ms: i64,
        id: u64,
        op: &str,
        before: Option<&Row>,
        after: Option<&Row>,
    ) -> Event {
        let partition = partition_of(id);
        if partition == CHANGED && self.changes() {
            self.expected.held_at = Some(self.expected.by_partition[CHANGED as usize]);
        }
        let grown = partition == CHANGED && self.expected.held_at.is_some();
        self.expected.crossed += 1;
        self.expected.waiting += u64::from(grown);
        let value = self.value(timestamp_ms, op, before, after, grown);
        Event { partition, timestamp_ms, key: key(id), value: Some(value.into_bytes()) }
    }

    fn value(
        &self,
        ts_ms: i64,
        op: &str,
        before: Option<&Row>,
        after: Option<&Row>,
        grown: bool,
    ) -> String {
        let mut out = String::with_capacity(1_500);
        let made = self.expected.events;
        out.push_str("{\"before\":");
        image(&mut out, before, grown);
        out.push_str(",\"after\":");
        image(&mut out, after, grown);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            ",\"source\":{{\"version\":\"3.7.0.Final\",\"connector\":\"postgresql\",\
             \"name\":\"crm\",\"ts_ms\":{ts_ms},\"snapshot\":\"false\",\"db\":\"crm\",\
             \"sequence\":\"[\\\"{ts_ms}\\\",\\\"{}\\\"]\",\"schema\":\"public\",\
             \"table\":\"customers\",\"txId\":{},\"lsn\":{},\"xmin\":null}},\"op\":\"{op}\",\
             \"ts_ms\":{},\"transaction\":null}}",
            ts_ms + 8,
            1_000 + made / 7,
            24_000_000 + made * 56,
            ts_ms + 12
        );
        out
    }

    /// A value that ends in the middle of its row.
    fn broken(&mut self, timestamp_ms: i64) -> Event {
        let id = self.next_id;
        self.next_id += 1;
        self.expected.quarantined += 1;
        let value = format!("{{\"before\":null,\"after\":{{\"id\":{id},\"email\":\"").into_bytes();
        Event { partition: partition_of(id), timestamp_ms, key: key(id), value: Some(value) }
    }
}

impl Iterator for Customers {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.expected.events == self.records {
            return None;
        }
        let timestamp_ms = self.timestamp_ms();
        let every = (self.records / BROKEN).max(2);
        let event = match self.tombstone.take() {
            Some(id) => {
                self.expected.merged += 1;
                Event { partition: partition_of(id), timestamp_ms, key: key(id), value: None }
            }
            None if self.expected.events % every == every - 1 => self.broken(timestamp_ms),
            // Its tombstone must still have room.
            None => self.change(timestamp_ms),
        };
        self.expected.events += 1;
        self.expected.by_partition[event.partition as usize] += 1;
        Some(event)
    }
}

fn partition_of(id: u64) -> i32 {
    (id % PARTITIONS as u64) as i32
}

fn key(id: u64) -> Vec<u8> {
    format!("{{\"id\":{id}}}").into_bytes()
}

/// No text of ours needs an escape.
fn image(out: &mut String, row: Option<&Row>, grown: bool) {
    let Some(row) = row else { return out.push_str("null") };
    let _ = write!(
        out,
        "{{\"id\":{},\"email\":\"{}\",\"phone\":\"{}\",\"national_id\":\"{}\",\
         \"card_number\":\"{}\",\"full_name\":\"{}\",\"street\":\"{}\",\"city\":\"{}\",\
         \"country\":\"{}\",\"birth_date\":{},\"notes\":\"{}\",\"balance_cents\":{},\
         \"updated_at\":{}",
        row.id,
        row.email,
        row.phone,
        row.national_id,
        row.card_number,
        row.full_name,
        row.street,
        row.city,
        row.country,
        row.birth_date,
        row.notes,
        row.balance_cents,
        row.updated_at
    );
    if grown {
        let _ = write!(out, ",\"passport\":\"P-4711-{:07}\"", row.id);
    }
    out.push('}');
}

/// `+1 AAA 555 01xx`, the numbers kept for fiction.
fn phone(random: &mut Random) -> String {
    format!("+1{}55501{:02}", 200 + random.below(800), random.below(100))
}

/// Sixteen digits under a prefix that no issuer uses, with Luhn's check digit.
fn card(random: &mut Random) -> String {
    let body = format!("9{:014}", random.below(100_000_000_000_000));
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, c)| {
            let digit = u32::from(c - b'0') * if at % 2 == 0 { 2 } else { 1 };
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

/// A German IBAN with right check digits and a bank code, 00000000, that no bank has.
fn iban(account: u64) -> String {
    let account = format!("00000000{account:010}");
    // ISO 13616: D and E are 13 and 14; 98 minus the remainder of the number that ends in DE00.
    let number = format!("{account}131400");
    let rest = number.bytes().fold(0u32, |rest, c| (rest * 10 + u32::from(c - b'0')) % 97);
    format!("DE{:02}{account}", 98 - rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(records: u64) -> (Vec<Event>, Expected) {
        let mut customers = Customers::new(1, records, 1_000_000);
        let events: Vec<Event> = customers.by_ref().collect();
        (events, customers.expected())
    }

    #[test]
    fn a_seed_makes_the_same_events() {
        let (a, b) = (made(2_000).0, made(2_000).0);
        let same = a.iter().zip(&b).all(|(a, b)| a.key == b.key && a.value == b.value);
        assert!(same && a.len() == 2_000 && b.len() == 2_000);
    }

    #[test]
    fn what_is_expected_adds_up() {
        for records in [1_000, 1_001, 5_000] {
            let (events, expected) = made(records);
            assert_eq!(expected.events, records);
            assert_eq!(expected.crossed + expected.merged + expected.quarantined, records);
            assert!(expected.merged > 0 && expected.quarantined > 0 && expected.waiting > 100);
            assert_eq!(expected.by_partition.iter().sum::<i64>(), records as i64);
            let tombstones = events.iter().filter(|event| event.value.is_none()).count();
            assert_eq!(tombstones as u64, expected.merged);
        }
    }

    #[test]
    fn from_its_first_record_on_the_new_column_is_in_every_row_of_its_partition() {
        let (events, expected) = made(5_000);
        let held_at = usize::try_from(expected.held_at.expect("the column appears")).expect("one");
        let text = |event: &Event| {
            String::from_utf8(event.value.clone().unwrap_or_default()).expect("text")
        };
        let mut at = 0;
        for event in &events {
            let has = text(event).contains("\"passport\"");
            if event.partition != CHANGED {
                assert!(!has);
                continue;
            }
            let whole = event.value.is_some() && text(event).ends_with('}');
            assert_eq!(has, whole && at >= held_at, "offset {at}");
            at += 1;
        }
    }

    #[test]
    fn numbers_are_of_nobody_and_have_right_check_digits() {
        let mut random = Random(7);
        for _ in 0..1_000 {
            let card = card(&mut random);
            let luhn: u32 = card
                .bytes()
                .rev()
                .enumerate()
                .map(|(at, c)| {
                    let digit = u32::from(c - b'0') * if at % 2 == 0 { 1 } else { 2 };
                    if digit > 9 { digit - 9 } else { digit }
                })
                .sum();
            assert!(luhn.is_multiple_of(10) && card.len() == 16 && card.starts_with('9'));
            let phone = phone(&mut random);
            assert!(phone.len() == 12 && phone[5..].starts_with("55501"), "{phone}");
            let iban = iban(random.below(10_000_000_000));
            let moved = format!("{}1314{}", &iban[4..], &iban[2..4]);
            let rest = moved.bytes().fold(0u32, |r, c| (r * 10 + u32::from(c - b'0')) % 97);
            assert!(rest == 1 && iban.len() == 22, "{iban}");
        }
    }

    #[test]
    fn the_rows_that_are_shown_have_a_second_to_themselves() {
        let (events, _) = made(2_000);
        let second = |event: &Event| event.timestamp_ms / 1_000;
        for (number, shown) in events[..SHOWN].iter().enumerate() {
            let same = events.iter().filter(|event| second(event) == second(shown)).count();
            assert_eq!(same, 1, "row {number}");
        }
    }
}
