#!/usr/bin/env bash
# tests/tools/licences.sh: what may be linked, and from where (deny.toml): licences, bans, sources. Advisories change by the day and
# are asked for by `cargo deny check`. Exit 3: no cargo-deny here (`cargo install cargo-deny`).
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v cargo-deny >/dev/null || { echo "no cargo-deny here" >&2; exit 3; }
# It looks at packages of other systems as well, which no build here has fetched.
timeout 60 cargo fetch --locked >/dev/null 2>&1 || true
cargo metadata --locked --offline --format-version 1 >/dev/null 2>&1 || { echo "no way to all crates from here" >&2; exit 3; }
check() { cargo deny --locked --offline check --config "$1" bans licenses sources; }
check deny.toml
# A control: with one licence less something must be refused.
changed=$(mktemp)
trap 'rm -f "$changed"' EXIT
sed '/^ *"Apache-2.0",$/d' deny.toml >"$changed"
! cmp -s deny.toml "$changed" || { echo "the control changes nothing" >&2; exit 1; }
if said=$(check "$changed" 2>&1) || ! grep -q 'licenses FAILED' <<<"$said"; then
  echo "a licence that is not allowed passed" >&2
  exit 1
fi
echo "licences, bans and sources are as deny.toml says"
