use std::path::Path;

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
        ("Flatten$Value", "", Fate::Kept, "`_` for `.`"),
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

#[test]
fn a_condition_is_never_dropped_in_silence() {
    let with = |predicate: &str| {
        import(&format!(
            r#"{{ "connector.class": "x.Sink", "topics": "t", "transforms": "a", "predicates": "p",
                "transforms.a.type": "x.MaskField$Value", "transforms.a.fields": "email", "transforms.a.predicate": "p",
                "predicates.p.type": "org.apache.kafka.connect.transforms.predicates.{predicate}", "predicates.p.pattern": "x" }}"#
        ))
    };
    assert_eq!(fate(&with("TopicNameMatches"), "MaskField").fate, Fate::NotKept);
    assert_eq!(fate(&with("RecordIsTombstone"), "MaskField").fate, Fate::Instead);
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
