{{- define "douane.labels" -}}
app.kubernetes.io/name: douane
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "douane.chart" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* A digest names bytes, a tag names what somebody says. */ -}}
{{- define "douane.image" -}}
{{- with .image -}}
{{- $repository := required "an image needs a repository" .repository -}}
{{- if .digest }}{{ $repository }}@{{ .digest }}{{ else }}{{ $repository }}:{{ .tag | default $.version }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "douane.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "douane.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities: { drop: [ALL] }
{{- end }}

{{- /* A side of the border, as rules of egress. Without peers nothing is reached: an empty `to` would be everybody. */ -}}
{{- define "douane.side" -}}
{{- if .to }}
- to: {{- toYaml .to | nindent 4 }}
  ports:
  {{- range .ports }}
    - { protocol: TCP, port: {{ . }} }
  {{- end }}
{{- end }}
{{- end }}

{{- define "douane.dns" -}}
- to:
    - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ .namespace | quote }} } }
      podSelector: { matchLabels: {{ toJson .podLabels }} }
  ports:
    - { protocol: UDP, port: 53 }
    - { protocol: TCP, port: 53 }
{{- end }}

{{- define "douane.volumes" -}}
- name: place
  configMap: { name: {{ .Values.place.configMap | quote }}, items: {{ toJson .Values.place.items }} }
- name: temporary
  emptyDir: { medium: Memory, sizeLimit: 64Mi }
{{- range $name, $one := .Values.secrets }}
- name: secret-{{ $name }}
  secret: { secretName: {{ $one.secret | quote }}, defaultMode: 0440 }
{{- end }}
{{- end }}

{{- define "douane.mounts" -}}
- { name: place, mountPath: /etc/douane, readOnly: true }
- { name: state, mountPath: /var/lib/douane }
- { name: temporary, mountPath: /tmp }
{{- range $name, $one := .Values.secrets }}
- { name: secret-{{ $name }}, mountPath: /run/secrets/douane/{{ $name }}, readOnly: true }
{{- end }}
{{- end }}
