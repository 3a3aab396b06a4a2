#!/usr/bin/env bash
# tests/rig/promtool.sh [--fetch]: prints where promtool is: on PATH, or taken out of the distribution's package, which is not
# installed. Exit 3: there is none, and with --fetch none came.
set -euo pipefail
cache=${DOUANE_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/douane-rig}
if [ "${1:-}" = --fetch ] && ! command -v promtool >/dev/null && [ ! -x "$cache/promtool" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && timeout 60 apt-get download prometheus && dpkg -x prometheus_*.deb .) >&2 || true
  [ ! -x "$work/usr/bin/promtool" ] || { mkdir -p "$cache" && cp "$work/usr/bin/promtool" "$cache/promtool"; }
fi
command -v promtool || { [ -x "$cache/promtool" ] && echo "$cache/promtool"; } || exit 3
