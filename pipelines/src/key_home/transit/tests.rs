//! The contract with the transit API, against a server of our own that was written from the
//! documented API, and, where `DOUANE_TRANSIT` names one, against a real one: see
//! `tests/rig/vault.sh`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::super::wrapping::{random, replace, seal, secret_of, unseal};
use super::super::{Home, KeyHome, KeysPlace, rotate_wrapping};
use super::*;
use crate::config::Retention;

/// What the server does beside what the API says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Status(u16),
    Silent,
    Truncated,
    /// Well-formed answers with other content.
    WrongSecret,
    NotJson,
    Huge,
    Closes,
}

struct Service {
    mood: Mood,
    /// Versions from 1; `None` once trimmed.
    versions: Vec<Option<Secret>>,
    decrypt_from: usize,
    available_from: usize,
    may_trim: bool,
    asked: usize,
}

struct Server {
    url: String,
    service: Arc<Mutex<Service>>,
}

const TOKEN: &str = "s.token";

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Arc::new(Mutex::new(Service {
            mood: Mood::Well,
            versions: vec![Some(random().unwrap())],
            decrypt_from: 1,
            available_from: 0,
            may_trim: true,
            asked: 0,
        }));
        let shared = Arc::clone(&service);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, service }
    }

    fn mood(&self, mood: Mood) {
        self.service.lock().unwrap().mood = mood;
    }
}

fn serve(mut stream: TcpStream, service: &Mutex<Service>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut parts = line.split(' ');
    let (method, path) = (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned());
    let (mut length, mut token) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "x-vault-token" => token = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut service = service.lock().unwrap();
    service.asked += 1;
    let mood = service.mood;
    let (status, answer) = match mood {
        Mood::Closes => return,
        Mood::Silent => {
            drop(service);
            // Until the client gives up.
            let _ = reader.read(&mut [0]);
            return;
        }
        Mood::Status(status) => (status, json!({"errors": ["said for a test"]}).to_string()),
        Mood::NotJson => (200, "<html>hello</html>".to_owned()),
        Mood::Huge => (200, "x".repeat(2 << 20)),
        _ if token != TOKEN => (403, json!({"errors": ["permission denied"]}).to_string()),
        _ => {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (status, answer) = service.answer(&method, &path, &body);
            (status, answer.to_string())
        }
    };
    let cut = if mood == Mood::Truncated { answer.len() / 2 } else { answer.len() };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        answer.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&answer.as_bytes()[..cut]);
}

impl Service {
    fn answer(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let bytes = |name: &str| BASE64.decode(text(name).as_bytes()).unwrap_or_default();
        let error = |status: u16, why: &str| (status, json!({"errors": [why]}));
        let newest = self.versions.len();
        match (method, path) {
            ("POST", "/v1/transit/encrypt/douane") => {
                let key = self.versions[newest - 1].as_ref().unwrap();
                let sealed =
                    seal(key.bytes(), &bytes("associated_data"), &bytes("plaintext")).unwrap();
                let ciphertext = format!("vault:v{newest}:{}", BASE64.encode(&sealed));
                (
                    200,
                    json!({"request_id": "r", "lease_id": "", "renewable": false,
                    "data": {"ciphertext": ciphertext, "key_version": newest}}),
                )
            }
            ("POST", "/v1/transit/decrypt/douane") => {
                let ciphertext = text("ciphertext");
                let Some((version, sealed)) = ciphertext
                    .strip_prefix("vault:v")
                    .and_then(|rest| rest.split_once(':'))
                    .and_then(|(v, rest)| Some((v.parse::<usize>().ok()?, rest.to_owned())))
                else {
                    return error(400, "invalid ciphertext: no prefix");
                };
                if version < self.decrypt_from {
                    return error(
                        400,
                        "ciphertext or signature version is disallowed by policy (too old)",
                    );
                }
                let Some(Some(key)) = self.versions.get(version - 1) else {
                    return error(400, "ciphertext version not found");
                };
                let sealed = BASE64.decode(sealed.as_bytes()).unwrap_or_default();
                let plain = match self.mood {
                    Mood::WrongSecret => Some(vec![9; 32]),
                    _ => {
                        unseal(key.bytes(), &bytes("associated_data"), &sealed).map(|p| p.to_vec())
                    }
                };
                match plain {
                    Some(plain) => (200, json!({"data": {"plaintext": BASE64.encode(&plain)}})),
                    None => error(400, "cipher: message authentication failed"),
                }
            }
            ("GET", "/v1/transit/keys/douane") if self.may_trim => {
                let known = json!({"latest_version": newest, "type": "aes256-gcm96",
                    "min_available_version": self.available_from});
                (200, json!({"data": known}))
            }
            ("POST", "/v1/transit/keys/douane/rotate") => {
                self.versions.push(Some(random().unwrap()));
                (200, json!({"data": {"latest_version": newest + 1}}))
            }
            ("POST", "/v1/transit/keys/douane/config") if self.may_trim => {
                self.decrypt_from = body["min_decryption_version"].as_u64().unwrap() as usize;
                (200, json!({"data": {}}))
            }
            ("POST", "/v1/transit/keys/douane/trim") if self.may_trim => {
                let least = body["min_available_version"].as_u64().unwrap() as usize;
                self.versions[..least - 1].fill(None);
                self.available_from = least;
                (204, Value::Null)
            }
            (_, path) if path.starts_with("/v1/transit/keys/douane") => {
                error(403, "1 error occurred: permission denied")
            }
            _ => error(404, "no handler for route"),
        }
    }
}

fn config(url: &str, dir: &Path) -> TransitHome {
    let token_file = dir.join("token");
    if !token_file.exists() {
        replace(&token_file, 0o600, format!("{TOKEN}\n").as_bytes()).unwrap();
    }
    let (url, mount, key) = (url.to_owned(), "transit".into(), "douane".into());
    TransitHome { url, mount, key, token_file, ca_file: None }
}

fn transit(config: TransitHome) -> Transit {
    let mut transit = Transit::new(config, Duration::from_secs(300));
    transit.timeout = Duration::from_millis(300);
    transit
}

fn key(generation: u32) -> WrappingKey<'static> {
    WrappingKey { store: "00112233445566778899aabbccddeeff", generation }
}

/// What douane asks of any service. `own` is the key's first wrapping.
fn contract(home: &Transit) {
    let secret = random().unwrap();
    let wrapped = home.wrap(key(1), &secret, b"a").unwrap();
    assert_eq!(home.unwrap(key(1), &wrapped, b"a").unwrap().bytes(), secret.bytes());
    let not_here = |wrapped: &[u8], aad: &[u8]| {
        let answer = home.unwrap(key(1), wrapped, aad).err();
        assert!(matches!(answer, Some(KeyFault::NotWrappedHere { .. })), "{answer:?}");
    };
    not_here(&wrapped, b"b");
    not_here(b"vault:v1:", b"a");
    not_here(b"nothing", b"a");
    let text = String::from_utf8(wrapped.clone()).unwrap();
    let (head, body) = text.rsplit_once(':').unwrap();
    let mut bytes = BASE64.decode(body.as_bytes()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    not_here(format!("{head}:{}", BASE64.encode(&bytes)).as_bytes(), b"a");

    let next = home.wrap(key(2), &secret, b"a").unwrap();
    home.unwrap(key(1), &wrapped, b"a").unwrap();
    home.unwrap(key(2), &next, b"a").unwrap();
    let versions = [(1, &wrapped), (2, &next)];
    let versions = versions.map(|(at, wrapped)| (at, home.version(wrapped).unwrap())).into();
    assert!(home.destroy(key(1), &versions).unwrap().is_final);
    not_here(&wrapped, b"a");
    assert_eq!(home.unwrap(key(2), &next, b"a").unwrap().bytes(), secret.bytes());
}

#[test]
fn the_contract_holds_on_the_documented_api() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    contract(&transit(config(&server.url, dir.path())));
}

/// On demand: `tests/rig/vault.sh` builds and starts a real server and names it here.
#[test]
fn the_contract_holds_on_a_real_server_where_one_is_named() {
    let Some(url) = std::env::var_os("DOUANE_TRANSIT") else {
        let note = "skipped: the contract on a real transit server: tests/rig/vault.sh runs it\n";
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return;
    };
    let token_file = std::env::var_os("DOUANE_TRANSIT_TOKEN_FILE").expect("a token's file").into();
    let ca_file = std::env::var_os("DOUANE_TRANSIT_CA_FILE").map(Into::into);
    let (mount, key) = ("transit".into(), "douane".into());
    let url = url.into_string().expect("a URL");
    contract(&Transit::new(
        TransitHome { url, mount, key, token_file, ca_file },
        Duration::from_secs(300),
    ));
}

#[test]
fn what_a_service_should_not_say_is_typed_and_shows_no_word_of_it() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let home = transit(config(&server.url, dir.path()));
    let secret = secret_of(&[7; 32]).unwrap();
    let wrapped = home.wrap(key(1), &secret, b"a").unwrap();
    for (mood, is_away) in [
        (Mood::Status(403), false),
        (Mood::Status(404), false),
        (Mood::Status(429), true),
        (Mood::Status(500), true),
        (Mood::Status(503), true),
        (Mood::Status(302), true),
        (Mood::Silent, true),
        (Mood::Truncated, true),
        (Mood::NotJson, true),
        (Mood::Huge, true),
        (Mood::Closes, true),
    ] {
        server.mood(mood);
        let begun = Instant::now();
        let fault = home.unwrap(key(1), &wrapped, b"a").err().expect("no answer to use");
        assert_eq!(matches!(fault, KeyFault::Away { .. }), is_away, "{mood:?}: {fault}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{mood:?}");
        assert!(!fault.to_string().contains("said for a test"), "{fault}");
        assert!(home.wrap(key(1), &secret, b"a").is_err(), "{mood:?}");
    }
    server.mood(Mood::Well);
    assert_eq!(home.unwrap(key(1), &wrapped, b"a").unwrap().bytes(), &[7; 32]);
    drop(server);
}

#[test]
fn a_service_that_gives_another_secret_opens_no_store() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let service = config(&server.url, dir.path());
    let home = Home::Transit { service, lease: Duration::from_millis(200) };
    let place = KeysPlace {
        dir: dir.path().join("keys"),
        region: "eu-de".into(),
        locked: false,
        home,
        quarantine: Retention::days(30, 180),
    };
    let home = KeyHome::init(&place).unwrap();
    let begun = server.service.lock().unwrap().asked;
    home.keyring().key(douane_schemas::keys::Purpose::Ff1, "a");
    assert_eq!(server.service.lock().unwrap().asked, begun, "keys are in memory");
    server.mood(Mood::WrongSecret);
    assert!(matches!(KeyHome::open(&place), Err(KeyFault::NotWrappedHere { .. })));
    assert!(home.renew().expect("news").is_err());
    let until = Instant::now() + Duration::from_millis(250);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    assert!(home.lease_holds().is_err(), "nothing crosses");
    server.mood(Mood::Well);
    let since = Instant::now();
    // Where the machine stands still, so short a lease is over before it is looked at.
    loop {
        assert!(home.renew().expect("news").is_ok());
        if home.lease_holds().is_ok() {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "it does not hold");
    }
}

#[test]
fn a_store_survives_the_destruction_and_its_backup_does_not() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let service = config(&server.url, dir.path());
    let home = Home::Transit { service, lease: Duration::from_secs(300) };
    let place = KeysPlace {
        dir: dir.path().join("keys"),
        region: "eu-de".into(),
        locked: false,
        home,
        quarantine: Retention::days(30, 180),
    };
    let before = KeyHome::init(&place).unwrap();
    let backup = std::fs::read(place.store()).unwrap();
    let (_, remains) = rotate_wrapping(&place, |_| Ok(())).unwrap();
    assert!(remains.is_final);
    assert!(KeyHome::open(&place).unwrap().same_keys(&before));
    let now = std::fs::read(place.store()).unwrap();
    std::fs::write(place.store(), backup).unwrap();
    assert!(matches!(KeyHome::open(&place), Err(KeyFault::NotWrappedHere { .. })));
    std::fs::write(place.store(), now).unwrap();
    // Without the right to trim the new key is in use all the same, and nothing is called final.
    server.service.lock().unwrap().may_trim = false;
    let (_, remains) = rotate_wrapping(&place, |_| Ok(())).unwrap();
    assert!(!remains.is_final);
    assert!(KeyHome::open(&place).unwrap().same_keys(&before));
}

/// Two places were given one key by mistake: neither destroys what the other's store needs, and
/// neither calls its own destruction final.
#[test]
fn two_places_on_one_key_do_not_touch_each_other() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let place = |name: &str| {
        let service = config(&server.url, dir.path());
        let home = Home::Transit { service, lease: Duration::from_secs(300) };
        KeysPlace {
            dir: dir.path().join(name),
            region: "eu-de".into(),
            locked: false,
            home,
            quarantine: Retention::days(30, 180),
        }
    };
    let places = [place("a"), place("b")];
    for place in &places {
        KeyHome::init(place).unwrap();
    }
    for at in [0, 1, 0] {
        let (_, remains) = rotate_wrapping(&places[at], |_| Ok(())).unwrap();
        assert!(!remains.is_final);
        for place in &places {
            KeyHome::open(place).unwrap();
        }
    }
}

/// A version that a crash left is nobody's; once a person trimmed it, rotations are final again.
#[test]
fn a_version_that_nobody_knows_stays_until_a_person_trims_it() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let service = config(&server.url, dir.path());
    let home = Home::Transit { service, lease: Duration::from_secs(300) };
    let place = KeysPlace {
        dir: dir.path().join("keys"),
        region: "eu-de".into(),
        locked: false,
        home,
        quarantine: Retention::days(30, 180),
    };
    KeyHome::init(&place).unwrap();
    assert!(rotate_wrapping(&place, |_| Err(KeyFault::NotLedgered)).is_err());
    assert!(!rotate_wrapping(&place, |_| Ok(())).unwrap().1.is_final);
    {
        let mut service = server.service.lock().unwrap();
        let newest = service.versions.len();
        service.versions[..newest - 1].fill(None);
        service.available_from = newest;
    }
    assert!(rotate_wrapping(&place, |_| Ok(())).unwrap().1.is_final);
    KeyHome::open(&place).unwrap();
}

#[test]
fn what_is_trimmed_is_this_stores() {
    let of = |versions: &[u64]| (1..).zip(versions.iter().copied()).collect::<BTreeMap<_, _>>();
    assert!(all_own(1, 3, &of(&[2, 3])));
    assert!(all_own(3, 5, &of(&[2, 3, 4, 5])));
    // Another store came first, came between, or is not known to have come.
    assert!(!all_own(1, 4, &of(&[3, 4])));
    assert!(!all_own(1, 4, &of(&[2, 4])));
    assert!(!all_own(1, 2, &of(&[])));
    assert!(!all_own(1, 2, &BTreeMap::from([(2, 2)])));
    assert!(!all_own(1, u64::MAX, &of(&[2, u64::MAX])));
    for (text, version) in [("vault:v7:x", Some(7)), ("vault:v0:x", None), ("vault:v:x", None)] {
        assert_eq!(version_of(text.as_bytes()), version);
    }
}
