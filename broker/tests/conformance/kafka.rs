//! Apache Kafka as the arbiter, started by the rig of the end-to-end tests.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Kafka {
    folder: tempfile::TempDir,
    port: u16,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rig/kafka.sh")
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

/// A port whose neighbour is free too, for the controller.
fn port() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = 30_000 + (std::process::id() % 1_000) as u16 * 2;
    let found = (first..32_700).step_by(2).find(|port| free(*port) && free(port + 1));
    found.expect("two free ports")
}

/// `None` where the rig is not there.
pub fn start() -> Option<Kafka> {
    cache()?;
    let kafka = Kafka { folder: tempfile::tempdir().expect("a folder"), port: port() };
    let folder = kafka.folder.path().display().to_string();
    // Late transactions are looked for as often as the development broker does it.
    let often = "transaction.abort.timed.out.transaction.cleanup.interval.ms=100";
    kafka.order(&["start", &folder, &kafka.port.to_string(), often]);
    Some(kafka)
}

impl Kafka {
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn order(&self, arguments: &[&str]) {
        let said = Command::new("bash")
            .arg(script())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("bash");
        assert!(said.status.success(), "kafka.sh: {}", String::from_utf8_lossy(&said.stderr));
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.order(&["kill", &self.folder.path().display().to_string()]);
    }
}
