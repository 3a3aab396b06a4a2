//! Discrete Gaussian noise: one sample of an alias table for a key, a statistic and an ordinal.
//!
//! Sample `i` of statistic `s` is made of words 4l to 4l + 3 of the ChaCha20 block with counter
//! `i >> 2` and nonce `(s, 0, 0)`, `l = i & 3`: the first chooses the slot by its low bits, the other
//! three, highest first, are compared with the slot's threshold. No sample has a loop or a branch
//! that hangs on a secret; the slot's address does.

use crate::alias_table::{AliasTable, threshold_of};
use crate::chacha20;

/// Ordinals end here: the block counter has 32 bits.
pub const ORDINALS_MAX: u64 = 1 << 34;

/// Why nothing is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoiseFault {
    #[error("ordinals {first} to {first} + {count} pass 2^34: a statistic has no more samples")]
    Ordinals { first: u64, count: usize },
}

/// Blocks that are computed side by side.
const LANES: usize = 8;

/// `count` samples from ordinal `first` on. What the words mean here, they mean on every device.
///
/// # Errors
/// The ordinals pass 2^34.
pub fn twin(
    key: &[u8; 32],
    table: &AliasTable,
    statistic: u32,
    first: u64,
    count: usize,
) -> Result<Vec<i32>, NoiseFault> {
    let last = first.checked_add(count as u64).filter(|last| *last <= ORDINALS_MAX);
    last.ok_or(NoiseFault::Ordinals { first, count })?;
    let key = zeroize::Zeroizing::new(chacha20::key_words(key));
    let mut samples = Vec::with_capacity(count + 4 * LANES);
    let mut skip = (first & 3) as usize;
    let mut counter = (first >> 2) as u32;
    while samples.len() < count {
        let words = chacha20::blocks::<LANES>(&key, counter, [statistic, 0, 0]);
        let drawn = (0..4 * LANES).skip(skip).map(|at| {
            let (block, word) = (at / 4, 4 * (at % 4));
            sample(table, std::array::from_fn(|next| words[word + next][block]))
        });
        samples.extend(drawn);
        skip = 0;
        counter = counter.wrapping_add(LANES as u32);
    }
    samples.truncate(count);
    Ok(samples)
}

/// What four words of a block say.
#[inline(always)]
fn sample(table: &AliasTable, words: [u32; 4]) -> i32 {
    let slots = table.slots();
    let slot = words[0] as usize & (slots.len() - 1);
    let entry = &slots[slot];
    let drawn = threshold_of(&[words[1], words[2], words[3], 0]);
    let value = if drawn < threshold_of(entry) { slot as i32 } else { entry[3] as i32 };
    value - table.reach()
}

#[cfg(test)]
mod tests;
