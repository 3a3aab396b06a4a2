#!/usr/bin/env bash
# tests/policy/opa.sh: Open Policy Agent says of the shipped policies what douane says. Every case of pipelines/policy/cases.json is
# decided by `opa test`, by the same assertions that the crate's tests run in process; every example's tests too.
# Exit 3: opa is not on PATH. To get it: go install github.com/open-policy-agent/opa@v1.22.0
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v opa >/dev/null || { echo "opa is not on PATH" >&2; exit 3; }
for folder in pipelines/policy pipelines/examples/policy; do
  opa check --strict "$folder"
  opa test "$folder"
done
# A control: with one bound moved a case must fail.
changed=$(mktemp -d)
trap 'rm -rf "$changed"' EXIT
cp pipelines/policy/* "$changed"
sed -i 's/^kept_chars_max := 4$/kept_chars_max := 5/' "$changed/release.rego"
if opa test "$changed" >/dev/null; then
  echo "a policy with a bound moved passed its tests" >&2
  exit 1
fi
echo "opa agrees on $(grep -c '"name":"' pipelines/policy/cases.json) cases"
