{{/* Name of everything: the release's, if it says what it is. */}}
{{- define "trainmaster.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the operator's pods are found by; never changes. */}}
{{- define "trainmaster.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of an object; its component is said by (list . "component"). */}}
{{- define "trainmaster.labelsOf" -}}
{{- $root := index . 0 }}
{{- with $root.Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/part-of: trainmaster
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "trainmaster.labels" -}}
{{- include "trainmaster.labelsOf" (list . "operator") }}
{{- end }}

{{/* REPOSITORY@DIGEST or REPOSITORY:TAG of (list . image). */}}
{{- define "trainmaster.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{/* The Secret with the report server's certificate. */}}
{{- define "trainmaster.tlsSecret" -}}
{{- if eq .Values.tls.mode "Secret" }}
{{- required "tls.mode is Secret: say in tls.secretName which one, with the keys tls.crt and tls.key" .Values.tls.secretName }}
{{- else if .Values.tls.secretName }}
{{- .Values.tls.secretName }}
{{- else }}
{{- printf "%s-report-tls" (include "trainmaster.fullname" .) }}
{{- end }}
{{- end }}

{{/* The user that the operator is to the API server. */}}
{{- define "trainmaster.user" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "trainmaster.fullname" .) }}
{{- end }}

{{- define "trainmaster.subjects" -}}
- kind: ServiceAccount
  name: {{ include "trainmaster.fullname" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Where `helm test` trains. */}}
{{- define "trainmaster.testNamespace" -}}
{{- if .Values.test.namespace }}
{{- if and .Values.namespaces (not (has .Values.test.namespace .Values.namespaces)) }}
{{- fail (printf "test.namespace is %q, which is not served: name one of namespaces, or leave it empty" .Values.test.namespace) }}
{{- end }}
{{- .Values.test.namespace }}
{{- else if .Values.namespaces }}
{{- first .Values.namespaces }}
{{- else }}
{{- .Release.Namespace }}
{{- end }}
{{- end }}

{{/* Of every container of ours. */}}
{{- define "trainmaster.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Of every pod of ours. 65532 owns nothing. */}}
{{- define "trainmaster.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Which series are this installation's. */}}
{{- define "trainmaster.series" -}}
{{- printf "namespace=%q,job=%q" .Release.Namespace (include "trainmaster.fullname" .) }}
{{- end }}
