//! Kafka's partitioner: murmur2 of the key bytes, as the Java client computes it.
//!
//! Source: `org.apache.kafka.common.utils.Utils.murmur2` (Apache Kafka 4.3), Austin Appleby's
//! MurmurHash2 with seed 0x9747b28c, 32 bit.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The 32-bit hash as a signed number, the way Java holds it.
pub fn murmur2(data: &[u8]) -> i32 {
    // A key is at most one record long, so its length fits; the hash wants it modulo 2^32.
    let mut h = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h as i32
}

/// The partition of a record: `toPositive(murmur2(key)) % partitions`, and for a record without a
/// key the source offset modulo `partitions` (round robin that replays alike).
///
/// `partitions` is at least 1; the gate refuses a target without partitions when it is made.
pub fn partition(key: Option<&[u8]>, offset: i64, partitions: u32) -> i32 {
    let partitions = partitions.max(1);
    let n = match key {
        Some(key) => (murmur2(key) & 0x7fff_ffff) as u32 % partitions,
        None => (offset.rem_euclid(i64::from(partitions))) as u32,
    };
    n as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UtilsTest.testMurmur2` of Apache Kafka.
    #[test]
    fn javas_own_vectors() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (data, expected) in cases {
            assert_eq!(murmur2(data), expected, "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_bit_and_not_its_sign() {
        // toPositive is a mask, not an absolute value: -973932308 & 0x7fffffff = 1173551340.
        assert_eq!(partition(Some(b"21"), 0, 1000), 340);
        assert_eq!(partition(Some(b"abc"), 0, 10), 7);
        assert_ne!(partition(Some(b"21"), 0, 1000), 308);
    }

    #[test]
    fn records_without_a_key_go_round_by_offset() {
        let seen: Vec<i32> = (7..13).map(|offset| partition(None, offset, 3)).collect();
        assert_eq!(seen, [1, 2, 0, 1, 2, 0]);
        assert_eq!(partition(None, -1, 3), 2);
        assert_eq!(partition(Some(b""), 5, 0), 0);
    }
}
