//! Social insurance numbers of Austria (Sozialversicherungsnummer).

use std::ops::Range;

use super::check::{digits, is_short_date, stands_alone, two, weighted};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "svnr",
    "sv-nr",
    "sv nr",
    "sozialversicherung",
    "versicherungsn",
    "vsnr",
    "e-card",
]);

/// A serial number, a check digit modulo 11 and the date of birth; written without a space near a word
/// for it (ASVG § 31; Hauptverband, "Versicherungsnummer"). Where the days of a date are used up, its
/// month goes on to 15.
pub(super) const SPEC: Spec = Spec {
    name: "at_svnr",
    mark: "[AT_SVNR]",
    summary: "social insurance numbers of Austria",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[1-9][0-9]{3}[ \-]?[0-9]{6}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("1237 010180", "[AT_SVNR]"),
        ("SV-Nr. 1237 010180.", "SV-Nr. [AT_SVNR]."),
        ("SVNR 8876231299", "SVNR [AT_SVNR]"),
        ("(1694-010602)", "([AT_SVNR])"),
        ("Versicherungsnummer 6747240376", "Versicherungsnummer [AT_SVNR]"),
    ],
    refusals: &["order 1237010180", "1238 010180", "1237 320180", "1237 01018", "1237 0101800"],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let digits = digits::<10>(found)?;
    let body = [digits[0], digits[1], digits[2], 0];
    let sum = weighted(&body, &[3, 7, 9, 0]) + weighted(&digits[4..], &[5, 8, 4, 2, 1, 6]);
    let month = two(&digits, 6);
    let month = if (13..=15).contains(&month) { 12 } else { month };
    let dated = is_short_date(two(&digits, 8), month, two(&digits, 4));
    let right = dated && sum % 11 == u32::from(digits[3]) && stands_alone(bytes, &range);
    (right && (found.len() > 10 || CONTEXT.is_near(bytes, &range))).then_some(range)
}
