//! Keys of single subjects: a domain with `key_per` has a random key for each value of another leaf
//! of the same record. Such a key can be destroyed alone. Where keys live is the business of
//! `pipelines`; here a subject is a name that nobody can read.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use douane_schemas::canonical;
use douane_schemas::keys::Key;
use douane_schemas::tuple::Tuple;

use crate::fault::TransformFault;
use crate::hmac::Hmac;

/// First 16 bytes of HMAC-SHA-256(the domain's key for names, tuple(domain name, the subject's
/// canonical text)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectId(pub [u8; 16]);

/// It stands for a person.
impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectId")
    }
}

/// What is known of a subject.
pub enum Subject<'a> {
    /// Its key, for the time of a call.
    Key(&'a [u8; 32]),
    /// Its keys were destroyed, and it gets no other.
    Shredded,
}

/// The keys cannot be read or made at this moment; who keeps them knows why. No cell is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys of single subjects cannot be read or made")]
pub struct KeysAway;

/// Where keys of single subjects come from.
pub trait SubjectKeys: fmt::Debug + Send + Sync {
    /// Calls `each` once for each subject, with its place in `subjects`, which are all different.
    /// A subject without a key gets one, and that is durable before the first call: who asks at the
    /// same time gets the same. Nothing is tried again.
    ///
    /// # Errors
    /// [`KeysAway`]; then `each` may have been called for some.
    fn keys(
        &self,
        domain: &str,
        version: u32,
        subjects: &[SubjectId],
        each: &mut dyn FnMut(usize, Subject<'_>),
    ) -> Result<(), KeysAway>;
}

/// Names the subjects of one domain.
pub struct Namer {
    key: Hmac,
    /// The tuple's first field.
    head: Vec<u8>,
}

impl Namer {
    /// `key` is [`crate::Keyring::subject_namer`]'s.
    pub fn new(key: &Key, domain: &str) -> Self {
        Self { key: Hmac::new(key.secret()), head: Tuple::new().text(domain).finish() }
    }

    /// The name of a subject by its canonical text.
    pub fn name(&self, subject: &str) -> SubjectId {
        let mut message = self.head.clone();
        message.extend_from_slice(&Tuple::new().text(subject).finish());
        let tag = self.key.tag(&mut message);
        let mut id = [0; 16];
        id.copy_from_slice(&tag[..16]);
        SubjectId(id)
    }

    /// The names of a column's subjects, none for null.
    ///
    /// # Errors
    /// [`TransformFault::OutOfRange`] for a subject without a canonical text.
    pub(crate) fn names(&self, per: &ArrayRef) -> Result<Vec<Option<SubjectId>>, TransformFault> {
        if let Some(texts) = per.as_string_opt::<i32>() {
            return Ok(texts.iter().map(|text| text.map(|text| self.name(text))).collect());
        }
        let mut text = String::new();
        let name = |row| {
            if per.is_null(row) {
                return Ok(None);
            }
            text.clear();
            canonical::write(per, row, &mut text).map_err(|_| TransformFault::OutOfRange)?;
            Ok(Some(self.name(&text)))
        };
        (0..per.len()).map(name).collect()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use super::*;

    /// Keys in memory that follow from the names: for tests of what stages do with them.
    #[derive(Debug, Default)]
    pub struct InMemory {
        pub shredded: Mutex<Vec<SubjectId>>,
        pub made: Mutex<HashMap<(String, u32, [u8; 16]), [u8; 32]>>,
        pub away: std::sync::atomic::AtomicBool,
    }

    impl SubjectKeys for InMemory {
        fn keys(
            &self,
            domain: &str,
            version: u32,
            subjects: &[SubjectId],
            each: &mut dyn FnMut(usize, Subject<'_>),
        ) -> Result<(), KeysAway> {
            if self.away.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(KeysAway);
            }
            for (at, id) in subjects.iter().enumerate() {
                assert!(!subjects[..at].contains(id), "asked for a subject twice");
                if self.shredded.lock().unwrap().contains(id) {
                    each(at, Subject::Shredded);
                    continue;
                }
                let mut made = self.made.lock().unwrap();
                let next = made.len() as u8;
                let key = made
                    .entry((domain.to_owned(), version, id.0))
                    .or_insert_with(|| [next.wrapping_add(1); 32]);
                each(at, Subject::Key(key));
            }
            Ok(())
        }
    }
}
