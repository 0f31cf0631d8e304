{{- define "gvList" -}}
# API reference

Generated from the types in api/ by `make generate`. Every kind is namespaced; `kubectl get metallb-all` lists those of a
namespace. Rules that need other resources are in [admission.md](admission.md).

{{ range . }}{{ $gv := . }}- {{ .GroupVersionString }}:
{{- range .SortedKinds }} [{{ . }}](#{{ . | lower }}-{{ $gv.Version }}){{ end }}
{{ end }}
{{ range . }}{{ template "gvDetails" . }}{{ end }}
{{- end -}}
