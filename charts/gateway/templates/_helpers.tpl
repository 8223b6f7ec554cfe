{{- define "gateway.name" -}}
{{- .Values.name | default .Release.Name -}}
{{- end }}

{{- define "gateway.account" -}}
{{- .Values.serviceAccount.name | default (include "gateway.name" .) -}}
{{- end }}

{{- define "gateway.suffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") }}-{{ .Values.revision }}{{ end -}}
{{- end }}

{{/* What Services and Gateway objects select by; the release may say otherwise in labels. */}}
{{- define "gateway.selector" -}}
app: {{ .Values.labels.app | default (include "gateway.name" .) | quote }}
istio: {{ .Values.labels.istio | default (include "gateway.name" . | trimPrefix "istio-") | quote }}
{{- end }}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
istio.io/rev: {{ .Values.revision | default "default" | quote }}
release: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: istio
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with omit .Values.labels "app" "istio" }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where discovery is served. */}}
{{- define "gateway.istiod" -}}
istiod{{ include "gateway.suffix" . }}.{{ .Values.global.istioNamespace }}.svc:15012
{{- end }}

{{/* The proxy's settings in JSON. */}}
{{- define "gateway.proxyConfig" -}}
{{- $config := dict "discoveryAddress" (include "gateway.istiod" .) -}}
{{- if .Values.global.meshID -}}
{{- $config = merge $config (dict "meshId" .Values.global.meshID) -}}
{{- end -}}
{{- merge (deepCopy (.Values.meshConfig.defaultConfig | default dict)) $config | toJson -}}
{{- end }}
