//! What comes over the wire: TLS, clients' certificates, sizes.

use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    self, ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
};

use serde_json::json;

use super::*;
use crate::ping;
use crate::refusals::{Why, of_handshake};
use crate::service::tests::Rig;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");

/// A service that listens until it is let go of.
struct Listening {
    address: String,
    asked: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    rig: Rig,
}

impl Listening {
    fn new(serve: &str) -> Self {
        let rig = Rig::new(&format!("serve: {{ listen: \"127.0.0.1:0\", {serve} }}\n"));
        rig.service.started.store(false, Ordering::Relaxed);
        let (service, asked) = (Arc::clone(&rig.service), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&asked);
        let thread = std::thread::spawn(move || listen(&service, &stop).unwrap());
        while !rig.service.started.load(Ordering::Relaxed) {
            assert!(!thread.is_finished(), "it does not listen");
            std::thread::yield_now();
        }
        let address = rig.service.worker_id();
        Self { address, asked, thread: Some(thread), rig }
    }

    fn plain(&self, request: &str) -> String {
        let mut stream = Blocking::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // Who is refused may be cut off while it still sends.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What a client sees who trusts the test's authority; `who`: whose certificate it has.
    fn by_tls(&self, who: Option<&str>) -> Option<String> {
        let file = |name: &str| format!("{CERTIFICATES}/{name}");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match who {
            None => builder.with_no_client_auth(),
            Some(who) => {
                let chain =
                    vec![CertificateDer::from_pem_file(file(&format!("{who}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(file(&format!("{who}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, Blocking::connect(&self.address).unwrap());
        stream.write_all(LIVEZ.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        String::from_utf8(answer).ok()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.asked.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn with_tls(more: &str) -> String {
    format!(
        "tls: {{ cert_file: \"{CERTIFICATES}/server.pem\", key_file: \"{CERTIFICATES}/server.key\"{more} }}"
    )
}

/// A start that waits keeps nobody waiting.
#[test]
fn it_takes_connections_before_it_has_started() {
    let rig = Rig::new("serve: { listen: \"127.0.0.1:0\", anonymous: [auditor] }\n");
    rig.service.started.store(false, Ordering::Relaxed);
    let (service, asked) = (Arc::clone(&rig.service), Arc::new(AtomicBool::new(false)));
    // Who changes something is waited for by the start.
    let changing = service.fleet.changing();
    let thread = {
        let (service, asked) = (Arc::clone(&service), Arc::clone(&asked));
        std::thread::spawn(move || listen(&service, &asked).unwrap())
    };
    let patience = Instant::now() + Duration::from_secs(20);
    let waits = |until: &dyn Fn() -> bool| {
        while !until() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        until()
    };
    let listens = waits(&|| !service.worker_id().ends_with(":0"));
    let listening = Listening { address: service.worker_id(), asked, thread: Some(thread), rig };
    // Let go of before it: its end waits for the start, and the start for this.
    let changing = changing;
    let asks = |path: &str| {
        listening
            .plain(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    };
    let meanwhile = listens.then(|| ["/health", "/connectors", "/livez"].map(asks));
    drop(changing);
    let [health, connectors, livez] = meanwhile.expect("it listens");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("\"starting\""), "{health}");
    assert!(connectors.starts_with("HTTP/1.1 503"));
    assert!(livez.starts_with("HTTP/1.1 200"));
    assert!(waits(&|| service.started.load(Ordering::Relaxed)));
    let health = asks("/health");
    assert!(health.starts_with("HTTP/1.1 200") && health.contains("\"healthy\""), "{health}");
    assert!(asks("/connectors").starts_with("HTTP/1.1 200"));
}

#[test]
fn over_tls_it_is_heard_and_without_it_not() {
    let service = Listening::new(&with_tls(""));
    assert!(service.by_tls(None).is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    assert!(!service.plain(LIVEZ).contains("HTTP/1.1 200"));
}

/// Whatever it asks of its clients; and not where nobody is any more.
#[test]
fn it_answers_who_asks_from_beside_it() {
    let hears = format!(", client_ca_file: \"{CERTIFICATES}/ca.pem\"");
    for serve in ["pipelines: pipelines/", &with_tls(""), &with_tls(&hears)] {
        let service = Listening::new(serve);
        let mut place = service.rig.service.place.serve.clone();
        place.listen = service.address.parse().unwrap();
        assert!(ping::answers(&place), "{serve}");
        drop(service);
        assert!(!ping::answers(&place), "{serve}");
    }
}

#[test]
fn only_clients_of_the_named_authority_are_heard() {
    let service =
        Listening::new(&with_tls(&format!(", client_ca_file: \"{CERTIFICATES}/ca.pem\"")));
    let heard = |who| service.by_tls(who).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
    let failed = || service.rig.service.refusals.count(Why::Handshake);
    assert!(heard(Some("client")));
    assert_eq!(failed(), 0, "the control");
    assert!(!heard(Some("stranger")) && !heard(None));
    let until = Instant::now() + Duration::from_secs(20);
    while failed() < 2 {
        assert!(Instant::now() < until, "{} are counted", failed());
        std::thread::yield_now();
    }
}

#[test]
fn what_keeps_two_from_speaking_tls_has_a_word_and_who_only_looks_is_none_of_it() {
    let failed = |error| of_handshake(&std::io::Error::new(std::io::ErrorKind::InvalidData, error));
    for (error, word) in [
        (rustls::Error::NoCertificatesPresented, "shows no certificate"),
        (rustls::CertificateError::Expired.into(), "certificate is not accepted"),
        (rustls::InvalidMessage::InvalidContentType.into(), "speaks no TLS"),
        (rustls::PeerIncompatible::NoCipherSuitesInCommon.into(), "no version or cipher"),
        (rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA), "this certificate"),
        (
            rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion),
            "the handshake failed",
        ),
        (rustls::Error::DecryptError, "the handshake failed"),
    ] {
        assert!(failed(error.clone()).is_some_and(|said| said.contains(word)), "{error:?}");
    }
    assert_eq!(of_handshake(&std::io::ErrorKind::UnexpectedEof.into()), None);
    // As it happens: no TLS, and a look.
    let service = Listening::new(&with_tls(""));
    let count = || service.rig.service.refusals.count(Why::Handshake);
    drop(Blocking::connect(&service.address).unwrap());
    service.plain(LIVEZ);
    let until = Instant::now() + Duration::from_secs(20);
    while count() < 1 {
        assert!(Instant::now() < until, "it is not counted");
        std::thread::yield_now();
    }
    assert_eq!(count(), 1, "who only looks is not counted");
    let from = std::net::IpAddr::from([10, 0, 0, 1]);
    let met = || service.rig.service.refusals.met_handshake(from, "x");
    assert_eq!(met(), Some(json!({"from": "10.0.0.1", "why": "x"})));
    assert_eq!(met(), None, "once a minute");
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| {
        std::fs::copy(format!("{CERTIFICATES}/{from}"), dir.path().join(to)).unwrap();
    };
    put("server.pem", "cert");
    put("server.key", "key");
    let folder = dir.path().display();
    let service = Listening::new(&format!(
        "tls: {{ cert_file: \"{folder}/cert\", key_file: \"{folder}/key\" }}"
    ));
    let heard = || service.by_tls(None).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
    let until = |wanted: bool| {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while heard() != wanted {
            assert!(std::time::Instant::now() < deadline, "it goes on as it was");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until(true);
    // One of another name, whom the client does not take for the service; and the first again.
    put("client.pem", "cert");
    put("client.key", "key");
    until(false);
    put("server.pem", "cert");
    put("server.key", "key");
    until(true);
}

#[test]
fn a_peer_is_an_address_or_a_network_of_64_bits() {
    for (one, other, same) in [
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        // As a socket of both families says an address of IPv4.
        ("::ffff:10.0.0.1", "10.0.0.1", true),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
    ] {
        let guests = Guests::default();
        let _kept = guests.take(one.parse().unwrap(), 1).unwrap();
        assert_eq!(guests.take(other.parse().unwrap(), 1).is_none(), same, "{one} {other}");
    }
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let guests = Guests::default();
    let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
    let kept: Vec<_> = (0..3).map(|_| guests.take(one, 3).unwrap()).collect();
    assert!(guests.take(one, 3).is_none() && guests.take(two, 3).is_some());
    drop(kept);
    assert!(guests.0.lock().unwrap().is_empty(), "nobody is remembered who left");
    // Over the wire: who opens them all is alone in not being heard.
    let service = Listening::new("anonymous: [auditor]");
    let open: Vec<_> = (0..CONNECTIONS_PER_PEER_MAX)
        .map(|_| Blocking::connect(&service.address).unwrap())
        .collect();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !service.plain(LIVEZ).is_empty() {
        assert!(std::time::Instant::now() < deadline, "it is heard all the same");
    }
    drop(open);
    while !service.plain(LIVEZ).starts_with("HTTP/1.1 200") {
        assert!(std::time::Instant::now() < deadline, "it is not heard again");
    }
}

#[test]
fn who_takes_nothing_of_an_answer_is_let_go() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let written = runtime.block_on(async {
        let bound = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // It is connected, and reads nothing.
        let _silent = Blocking::connect(bound.local_addr().unwrap()).unwrap();
        let (stream, _) = bound.accept().await.unwrap();
        let mut patient = Patient { stream, takes: Duration::from_millis(50), waits: None };
        let bytes = vec![0; 1 << 20];
        let mut write = async || {
            let wrote = std::future::poll_fn(|cx| Pin::new(&mut patient).poll_write(cx, &bytes));
            timeout(Duration::from_secs(20), wrote).await.unwrap()
        };
        loop {
            if let Err(error) = write().await {
                return error.kind();
            }
        }
    });
    assert_eq!(written, io::ErrorKind::TimedOut);
}

#[test]
fn bodies_have_a_limit_and_nobodys_is_not_read() {
    let service = Listening::new("anonymous: [author]");
    assert!(service.plain(LIVEZ).starts_with("HTTP/1.1 200"));
    let post = |host: &str, bytes: usize| {
        format!(
            "POST /connectors HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {bytes}\r\n\r\n{}",
            "x".repeat(bytes.min(BODY_BYTES_MAX + 1))
        )
    };
    let small = service.plain(&post("localhost", 10));
    assert!(small.starts_with("HTTP/1.1 400"), "{small}");
    // The answer may be lost with the connection, whose other side still sends.
    let large = service.plain(&post("localhost", BODY_BYTES_MAX + 1));
    assert!(large.is_empty() || large.starts_with("HTTP/1.1 413"), "{large}");
    // It promises more than it sends, and is answered all the same.
    let head = post("elsewhere.example", BODY_BYTES_MAX);
    let head = &head[..head.find("\r\n\r\n").unwrap() + 4];
    let refused = service.plain(head);
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
}

#[test]
fn a_query_is_read_as_forms_write_it_and_paths_of_two_meanings_are_told() {
    let pairs = query("expand=status&expand=info&a=b%20c+d&e&=f&&");
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
    let expected = [("expand", "status"), ("expand", "info"), ("a", "b c d"), ("e", ""), ("", "f")];
    assert_eq!(pairs, expected);
    for (path, ambiguous) in [
        ("/connectors/a", false),
        ("//connectors", true),
        ("/connectors/a%2Fb", true),
        ("/connectors/a%2fb", true),
        ("/connectors/a%25b", true),
        ("/connectors/a%20b", false),
    ] {
        assert_eq!(is_ambiguous(path), ambiguous, "{path}");
    }
}

#[test]
fn what_cannot_stand_in_a_header_is_left_out() {
    let answer = Answer::empty(204).header("Location", "a\nb".into());
    let response = response(answer);
    assert_eq!(response.headers().get("Location"), None);
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}
