//! Every route: who may call it, whether it changes anything, and what answers it. The router, the
//! matrix of roles, OpenAPI and the ledger's words all come from this list.

use douane_pipelines::config::Act;
use douane_pipelines::config::Role::{self, Approver, Auditor, Author, Operator};

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
    /// Its body is JSON.
    pub has_body: bool,
    /// It asks the clusters, and may wait for them.
    pub reaches: bool,
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

const fn get(path: &'static str, who: Who, summary: &'static str, answer: Handler) -> Route {
    let (changes, has_body, reaches, is_bytes) = (false, false, false, false);
    Route {
        method: "GET",
        path,
        who,
        changes,
        act: None,
        has_body,
        reaches,
        is_bytes,
        summary,
        answer,
    }
}

const fn change(
    method: &'static str,
    path: &'static str,
    who: Who,
    summary: &'static str,
    answer: Handler,
) -> Route {
    let (changes, has_body, reaches, is_bytes) = (true, false, false, false);
    Route { method, path, who, changes, act: None, has_body, reaches, is_bytes, summary, answer }
}

const fn with_body(route: Route) -> Route {
    Route { has_body: true, ..route }
}

const fn is(act: Act, route: Route) -> Route {
    Route { act: Some(act), ..route }
}

const fn reaching(route: Route) -> Route {
    Route { reaches: true, ..route }
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
    get(
        "/connectors",
        READ,
        "Names, or with `expand` their info and status",
        api::connectors::list,
    ),
    is(
        Act::Write,
        with_body(change(
            "POST",
            "/connectors",
            WRITE,
            "Creates a connector",
            api::connectors::create,
        )),
    ),
    get("/connectors/{c}", READ, "Config and tasks", api::connectors::info),
    is(
        Act::Delete,
        change("DELETE", "/connectors/{c}", REMOVE, "Deletes a connector", api::connectors::delete),
    ),
    get("/connectors/{c}/config", READ, "Config", api::connectors::config),
    is(
        Act::Write,
        with_body(change(
            "PUT",
            "/connectors/{c}/config",
            WRITE,
            "Creates or changes a connector",
            api::connectors::put_config,
        )),
    ),
    is(
        Act::Write,
        with_body(change(
            "PATCH",
            "/connectors/{c}/config",
            WRITE,
            "Changes keys of a config; null removes one",
            api::connectors::patch_config,
        )),
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
        change("POST", "/connectors/{c}/restart", OPERATE, "Restarts", api::lifecycle::restart),
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
    reaching(with_body(change(
        "PATCH",
        "/connectors/{c}/offsets",
        OPERATE,
        "Refused but for what changes nothing: see docs/serve.md",
        api::offsets::alter,
    ))),
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
    get("/connector-plugins/{p}/config", READ, "Its keys", api::plugins::definitions),
    Route {
        changes: false,
        ..with_body(change(
            "PUT",
            "/connector-plugins/{p}/config/validate",
            CHECK,
            "What is wrong with a config, by key",
            api::plugins::validate,
        ))
    },
    get("/admin/loggers", READ, "Levels of logs", api::admin::list),
    get("/admin/loggers/{l}", READ, "Level of one log", api::admin::read),
    with_body(change("PUT", "/admin/loggers/{l}", OPERATE, "Sets a level", api::admin::set)),
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
        with_body(change(
            "POST",
            "/v1/pipelines/{c}/revocations",
            REVOKE,
            "Stops its release, by a line that a revoker signed",
            api::v1::revoke,
        )),
    ),
    get(
        "/v1/pipelines/{c}/ledger/{l}/files",
        EVIDENCE,
        "Files of a log, with their sizes",
        api::evidence::files,
    ),
    bytes(get(
        "/v1/pipelines/{c}/ledger/{l}/bytes",
        EVIDENCE,
        "Bytes of a log's files, from `file` and `offset` on, as docs/page.md frames them",
        api::evidence::bytes,
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
    reaching(get(
        "/v1/pipelines/{c}/quarantine",
        OVERSEE,
        "Records that were set aside, by place and code",
        api::views::quarantine,
    )),
    get("/v1/budget", EVIDENCE, "Accounts of privacy budgets", api::v1::budget),
];

/// Whether a path is anybody's.
pub fn is_open(path: &str) -> bool {
    ROUTES.iter().any(|route| route.path == path && route.who == Who::Open)
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
    use super::*;

    #[test]
    fn a_route_stands_once_and_whatever_is_no_get_says_whether_it_changes_something() {
        for (at, route) in ROUTES.iter().enumerate() {
            let same = |r: &Route| r.method == route.method && r.path == route.path;
            assert!(!ROUTES[..at].iter().any(same), "{} {}", route.method, route.path);
            assert_eq!(route.method == "GET", !route.changes && !route.has_body, "{}", route.path);
        }
        // Those that are called without a token, and the one PUT that changes nothing.
        let open: Vec<_> = ROUTES.iter().filter(|r| r.who == Who::Open).map(|r| r.path).collect();
        assert_eq!(open, ["/livez", "/page", "/page/{f}"]);
        let asks: Vec<_> =
            ROUTES.iter().filter(|r| r.method != "GET" && !r.changes).map(|r| r.path).collect();
        assert_eq!(asks, ["/connector-plugins/{p}/config/validate"]);
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
