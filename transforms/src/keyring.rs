//! The keys of one place, as a value. Where they live is the business of `pipelines`.

use douane_schemas::keys::{Key, KeyId, Purpose, RootKey};

/// Derives the keys that stages need, per purpose and token domain.
#[derive(Clone, Debug)]
pub struct Keyring {
    root: RootKey,
}

impl Keyring {
    /// All keys of the ring follow from `root` and live as long as it does.
    pub fn new(root: &RootKey) -> Self {
        Self { root: root.clone() }
    }

    /// The key of one domain for one purpose: `RootKey::derive(purpose, domain)`.
    pub fn key(&self, purpose: Purpose, domain: &str) -> Key {
        self.root.derive(purpose, domain)
    }

    /// The number of the active key of one domain, from 1: reversible tokens carry it.
    pub fn version(&self, _purpose: Purpose, _domain: &str) -> u32 {
        1
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
}
