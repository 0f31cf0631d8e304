{{- define "prefix" }}{{ if eq .Values.kind "helm" }}{{ .Release.Name }}-{{ end }}{{ end }}

{{- define "labels" -}}
{{- if eq .root.Values.kind "helm" -}}
{app.kubernetes.io/name: metallb, app.kubernetes.io/instance: {{ .root.Release.Name }}, app.kubernetes.io/component: {{ .component }}}
{{- else -}}
{app: metallb, component: {{ .component }}}
{{- end -}}
{{- end }}

{{- define "service" }}{namespace: {{ .Release.Namespace }}, name: metallb-webhook-service, path: {{ .path }}}{{ end }}
