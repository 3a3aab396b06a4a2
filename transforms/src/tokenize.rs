//! `tokenize`: equal inputs of one domain give equal tokens, and nobody without the domain's key
//! can go forth, nor back; with it back too, where the domain says that its tokens are reversible.
//!
//! The domain says how. HMAC-SHA-256 and AES-256-CMAC: token = the first 16 bytes of MAC(domain
//! key, tuple(domain name, version, canonical text)), in the domain's form. AES-SIV: see
//! [`crate::reversible`]. The canonical text is the same for Int64 7, Decimal(p,0) 7 and text `7`,
//! and for a leaf of the key and of the row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use douane_schemas::leaf::{Leaf, LeafType};
use douane_schemas::secret::wipe_stack;
use douane_schemas::tuple::Tuple;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cmac::{Batch, Cmac, Head};
use crate::column::{Protect, each_text};
use crate::domains::{Algorithm, Domains, Normalize};
use crate::fault::{StageFault, TransformFault};
use crate::forms::Form;
use crate::hmac::{self, Hmac};
use crate::keyring::Keyring;
use crate::on_bad::OnBad;
use crate::reversible::Sealer;
use crate::stage::{Declaration, Declared, Guarantees, Produces};
use crate::subject_tokens::SubjectSealer;
use crate::subjects::{Namer, SubjectId};

/// What `tokenize` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "tokenize",
    summary: "a keyed token in place of the value; equal inputs of one domain stay equal",
    guarantees: Guarantees {
        deterministic: true,
        reversible_with_key: false,
        keeps_length: false,
        keeps_uniqueness: true,
        keeps_order: false,
        joinable: true,
        keeps_nulls: true,
    },
    semantics: 1,
    example_yaml: "tokenize: { columns: [id], domain: customer }",
};

/// `tokenize: { columns: [id], domain: customer }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Tokenize")]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leaves to tokenise.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// A domain of the domains' file: it fixes key, algorithm, normaliser and form.
    pub domain: String,
    /// What becomes of a cell that the domain's normaliser or the type's canonical text refuses.
    #[serde(default, skip_serializing_if = "OnBad::is_refuse")]
    pub on_bad: OnBad,
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// The domain is unknown, its normaliser does not fit the type, or the type has no one text.
    pub fn declare(&self, leaf: &Leaf, domains: &Domains) -> Result<Declared, StageFault> {
        use LeafType as T;
        let domain = domains.get(DECLARATION.verb, &self.domain)?;
        domain.normalize.check(&self.domain, leaf.leaf_type)?;
        // One value of these has many texts, or the two tokens of a boolean are a codebook.
        if matches!(leaf.leaf_type, T::Boolean | T::Json | T::Xml | T::Array | T::Opaque) {
            return Err(StageFault::LeafType {
                verb: DECLARATION.verb,
                found: leaf.leaf_type,
                expected: "a scalar with one text for one value and more than two values",
            });
        }
        // Dates and times beyond the year 9999 have no canonical text.
        let dated = matches!(
            leaf.leaf_type,
            T::Date
                | T::Time
                | T::MicroTime
                | T::NanoTime
                | T::Timestamp
                | T::MicroTimestamp
                | T::NanoTimestamp
        );
        Ok(Declared {
            output: T::Text,
            produces: Produces::Token {
                form: domain.form,
                domain: self.domain.clone(),
                version: domain.version.get(),
                algorithm: domain.algorithm,
                pad_to: domain.bucket_least(),
                key_per: domain.key_per.clone(),
            },
            // A reversible token holds its text, which may be too long for one.
            may_fail: dated || domain.normalize.may_fail() || domain.algorithm.reversible(),
            keys: vec![(domain.key_purpose(), self.domain.clone())],
        })
    }

    /// The compiled tokeniser.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn build(
        &self,
        leaf: &Leaf,
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<Arc<dyn Protect>, StageFault> {
        self.declare(leaf, domains)?;
        let domain = domains.get(DECLARATION.verb, &self.domain)?;
        let (name, version) = (&self.domain, domain.version.get());
        let purpose = domain.key_purpose();
        let key = keyring.key(purpose, name);
        let head = Tuple::new().text(name).number(u64::from(version)).finish();
        let maker = match domain.algorithm {
            Algorithm::AesSiv if domain.key_per.is_some() => {
                let keys = keyring.subjects().ok_or_else(|| StageFault::KeyPer {
                    domain: name.clone(),
                    leaf: domain.key_per.clone().unwrap_or_default(),
                    why: "and these keys have no place for those of single subjects",
                })?;
                let bucket_least = domain.bucket_least().unwrap_or_default();
                let number = keyring.version(purpose, name);
                let keys = Arc::clone(keys);
                Maker::Subject {
                    namer: Namer::new(&keyring.subject_namer(name), name),
                    sealer: SubjectSealer::new(keys, &key, number, name, version, bucket_least)?,
                }
            }
            Algorithm::HmacSha256 => {
                let key = Hmac::new(key.secret());
                Maker::Hmac { head: key.head(&head), key }
            }
            Algorithm::AesCmac => {
                let key = Cmac::new(key.secret());
                Maker::Cmac { head: key.head(&head), key }
            }
            Algorithm::AesSiv => {
                let bucket_least = domain.bucket_least().unwrap_or_default();
                let number = keyring.version(purpose, name);
                Maker::Siv(Sealer::new(&key, number, name, version, bucket_least)?)
            }
        };
        Ok(Arc::new(Tokenizer { maker, normalize: domain.normalize, form: domain.form }))
    }
}

struct Tokenizer {
    maker: Maker,
    normalize: Normalize,
    form: Form,
}

/// A domain's algorithm with its key. `head` is of the tuple's first fields: domain name and version.
enum Maker {
    Hmac {
        key: Hmac,
        head: hmac::Head,
    },
    Cmac {
        key: Cmac,
        head: Head,
    },
    Siv(Sealer),
    /// The key hangs on the row.
    Subject {
        namer: Namer,
        sealer: SubjectSealer,
    },
}

/// Rows whose tokens are made together: few enough to stay near the processor.
const ROWS: usize = 1_024;

/// The values of one call until they are printed.
#[derive(Default)]
struct Rows {
    count: usize,
    tags: Vec<[u8; 16]>,
    hmac: hmac::Batch,
    batch: Batch,
}

/// Printed tokens back to back, and where each of them ends.
struct Tokens {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Protect for Tokenizer {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let count = column.len() - column.null_count();
        let room = count * self.form.width();
        let mut out = Tokens { text: Vec::with_capacity(room), ends: Vec::new() };
        let mut normal = String::new();
        let mut rows = Rows::default();
        each_text(column, |value| {
            let Some(value) = value else { return Ok(()) };
            let text = match self.normalize {
                Normalize::None => value,
                normalize => normalize.apply(value, &mut normal)?,
            };
            self.maker.push(text, &mut rows)?;
            rows.count += 1;
            if rows.count == ROWS {
                self.print(&mut rows, &mut out);
            }
            Ok(())
        })?;
        self.print(&mut rows, &mut out);
        self.column(column, out)
    }

    fn apply_per(&self, column: &ArrayRef, per: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let Maker::Subject { namer, sealer } = &self.maker else { return self.apply(column) };
        let names = namer.names(per)?;
        let mut normal = String::new();
        let mut values: Vec<Option<(SubjectId, Zeroizing<String>)>> = Vec::new();
        each_text(column, |value| {
            let value = value.map(|value| {
                let name = names.get(values.len()).copied().flatten();
                let name = name.ok_or(TransformFault::NoSubject)?;
                let text = self.normalize.apply(value, &mut normal)?;
                Ok((name, Zeroizing::new(text.to_owned())))
            });
            values.push(value.transpose()?);
            Ok(())
        })?;
        // All of the column at once: keys are made together.
        let texts: Vec<(SubjectId, &str)> =
            values.iter().flatten().map(|(name, text)| (*name, text.as_str())).collect();
        let sealed = sealer.seal(&texts);
        // Each subject's cipher was on the stack.
        wipe_stack();
        let mut tokens = sealed?.into_iter();
        let mut out = StringBuilder::with_capacity(values.len(), values.len() * 90);
        let mut printed = String::new();
        for value in &values {
            match value.as_ref().and_then(|_| tokens.next()) {
                None => out.append_null(),
                Some(token) => {
                    self.form.print_bytes(&token, &mut printed);
                    out.append_value(&printed);
                }
            }
        }
        Ok(Arc::new(out.finish()))
    }
}

impl Maker {
    fn push(&self, text: &str, rows: &mut Rows) -> Result<(), TransformFault> {
        match self {
            Self::Hmac { key, head } => {
                key.push(head, &text_head(text), text.as_bytes(), &mut rows.hmac);
            }
            Self::Cmac { key, head } => {
                key.push(head, &text_head(text), text.as_bytes(), &mut rows.batch);
            }
            Self::Siv(sealer) => sealer.push(text, &mut rows.batch)?,
            // Without the other column nobody says whose it is.
            Self::Subject { .. } => return Err(TransformFault::NoSubject),
        }
        Ok(())
    }
}

impl Tokenizer {
    /// Makes the tokens of all rows, prints them, and empties the rows.
    fn print(&self, rows: &mut Rows, out: &mut Tokens) {
        let Rows { count, tags, hmac, batch } = rows;
        *count = 0;
        match &self.maker {
            Maker::Siv(sealer) => {
                let mut text = String::new();
                sealer.finish(batch, |token| {
                    self.form.print_bytes(token, &mut text);
                    out.text.extend_from_slice(text.as_bytes());
                    out.ends.push(out.text.len());
                });
            }
            Maker::Hmac { key, head } => key.finish(head, hmac, tags),
            Maker::Cmac { key, head } => key.finish(head, batch, tags),
            // Nothing was pushed.
            Maker::Subject { .. } => {}
        }
        let at = out.text.len();
        out.text.resize(at + tags.len() * self.form.width(), 0);
        self.form.print_all(tags, &mut out.text[at..]);
        tags.clear();
    }

    /// The column of the tokens, null for null. Those of 128 bits have one width, and no ends.
    fn column(&self, of: &ArrayRef, tokens: Tokens) -> Result<ArrayRef, TransformFault> {
        let (width, nulls) = (self.form.width(), of.nulls());
        i32::try_from(tokens.text.len()).map_err(|_| TransformFault::OutOfRange)?;
        let mut ends = tokens.ends.iter().copied();
        let mut end = 0;
        let mut offsets = Vec::with_capacity(of.len() + 1);
        offsets.push(0);
        offsets.extend((0..of.len()).map(|row| {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                end = ends.next().unwrap_or(end + width);
            }
            // None is beyond the text.
            end as i32
        }));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let texts = Buffer::from_vec(tokens.text);
        let out = StringArray::try_new(offsets, texts, of.nulls().cloned());
        Ok(Arc::new(out.map_err(|_| TransformFault::OutOfRange)?))
    }
}

/// Type and length of `Tuple::text`, without building a tuple for every cell.
fn text_head(text: &str) -> [u8; 5] {
    // A column is far below 4 GiB.
    let [a, b, c, d] = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    [b't', a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::HashSet;

    use arrow::array::{
        AsArray, Date32Array, Decimal128Array, Decimal256Array, Int16Array, Int32Array, Int64Array,
        StringArray,
    };
    use arrow::datatypes::i256;
    use douane_schemas::keys::RootKey;

    use super::*;
    use crate::reversible;

    fn domains() -> Domains {
        serde_json::from_str(include_str!("../testdata/golden_domains.json")).unwrap()
    }

    fn keyring() -> Keyring {
        Keyring::new(&RootKey::new([7; 32]))
    }

    fn token(
        domain: &str,
        leaf_type: LeafType,
        column: ArrayRef,
    ) -> Result<String, TransformFault> {
        let leaf = Leaf { path: "c".into(), leaf_type };
        let config =
            Config { columns: vec!["c".into()], domain: domain.into(), on_bad: OnBad::Refuse };
        let built = config.build(&leaf, &domains(), &keyring()).unwrap();
        built.apply(&column).map(|out| out.as_string::<i32>().value(0).to_owned())
    }

    fn text(value: &str) -> ArrayRef {
        Arc::new(StringArray::from(vec![value]))
    }

    /// One carrier of a golden value.
    fn carrier(leaf_type: LeafType, value: &str) -> ArrayRef {
        let unscaled = value.replace('.', "");
        match leaf_type {
            LeafType::Int16 => Arc::new(Int16Array::from(vec![value.parse::<i16>().unwrap()])),
            LeafType::Int32 => Arc::new(Int32Array::from(vec![value.parse::<i32>().unwrap()])),
            LeafType::Int64 => Arc::new(Int64Array::from(vec![value.parse::<i64>().unwrap()])),
            LeafType::Date => Arc::new(Date32Array::from(vec![value.parse::<i32>().unwrap()])),
            LeafType::Decimal { precision, scale } if precision > 38 => Arc::new(
                Decimal256Array::from(vec![i256::from_string(&unscaled).unwrap()])
                    .with_precision_and_scale(precision, scale)
                    .unwrap(),
            ),
            LeafType::Decimal { precision, scale } => Arc::new(
                Decimal128Array::from(vec![unscaled.parse::<i128>().unwrap()])
                    .with_precision_and_scale(precision, scale)
                    .unwrap(),
            ),
            _ => text(value),
        }
    }

    #[derive(Deserialize)]
    struct Golden {
        domain: String,
        token: String,
        /// Carriers of one value: leaf type and value.
        inputs: Vec<(LeafType, String)>,
    }

    /// The file was made by `testdata/golden_tokens.py`, which shares no code with this crate.
    #[test]
    fn golden_tokens_are_equal_across_types_and_writings() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("../testdata/golden_tokens.json")).unwrap();
        assert!(golden.len() >= 12);
        let mut seen = HashSet::new();
        for case in golden {
            assert!(seen.insert(case.token.clone()), "two values with one token");
            for (leaf_type, value) in case.inputs {
                let found = token(&case.domain, leaf_type, carrier(leaf_type, &value));
                assert_eq!(found.as_ref(), Ok(&case.token), "{} {leaf_type}", case.domain);
            }
        }
    }

    #[test]
    fn a_text_field_is_the_tuples() {
        for text in ["", "7", "äöü", &"x".repeat(300)] {
            let head = Tuple::new().text("domain").number(3).finish();
            let out = [&head[..], &text_head(text), text.as_bytes()].concat();
            assert_eq!(out, Tuple::new().text("domain").number(3).text(text).finish());
        }
    }

    /// What the key opens is what the domain's normaliser made, in every type.
    #[test]
    fn golden_reversible_tokens_open_again() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("../testdata/golden_tokens.json")).unwrap();
        let domains = domains();
        let mut opened = 0;
        for case in golden {
            let domain = &domains.domains[&case.domain];
            if !domain.algorithm.reversible() {
                continue;
            }
            assert_eq!(reversible::key_number(domain.form, &case.token), Ok(1));
            let key = keyring().key(domain.algorithm.purpose(), &case.domain);
            let version = domain.version.get();
            let text = reversible::open(&key, &case.domain, version, domain.form, &case.token);
            let text = text.unwrap();
            for (leaf_type, value) in case.inputs {
                let column = carrier(leaf_type, &value);
                each_text(&column, |found| {
                    let mut normal = String::new();
                    let found = domain.normalize.apply(found.unwrap(), &mut normal)?;
                    assert!(found == text.as_str(), "{leaf_type}");
                    Ok(())
                })
                .unwrap();
            }
            opened += 1;
        }
        assert!(opened >= 7, "{opened}");
    }

    /// Whose it is says the other column: null for null, refused without a subject or where it was
    /// shredded, and on_bad for those cells alone.
    #[test]
    fn a_cell_is_under_the_key_of_its_rows_subject() {
        use crate::stage::Stage;
        use crate::subjects::testing::InMemory;
        let domains: crate::Domains = serde_json::from_value(serde_json::json!({ "domains": {
            "d": { "algorithm": "aes_siv", "normalize": "email", "key_per": "after.id" }
        }}))
        .unwrap();
        let keys = Arc::new(InMemory::default());
        let ring = keyring().with_subjects(Arc::clone(&keys) as _);
        let leaf = Leaf { path: "c".into(), leaf_type: LeafType::Text };
        let config = |on_bad| Config { columns: vec!["c".into()], domain: "d".into(), on_bad };
        let bare = config(OnBad::Refuse).build(&leaf, &domains, &keyring()).err();
        assert!(matches!(bare, Some(StageFault::KeyPer { .. })), "a ring without a place for them");
        let alone = Stage::Tokenize(config(OnBad::Refuse)).build(&leaf, &domains, &ring).err();
        assert!(matches!(alone, Some(StageFault::KeyPer { .. })), "no other column");

        let column: ArrayRef =
            Arc::new(StringArray::from(vec![Some("A@x"), Some("a@x"), None, Some("a@x"), None]));
        let ids: ArrayRef =
            Arc::new(Int64Array::from(vec![Some(7), Some(8), Some(9), Some(7), None]));
        let texts: ArrayRef =
            Arc::new(StringArray::from(vec![Some("7"), Some("8"), None, Some("7"), None]));
        let build = |on_bad: OnBad| {
            on_bad.over(config(OnBad::Refuse).build(&leaf, &domains, &ring).unwrap())
        };
        let refusing = build(OnBad::Refuse);
        let out = refusing.apply_per(&column, &ids).unwrap();
        assert_eq!(out.to_data(), refusing.apply_per(&column, &texts).unwrap().to_data());
        assert_eq!(keys.made.lock().unwrap().len(), 2, "none for a subject without a value");
        let out = out.as_string::<i32>();
        assert_eq!(out.value(0), out.value(3), "one subject, one value after the normaliser");
        assert_ne!(out.value(0), out.value(1), "two subjects");
        assert!(out.is_null(2) && out.is_null(4));
        assert_eq!(refusing.apply(&column), Err(TransformFault::NoSubject));

        let without: ArrayRef =
            Arc::new(Int64Array::from(vec![None, Some(8), None, Some(7), None]));
        assert_eq!(refusing.apply_per(&column, &without).err(), Some(TransformFault::NoSubject));
        let eight = Namer::new(&ring.subject_namer("d"), "d").name("8");
        keys.shredded.lock().unwrap().push(eight);
        assert_eq!(refusing.apply_per(&column, &ids).err(), Some(TransformFault::Shredded));
        let lenient = build(OnBad::Null).apply_per(&column, &ids).unwrap();
        let nulls: Vec<bool> = (0..5).map(|row| lenient.is_null(row)).collect();
        assert_eq!(nulls, [false, true, true, false, true]);
        // Keys that are away are no cell's fault: nothing becomes null for it.
        keys.away.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(
            build(OnBad::Null).apply_per(&column, &ids).err(),
            Some(TransformFault::KeysAway)
        );
    }

    /// Nulls stand where they stood, over the border of what is made together.
    #[test]
    fn every_row_has_its_own_token_or_null() {
        for domain in ["plain", "fast", "back"] {
            let leaf = Leaf { path: "c".into(), leaf_type: LeafType::Text };
            let config = Config { columns: vec![], domain: domain.into(), on_bad: OnBad::Refuse };
            let built = config.build(&leaf, &domains(), &keyring()).unwrap();
            for (rows, nulls) in [(0, 2), (1, 1), (ROWS, 3), (ROWS + 1, 2), (2 * ROWS + 7, 5)] {
                let value = |row: usize| (row % nulls != 0).then(|| "v".repeat(row % 90));
                let column: ArrayRef = Arc::new((0..rows).map(value).collect::<StringArray>());
                let out = built.apply(&column).unwrap();
                let out = out.as_string::<i32>();
                assert_eq!(out.len(), rows);
                for row in 0..rows.min(3 * 90 * nulls) {
                    let alone: ArrayRef = Arc::new(column.slice(row, 1));
                    let alone = built.apply(&alone).unwrap();
                    assert_eq!(out.is_null(row), column.is_null(row));
                    assert!(alone.to_data() == out.slice(row, 1).to_data(), "{domain} {row}");
                }
            }
        }
    }

    #[test]
    fn version_domain_algorithm_and_root_change_every_token() {
        let leaf = Leaf { path: "c".into(), leaf_type: LeafType::Text };
        let of = |domains: &Domains, domain: &str, root: [u8; 32]| {
            let keyring = Keyring::new(&RootKey::new(root));
            let config = Config { columns: vec![], domain: domain.into(), on_bad: OnBad::Refuse };
            let out = config.build(&leaf, domains, &keyring).unwrap().apply(&text("7")).unwrap();
            out.as_string::<i32>().value(0).to_owned()
        };
        let mut seen = HashSet::new();
        for name in ["plain", "plain_two", "fast", "back"] {
            let one = of(&domains(), name, [7; 32]);
            assert_eq!(token(name, LeafType::Text, text("7")), Ok(one.clone()));
            assert!(seen.insert(one));
            assert!(seen.insert(of(&domains(), name, [8; 32])));
            let mut raised = domains();
            let domain = raised.domains.get_mut(name).unwrap();
            domain.version = domain.version.saturating_add(1);
            assert!(seen.insert(of(&raised, name, [7; 32])));
            for algorithm in [Algorithm::HmacSha256, Algorithm::AesCmac, Algorithm::AesSiv] {
                let mut other = domains();
                let domain = other.domains.get_mut(name).unwrap();
                if domain.algorithm != algorithm {
                    domain.algorithm = algorithm;
                    assert!(seen.insert(of(&other, name, [7; 32])));
                }
            }
        }
    }

    #[test]
    fn cells_bad_phone_bad_decimal_bad_length_bad_date() {
        for bad in ["030 1234567", "+49", "call me"] {
            assert_eq!(token("phone", LeafType::Text, text(bad)), Err(TransformFault::Unparsable));
        }
        assert_eq!(token("amount", LeafType::Text, text("1e3")), Err(TransformFault::Unparsable));
        let long = text(&"x".repeat(reversible::TEXT_BYTES_MAX + 1));
        assert_eq!(token("back", LeafType::Text, Arc::clone(&long)), Err(TransformFault::TooLong));
        assert!(token("fast", LeafType::Text, long).is_ok());
        let far: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        assert_eq!(token("plain", LeafType::Date, far), Err(TransformFault::OutOfRange));
    }

    #[test]
    fn stages_bad_domain_bad_normaliser_bad_type() {
        let declare = |domain: &str, leaf_type| {
            let leaf = Leaf { path: "c".into(), leaf_type };
            Config { columns: vec![], domain: domain.into(), on_bad: OnBad::Refuse }
                .declare(&leaf, &domains())
        };
        assert!(declare("plain", LeafType::Int64).is_ok());
        assert!(matches!(
            declare("nowhere", LeafType::Int64),
            Err(StageFault::UnknownDomain { .. })
        ));
        assert!(matches!(declare("phone", LeafType::Int64), Err(StageFault::Normalizer { .. })));
        for leaf_type in [LeafType::Boolean, LeafType::Json, LeafType::Opaque] {
            assert!(matches!(declare("plain", leaf_type), Err(StageFault::LeafType { .. })));
        }
        let empty = Domains { domains: BTreeMap::new() };
        let fault = empty.get("tokenize", "x").unwrap_err().to_string();
        assert!(fault.contains("it holds none"), "{fault}");
    }
}
