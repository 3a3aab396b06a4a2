#!/usr/bin/env bash
# watch.sh PID DIR: waits until process PID is gone, however it ended, then ends every server of DIR and removes DIR
# (kept when DOUANE_RIG_KEEP is set).
. "$(dirname "$0")/lib.sh"
owner=$1 root=$2
while alive "$owner"; do sleep 0.5; done
for pid in "$root"/*/pid; do
  dir=$(dirname "$pid")
  [ -f "$pid" ] && end "$dir" KILL || true
done
[ -n "${DOUANE_RIG_KEEP:-}" ] || rm -rf "$root"
