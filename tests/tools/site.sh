#!/usr/bin/env bash
# tests/tools/site.sh: the documents as a site, every link in it leads somewhere. Exit 3: no mdbook here.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
docs/site/build "$work/site" >"$work/said" 2>&1 || { code=$?; cat "$work/said" >&2; exit "$code"; }
# A control: a link to a place that is not there.
sed -n 's/.*](\(.*\.md\))$/\1/p' docs/site/SUMMARY.md | xargs cp --parents -t "$work"
mkdir -p "$work/docs/site"
cp docs/site/* "$work/docs/site"
echo '[nowhere](verbs.md#a-place-that-is-not-there)' >>"$work/docs/serve.md"
if "$work/docs/site/build" "$work/other" >/dev/null 2>&1; then
  echo "a site with a dead link was built" >&2
  exit 1
fi
echo "the site is built, and each of its links leads somewhere"
