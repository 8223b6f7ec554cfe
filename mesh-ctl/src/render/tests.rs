//! Tests of rendering: the language and Helm's additions, against what the real Helm prints.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chart::Metadata;

fn chart(template: &str) -> Chart {
    let helpers = r#"
{{- define "name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "labels" }}
app: {{ include "name" . }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- define "loop" }}{{ include "loop" . }}{{ end }}
"#;
    Chart {
        metadata: Metadata {
            api_version: "v2".into(),
            name: "c".into(),
            version: "1.0.0".into(),
            app_version: "2.0".into(),
            description: String::new(),
            kind: "application".into(),
        },
        values: json!({
            "list": ["a", "b"], "map": {"k": "v", "z": 1}, "zero": 0, "on": true, "port": 15012,
            "labels": {"team": "x"},
        }),
        templates: BTreeMap::from([
            ("templates/_helpers.tpl".to_owned(), helpers.to_owned()),
            ("templates/t.yaml".to_owned(), template.to_owned()),
        ]),
        files: BTreeMap::from([("files/a.txt".to_owned(), "one\ntwo\n".to_owned())]),
    }
}

fn rendered(template: &str) -> Result<String, String> {
    let release =
        Release { name: "r".into(), namespace: "ns".into(), kube_version: "v1.33.0".into() };
    let all = render(&chart(template), &release, &json!({})).map_err(|error| error.to_string())?;
    assert_eq!(all.len(), 1, "partials are no documents");
    Ok(all[0].text.clone())
}

#[test]
fn templates_say_what_helm_says() {
    for (template, expected) in [
        ("{{ .Release.Name }}/{{ .Release.Namespace }}/{{ .Chart.AppVersion }}", "r/ns/2.0"),
        ("a\n{{- range .Values.list }}\n- {{ . }}\n{{- end }}\nb", "a\n- a\n- b\nb"),
        ("{{ range $i, $x := .Values.list }}{{ $i }}={{ $x }};{{ else }}none{{ end }}", "0=a;1=b;"),
        ("{{ range $k, $v := .Values.map }}{{ $k }}={{ $v }};{{ end }}", "k=v;z=1;"),
        ("{{ with .Values.none }}x{{ else with .Values.map }}{{ .k }}{{ end }}", "v"),
        ("{{ $x := 1 }}{{ if .Values.on }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("x{{ .Values.none }}y{{ .Values.none | default \"d\" }}", "xyd"),
        ("x:{{ include \"labels\" . | nindent 2 }}", "x:\n  \n  app: c\n  team: x"),
        ("{{ .Values.map | toYaml | indent 2 }}", "  k: v\n  z: 1"),
        ("{{ .Files.Get \"files/a.txt\" | splitList \"\\n\" | first }}", "one"),
        ("{{ .Files.Get \"none\" | quote }}", "\"\""),
        ("{{ range .Files.Lines \"files/a.txt\" }}<{{ . }}>{{ end }}", "<one><two>"),
        ("{{ .Capabilities.APIVersions.Has \"policy/v1\" }}", "true"),
        (
            "{{ if semverCompare \">=1.29-0\" .Capabilities.KubeVersion.Version }}new{{ end }}",
            "new",
        ),
        ("{{ .Template.Name }}|{{ .Template.BasePath }}", "c/templates/t.yaml|c/templates"),
        ("{{ tpl \"{{ .Values.map.k | upper }}{{ include \\\"name\\\" . }}\" . }}", "Vc"),
        ("{{ dig \"map\" \"none\" \"d\" .Values }}{{ dig \"map\" \"k\" \"d\" .Values }}", "dv"),
        (
            "{{ hasKey .Values \"zero\" }}{{ get .Values.map \"k\" }}{{ has \"a\" .Values.list }}",
            "truevtrue",
        ),
        ("{{ merge (dict \"a\" 1) (dict \"a\" 2 \"b\" 3) | toJson }}", "{\"a\":1,\"b\":3}"),
        (
            "{{ mergeOverwrite (dict \"a\" 1) (dict \"a\" 2 \"b\" 3) | toJson }}",
            "{\"a\":2,\"b\":3}",
        ),
        ("{{ ternary \"y\" \"n\" .Values.on }}{{ coalesce .Values.zero \"\" \"c\" }}", "yc"),
        (
            "{{ and .Values.on (not .Values.zero) (eq .Values.port 15012) (ne \"a\" \"b\") }}",
            "true",
        ),
        ("{{ printf \"%s-%d\" .Chart.Name .Values.port }}{{ trunc -2 \"abc\" }}", "c-15012bc"),
        ("{{ kindIs \"map\" .Values.map }}{{ kindIs \"slice\" .Values.list }}", "truetrue"),
        ("{{ (fromYaml \"a: {b: 1}\").a.b }}{{ fromYaml \"[\" | len }}", "11"),
        ("{{ \"a b\" | b64enc | b64dec | squote }}{{ list 1 2 | join \",\" }}", "'a b'1,2"),
        ("{{ empty (lookup \"v1\" \"Pod\" \"\" \"\") }}", "true"),
        ("{{- /* said to nobody */ -}}x{{ `{{ raw }}` }}", "x{{ raw }}"),
        ("{{ .Values.list | toJson | fromJsonArray | last }}{{ until 3 | toJson }}", "b[0,1,2]"),
        (
            "{{ omit .Values.map \"k\" | toJson }}{{ pick .Values.map \"k\" | toJson }}",
            "{\"z\":1}{\"k\":\"v\"}",
        ),
        (
            "{{ add 1 2 3 }}{{ sub 5 2 }}{{ div 7 2 }}{{ mod 7 2 }}{{ int \"12\" }}{{ max 1 9 }}",
            "6331129",
        ),
    ] {
        assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn failures_name_chart_template_and_cause() {
    for (template, wanted) in [
        ("{{ fail \"set x\" }}", "chart c: templates/t.yaml: execution error: set x"),
        ("{{ required \"hub is required\" .Values.hub }}", "hub is required"),
        ("\n{{ if }}", "c/templates/t.yaml:2"),
        ("{{ nosuch 1 }}", "nosuch"),
        ("{{ include \"none\" . }}", "none"),
        ("{{ include \"loop\" . }}", "deeper than 64"),
        ("{{ indent -1 \"a\" }}", "indent: -1 is negative"),
        ("{{ repeat 9999999 \"aaaaaaaaaa\" }}", "repeat: the text would be too long"),
        ("{{ div 1 0 }}", "div: division by zero"),
        ("{{ set .Values \"a\" 1 }}", "mergeOverwrite"),
        ("{{ .Files.Get 1 }}", "Files.Get takes one text"),
        ("{{ upper 1 }}", "upper: expected a string, not int"),
    ] {
        let error = rendered(template).unwrap_err();
        assert!(error.contains(wanted), "{template}: {error}");
    }
}

#[test]
fn users_values_reach_the_template() {
    let release =
        Release { name: "r".into(), namespace: "ns".into(), kube_version: "v1.33.0".into() };
    let text = |overrides| {
        render(&chart("{{ .Values.map | toJson }}"), &release, &overrides).unwrap()[0].text.clone()
    };
    assert_eq!(text(json!({"map": {"z": null, "n": [1]}})), r#"{"k":"v","n":[1]}"#);
}

proptest! {
    #[test]
    fn any_template_is_rendered_or_refused(
        template in "(\\{\\{-? ?|-?\\}\\}|if |range |with |end|define |include |\\.Values|\\.x|\\$|\\||\\(|\\)|\"a\"|[a-z0-9 :\n]|toYaml |nindent |printf |dict |:=){0,12}"
    ) {
        let _any = rendered(&template);
    }
}
