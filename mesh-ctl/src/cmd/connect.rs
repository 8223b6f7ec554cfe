//! The cluster a command talks to.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;

use crate::error::Error;
use crate::{kubeconfig, settings};

/// How long a cluster may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Connection {
    /// The kubeconfig [default: the first file of $KUBECONFIG, else ~/.kube/config].
    #[arg(short = 'c', long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// A cluster that has answered.
pub struct Cluster {
    /// The client for it.
    pub client: Client,
    /// How people are told of it.
    pub title: String,
}

impl Connection {
    /// A client for the cluster, once it has answered.
    pub async fn connect(&self) -> Result<Cluster, Error> {
        let path = self.kubeconfig.clone().map_or_else(settings::kubeconfig, Ok)?;
        let client = kubeconfig::client(&path).await?;
        let title = format!("the cluster of {}", path.display());
        let unreachable = |why: String| {
            Error::Failed(format!(
                "{title} cannot be reached: {why}; start it (`meshctl local up`), or name \
                 another with --kubeconfig"
            ))
        };
        match tokio::time::timeout(PATIENCE, client.apiserver_version()).await {
            Ok(Ok(_)) => Ok(Cluster { client, title }),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("no answer after {} s", PATIENCE.as_secs()))),
        }
    }
}

/// `90s`, `5m`, `1m30s`, or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let wrong = || "use a number with a unit, such as 90s or 5m".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [("300s", 300), ("5m", 300), ("1m30s", 90), ("7", 7), ("5m0s", 300)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_cluster_that_does_not_answer_is_named_by_its_kubeconfig() {
        mesh_rt::crypto::install();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
            clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\n\
            contexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {}}]\n";
        std::fs::write(&path, text).unwrap();
        let connection = Connection { kubeconfig: Some(path.clone()) };
        let error = connection.connect().await.err().unwrap().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains("cannot be reached"), "{error}");
    }
}
