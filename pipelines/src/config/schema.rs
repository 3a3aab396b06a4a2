//! Holds a tree against the JSON schema that schemars makes of the typed structs, so that all
//! faults are found at once, each at its line and column; serde stops at the first.
//!
//! Only what schemars writes is understood. Objects are closed whether the schema says so or not,
//! and no value may be left out after its key.

use serde_json::{Map, Value as Json};

use super::finding::{Findings, Kind, Mark};
use super::yaml::{Key, Node, Value, quoted};

/// A path in the file and a word about it. Parts are joined by dots; `*` is any key or position;
/// after `=` stands a value. What the word names in backticks is not missed beside it.
pub type About = (&'static str, &'static str);

/// What is known about one sort of file.
pub struct Rules<'a> {
    pub schema: &'a Json,
    /// What is planned but not built, and what to do meanwhile: refused by name, so that nobody
    /// looks for a typing error.
    pub later: &'a [About],
    /// What people write and what they should write instead.
    pub advice: &'a [About],
    /// Keys that were refused before, for another reason: nothing more is said about them.
    pub told: &'a [Mark],
    /// May a wrong value be repeated in a message? Not where it could be a misplaced secret.
    pub show_values: bool,
}

/// What could have been meant by what was refused: with these in their places, the rest can be looked at.
#[derive(Default)]
pub struct Meant {
    /// Wrong words.
    pub words: Vec<(Mark, String)>,
    /// Keys that are not known, and near one that is.
    pub keys: Vec<(Mark, String)>,
}

/// Adds a finding for everything in `root` that the schema does not know.
pub fn check(root: &Node, file: &str, rules: &Rules<'_>, findings: &mut Findings) -> Meant {
    let mut walk = Walk { file, rules, findings, path: Vec::new(), meant: Meant::default() };
    walk.node(root, rules.schema, root.mark);
    walk.meant
}

struct Walk<'a, 'f> {
    file: &'f str,
    rules: &'a Rules<'a>,
    findings: &'f mut Findings,
    path: Vec<String>,
    meant: Meant,
}

/// References and alternatives inside each other; a schema that goes in a circle ends here.
const SCHEMA_DEPTH_MAX: usize = 16;

impl<'a> Walk<'a, '_> {
    /// `named` is where a fault of the whole value is shown: its key, where it has one.
    fn node(&mut self, node: &Node, schema: &'a Json, named: Mark) {
        // A schema that only describes takes anything, null too: rows of tests.
        if schema.as_object().is_some_and(|s| s.keys().all(|key| key == "description")) {
            return;
        }
        let mut branches = Vec::new();
        self.flatten(schema, 0, &mut branches);
        if matches!(node.value, Value::Null) && branches.iter().any(|branch| is_null(branch)) {
            return;
        }
        if matches!(node.value, Value::Null) {
            // What stands behind the comma of `decimal(10,2)` is a key of its own in `{ … }`.
            let torn = self.path.last().is_some_and(|key| key.ends_with(')') && !key.contains('('));
            let (message, next) = match torn {
                true => (
                    format!("{} is the end of a value that a comma cut in two", self.name()),
                    "put the whole value in quotes: `\"decimal(10,2)\"`",
                ),
                false => {
                    (format!("{} has no value", self.name()), "write a value or remove the key")
                }
            };
            self.findings.error(self.file, named, Kind::MissingKey, message).next(next);
            return;
        }
        let fitting: Vec<&'a Json> =
            branches.iter().copied().filter(|branch| accepts(node, branch)).collect();
        match fitting.as_slice() {
            [] => self.wrong_type(node, &branches),
            [only] => self.one(node, only, named),
            several => self.several(node, several, named),
        }
    }

    /// The alternatives of a schema, behind all references.
    fn flatten(&self, schema: &'a Json, depth: usize, out: &mut Vec<&'a Json>) {
        if depth > SCHEMA_DEPTH_MAX {
            return;
        }
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let target = self.rules.schema.pointer(reference.trim_start_matches('#'));
            if let Some(target) = target {
                self.flatten(target, depth + 1, out);
            }
            return;
        }
        let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf"));
        match alternatives.and_then(Json::as_array) {
            Some(alternatives) => {
                alternatives.iter().for_each(|one| self.flatten(one, depth + 1, out));
            }
            None => out.push(schema),
        }
    }

    fn one(&mut self, node: &Node, schema: &'a Json, named: Mark) {
        match &node.value {
            Value::Map(entries) => self.map(node, entries, schema, named),
            Value::List(items) => self.list(node, items, schema),
            Value::Text(text) => self.text(node, text, &[schema]),
            Value::Integer(number) => self.number(node, *number as f64, schema),
            Value::Float(number) => self.number(node, *number, schema),
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn several(&mut self, node: &Node, schemas: &[&'a Json], named: Mark) {
        if let Value::Text(text) = &node.value {
            return self.text(node, text, schemas);
        }
        if let Value::Map(entries) = &node.value {
            let verbs: Vec<(&str, &'a Json)> = schemas.iter().filter_map(|s| verb(s)).collect();
            if verbs.len() == schemas.len() {
                return self.verb(node, entries, &verbs);
            }
        }
        // The alternative with the fewest faults is the one that was meant.
        let before = self.findings.len();
        let meant = std::mem::take(&mut self.meant);
        let mut best: Option<(Findings, Meant)> = None;
        for schema in schemas {
            self.one(node, schema, named);
            let mut found = self.findings.clone();
            self.findings.truncate(before);
            found.keep_from(before);
            let meant = std::mem::take(&mut self.meant);
            if best.as_ref().is_none_or(|(least, _)| found.len() < least.len()) {
                best = Some((found, meant));
            }
        }
        self.meant = meant;
        if let Some((mut best, Meant { words, keys })) = best {
            self.findings.append(&mut best);
            self.meant.words.extend(words);
            self.meant.keys.extend(keys);
        }
    }

    /// A map with one key that says what the rest is: a stage and its verb.
    fn verb(&mut self, node: &Node, entries: &[(Key, Node)], verbs: &[(&'a str, &'a Json)]) {
        let names: Vec<&str> = verbs.iter().map(|(name, _)| *name).collect();
        let mut first: Option<&Key> = None;
        for (key, value) in entries {
            self.path.push(key.text.clone());
            match verbs.iter().find(|(name, _)| *name == key.text) {
                None => {
                    let near = self.unknown_key(key, &names).filter(|_| entries.len() == 1);
                    let near = verbs.iter().find(|(name, _)| near == Some(*name));
                    if let Some((name, schema)) = near {
                        self.meant(key, name, value, schema);
                    }
                }
                Some((_, schema)) => {
                    if let Some(first) = first {
                        let (found, before) = (quoted(&key.text), quoted(&first.text));
                        let message = format!("`{found}` stands beside `{before}`, expected one");
                        self.findings
                            .error(self.file, key.mark, Kind::NotAllowed, message)
                            .next(format_args!("write `- {found}: …` as an entry of its own"));
                    }
                    first = Some(key);
                    self.node(value, schema, key.mark);
                }
            }
            self.path.pop();
        }
        if entries.is_empty() {
            let message = format!("expected one of {}, found an empty map", listed(&names));
            self.findings.error(self.file, node.mark, Kind::MissingKey, message).next("write one");
        }
    }

    fn map(&mut self, node: &Node, entries: &[(Key, Node)], schema: &'a Json, named: Mark) {
        static NONE: std::sync::LazyLock<Map<String, Json>> =
            std::sync::LazyLock::new(Map::default);
        let known = schema.get("properties").and_then(Json::as_object).unwrap_or(&NONE);
        let free = schema.get("additionalProperties").filter(|rest| rest.is_object());
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        // What stands in a step that was told already is not missed once more.
        let mut steps = String::new();
        let mut taken: Vec<&str> = Vec::new();
        for (key, value) in entries {
            if self.rules.told.contains(&key.mark) {
                steps.push_str(&format!("`{}` `{}_file`", key.text, key.text));
                continue;
            }
            self.path.push(key.text.clone());
            match known.get(&key.text).or(free) {
                Some(schema) => self.node(value, schema, key.mark),
                None => {
                    let near = self.unknown_key(key, &names);
                    let last = self.findings.iter().last().and_then(|f| f.help.last());
                    steps.extend(last.cloned());
                    let near =
                        near.filter(|name| node.get(name).is_none() && !taken.contains(name));
                    if let Some((name, schema)) =
                        near.and_then(|name| Some((name, known.get(name)?)))
                    {
                        taken.push(name);
                        self.meant(key, name, value, schema);
                    }
                }
            }
            self.path.pop();
        }
        let required = schema.get("required").and_then(Json::as_array);
        let required = required.into_iter().flatten().filter_map(Json::as_str);
        let missing = required
            .filter(|name| node.get(name).is_none() && !steps.contains(&format!("`{name}`")));
        for name in missing {
            let inside = if self.path.is_empty() { "file".to_owned() } else { self.name() };
            let message = format!("{inside} has no `{name}`");
            let meaning = known.get(name).and_then(|s| self.meaning(s));
            let finding = self.findings.error(self.file, named, Kind::MissingKey, message);
            if let Some(meaning) = meaning {
                finding.help(format!("`{name}`: {meaning}"));
            }
            finding.next(format_args!("add `{name}`"));
        }
        self.size(node.mark, entries.len(), "entries", schema, ["minProperties", "maxProperties"]);
    }

    /// A key that was told is looked at as the one that it is near.
    fn meant(&mut self, key: &Key, name: &str, value: &Node, schema: &'a Json) {
        self.meant.keys.push((key.mark, name.to_owned()));
        self.node(value, schema, key.mark);
    }

    /// The first paragraph of a description, in one line.
    fn meaning(&self, schema: &'a Json) -> Option<String> {
        let reference = schema.get("$ref").and_then(Json::as_str);
        let target = reference.and_then(|r| self.rules.schema.pointer(r.trim_start_matches('#')));
        let text = |s: &'a Json| s.get("description").and_then(Json::as_str);
        let description = text(schema).or_else(|| target.and_then(text))?;
        let paragraph = description.split("\n\n").next()?;
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        Some(words.join(" ").trim_end_matches('.').to_owned())
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'a Json) {
        if let Some(inner) = schema.get("items") {
            for (n, item) in items.iter().enumerate() {
                self.path.push(n.to_string());
                self.node(item, inner, item.mark);
                self.path.pop();
            }
        }
        self.size(node.mark, items.len(), "entries", schema, ["minItems", "maxItems"]);
        if schema.get("uniqueItems") == Some(&Json::Bool(true)) {
            for (n, item) in items.iter().enumerate() {
                let before = items[..n].iter().find(|other| equal(other, item));
                if let Some(before) = before {
                    let message = format!("{} names one thing twice", self.name());
                    self.findings
                        .error(self.file, item.mark, Kind::DoubleKey, message)
                        .help(format!("first at line {}", before.mark.line))
                        .next("keep one of them");
                }
            }
        }
    }

    fn size(&mut self, mark: Mark, len: usize, what: &str, schema: &Json, bounds: [&str; 2]) {
        let [least, most] = bounds.map(|bound| schema.get(bound).and_then(Json::as_u64));
        let len = len as u64;
        if len < least.unwrap_or(0) || most.is_some_and(|most| len > most) {
            let expected = match (least, most) {
                (Some(least), Some(most)) => format!("{least} to {most}"),
                (Some(least), None) => format!("at least {least}"),
                (None, most) => format!("at most {}", most.unwrap_or(0)),
            };
            let message = format!("{} has {len} {what}, expected {expected}", self.name());
            self.findings
                .error(self.file, mark, Kind::OutOfRange, message)
                .next(format_args!("write {expected}"));
        }
    }

    fn text(&mut self, node: &Node, text: &str, schemas: &[&'a Json]) {
        let mut allowed: Vec<&str> = Vec::new();
        for schema in schemas {
            match words(schema) {
                Some(mut words) => allowed.append(&mut words),
                None => {
                    let len = text.chars().count();
                    let bounds = ["minLength", "maxLength"];
                    return self.size(node.mark, len, "characters", schema, bounds);
                }
            }
        }
        if allowed.contains(&text) {
            return;
        }
        let found = if self.rules.show_values && plain(text) {
            format!("`{text}`")
        } else {
            "other text".to_owned()
        };
        let near = nearest(text, &allowed);
        if let Some(word) = near.or(allowed.first().copied()) {
            self.meant.words.push((node.mark, word.to_owned()));
        }
        if let Some(instead) = about(self.rules.later, &self.path, Some(text)) {
            let message = format!("{}: {found} is not in this version", self.name());
            self.findings
                .error(self.file, node.mark, Kind::NotInThisVersion, message)
                .next(instead);
            return;
        }
        let message = format!("{} is {found}, expected {}", self.name(), listed(&allowed));
        let advice = about(self.rules.advice, &self.path, Some(text));
        let near = near.filter(|_| self.rules.show_values);
        let finding = self.findings.error(self.file, node.mark, Kind::NotAllowed, message);
        match (advice, near) {
            (Some(advice), _) => finding.next(advice),
            (None, Some(near)) => finding.next(format_args!("write `{near}`")),
            (None, None) => finding.next("write one of these"),
        };
    }

    fn number(&mut self, node: &Node, number: f64, schema: &Json) {
        let (low, high) = match schema.get("format").and_then(Json::as_str) {
            Some("uint8") => (0.0, f64::from(u8::MAX)),
            Some("uint16") => (0.0, f64::from(u16::MAX)),
            Some("uint32") => (0.0, f64::from(u32::MAX)),
            Some("uint64" | "uint") => (0.0, u64::MAX as f64),
            Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Some("int64" | "int") => (i64::MIN as f64, i64::MAX as f64),
            _ => (f64::MIN, f64::MAX),
        };
        let bound = |name| schema.get(name).and_then(Json::as_f64);
        let low = bound("minimum").map_or(low, |least| least.max(low));
        let high = bound("maximum").map_or(high, |most| most.min(high));
        // Written so that NaN is refused.
        if !(number >= low && number <= high) {
            let expected = match (low > f64::MIN, high < f64::MAX) {
                (true, true) => format!("a number from {low} to {high}"),
                (true, false) => format!("a number from {low}"),
                (false, true) => format!("a number up to {high}"),
                (false, false) => "a finite number".to_owned(),
            };
            let message = format!("{} is out of range, expected {expected}", self.name());
            self.findings
                .error(self.file, node.mark, Kind::OutOfRange, message)
                .next(format_args!("write {expected}"));
        }
    }

    fn wrong_type(&mut self, node: &Node, branches: &[&'a Json]) {
        let listing: Vec<&str> = branches.iter().filter_map(|b| words(b)).flatten().collect();
        let mut expected: Vec<String> = Vec::new();
        if !listing.is_empty() {
            expected.push(listed(&listing));
        }
        for branch in branches.iter().filter(|b| words(b).is_none() && !is_null(b)) {
            for name in type_names(branch) {
                if !expected.iter().any(|known| known == name) {
                    expected.push(name.to_owned());
                }
            }
        }
        let expected = expected.join(" or ");
        let message = format!("{} is {}, expected {expected}", self.name(), node.kind());
        let scalar = matches!(node.value, Value::Bool(_) | Value::Integer(_) | Value::Float(_));
        let wants_text = branches.iter().any(|b| words(b).is_none() && of_type(b, "string"));
        let finding = self.findings.error(self.file, node.mark, Kind::WrongType, message);
        if scalar && wants_text {
            finding.next("put it in quotes");
        } else if listing.len() > 1 {
            finding.next("write one of these");
        } else {
            finding.next(format_args!("write {expected}"));
        }
    }

    /// Says which one was meant, where to write that is what is next.
    fn unknown_key<'n>(&mut self, key: &Key, names: &[&'n str]) -> Option<&'n str> {
        let shown = quoted(&key.text);
        if let Some(instead) = about(self.rules.later, &self.path, None) {
            let message = format!("`{shown}` is not in this version");
            self.findings.error(self.file, key.mark, Kind::NotInThisVersion, message).next(instead);
            return None;
        }
        let kind = match key.text.as_str() {
            "hash" | "sha256" | "sha1" | "md5" => Kind::UnkeyedHash,
            _ => Kind::UnknownKey,
        };
        let message = format!("unknown key `{shown}`");
        let advice = about(self.rules.advice, &self.path, None);
        let finding = self.findings.error(self.file, key.mark, kind, message);
        let near = nearest(&key.text, names);
        match (advice, near) {
            (Some(advice), _) => finding.next(advice),
            (None, Some(near)) => finding.next(format_args!("write `{near}`")),
            (None, None) if names.is_empty() => finding.next("remove it"),
            (None, None) => {
                finding.help(format!("known here: {}", listed(names))).next("remove it")
            }
        };
        let meant = match advice {
            Some(advice) => names.iter().copied().find(|name| advice == format!("write `{name}`")),
            None => near,
        };
        meant.filter(|_| kind == Kind::UnknownKey)
    }

    /// What is being looked at, as a person would call it: its path in the file.
    fn name(&self) -> String {
        if self.path.is_empty() {
            return "the file".to_owned();
        }
        let mut name = String::new();
        for part in &self.path {
            if part.bytes().all(|b| b.is_ascii_digit()) {
                name.push_str(&format!("[{part}]"));
            } else {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&quoted(part));
            }
        }
        format!("`{name}`")
    }
}

/// Does the value have one of the schema's types? What is inside is looked at later.
fn accepts(node: &Node, schema: &Json) -> bool {
    if schema == &Json::Bool(true) {
        return true;
    }
    if is_null(schema) {
        return false;
    }
    match &node.value {
        Value::Null => of_type(schema, "null"),
        Value::Bool(_) => of_type(schema, "boolean"),
        Value::Integer(_) => of_type(schema, "integer") || of_type(schema, "number"),
        Value::Float(_) => of_type(schema, "number"),
        Value::Text(_) => of_type(schema, "string"),
        Value::List(_) => of_type(schema, "array"),
        Value::Map(_) => of_type(schema, "object"),
    }
}

/// Null is one of the words that may be written there, which is not the same as that the key may be
/// left out.
fn is_null(schema: &Json) -> bool {
    schema.get("const") == Some(&Json::Null)
}

fn of_type(schema: &Json, name: &str) -> bool {
    match schema.get("type") {
        Some(Json::String(one)) => one == name,
        Some(Json::Array(several)) => several.iter().any(|one| one == name),
        // A schema without a type takes what its words are, or anything.
        _ => words(schema).is_none() || name == "string",
    }
}

fn type_names(schema: &Json) -> Vec<&'static str> {
    const NAMES: [(&str, &str); 6] = [
        ("object", "a map"),
        ("array", "a list"),
        ("string", "text"),
        ("integer", "a whole number"),
        ("number", "a number"),
        ("boolean", "true or false"),
    ];
    NAMES.iter().filter(|(name, _)| of_type(schema, name)).map(|(_, shown)| *shown).collect()
}

/// The only texts that a schema allows, where it lists them.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(one) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![one]);
    }
    let list = schema.get("enum")?.as_array()?;
    Some(list.iter().filter_map(Json::as_str).collect())
}

/// An object with exactly one property, which is required: how serde tags an enum from outside.
fn verb(schema: &Json) -> Option<(&str, &Json)> {
    let properties = schema.get("properties")?.as_object()?;
    let required = schema.get("required")?.as_array()?;
    let (name, inner) = properties.iter().next()?;
    let alone = properties.len() == 1 && required.len() == 1 && required[0] == **name;
    alone.then_some((name.as_str(), inner))
}

fn equal(left: &Node, right: &Node) -> bool {
    match (&left.value, &right.value) {
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::Integer(left), Value::Integer(right)) => left == right,
        _ => false,
    }
}

/// May the text stand in a message: one short word that no terminal takes for a command.
pub fn plain(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-.:/*{}".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(known)
}

fn about(list: &[About], path: &[String], value: Option<&str>) -> Option<&'static str> {
    let fits = |pattern: &str| {
        let (parts, word) = match pattern.split_once('=') {
            Some((parts, word)) => (parts, Some(word)),
            None => (pattern, None),
        };
        let parts: Vec<&str> = parts.split('.').collect();
        word == value
            && parts.len() == path.len()
            && parts.iter().zip(path).all(|(part, found)| *part == "*" || part == found)
    };
    list.iter().find(|(pattern, _)| fits(pattern)).map(|(_, word)| *word)
}

/// `a`, `b` or `c`.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [first @ .., last] => format!("`{}` or `{last}`", first.join("`, `")),
    }
}

/// The known name that was most likely meant: at most one edit for each three letters.
pub fn nearest<'n>(found: &str, names: &[&'n str]) -> Option<&'n str> {
    if found.len() > 64 {
        return None;
    }
    let found = found.to_lowercase();
    let edits = |name: &str| strsim::osa_distance(&found, name);
    // Two letters in the wrong order are one slip, and a likelier one than another letter in their place.
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    let same = letters(&found);
    let best = names.iter().copied().min_by_key(|name| (edits(name), letters(name) != same))?;
    (edits(best) <= best.len().max(found.len()).div_ceil(3)).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_not_other_words() {
        let names = ["tokenize", "fpe", "mask", "redact", "generalize", "drop"];
        for (found, near) in [
            ("tokenise", Some("tokenize")),
            ("Tokenize", Some("tokenize")),
            ("generalise", Some("generalize")),
            ("mak", Some("mask")),
            ("amsk", Some("mask")),
            ("encrypt", None),
            ("", None),
        ] {
            assert_eq!(nearest(found, &names), near, "{found}");
        }
        // Of two that are one slip away, whichever stands first: the one of the same letters.
        for names in [["int16", "int64"], ["int64", "int16"]] {
            assert_eq!(nearest("int46", &names), Some("int64"));
            assert_eq!(nearest("int26", &["int16", "int32"]), Some("int16"), "the control");
        }
    }

    #[test]
    fn a_path_of_stars_fits_by_length() {
        let list: &[About] = &[("stages.*.pack", "later"), ("sink.shape=envelope", "state")];
        let about = |path: &[&str], value| {
            let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
            super::about(list, &path, value)
        };
        assert_eq!(about(&["stages", "3", "pack"], None), Some("later"));
        assert_eq!(about(&["sink", "shape"], Some("envelope")), Some("state"));
        assert_eq!(about(&["stages", "pack"], None), None);
        assert_eq!(about(&["stages", "3", "sql", "x"], None), None);
        assert_eq!(about(&["stages", "3", "sql"], Some("x")), None);
        assert_eq!(about(&["sink", "shape"], Some("state")), None);
    }
}
