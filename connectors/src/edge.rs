//! What the run loop needs of an edge, and nothing more: the sovereign side gives records and takes
//! quarantined ones, the global side takes whole transactions and gives the last position back.
//!
//! A kind of edge ([`crate::kafka`], [`crate::file`]) implements these traits; the run loop knows
//! no kind. What crosses is a [`Transaction`], and outside this crate one can only be made
//! of what the gate made.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use douane_gate::{Approved, Bundled, Destination, OutRecord, Sealed};
use douane_schemas::record::RawRecord;

use crate::file::{self, FileFault};
use crate::kafka::{self, KafkaFault};

/// An edge did not do what was asked. Holds names and words of the edge: never a record.
#[derive(Debug, thiserror::Error)]
pub enum EdgeFault {
    /// A Kafka cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// Files.
    #[error(transparent)]
    File(#[from] FileFault),
}

impl EdgeFault {
    /// Whether something outside cannot be reached, as opposed to something being wrong.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Kafka(fault) => fault.is_away(),
            Self::File(fault) => fault.is_away(),
        }
    }

    /// Whether there was more to read than the time allowed.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Self::Kafka(KafkaFault::Unfinished { .. }))
    }

    /// Whether a new life meets the same: a file does not mend itself, as a cluster may.
    pub fn stays(&self) -> bool {
        match self {
            Self::Kafka(_) => false,
            Self::File(fault) => !fault.is_away(),
        }
    }

    /// What is different about a source that is no longer the one that was read, and its name.
    pub fn changed(&self) -> Option<(String, &str)> {
        match self {
            Self::Kafka(_) => None,
            Self::File(fault) => {
                fault.changed().map(|(path, what)| (path.display().to_string(), what))
            }
        }
    }
}

/// What tells a topic from another one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicIdentity {
    /// Of Kafka the topic id, as base64 text: a topic deleted and made again has another one.
    pub id: String,
    /// Partitions now; they may become more.
    pub partitions: i32,
    /// Copies of the partition that has the fewest.
    pub replication: i32,
}

/// What a client may do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Its records may be read.
    pub read: bool,
    /// Records may be written to it.
    pub write: bool,
}

/// The settings of a topic that delivery depends on. `None`: the side does not say; some brokers that
/// speak Kafka's protocol leave settings out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// The largest record or, of Kafka, batch (`max.message.bytes`), with its framing.
    pub max_message_bytes: usize,
    /// `min.insync.replicas`.
    pub min_insync_replicas: Option<i32>,
    /// `cleanup.policy`: `delete`, `compact` or `compact,delete`.
    pub cleanup_policy: String,
    /// `retention.ms`; -1 is for ever.
    pub retention_ms: i64,
    /// `retention.bytes`, of a partition; -1 is no bound.
    pub retention_bytes: Option<i64>,
    /// `message.timestamp.type`: `CreateTime`, or `LogAppendTime`, by which the broker puts its own
    /// time in place of the writer's.
    pub timestamp_type: Option<String>,
}

/// What became of making a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    Made,
    /// It was there, as it may be: nothing was changed.
    Existed,
}

/// Questions to one side about who it is and what it has.
pub trait Admin: Send {
    /// The id of the cluster that answers.
    ///
    /// # Errors
    /// None answers.
    fn cluster_id(&self) -> Result<String, EdgeFault>;

    /// Several topics' identities, in the order of `names`; `None` where there is no topic of a
    /// name. Creates none.
    ///
    /// # Errors
    /// The side is away, or refuses; one refused name refuses all.
    fn topics(&self, names: &[&str]) -> Result<Vec<Option<TopicIdentity>>, EdgeFault>;

    /// A topic's identity; `None` where there is no topic of this name.
    ///
    /// # Errors
    /// As [`Self::topics`].
    fn topic(&self, name: &str) -> Result<Option<TopicIdentity>, EdgeFault> {
        Ok(self.topics(&[name])?.pop().flatten())
    }

    /// What this client may do with a topic; `None` where the side does not say.
    ///
    /// # Errors
    /// The side is away, or refuses.
    fn rights(&self, _name: &str) -> Result<Option<Rights>, EdgeFault> {
        Ok(None)
    }

    /// The names of all topics, so that what nobody reads can be named. An edge where each topic
    /// is named by the files has no others.
    ///
    /// # Errors
    /// The side is away.
    fn names(&self) -> Result<Vec<String>, EdgeFault> {
        Ok(Vec::new())
    }

    /// A topic's settings.
    ///
    /// # Errors
    /// No such topic; the side is away, or refuses.
    fn topic_config(&self, name: &str) -> Result<TopicConfig, EdgeFault>;

    /// Makes a topic with these settings (`cleanup.policy`, …), or finds that it is there, whatever
    /// its settings are. Only `doctor --create` asks for this.
    ///
    /// # Errors
    /// The side is away, or takes the name or the settings for wrong.
    fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        settings: &[(&str, &str)],
    ) -> Result<Created, EdgeFault>;
}

/// The side where raw data lies.
pub trait Sovereign: Send + Sync {
    /// A client for questions; reaches nothing yet.
    ///
    /// # Errors
    /// Settings that no client is made with.
    fn admin(&self) -> Result<Box<dyn Admin>, EdgeFault>;

    /// For looks that repeat: all of this process that look at one side may share a client. What it
    /// knows may be older than a client's own, so who a cluster is, at a start, is asked of
    /// [`Self::admin`].
    ///
    /// # Errors
    /// As [`Self::admin`].
    fn shared_admin(&self) -> Result<Box<dyn Admin>, EdgeFault> {
        self.admin()
    }

    /// A source for these topics; reaches nothing yet. `group` is for people's lag tools, where
    /// the side has such.
    ///
    /// # Errors
    /// Settings that no client is made with.
    fn source(&self, group: &str, topics: &[String]) -> Result<Box<dyn Source>, EdgeFault>;

    /// A writer of refused records; reaches nothing yet. `bytes_max`: the largest that the
    /// quarantine takes.
    ///
    /// # Errors
    /// Settings that no client is made with.
    fn quarantine(&self, bytes_max: usize) -> Result<Box<dyn Quarantine>, EdgeFault>;

    /// Gives `each` a partition's records from `from` on, until it breaks or the log ends.
    ///
    /// # Errors
    /// No such topic; the side is away, or the end was not reached within `timeout`.
    fn scan(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        timeout: Duration,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), EdgeFault> {
        self.scan_unless(&|| false, topic, partition, from, timeout, each)
    }

    /// As [`Self::scan`], and ends within a second or so once `stop` says so, whether or not anything comes:
    /// then what it read is what it read.
    ///
    /// # Errors
    /// As [`Self::scan`].
    fn scan_unless(
        &self,
        stop: &dyn Fn() -> bool,
        topic: &str,
        partition: i32,
        from: i64,
        timeout: Duration,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), EdgeFault>;
}

/// The side where what was approved goes.
pub trait Global: Send + Sync {
    /// A client for questions; reaches nothing yet.
    ///
    /// # Errors
    /// Settings that no client is made with.
    fn admin(&self) -> Result<Box<dyn Admin>, EdgeFault>;

    /// As [`Sovereign::shared_admin`].
    ///
    /// # Errors
    /// As [`Self::admin`].
    fn shared_admin(&self) -> Result<Box<dyn Admin>, EdgeFault> {
        self.admin()
    }

    /// Fences every earlier holder of `id` and undoes what it left open. `bytes_max`: the
    /// largest record that the target takes.
    ///
    /// The position is read AFTER this, never before: what a holder commits between reading and
    /// fencing would be sent again.
    ///
    /// # Errors
    /// See [`SinkFault`]; `timeout` bounds the wait.
    fn fence(
        &self,
        id: &str,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Box<dyn Sink>, SinkFault>;

    /// The last committed position of a partition of a position topic: its key and its value.
    ///
    /// Call it after the partition's only writer was fenced: then what is read is the truth.
    /// `None` where nothing was ever committed.
    ///
    /// # Errors
    /// No such topic; the side is away, or the end was not reached within `timeout`.
    fn read_last(
        &self,
        topic: &str,
        partition: i32,
        timeout: Duration,
    ) -> Result<Option<KeyAndValue>, EdgeFault>;
}

/// Topics of the global side, as whoever is outside reads them: committed records only, in no group.
pub trait Topics: Send + Sync {
    /// First offset of a partition's log, and its end: `whole` with what is not committed yet,
    /// else up to the first open transaction.
    ///
    /// # Errors
    /// No such topic or partition; the side is away.
    fn extent(
        &self,
        topic: &str,
        partition: i32,
        whole: bool,
        timeout: Duration,
    ) -> Result<(i64, i64), EdgeFault>;

    /// Gives `each` a partition's committed records from `from` on, until it breaks, or all that
    /// the log held when this began is decided and read. Gives the offset reached.
    ///
    /// # Errors
    /// As [`Self::extent`]; nothing came for as long as `timeout`.
    fn read(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        timeout: Duration,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<i64, EdgeFault>;

    /// Notes in a group the offset wanted next of each partition of a topic, from 0 on, for whoever
    /// watches lags. All of it is there when this returns; nothing is read back from it.
    ///
    /// # Errors
    /// The side is away; it does not let this one write to the group; the group has members.
    fn note(
        &self,
        group: &str,
        topic: &str,
        next: &[i64],
        timeout: Duration,
    ) -> Result<(), EdgeFault>;
}

/// A position's key and its value.
pub type KeyAndValue = (Vec<u8>, Vec<u8>);

/// Committed records of assigned partitions, in order, with every loss told. It starts nowhere by
/// itself and keeps no position: they are the caller's.
pub trait Source {
    /// Reads these partitions from these offsets, and no others: (index of the topic, partition,
    /// offset wanted next).
    ///
    /// # Errors
    /// The side takes the list for wrong.
    fn assign(&mut self, places: &[(u32, i32, i64)]) -> Result<(), EdgeFault>;

    /// The next record, loss or trouble within `timeout`. Offsets of one partition only grow, and
    /// may jump.
    fn poll(&mut self, timeout: Duration) -> Polled<'_>;

    /// The offset before which everything committed was given, of each partition that gives: behind
    /// its last record may stand what is none (markers of transactions, aborted records). Lost with
    /// [`Self::assign`]. A side whose offsets do not jump says nothing.
    fn reached(&mut self) -> Vec<(u32, i32, i64)> {
        Vec::new()
    }

    /// Gives no more of a partition until [`Self::resume_at`].
    ///
    /// # Errors
    /// The partition is not assigned.
    fn pause(&mut self, topic: u32, partition: i32) -> Result<(), EdgeFault>;

    /// Goes on with a paused or lost partition at an offset. Nothing of its neighbours is given
    /// twice or left out.
    ///
    /// # Errors
    /// The partition is not assigned.
    fn resume_at(&mut self, topic: u32, partition: i32, offset: i64) -> Result<(), EdgeFault>;

    /// First offset of a partition's log, and the end of what is committed in it.
    ///
    /// # Errors
    /// No such topic or partition; the side is away.
    fn watermarks(&self, topic: u32, partition: i32) -> Result<(i64, i64), EdgeFault>;

    /// The first offset whose record is not older than a time in milliseconds since the epoch;
    /// `None` where every record is older.
    ///
    /// # Errors
    /// No such partition; the side is away.
    fn offset_for_time(
        &self,
        topic: u32,
        partition: i32,
        since_ms: i64,
    ) -> Result<Option<i64>, EdgeFault>;

    /// What tells the records of a partition before an offset from any others, where the side can
    /// say; for the last offsets given, and those not yet told by [`Self::commit_group`]. Stands
    /// in the position, for [`Self::expect`].
    fn mark(&self, _topic: u32, _partition: i32, _offset: i64) -> Option<String> {
        None
    }

    /// What lies before an assigned partition's offset is what it was when `mark` was taken.
    ///
    /// # Errors
    /// [`EdgeFault::changed`] says what is different.
    fn expect(&mut self, _topic: u32, _partition: i32, _mark: &str) -> Result<(), EdgeFault> {
        Ok(())
    }

    /// As [`Self::expect`], of a partition that is not assigned and for a look only: nothing crosses by it, and it
    /// may be answered by what an earlier look read, where nothing changed since.
    ///
    /// # Errors
    /// As [`Self::expect`].
    fn stands(
        &self,
        (_topic, _partition): (u32, i32),
        _next: i64,
        _mark: &str,
    ) -> Result<(), EdgeFault> {
        Ok(())
    }

    /// Tells people's lag tools what has crossed. Never read back.
    fn commit_group(&mut self, places: &[(u32, i32, i64)]);

    /// Ends it, waiting a little.
    fn close(self: Box<Self>);
}

/// What one poll gives.
pub enum Polled<'a> {
    /// The next record of one of the partitions.
    Record(Fetched<'a>),
    /// Nothing within the time given.
    Idle,
    /// Nothing more will come of any partition that is not paused: the source has an end.
    End,
    /// As [`Self::Broken`], with what the next source will meet too.
    Fault(EdgeFault),
    /// A partition's position lies outside its log. Nothing more comes from it until
    /// [`Source::resume_at`]; its neighbours go on.
    Lost(Lost),
    /// The client has trouble and goes on by itself (a broker is away). For people.
    Trouble(String),
    /// The client cannot go on without leaving something out: bytes that fail their checksum, a
    /// codec it does not know, a log that was cut. What was given before it is whole. Close this
    /// source; one opened anew at the committed position sees it again, or sees it mended.
    Broken(String),
}

/// A partition whose position is not in its log: retention or a new topic took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Index in the source's list of topics.
    pub topic: u32,
    /// Number of the partition.
    pub partition: i32,
    /// The offset wanted next.
    pub position: i64,
    /// First offset of the log.
    pub low: i64,
    /// End of what is committed.
    pub high: i64,
}

/// A record in the source's buffer. No `Debug`: it is data. An enum and no trait object: it is
/// asked several times a record.
///
/// ```
/// # use douane_connectors::edge::Fetched;
/// fn key_bytes(fetched: &Fetched<'_>) -> usize {
///     let headers = fetched.headers();
///     let record = fetched.raw(&headers);
///     record.key.map_or(0, <[u8]>::len)
/// }
/// ```
pub enum Fetched<'a> {
    /// In librdkafka's buffer.
    Kafka(kafka::Message<'a>),
    /// A row of a file.
    File(file::FileRecord<'a>),
}

impl Fetched<'_> {
    /// The headers in order; allocates only where there are any. A name that is no UTF-8 is given
    /// as U+FFFD, which no list of known names has.
    pub fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        match self {
            Self::Kafka(message) => message.headers(),
            Self::File(_) => Vec::new(),
        }
    }

    /// The record as decoders take it; `headers` come from [`Self::headers`].
    pub fn raw<'s>(&'s self, headers: &'s [(&'s str, Option<&'s [u8]>)]) -> RawRecord<'s> {
        match self {
            Self::Kafka(message) => message.raw(headers),
            Self::File(record) => record.raw(),
        }
    }
}

/// Takes sealed refused records, in the sovereign zone.
///
/// It is no part of the target's transaction: what it takes is durable before the target's commit,
/// and a record that no committed intent names is a leftover.
pub trait Quarantine {
    /// Writes all, durably. Of records with one key the last counts.
    ///
    /// # Errors
    /// Any of them may then be there or not; sending all again is right.
    fn send(&mut self, records: &[Sealed], topic: &str) -> Result<(), EdgeFault>;
}

/// The only writer to the target, for one id. To be had by fencing, given up with each commit,
/// and given back only where it may be used again.
pub trait Sink: Send {
    /// Serves the client while nothing is committed. Costs microseconds; call it in each turn
    /// without a commit.
    fn idle(&self);

    /// One transaction, all or nothing: data, manifest, and the position last.
    fn commit(self: Box<Self>, transaction: &Transaction<'_>) -> CommitOutcome;
}

/// No sink: nothing was fenced that is known of. Trying again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum SinkFault {
    /// The side's settings or secrets are such that no client is made. Trying again is vain.
    #[error(transparent)]
    Settings(EdgeFault),
    /// No answer in time.
    #[error(transparent)]
    Away(EdgeFault),
    /// The side refused: rights are missing, or another holder came in between.
    #[error(transparent)]
    Refused(EdgeFault),
}

/// What became of a transaction.
pub enum CommitOutcome<S = Box<dyn Sink>> {
    /// Visible to all; the sink may be used for the next one.
    Committed(S),
    /// Visible to all, yet the link broke on the way: a late copy of the request could end the
    /// next transaction half-way. Fence anew before the next begin.
    CommittedButSuspect,
    /// Committed or not: nobody here knows. Fence anew and read the position, which does.
    Unknown(String),
    /// Another holder of this id came. Stop: it has the shard now.
    Fenced,
    /// Not committed: the target refused a record for the record's own sake, and will again. Fence
    /// anew, quarantine the record, build the batch again.
    Refused {
        /// Index of the record in [`Transaction::records`], of which the last is the manifest;
        /// `None` where the side refused several at once and does not say which is to blame.
        index: Option<usize>,
        /// `too_large`, `invalid_timestamp`, `invalid_record` or `policy_violation`.
        code: &'static str,
    },
    /// Not committed: not all of it was acknowledged in time. The side is away, or the link takes
    /// longer for so many bytes. Fence anew and send less at once.
    Late(String),
    /// Not committed, and never will be: [`Transaction::may_go`] said no.
    Ended(String),
    /// Not committed, for a reason outside the data. Fence anew and go on.
    Aborted(String),
}

impl<S: Sink + 'static> CommitOutcome<S> {
    /// The outcome as the run loop takes it.
    pub(crate) fn boxed(self) -> CommitOutcome {
        match self {
            Self::Committed(sink) => CommitOutcome::Committed(Box::new(sink)),
            Self::CommittedButSuspect => CommitOutcome::CommittedButSuspect,
            Self::Unknown(why) => CommitOutcome::Unknown(why),
            Self::Fenced => CommitOutcome::Fenced,
            Self::Refused { index, code } => CommitOutcome::Refused { index, code },
            Self::Late(why) => CommitOutcome::Late(why),
            Self::Ended(why) => CommitOutcome::Ended(why),
            Self::Aborted(why) => CommitOutcome::Aborted(why),
        }
    }
}

impl<S> fmt::Debug for CommitOutcome<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed(_) => f.write_str("Committed"),
            Self::CommittedButSuspect => f.write_str("CommittedButSuspect"),
            Self::Unknown(why) => write!(f, "Unknown({why})"),
            Self::Fenced => f.write_str("Fenced"),
            Self::Refused { index, code } => write!(f, "Refused({code}, {index:?})"),
            Self::Late(why) => write!(f, "Late({why})"),
            Self::Ended(why) => write!(f, "Ended({why})"),
            Self::Aborted(why) => write!(f, "Aborted({why})"),
        }
    }
}

/// What one commit carries. Its fields are private: outside this crate it is made of what the gate
/// made, or not at all.
///
/// ```compile_fail,E0451
/// let forged = douane_connectors::edge::Transaction {
///     records: todo!(), position: todo!(), position_topic: "t", partition: 0, right: None,
/// };
/// ```
pub struct Transaction<'a> {
    records: Records<'a>,
    position: (&'a [u8], &'a [u8]),
    position_topic: &'a str,
    partition: i32,
    right: Option<Right<'a>>,
}

/// Whether what a transaction carries may still go out, or why not.
type Right<'a> = &'a dyn Fn() -> Result<(), String>;

#[derive(Clone, Copy)]
enum Records<'a> {
    Approved(Option<&'a Approved>),
    Bundled(&'a Bundled),
    /// Of the edges' own tests: the last one stands for the manifest.
    #[cfg(test)]
    Made(&'a [OutRecord<'a>]),
}

impl<'a> Transaction<'a> {
    /// A transaction of approved records, or, without them, of the position alone. `None` where
    /// the position is sealed for another place.
    pub fn new(
        approved: Option<&'a Approved>,
        position: &'a Sealed,
        position_topic: &'a str,
    ) -> Option<Self> {
        let Destination::Position { partition } = position.destination() else { return None };
        Some(Self {
            records: Records::Approved(approved),
            position: (position.key(), position.value()),
            position_topic,
            partition,
            right: None,
        })
    }

    /// The sink asks `right` before it begins, and again before it makes the transaction visible.
    #[must_use]
    pub fn only_while(mut self, right: &'a dyn Fn() -> Result<(), String>) -> Self {
        self.right = Some(right);
        self
    }

    /// A transaction of one bundle of checkpoints. `None` as of [`Self::new`].
    pub fn of_bundle(
        bundle: &'a Bundled,
        position: &'a Sealed,
        position_topic: &'a str,
    ) -> Option<Self> {
        let made = Self::new(None, position, position_topic)?;
        Some(Self { records: Records::Bundled(bundle), ..made })
    }

    #[cfg(test)]
    pub(crate) fn made(
        records: &'a [OutRecord<'a>],
        position_topic: &'a str,
        partition: i32,
        position: &'a [u8],
    ) -> Self {
        let records = Records::Made(records);
        Self { records, position: (b"k", position), position_topic, partition, right: None }
    }

    /// The data records, sorted by source (topic, partition, offset), then the manifest; or a bundle.
    /// None at all where only the position moves.
    pub fn records(&self) -> impl Iterator<Item = OutRecord<'a>> + use<'a> {
        #[cfg(test)]
        let made = match self.records {
            Records::Made(made) => made,
            Records::Approved(_) | Records::Bundled(_) => &[],
        };
        #[cfg(not(test))]
        let made: &'a [OutRecord<'a>] = &[];
        let (approved, bundle) = match self.records {
            Records::Approved(approved) => (approved, None),
            Records::Bundled(bundle) => (None, Some(bundle)),
            #[cfg(test)]
            Records::Made(_) => (None, None),
        };
        let approved = approved.into_iter().flat_map(Approved::records);
        approved.chain(bundle.map(Bundled::record)).chain(made.iter().copied())
    }

    /// Whether it may go out at this moment.
    ///
    /// # Errors
    /// Why not: then nothing of it is made visible.
    pub fn may_go(&self) -> Result<(), String> {
        self.right.map_or(Ok(()), |right| right())
    }

    /// The sealed position, key and value: visible with the records or not at all.
    pub fn position(&self) -> (&'a [u8], &'a [u8]) {
        self.position
    }

    /// The topic of the position.
    pub fn position_topic(&self) -> &'a str {
        self.position_topic
    }

    /// The partition of the position.
    pub fn partition(&self) -> i32 {
        self.partition
    }
}
