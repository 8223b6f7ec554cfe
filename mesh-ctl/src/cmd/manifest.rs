//! `meshctl manifest`: what an installation would apply, without a cluster.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::Value;

use super::install::Wanted;
use crate::error::Error;
use crate::install::{manifest, plan};
use crate::output;
use crate::render::yaml;

/// What is shown of an installation.
#[derive(Subcommand)]
pub enum Command {
    /// Print the objects an installation applies, in their order.
    #[command(after_help = "Examples:\n  meshctl manifest generate --set profile=demo\n  \
        meshctl manifest generate -f mesh.yaml | kubectl diff -f -")]
    Generate {
        /// What to install.
        #[command(flatten)]
        wanted: Wanted,
        /// Write a file for each release into this directory instead.
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Print the Helm values, and the helm commands, that come to the same installation.
    #[command(after_help = "Examples:\n  meshctl manifest translate -f mesh.yaml -o values")]
    Translate {
        /// What to install.
        #[command(flatten)]
        wanted: Wanted,
        /// Write a file for each release into this directory.
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

/// Runs a command of `meshctl manifest`.
pub fn run(command: &Command) -> Result<(), Error> {
    match command {
        Command::Generate { wanted, output } => generate(wanted, output.as_deref()),
        Command::Translate { wanted, output } => translate(wanted, output.as_deref()),
    }
}

fn generate(wanted: &Wanted, dir: Option<&Path>) -> Result<(), Error> {
    let (charts, operator) = wanted.read()?;
    for planned in plan::plan(&charts, &operator)? {
        let mut text = String::new();
        for object in manifest::objects(&operator, &planned)? {
            let value = serde_json::to_value(&object)
                .map_err(|error| Error::Failed(format!("cannot write an object: {error}")))?;
            text.push_str("---\n");
            text.push_str(&yaml::write(&value));
        }
        match dir {
            Some(dir) => write(dir, &format!("{}.yaml", planned.release), &text)?,
            None => output::raw(text.as_bytes()),
        }
    }
    Ok(())
}

fn translate(wanted: &Wanted, dir: Option<&Path>) -> Result<(), Error> {
    let (charts, operator) = wanted.read()?;
    for planned in plan::plan(&charts, &operator)? {
        let file = format!("{}-values.yaml", planned.release);
        let values: &Value = &planned.values;
        let shown = dir.map_or_else(|| PathBuf::from(&file), |dir| dir.join(&file));
        let command = format!(
            "helm upgrade --install {} charts/{} --namespace {} --create-namespace --values {}",
            planned.release,
            planned.dir,
            planned.namespace,
            shown.display()
        );
        match dir {
            Some(dir) => {
                write(dir, &file, &yaml::write(values))?;
                output::line(&command);
            }
            None => output::raw(format!("---\n# {command}\n{}", yaml::write(values)).as_bytes()),
        }
    }
    Ok(())
}

fn write(dir: &Path, file: &str, text: &str) -> Result<(), Error> {
    let path = dir.join(file);
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| Error::file(format!("cannot write {}", path.display()), error))
}
