//! The names that follow from a pipeline's own: topics, group, transactional ids, logs.

use std::path::{Path, PathBuf};

use crate::config::{Pipeline, Place};

/// Most bytes of a pipeline's name, and of what is named like one.
pub const NAME_BYTES_MAX: usize = 48;

/// Whether a text can name a pipeline, a connector or a caller.
pub fn is_name(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

/// A file's name in a document, which is Unicode: bytes that are none stand as `\xff`.
pub fn of_path(path: &Path) -> String {
    let chunks = path.as_os_str().as_encoded_bytes().utf8_chunks();
    chunks.fold(String::new(), |mut name, chunk| {
        name.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| name.push_str(&format!("\\x{byte:02x}")));
        name
    })
}

/// A file's name as a shell takes it: commands in messages are typed as they stand.
pub fn typed(path: &Path) -> String {
    let Some(text) = path.to_str().filter(|text| !text.contains(char::is_control)) else {
        let bytes = path.as_os_str().as_encoded_bytes().iter();
        let inside = bytes.map(|byte| match byte {
            b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
            b' '..=b'~' => char::from(*byte).to_string(),
            // Three digits always: what stands behind it is never taken for one more.
            other => format!("\\{other:03o}"),
        });
        return format!("$'{}'", inside.collect::<String>());
    };
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// [`of_path`], for a field of a document.
pub fn path_as_text<S: serde::Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&of_path(path))
}

/// Names of topics and clients outside are made of the target topic's name only. (A pipeline's own
/// name and its approvers' stand in its manifests, and its name in the Avro schema.)
#[derive(Clone, Debug)]
pub struct Names {
    /// The data topic, prefix included.
    pub data: String,
    /// The manifests' topic, in the global cluster.
    pub manifest: String,
    /// The positions' topic, in the global cluster.
    pub position: String,
    /// In the sovereign cluster.
    pub quarantine: String,
    /// In the sovereign cluster: the journals of the ledger, where that has its home in a topic.
    pub journal: String,
    /// Source group, for people's lag tools; never read back.
    pub group: String,
}

impl Names {
    /// The names of a pipeline in its place.
    pub fn of(place: &Place, pipeline: &Pipeline) -> Self {
        let (global, sovereign) = (&place.global.topic_prefix, &place.sovereign.topic_prefix);
        Self::new(global, &pipeline.sink.topic, sovereign, &pipeline.name)
    }

    fn new(global_prefix: &str, topic: &str, sovereign_prefix: &str, pipeline: &str) -> Self {
        let data = format!("{global_prefix}{topic}");
        Self {
            manifest: format!("{data}.manifest"),
            position: format!("{data}.position"),
            data,
            quarantine: format!("{sovereign_prefix}douane.{pipeline}.quarantine"),
            journal: format!("{sovereign_prefix}douane.{pipeline}.journal"),
            group: format!("douane.{pipeline}"),
        }
    }

    /// A shard's transactional id: whoever fences it owns the shard.
    pub fn transactional_id(&self, shard: u32) -> String {
        format!("{}.{shard}", self.data)
    }

    /// The layout's transactional id: whoever fences it has begun to start.
    pub fn layout_transactional_id(&self) -> String {
        format!("{}.layout", self.data)
    }

    /// The transactional id of a log's journals: whoever fences it holds the log.
    pub fn journal_transactional_id(&self, log: &str) -> String {
        format!("{}.{log}", self.journal)
    }

    /// The partition of a log's journals: the control log's first, as the layout's is.
    pub fn journal_partition(log: &str) -> Option<i32> {
        match log.strip_prefix("shard-") {
            Some(shard) => shard.parse::<i32>().ok()?.checked_add(1),
            None => (log == "control").then_some(0),
        }
    }

    /// The log whose journals lie in a partition.
    pub fn log_of_journal(partition: i32) -> String {
        match partition {
            0 => "control".to_owned(),
            shard => format!("shard-{}", shard - 1),
        }
    }

    /// Name of a shard's log below the pipeline's ledger directory.
    pub fn log(&self, shard: u32) -> String {
        format!("shard-{shard}")
    }

    /// Name of the log of layouts, approvals and leases.
    pub fn control_log(&self) -> String {
        "control".to_owned()
    }
}

/// A pipeline's part of the ledger directory.
pub fn ledger_home(ledger_dir: &Path, pipeline: &str) -> PathBuf {
    ledger_dir.join(pipeline)
}

/// In the ledger's directory, the place's own log of keys. No pipeline has such a name.
pub const KEYS_HOME: &str = "_keys";

/// In the ledger's directory, the log of calls to the service.
pub const CALLS_HOME: &str = "_serve";

/// Name of a log in its checkpoints, and of the key that signs them.
pub fn checkpoint_origin(pipeline: &str, log: &str) -> String {
    format!("douane/{pipeline}/{log}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_are_made_of_the_target_topic_only() {
        let names = Names::new("eu.", "training.customers", "crm.", "ledger_of_acme");
        let outside = [
            names.data.clone(),
            names.manifest.clone(),
            names.position.clone(),
            names.transactional_id(0),
            names.transactional_id(17),
            names.layout_transactional_id(),
        ];
        let expected = [
            "eu.training.customers",
            "eu.training.customers.manifest",
            "eu.training.customers.position",
            "eu.training.customers.0",
            "eu.training.customers.17",
            "eu.training.customers.layout",
        ];
        assert_eq!(outside, expected);
        for name in outside {
            assert!(!name.contains("acme") && !name.contains("crm"), "{name}");
        }
        assert_eq!(names.quarantine, "crm.douane.ledger_of_acme.quarantine");
        assert_eq!(names.group, "douane.ledger_of_acme");
    }

    #[test]
    fn a_path_of_any_bytes_has_a_text_of_its_own() {
        use std::os::unix::ffi::OsStrExt;
        let texts = [&b"a/\xc3\xa4"[..], b"a/\xff", b"a/\xfe\xc3", b"\xc3\xa4\xffb"];
        let texts = texts.map(|bytes| of_path(Path::new(std::ffi::OsStr::from_bytes(bytes))));
        assert_eq!(texts, ["a/\u{e4}", "a/\\xff", "a/\\xfe\\xc3", "\u{e4}\\xffb"]);
    }

    /// Asked of a shell itself: it hands the name on as it was.
    #[test]
    fn a_name_that_is_typed_is_the_files_name() {
        use std::os::unix::ffi::OsStrExt;
        let read_back = |text: &str| {
            let script = format!("printf %s {text}");
            std::process::Command::new("bash").args(["-c", &script]).output().unwrap().stdout
        };
        for name in [
            &b"pipelines/customers-1.yaml"[..],
            b"two words.yaml",
            b"it's $HOME `id` \"x\" \\ *.yaml",
            b"~/x;#&",
            b"",
            b"\xc3\xa4/\xff7'\\\n.yaml",
            b"tab\t.yaml",
        ] {
            let path = Path::new(std::ffi::OsStr::from_bytes(name));
            assert_eq!(read_back(&typed(path)), name, "{}", typed(path));
        }
        // What needs no quotes has none, and the control: as it is, a name is not what a shell takes.
        assert_eq!(typed(Path::new("./a_b/c-d.yaml")), "./a_b/c-d.yaml");
        assert_eq!(typed(Path::new("two words")), "'two words'");
        assert_ne!(read_back("it's"), b"it's");
    }

    #[test]
    fn logs_and_their_checkpoints_have_names_of_their_own() {
        let names = Names::new("", "t", "", "p");
        assert_eq!(
            [names.log(0), names.log(12), names.control_log()],
            ["shard-0", "shard-12", "control"]
        );
        assert_eq!(checkpoint_origin("p", &names.log(0)), "douane/p/shard-0");
        assert_eq!(ledger_home(Path::new("ledger"), "p"), Path::new("ledger/p"));
        let logs = [names.control_log(), names.log(0), names.log(12)];
        for (log, partition) in logs.iter().zip([0, 1, 13]) {
            assert_eq!(Names::journal_partition(log), Some(partition));
            assert_eq!(Names::log_of_journal(partition), *log);
        }
        assert_eq!(Names::journal_partition("other"), None);
        assert_eq!(names.journal_transactional_id("shard-0"), "douane.p.journal.shard-0");
    }
}
