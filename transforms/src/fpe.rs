//! `fpe`: format-preserving encryption, FF1 of NIST SP 800-38G with AES-256.
//!
//! Of each value the first `keep.first` and the last `keep.last` characters stay as they are, and
//! so does every separator between them; the others are numerals of the alphabet and are encrypted
//! together, but for a check digit, which follows from all the others. tweak = tuple(domain,
//! context, kept), where kept is every character that stays, in the order of the value: two values
//! that differ in what is seen of them share no keystream.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use douane_schemas::keys::{Key, Purpose};
use douane_schemas::leaf::{Leaf, LeafType};
use douane_schemas::tuple::Tuple;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alphabet::{Alphabet, Signs};
use crate::check_digit::CheckDigit;
use crate::cmac::copy;
use crate::column::{Protect, each_text};
use crate::domains::Domains;
use crate::fault::{StageFault, TransformFault};
use crate::ff1::{self, Ff1, Halves, Length, NUMERALS_MAX, Way, length_least};
use crate::keep::Keep;
use crate::keyring::Keyring;
use crate::on_bad::OnBad;
use crate::stage::{Declaration, Declared, Guarantees, Produces};

/// What `fpe` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "fpe",
    summary: "format-preserving encryption: same length, same alphabet, another value",
    guarantees: Guarantees {
        deterministic: true,
        reversible_with_key: true,
        keeps_length: true,
        keeps_uniqueness: true,
        keeps_order: false,
        joinable: true,
        keeps_nulls: true,
    },
    semantics: 1,
    example_yaml: "fpe: { columns: [phone], alphabet: digits, domain: phone, keep: { first: 3 } }",
};

/// Separators where the YAML names none; those in the alphabet are not separators.
const SEPARATORS: &str = " -./()+";

/// `fpe: { columns: [phone], alphabet: digits, domain: phone, keep: { first: 3 } }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Fpe")]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leaves to encrypt.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// Characters that are encrypted.
    pub alphabet: Alphabet,
    /// A domain of the domains' file: it fixes the key. Its normaliser and form are not used.
    pub domain: String,
    /// Characters that stay at the ends of each value, separators counted.
    #[serde(default)]
    pub keep: Keep,
    /// Characters that stay wherever they stand: ASCII, none of the alphabet. A character that is
    /// neither refuses the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separators: Option<String>,
    /// Parts uses of one domain from each other: it goes into the tweak.
    #[serde(default)]
    pub context: String,
    /// The least count of characters that are encrypted in each value, kept ones, separators and a
    /// check digit not counted. A value with fewer refuses its row, and so does one of over 512 characters. Default: the least that gives 10^6 values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_min: Option<u32>,
    /// A digit that follows from the others is computed anew, not encrypted: `{ luhn: keep_valid }`
    /// or `{ luhn: make_invalid }`. Digits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_digit: Option<CheckDigit>,
    /// What becomes of a cell with a character outside the alphabet, too short or too long a one.
    #[serde(default, skip_serializing_if = "OnBad::is_refuse")]
    pub on_bad: OnBad,
}

fn repeats(characters: &[u8]) -> bool {
    characters.iter().enumerate().any(|(i, c)| characters[..i].contains(c))
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// The domain is unknown, the alphabet or separators unusable, the declared minimum length
    /// below 10^6 values, a check digit of other than digits, or the type not text or an integer.
    pub fn declare(&self, leaf: &Leaf, domains: &Domains) -> Result<Declared, StageFault> {
        if let Some(leaf) = &domains.get(DECLARATION.verb, &self.domain)?.key_per {
            return Err(StageFault::KeyPer {
                domain: self.domain.clone(),
                leaf: leaf.clone(),
                why: "and encrypted values have one key; next: a domain without `key_per`",
            });
        }
        let radix = self.alphabet.check()?;
        let separators = self.separators()?;
        if self.check_digit.is_some() && self.alphabet.characters() != Alphabet::Digits.characters()
        {
            return Err(StageFault::CheckDigit);
        }
        let least = length_least(radix);
        let length_min = self.length_min.unwrap_or(least);
        if length_min < least {
            return Err(StageFault::DomainTooSmall { radix, length_min, least });
        }
        if length_min as usize > NUMERALS_MAX {
            return Err(StageFault::LengthTooLong { length_min, most: NUMERALS_MAX as u32 });
        }
        let taken = matches!(
            leaf.leaf_type,
            LeafType::Text | LeafType::Int16 | LeafType::Int32 | LeafType::Int64
        );
        if !taken {
            return Err(StageFault::LeafType {
                verb: DECLARATION.verb,
                found: leaf.leaf_type,
                expected: "text, int16, int32 or int64",
            });
        }
        Ok(Declared {
            output: LeafType::Text,
            produces: Produces::Fpe {
                alphabet: self.alphabet.characters().to_owned(),
                keep_first: self.keep.first,
                keep_last: self.keep.last,
                separators,
                domain: self.domain.clone(),
                context: self.context.clone(),
                length_min,
                check_digit: self.check_digit,
            },
            may_fail: true,
            keys: vec![(Purpose::Ff1, self.domain.clone())],
        })
    }

    fn separators(&self) -> Result<String, StageFault> {
        let alphabet = self.alphabet.characters();
        let Some(given) = &self.separators else {
            return Ok(SEPARATORS.chars().filter(|c| !alphabet.contains(*c)).collect());
        };
        if !given.bytes().all(|b| b.is_ascii_punctuation() || b == b' ') {
            return Err(StageFault::Separators("expected ASCII punctuation and spaces only"));
        }
        if repeats(given.as_bytes()) {
            return Err(StageFault::Separators("a character stands in it twice"));
        }
        if given.chars().any(|c| alphabet.contains(c)) {
            return Err(StageFault::Separators("a character stands in the alphabet too"));
        }
        Ok(given.clone())
    }

    /// The compiled cipher.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn build(
        &self,
        leaf: &Leaf,
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<Arc<dyn Protect>, StageFault> {
        let key = keyring.key(Purpose::Ff1, &self.domain);
        Ok(Arc::new(self.with_key(leaf, domains, &key)?))
    }

    /// The compiled cipher under a key that the caller chose: to read back what an older one
    /// encrypted.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn with_key(&self, leaf: &Leaf, domains: &Domains, key: &Key) -> Result<Fpe, StageFault> {
        let declared = self.declare(leaf, domains)?;
        let (Produces::Fpe { alphabet, separators, length_min, .. }, radix) =
            (declared.produces, self.alphabet.check()?)
        else {
            return Err(StageFault::NoFunction(DECLARATION.verb));
        };
        let mut is_separator = [false; 128];
        for sign in separators.bytes() {
            is_separator[usize::from(sign)] = true;
        }
        Ok(Fpe {
            ff1: Ff1::new(key.secret(), radix).ok_or(StageFault::NoFunction(DECLARATION.verb))?,
            signs: Signs::new(&alphabet),
            is_separator,
            keep: self.keep,
            head: Tuple::new().text(&self.domain).text(&self.context).finish(),
            length_min: length_min as usize,
            check_digit: self.check_digit,
        })
    }
}

/// The compiled cipher of one stage.
pub struct Fpe {
    ff1: Ff1,
    signs: Signs,
    is_separator: [bool; 128],
    keep: Keep,
    /// The tweak's first fields: domain and context.
    head: Vec<u8>,
    length_min: usize,
    check_digit: Option<CheckDigit>,
}

impl Protect for Fpe {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        self.column(column, Way::Encrypt)
    }
}

/// Where the numerals of a value are while the column is in the cipher.
enum Cell {
    Null,
    /// Nothing but numerals between the kept ends: its place among the halves.
    Solid(usize),
    /// So many numerals, and separators.
    Mixed(usize, usize),
    /// Halves of over 64 bits: numerals from here to there, encrypted already.
    Long(usize, usize),
}

impl Fpe {
    /// The value that was encrypted to a printed one, as its canonical text.
    ///
    /// # Errors
    /// The text is not one that this stage prints.
    pub fn decrypt(&self, printed: &str) -> Result<String, TransformFault> {
        let column: ArrayRef = Arc::new(StringArray::from(vec![printed]));
        let plain = self.column(&column, Way::Decrypt)?;
        let mut text = String::new();
        each_text(&plain, |value| {
            text.push_str(value.unwrap_or_default());
            Ok(())
        })?;
        Ok(text)
    }

    /// A whole column, there or back.
    ///
    /// # Errors
    /// The first cell that cannot be encrypted or decrypted, as a code.
    pub fn column(&self, column: &ArrayRef, way: Way) -> Result<ArrayRef, TransformFault> {
        let mut read = Read::new(self, way, column.len());
        each_text(column, |value| read.take(value))?;
        let Read { cells, halves, long, .. } = read;
        let halves = halves.finish();

        let mut print = Print::new(self, way, column.len());
        let mut cells = cells.iter();
        each_text(column, |value| {
            match (value, cells.next()) {
                (Some(value), Some(Cell::Solid(at))) => print.solid(value, halves[*at])?,
                (Some(value), Some(Cell::Mixed(at, count))) => {
                    let mut numerals = [0; NUMERALS_MAX];
                    let numerals = &mut numerals[..*count];
                    if let Some(length) = self.ff1.length(*count)? {
                        length.write(halves[*at], numerals);
                    }
                    print.mixed(value, numerals)?;
                }
                (Some(value), Some(Cell::Long(start, end))) => {
                    print.mixed(value, &long[*start..*end])?;
                }
                _ => {}
            }
            print.offsets.push(print.text.len() as i32);
            Ok(())
        })?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(print.offsets));
        let texts = Buffer::from_vec(print.text);
        let out = StringArray::try_new(offsets, texts, column.nulls().cloned());
        Ok(Arc::new(out.map_err(|_| TransformFault::OutOfRange)?))
    }

    /// Both kept ends and what is between them.
    fn cut<'v>(&self, value: &'v str) -> Result<(&'v str, &'v str, &'v str), TransformFault> {
        self.keep.cut(value).ok_or(TransformFault::DomainTooSmall)
    }

    /// Where the kept characters begin in a tweak: behind its head and their own type and length.
    fn kept_at(&self) -> usize {
        self.head.len() + 5
    }

    fn is_separator(&self, sign: char) -> bool {
        self.is_separator.get(sign as usize).copied().unwrap_or_default()
    }
}

/// A column on its way in.
struct Read<'f> {
    fpe: &'f Fpe,
    way: Way,
    cells: Vec<Cell>,
    halves: ff1::Column<'f>,
    /// Values that wait in `halves`.
    waiting: usize,
    /// Numerals of values with long halves.
    long: Vec<u16>,
    /// Of a value with separators.
    kept: String,
    numerals: Vec<u16>,
}

impl<'f> Read<'f> {
    fn new(fpe: &'f Fpe, way: Way, rows: usize) -> Self {
        let mut read = Self {
            fpe,
            way,
            cells: Vec::with_capacity(rows),
            halves: fpe.ff1.column(way),
            waiting: 0,
            long: Vec::new(),
            kept: String::new(),
            numerals: Vec::new(),
        };
        read.retweak("", "");
        read
    }

    fn take(&mut self, value: Option<&str>) -> Result<(), TransformFault> {
        let Some(value) = value else {
            self.cells.push(Cell::Null);
            return Ok(());
        };
        // Characters are counted only where their bytes could be too many.
        if value.len() > NUMERALS_MAX && value.chars().nth(NUMERALS_MAX).is_some() {
            return Err(TransformFault::TooLong);
        }
        let (first, middle, last) = self.fpe.cut(value)?;
        let cell = match self.solid(first, middle, last)? {
            Some(cell) => cell,
            None => self.mixed(value, first, middle, last)?,
        };
        self.cells.push(cell);
        Ok(())
    }

    /// The fast way: ASCII, no separator, short halves. `None` where the value is not so.
    fn solid(
        &mut self,
        first: &str,
        middle: &str,
        last: &str,
    ) -> Result<Option<Cell>, TransformFault> {
        let fpe = self.fpe;
        let (Some(pairs), None) = (fpe.signs.pairs(), fpe.check_digit) else { return Ok(None) };
        let middle = middle.as_bytes();
        let Ok(Some(length)) = fpe.ff1.length(middle.len()) else { return Ok(None) };
        let (a, b) = middle.split_at(length.first());
        let (Some(a), Some(b)) = (pairs.number(a), pairs.number(b)) else { return Ok(None) };
        if middle.len() < fpe.length_min {
            return Err(TransformFault::DomainTooSmall);
        }
        if !self.keeps(first, last) {
            self.retweak(first, last);
        }
        Ok(Some(Cell::Solid(self.wait(length, Halves { a, b }))))
    }

    fn mixed(
        &mut self,
        value: &str,
        first: &str,
        middle: &str,
        last: &str,
    ) -> Result<Cell, TransformFault> {
        let fpe = self.fpe;
        self.kept.clear();
        self.kept.push_str(first);
        self.numerals.clear();
        let mut place = None;
        for (at, sign) in middle.char_indices() {
            if fpe.is_separator(sign) {
                self.kept.push(sign);
            } else {
                let numeral = fpe.signs.numeral(sign);
                self.numerals.push(numeral.ok_or(TransformFault::OutsideAlphabet)?);
                place = Some(first.len() + at);
            }
        }
        self.kept.push_str(last);
        if let (Some(check), Some(place)) = (fpe.check_digit, place) {
            // Digits of all of it count, so all of it must be digits.
            let plain = |c: char| c.is_ascii_digit() || fpe.is_separator(c);
            if !first.chars().chain(last.chars()).all(plain) {
                return Err(TransformFault::OutsideAlphabet);
            }
            let right = match self.way {
                Way::Encrypt => check.inside(value.as_bytes(), place),
                Way::Decrypt => check.outside(value.as_bytes(), place),
            };
            if self.numerals.pop() != Some(u16::from(right)) {
                return Err(TransformFault::CheckDigit);
            }
        }
        if self.numerals.len() < fpe.length_min {
            return Err(TransformFault::DomainTooSmall);
        }
        let kept = std::mem::take(&mut self.kept);
        self.retweak(&kept, "");
        self.kept = kept;
        match fpe.ff1.length(self.numerals.len())? {
            Some(length) => {
                let halves = length.halves(&self.numerals);
                Ok(Cell::Mixed(self.wait(length, halves), length.count()))
            }
            None => {
                let start = self.long.len();
                self.long.extend_from_slice(&self.numerals);
                fpe.ff1.long(self.way, self.halves.tweaked(), &mut self.long[start..])?;
                Ok(Cell::Long(start, self.long.len()))
            }
        }
    }

    /// Whether the tweak is that of these kept ends. Nothing is compared with nothing: glibc's
    /// memcmp reads an empty text under a mask, and where its pointer dangles each read is a
    /// suppressed fault of 100 ns.
    fn keeps(&self, first: &str, last: &str) -> bool {
        let (at, kept) = (first.len(), &self.halves.tweaked()[self.fpe.kept_at()..]);
        kept.len() == at + last.len()
            && (at == 0 || kept[..at] == *first.as_bytes())
            && (last.is_empty() || kept[at..] == *last.as_bytes())
    }

    fn wait(&mut self, length: &Length, halves: Halves) -> usize {
        self.halves.push(length, halves);
        self.waiting += 1;
        self.waiting - 1
    }

    /// tuple(domain, context, kept), without building a tuple for every cell: of as many kept
    /// characters as before, those alone are written.
    fn retweak(&mut self, first: &str, last: &str) {
        let (fpe, count) = (self.fpe, first.len() + last.len());
        let tweak = self.halves.tweak();
        if tweak.len() != fpe.kept_at() + count {
            tweak.clear();
            tweak.extend_from_slice(&fpe.head);
            // A value is far below 4 GiB.
            let length = u32::try_from(count).unwrap_or(u32::MAX);
            tweak.push(b't');
            tweak.extend_from_slice(&length.to_be_bytes());
            tweak.resize(fpe.kept_at() + count, 0);
        }
        let kept = &mut tweak[fpe.kept_at()..];
        copy(kept, first.as_bytes());
        if !last.is_empty() {
            copy(&mut kept[first.len()..], last.as_bytes());
        }
    }
}

/// A column on its way out.
struct Print<'f> {
    fpe: &'f Fpe,
    way: Way,
    text: Vec<u8>,
    offsets: Vec<i32>,
}

impl<'f> Print<'f> {
    fn new(fpe: &'f Fpe, way: Way, rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { fpe, way, text: Vec::with_capacity(rows * 16), offsets }
    }

    fn solid(&mut self, value: &str, halves: Halves) -> Result<(), TransformFault> {
        let fpe = self.fpe;
        let (first, middle, _) = fpe.cut(value)?;
        let Some(pairs) = fpe.signs.pairs() else { return Err(TransformFault::OutOfRange) };
        let start = self.text.len() + first.len();
        self.text.extend_from_slice(value.as_bytes());
        let (a, b) = self.text[start..start + middle.len()].split_at_mut(middle.len() / 2);
        pairs.print(halves.a, a);
        pairs.print(halves.b, b);
        Ok(())
    }

    fn mixed(&mut self, value: &str, numerals: &[u16]) -> Result<(), TransformFault> {
        let fpe = self.fpe;
        let (first, middle, last) = fpe.cut(value)?;
        let start = self.text.len();
        self.text.extend_from_slice(first.as_bytes());
        let mut numerals = numerals.iter();
        let mut place = start;
        for sign in middle.chars() {
            let sign = match fpe.is_separator(sign) {
                true => sign,
                false => {
                    place = self.text.len();
                    // None is left for the check digit, which stands last.
                    numerals.next().map_or('0', |numeral| fpe.signs.sign(*numeral))
                }
            };
            self.text.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.text.extend_from_slice(last.as_bytes());
        if let Some(check) = fpe.check_digit {
            let digit = match self.way {
                Way::Encrypt => check.outside(&self.text[start..], place - start),
                Way::Decrypt => check.inside(&self.text[start..], place - start),
            };
            self.text[place] = b'0' + digit;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
