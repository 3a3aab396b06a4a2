//! The place of the demo: its files, keys, approvers, trust root and releases, made by the same
//! functions as the verbs make them.

use std::fs;
use std::path::{Path, PathBuf};

use douane_broker::Broker;
use douane_ledger::release::{Limits, Release};
use douane_pipelines::config::{self, Pipeline};
use douane_pipelines::doctor::{self, Line, Make};
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::{KeyHome, init_approver};
use douane_pipelines::names::Names;
use douane_pipelines::release::LIFE_DAYS_DEFAULT;
use douane_pipelines::signer::KeyAt;
use douane_pipelines::status::{self, Status};

use crate::verb;
use crate::verb::release::{Proposed, make_trust, propose, sign};

const PIPELINE: &str = include_str!("../../../pipelines/examples/customers-json.yaml");
const STATISTICS: &str = include_str!("../../../pipelines/examples/orders-weekly.yaml");
const DOMAINS: &str = include_str!("../../../pipelines/examples/domains.yaml");
const SCORECARD: &str = include_str!("../../../pipelines/examples/scorecards/notes.json");
const APPROVERS: [&str; 2] = ["ada", "bo"];
const AUTHOR: &str = "cleo";
pub const TASKS: u32 = 2;

/// What step 6 changes: the class of the new column, and its stage.
const GROWN: [(&str, &str); 2] = [
    ("  updated_at:    public\n", "  updated_at:    public\n  passport:      identifier\n"),
    ("[national_id, full_name, street]", "[national_id, full_name, street, passport]"),
];

/// Where the shipped pipeline of statistics begins; the demo's orders are of weeks that are just over.
const FROM: &str = "from: \"2026-01-05T00:00:00Z\"";

pub struct Place {
    dir: PathBuf,
    pub yaml: PathBuf,
    pub pipeline: PathBuf,
}

/// A release as it was signed.
pub struct Released {
    pub draft: Release,
    pub signed: Vec<String>,
    /// Live, and until when.
    pub state: String,
}

impl Place {
    /// Writes the files.
    pub fn write(dir: &Path, sovereign: &Broker, global: &Broker) -> Result<Self, RunFault> {
        let place = Self {
            dir: dir.to_owned(),
            yaml: dir.join("douane.yaml"),
            pipeline: dir.join("pipelines/customers-json.yaml"),
        };
        let yaml = format!(
            "clusters:\n  sovereign: {{ zone: eu-de,  id: \"{}\", bootstrap: \"{}\" }}\n  global:    \
             {{ zone: global, id: \"{}\", bootstrap: \"{}\" }}\nkeys:   {{ dir: keys/ }}\nledger: \
             {{ dir: ledger/ }}\ntrust:  trust.json\ntasks:  {TASKS}\n",
            sovereign.cluster_id(),
            sovereign.bootstrap(),
            global.cluster_id(),
            global.bootstrap(),
        );
        for folder in ["pipelines", "pipelines/scorecards", "approvers"] {
            let folder = dir.join(folder);
            fs::create_dir(&folder).map_err(|error| verb::file_fault(&folder, &error))?;
        }
        put(&place.yaml, &yaml)?;
        put(&place.pipeline, PIPELINE)?;
        put(&dir.join("pipelines/domains.yaml"), DOMAINS)?;
        put(&dir.join("pipelines/scorecards/notes.json"), SCORECARD)?;
        Ok(place)
    }

    /// Makes the place's keys, the approvers' keys and the trust root; says what it made.
    pub fn keys_and_trust(&self) -> Result<Vec<String>, RunFault> {
        let place = config::load_place(&self.yaml).map_err(RunFault::Findings)?;
        let home = KeyHome::init(&place.keys)?;
        let (mut approvers, mut keys) = (Vec::new(), Vec::new());
        for name in APPROVERS {
            let key = self.approver(name);
            let public = init_approver(name, &key)?;
            approvers.push(format!("{name}={}", public.display()));
            keys.push(KeyAt::File(key));
        }
        let trust = make_trust(&self.yaml, &approvers, 2, None, &keys)?;
        Ok(vec![
            format!("keys of this place: root key id {}", home.root().id()),
            self.short(&trust.to_string()),
        ])
    }

    fn approver(&self, name: &str) -> PathBuf {
        self.dir.join("approvers").join(name)
    }

    /// `doctor --create`.
    pub fn examine(&self) -> Result<Vec<Line>, RunFault> {
        doctor::examine(&self.yaml, std::slice::from_ref(&self.pipeline), Make::Missing)
    }

    /// `release propose`, and `release sign` by each approver.
    pub fn release(&self) -> Result<Released, RunFault> {
        let limits = Limits { records: None, bytes: None, epsilon: None };
        let Proposed { draft, .. } =
            propose(&self.yaml, &self.pipeline, AUTHOR, LIFE_DAYS_DEFAULT, limits)?;
        let (mut signed, mut state) = (Vec::new(), String::new());
        for name in APPROVERS {
            let signature = sign(&self.yaml, &self.pipeline, &KeyAt::File(self.approver(name)))?;
            signed.push(signature.person);
            state = signature.state;
        }
        Ok(Released { draft, signed, state })
    }

    /// Gives the new column a class and a stage; shows the lines that changed.
    pub fn grow(&self) -> Result<Vec<String>, RunFault> {
        let grown = grown(PIPELINE);
        put(&self.pipeline, &grown)?;
        let old: Vec<&str> = PIPELINE.lines().collect();
        Ok(grown.lines().filter(|line| !old.contains(line)).map(str::to_owned).collect())
    }

    /// The same place with the pipeline of statistics, whose weeks begin at `from` (RFC 3339).
    pub fn with_statistics(&self, from: &str) -> Result<Self, RunFault> {
        let pipeline = self.dir.join("pipelines/orders-weekly.yaml");
        put(&pipeline, &STATISTICS.replace(FROM, &format!("from: \"{from}\"")))?;
        Ok(Self { dir: self.dir.clone(), yaml: self.yaml.clone(), pipeline })
    }

    pub fn status(&self) -> Result<Status, RunFault> {
        status::read(&self.yaml, &self.pipeline)
    }

    pub fn names(&self) -> Result<(config::Place, Pipeline, Names), RunFault> {
        let (place, pipeline) =
            config::load(&self.yaml, &self.pipeline).map_err(RunFault::Findings)?;
        let names = Names::of(&place, &pipeline);
        Ok((place, pipeline, names))
    }

    /// A text without the name of the folder that nobody will find again.
    pub fn short(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.dir.display()), "")
    }
}

fn put(path: &Path, text: &str) -> Result<(), RunFault> {
    fs::write(path, text).map_err(|error| verb::file_fault(path, &error))
}

fn grown(text: &str) -> String {
    GROWN.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_begin_where_the_orders_do() {
        assert_eq!(STATISTICS.matches(FROM).count(), 1);
    }

    #[test]
    fn the_new_column_gets_a_class_and_a_stage() {
        for (from, _) in GROWN {
            assert_eq!(PIPELINE.matches(from).count(), 1, "{from}");
        }
        let grown = grown(PIPELINE);
        assert_eq!(grown.matches("passport").count(), 2);
        assert_eq!(PIPELINE.matches("passport").count(), 0);
    }
}
