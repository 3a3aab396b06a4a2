#!/usr/bin/env bash
# connect.sh start DIR BOOTSTRAP PORT [k=v worker property...] | stop DIR
# One Kafka Connect worker with Debezium and the Avro converter; REST on 127.0.0.1:PORT.
. "$(dirname "$0")/lib.sh"
command=$1 dir=$2
case $command in
start)
  bootstrap=$3 port=$4
  shift 4
  mkdir -p "$dir"
  {
    cat <<P
bootstrap.servers=$bootstrap
group.id=rig-connect
config.storage.topic=rig-connect-configs
offset.storage.topic=rig-connect-offsets
status.storage.topic=rig-connect-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=1
status.storage.partitions=1
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
offset.flush.interval.ms=5000
listeners=HTTP://127.0.0.1:$port
rest.advertised.host.name=127.0.0.1
rest.advertised.port=$port
plugin.path=$cache/plugins
plugin.discovery=service_load
P
    for property in "$@"; do echo "$property"; done
  } >"$dir/worker.properties"
  spawn "$dir" "$java" "-Xmx${CONNECT_HEAP:-512m}" -XX:+UseSerialGC -Dlog4j2.configurationFile="$rig/log4j2.xml" \
    -cp "$cache/connect/*" org.apache.kafka.connect.cli.ConnectDistributed "$dir/worker.properties"
  wait_until "$dir" 180 http_ok "$port" /health # while it starts it answers 404 on every path
  ;;
stop) end "$dir" TERM ;;
*) die "connect.sh: no such command: $command" ;;
esac
