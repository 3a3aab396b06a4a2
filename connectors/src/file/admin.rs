//! Questions to a folder: it is there, and so are the files and folders that stand for topics.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::{FileFault, GlobalFolder, RECORD_BYTES_MAX, SovereignFolder};
use crate::edge::{Admin, Created, EdgeFault, TopicConfig, TopicIdentity};

/// What lies in a folder beside its records: identity, lock, epochs, positions. Readers of data
/// sets pass over names that begin so.
pub(super) const OWN: &str = "_douane";

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
                Stands::Source(path) => {
                    Ok(path.is_file().then(|| identity(self.format.clone(), 1)))
                }
                Stands::Own(path, partitions) => {
                    Ok(read_identity(&path)?.map(|id| identity(id, partitions)))
                }
            })
            .collect()
    }

    fn topic_config(&self, name: &str) -> Result<TopicConfig, EdgeFault> {
        let cleanup_policy = if name.ends_with(".position") { "compact" } else { "delete" };
        Ok(TopicConfig {
            max_message_bytes: RECORD_BYTES_MAX,
            min_insync_replicas: 1,
            cleanup_policy: cleanup_policy.to_owned(),
            retention_ms: -1,
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
            Stands::Own(path, _) => Ok(make(&path)?),
        }
    }
}

fn read_identity(folder: &Path) -> Result<Option<String>, FileFault> {
    let path = folder.join(OWN).join("identity");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileFault::io(&path, "reading")(error)),
    };
    let problem = "is no identity of version 1";
    let fault = || FileFault::Malformed { path: path.clone(), records: 0, problem };
    let identity: Identity = serde_json::from_slice(&text).map_err(|_| fault())?;
    if identity.v == 1 { Ok(Some(identity.id)) } else { Err(fault()) }
}

fn make(folder: &Path) -> Result<Created, FileFault> {
    if read_identity(folder)?.is_some() {
        return Ok(Created::Existed);
    }
    let own = folder.join(OWN);
    fs::create_dir_all(&own).map_err(FileFault::io(&own, "making the folder"))?;
    let mut random = [0; 16];
    let source = Path::new("/dev/urandom");
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(FileFault::io(source, "reading"))?;
    let identity = Identity { v: 1, id: BASE64URL_NOPAD.encode(&random) };
    let text = serde_json::to_vec(&identity).unwrap_or_default();
    replace(&own.join("identity"), &text)?;
    sync_dir(folder)?;
    // Crash before here: a folder without an identity, which is made again.
    Ok(Created::Made)
}

/// Writes a file whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileFault> {
    let next = path.with_extension("next");
    write_durably(&next, bytes)?;
    fs::rename(&next, path).map_err(FileFault::io(path, "renaming"))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), FileFault> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(FileFault::io(path, "writing"))
}

pub(super) fn sync_dir(path: &Path) -> Result<(), FileFault> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(FileFault::io(path, "syncing"))
}
