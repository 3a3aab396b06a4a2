use std::fs;

use serde_json::json;

use super::*;

fn run_one(document: &Value) -> Report {
    run(&[("case".to_owned(), document.clone())]).remove(0)
}

fn counts(report: &Report) -> (u64, u64, u64) {
    (report.passed, report.failed, report.not_supported)
}

#[test]
fn what_is_built_in_passes() {
    for (report, (_, text)) in built_in().iter().zip(BUILT_IN) {
        let document: Value = serde_json::from_str(text).unwrap();
        let cases: usize = groups(&document).iter().map(|g| list(g, "tests").len()).sum();
        assert_eq!(report.failed, 0, "{report:?}");
        assert_eq!(report.passed + report.not_supported, cases as u64);
        assert!(report.passed > 0, "{report:?}");
        for reason in &report.reasons {
            assert_eq!(reason.why, "domain under 10^6", "{}", report.file);
        }
    }
}

/// The control of all of them: a case with one digit changed fails, in every form.
#[test]
fn a_changed_answer_fails_and_a_valid_case_that_is_called_invalid_does() {
    for (name, text) in BUILT_IN {
        let document: Value = serde_json::from_str(text).unwrap();
        let before = run_one(&document);
        let (mut changed, mut called) = (0, 0);
        for at in 0..groups(&document).len() {
            let mut wrong = document.clone();
            let mut invalid = document.clone();
            for case in wrong["testGroups"][at]["tests"].as_array_mut().unwrap() {
                let field = if case.get("tag").is_some() { "tag" } else { "ct" };
                match &mut case[field] {
                    Value::String(text) if !text.is_empty() => {
                        let other = if text.starts_with('0') { "1" } else { "0" };
                        text.replace_range(..1, other);
                    }
                    Value::Array(numbers) if !numbers.is_empty() => {
                        let first = numbers[0].as_u64().unwrap();
                        numbers[0] = json!(if first == 0 { 1 } else { first - 1 });
                    }
                    _ => continue,
                }
            }
            for case in invalid["testGroups"][at]["tests"].as_array_mut().unwrap() {
                if case.get("result") == Some(&json!("valid")) {
                    case["result"] = json!("invalid");
                }
            }
            changed += run_one(&wrong).failed;
            called += run_one(&invalid).failed;
        }
        assert!(changed > 0, "{name}: nothing failed");
        assert!(changed >= before.passed / 2, "{name}: {changed} of {}", before.passed);
        if name != BUILT_IN[0].0 {
            assert!(called > 0, "{name}: nothing failed");
        }
    }
}

/// ACVP: prompt and expected results apart, in any order and wrapped as on the wire.
#[test]
fn acvp_in_two_files() {
    let whole: Value = serde_json::from_str(BUILT_IN[0].1).unwrap();
    let (mut prompt, mut expected) = (whole.clone(), whole.clone());
    for group in 0..groups(&whole).len() {
        let encrypts = whole["testGroups"][group]["direction"] == "encrypt";
        for case in 0..list(&groups(&whole)[group], "tests").len() {
            let (answer, question) = if encrypts { ("ct", "pt") } else { ("pt", "ct") };
            let case_of = |document: &mut Value, names: &[&str]| {
                let case = document["testGroups"][group]["tests"][case].as_object_mut().unwrap();
                names.iter().for_each(|name| drop(case.remove(*name)));
            };
            case_of(&mut prompt, &[answer]);
            case_of(&mut expected, &[question, "key", "tweak", "tweakLen"]);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, document: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, document.to_string()).unwrap();
        path
    };
    let prompt = file("prompt.json", &json!([{ "acvVersion": "1.0" }, prompt]));
    let expected_path = file("expectedResults.json", &expected);
    fs::write(folder.path().join("LICENSE"), "no JSON").unwrap();

    // 18: nine samples, each way.
    let reports = files(&[folder.path().to_owned()]).unwrap();
    assert_eq!(reports.iter().map(counts).collect::<Vec<_>>(), [(0, 0, 18), (18, 0, 0)]);
    assert_eq!(reports[0].reasons[0].why, "answers without their questions");
    let alone = files(std::slice::from_ref(&prompt)).unwrap();
    assert_eq!(counts(&alone[0]), (0, 1, 18));
    assert_eq!(alone[0].reasons[0].why, "no expected answers");
    assert!(alone[0].reasons_in_words()[0].starts_with("18 not supported: no expected answers"));

    // Answers that are named for themselves try what they answer, and nothing alone.
    let reports = files(&[expected_path.clone(), prompt.clone()]).unwrap();
    assert_eq!(reports.iter().map(counts).collect::<Vec<_>>(), [(0, 0, 18), (18, 0, 0)]);
    assert!(reports.iter().all(Report::holds));
    assert_eq!(counts(&files(std::slice::from_ref(&expected_path)).unwrap()[0]), (0, 1, 18));

    // Another set's answers are not these.
    expected["vsId"] = json!(7);
    fs::write(&expected_path, expected.to_string()).unwrap();
    let reports = files(&[prompt, expected_path]).unwrap();
    assert_eq!(reports.iter().map(counts).collect::<Vec<_>>(), [(0, 1, 18), (0, 1, 18)]);
}

#[test]
fn acvp_cases_that_must_be_refused() {
    let case = |pt: &str, passed: bool| {
        let test = json!({ "tcId": 1, "key": "00".repeat(32), "tweak": "", "pt": pt, "ct": "1234567",
            "testPassed": passed });
        let group = json!({ "tgId": 1, "direction": "encrypt", "alphabet": "0123456789", "radix": 10,
            "tests": [test] });
        counts(&run_one(&json!({ "algorithm": "ACVP-AES-FF1", "vsId": 1, "testGroups": [group] })))
    };
    assert_eq!(case("12345x7", false), (1, 0, 0));
    assert_eq!(case("1234567", false), (0, 1, 0));
    assert_eq!(case("1234567", true), (0, 1, 0));
    assert_eq!(case("12345", true), (0, 0, 1));
}

/// What this build does not take is named and never passes, whatever the file expects.
#[test]
fn unknown_algorithms_forms_and_sizes_are_not_supported() {
    let group = |kind: &str, case: Value| json!([{ "type": kind, "radix": 10, "alphabet": "0123456789", "tagSize": 256, "tests": [case] }]);
    let mac = |result: &str, bytes: usize| json!({ "tcId": 1, "key": "00".repeat(bytes), "msg": "", "tag": "00".repeat(32), "result": result });
    for (document, expected) in [
        (
            json!({ "algorithm": "HMACSHA1", "testGroups": group("MacTest", mac("valid", 32)) }),
            (0, 0, 1),
        ),
        (
            json!({ "algorithm": "HMACSHA1", "testGroups": group("MacTest", mac("invalid", 32)) }),
            (0, 0, 1),
        ),
        (
            json!({ "algorithm": "HMACSHA256", "testGroups": group("MacTest", mac("valid", 32)) }),
            (0, 1, 0),
        ),
        (
            json!({ "algorithm": "HMACSHA256", "testGroups": group("MacTest", mac("invalid", 32)) }),
            (1, 0, 0),
        ),
        (
            json!({ "algorithm": "HMACSHA256", "testGroups": group("MacTest", mac("unheard", 32)) }),
            (0, 0, 1),
        ),
        (
            json!({ "algorithm": "HMACSHA256", "testGroups": group("New", mac("valid", 32)) }),
            (0, 0, 1),
        ),
        (
            json!({ "algorithm": "HMACSHA256", "testGroups": group("MacTest", json!({})) }),
            (0, 0, 1),
        ),
        (
            json!({ "algorithm": "ACVP-AES-GCM", "vsId": 1, "testGroups": group("AFT", json!({})) }),
            (0, 0, 1),
        ),
        (json!({ "tests": [] }), (0, 0, 1)),
        (json!(7), (0, 0, 1)),
    ] {
        assert_eq!(counts(&run_one(&document)), expected, "{document}");
    }
}

#[test]
fn files_bad_name_bad_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    assert!(files(std::slice::from_ref(&path)).is_err());
    // What was named and holds no vectors was not tried.
    assert!(files(&[folder.path().to_owned()]).is_err());
    let groups = json!([{ "type": "MacTest", "keySize": 256, "tagSize": 256, "tests": [] }]);
    let empty = run_one(&json!({ "algorithm": "HMACSHA256", "testGroups": groups }));
    assert_eq!((counts(&empty), empty.holds()), ((0, 0, 0), false));
    fs::write(&path, "{ \"testGroups\": [").unwrap();
    assert!(files(std::slice::from_ref(&path)).is_err());
    fs::write(&path, "[]").unwrap();
    assert_eq!(counts(&files(&[path]).unwrap()[0]), (0, 1, 1));
}

/// What tries nothing proves nothing, and what was cut short does not prove the rest.
#[test]
fn files_bad_nothing_tried_bad_number_of_tests() {
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str, document: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, document.to_string()).unwrap();
        let report = files(&[path]).unwrap().remove(0);
        (report.holds(), report.failures.first().map(|failure| failure.what.clone()))
    };
    let mut hmac: Value = serde_json::from_str(BUILT_IN[2].1).unwrap();
    assert_eq!(said("whole.json", &hmac), (true, None));
    hmac["numberOfTests"] = json!(7);
    assert_eq!(said("whole.json", &hmac), (true, None));
    let mut short = hmac.clone();
    short["testGroups"].as_array_mut().unwrap().pop();
    let (holds, why) = said("short.json", &short);
    assert!(!holds && why.as_ref().is_some_and(|why| why.contains("expected 7")), "{why:?}");
    let mut other = hmac.clone();
    other["algorithm"] = json!("HMACSHA3");
    for (name, document) in [
        ("a.json", json!({})),
        ("b.json", json!({ "algorithm": "HMACSHA256", "testGroups": [] })),
        ("c.json", other),
    ] {
        let (holds, why) = said(name, &document);
        assert!(!holds && why.as_ref().is_some_and(|why| why.contains("at least")), "{why:?}");
    }
    // In a folder they stand beside what is tried; of the folder one case is.
    fs::remove_file(folder.path().join("short.json")).unwrap();
    assert!(files(&[folder.path().to_owned()]).unwrap().iter().all(Report::holds));
    fs::remove_file(folder.path().join("whole.json")).unwrap();
    assert!(!files(&[folder.path().to_owned()]).unwrap().iter().all(Report::holds));
}
