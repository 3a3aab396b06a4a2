//! Why a run ends, or begins anew. Whether a fault is fatal is decided here, once, by its type.

use douane_ledger::log::LedgerFault;

use crate::config::Findings;

/// What stops a pipeline or one life of a shard. None of them holds a cell value.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// The link or a broker is away, or the outcome of a commit is not known: fence, read the
    /// position again, go on.
    #[error("{0}")]
    Again(String),
    /// Asked to stop while waiting for something outside.
    #[error("stopped while waiting: {0}")]
    Stopped(String),
    #[error("{what} cannot be reached: {why}")]
    Unreachable { what: String, why: String },
    #[error("another process took over: its transactional id fenced this one")]
    Fenced,
    #[error("{0}")]
    Findings(Findings),
    #[error("release: {0}")]
    Release(String),
    #[error("release limits are spent: {0}\n  next: propose a release with higher limits")]
    LimitsSpent(String),
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerFault),
    #[error(
        "{side} topic `{topic}` changed its identity: {what}\n  nothing crosses until a person \
         decides; positions and data no longer belong together"
    )]
    Identity { side: &'static str, topic: String, what: String },
    /// Partitions that nobody was dealt are never read: the layout is settled anew.
    #[error("source topic `{topic}` has {added} more partitions")]
    PartitionsAdded { topic: String, added: i32 },
    #[error("{side} cluster: expected id `{expected}`, found `{found}`")]
    Cluster { side: &'static str, expected: String, found: String },
    #[error("topic `{topic}`: {what}\n  next: `douane doctor --create` makes missing topics")]
    Topic { topic: String, what: String },
    #[error(
        "the position topic holds no position, but the ledger holds committed transactions: the \
         target was emptied or re-created, or this is another ledger"
    )]
    PositionLost,
    #[error("the {what} record in the target cannot be opened: {why}")]
    Unreadable { what: &'static str, why: String },
    #[error("registry: {0}")]
    Registry(String),
    #[error("keys: {0}")]
    Keys(String),
    #[error("the gate stopped the batch: {0}")]
    Gate(String),
    #[error("{0}")]
    Stage(#[from] crate::plan::StageStop),
    #[error("{0}")]
    Plan(#[from] crate::plan::PlanFault),
    #[error("client settings: {0}")]
    Client(String),
    #[error("{0}")]
    File(String),
    #[error("a shard's thread ended without a reason; this is a fault of the program")]
    ThreadDied,
}

impl RunFault {
    /// The variant's name: the word in progress lines and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Again(_) => "again",
            Self::Stopped(_) => "stopped",
            Self::Unreachable { .. } => "unreachable",
            Self::Fenced => "fenced",
            Self::Findings(_) => "findings",
            Self::Release(_) => "release",
            Self::LimitsSpent(_) => "limits_spent",
            Self::Ledger(LedgerFault::LedgerLost { .. }) => "ledger_lost",
            Self::Ledger(LedgerFault::TargetRolledBack { .. }) => "target_rolled_back",
            Self::Ledger(_) => "ledger",
            Self::Identity { .. } => "identity_changed",
            Self::PartitionsAdded { .. } => "partitions_added",
            Self::Cluster { .. } => "wrong_cluster",
            Self::Topic { .. } => "topic",
            Self::PositionLost => "position_lost",
            Self::Unreadable { .. } => "unreadable",
            Self::Registry(_) => "registry",
            Self::Keys(_) => "keys",
            Self::Gate(_) => "gate",
            Self::Stage(_) => "stage",
            Self::Plan(_) => "plan",
            Self::Client(_) => "client",
            Self::File(_) => "file",
            Self::ThreadDied => "thread_died",
        }
    }

    /// Whether a new life may mend it: what is outside comes back, a disk has room again.
    pub fn passes(&self) -> bool {
        match self {
            Self::Again(_) => true,
            Self::Ledger(fault) => !fault.needs_people(),
            _ => false,
        }
    }

    /// Exit code of the process: 1 the answer is no, 2 a file that cannot be used, 3 something
    /// outside cannot be reached.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::Again(_) => 3,
            Self::Stopped(_) => 0,
            Self::Findings(findings) if findings.unreadable() => 2,
            Self::Client(_) | Self::Keys(_) | Self::File(_) => 2,
            _ => 1,
        }
    }
}
