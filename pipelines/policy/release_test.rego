# The default policy's own tests: `opa test pipelines/policy`. Those of cases.json stand there a line
# each; a few that are worth reading stand here in words.

package douane.release_test

import data.douane.release

asked(column, overrides) := object.union(data.base, {"columns": [column], "overrides": overrides})

leaf(class, protection) := {
	"path": "email", "class": class, "residency": null, "subject": false, "protection": protection,
}

plain := {
	"kind": "constant", "domain": null, "reversible": false, "key_per": null, "kept_chars": 0,
	"prefix_chars": 0, "rounded": false, "groups": 0, "detectors": [], "dictionaries": [],
	"in_place": [],
}

token := object.union(plain, {"kind": "token", "domain": "mail"})

mask(kept) := object.union(plain, {"kind": "mask", "kept_chars": kept})

column(of) := {
	"name": "email", "part": "row", "type": "text", "made": "leaf", "crosses": true,
	"is_text": true, "leaves": [of], "decided_by": [], "counted": false, "public_keys": null,
	"at_least": null,
}

rules(document) := {entry.rule | some entry in release.allow with input as document}

codes(document) := {entry.code | some entry in release.deny with input as document}

test_an_identifier_does_not_cross_as_it_is if {
	document := asked(column(leaf("identifier", null)), [])
	codes(document) == {"no_protection"}
	rules(document) == set()
}

test_an_identifier_crosses_as_a_token if {
	document := asked(column(leaf("identifier", token)), [])
	rules(document) == {"identifier: tokenize"}
	codes(document) == set()
}

test_a_mask_keeps_four_characters_and_no_more if {
	rules(asked(column(leaf("quasi", mask(4))), [])) == {"quasi: mask (at most 4 characters kept)"}
	codes(asked(column(leaf("quasi", mask(5))), [])) == {"kept_chars"}
}

test_a_secret_never_crosses if {
	codes(asked(column(leaf("secret", token)), [])) == {"never"}
}

test_a_class_that_is_none_is_allowed_by_no_rule if {
	rules(asked(column(leaf("identifer", token)), [])) == set()
}

test_an_empty_document_allows_nothing if {
	release.answer == {"v": 6, "allow": set(), "deny": set()} with input as {}
}

test_there_are_300_refusals_among_the_cases if {
	count([case | some case in data.cases; case.rule == null]) >= 300
}

test_every_case_is_decided_as_written if {
	wrong := [case.name |
		some case in data.cases
		not decided(case)
	]
	wrong == []
}

decided(case) if {
	is_string(case.rule)
	document := asked(case.column, case.overrides)
	rules(document) == {case.rule}
	codes(document) == set()
}

# Denied by the rules that are named; where none is, nothing speaks of it.
decided(case) if {
	case.rule == null
	document := asked(case.column, case.overrides)
	codes(document) == {code | some code in case.codes}
	count(case.codes) + (1 - count(rules(document))) > 0
}
