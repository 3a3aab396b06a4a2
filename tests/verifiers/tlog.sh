#!/usr/bin/env bash
# tests/verifiers/tlog.sh OUT: builds tlog/. Exit 3: no go here, or no way to its modules.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/tlog"
command -v go >/dev/null || { echo "no go here" >&2; exit 3; }
export GOTOOLCHAIN=local
timeout 60 go mod download >/dev/null 2>&1 || { echo "no way to Go's modules from here, or an older go" >&2; exit 3; }
go build -o "$out" .
