//! Whether the paths of a place's policy are those of the document: `input.columns[_].leaves[_].class` is,
//! `input.columns[_].class` is none, though something else has a field of that name. What is not there is
//! undefined, and denies nothing. Nor does a comparison with a word that the document never has there:
//! `leaf.class == "quasy"`.
//!
//! It follows `input`, and variables that a rule binds to a part of it (`some x in …`, `x := …`). What
//! else a variable may be is not followed: of that only names are checked (`own.rs`).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::document;
use crate::config::{Mark, nearest};

/// A path that the document does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub mark: Mark,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Lex {
    Name(String),
    Text(String),
    Sign(char),
    Line,
}

type Lexed = (Lex, Mark);

/// Of `:=`.
const BINDS: char = '\u{2254}';

/// Without comments; `:=` is one sign.
fn lexed(text: &str) -> Vec<Lexed> {
    let (mut line, mut column) = (1u32, 0u32);
    let mut all = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        column += 1;
        let mark = Mark { line, column };
        match c {
            '\n' => {
                all.push((Lex::Line, mark));
                (line, column) = (line + 1, 0);
            }
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' | '`' => {
                let mut inside = String::new();
                while let Some(inner) = chars.next() {
                    column += 1;
                    if inner == '\n' {
                        (line, column) = (line + 1, 0);
                    }
                    if inner == c {
                        break;
                    }
                    inside.push(inner);
                    if inner == '\\' && c == '"' {
                        inside.extend(chars.next());
                        column += 1;
                    }
                }
                all.push((Lex::Text(inside), mark));
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut name = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    column += 1;
                    name.push(c);
                }
                all.push((Lex::Name(name), mark));
            }
            ' ' | '\t' | '\r' => {}
            ':' if chars.next_if_eq(&'=').is_some() => {
                column += 1;
                all.push((Lex::Sign(BINDS), mark));
            }
            other => all.push((Lex::Sign(other), mark)),
        }
    }
    all
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq)]
enum Kind<'s> {
    /// A node of the document's schema.
    Of(&'s Json),
    /// Not followed.
    Unknown,
}

struct Schema(Json);

impl Schema {
    /// Through references, and past null.
    fn plain<'s>(&'s self, node: &'s Json) -> &'s Json {
        let reference = node.get("$ref").and_then(Json::as_str);
        if let Some(found) = reference.and_then(|to| self.0.pointer(to.trim_start_matches('#'))) {
            return self.plain(found);
        }
        let either = node.get("anyOf").and_then(Json::as_array);
        let is_null = |one: &&Json| one.get("type").and_then(Json::as_str) == Some("null");
        match either.and_then(|all| all.iter().find(|one| !is_null(one))) {
            Some(one) => self.plain(one),
            None => node,
        }
    }

    fn field<'s>(&'s self, node: &'s Json, name: &str) -> Option<&'s Json> {
        Some(self.plain(node.get("properties")?.get(name)?))
    }

    fn items<'s>(&'s self, node: &'s Json) -> Option<&'s Json> {
        Some(self.plain(node.get("items")?))
    }

    /// Every text that a node may be; none where it may be any.
    fn words<'s>(&'s self, node: &'s Json) -> Option<Vec<&'s str>> {
        if let Some(all) = node.get("enum").and_then(Json::as_array) {
            return all.iter().map(Json::as_str).collect();
        }
        if let Some(one) = node.get("const") {
            return one.as_str().map(|one| vec![one]);
        }
        let each = node.get("oneOf").and_then(Json::as_array)?;
        let each: Option<Vec<Vec<&str>>> =
            each.iter().map(|one| self.words(self.plain(one))).collect();
        each.map(|all| all.concat())
    }
}

type Known<'s> = BTreeMap<String, Kind<'s>>;

struct Reader<'s> {
    schema: &'s Schema,
    all: &'s [Lexed],
    wrong: Vec<Wrong>,
}

/// Paths that the document does not have, each once.
pub fn wrong(text: &str) -> Vec<Wrong> {
    let schema = Schema(document::json_schema());
    let all = lexed(text);
    let starts: Vec<usize> = (0..all.len())
        .filter(|at| matches!(all[*at], (Lex::Name(_), Mark { column: 1, .. })))
        .chain([all.len()])
        .collect();
    let mut wrong = Vec::new();
    for rule in starts.windows(2) {
        let mut reader = Reader { schema: &schema, all: &all[rule[0]..rule[1]], wrong: Vec::new() };
        // A head may name what its body binds.
        let known = reader.bound();
        reader.wrong.clear();
        reader.check(&known);
        wrong.append(&mut reader.wrong);
    }
    wrong
}

impl<'s> Reader<'s> {
    fn name(&self, at: usize) -> Option<&'s str> {
        match self.all.get(at) {
            Some((Lex::Name(name), _)) => Some(name),
            _ => None,
        }
    }

    fn is(&self, at: usize, sign: char) -> bool {
        matches!(self.all.get(at), Some((Lex::Sign(found), _)) if *found == sign)
    }

    /// What the rule's variables are. One that is bound twice, to two things, is not followed.
    fn bound(&mut self) -> Known<'s> {
        let mut known: Known<'s> = BTreeMap::new();
        // A function's arguments are anybody's.
        if self.is(1, '(') {
            let inside = (2..self.all.len()).take_while(|at| !self.is(*at, ')'));
            let names: Vec<String> =
                inside.filter_map(|at| self.name(at)).map(str::to_owned).collect();
            known.extend(names.into_iter().map(|name| (name, Kind::Unknown)));
        }
        let bind = |known: &mut Known<'s>, name: &str, kind: Kind<'s>| {
            let kind = match known.get(name) {
                Some(before) if *before != kind => Kind::Unknown,
                _ => kind,
            };
            known.insert(name.to_owned(), kind);
        };
        for at in 0..self.all.len() {
            match self.name(at) {
                Some("some" | "every") => {
                    let Some(first) = self.name(at + 1) else { continue };
                    let second = self.name(at + 3).filter(|_| self.is(at + 2, ','));
                    let over = if second.is_some() { at + 4 } else { at + 2 };
                    let kind = match self.name(over) {
                        Some("in") => match self.path(over + 1, &known) {
                            Some((Kind::Of(node), _)) => {
                                self.schema.items(node).map_or(Kind::Unknown, Kind::Of)
                            }
                            _ => Kind::Unknown,
                        },
                        _ => Kind::Unknown,
                    };
                    match second {
                        Some(second) => {
                            bind(&mut known, first, Kind::Unknown);
                            bind(&mut known, second, kind);
                        }
                        None => bind(&mut known, first, kind),
                    }
                }
                Some(name) if self.is(at + 1, BINDS) && at > 0 => {
                    let found = self.path(at + 2, &known);
                    let kind = found.filter(|(_, end)| self.ends(*end)).map(|(kind, _)| kind);
                    bind(&mut known, name, kind.unwrap_or(Kind::Unknown));
                }
                _ => {}
            }
        }
        known
    }

    /// A statement ends here.
    fn ends(&self, at: usize) -> bool {
        matches!(self.all.get(at), None | Some((Lex::Line | Lex::Sign(';' | '}' | ']'), _)))
    }

    fn check(&mut self, known: &Known<'s>) {
        for at in 0..self.all.len() {
            // The middle of a path was read with its beginning.
            if at > 0 && self.is(at - 1, '.') {
                continue;
            }
            if let Some((Kind::Of(node), end)) = self.path(at, known) {
                self.compared(node, at, end);
            }
            let called = self.name(at) == Some("object") && self.name(at + 2) == Some("get");
            if called && self.is(at + 3, '(') {
                self.asked_for(at + 4, known);
            }
        }
    }

    /// What a path from `begin` to `end` is held against must be a word that it may have, where these are few.
    fn compared(&mut self, node: &'s Json, begin: usize, end: usize) {
        let Some(words) = self.schema.words(node) else { return };
        let equals = |at: usize| self.is(at + 1, '=') && (self.is(at, '=') || self.is(at, '!'));
        // A list of texts and nothing else: what is computed, or looked up, is anybody's.
        let listed = || {
            let is_plain = |at: &usize| {
                matches!(self.all.get(*at), Some((Lex::Text(_) | Lex::Line | Lex::Sign(','), _)))
            };
            let texts: Vec<usize> = (end + 2..self.all.len()).take_while(is_plain).collect();
            let to = end + 2 + texts.len();
            if self.is(to, '}') || self.is(to, ']') { texts } else { Vec::new() }
        };
        let texts = match self.name(end) {
            Some("in") if self.is(end + 1, '{') || self.is(end + 1, '[') => listed(),
            _ if equals(end) => vec![end + 2],
            _ if self.is(end, '=') => vec![end + 1],
            _ if begin > 2 && equals(begin - 2) => vec![begin - 3],
            _ => return,
        };
        for at in texts {
            let Some((Lex::Text(text), mark)) = self.all.get(at) else { continue };
            if words.contains(&text.as_str()) {
                continue;
            }
            let near = nearest(text, &words).map(|near| format!("; the nearest is `{near}`"));
            let (near, all) = (near.unwrap_or_default(), words.join(", "));
            let message = format!("the document never says `{text}` there, but {all}{near}");
            self.tell(Wrong { mark: *mark, message });
        }
    }

    fn tell(&mut self, wrong: Wrong) {
        if !self.wrong.contains(&wrong) {
            self.wrong.push(wrong);
        }
    }

    /// `object.get(PATH, "NAME", …)`: the name must be there too.
    fn asked_for(&mut self, at: usize, known: &Known<'s>) {
        let Some((Kind::Of(node), end)) = self.path(at, known) else { return };
        let Some((Lex::Text(name), mark)) = self.all.get(end + 1).filter(|_| self.is(end, ','))
        else {
            return;
        };
        self.step(node, name, *mark);
    }

    /// What a path leads to and where it ends; none: no path begins here.
    fn path(&mut self, at: usize, known: &Known<'s>) -> Option<(Kind<'s>, usize)> {
        let schema = self.schema;
        let mut kind = match self.name(at)? {
            "input" => Kind::Of(schema.plain(&schema.0)),
            name => known.get(name)?.clone(),
        };
        let mut at = at + 1;
        loop {
            if self.is(at, '.') {
                let Some((Lex::Name(name), mark)) = self.all.get(at + 1) else { break };
                if let Kind::Of(node) = kind {
                    kind = self.step(node, name, *mark);
                }
                at += 2;
            } else if self.is(at, '[') {
                let end = self.closes(at)?;
                kind = match (kind, self.all.get(at + 1)) {
                    (Kind::Of(node), Some((Lex::Text(name), mark))) if end == at + 2 => {
                        self.step(node, name, *mark)
                    }
                    (Kind::Of(node), _) => schema.items(node).map_or(Kind::Unknown, Kind::Of),
                    (Kind::Unknown, _) => Kind::Unknown,
                };
                at = end + 1;
            } else {
                break;
            }
        }
        Some((kind, at))
    }

    /// The bracket that closes the one here.
    fn closes(&self, at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for end in at..self.all.len() {
            match self.all[end].0 {
                Lex::Sign('[') => depth += 1,
                Lex::Sign(']') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(end);
            }
        }
        None
    }

    fn step(&mut self, node: &'s Json, name: &str, mark: Mark) -> Kind<'s> {
        match self.schema.field(node, name) {
            Some(found) => Kind::Of(found),
            None => {
                let message = match node.get("items") {
                    Some(_) => format!("`{name}` is asked of a list: name one of it, `[_]`"),
                    None => format!("the document has no field `{name}` there"),
                };
                self.tell(Wrong { mark, message });
                Kind::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> Vec<String> {
        let text = format!(
            "package douane.place\n\ndeny contains {{\"code\": \"x\", \"why\": column.name}} if {{\n{body}\n}}\n"
        );
        wrong(&text).into_iter().map(|one| format!("{}: {}", one.mark.line, one.message)).collect()
    }

    #[test]
    fn paths_of_the_document_are_right() {
        for body in [
            "\tsome column in input.columns\n\tcolumn.leaves[_].protection.kind == \"day\"",
            "\tsome at, column in input.columns\n\tinput.columns[at].made == column.made",
            "\tcolumn := input.columns[0]\n\tleaf := column.leaves[_]\n\tleaf.class == \"quasi\"",
            "\tsome column in input.columns\n\tcount([1 | some leaf in column.leaves; leaf.subject]) > 1",
            "\tinput[\"purpose\"] == \"x\"; column := input.columns[_]",
            "\tsome o in input.overrides\n\to.measured.planted < 20\n\tinput.statistics.rho_window > 1",
            "\tinput.source.format == \"debezium_json\"\n\tinput.publish_ms == null",
            "\tobject.get(input, \"purpose\", \"\") == \"x\"",
            // What a function gives is not followed.
            "\tcolumn := first(input.columns)\n\tcolumn.anything == 1",
            // Of a name that is two things neither.
            "\tsome x in input.columns\n\tx := input.overrides[0]\n\tx.measured == null",
        ] {
            assert_eq!(said(body), Vec::<String>::new(), "{body}");
        }
    }

    #[test]
    fn place_bad_paths_that_lead_nowhere_though_their_names_are_known() {
        for (body, expected) in [
            ("\tinput.class == \"quasi\"", "4: the document has no field `class` there"),
            ("\tinput[\"class\"] == \"quasi\"", "4: the document has no field `class` there"),
            (
                "\tsome column in input.columns\n\tcolumn.class == \"quasi\"",
                "5: the document has no field `class` there",
            ),
            (
                "\tsome column in input.columns\n\tcolumn.leaves.class == \"quasi\"",
                "5: `class` is asked of a list: name one of it, `[_]`",
            ),
            (
                "\tsome column in input.columns\n\tsome leaf in column.leaves\n\tleaf.kind == \"day\"",
                "6: the document has no field `kind` there",
            ),
            (
                "\tcolumn := input.columns[0]\n\tleaf := column.leaves[_]\n\tleaf.protection.class == 1",
                "6: the document has no field `class` there",
            ),
            (
                "\tsome o in input.overrides\n\to.planted < 20",
                "5: the document has no field `planted` there",
            ),
            ("\tsome column in input.overrides\n\tcolumn.residual == []", ""),
            (
                "\tobject.get(input, \"recall\", 1) < 1",
                "4: the document has no field `recall` there",
            ),
            (
                "\tcount([1 | some leaf in input.columns; leaf.subject]) > 1",
                "4: the document has no field `subject` there",
            ),
        ] {
            let found = said(body);
            assert_eq!(found.first().map_or("", String::as_str), expected, "{body}");
        }
        // A head that names what its body does not bind so.
        let head = said("\tsome column in input.overrides\n\tcolumn.residual == []");
        assert_eq!(head, Vec::<String>::new(), "an override has a name");
    }

    #[test]
    fn place_bad_words_that_the_document_never_has() {
        const LEAF: &str = "\tsome column in input.columns\n\tsome leaf in column.leaves\n";
        let classes = "the document never says `quasy` there, but ";
        for compared in [
            "leaf.class == \"quasy\"",
            "leaf.class != \"quasy\"",
            "leaf.class = \"quasy\"",
            "\"quasy\" == leaf.class",
            "leaf.class in {\"public\", \"quasy\"}",
            "leaf.class in [\"quasy\"]",
            "column.leaves[_].class == \"quasy\"",
        ] {
            let found = said(&format!("{LEAF}\t{compared}"));
            let [one] = &found[..] else { panic!("{compared}: {found:?}") };
            assert!(one.starts_with(&format!("6: {classes}")), "{compared}: {one}");
            assert!(one.ends_with("; the nearest is `quasi`"), "{compared}: {one}");
            // The control: the word that was meant.
            let right = said(&format!("{LEAF}\t{}", compared.replace("quasy", "quasi")));
            assert_eq!(right, Vec::<String>::new(), "{compared}");
        }
        for (compared, wrong) in [
            ("leaf.protection.kind == \"tokens\"", true),
            ("column.made == \"computed\"", true),
            ("column.made == \"derived\"", false),
            // What may be any text is held against any.
            ("column.name == \"quasy\"", false),
            ("leaf.residency == \"nowhere\"", false),
            ("leaf.class == column.name", false),
            // What is computed is not followed, nor are keys.
            ("leaf.class in {\"low\": \"public\"}", false),
            ("leaf.class in {known[\"x\"]}", false),
            ("leaf.class in {c | some o in input.overrides; o.name == \"x\"; c := o.name}", false),
            ("leaf.class in {\n\t\t\"public\",\n\t\t\"quasy\",\n\t}", true),
        ] {
            let found = said(&format!("{LEAF}\t{compared}"));
            assert_eq!(found.len(), usize::from(wrong), "{compared}: {found:?}");
        }
    }

    #[test]
    fn the_example_is_right_and_each_field_of_it_counts() {
        let board = include_str!("../../examples/policy/board.rego");
        assert_eq!(wrong(board), Vec::new());
        let other = board.replace("leaf.class == \"quasi\"", "column.class == \"quasi\"");
        assert_ne!(other, board);
        assert_eq!(wrong(&other).len(), 1, "the control");
    }
}
