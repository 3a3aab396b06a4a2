//! Vector files of Project Wycheproof (<https://github.com/C2SP/wycheproof>): what is tested stands
//! in each group's `type` and in the file's `algorithm`, what must become of a case in `result`.

use serde_json::Value;

use super::ours::{Aead, Fpe, Mac, Refusal, Siv};
use super::{Outcome, Report, groups, hex, list, number, text};

/// Runs all cases of a file.
pub(super) fn run(document: &Value, report: &mut Report) {
    let algorithm = text(document, "algorithm").unwrap_or_default();
    for (at, group) in (1..).zip(groups(document)) {
        for case in list(group, "tests") {
            let outcome = match text(group, "type") {
                Some("FpeStrTest" | "FpeListTest") if algorithm == "AES-FF1" => fpe(group, case),
                Some("MacTest") => mac(algorithm, group, case),
                Some("DaeadTest") => daead(algorithm, case),
                Some("AeadTest") => aead(algorithm, group, case),
                Some(kind) => unsupported(&format!("{kind} of {algorithm}")),
                None => unsupported("a group without a type"),
            };
            report.add(at, number(case, "tcId").unwrap_or_default(), outcome);
        }
    }
}

fn unsupported(why: &str) -> Outcome {
    Outcome::NotSupported(why.to_owned())
}

/// What the file says must become of a case.
enum Expected {
    Valid,
    Invalid,
    /// Either, but nothing else.
    Acceptable,
}

fn expected(case: &Value) -> Option<Expected> {
    match text(case, "result")? {
        "valid" => Some(Expected::Valid),
        "invalid" => Some(Expected::Invalid),
        "acceptable" => Some(Expected::Acceptable),
        _ => None,
    }
}

/// Holds what was found against what was expected. `right`: the answer is the file's.
fn hold(expected: &Expected, found: Result<bool, Refusal>) -> Outcome {
    match (expected, found) {
        (_, Err(Refusal::Absent(why))) => Outcome::NotSupported(why),
        (Expected::Valid, Ok(true)) | (Expected::Acceptable, Ok(true)) => Outcome::Passed,
        (Expected::Invalid, Ok(true)) => Outcome::Failed("taken, though it is not valid"),
        (Expected::Invalid, Ok(false) | Err(_)) => Outcome::Passed,
        (Expected::Valid | Expected::Acceptable, Ok(false)) => Outcome::Failed("another answer"),
        (_, Err(Refusal::Policy(why))) => Outcome::NotSupported(why),
        (Expected::Acceptable, Err(Refusal::Invalid)) => Outcome::Passed,
        (Expected::Valid, Err(Refusal::Invalid)) => Outcome::Failed("refused, though it is valid"),
    }
}

const NO_RESULT: &str = "a case without a result that is known";

fn fpe(group: &Value, case: &Value) -> Outcome {
    let Some(expected) = expected(case) else { return unsupported(NO_RESULT) };
    let (Some(key), Some(tweak)) = (hex(case, "key"), hex(case, "tweak")) else {
        return unsupported("a case without key and tweak");
    };
    let Some(radix) = number(group, "radix").and_then(|radix| u32::try_from(radix).ok()) else {
        return unsupported("a group without a radix");
    };
    let fpe = match Fpe::new(&key, radix, text(group, "alphabet")) {
        Ok(fpe) => fpe,
        Err(refusal) => return hold(&expected, Err(refusal)),
    };
    let found = fpe.encrypt(&tweak, &case["msg"]).and_then(|sealed| {
        if matches!(expected, Expected::Invalid) {
            return Ok(true);
        }
        let back = fpe.decrypt(&tweak, &case["ct"])?;
        Ok(fpe.is(&sealed, &case["ct"]) && fpe.is(&back, &case["msg"]))
    });
    hold(&expected, found)
}

fn mac(algorithm: &str, group: &Value, case: &Value) -> Outcome {
    let Some(expected) = expected(case) else { return unsupported(NO_RESULT) };
    let Some(mac) = Mac::named(algorithm) else {
        return unsupported(&format!("no {algorithm} in this build"));
    };
    let (Some(key), Some(message), Some(tag)) =
        (hex(case, "key"), hex(case, "msg"), hex(case, "tag"))
    else {
        return unsupported("a case without key, message and tag");
    };
    let bits = number(group, "tagSize").unwrap_or(8 * tag.len() as u64);
    let found = mac.tag(&key, &message).map(|full| {
        // A tag may be cut by agreement, never lengthened.
        8 * tag.len() as u64 == bits && full.starts_with(&tag) && !tag.is_empty()
    });
    hold(&expected, found)
}

fn daead(algorithm: &str, case: &Value) -> Outcome {
    let Some(expected) = expected(case) else { return unsupported(NO_RESULT) };
    if algorithm != "AES-SIV-CMAC" {
        return unsupported(&format!("no {algorithm} in this build"));
    }
    let (Some(key), Some(aad), Some(message), Some(sealed)) =
        (hex(case, "key"), hex(case, "aad"), hex(case, "msg"), hex(case, "ct"))
    else {
        return unsupported("a case without key, data, message and ciphertext");
    };
    let found = Siv::new(&key).and_then(|siv| {
        let opened = siv.open(&[&aad], &sealed)?;
        Ok(opened == message && siv.seal(&[&aad], &message) == sealed)
    });
    hold(&expected, found)
}

fn aead(algorithm: &str, group: &Value, case: &Value) -> Outcome {
    let Some(expected) = expected(case) else { return unsupported(NO_RESULT) };
    let (Some(key), Some(nonce), Some(aad)) = (hex(case, "key"), hex(case, "iv"), hex(case, "aad"))
    else {
        return unsupported("a case without key, nonce and data");
    };
    let (Some(message), Some(mut sealed), Some(tag)) =
        (hex(case, "msg"), hex(case, "ct"), hex(case, "tag"))
    else {
        return unsupported("a case without message, ciphertext and tag");
    };
    if number(group, "tagSize").is_some_and(|bits| bits != 128) {
        return unsupported("tags of other than 128 bits");
    }
    if algorithm == "AEAD-AES-SIV-CMAC" {
        // RFC 5297, 3 and 4: the nonce is the last associated string, the tag stands first.
        let sealed = [tag, sealed].concat();
        let found = Siv::new(&key).and_then(|siv| {
            let opened = siv.open(&[&aad, &nonce], &sealed)?;
            Ok(opened == message && siv.seal(&[&aad, &nonce], &message) == sealed)
        });
        return hold(&expected, found);
    }
    let Some(kind) = Aead::named(algorithm) else {
        return unsupported(&format!("no {algorithm} in this build"));
    };
    sealed.extend_from_slice(&tag);
    let found = kind.with_key(&key).and_then(|aead| {
        let opened = aead.open(&nonce, &aad, &sealed)?;
        Ok(opened == message && aead.seal(&nonce, &aad, &message)? == sealed)
    });
    hold(&expected, found)
}
