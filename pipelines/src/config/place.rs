//! `douane.yaml`: one environment. Not part of what is approved, except zones and cluster ids.
//!
//! Secrets stand in files of their own (`*_file`) or in the environment (`${NAME}`); a literal one
//! is an error, and no value of this file is ever shown.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use douane_connectors::kafka::{ClusterConfig, PropertyFault, check_properties};
use douane_kernels::Choice;
use schemars::JsonSchema;
use serde::Deserialize;

use super::finding::{Findings, Kind, Mark};
use super::lint::length_ms;
use super::schema::About;
use super::serve::{self, ServeFile, ServePlace};
use super::yaml::{Node, Value, quoted};
use crate::policy::{self, Endpoint, Ground};

/// An environment as it was loaded. Paths are relative to the folder of `douane.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder of `douane.yaml`.
    pub dir: PathBuf,
    /// Where raw data lives.
    pub sovereign: ClusterConfig,
    /// Where training lives.
    pub global: ClusterConfig,
    /// Where the keys of [`crate::key_home::KeyHome`] live.
    pub keys: KeysPlace,
    /// The folder of the ledger.
    pub ledger_dir: PathBuf,
    /// Where the journals of pipelines are durable.
    pub ledger_home: LedgerHome,
    /// Period of the bundles of checkpoints; `None`: none leave.
    pub bundles_ms: Option<u64>,
    /// Where open windows of statistics lie.
    pub state: StatePlace,
    /// The signed trust root.
    pub trust: PathBuf,
    /// Shards of each pipeline, 1 to 64.
    pub tasks: u32,
    /// What noise of statistics is drawn on.
    pub device: Choice,
    /// How `douane serve` is reached.
    pub serve: ServePlace,
    /// Where traces go, if anywhere.
    pub telemetry: Option<Telemetry>,
    /// What policies know of it, its own ones among that.
    pub policy: Ground,
}

/// Where traces go: they stay inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Telemetry {
    /// A file, a request of OTLP a line.
    File(PathBuf),
    /// A collector's URL for traces, by OTLP over HTTP in JSON.
    Otlp(String),
}

/// Where the journals of pipelines are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerHome {
    /// In the ledger's folder.
    #[default]
    Folder,
    /// In a topic of the sovereign cluster, `douane.NAME.journal`; the folder has a copy.
    Topic,
}

/// Where open windows of statistics lie, and how much room they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePlace {
    pub dir: PathBuf,
    pub bytes_max: u64,
}

/// Where keys live, and what they are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysPlace {
    /// The folder of the key store.
    pub dir: PathBuf,
    /// Zone of the sovereign cluster.
    pub region: String,
    /// Whether a key that could be written to swap is a fault.
    pub locked: bool,
    /// Where the key lives that wraps the store.
    pub home: Home,
    /// How long what is set aside can be opened.
    pub quarantine: Retention,
}

/// Each key that records are set aside under serves for `epoch`, and is kept for `keep` after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub epoch: Duration,
    pub keep: Duration,
}

impl Retention {
    /// Of days.
    pub const fn days(epoch: u32, keep: u32) -> Self {
        const DAY_S: u64 = 86_400;
        Self {
            epoch: Duration::from_secs(epoch as u64 * DAY_S),
            keep: Duration::from_secs(keep as u64 * DAY_S),
        }
    }
}

impl KeysPlace {
    /// The file of the key store.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store.json")
    }
}

/// The home of the wrapping key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// A file of its own.
    File { path: PathBuf },
    /// It follows from a passphrase in a file.
    Passphrase { path: PathBuf },
    /// A token, by PKCS#11; what it opened may be used for `lease`.
    Pkcs11 { token: Pkcs11Home, lease: Duration },
    /// A transit key service over HTTPS.
    Transit { service: TransitHome, lease: Duration },
}

/// A token of an HSM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Home {
    /// The vendor's library.
    pub module: PathBuf,
    pub token_label: String,
    /// Holds the user's PIN.
    pub pin_file: PathBuf,
    /// The label of the wrapping keys.
    pub key_label: String,
}

/// A key of a transit engine, as Vault and OpenBao have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitHome {
    /// Without a path.
    pub url: String,
    pub mount: String,
    pub key: String,
    /// Holds the token of this process.
    pub token_file: PathBuf,
    /// What the server's certificate is checked against; the built-in roots unless said.
    pub ca_file: Option<PathBuf>,
}

/// douane.yaml: the clusters, keys, ledger and trust root of one environment.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Place")]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceFile {
    /// The two Kafka clusters.
    pub clusters: Clusters,
    /// Where keys live.
    pub keys: KeysFile,
    /// Where the ledger lives.
    pub ledger: LedgerFile,
    /// Where open windows of statistics lie; `state/` unless said.
    #[serde(default)]
    pub state: StateFile,
    /// The signed file of approvers and threshold.
    pub trust: String,
    /// Shards of each pipeline; 1 unless said.
    #[serde(default = "one_task")]
    #[schemars(range(min = 1, max = 64))]
    pub tasks: u32,
    /// What noise of statistics is drawn on: the bytes are the same everywhere. `auto` unless said.
    #[serde(default)]
    pub device: DeviceFile,
    /// How `douane serve` is reached.
    #[serde(default)]
    pub serve: ServeFile,
    /// Traces for OpenTelemetry, which stay inside; none unless said.
    pub telemetry: Option<TelemetryFile>,
    /// Policies of this place: Rego files that can deny what the default policy allows.
    pub policy: Option<Dir>,
}

/// What noise is drawn on.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Device")]
#[serde(rename_all = "snake_case")]
pub(super) enum DeviceFile {
    /// A GPU where this build knows any and the machine has one, else the processor.
    #[default]
    Auto,
    /// A Vulkan device, one of software too; without one no window is closed.
    Gpu,
    /// The processor.
    Cpu,
}

fn one_task() -> u32 {
    1
}

/// The two Kafka clusters.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Clusters {
    /// Where raw data lives.
    pub sovereign: ClusterConfig,
    /// Where training lives.
    pub global: ClusterConfig,
}

/// The key store, and the home of the key that wraps it: one of `wrapping_file`,
/// `passphrase_file`, `pkcs11`, `transit`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysFile {
    /// The folder of the key store, relative to the folder of douane.yaml.
    pub dir: String,
    /// The file of the wrapping key; `wrapping.key` in `dir` unless said. Kept elsewhere, it keeps a
    /// stolen or restored folder closed.
    pub wrapping_file: Option<String>,
    /// A file with a passphrase that the wrapping key follows from, in the place of a wrapping key.
    pub passphrase_file: Option<String>,
    /// A token that holds the wrapping key and never gives it out.
    pub pkcs11: Option<Pkcs11File>,
    /// A key service that holds the wrapping key: the transit engine of Vault or OpenBao.
    pub transit: Option<TransitFile>,
    /// Seconds that keys may be used after `pkcs11` or `transit` last opened them; 300 unless said.
    #[schemars(range(min = 1, max = 300))]
    pub lease_s: Option<u32>,
    /// Keys that cannot be kept out of swap are a fault; `false` unless said.
    #[serde(default)]
    pub locked: bool,
    /// How long records that were set aside can be opened.
    #[serde(default)]
    pub quarantine: QuarantineFile,
}

/// How long records that were set aside can be opened: each is sealed under the key of its epoch.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Epochs")]
#[serde(deny_unknown_fields, default)]
pub(super) struct QuarantineFile {
    /// Days that one key serves; 30 unless said.
    #[schemars(range(min = 1, max = 3650))]
    pub epoch_days: u32,
    /// Days that a key is kept after the next one began; then `douane keys expire` destroys it. 180
    /// unless said.
    #[schemars(range(min = 1, max = 3650))]
    pub keep_days: u32,
}

impl Default for QuarantineFile {
    fn default() -> Self {
        Self { epoch_days: 30, keep_days: 180 }
    }
}

/// A token, by PKCS#11.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pkcs11File {
    /// The vendor's library, such as `/usr/lib/softhsm/libsofthsm2.so`.
    pub module: String,
    /// The token's label.
    pub token_label: String,
    /// A file with the user's PIN.
    pub pin_file: String,
    /// The label of the wrapping key, which `keys init` makes in the token.
    pub key_label: String,
}

/// A transit engine.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransitFile {
    /// Such as `https://vault.example:8200`. Plain `http` is refused but for this machine.
    pub url: String,
    /// Where the engine is mounted; `transit` unless said.
    pub mount: Option<String>,
    /// The service's zone, which is the sovereign cluster's; of this machine it need not be said.
    pub zone: Option<String>,
    /// The name of the key, which is there before `keys init`.
    pub key: String,
    /// A file with the token of this process.
    pub token_file: String,
    /// A file with the certificate authority of the server; the built-in roots unless said.
    pub ca_file: Option<String>,
}

/// Where open windows of statistics lie.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "State")]
#[serde(deny_unknown_fields, default)]
pub(super) struct StateFile {
    /// The folder of the stores, relative to the folder of douane.yaml; `state/` unless said.
    pub dir: String,
    /// MiB that the open windows of one pipeline may take, roughly; 10240 unless said. With that
    /// much nothing more is read until a window is closed.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub mib_max: u64,
}

impl Default for StateFile {
    fn default() -> Self {
        Self { dir: "state/".to_owned(), mib_max: 10_240 }
    }
}

/// Where traces go: one of the two.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Telemetry")]
#[serde(deny_unknown_fields)]
pub(super) struct TelemetryFile {
    /// A file, relative to the folder of douane.yaml: OTLP as JSON, a request a line.
    pub traces_file: Option<String>,
    /// A collector inside, such as `http://127.0.0.1:4318/v1/traces`. Plain `http` is refused but
    /// for this machine.
    pub otlp: Option<String>,
    /// The collector's zone, which is the sovereign cluster's; of this machine it need not be said.
    pub zone: Option<String>,
}

/// Where the ledger lives.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Ledger")]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerFile {
    /// Its folder, relative to the folder of douane.yaml.
    pub dir: String,
    /// Where the journals of pipelines are durable: in the `folder`, or in a `topic` of the
    /// sovereign cluster, which the folder has a copy of. `folder` unless said.
    #[serde(default)]
    pub home: LedgerHome,
    /// When checkpoints and proofs go out, beside each topic's manifests: `every 1h`, from `every 1s` to
    /// `every 7d`. Not at all unless said.
    #[serde(default)]
    pub bundles: Option<String>,
}

/// A folder on this machine.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dir {
    /// Relative to the folder of douane.yaml.
    pub dir: String,
}

/// The longest that keys may be used without their home.
const LEASE_S: u32 = 300;

/// Planned, not built: refused by name.
pub(super) const LATER: &[About] = &[("witness", "remove it")];

/// What people write and what they should write instead.
pub(super) const ADVICE: &[About] = &[
    ("clusters.*.bootstrap_servers", "write `bootstrap`"),
    ("clusters.*.bootstrap.servers", "write `bootstrap`"),
    ("clusters.*.cluster_id", "write `id`"),
    ("ledger.topic", "write `home: topic`; its name follows from the pipeline's"),
    ("clusters.*.schema_registry", "write `registry`"),
    ("approvers", "sign a new trust root: `douane release trust`"),
    ("threshold", "sign a new trust root: `douane release trust`"),
];

/// Keys whose value may hold `${NAME}`: what differs between machines, and what is secret.
const FROM_ENVIRONMENT: &[&str] = &["bootstrap", "registry", "username"];

/// Parts of names whose value is a secret.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "private_key",
    "api_key",
    "apikey",
    "credential",
    "jaas",
    ".pem",
    "_pem",
    "key.pem",
];

/// Finds literal secrets, and puts values of the environment into the tree. Returns the marks of
/// the keys and values that were refused.
pub(super) fn secrets(
    root: &mut Node,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) -> Vec<Mark> {
    let mut refused = Vec::new();
    walk(root, "", &mut Secrets { file, env, findings, refused: &mut refused });
    refused
}

struct Secrets<'a> {
    file: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    findings: &'a mut Findings,
    refused: &'a mut Vec<Mark>,
}

fn walk(node: &mut Node, key: &str, secrets: &mut Secrets<'_>) {
    match &mut node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let scalar = !matches!(value.value, Value::Map(_) | Value::List(_) | Value::Null);
                if !scalar || !secrets.literal(&key.text, key.mark, value) {
                    walk(value, &key.text, secrets);
                }
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| walk(item, key, secrets)),
        Value::Text(text) => secrets.environment(key, node.mark, text),
        _ => {}
    }
}

impl Secrets<'_> {
    /// Is this a secret, written out? Then it is refused, and not looked at again.
    fn literal(&mut self, key: &str, mark: Mark, value: &Node) -> bool {
        let name = key.to_lowercase().replace('-', "_");
        let named = SECRET.iter().any(|part| name.contains(part))
            && name != "token_label"
            && !name.ends_with("_file")
            && !name.ends_with("_dir");
        let text = value.text().unwrap_or_default();
        let key_text = quoted(key);
        let from_environment = text.starts_with("${") && text.ends_with('}');
        let (message, next) = if named && from_environment {
            (
                format!("`{key_text}` is read from a file, not from the environment"),
                "write its value into a file and name that: `password_file: ${DIR}/…`",
            )
        } else if named {
            let next = match name.replace('.', "_").as_str() {
                "password" | "sasl_password" | "passwd" => {
                    "write it into a file and name that: `password_file: …`; then change the secret"
                }
                _ => "write it into a file and name that: `…_file`; then change the secret",
            };
            (format!("`{key_text}` holds a secret, written out"), next)
        } else if text.contains("-----BEGIN ") {
            (
                format!("`{key_text}` holds a key or certificate, written out"),
                "write it into a file and name that: `…_file`",
            )
        } else if user_info(text) {
            (
                format!("`{key_text}` has a user or password in its URL"),
                "remove them; a registry's login is named by `registry_auth_file`",
            )
        } else {
            return false;
        };
        self.findings
            .error(self.file, mark, Kind::Secret, message)
            .help("this file is read by people and kept in git")
            .next(next);
        self.refused.push(mark);
        true
    }

    fn environment(&mut self, key: &str, mark: Mark, text: &mut String) {
        if !text.contains("${") {
            return;
        }
        if !FROM_ENVIRONMENT.contains(&key) && !key.ends_with("_file") {
            let message = format!("`{}` does not read the environment", quoted(key));
            self.refused.push(mark);
            self.findings
                .error(self.file, mark, Kind::Environment, message)
                .help(format!(
                    "`${{NAME}}` is read in `{}` and `…_file`",
                    FROM_ENVIRONMENT.join("`, `")
                ))
                .next("write the value out");
            return;
        }
        match substitute(text, self.env) {
            Ok(found) => *text = found,
            Err(Unset { name }) => {
                let (message, next) = match name {
                    Some(name) => (
                        format!("environment variable `{name}` is not set"),
                        format!("set `{name}`, or write the value out"),
                    ),
                    None => (
                        "`${` without a name and `}`".to_owned(),
                        "write `${NAME}`: A-Z, 0-9 and `_`".to_owned(),
                    ),
                };
                self.refused.push(mark);
                self.findings.error(self.file, mark, Kind::Environment, message).next(next);
            }
        }
    }
}

/// `scheme://user@` or `scheme://user:password@`.
fn user_info(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest);
    authority.is_some_and(|rest| rest.split(['/', '?', '#']).next().unwrap_or("").contains('@'))
}

struct Unset {
    name: Option<String>,
}

/// Replaces each `${NAME}` once; what comes from the environment is not looked at again.
fn substitute(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Unset> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, after) = after.split_once('}').ok_or(Unset { name: None })?;
        let plain = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.len() <= 128
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if !plain {
            return Err(Unset { name: None });
        }
        let value = env(name).filter(|value| !value.is_empty());
        out.push_str(&value.ok_or_else(|| Unset { name: Some(name.to_owned()) })?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// What somebody outside the zone knows of a place: the global cluster, and where public keys and
/// the trust root lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    pub global: ClusterConfig,
    /// A folder with `manifest.key.pub`.
    pub keys: Option<PathBuf>,
    pub trust: Option<PathBuf>,
}

/// douane.yaml of somebody outside the zone: the global cluster alone.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Outside")]
#[serde(deny_unknown_fields)]
pub(super) struct OutsideFile {
    /// The global cluster.
    pub clusters: OutsideClusters,
    /// Where public keys lie.
    pub keys: Option<Dir>,
    /// The signed file of approvers and threshold.
    pub trust: Option<String>,
}

/// The global cluster.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutsideClusters {
    /// Where training lives.
    pub global: ClusterConfig,
}

/// As [`build`], for a file of somebody outside.
pub(super) fn build_outside(
    file: OutsideFile,
    root: &Node,
    path: &Path,
    label: &str,
    told: &[Mark],
    findings: &mut Findings,
) -> Outside {
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut global = file.clusters.global;
    global.resolve(dir);
    cluster("global", &mut global, root, label, told, findings);
    Outside {
        global,
        keys: file.keys.map(|keys| dir.join(keys.dir)),
        trust: file.trust.map(|trust| dir.join(trust)),
    }
}

/// Checks what the schema cannot say, and makes the place.
pub(super) fn build(
    file: PlaceFile,
    root: &Node,
    path: &Path,
    label: &str,
    told: &[Mark],
    findings: &mut Findings,
) -> Place {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    let Clusters { mut sovereign, mut global } = file.clusters;
    for (side, cluster) in [("sovereign", &mut sovereign), ("global", &mut global)] {
        cluster.resolve(&dir);
        self::cluster(side, cluster, root, label, told, findings);
    }
    for (field, left, right) in
        [("id", &sovereign.id, &global.id), ("zone", &sovereign.zone, &global.zone)]
    {
        if left == right {
            let mark = root.mark_at(&["clusters", "global", field]);
            let message = format!("both clusters have one `{field}`");
            findings
                .error(label, mark, Kind::Place, message)
                .help("raw data and what was approved lie in two clusters of two zones")
                .next(format_args!("write the `{field}` of the global cluster"));
        }
    }
    if let (Some(raw), Some(approved)) = (&sovereign.dir, &global.dir)
        && (raw.starts_with(approved) || approved.starts_with(raw))
    {
        let mark = root.mark_at(&["clusters", "global", "dir"]);
        findings
            .error(label, mark, Kind::Place, "one side's folder lies in the other's")
            .help("raw data and what was approved lie in two folders")
            .next("name another folder, such as `out/`");
    }
    for (field, value) in [("keys", &file.keys.dir), ("ledger", &file.ledger.dir)] {
        if value.is_empty() {
            let mark = root.mark_at(&[field, "dir"]);
            findings
                .error(label, mark, Kind::Place, format!("`{field}.dir` is empty"))
                .next("name a folder, such as `keys/`");
        }
    }
    apart_from_ledger(&file.keys, &file.ledger.dir, &file.state.dir, &dir, root, label, findings);
    if file.ledger.home == LedgerHome::Topic && sovereign.dir.is_some() {
        let mark = root.mark_at(&["ledger", "home"]);
        findings
            .error(label, mark, Kind::Place, "the sovereign side is a folder, which has no topics")
            .next("write `home: folder`, or remove the key");
    }
    let bundles_ms = file.ledger.bundles.as_deref().map(|text| {
        bundles(text).unwrap_or_else(|| {
            let mark = root.mark_at(&["ledger", "bundles"]);
            let message = "`bundles` is no period, expected `every 1s` to `every 7d`";
            findings
                .error(label, mark, Kind::Place, message)
                .next("write `every`, a count and `s`, `m`, `h` or `d`: `bundles: every 1h`");
            HOUR_MS
        })
    });
    if bundles_ms.is_some() && global.dir.is_some() {
        let mark = root.mark_at(&["ledger", "bundles"]);
        findings
            .error(label, mark, Kind::Place, "the global side is a folder, which takes no bundles")
            .help("they lie beside a topic's manifests; a folder's ledger is shown by its files")
            .next("remove the key");
    }
    let region = sovereign.zone.clone();
    let policy_dir = file.policy.map(|policy| dir.join(policy.dir));
    let mark = root.mark_at(&["policy", "dir"]);
    let files = policy_dir.iter().flat_map(|of| policy::read(of, label, mark, findings)).collect();
    let side = |cluster: &ClusterConfig| Endpoint {
        cluster_id: cluster.id.clone(),
        zone: cluster.zone.clone(),
        ..Endpoint::default()
    };
    let policy = Ground {
        source: side(&sovereign),
        target: side(&global),
        topic_prefix: global.topic_prefix.clone(),
        dir: policy_dir,
        files,
    };
    let serve = serve::build(file.serve, &sovereign.topic_prefix, &dir, root, label, findings);
    if serve.group.is_some() && sovereign.dir.is_some() {
        let mark = root.mark_at(&["serve", "group"]);
        findings
            .error(label, mark, Kind::Place, "the sovereign side is a folder, which has no groups")
            .next("remove `serve.group`");
    }
    let telemetry =
        file.telemetry.and_then(|file| telemetry(file, &region, &dir, root, label, findings));
    Place {
        policy,
        keys: keys(file.keys, region, &dir, root, label, findings),
        sovereign,
        global,
        ledger_dir: dir.join(file.ledger.dir),
        ledger_home: file.ledger.home,
        bundles_ms,
        state: StatePlace { dir: dir.join(file.state.dir), bytes_max: file.state.mib_max << 20 },
        trust: dir.join(file.trust),
        tasks: file.tasks,
        device: device(file.device, root, label, findings),
        serve,
        telemetry,
        dir,
    }
}

/// The ledger is handed to auditors as a folder: nothing that opens data lies in it, nor it among the keys.
fn apart_from_ledger(
    keys: &KeysFile,
    ledger: &str,
    state: &str,
    dir: &Path,
    root: &Node,
    label: &str,
    findings: &mut Findings,
) {
    let ledger = plain(&dir.join(ledger));
    let keys_dir = plain(&dir.join(&keys.dir));
    if keys_dir.starts_with(&ledger) || ledger.starts_with(&keys_dir) {
        let mark = root.mark_at(&["ledger", "dir"]);
        let message = match keys_dir == ledger {
            true => "keys and ledger lie in one folder",
            false => "of keys and ledger one's folder lies in the other's",
        };
        findings
            .error(label, mark, Kind::Place, message)
            .help("the ledger is handed to auditors, keys are not")
            .next("name another folder");
    }
    let pin = keys.pkcs11.as_ref().map(|token| token.pin_file.as_str());
    let token = keys.transit.as_ref().map(|service| service.token_file.as_str());
    for (at, path) in [
        (&["keys", "wrapping_file"][..], keys.wrapping_file.as_deref()),
        (&["keys", "passphrase_file"], keys.passphrase_file.as_deref()),
        (&["keys", "pkcs11", "pin_file"], pin),
        (&["keys", "transit", "token_file"], token),
        (&["state", "dir"], Some(state)),
    ] {
        if path.is_some_and(|path| plain(&dir.join(path)).starts_with(&ledger)) {
            let message = format!("`{}` lies in the ledger's folder", at.join("."));
            findings
                .error(label, root.mark_at(at), Kind::Place, message)
                .help("the ledger is handed to auditors; keys, and rows of open windows, are not")
                .next("name another place");
        }
    }
}

/// A path by its names alone, from the root: `./keys/` and `x/../keys` are `keys`.
fn plain(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

const HOUR_MS: u64 = 3_600_000;

/// `every 1h`. What is shorter than the checkpoints themselves says nothing more.
fn bundles(text: &str) -> Option<u64> {
    let ms = length_ms(text.strip_prefix("every ")?)?;
    (1_000..=7 * 24 * HOUR_MS).contains(&ms).then_some(ms)
}

fn telemetry(
    file: TelemetryFile,
    region: &str,
    dir: &Path,
    root: &Node,
    label: &str,
    findings: &mut Findings,
) -> Option<Telemetry> {
    let found = match (file.traces_file, file.otlp) {
        (Some(path), None) if !path.is_empty() => {
            if file.zone.is_some() {
                let mark = root.mark_at(&["telemetry", "zone"]);
                findings
                    .error(label, mark, Kind::Place, "a file of traces has no zone of its own")
                    .next("remove it");
            }
            Some(Telemetry::File(dir.join(path)))
        }
        (None, Some(url)) => endpoint(&url, true).map(|at| {
            let service = Service { path: &["telemetry"], zone: file.zone, at };
            service.lies_in(region, root, label, findings);
            Telemetry::Otlp(url)
        }),
        _ => None,
    };
    if found.is_none() {
        let mark = root.mark_at(&["telemetry"]);
        findings
            .error(label, mark, Kind::Place, "`telemetry` names no place for traces, or two")
            .help("a collector's URL is `https://` and a host, or `http://` and this machine")
            .next("write `telemetry: { traces_file: traces.jsonl }`, or `otlp: …`");
    }
    found
}

/// Where a service is that this process talks to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    ThisMachine,
    AnotherHost,
}

/// `https://` and a host, or `http://` and this machine; a path behind it where it may have one.
fn endpoint(url: &str, with_path: bool) -> Option<At> {
    let of = |scheme: &str| {
        let rest = url.strip_prefix(scheme)?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_host = !host.is_empty() && !host.contains('@') && !url.contains(['?', '#']);
        (is_host && (with_path || path.is_empty())).then_some(host)
    };
    let is_here = |host: &str| {
        let port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
        ["localhost", "127.0.0.1", "[::1]"].contains(&port.map_or(host, |at| &host[..at]))
    };
    match (of("https://"), of("http://")) {
        (Some(host), _) | (None, Some(host)) if is_here(host) => Some(At::ThisMachine),
        (Some(_), _) => Some(At::AnotherHost),
        _ => None,
    }
}

/// A service that this process talks to, as its file names it.
struct Service {
    /// Where in the file it stands.
    path: &'static [&'static str],
    zone: Option<String>,
    at: At,
}

impl Service {
    /// What it is given says what is inside, so it lies in the sovereign zone or is refused: the file says
    /// so, and whoever moves the service changes the file.
    fn lies_in(&self, region: &str, root: &Node, label: &str, findings: &mut Findings) {
        let Self { path, zone, at } = self;
        let what = path.join(".");
        let (mark, message) = match zone {
            Some(zone) if zone == region => return,
            None if *at == At::ThisMachine => return,
            Some(_) => {
                let mark = root.at(path).mark_at(&["zone"]);
                (mark, format!("`{what}.zone` is not the sovereign zone"))
            }
            None => (root.mark_at(path), format!("`{what}` names another host, and not its zone")),
        };
        findings
            .error(label, mark, Kind::Place, message)
            .help("what it is given says what is inside, which stays in the sovereign zone")
            .next(format_args!("write `zone: {region}` where the service stands there"));
    }
}

fn device(file: DeviceFile, root: &Node, label: &str, findings: &mut Findings) -> Choice {
    match file {
        DeviceFile::Auto => Choice::Auto,
        DeviceFile::Cpu => Choice::Cpu,
        DeviceFile::Gpu => {
            if cfg!(not(feature = "gpu")) {
                let mark = root.mark_at(&["device"]);
                findings
                    .error(label, mark, Kind::Place, "this build has no GPU in it")
                    .help("the noise is the same on the processor")
                    .next("write `device: auto`, or build with `--features gpu`");
            }
            Choice::Gpu
        }
    }
}

fn keys(
    file: KeysFile,
    region: String,
    place: &Path,
    root: &Node,
    label: &str,
    findings: &mut Findings,
) -> KeysPlace {
    let dir = place.join(&file.dir);
    let named = [
        ("passphrase_file", file.passphrase_file.is_some()),
        ("wrapping_file", file.wrapping_file.is_some()),
        ("pkcs11", file.pkcs11.is_some()),
        ("transit", file.transit.is_some()),
    ];
    let named: Vec<&str> = named.into_iter().filter(|(_, there)| *there).map(|(k, _)| k).collect();
    if let [first, second, ..] = named.as_slice() {
        let message = format!("`{first}` and `{second}` are two homes of one wrapping key");
        findings
            .error(label, root.mark_at(&["keys", second]), Kind::Place, message)
            .next(format_args!("keep one of the two"));
    }
    let apart = file.pkcs11.is_some() || file.transit.is_some();
    if let (Some(_), false) = (file.lease_s, apart) {
        findings
            .error(label, root.mark_at(&["keys", "lease_s"]), Kind::Place, "a file has no lease")
            .next("remove it, or name `pkcs11` or `transit`");
    }
    let lease = Duration::from_secs(u64::from(file.lease_s.unwrap_or(LEASE_S)));
    let home = if let Some(path) = file.passphrase_file {
        Home::Passphrase { path: place.join(path) }
    } else if let Some(token) = file.pkcs11 {
        if !Path::new(&token.module).is_absolute() {
            let mark = root.mark_at(&["keys", "pkcs11", "module"]);
            findings
                .error(label, mark, Kind::Place, "`pkcs11.module` is not an absolute path")
                .help("it is code that runs beside the keys")
                .next("write it whole, such as `/usr/lib/softhsm/libsofthsm2.so`");
        }
        let token = Pkcs11Home {
            module: token.module.into(),
            token_label: token.token_label,
            pin_file: place.join(token.pin_file),
            key_label: token.key_label,
        };
        Home::Pkcs11 { token, lease }
    } else if let Some(service) = file.transit {
        Home::Transit { service: transit(service, &region, place, root, label, findings), lease }
    } else {
        let path = file.wrapping_file.map(|path| place.join(path));
        Home::File { path: path.unwrap_or_else(|| dir.join("wrapping.key")) }
    };
    let quarantine = Retention::days(file.quarantine.epoch_days, file.quarantine.keep_days);
    KeysPlace { dir, region, locked: file.locked, home, quarantine }
}

fn transit(
    file: TransitFile,
    region: &str,
    place: &Path,
    root: &Node,
    label: &str,
    findings: &mut Findings,
) -> TransitHome {
    let mark = root.mark_at(&["keys", "transit"]);
    let mount = file.mount.unwrap_or_else(|| "transit".to_owned());
    let path = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
            && text.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    };
    let url = file.url.trim_end_matches('/').to_owned();
    match endpoint(&url, false) {
        Some(at) => Service { path: &["keys", "transit"], zone: file.zone, at }
            .lies_in(region, root, label, findings),
        None => {
            findings
                .error(label, mark, Kind::Place, "`transit.url` is not `https://` and a host")
                .help("keys cross this link")
                .next("write it as in `https://vault.example:8200`");
        }
    }
    if !path(&mount) || !path(&file.key) || file.key.contains('/') {
        findings
            .error(label, mark, Kind::Place, "`transit.mount` or `transit.key` is out of form")
            .next("write A-Z, a-z, 0-9, `-`, `_` and `.`");
    }
    TransitHome {
        url,
        mount,
        key: file.key,
        token_file: place.join(file.token_file),
        ca_file: file.ca_file.map(|path| place.join(path)),
    }
}

fn cluster(
    side: &str,
    cluster: &ClusterConfig,
    root: &Node,
    label: &str,
    told: &[Mark],
    findings: &mut Findings,
) {
    let here = root.at(&["clusters", side]);
    let at = |field: &str| here.mark_at(&[field]);
    let looked_at = |path: &[&str]| !told.contains(&here.at(path).mark);
    if !zone(&cluster.zone) && looked_at(&["zone"]) {
        findings
            .error(label, at("zone"), Kind::Place, "a zone's name is out of form")
            .next("write a-z, 0-9 and `-`, such as `eu-de`");
    }
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let id = &cluster.id;
    if (id.is_empty() || id.len() > 64 || !plain(id)) && looked_at(&["id"]) {
        findings
            .error(label, at("id"), Kind::Place, "a cluster's id is out of form")
            .next("write what `kafka-cluster.sh cluster-id` says");
    }
    let prefix = &cluster.topic_prefix;
    if (prefix.len() > 100 || !plain(prefix)) && looked_at(&["topic_prefix"]) {
        findings
            .error(label, at("topic_prefix"), Kind::Topic, "a topic prefix is out of form")
            .next("write a-z, A-Z, 0-9, `.`, `_` and `-`, at most 100");
    }
    if cluster.dir.is_some() || cluster.bootstrap.is_empty() {
        // What was refused in its place is told already.
        if told.is_empty() {
            folder(side, cluster, here, label, findings);
        }
        return;
    }
    for fault in check_properties(cluster) {
        let path: Vec<&str> = match &fault {
            PropertyFault::Field { field, .. } => field.split('.').collect(),
            PropertyFault::NotAllowed { name, .. }
            | PropertyFault::Fixed { name }
            | PropertyFault::Elsewhere { name, .. }
            | PropertyFault::Value { name, .. } => vec!["properties", name],
        };
        if !looked_at(&path) {
            continue;
        }
        let known = path.first().is_some_and(|first| here.get(first).is_some());
        let mark = if known { here.mark_at(&path) } else { root.mark_at(&["clusters", side]) };
        let text = fault.to_string();
        let (message, next) = match text.split_once("; ").or_else(|| text.split_once(": ")) {
            Some((message, next)) => (message.to_owned(), next.to_owned()),
            None => (text, "mend it, or remove it".to_owned()),
        };
        let message = format!("cluster `{side}`: {message}");
        findings.error(label, mark, Kind::Place, message).next(next);
    }
}

/// A folder has nothing of what a cluster is reached by, and a cluster has no folder.
fn folder(side: &str, cluster: &ClusterConfig, here: &Node, label: &str, findings: &mut Findings) {
    let Some(dir) = &cluster.dir else {
        findings
            .error(label, here.mark, Kind::MissingKey, format!("cluster `{side}` is nowhere"))
            .next("add `bootstrap: host:9092`, or `dir: …` for files");
        return;
    };
    if dir.as_os_str().is_empty() {
        findings
            .error(
                label,
                here.mark_at(&["dir"]),
                Kind::Place,
                format!("cluster `{side}`: `dir` is empty"),
            )
            .next("name a folder, such as `in/`");
    }
    let of_kafka = [
        "bootstrap",
        "registry",
        "registry_auth_file",
        "tls",
        "sasl",
        "topic_prefix",
        "topics",
        "properties",
    ];
    for key in of_kafka.into_iter().filter(|key| here.get(key).is_some()) {
        findings
            .error(label, here.mark_at(&[key]), Kind::Place, format!("a folder has no `{key}`"))
            .next("remove it, or remove `dir`");
    }
}

/// Names of zones and residencies.
pub(crate) fn zone(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_once() {
        let env = |name: &str| match name {
            "HOST" => Some("kafka".to_owned()),
            "TRICK" => Some("${HOST}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("${HOST}:9092", Some("kafka:9092")),
            ("${HOST}-${HOST}", Some("kafka-kafka")),
            ("${TRICK}", Some("${HOST}")),
            ("${EMPTY}", None),
            ("${GONE}", None),
            ("${HOST", None),
            ("${}", None),
            ("${host}", None),
            ("${HOST }", None),
            ("$HOST", Some("$HOST")),
        ] {
            assert_eq!(substitute(text, &env).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_login_in_a_url_is_seen() {
        assert!(user_info("http://u:p@registry:8081"));
        assert!(user_info("https://u@registry"));
        assert!(!user_info("http://registry:8081/a@b"));
        assert!(!user_info("u:p@registry"));
    }
}
