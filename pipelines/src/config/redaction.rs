//! What only the file as a whole can say of redaction: dictionaries, and domains that finds have
//! for themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use douane_transforms::Stage;
use douane_transforms::detectors::dictionary::{Dictionary, FILE_BYTES_MAX, is_name};

use super::finding::{Findings, Kind, Mark};
use super::lint::{Lint, domains_of};
use super::pipeline::{DictionaryFile, Override};
use super::schema::{listed, nearest};
use super::yaml::quoted;
use super::{Pipeline, beside, label, read_text};

/// Lines of one file that are told; more of them say nothing new.
const LINES_TOLD_MAX: usize = 20;

impl Lint<'_> {
    /// Reads the dictionaries, and gives each stage its own. Returns the files that were read.
    pub(super) fn dictionaries(
        &mut self,
        path: &Path,
        named: &BTreeMap<String, DictionaryFile>,
        stages: &mut [(Stage, Mark)],
    ) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut read: BTreeMap<&str, Dictionary> = BTreeMap::new();
        for (name, dictionary) in named {
            let mark = self.root.mark_at(&["dictionaries", name]);
            if !is_name(name) {
                self.error(mark, Kind::NotAllowed, "a dictionary's name is out of form")
                    .help("it stands in place of what is found, and no detector may have it")
                    .next("write one word of a-z, 0-9 and `_`, of at most 32: `staff`");
            }
            let at = self.root.at(&["dictionaries", name, "file"]).mark;
            let made = self.dictionary(path, name, dictionary, at, &mut files);
            read.insert(name, made.unwrap_or_else(|| told(name)));
        }
        let names: Vec<&str> = read.keys().copied().collect();
        let mut used: Vec<String> = Vec::new();
        for (n, (stage, _)) in stages.iter_mut().enumerate() {
            let Stage::Redact(config) = stage else { continue };
            for (d, name) in config.dictionaries.iter().enumerate() {
                used.push(name.clone());
                if let Some(dictionary) = read.get(name.as_str()) {
                    config.read.push(dictionary.clone());
                    continue;
                }
                let place = ["stages", &n.to_string(), "redact", "dictionaries", &d.to_string()];
                let mark = self.root.at(&place).mark;
                let message = format!("`dictionaries` has no `{}`", quoted(name));
                let finding = self.error(mark, Kind::MatchesNothing, message);
                match nearest(name, &names) {
                    Some(near) => finding.next(format_args!("write `{near}`")),
                    None if names.is_empty() => {
                        finding.next("add it: `dictionaries: { staff: { file: staff.txt } }`")
                    }
                    None => finding.help(format!("it has {}", listed(&names))).next("add it there"),
                };
                config.read.push(told(name));
            }
        }
        // One that serves another table is of use.
        let single = self.table.is_none();
        let idle = |name: &&str| single && !used.iter().any(|used| used == name);
        for name in names.iter().copied().filter(idle) {
            let mark = self.root.mark_at(&["dictionaries", name]);
            let message = format!("no stage names the dictionary `{}`", quoted(name));
            self.error(mark, Kind::MatchesNothing, message)
                .next("add it to a stage: `redact: { …, dictionaries: [staff] }`, or remove it");
        }
        files
    }

    fn dictionary(
        &mut self,
        path: &Path,
        name: &str,
        dictionary: &DictionaryFile,
        at: Mark,
        files: &mut Vec<PathBuf>,
    ) -> Option<Dictionary> {
        let Some(file) = beside(path, &dictionary.file) else {
            self.error(at, Kind::NotAllowed, "a dictionary's `file` is no file beside this one")
                .next("write a name such as `staff.txt`");
            return None;
        };
        if !file.exists() {
            let message = format!("a dictionary names `{}`, which does not exist", label(&file));
            self.error(at, Kind::Unreadable, message).next("write the file, or mend the name");
            return None;
        }
        files.push(file.clone());
        read(&file, name, dictionary, self.findings)
    }

    /// Finds in free text have domains of their own: whoever writes a text and reads the target
    /// could else ask for the pseudonym of any value of a column. An override may share one, with a
    /// limit, which the stage gets here.
    pub(super) fn shared_domains(
        &mut self,
        stages: &mut [(Stage, Mark)],
        overrides: &[Override],
        envelope: bool,
    ) {
        let mut shares = vec![false; overrides.len()];
        let in_place = |stage: &Stage| matches!(stage, Stage::Redact(_));
        let of_columns: Vec<String> = stages
            .iter()
            .filter(|(stage, _)| !in_place(stage))
            .flat_map(|(stage, _)| domains_of(stage))
            .map(|(domain, _)| domain.to_owned())
            .collect();
        for (n, (stage, _)) in stages.iter_mut().enumerate() {
            let places: Vec<(String, Mark)> = domains_of(stage)
                .into_iter()
                .map(|(domain, place)| {
                    let n = n.to_string();
                    let at: Vec<&str> = ["stages", &n, "redact"].into_iter().chain(place).collect();
                    (domain.to_owned(), self.root.at(&at).mark)
                })
                .collect();
            let Stage::Redact(config) = stage else { continue };
            for (domain, mark) in places {
                let named = overrides.iter().enumerate().find(|(_, o)| {
                    o.share_domain.as_ref() == Some(&domain)
                        && config.columns.iter().all(|column| o.columns.contains(column))
                });
                if let Some((at, named)) = named {
                    shares[at] = true;
                    config.shared.extend(named.max_per_record.map(|most| (domain, most)));
                    continue;
                }
                // Whether it is a column's of another pipeline the key store knows, at the start.
                if !of_columns.contains(&domain) {
                    continue;
                }
                let shown = quoted(&domain);
                self.error(mark, Kind::Domain, format!("domain `{shown}` is a column's too"))
                    .help(ASKED)
                    .next(
                        "use a domain of its own, or an override with `share_domain` and \
                         `max_per_record` that names this column",
                    );
            }
        }
        for (n, named) in overrides.iter().enumerate() {
            self.shares(n, named, shares[n], envelope);
        }
    }

    /// What an override says that shares a domain, or seems to.
    fn shares(&mut self, n: usize, named: &Override, shares: bool, envelope: bool) {
        let mark = self.root.mark_at(&["overrides", &n.to_string()]);
        let Some(domain) = &named.share_domain else {
            if named.max_per_record.is_some() {
                self.error(mark, Kind::Override, "`max_per_record` limits no `share_domain`")
                    .next("name the domain, or remove the limit");
            }
            return;
        };
        if named.max_per_record.is_none() {
            self.error(mark, Kind::Override, "`share_domain` has no `max_per_record`")
                .help(ASKED)
                .next("say how many pseudonyms the text of one record may hold");
        }
        if named.columns.len() > 1 {
            self.error(mark, Kind::Override, "`share_domain` for more than one column")
                .help("`max_per_record` counts the text of one column")
                .next("name one column, and give the others domains of their own");
        }
        if envelope {
            self.error(mark, Kind::Override, "`share_domain` beside `shape: envelope`")
                .help("a record would hold two texts, and `max_per_record` counts one")
                .next("use a domain of its own, or the state shape");
        }
        if !shares {
            let shown = quoted(domain);
            let message = format!("no find in a text of these columns has the domain `{shown}`");
            self.error(mark, Kind::MatchesNothing, message).next("remove the override");
        }
        let other = !named.detectors.is_empty()
            || !named.residual.is_empty()
            || named.min_recall.is_some()
            || named.scorecard.is_some();
        if other {
            self.error(mark, Kind::Override, "an override that shares a domain says nothing else")
                .next("write two: what remains in a text is another question");
        }
    }
}

const ASKED: &str = "whoever writes a text and reads the target could ask for the pseudonym of any \
                     value of that column";

/// A domain of one table's finds is no other table's column's: an override shares within a table.
pub(super) fn apart(all: &[Pipeline], findings: &mut Findings) {
    for (at, one) in all.iter().enumerate() {
        for (stage, mark) in &one.stages {
            let Stage::Redact(config) = stage else { continue };
            for domain in config.in_place.values().map(|action| action.domain()) {
                let uses = |other: &Pipeline| {
                    let columns =
                        other.stages.iter().filter(|(s, _)| !matches!(s, Stage::Redact(_)));
                    columns.flat_map(|(stage, _)| domains_of(stage)).any(|(used, _)| used == domain)
                };
                let others = all.iter().enumerate().filter(|(other, _)| *other != at);
                if let Some((_, other)) = others.into_iter().find(|(_, other)| uses(other)) {
                    let message = format!(
                        "domain `{}` of finds is one of columns of `{}`",
                        quoted(domain),
                        other.name
                    );
                    findings
                        .error(&one.file.display().to_string(), *mark, Kind::Domain, message)
                        .help(ASKED)
                        .next("use a domain of its own");
                }
            }
        }
    }
}

/// In the place of a file that was told as it is: what is made here is not used.
fn told(name: &str) -> Dictionary {
    // unwrap safety: two plain words are a dictionary.
    #[expect(clippy::expect_used, reason = "two plain words are a dictionary")]
    Dictionary::parse(name, "entry of a dictionary", false, Vec::new()).expect("one entry")
}

/// Reads a file of words. What is wrong is said without a word of it.
fn read(
    file: &Path,
    name: &str,
    dictionary: &DictionaryFile,
    findings: &mut Findings,
) -> Option<Dictionary> {
    let shown = label(file);
    let text = read_text(file, &shown, findings)?;
    if text.len() > FILE_BYTES_MAX {
        let message = format!("file has more than {FILE_BYTES_MAX} bytes");
        findings.error(&shown, Mark::FILE, Kind::TooLarge, message).next("split it");
        return None;
    }
    let context = dictionary.context.clone();
    let faults = match Dictionary::parse(name, &text, dictionary.ignore_case, context) {
        Ok(dictionary) => return Some(dictionary),
        Err(faults) => faults,
    };
    for (line, fault) in faults.iter().take(LINES_TOLD_MAX) {
        findings
            .error(&shown, Mark::new(*line, 1), Kind::NotAllowed, fault.to_string())
            .next("remove it, or say with `context` which words stand before an entry");
    }
    if let Some((line, _)) = faults.get(LINES_TOLD_MAX) {
        let message = format!("{} more lines that are no entries", faults.len() - LINES_TOLD_MAX);
        findings
            .error(&shown, Mark::new(*line, 1), Kind::NotAllowed, message)
            .next("mend those above first");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(text: &str) -> Result<Dictionary, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("staff.txt");
        std::fs::write(&file, text).unwrap();
        let mut findings = Findings::default();
        let named = DictionaryFile { file: String::new(), ignore_case: false, context: Vec::new() };
        read(&file, "staff", &named, &mut findings).ok_or_else(|| findings.to_string())
    }

    #[test]
    fn files_bad_lines_bad_size_without_a_word_of_them() {
        assert_eq!(read_as("# staff\nQuentin Xqzw\n").unwrap().mark(), "[STAFF]");
        let found = read_as("Quentin Xqzw\nQx\nMonday\n").unwrap_err();
        assert!(found.contains(":2:1: error: an entry of fewer than 3 characters"), "{found}");
        assert!(found.contains(":3:1: error: an entry that most texts hold"), "{found}");
        assert!(!found.contains("Qx") && !found.contains("Monday") && !found.contains("Quentin"));
        let found = read_as(&"Qx\n".repeat(50)).unwrap_err();
        assert!(found.contains(":21:1: error: 30 more lines"), "{found}");
        assert!(read_as(&"# remark\n".repeat(1 << 17)).is_err());
    }
}
