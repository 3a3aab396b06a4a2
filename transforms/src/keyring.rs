//! The keys of one place, as a value. Where they live is the business of `pipelines`.

use std::collections::BTreeMap;
use std::sync::Arc;

use douane_schemas::keys::{Key, KeyId, Purpose, RootKey};

use crate::subjects::SubjectKeys;

/// Gives stages the keys that they need, per purpose and token domain.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// What domains follow from that no version was ever recorded for.
    root: RootKey,
    domains: BTreeMap<String, Versions>,
    /// None where there is no place for keys of single subjects.
    subjects: Option<Arc<dyn SubjectKeys>>,
}

/// The versions of one domain's keys that may be used at this moment. There is always one.
#[derive(Clone, Debug)]
pub struct Versions {
    active: Version,
    /// Only for reading back.
    older: Vec<Version>,
    /// The root of the first version: subjects keep their names whatever is rotated.
    first: RootKey,
}

#[derive(Clone, Debug)]
struct Version {
    number: u32,
    root: RootKey,
}

impl Versions {
    /// The version that new values are protected under.
    pub fn active(number: u32, root: RootKey) -> Self {
        let first = root.clone();
        Self { active: Version { number, root }, older: Vec::new(), first }
    }

    /// The root that the first version followed from, where that is another.
    pub fn since(self, first: RootKey) -> Self {
        Self { first, ..self }
    }

    /// A version that is read back until its date.
    pub fn and_older(mut self, number: u32, root: RootKey) -> Self {
        self.older.push(Version { number, root });
        self
    }

    fn all(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.active).chain(&self.older)
    }
}

impl Version {
    fn key(&self, purpose: Purpose, domain: &str) -> Key {
        self.root.derive_version(purpose, domain, self.number)
    }
}

impl Keyring {
    /// All keys of the ring follow from `root` and live as long as it does, in version 1.
    pub fn new(root: &RootKey) -> Self {
        Self::with_versions(root, BTreeMap::new())
    }

    /// As [`Keyring::new`], but for the domains that are named.
    pub fn with_versions(root: &RootKey, domains: BTreeMap<String, Versions>) -> Self {
        Self { root: root.clone(), domains, subjects: None }
    }

    /// As it is, with a place for keys of single subjects.
    pub fn with_subjects(self, subjects: Arc<dyn SubjectKeys>) -> Self {
        Self { subjects: Some(subjects), ..self }
    }

    /// Keys of single subjects.
    pub fn subjects(&self) -> Option<&Arc<dyn SubjectKeys>> {
        self.subjects.as_ref()
    }

    /// The key that names a domain's subjects, the same for all its versions.
    pub fn subject_namer(&self, domain: &str) -> Key {
        let root = self.domains.get(domain).map_or(&self.root, |versions| &versions.first);
        root.derive(Purpose::SubjectId, domain)
    }

    /// The key of one domain for one purpose: of its active version.
    pub fn key(&self, purpose: Purpose, domain: &str) -> Key {
        match self.domains.get(domain) {
            Some(versions) => versions.active.key(purpose, domain),
            None => self.root.derive(purpose, domain),
        }
    }

    /// The number of the active version, from 1: reversible tokens carry it. All purposes of a domain
    /// are rotated together.
    pub fn version(&self, _purpose: Purpose, domain: &str) -> u32 {
        self.domains.get(domain).map_or(1, |versions| versions.active.number)
    }

    /// The key of a version, for reading back: the active one, or one whose date is not over.
    /// `None`: it never was, or it is retired.
    pub fn key_of_version(&self, purpose: Purpose, domain: &str, number: u32) -> Option<Key> {
        match self.domains.get(domain) {
            Some(versions) => versions
                .all()
                .find(|version| version.number == number)
                .map(|version| version.key(purpose, domain)),
            None => (number == 1).then(|| self.root.derive(purpose, domain)),
        }
    }

    /// Numbers of the versions that may be read back, the active one first.
    pub fn versions(&self, domain: &str) -> Vec<u32> {
        match self.domains.get(domain) {
            Some(versions) => versions.all().map(|version| version.number).collect(),
            None => vec![1],
        }
    }

    /// Ids of the keys that a plan declares, in the given order: for manifests and `keys status`.
    pub fn ids(&self, keys: &[(Purpose, String)]) -> Vec<KeyId> {
        keys.iter().map(|(purpose, domain)| self.key(*purpose, domain).id()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_root_shows_in_every_id() {
        let wanted = [(Purpose::TokenHmac, "a".to_owned()), (Purpose::Ff1, "a".to_owned())];
        let one = Keyring::new(&RootKey::new([1; 32])).ids(&wanted);
        let two = Keyring::new(&RootKey::new([2; 32])).ids(&wanted);
        assert_ne!(one[0], one[1]);
        assert!(one.iter().zip(&two).all(|(a, b)| a != b));
    }

    #[test]
    fn a_rotated_domain_has_new_keys_and_reads_old_ones_until_they_are_left_out() {
        let (one, two) = (RootKey::new([1; 32]), RootKey::new([2; 32]));
        let siv = Purpose::TokenSiv;
        let rotated = Versions::active(3, two.clone()).and_older(2, one.clone());
        let ring = Keyring::with_versions(&two, BTreeMap::from([("a".to_owned(), rotated)]));
        assert_eq!(ring.version(siv, "a"), 3);
        assert_eq!(ring.key(siv, "a").id(), two.derive_version(siv, "a", 3).id());
        let read = |number| ring.key_of_version(siv, "a", number).map(|key| key.id());
        assert_eq!(read(3), Some(ring.key(siv, "a").id()));
        assert_eq!(read(2), Some(one.derive_version(siv, "a", 2).id()));
        assert_eq!((read(1), read(4)), (None, None), "retired, and never made");
        assert_eq!(ring.versions("a"), [3, 2]);
        // A domain that was never rotated is as it always was.
        assert_eq!(ring.version(siv, "b"), 1);
        assert_eq!(ring.key(siv, "b").id(), two.derive(siv, "b").id());
        assert!(ring.key_of_version(siv, "b", 2).is_none());
    }
}
