//! The files that `generalize: { map: … }` names: a place and its region, read with the pipeline and
//! approved with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use douane_ledger::release::is_hidden;
use douane_transforms::Stage;

use super::finding::{Findings, Kind, Mark};
use super::lint::Lint;
use super::yaml::{self, Value};
use super::{beside, label, read_text};

type Regions = BTreeMap<String, String>;

impl Lint<'_> {
    /// Fills the stages' maps. Returns the files that were read.
    pub(super) fn regions(&mut self, path: &Path, stages: &mut [(Stage, Mark)]) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for (n, (stage, _)) in stages.iter_mut().enumerate() {
            let Stage::Generalize(config) = stage else { continue };
            let Some(map) = &mut config.map else { continue };
            let mark = self.root.at(&["stages", &n.to_string(), "generalize", "map", "file"]).mark;
            let Some(file) = beside(path, &map.file) else {
                self.error(mark, Kind::NotAllowed, "`map.file` is no file beside this one")
                    .next("write a name such as `regions.csv`");
                map.regions = told();
                continue;
            };
            if !file.exists() {
                let message = format!("`map.file` names `{}`, which does not exist", label(&file));
                self.error(mark, Kind::Unreadable, message)
                    .next("write the file, or mend the name");
                map.regions = told();
                continue;
            }
            map.regions = read(&file, self.findings).map_or_else(told, Arc::new);
            files.push(file);
        }
        files
    }
}

/// In the place of a file that was told as it is: what is made here is not used, and must not be
/// told as an empty one too.
fn told() -> Arc<Regions> {
    let place = |name: &str| (name.to_owned(), "region".to_owned());
    Arc::new(Regions::from([place("one"), place("two")]))
}

/// Places and their regions; everything wrong with the file.
fn read(file: &Path, findings: &mut Findings) -> Option<Regions> {
    let name = label(file);
    let before = findings.len();
    let text = read_text(file, &name, findings)?;
    let regions = match file.extension().and_then(|end| end.to_str()) {
        Some("csv") => of_csv(&text, &name, findings),
        Some("yaml" | "yml") => of_yaml(&text, &name, findings)?,
        _ => {
            findings
                .error(&name, Mark::FILE, Kind::NotAllowed, "neither `.csv` nor `.yaml`")
                .next("name it by what it holds: a heading and two columns, or a map");
            return None;
        }
    };
    (findings.len() == before).then_some(regions)
}

fn of_yaml(text: &str, name: &str, findings: &mut Findings) -> Option<Regions> {
    let root = yaml::parse(text, name, findings)?;
    let mut regions = Regions::new();
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("the file is {}, expected a map", root.kind());
        findings
            .error(name, root.mark, Kind::WrongType, message)
            .next("write a line a place: `Graz: Styria`");
    }
    for (place, region) in root.entries() {
        match region.text() {
            Some(region) => put(&mut regions, &place.text, region, place.mark, name, findings),
            None => {
                let message = format!("a region is {}, expected text", region.kind());
                findings
                    .error(name, region.mark, Kind::WrongType, message)
                    .next("put it in quotes");
            }
        }
    }
    Some(regions)
}

fn of_csv(text: &str, name: &str, findings: &mut Findings) -> Regions {
    let mut regions = Regions::new();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    for record in reader.records() {
        let line = |position: Option<&csv::Position>| {
            Mark::new(position.map_or(1, |at| usize::try_from(at.line()).unwrap_or(1)), 1)
        };
        let Ok(record) = record.map_err(|fault| {
            // The text of the fault may quote the file; its line is enough.
            findings
                .error(name, line(fault.position()), Kind::Syntax, "not CSV")
                .next("write two columns, parted by a comma");
        }) else {
            continue;
        };
        let mark = line(record.position());
        let (Some(place), Some(region), 2) = (record.get(0), record.get(1), record.len()) else {
            let message = format!("{} columns, expected 2", record.len());
            findings
                .error(name, mark, Kind::OutOfRange, message)
                .next("write a place, a comma and its region; quote what holds a comma");
            continue;
        };
        put(&mut regions, place, region, mark, name, findings);
    }
    regions
}

fn put(
    regions: &mut Regions,
    place: &str,
    region: &str,
    mark: Mark,
    file: &str,
    findings: &mut Findings,
) {
    if place.contains(is_hidden) || region.contains(is_hidden) {
        findings
            .error(file, mark, Kind::NotAllowed, "a name holds a character that cannot be seen")
            .next("write it without: what is signed must be what is read");
    } else if regions.insert(place.to_owned(), region.to_owned()).is_some() {
        findings
            .error(file, mark, Kind::DoubleKey, "a place stands in it twice")
            .next("keep one of the lines");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(end: &str, text: &str) -> Result<Regions, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(format!("regions.{end}"));
        std::fs::write(&file, text).unwrap();
        let mut findings = Findings::default();
        read(&file, &mut findings).ok_or_else(|| findings.to_string())
    }

    #[test]
    fn both_forms_say_the_same() {
        let csv = "city,region\nGraz,Styria\nLeoben,Styria\n\"Wien, Innere Stadt\",Vienna\n";
        let yaml = "Graz: Styria\nLeoben: Styria\n'Wien, Innere Stadt': Vienna\n";
        let found = read_as("csv", csv).unwrap();
        assert_eq!(found, read_as("yaml", yaml).unwrap());
        assert_eq!(found.len(), 3);
        assert_eq!(found["Wien, Innere Stadt"], "Vienna");
    }

    #[test]
    fn files_bad_form_bad_double_bad_hidden_bad_name() {
        for (end, text, expected) in [
            ("csv", "city,region\nGraz\n", ":2:1: error: 1 columns, expected 2"),
            ("csv", "a,b\nGraz,x\nGraz,y\n", ":3:1: error: a place stands in it twice"),
            ("csv", "a,b\nGraz,St\u{202e}yria\n", "cannot be seen"),
            ("yaml", "- Graz\n", "expected a map"),
            ("yaml", "Graz: 7\n", "expected text"),
            ("yaml", "Graz: x\nGraz: y\n", "Graz"),
            ("txt", "Graz,Styria\n", "neither"),
        ] {
            let found = read_as(end, text).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }
}
