//! Every type of column, from the bytes of a file to what the decoder makes of it, against values
//! written by hand.

use std::path::Path;
use std::sync::Arc;

use apache_avro::Decimal;
use apache_avro::types::Value;
use arrow::array::*;
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use douane_schemas::debezium::{Away, Decoder, Limits, QuarantineCode, Refusal, WriterSchemas};
use douane_schemas::leaf::{LeafType, TableLeaves};
use douane_schemas::record::Format;

use super::format::{self, Next, Row};
use super::test_files::written;
use super::{FileFault, FileFormat, rows};

/// JSON without schemas asks for none.
struct NoSchemas;

impl WriterSchemas for NoSchemas {
    fn schema_text(&mut self, _: u32) -> Result<Option<String>, Away> {
        panic!("nobody asks")
    }
}

/// What the decoder makes of a file: its leaves, its columns, and a refusal a row that has one.
fn decoded(bytes: &[u8], format: FileFormat) -> (TableLeaves, RecordBatch, Vec<Refusal>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let leaves = format::leaves(file.path(), file.reopen().unwrap(), format, &[]).unwrap().unwrap();
    let columns: Vec<String> = leaves.row.iter().map(|leaf| leaf.path.clone()).collect();
    let mut decoder =
        Decoder::new(Format::DebeziumJson, leaves.clone(), &columns, Limits::default());
    let mut reader = format::reader(file.path(), file.reopen().unwrap(), format, &[]).unwrap();
    let (mut row, mut offset, mut refused) = (Row::default(), 0, Vec::new());
    while reader.next(&mut row).unwrap() == Next::Row {
        refused.extend(decoder.push(&row.raw(0, offset), &mut NoSchemas).err());
        offset += 1;
    }
    (leaves, decoder.finish().rows, refused)
}

/// One type: its column in the file, and what it must become.
struct Case {
    name: &'static str,
    field: Field,
    given: ArrayRef,
    leaf: LeafType,
    expected: ArrayRef,
    /// Parquet has the type as well.
    parquet: bool,
}

fn case(
    name: &'static str,
    given: impl Array + 'static,
    leaf: LeafType,
    expected: impl Array + 'static,
) -> Case {
    let field = Field::new(name, given.data_type().clone(), true);
    Case { name, field, given: Arc::new(given), leaf, expected: Arc::new(expected), parquet: true }
}

/// What differs from what must be, in one format.
fn differences(cases: &[Case], format: FileFormat) -> Vec<String> {
    let mut found = Vec::new();
    for case in cases {
        let schema = Arc::new(Schema::new(vec![case.field.clone()]));
        let batch = RecordBatch::try_new(schema, vec![Arc::clone(&case.given)]).unwrap();
        let (leaves, rows, refused) = decoded(&written(format, &batch), format);
        let (name, leaf) = (case.name, leaves.row[0].leaf_type);
        if leaf != case.leaf {
            found.push(format!("{name}: leaf {leaf}, not {}", case.leaf));
        }
        if !refused.is_empty() {
            found.push(format!("{name}: {} rows refused: {:?}", refused.len(), refused[0]));
        } else if rows.column(0).as_ref() != case.expected.as_ref() {
            found.push(format!("{name}: {:?}, not {:?}", rows.column(0), case.expected));
        }
    }
    found
}

fn decimal(precision: u8, scale: i8) -> LeafType {
    LeafType::Decimal { precision, scale }
}

fn wide(digits: &str) -> i256 {
    i256::from_string(digits).unwrap()
}

fn half(bits: u16) -> <Float16Type as ArrowPrimitiveType>::Native {
    <Float16Type as ArrowPrimitiveType>::Native::from_bits(bits)
}

fn numbers() -> Vec<Case> {
    let over = i128::from(i64::MAX) + 1;
    let decimal128 = |values: Vec<Option<i128>>, p, s| {
        Decimal128Array::from(values).with_precision_and_scale(p, s).unwrap()
    };
    let decimal256 = |values: Vec<Option<i256>>, p, s| {
        Decimal256Array::from(values).with_precision_and_scale(p, s).unwrap()
    };
    let nines = "9".repeat(76);
    vec![
        case(
            "bool",
            BooleanArray::from(vec![Some(true), None, Some(false)]),
            LeafType::Boolean,
            BooleanArray::from(vec![Some(true), None, Some(false)]),
        ),
        case(
            "int8",
            Int8Array::from(vec![Some(-128), None, Some(127)]),
            LeafType::Int16,
            Int16Array::from(vec![Some(-128), None, Some(127)]),
        ),
        case(
            "uint8",
            UInt8Array::from(vec![Some(0), None, Some(255)]),
            LeafType::Int16,
            Int16Array::from(vec![Some(0), None, Some(255)]),
        ),
        case(
            "int16",
            Int16Array::from(vec![Some(-32_768), None, Some(32_767)]),
            LeafType::Int16,
            Int16Array::from(vec![Some(-32_768), None, Some(32_767)]),
        ),
        case(
            "uint16",
            UInt16Array::from(vec![Some(0), None, Some(65_535)]),
            LeafType::Int32,
            Int32Array::from(vec![Some(0), None, Some(65_535)]),
        ),
        case(
            "int32",
            Int32Array::from(vec![Some(-2_147_483_648), None, Some(2_147_483_647)]),
            LeafType::Int32,
            Int32Array::from(vec![Some(-2_147_483_648), None, Some(2_147_483_647)]),
        ),
        case(
            "uint32",
            UInt32Array::from(vec![Some(0), None, Some(4_294_967_295)]),
            LeafType::Int64,
            Int64Array::from(vec![Some(0), None, Some(4_294_967_295)]),
        ),
        case(
            "int64",
            Int64Array::from(vec![Some(i64::MIN), None, Some(9_007_199_254_740_993)]),
            LeafType::Int64,
            Int64Array::from(vec![Some(i64::MIN), None, Some(9_007_199_254_740_993)]),
        ),
        case(
            "uint64",
            UInt64Array::from(vec![Some(0), None, Some(over as u64), Some(u64::MAX)]),
            decimal(20, 0),
            decimal128(vec![Some(0), None, Some(over), Some(18_446_744_073_709_551_615)], 20, 0),
        ),
        case(
            "float32",
            Float32Array::from(vec![
                Some(16_777_217.0),
                None,
                Some(-0.0),
                Some(1e-45),
                Some(f32::MAX),
                Some(f32::NEG_INFINITY),
                Some(f32::NAN),
            ]),
            LeafType::Float32,
            Float32Array::from(vec![
                Some(16_777_216.0),
                None,
                Some(-0.0),
                Some(f32::from_bits(1)),
                Some(f32::from_bits(0x7f7f_ffff)),
                Some(f32::NEG_INFINITY),
                Some(f32::NAN),
            ]),
        ),
        case(
            "float64",
            Float64Array::from(vec![
                Some(0.1),
                None,
                Some(-0.0),
                Some(5e-324),
                Some(f64::MAX),
                Some(f64::INFINITY),
                Some(f64::NAN),
            ]),
            LeafType::Float64,
            Float64Array::from(vec![
                Some(0.1),
                None,
                Some(-0.0),
                Some(f64::from_bits(1)),
                Some(f64::from_bits(0x7fef_ffff_ffff_ffff)),
                Some(f64::INFINITY),
                Some(f64::NAN),
            ]),
        ),
        case(
            "float16",
            Float16Array::from(vec![Some(half(0x3e00)), None, Some(half(0xfbff)), Some(half(1))]),
            LeafType::Float32,
            Float32Array::from(vec![Some(1.5), None, Some(-65_504.0), Some(5.960_464_5e-8)]),
        ),
        case(
            "decimal128",
            decimal128(vec![Some(1_980), None, Some(-5), Some(0)], 10, 2),
            decimal(10, 2),
            decimal128(vec![Some(1_980), None, Some(-5), Some(0)], 10, 2),
        ),
        case(
            "decimal128, all digits",
            decimal128(vec![Some(10_i128.pow(38) - 1), Some(1 - 10_i128.pow(38))], 38, 38),
            decimal(38, 38),
            decimal128(vec![Some(10_i128.pow(38) - 1), Some(1 - 10_i128.pow(38))], 38, 38),
        ),
        case(
            "decimal128, no fraction",
            decimal128(vec![Some(127), Some(128), Some(-128), Some(-129)], 5, 0),
            decimal(5, 0),
            decimal128(vec![Some(127), Some(128), Some(-128), Some(-129)], 5, 0),
        ),
        case(
            "decimal256",
            decimal256(vec![Some(wide(&nines)), None, Some(wide(&format!("-{nines}")))], 76, 20),
            decimal(76, 20),
            decimal256(vec![Some(wide(&nines)), None, Some(wide(&format!("-{nines}")))], 76, 20),
        ),
        case(
            "decimal256, few digits",
            decimal256(vec![Some(wide("-1980")), None], 10, 2),
            decimal(10, 2),
            decimal128(vec![Some(-1_980), None], 10, 2),
        ),
        Case {
            parquet: false,
            ..case(
                "decimal, zeros before the point",
                decimal128(vec![Some(19), None, Some(-1)], 5, -3),
                decimal(5, -3),
                decimal128(vec![Some(19), None, Some(-1)], 5, -3),
            )
        },
        case(
            "decimal32",
            Decimal32Array::from(vec![Some(-99_999), None]).with_precision_and_scale(5, 2).unwrap(),
            decimal(5, 2),
            decimal128(vec![Some(-99_999), None], 5, 2),
        ),
        case(
            "decimal64",
            Decimal64Array::from(vec![Some(999_999_999_999), None])
                .with_precision_and_scale(12, 3)
                .unwrap(),
            decimal(12, 3),
            decimal128(vec![Some(999_999_999_999), None], 12, 3),
        ),
    ]
}

fn times() -> Vec<Case> {
    let day = 86_400_000_000_i64;
    vec![
        // 0001-01-01, the day before the epoch, 2022-01-08, 9999-12-31.
        case(
            "date32",
            Date32Array::from(vec![Some(-719_162), Some(-1), None, Some(19_000), Some(2_932_896)]),
            LeafType::Date,
            Date32Array::from(vec![Some(-719_162), Some(-1), None, Some(19_000), Some(2_932_896)]),
        ),
        Case {
            // Parquet would make it a day.
            parquet: false,
            ..case(
                "date64",
                Date64Array::from(vec![Some(-1), None, Some(1_760_000_000_123)]),
                LeafType::Timestamp,
                TimestampMillisecondArray::from(vec![Some(-1), None, Some(1_760_000_000_123)]),
            )
        },
        case(
            "time32 s",
            Time32SecondArray::from(vec![Some(0), None, Some(86_399)]),
            LeafType::Time,
            Time32MillisecondArray::from(vec![Some(0), None, Some(86_399_000)]),
        ),
        case(
            "time32 ms",
            Time32MillisecondArray::from(vec![Some(1), None, Some(86_399_999)]),
            LeafType::Time,
            Time32MillisecondArray::from(vec![Some(1), None, Some(86_399_999)]),
        ),
        case(
            "time64 us",
            Time64MicrosecondArray::from(vec![Some(1), None, Some(day - 1)]),
            LeafType::MicroTime,
            Time64MicrosecondArray::from(vec![Some(1), None, Some(day - 1)]),
        ),
        case(
            "time64 ns",
            Time64NanosecondArray::from(vec![Some(1), None, Some(day * 1_000 - 1)]),
            LeafType::NanoTime,
            Time64NanosecondArray::from(vec![Some(1), None, Some(day * 1_000 - 1)]),
        ),
        case(
            "timestamp s",
            TimestampSecondArray::from(vec![Some(-1), None, Some(1_760_000_000)]),
            LeafType::Timestamp,
            TimestampMillisecondArray::from(vec![Some(-1_000), None, Some(1_760_000_000_000)]),
        ),
        case(
            "timestamp ms",
            TimestampMillisecondArray::from(vec![Some(-1), None, Some(1_760_000_000_123)]),
            LeafType::Timestamp,
            TimestampMillisecondArray::from(vec![Some(-1), None, Some(1_760_000_000_123)]),
        ),
        case(
            "timestamp us",
            TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_760_000_000_123_456)]),
            LeafType::MicroTimestamp,
            TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_760_000_000_123_456)]),
        ),
        case(
            "timestamp ns",
            TimestampNanosecondArray::from(vec![Some(-1), None, Some(1_760_000_000_123_456_789)]),
            LeafType::NanoTimestamp,
            TimestampNanosecondArray::from(vec![Some(-1), None, Some(1_760_000_000_123_456_789)]),
        ),
        case(
            "zoned s",
            TimestampSecondArray::from(vec![Some(-1), None, Some(0), Some(253_402_300_799)])
                .with_timezone("+02:00"),
            LeafType::ZonedTimestamp,
            StringArray::from(vec![
                Some("1969-12-31T23:59:59Z"),
                None,
                Some("1970-01-01T00:00:00Z"),
                Some("9999-12-31T23:59:59Z"),
            ]),
        ),
        Case {
            // Parquet counts no seconds, and its milliseconds end before these.
            parquet: false,
            ..case(
                "zoned s, far away",
                TimestampSecondArray::from(vec![i64::MAX, i64::MIN, 253_402_300_800])
                    .with_timezone("UTC"),
                LeafType::ZonedTimestamp,
                StringArray::from(vec![
                    "+292277026596-12-04T15:30:07Z",
                    "-292277022657-01-27T08:29:52Z",
                    "+010000-01-01T00:00:00Z",
                ]),
            )
        },
        case(
            "zoned ms",
            TimestampMillisecondArray::from(vec![Some(-62_135_596_800_001), None])
                .with_timezone("UTC"),
            LeafType::ZonedTimestamp,
            StringArray::from(vec![Some("0000-12-31T23:59:59.999Z"), None]),
        ),
        case(
            "zoned us",
            TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_000_000)])
                .with_timezone("Europe/Berlin"),
            LeafType::ZonedTimestamp,
            StringArray::from(vec![
                Some("1969-12-31T23:59:59.999999Z"),
                None,
                Some("1970-01-01T00:00:01Z"),
            ]),
        ),
        case(
            "zoned ns",
            TimestampNanosecondArray::from(vec![Some(1), None, Some(-1)]).with_timezone("UTC"),
            LeafType::ZonedTimestamp,
            StringArray::from(vec![
                Some("1970-01-01T00:00:00.000000001Z"),
                None,
                Some("1969-12-31T23:59:59.999999999Z"),
            ]),
        ),
        case(
            "duration s",
            DurationSecondArray::from(vec![Some(-2), None]),
            LeafType::MicroDuration,
            Int64Array::from(vec![Some(-2_000_000), None]),
        ),
        case(
            "duration ms",
            DurationMillisecondArray::from(vec![Some(-2), None]),
            LeafType::MicroDuration,
            Int64Array::from(vec![Some(-2_000), None]),
        ),
        case(
            "duration us",
            DurationMicrosecondArray::from(vec![Some(i64::MIN), None]),
            LeafType::MicroDuration,
            Int64Array::from(vec![Some(i64::MIN), None]),
        ),
    ]
}

fn texts_and_bytes() -> Vec<Case> {
    let texts = vec![Some("a\"\\\n\t\u{0}\u{7f}é€😀\u{2028}"), None, Some(""), Some("null")];
    let text = StringArray::from(texts.clone());
    let all: Vec<u8> = (0..=255).collect();
    let bytes = vec![Some(&all[..]), None, Some(&b""[..])];
    let binary = BinaryArray::from(bytes.clone());
    let fixed = |values: &[Option<&[u8]>], size| {
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.iter().copied(), size).unwrap()
    };
    let id: &[u8] = &[0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255];
    let mut uuid = case(
        "uuid",
        fixed(&[Some(id), None], 16),
        LeafType::Uuid,
        StringArray::from(vec![Some("00112233-4455-6677-8899-aabbccddeeff"), None]),
    );
    uuid.field = uuid
        .field
        .with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into());
    let labels: DictionaryArray<Int8Type> =
        [Some("red"), None, Some("blue"), Some("red")].into_iter().collect();
    let seconds = DictionaryArray::<Int32Type>::new(
        Int32Array::from(vec![Some(1), None, Some(0)]),
        Arc::new(TimestampSecondArray::from(vec![-1, 2])),
    );
    let wide = DictionaryArray::<Int16Type>::new(
        Int16Array::from(vec![Some(1), None, Some(0)]),
        Arc::new(UInt64Array::from(vec![u64::MAX, 7])),
    );
    vec![
        case("utf8", text.clone(), LeafType::Text, text.clone()),
        case("large utf8", LargeStringArray::from(texts.clone()), LeafType::Text, text.clone()),
        case("utf8 view", StringViewArray::from(texts), LeafType::Text, text),
        case("binary", binary.clone(), LeafType::Bytes, binary.clone()),
        case(
            "large binary",
            LargeBinaryArray::from(bytes.clone()),
            LeafType::Bytes,
            binary.clone(),
        ),
        case("binary view", BinaryViewArray::from(bytes), LeafType::Bytes, binary),
        case(
            "fixed binary",
            fixed(&[Some(&[0, 1, 255]), None], 3),
            LeafType::Bytes,
            BinaryArray::from(vec![Some(&[0_u8, 1, 255][..]), None]),
        ),
        case(
            "16 bytes",
            fixed(&[Some(id), None], 16),
            LeafType::Bytes,
            BinaryArray::from(vec![Some(id), None]),
        ),
        uuid,
        case(
            "dictionary of text",
            labels,
            LeafType::Text,
            StringArray::from(vec![Some("red"), None, Some("blue"), Some("red")]),
        ),
        Case {
            parquet: false,
            ..case(
                "dictionary of times",
                seconds,
                LeafType::Timestamp,
                TimestampMillisecondArray::from(vec![Some(2_000), None, Some(-1_000)]),
            )
        },
        Case {
            parquet: false,
            ..case(
                "dictionary of numbers",
                wide,
                decimal(20, 0),
                Decimal128Array::from(vec![Some(7), None, Some(18_446_744_073_709_551_615)])
                    .with_precision_and_scale(20, 0)
                    .unwrap(),
            )
        },
        case("null", NullArray::new(2), LeafType::Opaque, StringArray::from(vec![None::<&str>; 2])),
        case(
            "nulls only",
            Int64Array::from(vec![None::<i64>; 2]),
            LeafType::Int64,
            Int64Array::from(vec![None::<i64>; 2]),
        ),
    ]
}

fn all() -> Vec<Case> {
    numbers().into_iter().chain(times()).chain(texts_and_bytes()).collect()
}

#[test]
fn every_type_of_an_arrow_file_is_what_it_was() {
    assert_eq!(differences(&all(), FileFormat::Arrow), Vec::<String>::new());
}

#[test]
fn every_type_of_a_parquet_file_is_what_it_was() {
    let cases: Vec<Case> = all().into_iter().filter(|case| case.parquet).collect();
    assert_eq!(differences(&cases, FileFormat::Parquet), Vec::<String>::new());
}

/// The control: another value, another type, a value in place of a null, and a null in place of one.
#[test]
fn control_a_wrong_value_differs() {
    let given = || Int64Array::from(vec![Some(1), None]);
    let wrong = [
        case("value", given(), LeafType::Int64, Int64Array::from(vec![Some(2), None])),
        case("leaf", given(), LeafType::Int32, given()),
        case("null", given(), LeafType::Int64, Int64Array::from(vec![Some(1), Some(0)])),
        case("value", given(), LeafType::Int64, Int64Array::from(vec![None::<i64>, None])),
    ];
    assert_eq!(differences(&wrong, FileFormat::Arrow).len(), wrong.len());
}

/// What 64 bits of the leaf's unit do not count is set aside, never cut to what they do.
#[test]
fn a_time_beyond_its_leaf_is_set_aside() {
    let far: [ArrayRef; 4] = [
        Arc::new(TimestampSecondArray::from(vec![i64::MAX, i64::MIN])),
        Arc::new(DurationSecondArray::from(vec![i64::MAX, i64::MIN])),
        Arc::new(DurationMillisecondArray::from(vec![i64::MAX, i64::MIN])),
        Arc::new(Time32SecondArray::from(vec![i32::MAX, i32::MIN])),
    ];
    for given in far {
        let batch = RecordBatch::try_from_iter([("at", Arc::clone(&given))]).unwrap();
        let written = written(FileFormat::Arrow, &batch);
        let (_, rows, refused) = decoded(&written, FileFormat::Arrow);
        let aside = Refusal::Quarantine(QuarantineCode::OutOfRange);
        assert_eq!(refused, [aside.clone(), aside], "{}", given.data_type());
        assert_eq!(rows.num_rows(), 0);
    }
}

/// A number with more digits than its own column says ends the reading: it does not become null.
#[test]
fn a_decimal_beyond_its_precision_is_no_null() {
    let given = Decimal32Array::from(vec![123_456]).with_precision_and_scale(5, 0).unwrap();
    let batch = RecordBatch::try_from_iter([("n", Arc::new(given) as ArrayRef)]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), written(FileFormat::Arrow, &batch)).unwrap();
    let mut reader =
        format::reader(file.path(), file.reopen().unwrap(), FileFormat::Arrow, &[]).unwrap();
    let read = reader.next(&mut Row::default());
    let aside = || {
        let bytes = written(FileFormat::Arrow, &batch);
        decoded(&bytes, FileFormat::Arrow).2 == [Refusal::Quarantine(QuarantineCode::OutOfRange)]
    };
    assert!(matches!(read, Err(FileFault::Malformed { .. })) || aside());
}

#[test]
fn what_no_leaf_holds_exactly_is_refused_by_name_and_type() {
    let item = || Arc::new(Field::new("item", DataType::Int64, true));
    let pair = DataType::Struct(
        vec![Field::new("k", DataType::Utf8, false), Field::new("v", DataType::Int64, true)].into(),
    );
    let union = UnionFields::try_new([0], [Field::new("a", DataType::Int64, true)]).unwrap();
    let types = [
        (pair.clone(), "struct"),
        (DataType::List(item()), "list"),
        (DataType::LargeList(item()), "large_list"),
        (DataType::FixedSizeList(item(), 2), "fixed_size_list"),
        (DataType::ListView(item()), "list"),
        (DataType::Map(Arc::new(Field::new("entries", pair, false)), false), "map"),
        (DataType::Union(union, UnionMode::Dense), "union"),
        (DataType::Interval(IntervalUnit::MonthDayNano), "Interval"),
        (DataType::Duration(TimeUnit::Nanosecond), "Duration"),
        (DataType::Decimal128(3, -5), "Decimal128"),
        (
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::List(item()))),
            "dictionary",
        ),
    ];
    let path = Path::new("in/rows");
    for (data_type, said) in types {
        let column = |data_type| Field::new("shape", data_type, true);
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true), column(data_type)]);
        let refused = rows::leaves(path, &schema, &[]).unwrap_err();
        assert!(matches!(refused, FileFault::NoLeaf { column: 2, .. }), "{said}: {refused:?}");
        let text = refused.to_string();
        assert!(text.contains("`shape`") && text.contains(said), "{text}");
        // The control: the same table without that column.
        let fine =
            Schema::new(vec![Field::new("id", DataType::Int64, true), column(DataType::Utf8)]);
        assert_eq!(rows::leaves(path, &fine, &[]).unwrap().row.len(), 2);
    }
}

/// At the door of each format, from its bytes: the source does not open.
#[test]
fn a_nested_column_closes_the_file() {
    let list = ListArray::new(
        Arc::new(Field::new("item", DataType::Int64, true)),
        OffsetBuffer::new(ScalarBuffer::from(vec![0, 1])),
        Arc::new(Int64Array::from(vec![7])),
        None,
    );
    let batch = RecordBatch::try_from_iter([("tags", Arc::new(list) as ArrayRef)]).unwrap();
    for format in [FileFormat::Avro, FileFormat::Arrow, FileFormat::Parquet] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), written(format, &batch)).unwrap();
        let refused =
            format::reader(file.path(), file.reopen().unwrap(), format, &[]).err().unwrap();
        assert!(matches!(refused, FileFault::NoLeaf { column: 1, .. }), "{refused:?}");
        assert!(refused.to_string().contains("`tags`, is list"), "{refused}");
    }
}

/// The library would wrap it around at the ends of 64 bits of nanoseconds.
#[test]
fn an_int96_of_parquet_is_refused() {
    let message = "message m { REQUIRED INT32 n; OPTIONAL INT96 at; }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(message).unwrap());
    let mut bytes = Vec::new();
    let writer =
        parquet::file::writer::SerializedFileWriter::new(&mut bytes, schema, Arc::default());
    writer.unwrap().close().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let refused = format::reader(file.path(), file.reopen().unwrap(), FileFormat::Parquet, &[])
        .err()
        .unwrap();
    assert!(refused.to_string().contains("column 2, `at`, is INT96"), "{refused}");
}

/// Avro's types, written by another implementation.
#[test]
fn every_type_of_an_avro_container_is_what_it_was() {
    let schema = r#"{"type":"record","name":"Row","fields":[
        {"name":"b","type":"boolean"},
        {"name":"i","type":"int"},
        {"name":"l","type":["null","long"]},
        {"name":"f","type":"float"},
        {"name":"d","type":"double"},
        {"name":"s","type":"string"},
        {"name":"y","type":"bytes"},
        {"name":"x","type":{"type":"fixed","name":"X","size":3}},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["red","blue"]}},
        {"name":"n","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},
        {"name":"day","type":{"type":"int","logicalType":"date"}},
        {"name":"tm","type":{"type":"int","logicalType":"time-millis"}},
        {"name":"tu","type":{"type":"long","logicalType":"time-micros"}},
        {"name":"zm","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"zu","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"lm","type":{"type":"long","logicalType":"local-timestamp-millis"}},
        {"name":"lu","type":{"type":"long","logicalType":"local-timestamp-micros"}},
        {"name":"nothing","type":["null","string"]}]}"#;
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    let mut writer = apache_avro::Writer::new(&schema, Vec::new()).unwrap();
    let fields = [
        ("b", Value::Boolean(true)),
        ("i", Value::Int(i32::MIN)),
        ("l", Value::Union(1, Box::new(Value::Long(i64::MAX)))),
        ("f", Value::Float(1.5)),
        ("d", Value::Double(0.1)),
        ("s", Value::String("é\"\n".to_owned())),
        ("y", Value::Bytes(vec![0, 255])),
        ("x", Value::Fixed(3, vec![1, 2, 255])),
        ("e", Value::Enum(1, "blue".to_owned())),
        ("n", Value::Decimal(Decimal::from([0xfb]))),
        ("day", Value::Date(-1)),
        ("tm", Value::TimeMillis(1)),
        ("tu", Value::TimeMicros(1)),
        ("zm", Value::TimestampMillis(-1)),
        ("zu", Value::TimestampMicros(-1)),
        ("lm", Value::LocalTimestampMillis(-1)),
        ("lu", Value::LocalTimestampMicros(-1)),
        ("nothing", Value::Union(0, Box::new(Value::Null))),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    writer.append_value(Value::Record(fields.to_vec())).unwrap();
    let (leaves, rows, refused) = decoded(&writer.into_inner().unwrap(), FileFormat::Avro);
    assert_eq!(refused, []);
    let money = Decimal128Array::from(vec![-5]).with_precision_and_scale(10, 2).unwrap();
    let expected: [(&str, LeafType, ArrayRef); 18] = [
        ("b", LeafType::Boolean, Arc::new(BooleanArray::from(vec![true]))),
        ("i", LeafType::Int32, Arc::new(Int32Array::from(vec![i32::MIN]))),
        ("l", LeafType::Int64, Arc::new(Int64Array::from(vec![i64::MAX]))),
        ("f", LeafType::Float32, Arc::new(Float32Array::from(vec![1.5]))),
        ("d", LeafType::Float64, Arc::new(Float64Array::from(vec![0.1]))),
        ("s", LeafType::Text, Arc::new(StringArray::from(vec!["é\"\n"]))),
        ("y", LeafType::Bytes, Arc::new(BinaryArray::from(vec![&[0_u8, 255][..]]))),
        ("x", LeafType::Bytes, Arc::new(BinaryArray::from(vec![&[1_u8, 2, 255][..]]))),
        ("e", LeafType::Text, Arc::new(StringArray::from(vec!["blue"]))),
        ("n", decimal(10, 2), Arc::new(money)),
        ("day", LeafType::Date, Arc::new(Date32Array::from(vec![-1]))),
        ("tm", LeafType::Time, Arc::new(Time32MillisecondArray::from(vec![1]))),
        ("tu", LeafType::MicroTime, Arc::new(Time64MicrosecondArray::from(vec![1]))),
        (
            "zm",
            LeafType::ZonedTimestamp,
            Arc::new(StringArray::from(vec!["1969-12-31T23:59:59.999Z"])),
        ),
        (
            "zu",
            LeafType::ZonedTimestamp,
            Arc::new(StringArray::from(vec!["1969-12-31T23:59:59.999999Z"])),
        ),
        ("lm", LeafType::Timestamp, Arc::new(TimestampMillisecondArray::from(vec![-1]))),
        ("lu", LeafType::MicroTimestamp, Arc::new(TimestampMicrosecondArray::from(vec![-1]))),
        ("nothing", LeafType::Text, Arc::new(StringArray::from(vec![None::<&str>]))),
    ];
    assert_eq!(leaves.row.len(), expected.len());
    for (at, (name, leaf, array)) in expected.iter().enumerate() {
        assert_eq!((leaves.row[at].path.as_str(), leaves.row[at].leaf_type), (*name, *leaf));
        assert_eq!(rows.column(at), array, "{name}");
    }
}
