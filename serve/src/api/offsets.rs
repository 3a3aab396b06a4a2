//! `/connectors/{c}/offsets`: read from the target, and not to be altered.
//!
//! A position stands in the target, in the transaction of the data that it belongs to. Going back
//! would send records a second time; going on would leave records out, and the ledger would say
//! that everything before the position was decided. So what would change anything is refused.

use std::collections::BTreeMap;

use douane_pipelines::fault::RunFault;
use douane_pipelines::status;
use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::connector::Connector;
use crate::service::Service;
use crate::store::TargetState;

const REFUSED: &str = "the offsets of this connector cannot be altered: they stand in the target, in \
    the transactions of the data. Going back would send records a second time, going on would leave \
    records out, and the ledger would not be true\n  next: to read a topic from elsewhere give a \
    pipeline another `name` and `sink.topic`, with `start` in its source; to try records again that \
    were set aside, `douane quarantine redrive`";
const MUST_STOP: &str = "Connectors must be in the STOPPED state before their offsets can be \
    modified. This can be done for the specified connector by issuing a 'PUT' request to the";

type Offsets = BTreeMap<(String, i32), i64>;

/// Next offsets by partition, of what has crossed already.
fn offsets(service: &Service, connector: &Connector) -> Result<Offsets, RunFault> {
    let all = status::read_all(&service.place_file, &connector.file)?;
    let mut offsets = Offsets::new();
    for (_, status) in all.pipelines {
        match status {
            Ok(status) => {
                let next = status.partitions.into_iter().map(|p| ((p.topic, p.partition), p.next));
                offsets.extend(next.filter(|(_, next)| *next > 0));
            }
            // It has not run yet.
            Err(RunFault::Topic { .. }) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(offsets)
}

pub fn read(service: &Service, call: &Call) -> Answer {
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    match offsets(service, &connector) {
        Ok(offsets) => {
            let all: Vec<Value> = offsets
                .iter()
                .map(|((topic, partition), next)| {
                    json!({
                        "partition": {"kafka_topic": topic, "kafka_partition": partition},
                        "offset": {"kafka_offset": next},
                    })
                })
                .collect();
            Answer::json(200, &json!({"offsets": all}))
        }
        Err(fault) => super::fault(&fault),
    }
}

fn stopped(service: &Service, call: &Call) -> Result<std::sync::Arc<Connector>, Answer> {
    let connector = super::connector(service, call)?;
    let state = connector.state();
    if state.saved.target != TargetState::Stopped || state.ends() {
        let text = format!("{MUST_STOP} '/connectors/{}/stop' endpoint", connector.name);
        return Err(Answer::error(400, &text));
    }
    Ok(connector)
}

pub fn alter(service: &Service, call: &Call) -> Answer {
    let alter = || {
        let body = call.json()?;
        let list = list(&body)?;
        let connector = stopped(service, call)?;
        let asked: Asked = list.iter().map(one).collect::<Result<_, _>>()?;
        let now = offsets(service, &connector).map_err(|fault| super::fault(&fault))?;
        // What would change nothing is as good as done.
        let same = |(partition, offset): &((String, i32), Option<i64>)| {
            offset.is_some() && now.get(partition).copied() == *offset
        };
        match asked.iter().all(same) {
            true => {
                let text = "The offsets for this connector have been altered successfully";
                Ok(Answer::json(200, &json!({"message": text})))
            }
            false => Err(Answer::error(400, REFUSED)),
        }
    };
    alter().unwrap_or_else(|answer: Answer| answer)
}

pub fn reset(service: &Service, call: &Call) -> Answer {
    let reset = || {
        let connector = stopped(service, call)?;
        let now = offsets(service, &connector).map_err(|fault| super::fault(&fault))?;
        match now.is_empty() {
            true => {
                let text = "The offsets for this connector have been reset successfully";
                Ok(Answer::json(200, &json!({"message": text})))
            }
            false => Err(Answer::error(400, REFUSED)),
        }
    };
    reset().unwrap_or_else(|answer: Answer| answer)
}

type Asked = Vec<((String, i32), Option<i64>)>;

/// The entries of a request.
fn list(body: &Value) -> Result<&[Value], Answer> {
    let bad = |text: &str| Answer::error(400, text);
    let object = body.as_object().ok_or_else(|| bad("expected an object with `offsets`"))?;
    if object.keys().any(|key| key != "offsets") {
        return Err(bad("Unrecognized field: known is \"offsets\""));
    }
    let list: &[Value] = match object.get("offsets").unwrap_or(&Value::Null) {
        Value::Null => &[],
        Value::Array(list) => list,
        _ => return Err(bad("`offsets` is no list")),
    };
    if list.is_empty() {
        return Err(bad("Partitions / offsets need to be provided for an alter offsets request"));
    }
    Ok(list)
}

/// One entry, held to Kafka Connect's form for sinks.
fn one(entry: &Value) -> Result<((String, i32), Option<i64>), Answer> {
    let bad = |text: &str| Answer::error(400, text);
    let partition = entry.get("partition").and_then(Value::as_object).ok_or_else(|| {
        bad("The partition for a sink connector offset cannot be null or missing")
    })?;
    let (Some(topic), Some(number)) =
        (partition.get("kafka_topic"), partition.get("kafka_partition"))
    else {
        return Err(bad(
            "The partition for a sink connector offset must contain the keys 'kafka_topic' and \
             'kafka_partition'",
        ));
    };
    let number = integer(number)
        .and_then(|n| i32::try_from(n).ok())
        .ok_or_else(|| bad("'kafka_partition' is no partition's number"))?;
    let topic = topic.as_str().ok_or_else(|| bad("'kafka_topic' is no text"))?.to_owned();
    let offset = match entry.get("offset").unwrap_or(&Value::Null) {
        Value::Null => None,
        offset => {
            let said = offset.get("kafka_offset").ok_or_else(|| {
                bad("The offset for a sink connector should either be null or contain the key \
                     'kafka_offset'")
            })?;
            let offset = integer(said).ok_or_else(|| {
                let said = said.as_str().unwrap_or("?").chars().filter(|c| !c.is_control());
                let text = format!(
                    "Failed to parse the following Kafka offset value in the provided offsets: '{}'. \
                     Offset values for sink connectors need to be integers.",
                    said.take(20).collect::<String>()
                );
                bad(&text)
            })?;
            Some(offset)
        }
    };
    Ok(((topic, number), offset))
}

/// A number, or a text that is one.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Value) -> Result<Asked, Answer> {
        list(body)?.iter().map(one).collect()
    }

    #[test]
    fn what_is_asked_is_held_to_the_form() {
        let partition = json!({"kafka_topic": "t", "kafka_partition": 0});
        let of = |partition: Value, offset: Value| {
            parse(&json!({"offsets": [{"partition": partition, "offset": offset}]}))
        };
        let same = |offset| vec![(("t".to_owned(), 0), offset)];
        assert_eq!(of(partition.clone(), json!({"kafka_offset": 5})).unwrap(), same(Some(5)));
        assert_eq!(of(partition.clone(), json!({"kafka_offset": "5"})).unwrap(), same(Some(5)));
        assert_eq!(of(partition.clone(), Value::Null).unwrap(), same(None));
        let text = json!({"kafka_topic": "t", "kafka_partition": "0"});
        assert_eq!(of(text, Value::Null).unwrap(), same(None));
        for (asked, word) in [
            (of(partition.clone(), json!({"kafka_offset": "abc"})), "integers"),
            (of(partition.clone(), json!({"kafka_offset": 1.5})), "integers"),
            (of(partition, json!({"z": 1})), "'kafka_offset'"),
            (of(Value::Null, Value::Null), "cannot be null"),
            (of(json!({"x": "y"}), Value::Null), "must contain the keys"),
            (parse(&json!({})), "need to be provided"),
            (parse(&json!({"offsets": []})), "need to be provided"),
            (parse(&json!({"offsets": 5})), "no list"),
            (parse(&json!({"offsets": [], "x": 1})), "Unrecognized"),
            (parse(&json!([])), "an object"),
        ] {
            let answer = asked.expect_err(word);
            assert!(answer.status == 400 && answer.body.contains(word), "{}", answer.body);
        }
    }
}
