#!/usr/bin/env bash
# tests/install/demo.sh [BINARY]: what docker/compose.yaml starts, without an engine: the demo's own files between this rig's servers, on
# this machine's addresses. Says how long it takes from the start to the first protected record, and lets the trainer take a shard. On
# demand: it needs what `debezium` needs (tests/rig/fetch.sh), psql, curl and two minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${1:-target/debug/douane}")
rig=$PWD/tests/rig home=$PWD
"$rig/fetch.sh"
work=$(mktemp -d) port=${DOUANE_DEMO_PORT:-23400}
de=$port gl=$((port + 2)) registry=$((port + 4)) postgres=$((port + 6)) connect=$((port + 7))
cleanup() {
  [ -z "${running:-}" ] || kill "$running" 2>/dev/null || true
  "$rig/connect.sh" stop "$work/connect" || true; "$rig/registry.sh" stop "$work/registry" || true
  "$rig/postgres.sh" stop "$work/postgres" || true
  "$rig/kafka.sh" stop "$work/de" || true; "$rig/kafka.sh" stop "$work/gl" || true
  rm -rf "$work"
}
trap cleanup EXIT
chmod 755 "$work"
started=$SECONDS

"$rig/kafka.sh" start "$work/de" "$de" & "$rig/kafka.sh" start "$work/gl" "$gl" & "$rig/postgres.sh" start "$work/postgres" "$postgres" & wait
"$rig/registry.sh" start "$work/registry" "$registry" &
"$rig/connect.sh" start "$work/connect" "127.0.0.1:$de" "$connect" &
export PGHOST=127.0.0.1 PGPORT=$postgres PGUSER=postgres
psql -q -c 'CREATE DATABASE crm' postgres
export PGDATABASE=crm
psql -q -v ON_ERROR_STOP=1 -f docker/demo/postgres.sql
wait

id() { sed -n 's/^cluster.id=//p' "$work/$1/data/meta.properties"; }
cp -r docker/demo "$work/demo"; mkdir "$work/place" "$work/state"
sed -i -e "s#kafka-de:9092#127.0.0.1:$de#; s#kafka-gl:9092#127.0.0.1:$gl#; s#registry-gl:8080#127.0.0.1:$registry#; s#/var/lib/douane#$work/state#" \
  -e "s#ZG91YW5lLWRlbW8tem9uZQ#$(id de)#; s#ZG91YW5lLWRlbW8tZ2xvYg#$(id gl)#" "$work"/demo/*.yaml
sed "s#\"postgres\",#\"127.0.0.1\",#; s#\"database.user\": \"127.0.0.1\"#\"database.user\": \"postgres\"#; s#5432#$postgres#" docker/demo/connector.json >"$work/demo/connector.json"
curl -sf -X PUT -H 'Content-Type: application/json' --data @"$work/demo/connector.json" "http://127.0.0.1:$connect/connectors/crm/config" >/dev/null
mkdir "$work/bin"; ln -s "$binary" "$work/bin/douane"
PATH=$work/bin:$PATH PLACE=$work/place STATE=$work/state OUTSIDE=$work/outside sh "$work/demo/init.sh"
"$binary" -c "$work/place/douane.yaml" run "$work/place/pipelines/customers.yaml" 2>"$work/said" & running=$!

until grep -q '"event":"progress"' "$work/said"; do
  kill -0 "$running" || { cat "$work/said" >&2; exit 1; }
  [ $((SECONDS - started)) -lt 300 ] || { cat "$work/said" >&2; exit 1; }
  sleep 0.2
done
echo "figure: from the start to the first protected record = $((SECONDS - started)) s"
for _ in 1 2 3; do psql -q -v ON_ERROR_STOP=1 -f docker/demo/rows.sql; done
cd "$work"
"$binary" -c "$work/outside/douane.yaml" feed training.customers --out "$work/shards" --release "$work/outside/customers.release.json" --wait-for 1003
"$binary" -c "$work/place/douane.yaml" status "$work/place/pipelines/customers.yaml"
cd "$home"
echo "demo: rows of PostgreSQL are protected, outside, verified and taken"
