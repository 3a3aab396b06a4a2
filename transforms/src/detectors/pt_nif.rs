//! Taxpayer numbers of persons in Portugal (NIF).

use super::check::{digits, weighted, whole};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["nif", "contribuinte", "número fiscal", "numero fiscal"]);

/// Nine digits, the last modulo 11, near a word for it: one number in eleven is right (Decreto-Lei
/// n.º 14/2013; the rule is that of the Portaria n.º 25/92).
pub(super) const SPEC: Spec = Spec {
    name: "pt_nif",
    mark: "[PT_NIF]",
    summary: "taxpayer numbers of Portugal, near a word for it",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[1-35689][0-9]{2}[ .]?[0-9]{3}[ .]?[0-9]{3}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, is_right).filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("NIF 501964843", "NIF [PT_NIF]"),
        ("nif: 501 964 843.", "nif: [PT_NIF]."),
        ("contribuinte n.º 108071936", "contribuinte n.º [PT_NIF]"),
        ("(NIF:229091040)", "(NIF:[PT_NIF])"),
        ("328237230 (NIF)", "[PT_NIF] (NIF)"),
    ],
    refusals: &[
        "order 501964843",
        "NIF 501964844",
        "NIF 50196484",
        "NIF 5019648430",
        "NIF 401964843",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<9>(found) else { return false };
    let check = (11 - weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11 % 10;
    check == u32::from(digits[8])
}
