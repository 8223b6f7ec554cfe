//! Pages of the cluster in a browser of this machine: which there are, and a port that leads to one.

mod forward;

pub use forward::Forward;

use kube::Client;

use crate::error::Error;
use crate::pod;

/// A page that runs in a pod of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addon {
    /// What it is called.
    pub name: &'static str,
    /// The labels of its pods.
    pub selector: &'static str,
    /// The port it listens on.
    pub port: u16,
    /// Where its pages begin.
    pub path: &'static str,
    /// How to get it.
    pub install: &'static str,
}

/// The queries of Prometheus.
pub const PROMETHEUS: Addon = Addon {
    name: "Prometheus",
    selector: "app.kubernetes.io/name=prometheus",
    port: 9090,
    path: "",
    install: "kubectl apply -f samples/addons/prometheus.yaml",
};

/// The graphs of Grafana.
pub const GRAFANA: Addon = Addon {
    name: "Grafana",
    selector: "app.kubernetes.io/name=grafana",
    port: 3000,
    path: "",
    install: "install Grafana in that namespace",
};

/// The mesh as Kiali draws it.
pub const KIALI: Addon = Addon {
    name: "Kiali",
    selector: "app=kiali",
    port: 20001,
    path: "/kiali",
    install: "install Kiali in that namespace",
};

/// The traces of Jaeger.
pub const JAEGER: Addon = Addon {
    name: "Jaeger",
    selector: "app=jaeger",
    port: 16686,
    path: "",
    install: "install Jaeger in that namespace",
};

/// The traces of Zipkin.
pub const ZIPKIN: Addon = Addon {
    name: "Zipkin",
    selector: "app=zipkin",
    port: 9411,
    path: "",
    install: "install Zipkin in that namespace",
};

/// The traces of SkyWalking.
pub const SKYWALKING: Addon = Addon {
    name: "SkyWalking",
    selector: "app=skywalking-ui",
    port: 8080,
    path: "",
    install: "install SkyWalking in that namespace",
};

/// The debug pages of pilot.
pub const PILOT: Addon = Addon {
    name: "pilot",
    selector: "app=istiod",
    port: 15014,
    path: "/debug",
    install: "meshctl install",
};

/// The admin pages of a proxy.
pub const PROXY_PORT: u16 = 15000;

impl Addon {
    /// A running pod of it in a namespace; `selector` replaces its own.
    ///
    /// # Errors
    /// When there is none.
    pub async fn pod(
        &self,
        client: &Client,
        namespace: &str,
        selector: Option<&str>,
    ) -> Result<String, Error> {
        let selector = selector.unwrap_or(self.selector);
        let running = pod::running(client, namespace, selector).await?;
        running.into_iter().next().ok_or_else(|| {
            Error::Failed(format!(
                "no {} pods found with selector {selector} in namespace {namespace}; {}, or name \
                 its namespace with --namespace",
                self.name, self.install
            ))
        })
    }
}
