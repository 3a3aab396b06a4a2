//! The whole matrix of routes and callers, and what a call leaves in the ledger.

use std::collections::BTreeSet;

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
        Self::of(more, None)
    }

    /// With a connector `p` of this file, if any.
    fn of(more: &str, p: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Some(text) = p {
            std::fs::create_dir_all(dir.path().join("pipelines")).unwrap();
            std::fs::write(dir.path().join("pipelines/p.yaml"), text).unwrap();
        }
        let file = dir.path().join("douane.yaml");
        std::fs::write(&file, format!("{PLACE}{more}")).unwrap();
        let place = douane_pipelines::config::load_place(&file).unwrap();
        douane_pipelines::key_home::KeyHome::init(&place.keys).unwrap();
        let service = Arc::new(Service::open(&file, place).unwrap());
        service.loggers.set("root", Level::Off, Timestamp::now());
        service.started.store(true, Ordering::Relaxed);
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
            arrived: Instant::now(),
            from: None,
            path: Some(path),
            method: method.to_owned(),
            params,
            query: Vec::new(),
            headers,
            body: body.as_bytes().to_vec(),
        })
    }
}

#[test]
fn while_it_starts_it_says_so_and_does_nothing() {
    let rig = Rig::new("");
    let now = Timestamp::now();
    let token = format!("Bearer {}", rig.token("all", &Role::ALL, now));
    let said = |method: &str, path: &'static str| {
        let answer = rig.call(method, path, Some(&token));
        (answer.status, answer.body)
    };
    rig.service.started.store(false, Ordering::Relaxed);
    let starting = "{\"message\":\"Worker is still starting up.\",\"status\":\"starting\"}";
    let (status, body) = said("GET", "/health");
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        serde_json::from_str::<Value>(starting).unwrap()
    );
    assert_eq!(status, 503);
    for (method, path) in [("GET", "/connectors"), ("POST", "/connectors"), ("GET", "/")] {
        let (status, body) = said(method, path);
        assert!(status == 503 && body.contains(STARTING), "{path}: {status} {body}");
    }
    assert_eq!(rig.call("GET", "/connectors", None).status, 401, "nobody is told even that");
    assert_eq!((said("GET", "/livez").0, said("GET", "/metrics").0), (200, 200));
    rig.service.started.store(true, Ordering::Relaxed);
    for path in ["/health", "/connectors", "/"] {
        assert_eq!(said("GET", path).0, 200, "{path}");
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
fn a_second_service_of_a_place_is_told_what_the_first_one_holds() {
    let rig = Rig::new("");
    let file = rig.dir.path().join("douane.yaml");
    let open = || Service::open(&file, douane_pipelines::config::load_place(&file).unwrap());
    let said = open().err().expect("the first one holds the place").to_string();
    for part in ["another `douane serve` runs here", "_serve/control/lock\n  next: end that one"] {
        assert!(said.contains(part), "{said}");
    }
    // The control: when the first one is gone, there is nothing to say.
    let Rig { dir, service } = rig;
    drop(service);
    assert!(open().is_ok());
    drop(dir);
}

#[test]
fn in_a_group_whatever_changes_a_connector_may_wait_for_the_clusters() {
    for route in ROUTES {
        assert_eq!(reaches(route, false), route.reaches, "{}", route.path);
        let is_record = route.path.starts_with("/connectors") || route.path == "/admin/loggers/{l}";
        let of_group = route.changes && is_record;
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
        let arrived = Instant::now();
        rig.service
            .handle(&Asked {
                arrived,
                from: None,
                path: None,
                method,
                params,
                query,
                headers,
                body,
            })
            .status
    };
    assert_eq!([nowhere(None), nowhere(callers[5].1.as_deref())], [401, 404]);
}

#[test]
fn metrics_show_accounts_of_budgets_to_whoever_may_read_them_and_to_nobody_else() {
    let rig = Rig::new("");
    let shown = Role::ALL.map(|role| {
        let said = format!("Bearer {}", rig.token(role.name(), &[role], Timestamp::now()));
        let metrics = rig.call("GET", "/metrics", Some(&said));
        assert!(metrics.body.contains("# TYPE douane_up gauge"), "{role:?} has the others");
        let is_shown = metrics.body.contains("douane_budget_rho_left");
        assert_eq!(is_shown, rig.call("GET", "/v1/budget", Some(&said)).status == 200, "{role:?}");
        is_shown
    });
    assert_eq!(shown, [false, true, false, true]);
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
                arrived: Instant::now(),
                from: None,
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

/// Each may hold the others up for long: those that only ask go on being answered, and who is told no can ask again.
#[test]
fn changes_that_wait_for_each_other_leave_room_and_none_begins_after_its_caller_gave_up() {
    let rig = Arc::new(Rig::of("serve: { anonymous: [operator, auditor] }\n", Some(STOPPED)));
    let pause = |rig: &Rig, arrived: Instant| {
        rig.service.handle(&Asked {
            arrived,
            from: None,
            path: Some("/connectors/{c}/pause"),
            method: "PUT".to_owned(),
            params: BTreeMap::from([("c".to_owned(), "p".to_owned())]),
            query: Vec::new(),
            headers: BTreeMap::from([("host".to_owned(), "localhost".to_owned())]),
            body: Vec::new(),
        })
    };
    let one = rig.service.fleet.changing();
    let waiting: Vec<_> = (0..CHANGES_MAX)
        .map(|_| {
            let rig = Arc::clone(&rig);
            std::thread::spawn(move || pause(&rig, Instant::now()).status)
        })
        .collect();
    while rig.service.changing.load(Ordering::Relaxed) < CHANGES_MAX {
        std::thread::yield_now();
    }
    let more = pause(&rig, Instant::now());
    assert!(more.status == 409 && more.body.contains("conflicting operation"), "{}", more.body);
    assert_eq!(rig.call("GET", "/connectors", None).status, 200);
    drop(one);
    let answered: Vec<u16> = waiting.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(answered, [202; CHANGES_MAX]);
    assert_eq!(rig.service.changing.load(Ordering::Relaxed), 0, "given back");
    // One that lay before a thread took it.
    let began = calls(&rig).len();
    let late = pause(&rig, Instant::now().checked_sub(CHANGE_WAITS).unwrap());
    assert!(late.status == 503 && late.body.contains("nothing was done"), "{}", late.body);
    assert_eq!(calls(&rig).len(), began, "nor does the ledger say that it was asked");
    assert_eq!(pause(&rig, Instant::now()).status, 202, "the control");
}

/// As Kafka Connect begins a failed connector again, with its tasks or without them.
#[test]
fn a_connector_that_failed_is_begun_again_by_any_restart() {
    let restart = |failed: bool, flags: &[&str]| {
        let rig = Rig::of("serve: { anonymous: [operator] }\n", Some(STOPPED));
        let connector = rig.service.fleet.get("p").unwrap();
        if failed {
            connector.no_thread();
        }
        let answer = rig.service.handle(&Asked {
            arrived: Instant::now(),
            from: None,
            path: Some("/connectors/{c}/restart"),
            method: "POST".to_owned(),
            params: BTreeMap::from([("c".to_owned(), "p".to_owned())]),
            query: flags.iter().map(|flag| ((*flag).to_owned(), "true".to_owned())).collect(),
            headers: BTreeMap::from([("host".to_owned(), "localhost".to_owned())]),
            body: Vec::new(),
        });
        let begun = !connector.has_left(Duration::ZERO);
        assert!(rig.service.fleet.end(Duration::from_secs(20)));
        let body = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
        (answer.status, body["connector"]["state"].as_str().map(str::to_owned), begun)
    };
    let restarting = Some("RESTARTING".to_owned());
    assert_eq!(restart(true, &[]), (204, None, true));
    assert_eq!(restart(true, &["onlyFailed"]), (202, restarting.clone(), true));
    assert_eq!(restart(true, &["includeTasks", "onlyFailed"]), (202, restarting, true));
    // The controls: what has not failed is not touched.
    assert_eq!(restart(false, &[]), (204, None, false));
    assert_eq!(restart(false, &["onlyFailed"]), (202, Some("RUNNING".to_owned()), false));
}

/// As of Kafka Connect, whose configs of tasks outlast it: none of one that never ran.
#[test]
fn what_was_paused_after_it_ran_has_its_tasks_also_after_a_restart_of_the_process() {
    const SERVE: &str = "tasks: 2\nserve: { anonymous: [operator, auditor] }\n";
    let of_p = [("c", "p")];
    let seen = |rig: &Rig| {
        let get = |path| rig.call_with("GET", path, None, "localhost", &of_p, "");
        let json = |path| serde_json::from_str::<Value>(&get(path).body).unwrap();
        let status = json("/connectors/{c}/status");
        let states = status["tasks"].as_array().unwrap().iter();
        let states: Vec<String> = states.map(|t| t["state"].as_str().unwrap().to_owned()).collect();
        assert_eq!(json("/connectors/{c}")["tasks"].as_array().unwrap().len(), states.len());
        assert_eq!(json("/connectors/{c}/tasks").as_array().unwrap().len(), states.len());
        states
    };
    let pause = |rig: &Rig| {
        rig.call_with("PUT", "/connectors/{c}/pause", None, "localhost", &of_p, "").status
    };
    for (runs, expected) in [(true, vec!["PAUSED"; 2]), (false, Vec::new())] {
        let rig = Rig::of(SERVE, Some(STOPPED));
        let connector = rig.service.fleet.get("p").unwrap();
        if runs {
            rig.service.fleet.start();
            while connector.state().members.is_empty() {
                std::thread::yield_now();
            }
        }
        assert_eq!(pause(&rig), 202);
        assert!(rig.service.fleet.end(Duration::from_secs(20)));
        let Rig { dir, service } = rig;
        drop((connector, service));
        let file = dir.path().join("douane.yaml");
        let place = douane_pipelines::config::load_place(&file).unwrap();
        let service = Arc::new(Service::open(&file, place).unwrap());
        service.started.store(true, Ordering::Relaxed);
        assert_eq!(seen(&Rig { dir, service }), expected);
    }
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
    // The folder where deleted pipelines are kept cannot be made: the connector goes on as it was.
    std::fs::write(states.join("removed"), "in the way").unwrap();
    let b = service.fleet.get("b").unwrap();
    assert!(service.fleet.remove(&b).is_err());
    assert_eq!(target("b"), Running);
    std::fs::remove_file(states.join("removed")).unwrap();
    assert!(service.fleet.remove(&b).unwrap());
    assert!(service.fleet.get("b").is_none());
}

/// Of a folder that comes from elsewhere nothing is deleted and nothing changed; whoever asks goes on as he was.
#[test]
fn where_the_folder_of_pipelines_cannot_be_written_a_change_is_refused_before_anything_is_done() {
    const SERVE: &str = "serve: { anonymous: [author, operator] }\n";
    let rig = Rig::of(SERVE, Some(STOPPED));
    let pipelines = rig.dir.path().join("pipelines");
    let call = |method: &str, route, name: &str, body: &str| {
        rig.call_with(method, route, None, "localhost", &[("c", name), ("p", "Pipeline")], body)
    };
    let config = |name: &str, yaml: &str| {
        let keys = [("connector.class", "Pipeline"), ("name", name), ("douane.pipeline", yaml)];
        json!(BTreeMap::from(keys)).to_string()
    };
    let (one, validate) = ("/connectors/{c}", "/connector-plugins/{p}/config/validate");
    let connector = rig.service.fleet.get("p").unwrap();
    // Something stands where each new file is made before it takes its place.
    let in_the_way = ["p", "q"].map(|name| pipelines.join(format!(".{name}.yaml.new")));
    in_the_way.iter().for_each(|way| std::fs::create_dir(way).unwrap());
    let other = format!("{STOPPED}# another\n");
    let of_q = STOPPED.replace("name: p\n", "name: q\n").replace("p.release", "q.release");
    let put = "/connectors/{c}/config";
    for (method, route, name, body) in [
        ("DELETE", one, "p", String::new()),
        ("PUT", put, "p", config("p", &other)),
        ("PUT", put, "q", config("q", &of_q)),
    ] {
        let answer = call(method, route, name, &body);
        let is_told = answer.body.contains("cannot be written") && answer.body.contains("next: ");
        assert!(answer.status == 400 && is_told, "{method} {name}: {answer:?}");
    }
    let saved = connector.state().saved;
    assert_eq!((saved.target, saved.config), (store::TargetState::Running, None));
    assert!(rig.service.fleet.get("q").is_none());
    assert!(!rig.dir.path().join("state/serve/connectors/q.json").exists());
    // What changes no file is done, and what is wrong with a config is said.
    assert_eq!(call("PUT", put, "p", &config("p", STOPPED)).status, 200);
    let said = call("PUT", validate, "", &config("q", &of_q));
    assert!(said.status == 200 && said.body.contains("\"error_count\":0"), "{said:?}");
    let said = call("PUT", validate, "", &config("q", STOPPED));
    assert!(said.body.contains("the pipeline's `name` is `p`"), "{said:?}");
    // Control: once it can be written all of them are done.
    in_the_way.iter().for_each(|way| std::fs::remove_dir(way).unwrap());
    assert_eq!(call("PUT", put, "q", &config("q", &of_q)).status, 201);
    assert_eq!(call("PUT", put, "p", &config("p", &other)).status, 200);
    assert_eq!(call("DELETE", one, "p", "").status, 204);
    assert_eq!(std::fs::read_dir(&pipelines).unwrap().count(), 1);
    assert!(rig.service.fleet.end(Duration::from_secs(20)));
}

/// A zero would be read as that nothing is held.
#[test]
fn of_what_another_worker_runs_and_of_what_cannot_be_read_nothing_is_counted() {
    let rig = Rig::of("serve: { anonymous: [auditor] }\n", Some(STOPPED));
    let listed = || {
        let body = rig.call("GET", "/v1/pipelines", None).body;
        serde_json::from_str::<Value>(&body).unwrap()["pipelines"].clone()
    };
    let here = &listed()[0];
    assert_eq!((&here["records"], &here["held"]), (&json!(0), &json!([])), "control: {here}");
    let file = rig.dir.path().join("pipelines/p.yaml");
    std::fs::write(&file, "source: [\n").unwrap();
    let failed = &listed()[0];
    assert_eq!(failed["state"], "failed");
    let keys = |one: &Value| one.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(failed), ["connector", "pipeline", "state", "why"]);
    std::fs::write(&file, STOPPED).unwrap();
    rig.service.fleet.get("p").unwrap().runs(crate::connector::Runs::Elsewhere);
    let worker = rig.service.worker_id();
    let expected =
        json!([{"connector": "p", "pipeline": "p", "state": "elsewhere", "worker": worker}]);
    assert_eq!(listed(), expected);
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
                    arrived: Instant::now(),
                    from: None,
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

/// What asks the ledger's home and writes beside the release may take long: nobody waits for it, nor it for others.
#[test]
fn a_revocation_waits_for_no_other_change_and_none_waits_for_it() {
    let rig = Rig::of("serve: { anonymous: [operator] }\n", Some(STOPPED));
    let service = Arc::clone(&rig.service);
    let rig = Arc::new(rig);
    let asked = |method: &'static str, path: &'static str| {
        let (rig, (says, said)) = (Arc::clone(&rig), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            let host = "127.0.0.1:8083";
            let answer = rig.call_with(method, path, None, host, &[("c", "p")], "{}");
            let _ = says.send(answer.status);
        });
        said
    };
    let (long, short) = (Duration::from_secs(20), Duration::from_millis(300));
    let (revoke, pause) = ("/v1/pipelines/{c}/revocations", "/connectors/{c}/pause");
    let changing = service.fleet.changing();
    assert_eq!(asked("POST", revoke).recv_timeout(long), Ok(400), "it is no line, and is told so");
    // The control: of two changes of connectors the second waits.
    let paused = asked("PUT", pause);
    assert!(paused.recv_timeout(short).is_err());
    drop(changing);
    assert_eq!(paused.recv_timeout(long), Ok(202));
    // Calls that wait for the clusters take no place of it, and neither has it more than its own.
    service.reaching.store(REACHING_MAX, Ordering::Relaxed);
    assert_eq!(asked("POST", revoke).recv_timeout(long), Ok(400));
    service.apart.store(APART_MAX, Ordering::Relaxed);
    assert_eq!(asked("POST", revoke).recv_timeout(long), Ok(503));
    assert_eq!(asked("PUT", "/connectors/{c}/stop").recv_timeout(long), Ok(204));
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
    let rig = Rig::new("serve: { anonymous: [operator], two_persons: [stop, delete] }\n");
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
    let rig = Rig::new("serve: { two_persons: [stop, delete] }\n");
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
    service.started.store(true, Ordering::Relaxed);
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
        rig.service.fleet.get("p").unwrap().aim(Saved { target, ..Saved::default() });
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

/// Who may read is not who wrote the file: what stands in it is told by place and kind.
#[test]
fn no_reading_of_a_file_that_lies_here_shows_its_words() {
    let rig =
        Rig::of("serve: { anonymous: [author, approver, operator, auditor] }\n", Some(STOPPED));
    let text = STOPPED.replace("format: debezium_json", "format: canary-4711");
    assert_ne!(text, STOPPED);
    std::fs::write(rig.dir.path().join("pipelines/p.yaml"), &text).unwrap();
    let named = [("c", "p"), ("n", "0"), ("p", "Pipeline"), ("l", "control")];
    let mut told = BTreeSet::new();
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let answer = rig.call_with("GET", route.path, None, "127.0.0.1:8083", &named, "");
        assert!(!answer.body.contains("canary"), "{}: {}", route.path, answer.body);
        if answer.status == 400 && answer.body.contains("p.yaml:4:") {
            assert!(answer.body.contains("`douane lint FILE`"), "{}: {}", route.path, answer.body);
            told.insert(route.path);
        }
    }
    let of_files = ["status", "proof", "border", "releases", "quarantine"];
    let of_files = of_files.map(|what| format!("/v1/pipelines/{{c}}/{what}"));
    for path in of_files.iter().map(String::as_str).chain(["/connectors/{c}/offsets"]) {
        assert!(told.contains(path), "{path}: {told:?}");
    }
    // The control: who sends the file is told its words.
    let body = serde_json::json!({
        "name": "p", "connector.class": "Pipeline", "douane.pipeline": text,
    });
    let validate = "/connector-plugins/{p}/config/validate";
    let answer = rig.call_with("PUT", validate, None, "127.0.0.1:8083", &named, &body.to_string());
    assert!(answer.body.contains("canary-4711"), "{}", answer.body);
}
