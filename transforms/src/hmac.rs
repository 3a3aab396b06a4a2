//! HMAC-SHA-256 (FIPS 198-1) of many short messages under one key: both padded key blocks are
//! compressed once, so that a message of up to 55 bytes costs two compressions.
//!
//! One message at a time: sixteen lanes of plain Rust, compiled for AVX2 behind a dispatching crate,
//! made a third more on a machine with SHA instructions, which one lane uses.

use sha2::block_api::compress256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

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

    /// The tag of a message, which is padded in place and is of no more use after.
    pub fn tag(&self, message: &mut Vec<u8>) -> [u8; 32] {
        // FIPS 180-4, 5.1.1: a one bit, zeros, and the length in bits, the key block counted.
        let bits = (message.len() as u64 + 64) * 8;
        message.push(0x80);
        message.resize((message.len() + 8).next_multiple_of(64) - 8, 0);
        message.extend_from_slice(&bits.to_be_bytes());
        let mut state = self.inner;
        compress256(&mut state, message.as_chunks::<64>().0);

        let mut block = [0; 64];
        block[..32].copy_from_slice(&bytes(state));
        block[32] = 0x80;
        block[56..].copy_from_slice(&(96_u64 * 8).to_be_bytes());
        let mut state = self.outer;
        compress256(&mut state, &[block]);
        bytes(state)
    }
}

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
