//! Discrete Gaussian noise: one sample of an alias table for a key, a statistic and an ordinal.
//!
//! Sample `i` of statistic `s` is made of words 4l to 4l + 3 of the ChaCha20 block with counter
//! `i >> 2` and nonce `(s, 0, 0)`, `l = i & 3`: the first chooses the slot by its low bits, the other
//! three, highest first, are compared with the slot's threshold. No sample has a loop or a branch
//! that hangs on a secret; the slot's address does.

use zeroize::Zeroizing;

use crate::alias_table::{AliasTable, threshold_of};
use crate::chacha20;
use crate::device::{Cause, Device, Gpu, Job, LANES, Ran, Shader, Step, params};

/// Ordinals end here: the block counter has 32 bits.
pub const ORDINALS_MAX: u64 = 1 << 34;

/// Why nothing is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoiseFault {
    #[error("ordinals {first} to {first} + {count} pass 2^34: a statistic has no more samples")]
    Ordinals { first: u64, count: usize },
}

/// Blocks that are computed side by side: as many as the registers of any x86-64 hold. Eight were
/// half as fast.
const TOGETHER: usize = 4;

params!(Params { key_low: 4, key_high: 4, statistic: 1, counter: 1, count: 1, mask: 1, reach: 1 });

pub(crate) const SHADER: Shader = Shader {
    name: "noise",
    sources: &[include_str!("../chacha20/block.wgsl"), include_str!("kernel.wgsl")],
    has_between: false,
};

/// `count` samples from ordinal `first` on.
///
/// # Errors
/// The ordinals pass 2^34.
pub fn run(
    device: &Device,
    key: &[u8; 32],
    table: &AliasTable,
    statistic: u32,
    first: u64,
    count: usize,
) -> Result<Ran<Vec<i32>>, NoiseFault> {
    within(first, count)?;
    let key = Zeroizing::new(chacha20::key_words(key));
    let drawn = Drawn { key: &key, table, statistic, first, count };
    Ok(device.batch(|gpu| drawn.on(gpu, &SHADER), || drawn.twin()))
}

/// What [`run`] does, `rounds` times over a table that lies on the device already: for a
/// measurement of the kernel without the way back. The samples are those of one round.
///
/// # Errors
/// As [`run`].
pub fn repeated(
    device: &Device,
    key: &[u8; 32],
    table: &AliasTable,
    count: usize,
    rounds: usize,
) -> Result<Ran<Vec<i32>>, NoiseFault> {
    within(0, count)?;
    let key = Zeroizing::new(chacha20::key_words(key));
    let drawn = Drawn { key: &key, table, statistic: 0, first: 0, count };
    let on_gpu = |gpu: &Gpu| drawn.confirmed(drawn.rounds_on(gpu, &SHADER, rounds)?);
    Ok(device.batch(on_gpu, || drawn.twin()))
}

/// The same on the processor: what the words mean here, they mean on every device.
///
/// # Errors
/// As [`run`].
pub fn twin(
    key: &[u8; 32],
    table: &AliasTable,
    statistic: u32,
    first: u64,
    count: usize,
) -> Result<Vec<i32>, NoiseFault> {
    within(first, count)?;
    let key = Zeroizing::new(chacha20::key_words(key));
    Ok(Drawn { key: &key, table, statistic, first, count }.twin())
}

fn within(first: u64, count: usize) -> Result<(), NoiseFault> {
    let last = first.checked_add(count as u64).filter(|last| *last <= ORDINALS_MAX);
    last.map(|_| ()).ok_or(NoiseFault::Ordinals { first, count })
}

/// What is to be drawn; the ordinals are within their range.
pub(crate) struct Drawn<'a> {
    pub key: &'a [u32; 8],
    pub table: &'a AliasTable,
    pub statistic: u32,
    pub first: u64,
    pub count: usize,
}

/// Blocks a job: 64 MiB of samples.
const BLOCKS_A_JOB: usize = 1 << 22;

impl Drawn<'_> {
    /// Every sample is drawn by the twin as well: one that is another's could not be audited, and to
    /// look at a part of them would let a fault elsewhere pass. A core draws millions in a second.
    pub(crate) fn on(&self, gpu: &Gpu, shader: &Shader) -> Result<Vec<i32>, Cause> {
        self.confirmed(self.rounds_on(gpu, shader, 1)?)
    }

    fn confirmed(&self, samples: Vec<i32>) -> Result<Vec<i32>, Cause> {
        let mut samples = Zeroizing::new(samples);
        let twin = Zeroizing::new(self.twin());
        if *samples == *twin { Ok(std::mem::take(&mut *samples)) } else { Err(Cause::Differs) }
    }

    /// Nobody has looked at what this gives.
    pub(crate) fn rounds_on(
        &self,
        gpu: &Gpu,
        shader: &Shader,
        rounds: usize,
    ) -> Result<Vec<i32>, Cause> {
        let (mut samples, mut skip) = (Vec::with_capacity(self.count), (self.first & 3) as usize);
        let mut counter = (self.first >> 2) as u32;
        while samples.len() < self.count {
            let left = self.count - samples.len();
            let blocks = (skip + left).div_ceil(4).min(BLOCKS_A_JOB);
            let words = Zeroizing::new(self.job(gpu, shader, counter, blocks, rounds)?);
            samples.extend(words.iter().skip(skip).take(left).map(|word| *word as i32));
            counter = counter.wrapping_add(blocks as u32);
            skip = 0;
        }
        Ok(samples)
    }

    fn job(
        &self,
        gpu: &Gpu,
        shader: &Shader,
        counter: u32,
        blocks: usize,
        rounds: usize,
    ) -> Result<Vec<u32>, Cause> {
        let (key_low, key_high) = chacha20::halves_of(self.key);
        let slots = self.table.slots().as_flattened();
        let params = Params {
            key_low,
            key_high,
            statistic: [self.statistic],
            counter: [counter],
            count: [blocks as u32],
            mask: [self.table.slots().len() as u32 - 1],
            reach: [self.table.reach() as u32],
        };
        let entries = vec![("noise", blocks.div_ceil(LANES)); rounds];
        gpu.run(&Job {
            shader,
            input_words: vec![slots.len()],
            between_words: 0,
            output_words: 4 * blocks,
            steps: vec![Step { params: params.words(), inputs: vec![slots], entries }],
        })
    }

    pub(crate) fn twin(&self) -> Vec<i32> {
        let Self { key, table, statistic, first, count } = *self;
        let mut samples = Vec::with_capacity(count + 4 * TOGETHER);
        let mut skip = (first & 3) as usize;
        let mut counter = (first >> 2) as u32;
        while samples.len() < count {
            let words = chacha20::blocks::<TOGETHER>(key, counter, [statistic, 0, 0]);
            let drawn = (0..4 * TOGETHER).skip(skip).map(|at| {
                let (block, word) = (at / 4, 4 * (at % 4));
                sample(table, std::array::from_fn(|next| words[word + next][block]))
            });
            samples.extend(drawn);
            skip = 0;
            counter = counter.wrapping_add(TOGETHER as u32);
        }
        samples.truncate(count);
        samples
    }
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
