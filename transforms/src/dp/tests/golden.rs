//! Numbers from elsewhere: epsilon and delta in 200-bit arithmetic (testdata/dp/accountant.py),
//! sensitivities and sigmas by hand, bytes as docs/formats.md has them.

use aws_lc_rs::hmac;
use douane_kernels::alias_table::{AliasTable, Variance};
use douane_schemas::keys::{Key, Purpose, RootKey};
use serde_json::Value as Json;

use super::super::accountant::{Delta, Rho, delta, epsilon, loss, shown};
use super::super::bounding::{Bounded, Change, GroupKey, Limits, Rows};
use super::super::decimal::{Decimal, Grid};
use super::super::decode::{Value, value};
use super::super::design::{At, Column, Design, Groups, Query, Request, Statistic};
use super::super::release::{Noised, ReleaseId, Tables, release, threshold};
use super::super::sums::{Exact, Sums};
use super::super::window::Window;

pub(super) fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(super) fn rho(text: &str) -> Rho {
    Rho::declared(d(text)).unwrap()
}

pub(super) fn key(name: &str) -> GroupKey {
    GroupKey::new([Some(name)])
}

pub(super) fn column(grid: &str, lower: &str, upper: &str) -> Column {
    Column { grid: Grid::new(d(grid)).unwrap(), lower: d(lower), upper: d(upper) }
}

/// One column of steps 0 to 100, up to 4 groups of a person, up to 3 rows in each.
pub(super) fn request(statistics: &[Statistic], rho: Rho) -> Request {
    Request {
        groups: Groups::Public((0..8).map(|n| key(&n.to_string())).collect()),
        groups_per_unit: 4,
        rows_per_group: 3,
        units_max: 1 << 32,
        columns: vec![column("1", "0", "100")],
        statistics: statistics.iter().map(|statistic| (statistic.clone(), 1)).collect(),
        rho,
    }
}

/// What the code gives beside the exact number, which it may pass by a billionth and not be below.
fn not_below(found: f64, exact: &str) {
    let nearest: f64 = exact.parse().unwrap();
    // The exact number rounded up, where its nearest float is below it.
    assert!(found >= nearest, "{found} is below {exact}");
    let most = nearest * (1.0 + 1e-9) + 1e-12;
    assert!(found <= most, "{found} is not within a billionth of {exact}");
}

#[test]
fn epsilon_and_delta_are_those_of_exact_arithmetic() {
    let json = include_str!("../../../testdata/dp/accountant.json");
    let golden: Json = serde_json::from_str(json).unwrap();
    let number = |case: &Json, name: &str| case[name].as_f64().unwrap();
    let mut cases = 0;
    for case in golden["epsilon"].as_array().unwrap() {
        let found = epsilon(number(case, "rho"), number(case, "delta"));
        not_below(found, case["epsilon"].as_str().unwrap());
        // The exact curve of a Gaussian: no bound for all of zCDP can be below it.
        let gauss: f64 = case["gauss"].as_str().unwrap().parse().unwrap();
        assert!(found >= gauss);
        cases += 1;
    }
    for case in golden["delta"].as_array().unwrap() {
        let found = delta(number(case, "rho"), number(case, "epsilon"));
        let exact: f64 = case["delta"].as_str().unwrap().parse().unwrap();
        assert!(found >= exact && found <= exact * (1.0 + 1e-9), "{found} beside {exact}");
        cases += 1;
    }
    assert_eq!(cases, 100);
}

/// Published beside OpenDP 0.16's `cdp_delta` and dp-accounting 0.6.0, to the digits given there.
#[test]
fn epsilon_is_that_of_other_libraries() {
    for (rho, delta, digits, published) in [
        (0.005, 1e-6, 9, "0.429941469"),
        (0.005, 1e-9, 9, "0.564893284"),
        (0.5, 1e-6, 9, "5.221534445"),
        (0.5, 1e-9, 9, "6.474070021"),
        (0.45625, 1e-6, 4, "4.9584"),
        (0.0936, 1e-9, 4, "2.6217"),
        (0.015, 1e-6, 12, "0.771734224818"),
        (0.015, 1e-9, 11, "1.00093894819"),
        (0.1, 1e-6, 11, "2.14193892839"),
        (0.1, 1e-9, 11, "2.71548188673"),
        (1.0, 1e-6, 11, "7.76621662531"),
        (1.0, 1e-9, 11, "9.52146367179"),
        // Planning: what rho a round epsilon takes.
        (0.003953, 1e-9, 3, "0.500"),
        (0.014973, 1e-9, 3, "1.000"),
        (0.120582, 1e-9, 3, "3.000"),
        (0.732833, 1e-9, 3, "8.000"),
    ] {
        assert_eq!(format!("{:.digits$}", epsilon(rho, delta)), published, "rho {rho}");
    }
    assert_eq!(format!("{:.11e}", delta(0.005, 1.0)), "1.16261911183e-24");
    assert_eq!(format!("{:.11e}", delta(0.1, 1.0)), "8.93324577182e-3");
    // dp-accounting's PLD is tighter than any bound from zCDP alone, by less than a tenth.
    for (rho, delta, pld) in [
        (0.005, 1e-6, 0.3968),
        (0.005, 1e-9, 0.5348),
        (0.5, 1e-6, 4.8866),
        (0.5, 1e-9, 6.1740),
        (0.45625, 1e-6, 4.6388),
        (0.0936, 1e-9, 2.4934),
    ] {
        let ours = epsilon(rho, delta);
        assert!(ours >= pld && ours <= pld / 0.9, "{ours} beside {pld}");
    }
    // Control: the naive formula is not what is used.
    let naive = |rho: f64, delta: f64| rho + 2.0 * (rho * (1.0 / delta).ln()).sqrt();
    assert_eq!(format!("{:.4}", naive(0.005, 1e-6)), "0.5307");
}

#[test]
fn a_loss_counts_selection_and_tables() {
    let rho = rho("0.1");
    let plain = loss(rho, Delta::ZERO, 0, 1e-9).unwrap().epsilon;
    assert_eq!(plain, epsilon(rho.value(), 1e-9));
    let selected = Delta::declared(d("5e-10")).unwrap();
    let half = loss(rho, selected, 0, 1e-9).unwrap().epsilon;
    assert!(half > epsilon(rho.value(), 5e-10) * (1.0 - 1e-9) && half < plain * 1.05);
    assert!(loss(rho, selected, 0, 5e-10).is_none(), "nothing is left of the delta");
    // 10^12 integers: 4e-14 at epsilon 8, and far less here.
    let many = loss(rho, Delta::ZERO, 1_000_000_000_000, 1e-9).unwrap();
    assert!(many.epsilon > plain && many.epsilon < plain * 1.000_001);
    assert!(loss(rho, Delta::ZERO, u128::MAX, 1e-9).is_none());
    assert_eq!((shown(0.429_941_469), shown(1.0)), ("0.4300".into(), "1.0000".into()));
    assert_eq!(rho.times(365).in_units(), 365 * rho.in_units());
    assert_eq!(Rho::declared(d("0.1")).unwrap().in_units(), 109_951_162_777);
    for bad in ["0", "1e-13", "-1", "1e9"] {
        assert!(Rho::declared(d(bad)).is_none(), "{bad}");
    }
    for bad in ["0", "1e-25", "-1", "0.001"] {
        assert!(Delta::declared(d(bad)).is_none(), "{bad}");
    }
}

/// The table of sensitivities, by hand: L0 = 4, c = 3, cells 0 to 100, so the middle is 50.
#[test]
fn sensitivities_and_sigmas_are_those_of_the_table() {
    let statistics = [
        Statistic::Units,
        Statistic::Rows,
        Statistic::Sum { column: 0 },
        Statistic::Mean { column: 0 },
        Statistic::Variance { column: 0 },
        Statistic::Histogram { column: 0, edges: vec![d("10"), d("20"), d("30"), d("40")] },
        Statistic::Quantiles { column: 0, branching: 4, height: 3, ranks: vec![500] },
        Statistic::VectorSum { dimensions: 6, grid: Grid::new(d("1")).unwrap(), norm: 100 },
    ];
    let design = Design::new(request(&statistics, rho("0.8"))).unwrap();
    let of = |query: &Query| {
        let component = &design.components()[design.component(query).unwrap()];
        let noise = component.variance.numerator() * u128::from(component.rho.in_units());
        // D2^2 of the steps that are released: sigma^2 = D2^2 * 2^39 / r.
        let norm = (noise / component.variance.denominator()) >> 39;
        let step = component.d_inf.div_ceil(1 << component.shift);
        let expected = match component.shift {
            0 => component.d2_squared,
            _ => 4 * step * step,
        };
        assert_eq!(norm, expected, "{query:?}");
        assert_eq!(noise % (component.variance.denominator() << 39), 0, "{query:?}: exact");
        (component.d_inf, component.d2_squared, component.touched, component.width)
    };
    let histogram = Query::Histogram { column: 0, edges: vec![10, 20, 30, 40] };
    assert_eq!(of(&Query::Units), (1, 4, 4, 1));
    assert_eq!(of(&Query::Rows), (3, 4 * 9, 4, 1));
    assert_eq!(of(&Query::Sum { column: 0 }), (300, 4 * 90_000, 4, 1));
    assert_eq!(of(&Query::Centred { column: 0 }), (150, 4 * 22_500, 4, 1));
    assert_eq!(of(&Query::CentredSquare { column: 0 }), (7500, 4 * 56_250_000, 4, 1));
    assert_eq!(of(&histogram), (3, 4 * 9, 4 * 3, 5));
    let tree = Query::Tree { column: 0, branching: 4, height: 3 };
    assert_eq!(of(&tree), (3, 3 * 4 * 9, 4 * 3 * 3, 4 + 16 + 64));
    assert_eq!(of(&Query::Vector), (100, 10_000, 24, 6));
    assert_eq!(design.components().len(), 8, "rows and centred sums are shared");
    assert!(design.rho() <= rho("0.8"));
    assert!(design.rho().in_units() > rho("0.8").in_units() - 64);
    // A person is in no more groups than there are.
    let mut few = request(&statistics, rho("0.8"));
    few.groups = Groups::Public(vec![key("1")]);
    assert_eq!(Design::new(few).unwrap().limits().groups, 1);
}

#[test]
fn large_sums_are_released_in_larger_steps() {
    let mut wide = request(&[Statistic::Sum { column: 0 }], rho("0.01"));
    wide.columns = vec![column("0.01", "-100000", "10000")];
    let design = Design::new(wide).unwrap();
    let component = &design.components()[0];
    assert_eq!(component.d_inf, 30_000_000);
    // The smallest k with 4 * ceil(D/2^k)^2 / (2 rho) <= 2^20.
    let fits = |k: u32| {
        let step = 30_000_000_u128.div_ceil(1 << k);
        (4 * step * step) << 39 <= u128::from(design.rho().in_units()) << 20
    };
    assert!(fits(component.shift) && !fits(component.shift - 1), "{}", component.shift);
    let grain = 2_f64.powi(component.shift as i32);
    assert!(grain < component.sigma() / 400.0, "the step is lost in the noise");
    assert!((component.error_95() / component.sigma() - 1.96).abs() < 0.01);
}

/// Threshold of selected groups: the exact tail of the discrete distribution.
#[test]
fn thresholds_are_those_of_the_exact_tail() {
    for (sigma, groups, delta, tau) in [
        (10, 1, "1e-9", 62),
        (10, 8, "1e-9", 65),
        (10, 8, "1e-12", 75),
        (20, 32, "1e-10", 139),
        (4, 1, "1e-9", 26),
    ] {
        let table = AliasTable::new(Variance::new(sigma * sigma, 1).unwrap()).unwrap();
        let delta = Delta::declared(d(delta)).unwrap();
        assert_eq!(table.threshold(delta.in_units().into(), groups), tau, "sigma {sigma}");
        // A count of one reaches tau by noise of tau - 1; a threshold lower by one passes delta.
        let reached = |tau: i32| {
            let whole = 2_f64.powi(96 + table.slots().len().ilog2() as i32);
            f64::from(groups) * table.tail(tau - 1) as f64 / whole
        };
        let delta = delta.value();
        assert!(reached(tau) <= delta * (1.0 + 1e-6) && reached(tau - 1) > delta * (1.0 + 1e-6));
    }
}

#[test]
fn refuses_request_bad_parts() {
    type Spoil = fn(&mut Request);
    let spoil: Vec<(At, Spoil)> = vec![
        (At::GroupsPerUnit, |r| r.groups_per_unit = 0),
        (At::GroupsPerUnit, |r| r.groups_per_unit = 1 << 17),
        (At::RowsPerGroup, |r| r.rows_per_group = 0),
        (At::RowsPerGroup, |r| r.rows_per_group = 1 << 19),
        (At::UnitsMax, |r| r.units_max = 1000),
        (At::Groups, |r| r.groups = Groups::Public(vec![])),
        (At::Groups, |r| r.groups = Groups::Public(vec![key("1"), key("1")])),
        (At::Groups, |r| r.groups = Groups::Selected { delta: Delta::ZERO }),
        (At::Groups, |r| r.groups = Groups::Selected { delta: Delta::units(u64::MAX) }),
        (At::Column(0), |r| r.columns[0].upper = r.columns[0].lower),
        (At::Column(0), |r| r.columns[0].upper = d("0.5")),
        (At::Column(0), |r| r.columns[0].upper = d("1e40")),
        (At::Statistics, |r| r.statistics.clear()),
        (At::Statistic(0), |r| r.statistics[0].1 = 0),
        (At::Statistic(0), |r| r.statistics[0].0 = Statistic::Sum { column: 1 }),
        // Sums could pass 2^62.
        (At::Statistic(0), |r| r.columns[0].upper = d("1e9")),
        (At::Statistic(0), |r| {
            r.statistics[0].0 = Statistic::Histogram { column: 0, edges: vec![d("5"), d("5")] };
        }),
        (At::Statistic(0), |r| {
            r.statistics[0].0 = Statistic::Histogram { column: 0, edges: vec![d("0")] };
        }),
        (At::Statistic(0), |r| {
            let ranks = vec![1000];
            r.statistics[0].0 = Statistic::Quantiles { column: 0, branching: 2, height: 2, ranks };
        }),
        (At::Statistics, |r| {
            let ranks = vec![500];
            r.statistics[0].0 =
                Statistic::Quantiles { column: 0, branching: 256, height: 3, ranks };
            r.rho = rho("10");
        }),
        // Too little rho: sigma would pass what a table holds.
        (At::Statistic(0), |r| r.rho = Rho::units(1)),
        (At::Statistic(0), |r| {
            let grid = Grid::new(d("1")).unwrap();
            r.statistics[0].0 = Statistic::VectorSum { dimensions: 4, grid, norm: 100_000 };
        }),
        (At::Statistic(0), |r| {
            let grid = Grid::new(d("1")).unwrap();
            r.statistics[0].0 = Statistic::VectorSum { dimensions: 0, grid, norm: 1 };
        }),
    ];
    let good = request(&[Statistic::Sum { column: 0 }], rho("0.1"));
    assert!(Design::new(good.clone()).is_ok());
    for (number, (at, spoil)) in spoil.into_iter().enumerate() {
        let mut bad = good.clone();
        spoil(&mut bad);
        let refusals = Design::new(bad).unwrap_err();
        let found: Vec<At> = refusals.iter().map(|refusal| refusal.at).collect();
        assert!(found.contains(&at), "{number}: {found:?} lacks {at:?}");
    }
    // All at once.
    let mut bad = good;
    (bad.groups_per_unit, bad.rows_per_group, bad.units_max) = (0, 0, 0);
    bad.columns[0].upper = d("-1");
    assert_eq!(Design::new(bad).unwrap_err().len(), 4);
}

const LIMITS: Limits = Limits { groups: 2, rows: 2, values: 1 };

fn offered(changes: &[(&str, u128, u128, u64, i64)]) -> Bounded {
    let mut bounded = Bounded::default();
    for (group, group_tag, row_tag, order, value) in changes {
        let (group, values) = (key(group), [*value]);
        let (group_tag, row_tag, order) = (*group_tag, *row_tag, *order);
        let change = Change { group: &group, group_tag, row_tag, order, values: &values };
        bounded.offer(LIMITS, Rows::Change, change);
    }
    bounded
}

#[test]
fn kept_rows_have_one_form() {
    let mut bounded = offered(&[("b", 2, 1, 5, -3), ("a", 1, 7, 6, 300), ("a", 1, 9, 7, 4)]);
    bounded.withdraw(LIMITS, 9, 8);
    let bytes = bounded.to_bytes(LIMITS);
    // docs/formats.md, by hand.
    let mut by_hand = vec![1, 0, 0, 0, 2];
    let tag = |n: u128| n.to_be_bytes();
    by_hand.extend(tag(1));
    by_hand.extend([0, 0, 0, 6, b't', 0, 0, 0, 1, b'a', 0, 0, 0, 2]);
    by_hand.extend(tag(7));
    by_hand.extend([0, 0, 0, 0, 0, 0, 0, 6, 1, 0xd8, 0x04]);
    by_hand.extend(tag(9));
    by_hand.extend([0, 0, 0, 0, 0, 0, 0, 8, 0]);
    by_hand.extend(tag(2));
    by_hand.extend([0, 0, 0, 6, b't', 0, 0, 0, 1, b'b', 0, 0, 0, 1]);
    by_hand.extend(tag(1));
    by_hand.extend([0, 0, 0, 0, 0, 0, 0, 5, 1, 5]);
    assert_eq!(bytes, by_hand);
    assert!(Bounded::from_bytes(LIMITS, &bytes).unwrap() == bounded);
    for cut in 0..bytes.len() {
        assert!(Bounded::from_bytes(LIMITS, &bytes[..cut]).is_err(), "{cut}");
    }
    let spoil: [(usize, u8); 6] = [(0, 2), (4, 1), (20, 3), (25, b'b'), (64, 0x80), (64, 0xff)];
    for (at, byte) in spoil {
        let mut bad = bytes.clone();
        bad[at] = byte;
        let read = Bounded::from_bytes(LIMITS, &bad);
        assert!(read.is_err() || read.unwrap().to_bytes(LIMITS) == bad, "{at}");
    }
    let small = Limits { groups: 1, ..LIMITS };
    assert!(Bounded::from_bytes(small, &bytes).is_err(), "more than the limits keep");
    assert!(Bounded::from_bytes(LIMITS, &[&bytes[..], &[0]].concat()).is_err());
}

fn counts(bounded: &Bounded) -> Vec<(String, Vec<i64>)> {
    let rows = |rows: super::super::bounding::LiveRows<'_>| rows.iter().map(|row| row[0]).collect();
    let name = |key: &GroupKey| key.parts().unwrap()[0].unwrap().to_owned();
    bounded.groups(LIMITS).map(|(key, own)| (name(key), rows(own))).collect()
}

/// What a change, a move, a delete and a repetition do.
#[test]
fn a_row_counts_as_it_stands_at_the_end() {
    let changed = offered(&[("a", 1, 7, 1, 10), ("a", 1, 7, 2, 20)]);
    assert_eq!(counts(&changed), [("a".to_owned(), vec![20])]);
    let moved = offered(&[("a", 1, 7, 1, 10), ("b", 2, 7, 2, 20)]);
    assert_eq!(counts(&moved), [("b".to_owned(), vec![20])]);
    let back = offered(&[("a", 1, 7, 1, 10), ("b", 2, 7, 2, 20), ("a", 1, 7, 3, 30)]);
    assert_eq!(counts(&back), [("a".to_owned(), vec![30])]);
    let again = offered(&[("a", 1, 7, 1, 10), ("a", 1, 7, 2, 20), ("a", 1, 7, 1, 10)]);
    assert_eq!(counts(&again), [("a".to_owned(), vec![20])]);
    let mut gone = offered(&[("a", 1, 7, 1, 10)]);
    gone.withdraw(LIMITS, 7, 2);
    assert_eq!(counts(&gone), []);
    // It holds its place: the third smallest tag does not come back.
    let mut full = offered(&[("a", 1, 7, 1, 10), ("a", 1, 8, 2, 11), ("a", 1, 9, 3, 12)]);
    full.withdraw(LIMITS, 7, 4);
    assert_eq!(counts(&full), [("a".to_owned(), vec![11])]);
    // Three groups: the one with the largest tag does not count, whenever it came.
    let three = [("c", 3, 1, 1, 1), ("a", 1, 2, 1, 2), ("b", 2, 3, 1, 3)];
    assert_eq!(counts(&offered(&three)), [("a".to_owned(), vec![2]), ("b".to_owned(), vec![3])]);
}

#[test]
fn group_keys_are_tuples() {
    let parts = [Some("a"), None, Some("")];
    let key = GroupKey::new(parts);
    assert_eq!(key.parts().unwrap(), parts);
    assert_eq!(key.bytes(), b"t\0\0\0\x01ab\0\0\0\0t\0\0\0\0");
    assert!(GroupKey::of_bytes(key.bytes()).unwrap() == key);
    for bad in [&b"t\0\0\0\x02a"[..], b"b\0\0\0\x01a", b"t\0\0\0\x01\xff", b"u\0\0\0\0", b"t"] {
        assert!(GroupKey::of_bytes(bad).is_err(), "{bad:?}");
    }
    assert_eq!(format!("{key:?}"), "GroupKey(16 bytes)", "group keys are data");
}

/// 40 persons with 2 rows of 30 and 70 each, in group 1; nobody elsewhere.
fn exact(design: &Design) -> Exact {
    let limits = design.limits();
    let mut sums = Sums::new(design);
    for person in 0..40_u128 {
        let mut own = Bounded::default();
        for (row, cell) in [(2 * person, 30), (2 * person + 1, 70)] {
            let group = key("1");
            let change =
                Change { group: &group, group_tag: 1, row_tag: row, order: 0, values: &[cell] };
            own.offer(limits, Rows::Once, change);
        }
        sums.add(&own);
    }
    sums.finish()
}

pub(super) fn noise_key(seed: u8) -> Key {
    RootKey::new([seed; 32]).derive(Purpose::DpNoise, "customer")
}

const WINDOW: Window = Window { start_ms: -1000, end_ms: 1000 };

pub(super) fn id(revision: u32) -> ReleaseId<'static> {
    ReleaseId { policy: "p", window: WINDOW, query: "visits", revision }
}

#[test]
fn the_vector_before_noise_has_one_form() {
    let mut two = request(&[Statistic::Units, Statistic::Sum { column: 0 }], rho("0.5"));
    two.groups = Groups::Public(vec![key("2"), key("1")]);
    let design = Design::new(two).unwrap();
    let mut by_hand = b"douane-dp-f-v1\n".to_vec();
    let mut number = |n: i64| by_hand.extend(n.to_be_bytes());
    [2, 1, 1, 2, 6].into_iter().for_each(&mut number);
    by_hand.extend(b"t\0\0\0\x011");
    let mut number = |n: i64| by_hand.extend(n.to_be_bytes());
    [40, 40 * 100, 6].into_iter().for_each(&mut number);
    by_hand.extend(b"t\0\0\0\x012");
    by_hand.extend([0; 16]);
    assert_eq!(exact(&design).to_bytes(), by_hand);
    // Any split over workers gives the same.
    let (mut one, two) = (Sums::new(&design), Sums::new(&design));
    one.merge(&two);
    assert_eq!(one.finish().component(0), [0, 0]);
}

/// The key by hand (RFC 5869, 2.3), the noise from the kernel: what is released is the sum and that.
#[test]
fn a_release_is_a_function_of_what_is_released() {
    let statistics = [Statistic::Units, Statistic::Sum { column: 0 }];
    let design = Design::new(request(&statistics, rho("0.001"))).unwrap();
    let tables = Tables::new(&design).unwrap();
    let (f, policy, key) = (exact(&design), [3; 32], noise_key(7));
    let out = release(&design, &tables, &key, (id(2), &policy), &f).unwrap();
    let mut info = Vec::new();
    let mut field = |kind: u8, bytes: &[u8]| {
        info.push(kind);
        info.extend((bytes.len() as u32).to_be_bytes());
        info.extend(bytes);
    };
    field(b't', b"douane/v1/dp-noise");
    field(b't', b"p");
    field(b'i', &(-1000_i64).to_be_bytes());
    field(b'i', &1000_i64.to_be_bytes());
    field(b't', b"visits");
    field(b'u', &2_u64.to_be_bytes());
    field(b'b', &policy);
    field(b'u', &2_u64.to_be_bytes());
    tables.digests().iter().for_each(|digest| field(b'b', digest));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &f.to_bytes());
    field(b'b', digest.as_ref());
    info.push(1);
    let prk = hmac::Key::new(hmac::HMAC_SHA256, key.secret());
    let k_rel: [u8; 32] = hmac::sign(&prk, &info).as_ref().try_into().unwrap();
    for (at, component) in design.components().iter().enumerate() {
        let noise =
            douane_kernels::noise::twin(&k_rel, &tables.tables()[at], at as u32, 0, 8).unwrap();
        let by_hand = f.component(at).iter().zip(noise).map(|(sum, z)| {
            (sum.div_euclid(1 << component.shift) + i64::from(z)) * (1 << component.shift)
        });
        assert_eq!(out.components[at], by_hand.collect::<Vec<_>>());
        // Groups without rows have noise too.
        assert!(out.components[at][2..].iter().any(|value| *value != 0));
    }
    let again = release(&design, &tables, &key, (id(2), &policy), &f).unwrap();
    assert_eq!(out, again);
}

/// A correction, another policy, another key, one person less: the noise is unrelated, so what two
/// outputs differ by is not what two inputs do.
#[test]
fn no_two_releases_have_noise_that_cancels() {
    let mut many = request(&[Statistic::Units], rho("0.01"));
    many.groups = Groups::Public((0..2000).map(|n| key(&n.to_string())).collect());
    let design = Design::new(many).unwrap();
    let tables = Tables::new(&design).unwrap();
    let (f, policy, key) = (exact(&design), [3; 32], noise_key(7));
    let released = |f: &Exact, id, policy: &[u8; 32], key: &Key| {
        release(&design, &tables, key, (id, policy), f).unwrap().components.remove(0)
    };
    let first = released(&f, id(0), &policy, &key);
    let mut less = Sums::new(&design);
    less.add(&Bounded::default());
    let less = less.finish();
    let window = Window { end_ms: 1001, ..WINDOW };
    for (name, other) in [
        ("revision", released(&f, id(1), &policy, &key)),
        ("window", released(&f, ReleaseId { window, ..id(0) }, &policy, &key)),
        ("query", released(&f, ReleaseId { query: "visit", ..id(0) }, &policy, &key)),
        ("policy", released(&f, id(0), &[4; 32], &key)),
        ("key", released(&f, id(0), &policy, &noise_key(8))),
        ("sums", released(&less, id(0), &policy, &key)),
    ] {
        // Correlation of 1999 pairs beside group 1; 6 standard errors.
        let pairs = || first.iter().zip(&other).map(|(a, b)| (*a as f64, *b as f64)).skip(2);
        let product: f64 = pairs().map(|(a, b)| a * b).sum();
        let squares = |of: fn((f64, f64)) -> f64| pairs().map(|p| of(p) * of(p)).sum::<f64>();
        let correlation = product / (squares(|p| p.0) * squares(|p| p.1)).sqrt();
        assert!(correlation.abs() < 6.0 / 1998_f64.sqrt(), "{name}: {correlation}");
        assert!(first.iter().zip(&other).filter(|(a, b)| a == b).count() < 200, "{name}");
    }
}

#[test]
fn only_groups_that_pass_the_threshold_are_named() {
    let mut selected = request(&[Statistic::Rows], rho("10"));
    selected.rows_per_group = 200;
    selected.groups = Groups::Selected { delta: Delta::declared(d("1e-9")).unwrap() };
    let design = Design::new(selected).unwrap();
    let units = design.component(&Query::Units).unwrap();
    let tables = Tables::new(&design).unwrap();
    let least = i64::from(tables.threshold().unwrap());
    let limits = design.limits();
    let mut sums = Sums::new(&design);
    let rows = design.component(&Query::Rows).unwrap();
    // Groups of 1, 2, 4, … persons; who is alone has 200 rows, the others one each.
    for (size, name) in (0..10).map(|n| (1_u128 << n, format!("group {n}"))) {
        for _ in 0..size {
            let mut own = Bounded::default();
            for row_tag in 0..if size == 1 { 200 } else { 1 } {
                let group = key(&name);
                let change =
                    Change { group: &group, group_tag: 1, row_tag, order: 0, values: &[5] };
                own.offer(limits, Rows::Once, change);
            }
            sums.add(&own);
        }
    }
    let f = sums.finish();
    let (mut named, mut alone) = (0, 0);
    for revision in 0..50 {
        let out = release(&design, &tables, &noise_key(7), (id(revision), &[3; 32]), &f).unwrap();
        assert!(out.components[units].iter().all(|count| *count >= least));
        assert!(out.components.iter().all(|values| values.len() == out.keys.len()));
        named += usize::from(out.keys.contains(&key("group 9")));
        alone += usize::from(out.keys.contains(&key("group 0")));
    }
    assert_eq!((named, alone), (50, 0), "512 persons are, one is not");
    assert_eq!(threshold(&design).unwrap(), tables.threshold());
    // Control: were the threshold held against rows, who is alone would be named.
    let mut by_rows = 0;
    for revision in 0..50 {
        let public = Groups::Public(f.keys().to_vec());
        let mut request = request(&[Statistic::Rows], rho("10"));
        (request.groups, request.rows_per_group) = (public, 200);
        let open = Design::new(request).unwrap();
        let tables = Tables::new(&open).unwrap();
        let mut sums = Sums::new(&open);
        sums.add(&alone_with(200, open.limits()));
        let at = (id(revision), &[3; 32]);
        let out = release(&open, &tables, &noise_key(7), at, &sums.finish()).unwrap();
        by_rows += usize::from(out.components[0][0] >= least);
    }
    assert_eq!(f.component(rows)[0], 200);
    assert!(by_rows > 25, "{by_rows}");
}

fn alone_with(rows: u128, limits: Limits) -> Bounded {
    let (mut own, group) = (Bounded::default(), key("group 0"));
    for row_tag in 0..rows {
        let change = Change { group: &group, group_tag: 1, row_tag, order: 0, values: &[5] };
        own.offer(limits, Rows::Once, change);
    }
    own
}

/// Without noise what is read is what stands in the rows.
#[test]
fn decoded_values_are_those_of_the_rows() {
    let statistics = [
        Statistic::Units,
        Statistic::Rows,
        Statistic::Sum { column: 0 },
        Statistic::Mean { column: 0 },
        Statistic::Variance { column: 0 },
        Statistic::Histogram { column: 0, edges: vec![d("25"), d("50")] },
        Statistic::Quantiles { column: 0, branching: 4, height: 3, ranks: vec![100, 500, 900] },
    ];
    let mut fine = request(&statistics, rho("10"));
    fine.columns = vec![column("0.5", "0", "50")];
    fine.units_max = 1 << 30;
    let design = Design::new(fine).unwrap();
    // Cells of 30 and 70 steps of a half.
    let f = exact(&design);
    let components = (0..design.components().len()).map(|at| f.component(at).to_vec()).collect();
    let mut noised = Noised { keys: f.keys().to_vec(), components };
    let group = noised.keys.binary_search(&key("1")).unwrap();
    let read = |noised: &Noised, at: usize| value(&design, noised, &statistics[at], group).unwrap();
    assert_eq!(read(&noised, 0), Value::Count(40));
    assert_eq!(read(&noised, 1), Value::Count(80));
    assert_eq!(read(&noised, 2), Value::Sum(d("2000")));
    assert_eq!(read(&noised, 3), Value::Real(25.0));
    assert_eq!(read(&noised, 4), Value::Real(100.0));
    assert_eq!(read(&noised, 5), Value::Counts(vec![40, 40, 0]));
    let Value::Reals(quantiles) = read(&noised, 6) else { panic!() };
    // 101 steps in 64 leaves of 2.
    assert!((15.0..=16.0).contains(&quantiles[0]), "{quantiles:?}");
    assert!((15.0..=36.0).contains(&quantiles[1]), "{quantiles:?}");
    assert!((35.0..=36.0).contains(&quantiles[2]), "{quantiles:?}");
    // A group without rows, and noise below 0, give numbers within the bounds.
    noised.components.iter_mut().for_each(|values| values.fill(-7));
    let Value::Real(mean) = read(&noised, 3) else { panic!() };
    let Value::Real(variance) = read(&noised, 4) else { panic!() };
    assert!((0.0..=50.0).contains(&mean) && variance == 0.0);
    assert_eq!(read(&noised, 5), Value::Counts(vec![0, 0, 0]));
    assert_eq!(read(&noised, 6), Value::Reals(vec![6.4, 32.0, 50.0]));
    assert!(
        value(
            &design,
            &noised,
            &Statistic::VectorSum { dimensions: 1, grid: design.columns()[0].grid, norm: 1 },
            group
        )
        .is_none()
    );
}

/// One person's vectors, over all groups, are clipped to the norm; cut towards zero.
#[test]
fn vectors_are_clipped_over_all_groups() {
    let grid = Grid::new(d("1")).unwrap();
    let statistic = Statistic::VectorSum { dimensions: 2, grid, norm: 50 };
    let mut vectors = request(std::slice::from_ref(&statistic), rho("0.1"));
    vectors.columns.clear();
    let design = Design::new(vectors).unwrap();
    let sum = |parts: &[(&str, u128, [i64; 2])]| {
        let mut own = Bounded::default();
        for (row, (name, group_tag, values)) in parts.iter().enumerate() {
            let (group, group_tag, row_tag) = (key(name), *group_tag, row as u128);
            let change = Change { group: &group, group_tag, row_tag, order: 0, values };
            own.offer(design.limits(), Rows::Once, change);
        }
        let mut sums = Sums::new(&design);
        sums.add(&own);
        sums.finish().component(0)[..6].to_vec()
    };
    assert_eq!(sum(&[("0", 1, [30, -40])]), [30, -40, 0, 0, 0, 0], "of that norm: as it is");
    assert_eq!(sum(&[("0", 1, [60, -80])]), [30, -40, 0, 0, 0, 0]);
    // sqrt(30^2 + 41^2) = 50.8: 51, rounded up.
    assert_eq!(sum(&[("0", 1, [30, -41])]), [29, -40, 0, 0, 0, 0]);
    assert_eq!(sum(&[("0", 1, [60, 0]), ("2", 2, [0, 80])]), [30, 0, 0, 0, 0, 40]);
    assert_eq!(sum(&[("0", 1, [i64::MAX, 0]), ("0", 1, [i64::MIN, 0])]), [0, 0, 0, 0, 0, 0]);
    assert_eq!(sum(&[("0", 1, [i64::MAX; 2])])[..2], [35, 35]);
}
