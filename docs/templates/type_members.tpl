{{- define "type_members" -}}{{ markdownRenderFieldDoc .Doc }}{{- end -}}
