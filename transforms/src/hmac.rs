//! HMAC-SHA-256 (FIPS 198-1) of many short messages under one key: both padded key blocks are
//! compressed once, so that a message of up to 55 bytes costs two compressions.
//!
//! A message alone waits for itself twice: its second compression needs the first, and a block is
//! read in vectors where it was just written in bytes. So a column's messages are written first, then
//! all inner hashes are made, then all outer ones: neighbours do not need each other, and the
//! processor has the next one under way before the last is done. Nearly twice as many come out.
//! Sixteen lanes of plain Rust, compiled for AVX2 behind a dispatching crate, made a third more than
//! one message at a time on a machine with SHA instructions.

use sha2::block_api::compress256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::cmac::copy;

/// FIPS 180-4, 5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Bytes of a block.
const BLOCK: usize = 64;
/// Messages whose inner hashes are made before their outer ones.
const LANES: usize = 64;
/// Bytes of a tag that a batch gives.
pub const TAG: usize = 16;

/// How messages begin that begin alike: its whole blocks are compressed once.
#[derive(Clone)]
pub struct Head {
    /// The state after the key and those blocks.
    state: [u32; 8],
    /// Bytes that are in it.
    before: usize,
    /// The rest of the head, and zeros.
    block: [u8; BLOCK],
    /// Bytes of that rest.
    filled: usize,
}

/// Padded messages back to back. It holds data and has no `Debug`.
#[derive(Default)]
pub struct Batch {
    blocks: Vec<[u8; BLOCK]>,
    /// Where each message ends, in blocks.
    ends: Vec<usize>,
}

/// A prepared key. It has no `Debug`: its states are as good as the key.
#[derive(ZeroizeOnDrop)]
pub struct Hmac {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl Hmac {
    /// Prepares a key.
    pub fn new(key: &[u8; 32]) -> Self {
        let padded = |byte: u8| {
            let mut block = Zeroizing::new([byte; 64]);
            block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
            let mut state = INITIAL;
            compress256(&mut state, std::slice::from_ref(&*block));
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// What is the same in all messages that begin so.
    pub fn head(&self, head: &[u8]) -> Head {
        let (whole, rest) = head.as_chunks::<BLOCK>();
        let mut state = self.inner;
        compress256(&mut state, whole);
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        Head { state, before: BLOCK * (1 + whole.len()), block, filled: rest.len() }
    }

    /// Adds the message `head`, `field`, `text`; all messages of a batch begin with one head. The
    /// field's width is a constant for the reason that it is in [`crate::cmac::Cmac::push`].
    #[inline]
    pub fn push<const N: usize>(
        &self,
        head: &Head,
        field: &[u8; N],
        text: &[u8],
        batch: &mut Batch,
    ) {
        let length = head.filled + N + text.len();
        let at = batch.blocks.len();
        // FIPS 180-4, 5.1.1: a one bit, zeros, and the length in bits, the key block counted.
        let end = at + (length + 9).div_ceil(BLOCK);
        batch.blocks.push(head.block);
        batch.blocks.resize(end, [0; BLOCK]);
        let bytes = batch.blocks[at..].as_flattened_mut();
        bytes[head.filled..head.filled + N].copy_from_slice(field);
        copy(&mut bytes[head.filled + N..], text);
        bytes[length] = 0x80;
        let bits = (head.before + length) as u64 * 8;
        if let Some(last) = bytes.last_chunk_mut() {
            *last = bits.to_be_bytes();
        }
        batch.ends.push(end);
    }

    /// Appends the first 16 bytes of the tags of all messages, in the order in which they were added,
    /// and empties the batch. [`Self::tag`] is its slow twin.
    pub fn finish(&self, head: &Head, batch: &mut Batch, out: &mut Vec<[u8; TAG]>) {
        let mut outer = [OUTER; LANES];
        let mut start = 0;
        for ends in batch.ends.chunks(LANES) {
            for (block, end) in outer.iter_mut().zip(ends) {
                let mut state = head.state;
                compress256(&mut state, &batch.blocks[start..*end]);
                start = *end;
                block[..32].copy_from_slice(&bytes(state));
            }
            for block in &outer[..ends.len()] {
                let mut state = self.outer;
                compress256(&mut state, std::slice::from_ref(block));
                let mut tag = [0; TAG];
                tag.copy_from_slice(&bytes(state)[..TAG]);
                out.push(tag);
            }
        }
        batch.blocks.clear();
        batch.ends.clear();
    }

    /// The tag of a message, which is padded in place and is of no more use after.
    pub fn tag(&self, message: &mut Vec<u8>) -> [u8; 32] {
        // FIPS 180-4, 5.1.1: a one bit, zeros, and the length in bits, the key block counted.
        let bits = (message.len() as u64 + 64) * 8;
        message.push(0x80);
        message.resize((message.len() + 8).next_multiple_of(64) - 8, 0);
        message.extend_from_slice(&bits.to_be_bytes());
        let mut state = self.inner;
        compress256(&mut state, message.as_chunks::<64>().0);

        let mut block = OUTER;
        block[..32].copy_from_slice(&bytes(state));
        let mut state = self.outer;
        compress256(&mut state, &[block]);
        bytes(state)
    }
}

/// The outer message, without the inner tag: 32 bytes behind the key block.
const OUTER: [u8; BLOCK] = {
    let mut block = [0; BLOCK];
    block[32] = 0x80;
    let [.., high, low] = (96_u64 * 8).to_be_bytes();
    (block[62], block[63]) = (high, low);
    block
};

fn bytes(state: [u32; 8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    /// RFC 4231 test cases 1 to 4 have keys of other lengths; zeros to the right leave a key of up
    /// to 64 bytes the same key (FIPS 198-1, step 2). Case 1 is 20 times 0b.
    #[test]
    fn rfc_4231_case_1_and_2() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let tag = Hmac::new(&key).tag(&mut b"Hi There".to_vec());
        assert_eq!(
            HEXLOWER.encode(&tag),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let tag = Hmac::new(&key).tag(&mut b"what do ya want for nothing?".to_vec());
        assert_eq!(
            HEXLOWER.encode(&tag),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any heads and texts together, against one message at a time: heads over a block, more
        /// messages than lanes.
        #[test]
        fn a_batch_equals_its_slow_twin(
            key in any::<[u8; 32]>(),
            head in prop::collection::vec(any::<u8>(), 0..150),
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..140), 0..150),
        ) {
            let hmac = Hmac::new(&key);
            let prepared = hmac.head(&head);
            let (mut batch, mut out) = (Batch::default(), vec![[7; TAG]]);
            let mut expected = out.clone();
            for text in &texts {
                match text.split_first_chunk::<5>() {
                    Some((field, text)) => hmac.push(&prepared, field, text, &mut batch),
                    None => hmac.push(&prepared, &[], text, &mut batch),
                }
                let tag = hmac.tag(&mut [&head[..], text].concat());
                expected.push(*tag.first_chunk().unwrap());
            }
            hmac.finish(&prepared, &mut batch, &mut out);
            prop_assert_eq!(&out, &expected);
            // The batch is empty again, and tags are appended.
            hmac.push(&prepared, b"x", b"", &mut batch);
            hmac.finish(&prepared, &mut batch, &mut out);
            prop_assert_eq!(out.len(), expected.len() + 1);
            // The control: another head.
            let other = hmac.head(b"another");
            hmac.push(&other, b"x", b"", &mut batch);
            hmac.finish(&other, &mut batch, &mut out);
            prop_assert_ne!(out.pop(), out.pop());
        }
    }

    /// Every length over three blocks, against AWS-LC.
    #[test]
    fn equals_the_oracle() {
        for length in 0..200_u8 {
            let key = [length; 32];
            let message: Vec<u8> = (0..length).collect();
            let oracle = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
            assert_eq!(Hmac::new(&key).tag(&mut message.clone()), oracle.as_ref(), "{length}");
        }
    }
}
