use super::*;

#[test]
fn masks() {
    assert_eq!(mask("4111111111111234", 0, 4, '*'), "************1234");
    assert_eq!(mask("abcdef", 1, 2, '#'), "a###ef");
    assert_eq!(mask("abc", 1, 2, '*'), "***");
    assert_eq!(mask("abcde", 1, 2, '*'), "*****");
    assert_eq!(mask("1234567", 0, 4, '*'), "*******");
    assert_eq!(mask("12345678", 0, 4, '*'), "****5678");
    assert_eq!(mask("", 0, 4, '*'), "");
    assert_eq!(mask("äöü", 0, 0, '*'), "***");
}

#[test]
fn redactions() {
    let labels = ["[EMAIL]", "[PHONE]"].map(str::to_owned);
    let redaction = |out: &str, raw: &str| is_redaction_of(out, raw, &labels);
    assert!(redaction("call [PHONE] or [EMAIL].", "call +4915112345678 or a@b.de."));
    assert!(redaction("[PHONE]", "+4915112345678"));
    assert!(redaction("plain", "plain"));
    assert!(redaction("", ""));
    assert!(redaction("[EMAIL][PHONE]", "a@b.de+4915112345678"));
    assert!(redaction("a [EMAIL] b", "a [EMAIL] b"));
    for (out, raw) in [
        ("plain", "other"),
        ("plain", "plain and more"),
        ("plain and more", "plain"),
        ("call [PHONE] now", "call +4915112345678"),
        ("b [PHONE] a [EMAIL]", "a +4915112345678 b x@y.zz"),
        ("x[PHONE]", "+4915112345678"),
        ("[CARD]", "4111111111111111"),
    ] {
        assert!(!redaction(out, raw), "{out}");
    }
}

/// A label that is searched for again and again where there is none takes minutes here.
#[test]
fn redactions_take_linear_time() {
    let labels = ["[EMAIL]", "[PHONE]", "[CARD]", "[IBAN]"].map(str::to_owned);
    let count = (1 << 20) / "a@b.de ".len();
    let start = std::time::Instant::now();
    assert!(is_redaction_of(&"[EMAIL] ".repeat(count), &"a@b.de ".repeat(count), &labels));
    assert!(is_redaction_of(&"[[x".repeat(count), &"[[x".repeat(count), &labels));
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn months_of_days() {
    for (days, expected) in [
        (0, (1970, 1)),
        (-1, (1969, 12)),
        (19_000, (2022, 1)),
        (11_016, (2000, 2)),
        (11_017, (2000, 3)),
        (-719_162, (1, 1)),
        (-719_163, (0, 12)),
        (2_932_896, (9999, 12)),
    ] {
        assert_eq!(year_and_month(days), expected, "{days}");
    }
}

#[test]
fn instants_with_a_zone() {
    for (text, micros) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T01:00:00.5+01:00", 500_000),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("1969-12-31 19:00:00-05:00", 0),
        ("1970-01-01T00:00:00+00", 0),
        ("2025-10-09T08:53:20.123456Z", 1_760_000_000_123_456),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
    ] {
        assert_eq!(zoned_micros(text), Some(micros), "{text}");
    }
    for bad in [
        "",
        "infinity",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T24:00:00Z",
        "1970-00-01T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1970-01-01T00:00:00+1",
        "1970-01-01T00:00:00+01:0",
        "1970-01-01T00:00:00é",
        "1970-01-01T00:00:00Z ",
        "é970-01-01T00:00:00Z",
    ] {
        assert_eq!(zoned_micros(bad), None, "{bad}");
    }
}

#[test]
fn bins_hold_what_lies_in_them() {
    let bin = |label: &str| Bin::parse(label).unwrap();
    let low = bin("(-inf,0)");
    let mid = bin("[0,100)");
    let high = bin("[100,inf)");
    for (value, expected) in [
        ("-1", [true, false, false]),
        ("-0.01", [true, false, false]),
        ("0", [false, true, false]),
        ("-0", [false, true, false]),
        ("0.00", [false, true, false]),
        ("99.999", [false, true, false]),
        ("100", [false, false, true]),
        ("100.0", [false, false, true]),
        ("99999999999999999999999999999999999999999999", [false, false, true]),
        ("Infinity", [false, false, true]),
        ("-Infinity", [true, false, false]),
        ("NaN", [false; 3]),
        ("", [false; 3]),
        ("1e3", [false; 3]),
        ("5.", [false; 3]),
        ("+5", [false, true, false]),
        (".5", [false; 3]),
    ] {
        let held = [&low, &mid, &high].map(|bin| bin.holds_text(value));
        assert_eq!(held, expected, "{value}");
        if let Ok(whole) = value.parse::<i128>() {
            assert_eq!([&low, &mid, &high].map(|bin| bin.holds_whole(whole)), expected);
        }
    }
    let fine = bin("[-2.5,2.5)");
    assert!(fine.holds_whole(-2) && fine.holds_whole(2));
    assert!(!fine.holds_whole(-3) && !fine.holds_whole(3));
    assert!(fine.holds_text("-2.5") && !fine.holds_text("2.5"));
}

#[test]
fn labels_bad_forms() {
    for bad in [
        "",
        "0-100",
        "[0,100]",
        "(0,100)",
        "[-inf,0)",
        "[5,5)",
        "[7,5)",
        "[a,b)",
        "[0,)",
        "[1e3,inf)",
    ] {
        assert!(Bin::parse(bad).is_none(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn whole_numbers_compare_alike_as_text(a in -2000i128..2000, b in -2000i128..2000) {
        proptest::prop_assert_eq!(order(&a.to_string(), &b.to_string()), Some(a.cmp(&b)));
    }

    #[test]
    fn cuts_of_a_text_are_redactions(raw in "[a-e ]{0,30}", from in 0usize..30, to in 0usize..30) {
        let (from, to) = (from.min(to).min(raw.len()), from.max(to).min(raw.len()));
        let out = format!("{}[EMAIL]{}", &raw[..from], &raw[to..]);
        proptest::prop_assert!(is_redaction_of(&out, &raw, &["[EMAIL]".to_owned()]));
    }
}
