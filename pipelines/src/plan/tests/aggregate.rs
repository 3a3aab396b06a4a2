//! What an aggregate may declare: what is missing, does not go together or promises nothing is told.

use super::*;

const ROW: &[(&str, LeafType)] = &[
    ID,
    ("customer", LeafType::Text),
    ("country", LeafType::Text),
    ("amount", LeafType::Int64),
    ("delta", LeafType::Array),
    ("at", LeafType::Timestamp),
];

const CLASSES: &str = "id: identifier, customer: { class: identifier, subject: true }, \
    country: public, amount: sensitive, delta: sensitive, at: quasi";

fn stage(statistic: &str) -> String {
    format!(
        "{{ aggregate: {{ unit: {{ leaf: customer, space: customers }}, neighbours: add_remove, \
         level: unit_period, period: 30d, window: {{ every: 1d, from: '2026-01-05T00:00:00Z', \
         time: at, closes_after: 0s }}, groups: [{{ leaf: country, keys: [AT, DE] }}], l0: 2, c: 4, \
         statistics: [{statistic}], rho: 0.1, caps: {{ period: 5, life: 50, delta: 1e-9 }}, \
         late: quarantine }} }}"
    )
}

fn found(statistic: &str) -> Vec<String> {
    findings(CLASSES, &stage(statistic), "", ROW)
}

#[test]
fn a_vector_has_its_length_and_a_norm_in_whole_steps() {
    let fine = "{ name: v, vector_sum: delta, dims: 16, norm: 1, grid: 0.001 }";
    assert_eq!(found(fine), Vec::<String>::new());
    for (statistic, expected) in [
        ("{ name: v, vector_sum: delta, norm: 1 }", "has no `dims`"),
        ("{ name: v, vector_sum: delta, dims: 4 }", "has no `norm`"),
        ("{ name: v, vector_sum: delta, dims: 4, norm: 0.5 }", "not a whole number of steps"),
        ("{ name: v, vector_sum: delta, dims: 4, norm: -1 }", "not a whole number of steps"),
        ("{ name: v, vector_sum: delta, dims: 4, norm: 1, low: 0 }", "stands beside `vector_sum`"),
        ("{ name: v, sum: amount, low: 0, high: 1, dims: 4 }", "`dims` stands beside `sum`"),
        ("{ name: v, count: rows, norm: 4 }", "`norm` stands beside `count`"),
        ("{ name: v, vector_sum: amount, dims: 4, norm: 1 }", "no type for a vector"),
        ("{ name: v, vector_sum: customer, dims: 4, norm: 1 }", "names one subject"),
        ("{ name: v, vector_sum: delta, dims: 4, norm: 1, grid: 1e-6 }", "sigma would pass 8192"),
        // 2 groups of 4 rows of a person, each of so many numbers.
        ("{ name: v, vector_sum: delta, dims: 600000, norm: 1 }", "at most 4194304 numbers"),
    ] {
        let found = found(statistic);
        assert!(found.iter().any(|why| why.contains(expected)), "{statistic}: {found:?}");
    }
    let two = format!("{fine}, {}", fine.replace("name: v", "name: w"));
    assert!(found(&two).iter().any(|why| why.contains("expected one")));
}

/// What people sign says of a vector whose it is, how long, and to which norm it is clipped.
#[test]
fn a_vector_crosses_as_one_column() {
    let statistic = "{ name: v, vector_sum: delta, dims: 16, norm: 1, grid: 0.001 }";
    let (_, pipeline) = load(&pipeline_text(CLASSES, &stage(statistic), "")).unwrap();
    let plan = Plan::new(&pipeline, leaves(ROW)).unwrap();
    let columns: Vec<String> = plan.outputs().iter().map(|c| c.name().to_owned()).collect();
    assert_eq!(columns, ["window_start", "country", "v"]);
    let column = plan.aggregate.as_ref().unwrap().last().unwrap();
    let Role::Noised { statistic, dims: Some(16) } = &column.role else { panic!("an array") };
    assert!(statistic.contains("delta") && statistic.contains("the norm 1,"), "{statistic}");
    assert_eq!((column.class, column.column_type), (Class::Sensitive, LeafType::Array));
    assert_eq!(plan.built().last().map(String::as_str), Some("delta"));
}

#[test]
fn quantiles_have_ranks_in_thousandths_and_a_tree() {
    let fine = "{ name: q, quantiles: amount, ranks: [0.25, 0.5, 0.999], low: 0, high: 4095 }";
    assert_eq!(found(fine), Vec::<String>::new());
    for (statistic, expected) in [
        ("{ name: q, quantiles: amount, low: 0, high: 9 }", "has no `ranks`"),
        ("{ name: q, quantiles: amount, ranks: [0.5], high: 9 }", "has no `low`"),
        ("{ name: q, quantiles: amount, ranks: [0.12345], low: 0, high: 9 }", "thousandths"),
        ("{ name: q, quantiles: amount, ranks: [-0.5], low: 0, high: 9 }", "thousandths"),
        ("{ name: q, quantiles: amount, ranks: [0], low: 0, high: 9 }", "above 0 and below 1"),
        ("{ name: q, quantiles: amount, ranks: [0.5, 0.5], low: 0, high: 9 }", "not ascending"),
        ("{ name: q, sum: amount, low: 0, high: 9, levels: 2 }", "`levels` stands beside `sum`"),
        ("{ name: q, count: rows, ranks: [0.5] }", "`ranks` stands beside `count`"),
        (
            "{ name: q, quantiles: amount, ranks: [0.5], low: 0, high: 9, branching: 256, levels: 4 }",
            "at most 1048576 of a group",
        ),
    ] {
        let found = found(statistic);
        assert!(found.iter().any(|why| why.contains(expected)), "{statistic}: {found:?}");
    }
    let (_, pipeline) = load(&pipeline_text(CLASSES, &stage(fine), "")).unwrap();
    let plan = Plan::new(&pipeline, leaves(ROW)).unwrap();
    let columns: Vec<String> = plan.outputs().iter().map(|c| c.name().to_owned()).collect();
    assert_eq!(columns, ["window_start", "country", "q_p25", "q_p50", "q_p99_9"]);
    // Two statistics of one tree pay for it once, and each has its columns.
    let two = format!("{fine}, {}", fine.replace("name: q", "name: r").replace("0.25, ", ""));
    let (_, pipeline) = load(&pipeline_text(CLASSES, &stage(&two), "")).unwrap();
    assert_eq!(pipeline.aggregate.as_ref().unwrap().design.components().len(), 1);
    let plan = Plan::new(&pipeline, leaves(ROW)).unwrap();
    assert_eq!(plan.outputs().last().unwrap().name(), "r_p99_9");
}

/// A count of units that nobody declared is the column `units`, and a mean has columns of its own.
#[test]
fn two_columns_have_two_names() {
    let sum = |name: &str| format!("{{ name: {name}, sum: amount, low: 0, high: 9 }}");
    let mean = "{ name: m, mean: amount, low: 0, high: 9 }";
    for (leaf, statistics, double) in [
        ("country", mean.to_owned(), false),
        ("rows", mean.to_owned(), true),
        ("units", sum("s"), false),
        ("rows", sum("s"), false),
        ("country", format!("{mean}, {}", sum("m_sum")), true),
        ("country", format!("{mean}, {}", sum("m_of")), false),
    ] {
        let named = |text: &str| text.replace("country", leaf);
        let text = pipeline_text(&named(CLASSES), &named(&stage(&statistics)), "");
        let found = load(&text).err().unwrap_or_default();
        let found: Vec<String> = found.iter().map(|finding| finding.message.clone()).collect();
        let told = found.iter().any(|why| why.contains("two columns have the name"));
        assert_eq!(told, double, "{leaf}, {statistics}: {found:?}");
        assert!(double || found.is_empty(), "{leaf}, {statistics}: {found:?}");
    }
}

/// Groups of the rows: `select` and `delta` stand together, and `keys` beside neither.
#[test]
fn groups_are_public_or_selected_at_a_delta() {
    let count = "{ name: people, count: units }";
    let with = |groups: &str, rest: &str| {
        stage(count)
            .replace("groups: [{ leaf: country, keys: [AT, DE] }]", groups)
            .replace("rho: 0.1,", &format!("rho: 0.1, {rest}"))
    };
    let selected = |stage: &str| findings(CLASSES, stage, "", ROW);
    let bare = "groups: [{ leaf: country }]";
    let fine = with(bare, "select: noisy_count, delta: 1e-12,");
    assert_eq!(selected(&fine), Vec::<String>::new());
    for (stage, expected) in [
        (with(bare, ""), "has no `keys`"),
        (with(bare, "select: noisy_count,"), "has no `delta`"),
        (with(bare, "delta: 1e-12,"), "without `select`"),
        (with("groups: []", "select: noisy_count, delta: 1e-12,"), "without `groups`"),
        (
            with("groups: [{ leaf: country, keys: [AT] }]", "select: noisy_count, delta: 1e-12,"),
            "`keys` stand beside",
        ),
        // 31 windows of a day touch a period of 30.
        (with(bare, "select: noisy_count, delta: 1e-10,"), "more than half of `caps.delta`"),
        // rho 0.1 of 50 for life.
        (
            with(bare, "select: noisy_count, delta: 2e-12,")
                .replace("unit_period", "unit_lifetime"),
            "half of `caps.delta` pays for 250 windows, `caps.life` for 500",
        ),
        // 4,681 numbers a group, of 65,536 groups that one unit may make.
        (
            with(bare, "select: noisy_count, delta: 1e-12,")
                .replace("l0: 2, c: 4", "l0: 65536, c: 1")
                .replace(
                    count,
                    "{ name: q, quantiles: amount, ranks: [0.5], low: 0, high: 50000 }",
                ),
            "65536 groups of one person",
        ),
    ] {
        let found = selected(&stage);
        assert!(found.iter().any(|why| why.contains(expected)), "{expected}: {found:?}");
    }
    let lives = with(bare, "select: noisy_count, delta: 9e-13,");
    assert_eq!(selected(&lives.replace("unit_period", "unit_lifetime")), Vec::<String>::new());
    let (_, pipeline) = load(&pipeline_text(CLASSES, &fine, "")).unwrap();
    let aggregate = pipeline.aggregate.as_ref().unwrap();
    // One column, and two groups of a unit: no more numbers hang on one unit.
    assert_eq!(aggregate.coordinates(), 2);
    // sigma^2 = 2 / (2 * 0.1) = 10.
    let tau = aggregate.threshold.unwrap();
    assert!((20..30).contains(&tau), "{tau}");
    let plan = Plan::new(&pipeline, leaves(ROW)).unwrap();
    let roles: Vec<&Role> = plan.aggregate.iter().flatten().map(|c| &c.role).collect();
    assert_eq!(*roles[1], Role::Selected { at_least: tau });
    let proof = crate::proof::Privacy::new(aggregate);
    assert_eq!((proof.groups, proof.threshold), (None, Some(tau)));
    let loss = &proof.losses[1];
    // The windows' deltas leave less to the conversion.
    let without = douane_transforms::dp::accountant::epsilon(loss.rho, loss.delta);
    assert!(loss.epsilon.unwrap() > without);
}

#[test]
fn any_windows_in_a_row_are_as_long_as_the_period() {
    let of = |period: &str| {
        stage("{ name: people, count: units }")
            .replace("level: unit_period", "level: w_event")
            .replace("period: 30d", &format!("period: {period}"))
    };
    let selected = |stage: &str| findings(CLASSES, stage, "", ROW);
    assert_eq!(selected(&of("7d")), Vec::<String>::new());
    assert!(selected(&of("36h")).iter().any(|why| why.contains("no number of windows")));
    let (_, pipeline) = load(&pipeline_text(CLASSES, &of("7d"), "")).unwrap();
    let level = pipeline.aggregate.as_ref().unwrap().level;
    assert_eq!(serde_json::to_value(level).unwrap(), "w_event");
}
