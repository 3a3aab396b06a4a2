//! Tests of pipelines, from YAML as users write it: what passes, and that each kind of difference
//! is found.

use super::*;

const PLACE: &str = "\
clusters:
  sovereign: { zone: eu-de, id: sovereign-id, bootstrap: 'a:9092', registry: 'http://a:8081' }
  global: { zone: global, id: global-id, bootstrap: 'b:9092', registry: 'http://b:8081' }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 1
";

const DOMAINS: &str = "domains: { customer: {}, phone: {} }\n";

fn file(source: &str, sink: &str, tests: &str) -> String {
    format!(
        "name: p
purpose: test
domains: domains.yaml
source: {{ kafka: {{ cluster: sovereign, topics: [t], {source}, start: earliest }} }}
classes:
  id: {{ class: identifier, subject: true }}
  phone: identifier
  full_name: identifier
  birth_date: quasi
  balance_cents: sensitive
  address.city: public
  country: public
  notes: free_text
types: {{ id: int64, birth_date: date, balance_cents: int64 }}
stages:
  - tokenize: {{ columns: [id], domain: customer }}
  - fpe: {{ columns: [phone], alphabet: digits, domain: phone, keep: {{ first: 3 }}, separators: '+' }}
  - drop: {{ columns: [full_name] }}
  - generalize: {{ columns: [birth_date], to: year }}
  - generalize: {{ columns: [balance_cents], bins: [0, 1000] }}
  - redact: {{ columns: [notes], detectors: [email, phone] }}
sink: {{ kafka: {{ cluster: global, topic: out, format: {sink}, timestamp: 1s }} }}
overrides:
  - {{ name: notes, columns: [notes], detectors: [email, phone], residual: [names], min_recall: 0.6, scorecard: scorecards/notes.json }}
release: p.release.json
tests:
{tests}"
    )
}

const JSON: &str = "format: debezium_json, key: [id]";

fn outcome(text: &str) -> Result<Report, RunFault> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("douane.yaml", PLACE), ("domains.yaml", DOMAINS), ("p.yaml", text)] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    crate::scorecard::fixture::put(dir.path(), &["email", "phone"]);
    let report = run(&dir.path().join("douane.yaml"), &dir.path().join("p.yaml"));
    // Nothing is left behind: no key, no ledger, no release.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    report.map(|mut all| all.swap_remove(0))
}

const ADA: &str = "{ id: 7340012, phone: '+491555017', full_name: Ada Berg, birth_date: 1990-05-17, \
    balance_cents: 120000, address: { city: Graz }, country: AT, notes: write ada@example.com }";

#[test]
fn what_is_as_expected_passes_in_every_format() {
    let tests = format!(
        "  - name: nothing of the raw row crosses
    input: [ {{ after: {ADA} }} ]
    output: [ {{ id: '*', phone: '*', birth_date: 1990, address_city: Graz, country: AT, notes: 'write [EMAIL]' }} ]
    absent: [ada@example.com, '7340012', Ada Berg, '491555017', '17']
  - name: a delete and its tombstone become one
    input: [ {ADA}, {{ before: {ADA}, op: d }} ]
    output: [ {{ country: AT }}, tombstone ]
  - name: a new column holds
    input: [ {{ id: 1, passport: P-1 }}, {{ id: 2 }} ]
    output: []
    held: unknown_leaf
    absent: [P-1]
  - name: a number too short to encrypt is set aside, its neighbour crosses
    input: [ {{ id: 1, phone: '+4915' }}, {{ id: 2, country: DE }} ]
    output: [ {{ country: DE }} ]
    quarantined: [domain_too_small]
"
    );
    for (source, sink) in [(JSON, "json"), (JSON, "avro"), ("format: debezium_avro", "avro")] {
        let report = outcome(&file(source, sink, &tests)).unwrap_or_else(|f| panic!("{f}"));
        assert!(report.passes(), "{}", report.text());
        assert_eq!(report.tests.len(), 4);
        assert_eq!(report.tests[1].crossed, 2);
        assert_eq!(report.guessed.is_empty(), source == JSON, "{}", report.text());
    }
}

const WHERE: &str = "  - sql: select country, phone from batch where country = 'AT'\nsink:";

/// What WHERE cannot be asked about is not set aside: its row would stay outside.
#[test]
fn what_may_have_left_where_is_not_set_aside() {
    let outside = "{ id: 7340012, country: DE, phone: '+4915' }";
    let inside = "{ after: { id: 7340012, country: AT, phone: '+491555017' } }";
    for (sink, input, rest) in [
        // A stage refuses the row that leaves.
        ("", format!("{inside}, {{ after: {outside}, op: u }}"), "held: where_undecided"),
        ("", format!("{inside}, {{ after: {outside}, op: r }}"), "held: where_undecided"),
        // So does the decoder.
        ("", format!("{inside}, {{ after: {{ id: null }}, op: u }}"), "held: where_undecided"),
        // The controls: a row that is new leaves nothing outside.
        ("", format!("{inside}, {{ after: {outside}, op: c }}"), "quarantined: [domain_too_small]"),
        ("", format!("{inside}, {{ after: {{ id: null }}, op: c }}"), "quarantined: [null_key]"),
        // Unless a truncate may have been passed over before it.
        (", truncate: drop", format!("{inside}, {outside}"), "held: where_undecided"),
    ] {
        let test = format!(
            "  - {{ name: n, input: [ {input} ], output: [ {{ country: AT }} ], {rest} }}\n"
        );
        let text = file(JSON, "json", &test)
            .replacen("sink:", WHERE, 1)
            .replace("timestamp: 1s }", &format!("timestamp: 1s }}{sink}"));
        let report = outcome(&text).unwrap_or_else(|f| panic!("{f}"));
        assert!(report.passes(), "{input} {rest}: {}", report.text());
    }
}

#[test]
fn a_created_row_outside_where_withdraws_what_a_truncate_left() {
    let row = |country: &str| format!("{{ id: 7340012, country: {country}, phone: '+491555017' }}");
    for (sink, output) in
        [("", "{ country: AT }"), (", truncate: drop", "{ country: AT }, tombstone")]
    {
        let test = format!(
            "  - {{ name: n, input: [ {}, {} ], output: [ {output} ] }}\n",
            row("AT"),
            row("DE")
        );
        let text = file(JSON, "json", &test)
            .replacen("sink:", WHERE, 1)
            .replace("timestamp: 1s }", &format!("timestamp: 1s }}{sink}"));
        let report = outcome(&text).unwrap_or_else(|f| panic!("{f}"));
        assert!(report.passes(), "{sink}: {}", report.text());
    }
}

/// The control of each comparison: it fails, and says where.
#[test]
fn each_difference_is_found() {
    for (rest, expected) in [
        (
            "output: [ { country: DE } ]",
            "record 1: column `country`: expected \"DE\", found \"AT\"",
        ),
        (
            "output: [ { birth_date: 1991 } ]",
            "record 1: column `birth_date`: expected 1991, found 1990",
        ),
        ("output: [ { birth_date: '*' }, {} ]", "records: expected 2, found 1"),
        ("output: []", "records: expected 0, found 1"),
        ("output: [ tombstone ]", "record 1: expected a tombstone"),
        ("output: [ null ]", "record 1: expected a tombstone"),
        ("absent: [Graz]", "absent: \"Graz\" stands in record 1, column `address_city`"),
        ("absent: ['AT']", "absent: \"AT\" stands in record 1, column `country`"),
        ("absent: ['write ']", "absent: \"write \" stands in record 1, column `notes`"),
        // Short texts are compared with whole cells.
        ("absent: [rite]", ""),
        ("held: unknown_leaf", "held: expected `unknown_leaf`, found nothing"),
        ("quarantined: [number]", "quarantined: expected number, found nothing"),
    ] {
        let tests = format!("  - {{ name: n, input: [ {ADA} ], {rest} }}\n");
        let report = outcome(&file(JSON, "json", &tests)).unwrap_or_else(|f| panic!("{f}"));
        let found = report.tests[0].difference.clone().unwrap_or_default();
        assert_eq!(found, expected, "{rest}");
        assert_eq!(report.passes(), found.is_empty());
    }
}

#[test]
fn what_was_not_expected_fails() {
    for (input, expected) in [
        (
            "{ id: 1, phone: '+4915' }",
            "quarantined: expected nothing, found domain_too_small (record 1, column `phone`)",
        ),
        ("{ id: null }", "quarantined: expected nothing, found null_key (record 1, column `id`)"),
        ("{ id: 1, birth_date: soon }", "held: expected nothing, found `retyped`"),
    ] {
        let tests = format!("  - {{ name: n, input: [ {input} ], absent: [Vienna] }}\n");
        let report = outcome(&file(JSON, "json", &tests)).unwrap_or_else(|f| panic!("{f}"));
        let found = report.tests[0].difference.clone().unwrap_or_default();
        assert!(found.starts_with(expected), "{input}: {found}");
    }
}

#[test]
fn no_test_is_no_pass() {
    let text = file(JSON, "json", "").replace("tests:\n", "");
    let report = outcome(&text).unwrap();
    assert!(!report.passes());
    assert!(report.text().contains("no tests, which is no pass"), "{}", report.text());
}

#[test]
fn the_block_itself_is_linted() {
    for (test, expected) in [
        ("{ name: n, input: [ { id: 1, coutnry: DE } ], absent: [x] }", "`coutnry` is no leaf"),
        (
            "{ name: n, input: [ { after: { id: 1, address: { town: x } } } ], absent: [x] }",
            "`address.town` is no leaf",
        ),
        ("{ name: n, input: [ { id: 1 } ] }", "this test compares nothing"),
        ("{ name: n, input: [ { after: { id: 1 }, op: d } ], absent: [x] }", "`op` does not fit"),
        ("{ name: n, input: [ 7 ], absent: [x] }", "an input is no map"),
        ("{ name: n, input: [ { id: 1 } ], output: [ 7 ] }", "an output is neither"),
        ("{ name: n, input: [ { id: 1 } ], absent: [''] }", "an empty text"),
        ("{ name: n, input: [ { id: 1 } ], absent: [7] }", "absent"),
        ("{ name: n, input: [], absent: [x] }", "input` has 0 entries"),
        ("{ name: n, inputs: [ { id: 1 } ], absent: [x] }", "unknown key `inputs`"),
    ] {
        let fault = outcome(&file(JSON, "json", &format!("  - {test}\n"))).map(|_| ()).unwrap_err();
        assert!(fault.to_string().contains(expected), "{test}:\n{fault}");
        assert!(fault.to_string().contains("p.yaml:2"), "{test}: no place:\n{fault}");
    }
    let dir = tempfile::tempdir().unwrap();
    let text =
        file(JSON, "json", "  - { name: n, input: [ { id: 1 } ], output: [ { contry: DE } ] }\n");
    for (name, text) in [("douane.yaml", PLACE), ("domains.yaml", DOMAINS), ("p.yaml", &text)] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    crate::scorecard::fixture::put(dir.path(), &["email", "phone"]);
    let load = config::load(&dir.path().join("douane.yaml"), &dir.path().join("p.yaml"));
    let found = plan::lint(&load.unwrap().1).to_string();
    assert!(found.contains("expects column `contry`, which does not cross"), "{found}");
    assert!(found.contains("write `country`"), "{found}");
}

const STATISTICS: &str = "name: p
purpose: test
source: { kafka: { cluster: sovereign, topics: [t], format: debezium_json, start: earliest, key: [id] } }
classes:
  id: identifier
  customer: { class: identifier, subject: true }
  country: public
  amount: sensitive
  at: quasi
types: { id: int64, amount: float64, at: timestamp }
stages:
  - aggregate:
      unit: { leaf: customer, space: customers }
      neighbours: add_remove
      level: unit_lifetime
      period: 30d
      window: { every: 1d, from: '1970-01-01T00:00:00Z', time: at, closes_after: 0s }
      groups: [{ leaf: country, keys: [AT, DE] }]
      l0: 1
      c: 2
      statistics:
        - { name: people, count: units }
        - { name: orders, count: rows }
        - { name: spent, sum: amount, low: 0, high: 100, grid: 0.5 }
        - { name: basket, mean: amount, low: 0, high: 100, grid: 0.5 }
        - { name: sizes, histogram: amount, low: 0, high: 100, edges: [10, 50] }
      rho: 1
      caps: { period: 1, life: 1, delta: 1e-9 }
      late: quarantine
sink: { kafka: { cluster: global, topic: out, format: json, timestamp: 1s } }
release: p.release.json
tests:
";

fn statistics(tests: &str) -> Report {
    statistics_of(STATISTICS, tests)
}

fn statistics_of(pipeline: &str, tests: &str) -> Report {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("douane.yaml"), PLACE).unwrap();
    std::fs::write(dir.path().join("p.yaml"), format!("{pipeline}{tests}")).unwrap();
    let report = run(&dir.path().join("douane.yaml"), &dir.path().join("p.yaml"));
    report.unwrap_or_else(|fault| panic!("{fault}")).remove(0)
}

fn difference(tests: &str) -> Option<String> {
    statistics(tests).tests.remove(0).difference
}

/// What changes, moves, is deleted, has no number or another group: what a window's rows are at
/// its end. Sums are in steps of half a unit; those of the mean from the middle, which is 100 steps.
#[test]
fn statistics_are_of_the_rows_as_they_stand_at_the_end_of_the_window() {
    let row = |id: u32, who: &str, country: &str, amount: &str, at: u64| {
        format!("{{ id: {id}, customer: {who}, country: {country}, amount: {amount}, at: {at} }}")
    };
    let case = |input: &[String], at: &str| {
        let input: Vec<String> = input.iter().map(|event| format!("      - {event}\n")).collect();
        format!(
            "  - name: n\n    input:\n{}    output:\n      - {at}\n      - {{ country: DE }}\n",
            input.concat()
        )
    };
    let create = |row: &str| format!("{{ after: {row} }}");
    let update = |was: &str, is: &str| format!("{{ op: u, before: {was}, after: {is} }}");
    let delete = |was: &str| format!("{{ op: d, before: {was} }}");
    let day = 86_400_000;
    let (one, two) = (row(1, "ada", "AT", "7.25", 5), row(2, "bo", "AT", "99999", 5));
    for (what, input, at) in [
        (
            "clamped, cut to the grid, from the middle, in its bin",
            vec![create(&one), create(&two)],
            "{ country: AT, people: 2, orders: 2, spent: 214, basket_sum: 14, sizes_0: 1, sizes_1: 0, sizes_2: 1 }",
        ),
        (
            "an update is one row, with its last value",
            vec![create(&one), update(&one, &row(1, "ada", "AT", "20", 5))],
            "{ country: AT, people: 1, orders: 1, spent: 40, sizes_1: 1 }",
        ),
        (
            "a delete is none",
            vec![create(&one), delete(&one)],
            "{ country: AT, people: 0, orders: 0, spent: 0 }",
        ),
        (
            "another group, and one that is not published",
            vec![
                create(&one),
                create(&two),
                update(&one, &row(1, "ada", "XX", "1", 5)),
                update(&two, &row(2, "bo", "DE", "1", 5)),
            ],
            "{ country: AT, people: 0, orders: 0 }",
        ),
        (
            "another unit",
            vec![create(&one), update(&one, &row(1, "bo", "AT", "1", 5))],
            "{ country: AT, people: 1, orders: 1, spent: 2 }",
        ),
        (
            "at most two rows of a unit, and null is no row",
            vec![
                create(&row(1, "ada", "AT", "1", 5)),
                create(&row(2, "ada", "AT", "1", 5)),
                create(&row(3, "ada", "AT", "1", 5)),
                create(&row(4, "bo", "AT", "null", 5)),
            ],
            "{ country: AT, people: 1, orders: 2, spent: 4 }",
        ),
    ] {
        assert_eq!(difference(&case(&input, at)), None, "{what}");
    }
    // A row of the next day is in another window; of each all groups are there.
    let two_days = format!(
        "  - name: n\n    input:\n      - {}\n      - {}\n    output:\n      - {{ orders: 1 }}\n      - {{ orders: 0 }}\n      - {{ orders: 1 }}\n      - {{ orders: 0 }}\n",
        create(&one),
        create(&row(2, "bo", "AT", "1", day))
    );
    assert_eq!(difference(&two_days), None);
    // The control.
    let wrong = case(&[create(&one)], "{ country: AT, people: 2 }");
    assert!(difference(&wrong).is_some_and(|why| why.contains("people")), "{wrong}");
}

#[test]
fn what_makes_no_statistic_is_set_aside() {
    let aside = |event: &str, code: &str| {
        format!("  - name: n\n    input: [{event}]\n    quarantined: [{code}]\n")
    };
    for (event, code) in [
        ("{ after: { id: 1, country: AT, amount: 1, at: 5 } }", "aggregate_no_unit"),
        ("{ after: { id: 1, customer: ada, country: AT, amount: 1 } }", "aggregate_no_time"),
        ("{ op: d, before: { id: 1 } }", "aggregate_delete_without_image"),
    ] {
        assert_eq!(difference(&aside(event, code)), None, "{code}");
    }
    // What happened before the first window is in none, and is no fault.
    let before = "  - name: n\n    input: [{ after: { id: 1, customer: a, country: AT, amount: 1, at: -1 } }]\n    output: [{ orders: 0 }, { orders: 0 }]\n";
    assert_eq!(difference(before), None);
}

/// Cut to the grid, clipped over all of a unit's rows to the norm, added up.
#[test]
fn vectors_are_summed_as_arrays() {
    let (before, _) = STATISTICS.split_once("        - { name: people").unwrap();
    let (_, after) = STATISTICS.split_once("edges: [10, 50] }\n").unwrap();
    let statistic = "        - { name: update, vector_sum: delta, dims: 3, norm: 5, grid: 0.5 }\n";
    let array = format!("{before}{statistic}{after}")
        .replace("  at: quasi\n", "  at: quasi\n  delta: sensitive\n")
        .replace("amount: float64, at", "amount: float64, delta: array, at");
    let bytes = array.replace("delta: array", "delta: bytes");
    let case = |vectors: &[&str], sum: &str| {
        let row = |(n, vector): (usize, &&str)| {
            format!(
                "      - {{ after: {{ id: {n}, customer: c{n}, country: AT, amount: 1, delta: {vector}, at: 5 }} }}\n"
            )
        };
        let input: Vec<String> = vectors.iter().enumerate().map(row).collect();
        format!(
            "  - name: n\n    input:\n{}    output:\n      - {{ country: AT, update: {sum} }}\n      - {{ country: DE, update: [0, 0, 0] }}\n",
            input.concat()
        )
    };
    let run = |pipeline: &str, tests: &str| statistics_of(pipeline, tests).tests.remove(0);
    for (what, vectors, sum) in [
        ("in steps of the grid", vec!["[1, -2.6, 0.4]", "[0, 1, 0]"], "[2, -3, 0]"),
        // (6, 8, 0) in steps is (12, 16, 0) of norm 20, and 10 are allowed.
        ("clipped to the norm", vec!["[6, 8, 0]", "[0, 0, 1]"], "[6, 8, 2]"),
        ("null is no row", vec!["null", "[1, 1, 1]"], "[2, 2, 2]"),
    ] {
        assert_eq!(run(&array, &case(&vectors, sum)).difference, None, "{what}");
    }
    // (1, -2.5, 0.5) as floats of 32 bits, lowest byte first.
    let floats = case(&["'AACAPwAAIMAAAAA/'"], "[2, -5, 1]");
    assert_eq!(run(&bytes, &floats).difference, None);
    let aside = "  - name: n\n    input: [{ after: { id: 1, customer: a, country: AT, delta: [1, 2], at: 5 } }]\n    quarantined: [aggregate_vector]\n";
    assert_eq!(run(&array, aside).difference, None);
    // The control.
    let wrong = run(&array, &case(&["[6, 8, 0]"], "[12, 16, 0]"));
    assert!(wrong.difference.is_some_and(|why| why.contains("update")));
}

/// Read from the tree of counts: within a leaf of where they are.
#[test]
fn quantiles_are_read_from_the_sums_tree() {
    let (before, _) = STATISTICS.split_once("        - { name: people").unwrap();
    let (_, after) = STATISTICS.split_once("edges: [10, 50] }\n").unwrap();
    let statistic = "        - { name: spent, quantiles: amount, ranks: [0.1, 0.5, 0.9], low: 0, high: 511.5, grid: 0.5, branching: 4, levels: 5 }\n";
    let pipeline = format!("{before}{statistic}{after}");
    let row = |n: u32| {
        format!(
            "      - {{ after: {{ id: {n}, customer: c{n}, country: AT, amount: {}, at: 5 }} }}\n",
            4 * n
        )
    };
    // 0, 4, …, 396: in steps of half a unit the tenth part lies below 80, half below 400. Each leaf
    // is one step, and in a leaf with one row its quantile lies at the end.
    let input: Vec<String> = (0..100).map(row).collect();
    let case = |at: &str| {
        format!(
            "  - name: n\n    input:\n{}    output:\n      - {at}\n      - {{ country: DE }}\n",
            input.concat()
        )
    };
    let right = "{ country: AT, spent_p10: 73, spent_p50: 393, spent_p90: 713 }";
    assert_eq!(statistics_of(&pipeline, &case(right)).tests.remove(0).difference, None);
    let wrong = statistics_of(&pipeline, &case("{ country: AT, spent_p50: 400 }")).tests.remove(0);
    assert!(wrong.difference.is_some_and(|why| why.contains("spent_p50")));
}

/// A test sees all groups of the rows, in the order of their bytes: shorter keys first.
#[test]
fn selected_groups_are_those_of_the_rows() {
    let pipeline = STATISTICS
        .replace(
            "groups: [{ leaf: country, keys: [AT, DE] }]",
            "groups: [{ leaf: country }]\n      select: noisy_count",
        )
        .replace("      rho: 1\n", "      rho: 1\n      delta: 1e-12\n");
    let row = |n: u32, country: &str| {
        format!(
            "      - {{ after: {{ id: {n}, customer: c{n}, country: {country}, amount: 1, at: 5 }} }}\n"
        )
    };
    let long = "x".repeat(257);
    let input =
        [row(1, "PT"), row(2, "Andorra"), row(3, "AT"), row(4, "AT"), row(5, "''"), row(6, &long)];
    let case = |at: &str| format!("  - name: n\n    input:\n{}    output:\n{at}", input.concat());
    let right = "      - { country: AT, people: 2 }\n      - { country: PT, people: 1 }\n      - { country: Andorra, people: 1 }\n";
    assert_eq!(statistics_of(&pipeline, &case(right)).tests.remove(0).difference, None);
    let wrong = statistics_of(&pipeline, &case("      - { country: AT }\n")).tests.remove(0);
    assert!(wrong.difference.is_some());
    // Nobody: no group, and no record.
    let none = "  - name: n\n    input: [{ after: { id: 1, customer: c, amount: 1, at: 5 } }]\n    output: []\n";
    assert_eq!(statistics_of(&pipeline, none).tests.remove(0).difference, None);
}
