//! `scorecard FILE`: how much of labelled text the detectors find, and how much of what they find
//! is right. Counts and shares only; no text is printed, kept or put into an error.
//!
//! A scorecard is evidence: an override of free text names one, and its counts must reach what
//! the override demands ([`evidence`]).

pub mod evidence;
mod labels;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use douane_transforms::detectors::{Detector, Detectors};
use serde::{Deserialize, Serialize};

use crate::fault::RunFault;
use labels::Scored;
use read::{Labelled, Sentence};

/// Version of the document.
pub const FORMAT: u32 = 1;

/// How finds are compared with labels, as it stands in every scorecard.
pub const RULE: &str = "a label is found where a find of its kind shares a character with it; \
                        strict: both have the same first and last character; removed: no letter \
                        and no digit of the label is outside finds of any kind";

/// What was measured, on which text, with which detectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scorecard {
    /// [`FORMAT`].
    pub v: u32,
    pub text: Text,
    /// All that ran in one pass: they compete for the same characters.
    pub detectors: Vec<Ran>,
    /// [`RULE`].
    pub rule: String,
    pub kinds: Vec<Kind>,
    /// Labels that no detector of this scorecard answers to.
    pub not_scored: Vec<NotScored>,
}

/// The labelled text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// SHA-256 of the file.
    pub sha256: String,
    pub texts: u64,
    pub characters: u64,
    /// Some of it was made by this product: it says nothing about text that people write.
    pub generated: bool,
    /// Labels whose `entity_value` is not what stands at their offsets; scored by the offsets.
    pub misplaced: u64,
}

/// A detector as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ran {
    pub name: String,
    pub digest: String,
}

/// One kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    pub kind: String,
    /// The file's words for it.
    pub labels: Vec<String>,
    /// Labels of the kind.
    pub planted: u64,
    /// Finds of the kind.
    pub found: u64,
    /// Labels of which nothing is left, whatever found them.
    pub removed: u64,
    /// A find counts where it shares a character with a label.
    pub overlap: Compared,
    /// A find counts only with the label's own borders.
    pub strict: Compared,
}

/// Labels against finds. Shares, to four places, are null where nothing of the kind is labelled:
/// nothing was measured then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// Labels that were found.
    pub both: u64,
    /// Finds that are right.
    pub right: u64,
    pub recall: Option<f64>,
    pub precision: Option<f64>,
    pub f1: Option<f64>,
    /// F-beta with beta 2: recall counts four times as much as precision.
    pub f2: Option<f64>,
}

impl Compared {
    fn of((both, planted): (u64, u64), (right, found): (u64, u64)) -> Self {
        if planted == 0 {
            return Self { both, right, recall: None, precision: None, f1: None, f2: None };
        }
        let recall = share(both, planted);
        let precision = if found == 0 { 0.0 } else { share(right, found) };
        let f = |beta_squared: f64| match beta_squared * precision + recall {
            0.0 => 0.0,
            weight => (1.0 + beta_squared) * precision * recall / weight,
        };
        Self {
            both,
            right,
            recall: Some(rounded(recall)),
            precision: Some(rounded(precision)),
            f1: Some(rounded(f(1.0))),
            f2: Some(rounded(f(4.0))),
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn rounded(share: f64) -> f64 {
    (share * 10_000.0).round() / 10_000.0
}

/// A label that was not scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotScored {
    /// As in the file, where it is plain enough to be printed.
    pub label: String,
    pub planted: u64,
    pub why: NotWhy,
}

/// Why a label was not scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotWhy {
    /// No detector is for it.
    NoDetector,
    /// Its detector was not asked for.
    NotRun,
}

/// All detectors that there are.
pub(crate) fn all() -> Vec<Detector> {
    Detector::ALL.to_vec()
}

/// The detectors that are meant by names; all of them by none.
///
/// # Errors
/// A name that no detector has.
pub fn named(names: &[String]) -> Result<Vec<Detector>, RunFault> {
    match names {
        [] => Ok(all()),
        names => names.iter().map(|name| of_name(name)).collect(),
    }
}

fn of_name(name: &str) -> Result<Detector, RunFault> {
    let all = all();
    let found = all.iter().copied().find(|detector| detector.name() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|detector| detector.name()).collect();
        let next = match crate::config::nearest(name, &names) {
            Some(near) => format!("write `{near}`"),
            None => format!("known: {}", names.join(", ")),
        };
        RunFault::File(format!("a detector that is not known\n  next: {next}"))
    })
}

/// Runs detectors over a file of labelled text: a JSON list of `{ full_text, spans: [{
/// entity_type, entity_value, start_position, end_position }] }`, offsets in characters.
///
/// # Errors
/// The file cannot be read, or is not of that form: where, and what is missing.
pub fn measure(file: &Path, detectors: &[Detector]) -> Result<Scorecard, RunFault> {
    let compiled = Detectors::new(detectors).map_err(|fault| RunFault::File(fault.to_string()))?;
    let mut tally = Tally::new(detectors);
    let Labelled { sha256, texts } =
        read::each(file, &mut |sentence| tally.take(&compiled, sentence))?;
    let text = Text { sha256, texts, ..tally.text.clone() };
    Ok(tally.card(text))
}

/// Counts over all sentences.
struct Tally<'d> {
    detectors: &'d [Detector],
    text: Text,
    /// One a detector, in their order.
    counts: Vec<Counts>,
    not_scored: BTreeMap<String, (u64, NotWhy)>,
}

#[derive(Default)]
struct Counts {
    labels: BTreeSet<String>,
    planted: u64,
    found: u64,
    both: u64,
    right: u64,
    removed: u64,
    strict: u64,
}

impl<'d> Tally<'d> {
    fn new(detectors: &'d [Detector]) -> Self {
        Self {
            detectors,
            text: Text {
                sha256: String::new(),
                texts: 0,
                characters: 0,
                generated: false,
                misplaced: 0,
            },
            counts: detectors.iter().map(|_| Counts::default()).collect(),
            not_scored: BTreeMap::new(),
        }
    }

    fn take(&mut self, detectors: &Detectors, sentence: &Sentence) {
        let text = sentence.text.as_str();
        self.text.characters += sentence.characters;
        self.text.generated |= sentence.generated;
        let mut finds: Vec<Vec<Range<usize>>> = vec![Vec::new(); self.detectors.len()];
        let mut covered: Vec<Range<usize>> = Vec::new();
        detectors.scan(text, |find| {
            let at = self.detectors.iter().position(|detector| Some(*detector) == find.detector());
            finds[at.unwrap_or_default()].push(find.start..find.end);
            covered.push(find.start..find.end);
        });
        let mut planted: Vec<Vec<Range<usize>>> = vec![Vec::new(); self.detectors.len()];
        for label in &sentence.labels {
            self.text.misplaced += u64::from(label.misplaced);
            match labels::scored(&label.kind, self.detectors) {
                Scored::By(at) => {
                    planted[at].push(label.range.clone());
                    let counts = &mut self.counts[at];
                    counts.labels.insert(labels::printable(&label.kind));
                    counts.removed += u64::from(is_removed(text, &label.range, &covered));
                }
                Scored::Not(why) => {
                    let label = labels::printable(&label.kind);
                    self.not_scored.entry(label).or_insert((0, why)).0 += 1;
                }
            }
        }
        for ((counts, planted), finds) in self.counts.iter_mut().zip(planted).zip(finds) {
            counts.planted += planted.len() as u64;
            counts.found += finds.len() as u64;
            let exact: BTreeSet<(usize, usize)> = finds.iter().map(|f| (f.start, f.end)).collect();
            let strict = planted.iter().filter(|p| exact.contains(&(p.start, p.end)));
            counts.strict += strict.count() as u64;
            let (labels, finds) = (Spans::new(planted), Spans::new(finds));
            counts.both += labels.touched_by(&finds);
            counts.right += finds.touched_by(&labels);
        }
    }

    fn card(self, text: Text) -> Scorecard {
        let ran = |d: &Detector| Ran { name: d.name().to_owned(), digest: d.digest() };
        let kinds = self.detectors.iter().zip(&self.counts).map(|(detector, counts)| Kind {
            kind: detector.name().to_owned(),
            labels: counts.labels.iter().cloned().collect(),
            planted: counts.planted,
            found: counts.found,
            removed: counts.removed,
            overlap: Compared::of((counts.both, counts.planted), (counts.right, counts.found)),
            strict: Compared::of((counts.strict, counts.planted), (counts.strict, counts.found)),
        });
        let not_scored = self.not_scored.into_iter();
        Scorecard {
            v: FORMAT,
            text,
            detectors: self.detectors.iter().map(ran).collect(),
            rule: RULE.to_owned(),
            kinds: kinds.collect(),
            not_scored: not_scored
                .map(|(label, (planted, why))| NotScored { label, planted, why })
                .collect(),
        }
    }
}

/// Ranges by their start, each with how far any up to it reaches.
struct Spans(Vec<(Range<usize>, usize)>);

impl Spans {
    fn new(mut ranges: Vec<Range<usize>>) -> Self {
        ranges.sort_by_key(|range| range.start);
        let mut reach = 0;
        let with_reach = |range: Range<usize>| {
            reach = reach.max(range.end);
            (range, reach)
        };
        Self(ranges.into_iter().map(with_reach).collect())
    }

    /// How many of these share a byte with one of `others`.
    fn touched_by(&self, others: &Self) -> u64 {
        let touched = |range: &Range<usize>| {
            let before = others.0.partition_point(|(other, _)| other.start < range.end);
            before > 0 && others.0[before - 1].1 > range.start
        };
        self.0.iter().filter(|(range, _)| touched(range)).count() as u64
    }
}

/// Whether no letter and no digit of a label is outside the finds, which are in order.
fn is_removed(text: &str, label: &Range<usize>, finds: &[Range<usize>]) -> bool {
    let mut at = label.start;
    let left = |part: &str| part.contains(char::is_alphanumeric);
    let first = finds.partition_point(|find| find.end <= label.start);
    for find in finds[first..].iter().take_while(|find| find.start < label.end) {
        if find.start > at && left(&text[at..find.start]) {
            return false;
        }
        at = find.end;
    }
    at >= label.end || !left(&text[at..label.end])
}

/// What recall must be reached, for all kinds or for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    of_all: Option<f64>,
    of_kind: BTreeMap<String, f64>,
}

impl Demand {
    /// `0.9`, `phone=0.8`, each at most once.
    ///
    /// # Errors
    /// What is neither, a share outside 0 to 1, a kind twice.
    pub fn parse(items: &[String]) -> Result<Self, RunFault> {
        let fault = |what: &str| {
            RunFault::File(format!(
                "--min-recall: {what}\n  next: write a share from 0 to 1, or `KIND=SHARE`: \
                 `0.9,phone=0.8`"
            ))
        };
        let share = |text: &str| {
            let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| fault("this is no share"))
        };
        let mut demand = Self::default();
        for item in items {
            match item.split_once('=') {
                Some((kind, text)) => {
                    let kind = of_name(kind)?.name().to_owned();
                    if demand.of_kind.insert(kind, share(text)?).is_some() {
                        return Err(fault("a kind stands in it twice"));
                    }
                }
                None if demand.of_all.is_some() => return Err(fault("two shares are for all")),
                None => demand.of_all = Some(share(item)?),
            }
        }
        Ok(demand)
    }

    /// The kinds that do not reach what is demanded of them. What nothing is labelled of was not
    /// measured: that is no answer where the kind was named, and no question where it was not.
    pub fn missed<'c>(&self, card: &'c Scorecard) -> Vec<Missed<'c>> {
        let of_kinds = card.kinds.iter().filter_map(|kind| {
            let own = self.of_kind.get(&kind.kind).copied();
            let least = own.or(self.of_all.filter(|_| kind.planted > 0))?;
            // As an override is held to: what was found and half left is left.
            let both = kind.overlap.both.min(kind.removed);
            let recall = (kind.planted > 0).then(|| share(both, kind.planted));
            let reached = recall.is_some_and(|recall| recall >= least);
            (!reached).then(|| Missed { kind: &kind.kind, recall: recall.map(rounded), least })
        });
        of_kinds.collect()
    }

    /// What is demanded of every kind, where it was held against none: none of those that it is for is
    /// labelled, for there are no labels or they are called otherwise.
    pub fn of_nothing(&self, card: &Scorecard) -> Option<f64> {
        let own = |kind: &Kind| self.of_kind.contains_key(&kind.kind);
        self.of_all.filter(|_| !card.kinds.iter().any(|kind| kind.planted > 0 && !own(kind)))
    }

    /// Kinds that are demanded and did not run.
    pub fn not_run(&self, card: &Scorecard) -> Option<&str> {
        let ran = |name: &str| card.kinds.iter().any(|kind| kind.kind == name);
        self.of_kind.keys().map(String::as_str).find(|name| !ran(name))
    }
}

/// A kind that does not reach what is demanded of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Missed<'c> {
    pub kind: &'c str,
    /// Of what was found and removed. None: nothing of the kind is labelled.
    pub recall: Option<f64>,
    pub least: f64,
}

impl Scorecard {
    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Text { texts, characters, generated, misplaced, sha256 } = &self.text;
        writeln!(out, "{texts} texts, {characters} characters, SHA-256 {sha256}")?;
        if *generated {
            writeln!(out, "generated by this product: no evidence for an override")?;
        }
        if *misplaced > 0 {
            writeln!(
                out,
                "{misplaced} labels say another value than what stands at their offsets"
            )?;
        }
        writeln!(out, "\n{}", self.rule)?;
        let share = |share: Option<f64>| share.map_or("–".to_owned(), |s| format!("{s:.4}"));
        let mut table = vec![
            [
                "kind",
                "labelled",
                "planted",
                "found",
                "both",
                "right",
                "recall",
                "precision",
                "F1",
                "F2",
                "removed",
                "strict recall",
                "precision",
                "F1",
                "F2",
            ]
            .map(str::to_owned),
        ];
        for kind in self.kinds.iter().filter(|kind| kind.planted > 0 || kind.found > 0) {
            let (s, t) = (kind.overlap, kind.strict);
            table.push([
                kind.kind.clone(),
                kind.labels.join(", "),
                kind.planted.to_string(),
                kind.found.to_string(),
                s.both.to_string(),
                s.right.to_string(),
                share(s.recall),
                share(s.precision),
                share(s.f1),
                share(s.f2),
                kind.removed.to_string(),
                share(t.recall),
                share(t.precision),
                share(t.f1),
                share(t.f2),
            ]);
        }
        crate::proof::write_table(out, &table)?;
        let silent: Vec<&str> = self
            .kinds
            .iter()
            .filter(|kind| kind.planted == 0 && kind.found == 0)
            .map(|kind| kind.kind.as_str())
            .collect();
        if !silent.is_empty() {
            writeln!(out, "\nneither labelled nor found: {}", silent.join(", "))?;
        }
        for (why, what) in [
            (NotWhy::NoDetector, "not scored, no detector is for them"),
            (NotWhy::NotRun, "not scored, their detectors did not run"),
        ] {
            let of_it = self.not_scored.iter().filter(|label| label.why == why);
            let labels: Vec<String> =
                of_it.map(|label| format!("{} ({})", label.label, label.planted)).collect();
            if !labels.is_empty() {
                writeln!(out, "\n{what}: {}", labels.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Scorecards for tests of other modules, measured when they are asked for.
#[cfg(test)]
pub(crate) mod fixture {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use super::*;

    /// Text that people labelled.
    pub const LABELLED: &str = "../tests/data/pii-labelled-sentences.json";

    /// What these detectors find in the labelled text of the repository, as the file that an
    /// override names.
    pub fn card(names: &[&str]) -> String {
        static MEASURED: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);
        let mut measured = MEASURED.lock().unwrap();
        let card = measured.get_or_insert_default().entry(names.join(","));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let measure = || {
            let card = measure(Path::new(LABELLED), &named(&names).unwrap()).unwrap();
            format!("{}\n", serde_json::to_string_pretty(&card).unwrap())
        };
        card.or_insert_with(measure).clone()
    }

    /// Puts `scorecards/notes.json` into a pipeline's folder.
    pub fn put(folder: &Path, names: &[&str]) {
        put_as(folder, "notes.json", names);
    }

    /// As [`put`], under another name.
    pub fn put_as(folder: &Path, name: &str, names: &[&str]) {
        let folder = folder.join("scorecards");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), card(names)).unwrap();
    }
}

#[cfg(test)]
mod tests;
