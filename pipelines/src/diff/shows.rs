//! Whether a protection is known to show no more of a value than another one.

use douane_ledger::release::Shape;

/// True only where it is certain: what cannot be compared may show more.
pub(super) fn shows_no_more(was: &Shape, is: &Shape) -> bool {
    use Shape::{
        Age, Constant, Day, Decade, Derived, Fpe, Hour, Mask, Month, Prefix, Public, Quarter,
        Redacted, Token, Week, Year,
    };
    match (was, is) {
        (_, Constant { .. }) => true,
        (_, Public | Derived { .. }) => false,
        (Public, _) => true,
        // A reversible token can be turned back, and shows how long the value was.
        (Token { pad_to: padded, key_per: per, .. }, Token { pad_to, key_per, .. }) => {
            (pad_to.is_none() || pad_to == padded) && (per.is_none() || per == key_per)
        }
        (
            Fpe { keep_first: first, keep_last: last, separators: apart, .. },
            Fpe { keep_first, keep_last, separators, .. },
        ) => {
            keep_first <= first
                && keep_last <= last
                && separators.chars().all(|sign| apart.contains(sign))
        }
        (Mask { keep_first: first, keep_last: last, .. }, Mask { keep_first, keep_last, .. }) => {
            keep_first <= first && keep_last <= last
        }
        (
            Redacted { detectors: was, dictionaries: lists, in_place: shown },
            Redacted { detectors: is, dictionaries, in_place },
        ) => {
            was.iter().all(|kind| is.contains(kind))
                && lists.iter().all(|list| dictionaries.contains(list))
                // A find that becomes a pseudonym shows more than one that is removed.
                && in_place.iter().all(|kind| shown.contains(kind))
        }
        // What is filled up shows how long the value was.
        (Prefix { length: was, fill: filled }, Prefix { length, fill }) => {
            length <= was && (fill.is_none() || filled.is_some())
        }
        (Hour, Day | Week | Month | Quarter | Year | Decade | Age { .. })
        | (Day, Week | Month | Quarter | Year | Decade | Age { .. })
        | (Month, Quarter | Year | Decade)
        | (Quarter, Year | Decade)
        | (Year, Decade) => true,
        (was, is) => was == is,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_what_is_certain_shows_no_more() {
        let kind = |kind: &str| json!({ "kind": kind });
        let prefix = |length: u32| json!({ "kind": "prefix", "length": length });
        let mask = |first: u32, last: u32| json!({ "kind": "mask", "keep_first": first, "keep_last": last, "fill": "*" });
        let redacted = |kinds: &[&str]| json!({ "kind": "redacted", "detectors": kinds });
        let cases: [(Value, Value, bool); 14] = [
            (prefix(3), prefix(2), true),
            (prefix(2), prefix(3), false),
            (mask(2, 4), mask(0, 4), true),
            (mask(0, 4), mask(2, 4), false),
            (kind("day"), kind("quarter"), true),
            (kind("quarter"), kind("month"), false),
            (kind("week"), kind("month"), false),
            (kind("month"), kind("week"), false),
            (kind("public"), prefix(2), true),
            (prefix(2), kind("public"), false),
            (redacted(&["email"]), redacted(&["email", "phone"]), true),
            (redacted(&["email", "phone"]), redacted(&["email"]), false),
            (prefix(2), json!({ "kind": "constant", "text": "x" }), true),
            (mask(1, 1), prefix(1), false),
        ];
        for (was, is, expected) in cases {
            let shape = |value: &Value| serde_json::from_value::<Shape>(value.clone()).unwrap();
            assert_eq!(shows_no_more(&shape(&was), &shape(&is)), expected, "{was} {is}");
        }
    }
}
