//! The class that is proposed for a leaf: by what detectors found in its values, by its name, and
//! where neither says anything, the strictest that needs no override.

use super::FLOOR;
use super::sample::{Seen, Sort};
use crate::config::Class;

/// Words of a leaf's name, in the order in which they are asked.
#[rustfmt::skip]
const WORDS: &[(Class, &[&str])] = &[
    (Class::Secret, &[
        "password", "passwd", "pwd", "passphrase", "secret", "cvv", "cvc", "pin", "otp", "salt",
    ]),
    (Class::Special, &[
        "diagnosis", "diagnoses", "disease", "health", "medical", "medication", "allergy",
        "allergies", "religion", "belief", "ethnicity", "ethnic", "race", "orientation", "union",
        "party", "disability", "biometric", "genetic", "pregnant",
    ]),
    (Class::FreeText, &[
        "note", "notes", "comment", "comments", "description", "message", "body", "text", "remark",
        "remarks", "feedback", "memo", "bio", "transcript", "review", "reason",
    ]),
    (Class::Identifier, &[
        "email", "mail", "phone", "tel", "telephone", "mobile", "fax", "iban", "account", "card",
        "pan", "ssn", "passport", "tax", "nino", "name", "firstname", "lastname", "surname",
        "login", "user", "username", "uuid", "guid", "ip", "mac", "device", "plate", "url",
        "token", "key", "id", "number", "no", "ref",
    ]),
    (Class::Quasi, &[
        "birth", "birthday", "birthdate", "dob", "born", "age", "street", "address", "zip",
        "postcode", "postal", "plz", "city", "town", "region", "state", "county", "gender", "sex",
        "nationality", "job", "occupation", "employer", "lat", "lon", "latitude", "longitude",
    ]),
    (Class::Sensitive, &[
        "salary", "income", "balance", "amount", "price", "total", "revenue", "wage", "debt",
        "score", "rating", "limit", "cents",
    ]),
    (Class::Public, &["country", "currency", "locale", "language", "lang", "timezone", "unit"]),
];

/// Detectors whose finds say where or when, not who.
const QUASI: &[&str] = &["age", "date_of_birth", "location", "postcode", "street_address"];
/// Detectors whose finds open doors.
const SECRETS: &[&str] = &["api_key", "private_key", "url_credentials"];

/// The class, and in a few words why. `found` and `whole`: the values in which a detector found
/// something, and those that are nothing else.
pub(super) fn class(
    path: &str,
    seen: &Seen,
    found: &[(&'static str, u64)],
    whole: &[(&'static str, u64)],
) -> (Class, String) {
    // A few values decide nothing: a proposal would tell of them.
    let many = |count: u64, of: u64| count >= FLOOR && count * of >= seen.filled;
    let first = |counts: &[(&'static str, u64)], asked: &dyn Fn(&str) -> bool| {
        let mut all = counts.iter().filter(|(name, count)| asked(name) && many(*count, 5));
        all.next().map(|(name, _)| *name)
    };
    if let Some(name) = first(found, &|name| SECRETS.contains(&name)) {
        return (Class::Secret, format!("values hold {name}"));
    }
    let named = by_name(path);
    if let Some((class @ (Class::Secret | Class::Special | Class::FreeText), word)) = named {
        return (class, format!("its name says {word}"));
    }
    if seen.sort == Sort::Text && many(seen.sentences, 20) {
        return (Class::FreeText, "values read like sentences".to_owned());
    }
    if let Some(name) = first(whole, &|name| !QUASI.contains(&name)) {
        return (Class::Identifier, format!("values are {name}"));
    }
    // Something is found in values that are more than it: anything may stand in them.
    let beside = found.iter().find(|(name, count)| {
        let alone = whole.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
        !QUASI.contains(name) && many(count - alone, 20)
    });
    if let (Some((name, _)), Sort::Text) = (beside, seen.sort) {
        return (Class::FreeText, format!("{name} stands among other text"));
    }
    if let Some((class, word)) = named {
        // What is different in every record is not what the name says.
        if class != Class::Public || seen.distinct() * 2 <= seen.filled {
            return (class, format!("its name says {word}"));
        }
    }
    if let Some(name) = first(whole, &|name| QUASI.contains(&name)) {
        return (Class::Quasi, format!("values are {name}"));
    }
    if seen.sort == Sort::Time {
        return (Class::Quasi, "a time".to_owned());
    }
    (Class::Identifier, "nothing is known of it".to_owned())
}

/// The first word of the list that the leaf's last name has in it.
fn by_name(path: &str) -> Option<(Class, &'static str)> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let words = words(last);
    WORDS.iter().find_map(|(class, known)| {
        let word = known.iter().find(|known| words.iter().any(|word| word == *known))?;
        Some((*class, *word))
    })
}

/// `birthDate`, `birth_date` and `BIRTH-DATE` are `birth` and `date`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && after_lower {
            words.push(String::new());
        }
        after_lower = c.is_lowercase() || c.is_ascii_digit();
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use douane_transforms::detectors::Detector;

    use super::*;

    #[test]
    fn detectors_that_are_named_exist() {
        for name in QUASI.iter().chain(SECRETS) {
            assert!(Detector::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn names_are_taken_apart() {
        for name in ["birthDate", "birth_date", "BIRTH-DATE", "birth.date"] {
            assert_eq!(words(name), ["birth", "date"], "{name}");
        }
        assert_eq!(words("IBAN"), ["iban"]);
    }

    #[test]
    fn names_say_a_class() {
        for (path, expected) in [
            ("customer.passwordHash", Some(Class::Secret)),
            ("customer.password", Some(Class::Secret)),
            ("login.user_password", Some(Class::Secret)),
            ("diagnosis", Some(Class::Special)),
            ("internal_notes", Some(Class::FreeText)),
            ("customer_id", Some(Class::Identifier)),
            ("birth_date", Some(Class::Quasi)),
            ("balance_cents", Some(Class::Sensitive)),
            ("country", Some(Class::Public)),
            // No word of the list is in it.
            ("xyz", None),
            ("vacuum", None),
        ] {
            assert_eq!(by_name(path).map(|(class, _)| class), expected, "{path}");
        }
    }
}
