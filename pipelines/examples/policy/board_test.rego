package douane.place_test

import data.douane.place

leaf(class, residency, kind) := {
	"class": class, "residency": residency, "protection": {"kind": kind},
}

document(leaf) := {
	"purpose": "model-training", "overrides": [],
	"columns": [{"name": "birth_date", "leaves": [leaf]}],
}

codes(document) := {entry.code | some entry in place.deny with input as document}

test_what_the_board_allows_is_not_denied if {
	codes(document(leaf("quasi", null, "month"))) == set()
	codes(document(leaf("identifier", "eu", "token"))) == set()
}

test_days_are_too_fine if codes(document(leaf("quasi", null, "day"))) == {"coarse_days"}

test_residency_eu_asks_for_a_token if {
	codes(document(leaf("quasi", "eu", "year"))) == {"residency_eu"}
}

test_other_purposes_are_denied if {
	asked := object.union(document(leaf("quasi", null, "year")), {"purpose": "marketing"})
	codes(asked) == {"purpose"}
}

test_a_scorecard_of_few_labels_is_no_evidence if {
	asked := object.union(
		document(leaf("quasi", null, "year")),
		{"overrides": [{"measured": {"planted": 19}}]},
	)
	codes(asked) == {"few_labels"}
}
