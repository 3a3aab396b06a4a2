//! A place's own policies: Rego files in the folder that `policy.dir` of `douane.yaml` names. They
//! can deny what the default policy allows, and nothing else: they are asked apart from it, and only
//! for `deny`. Their language is the part of Rego that all engines answer alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::engine::{Policy, Undecided};
use super::{PACKAGE_OF_PLACES, document, paths};
use crate::config::{Findings, Kind, Mark};

/// One file, as it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name in the folder.
    pub name: String,
    pub text: String,
}

/// The files of one folder.
pub const FILES_MAX: usize = 32;
/// Of one file.
pub const FILE_BYTES_MAX: usize = 65_536;
/// Brackets in each other.
const DEPTH_MAX: usize = 8;

/// Built-in functions of which all engines say the same, and that make nothing large of little.
const CALLS: &[&str] = &[
    "abs",
    "ceil",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "max",
    "min",
    "object.get",
    "object.keys",
    "round",
    "sort",
    "startswith",
    "sum",
    "union",
];

/// What a file must not say, and why.
const WORDS: &[(&str, &str)] = &[
    ("default", "`deny` needs none: what no rule puts into it is not denied"),
    ("with", "the document is what it is"),
    ("import", "there is nothing to import: Rego is version 1"),
];

/// Digits of a number.
const DIGITS_MAX: usize = 15;

/// The Rego files of a folder, by name. Files of tests, `…_test.rego`, are not policies.
pub fn names(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rego") && !name.ends_with("_test.rego") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What lies in the folder, looks like a policy, and is read by nobody: whoever put it there believes
/// that it denies.
fn not_read(dir: &Path) -> std::io::Result<Vec<(String, &'static str)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Folders of tools, such as `.git`.
        if name.starts_with('.') && !name.to_lowercase().ends_with(".rego") {
            continue;
        }
        let path = dir.join(&name);
        if path.is_dir() {
            found.push((name, "a folder in the folder of policies is not read"));
        } else if name.ends_with("_test.rego") {
            let text = read_bounded(&path).and_then(|bytes| String::from_utf8(bytes).ok());
            if package(text.as_deref().unwrap_or_default()).as_deref() == Some(PACKAGE_OF_PLACES) {
                found.push((name, "a file of tests is not read, and this one is of the policies"));
            }
        } else if name.to_lowercase().ends_with(".rego") && !name.ends_with(".rego") {
            found.push((name, "only files that end in `.rego` are read"));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What a file says it is part of.
fn package(text: &str) -> Option<String> {
    let mut words = tokens(text).into_iter().map(|token| token.text);
    (words.next()? == "package").then(|| words.next()).flatten()
}

/// At most a byte more than a file may have; nothing of what is no file.
fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    let file = fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.metadata().ok()?.is_file().then_some(())?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The paths of the files, and the folder's own: what a change of the policies changes.
pub fn paths(dir: &Path) -> Vec<PathBuf> {
    names(dir).unwrap_or_default().into_iter().map(|name| dir.join(name)).collect()
}

/// Reads the folder; everything that is wrong with it.
pub fn read(dir: &Path, place: &str, mark: Mark, findings: &mut Findings) -> Vec<File> {
    let before = findings.len();
    let found = match names(dir) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("`policy.dir` cannot be read: {}", error.kind());
            findings
                .error(place, mark, Kind::Unreadable, message)
                .next("name a folder of Rego files, or remove `policy`");
            return Vec::new();
        }
    };
    if found.is_empty() || found.len() > FILES_MAX {
        let message = format!("`policy.dir` holds {} Rego files", found.len());
        findings
            .error(place, mark, Kind::OutOfRange, message)
            .next(format_args!("expected 1 to {FILES_MAX}: files that end in `.rego`"));
        return Vec::new();
    }
    for (name, why) in not_read(dir).unwrap_or_default() {
        let label = dir.join(&name).display().to_string();
        findings
            .error(&label, Mark::FILE, Kind::NotAllowed, why)
            .next("put its rules into a file of the folder itself, or take it away");
    }
    let mut files = Vec::new();
    for name in found {
        let label = dir.join(&name).display().to_string();
        let Some(bytes) = read_bounded(&dir.join(&name)) else {
            findings
                .error(&label, Mark::FILE, Kind::Unreadable, "cannot be read")
                .next("mend its rights");
            continue;
        };
        if bytes.len() > FILE_BYTES_MAX {
            let message = format!("file has more than {FILE_BYTES_MAX} bytes");
            findings.error(&label, Mark::FILE, Kind::TooLarge, message).next("split it");
            continue;
        }
        let Ok(text) = String::from_utf8(bytes) else {
            findings
                .error(&label, Mark::FILE, Kind::Syntax, "is not UTF-8")
                .next("save it as UTF-8");
            continue;
        };
        files.push(File { name, text });
    }
    if findings.len() == before {
        examine(dir, &files, findings);
    }
    files
}

fn examine(dir: &Path, files: &[File], findings: &mut Findings) {
    let label = |name: &str| dir.join(name).display().to_string();
    // Before it is parsed: the engine tries each bracket in two ways.
    if let Some(file) = files.iter().find(|file| depth(&file.text) > DEPTH_MAX) {
        let message = format!("brackets lie deeper than {DEPTH_MAX} in each other");
        findings
            .error(&label(&file.name), Mark { line: 1, column: 1 }, Kind::TooLarge, message)
            .next("name the parts in rules of their own");
        return;
    }
    // Before an engine makes something large of few characters.
    for file in files {
        if let Some(mark) =
            tokens(&file.text).iter().find(|token| is_odd_number(token)).map(|t| t.mark)
        {
            let message = format!("a number has digits, at most {DIGITS_MAX}, and one point");
            findings
                .error(&label(&file.name), mark, Kind::NotAllowed, message)
                .next("write it out");
            return;
        }
    }
    if let Err((name, fault)) = parse(files) {
        let (mark, why) = match fault {
            Undecided::Failed { line, column, why } => (Mark { line, column }, why),
            other => (Mark { line: 1, column: 1 }, other.to_string()),
        };
        findings
            .error(&label(&name), mark, Kind::Syntax, format!("no policy: {why}"))
            .next(format_args!("write Rego of version 1 in `package {PACKAGE_OF_PLACES}`"));
        return;
    }
    let known = known(files);
    if let Some(rule) = endless(files, &known.rules) {
        let message = format!("rule `{rule}` asks for itself");
        findings
            .error(&label(&files[0].name), Mark { line: 1, column: 1 }, Kind::NotAllowed, message)
            .next("write it without: Rego has no recursion");
        return;
    }
    for file in files {
        let of_types = paths::wrong(&file.text).into_iter().map(|wrong| {
            let step = "mend it: what is not there would deny nothing";
            (wrong.mark, wrong.message, step.to_owned())
        });
        let mut all = strange(&file.text, &known);
        // What both say is said once.
        let more: Vec<_> =
            of_types.filter(|(mark, ..)| all.iter().all(|(m, ..)| m.line != mark.line)).collect();
        all.extend(more);
        for (mark, message, next) in all {
            findings.error(&label(&file.name), mark, Kind::NotAllowed, message).next(next);
        }
    }
    let all = files.iter().flat_map(|file| tokens(&file.text));
    if !all.into_iter().any(|token| token.starts_line && token.text == "deny") {
        findings
            .error(
                &label(&files[0].name),
                Mark { line: 1, column: 1 },
                Kind::MissingKey,
                "no rule `deny`",
            )
            .next("write `deny contains {\"code\": …, \"why\": …} if { … }`");
    }
}

fn is_odd_number(token: &Token) -> bool {
    let Token { text, next: Some('0'), .. } = token else { return false };
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    !plain || text.matches('.').count() > 1 || digits > DIGITS_MAX
}

/// How deep brackets lie in each other, those in texts and comments too.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => now += 1,
            ')' | ']' | '}' => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

/// Parses the files.
pub fn parse(files: &[File]) -> Result<Policy, (String, Undecided)> {
    let files = files.iter().map(|file| (file.name.as_str(), file.text.as_str()));
    Policy::parse(PACKAGE_OF_PLACES, files)
}

/// Names that a path may have after its first: fields of the document.
struct Known {
    fields: BTreeSet<String>,
    /// Rules and functions of the files.
    rules: BTreeSet<String>,
}

fn known(files: &[File]) -> Known {
    let all = files.iter().flat_map(|file| tokens(&file.text));
    let rules = all.filter(|token| token.starts_line).map(|token| token.text);
    let fields = document::fields().into_iter().chain(["code", "why", "column"].map(str::to_owned));
    Known { fields: fields.collect(), rules: rules.collect() }
}

/// A rule that asks for itself, by way of others too: the engine would not come back.
fn endless(files: &[File], rules: &BTreeSet<String>) -> Option<String> {
    let mut asks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let mut of = String::new();
        for token in tokens(&file.text) {
            let first = token.text.split('.').next().unwrap_or_default().to_owned();
            if token.starts_line {
                of = first;
            } else if rules.contains(&first) {
                asks.entry(of.clone()).or_default().insert(first);
            }
        }
    }
    // Whatever is asked for by way of others, until nothing is new.
    loop {
        let before = asks.values().map(BTreeSet::len).sum::<usize>();
        let known = asks.clone();
        for reached in asks.values_mut() {
            let more: Vec<String> =
                reached.iter().filter_map(|rule| known.get(rule)).flatten().cloned().collect();
            reached.extend(more);
        }
        if asks.values().map(BTreeSet::len).sum::<usize>() == before {
            break;
        }
    }
    asks.into_iter().find(|(rule, reached)| reached.contains(rule)).map(|(rule, _)| rule)
}

/// A word of a file that is no text and no comment: a path of names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    mark: Mark,
    /// It is the first of its line, without a space before it.
    starts_line: bool,
    /// What comes right after it.
    next: Option<char>,
}

/// A word that a policy of a place must not use: where, what, and what to do.
fn strange(text: &str, known: &Known) -> Vec<(Mark, String, String)> {
    let mut found = Vec::new();
    let mut package = true;
    for Token { text: word, mark, next, .. } in tokens(text) {
        let mut say = |message: String, step: &str| found.push((mark, message, step.to_owned()));
        // `package douane.place`
        if package {
            package = word == "package";
            continue;
        }
        if word == PACKAGE_OF_PLACES {
            continue;
        }
        if let Some((_, why)) = WORDS.iter().find(|(known, _)| *known == word) {
            say(format!("`{word}`: {why}"), "remove it");
            continue;
        }
        if word.starts_with("data.") || word == "data" {
            say(format!("`{word}` is no part of the document"), "read `input` alone");
            continue;
        }
        // Looked at before.
        if next == Some('0') {
            continue;
        }
        if word == "*" {
            say("`*` makes numbers that grow without end".to_owned(), "compare without it");
            continue;
        }
        if next == Some('$') {
            say("a template of a text: engines disagree about it".to_owned(), "write it out");
            continue;
        }
        if next == Some('(') {
            if !CALLS.contains(&word.as_str()) && !known.rules.contains(&word) {
                let step = format!("use one of {}", CALLS.join(", "));
                say(format!("`{word}` is no function for policies"), &step);
            }
            continue;
        }
        let mut names = word.split('.').filter(|name| !name.is_empty());
        if !word.starts_with('.') && names.next().is_some_and(|first| known.rules.contains(first)) {
            continue;
        }
        for name in names.filter(|name| !known.fields.contains(*name)) {
            let step = "mend it: a field that is not there would deny nothing";
            say(format!("the document has no field `{name}`"), step);
        }
    }
    found
}

/// The words of a text. A field in brackets, `a["b"]`, is a word `a.b` too.
fn tokens(text: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let (mut line, mut column) = (1u32, 1u32);
    let mut chars = text.chars().peekable();
    let mut before: Option<char> = None;
    // The bracket before this character opens a path's next name, and no list.
    let mut index = false;
    while let Some(c) = chars.next() {
        let mark = Mark { line, column };
        let mut step = |c: char| match c {
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        };
        step(c);
        match c {
            '#' => {
                while let Some(c) = chars.next_if(|c| *c != '\n') {
                    step(c);
                }
            }
            '"' | '`' => {
                let mut inside = String::new();
                while let Some(inner) = chars.next() {
                    step(inner);
                    if inner == c {
                        break;
                    }
                    inside.push(inner);
                    if inner == '\\'
                        && c == '"'
                        && let Some(escaped) = chars.next()
                    {
                        step(escaped);
                        inside.push(escaped);
                    }
                }
                if before == Some('$') {
                    let text = inside;
                    found.push(Token { text, mark, starts_line: false, next: Some('$') });
                } else if index && before == Some('[') && chars.peek() == Some(&']') {
                    let text = format!(".{inside}");
                    found.push(Token { text, mark, starts_line: false, next: Some(']') });
                }
            }
            c if c.is_alphabetic() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '.')
                {
                    step(c);
                    word.push(c);
                }
                let next = chars.peek().copied();
                found.push(Token { text: word, mark, starts_line: mark.column == 1, next });
            }
            // `a[_].b`, `f(x).b`
            '.' => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '.')
                {
                    step(c);
                    word.push(c);
                }
                let next = chars.peek().copied();
                found.push(Token { text: word, mark, starts_line: false, next });
            }
            c if c.is_ascii_digit() => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| {
                    let exponent = word.ends_with(['e', 'E']) && matches!(c, '+' | '-');
                    c.is_alphanumeric() || "_.".contains(*c) || exponent
                }) {
                    step(c);
                    word.push(c);
                }
                found.push(Token { text: word, mark, starts_line: false, next: Some('0') });
            }
            '*' => {
                let text = String::from(c);
                found.push(Token { text, mark, starts_line: false, next: None });
            }
            '[' => index = before.is_some_and(|b| b.is_alphanumeric() || "_])".contains(b)),
            _ => {}
        }
        before = Some(c);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.rego"), text).unwrap();
        fs::write(dir.path().join("a_test.rego"), "package other\n").unwrap();
        fs::write(dir.path().join("notes.txt"), "no policy").unwrap();
        let mut findings = Findings::default();
        let files = read(dir.path(), "douane.yaml", Mark::FILE, &mut findings);
        assert_eq!(files.len(), 1);
        findings
            .iter()
            .map(|finding| format!("{}: {}", finding.mark.line, finding.message))
            .collect()
    }

    const GOOD: &str = r#"# Only the purposes that the board named.
package douane.place

purposes := {"model-training", "statistics"}

deny contains {"code": "purpose", "why": "the board named no such purpose"} if {
	not input.purpose in purposes
}

deny contains {"code": "quasi_days", "why": "days are too fine", "column": column.name} if {
	some column in input.columns
	column.leaves[_].protection.kind == "day"
	is_quasi(column)
}

is_quasi(column) if {
	some leaf in column.leaves
	leaf.class == "quasi"
}
"#;

    #[test]
    fn a_good_policy_is_read() {
        assert_eq!(found(GOOD), Vec::<String>::new());
    }

    #[test]
    fn place_bad_what_engines_answer_otherwise_or_would_deny_nothing() {
        for (from, to, expected) in [
            ("column.name", "column.nam", "10: the document has no field `nam`"),
            ("input.purpose", "input.porpose", "7: the document has no field `porpose`"),
            ("input.purpose", "input[\"porpose\"]", "7: the document has no field `porpose`"),
            ("[_].protection", "[_].protection.knd", "12: the document has no field `knd`"),
            (
                "leaf.class == \"quasi\"",
                "lower(leaf.class) == \"quasi\"",
                "18: `lower` is no function for policies",
            ),
            (
                "leaf.class == \"quasi\"",
                "sprintf(\"%s\", [leaf.class]) == \"q\"",
                "18: `sprintf` is no function for policies",
            ),
            (
                "leaf.class == \"quasi\"",
                "walk(leaf, [\"class\", _])",
                "18: `walk` is no function for policies",
            ),
            (
                "leaf.class == \"quasi\"",
                "count(purposes) == 2 with input as {}",
                "18: `with`: the document is what it is",
            ),
            (
                "leaf.class == \"quasi\"",
                "data.douane.release.allow",
                "18: `data.douane.release.allow` is no part of the document",
            ),
            (
                "package douane.place",
                "package douane.release",
                "1: no policy: the package is not `douane.place`",
            ),
            (
                "package douane.place",
                "package douane.place\nimport data.x",
                "3: `import`: there is nothing to import: Rego is version 1",
            ),
            (
                "purposes :=",
                "default purposes :=",
                "4: `default`: `deny` needs none: what no rule puts into it is not denied",
            ),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD);
            assert_eq!(found(&text).first().map(String::as_str), Some(expected), "{to}");
        }
        assert_eq!(found("package douane.place\n\nallow := true\n"), ["1: no rule `deny`"]);
        for (from, to) in [
            ("leaf.class == \"quasi\"", "is_quasi(column)"),
            ("not input.purpose in purposes", "count(deny) == 0"),
            (
                "some leaf in column.leaves",
                "other(column)\n}\n\nother(column) if {\n\tis_quasi(column)",
            ),
        ] {
            let found = found(&GOOD.replacen(from, to, 1));
            assert!(found[0].ends_with("asks for itself"), "{found:?}");
        }
        let deep =
            GOOD.replacen("column.name", &format!("{}1{}", "[".repeat(40), "]".repeat(40)), 1);
        assert_eq!(found(&deep), ["1: brackets lie deeper than 8 in each other"]);
        let broken = found("package douane.place\n\ndeny contains if {\n");
        assert!(broken[0].contains("no policy: "), "{broken:?}");
    }

    #[test]
    fn place_bad_numbers_that_grow() {
        for (to, line) in [
            ("1e999999999", true),
            ("1E+9", true),
            ("1234567890123456", true),
            ("1.2.3", true),
            ("0x7f", true),
            ("2 * 3", true),
            ("123456789012345", false),
            ("0.25", false),
        ] {
            let text = GOOD.replacen("leaf.class == \"quasi\"", &format!("2 > {to}"), 1);
            assert_eq!(found(&text).iter().any(|f| f.starts_with("18: ")), line, "{to}");
        }
        // A rule of that name is no way round.
        let text = format!("{GOOD}\ne999999999 := 2\n").replacen("\"quasi\"", "1e999999999", 1);
        assert!(found(&text).iter().any(|f| f.contains("a number has digits")), "{text}");
    }

    #[test]
    fn place_bad_what_nobody_reads_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.rego"), GOOD).unwrap();
        fs::write(at("a_test.rego"), "package douane.place_test\n").unwrap();
        fs::create_dir(at(".git")).unwrap();
        let told = || {
            let mut findings = Findings::default();
            read(dir.path(), "douane.yaml", Mark::FILE, &mut findings);
            let mut all: Vec<String> = findings.iter().map(|f| f.message.to_string()).collect();
            all.sort();
            all
        };
        assert_eq!(told(), Vec::<String>::new(), "the control");
        fs::create_dir(at("more")).unwrap();
        fs::write(at("B.REGO"), GOOD).unwrap();
        fs::write(at("b_test.rego"), GOOD).unwrap();
        let told = told();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().all(|why| why.contains("read")), "{told:?}");
    }

    #[test]
    fn a_folder_without_policies_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let mut findings = Findings::default();
        assert!(read(dir.path(), "douane.yaml", Mark::FILE, &mut findings).is_empty());
        assert!(
            read(&dir.path().join("gone"), "douane.yaml", Mark::FILE, &mut findings).is_empty()
        );
        assert_eq!(findings.len(), 2);
    }
}
