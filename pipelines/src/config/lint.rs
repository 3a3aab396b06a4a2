//! What a schema cannot say of a pipeline file, all of it known without a network.

use std::collections::BTreeMap;
use std::path::Path;

use douane_ledger::release::{Changes, Deletes, RecordEnvelope, is_source_name};
use douane_schemas::debezium::Placeholder;
use douane_schemas::leaf::{Leaf, LeafType};
use douane_schemas::record::Format;
use douane_transforms::redact::Action;
use douane_transforms::{Domains, Stage, StageFault};

use super::aggregate::Aggregate;
use super::beside;
use super::enrich::{Enrich, Missing};
use super::finding::{Findings, Kind, Mark};
use super::pipeline::{
    Class, ClassFile, ClassRule, FormatFile, MinGroup, MinGroupFile, Override, Pipeline,
    PipelineFile, QuasiSet, RuleFile, Shape, Sink, SinkFile, SinkFormat, Source, SourceFile,
    StageFile, Start, UnknownLeafFile,
};
use super::place::zone;
use super::schema::{listed, nearest, plain};
use super::tables::Table;
use super::yaml::{self, Node, Value, quoted};
use crate::names::{NAME_BYTES_MAX, is_name};
use crate::policy::Ground;
use crate::scorecard;
use crate::scorecard::evidence::{self, Measured};

/// A file under examination.
pub(super) struct Lint<'a> {
    pub label: &'a str,
    /// The file that the classes stand in.
    pub classes_label: &'a str,
    /// The table that `root` was made for, where it was.
    pub table: Option<&'a Table>,
    pub root: &'a Node,
    /// The file as it lies.
    pub source: &'a str,
    pub findings: &'a mut Findings,
}

impl Lint<'_> {
    /// Checks everything and makes the pipeline; it counts only where nothing was found.
    pub(super) fn pipeline(
        &mut self,
        path: &Path,
        place_dir: &Path,
        file: PipelineFile,
        domains: Domains,
    ) -> Pipeline {
        self.no_environment(self.root);
        let name = match self.table {
            Some(table) => file.name.strip_suffix(&format!(".{}", table.name)),
            None => Some(file.name.as_str()),
        };
        self.name(&["name"], name.unwrap_or_default(), "a name", NAME_BYTES_MAX);
        self.name(&["purpose"], &file.purpose, "a purpose", 64);
        let classes = self.classes(file.classes);
        let types = self.types(&file.types, &classes);
        let placeholder = self.placeholder(&file.source);
        let source = self.source(file.source, &classes);
        let (mut stages, aggregate, is_aggregate, enrich) =
            self.split(file.stages, &classes, &file.sink);
        let maps = self.regions(path, &mut stages);
        let words = self.dictionaries(path, &file.dictionaries, &mut stages);
        self.shared_domains(&mut stages, &file.overrides, file.sink.is_envelope());
        self.stages(&stages, &classes);
        let sql_marks = self.sql(&stages);
        self.declared(&stages, &types, &domains, source.has_schema(), &classes);
        self.domains(&stages, &domains, &file.purpose);
        let overrides = self.overrides(file.overrides, path, &classes, &stages);
        let quasi_sets = self.quasi_sets(file.quasi_sets, &classes);
        let changes = self.changes(&file.sink, file.unknown_leaf, placeholder);
        if is_aggregate {
            self.beside_aggregate(&file.sink, file.publish.is_some(), source.file.is_some());
        }
        let is_envelope = file.sink.is_envelope();
        let is_on_ticks = file.publish.is_some();
        let min_group = file
            .min_group
            .map(|said| self.min_group(said, &classes, is_aggregate, is_envelope, is_on_ticks));
        if let (Some(group), Some(enrich)) = (&min_group, &enrich)
            && enrich.missing == Missing::Quarantine
        {
            self.error(
                group.mark,
                Kind::NotAllowed,
                "`min_group` stands beside `missing: quarantine`",
            )
            .help("a statistic that is published meanwhile would change who is counted")
            .next("write `missing: nullify`, or remove `min_group`");
        }
        let sink = self.sink(file.sink);
        let publish_ms = file.publish.as_deref().map(|text| self.publish(text));
        self.release(&file.release);
        let tests = self.cases(file.tests, &classes);
        Pipeline {
            changes,
            file: path.to_owned(),
            beside: file
                .domains
                .iter()
                .chain(overrides.iter().filter_map(|named| named.scorecard.as_ref()))
                .filter_map(|name| beside(path, name))
                .chain(maps)
                .chain(words)
                .collect(),
            name: file.name,
            table: self.table.cloned(),
            classes_file: path.to_owned(),
            purpose: file.purpose,
            domains,
            source,
            classes,
            types,
            stages,
            aggregate,
            enrich,
            sql_marks,
            sink,
            publish_ms,
            min_group,
            quarantine_max_per_minute: file.quarantine.map(|q| q.max_per_minute),
            overrides,
            quasi_sets,
            // Of the place, which is another file.
            ground: Ground::default(),
            release: place_dir.join(file.release),
            tests,
        }
    }

    /// The stages of rows, and the one that makes statistics of them.
    fn split(
        &mut self,
        files: Vec<StageFile>,
        classes: &[ClassRule],
        sink: &SinkFile,
    ) -> (Vec<(Stage, Mark)>, Option<Aggregate>, bool, Option<Enrich>) {
        let all = files.len();
        let (mut stages, mut aggregate, mut found) = (Vec::new(), None, false);
        let (mut enrich, mut enriched) = (None, false);
        for (n, file) in files.into_iter().enumerate() {
            match file {
                StageFile::Row(stage) => {
                    let mark = self.root.mark_at(&["stages", &n.to_string(), stage.verb()]);
                    stages.push((stage, mark));
                }
                StageFile::Enrich(stage) => {
                    if enriched {
                        let mark = self.root.mark_at(&["stages", &n.to_string(), "enrich"]);
                        self.error(mark, Kind::NotAllowed, "`enrich` stands there twice")
                            .next("name all columns of one topic in one stage");
                    }
                    enriched = true;
                    enrich = self.enrich(n, *stage.enrich, classes, sink).or(enrich);
                }
                StageFile::Aggregate(stage) => {
                    let made = self.aggregate(n, *stage.aggregate, classes);
                    if all > 1 {
                        let mark = self.root.mark_at(&["stages", &n.to_string(), "aggregate"]);
                        self.error(mark, Kind::NotAllowed, "`aggregate` stands beside a stage")
                            .help("it reads the raw rows and lets no row cross")
                            .next("give it a file, a name and a topic of its own");
                    }
                    found = true;
                    aggregate = made.or(aggregate);
                }
            }
        }
        (stages, aggregate, found, enrich)
    }

    /// What has no meaning beside statistics, and what they need.
    fn beside_aggregate(&mut self, sink: &SinkFile, publish: bool, files: bool) {
        if let Some(table) = self.table {
            let name = quoted(&table.name);
            let mark = self.root.mark_at(&["stages"]);
            self.error(mark, Kind::NotInThisVersion, format!("table `{name}` has `aggregate`"))
                .next("give the statistics a file of their own, without `tables`");
        }
        if publish {
            let mark = self.root.mark_at(&["publish"]);
            self.error(mark, Kind::NotAllowed, "`publish` stands beside `aggregate`")
                .next("remove it: the windows' ends and `closes_after` are the schedule");
        }
        let kafka = sink.kafka.as_ref();
        if files || kafka.is_none() {
            let mark = self.root.mark_at(&[if files { "source" } else { "sink" }]);
            self.error(mark, Kind::NotInThisVersion, "`aggregate` beside files")
                .help("a window is closed by a transaction of a Kafka cluster")
                .next("read from `kafka` and write to `kafka`");
        }
        if kafka.is_some_and(|kafka| matches!(kafka.shape, Shape::Envelope)) {
            let mark = self.root.at(&["sink", "kafka", "shape"]).mark;
            self.error(mark, Kind::NotAllowed, "`shape: envelope` stands beside `aggregate`")
                .help("a statistic is no change of a row")
                .next("write `state`, or remove it");
        }
    }

    /// What counting groups of rows needs. Which columns they are, the plan knows.
    fn min_group(
        &mut self,
        MinGroupFile { k, columns }: MinGroupFile,
        classes: &[ClassRule],
        is_aggregate: bool,
        is_envelope: bool,
        is_on_ticks: bool,
    ) -> MinGroup {
        let mark = self.root.mark_at(&["min_group"]);
        if is_aggregate {
            self.error(mark, Kind::NotAllowed, "`min_group` stands beside `aggregate`")
                .help("no row crosses, and noise hides each person, however few they are")
                .next("remove it");
        } else if !is_on_ticks {
            self.error(mark, Kind::MissingKey, "`min_group` without `publish`")
                .help("what is counted together is what comes between two of its ticks")
                .next("add `publish: every 1m`");
        }
        if is_envelope && !is_aggregate {
            self.error(mark, Kind::NotAllowed, "`min_group` stands beside `shape: envelope`")
                .help("the row before a change would cross in a group that nobody has counted")
                .next("write `shape: state`, or remove `min_group`");
        }
        if !classes.iter().any(|rule| rule.subject) {
            self.error(
                mark,
                Kind::Class,
                "`min_group` counts subjects, and no leaf says who one is",
            )
            .next("write `{ class: identifier, subject: true }` as the class of that leaf");
        }
        MinGroup { k, columns, mark }
    }

    fn quasi_sets(&mut self, sets: Vec<QuasiSet>, classes: &[ClassRule]) -> Vec<Vec<String>> {
        for (n, QuasiSet(set)) in sets.iter().enumerate() {
            for (leaf, path) in set.iter().enumerate() {
                let mark = self.root.at(&["quasi_sets", &n.to_string(), &leaf.to_string()]).mark;
                self.classed(path, mark, classes, "a quasi-identifier");
            }
        }
        sets.into_iter().map(|QuasiSet(set)| set).collect()
    }

    /// What the connector's values look like that the source did not send. Another text would cross as data.
    fn placeholder(&mut self, file: &SourceFile) -> Option<String> {
        let property = file.kafka.as_ref()?.unavailable_value_placeholder.clone()?;
        if let Err(what) = Placeholder::parse(&property) {
            let mark = self.root.at(&["source", "kafka", "unavailable_value_placeholder"]).mark;
            let message = format!("`unavailable_value_placeholder` cannot be used: {what}");
            self.error(mark, Kind::NotAllowed, &message)
                .help("it is `unavailable.value.placeholder` of the Debezium connector")
                .next(
                    "write it as it stands there, or leave it out and the connector at its default",
                );
        }
        Some(property)
    }

    fn source(&mut self, file: SourceFile, classes: &[ClassRule]) -> Source {
        self.one_kind("source", file.kafka.is_some(), file.file.is_some());
        if let Some(source) = file.file {
            for (n, path) in source.paths.iter().enumerate() {
                self.file_path(&["source", "file", "paths", &n.to_string()], path);
            }
            self.key("file", source.key.as_deref(), false, classes);
            return Source {
                cluster: source.cluster.name().to_owned(),
                topics: source.paths,
                file: Some(source.format),
                format: Format::DebeziumJson,
                start: Start::Earliest,
                key: source.key,
            };
        }
        let Some(source) = file.kafka else {
            // Told above: what is made here is not used.
            return Source {
                cluster: String::new(),
                topics: Vec::new(),
                file: None,
                format: Format::DebeziumJson,
                start: Start::Earliest,
                key: None,
            };
        };
        self.topics(&source.topics);
        let start = self.start(&source.start);
        let says = !matches!(source.format, FormatFile::DebeziumJson);
        self.key("kafka", source.key.as_deref(), says, classes);
        Source {
            cluster: source.cluster.name().to_owned(),
            topics: source.topics,
            file: None,
            format: source.format.into(),
            start,
            key: source.key,
        }
    }

    fn sink(&mut self, file: SinkFile) -> Sink {
        self.one_kind("sink", file.kafka.is_some(), file.file.is_some());
        if let Some(sink) = file.file {
            self.file_path(&["sink", "file", "dir"], &sink.dir);
            return Sink {
                cluster: sink.cluster.name().to_owned(),
                topic: sink.dir,
                file: Some(sink.format),
                format: match sink.format.is_flat() {
                    true => SinkFormat::Avro,
                    false => SinkFormat::Json,
                },
                timestamp_ms: self.granularity("file", &sink.timestamp),
                subject: String::new(),
            };
        }
        let Some(sink) = file.kafka else {
            return Sink {
                cluster: String::new(),
                topic: String::new(),
                file: None,
                format: SinkFormat::Json,
                timestamp_ms: 1,
                subject: String::new(),
            };
        };
        self.topic(&["sink", "kafka", "topic"], &sink.topic);
        let timestamp_ms = self.granularity("kafka", &sink.timestamp);
        self.subject(&sink.subject);
        Sink {
            cluster: sink.cluster.name().to_owned(),
            topic: sink.topic,
            file: None,
            format: sink.format,
            timestamp_ms,
            subject: sink.subject,
        }
    }

    /// A side is of one kind.
    fn one_kind(&mut self, side: &str, kafka: bool, file: bool) {
        let mark = self.root.mark_at(&[side]);
        match (kafka, file) {
            (true, true) => {
                self.error(mark, Kind::NotAllowed, format!("`{side}` is of two kinds"))
                    .next("keep `kafka` or `file`");
            }
            // What was written in its place is told already.
            (false, false) if self.findings.is_empty() => {
                self.error(mark, Kind::MissingKey, format!("`{side}` names no kind"))
                    .next("add `kafka: { … }` or `file: { … }`");
            }
            _ => {}
        }
    }

    /// A file or folder below that of douane.yaml, by a name that reads the same everywhere.
    fn file_path(&mut self, at: &[&str], path: &str) {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
        let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
        if (1..=200).contains(&path.len()) && path.bytes().all(legal) && path.split('/').all(plain)
        {
            return;
        }
        let mark = self.root.at(at).mark;
        self.error(mark, Kind::NotAllowed, "this is no path below the folder of douane.yaml")
            .help("1 to 200 of a-z, A-Z, 0-9, `.`, `_`, `-` and `/`; no part begins with `.`")
            .next("write one such as `in/customers.jsonl`");
    }

    pub(super) fn error(
        &mut self,
        mark: Mark,
        kind: Kind,
        message: impl Into<String>,
    ) -> &mut super::finding::Finding {
        self.findings.error(self.label, mark, kind, message)
    }

    fn class_error(
        &mut self,
        mark: Mark,
        kind: Kind,
        message: impl Into<String>,
    ) -> &mut super::finding::Finding {
        self.findings.error(self.classes_label, mark, kind, message)
    }

    /// What is signed must not change with the machine.
    fn no_environment(&mut self, node: &Node) {
        match &node.value {
            Value::Text(text) if text.contains("${") => {
                self.error(
                    node.mark,
                    Kind::Environment,
                    "a pipeline does not read the environment",
                )
                .help("one file serves every place; what differs stands in douane.yaml")
                .next("write the value out");
            }
            Value::List(items) => items.iter().for_each(|item| self.no_environment(item)),
            Value::Map(entries) => {
                entries.iter().for_each(|(_, value)| self.no_environment(value));
            }
            _ => {}
        }
    }

    pub(super) fn name(&mut self, path: &[&str], text: &str, what: &str, most: usize) {
        if !is_name(text, most) {
            let proposal: String = text
                .to_lowercase()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' })
                .skip_while(|c| !c.is_ascii_lowercase())
                .take(most)
                .collect();
            let expected =
                format!("expected a-z, 0-9, `_` and `-`, at most {most}, a letter first");
            let message = format!("`{}`: {what} is out of form, {expected}", path.join("."));
            let finding = self.error(self.root.at(path).mark, Kind::NotAllowed, message);
            if proposal.is_empty() {
                finding.next("choose another");
            } else {
                finding.next(format_args!("write `{proposal}`"));
            }
        }
    }

    /// Rules in the order of the file.
    fn classes(&mut self, mut rules: BTreeMap<String, ClassFile>) -> Vec<ClassRule> {
        let mut classes = Vec::new();
        let mut subject: Option<Mark> = None;
        for (key, _) in self.root.at(&["classes"]).entries() {
            let Some(rule) = rules.remove(&key.text) else { continue };
            let RuleFile { class, subject: is_subject, residency } = match rule {
                ClassFile::Word(class) => RuleFile { class, subject: false, residency: None },
                ClassFile::Rule(rule) => rule,
            };
            self.path(&key.text, key.mark);
            let at = |field| self.root.mark_at(&["classes", &key.text, field]);
            let (subject_mark, residency_mark) = (at("subject"), at("residency"));
            if is_subject {
                if class != Class::Identifier {
                    let message =
                        format!("subject is a leaf of class `{class}`, expected `identifier`");
                    self.class_error(subject_mark, Kind::Class, message)
                        .next("mark the leaf that names whom the row is about");
                }
                if let Some(first) = subject {
                    let line = first.line;
                    self.class_error(subject_mark, Kind::Class, "a second leaf is the subject")
                        .help(format!("first at line {line}"))
                        .next("keep `subject: true` at one leaf");
                }
                subject = subject.or(Some(subject_mark));
            }
            if residency.as_deref().is_some_and(|residency| !zone(residency)) {
                self.class_error(residency_mark, Kind::Class, "a residency is out of form")
                    .next("write a-z, 0-9 and `-`, such as `eu`");
            }
            let (path, line) = (key.text.clone(), key.mark);
            classes.push(ClassRule { path, class, subject: is_subject, residency, line });
        }
        classes
    }

    /// The path of a leaf, as it is written in `classes`.
    fn path(&mut self, path: &str, mark: Mark) {
        let shown = quoted(path);
        for image in ["key.", "before.", "after."] {
            if let Some(rest) = path.strip_prefix(image).filter(|rest| !rest.is_empty()) {
                self.class_error(
                    mark,
                    Kind::Class,
                    format!("`{shown}` names one image of the row"),
                )
                .help("a bare name means key, before and after alike")
                .next(format_args!("write `{}`", quoted(rest)));
                return;
            }
        }
        if path.contains(['*', '?', '[']) {
            self.class_error(
                mark,
                Kind::NotInThisVersion,
                format!("`{shown}`: patterns are not read"),
            )
            .help("a new leaf must not fall under an old rule")
            .next("write one line a leaf");
        } else if path.len() > 255
            || path.split('.').any(|part| part.trim() != part || part.is_empty())
        {
            self.class_error(mark, Kind::Class, format!("`{shown}` is not the path of a leaf"))
                .next("write names joined by single dots: `address.street`");
        }
    }

    fn types(
        &mut self,
        types: &BTreeMap<String, String>,
        classes: &[ClassRule],
    ) -> BTreeMap<String, LeafType> {
        let mut out = BTreeMap::new();
        for (path, text) in types {
            let mark = self.root.mark_at(&["types", path]);
            self.classed(path, mark, classes, "a type");
            match text.parse::<LeafType>() {
                Ok(leaf_type) => {
                    out.insert(path.clone(), leaf_type);
                }
                Err(_) => {
                    let names: Vec<&str> = LeafType::names().collect();
                    let found = if plain(text) { format!("`{text}`") } else { "this text".into() };
                    let value = self.root.at(&["types", path]).mark;
                    let finding = self.error(
                        value,
                        Kind::NotAllowed,
                        format!("{found} is not a leaf's type"),
                    );
                    match nearest(text, &names) {
                        _ if text.starts_with("decimal") || text.starts_with("numeric") => {
                            finding.next("write `decimal(precision,scale)`, precision 1 to 76")
                        }
                        Some(near) => finding.next(format_args!("write `{near}`")),
                        None => finding
                            .help(format!("known: {}", listed(&names)))
                            .next("write one of these, or `decimal(precision,scale)`"),
                    };
                }
            }
        }
        out
    }

    /// Is the leaf one of `classes`? What it stands in would match nothing otherwise.
    pub(super) fn classed(
        &mut self,
        path: &str,
        mark: Mark,
        classes: &[ClassRule],
        what: &str,
    ) -> bool {
        if classes.iter().any(|rule| rule.path == path) {
            return true;
        }
        let names: Vec<&str> = classes.iter().map(|rule| rule.path.as_str()).collect();
        let shown = quoted(path);
        let message = format!("{what} for `{shown}`, which has no class");
        let near = nearest(path, &names);
        let finding = self.error(mark, Kind::MatchesNothing, message);
        match near {
            Some(near) => finding.next(format_args!("write `{near}`, or give `{shown}` a class")),
            None => finding.next(format_args!("add `{shown}: …` to `classes`, or remove it here")),
        };
        false
    }

    fn topics(&mut self, topics: &[String]) {
        for (n, topic) in topics.iter().enumerate() {
            let at = ["source", "kafka", "topics", &n.to_string()];
            if !self.topic(&at, topic) {
                continue;
            }
            let others = topics.iter().map(String::as_str).filter(|other| other != topic);
            if let Some((what, next)) = not_a_table(topic, others) {
                self.error(self.root.at(&at).mark, Kind::Topic, format!("`{topic}` {what}"))
                    .help("it holds no rows of a table")
                    .next(next);
            }
        }
    }

    /// Kafka's rules for the name of a topic.
    fn topic(&mut self, at: &[&str], topic: &str) -> bool {
        let mark = self.root.at(at).mark;
        if topic.contains("${") {
            // Told as what it is.
            return false;
        }
        if topic.contains(['*', '?', '[', '(', '|', '^', '$']) {
            self.error(mark, Kind::NotInThisVersion, "patterns of topics are not read")
                .next("name each topic; `.*` at the end is read beside `tables` only");
            return false;
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let fits = (1..=249).contains(&topic.len()) && topic.bytes().all(legal);
        if !fits || topic == "." || topic == ".." {
            self.error(mark, Kind::Topic, "this is not the name of a topic")
                .next("write 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`");
            return false;
        }
        true
    }

    fn start(&mut self, text: &str) -> Start {
        match text {
            "earliest" => return Start::Earliest,
            "latest" => return Start::Latest,
            _ => {}
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) if time.as_millisecond() >= 0 => Start::Timestamp(time.as_millisecond()),
            _ => {
                let mark = self.root.at(&["source", "kafka", "start"]).mark;
                let words = ["earliest", "latest"];
                let expected = "expected `earliest`, `latest` or a time after 1970";
                let found = match text.contains(char::is_control) {
                    true => "other text".to_owned(),
                    false => format!("`{}`", quoted(text)),
                };
                let message = format!("`start` is {found}, {expected}");
                let finding = self.error(mark, Kind::NotAllowed, message);
                match nearest(text, &words) {
                    Some(near) => finding.next(format_args!("write `{near}`")),
                    None => finding.next("write a time with its zone: `2026-01-31T00:00:00Z`"),
                };
                Start::Earliest
            }
        }
    }

    fn key(&mut self, kind: &str, key: Option<&[String]>, says: bool, classes: &[ClassRule]) {
        let Some(key) = key else { return };
        if says {
            let mark = self.root.mark_at(&["source", kind, "key"]);
            self.error(mark, Kind::NotAllowed, "`key` stands beside a format that has a schema")
                .next("remove it: the schema names the key's leaves");
        }
        for (n, path) in key.iter().enumerate() {
            let mark = self.root.at(&["source", kind, "key", &n.to_string()]).mark;
            self.classed(path, mark, classes, "a key leaf");
        }
    }

    /// One protection a leaf, and each of a leaf that there is.
    fn stages(&mut self, stages: &[(Stage, Mark)], classes: &[ClassRule]) {
        let mut protected: BTreeMap<&str, (&str, Mark)> = BTreeMap::new();
        for (n, (stage, mark)) in stages.iter().enumerate() {
            for (c, column) in stage.columns().iter().enumerate() {
                let at = ["stages", &n.to_string(), stage.verb(), "columns", &c.to_string()];
                let here = self.root.at(&at).mark;
                self.classed(column, here, classes, &format!("stage `{}`", stage.verb()));
                if let Some((verb, first)) = protected.get(column.as_str()) {
                    let shown = quoted(column);
                    let message = format!("`{shown}` has a protection already, `{verb}`");
                    let line = first.line;
                    self.error(here, Kind::ProtectedTwice, message)
                        .help(format!("first at line {line}"))
                        .help("one protection a leaf: the gate recomputes it from the raw leaf")
                        .next("keep one of them");
                } else {
                    protected.insert(column, (stage.verb(), *mark));
                }
            }
        }
    }

    /// At most one `sql` stage, the last one. Says where its characters stand.
    fn sql(&mut self, stages: &[(Stage, Mark)]) -> Vec<Mark> {
        let is_sql = |(_, (stage, _)): &(usize, &(Stage, Mark))| matches!(stage, Stage::Sql(_));
        let mut all = stages.iter().enumerate().filter(is_sql);
        let Some((n, (stage, mark))) = all.next() else { return Vec::new() };
        if let Some((_, (_, second))) = all.next() {
            let line = mark.line;
            self.error(*second, Kind::Sql, "a second `sql` stage")
                .help(format!("first at line {line}"))
                .next("write both as one SELECT");
        } else if n + 1 < stages.len() {
            self.error(*mark, Kind::Sql, "stages follow the `sql` stage")
                .help("it selects among the columns that the other stages let cross")
                .next("move it to the end of the list");
        }
        let Stage::Sql(config) = stage else { return Vec::new() };
        let node = self.root.at(&["stages", &n.to_string(), "sql"]);
        yaml::places(self.source, node.mark, &config.0)
    }

    /// Can the stage be applied to the leaf? Where only the source knows the type: to any type?
    fn declared(
        &mut self,
        stages: &[(Stage, Mark)],
        types: &BTreeMap<String, LeafType>,
        domains: &Domains,
        has_schema: bool,
        classes: &[ClassRule],
    ) {
        for (n, (stage, mark)) in stages.iter().enumerate() {
            let mut said: Vec<String> = Vec::new();
            let guessed = self.detectors_told(n);
            for column in stage.columns() {
                if !classes.iter().any(|rule| rule.path == *column) {
                    continue;
                }
                let fault_of = |leaf_type| {
                    let leaf = Leaf { path: column.clone(), leaf_type };
                    let fault = stage.declare(&leaf, domains).err();
                    // Told at the domain's own place, or about a word that stands for a wrong one.
                    fault.filter(|fault| match fault {
                        StageFault::UnknownDomain { .. } => false,
                        StageFault::Detectors(_) | StageFault::Named { .. } => !guessed,
                        _ => true,
                    })
                };
                let known = match types.get(column) {
                    Some(known) => Some(*known),
                    None if !has_schema => Some(LeafType::Text),
                    None => None,
                };
                let fault = match known {
                    Some(leaf_type) => fault_of(leaf_type),
                    None => {
                        let names = LeafType::names().filter_map(|name| name.parse().ok());
                        let mut names = names.map(fault_of);
                        names.all(|f| f.is_some()).then(|| fault_of(LeafType::Text)).flatten()
                    }
                };
                // A fault of the stage itself is one fault, however many leaves it has.
                let Some(fault) = fault.map(|f| f.to_string()).filter(|f| !said.contains(f)) else {
                    continue;
                };
                let typed = known.is_some() && !types.contains_key(column);
                let hint = if typed && fault.contains("type") {
                    format!("give `{column}` its type under `types`, or use another stage")
                } else {
                    "mend the stage, or use another".to_owned()
                };
                self.error(*mark, Kind::Stage, format!("`{column}`: {fault}")).next(hint);
                said.push(fault);
            }
        }
    }

    /// Was a detector of this stage refused? Then another stands in its place.
    fn detectors_told(&self, stage: usize) -> bool {
        let list = self.root.at(&["stages", &stage.to_string(), "redact", "detectors"]);
        let Value::List(items) = &list.value else { return false };
        items.iter().any(|item| self.findings.iter().any(|finding| finding.mark == item.mark))
    }

    /// A domain joins what uses it: it says for which purposes it may be used.
    fn domains(&mut self, stages: &[(Stage, Mark)], known: &Domains, purpose: &str) {
        let names: Vec<&str> = known.domains.keys().map(String::as_str).collect();
        for (n, (stage, _)) in stages.iter().enumerate() {
            for (name, place) in domains_of(stage) {
                let n = n.to_string();
                let place: Vec<&str> =
                    ["stages", &n, stage.verb()].into_iter().chain(place).collect();
                self.domain(name, self.root.at(&place).mark, known, &names, purpose);
            }
        }
    }

    fn domain(&mut self, name: &str, mark: Mark, known: &Domains, names: &[&str], purpose: &str) {
        let shown = quoted(name);
        match known.domains.get(name) {
            None => {
                let message = format!("domain `{shown}` is not in the domains' file");
                let finding = self.error(mark, Kind::Domain, message);
                match nearest(name, names) {
                    Some(near) => finding.next(format_args!("write `{near}`")),
                    None if names.is_empty() => {
                        finding.next("name the file: `domains: domains.yaml`")
                    }
                    None => finding
                        .help(format!("it has {}", listed(names)))
                        .next("write one of these, or have one added"),
                };
            }
            Some(domain) if !domain.allows(purpose) => {
                let message =
                    format!("domain `{shown}` is not for the purpose `{}`", quoted(purpose));
                self.error(mark, Kind::Domain, message)
                    .help("pipelines that share a domain can be joined")
                    .next("use a domain of this purpose, or have the domain changed");
            }
            Some(_) => {}
        }
    }

    fn overrides(
        &mut self,
        mut overrides: Vec<Override>,
        path: &Path,
        classes: &[ClassRule],
        stages: &[(Stage, Mark)],
    ) -> Vec<Override> {
        let mut names: BTreeMap<String, Mark> = BTreeMap::new();
        for (n, named) in overrides.iter_mut().enumerate() {
            let n = n.to_string();
            let at = |rest: &[&str]| {
                let mut path = vec!["overrides", n.as_str()];
                path.extend_from_slice(rest);
                self.root.at(&path).mark
            };
            let (name_mark, whole) = (at(&["name"]), at(&[]));
            if let Some(first) = names.get(&named.name) {
                let line = first.line;
                self.error(name_mark, Kind::Override, "two overrides have one name")
                    .help(format!("first at line {line}"))
                    .next("rename one of them: approvers read the name");
            } else {
                names.insert(named.name.clone(), name_mark);
            }
            if !plain(&named.name) {
                self.error(name_mark, Kind::Override, "an override's name is out of form")
                    .next("write one word of a-z, 0-9, `_` and `-`");
            }
            for (c, column) in named.columns.iter().enumerate() {
                let mark = self.root.at(&["overrides", &n, "columns", &c.to_string()]).mark;
                if !self.classed(column, mark, classes, "an override") {
                    continue;
                }
                let class = classes.iter().find(|rule| rule.path == *column).map(|r| r.class);
                if let Some(class @ (Class::Public | Class::Secret)) = class {
                    let why = match class {
                        Class::Public => "needs none",
                        _ => "never crosses",
                    };
                    let shown = quoted(column);
                    let message = format!("an override for `{shown}`, whose class `{class}` {why}");
                    self.error(mark, Kind::Override, message).next("remove it here");
                }
                // One that shares a domain lets nothing cross by itself.
                let lets = named.share_domain.is_none() && class == Some(Class::FreeText);
                if lets && self.free_text(named, column, whole, stages) {
                    let mark = self.root.at(&["overrides", &n, "scorecard"]).mark;
                    named.measured = self.measured(named, path, mark);
                }
            }
        }
        overrides
    }

    /// What the override's scorecard says, where it is evidence for what the override demands.
    fn measured(&mut self, named: &Override, pipeline: &Path, mark: Mark) -> Option<Measured> {
        let name = named.scorecard.as_deref()?;
        let Some(file) = beside(pipeline, name) else {
            self.error(mark, Kind::NotAllowed, "`scorecard` is no file beside this one")
                .next("write a name such as `scorecards/notes.json`");
            return None;
        };
        // A detector that there is none of was told where its stage names it.
        let detectors = scorecard::named(&named.detectors).ok()?;
        let least = named.min_recall.filter(|least| (0.0..=1.0).contains(least))?;
        match evidence::measured(&file, &detectors, least) {
            Ok(measured) => Some(measured),
            Err(unfit) => {
                let message = format!("scorecard `{}` {}", file.display(), unfit.why);
                self.error(mark, Kind::Override, message)
                    .help("approvers sign what was measured, not what was hoped")
                    .next(unfit.next);
                None
            }
        }
    }

    /// An override of free text says what is looked for, what remains, how well it must work, and
    /// where that was measured. Says whether it does.
    fn free_text(
        &mut self,
        named: &Override,
        column: &str,
        mark: Mark,
        stages: &[(Stage, Mark)],
    ) -> bool {
        let missing: Vec<&str> = [
            (named.detectors.is_empty(), "detectors"),
            (named.residual.is_empty(), "residual"),
            (named.min_recall.is_none(), "min_recall"),
            (named.scorecard.is_none(), "scorecard"),
        ]
        .into_iter()
        .filter_map(|(missing, name)| missing.then_some(name))
        .collect();
        let shown = quoted(column);
        if !missing.is_empty() {
            let names = missing.join("`, `");
            let message = format!("override for free text `{shown}` has no `{names}`");
            self.error(mark, Kind::Override, message)
                .help("approvers must see what is looked for, what remains, and how well it works")
                .help("`douane scorecard --detectors … --format json FILE` makes a scorecard")
                .next(format_args!("add `{names}`"));
            return false;
        }
        let run = stages.iter().enumerate().find_map(|(n, (stage, _))| match stage {
            Stage::Redact(config) if config.columns.iter().any(|c| c == column) => {
                config.detectors.as_ref().map(|detectors| (n, detectors))
            }
            _ => None,
        });
        if run.is_some_and(|(n, _)| self.detectors_told(n)) {
            return false;
        }
        let run = run.map(|(_, detectors)| detectors);
        let run: Vec<&str> =
            run.map(|all| all.iter().map(|d| d.name()).collect()).unwrap_or_default();
        if run != named.detectors {
            let message = format!("override for `{shown}` names other detectors than its stage");
            let found = if run.is_empty() { "none".to_owned() } else { run.join(", ") };
            self.error(mark, Kind::Override, message)
                .help(format!("its stage runs: {found}"))
                .next("write the same detectors in both, in one order");
            return false;
        }
        true
    }

    fn granularity(&mut self, kind: &str, text: &str) -> u64 {
        let ms = length_ms(text).filter(|ms| (1..=366 * DAY_MS).contains(ms));
        ms.unwrap_or_else(|| {
            let mark = self.root.at(&["sink", kind, "timestamp"]).mark;
            let message = "`timestamp` is no length of time, expected 1 ms to 366 days";
            self.error(mark, Kind::NotAllowed, message)
                .next("write a count and `ms`, `s`, `m`, `h` or `d`: `1s`");
            1_000
        })
    }

    /// How changes become records.
    fn changes(
        &mut self,
        sink: &SinkFile,
        unknown_leaf: UnknownLeafFile,
        placeholder: Option<String>,
    ) -> Changes {
        let deletes = Deletes::from(sink.deletes);
        // Files hold the state: their columns are a row's.
        let kafka = sink.kafka.as_ref();
        let (shape, source) = kafka.map_or((&Shape::State, &None), |k| (&k.shape, &k.source));
        let envelope = match (shape, source) {
            (Shape::Envelope, Some(source)) => {
                for (field, name) in [("db", &source.db), ("table", &source.table)] {
                    if !is_source_name(name) {
                        let mark = self.root.at(&["sink", "kafka", "source", field]).mark;
                        self.error(mark, Kind::NotAllowed, format!("`{field}` is out of form"))
                            .help("it crosses in every record, as it is")
                            .next("write 1 to 128 of a-z, A-Z, 0-9, `.`, `_` and `-`");
                    }
                }
                let (db, table) = (source.db.clone(), source.table.clone());
                Some(RecordEnvelope { db, table, deletes })
            }
            (Shape::Envelope, None) => {
                let mark = self.root.at(&["sink", "kafka", "shape"]).mark;
                let message = "`shape: envelope` without `source`, which its records name";
                self.error(mark, Kind::MissingKey, message).next(
                    "write `source: { db: …, table: … }` beside it, as Debezium's `source` has them",
                );
                None
            }
            (Shape::State, source) => {
                if source.is_some() {
                    let mark = self.root.mark_at(&["sink", "kafka", "source"]);
                    let message = "`source` stands beside `shape: state`, which names no table";
                    self.error(mark, Kind::NotAllowed, message)
                        .next("remove it, or write `shape: envelope`");
                }
                if deletes == Deletes::Keep {
                    let mark = self.root.at(&["sink", "deletes"]).mark;
                    let message =
                        "`deletes: keep` stands beside `shape: state`, expected `envelope`";
                    self.error(mark, Kind::NotAllowed, message)
                        .help("a delete has no row after it, and the state shape holds no other")
                        .next("write `tombstone`, or `shape: envelope`");
                }
                None
            }
        };
        Changes {
            envelope,
            unavailable: sink.unavailable.into(),
            placeholder,
            truncate: sink.truncate.into(),
            unknown_leaf: unknown_leaf.into(),
        }
    }

    /// `every 1s`. Shorter than a turn hides nothing; what waits longer than an hour is better
    /// made by a job.
    fn publish(&mut self, text: &str) -> u64 {
        let ms = text.strip_prefix("every ").and_then(length_ms);
        ms.filter(|ms| (100..=3_600_000).contains(ms)).unwrap_or_else(|| {
            let mark = self.root.at(&["publish"]).mark;
            let message = "`publish` is no period, expected `every 100ms` to `every 1h`";
            self.error(mark, Kind::NotAllowed, message)
                .next("write `every`, a count and `ms`, `s`, `m` or `h`: `every 1s`");
            1_000
        })
    }

    fn subject(&mut self, subject: &str) {
        let rest = subject.replace("{topic}", "");
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if subject.is_empty() || subject.len() > 249 || !rest.bytes().all(legal) {
            let mark = self.root.at(&["sink", "kafka", "subject"]).mark;
            self.error(mark, Kind::NotAllowed, "this is not the name of a subject")
                .next("write letters, digits, `.`, `_`, `-` and `{topic}`: `{topic}-value`");
        }
    }

    fn release(&mut self, release: &str) {
        let path = Path::new(release);
        let inside = path.is_relative()
            && path.components().all(|c| matches!(c, std::path::Component::Normal(_)))
            && path.extension().is_some_and(|end| end == "json");
        if !inside {
            let mark = self.root.at(&["release"]).mark;
            self.error(mark, Kind::NotAllowed, "this is no file beside douane.yaml")
                .help("one pipeline file serves every place, each with its own release")
                .next("write a name such as `customers.release.json`");
        }
    }
}

/// The domains that a stage uses, and where under its verb each is named.
pub(super) fn domains_of(stage: &Stage) -> Vec<(&str, Vec<&str>)> {
    match stage {
        Stage::Tokenize(config) => vec![(&config.domain, vec!["domain"])],
        Stage::Fpe(config) => vec![(&config.domain, vec!["domain"])],
        Stage::Redact(config) => {
            let place = |(kind, action)| {
                let (kind, action): (&String, &Action) = (kind, action);
                let verb = match action {
                    Action::Tokenize(_) => "tokenize",
                    Action::Fpe(_) => "fpe",
                };
                (action.domain(), vec!["in_place", kind.as_str(), verb, "domain"])
            };
            config.in_place.iter().map(place).collect()
        }
        _ => Vec::new(),
    }
}

const DAY_MS: u64 = 86_400_000;

/// `1s`, `5m`: a count and a unit, in milliseconds.
pub(super) fn length_ms(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        _ => return None,
    };
    let count = count.parse::<u64>().ok().filter(|_| !count.starts_with('0'))?;
    count.checked_mul(unit_ms)
}

/// Topics that Debezium, Connect and Kafka keep beside the tables' own, by their documented
/// names (debezium.io/documentation/reference/3.7/connectors).
fn not_a_table<'a>(
    topic: &str,
    others: impl Iterator<Item = &'a str> + Clone,
) -> Option<(&'static str, &'static str)> {
    let last = topic.rsplit('.').next().unwrap_or(topic);
    let inside = |prefix: &str, parts_least: usize| {
        others.clone().any(|other| {
            other
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| rest.split('.').count() >= parts_least)
        })
    };
    // `topic.heartbeat.prefix`, by default this.
    if topic.starts_with("__debezium-heartbeat") {
        return Some(("is Debezium's heartbeat topic", "remove it"));
    }
    if topic.starts_with("__") || topic.starts_with("connect-") && is_connect(topic) {
        return Some(("is a topic of Kafka's own", "remove it"));
    }
    // `<topic.prefix>.transaction`; a table of that name has a schema between.
    if let Some(prefix) = topic.strip_suffix(".transaction")
        && (!prefix.contains('.') || inside(prefix, 2))
    {
        return Some(("is Debezium's transaction topic", "remove it"));
    }
    // `signal.kafka.topic`, by default `<topic.prefix>-signal`; the signalling table's topic.
    if topic.ends_with("-signal") || last == "debezium_signal" {
        return Some(("is Debezium's signal topic", "remove it"));
    }
    // `schema.history.internal.kafka.topic` has no default; the names that the manual gives it.
    let history = ["schema-changes.", "schemahistory.", "schema-history.", "dbhistory."];
    if history.iter().any(|prefix| topic.starts_with(prefix)) {
        return Some(("is Debezium's schema history topic", "remove it"));
    }
    // `include.schema.changes` writes to the topic named `<topic.prefix>`.
    if inside(topic, 2) {
        return Some(("is Debezium's schema change topic", "remove it"));
    }
    None
}

fn is_connect(topic: &str) -> bool {
    ["connect-configs", "connect-offsets", "connect-status"].contains(&topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_hold_no_table_bad_source() {
        let table = "crm.public.customers";
        for (topic, what) in [
            ("__debezium-heartbeat.crm", Some("heartbeat")),
            ("__debezium-heartbeat", Some("heartbeat")),
            ("crm.transaction", Some("transaction")),
            ("crm-signal", Some("signal")),
            ("crm.public.debezium_signal", Some("signal")),
            ("schema-changes.crm", Some("schema history")),
            ("schemahistory.crm", Some("schema history")),
            ("crm", Some("schema change")),
            ("__consumer_offsets", Some("Kafka's own")),
            ("connect-offsets", Some("Kafka's own")),
            ("crm.public.transaction", None),
            ("crm.public.transactions", None),
            ("crm.public.signal", None),
            ("customers", None),
            ("crm.public", None),
            ("connect-customers", None),
            (table, None),
        ] {
            let found = not_a_table(topic, [table].into_iter().filter(|t| *t != topic));
            assert_eq!(found.is_some(), what.is_some(), "{topic}");
            if let (Some((found, _)), Some(what)) = (found, what) {
                assert!(found.contains(what), "{topic}: {found}");
            }
        }
        let dotted = ["a.b.public.customers"];
        assert!(not_a_table("a.b.transaction", dotted.into_iter()).is_some());
        assert!(not_a_table("a.b", dotted.into_iter()).is_some());
    }
}
