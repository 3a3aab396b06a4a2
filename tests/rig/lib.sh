# Sourced by the rig's scripts: where things lie, and how a server is started, watched and ended.
# A server owns one directory: DIR/pid is the process it was started as, DIR/log what it printed.
set -eu
rig=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DOUANE_RIG_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/douane-rig}
java=${JAVA:-java}

die() { echo "$*" >&2; exit 1; }

# Still running? A zombie that nobody reaps counts as ended, once its other threads have ended too (until then its
# ports and files are still held).
alive() {
  local state
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) && [ -n "$state" ] || return 1
  [ "$state" != Z ] || [ "$(ls "/proc/$1/task" 2>/dev/null | wc -l)" -gt 1 ]
}

# spawn DIR COMMAND...: starts it detached, remembers its process id
spawn() {
  local dir=$1; shift
  setsid "$@" >>"$dir/log" 2>&1 </dev/null & echo $! >"$dir/pid"
}

# A process id is ours only while DIR/pid names it.
pid_of() { [ -f "$1/pid" ] && cat "$1/pid"; }

# wait_until DIR SECONDS COMMAND...: ready when the command succeeds; fails as soon as the server ends
wait_until() {
  local dir=$1 end=$((SECONDS + $2)); shift 2
  until "$@" 2>/dev/null; do
    alive "$(pid_of "$dir")" || { tail -n 40 "$dir/log" >&2; die "the server of $dir ended before it was ready"; }
    [ "$SECONDS" -lt "$end" ] || { tail -n 40 "$dir/log" >&2; die "the server of $dir is not ready in time"; }
    sleep 0.1
  done
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# http_ok PORT PATH: does a GET answer 200? (no curl on a bare machine)
http_ok() {
  local line
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3
  IFS= read -r -t 3 line <&3 || line=
  exec 3<&- 3>&-
  case $line in *" 200 "*) return 0 ;; *) return 1 ;; esac
}

# end DIR [SIGNAL]: by process id, and only returns when the process is gone (two JVMs on one data directory corrupt it)
end() {
  local dir=$1 signal=${2:-TERM} pid i
  pid=$(pid_of "$dir") || return 0
  kill -"$signal" "$pid" 2>/dev/null || true
  kill -CONT "$pid" 2>/dev/null || true
  for i in $(seq 300); do
    alive "$pid" || { rm -f "$dir/pid"; return 0; }
    [ "$i" -ne 200 ] || kill -KILL "$pid" 2>/dev/null || true
    sleep 0.1
  done
  die "process $pid of $dir does not end"
}
