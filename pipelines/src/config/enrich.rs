//! `enrich:`, the stage that puts published statistics beside a row: the YAML, and what is left of it
//! once every word has its meaning.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::{Kind, Mark};
use super::lint::{Lint, length_ms};
use super::pipeline::{ClassRule, SinkFile};
use super::yaml::quoted;

/// Published statistics beside each row: those of the window before the record's time. No row ever
/// sees a statistic without its noise.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Enrich")]
#[serde(deny_unknown_fields)]
pub(super) struct EnrichFile {
    /// The topic that holds them, of the global cluster, without its prefix. Its records are JSON.
    pub topic: String,
    /// The pipeline of this place that published them.
    pub pipeline: String,
    /// Its windows, as they stand there.
    pub window: EnrichWindowFile,
    /// For each of its groups, by the column there, the leaf here whose value is the key: one of class
    /// `public` that crosses as it is.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 4))]
    pub groups: BTreeMap<String, String>,
    /// The statistics, by the column there, and what each is called here.
    #[schemars(extend("minProperties" = 1))]
    pub columns: BTreeMap<String, String>,
    /// What becomes of a row whose statistics are not published: its window is still open, or its
    /// key is in no group.
    pub missing: Missing,
    /// MiB that what is read of them may take in memory, roughly; 256 unless said. With more the
    /// pipeline stops.
    #[serde(default = "mib_max")]
    #[schemars(range(min = 1, max = 65_536))]
    pub mib_max: u64,
}

fn mib_max() -> u64 {
    256
}

/// The windows of published statistics.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "EnrichWindow")]
#[serde(deny_unknown_fields)]
pub(super) struct EnrichWindowFile {
    /// Their length: `7d`.
    pub every: String,
    /// Where the first one begins: `2026-11-02T00:00:00Z`.
    pub from: String,
}

/// What becomes of a row whose statistics are not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// They cross as null.
    Nullify,
    /// The row is sealed and set aside.
    Quarantine,
}

/// The stage, every word of it understood: what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Enrich {
    /// Without the cluster's prefix.
    pub topic: String,
    pub pipeline: String,
    pub from_ms: i64,
    pub every_ms: u64,
    /// The column there, the leaf here.
    pub groups: BTreeMap<String, String>,
    /// The column there, the name here.
    pub columns: BTreeMap<String, String>,
    pub missing: Missing,
    /// Nobody signs it: it changes no row.
    #[serde(skip)]
    pub bytes_max: u64,
    #[serde(skip)]
    pub mark: Mark,
}

impl Enrich {
    /// The window that ended before the one that an instant lies in.
    pub fn window_before(&self, at_ms: i64) -> i64 {
        at_ms.saturating_sub(self.from_ms).div_euclid(self.every_ms.max(1) as i64) - 1
    }

    /// The window that begins at an instant, if one does.
    pub fn window_at(&self, start_ms: i64) -> Option<i64> {
        let since = start_ms.checked_sub(self.from_ms)?;
        let every = self.every_ms.max(1) as i64;
        (since.rem_euclid(every) == 0).then(|| since.div_euclid(every))
    }
}

impl Lint<'_> {
    pub(super) fn enrich(
        &mut self,
        n: usize,
        file: EnrichFile,
        classes: &[ClassRule],
        sink: &SinkFile,
    ) -> Option<Enrich> {
        let before = self.findings.len();
        let n = n.to_string();
        let mark = self.root.mark_at(&["stages", &n, "enrich"]);
        let window = |key: &str| self.root.at(&["stages", &n, "enrich", "window", key]).mark;
        let (every_at, from_at) = (window("every"), window("from"));
        let every_ms = length_ms(&file.window.every).filter(|ms| *ms >= 1_000);
        if every_ms.is_none() {
            self.error(every_at, Kind::NotAllowed, "`every` is no length, expected such as `7d`")
                .next("write it as the statistics' own pipeline has it");
        }
        let from_ms = file.window.from.parse::<jiff::Timestamp>().ok();
        let from_ms = from_ms.map(jiff::Timestamp::as_millisecond);
        if from_ms.is_none() {
            self.error(
                from_at,
                Kind::NotAllowed,
                "`from` is no instant such as `2026-11-02T00:00:00Z`",
            )
            .next("write it as the statistics' own pipeline has it");
        }
        if sink.is_envelope() {
            self.error(mark, Kind::NotAllowed, "`enrich` stands beside `shape: envelope`")
                .help("the row before a change has no statistics beside it")
                .next("write `shape: state`, or remove the stage");
        }
        if sink.kafka.is_none() {
            self.error(mark, Kind::NotInThisVersion, "`enrich` beside files")
                .help("statistics are read from a topic of the global Kafka cluster")
                .next("write to `kafka`");
        }
        for leaf in file.groups.values() {
            self.classed(leaf, mark, classes, "the key of a group");
        }
        let legal = |name: &str| {
            (1..=64).contains(&name.len())
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        for name in file.columns.values().filter(|name| !legal(name)) {
            let message = format!("`{}` is no name of a column", quoted(name));
            self.error(mark, Kind::NotAllowed, message)
                .next("write 1 to 64 of a-z, 0-9 and `_`, a letter first");
        }
        let EnrichFile { topic, pipeline, groups, columns, missing, mib_max, .. } = file;
        let enrich = Enrich {
            topic,
            pipeline,
            from_ms: from_ms?,
            every_ms: every_ms?,
            groups,
            columns,
            missing,
            bytes_max: mib_max << 20,
            mark,
        };
        (self.findings.len() == before).then_some(enrich)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gets_the_window_that_ended_before_its_own() {
        let enrich = Enrich {
            topic: String::new(),
            pipeline: String::new(),
            from_ms: 1_000,
            every_ms: 100,
            groups: BTreeMap::new(),
            columns: BTreeMap::new(),
            missing: Missing::Nullify,
            bytes_max: 0,
            mark: Mark::FILE,
        };
        for (at, window) in [(1_000, -1), (1_099, -1), (1_100, 0), (1_199, 0), (1_200, 1), (0, -11)]
        {
            assert_eq!(enrich.window_before(at), window, "{at}");
            // Nothing of the row's own window is in it.
            assert!(enrich.from_ms + (window + 1) * 100 <= at);
        }
        assert_eq!(
            [900, 1_000, 1_001, 1_300].map(|at| enrich.window_at(at)),
            [Some(-1), Some(0), None, Some(3)]
        );
    }
}
