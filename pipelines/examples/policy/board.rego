# What the board of this place allows less of than the default policy.

package douane.place

purposes := {"model-training", "statistics"}

deny contains {"code": "purpose", "why": "the board named no such purpose"} if {
	not input.purpose in purposes
}

# What is labelled for one zone leaves it as a token only.
deny contains {
	"code": "residency_eu",
	"column": column.name,
	"why": "a leaf of residency eu crosses as a token only",
} if {
	some column in input.columns
	some leaf in column.leaves
	leaf.residency == "eu"
	not is_token(leaf)
}

# Without a protection there is no kind: that is no token either.
is_token(leaf) if leaf.protection.kind == "token"

# Free text crosses where its detectors were measured on enough of it.
deny contains {
	"code": "few_labels",
	"why": "a scorecard of fewer than 20 labels of a kind is no evidence",
} if {
	some override in input.overrides
	override.measured.planted < 20
}

deny contains {
	"code": "coarse_days",
	"column": column.name,
	"why": "days and hours of people are too fine: use months",
} if {
	some column in input.columns
	some leaf in column.leaves
	leaf.class == "quasi"
	leaf.protection.kind in {"day", "hour"}
}
