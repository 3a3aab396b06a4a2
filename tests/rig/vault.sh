#!/usr/bin/env bash
# tests/rig/vault.sh DIR: the contract of the transit key service against a real Vault. Builds it from its Go modules into DIR (half an
# hour and 3 GB, once), starts it with TLS on a port of its own, and runs the same tests as every run of the suite does against a
# server in the process. On demand: too heavy for each run.
#   DOUANE_VAULT_BUILD_ONLY=1   builds and ends
set -euo pipefail
dir=${1:?a folder for the build}
here=$(cd "$(dirname "$0")/../.." && pwd)
version=v1.21.0
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
export GOPATH="$dir/go" GOCACHE="$dir/cache" GOFLAGS="-mod=mod -modcacherw" CGO_ENABLED=0
if [ ! -x "$dir/vault" ]; then
    source=$(go mod download -json "github.com/hashicorp/vault@$version" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
    rm -rf "$dir/source" && cp -r "$source" "$dir/source" && chmod -R u+w "$dir/source"
    cd "$dir/source"
    # Its api and sdk are modules of their own: at the versions that it names, not from a folder beside it.
    for part in api sdk api/auth/approle api/auth/kubernetes api/auth/userpass; do
        go mod edit -dropreplace "github.com/hashicorp/vault/$part"
    done
    go build -o "$dir/vault" .
fi
"$dir/vault" version
[ -z "${DOUANE_VAULT_BUILD_ONLY:-}" ] || exit 0

run=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$run"' EXIT
port=${DOUANE_VAULT_PORT:-18200}
umask 077
printf 'root-of-a-test' > "$run/token"
# A development server with TLS: in memory, unsealed, with a certificate of its own under an authority that it writes down.
"$dir/vault" server -dev -dev-tls -dev-tls-cert-dir="$run" -dev-no-store-token -dev-root-token-id=root-of-a-test \
    -dev-listen-address="127.0.0.1:$port" > "$run/log" 2>&1 &
pid=$!
export VAULT_ADDR="https://127.0.0.1:$port" VAULT_CACERT="$run/vault-ca.pem" VAULT_TOKEN=root-of-a-test
for _ in $(seq 60); do "$dir/vault" status >/dev/null 2>&1 && break; sleep 1; done
"$dir/vault" secrets enable transit >/dev/null
"$dir/vault" write -f transit/keys/douane >/dev/null
cd "$here"
unset GOFLAGS
DOUANE_TRANSIT="$VAULT_ADDR" DOUANE_TRANSIT_TOKEN_FILE="$run/token" DOUANE_TRANSIT_CA_FILE="$VAULT_CACERT" \
    cargo test --locked -p douane-pipelines --lib -- transit::tests::the_contract_holds_on_a_real_server --nocapture
