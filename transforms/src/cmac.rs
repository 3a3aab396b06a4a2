//! AES-256-CMAC (NIST SP 800-38B) of many short messages under one key. One message waits for each
//! of its blocks in turn; 64 of them go through the cipher side by side.

use aes::Aes256;
use aes::cipher::{Array, Block, BlockCipherEncrypt, KeyInit};
use zeroize::ZeroizeOnDrop;

/// Messages side by side.
pub(crate) const LANES: usize = 64;

/// Bytes of a block and of a tag.
pub const BLOCK: usize = 16;

/// A prepared key. It has no `Debug`: its subkeys are as good as the key.
#[derive(ZeroizeOnDrop)]
pub struct Cmac {
    /// Wipes itself.
    #[zeroize(skip)]
    cipher: Aes256,
    /// K1 for a whole last block, K2 for a padded one.
    subkeys: [[u8; BLOCK]; 2],
}

/// How messages begin that begin alike: its whole blocks are enciphered once.
#[derive(Clone, Default)]
pub struct Head {
    /// The state after them, with the rest of the head added.
    block: [u8; BLOCK],
    /// Bytes of that rest.
    filled: usize,
}

/// Padded messages back to back. It holds data and has no `Debug`.
#[derive(Default)]
pub struct Batch {
    /// Zeros from `used` on: those of a whole batch are made at once.
    pub(crate) blocks: Vec<[u8; BLOCK]>,
    used: usize,
    /// Where messages lie; none while all are of one shape, which needs no look at each.
    pub(crate) lanes: Vec<Lane>,
    /// How many there are of that shape.
    alike: usize,
    shape: Shape,
}

/// What decides how a message goes through the cipher.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Shape {
    blocks: usize,
    padded: bool,
}

/// Where one message of a batch lies, in blocks.
#[derive(Clone, Copy)]
pub(crate) struct Lane {
    /// Counts the messages in the order in which they were added.
    pub number: usize,
    pub at: usize,
    pub blocks: usize,
    /// Of CMAC: the last block was padded.
    pub padded: bool,
}

impl Cmac {
    /// Prepares a key.
    pub fn new(key: &[u8; 32]) -> Self {
        let cipher = Aes256::new(&Array::from(*key));
        // SP 800-38B, 6.1: L, then both subkeys.
        let mut l = [0; BLOCK];
        encrypt(&cipher, std::slice::from_mut(&mut l));
        let k1 = double(l);
        Self { cipher, subkeys: [k1, double(k1)] }
    }

    /// The state after the head's whole blocks. A message may end where its head ends, and its last
    /// block is treated in its own way: the head's last byte is never among those.
    pub fn head(&self, head: &[u8]) -> Head {
        let whole = head.len().saturating_sub(1) / BLOCK * BLOCK;
        let mut state = [0; BLOCK];
        for block in head[..whole].as_chunks().0 {
            xor(&mut state, block);
            encrypt(&self.cipher, std::slice::from_mut(&mut state));
        }
        let rest = &head[whole..];
        state.iter_mut().zip(rest).for_each(|(state, byte)| *state ^= byte);
        Head { block: state, filled: rest.len() }
    }

    /// Adds the message `head`, `field`, `text`; all messages of a batch begin with one head. The
    /// field's width is a constant because a short copy of any width costs as much as a block of
    /// the cipher; and nothing is read here that was written here, which would cost even more.
    #[inline]
    pub fn push<const N: usize>(
        &self,
        head: &Head,
        field: &[u8; N],
        text: &[u8],
        batch: &mut Batch,
    ) {
        let length = head.filled + N + text.len();
        let padded = length == 0 || !length.is_multiple_of(BLOCK);
        let shape = Shape { blocks: length / BLOCK + usize::from(padded), padded };
        let at = if batch.lanes.is_empty() && (batch.alike == 0 || batch.shape == shape) {
            batch.shape = shape;
            batch.alike += 1;
            batch.room(shape.blocks)
        } else {
            batch.part();
            batch.add(shape.blocks, padded)
        };
        let bytes = &mut batch.blocks[at..].as_flattened_mut()[head.filled..];
        bytes[..N].copy_from_slice(field);
        copy(&mut bytes[N..], text);
        if padded {
            bytes[N + text.len()] = 0x80;
        }
    }

    /// Appends the tags of all messages, in the order in which they were added, and empties the
    /// batch.
    pub fn finish(&self, head: &Head, batch: &mut Batch, out: &mut Vec<[u8; BLOCK]>) {
        if batch.lanes.is_empty() {
            self.finish_alike(head, batch, out);
            return batch.clear();
        }
        let from = out.len();
        out.resize(from + batch.lanes.len(), [0; BLOCK]);
        batch.side_by_side(|blocks, lanes| {
            let mut states = [head.block; LANES];
            let states = &mut states[..lanes.len()];
            let end = lanes[0].blocks;
            for block in 0..end {
                for (state, lane) in states.iter_mut().zip(lanes) {
                    xor(state, &blocks[lane.at + block]);
                    // SP 800-38B, 6.2, step 4.
                    if block + 1 == end {
                        xor(state, &self.subkeys[usize::from(lane.padded)]);
                    }
                }
                encrypt(&self.cipher, states);
            }
            for (state, lane) in states.iter().zip(lanes) {
                out[from + lane.number] = *state;
            }
        });
        batch.clear();
    }

    /// Messages of one shape, in their order.
    fn finish_alike(&self, head: &Head, batch: &Batch, out: &mut Vec<[u8; BLOCK]>) {
        let Shape { blocks, padded } = batch.shape;
        // SP 800-38B, 6.2, step 4.
        let last = &self.subkeys[usize::from(padded)];
        for messages in batch.blocks[..batch.used].chunks(blocks.max(1) * LANES) {
            let mut states = [head.block; LANES];
            let states = &mut states[..messages.len() / blocks];
            for block in 0..blocks {
                let subkey = if block + 1 == blocks { *last } else { [0; BLOCK] };
                for (state, message) in states.iter_mut().zip(messages.chunks_exact(blocks)) {
                    xor(state, &message[block]);
                    xor(state, &subkey);
                }
                encrypt(&self.cipher, states);
            }
            out.extend_from_slice(states);
        }
    }

    /// The tag of one message.
    pub fn tag(&self, message: &[u8]) -> [u8; BLOCK] {
        let (mut batch, mut out) = (Batch::default(), Vec::with_capacity(1));
        let head = Head::default();
        self.push(&head, &[], message, &mut batch);
        self.finish(&head, &mut batch, &mut out);
        out[0]
    }

    /// The cipher and K1, for what chains blocks by itself.
    pub(crate) fn parts(&self) -> (&Aes256, &[u8; BLOCK]) {
        (&self.cipher, &self.subkeys[0])
    }
}

/// Copies a text to where there is room for it. Short ones go in two pieces that overlap: a call for
/// any length costs as much as a block of the cipher.
#[inline]
pub(crate) fn copy(to: &mut [u8], text: &[u8]) {
    fn ends<const N: usize>(to: &mut [u8], text: &[u8]) {
        let to = &mut to[..text.len()];
        if let (Some(to), Some(text)) = (to.first_chunk_mut::<N>(), text.first_chunk()) {
            *to = *text;
        }
        if let (Some(to), Some(text)) = (to.last_chunk_mut::<N>(), text.last_chunk()) {
            *to = *text;
        }
    }
    match text.len() {
        16..=32 => ends::<16>(to, text),
        8..=15 => ends::<8>(to, text),
        4..=7 => ends::<4>(to, text),
        length => to[..length].copy_from_slice(text),
    }
}

impl Batch {
    /// Where the next blocks of zeros are.
    fn room(&mut self, blocks: usize) -> usize {
        let at = self.used;
        self.used += blocks;
        if self.used > self.blocks.len() {
            self.grow();
        }
        at
    }

    #[cold]
    fn grow(&mut self) {
        self.blocks.resize(self.used.next_power_of_two().max(LANES), [0; BLOCK]);
    }

    /// Gives messages of one shape lanes, where one of another comes.
    #[cold]
    fn part(&mut self) {
        let Shape { blocks, padded } = self.shape;
        for number in 0..std::mem::take(&mut self.alike) {
            self.lanes.push(Lane { number, at: number * blocks, blocks, padded });
        }
    }

    /// Adds a lane of so many blocks of zeros and says where it begins.
    pub(crate) fn add(&mut self, blocks: usize, padded: bool) -> usize {
        let at = self.room(blocks);
        self.lanes.push(Lane { number: self.lanes.len(), at, blocks, padded });
        at
    }

    /// Calls `each` with up to [`LANES`] lanes of one length, until all had their turn.
    pub(crate) fn side_by_side(&mut self, mut each: impl FnMut(&mut [[u8; BLOCK]], &[Lane])) {
        // Columns of one length, which is most of them, are in order already.
        if !self.lanes.is_sorted_by_key(|lane| lane.blocks) {
            self.lanes.sort_by_key(|lane| lane.blocks);
        }
        for alike in self.lanes.chunk_by(|a, b| a.blocks == b.blocks) {
            alike.chunks(LANES).for_each(|lanes| each(&mut self.blocks, lanes));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.blocks[..self.used].fill([0; BLOCK]);
        self.used = 0;
        self.lanes.clear();
        self.alike = 0;
    }
}

/// Blocks side by side, in place.
pub(crate) fn encrypt(cipher: &Aes256, blocks: &mut [[u8; BLOCK]]) {
    cipher.encrypt_blocks(Block::<Aes256>::cast_slice_from_core_mut(blocks));
}

pub(crate) fn xor(to: &mut [u8; BLOCK], with: &[u8; BLOCK]) {
    *to = (u128::from_ne_bytes(*to) ^ u128::from_ne_bytes(*with)).to_ne_bytes();
}

/// Multiplication by x in GF(2^128), SP 800-38B 6.1: the carry is a mask, for a branch would take
/// a time that tells of the key.
pub(crate) fn double(block: [u8; BLOCK]) -> [u8; BLOCK] {
    let n = u128::from_be_bytes(block);
    ((n << 1) ^ (0x87 & (n >> 127).wrapping_neg())).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use ::cmac::digest::{KeyInit as _, Mac};
    use data_encoding::HEXLOWER_PERMISSIVE;
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
    }

    fn oracle(key: &[u8; 32], message: &[u8]) -> [u8; 16] {
        let mut mac = ::cmac::Cmac::<Aes256>::new_from_slice(key).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// <https://csrc.nist.gov/CSRC/media/Projects/Cryptographic-Standards-and-Guidelines/documents/examples/AES_CMAC.pdf>,
    /// CMAC-AES256: the subkeys and examples 1 to 4.
    #[test]
    fn nist_cmac_aes256_examples() {
        let key = hex("603deb1015ca71be2b73aef0857d7781 1f352c073b6108d72d9810a30914dff4");
        let cmac = Cmac::new(&key.try_into().unwrap());
        assert_eq!(cmac.subkeys[0][..], hex("cad1ed03 299eedac 2e9a9980 8621502f"));
        assert_eq!(cmac.subkeys[1][..], hex("95a3da06 533ddb58 5d353301 0c42a0d9"));
        let text = hex("6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
             30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710");
        for (length, tag) in [
            (0, "028962f61b7bf89efc6b551f4667d983"),
            (16, "28a7023f452e8f82bd4bf28d8c37c35c"),
            (20, "156727dc0878944a023c1fe03bad6d93"),
            (64, "e1992190549f6ed5696a2c056c315410"),
        ] {
            assert_eq!(cmac.tag(&text[..length])[..], hex(tag), "{length}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any heads and texts together, against crate `cmac` one by one: one length and many, more
        /// messages than lanes, heads that end on a block.
        #[test]
        fn a_batch_equals_the_oracle(
            key in any::<[u8; 32]>(),
            head in prop::collection::vec(any::<u8>(), 0..70),
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 0..150),
            alike in any::<bool>(),
        ) {
            let cmac = Cmac::new(&key);
            let prepared = cmac.head(&head);
            let (mut batch, mut out) = (Batch::default(), Vec::new());
            let mut expected = Vec::new();
            for text in &texts {
                let text = if alike { &texts[0] } else { text };
                match text.split_first_chunk::<5>() {
                    Some((field, text)) => cmac.push(&prepared, field, text, &mut batch),
                    None => cmac.push(&prepared, &[], text, &mut batch),
                }
                expected.push(oracle(&key, &[&head[..], text].concat()));
            }
            cmac.finish(&prepared, &mut batch, &mut out);
            prop_assert_eq!(&out, &expected);
            // The batch is empty again, and tags are appended.
            cmac.push(&prepared, b"x", b"", &mut batch);
            cmac.finish(&prepared, &mut batch, &mut out);
            prop_assert_eq!(out.len(), expected.len() + 1);
            prop_assert_eq!(out.pop(), Some(oracle(&key, &[&head[..], b"x"].concat())));
        }
    }

    /// The control of the test above: a message of another head or order has another tag.
    #[test]
    fn heads_and_messages_count() {
        let cmac = Cmac::new(&[1; 32]);
        let tag = |head: &[u8], text: &[u8]| {
            let (mut batch, mut out) = (Batch::default(), Vec::new());
            let head = cmac.head(head);
            cmac.push(&head, &[], text, &mut batch);
            cmac.finish(&head, &mut batch, &mut out);
            out[0]
        };
        assert_eq!(tag(b"ab", b"c"), tag(b"a", b"bc"));
        assert_ne!(tag(b"ab", b"c"), tag(b"ab", b"d"));
        assert_ne!(tag(b"ab", b"c"), tag(b"ac", b"c"));
        assert_ne!(tag(&[0; 16], b""), tag(&[0; 17], b""));
    }
}
