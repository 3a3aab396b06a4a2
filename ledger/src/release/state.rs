//! Where a release stands in its life. Nobody writes a state down: it follows from the signatures on
//! the file, the trust root, the revocations beside it and the clock.

use std::time::SystemTime;

use serde::Serialize;

use super::{ReleaseFault, verify};
use crate::dsse::Envelope;
use crate::trust::TrustRoot;

/// What stands in a verified revocation of the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// A name of the trust root.
    pub by: String,
    /// RFC 3339, UTC.
    pub at: String,
    /// For people.
    pub reason: String,
}

/// One of these, at each instant. [`State::is_live`] is the only one under which anything crosses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nobody signed it.
    Draft,
    /// Only its author signed it, who does not count.
    Submitted { needed: usize },
    /// Some approvals count, and more are needed.
    InReview { found: usize, needed: usize },
    /// Enough persons approved of it, and its time is not over.
    Approved { approvers: Vec<String>, until: String },
    /// It was stopped before enough had approved of it.
    Rejected { by: String, at: String, reason: String },
    /// A one-shot release whose span is through: so many records of it were set aside.
    Closed { set_aside: u64 },
    /// Its time is over.
    Expired { at: String },
    /// It was stopped after it had been approved.
    Revoked { by: String, at: String, reason: String },
    /// It does not hold: changed, of the future, signed by nobody of the trust root.
    Invalid { why: String },
}

impl State {
    /// Of a release file. `stopped`: its revocation, where there is one.
    pub fn of(
        envelope: &Envelope,
        root: &TrustRoot,
        stopped: Option<Stopped>,
        now: SystemTime,
    ) -> Self {
        let verified = match envelope.is_signed() {
            true => verify(envelope, root, now),
            false => Err(ReleaseFault::Threshold { found: 0, needed: root.threshold() }),
        };
        let live = verified.map(|live| (live.approvers().to_vec(), live.expires.to_string()));
        Self::told(live, envelope.is_signed(), stopped)
    }

    /// Of what verifying came to: whose approval counts, and until when.
    pub fn told(
        verified: Result<(Vec<String>, String), ReleaseFault>,
        is_signed: bool,
        stopped: Option<Stopped>,
    ) -> Self {
        match (verified, stopped) {
            (Err(ReleaseFault::Threshold { .. }), Some(Stopped { by, at, reason })) => {
                Self::Rejected { by, at, reason }
            }
            (Ok(_) | Err(ReleaseFault::Expired { .. }), Some(Stopped { by, at, reason })) => {
                Self::Revoked { by, at, reason }
            }
            (Ok((approvers, until)), None) => Self::Approved { approvers, until },
            (Err(ReleaseFault::Expired { at }), None) => Self::Expired { at },
            (Err(ReleaseFault::Threshold { .. }), None) if !is_signed => Self::Draft,
            (Err(ReleaseFault::Threshold { found: 0, needed }), None) => Self::Submitted { needed },
            (Err(ReleaseFault::Threshold { found, needed }), None) => {
                Self::InReview { found, needed }
            }
            (Err(why), _) => Self::Invalid { why: why.to_string() },
        }
    }

    /// The same, where a ledger says that the release's span is through.
    #[must_use]
    pub fn or_closed(self, closed: Option<u64>) -> Self {
        match (self, closed) {
            (Self::Approved { .. } | Self::Expired { .. }, Some(set_aside)) => {
                Self::Closed { set_aside }
            }
            (other, _) => other,
        }
    }

    /// Whether something may cross under it.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Approved { .. })
    }

    /// Whether more signatures may make it live.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Draft | Self::Submitted { .. } | Self::InReview { .. })
    }

    /// One word, as in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Submitted { .. } => "submitted",
            Self::InReview { .. } => "in_review",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Closed { .. } => "closed",
            Self::Expired { .. } => "expired",
            Self::Revoked { .. } => "revoked",
            Self::Invalid { .. } => "invalid",
        }
    }
}

/// As a person reads it.
impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Draft => write!(f, "draft: nobody signed it"),
            Self::Submitted { needed } => {
                write!(f, "submitted: its author signed it, 0 of {needed} approvals that count")
            }
            Self::InReview { found, needed } => {
                write!(f, "in review: {found} of {needed} approvals that count")
            }
            Self::Approved { approvers, until } => {
                write!(f, "approved by {}; live until {until}", approvers.join(", "))
            }
            Self::Rejected { by, at, reason } => write!(f, "rejected by {by} at {at}: {reason}"),
            Self::Closed { set_aside: 0 } => write!(f, "closed: all of its span has crossed"),
            Self::Closed { set_aside } => {
                write!(
                    f,
                    "closed: its span is through, and {set_aside} records of it were set aside"
                )
            }
            Self::Expired { at } => write!(f, "expired at {at}"),
            Self::Revoked { by, at, reason } => write!(f, "revoked by {by} at {at}: {reason}"),
            Self::Invalid { why } => write!(f, "invalid: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{release, two};
    use super::super::{Release, sign};
    use super::*;
    use crate::signing::SigningKey;
    use crate::trust::{self, Approver, Role, Root};

    /// 2027-01-15T08:00:00Z.
    const NOW: u64 = 1_800_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Three who may all do everything; `ada` is the author.
    fn three() -> (TrustRoot, Vec<SigningKey>) {
        let keys: Vec<SigningKey> =
            (1..=3).map(|n| SigningKey::from_seed(&[n; 32]).unwrap()).collect();
        let people = ["ada", "bo", "cy"].into_iter().zip(&keys).map(|(name, key)| Approver {
            name: name.into(),
            key: key.verifying_key(),
            roles: vec![Role::Approve, Role::Revoke, Role::Trust],
        });
        let root = Root::first(2, people.collect());
        let file = trust::sign(&root, &keys.iter().collect::<Vec<_>>()).unwrap();
        (TrustRoot::load(&file.to_bytes().unwrap(), None).unwrap(), keys)
    }

    #[test]
    fn each_state_follows_from_signatures_revocation_and_clock() {
        let (root, keys) = three();
        let by = |signers: &[usize]| {
            sign(&release(), &signers.iter().map(|at| &keys[*at]).collect::<Vec<_>>()).unwrap()
        };
        let stopped = || {
            Some(Stopped { by: "bo".into(), at: "2027-01-02T00:00:00Z".into(), reason: "x".into() })
        };
        let after = at(NOW + 400 * 86_400);
        for (signers, stopped, now, word, live, waits) in [
            (&[][..], None, at(NOW), "draft", false, true),
            (&[0], None, at(NOW), "submitted", false, true),
            (&[1], None, at(NOW), "in_review", false, true),
            (&[0, 1], None, at(NOW), "in_review", false, true),
            (&[1, 2], None, at(NOW), "approved", true, false),
            (&[1, 2], None, after, "expired", false, false),
            (&[1, 2], stopped(), at(NOW), "revoked", false, false),
            (&[1, 2], stopped(), after, "revoked", false, false),
            (&[1], stopped(), at(NOW), "rejected", false, false),
            (&[], stopped(), at(NOW), "rejected", false, false),
            (&[1, 2], None, at(0), "invalid", false, false),
        ] {
            let state = State::of(&by(signers), &root, stopped, now);
            assert_eq!((state.word(), state.is_live(), state.waits()), (word, live, waits));
            // The word in JSON is this one.
            assert_eq!(serde_json::to_value(&state).unwrap()["state"], word);
            assert!(state.to_string().starts_with(&word.replace('_', " ")), "{state}");
        }
        let stranger = sign(&release(), &[&SigningKey::generate().unwrap()]).unwrap();
        assert_eq!(State::of(&stranger, &root, None, at(NOW)).word(), "invalid");
        // A revoked file that does not hold is what does not hold.
        assert_eq!(State::of(&stranger, &root, stopped(), at(NOW)).word(), "invalid");
    }

    #[test]
    fn closed_is_what_was_approved_and_is_through() {
        let approved = || State::Approved {
            approvers: vec!["bo".into()],
            until: "2027-01-02T00:00:00Z".into(),
        };
        assert_eq!(approved().or_closed(None), approved());
        let closed = approved().or_closed(Some(3));
        assert_eq!((closed.word(), closed.is_live(), closed.waits()), ("closed", false, false));
        assert!(closed.to_string().contains("3 records of it were set aside"), "{closed}");
        assert_eq!(State::Expired { at: "x".into() }.or_closed(Some(0)).word(), "closed");
        // Whoever stopped it is what people must see.
        let revoked = State::Revoked { by: "bo".into(), at: "x".into(), reason: "y".into() };
        assert_eq!(revoked.clone().or_closed(Some(0)), revoked);
    }

    #[test]
    fn an_author_outside_the_trust_root_cannot_submit_but_propose() {
        let (root, keys) = two();
        let mine = Release { author: "zoe".into(), ..release() };
        let draft = sign(&mine, &[]).unwrap();
        assert_eq!(State::of(&draft, &root, None, at(NOW)), State::Draft);
        let one = sign(&mine, &[&keys[0]]).unwrap();
        assert_eq!(State::of(&one, &root, None, at(NOW)), State::InReview { found: 1, needed: 2 });
    }
}
