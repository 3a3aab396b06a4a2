//! The default policy: which protection lets which class cross. Closed: what no row allows is
//! refused, and a row that allows says which rule it is, so that `explain` can show it.

use douane_transforms::Produces;

use crate::config::{Class, Override};

/// Version of this table; it stands in every fingerprint.
pub const VERSION: u32 = 5;

/// The table as text: shown by `explain`, hashed into the fingerprint. It is what [`decide`]
/// does, in words; a test walks every row.
pub const TABLE: &str = "\
default policy, version 5
identifier: tokenize; fpe or mask (at most 4 characters kept); redact to a constant
quasi: as identifier, or generalize
sensitive: generalize to bins; as it is or tokenised only by a named override
special: only by a named override, and never rounded or bounded
free_text: denied; a named override with detectors, residual kinds and a minimum recall lets redacted text cross
statistics of many rows, with noise that hides any one unit (dp): of public, quasi, sensitive and special
  an identifier is counted as the unit and otherwise not read
  groups have a public list of keys, or their noised count of units passes a threshold
public: nothing needed
secret: never
technical: never
post-processing of columns that may cross: sql may select, compute with and filter by columns as their stages left them
  no filter, no condition and no computation that may fail reads an identifier or free_text
  tokens and encrypted values are no text and meet values of their own domain only
  no text is made of free_text, nor of a prefix of 6 or more characters
";

/// Most characters of an identifier that a mask or an encryption may keep.
pub const KEPT_CHARS_MAX: u32 = 4;

/// A prefix this long may be a whole value, which the gate looks for in what was derived.
const PREFIX_CHARS_LEAST: u32 = 6;

/// The name of the rule that lets columns of a `sql` stage cross.
pub const POST_PROCESSING: &str = "post-processing of columns that may cross";

/// The name of the rule that lets a window's own bounds cross.
pub const WINDOW: &str = "dp: the windows are public";

/// Decides one column of statistics with noise: the strictest class in it, and whether all it does
/// with the leaf is to count different ones as the unit of privacy.
pub fn noised(class: Class, counted: bool) -> Verdict {
    match class {
        Class::Identifier if counted => {
            Verdict::Allowed { rule: "identifier: counted as the unit (dp)".to_owned() }
        }
        Class::Public | Class::Quasi | Class::Sensitive | Class::Special => {
            Verdict::Allowed { rule: format!("{class}: dp") }
        }
        Class::Identifier | Class::FreeText | Class::Technical | Class::Secret => Verdict::Denied {
            why: format!("class {class} is in no statistic: name another leaf, or mend its class"),
        },
    }
}

/// The answer for one output column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The rule that lets it cross, in the words of [`TABLE`].
    Allowed { rule: String },
    /// Why not, and what would.
    Denied { why: String },
}

/// Decides one column: its class, what protects it, and the overrides that name it.
pub fn decide(class: Class, produces: Option<&Produces>, overrides: &[&Override]) -> Verdict {
    let named = overrides.first();
    let by_override = |kind: &str| named.map(|o| format!("{kind}: override `{}`", o.name));
    let allowed = match (class, produces) {
        (Class::Public, None) => Some("public: nothing needed".to_owned()),
        (Class::Public, Some(_)) => Some("public: protected though nothing is needed".to_owned()),
        (Class::Identifier | Class::Quasi, Some(how)) => pseudonym(how)
            .or_else(|| (class == Class::Quasi).then(|| coarse(how)).flatten())
            .map(|what| format!("{class}: {what}")),
        (Class::Sensitive, Some(Produces::Bins { .. })) => {
            Some("sensitive: generalize to bins".to_owned())
        }
        // What is left of a number rounded or bounded is nearly the number.
        (Class::Sensitive, Some(Produces::Token { .. } | Produces::Coded { .. }) | None) => {
            by_override("sensitive")
        }
        // Within its bounds, or at a multiple of the unit, a number would cross as it is.
        (Class::Special, Some(Produces::Coded { .. })) => None,
        (Class::Special, Some(_)) => by_override("special"),
        (Class::FreeText, Some(Produces::Constant { .. })) => {
            Some("free_text: redact to a constant".to_owned())
        }
        (Class::FreeText, Some(Produces::Redacted { detectors, .. })) => named
            .filter(|o| covers(o, detectors))
            .map(|o| format!("free_text: override `{}`", o.name)),
        _ => None,
    };
    allowed.map_or_else(
        || Verdict::Denied { why: why_not(class, produces) },
        |rule| Verdict::Allowed { rule },
    )
}

/// Decides what a `sql` stage computes of columns that may cross each by itself: class and
/// protection of those whose values are in it, classes of those that only decide, and whether the
/// result is text. That tokens stay among their like is held by their type.
pub fn derived(
    direct: &[(Class, Option<&Produces>)],
    indirect: &[Class],
    is_text: bool,
) -> Verdict {
    let denied = |why: &str| Verdict::Denied { why: why.to_owned() };
    if let Some(class) = indirect.iter().find(|c| matches!(c, Class::Identifier | Class::FreeText))
    {
        return Verdict::Denied {
            why: format!(
                "a filter, a condition or what may fail reads a leaf of class `{class}`: which \
                 rows cross, and how, would tell of it"
            ),
        };
    }
    if is_text && direct.iter().any(|(class, _)| *class == Class::FreeText) {
        return denied("a text is made of free text; numbers and conditions may be made of it");
    }
    let long = |how: &&Produces| matches!(how, Produces::Prefix { length, .. } if *length >= PREFIX_CHARS_LEAST);
    if is_text && direct.iter().filter_map(|(_, how)| *how).any(|how| long(&how)) {
        return denied("a text is made of a prefix of 6 or more characters, often a whole value");
    }
    Verdict::Allowed { rule: POST_PROCESSING.to_owned() }
}

/// The class that asks for most; public where there is none.
pub fn strictest(classes: impl Iterator<Item = Class>) -> Class {
    const ORDER: [Class; 8] = [
        Class::Public,
        Class::Technical,
        Class::Quasi,
        Class::Sensitive,
        Class::Identifier,
        Class::Special,
        Class::FreeText,
        Class::Secret,
    ];
    let rank = |class: &Class| ORDER.iter().position(|other| other == class);
    classes.max_by_key(rank).unwrap_or(Class::Public)
}

/// The override names exactly what the stage does, says what it leaves and how well it must work,
/// and that was measured.
fn covers(named: &Override, detectors: &[String]) -> bool {
    let says = named.detectors == detectors && !named.residual.is_empty();
    says && named.min_recall.is_some() && named.measured.is_some()
}

fn pseudonym(how: &Produces) -> Option<&'static str> {
    match how {
        Produces::Token { .. } => Some("tokenize"),
        Produces::Fpe { keep_first, keep_last, .. } if keep_first + keep_last <= KEPT_CHARS_MAX => {
            Some("fpe (at most 4 characters kept)")
        }
        Produces::Mask { keep_first, keep_last, .. }
            if keep_first + keep_last <= KEPT_CHARS_MAX =>
        {
            Some("mask (at most 4 characters kept)")
        }
        Produces::Constant { .. } => Some("redact to a constant"),
        _ => None,
    }
}

fn coarse(how: &Produces) -> Option<&'static str> {
    match how {
        Produces::Year
        | Produces::Decade
        | Produces::Quarter
        | Produces::Month
        | Produces::Week
        | Produces::Day
        | Produces::Hour
        | Produces::Bins { .. }
        | Produces::Age { .. }
        // Bounds alone leave what lies between as it is.
        | Produces::Coded { round: Some(_), .. }
        | Produces::Prefix { .. }
        | Produces::Region { .. } => Some("generalize"),
        _ => None,
    }
}

/// Classes that a pseudonym lets cross.
fn pseudonym_may(class: Class) -> bool {
    matches!(class, Class::Identifier | Class::Quasi)
}

fn why_not(class: Class, produces: Option<&Produces>) -> String {
    if let Some(
        Produces::Fpe { keep_first, keep_last, .. } | Produces::Mask { keep_first, keep_last, .. },
    ) = produces
        && pseudonym_may(class)
        && keep_first + keep_last > KEPT_CHARS_MAX
    {
        let kept = keep_first + keep_last;
        return format!(
            "class {class}: {kept} characters are kept, at most {KEPT_CHARS_MAX} may be: keep fewer"
        );
    }
    if let (Class::Quasi, Some(Produces::Coded { round: None, .. })) = (class, produces) {
        return "class quasi: bounds alone leave what lies between as it is: add `round`, or use \
                `bins`"
            .to_owned();
    }
    if let (Class::Special, Some(Produces::Coded { .. })) = (class, produces) {
        return "class special: what is rounded or bounded may be what it was: use `bins`, or drop \
                it"
            .to_owned();
    }
    let how = if produces.is_some() { "this protection" } else { "no protection" };
    let instead = match class {
        Class::Identifier => "tokenize, fpe, mask, or redact it to a constant, or drop it",
        Class::Quasi => "tokenize, fpe, mask, generalize, or redact it to a constant, or drop it",
        Class::Sensitive => "generalize it to bins, drop it, or name it in an override",
        Class::Special => "drop it, or protect it and name it in an override",
        Class::FreeText => {
            "drop it, or redact it with detectors under an override that names the same \
             detectors, the residual kinds and a minimum recall"
        }
        Class::Public => "nothing is needed",
        Class::Technical | Class::Secret => "drop it",
    };
    format!("class {class} with {how} may not cross: {instead}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorecard::evidence::Measured;

    fn token() -> Produces {
        serde_json::from_value(serde_json::json!(
            {"kind": "token", "form": "base32", "domain": "d", "version": 1}
        ))
        .unwrap()
    }

    fn redacted() -> Produces {
        serde_json::from_value(serde_json::json!({"kind": "redacted", "detectors": ["email"]}))
            .unwrap()
    }

    fn named() -> Override {
        Override {
            name: "notes".into(),
            columns: vec!["notes".into()],
            detectors: vec!["email".into()],
            residual: vec!["names".into()],
            min_recall: Some(0.9),
            scorecard: Some("scorecards/notes.json".into()),
            measured: Some(Measured { digest: "0".repeat(64), kinds: Vec::new() }),
            share_domain: None,
            max_per_record: None,
        }
    }

    fn lets(class: Class, produces: Option<&Produces>, overrides: &[&Override]) -> bool {
        matches!(decide(class, produces, overrides), Verdict::Allowed { .. })
    }

    #[test]
    fn every_row_of_the_table() {
        use Class::{FreeText, Identifier, Public, Quasi, Secret, Sensitive, Special, Technical};
        let mask = |n| Produces::Mask { keep_first: 0, keep_last: n, fill: '*' };
        let fpe = |n| Produces::Fpe {
            alphabet: "0123456789".into(),
            keep_first: n,
            keep_last: 0,
            separators: String::new(),
            domain: "d".into(),
            context: String::new(),
            length_min: 6,
            check_digit: None,
        };
        let bins = Produces::Bins { labels: vec!["[0,1)".into()] };
        let constant = Produces::Constant { text: "x".into() };
        let redacted = redacted();
        let o = named();
        let coded = |round: Option<&str>| Produces::Coded {
            round: round.map(str::to_owned),
            low: None,
            high: Some("100".into()),
            labels: false,
        };
        let regions = [("Graz", "Styria"), ("Leoben", "Styria")];
        let regions = regions.map(|(place, region)| (place.to_owned(), region.to_owned()));
        let region = Produces::Region { regions: regions.into() };
        for (class, how, overrides, expected) in [
            (Identifier, Some(token()), vec![], true),
            (Identifier, Some(mask(4)), vec![], true),
            (Identifier, Some(mask(5)), vec![], false),
            (Identifier, Some(fpe(4)), vec![], true),
            (Identifier, Some(fpe(5)), vec![], false),
            (Identifier, Some(constant.clone()), vec![], true),
            (Identifier, Some(bins.clone()), vec![&o], false),
            (Identifier, None, vec![&o], false),
            (Quasi, Some(bins.clone()), vec![], true),
            (Quasi, Some(Produces::Year), vec![], true),
            (Quasi, Some(coded(Some("10"))), vec![], true),
            (Quasi, Some(coded(None)), vec![], false),
            (Quasi, Some(Produces::Decade), vec![], true),
            (Quasi, Some(region.clone()), vec![], true),
            (Identifier, Some(region), vec![&o], false),
            (Sensitive, Some(coded(Some("10"))), vec![], false),
            (Sensitive, Some(coded(None)), vec![], false),
            (Sensitive, Some(coded(Some("10"))), vec![&o], true),
            (Sensitive, Some(Produces::Year), vec![], false),
            (Quasi, None, vec![&o], false),
            (Sensitive, Some(bins.clone()), vec![], true),
            (Sensitive, Some(token()), vec![], false),
            (Sensitive, Some(token()), vec![&o], true),
            (Sensitive, None, vec![], false),
            (Sensitive, None, vec![&o], true),
            (Special, None, vec![&o], false),
            (Special, Some(bins.clone()), vec![], false),
            (Special, Some(bins), vec![&o], true),
            (Special, Some(token()), vec![&o], true),
            (Special, Some(coded(Some("10"))), vec![&o], false),
            (Special, Some(coded(None)), vec![&o], false),
            (FreeText, Some(redacted.clone()), vec![], false),
            (FreeText, Some(redacted), vec![&o], true),
            (FreeText, Some(constant), vec![], true),
            (FreeText, None, vec![&o], false),
            (FreeText, Some(token()), vec![&o], false),
            (Public, None, vec![], true),
            (Secret, Some(token()), vec![&o], false),
            (Secret, None, vec![&o], false),
            (Technical, None, vec![&o], false),
        ] {
            assert_eq!(lets(class, how.as_ref(), &overrides), expected, "{class} {how:?}");
        }
    }

    #[test]
    fn statistics_read_an_identifier_as_the_unit_only() {
        use Class::{FreeText, Identifier, Public, Quasi, Secret, Sensitive, Special, Technical};
        for (class, counted, expected) in [
            (Identifier, true, true),
            (Identifier, false, false),
            (Quasi, false, true),
            (Sensitive, false, true),
            (Special, false, true),
            (Public, false, true),
            (FreeText, true, false),
            (Secret, true, false),
            (Technical, false, false),
        ] {
            let allowed = matches!(noised(class, counted), Verdict::Allowed { .. });
            assert_eq!(allowed, expected, "{class} {counted}");
        }
    }

    #[test]
    fn override_bad_that_does_not_say_everything() {
        let redacted = redacted();
        let mut other = named();
        other.detectors = vec!["email".into(), "card".into()];
        let mut silent = named();
        silent.residual.clear();
        let mut open = named();
        open.min_recall = None;
        let mut unmeasured = named();
        unmeasured.measured = None;
        for bad in [&other, &silent, &open, &unmeasured] {
            assert!(!lets(Class::FreeText, Some(&redacted), &[bad]));
        }
    }
}
