#!/usr/bin/env bash
# tests/rig/python.sh [--fetch]: prints an interpreter with `cryptography` and `pyarrow`: $DOUANE_PYTHON, python3, or one of its own
# in the rig's cache, beside which NumPy and `kc`, the unmodified client of Kafka Connect, are put where they come. Exit 3: there is
# none, and with --fetch none came within a minute.
set -euo pipefail
cache=${DOUANE_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/douane-rig}
own=$cache/python/bin
find_one() {
  for python in "${DOUANE_PYTHON:-}" python3 "$own/python"; do
    if [ -n "$python" ] && "$python" -c 'import cryptography, pyarrow' 2>/dev/null; then
      command -v "$python"
      return 0
    fi
  done
  return 1
}
install() { timeout 60 "$own/pip" install --quiet "$@" >&2; }
if [ "${1:-}" = --fetch ]; then
  if ! find_one >/dev/null; then
    mkdir -p "$cache"
    # A half of one would be taken for none at each call, and made again.
    rm -rf "$cache/python"
    { python3 -m venv "$cache/python" >&2 && install --only-binary :all: cryptography==46.0.3 pyarrow==22.0.0; } || true
  fi
  if [ -x "$own/pip" ]; then
    "$own/python" -c 'import numpy' 2>/dev/null || install --only-binary :all: numpy || true
    [ -x "$own/kc" ] || install kafka-connect-py==1.0.0 || true
  fi
fi
find_one || exit 3
