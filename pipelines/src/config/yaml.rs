//! YAML as a tree in which every key and every value knows its line and column.
//!
//! What a person signs must have one reading, so this is less than YAML 1.2: one document, no
//! anchors, aliases, tags, merge keys or complex keys, no key twice, nothing invisible. A file
//! has a size, a depth and a number of nodes that it may not exceed.

use std::borrow::Cow;

use douane_schemas::names::hidden;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

use super::finding::{Findings, Kind, Mark};

/// The longest file that is read.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Lists and maps inside each other.
pub const DEPTH_MAX: usize = 16;
/// Keys, values, lists and maps together.
pub const NODES_MAX: usize = 50_000;

/// A key of a map, as it is written.
#[derive(Clone)]
pub struct Key {
    pub text: String,
    pub mark: Mark,
}

/// A value and where it starts.
#[derive(Clone)]
pub struct Node {
    pub mark: Mark,
    pub value: Value,
}

/// What a value is. Scalars follow the core schema of YAML 1.2.2, section 10.3.
#[derive(Clone)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; no two keys are equal.
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// What this is, with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The key and the value under `key`, where this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(k, v)| (k, v)),
            _ => None,
        }
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// As `get`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().find(|(k, _)| k.text == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Puts a value under a key of a map, in the place of what is there.
    pub fn put(&mut self, key: Key, value: Node) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|(known, _)| known.text != key.text);
            entries.push((key, value));
        }
    }

    /// The value at a path of keys and list positions; where it ends early, the last one found.
    pub fn at(&self, path: &[&str]) -> &Node {
        let Some((first, rest)) = path.split_first() else { return self };
        let next = match &self.value {
            Value::List(items) => first.parse::<usize>().ok().and_then(|n| items.get(n)),
            _ => self.get(first),
        };
        next.map_or(self, |node| node.at(rest))
    }

    /// Where the key at the end of a path stands; a position of a list has its value's mark.
    pub fn mark_at(&self, path: &[&str]) -> Mark {
        let Some((last, parents)) = path.split_last() else { return self.mark };
        let parent = self.at(parents);
        parent.entry(last).map_or_else(|| self.at(path).mark, |(key, _)| key.mark)
    }

    /// Leaves out the keys that stand at these marks, and what is empty then: a fault that was
    /// found once is not found again in what depends on it.
    pub fn prune(&mut self, marks: &[Mark]) {
        match &mut self.value {
            Value::Map(entries) => {
                entries.retain(|(key, _)| !marks.contains(&key.mark));
                entries.iter_mut().for_each(|(_, value)| value.prune(marks));
            }
            Value::List(items) => {
                // What was empty before is what somebody wrote.
                let empty = |item: &Self| matches!(&item.value, Value::Map(e) if e.is_empty());
                items.retain_mut(|item| {
                    let before = empty(item);
                    item.prune(marks);
                    before || !empty(item)
                });
            }
            _ => {}
        }
    }

    /// Gives the keys at these marks other names.
    pub fn rename(&mut self, names: &[(Mark, String)]) {
        match &mut self.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    if let Some((_, name)) = names.iter().find(|(mark, _)| *mark == key.mark) {
                        name.clone_into(&mut key.text);
                    }
                    value.rename(names);
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.rename(names)),
            _ => {}
        }
    }

    /// Puts words in the place of texts at these marks.
    pub fn mend(&mut self, words: &[(Mark, String)]) {
        match &mut self.value {
            Value::Text(text) => {
                if let Some((_, word)) = words.iter().find(|(mark, _)| *mark == self.mark) {
                    word.clone_into(text);
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.mend(words)),
            Value::Map(entries) => {
                entries.iter_mut().for_each(|(_, value)| value.mend(words));
            }
            _ => {}
        }
    }

    /// The entries of a map, or none.
    pub fn entries(&self) -> &[(Key, Node)] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The items of a list, or none.
    pub fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// The text of a scalar that is text.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }
}

/// Reads one document. None: it has no tree, and `findings` say why; double keys are found all at
/// once and leave a tree (with the first of them).
pub fn parse(text: &str, file: &str, findings: &mut Findings) -> Option<Node> {
    let before = findings.len();
    if text.len() > FILE_BYTES_MAX {
        let found = format!("file has {} bytes, expected at most {FILE_BYTES_MAX}", text.len());
        findings.error(file, Mark::FILE, Kind::TooLarge, found).next("split it");
        return None;
    }
    invisible(text, file, findings);
    if findings.len() > before {
        return None;
    }
    let mut reader = Reader { events: Parser::new_from_str(text), file, findings, nodes: 0 };
    reader.document().ok()
}

fn invisible(text: &str, file: &str, findings: &mut Findings) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, content) in text.split('\n').enumerate() {
        let content = content.strip_suffix('\r').unwrap_or(content);
        let found = content.chars().enumerate().find(|(_, c)| hidden(*c) && *c != '\t');
        if let Some((column, c)) = found {
            let mark = Mark::new(line + 1, column + 1);
            let message = format!("invisible character U+{:04X}", u32::from(c));
            findings
                .error(file, mark, Kind::Syntax, message)
                .help("what cannot be seen cannot be reviewed")
                .next("remove it");
        }
    }
}

/// What is signed is read line by line: a text of several lines could write some of them. SQL has
/// its own rule, and what `tests` hold is not signed.
pub fn single_lines(root: &Node, file: &str, findings: &mut Findings) {
    let tests = root.get("tests").map(|tests| tests.mark);
    lines_of(root, tests, file, findings);
}

fn lines_of(node: &Node, skip: Option<Mark>, file: &str, findings: &mut Findings) {
    fn refuse(mark: Mark, text: &str, file: &str, findings: &mut Findings) {
        if text.contains(hidden) {
            findings
                .error(file, mark, Kind::Syntax, "a text of several lines, or with a tab")
                .help("what is signed is read line by line")
                .next("write it in one line");
        }
    }
    match &node.value {
        Value::Text(text) => refuse(node.mark, text, file, findings),
        Value::List(items) => items.iter().for_each(|item| lines_of(item, skip, file, findings)),
        Value::Map(entries) => {
            for (key, value) in entries {
                refuse(key.mark, &key.text, file, findings);
                let sql = key.text == "sql" && value.text().is_some();
                if !sql && Some(value.mark) != skip {
                    lines_of(value, skip, file, findings);
                }
            }
        }
        _ => {}
    }
}

/// A finding was made; there is no tree.
struct Refused;

struct Reader<'f, 't> {
    events: Parser<'t, StrInput<'t>>,
    file: &'f str,
    findings: &'f mut Findings,
    nodes: usize,
}

impl<'t> Reader<'_, 't> {
    fn document(&mut self) -> Result<Node, Refused> {
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd => {
                    return self.refuse(mark, "file is empty", "write the keys that it needs");
                }
                event => {
                    let root = self.node(event, mark, 0)?;
                    return self.end(root);
                }
            }
        }
    }

    fn end(&mut self, root: Node) -> Result<Node, Refused> {
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => return Ok(root),
                _ => {
                    let next = "keep one document a file";
                    return self.refuse(mark, "a second document starts", next);
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Mark), Refused> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, mark_of(&span.start))),
            Some(Err(fault)) => {
                let message = format!("not YAML: {}", fault.info());
                self.refuse(mark_of(fault.marker()), &message, "mend the line")
            }
            None => self.refuse(Mark::FILE, "file is empty", "write the keys that it needs"),
        }
    }

    fn refuse<T>(&mut self, mark: Mark, message: &str, next: &str) -> Result<T, Refused> {
        self.findings.error(self.file, mark, Kind::Syntax, message).next(next);
        Err(Refused)
    }

    fn node(&mut self, event: Event<'t>, mark: Mark, depth: usize) -> Result<Node, Refused> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("more than {NODES_MAX} keys and values");
            return self.refuse(mark, &message, "split the file");
        }
        if depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} lists and maps inside each other");
            return self.refuse(mark, &message, "write it flatter");
        }
        let value = match event {
            Event::Alias(_) => {
                return self.refuse(mark, "aliases are not read here", "write the value out");
            }
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return self.refuse(mark, "anchors are not read here", "remove the `&name`");
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return self.refuse(mark, "tags are not read here", "remove the `!tag`");
            }
            Event::Scalar(text, style, _, None) => self.scalar(text, style, mark)?,
            Event::SequenceStart(_, None) => Value::List(self.list(depth)?),
            Event::MappingStart(_, None) => Value::Map(self.map(depth)?),
            _ => return self.refuse(mark, "not YAML: a value is missing", "mend the line"),
        };
        Ok(Node { mark, value })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Refused> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, mark) => items.push(self.node(event, mark, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Refused> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(text, _, 0, None), mark) => {
                    if text.is_empty() {
                        return self.refuse(mark, "a key is empty", "name it");
                    }
                    self.visible(&text, mark)?;
                    Key { text: text.into_owned(), mark }
                }
                (_, mark) => {
                    let message = "a key is not plain text";
                    return self.refuse(mark, message, "write one name before the `:`");
                }
            };
            let (event, mark) = self.next()?;
            let value = self.node(event, mark, depth + 1)?;
            if let Some(first) = seen.get(&key.text) {
                let first: &Mark = first;
                let message = format!("key `{}` stands here again", quoted(&key.text));
                self.findings
                    .error(self.file, key.mark, Kind::DoubleKey, message)
                    .help(format!("first at line {}, column {}", first.line, first.column))
                    .next("keep one of them");
            } else {
                seen.insert(key.text.clone(), key.mark);
                entries.push((key, value));
            }
        }
    }

    /// Escapes in double quotes can write what the file does not hold.
    fn visible(&mut self, text: &str, mark: Mark) -> Result<(), Refused> {
        match text.chars().find(|c| hidden(*c) && !matches!(c, '\n' | '\t')) {
            None => Ok(()),
            Some(c) => {
                let message = format!("invisible character U+{:04X} in quotes", u32::from(c));
                self.refuse(mark, &message, "remove it")
            }
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        mark: Mark,
    ) -> Result<Value, Refused> {
        self.visible(&text, mark)?;
        if style == ScalarStyle::Plain {
            return Ok(core_schema(text));
        }
        Ok(Value::Text(text.into_owned()))
    }
}

/// Where each character of a scalar's text stands in the file: its folding moves blanks only, so
/// the others are found in their order. Empty where an escape stands in between.
pub fn places(source: &str, start: Mark, text: &str) -> Vec<Mark> {
    let rows = source.split('\n').enumerate().skip((start.line as usize).saturating_sub(1));
    let mut chars = rows
        .flat_map(|(row, line)| {
            let chars = line.chars().enumerate();
            chars.map(move |(column, c)| (c, Mark::new(row + 1, column + 1)))
        })
        .skip_while(|(_, mark)| *mark < start)
        .filter(|(c, _)| !c.is_whitespace())
        .peekable();
    // A scalar in quotes, or a block behind its sign.
    let quote = chars.next_if(|(c, _)| matches!(c, '\'' | '"'));
    if let Some((_, sign)) = chars.next_if(|(c, _)| quote.is_none() && matches!(c, '|' | '>')) {
        while chars.next_if(|(_, mark)| mark.line == sign.line).is_some() {}
    }
    let single = quote.is_some_and(|(c, _)| c == '\'');
    let mut places = Vec::new();
    for wanted in text.chars() {
        if wanted.is_whitespace() {
            places.extend(chars.peek().map(|(_, mark)| *mark));
            continue;
        }
        match chars.next() {
            Some((found, mark)) if found == wanted => places.push(mark),
            _ => return Vec::new(),
        }
        if single && wanted == '\'' {
            chars.next_if(|(c, _)| *c == '\'');
        }
    }
    places
}

/// A name from the file as it may stand in a message: not longer than a line.
pub fn quoted(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(64) {
        None => Cow::Borrowed(name),
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
    }
}

fn mark_of(marker: &Marker) -> Mark {
    Mark::new(marker.line(), marker.col() + 1)
}

/// YAML 1.2.2, section 10.3.2: what a plain scalar is.
fn core_schema(text: Cow<'_, str>) -> Value {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if let Some(integer) = integer(&text) {
        return Value::Integer(integer);
    }
    // The standard's floats are those of Rust without its words for NaN and infinity.
    let float = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if float => Value::Float(number),
        _ => Value::Text(text.into_owned()),
    }
}

fn integer(text: &str) -> Option<i128> {
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal).and_then(|d| i128::from_str_radix(d, 8).ok());
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex).and_then(|d| i128::from_str_radix(d, 16).ok());
    }
    digits(text.strip_prefix(['+', '-']).unwrap_or(text))?;
    text.parse().ok()
}

/// Not a second sign.
fn digits(text: &str) -> Option<&str> {
    text.starts_with(|c: char| c.is_ascii_hexdigit()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut findings = Findings::default();
        match parse(text, "f.yaml", &mut findings) {
            Some(node) if findings.is_empty() => tree(&node),
            _ => findings.to_string(),
        }
    }

    fn tree(node: &Node) -> String {
        let inner = match &node.value {
            Value::Null => "null".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Integer(i) => i.to_string(),
            Value::Float(f) => format!("{f}f"),
            Value::Text(t) => format!("{t:?}"),
            Value::List(items) => {
                format!("[{}]", items.iter().map(tree).collect::<Vec<_>>().join(" "))
            }
            Value::Map(entries) => {
                let entries =
                    entries.iter().map(|(k, v)| format!("{}{}={}", k.text, k.mark, tree(v)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        };
        format!("{inner}{}", node.mark)
    }

    /// YAML 1.2.2, example 10.3 and the table of section 10.3.2.
    #[test]
    fn scalars_follow_the_core_schema() {
        for (yaml, is) in [
            ("~", "null"),
            ("null", "null"),
            ("true", "true"),
            ("False", "false"),
            ("0", "0"),
            ("0o14", "12"),
            ("0x3A", "58"),
            ("-19", "-19"),
            ("+7", "7"),
            ("0.", "0f"),
            ("-0.0", "-0f"),
            (".5", "0.5f"),
            ("12e03", "12000f"),
            ("-2E+05", "-200000f"),
            (".inf", "inff"),
            ("-.Inf", "-inff"),
            (".NAN", "NaNf"),
            ("'7'", "\"7\""),
            ("\"~\"", "\"~\""),
            ("no", "\"no\""),
            ("yes", "\"yes\""),
            ("inf", "\"inf\""),
            ("nan", "\"nan\""),
            ("0x", "\"0x\""),
            ("0x+1", "\"0x+1\""),
            ("--1", "\"--1\""),
            ("1_000", "\"1_000\""),
            ("2026-01-01", "\"2026-01-01\""),
            ("e", "\"e\""),
            ("170141183460469231731687303715884105728", "170141183460469230000000000000000000000f"),
        ] {
            assert_eq!(shown(&format!("a: {yaml}")), format!("{{a:1:1={is}:1:4}}:1:1"), "{yaml}");
        }
    }

    #[test]
    fn keys_and_values_know_their_places() {
        assert_eq!(
            shown("a: 1\nc:\n  id: { é: x, k: [1, b] }\n  l:\n  - t: 'q'\n"),
            "{a:1:1=1:1:4 c:2:1={id:3:3={é:3:9=\"x\":3:12 k:3:15=[1:3:19 \"b\":3:22]:3:18}:3:7 \
             l:4:3=[{t:5:5=\"q\":5:8}:5:5]:5:5}:3:3}:1:1"
        );
        let mut findings = Findings::default();
        let root = parse("a:\n  - b: 1\n  - c: 2\n", "f", &mut findings).unwrap();
        assert_eq!(root.mark_at(&["a", "1", "c"]), Mark::new(3, 5));
        assert_eq!(root.mark_at(&["a", "1", "gone"]), Mark::new(3, 5));
        assert_eq!(root.mark_at(&["a", "1"]), Mark::new(3, 5));
        assert_eq!(root.mark_at(&["a"]), Mark::new(1, 1));
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for (text, says) in [
            ("", "file is empty"),
            ("# only a comment\n", "file is empty"),
            ("a: &x 1\n", "anchors are not read here"),
            ("a: &x [1]\nb: *x\n", "anchors are not read here"),
            ("a: *x\n", "unknown anchor"),
            ("a: !!str 1\n", "tags are not read here"),
            ("a: !x {b: 1}\n", "tags are not read here"),
            ("a: 1\n---\nb: 2\n", "a second document starts"),
            ("? [a]\n: 1\n", "a key is not plain text"),
            ("? {a: 1}\n: 1\n", "a key is not plain text"),
            ("'': 1\n", "a key is empty"),
            (": 1\n", "a key is empty"),
            (
                "a: 1\nb: 2\na: 3\n",
                "f.yaml:3:1: error: key `a` stands here again\n  first at line 1, column 1",
            ),
            ("{x: {k: 1, \"k\": 2}}", "f.yaml:1:12: error: key `k` stands here again"),
            ("a: x\u{202e}y\n", "f.yaml:1:5: error: invisible character U+202E"),
            ("a: \"x\\u202ey\"\n", "f.yaml:1:4: error: invisible character U+202E in quotes"),
            ("\"a\\u0007\": 1\n", "f.yaml:1:1: error: invisible character U+0007 in quotes"),
            ("a: [1\n", "not YAML: "),
            ("a: b: c\n", "not YAML: "),
            ("a: 'x\n", "not YAML: "),
        ] {
            let found = shown(text);
            assert!(found.contains(says), "{text:?} said {found}");
            assert!(found.contains("next: "), "{text:?} said {found}");
        }
    }

    /// A line of its own in a text would be one in what is signed.
    #[test]
    fn what_is_signed_has_one_line_a_text() {
        for (text, count) in [
            ("a: x\nb: [y, {c: z}]\n", 0),
            ("a: \"x\\ny\"\n", 1),
            ("a: [x, \"y\\tz\"]\n", 1),
            ("a: {\"b\\nc\": x}\n", 1),
            ("a: |\n  x\n  y\n", 1),
            ("sql: |\n  select\n  a\n", 0),
            ("classes: {sql: {residency: \"x\\ny\"}}\n", 1),
            ("tests: [{a: \"x\\ny\"}]\nb: \"x\\ny\"\n", 1),
        ] {
            let mut findings = Findings::default();
            let root = parse(text, "f.yaml", &mut findings).unwrap();
            single_lines(&root, "f.yaml", &mut findings);
            assert_eq!(findings.len(), count, "{text:?}: {findings}");
        }
        // The ledger, which imports nothing, has the same rule.
        let differs = |c: &char| hidden(*c) != douane_ledger::release::is_hidden(*c);
        assert_eq!(('\0'..=char::MAX).find(differs), None);
    }

    #[test]
    fn all_double_keys_are_found_at_once() {
        let found = shown("a: 1\na: 2\nb: {c: 1, c: 2}\n");
        assert_eq!(found.matches("stands here again").count(), 2, "{found}");
    }

    /// Hostile input is refused, quickly, and nothing overflows the stack.
    #[test]
    fn limits_hold_against_hostile_files() {
        for piece in [
            "[",
            "{",
            "{a: ",
            "- ",
            "? ",
            "a: [",
            "\"",
            "'",
            "| ",
            "&a ",
            "!",
            "a: {b: &x 1}\n",
            "[],",
        ] {
            let text = piece.repeat((FILE_BYTES_MAX - 1) / piece.len());
            assert!(shown(&text).contains("error: "), "{piece}");
        }
        let long = "x".repeat(FILE_BYTES_MAX + 1);
        assert!(shown(&long).contains("expected at most 1048576"));
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 2), "]".repeat(DEPTH_MAX + 2));
        assert!(shown(&deep).contains("more than 16 lists"));
        let deepest = format!("{}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        assert!(!shown(&deepest).contains("error"));
        let many = format!("a: [{}]", "1,".repeat(NODES_MAX + 1));
        assert!(shown(&many).contains("more than 50000 keys"));
    }
}
