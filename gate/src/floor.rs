//! The floor under every policy: which class may cross in which shape. The planner proved the
//! same before; this is the second opinion, from the signed release alone.

use douane_ledger::release::{Column, Override, Release, Shape};

use crate::GateFault;

/// Name of a shape in messages.
pub(crate) fn shape_name(shape: &Shape) -> &'static str {
    match shape {
        Shape::Token { .. } => "token",
        Shape::Fpe { .. } => "fpe",
        Shape::Mask { .. } => "mask",
        Shape::Constant { .. } => "constant",
        Shape::Redacted { .. } => "redacted",
        Shape::Year => "year",
        Shape::Decade => "decade",
        Shape::Quarter => "quarter",
        Shape::Month => "month",
        Shape::Week => "week",
        Shape::Day => "day",
        Shape::Hour => "hour",
        Shape::Bins { .. } => "bins",
        Shape::Age { .. } => "age",
        Shape::Coded { .. } => "coded",
        Shape::Prefix { .. } => "prefix",
        Shape::Region { .. } => "region",
        Shape::Public => "public",
        Shape::Derived { .. } => "derived",
        Shape::Window { .. } => "window",
        Shape::Group { .. } => "group",
        Shape::Selected { .. } => "selected",
        Shape::Noised { .. } => "dp",
    }
}

/// The class that asks for most, of those that may cross at all; public where there is none.
pub(crate) fn strictest<'c>(classes: &[&'c str]) -> &'c str {
    const ORDER: [&str; 8] = [
        "public",
        "metadata",
        "technical",
        "quasi",
        "sensitive",
        "identifier",
        "special",
        "free_text",
    ];
    // A class that is not listed is stricter than all.
    let rank =
        |class: &&&str| ORDER.iter().position(|other| other == *class).unwrap_or(ORDER.len());
    classes.iter().max_by_key(rank).copied().unwrap_or("public")
}

/// Most characters of an identifier that stay as they are under `fpe`, both ends together; as many
/// as under a mask of any class.
const FPE_KEPT_MAX: u64 = 4;

/// Classes whose values may be in a sum over many rows, under noise.
fn may_be_summed(class: &str) -> bool {
    matches!(class, "public" | "metadata" | "quasi" | "sensitive" | "special")
}

/// Overrides that name the column. One that shares a domain lets nothing cross by itself.
pub(crate) fn overrides_of<'r>(
    release: &'r Release,
    column: &'r Column,
) -> impl Iterator<Item = &'r Override> {
    let names = |o: &&Override| {
        let named = o.columns.contains(&column.name) || o.columns.contains(&column.from);
        named && o.share_domain.is_none()
    };
    release.overrides.iter().filter(names)
}

/// Whether finds in a column's text have domains that no column has. Whoever writes a text and
/// reads the target could else ask for the pseudonym of any value of a column, by writing it into
/// the text. An override may share one, for one column of records without an image before, and with
/// a limit that the column's shape has too.
fn finds_are_apart(release: &Release, column: &Column) -> bool {
    let Shape::Redacted { in_place, .. } = &column.shape else { return true };
    let others = || release.key.iter().chain(&release.columns);
    in_place.iter().all(|place| {
        let domain = domain_of(&place.shape);
        if !others().any(|other| domain.is_some() && domain_of(&other.shape) == domain) {
            return true;
        }
        let also = |other: &Column| match &other.shape {
            Shape::Redacted { in_place, .. } => {
                in_place.iter().any(|place| domain_of(&place.shape) == domain)
            }
            _ => false,
        };
        let shares = |o: &Override| {
            o.share_domain.as_deref() == domain
                && o.columns == [column.from.as_str()]
                && o.max_per_record.is_some()
                && o.max_per_record == place.most
        };
        let alone = others().filter(|other| also(other)).count() == 1;
        alone && release.changes.envelope.is_none() && release.overrides.iter().any(shares)
    })
}

fn domain_of(shape: &Shape) -> Option<&str> {
    match shape {
        Shape::Token { domain, .. } | Shape::Fpe { domain, .. } => Some(domain),
        _ => None,
    }
}

/// Refuses a column whose class may not cross in its shape.
///
/// | class | crosses as |
/// |---|---|
/// | identifier | token, fpe that keeps at most four characters, mask, constant |
/// | quasi | these, fpe that keeps more, units of the calendar, bins, ages, rounded, prefix, region |
/// | sensitive | bins, constant |
/// | special | constant; rounded not by an override either |
/// | free_text, technical | constant |
/// | public, metadata | anything |
/// | secret | nothing, with or without an override |
///
/// Statistics with noise are of public, quasi, sensitive and special leaves; an identifier is
/// counted, and otherwise in none.
///
/// What is derived of columns that may cross each by itself crosses in any class but those that
/// never do; [`crate::derived`] says what it is held to.
///
/// Null and a constant in the place of values that a stage cannot take tell nothing of them: they
/// may stand in every class.
///
/// An override that names the column lifts the row, never the last one: it was signed. A number of
/// class special is not lifted rounded or bounded: within its bounds it would cross as it is.
pub(crate) fn permit(release: &Release, column: &Column) -> Result<(), GateFault> {
    let refuse = || {
        Err(GateFault::NotPermitted {
            column: column.name.clone(),
            class: column.class.clone(),
            shape: shape_name(&column.shape),
        })
    };
    if !finds_are_apart(release, column) {
        return Err(GateFault::Shape {
            column: column.name.clone(),
            part: "in place: a domain that a column has",
        });
    }
    let overridden = overrides_of(release, column).next().is_some();
    let pseudonym = matches!(
        column.shape,
        Shape::Token { .. } | Shape::Fpe { .. } | Shape::Mask { .. } | Shape::Constant { .. }
    );
    let coarse = matches!(
        column.shape,
        Shape::Year
            | Shape::Decade
            | Shape::Quarter
            | Shape::Month
            | Shape::Week
            | Shape::Day
            | Shape::Hour
            | Shape::Bins { .. }
            | Shape::Age { .. }
            // Bounds alone leave what lies between as it is.
            | Shape::Coded { round: Some(_), .. }
            | Shape::Prefix { .. }
            | Shape::Region { .. }
    );
    let keeps_little = match &column.shape {
        Shape::Fpe { keep_first, keep_last, .. } => {
            u64::from(*keep_first) + u64::from(*keep_last) <= FPE_KEPT_MAX
        }
        _ => true,
    };
    let constant = matches!(column.shape, Shape::Constant { .. });
    let derived = matches!(column.shape, Shape::Derived { .. });
    // Of many rows, with noise: what names somebody is counted, and nothing else of it is in it.
    let statistic = match &column.shape {
        Shape::Window { .. } => Some(column.class == "public"),
        Shape::Group { .. } | Shape::Selected { .. } => Some(may_be_summed(&column.class)),
        Shape::Noised { statistic, .. } => {
            let counts = matches!(statistic.as_str(), "units" | "rows");
            Some(may_be_summed(&column.class) || (counts && column.class == "identifier"))
        }
        _ => None,
    };
    let permitted = match column.class.as_str() {
        _ if statistic.is_some() => statistic == Some(true),
        "identifier" | "quasi" | "sensitive" | "special" | "free_text" if derived => true,
        "public" | "metadata" => true,
        "identifier" => (pseudonym && keeps_little) || overridden,
        "quasi" => pseudonym || coarse || overridden,
        "sensitive" => constant || matches!(column.shape, Shape::Bins { .. }) || overridden,
        "special" => constant || (overridden && !matches!(column.shape, Shape::Coded { .. })),
        "free_text" | "technical" => constant || overridden,
        // `secret`, and any class that this gate has never heard of.
        _ => false,
    };
    if permitted { Ok(()) } else { refuse() }
}
