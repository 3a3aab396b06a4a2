//! Against SoftHSM2, which `tests/run` installs. A test makes a token of its own and runs itself
//! again as a process that sees that token only: the module reads where tokens are once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use douane_ledger::dsse::Envelope;
use douane_ledger::signing::VerifyingKey;

use super::super::wrapping::{replace, secret_of};
use super::super::{Home, KeyHome, KeysPlace, Protects, rotate_wrapping};
use super::*;
use crate::config::Retention;
use crate::signer::Signer;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "7301-4421";
const INSIDE: &str = "DOUANE_TEST_TOKEN";

/// Runs `work` where a token `douane` is; `name` is the test's own.
fn with_token(name: &str, work: impl FnOnce(&Path)) {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return work(&PathBuf::from(dir));
    }
    assert!(Path::new(MODULE).exists(), "{MODULE} is missing: install the package softhsm2");
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("softhsm2.conf");
    std::fs::create_dir(dir.path().join("tokens")).unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    replace(&dir.path().join("pin"), 0o600, PIN.as_bytes()).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "douane", "--pin", PIN, "--so-pin", "123456"])
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .expect("softhsm2-util starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let test = format!("key_home::pkcs11::tests::{name}");
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([test.as_str(), "--exact", "--nocapture"])
        .env("SOFTHSM2_CONF", &conf)
        .env(INSIDE, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

fn key(generation: u32) -> WrappingKey<'static> {
    WrappingKey { store: "00112233445566778899aabbccddeeff", generation }
}

fn config(dir: &Path) -> Pkcs11Home {
    Pkcs11Home {
        module: MODULE.into(),
        token_label: "douane".into(),
        pin_file: dir.join("pin"),
        key_label: "douane-wrapping".into(),
    }
}

fn token(dir: &Path) -> Token {
    Token::new(config(dir), Duration::from_secs(300))
}

fn place(dir: &Path) -> KeysPlace {
    let home = Home::Pkcs11 { token: config(dir), lease: Duration::from_secs(300) };
    let quarantine = Retention::days(30, 180);
    KeysPlace { dir: dir.join("keys"), region: "eu-de".into(), locked: false, home, quarantine }
}

#[test]
fn a_token_wraps_and_opens_under_the_same_data_only() {
    with_token("a_token_wraps_and_opens_under_the_same_data_only", |dir| {
        let home = token(dir);
        let secret = secret_of(&[7; 32]).unwrap();
        let wrapped = home.wrap(key(1), &secret, b"a").unwrap();
        assert_eq!(home.unwrap(key(1), &wrapped, b"a").unwrap().bytes(), &[7; 32]);
        let not_here = |generation, wrapped: &[u8], aad: &[u8]| {
            let refused = home.unwrap(key(generation), wrapped, aad).err();
            assert!(!matches!(refused, None | Some(KeyFault::Refused { .. })));
        };
        not_here(1, &wrapped, b"b");
        not_here(2, &wrapped, b"a");
        not_here(1, &wrapped[..20], b"a");
        let mut flipped = wrapped.clone();
        *flipped.last_mut().unwrap() ^= 1;
        not_here(1, &flipped, b"a");
        // It goes on after each of these.
        assert_eq!(home.unwrap(key(1), &wrapped, b"a").unwrap().bytes(), &[7; 32]);
    });
}

/// Another process logs in: for that moment the token is not what it was.
#[test]
fn a_token_that_is_not_there_for_a_moment_is_waited_for() {
    with_token("a_token_that_is_not_there_for_a_moment_is_waited_for", |dir| {
        let home = token(dir);
        let wrapped = home.wrap(key(1), &secret_of(&[7; 32]).unwrap(), b"a").unwrap();
        let (tokens, aside) = (dir.join("tokens"), dir.join("aside"));
        let opens = || home.unwrap(key(1), &wrapped, b"a").map(|secret| secret.bytes().to_vec());
        std::fs::rename(&tokens, &aside).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(BETWEEN_LOOKS / 2);
                std::fs::rename(&aside, &tokens).unwrap();
            });
            assert_eq!(opens().unwrap(), [7; 32]);
        });
        std::fs::rename(&tokens, &aside).unwrap();
        assert!(matches!(opens(), Err(KeyFault::Away { .. })), "the control: it stays away");
        std::fs::rename(&aside, &tokens).unwrap();
        assert_eq!(opens().unwrap(), [7; 32]);
    });
}

#[test]
fn the_wrapping_key_is_not_extractable() {
    with_token("the_wrapping_key_is_not_extractable", |dir| {
        let home = token(dir);
        home.wrap(key(1), &secret_of(&[7; 32]).unwrap(), b"a").unwrap();
        let attributes = home
            .in_session(false, |session| {
                let key = home.find(session, key(1))?.ok_or(Trouble::NoKey)?;
                let wanted = [
                    cryptoki::object::AttributeType::Extractable,
                    cryptoki::object::AttributeType::Sensitive,
                    cryptoki::object::AttributeType::NeverExtractable,
                    cryptoki::object::AttributeType::Value,
                ];
                Ok(session.get_attributes(key, &wanted)?)
            })
            .unwrap();
        assert!(attributes.contains(&Attribute::Extractable(false)), "{attributes:?}");
        assert!(attributes.contains(&Attribute::Sensitive(true)), "{attributes:?}");
        assert!(attributes.contains(&Attribute::NeverExtractable(true)), "{attributes:?}");
        assert!(!attributes.iter().any(|a| matches!(a, Attribute::Value(_))), "its bytes came out");
    });
}

/// Shredding stands on this: what was wrapped under a destroyed key opens nowhere, also where the
/// old store is put back.
#[test]
fn a_restored_backup_of_the_store_does_not_open_after_the_key_was_destroyed() {
    with_token("a_restored_backup_of_the_store_does_not_open_after_the_key_was_destroyed", |dir| {
        let place = place(dir);
        let before = KeyHome::init(&place).unwrap();
        let backup = std::fs::read(place.store()).unwrap();
        let (generation, remains) = rotate_wrapping(&place, |_| Ok(())).unwrap();
        assert_eq!((generation, remains.is_final), (2, true));
        assert!(KeyHome::open(&place).unwrap().same_keys(&before));
        let now = std::fs::read(place.store()).unwrap();
        std::fs::write(place.store(), backup).unwrap();
        assert!(matches!(KeyHome::open(&place), Err(KeyFault::NotWrappedHere { .. })));
        // The control: the store of today opens.
        std::fs::write(place.store(), now).unwrap();
        KeyHome::open(&place).unwrap();
    });
}

#[test]
fn a_key_that_lies_there_is_taken_over_only_by_a_rotation_and_only_if_it_cannot_leave() {
    let name = "a_key_that_lies_there_is_taken_over_only_by_a_rotation_and_only_if_it_cannot_leave";
    with_token(name, |dir| {
        let (home, secret) = (token(dir), secret_of(&[7; 32]).unwrap());
        let plant = |generation, is_fit: bool| {
            let made = home.in_session(true, |session| {
                let mut template = home.template(key(generation))?;
                template.extend([
                    Attribute::Private(true),
                    Attribute::Sensitive(is_fit),
                    Attribute::Extractable(!is_fit),
                    Attribute::Encrypt(true),
                    Attribute::Decrypt(true),
                    Attribute::ValueLen(32.into()),
                ]);
                Ok(session.generate_key(&Mechanism::AesKeyGen, &template)?)
            });
            made.unwrap();
        };
        let refused = |generation| {
            let fault = home.wrap(key(generation), &secret, b"a").err();
            assert!(matches!(fault, Some(KeyFault::Refused { .. })), "{generation}: {fault:?}");
        };
        plant(1, true);
        refused(1);
        plant(2, true);
        home.wrap(key(2), &secret, b"a").unwrap();
        plant(3, false);
        refused(3);
        let elsewhere = WrappingKey { store: "no store", generation: 1 };
        assert!(home.wrap(elsewhere, &secret, b"a").is_err());
    });
}

/// A try that died may have left a hole: what lies before it goes all the same, or an old backup
/// would open though its destruction was called final.
#[test]
fn destroying_goes_on_past_a_key_that_is_gone() {
    with_token("destroying_goes_on_past_a_key_that_is_gone", |dir| {
        let (home, secret) = (token(dir), secret_of(&[7; 32]).unwrap());
        let wrapped = [1, 2, 3, 4].map(|g| home.wrap(key(g), &secret, b"a").unwrap());
        let hole = home.in_session(true, |session| {
            let second = home.find(session, key(2))?.ok_or(Trouble::NoKey)?;
            Ok(session.destroy_object(second)?)
        });
        hole.unwrap();
        assert!(home.destroy(key(3), &BTreeMap::new()).unwrap().is_final);
        for (generation, wrapped) in (1..=4).zip(&wrapped) {
            let opens = home.unwrap(key(generation), wrapped, b"a").is_ok();
            assert_eq!(opens, generation == 4, "{generation}");
        }
    });
}

/// Label and token are one: what one place destroys is its own.
#[test]
fn two_places_on_one_label_do_not_touch_each_other() {
    with_token("two_places_on_one_label_do_not_touch_each_other", |dir| {
        let one = place(dir);
        let other = KeysPlace { dir: dir.join("other"), ..one.clone() };
        for place in [&one, &other] {
            KeyHome::init(place).unwrap();
        }
        for _ in 0..2 {
            let (_, remains) = rotate_wrapping(&one, |_| Ok(())).unwrap();
            assert!(remains.is_final);
            KeyHome::open(&other).unwrap();
        }
        rotate_wrapping(&other, |_| Ok(())).unwrap();
        KeyHome::open(&one).unwrap();
        KeyHome::open(&other).unwrap();
    });
}

#[test]
fn a_module_that_anybody_could_have_put_there_is_not_loaded() {
    with_token("a_module_that_anybody_could_have_put_there_is_not_loaded", |dir| {
        let module = dir.join("module.so");
        std::fs::copy(MODULE, &module).unwrap();
        let loose = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&module, loose).unwrap();
        let home = Token::new(Pkcs11Home { module, ..config(dir) }, Duration::from_secs(300));
        let fault = home.wrap(key(1), &secret_of(&[7; 32]).unwrap(), b"a").err();
        assert!(matches!(fault, Some(KeyFault::Module { .. })), "{fault:?}");
    });
}

#[test]
fn a_token_that_goes_away_is_away_and_comes_back() {
    with_token("a_token_that_goes_away_is_away_and_comes_back", |dir| {
        let home = token(dir);
        let wrapped = home.wrap(key(1), &secret_of(&[7; 32]).unwrap(), b"a").unwrap();
        let (here, gone) = (dir.join("tokens"), dir.join("gone"));
        for _ in 0..3 {
            std::fs::rename(&here, &gone).unwrap();
            let away = home.unwrap(key(1), &wrapped, b"a").err();
            assert!(matches!(away, Some(KeyFault::Away { .. })), "{away:?}");
            std::fs::rename(&gone, &here).unwrap();
            assert_eq!(home.unwrap(key(1), &wrapped, b"a").unwrap().bytes(), &[7; 32]);
        }
    });
}

#[test]
fn a_refused_pin_is_not_tried_again() {
    with_token("a_refused_pin_is_not_tried_again", |dir| {
        let (good, home) = (token(dir), token(dir));
        let wrapped = good.wrap(key(1), &secret_of(&[7; 32]).unwrap(), b"a").unwrap();
        let pin = |pin: &str| replace(&dir.join("pin"), 0o600, pin.as_bytes()).unwrap();
        let refused = |home: &Token| {
            matches!(home.unwrap(key(1), &wrapped, b"a"), Err(KeyFault::Refused { .. }))
        };
        pin("0000-0000");
        assert!(refused(&home));
        // A mended one is.
        pin(PIN);
        home.unwrap(key(1), &wrapped, b"a").unwrap();
        // Now the refused one would be taken, and no look of this process tries it.
        let [old, new] = [PIN, "0000-0000"].map(|pin| AuthPin::from(pin.to_owned()));
        good.in_session(true, |session| Ok(session.set_pin(&old, &new)?)).unwrap();
        pin("0000-0000");
        assert!(refused(&home));
        assert!(refused(&token(dir)));
        let other = Pkcs11Home { token_label: "nobody".into(), ..config(dir) };
        let other = Token::new(other, Duration::from_secs(300));
        assert!(matches!(other.unwrap(key(1), &wrapped, b"a"), Err(KeyFault::Away { .. })));
    });
}

/// What is shredded stays so whoever put the whole key folder back: the key that wrapped it is no
/// longer in the token.
#[test]
fn a_shredded_subject_has_no_key_in_a_backup_that_is_put_back() {
    use douane_transforms::subjects::{Namer, Subject, SubjectKeys};

    use super::super::{Shred, shred};
    with_token("a_shredded_subject_has_no_key_in_a_backup_that_is_put_back", |dir| {
        let place = place(dir);
        let home = KeyHome::init(&place).unwrap();
        home.register("p", &[Protects::columns("a", false)]).unwrap();
        home.begin_subjects().unwrap();
        let home = KeyHome::open(&place).unwrap();
        let namer = Namer::new(&home.keyring().subject_namer("a"), "a");
        let ids: Vec<_> = ["1", "2", "3"].map(|subject| namer.name(subject)).into();
        let made = |home: &KeyHome| {
            let mut keys = vec![None; ids.len()];
            let each = &mut |at: usize, subject: Subject<'_>| {
                keys[at] = match subject {
                    Subject::Key(key) => Some(*key),
                    Subject::Shredded => None,
                };
            };
            home.subjects().unwrap().keys("a", 1, &ids, each).unwrap();
            keys
        };
        let before = made(&home);
        let files: Vec<_> = std::fs::read_dir(&place.dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect();
        let put_back = |files: &[(PathBuf, Vec<u8>)]| {
            for entry in std::fs::read_dir(&place.dir).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
            for (path, bytes) in files {
                replace(path, 0o600, bytes).unwrap();
            }
        };
        // The control: before the shredding a backup opens, and has the key.
        put_back(&files);
        assert_eq!(made(&KeyHome::open(&place).unwrap()), before);
        let done = shred(
            &place,
            Shred {
                domain: "a",
                subjects: &ids[1..2],
                intended: &mut |_, _| Ok(()),
                rotated: &mut |_| Ok(()),
                step: &|_| (),
            },
        )
        .unwrap();
        assert!(done.remains.is_final && done.key_ids.len() == 1, "{:?}", done.remains);
        let after = [before[0], None, before[2]];
        assert_eq!(made(&home), after, "a process that ran all the while");
        assert_eq!(made(&KeyHome::open(&place).unwrap()), after);
        let now: Vec<_> = std::fs::read_dir(&place.dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect();
        put_back(&files);
        let refused = KeyHome::open(&place).err();
        assert!(matches!(refused, Some(KeyFault::NotWrappedHere { .. })), "{refused:?}");
        put_back(&now);
        assert_eq!(made(&KeyHome::open(&place).unwrap()), after);
    });
}

#[test]
fn a_token_makes_a_persons_key_and_signs_with_it() {
    with_token("a_token_makes_a_persons_key_and_signs_with_it", |dir| {
        let home = |label: &str| Pkcs11Home { key_label: label.to_owned(), ..config(dir) };
        let (ada, out) = (home("ada"), dir.join("ada"));
        let written = TokenKey::make("ada", &ada, &out).unwrap();
        let line = std::fs::read_to_string(&written).unwrap();
        let key = VerifyingKey::parse(&line).unwrap();
        assert!(line.starts_with("ssh-ed25519 ") && line.ends_with(" ada\n"), "{line}");
        assert!(!out.exists(), "the private half is nowhere but in the token");
        let signer = Signer::Token(TokenKey::open(&ada).unwrap());
        assert_eq!(signer.verifying_key(), key);
        let mut envelope = Envelope::sign(b"{\"a\":1}", &[]);
        signer.sign(&mut envelope).unwrap();
        assert_eq!(envelope.verify(&[key]).unwrap().signers, [key]);
        // Nothing is made twice, and nobody signs with a key that is not there.
        assert!(matches!(TokenKey::make("ada", &ada, &out), Err(KeyFault::Exists(_))));
        let again = TokenKey::make("ada", &ada, &dir.join("other"));
        assert!(matches!(again, Err(KeyFault::Refused { .. })));
        assert!(matches!(TokenKey::open(&home("bo")), Err(KeyFault::Refused { .. })));
        assert!(matches!(TokenKey::make("Ada", &home("a"), &dir.join("a")), Err(KeyFault::Name)));
    });
}
