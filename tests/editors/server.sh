#!/usr/bin/env bash
# server.sh: brings the YAML language server that editors use from npm into the rig's cache, once, and prints its path.
# Exit 3: node or npm is missing on this machine. `server.sh --node` installs them from the distribution where it can (as root, on
# Debian), and nothing else.
. "$(dirname "$0")/../rig/lib.sh"

if [ "${1:-}" = --node ]; then
  command -v npm >/dev/null && exit 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "rig: no npm here: the editors' case will be left out" >&2; exit 0; }
  echo "rig: apt-get install nodejs npm"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -q -o Acquire::Retries=3 update && apt-get -q -y --no-install-recommends install nodejs npm; } >/dev/null 2>&1 \
    || echo "rig: apt-get could not install nodejs and npm: the editors' case will be left out" >&2
  exit 0
fi

version=1.20.0
command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are not installed" >&2; exit 3; }
home=$cache/editors
server=$home/node_modules/yaml-language-server/bin/yaml-language-server
mkdir -p "$home"
exec 9>"$home/lock"; flock 9
if [ "$(cat "$home/version" 2>/dev/null || true)" != "$version" ]; then
  npm install --prefix "$home" --no-audit --no-fund --ignore-scripts --loglevel error "yaml-language-server@$version" >&2 \
    || die "npm could not install yaml-language-server@$version"
  echo "$version" >"$home/version"
fi
[ -f "$server" ] || die "$server is not there"
echo "$server"
