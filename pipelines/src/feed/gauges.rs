//! How much approved data waits, as a text file of Prometheus: for the collector of a node (`node_exporter
//! --collector.textfile`), or whoever decides when a burst of training begins. Names and counts only.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fault::RunFault;

/// What a look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Rows of signed manifests under a live release that were not handed over yet.
    pub waiting: u64,
    /// Their transactions.
    pub transactions: u64,
    /// Rows in all shards of the folder.
    pub handed_over: u64,
    /// Something was refused: what is behind it waits for a person.
    pub refused: bool,
}

/// Where gauges go, if anywhere.
pub(super) struct Gauges<'a> {
    pub file: Option<&'a Path>,
    pub topic: &'a str,
}

impl Gauges<'_> {
    /// Puts them in the place of the ones before, whole.
    pub fn tell(&self, found: Found) -> Result<(), RunFault> {
        let Some(file) = self.file else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut aside = file.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        // A collector reads the old one or the new one. Nobody needs it after a crash: not synced.
        let written = std::fs::write(&aside, text(self.topic, found, now))
            .and_then(|()| std::fs::rename(&aside, file));
        written.map_err(|error| {
            let why = error.kind();
            RunFault::File(format!("{}: {why}\n  next: mend `--metrics-file`", file.display()))
        })
    }
}

/// The exposition format 0.0.4.
fn text(topic: &str, found: Found, now: u64) -> String {
    let label = topic.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let Found { waiting, transactions, handed_over, refused } = found;
    let gauges = [
        ("waiting_rows", "Approved rows that were not handed over yet.", waiting),
        ("waiting_transactions", "Their transactions.", transactions),
        ("handed_over_rows", "Rows in all shards of the folder.", handed_over),
        ("refused", "1 where something was refused: what is behind it waits.", u64::from(refused)),
        ("looked_seconds", "When this was found, in seconds since 1970.", now),
    ];
    let gauge = |(name, help, value): &(&str, &str, u64)| {
        let name = format!("douane_feed_{name}");
        format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{topic=\"{label}\"}} {value}\n")
    };
    gauges.iter().map(gauge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_a_file_that_a_collector_reads() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("feed.prom");
        let gauges = Gauges { file: Some(&file), topic: "training.customers" };
        for waiting in [0, 120] {
            gauges.tell(Found { waiting, transactions: 3, ..Found::default() }).unwrap();
            let told = std::fs::read_to_string(&file).unwrap();
            let line =
                format!("douane_feed_waiting_rows{{topic=\"training.customers\"}} {waiting}\n");
            assert!(told.contains(&line), "{told}");
            for line in told.lines().filter(|line| !line.starts_with('#')) {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with("douane_feed_") && value.parse::<u64>().is_ok(), "{line}");
                assert!(
                    told.contains(&format!("# TYPE {} gauge", &name[..name.find('{').unwrap()]))
                );
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(Gauges { file: None, topic: "t" }.tell(Found::default()).is_ok());
        let nowhere = dir.path().join("no/such.prom");
        let fault = Gauges { file: Some(&nowhere), topic: "t" }.tell(Found::default()).unwrap_err();
        assert_eq!(fault.exit_code(), 2, "{fault}");
    }

    #[test]
    fn a_hostile_topic_stays_in_its_label() {
        let told = text("a\"} 1\nfake{x=\"\\", Found::default(), 7);
        assert!(told.lines().all(|line| line.starts_with('#') || line.starts_with("douane_feed_")));
        assert!(told.contains(r#"{topic="a\"} 1\nfake{x=\"\\"} 0"#), "{told}");
    }
}
