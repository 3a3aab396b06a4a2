#!/usr/bin/env bash
# tests/install/chart.sh: helm lint, and what the chart renders to, read strictly by Kubernetes' own types and held to rules (manifests/main.go).
# Exit 3: no helm or no go here (`go install helm.sh/helm/v3/cmd/helm@v3.19.0`).
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in helm go; do command -v "$tool" >/dev/null || { echo "no $tool here" >&2; exit 3; }; done
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

kubernetes=1.34.0 # else helm takes what it was built for
render() { helm template border docker/chart --kube-version "$kubernetes" "$@"; }
sides=(--set-json 'network.sovereign.to=[{"ipBlock":{"cidr":"10.1.0.0/16"}}]' --set-json 'network.global.to=[{"ipBlock":{"cidr":"192.0.2.0/24"}}]')
all=("${sides[@]}" --set trainer.enabled=true --set trainer.image.repository=trainer --set trainer.scaling.bootstrapServers=kafka-gl:9093
  --set trainer.scaling.metadata.tls=enable --set trainer.scaling.authentication=keda-kafka-gl
  --set-json 'trainer.command=["python","train.py"]' --set replay.enabled=true --set replay.by=ada --set replay.reason=audit
  --set-json 'secrets={"wrapping":{"secret":"douane-wrapping"}}')

helm lint --kube-version "$kubernetes" --strict --quiet docker/chart "${sides[@]}"
helm lint --kube-version "$kubernetes" --strict --quiet docker/chart "${all[@]}"
(cd tests/install/manifests && go mod download) >/dev/null 2>&1 || { echo "no way to Go's modules from here" >&2; exit 3; }
(cd tests/install/manifests && go build -o "$work/manifests" .)
render >"$work/plain.yaml"
render "${all[@]}" >"$work/all.yaml"
render "${all[@]}" --set service.enabled=true --set-json 'service.from=[{"podSelector":{"matchLabels":{"app":"prometheus"}}}]' >"$work/service.yaml"
"$work/manifests" "$work/plain.yaml" "$work/all.yaml" "$work/service.yaml"
# What is said of nodes and images reaches every pod that it is about: the border's tolerations also the replay, which has to run beside it.
own='[{"key":"own"}]'; theirs='[{"key":"theirs"}]'
render "${all[@]}" --set image.pullPolicy=Always --set replay.image.pullPolicy=Always --set trainer.image.pullPolicy=Always \
  --set-json "tolerations=$own" --set-json 'imagePullSecrets=[{"name":"own"}]' --set-json "trainer.tolerations=$theirs" \
  --set-json 'trainer.imagePullSecrets=[{"name":"theirs"}]' --set-json 'trainer.nodeSelector={"accelerator":"theirs"}' >"$work/placed.yaml"
"$work/manifests" "$work/placed.yaml"
counted() { local found; found=$(grep -c -e "$2" "$1" || true)
  [ "$found" = "$3" ] || { echo "chart: \`$2\` stands $found times, not $3" >&2; exit 1; }; }
counted "$work/placed.yaml" 'imagePullPolicy: Always$' 3
counted "$work/placed.yaml" 'imagePullPolicy:' 3
counted "$work/placed.yaml" '- key: own$' 2
counted "$work/placed.yaml" '- name: own$' 2
counted "$work/placed.yaml" 'theirs$' 3
counted "$work/all.yaml" 'imagePullPolicy: Always$' 0
# A part that answers no ends no other part, and can be joined.
counted "$work/all.yaml" 'values: \[2\] }$' 1
counted "$work/all.yaml" 'replay "$@" --format json --part ' 1
# Refusals: a key that the chart does not know, answers that nobody gave, two trainers at once, a threshold that is none.
for bad in network.sovereign.cidr=x replay.enabled=true trainer.enabled=true trainer.scaling.maxReplicas=2 trainer.scaling.threshold=all; do
  ! render --set "$bad" >/dev/null 2>&1 || { echo "chart: $bad was taken" >&2; exit 1; }
done
# Controls: each rule is broken once, and seen.
broken() { sed "$2" "$work/service.yaml" >"$work/broken.yaml"
  ! cmp -s "$work/service.yaml" "$work/broken.yaml" || { echo "chart: the control $1 changes nothing" >&2; exit 1; }
  ! "$work/manifests" "$work/broken.yaml" >/dev/null 2>&1 || { echo "chart: the control $1 was not seen" >&2; exit 1; }; }
broken first '/activationLagThreshold/d'
broken another 's/consumerGroup: .*/consumerGroup: "another"/'
broken root 's/runAsNonRoot: true/runAsNonRoot: false/'
broken writable 's/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/'
broken rights 's/drop: \[ALL\]/drop: []/'
broken token 's/automountServiceAccountToken: false/automountServiceAccountToken: true/'
broken misspelt 's/serviceName:/servicename:/'
broken everybody '/^    - to:/,/ports:/{/ipBlock/d;/cidr/d}'
broken across 's#cidr: 192.0.2.0/24#cidr: 10.1.0.0/16#'
broken two 's/replicas: 1/replicas: 2/'
broken index 's/completionMode: Indexed/completionMode: NonIndexed/'
broken anybody '/^    - from:/,/ports:/{/podSelector/d;/matchLabels/d;/app: prom/d}'
echo "chart: linted, read by Kubernetes' types, twelve controls seen"
