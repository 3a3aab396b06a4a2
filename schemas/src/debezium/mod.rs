//! Debezium change events to rows: every name is seen, only what is asked for is built.
//!
//! A record becomes a row only when its whole shape is the one the table's leaves list. What is
//! unknown holds its partition, what is broken is set aside, and the builders are then exactly as
//! they were before.
//!
//! What wins when several things are wrong: broken syntax, then an operation that is no row's,
//! then names and types, then values. So the answer does not depend on the order of members.

mod avro;
mod avro_schema;
mod columns;
mod envelope;
mod json;
mod json_schema;
mod placeholder;
mod refusal;
mod scan;
mod semantic;
mod tree;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub use envelope::ENVELOPE_LIST_VERSION;
pub use placeholder::Placeholder;
pub use refusal::{Away, Hold, Others, QuarantineCode, Refusal, SchemaFault};
pub use tree::TableName;

use crate::batch::{Batch, Op, Origin, RowKind};
use crate::leaf::{LeafType, TableLeaves};
use crate::names::printable;
use crate::record::{Format, RawRecord};
use columns::Columns;
use json_schema::{Cache, NotHalves};
use scan::{Scan, Token};
use tree::{Added, Before, Image, Seen, Tree};

/// Bounds on what one record and one schema may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a key or a value.
    pub record_bytes_max: usize,
    /// JSON objects and arrays inside each other.
    pub depth_max: usize,
    /// Items of all arrays, maps and unlisted objects of one record.
    pub items_max: usize,
    /// Headers of one record.
    pub headers_max: usize,
    /// Bytes of one schema's text.
    pub schema_bytes_max: usize,
    /// Schemas kept compiled.
    pub schemas_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes_max: 16 << 20,
            depth_max: 64,
            // Two images of the longest vector that a pipeline takes, and the rest of the row.
            items_max: (2 << 20) + 1024,
            headers_max: 256,
            schema_bytes_max: 1 << 20,
            schemas_max: 256,
        }
    }
}

/// Registry ids to schema texts.
pub trait WriterSchemas {
    /// The text of schema `id`; `None` when the registry answers that it does not know it. Whether
    /// to retry and to cache is the implementation's business; the decoder keeps what it compiled
    /// and asks again only after `Limits::schemas_max` others.
    fn schema_text(&mut self, id: u32) -> Result<Option<String>, Away>;
}

/// Leaves that a decoder lets stay behind at most; one more holds. Names without end are data.
const STRIPPED_MAX: usize = 256;

/// A leaf that no list names, and that stays behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripped {
    /// The first record that had it: its topic's index, partition, offset.
    pub record: (u32, i32, i64),
    /// Its path below the row image, as it may be printed.
    pub leaf: String,
    /// Registry id of the schema it was found in.
    pub schema_id: Option<u32>,
}

/// What is known of a schema that came with a record: why it holds, if it does.
type Verdict = Option<Hold>;

/// Decodes records of one table and one format into rows.
pub struct Decoder {
    format: Format,
    limits: Limits,
    leaves: TableLeaves,
    declared: HashSet<String>,
    key: Tree,
    row: Tree,
    /// The leaves or columns contradict each other: nothing can be decoded.
    contradiction: Option<Hold>,
    columns: Columns,
    before: Option<Before>,
    /// The connector's own, beside the default one.
    placeholder: Option<Placeholder>,
    nullify: bool,
    strip: bool,
    /// Names that stayed behind, as they are: not to be printed.
    left: BTreeSet<String>,
    stripped: Vec<Stripped>,
    /// Of the record pushed last.
    op: Option<Op>,
    origins: Vec<Origin>,
    key_plans: HashMap<u32, Arc<avro::Plan>>,
    value_plans: HashMap<u32, Arc<avro::Plan>>,
    key_schemas: Cache<Verdict>,
    value_schemas: Cache<Verdict>,
}

impl Decoder {
    /// `columns` are the row leaves whose values are built, in the order of the batch; the others
    /// are seen by name and type and never built. Key leaves are always built. A column that
    /// `leaves` does not list makes every record hold.
    pub fn new(format: Format, leaves: TableLeaves, columns: &[String], limits: Limits) -> Self {
        let keys = leaves.key.len();
        let mut contradiction = None;
        let mut tree = |leaves: &[_], image: Image, column: &dyn Fn(&str) -> Option<usize>| {
            Tree::new(leaves, column).unwrap_or_else(|path| {
                contradiction.get_or_insert(missing(image, &path));
                Tree { root: tree::Group::default(), slots: Vec::new() }
            })
        };
        let key_at = |path: &str| leaves.key.iter().position(|leaf| leaf.path == path);
        let key = tree(&leaves.key, Image::Key, &key_at);
        let row_at = |path: &str| columns.iter().position(|name| name == path).map(|at| keys + at);
        let row = tree(&leaves.row, Image::After, &row_at);
        let mut names: Vec<_> =
            leaves.key.iter().map(|leaf| (format!("key.{}", leaf.path), leaf.leaf_type)).collect();
        for (at, column) in columns.iter().enumerate() {
            let leaf = leaves.row.iter().find(|leaf| leaf.path == *column);
            if leaf.is_none() || columns[..at].contains(column) {
                contradiction.get_or_insert(missing(Image::After, column));
            }
            names.extend(leaf.map(|leaf| (format!("after.{column}"), leaf.leaf_type)));
        }
        Self {
            format,
            key,
            row,
            contradiction,
            columns: Columns::new(names, keys),
            before: None,
            placeholder: None,
            nullify: false,
            strip: false,
            left: BTreeSet::new(),
            stripped: Vec::new(),
            op: None,
            origins: Vec::new(),
            key_plans: HashMap::new(),
            value_plans: HashMap::new(),
            key_schemas: Cache::new(&limits),
            value_schemas: Cache::new(&limits),
            leaves,
            limits,
            declared: HashSet::new(),
        }
    }

    /// Paths whose type the pipeline declares because the writer's schema gives the plain type no
    /// meaning (`types:` in its file). There, and only there, a schema's plain type passes for
    /// the listed one, by [`LeafType::may_be_declared`](crate::leaf::LeafType::may_be_declared).
    #[must_use]
    pub fn declared(mut self, paths: &[String]) -> Self {
        self.declared = paths.iter().cloned().collect();
        self
    }

    /// Also builds the row before the change: `before.<path>` for each of `columns` (as given to
    /// [`Decoder::new`]), and `before`, true where the record had that image and null elsewhere.
    /// `of_deletes`: of a delete as well, whose values then must be whole. A change that is not
    /// said to be of `table` holds.
    #[must_use]
    pub fn with_before(self, columns: &[String], table: TableName, of_deletes: bool) -> Self {
        self.images(columns, Some(table), of_deletes)
    }

    /// As [`Decoder::with_before`], of a delete as well, whatever table the record says it is of.
    #[must_use]
    pub fn with_images(self, columns: &[String]) -> Self {
        self.images(columns, None, true)
    }

    fn images(mut self, columns: &[String], table: Option<TableName>, of_deletes: bool) -> Self {
        let (keys, count) = (self.leaves.key.len(), columns.len());
        let column = |path: &str, from: usize| {
            columns.iter().position(|name| name == path).map(|at| from + at)
        };
        let tree = |from: usize| Tree::new(&self.leaves.row, |path| column(path, from));
        // Leaves that contradict each other hold every record already.
        let Ok(tree) = tree(keys + count) else { return self };
        let row = &self.leaves.row;
        let key = self.leaves.key.iter();
        let mut names: Vec<_> =
            key.map(|leaf| (format!("key.{}", leaf.path), leaf.leaf_type)).collect();
        for image in ["after", "before"] {
            let leaves = columns.iter().filter_map(|path| row.iter().find(|l| l.path == *path));
            names.extend(leaves.map(|l| (format!("{image}.{}", l.path), l.leaf_type)));
        }
        names.push(("before".to_owned(), LeafType::Boolean));
        self.columns = Columns::new(names, keys);
        if let Some(placeholder) = &self.placeholder {
            self.columns.unavailable(placeholder);
        }
        self.before = Some(Before { tree, flag: keys + 2 * count, of_deletes, table });
        self
    }

    /// The connector has a placeholder of its own for values that it does not have. The default one is
    /// known all the same: records from before it was set have that.
    #[must_use]
    pub fn with_placeholder(mut self, placeholder: &Placeholder) -> Self {
        self.columns.unavailable(placeholder);
        self.placeholder = Some(placeholder.clone());
        self
    }

    /// Debezium's placeholder for a value that it does not have becomes null.
    #[must_use]
    pub fn nullify(mut self) -> Self {
        self.nullify = true;
        self
    }

    /// Leaves of the row that no list names stay behind; [`Decoder::take_stripped`] tells them.
    /// Nothing else that is unknown does: the key's leaves, headers, the envelope's own.
    #[must_use]
    pub fn strip(mut self) -> Self {
        self.strip = true;
        self
    }

    /// Leaves that stayed behind for the first time since the last call, each told once.
    pub fn take_stripped(&mut self) -> Vec<Stripped> {
        std::mem::take(&mut self.stripped)
    }

    /// Decodes one record into the builders, or leaves them exactly as they were.
    pub fn push(
        &mut self,
        record: &RawRecord<'_>,
        schemas: &mut dyn WriterSchemas,
    ) -> Result<(), Refusal> {
        let decoded = self
            .decode(record, schemas)
            .and_then(|row| if self.columns.full() { Err(Refusal::Full) } else { Ok(row) });
        self.columns.rollback_unless(decoded.is_ok());
        let (op, schema_id) = decoded?;
        let whole = match op.kind() {
            RowKind::Upsert => true,
            RowKind::Delete => self.before.as_ref().is_some_and(|before| before.of_deletes),
            RowKind::Tombstone => false,
        };
        self.columns.commit(!whole);
        self.origins.push(Origin {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            op,
            schema_id,
        });
        Ok(())
    }

    /// The operation of the record pushed last, as far as it could be read.
    pub fn op(&self) -> Option<Op> {
        self.op
    }

    /// Rows since the last [`Decoder::finish`].
    pub fn len(&self) -> usize {
        self.columns.rows()
    }

    /// No rows since the last [`Decoder::finish`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows so far as flat columns `key.<path>` in the order of the key leaves, then
    /// `after.<path>` in the order of `columns`, all nullable. The builders are empty afterwards.
    pub fn finish(&mut self) -> Batch {
        Batch { rows: self.columns.finish(), origins: std::mem::take(&mut self.origins) }
    }

    fn decode(
        &mut self,
        record: &RawRecord<'_>,
        schemas: &mut dyn WriterSchemas,
    ) -> Result<(Op, Option<u32>), Refusal> {
        self.op = None;
        if let Some(hold) = &self.contradiction {
            return Err(hold.clone().into());
        }
        let added = self.strip.then(Vec::new);
        let mut seen = Seen { nullify: self.nullify, added, ..Seen::default() };
        let mut schema_id = None;
        let read = match record.value {
            None => {
                seen.tombstone = true;
                Ok(())
            }
            Some(value) => {
                let large = value.len() > self.limits.record_bytes_max;
                let read = match self.format {
                    // Whether it is a delete is looked for in the text.
                    _ if large && self.format != Format::DebeziumAvro => Ok(()),
                    Format::DebeziumJson => self.json_value(value, &mut seen),
                    Format::DebeziumJsonSchema => self.json_schema_value(value, &mut seen),
                    Format::DebeziumAvro => match avro::frame(value) {
                        Ok((id, datum)) => {
                            schema_id = Some(id);
                            let plan = self.plan(id, Image::After, schemas)?;
                            seen.hold = plan.hold.clone();
                            if let Some(added) = &mut seen.added {
                                let new = |added: &&Added| !self.left.contains(&added.raw);
                                added.extend(plan.added.iter().filter(new).cloned());
                            }
                            avro::walk(datum, &plan, &self.limits, &mut self.columns, &mut seen)
                        }
                        Err(code) => Err(code),
                    },
                };
                if large { Err(QuarantineCode::TooLarge) } else { read }
            }
        };
        if let Err(code) = read {
            return Err(broken(code, &seen, record.value, self.format));
        }
        let table = self.before.as_ref().and_then(|before| before.table.as_ref());
        if let Some(table) = table.filter(|_| seen.named != 2) {
            seen.hold(|| table.hold());
        }
        let op = decide(&mut seen)?;
        self.op = Some(op);
        let kind = op.kind();
        let keyed = self.key(record.key, kind, schemas);
        match (keyed, kind) {
            (Err(Refusal::Quarantine(cause)), RowKind::Delete | RowKind::Tombstone) => {
                return Err(Hold::UndecodableDelete { cause }.into());
            }
            (keyed, _) => keyed?,
        }
        self.headers(record, kind)?;
        let of_deletes = self.before.as_ref().is_some_and(|before| before.of_deletes);
        match (kind, seen.code) {
            (RowKind::Upsert, Some(code)) => Err(code.into()),
            (RowKind::Delete, Some(cause)) if of_deletes => {
                Err(Hold::UndecodableDelete { cause }.into())
            }
            _ => {
                self.leave(seen.added, record, schema_id)?;
                Ok((op, schema_id))
            }
        }
    }

    /// Notes leaves that stay behind.
    fn leave(
        &mut self,
        added: Option<Vec<Added>>,
        record: &RawRecord<'_>,
        schema_id: Option<u32>,
    ) -> Result<(), Refusal> {
        for Added { raw, leaf } in added.into_iter().flatten() {
            if self.left.contains(&raw) {
                continue;
            }
            if self.left.len() >= STRIPPED_MAX {
                let path = format!("{}.{leaf}", Image::After.prefix());
                return Err(Hold::UnknownLeaf {
                    path,
                    others: Others::default(),
                    schema_id,
                    hint: None,
                }
                .into());
            }
            self.left.insert(raw);
            let record = (record.topic, record.partition, record.offset);
            self.stripped.push(Stripped { record, leaf, schema_id });
        }
        Ok(())
    }

    fn json_value(&mut self, value: &[u8], seen: &mut Seen) -> Result<(), QuarantineCode> {
        let mut scan = Scan::new(value, &self.limits)?;
        self.json_envelope(&mut scan, seen)?;
        scan.end()
    }

    /// One envelope from here on. Anything but an object is none: `op` stays unseen.
    fn json_envelope(
        &mut self,
        scan: &mut Scan<'_>,
        seen: &mut Seen,
    ) -> Result<(), QuarantineCode> {
        match scan.token()? {
            Token::Object => {
                json::envelope(scan, &self.row, self.before.as_ref(), &mut self.columns, seen)
            }
            other => scan.skip(&other),
        }
    }

    fn json_schema_value(&mut self, value: &[u8], seen: &mut Seen) -> Result<(), QuarantineCode> {
        let Self { limits, leaves, declared, value_schemas, strip, .. } = self;
        let compile = |text: &str| match json_schema::parse(text, limits) {
            Ok(node) => {
                // Told where they stand in the payload.
                let mut added = strip.then(Vec::new);
                semantic::value_hold(&node, &leaves.row, declared, None, added.as_mut())
            }
            Err(fault) => Some(semantic::schema_hold(fault, None)),
        };
        match json_schema::halves(value, limits, value_schemas, compile) {
            Err(NotHalves::Code(code)) => Err(code),
            // No operation is seen: not an envelope.
            Err(NotHalves::Shape) => Ok(()),
            Ok(mut halves) => {
                match &halves.schema {
                    Some(verdict) => {
                        seen.hold.clone_from(verdict);
                        seen.judged = true;
                    }
                    None if halves.null => seen.tombstone = true,
                    None => seen.hold = Some(Hold::NotAnEnvelope),
                }
                self.json_envelope(&mut halves.scan, seen)
            }
        }
    }

    /// The compiled schema `id`, from the registry if need be.
    fn plan(
        &mut self,
        id: u32,
        image: Image,
        schemas: &mut dyn WriterSchemas,
    ) -> Result<Arc<avro::Plan>, Refusal> {
        let plans = if image == Image::Key { &self.key_plans } else { &self.value_plans };
        if let Some(plan) = plans.get(&id) {
            return Ok(Arc::clone(plan));
        }
        let text = schemas.schema_text(id)?.ok_or(Hold::UnknownSchemaId { id })?;
        let schema = avro_schema::parse(&text, &self.limits)
            .map_err(|fault| semantic::schema_hold(fault, Some(id)))?;
        let Self { leaves, declared, .. } = &*self;
        let (plan, plans) = if image == Image::Key {
            let hold = semantic::key_hold(&schema.node, &leaves.key, declared, Some(id));
            (avro::key_plan(&schema, &self.key, hold), &mut self.key_plans)
        } else {
            let mut added = self.strip.then(Vec::new);
            let leaves = &leaves.row;
            let hold =
                semantic::value_hold(&schema.node, leaves, declared, Some(id), added.as_mut());
            let (before, added) = (self.before.as_ref(), added.unwrap_or_default());
            let plan = avro::value_plan(&schema, &self.row, before, hold, added);
            (plan, &mut self.value_plans)
        };
        if plans.len() >= self.limits.schemas_max {
            plans.clear();
        }
        let plan = Arc::new(plan);
        plans.insert(id, Arc::clone(&plan));
        Ok(plan)
    }

    /// Builds the key's columns.
    fn key(
        &mut self,
        key: Option<&[u8]>,
        kind: RowKind,
        schemas: &mut dyn WriterSchemas,
    ) -> Result<(), Refusal> {
        let mut seen = Seen::default();
        let present = match key {
            None => false,
            Some(key) if key.len() > self.limits.record_bytes_max => {
                return Err(QuarantineCode::TooLarge.into());
            }
            Some(key) => match self.format {
                Format::DebeziumJson => {
                    let mut scan = Scan::new(key, &self.limits)?;
                    let present = self.json_key(&mut scan, &mut seen)?;
                    scan.end().map_err(malformed_key)?;
                    present
                }
                Format::DebeziumJsonSchema => self.json_schema_key(key, &mut seen)?,
                Format::DebeziumAvro => {
                    let (id, datum) = avro::frame(key).map_err(malformed_key)?;
                    let plan = self.plan(id, Image::Key, schemas)?;
                    seen.hold = plan.hold.clone();
                    avro::walk(datum, &plan, &self.limits, &mut self.columns, &mut seen)
                        .map_err(malformed_key)?;
                    true
                }
            },
        };
        if let Some(hold) = seen.hold {
            return Err(hold.into());
        }
        if let Some(code) = seen.code {
            return Err(code.into());
        }
        if present {
            return Ok(());
        }
        match kind {
            RowKind::Delete | RowKind::Tombstone => Err(Hold::DeleteWithoutKey.into()),
            RowKind::Upsert if self.leaves.key.is_empty() => Ok(()),
            RowKind::Upsert => Err(QuarantineCode::MissingKey.into()),
        }
    }

    /// Whether there is a key: null is none.
    fn json_key(&mut self, scan: &mut Scan<'_>, seen: &mut Seen) -> Result<bool, QuarantineCode> {
        match scan.token().map_err(malformed_key)? {
            Token::Null => Ok(false),
            Token::Object => {
                let Self { key, columns, .. } = self;
                json::image(scan, key, &key.root, Image::Key, Some(columns), seen)
                    .map_err(malformed_key)?;
                Ok(true)
            }
            _ => Err(QuarantineCode::MalformedKey),
        }
    }

    fn json_schema_key(&mut self, key: &[u8], seen: &mut Seen) -> Result<bool, QuarantineCode> {
        let Self { limits, leaves, declared, key_schemas, .. } = self;
        let compile = |text: &str| match json_schema::parse(text, limits) {
            Ok(node) => semantic::key_hold(&node, &leaves.key, declared, None),
            Err(fault) => Some(semantic::schema_hold(fault, None)),
        };
        match json_schema::halves(key, limits, key_schemas, compile) {
            Err(NotHalves::Code(code)) => Err(malformed_key(code)),
            Err(NotHalves::Shape) => Err(QuarantineCode::MalformedKey),
            Ok(mut halves) => {
                match &halves.schema {
                    Some(verdict) => {
                        seen.hold.clone_from(verdict);
                        seen.judged = true;
                    }
                    None if halves.null => {}
                    None => return Err(QuarantineCode::MalformedKey),
                }
                self.json_key(&mut halves.scan, seen)
            }
        }
    }

    /// Debezium's own headers stay behind; any other holds.
    fn headers(&self, record: &RawRecord<'_>, kind: RowKind) -> Result<(), Refusal> {
        let known = |(name, _): &&(&str, _)| envelope::header(name);
        let unknown = record.headers.iter().enumerate().find(|(_, header)| !known(header));
        if let Some((at, (name, _))) = unknown {
            return Err(Hold::UnknownHeader { name: printable(name, false, at + 1) }.into());
        }
        match kind {
            _ if record.headers.len() <= self.limits.headers_max => Ok(()),
            RowKind::Upsert => Err(QuarantineCode::TooManyHeaders.into()),
            RowKind::Delete | RowKind::Tombstone => {
                Err(Hold::UndecodableDelete { cause: QuarantineCode::TooManyHeaders }.into())
            }
        }
    }
}

fn missing(image: Image, path: &str) -> Hold {
    Hold::MissingLeaf { path: format!("{}.{path}", image.prefix()), schema_id: None }
}

/// What is malformed in a key is said to be the key's.
fn malformed_key(code: QuarantineCode) -> QuarantineCode {
    match code {
        QuarantineCode::MalformedValue | QuarantineCode::Truncated => QuarantineCode::MalformedKey,
        other => other,
    }
}

/// A value that could not be read to its end. What is known to be a delete is never skipped.
fn broken(code: QuarantineCode, seen: &Seen, value: Option<&[u8]>, format: Format) -> Refusal {
    let json = matches!(format, Format::DebeziumJson | Format::DebeziumJsonSchema);
    let delete = match seen.op {
        Some('d') => true,
        Some('t') => return Hold::Truncate.into(),
        Some(_) => false,
        None => seen.after == Some(false) || json && value.is_some_and(json::says_delete),
    };
    if delete { Hold::UndecodableDelete { cause: code }.into() } else { code.into() }
}

/// What a value that could be read means.
fn decide(seen: &mut Seen) -> Result<Op, Refusal> {
    if seen.tombstone {
        return Ok(Op::Tombstone);
    }
    let op = match seen.op {
        None => return Err(Hold::NotAnEnvelope.into()),
        Some('c') => Op::Create,
        Some('u') => Op::Update,
        Some('r') => Op::Read,
        Some('d') => Op::Delete,
        Some('t') => return Err(Hold::Truncate.into()),
        Some(op) => return Err(Hold::Operation { op }.into()),
    };
    if let Some(hold) = seen.hold.take() {
        return Err(hold.into());
    }
    match (op, seen.after) {
        (Op::Delete, Some(true)) => {
            Err(Hold::UndecodableDelete { cause: QuarantineCode::MalformedValue }.into())
        }
        (Op::Delete, _) | (_, Some(true)) => Ok(op),
        _ => Err(QuarantineCode::MalformedValue.into()),
    }
}

/// Leaves of registered Avro schemas, before any record is read.
pub fn leaves_of_avro(key: Option<&str>, value: &str) -> Result<TableLeaves, SchemaFault> {
    let limits = Limits::default();
    let images = semantic::images(&avro_schema::parse(value, &limits)?.node, true)?;
    let key = match key {
        None => Vec::new(),
        Some(key) => semantic::leaves(&avro_schema::parse(key, &limits)?.node)?
            .ok_or(SchemaFault::KeyNotARecord)?,
    };
    table_leaves(key, images)
}

/// The names in the registered schema of a key or a value that a hold shows as a number: as it shows
/// them, and as they are. What has no schema that can be read has none.
///
/// # Errors
/// The registry is away.
pub fn hidden_of_avro(
    framed: &[u8],
    key: bool,
    schemas: &mut dyn WriterSchemas,
) -> Result<Vec<(String, String)>, Away> {
    let Ok((id, _)) = avro::frame(framed) else { return Ok(Vec::new()) };
    let text = schemas.schema_text(id)?;
    let parsed = text.and_then(|text| avro_schema::parse(&text, &Limits::default()).ok());
    Ok(parsed.map(|avro| semantic::hidden(&avro.node, key)).unwrap_or_default())
}

/// Leaves of a record of JSON with schemas.
pub fn leaves_of_json_schema(
    key_record: Option<&[u8]>,
    value_record: &[u8],
) -> Result<TableLeaves, SchemaFault> {
    let limits = Limits::default();
    let schema = |record: &[u8]| {
        let mut cache = Cache::new(&limits);
        let compile = |text: &str| json_schema::parse(text, &limits);
        let halves = json_schema::halves(record, &limits, &mut cache, compile);
        let schema = halves.map_err(|_| SchemaFault::Malformed)?.schema;
        schema.ok_or(SchemaFault::Malformed).and_then(|schema| (*schema).clone())
    };
    let images = semantic::images(&schema(value_record)?, false)?;
    let key = match key_record {
        None => Vec::new(),
        Some(key) => semantic::leaves(&schema(key)?)?.ok_or(SchemaFault::KeyNotARecord)?,
    };
    table_leaves(key, images)
}

fn table_leaves(
    key: Vec<crate::leaf::Leaf>,
    images: semantic::Images,
) -> Result<TableLeaves, SchemaFault> {
    if images.before.is_some_and(|before| before != images.after) {
        return Err(SchemaFault::ImagesDiffer);
    }
    Ok(TableLeaves { key, row: images.after })
}
