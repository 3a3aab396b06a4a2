//! `audit budget`: what the accounts of identity spaces have spent, by whom, what is left, and the
//! day they run out at the present rate. Derived from the log, as every charge is.

pub mod column;
pub mod crossed;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use douane_ledger::budget::{self, Balance, Level, Opening, Spent, State};
use douane_transforms::dp::accountant::{Delta, Rho, loss, shown};
use jiff::Timestamp;
use serde::Serialize;

use crate::aggregate::accounts;
use crate::config::{self, Place};
use crate::fault::RunFault;

/// One identity space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Account {
    pub space: String,
    /// All that was ever charged.
    pub spent: Charge,
    /// Windows that were charged, whatever became of them.
    pub releases: usize,
    pub committed: usize,
    /// Charged, and not known to be outside.
    pub open: usize,
    /// Charged, and never outside: the charge is kept.
    pub void: usize,
    pub policies: Vec<Policy>,
    /// When a window is refused, if every policy goes on as it does: RFC 3339, UTC.
    pub runs_out: Option<String>,
}

/// One pipeline that charges the account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Policy {
    pub pipeline: String,
    /// `unit_period`, `unit_lifetime` or `w_event`.
    pub level: &'static str,
    /// What it has charged in all.
    pub spent: Charge,
    /// What everybody has charged of what its cap holds at this moment.
    pub now: Charge,
    pub cap: f64,
    pub left: f64,
    pub cap_life: Option<f64>,
    pub left_life: Option<f64>,
    /// When its cap counts from nothing again: RFC 3339, UTC.
    pub renews: Option<String>,
}

/// A sum of charges, and what it means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Charge {
    pub rho: f64,
    /// At `delta`; never below the exact value.
    pub epsilon: Option<f64>,
    pub delta: f64,
}

/// The accounts of a place.
pub fn budget(place: &Path) -> Result<Vec<Account>, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    of_place(&place, Timestamp::now().as_millisecond())
}

fn of_place(place: &Place, now_ms: i64) -> Result<Vec<Account>, RunFault> {
    let home = accounts(place);
    let entries = match fs::read_dir(&home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(RunFault::File(format!("{}: {}", home.display(), error.kind())));
        }
    };
    let mut spaces: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    spaces.sort();
    spaces.iter().map(|space| Ok(account(&budget::read(&home, space)?, now_ms))).collect()
}

fn account(balance: &Balance, now_ms: i64) -> Account {
    let count = |is: &dyn Fn(&State) -> bool| {
        balance.releases().filter(|release| is(&release.state)).count()
    };
    // The largest delta that a policy names is the account's.
    let delta = balance.policies().map(|policy| policy.caps.delta).max().unwrap_or(0);
    Account {
        space: balance.space().to_owned(),
        spent: charge(balance.spent(), delta),
        releases: balance.releases().count(),
        committed: count(&|state| matches!(state, State::Committed(_))),
        open: count(&|state| matches!(state, State::Reserved | State::Computed(_))),
        void: count(&|state| matches!(state, State::Void { .. })),
        policies: balance.policies().map(|policy| of_policy(balance, policy, now_ms)).collect(),
        runs_out: balance.runs_out_ms(now_ms).and_then(instant),
    }
}

fn of_policy(balance: &Balance, policy: &Opening, now_ms: i64) -> Policy {
    let caps = &policy.caps;
    let now = balance.spent_at(policy, now_ms);
    let left = |cap: u64, spent: Spent| rho(u128::from(cap).saturating_sub(spent.rho));
    let (level, renews) = match caps.level {
        Level::UnitLifetime => ("unit_lifetime", None),
        Level::WEvent { .. } => ("w_event", None),
        Level::UnitPeriod { origin_ms, length_ms } => {
            let number = now_ms.saturating_sub(origin_ms).div_euclid(length_ms);
            let next = number.saturating_add(1).saturating_mul(length_ms);
            ("unit_period", instant(origin_ms.saturating_add(next)))
        }
    };
    Policy {
        pipeline: policy.policy.clone(),
        level,
        spent: charge(balance.spent_by(&policy.policy), caps.delta),
        now: charge(now, caps.delta),
        cap: rho(u128::from(caps.rho)),
        left: left(caps.rho, now),
        cap_life: caps.rho_life.map(|cap| rho(u128::from(cap))),
        left_life: caps.rho_life.map(|cap| left(cap, balance.spent())),
        renews,
    }
}

fn charge(spent: Spent, delta: u64) -> Charge {
    let units = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
    let at = Delta::units(delta).value();
    let loss =
        loss(Rho::units(units(spent.rho)), Delta::units(units(spent.delta)), spent.coordinates, at);
    let epsilon = match spent.rho {
        0 => Some(0.0),
        _ => loss.map(|loss| loss.epsilon),
    };
    Charge { rho: rho(spent.rho), epsilon, delta: at }
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read; caps are held in integers")]
fn rho(units: u128) -> f64 {
    units as f64 / (1_u64 << budget::RHO_UNIT_BITS) as f64
}

fn instant(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|at| at.to_string())
}

/// As a person reads it.
pub fn text(accounts: &[Account]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(accounts, &mut out);
    out
}

fn write(accounts: &[Account], out: &mut String) -> std::fmt::Result {
    if accounts.is_empty() {
        return writeln!(out, "no account: no window of statistics was charged yet");
    }
    let epsilon = |charge: &Charge| match charge.epsilon {
        Some(epsilon) => format!("epsilon {} at delta {:e}", shown(epsilon), charge.delta),
        None => format!("no epsilon at delta {:e}", charge.delta),
    };
    for account in accounts {
        let Account { space, spent, releases, committed, open, void, .. } = account;
        writeln!(out, "{space}  spent rho {:.6}, {}", spent.rho, epsilon(spent))?;
        writeln!(
            out,
            "  windows: {releases} charged, {committed} outside, {open} open, {void} void"
        )?;
        for policy in &account.policies {
            let Policy { pipeline, level, now, cap, left, .. } = policy;
            writeln!(out, "  {pipeline}  {level}, spent rho {:.6} in all", policy.spent.rho)?;
            let bar = bar(now.rho, *cap);
            let renews = policy.renews.as_ref();
            let renews = renews.map_or_else(String::new, |at| format!("; renews at {at}"));
            writeln!(out, "    {bar}  rho {left:.6} of {cap:.6} left, {}{renews}", epsilon(now))?;
            if let (Some(cap), Some(left)) = (policy.cap_life, policy.left_life) {
                writeln!(
                    out,
                    "    {}  rho {left:.6} of {cap:.6} left for life",
                    self::bar(cap - left, cap)
                )?;
            }
        }
        match &account.runs_out {
            Some(at) => writeln!(out, "  at this rate a window is refused that ends at {at}")?,
            None => writeln!(out, "  at this rate no window is refused within ten years")?,
        }
    }
    Ok(())
}

/// Twenty places, spent ones filled.
fn bar(spent: f64, cap: f64) -> String {
    let share = if cap > 0.0 { (spent / cap).clamp(0.0, 1.0) } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 20")]
    let filled = (share * 20.0).round() as usize;
    format!("[{}{}]", "#".repeat(filled), ".".repeat(20 - filled))
}
