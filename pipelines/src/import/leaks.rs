//! What a chain of Kafka Connect 4.3 lets out. Each of these was seen on a running one.

use super::transforms::Chain;
use super::{Draft, Line};

/// One leak: whether a configuration has it, and what it is.
struct Known {
    applies: fn(&Seen) -> bool,
    what: &'static str,
}

/// What is known of a configuration.
struct Seen<'a> {
    debezium: bool,
    chain: &'a Chain,
    draft: &'a Draft,
    lines: &'a [Line],
}

impl Seen<'_> {
    fn masks(&self) -> bool {
        self.chain.has("MaskField") || self.chain.has("ReplaceField")
    }

    fn has(&self, key: &str) -> bool {
        self.lines.iter().any(|line| line.key.starts_with(key))
    }
}

const KNOWN: [Known; 10] = [
    Known {
        applies: |seen| {
            seen.chain.has("ExtractNewRecordState") && seen.draft.format == "debezium_json"
        },
        what: "ExtractNewRecordState does nothing to JSON without schemas, and says nothing: the whole \
               envelope goes on, a mask behind it adds empty fields at the top, and `before` and `after` \
               stay in clear",
    },
    Known {
        applies: |seen| {
            seen.masks()
                && !seen
                    .chain
                    .0
                    .iter()
                    .any(|one| one.kind == "ReplaceField" && !seen.draft.named.is_empty())
        },
        what: "a leaf that no transform names passes: a new column crosses in clear from its first record",
    },
    Known {
        applies: |seen| seen.masks(),
        what: "leaves within others cannot be named: what is nested passes",
    },
    Known {
        applies: |seen| {
            seen.masks()
                && !seen.chain.has("ExtractNewRecordState")
                && !seen.chain.0.iter().any(|one| one.kind == "ExtractField")
        },
        what: "the transforms see the envelope, not the row: `before` and `after` pass as they are",
    },
    Known {
        applies: |seen| seen.masks() && !seen.chain.0.iter().any(|one| one.of_key),
        what: "the record's key crosses in clear, and decides the partition: most often it is the row's \
               own identifier",
    },
    Known {
        applies: |seen| seen.has("errors.deadletterqueue"),
        what: "dead letters hold key, value and headers in clear, also where the transform that fails \
               stands behind the mask; with context headers also the exception's text, which repeats \
               the value",
    },
    Known {
        applies: |seen| seen.draft.logs,
        what: "errors.log prints the value through the exception's text, also without include.messages",
    },
    Known {
        applies: |seen| !seen.draft.tolerates,
        what: "a record that fails prints its value into the worker's log, and into `trace` of \
               GET /connectors/NAME/status",
    },
    Known {
        applies: |_| true,
        what: "PUT /admin/loggers with TRACE, which needs no login, prints keys and values before any \
               mask; GET config gives passwords in clear",
    },
    Known {
        applies: |seen| seen.debezium || seen.chain.has("ExtractNewRecordState"),
        what: "headers: a changed primary key rides whole in `__debezium.newkey` and \
               `__debezium.oldkey`; a delete without REPLICA IDENTITY FULL has invented zeros",
    },
];

pub(super) fn of(class: &str, chain: &Chain, draft: &Draft, lines: &[Line]) -> Vec<String> {
    let seen = Seen { debezium: class.starts_with("io.debezium."), chain, draft, lines };
    let known = KNOWN.iter().filter(|known| (known.applies)(&seen));
    known.map(|known| known.what.to_owned()).collect()
}
