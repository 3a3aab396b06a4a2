//! What noise promises of statistics, in numbers that people sign.

use std::fmt::{self, Write};

use douane_transforms::dp::accountant::{Delta, Rho, loss, shown};
use douane_transforms::dp::design::Query;
use serde::Serialize;

use super::length;
use crate::config::Aggregate;
use crate::config::aggregate::{Late, Level};

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
    pub late: Late,
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
            late: aggregate.late,
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

    /// What is promised, what for, and what it costs: a term and its text, in the order in which people
    /// read them.
    pub(super) fn terms(&self) -> Vec<(&'static str, String)> {
        let Self { account, unit, period, window, closes_after, l0, c, .. } = self;
        let level = match self.level {
            Level::UnitPeriod => format!("all windows of {period}"),
            Level::UnitLifetime => "all windows there will ever be".to_owned(),
            Level::WEvent => format!("any windows in a row that end within {period}"),
        };
        let groups = match (self.groups, self.threshold, &self.select_delta) {
            (Some(groups), ..) => format!("{groups} groups, all of them in every window"),
            (None, tau, delta) => format!(
                "groups of the rows, where {} or more are counted with noise (delta {} a window)",
                tau.unwrap_or_default(),
                delta.as_deref().unwrap_or_default()
            ),
        };
        let late = match self.late {
            Late::Quarantine => "later rows are set aside",
            Late::Current => "later rows count in the window that is closed next",
        };
        let mut terms = vec![
            (
                "hidden",
                format!(
                    "whether any one `{unit}` is in the data, with everything it brings to {level} \
                     (neighbours: add or remove one)"
                ),
            ),
            (
                "counted",
                format!(
                    "of one `{unit}` in a window, {l0} groups at most, {c} rows of each; {groups}"
                ),
            ),
            (
                "windows",
                format!("{window}, closed {closes_after} after their end by the clock; {late}"),
            ),
            (
                "account",
                format!(
                    "`{account}`, rho {} a window; caps {} in {period}, {} for life",
                    self.rho, self.cap_period, self.cap_life
                ),
            ),
        ];
        terms.extend(self.statistics.iter().map(|noise| ("noise", noise.to_string())));
        terms.extend(self.losses.iter().map(|cost| ("loss", cost.to_string())));
        terms.push((
            "not covered",
            "rows of the same units that cross by another pipeline, and that a window was published at \
             all. Whoever holds the space's key can take the noise off"
                .to_owned(),
        ));
        terms
    }

    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\ndifferential privacy")?;
        self.terms().iter().try_for_each(|(term, text)| writeln!(out, "  {term}: {text}"))
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { columns, tree, sensitivity, sigma, error_95, .. } = self;
        match columns.as_slice() {
            [] => {}
            [one] => f.write_str(one)?,
            [first, .., last] => write!(f, "{first} to {last}")?,
        }
        if let Some(counts) = tree {
            write!(f, ", each of {counts} counts in a tree that is not published")?;
        }
        write!(
            f,
            ": one unit changes it by {sensitivity} at most; sigma {sigma:.2}; 95 of 100 are off by at \
             most {error_95:.2}"
        )
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { over, windows, rho, epsilon, delta } = self;
        write!(f, "{over} ({windows}): rho {rho:.6}, ")?;
        match epsilon {
            Some(epsilon) => write!(f, "epsilon {}", shown(*epsilon))?,
            None => f.write_str("no epsilon")?,
        }
        write!(f, " at delta {delta:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::privacy;
    use super::*;

    /// What is signed says what becomes of late rows, and no other thing.
    #[test]
    fn late_rows_are_told_as_they_are_declared() {
        for (late, said) in [
            (Late::Quarantine, "later rows are set aside"),
            (Late::Current, "later rows count in the window that is closed next"),
        ] {
            let terms = Privacy { late, ..privacy() }.terms();
            let (_, windows) = terms.iter().find(|(term, _)| *term == "windows").unwrap();
            assert!(windows.ends_with(said), "{windows}");
        }
    }
}
