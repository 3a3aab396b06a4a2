use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::key_home::Protects;

const PLACE: &str = "
clusters:
  sovereign: { zone: eu-de, id: sovereign-id, bootstrap: 'a:9092' }
  global: { zone: global, id: global-id, bootstrap: 'b:9092', topic_prefix: '' }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 1
";

/// A place whose domain `a` is in use.
struct Yard {
    _dir: TempDir,
    yaml: PathBuf,
    place: Place,
}

impl Yard {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let yaml = dir.path().join("douane.yaml");
        fs::write(&yaml, PLACE).unwrap();
        let place = config::load_place(&yaml).unwrap();
        KeyHome::init(&place.keys)
            .unwrap()
            .register("p", &[Protects::columns("a", false)])
            .unwrap();
        Self { _dir: dir, yaml, place }
    }

    /// What a backup of the key folder holds.
    fn copy(&self) -> [(PathBuf, Vec<u8>); 2] {
        [self.place.keys.store(), self.place.keys.dir.join("wrapping.key")].map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
    }

    fn rotate(&self, what: &What) {
        rotate(&self.yaml, what).unwrap();
    }
}

fn put_back(copy: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in copy {
        fs::write(path, bytes).unwrap();
    }
}

fn domain() -> What {
    What::Domain { domain: "a".into(), overlap: Duration::from_secs(60) }
}

#[test]
fn an_old_store_put_back_is_refused_whatever_was_rotated_since() {
    for what in [What::Root, domain(), What::Wrapping] {
        let yard = Yard::new();
        let old = yard.copy();
        yard.rotate(&what);
        let new = yard.copy();
        status(&yard.yaml).unwrap();
        put_back(&old);
        for said in [status(&yard.yaml).err(), rotate(&yard.yaml, &domain()).err()] {
            let fault = said.unwrap_or_else(|| panic!("{what:?}: it was taken"));
            assert_eq!((fault.code(), fault.exit_code()), ("key_store_rolled_back", 2), "{fault}");
            assert!(fault.to_string().contains("\n  next: "), "{fault}");
        }
        // The control: the newest one.
        put_back(&new);
        yard.rotate(&domain());
    }
}

#[test]
fn a_rotation_that_a_crash_kept_out_of_the_store_stops_nothing() {
    let yard = Yard::new();
    let before = yard.copy();
    let crash = |rotation: Rotation| {
        let home = open(&yard.place).unwrap();
        let mut book = Book::open(&yard.place, &home).unwrap();
        book.write(&rotation.changed.iter().map(rotated).collect::<Vec<_>>()).unwrap();
    };
    crash(key_home::rotate_root(&yard.place.keys).unwrap());
    status(&yard.yaml).unwrap();
    crash(key_home::rotate_domain(&yard.place.keys, "a", Duration::ZERO).unwrap());
    status(&yard.yaml).unwrap();
    // What is published over it does not make it a rotation that came to pass.
    yard.rotate(&What::Wrapping);
    status(&yard.yaml).unwrap();
    yard.rotate(&What::Root);
    yard.rotate(&domain());
    let status = status(&yard.yaml).unwrap();
    assert_eq!((status.roots.len(), status.domains[0].versions.len()), (2, 2));
    put_back(&before);
    assert_eq!(super::status(&yard.yaml).unwrap_err().code(), "key_store_rolled_back");
}

#[test]
fn a_log_that_ends_before_its_checkpoint_is_refused() {
    let yard = Yard::new();
    yard.rotate(&What::Root);
    let journals = yard.place.ledger_dir.join(KEYS_HOME).join(LOG).join("journals");
    fs::remove_dir_all(&journals).unwrap();
    let fault = status(&yard.yaml).unwrap_err();
    assert_eq!(fault.code(), "key_store_rolled_back", "{fault}");
}

#[test]
fn who_wants_the_book_waits_for_who_has_it_and_not_for_ever() {
    let yard = Yard::new();
    let home = open(&yard.place).unwrap();
    let held = Book::open(&yard.place, &home).unwrap();
    let short = Duration::from_millis(120);
    let began = Instant::now();
    let fault = Book::open_within(&yard.place, &home, short).err().unwrap();
    assert!(began.elapsed() >= short);
    assert!(matches!(fault, RunFault::Ledger(LedgerFault::Locked { .. })), "{fault}");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| yard.rotate(&domain()));
        Stop::new(&AtomicBool::new(false)).rest(short);
        assert!(!other.is_finished(), "it did not wait");
        drop(held);
        other.join().unwrap();
    });
}
