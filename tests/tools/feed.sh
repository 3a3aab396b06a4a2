#!/usr/bin/env bash
# tests/tools/feed.sh: the Python package's own tests. Exit 3: no interpreter that has what they need (tests/rig/python.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(tests/rig/python.sh) || { echo "no Python with cryptography and pyarrow" >&2; exit 3; }
export PYTHONDONTWRITEBYTECODE=1
run() { (cd "$1" && "$python" -m unittest 2>&1); }
said=$(run python) || { echo "$said" >&2; exit 1; }
# A run of nothing is no success.
count=$(sed -n 's/^Ran \([1-9][0-9]*\) tests\? .*/\1/p' <<<"$said")
[ -n "$count" ] || { echo "$said" >&2; exit 1; }
# A control: with one check taken out a test must fail.
changed=$(mktemp -d)
trap 'rm -rf "$changed"' EXIT
cp -r python/. "$changed"
sed -i 's/ == \[tree.root\]$/ != []/' "$changed/douane_feed/tree.py"
! cmp -s python/douane_feed/tree.py "$changed/douane_feed/tree.py" || { echo "the control changes nothing" >&2; exit 1; }
if run "$changed" >/dev/null; then
  echo "a package with a check taken out passed its tests" >&2
  exit 1
fi
echo "$count tests of the Python package"
