//! Typed, length-prefixed tuples: the only way bytes are joined before a hash or a MAC.
//!
//! Format, version 1: each field is one type byte, a length in 4 bytes big-endian, and the bytes.
//! Two different tuples never encode to the same bytes, which a separator cannot promise.

/// Builds one tuple.
#[derive(Clone, Default)]
pub struct Tuple(Vec<u8>);

impl Tuple {
    /// No fields yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds text.
    #[must_use]
    pub fn text(self, value: &str) -> Self {
        self.field(b't', value.as_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(self, value: &[u8]) -> Self {
        self.field(b'b', value)
    }

    /// Adds an unsigned number, 8 bytes big-endian.
    #[must_use]
    pub fn number(self, value: u64) -> Self {
        self.field(b'u', &value.to_be_bytes())
    }

    /// Adds a signed number, 8 bytes big-endian in two's complement.
    #[must_use]
    pub fn signed(self, value: i64) -> Self {
        self.field(b'i', &value.to_be_bytes())
    }

    /// The tuple's bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn field(mut self, kind: u8, value: &[u8]) -> Self {
        // Fields are keys, names and cells; Kafka's largest record is far below 4 GiB.
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.push(kind);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_over_a_border_changes_the_tuple() {
        let left = Tuple::new().text("ab").text("c").finish();
        let right = Tuple::new().text("a").text("bc").finish();
        assert_ne!(left, right);
        assert_ne!(Tuple::new().text("7").finish(), Tuple::new().bytes(b"7").finish());
        assert_eq!(Tuple::new().text("ab").finish(), b"t\0\0\0\x02ab");
    }
}
