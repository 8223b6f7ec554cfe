//! `meshctl version`: of this program, of the control plane and of the proxies.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

use super::{block_on, proxy_status};
use crate::control_plane::{ControlPlane, Options};
use crate::error::Error;
use crate::output::{self, Format};
use crate::proxy_status::Connected;

/// Options of `meshctl version`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  meshctl version\n  meshctl version --remote=false\n  \
    meshctl version --short=false\n  meshctl version -o json")]
pub struct Args {
    /// Ask the cluster for the versions of the control plane and of the proxies.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    remote: bool,
    /// Versions alone; false tells all that is known of each build.
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    short: bool,
    #[command(flatten)]
    control_plane: Options,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// All versions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client_version: Build,
    #[serde(skip_serializing_if = "Option::is_none")]
    mesh_version: Option<Vec<Server>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_plane_version: Option<Vec<Proxy>>,
}

/// What is known of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Build {
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    revision: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    profile: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    component: &'static str,
    pod: String,
    info: Build,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Proxy {
    #[serde(rename = "ID")]
    id: String,
    istio_version: String,
}

/// Prints the versions. A cluster that cannot be asked is told of, and is no failure.
pub fn run(args: &Args) -> Result<(), Error> {
    let own = mesh_rt::build_info::current();
    let [version, revision, profile] = [own.version, own.revision, own.profile].map(str::to_owned);
    let client_version = Build { version, revision, profile };
    let mut versions = Versions { client_version, mesh_version: None, data_plane_version: None };
    if args.remote {
        match block_on(remote(&args.control_plane)) {
            Ok((servers, proxies)) => {
                versions.mesh_version = Some(servers_of(servers));
                versions.data_plane_version = Some(proxies_of(proxies));
            }
            Err(error) => {
                output::progress(&format!("the mesh's versions are not known: {error}"));
            }
        }
    }
    output::result(args.output, &versions, &words(&versions, args.short))
}

async fn remote(options: &Options) -> Result<(BTreeMap<String, Bytes>, Vec<Connected>), Error> {
    let client = options.connection.connect().await?.client;
    let control_plane = ControlPlane::find(&client, options).await?;
    let servers = control_plane.versions().await?;
    let proxies = proxy_status::proxies(&control_plane).await?;
    Ok((servers, proxies))
}

fn servers_of(answers: BTreeMap<String, Bytes>) -> Vec<Server> {
    let server = |(pod, answer): (String, Bytes)| {
        let unknown = || Build { version: "unknown".to_owned(), ..Build::default() };
        let info = serde_json::from_slice(&answer).unwrap_or_else(|_| unknown());
        Server { component: "pilot", pod, info }
    };
    answers.into_iter().map(server).collect()
}

fn proxies_of(all: Vec<Connected>) -> Vec<Proxy> {
    let proxy =
        |one: Connected| Proxy { id: one.status.proxy, istio_version: one.status.istio_version };
    all.into_iter().map(proxy).collect()
}

fn words(versions: &Versions, short: bool) -> String {
    let build = |build: &Build| {
        if short || build.revision.is_empty() {
            return build.version.clone();
        }
        format!("{} (revision {}, {} build)", build.version, build.revision, build.profile)
    };
    let mut out = format!("client version: {}\n", build(&versions.client_version));
    if let Some(servers) = &versions.mesh_version {
        if short {
            let all = counted(servers.iter().map(|server| server.info.version.as_str()), "pods");
            out.push_str(&format!("control plane version: {all}\n"));
        } else {
            for Server { component, pod, info } in servers {
                out.push_str(&format!("{component} version: {} ({pod})\n", build(info)));
            }
        }
    }
    match versions.data_plane_version.as_deref() {
        None => {}
        Some([]) => out.push_str("data plane version: none\n"),
        Some(proxies) => {
            let versions = proxies.iter().map(|proxy| proxy.istio_version.as_str());
            let all = with_counts(versions, "proxies");
            out.push_str(&format!("data plane version: {all}\n"));
        }
    }
    out
}

/// The versions, each with how many there are of it unless all are of one.
fn counted<'a>(versions: impl Iterator<Item = &'a str>, what: &str) -> String {
    let versions: Vec<_> = versions.collect();
    match versions.as_slice() {
        [first, rest @ ..] if rest.iter().all(|version| version == first) => (*first).to_owned(),
        _ => with_counts(versions.into_iter(), what),
    }
}

fn with_counts<'a>(versions: impl Iterator<Item = &'a str>, what: &str) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for version in versions {
        *counts.entry(if version.is_empty() { "unknown" } else { version }).or_default() += 1;
    }
    let parts: Vec<_> =
        counts.iter().map(|(version, count)| format!("{version} ({count} {what})")).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(servers: &[&str], proxies: &[&str]) -> Versions {
        let answers = servers.iter().enumerate().map(|(index, version)| {
            let answer = format!(r#"{{"version": "{version}", "revision": "abc"}}"#);
            (format!("istiod-{index}"), Bytes::from(answer))
        });
        let proxy = |version: &&str| Proxy {
            id: "a.default".to_owned(),
            istio_version: (*version).to_owned(),
        };
        Versions {
            client_version: Build { version: "0.1.0".to_owned(), ..Build::default() },
            mesh_version: Some(servers_of(answers.collect())),
            data_plane_version: Some(proxies.iter().map(proxy).collect()),
        }
    }

    #[test]
    fn versions_are_told_as_istioctl_tells_them() {
        assert_eq!(
            words(&versions(&["1.0", "1.0"], &["1.0", "0.9", "1.0"]), true),
            "client version: 0.1.0\ncontrol plane version: 1.0\n\
             data plane version: 0.9 (1 proxies), 1.0 (2 proxies)\n"
        );
        assert_eq!(
            words(&versions(&["1.0", "2.0"], &[]), true),
            "client version: 0.1.0\ncontrol plane version: 1.0 (1 pods), 2.0 (1 pods)\n\
             data plane version: none\n"
        );
        let text = words(&versions(&["1.0"], &["1.0"]), false);
        assert!(text.contains("pilot version: 1.0 (revision abc,  build) (istiod-0)\n"), "{text}");
    }

    #[test]
    fn the_document_has_istioctls_keys() {
        let document = serde_json::to_value(versions(&["1.0"], &["1.0"])).unwrap();
        assert_eq!(document["clientVersion"]["version"], "0.1.0");
        assert_eq!(document["meshVersion"][0]["Component"], "pilot");
        assert_eq!(document["meshVersion"][0]["Info"]["version"], "1.0");
        assert_eq!(document["dataPlaneVersion"][0]["ID"], "a.default");
        assert_eq!(document["dataPlaneVersion"][0]["IstioVersion"], "1.0");
    }
}
