{{- define "gvDetails" -}}
{{- $parts := list }}
{{- range .SortedTypes }}
  {{- if and (not .GVK) (markdownShouldRenderType .) (not (hasSuffix "Spec" .Name)) (not (hasSuffix "Status" .Name)) }}{{ $parts = append $parts . }}{{ end }}
{{- end }}
## {{ .GroupVersionString }}
{{ range .SortedTypes }}{{ if .GVK }}{{ template "kind" . }}{{ end }}{{ end }}
{{- if $parts }}
### Parts of {{ .Version }}
{{ range $parts }}{{ template "type" . }}{{ end }}{{ end }}
{{- end -}}
