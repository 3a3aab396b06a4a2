//! The ledger's verifier for a browser: the same code as `douane verify`, over files that a page
//! holds in memory. Calls go by numbers and one box of bytes; there is no glue to generate.
//!
//! 1. `inbox(n)` gives a place for `n` bytes.
//! 2. `put(name, offset)`: the inbox holds a path of `name` bytes, then bytes of that file from
//!    `offset` on. What stood from there on is gone. `drop_file(name)` takes one away.
//! 3. `check()`: the inbox holds `{"log", "key", "checkpoints"}`; `outbox()` and the number that
//!    `check` gave are where the answer stands, in JSON.

use std::collections::BTreeMap;
use std::sync::Mutex;

use douane_ledger::verify::{self, Expect, Memory, Report};
use serde_json::{Value, json};

struct State {
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
}

static STATE: Mutex<State> =
    Mutex::new(State { inbox: Vec::new(), outbox: Vec::new(), files: BTreeMap::new() });

fn with<T>(act: impl FnOnce(&mut State) -> T) -> T {
    act(&mut STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

#[unsafe(no_mangle)]
pub extern "C" fn inbox(bytes: usize) -> *mut u8 {
    with(|state| {
        state.inbox = vec![0; bytes];
        state.inbox.as_mut_ptr()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn outbox() -> *const u8 {
    with(|state| state.outbox.as_ptr())
}

/// Whether it was taken: a name that is no UTF-8, or an offset beyond the file, is not.
#[unsafe(no_mangle)]
pub extern "C" fn put(name: usize, offset: usize) -> bool {
    with(|state| {
        let inbox = std::mem::take(&mut state.inbox);
        let Some((name, bytes)) = inbox.split_at_checked(name) else { return false };
        let Ok(name) = std::str::from_utf8(name) else { return false };
        let file = state.files.entry(name.to_owned()).or_default();
        if offset > file.len() {
            return false;
        }
        file.truncate(offset);
        file.extend_from_slice(bytes);
        true
    })
}

/// The inbox holds its path.
#[unsafe(no_mangle)]
pub extern "C" fn drop_file() {
    with(|state| {
        let inbox = std::mem::take(&mut state.inbox);
        if let Ok(name) = std::str::from_utf8(&inbox) {
            state.files.remove(name);
        }
    });
}

/// Checks what was put; how many bytes the answer has.
#[unsafe(no_mangle)]
pub extern "C" fn check() -> usize {
    with(|state| {
        let asked = serde_json::from_slice(&std::mem::take(&mut state.inbox)).unwrap_or_default();
        let answer = answer(&asked, std::mem::take(&mut state.files));
        let (answer, files) = answer;
        (state.outbox, state.files) = (answer.to_string().into_bytes(), files);
        state.outbox.len()
    })
}

fn answer(asked: &Value, files: BTreeMap<String, Vec<u8>>) -> (Value, BTreeMap<String, Vec<u8>>) {
    let text = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
    let old = asked["checkpoints"].as_array().into_iter().flatten();
    let expect = Expect {
        checkpoint_key: asked["key"].as_str().map(str::to_owned),
        old_checkpoints: old.filter_map(text).collect(),
        ..Expect::default()
    };
    let memory = Memory::new(files);
    let answer = match verify::files(asked["log"].as_str().unwrap_or_default(), &memory, &expect) {
        Ok(report) => as_json(&report),
        Err(error) => json!({"holds": false, "findings": [format!("the files: {error}")]}),
    };
    (answer, memory.into_files())
}

/// The fields of `douane verify --format json` that a log alone has.
fn as_json(report: &Report) -> Value {
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    json!({
        "holds": report.holds(),
        "findings": findings,
        "entries": report.entries,
        "root": douane_ledger::canonical::hex(&report.root),
        "intents": report.intents,
        "committed": report.committed,
        "void": report.void,
        "open": report.open,
        "checkpoint": report.checkpoint,
        "signature_checked": report.signature_checked,
    })
}
