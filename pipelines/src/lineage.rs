//! A proof as an OpenLineage event, for the catalogue of a firm: which column is made of which
//! leaves, and whether what crosses of them is masked.
//!
//! OpenLineage 2-0-2, `JobEvent`: lineage as it is designed, of no single run. The facets are
//! `SchemaDatasetFacet` 1-1-1, `ColumnLineageDatasetFacet` 1-2-0 and `JobTypeJobFacet` 2-0-3.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};
use ureq::Agent;

use crate::config::{self, Pipeline, Place};
use crate::explain;
use crate::fault::RunFault;
use crate::plan::{Crosses, Part, Plan};
use crate::proof::{Proof, Row};

const EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent";
const SCHEMA: &str =
    "https://openlineage.io/spec/facets/1-1-1/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet";
const COLUMNS: &str = "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json#/\
                       $defs/ColumnLineageDatasetFacet";
const JOB_TYPE: &str =
    "https://openlineage.io/spec/facets/2-0-3/JobTypeJobFacet.json#/$defs/JobTypeJobFacet";
const PRODUCER: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/v", env!("CARGO_PKG_VERSION"));
/// How long a catalogue has to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// The events of a file's pipelines, as they are at this moment.
pub fn events(place: &Path, file: &Path, now: SystemTime) -> Result<Vec<Json>, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let at = jiff::Timestamp::try_from(now)
        .map_err(|_| RunFault::Client("the clock is outside of time".to_owned()))?
        .to_string();
    let of = |pipeline: &Pipeline| {
        let plan = explain::plan(&place, pipeline)?;
        let proof = Proof::new(&place, pipeline, &plan, "");
        Ok(event(&place, pipeline, &proof, &Masks::of(&plan), &at))
    };
    pipelines.iter().map(of).collect()
}

/// What stands between a leaf and what crosses of it. Of an expression over several leaves each has
/// its own answer.
#[derive(Default)]
struct Masks {
    /// Leaves that a protection changes, as the proof names them.
    leaves: BTreeSet<String>,
    /// Columns that are a leaf's own values.
    as_they_are: BTreeSet<(Part, String)>,
    /// Nothing but noised statistics crosses.
    statistics: bool,
}

impl Masks {
    fn of(plan: &Plan) -> Self {
        let mut masks = Self { statistics: plan.aggregate.is_some(), ..Self::default() };
        for column in plan.columns.iter().chain(&plan.keys).filter(|c| c.protection.is_some()) {
            let path = &column.from.leaf.path;
            masks.leaves.extend([column.from.part.column(path), format!("before.{path}")]);
        }
        let keys = plan.keys.iter().map(|key| (key.name.as_str(), key));
        let leaves = plan.outputs().into_iter().filter_map(|crosses| match crosses {
            Crosses::Leaf(name, column) => Some((name, column)),
            Crosses::Derived(_) | Crosses::Noised(_) => None,
        });
        let plain = keys.chain(leaves).filter(|(_, column)| column.protection.is_none());
        masks.as_they_are = plain.map(|(name, c)| (c.from.part, name.to_owned())).collect();
        masks
    }

    fn is_masked(&self, leaf: &str) -> bool {
        self.statistics || self.leaves.contains(leaf)
    }

    fn subtype(&self, row: &Row) -> &'static str {
        match () {
            () if self.statistics => "AGGREGATION",
            () if self.as_they_are.contains(&(row.part, row.column.clone())) => "IDENTITY",
            () => "TRANSFORMATION",
        }
    }
}

/// Sends events to a catalogue, each with a POST, as OpenLineage's HTTP transport does.
pub fn send(url: &str, events: &[Json]) -> Result<(), RunFault> {
    let config = Agent::config_builder().timeout_global(Some(ANSWER)).http_status_as_error(false);
    let agent: Agent = config.max_redirects(0).build().into();
    let unreachable = |why: String| {
        // An address may hold a user and a password.
        RunFault::Unreachable { what: "the lineage endpoint".to_owned(), why }
    };
    for event in events {
        let said = agent.post(url).content_type("application/json").send(event.to_string());
        match said {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => return Err(unreachable(format!("status {}", answer.status().as_u16()))),
            Err(ureq::Error::Timeout(_)) => {
                return Err(unreachable("no answer in time".to_owned()));
            }
            Err(_) => return Err(unreachable("no connection, or no HTTP".to_owned())),
        }
    }
    Ok(())
}

fn event(place: &Place, pipeline: &Pipeline, proof: &Proof, masks: &Masks, at: &str) -> Json {
    let (from, to) = (namespace(place, true), namespace(place, false));
    let inputs: Vec<Json> = pipeline
        .source
        .topics
        .iter()
        .map(|topic| json!({ "namespace": from, "name": topic }))
        .collect();
    let topic = format!("{}{}", place.global.topic_prefix, pipeline.sink.topic);
    let fields: Vec<Json> = proof
        .columns
        .iter()
        .map(|row| json!({ "name": name(row), "type": row.column_type }))
        .collect();
    let columns: Map<String, Json> = proof
        .columns
        .iter()
        .map(|row| {
            (
                name(row),
                json!({ "inputFields": sources(row, masks, &pipeline.source.topics, &from) }),
            )
        })
        .collect();
    let filter = proof.sql.iter().flat_map(|sql| &sql.filter);
    let filters: Vec<Json> = filter
        .flat_map(|leaf| {
            let change = [transformation("INDIRECT", "FILTER", "WHERE of the sql stage", false)];
            input_fields(leaf, &pipeline.source.topics, &from, &change)
        })
        .collect();
    json!({
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": EVENT,
        "job": {
            "namespace": format!("douane://{}", place.sovereign.zone),
            "name": proof.pipeline,
            "facets": {
                "jobType": {
                    "_producer": PRODUCER, "_schemaURL": JOB_TYPE,
                    "processingType": "STREAMING", "integration": "DOUANE", "jobType": "PIPELINE",
                },
            },
        },
        "inputs": inputs,
        "outputs": [{
            "namespace": to,
            "name": topic,
            "facets": {
                "schema": { "_producer": PRODUCER, "_schemaURL": SCHEMA, "fields": fields },
                "columnLineage": {
                    "_producer": PRODUCER, "_schemaURL": COLUMNS,
                    "fields": columns, "dataset": filters,
                },
            },
        }],
    })
}

/// As OpenLineage names Kafka's clusters; files stand in the zone's own.
fn namespace(place: &Place, sovereign: bool) -> String {
    let cluster = if sovereign { &place.sovereign } else { &place.global };
    match cluster.bootstrap.split(',').next().map(str::trim) {
        Some(broker) if !broker.is_empty() => format!("kafka://{broker}"),
        _ => format!("file://{}", cluster.zone),
    }
}

/// The key has columns of its own beside the row's.
fn name(row: &Row) -> String {
    match row.part {
        Part::Key => format!("key.{}", row.column),
        Part::Row => row.column.clone(),
    }
}

fn sources(row: &Row, masks: &Masks, topics: &[String], namespace: &str) -> Vec<Json> {
    let why = "a cell that is refused, or a condition, decides whether it crosses";
    let leaves = row.direct.iter().chain(row.indirect.iter().filter(|l| !row.direct.contains(l)));
    leaves
        .flat_map(|leaf| {
            let masked = masks.is_masked(leaf);
            let direct = transformation("DIRECT", masks.subtype(row), &row.protection, masked);
            let indirect = transformation("INDIRECT", "CONDITIONAL", why, masked);
            let parts = [(&row.direct, direct), (&row.indirect, indirect)];
            let of = parts.into_iter().filter(|(leaves, _)| leaves.contains(leaf));
            let changes: Vec<Json> = of.map(|(_, change)| change).collect();
            input_fields(leaf, topics, namespace, &changes)
        })
        .collect()
}

fn input_fields(leaf: &str, topics: &[String], namespace: &str, changes: &[Json]) -> Vec<Json> {
    topics
        .iter()
        .map(|topic| {
            json!({ "namespace": namespace, "name": topic, "field": leaf, "transformations": changes })
        })
        .collect()
}

fn transformation(kind: &str, subtype: &str, description: &str, masking: bool) -> Json {
    json!({ "type": kind, "subtype": subtype, "description": description, "masking": masking })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::proof::fixture;

    fn plan(stages: &str) -> Plan {
        let text = format!(
            "name: p\npurpose: t\ndomains: domains.yaml\nsource:\n  kafka: {{ cluster: sovereign, topics: [t], format: \
             debezium_json, start: earliest, key: [id] }}\nclasses: {{ id: {{ class: identifier, subject: true }}, \
             city: public, country: public, email: identifier, zip: quasi }}\nstages:\n  - tokenize: {{ columns: [id, \
             email], domain: d }}\n  - generalize: {{ columns: [zip], prefix: 2 }}\n{stages}sink:\n  kafka: {{ cluster: global, topic: o, format: json, timestamp: 1s \
             }}\nrelease: p.json\n"
        );
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("p.yaml"), text).unwrap();
        std::fs::write(at("domains.yaml"), "domains:\n  d: {}\n").unwrap();
        let place = "clusters:\n  sovereign: { zone: eu-de, id: a, bootstrap: \"localhost:1\" }\n  global: \
                     { zone: global, id: b, bootstrap: \"localhost:2\" }\nkeys: { dir: keys/ }\nledger: \
                     { dir: ledger/ }\ntrust: trust.json\ntasks: 1\n";
        std::fs::write(at("douane.yaml"), place).unwrap();
        let (_, pipeline) = config::load(&at("douane.yaml"), &at("p.yaml"))
            .unwrap_or_else(|findings| panic!("{findings}"));
        crate::cases::plan(&pipeline).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn row(column: &str, part: Part, direct: &[&str]) -> Row {
        let mut row = fixture::proof().columns.remove(0);
        (row.column, row.part) = (column.to_owned(), part);
        row.direct = direct.iter().map(|leaf| (*leaf).to_owned()).collect();
        row.indirect.clear();
        row
    }

    /// The subtype, and of each leaf whether it is masked.
    fn told(masks: &Masks, row: &Row) -> (String, Vec<bool>) {
        let found = sources(row, masks, &["t".to_owned()], "kafka://a:1");
        let change = |field: &Json| field["transformations"][0].clone();
        let subtype = change(&found[0])["subtype"].as_str().unwrap().to_owned();
        (subtype, found.iter().map(|field| change(field)["masking"] == true).collect())
    }

    #[test]
    fn what_is_protected_is_masked_and_what_is_public_is_not() {
        let masks = Masks::of(&plan(""));
        let key = row("id", Part::Key, &["key.id"]);
        assert_eq!(told(&masks, &key), ("TRANSFORMATION".to_owned(), vec![true]));
        let email = row("email", Part::Row, &["before.email", "after.email"]);
        assert_eq!(told(&masks, &email), ("TRANSFORMATION".to_owned(), vec![true, true]));
        let city = row("city", Part::Row, &["after.city"]);
        assert_eq!(told(&masks, &city), ("IDENTITY".to_owned(), vec![false]));
    }

    /// An expression hides of one leaf what its protection hides, and of the other nothing.
    #[test]
    fn each_leaf_of_an_expression_has_its_own_answer() {
        let sql = "  - sql: \"select concat(zip, city) as area, country from batch\"\n";
        let masks = Masks::of(&plan(sql));
        let area = row("area", Part::Row, &["after.zip", "after.city"]);
        assert_eq!(told(&masks, &area), ("TRANSFORMATION".to_owned(), vec![true, false]));
        let country = row("country", Part::Row, &["after.country"]);
        assert_eq!(told(&masks, &country), ("IDENTITY".to_owned(), vec![false]));
    }

    #[test]
    fn a_statistic_is_an_aggregation_and_masks_all() {
        let masks = Masks { statistics: true, ..Masks::default() };
        let sum = row("sum", Part::Row, &["after.amount"]);
        assert_eq!(told(&masks, &sum), ("AGGREGATION".to_owned(), vec![true]));
    }

    #[test]
    fn a_leaf_that_flows_both_ways_is_one_field_with_two_transformations() {
        let mut row = row("id", Part::Key, &["key.id"]);
        row.indirect = row.direct.clone();
        let topics = ["t".to_owned(), "u".to_owned()];
        let found = sources(&row, &Masks::default(), &topics, "kafka://a:1");
        assert_eq!(found.len(), 2, "one a topic");
        let kinds = found[0]["transformations"].as_array().unwrap().iter();
        let kinds: Vec<_> = kinds.map(|change| change["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["DIRECT", "INDIRECT"]);
    }

    /// One request, answered with this status; what was sent.
    fn catalogue(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api/v1/lineage", listener.local_addr().unwrap());
        let heard = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
            while !bytes.ends_with(b"}") {
                let read = stream.read(&mut part).unwrap();
                bytes.extend(&part[..read]);
            }
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(bytes).unwrap()
        });
        (url, heard)
    }

    #[test]
    fn an_event_is_posted_and_a_refusal_is_told() {
        let events = [json!({ "job": "a" })];
        let (url, heard) = catalogue("201 Created");
        send(&url, &events).unwrap();
        let heard = heard.join().unwrap();
        assert!(heard.starts_with("POST /api/v1/lineage HTTP/1.1"), "{heard}");
        assert!(heard.ends_with(r#"{"job":"a"}"#), "{heard}");
        let (url, heard) = catalogue("403 Forbidden");
        let refused = send(&url, &events).unwrap_err().to_string();
        assert!(refused.contains("status 403"), "{refused}");
        heard.join().unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let away = send(&format!("http://user:hunter2@{nobody}/"), &events).unwrap_err();
        assert!(!away.to_string().contains("hunter2"), "{away}");
        assert_eq!(away.exit_code(), 3);
    }
}
