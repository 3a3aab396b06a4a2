//! What tokens of one row say about each other, without a token key.

use arrow::array::{Array, ArrayRef, StringArray};

use crate::refusal::RefusalReason;
use crate::shapes::{Cells, ColumnCheck};

/// What tokens of one row say about each other, across key and value columns.
pub(crate) struct TokenCell<'a> {
    check: &'a ColumnCheck,
    cells: Cells<'a>,
}

impl TokenCell<'_> {
    /// `None` for a column that holds no tokens.
    pub(crate) fn new<'a>(
        check: &'a ColumnCheck,
        out: &'a ArrayRef,
        raw: &'a ArrayRef,
    ) -> Option<TokenCell<'a>> {
        check.domain.as_ref().map(|_| TokenCell { check, cells: Cells::new(out, raw) })
    }

    fn token(&self, row: usize) -> Option<&str> {
        let text = (!self.cells.out_is_null(row)).then(|| self.cells.found(row))??;
        // What stands for all values that cannot be tokenised is no token.
        (self.check.constant_of_bad() != Some(text)).then_some(text)
    }
}

/// Checks the tokens of one row: none is the raw text of any leaf; equal raw values of one domain
/// have one token; tokens of two domains differ. It needs no token key, so a token column swapped
/// with another one shows where the record key holds the same leaf.
pub(crate) fn hold_tokens(
    cells: &[TokenCell<'_>],
    raw_texts: &[&StringArray],
    row: usize,
) -> Result<(), RefusalReason> {
    for (i, cell) in cells.iter().enumerate() {
        let Some(token) = cell.token(row) else { continue };
        for raw in raw_texts {
            if !raw.is_null(row) && raw.value(row) == token {
                return Err(RefusalReason::TokenIsRaw);
            }
        }
        for other in &cells[..i] {
            let Some(second) = other.token(row) else { continue };
            let one_domain = cell.check.domain == other.check.domain;
            let agrees = match (one_domain, token == second) {
                (true, true) | (false, false) => true,
                (false, true) => false,
                // The normaliser may make one value of two, but never two of one.
                (true, false) => !same_raw(&cell.cells, &other.cells, row)?,
            };
            if !agrees {
                return Err(RefusalReason::TokenDomain);
            }
        }
    }
    Ok(())
}

fn same_raw(left: &Cells<'_>, right: &Cells<'_>, row: usize) -> Result<bool, RefusalReason> {
    let (mut a, mut b) = (String::new(), String::new());
    let a = left.raw_text(row, &mut a)?;
    let b = right.raw_text(row, &mut b)?;
    Ok(a == b)
}
