//! What is wrong with a file: always a place, a reason and the next step, never a secret.

use std::fmt;

use serde::Serialize;

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mark {
    /// 0: the file as a whole.
    pub line: u32,
    pub column: u32,
}

impl Mark {
    /// The file as a whole.
    pub const FILE: Self = Self { line: 0, column: 0 };

    /// Line and column from 1.
    pub fn new(line: usize, column: usize) -> Self {
        let narrow = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: narrow(line), column: narrow(column) }
    }
}

/// `:line:column`, or nothing for the file as a whole.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { Ok(()) } else { write!(f, ":{}:{}", self.line, self.column) }
    }
}

/// How bad a finding is. Both kinds make `lint` answer no; only an error stops a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// What sort of fault it is: the word that tools may sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Unreadable,
    TooLarge,
    Syntax,
    DoubleKey,
    UnknownKey,
    MissingKey,
    WrongType,
    OutOfRange,
    NotAllowed,
    NotInThisVersion,
    Secret,
    Environment,
    Place,
    Topic,
    Class,
    MatchesNothing,
    ProtectedTwice,
    Domain,
    UnkeyedHash,
    Stage,
    Override,
    Policy,
    Sql,
    Plan,
}

/// One fault, printed as
///
/// ```text
/// pipelines/customers.yaml:14:3: error: what was found, what was expected
///   more about it
///   next: what to do
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub file: String,
    #[serde(flatten)]
    pub mark: Mark,
    pub severity: Severity,
    pub kind: Kind,
    pub message: String,
    /// Lines below the message; the last one says the next step.
    pub help: Vec<String>,
}

impl Finding {
    /// An error of the plan or the policy, at a place in the pipeline's file or at the file as a
    /// whole. The last line of `help` says the next step.
    pub fn at(
        pipeline: &super::Pipeline,
        mark: Option<Mark>,
        message: &str,
        help: &[&str],
    ) -> Self {
        Self {
            file: pipeline.file.display().to_string(),
            mark: mark.unwrap_or(Mark::FILE),
            severity: Severity::Error,
            kind: Kind::Plan,
            message: message.to_owned(),
            help: help.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    /// Adds a line below the message.
    pub fn help(&mut self, line: impl Into<String>) -> &mut Self {
        self.help.push(line.into());
        self
    }

    /// Adds the next step.
    pub fn next(&mut self, step: impl fmt::Display) -> &mut Self {
        self.help(format!("next: {step}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}{}: {severity}: {}", self.file, self.mark, self.message)?;
        self.help.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// All findings at once, in the order of files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds an error; the caller chains `help` and `next`.
    pub fn error(
        &mut self,
        file: &str,
        mark: Mark,
        kind: Kind,
        message: impl Into<String>,
    ) -> &mut Finding {
        let (file, message) = (file.to_owned(), message.into());
        let at = self.0.len();
        let severity = Severity::Error;
        self.0.push(Finding { file, mark, severity, kind, message, help: Vec::new() });
        &mut self.0[at]
    }

    /// Leaves out what was said before.
    pub(super) fn dedup(&mut self) {
        let mut said: Vec<Finding> = Vec::new();
        for finding in self.0.drain(..) {
            if !said.contains(&finding) {
                said.push(finding);
            }
        }
        self.0 = said;
    }

    /// Adds a finding as it is.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }

    /// Could a file not be read at all? Then the exit code is 2, not 1.
    pub fn unreadable(&self) -> bool {
        self.0.iter().any(|finding| finding.kind == Kind::Unreadable)
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Leaves out the first `n`.
    pub(super) fn keep_from(&mut self, n: usize) {
        self.0.drain(..n.min(self.0.len()));
    }

    pub(super) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// By place within each file; files in the order in which they were read.
    pub(super) fn sort(&mut self) {
        let mut files: Vec<String> = Vec::new();
        for finding in &self.0 {
            if !files.contains(&finding.file) {
                files.push(finding.file.clone());
            }
        }
        self.0.sort_by_key(|finding| {
            (files.iter().position(|file| *file == finding.file), finding.mark)
        });
    }
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}
