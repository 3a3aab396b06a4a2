//! AES-SIV (RFC 5297) with two AES-256 keys: deterministic authenticated encryption. Messages of
//! whole blocks under the same associated data go through both ciphers side by side.

use aes::Aes256;
use aes::cipher::{Array, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::cmac::{BLOCK, Batch, Cmac, LANES, double, encrypt, xor};

/// Bytes of the synthetic IV, which stands in front of what is encrypted.
pub const IV_BYTES: usize = BLOCK;

/// A prepared key. It has no `Debug`.
pub struct Siv {
    mac: Cmac,
    /// Wipes itself.
    ctr: Aes256,
}

/// What S2V makes of the associated data.
#[derive(Clone, Copy)]
pub struct Header([u8; BLOCK]);

impl Siv {
    /// Prepares a key: K1 for S2V, then K2 for CTR.
    pub fn new(key: &[u8; 64]) -> Self {
        let (mut k1, mut k2) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        k1.copy_from_slice(&key[..32]);
        k2.copy_from_slice(&key[32..]);
        Self { mac: Cmac::new(&k1), ctr: Aes256::new(&Array::from(*k2)) }
    }

    /// RFC 5297, 2.4, over all strings but the last.
    pub fn header(&self, associated: &[&[u8]]) -> Header {
        let mut d = self.mac.tag(&[0; BLOCK]);
        for data in associated {
            d = double(d);
            xor(&mut d, &self.mac.tag(data));
        }
        Header(d)
    }

    /// RFC 5297, 2.4: the last string is the message.
    fn s2v(&self, header: &Header, plain: &[u8]) -> [u8; BLOCK] {
        let mut t = Zeroizing::new(plain.to_vec());
        if let Some(end) = t.last_chunk_mut() {
            xor(end, &header.0);
        } else {
            let mut short = [0; BLOCK];
            short[..plain.len()].copy_from_slice(plain);
            short[plain.len()] = 0x80;
            xor(&mut short, &double(header.0));
            return self.mac.tag(&short);
        }
        self.mac.tag(&t)
    }

    /// RFC 5297, 2.5: enciphers and deciphers.
    fn counted(&self, iv: [u8; BLOCK], bytes: &mut [u8]) {
        let first = counter(iv);
        for (number, part) in (0..).zip(bytes.chunks_mut(BLOCK)) {
            let mut block = first.wrapping_add(number).to_be_bytes();
            encrypt(&self.ctr, std::slice::from_mut(&mut block));
            part.iter_mut().zip(block).for_each(|(byte, stream)| *byte ^= stream);
        }
    }

    /// RFC 5297, 2.6: the IV, then as many bytes as `plain` has.
    pub fn seal(&self, header: &Header, plain: &[u8]) -> Vec<u8> {
        let iv = self.s2v(header, plain);
        let mut out = [&iv[..], plain].concat();
        self.counted(iv, &mut out[IV_BYTES..]);
        out
    }

    /// RFC 5297, 2.7. `None`: sealed under another key or other associated data, or not at all.
    pub fn open(&self, header: &Header, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (iv, rest) = sealed.split_first_chunk::<IV_BYTES>()?;
        let mut plain = Zeroizing::new(rest.to_vec());
        self.counted(*iv, &mut plain);
        bool::from(self.s2v(header, &plain).ct_eq(iv)).then_some(plain)
    }

    /// Seals every lane of a batch in place: a block for the IV, then the message's whole blocks, at
    /// least one. [`Self::seal`] is its slow twin.
    pub(crate) fn seal_all(&self, header: &Header, batch: &mut Batch) {
        let (cipher, k1) = self.mac.parts();
        // The last block is whole, and a message of whole blocks ends where D is added: both at once.
        let mut last = header.0;
        xor(&mut last, k1);
        batch.side_by_side(|blocks, lanes| {
            let end = lanes[0].blocks;
            let mut states = [[0; BLOCK]; LANES];
            let states = &mut states[..lanes.len()];
            for block in 1..end {
                for (state, lane) in states.iter_mut().zip(lanes) {
                    xor(state, &blocks[lane.at + block]);
                    if block + 1 == end {
                        xor(state, &last);
                    }
                }
                encrypt(cipher, states);
            }
            let mut counters = [0; LANES];
            for ((counted, iv), lane) in counters.iter_mut().zip(&*states).zip(lanes) {
                blocks[lane.at] = *iv;
                *counted = counter(*iv);
            }
            for block in 1..end {
                for (state, counted) in states.iter_mut().zip(&mut counters) {
                    *state = counted.to_be_bytes();
                    *counted = counted.wrapping_add(1);
                }
                encrypt(&self.ctr, states);
                for (state, lane) in states.iter().zip(lanes) {
                    xor(&mut blocks[lane.at + block], state);
                }
            }
        });
    }
}

/// RFC 5297, 2.5: Q is the IV without the topmost bits of its last two 32-bit words.
fn counter(iv: [u8; BLOCK]) -> u128 {
    u128::from_be_bytes(iv) & !((1 << 63) | (1 << 31))
}

#[cfg(test)]
mod tests {
    use aes_siv::KeyInit as _;
    use aes_siv::siv::Aes256Siv;
    use proptest::prelude::*;

    use super::*;

    fn oracle(key: &[u8; 64], associated: &[Vec<u8>], plain: &[u8]) -> Vec<u8> {
        Aes256Siv::new(&(*key).into()).encrypt(associated, plain).unwrap()
    }

    fn key() -> impl Strategy<Value = [u8; 64]> {
        (any::<[u8; 32]>(), any::<[u8; 32]>())
            .prop_map(|(a, b)| std::array::from_fn(|i| if i < 32 { a[i] } else { b[i - 32] }))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// One message against crate `aes-siv`: none, short, of whole blocks and not.
        #[test]
        fn a_message_equals_the_oracle(
            key in key(),
            associated in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            plain in prop::collection::vec(any::<u8>(), 0..70),
        ) {
            let siv = Siv::new(&key);
            let strings: Vec<&[u8]> = associated.iter().map(Vec::as_slice).collect();
            let header = siv.header(&strings);
            let sealed = siv.seal(&header, &plain);
            prop_assert_eq!(&sealed, &oracle(&key, &associated, &plain));
            let opened = siv.open(&header, &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), plain.as_slice());
        }

        /// A batch against one message at a time: one length and many, more messages than lanes.
        #[test]
        fn a_batch_equals_its_slow_twin(
            key in key(),
            data in prop::collection::vec(any::<u8>(), 0..40),
            messages in prop::collection::vec((1..5_usize, any::<u8>()), 0..150),
            alike in any::<bool>(),
        ) {
            let siv = Siv::new(&key);
            let header = siv.header(&[&data]);
            let mut batch = Batch::default();
            let mut expected = Vec::new();
            for (blocks, fill) in messages {
                let blocks = if alike { 2 } else { blocks };
                let plain: Vec<u8> = (0..blocks * BLOCK).map(|i| fill ^ i as u8).collect();
                let at = batch.add(blocks + 1, false);
                let to = &mut batch.blocks[at + 1..][..blocks];
                to.as_flattened_mut().copy_from_slice(&plain);
                expected.extend(siv.seal(&header, &plain));
            }
            siv.seal_all(&header, &mut batch);
            let filled = &batch.blocks[..expected.len() / BLOCK];
            prop_assert_eq!(filled.as_flattened(), expected);
        }
    }

    /// Each bit counts, and so do key and associated data.
    #[test]
    fn open_bad_bit_bad_header_bad_key_bad_length() {
        let siv = Siv::new(&[1; 64]);
        let header = siv.header(&[b"customer"]);
        let sealed = siv.seal(&header, b"ada@example.com");
        assert!(siv.open(&header, &sealed).is_some());
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(siv.open(&header, &bad).is_none(), "bit {bit}");
        }
        assert!(siv.open(&siv.header(&[b"phone"]), &sealed).is_none());
        assert!(siv.open(&siv.header(&[]), &sealed).is_none());
        assert!(Siv::new(&[2; 64]).open(&header, &sealed).is_none());
        for length in 0..sealed.len() {
            assert!(siv.open(&header, &sealed[..length]).is_none(), "{length}");
        }
    }
}
