//! The block function of ChaCha20, RFC 8439 section 2.3.

use crate::device::{Cause, Device, Gpu, Job, LANES, Ran, Shader, Step, params};

/// Section 2.3: "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// Words of a block.
pub const WORDS: usize = 16;

/// The key as words, section 2.3.
pub fn key_words(key: &[u8; 32]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// `N` blocks side by side, the counter counting up: word by word, then block by block.
pub(crate) fn blocks<const N: usize>(
    key: &[u32; 8],
    counter: u32,
    nonce: [u32; 3],
) -> [[u32; N]; WORDS] {
    let mut first = [[0; N]; WORDS];
    for (row, word) in first.iter_mut().zip(CONSTANTS.iter().chain(key)) {
        *row = [*word; N];
    }
    for (block, word) in first[12].iter_mut().enumerate() {
        *word = counter.wrapping_add(block as u32);
    }
    for (row, word) in first[13..].iter_mut().zip(nonce) {
        *row = [word; N];
    }
    let mut state = first;
    for _ in 0..10 {
        quarter(&mut state, 0, 4, 8, 12);
        quarter(&mut state, 1, 5, 9, 13);
        quarter(&mut state, 2, 6, 10, 14);
        quarter(&mut state, 3, 7, 11, 15);
        quarter(&mut state, 0, 5, 10, 15);
        quarter(&mut state, 1, 6, 11, 12);
        quarter(&mut state, 2, 7, 8, 13);
        quarter(&mut state, 3, 4, 9, 14);
    }
    for (row, start) in state.iter_mut().zip(&first) {
        for (word, start) in row.iter_mut().zip(start) {
            *word = word.wrapping_add(*start);
        }
    }
    state
}

/// Section 2.1, on each block.
#[expect(clippy::needless_range_loop, reason = "three rows of one array, two of them changed")]
#[inline(always)]
fn quarter<const N: usize>(state: &mut [[u32; N]; WORDS], a: usize, b: usize, c: usize, d: usize) {
    for (into, from, turned, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        for block in 0..N {
            state[into][block] = state[into][block].wrapping_add(state[from][block]);
            state[turned][block] = (state[turned][block] ^ state[into][block]).rotate_left(by);
        }
    }
}

params!(Params { key_low: 4, key_high: 4, nonce: 3, counter: 1, count: 1 });

pub(crate) const SHADER: Shader = Shader {
    name: "chacha20",
    sources: &[include_str!("block.wgsl"), include_str!("kernel.wgsl")],
    has_between: false,
};

/// Most blocks of one call: 64 MiB.
pub const BLOCKS_MAX: usize = 1 << 20;

/// Why no blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} blocks were asked for: at most {BLOCKS_MAX} a call")]
pub struct TooMany {
    pub count: usize,
}

/// `count` blocks that follow each other, word by word; the counter goes round at 2^32.
///
/// # Errors
/// More than [`BLOCKS_MAX`].
pub fn run(
    device: &Device,
    key: &[u8; 32],
    counter: u32,
    nonce: [u32; 3],
    count: usize,
) -> Result<Ran<Vec<u32>>, TooMany> {
    if count > BLOCKS_MAX {
        return Err(TooMany { count });
    }
    let key = zeroize::Zeroizing::new(key_words(key));
    let twin = || twin(&key, counter, nonce, count);
    Ok(device.batch(|gpu| on(gpu, &SHADER, &key, counter, nonce, count), twin))
}

pub(crate) fn twin(key: &[u32; 8], counter: u32, nonce: [u32; 3], count: usize) -> Vec<u32> {
    let block = |at: usize| blocks::<1>(key, counter.wrapping_add(at as u32), nonce);
    (0..count).flat_map(|at| block(at).map(|[word]| word)).collect()
}

pub(crate) fn on(
    gpu: &Gpu,
    shader: &Shader,
    key: &[u32; 8],
    counter: u32,
    nonce: [u32; 3],
    count: usize,
) -> Result<Vec<u32>, Cause> {
    let (key_low, key_high) = halves_of(key);
    let params = Params { key_low, key_high, nonce, counter: [counter], count: [count as u32] };
    let entries = vec![("blocks", count.div_ceil(LANES))];
    gpu.run(&Job {
        shader,
        input_words: Vec::new(),
        between_words: 0,
        output_words: count * WORDS,
        steps: vec![Step { params: params.words(), inputs: Vec::new(), entries }],
    })
}

/// The key as two vectors of four words.
pub(crate) fn halves_of(key: &[u32; 8]) -> ([u32; 4], [u32; 4]) {
    ([key[0], key[1], key[2], key[3]], [key[4], key[5], key[6], key[7]])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Key, counter, nonce, block.
    type Vector = ([u8; 32], u32, [u32; 3], [u8; 64]);

    /// RFC 8439: section 2.3.2, and appendix A.1, vectors 1 to 5.
    pub(crate) fn vectors() -> Vec<Vector> {
        let counting = std::array::from_fn(|at| at as u8);
        let mut last_bit = [0; 32];
        last_bit[31] = 1;
        let mut second_byte = [0; 32];
        second_byte[1] = 0xff;
        let cases = [
            (
                counting,
                1,
                [0x0900_0000, 0x4a00_0000, 0],
                "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
            ),
            (
                [0; 32],
                0,
                [0; 3],
                "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
            ),
            (
                [0; 32],
                1,
                [0; 3],
                "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
            ),
            (
                last_bit,
                1,
                [0; 3],
                "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
            ),
            (
                second_byte,
                2,
                [0; 3],
                "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
            ),
            (
                [0; 32],
                0,
                [0, 0, 0x0200_0000],
                "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c78a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d",
            ),
        ];
        let bytes = |hex: &str| {
            let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16);
            std::array::from_fn(|at| byte(at).expect("hexadecimal"))
        };
        cases.map(|(key, counter, nonce, hex)| (key, counter, nonce, bytes(hex))).into()
    }

    #[test]
    fn blocks_are_those_of_rfc_8439() {
        for (key, counter, nonce, expected) in vectors() {
            let words = blocks::<8>(&key_words(&key), counter, nonce);
            let found: Vec<u8> = words.iter().flat_map(|row| row[0].to_le_bytes()).collect();
            assert_eq!(found, expected, "counter {counter}");
        }
        // The eight are the eight that follow each other.
        let (key, counter, nonce, _) = vectors()[0];
        let together = blocks::<8>(&key_words(&key), counter, nonce);
        for block in 0..8 {
            let alone = blocks::<1>(&key_words(&key), counter + block as u32, nonce);
            assert!(together.iter().zip(&alone).all(|(row, one)| row[block] == one[0]));
        }
    }
}
