//! What is planted: a value for each leaf that the pipeline's own stages take, unique in each
//! record, and the records in which things go wrong.

use aws_lc_rs::rand;
use data_encoding::{BASE64, HEXLOWER};
use douane_schemas::leaf::LeafType;
use douane_transforms::Produces;
use serde_json::{Value as Json, json};

use crate::cases;
use crate::config::{Cells, Class, Event, Pipeline};
use crate::fault::RunFault;
use crate::plan::Plan;

/// A text that nobody else writes, and where it was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The image and the leaf, as in `after.email`, or what is wrong with the record.
    pub at: String,
    pub text: String,
}

/// One record to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// What goes wrong with it; empty: nothing.
    pub wrong: &'static str,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub markers: Vec<Marker>,
}

/// How a leaf's values are made.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Word,
    Email,
    /// With a last digit that makes it Luhn-valid.
    Digits(usize),
    Hex,
    Uuid,
    /// Of a document, a text in it.
    Object,
    /// 52 to 60 bits: exact in every reader of JSON it meets on the way.
    Whole,
    /// A text of digits with a point.
    Decimal(usize),
    /// Bytes, in JSON as base64 of a text.
    Bytes,
    /// Values too short, or too much like others, to be looked for.
    Chosen(Vec<Json>),
}

impl Kind {
    /// Whether its values can be looked for.
    pub(super) fn is_marked(&self) -> bool {
        !matches!(self, Self::Chosen(_))
    }

    /// The `number`th value, and what is looked for of it.
    pub(super) fn value(&self, number: usize) -> Result<(Json, Option<String>), RunFault> {
        let word = || Ok::<_, RunFault>(format!("mk{}", HEXLOWER.encode(&random::<12>()?)));
        let of = |text: String| (Json::from(text.clone()), Some(text));
        Ok(match self {
            Self::Word => of(word()?),
            Self::Email => of(format!("{}@example.com", word()?)),
            Self::Digits(length) => of(luhn(&digits(*length - 1)?)),
            Self::Hex => of(HEXLOWER.encode(&random::<16>()?)),
            Self::Uuid => {
                let hex = HEXLOWER.encode(&random::<16>()?);
                let part = |from: usize, to: usize| &hex[from..to];
                let (version, variant) = (part(13, 16), part(17, 20));
                of(format!("{}-{}-4{version}-8{variant}-{}", part(0, 8), part(8, 12), part(20, 32)))
            }
            Self::Object => {
                let text = word()?;
                (Json::from(json!({ "of": text }).to_string()), Some(text))
            }
            Self::Whole => {
                let number = 1 << 52 | u64::from_le_bytes(random()?) >> 12;
                (Json::from(number), Some(number.to_string()))
            }
            Self::Decimal(scale) => {
                let digits = digits(16)?;
                let (whole, part) = digits.split_at(digits.len() - scale);
                let text = if *scale == 0 { digits } else { format!("{whole}.{part}") };
                of(text)
            }
            Self::Bytes => {
                let text = word()?;
                (Json::from(BASE64.encode(text.as_bytes())), Some(text))
            }
            Self::Chosen(values) => (values[number % values.len()].clone(), None),
        })
    }
}

fn random<const N: usize>() -> Result<[u8; N], RunFault> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| RunFault::Client("no random bytes".to_owned()))?;
    Ok(bytes)
}

/// Without a leading zero, as numbers have it.
fn digits(length: usize) -> Result<String, RunFault> {
    let mut out = String::new();
    while out.len() < length {
        let byte = random::<1>()?[0];
        if byte < 250 && !(out.is_empty() && byte.is_multiple_of(10)) {
            out.push(char::from(b'0' + byte % 10));
        }
    }
    Ok(out)
}

/// With the check digit of ISO/IEC 7812-1 behind it.
fn luhn(digits: &str) -> String {
    let doubled = |(n, b): (usize, u8)| {
        let digit = u32::from(b - b'0') * if n % 2 == 0 { 2 } else { 1 };
        digit / 10 + digit % 10
    };
    let sum: u32 = digits.bytes().rev().enumerate().map(doubled).sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// What a leaf may be given, the likeliest first. Which one its stage takes, a trial says.
pub(super) fn kinds(pipeline: &Pipeline, plan: &Plan, path: &str, of: LeafType) -> Vec<Kind> {
    let mut kinds = Vec::new();
    let column = plan.columns.iter().chain(&plan.keys).find(|c| c.from.leaf.path == path);
    let produces = column.and_then(|c| c.produces());
    let free_text = column.is_some_and(|c| c.from.class == Class::FreeText);
    if let Some(Produces::Region { regions }) = produces {
        kinds.push(Kind::Chosen(regions.keys().map(|place| Json::from(place.as_str())).collect()));
    }
    match of {
        LeafType::Text if free_text => kinds.extend([Kind::Email, Kind::Word]),
        LeafType::Text | LeafType::Enum | LeafType::EnumSet | LeafType::Ltree | LeafType::Xml => {
            kinds.extend([Kind::Word, Kind::Email, Kind::Digits(16), Kind::Digits(12), Kind::Hex]);
        }
        LeafType::Json => kinds.extend([Kind::Object, Kind::Word]),
        LeafType::Uuid => kinds.push(Kind::Uuid),
        LeafType::Int64 => kinds.push(Kind::Whole),
        LeafType::VariableScaleDecimal => kinds.push(Kind::Decimal(2)),
        LeafType::Decimal { scale, precision } if precision >= 16 && scale >= 0 => {
            kinds.push(Kind::Decimal(usize::from(scale.unsigned_abs())));
        }
        LeafType::Bytes => kinds.push(Kind::Bytes),
        _ => {}
    }
    // What the file's own tests give is of the right sort, and too ordinary to be looked for.
    let rows = pipeline.tests.iter().flat_map(|case| &case.input);
    let rows = rows.flat_map(|event| [&event.before, &event.after]).flatten();
    let given: Vec<Json> =
        rows.filter_map(|row| row.get(path)).filter(|v| !v.is_null()).cloned().collect();
    if !given.is_empty() {
        kinds.push(Kind::Chosen(given));
    }
    kinds.push(Kind::Chosen(ordinary(of)));
    kinds
}

/// Values of the types that are too short to be marked; several, for pairs.
fn ordinary(of: LeafType) -> Vec<Json> {
    let spread = |all: [i64; 5]| all.into_iter().map(Json::from).collect();
    match of {
        LeafType::Boolean => vec![json!(true), json!(false)],
        LeafType::Int16 | LeafType::Int32 => spread([7, 8, 950, 31_001, 12]),
        LeafType::Float32 | LeafType::Float64 => vec![json!(0.5), json!(0.75), json!(1024.5)],
        LeafType::Date => spread([7_000, 7_001, 7_400, 12_345, 19_000]),
        LeafType::Time => spread([1_000, 2_000, 40_000_000, 86_399_000, 61_000]),
        LeafType::Timestamp => {
            spread([1_700_000_000_000, 1_700_000_000_001, 1_700_003_600_000, 1, 1_600_000_000_000])
        }
        LeafType::MicroTimestamp => spread([
            1_700_000_000_000_000,
            1_700_000_000_000_001,
            1_700_003_600_000_000,
            1,
            1_600_000_000_000_000,
        ]),
        LeafType::NanoTimestamp => spread([
            1_700_000_000_000_000_000,
            1_700_000_000_000_000_001,
            1_700_003_600_000_000_000,
            1,
            1_600_000_000_000_000_000,
        ]),
        LeafType::ZonedTimestamp => {
            vec![json!("2026-01-01T00:00:00Z"), json!("2026-01-01T00:00:01Z")]
        }
        LeafType::ZonedTime => vec![json!("10:00:00Z"), json!("10:00:01Z")],
        LeafType::Interval => vec![json!("P1D"), json!("P2D")],
        LeafType::Array => vec![json!(["a", "b"]), json!(["c"])],
        LeafType::Decimal { .. } | LeafType::VariableScaleDecimal => {
            vec![json!("1.5"), json!("2.5"), json!("1"), json!(1), json!("AQ==")]
        }
        _ => spread([1, 2, 3, 4, 5]),
    }
}

/// A record of a change, without its markers.
pub(super) fn record(
    plan: &Plan,
    table: (&str, &str),
    op: char,
    before: Option<Cells>,
    after: Option<Cells>,
) -> Planted {
    let event = Event { op, before, after };
    let (key, value) = cases::wire(&event, plan, table).swap_remove(0);
    Planted { wrong: "", key, value, headers: Vec::new(), markers: Vec::new() }
}

/// A record that is well, made wrong in one way, with a marker in what is wrong.
type Spoil = fn(&mut Json, &str);

/// The ways in which a record's value is wrong, all of them JSON.
const SPOILED: [(&str, Spoil); 13] = [
    ("an unlisted leaf", |v, m| v["after"]["unlisted_leaf"] = json!(m)),
    ("an unlisted leaf with a document", |v, m| v["after"]["unlisted_tree"] = json!({"in": [m]})),
    ("names that are data", |v, m| {
        v["after"][format!("{m}@example.com")] = json!({ m: 1, format!("x {m}"): [m] });
    }),
    ("an unknown operation", |v, m| v["op"] = json!(m)),
    ("a number where the row stands", |v, m| v["after"] = json!(m)),
    ("no row at all", |v, m| *v = json!({"op": "c", "note": m})),
    ("no envelope", |v, m| *v = json!([m])),
    ("the statement in source.query", |v, m| {
        v["source"]["query"] = json!(format!("INSERT INTO t VALUES ('{m}')"));
    }),
    ("a transaction's id", |v, m| {
        v["transaction"] = json!({"id": m, "total_order": 1, "data_collection_order": 1});
    }),
    ("another table's name", |v, m| v["source"]["table"] = json!(m)),
    ("a user in source", |v, m| v["source"]["user"] = json!(m)),
    ("a message event", |v, m| {
        *v = json!({"op": "m", "source": {"table": ""}, "message": {"prefix": m, "content": m}});
    }),
    ("a truncate", |v, m| *v = json!({"op": "t", "source": {"query": m}, "ts_ms": 1})),
];

/// Every way of going wrong, each with a marker of its own. `well` makes records that cross.
pub(super) fn wrong(
    well: &dyn Fn() -> Result<Planted, RunFault>,
    text_leaf: Option<&str>,
) -> Result<Vec<Planted>, RunFault> {
    let mut all = Vec::new();
    let mut add = |wrong: &'static str, change: &dyn Fn(&mut Planted, &str)| {
        let mut planted = well()?;
        let (_, text) = Kind::Word.value(0)?;
        let text = text.unwrap_or_default();
        planted.wrong = wrong;
        change(&mut planted, &text);
        planted.markers.push(Marker { at: wrong.to_owned(), text });
        all.push(planted);
        Ok::<(), RunFault>(())
    };
    for (name, spoil) in SPOILED {
        add(name, &|planted, text| {
            let bytes = planted.value.as_deref().unwrap_or_default();
            let mut value = serde_json::from_slice(bytes).unwrap_or(Json::Null);
            spoil(&mut value, text);
            planted.value = Some(value.to_string().into_bytes());
        })?;
    }
    add("JSON that ends too early", &|planted, text| {
        planted.value = Some(format!("{{\"op\":\"c\",\"after\":{{\"x\":\"{text}").into_bytes());
    })?;
    add("bytes that are no text", &|planted, text| {
        planted.value = Some([b"{\"after\":\"\xff\xfe", text.as_bytes(), b"\"}"].concat());
    })?;
    add("a key of an interface for a name", &|planted, text| {
        // Of letters alone: no count of digits hides it.
        let name = text.bytes().cycle().skip(2).take(36).map(|b| char::from(b'g' + b % 20));
        let name = format!("ghp_{}", name.collect::<String>());
        planted.markers.push(Marker { at: planted.wrong.to_owned(), text: name.clone() });
        let bytes = planted.value.as_deref().unwrap_or_default();
        let mut value: Json = serde_json::from_slice(bytes).unwrap_or(Json::Null);
        value["after"][name] = json!(text);
        planted.value = Some(value.to_string().into_bytes());
    })?;
    add("a key that is no JSON", &|planted, text| planted.key = Some(text.as_bytes().to_vec()))?;
    add("a tombstone of an unknown key", &|planted, text| {
        planted.key = Some(json!({"unlisted": text}).to_string().into_bytes());
        planted.value = None;
    })?;
    add("headers", &|planted, text| {
        planted.headers.push((text.to_owned(), text.as_bytes().to_vec()));
        planted.headers.push(("__debezium.newkey".to_owned(), text.as_bytes().to_vec()));
        planted.headers.push(("baggage".to_owned(), format!("user={text}").into_bytes()));
    })?;
    if let Some(leaf) = text_leaf {
        let in_leaf = |planted: &mut Planted, cell: Json| {
            let bytes = planted.value.as_deref().unwrap_or_default();
            let mut value: Json = serde_json::from_slice(bytes).unwrap_or(Json::Null);
            if let Some(place) = leaf.split('.').try_fold(&mut value["after"], |at, step| {
                at.as_object_mut().and_then(|object| object.get_mut(step))
            }) {
                *place = cell;
            }
            planted.value = Some(value.to_string().into_bytes());
        };
        add("a document where text stands", &|planted, text| {
            in_leaf(planted, json!({ "deep": [text] }));
        })?;
        add("a text of a mebibyte", &|planted, text| {
            in_leaf(planted, json!(text.repeat((1 << 20) / text.len())));
        })?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_differ_and_say_what_to_look_for() {
        let all = [
            Kind::Word,
            Kind::Email,
            Kind::Digits(16),
            Kind::Hex,
            Kind::Uuid,
            Kind::Object,
            Kind::Whole,
            Kind::Decimal(2),
            Kind::Bytes,
        ];
        for kind in all {
            let (one, text) = kind.value(0).unwrap();
            let (other, _) = kind.value(1).unwrap();
            assert_ne!(one, other, "{kind:?}");
            assert!(text.unwrap().len() >= 16, "{kind:?}");
        }
        let chosen = Kind::Chosen(vec![json!(1), json!(2)]);
        assert_eq!(chosen.value(3).unwrap(), (json!(2), None));
    }

    /// ISO/IEC 7812-1, Annex B: 7992 7398 71 has the check digit 3.
    #[test]
    fn check_digits_are_luhns() {
        assert_eq!(luhn("7992739871"), "79927398713");
    }
}
