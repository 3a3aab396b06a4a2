//! A home is opened again before the old wrapping key goes: what it cannot do is no store's end.

use douane_schemas::secret::Secret;

use super::wrapping::{Remains, WrappingKey, secret_of};
use super::*;

#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    /// What it wraps opens under any associated data.
    Unbound,
    /// What it wraps opens as something else.
    Another,
    /// What it wraps never opens.
    Forgets,
}

struct Flawed(WrappingFile, Flaw);

impl KeyStore for Flawed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn wrap(&self, key: WrappingKey<'_>, secret: &Secret, aad: &[u8]) -> Result<Vec<u8>, KeyFault> {
        match self.1 {
            Flaw::Unbound => self.0.wrap(key, secret, b""),
            _ => self.0.wrap(key, secret, aad),
        }
    }

    fn unwrap(&self, key: WrappingKey<'_>, wrapped: &[u8], aad: &[u8]) -> Result<Secret, KeyFault> {
        match self.1 {
            Flaw::None => self.0.unwrap(key, wrapped, aad),
            Flaw::Unbound => self.0.unwrap(key, wrapped, b""),
            Flaw::Another => self.0.unwrap(key, wrapped, aad).map(|_| secret_of(&[9; 32]).unwrap()),
            Flaw::Forgets => Err(KeyFault::NotWrappedHere { home: self.name() }),
        }
    }

    fn destroy(
        &self,
        key: WrappingKey<'_>,
        versions: &BTreeMap<u32, u64>,
    ) -> Result<Remains, KeyFault> {
        self.0.destroy(key, versions)
    }
}

#[test]
fn a_home_that_does_not_keep_what_it_is_given_wraps_no_store() {
    for flaw in [Flaw::Unbound, Flaw::Another, Flaw::Forgets, Flaw::None] {
        let dir = tempfile::tempdir().unwrap();
        let home = Flawed(WrappingFile::new(dir.path().join(WRAPPING)), flaw);
        let made = store::init(dir.path(), "eu-de", &home, "m", "c");
        assert_eq!(made.is_ok(), flaw == Flaw::None);
        assert_eq!(dir.path().join(STORE).exists(), flaw == Flaw::None);
        let fault = made.err();
        match flaw {
            Flaw::None => assert!(fault.is_none()),
            Flaw::Forgets => assert!(matches!(fault, Some(KeyFault::NotWrappedHere { .. }))),
            _ => assert!(matches!(fault, Some(KeyFault::Unfit { .. })), "{fault:?}"),
        }
    }
}

#[test]
fn a_rotation_to_a_home_that_does_not_keep_it_changes_nothing() {
    for flaw in [Flaw::Unbound, Flaw::Another, Flaw::Forgets, Flaw::None] {
        let dir = tempfile::tempdir().unwrap();
        let file = || WrappingFile::new(dir.path().join(WRAPPING));
        store::init(dir.path(), "eu-de", &file(), "m", "c").unwrap();
        let before = fs::read(dir.path().join(STORE)).unwrap();
        let mut opened = store::open(dir.path(), "eu-de", &file()).unwrap();
        assert_eq!(opened.rewrap(&Flawed(file(), flaw)).is_ok(), flaw == Flaw::None);
        assert_eq!(fs::read(dir.path().join(STORE)).unwrap(), before);
        store::open(dir.path(), "eu-de", &file()).unwrap();
    }
}
