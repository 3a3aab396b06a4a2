//! Bins of numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};

use crate::column::{Protect, each_text};
use crate::fault::{StageFault, TransformFault};
use crate::number::Number;

/// Most edges of one list of bins.
pub const EDGES_MAX: usize = 256;

/// Bins between rising edges; a value on an edge lies above it.
pub(super) struct Edges {
    /// Canonical numbers, rising.
    edges: Vec<String>,
    /// The same, where all are 64-bit integers.
    integers: Option<Vec<i64>>,
    /// One more than there are edges.
    pub(super) labels: Vec<String>,
}

impl Edges {
    pub(super) fn new(given: &[serde_json::Number]) -> Result<Self, StageFault> {
        if !(1..=EDGES_MAX).contains(&given.len()) {
            return Err(StageFault::Bins("expected 1 to 256 edges"));
        }
        let mut edges = Vec::with_capacity(given.len());
        for edge in given {
            let text = edge.to_string();
            let number = Number::parse(&text)
                .ok_or(StageFault::Bins("an edge has an exponent; write all its digits"))?;
            let mut canonical = String::new();
            number.write(&mut canonical);
            edges.push(canonical);
        }
        let rises = edges.windows(2).all(|pair| Number::parse(&pair[0]) < Number::parse(&pair[1]));
        if !rises {
            return Err(StageFault::Bins("the edges do not rise"));
        }
        let mut labels = vec![format!("(-inf,{})", edges[0])];
        labels.extend(edges.windows(2).map(|pair| format!("[{},{})", pair[0], pair[1])));
        labels.push(format!("[{},inf)", edges[edges.len() - 1]));
        let integers = edges.iter().map(|edge| edge.parse().ok()).collect();
        Ok(Self { edges, integers, labels })
    }

    fn label_of(&self, text: &str) -> Result<&str, TransformFault> {
        let value = Number::parse(text).ok_or(TransformFault::Unparsable)?;
        let below = |edge: &String| Number::parse(edge).is_some_and(|edge| edge <= value);
        Ok(&self.labels[self.edges.partition_point(below)])
    }

    fn label_of_integer(&self, edges: &[i64], value: i64) -> &str {
        &self.labels[edges.partition_point(|edge| *edge <= value)]
    }
}

impl Protect for Edges {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let mut out = StringBuilder::with_capacity(column.len(), column.len() * 16);
        if let (Some(edges), Some(values)) = (&self.integers, integers(column)) {
            for value in values {
                out.append_option(value.map(|value| self.label_of_integer(edges, value)));
            }
            return Ok(Arc::new(out.finish()));
        }
        each_text(column, |value| {
            out.append_option(value.map(|value| self.label_of(value)).transpose()?);
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    }
}

fn integers(column: &ArrayRef) -> Option<Box<dyn Iterator<Item = Option<i64>> + '_>> {
    Some(match column.data_type() {
        DataType::Int16 => {
            Box::new(column.as_primitive::<Int16Type>().iter().map(|v| v.map(i64::from)))
        }
        DataType::Int32 => {
            Box::new(column.as_primitive::<Int32Type>().iter().map(|v| v.map(i64::from)))
        }
        DataType::Int64 => Box::new(column.as_primitive::<Int64Type>().iter()),
        _ => return None,
    })
}
