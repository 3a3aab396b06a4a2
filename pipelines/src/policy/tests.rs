//! The default policy against cases that are data, `pipelines/policy/cases.json`, of which `opa test`
//! says the same. What they expect is written a second time here, in Rust.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::document::{
    Column, Document, Endpoint, Exception, Leaf, Made, Protection, ProtectionKind, Scorecard,
};
use super::engine::Policy;
use super::*;

/// One question and what must be said.
#[derive(Clone, Debug, Serialize)]
struct Case {
    name: String,
    column: Column,
    overrides: Vec<Exception>,
    /// The rule that lets it cross; none: it is denied.
    rule: Option<String>,
    /// The names of the rules that deny it; none: no rule speaks of it at all.
    codes: Vec<String>,
}

const CLASSES: [Class; 8] = [
    Class::Identifier,
    Class::Quasi,
    Class::Sensitive,
    Class::Special,
    Class::FreeText,
    Class::Public,
    Class::Technical,
    Class::Secret,
];

fn leaf(class: Class, protection: Option<Protection>) -> Leaf {
    Leaf { path: "a.b".into(), class, residency: None, subject: false, protection }
}

fn column(made: Made, leaves: Vec<Leaf>) -> Column {
    Column {
        name: "a_b".into(),
        part: "row".into(),
        column_type: "text".into(),
        made,
        crosses: true,
        is_text: false,
        leaves,
        decided_by: Vec::new(),
        counted: false,
        public_keys: None,
        at_least: None,
    }
}

fn exception(name: &str) -> Exception {
    let measured = Scorecard { sha256: "0".repeat(64), recall: 0.93, planted: 120 };
    Exception {
        name: name.into(),
        columns: vec!["a.b".into()],
        detectors: vec!["email".into()],
        residual: vec!["names".into()],
        min_recall: Some(0.9),
        measured: Some(measured),
        share_domain: None,
        max_per_record: None,
    }
}

/// Every kind of protection, with what the policy looks at below, at and above its bounds.
fn protections() -> Vec<(String, Option<Protection>)> {
    use ProtectionKind as Kind;
    let plain = Protection::plain;
    let mut all = vec![("none".to_owned(), None)];
    for (word, kind) in [("fpe", Kind::Fpe), ("mask", Kind::Mask)] {
        for kept_chars in [0, 4, 5] {
            let protection = Protection { kept_chars, ..plain(kind) };
            all.push((format!("{word} keeping {kept_chars}"), Some(protection)));
        }
    }
    for rounded in [true, false] {
        let word = if rounded { "coded and rounded" } else { "coded by bounds" };
        all.push((word.to_owned(), Some(Protection { rounded, ..plain(Kind::Coded) })));
    }
    for prefix_chars in [5, 6] {
        let protection = Protection { prefix_chars, ..plain(Kind::Prefix) };
        all.push((format!("prefix of {prefix_chars}"), Some(protection)));
    }
    let detectors = vec!["email".to_owned()];
    all.push(("redacted".to_owned(), Some(Protection { detectors, ..plain(Kind::Redacted) })));
    for (word, kind) in [
        ("token", Kind::Token),
        ("constant", Kind::Constant),
        ("year", Kind::Year),
        ("decade", Kind::Decade),
        ("quarter", Kind::Quarter),
        ("month", Kind::Month),
        ("week", Kind::Week),
        ("day", Kind::Day),
        ("hour", Kind::Hour),
        ("bins", Kind::Bins),
        ("age", Kind::Age),
        ("region", Kind::Region),
    ] {
        all.push((word.to_owned(), Some(plain(kind))));
    }
    all
}

/// What is to be said of one leaf, by a table of its own.
fn expected(class: Class, how: Option<&Protection>, named: bool) -> Result<String, &'static str> {
    use ProtectionKind as Kind;
    let ok = |rule: &str| Ok(format!("{class}: {rule}"));
    let kind = how.map(|how| how.kind);
    let kept = how.map_or(0, |how| how.kept_chars);
    match (class, kind) {
        (Class::Public, None) => ok("nothing needed"),
        (Class::Public, Some(_)) => ok("protected though nothing is needed"),
        (Class::Secret | Class::Technical, _) => Err("never"),
        (Class::Identifier | Class::Quasi, Some(Kind::Token)) => ok("tokenize"),
        (Class::Identifier | Class::Quasi, Some(Kind::Fpe)) if kept <= 4 => {
            ok("fpe (at most 4 characters kept)")
        }
        (Class::Identifier | Class::Quasi, Some(Kind::Mask)) if kept <= 4 => {
            ok("mask (at most 4 characters kept)")
        }
        (Class::Identifier | Class::Quasi, Some(Kind::Fpe | Kind::Mask)) => Err("kept_chars"),
        (Class::Identifier | Class::Quasi | Class::FreeText, Some(Kind::Constant)) => {
            ok("redact to a constant")
        }
        (Class::Quasi, Some(Kind::Coded)) if !how.is_some_and(|how| how.rounded) => {
            Err("bounds_alone")
        }
        (Class::Quasi, Some(Kind::Redacted)) => Err("protection_unfit"),
        (Class::Quasi, Some(_)) => ok("generalize"),
        (Class::Sensitive, Some(Kind::Bins)) => ok("generalize to bins"),
        (Class::Sensitive, None | Some(Kind::Token | Kind::Coded)) => match named {
            true => ok("override `one`"),
            false => Err("needs_override"),
        },
        (Class::Special, Some(Kind::Coded)) => Err("rounded_special"),
        (Class::Special, Some(_)) | (Class::FreeText, Some(Kind::Redacted)) => match named {
            true => ok("override `one`"),
            false => Err("needs_override"),
        },
        (Class::Identifier | Class::Quasi | Class::Special | Class::FreeText, None) => {
            Err("no_protection")
        }
        (Class::Identifier | Class::Sensitive | Class::FreeText, Some(_)) => {
            Err("protection_unfit")
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add =
        |name: String, column: Column, overrides: &[Exception], said: Result<String, Vec<&str>>| {
            let (rule, codes) = match said {
                Ok(rule) => (Some(rule), Vec::new()),
                Err(codes) => (None, codes.into_iter().map(str::to_owned).collect()),
            };
            cases.push(Case { name, column, overrides: overrides.to_vec(), rule, codes });
        };
    for class in CLASSES {
        for (word, how) in protections() {
            for named in [false, true] {
                let overrides = if named { vec![exception("one")] } else { Vec::new() };
                let beside = if named { ", named by an override" } else { "" };
                let said = expected(class, how.as_ref(), named);
                let made = column(Made::Leaf, vec![leaf(class, how.clone())]);
                let name = format!("{class}, {word}{beside}");
                add(name, made, &overrides, said.map_err(|code| vec![code]));
            }
            // With a residency: what has no protection stays.
            let mut said = expected(class, how.as_ref(), true).map_err(|code| vec![code]);
            if how.is_none() {
                said =
                    Err(said.err().unwrap_or_default().into_iter().chain(["residency"]).collect());
            }
            let mut of = leaf(class, how);
            of.residency = Some("eu".into());
            let name = format!("{class}, {word}, residency eu, named by an override");
            add(name, column(Made::Leaf, vec![of]), &[exception("one")], said);
        }
    }
    faulty_overrides(&mut add);
    computed(&mut add);
    texts_of_stages(&mut add);
    statistics(&mut add);
    out_of_form(&mut add);
    cases
}

type Add<'a> = dyn FnMut(String, Column, &[Exception], Result<String, Vec<&str>>) + 'a;

/// An override that does not name all, or not this.
fn faulty_overrides(add: &mut Add<'_>) {
    let mut bad: Vec<(&str, Vec<Exception>)> = Vec::new();
    let mut one = |name, change: &dyn Fn(&mut Exception)| {
        let mut o = exception("one");
        change(&mut o);
        bad.push((name, vec![o]));
    };
    one("with other detectors", &|o| o.detectors = vec!["email".into(), "card".into()]);
    one("without detectors", &|o| o.detectors.clear());
    one("without residual kinds", &|o| o.residual.clear());
    one("without a recall", &|o| o.min_recall = None);
    one("not measured", &|o| o.measured = None);
    one("measured below its recall", &|o| {
        o.measured = Some(Scorecard { sha256: "0".repeat(64), recall: 0.89, planted: 120 });
    });
    one("that shares a domain", &|o| o.share_domain = Some("mail".into()));
    one("of another leaf", &|o| o.columns = vec!["a.c".into()]);
    one("of no leaf", &|o| o.columns.clear());
    bad.push(("and a second one", vec![exception("one"), exception("two")]));
    let detectors = vec!["email".to_owned()];
    let how = Protection { detectors, ..Protection::plain(ProtectionKind::Redacted) };
    for (name, overrides) in &bad {
        let made = column(Made::Leaf, vec![leaf(Class::FreeText, Some(how.clone()))]);
        let name = format!("free_text, redacted, by an override {name}");
        add(name, made, overrides, Err(vec!["needs_override"]));
    }
    // One that fits another protection, which has no detectors either.
    let plain = Protection::plain(ProtectionKind::Token);
    let made = column(Made::Leaf, vec![leaf(Class::FreeText, Some(plain))]);
    add(
        "free_text, token, by an override without detectors".into(),
        made,
        &bad[1].1,
        Err(vec!["protection_unfit"]),
    );
    for (name, overrides) in &bad[6..] {
        let made = column(Made::Leaf, vec![leaf(Class::Sensitive, None)]);
        let name = format!("sensitive, none, by an override {name}");
        add(name, made, overrides, Err(vec!["needs_override"]));
    }
}

/// What `sql` makes, and what it decides by.
fn computed(add: &mut Add<'_>) {
    let may_not_decide = |class| matches!(class, Class::Identifier | Class::FreeText);
    for class in CLASSES {
        for is_text in [true, false] {
            for by in [None, Some(Class::Public), Some(Class::Identifier), Some(Class::FreeText)] {
                let mut codes = Vec::new();
                codes.extend(by.filter(|by| may_not_decide(*by)).map(|_| "indirect_flow"));
                codes.extend((is_text && class == Class::FreeText).then_some("text_of_free_text"));
                let said = match codes.is_empty() {
                    true => Ok(POST_PROCESSING.to_owned()),
                    false => Err(codes),
                };
                let mut made = column(Made::Derived, vec![leaf(class, None)]);
                made.is_text = is_text;
                made.decided_by = by.into_iter().map(|by| leaf(by, None)).collect();
                let what = if is_text { "text" } else { "number" };
                let by = by.map_or("nothing".to_owned(), |by| by.to_string());
                add(format!("{what} of {class}, decided by {by}"), made, &[], said);
            }
        }
        let mut made = column(Made::Filter, Vec::new());
        made.decided_by = vec![leaf(Class::Public, None), leaf(class, None)];
        let said = match may_not_decide(class) {
            true => Err(vec!["indirect_flow"]),
            false => Ok(POST_PROCESSING.to_owned()),
        };
        add(format!("filter by {class}"), made, &[], said);
    }
    for (prefix_chars, is_text) in [(5, true), (6, true), (7, true), (6, false)] {
        let how = Protection { prefix_chars, ..Protection::plain(ProtectionKind::Prefix) };
        let leaves = vec![leaf(Class::Public, None), leaf(Class::Quasi, Some(how))];
        let mut made = column(Made::Derived, leaves);
        made.is_text = is_text;
        let said = match is_text && prefix_chars >= 6 {
            true => Err(vec!["text_of_prefix"]),
            false => Ok(POST_PROCESSING.to_owned()),
        };
        add(format!("is text: {is_text}, of a prefix of {prefix_chars}"), made, &[], said);
    }
}

fn statistics(add: &mut Add<'_>) {
    let window = column(Made::Window, Vec::new());
    add("a window".into(), window, &[], Ok("dp: the windows are public".into()));
    for class in CLASSES {
        for made in [Made::Group, Made::Selected, Made::Statistic] {
            for counted in [true, false] {
                let said = match class {
                    Class::Public | Class::Quasi | Class::Sensitive | Class::Special => {
                        Ok(format!("{class}: dp"))
                    }
                    Class::Identifier if made == Made::Statistic && counted => {
                        Ok("identifier: counted as the unit (dp)".to_owned())
                    }
                    _ => Err(vec!["in_no_statistic"]),
                };
                let mut asked = column(made, vec![leaf(class, None)]);
                asked.counted = counted;
                let how = if counted { "counted" } else { "read" };
                add(format!("{made:?} of {class}, {how}"), asked, &[], said);
            }
        }
    }
}

/// What is said of texts that `sql` makes is said of no other.
fn texts_of_stages(add: &mut Add<'_>) {
    let prefix = Protection { prefix_chars: 6, ..Protection::plain(ProtectionKind::Prefix) };
    for (class, how, rule) in [
        (Class::FreeText, Protection::plain(ProtectionKind::Constant), "redact to a constant"),
        (Class::Quasi, prefix, "generalize"),
    ] {
        let name = format!("{class} as text, {:?}", how.kind);
        let mut made = column(Made::Leaf, vec![leaf(class, Some(how))]);
        made.is_text = true;
        add(name, made, &[], Ok(format!("{class}: {rule}")));
    }
}

/// Columns that no plan makes: no rule speaks of them.
fn out_of_form(add: &mut Add<'_>) {
    let public = || leaf(Class::Public, None);
    for made in [Made::Leaf, Made::Group, Made::Selected, Made::Statistic] {
        add(format!("{made:?} of no leaf"), column(made, Vec::new()), &[], Err(Vec::new()));
        let two = column(made, vec![public(), public()]);
        add(format!("{made:?} of two leaves"), two, &[], Err(Vec::new()));
    }
    add("a window of a leaf".into(), column(Made::Window, vec![public()]), &[], Err(Vec::new()));
}

fn base() -> Document {
    let side = |zone: &str, topic: &str, format: &str| Endpoint {
        cluster_id: zone.to_owned(),
        zone: zone.to_owned(),
        topics: vec![topic.to_owned()],
        format: format.to_owned(),
    };
    Document {
        v: 1,
        pipeline: "customers".into(),
        purpose: "model-training".into(),
        source: side("eu-de", "crm.public.customers", "debezium_avro"),
        target: side("global", "training.customers", "avro"),
        record_shape: "state".into(),
        timestamp_ms: 1_000,
        publish_ms: None,
        columns: Vec::new(),
        overrides: Vec::new(),
        min_group: None,
        statistics: None,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/policy"))
}

/// A case a line.
fn as_file(cases: &[Case]) -> String {
    let lines: Vec<String> =
        cases.iter().map(|case| format!("    {}", serde_json::to_string(case).unwrap())).collect();
    let base = serde_json::to_string(&base()).unwrap();
    format!("{{\n  \"base\": {base},\n  \"cases\": [\n{}\n  ]\n}}\n", lines.join(",\n"))
}

#[test]
fn cases_are_written_out() {
    let cases = cases();
    let denied = cases.iter().filter(|case| case.rule.is_none()).count();
    assert!(denied >= 300, "{denied} refusals");
    assert!(cases.len() - denied >= 150, "{} permissions", cases.len() - denied);
    let names: std::collections::BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "a name twice");
    for (file, made) in [
        (folder().join("cases.json"), as_file(&cases)),
        (
            folder().with_file_name("policy.schema.json"),
            format!("{}\n", serde_json::to_string_pretty(&document::json_schema()).unwrap()),
        ),
    ] {
        if fs::read_to_string(&file).ok().as_deref() != Some(made.as_str()) {
            fs::write(&file, made).unwrap();
            panic!("{} was written anew: look at it", file.display());
        }
    }
}

#[test]
fn every_case_is_decided_as_written() {
    for case in cases() {
        let document = Document { overrides: case.overrides.clone(), ..base() };
        let found = decide(&document.with(vec![case.column.clone()])).remove(0);
        match (&case.rule, found) {
            (Some(rule), Verdict::Allowed { rule: found }) => {
                assert_eq!(*rule, found, "{}", case.name)
            }
            (None, Verdict::Denied(refusals)) => {
                let mut codes: Vec<&str> = refusals.iter().map(|r| r.code.as_str()).collect();
                codes.sort_unstable();
                let undecided = vec![UNDECIDED.to_owned()];
                let mut expected =
                    if case.codes.is_empty() { undecided } else { case.codes.clone() };
                expected.sort_unstable();
                assert_eq!(codes, expected, "{}", case.name);
                assert!(refusals.iter().all(|r| !r.why.is_empty() && !r.why.ends_with('.')));
            }
            (rule, found) => panic!("{}: {rule:?}, found {found:?}", case.name),
        }
    }
}

/// What a policy says of all cases, those of the same overrides at once.
fn answers(policy: &Policy, cases: &[Case]) -> Option<Vec<Json>> {
    let mut by_overrides: BTreeMap<String, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        let key = serde_json::to_string(&case.overrides).unwrap();
        by_overrides.entry(key).or_default().push(case);
    }
    let mut all = Vec::new();
    for cases in by_overrides.values() {
        let columns = cases.iter().map(|case| case.column.clone()).collect();
        let document = Document { overrides: cases[0].overrides.clone(), ..base() }.with(columns);
        all.push(policy.ask::<Json>("data.douane.release.answer", &document.json()).ok()?);
    }
    Some(all)
}

/// Every line of a rule's body is there for a case: without it some case is decided otherwise.
#[test]
fn no_condition_can_be_left_out_unseen() {
    let cases = cases();
    let parse = |text: &str| Policy::parse(PACKAGE, [("release.rego", text)].into_iter());
    let right = answers(&parse(DEFAULT).map_err(|(_, fault)| fault).unwrap(), &cases).unwrap();
    let lines: Vec<&str> = DEFAULT.lines().collect();
    let (mut tried, mut unseen) = (0, Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let body =
            line.strip_prefix('\t').filter(|line| !line.starts_with(['\t', '#', '"', ']', '}']));
        // Without what it names a policy is no policy.
        let Some(body) = body.filter(|body| !body.contains(":=") && !body.starts_with("some "))
        else {
            continue;
        };
        if body.ends_with(['{', '[', '(', '|']) {
            continue;
        }
        tried += 1;
        let mut without = lines.clone();
        without[at] = "\ttrue";
        let said = parse(&without.join("\n")).ok().and_then(|policy| answers(&policy, &cases));
        if said.as_ref() == Some(&right) {
            unseen.push(format!("{}: {body}", at + 1));
        }
    }
    assert!(tried >= 50, "{tried} lines");
    assert!(unseen.is_empty(), "{} lines:\n{}", unseen.len(), unseen.join("\n"));
}

/// The policy's own tests, which `opa test` runs too.
#[test]
fn its_own_tests_pass_here_too() {
    let test = fs::read_to_string(folder().join("release_test.rego")).unwrap();
    let rules: Vec<&str> = test
        .lines()
        .filter_map(|line| line.strip_suffix(" if {").filter(|name| name.starts_with("test_")))
        .collect();
    assert!(rules.len() >= 8, "{rules:?}");
    let failed = |policy: &str| {
        let mut engine = regorus::Engine::new();
        engine.set_strict_builtin_errors(true);
        engine.add_policy("release.rego".into(), policy.into()).unwrap();
        engine.add_policy("release_test.rego".into(), test.clone()).unwrap();
        let data = fs::read_to_string(folder().join("cases.json")).unwrap();
        engine.add_data(regorus::Value::from_json_str(&data).unwrap()).unwrap();
        let passes = |rule: &&&str| {
            let rule = format!("data.douane.release_test.{rule}");
            !matches!(engine.clone().eval_rule(rule), Ok(regorus::Value::Bool(true)))
        };
        rules.iter().filter(passes).map(|rule| (*rule).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(failed(DEFAULT), Vec::<String>::new());
    // Control.
    let wide = DEFAULT.replace("kept_chars_max := 4", "kept_chars_max := 5");
    assert!(!failed(&wide).is_empty());
}

#[test]
fn an_answer_that_is_no_answer_is_a_no() {
    let asked = base().with(vec![column(Made::Leaf, vec![leaf(Class::Public, None)])]);
    assert!(matches!(decide(&asked)[0], Verdict::Allowed { .. }));
    let of = |allow: &[(usize, &str)], deny: &[(usize, &str)]| {
        let allow = allow.iter().map(|(column, rule)| json!({"column": column, "rule": rule}));
        let deny =
            deny.iter().map(|(column, code)| json!({"column": column, "code": code, "why": "w"}));
        let answer = json!({"v": VERSION, "allow": allow.collect::<Vec<_>>(), "deny": deny.collect::<Vec<_>>()});
        of_answer(&serde_json::from_value(answer).unwrap(), 0, "a")
    };
    assert!(matches!(of(&[(0, "r")], &[]), Verdict::Allowed { .. }));
    for verdict in [
        of(&[], &[]),
        of(&[(1, "r")], &[]),
        of(&[(0, "r"), (0, "s")], &[]),
        of(&[(0, "r")], &[(0, "c")]),
    ] {
        assert!(matches!(verdict, Verdict::Denied(refusals) if !refusals.is_empty()));
    }
    assert!(matches!(of(&[(0, "r")], &[(1, "c")]), Verdict::Allowed { .. }));
}

fn ground(files: &[(&str, &str)]) -> Ground {
    let file = |(name, text): &(&str, &str)| File { name: (*name).into(), text: (*text).into() };
    let files = files.iter().map(file).collect();
    Ground { dir: Some("policy".into()), files, ..Ground::default() }
}

#[test]
fn a_place_can_deny_and_nothing_else() {
    let asked = base().with(vec![column(Made::Leaf, vec![leaf(Class::Public, None)])]);
    let deny = "package douane.place\n\ndeny contains {\"code\": \"zone\", \"why\": \"no\"} if {\n\tinput.target.zone == \"global\"\n}\n";
    let found = own(&ground(&[("a.rego", deny)]), &asked);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code.as_str(), found[0].by), ("zone", By::Place));
    let other = deny.replace("\"global\"", "\"elsewhere\"");
    assert_eq!(own(&ground(&[("a.rego", &other)]), &asked), []);
    // What would allow has no effect, and where it is not said what is denied, all is.
    let secret = base().with(vec![column(Made::Leaf, vec![leaf(Class::Secret, None)])]);
    let wide = "package douane.place\n\nallow contains {\"column\": 0, \"rule\": \"all\"}\n";
    let found = own(&ground(&[("a.rego", wide)]), &secret);
    assert_eq!(found.iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), [UNDECIDED]);
    assert!(matches!(decide(&secret)[0], Verdict::Denied(_)));
    for bad in [
        "",
        "package douane.release\n\ndeny := []\n",
        "package douane.place\n\ndeny := true\n",
        "package douane.place\n\ndeny := null\n",
        "package douane.place\n\ndeny := [{\"code\": 1, \"why\": \"w\"}]\n",
        "package douane.place\n\ndeny := [{\"code\": \"c\"}]\n",
        "package douane.place\n\ndeny := [{\"code\": \"c\", \"why\": \"w\", \"more\": 1}]\n",
        "package douane.place\n\ndeny contains {\"code\": \"c\", \"why\": \"w\"} if to_number(\"x\") == 1\n",
        "package douane.place\n\ndeny := [] if input.nowhere\n",
        "package douane.place\n\ndeny := [] if input.v == 1\ndeny := [1] if input.v == 1\n",
    ] {
        let found = own(&ground(&[("a.rego", bad)]), &asked);
        assert_eq!(found.iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), [UNDECIDED], "{bad}");
    }
    // No file at all, though a folder is named.
    assert_eq!(own(&ground(&[]), &asked)[0].code, UNDECIDED);
}

#[test]
fn the_digest_is_of_every_file_and_its_name() {
    let one = digest(&ground(&[("a.rego", "x")]));
    for other in [
        Ground::default(),
        ground(&[]),
        ground(&[("b.rego", "x")]),
        ground(&[("a.rego", "y")]),
        ground(&[("a.rego", "x"), ("b.rego", "")]),
        ground(&[("a.regox", "")]),
    ] {
        assert_ne!(digest(&other), one);
    }
    assert_eq!(digest(&ground(&[("a.rego", "x")])), one);
    assert_eq!(digest(&Ground::default()), digest(&ground(&[])));
}

#[test]
fn what_is_read_aloud_names_the_version_and_the_places_files() {
    let words = in_words(&ground(&[("board.rego", "x")]));
    assert!(
        words.starts_with(&format!("default policy, version {VERSION}\nidentifier: tokenize;"))
    );
    assert!(words.contains("the place's own board.rego denies more (SHA-256 2d711642"));
    assert!(DEFAULT.contains(&format!("{{\"v\": {VERSION}, ")));
}
