//! Vectors of others first, then the oracle at every border, then refusals.

use data_encoding::HEXLOWER_PERMISSIVE;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn encrypt(
    key: &[u8; 32],
    radix: u32,
    tweak: &[u8],
    numerals: &[u16],
) -> Result<Vec<u16>, TransformFault> {
    let mut out = numerals.to_vec();
    Ff1::<Aes256>::new(key, radix).unwrap().apply(Way::Encrypt, tweak, &mut out)?;
    Ok(out)
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

fn key(text: &str) -> [u8; 32] {
    hex(text).try_into().unwrap()
}

fn numerals(text: &str, alphabet: &str) -> Option<Vec<u16>> {
    text.chars()
        .map(|c| alphabet.chars().position(|a| a == c).map(|at| u16::try_from(at).unwrap()))
        .collect()
}

/// <https://csrc.nist.gov/CSRC/media/Projects/Cryptographic-Standards-and-Guidelines/documents/examples/FF1samples.pdf>,
/// samples 1 to 9.
#[test]
fn nist_sp_800_38g_samples() {
    fn check<C: Cipher>(key: &str, sealed: [&str; 3]) {
        let signs = "0123456789abcdefghijklmnopqrstuvwxyz";
        for ((radix, tweak, plain), sealed) in [
            (10, "", "0123456789"),
            (10, "39383736353433323130", "0123456789"),
            (36, "3737373770717273373737", "0123456789abcdefghi"),
        ]
        .into_iter()
        .zip(sealed)
        {
            let ff1 = Ff1::<C>::new(&hex(key), radix).unwrap();
            let (plain, sealed) =
                (numerals(plain, signs).unwrap(), numerals(sealed, signs).unwrap());
            let mut found = plain.clone();
            ff1.apply(Way::Encrypt, &hex(tweak), &mut found).unwrap();
            assert_eq!(found, sealed);
            ff1.apply(Way::Decrypt, &hex(tweak), &mut found).unwrap();
            assert_eq!(found, plain);
            ff1.long(Way::Encrypt, &hex(tweak), &mut found).unwrap();
            assert_eq!(found, sealed);
        }
    }
    let key = "2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94";
    check::<Aes128>(&key[..32], ["2433477484", "6124200773", "a9tv40mll9kdu509eum"]);
    check::<Aes192>(&key[..48], ["2830668132", "2496655549", "xbj3kv35jrawxv32ysr"]);
    check::<Aes256>(key, ["6657667009", "1001623463", "xs8a0azh2avyalyzuwd"]);
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Digits {
    Text(String),
    List(Vec<i32>),
}

impl Digits {
    fn numerals(&self, alphabet: &str) -> Option<Vec<u16>> {
        match self {
            Self::Text(text) => numerals(text, alphabet),
            Self::List(list) => list.iter().map(|n| u16::try_from(*n).ok()).collect(),
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
        include_str!("../../testdata/ff1/wycheproof_base10.json"),
        include_str!("../../testdata/ff1/wycheproof_base62.json"),
        include_str!("../../testdata/ff1/wycheproof_radix256.json"),
    ] {
        let vectors: Vectors = serde_json::from_str(file).unwrap();
        let least = length_least(vectors.radix) as usize;
        for test in &vectors.tests {
            let tweak = hex(&test.tweak);
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

/// A generator for cases: SplitMix64.
struct Cases(u64);

impl Cases {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn numerals(&mut self, radix: u32, count: usize) -> Vec<u16> {
        // All least and all greatest numerals among them: sums and remainders are largest there.
        match self.below(16) {
            0 => vec![0; count],
            1 => vec![(radix - 1) as u16; count],
            _ => (0..count).map(|_| self.below(radix as usize) as u16).collect(),
        }
    }
}

const RADICES: [u32; 11] = [2, 10, 16, 26, 36, 62, 94, 256, 1_000, 65_535, 65_536];

/// Counts of numerals beside every border of the arithmetic: radix^u or radix^v at 2^32, 2^62 and
/// 2^64, one half on each side of it where the count is odd.
fn border_lengths(radix: u32) -> Vec<usize> {
    let least = length_least(radix) as usize;
    let mut lengths = vec![least, least + 1];
    for bits in [32, 62, 64] {
        let half = f64::from(bits) / f64::from(radix).log2();
        let near = 2 * half.floor() as usize;
        lengths.extend(near.saturating_sub(2)..=near + 4);
    }
    lengths.retain(|n| *n >= least);
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// Over 10^5 values against crate `fpe`, each radix as one column: lengths and tweaks mixed, both
/// ways.
#[test]
fn columns_equal_the_oracle_at_every_border() {
    let mut cases = Cases(7);
    let mut compared = 0;
    for radix in RADICES {
        let key: [u8; 32] = std::array::from_fn(|_| cases.next() as u8);
        let ff1 = Ff1::<Aes256>::new(&key, radix).unwrap();
        let borders = border_lengths(radix);
        let tweaks: Vec<Vec<u8>> = [0, 3, 7, 8, 11, 15, 16, 20, 37, 64]
            .map(|t| (0..t).map(|_| cases.next() as u8).collect())
            .to_vec();
        let mut column = ff1.column(Way::Encrypt);
        let mut waiting = Vec::new();
        for _ in 0..9_200 {
            let tweak = &tweaks[cases.below(tweaks.len())];
            let n = match cases.below(4) {
                0 => length_least(radix) as usize + cases.below(40),
                _ => borders[cases.below(borders.len())],
            };
            let plain = cases.numerals(radix, n);
            let text = FlexibleNumeralString::from(plain.clone());
            let sealed: Vec<u16> = ff1.long.encrypt(tweak, &text).unwrap().into();
            match ff1.length(n).unwrap() {
                Some(length) => {
                    column.tweak().clone_from(tweak);
                    column.push(length, length.halves(&plain));
                    waiting.push((length, tweak, plain, sealed));
                }
                None => {
                    let mut found = plain;
                    ff1.apply(Way::Encrypt, tweak, &mut found).unwrap();
                    assert!(found == sealed);
                }
            }
            compared += 1;
        }
        let mut back = ff1.column(Way::Decrypt);
        for ((length, tweak, _, sealed), found) in waiting.iter().zip(column.finish()) {
            assert!(found == length.halves(sealed), "radix {radix} n {}", length.count);
            back.tweak().clone_from(tweak);
            back.push(length, found);
        }
        for ((length, _, plain, _), found) in waiting.iter().zip(back.finish()) {
            assert!(found == length.halves(plain), "back: radix {radix} n {}", length.count);
            let mut numerals = vec![0; plain.len()];
            length.write(found, &mut numerals);
            assert!(numerals == *plain);
        }
        assert!(waiting.len() > 3_000, "radix {radix}: {} in columns", waiting.len());
    }
    assert!(compared > 100_000);
}

/// Neighbours whose tweaks are alike but for their ends, or their starts, or that are of two lengths: of
/// these the state before the last block is taken over, or is not. More of them than lanes.
#[test]
fn neighbours_with_tweaks_alike_equal_the_oracle() {
    let mut cases = Cases(23);
    let key: [u8; 32] = std::array::from_fn(|_| cases.next() as u8);
    let ff1 = Ff1::<Aes256>::new(&key, 10).unwrap();
    let mut taken_over = 0;
    for bytes in 0..70 {
        let mut tweak: Vec<u8> = (0..bytes).map(|_| cases.next() as u8).collect();
        let other: Vec<u8> = (0..bytes + 3).map(|_| cases.next() as u8).collect();
        let mut column = ff1.column(Way::Encrypt);
        let mut waiting = Vec::new();
        for n in 0..150 {
            // Runs of ends, then a start now and then, then another length.
            match cases.below(8) {
                0 if bytes > 0 => tweak[cases.below(bytes)] ^= 1,
                1..=5 if bytes > 0 => tweak[bytes - 1] ^= cases.next() as u8,
                _ => {}
            }
            let tweak = if n % 50 == 49 { &other } else { &tweak };
            let count = [16, 16, 16, 19, 7][cases.below(5)];
            let plain = cases.numerals(10, count);
            let text = FlexibleNumeralString::from(plain.clone());
            let sealed: Vec<u16> = ff1.long.encrypt(tweak, &text).unwrap().into();
            let length = ff1.length(plain.len()).unwrap().unwrap();
            column.tweak().clone_from(tweak);
            column.push(length, length.halves(&plain));
            waiting.push((length, sealed));
        }
        let groups = column.groups.iter().flatten();
        taken_over += groups.filter(|group| group.lead.is_some()).count();
        for ((length, sealed), found) in waiting.iter().zip(column.finish()) {
            assert!(found == length.halves(sealed), "tweak of {bytes}, n {}", length.count);
        }
    }
    // The control: the short way was taken.
    assert!(taken_over > 50, "{taken_over}");
}

/// Each kind of arithmetic is met by the lengths above; a change of kinds shows here.
#[test]
fn borders_meet_every_kind_of_modulus() {
    let mut met = [false; 5];
    for length in RADICES.iter().flat_map(|r| border_lengths(*r).into_iter().map(|n| (*r, n))) {
        let Some(length) = Length::of(length.0, length.1) else { continue };
        for modulus in length.moduli {
            let kind = match modulus {
                Modulus::Power { .. } => 0,
                Modulus::Short { .. } => 1,
                Modulus::Split { .. } => 2,
                Modulus::Wide { .. } => 3,
                Modulus::Full { .. } => 4,
            };
            met[kind] = true;
        }
    }
    assert_eq!(met, [true; 5]);
}

/// Reductions against a division, where an estimate is most wrong; the control takes an inverse
/// that is one too small, as a wrong rounding would make it.
#[test]
fn reductions_equal_a_division() {
    let wrong = |change: u64| {
        let mut cases = Cases(11);
        let mut wrong = 0;
        let powers = [10_u128, 26, 36, 62, 94, 1_000, 65_535].into_iter().flat_map(|radix| {
            (1..21).filter_map(move |m| radix.checked_pow(m).filter(|p| *p < 1 << 64))
        });
        for modulus in powers {
            for bytes in [4, 8] {
                if bytes == 4 && modulus > 1 << 32 {
                    continue;
                }
                let kind = match Modulus::of(modulus, bytes) {
                    Modulus::Short { modulus, inverse } => {
                        Modulus::Short { modulus, inverse: inverse - change }
                    }
                    Modulus::Split { modulus, inverse } => {
                        Modulus::Split { modulus, inverse: inverse - change }
                    }
                    Modulus::Wide { modulus, inverse } => {
                        Modulus::Wide { modulus, inverse: inverse - change }
                    }
                    Modulus::Full { modulus, inverse } => {
                        Modulus::Full { modulus, inverse: inverse - change }
                    }
                    other => other,
                };
                for at in 0..200 {
                    let top = (1_u128 << (8 * bytes + 32)) - 1;
                    let random = u128::from(cases.next()) << 64 | u128::from(cases.next());
                    let y = match at {
                        0 => top,
                        1 => 0,
                        2 => top / modulus * modulus,
                        3 => top / modulus * modulus - 1,
                        _ => random & top,
                    };
                    let x = match at % 3 {
                        0 => modulus as u64 - 1,
                        1 => 0,
                        _ => (u128::from(cases.next()) % modulus) as u64,
                    };
                    let mut block = [0xaa; 16];
                    let width = bytes + 4;
                    block[..width].copy_from_slice(&y.to_be_bytes()[16 - width..]);
                    let (mut there, mut back) = ([x], [x]);
                    kind.mix::<false>(&[Array(block)], &mut there);
                    kind.mix::<true>(&[Array(block)], &mut back);
                    let (x, y) = (u128::from(x), y % modulus);
                    let expected = ((x + y) % modulus, (x + modulus - y) % modulus);
                    if (u128::from(there[0]), u128::from(back[0])) != expected {
                        wrong += 1;
                    }
                }
            }
        }
        wrong
    };
    assert_eq!(wrong(0), 0);
    assert!(wrong(2) > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn comes_back(
        radix in 2_u32..=65_536,
        extra in 0_usize..40,
        tweak in prop::collection::vec(any::<u8>(), 0..50),
        key: [u8; 32],
        seed: u64,
    ) {
        let plain = Cases(seed).numerals(radix, length_least(radix) as usize + extra);
        let ff1 = Ff1::<Aes256>::new(&key, radix).unwrap();
        let mut value = plain.clone();
        ff1.apply(Way::Encrypt, &tweak, &mut value).unwrap();
        let mut long = plain.clone();
        ff1.long(Way::Encrypt, &tweak, &mut long).unwrap();
        prop_assert_eq!(&value, &long);
        ff1.apply(Way::Decrypt, &tweak, &mut value).unwrap();
        prop_assert_eq!(value, plain);
    }
}

#[test]
fn refuses_bad_length_bad_numeral_bad_radix_bad_key() {
    assert_eq!(encrypt(&[0; 32], 10, b"", &[1; 5]), Err(TransformFault::DomainTooSmall));
    assert!(encrypt(&[0; 32], 10, b"", &[1; 6]).is_ok());
    assert_eq!(encrypt(&[0; 32], 10, b"", &[10; 6]), Err(TransformFault::OutsideAlphabet));
    assert_eq!(encrypt(&[0; 32], 10, b"", &[1; 513]), Err(TransformFault::TooLong));
    let made = |key: &[u8], radix| Ff1::<Aes256>::new(key, radix).is_some();
    assert!(made(&[0; 32], 2) && made(&[0; 32], 65_536));
    assert!(!made(&[0; 32], 1) && !made(&[0; 32], 65_537) && !made(&[0; 16], 10));
    assert_eq!((length_least(10), length_least(62), length_least(2)), (6, 4, 20));
    assert_eq!((length_least(256), length_least(36), length_least(65_536)), (3, 4, 2));
}
