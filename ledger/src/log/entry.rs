//! What the log says: one vocabulary for rows and aggregates, and the canonical bytes of a leaf.

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::LedgerFault;
use crate::budget::{Computed, Opening, Reserve};
use crate::canonical::{self, hex, text_i64, text_u64};
use crate::manifest::Subject;

/// Version of the leaf format.
pub(crate) const FORMAT: u32 = 1;
/// C2SP tlog-tiles: an entry in a bundle has a 2-byte length.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Refusals beyond this many bytes of an intent stand in REFUSED entries before it.
const REFUSED_BYTES_MAX: usize = 16 * 1024;

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(clippy::large_enum_variant, reason = "intents are nearly all entries")]
pub enum Entry {
    /// A transaction is about to begin.
    Intent(Intent),
    /// The transaction of the intent, or the release of the reserve, at this index is in the target.
    Committed {
        /// Index of the INTENT or the RESERVE.
        #[serde(with = "text_u64")]
        of: u64,
    },
    /// The transaction of the intent at this index never reached the target, and never will; nor
    /// the release of the reserve, whose charge is kept.
    Void {
        /// Index of the INTENT or the RESERVE.
        #[serde(with = "text_u64")]
        of: u64,
        /// For people.
        why: String,
    },
    /// In an account ([`crate::budget`]): a policy and its caps.
    Open(Opening),
    /// In an account: a release of aggregates is about to be computed, and is charged.
    Reserve(Reserve),
    /// In an account: what the release is, written before the first byte of it is sent.
    Computed(Computed),
    /// Refusals that did not fit into the intent that follows.
    Refused {
        /// In the order of the intent's list.
        refused: Vec<RefusedEntry>,
    },
    /// A partition waits for people.
    Held {
        /// Source topic.
        topic: String,
        /// Source partition.
        partition: i32,
        /// The record that waits.
        #[serde(with = "text_i64")]
        offset: i64,
        /// Names, never values.
        reason: String,
        /// The reason as one word; empty in entries from before it was written.
        #[serde(default)]
        code: String,
        /// The leaf it is about, in printable form.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leaf: Option<String>,
        /// Further leaves of the record that it is about.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<String>,
        /// How many there are beside those.
        #[serde(default, skip_serializing_if = "is_no_more")]
        more: u32,
        /// Registry id of the schema it was found in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema_id: Option<u32>,
    },
    /// A held partition goes on.
    Resumed {
        /// Source topic.
        topic: String,
        /// Source partition.
        partition: i32,
        /// Where.
        #[serde(with = "text_i64")]
        offset: i64,
        /// Digest of the release that allows it.
        release: String,
    },
    /// A leaf of the row that no list names stays behind from here on.
    Stripped {
        /// Source topic.
        topic: String,
        /// Source partition.
        partition: i32,
        /// The first record that had it.
        #[serde(with = "text_i64")]
        offset: i64,
        /// Its path in printable form.
        leaf: String,
        /// Registry id of the schema it was found in.
        schema_id: Option<u32>,
        /// Digest of the release that lets it stay behind.
        release: String,
    },
    /// A quarantined record was tried again and did not cross. One that crossed stands in the
    /// INTENT that brought it.
    Redriven {
        /// Source topic.
        topic: String,
        /// Source partition.
        partition: i32,
        /// The record.
        #[serde(with = "text_i64")]
        offset: i64,
        /// `superseded`, `newer_unknown`, `outside_where`, `not_quarantined` or a refusal's code.
        outcome: String,
    },
    /// A release came into force.
    Approved {
        /// Its digest.
        release: String,
        /// The pipeline's.
        fingerprint: String,
        /// By name.
        approvers: Vec<String>,
        /// Names of the exceptions from the policy that come into force with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        overrides: Vec<String>,
    },
    /// A bundle of checkpoints goes out. Written before it; of several with one number the last went, or
    /// none yet: what is outside says the layout in the target.
    Bundled {
        /// From 1.
        #[serde(with = "text_u64")]
        number: u64,
        /// SHA-256 of its payload, hexadecimal.
        digest: String,
        /// Its tick, in milliseconds since the epoch.
        #[serde(with = "text_u64")]
        at_ms: u64,
    },
    /// All of a one-shot release's span has crossed or was set aside: nothing else ever crosses under it.
    Closed {
        /// Its digest.
        release: String,
        /// Records of the span that were set aside and did not cross after all. Not written where it is 0.
        #[serde(with = "text_u64", default, skip_serializing_if = "is_zero")]
        set_aside: u64,
    },
    /// A release was stopped.
    Revoked {
        /// Its digest.
        release: String,
        /// By whom.
        by: String,
        /// For people.
        reason: String,
    },
    /// A key was replaced.
    Rotated {
        /// Label of the key's purpose.
        purpose: String,
        /// Its context: a token domain, a pipeline.
        context: String,
        /// Key id before.
        from: String,
        /// Key id after.
        to: String,
    },
    /// Keys of single subjects are about to be destroyed. Without a SHREDDED for its subjects after it,
    /// whoever comes next does it again.
    Shredding {
        /// The token domain.
        domain: String,
        /// Names of the subjects that nobody can read.
        subjects: Vec<String>,
        /// Ids of their keys.
        key_ids: Vec<String>,
        /// Id of the key that they are wrapped under, which goes with them.
        wrapped_under: String,
        /// By whom.
        by: String,
        /// For people; names no subject.
        reason: String,
    },
    /// Keys of single subjects were destroyed.
    Shredded {
        /// The token domain.
        domain: String,
        /// As in SHREDDING.
        subjects: Vec<String>,
        /// How many keys.
        keys: u32,
        /// Digest of the certificate.
        certificate: String,
        /// When, as the certificate says it: RFC 3339 in UTC. Empty in an entry of before it was
        /// written down.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        at: String,
        /// By whom.
        by: String,
        /// For people; names no subject.
        reason: String,
    },
    /// The key that records were set aside under for a while is about to be destroyed. The ROTATED of the
    /// wrapping key after it is where that begins.
    EpochEnded {
        /// Counts the epochs of the place, from 1.
        number: u32,
        /// Id of the key, which stands in the seals under it.
        key_id: String,
        /// When it came into use, RFC 3339 in UTC.
        since: String,
        /// When its time was over; none where it is ended before that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept_until: Option<String>,
        /// By whom.
        by: String,
        /// For people.
        reason: String,
    },
    /// Tokens or encrypted values were turned back, inside the zone. Written before they were shown.
    Detokenized {
        /// Who asked.
        by: String,
        /// For people.
        reason: String,
        /// The pipeline's name.
        pipeline: String,
        /// The column outside.
        column: String,
        /// The token domain.
        domain: String,
        /// How many values were asked for.
        asked: u32,
        /// How many opened.
        opened: u32,
        /// Who approved of it, where the trust root asks for approval.
        approvers: Vec<String>,
        /// The request's nonce: it is used once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
    },
    /// Transactions were made again from the source, inside the zone, and compared. Written before the
    /// answers were shown.
    Replayed {
        /// Who asked.
        by: String,
        /// For people.
        reason: String,
        /// The pipeline's name.
        pipeline: String,
        /// How many.
        #[serde(with = "text_u64")]
        transactions: u64,
        /// Of them the same.
        #[serde(with = "text_u64")]
        equal: u64,
        /// Of them different; the rest cannot be made again.
        #[serde(with = "text_u64")]
        different: u64,
        /// SHA-256 of the canonical JSON of the answers, hexadecimal: whoever files them can show that
        /// these are they.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        answers: String,
    },
    /// Somebody called the service to change something. Written before anything is done about it.
    Called {
        /// The caller's name in the file of tokens; `anonymous` for one without a token.
        by: String,
        /// The method.
        method: String,
        /// The route, with its parameters' names in the place of their values.
        route: String,
        /// The connector's name, where the route has one and it has the form of one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connector: Option<String>,
        /// SHA-256 of the body, hexadecimal; none without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// What the call at this index was answered. Without it the process ended meanwhile.
    Answered {
        /// Index of the CALLED.
        #[serde(with = "text_u64")]
        of: u64,
        /// The status of HTTP.
        status: u16,
    },
    /// Which shard reads what.
    Layout {
        /// Counts layouts, from 1.
        #[serde(with = "text_u64")]
        epoch: u64,
        /// Number of shards.
        tasks: u32,
        /// Each source partition's shard.
        partitions: Vec<Assigned>,
    },
    /// A shard may use this much of a release's limits. What it leaves unused is lost where no RETURNED
    /// gives it back.
    Lease {
        /// The release's digest.
        release: String,
        /// The shard.
        shard: u32,
        /// Records.
        #[serde(with = "text_u64")]
        records: u64,
        /// Bytes of keys and values.
        #[serde(with = "text_u64")]
        bytes: u64,
        /// Windows of statistics, of a release with a limit of epsilon. Not written where it is 0.
        #[serde(with = "text_u64", default, skip_serializing_if = "is_zero")]
        windows: u64,
        /// Which window it is. Not written where `windows` is 0.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        window: String,
    },
    /// What a shard did not use of its leases, as it ended.
    Returned {
        /// The release's digest.
        release: String,
        /// The shard.
        shard: u32,
        /// Records.
        #[serde(with = "text_u64")]
        records: u64,
        /// Bytes of keys and values.
        #[serde(with = "text_u64")]
        bytes: u64,
    },
}

/// One source partition of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assigned {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Its shard.
    pub shard: u32,
}

/// What one transaction will bring, written before it begins. Enough to run it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// Counts the transactions of a shard.
    #[serde(with = "text_u64")]
    pub seq: u64,
    /// Digest of the release.
    pub release: String,
    /// Fingerprint of the pipeline.
    pub fingerprint: String,
    /// What was read.
    pub spans: Vec<SpanEntry>,
    /// What of it was refused. [`super::Log::append`] moves a long list to REFUSED entries before.
    pub refused: Vec<RefusedEntry>,
    /// How many REFUSED entries just before this one belong to it. Set by [`super::Log::append`].
    #[serde(with = "text_u64")]
    pub refused_before: u64,
    /// Keyed digests of what was read.
    pub source_digests: Vec<SourceDigest>,
    /// What is written.
    pub subjects: Vec<Subject>,
    /// The transaction's salt, hexadecimal.
    pub salt: String,
    /// Schema ids read.
    pub schema_ids: Vec<u32>,
    /// Ids of the keys used.
    pub key_ids: Vec<String>,
    /// Partitions of the target topic.
    pub target_partitions: u32,
    /// `murmur2`.
    pub partitioner: String,
    /// The manifest's id, hexadecimal.
    pub manifest_id: String,
    /// The fresh one that the records carry.
    pub traceparent: String,
    /// Records written.
    #[serde(with = "text_u64")]
    pub records: u64,
    /// Bytes of keys and values written.
    #[serde(with = "text_u64")]
    pub bytes: u64,
    /// Tombstones that were folded into their delete.
    #[serde(with = "text_u64")]
    pub merged: u64,
    /// Truncates of the source's table that were passed over.
    #[serde(default, skip_serializing_if = "is_zero", with = "text_u64")]
    pub truncated: u64,
    /// Quarantined records that this transaction brings after all. No span holds them: they were
    /// passed before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redriven: Vec<RedrivenEntry>,
    /// Rows that the pipeline's WHERE, or the size of their group, kept back. Not written where it is 0.
    #[serde(with = "text_u64", default, skip_serializing_if = "is_zero")]
    pub filtered: u64,
    /// Rows that left WHERE, or whose group is too small, and crossed as tombstones. Not written where it is 0.
    #[serde(with = "text_u64", default, skip_serializing_if = "is_zero")]
    pub withdrawn: u64,
    /// Where groups of rows are counted: all that was counted together with what this transaction
    /// read. Not written where nobody counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub window: Vec<SpanEntry>,
    /// Where rows get published statistics: how far their topic was read before. Not written where
    /// none do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<SpanEntry>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A quarantined record that crosses after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedrivenEntry {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Its offset.
    #[serde(with = "text_i64")]
    pub offset: i64,
}

/// A range of source offsets; jumped ones are part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanEntry {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// First offset.
    #[serde(with = "text_i64")]
    pub start: i64,
    /// One past the last.
    #[serde(with = "text_i64")]
    pub end: i64,
}

/// A record that did not cross.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedEntry {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Its offset.
    #[serde(with = "text_i64")]
    pub offset: i64,
    /// Why, in the code's word.
    pub code: String,
}

/// Keyed digest over one span's records (docs/formats.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceDigest {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Of rows BLAKE3 in its keyed mode, of statistics a chain of HMAC-SHA-256; hexadecimal.
    pub mac: String,
}

fn is_no_more(count: &u32) -> bool {
    *count == 0
}

/// A leaf as it stands in journals and bundles: canonical JSON.
#[derive(Serialize, Deserialize)]
struct Leaf {
    v: u32,
    /// 128 keyed bits, hexadecimal: without them a proof's neighbours could be guessed.
    blind: String,
    #[serde(flatten)]
    entry: Entry,
}

/// The canonical bytes of an entry at its place.
pub(crate) fn leaf_bytes(entry: &Entry, blind: String) -> Result<Vec<u8>, LedgerFault> {
    let leaf = Leaf { v: FORMAT, blind, entry: entry.clone() };
    let bytes = canonical::to_vec(&leaf).map_err(|_| LedgerFault::Unreadable { index: None })?;
    if bytes.len() > ENTRY_BYTES_MAX {
        return Err(LedgerFault::EntryTooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Reads a leaf back; it must be in canonical form.
pub(crate) fn parse_leaf(bytes: &[u8], index: u64) -> Result<Entry, LedgerFault> {
    let leaf: Leaf = canonical::from_slice(bytes)
        .ok()
        .filter(|leaf: &Leaf| leaf.v == FORMAT)
        .ok_or(LedgerFault::Unreadable { index: Some(index) })?;
    Ok(leaf.entry)
}

/// 16 bytes of HMAC over the log's name and the index: distinct for each leaf, and the same for
/// whoever writes the same entry at the same place.
pub(crate) fn blind(key: &[u8; 32], log: &str, index: u64) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(&u32::try_from(log.len()).unwrap_or(u32::MAX).to_be_bytes());
    context.update(log.as_bytes());
    context.update(&index.to_be_bytes());
    hex(context.sign().as_ref().get(..16).unwrap_or_default())
}

/// What recovery needs of a leaf; cheaper than the whole, and true for kinds of later versions.
pub(crate) enum Outline {
    Intent,
    Reserve,
    Computed { of: u64 },
    Committed { of: u64 },
    Void { of: u64 },
    Other,
}

pub(crate) fn outline(bytes: &[u8], index: u64) -> Result<Outline, LedgerFault> {
    #[derive(Deserialize)]
    struct Head<'a> {
        v: u32,
        kind: &'a str,
    }
    #[derive(Deserialize)]
    struct Outcome {
        body: Of,
    }
    #[derive(Deserialize)]
    struct Of {
        #[serde(with = "text_u64")]
        of: u64,
    }
    let unreadable = || LedgerFault::Unreadable { index: Some(index) };
    let head: Head<'_> = serde_json::from_slice(bytes).map_err(|_| unreadable())?;
    if head.v != FORMAT {
        return Err(unreadable());
    }
    let of =
        || serde_json::from_slice::<Outcome>(bytes).map(|o| o.body.of).map_err(|_| unreadable());
    Ok(match head.kind {
        "INTENT" => Outline::Intent,
        "RESERVE" => Outline::Reserve,
        "COMPUTED" => Outline::Computed { of: of()? },
        "COMMITTED" => Outline::Committed { of: of()? },
        "VOID" => Outline::Void { of: of()? },
        _ => Outline::Other,
    })
}

/// Splits a long list of refusals off an intent.
pub(crate) fn split_refusals(intent: &Intent) -> (Vec<Entry>, Intent) {
    let size = |r: &RefusedEntry| r.topic.len() + r.code.len() + 80;
    let mut rest = Intent { refused_before: 0, ..intent.clone() };
    if rest.refused.iter().map(size).sum::<usize>() <= REFUSED_BYTES_MAX {
        return (Vec::new(), rest);
    }
    let mut entries = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for refused in std::mem::take(&mut rest.refused) {
        if bytes + size(&refused) > 2 * REFUSED_BYTES_MAX {
            entries.push(Entry::Refused { refused: std::mem::take(&mut part) });
            bytes = 0;
        }
        bytes += size(&refused);
        part.push(refused);
    }
    entries.push(Entry::Refused { refused: part });
    rest.refused_before = entries.len() as u64;
    (entries, rest)
}

#[cfg(test)]
mod tests;
