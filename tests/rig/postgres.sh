#!/usr/bin/env bash
# postgres.sh start DIR PORT | stop DIR
# The distribution's PostgreSQL with wal_level=logical on 127.0.0.1:PORT, user postgres, no password. It refuses to run as root.
. "$(dirname "$0")/lib.sh"
command=$1 dir=$2
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || die "postgres: no /usr/lib/postgresql/*/bin"
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
case $command in
start)
  port=$3
  mkdir -p "$dir"
  if [ ! -d "$dir/data" ]; then
    mkdir "$dir/data"
    [ "$(id -u)" != 0 ] || chown postgres "$dir" "$dir/data"
    cd / && as "$bin/initdb" -D "$dir/data" -A trust -U postgres --locale=C.UTF-8 -E UTF8 >"$dir/initdb.log" 2>&1 \
      || { cat "$dir/initdb.log" >&2; die "postgres: initdb failed"; }
  fi
  cd / && as "$bin/pg_ctl" -D "$dir/data" -w -t 60 -l "$dir/data/log" \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c wal_level=logical -c max_replication_slots=8 -c max_wal_senders=8 -c fsync=off" start >"$dir/start.log" 2>&1 \
    || { cat "$dir/start.log" "$dir/data/log" >&2; die "postgres: does not start"; }
  head -n 1 "$dir/data/postmaster.pid" >"$dir/pid"
  ;;
stop) cd / && as "$bin/pg_ctl" -D "$dir/data" -m fast -w stop >/dev/null && rm -f "$dir/pid" ;;
*) die "postgres.sh: no such command: $command" ;;
esac
