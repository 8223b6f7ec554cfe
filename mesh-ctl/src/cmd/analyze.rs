//! `meshctl analyze`: what is wrong with the configuration of a cluster, of files, or of both.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, ValueEnum};
use galley_rules::analyze::{self, NOT_BY_DEFAULT, Resource, World};
use galley_rules::report::{Level, Origin};

use super::block_on;
use super::connect::{Connection, duration};
use crate::analyze::messages::{Message, Suppression, listed};
use crate::analyze::source::{Document, Documents};
use crate::analyze::{cluster, lines, source};
use crate::error::Error;
use crate::output::{self, Format};

/// Exit code for findings, istioctl's.
const FOUND: u8 = 79;
const SUPPRESS: &str = "galley.istio.io/analyze-suppress";
const DOCS: &str = "https://istio.io/latest/docs/reference/config/analysis";

/// How the messages are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Style {
    /// A line each.
    #[default]
    Log,
    /// A JSON list.
    Json,
    /// A YAML list.
    Yaml,
}

/// A level, as thresholds name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Threshold {
    /// Everything.
    #[value(aliases = ["info", "INFO"])]
    Info,
    /// What is probably not meant.
    #[value(aliases = ["warning", "WARNING", "Warn"])]
    Warning,
    /// What cannot work.
    #[value(aliases = ["error", "ERROR"])]
    Error,
}

impl Threshold {
    fn level(self) -> Level {
        match self {
            Self::Info => Level::Info,
            Self::Warning => Level::Warning,
            Self::Error => Level::Error,
        }
    }
}

/// Options of `meshctl analyze`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  meshctl analyze\n  meshctl analyze -A -o json\n  \
    meshctl analyze a.yaml my-app-config/          files as if they were applied\n  \
    meshctl analyze --use-kube=false -R my-app/    files by themselves\n  \
    meshctl analyze -S \"IST0103=Pod web.default\"")]
pub struct Args {
    /// Files and directories of objects that take the place of those of the cluster.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// More of them.
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    /// Whether the objects of the cluster are looked at.
    #[arg(short = 'k', long, default_value_t = true, action = ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    use_kube: bool,
    /// Tell of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Tell of this namespace, and of objects without one.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Namespace of the control plane.
    #[arg(short = 'i', long = "istioNamespace", alias = "istio-namespace")]
    #[arg(default_value = "istio-system")]
    istio_namespace: String,
    /// Read the directories below the named ones, too.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Do not tell of these: CODE=Kind name.namespace, with * for any text.
    #[arg(short = 'S', long, value_name = "CODE=RESOURCE")]
    suppress: Vec<Suppression>,
    /// The least level that makes the command fail.
    #[arg(long, value_enum, default_value_t = Threshold::Error)]
    failure_threshold: Threshold,
    /// The least level that is told.
    #[arg(long, value_enum, default_value_t = Threshold::Info)]
    output_threshold: Threshold,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Style,
    /// Whether lines are coloured [default: on terminals].
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    color: Option<bool>,
    /// Tell which analyzers run.
    #[arg(short, long)]
    verbose: bool,
    /// List the analyzers.
    #[arg(short = 'L', long)]
    list_analyzers: bool,
    /// Run only this analyzer; may be repeated.
    #[arg(long = "analyzer", value_name = "NAME")]
    analyzers: Vec<String>,
    /// The mesh's configuration, instead of the cluster's.
    #[arg(long = "meshConfigFile", alias = "mesh-config-file", value_name = "FILE")]
    mesh_config_file: Option<PathBuf>,
    /// Do not fail for files that are no objects.
    #[arg(long)]
    ignore_unknown: bool,
    /// How long reading the cluster may take.
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Revision whose configuration counts.
    #[arg(short, long, default_value = "default")]
    revision: String,
}

/// Analyzes and prints; fails when something as bad as the threshold is found.
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    if args.list_analyzers {
        for analyzer in analyze::ALL {
            let note =
                if NOT_BY_DEFAULT.contains(&analyzer.name) { " (only when named)" } else { "" };
            output::line(&format!("* {}{note}", analyzer.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let known = |name: &String| analyze::ALL.iter().any(|analyzer| analyzer.name == name.as_str());
    if let Some(unknown) = args.analyzers.iter().find(|name| !known(name)) {
        return Err(Error::Usage(format!(
            "there is no analyzer {unknown}; --list-analyzers lists those there are"
        )));
    }
    let paths: Vec<PathBuf> = args.files.iter().chain(&args.filename).cloned().collect();
    if paths.is_empty() && !args.use_kube {
        return Err(Error::Usage("nothing to analyze: name files, or use --use-kube".to_owned()));
    }
    let files = source::read(&paths, args.recursive)?;
    let mut world = World::default();
    world.root_namespace.clone_from(&args.istio_namespace);
    if args.use_kube {
        block_on(from_cluster(args, &mut world))?;
    }
    let places = add_files(args, &files, &mut world)?;
    if args.verbose {
        for analyzer in analyze::ALL {
            output::progress(&format!("analyzer {}", analyzer.name));
        }
    }
    let messages = choose(args, &world, &places);
    print(args, &paths, &files, &messages)
}

async fn from_cluster(args: &Args, world: &mut World) -> Result<(), Error> {
    let client = args.connection.connect().await?.client;
    let all = async {
        cluster::read(&client, world).await?;
        cluster::mesh_config(&client, &args.istio_namespace, &args.revision, world).await
    };
    tokio::time::timeout(args.timeout, all).await.map_err(|_| {
        let seconds = args.timeout.as_secs();
        Error::TimedOut(format!(
            "the cluster's objects were not read within {seconds} s; allow more with --timeout"
        ))
    })??;
    Ok(())
}

type Places<'a> = BTreeMap<Origin, &'a Document>;

/// Adds the objects of files, and says where each stands.
fn add_files<'a>(
    args: &Args,
    files: &'a Documents,
    world: &mut World,
) -> Result<Places<'a>, Error> {
    if let Some(path) = &args.mesh_config_file {
        let found = source::read(std::slice::from_ref(path), false)?;
        let first = found.documents.into_iter().next();
        world.mesh_config = first.map(|document| document.value).unwrap_or_default();
    }
    let mut places = Places::new();
    let mut unknown = files.unreadable.clone();
    for document in &files.documents {
        if !world.add(document.value.clone(), &args.namespace) {
            let place = format!("{}:{}", document.file, document.line);
            unknown.push(format!("{place}: no object: it has no apiVersion or kind"));
            continue;
        }
        let items = document.value["items"].as_array();
        for value in items.into_iter().flatten().chain([&document.value]) {
            if let Some(resource) = Resource::read(value.clone(), &args.namespace) {
                places.insert(resource.origin, document);
            }
        }
    }
    for complaint in &unknown {
        output::progress(&format!("warning: {complaint}"));
    }
    match unknown.is_empty() || args.ignore_unknown {
        true => Ok(places),
        false => Err(Error::Manifest(format!(
            "{} documents could not be read; --ignore-unknown goes on without them",
            unknown.len()
        ))),
    }
}

/// Runs the analyzers, and keeps the messages that are asked for.
fn choose(args: &Args, world: &World, places: &Places<'_>) -> Vec<Message> {
    let annotated: BTreeMap<&Origin, String> = world
        .iter()
        .filter_map(|object| Some((&object.origin, object.annotations().remove(SUPPRESS)?)))
        .collect();
    let mut messages = Vec::new();
    for diagnostic in analyze::analyze(world, &args.analyzers).into_sorted() {
        let origin = &diagnostic.origin;
        let elsewhere = !args.all_namespaces
            && !origin.namespace.is_empty()
            && origin.namespace != args.namespace;
        let code = diagnostic.code.to_string();
        let hidden = args.suppress.iter().any(|suppression| suppression.hides(&diagnostic))
            || annotated.get(origin).is_some_and(|codes| listed(codes, &code));
        if elsewhere || hidden || diagnostic.level < args.output_threshold.level() {
            continue;
        }
        let reference = places.get(origin).map(|document| {
            let path = diagnostic.path.as_deref().unwrap_or("metadata.name");
            let is_list = document.value["items"].is_array();
            let line = if is_list { 0 } else { lines::line_of(&document.text, path) };
            format!("{}:{}", document.file, document.line + line)
        });
        messages.push(Message { diagnostic, reference });
    }
    messages
}

fn print(
    args: &Args,
    paths: &[PathBuf],
    files: &Documents,
    messages: &[Message],
) -> Result<ExitCode, Error> {
    let scope = scope(args, paths);
    match args.output {
        Style::Log => {
            let colour = args.color.unwrap_or_else(|| std::io::stdout().is_terminal());
            for message in messages {
                output::line(&message.line(colour));
            }
        }
        Style::Json | Style::Yaml => {
            let items: Vec<_> = messages.iter().map(Message::item).collect();
            let format = if args.output == Style::Json { Format::Json } else { Format::Yaml };
            output::result(format, &items, "")?;
        }
    }
    let worst = messages.iter().map(|message| message.diagnostic.level).max();
    if worst.is_some_and(|worst| worst >= args.failure_threshold.level()) {
        output::progress(&format!(
            "Error: Analyzers found issues when analyzing {scope}.\nSee {DOCS} for more \
             information about causes and resolutions."
        ));
        return Ok(ExitCode::from(FOUND));
    }
    if messages.is_empty() {
        let note = match files.unreadable.len() {
            0 => String::new(),
            count => format!(" (however, {count} documents could not be read)"),
        };
        output::progress(&format!(
            "\u{2714} No validation issues found when analyzing {scope}{note}."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What was analyzed, in words.
fn scope(args: &Args, paths: &[PathBuf]) -> String {
    if !paths.is_empty() {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return names.join(", ");
    }
    match args.all_namespaces {
        true => "all namespaces".to_owned(),
        false => format!("namespace: {}", args.namespace),
    }
}
