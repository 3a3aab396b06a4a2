//! All that the broker knows, behind one lock. What is done under it is short: batches are checked before and copied out
//! after.

use std::collections::HashMap;

use crate::groups::Groups;
use crate::topics::Topics;
use crate::transactions::Transaction;

pub(crate) struct State {
    pub topics: Topics,
    /// By transactional id.
    pub transactions: HashMap<String, Transaction>,
    pub groups: Groups,
    /// The next producer's id.
    pub producers: i64,
    /// What all logs hold.
    pub bytes: usize,
}

impl State {
    pub(crate) fn new(topics: Topics) -> Self {
        Self {
            topics,
            transactions: HashMap::new(),
            groups: Groups::default(),
            producers: 0,
            bytes: 0,
        }
    }
}
