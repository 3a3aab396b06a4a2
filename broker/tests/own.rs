//! What only the development broker has: limits, an end, and a beginning without topics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test may panic"
)]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use douane_broker::{Broker, BrokerFault, Options};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

const PATIENCE: Duration = Duration::from_secs(20);

fn config(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap()).set("enable.metrics.push", "false");
    config.set("allow.auto.create.topics", "true").set("group.id", "own");
    config
}

#[derive(Default)]
struct Delivered(std::sync::Mutex<Vec<Option<RDKafkaErrorCode>>>);
impl rdkafka::ClientContext for Delivered {}
impl ProducerContext for Delivered {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let code = result.as_ref().err().and_then(|(error, _)| error.rdkafka_error_code());
        self.0.lock().unwrap().push(code);
    }
}

#[test]
fn what_exceeds_the_memory_is_refused_with_a_code() {
    let options =
        Options { bytes_max: Some(100_000), auto_create_partitions: Some(1), ..Options::default() };
    let broker = Broker::start(options).unwrap();
    let producer: BaseProducer<Delivered> = config(&broker)
        .set("batch.size", "20000")
        .create_with_context(Delivered::default())
        .unwrap();
    let value = vec![7; 15_000];
    for _ in 0..10 {
        producer.send(BaseRecord::<(), [u8]>::to("full").payload(&value)).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
    let outcomes = producer.context().0.lock().unwrap().clone();
    let taken = outcomes.iter().filter(|code| code.is_none()).count();
    assert_eq!(taken, 6);
    assert!(outcomes[6..].iter().all(|code| *code == Some(RDKafkaErrorCode::PolicyViolation)));
}

#[test]
fn a_dropped_broker_leaves_no_thread_waiting_and_no_port() {
    let broker = Broker::start(Options { auto_create_partitions: Some(2), ..Options::default() });
    let broker = broker.unwrap();
    let address = broker.bootstrap();
    assert_eq!(broker.cluster_id().len(), 22);
    let consumer: BaseConsumer = config(&broker)
        .set("fetch.wait.max.ms", "60000")
        .set("socket.timeout.ms", "90000")
        .create()
        .unwrap();
    let producer: BaseProducer = config(&broker).create().unwrap();
    producer.send(BaseRecord::<(), str>::to("waits").partition(0).payload("one")).unwrap();
    producer.flush(PATIENCE).unwrap();
    consumer.subscribe(&["waits"]).unwrap();
    let end = Instant::now() + PATIENCE;
    while consumer.assignment().unwrap().count() < 2 {
        assert!(Instant::now() < end, "nothing is assigned");
        let _ = consumer.poll(Duration::from_millis(50));
    }
    let mut silent = TcpStream::connect(&address).unwrap();
    let begun = Instant::now();
    drop(broker);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "its connections are closed");
    TcpListener::bind(&address).expect("its port is free");
}

#[test]
fn a_taken_port_bad_port() {
    let broker = Broker::start(Options::default()).unwrap();
    let port = broker.bootstrap().rsplit(':').next().unwrap().parse().ok();
    let fault = Broker::start(Options { port, ..Options::default() }).err().unwrap();
    assert!(matches!(fault, BrokerFault::Listen { .. }), "{fault}");
    let partitions = Options { auto_create_partitions: Some(0), ..Options::default() };
    assert!(matches!(
        Broker::start(partitions).err().unwrap(),
        BrokerFault::Partitions { found: 0 }
    ));
}

#[test]
fn two_brokers_are_two_clusters() {
    let (one, two) = (Broker::start(Options::default()), Broker::start(Options::default()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.cluster_id(), two.cluster_id());
    for broker in [&one, &two] {
        let consumer: BaseConsumer = config(broker).create().unwrap();
        let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
        assert_eq!((metadata.brokers().len(), metadata.topics().len()), (1, 0));
        let id = consumer.client().fetch_cluster_id(PATIENCE).unwrap();
        assert_eq!(id, broker.cluster_id());
    }
}
