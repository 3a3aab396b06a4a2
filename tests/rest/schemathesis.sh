#!/usr/bin/env bash
# tests/rest/schemathesis.sh: PyPI's schemathesis makes calls of the OpenAPI document that `serve` serves, bad ones and good ones,
# with a token that may do everything; none may be answered with a status of 500 or above. A control beside it: a service that
# answers so is found. Installs schemathesis into a folder of its own on the first call.
#   DOUANE_EXAMPLES=200   calls of each kind and route (50)
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${XDG_CACHE_HOME:-$HOME/.cache}/douane-schemathesis
if [ ! -x "$venv/bin/st" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet schemathesis==4.32.5
fi
DOUANE_SCHEMATHESIS=$venv/bin/st exec cargo test --locked --workspace --features gpu --test end_to_end -- \
  --nocapture a_fuzzer
