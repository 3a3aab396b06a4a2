//! Format-preserving encryption, computed once more: FF1 of NIST SP 800-38G with AES-256.
//!
//! The values of a column wait until there are [`WIDTH`] of them and go through the cipher
//! together: one at a time, an AES block waits for the one before it. Halves are numbers of 64
//! bits; longer values go through crate `fpe`, which is also the oracle of the tests.

use std::collections::{HashMap, HashSet};

use aes::Aes256;
use aes::cipher::{Array, Block, BlockCipherEncrypt, KeyInit};
use douane_ledger::release::CheckDigit;
use douane_schemas::keys::Key;
use douane_schemas::tuple::Tuple;
use fpe::ff1::{FF1, FlexibleNumeralString};

/// NIST SP 800-38G revision 1, 5.2: `radix^minlen >= 1 000 000`.
const FF1_DOMAIN_MIN: u64 = 1_000_000;

/// Longest text that is encrypted; a bound of the gate, not of FF1.
const FF1_LENGTH_MAX: usize = 512;

/// Values that go through the rounds together.
const WIDTH: usize = 64;

/// Format-preserving encryption of one column.
pub(crate) struct Fpe {
    alphabet: Vec<char>,
    /// Numerals of the alphabet's ASCII characters.
    ascii: [Option<u16>; 128],
    /// Numerals of its others.
    others: HashMap<char, u16>,
    keep_first: usize,
    keep_last: usize,
    separators: Vec<char>,
    /// The tweak's first fields: domain and context.
    head: Tuple,
    length_min: usize,
    check_digit: Option<CheckDigit>,
    cipher: Aes256,
    long: FF1<Aes256>,
}

/// The parameters as they stand in the release.
pub(crate) struct FpeParameters<'a> {
    pub alphabet: &'a str,
    pub keep_first: u32,
    pub keep_last: u32,
    pub separators: &'a str,
    pub domain: &'a str,
    pub context: &'a str,
    pub length_min: u32,
    pub check_digit: Option<CheckDigit>,
}

impl Fpe {
    /// `None` for parameters that no FF1 has: an alphabet with repeats, or of fewer than two
    /// characters or more than 2^16, a separator inside the alphabet, a domain below 10^6 values, a
    /// check digit of what are no digits.
    pub(crate) fn new(parameters: &FpeParameters<'_>, key: &Key) -> Option<Self> {
        let alphabet: Vec<char> = parameters.alphabet.chars().collect();
        let separators: Vec<char> = parameters.separators.chars().collect();
        let repeats = alphabet.iter().collect::<HashSet<_>>().len() < alphabet.len();
        let checks = parameters.check_digit.is_none() || parameters.alphabet == "0123456789";
        let overlaps = separators.iter().any(|s| alphabet.contains(s));
        let radix = u32::try_from(alphabet.len()).ok()?;
        let length_min = parameters.length_min as usize;
        if repeats
            || overlaps
            || !checks
            || !(2..=65_536).contains(&radix)
            || !domain_suffices(radix, length_min)
        {
            return None;
        }
        let mut ascii = [None; 128];
        let mut others = HashMap::new();
        for (numeral, sign) in (0..=u16::MAX).zip(&alphabet) {
            if sign.is_ascii() {
                ascii[*sign as usize] = Some(numeral);
            } else {
                others.insert(*sign, numeral);
            }
        }
        Some(Self {
            long: FF1::<Aes256>::new(&key.secret()[..], radix).ok()?,
            cipher: Aes256::new(&Array::from(*key.secret())),
            alphabet,
            ascii,
            others,
            keep_first: parameters.keep_first as usize,
            keep_last: parameters.keep_last as usize,
            separators,
            head: Tuple::new().text(parameters.domain).text(parameters.context),
            length_min,
            check_digit: parameters.check_digit,
        })
    }

    /// Whether a raw value may be encrypted at all.
    pub(crate) fn takes(&self, raw: &str) -> bool {
        let mut found: Vec<char> = raw.chars().collect();
        if self.check_digit == Some(CheckDigit::LuhnInvalid) {
            // What crosses in its place has one more in the place of the check digit.
            let end = found.len().saturating_sub(self.keep_last);
            let inside = self.keep_first..end;
            let place = inside.rev().find(|i| !self.separators.contains(&found[*i]));
            if let Some(sign) = place.map(|i| &mut found[i])
                && let Some(digit) = sign.to_digit(10)
            {
                *sign = char::from_digit((digit + 1) % 10, 10).unwrap_or(*sign);
            }
        }
        self.column().split(raw, &found.into_iter().collect::<String>()).is_some()
    }

    /// The text that `found` is the encryption of, where nothing is kept and nothing checks: by the
    /// crate's arithmetic, one value at a time.
    pub(crate) fn opened(&self, found: &str) -> Option<String> {
        let mut column = self.column();
        column.split(found, found)?;
        let cipher = FlexibleNumeralString::from(column.raw.clone());
        let plain = self.long.decrypt(&column.tweak(), &cipher).ok()?;
        let mut numerals = Vec::<u16>::from(plain).into_iter();
        let sign = |c: char| match self.separators.contains(&c) {
            true => Some(c),
            false => self.alphabet.get(usize::from(numerals.next()?)).copied(),
        };
        found.chars().map(sign).collect()
    }

    /// Begins with the values of a column.
    pub(crate) fn column(&self) -> Column<'_> {
        Column {
            fpe: self,
            waiting: Vec::with_capacity(WIDTH),
            blocks: Vec::with_capacity(WIDTH),
            raw: Vec::new(),
            found: Vec::new(),
            kept: String::new(),
            start: None,
        }
    }

    /// Steps 1 to 6i of FF1 as far as they are the same in all rounds. `None` where a half may not
    /// fit 64 bits.
    fn before_last(&self, n: usize, tweak: &[u8]) -> Option<(Halves, u128)> {
        let radix = self.radix();
        // 1. Let u = floor(n / 2); v = n - u.
        let (u, v) = (n / 2, n - n / 2);
        let power = |exponent: usize| u64::from(radix).checked_pow(u32::try_from(exponent).ok()?);
        let moduli = [power(u)?, power(v)?];
        // 3. Let b = ceil(ceil(v * LOG(radix)) / 8).
        let bytes = (moduli[1] - 1).ilog2() / 8 + 1;
        // 5. P = [1]^1 || [2]^1 || [1]^1 || [radix]^3 || [10]^1 || [u mod 256]^1 || [n]^4 || [t]^4.
        let mut message = vec![1, 2, 1];
        message.extend_from_slice(&radix.to_be_bytes()[1..]);
        message.extend([10, (u % 256) as u8]);
        message.extend(u32::try_from(n).ok()?.to_be_bytes());
        message.extend(u32::try_from(tweak.len()).ok()?.to_be_bytes());
        // 6i. Q = T || [0]^((-t-b-1) mod 16) || [i]^1 || [NUM(B)]^b, the last two still zero.
        message.extend_from_slice(tweak);
        message.resize((message.len() + bytes as usize + 1).next_multiple_of(16), 0);
        // 6ii. R = PRF(P || Q), a CBC-MAC: here up to where only the last block is left.
        let (blocks, _) = message.as_chunks::<16>();
        let before_last = blocks.iter().enumerate().fold(0, |state: u128, (at, block)| {
            let mut cipher = Array::from(state.to_be_bytes());
            if at > 0 {
                self.cipher.encrypt_block(&mut cipher);
            }
            u128::from_be_bytes(cipher.into()) ^ u128::from_be_bytes(*block)
        });
        Some((Halves { moduli, bytes }, before_last))
    }

    fn radix(&self) -> u32 {
        self.alphabet.len() as u32
    }

    fn numeral(&self, sign: char) -> Option<u16> {
        match self.ascii.get(sign as usize) {
            Some(numeral) => *numeral,
            None => self.others.get(&sign).copied(),
        }
    }

    /// Whether raw text and what was found have the check digits that they must have, at character
    /// `place` of both.
    fn check_digits_hold(&self, raw: &str, found: &str, place: usize) -> bool {
        match self.check_digit {
            None => true,
            Some(CheckDigit::LuhnValid) => self.is_luhn(raw, None) && self.is_luhn(found, None),
            Some(CheckDigit::LuhnInvalid) => {
                self.is_luhn(raw, None) && self.is_luhn(found, Some(place))
            }
        }
    }

    /// Luhn's rule over all digits: every second one from the right is doubled, the digits of the
    /// results are added up, and the sum ends in 0. The digit at `lowered` counts as the one before
    /// it. Text of anything but digits and separators fails.
    fn is_luhn(&self, text: &str, lowered: Option<usize>) -> bool {
        const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
        let counted = text.chars().enumerate().filter(|(_, c)| !self.separators.contains(c));
        let digits: Option<Vec<u32>> = counted
            .map(|(i, c)| {
                let digit = c.to_digit(10)?;
                Some(if lowered == Some(i) { (digit + 9) % 10 } else { digit })
            })
            .collect();
        let weighed = |(i, digit): (usize, &u32)| match i % 2 {
            0 => *digit,
            _ => DOUBLED[*digit as usize],
        };
        let sum = |digits: Vec<u32>| digits.iter().rev().enumerate().map(weighed).sum::<u32>();
        digits.is_some_and(|digits| sum(digits) % 10 == 0)
    }
}

/// Values of one column on their way through the ten rounds.
pub(crate) struct Column<'f> {
    fpe: &'f Fpe,
    waiting: Vec<Waiting>,
    blocks: Vec<Block<Aes256>>,
    raw: Vec<u16>,
    found: Vec<u16>,
    kept: String,
    /// Of the value before: neighbours mostly have its length and its kept characters.
    start: Option<Start>,
}

/// One value: the halves of the raw numerals, to become those that were found.
struct Waiting {
    row: usize,
    a: u64,
    b: u64,
    found: (u64, u64),
    halves: Halves,
    before_last: u128,
}

/// What the rounds need to know of a length.
#[derive(Clone, Copy)]
struct Halves {
    /// radix^u and radix^v.
    moduli: [u64; 2],
    /// b of step 3.
    bytes: u32,
}

/// The CBC state before the last block of `P || Q`, which alone differs from round to round,
/// with the fixed part of that block added.
struct Start {
    count: usize,
    kept: String,
    halves: Halves,
    before_last: u128,
}

impl Column<'_> {
    /// Takes a raw value and what was found in its place. `wrong` is called, now or later, for
    /// each row whose raw value may not be encrypted or is not encrypted to what was found.
    pub(crate) fn hold(
        &mut self,
        row: usize,
        raw: &str,
        found: &str,
        wrong: &mut impl FnMut(usize),
    ) {
        if self.split(raw, found).is_none() {
            return wrong(row);
        }
        let Some((halves, before_last)) = self.start() else {
            if !self.long_agrees() {
                wrong(row);
            }
            return;
        };
        self.push(row, halves, before_last);
        if self.waiting.len() == WIDTH {
            self.rounds(wrong);
        }
    }

    /// 2. Let A = X[1..u]; B = X[u + 1..n].
    fn push(&mut self, row: usize, halves: Halves, before_last: u128) {
        let radix = u64::from(self.fpe.radix());
        let number = |numerals: &[u16]| {
            numerals.iter().fold(0, |sum, numeral| sum * radix + u64::from(*numeral))
        };
        let split = |numerals: &[u16]| {
            let (a, b) = numerals.split_at(numerals.len() / 2);
            (number(a), number(b))
        };
        let ((a, b), found) = (split(&self.raw), split(&self.found));
        self.waiting.push(Waiting { row, a, b, found, halves, before_last });
    }

    /// The values that still wait.
    pub(crate) fn finish(mut self, mut wrong: impl FnMut(usize)) {
        self.rounds(&mut wrong);
    }

    /// Kept characters and numerals of both texts. `None` where the raw text may not be
    /// encrypted, or where what was found is no ciphertext of it at first sight: another length,
    /// another kept character, a character outside the alphabet.
    fn split(&mut self, raw: &str, found: &str) -> Option<()> {
        let fpe = self.fpe;
        let count = raw.chars().count();
        let too_short = count <= fpe.keep_first + fpe.keep_last;
        if count > FF1_LENGTH_MAX || too_short || found.chars().count() != count {
            return None;
        }
        let middle = fpe.keep_first..count - fpe.keep_last;
        self.raw.clear();
        self.found.clear();
        self.kept.clear();
        let mut place = 0;
        for (i, (c, out)) in raw.chars().zip(found.chars()).enumerate() {
            if middle.contains(&i) && !fpe.separators.contains(&c) {
                self.raw.push(fpe.numeral(c)?);
                self.found.push(fpe.numeral(out)?);
                place = i;
            } else if c == out {
                self.kept.push(c);
            } else {
                return None;
            }
        }
        if fpe.check_digit.is_some() {
            // The last of them is no part of what is encrypted.
            self.raw.pop();
            self.found.pop();
        }
        if !fpe.check_digits_hold(raw, found, place) {
            return None;
        }
        let long_enough =
            self.raw.len() >= fpe.length_min && domain_suffices(fpe.radix(), self.raw.len());
        long_enough.then_some(())
    }

    fn tweak(&self) -> Vec<u8> {
        self.fpe.head.clone().text(&self.kept).finish()
    }

    /// As [`Fpe::before_last`], for the value at hand.
    fn start(&mut self) -> Option<(Halves, u128)> {
        let count = self.raw.len();
        if let Some(start) = &self.start
            && start.count == count
            && start.kept == self.kept
        {
            return Some((start.halves, start.before_last));
        }
        let (halves, before_last) = self.fpe.before_last(count, &self.tweak())?;
        self.start = Some(Start { count, kept: self.kept.clone(), halves, before_last });
        Some((halves, before_last))
    }

    /// The ten rounds of everything that waits.
    fn rounds(&mut self, wrong: &mut impl FnMut(usize)) {
        for round in 0..10_u8 {
            self.blocks.clear();
            self.blocks.extend(self.waiting.iter().map(|value| {
                let last = u128::from(round) << (8 * value.halves.bytes) | u128::from(value.b);
                Array::from((value.before_last ^ last).to_be_bytes())
            }));
            self.fpe.cipher.encrypt_blocks(&mut self.blocks);
            for (value, block) in self.waiting.iter_mut().zip(&self.blocks) {
                let r = u128::from_be_bytes((*block).into());
                // 6v. If i is even, let m = u; else, let m = v.
                let modulus = value.halves.moduli[usize::from(round % 2)];
                // 4. Let d = 4 * ceil(b / 4) + 4. 6iii. S is the first d bytes of R. 6iv. y = NUM(S).
                let y = if value.halves.bytes <= 4 {
                    ((r >> 64) as u64) % modulus
                } else {
                    ((r >> 32) % u128::from(modulus)) as u64
                };
                // 6vi. Let c = (NUM(A) + y) mod radix^m. 6viii. A = B. 6ix. B = C.
                let sum = u128::from(value.a) + u128::from(y);
                let c = if sum < u128::from(modulus) { sum } else { sum - u128::from(modulus) };
                value.a = value.b;
                value.b = c as u64;
            }
        }
        for value in self.waiting.drain(..) {
            if (value.a, value.b) != value.found {
                wrong(value.row);
            }
        }
    }

    /// The crate's arithmetic, for halves of any length.
    fn long_agrees(&self) -> bool {
        let plain = FlexibleNumeralString::from(self.raw.clone());
        let cipher = self.fpe.long.encrypt(&self.tweak(), &plain);
        cipher.is_ok_and(|cipher| Vec::from(cipher) == self.found)
    }
}

fn domain_suffices(radix: u32, length: usize) -> bool {
    let mut values: u64 = 1;
    for _ in 0..length {
        values = values.saturating_mul(u64::from(radix));
        if values >= FF1_DOMAIN_MIN {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use douane_schemas::keys::{Purpose, RootKey};
    use proptest::prelude::*;

    use super::*;

    const DIGITS: &str = "0123456789";

    fn make(alphabet: &str, keep: (u32, u32), separators: &str, length_min: u32) -> Option<Fpe> {
        checked(alphabet, keep, separators, length_min, None)
    }

    fn checked(
        alphabet: &str,
        keep: (u32, u32),
        separators: &str,
        length_min: u32,
        check_digit: Option<CheckDigit>,
    ) -> Option<Fpe> {
        let key = RootKey::new([7; 32]).derive(Purpose::Ff1, "phone");
        let parameters = FpeParameters {
            alphabet,
            keep_first: keep.0,
            keep_last: keep.1,
            separators,
            domain: "phone",
            context: "",
            length_min,
            check_digit,
        };
        Fpe::new(&parameters, &key)
    }

    /// By the crate alone, one value at a time.
    fn oracle(fpe: &Fpe, raw: &str) -> Option<String> {
        let mut chars: Vec<char> = raw.chars().collect();
        let kept_places = |i: usize, c: char| {
            let kept = i < fpe.keep_first || i + fpe.keep_last >= raw.chars().count();
            kept || fpe.separators.contains(&c)
        };
        let places: Vec<usize> = (0..chars.len()).filter(|i| !kept_places(*i, chars[*i])).collect();
        let kept: String =
            (0..chars.len()).filter(|i| !places.contains(i)).map(|i| chars[i]).collect();
        let numeral = |i: &usize| fpe.alphabet.iter().position(|a| *a == chars[*i]);
        let numerals: Vec<u16> =
            places.iter().map(|i| numeral(i).map(|n| n as u16)).collect::<Option<_>>()?;
        let tweak = fpe.head.clone().text(&kept).finish();
        let cipher = fpe.long.encrypt(&tweak, &FlexibleNumeralString::from(numerals)).ok()?;
        for (place, numeral) in places.iter().zip(Vec::<u16>::from(cipher)) {
            chars[*place] = fpe.alphabet[usize::from(numeral)];
        }
        Some(chars.into_iter().collect())
    }

    /// Indices of the pairs that do not agree, all of one column.
    fn wrong(fpe: &Fpe, pairs: &[(&str, &str)]) -> Vec<usize> {
        let mut rows = Vec::new();
        let mut column = fpe.column();
        for (row, (raw, found)) in pairs.iter().enumerate() {
            column.hold(row, raw, found, &mut |row| rows.push(row));
        }
        column.finish(|row| rows.push(row));
        rows.sort_unstable();
        rows
    }

    #[test]
    fn what_was_encrypted_is_opened() {
        let fpe = make(DIGITS, (0, 0), " -./()+", 6).unwrap();
        let long = "0123456789 ".repeat(9);
        for raw in ["4111 1111 1111 1111", "123456", "+49 (30) 1234567", &long] {
            let cipher = oracle(&fpe, raw).unwrap();
            assert_eq!(fpe.opened(&cipher).as_deref(), Some(raw));
            assert_ne!(fpe.opened(raw).as_deref(), Some(raw));
        }
        for none in ["12345", "123456x", ""] {
            assert_eq!(fpe.opened(none), None, "{none}");
        }
    }

    /// What the `fpe` stage makes of the same values, under the same root; a change on either
    /// side shows here before it stops a pipeline.
    #[test]
    fn encryption_of_known_values() {
        let fpe = make(DIGITS, (3, 0), " -./()+", 6).unwrap();
        let pairs =
            [("+4915112345678", "+4989347864433"), ("+49 151-123 456-78", "+49 820-113 051-43")];
        assert_eq!(wrong(&fpe, &pairs), [0; 0]);
    }

    /// NIST SP 800-38G, examples for FF1, samples 7 to 9 (AES-256, radix 10 and 36).
    #[test]
    fn the_standards_samples() {
        let key: [u8; 32] = data_encoding::HEXUPPER
            .decode(b"2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94")
            .unwrap()
            .try_into()
            .unwrap();
        let signs = "0123456789abcdefghijklmnopqrstuvwxyz";
        for (radix, tweak, plain, cipher) in [
            (10, &b""[..], "0123456789", "6657667009"),
            (10, b"9876543210", "0123456789", "1001623463"),
            (36, b"7777pqrs777", "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
        ] {
            let fpe = Fpe {
                cipher: Aes256::new(&Array::from(key)),
                long: FF1::<Aes256>::new(&key, radix).unwrap(),
                ..make(&signs[..radix as usize], (0, 0), "", 6).unwrap()
            };
            let numerals =
                |text: &str| text.chars().map(|c| fpe.numeral(c).unwrap()).collect::<Vec<u16>>();
            let (plain, expected) = (numerals(plain), numerals(cipher));
            let long = fpe.long.encrypt(tweak, &FlexibleNumeralString::from(plain.clone()));
            assert_eq!(Vec::<u16>::from(long.unwrap()), expected);
            for (found, wrong) in [(expected.clone(), vec![]), (plain.clone(), vec![0])] {
                let (halves, before_last) = fpe.before_last(expected.len(), tweak).unwrap();
                let mut column = fpe.column();
                (column.raw, column.found) = (plain.clone(), found);
                column.push(0, halves, before_last);
                let mut rows = Vec::new();
                column.finish(|row| rows.push(row));
                assert_eq!(rows, wrong);
            }
        }
    }

    #[test]
    fn what_is_kept_is_part_of_the_tweak_and_its_places_are_not() {
        let fpe = make(DIGITS, (3, 0), " -", 6).unwrap();
        let out = |raw| oracle(&fpe, raw).unwrap();
        let phone = "+49 151-12345678";
        assert_eq!(wrong(&fpe, &[(phone, &out(phone))]), [0; 0]);
        let ported = out("+48 151-12345678").replacen("+48", "+49", 1);
        let regrouped = out("+49 1511-2345678").replace('-', "");
        let again = format!("{}-{}", &regrouped[..7], &regrouped[7..]);
        for (found, expected) in [
            (phone.to_owned(), vec![0]),
            (ported, vec![0]),
            (out(phone).replacen('-', " ", 1), vec![0]),
            (out(phone)[..15].to_owned(), vec![0]),
            (format!("{}x", &out(phone)[..15]), vec![0]),
            (again, vec![]),
        ] {
            assert_eq!(wrong(&fpe, &[(phone, &found)]), expected);
        }
    }

    #[test]
    fn encryption_bad_values() {
        let fpe = make(DIGITS, (3, 0), " -", 6).unwrap();
        let long = "1".repeat(600);
        for bad in ["", "+49", "+4912345", "+4912345a", "+49 12x4567", "+49١٢٣٤٥٦٧", &long] {
            assert_eq!(wrong(&fpe, &[(bad, bad)]), [0], "{bad}");
        }
        let least = "+49123456";
        assert_eq!(wrong(&fpe, &[(least, &oracle(&fpe, least).unwrap())]), [0; 0]);
    }

    /// What the stage makes of two numbers that payment companies print for tests.
    #[test]
    fn check_digits_of_known_values() {
        let raw = "4111-1111-1111-1111";
        let luhn = |outcome| checked(DIGITS, (0, 0), "-", 6, Some(outcome)).unwrap();
        let (valid, invalid) = (luhn(CheckDigit::LuhnValid), luhn(CheckDigit::LuhnInvalid));
        // The digits before the last, by the crate; the last by hand.
        let mut found = oracle(&make(DIGITS, (0, 0), "-", 6).unwrap(), &raw[..18]).unwrap();
        found.push('0');
        let holds = |digit: &u32| {
            found.replace_range(18.., &digit.to_string());
            wrong(&valid, &[(raw, &found)]).is_empty()
        };
        let right: Vec<u32> = (0..10).filter(holds).collect();
        assert_eq!(right.len(), 1);
        found.replace_range(18.., &right[0].to_string());
        assert_eq!(wrong(&invalid, &[(raw, &found)]), [0]);
        let one_more = ((right[0] + 1) % 10).to_string();
        found.replace_range(18.., &one_more);
        assert_eq!(wrong(&invalid, &[(raw, &found)]), [0; 0]);
        assert_eq!(wrong(&valid, &[(raw, &found)]), [0]);
        // A raw value that is not valid, one digit beside the right ones, and too few of them.
        let changed = raw.replacen("4111", "4112", 1);
        assert_eq!(wrong(&invalid, &[(&changed, &found)]), [0]);
        assert_eq!(wrong(&valid, &[("123455", "123455")]), [0]);
        assert!(checked("012345678", (0, 0), "-", 7, Some(CheckDigit::LuhnValid)).is_none());
    }

    #[test]
    fn encryption_over_a_large_alphabet() {
        let alphabet: String = ('一'..='鿿').collect();
        let fpe = make(&alphabet, (1, 0), " -", 2).unwrap();
        let raw = "x丈三-上下丌不与丏丐丑丒专";
        let found = oracle(&fpe, raw).unwrap();
        assert_eq!(wrong(&fpe, &[(raw, &found), (raw, raw)]), [1]);
    }

    #[test]
    fn encryption_bad_parameters() {
        assert!(make(DIGITS, (0, 0), "-", 6).is_some());
        assert!(make(DIGITS, (0, 0), "-", 5).is_none());
        assert!(make("0012345678", (0, 0), "-", 6).is_none());
        assert!(make("0", (0, 0), "-", 60).is_none());
        assert!(make("", (0, 0), "-", 6).is_none());
        assert!(make(DIGITS, (0, 0), "5", 6).is_none());
        assert!(make("01", (0, 0), "-", 20).is_some());
    }

    proptest! {
        /// Lengths on both sides of every border: halves of 4 and 5 bytes, of 64 bits and more, one
        /// of each; more values than go through the rounds together.
        #[test]
        fn the_crate_says_the_same(
            radix in 2_usize..=62,
            raws in prop::collection::vec(prop::collection::vec(0_usize..62, 20..80), 1..100),
            keep in (0_u32..4, 0_u32..4),
        ) {
            let signs: Vec<char> = ('0'..='9').chain('a'..='z').chain('A'..='Z').collect();
            let alphabet: String = signs[..radix].iter().collect();
            let fpe = make(&alphabet, keep, "-", 20).unwrap();
            let text = |raw: &Vec<usize>| -> String {
                let kept = (keep.0 + keep.1) as usize;
                let length = 20 + kept + raw[0] % (raw.len() - 19);
                raw.iter().cycle().take(length).map(|n| signs[n % radix]).collect()
            };
            let raws: Vec<String> = raws.iter().map(text).collect();
            let mut found: Vec<String> =
                raws.iter().map(|raw| oracle(&fpe, raw).unwrap()).collect();
            let pairs = |found: &[String]| -> Vec<usize> {
                let pairs: Vec<(&str, &str)> =
                    raws.iter().zip(found).map(|(a, b)| (a.as_str(), b.as_str())).collect();
                wrong(&fpe, &pairs)
            };
            prop_assert_eq!(pairs(&found), Vec::<usize>::new());
            // The control: one character of one value.
            let at = raws.len() / 2;
            let place = (found[at].len() - keep.1 as usize) - 1;
            let old = found[at].as_bytes()[place];
            let new = if old == b'0' { "1" } else { "0" };
            found[at].replace_range(place..=place, new);
            prop_assert_eq!(pairs(&found), vec![at]);
        }
    }
}
