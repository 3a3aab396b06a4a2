//! Leaves as untyped JSON: canonical, known, each intent with one outcome, each reserve with at most
//! one and of an account that can be.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{HashableLeaf, RootHash};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::account::Account;
use super::frames::number;
use super::{Finding, Report};
use crate::manifest::Manifest;

const KINDS: [&str; 26] = [
    "INTENT",
    "COMMITTED",
    "VOID",
    "OPEN",
    "RESERVE",
    "COMPUTED",
    "REFUSED",
    "HELD",
    "RESUMED",
    "STRIPPED",
    "REDRIVEN",
    "APPROVED",
    "BUNDLED",
    "CLOSED",
    "REVOKED",
    "ROTATED",
    "SHREDDING",
    "SHREDDED",
    "EPOCH_ENDED",
    "DETOKENIZED",
    "REPLAYED",
    "CALLED",
    "ANSWERED",
    "LAYOUT",
    "LEASE",
    "RETURNED",
];

/// A leaf for `ct-merkle`'s tree, which hashes it once and would keep it for ever: it lets go of
/// its bytes when they were fed.
pub(super) struct Fed(RefCell<Vec<u8>>);

impl Fed {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(RefCell::new(bytes))
    }
}

impl HashableLeaf for Fed {
    fn hash<H: ct_merkle::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0.take());
    }
}

/// Whether the tree contains an older one of this size and root, by RFC 6962's consistency proof.
pub(super) fn consistent(tree: &MemoryBackedTree<Sha256, Fed>, size: u64, root: [u8; 32]) -> bool {
    let now = tree.root();
    match tree.len().checked_sub(size) {
        None => false,
        Some(0) => *now.as_bytes() == root,
        Some(_) if size == 0 => root == <[u8; 32]>::from(Sha256::digest(b"")),
        Some(more) => {
            let Ok(more) = usize::try_from(more) else {
                return false;
            };
            let proof = tree.prove_consistency(more);
            now.verify_consistency(&RootHash::new(root.into(), size), &proof).is_ok()
        }
    }
}

/// Follows the entries of the chain.
pub(super) struct Leaves {
    hashes: Vec<[u8; 32]>,
    open: Option<u64>,
    /// Reserves without outcome, and whether they were computed.
    reserved: HashMap<u64, bool>,
    account: Account,
    /// REFUSED entries directly before.
    refused: u64,
    void: HashSet<u64>,
    blinds: HashSet<[u8; 16]>,
    wanted: HashSet<[u8; 32]>,
    intents: HashMap<[u8; 32], (u64, Value)>,
}

impl Leaves {
    /// `wanted`: leaves whose content is needed later.
    pub(super) fn new(wanted: HashSet<[u8; 32]>) -> Self {
        Self {
            hashes: Vec::new(),
            open: None,
            reserved: HashMap::new(),
            account: Account::default(),
            refused: 0,
            void: HashSet::new(),
            blinds: HashSet::new(),
            wanted,
            intents: HashMap::new(),
        }
    }

    pub(super) fn see(&mut self, index: u64, payload: &[u8], report: &mut Report) {
        let hash = Sha256::new().chain_update([0]).chain_update(payload).finalize().into();
        self.hashes.push(hash);
        let value: Option<Value> = serde_json::from_slice(payload).ok();
        let value =
            value.filter(|v| serde_json_canonicalizer::to_vec(v).is_ok_and(|b| b == payload));
        let why = match value {
            None => Some("it is not canonical JSON"),
            Some(value) => self.check(index, hash, value, report),
        };
        report.findings.extend(why.map(|why| Finding::Entry { index, why }));
    }

    fn check(
        &mut self,
        index: u64,
        hash: [u8; 32],
        leaf: Value,
        report: &mut Report,
    ) -> Option<&'static str> {
        let kind = leaf.get("kind").and_then(Value::as_str).filter(|kind| KINDS.contains(kind));
        let Some(kind) = kind.filter(|_| leaf.get("v").and_then(Value::as_u64) == Some(1)) else {
            return Some("it is of a kind or version that this verifier does not know");
        };
        let blind = leaf.get("blind").and_then(Value::as_str);
        match blind.and_then(crate::canonical::hex_array::<16>) {
            Some(blind) if self.blinds.insert(blind) => {}
            Some(_) => return Some("its blind is that of another entry"),
            None => return Some("it has no blind of 128 bits"),
        }
        let before = std::mem::take(&mut self.refused);
        let body = leaf.get("body");
        let of = body.and_then(|body| body.get("of")).and_then(number);
        match kind {
            "INTENT" => {
                report.intents += 1;
                let claimed = body.and_then(|body| body.get("refused_before")).and_then(number);
                let open = self.open.replace(index);
                if self.wanted.contains(&hash) {
                    self.intents.insert(hash, (index, leaf));
                }
                if open.is_some() {
                    return Some("the intent before it has no outcome");
                }
                if claimed.is_none_or(|claimed| claimed > before) {
                    return Some("its REFUSED entries are not before it");
                }
            }
            "OPEN" => return self.account.open(body).err(),
            "RESERVE" => {
                self.reserved.insert(index, false);
                return self.account.reserve(body).err();
            }
            "COMPUTED" => match of.and_then(|of| self.reserved.get_mut(&of)) {
                Some(computed @ false) => *computed = true,
                _ => return Some("it is of no reserve, or of one that was computed before"),
            },
            "COMMITTED" | "VOID" if of.is_some_and(|of| self.reserved.contains_key(&of)) => {
                let computed = of.and_then(|of| self.reserved.remove(&of)).unwrap_or(false);
                if kind == "COMMITTED" && !computed {
                    return Some("it commits what was not computed");
                }
                match kind {
                    "VOID" => report.void += 1,
                    _ => report.committed += 1,
                }
            }
            "COMMITTED" | "VOID" => {
                if of.is_none() || self.open.take() != of {
                    return Some("it is the outcome of something that is not the open intent");
                }
                match kind {
                    "VOID" => {
                        report.void += 1;
                        self.void.extend(of);
                    }
                    _ => report.committed += 1,
                }
            }
            "REFUSED" => self.refused = before + 1,
            _ => {}
        }
        None
    }

    pub(super) fn open(&self) -> Option<u64> {
        self.open
    }

    pub(super) fn hashes(&self) -> &[[u8; 32]] {
        &self.hashes
    }

    pub(super) fn intent(&self, leaf: &[u8; 32]) -> Option<(u64, &Value)> {
        self.intents.get(leaf).map(|(index, value)| (*index, value))
    }

    pub(super) fn is_void(&self, index: u64) -> bool {
        self.void.contains(&index)
    }
}

/// The intent that a COMMITTED leaf is about.
pub(super) fn committed_of(leaf: &Value) -> Option<u64> {
    let committed = leaf.get("kind")?.as_str()? == "COMMITTED";
    committed.then(|| number(leaf.get("body")?.get("of")?)).flatten()
}

/// What a manifest says otherwise than the intent that it names.
pub(super) fn differs(manifest: &Manifest, leaf: &Value) -> Option<&'static str> {
    let Ok(said) = serde_json::to_value(manifest) else {
        return Some("it cannot be compared");
    };
    let body = leaf.get("body");
    let intent = |name: &str| body.and_then(|body| body.get(name));
    let pairs = [
        ("id", "manifest_id", "id"),
        ("release", "release", "release"),
        ("fingerprint", "fingerprint", "fingerprint"),
        ("salt", "salt", "salt"),
        ("subjects", "subjects", "subjects"),
        ("key_ids", "key_ids", "key ids"),
        ("schema_ids", "schema_ids", "schema ids"),
        ("target_partitions", "target_partitions", "target partitions"),
        ("partitioner", "partitioner", "partitioner"),
    ];
    let different = |(ours, theirs, _): &(&str, &str, &str)| {
        said.get(ours).is_none() || said.get(ours) != intent(theirs)
    };
    pairs.iter().find(|pair| different(pair)).map(|(_, _, name)| match *name {
        "id" => "its id differs from its intent's",
        "release" => "its release differs from its intent's",
        "fingerprint" => "its fingerprint differs from its intent's",
        "subjects" => "its subjects differ from its intent's",
        "salt" => "its salt differs from its intent's",
        _ => "its keys, schemas or partitions differ from its intent's",
    })
}
