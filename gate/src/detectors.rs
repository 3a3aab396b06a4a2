//! The last line: byte scanners that look for what must not stand in a text that crosses.
//!
//! They are written by hand and share nothing with the detectors of the `redact` stage, so that
//! one mistake is not on both sides. They prefer silence over noise: a false alarm quarantines a
//! good record, so each has a validator (Luhn, mod 97, the digit counts of E.164) and borders.

mod national;
mod network;
mod secrets;

/// What a scanner looks for. The names are those of the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detector {
    /// An address `local@domain.tld`.
    Email,
    /// A number in international form: `+`, then 8 to 15 digits (E.164), grouped or not.
    Phone,
    /// 13 to 19 digits with the prefix and length of a card brand and Luhn's check digit.
    Card,
    /// ISO 13616: country, its length, mod 97 = 1.
    Iban,
    /// A URL with a password in it.
    UrlCredentials,
    /// A key with a service's prefix, or a JSON web token.
    ApiKey,
    /// The first line of a private key.
    PrivateKey,
    /// An IPv4 or IPv6 address.
    Ip,
    /// An address of a network card.
    Mac,
    /// A United States social security number in three groups.
    UsSsn,
    /// A French NIR with its key.
    FrNir,
    /// A Spanish DNI or NIE with its letter.
    EsDni,
    /// An Italian codice fiscale with its last character.
    ItCodiceFiscale,
    /// A Belgian national number with points, a hyphen and its key.
    BeNational,
    /// A Swiss AHV number with points and its check digit.
    ChAhv,
    /// A Swedish personnummer with its sign and its check digit.
    SePersonnummer,
    /// A Finnish henkilötunnus with its check character.
    FiHetu,
}

/// Detectors that a release may name and that have no scanner here: their finds have too little
/// form for a second look to be more right than wrong. Where they stand in a redaction, the gate
/// still checks that nothing but whole stretches was replaced.
const WITHOUT_SCANNER: [&str; 31] = [
    "age",
    "at_svnr",
    "bg_egn",
    "crypto_address",
    "cz_rodne_cislo",
    "date_of_birth",
    "de_steuer_id",
    "dk_cpr",
    "ee_isikukood",
    "gr_amka",
    "hr_oib",
    "hu_taj",
    "ie_pps",
    "location",
    "nl_bsn",
    "no_fodselsnummer",
    "passport",
    "person",
    "pl_pesel",
    "plate",
    "postcode",
    "pt_nif",
    "ro_cnp",
    "si_emso",
    "street_address",
    "swift",
    "uk_nino",
    "url",
    "us_driver_license",
    "us_routing",
    "vat_id",
];

/// Names of all detectors that a release may have.
pub fn names() -> impl Iterator<Item = &'static str> {
    Detector::ALL.into_iter().map(Detector::name).chain(WITHOUT_SCANNER)
}

/// What redaction leaves in place of a find: the detector's name in capitals, in brackets. `None`
/// for a name that the gate does not know.
pub fn label(name: &str) -> Option<String> {
    names().any(|known| known == name).then(|| format!("[{}]", name.to_ascii_uppercase()))
}

/// What redaction leaves in place of a find of a dictionary. `None` for a name that none may have,
/// a detector's among them.
pub fn label_of_dictionary(name: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let word = name.bytes().all(plain) && name.bytes().next()?.is_ascii_lowercase();
    (word && name.len() <= 32 && label(name).is_none())
        .then(|| format!("[{}]", name.to_ascii_uppercase()))
}

impl Detector {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 17] = [
        Self::Email,
        Self::Phone,
        Self::Card,
        Self::Iban,
        Self::UrlCredentials,
        Self::ApiKey,
        Self::PrivateKey,
        Self::Ip,
        Self::Mac,
        Self::UsSsn,
        Self::FrNir,
        Self::EsDni,
        Self::ItCodiceFiscale,
        Self::BeNational,
        Self::ChAhv,
        Self::SePersonnummer,
        Self::FiHetu,
    ];

    /// Those that are asked about every public text, and every redacted one. The others are for
    /// columns that the release has them redacted in: an address of a machine or a number of eight
    /// digits and a letter may well be public.
    pub const OF_PUBLIC: [Self; 7] = [
        Self::Email,
        Self::Phone,
        Self::Card,
        Self::Iban,
        Self::UrlCredentials,
        Self::ApiKey,
        Self::PrivateKey,
    ];

    /// Those that are asked about every text, whatever an override says: what they find opens doors.
    const OF_DOORS: [Self; 3] = [Self::UrlCredentials, Self::ApiKey, Self::PrivateKey];

    /// Those that are asked about a text that was redacted with the detectors of these names: their
    /// own, and those of public text but what the override names as residual.
    pub fn of_redacted(named: &[String], residual: &[String]) -> Vec<Self> {
        let in_list = |list: &[String], detector: &Self| list.iter().any(|n| n == detector.name());
        let asked = |detector: &Self| {
            in_list(named, detector)
                || Self::OF_DOORS.contains(detector)
                || (Self::OF_PUBLIC.contains(detector) && !in_list(residual, detector))
        };
        Self::ALL.into_iter().filter(asked).collect()
    }

    /// As the release names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::UrlCredentials => "url_credentials",
            Self::ApiKey => "api_key",
            Self::PrivateKey => "private_key",
            Self::Ip => "ip",
            Self::Mac => "mac",
            Self::UsSsn => "us_ssn",
            Self::FrNir => "fr_nir",
            Self::EsDni => "es_dni",
            Self::ItCodiceFiscale => "it_codice_fiscale",
            Self::BeNational => "be_national",
            Self::ChAhv => "ch_ahv",
            Self::SePersonnummer => "se_personnummer",
            Self::FiHetu => "fi_hetu",
        }
    }

    /// The word for ledger, metric and quarantine record where one was found.
    pub fn code(self) -> &'static str {
        match self {
            Self::Email => "gate_found_email",
            Self::Phone => "gate_found_phone",
            Self::Card => "gate_found_card",
            Self::Iban => "gate_found_iban",
            Self::UrlCredentials => "gate_found_url_credentials",
            Self::ApiKey => "gate_found_api_key",
            Self::PrivateKey => "gate_found_private_key",
            Self::Ip => "gate_found_ip",
            Self::Mac => "gate_found_mac",
            Self::UsSsn => "gate_found_us_ssn",
            Self::FrNir => "gate_found_fr_nir",
            Self::EsDni => "gate_found_es_dni",
            Self::ItCodiceFiscale => "gate_found_it_codice_fiscale",
            Self::BeNational => "gate_found_be_national",
            Self::ChAhv => "gate_found_ch_ahv",
            Self::SePersonnummer => "gate_found_se_personnummer",
            Self::FiHetu => "gate_found_fi_hetu",
        }
    }

    /// The scanner of a name, or `None` where the gate has none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|detector| detector.name() == name)
    }

    /// Bytes of the shortest text that can hold one: below it nobody looks.
    fn shortest(self) -> usize {
        match self {
            Self::Email => "a@b.cd".len(),
            Self::Phone => "+12345678".len(),
            Self::Card => 13,
            // Norway's.
            Self::Iban => 15,
            Self::UrlCredentials => "a://:b@c".len(),
            Self::ApiKey => 20,
            Self::PrivateKey => "-----BEGIN PRIVATE KEY".len(),
            Self::Ip => "1::2:3".len(),
            Self::Mac => "0011.2233.4455".len(),
            Self::EsDni => 9,
            Self::UsSsn | Self::SePersonnummer | Self::FiHetu => 11,
            Self::FrNir | Self::BeNational => 15,
            Self::ItCodiceFiscale | Self::ChAhv => 16,
        }
    }

    /// Whether the text holds at least one.
    pub fn finds(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        if bytes.len() < self.shortest() {
            return false;
        }
        match self {
            Self::Email => email(bytes),
            Self::Phone => phone(bytes),
            // The shortest card has 13 digits, and check digits are two.
            Self::Card => digits(bytes) >= 13 && card(bytes),
            Self::Iban => digits(bytes) >= 2 && iban(bytes),
            Self::UrlCredentials => network::url_credentials(bytes),
            Self::ApiKey => secrets::api_key(bytes),
            Self::PrivateKey => secrets::private_key(bytes),
            Self::Ip => network::ip(bytes),
            Self::Mac => network::mac(bytes),
            Self::UsSsn => digits(bytes) >= 9 && national::us_ssn(bytes),
            Self::FrNir => digits(bytes) >= 15 && national::fr_nir(bytes),
            Self::EsDni => digits(bytes) >= 7 && national::es_dni(bytes),
            Self::ItCodiceFiscale => national::it_codice_fiscale(bytes),
            Self::BeNational => digits(bytes) >= 11 && national::be_national(bytes),
            Self::ChAhv => digits(bytes) >= 13 && national::ch_ahv(bytes),
            Self::SePersonnummer => digits(bytes) >= 10 && national::se_personnummer(bytes),
            Self::FiHetu => digits(bytes) >= 9 && national::fi_hetu(bytes),
        }
    }
}

/// Bytes at the start for which a condition holds.
fn run(bytes: &[u8], holds: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| holds(byte)).count()
}

/// A letter, also one outside ASCII, a digit, or `_`: no border of what is looked for.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Most texts have too few digits to hold anything, and counting takes a fraction of looking. The
/// sums of 255 bytes fit a byte each, which makes this a loop without branches.
fn digits(bytes: &[u8]) -> usize {
    let count = |part: &[u8]| part.iter().map(|b| u8::from(b.is_ascii_digit())).sum::<u8>();
    bytes.chunks(255).map(|part| usize::from(count(part))).sum()
}

/// RFC 5322 atom characters, and everything outside ASCII (RFC 6531).
fn atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn email(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'@', bytes).any(|at| {
        let local = at > 0 && (atom(bytes[at - 1]) || bytes[at - 1] == b'"');
        local && domain(&bytes[at + 1..])
    })
}

/// Labels joined by single dots, at least two, the last one of two letters or more.
fn domain(bytes: &[u8]) -> bool {
    let label = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b >= 0x80;
    let end = bytes.iter().position(|b| !label(*b) && *b != b'.').unwrap_or(bytes.len());
    let mut labels = 0;
    for part in bytes[..end].split(|b| *b == b'.') {
        if part.is_empty() {
            return false;
        }
        labels += 1;
        let letters = part.iter().take_while(|b| b.is_ascii_alphabetic() || **b >= 0x80).count();
        let punycode = part.len() > 4 && part[..4].eq_ignore_ascii_case(b"xn--");
        if labels > 1 && (letters >= 2 || punycode) {
            return true;
        }
    }
    false
}

/// One separator of a written phone number. Several may follow each other: `) `.
fn phone_separator(bytes: &[u8]) -> usize {
    match bytes {
        [b' ' | b'-' | b'.' | b'/' | b'(' | b')', ..] => 1,
        // No-break space, as typesetters write it.
        [0xc2, 0xa0, ..] => 2,
        _ => 0,
    }
}

fn phone(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'+', bytes).any(|at| subscriber(&bytes[at + 1..]))
}

/// Digits right after the `+`: the first is not 0, and a group ends after 8 to 15 of them.
fn subscriber(bytes: &[u8]) -> bool {
    if !bytes.first().is_some_and(|b| b.is_ascii_digit() || *b == b'(') {
        return false;
    }
    let mut digits = 0;
    let mut at = 0;
    let mut gap = 0;
    while at < bytes.len() {
        if bytes[at].is_ascii_digit() {
            if digits == 0 && bytes[at] == b'0' {
                return false;
            }
            digits += 1;
            gap = 0;
            at += 1;
            let group_ends = bytes.get(at).is_none_or(|next| !next.is_ascii_digit());
            if group_ends && (8..=15).contains(&digits) {
                return true;
            }
            if digits > 15 {
                return false;
            }
        } else {
            let width = phone_separator(&bytes[at..]);
            gap += 1;
            if width == 0 || gap > 3 {
                return false;
            }
            at += width;
        }
    }
    false
}

/// Prefixes and lengths of card brands, ISO/IEC 7812 and the brands' own tables. A run of digits
/// that no brand uses (a date, milliseconds, a serial number) is not a card even if Luhn agrees.
fn brand(digits: &[u8]) -> bool {
    let head = |n: usize| digits.iter().take(n).fold(0u32, |n, d| n * 10 + u32::from(*d));
    match (digits.len(), digits.first()) {
        (13 | 16 | 19, Some(4)) => true,
        (14, Some(3)) => matches!(head(3), 300..=305 | 309 | 360..=369 | 380..=399),
        (15, Some(3)) => matches!(head(2), 34 | 37),
        (16..=19, Some(3)) => matches!(head(2), 30 | 35 | 36 | 38 | 39),
        (16..=19, Some(5 | 6)) => true,
        (16, Some(2)) => matches!(head(4), 2200..=2204 | 2221..=2720),
        _ => false,
    }
}

/// ISO/IEC 7812-1 annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let d = u32::from(*d);
            if i % 2 == 0 { d } else { d / 5 + d * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Groups of a card number stand apart by one of these.
fn card_separator(bytes: &[u8]) -> usize {
    match bytes {
        [b' ' | b'-' | b'.', ..] => 1,
        [0xc2, 0xa0, ..] => 2,
        _ => 0,
    }
}

fn card(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|i| {
        let starts = bytes[i].is_ascii_digit() && (i == 0 || !bytes[i - 1].is_ascii_alphanumeric());
        starts && card_at(&bytes[i..])
    })
}

/// A card number that starts here and ends at the end of a group. Separated groups have at least
/// three digits, which keeps dates and times of day apart from cards.
fn card_at(bytes: &[u8]) -> bool {
    let mut digits = [0u8; 19];
    let mut count = 0;
    let mut at = 0;
    loop {
        let group = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if group == 0 || count + group > digits.len() {
            return false;
        }
        for byte in &bytes[at..at + group] {
            digits[count] = byte - b'0';
            count += 1;
        }
        at += group;
        let whole = &digits[..count];
        let border = bytes.get(at).is_none_or(|b| !b.is_ascii_alphanumeric());
        if border && brand(whole) && luhn(whole) {
            return true;
        }
        let width = card_separator(&bytes[at..]);
        if width == 0 || group < 3 {
            return false;
        }
        at += width;
    }
}

/// Lengths by country: SWIFT's IBAN registry, release 99.
#[rustfmt::skip]
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AT", 20), (b"AZ", 28), (b"BA", 20), (b"BE", 16),
    (b"BG", 22), (b"BH", 22), (b"BI", 27), (b"BR", 29), (b"BY", 28), (b"CH", 21), (b"CR", 22),
    (b"CY", 28), (b"CZ", 24), (b"DE", 22), (b"DJ", 27), (b"DK", 18), (b"DO", 28), (b"EE", 20),
    (b"EG", 29), (b"ES", 24), (b"FI", 18), (b"FK", 18), (b"FO", 18), (b"FR", 27), (b"GB", 22),
    (b"GE", 22), (b"GI", 23), (b"GL", 18), (b"GR", 27), (b"GT", 28), (b"HN", 28), (b"HR", 21),
    (b"HU", 28), (b"IE", 22), (b"IL", 23), (b"IQ", 23), (b"IS", 26), (b"IT", 27), (b"JO", 30),
    (b"KW", 30), (b"KZ", 20), (b"LB", 28), (b"LC", 32), (b"LI", 21), (b"LT", 20), (b"LU", 20),
    (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24), (b"ME", 22), (b"MK", 19), (b"MN", 20),
    (b"MR", 27), (b"MT", 31), (b"MU", 30), (b"NI", 28), (b"NL", 18), (b"NO", 15), (b"OM", 23),
    (b"PK", 24), (b"PL", 28), (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22),
    (b"RU", 33), (b"SA", 24), (b"SC", 31), (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24),
    (b"SM", 27), (b"SO", 23), (b"ST", 25), (b"SV", 28), (b"TL", 23), (b"TN", 24), (b"TR", 26),
    (b"UA", 29), (b"VA", 22), (b"VG", 24), (b"XK", 20), (b"YE", 30),
];

fn iban(bytes: &[u8]) -> bool {
    // Two letters and two digits: no blank stands among the first four.
    bytes.windows(4).enumerate().any(|(i, head)| {
        let letters = head[0].is_ascii_alphabetic() && head[1].is_ascii_alphabetic();
        let starts = letters
            && head[2].is_ascii_digit()
            && head[3].is_ascii_digit()
            && (i == 0 || !bytes[i - 1].is_ascii_alphanumeric());
        starts && iban_at(&bytes[i..])
    })
}

fn iban_at(bytes: &[u8]) -> bool {
    let mut plain = [0u8; 34];
    let mut count = 0;
    let mut at = 0;
    let mut length = plain.len();
    while count < length {
        match bytes.get(at) {
            Some(b) if b.is_ascii_alphanumeric() => {
                plain[count] = b.to_ascii_uppercase();
                count += 1;
                at += 1;
                if count == 2 {
                    let country = [plain[0], plain[1]];
                    match IBAN_LENGTHS.iter().find(|(code, _)| **code == country) {
                        Some((_, n)) => length = *n,
                        None => return false,
                    }
                }
            }
            // Groups of four stand apart by one blank or hyphen.
            Some(b' ' | b'-') if count >= 4 => {
                at += 1;
                if !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
                    return false;
                }
            }
            _ => return false,
        }
    }
    let border = bytes.get(at).is_none_or(|b| !b.is_ascii_alphanumeric());
    border && plain[2].is_ascii_digit() && plain[3].is_ascii_digit() && mod_97(&plain[..count]) == 1
}

/// ISO 7064 mod 97-10 over the rearranged text: country and check digits go to the end.
fn mod_97(plain: &[u8]) -> u32 {
    let (head, tail) = plain.split_at(4);
    tail.iter().chain(head).fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(detector: Detector, texts: &[&str]) {
        for text in texts {
            assert!(detector.finds(text), "{detector:?} misses {text}");
            let within = format!("see: {text}, thanks");
            assert!(detector.finds(&within), "{detector:?} misses {within}");
        }
    }

    fn passes(texts: &[&str]) {
        for text in texts {
            for detector in Detector::OF_PUBLIC {
                assert!(!detector.finds(text), "{detector:?} falsely finds {text}");
            }
        }
    }

    #[test]
    fn addresses() {
        finds(
            Detector::Email,
            &[
                "ada@example.com",
                "a.b+c@sub.example.co.uk",
                "ADA@EXAMPLE.COM",
                "müller@exämple.de",
                "x@y.zz",
                "ada@example.com.",
                "<ada@example.com>",
                "\"odd one\"@example.com",
                "a@b@c.de",
                "x@xn--bcher-kva.xn--p1ai",
            ],
        );
    }

    /// Numbers from the brands' published test cards.
    #[test]
    fn cards_of_each_brand() {
        finds(
            Detector::Card,
            &[
                "4111111111111111",
                "4111 1111 1111 1111",
                "4111-1111-1111-1111",
                "4222222222222",
                "5555555555554444",
                "2223003122003222",
                "378282246310005",
                "3782 822463 10005",
                "6011111111111117",
                "30569309025904",
                "3530111333300000",
                "6304000000000000",
                "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            ],
        );
        assert!(Detector::Card.finds("order 2024 4111 1111 1111 1111"));
    }

    /// Examples of SWIFT's registry.
    #[test]
    fn account_numbers() {
        finds(
            Detector::Iban,
            &[
                "DE89370400440532013000",
                "DE89 3704 0044 0532 0130 00",
                "GB29NWBK60161331926819",
                "gb29 nwbk 6016 1331 9268 19",
                "NO9386011117947",
                "FR1420041010050500013M02606",
                "MT84MALT011000012345MTLCAST001S",
                "CH93-0076-2011-6238-5295-7",
            ],
        );
        assert!(Detector::Iban.finds("DE89 3704 0044 0532 0130 00 and more"));
    }

    #[test]
    fn numbers_in_international_form() {
        finds(
            Detector::Phone,
            &[
                "+4915112345678",
                "+49 151 12345678",
                "+1 (415) 555-2671",
                "+44.20.7946.0958",
                "+49 (0)30 123456",
                "+49\u{a0}151\u{a0}12345678",
            ],
        );
        assert!(Detector::Phone.finds("+4915112345678 2024"));
    }

    #[test]
    fn what_public_columns_hold_passes() {
        passes(&[
            "",
            "DE",
            "Frankfurt (Oder)",
            "2025-10-09",
            "2025-10-09T08:53:20.123456",
            "2025-10-09T08:53:20+02:00",
            "2025-10-09T08:53:20+11:30",
            "20251009085320",
            "20251009085320123",
            "2025-10-09 08-53-20",
            "1760000000000",
            "1760000000000123",
            "1760000000000123456",
            "550e8400-e29b-41d4-a716-446655440000",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "192.168.100.200",
            "v1.2.3+build.45",
            "@home",
            "a@b",
            "a@localhost",
            "@example.com",
            "a@.com",
            "price @ 4.50",
            "+1",
            "+491511",
            "+0123456789",
            "12 + 34567890 =",
            "4111111111111112",
            "411111111111111",
            "a4111111111111111",
            "4111111111111111b",
            "9111111111111111",
            "DE88370400440532013000",
            "DE8937040044053201300",
            "ZZ89370400440532013000",
            "DEXX370400440532013000",
            "SKU-DE89-3704",
            "[EMAIL] [PHONE] [CARD] [IBAN]",
        ]);
    }

    #[test]
    fn names_of_the_release() {
        for detector in Detector::ALL {
            assert_eq!(Detector::named(detector.name()), Some(detector));
            assert_eq!(detector.code(), format!("gate_found_{}", detector.name()));
            assert!(!WITHOUT_SCANNER.contains(&detector.name()), "{detector:?}");
        }
        assert!(WITHOUT_SCANNER.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Detector::named("passport"), None);
        assert_eq!(label("us_ssn").as_deref(), Some("[US_SSN]"));
        assert_eq!(label("passport").as_deref(), Some("[PASSPORT]"));
        assert_eq!(label_of_dictionary("staff_2").as_deref(), Some("[STAFF_2]"));
        for bad in ["", "2staff", "Staff", "email", "passport", "st]", &"x".repeat(33)] {
            assert_eq!(label_of_dictionary(bad), None, "{bad}");
        }
        for unknown in ["Email", "shoe_size", ""] {
            assert_eq!((Detector::named(unknown), label(unknown)), (None, None));
        }
    }

    /// Each with one that it must take, and next to it what it must not: another check digit,
    /// another form, the same inside something longer.
    #[test]
    fn numbers_and_addresses_of_machines() {
        for (detector, found, left) in [
            (
                Detector::Ip,
                &["192.168.100.200", "8.8.8.8", "2001:db8::8a2e:370:7334", "fe80::1:2:3"][..],
                &[
                    "1.2.3",
                    "1.2.3.256",
                    "01.2.3.4",
                    "1.2.3.4.5",
                    "v1.2.3.4",
                    "12:34:56",
                    "a::b",
                    "::",
                    "std::fmt::Write",
                ][..],
            ),
            (
                Detector::Mac,
                &["00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7", "001b.4411.3ab7"],
                &["00:1b:44:11:3a", "00:1b:44:11:3a:b7:00", "00:1b-44:11:3a:b7", "12:34:56"],
            ),
            (
                Detector::UsSsn,
                &["078-05-1120", "219 09 9999"],
                &[
                    "000-12-3456",
                    "666-12-3456",
                    "900-12-3456",
                    "078-00-1120",
                    "078-05-0000",
                    "0078-05-1120",
                    "078-05-11201",
                    "078-05 1120",
                ],
            ),
            (
                Detector::FrNir,
                &["1 84 12 76 451 089 46", "255081416802538"],
                &["1 84 12 76 451 089 47", "284127645108946", "5 84 12 76 451 089 46"],
            ),
            (
                Detector::EsDni,
                &["12345678Z", "X1234567L"],
                &["12345678A", "123456789Z", "A12345678Z", "X1234567A"],
            ),
            (
                Detector::ItCodiceFiscale,
                &["RSSMRA85T10A562S"],
                &["RSSMRA85T10A562T", "RSSMRA85T10A562SX", "RSSMRA85X10A562S"],
            ),
            (Detector::BeNational, &["85.07.30-033.28"], &["85.07.30-033.29", "850730-03328"]),
            (Detector::ChAhv, &["756.9217.0769.85"], &["756.9217.0769.84", "757.9217.0769.85"]),
            (
                Detector::SePersonnummer,
                &["811228-9874", "19670919-9530"],
                &["811228-9873", "811328-9874", "8112289874"],
            ),
            (
                Detector::FiHetu,
                &["131052-308T", "010594Y9032"],
                &["131052-308U", "321052-308T", "131052x308T"],
            ),
            (
                Detector::UrlCredentials,
                &["https://ada:secret@example.org/x", "postgres://u:p@10.0.0.1:5432/db"],
                &[
                    "https://example.org:8080/a@b",
                    "https://ada@example.org",
                    "mailto:ada@example.org",
                    "://a:b@c",
                ],
            ),
            (
                Detector::ApiKey,
                &[
                    "AKIAIOSFODNN7EXAMPLE",
                    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
                    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
                ],
                &["AKIAIOSFODNN7EXAMPLES", "ghp_short", "skAKIAIOSFODNN7EXAMPLE", "eyJ.eyJ.x"],
            ),
            (
                Detector::PrivateKey,
                &["-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PGP PRIVATE KEY BLOCK-----"],
                &["-----BEGIN PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----"],
            ),
        ] {
            finds(detector, found);
            for text in left {
                assert!(!detector.finds(text), "{detector:?} falsely finds {text}");
            }
        }
    }

    /// Of each kind a text that is as short as one can be.
    #[test]
    fn the_shortest_are_found() {
        for (detector, text) in [
            (Detector::Email, "a@b.cd"),
            (Detector::Phone, "+12345678"),
            (Detector::Card, "4222222222222"),
            (Detector::Iban, "NO9386011117947"),
            (Detector::UrlCredentials, "a://:b@c"),
            (Detector::ApiKey, "AKIAIOSFODNN7EXAMPLE"),
            (Detector::PrivateKey, "-----BEGIN PRIVATE KEY"),
            (Detector::Ip, "1::2:3"),
            (Detector::Mac, "0011.2233.4455"),
            (Detector::EsDni, "12345678Z"),
            (Detector::UsSsn, "219-09-9999"),
            (Detector::SePersonnummer, "811228-9874"),
            (Detector::FiHetu, "131052-308T"),
            (Detector::FrNir, "255081416802538"),
            (Detector::BeNational, "85.07.30-033.28"),
            (Detector::ItCodiceFiscale, "RSSMRA85T10A562S"),
            (Detector::ChAhv, "756.9217.0769.85"),
        ] {
            assert!(detector.finds(text), "{detector:?} misses {text}");
            assert_eq!(text.len(), detector.shortest(), "{detector:?}");
        }
    }

    /// What a redaction leaves is nothing to any of them.
    #[test]
    fn labels_are_not_found() {
        for name in names() {
            let text = format!("https://{0}@example.org {0} {0}", label(name).unwrap());
            for detector in Detector::ALL {
                assert!(!detector.finds(&text), "{detector:?} finds {text}");
            }
        }
    }

    /// 10 MiB that begin something everywhere.
    #[test]
    fn long_runs_take_linear_time() {
        for part in ["1", "a@", "1.", "a:", "://a:", "-----BEGIN ", "eyJ", "eyJa.", "000-00-", "A1"]
        {
            let text = part.repeat((1 << 20) / part.len());
            let start = std::time::Instant::now();
            for detector in Detector::ALL {
                detector.finds(&text);
            }
            assert!(start.elapsed().as_secs() < 20, "{part}: {:?}", start.elapsed());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_scanner_panic(text in "\\PC{0,80}") {
            for detector in Detector::ALL {
                detector.finds(&text);
            }
        }

        /// What is not looked at holds nothing.
        #[test]
        fn too_few_digits_hold_nothing(text in "[A-Z]{0,4}[0-9 +@.-]{0,18}([A-Z]{0,4}[0-9]{0,20}){0,9}") {
            let bytes = text.as_bytes();
            proptest::prop_assert_eq!(digits(bytes), bytes.iter().filter(|b| b.is_ascii_digit()).count());
            proptest::prop_assert_eq!(Detector::Card.finds(&text), card(bytes));
            proptest::prop_assert_eq!(Detector::Iban.finds(&text), iban(bytes));
        }

        /// Every place looked at, one after the other, finds what leaping over them does.
        #[test]
        fn a_leap_misses_no_key(text in "([a-zA-Z0-9_ é-]{0,20}( |-)?(AKIA|ghp_|sk_live_|xoxb-|eyJ|AIza)[A-Za-z0-9_-]{0,40}[. ]?){0,4}") {
            proptest::prop_assert_eq!(secrets::api_key(text.as_bytes()), secrets::api_key_at_each_place(text.as_bytes()));
        }

        #[test]
        fn a_wrong_check_digit_is_no_card(body in "4[0-9]{14}") {
            let hits = (0..10).filter(|d| Detector::Card.finds(&format!("{body}{d}"))).count();
            proptest::prop_assert_eq!(hits, 1);
        }
    }
}
