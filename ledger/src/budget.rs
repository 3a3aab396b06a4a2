//! The account of an identity space: what releases of aggregates have cost the persons in it.
//!
//! One log for each identity space, `<home>/<space>/`, which outlives policies, pipelines, shards
//! and keys: whoever aggregates over the same persons charges the same account. What is spent and
//! what is left is derived by reading the log, never stored beside it.
//!
//! The entries, in the order of a release:
//!
//! | entry | durable before | if the process dies after it |
//! |---|---|---|
//! | OPEN: a policy and its caps | its first RESERVE | nothing is charged |
//! | RESERVE: what is read, and the charge | anything is computed | charged; the same spans give the same bytes: [`Account::computed`] again |
//! | COMPUTED: keyed digest of the sums, digest of the output | the first byte to the target | charged; the same bytes, sent again if the target does not have them |
//! | COMMITTED | – | nothing is left to do |
//! | VOID, in place of COMMITTED | – | the charge is kept: it is never given back |
//!
//! A process holds an account by a lock of the operating system, for as long as it has an
//! [`Account`]; each open journals under an id of its own ([`crate::log`]), so open it for the close
//! of a window, not for each entry.

use std::path::Path;

use aws_lc_rs::hmac;

use crate::canonical::hex;
use crate::log::{self, Entry, Head, Log, LogKeys, Receipt};
use crate::signing::SigningKey;

mod balance;
mod entry;
mod fault;

pub use balance::{Balance, Release, Spent, State};
pub use entry::{Caps, Computed, DELTA_UNIT_BITS, Level, Neighbours, Opening, RHO_UNIT_BITS};
pub use entry::{ReleaseId, Reserve, Window};
pub use fault::{BudgetFault, What};

/// The holder's end of an account.
pub struct Account {
    log: Log,
    balance: Balance,
    commit: hmac::Key,
    commit_id: String,
}

impl Account {
    /// Becomes the holder of the account of `space`, a token domain's name. `keys`: of the purposes
    /// `blind` and `ledger-commit`, of this account. `known`: the newest head that somebody kept, for
    /// example in the target's position: an older copy of the account, which has forgotten charges,
    /// is refused.
    ///
    /// # Errors
    /// [`BudgetFault::Ledger`] with [`crate::log::LedgerFault::Locked`] while another process holds
    /// it (try again), with [`crate::log::LedgerFault::LedgerLost`] for an older copy (a typed stop:
    /// restore the ledger); [`BudgetFault::Contradiction`] for a log that this could not have written.
    pub fn open(
        home: &Path,
        space: &str,
        keys: LogKeys,
        known: Option<&Head>,
    ) -> Result<Self, BudgetFault> {
        let commit = hmac::Key::new(hmac::HMAC_SHA256, keys.commit());
        let log = Log::control_extending(home, space, known, keys)?;
        // Under the lock: nobody appends between this and the end of the account.
        let balance = read(home, space)?;
        let id = hmac::sign(&commit, KEY_ID_LABEL);
        let commit_id = hex(id.as_ref().get(..16).unwrap_or_default());
        Ok(Self { log, balance, commit, commit_id })
    }

    /// What is spent, by whom, and what is left.
    pub fn balance(&self) -> &Balance {
        &self.balance
    }

    /// The durable head: what the target's position may keep, as `known` of the next
    /// [`Account::open`].
    pub fn head(&self) -> Head {
        self.log.head()
    }

    /// Puts a policy in force, in place of the one of that name before it; durable on return. Nothing
    /// is written where it is in force already. **Every policy's caps bind every release of the
    /// account**: a new policy brings no fresh budget, and a cap is raised only by a new opening of
    /// the policy that has it.
    ///
    /// # Errors
    /// [`BudgetFault::Invalid`], [`BudgetFault::OtherSpace`], [`BudgetFault::Ledger`].
    pub fn open_policy(&mut self, opening: &Opening) -> Result<(), BudgetFault> {
        if self.balance.policy(&opening.policy) == Some(opening) {
            return Ok(());
        }
        self.write(Entry::Open(opening.clone())).map(drop)
    }

    /// Charges a release, durably: only now may it be computed. The charge is never given back.
    ///
    /// # Errors
    /// [`BudgetFault::Full`]: nothing may be computed before the time it names;
    /// [`BudgetFault::Exists`]: go on with the one that [`Balance::release`] gives, from its own
    /// spans, or stop; [`BudgetFault::NotInForce`], [`BudgetFault::Invalid`],
    /// [`BudgetFault::Ledger`].
    pub fn reserve(&mut self, reserve: &Reserve) -> Result<Receipt, BudgetFault> {
        self.write(Entry::Reserve(reserve.clone()))
    }

    /// Binds a release to its sums and its output, durably: only now may a byte of it be sent. `f`:
    /// the canonical bytes of the sums before noise, of which only a keyed digest is kept; `output`:
    /// SHA-256 of what is sent. Nothing is written where the same stands there already.
    ///
    /// # Errors
    /// [`BudgetFault::Differs`]: the release was computed before, to other bytes: nothing may be
    /// sent, [`Account::void`] it or stop. [`BudgetFault::Unknown`], [`BudgetFault::Over`],
    /// [`BudgetFault::Ledger`].
    pub fn computed(
        &mut self,
        release: &ReleaseId,
        f: &[u8],
        output: &[u8; 32],
    ) -> Result<(), BudgetFault> {
        let of = self.balance.find(release)?.index;
        let computed = Computed {
            of,
            sums: hex(&self.mac_of_sums(release, f)),
            commit_key: self.commit_id.clone(),
            output: hex(output),
        };
        if self.balance.find(release)?.computed() == Some(&computed) {
            return Ok(());
        }
        self.write(Entry::Computed(computed)).map(drop)
    }

    /// The release is in the target; durable on return. Nothing is written where that is known.
    ///
    /// # Errors
    /// [`BudgetFault::Unknown`], [`BudgetFault::NotComputed`], [`BudgetFault::Over`],
    /// [`BudgetFault::Ledger`].
    pub fn committed(&mut self, release: &ReleaseId) -> Result<(), BudgetFault> {
        let found = self.balance.find(release)?;
        if matches!(found.state, State::Committed(_)) {
            return Ok(());
        }
        let of = found.index;
        self.write(Entry::Committed { of }).map(drop)
    }

    /// The release will never be in the target; durable on return. Its charge is kept, and its id is
    /// used up: what is tried again has the next revision, and a charge of its own.
    ///
    /// # Errors
    /// [`BudgetFault::Unknown`], [`BudgetFault::Over`], [`BudgetFault::Ledger`].
    pub fn void(&mut self, release: &ReleaseId, why: &str) -> Result<(), BudgetFault> {
        let of = self.balance.find(release)?.index;
        self.write(Entry::Void { of, why: why.to_owned() }).map(drop)
    }

    /// HMAC-SHA-256 under the key of `ledger-commit`: whoever has the ledger and the noised release,
    /// but not the key, cannot find the sums by trying the ones near it.
    pub fn mac_of_sums(&self, release: &ReleaseId, f: &[u8]) -> [u8; 32] {
        let mut mac = Mac(hmac::Context::with_key(&self.commit));
        mac.field(b't', SUMS_LABEL);
        mac.field(b't', release.policy.as_bytes());
        mac.field(b'i', &release.window.start_ms.to_be_bytes());
        mac.field(b'i', &release.window.end_ms.to_be_bytes());
        mac.field(b't', release.query.as_bytes());
        mac.field(b'u', &u64::from(release.revision).to_be_bytes());
        mac.field(b'b', f);
        mac.finish()
    }

    /// Publishes tiles and a signed checkpoint of everything durable ([`Log::publish`]).
    ///
    /// # Errors
    /// The account stays usable: publishing is tried again later.
    pub fn publish(&mut self, signer: &SigningKey, origin: &str) -> Result<(), BudgetFault> {
        Ok(self.log.publish(u64::MAX, signer, origin)?)
    }

    /// Checks, appends, makes durable; only then it counts.
    fn write(&mut self, entry: Entry) -> Result<Receipt, BudgetFault> {
        self.balance.check(&entry)?;
        let receipt = self.log.append(&entry)?;
        self.log.sync()?;
        self.balance.take(receipt.index, entry)?;
        Ok(receipt)
    }
}

/// Starts the tuple that the sums' digest is over.
const SUMS_LABEL: &[u8] = b"douane/v1/dp-sums";
/// Starts the tuple that the digest of what was read is over.
const CHAIN_LABEL: &[u8] = b"douane/v1/dp-input";
/// What a key's id is the MAC of (docs/formats.md, Keys).
const KEY_ID_LABEL: &[u8] = b"douane/v1/key-id";

/// The digest of what was read of one source partition, kept from record to record, from zeros on:
/// HMAC-SHA-256 under the key of `ledger-commit`, over a tuple of the digest before, the offset, the
/// key and the value (an absent one has the type `n` and no bytes). It is kept where the position
/// is, and goes on after a crash.
pub fn chain(
    key: &[u8; 32],
    before: &[u8; 32],
    offset: i64,
    record: (Option<&[u8]>, Option<&[u8]>),
) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut mac = Mac(hmac::Context::with_key(&key));
    mac.field(b't', CHAIN_LABEL);
    mac.field(b'b', before);
    mac.field(b'i', &offset.to_be_bytes());
    for part in [record.0, record.1] {
        mac.field(if part.is_some() { b'b' } else { b'n' }, part.unwrap_or_default());
    }
    mac.finish()
}

/// A MAC over a tuple (docs/formats.md) whose bytes stand nowhere together.
struct Mac(hmac::Context);

impl Mac {
    fn field(&mut self, kind: u8, bytes: &[u8]) {
        // Records, names and sums are far below 4 GiB.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.update(&[kind]);
        self.0.update(&length.to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        let mut mac = [0; 32];
        mac.copy_from_slice(self.0.sign().as_ref());
        mac
    }
}

/// The balance of an account that somebody else may hold. An account that nobody opened is empty.
///
/// # Errors
/// [`BudgetFault::Ledger`]; [`BudgetFault::Contradiction`] for a log that an account cannot have.
pub fn read(home: &Path, space: &str) -> Result<Balance, BudgetFault> {
    let mut balance = Balance::new(space);
    if !home.join(space).join("journals").is_dir() {
        return Ok(balance);
    }
    for (index, entry) in log::read(home, space, None)? {
        balance.check(&entry).map_err(|_| BudgetFault::Contradiction { index })?;
        balance.take(index, entry)?;
    }
    Ok(balance)
}

#[cfg(test)]
mod tests;
