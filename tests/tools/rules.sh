#!/usr/bin/env bash
# tests/tools/rules.sh: Prometheus' own tool reads the configuration and the alert rules, and plays their tests. Exit 3: no promtool
# (tests/rig/promtool.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
promtool=$(tests/rig/promtool.sh) || { echo "promtool is not here" >&2; exit 3; }
said=$(mktemp)
changed=$(mktemp -d)
trap 'rm -rf "$said" "$changed"' EXIT
all() {
  # The configuration names its rules as they lie in a container; they are looked at beside it.
  "$promtool" check config --syntax-only "$1/prometheus.yaml" && "$promtool" check rules "$1/rules.yaml" &&
    "$promtool" test rules "$1/rules.test.yaml"
}
all docker/prometheus >"$said" 2>&1 || { cat "$said" >&2; exit 1; }
# A control for each: a key that is none, an expression that is none, a bound that was moved.
try() {
  cp docker/prometheus/* "$changed"
  sed -i "$2" "$changed/$1"
  ! cmp -s "docker/prometheus/$1" "$changed/$1" || { echo "the control changes nothing: $2" >&2; exit 1; }
  if all "$changed" >/dev/null 2>&1; then
    echo "$1 passed with $2" >&2
    exit 1
  fi
}
try prometheus.yaml 's/^scrape_configs:/scrape_confgis:/'
try rules.yaml '0,/expr: .*/s//expr: up{/'
try rules.yaml 's/< 14$/< 1400/'
try rules.yaml 's/_soon_timestamp_seconds <= time()/_timestamp_seconds <= time()/'
echo "promtool agrees on $(grep -c 'alert: ' docker/prometheus/rules.yaml) alerts"
