//! What a log adds up to: the same fold for what is read back and for what is appended.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{PERIODS_MAX, check_why};
use super::{BudgetFault, Caps, Computed, Level, Opening, ReleaseId, Reserve, What, Window};
use crate::log::Entry;

/// Charges added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Units of 2^-40.
    pub rho: u128,
    /// Units of 2^-80.
    pub delta: u128,
    /// Noised numbers, at most.
    pub coordinates: u128,
}

impl Spent {
    fn of(reserve: &Reserve) -> Self {
        let (rho, delta) = (u128::from(reserve.rho), u128::from(reserve.delta));
        Self { rho, delta, coordinates: u128::from(reserve.coordinates) }
    }

    /// 2^64 charges of 2^64 units each do not fill 128 bits.
    fn and(self, other: Self) -> Self {
        Self {
            rho: self.rho + other.rho,
            delta: self.delta + other.delta,
            coordinates: self.coordinates + other.coordinates,
        }
    }
}

/// How far a release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Charged; nothing of it may be outside.
    Reserved,
    /// Charged and bound to its bytes; they may be outside or not.
    Computed(Computed),
    /// In the target.
    Committed(Computed),
    /// Never in the target. Charged all the same.
    Void {
        /// For people.
        why: String,
    },
}

/// One release of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Index of its RESERVE.
    pub index: u64,
    /// Its charge, and what it was charged for.
    pub reserve: Reserve,
    /// How far it is.
    pub state: State,
}

impl Release {
    /// What it was bound to, where that stands.
    pub fn computed(&self) -> Option<&Computed> {
        match &self.state {
            State::Computed(computed) | State::Committed(computed) => Some(computed),
            State::Reserved | State::Void { .. } => None,
        }
    }
}

/// An account's policies, releases and sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    space: String,
    policies: BTreeMap<String, Opening>,
    releases: BTreeMap<ReleaseId, Release>,
    by_index: BTreeMap<u64, ReleaseId>,
    total: Spent,
    /// By the windows' end and start.
    windows: BTreeMap<(i64, i64), Spent>,
    starts: BTreeSet<i64>,
    /// Length of the longest window: none that ends later than that after an instant begins before it.
    longest_ms: i64,
    /// For each way to cut time that a policy ever had, (origin, length): number of period to sum.
    periods: BTreeMap<(i64, i64), BTreeMap<i64, Spent>>,
}

impl Balance {
    pub(super) fn new(space: &str) -> Self {
        Self {
            space: space.to_owned(),
            policies: BTreeMap::new(),
            releases: BTreeMap::new(),
            by_index: BTreeMap::new(),
            total: Spent::default(),
            windows: BTreeMap::new(),
            starts: BTreeSet::new(),
            longest_ms: 0,
            periods: BTreeMap::new(),
        }
    }

    /// The identity space.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// The policies in force, by name.
    pub fn policies(&self) -> impl Iterator<Item = &Opening> {
        self.policies.values()
    }

    /// The policy in force under this name.
    pub fn policy(&self, name: &str) -> Option<&Opening> {
        self.policies.get(name)
    }

    /// All releases, by policy, window, query and revision.
    pub fn releases(&self) -> impl Iterator<Item = &Release> {
        self.releases.values()
    }

    /// The release of this id.
    pub fn release(&self, id: &ReleaseId) -> Option<&Release> {
        self.releases.get(id)
    }

    pub(super) fn find(&self, id: &ReleaseId) -> Result<&Release, BudgetFault> {
        self.release(id).ok_or_else(|| BudgetFault::Unknown { release: id.clone() })
    }

    /// All charges that there ever were.
    pub fn spent(&self) -> Spent {
        self.total
    }

    /// All charges of a policy.
    pub fn spent_by(&self, policy: &str) -> Spent {
        let own = self.releases().filter(|release| release.reserve.release.policy == policy);
        own.fold(Spent::default(), |sum, release| sum.and(Spent::of(&release.reserve)))
    }

    /// What the cap of this policy holds against at a time: everybody's charges in the period of
    /// `at_ms`, in the stretch that ends at it, or for life.
    pub fn spent_at(&self, policy: &Opening, at_ms: i64) -> Spent {
        match policy.caps.level {
            Level::UnitLifetime => self.total,
            Level::UnitPeriod { origin_ms, length_ms } => {
                let number = at_ms.saturating_sub(origin_ms).div_euclid(length_ms);
                let periods = self.periods.get(&(origin_ms, length_ms));
                periods.and_then(|sums| sums.get(&number)).copied().unwrap_or_default()
            }
            Level::WEvent { length_ms } => self.touching(at_ms.saturating_sub(length_ms), at_ms),
        }
    }

    /// When, if every policy goes on with windows like its last one and charges like its last ones,
    /// a release is refused: the end of that release's window. `None`: not within ten years of
    /// `now_ms`, or within the first hundred thousand releases.
    pub fn runs_out_ms(&self, now_ms: i64) -> Option<i64> {
        const TEN_YEARS_MS: i64 = 3653 * 24 * 3600 * 1000;
        const STEPS_MAX: usize = 100_000;
        let mut ahead = self.clone();
        let mut next: Vec<Reserve> = self.last_of_each().into_values().cloned().collect();
        for _ in 0..STEPS_MAX {
            let reserve = next.iter_mut().min_by_key(|reserve| reserve.release.window.end_ms)?;
            let window = &mut reserve.release.window;
            let length = window.end_ms - window.start_ms;
            *window = Window { start_ms: window.end_ms, end_ms: window.end_ms + length };
            let end = window.end_ms;
            if end > now_ms.saturating_add(TEN_YEARS_MS) {
                return None;
            }
            if ahead.fits(reserve).is_err() {
                return Some(end);
            }
            ahead.charge(reserve);
        }
        None
    }

    /// The release with the last window of each policy in force and query.
    fn last_of_each(&self) -> BTreeMap<(&str, &str), &Reserve> {
        let mut last = BTreeMap::new();
        for release in self.releases() {
            let id = &release.reserve.release;
            if self.policies.contains_key(&id.policy) {
                // Ascending by window.
                last.insert((id.policy.as_str(), id.query.as_str()), &release.reserve);
            }
        }
        last
    }

    /// Whether an entry may come next.
    pub(super) fn check(&self, entry: &Entry) -> Result<(), BudgetFault> {
        match entry {
            Entry::Open(opening) => {
                opening.check()?;
                match opening.space == self.space {
                    true => Ok(()),
                    false => Err(BudgetFault::OtherSpace {
                        found: self.space.clone(),
                        expected: opening.space.clone(),
                    }),
                }
            }
            Entry::Reserve(reserve) => {
                reserve.check()?;
                let release = || reserve.release.clone();
                if self.releases.contains_key(&reserve.release) {
                    return Err(BudgetFault::Exists { release: release() });
                }
                let policy = self.policy(&reserve.release.policy);
                if policy.is_none_or(|policy| policy.digest != reserve.digest) {
                    return Err(BudgetFault::NotInForce { policy: release().policy });
                }
                self.fits(reserve)
            }
            Entry::Computed(computed) => {
                let found = self.at(computed.of)?;
                let release = found.reserve.release.clone();
                match &found.state {
                    State::Reserved => Ok(()),
                    State::Computed(_) => Err(BudgetFault::Differs { release }),
                    State::Committed(before) if before != computed => {
                        Err(BudgetFault::Differs { release })
                    }
                    State::Committed(_) | State::Void { .. } => Err(BudgetFault::Over { release }),
                }
            }
            Entry::Committed { of } => {
                let found = self.at(*of)?;
                let release = found.reserve.release.clone();
                match &found.state {
                    State::Computed(_) => Ok(()),
                    State::Reserved => Err(BudgetFault::NotComputed { release }),
                    State::Committed(_) | State::Void { .. } => Err(BudgetFault::Over { release }),
                }
            }
            Entry::Void { of, why } => {
                check_why(why)?;
                let found = self.at(*of)?;
                match &found.state {
                    State::Reserved | State::Computed(_) => Ok(()),
                    State::Committed(_) | State::Void { .. } => {
                        Err(BudgetFault::Over { release: found.reserve.release.clone() })
                    }
                }
            }
            _ => Err(BudgetFault::Invalid { why: "no entry of an account" }),
        }
    }

    fn at(&self, of: u64) -> Result<&Release, BudgetFault> {
        let release = self.by_index.get(&of).and_then(|id| self.releases.get(id));
        release.ok_or(BudgetFault::Invalid { why: "it is of no RESERVE" })
    }

    /// Takes an entry that was checked.
    pub(super) fn take(&mut self, index: u64, entry: Entry) -> Result<(), BudgetFault> {
        match entry {
            Entry::Open(opening) => {
                if let Level::UnitPeriod { origin_ms, length_ms } = opening.caps.level {
                    self.cut(origin_ms, length_ms);
                }
                self.policies.insert(opening.policy.clone(), opening);
            }
            Entry::Reserve(reserve) => {
                self.charge(&reserve);
                let id = reserve.release.clone();
                self.by_index.insert(index, id.clone());
                let state = State::Reserved;
                self.releases.insert(id, Release { index, reserve, state });
            }
            Entry::Computed(computed) => {
                let release = self.state(computed.of, index)?;
                release.state = State::Computed(computed);
            }
            Entry::Committed { of } => {
                let release = self.state(of, index)?;
                let computed = release.computed().cloned();
                release.state =
                    State::Committed(computed.ok_or(BudgetFault::Contradiction { index })?);
            }
            Entry::Void { of, why } => self.state(of, index)?.state = State::Void { why },
            _ => return Err(BudgetFault::Contradiction { index }),
        }
        Ok(())
    }

    fn state(&mut self, of: u64, index: u64) -> Result<&mut Release, BudgetFault> {
        let id = self.by_index.get(&of);
        let release = id.and_then(|id| self.releases.get_mut(id));
        release.ok_or(BudgetFault::Contradiction { index })
    }

    fn charge(&mut self, reserve: &Reserve) {
        let (charge, window) = (Spent::of(reserve), reserve.release.window);
        self.total = self.total.and(charge);
        let same = self.windows.entry((window.end_ms, window.start_ms)).or_default();
        *same = same.and(charge);
        self.starts.insert(window.start_ms);
        self.longest_ms = self.longest_ms.max(window.end_ms - window.start_ms);
        for (cut, sums) in &mut self.periods {
            for number in touched(*cut, window) {
                let sum = sums.entry(number).or_default();
                *sum = sum.and(charge);
            }
        }
    }

    /// Adds all releases up by periods that nobody asked for before.
    fn cut(&mut self, origin_ms: i64, length_ms: i64) {
        let cut = (origin_ms, length_ms);
        if self.periods.contains_key(&cut) {
            return;
        }
        let mut sums: BTreeMap<i64, Spent> = BTreeMap::new();
        for release in self.releases.values() {
            for number in touched(cut, release.reserve.release.window) {
                let sum = sums.entry(number).or_default();
                *sum = sum.and(Spent::of(&release.reserve));
            }
        }
        self.periods.insert(cut, sums);
    }

    /// Charges of windows of which some is in the stretch from `from` to before `to`.
    fn touching(&self, from: i64, to: i64) -> Spent {
        if from >= to {
            return Spent::default();
        }
        self.windows
            .range(
                (from.saturating_add(1), i64::MIN)..=(to.saturating_add(self.longest_ms), i64::MAX),
            )
            .filter(|((_, start), _)| *start < to)
            .fold(Spent::default(), |sum, (_, spent)| sum.and(*spent))
    }

    /// The first end after `after` of a stretch that begins or ends where a window does, this one or
    /// one that is charged. Only these are held against a cap: w windows in a row are such a
    /// stretch, and one that lies across them touches w + 1.
    fn end_of_stretch(&self, after: i64, length_ms: i64, window: Window) -> i64 {
        let known = self.windows.range((after.saturating_add(1), i64::MIN)..).next();
        let begun = self.starts.range(after.saturating_sub(length_ms).saturating_add(1)..).next();
        let own = [window.end_ms, window.start_ms.saturating_add(length_ms)];
        own.into_iter()
            .filter(|end| *end > after)
            .chain(known.map(|((end, _), _)| *end))
            .chain(begun.map(|start| start.saturating_add(length_ms)))
            .min()
            .unwrap_or(i64::MAX)
    }

    /// Every policy's caps, with this charge.
    fn fits(&self, reserve: &Reserve) -> Result<(), BudgetFault> {
        for policy in self.policies.values() {
            self.fits_under(&policy.policy, &policy.caps, reserve)?;
        }
        Ok(())
    }

    fn fits_under(&self, policy: &str, caps: &Caps, reserve: &Reserve) -> Result<(), BudgetFault> {
        let full = |what, needed: u64, cap: u64, spent: u128, renews_ms| BudgetFault::Full {
            policy: policy.to_owned(),
            what,
            needed,
            left: cap.saturating_sub(u64::try_from(spent).unwrap_or(u64::MAX)),
            cap,
            // What is above the cap by itself never fits.
            renews_ms: if needed > cap { None } else { renews_ms },
        };
        let passes = |spent: u128, needed: u64, cap: u64| {
            needed > 0 && spent + u128::from(needed) > u128::from(cap)
        };
        let (rho, delta) = (reserve.rho, reserve.delta);
        if let Some(life) = caps.rho_life.filter(|life| passes(self.total.rho, rho, *life)) {
            return Err(full(What::RhoLife, rho, life, self.total.rho, None));
        }
        let worst = self.worst(caps.level, reserve.release.window)?;
        let renews = || self.renews_ms(caps, reserve);
        match () {
            () if passes(worst.rho, rho, caps.rho) => {
                Err(full(What::Rho, rho, caps.rho, worst.rho, renews()))
            }
            () if passes(worst.delta, delta, caps.selecting()) => {
                Err(full(What::Delta, delta, caps.selecting(), worst.delta, renews()))
            }
            () => Ok(()),
        }
    }

    /// From which start on windows as long as this one fit, if nothing else is charged meanwhile.
    fn renews_ms(&self, caps: &Caps, reserve: &Reserve) -> Option<i64> {
        let window = reserve.release.window;
        match caps.level {
            Level::UnitLifetime => None,
            Level::UnitPeriod { origin_ms, length_ms } => {
                let last = *touched((origin_ms, length_ms), window).end();
                Some((last + 1).saturating_mul(length_ms).saturating_add(origin_ms))
            }
            Level::WEvent { length_ms } => {
                let long = window.end_ms - window.start_ms;
                // Where a window that is charged and this one are in no stretch together any more.
                let apart = |(end, start): (i64, i64)| {
                    let own = end.saturating_add(length_ms).saturating_sub(long);
                    own.max(start.saturating_add(length_ms)).max(end)
                };
                let from = window.start_ms.saturating_sub(length_ms);
                let near = self.windows.range((from.saturating_add(1), i64::MIN)..);
                let starts: BTreeSet<i64> = near.map(|(at, _)| apart(*at)).collect();
                let fits = |start: &i64| {
                    let end_ms = start.saturating_add(long);
                    let worst = self.worst(caps.level, Window { start_ms: *start, end_ms }).ok()?;
                    let rho = worst.rho + u128::from(reserve.rho) <= u128::from(caps.rho);
                    let delta =
                        worst.delta + u128::from(reserve.delta) <= u128::from(caps.selecting());
                    (rho && (delta || reserve.delta == 0)).then_some(*start)
                };
                starts.range(window.start_ms.saturating_add(1)..).find_map(fits)
            }
        }
    }

    /// The most that is spent in any stretch of time which the window would be charged to.
    fn worst(&self, level: Level, window: Window) -> Result<Spent, BudgetFault> {
        let most = |a: Spent, b: Spent| Spent {
            rho: a.rho.max(b.rho),
            delta: a.delta.max(b.delta),
            coordinates: a.coordinates.max(b.coordinates),
        };
        match level {
            Level::UnitLifetime => Ok(self.total),
            Level::UnitPeriod { origin_ms, length_ms } => {
                let numbers = touched((origin_ms, length_ms), window);
                if numbers.end() - numbers.start() >= PERIODS_MAX {
                    return Err(BudgetFault::Invalid { why: "a window touches over 4096 periods" });
                }
                let sums = self.periods.get(&(origin_ms, length_ms));
                let spent =
                    numbers.filter_map(|number| sums.and_then(|sums| sums.get(&number)).copied());
                Ok(spent.fold(Spent::default(), most))
            }
            Level::WEvent { length_ms } => {
                // What is in a stretch grows only where a window begins; from there to the end of the
                // next stretch windows only leave it.
                let (start, until) = (window.start_ms, window.end_ms.saturating_add(length_ms));
                let later = self.starts.range(start.saturating_add(1)..until).copied();
                let spent = std::iter::once(start)
                    .chain(later)
                    .map(|after| self.end_of_stretch(after, length_ms, window))
                    .filter(|end| *end < until)
                    .map(|end| self.touching(end.saturating_sub(length_ms), end));
                Ok(spent.fold(Spent::default(), most))
            }
        }
    }
}

/// The periods that a window touches.
fn touched((origin, length): (i64, i64), window: Window) -> std::ops::RangeInclusive<i64> {
    let number = |ms: i64| ms.saturating_sub(origin).div_euclid(length);
    number(window.start_ms)..=number(window.end_ms - 1)
}
