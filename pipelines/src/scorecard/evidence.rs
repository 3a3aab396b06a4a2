//! A scorecard as evidence for an override: what it must say so that a demanded recall counts as
//! measured.

use std::path::Path;

use douane_ledger::canonical;
use douane_transforms::detectors::Detector;

use super::{Compared, FORMAT, Scorecard, rounded, share};
use crate::names::typed;

/// The largest scorecard that is read.
const CARD_BYTES_MAX: u64 = 1 << 20;
/// Labels of a kind at least: a share of fewer says little.
const PLANTED_LEAST: u64 = 10;

/// What a scorecard says of an override's detectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// SHA-256 of the scorecard in canonical form, in hexadecimal.
    pub digest: String,
    /// In the override's order.
    pub kinds: Vec<MeasuredKind>,
}

/// Labels of one kind, and of how many the detectors leave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredKind {
    pub name: String,
    pub planted: u64,
    /// No more than were found by their own kind, and no more than were removed whole: what is half
    /// left crosses.
    pub removed: u64,
}

impl MeasuredKind {
    /// The share of labels that were found and removed.
    pub fn recall(&self) -> f64 {
        share(self.removed, self.planted)
    }
}

/// `0.9500 measured: email 119 of 120 (0.9917), phone 19 of 20 (0.9500)`: the lowest, and all of them,
/// rounded as the scorecard is.
impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lowest = self.kinds.iter().map(MeasuredKind::recall).fold(1.0, f64::min);
        let each: Vec<String> = self
            .kinds
            .iter()
            .map(|kind| {
                let MeasuredKind { name, planted, removed } = kind;
                format!("{name} {removed} of {planted} ({:.4})", rounded(kind.recall()))
            })
            .collect();
        write!(f, "{:.4} measured: {}", rounded(lowest), each.join(", "))
    }
}

/// To four places, and never more than was measured.
fn floored(share: f64) -> f64 {
    (share * 10_000.0).floor() / 10_000.0
}

/// Why a scorecard is no evidence, and what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    pub why: String,
    pub next: String,
}

/// Reads a scorecard and holds it to the detectors of an override and the recall it demands. The
/// file is what `scorecard --format json` prints.
pub fn measured(file: &Path, detectors: &[Detector], least: f64) -> Result<Measured, Unfit> {
    let again = {
        let names: Vec<&str> = detectors.iter().map(|detector| detector.name()).collect();
        let (names, shown) = (names.join(","), typed(file));
        format!(
            "label text that people wrote, then `douane scorecard --detectors {names} --format json \
             FILE > {shown}`"
        )
    };
    let unfit = |why: &str| Unfit { why: why.to_owned(), next: again.clone() };
    let unread = |error: std::io::Error| unfit(&format!("cannot be read: {}", error.kind()));
    if file.metadata().map_err(unread)?.len() > CARD_BYTES_MAX {
        return Err(unfit(&format!("has more than {CARD_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(file).map_err(unread)?;
    let card: Scorecard = serde_json::from_slice(&bytes)
        .map_err(|error| unfit(&format!("is no scorecard (line {})", error.line())))?;
    if card.v != FORMAT {
        return Err(unfit("is another version of this document"));
    }
    if !is_consistent(&card) {
        return Err(unfit("has shares that do not follow from its counts"));
    }
    if card.text.generated {
        return Err(unfit("is about text that this product generated"));
    }
    let mut ran: Vec<(&str, &str)> =
        card.detectors.iter().map(|ran| (ran.name.as_str(), ran.digest.as_str())).collect();
    let digests: Vec<String> = detectors.iter().map(|detector| detector.digest()).collect();
    let named = detectors.iter().map(|detector| detector.name());
    let mut now: Vec<(&str, &str)> = named.zip(digests.iter().map(String::as_str)).collect();
    ran.sort_unstable();
    now.sort_unstable();
    if ran.iter().map(|(name, _)| name).ne(now.iter().map(|(name, _)| name)) {
        return Err(unfit("was made with other detectors than the override names"));
    }
    if ran != now {
        return Err(unfit("was made with another version of a detector"));
    }
    let mut kinds = Vec::new();
    for detector in detectors {
        let name = detector.name();
        let kind = card.kinds.iter().find(|kind| kind.kind == name);
        let (planted, removed) =
            kind.map_or((0, 0), |kind| (kind.planted, kind.overlap.both.min(kind.removed)));
        if planted < PLANTED_LEAST {
            let why = format!("has {planted} labels of `{name}`, at least {PLANTED_LEAST} count");
            return Err(unfit(&why));
        }
        let measured = MeasuredKind { name: name.to_owned(), planted, removed };
        if measured.recall() < least {
            let found = floored(measured.recall());
            return Err(Unfit {
                why: format!("measured a recall of {found} for `{name}`, and {least} is demanded"),
                next: "demand no more than was measured, or take the detector out".to_owned(),
            });
        }
        kinds.push(measured);
    }
    let digest = canonical::to_vec(&card).map(|bytes| canonical::sha256_hex(&bytes));
    let digest = digest.map_err(|_| unfit("cannot be written in canonical form"))?;
    Ok(Measured { digest, kinds })
}

/// Shares follow from counts, and counts from each other.
fn is_consistent(card: &Scorecard) -> bool {
    card.kinds.iter().all(|kind| {
        let holds = |told: &Compared| {
            told.both <= kind.planted
                && told.right <= kind.found
                && *told == Compared::of((told.both, kind.planted), (told.right, kind.found))
        };
        holds(&kind.overlap) && holds(&kind.strict) && kind.removed <= kind.planted
    })
}

#[cfg(test)]
mod tests {
    use super::super::measure;
    use super::*;

    /// Twelve labels of addresses in sentences; of `missed` of them the detector sees nothing.
    fn text(missed: usize, generated: bool) -> String {
        let metadata = if generated { r#"{"generator":"douane"}"# } else { "null" };
        let sentence = |n: usize| {
            let value = if n < missed { "ada at example" } else { "ada@example.org" };
            let end = 3 + value.len();
            format!(
                r#"{{"full_text":"to {value}","spans":[{{"entity_type":"EMAIL_ADDRESS","entity_value":"{value}","start_position":3,"end_position":{end}}}],"metadata":{metadata}}}"#
            )
        };
        format!("[{}]", (0..12).map(sentence).collect::<Vec<_>>().join(","))
    }

    fn email() -> Vec<Detector> {
        super::super::named(&["email".to_owned()]).unwrap()
    }

    /// The scorecard of a text, changed by `change`, as a file.
    fn card(text: &str, change: impl Fn(&str) -> String) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let labelled = folder.path().join("labelled.json");
        std::fs::write(&labelled, text).unwrap();
        let card = serde_json::to_string_pretty(&measure(&labelled, &email()).unwrap()).unwrap();
        std::fs::write(folder.path().join("card.json"), change(&card)).unwrap();
        folder
    }

    fn of(
        folder: &tempfile::TempDir,
        detectors: &[Detector],
        least: f64,
    ) -> Result<Measured, Unfit> {
        measured(&folder.path().join("card.json"), detectors, least)
    }

    #[test]
    fn what_was_measured_counts() {
        let folder = card(&text(3, false), str::to_owned);
        let measured = of(&folder, &email(), 0.75).unwrap();
        assert_eq!(measured.to_string(), "0.7500 measured: email 9 of 12 (0.7500)");
        assert_eq!(measured.digest.len(), 64);
        // How the file is laid out is nobody's approval.
        let compact = card(&text(3, false), |card| {
            serde_json::from_str::<serde_json::Value>(card).unwrap().to_string()
        });
        assert_eq!(of(&compact, &email(), 0.75).unwrap().digest, measured.digest);
        let better = of(&card(&text(2, false), str::to_owned), &email(), 0.75).unwrap();
        assert_ne!(better.digest, measured.digest);
        // 10 of 12 is 0.83333…, 11 of 12 is 0.91666…: to the nearest, as the table has it.
        assert_eq!(better.to_string(), "0.8333 measured: email 10 of 12 (0.8333)");
        let best = of(&card(&text(1, false), str::to_owned), &email(), 0.75).unwrap();
        assert_eq!(best.to_string(), "0.9167 measured: email 11 of 12 (0.9167)");
        let all = of(&card(&text(0, false), str::to_owned), &email(), 0.75).unwrap();
        assert_eq!(all.to_string(), "1.0000 measured: email 12 of 12 (1.0000)");
    }

    /// A find that leaves half of a label behind is a find, and no protection.
    #[test]
    fn what_is_found_and_not_removed_does_not_count() {
        let sentence = |n: usize| {
            let value = ["ada@example.org", "ada@example.org (Ada)"][usize::from(n < 3)];
            let end = 3 + value.len();
            format!(
                r#"{{"full_text":"to {value}","spans":[{{"entity_type":"EMAIL_ADDRESS","entity_value":"{value}","start_position":3,"end_position":{end}}}],"metadata":null}}"#
            )
        };
        let text = format!("[{}]", (0..12).map(sentence).collect::<Vec<_>>().join(","));
        let folder = card(&text, str::to_owned);
        let measured = of(&folder, &email(), 0.75).unwrap();
        assert_eq!(measured.to_string(), "0.7500 measured: email 9 of 12 (0.7500)");
        let why = of(&folder, &email(), 0.76).unwrap_err().why;
        assert!(why.contains("a recall of 0.75 for `email`, and 0.76"), "{why}");
    }

    #[test]
    fn scorecard_bad_too_low_generated_edited_other_detectors() {
        let why = |folder: &tempfile::TempDir, detectors: &[Detector], least: f64| {
            of(folder, detectors, least).unwrap_err().why
        };
        let low = card(&text(3, false), str::to_owned);
        assert!(why(&low, &email(), 0.76).contains("a recall of 0.75 for `email`, and 0.76"));
        let own = card(&text(0, true), str::to_owned);
        assert!(why(&own, &email(), 0.5).contains("this product generated"));
        let edited = card(&text(3, false), |card| card.replace("0.75", "0.95"));
        assert!(why(&edited, &email(), 0.5).contains("shares that do not follow from its counts"));
        let newer = card(&text(0, false), |card| card.replace("\"v\": 1", "\"v\": 2"));
        assert!(why(&newer, &email(), 0.5).contains("another version of this document"));
        let older =
            card(&text(0, false), |card| card.replace(&email()[0].digest(), &"0".repeat(64)));
        assert!(why(&older, &email(), 0.5).contains("another version"));
        let both = super::super::named(&["email".to_owned(), "phone".to_owned()]).unwrap();
        assert!(why(&low, &both, 0.5).contains("other detectors"));
        let few = card(&text(0, false).replacen("EMAIL_ADDRESS", "TITLE", 3), str::to_owned);
        assert!(why(&few, &email(), 0.5).contains("9 labels of `email`, at least 10"));
        let other = card(&text(0, false), |_| "[1]".to_owned());
        assert!(why(&other, &email(), 0.5).contains("is no scorecard"));
        let none = tempfile::tempdir().unwrap();
        assert!(why(&none, &email(), 0.5).contains("cannot be read"));
    }
}
