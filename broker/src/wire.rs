//! Kafka's primitive types: what arrives is read from a bounded slice, what is answered is built in one buffer.
//!
//! Since KIP-482 a message is either plain or flexible: compact lengths, and tagged fields after each structure.
//! `flexible` says which; no tag is known here, so all are passed over and none is written.

/// A request that does not follow the protocol. Says which part, never what stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Items that one array may have. Kafka has no such limit; its arrays here are topics, partitions and settings.
const ITEMS_MAX: usize = 100_000;

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

type Read<T> = Result<T, Malformed>;

macro_rules! numbers {
    ($($name:ident)*) => {
        impl Reader<'_> {
            $(pub(crate) fn $name(&mut self) -> Read<$name> {
                let (head, rest) =
                    self.rest.split_first_chunk().ok_or(Malformed("a number is cut off"))?;
                self.rest = rest;
                Ok($name::from_be_bytes(*head))
            })*
        }
        impl Writer {
            $(pub(crate) fn $name(&mut self, value: $name) {
                self.bytes.extend_from_slice(&value.to_be_bytes());
            })*
        }
    };
}
numbers!(i8 i16 i32 i64);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, flexible: false }
    }

    /// From here on as flexible messages have it, or not.
    pub(crate) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    pub(crate) fn bool(&mut self) -> Read<bool> {
        Ok(self.i8()? != 0)
    }

    pub(crate) fn raw(&mut self, count: usize) -> Read<&'a [u8]> {
        let (head, rest) =
            self.rest.split_at_checked(count).ok_or(Malformed("a field is cut off"))?;
        self.rest = rest;
        Ok(head)
    }

    /// 32 bits at most.
    fn varint(&mut self) -> Read<u32> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.raw(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Malformed("a length beyond 32 bits"));
            }
        }
        Err(Malformed("a length beyond 32 bits"))
    }

    /// A length as `N` bits have it in plain messages, or a compact one; `None` is null.
    fn length(&mut self, plain: impl FnOnce(&mut Self) -> Read<i64>) -> Read<Option<usize>> {
        if self.flexible {
            return Ok(self.varint()?.checked_sub(1).map(|length| length as usize));
        }
        match plain(self)? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| Malformed("a negative length")),
        }
    }

    pub(crate) fn nullable_text(&mut self) -> Read<Option<&'a str>> {
        let length = self.length(|reader| reader.i16().map(i64::from))?;
        let Some(length) = length else { return Ok(None) };
        if length > i16::MAX as usize {
            return Err(Malformed("a text beyond 32767 bytes"));
        }
        let text = std::str::from_utf8(self.raw(length)?);
        text.map(Some).map_err(|_| Malformed("a text that is no UTF-8"))
    }

    pub(crate) fn text(&mut self) -> Read<&'a str> {
        self.nullable_text()?.ok_or(Malformed("null in place of a text"))
    }

    pub(crate) fn nullable_bytes(&mut self) -> Read<Option<&'a [u8]>> {
        match self.length(|reader| reader.i32().map(i64::from))? {
            None => Ok(None),
            Some(length) => self.raw(length).map(Some),
        }
    }

    pub(crate) fn bytes(&mut self) -> Read<&'a [u8]> {
        self.nullable_bytes()?.ok_or(Malformed("null in place of bytes"))
    }

    /// An array of numbers or texts.
    pub(crate) fn nullable_list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Option<Vec<T>>> {
        let count = self.length(|reader| reader.i32().map(i64::from))?;
        let Some(count) = count else { return Ok(None) };
        // Each item has a byte at least, so a count is known to be wrong before anything is kept for it.
        if count > ITEMS_MAX || count > self.rest.len() {
            return Err(Malformed("an array with too many items"));
        }
        (0..count).map(|_| item(self)).collect::<Read<Vec<T>>>().map(Some)
    }

    pub(crate) fn list<T>(&mut self, item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        self.nullable_list(item)?.ok_or(Malformed("null in place of an array"))
    }

    /// An array of structures.
    pub(crate) fn nullable_array<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Option<Vec<T>>> {
        self.nullable_list(|reader| {
            let item = item(reader)?;
            reader.tags()?;
            Ok(item)
        })
    }

    pub(crate) fn array<T>(&mut self, item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        self.nullable_array(item)?.ok_or(Malformed("null in place of an array"))
    }

    /// The end of a structure: fields that this version of it may have or not.
    pub(crate) fn tags(&mut self) -> Read<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()? as usize;
            self.raw(length)?;
        }
        Ok(())
    }
}

/// An answer, with room for its length in front.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    flexible: bool,
}

impl Writer {
    pub(crate) fn new(correlation: i32) -> Self {
        let mut writer = Self { bytes: vec![0; 4], flexible: false };
        writer.i32(correlation);
        writer
    }

    pub(crate) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// The whole frame.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len() - 4).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn length32(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX - 1);
        if self.flexible { self.varint(length + 1) } else { self.i32(length as i32) }
    }

    pub(crate) fn nullable_text(&mut self, text: Option<&str>) {
        match (text, self.flexible) {
            (None, true) => self.varint(0),
            (None, false) => self.i16(-1),
            (Some(text), true) => {
                self.length32(text.len());
                self.raw(text.as_bytes());
            }
            (Some(text), false) => {
                // Names came from requests, where they have no more than this.
                let text = text.get(..text.len().min(i16::MAX as usize)).unwrap_or_default();
                self.i16(text.len() as i16);
                self.raw(text.as_bytes());
            }
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.nullable_text(Some(text));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length32(bytes.len());
        self.raw(bytes);
    }

    /// Bytes that lie in pieces.
    pub(crate) fn pieces<P: AsRef<[u8]>>(&mut self, pieces: &[P]) {
        let size = pieces.iter().map(|piece| piece.as_ref().len()).sum();
        self.length32(size);
        self.bytes.reserve(size);
        for piece in pieces {
            self.raw(piece.as_ref());
        }
    }

    pub(crate) fn null_array(&mut self) {
        if self.flexible { self.varint(0) } else { self.i32(-1) }
    }

    /// An array of numbers or texts.
    pub(crate) fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.length32(items.len());
        for one in items {
            item(self, one);
        }
    }

    /// An array of structures.
    pub(crate) fn array<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.list(items, |writer, one| {
            item(writer, one);
            writer.tags();
        });
    }

    /// The end of a structure: no tagged field.
    pub(crate) fn tags(&mut self) {
        if self.flexible {
            self.varint(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for flexible in [false, true] {
            let mut writer = Writer::new(7);
            writer.set_flexible(flexible);
            writer.text("a");
            writer.nullable_text(None);
            writer.bytes(&[9; 300]);
            writer.array(&[1i32, -2], |w, n| w.i32(*n));
            writer.null_array();
            writer.tags();
            let frame = writer.finish();
            assert_eq!(
                frame.len() - 4,
                i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize
            );
            let mut reader = Reader::new(&frame[8..]);
            reader.set_flexible(flexible);
            assert_eq!(reader.text(), Ok("a"));
            assert_eq!(reader.nullable_text(), Ok(None));
            assert_eq!(reader.bytes().map(<[u8]>::len), Ok(300));
            assert_eq!(reader.array(Reader::i32), Ok(vec![1, -2]));
            assert_eq!(reader.nullable_array(Reader::i32), Ok(None));
            assert_eq!(reader.tags(), Ok(()));
            assert_eq!(reader.i8(), Err(Malformed("a number is cut off")));
        }
    }

    #[test]
    fn lengths_that_the_frame_does_not_hold_bad_length() {
        let huge = [0x7f, 0xff, 0xff, 0xff];
        assert!(Reader::new(&huge).array(Reader::i8).is_err());
        assert!(Reader::new(&huge).bytes().is_err());
        assert!(Reader::new(&[0x80, 0, 0, 0]).bytes().is_err());
        let mut reader = Reader::new(&[0xff; 6]);
        reader.set_flexible(true);
        assert_eq!(reader.bytes(), Err(Malformed("a length beyond 32 bits")));
        let mut reader = Reader::new(&[5, 0xff, 0xfe, 0, 0]);
        reader.set_flexible(true);
        assert_eq!(reader.text(), Err(Malformed("a text that is no UTF-8")));
    }
}
