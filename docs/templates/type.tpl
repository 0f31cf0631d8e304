{{- define "rules" -}}
{{- range . }}{{ if not (or (hasPrefix "Optional" .) (hasPrefix "Format" .) (contains "XValidation" .)) }}{{ replace "4.294967295e+09" "4294967295" . | markdownRenderFieldDoc }}<br />{{ end }}{{ end -}}
{{- end -}}
{{- define "fields" -}}
{{- $prefix := .prefix }}{{ range .members -}}
| `{{ $prefix }}{{ .Name }}`<br />{{ markdownRenderType .Type }} | {{ template "type_members" . }} | {{ .Default }} | {{ template "rules" .Validation }} |
{{ end }}
{{- end -}}
{{- define "head" -}}
| field | meaning | default | rules |
| --- | --- | --- | --- |
{{ end -}}
{{- define "kind" }}
### {{ .Name }} {{ .GVK.Version }}

{{ .Doc }}

{{ template "head" }}
{{- range .Members }}{{ if or (eq .Name "spec") (eq .Name "status") }}{{ template "fields" dict "prefix" (print .Name ".") "members" .Type.Members }}{{ end }}{{ end }}
{{- range .Members }}{{ if and (eq .Name "spec") .Type.Validation }}
Of the whole specification: {{ template "rules" .Type.Validation }}
{{ end }}{{ end }}
{{- end -}}
{{- define "type" }}
#### {{ .Name }}

{{ .Doc }}
{{ if .EnumValues }}
One of{{ range .EnumValues }} `{{ .Name }}`{{ end }}.
{{ else if .IsAlias }}
A {{ markdownRenderType .UnderlyingType }}. {{ template "rules" .Validation }}
{{ end }}
{{- if .Members }}
{{ template "head" }}
{{- template "fields" dict "prefix" "" "members" .Members }}
{{- end }}
{{- end -}}
