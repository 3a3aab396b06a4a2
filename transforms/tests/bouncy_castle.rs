//! FF1 against Bouncy Castle, on demand: `tests/ff1/run.sh` makes the cases and calls this.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failing test may panic, and one on demand says what it saw"
)]

use std::fs::File;
use std::io::{BufRead, BufReader};

use data_encoding::HEXLOWER;
use douane_transforms::ff1::{Aes128, Aes192, Aes256, Cipher, Ff1, Way};

/// `xKEY RADIX xTWEAK NUMERALS CIPHERTEXT`
struct Case {
    key: Vec<u8>,
    radix: u32,
    tweak: Vec<u8>,
    plain: Vec<u16>,
    sealed: Vec<u16>,
}

impl Case {
    fn parse(line: &str) -> Self {
        let parts: Vec<&str> = line.split(' ').collect();
        let hex = |at: usize| HEXLOWER.decode(&parts[at].as_bytes()[1..]).expect("hex");
        let list = |at: usize| parts[at].split(',').map(|n| n.parse().expect("u16")).collect();
        let radix = parts[1].parse().expect("a radix");
        Self { key: hex(0), radix, tweak: hex(2), plain: list(3), sealed: list(4) }
    }

    fn holds(&self) -> bool {
        match self.key.len() {
            16 => self.holds_with::<Aes128>(),
            24 => self.holds_with::<Aes192>(),
            _ => self.holds_with::<Aes256>(),
        }
    }

    fn holds_with<C: Cipher>(&self) -> bool {
        let ff1 = Ff1::<C>::new(&self.key, self.radix).expect("a key and a radix");
        let mut value = self.plain.clone();
        let there = ff1.apply(Way::Encrypt, &self.tweak, &mut value).is_ok();
        let same = value == self.sealed;
        let back = ff1.apply(Way::Decrypt, &self.tweak, &mut value).is_ok();
        there && same && back && value == self.plain
    }
}

#[test]
#[ignore = "needs the cases that tests/ff1/run.sh makes"]
fn every_case_is_equal() {
    let path = std::env::var("DOUANE_FF1_CASES").expect("tests/ff1/run.sh sets it");
    let expected: u64 = std::env::var("DOUANE_FF1_COUNT").expect("it too").parse().expect("u64");
    let (mut compared, mut different, mut control) = (0, 0, 0);
    for line in BufReader::new(File::open(path).expect("cases")).lines() {
        let mut case = Case::parse(&line.expect("a line"));
        compared += 1;
        if !case.holds() {
            different += 1;
            if different <= 10 {
                println!(
                    "differs: radix {}, n {}, t {}",
                    case.radix,
                    case.plain.len(),
                    case.tweak.len()
                );
            }
        }
        // A comparison that cannot fail says nothing: one numeral changed must be seen.
        if compared % 1000 == 0 {
            case.sealed[0] = if case.sealed[0] == 0 { 1 } else { 0 };
            control += u64::from(!case.holds());
        }
    }
    println!("figure: FF1 against Bouncy Castle: {compared} cases, {different} differences");
    assert_eq!((compared, different, control), (expected, 0, expected / 1000));
}
