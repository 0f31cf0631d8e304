{{/* The one image. A tag that is a digest is one. */}}
{{- define "metallb.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{ .Values.image.repository }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag }}
{{- end }}

{{/* Fails with everything in the values that is refused, each with what to write instead. */}}
{{- define "metallb.refuse" -}}
{{- $said := list -}}
{{- range $refused := (.Files.Get "files/keys.yaml" | fromYaml).refused -}}
  {{- $value := $.Values -}}
  {{- range $part := splitList "." $refused.key -}}
    {{- if kindIs "map" $value -}}{{- $value = get $value $part -}}{{- else -}}{{- $value = "" -}}{{- end -}}
  {{- end -}}
  {{- $json := toJson $value -}}
  {{- if not (has $json (list `""` "null" "{}" "[]")) -}}
    {{- $taken := false -}}
    {{- range $refused.but -}}{{- if eq (toJson .) $json -}}{{- $taken = true -}}{{- end -}}{{- end -}}
    {{- if not $taken -}}{{- $said = append $said (printf "* %s: %s" $refused.key $refused.instead) -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- if $said -}}{{- fail (printf "\n%s\n(docs/helm.md has all keys)" (join "\n" $said)) -}}{{- end -}}
{{- end }}

{{/* Fails in an upgrade of a release of MetalLB's chart: that has the CRDs among its templates, and Helm would delete them, with all
     pools, since this chart has not. Helm finds no objects, and this says nothing, where it does not ask a cluster. */}}
{{- define "metallb.keepCRDs" -}}
{{- if .Release.IsUpgrade -}}
  {{- $crd := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "ipaddresspools.metallb.io" -}}
  {{- $of := ($crd.metadata).annotations | default dict -}}
  {{- if and (eq (get $of "meta.helm.sh/release-name") .Release.Name) (eq (get $of "meta.helm.sh/release-namespace") .Release.Namespace) -}}
    {{- fail (printf "\nThe release %s is one of MetalLB's chart, to which the CRDs belong: this upgrade would delete them, and with them all pools. See \"From a running installation\" in docs/coming-from-metallb.md." .Release.Name) -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* The level of controller and speakers: where they have one each, the one that says more. */}}
{{- define "metallb.logLevel" -}}
{{- $said := list (.Values.controller).logLevel (.Values.speaker).logLevel | compact -}}
{{- $found := "" -}}
{{- range list "all" "debug" "info" "warn" "error" "none" -}}{{- if and (not $found) (has . $said) -}}{{- $found = . -}}{{- end -}}{{- end -}}
{{- $found | default .Values.logLevel -}}
{{- end }}

{{/* Both workloads' part of a MetalLB specification. */}}
{{- define "metallb.workload" -}}
{{- $out := dict -}}
{{- range $to, $from := dict "priorityClassName" "priorityClassName" "runtimeClassName" "runtimeClassName" "annotations" "podAnnotations" "affinity" "affinity" "resources" "resources" "replicas" "replicas" "updateStrategy" "updateStrategy" -}}
  {{- with get $ $from -}}{{- $_ := set $out $to . -}}{{- end -}}
{{- end -}}
{{- toJson $out -}}
{{- end }}

{{/* The specification of the MetalLB resource, as JSON. */}}
{{- define "metallb.spec" -}}
{{- $c := .Values.controller -}}{{- $s := .Values.speaker -}}
{{- $tls := .Values.tls | default dict -}}{{- $prometheus := .Values.prometheus | default dict -}}
{{- $metrics := dict "port" $prometheus.metricsPort "tlsMinVersion" $tls.minVersion "tlsCipherSuites" (splitList "," ($tls.cipherSuites | default "") | compact) -}}
{{- if kindIs "invalid" $metrics.port -}}{{- $_ := unset $metrics "port" -}}{{- end -}}
{{- range list "tlsMinVersion" "tlsCipherSuites" -}}{{- if not (get $metrics .) -}}{{- $_ := unset $metrics . -}}{{- end -}}{{- end -}}
{{- $all := dict "logLevel" (include "metallb.logLevel" .) "loadBalancerClass" .Values.loadBalancerClass
      "nodeSelector" $s.nodeSelector "speakerTolerations" $s.tolerations
      "controllerNodeSelector" $c.nodeSelector "controllerTolerations" $c.tolerations
      "controllerConfig" (include "metallb.workload" $c | fromJson) "speakerConfig" (include "metallb.workload" $s | fromJson)
      "metrics" $metrics -}}
{{- range $key, $value := $all -}}{{- if not $value -}}{{- $_ := unset $all $key -}}{{- end -}}{{- end -}}
{{- mergeOverwrite $all (deepCopy (.Values.metallb.spec | default dict)) | toJson -}}
{{- end }}

{{/* Metadata of a hook's object: dict "name" "hook" "weight" "root". */}}
{{- define "metallb.hookMetadata" -}}
name: {{ .name }}
labels:
  app.kubernetes.io/name: metallb-chart
annotations:
  helm.sh/hook: {{ .hook }}
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Metadata of a hook's object in the release's namespace. */}}
{{- define "metallb.hookMetadataLocal" -}}
namespace: {{ .root.Release.Namespace }}
{{ include "metallb.hookMetadata" . }}
{{- end }}

{{/* A hook's ServiceAccount with its rights: dict "name" "hook" "root" "rules" "clusterRules", the last two optional. */}}
{{- define "metallb.hookAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "metallb.hookMetadataLocal" (merge (dict "weight" -20) .) | nindent 2 }}
{{- $of := . }}
{{- range $prefix, $rules := dict "" .rules "Cluster" .clusterRules }}
{{- if $rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $prefix }}Role
metadata: {{- include (ternary "metallb.hookMetadata" "metallb.hookMetadataLocal" (eq $prefix "Cluster")) (merge (dict "weight" -20) $of) | nindent 2 }}
rules: {{- toYaml $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $prefix }}RoleBinding
metadata: {{- include (ternary "metallb.hookMetadata" "metallb.hookMetadataLocal" (eq $prefix "Cluster")) (merge (dict "weight" -10) $of) | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $prefix }}Role, name: {{ $of.name }}}
subjects:
  - {kind: ServiceAccount, name: {{ $of.name }}, namespace: {{ $of.root.Release.Namespace }}}
{{- end }}
{{- end }}
{{- end }}

{{/* A hook's pod: dict "name" "args" "root". It is not the operator's: nothing selects it. */}}
{{- define "metallb.hookPod" -}}
serviceAccountName: {{ .name }}
restartPolicy: Never
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector: {{- merge (dict "kubernetes.io/os" "linux") (.root.Values.operator.nodeSelector | default dict) | toYaml | nindent 2 }}
{{- with .root.Values.operator.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65534
  runAsGroup: 65534
  seccompProfile: {type: RuntimeDefault}
containers:
  - name: metallb
    image: {{ include "metallb.image" .root | quote }}
    {{- with .root.Values.image.pullPolicy }}
    imagePullPolicy: {{ . }}
    {{- end }}
    args: {{- toYaml .args | nindent 6 }}
    env:
      - name: POD_NAMESPACE
        valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    resources:
      requests: {cpu: 10m, memory: 32Mi}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* A hook's Job: dict "name" "hook" "args" "root". Its command repeats what may pass, so that its failure is
     final; the Job is for a pod that is lost. */}}
{{- define "metallb.hookJob" -}}
apiVersion: batch/v1
kind: Job
metadata: {{- include "metallb.hookMetadataLocal" (merge (dict "weight" 0) .) | nindent 2 }}
    helm.sh/hook-output-log-policy: hook-failed
spec:
  backoffLimit: 2
  podFailurePolicy:
    rules:
      - action: FailJob
        onExitCodes: {operator: NotIn, values: [0]}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: metallb-chart
    spec: {{- include "metallb.hookPod" . | nindent 6 }}
{{- end }}
