#!/usr/bin/env bash
# tests/install/reproducible.sh: two release builds of what is committed, from two folders, with two Cargo homes and at two times, have
# one digest; and a changed source has another. On demand: three release builds from nothing, half an hour on two idle cores.
# `--pair` leaves the third out.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); export SOURCE_DATE_EPOCH
build() { (cd "$work/$1" && CARGO_HOME=$work/$2 packaging/build "$work/$1.out" | cut -d' ' -f1); }

for folder in one "a second folder"; do git clone -q . "$work/$folder"; done
first=$(build one cargo-one)
sleep 2
second=$(build "a second folder" cargo-two)
echo "$first first"; echo "$second second"
[ "$first" = "$second" ] || { echo "two builds of one source differ" >&2; exit 1; }
[ "${1:-}" != --pair ] || exit 0
sed -i 's/The customs office/A customs office/; s/Change events from a sovereign/Changes from a sovereign/' "$work/one/src/main.rs"
third=$(build one cargo-one)
echo "$third control: a changed source"
[ "$first" != "$third" ] || { echo "the control has the same digest" >&2; exit 1; }
