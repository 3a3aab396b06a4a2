//! Trouble that lasts is told once, and then now and then: a loop meets it as often as it turns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Before the same is told again.
const EVERY: Duration = Duration::from_secs(60);
/// So many different ones are known; of more, those that were told longest ago are told anew.
const KNOWN_MAX: usize = 512;

/// What was told: an event with all that it says.
#[derive(Default)]
pub struct Repeats {
    known: BTreeMap<String, Told>,
}

struct Told {
    at: Instant,
    /// How often it was met since.
    since: u64,
}

impl Repeats {
    /// Something is met: whether it is told. The first of its kind is, as it is; the same within a minute is not, and
    /// then its fields say how often it was met since it was told (`times`).
    pub fn is_told(&mut self, event: &str, fields: &mut Value) -> bool {
        self.is_told_at(Instant::now(), event, fields)
    }

    fn is_told_at(&mut self, now: Instant, event: &str, fields: &mut Value) -> bool {
        let what = format!("{event} {fields}");
        if let Some(told) = self.known.get_mut(&what) {
            told.since += 1;
            if now.saturating_duration_since(told.at) < EVERY {
                return false;
            }
            fields["times"] = json!(told.since);
        } else if self.known.len() >= KNOWN_MAX
            && let Some((oldest, _)) = self.known.iter().min_by_key(|(_, told)| told.at)
        {
            let oldest = oldest.clone();
            self.known.remove(&oldest);
        }
        self.known.insert(what, Told { at: now, since: 0 });
        true
    }

    /// From here on everything is new.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it was met, of each that is told: a second, a shard and a reason are met.
    fn told(met: &[(u64, u32, &str)]) -> Vec<(u64, String)> {
        let (mut repeats, began) = (Repeats::default(), Instant::now());
        let mut meet = |(at_s, shard, why): &(u64, u32, &str)| {
            let mut fields = json!({"shard": shard, "why": why});
            let now = began + Duration::from_secs(*at_s);
            let is_told = repeats.is_told_at(now, "again", &mut fields);
            is_told.then(|| (*at_s, fields["times"].to_string()))
        };
        met.iter().filter_map(&mut meet).collect()
    }

    fn once(at_s: u64) -> (u64, String) {
        (at_s, "null".to_owned())
    }

    #[test]
    fn what_lasts_is_told_at_once_and_then_each_minute_with_how_often_it_was() {
        let all: Vec<(u64, u32, &str)> = (0..=150).map(|at_s| (at_s, 0, "away")).collect();
        let expected = [once(0), (60, "60".to_owned()), (120, "60".to_owned())];
        assert_eq!(told(&all), expected);
    }

    #[test]
    fn another_reason_or_shard_is_told_at_once_also_between_two_of_the_same() {
        let turns = [(0, 0, "a"), (1, 0, "b"), (2, 0, "a"), (3, 0, "b"), (4, 1, "a"), (5, 1, "a")];
        assert_eq!(told(&turns), [once(0), once(1), once(4)]);
        // Control: one that comes back later is told, with those that were not.
        let later = [(0, 0, "a"), (1, 0, "a"), (2, 0, "a"), (900, 0, "a")];
        assert_eq!(told(&later), [once(0), (900, "3".to_owned())]);
    }

    #[test]
    fn what_was_told_is_told_again_once_it_is_forgotten_or_too_many_are_known() {
        let mut repeats = Repeats::default();
        let held =
            |repeats: &mut Repeats, n: usize| repeats.is_told("held", &mut json!({ "offset": n }));
        assert!((0..KNOWN_MAX).all(|n| held(&mut repeats, n)));
        assert!(!(0..KNOWN_MAX).any(|n| held(&mut repeats, n)), "all are known");
        assert!(held(&mut repeats, KNOWN_MAX) && held(&mut repeats, 0), "the first gave way");
        assert_eq!(repeats.known.len(), KNOWN_MAX);
        assert!(!held(&mut repeats, 9), "control");
        repeats.forget();
        assert!(held(&mut repeats, 9));
    }
}
