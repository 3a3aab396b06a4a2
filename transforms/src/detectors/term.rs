//! Words of a file: nothing is found without one.

use super::{Find, Spec};

/// What the stage's dictionary lists for it: projects, illnesses, whatever must not be read.
pub(super) const SPEC: Spec = Spec {
    name: "term",
    mark: "[TERM]",
    summary: "words of a file that the stage names under `dictionaries`",
    semantics: 1,
    find: Find::Words { scan: |_, _| {}, lists: &[] },
    context: None,
    examples: &[],
    refusals: &["Blue Heron", "anything", "Ada Lovelace", "Berlin", "12 Main Street"],
};
