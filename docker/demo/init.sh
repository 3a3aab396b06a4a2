#!/bin/sh
# Makes the demo's place, once: keys, two approvers, a trust root, topics and a release that both sign. Their keys are thrown away
# with this container, so nobody can sign another release; that is what makes this a demo. A place of yours: README.md, "Five minutes
# to your own topics".
#   PLACE, STATE, OUTSIDE   the place's files, its keys, what the trainer may have
set -eu
demo=$(cd "$(dirname "$0")" && pwd)
place=${PLACE:-/etc/douane} state=${STATE:-/var/lib/douane} outside=${OUTSIDE:-/outside} pipeline=pipelines/customers.yaml
cd "$place"
if douane release show "$pipeline" >/dev/null 2>&1; then echo "demo: the release is live"; exit 0; fi

approvers=$(mktemp -d)
trap 'rm -rf "$approvers"' EXIT

# again COMMAND...: until it succeeds, for two minutes. Servers start meanwhile, and the topic's first record brings its schema.
again() {
  tries=0
  until "$@" >"$approvers/said" 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" = 120 ]; then cat "$approvers/said" >&2; exit 1; fi
    sleep 1
  done
}

cp -r "$demo/pipelines" "$demo/douane.yaml" .
[ -e "$state/keys/store.json" ] || douane keys init
for name in ada bo; do douane keys init --approver "$name" --out "$approvers/$name"; done
douane release trust --approver ada="$approvers/ada.pub" --approver bo="$approvers/bo.pub" \
  --threshold 2 --sign "$approvers/ada" --sign "$approvers/bo"
again douane doctor --create "$pipeline"
again douane release propose "$pipeline" --author cleo
for name in ada bo; do douane release sign "$pipeline" --key "$approvers/$name"; done

mkdir -p "$outside/keys"
cp "$state/keys/manifest.key.pub" "$outside/keys/"
cp trust.json customers.release.json "$outside/"
cp "$demo/trainer.yaml" "$outside/douane.yaml"
echo "demo: signed by ada and bo; their keys are gone"
