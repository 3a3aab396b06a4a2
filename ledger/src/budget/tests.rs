//! The protocol, the caps, crashes between any two entries, and what the ledger gives away.

use proptest::prelude::*;

use super::*;
use crate::canonical::sha256;
use crate::log::{LedgerFault, SourceDigest, SpanEntry};
use crate::verify::{self, Expect};

const DAY: i64 = 24 * 3600 * 1000;
const SPACE: &str = "customer";

fn keys() -> LogKeys {
    LogKeys::new(&[1; 32], &[2; 32])
}

fn account(home: &tempfile::TempDir) -> Account {
    Account::open(home.path(), SPACE, keys(), None).unwrap()
}

fn opening(policy: &str, level: Level, rho: u64) -> Opening {
    Opening {
        space: SPACE.into(),
        policy: policy.into(),
        digest: "ab".repeat(32),
        neighbours: Neighbours::AddRemove,
        caps: Caps { level, rho, delta: 1000, rho_life: None },
    }
}

fn weeks() -> Level {
    Level::UnitPeriod { origin_ms: 0, length_ms: 7 * DAY }
}

fn reserve(policy: &str, day: i64, rho: u64) -> Reserve {
    reserve_of(policy, Window { start_ms: day * DAY, end_ms: (day + 1) * DAY }, rho)
}

fn reserve_of(policy: &str, window: Window, rho: u64) -> Reserve {
    let release = ReleaseId { policy: policy.into(), window, query: "visits".into(), revision: 0 };
    Reserve {
        release,
        digest: "ab".repeat(32),
        spans: vec![SpanEntry { topic: "t".into(), partition: 0, start: 10, end: 20 }],
        inputs: vec![SourceDigest { topic: "t".into(), partition: 0, mac: "cd".repeat(32) }],
        rho,
        delta: 0,
        coordinates: 12,
        noise_key: "0f".repeat(16),
        tables: vec!["ef".repeat(32)],
        software: "douane 0.1.0".into(),
    }
}

fn full(fault: BudgetFault) -> (String, What, u64, Option<i64>) {
    match fault {
        BudgetFault::Full { policy, what, left, renews_ms, .. } => (policy, what, left, renews_ms),
        other => panic!("{other}"),
    }
}

#[test]
fn a_release_is_charged_once_and_bound_to_one_output() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", weeks(), 100)).unwrap();
    let reserve = reserve("p", 0, 30);
    let id = reserve.release.clone();
    assert!(matches!(a.computed(&id, b"f", &[7; 32]), Err(BudgetFault::Unknown { .. })));
    a.reserve(&reserve).unwrap();
    assert!(matches!(a.reserve(&reserve), Err(BudgetFault::Exists { .. })));
    assert!(matches!(a.committed(&id), Err(BudgetFault::NotComputed { .. })));
    a.computed(&id, b"f", &[7; 32]).unwrap();
    let entries = a.log.next_index();
    a.computed(&id, b"f", &[7; 32]).unwrap();
    assert_eq!(a.log.next_index(), entries, "the same again writes nothing");
    assert!(matches!(a.computed(&id, b"f", &[8; 32]), Err(BudgetFault::Differs { .. })));
    assert!(matches!(a.computed(&id, b"g", &[7; 32]), Err(BudgetFault::Differs { .. })));
    a.committed(&id).unwrap();
    a.committed(&id).unwrap();
    assert!(matches!(a.void(&id, "late"), Err(BudgetFault::Over { .. })));
    a.computed(&id, b"f", &[7; 32]).unwrap();
    assert!(matches!(a.computed(&id, b"f", &[8; 32]), Err(BudgetFault::Differs { .. })));
    assert_eq!(a.log.next_index(), entries + 1);
    assert_eq!(a.balance().spent().rho, 30);
    assert_eq!(a.balance().spent_by("p").coordinates, 12);
    let before = a.balance().clone();
    drop(a);
    assert_eq!(*account(&home).balance(), before, "read back, the same");
}

#[test]
fn a_void_keeps_its_charge_and_its_id() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", weeks(), 50)).unwrap();
    let first = reserve("p", 0, 30);
    a.reserve(&first).unwrap();
    a.void(&first.release, "the input is gone").unwrap();
    assert!(matches!(a.void(&first.release, "again"), Err(BudgetFault::Over { .. })));
    assert!(matches!(a.reserve(&first), Err(BudgetFault::Exists { .. })));
    let mut second = reserve("p", 0, 30);
    second.release.revision = 1;
    let (policy, what, left, renews) = full(a.reserve(&second).unwrap_err());
    assert_eq!((policy.as_str(), what, left), ("p", What::Rho, 20));
    assert_eq!(renews, Some(7 * DAY));
    second.rho = 20;
    a.reserve(&second).unwrap();
}

#[test]
fn every_policys_cap_binds_every_release() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("strict", weeks(), 40)).unwrap();
    a.open_policy(&opening("lax", Level::UnitLifetime, 1000)).unwrap();
    a.reserve(&reserve("lax", 0, 25)).unwrap();
    a.reserve(&reserve("strict", 1, 15)).unwrap();
    let fault = full(a.reserve(&reserve("lax", 2, 1)).unwrap_err());
    assert_eq!((fault.0.as_str(), fault.2), ("strict", 0), "a new policy brings no fresh budget");
    a.reserve(&reserve("lax", 7, 40)).unwrap();
    // Raised by a new opening of the policy that has it, and by nothing else.
    a.open_policy(&opening("newcomer", weeks(), 4000)).unwrap();
    assert!(a.reserve(&reserve("newcomer", 2, 1)).is_err());
    a.open_policy(&opening("strict", weeks(), 41)).unwrap();
    a.reserve(&reserve("newcomer", 2, 1)).unwrap();
    let balance = a.balance();
    assert_eq!(balance.spent_at(balance.policy("strict").unwrap(), 2 * DAY).rho, 41);
    assert_eq!(balance.spent_at(balance.policy("strict").unwrap(), 9 * DAY).rho, 40);
    assert_eq!(balance.spent_at(balance.policy("lax").unwrap(), 0).rho, 81);
}

#[test]
fn a_window_over_two_periods_is_charged_to_both() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", weeks(), 10)).unwrap();
    let mut straddling = reserve("p", 6, 6);
    straddling.release.window.end_ms += DAY;
    a.reserve(&straddling).unwrap();
    assert_eq!(full(a.reserve(&reserve("p", 0, 5)).unwrap_err()).3, Some(7 * DAY));
    assert_eq!(full(a.reserve(&reserve("p", 10, 5)).unwrap_err()).3, Some(14 * DAY));
    a.reserve(&reserve("p", 14, 10)).unwrap();
}

#[test]
fn any_w_windows_in_a_row_stay_below_a_cap() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", Level::WEvent { length_ms: 3 * DAY }, 10)).unwrap();
    for (day, rho) in [(0, 4), (1, 3), (2, 3)] {
        a.reserve(&reserve("p", day, rho)).unwrap();
    }
    assert_eq!(full(a.reserve(&reserve("p", 3, 5)).unwrap_err()).3, Some(4 * DAY));
    a.reserve(&reserve("p", 3, 4)).unwrap();
    a.reserve(&reserve("p", 4, 3)).unwrap();
    // One that comes late is held against the windows after it as well.
    let mut late = reserve("p", 2, 1);
    late.release.query = "other".into();
    assert!(a.reserve(&late).is_err());
    assert_eq!(full(a.reserve(&reserve("p", 5, 11)).unwrap_err()).3, None, "never");
}

fn window(start_halves: i64, halves: i64) -> Window {
    let start_ms = start_halves * DAY / 2;
    Window { start_ms, end_ms: start_ms + halves * DAY / 2 }
}

/// Windows of one length that begin where others are half over: one day touches three of them.
#[test]
fn windows_of_another_phase_are_in_the_same_stretch() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("a", Level::WEvent { length_ms: DAY }, 2)).unwrap();
    a.open_policy(&opening("b", Level::UnitLifetime, 1000)).unwrap();
    a.reserve(&reserve("a", 0, 1)).unwrap();
    a.reserve(&reserve_of("b", window(1, 2), 1)).unwrap();
    // From noon to noon there would be three.
    let over = a.reserve(&reserve("a", 1, 1)).unwrap_err();
    assert_eq!(full(over), ("a".into(), What::Rho, 0, Some(3 * DAY / 2)));
    a.reserve(&reserve("a", 2, 1)).unwrap();
    a.reserve(&reserve_of("b", window(3, 2), 1)).unwrap();
    // And on day 2, with the halves of `b` before and after it.
    let over = a.reserve(&reserve_of("b", window(5, 2), 1)).unwrap_err();
    assert_eq!(full(over), ("a".into(), What::Rho, 0, Some(3 * DAY)));
    // Control: where it no longer touches day 2 it fits, as it says.
    a.reserve(&reserve_of("b", window(6, 2), 1)).unwrap();
}

/// A month that is charged at its end lies over days that are charged after it.
#[test]
fn a_long_window_is_in_every_stretch_that_it_touches() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("days", Level::WEvent { length_ms: 7 * DAY }, 7)).unwrap();
    a.open_policy(&opening("month", Level::UnitLifetime, 1000)).unwrap();
    let month = Window { start_ms: 0, end_ms: 30 * DAY };
    a.reserve(&reserve_of("month", month, 6)).unwrap();
    a.reserve(&reserve("days", 1, 1)).unwrap();
    let (_, what, left, renews) = full(a.reserve(&reserve("days", 2, 1)).unwrap_err());
    assert_eq!((what, left), (What::Rho, 0));
    // One a week beside the month, and all of them in the weeks that do not touch it.
    assert_eq!(renews, Some(8 * DAY));
    a.reserve(&reserve("days", 8, 1)).unwrap();
    assert!(a.reserve(&reserve("days", 9, 1)).is_err());
    for day in 36..45 {
        a.reserve(&reserve("days", day, 1)).unwrap();
    }
}

#[test]
fn delta_and_life_have_caps_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    let mut policy = opening("p", weeks(), 100);
    policy.caps.rho_life = Some(120);
    a.open_policy(&policy).unwrap();
    // Of 1000, half: the rest is that of stating an epsilon at all.
    a.reserve(&Reserve { delta: 300, ..reserve("p", 0, 50) }).unwrap();
    let fault = a.reserve(&Reserve { delta: 201, ..reserve("p", 1, 5) }).unwrap_err();
    assert!(fault.to_string().contains("renews at 1970-01-08T00:00:00Z"), "{fault}");
    assert_eq!(full(fault).1, What::Delta);
    a.reserve(&Reserve { delta: 200, ..reserve("p", 1, 50) }).unwrap();
    let fault = full(a.reserve(&reserve("p", 7, 21)).unwrap_err());
    assert_eq!((fault.1, fault.2, fault.3), (What::RhoLife, 20, None));
    a.reserve(&reserve("p", 7, 20)).unwrap();
}

#[test]
fn the_day_it_runs_out() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", weeks(), 30)).unwrap();
    a.reserve(&reserve("p", 0, 10)).unwrap();
    assert_eq!(a.balance().runs_out_ms(0), Some(4 * DAY), "the fourth of the week");
    a.open_policy(&opening("p", weeks(), 70)).unwrap();
    assert_eq!(a.balance().runs_out_ms(0), None, "it renews before it is empty");
    a.open_policy(&opening("q", Level::UnitLifetime, 1000)).unwrap();
    assert_eq!(a.balance().runs_out_ms(0), Some(101 * DAY));
}

#[test]
fn refuses_what_no_account_has() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", weeks(), 100)).unwrap();
    let policies: [fn(&mut Opening); 6] = [
        |o| o.space = "other".into(),
        |o| o.policy = String::new(),
        |o| o.digest = "ab".into(),
        |o| o.caps.rho = 0,
        |o| o.caps.level = Level::UnitPeriod { origin_ms: 0, length_ms: 0 },
        |o| o.caps.level = Level::WEvent { length_ms: -1 },
    ];
    for spoil in policies {
        let mut opening = opening("p", weeks(), 100);
        spoil(&mut opening);
        assert!(a.open_policy(&opening).is_err(), "{opening:?}");
    }
    let reserves: [fn(&mut Reserve); 14] = [
        |r| r.rho = 0,
        |r| r.digest = "00".repeat(32),
        |r| r.release.policy = "q".into(),
        |r| r.release.query = "a\u{1b}[2K".into(),
        |r| r.release.window.end_ms = r.release.window.start_ms,
        |r| r.release.window.start_ms = i64::MIN,
        |r| r.release.window.end_ms = 5000 * 7 * DAY,
        |r| r.spans[0].end = 9,
        |r| r.spans.clear(),
        |r| r.inputs[0].partition = 1,
        |r| r.inputs[0].mac = "cd".into(),
        |r| r.tables.clear(),
        |r| r.noise_key = String::new(),
        |r| r.software = String::new(),
    ];
    let size = a.log.next_index();
    for spoil in reserves {
        let mut reserve = reserve("p", 0, 10);
        spoil(&mut reserve);
        assert!(a.reserve(&reserve).is_err(), "{reserve:?}");
    }
    assert_eq!(a.log.next_index(), size, "nothing is written of what is refused");
}

#[test]
fn one_holder_and_an_older_copy_is_seen() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", weeks(), 100)).unwrap();
    let again = Account::open(home.path(), SPACE, keys(), None);
    assert!(matches!(again, Err(BudgetFault::Ledger(LedgerFault::Locked { .. }))));
    let copy = tempfile::tempdir().unwrap();
    copy_of(home.path(), copy.path());
    a.reserve(&reserve("p", 0, 10)).unwrap();
    let head = a.head();
    drop(a);
    let old = Account::open(copy.path(), SPACE, keys(), Some(&head));
    assert!(matches!(old, Err(BudgetFault::Ledger(LedgerFault::LedgerLost { .. }))));
    // Control: nobody keeps a head, and the charge is forgotten.
    assert_eq!(account(&copy).balance().spent().rho, 0);
    let a = Account::open(home.path(), SPACE, keys(), Some(&head)).unwrap();
    assert_eq!(a.balance().spent().rho, 10);
    drop(a);
    // A later holder still goes on from a head of an earlier one.
    assert!(Account::open(home.path(), SPACE, keys(), Some(&head)).is_ok());
}

fn copy_of(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => {
                std::fs::create_dir_all(&to).unwrap();
                copy_of(&entry.path(), &to);
            }
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn the_verifier_reads_it_with_code_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", weeks(), 100)).unwrap();
    // Two releases at once, of two pipelines.
    let (one, two) = (reserve("p", 0, 10), reserve("p", 1, 10));
    a.reserve(&one).unwrap();
    a.reserve(&two).unwrap();
    a.computed(&two.release, b"f", &[7; 32]).unwrap();
    a.committed(&two.release).unwrap();
    drop(a);
    let mut a = account(&home);
    a.void(&one.release, "input gone").unwrap();
    let signer = SigningKey::from_seed(&[9; 32]).unwrap();
    a.publish(&signer, "example.com/customer").unwrap();
    let report = verify::log(&home.path().join(SPACE), &Expect::default()).unwrap();
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!((report.committed, report.void, report.entries), (1, 1, 6));
    assert_eq!(report.checkpoint, Some(6));
    // Controls: what the writer would not write, the verifier does not let pass.
    for (first, then) in [
        (None, Entry::Committed { of: 1 }),
        (Some(Entry::Committed { of: 7 }), Entry::Committed { of: 7 }),
    ] {
        let home = tempfile::tempdir().unwrap();
        let mut log = Log::control(home.path(), SPACE, keys()).unwrap();
        log.append(&Entry::Open(opening("p", weeks(), 100))).unwrap();
        log.append(&Entry::Reserve(one.clone())).unwrap();
        if let Some(first) = first {
            assert!(log.append(&first).is_err());
        }
        log.append(&Entry::Committed { of: 1 }).unwrap();
        log.sync().unwrap();
        assert!(log.append(&then).is_err(), "it has an outcome");
        let report = verify::log(&home.path().join(SPACE), &Expect::default()).unwrap();
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        assert!(matches!(read(home.path(), SPACE), Err(BudgetFault::Contradiction { index: 2 })));
    }
}

/// What an attacker does who has the ledger and the noised release: every value near the one that
/// was released, hashed as the ledger hashes.
#[test]
fn sums_are_not_found_by_trying() {
    let home = tempfile::tempdir().unwrap();
    let mut a = account(&home);
    a.open_policy(&opening("p", weeks(), 100)).unwrap();
    let reserve = reserve("p", 0, 10);
    a.reserve(&reserve).unwrap();
    let (truth, released, sigma) = (1234_i64, 1241_i64, 10_i64);
    let f = |count: i64| [b"one group, one count: ".as_slice(), &count.to_be_bytes()].concat();
    a.computed(&reserve.release, &f(truth), &sha256(&released.to_be_bytes())).unwrap();
    let entries = log::read(home.path(), SPACE, None).unwrap();
    let kept = serde_json::to_string(&entries.into_iter().map(|(_, e)| e).collect::<Vec<_>>());
    let kept = kept.unwrap();
    let tried = || (released - 10 * sigma)..=(released + 10 * sigma);
    let elsewhere = tempfile::tempdir().unwrap();
    let others = LogKeys::new(&[1; 32], &[3; 32]);
    let others = Account::open(elsewhere.path(), SPACE, others, None).unwrap();
    let guesses: [&dyn Fn(i64) -> String; 3] = [
        &|count| hex(&sha256(&f(count))),
        // Without the key: any other one.
        &|count| hex(&others.mac_of_sums(&reserve.release, &f(count))),
        &|count| hex(&a.mac_of_sums(&reserve.release, &f(count))),
    ];
    let found = |at: usize| tried().filter(|count| kept.contains(&guesses[at](*count))).count();
    assert_eq!(found(0), 0, "a plain hash");
    assert_eq!(found(1), 0, "another key");
    // Control: with the key the sums are found, so the guesses are made the right way; and where
    // the ledger kept a plain hash, anybody would find them.
    assert_eq!(found(2), 1);
    let plain = hex(&sha256(&f(truth)));
    assert_eq!(tried().filter(|count| hex(&sha256(&f(*count))) == plain).count(), 1);
}

#[test]
fn what_was_read_is_chained_from_record_to_record() {
    let key = [2; 32];
    let next = |before: &[u8; 32], offset, value: &[u8]| {
        chain(&key, before, offset, (Some(b"k".as_slice()), Some(value)))
    };
    let one = next(&[0; 32], 1, b"a");
    assert_ne!(next(&one, 2, b"b"), next(&one, 3, b"b"));
    assert_ne!(next(&one, 2, b"b"), next(&[0; 32], 2, b"b"));
    assert_ne!(chain(&key, &one, 2, (None, None)), chain(&key, &one, 2, (Some(b""), None)));
    // By hand, as docs/formats.md has it.
    let mut bytes = Vec::new();
    for (kind, field) in [
        (b't', &b"douane/v1/dp-input"[..]),
        (b'b', &[0; 32]),
        (b'i', &1_i64.to_be_bytes()),
        (b'b', b"k"),
        (b'n', b""),
    ] {
        bytes.push(kind);
        bytes.extend_from_slice(&(field.len() as u32).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    let by_hand = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &bytes);
    assert_eq!(chain(&key, &[0; 32], 1, (Some(b"k"), None)), by_hand.as_ref());
}

/// A step of whoever closes windows; the account may be dropped (a crash) after any of them.
#[derive(Clone, Debug)]
enum Step {
    Open(usize, u64),
    Reserve(usize, Window, u64),
    Computed(usize, Window, u8),
    Committed(usize, Window),
    Void(usize, Window),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let policy = 0..3_usize;
    // Of several lengths, and beginning at noon as well as at midnight.
    let day = (0..10_i64, prop_oneof![4 => Just(2_i64), 1 => Just(5)])
        .prop_map(|(start, halves)| window(start, halves));
    prop_oneof![
        1 => (policy.clone(), 1..60_u64).prop_map(|(p, rho)| Step::Open(p, rho)),
        4 => (policy.clone(), day.clone(), 1..12_u64).prop_map(|(p, d, r)| Step::Reserve(p, d, r)),
        3 => (policy.clone(), day.clone(), 0..2_u8).prop_map(|(p, d, o)| Step::Computed(p, d, o)),
        2 => (policy.clone(), day.clone()).prop_map(|(p, d)| Step::Committed(p, d)),
        1 => (policy, day).prop_map(|(p, d)| Step::Void(p, d)),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is asked for in whatever order: at every prefix of the log each cap in force holds,
    /// a release is charged once and has one output, and what is read back is what was held.
    #[test]
    fn caps_hold_at_every_prefix(steps in prop::collection::vec(step(), 1..60)) {
        let home = tempfile::tempdir().unwrap();
        let levels = [weeks(), Level::UnitLifetime, Level::WEvent { length_ms: 2 * DAY }];
        let names = ["a", "b", "c"];
        let mut a = account(&home);
        for step in &steps {
            let id = |p: usize, day| reserve_of(names[p], day, 1).release;
            // Each may be refused; what is written is looked at below.
            let _ = match step {
                Step::Open(p, rho) => a.open_policy(&opening(names[*p], levels[*p], *rho)),
                Step::Reserve(p, day, rho) => a.reserve(&reserve_of(names[*p], *day, *rho)).map(drop),
                Step::Computed(p, day, out) => a.computed(&id(*p, *day), b"f", &[*out; 32]),
                Step::Committed(p, day) => a.committed(&id(*p, *day)),
                Step::Void(p, day) => a.void(&id(*p, *day), "x"),
                Step::Crash => {
                    let before = a.balance().clone();
                    drop(a);
                    a = account(&home);
                    prop_assert_eq!(a.balance(), &before);
                    Ok(())
                }
            };
        }
        drop(a);
        let entries = log::read(home.path(), SPACE, None).unwrap();
        let mut caps: std::collections::BTreeMap<String, Caps> = Default::default();
        let mut charges: Vec<(Window, u64)> = Vec::new();
        let mut outputs: std::collections::BTreeMap<u64, String> = Default::default();
        for (_, entry) in entries {
            match entry {
                Entry::Open(opening) => drop(caps.insert(opening.policy, opening.caps)),
                Entry::Reserve(reserve) => {
                    charges.push((reserve.release.window, reserve.rho));
                    // The levels by their definitions, without any of the sums.
                    for cap in caps.values() {
                        let sum = |admit: &dyn Fn(Window) -> bool| -> u64 {
                            let own = |w: Window| admit(w) && admit(reserve.release.window);
                            charges.iter().filter(|c| own(c.0)).map(|c| c.1).sum()
                        };
                        match cap.level {
                            Level::UnitLifetime => prop_assert!(sum(&|_| true) <= cap.rho),
                            Level::UnitPeriod { length_ms, .. } => for week in 0..3 {
                                let from = week * length_ms;
                                let to = from + length_ms;
                                let touches = |w: Window| w.start_ms < to && w.end_ms > from;
                                prop_assert!(sum(&touches) <= cap.rho);
                            },
                            // At every instant at which a window begins or ends.
                            Level::WEvent { length_ms } => for half in -8..50 {
                                let to = half * DAY / 2;
                                let from = to - length_ms;
                                if !charges.iter().any(|c| c.0.end_ms == to || c.0.start_ms == from) {
                                    continue;
                                }
                                let touches = |w: Window| w.start_ms < to && w.end_ms > from;
                                prop_assert!(sum(&touches) <= cap.rho);
                            },
                        }
                    }
                }
                Entry::Computed(computed) => {
                    let before = outputs.insert(computed.of, computed.output.clone());
                    prop_assert!(before.is_none(), "two outputs");
                }
                _ => {}
            }
        }
    }
}

/// Entries as somebody would write them who does not ask the account: the verifier finds what none can be.
#[test]
fn the_verifier_takes_no_account_that_cannot_be_bad_charges() {
    let open = |life| {
        let mut open = opening("p", weeks(), 100);
        open.caps.rho_life = life;
        Entry::Open(open)
    };
    let charge = |day, rho| Entry::Reserve(reserve("p", day, rho));
    let renamed = |day| Entry::Reserve(Reserve { digest: "cd".repeat(32), ..reserve("p", day, 1) });
    let for_ever = Entry::Open(opening("p", Level::UnitLifetime, 50));
    for (entries, expected) in [
        // The controls: a cap is reached, and none is stated.
        (vec![open(Some(60)), charge(0, 30), charge(1, 30)], None),
        (vec![open(None), charge(0, 90), charge(1, 90)], None),
        // A cap that comes later binds what comes later.
        (vec![open(None), charge(0, 90), open(Some(60))], None),
        (vec![open(None), charge(0, 0)], Some((1, "charges nothing"))),
        (vec![charge(0, 1)], Some((0, "not open"))),
        (vec![open(None), renamed(0)], Some((1, "not open"))),
        (vec![open(None), charge(0, 1), charge(0, 1)], Some((2, "charged before"))),
        (vec![open(Some(60)), charge(0, 30), charge(1, 31)], Some((2, "for life"))),
        (vec![for_ever, charge(0, 30), charge(1, 21)], Some((2, "for life"))),
    ] {
        let home = tempfile::tempdir().unwrap();
        let mut log = Log::take_over(home.path(), SPACE, None, keys()).unwrap();
        for entry in &entries {
            log.append(entry).unwrap();
        }
        let head = log.sync().unwrap();
        drop(log);
        let expect = Expect { head: Some(head), ..Expect::default() };
        let report = verify::log(&home.path().join(SPACE), &expect).unwrap();
        let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        match expected {
            None => assert!(found.is_empty(), "{found:?}"),
            Some((index, why)) => {
                let named = format!("entry {index}: ");
                let is_it = |found: &String| found.starts_with(&named) && found.ends_with(why);
                assert!(matches!(&found[..], [one] if is_it(one)), "{expected:?}: {found:?}");
            }
        }
    }
}
