//! Custom resources: discovered at once, checked by schema and CEL, shown with their columns.

use mesh_test::{Cluster, settings};

const BOATS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.harbour.example}
spec:
  group: harbour.example
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Sails, type: integer, jsonPath: .spec.sails}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [sails]
            x-kubernetes-validations:
            - {rule: "self.reefs <= self.sails", message: "more reefs than sails"}
            - {rule: "self.sails >= oldSelf.sails", message: "sails are never lost"}
            properties:
              sails: {type: integer, minimum: 1, description: How many sails the boat carries.}
              reefs: {type: integer, default: 0}
              rig: {type: string, enum: [lateen, gaff]}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"#;

fn boat(spec: &str) -> String {
    format!("apiVersion: harbour.example/v1\nkind: Boat\nmetadata: {{name: dhow}}\nspec: {spec}\n")
}

#[test]
fn a_crd_refuses_and_accepts_rightly() {
    for program in [settings::kubectl(), settings::kubectl_newest()] {
        let cluster = Cluster::start();
        let kubectl = cluster.kubectl(program);
        kubectl.apply(BOATS);
        kubectl.ok(&["wait", "--for=condition=Established", "crd/boats.harbour.example"]);

        let refused = kubectl.apply_refused(&boat("{sails: 1, reefs: 2}"));
        assert!(refused.contains("more reefs than sails"), "CEL: {refused}");
        let refused = kubectl.apply_refused(&boat("{sails: 0}"));
        assert!(refused.contains("should be greater than or equal to 1"), "minimum: {refused}");
        let refused = kubectl.apply_refused(&boat("{sails: 1, rig: square}"));
        assert!(refused.contains(r#"supported values: "lateen", "gaff""#), "enum: {refused}");
        let refused = kubectl.apply_refused(&boat("{sails: 1, mast: 1}"));
        assert!(refused.contains(r#"unknown field "spec.mast""#), "strict: {refused}");
        let refused = kubectl.apply_refused(&boat("{rig: gaff}"));
        assert!(refused.contains("spec.sails: Required value"), "required: {refused}");

        kubectl.apply(&boat("{sails: 2, rig: lateen}"));
        let reefs = kubectl.ok(&["get", "bt", "dhow", "-o", "jsonpath={.spec.reefs}"]);
        assert_eq!(reefs, "0", "the default was filled in");
        let refused = kubectl.apply_refused(&boat("{sails: 1}"));
        assert!(refused.contains("sails are never lost"), "transition rule: {refused}");
        let table = kubectl.ok(&["get", "boats"]);
        assert!(table.contains("SAILS"), "{table}");
        let text = kubectl.ok(&["explain", "boat.spec.sails"]);
        assert!(text.contains("How many sails the boat carries."), "{text}");

        kubectl.ok(&["delete", "crd", "boats.harbour.example", "--timeout=30s"]);
        let gone = kubectl.refused(&["get", "boats"]);
        // What it says depends on how fresh kubectl's own cache is.
        let words = ["the server doesn't have a resource type", "could not find the requested"];
        assert!(words.iter().any(|words| gone.contains(words)), "{gone}");
    }
}
