#!/usr/bin/env bash
# fetch.sh: brings Kafka, Kafka Connect, Debezium and a schema registry from Maven Central into the cache, once, and
# installs from the distribution what is missing (Java, Maven, PostgreSQL). Needs root for the second part only.
#   DOUANE_RIG_CACHE   where to keep them (default: ~/.cache/douane-rig)
. "$(dirname "$0")/lib.sh"

dependencies=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies
# 3.x insists on the registry's parent POM, which is not on Maven Central; 2.10 takes the archive alone
archive=org.apache.maven.plugins:maven-dependency-plugin:2.10:copy
postgres_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

packages=()
command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || packages+=(maven)
[ -n "$(postgres_bin)" ] || packages+=(postgresql)
if [ ${#packages[@]} -gt 0 ]; then
  echo "rig: apt-get install ${packages[*]}"
  command -v apt-get >/dev/null || die "missing: ${packages[*]} (install them by hand: this machine has no apt-get)"
  [ "$(id -u)" = 0 ] || die "missing: ${packages[*]} (run as root, or install them by hand)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -o Acquire::Retries=3 update >/dev/null
  # Debian 13 has no Java 17; its default is newer and does as well
  apt-cache show openjdk-17-jre-headless >/dev/null 2>&1 || packages=("${packages[@]/openjdk-17-jre-headless/default-jre-headless}")
  apt-get -q -y -o Acquire::Retries=3 --no-install-recommends install "${packages[@]}" >"${TMPDIR:-/tmp}/douane-rig-apt.log" 2>&1 \
    || { tail -n 30 "${TMPDIR:-/tmp}/douane-rig-apt.log" >&2; die "apt-get install failed"; }
fi

mkdir -p "$cache"
exec 9>"$cache/lock"; flock 9
stamp=$(cat "$rig"/*.pom.xml "$rig/SHA256SUMS" "$rig/fetch.sh" | sha256sum | cut -c1-16)
[ "$(cat "$cache/stamp" 2>/dev/null || true)" = "$stamp" ] && exit 0

new=$cache/new; rm -rf "$new"; mkdir -p "$new/plugins"
get() { local i; for i in 1 2 3; do (cd "$new" && mvn -q -B -ntp "$@") && return 0; echo "rig: Maven attempt $i failed" >&2; sleep $((i * 5)); done; die "Maven could not fetch: $*"; }
get -f "$rig/kafka.pom.xml" "$dependencies" -DoutputDirectory="$new/kafka"
get -f "$rig/connect.pom.xml" "$dependencies" -DoutputDirectory="$new/connect"
get -f "$rig/converter.pom.xml" "$dependencies" -DoutputDirectory="$new/plugins/converter"
get "$archive" -Dartifact=io.debezium:debezium-connector-postgres:3.7.0.Final:tar.gz:plugin -DoutputDirectory="$new/archives"
get "$archive" -Dartifact=io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all -DoutputDirectory="$new/archives"

# What came must be what was tried: every file's digest is in the repository.
(cd "$new" && find archives connect kafka plugins -type f | LC_ALL=C sort | xargs sha256sum) >"$new/found"
if [ "${1:-}" = --write-digests ]; then cp "$new/found" "$rig/SHA256SUMS"
else diff "$rig/SHA256SUMS" "$new/found" >&2 || die "the fetched files differ from SHA256SUMS"; fi

tar -xzf "$new/archives/debezium-connector-postgres-3.7.0.Final-plugin.tar.gz" -C "$new/plugins"
mkdir "$new/registry" && tar -xzf "$new/archives/apicurio-registry-app-3.0.9-all.tar.gz" -C "$new/registry"
rm -r "$new/archives"
# The converter's jar names no services, so Connect would have to scan every class (45 s and 2 GB): its own tool adds them.
"$java" -cp "$new/kafka/*" org.apache.kafka.tools.ConnectPluginPath sync-manifests --plugin-path "$new/plugins" >"$new/sync.log" 2>&1 \
  || { cat "$new/sync.log" >&2; die "Connect's plugin tool failed"; }
for part in kafka connect plugins registry; do rm -rf "${cache:?}/$part"; mv "$new/$part" "$cache/$part"; done
rm -rf "$new"
if [ "${1:-}" = --write-digests ]; then stamp=$(cat "$rig"/*.pom.xml "$rig/SHA256SUMS" "$rig/fetch.sh" | sha256sum | cut -c1-16); fi
echo "$stamp" >"$cache/stamp"
echo "rig: fetched into $cache"
