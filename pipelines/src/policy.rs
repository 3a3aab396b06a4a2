//! What may cross, decided before any record is read: the default policy, readable Rego that is
//! shipped and built in, and the place's own, which can deny more and allow nothing.
//!
//! Closed: a column crosses where exactly one rule allows it and none denies it. No answer, or one
//! that is not of the form, is no.

mod document;
mod engine;
mod own;
mod paths;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use douane_ledger::canonical;
use douane_schemas::leaf::LeafType;
use serde::Deserialize;

use crate::config::{Class, Pipeline};
use crate::plan::Plan;

pub use document::{Column, Document, Endpoint};
pub use own::File;
pub(crate) use own::{names, paths as files, read};

use engine::{Policy, Undecided};

/// Version of the default policy; it stands in every fingerprint.
pub const VERSION: u32 = 6;

/// The default policy.
const DEFAULT: &str = include_str!("../policy/release.rego");

/// Where it lies, in messages and beside its text in the fingerprint.
const DEFAULT_NAME: &str = "release.rego";

const PACKAGE: &str = "douane.release";

/// Of a place's own policies.
const PACKAGE_OF_PLACES: &str = "douane.place";

/// The name of the rule that lets columns of a `sql` stage cross.
pub const POST_PROCESSING: &str = "post-processing of columns that may cross";

/// The name of the rule that lets a window's own bounds cross.
pub const WINDOW: &str = "dp: the windows are public";

/// What a policy knows of the place that a pipeline runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    pub source: Endpoint,
    pub target: Endpoint,
    pub topic_prefix: String,
    /// The folder of the place's own policies.
    pub dir: Option<PathBuf>,
    /// What lies in it.
    pub files: Arc<[File]>,
}

/// The answer for one output column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The rule that lets it cross.
    Allowed { rule: String },
    /// Why not, at least once.
    Denied(Vec<Refusal>),
}

/// Why a policy denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The name of the rule: what tools and tests go by.
    pub code: String,
    /// Why, and what would be allowed.
    pub why: String,
    /// The column that it is about; none: the whole.
    pub column: Option<String>,
    pub by: By,
}

/// Whose policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Default,
    Place,
}

impl Refusal {
    /// `denied by …`, below the finding.
    pub fn named(&self) -> String {
        match self.by {
            By::Default => format!("rule `{}` of the default policy, version {VERSION}", self.code),
            By::Place => format!("rule `{}` of the place's own policy", self.code),
        }
    }

    fn undecided(by: By, column: Option<String>, why: impl std::fmt::Display) -> Self {
        let whose = match by {
            By::Default => "the default policy",
            By::Place => "the place's own policy",
        };
        let why = format!("{whose} does not decide, which is a no: {why}");
        Self { code: UNDECIDED.to_owned(), why, column, by }
    }
}

/// The code where a policy does not decide.
pub const UNDECIDED: &str = "undecided";

/// What the default policy answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    v: u32,
    allow: Vec<Allow>,
    deny: Vec<Deny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    column: usize,
    rule: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    column: usize,
    code: String,
    why: String,
}

/// What a place's policies answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnDeny {
    code: String,
    why: String,
    #[serde(default)]
    column: Option<String>,
}

/// Decides one column by the default policy.
pub fn column(pipeline: &Pipeline, column: Column) -> Verdict {
    let document = Document::of(pipeline).with(vec![column]);
    let mut verdicts = decide(&document);
    match verdicts.pop() {
        Some(verdict) if verdicts.is_empty() => verdict,
        _ => Verdict::Denied(vec![Refusal::undecided(By::Default, None, Undecided::Form)]),
    }
}

/// Decides each column of a document by the default policy.
pub fn decide(document: &Document) -> Vec<Verdict> {
    let answer = ask_default(&document.json());
    let refused = |name: &str, why: &Undecided| {
        let column = Some(name.to_owned());
        Verdict::Denied(vec![Refusal::undecided(By::Default, column, why)])
    };
    let all = document.columns.iter().enumerate();
    match answer {
        Ok(answer) => all.map(|(at, column)| of_answer(&answer, at, &column.name)).collect(),
        Err(why) => all.map(|(_, column)| refused(&column.name, &why)).collect(),
    }
}

/// One rule allows it and none denies it.
fn of_answer(answer: &Answer, at: usize, name: &str) -> Verdict {
    let refusals: Vec<Refusal> = answer
        .deny
        .iter()
        .filter(|deny| deny.column == at)
        .map(|deny| Refusal {
            code: deny.code.clone(),
            why: deny.why.clone(),
            column: Some(name.to_owned()),
            by: By::Default,
        })
        .collect();
    let rules: Vec<&str> = answer
        .allow
        .iter()
        .filter(|allow| allow.column == at)
        .map(|allow| allow.rule.as_str())
        .collect();
    match (rules.as_slice(), refusals.is_empty()) {
        ([rule], true) => Verdict::Allowed { rule: (*rule).to_owned() },
        (_, false) => Verdict::Denied(refusals),
        (rules, true) => {
            let why = format!("{} rules let it cross, expected one", rules.len());
            let column = Some(name.to_owned());
            Verdict::Denied(vec![Refusal::undecided(By::Default, column, why)])
        }
    }
}

fn ask_default(document: &str) -> Result<Answer, Undecided> {
    thread_local! {
        /// Parsed once a thread.
        static POLICY: Result<Policy, Undecided> = {
            let file = std::iter::once((DEFAULT_NAME, DEFAULT));
            Policy::parse(PACKAGE, file).map_err(|(_, fault)| fault)
        };
    }
    let answer: Answer = POLICY.with(|policy| match policy {
        Ok(policy) => policy.ask("data.douane.release.answer", document),
        Err(fault) => Err(fault.clone()),
    })?;
    if answer.v == VERSION { Ok(answer) } else { Err(Undecided::Form) }
}

/// Decides a plan as a whole: the default policy, which must say of each column what the planner was
/// told, and the place's own. What they deny.
pub fn judge(pipeline: &Pipeline, plan: &Plan) -> Vec<Refusal> {
    let (document, rules) = Document::whole(pipeline, plan);
    let mut refusals = Vec::new();
    let verdicts = decide(&document);
    if verdicts.len() != rules.len() {
        refusals.push(Refusal::undecided(By::Default, None, Undecided::Form));
    }
    for ((verdict, planned), column) in verdicts.into_iter().zip(&rules).zip(&document.columns) {
        match verdict {
            Verdict::Denied(denied) => refusals.extend(denied),
            Verdict::Allowed { rule } if rule == *planned => {}
            Verdict::Allowed { .. } => {
                let name = Some(column.name.clone());
                refusals.push(Refusal::undecided(By::Default, name, Undecided::Form));
            }
        }
    }
    refusals.extend(own(&pipeline.ground, &document));
    refusals
}

/// What the place's own policies deny.
pub fn own(ground: &Ground, document: &Document) -> Vec<Refusal> {
    if ground.dir.is_none() {
        return Vec::new();
    }
    let asked = own::parse(&ground.files)
        .map_err(|(_, fault)| fault)
        .and_then(|policy| policy.ask::<Vec<OwnDeny>>("data.douane.place.deny", &document.json()));
    match asked {
        Ok(denied) => denied
            .into_iter()
            .map(|OwnDeny { code, why, column }| Refusal { code, why, column, by: By::Place })
            .collect(),
        Err(why) => vec![Refusal::undecided(By::Place, None, why)],
    }
}

/// SHA-256 in hexadecimal of all that decides: the default policy and the place's own, by name.
pub fn digest(ground: &Ground) -> String {
    let own = ground.files.iter().map(|file| (file.name.as_str(), file.text.as_str()));
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |text: &str| {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    for (package, name, text) in std::iter::once((PACKAGE, DEFAULT_NAME, DEFAULT))
        .chain(own.map(|(name, text)| (PACKAGE_OF_PLACES, name, text)))
    {
        part(package);
        part(name);
        part(text);
    }
    HEXLOWER.encode(context.finish().as_ref())
}

/// What is signed with the proof: the table at the head of the default policy, and which files of the
/// place may deny more.
pub fn in_words(ground: &Ground) -> String {
    let head = DEFAULT.lines().map_while(|line| line.strip_prefix('#'));
    let mut words: String = head
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    for file in ground.files.iter() {
        let sha256 = canonical::sha256_hex(file.text.as_bytes());
        words.push_str(&format!("the place's own {} denies more (SHA-256 {sha256})\n", file.name));
    }
    words
}

/// Whether a column of this type is text, of which parts can be cut.
pub(crate) fn is_text(leaf_type: LeafType) -> bool {
    leaf_type.arrow() == LeafType::Text.arrow()
}

/// The class that asks for most; public where there is none.
pub fn strictest(classes: impl Iterator<Item = Class>) -> Class {
    const ORDER: [Class; 8] = [
        Class::Public,
        Class::Technical,
        Class::Quasi,
        Class::Sensitive,
        Class::Identifier,
        Class::Special,
        Class::FreeText,
        Class::Secret,
    ];
    let rank = |class: &Class| ORDER.iter().position(|other| other == class);
    classes.max_by_key(rank).unwrap_or(Class::Public)
}
