//! Which characters at the ends of a value stay as they are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of characters (Unicode scalar values, separators counted) kept at the ends of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Characters kept at the start.
    #[serde(default)]
    pub first: u32,
    /// Characters kept at the end.
    #[serde(default)]
    pub last: u32,
}

impl Keep {
    /// Cuts a value into (kept, middle, kept). None where it has no more characters than are kept.
    pub fn cut(self, value: &str) -> Option<(&str, &str, &str)> {
        let start = match self.first as usize {
            0 => 0,
            first => value.char_indices().nth(first)?.0,
        };
        let end = match self.last as usize {
            0 => value.len(),
            last => value.char_indices().rev().nth(last - 1)?.0,
        };
        (start < end).then(|| (&value[..start], &value[start..end], &value[end..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_by_characters() {
        let keep = Keep { first: 2, last: 1 };
        assert_eq!(keep.cut("äbcdé"), Some(("äb", "cd", "é")));
        assert_eq!(keep.cut("abcd"), Some(("ab", "c", "d")));
        for short in ["abc", "ab", "a", ""] {
            assert_eq!(keep.cut(short), None, "{short}");
        }
        assert_eq!(Keep::default().cut("a"), Some(("", "a", "")));
        assert_eq!(Keep::default().cut(""), None);
    }
}
