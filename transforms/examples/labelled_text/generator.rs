//! Invented sentences with planted items. What a check digit is for is computed here once more, by
//! the rules of those who give the numbers out, and by none of the code that finds them.

use std::ops::Range;

/// Knuth's MMIX constants: the same seed gives the same text everywhere.
pub struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| self.sign("0123456789")).collect()
    }

    fn sign(&mut self, of: &str) -> char {
        let signs: Vec<char> = of.chars().collect();
        signs[self.below(signs.len() as u64) as usize]
    }

    fn signs(&mut self, count: usize, of: &str) -> String {
        (0..count).map(|_| self.sign(of)).collect()
    }

    /// Year, month and day of somebody alive.
    fn born(&mut self) -> (u64, u64, u64) {
        (1930 + self.below(75), 1 + self.below(12), 1 + self.below(28))
    }
}

/// A text and what was planted in it.
pub struct Sentence {
    pub text: String,
    /// Kind and bytes.
    pub spans: Vec<(&'static str, Range<usize>)>,
}

/// How a kind is planted: words before the item, the item, words after it.
type Plant = fn(&mut Random) -> (String, String, String);

/// Everything that can be planted.
pub const PLANTS: &[(&str, Plant)] = &[
    ("email", email),
    ("phone", phone),
    ("card", card),
    ("iban", iban),
    ("ip", ip),
    ("mac", mac),
    ("url_credentials", url_credentials),
    ("private_key", private_key),
    ("api_key", api_key),
    ("crypto_address", crypto_address),
    ("vat_id", vat_id),
    ("us_ssn", us_ssn),
    ("uk_nino", uk_nino),
    ("de_steuer_id", de_steuer_id),
    ("fr_nir", fr_nir),
    ("es_dni", es_dni),
    ("it_codice_fiscale", it_codice_fiscale),
    ("be_national", be_national),
    ("pl_pesel", pl_pesel),
    ("se_personnummer", se_personnummer),
    ("fi_hetu", fi_hetu),
    ("no_fodselsnummer", no_fodselsnummer),
    ("dk_cpr", dk_cpr),
    ("ch_ahv", ch_ahv),
    ("ro_cnp", ro_cnp),
    ("gr_amka", gr_amka),
    ("cz_rodne_cislo", cz_rodne_cislo),
    ("bg_egn", bg_egn),
    ("ee_isikukood", ee_isikukood),
    ("si_emso", si_emso),
    ("ie_pps", ie_pps),
    ("hr_oib", hr_oib),
    ("nl_bsn", nl_bsn),
    ("pt_nif", pt_nif),
    ("at_svnr", at_svnr),
    ("hu_taj", hu_taj),
    ("us_routing", us_routing),
    ("us_driver_license", us_driver_license),
    ("passport", passport),
    ("swift", swift),
    ("date_of_birth", date_of_birth),
    ("plate", plate),
    ("street_address", street_address),
    ("postcode", postcode),
    ("url", url),
    ("age", age),
    ("person", person),
    ("location", location),
];

/// Words of eight languages, none of them a name or a place.
#[rustfmt::skip]
const WORDS: &[&[&str]] = &[
    &["asked", "about", "the", "delivery", "that", "was", "late", "and", "wanted", "to", "know", "when", "it", "would", "come", "please", "call", "back", "next", "week"],
    &["fragte", "nach", "der", "lieferung", "die", "zu", "spät", "kam", "und", "wollte", "wissen", "wann", "sie", "endlich", "eintrifft", "bitte", "nächste", "woche", "größer"],
    &["demandait", "où", "en", "est", "la", "livraison", "prévue", "hier", "et", "voulait", "savoir", "quand", "elle", "arrive", "merci", "de", "rappeler", "déjà"],
    &["preguntó", "por", "el", "envío", "que", "llegó", "tarde", "y", "quería", "saber", "cuándo", "llega", "por", "favor", "llame", "mañana", "señal"],
    &["chiedeva", "della", "consegna", "in", "ritardo", "e", "voleva", "sapere", "quando", "arriva", "per", "favore", "richiamare", "domani", "perché", "così"],
    &["vroeg", "naar", "de", "levering", "die", "te", "laat", "was", "en", "wilde", "weten", "wanneer", "het", "komt", "graag", "terugbellen", "volgende", "reünie"],
    &["pytał", "o", "dostawę", "która", "się", "spóźniła", "i", "chciał", "wiedzieć", "kiedy", "dotrze", "proszę", "oddzwonić", "jutro", "później"],
    &["perguntou", "pela", "entrega", "atrasada", "e", "queria", "saber", "quando", "chega", "por", "favor", "ligue", "amanhã", "não", "frågade", "om", "leveransen", "som", "var", "sen"],
];

/// Numbers in prose that are nobody's: orders, versions, prices, dates, times, measures.
#[rustfmt::skip]
const NEGATIVES: &[&str] = &[
    "2024-01-31", "31.12.2024", "08:53:20", "19.80", "1,200", "v1.20.3", "12", "2025", "#48213",
    "100 %", "3 x 4", "INV-2024-00123", "7/8", "2nd", "1 000 000", "10:15", "Q3/2025", "SKU-77-120",
    "EUR 49.90", "12,5 kg", "ISO 9001", "A4", "PO 4500012", "20 cm", "3.5", "RFC 2119",
];

pub struct Generator {
    random: Random,
    plants: Vec<(&'static str, Plant)>,
    next: usize,
}

impl Generator {
    /// Plants the kinds of these names, one after the other.
    pub fn new(seed: u64, kinds: &[&str]) -> Self {
        let wanted = |plant: &&(&'static str, Plant)| kinds.contains(&plant.0);
        let plants: Vec<_> = PLANTS.iter().filter(wanted).copied().collect();
        assert!(!plants.is_empty(), "nothing to plant");
        Self { random: Random(seed), plants, next: 0 }
    }

    /// Words of one language, one planted item, and two numbers that are nobody's, apart from it.
    pub fn sentence(&mut self) -> Sentence {
        let random = &mut self.random;
        let words = WORDS[random.below(WORDS.len() as u64) as usize];
        let (kind, plant) = self.plants[self.next % self.plants.len()];
        self.next += 1;
        let count = 12 + random.below(10) as usize;
        let at = 3 + random.below(count as u64 - 6) as usize;
        let negatives = [at - 3, at + 3];
        let mut sentence = Sentence { text: String::new(), spans: Vec::new() };
        for word in 0..count {
            if word > 0 {
                sentence.text.push(' ');
            }
            if word == at {
                let (before, item, after) = plant(random);
                let (open, close) =
                    (random.pick(&["", "", "(", "\""]), random.pick(&["", "", ",", ".", ";", "?"]));
                // What opens before a word of context would part it from its item.
                let open = if before.is_empty() { open } else { "" };
                sentence.text.push_str(&before);
                sentence.text.push_str(open);
                let start = sentence.text.len();
                sentence.text.push_str(&item);
                sentence.spans.push((kind, start..sentence.text.len()));
                sentence.text.push_str(match open {
                    "(" => ")",
                    open => open,
                });
                sentence.text.push_str(&after);
                sentence.text.push_str(close);
            } else if negatives.contains(&word) {
                sentence.text.push_str(random.pick(NEGATIVES));
            } else {
                sentence.text.push_str(random.pick(words));
            }
        }
        sentence
    }
}

/// So many sentences as the JSON list that `douane scorecard` reads.
pub fn json(count: usize, seed: u64, kinds: &[&str]) -> serde_json::Value {
    let mut generator = Generator::new(seed, kinds);
    (0..count).map(|_| item(&generator.sentence())).collect()
}

fn item(sentence: &Sentence) -> serde_json::Value {
    let characters = |bytes: usize| sentence.text[..bytes].chars().count();
    let spans = sentence.spans.iter().map(|(kind, range)| {
        serde_json::json!({
            "entity_type": kind,
            "entity_value": sentence.text[range.clone()],
            "start_position": characters(range.start),
            "end_position": characters(range.end),
        })
    });
    serde_json::json!({
        "full_text": sentence.text,
        "spans": spans.collect::<Vec<_>>(),
        "metadata": { "generator": "douane" },
    })
}

fn alone(item: String) -> (String, String, String) {
    (String::new(), item, String::new())
}

fn after(before: &str, item: String) -> (String, String, String) {
    (format!("{before} "), item, String::new())
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn digits_of(text: &str) -> impl Iterator<Item = u64> + '_ {
    text.chars().filter_map(|c| c.to_digit(10)).map(u64::from)
}

fn weighted(text: &str, weights: &[u64]) -> u64 {
    digits_of(text).zip(weights).map(|(digit, weight)| digit * weight).sum()
}

fn grouped(text: &str, size: usize, separator: &str) -> String {
    let signs: Vec<char> = text.chars().collect();
    signs.chunks(size).map(String::from_iter).collect::<Vec<_>>().join(separator)
}

/// ISO/IEC 7812-1 annex B.
fn luhn_digit(body: &str) -> u64 {
    let sum: u64 = digits_of(body)
        .collect::<Vec<_>>()
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let doubled = digit * if at % 2 == 0 { 2 } else { 1 };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    (10 - sum % 10) % 10
}

/// ISO/IEC 7064 mod 11,10.
fn mod_11_10_digit(body: &str) -> u64 {
    let product = digits_of(body).fold(10, |product, digit| {
        let sum = (product + digit) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10
}

const FIRST: &[&str] = &["ada", "bo", "chen", "dora", "emil", "fatma", "goran", "jürgen"];
const LAST: &[&str] = &["abel", "berg", "costa", "dietz", "o'brien", "novak", "petit"];

fn email(r: &mut Random) -> (String, String, String) {
    let (first, last) = (r.pick(FIRST), r.pick(LAST));
    let domain = r.pick(&["example.org", "example.com", "mail.example.co.uk", "müller.example"]);
    let joint = r.pick(&[".", "_", "-", "+", ""]);
    alone(format!("{first}{joint}{last}{}@{domain}", r.below(1000)))
}

fn phone(r: &mut Random) -> (String, String, String) {
    let (line, mobile) = (r.below(100), r.digits(8));
    let gap = r.pick(&[" ", "-", ".", "\u{a0}"]);
    alone(match r.below(10) {
        0 => format!("+1 202 555 01{line:02}"),
        1 => format!("+1{gap}202{gap}555{gap}01{line:02}"),
        2 => format!("(202) 555-01{line:02}"),
        3 => format!("+49151{mobile}"),
        4 => format!("+49{gap}151{gap}{mobile}"),
        5 => format!("0049 151/{mobile}"),
        6 => format!("+49 (0)151 {}", grouped(&mobile, 2, gap)),
        _ => return national_phone(r),
    })
}

/// As people of a country write their own, `#` for a digit: the trunk zero, the groups and what joins
/// them are those of ITU-T E.123 and of each country's regulator. Behind a word for a telephone where
/// the digits alone could be a date.
#[rustfmt::skip]
const NATIONAL_PHONES: &[(&str, &str)] = &[
    ("GB", "020 7946 0###"), ("GB", "07700 900###"), ("GB", "(0161) 496 0###"),
    ("FR", "01 99 00 ## ##"), ("FR", "06.39.98.##.##"), ("FR", "06-39-98-##-##"),
    ("DE", "030 23125 ###"), ("DE", "0171/39200##"), ("DE", "(089) 99998-###"),
    ("ES", "612 34 ## ##"), ("ES", "612 345 ###"), ("ES", "91 123 ## ##"),
    ("IT", "02 12345##"), ("IT", "06 123456##"), ("IT", "333 12345##"), ("IT", "348-12345##"),
    ("NL", "06-123456##"), ("NL", "06 1234 56##"), ("NL", "020 12345##"), ("NL", "020-123 45 ##"),
    ("BE", "0470 12 34 ##"), ("BE", "02 123 45 ##"),
    ("AT", "0664 12345##"), ("AT", "01 12345##"),
    ("CH", "079 123 45 ##"), ("CH", "044 123 45 ##"),
    ("PL", "512 345 ###"), ("PL", "22 123 45 ##"), ("PL", "512-345-###"),
    ("PT", "912 345 ###"), ("PT", "21 123 45 ##"),
    ("SE", "070-123 45 ##"), ("SE", "08-123 456 ##"),
    ("FI", "040 123 45##"), ("FI", "09 1234 5##"),
    ("NO", "tlf. 22 12 34 ##"), ("NO", "mobil 912 34 5##"),
    ("DK", "tlf. 32 12 34 ##"), ("DK", "mobil 20 12 34 ##"),
];

fn national_phone(r: &mut Random) -> (String, String, String) {
    let (_, form) = NATIONAL_PHONES[r.below(NATIONAL_PHONES.len() as u64) as usize];
    let digit = |c: char, r: &mut Random| if c == '#' { r.sign("0123456789") } else { c };
    let text: String = form.chars().map(|c| digit(c, r)).collect();
    match text.split_once(' ') {
        Some((word, number)) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            after(word, number.to_owned())
        }
        _ => alone(text),
    }
}

fn card(r: &mut Random) -> (String, String, String) {
    let length = 13 + r.below(7) as usize;
    let body = format!("9{}", r.digits(length - 2));
    let number = format!("{body}{}", luhn_digit(&body));
    alone(match r.below(3) {
        0 => number,
        1 => grouped(&number, 4, r.pick(&[" ", "-", "\u{a0}"])),
        _ => grouped(&number, 6, " "),
    })
}

/// Check digits of ISO 7064 mod 97-10: 98 minus the rest with zeros in their place.
fn iban(r: &mut Random) -> (String, String, String) {
    let (country, body) = match r.below(4) {
        0 => ("DE", r.digits(18)),
        1 => ("NO", r.digits(11)),
        2 => ("GB", format!("WEST{}", r.digits(14))),
        _ => ("PL", r.digits(24)),
    };
    let text = format!("{body}{country}00");
    let rest = text.chars().fold(0, |rest, c| match c.to_digit(36) {
        Some(value @ 0..=9) => (rest * 10 + value) % 97,
        Some(value) => (rest * 100 + value) % 97,
        None => rest,
    });
    let number = format!("{country}{:02}{body}", 98 - rest);
    alone(match r.below(3) {
        0 => number,
        1 => grouped(&number, 4, " "),
        _ => number.to_lowercase(),
    })
}

fn ip(r: &mut Random) -> (String, String, String) {
    let mut group = || 1 + r.below(254);
    let four = format!("{}.{}.{}.{}", group(), group(), group(), group());
    alone(match r.below(3) {
        0 => format!(
            "2001:db8:{}::{}:{:x}",
            r.below(9000) + 1,
            r.below(900) + 1,
            r.below(60_000) + 1
        ),
        1 => format!("fd00:{0:x}:{0:x}:1:2:3:4:{1:x}", r.below(60_000) + 1, r.below(60_000) + 1),
        _ => four,
    })
}

fn mac(r: &mut Random) -> (String, String, String) {
    let hex = r.signs(12, "0123456789abcdef");
    let hex = if r.below(2) == 0 { hex } else { hex.to_uppercase() };
    alone(grouped(&hex, 2, r.pick(&[":", "-"])))
}

fn url_credentials(r: &mut Random) -> (String, String, String) {
    let scheme = r.pick(&["https", "postgres", "ftp", "amqp"]);
    let word = r.signs(10, "abcdefghkmnpqrstuvwxyz23456789");
    alone(format!(
        "{scheme}://{}:{word}@db{}.example.org/{}",
        r.pick(FIRST),
        r.below(90),
        r.pick(&["", "x", "a/b"])
    ))
}

fn private_key(r: &mut Random) -> (String, String, String) {
    let sort = r.pick(&["RSA ", "EC ", "", "OPENSSH "]);
    let body = r.signs(64, BASE64);
    alone(format!("-----BEGIN {sort}PRIVATE KEY-----\n{body}\n-----END {sort}PRIVATE KEY-----"))
}

const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn api_key(r: &mut Random) -> (String, String, String) {
    alone(match r.below(5) {
        0 => format!("AKIA{}", r.signs(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
        1 => format!("ghp_{}", r.signs(36, BASE64)),
        2 => format!("xoxb-{}-{}-{}", r.digits(12), r.digits(12), r.signs(24, BASE64)),
        3 => format!("sk_live_{}", r.signs(24, BASE64)),
        _ => format!("AIza{}", r.signs(35, BASE64)),
    })
}

fn crypto_address(r: &mut Random) -> (String, String, String) {
    // Well-known ones, for their check bytes: the first block's, and those of BIP 173 and EIP-55.
    alone(match r.below(5) {
        0 => "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa".to_owned(),
        1 => "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4".to_owned(),
        2 => "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".to_owned(),
        3 => "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy".to_owned(),
        _ => format!("0x{}", r.signs(40, "0123456789abcdef")),
    })
}

fn vat_id(r: &mut Random) -> (String, String, String) {
    let body = format!("1{}", r.digits(7));
    alone(format!("DE{body}{}", mod_11_10_digit(&body)))
}

fn us_ssn(r: &mut Random) -> (String, String, String) {
    let (area, group, serial) = (1 + r.below(665), 1 + r.below(99), 1 + r.below(9999));
    alone(format!("{area:03}-{group:02}-{serial:04}"))
}

fn uk_nino(r: &mut Random) -> (String, String, String) {
    let (first, second) = (r.sign("ABCEHJKLMPRS"), r.sign("ABCEHJKLMPRS"));
    let number = r.digits(6);
    let last = r.sign("ABCD");
    // Prefixes that are not given out.
    let head = match format!("{first}{second}").as_str() {
        "BG" | "GB" | "KN" | "NK" | "NT" | "TN" | "ZZ" => "AB".to_owned(),
        other => other.to_owned(),
    };
    alone(match r.below(2) {
        0 => format!("{head}{number}{last}"),
        _ => format!("{head} {} {last}", grouped(&number, 2, " ")),
    })
}

/// Ten digits of which one stands twice or thrice, and mod 11,10 (BZSt).
fn de_steuer_id(r: &mut Random) -> (String, String, String) {
    let mut pool: Vec<char> = "0123456789".chars().collect();
    let mut body: Vec<char> = Vec::new();
    while body.len() < 9 {
        let at = r.below(pool.len() as u64) as usize;
        body.push(pool.remove(at));
    }
    if body[0] == '0' {
        body.swap(0, 1);
    }
    let twice = body[1 + r.below(8) as usize];
    let at = [3, 5, 7, 9][r.below(4) as usize];
    body.insert(at, twice);
    // Not three of one digit in a row: only two stand in it at all.
    let body: String = body.into_iter().collect();
    let number = format!("{body}{}", mod_11_10_digit(&body));
    after(
        "Steuer-ID",
        match r.below(2) {
            0 => number,
            _ => format!("{} {} {} {}", &number[..2], &number[2..5], &number[5..8], &number[8..]),
        },
    )
}

fn fr_nir(r: &mut Random) -> (String, String, String) {
    let (year, month, _) = r.born();
    let (sex, town, order) = (1 + r.below(2), 1 + r.below(95), r.digits(3));
    let commune = 1 + r.below(900);
    let order = if order == "000" { "001".to_owned() } else { order };
    // 20 is Corsica's, written 2A and 2B.
    let town = if town == 20 { 21 } else { town };
    let body = format!("{sex}{:02}{month:02}{town:02}{commune:03}{order}", year % 100);
    let key = 97 - number(&body) % 97;
    alone(match r.below(2) {
        0 => format!("{body}{key:02}"),
        _ => format!("{sex} {:02} {month:02} {town:02} {commune:03} {order} {key:02}", year % 100),
    })
}

fn es_dni(r: &mut Random) -> (String, String, String) {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let letter = |number: u64| char::from(LETTERS[(number % 23) as usize]);
    alone(match r.below(2) {
        0 => {
            let body = 10_000_000 + r.below(89_999_999);
            format!("{body}{}", letter(body))
        }
        _ => {
            let (first, body) = (r.below(3), r.below(10_000_000));
            let sign = ["X", "Y", "Z"][first as usize];
            format!("{sign}{body:07}{}", letter(first * 10_000_000 + body))
        }
    })
}

fn it_codice_fiscale(r: &mut Random) -> (String, String, String) {
    const ODD: [u64; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let (year, _, day) = r.born();
    let letters = r.signs(6, "BCDFGLMNPRSTVZ");
    let month = r.sign("ABCDEHLMPRST");
    let day = if r.below(2) == 0 { day } else { day + 40 };
    let place = r.digits(3);
    let body = format!("{letters}{:02}{month}{day:02}H{place}", year % 100);
    let value = |c: char| u64::from(c.to_digit(36).map_or(0, |v| if v > 9 { v - 10 } else { v }));
    let sum: u64 = body
        .chars()
        .enumerate()
        .map(|(at, c)| if at % 2 == 0 { ODD[value(c) as usize] } else { value(c) })
        .sum();
    alone(format!("{body}{}", char::from(b'A' + (sum % 26) as u8)))
}

fn be_national(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    let serial = 1 + r.below(997);
    let body = format!("{:02}{month:02}{day:02}{serial:03}", year % 100);
    let whole = if year >= 2000 { 2_000_000_000 + number(&body) } else { number(&body) };
    let key = 97 - whole % 97;
    alone(format!("{:02}.{month:02}.{day:02}-{serial:03}.{key:02}", year % 100))
}

fn pl_pesel(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    let month = if year >= 2000 { month + 20 } else { month };
    let body = format!("{:02}{month:02}{day:02}{}", year % 100, r.digits(4));
    let sum = weighted(&body, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    after("PESEL", format!("{body}{}", (10 - sum % 10) % 10))
}

fn se_personnummer(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    let body = format!("{:02}{month:02}{day:02}{}", year % 100, r.digits(3));
    let check = luhn_digit(&body);
    alone(match r.below(2) {
        0 => format!("{}-{}{check}", &body[..6], &body[6..]),
        _ => format!("{}{}-{}{check}", year / 100, &body[..6], &body[6..]),
    })
}

fn fi_hetu(r: &mut Random) -> (String, String, String) {
    const SIGNS: &[u8] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let (year, month, day) = r.born();
    let (date, serial) = (format!("{day:02}{month:02}{:02}", year % 100), 2 + r.below(897));
    let check = SIGNS[(number(&format!("{date}{serial:03}")) % 31) as usize];
    let century = if year >= 2000 { 'A' } else { '-' };
    alone(format!("{date}{century}{serial:03}{}", char::from(check)))
}

fn no_fodselsnummer(r: &mut Random) -> (String, String, String) {
    loop {
        let (year, month, day) = r.born();
        let serial = if year >= 2000 { 500 + r.below(499) } else { r.below(499) };
        let body = format!("{day:02}{month:02}{:02}{serial:03}", year % 100);
        let first = (11 - weighted(&body, &[3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11) % 11;
        let with = format!("{body}{first}");
        let second = (11 - weighted(&with, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
        if first < 10 && second < 10 {
            return after("fødselsnummer", format!("{with}{second}"));
        }
    }
}

fn dk_cpr(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    // The seventh digit says the century: 0 to 3 the twentieth, 4 to 7 the one after it for low years.
    let seventh = if year >= 2000 { 4 + r.below(4) } else { r.below(4) };
    after("CPR", format!("{day:02}{month:02}{:02}-{seventh}{}", year % 100, r.digits(3)))
}

fn ch_ahv(r: &mut Random) -> (String, String, String) {
    let body = format!("756{}", r.digits(9));
    let sum = weighted(&body, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]);
    let check = (10 - sum % 10) % 10;
    alone(format!("756.{}.{}.{}{check}", &body[3..7], &body[7..11], &body[11..]))
}

fn ro_cnp(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    let sex = if year >= 2000 { 5 + r.below(2) } else { 1 + r.below(2) };
    let county = 1 + r.below(40);
    let serial = 1 + r.below(998);
    let body = format!("{sex}{:02}{month:02}{day:02}{county:02}{serial:03}", year % 100);
    let rest = weighted(&body, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    after("CNP", format!("{body}{}", if rest == 10 { 1 } else { rest }))
}

fn gr_amka(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    let body = format!("{day:02}{month:02}{:02}{}", year % 100, r.digits(4));
    after("AMKA", format!("{body}{}", luhn_digit(&body)))
}

fn cz_rodne_cislo(r: &mut Random) -> (String, String, String) {
    loop {
        let (year, month, day) = r.born();
        if year < 1954 {
            continue;
        }
        let month = if r.below(2) == 0 { month } else { month + 50 };
        let body = format!("{:02}{month:02}{day:02}{}", year % 100, r.digits(3));
        let rest = number(&body) % 11;
        if rest < 10 {
            return after("rodné číslo", format!("{}/{}{rest}", &body[..6], &body[6..]));
        }
    }
}

fn bg_egn(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    let month = if year >= 2000 { month + 40 } else { month };
    let body = format!("{:02}{month:02}{day:02}{}", year % 100, r.digits(3));
    let check = weighted(&body, &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10;
    after("ЕГН", format!("{body}{check}"))
}

fn ee_isikukood(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    let sex = if year >= 2000 { 5 + r.below(2) } else { 3 + r.below(2) };
    let body = format!("{sex}{:02}{month:02}{day:02}{}", year % 100, r.digits(3));
    let mut rest = weighted(&body, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
    if rest == 10 {
        rest = weighted(&body, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10;
    }
    after("isikukood", format!("{body}{rest}"))
}

fn si_emso(r: &mut Random) -> (String, String, String) {
    loop {
        let (year, month, day) = r.born();
        let body = format!("{day:02}{month:02}{:03}50{}", year % 1000, r.digits(3));
        let rest = weighted(&body, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        if rest != 1 {
            return after("EMŠO", format!("{body}{}", (11 - rest) % 11));
        }
    }
}

fn ie_pps(r: &mut Random) -> (String, String, String) {
    let body = format!("{}{}", 1 + r.below(9), r.digits(6));
    let rest = weighted(&body, &[8, 7, 6, 5, 4, 3, 2]) % 23;
    let letter = if rest == 0 { 'W' } else { char::from(b'A' + (rest - 1) as u8) };
    after("PPS", format!("{body}{letter}"))
}

fn hr_oib(r: &mut Random) -> (String, String, String) {
    let body = r.digits(10);
    after("OIB", format!("{body}{}", mod_11_10_digit(&body)))
}

fn nl_bsn(r: &mut Random) -> (String, String, String) {
    loop {
        let body = format!("{}{}", 1 + r.below(9), r.digits(7));
        let rest = weighted(&body, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        if rest < 10 {
            return after("BSN", format!("{body}{rest}"));
        }
    }
}

fn pt_nif(r: &mut Random) -> (String, String, String) {
    let body = format!("{}{}", r.pick(&["1", "2", "3"]), r.digits(7));
    let rest = weighted(&body, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    after("NIF", format!("{body}{}", if rest < 2 { 0 } else { 11 - rest }))
}

fn at_svnr(r: &mut Random) -> (String, String, String) {
    loop {
        let (year, month, day) = r.born();
        let serial = 100 + r.below(900);
        let date = format!("{day:02}{month:02}{:02}", year % 100);
        let check = weighted(&format!("{serial}{date}"), &[3, 7, 9, 5, 8, 4, 2, 1, 6]) % 11;
        if check < 10 {
            return after("SVNR", format!("{serial}{check} {date}"));
        }
    }
}

fn hu_taj(r: &mut Random) -> (String, String, String) {
    let body = r.digits(8);
    let check = weighted(&body, &[3, 7, 3, 7, 3, 7, 3, 7]) % 10;
    after("TAJ", grouped(&format!("{body}{check}"), 3, r.pick(&[" ", "-", ""])))
}

/// American Bankers Association: weights 3, 7, 1.
fn us_routing(r: &mut Random) -> (String, String, String) {
    let body = format!("{:02}{}", 1 + r.below(12), r.digits(6));
    let sum = weighted(&body, &[3, 7, 1, 3, 7, 1, 3, 7]);
    after("routing number", format!("{body}{}", (10 - sum % 10) % 10))
}

fn us_driver_license(r: &mut Random) -> (String, String, String) {
    after("driver's license", format!("{}{}", r.sign("ABCDEFGHJKLMNPRST"), r.digits(7)))
}

fn passport(r: &mut Random) -> (String, String, String) {
    after(
        r.pick(&["passport", "passport no."]),
        match r.below(2) {
            0 => r.digits(9),
            _ => format!("C{}", r.signs(8, "0123456789CFGHJKLMNPRTVWXYZ")),
        },
    )
}

fn swift(r: &mut Random) -> (String, String, String) {
    let bank = r.pick(&["COBADEFF", "DEUTDEFF", "BNPAFRPP", "CHASUS33", "BARCGB22"]);
    after(r.pick(&["BIC", "SWIFT"]), format!("{bank}{}", r.pick(&["", "XXX"])))
}

fn date_of_birth(r: &mut Random) -> (String, String, String) {
    let (year, month, day) = r.born();
    match r.below(3) {
        0 => after("born on", format!("{year}-{month:02}-{day:02}")),
        1 => after("geboren am", format!("{day:02}.{month:02}.{year}")),
        _ => after("date of birth", format!("{day:02}/{month:02}/{year}")),
    }
}

fn plate(r: &mut Random) -> (String, String, String) {
    match r.below(2) {
        0 => {
            after("Kennzeichen", format!("B-{} {}", r.signs(2, "ABCDEFGHKLMN"), 100 + r.below(899)))
        }
        _ => after(
            "license plate",
            format!("AB{:02} {}", 10 + r.below(60), r.signs(3, "BCDFGHJKLM")),
        ),
    }
}

fn street_address(r: &mut Random) -> (String, String, String) {
    let house = 1 + r.below(199);
    alone(match r.below(4) {
        0 => format!("{house} Garden Street"),
        1 => format!("Lindenstraße {house}"),
        2 => format!("{house} rue de la Paix"),
        _ => format!("{house} Mill Road"),
    })
}

fn postcode(r: &mut Random) -> (String, String, String) {
    match r.below(2) {
        0 => after("zip", format!("{}{}", 1 + r.below(9), r.digits(4))),
        _ => after("postcode", format!("SW{}A {}AA", 1 + r.below(9), 1 + r.below(9))),
    }
}

fn url(r: &mut Random) -> (String, String, String) {
    alone(format!(
        "https://www.{}{}.example.org/{}",
        r.pick(FIRST_PLAIN),
        r.below(99),
        r.pick(&["", "a", "a/b?c=1"])
    ))
}

const FIRST_PLAIN: &[&str] = &["ada", "bo", "chen", "dora"];

fn age(r: &mut Random) -> (String, String, String) {
    let years = 18 + r.below(70);
    ("is ".to_owned(), years.to_string(), " years old".to_owned())
}

fn person(r: &mut Random) -> (String, String, String) {
    let first =
        r.pick(&["Anna", "Thomas", "Maria", "Pierre", "Giulia", "Katarzyna", "Peter", "James"]);
    let last =
        r.pick(&["Müller", "Schmidt", "Smith", "Rossi", "García", "Kowalski", "Dupont", "Johnson"]);
    alone(format!("{first} {last}"))
}

fn location(r: &mut Random) -> (String, String, String) {
    alone(
        r.pick(&["Berlin", "Paris", "Madrid", "Warszawa", "London", "Roma", "Amsterdam", "Lisboa"])
            .to_owned(),
    )
}
