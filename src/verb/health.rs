//! `health`: for a container's health check, where there is no shell and no other client.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use douane_pipelines::config;
use douane_serve::ping;

use crate::{Douane, Verb, verb};

/// What is known of the process that runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    /// The service answers.
    Answers(SocketAddr),
    /// A verb that does not answer calls, or a service of which nobody knows any more where it listens:
    /// that it runs is all there is to know. What ends or fails ends its process.
    Runs(String),
    /// The service does not answer.
    Silent(SocketAddr),
    /// The process is stopped by a signal, or dead.
    Stopped(String),
    /// There is no process.
    Nobody,
}

pub fn run() -> ExitCode {
    let health = examine(Path::new("/proc"), std::process::id());
    verb::print(&match &health {
        Health::Answers(address) => format!("the service answers at {address}"),
        Health::Runs(verb) => format!("`douane {verb}` runs"),
        Health::Silent(address) => format!("the service does not answer at {address}"),
        Health::Stopped(verb) => format!("`douane {verb}` is stopped"),
        Health::Nobody => "no `douane` runs here".to_owned(),
    });
    verb::answer(matches!(health, Health::Answers(_) | Health::Runs(_)))
}

/// The first process of this name that is no such check itself: of a container there is one, process 1
/// or its init's child. Its command line and its state are all that others may read of it, because it
/// is not dumpable.
fn examine(processes: &Path, own: u32) -> Health {
    let entries = fs::read_dir(processes).into_iter().flatten().flatten();
    let mut ids: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    let found = ids.into_iter().filter(|id| *id != own).find_map(|id| {
        let words = words(&fs::read(processes.join(format!("{id}/cmdline"))).ok()?);
        let (name, rest) = words.split_first()?;
        let verb = rest.iter().find(|word| is_verb(word))?.to_string_lossy().into_owned();
        let is_ours = Path::new(name).file_name()? == "douane" && verb != "health";
        is_ours.then_some((id, words, verb))
    });
    let Some((id, words, shown)) = found else { return Health::Nobody };
    if is_stopped(&fs::read_to_string(processes.join(format!("{id}/stat"))).unwrap_or_default()) {
        return Health::Stopped(shown);
    }
    let Ok(Douane { place, verb: Verb::Serve(args) }) = Douane::try_parse_from(words) else {
        return Health::Runs(shown);
    };
    if !args.listens() {
        return Health::Runs(shown);
    }
    // A file that holds no more changes nothing of what runs, and is no reason to end it.
    let Ok(place) = config::load_place(&place) else { return Health::Runs(shown) };
    let address = ping::here(&place.serve);
    match ping::answers(&place.serve) {
        true => Health::Answers(address),
        false => Health::Silent(address),
    }
}

fn words(cmdline: &[u8]) -> Vec<OsString> {
    let words = cmdline.strip_suffix(b"\0").unwrap_or(cmdline).split(|byte| *byte == 0);
    words.map(|word| OsString::from_vec(word.to_vec())).collect()
}

/// Verbs are told by their names alone: a command line may have paths in it.
fn is_verb(word: &OsString) -> bool {
    let command = <Douane as clap::CommandFactory>::command();
    command.get_subcommands().any(|verb| word == verb.get_name())
}

/// The state stands behind the name, which may have parentheses itself.
fn is_stopped(stat: &str) -> bool {
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    matches!(state, Some('T' | 't' | 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::PathBuf;

    use super::*;

    /// Processes as Linux shows them, by number, command line and state.
    fn processes(those: &[(u32, &[&str], char)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (id, words, state) in those {
            let of = dir.path().join(id.to_string());
            fs::create_dir(&of).unwrap();
            let line: String = words.iter().map(|word| format!("{word}\0")).collect();
            fs::write(of.join("cmdline"), line).unwrap();
            fs::write(of.join("stat"), format!("{id} (d) (x) {state} 0 1 1 0")).unwrap();
        }
        fs::write(dir.path().join("uptime"), "1 1").unwrap();
        dir
    }

    fn place(dir: &Path, listen: &str) -> PathBuf {
        let path = dir.join("douane.yaml");
        let text = format!(
            "clusters:\n  sovereign: {{ zone: a, id: \"{id}\", bootstrap: \"x:1\" }}\n  global: {{ zone: \
             b, id: \"{id}Z\", bootstrap: \"y:1\", registry: \"http://z:1\" }}\nkeys: {{ dir: keys/ }}\n\
             ledger: {{ dir: ledger/ }}\nstate: {{ dir: state/ }}\ntrust: trust.json\nserve: {{ listen: \
             \"{listen}\", tls: {{ cert_file: c, key_file: k }} }}\n",
            id = "ZG91YW5lLWRlbW8tem9uZQ"
        );
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_service_is_asked_and_others_run_or_do_not() {
        let init: (u32, &[&str], char) = (1, &["/sbin/docker-init", "--", "douane", "serve"], 'S');
        let run: (u32, &[&str], char) = (7, &["/usr/bin/douane", "run", "serve"], 'S');
        let own: (u32, &[&str], char) = (9, &["/usr/bin/douane", "health"], 'R');
        // Another check beside this one.
        let beside: (u32, &[&str], char) = (5, own.1, 'R');
        let of = |those: &[(u32, &[&str], char)]| examine(processes(those).path(), 9);
        assert_eq!(of(&[init, own]), Health::Nobody);
        assert_eq!(of(&[init, beside, run, own]), Health::Runs("run".to_owned()));
        assert_eq!(of(&[(7, run.1, 'T'), own]), Health::Stopped("run".to_owned()));
        let tokens: &[&str] = &["douane", "serve", "tokens"];
        assert_eq!(of(&[(2, tokens, 'S')]), Health::Runs("serve".to_owned()));

        // One that answers, one that says what no service says, one that is gone.
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let file = place(dir.path(), &format!("0.0.0.0:{}", address.port()));
        let file = file.to_str().unwrap();
        let serve: &[&str] = &["/usr/bin/douane", "-c", file, "serve", "pipelines/"];
        let said = |answer: &'static [u8]| {
            let listener = listener.try_clone().unwrap();
            // Not waited for: where nobody asks it, the comparison below says so.
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 17]).unwrap();
                stream.write_all(answer).unwrap();
            });
            of(&[(1, serve, 'S'), own])
        };
        assert_eq!(said(&[21, 3, 3, 0, 2, 2, 50]), Health::Answers(address));
        assert_eq!(said(b"HTTP/1.1 200 OK\r\n\r\n"), Health::Silent(address), "no TLS");
        drop(listener);
        assert_eq!(of(&[(1, serve, 'S')]), Health::Silent(address));
        // What nobody can read is no reason to end what runs.
        fs::write(file, "clusters: {").unwrap();
        assert_eq!(of(&[(1, serve, 'S')]), Health::Runs("serve".to_owned()));
    }
}
