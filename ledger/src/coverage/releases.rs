//! The releases that records may have crossed under, as whoever receives the records knows them.

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use jiff::Timestamp;

use crate::dsse::Envelope;
use crate::manifest::Manifest;
use crate::release::{self, LiveRelease, ReleaseFault};
use crate::trust::TrustRoot;

/// Releases that enough persons approved, and which of them were revoked.
#[derive(Clone, Debug, Default)]
pub struct Releases {
    all: HashMap<String, Approved>,
}

/// One of them. It may have expired since: nothing can be written under it.
#[derive(Clone, Debug)]
pub struct Approved {
    pub release: LiveRelease,
    expires_ms: i64,
    revoked: bool,
}

/// Why a manifest is not covered by a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// None of the releases that were given.
    Unknown,
    /// The manifest says other things than its release.
    Different,
    /// It was sent after the release's last instant.
    Expired,
    /// Somebody with the right to stopped the release.
    Revoked,
}

impl Doubt {
    pub fn code(self) -> &'static str {
        match self {
            Self::Unknown => "release_unknown",
            Self::Different => "release_different",
            Self::Expired => "release_expired",
            Self::Revoked => "release_revoked",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "its release is none of those given",
            Self::Different => "it does not say what its release says",
            Self::Expired => "it was sent when its release had expired",
            Self::Revoked => "its release was revoked",
        })
    }
}

impl Releases {
    /// Takes a release in, verified as of the instant it was made: what crossed while it was live
    /// stays approved of.
    ///
    /// # Errors
    /// [`ReleaseFault`]: too few approvers of this trust root, or no release.
    pub fn add(&mut self, envelope: &Envelope, root: &TrustRoot) -> Result<(), ReleaseFault> {
        let invalid = |why| ReleaseFault::Invalid { why };
        let draft = release::draft(envelope)?;
        let created: Timestamp =
            draft.created.parse().map_err(|_| invalid("created is not RFC 3339 in UTC"))?;
        let expires: Timestamp =
            draft.expires.parse().map_err(|_| invalid("expires is not RFC 3339 in UTC"))?;
        let release = release::verify(envelope, root, SystemTime::from(created))?;
        let expires_ms = expires.as_millisecond();
        self.all.insert(release.digest_hex(), Approved { release, expires_ms, revoked: false });
        Ok(())
    }

    /// Takes a revocation in. One of a release that is not among these says nothing.
    ///
    /// # Errors
    /// [`ReleaseFault`]: then it cannot be told what was revoked.
    pub fn revoke(&mut self, envelope: &Envelope, root: &TrustRoot) -> Result<(), ReleaseFault> {
        let said: release::Revocation = crate::statement::unverified(envelope)?;
        // Another release's revoker may have left the trust root since.
        let Some(approved) = self.all.get_mut(&said.release) else { return Ok(()) };
        release::verify_revocation(envelope, root)?;
        approved.revoked = true;
        Ok(())
    }

    /// The release with this digest, hexadecimal.
    pub fn get(&self, digest: &str) -> Option<&Approved> {
        self.all.get(digest)
    }

    /// The release that a manifest names allowed what it brings. `sent_ms`: when.
    pub(super) fn allow(&self, manifest: &Manifest, sent_ms: i64) -> Result<(), Doubt> {
        let approved = self.all.get(&manifest.release).ok_or(Doubt::Unknown)?;
        let Approved { release, expires_ms, revoked } = approved;
        let names = release.columns.iter().map(|column| &column.name);
        let same = release.pipeline == manifest.pipeline
            && release.purpose == manifest.purpose
            && release.fingerprint == manifest.fingerprint
            && release.policy == manifest.policy
            && release.changes.shape_name() == manifest.record_shape
            && names.eq(manifest.columns.iter().map(|column| &column.name))
            && manifest.subjects.iter().all(|subject| subject.topic == release.target.topic);
        match () {
            () if !same => Err(Doubt::Different),
            () if *revoked => Err(Doubt::Revoked),
            () if sent_ms >= *expires_ms => Err(Doubt::Expired),
            () => Ok(()),
        }
    }
}
