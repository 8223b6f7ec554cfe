//! `meshctl proxy-config`: what one proxy runs with.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;
use mesh_api::admin::Clusters;
use serde_json::Value;

use crate::cmd::block_on;
use crate::error::Error;
use crate::output::{self, Format};
use crate::pod::{self, Target};
use crate::proxy_config::dump::Dump;
use crate::proxy_config::table::Table;
use crate::proxy_config::{clusters, endpoints, filters, listeners, log_levels, routes, secrets};
use crate::{kubeconfig, settings};

/// What is asked of a proxy.
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
    meshctl proxy-config cluster deployment/productpage-v1\n  \
    meshctl proxy-config listener reviews-v1-7c9f.default --port 9080\n  \
    meshctl proxy-config route deployment/productpage-v1 --name 9080 -o json\n  \
    meshctl proxy-config cluster -f config_dump.json")]
pub enum Command {
    /// Clusters: the services the proxy may call.
    #[command(visible_aliases = ["clusters", "c"])]
    Cluster {
        /// Whose.
        #[command(flatten)]
        source: Source,
        /// Which.
        #[command(flatten)]
        filter: clusters::Filter,
    },
    /// Listeners, and their filter chains.
    #[command(visible_aliases = ["listeners", "l"])]
    Listener {
        /// Whose.
        #[command(flatten)]
        source: Source,
        /// Which.
        #[command(flatten)]
        filter: listeners::Filter,
        /// Show filter chains; false shows one line for each listener.
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
        verbose: bool,
    },
    /// Routes of HTTP requests.
    #[command(visible_aliases = ["routes", "r"])]
    Route {
        /// Whose.
        #[command(flatten)]
        source: Source,
        /// Only the route configuration of this name.
        #[arg(long)]
        name: Option<String>,
        /// Show virtual hosts; false shows one line for each route configuration.
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
        verbose: bool,
    },
    /// Endpoints of clusters, with their health.
    #[command(visible_aliases = ["endpoints", "ep"])]
    Endpoint {
        /// Whose.
        #[command(flatten)]
        source: Source,
        /// Which.
        #[command(flatten)]
        filter: endpoints::Filter,
    },
    /// Endpoints as the control plane sent them.
    #[command(hide = true)]
    Eds {
        /// Whose.
        #[command(flatten)]
        source: Source,
    },
    /// Certificates and roots; never private keys.
    #[command(visible_aliases = ["secrets", "s"])]
    Secret {
        /// Whose.
        #[command(flatten)]
        source: Source,
    },
    /// The document the proxy started with.
    #[command(visible_alias = "b")]
    Bootstrap {
        /// Whose.
        #[command(flatten)]
        source: Source,
    },
    /// Filters that came apart from their listeners.
    #[command(visible_alias = "ec")]
    Ecds {
        /// Whose.
        #[command(flatten)]
        source: Source,
    },
    /// Everything: clusters, listeners, routes, secrets and endpoints.
    #[command(visible_alias = "a")]
    All {
        /// Whose.
        #[command(flatten)]
        source: Source,
        /// Put a line with its name before each section.
        #[arg(long)]
        with_headers: bool,
    },
    /// Show or change the levels of the proxy's loggers.
    #[command(visible_alias = "o")]
    Log {
        /// Whose.
        #[command(flatten)]
        source: Source,
        /// A level for all loggers, or for one, such as http:debug.
        #[arg(long, value_name = "[LOGGER:]LEVEL")]
        level: Vec<String>,
        /// Set all loggers back to the level warning.
        #[arg(short, long, conflicts_with = "level")]
        reset: bool,
    },
}

/// Whose configuration, and how it is printed.
#[derive(ClapArgs)]
pub struct Source {
    /// The proxy: `[<type>/]<name>[.<namespace>]`.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    target: Option<String>,
    /// Read a saved answer of the proxy's admin interface instead of asking a proxy.
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Namespace of the proxy, where the name does not say.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Kubeconfig of the cluster [default: KUBECONFIG, else ~/.kube/config].
    #[arg(short = 'c', long)]
    kubeconfig: Option<PathBuf>,
    /// Port of the proxy's admin interface.
    #[arg(long, default_value_t = 15000)]
    proxy_admin_port: u16,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Source {
    /// The answer of the admin interface, and what to call it in errors.
    fn read(&self, path: &str) -> Result<(Vec<u8>, String), Error> {
        if let Some(file) = &self.file {
            let origin = file.display().to_string();
            let bytes = std::fs::read(file)
                .map_err(|error| Error::file(format!("cannot read {origin}"), error))?;
            return Ok((bytes, origin));
        }
        let name = self.target.as_deref().unwrap_or_default();
        let target = Target::parse(name, &self.namespace)?;
        let config = self.kubeconfig.clone().map_or_else(settings::kubeconfig, Ok)?;
        let bytes = block_on(async {
            let client = kubeconfig::client(&config).await?;
            let (pod, namespace) = target.pod(&client).await?;
            pod::get(&client, (&pod, &namespace), self.proxy_admin_port, path).await
        })?;
        Ok((bytes.to_vec(), format!("the answer of {name}")))
    }

    /// Asks the proxy for its loggers after the changes.
    fn loggers(&self, changes: &[String]) -> Result<Vec<u8>, Error> {
        let Some(name) = self.target.as_deref() else {
            return Err(Error::Usage("levels are a running proxy's; name a pod".to_owned()));
        };
        let target = Target::parse(name, &self.namespace)?;
        let config = self.kubeconfig.clone().map_or_else(settings::kubeconfig, Ok)?;
        block_on(async {
            let client = kubeconfig::client(&config).await?;
            let (pod, namespace) = target.pod(&client).await?;
            let pod = (pod.as_str(), namespace.as_str());
            for change in changes {
                pod::post(&client, pod, self.proxy_admin_port, change).await?;
            }
            Ok(pod::post(&client, pod, self.proxy_admin_port, "/logging").await?.to_vec())
        })
    }

    fn dump(&self) -> Result<Dump, Error> {
        let (bytes, origin) = self.read("/config_dump")?;
        Dump::parse(&bytes, &origin)
    }

    fn print(&self, values: &[&Value], table: impl FnOnce() -> Table) -> Result<(), Error> {
        let text = if self.output == Format::Text { table().text() } else { String::new() };
        output::result(self.output, &values, &text)
    }
}

/// Prints what was asked for.
pub fn run(command: &Command) -> Result<(), Error> {
    match command {
        Command::Cluster { source, filter } => {
            let dump = source.dump()?;
            let mut shown = dump.clusters();
            shown.retain(|cluster| filter.shows(cluster));
            source.print(&shown, || clusters::table(&shown))
        }
        Command::Listener { source, filter, verbose } => {
            let dump = source.dump()?;
            let mut shown = dump.listeners();
            shown.retain(|listener| filter.shows(listener));
            source.print(&shown, || listeners::table(&shown, *verbose))
        }
        Command::Route { source, name, verbose } => {
            let dump = source.dump()?;
            let mut shown = dump.routes();
            shown.retain(|config| {
                let found = config.get("name").and_then(Value::as_str);
                name.is_none() || found == name.as_deref()
            });
            source.print(&shown, || routes::table(&shown, *verbose))
        }
        Command::Endpoint { source, filter } => endpoint(source, filter),
        Command::Eds { source } => {
            let (bytes, origin) = source.read("/config_dump?include_eds")?;
            let dump = Dump::parse(&bytes, &origin)?;
            let shown = dump.endpoints();
            source.print(&shown, || endpoints::dumped(&shown))
        }
        Command::Ecds { source } => {
            let dump = source.dump()?;
            let shown = dump.filters();
            source.print(&shown, || filters::table(&shown))
        }
        Command::All { source, with_headers } => all(source, *with_headers),
        Command::Log { source, level, reset } => {
            let answer = source.loggers(&log_levels::pages(level, *reset)?)?;
            output::line(log_levels::words(&answer).trim_end());
            Ok(())
        }
        Command::Secret { source } => {
            let dump = source.dump()?;
            let secrets = dump.secrets();
            let shown: Vec<&Value> = secrets.iter().map(|(secret, _)| *secret).collect();
            source.print(&shown, || secrets::table(&secrets, Timestamp::now()))
        }
        Command::Bootstrap { source } => {
            let dump = source.dump()?;
            let bootstrap = dump
                .bootstrap()
                .ok_or_else(|| Error::Failed("the dump has no bootstrap document".to_owned()))?;
            // There is no table of it: people read the document.
            let format = if source.output == Format::Text { Format::Json } else { source.output };
            output::result(format, bootstrap, "")
        }
    }
}

/// All sections; endpoints as the dump has them.
fn all(source: &Source, with_headers: bool) -> Result<(), Error> {
    let (bytes, origin) = source.read("/config_dump?include_eds")?;
    if source.output != Format::Text {
        let document: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Failed(format!("{origin} is not JSON: {error}")))?;
        return output::result(source.output, &document, "");
    }
    let dump = Dump::parse(&bytes, &origin)?;
    let sections = [
        ("CLUSTER INFO", clusters::table(&dump.clusters())),
        ("LISTENER INFO", listeners::table(&dump.listeners(), true)),
        ("ROUTE INFO", routes::table(&dump.routes(), true)),
        ("SECRET INFO", secrets::table(&dump.secrets(), Timestamp::now())),
        ("ENDPOINTS INFO", endpoints::dumped(&dump.endpoints())),
    ];
    for (index, (title, table)) in sections.iter().enumerate() {
        if index > 0 {
            output::line("");
        }
        if with_headers {
            output::line(title);
        }
        output::raw(table.text().as_bytes());
    }
    Ok(())
}

fn endpoint(source: &Source, filter: &endpoints::Filter) -> Result<(), Error> {
    let (bytes, origin) = source.read("/clusters?format=json")?;
    let mut clusters: Clusters = serde_json::from_slice(&bytes).map_err(|error| {
        Error::Failed(format!(
            "{origin} is not a list of clusters (the JSON of GET /clusters?format=json): {error}"
        ))
    })?;
    filter.apply(&mut clusters);
    let text = endpoints::table(&clusters).text();
    output::result(source.output, &clusters, &text)
}
