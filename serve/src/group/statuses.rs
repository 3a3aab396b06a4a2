//! What workers say of connectors in the topic of states: what was heard of it, and what a worker has to
//! write. Nothing here reaches a cluster.
//!
//! A status of a connector that was deleted is taken back by a tombstone, as Kafka Connect does, by the
//! worker that its unit was dealt to; so is one that lay there since before. A worker whose view is old
//! may take back what runs: whoever runs it hears that, and says it again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fleet::CONNECTORS_MAX;

/// Names that a worker remembers: those of connectors, and as many that were deleted and are not taken
/// back yet.
const NAMES_MAX: usize = 2 * CONNECTORS_MAX;

/// What a worker says of a connector that it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    pub v: u32,
    pub worker: String,
    pub made: String,
    /// The aim under which this is so.
    #[serde(default)]
    pub aimed: String,
    /// As Kafka Connect writes it.
    pub status: Value,
    pub topics: BTreeSet<String>,
}

/// A status, or that it was taken back.
pub(super) type Told = Option<Status>;

/// What was heard, by name.
#[derive(Default)]
pub(super) struct Heard(BTreeMap<String, Told>);

impl Heard {
    pub fn get(&self, name: &str) -> Option<&Status> {
        self.0.get(name)?.as_ref()
    }

    /// `is_known`: there is a connector of this name.
    pub fn hear(&mut self, name: &str, told: Told, is_known: bool) {
        if told.is_none() && !is_known {
            self.0.remove(name);
        } else if is_known || self.0.contains_key(name) || self.0.len() < NAMES_MAX {
            self.0.insert(name.to_owned(), told);
        }
    }

    /// There is no connector of this name any more.
    pub fn is_gone(&mut self, name: &str) {
        if self.0.get(name) == Some(&None) {
            self.0.remove(name);
        }
    }
}

/// What a worker wrote of each name last, and did not hear yet or heard.
#[derive(Default)]
pub(super) struct Written(BTreeMap<String, Told>);

impl Written {
    /// What `worker` has to write: of `running` what is not known already, or what another worker said
    /// last, for one that was not heard of for long may speak late; and a tombstone for each `gone` one.
    pub fn due(
        &mut self,
        worker: &str,
        running: BTreeMap<String, Status>,
        heard: &Heard,
        gone: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, Told> {
        self.0.retain(|name, _| running.contains_key(name) || heard.0.contains_key(name));
        let gone = |name: &&String| !running.contains_key(*name) && gone(name);
        let gone: Vec<String> = heard.0.keys().filter(gone).cloned().collect();
        let mut due = BTreeMap::new();
        for (name, status) in running {
            let told = Some(status);
            let is_denied = match heard.0.get(&name) {
                Some(Some(heard)) => heard.worker != worker,
                Some(None) => true,
                None => false,
            };
            let is_heard = heard.0.get(&name) == Some(&told);
            let is_written = self.0.get(&name) == Some(&told) && !is_denied;
            if !is_heard && !is_written {
                due.insert(name, told);
            }
        }
        due.extend(gone.into_iter().filter(|n| self.0.get(n) != Some(&None)).map(|n| (n, None)));
        due
    }

    /// That is written now.
    pub fn wrote(&mut self, due: BTreeMap<String, Told>) {
        self.0.extend(due);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(worker: &str, state: &str) -> Status {
        Status {
            v: 1,
            worker: worker.into(),
            made: "ab".into(),
            aimed: "cd".into(),
            status: json!({"connector": {"state": state}}),
            topics: BTreeSet::new(),
        }
    }

    fn running(all: &[(&str, Status)]) -> BTreeMap<String, Status> {
        all.iter().map(|(name, status)| ((*name).to_owned(), status.clone())).collect()
    }

    /// One look of a worker `a`, which is dealt all names but those that begin with `z`, and whose
    /// records come back to it.
    fn look(
        written: &mut Written,
        heard: &mut Heard,
        now: &[(&str, Status)],
    ) -> Vec<(String, Option<String>)> {
        let known = |name: &str| now.iter().any(|(known, _)| *known == name);
        let gone = |name: &str| !name.starts_with('z') && !known(name);
        let due = written.due("a", running(now), heard, gone);
        let said = due.iter().map(|(name, told)| {
            let state = told.as_ref().map(|told| told.status["connector"]["state"].to_string());
            (name.clone(), state)
        });
        let said = said.collect();
        for (name, told) in &due {
            heard.hear(name, told.clone(), known(name));
        }
        written.wrote(due);
        said
    }

    #[test]
    fn what_runs_is_told_once_and_what_was_deleted_taken_back_once() {
        let (mut written, mut heard) = (Written::default(), Heard::default());
        let said = |name: &str, state: Option<&str>| {
            (name.to_owned(), state.map(|state| format!("\"{state}\"")))
        };
        let c = |state| ("c", status("a", state));
        let nothing: Vec<(String, Option<String>)> = Vec::new();
        // Left by workers that took nothing back; of the second another worker sees to it.
        heard.hear("old", Some(status("b", "STOPPED")), false);
        heard.hear("z", Some(status("b", "STOPPED")), false);
        assert_eq!(
            look(&mut written, &mut heard, &[c("RUNNING")]),
            [said("c", Some("RUNNING")), said("old", None)]
        );
        assert_eq!(look(&mut written, &mut heard, &[c("RUNNING")]), nothing);
        assert_eq!(look(&mut written, &mut heard, &[c("STOPPED")]), [said("c", Some("STOPPED"))]);
        // Another worker speaks late, and one takes it back that does not know it yet.
        heard.hear("c", Some(status("b", "RUNNING")), true);
        assert_eq!(look(&mut written, &mut heard, &[c("STOPPED")]), [said("c", Some("STOPPED"))]);
        heard.hear("c", None, true);
        assert_eq!(look(&mut written, &mut heard, &[c("STOPPED")]), [said("c", Some("STOPPED"))]);
        // Deleted, and made again.
        assert_eq!(look(&mut written, &mut heard, &[]), [said("c", None)]);
        assert_eq!(look(&mut written, &mut heard, &[]), nothing);
        assert!(heard.get("c").is_none() && written.0.is_empty(), "nothing of it is remembered");
        assert_eq!(look(&mut written, &mut heard, &[c("STOPPED")]), [said("c", Some("STOPPED"))]);
        assert_eq!(heard.get("z"), Some(&status("b", "STOPPED")));
    }

    #[test]
    fn a_tombstone_is_written_once_until_it_is_heard() {
        let (mut written, mut heard) = (Written::default(), Heard::default());
        heard.hear("c", Some(status("b", "STOPPED")), false);
        let due = written.due("a", BTreeMap::new(), &heard, |_| true);
        assert_eq!(due, BTreeMap::from([("c".to_owned(), None)]));
        written.wrote(due);
        assert!(written.due("a", BTreeMap::new(), &heard, |_| true).is_empty());
    }

    #[test]
    fn names_have_a_limit_and_connectors_are_within_it() {
        let mut heard = Heard::default();
        for n in 0..NAMES_MAX + 10 {
            heard.hear(&format!("n{n}"), Some(status("b", "RUNNING")), false);
        }
        assert_eq!(heard.0.len(), NAMES_MAX);
        heard.hear("other", Some(status("b", "RUNNING")), false);
        assert!(heard.get("other").is_none());
        heard.hear("connector", Some(status("b", "RUNNING")), true);
        heard.hear("n0", Some(status("b", "STOPPED")), false);
        assert!(heard.get("connector").is_some(), "what there is is heard");
        assert_eq!(heard.get("n0"), Some(&status("b", "STOPPED")));
        heard.hear("connector", None, true);
        heard.is_gone("connector");
        assert_eq!(heard.0.len(), NAMES_MAX);
    }
}
