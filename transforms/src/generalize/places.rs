//! Texts made coarser: their first characters, or the region that a file says.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::{Protect, each_text};
use crate::fault::{StageFault, TransformFault};

/// Most characters of a prefix.
pub const PREFIX_CHARS_MAX: u32 = 8;
/// Most places of one file of regions.
pub const PLACES_MAX: usize = 10_000;
/// Most bytes of a place, and of a region.
pub const NAME_BYTES_MAX: usize = 128;

/// The first characters of each value.
pub(super) struct Prefix {
    pub(super) length: usize,
    /// Stands for each of the others.
    pub(super) fill: Option<char>,
}

impl Protect for Prefix {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let mut out = StringBuilder::with_capacity(column.len(), column.len() * self.length);
        let mut text = String::new();
        each_text(column, |value| {
            let Some(value) = value else {
                out.append_null();
                return Ok(());
            };
            let end = value.char_indices().nth(self.length).map_or(value.len(), |(end, _)| end);
            let (first, rest) = value.split_at(end);
            let Some(fill) = self.fill else {
                out.append_value(first);
                return Ok(());
            };
            text.clear();
            text.push_str(first);
            text.extend(rest.chars().map(|_| fill));
            out.append_value(&text);
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    }
}

/// `map: { file: regions.csv }`: each value becomes what the file says of it; one that the file
/// does not have is a bad cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Regions")]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// A file beside the pipeline's: `.csv` with a heading and two columns, a place and its region,
    /// or `.yaml` with a line a place, `Graz: Styria`.
    pub file: String,
    /// What the file holds. It is read by whoever reads the pipeline's file, and is fingerprinted
    /// and signed as part of the column's shape.
    #[serde(skip)]
    pub regions: Arc<BTreeMap<String, String>>,
}

impl Map {
    /// # Errors
    /// No place or too many, a name that is empty or too long, no two places with one region, a
    /// place that is a region for itself.
    pub(super) fn check(&self) -> Result<(), StageFault> {
        let regions = &self.regions;
        if !(1..=PLACES_MAX).contains(&regions.len()) {
            return Err(StageFault::Regions("the file holds no place, or over 10000"));
        }
        let named = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
        if !regions.iter().all(|(place, region)| named(place) && named(region)) {
            return Err(StageFault::Regions("a name is empty or longer than 128 bytes"));
        }
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for region in regions.values() {
            *places.entry(region).or_default() += 1;
        }
        if places.len() == regions.len() {
            return Err(StageFault::Regions(
                "each place has a region of its own: nothing is coarser",
            ));
        }
        let alone = |region: &String| places.get(region.as_str()) == Some(&1);
        if regions.iter().any(|(place, region)| place == region && alone(region)) {
            return Err(StageFault::Regions(
                "a place is alone in the region of its own name: it would cross as it is",
            ));
        }
        Ok(())
    }
}

/// The region of each value.
pub(super) struct Regions(pub(super) Arc<BTreeMap<String, String>>);

impl Protect for Regions {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let mut out = StringBuilder::with_capacity(column.len(), column.len() * 16);
        each_text(column, |value| {
            let region = |value: &str| self.0.get(value).ok_or(TransformFault::Unmapped);
            out.append_option(value.map(region).transpose()?);
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    }
}
