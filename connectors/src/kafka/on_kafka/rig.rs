//! The broker: Apache Kafka as the end-to-end tests start it, ended by a watcher of theirs when this
//! process is gone.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// A broker with a second listener, whose clients find it behind a port that nobody listens on yet.
pub struct Kafka {
    pub port: u16,
    pub listening: u16,
    pub advertised: u16,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rig").join(name)
}

/// Where the rig keeps what it fetched.
fn cache() -> Option<PathBuf> {
    let said = std::env::var_os("DOUANE_RIG_CACHE").map(PathBuf::from);
    let usual = || {
        let home = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
        Some(home.join("douane-rig"))
    };
    said.or_else(usual).filter(|cache| cache.join("kafka").is_dir())
}

/// Whether a case has no broker. It says so past the runner's capture: `tests/run` counts it.
pub fn is_missing(case: &str) -> bool {
    let missing = cache().is_none();
    if missing {
        let line = format!("skipped: {case}: no rig; tests/rig/fetch.sh fetches it\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    missing
}

/// Four ports in a row: for clients, for the controller, and the second listener's two.
fn port() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = 27_000 + (std::process::id() % 500) as u16 * 4;
    let found = (first..29_900).step_by(4).find(|port| (*port..port + 4).all(free));
    found.expect("four free ports")
}

/// Its port is open before it takes part: until then it has no brokers to make a topic on.
fn until_it_answers(at: &str) {
    let asks: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", at).create().expect("a client");
    let end = Instant::now() + Duration::from_secs(60);
    let told = || asks.fetch_metadata(None, Duration::from_secs(5));
    while !told().is_ok_and(|told| !told.brokers().is_empty()) {
        assert!(Instant::now() < end, "no broker answers within 60 s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Started by the first that asks.
pub fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(start)
}

fn start() -> Kafka {
    let root = tempfile::tempdir().unwrap().keep();
    let port = port();
    let (listening, advertised) = (port + 2, port + 3);
    Command::new("bash")
        .arg(script("watch.sh"))
        .arg(std::process::id().to_string())
        .arg(&root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let at = "127.0.0.1";
    let controller = port + 1;
    let properties = [
        format!(
            "listeners=PLAINTEXT://{at}:{port},CONTROLLER://{at}:{controller},PX://{at}:{listening}"
        ),
        format!("advertised.listeners=PLAINTEXT://{at}:{port},PX://{at}:{advertised}"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PX:PLAINTEXT"
            .into(),
        "inter.broker.listener.name=PLAINTEXT".into(),
    ];
    let said = Command::new("bash")
        .arg(script("kafka.sh"))
        .args(["start".as_ref(), root.join("kafka").as_os_str()])
        .arg(port.to_string())
        .args(properties)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(said.status.success(), "kafka.sh: {}", String::from_utf8_lossy(&said.stderr));
    until_it_answers(&format!("{at}:{port}"));
    Kafka { port, listening, advertised }
}
