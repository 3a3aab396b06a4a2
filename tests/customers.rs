//! The standard work: Debezium change events of one table of customers, made up and seeded.
//!
//! Mix: 25 % create, 71 % update (before and after), 2 % delete, each followed by its tombstone (2 %).
//! Thirteen columns; `notes` is free text of about 120 characters, and 30 % of the notes hold an e-mail address, a
//! telephone, card or IBAN number. Card numbers carry a right check digit but a prefix that no issuer uses; telephone
//! numbers are from ranges kept for fiction. A fourteenth column, `serial`, may be asked for: public, another number in
//! every row version, it lets a reader of the target say which source record it is looking at.

use std::collections::HashMap;
use std::fmt::Write as _;

const FIRST: [&str; 26] = [
    "Ada", "Bo", "Chen", "Dora", "Emil", "Fatma", "Goran", "Hana", "Ivo", "Jana", "Kofi", "Lena",
    "Milo", "Nadia", "Omar", "Pia", "Quinn", "Rosa", "Sami", "Tara", "Uma", "Vera", "Wim", "Xenia",
    "Yara", "Zeno",
];
const LAST: [&str; 26] = [
    "Abel", "Berg", "Costa", "Dietz", "Ehlers", "Fuchs", "Gruber", "Horvat", "Ilic", "Jansen",
    "Kovac", "Lang", "Moreau", "Novak", "Okafor", "Petit", "Quist", "Rossi", "Sato", "Tanaka",
    "Urban", "Vidal", "Weiss", "Xu", "Yilmaz", "Zorn",
];
const STREET: [&str; 10] = [
    "Mill", "Station", "Harbour", "Church", "Garden", "School", "Forest", "Bridge", "Market",
    "River",
];
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
const WORDS: &str = "asked about the delivery of an order that was late and wanted to know when it would come the agent said that the invoice had been sent twice customer is happy now please call back next week about the contract renewal in spring";

/// splitmix64: small, seeded, the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// True in so many of a thousand.
    pub fn chance(&mut self, in_thousand: u64) -> bool {
        self.below(1000) < in_thousand
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).expect("an index")]
    }
}

fn luhn(body: &str) -> String {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, c)| {
            let digit = u32::from(c - b'0') * if i % 2 == 0 { 2 } else { 1 };
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

/// One version of a row.
#[derive(Clone)]
pub struct Row {
    pub id: u64,
    pub email: String,
    pub phone: String,
    pub national_id: String,
    pub card_number: String,
    pub full_name: String,
    pub street: String,
    pub city: &'static str,
    pub country: &'static str,
    /// Days since 1970.
    pub birth_date: i32,
    pub notes: Option<String>,
    /// What a detector must find in `notes`.
    pub notes_secret: Option<String>,
    pub balance_cents: i64,
    /// Microseconds since 1970.
    pub updated_at: i64,
    pub serial: u64,
}

impl Row {
    /// Every raw text of the row that must not cross, each at least eight characters long.
    pub fn secrets(&self) -> Vec<String> {
        let id = self.id.to_string();
        let mut all = vec![
            self.email.clone(),
            self.phone.clone(),
            self.national_id.clone(),
            self.card_number.clone(),
            self.full_name.clone(),
            self.street.clone(),
            id,
        ];
        all.extend(self.notes_secret.clone());
        all.retain(|text| text.len() >= 8);
        all
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Create,
    Update,
    Delete,
    /// The record with a null value that follows a delete.
    Tombstone,
}

/// One change.
#[derive(Clone)]
pub struct Event {
    pub op: Op,
    pub id: u64,
    /// Milliseconds since 1970.
    pub ts_ms: i64,
    pub made: u64,
    pub before: Option<Row>,
    pub after: Option<Row>,
}

/// The wire formats of Debezium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Json,
    JsonSchema,
    /// With the registry's ids of the key's and the value's schema.
    Avro {
        key: u32,
        value: u32,
    },
}

/// The seeded stream of events.
pub struct Customers {
    random: Random,
    live: HashMap<u64, Row>,
    first_id: u64,
    next_id: u64,
    ts_ms: i64,
    made: u64,
    /// Is the column `serial` there?
    pub with_serial: bool,
    tombstone: Option<u64>,
}

impl Customers {
    /// `first_id` is the key of the first row; a large one makes every id text long enough to search for.
    pub fn new(seed: u64, first_id: u64, with_serial: bool) -> Self {
        Self {
            random: Random::new(seed),
            live: HashMap::new(),
            first_id,
            next_id: first_id,
            ts_ms: 1_760_000_000_000,
            made: 0,
            with_serial,
            tombstone: None,
        }
    }

    fn notes(&mut self) -> (String, Option<String>) {
        let words: Vec<&str> = WORDS.split(' ').collect();
        let mut text: Vec<String> = (0..20).map(|_| self.random.of(&words).to_owned()).collect();
        let mut secret = None;
        if self.random.chance(300) {
            let planted = match self.random.below(4) {
                0 => format!(
                    "{}.{}@example.org",
                    self.random.of(&FIRST).to_lowercase(),
                    self.random.of(&LAST).to_lowercase()
                ),
                1 => format!("+1 202 555 01{:02}", self.random.below(100)),
                2 => luhn(&format!("9{:014}", self.random.below(100_000_000_000_000))),
                _ => iban(&format!("{:018}", self.random.below(1_000_000_000_000_000_000))),
            };
            let at = usize::try_from(self.random.below(20)).expect("an index");
            text[at] = planted.clone();
            secret = Some(planted);
        }
        (text.join(" "), secret)
    }

    fn row(&mut self, id: u64) -> Row {
        let (first, last) = (self.random.of(&FIRST), self.random.of(&LAST));
        let (city, country) = self.random.of(&CITY);
        let (notes, notes_secret) = self.notes();
        let has_notes = self.random.chance(900);
        Row {
            id,
            email: format!("{first}.{last}{id}@example.com").to_lowercase(),
            phone: format!("+49{}", 1_500_000_000 + self.random.below(100_000_000)),
            national_id: format!("{:011}", self.random.below(100_000_000_000)),
            card_number: luhn(&format!("9{:014}", self.random.below(100_000_000_000_000))),
            full_name: format!("{first} {last}"),
            street: format!("{} Street {}", self.random.of(&STREET), self.random.between(1, 300)),
            city,
            country,
            birth_date: i32::try_from(self.random.below(16_650)).expect("days") - 3650,
            notes: has_notes.then_some(notes),
            notes_secret: if has_notes { notes_secret } else { None },
            balance_cents: i64::try_from(self.random.below(11_000_000)).expect("cents") - 1_000_000,
            updated_at: 1_760_000_000_000_000 + i64::try_from(id % 1_000_000_000).expect("an id"),
            serial: self.made,
        }
    }
}

/// A German IBAN with right check digits.
fn iban(account: &str) -> String {
    // the letters D and E are 13 and 14; the check digits are 98 minus the remainder of the number that ends in DE00
    let number = format!("{account}131400");
    let rest = number.bytes().fold(0u32, |rest, c| (rest * 10 + u32::from(c - b'0')) % 97);
    format!("DE{:02}{account}", 98 - rest)
}

impl Iterator for Customers {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let event = if let Some(id) = self.tombstone.take() {
            Event {
                op: Op::Tombstone,
                id,
                ts_ms: self.ts_ms,
                made: self.made,
                before: None,
                after: None,
            }
        } else {
            self.change()
        };
        self.made += 1;
        Some(event)
    }
}

impl Customers {
    fn change(&mut self) -> Event {
        loop {
            self.ts_ms += 3;
            let dice = self.random.below(1000);
            let made = self.made;
            if dice < 260 || self.live.len() < 10 {
                let id = self.next_id;
                self.next_id += 1;
                let row = self.row(id);
                self.live.insert(id, row.clone());
                return Event {
                    op: Op::Create,
                    id,
                    ts_ms: self.ts_ms,
                    made,
                    before: None,
                    after: Some(row),
                };
            }
            let oldest = self.first_id.max(self.next_id.saturating_sub(50_000));
            let id = self.random.between(oldest, self.next_id);
            let Some(before) = self.live.get(&id).cloned() else { continue };
            if dice < 980 {
                let (notes, notes_secret) = self.notes();
                let after = Row {
                    notes: Some(notes),
                    notes_secret,
                    balance_cents: before.balance_cents
                        + i64::try_from(self.random.below(10_000)).expect("cents")
                        - 5000,
                    updated_at: self.ts_ms * 1000,
                    serial: made,
                    ..before.clone()
                };
                self.live.insert(id, after.clone());
                return Event {
                    op: Op::Update,
                    id,
                    ts_ms: self.ts_ms,
                    made,
                    before: Some(before),
                    after: Some(after),
                };
            }
            self.live.remove(&id);
            self.tombstone = Some(id);
            return Event {
                op: Op::Delete,
                id,
                ts_ms: self.ts_ms,
                made,
                before: Some(before),
                after: None,
            };
        }
    }
}

impl Event {
    pub fn key(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Json => format!("{{\"id\":{}}}", self.id).into_bytes(),
            Format::JsonSchema => {
                format!("{{\"schema\":{KEY_SCHEMA},\"payload\":{{\"id\":{}}}}}", self.id)
                    .into_bytes()
            }
            Format::Avro { key, .. } => {
                let mut out = frame(key);
                long(&mut out, i64::try_from(self.id).expect("an id"));
                out
            }
        }
    }

    /// Null for a tombstone.
    pub fn value(&self, format: Format, with_serial: bool) -> Option<Vec<u8>> {
        if self.op == Op::Tombstone {
            return None;
        }
        Some(match format {
            Format::Json => self.json(with_serial).into_bytes(),
            Format::JsonSchema => format!(
                "{{\"schema\":{},\"payload\":{}}}",
                value_schema(with_serial),
                self.json(with_serial)
            )
            .into_bytes(),
            Format::Avro { value, .. } => self.avro(value, with_serial),
        })
    }

    fn letter(&self) -> &'static str {
        match self.op {
            Op::Create => "c",
            Op::Update => "u",
            Op::Delete | Op::Tombstone => "d",
        }
    }

    fn json(&self, with_serial: bool) -> String {
        let mut out = String::with_capacity(1200);
        let image = |row: &Option<Row>| {
            row.as_ref().map_or_else(|| "null".to_owned(), |row| row_json(row, with_serial))
        };
        let (ts, made) = (self.ts_ms, self.made);
        write!(
            out,
            "{{\"before\":{},\"after\":{},\"source\":{{\"version\":\"3.7.0.Final\",\"connector\":\"postgresql\",\"name\":\"crm\",\"ts_ms\":{ts},\"snapshot\":\"false\",\"db\":\"crm\",\"sequence\":\"[\\\"{ts}\\\",\\\"{}\\\"]\",\"schema\":\"public\",\"table\":\"customers\",\"txId\":{},\"lsn\":{},\"xmin\":null}},\"op\":\"{}\",\"ts_ms\":{},\"transaction\":null}}",
            image(&self.before),
            image(&self.after),
            ts + 8,
            1000 + made / 7,
            24_000_000 + made * 56,
            self.letter(),
            ts + 12
        )
        .expect("a string takes it");
        out
    }

    fn avro(&self, schema: u32, with_serial: bool) -> Vec<u8> {
        let mut out = frame(schema);
        for image in [&self.before, &self.after] {
            match image {
                None => long(&mut out, 0),
                Some(row) => {
                    long(&mut out, 1);
                    row_avro(&mut out, row, with_serial);
                }
            }
        }
        let made = i64::try_from(self.made).expect("a count");
        for word in ["3.7.0.Final", "postgresql", "crm"] {
            text(&mut out, word);
        }
        long(&mut out, self.ts_ms);
        long(&mut out, 1);
        text(&mut out, "false");
        text(&mut out, "crm");
        long(&mut out, 1);
        text(&mut out, &format!("[\"{}\",\"{}\"]", self.ts_ms, self.ts_ms + 8));
        text(&mut out, "public");
        text(&mut out, "customers");
        long(&mut out, 1);
        long(&mut out, 1000 + made / 7);
        long(&mut out, 1);
        long(&mut out, 24_000_000 + made * 56);
        long(&mut out, 0);
        text(&mut out, self.letter());
        long(&mut out, 1);
        long(&mut out, self.ts_ms + 12);
        long(&mut out, 0);
        out
    }
}

/// No text of ours needs an escape.
fn row_json(row: &Row, with_serial: bool) -> String {
    let mut out = String::with_capacity(500);
    write!(
        out,
        "{{\"id\":{},\"email\":\"{}\",\"phone\":\"{}\",\"national_id\":\"{}\",\"card_number\":\"{}\",\"full_name\":\"{}\",\"street\":\"{}\",\"city\":\"{}\",\"country\":\"{}\",\"birth_date\":{},\"notes\":",
        row.id, row.email, row.phone, row.national_id, row.card_number, row.full_name, row.street, row.city, row.country, row.birth_date
    )
    .expect("a string takes it");
    match &row.notes {
        Some(notes) => write!(out, "\"{notes}\"").expect("a string takes it"),
        None => out.push_str("null"),
    }
    write!(out, ",\"balance_cents\":{},\"updated_at\":{}", row.balance_cents, row.updated_at)
        .expect("a string takes it");
    if with_serial {
        write!(out, ",\"serial\":{}", row.serial).expect("a string takes it");
    }
    out.push('}');
    out
}

fn row_avro(out: &mut Vec<u8>, row: &Row, with_serial: bool) {
    long(out, i64::try_from(row.id).expect("an id"));
    for word in
        [&row.email, &row.phone, &row.national_id, &row.card_number, &row.full_name, &row.street]
    {
        text(out, word);
    }
    text(out, row.city);
    text(out, row.country);
    long(out, i64::from(row.birth_date));
    match &row.notes {
        None => long(out, 0),
        Some(notes) => {
            long(out, 1);
            text(out, notes);
        }
    }
    long(out, row.balance_cents);
    long(out, row.updated_at);
    if with_serial {
        long(out, i64::try_from(row.serial).expect("a serial"));
    }
}

fn frame(schema: u32) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(schema.to_be_bytes());
    out
}

/// Avro's variable-length zig-zag integer.
fn long(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push(u8::try_from(left & 0x7F).expect("seven bits") | 0x80);
        left >>= 7;
    }
    out.push(u8::try_from(left).expect("seven bits"));
}

fn text(out: &mut Vec<u8>, value: &str) {
    long(out, i64::try_from(value.len()).expect("a length"));
    out.extend(value.as_bytes());
}

const KEY_SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"}],"optional":false,"name":"crm.public.customers.Key"}"#;

fn value_schema(with_serial: bool) -> String {
    let field = |name: &str, kind: &str, semantic: Option<&str>, optional: bool| {
        let name_of =
            semantic.map_or_else(String::new, |s| format!(",\"name\":\"{s}\",\"version\":1"));
        format!("{{\"type\":\"{kind}\",\"optional\":{optional}{name_of},\"field\":\"{name}\"}}")
    };
    let mut columns = vec![field("id", "int64", None, false)];
    for name in
        ["email", "phone", "national_id", "card_number", "full_name", "street", "city", "country"]
    {
        columns.push(field(name, "string", None, false));
    }
    columns.push(field("birth_date", "int32", Some("io.debezium.time.Date"), false));
    columns.push(field("notes", "string", None, true));
    columns.push(field("balance_cents", "int64", None, false));
    columns.push(field("updated_at", "int64", Some("io.debezium.time.MicroTimestamp"), false));
    if with_serial {
        columns.push(field("serial", "int64", None, false));
    }
    let columns = columns.join(",");
    let image = |name: &str| {
        format!(
            "{{\"type\":\"struct\",\"fields\":[{columns}],\"optional\":true,\"name\":\"crm.public.customers.Value\",\"field\":\"{name}\"}}"
        )
    };
    let source = [
        field("version", "string", None, false),
        field("connector", "string", None, false),
        field("name", "string", None, false),
        field("ts_ms", "int64", None, false),
        field("snapshot", "string", None, true),
        field("db", "string", None, false),
        field("sequence", "string", None, true),
        field("schema", "string", None, false),
        field("table", "string", None, false),
        field("txId", "int64", None, true),
        field("lsn", "int64", None, true),
        field("xmin", "int64", None, true),
    ]
    .join(",");
    let block = [
        field("id", "string", None, false),
        field("total_order", "int64", None, false),
        field("data_collection_order", "int64", None, false),
    ]
    .join(",");
    format!(
        "{{\"type\":\"struct\",\"fields\":[{},{},{{\"type\":\"struct\",\"fields\":[{source}],\"optional\":false,\"name\":\"io.debezium.connector.postgresql.Source\",\"version\":1,\"field\":\"source\"}},{},{},{{\"type\":\"struct\",\"fields\":[{block}],\"optional\":true,\"name\":\"event.block\",\"version\":1,\"field\":\"transaction\"}}],\"optional\":false,\"name\":\"crm.public.customers.Envelope\",\"version\":2}}",
        image("before"),
        image("after"),
        field("op", "string", None, false),
        field("ts_ms", "int64", None, true),
    )
}

/// Schema texts for the registry: the key's and the value's.
pub fn avro_schemas(with_serial: bool) -> (String, String) {
    use serde_json::json;
    let typed = |name: &str, kind: serde_json::Value| json!({ "name": name, "type": kind });
    let semantic = |kind: &str, name: &str| json!({ "type": kind, "connect.version": 1, "connect.name": name });
    let optional =
        |name: &str, kind: &str| json!({ "name": name, "type": ["null", kind], "default": null });
    let mut columns = vec![typed("id", json!("long"))];
    for name in
        ["email", "phone", "national_id", "card_number", "full_name", "street", "city", "country"]
    {
        columns.push(typed(name, json!("string")));
    }
    columns.push(typed("birth_date", semantic("int", "io.debezium.time.Date")));
    columns.push(optional("notes", "string"));
    columns.push(typed("balance_cents", json!("long")));
    columns.push(typed("updated_at", semantic("long", "io.debezium.time.MicroTimestamp")));
    if with_serial {
        columns.push(typed("serial", json!("long")));
    }
    let value = json!({ "type": "record", "name": "Value", "fields": columns });
    let source = json!({ "type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql", "fields": [
        typed("version", json!("string")), typed("connector", json!("string")), typed("name", json!("string")),
        typed("ts_ms", json!("long")), optional("snapshot", "string"), typed("db", json!("string")),
        optional("sequence", "string"), typed("schema", json!("string")), typed("table", json!("string")),
        optional("txId", "long"), optional("lsn", "long"), optional("xmin", "long"),
    ] });
    let block = json!({ "type": "record", "name": "block", "namespace": "event", "fields": [
        typed("id", json!("string")), typed("total_order", json!("long")), typed("data_collection_order", json!("long")),
    ] });
    let envelope = json!({ "type": "record", "name": "Envelope", "namespace": "crm.public.customers", "fields": [
        { "name": "before", "type": ["null", value], "default": null },
        { "name": "after", "type": ["null", "Value"], "default": null },
        { "name": "source", "type": source }, typed("op", json!("string")), optional("ts_ms", "long"),
        { "name": "transaction", "type": ["null", block], "default": null },
    ] });
    let key = json!({ "type": "record", "name": "Key", "namespace": "crm.public.customers", "fields": [typed("id", json!("long"))] });
    (key.to_string(), envelope.to_string())
}
