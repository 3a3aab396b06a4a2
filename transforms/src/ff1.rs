//! FF1 of NIST SP 800-38G with AES-256, 64 values at a time.
//!
//! Every block of `P || Q` but the last is the same in all ten rounds, so its CBC state is computed
//! once per value; each round is then one AES block, and the blocks of 64 values go through the
//! cipher together. Values whose halves do not fit 64 bits take the slow path of crate `fpe`, which
//! is also the oracle of the tests.

use aes::Aes256;
use aes::cipher::{Array, Block, BlockCipherEncrypt, KeyInit};
use fpe::ff1::{FF1, FlexibleNumeralString};

use crate::fault::TransformFault;

/// SP 800-38G Rev. 1: radix^minlen must be at least this.
pub const DOMAIN_MIN: u64 = 1_000_000;
/// Most characters of one value that are encrypted.
pub const NUMERALS_MAX: usize = 512;

/// Values encrypted side by side.
const LANES: usize = 64;

/// The least count of numerals whose domain reaches [`DOMAIN_MIN`]; at least 2.
pub fn length_least(radix: u32) -> u32 {
    let mut length = 1;
    let mut domain = u64::from(radix);
    while domain < DOMAIN_MIN {
        domain *= u64::from(radix);
        length += 1;
    }
    length.max(2)
}

/// One value of a batch: numerals and tweak lie in buffers that the caller owns.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// First numeral and one past the last.
    pub numerals: (usize, usize),
    /// First byte of the tweak and one past the last.
    pub tweak: (usize, usize),
}

/// FF1 under one key and radix.
pub struct Ff1 {
    radix: u32,
    least: usize,
    cipher: Aes256,
    slow: FF1<Aes256>,
}

impl Ff1 {
    /// None where the radix is not between 2 and 256.
    pub fn new(key: &[u8; 32], radix: u32) -> Option<Self> {
        if !(2..=256).contains(&radix) {
            return None;
        }
        Some(Self {
            radix,
            least: length_least(radix) as usize,
            cipher: Aes256::new(&Array::from(*key)),
            slow: FF1::new(key, radix).ok()?,
        })
    }

    /// Encrypts every job's numerals in place.
    ///
    /// # Errors
    /// [`TransformFault::DomainTooSmall`] below 10^6 values, [`TransformFault::TooLong`] above
    /// [`NUMERALS_MAX`] numerals, [`TransformFault::OutsideAlphabet`] for a numeral that is not
    /// below the radix. The numerals are then partly encrypted and must be thrown away.
    pub fn encrypt(
        &self,
        numerals: &mut [u8],
        tweaks: &[u8],
        jobs: &[Job],
    ) -> Result<(), TransformFault> {
        let mut lanes: Vec<Lane> = Vec::with_capacity(LANES);
        let mut prefix = Prefix::default();
        for job in jobs {
            let value = &mut numerals[job.numerals.0..job.numerals.1];
            let tweak = &tweaks[job.tweak.0..job.tweak.1];
            if value.len() < self.least {
                return Err(TransformFault::DomainTooSmall);
            }
            if value.len() > NUMERALS_MAX {
                return Err(TransformFault::TooLong);
            }
            if value.iter().any(|numeral| u32::from(*numeral) >= self.radix) {
                return Err(TransformFault::OutsideAlphabet);
            }
            let Some(shape) = Shape::of(self.radix, value.len()) else {
                self.encrypt_long(value, tweak)?;
                continue;
            };
            let base = prefix.of(&self.cipher, self.radix, &shape, value.len(), tweak);
            // 1. Let u = floor(n / 2); v = n - u.
            // 2. Let A = X[1..u]; B = X[u + 1..n].
            let (a, b) = value.split_at(shape.u);
            lanes.push(Lane {
                at: job.numerals.0,
                a: number(a, self.radix),
                b: number(b, self.radix),
                base,
                shape,
            });
            if lanes.len() == LANES {
                self.run(&mut lanes, numerals);
            }
        }
        self.run(&mut lanes, numerals);
        Ok(())
    }

    /// Ten rounds over all lanes, then the numerals back into the buffer; `lanes` is empty after.
    fn run(&self, lanes: &mut Vec<Lane>, numerals: &mut [u8]) {
        let mut blocks = [Block::<Aes256>::default(); LANES];
        let blocks = &mut blocks[..lanes.len()];
        for round in 0..10_u8 {
            for (lane, block) in lanes.iter().zip(blocks.iter_mut()) {
                //  6i. Let Q = T || [0]^((-t-b-1) mod 16) || [i] || [NUM(B, radix)].
                let mut last = lane.base;
                last[15 - lane.shape.bytes] ^= round;
                for (byte, num) in last[8..].iter_mut().zip(lane.b.to_be_bytes()) {
                    *byte ^= num;
                }
                *block = Array::from(last);
            }
            // 6ii. Let R = PRF(P || Q).
            self.cipher.encrypt_blocks(blocks);
            for (lane, block) in lanes.iter_mut().zip(blocks.iter()) {
                // 6iii. Let S be the first d bytes of R.  6iv. Let y = NUM(S).
                // 6v. If i is even, let m = u; else, let m = v.
                // 6vi. Let c = (NUM(A, radix) + y) mod radix^m.
                let modulus =
                    if round % 2 == 0 { lane.shape.modulus_u } else { lane.shape.modulus_v };
                let head = u64::from_be_bytes(first_eight(block));
                let c = if lane.shape.d == 8 {
                    add_mod(head % modulus, lane.a, modulus)
                } else {
                    let low = u32::from_be_bytes([block[8], block[9], block[10], block[11]]);
                    let y = u128::from(head) << 32 | u128::from(low);
                    add_mod((y % u128::from(modulus)) as u64, lane.a, modulus)
                };
                // 6viii. Let A = B.  6ix. Let B = C.
                lane.a = lane.b;
                lane.b = c;
            }
        }
        for lane in lanes.drain(..) {
            // 7. Return A || B.
            let value = &mut numerals[lane.at..lane.at + lane.shape.u + lane.shape.v];
            let (a, b) = value.split_at_mut(lane.shape.u);
            write(lane.a, self.radix, a);
            write(lane.b, self.radix, b);
        }
    }

    fn encrypt_long(&self, value: &mut [u8], tweak: &[u8]) -> Result<(), TransformFault> {
        let text: Vec<u16> = value.iter().map(|n| u16::from(*n)).collect();
        let sealed = self
            .slow
            .encrypt(tweak, &FlexibleNumeralString::from(text))
            .map_err(|_| TransformFault::DomainTooSmall)?;
        for (numeral, new) in value.iter_mut().zip(Vec::<u16>::from(sealed)) {
            *numeral = u8::try_from(new).map_err(|_| TransformFault::OutsideAlphabet)?;
        }
        Ok(())
    }
}

/// What follows from radix and length alone.
#[derive(Clone, Copy)]
struct Shape {
    u: usize,
    v: usize,
    /// b of step 3.
    bytes: usize,
    /// d of step 4: 8 or 12 here.
    d: usize,
    modulus_u: u64,
    modulus_v: u64,
}

impl Shape {
    /// None where radix^v does not fit 64 bits.
    fn of(radix: u32, n: usize) -> Option<Self> {
        let u = n / 2;
        let v = n - u;
        let modulus_u = u64::from(radix).checked_pow(u32::try_from(u).ok()?)?;
        let modulus_v = u64::from(radix).checked_pow(u32::try_from(v).ok()?)?;
        // 3. Let b = ceil(ceil(v * log2(radix)) / 8): the bytes of the largest half, radix^v - 1.
        let bits = 64 - (modulus_v - 1).leading_zeros() as usize;
        let bytes = bits.div_ceil(8);
        // 4. Let d = 4 * ceil(b / 4) + 4.
        let d = 4 * bytes.div_ceil(4) + 4;
        Some(Self { u, v, bytes, d, modulus_u, modulus_v })
    }
}

/// One value in the rounds.
struct Lane {
    /// Where its numerals start.
    at: usize,
    a: u64,
    b: u64,
    /// CBC state before the last block, xor the last block without round and NUM(B).
    base: [u8; 16],
    shape: Shape,
}

/// The last prefix computed: neighbours often share length and tweak.
#[derive(Default)]
struct Prefix {
    n: usize,
    tweak: Vec<u8>,
    base: Option<[u8; 16]>,
    message: Vec<u8>,
}

impl Prefix {
    fn of(
        &mut self,
        cipher: &Aes256,
        radix: u32,
        shape: &Shape,
        n: usize,
        tweak: &[u8],
    ) -> [u8; 16] {
        if let Some(base) = self.base
            && self.n == n
            && self.tweak == tweak
        {
            return base;
        }
        // 5. Let P = [1, 2, 1] || [radix] || [10] || [u mod 256] || [n] || [t]. n and t are
        // bounded far below 2^32.
        let mut p = [1, 2, 1, 0, 0, 0, 10, shape.u as u8, 0, 0, 0, 0, 0, 0, 0, 0];
        p[3..6].copy_from_slice(&radix.to_be_bytes()[1..]);
        p[8..12].copy_from_slice(&(n as u32).to_be_bytes());
        p[12..16].copy_from_slice(&(tweak.len() as u32).to_be_bytes());
        self.message.clear();
        self.message.extend_from_slice(&p);
        self.message.extend_from_slice(tweak);
        let unpadded = self.message.len() + shape.bytes + 1;
        self.message.resize(unpadded.next_multiple_of(16), 0);
        let mut state = Block::<Aes256>::default();
        let (blocks, _) = self.message.as_chunks::<16>();
        for (i, block) in blocks.iter().enumerate() {
            state.iter_mut().zip(block).for_each(|(s, b)| *s ^= b);
            if i + 1 < blocks.len() {
                cipher.encrypt_block(&mut state);
            }
        }
        let base = state.into();
        self.n = n;
        self.tweak.clear();
        self.tweak.extend_from_slice(tweak);
        self.base = Some(base);
        base
    }
}

fn first_eight(block: &Block<Aes256>) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&block[..8]);
    out
}

/// (a + b) mod m for a, b below m.
fn add_mod(a: u64, b: u64, m: u64) -> u64 {
    match a.checked_add(b) {
        Some(sum) if sum < m => sum,
        // Either no overflow and sum >= m, or the true sum lies between 2^64 and 2m.
        _ => a.wrapping_add(b).wrapping_sub(m),
    }
}

fn number(numerals: &[u8], radix: u32) -> u64 {
    numerals.iter().fold(0, |n, numeral| n * u64::from(radix) + u64::from(*numeral))
}

fn write(mut value: u64, radix: u32, out: &mut [u8]) {
    let radix = u64::from(radix);
    for numeral in out.iter_mut().rev() {
        *numeral = (value % radix) as u8;
        value /= radix;
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER_PERMISSIVE;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    fn encrypt(
        key: &[u8; 32],
        radix: u32,
        tweak: &[u8],
        numerals: &[u8],
    ) -> Result<Vec<u8>, TransformFault> {
        let mut out = numerals.to_vec();
        let job = Job { numerals: (0, out.len()), tweak: (0, tweak.len()) };
        Ff1::new(key, radix).unwrap().encrypt(&mut out, tweak, &[job])?;
        Ok(out)
    }

    fn key(hex: &str) -> [u8; 32] {
        HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    fn numerals(text: &str, alphabet: &str) -> Option<Vec<u8>> {
        text.chars()
            .map(|c| alphabet.chars().position(|a| a == c).map(|at| u8::try_from(at).unwrap()))
            .collect()
    }

    fn oracle(key: &[u8; 32], radix: u32, tweak: &[u8], numerals: &[u8]) -> Vec<u8> {
        let x: Vec<u16> = numerals.iter().map(|n| u16::from(*n)).collect();
        let ff1 = FF1::<Aes256>::new(key, radix).unwrap();
        let sealed = ff1.encrypt(tweak, &FlexibleNumeralString::from(x)).unwrap();
        Vec::<u16>::from(sealed).into_iter().map(|n| u8::try_from(n).unwrap()).collect()
    }

    /// <https://csrc.nist.gov/CSRC/media/Projects/Cryptographic-Standards-and-Guidelines/documents/examples/FF1samples.pdf>,
    /// samples 7 to 9: AES-256.
    #[test]
    fn nist_sp_800_38g_samples_7_to_9() {
        let key = key("2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94");
        let signs = "0123456789abcdefghijklmnopqrstuvwxyz";
        for (radix, tweak, plain, sealed) in [
            (10, "", "0123456789", "6657667009"),
            (10, "39383736353433323130", "0123456789", "1001623463"),
            (36, "3737373770717273373737", "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
        ] {
            let tweak = HEXLOWER_PERMISSIVE.decode(tweak.as_bytes()).unwrap();
            let found = encrypt(&key, radix, &tweak, &numerals(plain, signs).unwrap());
            assert_eq!(found, Ok(numerals(sealed, signs).unwrap()));
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Digits {
        Text(String),
        List(Vec<i32>),
    }

    impl Digits {
        fn numerals(&self, alphabet: &str) -> Option<Vec<u8>> {
            match self {
                Self::Text(text) => numerals(text, alphabet),
                Self::List(list) => list.iter().map(|n| u8::try_from(*n).ok()).collect(),
            }
        }
    }

    #[derive(Deserialize)]
    struct Test {
        #[serde(rename = "tcId")]
        id: u32,
        key: String,
        tweak: String,
        msg: Digits,
        ct: Digits,
        result: String,
    }

    #[derive(Deserialize)]
    struct Vectors {
        radix: u32,
        #[serde(default)]
        alphabet: String,
        tests: Vec<Test>,
    }

    /// Project Wycheproof, AES-256 groups; short domains are refused here by the 10^6 bound.
    #[test]
    fn wycheproof() {
        let mut checked = (0, 0, 0);
        for file in [
            include_str!("../testdata/ff1/wycheproof_base10.json"),
            include_str!("../testdata/ff1/wycheproof_base62.json"),
            include_str!("../testdata/ff1/wycheproof_radix256.json"),
        ] {
            let vectors: Vectors = serde_json::from_str(file).unwrap();
            let least = length_least(vectors.radix) as usize;
            for test in &vectors.tests {
                let tweak = HEXLOWER_PERMISSIVE.decode(test.tweak.as_bytes()).unwrap();
                let plain = test.msg.numerals(&vectors.alphabet);
                let found = match &plain {
                    Some(plain) => encrypt(&key(&test.key), vectors.radix, &tweak, plain),
                    None => Err(TransformFault::OutsideAlphabet),
                };
                if test.result == "invalid" {
                    assert!(found.is_err(), "radix {} test {}", vectors.radix, test.id);
                    checked.1 += 1;
                } else if plain.is_some_and(|plain| plain.len() < least) {
                    assert_eq!(found, Err(TransformFault::DomainTooSmall));
                    checked.2 += 1;
                } else {
                    let expected = test.ct.numerals(&vectors.alphabet).unwrap();
                    assert_eq!(found, Ok(expected), "radix {} test {}", vectors.radix, test.id);
                    checked.0 += 1;
                }
            }
        }
        assert!(checked.0 > 1_500 && checked.1 > 50, "{checked:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Odd lengths, both sizes of d, and the slow path lie in these ranges.
        #[test]
        fn equals_the_oracle(
            radix in prop::sample::select(vec![2_u32, 10, 16, 26, 36, 62, 94, 256]),
            extra in 0_usize..40,
            tweak in prop::collection::vec(any::<u8>(), 0..50),
            key: [u8; 32],
            seed: u64,
        ) {
            let length = length_least(radix) as usize + extra;
            let mut state = seed | 1;
            let value: Vec<u8> = (0..length).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                u8::try_from((state >> 33) % u64::from(radix)).unwrap()
            }).collect();
            prop_assert_eq!(
                encrypt(&key, radix, &tweak, &value),
                Ok(oracle(&key, radix, &tweak, &value))
            );
        }
    }

    #[test]
    fn edges_of_the_halves_equal_the_oracle() {
        // radix^u < 2^32 <= radix^v, radix^v just below and above 2^64, all zeros and all nines.
        for n in [6_usize, 7, 18, 19, 20, 37, 38, 39, 40, 41] {
            for digit in [0, 9] {
                let value = vec![digit; n];
                let found = encrypt(&[n as u8; 32], 10, b"t", &value).unwrap();
                assert_eq!(found, oracle(&[n as u8; 32], 10, b"t", &value), "{n}");
            }
        }
    }

    #[test]
    fn a_batch_is_its_values_one_by_one() {
        let ff1 = Ff1::new(&[5; 32], 10).unwrap();
        let mut numerals = Vec::new();
        let mut tweaks = Vec::new();
        let mut jobs = Vec::new();
        let mut alone = Vec::new();
        for i in 0..200_usize {
            let value: Vec<u8> = (0..6 + i % 45).map(|at| ((i * 7 + at) % 10) as u8).collect();
            let tweak = vec![(i / 3) as u8; i % 5];
            jobs.push(Job {
                numerals: (numerals.len(), numerals.len() + value.len()),
                tweak: (tweaks.len(), tweaks.len() + tweak.len()),
            });
            alone.extend(oracle(&[5; 32], 10, &tweak, &value));
            numerals.extend(value);
            tweaks.extend(tweak);
        }
        ff1.encrypt(&mut numerals, &tweaks, &jobs).unwrap();
        assert!(numerals == alone);
    }

    #[test]
    fn refuses_bad_length_bad_numeral_bad_radix() {
        assert_eq!(encrypt(&[0; 32], 10, b"", &[1; 5]), Err(TransformFault::DomainTooSmall));
        assert!(encrypt(&[0; 32], 10, b"", &[1; 6]).is_ok());
        assert_eq!(encrypt(&[0; 32], 10, b"", &[10; 6]), Err(TransformFault::OutsideAlphabet));
        assert_eq!(encrypt(&[0; 32], 10, b"", &[1; 513]), Err(TransformFault::TooLong));
        assert!(Ff1::new(&[0; 32], 1).is_none() && Ff1::new(&[0; 32], 257).is_none());
        assert_eq!((length_least(10), length_least(62), length_least(2)), (6, 4, 20));
        assert_eq!((length_least(256), length_least(36)), (3, 4));
    }
}
