//! What noise promises of statistics, in numbers that people sign.

use std::fmt::Write;

use douane_transforms::dp::accountant::{Delta, Rho, loss, shown};
use douane_transforms::dp::design::Query;
use serde::Serialize;

use super::length;
use crate::config::Aggregate;
use crate::config::aggregate::Level;

const DAY_MS: u64 = 86_400_000;

/// What is promised, and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Privacy {
    /// The identity space whose account pays.
    pub account: String,
    /// The leaf that names the unit.
    pub unit: String,
    pub neighbours: &'static str,
    pub level: Level,
    pub period: String,
    pub window: String,
    pub closes_after: String,
    pub late: &'static str,
    /// Public groups, each in every window. None: noised counts select them.
    pub groups: Option<usize>,
    /// Where noised counts select the groups: what a count of units must reach, and the chance that one
    /// unit alone makes a group appear in a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select_delta: Option<String>,
    /// Groups and rows of a group that count of one unit.
    pub l0: u32,
    pub c: u32,
    pub statistics: Vec<Noise>,
    /// In zero-concentrated differential privacy, as decimal text.
    pub rho: String,
    pub cap_period: String,
    pub cap_life: String,
    pub delta: String,
    /// Of one window, 30 days and a year.
    pub losses: Vec<Cost>,
}

/// How far one unit moves a number, and how much noise hides it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Noise {
    pub columns: Vec<String>,
    /// Of quantiles: so many counts in a tree, of which the columns are read. The numbers below are
    /// the counts'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<u64>,
    /// The most that one unit changes one number by.
    pub sensitivity: String,
    /// The square of what it changes all of them together by, in the L2 norm.
    pub norm_squared: String,
    pub sigma: f64,
    /// 95 of 100 numbers are off by no more, bounding aside.
    pub error_95: f64,
}

/// What one unit loses over some windows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub over: &'static str,
    pub windows: u64,
    pub rho: f64,
    /// At the caps' delta; never below the exact value.
    pub epsilon: Option<f64>,
    pub delta: f64,
}

impl Privacy {
    pub fn new(aggregate: &Aggregate) -> Self {
        let (design, caps) = (&aggregate.design, &aggregate.caps);
        let rho = |units: u64| format!("{:.6}", Rho::units(units).value());
        let groups: usize = aggregate.groups.iter().map(|group| group.keys.len()).product();
        let threshold = aggregate.threshold;
        let parts = aggregate.parts();
        let noise = |(at, component): (usize, &douane_transforms::dp::design::Component)| Noise {
            columns: parts.iter().filter(|p| p.component == at).map(|p| p.name.clone()).collect(),
            tree: matches!(component.query, Query::Tree { .. }).then_some(component.width),
            sensitivity: component.d_inf.to_string(),
            norm_squared: component.d2_squared.to_string(),
            sigma: component.sigma(),
            error_95: component.error_95(),
        };
        let delta = Delta::units(caps.delta).value();
        let numbers = u128::from(aggregate.coordinates());
        let cost = |(over, windows): (&'static str, u64)| Cost {
            over,
            windows,
            rho: design.rho().times(windows).value(),
            epsilon: loss(
                design.rho().times(windows),
                design.delta().times(windows),
                numbers * u128::from(windows),
                delta,
            )
            .map(|loss| loss.epsilon),
            delta,
        };
        // All that a cap lets be released of this pipeline alone.
        let cap = match aggregate.level {
            Level::UnitPeriod | Level::WEvent => caps.period,
            Level::UnitLifetime => caps.life,
        };
        let last = match design.delta().in_units() {
            0 => cap / design.rho().in_units().max(1),
            delta => (cap / design.rho().in_units().max(1)).min(caps.delta / 2 / delta),
        };
        let within = |days: u64| (days * DAY_MS).div_ceil(aggregate.every_ms);
        Self {
            account: aggregate.space.clone(),
            unit: aggregate.unit.clone(),
            neighbours: "add_remove",
            level: aggregate.level,
            period: length(aggregate.period_ms),
            window: length(aggregate.every_ms),
            closes_after: length(aggregate.closes_after_ms),
            late: aggregate.late.name(),
            groups: threshold.is_none().then_some(groups),
            threshold,
            select_delta: threshold.map(|_| format!("{:e}", design.delta().value())),
            l0: design.limits().groups,
            c: design.limits().rows,
            statistics: design.components().iter().enumerate().map(noise).collect(),
            rho: rho(design.rho().in_units()),
            cap_period: rho(caps.period),
            cap_life: rho(caps.life),
            delta: format!("{delta:e}"),
            losses: [
                ("one window", 1),
                ("30 days", within(30)),
                ("365 days", within(365)),
                ("at the cap", last),
            ]
            .map(cost)
            .to_vec(),
        }
    }

    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { account, unit, period, window, closes_after, l0, c, .. } = self;
        writeln!(out, "\ndifferential privacy")?;
        let level = match self.level {
            Level::UnitPeriod => format!("all windows of {period}"),
            Level::UnitLifetime => "all windows there will ever be".to_owned(),
            Level::WEvent => format!("any windows in a row that end within {period}"),
        };
        writeln!(
            out,
            "  hidden: whether any one `{unit}` is in the data, with everything it brings to {level} \
             (neighbours: add or remove one)"
        )?;
        let groups = match (self.groups, self.threshold, &self.select_delta) {
            (Some(groups), ..) => format!("{groups} groups, all of them in every window"),
            (None, tau, delta) => format!(
                "groups of the rows, where {} or more are counted with noise (delta {} a window)",
                tau.unwrap_or_default(),
                delta.as_deref().unwrap_or_default()
            ),
        };
        writeln!(
            out,
            "  counted: of one `{unit}` in a window, {l0} groups at most, {c} rows of each; {groups}"
        )?;
        writeln!(
            out,
            "  windows: {window}, closed {closes_after} after their end by the clock; later rows are \
             set aside"
        )?;
        writeln!(
            out,
            "  account: `{account}`, rho {} a window; caps {} in {period}, {} for life",
            self.rho, self.cap_period, self.cap_life
        )?;
        for noise in &self.statistics {
            let Noise { columns, tree, sensitivity, sigma, error_95, .. } = noise;
            let names = match columns.as_slice() {
                [] => String::new(),
                [one] => one.clone(),
                [first, .., last] => format!("{first} to {last}"),
            };
            let names = match tree {
                Some(counts) => {
                    format!("{names}, each of {counts} counts in a tree that is not published")
                }
                None => names,
            };
            writeln!(
                out,
                "  {names}: one unit changes it by {sensitivity} at most; sigma {sigma:.2}; 95 of 100 \
                 are off by at most {error_95:.2}"
            )?;
        }
        for Cost { over, windows, rho, epsilon, delta } in &self.losses {
            let epsilon = match epsilon {
                Some(epsilon) => format!("epsilon {}", shown(*epsilon)),
                None => "no epsilon".to_owned(),
            };
            writeln!(out, "  {over} ({windows}): rho {rho:.6}, {epsilon} at delta {delta:e}")?;
        }
        writeln!(
            out,
            "  Not covered: rows of the same units that cross by another pipeline, and that a window \
             was published at all. Whoever holds the space's key can take the noise off."
        )
    }
}
