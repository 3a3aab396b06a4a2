//! The proof as one page that a data-protection officer can read, print and put her name under. No
//! script, nothing fetched: what is signed must look the same in ten years.

use std::fmt::{self, Write};

use super::{Proof, Row};
use crate::plan::Part;
use crate::release::Standing;

pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2327;--soft:#50575e;--line:#c3c4c7;--paper:#fff;--shade:#f3f4f5;--mark:#fdf0d5;--edge:#9a3b00}
@media (prefers-color-scheme:dark){:root{--ink:#ececec;--soft:#b5bcc2;--line:#50575e;--paper:#16191c;--shade:#22272b;--mark:#3a2c12;--edge:#f0a35e}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 Georgia,'Times New Roman',serif}
main{max-width:76rem;margin:0 auto;padding:2.5rem 1.5rem}
h1{font-size:2.1rem;line-height:1.2;margin:0 0 .25rem;font-weight:600}
h2{font-size:1.25rem;margin:2.5rem 0 .5rem;font-weight:600}
p{max-width:46rem;margin:.5rem 0}
.lead{color:var(--soft);margin:0 0 1.5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.5rem;margin:1.5rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code,td.code,th.code{font-family:ui-monospace,SFMono-Regular,Consolas,monospace;font-size:.88em}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.94rem}
caption{text-align:left;color:var(--soft);padding:0 0 .5rem}
th,td{text-align:left;vertical-align:top;padding:.45rem .75rem .45rem 0;border-bottom:1px solid var(--line)}
thead th{border-bottom:2px solid var(--ink);font-weight:600}
tbody th{font-weight:600}
tr.override{background:var(--mark)}
tr.override th,tr.override td{border-bottom-color:var(--edge)}
.tag{display:inline-block;border:1px solid currentColor;border-radius:.2rem;padding:0 .35rem;font-size:.8em;color:var(--edge)}
.box{background:var(--shade);padding:.75rem 1rem;border-left:4px solid var(--line)}
.box.no{border-left-color:var(--edge)}
pre{white-space:pre-wrap;font-size:.85rem;margin:0}
article+article{margin-top:5rem;border-top:2px solid var(--ink);break-before:page}
.sign{display:grid;grid-template-columns:repeat(3,1fr);gap:3rem 2rem;margin-top:3.5rem}
.sign p{border-top:1px solid var(--ink);padding-top:.25rem;margin:0;color:var(--soft);font-size:.85rem}
@media print{:root{--ink:#000;--soft:#333;--line:#999;--paper:#fff;--shade:#fff;--mark:#eee;--edge:#000}
body{font-size:10pt}main{max-width:none;padding:0}h2{break-after:avoid}tr,.sign,.box{break-inside:avoid}thead{display:table-header-group}.wide{overflow:visible}@page{size:A4 landscape;margin:15mm}}
";

/// One page for all pipelines of a file.
pub fn page(proofs: &[(Proof, Standing)]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, proofs);
    out
}

fn write_page(out: &mut String, proofs: &[(Proof, Standing)]) -> fmt::Result {
    let names: Vec<&str> = proofs.iter().map(|(proof, _)| proof.pipeline.as_str()).collect();
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n<title>{}: what crosses, and why it may</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>",
        Escaped(&names.join(", ")),
    )?;
    for (n, (proof, standing)) in proofs.iter().enumerate() {
        proof.write_html(out, n, standing)?;
    }
    writeln!(out, "</main>\n</body>\n</html>")
}

impl Proof {
    /// One pipeline; `n` keeps the ids of several on one page apart.
    fn write_html(&self, out: &mut String, n: usize, standing: &Standing) -> fmt::Result {
        writeln!(
            out,
            "<article>\n<header>\n<h1>{}</h1>\n<p class=\"lead\">What crosses, what it is made of, \
             and the rule that lets it cross.</p>\n<dl>",
            Escaped(&self.pipeline)
        )?;
        for (what, value) in [
            ("Purpose", &self.purpose),
            ("From", &self.source),
            ("To", &self.target),
            ("Fingerprint", &self.fingerprint),
        ] {
            writeln!(out, "<dt>{what}</dt><dd><code>{}</code></dd>", Escaped(value))?;
        }
        if let Some(publish) = &self.publish {
            writeln!(out, "<dt>Published</dt><dd>{}</dd>", Escaped(publish))?;
        }
        if let Some(group) = &self.min_group {
            writeln!(out, "<dt>Groups</dt><dd>{}</dd>", Escaped(group))?;
        }
        writeln!(out, "</dl>\n</header>")?;
        let no = if standing.live { "" } else { " no" };
        writeln!(
            out,
            "<section aria-labelledby=\"release-{n}\">\n<h2 id=\"release-{n}\">Release</h2>\n\
             <p class=\"box{no}\">{}</p>\n</section>",
            Escaped(&standing.to_string())
        )?;
        self.write_columns(out, n)?;
        self.write_sql(out, n)?;
        self.write_changes(out, n)?;
        self.write_domains(out, n)?;
        self.write_privacy(out, n)?;
        self.write_behind(out, n)?;
        self.write_overrides(out, n)?;
        writeln!(
            out,
            "<section aria-labelledby=\"policy-{n}\">\n<h2 id=\"policy-{n}\">Policy</h2>\n\
             <pre class=\"box\">{}</pre>{}\n</section>",
            Escaped(&self.policy),
            self.pseudonyms().map(|said| format!("\n<p>{said}</p>")).unwrap_or_default(),
        )?;
        writeln!(
            out,
            "<section aria-labelledby=\"signatures-{n}\">\n<h2 id=\"signatures-{n}\">Signatures</h2>\n\
             <p>A signature on paper is a record of who read this page. What lets data cross are \
             the approvers' keys: <code>douane release sign</code>.</p>\n<div class=\"sign\">"
        )?;
        for _ in 0..2 {
            writeln!(out, "<p>Name</p><p>Place, date</p><p>Signature</p>")?;
        }
        writeln!(out, "</div>\n</section>\n</article>")
    }

    fn write_columns(&self, out: &mut String, n: usize) -> fmt::Result {
        open_table(
            out,
            (&format!("crosses-{n}"), "What crosses"),
            "Each row is one column of the records outside.",
            &["Column", "From", "Class", "Protection", "Keeps", "Allowed by"],
        )?;
        for row in &self.columns {
            let class = if row.is_override() { " class=\"override\"" } else { "" };
            let tag = if row.part == Part::Key { " <span class=\"tag\">key</span>" } else { "" };
            writeln!(
                out,
                "<tr{class}><th scope=\"row\" class=\"code\">{}: {}{tag}</th>\
                 <td class=\"code\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                Escaped(&row.column),
                Escaped(&row.column_type),
                Escaped(&from(row)),
                Escaped(&class_of(row)),
                Escaped(&row.protection),
                Escaped(&row.kept()),
                Escaped(&row.rule),
            )?;
        }
        close_table(out)
    }

    fn write_sql(&self, out: &mut String, n: usize) -> fmt::Result {
        let Some(sql) = &self.sql else { return Ok(()) };
        writeln!(
            out,
            "<section aria-labelledby=\"sql-{n}\">\n<h2 id=\"sql-{n}\">SQL</h2>\n\
             <pre class=\"box\">{}</pre>",
            Escaped(&sql.text)
        )?;
        if !sql.filter.is_empty() {
            writeln!(
                out,
                "<p>Which rows cross is decided by <code>{}</code>: {}.</p>",
                Escaped(&sql.filter.join(", ")),
                sql.means
            )?;
        }
        writeln!(out, "</section>")
    }

    fn write_changes(&self, out: &mut String, n: usize) -> fmt::Result {
        let caption = "How creations, updates and deletes become records.";
        let id = format!("changes-{n}");
        open_table(out, (&id, "How changes cross"), caption, &["Rule", "What it means"])?;
        for rule in &self.changes {
            writeln!(
                out,
                "<tr><th scope=\"row\" class=\"code\">{}: {}</th><td>{}</td></tr>",
                Escaped(rule.key),
                Escaped(rule.value),
                Escaped(&rule.means),
            )?;
        }
        close_table(out)
    }

    fn write_domains(&self, out: &mut String, n: usize) -> fmt::Result {
        if self.domains.is_empty() {
            return Ok(());
        }
        let (title, head) = ("Token domains", ["Domain", "May be used by"]);
        let caption = "Who may make the same tokens and encrypted values of the same value.";
        open_table(out, (&format!("domains-{n}"), title), caption, &head)?;
        for row in &self.domains {
            writeln!(
                out,
                "<tr><th scope=\"row\" class=\"code\">{}</th><td>{}</td></tr>",
                Escaped(&row.domain),
                Escaped(&row.used_for()),
            )?;
        }
        close_table(out)
    }

    fn write_privacy(&self, out: &mut String, n: usize) -> fmt::Result {
        let Some(privacy) = &self.privacy else { return Ok(()) };
        let head = ["Term", "What it means"];
        let caption = "What noise hides, and what it costs.";
        open_table(out, (&format!("privacy-{n}"), "Differential privacy"), caption, &head)?;
        for (term, text) in privacy.terms() {
            writeln!(out, "<tr><th scope=\"row\">{term}</th><td>{}</td></tr>", Escaped(&text))?;
        }
        close_table(out)
    }

    fn write_behind(&self, out: &mut String, n: usize) -> fmt::Result {
        let head = ["Leaf", "Class", "Why"];
        let caption = "Nothing of these crosses.";
        open_table(out, (&format!("behind-{n}"), "What stays behind"), caption, &head)?;
        for behind in &self.behind {
            writeln!(
                out,
                "<tr><th scope=\"row\" class=\"code\">{}</th><td>{}</td><td>{}</td></tr>",
                Escaped(&behind.leaf),
                Escaped(&behind.class),
                Escaped(behind.why),
            )?;
        }
        close_table(out)
    }

    fn write_overrides(&self, out: &mut String, n: usize) -> fmt::Result {
        if self.overrides.is_empty() {
            return Ok(());
        }
        let head = [
            "Override",
            "Columns",
            "Detectors",
            "What they may leave",
            "Minimum recall",
            "Second look",
            "Scorecard",
        ];
        let caption = "Exceptions from the policy, by name: highlighted above.";
        open_table(out, (&format!("overrides-{n}"), "Overrides"), caption, &head)?;
        for o in &self.overrides {
            writeln!(
                out,
                "<tr class=\"override\"><th scope=\"row\">{}</th><td class=\"code\">{}</td>\
                 <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"code\">{}</td></tr>",
                Escaped(&o.name),
                Escaped(&o.columns.join(", ")),
                Escaped(&o.detectors.join(", ")),
                Escaped(&o.shares().unwrap_or_else(|| o.residual.join(", "))),
                Escaped(&super::recall(o)),
                Escaped(&super::second_look(o).unwrap_or_default()),
                Escaped(o.scorecard.as_deref().unwrap_or_default()),
            )?;
        }
        close_table(out)
    }
}

fn from(row: &Row) -> String {
    let direct = row.direct.join(", ");
    let others: Vec<&str> =
        row.indirect.iter().filter(|leaf| !row.direct.contains(leaf)).map(String::as_str).collect();
    match others.is_empty() {
        true => direct,
        false => format!("{direct} (decided by {})", others.join(", ")),
    }
}

fn class_of(row: &Row) -> String {
    let subject = row.subject.then_some("subject".to_owned());
    let residency = row.residency.as_ref().map(|label| format!("residency {label}"));
    let notes: Vec<String> = subject.into_iter().chain(residency).collect();
    match notes.is_empty() {
        true => row.class.clone(),
        false => format!("{} ({})", row.class, notes.join(", ")),
    }
}

pub(crate) fn open_table(
    out: &mut String,
    (id, title): (&str, &str),
    caption: &str,
    head: &[&str],
) -> fmt::Result {
    writeln!(
        out,
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n\
         <div class=\"wide\"><table>\n<caption>{caption}</caption>\n<thead><tr>"
    )?;
    for cell in head {
        write!(out, "<th scope=\"col\">{cell}</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")
}

pub(crate) fn close_table(out: &mut String) -> fmt::Result {
    writeln!(out, "</tbody>\n</table></div>\n</section>")
}

/// Text between tags or in a quoted attribute.
pub(crate) struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{privacy, proof};
    use super::*;

    #[test]
    fn everything_is_on_the_page_and_escaped() {
        let mut proof = proof();
        proof.purpose = "<script>alert('x')</script> & \"more\"".to_owned();
        let page = page(&[(proof.clone(), Standing::default())]);
        assert!(!page.contains("<script"), "no script, of nobody");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more"));
        for row in &proof.columns {
            for text in [&row.column, &row.rule, &row.protection, &row.direct[0]] {
                assert!(page.contains(&Escaped(text).to_string()), "{text} is not shown");
            }
        }
        let (sql, publish) = (proof.sql.as_ref().unwrap(), proof.publish.as_ref().unwrap());
        for text in [&sql.text, &sql.filter[0], publish] {
            assert!(page.contains(&Escaped(text).to_string()), "{text} is not shown");
        }
        for row in &proof.domains {
            assert!(page.contains(&row.used_for()) && proof.text().contains(&row.used_for()));
        }
        for behind in &proof.behind {
            assert!(page.contains(behind.why));
        }
        let named = &proof.overrides[0];
        let (look, card) = (super::super::second_look(named), named.scorecard.clone());
        for text in [look.unwrap(), card.unwrap()] {
            assert!(page.contains(&Escaped(&text).to_string()), "{text} is not shown");
        }
        assert_eq!(page.matches("<tr class=\"override\">").count(), 2, "the column and its name");
    }

    #[test]
    fn of_statistics_the_page_says_what_the_text_says() {
        let (rows, mut proof) = (proof(), proof());
        proof.privacy = Some(privacy());
        let (page, text) = (page(&[(proof.clone(), Standing::default())]), proof.text());
        for (term, means) in proof.privacy.as_ref().unwrap().terms() {
            assert!(text.contains(&format!("  {term}: {means}\n")), "{term} in {text}");
            let shown = format!("<th scope=\"row\">{term}</th><td>{}</td>", Escaped(&means));
            assert!(page.contains(&shown), "{shown}");
        }
        let said = rows.pseudonyms().unwrap();
        assert!(rows.text().contains(said) && !text.contains(said) && !page.contains(said));
        assert!(super::page(&[(rows, Standing::default())]).contains(said));
    }

    #[test]
    fn nothing_is_fetched_and_every_tag_is_closed() {
        let statistics = Proof { privacy: Some(privacy()), ..proof() };
        let page = page(&[(proof(), Standing::default()), (statistics, Standing::default())]);
        for word in ["http:", "https:", "src=", "url(", "@import", "<link", "<img", "onload"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("default-src 'none'"));
        for tag in
            ["article", "table", "tr", "th", "td", "section", "main", "h2", "dl", "p", "div", "pre"]
        {
            let open = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        // A reader that cannot see the table hears which head a cell belongs to.
        assert_eq!(page.matches("<th ").count(), page.matches("<th scope=").count());
        assert_eq!(page.matches("<caption>").count(), page.matches("<table>").count());
    }
}
