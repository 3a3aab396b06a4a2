//! What a shard carries from one life to the next: what is left of its leases, how large its turns
//! may be, and a record that the target would not have.
//!
//! A turn that is refused as a whole, for its size or for one of its records, is tried again in
//! smaller turns, down to one record. A record that is refused when it stands alone is to blame:
//! it is set aside, and its neighbours go on. Turns grow again as they go through.
//!
//! A turn that the target does not acknowledge in time is tried again in smaller turns as well. Each
//! such try costs its whole time, so what goes through then grows by little, and only where there was
//! more to take.

use crate::control::Allowance;
use crate::fault::RunFault;
use crate::turn::Source;

/// Records in one transaction at most.
const TURN_ROWS_MAX: usize = 5_000;
/// How much smaller the next try is.
const SHRINK: usize = 8;
/// Behind a slow link turns grow by this part of themselves.
const GROW_PART: usize = 8;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Leased from the release's limits and not used.
    pub allowance: Allowance,
    /// Records in one turn at most.
    pub rows_max: usize,
    /// A turn was not acknowledged in time since turns were last as large as they may be.
    pub is_slow: bool,
    /// A record to set aside when it comes again, and the code to do it under.
    pub condemned: Option<(Source, i64, &'static str)>,
}

impl Default for Carried {
    fn default() -> Self {
        let (allowance, rows_max) = (Allowance::default(), TURN_ROWS_MAX);
        Self { allowance, rows_max, is_slow: false, condemned: None }
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
            // What did not fit was as large as the turn, whatever it might have been.
            RunFault::Late { rows, .. } if *rows > 1 => {
                self.is_slow = true;
                self.rows_max = (self.rows_max.min(*rows) / SHRINK).max(1);
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

    /// A turn of so many records was committed: larger ones may go through again.
    pub fn went_through(&mut self, rows: usize) {
        let more = match self.is_slow {
            false => self.rows_max,
            true if rows >= self.rows_max => (self.rows_max / GROW_PART).max(1),
            true => 0,
        };
        self.rows_max = self.rows_max.saturating_add(more).min(TURN_ROWS_MAX);
        self.is_slow &= self.rows_max < TURN_ROWS_MAX;
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
            carried.went_through(1);
            assert_eq!(carried.rows_max, expected);
        }
        (0..20).for_each(|_| carried.went_through(1));
        assert_eq!(carried.rows_max, TURN_ROWS_MAX);
    }

    /// A link that takes so many records in the time that one transaction has, and a backlog.
    fn tries(fits: usize) -> (usize, usize) {
        let (mut through, mut late) = (0, 0);
        let mut carried = Carried::default();
        for _ in 0..300 {
            let rows = carried.rows_max;
            if rows <= fits {
                through += 1;
                carried.went_through(rows);
            } else {
                late += 1;
                let fault = RunFault::Late { why: String::new(), rows };
                assert!(carried.gives_way(&fault));
            }
        }
        (through, late)
    }

    #[test]
    fn a_backlog_crosses_a_slow_link() {
        for fits in [1, 30, 300, 4_000] {
            let (through, late) = tries(fits);
            // Between one record and two there is nothing: every other try is late.
            let least = if fits == 1 { 145 } else { 270 };
            assert!(through >= least, "{fits}: {through} went through, {late} did not");
        }
        assert_eq!(tries(TURN_ROWS_MAX), (300, 0));
    }

    #[test]
    fn behind_a_slow_link_turns_grow_where_there_was_more_to_take() {
        let mut carried = Carried::default();
        // The turn was smaller than it might have been: its bytes were too many.
        assert!(carried.gives_way(&RunFault::Late { why: String::new(), rows: 40 }));
        assert_eq!(carried.rows_max, 5);
        carried.went_through(3);
        assert_eq!(carried.rows_max, 5, "nothing is known of larger ones");
        for expected in [6, 7, 8, 9, 10] {
            carried.went_through(carried.rows_max);
            assert_eq!(carried.rows_max, expected);
        }
        (0..80).for_each(|_| carried.went_through(carried.rows_max));
        assert_eq!((carried.rows_max, carried.is_slow), (TURN_ROWS_MAX, false));
        // One record that is late is not made smaller: the link is away, or comes back.
        let alone = RunFault::Late { why: String::new(), rows: 1 };
        assert!(!carried.gives_way(&alone) && alone.passes());
    }
}
