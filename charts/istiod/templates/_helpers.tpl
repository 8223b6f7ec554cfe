{{/* Name of the revision, as in label istio.io/rev. */}}
{{- define "istiod.revision" -}}
{{- .Values.revision | default "default" -}}
{{- end }}

{{/* What the revision's names end in. */}}
{{- define "istiod.suffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") }}-{{ .Values.revision }}{{ end -}}
{{- end }}

{{/* Name of the injection webhook's configuration; outside istio-system it names its namespace. */}}
{{- define "istiod.webhook" -}}
istio-sidecar-injector{{ include "istiod.suffix" . }}
{{- if and .Release.Namespace (ne .Release.Namespace "istio-system") }}-{{ .Release.Namespace }}{{ end -}}
{{- end }}

{{/* Labels of the revision's own objects. */}}
{{- define "istiod.labels" -}}
app: istiod
istio.io/rev: {{ include "istiod.revision" . | quote }}
{{ include "mesh.labels" . }}
{{- end }}

{{/* Name of the validator's objects. */}}
{{- define "galley.name" -}}
istio-galley{{ include "istiod.suffix" . }}
{{- end }}

{{/* Name of the configuration of the webhook that validates the revision's own objects. */}}
{{- define "galley.webhook" -}}
istio-validator{{ include "istiod.suffix" . }}-{{ .Release.Namespace }}
{{- end }}

{{/* Labels of the validator's objects. */}}
{{- define "galley.labels" -}}
app: istio-galley
istio: galley
istio.io/rev: {{ include "istiod.revision" . | quote }}
{{ include "mesh.labels" . }}
{{- end }}

{{/* Labels of the certificate authority's objects, which all revisions share. */}}
{{- define "citadel.labels" -}}
app: istio-ca
istio: citadel
{{ include "mesh.labels" . }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "mesh.labels" -}}
release: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: istio
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* A container image: include "mesh.image" (list . "pilot"). */}}
{{- define "mesh.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if contains "/" $image -}}
{{ $image }}
{{- else -}}
{{ required "global.hub is required" $root.Values.global.hub }}/{{ $image }}:{{ required "global.tag is required" $root.Values.global.tag }}
{{- end -}}
{{- end }}

{{/* Where discovery and certificates are served. */}}
{{- define "istiod.address" -}}
istiod{{ include "istiod.suffix" . }}.{{ .Release.Namespace }}.svc:15012
{{- end }}

{{/* The mesh's settings: the user's, and what follows from this release. */}}
{{- define "istiod.mesh" -}}
{{- $proxy := dict "discoveryAddress" (include "istiod.address" .) -}}
{{- if .Values.global.meshID -}}
{{- $proxy = merge $proxy (dict "meshId" .Values.global.meshID) -}}
{{- end -}}
{{- $computed := dict "rootNamespace" .Values.global.istioNamespace "defaultConfig" $proxy -}}
{{- merge (deepCopy .Values.meshConfig) $computed | toYaml -}}
{{- end }}

{{/* What no container of the control plane needs. */}}
{{- define "mesh.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsGroup: 1337
runAsNonRoot: true
runAsUser: 1337
{{- end }}

{{- define "mesh.podSecurity" -}}
fsGroup: 1337
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Variables that say which pod a container is in. */}}
{{- define "mesh.podEnv" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.namespace
- name: SERVICE_ACCOUNT
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: spec.serviceAccountName
{{- end }}

{{/* The last part of global.logging.level counts: default:info is info. */}}
{{- define "mesh.logLevel" -}}
{{- .Values.global.logging.level | default "default:info" | splitList "," | first | splitList ":" | last -}}
{{- end }}

{{/* Variables of every server. */}}
{{- define "mesh.env" -}}
{{ include "mesh.podEnv" . }}
- name: LOG_LEVEL
  value: {{ include "mesh.logLevel" . | quote }}
{{- if .Values.global.logAsJson }}
- name: LOG_FORMAT
  value: json
{{- end }}
- name: TRUST_DOMAIN
  value: {{ .Values.meshConfig.trustDomain | default "cluster.local" | quote }}
- name: CLUSTER_ID
  value: {{ .Values.global.multiCluster.clusterName | default "Kubernetes" | quote }}
{{- end }}

{{/* Scheduling of a server's pods: include "mesh.scheduling" (list . .Values.pilot). */}}
{{- define "mesh.scheduling" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- with $root.Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with $root.Values.global.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $part.affinity }}
affinity:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
