// manifests FILE...: reads rendered manifests strictly, by Kubernetes' own types, and holds them to the rules of the border.
package main

import (
	"fmt"
	"os"
	"strings"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	network "k8s.io/api/networking/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

var faults int

func fault(where, format string, args ...any) {
	faults++
	fmt.Printf("%s: %s\n", where, fmt.Sprintf(format, args...))
}

// head is what every object has.
type head struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
}

func main() {
	for _, file := range os.Args[1:] {
		text, err := os.ReadFile(file)
		if err != nil {
			fault(file, "%v", err)
			continue
		}
		read := 0
		var policies []network.NetworkPolicy
		for _, document := range strings.Split(string(text), "\n---") {
			var h head
			if err := yaml.Unmarshal([]byte(document), &h); err != nil {
				fault(file, "%v", err)
				continue
			}
			if h.Kind == "" {
				continue
			}
			read++
			where := h.Kind + " " + h.Metadata.Name
			switch h.Kind {
			case "ServiceAccount":
				var a core.ServiceAccount
				strict(where, document, &a)
				if a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
					fault(where, "its token is mounted")
				}
			case "Service":
				var s core.Service
				strict(where, document, &s)
				if s.Spec.Type != "" && s.Spec.Type != core.ServiceTypeClusterIP {
					fault(where, "it is reached from beyond the cluster")
				}
			case "StatefulSet":
				var s apps.StatefulSet
				strict(where, document, &s)
				if s.Spec.Replicas == nil || *s.Spec.Replicas != 1 {
					fault(where, "a ledger has one writer")
				}
				if len(s.Spec.VolumeClaimTemplates) != 1 {
					fault(where, "no volume for keys and ledger")
				}
				pod(where, s.Spec.Template.Spec)
			case "Job":
				var j batch.Job
				strict(where, document, &j)
				if j.Spec.CompletionMode == nil || *j.Spec.CompletionMode != batch.IndexedCompletion {
					fault(where, "its parts have no index")
				}
				pod(where, j.Spec.Template.Spec)
			case "ScaledJob":
				scaledJob(where, document)
			case "NetworkPolicy":
				var p network.NetworkPolicy
				strict(where, document, &p)
				policies = append(policies, p)
			default:
				fault(where, "no rule for this kind")
			}
		}
		if read < 3 {
			fault(file, "%d objects", read)
		}
		border(file, policies)
	}
	if faults > 0 {
		os.Exit(1)
	}
	fmt.Println("manifests: no fault")
}

func strict(where, document string, into any) {
	text, err := yaml.YAMLToJSONStrict([]byte(document))
	if err != nil {
		fault(where, "%v", err)
		return
	}
	// As the API server reads: a name in another case is another name.
	unknown, err := json.UnmarshalStrict(text, into)
	for _, one := range unknown {
		fault(where, "%v", one)
	}
	if err != nil {
		fault(where, "%v", err)
	}
}

// scaledJob reads KEDA's object: the part that is Kubernetes' own by its types, the rest by the names of KEDA 2.
func scaledJob(where, document string) {
	var s struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       struct {
			PollingInterval            int `json:"pollingInterval"`
			MaxReplicaCount            int `json:"maxReplicaCount"`
			SuccessfulJobsHistoryLimit int `json:"successfulJobsHistoryLimit"`
			FailedJobsHistoryLimit     int `json:"failedJobsHistoryLimit"`
			Triggers                   []struct {
				Type              string            `json:"type"`
				Metadata          map[string]string `json:"metadata"`
				AuthenticationRef struct {
					Name string `json:"name"`
				} `json:"authenticationRef"`
			} `json:"triggers"`
			JobTargetRef batch.JobSpec `json:"jobTargetRef"`
		} `json:"spec"`
	}
	strict(where, document, &s)
	if s.Spec.MaxReplicaCount != 1 {
		fault(where, "one trainer at a time")
	}
	for _, t := range s.Spec.Triggers {
		for _, key := range []string{"bootstrapServers", "topic", "lagThreshold"} {
			if t.Type != "kafka" || t.Metadata[key] == "" {
				fault(where, "trigger %s without %s", t.Type, key)
			}
		}
		// KEDA rounds a part of the threshold up to one Job; only what is not active has none.
		if t.Metadata["activationLagThreshold"] != t.Metadata["lagThreshold"] {
			fault(where, "one row starts a trainer")
		}
		if t.Metadata["offsetResetPolicy"] != "earliest" {
			fault(where, "what waits before the first shard counts for nothing")
		}
		for _, one := range s.Spec.JobTargetRef.Template.Spec.Containers {
			if !notes(one.Args, t.Metadata["consumerGroup"]) {
				fault(where, "%s does not note what it took in the group that is watched", one.Name)
			}
		}
	}
	if len(s.Spec.Triggers) != 1 {
		fault(where, "%d triggers", len(s.Spec.Triggers))
	}
	pod(where, s.Spec.JobTargetRef.Template.Spec)
}

// notes: the trainer's `feed` tells this group.
func notes(args []string, group string) bool {
	for i, arg := range args {
		if arg == "--" {
			return false
		}
		if arg == "--lag-group" && i+1 < len(args) {
			return group != "" && args[i+1] == group
		}
	}
	return false
}

func pod(where string, p core.PodSpec) {
	c := p.SecurityContext
	if c == nil || c.RunAsNonRoot == nil || !*c.RunAsNonRoot || c.RunAsUser == nil || *c.RunAsUser == 0 {
		fault(where, "it may run as root")
	}
	if c == nil || c.SeccompProfile == nil || c.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		fault(where, "no seccomp profile")
	}
	if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
		fault(where, "a token of the cluster is mounted")
	}
	if p.HostNetwork || p.HostPID || p.HostIPC {
		fault(where, "it is in the host's namespaces")
	}
	if len(p.Containers) == 0 {
		fault(where, "no container")
	}
	mounted := map[string]bool{"state": true} // a claim of the set's own
	for _, v := range p.Volumes {
		mounted[v.Name] = true
		if v.HostPath != nil {
			fault(where, "volume %s is the host's", v.Name)
		}
	}
	for _, one := range p.Containers {
		s := one.SecurityContext
		if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			fault(where, "%s may write to its root", one.Name)
		}
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
			fault(where, "%s may gain rights", one.Name)
		}
		if s == nil || s.Capabilities == nil || len(s.Capabilities.Add) > 0 || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
			fault(where, "%s keeps capabilities", one.Name)
		}
		for _, e := range one.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				fault(where, "%s has a secret in its environment", one.Name)
			}
		}
		for _, m := range one.VolumeMounts {
			if !mounted[m.Name] {
				fault(where, "%s mounts %s, which is no volume", one.Name, m.Name)
			}
			if strings.HasPrefix(m.MountPath, "/etc") || strings.HasPrefix(m.MountPath, "/run/secrets") {
				if !m.ReadOnly {
					fault(where, "%s may write to %s", one.Name, m.MountPath)
				}
			}
		}
	}
}

// border: nobody is let in who is not named, and no way that the zone has is one that the outside has by mistake.
func border(file string, policies []network.NetworkPolicy) {
	outside := map[string]bool{}
	inside := map[string]int{}
	for _, p := range policies {
		where := "NetworkPolicy " + p.Name
		if len(p.Spec.PolicyTypes) != 2 {
			fault(where, "one direction is open")
		}
		for _, rule := range p.Spec.Ingress {
			if len(rule.From) == 0 || len(rule.Ports) == 0 {
				fault(where, "everybody is let in, or to every port")
			}
		}
		for _, rule := range p.Spec.Egress {
			if len(rule.To) == 0 || len(rule.Ports) == 0 {
				fault(where, "a rule reaches everybody, or every port")
			}
			for _, peer := range rule.To {
				if peer.IPBlock == nil {
					continue
				}
				if p.Namespace == "" {
					inside[peer.IPBlock.CIDR]++
				} else {
					outside[peer.IPBlock.CIDR] = true
				}
			}
		}
	}
	if len(policies) == 0 {
		fault(file, "no policy")
	}
	if len(policies) > 1 && (len(outside) != 1 || len(inside) != 2) {
		fault(file, "the zone has %d ways and the outside %d: expected two and one", len(inside), len(outside))
	}
	for cidr := range outside {
		if inside[cidr] != 1 {
			fault(file, "%s leads from outside to where the zone does not", cidr)
		}
	}
}
