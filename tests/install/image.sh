#!/usr/bin/env bash
# tests/install/image.sh [BINARY]: builds docker/Dockerfile with an engine of its own and looks at what came: its size, its user, setuid files,
# a run of `douane demo` without root, rights, or a file system to write to. No image is pulled: Debian comes from its own archive
# (mmdebstrap), the executable is BINARY (target/release/douane) in the place of the first stage.
# Exit 3: no engine, no mmdebstrap, or no rights to start them (Debian: docker.io, mmdebstrap; as root).
#   DOUANE_IMAGE_BASE=base.tar   Debian as a tar from last time; made where it is missing
set -euo pipefail
cd "$(dirname "$0")/../.."
docker=/usr/bin/docker
if [ -z "${DOUANE_ENGINE:-}" ]; then
  command -v mmdebstrap >/dev/null || { echo "no mmdebstrap here" >&2; exit 3; }
  [ "$(id -u)" = 0 ] || { echo "an engine is started as root" >&2; exit 3; }
  binary=$(realpath "${1:-target/release/douane}")
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  base=${DOUANE_IMAGE_BASE:-$work/base.tar}
  [ -s "$base" ] || mmdebstrap --quiet --variant=minbase bookworm "$base"
  tests/install/engine.sh tests/install/image.sh "$binary" "$(realpath "$base")"
  exit
fi

work=$DOUANE_ENGINE
tests/install/images.sh "$2" "$1"

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

# What is in it, and the licences of that: of the executable, and of the libraries beside it.
listed() { local id; id=$("$docker" create "$1"); "$docker" export "$id" | tar -t; "$docker" rm "$id" >/dev/null; }
listed douane >"$work/files.txt"
for file in douane/sbom.cdx.json douane/notices libc6/copyright; do
  grep -qx "usr/share/doc/$file" "$work/files.txt" || fail "no $file in it"
done
! grep -qx 'usr/share/doc/douane/absent' "$work/files.txt" || fail "the control is in it"

shut=(--rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges)
"$docker" run "${shut[@]}" --tmpfs /tmp douane demo --records 5000 >"$work/demo.txt" 2>&1 || { tail -n 30 "$work/demo.txt" >&2; fail "demo"; }
grep -q 'all of it was seen' "$work/demo.txt" || fail "demo said nothing"
# Control: the file system is one that cannot be written to, and the user is nobody's root.
"$docker" run "${shut[@]}" douane-tools -c 'touch /etc/x' 2>/dev/null && fail "the root file system can be written to"
[ "$("$docker" run "${shut[@]}" douane-tools -c 'id -u; grep CapEff /proc/self/status' | tr -d '\n')" = "$(printf '65532CapEff:\t0000000000000000')" ] || fail "rights"
echo "image: read-only, without root, rights, shell or setuid files"
