//! Why a run ends, or begins anew. Whether a fault is fatal is decided here, once, by its type.

use std::path::PathBuf;

use douane_connectors::edge::EdgeFault;
use douane_gate::GateFault;
use douane_ledger::budget::BudgetFault;
use douane_ledger::log::LedgerFault;

use crate::config::{Findings, Place};
use crate::key_home::{KeyFault, Lapsed};
use crate::plan::StageStop;
use crate::turn::Source;

/// What stops a pipeline or one life of a shard. None of them holds a cell value.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// The link or a broker is away, or the outcome of a commit is not known: fence, read the
    /// position again, go on.
    #[error("{0}")]
    Again(String),
    /// The target did not acknowledge a turn of so many records in time: it is away, or the link
    /// takes longer for them. As [`Self::Again`], with fewer at once.
    #[error("{why}")]
    Late { why: String, rows: usize },
    /// Asked to stop while waiting for something outside.
    #[error("stopped while waiting: {0}")]
    Stopped(String),
    /// Something outside, before the first shard lives.
    #[error(
        "{what} cannot be reached: {why}\n  next: see that it is up and that this machine reaches it; \
         `douane doctor` says what else does not answer"
    )]
    Unreachable { what: String, why: String },
    #[error(
        "another process took over: its transactional id fenced this one\n  next: let one process \
         run a pipeline"
    )]
    Fenced,
    #[error("{0}")]
    Findings(Findings),
    #[error("release: {0}")]
    Release(String),
    #[error(
        "release: revoked by {by} at {at}\n  next: `douane release show FILE` says why; a new \
         release starts the stream again"
    )]
    Revoked { by: String, at: String },
    /// `left`: records that may cross yet, in a smaller turn.
    #[error("release limits are spent: {what}\n  next: propose a release with higher limits")]
    LimitsSpent { what: String, left: u64 },
    /// A one-shot release, whose span is through or cannot begin.
    #[error(
        "one-shot release: {what}\n  next: another span is another release, `douane release one-shot`"
    )]
    OneShot { what: String },
    /// The control log could not be written; leases and layouts have no other home.
    #[error("control log: {0}\n  next: see that the ledger's disk is well, then start again")]
    ControlLog(LedgerFault),
    #[error("ledger: {0}")]
    Ledger(LedgerFault),
    /// The account of an identity space: full, held by another process, or not what it must be.
    #[error("{0}")]
    Budget(BudgetFault),
    /// What `enrich` reads has no room.
    #[error(
        "statistics of `{topic}` take more than {mib_max} MiB: {rows} rows of {windows} windows were \
         read, and there are more\n  next: raise `mib_max` of `enrich` in the pipeline's file to what \
         this process can spare, or let the topic keep fewer windows (`retention.ms`)"
    )]
    StatisticsMax { topic: String, rows: u64, windows: usize, mib_max: u64 },
    /// A window of statistics cannot be closed.
    #[error("{0}")]
    Window(String),
    #[error(
        "{side} topic `{topic}` changed its identity: {what}\n  nothing crosses until a person \
         decides; positions and data no longer belong together\n  next: bring back what was there, or \
         give the pipeline a `name` and a sink topic of their own"
    )]
    Identity { side: &'static str, topic: String, what: String },
    /// What was written outside lies under other keys.
    #[error(
        "the record key was made as {before}, and now as {now}: rows outside lie under the old \
         keys, where no update and no tombstone would reach them\n  next: take the change back; \
         for other keys give the pipeline a `sink.topic` and a `name` of their own"
    )]
    RecordKey { before: String, now: String },
    /// One service runs a place, and one worker of a group each part of it.
    #[error("another `douane serve` runs here: it holds {}\n  next: {next}", .lock.display())]
    Served { lock: PathBuf, next: &'static str },
    /// A source that has an end was read to it, but for what is held.
    #[error(
        "{partitions} partitions are held; all else has crossed or was set aside\n  next: `douane status FILE` says \
         what holds them"
    )]
    Held { partitions: usize },
    /// Partitions that nobody was dealt are never read: the layout is settled anew.
    #[error("source topic `{topic}` has {added} more partitions")]
    PartitionsAdded { topic: String, added: i32 },
    #[error(
        "{side} cluster: expected id `{expected}`, found `{found}`\n  next: mend `bootstrap` or \
         `id` under clusters.{side} in douane.yaml"
    )]
    Cluster { side: &'static str, expected: String, found: String },
    #[error("topic `{topic}`: {what}")]
    Topic { topic: String, what: String },
    #[error(
        "the position topic holds no position, but the ledger holds committed transactions: the \
         target was emptied or re-created, or this is another ledger\n  next: bring back the one \
         that is lost; a second copy of everything is another pipeline, with a name and a sink \
         topic of its own"
    )]
    PositionLost,
    #[error("the {what} record in the target cannot be opened: {why}")]
    Unreadable { what: &'static str, why: String },
    /// It opens, so this place wrote it.
    #[error(
        "the {what} record in the target has a form that {software} does not know: a newer douane may \
         have written it\n  next: go on with the program that ran last, or with a newer one; \
         docs/operations.md, \"Upgrading\", says what going back takes"
    )]
    NewerRecord { what: &'static str, software: String },
    #[error("registry: {0}")]
    Registry(String),
    #[error("keys: {0}")]
    Keys(String),
    /// An older copy was put back: its keys were replaced, and what they would make is not wanted.
    #[error(
        "keys: {} is an older copy: {what}\n  next: put the newest store and the newest ledger \
         back; no key is used until they belong together", .path.display()
    )]
    KeyStoreRolledBack { path: PathBuf, what: String },
    #[error("the gate stopped the batch: {0}")]
    Gate(String),
    /// The target would not have a record of the turn; `alone` names it where it was the only one.
    #[error("the target refused a record: {code}")]
    RecordRefused { code: &'static str, alone: Option<(Source, i64)> },
    /// What must be said about the turn does not fit where it must stand.
    #[error(
        "the turn is too large to be accounted for: {0}\n  next: spread the partitions over more tasks"
    )]
    TurnTooLarge(String),
    #[error("{0}")]
    Stage(#[from] StageStop),
    #[error("{0}")]
    Plan(#[from] crate::plan::PlanFault),
    #[error("client settings: {0}")]
    Client(String),
    #[error("{0}")]
    File(String),
    /// An edge answers, and its answer is no.
    #[error("{0}")]
    Edge(String),
    #[error("a thread ended without a reason; this is a fault of the program")]
    ThreadDied,
}

impl From<BudgetFault> for RunFault {
    fn from(fault: BudgetFault) -> Self {
        match fault {
            // Another pipeline over the same units closes a window.
            BudgetFault::Ledger(LedgerFault::Locked { .. }) => {
                Self::Again("the account is held by another process".to_owned())
            }
            BudgetFault::Ledger(fault) => Self::Ledger(fault),
            other => Self::Budget(other),
        }
    }
}

impl From<GateFault> for RunFault {
    /// A turn that is more than the release allows in all may be made smaller; everything else stops it.
    fn from(fault: GateFault) -> Self {
        match fault {
            GateFault::Limit { unit, found, allowed } => Self::LimitsSpent {
                what: format!("of {allowed} {unit} in all {found} are asked for"),
                left: if unit == "records" { allowed } else { u64::MAX },
            },
            other => Self::Gate(other.to_string()),
        }
    }
}

impl From<KeyFault> for RunFault {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::Away { home, why } => {
                Self::Unreachable { what: format!("the wrapping key's home `{home}`"), why }
            }
            other => Self::Keys(other.to_string()),
        }
    }
}

impl From<LedgerFault> for RunFault {
    /// Who holds a log now holds what it tells of.
    fn from(fault: LedgerFault) -> Self {
        match fault {
            LedgerFault::Fenced => Self::Fenced,
            fault => Self::Ledger(fault),
        }
    }
}

impl RunFault {
    /// For `map_err`: one side did not answer.
    pub(crate) fn unreachable(what: &str) -> impl Fn(EdgeFault) -> Self + use<> {
        let what = what.to_owned();
        move |fault| match fault.is_away() {
            true => Self::Unreachable { what: what.clone(), why: fault.to_string() },
            false => Self::Edge(fault.to_string()),
        }
    }

    /// For `map_err`: one side's settings make no client. A token that has expired is renewed by
    /// somebody: that passes.
    pub(crate) fn client(side: &str) -> impl Fn(EdgeFault) -> Self + use<> {
        let what = format!("{side} cluster");
        move |fault| match fault.is_away() {
            true => Self::Unreachable { what: what.clone(), why: fault.to_string() },
            false => Self::Client(format!("{what}: {fault}")),
        }
    }

    /// The home of the wrapping key comes back, or a person sees that it does not.
    pub(crate) fn lapsed(lapsed: Lapsed) -> Self {
        Self::Again(format!("keys: {lapsed}"))
    }

    /// What is wrong with a topic of the source; where the sovereign side is a folder, with a file of it.
    pub(crate) fn of_source(place: &Place, topic: &str, what: &str) -> Self {
        match &place.sovereign.dir {
            None => Self::Topic { topic: topic.to_owned(), what: what.to_owned() },
            Some(_) => Self::File(format!("{}: {what}", place.dir.join(topic).display())),
        }
    }

    /// The source has no topic, or no file, of this name; it makes them itself.
    pub(crate) fn no_source(place: &Place, topic: &str) -> Self {
        let what = match &place.sovereign.dir {
            None => "does not exist in the sovereign cluster: the source makes it",
            Some(_) => {
                "no such file to read from\n  next: put it there, or mend its name under `source`"
            }
        };
        Self::of_source(place, topic, what)
    }

    /// A topic of douane's own that `run` needs and does not make.
    pub(crate) fn missing(topic: &str, side: &str) -> Self {
        let what = format!(
            "does not exist in the {side} cluster\n  next: `douane doctor FILE --create` makes it"
        );
        Self::Topic { topic: topic.to_owned(), what }
    }

    /// The variant's name: the word in progress lines and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Again(_) | Self::Late { .. } => "again",
            Self::Stopped(_) => "stopped",
            Self::Unreachable { .. } => "unreachable",
            Self::Fenced => "fenced",
            Self::Findings(_) => "findings",
            Self::Release(_) => "release",
            Self::Revoked { .. } => "revoked",
            Self::LimitsSpent { .. } => "limits_spent",
            Self::OneShot { .. } => "one_shot",
            Self::Ledger(LedgerFault::LedgerLost { .. } | LedgerFault::HomeCut { .. }) => {
                "ledger_lost"
            }
            Self::Ledger(LedgerFault::TargetRolledBack { .. }) => "target_rolled_back",
            Self::Ledger(_) => "ledger",
            Self::Budget(BudgetFault::Full { .. }) => "budget_full",
            Self::Budget(_) => "budget",
            Self::StatisticsMax { .. } => "statistics_max",
            Self::Window(_) => "window",
            Self::Identity { .. } => "identity_changed",
            Self::RecordKey { .. } => "record_key",
            Self::Served { .. } => "served",
            Self::Held { .. } => "held",
            Self::PartitionsAdded { .. } => "partitions_added",
            Self::Cluster { .. } => "wrong_cluster",
            Self::Topic { .. } => "topic",
            Self::PositionLost => "position_lost",
            Self::Unreadable { .. } => "unreadable",
            Self::NewerRecord { .. } => "newer_record",
            Self::Registry(_) => "registry",
            Self::Keys(_) => "keys",
            Self::KeyStoreRolledBack { .. } => "key_store_rolled_back",
            Self::Gate(_) => "gate",
            Self::Stage(_) => "stage",
            Self::Plan(_) => "plan",
            Self::Client(_) => "client",
            Self::File(_) => "file",
            Self::Edge(_) => "edge",
            Self::ControlLog(_) => "control_log",
            Self::RecordRefused { .. } => "record_refused",
            Self::TurnTooLarge(_) => "turn_too_large",
            Self::ThreadDied => "thread_died",
        }
    }

    /// As a person reads it: what was found, and, also where whoever found it does not know, what is next.
    pub fn told(&self) -> String {
        let text = self.to_string();
        match self.next() {
            Some(next) if !text.contains("next: ") => format!("{text}\n  next: {next}"),
            _ => text,
        }
    }

    /// What leads on from a fault that does not say it itself. `None`: nothing has to be done.
    fn next(&self) -> Option<&'static str> {
        Some(match self {
            Self::Stopped(_) | Self::PartitionsAdded { .. } => return None,
            Self::Again(_) | Self::Late { .. } => {
                "once more when it answers; `douane doctor` says what does not"
            }
            Self::Ledger(LedgerFault::Unreadable { .. }) => {
                "leave the ledger's folder as it is; a newer douane may have written it: \
                 docs/operations.md, \"Upgrading\""
            }
            Self::Ledger(_) | Self::Budget(_) => {
                "leave the ledger's folder as it is; docs/operations.md, \"stopped by\", has the way out"
            }
            Self::Window(_) => "docs/statistics.md says what a window needs to close",
            Self::Unreadable { .. } => {
                "see that `keys/` and the target belong to this place and this pipeline `name`: under \
                 other keys nothing of it opens"
            }
            Self::Registry(_) => "mend `registry` of the cluster in douane.yaml, or what it says",
            Self::Keys(_) => "`douane keys status` says how the key store is",
            Self::Gate(_) | Self::Stage(StageStop::Whole) => {
                "nothing of it crossed. `douane run FILE --dry-run` shows whether it is so again; then \
                 report it with this line: the program contradicts itself"
            }
            Self::Stage(StageStop::KeysAway) => "`douane keys status` says how the key store is",
            Self::RecordRefused { .. } => {
                "see the target topic's limits; `douane quarantine list FILE` shows what was set aside"
            }
            Self::Plan(_) => {
                "`douane lint FILE` and `douane explain FILE` say where the files differ"
            }
            Self::Client(_) => "mend the cluster's entry in douane.yaml",
            Self::File(_) => "see that the file is there, is what it should be and can be read",
            Self::Edge(_) => "`douane doctor FILE` says what is wrong on that side",
            Self::Topic { .. } => "`douane doctor FILE` says what the topic must be like",
            Self::Release(_) => "`douane release show FILE` says where the release stands",
            Self::ThreadDied => "start it again, and report it with the lines before this one",
            Self::Unreachable { .. }
            | Self::Fenced
            | Self::Findings(_)
            | Self::Revoked { .. }
            | Self::LimitsSpent { .. }
            | Self::OneShot { .. }
            | Self::ControlLog(_)
            | Self::Identity { .. }
            | Self::RecordKey { .. }
            | Self::Served { .. }
            | Self::Held { .. }
            | Self::Cluster { .. }
            | Self::PositionLost
            | Self::NewerRecord { .. }
            | Self::KeyStoreRolledBack { .. }
            | Self::StatisticsMax { .. }
            | Self::TurnTooLarge(_) => return None,
        })
    }

    /// Whether a new life may mend it: what is outside comes back, a disk has room again.
    pub fn passes(&self) -> bool {
        match self {
            Self::Again(_) | Self::Late { .. } | Self::Stage(StageStop::KeysAway) => true,
            Self::Ledger(fault) => !fault.needs_people(),
            _ => false,
        }
    }

    /// Exit code of the process: 1 the answer is no, 2 a file that cannot be used, 3 something
    /// outside cannot be reached.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::Again(_) | Self::Late { .. } => 3,
            Self::Stopped(_) => 0,
            Self::Findings(findings) if findings.unreadable() => 2,
            Self::Client(_) | Self::Keys(_) | Self::File(_) => 2,
            Self::KeyStoreRolledBack { .. } => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every fault whose exit code or passing is not the usual one, and some that are usual.
    #[test]
    fn exit_codes_and_what_passes() {
        let text = || "x".to_owned();
        let full = || LedgerFault::Io {
            doing: "writing",
            source: std::io::Error::from(std::io::ErrorKind::StorageFull),
        };
        for (fault, code, exit_code, passes) in [
            (RunFault::Again(text()), "again", 3, true),
            (RunFault::Late { why: text(), rows: 1 }, "again", 3, true),
            (RunFault::Unreachable { what: text(), why: text() }, "unreachable", 3, false),
            (RunFault::Stopped(text()), "stopped", 0, false),
            (RunFault::Client(text()), "client", 2, false),
            (RunFault::Keys(text()), "keys", 2, false),
            (RunFault::File(text()), "file", 2, false),
            (RunFault::Findings(Findings::default()), "findings", 1, false),
            (RunFault::Fenced, "fenced", 1, false),
            (RunFault::Release(text()), "release", 1, false),
            (RunFault::Revoked { by: text(), at: text() }, "revoked", 1, false),
            (RunFault::LimitsSpent { what: text(), left: 0 }, "limits_spent", 1, false),
            (RunFault::PositionLost, "position_lost", 1, false),
            (RunFault::Gate(text()), "gate", 1, false),
            (RunFault::missing("t", "global"), "topic", 1, false),
            (RunFault::Ledger(full()), "ledger", 1, true),
            (RunFault::Ledger(LedgerFault::Poisoned), "ledger", 1, true),
            (
                RunFault::Ledger(LedgerFault::TargetRolledBack { covered: 1, why: "x" }),
                "target_rolled_back",
                1,
                false,
            ),
            (RunFault::ThreadDied, "thread_died", 1, false),
        ] {
            assert_eq!(fault.code(), code);
            assert_eq!(fault.exit_code(), exit_code, "{code}");
            assert_eq!(fault.passes(), passes, "{code}");
        }
    }

    #[test]
    fn what_others_found_says_what_is_next_as_well() {
        let text = || "x".to_owned();
        for fault in [
            RunFault::Again(text()),
            RunFault::Late { why: text(), rows: 1 },
            RunFault::Unreachable { what: text(), why: text() },
            RunFault::Release(text()),
            RunFault::Ledger(LedgerFault::Poisoned),
            RunFault::Ledger(LedgerFault::TargetRolledBack { covered: 1, why: "x" }),
            RunFault::Budget(BudgetFault::Ledger(LedgerFault::Poisoned)),
            RunFault::Window(text()),
            RunFault::Topic { topic: text(), what: text() },
            RunFault::Unreadable { what: "x", why: text() },
            RunFault::Registry(text()),
            RunFault::Keys(text()),
            RunFault::Gate(text()),
            RunFault::RecordRefused { code: "x", alone: None },
            RunFault::Stage(StageStop::Whole),
            RunFault::Stage(StageStop::KeysAway),
            RunFault::Client(text()),
            RunFault::File(text()),
            RunFault::Edge(text()),
            RunFault::ThreadDied,
        ] {
            let told = fault.told();
            assert_eq!(told.matches("\n  next: ").count(), 1, "{told}");
        }
        // The controls: who says it is not outdone, and who was asked to stop has nothing to do.
        let own = RunFault::File("x\n  next: y".into());
        assert_eq!(own.told(), own.to_string());
        assert!(!RunFault::Stopped(text()).told().contains("next:"));
    }

    /// A person who reads it knows what to do next.
    #[test]
    fn faults_of_the_place_say_what_is_next() {
        let cluster = RunFault::Cluster { side: "global", expected: "a".into(), found: "b".into() };
        for fault in [
            RunFault::missing("t", "global"),
            RunFault::Fenced,
            RunFault::PositionLost,
            RunFault::NewerRecord { what: "layout", software: "douane 1".into() },
            RunFault::LimitsSpent { what: "x".into(), left: 0 },
            RunFault::OneShot { what: "x".into() },
            RunFault::StatisticsMax { topic: "t".into(), rows: 9, windows: 2, mib_max: 1 },
            RunFault::RecordKey { before: "a".into(), now: "b".into() },
            cluster,
        ] {
            let text = fault.to_string();
            assert!(text.contains("\n  next: "), "{text}");
            assert_eq!(fault.told(), text, "it says it once");
            assert!(text.lines().all(|line| !line.ends_with('.')), "{text}");
        }
    }
}
