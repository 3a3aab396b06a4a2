#!/usr/bin/env bash
# tests/peers/build.sh: fetches and builds the peers into ~/.cache/douane-peers (or DOUANE_PEERS). Needs go, java and mvn.
set -euo pipefail
cd "$(dirname "$0")"
peers=${DOUANE_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/douane-peers}
mkdir -p "$peers/bento" "$peers/flink/classes"
if [ ! -x "$peers/bento/bento" ]; then
  cp bento/main.go bento/go.mod bento/go.sum "$peers/bento/"
  (cd "$peers/bento" && go build -ldflags='-s -w' -o bento .)
fi
if [ ! -f "$peers/flink/classes/Customs.class" ]; then
  cp flink/pom.xml "$peers/flink/"
  (cd "$peers/flink" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib)
  javac -cp "$peers/flink/lib/*" -d "$peers/flink/classes" flink/Customs.java
fi
# Connectors that Kafka's own distribution has: the worker that runs them is the rig's.
if [ ! -d "$peers/connect/plugins" ]; then
  mkdir -p "$peers/connect"
  cp connect/pom.xml "$peers/connect/"
  (cd "$peers/connect" && mvn -q -B dependency:copy-dependencies -DincludeArtifactIds=connect-file,connect-mirror,connect-mirror-client -DoutputDirectory=fetched)
  mkdir -p "$peers/connect/new/file" "$peers/connect/new/mirror"
  mv "$peers"/connect/fetched/connect-file-* "$peers/connect/new/file/"
  mv "$peers"/connect/fetched/connect-mirror-* "$peers/connect/new/mirror/"
  rmdir "$peers/connect/fetched"
  mv "$peers/connect/new" "$peers/connect/plugins"
fi
