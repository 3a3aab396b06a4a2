//! Kafka behind TLS: every mechanism carries a pipeline on either side, live; client certificates are
//! renewed under load, and one that expired in mid-run is told of, waited for and replaced.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::cases::workers::{self, Worker};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig::{self, Broker};
use crate::say;

/// Nobody's.
const PASSWORD: &str = "canary-Pw7f3a91c2d4";
const PATIENCE: Duration = Duration::from_secs(30);

fn openssl(dir: &Path, args: &[&str]) {
    let out = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "openssl {}: {said}", args.join(" "));
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("a time")
}

/// An authority, and what it has signed.
struct Authority(PathBuf);

impl Authority {
    fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        let config = "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\nnew_certs_dir = .\n\
                      default_md = sha256\npolicy = p\nunique_subject = no\nrand_serial = yes\n\
                      copy_extensions = copy\n[p]\ncommonName = supplied\n";
        std::fs::write(dir.join("ca.conf"), config).expect("a file");
        std::fs::write(dir.join("index.txt"), "").expect("a file");
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out \
                   ca.pem -days 3650 -subj /CN=tests";
        openssl(dir, &new.split(' ').collect::<Vec<_>>());
        Self(dir.to_owned())
    }

    /// `name.key` and `name.pem` in its folder; holds from a minute ago for so many seconds.
    fn issue(&self, name: &str, seconds: i64) {
        let (key, csr, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let request = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let more = ["-keyout", &key, "-out", &csr, "-subj", &subject, "-addext"];
        let san = ["subjectAltName=IP:127.0.0.1,DNS:localhost"];
        openssl(&self.0, &[&request[..], &more, &san].concat());
        let date = |at: i64| {
            let at = format!("@{at}");
            let out = Command::new("date").args(["-u", "-d", &at, "+%Y%m%d%H%M%SZ"]).output();
            String::from_utf8(out.expect("date").stdout).expect("text").trim().to_owned()
        };
        let (begins, ends) = (date(now_s() - 60), date(now_s() + seconds));
        let sign = ["ca", "-batch", "-notext", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile"];
        let more = ["ca.key", "-startdate", &begins, "-enddate", &ends, "-in", &csr, "-out", &pem];
        openssl(&self.0, &[&sign[..], &more].concat());
    }

    /// Into a place, the key first: in between the two do not belong together.
    fn put(&self, name: &str, into: &Path) {
        for end in ["key", "pem"] {
            let new = into.join(format!("client.{end}.new"));
            std::fs::copy(self.0.join(format!("{name}.{end}")), &new).expect("a copy");
            std::fs::rename(new, into.join(format!("client.{end}"))).expect("in place");
        }
    }
}

/// Passes bytes on, and cuts every connection when asked.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<TcpStream>>>);

impl Wire {
    fn start(port: u16, upstream: u16) -> Self {
        let wire = Self::default();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the wire's port");
        let shared = wire.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else { continue };
                let mut all = shared.0.lock().expect("the wires");
                all.extend([&client, &server].map(|one| one.try_clone().expect("a copy")));
                drop(all);
                for (mut from, mut to) in [
                    (client.try_clone().expect("a copy"), server.try_clone().expect("a copy")),
                    (server, client),
                ] {
                    std::thread::spawn(move || {
                        let mut bytes = [0; 64 << 10];
                        while let Ok(count @ 1..) = from.read(&mut bytes) {
                            if to.write_all(&bytes[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        wire
    }

    fn cut(&self) {
        for stream in self.0.lock().expect("the wires").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Two brokers with every kind of listener, and who signed their certificates.
struct Secured {
    authority: Authority,
    brokers: [Broker; 2],
    wires: [Wire; 2],
}

/// Started once; the cases use topics of their own.
fn secured() -> &'static Secured {
    static SECURED: OnceLock<Secured> = OnceLock::new();
    SECURED.get_or_init(|| {
        let authority = Authority::new(&rig::directory("authority"));
        authority.issue("server", 86_400);
        let brokers = std::thread::scope(|scope| {
            let both = ["secured-source", "secured-target"].map(|name| {
                scope.spawn(|| Broker::start_secured(name, |d, p| listeners(&authority, d, p)))
            });
            both.map(|one| one.join().expect("a broker"))
        });
        let wires = brokers.each_ref().map(|one| Wire::start(one.port() + 4, one.port() + 3));
        Secured { authority, brokers, wires }
    })
}

fn listeners(authority: &Authority, dir: &Path, port: u16) -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(authority.0.join(name)).expect("a file");
    let both = format!("{}{}", read("server.key"), read("server.pem"));
    std::fs::write(dir.join("server.pem"), both).expect("a file");
    std::fs::write(dir.join("ca.pem"), read("ca.pem")).expect("a file");
    let user = |mechanism: &str| format!("{mechanism}=[name=douane,password={PASSWORD}]\n");
    std::fs::write(dir.join("scram"), user("SCRAM-SHA-256") + &user("SCRAM-SHA-512"))
        .expect("a file");
    let (controller, sasl, ssl, told) = (port + 1, port + 2, port + 3, port + 4);
    let dir = dir.display();
    let at = "PLAINTEXT://127.0.0.1";
    let module = "org.apache.kafka.common.security";
    let of_sasl = "listener.name.sasl_ssl";
    let mut all = vec![
        format!(
            "listeners={at}:{port},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{ssl}"
        ),
        format!("advertised.listeners={at}:{port},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{told}"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL"
            .to_owned(),
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
        format!(
            "{of_sasl}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_douane=\"{PASSWORD}\";"
        ),
        // Kafka's own validator for tokens that nobody signed.
        format!(
            "{of_sasl}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"admin\";"
        ),
        "listener.name.ssl.ssl.client.auth=required".to_owned(),
    ];
    for mechanism in ["scram-sha-256", "scram-sha-512"] {
        all.push(format!(
            "{of_sasl}.{mechanism}.sasl.jaas.config={module}.scram.ScramLoginModule required;"
        ));
    }
    for listener in ["sasl_ssl", "ssl"] {
        let of = format!("listener.name.{listener}.ssl");
        all.push(format!("{of}.keystore.type=PEM"));
        all.push(format!("{of}.keystore.location={dir}/server.pem"));
        all.push(format!("{of}.truststore.type=PEM"));
        all.push(format!("{of}.truststore.location={dir}/ca.pem"));
    }
    all
}

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Password(&'static str),
    Token,
    Certificate,
}

impl Way {
    /// What stands in `douane.yaml` for it.
    fn settings(self, broker: &Broker) -> String {
        let bootstrap = |port: u16| format!("bootstrap: \"127.0.0.1:{port}\"");
        let (sasl, ssl) = (bootstrap(broker.port() + 2), bootstrap(broker.port() + 4));
        match self {
            Self::Password(mechanism) => format!(
                "{sasl}, tls: {{ ca_file: secrets/ca.pem }}, sasl: {{ mechanism: {mechanism}, \
                 username: douane, password_file: secrets/password }}"
            ),
            Self::Token => format!(
                "{sasl}, tls: {{ ca_file: secrets/ca.pem }}, sasl: {{ mechanism: OAUTHBEARER, \
                 token_file: secrets/token }}"
            ),
            Self::Certificate => format!(
                "{ssl}, tls: {{ ca_file: secrets/ca.pem, cert_file: secrets/client.pem, key_file: \
                 secrets/client.key }}"
            ),
        }
    }
}

/// A JWT that nobody signed.
fn token(seconds: i64) -> String {
    let part = |text: &str| base64url(text.as_bytes());
    let (now, ends) = (now_s(), now_s() + seconds);
    let claims = format!("{{\"sub\":\"douane\",\"iat\":{now},\"exp\":{ends}}}");
    format!("{}.{}.", part("{\"alg\":\"none\"}"), part(&claims))
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let of = |three: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(*three.get(at).unwrap_or(&0)));
        let sign = move |at: usize| char::from(ALPHABET[bits >> (18 - 6 * at) & 63]);
        (0..=three.len()).map(sign).collect::<String>()
    };
    bytes.chunks(3).map(of).collect()
}

/// A place between the two brokers, made through their plain listeners.
fn place(name: &str, lines: &'static str) -> (Place, String) {
    let Secured { authority, brokers: [source, target], .. } = secured();
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    setup.place = lines;
    setup.tasks = 1;
    setup.target_partitions = 2;
    source.cluster().create(&setup.topics[0], 2, &[]);
    let place = Place::new(setup);
    let secrets = place.dir.join("secrets");
    std::fs::create_dir_all(&secrets).expect("a folder");
    std::fs::copy(authority.0.join("ca.pem"), secrets.join("ca.pem")).expect("a copy");
    std::fs::write(secrets.join("password"), PASSWORD).expect("a file");
    std::fs::write(secrets.join("token"), token(3600)).expect("a file");
    let plain = std::fs::read_to_string(place.dir.join("douane.yaml")).expect("the place");
    (place, plain)
}

/// Writes how the two sides are reached.
fn reach(place: &Place, plain: &str, ways: [Way; 2]) {
    let mut text = plain.to_owned();
    for (broker, way) in secured().brokers.iter().zip(ways) {
        let before = format!("bootstrap: \"127.0.0.1:{}\"", broker.port());
        assert_eq!(text.matches(&before).count(), 1);
        text = text.replace(&before, &way.settings(broker));
    }
    std::fs::write(place.dir.join("douane.yaml"), text).expect("written");
}

#[track_caller]
fn until_crossed(place: &Place, running: &Running, records: usize) {
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let (is, said) = (tail.wait_for(records, PATIENCE), running.said());
    assert!(is, "{} of {records}\n{}", tail.records.len(), last_lines(&said, 20));
}

#[test]
fn every_mechanism_carries_a_pipeline_on_either_side() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("secured", "the development broker has no TLS") {
        return;
    }
    let (place, plain) = place("mechanisms", "");
    secured().authority.issue("douane", 3600);
    secured().authority.put("douane", &place.dir.join("secrets"));
    let [plain_way, sha_256, sha_512] =
        ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].map(Way::Password);
    let all = [plain_way, sha_256, sha_512, Way::Token, Way::Certificate];
    let mut events = Customers::new(51, 5_100_000, true);
    let mut due = Vec::new();
    for (source, target) in all.iter().zip(all.iter().cycle().skip(1)) {
        reach(&place, &plain, [*source, *target]);
        let load = Load::new(2).customers(&mut events, 60, Format::Json, &Plants::default());
        load.send(&place.setup.source, &place.setup.topics[0]);
        due.extend(load.expected);
        let since = Instant::now();
        let mut running = place.run();
        until_crossed(&place, &running, due.len());
        say::note(format!("{source:?} to {target:?}: {} ms", since.elapsed().as_millis()));
        running.stop();
    }
    let actual = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&due, &actual, serial_in_json);
    say::figure("secured.mechanisms", all.len(), "of five, on either side");
    assert!(verdict.clean(), "{verdict:?}");
    // The control: what the broker does not take carries nothing, and it is said without its text.
    let wrong = "canary-wrong-0c1d2e3f";
    std::fs::write(place.dir.join("secrets/password"), wrong).expect("a file");
    reach(&place, &plain, [plain_way, Way::Certificate]);
    let refused = place.verb(&["run", &place.pipeline_file()]);
    assert_ne!(refused.code, 0, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("do `tls` and `sasl` match"), "{}{}", refused.out, refused.err);
    let log = place.log() + &refused.out + &refused.err;
    for secret in [PASSWORD, wrong, "eyJhbGciOiJub25lIn0"] {
        assert!(!log.contains(secret), "a secret was said");
    }
}

/// How often an event was said.
fn said(running: &Running, event: &str) -> usize {
    running.said().matches(&format!("\"event\":\"{event}\"")).count()
}

#[track_caller]
fn until_said(running: &Running, event: &str, times: usize) {
    let until = Instant::now() + PATIENCE;
    while said(running, event) < times {
        assert!(Instant::now() < until, "no {event}\n{}", last_lines(&running.said(), 20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn certificates_are_renewed_under_load_and_one_that_expired_is_waited_for() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("secured", "the development broker has no TLS") {
        return;
    }
    let Secured { authority, wires, .. } = secured();
    let rounds = say::count("DOUANE_CERTS", 2);
    let (place, plain) = place("renewed", "");
    let secrets = place.dir.join("secrets");
    authority.issue("first", 3600);
    authority.put("first", &secrets);
    reach(&place, &plain, [Way::Certificate; 2]);
    let mut events = Customers::new(52, 5_200_000, true);
    let load = Load::new(2).customers(&mut events, 400_000, Format::Json, &Plants::default());
    let load = Arc::new(load);
    let (source, topic) = (place.setup.source.clone(), place.setup.topics[0].clone());
    let mut running = place.run();
    let mut sending = load.send_slowly(&source, &topic, 400);
    until_crossed(&place, &running, 200);
    let since = Instant::now();
    for round in 1..=rounds {
        authority.issue("next", 3600);
        authority.put("next", &secrets);
        until_said(&running, "credentials_changed", round);
        until_said(&running, "swapped", round);
    }
    say::figure("secured.renewals", rounds, "under load");
    say::figure("secured.renewals_took", since.elapsed().as_millis(), "ms");

    // One that ends in mid-run: it is said; once the link is cut, the broker takes it no more.
    authority.issue("brief", 12);
    authority.put("brief", &secrets);
    until_said(&running, "swapped", rounds + 1);
    until_said(&running, "certificate_expired", 1);
    std::thread::sleep(Duration::from_millis(1100));
    wires.iter().for_each(Wire::cut);
    std::thread::sleep(Duration::from_secs(1));
    let standing = place.setup.target.end(&place.data_topic(), Isolation::Committed);
    std::thread::sleep(Duration::from_secs(2));
    let still = place.setup.target.end(&place.data_topic(), Isolation::Committed);
    assert_eq!(still, standing, "the control: nothing crosses under what has expired");
    assert!(running.ended().is_none(), "it waits\n{}", last_lines(&running.said(), 20));
    authority.issue("last", 3600);
    let since = Instant::now();
    authority.put("last", &secrets);
    until_said(&running, "swapped", rounds + 2);
    let sent = sending.stop();
    let mut load = Arc::into_inner(load).expect("nobody sends any more");
    load.cut(sent);
    until_crossed(&place, &running, load.expected.len());
    say::figure("secured.expired_until_caught_up", since.elapsed().as_millis(), "ms");
    running.stop();
    let actual = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&load.expected, &actual, serial_in_json);
    say::figure("secured.renewed", format!("{verdict:?}"), "");
    assert!(verdict.clean(), "{verdict:?}");
    place.verify().fine("verify");
}

/// The clients by which workers take part in their group read their certificates when they are made: under one that
/// expired no link comes about again, and under the next one all do, with nobody beginning anew.
#[test]
fn workers_of_a_group_go_on_under_a_renewed_certificate() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("secured", "the development broker has no TLS") {
        return;
    }
    let Secured { authority, wires, .. } = secured();
    let (place, plain) =
        place("renewed-group", "serve: { group: { id: renewed-group, worker: person } }");
    let (name, secrets) = (place.setup.name.as_str(), place.dir.join("secrets"));
    let mut events = Customers::new(53, 5_300_000, true);
    let mut send = || {
        let load = Load::new(2).customers(&mut events, 100, Format::Json, &Plants::default());
        load.send(&place.setup.source, &place.setup.topics[0]);
        load.expected
    };
    let mut due = send();
    // As long as all that is waited for until it is over may take.
    let expires_s = now_s() + 160;
    authority.issue("of-workers", 160);
    authority.put("of-workers", &secrets);
    reach(&place, &plain, [Way::Certificate; 2]);
    let mut workers = ["a", "b"].map(|worker| {
        workers::write_worker(&place, name, worker);
        workers::start(&place, worker)
    });
    let yaml = std::fs::read_to_string(place.dir.join(place.pipeline_file())).expect("a file");
    let config = json!({"connector.class": "Pipeline", "douane.pipeline": yaml});
    let made = json!({"name": name, "config": config}).to_string();
    let kind = ("Content-Type".to_owned(), "application/json".to_owned());
    let said = workers[0].client.call("POST", "/connectors", &[kind], Some(&made));
    assert_eq!(said.status, 201, "{}", said.body);
    for worker in &workers {
        workers::until(worker, name, |status| workers::runs(status, None));
    }
    until_crossed(&place, &workers[0].running, due.len());
    assert!(now_s() < expires_s, "it took longer to begin than the certificate holds");
    std::thread::sleep(Duration::from_secs(u64::try_from(expires_s + 2 - now_s()).unwrap_or(0)));
    wires.iter().for_each(Wire::cut);
    let ask = |worker: &Worker, what: &str| {
        let path = format!("/connectors/{name}/{what}");
        worker.client.call("PUT", &path, &[], None)
    };
    let refused = ask(&workers[0], "pause");
    assert!(refused.status >= 400, "the control: nobody is reached: {}", refused.body);

    authority.issue("of-workers-next", 3600);
    let since = Instant::now();
    authority.put("of-workers-next", &secrets);
    for (worker, what, is) in [(0, "pause", "PAUSED"), (1, "resume", "RUNNING")] {
        loop {
            let said = ask(&workers[worker], what);
            if said.status == 202 {
                break;
            }
            let log = last_lines(&workers[worker].running.said(), 20);
            assert!(since.elapsed() < 2 * PATIENCE, "{what}: {} {}\n{log}", said.status, said.body);
            std::thread::sleep(Duration::from_millis(200));
        }
        for worker in &workers {
            workers::until(worker, name, |status| status["connector"]["state"] == is);
        }
    }
    due.extend(send());
    until_crossed(&place, &workers[0].running, due.len());
    say::figure("secured.group_goes_on", since.elapsed().as_millis(), "ms after a renewal");
    for worker in &mut workers {
        assert!(worker.running.ended().is_none(), "{}", last_lines(&worker.running.said(), 20));
        worker.running.stop();
    }
    let actual = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&due, &actual, serial_in_json);
    assert!(verdict.clean(), "{verdict:?}");
    place.verify().fine("verify");
}
