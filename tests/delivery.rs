//! Which cases of delivery run on which brokers: all of them on Apache Kafka, the arbiter, and the same ones on the
//! development broker, as many of them in every run as there is time for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::rig::{self, Kind};

/// How a case runs on the development broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum There {
    /// In every run, as on Kafka: a test of `every_run`.
    Too,
    /// In every run as another case of its file, which does less of the same.
    As(&'static str),
    /// With `DOUANE_TEST_BROKER=development`.
    OnDemand,
    /// It cannot: the case says so by `rig::is_kafka`, for this reason.
    Not(&'static str),
}
use There::{As, Not, OnDemand, Too};

/// Each case of a file, in the order of the file; controls show a guard's worth, not a broker's.
const DELIVERY: &[(&str, &[(&str, There)])] = &[
    (
        "kill",
        &[(
            "sigkill_loses_repeats_and_reorders_nothing",
            As("sigkill_between_development_brokers"),
        )],
    ),
    (
        "zombie",
        &[
            (
                "a_woken_zombie_writes_nothing",
                As("a_zombie_between_development_brokers_writes_nothing"),
            ),
            ("a_start_gives_way_to_one_that_got_through_and_to_nobody_else", OnDemand),
            ("who_is_fenced_and_was_not_taken_over_goes_on", OnDemand),
            ("whose_journal_is_fenced_and_was_not_taken_over_goes_on", OnDemand),
            (
                "who_was_frozen_for_long_with_everything_in_hand_goes_on",
                Not("the development broker ends no transaction by itself"),
            ),
            ("a_process_that_idles_hears_that_another_took_over", OnDemand),
        ],
    ),
    (
        "late_end_txn",
        &[
            ("a_late_commit_tears_no_other_transaction_on_a_silent_link", OnDemand),
            (
                "a_late_commit_tears_no_other_transaction_on_a_closed_link",
                As("a_late_commit_between_development_brokers_tears_nothing"),
            ),
            ("a_late_abort_tears_no_other_transaction_on_a_silent_link", OnDemand),
            ("a_late_abort_tears_no_other_transaction_on_a_closed_link", OnDemand),
        ],
    ),
    (
        "broker_faults",
        &[
            ("killed_and_frozen_brokers_cost_time_only", Not(IN_MEMORY)),
            ("a_registry_that_is_away_costs_time_only", OnDemand),
            ("a_source_that_is_away_costs_no_journal", Not(IN_MEMORY)),
        ],
    ),
    (
        "link_down",
        &[
            ("what_comes_while_the_link_is_down_crosses_once_when_it_is_up", Not(ONE_LISTENER)),
            ("a_backlog_crosses_a_slow_link", Not(ONE_LISTENER)),
        ],
    ),
    (
        "source_loss",
        &[
            (
                "a_changed_identity_or_a_lost_side_stops_with_its_reason",
                As("a_topic_made_anew_on_a_development_broker_stops"),
            ),
            ("a_start_that_is_refused_stops_nobody", OnDemand),
            ("records_that_retention_took_hold_their_partition_only", Too),
            ("partitions_that_are_added_are_read_from_their_start", Too),
            ("what_was_lost_before_a_start_is_committed_as_held", Too),
            ("offsets_that_hold_no_record_are_no_loss", OnDemand),
            ("a_held_record_waits_where_it_stands_and_not_before_what_was_aborted", OnDemand),
        ],
    ),
    ("bad_input", &[("bad_records_are_held_or_quarantined_and_neighbours_go_on", Too)]),
    (
        "record_key",
        &[("another_record_key_is_refused_and_the_stream_goes_on_under_the_old_one", OnDemand)],
    ),
    (
        "redrive",
        &[
            ("a_redriven_record_crosses_once_and_never_after_a_newer_one", OnDemand),
            ("a_record_that_gets_another_owner_and_is_asked_for_twice_crosses_once", OnDemand),
            ("a_quarantine_that_is_made_anew_takes_what_comes_and_loses_nothing", OnDemand),
            ("a_redrive_that_is_killed_repeats_nothing", OnDemand),
            ("a_redrive_moves_no_position_and_believes_no_request", OnDemand),
            ("the_first_of_two_holds_is_the_one_that_is_told", OnDemand),
            ("a_redriven_record_without_a_key_has_no_newer_one", Too),
        ],
    ),
    ("epochs", &[("what_was_set_aside_closes_with_its_epoch_and_the_stream_goes_on", Too)]),
    (
        "workers",
        &[
            ("either_worker_answers_and_a_killed_ones_pipeline_goes_on_at_the_other", OnDemand),
            ("workers_are_restarted_under_load_and_one_that_was_frozen_writes_nothing", OnDemand),
            ("a_worker_answers_by_its_group_and_not_by_its_folder", OnDemand),
            ("a_member_that_hears_nobody_gives_its_part_back_and_joins_anew", OnDemand),
            ("another_topic_of_configs_is_refused_and_what_runs_goes_on", OnDemand),
            ("what_is_said_to_have_stopped_writes_nothing_when_its_worker_wakes", OnDemand),
            ("what_is_said_to_have_stopped_is_held_by_nobody_who_was_about_to_start", OnDemand),
        ],
    ),
    (
        "expiry",
        &[
            ("between_the_first_look_and_the_intent", OnDemand),
            ("between_the_last_look_and_the_transaction", OnDemand),
            ("with_everything_in_the_target_but_the_commit", OnDemand),
        ],
    ),
    ("memory", &[("memory_stays_bounded_while_the_target_stands_still", OnDemand)]),
    ("publish", &[("records_become_visible_on_the_ticks_only", OnDemand)]),
    (
        "tables",
        &[
            ("a_changed_table_holds_and_stops_alone", OnDemand),
            ("one_table_is_asked_about_alone", OnDemand),
            ("where_one_table_fails_the_answer_says_what_was_done", OnDemand),
        ],
    ),
    (
        "replay",
        &[
            ("what_crossed_is_made_again_byte_for_byte", OnDemand),
            ("what_hung_on_destroyed_keys_is_told_with_who_destroyed_them", OnDemand),
            ("what_cannot_be_made_again_is_told_apart", OnDemand),
            ("a_row_that_the_gate_refuses_parts_no_delete_from_its_tombstone", OnDemand),
            ("what_was_aborted_parts_no_delete_from_its_tombstone", OnDemand),
        ],
    ),
    (
        "trainer",
        &[
            ("a_killed_trainer_has_each_row_once_and_takes_nothing_that_is_not_approved", OnDemand),
            ("what_an_earlier_shard_took_behind_the_last_transaction_is_no_lag", OnDemand),
            ("what_a_release_does_not_allow_any_more_is_handed_to_nobody", OnDemand),
            ("what_is_revoked_while_it_is_read_is_handed_to_nobody", OnDemand),
            ("an_example_trains_on_what_was_handed_over", OnDemand),
            ("avro_is_handed_over_with_its_types", OnDemand),
        ],
    ),
    (
        "shred",
        &[
            (
                "a_shredded_subject_is_gone_and_a_backup_with_the_wrapping_key_brings_it_back",
                OnDemand,
            ),
            ("a_shredded_subject_is_gone_from_a_backup_too_where_a_token_wrapped_it", OnDemand),
        ],
    ),
];

const IN_MEMORY: &str = "the development broker holds all in memory";
const ONE_LISTENER: &str = "all clients of a development broker are behind its proxy";

/// Files of cases that are about something else than what crosses, how often, and what does not.
const ELSEWHERE: &[&str] = &[
    "aggregates",
    "backup",
    "bench",
    "bundles",
    "captures",
    "changes",
    "connect_rest",
    "coverage",
    "debezium",
    "demo",
    "editors",
    "enrich",
    "federated",
    "files",
    "five_minutes",
    "formats",
    "install",
    "keys",
    "leak_scan",
    "leaktest",
    "life",
    "min_group",
    "page",
    "peers",
    "policy",
    "protections",
    "rig_itself",
    "secured",
    "selected",
    "sql",
    "swap",
    "tools",
    "verbs",
    "verifiers",
    "walked",
    "witness",
];

macro_rules! every_run {
    ($($file:ident::$case:ident,)*) => {
        /// The cases that run on the development broker in every run.
        mod every_run {
            $(#[test]
            fn $case() {
                super::rig::on(super::Kind::Development, crate::cases::$file::$case);
            })*
        }
        const EVERY_RUN: &[(&str, &str)] = &[$((stringify!($file), stringify!($case)),)*];
    };
}
every_run! {
    source_loss::records_that_retention_took_hold_their_partition_only,
    source_loss::partitions_that_are_added_are_read_from_their_start,
    source_loss::what_was_lost_before_a_start_is_committed_as_held,
    bad_input::bad_records_are_held_or_quarantined_and_neighbours_go_on,
    redrive::a_redriven_record_without_a_key_has_no_newer_one,
    epochs::what_was_set_aside_closes_with_its_epoch_and_the_stream_goes_on,
}

/// A file's cases, by name: what each does, as text.
fn cases(text: &str) -> BTreeMap<&str, &str> {
    let after = text.split("#[test]").skip(1);
    let named = after.filter_map(|case| {
        let name = case.split_once("fn ")?.1.split_once('(')?.0;
        Some((name, case))
    });
    named.collect()
}

/// What is wrong with the table of one file.
fn faults(
    file: &str,
    text: &str,
    listed: &[(&str, There)],
    every_run: &[(&str, &str)],
) -> Vec<String> {
    let all = cases(text);
    let twins: Vec<&str> = listed.iter().filter_map(|(_, there)| twin(*there)).collect();
    let known = |name: &str| {
        name.starts_with("control_")
            || twins.contains(&name)
            || listed.iter().any(|(case, _)| *case == name)
    };
    let mut faults: Vec<String> = all
        .keys()
        .filter(|name| !known(name))
        .map(|name| format!("{file}::{name} is not listed"))
        .collect();
    for (case, there) in listed {
        let Some(does) = all.get(case) else {
            faults.push(format!("{file}::{case} is not there"));
            continue;
        };
        if listed.iter().filter(|(other, _)| other == case).count() > 1 {
            faults.push(format!("{file}::{case} is listed more than once"));
        }
        let left_out = does.contains("rig::is_kafka(");
        let holds = match there {
            Too => !left_out,
            OnDemand => !left_out,
            As(other) => all.get(other).is_some_and(|does| does.contains("Kind::Development")),
            Not(why) => left_out && does.contains(why),
        };
        if !holds || every_run.contains(&(file, case)) != (*there == Too) {
            faults.push(format!("{file}::{case} is not as it is listed: {there:?}"));
        }
    }
    faults
}

fn twin(there: There) -> Option<&'static str> {
    if let As(other) = there { Some(other) } else { None }
}

/// A case of delivery cannot be added without saying where it runs.
#[test]
fn each_case_of_delivery_is_listed_with_where_it_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut faulty = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the cases") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a file of cases");
        let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let delivery = DELIVERY.iter().find(|(of, _)| *of == file);
        match delivery {
            Some((_, listed)) => {
                seen += 1;
                faulty.extend(faults(&file, &text, listed, EVERY_RUN));
            }
            None if ELSEWHERE.contains(&file.as_str()) => seen += 1,
            None => faulty.push(format!("{file} is in neither list: is it of delivery?")),
        }
    }
    assert_eq!(
        seen,
        DELIVERY.len() + ELSEWHERE.len(),
        "a file that is in both lists, or not there"
    );
    assert!(faulty.is_empty(), "{}", faulty.join("\n"));
}

/// What makes a pipeline of the name that follows. The cases share their brokers, where a name is taken once.
const NAMED_BY: [&str; 7] = [
    "Setup::customers(\"",
    "place_with(\"",
    "Yard::new(\"",
    "Yard::with(\"",
    "setup(\"",
    "revoked_under_load(\"",
    "goes_on_when_fenced(\"",
];

/// The names in a text that are in `taken` already; the others are put there.
fn taken_twice(text: &str, taken: &mut BTreeSet<String>) -> Vec<String> {
    let names = NAMED_BY.iter().flat_map(|by| text.split(by).skip(1));
    let names = names.filter_map(|after| Some(after.split_once('"')?.0.to_owned()));
    names.filter(|name| !taken.insert(name.clone())).collect()
}

#[test]
fn no_two_cases_make_a_pipeline_of_one_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut taken = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the cases") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a file of cases");
        let twice = taken_twice(&text, &mut taken);
        assert!(twice.is_empty(), "{}: {twice:?} is another case's", path.display());
    }
    assert!(taken.len() > 50, "{} names", taken.len());
}

#[test]
fn control_a_name_that_is_taken_is_found() {
    let mut taken = BTreeSet::new();
    let text = "Setup::customers(\"a\", x); Yard::new(\"b\"); let c = setup(\"c\")";
    assert_eq!(taken_twice(text, &mut taken), Vec::<String>::new());
    assert_eq!(taken_twice("place_with(\"d\"); Yard::with(\"a\", x)", &mut taken), ["a"]);
}

#[test]
fn control_cases_that_are_not_as_listed_are_found() {
    let text = "#[test]\nfn a() { rig::clusters() }\n#[test]\nfn b() { if !rig::is_kafka(\"b\", \"no disk\") {} }\n\
                #[test]\nfn short() { of(Kind::Development) }\n#[test]\nfn control_c() {}";
    let fine = [("a", As("short")), ("b", Not("no disk"))];
    assert_eq!(faults("f", text, &fine, &[]), Vec::<String>::new());
    let wrong: [(&[(&str, There)], &[(&str, &str)], usize); 9] = [
        (&[("a", OnDemand), ("b", Not("no disk"))], &[], 1),
        (&[("a", As("short"))], &[], 1),
        (&[("a", As("short")), ("b", Not("no TLS"))], &[], 1),
        (&[("a", As("short")), ("b", OnDemand)], &[], 1),
        (&[("a", As("b")), ("b", Not("no disk"))], &[], 2),
        (&[("a", Too), ("b", Not("no disk")), ("short", OnDemand)], &[], 1),
        (&[("a", As("short")), ("b", Not("no disk"))], &[("f", "a")], 1),
        (&[("a", As("short")), ("a", As("short")), ("b", Not("no disk"))], &[], 2),
        (&[("a", As("short")), ("b", Not("no disk")), ("gone", OnDemand)], &[], 1),
    ];
    for (listed, every_run, count) in wrong {
        let found = faults("f", text, listed, every_run);
        assert_eq!(found.len(), count, "{listed:?}: {found:?}");
    }
}
