//! `f` to noised integers, under a key that hangs on what is released, from what, and on `f` itself:
//! the same release of the same data has the same bytes wherever it is computed, and a release of
//! data that differs by one bit has unrelated noise. So computing again gives nothing away, and no
//! two outputs have noise that cancels.

use douane_kernels::alias_table::{AliasTable, TableFault};
use douane_kernels::noise::{self, NoiseFault};
use douane_schemas::keys::{Key, Purpose};
use douane_schemas::tuple::Tuple;
use zeroize::Zeroizing;

use super::accountant::Delta;
use super::bounding::GroupKey;
use super::design::{Design, Groups, Query};
use super::sums::Exact;
use super::window::Window;

/// What there is one release of: the ledger's release id.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseId<'a> {
    /// The policy's name: its pipeline's.
    pub policy: &'a str,
    /// Of which window.
    pub window: Window,
    /// The aggregate's name within the policy.
    pub query: &'a str,
    /// From 0.
    pub revision: u32,
}

/// The noise of each component of a design, and the threshold of selected groups.
pub struct Tables {
    tables: Vec<AliasTable>,
    threshold: Option<i32>,
}

impl Tables {
    /// Builds them; takes up to a second for the widest.
    ///
    /// # Errors
    /// [`TableFault`].
    pub fn new(design: &Design) -> Result<Self, TableFault> {
        let build = |component: &super::design::Component| AliasTable::new(component.variance);
        let tables = design.components().iter().map(build).collect::<Result<Vec<_>, _>>()?;
        let of = |units: usize, delta: Delta| Some(threshold_of(design, tables.get(units)?, delta));
        let threshold = selection(design).and_then(|(units, delta)| of(units, delta));
        Ok(Self { tables, threshold })
    }

    /// SHA-256 of each, in the components' order.
    pub fn digests(&self) -> Vec<[u8; 32]> {
        self.tables.iter().map(AliasTable::digest).collect()
    }

    /// A group is released if its noisy count of persons is at least this.
    pub fn threshold(&self) -> Option<i32> {
        self.threshold
    }

    /// Of each component.
    pub fn tables(&self) -> &[AliasTable] {
        &self.tables
    }
}

/// The component that counts persons, and what selecting groups by it costs.
fn selection(design: &Design) -> Option<(usize, Delta)> {
    match design.groups() {
        Groups::Public(_) => None,
        Groups::Selected { delta } => Some((design.component(&Query::Units)?, *delta)),
    }
}

fn threshold_of(design: &Design, table: &AliasTable, delta: Delta) -> i32 {
    table.threshold(delta.in_units().into(), design.limits().groups)
}

/// The threshold alone, without the tables of the other components. `None`: groups are public.
///
/// # Errors
/// [`TableFault`].
pub fn threshold(design: &Design) -> Result<Option<i32>, TableFault> {
    let Some((units, delta)) = selection(design) else { return Ok(None) };
    let Some(component) = design.components().get(units) else { return Ok(None) };
    let table = AliasTable::new(component.variance)?;
    Ok(Some(threshold_of(design, &table, delta)))
}

/// What may leave: groups and noised integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noised {
    /// Ascending by their bytes.
    pub keys: Vec<GroupKey>,
    /// Of each component: all groups' integers in turn.
    pub components: Vec<Vec<i64>>,
}

/// How samples are drawn: the processor's way ([`noise::twin`]), or a device's that gives the same.
pub type Draw<'a> =
    dyn FnMut(&[u8; 32], &AliasTable, u32, u64, usize) -> Result<Vec<i32>, NoiseFault> + 'a;

/// Releases on the processor.
///
/// # Errors
/// As [`release_with`].
pub fn release(
    design: &Design,
    tables: &Tables,
    key: &Key,
    (id, policy): (ReleaseId<'_>, &[u8; 32]),
    f: &Exact,
) -> Result<Noised, NoiseFault> {
    release_with(design, tables, key, (id, policy), f, &mut noise::twin)
}

/// Releases. `key`: of purpose `dp-noise`, random and wrapped, and as secret as the rows: who has it
/// and a release takes the noise off. `policy`: digest of the policy that is in force.
///
/// # Errors
/// [`NoiseFault`] for more than 2^34 integers of one statistic.
pub fn release_with(
    design: &Design,
    tables: &Tables,
    key: &Key,
    (id, policy): (ReleaseId<'_>, &[u8; 32]),
    f: &Exact,
    draw: &mut Draw<'_>,
) -> Result<Noised, NoiseFault> {
    let key = release_key(key, id, policy, tables, f);
    let mut components = Vec::new();
    for (at, (component, table)) in design.components().iter().zip(&tables.tables).enumerate() {
        let sums = f.component(at);
        // unwrap safety: there are fewer than 2^32 components.
        let statistic = u32::try_from(at).unwrap_or(u32::MAX);
        // Who has it takes it off.
        let noise = Zeroizing::new(draw(key.secret(), table, statistic, 0, sums.len())?);
        let shift = component.shift;
        let noised = |(sum, z): (&i64, &i32)| ((sum >> shift) + i64::from(*z)) << shift;
        components.push(sums.iter().zip(noise.iter()).map(noised).collect::<Vec<i64>>());
    }
    let mut noised = Noised { keys: f.keys().to_vec(), components };
    if let (Some(least), Some(units)) = (tables.threshold, design.component(&Query::Units)) {
        let counts = noised.components.get(units).map_or(&[][..], Vec::as_slice);
        let named: Vec<bool> = counts.iter().map(|count| *count >= i64::from(least)).collect();
        let mut groups = named.iter();
        noised.keys.retain(|_| groups.next().is_some_and(|named| *named));
        for (values, component) in noised.components.iter_mut().zip(design.components()) {
            let mut at = 0;
            values.retain(|_| {
                at += 1;
                named.get((at - 1) / component.width as usize).is_some_and(|named| *named)
            });
        }
    }
    Ok(noised)
}

/// HKDF-Expand of the noise key over what is released (docs/formats.md, Release of aggregates).
fn release_key(key: &Key, id: ReleaseId<'_>, policy: &[u8; 32], tables: &Tables, f: &Exact) -> Key {
    debug_assert_eq!(key.purpose(), Purpose::DpNoise);
    let info = Tuple::new()
        .text(id.policy)
        .signed(id.window.start_ms)
        .signed(id.window.end_ms)
        .text(id.query)
        .number(u64::from(id.revision))
        .bytes(policy)
        .number(tables.tables.len() as u64);
    let info = tables.tables.iter().fold(info, |info, table| info.bytes(&table.digest()));
    key.subkey(info.bytes(&f.digest()))
}
