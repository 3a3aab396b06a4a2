//! Questions to a folder: it is there, and so are the files and folders that stand for topics.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::folder::{self, OpenFolder};
use super::{FileFault, GlobalFolder, RECORD_BYTES_MAX, SovereignFolder};
use crate::edge::{Admin, Created, EdgeFault, TopicConfig, TopicIdentity};

/// What lies in a folder beside its records: identity, lock, epochs, positions. Readers of data
/// sets pass over names that begin so.
pub(super) const OWN: &str = "_douane";

/// How long to wait for a folder's lock: others hold it for a rename.
pub(super) const LOCK: Duration = Duration::from_secs(10);

/// Positions that a folder has room for; it costs nothing.
const POSITIONS: i32 = 4_096;

/// The identity of a made folder.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    v: u32,
    id: String,
}

/// What a name stands for.
enum Stands {
    /// A source file that somebody else writes.
    Source(PathBuf),
    /// A folder of ours, and how many partitions it shows.
    Own(PathBuf, i32),
}

/// See the module.
pub(super) struct Questions {
    id: String,
    dir: PathBuf,
    base: PathBuf,
    /// Of a sovereign folder.
    sources: Vec<String>,
    format: String,
    /// Of a global folder.
    topic: Option<String>,
}

impl Questions {
    pub(super) fn of_sovereign(folder: &SovereignFolder) -> Self {
        Self {
            id: folder.id.clone(),
            dir: folder.dir.clone(),
            base: folder.base.clone(),
            sources: folder.paths.clone(),
            format: folder.format.name().to_owned(),
            topic: None,
        }
    }

    pub(super) fn of_global(folder: &GlobalFolder) -> Self {
        Self {
            id: folder.id.clone(),
            dir: folder.dir.clone(),
            base: folder.base.clone(),
            sources: Vec::new(),
            format: folder.format.name().to_owned(),
            topic: Some(folder.topic.clone()),
        }
    }

    /// Manifests and positions lie with the records they are about, so that one rename commits
    /// all three.
    fn stands(&self, name: &str) -> Stands {
        let Some(topic) = &self.topic else {
            return match self.sources.iter().any(|source| source == name) {
                true => Stands::Source(self.base.join(name)),
                false => Stands::Own(self.dir.join(name), 1),
            };
        };
        match name.strip_prefix(topic.as_str()) {
            Some(".position") => Stands::Own(self.base.join(topic), POSITIONS),
            Some("" | ".manifest") => Stands::Own(self.base.join(topic), 1),
            _ => Stands::Own(self.dir.join(name), 1),
        }
    }
}

impl Admin for Questions {
    /// A folder that is not there may be a disk that is not mounted.
    fn cluster_id(&self) -> Result<String, EdgeFault> {
        match self.dir.is_dir() {
            true => Ok(self.id.clone()),
            false => Err(FileFault::NotThere { path: self.dir.clone() }.into()),
        }
    }

    fn topics(&self, names: &[&str]) -> Result<Vec<Option<TopicIdentity>>, EdgeFault> {
        let identity = |id, partitions| TopicIdentity { id, partitions, replication: 1 };
        names
            .iter()
            .map(|name| match self.stands(name) {
                // What a source file holds is compared where it is read: it may grow.
                Stands::Source(path) => match folder::source(&self.dir, &path) {
                    Err(FileFault::NotThere { .. }) => Ok(None),
                    found => Ok(found.map(|_| Some(identity(self.format.clone(), 1)))?),
                },
                Stands::Own(path, partitions) => {
                    let own = own(&self.dir, &path)?;
                    let id = own.as_ref().map(read_identity).transpose()?.flatten();
                    Ok(id.map(|id| identity(id, partitions)))
                }
            })
            .collect()
    }

    fn topic_config(&self, name: &str) -> Result<TopicConfig, EdgeFault> {
        let cleanup_policy = if name.ends_with(".position") { "compact" } else { "delete" };
        Ok(TopicConfig {
            max_message_bytes: RECORD_BYTES_MAX,
            min_insync_replicas: Some(1),
            cleanup_policy: cleanup_policy.to_owned(),
            retention_ms: -1,
            retention_bytes: Some(-1),
            timestamp_type: Some("CreateTime".to_owned()),
        })
    }

    fn create_topic(
        &self,
        name: &str,
        _: i32,
        _: i32,
        _: &[(&str, &str)],
    ) -> Result<Created, EdgeFault> {
        match self.stands(name) {
            Stands::Source(path) => Err(FileFault::NotThere { path }.into()),
            Stands::Own(path, _) => Ok(make(&self.dir, &path)?),
        }
    }
}

/// The folder of a name; `None` where nobody made it.
fn own(root: &Path, folder: &Path) -> Result<Option<OpenFolder>, FileFault> {
    match OpenFolder::below(root, folder).and_then(|folder| folder.folder(OWN)) {
        Err(FileFault::NotThere { .. }) => Ok(None),
        own => own.map(Some),
    }
}

fn read_identity(own: &OpenFolder) -> Result<Option<String>, FileFault> {
    let Some(text) = own.read("identity")? else { return Ok(None) };
    let damaged = || FileFault::Damaged {
        path: own.path("identity"),
        problem: "is no identity of version 1",
        next: "bring it back from a copy of the folder",
    };
    let identity: Identity = serde_json::from_slice(&text).map_err(|_| damaged())?;
    if identity.v == 1 { Ok(Some(identity.id)) } else { Err(damaged()) }
}

fn make(root: &Path, folder: &Path) -> Result<Created, FileFault> {
    let folder = OpenFolder::made_below(root, folder)?;
    let own = match folder.folder(OWN) {
        Err(FileFault::NotThere { .. }) => folder.make(OWN)?,
        own => own?,
    };
    let _lock = own.lock("lock", LOCK)?;
    if read_identity(&own)?.is_some() {
        return Ok(Created::Existed);
    }
    let mut random = [0; 16];
    let source = Path::new("/dev/urandom");
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(FileFault::io(source, "reading"))?;
    let identity = Identity { v: 1, id: BASE64URL_NOPAD.encode(&random) };
    let text = serde_json::to_vec(&identity).unwrap_or_default();
    own.replace("identity", &text)?;
    folder.sync()?;
    // Crash before here: a folder without an identity, which is made again.
    Ok(Created::Made)
}
