//! The kernels of this build on this device: against vectors of others, and against their twins on
//! cases that are built in. A device that passes has the same driver and the same shaders as the one
//! that aggregates are computed on.

use crate::alias_table::{AliasTable, Variance};
use crate::device::{Device, On, Ran, joined};
use crate::{chacha20, clip, encode, filter, histogram, noise, segmented_sum};

/// What came of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub kernel: &'static str,
    pub cases: Vec<Case>,
}

/// One case of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Numbers that were compared.
    pub values: usize,
    pub differing: usize,
    pub on: On,
}

impl Case {
    /// Every number is the twin's, and the device that was asked for made it.
    pub fn passes(&self) -> bool {
        self.differing == 0 && !matches!(self.on, On::CpuInstead(_))
    }
}

impl Check {
    pub fn passes(&self) -> bool {
        !self.cases.is_empty() && self.cases.iter().all(Case::passes)
    }
}

/// Beginnings of the digests of tables, and sigma; another implementation has the same.
const TABLES: [(u128, [u8; 8]); 3] = [
    (10, [0x7d, 0x45, 0x73, 0xda, 0x3d, 0x3d, 0xd2, 0x82]),
    (256, [0x42, 0x36, 0xb4, 0x13, 0x4a, 0xe0, 0x61, 0x91]),
    (1024, [0x65, 0xd1, 0x50, 0x05, 0x9b, 0xcb, 0x72, 0xdf]),
];
/// RFC 8439, section 2.3.2: the words of the block.
const RFC_8439: [u32; chacha20::WORDS] = [
    0xe4e7_f110,
    0x1559_3bd1,
    0x1fdd_0f50,
    0xc471_20a3,
    0xc7f4_d1c7,
    0x0368_c033,
    0x9aaa_2204,
    0x4e6c_d4c3,
    0x4664_82d2,
    0x09aa_9f07,
    0x05d7_c214,
    0xa202_8bd9,
    0xd19c_12b5,
    0xb94e_16de,
    0xe883_d0cb,
    0x4e3c_50a2,
];
/// Rows of a case; odd, and more than a workgroup takes.
const ROWS: usize = 100_003;
const KEY: [u8; 32] = *b"a key that is in the source code";

/// Runs every kernel.
pub fn run(device: &Device) -> Vec<Check> {
    let cpu = Device::cpu();
    let both = Both { device, cpu: &cpu };
    let checks: [(&'static str, Vec<Case>); 8] = [
        ("alias_table", tables()),
        ("chacha20", both.chacha20()),
        ("clip", both.clip()),
        ("encode", both.encode()),
        ("filter", both.filter()),
        ("histogram", both.histogram()),
        ("noise", both.noise()),
        ("segmented_sum", both.segmented_sum()),
    ];
    checks.into_iter().map(|(kernel, cases)| Check { kernel, cases }).collect()
}

fn table(sigma: u128) -> Option<AliasTable> {
    AliasTable::new(Variance::new(sigma * sigma, 1).ok()?).ok()
}

fn tables() -> Vec<Case> {
    let case = |(sigma, digest): &(u128, [u8; 8])| {
        let holds = table(*sigma).is_some_and(|table| table.digest().starts_with(digest));
        Case { values: 1, differing: usize::from(!holds), on: On::Cpu }
    };
    TABLES.iter().map(case).collect()
}

/// Numbers that nobody chose.
fn words(seed: u32, count: usize) -> Vec<u32> {
    let mut words = chacha20::twin(&[seed; 8], 0, [0; 3], count.div_ceil(16));
    words.truncate(count);
    words
}

fn numbers(seed: u32, count: usize) -> Vec<i64> {
    joined(&words(seed, 2 * count))
}

struct Both<'a> {
    device: &'a Device,
    cpu: &'a Device,
}

/// Sizes of every kind: none, one, around a workgroup, many.
const SIZES: [usize; 6] = [0, 1, 255, 257, 2_049, ROWS];

impl Both<'_> {
    /// One call on both. A call that is refused has no result, and so does not pass.
    fn case<T: PartialEq, E>(&self, call: impl Fn(&Device) -> Result<Ran<Vec<T>>, E>) -> Case {
        let (Ok(there), Ok(here)) = (call(self.device), call(self.cpu)) else {
            return Case { values: 0, differing: 1, on: On::Cpu };
        };
        let pairs = there.value.iter().zip(&here.value);
        let differing = pairs.filter(|(there, here)| there != here).count()
            + there.value.len().abs_diff(here.value.len());
        Case { values: here.value.len(), differing, on: there.on }
    }

    fn chacha20(&self) -> Vec<Case> {
        let key = std::array::from_fn(|at| at as u8);
        let nonce = [0x0900_0000, 0x4a00_0000, 0];
        let known = chacha20::run(self.device, &key, 1, nonce, 1);
        let values = RFC_8439.len();
        let known = known.map_or(Case { values, differing: values, on: On::Cpu }, |ran| {
            let pairs = ran.value.iter().zip(RFC_8439);
            let equal = pairs.filter(|(there, here)| *there == here).count();
            Case { values, differing: values - equal, on: ran.on }
        });
        let blocks = SIZES.iter().map(|count| {
            self.case(|on| chacha20::run(on, &KEY, u32::MAX - 3, [1, 2, 3], count / 16))
        });
        std::iter::once(known).chain(blocks).collect()
    }

    fn clip(&self) -> Vec<Case> {
        let values: Vec<i32> = words(1, ROWS).into_iter().map(|word| word as i32 >> 9).collect();
        let run = |(dimensions, norm_max): (usize, u32)| {
            let whole = &values[..values.len() / dimensions * dimensions];
            self.case(|on| clip::run(on, whole, dimensions, norm_max))
        };
        [(1, 1_000), (7, 1 << 20), (257, 1 << 22), (50_000, 1), (ROWS, u32::MAX)].map(run).into()
    }

    fn encode(&self) -> Vec<Case> {
        let values = numbers(2, ROWS);
        let floats: Vec<f32> = words(3, ROWS).into_iter().map(f32::from_bits).collect();
        let integers = SIZES.iter().map(|count| {
            let grid = encode::Grid::new(1_000, -(1 << 40), 1 << 39);
            self.case(|on| encode::integers(on, grid?, &values[..*count]))
        });
        let floats = SIZES.iter().map(|count| {
            let grid = encode::BinaryGrid::new(16, 1 << 24);
            self.case(|on| encode::floats(on, grid?, &floats[..*count]))
        });
        integers.chain(floats).collect()
    }

    fn filter(&self) -> Vec<Case> {
        let ranks: Vec<u32> = words(4, 3 * ROWS).into_iter().map(|word| word % 6).collect();
        let bounds = filter::Bounds { rows_max: 4, groups_max: 3 };
        let run = |count: &usize| {
            let [segments, rows, groups] = [0, 1, 2].map(|at| &ranks[at * ROWS..at * ROWS + count]);
            self.case(|on| filter::run(on, bounds, segments, rows, groups))
        };
        SIZES.iter().map(run).collect()
    }

    fn histogram(&self) -> Vec<Case> {
        let values = numbers(5, ROWS);
        let segments: Vec<u32> = words(6, ROWS).into_iter().map(|word| word % 11).collect();
        let mut edges = numbers(7, 100);
        edges.sort_unstable();
        let run = |count: &usize| {
            let (segments, values) = (&segments[..*count], &values[..*count]);
            self.case(|on| histogram::run(on, segments, values, &edges, 10))
        };
        SIZES.iter().map(run).collect()
    }

    fn noise(&self) -> Vec<Case> {
        let tables = [10, 8192].into_iter().filter_map(table);
        let run = |table: AliasTable| {
            SIZES.map(|count| self.case(|on| noise::run(on, &KEY, &table, 3, 1, count)))
        };
        tables.flat_map(run).collect()
    }

    fn segmented_sum(&self) -> Vec<Case> {
        let values = numbers(8, ROWS);
        let any = words(9, ROWS);
        let run = |(count, groups): (usize, usize)| {
            let segments: Vec<u32> = any[..count].iter().map(|w| w % (groups as u32 + 1)).collect();
            self.case(|on| segmented_sum::run(on, &segments, &values[..count], groups))
        };
        let few = SIZES.iter().map(|count| run((*count, 3)));
        few.chain([run((ROWS, 1)), run((ROWS, 1 << 20))]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_passes_on_the_processor() {
        let checks = run(&Device::cpu());
        assert!(checks.iter().all(Check::passes), "{checks:?}");
        assert!(checks.iter().all(|check| check.cases.iter().all(|case| case.on == On::Cpu)));
        let values = |check: &Check| check.cases.iter().map(|case| case.values).sum::<usize>();
        assert!(checks.iter().skip(1).all(|check| values(check) > 1_000), "{checks:?}");
    }

    #[test]
    fn control_a_difference_and_a_device_that_fails_do_not_pass() {
        let passes = |differing, on| Case { values: 5, differing, on }.passes();
        assert!(passes(0, On::Gpu) && passes(0, On::Cpu));
        assert!(!passes(1, On::Gpu));
        assert!(!passes(0, On::CpuInstead(crate::Cause::DeviceLost)));
        assert!(!Check { kernel: "none", cases: Vec::new() }.passes());
    }

    #[cfg(feature = "gpu")]
    #[test]
    fn every_kernel_passes_there_and_a_lost_device_does_not() {
        let gpu = Device::open(crate::Choice::Gpu).expect("a Vulkan device");
        let checks = run(&gpu);
        assert!(checks.iter().all(Check::passes), "{checks:?}");
        let on_gpu = |check: &&Check| check.cases.iter().all(|case| case.on == On::Gpu);
        assert_eq!(checks.iter().filter(on_gpu).count(), 7);
        gpu.provoke(crate::Cause::DeviceLost);
        let failed = run(&gpu).into_iter().filter(|check| !check.passes()).count();
        assert_eq!(failed, 1);
        gpu.provoke(crate::Cause::Differs);
        let failed = run(&gpu).into_iter().filter(|check| !check.passes()).count();
        assert_eq!(failed, 1);
    }
}
