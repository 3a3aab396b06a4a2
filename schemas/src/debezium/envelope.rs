//! The documented envelope: which leaves stand around the row images, by connector, and which
//! headers Debezium sets. Class `metadata`: they stay behind. Anything else holds.
//!
//! From the `source` structs of Debezium 2.0 to 3.7 (`*SourceInfoStructMaker`); MongoDB, Vitess,
//! Spanner and Cassandra are not in version 1.

/// Version of the built-in list of documented envelope leaves and headers (class `metadata`).
pub const ENVELOPE_LIST_VERSION: u32 = 2;

/// What JSON and Avro may hold in an envelope leaf. Every one may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    TextOrBoolean,
    TextOrNumber,
}

type Connectors = u8;
const POSTGRESQL: Connectors = 1;
const MYSQL: Connectors = 2;
const SQLSERVER: Connectors = 4;
const ORACLE: Connectors = 8;
const DB2: Connectors = 16;
const ALL: Connectors = 31;

/// Values of `source.connector`, and of `io.debezium.connector.<name>.Source`.
const CONNECTORS: [(&str, Connectors); 6] = [
    ("postgresql", POSTGRESQL),
    ("mysql", MYSQL),
    ("mariadb", MYSQL),
    ("sqlserver", SQLSERVER),
    ("oracle", ORACLE),
    ("db2", DB2),
];

/// Members of `source`, in the order in which PostgreSQL's connector writes them.
const SOURCE: [(&str, Kind, Connectors); 40] = [
    ("version", Kind::Text, ALL),
    ("connector", Kind::Text, ALL),
    ("name", Kind::Text, ALL),
    ("ts_ms", Kind::Number, ALL),
    ("snapshot", Kind::TextOrBoolean, ALL),
    ("db", Kind::Text, ALL),
    ("sequence", Kind::Text, ALL),
    ("ts_us", Kind::Number, ALL),
    ("ts_ns", Kind::Number, ALL),
    ("schema", Kind::Text, POSTGRESQL | SQLSERVER | ORACLE | DB2),
    ("table", Kind::Text, ALL),
    ("txId", Kind::TextOrNumber, POSTGRESQL | ORACLE),
    ("lsn", Kind::Number, POSTGRESQL),
    ("xmin", Kind::Number, POSTGRESQL),
    ("origin", Kind::Text, POSTGRESQL),
    ("origin_lsn", Kind::Number, POSTGRESQL),
    ("server_id", Kind::Number, MYSQL),
    ("gtid", Kind::Text, MYSQL),
    ("file", Kind::Text, MYSQL),
    ("pos", Kind::Number, MYSQL),
    ("row", Kind::Number, MYSQL),
    ("thread", Kind::Number, MYSQL),
    ("query", Kind::Text, MYSQL),
    ("change_lsn", Kind::Text, SQLSERVER | DB2),
    ("commit_lsn", Kind::Text, SQLSERVER | DB2),
    ("event_serial_no", Kind::Number, SQLSERVER),
    ("scn", Kind::Text, ORACLE),
    ("commit_scn", Kind::Text, ORACLE),
    ("lcr_position", Kind::Text, ORACLE),
    ("rs_id", Kind::Text, ORACLE),
    ("ssn", Kind::Number, ORACLE),
    ("redo_thread", Kind::Number, ORACLE),
    ("user_name", Kind::Text, ORACLE),
    ("redo_sql", Kind::Text, ORACLE),
    ("row_id", Kind::Text, ORACLE),
    ("scn_idx", Kind::Number, ORACLE),
    ("txSeq", Kind::Number, ORACLE),
    // Since 3.1.
    ("commit_ts_ms", Kind::Number, ORACLE),
    ("start_scn", Kind::Text, ORACLE),
    ("start_ts_ms", Kind::Number, ORACLE),
];

/// Members of `transaction`.
const TRANSACTION: [(&str, Kind); 3] =
    [("id", Kind::Text), ("total_order", Kind::Number), ("data_collection_order", Kind::Number)];

/// Headers that Debezium itself sets.
const HEADERS: [&str; 6] = [
    "__debezium.context.connectorLogicalName",
    "__debezium.context.taskId",
    "__debezium.context.connectorName",
    "__debezium.context.runId",
    "__debezium.newkey",
    "__debezium.oldkey",
];

/// A member of the envelope itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Before,
    After,
    Source,
    Op,
    Time,
    Transaction,
}

/// Members of the envelope, in the order in which Debezium 3 writes them.
const MEMBERS: [(&str, Member); 8] = [
    ("before", Member::Before),
    ("after", Member::After),
    ("source", Member::Source),
    ("transaction", Member::Transaction),
    ("op", Member::Op),
    ("ts_ms", Member::Time),
    ("ts_us", Member::Time),
    ("ts_ns", Member::Time),
];

/// The envelope's member called `name`, and its place in the list.
pub(super) fn member(name: &str) -> Option<(Member, usize)> {
    let at = MEMBERS.iter().position(|(known, _)| *known == name)?;
    Some((MEMBERS[at].1, at))
}

/// The name that stands at a place in the list of the envelope's members.
pub(super) fn member_at(at: usize) -> Option<(&'static str, Member)> {
    MEMBERS.get(at).copied()
}

/// The name that stands at a place in the list of `source`'s members.
pub(super) fn source_at(at: usize) -> Option<&'static str> {
    SOURCE.get(at).map(|(name, _, _)| *name)
}

/// Which connectors could have written the `source` seen so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceNames(Connectors);

impl SourceNames {
    pub(super) fn new() -> Self {
        Self(ALL)
    }

    /// Narrows to the connector of that name; false when no list has it or what was seen before
    /// is not its.
    pub(super) fn connector(&mut self, name: &str) -> bool {
        self.0 &= CONNECTORS.iter().find(|(known, _)| *known == name).map_or(0, |(_, bit)| *bit);
        self.0 != 0
    }

    /// The list's entry for a member of `source`; `expected` is where it stands if members keep
    /// their order. `None` when no connector that is still possible has it.
    pub(super) fn find(&mut self, name: &str, expected: usize) -> Option<(usize, Kind)> {
        let at = match SOURCE.get(expected) {
            Some((known, _, _)) if *known == name => expected,
            _ => SOURCE.iter().position(|(known, _, _)| *known == name)?,
        };
        let (_, kind, connectors) = SOURCE[at];
        self.0 &= connectors;
        (self.0 != 0).then_some((at, kind))
    }
}

/// The list's entry for a member of `transaction`.
pub(super) fn transaction(name: &str) -> Option<(usize, Kind)> {
    let at = TRANSACTION.iter().position(|(known, _)| *known == name)?;
    Some((at, TRANSACTION[at].1))
}

/// Whether Debezium sets a header of that name.
pub(super) fn header(name: &str) -> bool {
    HEADERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_two_connectors_do_not_mix() {
        let mut names = SourceNames::new();
        assert!(names.connector("postgresql"));
        assert!(names.find("lsn", 12).is_some());
        assert!(names.find("gtid", 0).is_none());
        let mut mixed = SourceNames::new();
        assert!(mixed.find("server_id", 0).is_some());
        assert!(mixed.find("xmin", 0).is_none());
        assert!(!SourceNames::new().connector("mongodb"));
    }

    #[test]
    fn the_lists_have_no_doubles() {
        for (at, (name, _, _)) in SOURCE.iter().enumerate() {
            assert_eq!(SOURCE.iter().position(|(other, _, _)| other == name), Some(at));
        }
    }
}
