//! A strict JSON scanner: nothing is built that nobody asks for, and still every name is seen.
//!
//! Accepts what RFC 8259 calls JSON text in UTF-8, less what readers disagree about: doubled
//! names, lone surrogates, and depth without end are refused.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Limits, QuarantineCode};

/// A string as it lies in the record, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The string it means.
    pub(super) fn unescape(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }
}

/// The start of a value. After `Object` and `Array` the scanner stands behind the bracket.
pub(super) enum Token<'a> {
    Null,
    Boolean(bool),
    /// By JSON's grammar.
    Number(&'a str),
    Text(Text<'a>),
    Object,
    Array,
}

impl Token<'_> {
    /// JSON's word for it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Object => "an object",
            Self::Array => "an array",
        }
    }
}

/// Names seen in one object, for those objects whose members nobody knows beforehand.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    fn insert(&mut self, name: Cow<'a, str>) -> Result<(), QuarantineCode> {
        const FEW: usize = 16;
        if self.few.contains(&name) || self.many.contains(&name) {
            return Err(QuarantineCode::DuplicateName);
        }
        if self.few.len() < FEW {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
        Ok(())
    }
}

pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
    items_left: usize,
    /// Some byte is below 0x20: strings must be looked through for it.
    controls: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, QuarantineCode> {
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| QuarantineCode::Utf8)?;
        Ok(Self {
            text,
            at: 0,
            depth_left: limits.depth_max,
            items_left: limits.items_max,
            controls: bytes.iter().fold(false, |found, byte| found | (*byte < 0x20)),
        })
    }

    /// Where the scanner stands.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes back to a place a token began at.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// What has been read since `start`.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    /// Takes `text` if it stands here. Meant for whole values: those end themselves.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let taken = !text.is_empty()
            && self.text.as_bytes().get(self.at..).is_some_and(|b| b.starts_with(text.as_bytes()));
        if taken {
            self.at += text.len();
        }
        taken
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Skips white space, so that [`Scan::at`] is where the next token begins.
    pub(super) fn settle(&mut self) {
        self.peek();
    }

    /// Nothing but white space follows.
    pub(super) fn end(&mut self) -> Result<(), QuarantineCode> {
        if self.peek().is_none() { Ok(()) } else { Err(QuarantineCode::MalformedValue) }
    }

    fn expect(&mut self, byte: u8) -> Result<(), QuarantineCode> {
        if self.peek() != Some(byte) {
            return Err(QuarantineCode::MalformedValue);
        }
        self.at += 1;
        Ok(())
    }

    fn open(&mut self) -> Result<(), QuarantineCode> {
        self.at += 1;
        self.depth_left = self.depth_left.checked_sub(1).ok_or(QuarantineCode::Depth)?;
        Ok(())
    }

    fn item(&mut self) -> Result<(), QuarantineCode> {
        self.items_left = self.items_left.checked_sub(1).ok_or(QuarantineCode::TooManyItems)?;
        Ok(())
    }

    pub(super) fn token(&mut self) -> Result<Token<'a>, QuarantineCode> {
        match self.peek() {
            Some(b'"') => self.string().map(Token::Text),
            Some(b'{') => self.open().map(|()| Token::Object),
            Some(b'[') => self.open().map(|()| Token::Array),
            Some(b'-' | b'0'..=b'9') => self.number().map(Token::Number),
            Some(b't') => self.word("true", Token::Boolean(true)),
            Some(b'f') => self.word("false", Token::Boolean(false)),
            Some(b'n') => self.word("null", Token::Null),
            _ => Err(QuarantineCode::MalformedValue),
        }
    }

    fn word(&mut self, word: &str, token: Token<'a>) -> Result<Token<'a>, QuarantineCode> {
        if self.take(word) { Ok(token) } else { Err(QuarantineCode::MalformedValue) }
    }

    /// After `Token::Object`: takes the next member's name if it is `name`, written without escapes
    /// and white space, as nearly every name is. `name` must need no escape. Nothing happens
    /// otherwise.
    #[inline]
    pub(super) fn take_member(&mut self, first: bool, name: &str) -> bool {
        let bytes = self.text.as_bytes();
        let start = self.at + usize::from(!first) + 1;
        let end = start + name.len();
        let taken = (first || bytes.get(self.at) == Some(&b','))
            && bytes.get(start - 1) == Some(&b'"')
            && bytes.get(start..end) == Some(name.as_bytes())
            && bytes.get(end..end + 2) == Some(b"\":");
        if taken {
            self.at = end + 2;
        }
        taken
    }

    /// After `Token::Object`: the next member's name, with the scanner before its value; `None`
    /// behind the closing brace.
    pub(super) fn member(&mut self, first: bool) -> Result<Option<Text<'a>>, QuarantineCode> {
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                self.depth_left += 1;
                return Ok(None);
            }
            Some(b',') if !first => self.at += 1,
            Some(_) if first => {}
            _ => return Err(QuarantineCode::MalformedValue),
        }
        if self.peek() != Some(b'"') {
            return Err(QuarantineCode::MalformedValue);
        }
        let name = self.string()?;
        self.expect(b':')?;
        Ok(Some(name))
    }

    /// After `Token::Array`: whether an element follows.
    fn element(&mut self, first: bool) -> Result<bool, QuarantineCode> {
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                self.depth_left += 1;
                return Ok(false);
            }
            Some(b',') if !first => self.at += 1,
            Some(_) if first => {}
            _ => return Err(QuarantineCode::MalformedValue),
        }
        self.item()?;
        Ok(true)
    }

    fn string(&mut self) -> Result<Text<'a>, QuarantineCode> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            let rest = bytes.get(at..).ok_or(QuarantineCode::MalformedValue)?;
            at += memchr::memchr2(b'"', b'\\', rest).ok_or(QuarantineCode::MalformedValue)?;
            if bytes[at] == b'"' {
                break;
            }
            escaped = true;
            at = escape_end(bytes, at)?;
        }
        self.at = at + 1;
        // Both ends are ASCII, so this is a slice of whole characters.
        let raw = self.text.get(start..at).ok_or(QuarantineCode::MalformedValue)?;
        if self.controls && raw.bytes().any(|byte| byte < 0x20) {
            return Err(QuarantineCode::MalformedValue);
        }
        Ok(Text { raw, escaped })
    }

    fn number(&mut self) -> Result<&'a str, QuarantineCode> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |mut at: usize| {
            let from = at;
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            if at == from { Err(QuarantineCode::MalformedValue) } else { Ok(at) }
        };
        let mut at = start + usize::from(bytes[start] == b'-');
        at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
        if bytes.get(at) == Some(&b'.') {
            at = digits(at + 1)?;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            at = digits(at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-'))))?;
        }
        self.at = at;
        self.text.get(start..at).ok_or(QuarantineCode::MalformedValue)
    }

    /// Reads the rest of a value and builds nothing; doubled names are found all the same.
    pub(super) fn skip(&mut self, token: &Token<'a>) -> Result<(), QuarantineCode> {
        match token {
            Token::Object => {
                let mut names = Names::default();
                while let Some(name) = self.member(names.few.is_empty())? {
                    self.item()?;
                    names.insert(name.unescape())?;
                    let value = self.token()?;
                    self.skip(&value)?;
                }
            }
            Token::Array => {
                let mut first = true;
                while self.element(first)? {
                    first = false;
                    let value = self.token()?;
                    self.skip(&value)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Appends the value as RFC 8785 writes it, but for integers, which keep all their digits.
    /// Says whether an object stands inside it; the value itself may be one.
    pub(super) fn canonical(
        &mut self,
        token: &Token<'a>,
        out: &mut String,
    ) -> Result<bool, QuarantineCode> {
        let mut inside = false;
        match token {
            Token::Null => out.push_str("null"),
            Token::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Token::Number(number) => canonical_number(number, out)?,
            Token::Text(text) => canonical_string(&text.unescape(), out),
            Token::Object => {
                let mut names = Names::default();
                let mut members = Vec::new();
                while let Some(name) = self.member(members.is_empty())? {
                    self.item()?;
                    let name = name.unescape();
                    names.insert(name.clone())?;
                    let mut value = String::new();
                    let token = self.token()?;
                    inside |= matches!(token, Token::Object);
                    inside |= self.canonical(&token, &mut value)?;
                    members.push((name, value));
                }
                canonical_object(members, out);
            }
            Token::Array => {
                out.push('[');
                let mut first = true;
                while self.element(first)? {
                    if !first {
                        out.push(',');
                    }
                    first = false;
                    let value = self.token()?;
                    inside |= matches!(value, Token::Object);
                    inside |= self.canonical(&value, out)?;
                }
                out.push(']');
            }
        }
        Ok(inside)
    }
}

/// The index behind the escape that begins at `at`; surrogates come in pairs or not at all.
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, QuarantineCode> {
    let unit = |at: usize| -> Option<u32> {
        let digits = bytes.get(at + 2..at + 6)?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    };
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match unit(at).ok_or(QuarantineCode::MalformedValue)? {
            0xd800..=0xdbff => {
                let low = bytes.get(at + 6..at + 8) == Some(b"\\u");
                match unit(at + 6).filter(|_| low) {
                    Some(0xdc00..=0xdfff) => Ok(at + 12),
                    _ => Err(QuarantineCode::LoneSurrogate),
                }
            }
            0xdc00..=0xdfff => Err(QuarantineCode::LoneSurrogate),
            _ => Ok(at + 6),
        },
        _ => Err(QuarantineCode::MalformedValue),
    }
}

/// Undoes the escapes of a string that [`escape_end`] has been through.
fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut length = 2;
        let unit = |at: usize| {
            rest.get(at..at + 4).and_then(|d| u32::from_str_radix(d, 16).ok()).unwrap_or(0xfffd)
        };
        out.push(match rest.as_bytes().get(at + 1) {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                length = 6;
                let mut point = unit(at + 2);
                if (0xd800..0xdc00).contains(&point) {
                    length = 12;
                    point = 0x1_0000 + ((point - 0xd800) << 10) + (unit(at + 8) & 0x3ff);
                }
                char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(other) => char::from(*other),
            None => char::REPLACEMENT_CHARACTER,
        });
        rest = rest.get(at + length..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

/// A JSON number as RFC 8785 writes it; integers keep all their digits.
fn canonical_number(number: &str, out: &mut String) -> Result<(), QuarantineCode> {
    if !number.contains(['.', 'e', 'E']) {
        out.push_str(if number == "-0" { "0" } else { number });
        return Ok(());
    }
    let value: f64 = number.parse().map_err(|_| QuarantineCode::Number)?;
    if !value.is_finite() {
        return Err(QuarantineCode::OutOfRange);
    }
    canonical_float(value, out);
    Ok(())
}

/// RFC 8785 section 3.2.2.3: ECMAScript's Number::toString.
pub(super) fn canonical_float(value: f64, out: &mut String) {
    if value == 0.0 {
        return out.push('0');
    }
    if value < 0.0 {
        out.push('-');
    }
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let split = usize::try_from(point).unwrap_or(0);
    if (count..=21).contains(&point) {
        out.push_str(&digits);
        out.push_str(&zeros(point - count));
    } else if (1..=21).contains(&point) {
        out.push_str(&digits[..split]);
        out.push('.');
        out.push_str(&digits[split..]);
    } else if (-5..=0).contains(&point) {
        out.push_str("0.");
        out.push_str(&zeros(-point));
        out.push_str(&digits);
    } else {
        out.push_str(&digits[..1]);
        if digits.len() > 1 {
            out.push('.');
            out.push_str(&digits[1..]);
        }
        let sign = if point > 0 { '+' } else { '-' };
        out.push_str(&format!("e{sign}{}", (point - 1).abs()));
    }
}

/// RFC 8785 section 3.2.2.2.
pub(super) fn canonical_string(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// RFC 8785 section 3.2.3: members by the UTF-16 units of their names.
pub(super) fn canonical_object(mut members: Vec<(Cow<'_, str>, String)>, out: &mut String) {
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push('{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        canonical_string(name, out);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<String, QuarantineCode> {
        let mut scan = Scan::new(text, &Limits::default())?;
        let mut out = String::new();
        let token = scan.token()?;
        scan.canonical(&token, &mut out)?;
        scan.end()?;
        Ok(out)
    }

    fn skim(text: &[u8]) -> Result<(), QuarantineCode> {
        let mut scan = Scan::new(text, &Limits::default())?;
        let token = scan.token()?;
        scan.skip(&token)?;
        scan.end()
    }

    // RFC 8785 section 3.2.4 and appendix B.
    #[test]
    fn canonical_text_is_the_standards() {
        let numbers = [
            (0x0000_0000_0000_0001, "5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        ];
        for (bits, text) in numbers {
            let mut out = String::new();
            canonical_float(f64::from_bits(bits), &mut out);
            assert_eq!(out, text);
        }
        let sample = r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#;
        assert_eq!(
            read(sample.as_bytes()).unwrap(),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
        let order = "{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}";
        assert_eq!(
            read(order.as_bytes()).unwrap(),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn refused_bad_json() {
        use QuarantineCode::{Depth, DuplicateName, LoneSurrogate, MalformedValue, Utf8};
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        let cases: [(&[u8], QuarantineCode); 24] = [
            (b"", MalformedValue),
            (b"{", MalformedValue),
            (b"{\"a\"}", MalformedValue),
            (b"{\"a\":1,}", MalformedValue),
            (b"{,\"a\":1}", MalformedValue),
            (b"[1,]", MalformedValue),
            (b"[,1]", MalformedValue),
            (b"[1 2]", MalformedValue),
            (b"01", MalformedValue),
            (b"1.", MalformedValue),
            (b"-", MalformedValue),
            (b"1e", MalformedValue),
            (b"+1", MalformedValue),
            (b"NaN", MalformedValue),
            (b"nul", MalformedValue),
            (b"1 1", MalformedValue),
            (b"\"a\nb\"", MalformedValue),
            (b"\"\\x\"", MalformedValue),
            (b"\"\\u12g4\"", MalformedValue),
            (b"\"\\ud83d\"", LoneSurrogate),
            (b"\"\\ude00\"", LoneSurrogate),
            (b"{\"a\":1,\"\\u0061\":2}", DuplicateName),
            (b"\"\xff\"", Utf8),
            (&deep, Depth),
        ];
        for (text, code) in cases {
            let shown = String::from_utf8_lossy(&text[..text.len().min(20)]).into_owned();
            assert_eq!(read(text), Err(code), "{shown}");
            assert_eq!(skim(text), Err(code), "{shown}");
        }
    }

    #[test]
    fn items_are_bounded_bad_count() {
        let limits = Limits { items_max: 10, ..Limits::default() };
        let mut scan = Scan::new(b"[1,2,3,4,5,6,7,8,9,10,11]", &limits).unwrap();
        let token = scan.token().unwrap();
        assert_eq!(scan.skip(&token), Err(QuarantineCode::TooManyItems));
    }

    #[test]
    fn two_images_of_the_longest_vector_are_within_bounds() {
        let text = |items: usize| format!("[{}0]", "0,".repeat(items - 1));
        let skipped = |items: usize| {
            let text = text(items);
            let mut scan = Scan::new(text.as_bytes(), &Limits::default()).unwrap();
            let token = scan.token().unwrap();
            scan.skip(&token)
        };
        assert_eq!(skipped(2 << 20), Ok(()));
        assert_eq!(skipped(2_200_000), Err(QuarantineCode::TooManyItems));
    }

    /// Equal, with numbers taken as doubles.
    fn alike(a: &serde_json::Value, b: &serde_json::Value) -> bool {
        use serde_json::Value::{Array, Number, Object};
        match (a, b) {
            (Number(a), Number(b)) => a.as_f64() == b.as_f64(),
            (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
            (Object(a), Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| alike(a, b)))
            }
            (a, b) => a == b,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        // The oracle has no opinion on doubled names and takes numbers as doubles.
        #[test]
        fn accepts_what_serde_json_accepts(text in r#"[\[\]{}:, "\\ua0-9.eE+tfn\n-]{0,12}|(\{"[ab]":(-?[0-9.]{1,3}|"[^"]{0,3}"|null|\[\])(,"c":true)?\})"#) {
            let oracle = serde_json::from_str::<serde_json::Value>(&text);
            let ours = read(text.as_bytes());
            match (skim(text.as_bytes()), &ours) {
                // Whether a double can hold it is asked only where it is built.
                (Ok(()), Err(QuarantineCode::OutOfRange)) => {}
                (skimmed, ours) => prop_assert_eq!(skimmed.err(), ours.as_ref().err().copied()),
            }
            match (oracle, ours) {
                (Ok(value), Ok(ours)) => {
                    let again: serde_json::Value = serde_json::from_str(&ours).unwrap();
                    prop_assert!(alike(&again, &value), "{again} {value}");
                }
                (Err(_), Err(_)) => {}
                (Ok(_), Err(code)) => prop_assert_eq!(code, QuarantineCode::DuplicateName),
                (Err(fault), Ok(_)) => prop_assert!(fault.to_string().contains("out of range")),
            }
        }

        #[test]
        fn strings_come_back_as_serde_json_reads_them(text in any::<String>()) {
            let escaped = serde_json::to_string(&text).unwrap();
            let mut scan = Scan::new(escaped.as_bytes(), &Limits::default()).unwrap();
            let Ok(Token::Text(read)) = scan.token() else { panic!("not a string") };
            prop_assert_eq!(read.unescape(), text.clone());
            let units: String = text.encode_utf16().map(|u| format!("\\u{u:04X}")).collect();
            let quoted = format!("\"{units}\"");
            let mut scan = Scan::new(quoted.as_bytes(), &Limits::default()).unwrap();
            let Ok(Token::Text(read)) = scan.token() else { panic!("not a string") };
            prop_assert_eq!(read.unescape(), text);
        }
    }
}
