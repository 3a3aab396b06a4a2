//! A copy of a log that somebody may be writing to: it holds at one moment, which is no later than the
//! copy's end.
//!
//! What was written is never changed, so order is all. The checkpoint is taken first and written last:
//! the journals that are copied after it hold every entry that it covers. Of journals the newest goes
//! first, for what it goes on from is in those before it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

use super::publish::path_of;

/// Hashes in a tile.
const WIDTH: u64 = 256;

/// Copies a log's directory into one that is not there yet. Verify the copy: this reads nothing.
///
/// # Errors
/// What the disk says; [`ErrorKind::TimedOut`] where the log goes on faster than it can be copied.
pub fn backup(log: &Path, to: &Path) -> io::Result<()> {
    const TRIES: usize = 10;
    for _ in 0..TRIES {
        let checkpoint = take_checkpoint(log)?;
        copy_journals(log, to)?;
        // Crash here, or at any step: a copy that is not whole, which nobody takes for one: it was not verified.
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        let size = String::from_utf8_lossy(&checkpoint).lines().nth(1).and_then(|n| n.parse().ok());
        let (size, tlog, tlog_to) = (size.unwrap_or(0), log.join("tlog"), to.join("tlog"));
        copy_tree(&tlog, &tlog_to, &|path| {
            let Ok(of) = path.strip_prefix(&tlog) else { return true };
            tlog_to.join(of).is_file() || is_newer(of, size)
        })?;
        // A partial tile goes once the full one is there, which this checkpoint does not cover: then the
        // next one does.
        if is_whole(&tlog_to, size) {
            return fs::write(tlog_to.join("checkpoint"), checkpoint);
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// Whether the last tile of each level, and the last bundle of entries, are there as a checkpoint of this
/// size has them. Full ones never go.
fn is_whole(tlog: &Path, size: u64) -> bool {
    let there = |level: &str, hashes: u64| {
        let name = path_of(hashes / WIDTH);
        let dir = tlog.join("tile").join(level);
        hashes % WIDTH == 0 || dir.join(format!("{name}.p/{}", hashes % WIDTH)).is_file()
    };
    let levels = (0..8u32).map(|level| (level.to_string(), size >> (8 * level)));
    there("entries", size) && levels.into_iter().all(|(level, hashes)| there(&level, hashes))
}

/// Whether a file of the published form is none that a checkpoint of this size covers: tiles and lines of
/// witnesses may have come since, and the checkpoint itself comes last.
fn is_newer(of: &Path, size: u64) -> bool {
    let parts: Vec<&str> = of.iter().filter_map(|part| part.to_str()).collect();
    let newer = |covers: Option<u64>| covers.is_none_or(|covers| covers > size);
    match parts.as_slice() {
        ["checkpoint"] => true,
        ["tile"] | ["tile", _] | ["cosigned"] => false,
        ["cosigned", name] => newer(name.parse().ok()),
        ["tile", level, rest @ ..] => match rest {
            // A folder: what is in it says.
            [.., last] if last.starts_with('x') || last.ends_with(".p") => false,
            _ => newer(covered(level, rest)),
        },
        _ => true,
    }
}

/// Entries up to the end of a tile, or of a bundle of entries, as its path has it.
fn covered(level: &str, path: &[&str]) -> Option<u64> {
    let level: u32 = if level == "entries" { 0 } else { level.parse().ok()? };
    let (path, width) = match path {
        [path @ .., tile, width] if tile.ends_with(".p") => {
            ([path, &[tile.strip_suffix(".p")?]].concat(), width.parse::<u64>().ok()?)
        }
        path => (path.to_vec(), WIDTH),
    };
    let number = path.iter().try_fold(0u64, |number, digits| {
        number.checked_mul(1000)?.checked_add(digits.trim_start_matches('x').parse().ok()?)
    })?;
    number.checked_mul(WIDTH)?.checked_add(width)?.checked_mul(WIDTH.checked_pow(level)?)
}

fn take_checkpoint(log: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(log.join("tlog/checkpoint")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn copy_journals(log: &Path, to: &Path) -> io::Result<()> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(log.join("journals"))? {
        let entry = entry?;
        let written = entry.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        journals.push((written, entry.path(), entry.file_name()));
    }
    journals.sort();
    fs::create_dir_all(to.join("journals"))?;
    for (_, path, name) in journals.into_iter().rev() {
        fs::copy(path, to.join("journals").join(name))?;
    }
    Ok(())
}

/// Copies a folder that may grow meanwhile. What went away meanwhile, such as a partial tile, is in what took
/// its place.
///
/// # Errors
/// What the disk says.
pub fn copy_tree(from: &Path, to: &Path, left_out: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    let entries = match fs::read_dir(from) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    // Partial tiles first: the full one is there before they go.
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort_by_key(|path| !path.is_dir());
    for path in paths {
        let Some(name) = path.file_name().filter(|_| !left_out(&path)) else { continue };
        let to = to.join(name);
        let copied = match path.is_dir() {
            true => copy_tree(&path, &to, left_out),
            false => fs::copy(&path, &to).map(drop),
        };
        match copied {
            Err(error) if gone(&error) => {}
            copied => copied?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::tests::{NAME, Place, keys};
    use super::super::{Head, Log};
    use super::*;
    use crate::signing::SigningKey;
    use crate::verify::{self, Expect, Report};

    const ORIGIN: &str = "example.com/customers/shard-0";

    fn signer() -> SigningKey {
        SigningKey::from_seed(&[9; 32]).unwrap()
    }

    fn report(copy: &Path) -> Report {
        let expect = Expect {
            checkpoint_key: Some(super::super::verifier_key(ORIGIN, &signer().verifying_key())),
            ..Expect::default()
        };
        verify::log(copy, &expect).unwrap()
    }

    fn holds(copy: &Path) -> bool {
        report(copy).holds()
    }

    fn grow(place: &mut Place, transactions: u64) {
        let mut log = place.take_over().unwrap();
        for _ in 0..transactions {
            place.transact(&mut log);
            log.publish(place.position.unwrap().size, &signer(), ORIGIN).unwrap();
        }
    }

    /// Copies are made while holders come, write and publish: each holds, and is what was there at one
    /// moment, so the log goes on from a copy to the end of it.
    #[test]
    fn a_copy_of_a_log_in_use_holds_at_one_moment() {
        let mut place = Place::new();
        grow(&mut place, 2);
        let (done, dir) = (AtomicBool::new(false), place.dir());
        let copies = tempfile::tempdir().unwrap();
        let mut made = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for holder in 0..20 {
                    grow(&mut place, 5 + holder % 7);
                }
                done.store(true, Ordering::SeqCst);
            });
            while made == 0 || (made < 100 && !done.load(Ordering::SeqCst)) {
                backup(&dir, &copies.path().join(format!("{made}/{NAME}"))).unwrap();
                made += 1;
            }
        });
        let mut sizes = Vec::new();
        for copy in 0..made {
            let home = copies.path().join(copy.to_string());
            let report = report(&home.join(NAME));
            assert!(report.holds(), "copy {copy} of {made}: {:?}", report.findings);
            let log = Log::take_over(&home, NAME, None, keys());
            // Something was committed, and no position is named: it is told, and not begun anew.
            assert!(log.is_err(), "copy {copy}");
            sizes.push(verify::log(&home.join(NAME), &Expect::default()).unwrap().entries);
        }
        let last = copies.path().join("last").join(NAME);
        backup(&dir, &last).unwrap();
        let expect = Expect::default();
        let all = verify::log(&dir, &expect).unwrap().entries;
        sizes.push(verify::log(&last, &expect).unwrap().entries);
        assert!(sizes.is_sorted() && sizes.last() == Some(&all), "{sizes:?} of {all}");
    }

    /// The control: in the other order the checkpoint covers what the journals do not have.
    #[test]
    fn control_with_the_checkpoint_taken_last_a_copy_does_not_hold() {
        let mut place = Place::new();
        grow(&mut place, 3);
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().join(NAME);
        copy_journals(&place.dir(), &to).unwrap();
        grow(&mut place, 3);
        copy_tree(&place.dir().join("tlog"), &to.join("tlog"), &|_| false).unwrap();
        assert!(!holds(&to));
        // And as it is done: what came in between is left for the next one.
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().join(NAME);
        backup(&place.dir(), &to).unwrap();
        assert!(holds(&to));
    }

    #[test]
    fn what_a_checkpoint_covers_is_told_by_its_path() {
        for (path, size, newer) in [
            ("checkpoint", 9, true),
            ("tile", 0, false),
            ("tile/0", 0, false),
            ("tile/0/000.p", 0, false),
            ("tile/0/x001", 0, false),
            ("tile/0/000.p/5", 5, false),
            ("tile/0/000.p/5", 4, true),
            ("tile/0/000", 256, false),
            ("tile/0/000", 255, true),
            ("tile/entries/001.p/3", 259, false),
            ("tile/entries/001.p/3", 258, true),
            ("tile/0/x001/234", 1_235 * 256, false),
            ("tile/0/x001/234", 1_235 * 256 - 1, true),
            ("tile/1/000.p/2", 512, false),
            ("tile/1/000.p/2", 511, true),
            ("tile/0/000.tmp", 1 << 40, true),
            ("cosigned", 0, false),
            ("cosigned/12", 12, false),
            ("cosigned/12", 11, true),
            ("cosigned.77.tmp", 1 << 40, true),
        ] {
            assert_eq!(is_newer(Path::new(path), size), newer, "{path} of {size}");
        }
    }

    /// An older copy that is put back is told by the position in the target.
    #[test]
    fn a_copy_that_is_put_back_is_told_by_the_position() {
        let mut place = Place::new();
        grow(&mut place, 3);
        let old: Option<Head> = place.position;
        let copy = tempfile::tempdir().unwrap();
        backup(&place.dir(), &copy.path().join(NAME)).unwrap();
        grow(&mut place, 1);
        let at = |position: &Option<Head>| {
            Log::take_over(copy.path(), NAME, position.as_ref(), keys()).map(drop)
        };
        let fault = at(&place.position).unwrap_err();
        assert!(matches!(fault, super::super::LedgerFault::LedgerLost { .. }), "{fault}");
        // The control: with the position of then it goes on.
        at(&old).unwrap();
    }
}
