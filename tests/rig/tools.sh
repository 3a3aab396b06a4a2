#!/usr/bin/env bash
# tests/rig/tools.sh [--fetch]: prints the folder of helm, opa and mdbook in the rig's cache, for the end of PATH. With --fetch it makes
# those that are on no PATH, of the modules and crates that their makers publish: two with go, mdbook with cargo, each within five
# minutes. What cannot be made is left out, and the tests that need it say so.
set -euo pipefail
bin=$(realpath -m "${DOUANE_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/douane-rig}/bin")
lacks() { ! command -v "$1" >/dev/null && [ ! -x "$bin/$1" ]; }
go_install() { (cd "$work" && GOBIN=$bin timeout 300 go install "$1") >&2 || true; }
if [ "${1:-}" = --fetch ]; then
  mkdir -p "$bin"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  if command -v go >/dev/null; then
    ! lacks helm || go_install helm.sh/helm/v3/cmd/helm@v3.19.0
    ! lacks opa || go_install github.com/open-policy-agent/opa@v1.22.0
  fi
  if lacks mdbook; then
    (cd "$work" && CARGO_TARGET_DIR=$work/target timeout 300 cargo install --quiet --locked --debug --root "${bin%/bin}" \
      --no-default-features mdbook@0.4.52) >&2 || true
  fi
fi
echo "$bin"
