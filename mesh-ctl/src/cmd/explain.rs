//! `meshctl explain`: what a proxy would do with a request, and why.

use std::path::PathBuf;

use super::{block_on, connect};
use crate::error::Error;
use crate::explain::{Question, Request, offline, read, words};
use crate::output::{self, Format};
use crate::pod::{self, Target};
use crate::proxy_config::dump::Dump;

/// Options of `meshctl explain`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    meshctl explain deployment/productpage-v1 --to reviews:9080 --path /reviews/0\n  \
    meshctl explain productpage-v1-7c9f.default --to reviews:9080 -H 'end-user: jason'\n  \
    meshctl explain deployment/reviews-v1 --inbound --to reviews:9080\n  \
    meshctl explain -f config_dump.json --to 10.96.0.7:3306 --protocol tcp")]
pub struct Args {
    /// The proxy: `[<type>/]<name>[.<namespace>]`.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    target: Option<String>,
    /// Decide by a saved config dump instead of asking a proxy; save it with
    /// /config_dump?include_eds, or endpoints are missing.
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    question: Question,
    /// Namespace of the proxy, where the name does not say.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    connection: connect::Connection,
    /// Port of the proxy's admin interface.
    #[arg(long, default_value_t = 15000)]
    proxy_admin_port: u16,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints the decision.
pub fn run(args: &Args) -> Result<(), Error> {
    let request = Request::new(args.question.clone())?;
    let trail = match &args.file {
        Some(file) => {
            let origin = file.display().to_string();
            let text = std::fs::read(file)
                .map_err(|error| Error::file(format!("cannot read {origin}"), error))?;
            let (trail, left_out) = offline::explain(&Dump::parse(&text, &origin)?, &request)?;
            for reason in left_out {
                output::progress(&format!("warning: left out of {origin}: {reason}"));
            }
            trail
        }
        None => {
            let name = args.target.as_deref().unwrap_or_default();
            let target = Target::parse(name, &args.namespace)?;
            let answer = block_on(async {
                let client = args.connection.connect().await?.client;
                let (pod, namespace) = target.pod(&client).await?;
                let pod = (pod.as_str(), namespace.as_str());
                pod::get(&client, pod, args.proxy_admin_port, &request.page()).await
            })?;
            read(&answer, &format!("the answer of {name}"))?
        }
    };
    output::result(args.output, &trail, &words(&request, &trail))
}
