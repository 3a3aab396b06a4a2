//! Every route: who may call it, whether it changes anything, and what answers it. The router, the
//! matrix of roles, OpenAPI and the ledger's words all come from this list.

use douane_pipelines::config::Act;
use douane_pipelines::config::Role::{self, Approver, Auditor, Author, Operator};
use douane_pipelines::quarantine::LIST_MAX;

use crate::api;
use crate::call::{Answer, Call};
use crate::page;
use crate::service::Service;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anybody, without a token.
    Open,
    /// Whoever has one of these roles.
    Roles(&'static [Role]),
}

/// A key of a query, as a handler reads it. What is not declared here reaches no handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: &'static str,
    pub kind: ParamKind,
    pub about: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    Text,
    /// Whatever is not `true` is false.
    Flag,
    /// At most this.
    Count(u64),
    /// Any of them, each in a key of its own; others say nothing.
    Words(&'static [&'static str]),
    /// One of them; another is taken for the first.
    Word(&'static [&'static str]),
}

/// What a body of JSON holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Name, config, state to begin with.
    Connector,
    Config,
    /// Keys of a config; null takes one away.
    Patch,
    Offsets,
    Level,
    /// An envelope of DSSE.
    Signed,
}

const fn param(name: &'static str, kind: ParamKind, about: &'static str) -> Param {
    Param { name, kind, about }
}

const LOG: Param = param("pipeline", ParamKind::Text, "Of a file of several, whose log.");

/// One method of one path.
pub struct Route {
    pub method: &'static str,
    /// Parameters in braces.
    pub path: &'static str,
    pub who: Who,
    /// It may change something: it is written into the ledger before anything is done.
    pub changes: bool,
    /// What it is, where a place may want two persons for it.
    pub act: Option<Act>,
    /// Its body is JSON, and what it holds.
    pub body: Option<Body>,
    /// Keys of its query.
    pub query: &'static [Param],
    /// It asks the clusters, and may wait for them.
    pub reaches: bool,
    /// It changes no connector, and may take long: no other change waits for it, nor it for them.
    pub is_apart: bool,
    /// What it answers is no JSON, whatever the caller says to take.
    pub is_bytes: bool,
    pub summary: &'static str,
    pub answer: fn(&Service, &Call) -> Answer,
}

const READ: Who = Who::Roles(&[Author, Approver, Operator, Auditor]);
const WRITE: Who = Who::Roles(&[Author]);
const OPERATE: Who = Who::Roles(&[Operator]);
const REMOVE: Who = Who::Roles(&[Author, Operator]);
const CHECK: Who = Who::Roles(&[Author, Approver, Operator]);
const REVOKE: Who = Who::Roles(&[Approver, Operator]);
const EVIDENCE: Who = Who::Roles(&[Approver, Auditor]);
const OVERSEE: Who = Who::Roles(&[Operator, Auditor]);

type Handler = fn(&Service, &Call) -> Answer;

const fn route(
    method: &'static str,
    path: &'static str,
    who: Who,
    summary: &'static str,
    answer: Handler,
) -> Route {
    let (changes, reaches, is_apart, is_bytes) = (false, false, false, false);
    let (act, body) = (None, None);
    let query = &[];
    Route {
        method,
        path,
        who,
        changes,
        act,
        body,
        query,
        reaches,
        is_apart,
        is_bytes,
        summary,
        answer,
    }
}

const fn get(path: &'static str, who: Who, summary: &'static str, answer: Handler) -> Route {
    route("GET", path, who, summary, answer)
}

const fn change(
    method: &'static str,
    path: &'static str,
    who: Who,
    summary: &'static str,
    answer: Handler,
) -> Route {
    Route { changes: true, ..route(method, path, who, summary, answer) }
}

const fn with_body(body: Body, route: Route) -> Route {
    Route { body: Some(body), ..route }
}

const fn with_query(query: &'static [Param], route: Route) -> Route {
    Route { query, ..route }
}

const fn is(act: Act, route: Route) -> Route {
    Route { act: Some(act), ..route }
}

const fn reaching(route: Route) -> Route {
    Route { reaches: true, ..route }
}

const fn apart(route: Route) -> Route {
    Route { is_apart: true, ..route }
}

const fn bytes(route: Route) -> Route {
    Route { is_bytes: true, ..route }
}

/// All of them, one path's methods together.
pub const ROUTES: &[Route] = &[
    // Of Kafka Connect.
    get("/", READ, "Versions, and the id of the sovereign cluster", api::worker::root),
    get("/health", READ, "Whether the service has started", api::worker::health),
    get("/livez", Who::Open, "Whether the process answers", api::worker::livez),
    with_query(
        &[param(
            "expand",
            ParamKind::Words(&["status", "info"]),
            "What of each is answered; may be given twice.",
        )],
        get(
            "/connectors",
            READ,
            "Names, or with `expand` their info and status",
            api::connectors::list,
        ),
    ),
    is(
        Act::Write,
        with_body(
            Body::Connector,
            change("POST", "/connectors", WRITE, "Creates a connector", api::connectors::create),
        ),
    ),
    get("/connectors/{c}", READ, "Config and tasks", api::connectors::info),
    is(
        Act::Delete,
        change("DELETE", "/connectors/{c}", REMOVE, "Deletes a connector", api::connectors::delete),
    ),
    get("/connectors/{c}/config", READ, "Config", api::connectors::config),
    is(
        Act::Write,
        with_body(
            Body::Config,
            change(
                "PUT",
                "/connectors/{c}/config",
                WRITE,
                "Creates or changes a connector",
                api::connectors::put_config,
            ),
        ),
    ),
    is(
        Act::Write,
        with_body(
            Body::Patch,
            change(
                "PATCH",
                "/connectors/{c}/config",
                WRITE,
                "Changes keys of a config; null removes one",
                api::connectors::patch_config,
            ),
        ),
    ),
    get("/connectors/{c}/status", READ, "States of connector and tasks", api::lifecycle::status),
    is(Act::Stop, change("PUT", "/connectors/{c}/pause", OPERATE, "Pauses", api::lifecycle::pause)),
    is(
        Act::Start,
        change("PUT", "/connectors/{c}/resume", OPERATE, "Resumes", api::lifecycle::resume),
    ),
    is(Act::Stop, change("PUT", "/connectors/{c}/stop", OPERATE, "Stops", api::lifecycle::stop)),
    is(
        Act::Start,
        with_query(
            &[
                param(
                    "includeTasks",
                    ParamKind::Flag,
                    "Restarts tasks: there is nothing else in a connector.",
                ),
                param("onlyFailed", ParamKind::Flag, "Of the tasks those that failed."),
            ],
            change("POST", "/connectors/{c}/restart", OPERATE, "Restarts", api::lifecycle::restart),
        ),
    ),
    get("/connectors/{c}/tasks", READ, "Tasks", api::lifecycle::tasks),
    get("/connectors/{c}/tasks/{n}/status", READ, "State of a task", api::lifecycle::task_status),
    is(
        Act::Start,
        change(
            "POST",
            "/connectors/{c}/tasks/{n}/restart",
            OPERATE,
            "Restarts what a task belongs to",
            api::lifecycle::restart_task,
        ),
    ),
    reaching(get(
        "/connectors/{c}/offsets",
        READ,
        "What has crossed, by partition",
        api::offsets::read,
    )),
    reaching(with_body(
        Body::Offsets,
        change(
            "PATCH",
            "/connectors/{c}/offsets",
            OPERATE,
            "Refused but for what changes nothing: see docs/serve.md",
            api::offsets::alter,
        ),
    )),
    reaching(change(
        "DELETE",
        "/connectors/{c}/offsets",
        OPERATE,
        "Refused: see docs/serve.md",
        api::offsets::reset,
    )),
    get("/connectors/{c}/topics", READ, "Source topics in use", api::topics::read),
    change("PUT", "/connectors/{c}/topics/reset", OPERATE, "Forgets them", api::topics::reset),
    get("/connector-plugins", READ, "What a connector can be", api::plugins::list),
    with_query(
        &[param("version", ParamKind::Text, "There is one version; another is an error.")],
        get("/connector-plugins/{p}/config", READ, "Its keys", api::plugins::definitions),
    ),
    Route {
        changes: false,
        ..with_body(
            Body::Config,
            change(
                "PUT",
                "/connector-plugins/{p}/config/validate",
                CHECK,
                "What is wrong with a config, by key",
                api::plugins::validate,
            ),
        )
    },
    get("/admin/loggers", READ, "Levels of logs", api::admin::list),
    get("/admin/loggers/{l}", READ, "Level of one log", api::admin::read),
    with_query(
        &[param(
            "scope",
            ParamKind::Word(&["worker", "cluster"]),
            "`cluster`: at all workers, and nothing is answered but that it is done.",
        )],
        with_body(
            Body::Level,
            change("PUT", "/admin/loggers/{l}", OPERATE, "Sets a level", api::admin::set),
        ),
    ),
    // The page for people: files of the program, and nothing else.
    get("/page", Who::Open, "The page for people", page::index),
    get("/page/{f}", Who::Open, "Its files", page::file),
    // Its own.
    get("/metrics", READ, "Metrics, as Prometheus reads them", api::metrics::read),
    get("/v1/openapi.json", READ, "This list, as OpenAPI 3.1", api::openapi::read),
    get("/v1/pipelines", READ, "Pipelines and what became of them", api::v1::pipelines),
    reaching(get(
        "/v1/pipelines/{c}/status",
        READ,
        "State, lag and holds, as `douane status` reads them",
        api::v1::status,
    )),
    reaching(get(
        "/v1/pipelines/{c}/proof",
        READ,
        "Proof and release, as `douane explain` shows them",
        api::v1::proof,
    )),
    get("/v1/pipelines/{c}/ledger", EVIDENCE, "Heads of its logs", api::v1::ledger),
    is(
        Act::Revoke,
        apart(with_body(
            Body::Signed,
            change(
                "POST",
                "/v1/pipelines/{c}/revocations",
                REVOKE,
                "Stops its release, by a line that a revoker signed",
                api::v1::revoke,
            ),
        )),
    ),
    with_query(
        &[LOG],
        get(
            "/v1/pipelines/{c}/ledger/{l}/files",
            EVIDENCE,
            "Files of a log, with their sizes",
            api::evidence::files,
        ),
    ),
    bytes(with_query(
        &[
            LOG,
            param("file", ParamKind::Text, "The first file, by name; without it the first of all."),
            param("offset", ParamKind::Count(u64::MAX), "Where in that file."),
            param("one", ParamKind::Flag, "That file alone."),
        ],
        get(
            "/v1/pipelines/{c}/ledger/{l}/bytes",
            EVIDENCE,
            "Bytes of a log's files, from `file` and `offset` on, as docs/page.md frames them",
            api::evidence::bytes,
        ),
    )),
    get(
        "/v1/partitions",
        READ,
        "Partitions of all pipelines, as last read",
        api::views::partitions,
    ),
    reaching(get(
        "/v1/pipelines/{c}/border",
        READ,
        "Proof over the leaves of the release, and what is held",
        api::views::border,
    )),
    reaching(get(
        "/v1/pipelines/{c}/releases",
        READ,
        "The release in force, the draft that waits, what changes, who signed",
        api::views::releases,
    )),
    reaching(with_query(
        &[
            param(
                "limit",
                ParamKind::Count(LIST_MAX as u64),
                "Records that are named; sums are of all.",
            ),
            param("table", ParamKind::Text, "Of a file of several, whose records."),
        ],
        get(
            "/v1/pipelines/{c}/quarantine",
            OVERSEE,
            "Records that were set aside, by place and code",
            api::views::quarantine,
        ),
    )),
    get("/v1/budget", EVIDENCE, "Accounts of privacy budgets", api::v1::budget),
];

/// Whether a path is anybody's.
pub fn is_open(path: &str) -> bool {
    ROUTES.iter().any(|route| route.path == path && route.who == Who::Open)
}

/// Whether who has these roles may read what a path answers: what shows the same elsewhere asks here.
pub fn may_read(path: &str, roles: &[Role]) -> bool {
    let is_it = |route: &&Route| route.path == path && route.method == "GET";
    match ROUTES.iter().find(is_it).map(|route| route.who) {
        Some(Who::Open) => true,
        Some(Who::Roles(needed)) => roles.iter().any(|role| needed.contains(role)),
        None => false,
    }
}

/// Methods of a path, in the order in which `Allow` has them.
pub fn methods(path: &str) -> Vec<&'static str> {
    let has = |method: &&str| ROUTES.iter().any(|r| r.path == path && r.method == *method);
    let mut methods: Vec<&'static str> = Vec::new();
    if has(&"GET") {
        methods.push("HEAD");
    }
    methods.extend(["POST", "GET", "PUT", "PATCH", "DELETE"].into_iter().filter(has));
    methods.push("OPTIONS");
    methods
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_route_stands_once_and_whatever_is_no_get_says_whether_it_changes_something() {
        for (at, route) in ROUTES.iter().enumerate() {
            let same = |r: &Route| r.method == route.method && r.path == route.path;
            assert!(!ROUTES[..at].iter().any(same), "{} {}", route.method, route.path);
            assert_eq!(
                route.method == "GET",
                !route.changes && route.body.is_none(),
                "{}",
                route.path
            );
        }
        // Those that are called without a token, and the one PUT that changes nothing.
        let open: Vec<_> = ROUTES.iter().filter(|r| r.who == Who::Open).map(|r| r.path).collect();
        assert_eq!(open, ["/livez", "/page", "/page/{f}"]);
        let asks: Vec<_> =
            ROUTES.iter().filter(|r| r.method != "GET" && !r.changes).map(|r| r.path).collect();
        assert_eq!(asks, ["/connector-plugins/{p}/config/validate"]);
    }

    /// Every key of a query that a file of `api` reads, by the text of its code: each is declared, and
    /// nothing is declared that none reads.
    #[test]
    fn whatever_is_read_of_a_query_is_declared() {
        let declared: BTreeSet<&str> =
            ROUTES.iter().flat_map(|route| route.query).map(|param| param.name).collect();
        let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
        let files = std::fs::read_dir(api).unwrap().map(|file| file.unwrap().path());
        let read: BTreeSet<String> =
            files.flat_map(|file| keys_read(&std::fs::read_to_string(file).unwrap())).collect();
        assert_eq!(read.iter().map(String::as_str).collect::<BTreeSet<_>>(), declared);
        for route in ROUTES {
            let names: BTreeSet<&str> = route.query.iter().map(|param| param.name).collect();
            assert_eq!(names.len(), route.query.len(), "{}", route.path);
        }
    }

    fn keys_read(code: &str) -> Vec<String> {
        let begins = [".query(\"", ".flag(\"", "k == \""];
        let after = |begin| code.split(begin).skip(1).filter_map(|rest| rest.split('"').next());
        begins.into_iter().flat_map(after).map(str::to_owned).collect()
    }

    #[test]
    fn control_a_key_that_is_read_is_found() {
        let code = "call.query(\"a\").or(call.flag(\"b\")); q.iter().filter(|(k, _)| k == \"c\")";
        assert_eq!(keys_read(code), ["a", "b", "c"]);
    }

    #[test]
    fn what_may_be_read_is_what_the_list_says() {
        for (role, budget) in
            [(Author, false), (Operator, false), (Approver, true), (Auditor, true)]
        {
            assert_eq!(may_read("/v1/budget", &[role]), budget, "{role:?}");
            assert!(may_read("/metrics", &[role]), "{role:?}");
        }
        assert!(may_read("/v1/budget", &[Author, Auditor]) && !may_read("/v1/budget", &[]));
        assert!(may_read("/livez", &[]) && !may_read("/nowhere", &Role::ALL));
    }

    #[test]
    fn an_auditor_changes_nothing_and_an_approver_stops_releases_alone() {
        for route in ROUTES.iter().filter(|route| route.changes) {
            let Who::Roles(roles) = route.who else { panic!("{} is open", route.path) };
            assert!(!roles.contains(&Auditor), "{}", route.path);
            let stops = route.act == Some(Act::Revoke);
            assert_eq!(roles.contains(&Approver), stops, "{}", route.path);
        }
    }

    /// What is never asked twice for: it changes nothing that runs.
    #[test]
    fn whatever_changes_what_runs_can_be_for_two_persons() {
        let alone: Vec<_> = ROUTES
            .iter()
            .filter(|route| route.changes && route.act.is_none())
            .map(|route| (route.method, route.path))
            .collect();
        let expected = [
            ("PATCH", "/connectors/{c}/offsets"),
            ("DELETE", "/connectors/{c}/offsets"),
            ("PUT", "/connectors/{c}/topics/reset"),
            ("PUT", "/admin/loggers/{l}"),
        ];
        assert_eq!(alone, expected);
        assert!(ROUTES.iter().all(|route| route.changes || route.act.is_none()));
    }
}
