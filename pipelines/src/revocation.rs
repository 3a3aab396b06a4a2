//! Revocations: what stops a release before it expires. They lie in a file beside it, and once more
//! beside the trust root: another copy of the release lies beside the same trust root.

use std::fs::File;
use std::path::{Path, PathBuf};

use douane_ledger::dsse::Envelope;
use douane_ledger::release::{self, Revocation, Stopped};
use douane_ledger::statement;

use crate::bundle;
use crate::config::{Pipeline, Place};
use crate::fault::RunFault;
use crate::known::Known;
use crate::release::{digest, fault, root_of};
use crate::signer::Signer;

/// Where revocations of this pipeline's releases lie: an envelope a line, added and never taken
/// out.
pub fn file(pipeline: &Pipeline) -> PathBuf {
    pipeline.release.with_extension("revocations.json")
}

/// Where they are looked for: beside the release, and beside the trust root.
pub fn files(place: &Place, pipeline: &Pipeline) -> [PathBuf; 2] {
    [file(pipeline), place.trust.with_extension("revocations.json")]
}

/// Who stopped a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// A name of the trust root.
    pub by: String,
    pub at: String,
    /// For people.
    pub reason: String,
}

impl From<Revoked> for Stopped {
    fn from(Revoked { by, at, reason }: Revoked) -> Self {
        Self { by, at, reason }
    }
}

impl From<Revoked> for RunFault {
    fn from(Revoked { by, at, .. }: Revoked) -> Self {
        Self::Revoked { by, at }
    }
}

/// The revocation of the release with this digest, if there is one.
///
/// # Errors
/// Where it cannot be told: a line that is no revocation, or one of this release that does not
/// verify. Then nothing may be written.
pub fn of(place: &Place, pipeline: &Pipeline, digest: &str) -> Result<Option<Revoked>, RunFault> {
    for file in files(place, pipeline) {
        if let Some(revoked) = said(&file, &place.trust, digest)? {
            return Ok(Some(revoked));
        }
    }
    Ok(None)
}

/// As [`of`], of a file and a trust root's.
pub fn said(file: &Path, trust: &Path, digest: &str) -> Result<Option<Revoked>, RunFault> {
    let bytes = read(file)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let doubt = |number: usize, why: String| {
        fault(format!(
            "{}:{}: {why}: it cannot be told whether the release was revoked\n  next: put the file \
             back as it was signed",
            file.display(),
            number + 1
        ))
    };
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let envelope = Envelope::from_bytes(line).map_err(|f| doubt(number, f.to_string()))?;
        let revoked: release::Revocation =
            statement::unverified(&envelope).map_err(|f| doubt(number, f.to_string()))?;
        // Another release's revoker may have left the trust root since.
        if revoked.release == digest {
            let root = root_of(trust)?;
            let (Revocation { created, reason, .. }, by) =
                release::verify_revocation(&envelope, &root)
                    .map_err(|f| doubt(number, f.to_string()))?;
            return Ok(Some(Revoked { by, at: created, reason }));
        }
    }
    Ok(None)
}

/// Held from before [`revoke`] or [`Brought::lines`] reads the files until they are written: two who add a line at one time would
/// else lose one of them. Beside the trust root, which all releases of a place share. Where no lock can be had (a folder
/// that cannot be written, a file system without them, somebody who holds it and does not go on) the release is
/// stopped all the same.
pub fn alone(place: &Place) -> Option<File> {
    crate::alone::alone(&place.trust.with_extension("revocations.lock"))
}

/// A file and what it is to hold.
pub type Written = (PathBuf, Vec<u8>);

/// The revocations' files with one more line: the release of this digest is stopped, or the draft of it
/// never becomes one.
pub fn revoke(
    place: &Place,
    pipeline: &Pipeline,
    digest: &str,
    signer: &Signer,
    reason: &str,
) -> Result<(Revoked, Vec<Written>), RunFault> {
    stop(&files(place, pipeline), &place.trust, digest, signer, reason)
}

/// A line that was signed somewhere else, and what it stops.
pub struct Brought<'a> {
    place: &'a Place,
    files: [PathBuf; 2],
    release: String,
    line: Vec<u8>,
    pub revoked: Revoked,
}

impl Brought<'_> {
    /// The revocations' files with the line; said before, it is [`RunFault::Revoked`].
    pub fn lines(&self) -> Result<Vec<Written>, RunFault> {
        let mut written = Vec::new();
        for file in &self.files {
            if said(file, &self.place.trust, &self.release)?.is_none() {
                let mut lines = read(file)?;
                lines.extend(&self.line);
                written.push((file.clone(), lines));
            }
        }
        match written.is_empty() {
            true => Err(self.revoked.clone().into()),
            false => Ok(written),
        }
    }
}

/// As [`revoke`], by a line that was signed somewhere else. It stops the release or the draft of one
/// of these pipelines, or is refused. Changes nothing; may ask the ledger's home, so nobody is to wait for it.
pub fn bring<'a>(
    place: &'a Place,
    pipelines: &[Pipeline],
    line: &[u8],
) -> Result<Brought<'a>, RunFault> {
    let envelope = Envelope::from_bytes(line).map_err(fault)?;
    let (Revocation { release, created, reason, .. }, by) =
        release::verify_revocation(&envelope, &root_of(&place.trust)?).map_err(fault)?;
    let lies = |pipeline: &&Pipeline| {
        let files = [pipeline.release.clone(), bundle::draft_file(pipeline)];
        let mut found = files.iter().filter_map(|file| bundle::find(file, pipeline).ok().flatten());
        found.any(|found| digest(&found).is_ok_and(|digest| digest == release))
    };
    // A process may run under an earlier one, that the ledger knows. It is asked last: its home may be away.
    let ran = |pipeline: &&Pipeline| {
        Known::of(place, pipeline).is_ok_and(|known| known.in_force.contains(&release))
    };
    let found = pipelines.iter().find(lies).or_else(|| pipelines.iter().find(ran));
    let pipeline = found.ok_or_else(|| {
        fault(
            "it revokes no release and no draft that lies here\n  next: bring it to where it lies",
        )
    })?;
    let line = envelope.to_bytes().map_err(fault)?;
    let revoked = Revoked { by, at: created, reason };
    Ok(Brought { place, files: files(place, pipeline), release, line, revoked })
}

/// As [`revoke`], of what has this digest, in files of revocations and under a trust root's.
pub(crate) fn stop(
    files: &[PathBuf],
    trust: &Path,
    digest: &str,
    signer: &Signer,
    reason: &str,
) -> Result<(Revoked, Vec<Written>), RunFault> {
    if reason.is_empty() || reason.len() > 200 || reason.contains(release::is_hidden) {
        return Err(fault("a reason has 1 to 200 characters in one line"));
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let revocation = Revocation {
        v: release::FORMAT,
        release: digest.to_owned(),
        created: now,
        reason: reason.to_owned(),
    };
    let mut line = release::revoke(&revocation, &[]).map_err(fault)?;
    signer.sign(&mut line)?;
    // Whoever may not revoke adds no line that everybody would stumble over.
    let (_, by) = release::verify_revocation(&line, &root_of(trust)?).map_err(fault)?;
    let line = line.to_bytes().map_err(fault)?;
    let mut written = Vec::new();
    for file in files {
        if let Some(before) = said(file, trust, digest)? {
            return Err(before.into());
        }
        let mut lines = read(file)?;
        lines.extend(&line);
        written.push((file.clone(), lines));
    }
    Ok((Revoked { by, at: revocation.created, reason: reason.to_owned() }, written))
}

/// A file that is not there says nothing; one that cannot be read could say anything.
fn read(file: &Path) -> Result<Vec<u8>, RunFault> {
    match std::fs::read(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(fault(format!("{}: {}", file.display(), error.kind())))
        }
        read => Ok(read.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use douane_ledger::signing::SigningKey;
    use douane_ledger::trust::{self, Approver, Role, Root};

    use super::*;
    use crate::config;

    #[test]
    fn who_adds_a_line_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut place, _) = config::tests::good_base();
        place.trust = dir.path().join("trust.json");
        let lock = || File::open(dir.path().join("trust.revocations.lock")).unwrap();
        let held = alone(&place).unwrap();
        assert!(lock().try_lock().is_err(), "another one waits");
        drop(held);
        assert!(lock().try_lock().is_ok());
        place.trust = dir.path().join("nowhere/trust.json");
        assert!(alone(&place).is_none());
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut place, mut pipeline) = config::tests::good_base();
        place.trust = dir.path().join("trust.json");
        pipeline.release = dir.path().join("p.release.json");
        let [ada, bo, eve] = [(); 3].map(|()| SigningKey::generate().unwrap());
        let person = |name: &str, key: &SigningKey, roles: &[Role]| Approver {
            name: name.into(),
            key: key.verifying_key(),
            roles: roles.to_vec(),
        };
        let all = [Role::Approve, Role::Revoke, Role::Trust];
        let people = vec![person("ada", &ada, &all), person("bo", &bo, &[Role::Approve])];
        let root = trust::sign(&Root::first(1, people), &[&ada]).unwrap();
        std::fs::write(&place.trust, root.to_bytes().unwrap()).unwrap();
        let (this, other) = ("a".repeat(64), "b".repeat(64));
        let line = |digest: &str, key: &SigningKey| {
            let revocation = Revocation {
                v: release::FORMAT,
                release: digest.into(),
                created: "2026-01-31T00:00:00Z".into(),
                reason: "x".into(),
            };
            release::revoke(&revocation, &[key]).unwrap().to_bytes().unwrap()
        };
        // A copy of the release somewhere else has the same trust root beside it.
        let by_the_root = place.trust.with_extension("revocations.json");
        assert_eq!(files(&place, &pipeline), [file(&pipeline), by_the_root.clone()]);
        std::fs::write(&by_the_root, line(&this, &ada)).unwrap();
        assert_eq!(of(&place, &pipeline, &this).unwrap().unwrap().by, "ada");
        std::fs::remove_file(&by_the_root).unwrap();
        let said = |lines: &[Vec<u8>]| {
            std::fs::write(file(&pipeline), lines.concat()).unwrap();
            of(&place, &pipeline, &this)
        };
        assert_eq!(of(&place, &pipeline, &this).unwrap(), None);
        let of_this = line(&this, &ada);
        let revoked = said(&[line(&other, &eve), of_this.clone()]).unwrap().unwrap();
        assert_eq!((revoked.by.as_str(), revoked.reason.as_str()), ("ada", "x"));
        assert_eq!(said(&[line(&other, &ada), line(&other, &eve)]).unwrap(), None);
        // Bo may approve and not revoke; nobody knows Eve; a torn line may be about anything.
        let torn = of_this[..of_this.len() / 2].to_vec();
        for lines in [vec![line(&this, &bo)], vec![line(&this, &eve)], vec![torn]] {
            let fault = said(&lines).unwrap_err();
            assert!(fault.to_string().contains("cannot be told"), "{fault}");
            assert_eq!(fault.code(), "release");
        }
    }
}
