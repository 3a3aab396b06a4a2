#!/usr/bin/env bash
# tests/install/images.sh DEBIAN BINARY: builds docker/Dockerfile's two images by the engine of engine.sh, of a tar of Debian and an executable in
# the place of the first stage: no image is pulled, the stage that compiles is not reached.
set -euo pipefail
cd "$(dirname "$0")/../.."
docker=/usr/bin/docker
work=$(mktemp -d -p "$DOUANE_ENGINE")
"$docker" import "$1" debian:bookworm-slim >/dev/null
mkdir -p "$work/out/usr/bin" "$work/out/etc/ssl/certs" "$work/context"
strip -o "$work/out/usr/bin/douane" "$2"
doc=$work/out/usr/share/doc/douane
mkdir -p "$doc"
packaging/sbom "$work/out/usr/bin/douane" >/dev/null
mv "$work/out/usr/bin/douane.cdx.json" "$doc/sbom.cdx.json"
mv "$work/out/usr/bin/douane.notices" "$doc/notices"
cp /etc/ssl/certs/ca-certificates.crt "$work/out/etc/ssl/certs/"
tar -C "$work" -c out | "$docker" import - douane-executable >/dev/null
build() { "$docker" build -q --network none --build-arg EXECUTABLE=douane-executable -f docker/Dockerfile "$@" "$work/context" >/dev/null; }
build -t douane
build -t douane-tools --target tools
