//! What a shard carries from one life to the next: what is left of its leases, how large its turns
//! may be, and a record that the target would not have.
//!
//! A turn that is refused as a whole, for its size or for one of its records, is tried again in
//! smaller turns, down to one record. A record that is refused when it stands alone is to blame:
//! it is set aside, and its neighbours go on. Turns grow again as they go through.

use crate::control::Allowance;
use crate::fault::RunFault;
use crate::turn::Source;

/// Records in one transaction at most.
const TURN_ROWS_MAX: usize = 5_000;
/// How much smaller the next try is.
const SHRINK: usize = 8;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Leased from the release's limits and not used.
    pub allowance: Allowance,
    /// Records in one turn at most.
    pub rows_max: usize,
    /// A record to set aside when it comes again, and the code to do it under.
    pub condemned: Option<(Source, i64, &'static str)>,
}

impl Default for Carried {
    fn default() -> Self {
        Self { allowance: Allowance::default(), rows_max: TURN_ROWS_MAX, condemned: None }
    }
}

impl Carried {
    /// Whether smaller turns, or setting one record aside, may get past a fault; if so, they are
    /// what the next life does.
    pub fn gives_way(&mut self, fault: &RunFault) -> bool {
        match fault {
            RunFault::RecordRefused { code, alone: Some((source, offset)) } => {
                let again = Some((*source, *offset, *code));
                // Set aside and refused all the same: it was not the record.
                let new = self.condemned != again;
                self.condemned = again;
                new
            }
            RunFault::RecordRefused { .. } | RunFault::TurnTooLarge(_) if self.rows_max > 1 => {
                self.rows_max = (self.rows_max / SHRINK).max(1);
                true
            }
            // What is left of the release's limits crosses, down to the last record that it holds.
            RunFault::LimitsSpent { left, .. } if *left > 0 && self.rows_max > 1 => {
                let fits = usize::try_from(*left).unwrap_or(usize::MAX);
                self.rows_max = if fits < self.rows_max { fits } else { self.rows_max / SHRINK };
                self.rows_max = self.rows_max.max(1);
                true
            }
            _ => false,
        }
    }

    /// A turn was committed: larger ones may go through again.
    pub fn went_through(&mut self) {
        self.rows_max = self.rows_max.saturating_mul(2).min(TURN_ROWS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(alone: Option<(Source, i64)>) -> RunFault {
        RunFault::RecordRefused { code: "invalid_timestamp", alone }
    }

    #[test]
    fn a_refused_turn_shrinks_to_the_record_that_is_to_blame() {
        let mut carried = Carried::default();
        let mut tries = 0;
        while carried.rows_max > 1 {
            assert!(carried.gives_way(&refused(None)));
            tries += 1;
        }
        assert_eq!(tries, 4);
        let alone = Some(((0, 3), 17));
        assert!(carried.gives_way(&refused(alone)));
        assert_eq!(carried.condemned, Some(((0, 3), 17, "invalid_timestamp")));
        // Refused once more although it was set aside: a person must look.
        assert!(!carried.gives_way(&refused(alone)));
        assert!(carried.gives_way(&refused(Some(((0, 3), 18)))));
    }

    #[test]
    fn a_turn_is_cut_to_what_is_left_of_the_limits() {
        let spent = |left| RunFault::LimitsSpent { what: String::new(), left };
        let mut carried = Carried::default();
        assert!(carried.gives_way(&spent(4_888)));
        assert_eq!(carried.rows_max, 4_888);
        // So many records are not too many: their bytes are.
        assert!(carried.gives_way(&spent(u64::MAX)));
        assert_eq!(carried.rows_max, 611);
        assert!(carried.gives_way(&spent(1)));
        assert!(carried.rows_max == 1 && !carried.gives_way(&spent(1)));
        assert!(!Carried::default().gives_way(&spent(0)), "nothing is left");
    }

    #[test]
    fn one_record_that_is_too_much_for_a_turn_is_a_stop() {
        let mut carried = Carried { rows_max: 1, ..Carried::default() };
        assert!(!carried.gives_way(&RunFault::TurnTooLarge(String::new())));
        assert!(!carried.gives_way(&RunFault::Fenced));
    }

    #[test]
    fn turns_grow_again() {
        let mut carried = Carried { rows_max: 1, ..Carried::default() };
        for expected in [2, 4, 8] {
            carried.went_through();
            assert_eq!(carried.rows_max, expected);
        }
        (0..20).for_each(|_| carried.went_through());
        assert_eq!(carried.rows_max, TURN_ROWS_MAX);
    }
}
