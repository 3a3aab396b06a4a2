//! Columns as the verbs see them: one text a row, whatever the Arrow type.

use arrow::array::{Array, ArrayRef, AsArray};
use douane_schemas::canonical;

use crate::fault::TransformFault;

/// A compiled protection: one column in, one column of the same length out, null for null.
pub trait Protect: Send + Sync {
    /// Protects a column of the Arrow type that the stage was built for.
    ///
    /// # Errors
    /// The first cell that cannot be protected, as a code.
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault>;

    /// The same for a stage whose key hangs on another column of the same rows.
    ///
    /// # Errors
    /// As [`Self::apply`].
    fn apply_per(&self, column: &ArrayRef, _per: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        self.apply(column)
    }
}

/// Calls `each` with the canonical text of every row in order, `None` for null.
pub fn each_text(
    column: &ArrayRef,
    mut each: impl FnMut(Option<&str>) -> Result<(), TransformFault>,
) -> Result<(), TransformFault> {
    if let Some(texts) = column.as_string_opt::<i32>() {
        return texts.iter().try_for_each(each);
    }
    let mut text = String::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            each(None)?;
            continue;
        }
        text.clear();
        canonical::write(column, row, &mut text).map_err(|_| TransformFault::OutOfRange)?;
        each(Some(&text))?;
    }
    Ok(())
}
