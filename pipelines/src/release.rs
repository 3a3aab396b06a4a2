//! Releases from the pipeline's side: draft one from the plan, sign it after recomputing it, and
//! open it for a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use douane_connectors::control_switch;
use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::fingerprint::{
    Endpoint, FORMAT, Fingerprinted, FingerprintedDomain, FingerprintedStage, Named,
};
use douane_ledger::log::SpanEntry;
use douane_ledger::release::{
    self, Column, Limits, LiveRelease, OnBad, Policy, Release, ReleaseFault, ReleasedLeaf, Shape,
    Source, State, Target,
};
use douane_ledger::signing::VerifyingKey;
use douane_ledger::trust::TrustRoot;
use douane_schemas::debezium::ENVELOPE_LIST_VERSION;
use douane_schemas::keys::Purpose;
use douane_schemas::leaf::{Leaf, TableLeaves};
use douane_transforms::check_digit::{CheckDigit, CheckOutcome};
use douane_transforms::detectors::Detector;
use douane_transforms::dp::design::Component;
use douane_transforms::{Produces, Stage};

use crate::aggregate::windows;
use crate::bundle;
use crate::clock::Clock;
use crate::config::aggregate::Late;
use crate::config::{Aggregate, Finding, Kind, Pipeline, Place};
use crate::fault::RunFault;
use crate::known::Known;
use crate::names::typed;
use crate::once;
use crate::plan::{Crosses, OutputColumn, Part, Plan, Role};
use crate::policy;
use crate::position::Approved;
use crate::proof::Proof;
use crate::revocation;

/// How long a release lives unless it says otherwise.
pub const LIFE_DAYS_DEFAULT: u32 = 180;
/// Of `enrich`: counts up with whatever changes which statistic a row gets.
const ENRICH_SEMANTICS: u32 = 1;

/// A release as a run uses it.
pub struct Signed {
    pub release: LiveRelease,
    /// SHA-256 of the signed payload, in hexadecimal.
    pub digest: String,
    /// As it was signed: a later trust root is asked about it again.
    pub envelope: Envelope,
    /// The trust root it was verified under, and its own version: what the layout pins.
    pub approved: Approved,
}

pub(crate) fn fault(what: impl std::fmt::Display) -> RunFault {
    RunFault::Release(what.to_string())
}

fn read(path: &Path, next: &str) -> Result<Vec<u8>, RunFault> {
    std::fs::read(path)
        .map_err(|error| fault(format!("{}: {}\n  next: {next}", path.display(), error.kind())))
}

/// The trust root that `douane.yaml` names.
pub fn trust_root(place: &Place) -> Result<TrustRoot, RunFault> {
    root_of(&place.trust)
}

/// The newest trust root of a file.
pub(crate) fn root_of(trust: &Path) -> Result<TrustRoot, RunFault> {
    let bytes = read(trust, "`douane release trust` makes one")?;
    TrustRoot::load(&bytes, None).map_err(|f| fault(format!("{}: {f}", trust.display())))
}

/// Whether a trust file still holds the root that was the newest as `before` was committed.
pub(crate) fn holds_root(trust: &[u8], before: &Approved) -> bool {
    holds_version(trust, before.trust_version, &before.trust_digest)
}

/// Whether the root of a version in a trust file has this digest.
pub(crate) fn holds_version(trust: &[u8], version: u64, digest: &str) -> bool {
    let lines = usize::try_from(version).unwrap_or(usize::MAX);
    let then: Vec<u8> =
        trust.split_inclusive(|byte| *byte == b'\n').take(lines).flatten().copied().collect();
    TrustRoot::load(&then, None).is_ok_and(|then| {
        then.root().version == version && canonical::hex(&then.digest()) == digest
    })
}

/// Nothing that approves has gone back since `before` was committed: the trust file still holds
/// the root that was the newest then, and the release is none of an earlier version.
pub fn check_successor(place: &Place, before: &Approved, now: &Approved) -> Result<(), RunFault> {
    let bytes = read(&place.trust, "put the trust root's file back")?;
    if !holds_root(&bytes, before) {
        return Err(fault(format!(
            "{} does not hold the trust root of version {} that this pipeline ran under\n  next: \
             put that file back; `douane release trust` adds a root that the old threshold signs",
            place.trust.display(),
            before.trust_version
        )));
    }
    if now.release_version < before.release_version {
        return Err(fault(format!(
            "version {} is older than version {}, which this pipeline ran under already\n  next: \
             put the newest release back, or propose and sign a new one on top of it",
            now.release_version, before.release_version
        )));
    }
    let another = before.release.is_some() && before.release != now.release;
    if now.release_version == before.release_version && another {
        return Err(fault(format!(
            "version {} is another release than the one of this version that this pipeline ran \
             under\n  next: put the newest release back, or propose and sign a new one on top of it",
            now.release_version
        )));
    }
    Ok(())
}

/// The pipeline's release beside `douane.yaml`, as it lies.
pub fn envelope(pipeline: &Pipeline) -> Result<Envelope, RunFault> {
    bundle::find(&pipeline.release, pipeline)?.ok_or_else(|| {
        let next = match bundle::find(&bundle::draft_file(pipeline), pipeline) {
            Ok(None) => "`douane release propose` drafts one",
            _ => "its draft waits for approvals: `douane release sign`",
        };
        let (file, name) = (pipeline.release.display(), &pipeline.name);
        fault(format!("{file}: no release of `{name}`\n  next: {next}"))
    })
}

/// Where a release of a pipeline stands in its life, at this moment: by the files, and by the ledger
/// where it is here.
pub fn state(place: &Place, pipeline: &Pipeline, envelope: &Envelope) -> Result<State, RunFault> {
    state_at(place, pipeline, envelope, &Known::of(place, pipeline)?, Clock::of(place)?.now())
}

/// As [`state`], at an instant and beside what the ledger is known to say.
pub(crate) fn state_at(
    place: &Place,
    pipeline: &Pipeline,
    envelope: &Envelope,
    known: &Known,
    at: SystemTime,
) -> Result<State, RunFault> {
    let digest = digest(envelope)?;
    let by_file = revocation::of(place, pipeline, &digest)?.map(Into::into);
    let stopped = by_file.or_else(|| known.stopped(&digest));
    let state = State::of(envelope, &trust_root(place)?, stopped, at);
    Ok(state.or_closed(known.closed(&digest)))
}

/// The name of a release, or of a draft, in manifests and the ledger.
pub(crate) fn digest(envelope: &Envelope) -> Result<String, RunFault> {
    let draft = release::draft(envelope).map_err(fault)?;
    Ok(canonical::hex(&release::digest(&draft).map_err(fault)?))
}

/// Why the files are not what a release was signed for; none: they are.
pub fn misfit(place: &Place, pipeline: &Pipeline, release: &Release) -> Option<String> {
    let plan = released_plan(place, pipeline, release);
    let checked = plan.and_then(|plan| check_fingerprint(place, pipeline, &plan, release));
    checked.err().map(|fault| fault.to_string())
}

/// Whose signatures an envelope has, by the trust root.
pub fn signers(place: &Place, envelope: &Envelope) -> Vec<String> {
    let Ok(root) = trust_root(place) else { return vec!["somebody".to_owned()] };
    match envelope.verify(&root.keys()) {
        Ok(verified) => verified.signers.iter().map(|key| name_of(&root, key)).collect(),
        Err(_) => vec!["somebody whom the trust root does not know".to_owned()],
    }
}

fn name_of(root: &TrustRoot, key: &VerifyingKey) -> String {
    let person = root.root().approvers.iter().find(|person| person.key == *key);
    person.map_or_else(|| "somebody".to_owned(), |person| person.name.clone())
}

/// What the next signature goes on: the draft, or else the release.
pub fn to_sign(pipeline: &Pipeline) -> Result<Envelope, RunFault> {
    match bundle::find(&bundle::draft_file(pipeline), pipeline)? {
        Some(draft) => Ok(draft),
        None => envelope(pipeline),
    }
}

/// The release holds and the files are what it was signed for.
pub fn hold(place: &Place, pipeline: &Pipeline) -> Result<(Signed, Plan), RunFault> {
    let signed = live(place, pipeline)?;
    let plan = released_plan(place, pipeline, &signed.release)?;
    check_fingerprint(place, pipeline, &plan, &signed.release)?;
    Ok((signed, plan))
}

/// The pipeline's release and its plan, as of the instant at which the release was made: to make again
/// what crossed under it. It may have expired or been revoked since; nothing may be written under it.
pub(crate) fn of_then(place: &Place, pipeline: &Pipeline) -> Result<(Signed, Plan), RunFault> {
    approved_then(place, pipeline).map_err(|why| match why {
        // Of then nothing more is approved: what is missing is what was.
        RunFault::Release(why) => {
            let (file, release) = (pipeline.file.display(), pipeline.release.display());
            let why = why.rsplit_once("\n  next: ").map_or(why.as_str(), |(why, _)| why);
            fault(format!(
                "{why}\n  next: what crossed is made again with {file}, what it names and {release} as they \
                 were together then: take all of them from one commit"
            ))
        }
        other => other,
    })
}

fn approved_then(place: &Place, pipeline: &Pipeline) -> Result<(Signed, Plan), RunFault> {
    let draft = release::draft(&envelope(pipeline)?).map_err(fault)?;
    let created: jiff::Timestamp = draft.created.parse().map_err(fault)?;
    let signed = signed_at(place, pipeline, Some(created.into()))?;
    let plan = released_plan(place, pipeline, &signed.release)?;
    if !control_switch::replay_any_plan() {
        check_fingerprint(place, pipeline, &plan, &signed.release)?;
    }
    Ok((signed, plan))
}

/// Opens the pipeline's release: enough approvers, not expired, not revoked.
pub fn live(place: &Place, pipeline: &Pipeline) -> Result<Signed, RunFault> {
    let signed = signed(place, pipeline)?;
    match revocation::of(place, pipeline, &signed.digest)? {
        Some(revoked) => Err(revoked.into()),
        None => Ok(signed),
    }
}

/// Opens the pipeline's release, whether it was revoked or not.
pub(crate) fn signed(place: &Place, pipeline: &Pipeline) -> Result<Signed, RunFault> {
    signed_at(place, pipeline, None)
}

/// As of now where no instant is given.
fn signed_at(
    place: &Place,
    pipeline: &Pipeline,
    at: Option<SystemTime>,
) -> Result<Signed, RunFault> {
    let root = trust_root(place)?;
    let envelope = envelope(pipeline)?;
    // What was live at an instant of the past hangs on no clock.
    let now = at.map_or_else(|| Ok(Clock::of(place)?.now()), Ok::<_, RunFault>)?;
    let release = release::verify(&envelope, &root, now).map_err(|why| match Clock::of(place) {
        Ok(clock) => not_live(pipeline, &clock, &why),
        Err(fault) => fault,
    })?;
    let digest = release.digest_hex();
    let approved = Approved {
        trust_version: root.root().version,
        trust_digest: canonical::hex(&root.digest()),
        release_version: release.version,
        release: Some(digest.clone()),
    };
    Ok(Signed { release, digest, envelope, approved })
}

/// Why nothing crosses under a release, and what leads out of it.
pub(crate) fn not_live(pipeline: &Pipeline, clock: &Clock, why: &ReleaseFault) -> RunFault {
    let file = typed(&pipeline.file);
    let next = match why {
        ReleaseFault::Expired { .. } if let Some(behind) = clock.behind() => {
            let (behind, next) = (behind.as_secs(), clock.next());
            format!("the machine's clock is {behind} s behind what it was in this place: {next}")
        }
        ReleaseFault::Expired { .. } => {
            format!(
                "`douane release renew {file} --author NAME` drafts it anew, then have it signed"
            )
        }
        _ => format!("`douane release show {file}` says who signed"),
    };
    fault(format!("{}: {why}\n  next: {next}", pipeline.release.display()))
}

/// The shape of the input that was approved.
pub fn leaves(release: &Release) -> Result<TableLeaves, RunFault> {
    let part = |part: &str| {
        release
            .leaves
            .iter()
            .filter(|leaf| leaf.part == part)
            .map(|leaf| {
                let leaf_type = leaf.leaf_type.parse().map_err(|_| {
                    fault(format!("leaf type `{}` is not of this version", leaf.leaf_type))
                })?;
                Ok(Leaf { path: leaf.path.clone(), leaf_type })
            })
            .collect::<Result<Vec<_>, RunFault>>()
    };
    Ok(TableLeaves { key: part("key")?, row: part("row")? })
}

/// The plan over the leaves that a release names. Files that no longer fit them were changed: what they
/// lack by those leaves is what the next release has, and no fault of theirs. What is refused by these
/// leaves is told as it is.
fn released_plan(place: &Place, pipeline: &Pipeline, release: &Release) -> Result<Plan, RunFault> {
    Plan::new(pipeline, leaves(release)?).map_err(|findings| {
        let of_leaves = |found: &Finding| matches!(found.kind, Kind::MatchesNothing | Kind::Sql);
        let (why, next) = match findings.iter().any(of_leaves) {
            true => (", which has other leaves".to_owned(), next_approval(place, pipeline)),
            // Nobody can approve what is refused.
            false => (format!(":\n{findings}"), "mend what is refused, or take it back".to_owned()),
        };
        fault(format!(
            "{} was changed and no longer fits its release (version {}){why}\n  next: {next}",
            pipeline.file.display(),
            release.version,
        ))
    })
}

/// What leads from changed files to a release of them.
pub(crate) fn next_approval(place: &Place, pipeline: &Pipeline) -> String {
    let file = typed(&pipeline.file);
    let draft = bundle::find(&bundle::draft_file(pipeline), pipeline).ok().flatten();
    let waits = draft.and_then(|envelope| {
        let draft = release::draft(&envelope).ok()?;
        let plan = Plan::new(pipeline, leaves(&draft).ok()?).ok()?;
        let fits = fingerprint(place, pipeline, &plan).ok()? == draft.fingerprint;
        let state = state(place, pipeline, &envelope).ok().filter(|state| fits && state.waits())?;
        Some(format!(
            "what is missing is the approval, release {} is {state}: `douane release sign {file} \
             --key KEYFILE`",
            draft.version
        ))
    });
    waits.unwrap_or_else(|| {
        format!(
            "what is missing is the approval: `douane release propose {file} --author NAME`, then \
             `douane release sign {file} --key KEYFILE` by each approver; or take the change back"
        )
    })
}

/// The files are what was signed.
fn check_fingerprint(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    release: &Release,
) -> Result<(), RunFault> {
    let found = fingerprint(place, pipeline, plan)?;
    if found == release.fingerprint {
        return Ok(());
    }
    Err(fault(format!(
        "{} was changed after it was approved: its fingerprint is {}…, the release has {}…\n  next: {}",
        pipeline.file.display(),
        &found[..12],
        release.fingerprint.get(..12).unwrap_or_default(),
        next_approval(place, pipeline),
    )))
}

/// The fingerprint of a pipeline in its place, in hexadecimal.
pub fn fingerprint(place: &Place, pipeline: &Pipeline, plan: &Plan) -> Result<String, RunFault> {
    fingerprinted(place, pipeline, plan).hex().map_err(fault)
}

/// What is fingerprinted.
pub(crate) fn fingerprinted(place: &Place, pipeline: &Pipeline, plan: &Plan) -> Fingerprinted {
    Fingerprinted {
        v: FORMAT,
        pipeline: pipeline.name.clone(),
        purpose: pipeline.purpose.clone(),
        source: Endpoint {
            cluster_id: place.sovereign.id.clone(),
            zone: place.sovereign.zone.clone(),
            topics: pipeline.source.topics.clone(),
            format: pipeline.source.format_name().to_owned(),
        },
        target: Endpoint {
            cluster_id: place.global.id.clone(),
            zone: place.global.zone.clone(),
            topics: vec![format!("{}{}", place.global.topic_prefix, pipeline.sink.topic)],
            format: pipeline.sink.format_name().to_owned(),
        },
        partition_by: "token".to_owned(),
        timestamp_ms_granularity: pipeline.sink.timestamp_ms,
        publish_ms: pipeline.publish_ms,
        min_group: plan.min_group.as_ref().map(|group| douane_ledger::fingerprint::MinGroup {
            k: group.k,
            columns: group.columns.clone(),
            unit: group.unit.clone(),
        }),
        record_shape: pipeline.changes.shape_name().to_owned(),
        changes: pipeline.changes.clone(),
        leaves: released_leaves(plan),
        stages: pipeline
            .stages
            .iter()
            .map(|(stage, _)| stage_of(stage, plan))
            .chain(plan.enriched.as_ref().map(|enriched| FingerprintedStage {
                verb: "enrich".to_owned(),
                semantics: ENRICH_SEMANTICS,
                config: serde_json::to_value(&enriched.said).unwrap_or_default(),
                sql: None,
            }))
            .collect(),
        key: plan.keys.iter().map(|key| column_of(&key.name, key)).collect(),
        columns: value_columns(plan),
        domains: domains(pipeline, plan),
        detectors: detectors(plan),
        dp: pipeline.aggregate.as_ref().map(dp),
        overrides: overrides(pipeline),
        policy_digest: policy::digest(&pipeline.ground),
        envelope_list: ENVELOPE_LIST_VERSION,
    }
}

/// What decides which rows of a unit are kept, and as what.
pub(crate) fn kept(aggregate: &Aggregate) -> serde_json::Value {
    let Aggregate { unit, space, from_ms, every_ms, time, groups, columns, .. } = aggregate;
    let limits = aggregate.design.limits();
    let parts = aggregate.parts();
    let parts: Vec<_> = parts.iter().map(|part| (&part.name, &part.words)).collect();
    let mut kept = serde_json::json!({
        "account": space,
        "unit": unit,
        "from_ms": from_ms.to_string(),
        "every_ms": every_ms.to_string(),
        "time": time,
        "groups": groups,
        "columns": columns,
        "l0": limits.groups,
        "c": limits.rows,
        "parts": parts,
    });
    if let (Late::Current, Some(kept)) = (aggregate.late, kept.as_object_mut()) {
        kept.insert("late".into(), aggregate.late.name().into());
    }
    kept
}

/// What a release of statistics stands on, whole: whoever changes a bound, a share, a cap or the
/// account asks for other signatures.
fn dp(aggregate: &Aggregate) -> serde_json::Value {
    let Aggregate { unit, space, level, period_ms, from_ms, every_ms, time, .. } = aggregate;
    let Aggregate { closes_after_ms, groups, caps, units_max, design, late, .. } = aggregate;
    let parts = aggregate.parts();
    let parts: Vec<_> = parts.iter().map(|part| (&part.name, &part.words)).collect();
    let component = |component: &Component| {
        serde_json::json!({
            "query": format!("{:?}", component.query),
            "width": component.width.to_string(),
            "d_inf": component.d_inf.to_string(),
            "d2_squared": component.d2_squared.to_string(),
            "rho": component.rho.in_units().to_string(),
            "shift": component.shift,
            "variance": [
                component.variance.numerator().to_string(),
                component.variance.denominator().to_string(),
            ],
        })
    };
    let mut dp = serde_json::json!({
        "account": space,
        "unit": unit,
        "neighbours": "add_remove",
        "level": level,
        "period_ms": period_ms.to_string(),
        "from_ms": from_ms.to_string(),
        "every_ms": every_ms.to_string(),
        "time": time,
        "closes_after_ms": closes_after_ms.to_string(),
        "groups": groups,
        "l0": design.limits().groups,
        "c": design.limits().rows,
        "units_max": units_max.to_string(),
        "parts": parts,
        "components": design.components().iter().map(component).collect::<Vec<_>>(),
        "caps": {
            "period": caps.period.to_string(),
            "life": caps.life.to_string(),
            "delta": caps.delta.to_string(),
        },
        "late": late.name(),
    });
    if let (Some(threshold), Some(dp)) = (aggregate.threshold, dp.as_object_mut()) {
        let delta = design.delta().in_units().to_string();
        dp.insert("select".into(), serde_json::json!({ "delta": delta, "threshold": threshold }));
    }
    dp
}

fn stage_of(stage: &Stage, plan: &Plan) -> FingerprintedStage {
    let value = serde_json::to_value(stage).unwrap_or_default();
    let sql = match stage {
        // In one spelling, and `*` written out: how it is laid out is nobody's approval.
        Stage::Sql(_) => plan.sql.as_ref().map(|sql| sql.text.clone()),
        _ => None,
    };
    FingerprintedStage {
        verb: stage.verb().to_owned(),
        semantics: stage.declaration().semantics,
        config: match sql {
            Some(_) => serde_json::Value::Null,
            // Externally tagged: the settings lie under the verb.
            None => value.get(stage.verb()).cloned().unwrap_or_default(),
        },
        sql,
    }
}

/// The token domains that a plan uses, each once for every kind of key.
pub(crate) fn domains(pipeline: &Pipeline, plan: &Plan) -> Vec<FingerprintedDomain> {
    let mut used: Vec<(Purpose, &String)> = plan
        .keys
        .iter()
        .chain(&plan.columns)
        .filter_map(|column| column.protection.as_ref())
        .flat_map(|protection| protection.declared.keys.iter().map(|(p, d)| (*p, d)))
        .collect();
    used.sort_by_key(|(purpose, domain)| (domain.as_str(), purpose.label()));
    used.dedup();
    used.into_iter()
        .filter_map(|(purpose, name)| {
            let domain = pipeline.domains.domains.get(name)?;
            Some(FingerprintedDomain {
                name: name.clone(),
                algorithm: match purpose {
                    Purpose::Ff1 => "ff1-aes-256",
                    Purpose::TokenCmac => "aes-256-cmac",
                    Purpose::TokenSiv | Purpose::SubjectMask => "aes-256-siv",
                    _ => "hmac-sha-256",
                }
                .to_owned(),
                pad_to: if purpose == Purpose::Ff1 { None } else { domain.bucket_least() },
                key_per: domain.key_per.clone().filter(|_| purpose != Purpose::Ff1),
                normalize: domain.normalize.name().to_owned(),
                form: domain.form.name().to_owned(),
                version: domain.version.get(),
                purposes: domain.purposes.clone(),
            })
        })
        .collect()
}

fn detectors(plan: &Plan) -> Vec<Named> {
    let (mut names, mut files) = (BTreeSet::new(), BTreeMap::new());
    for column in &plan.columns {
        if let Some(Produces::Redacted { detectors, dictionaries, .. }) = column.produces() {
            names.extend(detectors.iter().map(String::as_str));
            files.extend(dictionaries.iter().map(|used| (&used.name, &used.sha256)));
        }
    }
    let detectors = Detector::ALL
        .into_iter()
        .filter(|detector| names.contains(detector.name()))
        .map(|detector| Named { name: detector.name().to_owned(), digest: detector.digest() });
    let files = files
        .into_iter()
        .map(|(name, sha256)| Named { name: format!("dictionary {name}"), digest: sha256.clone() });
    detectors.chain(files).collect()
}

fn released_leaves(plan: &Plan) -> Vec<ReleasedLeaf> {
    plan.classed
        .iter()
        .map(|leaf| ReleasedLeaf {
            part: match leaf.part {
                Part::Key => "key",
                Part::Row => "row",
            }
            .to_owned(),
            path: leaf.leaf.path.clone(),
            leaf_type: leaf.leaf.leaf_type.to_string(),
            class: leaf.class.to_string(),
            residency: leaf.residency.clone(),
            subject: leaf.subject,
        })
        .collect()
}

fn value_columns(plan: &Plan) -> Vec<Column> {
    let column = |crosses: Crosses<'_>| match crosses {
        Crosses::Leaf(name, column) => column_of(name, column),
        Crosses::Derived(column) => Column {
            name: column.name.clone(),
            from: String::new(),
            column_type: column.leaf_type.to_string(),
            nullable: true,
            class: column.class.to_string(),
            shape: Shape::Derived {
                from: column
                    .direct
                    .iter()
                    .map(|at| plan.columns[*at].from.leaf.path.clone())
                    .collect(),
                expression: column.text.clone(),
            },
            on_bad: OnBad::Refuse,
        },
        Crosses::Noised(column) => {
            let (from, shape) = match &column.role {
                Role::Window { from_ms, every_ms } => {
                    let (from_ms, every_ms) = (*from_ms, *every_ms);
                    (String::new(), Shape::Window { from_ms, every_ms })
                }
                Role::Group { keys } => {
                    let from = column.direct.first().cloned().unwrap_or_default();
                    (from, Shape::Group { keys: keys.clone() })
                }
                Role::Selected { at_least } => {
                    let from = column.direct.first().cloned().unwrap_or_default();
                    (from, Shape::Selected { at_least: *at_least })
                }
                Role::Noised { statistic, dims } => {
                    let (statistic, from) = (statistic.clone(), column.direct.clone());
                    (String::new(), Shape::Noised { statistic, from, dims: *dims })
                }
            };
            Column {
                name: column.name.clone(),
                from,
                column_type: column.column_type.to_string(),
                nullable: false,
                class: column.class.to_string(),
                shape,
                on_bad: OnBad::Refuse,
            }
        }
    };
    plan.outputs().into_iter().map(column).collect()
}

fn column_of(name: &str, column: &OutputColumn) -> Column {
    Column {
        name: name.to_owned(),
        from: column.from.leaf.path.clone(),
        column_type: column.output.to_string(),
        nullable: column.from.part == Part::Row,
        class: column.from.class.to_string(),
        shape: column.produces().map_or(Shape::Public, shape),
        on_bad: column.protection.as_ref().map_or(OnBad::Refuse, |p| on_bad(p.stage.on_bad())),
    }
}

/// What the gate will hold a column to. The gate shares no code with the stages: this is the one
/// place where their words meet.
fn shape(produces: &Produces) -> Shape {
    match produces.clone() {
        Produces::Token { form, domain, pad_to, key_per, .. } => {
            Shape::Token { form: form.name().to_owned(), domain, pad_to, key_per }
        }
        Produces::Fpe {
            alphabet,
            keep_first,
            keep_last,
            separators,
            domain,
            context,
            length_min,
            check_digit,
        } => Shape::Fpe {
            alphabet,
            keep_first,
            keep_last,
            separators,
            domain,
            context,
            length_min,
            check_digit: check_digit.map(|CheckDigit::Luhn(outcome)| match outcome {
                CheckOutcome::KeepValid => release::CheckDigit::LuhnValid,
                CheckOutcome::MakeInvalid => release::CheckDigit::LuhnInvalid,
            }),
        },
        Produces::Mask { keep_first, keep_last, fill } => {
            Shape::Mask { keep_first, keep_last, fill }
        }
        Produces::Constant { text } => Shape::Constant { text },
        Produces::Redacted { detectors, dictionaries, in_place } => Shape::Redacted {
            detectors,
            dictionaries: dictionaries
                .into_iter()
                .map(|used| release::Dictionary {
                    name: used.name,
                    sha256: used.sha256,
                    ignore_case: used.ignore_case,
                    context: used.context,
                })
                .collect(),
            in_place: in_place
                .into_iter()
                .map(|place| release::InPlace {
                    kind: place.kind,
                    shape: shape(&place.produces),
                    most: place.most,
                })
                .collect(),
        },
        Produces::Year => Shape::Year,
        Produces::Decade => Shape::Decade,
        Produces::Quarter => Shape::Quarter,
        Produces::Month => Shape::Month,
        Produces::Week => Shape::Week,
        Produces::Day => Shape::Day,
        Produces::Hour => Shape::Hour,
        Produces::Bins { labels } => Shape::Bins { labels },
        Produces::Age { as_of, labels } => Shape::Age { as_of, labels },
        Produces::Coded { round, low, high, labels } => Shape::Coded { round, low, high, labels },
        Produces::Prefix { length, fill } => Shape::Prefix { length, fill },
        Produces::Region { regions } => Shape::Region { regions },
    }
}

fn on_bad(outcome: &douane_transforms::OnBad) -> OnBad {
    match outcome {
        douane_transforms::OnBad::Refuse => OnBad::Refuse,
        douane_transforms::OnBad::Null => OnBad::Null,
        douane_transforms::OnBad::Constant(text) => OnBad::Constant { text: text.clone() },
    }
}

fn overrides(pipeline: &Pipeline) -> Vec<release::Override> {
    pipeline
        .overrides
        .iter()
        .map(|o| release::Override {
            name: o.name.clone(),
            columns: o.columns.clone(),
            detectors: o.detectors.clone(),
            residual: o.residual.clone(),
            min_recall: o.min_recall.map_or_else(|| "0".to_owned(), |r| r.to_string()),
            scorecard: o.measured.as_ref().map(|measured| measured.digest.clone()),
            share_domain: o.share_domain.clone(),
            max_per_record: o.max_per_record,
        })
        .collect()
}

/// How a pipeline's release stands: for people to read, and for `diff` to answer by.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    pub live: bool,
    /// Its fingerprint is the file's.
    pub fits: bool,
    pub version: Option<u64>,
    pub fingerprint: Option<String>,
    pub author: Option<String>,
    pub expires: Option<String>,
    /// Whose signatures count, where it is live.
    pub approvers: Vec<String>,
    /// Why it is not live.
    pub why: Option<String>,
}

impl Standing {
    /// Of the release in force, or else of the draft; `fingerprint` is the file's.
    pub fn of(place: &Place, pipeline: &Pipeline, fingerprint: &str) -> Self {
        // By the ledger too, where it is here.
        let ended = |signed: Signed| match state(place, pipeline, &signed.envelope)? {
            state if state.is_live() => Ok(signed),
            state => Err(fault(state)),
        };
        let (lying, why, approvers) = match live(place, pipeline).and_then(ended) {
            Ok(signed) => {
                let approvers = signed.release.approvers().to_vec();
                (Some((*signed.release).clone()), None, approvers)
            }
            Err(why) => {
                let draft = to_sign(pipeline).ok().and_then(|e| release::draft(&e).ok());
                (draft, Some(why.to_string()), Vec::new())
            }
        };
        let Some(lying) = lying else { return Self { why, ..Self::default() } };
        Self {
            live: why.is_none(),
            fits: lying.fingerprint == fingerprint,
            version: Some(lying.version),
            fingerprint: Some(lying.fingerprint),
            author: Some(lying.author),
            expires: Some(lying.expires),
            approvers,
            why,
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = |why: &Option<String>| {
            why.iter().flat_map(|why| why.lines()).next().unwrap_or_default().to_owned()
        };
        let expires = self.expires.as_deref().unwrap_or_default();
        let author = self.author.as_deref().unwrap_or_default();
        match (self.version, self.live, self.fits) {
            (None, _, _) => write!(f, "no release: {}", first(&self.why)),
            (Some(version), true, true) => write!(
                f,
                "release {version} is live until {expires}, proposed by {author}, approved by {}",
                self.approvers.join(", ")
            ),
            (Some(version), true, false) => {
                write!(f, "release {version}, live until {expires}, is for another fingerprint")
            }
            (Some(version), false, _) => {
                write!(
                    f,
                    "release {version}, proposed by {author}, is not live: {}",
                    first(&self.why)
                )
            }
        }
    }
}

/// A release file of any name, to compare with: its only release, or a table's. It proves nothing.
pub(crate) fn of_file(path: &Path, table: Option<&str>) -> Result<Release, RunFault> {
    let bytes = std::fs::read(path)
        .map_err(|error| RunFault::File(format!("{}: {}", path.display(), error.kind())))?;
    let unusable =
        |what: &dyn std::fmt::Display| RunFault::File(format!("{}: {what}", path.display()));
    let mut releases = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let envelope = Envelope::from_bytes(line).map_err(|f| unusable(&f))?;
        releases.push(release::draft(&envelope).map_err(|f| unusable(&f))?);
    }
    let several = releases.len() > 1;
    if let Some(table) = table {
        // A file of one table may have been released when it had no others.
        let end = format!(".{table}");
        let is_whole = |name: &str| !several && !name.contains('.');
        releases.retain(|one| one.pipeline.ends_with(&end) || is_whole(&one.pipeline));
    }
    match (<[Release; 1]>::try_from(releases), several, table) {
        (Ok([one]), ..) => Ok(one),
        (Err(_), _, Some(_)) if !bytes.is_empty() => {
            Err(unusable(&"no release of that table\n  next: name one that it has: `--table NAME`"))
        }
        (Err(found), true, None) => {
            let next = "next: name the table of one: `--table NAME`";
            Err(unusable(&format_args!("{} releases, expected one\n  {next}", found.len())))
        }
        (Err(_), ..) => Err(unusable(&"empty, expected a release")),
    }
}

/// What a proposer decides beside the pipeline itself.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// A name of the trust root; does not count among the approvers.
    pub author: String,
    pub life: Duration,
    pub limits: Limits,
    /// Of a one-shot release: what crosses, and nothing else.
    pub once: Option<Vec<SpanEntry>>,
}

/// Drafts the next release of a pipeline from its plan.
pub fn propose(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    proposal: &Proposal,
) -> Result<Release, RunFault> {
    windows::stay(place, pipeline)?;
    // A file that is there and cannot be read is not written over.
    let previous = match bundle::find(&pipeline.release, pipeline)? {
        Some(envelope) => release::draft(&envelope).map_err(fault)?.version,
        None => 0,
    };
    let next = previous.checked_add(1).ok_or_else(|| {
        fault(format!(
            "{}: version {previous} has no successor\n  next: put the newest release that people \
             signed back",
            pipeline.release.display()
        ))
    })?;
    Known::of(place, pipeline)?.check_version(place, next, None)?;
    draft(place, pipeline, plan, proposal, next)
}

/// A release of this version, as the files and the plan make it.
pub(crate) fn draft(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    proposal: &Proposal,
    version: u64,
) -> Result<Release, RunFault> {
    let fingerprint = fingerprint(place, pipeline, plan)?;
    let proof = Proof::new(place, pipeline, plan, &fingerprint);
    let now = jiff::Timestamp::now();
    let text = |at: jiff::Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let expires = now.checked_add(proposal.life).map_err(|_| fault("the life is too long"))?;
    Ok(Release {
        v: release::FORMAT,
        version,
        pipeline: pipeline.name.clone(),
        purpose: pipeline.purpose.clone(),
        fingerprint,
        nonce: release::nonce().map_err(fault)?,
        author: proposal.author.clone(),
        created: text(now),
        expires: text(expires),
        limits: proposal.limits.clone(),
        once: proposal.once.clone(),
        source: Source {
            cluster_id: place.sovereign.id.clone(),
            zone: place.sovereign.zone.clone(),
            topics: pipeline.source.topics.clone(),
        },
        target: Target {
            cluster_id: place.global.id.clone(),
            zone: place.global.zone.clone(),
            topic: format!("{}{}", place.global.topic_prefix, pipeline.sink.topic),
            format: pipeline.sink.format_name().to_owned(),
            partition_by: "token".to_owned(),
            timestamp_ms_granularity: pipeline.sink.timestamp_ms,
        },
        leaves: released_leaves(plan),
        key: plan.keys.iter().map(|key| column_of(&key.name, key)).collect(),
        columns: value_columns(plan),
        domains: domains(pipeline, plan),
        changes: pipeline.changes.clone(),
        overrides: overrides(pipeline),
        policy: Policy { version: policy::VERSION, digest: policy::digest(&pipeline.ground) },
        explain: proof.text(),
    })
}

/// The plan is what the pipeline's release was signed for.
pub fn unchanged(place: &Place, pipeline: &Pipeline, plan: &Plan) -> Result<bool, RunFault> {
    let Some(envelope) = bundle::find(&pipeline.release, pipeline)? else { return Ok(false) };
    let draft = release::draft(&envelope).map_err(fault)?;
    Ok(draft.fingerprint == fingerprint(place, pipeline, plan)?)
}

/// Drafts the pipeline's release anew with another life: what crosses, and its limits, stay.
///
/// # Errors
/// Where the files are no longer what was signed: that is a proposal, not a renewal.
pub fn renew(
    place: &Place,
    pipeline: &Pipeline,
    author: &str,
    life: Duration,
) -> Result<Release, RunFault> {
    let old = release::draft(&envelope(pipeline)?).map_err(fault)?;
    let digest = canonical::hex(&release::digest(&old).map_err(fault)?);
    if let Some(set_aside) = Known::of(place, pipeline)?.closed(&digest) {
        return Err(RunFault::OneShot { what: once::through(set_aside) });
    }
    let plan = released_plan(place, pipeline, &old)?;
    check_fingerprint(place, pipeline, &plan, &old)?;
    let (author, limits, once) = (author.to_owned(), old.limits.clone(), old.once.clone());
    propose(place, pipeline, &plan, &Proposal { author, life, limits, once })
}

/// What the next signature goes on, after everything in it that follows from the files was made
/// again from them and found equal. What is read is what is signed.
pub fn checked(place: &Place, pipeline: &Pipeline) -> Result<(Release, Envelope), RunFault> {
    let waiting = bundle::find(&bundle::draft_file(pipeline), pipeline)?;
    let is_draft = waiting.is_some();
    let envelope = match waiting {
        Some(draft) => draft,
        None => envelope(pipeline)?,
    };
    let draft = release::draft(&envelope).map_err(fault)?;
    let plan = released_plan(place, pipeline, &draft)?;
    let life = Duration::from_secs(1);
    let limits = draft.limits.clone();
    let (author, once) = (draft.author.clone(), draft.once.clone());
    let proposal = Proposal { author, life, limits, once };
    let digest = canonical::hex(&release::digest(&draft).map_err(fault)?);
    Known::of(place, pipeline)?.check_version(place, draft.version, Some(&digest))?;
    let again = propose(place, pipeline, &plan, &proposal)?;
    // Without a draft it is the release in force that gets one more signature.
    let same = Release {
        version: if is_draft { again.version } else { draft.version },
        nonce: draft.nonce.clone(),
        created: draft.created.clone(),
        expires: draft.expires.clone(),
        ..again
    };
    if same != draft {
        return Err(fault(format!(
            "the draft beside {} is not what {} makes now\n  next: `douane release propose {}` \
             drafts it anew",
            pipeline.release.display(),
            pipeline.file.display(),
            typed(&pipeline.file),
        )));
    }
    if !is_draft && !is_approved_by_anyone(&envelope, &trust_root(place)?) {
        return Err(fault(format!(
            "{} holds a release that nobody approved yet, and not as a draft\n  next: `douane \
             release propose {}` drafts it anew",
            pipeline.release.display(),
            typed(&pipeline.file),
        )));
    }
    Ok((draft, envelope))
}

/// Its version was looked at by somebody of the trust root.
fn is_approved_by_anyone(envelope: &Envelope, root: &TrustRoot) -> bool {
    match release::verify(envelope, root, SystemTime::now()) {
        Err(ReleaseFault::Threshold { found, .. }) => found > 0,
        Err(ReleaseFault::Expired { .. }) | Ok(_) => true,
        Err(_) => false,
    }
}
