use std::path::Path;

use super::transforms::KINDS;
use super::*;
use crate::config;

fn import(json: &str) -> Imported {
    Imported::of(json.as_bytes()).unwrap_or_else(|fault| panic!("{fault}"))
}

fn fate<'a>(imported: &'a Imported, key: &str) -> &'a Line {
    let found = imported.lines.iter().find(|line| line.key == key);
    found.unwrap_or_else(|| panic!("no line for {key}: {:?}", imported.lines))
}

/// A sink connector that takes the row out of the envelope and masks four leaves of it.
const MASKED: &str = r#"{ "name": "Customers Out", "config": {
    "connector.class": "FileStreamSink", "tasks.max": "2", "topics": "crm.public.customers", "file": "/dev/null",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
    "transforms": "after,key,mask,gone,route",
    "transforms.after.type": "org.apache.kafka.connect.transforms.ExtractField$Value", "transforms.after.field": "after",
    "transforms.key.type": "org.apache.kafka.connect.transforms.ValueToKey", "transforms.key.fields": "id",
    "transforms.mask.type": "org.apache.kafka.connect.transforms.MaskField$Value",
    "transforms.mask.fields": "email, phone", "transforms.mask.replacement": "***",
    "transforms.gone.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
    "transforms.gone.exclude": "national_id,street",
    "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
    "transforms.route.regex": "crm\\.public\\.(.*)", "transforms.route.replacement": "training.$1",
    "errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead" } }"#;

const PLACE: &str = "clusters:\n  sovereign: { zone: eu-de, id: a, bootstrap: \"localhost:1\", registry: \
                     \"http://localhost:3\" }\n  global: { zone: global, id: b, bootstrap: \
                     \"localhost:2\", registry: \"http://localhost:4\" }\nkeys: { dir: keys/ }\nledger: { dir: \
                     ledger/ }\ntrust: trust.json\ntasks: 1\n";

/// What `lint` says to the file.
fn findings(imported: &Imported) -> String {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("douane.yaml", PLACE);
    write("p.yaml", &imported.yaml);
    if let Some(domains) = &imported.domains {
        write("domains.yaml", domains);
    }
    let at = |name: &str| dir.path().join(name);
    config::load(Path::new(&at("douane.yaml")), &at("p.yaml"))
        .map_or_else(|findings| findings.to_string(), |_| String::new())
}

#[test]
fn a_masking_chain_becomes_a_pipeline_that_lints() {
    let imported = import(MASKED);
    assert_eq!(imported.name, "customers-out");
    assert_eq!(findings(&imported), "", "{}", imported.yaml);
    for part in [
        "topics: [\"crm.public.customers\"], format: debezium_json, start: earliest, key: [\"id\"]",
        "\"id\": { class: identifier, subject: true }",
        "- redact: { columns: [\"email\", \"phone\"], constant: \"***\" }",
        "- tokenize: { columns: [\"id\"], domain: customers_out_key }",
        "- drop: { columns: [\"national_id\", \"street\"] }",
        "topic: \"training.customers\", format: json",
    ] {
        assert!(imported.yaml.contains(part), "{part}\n{}", imported.yaml);
    }
    assert!(imported.is_whole(), "{}", imported.report());
    let schemas = MASKED.replace("schemas.enable\": \"false", "schemas.enable\": \"true");
    assert_eq!(findings(&import(&schemas)), "", "{}", import(&schemas).yaml);
    let dead = "dead letters hold key, value and headers in clear";
    assert!(imported.leaks.iter().any(|leak| leak.starts_with(dead)), "{:?}", imported.leaks);
}

/// The chain that Connect's own documentation of Debezium has, on JSON without schemas.
#[test]
fn the_unwrap_that_does_nothing_is_told() {
    let chain = |schemas: bool| {
        import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "t", "transforms": "unwrap,mask",
                "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "{schemas}",
                "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
                "transforms.mask.type": "org.apache.kafka.connect.transforms.MaskField$Value", "transforms.mask.fields": "email" }}"#
        ))
    };
    let tells = |imported: &Imported| {
        imported.leaks.iter().any(|l| l.starts_with("ExtractNewRecordState does nothing to JSON"))
    };
    assert!(tells(&chain(false)));
    assert!(!tells(&chain(true)), "with schemas it unwraps");
    assert_eq!(findings(&chain(true)), "");
}

#[test]
fn what_a_chain_of_transforms_becomes() {
    for (kind, keys, fate, said) in [
        ("Filter", "", Fate::NotKept, "WHERE of a `sql` stage"),
        ("HoistField$Value", "", Fate::NotKept, "a row of columns"),
        ("Cast$Value", r#""transforms.a.spec": "age:int32","#, Fate::NotKept, "types of age"),
        ("TimestampConverter$Value", r#""transforms.a.field": "at","#, Fate::Instead, "generalize"),
        ("ReplaceField$Value", r#""transforms.a.include": "a,b","#, Fate::Kept, "a, b"),
        (
            "ReplaceField$Value",
            r#""transforms.a.renames": "a:b","#,
            Fate::NotKept,
            "select old as new",
        ),
        ("MaskField$Value", r#""transforms.a.fields": "a","#, Fate::Instead, "a: stay behind"),
        ("MaskField$Key", r#""transforms.a.fields": "a","#, Fate::Instead, "tokenize"),
        ("ExtractField$Key", r#""transforms.a.field": "id","#, Fate::Instead, "the leaf id"),
        ("Flatten$Value", "", Fate::Instead, "another sign"),
        ("Flatten$Value", r#""transforms.a.delimiter": ".","#, Fate::Instead, "another sign"),
        ("Flatten$Value", r#""transforms.a.delimiter": "_","#, Fate::Kept, "with `_`"),
        (
            "RegexRouter",
            r#""transforms.a.regex": "(", "transforms.a.replacement": "x","#,
            Fate::NotKept,
            "not read",
        ),
        (
            "RegexRouter",
            r#""transforms.a.regex": "u.*", "transforms.a.replacement": "x","#,
            Fate::Needless,
            "does not match t",
        ),
        (
            "RegexRouter",
            r#""transforms.a.regex": "(.)", "transforms.a.replacement": "$1x","#,
            Fate::Kept,
            "topic tx",
        ),
        ("SomebodysOwn", "", Fate::NotKept, "not known to this import"),
    ] {
        let imported = import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "t", "transforms": "a", {keys}
                "transforms.a.type": "org.apache.kafka.connect.transforms.{kind}" }}"#
        ));
        let simple = kind.split('$').next().unwrap();
        let line = self::fate(&imported, simple);
        assert_eq!(line.fate, fate, "{kind} {keys}: {}", line.what);
        assert!(line.what.contains(said), "{kind}: {}", line.what);
    }
}

/// An option of a transform that is kept says something too.
#[test]
fn what_a_transform_was_told_beyond_what_is_known_is_not_kept() {
    for (kind, option, value, told) in [
        ("ExtractNewRecordState", "add.fields", "op,ts_ms", true),
        ("ExtractNewRecordState", "add.headers", "op", true),
        ("ExtractNewRecordState", "route.by.field", "region", true),
        ("ExtractNewRecordState", "delete.tombstone.handling.mode", "rewrite", true),
        ("ExtractNewRecordState", "delete.handling.mode", "none", true),
        ("ExtractNewRecordState", "drop.tombstones", "true", true),
        ("MaskField", "replace.null.with.default", "false", true),
        ("ExtractNewRecordState", "negate", "true", true),
        ("MaskField", "fields", "${file:/etc/fields:all}", true),
        // The controls: what the pipeline does as well, and what says nothing.
        ("ExtractNewRecordState", "delete.tombstone.handling.mode", "tombstone", false),
        ("ExtractNewRecordState", "drop.tombstones", "false", false),
        ("ExtractNewRecordState", "add.fields", "", false),
        ("MaskField", "replacement", "x", false),
        // Nothing is kept of it, whatever it was told.
        ("SomebodysOwn", "depth", "x", false),
    ] {
        let imported = import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "t", "transforms": "a", "transforms.a.type": "x.{kind}",
                "transforms.a.{option}": "{value}" }}"#
        ));
        let key = format!("{kind} {option}");
        let found = imported.lines.iter().find(|line| line.key == key).map(|line| line.fate);
        assert_eq!(found, told.then_some(Fate::NotKept), "{key}={value}: {:?}", imported.lines);
    }
}

#[test]
fn a_key_of_another_format_is_told() {
    const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";
    for (key, schemas_of_key, value, schemas, fate) in [
        ("org.apache.kafka.connect.storage.StringConverter", "", JSON, "false", Fate::NotKept),
        (JSON, "true", JSON, "false", Fate::NotKept),
        (JSON, "", JSON, "false", Fate::NotKept),
        (JSON, "false", "io.confluent.connect.avro.AvroConverter", "", Fate::NotKept),
        // The controls. Without a word schemas are on.
        (JSON, "false", JSON, "false", Fate::Needless),
        (JSON, "", JSON, "true", Fate::Needless),
    ] {
        let imported = import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "t", "key.converter": "{key}",
                "key.converter.schemas.enable": "{schemas_of_key}", "value.converter": "{value}",
                "value.converter.schemas.enable": "{schemas}" }}"#
        ));
        let case = format!("{key} {schemas_of_key} {value} {schemas}");
        assert_eq!(self::fate(&imported, "key.converter").fate, fate, "{case}");
    }
}

/// Masked or not, the key's leaf is tokenised, and nothing else is done to it.
#[test]
fn a_key_that_the_chain_masks_becomes_a_pipeline_that_lints() {
    let masked = MASKED.replace("email, phone", "id, email");
    let imported = import(&masked);
    assert_eq!(findings(&imported), "", "{}", imported.yaml);
    assert!(imported.yaml.contains("redact: { columns: [\"email\"]"), "{}", imported.yaml);
    let line = fate(&imported, "MaskField of the key");
    assert!(line.fate == Fate::Instead && line.what.starts_with("id:"), "{line:?}");
    let alone = import(&MASKED.replace("email, phone", "id"));
    assert_eq!(findings(&alone), "", "{}", alone.yaml);
    assert!(!alone.yaml.contains("redact"), "{}", alone.yaml);
}

/// One transform under a predicate: what becomes of it, and what is told as let out.
#[test]
fn a_condition_is_never_dropped_in_silence() {
    use Fate::{Instead, Needless, NotKept};
    const CLEAR: &str = "email in clear, behind";
    let pattern = |name: &str| format!("\"predicates.p.pattern\": \"{name}\",");
    let negate = "\"transforms.a.negate\": \"true\",";
    let (some, none) = (pattern("crm\\\\.a.*"), pattern("crm"));
    let (all, not_some) = (pattern("crm\\\\..*"), format!("{some}{negate}"));
    let (not_all, java) = (format!("{all}{negate}"), pattern("(?<!x)crm.*"));
    for (kind, topics, predicate, keys, fate, says, leak) in [
        (
            "MaskField",
            "crm.a",
            "RecordIsTombstone",
            "",
            Instead,
            "no row there",
            "tombstones alone",
        ),
        ("MaskField", "crm.a", "RecordIsTombstone", negate, Instead, "email: stay", ""),
        ("MaskField", "crm.a", "TopicNameMatches", &some, Instead, "email: stay", ""),
        ("MaskField", "crm.a", "TopicNameMatches", &not_some, Instead, "no row there", "no topic"),
        ("MaskField", "crm.a", "TopicNameMatches", &none, Instead, "no row there", "no topic"),
        ("MaskField", "crm.a,crm.b", "TopicNameMatches", &all, Instead, "email: stay", ""),
        ("MaskField", "crm.a,crm.b", "TopicNameMatches", &not_all, Instead, "no row", "no topic"),
        ("MaskField", "crm.a,crm.b", "TopicNameMatches", &some, NotKept, "treats all", "not meet"),
        ("MaskField", "", "TopicNameMatches", &some, NotKept, "treats all", "not meet"),
        ("MaskField", "crm.a", "TopicNameMatches", &java, NotKept, "treats all", "not meet"),
        ("MaskField", "crm.a", "HasHeaderKey", "", NotKept, "(HasHeaderKey)", "not meet"),
        ("MaskField", "crm.a", "HasHeaderKey", negate, NotKept, "(HasHeaderKey)", "not meet"),
        ("ReplaceField", "crm.a", "HasHeaderKey", "", NotKept, "treats all", "not meet"),
        ("ReplaceField", "crm.a", "RecordIsTombstone", "", Needless, "no row", "tombstones alone"),
        ("Filter", "crm.a", "RecordIsTombstone", "", NotKept, "tombstones cross", ""),
        ("Filter", "crm.a", "RecordIsTombstone", negate, NotKept, "WHERE", ""),
        ("Filter", "crm.a", "TopicNameMatches", &none, Needless, "drops nothing", ""),
        ("Filter", "crm.a", "TopicNameMatches", &some, NotKept, "WHERE", ""),
    ] {
        let imported = import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "{topics}", "transforms": "a", "predicates": "p", {keys}
                "transforms.a.type": "x.{kind}$Value", "transforms.a.fields": "email", "transforms.a.exclude": "email",
                "transforms.a.predicate": "p",
                "predicates.p.type": "org.apache.kafka.connect.transforms.predicates.{predicate}" }}"#
        ));
        let case = format!("{kind} {topics} {predicate} {keys}");
        let line = self::fate(&imported, kind);
        assert!(line.fate == fate && line.what.contains(says), "{case}: {line:?}");
        let told: Vec<_> = imported.leaks.iter().filter(|told| told.starts_with(CLEAR)).collect();
        match leak {
            "" => assert!(told.is_empty(), "{case}: {told:?}"),
            leak => assert!(told.len() == 1 && told[0].contains(leak), "{case}: {told:?}"),
        }
    }
}

/// A topic is called as the transforms before have named it.
#[test]
fn a_condition_sees_the_name_that_a_route_gave() {
    let with = |pattern: &str| {
        import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "crm.a", "transforms": "r,a", "predicates": "p",
                "transforms.r.type": "x.RegexRouter", "transforms.r.regex": "crm.(.*)", "transforms.r.replacement": "out.$1",
                "transforms.a.type": "x.MaskField$Value", "transforms.a.fields": "email", "transforms.a.predicate": "p",
                "predicates.p.type": "x.TopicNameMatches", "predicates.p.pattern": "{pattern}" }}"#
        ))
    };
    let is_no_row = |pattern: &str| fate(&with(pattern), "MaskField").what.contains("no row");
    assert!(is_no_row("crm.*") && !is_no_row("out.*"));
}

/// Behind what may have renamed the topic, a condition on topics is met by nobody knows which records.
#[test]
fn a_condition_behind_a_topic_that_is_not_known_is_told() {
    let when = r#""transforms.r.predicate": "p","#;
    for (before, topics, keys, is_known) in [
        ("InsertField", "t", "", true),
        ("ExtractNewRecordState", "t", "", true),
        ("ExtractNewRecordState", "t", r#""transforms.r.route.by.field": "f","#, false),
        ("TimestampRouter", "t", "", false),
        ("RegexRouter", "t", "", true),
        ("RegexRouter", "t", when, false),
        ("RegexRouter", "t,t2", "", false),
        ("SomebodysOwn", "t", "", false),
    ] {
        let imported = import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "{topics}", "transforms": "r,a", "predicates": "p,all", {keys}
                "transforms.r.type": "x.{before}", "transforms.r.regex": "(t.*)", "transforms.r.replacement": "$1",
                "transforms.a.type": "x.MaskField$Value", "transforms.a.fields": "email", "transforms.a.predicate": "all",
                "predicates.p.type": "x.HasHeaderKey", "predicates.p.name": "h",
                "predicates.all.type": "x.TopicNameMatches", "predicates.all.pattern": "t.*" }}"#
        ));
        let told = imported.leaks.iter().any(|told| told.contains("not meet"));
        assert_eq!(told, !is_known, "{before} {topics} {keys}: {:?}", imported.leaks);
    }
}

/// Which rows a mask fails at, and which of several masks a line is about.
#[test]
fn a_mask_that_meets_a_tombstone_is_told_and_each_mask_has_a_line_of_its_own() {
    let with = |chain: &str, keys: &str| {
        import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "t", "transforms": "{chain}", "predicates": "p",
                "transforms.a.type": "x.MaskField$Value", "transforms.a.fields": "email", {keys}
                "transforms.b.type": "x.MaskField$Value", "transforms.b.fields": "phone", "transforms.b.replacement": "x",
                "transforms.f.type": "x.Filter", "transforms.f.predicate": "p", "transforms.k.type": "x.MaskField$Key",
                "predicates.p.type": "x.RecordIsTombstone" }}"#
        ))
    };
    let rows = r#""transforms.a.predicate": "p", "transforms.a.negate": "true","#;
    for (chain, keys, tells) in [
        ("a", "", true),
        ("a,f", "", true),
        ("f,a", "", false),
        ("a", rows, false),
        ("a,b", rows, true),
        ("k", "", false),
    ] {
        let imported = with(chain, keys);
        let told = imported.leaks.iter().any(|leak| leak.contains("fails at what has no row"));
        assert_eq!(told, tells, "{chain} {keys}");
    }
    let two = with("a,b", "");
    assert!(fate(&two, "MaskField 1").what.contains("email: stay behind"));
    assert!(fate(&two, "MaskField 2").what.contains("phone: a constant"));
}

#[test]
fn a_debezium_connectors_tables_are_its_topics() {
    let imported = import(
        r#"{ "name": "crm", "config": { "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "topic.prefix": "crm", "table.include.list": "public.customers,public\\.orders", "database.password": "hunter2",
            "message.key.columns": "public.customers:id", "column.exclude.list": "public.customers.secret",
            "column.mask.hash.v2.SHA-256.with.salt.hunter2": "public.customers.email", "slot.name": "s" } }"#,
    );
    assert!(imported.yaml.contains(r#"topics: ["crm.public.customers", "crm.public.orders"]"#));
    assert!(imported.yaml.contains(r#"drop: { columns: ["email"] }"#), "{}", imported.yaml);
    assert_eq!(fate(&imported, "database").fate, Fate::Needless);
    let patterns = import(
        r#"{ "connector.class": "io.debezium.X", "topic.prefix": "crm", "table.include.list": "public.*" }"#,
    );
    assert_eq!(fate(&patterns, "topic.prefix, table.include.list").fate, Fate::NotKept);
}

/// Nothing of a configuration is repeated but names.
#[test]
fn no_secret_is_repeated() {
    let secret = "hunter2-Ada";
    let imported = import(&format!(
        r#"{{ "connector.class": "x.Sink", "topics": "t", "sasl.jaas.config": "{secret}", "http.{secret}": "y",
            "column.mask.hash.v2.SHA-256.with.salt.{secret}": "a.b.email", "connection.url": "jdbc:{secret}",
            "transforms": "a", "transforms.a.type": "x.Own", "transforms.a.token": "{secret}" }}"#
    ));
    let all = format!(
        "{}{}{}",
        imported.yaml,
        imported.report(),
        serde_json::to_string(&imported).unwrap()
    );
    assert!(!all.contains(secret), "{all}");
    assert!(!imported.is_whole());
    let salted = format!(r#"{{"connector.class": "x", "mask.with.salt.{secret}": ["a"]}}"#);
    for wrong in [
        salted,
        format!(r#"{{"connector.class": ["{secret}"]}}"#),
        format!("{{ {secret} }}"),
        secret.to_owned(),
    ] {
        let fault = Imported::of(wrong.as_bytes()).unwrap_err();
        assert!(!fault.to_string().contains(secret), "{fault}");
    }
}

#[test]
fn what_is_no_connector_is_refused() {
    assert_eq!(Imported::of(b"{}"), Err(ImportFault::NoClass));
    assert!(matches!(Imported::of(b"[1]"), Err(ImportFault::Json(_))));
    assert!(matches!(Imported::of(b"{"), Err(ImportFault::Json(_))));
}

#[test]
fn names_are_a_pipelines() {
    for (from, to) in [
        ("Customers Out", "customers-out"),
        ("9lives", "lives"),
        ("Ü", "imported"),
        ("", "imported"),
    ] {
        assert_eq!(name(from), to);
    }
    assert_eq!(name(&"a".repeat(99)).len(), 48);
}

/// The lines of what a chain lets out. Each is of one row, so that a row may say that there is none.
const NOTHING: &str = "no transform masks or drops a leaf";
const UNNAMED: &str = "a leaf that no transform names passes";
const NESTED: &str = "leaves within others cannot be named";
const EVENT: &str = "the transforms see the envelope";
const KEY: &str = "the record's key crosses in clear";
const SILENT: &str = "ExtractNewRecordState does nothing";
const DEAD: &str = "dead letters hold key, value and headers";
const CONTEXT: &str = "context headers of dead letters";
const LOGS: &str = "errors.log prints";
const RECORDS: &str = "errors.log.include.messages prints";

/// A sink of rows in JSON with schemas, its transforms as `alias: Class key=value …`.
fn chain(transforms: &[&str], keys: &[(&str, &str)]) -> Imported {
    let mut config = serde_json::Map::new();
    let mut put = |key: &str, value: &str| config.insert(key.to_owned(), value.into());
    put("connector.class", "x.Sink");
    put("topics", "t");
    put("value.converter", "org.apache.kafka.connect.json.JsonConverter");
    let mut aliases = Vec::new();
    for (at, transform) in transforms.iter().enumerate() {
        let mut words = transform.split(' ');
        put(&format!("transforms.t{at}.type"), &format!("x.{}", words.next().unwrap()));
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            put(&format!("transforms.t{at}.{key}"), value);
        }
        aliases.push(format!("t{at}"));
    }
    put("transforms", &aliases.join(","));
    put("predicates", "gone,tagged");
    put("predicates.gone.type", "x.RecordIsTombstone");
    put("predicates.tagged.type", "x.HasHeaderKey");
    for (key, value) in keys {
        put(key, value);
    }
    import(&Json::from(config).to_string())
}

fn tells(imported: &Imported, what: &str) -> bool {
    imported.leaks.iter().any(|leak| leak.starts_with(what))
}

#[test]
fn a_boolean_is_read_as_connect_reads_it() {
    const SCHEMAS: &str = "value.converter.schemas.enable";
    const HEADERS: &str = "errors.deadletterqueue.context.headers.enable";
    let dead = ("errors.deadletterqueue.topic.name", "dead");
    for (key, value, leak, told, finding) in [
        (SCHEMAS, "False", SILENT, true, false),
        (SCHEMAS, " FALSE ", SILENT, true, false),
        (SCHEMAS, "no", SILENT, true, true),
        (SCHEMAS, "${env:SCHEMAS}", SILENT, true, true),
        (SCHEMAS, "True", SILENT, false, false),
        (SCHEMAS, "true", SILENT, false, false),
        ("errors.log.enable", "TRUE", LOGS, true, false),
        ("errors.log.enable", "yes", LOGS, true, true),
        ("errors.log.enable", "False", LOGS, false, false),
        (HEADERS, " True", CONTEXT, true, false),
        (HEADERS, "1", CONTEXT, true, true),
        (HEADERS, "false", CONTEXT, false, false),
        ("errors.tolerance", " all ", "a record that fails prints", false, false),
        ("errors.tolerance", "none", "a record that fails prints", true, false),
        ("errors.tolerance", "ALL", "a record that fails prints", true, true),
    ] {
        let imported = chain(&["ExtractNewRecordState"], &[(key, value), dead]);
        let case = format!("{key}={value}: {:?}", imported.leaks);
        assert_eq!(tells(&imported, leak), told, "{case}");
        let found = imported.lines.iter().any(|l| l.key == key && l.fate == Fate::NotKept);
        assert_eq!(found, finding, "{case}");
        assert_eq!(imported.is_whole(), !finding, "{case}: {:?}", imported.lines);
    }
}

#[test]
fn negate_is_read_as_connect_reads_it() {
    for (negate, fate, finding) in [
        ("true", Fate::Instead, false),
        ("True", Fate::Instead, false),
        ("False", Fate::Instead, false),
        // It is checked trimmed and read as it is.
        (" true", Fate::Instead, true),
        ("yes", Fate::NotKept, true),
    ] {
        let keys = [("transforms.t0.predicate", "gone"), ("transforms.t0.negate", negate)];
        let imported = chain(&["MaskField$Value fields=email"], &keys);
        let line = self::fate(&imported, "MaskField");
        assert_eq!(line.fate, fate, "{negate}: {line:?}");
        let is_no_row = tells(&imported, "email in clear, behind MaskField: its condition");
        assert_eq!(is_no_row, !["true", "True", "yes"].contains(&negate), "{negate}");
        let found = imported.lines.iter().any(|line| line.key == "MaskField negate");
        assert_eq!(found, finding, "{negate}: {:?}", imported.lines);
    }
    let keys = [("transforms.t0.predicate", "nobody")];
    let imported = chain(&["MaskField$Value fields=email"], &keys);
    assert!(fate(&imported, "MaskField").what.contains("not defined"), "{:?}", imported.lines);
}

const OPEN: &str = "ExtractNewRecordState";
const MASK: &str = "MaskField$Value fields=email";

#[test]
fn what_a_chain_lets_out_is_judged_in_its_order() {
    let all = [NOTHING, UNNAMED, NESTED, EVENT, KEY];
    for (transforms, told) in [
        (&[][..], &[NOTHING, KEY][..]),
        (&[OPEN], &[NOTHING, KEY]),
        (&["RegexRouter regex=t replacement=u"], &[NOTHING, KEY]),
        (&["ReplaceField$Value renames=a:b"], &[NOTHING, KEY]),
        (&[MASK], &[UNNAMED, NESTED, EVENT, KEY]),
        (&[OPEN, MASK], &[UNNAMED, NESTED, KEY]),
        (&["ExtractField$Value field=after", MASK], &[UNNAMED, NESTED, KEY]),
        // What only looks like it: of the key, or JSON's own envelope, or too late.
        (&["ExtractField$Key field=after", MASK], &[UNNAMED, NESTED, EVENT, KEY]),
        (&["ExtractField$Value field=payload", MASK], &[UNNAMED, NESTED, EVENT, KEY]),
        (&[MASK, "ExtractField$Key field=id"], &[UNNAMED, NESTED, EVENT, KEY]),
        (&["MaskField$Value fields=before,after"], &[UNNAMED, NESTED, KEY]),
        // A list of what passes, and what is none.
        (&[OPEN, "ReplaceField$Value include=id"], &[NESTED, KEY]),
        (
            &[OPEN, "ReplaceField$Value exclude=email", "Cast$Value spec=age:int32"],
            &[UNNAMED, NESTED, KEY],
        ),
        (&[OPEN, MASK, "TimestampConverter$Value field=at"], &[UNNAMED, NESTED, KEY]),
        (&[OPEN, MASK, "ReplaceField$Key include=id"], &[UNNAMED, NESTED, KEY]),
        (&[OPEN, "ReplaceField$Value whitelist=id"], &[NOTHING, KEY]),
        (&[OPEN, "ReplaceField$Value include=id predicate=tagged"], &[UNNAMED, NESTED, KEY]),
        (&[OPEN, "ReplaceField$Value include=id predicate=gone negate=true"], &[NESTED, KEY]),
        (&["ReplaceField$Value include=after", OPEN], &[UNNAMED, NESTED, KEY]),
        (
            &[OPEN, "HoistField$Value field=row", "ReplaceField$Value include=row"],
            &[UNNAMED, NESTED, KEY],
        ),
        // What is nested has a name at the top.
        (&[OPEN, "Flatten$Value", "MaskField$Value fields=home.city"], &[UNNAMED, KEY]),
        (&[OPEN, MASK, "Flatten$Value"], &[UNNAMED, NESTED, KEY]),
        (&["Flatten$Value", "MaskField$Value fields=after.email,before.email"], &[UNNAMED, KEY]),
        // The key.
        (&[OPEN, MASK, "ValueToKey fields=id", "MaskField$Key fields=id"], &[UNNAMED, NESTED]),
        (&[OPEN, "ValueToKey fields=email", MASK], &[UNNAMED, NESTED, KEY]),
        (&[OPEN, MASK, "ValueToKey fields=email"], &[UNNAMED, NESTED]),
        (
            &[OPEN, MASK, "ValueToKey fields=email", "ExtractField$Key field=email"],
            &[UNNAMED, NESTED],
        ),
        (&[OPEN, MASK, "MaskField$Key fields=id", "ExtractField$Key field=id"], &[UNNAMED, NESTED]),
        (
            &[OPEN, MASK, "MaskField$Key fields=id", "ExtractField$Key field=no"],
            &[UNNAMED, NESTED, KEY],
        ),
        (
            &[OPEN, MASK, "ExtractField$Key field=id", "MaskField$Key fields=id"],
            &[UNNAMED, NESTED, KEY],
        ),
        (&[OPEN, MASK, "MaskField$Key fields=id", "ValueToKey fields=id"], &[UNNAMED, NESTED, KEY]),
        (&[OPEN, MASK, "HoistField$Key field=k", "MaskField$Key fields=k"], &[UNNAMED, NESTED]),
        (&[OPEN, MASK, "Cast$Key spec=id:string"], &[UNNAMED, NESTED, KEY]),
        (
            &[OPEN, MASK, "ReplaceField$Key include=id", "ReplaceField$Key exclude=id"],
            &[UNNAMED, NESTED],
        ),
        (
            &[OPEN, MASK, "ValueToKey fields=id", "MaskField$Key fields=id predicate=gone"],
            &[UNNAMED, NESTED, KEY],
        ),
        (
            &[
                OPEN,
                MASK,
                "ValueToKey fields=id",
                "MaskField$Key fields=id predicate=gone negate=true",
            ],
            &[UNNAMED, NESTED, KEY],
        ),
        (
            &[
                OPEN,
                MASK,
                "ValueToKey fields=id",
                "Filter predicate=gone",
                "MaskField$Key fields=id predicate=gone negate=true",
            ],
            &[UNNAMED, NESTED],
        ),
    ] {
        let imported = chain(transforms, &[]);
        let found: Vec<&str> = all.into_iter().filter(|what| tells(&imported, what)).collect();
        assert_eq!(found, told, "{transforms:?}: {:?}", imported.leaks);
    }
}

/// A transform that names a leaf and does not hide it.
#[test]
fn a_leaf_that_is_named_and_passes_is_told() {
    for (transforms, told) in [
        (
            &[MASK, OPEN][..],
            "email in clear, behind MaskField: it stands before ExtractNewRecordState",
        ),
        (&["MaskField$Value fields=op", OPEN], ""),
        (&[OPEN, MASK], ""),
        (
            &["ExtractNewRecordState predicate=tagged", MASK],
            "email in clear, behind MaskField: what does not meet the condition of ExtractNewRecordState",
        ),
        (&["ExtractNewRecordState predicate=gone negate=true", MASK], ""),
        (
            &[OPEN, "MaskField$Value fields=home.city"],
            "home.city in clear, behind MaskField: it looks for a leaf",
        ),
        (&[OPEN, "Flatten$Value", "MaskField$Value fields=home.city"], ""),
        (
            &[OPEN, "Flatten$Value delimiter=_", "MaskField$Value fields=home.city"],
            "home.city in clear",
        ),
        (
            &[OPEN, "ReplaceField$Value renames=email:mail", MASK],
            "email in clear, behind MaskField: a transform before it gave",
        ),
        (&[OPEN, MASK, "ReplaceField$Value renames=email:mail"], ""),
        (
            &[OPEN, "HoistField$Value field=row", MASK],
            "email in clear, behind MaskField: HoistField put the row",
        ),
        (&[OPEN, "HoistField$Value field=row", "MaskField$Value fields=row"], ""),
        (
            &["Flatten$Value", "MaskField$Value fields=after.email"],
            "before.email in clear, behind MaskField: it names the row after",
        ),
        (
            &[
                "Flatten$Value",
                "MaskField$Value fields=after.email",
                "ReplaceField$Value exclude=before.email",
            ],
            "",
        ),
        (
            &["Flatten$Value", MASK],
            "email in clear, behind MaskField: behind Flatten they are called `after.…`",
        ),
        (
            &[OPEN, "ReplaceField$Value blacklist=email"],
            "email in clear, behind ReplaceField: `blacklist` is ignored",
        ),
        (&[OPEN, "ReplaceField$Value exclude=email"], ""),
        (&[OPEN, MASK, "MaskField$Key fields=id"], "of the record's key only id is hidden"),
        (
            &[OPEN, MASK, "ValueToKey fields=id,no", "MaskField$Key fields=id"],
            "no of the record's key in clear",
        ),
        (
            &["Filter", "MaskField$Key fields=id predicate=gone negate=true"],
            "id in clear, behind MaskField: tombstones pass it, and have keys",
        ),
        (
            &["HeaderFrom$Value fields=email headers=h operation=copy", OPEN],
            "email in clear, behind HeaderFrom",
        ),
        (
            &[
                "HeaderFrom$Value fields=email headers=h operation=copy",
                OPEN,
                "DropHeaders headers=h",
            ],
            "",
        ),
        (&["HeaderFrom$Key fields=id headers=h operation=move"], "id in clear, behind HeaderFrom"),
        (&[OPEN, MASK, "HeaderFrom$Value fields=email headers=h operation=copy"], ""),
        (
            &["ExtractNewRecordState route.by.field=region"],
            "region in clear: ExtractNewRecordState makes it the topic's name",
        ),
        (&["SomebodysOwn$Key"], "what SomebodysOwn lets out cannot be told"),
    ] {
        let imported = chain(transforms, &[]);
        match told {
            "" => {
                let clear =
                    |leak: &&String| leak.contains(" in clear, behind") || leak.contains("only");
                let found: Vec<_> = imported.leaks.iter().filter(clear).collect();
                assert!(found.is_empty(), "{transforms:?}: {found:?}");
            }
            told => assert!(tells(&imported, told), "{transforms:?}: {:?}", imported.leaks),
        }
    }
}

#[test]
fn a_transform_that_is_not_named_is_never_applied() {
    let keys =
        [("transforms.spare.type", "x.MaskField$Value"), ("transforms.spare.fields", "email")];
    let told = "email in clear, behind MaskField: `transforms` does not name it";
    let imported = chain(&[OPEN], &keys);
    assert!(tells(&imported, told) && tells(&imported, NOTHING), "{:?}", imported.leaks);
    assert_eq!(fate(&imported, "transforms.spare").fate, Fate::NotKept);
    assert!(!tells(&chain(&[OPEN, MASK], &[]), told));
    let imported = chain(&[], &[("transforms", "nobody")]);
    assert_eq!(fate(&imported, "transforms").fate, Fate::NotKept);
}

#[test]
fn what_fails_is_told_as_a_sink_or_a_source_does_it() {
    const SOURCE: (&str, &str) = ("connector.class", "io.debezium.connector.mysql.MySqlConnector");
    let dead = ("errors.deadletterqueue.topic.name", "dead");
    let headers = ("errors.deadletterqueue.context.headers.enable", "true");
    let (logs, records) = (("errors.log.enable", "true"), ("errors.log.include.messages", "true"));
    let all = [DEAD, CONTEXT, LOGS, RECORDS, SILENT];
    let plain = ("value.converter.schemas.enable", "false");
    for (keys, told) in [
        (&[dead][..], &[DEAD][..]),
        (&[dead, headers], &[DEAD, CONTEXT]),
        (&[headers], &[]),
        (&[logs], &[LOGS]),
        (&[logs, records], &[LOGS]),
        (&[records], &[]),
        (&[plain], &[SILENT]),
        // A source has no dead letters, and its records have schemas until they are written.
        (&[SOURCE, dead, headers], &[]),
        (&[SOURCE, logs, records], &[LOGS, RECORDS]),
        (&[SOURCE, plain], &[]),
        (&[("connector.class", "MySqlConnector"), plain], &[]),
        (&[("connector.class", "io.debezium.connector.jdbc.JdbcSinkConnector"), plain], &[SILENT]),
    ] {
        let imported = chain(&[OPEN, MASK], keys);
        let found: Vec<&str> = all.into_iter().filter(|what| tells(&imported, what)).collect();
        assert_eq!(found, told, "{keys:?}: {:?}", imported.leaks);
    }
}

#[test]
fn what_a_connector_does_to_columns_is_told() {
    const NEW: &str = "a column that the connector's";
    const OF_KEY: &str = "the connector masks and drops columns in the value alone";
    const HASH: &str = "column.mask.hash: one value has one hash";
    const CUT: &str = "the beginning of notes in clear";
    let all = [NOTHING, NEW, OF_KEY, HASH, CUT];
    for (key, columns, told, pattern) in [
        ("x", "", &[NOTHING][..], false),
        ("column.exclude.list", "public.c.email", &[NEW, OF_KEY], false),
        ("column.include.list", "public.c.id,public\\.c\\.city", &[OF_KEY], false),
        ("column.include.list", "public.c.(id|city)", &[NEW, OF_KEY], true),
        ("column.exclude.list", "public.*", &[NEW, OF_KEY], true),
        ("column.mask.with.10.chars", "public.c.email", &[NEW, OF_KEY], false),
        ("column.mask.hash.SHA-256.with.salt.S", "public.c.email", &[NEW, OF_KEY, HASH], false),
        ("column.truncate.to.20.chars", "public.c.notes", &[NOTHING, CUT], true),
    ] {
        let class = ("connector.class", "io.debezium.connector.mysql.MySqlConnector");
        let imported = chain(&[], &[class, (key, columns)]);
        let found: Vec<&str> = all.into_iter().filter(|what| tells(&imported, what)).collect();
        assert_eq!(found, told, "{key}={columns}: {:?}", imported.leaks);
        let mut lines = imported.lines.iter().filter(|line| line.key.starts_with("column."));
        let not_kept = lines.any(|line| line.fate == Fate::NotKept);
        assert_eq!(not_kept, pattern, "{key}={columns}: {:?}", imported.lines);
        assert!(!imported.yaml.contains(['*', '|']), "{}", imported.yaml);
    }
}

/// Of what is in the list, the chain knows what it lets out: it has a fate of its own as well.
#[test]
fn every_kind_that_is_known_has_a_fate() {
    let is_known = |kind: &str| {
        let imported = chain(&[kind], &[]);
        assert_eq!(tells(&imported, "what "), !KINDS.contains(&kind), "{kind}");
        !fate(&imported, kind).what.contains("not known to this import")
    };
    for kind in KINDS {
        assert!(is_known(kind), "{kind}");
    }
    assert!(!is_known("SomebodysOwn"));
}
