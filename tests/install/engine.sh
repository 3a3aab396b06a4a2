#!/usr/bin/env bash
# tests/install/engine.sh COMMAND...: starts a Docker engine and runs COMMAND with it (DOCKER_HOST). The engine, its networks and everything that it
# starts live in namespaces of their own: no rule, bridge or mount is made on this machine, nothing inside reaches the internet, and all of it ends with
# COMMAND, however that ends. DOUANE_ENGINE is a folder for what is temporary.
# Exit 3: no engine, or no rights to start one (Debian: docker.io; as root).
set -euo pipefail
docker=/usr/bin/docker
if [ -z "${DOUANE_ENGINE:-}" ]; then
  for tool in dockerd "$docker" iptables unshare ip; do command -v "$tool" >/dev/null || { echo "no $tool here" >&2; exit 3; }; done
  [ "$(id -u)" = 0 ] || { echo "an engine is started as root" >&2; exit 3; }
  spaces=(unshare --net --mount --pid --fork --kill-child --mount-proc)
  "${spaces[@]}" true 2>/dev/null || { echo "no namespaces here" >&2; exit 3; }
  work=$(mktemp -d) groups=douane-engine-$$
  # What a killed engine's containers leave in control groups outlives the namespaces.
  cleanup() { find /sys/fs/cgroup -depth -type d -path "*/$groups*" -exec rmdir {} + 2>/dev/null || true; rm -rf "$work"; }
  trap cleanup EXIT
  DOUANE_ENGINE=$work DOUANE_ENGINE_GROUPS=$groups "${spaces[@]}" "$0" "$@"
  exit
fi

work=$DOUANE_ENGINE
ip link set lo up
export DOCKER_HOST=unix://$work/engine.sock DOCKER_BUILDKIT=1
dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" --cgroup-parent "/$DOUANE_ENGINE_GROUPS" -H "$DOCKER_HOST" >"$work/engine.log" 2>&1 & engine=$!
for _ in $(seq 100); do "$docker" version >/dev/null 2>&1 && break; sleep 0.2; done
"$docker" version >/dev/null 2>&1 || { tail -n 20 "$work/engine.log" >&2; echo "the engine does not start" >&2; exit 3; }
code=0; "$@" || code=$?
kill "$engine"; wait "$engine" || true
exit "$code"
