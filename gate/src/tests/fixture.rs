//! One released table with a column of every shape, four good rows, and the keys.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use data_encoding::BASE32_NOPAD;
use douane_ledger::release::{
    self, Changes, Column, Limits, LiveRelease, OnBad, Override, Policy, Release, ReleasedLeaf,
    Shape, Source,
};
use douane_ledger::signing::SigningKey;
use douane_ledger::trust::{self, Approver, Role, Root, TrustRoot};
use douane_schemas::batch::{Op, Origin};
use douane_schemas::keys::{Purpose, RootKey};
use douane_schemas::leaf::LeafType;
use douane_schemas::tuple::Tuple;
use fpe::ff1::{FF1, FlexibleNumeralString};

use crate::{Crossing, Gate, GateFault, GateKeys, Passed, Target, TransactionIds};

pub(super) const DETECTORS: [&str; 4] = ["email", "phone", "card", "iban"];

/// One column of the table: what is released and the cells of the four rows.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) column: Column,
    pub(super) leaf_type: String,
    pub(super) raw: ArrayRef,
    pub(super) out: ArrayRef,
}

/// A whole crossing, owned, so that a test can change any part of it.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) columns: Vec<Case>,
    pub(super) keys: Vec<Case>,
    /// The columns before the change, and which rows had them; for the envelope shape.
    pub(super) before: Vec<Case>,
    pub(super) had: Vec<Option<bool>>,
    pub(super) changes: Changes,
    pub(super) origins: Vec<Origin>,
    pub(super) skip: Vec<bool>,
    pub(super) withdrawn: Vec<bool>,
}

pub(super) fn root() -> RootKey {
    RootKey::new([7; 32])
}

pub(super) fn texts<const N: usize>(cells: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringArray::from(cells.to_vec()))
}

fn token_bits(domain: &str, text: &str) -> [u8; 16] {
    let key = root().derive(Purpose::TokenHmac, domain);
    let mac = key.mac(Tuple::new().text(domain).number(1).text(text));
    mac[..16].try_into().unwrap()
}

fn radix(mut value: u128, signs: &[u8], width: usize) -> String {
    let mut out = vec![signs[0]; width];
    for place in out.iter_mut().rev() {
        *place = signs[(value % signs.len() as u128) as usize];
        value /= signs.len() as u128;
    }
    String::from_utf8(out).unwrap()
}

/// A token as the `tokenize` stage documents it, written here once more.
pub(super) fn token(form: &str, domain: &str, text: &str) -> String {
    let bits = token_bits(domain, text);
    let number = u128::from_be_bytes(bits);
    let signs = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    match form {
        "base32" => BASE32_NOPAD.encode(&bits).to_ascii_lowercase(),
        "base62" => radix(number, signs, 22),
        "decimal" => radix(number, b"0123456789", 39),
        _ => {
            let mut bits = bits;
            bits[6] = bits[6] & 0x0f | 0x80;
            bits[8] = bits[8] & 0x3f | 0x80;
            let hex = data_encoding::HEXLOWER.encode(&bits);
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
    }
}

fn tokens<const N: usize>(form: &str, domain: &str, cells: [Option<&str>; N]) -> ArrayRef {
    let cells = cells.map(|cell| cell.map(|text| token(form, domain, text)));
    Arc::new(StringArray::from(cells.to_vec()))
}

/// `+49` kept, the digits behind it encrypted, by the crate alone.
fn phone(raw: &str) -> String {
    let key = root().derive(Purpose::Ff1, "phone");
    let (kept, digits) = raw.split_at(3);
    let tweak = Tuple::new().text("phone").text("").text(kept).finish();
    let numerals: Vec<u16> = digits.bytes().map(|b| u16::from(b - b'0')).collect();
    let cipher = FF1::<aes::Aes256>::new(&key.secret()[..], 10)
        .unwrap()
        .encrypt(&tweak, &FlexibleNumeralString::from(numerals))
        .unwrap();
    let digits = Vec::<u16>::from(cipher).into_iter().map(|n| char::from(b'0' + n as u8));
    kept.chars().chain(digits).collect()
}

pub(super) fn column(name: &str, class: &str, column_type: &str, shape: Shape) -> Column {
    Column {
        name: name.into(),
        from: name.into(),
        column_type: column_type.into(),
        nullable: true,
        class: class.into(),
        shape,
        on_bad: OnBad::Refuse,
    }
}

pub(super) fn shape_token(form: &str, domain: &str) -> Shape {
    Shape::Token { form: form.into(), domain: domain.into(), pad_to: None, key_per: None }
}

pub(super) fn shape_fpe() -> Shape {
    Shape::Fpe {
        alphabet: "0123456789".into(),
        keep_first: 3,
        keep_last: 0,
        separators: " -./()+".into(),
        domain: "phone".into(),
        context: String::new(),
        length_min: 6,
        check_digit: None,
    }
}

pub(super) fn shape_bins() -> Shape {
    let labels = ["(-inf,0)", "[0,100000)", "[100000,inf)"];
    Shape::Bins { labels: labels.map(String::from).to_vec() }
}

pub(super) fn table() -> Table {
    let case = |column: Column, leaf_type: &str, raw: ArrayRef, out: ArrayRef| Case {
        column,
        leaf_type: leaf_type.into(),
        raw,
        out,
    };
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(-42), Some(7_340_012), None]));
    let id_texts = [Some("7"), Some("-42"), Some("7340012"), None];
    let emails = [Some("ada@example.com"), Some("Bo@Example.org"), Some("cy@mail.example"), None];
    let refs = [
        Some("550e8400-e29b-41d4-a716-446655440000"),
        Some("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        Some("6ba7b811-9dad-11d1-80b4-00c04fd430c8"),
        None,
    ];
    let accounts = [Some("DE89370400440532013000"), Some("NO9386011117947"), None, None];
    let phones = [Some("+4915112345678"), Some("+4915287654321"), Some("+49301234567"), None];
    let phone_out: Vec<Option<String>> = phones.iter().map(|p| p.map(phone)).collect();
    let cards = [Some("4111111111111111"), Some("5555 5555 5555 4444"), Some("12"), None];
    let masked = [Some("************1111"), Some("***************4444"), Some("**"), None];
    let names = [Some("Ada Lovelace"), Some("Bo Diddley"), Some("Cy Young"), None];
    let constant = Some("[NAME]");
    let notes = [
        Some("call +4915112345678 or ada@example.com"),
        Some("nothing to see"),
        Some("4111 1111 1111 1111, thanks"),
        None,
    ];
    let redacted =
        [Some("call [PHONE] or [EMAIL]"), Some("nothing to see"), Some("[CARD], thanks"), None];
    // 1990-05-17, 1969-12-31, 2000-02-29
    let births = Date32Array::from(vec![Some(7_441), Some(-1), Some(11_016), None]);
    let years = Int32Array::from(vec![Some(1990), Some(1969), Some(2000), None]);
    // 2025-10-09T08:53:20.123, 1969-12-31T23:59:59.999, 2024-02-29T00:00:00
    let visits = [Some(1_760_000_000_123), Some(-1), Some(1_709_164_800_000), None];
    let months = [Some("2025-10"), Some("1969-12"), Some("2024-02"), None];
    let seen = [
        Some("2025-10-09T23:30:00.5-02:00"),
        Some("1969-12-31T23:59:59Z"),
        Some("2024-02-29T12:00:00+00:00"),
        None,
    ];
    let days = Date32Array::from(vec![Some(20_371), Some(-1), Some(19_782), None]);
    let updated = [Some(1_760_000_000_123_456i64), Some(-1), Some(1_709_164_800_000_000), None];
    let hour = 3_600_000_000;
    let hours: Vec<Option<i64>> =
        updated.iter().map(|us| us.map(|us| us.div_euclid(hour) * hour)).collect();
    let balances = Int64Array::from(vec![Some(-5), Some(0), Some(100_000), None]);
    let bins = [Some("(-inf,0)"), Some("[0,100000)"), Some("[100000,inf)"), None];
    let incomes = Decimal128Array::from(vec![Some(-1), Some(9_999_999), Some(10_000_000), None])
        .with_precision_and_scale(12, 2)
        .unwrap();
    let streets = [Some("Ährenweg 5"), Some("Elm"), Some("Oxford Street 1"), None];
    let prefixes = [Some("Ähr"), Some("Elm"), Some("Oxf"), None];
    let cities = texts([Some("Köln"), Some(""), None, None]);
    let countries = texts([Some("DE"), Some("NO"), Some("GB"), None]);
    let scores: ArrayRef = Arc::new(
        Decimal128Array::from(vec![Some(1980), Some(-5), Some(0), None])
            .with_precision_and_scale(10, 2)
            .unwrap(),
    );
    let actives: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None]));
    let uids = texts(refs);
    let changed = texts(seen);
    let counts: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(-1), Some(0), None]));
    let ratios: ArrayRef =
        Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), Some(-0.25), None]));

    let public = |name: &str, leaf_type: &str, cells: ArrayRef| {
        let column = column(name, "public", leaf_type, Shape::Public);
        case(column, leaf_type, Arc::clone(&cells), cells)
    };
    let identifier = |name: &str, shape| column(name, "identifier", "text", shape);
    let columns = vec![
        case(
            identifier("id", shape_token("base32", "customer")),
            "int64",
            Arc::clone(&ids),
            tokens("base32", "customer", id_texts),
        ),
        case(
            identifier("email", shape_token("base62", "customer_email")),
            "text",
            texts(emails),
            tokens("base62", "customer_email", emails),
        ),
        case(
            identifier("ref", shape_token("uuid", "ref")),
            "uuid",
            texts(refs),
            tokens("uuid", "ref", refs),
        ),
        case(
            identifier("account", shape_token("decimal", "account")),
            "text",
            texts(accounts),
            tokens("decimal", "account", accounts),
        ),
        case(
            identifier("phone", shape_fpe()),
            "text",
            texts(phones),
            Arc::new(StringArray::from(phone_out)),
        ),
        case(
            identifier("card", Shape::Mask { keep_first: 0, keep_last: 4, fill: '*' }),
            "text",
            texts(cards),
            texts(masked),
        ),
        case(
            identifier("name", Shape::Constant { text: "[NAME]".into() }),
            "text",
            texts(names),
            texts([constant, constant, constant, None]),
        ),
        case(
            column(
                "notes",
                "free_text",
                "text",
                Shape::Redacted {
                    detectors: DETECTORS.map(String::from).to_vec(),
                    dictionaries: vec![],
                    in_place: vec![],
                },
            ),
            "text",
            texts(notes),
            texts(redacted),
        ),
        case(
            column("birth", "quasi", "int32", Shape::Year),
            "date",
            Arc::new(births),
            Arc::new(years),
        ),
        case(
            column("visited", "quasi", "text", Shape::Month),
            "timestamp",
            Arc::new(TimestampMillisecondArray::from(visits.to_vec())),
            texts(months),
        ),
        case(
            column("seen", "quasi", "date", Shape::Day),
            "zoned_timestamp",
            texts(seen),
            Arc::new(days),
        ),
        case(
            column("updated", "public", "micro_timestamp", Shape::Hour),
            "micro_timestamp",
            Arc::new(TimestampMicrosecondArray::from(updated.to_vec())),
            Arc::new(TimestampMicrosecondArray::from(hours)),
        ),
        case(
            column("balance", "sensitive", "text", shape_bins()),
            "int64",
            Arc::new(balances),
            texts(bins),
        ),
        case(
            column("income", "sensitive", "text", shape_bins()),
            "decimal(12,2)",
            Arc::new(incomes),
            texts([Some("(-inf,0)"), Some("[0,100000)"), Some("[100000,inf)"), None]),
        ),
        case(
            column("street", "quasi", "text", Shape::Prefix { length: 3, fill: None }),
            "text",
            texts(streets),
            texts(prefixes),
        ),
        public("city", "text", cities),
        public("country", "text", countries),
        public("score", "decimal(10,2)", scores),
        public("active", "boolean", actives),
        public("uid", "uuid", uids),
        public("changed", "zoned_timestamp", changed),
        public("count", "int32", counts),
        public("ratio", "float64", ratios),
    ];
    let key_ids: ArrayRef =
        Arc::new(Int64Array::from(vec![Some(7), Some(-42), Some(7_340_012), Some(9)]));
    let key_texts = [Some("7"), Some("-42"), Some("7340012"), Some("9")];
    let keys = vec![case(
        identifier("id", shape_token("base32", "customer")),
        "int64",
        key_ids,
        tokens("base32", "customer", key_texts),
    )];
    let origin = |partition, offset, op| Origin {
        topic: 0,
        partition,
        offset,
        timestamp_ms: 1_760_000_000_123,
        op,
        schema_id: None,
    };
    let origins = vec![
        origin(1, 11, Op::Create),
        origin(1, 10, Op::Create),
        origin(0, 90, Op::Create),
        origin(0, 91, Op::Delete),
    ];
    Table {
        columns,
        keys,
        before: Vec::new(),
        had: Vec::new(),
        changes: Changes::default(),
        origins,
        skip: vec![false; 4],
        withdrawn: vec![false; 4],
    }
}

impl Table {
    /// The release that this table has.
    pub(super) fn release(&self) -> Release {
        let leaf = |part: &str, case: &Case| ReleasedLeaf {
            part: part.into(),
            path: case.column.from.clone(),
            leaf_type: case.leaf_type.clone(),
            class: case.column.class.clone(),
            residency: None,
            subject: false,
        };
        let leaves = self.keys.iter().map(|case| leaf("key", case));
        let leaves = leaves.chain(self.columns.iter().map(|case| leaf("row", case)));
        Release {
            v: 1,
            version: 1,
            pipeline: "customers".into(),
            purpose: "model-training".into(),
            fingerprint: "ab".repeat(32),
            nonce: "01".repeat(16),
            author: "ada".into(),
            created: "2027-01-01T00:00:00Z".into(),
            expires: "2027-07-01T00:00:00Z".into(),
            limits: Limits { records: None, bytes: None, epsilon: None },
            source: Source {
                cluster_id: "s".into(),
                zone: "eu".into(),
                topics: vec!["crm.public.customers".into()],
            },
            target: release::Target {
                cluster_id: "g".into(),
                zone: "global".into(),
                topic: "training.customers".into(),
                format: "json".into(),
                partition_by: "token".into(),
                timestamp_ms_granularity: 1000,
            },
            leaves: leaves.collect(),
            key: self.keys.iter().map(|case| case.column.clone()).collect(),
            columns: self.columns.iter().map(|case| case.column.clone()).collect(),
            domains: Vec::new(),
            changes: self.changes.clone(),
            overrides: vec![Override {
                name: "notes".into(),
                columns: vec!["notes".into()],
                detectors: DETECTORS.map(String::from).to_vec(),
                residual: vec!["names".into()],
                min_recall: "0.9".into(),
                scorecard: None,
                share_domain: None,
                max_per_record: None,
            }],
            policy: Policy { version: 1, digest: "cd".repeat(32) },
            once: None,
            explain: "as read by the approvers\n".into(),
        }
    }

    pub(super) fn gate(&self) -> Gate {
        gate(&self.release()).unwrap()
    }

    /// Rows through a gate that was made for the unchanged table.
    pub(super) fn through(&self, gate: &mut Gate) -> Result<Passed, GateFault> {
        let columns = batch(&self.columns);
        let keys = batch(&self.keys);
        let raw = raw(self);
        let before = batch(&self.before);
        let crossing = Crossing {
            columns: &columns,
            before: (!self.before.is_empty()).then_some(&before),
            keys: &keys,
            raw: &raw,
            origins: &self.origins,
            skip: &self.skip,
            withdrawn: &self.withdrawn,
        };
        gate.pass(crossing, ids())
    }

    pub(super) fn at(&self, name: &str) -> usize {
        self.columns.iter().position(|case| case.column.name == name).unwrap()
    }

    pub(super) fn at_mut(&mut self, name: &str) -> &mut Case {
        let at = self.at(name);
        &mut self.columns[at]
    }
}

pub(super) fn batch(cases: &[Case]) -> RecordBatch {
    let fields: Vec<Field> = cases
        .iter()
        .map(|case| {
            let (name, data_type) = (&case.column.name, case.out.data_type().clone());
            Field::new(name, data_type, case.column.nullable)
        })
        .collect();
    let arrays = cases.iter().map(|case| Arc::clone(&case.out)).collect();
    let rows = cases.first().map_or(0, |case| case.out.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).unwrap()
}

pub(super) fn raw(table: &Table) -> RecordBatch {
    let named = |prefix: &str, cases: &[Case]| {
        let column = |case: &Case| {
            let name = format!("{prefix}.{}", case.column.from);
            (Field::new(name, case.raw.data_type().clone(), true), Arc::clone(&case.raw))
        };
        cases.iter().map(column).collect::<Vec<_>>()
    };
    let mut all = named("key", &table.keys);
    all.extend(named("after", &table.columns));
    all.extend(named("before", &table.before));
    if !table.before.is_empty() {
        let had: ArrayRef = Arc::new(BooleanArray::from(table.had.clone()));
        all.push((Field::new("before", DataType::Boolean, true), had));
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

pub(super) fn ids() -> TransactionIds {
    TransactionIds {
        manifest_id: [0xab; 16],
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        salt: [5; 16],
        sequence: 12,
        shard: 1,
    }
}

pub(super) fn manifest_key() -> SigningKey {
    SigningKey::from_seed(&[3; 32]).unwrap()
}

pub(crate) fn keys() -> GateKeys {
    let root = root();
    GateKeys {
        seal_position: root.derive(Purpose::Position, "customers"),
        seal_quarantine: root.derive(Purpose::Quarantine, "customers"),
        blind: root.derive(Purpose::Blind, "customers"),
        ff1: ["phone", "notes"]
            .map(|domain| (domain.to_owned(), root.derive(Purpose::Ff1, domain)))
            .into(),
        manifest: manifest_key(),
    }
}

pub(super) fn target(release: &Release) -> Target {
    Target {
        topic: release.target.topic.clone(),
        manifest_topic: "training.customers.manifests".into(),
        partitions: 6,
        record_bytes_max: 1 << 20,
        value_schema_id: (release.target.format == "avro").then_some(258),
    }
}

/// Signed by one approver and verified, as a real one is.
pub(super) fn live(release: &Release) -> Arc<LiveRelease> {
    let key = SigningKey::from_seed(&[1; 32]).unwrap();
    let bo = Approver {
        name: "bo".into(),
        key: key.verifying_key(),
        roles: vec![Role::Approve, Role::Revoke, Role::Trust],
    };
    let root = trust::sign(&Root::first(1, vec![bo]), &[&key]).unwrap().to_bytes().unwrap();
    let root = TrustRoot::load(&root, None).unwrap();
    let envelope = release::sign(release, &[&key]).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Arc::new(release::verify(&envelope, &root, now).unwrap())
}

pub(super) fn gate(release: &Release) -> Result<Gate, GateFault> {
    Gate::new(live(release), target(release), keys(), "douane 0.1.0".into())
}

/// A text column with one cell changed.
pub(super) fn with_cell(array: &ArrayRef, row: usize, cell: Option<&str>) -> ArrayRef {
    use arrow::array::AsArray;
    let mut cells: Vec<Option<&str>> = array.as_string::<i32>().iter().collect();
    cells[row] = cell;
    Arc::new(StringArray::from(cells))
}

pub(super) fn leaf_type(text: &str) -> LeafType {
    text.parse().unwrap()
}

pub(super) fn take_rows(array: &ArrayRef, rows: &[u32]) -> ArrayRef {
    arrow::compute::take(array, &arrow::array::UInt32Array::from(rows.to_vec()), None).unwrap()
}
