//! `run`: one pipeline until it is stopped. Checks everything once, commits the layout, and gives
//! each shard a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use douane_connectors::control_switch;
use douane_connectors::edge::{Admin, EdgeFault, Sink, TopicIdentity};
use douane_connectors::kafka::ClusterConfig;
use douane_connectors::registry::{Registry, RegistryFault};
use douane_gate::Target;
use douane_ledger::log::{Assigned, Entry, Head, LedgerFault};
use douane_ledger::release::LiveRelease;
use douane_transforms::Produces;
use serde_json::json;

use crate::aggregate::{self, Worker};
use crate::audit::column;
use crate::config::{self, Pipeline, Place, SinkFormat, Start};
use crate::control::Control;
use crate::crossing::{Admins, Crossing, Opened, PositionTopic, TRY};
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::identity;
use crate::journals;
use crate::key_home::{Of, Protects};
use crate::keys;
use crate::names::{Names, ledger_home};
use crate::once;
use crate::plan::{OutputColumn, Plan};
use crate::position::{self, Layout, PinnedTopic, Place as SourcePlace, ShardHead};
use crate::record_key;
use crate::release;
use crate::report::{Report, Voice};
use crate::revocation;
use crate::shard::Shard;
use crate::stop::Stop;
use crate::swap::Watch;
use crate::topics;
use crate::turn::Source;
use crate::vigil::{Dead, Vigil};

/// Between two tries to settle the layout.
const REST: Duration = Duration::from_millis(500);
/// Between two looks for topics that no table stands for.
const LOOK_FOR_TOPICS: Duration = Duration::from_secs(10);

/// Runs the pipeline of a file, or one for each of its tables, in the foreground until `asked` is
/// set or something needs a person. A table that stops does not stop the others.
pub fn run(place: &Path, file: &Path, asked: &AtomicBool, voice: Voice) -> Result<(), RunFault> {
    let (loaded, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let told = |pipeline: &Pipeline| one(place, file, &loaded, pipeline, asked, voice.clone());
    if let [one] = pipelines.as_slice()
        && one.table.is_none()
    {
        return told(one);
    }
    let ended = Stop::new(asked);
    std::thread::scope(|scope| {
        let tables: Vec<_> = pipelines.iter().map(|one| scope.spawn(|| told(one))).collect();
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let report = Report::new(&name, voice.clone());
        let (loaded, pipelines, ended) = (&loaded, &pipelines, &ended);
        scope.spawn(move || tell_not_read(loaded, pipelines, ended, &report));
        let outcomes: Vec<_> = tables
            .into_iter()
            .map(|table| table.join().unwrap_or(Err(RunFault::ThreadDied)))
            .collect();
        ended.halt();
        outcomes.into_iter().collect()
    })
}

/// Runs one pipeline of a loaded file until `asked` is set or something needs a person.
pub fn one(
    place: &Path,
    file: &Path,
    loaded: &Place,
    pipeline: &Pipeline,
    asked: &AtomicBool,
    voice: Voice,
) -> Result<(), RunFault> {
    let report = Report::new(&pipeline.name, voice);
    let watch = Watch::new(place, file, loaded, pipeline);
    let outcome = run_one(loaded, pipeline, watch, asked, &report);
    match &outcome {
        Ok(()) => report.stopped(),
        Err(fault) if pipeline.table.is_some() => {
            report.event("fault", json!({"code": fault.code(), "why": fault.to_string()}));
        }
        Err(fault) => report.event("fault", json!({"code": fault.code()})),
    }
    outcome
}

/// Names each topic that fits a pattern and is not read, once.
fn tell_not_read(place: &Place, pipelines: &[Pipeline], stop: &Stop<'_>, report: &Report) {
    // Where no client can be made, or nobody answers, the tables say so.
    let Ok(admin) = Edges::of_place(place).sovereign.admin() else { return };
    let mut told: Vec<String> = Vec::new();
    while !stop.is_set() {
        let mut found = topics::not_read(&*admin, pipelines).unwrap_or_default();
        found.retain(|topic| !told.contains(topic));
        if !found.is_empty() {
            report.event("not_read", json!({"topics": found}));
        }
        told.append(&mut found);
        stop.rest(LOOK_FOR_TOPICS);
    }
}

/// Runs one pipeline until `asked` is set or something needs a person.
fn run_one(
    place: &Place,
    pipeline: &Pipeline,
    mut watch: Watch,
    asked: &AtomicBool,
    report: &Report,
) -> Result<(), RunFault> {
    let place = &aggregate::place_of(place, pipeline);
    let held = release::hold(place, pipeline).inspect_err(|fault| {
        // Refused whether or not it can be written down; the next start tries again.
        if matches!(fault, RunFault::Revoked { .. })
            && let Err(fault) = write_down_revoked(place, pipeline)
        {
            let fields = json!({"code": fault.code(), "why": fault.to_string()});
            report.event("revocation_not_written", fields);
        }
    })?;
    let mut crossing = open(place.clone(), pipeline.clone(), held)?;
    report.event("started", in_force(&crossing));
    let _runs = runs_here(&crossing.ledger_home());
    let vigil = Vigil::default();
    loop {
        let stop = Stop::new(asked);
        let (outcome, next) = std::thread::scope(|scope| {
            scope.spawn(|| vigil.keep(&crossing, &stop, report));
            scope.spawn(|| keep_lease(&crossing, &stop, report));
            let watching = scope.spawn(|| {
                let _dead = Dead(&crossing.right);
                watch.until_changed(&crossing, &vigil, &stop, report)
            });
            let outcome = cross(&crossing, &stop, report);
            stop.halt();
            // Dead, it has stopped the shards already: `outcome` says so.
            (outcome, watching.join().unwrap_or(None))
        });
        match (outcome, next) {
            // Nobody writes now. A shard that ended for the old release's sake, or for something
            // that passes, ends for the swap as well; anything else is a person's business.
            (outcome, Some(next)) if gives_way(&outcome) && !stop.is_asked() => {
                crossing = next;
                report.event("swapped", in_force(&crossing));
            }
            (Err(RunFault::PartitionsAdded { topic, added }), _) if !stop.is_asked() => {
                report.event("partitions_added", json!({"topic": topic, "added": added}));
            }
            // Something outside went away while the layout was settled.
            (Err(fault), _) if passes(&fault) && !stop.is_asked() => {
                report.event("again", json!({"why": fault.to_string()}));
                Stop::new(asked).rest(REST);
            }
            (outcome, _) => return outcome,
        }
    }
}

/// Asks the home of the wrapping key again before the lease on its keys ends, and until it answers
/// where it does not. What may cross meanwhile, [`Crossing::still_live`] says.
fn keep_lease(crossing: &Crossing, stop: &Stop<'_>, report: &Report) {
    while let Some(due) = crossing.keys.renewal_due().filter(|_| !stop.is_set()) {
        if !due.is_zero() {
            stop.rest(due.min(REST));
            continue;
        }
        match crossing.keys.renew() {
            Some(Ok(())) => report.event("keys_again", json!({})),
            Some(Err(why)) => report.event("keys_away", json!({"why": why})),
            None => {}
        }
        stop.rest(crossing.keys.renewal_due().unwrap_or_default().min(REST));
    }
}

/// Puts a revocation that a start finds into the control log, once: from then on the release is
/// refused without the file as well.
fn write_down_revoked(place: &Place, pipeline: &Pipeline) -> Result<(), RunFault> {
    let signed = release::signed(place, pipeline)?;
    let Some(revoked) = revocation::of(place, pipeline, &signed.digest)? else { return Ok(()) };
    let keys = keys::open(place)?;
    let names = Names::of(place, pipeline);
    let edges = Edges::released(place, pipeline, &signed.release)?;
    let admins = reach(place, &edges)?;
    let position = admins.global.topic(&names.position).map_err(unreachable("global"))?;
    let position = position.ok_or_else(|| RunFault::missing(&names.position, "global"))?;
    let positions = PositionTopic::new(place, pipeline, &edges, &keys, &position.id);
    let (home, log) = (ledger_home(&place.ledger_dir, &pipeline.name), names.control_log());
    let unless_known = |layout: Option<&Layout>| -> Result<bool, RunFault> {
        if let Some(before) = layout {
            // Another process may run under a newer one: it is not fenced for an older one's sake.
            release::check_successor(place, &before.approved, &signed.approved)?;
        }
        journals::refresh(place, &names, &pipeline.name)?;
        let entries = douane_ledger::log::read(&home, &log, layout.map(|l| &l.control))?;
        Ok(!entries.iter().any(|(_, entry)| {
            matches!(entry, Entry::Revoked { release, .. } if *release == signed.digest)
        }))
    };
    if !unless_known(positions.layout()?.as_ref())? {
        return Ok(());
    }
    // From here on as any start: nobody else writes the log, and it goes on where the layout says.
    let _fenced = edges
        .global
        .fence(&names.layout_transactional_id(), 1 << 20, TRY)
        .map_err(|fault| RunFault::Again(fault.to_string()))?;
    let layout = positions.layout()?;
    let head = layout.as_ref().map(|layout| &layout.control);
    let log_keys = keys.log_keys(&pipeline.name);
    let mut written = journals::take_over(place, &names, &pipeline.name, &log, head, log_keys)?;
    if unless_known(layout.as_ref())? {
        written.append(&Entry::Revoked {
            release: signed.digest.clone(),
            by: revoked.by,
            reason: revoked.reason,
        })?;
        // Crash after it: a tail that the next start takes over.
        written.sync()?;
    }
    Ok(())
}

/// What an event says about the release that a process begins to write under.
fn in_force(crossing: &Crossing) -> serde_json::Value {
    json!({
        "release": crossing.release_digest,
        "version": crossing.release.version,
        "fingerprint": crossing.release.fingerprint,
        "tasks": crossing.place.tasks,
    })
}

/// Whether shards ended in a way after which the next release may take over.
fn gives_way(outcome: &Result<(), RunFault>) -> bool {
    match outcome {
        Ok(()) | Err(RunFault::PartitionsAdded { .. }) => true,
        // It was asked to while it waited for something outside.
        Err(RunFault::Stopped(_)) => true,
        Err(RunFault::Release(_) | RunFault::Revoked { .. } | RunFault::LimitsSpent { .. }) => true,
        Err(fault) => passes(fault),
    }
}

/// Whether something outside went away that was there when this process looked: a link that broke, a
/// certificate that expired.
fn passes(fault: &RunFault) -> bool {
    fault.passes() || matches!(fault, RunFault::Unreachable { .. })
}

/// Says to other verbs on this machine that a process runs this pipeline: a lock on its part of the
/// ledger's directory, let go of by the system when the process ends, however it ends. It guards
/// nothing (fencing does), so a second process that does not get it goes on.
fn runs_here(home: &Path) -> Option<File> {
    std::fs::create_dir_all(home).ok()?;
    let dir = File::open(home).ok()?;
    dir.try_lock().ok().map(|()| dir)
}

/// Checks both clusters against the files, registers the output schema, pins identities.
pub(crate) fn open(
    place: Place,
    pipeline: Pipeline,
    (release, plan): (release::Signed, Plan),
) -> Result<Crossing, RunFault> {
    let keys = keys::open(&place)?;
    keys.register(&pipeline.name, &domains_of(&plan))?;
    if plan.has_subjects() {
        keys.begin_subjects()?;
    }
    keys.begin_epoch()?;
    let keys = keys::open(&place)?;
    let names = Names::of(&place, &pipeline);
    let edges = Edges::released(&place, &pipeline, &release.release)?;
    let admins = reach(&place, &edges)?;
    let Found { data, position, quarantine } = own_topics(&place, &pipeline.name, &names, &admins)?;
    let quarantine_bytes_max = admins
        .sovereign
        .topic_config(&names.quarantine)
        .map_err(unreachable("sovereign"))?
        .max_message_bytes;
    let config = admins.global.topic_config(&names.data).map_err(unreachable("global"))?;
    let registry = registry(&place.sovereign, "sovereign")?;
    let value_schema_id = match pipeline.sink.format {
        SinkFormat::Json => None,
        // Files hold their schema themselves: the id in a value's frame means nothing there.
        SinkFormat::Avro if pipeline.sink.file.is_some() => Some(0),
        SinkFormat::Avro => Some(register(&place, &pipeline, &names, &release.release)?),
    };
    let target = Target {
        topic: names.data.clone(),
        manifest_topic: names.manifest.clone(),
        partitions: data.partitions as u32,
        record_bytes_max: config.max_message_bytes,
        value_schema_id,
    };
    let opened = Opened {
        release: Arc::new(release.release),
        release_digest: release.digest,
        envelope: release.envelope,
        approved: release.approved,
        target,
        positions: PositionTopic::new(&place, &pipeline, &edges, &keys, &position.id),
        quarantine_topic_id: quarantine.id,
        quarantine_bytes_max,
        registry,
        edges,
    };
    Ok(Crossing::new(place, pipeline, plan, keys, opened))
}

/// The token domains of a plan, and what it protects in each.
fn domains_of(plan: &Plan) -> Vec<Protects> {
    let mut all: BTreeMap<String, Protects> = BTreeMap::new();
    let mut take = |domain: &str, in_key: bool, of: Of| {
        let new = || Protects { domain: domain.to_owned(), in_key, of: BTreeSet::new() };
        let known = all.entry(domain.to_owned()).or_insert_with(new);
        known.in_key |= in_key;
        known.of.insert(of);
    };
    let columns = |columns: &'_ [OutputColumn]| {
        let protections = columns.iter().filter_map(|column| column.protection.as_ref());
        protections.map(|protection| protection.declared.clone()).collect::<Vec<_>>()
    };
    for (of, in_key) in [(&plan.keys, true), (&plan.columns, false)] {
        for declared in columns(of) {
            match &declared.produces {
                Produces::Redacted { in_place, .. } => {
                    for place in in_place {
                        let of = match place.most {
                            Some(_) => Of::SharedFinds,
                            None => Of::Finds,
                        };
                        if let Produces::Token { domain, .. } | Produces::Fpe { domain, .. } =
                            &place.produces
                        {
                            take(domain, in_key, of);
                        }
                    }
                }
                _ => declared.keys.iter().for_each(|(_, d)| take(d, in_key, Of::Columns)),
            }
        }
    }
    all.into_values().collect()
}

/// Both clusters, which are the ones that the files name, and are two.
fn reach(place: &Place, edges: &Edges) -> Result<Admins, RunFault> {
    let sovereign = edges.sovereign.admin().map_err(RunFault::client("sovereign"))?;
    let global = edges.global.admin().map_err(RunFault::client("global"))?;
    for (side, admin, expected) in
        [("sovereign", &sovereign, &place.sovereign.id), ("global", &global, &place.global.id)]
    {
        let found = admin.cluster_id().map_err(unreachable(side))?;
        if found != *expected {
            return Err(RunFault::Cluster { side, expected: expected.clone(), found });
        }
    }
    if place.sovereign.id == place.global.id {
        return Err(RunFault::Cluster {
            side: "global",
            expected: "another cluster than the sovereign one".into(),
            found: place.global.id.clone(),
        });
    }
    Ok(Admins { sovereign, global })
}

/// The pipeline's own topics as they were found.
struct Found {
    data: TopicIdentity,
    position: TopicIdentity,
    quarantine: TopicIdentity,
}

/// The pipeline's own topics, which are there and as the files expect them.
fn own_topics(
    place: &Place,
    pipeline: &str,
    names: &Names,
    admins: &Admins,
) -> Result<Found, RunFault> {
    let topic = |admin: &dyn Admin, side: &str, name: &str| {
        let found = admin.topic(name).map_err(unreachable(side))?;
        // What has run and lost a topic must not be told to make an empty one.
        found.ok_or_else(|| match ledger_home(&place.ledger_dir, pipeline).exists() {
            false => RunFault::missing(name, side),
            true => RunFault::Topic {
                topic: name.to_owned(),
                what: format!(
                    "is gone from the {side} cluster, but the ledger knows this pipeline\n  next: \
                     restore the topic, or begin anew under another pipeline name and sink topic"
                ),
            },
        })
    };
    let data = topic(&*admins.global, "global", &names.data)?;
    topic(&*admins.global, "global", &names.manifest)?;
    let position = topic(&*admins.global, "global", &names.position)?;
    let quarantine = topic(&*admins.sovereign, "sovereign", &names.quarantine)?;
    for expected in topics::expectations(place, names) {
        let (side, admin) = match expected.sovereign {
            true => ("sovereign", &admins.sovereign),
            false => ("global", &admins.global),
        };
        let findings = expected.check(&**admin).map_err(unreachable(side))?;
        if let Some(what) = findings.into_iter().next() {
            return Err(RunFault::Topic { topic: expected.name, what });
        }
    }
    Ok(Found { data, position, quarantine })
}

fn registry(cluster: &ClusterConfig, side: &str) -> Result<Option<Registry>, RunFault> {
    cluster
        .registry
        .as_ref()
        .map(|_| Registry::new(cluster))
        .transpose()
        .map_err(|fault| RunFault::Registry(format!("{side}: {fault}")))
}

/// Registers the output's schema. The registry decides whether it may follow the one before.
fn register(
    place: &Place,
    pipeline: &Pipeline,
    names: &Names,
    release: &LiveRelease,
) -> Result<u32, RunFault> {
    let target = registry(&place.global, "global")?.ok_or_else(|| {
        RunFault::Registry(
            "format avro needs `registry` under clusters.global in douane.yaml".into(),
        )
    })?;
    let schema =
        douane_gate::avro_schema(release).map_err(|fault| RunFault::Gate(fault.to_string()))?;
    let subject = pipeline.sink.subject.replace("{topic}", &names.data);
    target.register(&subject, &schema).map_err(|fault| match fault {
        fault @ RegistryFault::Incompatible { .. } => RunFault::Registry(format!(
            "subject `{subject}`: {fault}\n  the output's shape changed incompatibly: use a new \
             subject, or a pipeline with a name and a sink topic of its own"
        )),
        fault @ RegistryFault::Unreachable { .. } => {
            RunFault::Unreachable { what: "the global registry".into(), why: fault.to_string() }
        }
        fault => RunFault::Registry(format!("subject `{subject}`: {fault}")),
    })
}

fn unreachable(side: &str) -> impl Fn(EdgeFault) -> RunFault + use<> {
    RunFault::unreachable(&format!("{side} cluster"))
}

/// Fences the layout, settles who owns what from where, and runs the shards.
fn cross(crossing: &Crossing, stop: &Stop<'_>, report: &Report) -> Result<(), RunFault> {
    let tasks = crossing.place.tasks;
    let (control, sinks) = std::thread::scope(|scope| {
        // Fencing takes the coordinator's time, so the shards' ids are fenced beside the layout's.
        // What makes a fence final is the proof of the layout that each shard asks for after it.
        // (The control that reads positions before it fences needs them unfenced.)
        let early = if control_switch::position_before_fence() { 0 } else { tasks };
        let fences: Vec<_> = (0..early)
            .map(|shard| {
                scope.spawn(move || crossing.fence(&crossing.names.transactional_id(shard), stop))
            })
            .collect();
        let settled = settle(crossing, stop, report);
        if settled.is_err() {
            stop.halt();
        }
        let sinks: Vec<_> =
            fences.into_iter().map(|fence| fence.join().ok().and_then(Result::ok)).collect();
        let (control, dealt_again) = settled?;
        // Dealing again has fenced these ids once more.
        let keep = |sink: Option<Box<dyn Sink>>| sink.filter(|_| !dealt_again);
        let mut sinks: Vec<_> = sinks.into_iter().map(keep).collect();
        sinks.resize_with(tasks as usize, || None);
        Ok::<_, RunFault>((control, sinks))
    })?;
    let outcomes: Vec<Result<(), RunFault>> = std::thread::scope(|scope| {
        let shards: Vec<_> = sinks
            .into_iter()
            .zip(0..tasks)
            .map(|(sink, number)| {
                let control = &control;
                scope.spawn(move || {
                    let outcome = match crossing.pipeline.aggregate.is_some() {
                        true => Worker { crossing, control, stop, report }.run(sink),
                        false => Shard { number, crossing, control, stop, report }.run(sink),
                    };
                    // One shard that needs a person stops the pipeline: nobody watches half of it.
                    // But a hold is no reason why other files should not be read to their end.
                    let holds = matches!(outcome, Err(RunFault::Held { .. }));
                    if outcome.is_err() && !holds {
                        stop.halt();
                    }
                    outcome
                })
            })
            .collect();
        shards.into_iter().map(|shard| shard.join().unwrap_or(Err(RunFault::ThreadDied))).collect()
    });
    if outcomes.iter().all(Result::is_ok) && once::is_over(crossing, control.layout())? {
        // Crash before it: the next start finds nothing left, and writes it.
        let set_aside = once::set_aside(crossing, control.layout())?;
        control.close(set_aside)?;
        let fields = json!({"release": crossing.release_digest, "set_aside": set_aside});
        report.event("closed", fields);
    }
    // What a shard stopped for is what a person must see, not what followed from it.
    let published = control.publish();
    outcomes.into_iter().find_map(Result::err).map_or(published, Err)
}

/// The start: the one place where a layout comes from.
///
/// Order: fence the layout's id; read the layout; where the deal changes, fence every shard's id
/// and read every position; commit the new layout. A crash in between leaves the old layout
/// standing, and the next start does the same again.
fn settle<'a>(
    crossing: &'a Crossing,
    stop: &'a Stop<'a>,
    report: &Report,
) -> Result<(Control<'a>, bool), RunFault> {
    let sink = crossing.fence(&crossing.names.layout_transactional_id(), stop)?;
    let before = crossing.positions.layout()?;
    if let Some(before) = &before {
        release::check_successor(&crossing.place, &before.approved, &crossing.approved)?;
        record_key::check(before.record_key.as_deref(), &crossing.record_key)?;
        once::goes_on(before.once, crossing.release.once.is_some())?;
    }
    let control_head = before.as_ref().map(|layout| &layout.control);
    let log = crossing.take_over(&crossing.names.control_log(), control_head);
    let mut log = match control_head {
        None => log.map_err(position_lost)?,
        Some(_) => log?,
    };
    once::check_open(crossing, &crossing.entries(&crossing.names.control_log(), &log.head())?)?;
    let admins = crossing.admins()?;
    let sources =
        pin(&*admins.sovereign, "sovereign", crossing.topics(), |name| RunFault::Topic {
            topic: name.to_owned(),
            what: "does not exist in the sovereign cluster: the source makes it".into(),
        })?;
    let names = &crossing.names;
    let targets = [&names.data, &names.manifest, &names.position];
    let targets =
        pin(&*admins.global, "global", targets, |name| RunFault::missing(name, "global"))?;
    let mut dealt_again = false;
    let layout = match before {
        None => first_layout(crossing, sources, targets, log.head())?,
        Some(before) => {
            let added = identity::compare(&before, &sources, &targets)?;
            let before = Layout { targets, ..before };
            // A span begins where people said, once: under the release that said it, it goes on.
            let begins = crossing.release.once.is_some()
                && before.approved.release_version != crossing.approved.release_version;
            let ran = once::spans_of(&crossing.place, before.approved.release.as_deref())?;
            dealt_again = before.tasks != crossing.place.tasks || !added.is_empty() || begins;
            if dealt_again {
                let mut layout = deal_again(crossing, stop, before, sources, &added, log.head())?;
                if begins {
                    once::begin(crossing, &ran, &mut layout.places)?;
                }
                layout
            } else {
                Layout { control: log.head(), ..before }
            }
        }
    };
    // Crash from here on: the old layout stands, with its own control head; what is appended now
    // is a tail that the next start takes over.
    log.append(&Entry::Layout {
        epoch: layout.epoch,
        tasks: layout.tasks,
        partitions: layout
            .places
            .iter()
            .map(|place| Assigned {
                topic: crossing.topic_name(place.topic).to_owned(),
                partition: place.partition,
                shard: layout.shard_of(place.topic, place.partition),
            })
            .collect(),
    })?;
    // What it says is kept before its digest is written down.
    column::keep(&crossing.place, &crossing.release_digest, &crossing.envelope)?;
    log.append(&Entry::Approved {
        release: crossing.release_digest.clone(),
        fingerprint: crossing.release.fingerprint.clone(),
        approvers: crossing.release.approvers().to_vec(),
        overrides: crossing.release.overrides.iter().map(|o| o.name.clone()).collect(),
    })?;
    let head = log.sync()?;
    let approved = crossing.approved.clone();
    let record_key = Some(crossing.record_key.clone());
    let layout = Layout { control: head, approved, record_key, ..layout };
    report.event(
        "layout",
        json!({"epoch": layout.epoch, "tasks": layout.tasks, "partitions": layout.places.len()}),
    );
    Ok((Control::commit(crossing, stop, sink, log, layout)?, dealt_again))
}

/// Topics as they are at this start. `missing` says what to do about one that is not there.
fn pin<S: AsRef<str>>(
    admin: &dyn Admin,
    side: &str,
    topics: impl IntoIterator<Item = S>,
    missing: impl Fn(&str) -> RunFault,
) -> Result<Vec<PinnedTopic>, RunFault> {
    topics
        .into_iter()
        .map(|name| {
            let name = name.as_ref();
            let found = admin.topic(name).map_err(unreachable(side))?;
            let found = found.ok_or_else(|| missing(name))?;
            Ok(PinnedTopic { name: name.to_owned(), id: found.id, partitions: found.partitions })
        })
        .collect()
}

/// Without a position there is nothing that the target was rolled back to: it is gone.
fn position_lost(fault: RunFault) -> RunFault {
    match fault {
        RunFault::Ledger(LedgerFault::TargetRolledBack { .. }) => RunFault::PositionLost,
        other => other,
    }
}

/// A first start. The ledger must not know of anything committed: otherwise the target lost its
/// position, and starting anew would be a second copy of everything.
fn first_layout(
    crossing: &Crossing,
    sources: Vec<PinnedTopic>,
    targets: Vec<PinnedTopic>,
    control: Head,
) -> Result<Layout, RunFault> {
    journals::refresh(&crossing.place, &crossing.names, &crossing.pipeline.name)?;
    for log in logs(&crossing.ledger_home())? {
        if log != crossing.names.control_log() {
            crossing.take_over(&log, None).map_err(position_lost)?;
        }
    }
    let mut places = Vec::new();
    let source = crossing.source()?;
    let fault = crossing.source_fault();
    for (topic, pinned) in sources.iter().enumerate() {
        for partition in 0..pinned.partitions {
            let topic = topic as u32;
            let (low, high) = source.watermarks(topic, partition).map_err(&fault)?;
            let start = match crossing.release.once {
                // Where it begins, its span says.
                Some(_) => Start::Earliest,
                None => crossing.pipeline.source.start,
            };
            let next = match start {
                Start::Earliest => low,
                Start::Latest => high,
                Start::Timestamp(ms) => {
                    source.offset_for_time(topic, partition, ms).map_err(&fault)?.unwrap_or(high)
                }
            };
            places.push(SourcePlace {
                topic,
                partition,
                next,
                deleted: None,
                held: None,
                mark: None,
            });
        }
    }
    source.close();
    once::begin(crossing, &[], &mut places)?;
    Ok(Layout {
        version: position::VERSION,
        epoch: 1,
        tasks: crossing.place.tasks,
        sources,
        targets,
        places,
        shards: Vec::new(),
        approved: crossing.approved.clone(),
        record_key: Some(crossing.record_key.clone()),
        once: crossing.release.once.is_some(),
        control,
    })
}

/// The logs that lie in a ledger's directory.
fn logs(home: &Path) -> Result<Vec<String>, RunFault> {
    let fault =
        |error: std::io::Error| RunFault::File(format!("{}: {}", home.display(), error.kind()));
    let entries = match std::fs::read_dir(home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut names = entries
        .map(|entry| Ok(entry.map_err(fault)?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>, RunFault>>()?;
    names.sort();
    Ok(names)
}

/// Another number of shards, or more partitions: every old holder is fenced before any position
/// is read, so that what is read is final.
fn deal_again(
    crossing: &Crossing,
    stop: &Stop<'_>,
    before: Layout,
    sources: Vec<PinnedTopic>,
    added: &[Source],
    control: Head,
) -> Result<Layout, RunFault> {
    let mut committed = Vec::new();
    let mut heads = Vec::new();
    for shard in 0..before.tasks {
        drop(crossing.fence(&crossing.names.transactional_id(shard), stop)?);
        let position = crossing.positions.position(shard, before.epoch)?;
        let known = before.head_of(shard, position.as_ref());
        // The old holder's open intents are settled here; its log goes on from this head.
        let log = crossing.take_over(&crossing.names.log(shard), known.ledger.as_ref())?;
        heads.push(ShardHead { ledger: Some(log.head()), ..known });
        committed.extend(position.into_iter().flat_map(|position| position.places));
    }
    // Crash here: fenced holders and settled logs; the old layout stands.
    let tasks = crossing.place.tasks;
    Ok(before.dealt_again(tasks, sources, committed, heads, added, control))
}
