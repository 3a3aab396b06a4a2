# default policy, version 6
#
# identifier: tokenize; fpe or mask (at most 4 characters kept); redact to a constant
# quasi: as identifier, or generalize
# sensitive: generalize to bins; as it is or tokenised only by a named override
# special: only by a named override, and never rounded or bounded
# free_text: denied, but redact to a constant; a named override with detectors, residual kinds and a
#   minimum recall, measured, lets redacted text cross
# statistics of many rows, with noise that hides any one unit (dp): of public, quasi, sensitive and special
#   an identifier is counted as the unit and otherwise not read
#   groups have a public list of keys, or their noised count of units passes a threshold
# public: nothing needed
# secret: never
# technical: never
# a leaf with a residency crosses protected or not at all
# post-processing of columns that may cross: sql may select, compute with and filter by columns as their stages left them
#   no filter, no condition and no computation that may fail reads an identifier or free_text
#   tokens and encrypted values are no text and meet values of their own domain only
#   no text is made of free_text, nor of a prefix of 6 or more characters

package douane.release

# What is read. A column crosses where exactly one rule allows it and none denies it.
answer := {"v": 6, "allow": allow, "deny": deny}

# Most characters of an identifier that a mask or an encryption may keep.
kept_chars_max := 4

# A prefix this long may be a whole value, which the gate looks for in what was derived.
prefix_chars_least := 6

# Columns that are one leaf, as its stage leaves it.
one_leaf[at] := leaf if {
	some at, column in input.columns
	column.made == "leaf"
	count(column.leaves) == 1
	leaf := column.leaves[0]
}

# Columns of statistics that are made of one leaf's values.
noised_leaf[at] := leaf if {
	some at, column in input.columns
	column.made in {"statistic", "group", "selected"}
	count(column.leaves) == 1
	leaf := column.leaves[0]
}

# The one override that names the leaf. One that shares a domain lets nothing cross by itself.
naming[at] := named[0] if {
	some at, leaf in one_leaf
	named := [override |
		some override in input.overrides
		override.share_domain == null
		leaf.path in override.columns
	]
	count(named) == 1
}

# ---- what allows

allow contains {"column": at, "rule": "public: nothing needed"} if {
	some at, leaf in one_leaf
	leaf.class == "public"
	leaf.protection == null
}

allow contains {"column": at, "rule": "public: protected though nothing is needed"} if {
	some at, leaf in one_leaf
	leaf.class == "public"
	is_object(leaf.protection)
}

allow contains {"column": at, "rule": concat(": ", [leaf.class, what])} if {
	some at, leaf in one_leaf
	leaf.class in {"identifier", "quasi"}
	what := pseudonym(leaf.protection)
}

allow contains {"column": at, "rule": "quasi: generalize"} if {
	some at, leaf in one_leaf
	leaf.class == "quasi"
	is_coarse(leaf.protection)
}

allow contains {"column": at, "rule": "sensitive: generalize to bins"} if {
	some at, leaf in one_leaf
	leaf.class == "sensitive"
	leaf.protection.kind == "bins"
}

allow contains {"column": at, "rule": by_override("sensitive", naming[at])} if {
	some at, leaf in one_leaf
	leaf.class == "sensitive"
	is_nearly_itself(leaf.protection)
}

allow contains {"column": at, "rule": by_override("special", naming[at])} if {
	some at, leaf in one_leaf
	leaf.class == "special"

	# Within its bounds, or at a multiple of the unit, a number would cross as it is.
	leaf.protection.kind != "coded"
}

allow contains {"column": at, "rule": "free_text: redact to a constant"} if {
	some at, leaf in one_leaf
	leaf.class == "free_text"
	leaf.protection.kind == "constant"
}

allow contains {"column": at, "rule": by_override("free_text", naming[at])} if {
	some at, leaf in one_leaf
	leaf.class == "free_text"
	leaf.protection.kind == "redacted"
	covers(naming[at], leaf.protection)
}

allow contains {"column": at, "rule": "post-processing of columns that may cross"} if {
	some at, column in input.columns
	column.made in {"derived", "filter"}
	not hangs_on(column)
	not is_text_of_free_text(column)
	not is_text_of_prefix(column)
}

allow contains {"column": at, "rule": "dp: the windows are public"} if {
	some at, column in input.columns
	column.made == "window"
	count(column.leaves) == 0
}

allow contains {"column": at, "rule": concat("", [leaf.class, ": dp"])} if {
	some at, leaf in noised_leaf
	leaf.class in {"public", "quasi", "sensitive", "special"}
}

allow contains {"column": at, "rule": "identifier: counted as the unit (dp)"} if {
	some at, leaf in noised_leaf
	leaf.class == "identifier"
	input.columns[at].made == "statistic"
	input.columns[at].counted == true
}

# ---- what denies

deny contains refusal(at, "residency", why) if {
	some at, leaf in one_leaf
	is_string(leaf.residency)
	leaf.protection == null
	why := concat("", [
		"leaf `", leaf.path, "` has residency `", leaf.residency,
		"` and no protection: protect it, or drop it",
	])
}

deny contains refusal(at, "kept_chars", why) if {
	some at, leaf in one_leaf
	keeps_much(leaf)
	why := concat("", [
		"class ", leaf.class, ": ", format_int(leaf.protection.kept_chars, 10),
		" characters are kept, at most 4 may be: keep fewer",
	])
}

deny contains refusal(at, "bounds_alone", why) if {
	some at, leaf in one_leaf
	leaves_between(leaf)
	why := "class quasi: bounds alone leave what lies between as it is: add `round`, or use `bins`"
}

deny contains refusal(at, "rounded_special", why) if {
	some at, leaf in one_leaf
	is_rounded_special(leaf)
	why := "class special: what is rounded or bounded may be what it was: use `bins`, or drop it"
}

deny contains refusal(at, unfit_code(leaf), why) if {
	some at, leaf in one_leaf
	not allowed[at]
	not keeps_much(leaf)
	not leaves_between(leaf)
	not is_rounded_special(leaf)
	why := concat("", [
		"class ", leaf.class, " with ", protection_word(leaf.protection), " may not cross: ",
		instead[leaf.class],
	])
}

deny contains refusal(at, "indirect_flow", why) if {
	some at, column in input.columns
	some leaf in column.decided_by
	leaf.class in {"identifier", "free_text"}
	why := concat("", [
		"a filter, a condition or what may fail reads a leaf of class `", leaf.class,
		"`: which rows cross, and how, would tell of it",
	])
}

deny contains refusal(at, "text_of_free_text", why) if {
	some at, column in input.columns
	is_text_of_free_text(column)
	why := "a text is made of free text; numbers and conditions may be made of it"
}

deny contains refusal(at, "text_of_prefix", why) if {
	some at, column in input.columns
	is_text_of_prefix(column)
	why := "a text is made of a prefix of 6 or more characters, often a whole value"
}

deny contains refusal(at, "in_no_statistic", why) if {
	some at, leaf in noised_leaf
	not allowed[at]
	why := concat("", [
		"class ", leaf.class,
		" is in no statistic: name another leaf, or mend its class",
	])
}

# ---- words of the rules

allowed contains entry.column if {
	some entry in allow
}

refusal(at, code, why) := {"column": at, "code": code, "why": why}

by_override(class, override) := concat("", [class, ": override `", override.name, "`"])

pseudonym(how) := "tokenize" if how.kind == "token"

pseudonym(how) := "fpe (at most 4 characters kept)" if {
	how.kind == "fpe"
	how.kept_chars <= kept_chars_max
}

pseudonym(how) := "mask (at most 4 characters kept)" if {
	how.kind == "mask"
	how.kept_chars <= kept_chars_max
}

pseudonym(how) := "redact to a constant" if how.kind == "constant"

is_coarse(how) if {
	how.kind in {
		"year", "decade", "quarter", "month", "week", "day", "hour",
		"bins", "age", "prefix", "region",
	}
}

# Bounds alone leave what lies between as it is.
is_coarse(how) if how.rounded == true

# As it is; what is left of a number rounded or bounded is nearly the number.
is_nearly_itself(how) if how == null

is_nearly_itself(how) if how.kind in {"token", "coded"}

# The override names exactly what the stage does, says what it leaves and how well it must work, and
# that was measured.
covers(override, how) if {
	override.detectors == how.detectors
	count(override.residual) > 0
	is_number(override.min_recall)
	override.measured.recall >= override.min_recall
}

hangs_on(column) if {
	some leaf in column.decided_by
	leaf.class in {"identifier", "free_text"}
}

is_text_of_free_text(column) if {
	column.made == "derived"
	column.is_text == true
	some leaf in column.leaves
	leaf.class == "free_text"
}

is_text_of_prefix(column) if {
	column.made == "derived"
	column.is_text == true
	some leaf in column.leaves
	leaf.protection.prefix_chars >= prefix_chars_least
}

keeps_much(leaf) if {
	leaf.class in {"identifier", "quasi"}
	leaf.protection.kept_chars > kept_chars_max
}

leaves_between(leaf) if {
	leaf.class == "quasi"
	leaf.protection.kind == "coded"
	leaf.protection.rounded == false
}

is_rounded_special(leaf) if {
	leaf.class == "special"
	leaf.protection.kind == "coded"
}

unfit_code(leaf) := "never" if leaf.class in {"secret", "technical"}

unfit_code(leaf) := "needs_override" if {
	leaf.class == "sensitive"
	is_nearly_itself(leaf.protection)
}

unfit_code(leaf) := "needs_override" if {
	leaf.class == "special"
	is_object(leaf.protection)
}

unfit_code(leaf) := "needs_override" if {
	leaf.class == "free_text"
	leaf.protection.kind == "redacted"
}

unfit_code(leaf) := "no_protection" if {
	leaf.class in {"identifier", "quasi", "special", "free_text"}
	leaf.protection == null
}

unfit_code(leaf) := "protection_unfit" if {
	leaf.class in {"identifier", "quasi"}
	is_object(leaf.protection)
}

unfit_code(leaf) := "protection_unfit" if {
	leaf.class == "sensitive"
	not is_nearly_itself(leaf.protection)
}

unfit_code(leaf) := "protection_unfit" if {
	leaf.class == "free_text"
	leaf.protection.kind != "redacted"
}

protection_word(how) := "no protection" if how == null

protection_word(how) := "this protection" if is_object(how)

instead := {
	"identifier": "tokenize, fpe, mask, or redact it to a constant, or drop it",
	"quasi": "tokenize, fpe, mask, generalize, or redact it to a constant, or drop it",
	"sensitive": "generalize it to bins, drop it, or name it in an override",
	"special": "drop it, or protect it and name it in an override",
	"free_text": concat("", [
		"drop it, or redact it with detectors under an override that names the same detectors, ",
		"the residual kinds and a minimum recall",
	]),
	"technical": "drop it",
	"secret": "drop it",
}
