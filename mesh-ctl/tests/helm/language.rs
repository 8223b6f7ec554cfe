//! The template language and Helm's functions, beside the real Helm.

use std::fmt::Write as _;

use mesh_ctl::chart::Charts;
use mesh_ctl::render::{self, Release};
use serde_json::{Value, json};

use crate::server::Helm;
use crate::{objects, same};

const VALUES: &str = r#"
enabled: true
disabled: false
zero: 0
port: 15012
big: 1500000
half: 0.5
whole: 1.0
text: Some Text
multi: |
  one
  two
empty: ""
tricky: "yes: #1 'x' \"y\" <b>&"
list: [b, a, c, a]
numbers: [3, 1, 2]
map: {z: 1, k: v, nested: {deep: [1, {x: y}]}}
nothing: null
texts: ["1.0", "true", "null", "0x1", "12e3", "~", "- a", "a: b", "", " x ", "2001-01-01"]
"#;

/// Templates that render to text; each is a named template of its own.
///
/// Numbers are small here: all numbers of values are floating ones to Helm, which writes those
/// from a million on as `1.5e+06`; here whole numbers stay whole, also in what `kindOf` says.
const CASES: &[&str] = &[
    "{{ .Values.port }} {{ .Values.half }} {{ .Values.whole }} {{ .Values.enabled }}",
    "{{ .Values.list }} {{ .Values.map }} {{ .Values.none }} {{ .Values.empty }}|",
    "{{ toYaml .Values.map }}",
    "{{ toYaml .Values.list }}",
    "{{ toYaml .Values.texts }}",
    "{{ list .Values.tricky .Values.big .Values.half .Values.multi | toYaml }}",
    "{{ toJson .Values.map }} {{ toJson .Values.tricky }} {{ toRawJson .Values.tricky }}",
    "{{ toPrettyJson .Values.map }} {{ toJson .Values.big }} {{ toJson .Values.half }}",
    "{{ dict \"n\" nil \"e\" dict \"l\" list | toYaml }}",
    "{{ dict \"n\" nil | toJson }}",
    "{{ .Values.text | quote }} {{ .Values.tricky | quote }} {{ .Values.tricky | squote }}",
    "{{ .Values.port | quote }} {{ .Values.enabled | quote }} {{ .Values.none | quote }}",
    "{{ .Values.text | upper | lower | trunc 4 }} {{ trunc -3 .Values.text }} {{ trim \" a \" }}",
    "{{ .Values.text | nospace }} {{ .Values.text | replace \" \" \"-\" }} {{ repeat 3 \"ab\" }}",
    "{{ trimAll \"-\" \"--a-b--\" }} {{ trimSuffix \"-\" \"a--\" }} {{ trimPrefix \"-\" \"--a\" }}",
    "{{ contains \"me\" .Values.text }} {{ hasPrefix \"So\" .Values.text }} {{ hasSuffix \"x\" \"y\" }}",
    "{{ substr 1 3 \"abcdef\" }} {{ substr -1 2 \"abcdef\" }} {{ cat 1 \"a\" .Values.enabled }}",
    "{{ indent 2 .Values.multi }}|{{ nindent 4 \"a\\nb\" }}|",
    "{{ splitList \",\" \"a,b,,c\" }} {{ (split \"/\" \"a/b\")._1 }} {{ join \"-\" .Values.list }}",
    "{{ join \",\" .Values.numbers }} {{ toStrings .Values.numbers }} {{ toString .Values.port }}",
    "{{ first .Values.list }} {{ last .Values.list }} {{ rest .Values.list }} {{ initial .Values.list }}",
    "{{ uniq .Values.list }} {{ sortAlpha .Values.list }} {{ reverse .Values.list }} {{ len .Values.list }}",
    "{{ append .Values.list \"x\" }} {{ prepend .Values.list \"x\" }} {{ concat .Values.list (list 1 2) }}",
    "{{ has \"a\" .Values.list }} {{ without .Values.list \"a\" }} {{ compact (list \"\" \"a\" 0 1) }}",
    "{{ index .Values.list 1 }} {{ index .Values.map \"nested\" \"deep\" 1 \"x\" }} {{ slice .Values.list 1 3 }}",
    "{{ keys .Values.map | sortAlpha }} {{ values (dict \"a\" 1) }} {{ get .Values.map \"k\" }}{{ get .Values.map \"q\" }}",
    "{{ pick .Values.map \"k\" \"q\" }} {{ omit .Values.map \"nested\" }} {{ pluck \"k\" .Values.map (dict \"k\" 2) }}",
    "{{ merge (dict \"a\" 1 \"n\" (dict \"x\" 1)) (dict \"a\" 2 \"b\" 3 \"n\" (dict \"x\" 2 \"y\" 3)) | toJson }}",
    "{{ mergeOverwrite (dict \"a\" 1 \"n\" (dict \"x\" 1)) (dict \"a\" 2 \"n\" (dict \"y\" 3)) | toJson }}",
    "{{ merge (dict \"a\" \"\" \"b\" false) (dict \"a\" \"x\" \"b\" true) | toJson }}",
    "{{ mergeOverwrite (dict \"a\" \"x\" \"b\" true) (dict \"a\" \"\" \"b\" false) | toJson }}",
    "{{ dig \"nested\" \"none\" \"d\" .Values.map }} {{ hasKey .Values \"zero\" }} {{ hasKey .Values \"nothing\" }}",
    "{{ deepCopy .Values.map | toJson }} {{ dict \"b\" 1 \"a\" 2 }}",
    "{{ default \"d\" .Values.empty }} {{ default \"d\" .Values.zero }} {{ default \"d\" .Values.disabled }} {{ default 5 .Values.none }}",
    "{{ empty .Values.zero }} {{ empty .Values.list }} {{ coalesce .Values.none 0 \"\" \"x\" }}",
    "{{ ternary \"a\" \"b\" .Values.enabled }} {{ all 1 \"\" }} {{ any 0 \"a\" }}",
    "{{ kindOf .Values.enabled }} {{ kindOf .Values.map }} {{ kindOf .Values.list }} {{ kindOf \"\" }}",
    "{{ kindIs \"invalid\" .Values.none }}",
    "{{ int .Values.big }} {{ int64 \"12\" }} {{ float64 \"1.5\" }} {{ atoi \"7\" }} {{ int .Values.half }} {{ int \"x\" }}",
    "{{ add 1 2 3 }} {{ sub 5 2 }} {{ mul 2 3 4 }} {{ div 7 2 }} {{ mod 7 2 }} {{ add1 .Values.port }} {{ max 1 9 3 }} {{ min 4 2 }}",
    "{{ floor 1.7 }} {{ ceil 1.2 }} {{ until 3 }} {{ add .Values.half 1 }}",
    "{{ and 1 0 }} {{ or 0 \"x\" }} {{ not .Values.enabled }} {{ and .Values.enabled .Values.text }} {{ or .Values.empty .Values.zero }}",
    "{{ eq .Values.text \"a\" \"Some Text\" }} {{ ne 1 2 }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1.5 0.5 }} {{ ge \"b\" \"a\" }}",
    "{{ printf \"%s|%5s|%-5s|%05d|%v|%q|%x|%t|%%\" \"a\" \"b\" \"c\" 42 .Values.list \"q\" 255 true }}",
    "{{ printf \"%v %.2f %s\" .Values.port .Values.half .Values.text }}",
    "{{ printf \"%d\" (int .Values.port) }} {{ print \"a\" 1 2 \"b\" }} {{ println \"x\" }}|",
    "{{ html .Values.tricky }} {{ urlquery \"a b&c\" }} {{ js \"a'b\" }}",
    "{{ b64enc .Values.tricky }} {{ b64dec \"aGkK\" }}",
    "{{ fromYaml \"a: {b: [1, x]}\" | toJson }} {{ fromJson \"{\\\"a\\\": 1.5}\" | toJson }}",
    "{{ fromYamlArray \"[1, a]\" | toJson }} {{ fromJsonArray \"[true]\" | toJson }}",
    "{{ (fromYaml \"a: [\").Error | empty }} {{ fromYaml \"x: 010\\nw: yes\\nz: 1_000\" | toJson }}",
    "{{ semverCompare \">=1.29-0\" .Capabilities.KubeVersion.Version }} {{ semverCompare \"^1.2.0\" \"1.9.9\" }} {{ semverCompare \"~1.2\" \"1.3.0\" }}",
    "{{ .Capabilities.KubeVersion.Major }} {{ .Capabilities.KubeVersion.Minor }} {{ .Capabilities.KubeVersion.Version }}",
    "{{ .Release.Name }} {{ .Release.Namespace }} {{ .Release.Service }} {{ .Release.Revision }} {{ .Release.IsInstall }} {{ .Release.IsUpgrade }}",
    "{{ .Chart.Name }} {{ .Chart.Version }} {{ .Chart.AppVersion }} {{ .Chart.Type }} {{ .Chart.Description }}",
    "{{ .Template.Name }} {{ .Template.BasePath }}",
    "{{ .Files.Get \"files/a.txt\" }}|{{ .Files.Get \"none\" }}|{{ range .Files.Lines \"files/a.txt\" }}<{{ . }}>{{ end }}",
    "{{ tpl \"{{ .Values.text | upper }} {{ include \\\"helper\\\" . }}\" . }} {{ include \"helper\" . | quote }}",
    "{{ template \"helper\" . }} {{ with .Values.map }}{{ .k }}{{ $.Values.port }}{{ end }}",
    "{{ range $i, $x := .Values.list }}{{ $i }}={{ $x }};{{ end }} {{ range $k, $v := .Values.map }}{{ $k }},{{ end }}",
    "{{ range .Values.none }}x{{ else }}none{{ end }} {{ range until 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if gt . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
    "{{ if .Values.zero }}a{{ else if .Values.enabled }}b{{ else }}c{{ end }} {{ with .Values.none }}x{{ else with .Values.map }}{{ .k }}{{ end }}",
    "{{ $x := 1 }}{{ if .Values.enabled }}{{ $x = 2 }}{{ end }}{{ $x }} {{ $y := list }}{{ range .Values.numbers }}{{ $y = append $y . }}{{ end }}{{ $y }}",
    "a  {{- \" b \" -}}  c {{- /* said to nobody */ -}} d\n\n  {{- `{{ raw }}` }}",
    "{{ lookup \"v1\" \"Pod\" \"ns\" \"p\" }} {{ lookup \"v1\" \"Pod\" \"\" \"\" | empty }}",
    "{{ (dict \"a\" (dict \"b\" 7)).a.b }} {{ (list 1 2 3) | len }} {{ (.Values.text | upper) | lower }}",
    "{{ 1.0 }} {{ 1e3 }} {{ 0x1F }} {{ 'a' }} {{ true }} {{ \"\\u00e9\\t\" }} {{ 1000000 }}",
    "{{ .Values.map.nested.deep }} {{ .Values.map.none }}| {{ (.Values.none).x }}|",
    "{{ required \"must be\" .Values.text }} {{ len \"äb\" }} {{ index \"abc\" 1 }}",
];

/// Templates both refuse.
const REFUSED: &[&str] = &[
    "{{ fail \"no\" }}",
    "{{ required \"must be set\" .Values.none }}",
    "{{ .Values.text.field }}",
    "{{ nosuch 1 }}",
    "{{ include \"nosuch\" . }}",
    "{{ if }}{{ end }}",
    "{{ index .Values.list 9 }}",
    "{{ lt 1 \"a\" }}",
    "{{ semverCompare \"bad\" \"1.0.0\" }}",
];

fn template(cases: &[&str]) -> String {
    let mut text = "{{ define \"helper\" }}<{{ .Release.Name }}>{{ end -}}\n".to_owned();
    for (index, case) in cases.iter().enumerate() {
        writeln!(text, "{{{{ define \"case{index}\" }}}}{case}{{{{ end -}}}}").unwrap();
    }
    text.push_str("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cases\ndata:\n");
    for index in 0..cases.len() {
        writeln!(text, "  \"{index}\": {{{{ include \"case{index}\" . | toJson }}}}").unwrap();
    }
    text
}

/// What we and Helm make of cases.
async fn rendered(helm: &mut Helm, cases: &[&str]) -> [Result<Value, String>; 2] {
    let charts = tempfile::tempdir().unwrap();
    let dir = charts.path().join("c");
    for (path, text) in [
        (
            "Chart.yaml",
            "apiVersion: v2\nname: c\nversion: 1.2.3\nappVersion: \"2.0\"\ntype: application\ndescription: d\n",
        ),
        ("values.yaml", VALUES),
        ("files/a.txt", "one\ntwo\n"),
        ("templates/cases.yaml", &template(cases)),
    ] {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let chart = Charts::read(charts.path()).unwrap().chart("c").unwrap();
    let release =
        Release { name: "r".into(), namespace: "ns".into(), kube_version: "v1.33.0".into() };
    let ours = render::render(&chart, &release, &json!({}))
        .map(|all| all.into_iter().map(|one| one.text).collect::<String>())
        .map_err(|error| error.to_string());
    let theirs = helm.template(&dir, ("r", "ns"), &json!({})).await;
    // Helm takes it out of what it renders, but not where `toJson` has escaped it.
    let theirs = theirs.map(|text| text.replace("\\u003cno value\\u003e", ""));
    [ours, theirs].map(|text| {
        let mut all = objects(&text?);
        Ok(all.pop_first().expect("the ConfigMap").1["data"].take())
    })
}

#[tokio::test]
async fn templates_render_as_helm_renders_them() {
    let mut helm = Helm::start().await;
    let [ours, theirs] = rendered(&mut helm, CASES).await;
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let differ: Vec<_> = CASES
        .iter()
        .enumerate()
        .map(|(index, case)| (case, &ours[index.to_string()], &theirs[index.to_string()]))
        .filter(|(_, ours, theirs)| !same(ours, theirs))
        .map(|(case, ours, theirs)| format!("{case}\n  ours  {ours}\n  Helm  {theirs}"))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[tokio::test]
async fn what_helm_refuses_is_refused() {
    let mut helm = Helm::start().await;
    for case in REFUSED {
        let [ours, theirs] = rendered(&mut helm, &[case]).await;
        assert!(theirs.is_err(), "Helm takes {case}");
        assert!(ours.is_err(), "{case} was rendered: {ours:?}");
    }
}
