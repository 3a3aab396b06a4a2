//! What stops the whole transaction. Names and counts only, never a cell.

use douane_schemas::keys::KeyId;
use douane_schemas::leaf::LeafType;

/// A typed stop: nothing of the batch crosses. Rows refused singly are
/// [`crate::GateRefusal`]s and no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateFault {
    /// The sink is not the released one.
    #[error(
        "target topic is not the release's `{expected}`; correct the sink or sign a new release"
    )]
    Topic {
        /// The release's topic.
        expected: String,
    },
    /// The release says a format that the gate does not write.
    #[error("release says format `{found}`, expected json, avro, json_lines, arrow or parquet")]
    Format {
        /// As released.
        found: String,
    },
    /// Avro needs a registered schema, JSON has none.
    #[error("release says format {format}, and the target's schema id does not fit it")]
    SchemaId {
        /// As released.
        format: String,
    },
    /// Only tokens may choose the partition.
    #[error("release says partition_by `{found}`, expected token")]
    PartitionBy {
        /// As released.
        found: String,
    },
    /// The target has no partition, or more than Kafka numbers.
    #[error("target topic has {found} partitions, expected 1 to 2147483647")]
    Partitions {
        /// As given.
        found: u32,
    },
    /// Records of no size could cross.
    #[error("target takes records of {bytes_max} bytes, expected at least {expected}")]
    RecordBytes {
        /// As given.
        bytes_max: usize,
        /// The least that makes sense.
        expected: usize,
    },
    /// Two columns of one name.
    #[error("release has column `{column}` twice")]
    ColumnTwice {
        /// The name.
        column: String,
    },
    /// The release's type text is no leaf type, or no type that the format has.
    #[error("column `{column}` has a type that cannot be written")]
    ColumnType {
        /// The column.
        column: String,
    },
    /// The leaf a column comes from is not listed in the release.
    #[error("column `{column}` comes from leaf `{leaf}`, which the release does not list")]
    UnknownLeaf {
        /// The column.
        column: String,
        /// The leaf's path with its part.
        leaf: String,
    },
    /// The shape cannot come out as this type, or not from this leaf.
    #[error("column `{column}` of type {found} from a leaf of type {leaf} cannot have its shape")]
    ShapeType {
        /// The column.
        column: String,
        /// Type of the leaf.
        leaf: LeafType,
        /// Type of the column.
        found: LeafType,
    },
    /// A parameter of the shape is none that the gate can hold values to.
    #[error("column `{column}` has a shape whose {part} cannot be checked")]
    Shape {
        /// The column.
        column: String,
        /// Which parameter.
        part: &'static str,
    },
    /// The class may not cross in this shape, and no override names the column.
    #[error(
        "column `{column}` of class {class} may not cross as {shape}; a named override is needed"
    )]
    NotPermitted {
        /// The column.
        column: String,
        /// Its class.
        class: String,
        /// The shape's name.
        shape: &'static str,
    },
    /// The leaf has another class than the column that comes from it.
    #[error("column `{column}` has class {class}, its leaf has {leaf}")]
    Class {
        /// The column.
        column: String,
        /// The column's class.
        class: String,
        /// The leaf's class.
        leaf: String,
    },
    /// No key for the column's FF1 domain was given.
    #[error("column `{column}` needs the ff1 key of domain `{domain}`")]
    KeyMissing {
        /// The column.
        column: String,
        /// The domain.
        domain: String,
    },
    /// A key was given for what it is not for.
    #[error("a key for {found} was given where one for {expected} belongs")]
    KeyPurpose {
        /// The key's purpose.
        found: &'static str,
        /// The purpose wanted.
        expected: &'static str,
    },
    /// Avro has stricter names.
    #[error("column `{column}` has no name that Avro allows: [A-Za-z_][A-Za-z0-9_]*")]
    AvroName {
        /// The column.
        column: String,
    },
    /// An empty pipeline name.
    #[error("the release names no pipeline")]
    PipelineName,

    /// The batch has more or fewer columns than the release.
    #[error("batch has {found} {part} columns, the release has {expected}")]
    ColumnCount {
        /// `key` or `value`.
        part: &'static str,
        /// In the batch.
        found: usize,
        /// In the release.
        expected: usize,
    },
    /// Another column stands where this one belongs.
    #[error("{part} column {at} of the batch is not `{expected}`")]
    ColumnName {
        /// `key` or `value`.
        part: &'static str,
        /// Index from 0.
        at: usize,
        /// The release's name.
        expected: String,
    },
    /// The column has another type than the release says.
    #[error("{part} column `{column}` does not have the release's type")]
    ColumnArrow {
        /// `key` or `value`.
        part: &'static str,
        /// The column.
        column: String,
    },
    /// The column's null flag is not the release's.
    #[error("{part} column `{column}` is nullable: {found}, the release says {expected}")]
    Nullability {
        /// `key` or `value`.
        part: &'static str,
        /// The column.
        column: String,
        /// In the batch.
        found: bool,
        /// In the release.
        expected: bool,
    },
    /// The parts of a crossing do not have the same number of rows.
    #[error("{part} has {found} rows, the value columns have {expected}")]
    Rows {
        /// Which part.
        part: &'static str,
        /// Its rows.
        found: usize,
        /// The rows of the value columns.
        expected: usize,
    },
    /// Rows before the change where the release has none, or none where it has them.
    #[error("batch brings other images than the release has, expected {expected}")]
    Before {
        /// What should have been there.
        expected: &'static str,
    },
    /// A raw column that a twin needs is not there, or there twice.
    #[error("raw column `{leaf}` is missing or there twice")]
    RawMissing {
        /// `key.<path>` or `after.<path>`.
        leaf: String,
    },
    /// A raw column has another type than its leaf.
    #[error("raw column `{leaf}` does not have its leaf's type")]
    RawType {
        /// `key.<path>` or `after.<path>`.
        leaf: String,
    },
    /// A source record stands twice in one transaction.
    #[error("row {row} has the source position of another row")]
    OriginTwice {
        /// Index of the row.
        row: usize,
    },
    /// The topic index, partition or offset is none of the release's source.
    #[error("row {row} has a source position outside the release's topics")]
    Origin {
        /// Index of the row.
        row: usize,
    },
    /// One transaction alone is beyond what the release allows in all.
    #[error("transaction holds {found} {unit}, the release allows {allowed} in all")]
    Limit {
        /// `records` or `bytes`.
        unit: &'static str,
        /// In this transaction.
        found: u64,
        /// In the release.
        allowed: u64,
    },
    /// Statistics that are not whole: which part of them is not as the release says.
    #[error("the statistics are not as the release says: {part}")]
    Statistics {
        /// What was expected.
        part: &'static str,
    },
    /// Anything else in this header could carry data.
    #[error("traceparent is not of the form 00-<32 hex>-<16 hex>-<2 hex>")]
    Traceparent,
    /// A comparison kernel refused its columns.
    #[error("columns of one type could not be compared")]
    Compare,
    /// The writer refused a checked batch.
    #[error("a checked batch could not be encoded")]
    Encode,
    /// The batch was passed by the gate of another release.
    #[error("the batch was passed under another release")]
    ForeignBatch,
    /// The bundle is of another pipeline, or lies beside another topic.
    #[error("the bundle is of another pipeline or topic")]
    ForeignBundle,
    /// The bundle could not be signed or does not fit one record.
    #[error("bundle: {0}")]
    Bundle(&'static str),
    /// The manifest could not be signed or does not fit one record.
    #[error("manifest: {0}")]
    Manifest(&'static str),

    /// The cipher refused its key or its buffer.
    #[error("sealing failed")]
    Seal,
    /// More than one seal takes.
    #[error("{bytes} bytes are too many to seal, at most {bytes_max}")]
    SealTooLarge {
        /// Plain bytes.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The bytes are no seal of this product.
    #[error("the bytes are not sealed by this product, or were cut")]
    NotSealed,
    /// Sealed by a later or earlier version.
    #[error("seal has version {found}, expected {expected}")]
    SealVersion {
        /// In the bytes.
        found: u8,
        /// Known here.
        expected: u8,
    },
    /// Sealed under another key.
    #[error("sealed under key {found}, opened with {expected}; bring the key that sealed it")]
    SealKey {
        /// In the bytes.
        found: KeyId,
        /// The key at hand.
        expected: KeyId,
    },
    /// Changed, or sealed for another place.
    #[error("the seal is broken: changed bytes, or sealed for another place")]
    SealBroken,
}
