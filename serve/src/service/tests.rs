//! The whole matrix of routes and callers, and what a call leaves in the ledger.

use jiff::ToSpan;
use serde_json::Value;

use super::*;

const PLACE: &str = "clusters:
  sovereign: { zone: eu-de, id: A1, bootstrap: \"127.0.0.1:1\" }
  global: { zone: global, id: B1, bootstrap: \"127.0.0.1:2\" }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
";

const STOPPED: &str = "name: p
purpose: model-training
source:
  kafka: { cluster: sovereign, topics: [crm.p], format: debezium_json, start: earliest, key: [id] }
classes:
  id: { class: public }
types: { id: int64 }
sink:
  kafka: { cluster: global, topic: training.p, format: json, shape: state, timestamp: 1s }
  deletes: tombstone
  unavailable: quarantine
  truncate: hold
release: p.release.json
";

/// A service in a folder of its own, without a connector.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub service: Arc<Service>,
}

impl Rig {
    pub fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("douane.yaml");
        std::fs::write(&file, format!("{PLACE}{more}")).unwrap();
        let place = douane_pipelines::config::load_place(&file).unwrap();
        douane_pipelines::key_home::KeyHome::init(&place.keys).unwrap();
        let service = Arc::new(Service::open(&file, place).unwrap());
        service.loggers.set("root", Level::Off, Timestamp::now());
        Self { dir, service }
    }

    fn token(&self, name: &str, roles: &[Role], now: Timestamp) -> String {
        tokens::make(&self.service.place.serve.tokens, name, roles, 1, now).unwrap()
    }

    fn call(&self, method: &str, path: &'static str, authorization: Option<&str>) -> Answer {
        self.call_with(method, path, authorization, "127.0.0.1:8083", &[], "")
    }

    fn call_with(
        &self,
        method: &str,
        path: &'static str,
        authorization: Option<&str>,
        host: &str,
        params: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut headers = BTreeMap::new();
        headers.insert("host".to_owned(), host.to_owned());
        headers.insert("content-type".to_owned(), "application/json".to_owned());
        if let Some(said) = authorization {
            headers.insert("authorization".to_owned(), said.to_owned());
        }
        let params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.service.handle(&Asked {
            path: Some(path),
            method: method.to_owned(),
            params,
            query: Vec::new(),
            headers,
            body: body.as_bytes().to_vec(),
        })
    }
}

/// Who may call what, written out: the list of routes is held against it.
const MATRIX: &[(&str, &str, &[Role])] = &[
    ("GET", "/", &Role::ALL),
    ("GET", "/health", &Role::ALL),
    ("GET", "/connectors", &Role::ALL),
    ("POST", "/connectors", &[Role::Author]),
    ("GET", "/connectors/{c}", &Role::ALL),
    ("DELETE", "/connectors/{c}", &[Role::Author, Role::Operator]),
    ("GET", "/connectors/{c}/config", &Role::ALL),
    ("PUT", "/connectors/{c}/config", &[Role::Author]),
    ("PATCH", "/connectors/{c}/config", &[Role::Author]),
    ("GET", "/connectors/{c}/status", &Role::ALL),
    ("PUT", "/connectors/{c}/pause", &[Role::Operator]),
    ("PUT", "/connectors/{c}/resume", &[Role::Operator]),
    ("PUT", "/connectors/{c}/stop", &[Role::Operator]),
    ("POST", "/connectors/{c}/restart", &[Role::Operator]),
    ("GET", "/connectors/{c}/tasks", &Role::ALL),
    ("GET", "/connectors/{c}/tasks/{n}/status", &Role::ALL),
    ("POST", "/connectors/{c}/tasks/{n}/restart", &[Role::Operator]),
    ("GET", "/connectors/{c}/offsets", &Role::ALL),
    ("PATCH", "/connectors/{c}/offsets", &[Role::Operator]),
    ("DELETE", "/connectors/{c}/offsets", &[Role::Operator]),
    ("GET", "/connectors/{c}/topics", &Role::ALL),
    ("PUT", "/connectors/{c}/topics/reset", &[Role::Operator]),
    ("GET", "/connector-plugins", &Role::ALL),
    ("GET", "/connector-plugins/{p}/config", &Role::ALL),
    (
        "PUT",
        "/connector-plugins/{p}/config/validate",
        &[Role::Author, Role::Approver, Role::Operator],
    ),
    ("GET", "/admin/loggers", &Role::ALL),
    ("GET", "/admin/loggers/{l}", &Role::ALL),
    ("PUT", "/admin/loggers/{l}", &[Role::Operator]),
    ("GET", "/metrics", &Role::ALL),
    ("GET", "/v1/openapi.json", &Role::ALL),
    ("GET", "/v1/pipelines", &Role::ALL),
    ("GET", "/v1/pipelines/{c}/status", &Role::ALL),
    ("GET", "/v1/pipelines/{c}/proof", &Role::ALL),
    ("GET", "/v1/pipelines/{c}/ledger", &[Role::Approver, Role::Auditor]),
    ("POST", "/v1/pipelines/{c}/revocations", &[Role::Approver, Role::Operator]),
    ("GET", "/v1/pipelines/{c}/ledger/{l}/files", &[Role::Approver, Role::Auditor]),
    ("GET", "/v1/pipelines/{c}/ledger/{l}/bytes", &[Role::Approver, Role::Auditor]),
    ("GET", "/v1/partitions", &Role::ALL),
    ("GET", "/v1/pipelines/{c}/border", &Role::ALL),
    ("GET", "/v1/pipelines/{c}/releases", &Role::ALL),
    ("GET", "/v1/pipelines/{c}/quarantine", &[Role::Operator, Role::Auditor]),
    ("GET", "/v1/budget", &[Role::Approver, Role::Auditor]),
];

/// What is everybody's, without a token.
const OPEN: [&str; 3] = ["/livez", "/page", "/page/{f}"];

/// Every operation of the document that is served, as who drives it reads them.
fn operations(rig: &Rig, authorization: Option<&str>) -> Vec<(String, &'static str)> {
    let served = rig.call("GET", "/v1/openapi.json", authorization);
    let document: Value = serde_json::from_str(&served.body).unwrap();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let known = ROUTES.iter().find(|route| route.path == path).unwrap().path;
        let methods = methods.as_object().unwrap().keys();
        all.extend(methods.map(|method| (method.to_uppercase(), known)));
    }
    all
}

/// Whether somebody has said who may call it.
fn is_listed(method: &str, path: &str) -> bool {
    OPEN.contains(&path) || MATRIX.iter().any(|(m, p, _)| (*m, *p) == (method, path))
}

/// Whether a route is open to whoever has this role.
fn may(method: &str, path: &str, role: Option<Role>) -> bool {
    let row = MATRIX.iter().find(|(m, p, _)| (*m, *p) == (method, path));
    match row {
        None => OPEN.contains(&path),
        Some((_, _, roles)) => role.is_some_and(|role| roles.contains(&role)),
    }
}

#[test]
fn in_a_group_whatever_changes_a_connector_may_wait_for_the_clusters() {
    for route in ROUTES {
        assert_eq!(reaches(route, false), route.reaches, "{}", route.path);
        let of_group = route.changes && route.path.starts_with("/connectors");
        assert_eq!(reaches(route, true), route.reaches || of_group, "{}", route.path);
    }
    let waits = |grouped| {
        let is_it =
            |route: &&crate::routes::Route| (route.method, route.path) == ("POST", "/connectors");
        reaches(ROUTES.iter().find(is_it).unwrap(), grouped)
    };
    assert_eq!((waits(false), waits(true)), (false, true));
}

#[test]
fn the_whole_matrix_of_routes_and_callers() {
    let rig = Rig::new("");
    let now = Timestamp::now();
    let long_ago = now.checked_sub(72.hours()).unwrap();
    let mut callers: Vec<(String, Option<String>, Option<Role>)> = vec![
        ("none".into(), None, None),
        ("bad".into(), Some("Bearer douane_x".into()), None),
        ("bad basic".into(), Some("Basic !!".into()), None),
        ("no scheme".into(), Some("x".into()), None),
        (
            "expired".into(),
            Some(format!("Bearer {}", rig.token("old", &Role::ALL, long_ago))),
            None,
        ),
    ];
    for role in Role::ALL {
        let token = rig.token(role.name(), &[role], now);
        let basic = BASE64.encode(format!("{}:{token}", role.name()).as_bytes());
        let foreign = BASE64.encode(format!("other:{token}").as_bytes());
        callers.push((role.name().into(), Some(format!("Bearer {token}")), Some(role)));
        callers.push((
            format!("{} basic", role.name()),
            Some(format!("Basic {basic}")),
            Some(role),
        ));
        callers.push(("another's name".into(), Some(format!("Basic {foreign}")), None));
    }
    let operations = operations(&rig, callers[5].1.as_deref());
    for (method, path) in &operations {
        assert!(is_listed(method, path), "{method} {path} has no row: who may call it?");
        for (who, said, role) in &callers {
            let answer = rig.call(method, path, said.as_deref());
            let expected = match (may(method, path, *role), role) {
                (true, _) => !matches!(answer.status, 401 | 403),
                (false, None) => answer.status == 401,
                (false, Some(_)) => answer.status == 403,
            };
            assert!(expected, "{method} {path} as {who}: {answer:?}");
            let is_known = [200, 202, 204, 400, 401, 403, 404, 503].contains(&answer.status);
            assert!(is_known, "{method} {path} as {who}: {answer:?}");
        }
    }
    // No row of a route that is not there, and none that the document leaves out.
    assert_eq!(operations.len(), MATRIX.len() + OPEN.len());
    assert_eq!(operations.len(), ROUTES.len());
    assert!(!is_listed("GET", "/v1/new"), "the control: a route without a row is none of these");
    // A path that is none is nobody's to learn of.
    let nowhere = |authorization: Option<&str>| {
        let mut headers = BTreeMap::new();
        headers.extend(authorization.map(|said| ("authorization".to_owned(), said.to_owned())));
        let (params, query, body) = (BTreeMap::new(), Vec::new(), Vec::new());
        let method = "GET".to_owned();
        rig.service.handle(&Asked { path: None, method, params, query, headers, body }).status
    };
    assert_eq!([nowhere(None), nowhere(callers[5].1.as_deref())], [401, 404]);
}

#[test]
fn without_a_token_only_what_the_place_says_and_no_page_of_a_browser() {
    let rig = Rig::new("serve: { anonymous: [auditor] }\n");
    assert!(!rig.dir.path().join("tokens.json").exists(), "no first token where none is needed");
    assert_eq!(rig.call("GET", "/connectors", None).status, 200);
    assert_eq!(rig.call("PUT", "/connectors/{c}/pause", None).status, 403);
    for host in ["localhost", "localhost:8083", "[::1]:8083", "127.0.0.1"] {
        assert_eq!(rig.call_with("GET", "/", None, host, &[], "").status, 200, "{host}");
    }
    // A name that somebody else's server gave this machine.
    for host in ["evil.example", "evil.example:8083", "localhost.evil.example", ""] {
        assert_eq!(rig.call_with("GET", "/", None, host, &[], "").status, 401, "{host}");
    }
    assert_eq!(rig.service.anonymous(Some("localhost"), true), None, "a page says its origin");
    // A wrong token is not as good as none.
    assert_eq!(rig.call("GET", "/connectors", Some("Bearer x")).status, 401);
}

#[test]
fn the_first_token_is_made_once_and_its_owner_alone_can_read_it() {
    let rig = Rig::new("");
    let file = rig.dir.path().join("state/serve/first.token");
    let token = std::fs::read_to_string(&file).unwrap();
    let said = format!("Bearer {}", token.trim());
    assert_eq!(rig.call("GET", "/connectors", Some(&said)).status, 200);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A second start leaves the token as it is.
    let Rig { dir, service } = rig;
    drop(service);
    let place = dir.path().join("douane.yaml");
    let loaded = douane_pipelines::config::load_place(&place).unwrap();
    Service::open(&place, loaded).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
}

#[test]
fn a_connector_takes_no_other_files_place() {
    let rig = Rig::new("serve: { anonymous: [author] }\n");
    let domains = rig.dir.path().join("pipelines/domains.yaml");
    std::fs::write(&domains, "domains: {}\n").unwrap();
    let body =
        r#"{"name":"domains","config":{"connector.class":"Pipeline","douane.pipeline":"x"}}"#;
    let local = "localhost";
    let post = |body| rig.call_with("POST", "/connectors", None, local, &[], body).status;
    assert_eq!(post(body), 409);
    let named = [("c", "domains")];
    let put = r#"{"connector.class":"Pipeline","douane.pipeline":"x"}"#;
    let route = "/connectors/{c}/config";
    assert_eq!(rig.call_with("PUT", route, None, local, &named, put).status, 409);
    assert_eq!(std::fs::read_to_string(&domains).unwrap(), "domains: {}\n");
    // Control: under a name that is free it is looked at.
    assert_eq!(post(&body.replace("\"domains\"", "\"free\"")), 400);
}

/// Entries of the log of calls, as they lie there.
fn calls(rig: &Rig) -> Vec<douane_ledger::log::Entry> {
    let home = rig.dir.path().join("ledger/_serve");
    let read = douane_ledger::log::read(&home, "control", None).unwrap();
    read.into_iter().map(|(_, entry)| entry).collect()
}

#[test]
fn what_is_to_change_something_is_in_the_ledger_with_its_answer_and_nothing_of_its_body() {
    use douane_ledger::log::Entry;
    let rig = Rig::new("");
    let said =
        format!("Bearer {}", rig.token("bo", &[Role::Author, Role::Operator], Timestamp::now()));
    let canary = "canary-secret-4711";
    let body = format!("{{\"connector.class\":\"Pipeline\",\"database.password\":\"{canary}\"}}");
    let put = "/connectors/{c}/config";
    let answer = rig.call_with("PUT", put, Some(&said), "h", &[("c", "customers")], &body);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("database.password") && !answer.body.contains(canary));
    // A name that is none may be anything: it stays out of the ledger.
    let odd = [("c", "canary-name \u{7}")];
    assert_eq!(rig.call_with("DELETE", "/connectors/{c}", Some(&said), "h", &odd, "").status, 404);
    // Reading leaves nothing, nor does what was not allowed.
    rig.call("GET", "/connectors", Some(&said));
    rig.call("PUT", "/connectors/{c}/pause", None);
    rig.service.end();
    let entries = calls(&rig);
    let [
        Entry::Called { by, method, route, connector, body: digest },
        Entry::Answered { of: 0, status: 400 },
        Entry::Called { connector: None, .. },
        Entry::Answered { of: 2, status: 404 },
    ] = entries.as_slice()
    else {
        panic!("{entries:?}")
    };
    assert_eq!([by.as_str(), method, route], ["bo", "PUT", put]);
    assert_eq!(connector.as_deref(), Some("customers"));
    assert_eq!(digest.as_deref(), Some(&*douane_ledger::canonical::sha256_hex(body.as_bytes())));
    let shown = format!("{entries:?}");
    assert!(!shown.contains("canary"), "{shown}");
    // The verifier knows the log, whole.
    let expect = douane_ledger::verify::Expect::default();
    let reports = douane_ledger::verify::home(&rig.dir.path().join("ledger"), &expect).unwrap();
    assert!(reports.iter().all(|report| report.holds()), "{reports:?}");
    assert_eq!(reports.iter().map(|report| report.entries).sum::<u64>(), 4);
}

#[test]
fn methods_and_kinds_of_content_are_answered_as_kafka_connect_does() {
    let rig = Rig::new("serve: { anonymous: [author, operator] }\n");
    let options = rig.call("OPTIONS", "/connectors", None);
    assert_eq!(options.headers, [("Allow", "HEAD,POST,GET,OPTIONS".to_owned())]);
    assert_eq!(rig.call("DELETE", "/connectors", None).status, 405);
    assert_eq!(rig.call("HEAD", "/", None).status, 200);
    let asked = |header: &str, value: &str, body: &str| {
        let mut headers = BTreeMap::from([("host".to_owned(), "localhost".to_owned())]);
        headers.insert(header.to_owned(), value.to_owned());
        rig.service
            .handle(&Asked {
                path: Some("/connectors"),
                method: if body.is_empty() { "GET".into() } else { "POST".into() },
                params: BTreeMap::new(),
                query: Vec::new(),
                headers,
                body: body.as_bytes().to_vec(),
            })
            .status
    };
    assert_eq!(asked("accept", "text/html", ""), 406);
    assert_eq!(asked("accept", "text/html, */*;q=0.1", ""), 200);
    assert_eq!(asked("content-type", "text/plain", "{}"), 415);
    assert_eq!(asked("x", "y", "{}"), 400);
    let empty = rig.call("GET", "/connectors", None);
    assert_eq!(serde_json::from_str::<Value>(&empty.body).unwrap(), serde_json::json!([]));
}

#[test]
fn what_waits_for_the_clusters_leaves_room_for_the_others() {
    let rig = Rig::new("serve: { anonymous: [auditor] }\n");
    let status = || rig.call("GET", "/v1/pipelines/{c}/status", None).status;
    assert_eq!(status(), 404, "there is no such connector");
    assert_eq!(rig.service.reaching.load(Ordering::Relaxed), 0, "given back");
    rig.service.reaching.store(REACHING_MAX, Ordering::Relaxed);
    assert_eq!(status(), 503);
    assert_eq!(rig.call("GET", "/connectors", None).status, 200);
    assert_eq!(rig.call("GET", "/livez", None).status, 200);
}

#[test]
fn one_unreadable_state_stops_no_other_and_what_is_deleted_is_known_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("douane.yaml");
    std::fs::write(&file, PLACE).unwrap();
    let states = dir.path().join("state/serve/connectors");
    std::fs::create_dir_all(&states).unwrap();
    std::fs::create_dir_all(dir.path().join("pipelines")).unwrap();
    for name in ["a", "b"] {
        std::fs::write(dir.path().join(format!("pipelines/{name}.yaml")), "source: {}\n").unwrap();
    }
    std::fs::write(states.join("a.json"), "{").unwrap();
    let place = douane_pipelines::config::load_place(&file).unwrap();
    douane_pipelines::key_home::KeyHome::init(&place.keys).unwrap();
    let service = Service::open(&file, place).unwrap();
    service.loggers.set("root", Level::Off, Timestamp::now());
    use crate::store::TargetState::{Running, Stopped};
    let target = |name: &str| service.fleet.get(name).unwrap().state().saved.target;
    assert_eq!([target("a"), target("b")], [Stopped, Running]);
    // The folder where deleted pipelines are kept cannot be made: the connector stays, and is stopped.
    std::fs::write(states.join("removed"), "in the way").unwrap();
    let b = service.fleet.get("b").unwrap();
    assert!(service.fleet.remove(&b).is_err());
    assert_eq!(target("b"), Stopped);
    std::fs::remove_file(states.join("removed")).unwrap();
    assert!(service.fleet.remove(&b).unwrap());
    assert!(service.fleet.get("b").is_none());
}

/// Where a value of a secret stands in an answer, in any form that programs write one in.
fn echoed(answer: &Answer, secrets: &[&str]) -> bool {
    let scanner = douane_pipelines::leaktest::Scanner::new(secrets.iter().copied());
    let shown = format!("{}\n{:?}\n{:?}", answer.body, answer.headers, answer.content_type);
    !scanner.scan(shown.as_bytes()).is_empty()
}

#[test]
fn no_answer_to_anybody_holds_a_secret_that_was_said() {
    let rig = Rig::new("");
    let now = Timestamp::now();
    let secrets = ["canaryhunter2a9f31", "canaryinquery77c0", "canaryinheader5512"];
    let mut callers: Vec<Option<String>> =
        vec![None, Some(format!("Bearer {}", secrets[2])), Some(format!("Basic {}", secrets[2]))];
    let mut tokens = Vec::new();
    for role in Role::ALL {
        let token = rig.token(role.name(), &[role], now);
        callers.push(Some(format!("Bearer {token}")));
        tokens.push(token);
    }
    let all = rig.token("all", &Role::ALL, now);
    callers.push(Some(format!("Bearer {all}")));
    tokens.push(all.clone());
    let mut all_secrets: Vec<&str> = tokens.iter().map(String::as_str).collect();
    all_secrets.extend(secrets);
    let [secret, in_query, _] = secrets;
    // Bodies that are none, that are half of one, and that keep a secret under keys of all kinds.
    let bodies = [
        String::new(),
        secret.to_owned(),
        format!("\"{secret}\""),
        format!("[\"{secret}\"]"),
        format!("{{\"{secret}\": \"{secret}\""),
        format!(
            "{{\"connector.class\":\"Pipeline\",\"sasl.password\":\"{secret}\",\
             \"description\":\"a\\n{secret}\",\"level\":{{\"x\":\"{secret}\"}}}}"
        ),
        format!(
            "{{\"name\":\"a\",\"config\":{{\"connector.class\":\"Pipeline\",\
             \"ssl.key.password\":\"{secret}\"}}}}"
        ),
        format!("{{\"payloadType\":\"x\",\"payload\":\"{secret}\",\"signatures\":[]}}"),
        format!("{{\"offsets\":[{{\"partition\":{{\"x\":\"{secret}\"}},\"offset\":null}}]}}"),
    ];
    let mut answers = 0;
    for (method, path) in operations(&rig, Some(&format!("Bearer {all}"))) {
        for said in &callers {
            for body in &bodies {
                let mut headers = BTreeMap::from([
                    ("host".to_owned(), "127.0.0.1".to_owned()),
                    ("content-type".to_owned(), "application/json".to_owned()),
                    ("x-api-key".to_owned(), secrets[2].to_owned()),
                ]);
                headers.extend(said.iter().map(|said| ("authorization".to_owned(), said.clone())));
                let name = |name: &str| (name.to_owned(), "a".to_owned());
                let query = |key: &str| (key.to_owned(), in_query.to_owned());
                let answer = rig.service.handle(&Asked {
                    path: Some(path),
                    method: method.clone(),
                    params: BTreeMap::from(["c", "n", "p", "l"].map(name)),
                    query: vec![query("token"), query("expand"), query("scope"), query("level")],
                    headers,
                    body: body.as_bytes().to_vec(),
                });
                assert!(!echoed(&answer, &all_secrets), "{method} {path}: {answer:?}");
                assert!(answer.status < 500 || answer.status == 503, "{method} {path}: {answer:?}");
                answers += 1;
            }
        }
    }
    assert_eq!(answers, ROUTES.len() * callers.len() * bodies.len());
    // The control: what is echoed is seen, plain and encoded, in a body and in a header.
    for shown in [secret.to_owned(), BASE64.encode(secret.as_bytes()), secret.to_uppercase()] {
        assert!(echoed(&Answer::error(400, &format!("no such key: {shown}")), &all_secrets));
        let headed = Answer::empty(204).header("Location", format!("/connectors/{shown}"));
        assert!(echoed(&headed, &all_secrets), "{shown}");
    }
}

#[test]
fn what_the_place_wants_two_persons_for_is_done_by_the_second_and_both_are_in_the_ledger() {
    use douane_ledger::log::Entry;
    let rig = Rig::new("serve: { two_persons: [delete, stop, revoke] }\n");
    let now = Timestamp::now();
    let said = |name: &str| format!("Bearer {}", rig.token(name, &[Role::Operator], now));
    let (ada, bo) = (said("ada"), said("bo"));
    let named = [("c", "customers")];
    let call = |method: &str, path: &'static str, who: &str| {
        rig.call_with(method, path, Some(who), "h", &named, "").status
    };
    let delete = "/connectors/{c}";
    assert_eq!(call("DELETE", delete, &ada), 202);
    assert_eq!(call("DELETE", delete, &ada), 202, "twice the same person is one");
    assert_eq!(call("DELETE", delete, &bo), 404, "it is looked at now: there is no such connector");
    assert_eq!(call("PUT", "/connectors/{c}/stop", &bo), 202);
    // What is not named is done at once.
    assert_eq!(call("PUT", "/connectors/{c}/resume", &bo), 404);
    let revoke = "/v1/pipelines/{c}/revocations";
    let first = rig.call_with("POST", revoke, Some(&ada), "h", &named, "{}");
    assert_eq!((first.status, first.body.contains("revoke")), (202, true), "{first:?}");
    assert_eq!(rig.call_with("POST", revoke, Some(&bo), "h", &named, "{ }").status, 202);
    assert_eq!(rig.call_with("POST", revoke, Some(&bo), "h", &named, "{}").status, 404);
    rig.service.end();
    let who: Vec<(String, u16)> = calls(&rig)
        .chunks(2)
        .map(|pair| match pair {
            [Entry::Called { by, .. }, Entry::Answered { status, .. }] => (by.clone(), *status),
            other => panic!("{other:?}"),
        })
        .collect();
    let who: Vec<(&str, u16)> = who.iter().map(|(by, status)| (by.as_str(), *status)).collect();
    let expected = [
        ("ada", 202),
        ("ada", 202),
        ("bo", 404),
        ("bo", 202),
        ("bo", 404),
        ("ada", 202),
        ("bo", 202),
        ("bo", 404),
    ];
    assert_eq!(who, expected);
}

#[test]
fn who_shows_no_token_is_neither_of_two_persons() {
    let rig = Rig::new("serve: { anonymous: [operator], two_persons: [stop] }\n");
    let ada = format!("Bearer {}", rig.token("ada", &[Role::Operator], Timestamp::now()));
    let named = [("c", "customers")];
    let call = |action: &'static str, who: Option<&str>| {
        rig.call_with("PUT", action, who, "127.0.0.1:8083", &named, "").status
    };
    let stop = "/connectors/{c}/stop";
    assert_eq!(call(stop, None), 403);
    assert_eq!(call(stop, Some(&ada)), 202, "ada is the first");
    assert_eq!(call(stop, None), 403, "and nobody the second");
    // Control: what one may do alone, nobody in particular may do.
    assert_eq!(call("/connectors/{c}/resume", None), 404);
}

#[test]
fn a_first_call_counts_while_its_token_has_the_right() {
    let rig = Rig::new("serve: { two_persons: [stop] }\n");
    let now = Timestamp::now();
    let file = rig.service.place.serve.tokens.clone();
    let named = [("c", "customers")];
    let stop = |token: &str| {
        let said = format!("Bearer {token}");
        rig.call_with("PUT", "/connectors/{c}/stop", Some(&said), "h", &named, "").status
    };
    let bo = rig.token("bo", &[Role::Operator], now);
    // Control: with its right it is the first of two.
    let ada = rig.token("ada", &[Role::Operator], now);
    assert_eq!((stop(&ada), stop(&bo)), (202, 404));
    let changes: [(&str, &dyn Fn()); 3] = [
        ("revoked", &|| tokens::revoke(&file, "ada").unwrap()),
        ("renewed under its name", &|| drop(rig.token("ada", &[Role::Operator], now))),
        ("of another role", &|| {
            let text = std::fs::read_to_string(&file).unwrap();
            let at = text.rfind("operator").unwrap();
            let text = format!("{}auditor{}", &text[..at], &text[at + "operator".len()..]);
            crate::store::replace(&file, 0o600, text.as_bytes()).unwrap();
        }),
    ];
    for (what, change) in changes {
        let ada = rig.token("ada", &[Role::Operator], now);
        assert_eq!(stop(&ada), 202, "{what}");
        change();
        assert_eq!(stop(&bo), 202, "{what}: the one who is left is the first");
        let cy = rig.token("cy", &[Role::Operator], now);
        assert_eq!(stop(&cy), 404, "{what}: and somebody else the second");
    }
}

/// After a restart nothing of it has begun: the file says which pipelines there are, and their ledgers lie
/// where they lay.
#[test]
fn what_is_stopped_is_seen_with_its_ledger() {
    use crate::store::{Saved, TargetState};
    use douane_ledger::log::{Entry, Log, LogKeys};
    use douane_ledger::signing::SigningKey;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("pipelines")).unwrap();
    std::fs::write(dir.path().join("pipelines/p.yaml"), STOPPED).unwrap();
    let file = dir.path().join("douane.yaml");
    std::fs::write(&file, format!("{PLACE}serve: {{ anonymous: [auditor] }}\n")).unwrap();
    let place = douane_pipelines::config::load_place(&file).unwrap();
    douane_pipelines::key_home::KeyHome::init(&place.keys).unwrap();
    let home = place.ledger_dir.join("p");
    let mut log = Log::control(&home, "control", LogKeys::new(&[1; 32], &[2; 32])).unwrap();
    log.append(&Entry::Refused { refused: Vec::new() }).unwrap();
    log.sync().unwrap();
    let signer = SigningKey::from_seed(&[3; 32]).unwrap();
    log.publish(u64::MAX, &signer, "douane/p/control").unwrap();
    drop(log);
    let service = Arc::new(Service::open(&file, place).unwrap());
    service.loggers.set("root", Level::Off, Timestamp::now());
    let rig = Rig { dir, service };
    let get = |path: &'static str, params: &[(&str, &str)]| -> Value {
        let answer = rig.call_with("GET", path, None, "127.0.0.1:8083", params, "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let named = [("c", "p"), ("l", "control")];
    for (target, word) in [
        (TargetState::Running, "starting"),
        (TargetState::Stopped, "stopped"),
        (TargetState::Paused, "paused"),
    ] {
        rig.service.fleet.get("p").unwrap().aim(Saved { target, config: None });
        let all = get("/v1/partitions", &[]);
        let one = &all["pipelines"][0];
        assert_eq!((&one["pipeline"], &one["state"]), (&"p".into(), &word.into()), "{all}");
        let heads = get("/v1/pipelines/{c}/ledger", &named);
        assert_eq!(heads["heads"][0]["size"], 1, "{heads}");
        let files = get("/v1/pipelines/{c}/ledger/{l}/files", &named);
        assert!(files["files"].as_array().unwrap().len() > 3, "{files}");
    }
    // What of it runs is told by who runs it: no task is known.
    let tasks = get("/connectors/{c}/status", &named);
    assert_eq!(tasks["tasks"], serde_json::json!([]));
    // A file that nobody reads says why.
    std::fs::write(rig.dir.path().join("pipelines/p.yaml"), "source: {}\n").unwrap();
    let all = get("/v1/partitions", &[]);
    assert_eq!(all["pipelines"][0]["state"], "failed", "{all}");
}
