#!/usr/bin/env bash
# tests/ff1/run.sh [COUNT [SEED]]: random cases of FF1 (keys of all sizes, radix, length, tweak; odd lengths at the borders
# of 32 and 64 bits) by Bouncy Castle, each held against the transforms' own, there and back. On demand: it needs Maven
# Central and a JDK.
set -euo pipefail
cd "$(dirname "$0")/../.."
count=${1:-1000000} seed=${2:-1}
version=1.86
digest=2af190b300cbb0b35e248ccf5f4a06b6072030aeb3da7a98ec73abe5b4cb371f
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:2.10:copy \
  -Dartifact=org.bouncycastle:bcprov-jdk18on:$version -DoutputDirectory="$work"
jar=$work/bcprov-jdk18on-$version.jar
echo "$digest  $jar" | sha256sum --check --quiet
mkfifo "$work/cases"
java -cp "$jar" tests/ff1/Cases.java "$count" "$seed" >"$work/cases" &
DOUANE_FF1_CASES=$work/cases DOUANE_FF1_COUNT=$count \
  cargo test --quiet --release --workspace --test bouncy_castle -- --ignored --nocapture
