//! Vector sets of NIST's Automated Cryptographic Validation Protocol, for `ACVP-AES-FF1`: questions
//! and answers in one file, or a prompt and its expected results, joined by their ids.

use std::collections::HashMap;

use serde_json::Value;

use super::ours::{Fpe, Refusal};
use super::{Outcome, Report, groups, hex, list, number, text};

/// Whether a document is a vector set of ACVP's.
pub(super) fn is_form_of(document: &Value) -> bool {
    document.get("vsId").is_some()
        || text(document, "algorithm").is_some_and(|name| name.starts_with("ACVP-"))
        || groups(document).iter().any(|group| group.get("tgId").is_some())
}

/// Answers of one vector set by the ids of group and case.
type Answers<'d> = HashMap<(u64, u64), &'d Value>;

/// Runs all cases of a document; answers that it lacks are looked for in the other documents of
/// the same vector set.
pub(super) fn run(document: &Value, all: &[(String, Value)], report: &mut Report) {
    let answers = answers(document, all);
    for (at, group) in (1..).zip(groups(document)) {
        let at = number(group, "tgId").unwrap_or(at);
        for case in list(group, "tests") {
            let id = number(case, "tcId").unwrap_or_default();
            let outcome = match text(document, "algorithm") {
                Some("ACVP-AES-FF1") => fpe(group, case, answers.get(&(at, id)).copied()),
                Some(other) => Outcome::NotSupported(format!("{other} in ACVP form")),
                None => Outcome::NotSupported("a vector set without an algorithm".into()),
            };
            report.add(at, id, outcome);
        }
    }
}

fn answers<'d>(document: &Value, all: &'d [(String, Value)]) -> Answers<'d> {
    let same = |other: &&'d (String, Value)| {
        let same =
            |name: &str| document.get(name).is_some() && other.1.get(name) == document.get(name);
        same("vsId") && same("algorithm") && is_form_of(&other.1)
    };
    let mut answers = Answers::new();
    for (_, other) in all.iter().filter(same) {
        for (at, group) in (1..).zip(groups(other)) {
            let at = number(group, "tgId").unwrap_or(at);
            for case in list(group, "tests") {
                // Expected results repeat no question.
                if let (Some(id), None) = (number(case, "tcId"), case.get("key")) {
                    answers.insert((at, id), case);
                }
            }
        }
    }
    answers
}

/// Whether a document holds the answers to another one, which were tried there.
pub(super) fn answers_one(at: usize, all: &[(String, Value)], reports: &[Report]) -> bool {
    let set = |document: &Value| {
        let set = (document.get("vsId")?.clone(), document.get("algorithm")?.clone());
        is_form_of(document).then_some(set)
    };
    let own = set(&all[at].1);
    let mut others = all.iter().zip(reports).filter(|((_, other), _)| set(other) == own);
    own.is_some() && others.any(|(_, report)| report.tried())
}

fn fpe(group: &Value, case: &Value, answer: Option<&Value>) -> Outcome {
    let unsupported = |why: &str| Outcome::NotSupported(why.to_owned());
    let (Some(key), Some(tweak)) = (hex(case, "key"), hex(case, "tweak")) else {
        return unsupported("answers without their questions");
    };
    if number(case, "tweakLen").is_some_and(|bits| bits != 8 * tweak.len() as u64) {
        return unsupported("a tweak that is not as long as it says");
    }
    let Some(radix) = number(group, "radix").and_then(|radix| u32::try_from(radix).ok()) else {
        return unsupported("a group without a radix");
    };
    let field = |name: &str| case.get(name).or_else(|| answer?.get(name));
    let (asked, expected, encrypts) = match (text(group, "direction"), field("pt"), field("ct")) {
        (Some("decrypt"), pt, Some(ct)) => (ct, pt, false),
        (Some("encrypt") | None, Some(pt), ct) => (pt, ct, true),
        _ => return unsupported("a case that asks nothing"),
    };
    let must_fail = field("testPassed").and_then(Value::as_bool) == Some(false);
    let found = Fpe::new(&key, radix, text(group, "alphabet")).and_then(|fpe| {
        let found = match encrypts {
            true => fpe.encrypt(&tweak, asked)?,
            false => fpe.decrypt(&tweak, asked)?,
        };
        let Some(expected) = expected else { return Ok(None) };
        // The other way as well: an answer is a question too.
        let back = match encrypts {
            true => fpe.decrypt(&tweak, expected)?,
            false => fpe.encrypt(&tweak, expected)?,
        };
        Ok(Some(fpe.is(&found, expected) && fpe.is(&back, asked)))
    });
    match (found, must_fail) {
        (Err(Refusal::Absent(why)), _) => Outcome::NotSupported(why),
        (Err(Refusal::Invalid | Refusal::Policy(_)), true) => Outcome::Passed,
        (Ok(_), true) => Outcome::Failed("taken, though it must be refused"),
        (_, false) if expected.is_none() => unsupported("no expected answers"),
        (Ok(Some(true)), false) => Outcome::Passed,
        (Ok(_), false) => Outcome::Failed("another answer"),
        (Err(Refusal::Policy(why)), false) => Outcome::NotSupported(why),
        (Err(Refusal::Invalid), false) => Outcome::Failed("refused, though it is valid"),
    }
}
