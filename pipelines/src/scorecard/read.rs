//! Labelled text, read one sentence at a time: a file of any size takes the memory of its largest
//! sentence.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::fault::RunFault;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// The largest text of one sentence.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// What stands in `metadata` of text that this product made.
const GENERATOR: &str = "douane";

/// One labelled text. No `Debug`: it is data.
pub(super) struct Sentence {
    pub text: String,
    pub characters: u64,
    pub generated: bool,
    pub labels: Vec<Label>,
}

pub(super) struct Label {
    /// The file's word.
    pub kind: String,
    /// Bytes of the text.
    pub range: Range<usize>,
    /// It says another value than what stands there.
    pub misplaced: bool,
}

/// The file as a whole.
pub(super) struct Labelled {
    pub sha256: String,
    pub texts: u64,
}

#[derive(Deserialize)]
struct SentenceFile {
    full_text: String,
    spans: Vec<LabelFile>,
    #[serde(default)]
    metadata: Option<Json>,
}

#[derive(Deserialize)]
struct LabelFile {
    entity_type: String,
    #[serde(default)]
    entity_value: Option<String>,
    start_position: usize,
    end_position: usize,
}

/// Fields that must be there, for messages: those of serde quote values as well.
const FIELDS: [&str; 5] = ["full_text", "spans", "entity_type", "start_position", "end_position"];

/// Gives `take` each sentence of a file.
pub(super) fn each(path: &Path, take: &mut dyn FnMut(&Sentence)) -> Result<Labelled, RunFault> {
    let shown = path.display();
    let unread = |error: std::io::Error| {
        RunFault::File(format!("{shown}: {}\n  next: mend the name or its rights", error.kind()))
    };
    let file = File::open(path).map_err(unread)?;
    if file.metadata().map_err(unread)?.is_dir() {
        return Err(RunFault::File(format!("{shown}: is a folder\n  next: name a file")));
    }
    let mut hashed = Hashed { from: file.take(FILE_BYTES_MAX), context: Context::new(&SHA256) };
    let mut list = List { texts: 0, why: None, take };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(&mut hashed));
    let read = (&mut list).deserialize(&mut json).and_then(|()| json.end());
    if let Err(error) = read {
        let why = list.why.take().unwrap_or_else(|| reason(&error));
        let (line, column, nth) = (error.line(), error.column(), list.texts + 1);
        return Err(RunFault::File(format!(
            "{shown}:{line}:{column}: item {nth}: {why}\n  next: write a JSON list of {{ full_text, \
             spans: [{{ entity_type, entity_value, start_position, end_position }}] }}, offsets in \
             characters"
        )));
    }
    if hashed.from.limit() == 0 {
        return Err(RunFault::File(format!(
            "{shown}: has more than {FILE_BYTES_MAX} bytes\n  next: split it"
        )));
    }
    if list.texts == 0 {
        return Err(RunFault::File(format!("{shown}: holds no text\n  next: label some")));
    }
    let texts = list.texts;
    Ok(Labelled { sha256: HEXLOWER.encode(hashed.context.finish().as_ref()), texts })
}

/// What serde says, without what it found.
fn reason(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let missing = FIELDS.iter().find(|f| said.starts_with(&format!("missing field `{f}`")));
    match (error.classify(), missing) {
        (_, Some(field)) => format!("has no `{field}`"),
        (serde_json::error::Category::Data, _) => "is of another form than expected".to_owned(),
        (serde_json::error::Category::Eof, _) => "the file ends within it".to_owned(),
        (serde_json::error::Category::Io, _) => "cannot be read".to_owned(),
        (serde_json::error::Category::Syntax, _) => "is no JSON".to_owned(),
    }
}

struct Hashed<R> {
    from: R,
    context: Context,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(into)?;
        self.context.update(&into[..count]);
        Ok(count)
    }
}

/// The list, whose items are given away as they come.
struct List<'t> {
    texts: u64,
    /// What is wrong with an item that is of the right form.
    why: Option<String>,
    take: &'t mut dyn FnMut(&Sentence),
}

impl<'de> DeserializeSeed<'de> for &mut List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<SentenceFile>()? {
            let sentence = sentence(item).map_err(|why| {
                self.why = Some(why);
                A::Error::custom("")
            })?;
            (self.take)(&sentence);
            self.texts += 1;
        }
        Ok(())
    }
}

/// Offsets in characters become ranges of bytes.
fn sentence(item: SentenceFile) -> Result<Sentence, String> {
    let SentenceFile { full_text: text, spans, metadata } = item;
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("its text has {} bytes, at most {TEXT_BYTES_MAX}", text.len()));
    }
    let starts = text.char_indices().map(|(at, _)| at);
    let borders: Vec<usize> = starts.chain([text.len()]).collect();
    let characters = borders.len() - 1;
    let mut labels = Vec::with_capacity(spans.len());
    for (n, span) in spans.into_iter().enumerate() {
        let (start, end) = (span.start_position, span.end_position);
        if start >= end || end > characters {
            return Err(format!(
                "span {}: {start} to {end} is no part of its {characters} characters",
                n + 1
            ));
        }
        let range = borders[start]..borders[end];
        let misplaced = span.entity_value.is_some_and(|value| value != text[range.clone()]);
        labels.push(Label { kind: span.entity_type, range, misplaced });
    }
    let generated = metadata.is_some_and(|m| m["generator"] == GENERATOR);
    Ok(Sentence { text, characters: characters as u64, generated, labels })
}
