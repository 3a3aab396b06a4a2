#!/usr/bin/env bash
# tests/install/compose.sh: docker/compose.yaml, read by the code that Docker's own client reads it with. Exit 3: no go here.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v go >/dev/null || { echo "no go here" >&2; exit 3; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
(cd tests/install/compose && go mod download) >/dev/null 2>&1 || { echo "no way to Go's modules from here" >&2; exit 3; }
(cd tests/install/compose && go build -o "$work/read" .)
mkdir "$work/docker"
"$work/read" docker/compose.yaml
# Controls: a word that the schema does not have, a network and a service that nobody has.
for change in s/service_healthy/service_happy/ 's/networks: \[zone\]/networks: [zones]/' 's/depends_on: { init:/depends_on: { inits:/'; do
  sed "$change" docker/compose.yaml >"$work/docker/compose.yaml"
  ! cmp -s docker/compose.yaml "$work/docker/compose.yaml" || { echo "compose: the control $change changes nothing" >&2; exit 1; }
  ! "$work/read" "$work/docker/compose.yaml" >/dev/null 2>&1 || { echo "compose: the control $change was not seen" >&2; exit 1; }
done
