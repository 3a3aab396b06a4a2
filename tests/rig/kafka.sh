#!/usr/bin/env bash
# kafka.sh start DIR PORT [k=v server property...] | stop DIR | kill DIR | freeze DIR | thaw DIR
# kafka.sh hanging DIR: aborts what stays open of transactions that are over (docs/kafka.md), and prints in how many partitions.
# A line in DIR/scram is a user of SCRAM, as kafka-storage.sh takes one.
# One Apache Kafka broker (KRaft, broker and controller in one) on 127.0.0.1:PORT, its controller on PORT+1.
. "$(dirname "$0")/lib.sh"
command=$1 dir=$2
case $command in
start)
  port=$3; shift 3
  mkdir -p "$dir"
  {
    cat <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$dir/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
P
    for property in "$@"; do echo "$property"; done # a later line wins
  } >"$dir/server.properties"
  if [ ! -d "$dir/data" ]; then
    id=A$(head -c 15 /dev/urandom | base64 | tr '+/' '-_') # 22 characters, never a leading dash
    users=()
    [ ! -f "$dir/scram" ] || while read -r user; do users+=(--add-scram "$user"); done <"$dir/scram"
    "$java" -XX:TieredStopAtLevel=1 -cp "$cache/kafka/*" kafka.tools.StorageTool format -t "${id}A" -c "$dir/server.properties" "${users[@]}" >"$dir/format.log" 2>&1 \
      || { cat "$dir/format.log" >&2; die "kafka: the data directory cannot be formatted"; }
  fi
  ! port_open "$port" || die "kafka: something listens on port $port already"
  spawn "$dir" "$java" "-Xmx${KAFKA_HEAP:-640m}" -Xms128m -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -cp "$cache/kafka/*" kafka.Kafka "$dir/server.properties"
  wait_until "$dir" 90 port_open "$port"
  ;;
stop) end "$dir" TERM ;;
kill) end "$dir" KILL ;;
freeze) kill -STOP "$(pid_of "$dir")" ;;
thaw) kill -CONT "$(pid_of "$dir")" ;;
hanging)
  at=$(sed -n 's,^listeners=PLAINTEXT://\([^,]*\).*,\1,p' "$dir/server.properties" | tail -n 1)
  transactions() {
    timeout 90 "$java" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$cache/kafka/*" org.apache.kafka.tools.TransactionsCommand \
      --bootstrap-server "$at" "$@"
  }
  # A table with a head, also where nothing hangs: who was not asked, or said something else, has not said that.
  found=$(transactions find-hanging --broker-id 1 --max-transaction-timeout 1 2>>"$dir/log") || die "kafka: $dir: nobody says what hangs"
  [[ $found =~ ^Topic[[:space:]]+Partition[[:space:]] ]] || die "kafka: $dir: no list of what hangs: $found"
  ended=0
  while read -r topic partition _ _ _ offset _; do
    [ -n "$topic" ] || continue
    transactions abort --topic "$topic" --partition "$partition" --start-offset "$offset" >&2 </dev/null
    ended=$((ended + 1))
  done <<<"$(tail -n +2 <<<"$found")"
  echo "$ended"
  ;;
*) die "kafka.sh: no such command: $command" ;;
esac
