#!/usr/bin/env bash
# tests/install/demo.sh [BINARY]: what docker/compose.yaml starts, without an engine: the demo's own files between this rig's servers, on
# this machine's addresses. Says how long it takes from the start to the first protected record, lets the trainer take a shard, and has
# Prometheus, where there is one, read every panel of the dashboard. On demand: it needs what `debezium` needs (tests/rig/fetch.sh), psql, curl,
# jq and two minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${1:-target/debug/douane}")
rig=$PWD/tests/rig home=$PWD
"$rig/fetch.sh"
work=$(mktemp -d) port=${DOUANE_DEMO_PORT:-23400}
de=$port gl=$((port + 2)) registry=$((port + 4)) postgres=$((port + 6)) connect=$((port + 7)) rest=$((port + 8)) prometheus=$((port + 9))
cleanup() {
  for pid in ${running:-} ${watching:-}; do kill "$pid" 2>/dev/null || true; done
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
sed -i -e "s#kafka-de:9092#127.0.0.1:$de#; s#kafka-gl:9092#127.0.0.1:$gl#; s#registry-gl:8080#127.0.0.1:$registry#; s#/var/lib/douane#$work/state#; s#serve: *{#serve: { listen: \"127.0.0.1:$rest\",#" \
  -e "s#ZG91YW5lLWRlbW8tem9uZQ#$(id de)#; s#ZG91YW5lLWRlbW8tZ2xvYg#$(id gl)#" "$work"/demo/*.yaml
sed "s#\"postgres\",#\"127.0.0.1\",#; s#\"database.user\": \"127.0.0.1\"#\"database.user\": \"postgres\"#; s#5432#$postgres#" docker/demo/connector.json >"$work/demo/connector.json"
curl -sf -X PUT -H 'Content-Type: application/json' --data @"$work/demo/connector.json" "http://127.0.0.1:$connect/connectors/crm/config" >/dev/null
mkdir "$work/bin"; ln -s "$binary" "$work/bin/douane"
PATH=$work/bin:$PATH PLACE=$work/place STATE=$work/state OUTSIDE=$work/outside sh "$work/demo/init.sh"
"$binary" -c "$work/place/douane.yaml" serve 2>"$work/said" & running=$!

metrics() { curl -s "http://127.0.0.1:$rest/metrics"; }
until metrics | grep -q '^douane_records_total{.*} [1-9]'; do
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
if command -v promtool >/dev/null && command -v prometheus >/dev/null; then
  promtool check rules docker/prometheus/rules.yaml >/dev/null
  promtool test rules docker/prometheus/rules.test.yaml >/dev/null
  # 3: names that are Kafka Connect's and not to its taste; 1: no text of Prometheus.
  metrics | promtool check metrics >/dev/null 2>&1 || [ $? = 3 ]
  cp docker/prometheus/*.yaml "$work"; sed -i "s#127.0.0.1:8083#127.0.0.1:$rest#" "$work/prometheus.yaml"
  (cd "$work" && exec prometheus --config.file=prometheus.yaml --storage.tsdb.path=series --web.listen-address="127.0.0.1:$prometheus" >prometheus.log 2>&1) & watching=$!
  for _ in $(seq 12); do psql -q -f docker/demo/rows.sql; sleep 5; done
  ask() { promtool query instant "http://127.0.0.1:$prometheus" "$1"; }
  panels=0 asked=$(jq -er '.panels[].targets[].expr' docker/grafana/douane.json)
  while IFS= read -r panel; do
    panel=${panel//\$connector/.*} panel=${panel//\$__rate_interval/1m}
    [ -n "$(ask "$panel")" ] || { echo "no data: $panel" >&2; exit 1; }
    panels=$((panels + 1))
  done <<<"$asked"
  [ -z "$(ask 'douane_no_such_metric')" ] || { echo "the control has data" >&2; exit 1; }
  echo "dashboard: $panels panels, all of them with data; $(ask 'count(ALERTS{alertstate="firing"}) or vector(0)' | sed 's/.*=> \([0-9]*\).*/\1/') alerts"
else
  echo "skipped: dashboard: no prometheus here"
fi
echo "demo: rows of PostgreSQL are protected, outside, verified and taken"
