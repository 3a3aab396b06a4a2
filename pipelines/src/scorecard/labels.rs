//! What labelled text calls a kind, and which detector is for it.

use douane_schemas::names;
use douane_transforms::detectors::Detector;

use super::NotWhy;

/// Words of labelled text for kinds, beside a kind's own name: Presidio's entities and what other
/// labelled corpora write.
const WORDS: &[(&str, &[&str])] = &[
    ("email", &["EMAIL_ADDRESS", "E_MAIL", "MAIL"]),
    ("phone", &["PHONE_NUMBER", "TELEPHONE", "TELEPHONE_NUMBER", "TELEPHONENUM", "MOBILE", "FAX"]),
    ("card", &["CREDIT_CARD", "CREDIT_CARD_NUMBER", "CREDITCARDNUMBER", "PAYMENT_CARD"]),
    ("iban", &["IBAN_CODE"]),
    ("ip", &["IP_ADDRESS", "IPV4", "IPV6", "IPADDRESS"]),
    ("mac", &["MAC_ADDRESS", "MACADDRESS"]),
    ("date_of_birth", &["DOB", "BIRTH_DATE", "DATEOFBIRTH", "BIRTHDATE"]),
    ("us_ssn", &["SSN", "SOCIALNUM", "SOCIAL_SECURITY_NUMBER"]),
    ("uk_nino", &["NINO", "UK_NATIONAL_INSURANCE_NUMBER"]),
    ("de_steuer_id", &["DE_TAX_ID", "STEUER_ID"]),
    ("fr_nir", &["NIR", "FR_SSN"]),
    ("es_dni", &["ES_NIF", "ES_NIE", "DNI", "NIE"]),
    ("it_codice_fiscale", &["IT_FISCAL_CODE", "CODICE_FISCALE"]),
    ("nl_bsn", &["BSN"]),
    ("pl_pesel", &["PESEL"]),
    ("se_personnummer", &["PERSONNUMMER"]),
    ("fi_hetu", &["FI_PERSONAL_IDENTITY_CODE", "HETU"]),
    ("dk_cpr", &["CPR"]),
    ("no_fodselsnummer", &["FODSELSNUMMER"]),
    ("passport", &["US_PASSPORT", "IT_PASSPORT", "PASSPORT_NUMBER", "PASSPORTNUM"]),
    ("us_driver_license", &["DRIVER_LICENSE", "DRIVERLICENSENUM"]),
    ("vat_id", &["IT_VAT_CODE", "VAT", "VAT_NUMBER"]),
    ("crypto_address", &["CRYPTO", "BITCOIN_ADDRESS", "ETHEREUM_ADDRESS"]),
    ("plate", &["LICENSE_PLATE", "VEHICLE_PLATE"]),
    ("us_routing", &["ABA_ROUTING_NUMBER", "ROUTING_NUMBER"]),
    ("swift", &["SWIFT_CODE", "SWIFT_BIC", "BIC", "BIC_CODE"]),
    ("person", &["NAME", "PER", "PERSON_NAME", "FULL_NAME"]),
    ("street_address", &["ADDRESS", "STREET"]),
    ("location", &["GPE", "LOC", "CITY"]),
    ("postcode", &["ZIP_CODE", "ZIP", "ZIPCODE", "POSTAL_CODE"]),
    ("url", &["DOMAIN_NAME", "DOMAIN"]),
];

/// Who answers to a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scored {
    /// The detector at this place of those that ran.
    By(usize),
    Not(NotWhy),
}

/// Who answers to a label, among `ran`.
pub(super) fn scored(label: &str, ran: &[Detector]) -> Scored {
    let Some(kind) = kind_of(label) else { return Scored::Not(NotWhy::NoDetector) };
    match ran.iter().position(|detector| *detector == kind) {
        Some(at) => Scored::By(at),
        None => Scored::Not(NotWhy::NotRun),
    }
}

/// The detector that a label means: by its own name, else by the list.
fn kind_of(label: &str) -> Option<Detector> {
    let same = |word: &str| {
        let plain = |c: char| if c == '-' || c == ' ' { '_' } else { c.to_ascii_lowercase() };
        label.chars().map(plain).eq(word.chars().map(plain))
    };
    let all = super::all();
    let own = all.iter().copied().find(|detector| same(detector.name()));
    own.or_else(|| {
        let mut names = WORDS.iter().filter(|(_, words)| words.iter().any(|word| same(word)));
        names.find_map(|(name, _)| all.iter().copied().find(|d| d.name() == *name))
    })
}

/// A label as it may be printed: a word of the file's, or what stands for one that is no word.
pub(super) fn printable(label: &str) -> String {
    names::printable(label, false, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detectors_that_are_named_exist() {
        for (name, words) in WORDS {
            assert!(Detector::named(name).is_some() && !words.is_empty(), "{name}");
        }
    }

    fn name_of(label: &str) -> Option<&'static str> {
        kind_of(label).map(Detector::name)
    }

    #[test]
    fn words_of_presidio_and_our_own() {
        for (label, kind) in [
            ("EMAIL_ADDRESS", "email"),
            ("email", "email"),
            ("Email", "email"),
            ("PHONE_NUMBER", "phone"),
            ("phone number", "phone"),
            ("CREDIT_CARD", "card"),
            ("IBAN_CODE", "iban"),
            ("iban", "iban"),
        ] {
            assert_eq!(name_of(label), Some(kind), "{label}");
        }
        assert_eq!(name_of("SHOE_SIZE"), None);
    }

    #[test]
    fn what_did_not_run_is_told_apart_from_what_there_is_none_of() {
        let email = kind_of("email").unwrap();
        let phone = kind_of("phone").unwrap();
        assert_eq!(scored("EMAIL_ADDRESS", &[phone, email]), Scored::By(1));
        assert_eq!(scored("EMAIL_ADDRESS", &[phone]), Scored::Not(NotWhy::NotRun));
        assert_eq!(scored("SHOE_SIZE", &[phone]), Scored::Not(NotWhy::NoDetector));
    }

    #[test]
    fn a_label_that_may_be_data_is_not_printed() {
        assert_eq!(printable("US_SSN"), "US_SSN");
        assert_eq!(printable("ada@example.com"), "<unknown#0>");
    }

    #[test]
    fn no_word_stands_twice_for_one_kind() {
        for (name, words) in WORDS {
            for (n, word) in words.iter().enumerate() {
                assert!(!words[..n].contains(word), "{name}: {word}");
                assert_ne!(word.to_ascii_lowercase(), *name);
            }
        }
    }
}
