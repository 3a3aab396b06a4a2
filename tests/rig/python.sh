#!/usr/bin/env bash
# tests/rig/python.sh [--fetch]: prints an interpreter with `cryptography`, `pyarrow` and NumPy: $DOUANE_PYTHON, python3, or one of
# its own in the rig's cache. Exit 3: there is none, and with --fetch none came within a minute.
set -euo pipefail
cache=${DOUANE_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/douane-rig}
find_one() {
  for python in "${DOUANE_PYTHON:-}" python3 "$cache/python/bin/python"; do
    if [ -n "$python" ] && "$python" -c 'import cryptography, numpy, pyarrow' 2>/dev/null; then
      command -v "$python"
      return 0
    fi
  done
  return 1
}
find_one && exit 0
[ "${1:-}" = --fetch ] || exit 3
mkdir -p "$cache"
# A half of one would be taken for none at each call, and made again.
rm -rf "$cache/python"
{ python3 -m venv "$cache/python" &&
  timeout 60 "$cache/python/bin/pip" install --quiet --only-binary :all: cryptography==46.0.3 pyarrow==22.0.0 numpy==2.4.6; } >&2 || true
# The unmodified client of Kafka Connect, which some tests drive the service with; they say so where it did not come.
timeout 60 "$cache/python/bin/pip" install --quiet kafka-connect-py==1.0.0 >&2 || true
find_one || exit 3
