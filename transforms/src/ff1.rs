//! FF1 of NIST SP 800-38G over a whole column, 64 values at a time.
//!
//! Every block of `P || Q` but the last is the same in all ten rounds, so its CBC state is computed
//! once for each length and tweak; a round is then one AES block a value, and the blocks of 64
//! values of one length go through the cipher together. A half is a number of 64 bits, and what
//! FF1 divides by is known beforehand: no round divides. Values whose halves do not fit 64 bits go
//! through crate `fpe`, which is also the oracle of the tests.

use aes::cipher::consts::U16;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
pub use aes::{Aes128, Aes192, Aes256};
use fpe::ff1::{FF1, FlexibleNumeralString};

use crate::cmac::copy;
use crate::fault::TransformFault;

/// SP 800-38G Rev. 1: radix^minlen must be at least this.
pub const DOMAIN_MIN: u64 = 1_000_000;
/// Most characters of one value that are encrypted.
pub const NUMERALS_MAX: usize = 512;
/// SP 800-38G: radix is at most 2^16.
pub const RADIX_MAX: u32 = 1 << 16;

/// Values that go through the rounds together.
const LANES: usize = 64;

/// A 128-bit block.
type Block = Array<u8, U16>;

/// AES with a key of any of its three sizes.
pub trait Cipher: BlockCipherEncrypt<BlockSize = U16> + KeyInit + Clone {}

impl<C: BlockCipherEncrypt<BlockSize = U16> + KeyInit + Clone> Cipher for C {}

/// There, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Algorithm 7.
    Encrypt,
    /// Algorithm 8.
    Decrypt,
}

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

/// FF1 under one key and radix.
pub struct Ff1<C = Aes256> {
    radix: u32,
    least: usize,
    cipher: C,
    /// By count of numerals, as far as halves fit 64 bits.
    lengths: Vec<Length>,
    long: FF1<C>,
}

impl<C: Cipher> Ff1<C> {
    /// None where the radix is not between 2 and [`RADIX_MAX`], or the key not of the cipher's
    /// size.
    pub fn new(key: &[u8], radix: u32) -> Option<Self> {
        if !(2..=RADIX_MAX).contains(&radix) {
            return None;
        }
        Some(Self {
            radix,
            least: length_least(radix) as usize,
            cipher: C::new_from_slice(key).ok()?,
            lengths: (0..=NUMERALS_MAX).map_while(|n| Length::of(radix, n)).collect(),
            long: FF1::new(key, radix).ok()?,
        })
    }

    /// The radix.
    pub fn radix(&self) -> u32 {
        self.radix
    }

    /// What a value of `n` numerals is split into; `None` where a half does not fit 64 bits and
    /// the value goes through [`Self::long`].
    ///
    /// # Errors
    /// [`TransformFault::DomainTooSmall`] below 10^6 values, [`TransformFault::TooLong`] above
    /// [`NUMERALS_MAX`] numerals.
    pub fn length(&self, n: usize) -> Result<Option<&Length>, TransformFault> {
        if n < self.least {
            return Err(TransformFault::DomainTooSmall);
        }
        if n > NUMERALS_MAX {
            return Err(TransformFault::TooLong);
        }
        Ok(self.lengths.get(n))
    }

    /// Begins with the values of a column.
    pub fn column(&self, way: Way) -> Column<'_, C> {
        let mut groups = Vec::new();
        groups.resize_with(self.lengths.len(), Vec::new);
        Column { ff1: self, way, groups, done: Vec::new(), tweak: Vec::new(), turn: 0 }
    }

    /// One value of any length, in place.
    ///
    /// # Errors
    /// As [`Self::length`]; [`TransformFault::OutsideAlphabet`] for a numeral that is not below the
    /// radix.
    pub fn apply(
        &self,
        way: Way,
        tweak: &[u8],
        numerals: &mut [u16],
    ) -> Result<(), TransformFault> {
        let length = self.length(numerals.len())?;
        if numerals.iter().any(|numeral| u32::from(*numeral) >= self.radix) {
            return Err(TransformFault::OutsideAlphabet);
        }
        let Some(length) = length else { return self.long(way, tweak, numerals) };
        let mut column = self.column(way);
        column.tweak().extend_from_slice(tweak);
        column.push(length, length.halves(numerals));
        for halves in column.finish() {
            length.write(halves, numerals);
        }
        Ok(())
    }

    /// One value whose halves do not fit 64 bits, in place, by crate `fpe`.
    ///
    /// # Errors
    /// The crate refuses what [`Self::apply`] refuses.
    pub fn long(&self, way: Way, tweak: &[u8], numerals: &mut [u16]) -> Result<(), TransformFault> {
        let text = FlexibleNumeralString::from(numerals.to_vec());
        let out = match way {
            Way::Encrypt => self.long.encrypt(tweak, &text),
            Way::Decrypt => self.long.decrypt(tweak, &text),
        };
        let out: Vec<u16> = out.map_err(|_| TransformFault::OutsideAlphabet)?.into();
        numerals.copy_from_slice(&out);
        Ok(())
    }
}

/// The two halves of a value as numbers: NUM(A) and NUM(B).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Halves {
    /// Of the first u numerals.
    pub a: u64,
    /// Of the last v numerals.
    pub b: u64,
}

/// What follows from radix and count of numerals alone.
#[derive(Clone, Copy)]
pub struct Length {
    radix: u32,
    /// n
    count: usize,
    /// b of step 3.
    bytes: usize,
    /// radix^u and radix^v.
    moduli: [Modulus; 2],
}

impl Length {
    /// None where radix^v is over 2^64.
    fn of(radix: u32, n: usize) -> Option<Self> {
        // 1. Let u = floor(n / 2); v = n - u.
        let power = |m: usize| u128::from(radix).checked_pow(u32::try_from(m).ok()?);
        let (low, high) = (power(n / 2)?, power(n - n / 2)?);
        if high > 1 << 64 {
            return None;
        }
        // 3. Let b = ceil(ceil(v * LOG(radix)) / 8): the bytes of the largest half, radix^v - 1.
        let bytes = (128 - (high - 1).leading_zeros() as usize).div_ceil(8).max(1);
        let moduli = [Modulus::of(low, bytes), Modulus::of(high, bytes)];
        Some(Self { radix, count: n, bytes, moduli })
    }

    /// n
    pub fn count(&self) -> usize {
        self.count
    }

    /// u of step 1.
    pub fn first(&self) -> usize {
        self.count / 2
    }

    /// 2. Let A = X[1..u]; B = X[u + 1..n]. As numbers.
    pub fn halves(&self, numerals: &[u16]) -> Halves {
        let number = |numerals: &[u16]| {
            let radix = u64::from(self.radix);
            numerals.iter().fold(0_u64, |sum, n| sum.wrapping_mul(radix) + u64::from(*n))
        };
        let (a, b) = numerals.split_at(self.first());
        Halves { a: number(a), b: number(b) }
    }

    /// The numerals of two numbers.
    pub fn write(&self, halves: Halves, numerals: &mut [u16]) {
        let radix = u64::from(self.radix);
        let (a, b) = numerals.split_at_mut(self.first());
        for (mut number, out) in [(halves.a, a), (halves.b, b)] {
            for numeral in out.iter_mut().rev() {
                *numeral = (number % radix) as u16;
                number /= radix;
            }
        }
    }

    /// `P || Q` with zeros for `i` and `NUM(B)`, both in the last block.
    fn message(&self, tweak: &[u8], out: &mut Vec<u8>) {
        // 5. Let P = [1]^1 || [2]^1 || [1]^1 || [radix]^3 || [10]^1 || [u mod 256]^1 || [n]^4 || [t]^4.
        // n and t are bounded far below 2^32.
        out.extend([1, 2, 1]);
        out.extend_from_slice(&self.radix.to_be_bytes()[1..]);
        out.extend([10, self.first() as u8]);
        out.extend_from_slice(&(self.count as u32).to_be_bytes());
        out.extend_from_slice(&(tweak.len() as u32).to_be_bytes());
        // 6i. Let Q = T || [0]^((-t-b-1) mod 16) || [i]^1 || [NUM(B)]^b.
        out.extend_from_slice(tweak);
        out.resize(out.len() + self.padding(tweak.len()), 0);
    }

    fn padding(&self, tweak: usize) -> usize {
        let fixed = tweak + self.bytes + 1;
        fixed.next_multiple_of(16) - tweak
    }

    /// Blocks of [`Self::message`].
    fn blocks(&self, tweak: usize) -> usize {
        1 + (tweak + self.padding(tweak)) / 16
    }
}

/// radix^m, and how a number is reduced by it without a division.
///
/// With d = 8 a number y has 64 bits, with d = 12 it has 96. q = floor(y' * inverse / 2^64) is at
/// most one (of 64 bits) or two (of 96) below floor(y / modulus), which the last steps mend.
#[derive(Clone, Copy)]
enum Modulus {
    /// A power of two, 2^64 among them: `mask` is one less. `skip` bytes of S are above it.
    Power { mask: u64, skip: usize },
    /// d = 8. `inverse` is floor((2^64 - 1) / modulus).
    Short { modulus: u64, inverse: u64 },
    /// d = 12 though the modulus is below 2^32, as of the shorter half of an odd length: in two
    /// steps, so that no product is over 64 bits.
    Split { modulus: u64, inverse: u64 },
    /// d = 12. `inverse` is floor((2^96 - 1) / modulus).
    Wide { modulus: u64, inverse: u64 },
    /// As `Wide`, above 2^62: sums need more than 64 bits.
    Full { modulus: u64, inverse: u64 },
}

impl Modulus {
    /// `modulus` is at most 2^64, and `bytes` the b of step 3.
    fn of(modulus: u128, bytes: usize) -> Self {
        // 4. Let d = 4 * ceil(b / 4) + 4.
        let d = 4 * bytes.div_ceil(4) + 4;
        let inverse = |numerator: u128| (numerator / modulus) as u64;
        // Only a power of two is 2^64.
        let small = modulus as u64;
        if modulus.is_power_of_two() {
            Self::Power { mask: small.wrapping_sub(1), skip: d - 8 }
        } else if d == 8 {
            Self::Short { modulus: small, inverse: inverse((1 << 64) - 1) }
        } else if modulus < 1 << 32 {
            Self::Split { modulus: small, inverse: inverse((1 << 64) - 1) }
        } else if modulus < 1 << 62 {
            Self::Wide { modulus: small, inverse: inverse((1 << 96) - 1) }
        } else {
            Self::Full { modulus: small, inverse: inverse((1 << 96) - 1) }
        }
    }

    /// Steps 6iii to 6vi for all lanes: x becomes (x + y) mod radix^m, or (x - y) on the way back.
    fn mix<const BACK: bool>(self, blocks: &[Block], halves: &mut [u64]) {
        match self {
            Self::Power { mask, skip } => each(blocks, halves, |block, x| {
                let y = word(block, skip);
                (if BACK { x.wrapping_sub(y) } else { x.wrapping_add(y) }) & mask
            }),
            Self::Short { modulus, inverse } => each(blocks, halves, |block, x| {
                join::<BACK>(x, reduce(word(block, 0), modulus, inverse), modulus)
            }),
            Self::Split { modulus, inverse } => each(blocks, halves, |block, x| {
                let high = reduce(word(block, 0), modulus, inverse);
                let low = word(block, 4) & 0xffff_ffff;
                join::<BACK>(x, reduce(high << 32 | low, modulus, inverse), modulus)
            }),
            Self::Wide { modulus, inverse } => each(blocks, halves, |block, x| {
                let q = high_half(word(block, 0), inverse);
                // Below 3 * modulus, so the low 64 bits of both are enough.
                let y = word(block, 4).wrapping_sub(q.wrapping_mul(modulus));
                let y = y.min(y.wrapping_sub(2 * modulus));
                join::<BACK>(x, y.min(y.wrapping_sub(modulus)), modulus)
            }),
            Self::Full { modulus, inverse } => each(blocks, halves, |block, x| {
                let q = high_half(word(block, 0), inverse);
                let y = u128::from(word(block, 0)) << 32 | u128::from(word(block, 4) as u32);
                let modulus = u128::from(modulus);
                let mut sum = y - u128::from(q) * modulus;
                while sum >= modulus {
                    sum -= modulus;
                }
                sum = if BACK { u128::from(x) + modulus - sum } else { u128::from(x) + sum };
                (if sum < modulus { sum } else { sum - modulus }) as u64
            }),
        }
    }
}

fn each(blocks: &[Block], halves: &mut [u64], mixed: impl Fn(&Block, u64) -> u64) {
    for (block, x) in blocks.iter().zip(halves) {
        *x = mixed(block, *x);
    }
}

/// Eight bytes of a block, from `at` on.
fn word(block: &Block, at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&block.0[at..at + 8]);
    u64::from_be_bytes(bytes)
}

/// The upper 64 bits of a product.
fn high_half(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// y mod modulus, for a modulus below 2^32.
fn reduce(y: u64, modulus: u64, inverse: u64) -> u64 {
    let rest = y.wrapping_sub(high_half(y, inverse).wrapping_mul(modulus));
    rest.min(rest.wrapping_sub(modulus))
}

/// (x + y) mod modulus or (x - y) mod modulus, for x and y below a modulus below 2^62. What is too
/// large or below zero is far above the other choice.
fn join<const BACK: bool>(x: u64, y: u64, modulus: u64) -> u64 {
    if BACK {
        let rest = x.wrapping_sub(y);
        rest.min(rest.wrapping_add(modulus))
    } else {
        let sum = x + y;
        sum.min(sum.wrapping_sub(modulus))
    }
}

/// Values of one column on their way through the ten rounds.
pub struct Column<'f, C = Aes256> {
    ff1: &'f Ff1<C>,
    way: Way,
    /// By count of numerals, then by blocks before the last.
    groups: Vec<Vec<Group>>,
    done: Vec<Halves>,
    tweak: Vec<u8>,
    /// Which tweak it is.
    turn: u64,
}

impl<C: Cipher> Column<'_, C> {
    /// The tweak of the values that came last.
    pub fn tweaked(&self) -> &[u8] {
        &self.tweak
    }

    /// The tweak of the values to come, empty until then: to be written over.
    pub fn tweak(&mut self) -> &mut Vec<u8> {
        self.turn += 1;
        &mut self.tweak
    }

    /// Takes a value. It comes out of [`Self::finish`] at the place of its turn.
    pub fn push(&mut self, length: &Length, halves: Halves) {
        let at = self.done.len();
        self.done.push(Halves::default());
        let blocks = length.blocks(self.tweak.len());
        let groups = &mut self.groups[length.count];
        let place = groups.iter().position(|group| group.blocks == blocks);
        let place = place.unwrap_or_else(|| {
            groups.push(Group::new(*length, blocks));
            groups.len() - 1
        });
        let group = &mut groups[place];
        group.push(&self.ff1.cipher, at, halves, self.turn, &self.tweak);
        if group.at.len() == LANES {
            group.run(&self.ff1.cipher, self.way, &mut self.done);
        }
    }

    /// All values, in the order in which they came.
    pub fn finish(mut self) -> Vec<Halves> {
        for group in self.groups.iter_mut().flatten() {
            group.run(&self.ff1.cipher, self.way, &mut self.done);
        }
        self.done
    }
}

/// Up to 64 values of one length that go through the cipher together.
struct Group {
    length: Length,
    /// Blocks of `P || Q`.
    blocks: usize,
    /// Where each value belongs.
    at: Vec<usize>,
    a: Vec<u64>,
    b: Vec<u64>,
    /// Which of `starts` each value has; neighbours often share one.
    start_of: Vec<usize>,
    /// `P || Q` of the last tweak.
    message: Vec<u8>,
    /// Bytes of that tweak.
    filled: usize,
    /// CBC state before the last block of tweaks that begin as that one; none before two did.
    lead: Option<u128>,
    /// `P || Q` of tweaks whose start is not known yet, and which it is.
    messages: Vec<u8>,
    waiting: Vec<usize>,
    /// CBC state before the last block, the fixed part of that block added.
    starts: Vec<u128>,
    /// That of each value.
    before_last: Vec<u128>,
    /// Which tweak the value before had.
    turn: Option<u64>,
    buffer: Vec<Block>,
}

impl Group {
    fn new(length: Length, blocks: usize) -> Self {
        let lanes = || Vec::with_capacity(LANES);
        Self {
            length,
            blocks,
            at: Vec::with_capacity(LANES),
            a: lanes(),
            b: lanes(),
            start_of: Vec::with_capacity(LANES),
            message: Vec::new(),
            filled: 0,
            lead: None,
            messages: Vec::new(),
            waiting: Vec::new(),
            starts: Vec::new(),
            before_last: Vec::with_capacity(LANES),
            turn: None,
            buffer: Vec::with_capacity(LANES),
        }
    }

    fn push<C: Cipher>(&mut self, cipher: &C, at: usize, halves: Halves, turn: u64, tweak: &[u8]) {
        if self.turn != Some(turn) {
            self.turn = Some(turn);
            self.start(cipher, tweak);
        }
        self.start_of.push(self.starts.len() - 1);
        self.at.push(at);
        self.a.push(halves.a);
        self.b.push(halves.b);
    }

    /// A start for a tweak. Kept characters stand at the tweak's end, so most of them differ in the
    /// last block alone: then what is before it is enciphered once. Others wait for company.
    fn start<C: Cipher>(&mut self, cipher: &C, tweak: &[u8]) {
        let lead = 16 * (self.blocks - 1);
        // Of the tweak: the last block has the rest, or none of it.
        let (before, rest) = tweak.split_at(tweak.len().min(lead - 16));
        let alike = !self.message.is_empty()
            && self.filled == tweak.len()
            && self.message[16..16 + before.len()] == *before;
        if !alike {
            self.message.clear();
            self.length.message(tweak, &mut self.message);
            (self.filled, self.lead) = (tweak.len(), None);
            self.waiting.push(self.starts.len());
            self.messages.extend_from_slice(&self.message);
            return self.starts.push(0);
        }
        copy(&mut self.message[lead..], rest);
        let (blocks, _) = self.message.as_chunks::<16>();
        let state = *self.lead.get_or_insert_with(|| {
            let mut state = Block::default();
            for block in &blocks[..self.blocks - 1] {
                state.iter_mut().zip(block).for_each(|(state, byte)| *state ^= byte);
                cipher.encrypt_block(&mut state);
            }
            u128::from_be_bytes(state.0)
        });
        self.starts.push(state ^ u128::from_be_bytes(blocks[self.blocks - 1]));
    }

    /// Ten rounds over all that wait.
    fn run<C: Cipher>(&mut self, cipher: &C, way: Way, done: &mut [Halves]) {
        self.find_starts(cipher);
        self.before_last.clear();
        self.before_last.extend(self.start_of.drain(..).map(|start| self.starts[start]));
        match way {
            Way::Encrypt => (0..10).for_each(|round| self.round::<C, false>(cipher, round)),
            Way::Decrypt => (0..10).rev().for_each(|round| self.round::<C, true>(cipher, round)),
        }
        // 7. Return A || B.
        for ((at, a), b) in self.at.drain(..).zip(self.a.drain(..)).zip(self.b.drain(..)) {
            done[at] = Halves { a, b };
        }
        // The next value may have the tweak of the last.
        if let Some(last) = self.starts.pop() {
            self.starts.clear();
            self.starts.push(last);
        }
    }

    /// The CBC-MAC of all new messages, in step, up to where only the last block is left.
    fn find_starts<C: Cipher>(&mut self, cipher: &C) {
        let (blocks, _) = self.messages.as_chunks::<16>();
        let messages = blocks.chunks_exact(self.blocks);
        self.buffer.clear();
        self.buffer.resize(messages.len(), Block::default());
        for at in 0..self.blocks {
            if at > 0 {
                cipher.encrypt_blocks(&mut self.buffer);
            }
            for (state, message) in self.buffer.iter_mut().zip(messages.clone()) {
                state.iter_mut().zip(message[at]).for_each(|(state, byte)| *state ^= byte);
            }
        }
        for (at, state) in self.waiting.drain(..).zip(&self.buffer) {
            self.starts[at] = u128::from_be_bytes(state.0);
        }
        self.messages.clear();
    }

    /// One round. A and B do not change places: in even rounds A becomes the next B, in odd rounds
    /// B does, and after ten of them each stands where it belongs.
    fn round<C: Cipher, const BACK: bool>(&mut self, cipher: &C, round: u8) {
        let even = round.is_multiple_of(2);
        let (known, changed) = if even { (&self.b, &mut self.a) } else { (&self.a, &mut self.b) };
        let fixed = u128::from(round) << (8 * self.length.bytes);
        self.buffer.clear();
        self.buffer.extend(
            self.before_last.iter().zip(known).map(|(before, number)| {
                Array((before ^ (fixed | u128::from(*number))).to_be_bytes())
            }),
        );
        // 6ii. Let R = PRF(P || Q).
        cipher.encrypt_blocks(&mut self.buffer);
        // 6v. If i is even, let m = u; else, let m = v.
        self.length.moduli[usize::from(!even)].mix::<BACK>(&self.buffer, changed);
    }
}

#[cfg(test)]
mod tests;
