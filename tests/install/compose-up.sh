#!/usr/bin/env bash
# tests/install/compose-up.sh [BINARY]: docker/compose.yaml, as it stands, brought up by Docker's own compose on an engine of its own (engine.sh).
# How long it is from `up` to the first protected record; then shards have rows, `status` is well, who is outside finds all of it signed, no clear value
# is in any topic outside, and nobody outside reaches the zone; docker/README.md's commands are given as they stand there.
# No image is pulled: BINARY (target/release/douane) becomes docker/Dockerfile's two; the others are stood in for by the same programs from Debian and
# Maven Central (compose-up/Dockerfile), under the names that compose.yaml has. Grafana is in neither: it is left out, aloud.
# Exit 3: no engine, no mmdebstrap, no go, no rights, or no way to Debian's archive and Go's modules.
#   DOUANE_COMPOSE_DEBIAN=servers.tar   Debian with Java, PostgreSQL and Prometheus from last time; made where it is missing
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/install
docker=/usr/bin/docker
if [ -z "${DOUANE_ENGINE:-}" ]; then
  for tool in mmdebstrap go curl; do command -v "$tool" >/dev/null || { echo "no $tool here" >&2; exit 3; }; done
  [ "$(id -u)" = 0 ] || { echo "an engine is started as root" >&2; exit 3; }
  binary=$(realpath "${1:-target/release/douane}")
  tests/rig/fetch.sh >&2
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  (cd "$here/compose-up" && go mod download) >/dev/null 2>&1 || { echo "no way to Go's modules from here" >&2; exit 3; }
  (cd "$here/compose-up" && go build -o "$work/compose" github.com/docker/compose/v2/cmd)
  debian=${DOUANE_COMPOSE_DEBIAN:-$work/debian.tar}
  [ -s "$debian" ] || mmdebstrap --quiet --variant=minbase --include=openjdk-17-jre-headless,postgresql-15,prometheus,curl,netcat-openbsd bookworm "$debian" \
    || { echo "no way to Debian's archive from here" >&2; exit 3; }
  "$here/engine.sh" "$here/compose-up.sh" "$binary" "$work/compose" "$(realpath "$debian")"
  exit
fi

binary=$1 compose=$2 debian=$3 work=$DOUANE_ENGINE
. tests/rig/lib.sh
fail() { echo "compose-up: $*" >&2; exit 1; }
"$here/images.sh" "$debian" "$binary"
mkdir -p "$work/context/fetched"
cp -r "$here"/compose-up/* "$rig/log4j2.xml" "$work/context"
cp -r "$cache"/{kafka,connect,plugins,registry} "$work/context/fetched"
while read -r target image; do
  "$docker" build -q --network none --target "$target" -t "$image" "$work/context" >/dev/null
done <<'I'
kafka apache/kafka:4.3.1
connect quay.io/debezium/connect:3.7
registry quay.io/apicurio/apicurio-registry:3.0.9
postgres postgres:17
prometheus prom/prometheus:v3.5.0
I
rm -r "$work/context"

in_demo() { "$compose" -f docker/compose.yaml "$@" </dev/null; }
# The command of docker/README.md that begins so.
written() { sed -n "s/^\$ in-demo \($1 [^#]*\).*/\1/p" docker/README.md | grep . || fail "docker/README.md does not say: $1"; }
started=$(date +%s%N)
in_demo up --no-build --pull never --detach --scale grafana=0 >"$work/up" 2>&1 || { cat "$work/up" >&2; in_demo logs --tail 40 >&2; fail "up"; }
# It ends with the first record that a reader of what is committed sees.
reader=(exec -T kafka-gl /opt/kafka/bin/kafka-console-consumer.sh --bootstrap-server kafka-gl:9092 --from-beginning --isolation-level read_committed)
in_demo "${reader[@]}" --topic training.customers --max-messages 1 --timeout-ms 120000 >"$work/first" 2>&1 || { cat "$work/first" >&2; in_demo logs --tail 40 douane init >&2; fail "no record"; }
seconds=$((($(date +%s%N) - started) / 1000000000))
echo "figure: from compose up to the first protected record = $seconds s"
[ "$seconds" -le 90 ] || fail "$seconds s"

shards=$work/data/volumes/douane-demo_shards/_data/shards
rows() { sed -n 's/^ *"rows_in_all": \([0-9]*\).*/\1/p' "$shards/_state.json" 2>/dev/null || true; }
# All that PostgreSQL began with, and a second time what changed since.
for _ in $(seq 240); do [ "$(rows)" = "" ] || [ "$(rows)" -lt 1000 ] || [ ! -e "$shards/shard-000000000002" ] || break; sleep 0.5; done
[ -e "$shards/shard-000000000002" ] && [ "$(rows)" -ge 1000 ] || { in_demo logs --tail 40 trainer douane >&2; fail "the trainer has $(rows) rows"; }
for shard in "$shards"/shard-*; do [ -n "$(find "$shard" -name '*.parquet' -size +0)" ] || fail "$shard is empty"; done
echo "figure: rows in the trainer's shards $((($(date +%s%N) - started) / 1000000000)) s after compose up = $(rows) rows"

eval "in_demo $(written 'exec douane')" || fail "status is not well"
eval "in_demo $(written 'exec kafka-gl [^ ]*console-consumer.sh')" >"$work/three" 2>&1 || { cat "$work/three" >&2; fail "README's reader"; }
"$docker" run --rm --network douane-demo_outside -v douane-demo_outside:/outside:ro --read-only --cap-drop ALL --tmpfs /tmp douane \
  -c /outside/douane.yaml verify --topic training.customers --release /outside/customers.release.json | tee "$work/verified" || fail "who is outside does not find all of it signed"
# As many as connector.json gives the source's topic, however early `init` asked for them.
grep -q ' records in 4 partitions' "$work/verified" || fail "the topic outside was made too early"
for _ in $(seq 60); do [ "$(in_demo exec -T prometheus promtool query instant http://172.30.77.2:9090 'up{job="douane"}' | grep -c '=> 1 ')" = 1 ] && break; sleep 0.5; done
in_demo exec -T prometheus promtool query instant http://172.30.77.2:9090 'douane_records_total > 0' | grep -q 'pipeline="customers"' || fail "Prometheus has nothing of douane"

# Every value that a customer ever had, in every topic outside: keys, values, headers. Readers end where nothing comes any more.
in_demo stop rows >/dev/null 2>&1
in_demo exec -T postgres psql -U postgres crm -At -c "SELECT DISTINCT unnest(ARRAY[email, phone, national_id, card_number, full_name, street])
  FROM generate_series(7340001, (SELECT last_value FROM customer)) AS n, LATERAL invented(n)" >"$work/values"
[ "$(wc -l <"$work/values")" -gt 3000 ] || fail "$(wc -l <"$work/values") values"
clear_in() { LC_ALL=C grep -a -o -F -f "$work/values" "$1" | sort -u | wc -l; }
everything=(--property print.key=true --property print.headers=true --timeout-ms 5000)
in_demo "${reader[@]}" --include 'training[.].*' "${everything[@]}" >"$work/outside" 2>/dev/null || true
in_demo exec -T kafka-de /opt/kafka/bin/kafka-console-consumer.sh --bootstrap-server kafka-de:9092 --from-beginning --topic crm.public.customers "${everything[@]}" >"$work/inside" 2>/dev/null || true
[ "$(grep -a -c Graz "$work/outside")" -gt 300 ] || fail "little was read outside"
[ "$(clear_in "$work/outside")" = 0 ] || fail "$(clear_in "$work/outside") clear values outside"
# Control: inside they are seen, nearly all of them.
[ "$(clear_in "$work/inside")" -gt 3000 ] || fail "the control sees $(clear_in "$work/inside") values in the zone"
echo "figure: clear values in the topics outside, of $(wc -l <"$work/values") = 0; in the zone = $(clear_in "$work/inside")"

# The lag that KEDA would go by is what the trainer has not taken: its group stands where its folder does.
eval "in_demo $(written 'exec kafka-gl [^ ]*consumer-groups.sh')" >"$work/lag" 2>&1 || { cat "$work/lag" >&2; fail "README's lag"; }
noted=$(awk '$2 == "training.customers" { sum += $4 } END { print sum + 0 }' "$work/lag")
taken=$(tr -d '\n' <"$shards/_state.json" | sed 's/.*"next": \[\([^]]*\)\].*/\1/' | tr ',' '\n' | awk '{ sum += $1 } END { print sum }')
[ "$noted" -ge 1000 ] && [ "$noted" = "$taken" ] || { cat "$work/lag" >&2; fail "the group stands at $noted, the folder at $taken"; }
in_demo start rows >/dev/null 2>&1

# The image's health check: both are well, a service that is stopped answers nobody, and a verb that is stopped does nothing.
health() { "$docker" inspect -f '{{.State.Health.Status}}' "douane-demo-$1-1"; }
turns() { for _ in $(seq 120); do [ "$(health "$1")" != "$2" ] || return 0; sleep 0.5; done; fail "$1 is $(health "$1"), not $2"; }
signal() { kill "-$2" "$("$docker" inspect -f '{{.State.Pid}}' "douane-demo-$1-1")"; }
for service in douane trainer; do
  turns $service healthy
  # Control.
  signal $service STOP; turns $service unhealthy
  signal $service CONT; turns $service healthy
done
"$docker" inspect -f '{{json .State.Health.Log}}' douane-demo-douane-1 | grep -q 'the service answers at 127.0.0.1:8083' || fail "its health check says something else"

# Two networks: by name and by address the zone is not there for who is outside. Control: it is for who is inside.
address=$("$docker" inspect -f '{{(index .NetworkSettings.Networks "douane-demo_zone").IPAddress}}' douane-demo-kafka-de-1)
in_demo exec -T debezium nc -z -w 2 "$address" 9092 || fail "the control does not reach the zone's Kafka"
for zone in kafka-de "$address"; do ! in_demo exec -T kafka-gl nc -z -w 2 "$zone" 9092 2>/dev/null || fail "the zone is reached from outside"; done
# Its containers have no rights and nothing to write to; others have, and it is seen.
shut() { "$docker" inspect -f '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}' "douane-demo-$1-1"; }
for service in douane trainer; do [ "$(shut $service)" = 'true [ALL] 65532:65532' ] || fail "$service: $(shut $service)"; done
[ "$(shut postgres)" != 'true [ALL] 65532:65532' ] || fail "the control is shut"

# A column that nobody declared: its partitions hold, and `status` says no.
eval "in_demo $(written 'exec postgres')" >/dev/null || fail "README's column"
for _ in $(seq 60); do code=0; eval "in_demo $(written 'exec douane')" >"$work/held" 2>&1 || code=$?; [ "$code" = 0 ] || break; sleep 0.5; done
[ "$code" = 1 ] && grep -q 'after.passport' "$work/held" || { cat "$work/held" >&2; fail "status says $code of a column that nobody declared"; }
eval "in_demo $(written 'down')" >/dev/null 2>&1 || fail "README's end"
[ -z "$("$docker" volume ls -q -f name=douane-demo)" ] || fail "volumes are left"

# Control: without `nocopy` the volume of the place is root's, and `init` could not write to it.
owner() { stat -c %u "$work/data/volumes/$1_place/_data"; }
sed 's/,nocopy//' docker/compose.yaml >"$work/control.yaml"
"$compose" -p control -f "$work/control.yaml" --project-directory docker create --no-build --pull never --scale grafana=0 >/dev/null 2>&1 || fail "the control is not made"
[ "$(owner control)" = 0 ] || fail "the control's place is $(owner control)'s"
"$compose" -p control -f "$work/control.yaml" --project-directory docker down --volumes >/dev/null 2>&1

stands() { "$docker" run --rm --entrypoint "$2" "$1" --version 2>&1 | head -n 1 | sed 's/[^0-9]* \([0-9.]*\).*/\1/'; }
echo "skipped: grafana in containers: neither Debian nor Maven Central has it; tests/install/demo.sh has Prometheus read its panels"
echo "compose-up: the demo comes up and is as it is said; its PostgreSQL and Prometheus are Debian's: $(stands postgres:17 postgres), $(stands prom/prometheus:v3.5.0 prometheus)"
