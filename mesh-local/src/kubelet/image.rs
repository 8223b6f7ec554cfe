//! Images are names of programs: the catalog that says which program of this machine an image
//! reference stands for.
//!
//! | image | what runs |
//! |---|---|
//! | `…/examples-bookinfo-*`, `lateen/bookinfo-*` | Bookinfo's programs, beside this executable |
//! | `…/proxyv2`, `…/pilot`, `lateen/…` | the mesh's programs, beside this executable |
//! | `curlimages/curl`, `mccutchen/go-httpbin`, `istio/tcp-echo-server`, `fortio/fortio` | the samples' programs, beside this executable |
//! | `prom/prometheus` | Debian's Prometheus |
//! | `lateen/host` | the **host's own programs**, read-only: `/bin/sh` unless the pod says otherwise |
//! | entries of `images.yaml` | what they say |
//!
//! Registry, tag and digest of a reference do not matter.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

/// Where a catalog's program appears in its containers.
pub const PROGRAM_DIR: &str = "/app";

/// An entry of the catalog, as `images.yaml` writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Entry {
    /// The end of the repository path: `reviews` matches `docker.io/team/reviews:1`.
    pub repository: String,
    /// The program: an absolute path, or a file beside this executable. Without one the image is
    /// the host's own programs.
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// Further absolute paths at which `binary` appears in the container, over a program of the
    /// host where there is one.
    #[serde(default)]
    pub names: Vec<PathBuf>,
    /// What starts: the first arguments of `binary`, or without one the program (`/bin/sh` by
    /// default) and its first arguments. A container's `command` replaces `binary` and this.
    #[serde(default)]
    pub command: Vec<String>,
    /// Arguments unless the container gives its own.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment unless the container sets the same names.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory unless the container sets one.
    #[serde(default)]
    pub workdir: Option<PathBuf>,
    /// User (and group) unless the security context sets one.
    #[serde(default)]
    pub user: Option<u32>,
}

/// The file users write.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImagesFile {
    images: Vec<Entry>,
}

/// What an image stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The program on the host, if the image is a single one.
    pub binary: Option<PathBuf>,
    /// Absolute paths inside the container at which it appears besides [`PROGRAM_DIR`].
    pub names: Vec<PathBuf>,
    /// Program and first arguments inside the container.
    pub entrypoint: Vec<String>,
    /// Further arguments, replaced by the container's.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub workdir: PathBuf,
    /// User and group.
    pub user: u32,
}

/// Why an image cannot be had: `ErrImagePull` or `InvalidImageName`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not an image reference at all.
    #[error("couldn't parse image name \"{0}\": invalid reference format")]
    Invalid(String),
    /// No entry matches.
    #[error(
        "no program stands for image \"{image}\": this cluster runs programs of this machine \
         instead of container images. Known: {known}. Add an entry (repository, binary, args, \
         env) to {file}"
    )]
    Unknown {
        /// The reference.
        image: String,
        /// The repositories there are.
        known: String,
        /// The file to add one to.
        file: String,
    },
    /// The entry's program is not there.
    #[error("image \"{image}\" stands for the program {binary}, which does not exist: {remedy}")]
    NoProgram {
        /// The reference.
        image: String,
        /// The path looked for.
        binary: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A further name that is no absolute path, or one without a program.
    #[error("image \"{image}\": names: {name}: {expected}; mend the entry of the catalog")]
    Name {
        /// The reference.
        image: String,
        /// The name.
        name: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// `images.yaml` cannot be used.
    #[error("{file}: {cause}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// The images of a node.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Where programs named without a directory are.
    program_dir: PathBuf,
    /// The user's file; read anew for every image, so that changes count at once.
    file: PathBuf,
}

impl Catalog {
    /// A catalog whose programs lie in `program_dir`, extended by `file` if it exists.
    pub fn new(program_dir: PathBuf, file: PathBuf) -> Self {
        Self { program_dir, file }
    }

    /// What `reference` stands for. The user's entries come first, then the longest match.
    pub fn resolve(&self, reference: &str) -> Result<Image, ImageError> {
        let repository = repository(reference)
            .ok_or_else(|| ImageError::Invalid(reference.to_owned()))?
            .to_owned();
        let own = self.read_file()?;
        let entry = best(&own, &repository)
            .cloned()
            .or_else(|| best(&builtin(), &repository).cloned())
            .ok_or_else(|| self.unknown(reference, &own))?;
        self.image(reference, entry)
    }

    fn image(&self, reference: &str, entry: Entry) -> Result<Image, ImageError> {
        check_names(reference, &entry)?;
        let binary = entry.binary.map(|binary| self.program_dir.join(binary));
        let entrypoint = match &binary {
            Some(path) if path.is_file() => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                vec![format!("{PROGRAM_DIR}/{name}")]
            }
            Some(path) => {
                let package = PACKAGED.iter().find(|(program, _)| path == Path::new(program));
                let remedy = match package {
                    Some((_, remedy)) => remedy,
                    None if path.starts_with(&self.program_dir) => {
                        "build it, or install it beside this program"
                    }
                    None => "mend the entry's binary",
                };
                return Err(ImageError::NoProgram {
                    image: reference.to_owned(),
                    binary: path.display().to_string(),
                    remedy,
                });
            }
            None if entry.command.is_empty() => vec!["/bin/sh".to_owned()],
            None => Vec::new(),
        };
        Ok(Image {
            entrypoint: entrypoint.into_iter().chain(entry.command).collect(),
            binary,
            names: entry.names,
            args: entry.args,
            env: entry.env,
            workdir: entry.workdir.unwrap_or_else(|| PathBuf::from("/")),
            user: entry.user.unwrap_or(0),
        })
    }

    fn read_file(&self) -> Result<Vec<Entry>, ImageError> {
        let failed =
            |cause: String| ImageError::File { file: self.file.display().to_string(), cause };
        match std::fs::read_to_string(&self.file) {
            Ok(text) => Ok(serde_saphyr::from_str::<ImagesFile>(&text)
                .map_err(|err| failed(err.to_string()))?
                .images),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(err) => Err(failed(err.to_string())),
        }
    }

    fn unknown(&self, reference: &str, own: &[Entry]) -> ImageError {
        let mut known: Vec<String> =
            own.iter().chain(&builtin()).map(|entry| entry.repository.clone()).collect();
        known.sort();
        known.dedup();
        ImageError::Unknown {
            image: reference.to_owned(),
            known: known.join(", "),
            file: self.file.display().to_string(),
        }
    }

    /// The file users may write.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

fn check_names(reference: &str, entry: &Entry) -> Result<(), ImageError> {
    let refused = |name: &Path, expected| ImageError::Name {
        image: reference.to_owned(),
        name: name.display().to_string(),
        expected,
    };
    for name in &entry.names {
        let plain =
            name.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !name.is_absolute() || !plain || name.file_name().is_none() {
            return Err(refused(name, "an absolute path without .. is expected"));
        }
        if entry.binary.is_none() {
            return Err(refused(name, "only an entry with a binary has further names"));
        }
    }
    Ok(())
}

/// The repository of a reference: without registry, tag and digest. `None` when it is none.
///
/// ```
/// use mesh_local::kubelet::image::repository;
/// assert_eq!(repository("docker.io/istio/pilot:1.29"), Some("istio/pilot"));
/// assert_eq!(repository("localhost:5000/a/b@sha256:00"), Some("a/b"));
/// assert_eq!(repository("busybox"), Some("busybox"));
/// assert_eq!(repository("no spaces"), None);
/// ```
pub fn repository(reference: &str) -> Option<&str> {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let name = match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    };
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains('.') || host.contains(':') || host == "localhost" => {
            path
        }
        _ => name,
    };
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    (!path.is_empty() && path.chars().all(valid) && !path.starts_with('/') && !path.ends_with('/'))
        .then_some(path)
}

/// The entry whose repository is the longest end of `repository`.
fn best<'a>(entries: &'a [Entry], repository: &str) -> Option<&'a Entry> {
    entries
        .iter()
        .filter(|entry| {
            repository == entry.repository
                || repository
                    .strip_suffix(&entry.repository)
                    .is_some_and(|before| before.ends_with('/'))
        })
        .max_by_key(|entry| entry.repository.len())
}

/// The tools of the curl image that are ours: the program does as the name it is called by.
const CURL_NAMES: [&str; 2] = ["/usr/bin/curl", "/usr/bin/nc"];

const PROMETHEUS: &str = "/usr/bin/prometheus";

/// Programs that a package of the machine provides, and how to install it. Debian starts the
/// service of a package as it installs it; nobody needs that one here.
const PACKAGED: [(&str, &str); 1] = [(
    PROMETHEUS,
    "install it: sudo apt-get install --no-install-recommends prometheus, and \
     sudo systemctl disable --now prometheus, since the machine's own is not needed",
)];

/// What comes with the mesh.
fn builtin() -> Vec<Entry> {
    let program = |repository: &str, binary: &str, env: &[(&str, &str)]| Entry {
        repository: repository.to_owned(),
        binary: Some(PathBuf::from(binary)),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Entry::default()
    };
    let mut entries = vec![Entry { repository: "lateen/host".to_owned(), ..Entry::default() }];
    for (part, versions) in
        [("productpage", &["v1"][..]), ("details", &["v1", "v2"]), ("ratings", &["v1"])]
    {
        let binary = format!("bookinfo-{part}");
        entries.push(program(&format!("lateen/{binary}"), &binary, &[]));
        for version in versions {
            let image = format!("examples-bookinfo-{part}-{version}");
            entries.push(program(&image, &binary, &[("SERVICE_VERSION", version)]));
        }
    }
    entries.push(program("lateen/bookinfo-reviews", "bookinfo-reviews", &[]));
    for (version, ratings, color) in
        [("v1", "false", "black"), ("v2", "true", "black"), ("v3", "true", "red")]
    {
        let image = format!("examples-bookinfo-reviews-{version}");
        let env =
            [("SERVICE_VERSION", version), ("ENABLE_RATINGS", ratings), ("STAR_COLOR", color)];
        entries.push(program(&image, "bookinfo-reviews", &env));
    }
    for (image, binary, names) in [
        ("proxyv2", "proxy", &["/usr/local/bin/pilot-agent", "/usr/local/bin/envoy"][..]),
        ("lateen/proxy", "proxy", &["/usr/local/bin/pilot-agent", "/usr/local/bin/envoy"]),
        ("istio/pilot", "pilot", &["/usr/local/bin/pilot-discovery"]),
        ("lateen/pilot", "pilot", &["/usr/local/bin/pilot-discovery"]),
        ("lateen/citadel", "citadel", &[]),
        ("lateen/galley", "galley", &[]),
        ("curlimages/curl", "lateen-curl", &CURL_NAMES),
        ("lateen/curl", "lateen-curl", &CURL_NAMES),
        ("mccutchen/go-httpbin", "httpbin", &["/bin/go-httpbin"]),
        ("kennethreitz/httpbin", "httpbin", &["/usr/local/bin/gunicorn"]),
        ("lateen/httpbin", "httpbin", &[]),
        ("istio/tcp-echo-server", "tcp-echo", &["/bin/tcp-echo"]),
        ("lateen/tcp-echo", "tcp-echo", &[]),
        ("fortio/fortio", "load", &["/usr/bin/fortio"]),
        ("lateen/load", "load", &["/usr/bin/fortio"]),
    ] {
        // The older httpbin listens on another port than the newer.
        let env: &[(&str, &str)] = match image {
            "kennethreitz/httpbin" => &[("PORT", "80")],
            _ => &[],
        };
        let names = names.iter().map(PathBuf::from).collect();
        // Without arguments the load tool waits for requests.
        let args = if binary == "load" { vec!["server".to_owned()] } else { Vec::new() };
        entries.push(Entry { names, args, ..program(image, binary, env) });
    }
    entries.push(program("prom/prometheus", PROMETHEUS, &[]));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> (tempfile::TempDir, Catalog) {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["bookinfo-reviews", "bookinfo-details"] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        let catalog = Catalog::new(dir.path().to_owned(), dir.path().join("images.yaml"));
        (dir, catalog)
    }

    #[test]
    fn bookinfo_images_are_programs() {
        let (dir, catalog) = catalog();
        let image =
            catalog.resolve("docker.io/istio/examples-bookinfo-reviews-v3:1.20.3").expect("known");
        assert_eq!(image.binary, Some(dir.path().join("bookinfo-reviews")));
        assert_eq!(image.entrypoint, ["/app/bookinfo-reviews"]);
        assert_eq!(image.env.get("SERVICE_VERSION").map(String::as_str), Some("v3"));
        assert_eq!(image.env.get("STAR_COLOR").map(String::as_str), Some("red"));
        let host = catalog.resolve("lateen/host").expect("known");
        assert_eq!((host.binary, host.entrypoint), (None, vec!["/bin/sh".to_owned()]));
    }

    #[test]
    fn the_samples_images_are_programs_under_their_usual_names() {
        let (dir, catalog) = catalog();
        for (reference, binary, names) in [
            ("curlimages/curl", "lateen-curl", &["/usr/bin/curl", "/usr/bin/nc"][..]),
            ("docker.io/curlimages/curl:8.16.0", "lateen-curl", &["/usr/bin/curl", "/usr/bin/nc"]),
            ("docker.io/mccutchen/go-httpbin:v2.15.0", "httpbin", &["/bin/go-httpbin"]),
            ("docker.io/istio/tcp-echo-server:1.3", "tcp-echo", &["/bin/tcp-echo"]),
            ("fortio/fortio:latest_release", "load", &["/usr/bin/fortio"]),
            (
                "docker.io/istio/proxyv2:1.29.0",
                "proxy",
                &["/usr/local/bin/pilot-agent", "/usr/local/bin/envoy"],
            ),
        ] {
            let program = dir.path().join(binary);
            std::fs::write(&program, "").expect("written");
            let image = catalog.resolve(reference).expect(reference);
            assert_eq!(image.binary, Some(program), "{reference}");
            let names: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
            assert_eq!(image.names, names, "{reference}");
        }
        let load = catalog.resolve("fortio/fortio").expect("known");
        assert_eq!(load.args, ["server"], "it waits for requests when nothing is asked of it");
    }

    #[test]
    fn a_packaged_program_is_the_machines_own_or_its_install_line() {
        let (_dir, catalog) = catalog();
        // Either way the package is what it is about.
        match catalog.resolve("docker.io/prom/prometheus:v3.5.0") {
            Ok(image) => assert_eq!(image.binary, Some(PathBuf::from(PROMETHEUS))),
            Err(error) => assert!(error.to_string().contains("apt-get install"), "{error}"),
        }
    }

    #[test]
    fn names_are_absolute_and_of_a_program() {
        let (dir, catalog) = catalog();
        for (entry, expected) in [
            ("binary: /bin/sh, names: [bin/x]", "names: bin/x: an absolute path"),
            ("binary: /bin/sh, names: [/../x]", "names: /../x: an absolute path"),
            ("binary: /bin/sh, names: [/]", "names: /: an absolute path"),
            ("names: [/bin/x]", "names: /bin/x: only an entry with a binary"),
        ] {
            let yaml = format!("images: [{{repository: tool, {entry}}}]");
            std::fs::write(dir.path().join("images.yaml"), yaml).expect("written");
            let err = catalog.resolve("tool").expect_err(entry).to_string();
            assert!(err.contains(expected), "{err}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let (_dir, catalog) = catalog();
        let err = catalog.resolve("nginx:1.27").expect_err("unknown").to_string();
        assert!(err.contains("\"nginx:1.27\""), "{err}");
        assert!(err.contains("lateen/host") && err.contains("images.yaml"), "{err}");
        let err = catalog.resolve("istio/pilot").expect_err("not built").to_string();
        assert!(err.contains("/pilot, which does not exist: build it"), "{err}");
        let err = catalog.resolve("Not An Image").expect_err("invalid").to_string();
        assert_eq!(err, "couldn't parse image name \"Not An Image\": invalid reference format");
    }

    #[test]
    fn users_add_their_own() {
        let (dir, catalog) = catalog();
        let yaml = "images:\n- repository: team/tool\n  binary: /bin/sh\n  args: [-c, 'exit 0']\n  \
                    env: {A: b}\n  user: 1000\n- repository: busybox\n  command: [/bin/sh]\n";
        std::fs::write(dir.path().join("images.yaml"), yaml).expect("written");
        let image = catalog.resolve("registry.example/my/team/tool:9").expect("known");
        assert_eq!(image.args, ["-c", "exit 0"]);
        assert_eq!((image.user, image.entrypoint), (1000, vec!["/app/sh".to_owned()]));
        assert!(catalog.resolve("busybox:latest").is_ok());
        std::fs::write(dir.path().join("images.yaml"), "images: [{binary: x}]").expect("written");
        let err = catalog.resolve("busybox").expect_err("a bad file").to_string();
        assert!(err.contains("images.yaml: ") && err.contains("repository"), "{err}");
    }

    proptest::proptest! {
        #[test]
        fn any_reference_is_read_or_refused(reference in ".{0,60}") {
            if let Some(path) = repository(&reference) {
                proptest::prop_assert!(reference.contains(path));
            }
        }
    }
}
