//! A replay as one page that an auditor can file: what is claimed, what each claim stands on, and the chain of each
//! transaction from what was read to what was signed. No script, nothing fetched, no value.

use std::fmt::{self, Write};

use super::{Answer, Range, Replay, Transaction, Wrote};
use crate::proof::html::{Escaped, STYLE, close_table, open_table};

/// The page.
pub fn page(replay: &Replay) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, replay);
    out
}

fn write_page(out: &mut String, replay: &Replay) -> fmt::Result {
    let Replay { pipeline, by, reason, at, asked, under, .. } = replay;
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n<title>{0}: made again</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<article>\n<header>\n<h1>{0}</h1>\n<p class=\"lead\">What crossed, made \
         again from the source by the recorded plan, and held against what was signed.</p>\n<dl>",
        Escaped(pipeline),
    )?;
    let approvers = under.approvers.join(", ");
    let release = format!("{}, version {}", under.release, under.version);
    let policy = format!("version {}, {}", under.policy, under.policy_digest);
    for (what, value) in [
        ("Asked by", by),
        ("Reason", reason),
        ("Made", at),
        ("Transactions", asked),
        ("Purpose", &under.purpose),
        ("Release", &release),
        ("Proposed by", &under.author),
        ("Approved by", &approvers),
        ("Fingerprint", &under.fingerprint),
        ("Policy", &policy),
        ("Software", &under.software),
    ] {
        writeln!(out, "<dt>{what}</dt><dd>{}</dd>", Escaped(value))?;
    }
    writeln!(out, "</dl>\n</header>")?;
    write_answer(out, replay)?;
    write_reasons(out, replay)?;
    write_transactions(out, replay)?;
    writeln!(
        out,
        "<section aria-labelledby=\"signatures\">\n<h2 id=\"signatures\">Filed</h2>\n<p>Whoever files this \
         page compares these digests with the entries REPLAYED of the zone's log of keys \
         (<code>douane verify</code> checks that log): they are of the answers as they were told.</p>"
    )?;
    for digest in &replay.digests {
        writeln!(out, "<p><code>{}</code></p>", Escaped(digest))?;
    }
    writeln!(
        out,
        "<div class=\"sign\">\n<p>Name</p><p>Place, date</p><p>Signature</p>\n</div>\n</section>\n</article>\n\
         </main>\n</body>\n</html>"
    )
}

fn write_answer(out: &mut String, replay: &Replay) -> fmt::Result {
    let Replay { transactions, records, equal, different, ms, .. } = replay;
    let rate = *records as f64 * 1_000.0 / (*ms).max(1) as f64;
    let class = if replay.holds { "box" } else { "box no" };
    let said = match (replay.holds, replay.in_folder) {
        (true, false) => "All of it is equal, byte for byte, and the manifest of each is there.",
        (true, true) => {
            "All of it is equal, byte for byte, held against the ledger alone: the manifests in the folder \
             were not read."
        }
        (false, _) => {
            "NOT all of it is equal and covered: the rows that are marked say what and where."
        }
    };
    writeln!(
        out,
        "<section aria-labelledby=\"answer\">\n<h2 id=\"answer\">Answer</h2>\n<p class=\"{class}\">{said}</p>\n\
         <p>{transactions} transactions of {records} records, at {rate:.0} records/s: {equal} equal, \
         {different} different, {} whose input is gone, {} whose keys are gone, {} of another plan; {} \
         without a manifest to be held against.</p>\n</section>",
        replay.input_gone, replay.keys_gone, replay.semantics_gone, replay.manifests_unseen,
    )
}

/// Each claim and what it stands on.
fn write_reasons(out: &mut String, replay: &Replay) -> fmt::Result {
    let fingerprint = replay.under.fingerprint.get(..12).unwrap_or_default();
    let mut reasons = [
        (
            "These are the transactions that crossed",
            "The position in the target names the ledger's root; the ledger has an intent for each, written \
             before its first byte left, and its outcome.",
        ),
        (
            "This is what was read",
            "The records at the intent's offsets have its keyed digest. Otherwise the answer is: input gone.",
        ),
        (
            "This is what people approved",
            "The files have the fingerprint that the release was signed for, and the intent names it. Otherwise: \
             semantics gone.",
        ),
        (
            "These are the keys of then",
            "The intent names their ids, which follow from the keys. Otherwise: keys gone.",
        ),
        (
            "This is what crossed",
            "What the stages and the gate made of it now has the count and digest, a target partition, of the intent and \
             of the signed manifest; and what was refused then is refused now. Otherwise: different, with the place.",
        ),
    ];
    if replay.in_folder {
        reasons[4].1 = "What the stages and the gate made of it now has the count and digest, a target partition, of the \
             intent; and what was refused then is refused now. Otherwise: different, with the place. Manifests lie in \
             the folder's parts: `verify --manifest` holds them.";
    }
    let caption = format!("Of each transaction below; the plan is {}….", Escaped(fingerprint));
    open_table(out, ("reasons", "Chain of reasons"), &caption, &["Claim", "Stands on"])?;
    for (claim, why) in reasons {
        writeln!(out, "<tr><th scope=\"row\">{claim}</th><td>{why}</td></tr>")?;
    }
    close_table(out)
}

fn write_transactions(out: &mut String, replay: &Replay) -> fmt::Result {
    let head = ["Transaction", "Read", "Under", "Wrote", "Answer"];
    let caption = "In the order of the logs. Offsets run up to, and not with, their end.";
    open_table(out, ("transactions", "Transactions"), caption, &head)?;
    for one in &replay.answers {
        let Transaction { manifest, log, sequence, release, read, wrote, key_ids, .. } = one;
        let is_fine = one.answer == Answer::Equal;
        let class = if is_fine { "" } else { " class=\"override\"" };
        let read: Vec<String> = read
            .iter()
            .map(|Range { topic, partition, start, end }| {
                Escaped(&format!("{topic}[{partition}] {start} to {end}")).to_string()
            })
            .collect();
        let wrote: Vec<String> = wrote
            .iter()
            .map(|Wrote { topic, partition, records, digest }| {
                Escaped(&format!("{topic}[{partition}] {records}: {digest}")).to_string()
            })
            .collect();
        let mut answer = vec![one.answer.words().to_owned()];
        if !one.manifest_seen {
            answer.push("no manifest topic has its manifest".to_owned());
        }
        answer.extend(one.why.iter().map(|why| Escaped(why).to_string()));
        let keys: Vec<String> = key_ids.iter().map(|id| Escaped(id).to_string()).collect();
        writeln!(
            out,
            "<tr{class}><th scope=\"row\" class=\"code\">{}<br>{} #{sequence}</th><td class=\"code\">{}</td>\
             <td class=\"code\">release {}…<br>keys {}</td><td class=\"code\">{}</td><td>{}</td></tr>",
            Escaped(manifest),
            Escaped(log),
            read.join("<br>"),
            Escaped(release.get(..12).unwrap_or_default()),
            keys.join("<br>"),
            wrote.join("<br>"),
            answer.join("<br>"),
        )?;
    }
    close_table(out)
}

#[cfg(test)]
mod tests {
    use super::super::tests::transaction;
    use super::*;

    #[test]
    fn the_chain_of_each_transaction_is_on_the_page_and_escaped() {
        let mut bad = transaction("shard-1", 2, Answer::Different);
        bad.why = vec!["out[0]: 2 records, and <its manifest> says 3".to_owned()];
        bad.manifest_seen = false;
        let answers = vec![transaction("shard-0", 1, Answer::Equal), bad];
        let mut replay = Replay::of(answers, true, false, 5);
        replay.reason = "audit \"7\" <script>".to_owned();
        replay.digests = vec!["12".repeat(32)];
        let page = page(&replay);
        for text in [
            "shard-0-1",
            "crm[0] 0 to 3",
            &"cd".repeat(32),
            &"ef".repeat(16),
            "DIFFERENT",
            "&lt;its manifest&gt;",
            "no manifest topic",
            "audit &quot;7&quot; &lt;script&gt;",
            &"12".repeat(32),
            "NOT all of it is equal",
        ] {
            assert!(page.contains(text), "{text} is not shown");
        }
        assert_eq!(
            page.matches("<tr class=\"override\">").count(),
            1,
            "what is not equal is marked"
        );
        for word in ["http:", "https:", "src=", "url(", "@import", "<link", "<script", "onload"] {
            assert!(!page.contains(word), "{word}");
        }
        for tag in ["article", "table", "tr", "th", "td", "section", "main", "h2", "dl", "p", "div"]
        {
            let open = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        // Of a folder no manifest is read, and the page claims none.
        let fine = |has_topic| {
            let answers = vec![transaction("shard-0", 1, Answer::Equal)];
            super::page(&Replay::of(answers, has_topic, false, 5))
        };
        let claims = ["the manifest of each is there", "of the signed manifest", "ledger alone"];
        assert_eq!(claims.map(|claim| fine(true).contains(claim)), [true, true, false]);
        assert_eq!(claims.map(|claim| fine(false).contains(claim)), [false, false, true]);
    }
}
