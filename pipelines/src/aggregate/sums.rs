//! The arithmetic of `transforms/src/dp` on what lies in the store.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use douane_kernels::alias_table::AliasTable;
use douane_ledger::budget::{ReleaseId, Reserve};
use douane_schemas::keys::Key;
use douane_transforms::dp::bounding::{Bounded, Change as Offer, GroupKey, Rows};
use douane_transforms::dp::decode::quantile;
use douane_transforms::dp::design::Query;
use douane_transforms::dp::release::{self, Noised as Release, Tables};
use douane_transforms::dp::sampler::Sampler;
use douane_transforms::dp::sums::{Exact, Sums};
use douane_transforms::dp::window::Window;

use super::drawing::Drawing;
use super::fold::Change;
use super::keys::SpaceKeys;
use super::store::Store;
use crate::config::Aggregate;
use crate::fault::RunFault;

/// What is known of a design before a row is read.
pub struct Bounding {
    aggregate: Aggregate,
    tables: Tables,
    row: Key,
    group: Key,
}

impl Bounding {
    pub fn new(aggregate: &Aggregate, keys: &SpaceKeys) -> Result<Self, RunFault> {
        let tables = Tables::new(&aggregate.design);
        Ok(Self {
            tables: tables.map_err(|fault| RunFault::Window(fault.to_string()))?,
            aggregate: aggregate.clone(),
            row: keys.samp_row.clone(),
            group: keys.samp_group.clone(),
        })
    }

    /// The draws of a window.
    pub fn sampler(&self, window: i64) -> Sampler {
        Sampler::new(&self.row, &self.group, window_of(&self.aggregate, window))
    }

    /// What is kept of a unit in a window after these changes, in the order of their records.
    pub fn apply(
        &self,
        sampler: &mut Sampler,
        before: Option<&[u8]>,
        changes: &[Change],
    ) -> Result<Vec<u8>, RunFault> {
        let limits = self.aggregate.design.limits();
        let mut kept = match before {
            Some(bytes) => Bounded::from_bytes(limits, bytes).map_err(damaged)?,
            None => Bounded::default(),
        };
        let rows = sampler.rows(changes.iter().map(|change| (change.unit, &change.row[..])));
        let with_group = |change| -> Option<_> {
            let change: &Change = change;
            Some((change.unit, &change.state.as_ref()?.group))
        };
        let mut groups = sampler.groups(changes.iter().filter_map(with_group)).into_iter();
        for (change, row_tag) in changes.iter().zip(rows) {
            match &change.state {
                None => kept.withdraw(limits, row_tag, change.order),
                Some(counted) => {
                    let offer = Offer {
                        group: &counted.group,
                        group_tag: groups.next().unwrap_or_default(),
                        row_tag,
                        order: change.order,
                        values: &counted.values,
                    };
                    kept.offer(limits, Rows::Change, offer);
                }
            }
        }
        Ok(kept.to_bytes(limits))
    }

    /// The sums of a window before noise: as secret as the rows.
    pub fn sums(&self, store: &Store, window: i64) -> Result<Exact, RunFault> {
        let mut sums = Sums::new(&self.aggregate.design);
        store.window(window, |bytes| self.add(&mut sums, bytes))?;
        Ok(sums.finish())
    }

    /// As [`Bounding::sums`], of units at hand.
    pub fn sums_of<'u>(&self, units: impl Iterator<Item = &'u [u8]>) -> Result<Exact, RunFault> {
        let mut sums = Sums::new(&self.aggregate.design);
        for bytes in units {
            self.add(&mut sums, bytes)?;
        }
        Ok(sums.finish())
    }

    fn add(&self, sums: &mut Sums<'_>, bytes: &[u8]) -> Result<(), RunFault> {
        let limits = self.aggregate.design.limits();
        sums.add(&Bounded::from_bytes(limits, bytes).map_err(damaged)?);
        Ok(())
    }

    /// What one window is charged.
    pub fn rho(&self) -> u64 {
        self.aggregate.design.rho().in_units()
    }

    /// What selecting its groups costs beside it.
    pub fn delta(&self) -> u64 {
        self.aggregate.design.delta().in_units()
    }

    /// How many numbers with noise a release has, or one unit can change of it.
    pub fn coordinates(&self) -> u64 {
        self.aggregate.coordinates()
    }

    /// Digests of the tables of noise.
    pub fn tables(&self) -> Vec<String> {
        self.tables.digests().iter().map(|digest| HEXLOWER.encode(digest)).collect()
    }

    /// The sums with noise: the same sums of the same release have the same, whatever draws it.
    pub fn noise(
        &self,
        sums: &Exact,
        id: &ReleaseId,
        reserve: &Reserve,
        keys: &SpaceKeys,
        drawing: &mut Drawing,
    ) -> Result<Noised, RunFault> {
        let policy = HEXLOWER.decode(reserve.digest.as_bytes()).ok();
        let policy: [u8; 32] = policy
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| RunFault::Window("the policy's digest is not 32 bytes".to_owned()))?;
        let of = release::ReleaseId {
            policy: &id.policy,
            window: Window { start_ms: id.window.start_ms, end_ms: id.window.end_ms },
            query: &id.query,
            revision: id.revision,
        };
        let (design, tables) = (&self.aggregate.design, &self.tables);
        let of = (of, &policy);
        let mut draw = |key: &[u8; 32], table: &AliasTable, statistic, first, count| {
            drawing.draw(key, table, statistic, first, count)
        };
        let noised = release::release_with(design, tables, &keys.noise, of, sums, &mut draw);
        let release = noised.map_err(|fault| RunFault::Window(fault.to_string()))?;
        Ok(Noised::new(&self.aggregate, &release))
    }

    /// The sums themselves, in the same form: for tests, whose rows are invented.
    pub fn plain(&self, sums: &Exact) -> Noised {
        let components = 0..self.aggregate.design.components().len();
        let release = Release {
            keys: sums.keys().to_vec(),
            components: components.map(|at| sums.component(at).to_vec()).collect(),
        };
        Noised::new(&self.aggregate, &release)
    }
}

fn damaged(fault: impl std::fmt::Display) -> RunFault {
    RunFault::Window(format!("store of open windows: {fault}"))
}

fn window_of(aggregate: &Aggregate, window: i64) -> Window {
    Window { start_ms: aggregate.start_ms(window), end_ms: aggregate.start_ms(window + 1) }
}

/// Integers with noise, a column after the other, groups in the order of the release.
pub struct Noised {
    /// The keys of each group.
    groups: Vec<Vec<String>>,
    /// Whether the groups themselves are a result.
    selected: bool,
    columns: Vec<Vec<i64>>,
}

impl Noised {
    fn new(aggregate: &Aggregate, release: &Release) -> Self {
        let selected = aggregate.threshold.is_some();
        let texts = |key: &GroupKey| -> Vec<String> {
            key.parts().into_iter().flatten().flatten().map(str::to_owned).collect()
        };
        let keys = match selected {
            true => release.keys.iter().map(texts).collect(),
            false => aggregate.group_keys(),
        };
        let place = |keys: &Vec<String>| {
            let key = GroupKey::new(keys.iter().map(|key| Some(key.as_str())));
            release.keys.binary_search(&key).unwrap_or(usize::MAX)
        };
        let places: Vec<usize> = keys.iter().map(place).collect();
        let design = &aggregate.design;
        let components = design.components().iter().zip(&release.components);
        let columns = components.flat_map(|(component, values)| {
            if matches!(component.query, Query::Tree { .. }) {
                let of = |(_, rank): (String, u32)| {
                    let of = |place: &usize| {
                        let place = *place;
                        quantile(design, release, &component.query, rank, place).unwrap_or(0)
                    };
                    places.iter().map(of).collect()
                };
                return aggregate.ranks_of(&component.query).into_iter().map(of).collect();
            }
            let width = component.width as usize;
            // An array is one column, with all of a group's numbers in turn.
            let wide = if component.query == Query::Vector { width } else { 1 };
            let column = |at: usize| {
                let of = |place: &usize| {
                    let number = place.saturating_mul(width).saturating_add(at);
                    let own = values.get(number..number.saturating_add(wide));
                    own.map_or(vec![0; wide], <[i64]>::to_vec)
                };
                places.iter().flat_map(of).collect()
            };
            (0..width).step_by(wide.max(1)).map(column).collect::<Vec<Vec<i64>>>()
        });
        let columns = columns.collect();
        Self { columns, groups: keys, selected }
    }

    /// The keys of each group, in the order of the rows.
    pub fn groups(&self) -> &[Vec<String>] {
        &self.groups
    }

    /// All groups' integers of one column, an array's in turn.
    pub fn column(&self, at: usize) -> impl Iterator<Item = i64> + '_ {
        self.columns.get(at).into_iter().flatten().copied()
    }

    /// SHA-256 of what is sent of them.
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = b"douane-dp-output-v1\n".to_vec();
        for column in &self.columns {
            bytes.extend_from_slice(&(column.len() as u64).to_be_bytes());
            column.iter().for_each(|value| bytes.extend_from_slice(&value.to_be_bytes()));
        }
        // Public keys are the release's.
        for key in self.groups.iter().filter(|_| self.selected) {
            bytes.extend_from_slice(GroupKey::new(key.iter().map(|k| Some(k.as_str()))).bytes());
        }
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
        out
    }
}
