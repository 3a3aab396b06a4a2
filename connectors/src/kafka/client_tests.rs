use super::super::cluster::{Sasl, SaslMechanism, Tls, plain};
use super::*;

fn value(config: &ClientConfig, name: &str) -> String {
    config.create_native_config().unwrap().get(name).unwrap()
}

#[test]
fn a_record_as_large_as_its_topic_takes_has_room_in_the_queue() {
    let cluster = plain("127.0.0.1:1");
    let send = |message_bytes_max, bytes: usize| {
        let mut config = producer(&cluster).unwrap();
        size(&mut config, message_bytes_max);
        let producer: BaseProducer = config.create().unwrap();
        let (value, out) = (vec![0; bytes], rdkafka::producer::BaseRecord::<(), _>::to("t"));
        producer.send(out.payload(&value)).map_err(|(error, _)| error.rdkafka_error_code())
    };
    assert_eq!(send(64 << 20, 40 << 20), Ok(()));
    assert_eq!(send(64 << 20, (64 << 20) - 1_024), Ok(()));
    // What is larger than the topic takes is too large, and not a full queue.
    let too_large = rdkafka::error::RDKafkaErrorCode::MessageSizeTooLarge;
    assert_eq!(send(64 << 20, 65 << 20), Err(Some(too_large)));
    let mut config = producer(&cluster).unwrap();
    size(&mut config, MESSAGE_BYTES);
    assert_eq!(value(&config, "queue.buffering.max.kbytes"), "32768");
}

#[test]
fn fixed_settings_are_as_delivery_needs_them() {
    let cluster = plain("127.0.0.1:1");
    let sink = transactional(&cluster, "t").unwrap();
    for (name, expected) in [
        ("client.id", "douane"),
        ("enable.metrics.push", "false"),
        ("transactional.id", "t"),
        ("transaction.timeout.ms", "10000"),
        ("message.timeout.ms", "8000"),
        ("socket.timeout.ms", "6000"),
        ("reconnect.backoff.max.ms", "1000"),
        ("delivery.report.only.error", "true"),
        ("queue.buffering.max.kbytes", "32768"),
        ("security.protocol", "plaintext"),
    ] {
        assert_eq!(value(&sink, name), expected, "{name}");
    }
    let source = consumer(&cluster, "g", Isolation::Committed).unwrap();
    for (name, expected) in [
        ("client.id", "douane"),
        ("enable.metrics.push", "false"),
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "error"),
        ("check.crcs", "true"),
        ("allow.auto.create.topics", "false"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "false"),
        ("queued.max.messages.kbytes", "8192"),
        ("queued.min.messages", "1000"),
        ("max.partition.fetch.bytes", "262144"),
        ("fetch.max.bytes", "2097152"),
        ("fetch.queue.backoff.ms", "10"),
        ("group.id", "g"),
    ] {
        assert_eq!(value(&source, name), expected, "{name}");
    }
    // The wrapper would take it from the logger, which is off here.
    assert_eq!(source.log_level as i32, RDKafkaLogLevel::Info as i32);
    assert_eq!(sink.log_level as i32, RDKafkaLogLevel::Debug as i32);
}

#[test]
fn properties_reach_the_clients_they_are_for() {
    let mut cluster = plain("127.0.0.1:1");
    cluster.properties.insert("compression.type".to_owned(), "lz4".to_owned());
    cluster.properties.insert("fetch.wait.max.ms".to_owned(), "77".to_owned());
    let sink = producer(&cluster).unwrap();
    assert_eq!((sink.get("compression.type"), sink.get("fetch.wait.max.ms")), (Some("lz4"), None));
    let source = consumer(&cluster, "g", Isolation::Uncommitted).unwrap();
    assert_eq!(source.get("fetch.wait.max.ms"), Some("77"));
    assert_eq!(source.get("compression.type"), None);
    cluster.properties.insert("debug".to_owned(), "all".to_owned());
    assert!(matches!(producer(&cluster), Err(KafkaFault::Properties { .. })));
}

#[test]
fn tls_and_sasl_choose_the_protocol_and_no_fault_shows_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let password_file = dir.path().join("password");
    let mut cluster = plain("127.0.0.1:1");
    cluster.sasl = Some(Sasl {
        mechanism: SaslMechanism::ScramSha512,
        username: Some("u".to_owned()),
        password_file: Some(password_file.clone()),
        token_file: None,
    });
    let missing = producer(&cluster).unwrap_err();
    assert!(matches!(missing, KafkaFault::Secret { kind: io::ErrorKind::NotFound, .. }));
    fs::write(&password_file, "\r\n").unwrap();
    assert!(matches!(producer(&cluster), Err(KafkaFault::Secret { .. })), "an empty password");
    fs::write(&password_file, "hunter2\n").unwrap();
    let config = producer(&cluster).unwrap();
    assert_eq!(config.get("security.protocol"), Some("sasl_plaintext"));
    assert_eq!(config.get("sasl.password"), Some("hunter2"));
    cluster.tls = Some(Tls { ca_file: "/no/such".into(), cert_file: None, key_file: None });
    let config = producer(&cluster).unwrap();
    assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
    assert_eq!(config.get("ssl.endpoint.identification.algorithm"), Some("https"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_refused_value_is_named_and_not_shown() {
    let mut config = ClientConfig::new();
    config.set("sasl.password", "hunter2").set("linger.ms", "hunter2");
    let error = config.create_native_config().err().unwrap();
    let fault = KafkaFault::of("z", "making a client", &error);
    assert!(!fault.to_string().contains("hunter2"), "{fault}");
    // The control: the library's own words would have shown it.
    assert!(error.to_string().contains("hunter2"));
}

/// A JWT that nobody signed.
fn token(payload: &str) -> String {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}.", part("{\"alg\":\"none\"}"), part(payload))
}

#[test]
fn a_token_is_given_to_every_kind_of_client_and_shown_by_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let mut cluster = plain("127.0.0.1:1");
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../serve/testdata/tls/ca.pem");
    cluster.tls = Some(Tls { ca_file: bundle.into(), cert_file: None, key_file: None });
    cluster.sasl = Some(Sasl {
        mechanism: SaslMechanism::OAuthBearer,
        username: None,
        password_file: None,
        token_file: Some(file.clone()),
    });
    let made = |text: &str| {
        fs::write(&file, text).unwrap();
        let config = consumer(&cluster, "g", Isolation::Committed).unwrap();
        make::<BaseConsumer<Watch>>(&cluster, &config).map(drop)
    };
    let good = token("{\"sub\":\"hunter2\",\"exp\":4102444800}");
    made(&format!("{good}\n")).unwrap();
    make::<BaseProducer<Watch>>(&cluster, &producer(&cluster).unwrap()).unwrap();
    make::<AdminClient<Watch>>(&cluster, &admin(&cluster).unwrap()).unwrap();
    // Whoever renews it may be late: that passes. What is none does not.
    let late = made(&token("{\"sub\":\"hunter2\",\"exp\":1}")).unwrap_err();
    assert!(late.is_away() && late.to_string().contains("expired"), "{late}");
    let claimless = token("{\"sub\":\"hunter2\"}");
    for none in ["hunter2", "a.b", "a.!.c", &claimless, &format!("{good}.x")] {
        let fault = made(none).unwrap_err();
        assert!(matches!(fault, KafkaFault::Secret { .. }) && !fault.is_away(), "{fault}");
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }
    assert!(!late.to_string().contains("hunter2"));
}
