use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::kafka::Tls;

/// Answers each connection with the next of `answers`, byte for byte, and gives the requests back.
struct Fake {
    url: String,
    requests: mpsc::Receiver<String>,
}

fn fake(answers: Vec<Vec<u8>>) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let Ok((stream, _)) = listener.accept() else { return };
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            head.push_str(std::str::from_utf8(&body).unwrap());
            let _ = seen.send(head);
            let _ = reader.get_mut().write_all(&answer);
        }
    });
    Fake { url, requests }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn cluster(url: &str) -> ClusterConfig {
    let mut cluster = crate::kafka::cluster::plain("b:1");
    cluster.registry = Some(url.to_owned());
    cluster
}

fn registry(fake: &Fake) -> Registry {
    Registry::new(&cluster(&fake.url)).unwrap()
}

#[test]
fn both_dialects_answer_an_id() {
    // Confluent: no schemaType for Avro, no references. Apicurio: both, references empty.
    for body in [
        r#"{"schema":"\"string\""}"#,
        r#"{"schema":"\"string\"","schemaType":"AVRO","references":[]}"#,
        r#"{"schema":"\"string\"","schemaType":null,"references":null,"deleted":false}"#,
    ] {
        let fake = fake(vec![answer(200, body)]);
        let mut registry = registry(&fake);
        assert_eq!(registry.schema(7).unwrap().as_deref(), Some("\"string\""));
        assert!(fake.requests.recv().unwrap().starts_with("GET /schemas/ids/7 HTTP/1.1"));
        // Nobody answers any more: it is kept.
        assert_eq!(registry.schema(7).unwrap().as_deref(), Some("\"string\""));
    }
}

#[test]
fn an_unknown_id_is_none_and_is_asked_again() {
    let unknown = r#"{"error_code":40403,"message":"Schema 9 not found"}"#;
    let fake = fake(vec![answer(404, unknown), answer(200, r#"{"schema":"\"int\""}"#)]);
    let mut registry = registry(&fake);
    assert_eq!(registry.schema_text(9), Ok(None));
    assert_eq!(registry.schema_text(9), Ok(Some("\"int\"".to_owned())));
}

#[test]
fn a_404_that_no_registry_gives_bad_url() {
    for body in ["<html>not found</html>", "", "{}", r#"{"error_code":404}"#] {
        let fake = fake(vec![answer(404, body)]);
        let fault = registry(&fake).schema(1).unwrap_err();
        let answered = matches!(
            fault,
            RegistryFault::Answer { status: 404, .. } | RegistryFault::Refused { code: 404, .. }
        );
        assert!(answered, "{fault}");
    }
}

#[test]
fn schemas_of_other_kinds_bad_schema() {
    for body in [
        r#"{"schema":"{}","schemaType":"JSON"}"#,
        r#"{"schema":"x","schemaType":"PROTOBUF"}"#,
        r#"{"schema":"\"a\"","references":[{"name":"a","subject":"a","version":1}]}"#,
    ] {
        let fake = fake(vec![answer(200, body), answer(200, body)]);
        let mut registry = registry(&fake);
        let fault = registry.schema(3).unwrap_err();
        assert!(matches!(fault, RegistryFault::Unsupported { id: 3, .. }), "{fault}");
        assert_eq!(registry.schema_text(3), Ok(None), "the decoder holds");
    }
}

#[test]
fn one_id_that_cannot_be_had_is_not_the_registry_away_bad_ids() {
    // Nobody is asked: no registry gives an id that is no Java int.
    let mut nobody = Registry::new(&cluster("http://127.0.0.1:1")).unwrap();
    for id in [1 << 31, u32::MAX] {
        assert_eq!(nobody.schema_text(id), Ok(None));
    }
    assert!(matches!(nobody.schema_text(i32::MAX as u32), Err(Away(_))));
    let large = " ".repeat(BODY_BYTES_MAX as usize + 1);
    let coded = r#"{"error_code":42202,"message":"Ada"}"#;
    for status in [404, 422] {
        let fake = fake(vec![answer(status, coded)]);
        assert_eq!(registry(&fake).schema_text(1), Ok(None), "{status}");
    }
    // Not the registry's own form: of the id where the registry answers otherwise, and else of what stands before it.
    for (status, body) in [(400, ""), (404, ""), (410, ""), (200, "{"), (200, &*large)] {
        let fake = fake(vec![answer(status, body), answer(200, r#"["AVRO"]"#)]);
        assert_eq!(registry(&fake).schema_text(1), Ok(None), "{status}");
        let fake = self::fake(vec![answer(status, body), answer(status, body)]);
        assert!(matches!(registry(&fake).schema_text(1), Err(Away(_))), "{status}");
    }
    // The control: what may pass, or is of every id.
    for status in [302, 401, 408, 429, 500, 502, 503, 504] {
        for body in ["", coded] {
            let fake = fake(vec![answer(status, body)]);
            assert!(matches!(registry(&fake).schema_text(1), Err(Away(_))), "{status}");
        }
    }
    // A right that is lacking for one subject, and every right.
    let fake = fake(vec![answer(403, coded), answer(200, r#"["AVRO"]"#)]);
    assert_eq!(registry(&fake).schema_text(1), Ok(None));
    let fake = self::fake(vec![answer(403, coded), answer(403, coded)]);
    assert!(matches!(registry(&fake).schema_text(1), Err(Away(_))));
}

#[test]
fn latest_gives_id_and_text() {
    let body = r#"{"subject":"a/b-value","version":2,"id":11,"schema":"\"int\""}"#;
    let none = r#"{"error_code":40401,"message":"Subject not found."}"#;
    let fake = fake(vec![answer(200, body), answer(404, none)]);
    let registry = registry(&fake);
    assert_eq!(registry.latest("a/b-value").unwrap(), Some((11, "\"int\"".to_owned())));
    let request = fake.requests.recv().unwrap();
    assert!(request.starts_with("GET /subjects/a%2Fb-value/versions/latest "), "{request}");
    assert_eq!(registry.latest("gone").unwrap(), None);
}

#[test]
fn registering_gives_the_id_and_a_409_is_its_own_fault() {
    let fake = fake(vec![
        answer(200, r#"{"id":5}"#),
        answer(200, r#"{"id":5,"version":1,"schemaType":"AVRO"}"#),
        answer(409, r#"{"error_code":409,"message":"Ada Lovelace"}"#),
        answer(422, r#"{"error_code":42201,"message":"Ada Lovelace"}"#),
        answer(401, ""),
        answer(503, ""),
        answer(500, r#"{"error_code":50001,"message":"Ada Lovelace"}"#),
    ]);
    let registry = registry(&fake);
    assert_eq!(registry.register("t-value", "\"int\""), Ok(5));
    let request = fake.requests.recv().unwrap();
    assert!(request.starts_with("POST /subjects/t-value/versions "), "{request}");
    assert!(request.contains(r#""schema":"\"int\"""#), "{request}");
    assert_eq!(registry.register("t-value", "\"int\""), Ok(5));
    let faults: Vec<_> =
        (0..5).map(|_| registry.register("t-value", "\"int\"").unwrap_err()).collect();
    assert!(matches!(faults[0], RegistryFault::Incompatible { .. }));
    assert!(matches!(faults[1], RegistryFault::Refused { status: 422, code: 42201, .. }));
    assert!(matches!(faults[2], RegistryFault::Denied { status: 401, .. }));
    assert!(matches!(faults[3], RegistryFault::Unreachable { .. }));
    assert!(matches!(faults[4], RegistryFault::Refused { status: 500, .. }));
    for fault in faults {
        let shown = format!("{fault} {fault:?}");
        assert!(!shown.contains("Ada"), "no answer's text in a fault: {shown}");
    }
}

#[test]
fn compatibility_comes_under_two_names_and_from_the_registry_itself() {
    let none = r#"{"error_code":40408,"message":"no rule"}"#;
    let fake = fake(vec![
        answer(200, r#"{"compatibilityLevel":"FULL"}"#),
        answer(200, r#"{"compatibility":"NONE"}"#),
        answer(404, none),
        answer(200, r#"{"compatibilityLevel":"BACKWARD"}"#),
    ]);
    let registry = registry(&fake);
    for expected in ["FULL", "NONE", "BACKWARD"] {
        assert_eq!(registry.compatibility("s").unwrap().as_deref(), Some(expected));
    }
}

#[test]
fn answers_without_end_bad_body() {
    let mut large = answer(200, "");
    large = String::from_utf8(large).unwrap().replace("content-length: 0\r\n", "").into_bytes();
    large.extend(std::iter::repeat_n(b' ', (BODY_BYTES_MAX + 1) as usize));
    let announced = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", u64::MAX).into_bytes();
    let fake = fake(vec![large, announced]);
    let mut registry = registry(&fake);
    let fault = registry.schema(1).unwrap_err();
    assert!(matches!(fault, RegistryFault::Answer { problem: "more than 4 MiB", .. }), "{fault}");
    assert!(registry.schema(1).is_err());
    // The control: one byte less is read, and is then no JSON.
    let body = " ".repeat(BODY_BYTES_MAX as usize - 1);
    let fake = self::fake(vec![answer(200, &body)]);
    let fault = self::registry(&fake).schema(1).unwrap_err();
    assert!(matches!(fault, RegistryFault::Answer { problem: "not its JSON", .. }), "{fault}");
}

#[test]
fn a_registry_that_hangs_or_is_gone_bad_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let registry = Registry::new(&cluster(&url)).unwrap();
    let mut registry = registry.with_timeout(Duration::from_millis(200));
    let fault = registry.schema(1).unwrap_err();
    assert!(matches!(fault, RegistryFault::Unreachable { reason: "time-out", .. }), "{fault}");
    assert!(fault.to_string().contains(" at http://127.0.0.1:"), "{fault}");
    assert!(matches!(registry.schema_text(1), Err(Away(_))));
    drop(listener);
    let fault = registry.schema(1).unwrap_err();
    assert!(fault.is_away(), "{fault}");
    let fake = fake(vec![b"SSH-2.0-x\r\n".to_vec()]);
    assert!(self::registry(&fake).schema(1).unwrap_err().is_away());
}

#[test]
fn a_redirect_is_not_followed_bad_peer() {
    let away = b"HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let fake = fake(vec![away.to_vec()]);
    let fault = registry(&fake).schema(1).unwrap_err();
    assert!(matches!(fault, RegistryFault::Answer { status: 302, .. }), "{fault}");
}

#[test]
fn urls_that_hold_a_secret_or_more_than_a_place_bad_url() {
    for url in [
        "",
        "registry:8081",
        "ftp://r",
        "http://",
        "http:///x",
        "http://u:p@r:8081",
        "http://r/?x=1",
        "http://r/#x",
        "http://r/a b",
        "http://r\\@x",
    ] {
        assert!(Registry::new(&cluster(url)).is_err(), "{url}");
    }
    assert!(Registry::new(&crate::kafka::cluster::plain("b:1")).is_err());
    let registry = Registry::new(&cluster("http://r:8081/apis/ccompat/v7/")).unwrap();
    assert_eq!(registry.base, "http://r:8081/apis/ccompat/v7");
}

#[test]
fn the_password_comes_from_a_file_and_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth");
    let fake = fake(vec![answer(200, r#"{"schema":"\"int\""}"#)]);
    let mut cluster = cluster(&fake.url);
    cluster.registry_auth_file = Some(path.clone());
    assert!(matches!(Registry::new(&cluster), Err(RegistryFault::File { .. })));
    for wrong in ["", "user", "a:b\nc:d"] {
        fs::write(&path, wrong).unwrap();
        assert!(matches!(Registry::new(&cluster), Err(RegistryFault::Settings { .. })));
    }
    fs::write(&path, "Aladdin:open sesame\n").unwrap();
    let mut registry = Registry::new(&cluster).unwrap();
    assert!(registry.schema(1).is_ok());
    let request = fake.requests.recv().unwrap().to_ascii_lowercase();
    // RFC 7617, section 2.
    let expected = "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_ascii_lowercase();
    assert!(request.contains(&format!("authorization: {expected}")), "{request}");
}

#[test]
fn tls_files_that_hold_nothing_bad_files() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "nothing here").unwrap();
    let mut cluster = cluster("https://r:8081");
    cluster.tls = Some(Tls { ca_file: empty, cert_file: None, key_file: None });
    assert!(matches!(Registry::new(&cluster), Err(RegistryFault::Settings { .. })));
    cluster.tls = Some(Tls { ca_file: "/no/such".into(), cert_file: None, key_file: None });
    assert!(matches!(Registry::new(&cluster), Err(RegistryFault::File { .. })));
}

#[test]
fn the_cache_is_bounded_in_number_and_bytes() {
    let mut cache = Cache::default();
    for id in 0..(CACHE_SCHEMAS_MAX as u32 + 10) {
        cache.put(id, "x");
        cache.put(id, "x");
    }
    assert_eq!((cache.texts.len(), cache.bytes), (CACHE_SCHEMAS_MAX, CACHE_SCHEMAS_MAX));
    assert!(cache.get(9).is_none() && cache.get(10).is_some());
    let large = "y".repeat(CACHE_BYTES_MAX / 2);
    for id in 5_000..5_010 {
        cache.put(id, &large);
        assert!(cache.bytes <= CACHE_BYTES_MAX);
    }
    assert_eq!(cache.bytes, cache.texts.values().map(String::len).sum::<usize>());
}

#[test]
fn a_password_that_changed_is_read_again_where_the_old_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth");
    fs::write(&file, "douane:old\n").unwrap();
    let schema = r#"{"subject":"t","version":1,"id":5,"schema":"\"int\""}"#;
    let fake = fake(vec![
        answer(200, schema),
        answer(401, ""),
        answer(401, ""),
        answer(200, schema),
        answer(401, ""),
        answer(200, r#"{"id":5}"#),
    ]);
    let mut of = cluster(&fake.url);
    of.registry_auth_file = Some(file.clone());
    let registry = Registry::new(&of).unwrap();
    let said = || {
        let request = fake.requests.recv().unwrap().to_ascii_lowercase();
        let line = request.lines().find(|line| line.starts_with("authorization:")).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert!(registry.latest("t").is_ok());
    let old = said();
    // The file is as it was: asking again is vain.
    assert!(matches!(registry.latest("t"), Err(RegistryFault::Denied { status: 401, .. })));
    assert_eq!(said(), old);
    fs::write(&file, "douane:new\n").unwrap();
    assert!(registry.latest("t").is_ok());
    let (first, second) = (said(), said());
    assert!(first == old && second != old, "{first} {second}");
    fs::write(&file, "douane:newer\n").unwrap();
    assert_eq!(registry.register("t", "\"int\""), Ok(5));
    let (first, third) = (said(), said());
    assert!(first == second && third != second, "{first} {third}");
}
