//! A tree as YAML again, for a file that a program makes of one that a person wrote.

use std::fmt::Write;

use super::yaml::{Node, Value};

/// As a file: maps in lines, what is in lists in one.
pub fn text(root: &Node) -> String {
    let mut out = String::new();
    lines(root, 0, &mut out);
    out
}

fn lines(node: &Node, depth: usize, out: &mut String) {
    for (key, value) in node.entries() {
        let _ = write!(out, "{}{}:", "  ".repeat(depth), scalar(&key.text));
        match &value.value {
            Value::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                lines(value, depth + 1, out);
            }
            _ => {
                out.push(' ');
                flow(value, out);
                out.push('\n');
            }
        }
    }
}

fn flow(node: &Node, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match &node.value {
        Value::Null => write!(out, "null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Integer(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value:?}"),
        Value::Text(text) => write!(out, "{}", scalar(text)),
        Value::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                flow(item, out);
            }
            write!(out, "]")
        }
        Value::Map(entries) => {
            out.push('{');
            for (n, (key, value)) in entries.iter().enumerate() {
                let _ = write!(out, "{}{}: ", if n > 0 { ", " } else { "" }, scalar(&key.text));
                flow(value, out);
            }
            write!(out, "}}")
        }
    };
}

/// As a word where it reads as none but a text, else in quotes, as JSON has them.
fn scalar(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !["true", "false", "null"].contains(&text);
    match word {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Findings;
    use super::super::yaml::parse;
    use super::*;

    fn read(text: &str) -> Node {
        let mut findings = Findings::default();
        let node = parse(text, "f", &mut findings);
        node.unwrap_or_else(|| panic!("{findings}\n{text}"))
    }

    /// What is read again is what was written, by a form that has no choices.
    fn same(node: &Node) -> String {
        let mut out = String::new();
        flow(node, &mut out);
        out
    }

    #[test]
    fn what_is_written_reads_as_what_was_read() {
        for name in ["customers-json.yaml", "orders-weekly.yaml", "domains.yaml"] {
            let source = std::fs::read_to_string(format!("examples/{name}")).unwrap();
            let node = read(&source);
            assert_eq!(same(&read(&text(&node))), same(&node), "{name}");
        }
        let odd = "a: \"true\"\nb: true\nc: \"1\"\nd: 1\ne: 0.5\nf: ~\ng: \"x: y # z\"\nh: []\ni: {}\n\
                   \"k: l\": { \"0\": [1e-9, \"1e-9\", \"null\", \"A\", \"crm.public.*\"] }\nm: |\n  one\n  two\n";
        let node = read(odd);
        assert_eq!(same(&read(&text(&node))), same(&node));
        assert!(text(&node).contains("\nb: true\nc: \"1\"\nd: 1\n"), "{}", text(&node));
    }
}
