//! Changed files under a running pipeline: noticed, planned aside, and swapped in between two
//! transactions if their release holds. Otherwise the old ones go on.
//!
//! Files are looked at once a second, and compared by content: notification by the operating system
//! misses network folders and links that are turned over.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use douane_connectors::kafka::expiry::{Expiry, expiries};
use douane_ledger::canonical;
use jiff::Timestamp;
use serde_json::json;

use crate::aggregate;
use crate::config::{self, Pipeline, Place};
use crate::crossing::Crossing;
use crate::fault::RunFault;
use crate::keys;
use crate::names::Names;
use crate::policy;
use crate::record_key;
use crate::release;
use crate::report::Report;
use crate::revocation;
use crate::run;
use crate::stamp::Glance;
use crate::stop::Stop;
use crate::vigil::Vigil;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);
/// Between two tries to begin an epoch of the quarantine.
const EPOCH_AGAIN: Duration = Duration::from_secs(60);
/// Between two tries to load files that do not load: they may name others, that nobody watches yet.
const LOAD_AGAIN: Duration = Duration::from_secs(5);
/// As much of a file as is looked at: more than any of them may have.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a running pipeline watches.
pub struct Watch {
    place: PathBuf,
    file: PathBuf,
    files: Vec<PathBuf>,
    glance: Glance,
    /// Content that was last decided on.
    seen: String,
    /// Content about which something outside kept from deciding, once said.
    waits: String,
    /// Why the files did not load, and when that was last tried.
    not_loaded: Option<(String, Instant)>,
    /// The place of douane.yaml that the last `needs_restart` was about.
    other_place: Option<Place>,
    /// What lay in the files that the clients in use were made with.
    secrets: String,
    /// When those end, as they lay there at the last change, and of which that was said.
    ends: Vec<Expiry>,
    told: Vec<(Expiry, bool)>,
    /// When the next epoch of the quarantine was last begun, or was to be.
    epoch_tried: Option<Instant>,
}

/// Why changed files are not swapped in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Fault(#[from] RunFault),
    #[error(
        "`{what}` is another than the running pipeline's: that is another pipeline\n  next: stop \
         this one and run the other, or take the change back"
    )]
    Another { what: &'static str },
    #[error("the key folder holds other keys than those the process runs with\n  next: restart")]
    Keys,
}

impl Refused {
    /// One word, as for faults.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.code(),
            Self::Another { .. } => "another_pipeline",
            Self::Keys => "other_keys",
        }
    }

    /// Something outside was away: the same files may hold the next time.
    fn passes(&self) -> bool {
        match self {
            Self::Fault(fault) => fault.passes() || matches!(fault, RunFault::Unreachable { .. }),
            Self::Another { .. } | Self::Keys => false,
        }
    }

    /// For the report. Of findings only places and kinds: their messages show words of a file
    /// that nobody approved.
    fn why(&self) -> String {
        match self {
            Self::Fault(RunFault::Findings(findings)) => findings
                .iter()
                .take(5)
                .map(|f| format!("{}:{}:{}: {:?}", f.file, f.mark.line, f.mark.column, f.kind))
                .collect::<Vec<_>>()
                .join("; "),
            other => other.to_string(),
        }
    }
}

impl Watch {
    /// The first look decides on whatever it finds: what changed since the files were loaded is
    /// seen.
    pub fn new(place: &Path, file: &Path, loaded: &Place, pipeline: &Pipeline) -> Self {
        Self {
            place: place.to_owned(),
            file: file.to_owned(),
            files: watched(place, loaded, pipeline, loaded),
            secrets: digest(&secret_files(loaded)),
            ends: Vec::new(),
            told: Vec::new(),
            glance: Glance::default(),
            seen: String::new(),
            waits: String::new(),
            not_loaded: None,
            other_place: None,
            epoch_tried: None,
        }
    }

    /// Looks until asked to stop, or until changed files hold: then they come back ready to run,
    /// and the shards are asked to end between two transactions. Crash here: the next start loads
    /// the new files.
    pub fn until_changed(
        &mut self,
        running: &Crossing,
        vigil: &Vigil,
        stop: &Stop<'_>,
        report: &Report,
    ) -> Option<Crossing> {
        loop {
            stop.rest(LOOK);
            // What was shredded is let go of also where nothing crosses that would ask for it.
            if let Some(subjects) = running.keys.subjects() {
                subjects.look();
            }
            self.begin_epoch(running, report);
            self.tell_ends(report);
            if stop.is_set() && (stop.is_asked() || running.right.halted().is_none()) {
                return None;
            }
            // What ended the release may have come together with the next one.
            let last = stop.is_set();
            let next = self.look(running, vigil, report);
            if last {
                return next;
            }
            if let Some(next) = next {
                stop.halt();
                return Some(next);
            }
        }
    }

    /// Begins the next epoch of the quarantine in its time; the changed store is taken up as any
    /// rotation is. Until its home answers, records are set aside under the key of before.
    fn begin_epoch(&mut self, running: &Crossing, report: &Report) {
        let rests = self.epoch_tried.is_some_and(|tried| tried.elapsed() < EPOCH_AGAIN);
        if rests || !running.keys.epoch_over() {
            return;
        }
        self.epoch_tried = Some(Instant::now());
        if let Err(fault) = running.keys.begin_epoch() {
            report.event("epoch_waits", json!({"why": fault.to_string()}));
        }
    }

    /// Says once of each certificate and token that it will end soon, and that it has. Nothing is done
    /// about it here: clients go on for as long as the broker lets them, and wait where it does not.
    fn tell_ends(&mut self, report: &Report) {
        let now = Timestamp::now();
        for end in &self.ends {
            let (ends_soon, is_over) = (end.soon() <= now, end.ends <= now);
            let said = (end.clone(), is_over);
            if !ends_soon || self.told.contains(&said) {
                continue;
            }
            let event = if is_over { "certificate_expired" } else { "certificate_expires" };
            let (file, at) = (end.file.display().to_string(), end.ends.to_string());
            let why = format!("{file}: until {at}\n  next: put a new one there; it is taken up");
            let fields = json!({"zone": end.zone, "file": file, "until": at, "why": why});
            report.event(event, fields);
            self.told.push(said);
        }
    }

    fn look(&mut self, running: &Crossing, vigil: &Vigil, report: &Report) -> Option<Crossing> {
        let owed = self.not_loaded.as_ref().is_some_and(|(_, tried)| tried.elapsed() >= LOAD_AGAIN);
        if self.glance.stands(&self.files) && !owed {
            return None;
        }
        let now = digest(&self.files);
        if now == self.seen && !owed {
            return None;
        }
        let place = &running.place;
        self.ends = [&place.sovereign, &place.global].into_iter().flat_map(expiries).collect();
        self.told.retain(|(end, _)| self.ends.contains(end));
        match self.planned_aside(running, vigil, report) {
            Ok(next) => {
                (self.seen, self.not_loaded) = (now, None);
                return next;
            }
            Err(refused) if refused.passes() => {
                if self.waits != now {
                    let fields = json!({"code": refused.code(), "why": refused.why()});
                    report.event("swap_waits", fields);
                }
                self.waits = now;
                self.glance.forget();
            }
            Err(refused) => {
                let (why, of_files) =
                    (refused.why(), matches!(refused, Refused::Fault(RunFault::Findings(_))));
                let before = self.not_loaded.take().filter(|_| now == self.seen);
                if before.is_none_or(|(before, _)| before != why) {
                    let fields = json!({"code": refused.code(), "why": why});
                    report.event("swap_refused", fields);
                }
                self.not_loaded = of_files.then(|| (why, Instant::now()));
                self.seen = now;
            }
        }
        None
    }

    /// The changed files, ready to run; `None` where nothing changed that a running process takes
    /// up.
    fn planned_aside(
        &mut self,
        running: &Crossing,
        vigil: &Vigil,
        report: &Report,
    ) -> Result<Option<Crossing>, Refused> {
        let (found, all) = config::load_all(&self.place, &self.file).map_err(RunFault::Findings)?;
        let mut mine = all.into_iter().filter(|one| one.name == running.pipeline.name);
        let pipeline = mine.next().ok_or(Refused::Another { what: "name" })?;
        self.files = watched(&self.place, &found, &pipeline, &running.place);
        vigil.found(&found, &pipeline);
        let found = aggregate::place_of(&found, &running.pipeline);
        let place = taken_up(&running.place, &found);
        if place != found && self.other_place.as_ref() != Some(&found) {
            let file = self.place.display().to_string();
            report.event("needs_restart", json!({"file": file}));
            self.other_place = Some(found);
        }
        same_stream(running, &place, &pipeline)?;
        let held = release::hold(&place, &pipeline)?;
        let rotated = !keys::open(&place)?.same_keys(&running.keys);
        let before = &running.approved;
        release::check_successor(&place, before, &held.0.approved)?;
        // Read before the clients are made: what changes meanwhile is another look's.
        let secrets = digest(&secret_files(&place));
        let renewed = secrets != self.secrets;
        if !renewed
            && held.0.digest == running.release_digest
            && held.0.approved == *before
            && !rotated
            && pipeline.same_settings(&running.pipeline)
        {
            return Ok(None);
        }
        let next = run::open(place, pipeline, held)?;
        record_key::check(Some(&running.record_key), &next.record_key)?;
        if !next.keys.same_store(&running.keys) {
            return Err(Refused::Keys);
        }
        if renewed {
            self.secrets = secrets;
            report.event("credentials_changed", json!({}));
        }
        Ok(Some(next))
    }
}

/// Clusters, folders and tasks are the process's own, also in what policies read: only the trust root and
/// the place's policies are taken up.
fn taken_up(running: &Place, found: &Place) -> Place {
    Place {
        trust: found.trust.clone(),
        policy: policy::Ground {
            dir: found.policy.dir.clone(),
            files: found.policy.files.clone(),
            ..running.policy.clone()
        },
        ..running.clone()
    }
}

/// What makes a stream what it is: the position belongs to it, and other names are other topics.
fn same_stream(running: &Crossing, place: &Place, pipeline: &Pipeline) -> Result<(), Refused> {
    let what = match () {
        () if pipeline.source.topics != running.pipeline.source.topics => "source",
        () if pipeline.source.file != running.pipeline.source.file => "source",
        () if pipeline.sink.file != running.pipeline.sink.file => "sink",
        () if Names::of(place, pipeline).data != running.names.data => "sink",
        () => return Ok(()),
    };
    Err(Refused::Another { what })
}

/// `running`: whose clusters are in use; those of a changed file are not.
fn watched(place_file: &Path, place: &Place, pipeline: &Pipeline, running: &Place) -> Vec<PathBuf> {
    let mut files = vec![place_file.to_owned(), pipeline.file.clone()];
    files.extend(pipeline.beside.iter().cloned());
    if let Some(dir) = &place.policy.dir {
        files.push(dir.clone());
        files.extend(policy::files(dir));
    }
    files.push(pipeline.release.clone());
    files.extend(revocation::files(place, pipeline));
    files.push(place.trust.clone());
    files.push(place.keys.store());
    files.extend(secret_files(running));
    files
}

/// What the clients of both clusters are made with.
fn secret_files(place: &Place) -> Vec<PathBuf> {
    let clusters = [&place.sovereign, &place.global];
    clusters.into_iter().flat_map(|one| one.secret_files()).map(Path::to_owned).collect()
}

/// Digest of what lies in the files; one that cannot be read has a digest too. Of a folder of
/// policies which files there are.
fn digest(files: &[PathBuf]) -> String {
    let of = |path: &PathBuf| {
        if path.is_dir() {
            let names = policy::names(path).unwrap_or_default();
            return canonical::sha256_hex(names.join("/").as_bytes());
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
            .map_or_else(|error| error.kind().to_string(), |_| canonical::sha256_hex(&bytes))
    };
    files.iter().map(of).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy of the new files judges the clusters that the process writes to, not those that
    /// douane.yaml names by now.
    #[test]
    fn policies_are_taken_up_and_clusters_are_not() {
        let lint = Path::new("testdata/lint");
        let place = |trust: &str, zone: &str, rule: &str| {
            let (mut place, _) =
                config::load(&lint.join("douane.yaml"), &lint.join("pipeline_good_least.yaml"))
                    .unwrap();
            place.trust = trust.into();
            place.global.zone = zone.into();
            place.policy.target.zone = zone.into();
            place.policy.dir = Some(rule.into());
            let file = policy::File { name: rule.into(), text: rule.into() };
            place.policy.files = vec![file].into();
            place
        };
        let (running, found) = (place("old", "eu", "a"), place("new", "elsewhere", "b"));
        let taken = taken_up(&running, &found);
        assert_eq!(
            (taken.trust, taken.policy.dir),
            (found.trust.clone(), found.policy.dir.clone())
        );
        assert_eq!(taken.policy.files, found.policy.files, "a stricter policy is heard");
        assert_eq!((&*taken.global.zone, &*taken.policy.target.zone), ("eu", "eu"));
        // The controls: whatever is taken whole is wrong.
        assert_ne!(running.policy.files, found.policy.files);
        assert_ne!(running.policy.target, found.policy.target);
    }

    #[test]
    fn content_counts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let files = [path("a"), path("b")];
        let empty = digest(&files);
        std::fs::write(&files[0], "x").unwrap();
        let one = digest(&files);
        assert_ne!(empty, one);
        // The same content under a new file is the same.
        std::fs::write(path("c"), "x").unwrap();
        std::fs::rename(path("c"), &files[0]).unwrap();
        assert_eq!(digest(&files), one);
        // An empty file is not a missing one, and content does not move between files.
        std::fs::write(&files[1], "").unwrap();
        assert_ne!(digest(&files), one);
        std::fs::write(&files[0], "").unwrap();
        std::fs::write(&files[1], "x").unwrap();
        assert_ne!(digest(&files), one);
    }

    #[test]
    fn refusals_have_a_word_each_and_show_no_word_of_a_file() {
        let mut findings = config::Findings::default();
        findings.error("p.yaml", config::Mark::new(3, 7), config::Kind::Class, "a secret word");
        let cases = [
            (Refused::Fault(RunFault::Findings(findings)), "findings", false),
            (Refused::Fault(RunFault::Again("x".into())), "again", true),
            (
                Refused::Fault(RunFault::Unreachable { what: "x".into(), why: "y".into() }),
                "unreachable",
                true,
            ),
            (Refused::Fault(RunFault::Release("x".into())), "release", false),
            (Refused::Another { what: "name" }, "another_pipeline", false),
            (Refused::Keys, "other_keys", false),
        ];
        for (refused, code, passes) in cases {
            assert_eq!((refused.code(), refused.passes()), (code, passes));
            assert!(!refused.why().contains("secret"), "{}", refused.why());
            assert!(!refused.why().is_empty());
        }
    }
}
