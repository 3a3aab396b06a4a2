//! The log of calls that were to change something: who, when in the order of things, what, and what
//! became of it. One process of a place holds it.

use douane_ledger::canonical;
use douane_ledger::log::{Entry, LedgerFault, Log};

use crate::config::Place;
use crate::fault::RunFault;
use crate::key_home::KeyHome;
use crate::keys;
use crate::names::{CALLS_HOME, checkpoint_origin, ledger_home};

/// The log of a service that is alone.
const LOG: &str = "control";

/// A call as the log has it.
pub struct Call<'a> {
    /// A name from the file of tokens, or `anonymous`.
    pub by: &'a str,
    pub method: &'a str,
    /// With its parameters' names.
    pub route: &'a str,
    pub connector: Option<&'a str>,
    pub body: &'a [u8],
}

/// The log of calls, held.
pub struct Calls {
    log: Log,
    /// Its name.
    name: String,
    keys: KeyHome,
}

impl Calls {
    /// # Errors
    /// The place's keys cannot be opened, or another process holds the log.
    pub fn open(place: &Place) -> Result<Self, RunFault> {
        let keys = keys::open(place)?;
        let home = ledger_home(&place.ledger_dir, CALLS_HOME);
        // Each worker of a group has its own: what it was asked, it tells.
        let group = place.serve.group.as_ref();
        let name = group.map_or(LOG.to_owned(), |group| format!("worker-{}", group.worker));
        let log = Log::control(&home, &name, keys.log_keys(CALLS_HOME)).map_err(|fault| {
            let LedgerFault::Locked { .. } = fault else { return fault.into() };
            let lock = home.join(&name).join("lock");
            let next = match group {
                Some(_) => "give each worker of the group a `worker` of its own (`serve.group`)",
                None => "end that one: one service runs a place (`fuser` with that file names it)",
            };
            RunFault::Served { lock, next }
        })?;
        Ok(Self { log, name, keys })
    }

    /// Durable on return. Crash after it: a call without an answer, of which it is not known
    /// whether it was done.
    pub fn called(&mut self, call: &Call<'_>) -> Result<u64, LedgerFault> {
        let index = self.log.next_index();
        self.log.append(&Entry::Called {
            by: call.by.to_owned(),
            method: call.method.to_owned(),
            route: call.route.to_owned(),
            connector: call.connector.map(str::to_owned),
            body: (!call.body.is_empty()).then(|| canonical::sha256_hex(call.body)),
        })?;
        self.log.sync()?;
        Ok(index)
    }

    /// Durable with the next call, or with the checkpoint.
    pub fn answered(&mut self, of: u64, status: u16) -> Result<(), LedgerFault> {
        self.log.append(&Entry::Answered { of, status }).map(|_| ())
    }

    /// A signed checkpoint over all of it.
    pub fn publish(&mut self) -> Result<(), LedgerFault> {
        let size = self.log.sync()?.size;
        self.log.publish(size, self.keys.checkpoint(), &checkpoint_origin(CALLS_HOME, &self.name))
    }
}
