//! What a chain of Kafka Connect 4.3 lets out. Each of these was seen on a running one, or with its
//! own classes; what the connector does to columns is Debezium's documentation.

use super::passage::Passage;
use super::transforms::{Chain, KINDS, Transform, When};
use super::{Draft, printable};

/// One leak: whether a configuration has it, and what it is.
struct Known {
    applies: fn(&Seen) -> bool,
    what: &'static str,
}

/// What is known of a configuration.
struct Seen<'a> {
    chain: &'a Chain,
    draft: &'a Draft,
    passage: &'a Passage,
}

impl Seen<'_> {
    /// The connector itself hides columns.
    fn hides_columns(&self) -> bool {
        self.draft.is_source && self.draft.columns.hides
    }

    fn is_closed(&self) -> bool {
        self.passage.is_closed || self.draft.is_source && self.draft.columns.is_closed
    }

    /// A mask of rows meets tombstones: no filter before it takes them away.
    fn fails_at_tombstones(&self) -> bool {
        let is_filter = |one: &Transform| one.kind == "Filter" && one.when == When::Tombstones;
        let meets = |one: &&Transform| one.kind == "MaskField" && !one.of_key;
        let mut open = self.chain.applied.iter().take_while(|one| !is_filter(one)).filter(meets);
        open.any(|one| matches!(one.when, When::Always | When::Tombstones))
    }
}

const KNOWN: [Known; 15] = [
    Known {
        applies: |seen| {
            !seen.draft.is_source
                && seen.chain.has("ExtractNewRecordState")
                && seen.draft.format == "debezium_json"
        },
        what: "ExtractNewRecordState does nothing to JSON without schemas, and says nothing: the whole \
               envelope goes on, a mask behind it adds empty fields at the top, and `before` and `after` \
               stay in clear",
    },
    Known {
        applies: |seen| !seen.passage.hides && !seen.hides_columns() && !seen.is_closed(),
        what: "no transform masks or drops a leaf of the value: every leaf of each record passes, nested \
               ones too",
    },
    Known {
        applies: |seen| seen.passage.hides && !seen.is_closed(),
        what: "a leaf that no transform names passes: a new column crosses in clear from its first record",
    },
    Known {
        applies: |seen| !seen.passage.hides && seen.hides_columns() && !seen.is_closed(),
        what: "a column that the connector's `column.…` keys do not name passes: a new one crosses in \
               clear from its first record",
    },
    Known {
        applies: |seen| seen.hides_columns(),
        what: "the connector masks and drops columns in the value alone: one of the primary key stands in \
               the record's key as it is",
    },
    Known {
        applies: |seen| seen.draft.is_source && seen.draft.columns.is_hashed,
        what: "column.mask.hash: one value has one hash everywhere, and the salt stands in the key's own \
               name: who may GET the config finds values by trying them",
    },
    Known {
        applies: |seen| seen.passage.hides && !seen.passage.names_nested,
        what: "leaves within others cannot be named: what is nested passes",
    },
    Known {
        applies: |seen| seen.fails_at_tombstones(),
        what: "MaskField fails at what has no row, as a tombstone: the task ends there, or the tombstone \
               is a dead letter, and what is deleted inside stays outside",
    },
    Known {
        applies: |seen| seen.draft.dead_letters,
        what: "dead letters hold key, value and headers in clear, also where the transform that fails \
               stands behind the mask",
    },
    Known {
        applies: |seen| seen.draft.dead_letters && seen.draft.dead_headers,
        what: "context headers of dead letters hold the exception's text, which repeats the value",
    },
    Known {
        applies: |seen| seen.draft.logs,
        what: "errors.log prints the value through the exception's text, also without include.messages",
    },
    Known {
        applies: |seen| seen.draft.logs && seen.draft.is_source && seen.draft.logs_records,
        what: "errors.log.include.messages prints each record of a source that fails: key, value and headers",
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
        applies: |seen| seen.draft.is_debezium || seen.chain.has("ExtractNewRecordState"),
        what: "headers: a changed primary key rides whole in `__debezium.newkey` and \
               `__debezium.oldkey`; a delete without REPLICA IDENTITY FULL has invented zeros",
    },
];

pub(super) fn of(chain: &Chain, draft: &Draft) -> Vec<String> {
    let passage = Passage::of(chain, draft);
    let seen = Seen { chain, draft, passage: &passage };
    let known = KNOWN.iter().filter(|known| (known.applies)(&seen));
    let known = known.map(|known| known.what.to_owned());
    let others = chain.applied.iter().filter(|one| !KINDS.contains(&&*one.kind));
    let others = others.map(|one| match &*one.kind {
        "" => "a transform without a type: Kafka Connect refuses the connector".to_owned(),
        kind => printable(format!("what {kind} lets out cannot be told")),
    });
    let cut = &draft.columns.cut;
    let leaves = || cut.iter().cloned().collect::<Vec<_>>().join(", ");
    let cut = (!cut.is_empty())
        .then(|| printable(format!("the beginning of {} in clear: column.truncate", leaves())));
    passage.told.iter().cloned().chain(cut).chain(known).chain(others).collect()
}
