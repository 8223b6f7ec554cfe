//! `meshctl kube-inject`.

mod manifest;

use std::io::Read;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use mesh_api::mesh_config::{MeshConfig, effective};
use pilot_model::inject::Config;

use crate::cmd::block_on;
use crate::error::Error;
use crate::{kubeconfig, output, settings};

/// Largest manifest that is read.
const MAX_MANIFEST: u64 = 64 << 20;

/// Options of `meshctl kube-inject`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  meshctl kube-inject -f app.yaml | kubectl apply -f -
  kubectl get deployment web -o yaml | meshctl kube-inject -f - | kubectl apply -f -
  meshctl kube-inject -f app.yaml --injectConfigFile config.yaml --meshConfigFile mesh.yaml \\
    --valuesFile values.json -o injected.yaml")]
pub struct Args {
    /// The manifests; - for standard input.
    #[arg(short, long)]
    filename: PathBuf,
    /// Where the result goes [default: standard output].
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// The injector's settings instead of key `config` of ConfigMap istio-sidecar-injector.
    #[arg(long = "injectConfigFile", alias = "inject-config-file")]
    inject_config_file: Option<PathBuf>,
    /// The mesh's settings instead of key `mesh` of ConfigMap istio.
    #[arg(long = "meshConfigFile", alias = "mesh-config-file")]
    mesh_config_file: Option<PathBuf>,
    /// The chart's values instead of key `values` of ConfigMap istio-sidecar-injector.
    #[arg(long = "valuesFile", alias = "values-file")]
    values_file: Option<PathBuf>,
    /// Namespace of objects that name none.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Namespace of the control plane.
    #[arg(short = 'i', long = "istioNamespace", alias = "istio-namespace")]
    #[arg(default_value = "istio-system")]
    istio_namespace: String,
    /// Revision of the control plane.
    #[arg(short, long)]
    revision: Option<String>,
    /// Kubeconfig of the cluster [default: KUBECONFIG, else ~/.kube/config].
    #[arg(short = 'c', long)]
    kubeconfig: Option<PathBuf>,
}

/// The texts that injection is steered by.
struct Texts {
    config: String,
    values: String,
    mesh: String,
}

/// Injects and prints.
pub fn run(args: &Args) -> Result<(), Error> {
    let manifest = read(&args.filename)?;
    let texts = args.texts()?;
    let config = Config::parse(&texts.config, &texts.values)
        .map_err(|error| Error::Manifest(error.to_string()))?;
    let mesh = mesh_config(&texts.mesh)?;
    let injector = manifest::Injector { config, mesh, namespace: args.namespace.clone() };
    let injected = injector
        .inject(&manifest)
        .map_err(|error| Error::Manifest(format!("{}: {error}", args.filename.display())))?;
    for note in &injected.notes {
        output::progress(note);
    }
    match &args.output {
        None => output::raw(injected.text.as_bytes()),
        Some(path) => std::fs::write(path, &injected.text)
            .map_err(|error| Error::file(format!("cannot write {}", path.display()), error))?,
    }
    Ok(())
}

impl Args {
    /// From the files that are named, the rest from the cluster.
    fn texts(&self) -> Result<Texts, Error> {
        let file = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
        let config = file(&self.inject_config_file)?;
        let values = file(&self.values_file)?;
        let mesh = file(&self.mesh_config_file)?;
        if let (Some(config), Some(values), Some(mesh)) = (&config, &values, &mesh) {
            let (config, values, mesh) = (config.clone(), values.clone(), mesh.clone());
            return Ok(Texts { config, values, mesh });
        }
        let kubeconfig = self.kubeconfig.clone().map_or_else(settings::kubeconfig, Ok)?;
        let from_cluster = block_on(self.fetch(&kubeconfig))?;
        Ok(Texts {
            config: config.unwrap_or(from_cluster.config),
            values: values.unwrap_or(from_cluster.values),
            mesh: mesh.unwrap_or(from_cluster.mesh),
        })
    }

    async fn fetch(&self, kubeconfig: &Path) -> Result<Texts, Error> {
        let client = kubeconfig::client(kubeconfig).await?;
        let api: Api<ConfigMap> = Api::namespaced(client, &self.istio_namespace);
        let revision = self.revision.as_deref().filter(|revision| *revision != "default");
        let suffix = revision.map(|revision| format!("-{revision}")).unwrap_or_default();
        let get = async |name: String| {
            let what = format!(
                "read ConfigMap {name} in {} (install the mesh, or name --injectConfigFile, \
                 --valuesFile and --meshConfigFile)",
                self.istio_namespace
            );
            api.get(&name).await.map_err(|error| Error::api(what, error))
        };
        let injector = get(format!("istio-sidecar-injector{suffix}")).await?;
        let mesh = get(format!("istio{suffix}")).await?;
        let key = |map: &ConfigMap, key: &str| {
            map.data.as_ref().and_then(|data| data.get(key)).cloned().unwrap_or_default()
        };
        Ok(Texts {
            config: key(&injector, "config"),
            values: key(&injector, "values"),
            mesh: key(&mesh, "mesh"),
        })
    }
}

fn mesh_config(text: &str) -> Result<MeshConfig, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Manifest(format!("mesh config: {error}"));
    let document = local_model::yaml::document(text).map_err(|error| wrong(&error))?;
    effective([document]).map_err(|error| wrong(&error))
}

/// A file, or standard input for `-`.
fn read(path: &Path) -> Result<String, Error> {
    let failed = |error| Error::file(format!("cannot read {}", path.display()), error);
    let mut text = String::new();
    let length = if path == Path::new("-") {
        std::io::stdin().take(MAX_MANIFEST + 1).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_MANIFEST + 1).read_to_string(&mut text)
    };
    let length = length.map_err(failed)? as u64;
    if length > MAX_MANIFEST {
        return Err(Error::Usage(format!("{} is larger than 64 MiB", path.display())));
    }
    Ok(text)
}
