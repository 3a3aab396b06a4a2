//! Keys of single subjects: one each whoever asks, and none left of those that are shredded.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use douane_transforms::subjects::{Namer, Subject, SubjectId, SubjectKeys};

use super::*;

const D: &str = "a";

fn place(dir: &Path) -> KeysPlace {
    let place = keys(dir);
    let home = KeyHome::init(&place).unwrap();
    home.register("p", &[Protects::columns(D, false)]).unwrap();
    home.begin_subjects().unwrap();
    place
}

fn id(home: &KeyHome, subject: usize) -> SubjectId {
    Namer::new(&home.keyring().subject_namer(D), D).name(&subject.to_string())
}

/// The keys of subjects, made where there is none; `None` for one that was shredded.
fn made(home: &KeyHome, subjects: std::ops::Range<usize>) -> Vec<Option<[u8; 32]>> {
    let ids: Vec<SubjectId> = subjects.map(|subject| id(home, subject)).collect();
    let mut found = vec![None; ids.len()];
    let kept = home.subjects().unwrap();
    kept.keys(D, 1, &ids, &mut |at, subject| {
        if let Subject::Key(key) = subject {
            found[at] = Some(*key);
        }
    })
    .unwrap_or_else(|_| panic!("{:?}", kept.fault()));
    found
}

/// `Err` for one that was shredded, `Ok(None)` for one that nobody knows.
fn found(home: &KeyHome, subject: usize) -> Result<Option<[u8; 32]>, KeyFault> {
    let mut found = None;
    home.subjects().unwrap().find(D, 1, &[id(home, subject)], &mut |_, subject| {
        found = match subject {
            Some(Subject::Key(key)) => Some(*key),
            _ => None,
        };
    })?;
    Ok(found)
}

/// Destroys, and ends by a panic after the step of this name.
fn destroy(place: &KeysPlace, subjects: &[usize], ends_after: &str) -> Result<Shredded, KeyFault> {
    let home = KeyHome::open(place)?;
    let ids: Vec<SubjectId> = subjects.iter().map(|subject| id(&home, *subject)).collect();
    super::shred(
        place,
        Shred {
            domain: D,
            subjects: &ids,
            intended: &mut |_, _| Ok(()),
            rotated: &mut |_| Ok(()),
            step: &|step| {
                if step == ends_after {
                    resume_unwind(Box::new("ended"));
                }
            },
        },
    )
}

fn backup(place: &KeysPlace) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(&place.dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

fn put_back(place: &KeysPlace, files: &[(PathBuf, Vec<u8>)]) {
    for entry in fs::read_dir(&place.dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (path, bytes) in files {
        wrapping::replace(path, 0o600, bytes).unwrap();
    }
}

#[test]
fn a_subject_has_one_key_whoever_asks_first() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    // As many processes as shards and zombies: each has a store of its own.
    let homes: Vec<KeyHome> = (0..4).map(|_| KeyHome::open(&place).unwrap()).collect();
    let given: Vec<Vec<Option<[u8; 32]>>> = std::thread::scope(|scope| {
        let ask = |home| {
            move || {
                let parts = (0..10).map(|part| made(home, part * 20..(part + 2) * 20));
                parts.collect::<Vec<_>>().concat()
            }
        };
        let all: Vec<_> = homes.iter().map(|home| scope.spawn(ask(home))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(given.windows(2).all(|pair| pair[0] == pair[1]));
    let all = made(&homes[0], 0..220);
    let distinct: std::collections::BTreeSet<_> = all.iter().flatten().collect();
    assert_eq!(distinct.len(), 220);
    // Durable, and the same for whoever opens the place anew.
    assert_eq!(made(&KeyHome::open(&place).unwrap(), 0..220), all);
    let counts = homes[1].subjects().unwrap().counts().unwrap();
    assert_eq!(counts, [SubjectCount { domain: D.into(), keys: 220, shredded: 0 }]);
    let mut modes = fs::read_dir(&place.dir).unwrap().map(|entry| entry.unwrap().path());
    let database = modes.find(|path| path.extension().is_some_and(|e| e == "redb")).unwrap();
    assert_eq!(mode(&database), 0o600);
}

const INSIDE: &str = "DOUANE_TEST_SUBJECTS";

/// Two processes make keys of the same subjects, and are killed in the middle of it, again and again:
/// what either of them had got, everybody gets for ever.
#[test]
fn a_key_that_was_given_out_survives_the_process_that_made_it() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let name =
        "key_home::tests::subjects::a_key_that_was_given_out_survives_the_process_that_made_it";
    if let Some(dir) = std::env::var_os(INSIDE) {
        let home = KeyHome::open(&keys(Path::new(&dir))).unwrap();
        for batch in 0.. {
            let given = made(&home, batch * 7..batch * 7 + 10);
            for (at, key) in given.iter().enumerate() {
                let id = douane_schemas::keys::id_of(&key.unwrap());
                println!("given {} {id}", batch * 7 + at);
            }
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let mut given: BTreeMap<usize, String> = BTreeMap::new();
    let mut lines = 0;
    for round in 0..4 {
        let start = || {
            Command::new(std::env::current_exe().unwrap())
                .args([name, "--exact", "--nocapture"])
                .env(INSIDE, dir.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut both = [start(), start()];
        let mut out = both.each_mut().map(|child| BufReader::new(child.stdout.take().unwrap()));
        // Both are at work before either is killed, in the middle of a batch.
        let mut said: Vec<String> = Vec::new();
        for reader in &mut out {
            let mut lines = reader.lines().map(Result::unwrap);
            said.extend(lines.by_ref().filter(|l| l.contains("given")).take(40 + 13 * round));
        }
        both.iter_mut().for_each(|child| child.kill().unwrap());
        assert!(both.iter_mut().all(|child| !child.wait().unwrap().success()));
        for reader in &mut out {
            // The last line may be cut.
            let mut rest: Vec<String> = reader.lines().map_while(Result::ok).collect();
            rest.pop();
            said.extend(rest);
        }
        for line in said.iter().filter_map(|line| line.split_once("given ")) {
            let (subject, id) = line.1.split_once(' ').unwrap();
            let before = given.entry(subject.parse().unwrap()).or_insert_with(|| id.to_owned());
            assert_eq!(before, id, "round {round}: subject {subject} has two keys");
            lines += 1;
        }
    }
    assert!(given.len() > 40 && lines > 2 * given.len(), "{} subjects, {lines} lines", given.len());
    let home = KeyHome::open(&place).unwrap();
    for (subject, id) in &given {
        let key = found(&home, *subject).unwrap().expect("a key");
        assert_eq!(&douane_schemas::keys::id_of(&key).to_string(), id);
    }
}

#[test]
fn nothing_is_left_of_a_shredded_subject_and_all_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let running = KeyHome::open(&place).unwrap();
    let before = made(&running, 0..50);
    let done = destroy(&place, &[7, 9], "").unwrap();
    let ids: Vec<String> = [7, 9]
        .map(|at: usize| douane_schemas::keys::id_of(&before[at].unwrap()).to_string())
        .into();
    assert_eq!(done.key_ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ids);
    assert_eq!((done.survivors, done.generation, done.remains.is_final), (48, 1, false));
    let mut after = before.clone();
    (after[7], after[9]) = (None, None);
    // A process that held them lets go of them at its next batch; a new one never sees them; and a
    // subject that comes again stays shredded.
    for home in [&running, &KeyHome::open(&place).unwrap()] {
        assert_eq!(made(home, 0..50), after);
    }
    assert!(!running.same_keys(&KeyHome::open(&place).unwrap()), "a running process swaps");
    let counts = running.subjects().unwrap().counts().unwrap();
    assert_eq!(counts, [SubjectCount { domain: D.into(), keys: 48, shredded: 2 }]);
    // One file, and nothing of the one before.
    let files = |place: &KeysPlace| {
        let names = fs::read_dir(&place.dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("subjects-")).count()
    };
    assert_eq!(files(&place), 1);
    // Whatever is rotated, the survivors keep their keys and the shredded stay so.
    rotate_wrapping(&place, |_| Ok(())).unwrap();
    rotate_root(&place).unwrap().commit().unwrap();
    assert_eq!(made(&KeyHome::open(&place).unwrap(), 0..50), after);
    let again = destroy(&place, &[7], "").unwrap();
    assert_eq!((again.key_ids.len(), again.survivors), (0, 48), "done twice is done once");
    let unknown = destroy(&place, &[8, 77, 78], "").err();
    assert!(
        matches!(&unknown, Some(KeyFault::UnknownSubjects { places, .. }) if places == "2, 3"),
        "{unknown:?}"
    );
    assert_eq!(made(&KeyHome::open(&place).unwrap(), 0..50), after);
    // The next version of the domain has other keys, and none for the shredded.
    rotate_domain(&place, D, DAY).unwrap().commit().unwrap();
    let home = KeyHome::open(&place).unwrap();
    let ids: Vec<SubjectId> = (6..8).map(|subject| id(&home, subject)).collect();
    let mut next = Vec::new();
    let ask = |_, subject: Subject<'_>| match subject {
        Subject::Key(key) => next.push(Some(*key)),
        Subject::Shredded => next.push(None),
    };
    let mut ask = ask;
    home.subjects().unwrap().keys(D, 2, &ids, &mut ask).unwrap();
    assert!(next[0].is_some() && next[0] != after[6] && next[1].is_none());
    // All versions of a subject go together.
    assert_eq!(destroy(&place, &[6], "").unwrap().key_ids.len(), 2);
}

/// Each step with an effect, the process ended after it, and the same call again.
#[test]
fn a_crash_at_any_step_leaves_the_old_state_or_the_new_one() {
    let steps = ["begun", "intended", "rewritten", "wrapped", "rotated", "written", "destroyed"];
    for (at, step) in steps.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let running = KeyHome::open(&place).unwrap();
        let before = made(&running, 0..20);
        let old = backup(&place);
        let ended = catch_unwind(AssertUnwindSafe(|| destroy(&place, &[3], step).is_ok()));
        assert!(ended.is_err(), "{step}");
        let mut after = before.clone();
        after[3] = None;
        let is_written = at >= 5;
        let now = if is_written { &after } else { &before };
        for home in [&running, &KeyHome::open(&place).unwrap()] {
            assert_eq!(&made(home, 0..20), now, "{step}");
        }
        let done = destroy(&place, &[3], "").unwrap();
        assert_eq!(done.key_ids.len(), usize::from(!is_written), "{step}");
        for home in [&running, &KeyHome::open(&place).unwrap()] {
            assert_eq!(made(home, 0..20), after, "{step}");
        }
        // The wrapping key of before is gone: what a backup without it holds opens no more.
        let store: Vec<_> = old.into_iter().filter(|(path, _)| !path.ends_with(WRAPPING)).collect();
        let wrapping = fs::read(dir.path().join(WRAPPING)).unwrap();
        put_back(&place, &store);
        wrapping::replace(&dir.path().join(WRAPPING), 0o600, &wrapping).unwrap();
        let refused = KeyHome::open(&place).err();
        assert!(matches!(refused, Some(KeyFault::NotWrappedHere { .. })), "{step}: {refused:?}");
    }
}

/// What the certificate of a file says: who kept the wrapping key's file too has everything.
#[test]
fn a_backup_opens_only_where_it_holds_the_wrapping_key() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let before = made(&KeyHome::open(&place).unwrap(), 0..20);
    let whole = backup(&place);
    destroy(&place, &[3], "").unwrap();
    let wrapping = fs::read(dir.path().join(WRAPPING)).unwrap();
    put_back(&place, &whole);
    assert_eq!(found(&KeyHome::open(&place).unwrap(), 3).unwrap(), before[3], "the control");
    wrapping::replace(&dir.path().join(WRAPPING), 0o600, &wrapping).unwrap();
    assert!(matches!(KeyHome::open(&place), Err(KeyFault::NotWrappedHere { .. })));
}

/// A row is bound to its subject, its domain, its epoch and its store.
#[test]
fn rows_bad_moved_bad_bytes_bad_missing_file() {
    use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
    const KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys.a");
    const SHREDDED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("shredded.a");
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    made(&KeyHome::open(&place).unwrap(), 0..3);
    let database = || {
        let names = fs::read_dir(&place.dir).unwrap().map(|entry| entry.unwrap().path());
        names.into_iter().find(|path| path.extension().is_some_and(|e| e == "redb")).unwrap()
    };
    let rows = || {
        let db = Database::open(database()).unwrap();
        let read = db.begin_read().unwrap();
        let rows = read.open_table(KEYS).unwrap();
        let rows = rows.iter().unwrap().map(|row| {
            let (key, row) = row.unwrap();
            (key.value().to_vec(), row.value().to_vec())
        });
        rows.collect::<Vec<_>>()
    };
    let write = |table, key: &[u8], row: &[u8]| {
        let db = Database::open(database()).unwrap();
        let write = db.begin_write().unwrap();
        write.open_table(table).unwrap().insert(key, row).unwrap();
        write.commit().unwrap();
    };
    let broken = || {
        let home = KeyHome::open(&place).unwrap();
        (0..3).filter(|n| matches!(found(&home, *n), Err(KeyFault::Broken { .. }))).count()
    };
    let good = rows();
    assert_eq!((good.len(), broken()), (3, 0));
    write(KEYS, &good[0].0, &good[1].1);
    assert_eq!(broken(), 1, "another's key");
    write(KEYS, &good[0].0, &good[0].1[1..]);
    assert_eq!(broken(), 1, "cut");
    write(KEYS, &good[0].0, &good[0].1);
    assert_eq!(broken(), 0);
    write(SHREDDED, &good[0].0[..16], &[0; 28]);
    assert_eq!(broken(), 1, "a mark that nobody made");
    fs::remove_file(database()).unwrap();
    let home = KeyHome::open(&place).unwrap();
    assert!(matches!(found(&home, 0), Err(KeyFault::Missing(_))));
    // Nothing is made in the place of what is lost.
    assert!(home.subjects().unwrap().keys(D, 1, &[id(&home, 0)], &mut |_, _| ()).is_err());
    assert!(matches!(home.subjects().unwrap().fault(), Some(KeyFault::Missing(_))));
}

/// Of many subjects each key is found again by another process, and one that is shredded leaves all others
/// as they were. The whole of it, with its figures: `DOUANE_SUBJECTS=1000000`.
#[test]
fn of_many_subjects_all_keys_are_kept_but_those_that_are_destroyed() {
    /// As many as a turn brings.
    const BATCH: usize = 5_000;
    let asked = std::env::var("DOUANE_SUBJECTS").ok().and_then(|count| count.parse().ok());
    let subjects: usize = asked.unwrap_or(6_000);
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let in_turns = |place: &KeysPlace| {
        let (home, since) = (KeyHome::open(place).unwrap(), std::time::Instant::now());
        let turns = (0..subjects).step_by(BATCH);
        let keys = turns.flat_map(|from| made(&home, from..subjects.min(from + BATCH)));
        (keys.collect::<Vec<_>>(), since.elapsed())
    };
    let (given, making) = in_turns(&place);
    assert_eq!(given.iter().flatten().collect::<std::collections::BTreeSet<_>>().len(), subjects);
    let (again, finding) = in_turns(&place);
    assert!(again == given, "another process has other keys");
    let bytes = |place: &KeysPlace| -> u64 {
        let all = fs::read_dir(&place.dir).unwrap().map(|entry| entry.unwrap());
        let of = all.filter(|entry| entry.path().extension().is_some_and(|e| e == "redb"));
        of.map(|entry| entry.metadata().unwrap().len()).sum()
    };
    let before = bytes(&place);
    let since = std::time::Instant::now();
    let last = subjects - 1;
    let shredded = destroy(&place, &[last], "").unwrap();
    let shredding = since.elapsed();
    assert_eq!(shredded.survivors, last as u64);
    let (after, _) = in_turns(&place);
    assert!(after[..last] == given[..last] && after[last].is_none());
    if asked.is_some() {
        println!(
            "figure: keys.subjects: {subjects} made in {making:.1?}, found again in {finding:.1?}"
        );
        println!(
            "figure: keys.subjects: {} MiB, one shredded in {shredding:.1?}, then {} MiB",
            before >> 20,
            bytes(&place) >> 20
        );
    }
}
