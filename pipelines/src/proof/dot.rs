//! The proof as a graph for Graphviz: leaves, protections, columns. A solid edge carries values, a
//! dashed one decides whether a row crosses.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Proof, Row};
use crate::plan::Part;

impl Proof {
    /// `digraph { … }`.
    pub fn dot(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_dot(&mut out);
        out
    }

    fn write_dot(&self, out: &mut String) -> std::fmt::Result {
        let mut leaves: BTreeMap<&str, (String, &str)> = BTreeMap::new();
        let filter = self.sql.iter().flat_map(|sql| &sql.filter);
        let decide = self.columns.iter().flat_map(|row| &row.indirect).chain(filter);
        // The class of a leaf is that of a column made of it alone; a leaf that only decides, and
        // crosses in no column, is named without.
        let mut rows: Vec<&Row> = self.columns.iter().collect();
        rows.sort_by_key(|row| row.direct.len() != 1);
        let direct = rows.iter().flat_map(|row| row.direct.iter().map(|leaf| (leaf, &*row.class)));
        for (leaf, class) in direct.chain(decide.map(|leaf| (leaf, ""))) {
            let id = format!("leaf{}", leaves.len());
            leaves.entry(leaf).or_insert((id, class));
        }
        writeln!(out, "digraph {} {{", quoted(&self.pipeline))?;
        writeln!(out, "  rankdir=LR;")?;
        writeln!(out, "  label={};", quoted(&format!("{} -> {}", self.source, self.target)))?;
        writeln!(out, "  node [fontname=\"sans-serif\", shape=box];")?;
        for (leaf, (id, class)) in &leaves {
            let label = format!("{leaf}\n{class}");
            writeln!(out, "  {id} [label={}, style=rounded];", quoted(&label))?;
        }
        for (n, row) in self.columns.iter().enumerate() {
            write_column(out, n, row, &leaves)?;
        }
        if let Some(sql) = self.sql.as_ref().filter(|sql| !sql.filter.is_empty()) {
            let label = format!("which rows cross\n{}", sql.text);
            writeln!(out, "  filter [label={}, shape=diamond];", quoted(&label))?;
            for leaf in &sql.filter {
                let Some((id, _)) = leaves.get(leaf.as_str()) else { continue };
                writeln!(out, "  {id} -> filter [style=dashed];")?;
            }
        }
        for (n, behind) in self.behind.iter().enumerate() {
            let label = format!("{}\n{}", behind.leaf, behind.why);
            writeln!(
                out,
                "  behind{n} [label={}, style=\"rounded,dashed\", color=gray40, fontcolor=gray40];",
                quoted(&label)
            )?;
        }
        writeln!(out, "}}")
    }
}

fn write_column(
    out: &mut String,
    n: usize,
    row: &Row,
    leaves: &BTreeMap<&str, (String, &str)>,
) -> std::fmt::Result {
    let key = if row.part == Part::Key { "key " } else { "" };
    let label = format!("{key}{}: {}\n{}", row.column, row.column_type, row.rule);
    let named = if row.is_override() { ", color=red3, penwidth=2" } else { "" };
    writeln!(out, "  column{n} [label={}, style=bold{named}];", quoted(&label))?;
    writeln!(out, "  protection{n} [label={}, shape=ellipse];", quoted(&row.protection))?;
    writeln!(out, "  protection{n} -> column{n};")?;
    for (leaves_of, style) in [(&row.direct, ""), (&row.indirect, " [style=dashed]")] {
        for leaf in leaves_of {
            let Some((id, _)) = leaves.get(leaf.as_str()) else { continue };
            writeln!(out, "  {id} -> protection{n}{style};")?;
        }
    }
    Ok(())
}

/// A quoted ID of the DOT language: only the quote and the backslash mean anything in it.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let plain: String = escaped.chars().filter(|c| !c.is_control()).collect();
    format!("\"{plain}\"")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::proof;

    /// Node and edge statements of the subset that is written, by the DOT grammar's own tokens.
    fn parse(text: &str) -> (Vec<String>, Vec<(String, String)>) {
        let body = text.split_once("{\n").unwrap().1.strip_suffix("}\n").unwrap();
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        for line in body.lines() {
            let line = line.trim();
            // Quotes are closed on the line that opens them, and the statement ends.
            let mut open = false;
            let mut escaped = false;
            for c in line.chars() {
                match c {
                    '"' if !escaped => open = !open,
                    _ => {}
                }
                escaped = c == '\\' && !escaped;
            }
            assert!(!open && line.ends_with(';'), "{line}");
            let id = |text: &str| text.split([' ', ';', '=']).next().unwrap().to_owned();
            match line.split_once(" -> ") {
                Some((from, to)) if !line.contains("label=") => edges.push((id(from), id(to))),
                _ => nodes.push(id(line)),
            }
        }
        (nodes, edges)
    }

    #[test]
    fn the_graph_has_every_leaf_protection_and_column() {
        let proof = proof();
        let (nodes, edges) = parse(&proof.dot());
        for (n, row) in proof.columns.iter().enumerate() {
            let (protection, column) = (format!("protection{n}"), format!("column{n}"));
            assert!(nodes.contains(&protection) && nodes.contains(&column));
            assert!(edges.contains(&(protection.clone(), column)));
            let into = edges.iter().filter(|(_, to)| *to == protection).count();
            assert_eq!(into, row.direct.len() + row.indirect.len());
        }
        assert!(nodes.contains(&"filter".to_owned()));
        assert_eq!(edges.iter().filter(|(_, to)| to == "filter").count(), 1);
        // Several leaves may be in one column.
        assert!(proof.columns.iter().any(|row| row.direct.len() > 1));
        for (from, to) in edges {
            assert!(nodes.contains(&from) && nodes.contains(&to), "{from} -> {to}");
        }
    }

    #[test]
    fn graphviz_takes_it_where_it_is_installed() {
        use std::io::Write as _;
        let child = std::process::Command::new("dot")
            .args(["-Tsvg", "-o/dev/null"])
            .stdin(std::process::Stdio::piped())
            .spawn();
        // The grammar is held by the test above where nobody has installed it.
        let Ok(mut child) = child else { return assert!(!proof().dot().is_empty()) };
        child.stdin.take().unwrap().write_all(proof().dot().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
