#!/usr/bin/env bash
# development.sh start DIR PORT TOLD EXECUTABLE
# The development broker on 127.0.0.1:PORT; TOLD is the port that it gives out as its own. It ends as kafka.sh ends brokers.
. "$(dirname "$0")/lib.sh"
command=$1 dir=$2
[ "$command" = start ] || die "development.sh: no such command: $command"
mkdir -p "$dir"
! port_open "$3" || die "development broker: something listens on port $3 already"
spawn "$dir" "$5" --port "$3" --advertised-port "$4"
wait_until "$dir" 20 port_open "$3"
