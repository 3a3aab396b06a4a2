//! Who may make a call, what the ledger says of it, and what answers it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use douane_pipelines::calls::{self, Calls};
use douane_pipelines::clock::Clock;
use douane_pipelines::config::{Place, Role};
use douane_pipelines::fault::RunFault;
use douane_pipelines::group::Group;
use douane_pipelines::names::{NAME_BYTES_MAX, is_name};
use douane_pipelines::traces::Traces;
use jiff::Timestamp;
use serde_json::json;

use crate::api::metrics::Readings;
use crate::call::{Answer, Call};
use crate::fleet::Fleet;
use crate::group::Worker;
use crate::loggers::{Level, Loggers, REST};
use crate::refusals::{Refusal, Refusals, Why};
use crate::routes::{self, ROUTES, Who, methods};
use crate::second::{Seconds, Turn, WAITS};
use crate::store::{self, Store};
use crate::tokens::{self, Known, Principal, Tokens};

/// Calls that wait for the clusters at one time. Where those are away they wait for long, and
/// everybody else goes on being answered.
const REACHING_MAX: usize = 4;
/// The same of calls that go on beside all others: who asks for a status takes no place of theirs.
const APART_MAX: usize = 4;
/// Changes that wait for each other at one time, where nobody asks the clusters: with those above they leave
/// threads for whoever only asks.
const CHANGES_MAX: usize = 4;

/// Whoever shows no token, where the place lets them in.
const ANONYMOUS: &str = "anonymous";
/// How long a stop may take.
const STOP: Duration = Duration::from_secs(5);
/// Between two checkpoints of the log of calls, if there were any.
const PUBLISH: Duration = Duration::from_secs(1);

/// How long a change may wait for others: whoever asked for it is there still when it begins.
const CHANGE_WAITS: Duration = Duration::from_secs(45);

/// As Kafka Connect says it.
pub const STARTING: &str = "Worker is still starting up.";

pub const NO_ANSWER: &str = "the call ended without an answer: a fault of the program";

/// As Kafka Connect says it: whoever asks again is answered.
pub const CONFLICT: &str = "Cannot complete request because of a conflicting operation (e.g. worker rebalance)\n  next: ask again";

/// A call as it came in.
pub struct Asked {
    /// When it was whole: it may have waited for a thread since.
    pub arrived: Instant,
    /// The route's path, with its parameters' names; none where no route fits.
    pub path: Option<&'static str>,
    /// The other end of its connection.
    pub from: Option<IpAddr>,
    pub method: String,
    pub params: BTreeMap<String, String>,
    pub query: Vec<(String, String)>,
    /// Names in small letters; the first value of each.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// Everything that answers calls.
pub struct Service {
    pub place_file: PathBuf,
    pub place: Place,
    pub fleet: Fleet,
    pub loggers: Arc<Loggers>,
    pub readings: Readings,
    pub refusals: Refusals,
    pub started: AtomicBool,
    reaching: AtomicUsize,
    apart: AtomicUsize,
    /// Who adds a line to files of revocations holds it.
    pub revoking: Mutex<()>,
    changing: AtomicUsize,
    tokens: Tokens,
    /// By which tokens expire.
    clock: Clock,
    seconds: Seconds,
    traces: Traces,
    calls: Mutex<(Calls, Instant)>,
    /// Its part in a group of workers, if there is one.
    pub worker: Option<Worker>,
    /// Where it listens, once it does.
    address: Mutex<String>,
}

impl Service {
    /// Opens keys, ledger and folders. Nothing runs yet.
    pub fn open(place_file: &Path, place: Place) -> Result<Self, RunFault> {
        let folder =
            |error: std::io::Error| RunFault::File(format!("the folders of the service: {error}"));
        let states = place.state.dir.join("serve");
        let worker = match &place.serve.group {
            Some(group) => Some(Worker::open(Group::open(&place, group)?, &states)?),
            None => None,
        };
        let clock = Clock::of(&place)?;
        let calls = Calls::open(&place)?;
        let loggers = Arc::new(Loggers::new(&place.sovereign.zone));
        let store =
            Store::open(&place.serve.pipelines, &states.join("connectors")).map_err(folder)?;
        let fleet = Fleet::open(place_file, store, Arc::clone(&loggers), worker.is_some())
            .map_err(folder)?;
        first_token(&place, &states, &loggers)?;
        Ok(Self {
            place_file: place_file.to_owned(),
            fleet,
            loggers,
            readings: Readings::default(),
            refusals: Refusals::default(),
            started: AtomicBool::new(false),
            reaching: AtomicUsize::new(0),
            apart: AtomicUsize::new(0),
            revoking: Mutex::default(),
            changing: AtomicUsize::new(0),
            tokens: Tokens::new(&place.serve.tokens),
            clock,
            seconds: Seconds::default(),
            traces: Traces::of(place.telemetry.as_ref()),
            calls: Mutex::new((calls, Instant::now())),
            worker,
            address: Mutex::new(place.serve.listen.to_string()),
            place,
        })
    }

    /// It is bound: from here on calls are answered, most of them by a word that it starts.
    pub fn bound(&self, at: SocketAddr) {
        *self.address.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = at.to_string();
    }

    /// Pipelines run from here on. Nobody changes anything meanwhile.
    pub fn start(self: &Arc<Self>) -> Result<(), RunFault> {
        let _one = self.fleet.changing();
        match &self.worker {
            Some(worker) => worker.start(self)?,
            None => self.fleet.start(),
        }
        self.started.store(true, Ordering::Relaxed);
        let connectors = self.fleet.all().len();
        let fields = json!({"listen": self.address(), "connectors": connectors,
            "tls": self.place.serve.tls.is_some()});
        self.loggers.say(Level::Info, REST, "listening", &fields);
        Ok(())
    }

    /// Who this worker is, as Kafka Connect says it: of a group its name, alone its address.
    pub fn worker_id(&self) -> String {
        match &self.worker {
            Some(worker) => worker.name().to_owned(),
            None => self.address(),
        }
    }

    fn address(&self) -> String {
        self.address.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Ends everything between two transactions, if they let it.
    pub fn end(&self) {
        let is_clean = self.fleet.end(STOP);
        if let Some(worker) = &self.worker {
            worker.end();
        }
        self.loggers.say(Level::Info, REST, "stopped", &json!({"clean": is_clean}));
        if let Ok(mut calls) = self.calls.lock() {
            // Without it the next checkpoint covers them.
            let _ = calls.0.publish();
        }
    }

    /// Answers a call.
    pub fn handle(&self, asked: &Asked) -> Answer {
        let path = asked.path.unwrap_or("-");
        let mut trace = self.traces.begin(path, "", 0);
        trace.child_of(asked.headers.get("traceparent").map(String::as_str));
        let answer = self.answer(asked);
        trace.end(&[("status", u64::from(answer.status))]);
        let level = if answer.status >= 500 { Level::Warn } else { Level::Debug };
        let method = method_word(&asked.method);
        let fields = json!({"method": method, "route": path, "status": answer.status});
        self.loggers.say(level, REST, "call", &fields);
        answer
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let caller = match self.admit(asked) {
            Ok(caller) => caller,
            Err(answer) => return answer,
        };
        let Some(path) = asked.path else { return Answer::error(404, "HTTP 404 Not Found") };
        if asked.method == "OPTIONS" {
            let methods = methods(path);
            return Answer::text(200, "text/plain", methods.join(", "))
                .header("Allow", methods.join(","));
        }
        let method = if asked.method == "HEAD" { "GET" } else { asked.method.as_str() };
        let found = ROUTES.iter().find(|route| route.path == path && route.method == method);
        let Some(route) = found else {
            return Answer::error(405, "HTTP 405 Method Not Allowed");
        };
        if let (Who::Roles(roles), Some(caller)) = (route.who, &caller)
            && !caller.roles.iter().any(|role| roles.contains(role))
        {
            let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
            let needed = format!("the caller has none of the roles {}", names.join(", "));
            return self.refuse(asked, Why::Role, Some(caller), &needed);
        }
        let header = |name: &str| asked.headers.get(name).map(String::as_str);
        let any = path == "/metrics" || route.who == Who::Open || route.is_bytes;
        if !accepts(header("accept"), any) {
            return Answer::error(406, "HTTP 406 Not Acceptable");
        }
        if !self.started.load(Ordering::Relaxed) && !answers_while_starting(route) {
            return Answer::error(503, STARTING);
        }
        if route.body.is_some() && !asked.body.is_empty() {
            let kind = header("content-type").unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim();
            match kind {
                "" => return Answer::error(400, "the body has no Content-Type"),
                kind if kind.eq_ignore_ascii_case("application/json") => {}
                _ => return Answer::error(415, "HTTP 415 Unsupported Media Type"),
            }
        }
        let declared = |key: &str| route.query.iter().any(|param| param.name == key);
        let scheme = if self.place.serve.tls.is_some() { "https" } else { "http" };
        let host = header("host").filter(|host| is_host(host));
        let address = self.address();
        let call = Call {
            params: asked.params.clone(),
            query: asked.query.iter().filter(|(key, _)| declared(key)).cloned().collect(),
            roles: caller.as_ref().map_or_else(Vec::new, |caller| caller.roles.clone()),
            origin: format!("{scheme}://{}", host.unwrap_or(&address)),
            if_none_match: header("if-none-match").map(str::to_owned),
            body: asked.body.clone(),
        };
        let answer = || match route.changes {
            false => (route.answer)(self, &call),
            true => self.change(route, &call, caller.as_ref(), asked),
        };
        let away = "enough calls wait for the clusters\n  next: ask again";
        let reaches = reaches(route, self.worker.is_some());
        let (waiting, most, (status, full)) = match route.is_apart {
            true => (&self.apart, APART_MAX, (503, away)),
            false if reaches => (&self.reaching, REACHING_MAX, (503, away)),
            false if route.changes => (&self.changing, CHANGES_MAX, (409, CONFLICT)),
            false => return answer(),
        };
        let answered = match waiting.fetch_add(1, Ordering::Relaxed) < most {
            true => catch_unwind(AssertUnwindSafe(answer)),
            false => Ok(Answer::error(status, full)),
        };
        waiting.fetch_sub(1, Ordering::Relaxed);
        answered.unwrap_or_else(|_| Answer::error(500, NO_ANSWER))
    }

    /// Who calls; nobody where the path is open to all.
    pub fn admit(&self, asked: &Asked) -> Result<Option<Principal>, Answer> {
        match self.caller(asked) {
            Ok(caller) => Ok(Some(caller)),
            Err(_) if asked.path.is_some_and(routes::is_open) => Ok(None),
            Err((why, text)) => Err(self.refuse(asked, why, None, text)),
        }
    }

    /// The answer to whoever is not heard, which is told and counted.
    fn refuse(&self, asked: &Asked, why: Why, by: Option<&Principal>, text: &str) -> Answer {
        let status = if by.is_some() { 403 } else { 401 };
        let refusal = Refusal {
            why,
            status,
            from: asked.from,
            by: by.map(|by| by.name.as_str()),
            method: method_word(&asked.method),
            route: asked.path.unwrap_or("-"),
        };
        if let Some(fields) = self.refusals.met(&refusal) {
            self.loggers.say(Level::Warn, REST, "call_refused", &fields);
        }
        let answer = Answer::error(status, text);
        match by {
            Some(_) => answer,
            None => answer.header("WWW-Authenticate", "Bearer realm=\"douane\"".into()),
        }
    }

    /// A call that may change something: into the ledger first, and one at a time. What asks the
    /// clusters changes nothing here, and keeps nobody waiting.
    fn change(
        &self,
        route: &crate::routes::Route,
        call: &Call,
        caller: Option<&Principal>,
        asked: &Asked,
    ) -> Answer {
        let _one = (!route.reaches && !route.is_apart).then(|| self.fleet.changing());
        if asked.arrived.elapsed() >= CHANGE_WAITS {
            let why = "other changes took too long: nothing was done\n  next: ask again";
            return Answer::error(503, why);
        }
        let mut calls = self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let called = calls.0.called(&calls::Call {
            by: caller.map_or("-", |caller| &caller.name),
            method: route.method,
            route: route.path,
            connector: connector_of(call).as_deref(),
            body: &call.body,
        });
        drop(calls);
        let Ok(index) = called else {
            let why = "the log of calls cannot be written: nothing was done\n  next: see that the \
                       ledger's disk is well, then restart the service";
            return Answer::error(500, why);
        };
        let first = self.first_of_two(route, call, caller, asked);
        let answer = first.unwrap_or_else(|| (route.answer)(self, call));
        let mut calls = self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // It was done; that the ledger cannot say so is told by the next call.
        let _ = calls.0.answered(index, answer.status);
        if calls.1.elapsed() >= PUBLISH {
            let _ = calls.0.publish();
            calls.1 = Instant::now();
        }
        answer
    }

    /// The answer to whoever is the first of the two that the place wants for a call.
    fn first_of_two(
        &self,
        route: &crate::routes::Route,
        call: &Call,
        caller: Option<&Principal>,
        asked: &Asked,
    ) -> Option<Answer> {
        let act = route.act.filter(|act| self.place.serve.two_persons.contains(act))?;
        // Who shows no token may be anybody, the second one too.
        let Some(by) = caller.filter(|caller| caller.name != ANONYMOUS) else {
            let needed = "this call takes two persons, each with a token";
            return Some(self.refuse(asked, Why::None, caller, needed));
        };
        // What the first one was allowed when it called may be over by now.
        let may = |token: &str| match route.who {
            Who::Roles(roles) => self.tokens.serves(token, roles, self.clock.timestamp()),
            Who::Open => false,
        };
        match self.seconds.ask(by, route, call, Instant::now(), &may) {
            Turn::Second => None,
            Turn::Waits { call } => Some(Answer::json(
                202,
                &json!({
                    "waits_for": "the same call by another person",
                    "act": act.name(),
                    "call": call,
                    "seconds": WAITS.as_secs(),
                }),
            )),
        }
    }

    /// Who calls, or why that is nobody.
    fn caller(&self, asked: &Asked) -> Result<Principal, (Why, &'static str)> {
        let header = |name: &str| asked.headers.get(name).map(String::as_str);
        let Some(said) = header("authorization") else {
            let roles = self.anonymous(header("host"), header("origin").is_some());
            let roles = roles.ok_or((Why::None, "a token is needed: `Authorization: Bearer …`"))?;
            return Ok(Principal { name: ANONYMOUS.to_owned(), roles, token: String::new() });
        };
        let neither = (Why::Unknown, "`Authorization` is neither `Bearer` nor `Basic`");
        let (name, token) = credentials(said).ok_or(neither)?;
        match self.tokens.holder(&token, self.clock.timestamp()) {
            Ok(Known::Holder(holder)) if name.is_none_or(|name| name == holder.name) => Ok(holder),
            Ok(Known::Holder(_) | Known::Nobody) => Err((Why::Unknown, "the token is not known")),
            Ok(Known::Expired) => Err((Why::Expired, "the token has expired")),
            Err(_) => Err((Why::Unreadable, "the file of tokens cannot be read: nobody is known")),
        }
    }

    /// What a caller without a token may do: one on this machine, and no page of a browser, which
    /// says its `Origin` or reached this address under a name of its own.
    fn anonymous(&self, host: Option<&str>, from_page: bool) -> Option<Vec<Role>> {
        let serve = &self.place.serve;
        let name = host.map(|host| match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        });
        let local = name.is_some_and(|name| ["localhost", "127.0.0.1", "[::1]"].contains(&name));
        (!serve.anonymous.is_empty() && serve.listen.ip().is_loopback() && local && !from_page)
            .then(|| serve.anonymous.clone())
    }
}

/// A method as a line may say it: what is sent in its place may be anything.
fn method_word(method: &str) -> &'static str {
    const WORDS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    WORDS.into_iter().find(|word| *word == method).unwrap_or("-")
}

/// What whoever watches the process asks.
fn answers_while_starting(route: &crate::routes::Route) -> bool {
    route.who == Who::Open || ["/health", "/metrics"].contains(&route.path)
}

/// Whether a call may wait for the clusters: in a group each change of a connector, or of the logs of all
/// workers, is a record there.
fn reaches(route: &crate::routes::Route, grouped: bool) -> bool {
    let is_record = ["/connectors", "/admin"].iter().any(|start| route.path.starts_with(start));
    route.reaches || (grouped && route.changes && is_record)
}

/// The connector that a call is about: its path says it, or the body that makes one.
fn connector_of(call: &Call) -> Option<String> {
    let said = match call.params.get("c") {
        Some(name) => name.clone(),
        None => {
            let body: serde_json::Value = serde_json::from_slice(&call.body).ok()?;
            body["name"].as_str()?.to_owned()
        }
    };
    Some(said.trim().to_owned()).filter(|name| is_name(name, NAME_BYTES_MAX))
}

/// Name, if one is said, and token of an `Authorization`.
fn credentials(said: &str) -> Option<(Option<String>, String)> {
    let (scheme, rest) = said.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((None, rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64.decode(rest.trim().as_bytes()).ok()?).ok()?;
    let (name, token) = pair.split_once(':')?;
    Some((Some(name.to_owned()), token.to_owned()))
}

/// Whether a caller takes what is answered: JSON, but for the metrics.
fn accepts(accept: Option<&str>, any: bool) -> bool {
    let Some(accept) = accept.filter(|accept| !any && !accept.trim().is_empty()) else {
        return true;
    };
    accept.split(',').any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        ["*/*", "application/*", "application/json"].contains(&kind)
    })
}

/// What may stand in `Location`.
fn is_host(host: &str) -> bool {
    host.len() <= 255 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
}

/// A place without tokens, and without leave for callers that have none, gets one token with all
/// roles, in a file that its owner alone can read.
fn first_token(place: &Place, states: &Path, loggers: &Loggers) -> Result<(), RunFault> {
    let serve = &place.serve;
    let file = states.join("first.token");
    // Who takes the tokens away shuts everybody out: a start brings nobody back.
    if serve.tokens.exists() || file.exists() || !serve.anonymous.is_empty() {
        return Ok(());
    }
    let fault = |what: String| RunFault::File(format!("the first token: {what}"));
    let days = tokens::LIFE_DAYS_DEFAULT;
    let token = tokens::make(&serve.tokens, "first", &Role::ALL, days, Timestamp::now())
        .map_err(|error| fault(error.to_string()))?;
    // Crash before it: a token that nobody has; `douane serve token` makes another.
    store::replace(&file, 0o600, format!("{token}\n").as_bytes())
        .map_err(|error| fault(error.kind().to_string()))?;
    let fields = json!({"file": file.display().to_string(), "days": days});
    loggers.say(Level::Warn, REST, "first_token", &fields);
    Ok(())
}

#[cfg(test)]
pub mod tests;
