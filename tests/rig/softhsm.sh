#!/usr/bin/env bash
# tests/rig/softhsm.sh: the token that the tests of PKCS#11 run against, from the distribution's package. Those tests fail without
# it; none is left out.
set -euo pipefail
module=/usr/lib/softhsm/libsofthsm2.so
have() { [ -e "$module" ] && command -v softhsm2-util >/dev/null; }
have && exit 0
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get install -y --no-install-recommends softhsm2 >&2 ||
    { "${as_root[@]}" apt-get update >&2 && "${as_root[@]}" apt-get install -y --no-install-recommends softhsm2 >&2; } || true
have || { echo "softhsm.sh: $module and softhsm2-util are needed: install the package softhsm2" >&2; exit 1; }
