#!/usr/bin/env bash
# tests/verifiers/python.sh: an interpreter with what dsse.py needs, its path on standard output. It is made once and kept.
# Exit 3: no python3 here, or no way to its packages.
set -euo pipefail
home=$(cd "$(dirname "$0")" && pwd)
command -v python3 >/dev/null || { echo "no python3 here" >&2; exit 3; }
kept=${DOUANE_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/douane-rig}/verifiers-$(sha256sum "$home/requirements.txt" | cut -c1-12)
mkdir -p "$(dirname "$kept")"
exec 9>"$kept.lock"; flock 9
if [ ! -e "$kept/made" ]; then
  rm -rf "$kept"
  python3 -m venv "$kept" >/dev/null || { echo "python3 makes no venv here" >&2; exit 3; }
  timeout 60 "$kept/bin/pip" install -q --only-binary :all: -r "$home/requirements.txt" >/dev/null 2>&1 \
    || { echo "no way to Python's packages from here" >&2; exit 3; }
  touch "$kept/made"
fi
echo "$kept/bin/python"
