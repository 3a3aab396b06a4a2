//! The YAML files: read, held against their schemas, linted, all faults at once. The place, the
//! pipeline, its domains and, for many tables, the catalogue of their classes.

pub(crate) mod aggregate;
mod case;
mod de;
mod enrich;
mod finding;
mod lint;
mod pipeline;
mod place;
mod redaction;
mod regions;
mod schema;
mod serve;
mod tables;
mod write;
mod yaml;

use std::path::{Path, PathBuf};

use douane_transforms::Domains;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub use aggregate::Aggregate;
pub use case::{ANY, Case, Cells, Event, Expected};
pub use enrich::{Enrich, Missing};
pub use finding::{Finding, Findings, Kind, Mark, Severity};
pub use pipeline::{
    Class, ClassRule, MinGroup, Override, Pipeline, Sink, SinkFormat, Source, Start, format_name,
};
pub(crate) use place::zone;
pub use place::{
    Home, KeysPlace, LedgerHome, Outside, Pkcs11Home, Place, Retention, Telemetry, TransitHome,
};
pub(crate) use schema::nearest;
pub use serve::{Act, GroupPlace, Role, ServePlace, ServeTls};
pub use tables::{SHARDS_MAX, Table};
pub(crate) use yaml::quoted;

use lint::Lint;
use pipeline::PipelineFile;
use place::{OutsideFile, PlaceFile};
use schema::{About, Rules};
use tables::Expanded;
use yaml::Node;

/// Loads a place and a pipeline. Nothing outside this machine is reached.
///
/// # Errors
/// Everything wrong with the files, sorted by place; a file of several tables.
pub fn load(place: &Path, pipeline: &Path) -> Result<(Place, Pipeline), Findings> {
    load_table(place, pipeline, None)
}

/// As [`load`], of the table that is named; of a file with one pipeline none has to be.
///
/// # Errors
/// As [`load`]; no table of that name.
pub fn load_table(
    place: &Path,
    pipeline: &Path,
    table: Option<&str>,
) -> Result<(Place, Pipeline), Findings> {
    let (place, all) = load_all(place, pipeline)?;
    let name = |one: &Pipeline| one.table.as_ref().map(|table| table.name.clone());
    let known: Vec<String> = all.iter().filter_map(name).collect();
    let mut meant = all.into_iter().filter(|one| table.is_none() || name(one).as_deref() == table);
    if let (Some(one), None) = (meant.next(), meant.next()) {
        return Ok((place, one));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut findings = Findings::default();
    let (kind, message) = match table {
        Some(_) if known.is_empty() => (Kind::NotAllowed, "the file has no `tables`".to_owned()),
        Some(table) => (Kind::MatchesNothing, format!("the file has no table `{}`", quoted(table))),
        None => {
            (Kind::MissingKey, format!("the file has {} tables, and this takes one", known.len()))
        }
    };
    let finding = findings.error(&label(pipeline), Mark::FILE, kind, message);
    match (table.and_then(|table| nearest(table, &known)), known.is_empty()) {
        (_, true) => finding.next("leave `--table` out"),
        (Some(near), false) => finding.next(format_args!("`--table {near}`")),
        (None, false) => finding
            .help(format!("it has {}", schema::listed(&known)))
            .next("name one: `--table NAME`; a verb without it takes a file of one table"),
    };
    Err(findings)
}

/// As [`load`], with each table of a file that has `tables` as a pipeline of its own.
///
/// # Errors
/// As [`load`].
pub fn load_all(place: &Path, pipeline: &Path) -> Result<(Place, Vec<Pipeline>), Findings> {
    load_with(place, pipeline, &|name| std::env::var(name).ok())
}

/// As [`load_all`], of a file that is not written yet. `path`: where it is to lie, for what it names lies beside it.
///
/// # Errors
/// As [`load`].
pub fn load_all_of(
    place: &Path,
    path: &Path,
    text: &str,
) -> Result<(Place, Vec<Pipeline>), Findings> {
    let mut findings = Findings::default();
    let env = |name: &str| std::env::var(name).ok();
    let read = read_with(place, (path, Some(text)), &env, &mut findings);
    finish(read, findings)
}

/// As [`load_all`], for who tells all findings at once: beside what was found the pipelines, where all of
/// it leaves them what they were meant to be, so that what is said of their plans is true.
pub fn lint(place: &Path, pipeline: &Path) -> (Findings, Vec<Pipeline>) {
    let mut findings = Findings::default();
    let read = read_with(place, (pipeline, None), &|name| std::env::var(name).ok(), &mut findings);
    let findings = finish(Some(()), findings).err().unwrap_or_default();
    let beside = [Kind::UnknownKey, Kind::Place];
    let are_meant = findings.iter().all(|finding| beside.contains(&finding.kind));
    (findings, read.filter(|_| are_meant).map(|(_, all)| all).unwrap_or_default())
}

/// Each table of a file that has `tables`, by its name, as a file of a single pipeline would say it; of another
/// file nothing.
///
/// # Errors
/// What stands against telling the tables apart; [`load_all`] says more.
pub fn singly(pipeline: &Path) -> Result<Vec<(String, String)>, Findings> {
    let mut findings = Findings::default();
    let label = label(pipeline);
    let root = read_tree(pipeline, &label, &mut findings);
    let many = root.filter(tables::is_many);
    let all = many.and_then(|root| tables::expand(pipeline, &label, &root, &mut findings));
    let all = all.map_or_else(Vec::new, |(_, all)| all);
    let one = |one: tables::Expanded| (one.table.name, write::text(&one.tree));
    finish(Some(all.into_iter().map(one).collect()), findings)
}

/// Loads `douane.yaml` alone.
///
/// # Errors
/// Everything wrong with it.
pub fn load_place(place: &Path) -> Result<Place, Findings> {
    let mut findings = Findings::default();
    let read = read_place(place, &|name| std::env::var(name).ok(), &mut findings);
    finish(read.map(|(place, _)| place), findings)
}

/// Whether a file is a pipeline, of one table or many: domains and catalogues lie beside them. What
/// cannot be told apart is taken for one, and its findings say what it is.
pub fn is_pipeline(path: &Path) -> bool {
    let mut findings = Findings::default();
    is_of_pipeline(read_tree(path, &label(path), &mut findings).as_ref())
}

/// As [`is_pipeline`], of a file that is not written yet.
pub fn is_pipeline_text(text: &str) -> bool {
    is_of_pipeline(yaml::parse(text, "", &mut Findings::default()).as_ref())
}

fn is_of_pipeline(root: Option<&Node>) -> bool {
    let sort = root.and_then(Sort::of);
    !matches!(sort, Some(Sort::Place | Sort::Domains | Sort::Catalogue))
}

/// What a `douane.yaml` says to somebody outside: a whole place's, or one with the global cluster
/// alone.
///
/// # Errors
/// Everything wrong with it.
pub fn load_outside(path: &Path) -> Result<Outside, Findings> {
    let mut findings = Findings::default();
    let env = |name: &str| std::env::var(name).ok();
    let read = read_outside(path, &env, &mut findings);
    finish(read, findings)
}

fn read_outside(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) -> Option<Outside> {
    let label = label(path);
    let mut root = read_tree(path, &label, findings)?;
    expect_sort(&root, &label, Sort::Place, findings)?;
    if root.get("clusters").is_some_and(|clusters| clusters.get("sovereign").is_some()) {
        let (place, _) = read_place(path, env, findings)?;
        let Place { global, keys, trust, .. } = place;
        return Some(Outside { global, keys: Some(keys.dir), trust: Some(trust) });
    }
    let told = place::secrets(&mut root, &label, env, findings);
    let of_file = OfFile {
        schema: schema_of::<OutsideFile>(),
        later: place::LATER,
        advice: place::ADVICE,
        told: &told,
        show_values: false,
    };
    let file: OutsideFile = typed(&mut root, &label, &of_file, findings)?;
    Some(place::build_outside(file, &root, path, &label, &told, findings))
}

/// The JSON schema of pipeline files of both forms, as the repository holds it in
/// `pipeline.schema.json`.
pub fn json_schema() -> Json {
    let (mut one, mut many) = (schema_of::<PipelineFile>(), tables::schema());
    let mut defs = serde_json::Map::new();
    for (name, form) in [("Pipeline", &mut one), ("Tables", &mut many)] {
        form.as_object_mut().map(|form| form.remove("$schema"));
        if let Json::Object(more) = form["$defs"].take() {
            defs.extend(more);
        }
        form.as_object_mut().map(|form| form.remove("$defs"));
        defs.insert(name.to_owned(), form.take());
    }
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "anyOf": [{"$ref": "#/$defs/Pipeline"}, {"$ref": "#/$defs/Tables"}],
        "$defs": defs,
    })
}

/// The JSON schema of catalogues of classes, as the repository holds it in `catalog.schema.json`.
pub fn catalog_json_schema() -> Json {
    schema_of::<tables::CatalogFile>()
}

/// The JSON schema of `douane.yaml`, as the repository holds it in `place.schema.json`.
pub fn place_json_schema() -> Json {
    schema_of::<PlaceFile>()
}

/// The JSON schema of files of token domains.
pub fn domains_json_schema() -> Json {
    schema_of::<Domains>()
}

fn load_with(
    place: &Path,
    pipeline: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Place, Vec<Pipeline>), Findings> {
    let mut findings = Findings::default();
    let read = read_with(place, (pipeline, None), env, &mut findings);
    finish(read, findings)
}

fn read_with(
    place: &Path,
    (pipeline, text): (&Path, Option<&str>),
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) -> Option<(Place, Vec<Pipeline>)> {
    let place_read = read_place(place, env, findings);
    let dir = place.parent().unwrap_or(Path::new("."));
    let mut pipelines = read_pipeline((pipeline, text), dir, findings);
    // A registry that was refused is not missed.
    let secret = findings.iter().any(|finding| finding.kind == Kind::Secret);
    if let (Some((place_made, root)), Some(all), false) = (&place_read, &pipelines, secret) {
        fits_all(place_made, root, &label(place), all, findings);
        for one in all {
            fits(place_made, root, &label(place), one, findings);
        }
    }
    let place_made = place_read.map(|(place, _)| place);
    if let (Some(place), Some(all)) = (&place_made, &mut pipelines) {
        for one in all {
            one.ground = place.policy.clone();
        }
    }
    place_made.zip(pipelines)
}

fn finish<T>(read: Option<T>, mut findings: Findings) -> Result<T, Findings> {
    findings.sort();
    // What is said about all tables is found in each.
    findings.dedup();
    match read {
        Some(read) if findings.is_empty() => Ok(read),
        _ => Err(findings),
    }
}

fn schema_of<T: JsonSchema>() -> Json {
    schemars::schema_for!(T).to_value()
}

fn label(path: &Path) -> String {
    path.display().to_string()
}

fn read_place(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) -> Option<(Place, Node)> {
    let label = label(path);
    let mut root = read_tree(path, &label, findings)?;
    expect_sort(&root, &label, Sort::Place, findings)?;
    let told = place::secrets(&mut root, &label, env, findings);
    let of_file = OfFile {
        schema: place_json_schema(),
        later: place::LATER,
        advice: place::ADVICE,
        told: &told,
        show_values: false,
    };
    let file: PlaceFile = typed(&mut root, &label, &of_file, findings)?;
    let place = place::build(file, &root, path, &label, &told, findings);
    Some((place, root))
}

/// The pipelines of a file: one, or one a table. `text`: what is to stand in it, where it is not written yet.
fn read_pipeline(
    (path, text): (&Path, Option<&str>),
    place_dir: &Path,
    findings: &mut Findings,
) -> Option<Vec<Pipeline>> {
    let label = label(path);
    let source = match text {
        Some(text) => text.to_owned(),
        None => read_text(path, &label, findings)?,
    };
    let mut root = yaml::parse(&source, &label, findings)?;
    yaml::single_lines(&root, &label, findings);
    expect_sort(&root, &label, Sort::Pipeline, findings)?;
    let many = tables::is_many(&root);
    let domains_file = root.get("domains").and_then(Node::text).map(str::to_owned);
    let mark = root.at(&["domains"]).mark;
    let of_file = OfFile {
        schema: if many { tables::schema() } else { schema_of::<PipelineFile>() },
        later: pipeline::LATER,
        advice: pipeline::ADVICE,
        told: &[],
        show_values: true,
    };
    let form = held(&mut root, &label, &of_file, findings);
    let held = form == Form::Held;
    let domains = match domains_file {
        None => Some(Domains::default()),
        Some(name) => read_domains(path, &name, &label, mark, findings),
    };
    // What does not have the form is not told apart into tables.
    if many && form == Form::Broken {
        return None;
    }
    let expanded = match many {
        true => Some(tables::expand(path, &label, &root, findings)?),
        false => None,
    };
    // Without the file each stage would miss its domain.
    let domains = domains?;
    let Some((catalogue, all)) = expanded else {
        let file = made(&root, &label, held, findings)?;
        let mut lint = Lint {
            label: &label,
            classes_label: &label,
            root: &root,
            source: &source,
            table: None,
            findings,
        };
        return Some(vec![lint.pipeline(path, place_dir, file, domains)]);
    };
    let classes = self::label(&catalogue);
    let mut pipelines = Vec::new();
    for Expanded { table, tree } in &all {
        let file = made(tree, &label, held, findings)?;
        let mut lint = Lint {
            label: &label,
            classes_label: &classes,
            root: tree,
            source: &source,
            table: Some(table),
            findings: &mut *findings,
        };
        let mut pipeline = lint.pipeline(path, place_dir, file, domains.clone());
        pipeline.beside.push(catalogue.clone());
        pipeline.classes_file.clone_from(&catalogue);
        pipelines.push(pipeline);
    }
    Some(pipelines)
}

/// The sorts of files, by the keys that only they have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Place,
    Pipeline,
    Domains,
    Catalogue,
}

impl Sort {
    fn of(root: &Node) -> Option<Self> {
        let has = |key: &str| root.get(key).is_some();
        let place = has("clusters");
        let pipeline = has("source") || has("sink") || has("classes") || has("stages");
        match (place, pipeline) {
            (true, false) => Some(Self::Place),
            (false, true) => Some(Self::Pipeline),
            _ if root.entries().len() == 1 && has("domains") => Some(Self::Domains),
            _ if root.entries().len() == 1 && has("tables") => Some(Self::Catalogue),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Place => "a place file",
            Self::Pipeline => "a pipeline",
            Self::Domains => "a file of domains",
            Self::Catalogue => "a catalogue of classes",
        }
    }
}

/// One file in another's place would be forty findings that are one.
fn expect_sort(root: &Node, label: &str, expected: Sort, findings: &mut Findings) -> Option<()> {
    let found = Sort::of(root).filter(|found| *found != expected);
    let Some(found) = found else { return Some(()) };
    let next = match expected {
        Sort::Place => "name the place with `-c`: `douane.yaml`",
        Sort::Catalogue => "name a catalogue of classes: `catalogs/crm.yaml`",
        _ => "name a pipeline: `pipelines/customers.yaml`",
    };
    let message = format!("this is {}, not {}", found.name(), expected.name());
    findings.error(label, root.mark, Kind::NotAllowed, message).next(next);
    None
}

/// A file beside the pipeline's own or below it; `None` for a name that leads elsewhere.
fn beside(pipeline: &Path, name: &str) -> Option<PathBuf> {
    let file = Path::new(name);
    let inside = file.is_relative()
        && file.components().all(|c| matches!(c, std::path::Component::Normal(_)));
    inside.then(|| pipeline.parent().unwrap_or(Path::new("")).join(file))
}

/// The domains lie beside the pipeline's file: they are approved with it.
fn read_domains(
    pipeline: &Path,
    name: &str,
    label_of_pipeline: &str,
    mark: Mark,
    findings: &mut Findings,
) -> Option<Domains> {
    let Some(path) = beside(pipeline, name) else {
        findings
            .error(
                label_of_pipeline,
                mark,
                Kind::NotAllowed,
                "`domains` is no file beside this one",
            )
            .next("write a name such as `domains.yaml`");
        return None;
    };
    let label = label(&path);
    if !path.exists() {
        let message = format!("`domains` names `{label}`, which does not exist");
        findings
            .error(label_of_pipeline, mark, Kind::Unreadable, message)
            .next("write the file, or mend the name");
        return None;
    }
    let mut root = read_tree(&path, &label, findings)?;
    let of_file = OfFile {
        schema: schema_of::<Domains>(),
        later: &[],
        advice: &[],
        told: &[],
        show_values: true,
    };
    typed(&mut root, &label, &of_file, findings)
}

/// What a place and all tables of a file say together.
fn fits_all(place: &Place, root: &Node, label: &str, all: &[Pipeline], findings: &mut Findings) {
    redaction::apart(all, findings);
    let shards = all.len() * place.tasks as usize;
    if all.len() > 1 && shards > SHARDS_MAX {
        let message = format!("{} tables with {} tasks each are {shards}", all.len(), place.tasks);
        findings
            .error(label, root.mark_at(&["tasks"]), Kind::OutOfRange, message)
            .help("each has clients and memory of its own")
            .next(format_args!("at most {SHARDS_MAX}: fewer tasks, or fewer tables in one file"));
    }
}

/// What two files say together.
fn fits(place: &Place, root: &Node, label: &str, pipeline: &Pipeline, findings: &mut Findings) {
    use douane_schemas::record::Format;
    let reads = pipeline.source.format == Format::DebeziumAvro;
    let writes = pipeline.sink.format == SinkFormat::Avro && pipeline.sink.file.is_none();
    folders(place, root, label, pipeline, findings);
    for (side, cluster, needed, what) in [
        ("sovereign", &place.sovereign, reads, "reads"),
        ("global", &place.global, writes, "writes"),
    ] {
        if needed && cluster.registry.is_none() {
            let mark = root.mark_at(&["clusters", side]);
            let message = format!("cluster `{side}` has no `registry`");
            findings
                .error(label, mark, Kind::MissingKey, message)
                .help(format!("{} {what} Avro there", pipeline.file.display()))
                .next("add `registry: http://…`");
        }
    }
    let length = place.global.topic_prefix.len() + pipeline.sink.topic.len();
    // Names made of it have at most nine characters more: `.manifest`, `.position`.
    if length > 240 {
        let mark = root.mark_at(&["clusters", "global", "topic_prefix"]);
        findings
            .error(label, mark, Kind::Topic, format!("topic and prefix have {length} characters"))
            .next("expected at most 240 together: shorten one");
    }
}

/// A side is Kafka or a folder in both files, and files lie in the side's folder.
fn folders(place: &Place, root: &Node, label: &str, pipeline: &Pipeline, findings: &mut Findings) {
    let source = (pipeline.source.file.is_some(), &pipeline.source.topics[..]);
    let sink = (pipeline.sink.file.is_some(), std::slice::from_ref(&pipeline.sink.topic));
    for (side, what, cluster, (is_file, paths)) in
        [("sovereign", "source", &place.sovereign, source), ("global", "sink", &place.global, sink)]
    {
        let mark = root.mark_at(&["clusters", side]);
        let file = pipeline.file.display();
        match (&cluster.dir, is_file) {
            (None, false) => {}
            (None, true) => {
                findings
                    .error(label, mark, Kind::Place, format!("cluster `{side}` is no folder"))
                    .help(format!("the {what} of {file} is `file`"))
                    .next("write `dir: …` in place of `bootstrap`, or use a place of its own");
            }
            (Some(_), false) => {
                findings
                    .error(label, mark, Kind::Place, format!("cluster `{side}` is a folder"))
                    .help(format!("the {what} of {file} is `kafka`"))
                    .next("write `bootstrap: …` in place of `dir`, or use a place of its own");
            }
            (Some(dir), true) => {
                let mark = root.mark_at(&["clusters", side, "dir"]);
                for path in paths.iter().filter(|path| !place.dir.join(path).starts_with(dir)) {
                    let message = format!("`{path}` lies outside the folder of `{side}`");
                    findings
                        .error(label, mark, Kind::Place, message)
                        .help(format!("it is named by {file}"))
                        .next("move it there, or name a folder that holds it");
                }
            }
        }
    }
}

/// What is known about one sort of file; as [`Rules`], with the schema.
struct OfFile<'a> {
    schema: Json,
    later: &'static [About],
    advice: &'static [About],
    told: &'a [Mark],
    show_values: bool,
}

/// What is left of a tree that was held against its schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing was found.
    Held,
    /// Keys and words were, and all of them were left out or mended.
    Mended,
    Broken,
}

/// Holds the tree against its schema and makes the typed file. What is unknown is left out after
/// it was told, or, where it is near a name that is known, taken for that; a wrong word is mended. So the
/// rest can be looked at as well.
fn typed<T: DeserializeOwned>(
    root: &mut Node,
    label: &str,
    of_file: &OfFile<'_>,
    findings: &mut Findings,
) -> Option<T> {
    let form = held(root, label, of_file, findings);
    made(root, label, form == Form::Held, findings)
}

/// Holds the tree against its schema, and leaves out or mends what was told.
fn held(root: &mut Node, label: &str, of_file: &OfFile<'_>, findings: &mut Findings) -> Form {
    let before = findings.len();
    let OfFile { schema, later, advice, told, show_values } = of_file;
    let rules = Rules { schema, later, advice, told, show_values: *show_values };
    let meant = schema::check(root, label, &rules, findings);
    let unknown = [Kind::UnknownKey, Kind::NotInThisVersion, Kind::UnkeyedHash];
    let told_now = findings.iter().skip(before).filter(|f| unknown.contains(&f.kind));
    let mut marks: Vec<Mark> = told_now.map(|f| f.mark).chain(told.iter().copied()).collect();
    let is_mended = |at: &Mark| meant.words.iter().any(|(mark, _)| mark == at);
    let form =
        match findings.iter().skip(before).all(|f| marks.contains(&f.mark) || is_mended(&f.mark)) {
            true if findings.len() == before && told.is_empty() => Form::Held,
            true => Form::Mended,
            false => Form::Broken,
        };
    marks.retain(|at| meant.keys.iter().all(|(mark, _)| mark != at));
    root.prune(&marks);
    root.rename(&meant.keys);
    root.mend(&meant.words);
    form
}

/// The typed file of a tree that was held against its schema.
fn made<T: DeserializeOwned>(
    root: &Node,
    label: &str,
    held: bool,
    findings: &mut Findings,
) -> Option<T> {
    match de::from_node(root) {
        Ok(file) => Some(file),
        Err(fault) => {
            // After other findings this one says what they said.
            if held {
                let mark = fault.mark.unwrap_or(root.mark);
                findings.error(label, mark, Kind::NotAllowed, fault.message).next("mend it");
            }
            None
        }
    }
}

/// The file as a tree.
fn read_tree(path: &Path, label: &str, findings: &mut Findings) -> Option<Node> {
    let root = yaml::parse(&read_text(path, label, findings)?, label, findings)?;
    yaml::single_lines(&root, label, findings);
    Some(root)
}

/// A file is read to its limit and one byte more, whatever its size says.
fn read_text(path: &Path, label: &str, findings: &mut Findings) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let limit = yaml::FILE_BYTES_MAX as u64 + 1;
    let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = read {
        let message = match error.kind() {
            std::io::ErrorKind::IsADirectory => "is a directory, expected a file".to_owned(),
            kind => format!("cannot be read: {kind}"),
        };
        let finding = findings.error(label, Mark::FILE, Kind::Unreadable, message);
        match error.kind() {
            std::io::ErrorKind::NotFound => finding.next("mend the name, or write the file"),
            std::io::ErrorKind::IsADirectory => finding.next("name the files in it"),
            _ => finding.next("mend its rights"),
        };
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        // A long file that was cut inside a character is too long first of all.
        Err(error) if error.as_bytes().len() > yaml::FILE_BYTES_MAX => {
            let message = format!("file has more than {} bytes", yaml::FILE_BYTES_MAX);
            findings.error(label, Mark::FILE, Kind::TooLarge, message).next("split it");
            None
        }
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let good = error.as_bytes().get(..valid).unwrap_or_default();
            let line = good.split(|b| *b == b'\n').count();
            let mark = Mark::new(line, 1);
            findings.error(label, mark, Kind::Syntax, "not UTF-8").next("save the file as UTF-8");
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
