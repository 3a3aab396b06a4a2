//! `run`: one pipeline until it is stopped. Checks everything once, commits the layout, and gives
//! each shard a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use douane_connectors::control_switch;
use douane_connectors::edge::{
    Admin, CommitOutcome, EdgeFault, Sink, SinkFault, TopicIdentity, Transaction,
};
use douane_connectors::kafka::ClusterConfig;
use douane_connectors::registry::{Registry, RegistryFault};
use douane_gate::Target;
use douane_ledger::log::{Assigned, Entry, Head, LedgerFault};
use douane_ledger::release::LiveRelease;
use douane_transforms::Produces;
use serde_json::json;

use crate::aggregate::{self, Worker};
use crate::aside::QuarantineTopic;
use crate::audit::column;
use crate::clock::Clock;
use crate::config::{self, Pipeline, Place, SinkFormat, Start};
use crate::control::{Control, LAYOUT_TOO_LARGE, Left};
use crate::crossing::{Admins, Crossing, Opened, PositionTopic, TRY};
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::identity;
use crate::journals;
use crate::key_home::{Of, Protects};
use crate::keys::{self, LogStand};
use crate::names::{Names, ledger_home};
use crate::once;
use crate::plan::{OutputColumn, Plan};
use crate::position::{self, Layout, PinnedTopic, Place as SourcePlace, ShardHead};
use crate::record_key;
use crate::release;
use crate::report::{Labels, Report, Voice};
use crate::revocation;
use crate::shard::Shard;
use crate::stop::Stop;
use crate::swap::Watch;
use crate::topics;
use crate::turn::Source;
use crate::vigil::{Dead, Vigil};

/// Between two tries to settle the layout.
const REST: Duration = Duration::from_millis(500);
/// How long a start looks for the layout before it fences.
const LOOK_FIRST: Duration = Duration::from_secs(2);
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
        let report = Report::new(&name, Labels::of(&loaded, &pipelines), voice.clone());
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
    let labels = Labels::of(loaded, std::slice::from_ref(pipeline));
    let report = Report::new(&pipeline.name, labels, voice);
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
        let new = topics::shown_beyond(&found, &told);
        if !new.is_empty() {
            report.event("not_read", json!({"topics": new}));
        }
        found.retain(|topic| !told.contains(topic));
        told.append(&mut found);
        stop.rest(LOOK_FOR_TOPICS);
    }
}

/// What a client that sends nothing has to take.
const FENCE_BYTES_MAX: usize = 1 << 20;

/// Fences whoever held a pipeline: what it left open is undone, and it commits nothing more. Positions stay as they are,
/// and the next start finds what it would have found.
///
/// Order: fence the layout's id; commit the layout once more, as no holder did; fence the shards. A holder fences anew
/// what was fenced for as long as it finds the layout that it knows, be it that it lost its client or that it starts in
/// this moment: without the commit it would go on. Where there is no layout, there is none to commit, nor where it cannot
/// be read: of a place whose keys are away or lost a pipeline can be stopped and deleted all the same.
///
/// `is_wanted` is asked before each of them: a target may take long to answer, and who is told to run the pipeline
/// meanwhile holds it by right.
///
/// # Errors
/// The target is away, or refuses; somebody who fences the layout in this moment; [`RunFault::Stopped`] where nobody
/// wants it any more.
pub fn fence_holder(
    place: &Place,
    pipeline: &Pipeline,
    is_wanted: &dyn Fn() -> bool,
) -> Result<(), RunFault> {
    let wanted = || match is_wanted() {
        true => Ok(()),
        false => Err(RunFault::Stopped("nobody wants it fenced any more".into())),
    };
    let (edges, names) = (Edges::of(place, pipeline), Names::of(place, pipeline));
    let admin = edges.global.admin().map_err(RunFault::client("global"))?;
    // A broker that has just begun may not know it.
    let position = identity::found(identity::BETWEEN_LOOKS, || {
        let found = admin.topic(&names.position).map_err(unreachable("global"))?;
        found.ok_or_else(|| RunFault::missing(&names.position, "global"))
    });
    let fence = |id: &str, bytes_max: usize| {
        wanted()?;
        edges.global.fence(id, bytes_max, TRY).map_err(|fault| match fault {
            SinkFault::Settings(why) => RunFault::Client(why.to_string()),
            SinkFault::Away(why) | SinkFault::Refused(why) => {
                RunFault::unreachable("global cluster")(why)
            }
        })
    };
    let id = names.layout_transactional_id();
    let layout = match position {
        Err(RunFault::Topic { .. }) => fence(&id, FENCE_BYTES_MAX).map(|_| None)?,
        Err(fault) => return Err(fault),
        Ok(topic) => {
            let config = admin.topic_config(&names.position).map_err(unreachable("global"))?;
            let sink = fence(&id, config.max_message_bytes)?;
            let known = keys::open(place).and_then(|keys| {
                let positions = PositionTopic::new(place, pipeline, &edges, &keys, &topic.id);
                let layout = positions.layout()?.map(Layout::fenced);
                Ok((positions, layout))
            });
            match known {
                Ok((positions, Some(layout))) => {
                    wanted()?;
                    commit_fenced(&positions, &names, sink, &layout)?;
                    Some(layout)
                }
                Ok((_, None)) => None,
                Err(fault) if passes(&fault) => return Err(fault),
                // Without its keys nobody reads the layout or makes one: the fence has to do.
                Err(_) => None,
            }
        }
    };
    let tasks = if pipeline.is_one_shard() { 1 } else { place.tasks };
    for shard in 0..shards_held(tasks, layout.as_ref()) {
        fence(&names.transactional_id(shard), FENCE_BYTES_MAX)?;
    }
    Ok(())
}

/// How many shards somebody may hold: those of the place, and of a layout that was dealt under other `tasks`.
fn shards_held(tasks: u32, layout: Option<&Layout>) -> u32 {
    layout.map_or(tasks, |layout| layout.tasks.max(tasks))
}

fn commit_fenced(
    positions: &PositionTopic,
    names: &Names,
    sink: Box<dyn Sink>,
    layout: &Layout,
) -> Result<(), RunFault> {
    let sealed = positions.seal_fenced(layout)?;
    let transaction = Transaction::new(None, &sealed, &names.position)
        .ok_or_else(|| RunFault::Gate("the layout is sealed for another place".into()))?;
    match sink.commit(&transaction) {
        CommitOutcome::Committed(_) | CommitOutcome::CommittedButSuspect => Ok(()),
        CommitOutcome::Fenced => Err(RunFault::Again("somebody fences the layout as well".into())),
        CommitOutcome::Unknown(why)
        | CommitOutcome::Late(why)
        | CommitOutcome::Ended(why)
        | CommitOutcome::Aborted(why) => Err(RunFault::Again(format!("layout: {why}"))),
        CommitOutcome::Refused { .. } => Err(RunFault::Topic {
            topic: names.position.clone(),
            what: LAYOUT_TOO_LARGE.to_owned(),
        }),
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
    let mut last = None;
    loop {
        let stop = Stop::new(asked);
        let (outcome, next) = std::thread::scope(|scope| {
            scope.spawn(|| vigil.keep(&crossing, &stop, report));
            scope.spawn(|| keep_lease(&crossing, &stop, report));
            let watching = scope.spawn(|| {
                let _dead = Dead(&crossing.right);
                watch.until_changed(&crossing, &vigil, &stop, report)
            });
            let outcome = cross(&crossing, &stop, report, &mut last);
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
    let missing = || topics::missing(place, &pipeline.name, &names.position, "global");
    let position = position.ok_or_else(missing)?;
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
        // Crash after it: a tail that the next start takes over, and the next layout signs.
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
    let found = identity::found(identity::BETWEEN_LOOKS, || {
        own_topics(&place, &pipeline.name, &names, &admins)
    });
    let Found { data, position, quarantine } = found?;
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
        quarantine: QuarantineTopic { id: quarantine.id, bytes_max: quarantine_bytes_max },
        registry,
        edges,
        clock: Clock::of(&place)?,
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
        found.ok_or_else(|| topics::missing(place, pipeline, name, side))
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

/// Fences the layout, settles who owns what from where, and runs the shards. `last` is what this process left in the
/// target by then.
fn cross(
    crossing: &Crossing,
    stop: &Stop<'_>,
    report: &Report,
    last: &mut Option<Left>,
) -> Result<(), RunFault> {
    let tasks = crossing.place.tasks;
    control_switch::wait_at("settling");
    if let Some(last) = &*last
        && let Some(found) = crossing.positions.layout()?
    {
        // Before anything is fenced: who was taken over must not stop the one that took over.
        last.standing(found)?;
    }
    may_start(crossing)?;
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
        let settled = settle(crossing, stop, report, last);
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
        let (shards_run, ended) = mpsc::channel();
        let control = &control;
        let bundles = crossing.place.bundles_ms.map(|every_ms| {
            scope.spawn(move || {
                let _dead = Dead(&crossing.right);
                control.send_bundles(every_ms, &ended, report).inspect_err(|_| stop.halt())
            })
        });
        let shards: Vec<_> = sinks
            .into_iter()
            .zip(0..tasks)
            .map(|(sink, number)| {
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
        let of =
            |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or(Err(RunFault::ThreadDied));
        let mut outcomes: Vec<_> = shards.into_iter().map(of).collect();
        drop(shards_run);
        outcomes.extend(bundles.map(of));
        outcomes
    });
    *last = Some(control.left());
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

/// What refuses this start is found before anybody is fenced for its sake: a process that runs goes on when one with an
/// older release, or without the ledger, is started beside it. All of it is asked again after the fence.
fn may_start(crossing: &Crossing) -> Result<(), RunFault> {
    aggregate::windows::stay(&crossing.place, &crossing.pipeline)?;
    // Who died in a transaction of the layout is fenced without a look.
    let Ok(Some(before)) = crossing.positions.layout_within(LOOK_FIRST) else { return Ok(()) };
    goes_on_from(crossing, &before)?;
    journals::refresh(&crossing.place, &crossing.names, &crossing.pipeline.name)?;
    let (home, log) = (crossing.ledger_home(), crossing.names.control_log());
    douane_ledger::log::read(&home, &log, Some(&before.control))?;
    Ok(())
}

/// Whether this process may follow the one that committed `before`. Gives where the log of keys goes on.
fn goes_on_from(crossing: &Crossing, before: &Layout) -> Result<Option<LogStand>, RunFault> {
    release::check_successor(&crossing.place, &before.approved, &crossing.approved)?;
    record_key::check(before.record_key.as_deref(), &crossing.record_key)?;
    once::goes_on(before.once, crossing.release.once.is_some())?;
    let topics: Vec<&str> = crossing.topics().iter().map(String::as_str).collect();
    identity::same_sources(before, &topics)?;
    keys::goes_on(&crossing.place, before.keys.as_ref())
}

/// The start: the one place where a layout comes from.
///
/// Order: fence the layout's id; read the layout; where the deal changes, fence every shard's id
/// and read every position; commit the new layout. A crash in between leaves the old layout
/// standing, and the next start does the same again.
///
/// One that runs and lost its client fences the layout anew, and may do so between this fence and this commit: it still
/// finds its own layout. So who is fenced here by one that committed nothing new tries again, and takes over; one that
/// began later and got through is left alone. A first start is left no layout to find: it ends where it is fenced.
///
/// The next settling of this process goes on from what the one before left there, and from nothing else: somebody took
/// over meanwhile, or fenced it so that it ends. That is asked before the fence and after it.
fn settle<'a>(
    crossing: &'a Crossing,
    stop: &'a Stop<'a>,
    report: &Report,
    last: &mut Option<Left>,
) -> Result<(Control<'a>, bool), RunFault> {
    let sink = crossing.fence(&crossing.names.layout_transactional_id(), stop)?;
    let before = crossing.positions.layout()?;
    let before = match (last.as_ref(), before) {
        (Some(last), Some(found)) => Some(last.standing(found)?),
        (_, found) => found,
    };
    let read = before.clone();
    let keys = match &before {
        Some(before) => goes_on_from(crossing, before)?,
        None => keys::goes_on(&crossing.place, None)?,
    };
    let control_head = before.as_ref().map(|layout| &layout.control);
    let log = crossing.take_over(&crossing.names.control_log(), control_head);
    let mut log = match control_head {
        None => log.map_err(position_lost)?,
        Some(_) => log?,
    };
    once::check_open(crossing, &crossing.entries(&crossing.names.control_log(), &log.head())?)?;
    let admins = crossing.admins()?;
    let AtStart { sources, targets, added } = identity::found(identity::BETWEEN_LOOKS, || {
        AtStart::of(crossing, &admins, before.as_ref())
    })?;
    let mut dealt_again = false;
    let layout = match before {
        None => first_layout(crossing, sources, targets, log.head())?,
        Some(before) => {
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
    let layout = Layout { control: head, approved, record_key, keys, fences: 0, ..layout };
    report.event(
        "layout",
        json!({"epoch": layout.epoch, "tasks": layout.tasks, "partitions": layout.places.len()}),
    );
    control_switch::wait_at("settled");
    let had_nothing = matches!(last, None | Some(Left::Nothing { .. }));
    *last = Some(Left::Layout { known: read.clone(), sent: Some(layout.clone()) });
    match (Control::commit(crossing, stop, sink, log, layout), read) {
        (Err(RunFault::Fenced), Some(read))
            if crossing.positions.layout()?.as_ref() == Some(&read) =>
        {
            if had_nothing {
                *last = Some(Left::Nothing { fences: read.fences });
            }
            Err(RunFault::Again(
                "whoever runs fenced the layout anew before it saw that this process starts".into(),
            ))
        }
        (control, _) => {
            let control = control?;
            // The log is as it was where this fails; the next checkpoint brings what this one did not.
            if let Err(fault) = control.sign() {
                let (log, why) = (crossing.names.control_log(), fault.to_string());
                report.event("checkpoint", json!({"log": log, "why": why}));
            }
            Ok((control, dealt_again))
        }
    }
}

/// The topics of both sides as they are at a start.
struct AtStart {
    sources: Vec<PinnedTopic>,
    targets: Vec<PinnedTopic>,
    /// Partitions that the layout before it does not know.
    added: Vec<Source>,
}

impl AtStart {
    fn of(crossing: &Crossing, admins: &Admins, before: Option<&Layout>) -> Result<Self, RunFault> {
        let sources = pin(&*admins.sovereign, "sovereign", crossing.topics(), |name| {
            RunFault::no_source(&crossing.place, name)
        })?;
        let names = &crossing.names;
        let targets = [&names.data, &names.manifest, &names.position];
        let missing =
            |name: &str| topics::missing(&crossing.place, &crossing.pipeline.name, name, "global");
        let targets = pin(&*admins.global, "global", targets, missing)?;
        let added =
            before.map(|before| identity::compare(before, &sources, &targets)).transpose()?;
        Ok(Self { sources, targets, added: added.unwrap_or_default() })
    }
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
        keys: None,
        bundle: None,
        fences: 0,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is fenced once nobody wants it: who runs the pipeline by then holds it by right.
    #[test]
    fn a_holder_is_fenced_for_as_long_as_that_is_wanted() {
        use std::cell::Cell;
        let (mut place, pipeline) = config::tests::good_base();
        place.tasks = 3;
        // The layout's id first, then the shards'.
        for (wanted_for, fenced) in [(0, 0), (1, 1), (3, 3), (4, 4)] {
            let dir = tempfile::tempdir().unwrap();
            (place.dir, place.global.dir) = (dir.path().to_owned(), Some(dir.path().to_owned()));
            let admin = Edges::of(&place, &pipeline).global.admin().unwrap();
            let names = Names::of(&place, &pipeline);
            admin.create_topic(&names.data, 1, 1, &[]).unwrap();
            admin.create_topic(&names.position, 1, 1, &[]).unwrap();
            let asked = Cell::new(0);
            let is_wanted = || asked.replace(asked.get() + 1) < wanted_for;
            let said = fence_holder(&place, &pipeline, &is_wanted);
            assert_eq!(said.is_ok(), fenced == 4, "{said:?}");
            assert!(said.is_ok() || matches!(said, Err(RunFault::Stopped(_))), "{said:?}");
            let home = std::fs::read_dir(dir.path().join(&names.data).join("_douane")).unwrap();
            let names = home.map(|found| found.unwrap().file_name().into_string().unwrap());
            assert_eq!(names.filter(|name| name.ends_with(".epoch")).count(), fenced);
        }
    }

    #[test]
    fn shards_of_the_place_and_of_the_layout_may_be_held() {
        let layout = position::tests::layout(4);
        for (tasks, layout, held) in
            [(2, None, 2), (2, Some(&layout), 4), (4, Some(&layout), 4), (8, Some(&layout), 8)]
        {
            assert_eq!(shards_held(tasks, layout), held);
        }
    }
}
