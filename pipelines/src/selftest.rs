//! `selftest`: vectors of the standards through the implementations of this build, those that are
//! compiled in and any in files of Project Wycheproof's or ACVP's form.
//!
//! Unknown fields are passed over; results are not: a case passes only if the answer is the
//! expected one, and a case that is to be refused only if it is refused. What this build does not
//! take, because it has no such algorithm or by policy, is neither.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

mod acvp;
mod kernels;
mod ours;
mod wycheproof;

pub use douane_kernels::NoGpu;
pub use kernels::on_gpu;

/// What became of one case.
enum Outcome {
    Passed,
    /// In what way, without the vector's values.
    Failed(&'static str),
    /// Why this build does not take it.
    NotSupported(String),
}

/// What became of the cases of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file, or the name of what is built in.
    pub file: String,
    /// As the file names it.
    pub algorithm: String,
    pub passed: u64,
    pub failed: u64,
    pub not_supported: u64,
    /// The first failed cases.
    pub failures: Vec<Failure>,
    /// Why cases are not supported, by group.
    pub reasons: Vec<Reason>,
    /// What kernels ran on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
}

/// A GPU, in the words of its driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adapter {
    pub name: String,
    pub backend: String,
    pub driver: String,
    /// Executed by the processor.
    pub software: bool,
}

/// A failed case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// 0, where it is no kernel's: the whole file.
    pub group: u64,
    pub case: u64,
    pub what: String,
}

/// Cases of one group that are not supported for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub group: u64,
    pub cases: u64,
    pub why: String,
}

/// Failures of one file that are listed; all are counted.
const FAILURES_LISTED_MAX: usize = 20;
/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Most files below the given folders.
const FILES_MAX: usize = 10_000;
/// Deepest folder below a given one.
const DEPTH_MAX: usize = 16;

impl Report {
    fn new(file: String, document: &Value) -> Self {
        let algorithm = text(document, "algorithm").unwrap_or("unknown").to_owned();
        Self { file, algorithm, ..Self::default() }
    }

    fn add(&mut self, group: u64, case: u64, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(what) => {
                self.failed += 1;
                if self.failures.len() < FAILURES_LISTED_MAX {
                    self.failures.push(Failure { group, case, what: what.to_owned() });
                }
            }
            Outcome::NotSupported(why) => {
                self.not_supported += 1;
                let same = |reason: &&mut Reason| reason.group == group && reason.why == why;
                match self.reasons.iter_mut().rev().take(8).find(same) {
                    Some(reason) => reason.cases += 1,
                    None => self.reasons.push(Reason { group, cases: 1, why }),
                }
            }
        }
    }

    /// The file itself is not what it is there for; before its cases, so that it is always listed.
    fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.insert(0, Failure { group: 0, case: 0, what });
        self.failures.truncate(FAILURES_LISTED_MAX);
    }

    fn tried(&self) -> bool {
        self.passed + self.failed > 0
    }

    /// Nothing failed, and there was something to try: a file without a case proves nothing.
    pub fn holds(&self) -> bool {
        self.failed == 0 && self.passed + self.not_supported > 0
    }

    /// Reasons in words, each with its cases and groups.
    pub fn reasons_in_words(&self) -> Vec<String> {
        let mut by_why: BTreeMap<&str, (u64, Vec<u64>)> = BTreeMap::new();
        for reason in &self.reasons {
            let (cases, groups) = by_why.entry(&reason.why).or_default();
            *cases += reason.cases;
            groups.push(reason.group);
        }
        let words = |(why, (cases, groups)): (&str, (u64, Vec<u64>))| {
            let shown: Vec<String> = groups.iter().take(6).map(u64::to_string).collect();
            let more = if groups.len() > shown.len() { ", …" } else { "" };
            let of = if groups.len() == 1 { "group" } else { "groups" };
            format!("{cases} not supported: {why} ({of} {}{more})", shown.join(", "))
        };
        by_why.into_iter().map(words).collect()
    }
}

/// The vectors that are compiled in.
const BUILT_IN: [(&str, &str); 7] = [
    ("FF1: NIST SP 800-38G samples", include_str!("../testdata/selftest/ff1_nist.json")),
    ("FF1: Wycheproof, a selection", include_str!("../testdata/selftest/ff1_wycheproof.json")),
    ("HMAC-SHA-256: RFC 4231", include_str!("../testdata/selftest/hmac_rfc4231.json")),
    ("AES-CMAC: NIST SP 800-38B", include_str!("../testdata/selftest/cmac_sp800_38b.json")),
    ("AES-SIV: Wycheproof, a selection", include_str!("../testdata/selftest/aes_siv.json")),
    ("AES-GCM: Wycheproof, a selection", include_str!("../testdata/selftest/aes_gcm.json")),
    ("AES-GCM-SIV: RFC 8452", include_str!("../testdata/selftest/aes_gcm_siv_rfc8452.json")),
];

/// Runs what is compiled in.
pub fn built_in() -> Vec<Report> {
    let documents: Vec<(String, Value)> = BUILT_IN
        .iter()
        // They are parsed by a test; a file that is none would fail below, not pass.
        .map(|(name, text)| ((*name).to_owned(), serde_json::from_str(text).unwrap_or_default()))
        .collect();
    run(&documents)
}

/// Runs vector files, and all `.json` files of folders. A prompt of ACVP's is answered by the
/// expected results of the same vector set where both are given. Of each path that was named one case at
/// least must be tried, or its answers try another's: what tries nothing proves nothing.
///
/// # Errors
/// A file that cannot be read or is no JSON.
pub fn files(paths: &[PathBuf]) -> Result<Vec<Report>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    let mut named = Vec::new();
    for path in paths {
        let before = found.len();
        collect(path, 0, &mut found)?;
        if found.len() == before {
            return Err((path.clone(), io::ErrorKind::NotFound.into()));
        }
        named.push(before..found.len());
    }
    let mut documents = Vec::new();
    for path in found {
        let document = read(&path).map_err(|error| (path.clone(), error))?;
        documents.push((path.display().to_string(), document));
    }
    let mut reports = run(&documents);
    for of in named {
        let tries = |at: usize| reports[at].tried() || acvp::answers_one(at, &documents, &reports);
        if !of.clone().any(tries) {
            let cases: u64 = documents[of.clone()].iter().map(|(_, one)| cases(one)).sum();
            reports[of.start].fail(format!(
                "none of {cases} cases is of an algorithm and a form that this build takes, expected one at least"
            ));
        }
    }
    Ok(reports)
}

fn collect(
    path: &Path,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), (PathBuf, io::Error)> {
    let fault = |error| (path.to_owned(), error);
    if !fs::metadata(path).map_err(fault)?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(fault)?.collect();
    let mut entries: Vec<PathBuf> = entries.map_err(fault)?.iter().map(|e| e.path()).collect();
    entries.sort();
    for entry in entries {
        let is_json = entry.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if entry.is_dir() && depth < DEPTH_MAX || is_json {
            collect(&entry, depth + 1, found)?;
        }
        if found.len() > FILES_MAX {
            return Err(fault(io::Error::from(io::ErrorKind::FileTooLarge)));
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Value> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let text = fs::read(path)?;
    let document: Value =
        serde_json::from_slice(&text).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // ACVP puts its version before the vector set.
    Ok(match document {
        Value::Array(parts) => {
            let set = parts.into_iter().find(|part| part.get("testGroups").is_some());
            set.unwrap_or_default()
        }
        document => document,
    })
}

fn run(documents: &[(String, Value)]) -> Vec<Report> {
    let mut reports = Vec::new();
    for (name, document) in documents {
        let mut report = Report::new(name.clone(), document);
        if groups(document).is_empty() {
            report.add(0, 0, Outcome::NotSupported("no test groups in this file".into()));
        } else if acvp::is_form_of(document) {
            acvp::run(document, documents, &mut report);
        } else {
            wycheproof::run(document, &mut report);
        }
        let cases = cases(document);
        if let Some(said) = number(document, "numberOfTests").filter(|said| *said != cases) {
            report
                .fail(format!("{cases} cases, expected {said} by the file's own `numberOfTests`"));
        }
        reports.push(report);
    }
    reports
}

/// Groups of a document.
fn groups(document: &Value) -> &[Value] {
    list(document, "testGroups")
}

/// How many there are, in all groups.
fn cases(document: &Value) -> u64 {
    groups(document).iter().map(|group| list(group, "tests").len() as u64).sum()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

/// Hexadecimal text of either case.
fn hex(value: &Value, name: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text(value, name)?.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
