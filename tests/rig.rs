//! The servers of the tests: started by `tests/rig/*.sh`, ended by process id, also when the tests are killed.

use std::cell::Cell;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::cluster::Cluster;
use crate::pace::Instant;
use crate::say;

static TURN: Mutex<()> = Mutex::new(());

/// The cases share the brokers and the cores: one at a time.
pub fn exclusive() -> MutexGuard<'static, ()> {
    say::panics_aloud();
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig")
}

/// What a script of the rig prints; it must end well.
fn script(name: &str, args: &[&str]) -> String {
    tried(name, args).unwrap_or_else(|why| panic!("{why}"))
}

/// What a script of the rig prints, or that it failed and what it said.
fn tried(name: &str, args: &[&str]) -> Result<String, String> {
    let out = Command::new("bash")
        .arg(scripts().join(name))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    match out.status.success() {
        true => Ok(said),
        false => {
            let why = String::from_utf8_lossy(&out.stderr);
            Err(format!("{name} {}: {said}{why}", args.join(" ")))
        }
    }
}

/// Aborts what hangs in the broker of a folder, and says in how many partitions; or why nobody knows.
pub fn end_hanging_in(dir: &Path) -> Result<usize, String> {
    let said = tried("kafka.sh", &["hanging", &dir.display().to_string()])?;
    said.trim().parse().map_err(|_| format!("no count: {said}"))
}

/// This run's directory. A watcher ends every server below it and removes it when this process is gone.
pub fn scratch() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        script("fetch.sh", &[]);
        let root = std::env::temp_dir().join(format!("douane-rig-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("a directory for the servers");
        #[allow(
            clippy::zombie_processes,
            reason = "it outlives this process: that is what it is for"
        )]
        Command::new("setsid")
            .arg(scripts().join("watch.sh"))
            .arg(std::process::id().to_string())
            .arg(&root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the watcher");
        root
    })
}

/// A fresh directory below `scratch`.
pub fn directory(name: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let dir = scratch().join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::SeqCst)));
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// The first of `count` adjacent ports that nothing listens on, below the range that clients draw from.
pub fn ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(count, Ordering::SeqCst);
        let start = 20_000 + (std::process::id() % 900) as u16 * 10;
        let base = 20_000 + (start - 20_000 + step) % 10_000;
        if (base..base + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
}

/// What stands behind a cluster of the tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Apache Kafka: the arbiter.
    Kafka,
    /// The broker of `broker/`: in memory, so who kills it loses all.
    Development,
}

thread_local! {
    /// What a test of this thread runs on, whatever the environment says.
    static ON: Cell<Option<Kind>> = const { Cell::new(None) };
}

/// Runs a case on brokers of this kind: a test has a thread of its own.
pub fn on(kind: Kind, case: impl FnOnce()) {
    ON.set(Some(kind));
    case();
    ON.set(None);
}

impl Kind {
    /// `DOUANE_TEST_BROKER=development`, or Kafka; unless the test says it itself.
    pub fn asked_for() -> Self {
        if let Some(kind) = ON.get() {
            return kind;
        }
        match std::env::var("DOUANE_TEST_BROKER").as_deref() {
            Err(_) | Ok("" | "kafka") => Self::Kafka,
            Ok("development") => Self::Development,
            Ok(other) => panic!("DOUANE_TEST_BROKER is `kafka` or `development`, not `{other}`"),
        }
    }
}

/// Whether the tests run on Kafka; otherwise says which case is left out, and why.
pub fn is_kafka(case: &str, why: &str) -> bool {
    let kafka = Kind::asked_for() == Kind::Kafka;
    if !kafka {
        say::skipped(case, why);
    }
    kafka
}

/// The development broker's executable, built once.
fn development_broker() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--offline", "-p", "douane-broker"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo");
        assert!(built.success(), "the development broker does not build");
        let beside = Path::new(env!("CARGO_BIN_EXE_douane"));
        beside.with_file_name("douane-broker")
    })
}

/// One broker that is a cluster of its own.
pub struct Broker {
    kind: Kind,
    dir: PathBuf,
    port: u16,
    properties: Vec<String>,
    /// Port that the proxied listener gives out as its own, and the port it listens on.
    proxied: Option<(u16, u16)>,
    cluster: Cluster,
}

impl Broker {
    pub fn start(name: &str, properties: &[&str]) -> Self {
        Self::start_as(Kind::asked_for(), name, properties)
    }

    fn start_as(kind: Kind, name: &str, properties: &[&str]) -> Self {
        let port = ports(2);
        let broker = Self {
            kind,
            dir: directory(name),
            port,
            properties: properties.iter().map(ToString::to_string).collect(),
            proxied: None,
            cluster: Cluster::at(&format!("127.0.0.1:{port}")),
        };
        broker.start_again();
        broker
    }

    /// With a second listener whose clients find every broker behind `advertised` (a proxy of ours).
    pub fn start_proxied(name: &str) -> Self {
        Self::start_proxied_as(Kind::asked_for(), name)
    }

    pub fn start_proxied_as(kind: Kind, name: &str) -> Self {
        let port = ports(4);
        if kind == Kind::Development {
            // One listener: all clients find it behind the proxy.
            let broker = Self {
                kind,
                dir: directory(name),
                port,
                properties: Vec::new(),
                proxied: Some((port + 1, port)),
                cluster: Cluster::at(&format!("127.0.0.1:{port}")),
            };
            broker.start_again();
            return broker;
        }
        let (inner, advertised) = (port + 2, port + 3);
        let properties = vec![
            format!(
                "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{},PX://127.0.0.1:{inner}",
                port + 1
            ),
            format!(
                "advertised.listeners=PLAINTEXT://127.0.0.1:{port},PX://127.0.0.1:{advertised}"
            ),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PX:PLAINTEXT"
                .to_owned(),
            "inter.broker.listener.name=PLAINTEXT".to_owned(),
        ];
        let broker = Self {
            kind,
            dir: directory(name),
            port,
            properties,
            proxied: Some((advertised, inner)),
            cluster: Cluster::at(&format!("127.0.0.1:{port}")),
        };
        broker.start_again();
        broker
    }

    /// Kafka with listeners that `secured` says, of its folder and the first of five ports: the first is
    /// plain, the second its controller's.
    pub fn start_secured(name: &str, secured: impl FnOnce(&Path, u16) -> Vec<String>) -> Self {
        let (dir, port) = (directory(name), ports(5));
        let properties = secured(&dir, port);
        let cluster = Cluster::at(&format!("127.0.0.1:{port}"));
        let broker = Self { kind: Kind::Kafka, dir, port, properties, proxied: None, cluster };
        broker.start_again();
        broker
    }

    /// The first of its ports.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn start_again(&self) {
        let (dir, port) = (self.dir.display().to_string(), self.port.to_string());
        let started = Instant::now();
        if self.kind == Kind::Development {
            let executable = development_broker().display().to_string();
            let told = self.proxied.map_or(self.port, |(told, _)| told).to_string();
            script("development.sh", &["start", &dir, &port, &told, &executable]);
        } else {
            let mut args = vec!["start", &dir, &port];
            args.extend(self.properties.iter().map(String::as_str));
            script("kafka.sh", &args);
        }
        self.cluster().wait_until_it_answers();
        say::note(format!(
            "broker {} answers after {:.1} s",
            self.name(),
            started.elapsed().as_secs_f32()
        ));
    }

    fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn order(&self, order: &str) {
        script("kafka.sh", &[order, &self.dir.display().to_string()]);
    }

    /// Aborts what Kafka left open of transactions that it calls over; in how many partitions. It may lose the
    /// markers of a transaction where it is killed just before it writes them.
    pub fn end_hanging(&self) -> usize {
        end_hanging_in(&self.dir).unwrap_or_else(|why| panic!("{why}"))
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&self) {
        self.order("kill");
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.order("freeze");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.order("thaw");
    }

    /// (port for clients and the proxy, port the proxy passes on to)
    pub fn proxied(&self) -> (u16, u16) {
        self.proxied.expect("a broker of start_proxied")
    }

    pub fn cluster(&self) -> Cluster {
        self.cluster.clone()
    }

    /// Everything the broker keeps on disk.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.order("kill");
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The sovereign and the global cluster that most cases share.
pub fn clusters() -> (&'static Broker, &'static Broker) {
    clusters_of(Kind::asked_for())
}

pub fn clusters_of(kind: Kind) -> (&'static Broker, &'static Broker) {
    static KAFKA: OnceLock<(Broker, Broker)> = OnceLock::new();
    static DEVELOPMENT: OnceLock<(Broker, Broker)> = OnceLock::new();
    let both = if kind == Kind::Kafka { &KAFKA } else { &DEVELOPMENT };
    let start = |name| Broker::start_as(kind, name, &[]);
    let both = both.get_or_init(|| (start("sovereign"), start("global")));
    (&both.0, &both.1)
}

/// A schema registry with Confluent's API.
pub struct Registry {
    dir: PathBuf,
    port: u16,
}

impl Registry {
    pub fn start(name: &str) -> Self {
        let registry = Self { dir: directory(name), port: ports(2) };
        let started = Instant::now();
        script(
            "registry.sh",
            &["start", &registry.dir.display().to_string(), &registry.port.to_string()],
        );
        say::note(format!(
            "registry {name} answers after {:.1} s",
            started.elapsed().as_secs_f32()
        ));
        registry
    }

    /// Address of Confluent's API, as clients of it want it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Address of Apicurio's own second API, which its converter wants.
    pub fn native_url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/registry/v2", self.port)
    }

    /// Registers a schema under a subject; its id.
    pub fn register(&self, subject: &str, schema: &str) -> u32 {
        let body = serde_json::json!({ "schema": schema }).to_string();
        let (status, text) = http(
            self.port,
            "POST",
            &format!("/apis/ccompat/v7/subjects/{subject}/versions"),
            Some(&body),
        );
        assert_eq!(status, 200, "registering {subject}: {text}");
        let answer: serde_json::Value =
            serde_json::from_str(&text).expect("JSON from the registry");
        u32::try_from(answer["id"].as_u64().expect("an id")).expect("an id of 32 bits")
    }

    /// The schema text of an id.
    pub fn schema(&self, id: u32) -> String {
        let (status, text) =
            http(self.port, "GET", &format!("/apis/ccompat/v7/schemas/ids/{id}"), None);
        assert_eq!(status, 200, "schema {id}: {text}");
        let answer: serde_json::Value =
            serde_json::from_str(&text).expect("JSON from the registry");
        answer["schema"].as_str().expect("a schema").to_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        script("registry.sh", &["stop", &self.dir.display().to_string()]);
    }
}

/// PostgreSQL with logical decoding.
pub struct Postgres {
    dir: PathBuf,
    pub port: u16,
}

impl Postgres {
    pub fn start() -> Self {
        let postgres = Self { dir: directory("postgres"), port: ports(1) };
        script(
            "postgres.sh",
            &["start", &postgres.dir.display().to_string(), &postgres.port.to_string()],
        );
        postgres
    }

    /// Runs statements in a database; what `psql` printed, unaligned.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        use std::io::Write;
        let mut child = Command::new("psql")
            .args(["-h", "127.0.0.1", "-U", "postgres", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-p", &self.port.to_string(), "-d", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql");
        child.stdin.take().expect("a pipe").write_all(statements.as_bytes()).expect("psql reads");
        let out = child.wait_with_output().expect("psql");
        assert!(out.status.success(), "psql: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        script("postgres.sh", &["stop", &self.dir.display().to_string()]);
    }
}

/// A Kafka Connect worker with Debezium.
pub struct Connect {
    dir: PathBuf,
    port: u16,
}

impl Connect {
    pub fn start(bootstrap: &str) -> Self {
        Self::start_with(bootstrap, &[])
    }

    /// With further properties of the worker, `name=value` each.
    pub fn start_with(bootstrap: &str, properties: &[&str]) -> Self {
        let connect = Self { dir: directory("connect"), port: ports(1) };
        let started = Instant::now();
        let (dir, port) = (connect.dir.display().to_string(), connect.port.to_string());
        let mut args = vec!["start", &dir, bootstrap, &port];
        args.extend_from_slice(properties);
        script("connect.sh", &args);
        say::note(format!("Connect answers after {:.1} s", started.elapsed().as_secs_f32()));
        connect
    }

    pub fn create(&self, name: &str, config: &serde_json::Value) {
        let (status, text) = http(
            self.port,
            "PUT",
            &format!("/connectors/{name}/config"),
            Some(&config.to_string()),
        );
        assert!(status == 200 || status == 201, "connector {name}: {status} {text}");
    }

    pub fn delete(&self, name: &str) {
        let (status, text) = http(self.port, "DELETE", &format!("/connectors/{name}"), None);
        assert!(status == 204 || status == 200, "deleting connector {name}: {status} {text}");
    }

    pub fn status(&self, name: &str) -> String {
        http(self.port, "GET", &format!("/connectors/{name}/status"), None).1
    }

    /// The worker's process.
    pub fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.dir.join("pid")).expect("the worker's pid");
        pid.trim().parse().expect("a process id")
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        script("connect.sh", &["stop", &self.dir.display().to_string()]);
    }
}

/// One request of HTTP 1.0 to a server of the rig: status and body.
fn http(port: u16, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream =
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("a server of the rig");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a time-out");
    let body = body.unwrap_or("");
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

/// A signal to a process that the tests started.
pub fn signal(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a process id");
    #[allow(unsafe_code, reason = "kill(2) has no safe form in the standard library")]
    // Safety: kill has no memory effects; the process id is that of a child that was not waited for yet.
    let answer = unsafe { libc::kill(pid, signal) };
    assert_eq!(answer, 0, "signal {signal} to {pid}");
}
