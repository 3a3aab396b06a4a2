use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::Retention;

mod fitness;
#[cfg(target_os = "linux")]
mod memory;
mod quarantine;
mod subjects;

const STORE: &str = "store.json";
const WRAPPING: &str = "wrapping.key";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn keys(dir: &Path) -> KeysPlace {
    KeysPlace {
        dir: dir.to_owned(),
        region: "eu-de".into(),
        locked: false,
        home: Home::File { path: dir.join(WRAPPING) },
        quarantine: Retention::days(30, 180),
    }
}

#[test]
fn every_secret_stays_locked_where_the_place_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let asked = |locked, found: &[bool]| {
        let place = KeysPlace { locked, ..keys(dir.path()) };
        stay_locked(&place, found.iter().copied())
    };
    assert!(asked(true, &[true, true]).is_ok() && asked(true, &[]).is_ok());
    assert!(asked(false, &[true, false]).is_ok());
    assert!(matches!(asked(true, &[true, false]), Err(KeyFault::NotLocked)));
}

/// The keys that a stage takes, as their ids.
fn id(keys: &KeysPlace, domain: &str) -> String {
    KeyHome::open(keys).unwrap().keyring().key(Purpose::TokenSiv, domain).id().to_string()
}

#[test]
fn keys_are_made_once_and_read_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(&dir.path().join("a/keys"));
    let made = KeyHome::init(&place).unwrap();
    let read = KeyHome::open(&place).unwrap();
    assert_eq!(made.root().id(), read.root().id());
    assert_eq!(made.manifest_public(), read.manifest_public());
    assert_eq!(made.checkpoint().verifying_key(), read.checkpoint().verifying_key());
    assert!(made.same_keys(&read));
    assert_eq!(mode(&place.dir), 0o700);
    for name in [STORE, WRAPPING] {
        assert_eq!(mode(&place.dir.join(name)), 0o600, "{name}");
    }
    let public = fs::read_to_string(place.dir.join("manifest.key.pub")).unwrap();
    assert_eq!(VerifyingKey::parse(&public).unwrap(), made.manifest_public());
    let left: Vec<_> = fs::read_dir(&place.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
    let other = KeyHome::init(&keys(&dir.path().join("b"))).unwrap();
    assert_ne!(made.root().id(), other.root().id());
    assert!(!made.same_store(&other));
}

#[test]
fn init_bad_one_key_is_there() {
    for there in [STORE, WRAPPING, "manifest.key.pub", "checkpoint.key.pub"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(there), "old").unwrap();
        let refused = KeyHome::init(&keys(dir.path()));
        assert!(matches!(refused, Err(KeyFault::Exists(_))), "{there}");
        assert_eq!(fs::read_to_string(dir.path().join(there)).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else was written");
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join(STORE)).unwrap();
    assert!(matches!(KeyHome::init(&keys(dir.path())), Err(KeyFault::Exists(_))));
    // A race after the look: the link refuses.
    fs::write(dir.path().join("x"), "old").unwrap();
    assert!(matches!(create(&dir.path().join("x"), 0o600, b"new"), Err(KeyFault::Exists(_))));
    assert_eq!(fs::read_to_string(dir.path().join("x")).unwrap(), "old");
}

#[test]
fn init_that_fails_leaves_nothing_in_the_way_of_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passphrase");
    fs::write(&path, "correct horse battery\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let home = Home::Passphrase { path: path.clone() };
    let place = KeysPlace { home, ..keys(&dir.path().join("keys")) };
    assert!(matches!(KeyHome::init(&place), Err(KeyFault::Open { .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    KeyHome::init(&place).unwrap();
}

/// 0440 of root's for the group of the process: a secret that Kubernetes mounts with `fsGroup`.
#[test]
fn a_secret_that_is_handed_over_is_private_and_what_others_can_read_is_not() {
    const OWN: u32 = 65532;
    const BESIDE: u32 = 2000;
    for (mode, of, private) in [
        (0o600, (OWN, OWN), true),
        (0o400, (0, 0), true),
        (0o440, (0, OWN), true),
        (0o440, (0, BESIDE), true),
        (0o440, (0, 100), false),
        (0o440, (1000, OWN), false),
        (0o460, (0, OWN), false),
        (0o444, (0, OWN), false),
    ] {
        assert_eq!(is_private(mode, of, &[BESIDE, OWN]), private, "{mode:o} of {of:?}");
    }
    // Root's own group is many a process's.
    assert!(!is_private(0o440, (0, 0), &[0]));
}

#[test]
fn open_bad_rights_bad_bytes_bad_missing() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &str); 8] = [
        ("missing", |p| fs::remove_file(p).unwrap(), "no key here"),
        (
            "group may read",
            |p| fs::set_permissions(p, fs::Permissions::from_mode(0o640)).unwrap(),
            "others than its owner",
        ),
        (
            "others may write",
            |p| fs::set_permissions(p, fs::Permissions::from_mode(0o602)).unwrap(),
            "others than its owner",
        ),
        ("empty", |p| File::options().write(true).open(p).unwrap().set_len(0).unwrap(), "not a"),
        ("cut", |p| File::options().write(true).open(p).unwrap().set_len(50).unwrap(), "not a"),
        ("not text", |p| fs::write(p, [0xff; 64]).unwrap(), "not a"),
        ("long", |p| fs::write(p, vec![b'a'; 1 << 20]).unwrap(), "not a"),
        (
            "a folder",
            |p| {
                fs::remove_file(p).unwrap();
                fs::create_dir(p).unwrap();
                fs::set_permissions(p, fs::Permissions::from_mode(0o700)).unwrap();
            },
            ": ",
        ),
    ];
    for (what, spoil, says) in cases {
        for name in [STORE, WRAPPING] {
            let dir = tempfile::tempdir().unwrap();
            KeyHome::init(&keys(dir.path())).unwrap();
            spoil(&dir.path().join(name));
            let fault = KeyHome::open(&keys(dir.path())).unwrap_err().to_string();
            assert!(fault.contains(says) && fault.contains(name), "{what} {name}: {fault}");
        }
    }
}

/// Every single thing that the store says is covered: by the wrapping, by the MAC, or by both.
#[test]
fn open_bad_any_word_changed() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    KeyHome::init(&place).unwrap().register("p", &[Protects::columns("a", false)]).unwrap();
    rotate_domain(&place, "a", DAY).unwrap().commit().unwrap();
    rotate_root(&place).unwrap().commit().unwrap();
    KeyHome::open(&place).unwrap().begin_subjects().unwrap();
    KeyHome::open(&place).unwrap().begin_epoch().unwrap();
    rotate_quarantine(&place).unwrap().commit().unwrap();
    quarantine::expired(&place, Some(1)).unwrap();
    let good = fs::read_to_string(place.store()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&good).unwrap();
    let mut leaves = Vec::new();
    walk(&value, String::new(), &mut leaves);
    assert!(leaves.len() > 25, "{leaves:?}");
    for pointer in leaves {
        let mut changed = value.clone();
        let leaf = changed.pointer_mut(&pointer).unwrap();
        *leaf = match leaf.take() {
            serde_json::Value::String(text) if text.parse::<Timestamp>().is_ok() => {
                text.replacen("20", "21", 1).into()
            }
            serde_json::Value::String(text) => {
                let flipped = if text.starts_with('A') { "B" } else { "A" };
                format!("{flipped}{}", &text[1..]).into()
            }
            serde_json::Value::Number(n) => (n.as_u64().unwrap() + 1).into(),
            serde_json::Value::Bool(b) => (!b).into(),
            other => other,
        };
        fs::write(place.store(), serde_json::to_vec(&changed).unwrap()).unwrap();
        assert!(KeyHome::open(&place).is_err(), "{pointer}");
    }
    // The control: the same path, with nothing changed.
    fs::write(place.store(), serde_json::to_vec(&value).unwrap()).unwrap();
    KeyHome::open(&place).unwrap();
}

fn walk(value: &serde_json::Value, at: String, leaves: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            map.iter().for_each(|(key, value)| walk(value, format!("{at}/{key}"), leaves));
        }
        serde_json::Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| walk(value, format!("{at}/{n}"), leaves));
        }
        _ => leaves.push(at),
    }
}

/// A key of one region is refused in another, also where the store was made to say otherwise.
#[test]
fn a_store_of_one_region_does_not_open_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    KeyHome::init(&place).unwrap();
    let elsewhere = KeysPlace { region: "us-va".into(), ..place.clone() };
    assert!(matches!(KeyHome::open(&elsewhere), Err(KeyFault::Region { .. })));
    let text = fs::read_to_string(place.store()).unwrap().replace("eu-de", "us-va");
    fs::write(place.store(), text).unwrap();
    assert!(matches!(KeyHome::open(&elsewhere), Err(KeyFault::NotWrappedHere { .. })));
    // The same with the home's word for it: of 10,000 regions one opens.
    let home = WrappingFile::new(dir.path().join(WRAPPING));
    let secret = wrapping::random().unwrap();
    let key = wrapping::WrappingKey { store: "", generation: 1 };
    let wrapped = home.wrap(key, &secret, b"region 0").unwrap();
    let opened = (0..10_000u32)
        .filter(|n| home.unwrap(key, &wrapped, format!("region {n}").as_bytes()).is_ok())
        .count();
    assert_eq!(opened, 1);
}

/// What nobody vouches for is not printed: it could hold anything.
#[test]
fn a_fault_shows_no_text_of_a_store_that_is_out_of_form() {
    for field in ["/region", "/wrapping/home", "/store"] {
        let dir = tempfile::tempdir().unwrap();
        let place = keys(dir.path());
        KeyHome::init(&place).unwrap();
        let text = fs::read_to_string(place.store()).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        *value.pointer_mut(field).unwrap() = "x\u{1b}[2J alice@example.com".into();
        fs::write(place.store(), serde_json::to_vec(&value).unwrap()).unwrap();
        let fault = KeyHome::open(&place).unwrap_err().to_string();
        assert!(fault.contains("not a key store") && !fault.contains("alice"), "{fault}");
        assert!(matches!(read_store(&place), Err(KeyFault::StoreForm { .. })), "{field}");
    }
}

/// In a container each process has one number: what the last one left stops nothing.
#[test]
fn what_a_crash_left_beside_a_file_stops_no_later_write() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    for name in [STORE, WRAPPING, "manifest.key.pub"] {
        let left = format!("{name}.{}.new", std::process::id());
        fs::write(dir.path().join(left), "half").unwrap();
    }
    KeyHome::init(&place).unwrap();
    rotate_wrapping(&place, |_| Ok(())).unwrap();
    KeyHome::open(&place).unwrap();
}

#[test]
fn a_place_that_names_another_home_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    KeyHome::init(&place).unwrap();
    let path = dir.path().join("passphrase");
    wrapping::replace(&path, 0o600, b"correct horse battery\n").unwrap();
    let other = KeysPlace { home: Home::Passphrase { path }, ..place };
    assert!(matches!(KeyHome::open(&other), Err(KeyFault::OtherHome { .. })));
}

#[test]
fn a_rotated_domain_has_the_next_version_and_reads_the_last_one_until_its_date() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    let home = KeyHome::init(&place).unwrap();
    let unused = rotate_domain(&place, "a", DAY).err();
    assert!(matches!(unused, Some(KeyFault::UnknownDomain { .. })));
    let first = home.keyring().key(Purpose::TokenSiv, "a").id().to_string();
    home.register("p", &[Protects::columns("a", false), Protects::columns("k", true)]).unwrap();
    assert_eq!(id(&place, "a"), first, "to be used is no rotation");

    let rotation = rotate_domain(&place, "a", DAY).unwrap();
    let siv = rotation.changed.iter().find(|c| c.purpose == Purpose::TokenSiv.label()).unwrap();
    assert_eq!((siv.context.as_str(), siv.from.as_str()), ("a", first.as_str()));
    let to = siv.to.clone();
    drop(rotation);
    assert_eq!(id(&place, "a"), first, "not committed, not rotated");
    rotate_domain(&place, "a", DAY).unwrap().commit().unwrap();
    assert_eq!(id(&place, "a"), to, "the next try brings the same keys");
    let rotated = KeyHome::open(&place).unwrap();
    assert!(rotated.same_store(&home) && !rotated.same_keys(&home));
    assert_eq!(rotated.keyring().versions("a"), [2, 1]);

    // The second is over at once, the first goes on until its own date.
    rotate_domain(&place, "a", Duration::ZERO).unwrap().commit().unwrap();
    assert_eq!(KeyHome::open(&place).unwrap().keyring().versions("a"), [3, 1]);
    assert!(matches!(rotate_domain(&place, "k", DAY), Err(KeyFault::InRecordKey { .. })));
    let centuries = Duration::from_secs(u64::MAX);
    assert!(matches!(rotate_domain(&place, "a", centuries), Err(KeyFault::Overlap)));
}

#[test]
fn a_new_root_moves_no_domain_that_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    let home = KeyHome::init(&place).unwrap();
    home.register("p", &[Protects::columns("a", true)]).unwrap();
    let (used, unused) = (id(&place, "a"), id(&place, "b"));
    let sealed_before = home.pipeline_keys(Purpose::Position, "p")[0].id();
    rotate_root(&place).unwrap().commit().unwrap();
    assert_eq!(id(&place, "a"), used);
    assert_ne!(id(&place, "b"), unused, "what nobody used follows from the new root");
    let now = KeyHome::open(&place).unwrap();
    assert_ne!(now.root().id(), home.root().id());
    let positions: Vec<_> = now.pipeline_keys(Purpose::Position, "p").iter().map(Key::id).collect();
    assert_eq!(positions.len(), 2);
    assert_eq!(positions[1], sealed_before, "what was sealed before still opens");
    now.register("p", &[Protects::columns("b", false)]).unwrap();
    let b = id(&place, "b");
    rotate_root(&place).unwrap().commit().unwrap();
    assert_eq!(id(&place, "b"), b, "from its first use on it stays");
}

/// Finds in texts and columns of two pipelines do not share a domain, unless a release says so.
#[test]
fn finds_of_one_pipeline_and_columns_of_another_have_domains_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    let home = KeyHome::init(&place).unwrap();
    let uses = |domain: &str, of: &[Of]| Protects {
        domain: domain.into(),
        in_key: false,
        of: of.iter().copied().collect(),
    };
    home.register("crm", &[uses("mail", &[Of::Columns])]).unwrap();
    home.register("notes", &[uses("found", &[Of::Finds])]).unwrap();
    let before = fs::read(place.store()).unwrap();
    for (pipeline, domain, of) in [
        ("notes", "mail", Of::Finds),
        ("crm", "found", Of::Columns),
        ("notes", "found", Of::Columns),
    ] {
        let refused = home.register(pipeline, &[uses(domain, &[of])]).unwrap_err();
        let KeyFault::Mixed { columns, finds, .. } = &refused else { panic!("{refused}") };
        let places = if domain == "mail" { ("crm", "notes") } else { (pipeline, "notes") };
        assert_eq!((columns.as_str(), finds.as_str()), places);
        assert!(refused.to_string().contains("`share_domain`"), "{refused}");
    }
    assert_eq!(fs::read(place.store()).unwrap(), before, "nothing was written");
    // With a limit that was signed, and in one pipeline both.
    home.register("notes", &[uses("mail", &[Of::SharedFinds])]).unwrap();
    home.register("both", &[uses("mail", &[Of::Columns, Of::SharedFinds])]).unwrap();
    home.register("more", &[uses("found", &[Of::Finds])]).unwrap();
    // What is outside of a find stays there: a pipeline that does without now is still in the way.
    home.register("notes", &[uses("mail", &[Of::SharedFinds])]).unwrap();
    assert!(home.register("crm", &[uses("found", &[Of::Columns])]).is_err());
}

/// A store of before says of nobody what is protected: it is taken as each says when it runs next.
#[test]
fn uses_of_an_older_store_are_taken_as_they_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    let home = KeyHome::init(&place).unwrap();
    let of = |of: &[Of]| Protects {
        domain: "mail".into(),
        in_key: false,
        of: of.iter().copied().collect(),
    };
    home.register("crm", &[of(&[])]).unwrap();
    home.register("notes", &[of(&[])]).unwrap();
    let said = |store: &Store| {
        store.domains[0]
            .used_by
            .iter()
            .map(|u| (u.pipeline.clone(), u.of.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&read_store(&place).unwrap()), [("crm".into(), 0), ("notes".into(), 0)]);
    assert!(!fs::read_to_string(place.store()).unwrap().contains("\"of\""));
    home.register("notes", &[of(&[Of::Finds])]).unwrap();
    let refused = home.register("crm", &[of(&[Of::Columns])]);
    assert!(matches!(refused, Err(KeyFault::Mixed { .. })));
    assert_eq!(said(&read_store(&place).unwrap()), [("crm".into(), 0), ("notes".into(), 1)]);
}

#[test]
fn a_new_wrapping_key_changes_no_key_and_closes_the_old_store() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    KeyHome::init(&place).unwrap().register("p", &[Protects::columns("a", false)]).unwrap();
    let before = KeyHome::open(&place).unwrap();
    let backup = fs::read(place.store()).unwrap();
    let mut told = None;
    let (generation, remains) = rotate_wrapping(&place, |changed| {
        told = Some(changed.clone());
        Ok(())
    })
    .unwrap();
    let told = told.unwrap();
    assert_eq!((generation, told.context.as_str()), (2, "file 2"));
    assert_ne!(told.from, told.to);
    assert!(!remains.is_final);
    assert!(KeyHome::open(&place).unwrap().same_keys(&before));
    let now = fs::read(place.store()).unwrap();
    fs::write(place.store(), backup).unwrap();
    assert!(matches!(KeyHome::open(&place), Err(KeyFault::NotWrappedHere { .. })));
    fs::write(place.store(), now).unwrap();
    // What the ledger does not take is not done.
    let refused = rotate_wrapping(&place, |_| Err(KeyFault::Random));
    assert!(refused.is_err());
    assert!(KeyHome::open(&place).unwrap().same_keys(&before));
}

#[test]
fn an_approvers_key_reads_back_and_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ada");
    let public = init_approver("ada", &path).unwrap();
    assert_eq!(public, dir.path().join("ada.pub"));
    assert_eq!((mode(&path), mode(&public)), (0o600, 0o644));
    let line = fs::read_to_string(&public).unwrap();
    let key = SigningKey::from_bytes(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(VerifyingKey::parse(&line).unwrap(), key.verifying_key());
    assert!(line.ends_with(" ada\n"));
    assert!(matches!(init_approver("ada", &path), Err(KeyFault::Exists(_))));
    fs::remove_file(&path).unwrap();
    assert!(matches!(init_approver("ada", &path), Err(KeyFault::Exists(_))));
    for bad in ["", "a b", "a\nb", "é", "Ada"] {
        assert!(matches!(init_approver(bad, &dir.path().join("x")), Err(KeyFault::Name)));
    }
    // Where the folder is not there, the one thing that is missing is what the fault says to type.
    let folder = dir.path().join("our approvers");
    let fault = init_approver("bo", &folder.join("bo")).unwrap_err();
    assert!(matches!(fault, KeyFault::NoFolder { .. }));
    let typed = format!("next: `mkdir -p '{}'`", folder.display());
    assert!(fault.to_string().contains(&typed), "{fault}");
    fs::create_dir(&folder).unwrap();
    init_approver("bo", &folder.join("bo")).unwrap();
}

#[test]
fn no_two_uses_share_a_key_and_nothing_shows_one() {
    let dir = tempfile::tempdir().unwrap();
    let home = KeyHome::init(&keys(dir.path())).unwrap();
    let (a, b) = (home.log_keys("a"), home.log_keys("b"));
    let crossing = home.root().derive(Purpose::Blind, "a");
    assert_ne!(a.blind(), b.blind());
    assert_ne!(a.commit(), b.commit());
    assert_ne!(a.blind(), a.commit());
    assert_ne!(a.blind(), crossing.secret());
    let shown = format!("{home:?}");
    let root = data_encoding::HEXLOWER.encode(home.root().secret());
    assert!(!shown.contains(&root) && !shown.contains("PRIVATE"));
    let store = fs::read_to_string(dir.path().join(STORE)).unwrap();
    assert!(!store.contains(&root) && !store.contains("PRIVATE"));
}

#[test]
fn keys_that_cannot_be_read_are_not_keys_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    assert!(PublicKeys::open(&dir.path().join("none")).unwrap().is_none());
    assert!(PublicKeys::open(dir.path()).unwrap().is_none());
    // Also for who may read everything: what lies there can be looked into by nobody.
    let file = dir.path().join("keys");
    fs::write(&file, "").unwrap();
    assert!(matches!(PublicKeys::open(&file), Err(KeyFault::Io { .. })));
}
