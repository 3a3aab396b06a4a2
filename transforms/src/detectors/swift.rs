//! Codes of banks (SWIFT, BIC).

use super::check::whole;
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["bic", "swift"]);

/// Four letters, a country, two signs and for a branch three more (ISO 9362:2022), near a word for
/// it: there is no check digit.
pub(super) const SPEC: Spec = Spec {
    name: "swift",
    mark: "[SWIFT]",
    summary: "codes of banks (BIC), near a word for them",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?i)[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, is_code).filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("BIC DEUTDEFF", "BIC [SWIFT]"),
        ("SWIFT: DEUTDEFF500.", "SWIFT: [SWIFT]."),
        ("swift code NEDSZAJJXXX", "swift code [SWIFT]"),
        ("(BIC:BNPAFRPP)", "(BIC:[SWIFT])"),
        ("COBADEFFXXX (BIC)", "[SWIFT] (BIC)"),
    ],
    refusals: &[
        "order DEUTDEFF",
        "BIC DEUTXXFF",
        "BIC DEUTDEF",
        "BIC DEUTDEFF5",
        "a swift response",
        "SWIFT transfer to the customers",
    ],
};

/// Countries with banks in the network, ISO 3166-1.
const COUNTRIES: &[u8] = b"AD AE AL AM AO AR AT AU AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR BS BW BY BZ CA CD CF CG CH CI CL CM CN CO CR CU CV CY CZ DE DJ DK DO DZ EC EE EG ES ET FI FJ FO FR GA GB GE GH GI GL GM GN GR GT GW GY HK HN HR HT HU ID IE IL IN IQ IR IS IT JM JO JP KE KG KH KR KW KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MG MK ML MM MN MO MR MT MU MV MW MX MY MZ NA NE NG NI NL NO NP NZ OM PA PE PG PH PK PL PR PS PT PY QA RO RS RU RW SA SC SD SE SG SI SK SL SM SN SO SR SS SV SY SZ TD TG TH TJ TM TN TO TR TT TW TZ UA UG US UY UZ VA VE VG VN VU WS XK YE ZA ZM ZW";

fn is_code(found: &[u8]) -> bool {
    let large = !found.iter().any(u8::is_ascii_lowercase);
    large && COUNTRIES.split(|byte| *byte == b' ').any(|country| *country == found[4..6])
}
