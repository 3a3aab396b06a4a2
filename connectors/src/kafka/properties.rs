//! The allow-list of librdkafka properties.
//!
//! A client's property is code execution (`plugin.library.paths` loads a library,
//! `sasl.kerberos.kinit.cmd` runs a command), a way around the broker (`test.mock.num.brokers`) or
//! a leak (`debug`, `client.rack`). So the list says what may be set, and nothing else may.

use super::cluster::{ClusterConfig, SaslMechanism};

/// Which clients a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Both,
    Consumer,
    Producer,
}

#[derive(Clone, Copy)]
enum Values {
    Whole(i64, i64),
    OneOf(&'static [&'static str]),
}

struct Allowed {
    name: &'static str,
    role: Role,
    values: Values,
}

const fn whole(name: &'static str, role: Role, least: i64, most: i64) -> Allowed {
    Allowed { name, role, values: Values::Whole(least, most) }
}

const fn one_of(name: &'static str, role: Role, names: &'static [&'static str]) -> Allowed {
    Allowed { name, role, values: Values::OneOf(names) }
}

const BOOL: &[&str] = &["true", "false"];
const CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

static ALLOWED: &[Allowed] = &[
    whole("batch.num.messages", Role::Producer, 1, 100_000),
    one_of("broker.address.family", Role::Both, &["any", "v4", "v6"]),
    whole("broker.address.ttl", Role::Both, 0, 86_400_000),
    one_of(
        "client.dns.lookup",
        Role::Both,
        &["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"],
    ),
    whole("compression.level", Role::Producer, -1, 12),
    one_of("compression.type", Role::Producer, CODECS),
    whole("connections.max.idle.ms", Role::Both, 0, 86_400_000),
    whole("fetch.error.backoff.ms", Role::Consumer, 0, 60_000),
    whole("fetch.min.bytes", Role::Consumer, 1, 2_097_152),
    // Below socket.timeout.ms, or every idle fetch would time out.
    whole("fetch.wait.max.ms", Role::Consumer, 0, 5_000),
    whole("metadata.max.age.ms", Role::Both, 1_000, 86_400_000),
    whole("reconnect.backoff.ms", Role::Both, 0, 1_000),
    whole("retry.backoff.max.ms", Role::Both, 1, 60_000),
    whole("retry.backoff.ms", Role::Both, 1, 60_000),
    whole("socket.connection.setup.timeout.ms", Role::Both, 1_000, 60_000),
    one_of("socket.keepalive.enable", Role::Both, BOOL),
    one_of("socket.nagle.disable", Role::Both, BOOL),
    whole("socket.receive.buffer.bytes", Role::Both, 0, 100_000_000),
    whole("socket.send.buffer.bytes", Role::Both, 0, 100_000_000),
    whole("topic.metadata.refresh.interval.ms", Role::Both, 1_000, 3_600_000),
];

/// What stands in `douane.yaml` for properties that have a field of their own.
static ELSEWHERE: &[(&str, &str)] = &[
    ("bootstrap.servers", "bootstrap"),
    ("compression.codec", "properties: compression.type"),
    ("metadata.broker.list", "bootstrap"),
    ("sasl.mechanism", "sasl: { mechanism }"),
    ("sasl.mechanisms", "sasl: { mechanism }"),
    ("sasl.password", "sasl: { password_file }"),
    ("sasl.oauthbearer.config", "sasl: { token_file }"),
    ("sasl.username", "sasl: { username }"),
    ("security.protocol", "tls and sasl: the protocol follows from them"),
    ("ssl.ca.location", "tls: { ca_file }"),
    ("ssl.ca.pem", "tls: { ca_file }"),
    ("ssl.certificate.location", "tls: { cert_file }"),
    ("ssl.certificate.pem", "tls: { cert_file }"),
    ("ssl.key.location", "tls: { key_file }"),
    ("ssl.key.pem", "tls: { key_file }"),
];

/// A property, or a field beside the properties, that no client would be made with.
///
/// It never shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyFault {
    /// The name is not on the allow-list.
    #[error("property `{name}` is not on the allow-list; the nearest allowed is `{nearest}`")]
    NotAllowed { name: String, nearest: &'static str },
    /// The name is one that delivery depends on, so its value is fixed.
    #[error("property `{name}` is fixed by douane and cannot be set; remove it")]
    Fixed { name: String },
    /// `douane.yaml` has a field of its own for it.
    #[error("property `{name}` is set elsewhere: use `{field}`")]
    Elsewhere { name: String, field: &'static str },
    /// The name is allowed, the value is not.
    #[error("property `{name}` does not take this value; expected {expected}")]
    Value { name: String, expected: String },
    /// A field of the cluster that cannot be.
    #[error("cluster field `{field}` {problem}")]
    Field { field: &'static str, problem: &'static str },
}

/// Everything wrong with a cluster's properties and security fields, at once. Reaches nothing.
pub fn check_properties(cluster: &ClusterConfig) -> Vec<PropertyFault> {
    let mut faults = field_faults(cluster);
    for (name, value) in &cluster.properties {
        faults.extend(property_fault(name, value));
    }
    faults
}

/// The properties of the list that clients of this role are given.
pub(crate) fn for_role(cluster: &ClusterConfig, role: Role) -> Vec<(&str, &str)> {
    let applies = |name: &str| {
        ALLOWED.iter().any(|a| a.name == name && (a.role == Role::Both || a.role == role))
    };
    cluster
        .properties
        .iter()
        .filter(|(name, _)| applies(name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn property_fault(name: &str, value: &str) -> Option<PropertyFault> {
    let Some(allowed) = ALLOWED.iter().find(|allowed| allowed.name == name) else {
        return Some(refusal(name));
    };
    let expected = match allowed.values {
        Values::Whole(least, most) => match value.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => return None,
            _ => format!("a whole number from {least} to {most}"),
        },
        Values::OneOf(names) if names.contains(&value) => return None,
        Values::OneOf(names) => format!("one of {}", names.join(", ")),
    };
    Some(PropertyFault::Value { name: name.to_owned(), expected })
}

fn refusal(name: &str) -> PropertyFault {
    if let Some((_, field)) = ELSEWHERE.iter().find(|(found, _)| *found == name) {
        return PropertyFault::Elsewhere { name: name.to_owned(), field };
    }
    if super::client::is_fixed(name) {
        return PropertyFault::Fixed { name: name.to_owned() };
    }
    let nearest = ALLOWED
        .iter()
        .map(|allowed| allowed.name)
        .min_by_key(|allowed| strsim::levenshtein(name, allowed))
        .unwrap_or_default();
    PropertyFault::NotAllowed { name: name.to_owned(), nearest }
}

fn field_faults(cluster: &ClusterConfig) -> Vec<PropertyFault> {
    let mut faults = Vec::new();
    let mut fault = |field, problem| faults.push(PropertyFault::Field { field, problem });
    if cluster.bootstrap.split(',').any(|broker| !is_host_port(broker.trim())) {
        fault("bootstrap", "is not a list of host:port; expected `kafka-1:9092,kafka-2:9092`");
    }
    if let Some(tls) = &cluster.tls
        && tls.cert_file.is_some() != tls.key_file.is_some()
    {
        fault("tls", "has one of cert_file and key_file; expected both or none");
    }
    if let Some(sasl) = &cluster.sasl {
        let is_token = sasl.mechanism == SaslMechanism::OAuthBearer;
        let has_password = sasl.username.is_some() && sasl.password_file.is_some();
        let has_any = sasl.username.is_some() || sasl.password_file.is_some();
        match (is_token, has_any, has_password, sasl.token_file.is_some()) {
            (true, false, _, true) | (false, _, true, false) => {}
            (true, ..) => fault("sasl", "expected `token_file` alone with OAUTHBEARER"),
            (false, ..) => fault("sasl", "expected `username` and `password_file`, and no token"),
        }
        match (sasl.mechanism, cluster.tls.is_none()) {
            (SaslMechanism::Plain, true) => {
                fault("sasl", "sends the password in the clear; add `tls` or use SCRAM-SHA-512");
            }
            (SaslMechanism::OAuthBearer, true) => {
                fault("sasl", "sends the token in the clear; add `tls`");
            }
            _ => {}
        }
    }
    if let Some(topics) = cluster.topics
        && !(1 <= topics.min_insync && topics.min_insync <= topics.replication)
    {
        fault(
            "topics",
            "asks for more copies in sync than there are; expected 1 <= min_insync <= replication",
        );
    }
    faults
}

fn is_host_port(broker: &str) -> bool {
    // A scheme or a path in here would be taken as part of a host name, hours later.
    let Some((host, port)) = broker.rsplit_once(':') else { return false };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_[]:%".contains(&b);
    !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::super::cluster::{self, Sasl, Tls, TopicSettings};
    use super::*;

    /// Every property of librdkafka 2.12.1, from its CONFIGURATION.md.
    const ALL: &str = include_str!("librdkafka-2.12.1.properties.txt");

    fn names() -> Vec<&'static str> {
        ALL.lines().map(|line| line.split(' ').next().unwrap()).collect()
    }

    fn faults(name: &str, value: &str) -> Vec<PropertyFault> {
        let mut cluster = cluster::plain("b:1");
        cluster.properties.insert(name.to_owned(), value.to_owned());
        check_properties(&cluster)
    }

    fn sample(allowed: &Allowed) -> String {
        match allowed.values {
            Values::Whole(least, _) => least.max(1).to_string(),
            Values::OneOf(names) => names[0].to_owned(),
        }
    }

    #[test]
    fn every_property_of_the_library_but_the_listed_is_refused() {
        let names = names();
        assert!(names.len() > 180, "the list is whole: {}", names.len());
        let mut refused = 0;
        for name in &names {
            let listed = ALLOWED.iter().any(|allowed| allowed.name == *name);
            // Whatever the value: what is not listed is refused by name.
            let by_name =
                !matches!(faults(name, "1").as_slice(), [] | [PropertyFault::Value { .. }]);
            assert_eq!(by_name, !listed, "{name}");
            refused += usize::from(by_name);
        }
        assert_eq!(refused + ALLOWED.len(), names.len());
        for allowed in ALLOWED {
            assert!(names.contains(&allowed.name), "{} is a property", allowed.name);
            assert_eq!(faults(allowed.name, &sample(allowed)), [], "{}", allowed.name);
        }
    }

    #[test]
    fn what_would_be_code_execution_or_a_leak_bad_property() {
        for name in [
            "plugin.library.paths",
            "test.mock.num.brokers",
            "test.mock.broker.rtt",
            "debug",
            "sasl.kerberos.kinit.cmd",
            "sasl.kerberos.keytab",
            "ssl.engine.location",
            "ssl.providers",
            "ssl.keystore.location",
            "ssl.crl.location",
            "enable.ssl.certificate.verification",
            "ssl.endpoint.identification.algorithm",
            "enable.metrics.push",
            "client.rack",
            "client.id",
            "transactional.id",
            "auto.offset.reset",
            "isolation.level",
            "message.timeout.ms",
            "enable.idempotence",
            "Compression.Type",
            " compression.type",
            "compression.type ",
            "topic.compression.type",
            "",
        ] {
            assert_eq!(faults(name, "1").len(), 1, "{name}");
        }
        // The control: the same check passes what is on the list.
        assert_eq!(faults("compression.type", "zstd"), []);
    }

    #[test]
    fn a_refusal_names_the_way_and_never_the_value() {
        let shown = |name: &str| faults(name, "hunter2")[0].to_string();
        assert!(shown("sasl.password").contains("password_file"));
        assert!(shown("ssl.key.pem").contains("key_file"));
        assert!(shown("isolation.level").contains("fixed by douane"));
        assert!(shown("compresion.type").contains("`compression.type`"));
        assert!(shown("compression.type").contains("zstd"));
        for name in names() {
            assert!(!shown(name).contains("hunter2"), "{name}");
        }
    }

    #[test]
    fn values_outside_their_range_bad_value() {
        for (name, value) in [
            ("compression.level", "13"),
            ("compression.type", "ZSTD"),
            ("fetch.wait.max.ms", "6000"),
            ("reconnect.backoff.ms", "1e3"),
            ("socket.keepalive.enable", ""),
            ("broker.address.ttl", "99999999999999999999"),
        ] {
            let found = faults(name, value);
            assert!(matches!(found.as_slice(), [PropertyFault::Value { .. }]), "{name}={value}");
        }
    }

    #[test]
    fn security_fields_that_contradict_bad_fields() {
        let mut cluster = cluster::plain("http://b:1");
        cluster.tls =
            Some(Tls { ca_file: "ca".into(), cert_file: Some("c".into()), key_file: None });
        cluster.topics = Some(TopicSettings { replication: 1, min_insync: 2 });
        assert_eq!(check_properties(&cluster).len(), 3);

        let mut cluster = cluster::plain("b:1, [::1]:2");
        cluster.sasl = Some(Sasl {
            mechanism: SaslMechanism::Plain,
            username: Some("u".to_owned()),
            password_file: Some("p".into()),
            token_file: None,
        });
        assert_eq!(check_properties(&cluster).len(), 1);
        cluster.tls = Some(Tls { ca_file: "ca".into(), cert_file: None, key_file: None });
        assert_eq!(check_properties(&cluster), []);
        let mut with = |mechanism, password: bool, token: bool| {
            cluster.sasl = Some(Sasl {
                mechanism,
                username: password.then(|| "u".to_owned()),
                password_file: password.then(|| "p".into()),
                token_file: token.then(|| "t".into()),
            });
            check_properties(&cluster).len()
        };
        for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha512] {
            let faults = [(true, false), (true, true), (false, true), (false, false)];
            assert_eq!(
                faults.map(|(password, token)| with(mechanism, password, token)),
                [0, 1, 1, 1]
            );
        }
        let bearer = SaslMechanism::OAuthBearer;
        assert_eq!([with(bearer, false, true), with(bearer, true, true)], [0, 1]);
        assert_eq!([with(bearer, true, false), with(bearer, false, false)], [1, 1]);
        cluster.tls = None;
        cluster.sasl = Some(Sasl {
            mechanism: bearer,
            username: None,
            password_file: None,
            token_file: Some("t".into()),
        });
        assert_eq!(check_properties(&cluster).len(), 1, "in the clear");
    }
}
