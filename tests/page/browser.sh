#!/usr/bin/env bash
# browser.sh: brings what drives a browser (playwright-core, axe-core) from npm into the rig's cache, once, and prints its folder
# and a Chromium. Exit 3: Node.js, npm or a Chromium is missing on this machine. `browser.sh --chromium` installs one from the
# distribution where it can (as root, on Debian), and nothing else.
. "$(dirname "$0")/../rig/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

if [ "${1:-}" = --chromium ]; then
  browser >/dev/null && exit 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "rig: no chromium here: the page's cases will be left out" >&2; exit 0; }
  echo "rig: apt-get install chromium"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -q -o Acquire::Retries=3 update && apt-get -q -y --no-install-recommends install chromium; } >/dev/null 2>&1 \
    || echo "rig: apt-get could not install chromium: the page's cases will be left out" >&2
  exit 0
fi

command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are not installed" >&2; exit 3; }
found=$(browser) || { echo "no chromium is installed" >&2; exit 3; }
home=$cache/page
mkdir -p "$home"
exec 9>"$home/lock"; flock 9
if ! cmp -s "$here/package-lock.json" "$home/package-lock.json" || [ ! -d "$home/node_modules/playwright-core" ]; then
  cp "$here/package.json" "$here/package-lock.json" "$home/"
  npm ci --prefix "$home" --no-audit --no-fund --ignore-scripts --loglevel error >&2 || { rm -f "$home/package-lock.json"; die "npm could not install what drives the browser"; }
fi
echo "$home"
echo "$found"
