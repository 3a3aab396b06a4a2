#!/usr/bin/env bash
# registry.sh start DIR PORT | stop DIR
# Apicurio Registry on 127.0.0.1:PORT with Confluent's API at /apis/ccompat/v7; its storage is in memory.
. "$(dirname "$0")/lib.sh"
command=$1 dir=$2
case $command in
start)
  port=$3
  mkdir -p "$dir"
  cd "$dir"
  export QUARKUS_HTTP_PORT=$port QUARKUS_HTTP_HOST=127.0.0.1
  export QUARKUS_MANAGEMENT_PORT=$((port + 1)) QUARKUS_MANAGEMENT_HOST=127.0.0.1 # 9000 otherwise
  spawn "$dir" "$java" "-Xmx${REGISTRY_HEAP:-384m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -jar "$cache"/registry/apicurio-registry-app-3.0.9-runner.jar
  wait_until "$dir" 180 http_ok "$port" /apis/ccompat/v7/subjects
  ;;
stop) end "$dir" TERM ;;
*) die "registry.sh: no such command: $command" ;;
esac
