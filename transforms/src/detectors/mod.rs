//! Detectors: what is found in free text. One file each: pattern, validator, context, examples,
//! refusals. A further one is its file and one line in `SPECS`.
//!
//! [`scan`] walks a text once for all of them. What it asks of a text before it looks closer is
//! derived from the patterns ([`lead`]); what decides is the detector's own validator.
//!
//! What no detector here finds: health, belief, words that describe a person, numbers written as
//! words or in digits other than ASCII's, addresses like `ada at example dot org`. Names and
//! places are found by lists and by the words around them, which is never all of them.

mod check;
mod context;
pub mod dictionary;
mod lead;
mod scan;
mod words;

mod age;
mod api_key;
mod at_svnr;
mod be_national;
mod bg_egn;
mod card;
mod ch_ahv;
mod crypto_address;
mod cz_rodne_cislo;
mod date_of_birth;
mod de_steuer_id;
mod dk_cpr;
mod ee_isikukood;
mod email;
mod es_dni;
mod fi_hetu;
mod fr_nir;
mod gr_amka;
mod hr_oib;
mod hu_taj;
mod iban;
mod ie_pps;
mod ip;
mod it_codice_fiscale;
mod location;
mod mac;
mod nl_bsn;
mod no_fodselsnummer;
mod passport;
mod person;
mod phone;
mod pl_pesel;
mod plate;
mod postcode;
mod private_key;
mod pt_nif;
mod ro_cnp;
mod se_personnummer;
mod si_emso;
mod street_address;
mod swift;
mod uk_nino;
mod url;
mod url_credentials;
mod us_driver_license;
mod us_routing;
mod us_ssn;
mod vat_id;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use douane_schemas::tuple::Tuple;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use context::Context;
use lead::Lead;
pub use scan::{Detectors, Found, Kind};
use words::Words;

/// All detectors. Of finds that start at one place and are equally long, the first one's counts:
/// so those with check digits stand before those without.
const SPECS: [&Spec; 48] = [
    &email::SPEC,
    &url_credentials::SPEC,
    &private_key::SPEC,
    &api_key::SPEC,
    &crypto_address::SPEC,
    &iban::SPEC,
    &card::SPEC,
    &ip::SPEC,
    &mac::SPEC,
    &vat_id::SPEC,
    &us_ssn::SPEC,
    &uk_nino::SPEC,
    &de_steuer_id::SPEC,
    &fr_nir::SPEC,
    &es_dni::SPEC,
    &it_codice_fiscale::SPEC,
    &be_national::SPEC,
    &pl_pesel::SPEC,
    &se_personnummer::SPEC,
    &fi_hetu::SPEC,
    &no_fodselsnummer::SPEC,
    &dk_cpr::SPEC,
    &ch_ahv::SPEC,
    &ro_cnp::SPEC,
    &gr_amka::SPEC,
    &cz_rodne_cislo::SPEC,
    &bg_egn::SPEC,
    &ee_isikukood::SPEC,
    &si_emso::SPEC,
    &ie_pps::SPEC,
    &hr_oib::SPEC,
    &nl_bsn::SPEC,
    &pt_nif::SPEC,
    &at_svnr::SPEC,
    &hu_taj::SPEC,
    &us_routing::SPEC,
    &us_driver_license::SPEC,
    &passport::SPEC,
    &swift::SPEC,
    &date_of_birth::SPEC,
    &phone::SPEC,
    &plate::SPEC,
    &street_address::SPEC,
    &postcode::SPEC,
    &url::SPEC,
    &age::SPEC,
    &person::SPEC,
    &location::SPEC,
];

/// What a detector is: one constant per file.
pub struct Spec {
    /// As written in YAML.
    name: &'static str,
    /// What stands in place of a find: the name in capitals, in brackets.
    mark: &'static str,
    /// What it finds, in one sentence.
    summary: &'static str,
    /// Raised when it finds something else under the same pattern and words.
    semantics: u32,
    find: Find,
    /// Words that must stand near a find, or near one in a weak form.
    context: Option<&'static Context>,
    /// Text and what redaction makes of it; executed by the tests.
    examples: &'static [(&'static str, &'static str)],
    /// Text that stays as it is; executed by the tests.
    refusals: &'static [&'static str],
}

/// How a detector looks.
enum Find {
    /// For a byte pattern at any place.
    Pattern(Pattern),
    /// For words, once a text.
    Words {
        scan: fn(&Words<'_>, &mut Vec<Range<usize>>),
        /// The lists it reads.
        lists: &'static [&'static str],
    },
}

/// A byte pattern, without Unicode, and what decides on its matches.
struct Pattern {
    pattern: &'static str,
    /// Where it is tried.
    start: Start,
    /// What may not stand right before a find.
    not_after: Edge,
    /// What may not stand right after a find.
    not_before: Edge,
    /// The part of a match, from its start, that is a find.
    accept: fn(&[u8], Range<usize>) -> Option<Range<usize>>,
}

/// Where a pattern is tried.
#[derive(Clone, Copy)]
enum Start {
    /// Wherever the first bytes are such that it may match.
    Anywhere,
    /// Around a byte that every match holds: gives the first byte of the match that holds the one
    /// at the given place, not before the other place.
    Around { byte: u8, first: fn(&[u8], usize, usize) -> usize },
}

/// Bytes that a find does not stand beside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// Any byte may.
    Free,
    /// A digit.
    Digit,
    /// A digit, where the find begins with one itself: it would begin inside a number.
    Number,
    /// A letter, also one outside ASCII, a digit or `_`.
    Word,
    /// As [`Edge::Word`], or one of `-`, `+`, `/` and `@`.
    Slug,
}

impl Edge {
    fn holds(self, byte: u8) -> bool {
        let word = || byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        match self {
            // Asked together with the first byte, where the first bytes are.
            Self::Free | Self::Number => false,
            Self::Digit => byte.is_ascii_digit(),
            Self::Word => word(),
            Self::Slug => word() || b"-+/@".contains(&byte),
        }
    }
}

/// What can be found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Detector(u8);

impl Detector {
    /// All of them, in the order in which they are tried at one place.
    pub const ALL: [Self; SPECS.len()] = {
        let mut all = [Self(0); SPECS.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = Self(index as u8);
            index += 1;
        }
        all
    };

    /// The detector of a name, as written in YAML.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|detector| detector.name() == name)
    }

    fn spec(self) -> &'static Spec {
        SPECS[usize::from(self.0)]
    }

    fn bit(self) -> u64 {
        1 << self.0
    }

    /// What all detectors of one pass share, compiled once a process; `None` for one of words.
    fn lead(self) -> Option<&'static Lead> {
        static LEADS: [OnceLock<Option<Lead>>; SPECS.len()] =
            [const { OnceLock::new() }; SPECS.len()];
        let compiled = || match &self.spec().find {
            Find::Pattern(pattern) => Lead::new(pattern.pattern),
            Find::Words { .. } => None,
        };
        LEADS[usize::from(self.0)].get_or_init(compiled).as_ref()
    }

    /// As written in YAML.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// What stands in place of a find.
    pub fn mark(self) -> &'static str {
        self.spec().mark
    }

    /// What it finds, in one sentence.
    pub fn summary(self) -> &'static str {
        self.spec().summary
    }

    /// Text and what redaction makes of it.
    pub fn examples(self) -> &'static [(&'static str, &'static str)] {
        self.spec().examples
    }

    /// Text that it leaves as it is.
    pub fn refusals(self) -> &'static [&'static str] {
        self.spec().refusals
    }

    /// SHA-256 in hexadecimal of everything that it is made of, for the fingerprint: name, mark,
    /// pattern, context, lists, and the `semantics` number that stands for its code.
    pub fn digest(self) -> String {
        let spec = self.spec();
        let pattern = match &spec.find {
            Find::Pattern(pattern) => pattern.pattern,
            Find::Words { .. } => "",
        };
        let lists: &[&str] = match &spec.find {
            Find::Pattern(_) => &[],
            Find::Words { lists, .. } => lists,
        };
        let context = spec.context.map(Context::words).unwrap_or_default();
        let tuple = Tuple::new()
            .text(spec.name)
            .text(spec.mark)
            .text(pattern)
            .number(u64::from(spec.semantics))
            .number(context.len() as u64);
        let words = context.iter().chain(lists);
        let tuple = words.fold(tuple, |tuple, word| tuple.text(word));
        HEXLOWER.encode(&Sha256::digest(tuple.finish()))
    }
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All names, as written in YAML.
const NAMES: [&str; SPECS.len()] = {
    let mut names = [""; SPECS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = SPECS[index].name;
        index += 1;
    }
    names
};

impl Serialize for Detector {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Detector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Detector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a detector")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Detector, E> {
                Detector::named(name).ok_or_else(|| E::unknown_variant("another name", &NAMES))
            }
        }
        from.deserialize_str(Name)
    }
}

impl JsonSchema for Detector {
    fn schema_name() -> Cow<'static, str> {
        "Detector".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Self::ALL
            .iter()
            .map(|detector| json_schema!({"const": detector.name(), "description": detector.summary()}))
            .collect();
        json_schema!({"description": "What can be found.", "oneOf": names})
    }
}

#[cfg(test)]
mod scorecard;
#[cfg(test)]
mod tests;
