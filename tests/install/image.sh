#!/usr/bin/env bash
# tests/install/image.sh [BINARY]: builds docker/Dockerfile with an engine of its own and looks at what came: its size, its user, setuid files,
# a run of `douane demo` without root, rights, or a file system to write to. No image is pulled: Debian comes from its own archive
# (mmdebstrap), the executable is BINARY (target/release/douane) in the place of the first stage.
# Exit 3: no engine, no mmdebstrap, or no rights to start them (Debian: docker.io, mmdebstrap; as root).
#   DOUANE_IMAGE_BASE=base.tar   Debian as a tar from last time; made where it is missing
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${1:-target/release/douane}")
docker=/usr/bin/docker
for tool in dockerd mmdebstrap "$docker"; do command -v "$tool" >/dev/null || { echo "no $tool here" >&2; exit 3; }; done
[ "$(id -u)" = 0 ] || { echo "an engine is started as root" >&2; exit 3; }

work=$(mktemp -d)
cleanup() {
  if [ -f "$work/pid" ]; then kill "$(cat "$work/pid")" 2>/dev/null || true; while [ -f "$work/pid" ] && kill -0 "$(cat "$work/pid")" 2>/dev/null; do sleep 0.2; done; fi
  rm -rf "$work" 2>/dev/null || true
}
trap cleanup EXIT
base=${DOUANE_IMAGE_BASE:-$work/base.tar}
[ -s "$base" ] || mmdebstrap --quiet --variant=minbase bookworm "$base"

export DOCKER_HOST=unix://$work/engine.sock DOCKER_BUILDKIT=1
dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" -H "$DOCKER_HOST" --iptables=false --bridge=none \
  >"$work/engine.log" 2>&1 &
for _ in $(seq 100); do "$docker" version >/dev/null 2>&1 && break; sleep 0.2; done
"$docker" version >/dev/null 2>&1 || { tail -n 20 "$work/engine.log" >&2; echo "the engine does not start" >&2; exit 3; }

"$docker" import "$base" debian:bookworm-slim >/dev/null
mkdir -p "$work/out/usr/bin" "$work/out/etc/ssl/certs" "$work/context"
strip -o "$work/out/usr/bin/douane" "$binary"
cp /etc/ssl/certs/ca-certificates.crt "$work/out/etc/ssl/certs/"
tar -C "$work" -c out | "$docker" import - douane-executable >/dev/null

# No network, no sources: the stage that compiles is not reached.
build() { "$docker" build -q --network none --build-arg EXECUTABLE=douane-executable -f docker/Dockerfile "$@" "$work/context" >/dev/null; }
build -t douane
build -t douane-tools --target tools

fail() { echo "image: $*" >&2; exit 1; }
size=$("$docker" image inspect -f '{{.Size}}' douane)
echo "figure: size of the image = $((size / 1000000)) MB"
[ "$size" -le 120000000 ] || fail "$size bytes"
user=$("$docker" image inspect -f '{{.Config.User}}' douane)
[ "$user" = 65532:65532 ] || fail "user $user"

rights() { local id; id=$("$docker" create "$1"); "$docker" export "$id" | tar -t -v | grep -cE '^-(..[sS]|.....[sS])' || true; "$docker" rm "$id" >/dev/null; }
[ "$(rights douane)" = 0 ] || fail "$(rights douane) setuid files"
# Control: Debian has some, and they are seen.
[ "$(rights douane-tools)" -gt 0 ] || fail "the control has no setuid file"

shut=(--rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges)
"$docker" run "${shut[@]}" --tmpfs /tmp douane demo --records 5000 >"$work/demo.txt" 2>&1 || { tail -n 30 "$work/demo.txt" >&2; fail "demo"; }
grep -q 'all of it was seen' "$work/demo.txt" || fail "demo said nothing"
# Control: the file system is one that cannot be written to, and the user is nobody's root.
"$docker" run "${shut[@]}" douane-tools -c 'touch /etc/x' 2>/dev/null && fail "the root file system can be written to"
[ "$("$docker" run "${shut[@]}" douane-tools -c 'id -u; grep CapEff /proc/self/status' | tr -d '\n')" = "$(printf '65532CapEff:\t0000000000000000')" ] || fail "rights"
echo "image: read-only, without root, rights, shell or setuid files"
