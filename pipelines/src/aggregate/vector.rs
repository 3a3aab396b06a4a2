//! A vector of numbers as it lies in a record: an array of numbers, or bytes of floats of 32 bits.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use douane_transforms::dp::decimal::Decimal;
use douane_transforms::dp::design::Clip;

/// The entries in steps of the grid, cut towards zero. None: there are more or fewer than declared,
/// or one is no finite number.
pub fn entries(array: &ArrayRef, row: usize, clip: Clip) -> Option<Vec<i64>> {
    let dims = clip.dimensions as usize;
    let steps = |number: Decimal| clip.grid.steps(number);
    let entries: Vec<i64> = match array.data_type() {
        // Canonical JSON: no spaces.
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            let numbers = inner.split(',').take(dims + 1);
            numbers.map(|number| Some(steps(number.parse().ok()?))).collect::<Option<_>>()?
        }
        DataType::Binary => {
            let (floats, rest) = array.as_binary::<i32>().value(row).as_chunks::<4>();
            if floats.len() != dims || !rest.is_empty() {
                return None;
            }
            let finite = |bytes: &[u8; 4]| {
                let float = Some(f32::from_le_bytes(*bytes)).filter(|float| float.is_finite())?;
                Some(steps(Decimal::of_f32(float)?))
            };
            floats.iter().map(finite).collect::<Option<_>>()?
        }
        _ => return None,
    };
    (entries.len() == dims).then_some(entries)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, StringArray};
    use douane_transforms::dp::decimal::Grid;

    use super::*;

    fn clip(dimensions: u32) -> Clip {
        let grid = Grid::new("0.01".parse().unwrap()).unwrap();
        Clip { dimensions, grid, norm: 100 }
    }

    fn of_text(text: &str, dimensions: u32) -> Option<Vec<i64>> {
        let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
        entries(&array, 0, clip(dimensions))
    }

    fn of_floats(floats: &[f32], dimensions: u32) -> Option<Vec<i64>> {
        let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        let array: ArrayRef = Arc::new(BinaryArray::from(vec![&bytes[..]]));
        entries(&array, 0, clip(dimensions))
    }

    #[test]
    fn numbers_are_cut_to_the_grid_towards_zero_in_both_forms() {
        let expected = Some(vec![29, -29, 100, 0, -2_000]);
        assert_eq!(of_text("[0.29,-0.299,1,1e-7,-2e+1]", 5), expected);
        // 0.29 of 32 bits is 0.29 by its shortest text.
        assert_eq!(of_floats(&[0.29, -0.299, 1.0, 1e-7, -20.0], 5), expected);
    }

    #[test]
    fn what_is_no_vector_of_so_many_finite_numbers_is_none() {
        for text in [
            "[]",
            "[1]",
            "[1,2,3]",
            "[1,null]",
            "[1,\"NaN\"]",
            "[1,[2]]",
            "[[1,2]]",
            "[1,true]",
            "{}",
            "1,2",
            "[1,2",
            "[1, 2]",
            "[1,,2]",
            "[1,1e999]",
            "",
        ] {
            assert_eq!(of_text(text, 2), None, "{text}");
        }
        for floats in [&[1.0][..], &[1.0; 3], &[1.0, f32::NAN], &[1.0, f32::INFINITY]] {
            assert_eq!(of_floats(floats, 2), None);
        }
        let odd: ArrayRef = Arc::new(BinaryArray::from(vec![&[0_u8; 9][..]]));
        assert_eq!(entries(&odd, 0, clip(2)), None);
        assert_eq!(of_text("[1,2]", 2), Some(vec![100, 200]));
    }
}
