use std::time::Duration;

use super::*;
use crate::trust::{self, Approver, Root};

const NOW: u64 = 1_800_000_000; // 2027-01-15T08:00:00Z

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn column(name: &str, shape: Shape) -> Column {
    Column {
        name: name.into(),
        from: name.into(),
        column_type: "text".into(),
        nullable: true,
        class: "identifier".into(),
        shape,
        on_bad: OnBad::Refuse,
    }
}

pub(crate) fn release() -> Release {
    Release {
        v: 1,
        version: 1,
        pipeline: "customers".into(),
        purpose: "model-training".into(),
        fingerprint: "ab".repeat(32),
        nonce: "01".repeat(16),
        author: "ada".into(),
        created: "2027-01-01T00:00:00Z".into(),
        expires: "2027-07-01T00:00:00Z".into(),
        limits: Limits { records: Some(u64::MAX), bytes: None, epsilon: None },
        once: None,
        source: Source { cluster_id: "s".into(), zone: "eu".into(), topics: vec!["t".into()] },
        target: Target {
            cluster_id: "g".into(),
            zone: "global".into(),
            topic: "out".into(),
            format: "json".into(),
            partition_by: "token".into(),
            timestamp_ms_granularity: 1000,
        },
        leaves: vec![ReleasedLeaf {
            part: "row".into(),
            path: "id".into(),
            leaf_type: "int64".into(),
            class: "identifier".into(),
            residency: Some("eu".into()),
            subject: true,
        }],
        key: vec![],
        columns: vec![
            column(
                "id",
                Shape::Token {
                    form: "base32".into(),
                    domain: "customer".into(),
                    pad_to: None,
                    key_per: None,
                },
            ),
            column("card", Shape::Mask { keep_first: 0, keep_last: 4, fill: '*' }),
            column("born", Shape::Year),
        ],
        domains: vec![],
        changes: Changes::default(),
        overrides: vec![],
        policy: Policy { version: 1, digest: "cd".repeat(32) },
        explain: "id: token\n".into(),
    }
}

struct People {
    keys: Vec<SigningKey>,
    root: TrustRoot,
}

fn people(threshold: u32, names: &[&str]) -> People {
    let keys: Vec<SigningKey> = names.iter().map(|_| SigningKey::generate().unwrap()).collect();
    let roles = vec![Role::Approve, Role::Revoke, Role::Trust];
    let approvers = names.iter().zip(&keys).map(|(name, key)| Approver {
        name: (*name).into(),
        key: key.verifying_key(),
        roles: roles.clone(),
    });
    let root = Root::first(threshold, approvers.collect());
    let file = trust::sign(&root, &keys.iter().collect::<Vec<_>>()).unwrap().to_bytes().unwrap();
    People { keys, root: TrustRoot::load(&file, None).unwrap() }
}

/// A root of two who must both approve, and neither of whom is the author.
pub(crate) fn two() -> (TrustRoot, Vec<SigningKey>) {
    let People { keys, root } = people(2, &["bo", "cy"]);
    (root, keys)
}

#[test]
fn two_of_three_approve() {
    let p = people(2, &["ada", "bo", "cy"]);
    let envelope = sign(&release(), &[&p.keys[1], &p.keys[2]]).unwrap();
    let live = verify(&envelope, &p.root, at(NOW)).unwrap();
    assert_eq!(live.approvers(), ["bo", "cy"]);
    assert_eq!(*live, release());
    assert_eq!(live.digest(), digest(&release()).unwrap());
    assert!(live.live(at(NOW)).is_ok());
}

#[test]
fn the_author_does_not_count_unless_alone() {
    let p = people(2, &["ada", "bo", "cy"]);
    let envelope = sign(&release(), &[&p.keys[0], &p.keys[1]]).unwrap();
    let fault = verify(&envelope, &p.root, at(NOW)).unwrap_err();
    assert_eq!(fault, ReleaseFault::Threshold { found: 1, needed: 2 });
    let alone = people(1, &["ada"]);
    let envelope = sign(&release(), &[&alone.keys[0]]).unwrap();
    assert!(verify(&envelope, &alone.root, at(NOW)).is_ok());
}

#[test]
fn one_person_cannot_sign_twice() {
    let p = people(2, &["ada", "bo", "cy"]);
    let mut envelope = sign(&release(), &[&p.keys[1], &p.keys[1]]).unwrap();
    envelope.add_signature(&p.keys[1]).unwrap();
    assert!(verify(&envelope, &p.root, at(NOW)).is_err());
}

#[test]
fn a_stranger_is_refused() {
    let p = people(1, &["bo", "cy"]);
    let envelope = sign(&release(), &[&p.keys[0], &SigningKey::generate().unwrap()]).unwrap();
    assert!(matches!(verify(&envelope, &p.root, at(NOW)), Err(ReleaseFault::Statement(_))));
}

#[test]
fn a_release_dies_on_time() {
    let p = people(1, &["bo", "cy"]);
    let envelope = sign(&release(), &[&p.keys[0]]).unwrap();
    let end = 1_814_400_000; // 2027-07-01T00:00:00Z
    let live = verify(&envelope, &p.root, at(end - 1)).unwrap();
    assert!(live.live(at(end - 1)).is_ok());
    assert!(matches!(live.live(at(end)), Err(ReleaseFault::Expired { .. })));
    assert!(matches!(verify(&envelope, &p.root, at(end)), Err(ReleaseFault::Expired { .. })));
    assert!(matches!(verify(&envelope, &p.root, at(0)), Err(ReleaseFault::Future { .. })));
}

#[test]
fn refuses_release_bad_fields() {
    let refused = |change: &dyn Fn(&mut Release)| {
        let mut release = release();
        change(&mut release);
        sign(&release, &[]).is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|r| r.v = 2));
    assert!(refused(&|r| r.version = 0));
    assert!(refused(&|r| r.fingerprint.truncate(2)));
    assert!(refused(&|r| r.fingerprint = "AB".repeat(32)));
    assert!(refused(&|r| r.nonce.clear()));
    assert!(refused(&|r| r.author = "Ada".into()));
    assert!(refused(&|r| r.expires = r.created.clone()));
    assert!(refused(&|r| r.expires = "2027-07-01T00:00:00+02:00".into()));
    assert!(refused(&|r| r.columns.clear()));
    assert!(refused(&|r| r.columns[1].name = "id".into()));
    assert!(refused(&|r| r.target.cluster_id = "s".into()));
    assert!(refused(&|r| r.target.timestamp_ms_granularity = 0));
    assert!(refused(&|r| r.leaves[0].part = "header".into()));
    for bad in ["", "1e3", "-1", ".5", "1.", "inf", "1.2.3"] {
        assert!(refused(&|r| r.limits.epsilon = Some(bad.to_owned())), "{bad}");
    }
    assert!(!refused(&|r| r.limits.epsilon = Some("2.5".to_owned())));
    let span = |topic: &str, partition, start, end| SpanEntry {
        topic: topic.into(),
        partition,
        start,
        end,
    };
    for bad in [
        vec![],
        vec![span("t", 0, 5, 5)],
        vec![span("t", 0, -1, 5)],
        vec![span("t", -1, 0, 5)],
        vec![span("u", 0, 0, 5)],
        vec![span("t", 1, 0, 5), span("t", 0, 0, 5)],
        vec![span("t", 0, 0, 5), span("t", 0, 7, 9)],
    ] {
        assert!(refused(&|r| r.once = Some(bad.clone())), "{bad:?}");
    }
    assert!(!refused(&|r| r.once = Some(vec![span("t", 0, 0, 5), span("t", 1, 7, 9)])));
}

#[test]
fn a_revocation_needs_the_role() {
    let p = people(1, &["bo", "cy"]);
    let revocation = Revocation {
        v: 1,
        release: "ab".repeat(32),
        created: "2027-01-01T00:00:00Z".into(),
        reason: "withdrawn".into(),
    };
    let envelope = revoke(&revocation, &[&p.keys[1]]).unwrap();
    let (read, by) = verify_revocation(&envelope, &p.root).unwrap();
    assert_eq!((read, by.as_str()), (revocation.clone(), "cy"));
    let stranger = revoke(&revocation, &[&SigningKey::generate().unwrap()]).unwrap();
    assert!(verify_revocation(&stranger, &p.root).is_err());
    // one kind of statement is not another
    assert!(matches!(
        verify(&envelope, &p.root, at(NOW)),
        Err(ReleaseFault::Statement(StatementFault::Type { .. }))
    ));
}

/// The bytes people sign; changing them voids every approval.
#[test]
fn golden_payload() {
    let digest = digest(&release()).unwrap();
    let payload = String::from_utf8(statement::payload(&release()).unwrap()).unwrap();
    assert!(
        payload
            .contains(r#""limits":{"bytes":null,"epsilon":null,"records":"18446744073709551615"}"#)
    );
    assert!(payload.contains(r#""shape":{"kind":"year"}"#));
    assert_eq!(hex(&digest), GOLDEN);
}

const GOLDEN: &str = "05e14a6a5ea00fb4abc0bc7bf6c2bfc1f746440f9845ef64d5b2e814102b1387";

/// People sign what they read: no text of a release can write lines or hide some.
#[test]
fn what_cannot_be_seen_is_not_signed() {
    let p = people(1, &["bo"]);
    let signs = |release: &Release| sign(release, &[&p.keys[0]]).is_ok();
    assert!(signs(&release()));
    let line = "a'\nwhat stays behind\n  after.phone  identifier  dropped";
    type Change = fn(&mut Release, &str);
    let changes: [Change; 8] = [
        |release, text| release.purpose = text.to_owned(),
        |release, text| release.pipeline = text.to_owned(),
        |release, text| release.source.zone = text.to_owned(),
        |release, text| release.target.topic = text.to_owned(),
        |release, text| release.leaves[0].residency = Some(text.to_owned()),
        |release, text| release.columns[0].name = text.to_owned(),
        |release, text| release.columns[0].shape = Shape::Constant { text: text.to_owned() },
        |release, text| {
            let shape = &mut release.columns[1].shape;
            *shape = Shape::Derived { from: vec![], expression: text.to_owned() };
        },
    ];
    for change in changes {
        for (text, fits) in
            [("plain ä", true), (line, false), ("a\u{202e}b", false), ("\u{200b}", false)]
        {
            let mut changed = release();
            change(&mut changed, text);
            assert_eq!(signs(&changed), fits, "{text:?}");
        }
    }
    let filled = |fill| {
        let mut changed = release();
        changed.columns[1].shape = Shape::Mask { keep_first: 0, keep_last: 4, fill };
        changed
    };
    assert!(signs(&filled('#')) && !signs(&filled('\n')));
    // The proof has lines, and nothing else that cannot be seen.
    assert!(signs(&Release { explain: "a\nb\n".into(), ..release() }));
    assert!(!signs(&Release { explain: "a\u{2066}b\n".into(), ..release() }));
}
