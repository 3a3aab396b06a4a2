//! The measuring instruments against real Kafka: each must see the faults that it is there to see.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{Verdict, judge, serial_in_json};
use crate::rig;

/// What a faulty copier does to the records.
#[derive(Clone, Copy, Debug)]
enum Copier {
    Right,
    LosesOne,
    RepeatsOne,
    SwapsTwoOfAKey,
    SwapsTwoKeysOfAPartition,
    LosesADelete,
    AddsAStranger,
    GivesTwoTokens,
}

/// Reads the source and writes what a right product would, but for one fault.
fn copy(source: &[Record], copier: Copier) -> Vec<(i32, String, Option<String>)> {
    let mut out: Vec<(i32, String, Option<String>)> = Vec::new();
    let mut deleted = String::new();
    for record in source {
        let id = record.json_key();
        let token = format!("t{id}");
        let partition = i32::try_from(id % 3).expect("a partition");
        let serial = record.value.as_deref().and_then(|value| {
            let after = String::from_utf8_lossy(value).into_owned();
            let after = &after[after.find("\"after\":").expect("an envelope")..];
            let at = after.find("\"serial\":")?;
            Some(after[at + 9..].chars().take_while(char::is_ascii_digit).collect::<String>())
        });
        match serial {
            Some(serial) => out.push((
                partition,
                token,
                Some(format!("{{\"serial\":{serial},\"country\":\"DE\"}}")),
            )),
            None if deleted == token => deleted.clear(),
            None => {
                deleted.clone_from(&token);
                out.push((partition, token, None));
            }
        }
    }
    let last = out.iter().rposition(|(_, token, value)| {
        value.is_some() && out.iter().filter(|(_, t, v)| t == token && v.is_some()).count() > 1
    });
    let last = last.expect("a key with several records");
    let before = out[..last].iter().rposition(|r| r.1 == out[last].1).expect("its record before");
    match copier {
        Copier::Right => {}
        Copier::LosesOne => {
            out.remove(last);
        }
        Copier::RepeatsOne => out.insert(last + 1, out[last].clone()),
        Copier::SwapsTwoOfAKey => out.swap(before, last),
        Copier::SwapsTwoKeysOfAPartition => {
            let source_of =
                |r: &(i32, String, Option<String>)| r.1[1..].parse::<u64>().expect("an id") % 2;
            let other = out
                .iter()
                .enumerate()
                .find(|(at, r)| {
                    let next = out
                        .iter()
                        .enumerate()
                        .skip(at + 1)
                        .find(|(_, n)| n.0 == r.0 && source_of(n) == source_of(r));
                    r.2.is_some() && next.is_some_and(|(_, n)| n.1 != r.1 && n.2.is_some())
                })
                .map(|(at, _)| at)
                .expect("two neighbours of one partition");
            let next = out
                .iter()
                .enumerate()
                .skip(other + 1)
                .find(|(_, n)| n.0 == out[other].0 && source_of(n) == source_of(&out[other]));
            let next = next.expect("found above").0;
            out.swap(other, next);
        }
        Copier::LosesADelete => {
            let at = out.iter().position(|r| r.2.is_none()).expect("a delete");
            out.remove(at);
        }
        Copier::AddsAStranger => {
            out.push((0, "stranger".to_owned(), Some("{\"serial\":999999}".to_owned())))
        }
        Copier::GivesTwoTokens => out[last].1 = "another".to_owned(),
    }
    out
}

impl Record {
    fn json_key(&self) -> u64 {
        let text = self.key_text();
        text.trim_start_matches("{\"id\":").trim_end_matches('}').parse().expect("a key")
    }
}

#[test]
fn the_oracle_sees_every_kind_of_fault() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let (source, target) = (source.cluster(), target.cluster());
    source.create("oracle.in", 2, &[]);
    let load = Load::new(2).customers(
        &mut Customers::new(7, 1, true),
        600,
        Format::Json,
        &Plants::default(),
    );
    load.send(&source, "oracle.in");
    let read = source.read("oracle.in", Isolation::Committed);
    assert_eq!(read.len(), 600);

    let clean = |v: &Verdict| v.clean();
    type Seen = fn(&Verdict) -> bool;
    let cases: [(Copier, Seen); 8] = [
        (Copier::Right, clean),
        (Copier::LosesOne, |v| v.lost == 1),
        (Copier::RepeatsOne, |v| v.duplicated == 1),
        (Copier::SwapsTwoOfAKey, |v| v.reordered_in_key >= 1),
        (Copier::SwapsTwoKeysOfAPartition, |v| v.reordered_in_partition >= 1 && v.lost == 0),
        (Copier::LosesADelete, |v| v.lost == 1),
        (Copier::AddsAStranger, |v| v.foreign >= 1),
        (Copier::GivesTwoTokens, |v| v.foreign >= 1),
    ];
    for (copier, seen) in cases {
        let topic = format!("oracle.out.{copier:?}");
        target.create(&topic, 3, &[]);
        let feed = target.producer();
        for (partition, key, value) in copy(&read, copier) {
            feed.send(
                &topic,
                partition,
                Some(key.as_bytes()),
                value.as_deref().map(str::as_bytes),
                &[],
            );
        }
        feed.flush();
        let verdict =
            judge(&load.expected, &target.read(&topic, Isolation::Committed), serial_in_json);
        assert!(seen(&verdict), "{copier:?}: {verdict:?}");
    }
}

/// Where nobody can be asked, nobody has said that nothing hangs.
#[test]
fn what_hangs_is_counted_by_a_broker_and_not_by_its_silence() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("what hangs", "the development broker ends no transaction by itself") {
        return;
    }
    assert_eq!(rig::clusters().1.end_hanging(), 0);
    let nobody = rig::directory("nobody");
    std::fs::write(nobody.join("server.properties"), "no listeners\n").expect("a file");
    let said = rig::end_hanging_in(&nobody);
    assert!(said.as_ref().is_err_and(|why| why.contains("nobody says what hangs")), "{said:?}");
}

#[test]
fn a_committed_reader_reads_past_aborted_records_to_the_end() {
    let _turn = rig::exclusive();
    let (_, target) = rig::clusters();
    let target = target.cluster();
    target.create("readers", 2, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &target.bootstrap)
        .set("transactional.id", "readers")
        .create()
        .expect("a producer");
    producer.init_transactions(Duration::from_secs(20)).expect("a broker");
    for round in 0..6 {
        producer.begin_transaction().expect("begun");
        for partition in 0..2 {
            let text = format!("{round}");
            producer
                .send(BaseRecord::<str, str>::to("readers").partition(partition).payload(&text))
                .map_err(|e| e.0)
                .expect("sent");
        }
        producer.flush(Duration::from_secs(10)).expect("acknowledged");
        if round % 2 == 0 {
            producer.commit_transaction(Duration::from_secs(10)).expect("committed");
        } else {
            producer.abort_transaction(Duration::from_secs(10)).expect("aborted");
        }
    }
    assert_eq!(target.read("readers", Isolation::Committed).len(), 6);
    assert_eq!(target.read("readers", Isolation::Uncommitted).len(), 12);
}

#[test]
fn a_broker_comes_back_after_a_kill_and_after_a_freeze() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("a broker comes back", "the development broker holds all in memory") {
        return;
    }
    let broker = rig::Broker::start("fault", &[]);
    let cluster = broker.cluster();
    cluster.create("kept", 1, &[]);
    let feed = cluster.producer();
    feed.send("kept", 0, None, Some(b"one"), &[]);
    feed.flush();
    broker.kill();
    broker.start_again();
    assert_eq!(cluster.read("kept", Isolation::Committed).len(), 1);
    broker.freeze();
    std::thread::sleep(Duration::from_millis(300));
    broker.thaw();
    assert_eq!(cluster.read("kept", Isolation::Committed).len(), 1);
}

/// Uses its producer on after the link broke, as librdkafka allows: the late EndTxn must commit the half of a transaction
/// that its producer aborts.
#[test]
fn the_proxy_tears_a_transaction_of_a_careless_producer() {
    use crate::proxy::{End, Link, Proxy};
    let _turn = rig::exclusive();
    let broker = rig::Broker::start_proxied("careless");
    let (advertised, inner) = broker.proxied();
    let proxy = Proxy::start(advertised, inner, Link::Closed, End::Commit, 2);
    let cluster = broker.cluster();
    cluster.create("torn", 1, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", format!("127.0.0.1:{advertised}"))
        .set("transactional.id", "careless")
        .set("socket.timeout.ms", "3000")
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .expect("a producer");
    let wait = Duration::from_secs(10);
    producer.init_transactions(wait).expect("a broker");
    for round in 0..10 {
        let delivered = proxy.delivered();
        let text = format!("{round}");
        producer.begin_transaction().expect("begun");
        let record = BaseRecord::<str, str>::to("torn").key(if proxy.withheld() > delivered {
            "never"
        } else {
            "committed"
        });
        producer.send(record.payload(&text)).map_err(|e| e.0).expect("sent");
        producer.flush(wait).expect("acknowledged");
        if proxy.withheld() > delivered {
            // the late EndTxn arrives now; this transaction was never to be committed
            std::thread::sleep(Duration::from_millis(500));
            let _ = producer.abort_transaction(wait);
            break;
        }
        producer.commit_transaction(wait).expect("committed, librdkafka says");
    }
    assert_eq!(proxy.delivered(), 1, "no EndTxn was late");
    let read = cluster.read("torn", Isolation::Committed);
    assert!(
        read.iter().any(|record| record.key_text() == "never"),
        "the transaction was not torn: {read:?}"
    );
}
