//! The variables of Istio's Bookinfo, read into types.

use mesh_rt::settings::Settings;

/// The port every Bookinfo service listens on.
pub const PORT: u16 = 9080;

/// Another service of Bookinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The service's name: `details`, `reviews` or `ratings`.
    pub name: &'static str,
    /// `host:port`.
    pub authority: String,
}

impl Upstream {
    /// Reads `<NAME>_HOSTNAME`, `<NAME>_SERVICE_PORT` (which Kubernetes sets too) and
    /// `SERVICES_DOMAIN`, which is added to the host name.
    #[must_use]
    pub fn read(settings: &Settings<'_>, name: &'static str) -> Self {
        let upper = name.to_uppercase();
        let host = settings.string(&format!("{upper}_HOSTNAME"), name);
        let port = settings.int(&format!("{upper}_SERVICE_PORT"), PORT, 1..=65535);
        let domain = settings.optional("SERVICES_DOMAIN");
        let dotted = domain.map(|domain| format!(".{domain}")).unwrap_or_default();
        Self { name, authority: format!("{host}{dotted}:{port}") }
    }
}

/// Whether connections to other services are kept and used again: `HTTP_KEEP_ALIVE`.
///
/// Off by default, as in Istio's Bookinfo: without a sidecar, a new connection per call is what
/// spreads calls over the versions of a service.
#[must_use]
pub fn keep_alive(settings: &Settings<'_>) -> bool {
    settings.bool("HTTP_KEEP_ALIVE", false)
}

/// The variables of productpage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductpageSettings {
    /// `DETAILS_HOSTNAME` and its kin.
    pub details: Upstream,
    /// `REVIEWS_HOSTNAME` and its kin.
    pub reviews: Upstream,
    /// `RATINGS_HOSTNAME` and its kin.
    pub ratings: Upstream,
    /// `FLOOD_FACTOR`: needless further calls to reviews per page, to show rate limits. 0.
    pub flood_factor: usize,
    /// `HTTP_KEEP_ALIVE`.
    pub keep_alive: bool,
}

impl ProductpageSettings {
    /// Reads them.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        Self {
            details: Upstream::read(settings, "details"),
            reviews: Upstream::read(settings, "reviews"),
            ratings: Upstream::read(settings, "ratings"),
            flood_factor: settings.int("FLOOD_FACTOR", 0, 0..=1000),
            keep_alive: keep_alive(settings),
        }
    }
}

/// The variables of reviews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewsSettings {
    /// `RATINGS_HOSTNAME` and its kin.
    pub ratings: Upstream,
    /// `ENABLE_RATINGS`, else what `SERVICE_VERSION` implies: `v1` shows none.
    pub ratings_enabled: bool,
    /// `STAR_COLOR`, else what `SERVICE_VERSION` implies: `v3` is red, all others black.
    pub star_color: String,
    /// `HOSTNAME`, else the kernel's name of this host: the pod's name in Kubernetes.
    pub pod_name: String,
    /// `CLUSTER_NAME`, else the text `null`, which productpage does not show.
    pub cluster_name: String,
    /// `HTTP_KEEP_ALIVE`.
    pub keep_alive: bool,
}

impl ReviewsSettings {
    /// Reads them.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        let version = settings.optional("SERVICE_VERSION");
        let shows_stars = matches!(version.as_deref(), Some("v2" | "v3"));
        let color = if version.as_deref() == Some("v3") { "red" } else { "black" };
        Self {
            ratings: Upstream::read(settings, "ratings"),
            ratings_enabled: settings.bool("ENABLE_RATINGS", shows_stars),
            star_color: settings.string("STAR_COLOR", color),
            pod_name: settings.optional("HOSTNAME").unwrap_or_else(host_name),
            cluster_name: settings.string("CLUSTER_NAME", "null"),
            keep_alive: keep_alive(settings),
        }
    }
}

/// The variables of details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailsSettings {
    /// `ENABLE_EXTERNAL_BOOK_SERVICE`, else what `SERVICE_VERSION` implies: `v2` asks outside.
    pub external: bool,
    /// `DO_NOT_ENCRYPT`: ask in clear on port 80, for a mesh that adds TLS on the way out.
    pub in_clear: bool,
    /// `SSL_CERT_FILE`: the roots to check the outside service with.
    pub roots: std::path::PathBuf,
}

impl DetailsSettings {
    /// Reads them.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        let v2 = settings.optional("SERVICE_VERSION").as_deref() == Some("v2");
        Self {
            external: settings.bool("ENABLE_EXTERNAL_BOOK_SERVICE", v2),
            in_clear: settings.bool("DO_NOT_ENCRYPT", false),
            roots: settings.path("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "null".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_follow_the_variables() {
        let source = [("SERVICES_DOMAIN", "default.svc"), ("REVIEWS_HOSTNAME", "reviews-v2")];
        let settings = Settings::new(&source);
        let read = ProductpageSettings::read(&settings);
        assert_eq!(read.details.authority, "details.default.svc:9080");
        assert_eq!(read.reviews.authority, "reviews-v2.default.svc:9080");
        let source = [("RATINGS_SERVICE_PORT", "9081")];
        let settings = Settings::new(&source);
        assert_eq!(Upstream::read(&settings, "ratings").authority, "ratings:9081");
    }

    #[test]
    fn versions_of_reviews() {
        let read = |source: &[(&str, &str)]| {
            let source: std::collections::BTreeMap<String, String> =
                source.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let settings = Settings::new(&source);
            let read = ReviewsSettings::read(&settings);
            settings.finish().unwrap();
            (read.ratings_enabled, read.star_color)
        };
        let color = |name: &str| name.to_owned();
        assert_eq!(read(&[]), (false, color("black")));
        assert_eq!(read(&[("SERVICE_VERSION", "v1")]), (false, color("black")));
        assert_eq!(read(&[("SERVICE_VERSION", "v2")]), (true, color("black")));
        assert_eq!(read(&[("SERVICE_VERSION", "v3")]), (true, color("red")));
        let explicit =
            [("SERVICE_VERSION", "v1"), ("ENABLE_RATINGS", "true"), ("STAR_COLOR", "red")];
        assert_eq!(read(&explicit), (true, color("red")));
    }
}
