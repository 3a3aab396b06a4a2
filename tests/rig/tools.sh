#!/usr/bin/env bash
# tests/rig/tools.sh [--fetch]: prints the folder of helm, opa and mdbook in the rig's cache, for the end of PATH. With --fetch it makes
# those that are on no PATH, of the modules and crates that their makers publish: two with go, mdbook with cargo, each within ten
# minutes. What cannot be made is left out, and the tests that need it say so.
set -uo pipefail
bin=${DOUANE_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/douane-rig}/bin
mkdir -p "$bin"
lacks() { ! command -v "$1" >/dev/null && [ ! -x "$bin/$1" ]; }
if [ "${1:-}" = --fetch ]; then
  work=$(mktemp -d)
  trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
  if command -v go >/dev/null; then
    for module in helm.sh/helm/v3/cmd/helm@v3.19.0 github.com/open-policy-agent/opa@v1.22.0; do
      tool=${module%@*}
      lacks "${tool##*/}" && (cd "$work" && GOBIN=$bin timeout 600 go install "$module") >&2
    done
  fi
  if lacks mdbook; then
    (cd "$work" && CARGO_TARGET_DIR=$work/target timeout 600 cargo install --quiet --locked --debug --root "${bin%/bin}" \
      --no-default-features mdbook@0.4.52) >&2
  fi
fi
echo "$bin"
