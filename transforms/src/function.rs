//! The one file that names DataFusion: a compiled protection as an immutable scalar function.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::column::Protect;
use crate::fault::TransformFault;

/// Most bytes of one input column in one batch; keeps 32-bit offsets of the output in range.
pub const COLUMN_BYTES_MAX: usize = 256 << 20;
/// Most rows of one batch, for the same reason.
pub const ROWS_MAX: usize = 1 << 24;

/// Wraps a compiled protection. `identity` names verb, config, leaf and key ids: two functions are
/// equal when it is. `inputs` are of the column and, where its key hangs on another, of that one.
pub fn scalar(
    verb: &'static str,
    identity: String,
    inputs: Vec<DataType>,
    output: DataType,
    protect: Arc<dyn Protect>,
) -> ScalarUDF {
    let signature = Signature::exact(inputs, Volatility::Immutable);
    ScalarUDF::new_from_impl(Function { verb, identity, signature, output, protect })
}

struct Function {
    verb: &'static str,
    identity: String,
    signature: Signature,
    output: DataType,
    protect: Arc<dyn Protect>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("verb", &self.verb).finish_non_exhaustive()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.verb
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.output.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut arrays = args.args.into_iter();
        let (Some(value), per, None) = (arrays.next(), arrays.next(), arrays.next()) else {
            let verb = self.verb;
            return Err(DataFusionError::Internal(format!("{verb} takes one column or two")));
        };
        let column = value.into_array(rows)?;
        let per = per.map(|per| per.into_array(rows)).transpose()?;
        let fits = column.len() <= ROWS_MAX
            && column.to_data().get_slice_memory_size()? <= COLUMN_BYTES_MAX;
        if !fits {
            return Err(DataFusionError::External(Box::new(TransformFault::TooLong)));
        }
        match per {
            Some(per) => self.protect.apply_per(&column, &per),
            None => self.protect.apply(&column),
        }
        .map(ColumnarValue::Array)
        .map_err(|fault| DataFusionError::External(Box::new(fault)))
    }
}
