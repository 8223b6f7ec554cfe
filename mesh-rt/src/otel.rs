//! Trace export by OTLP over gRPC: off unless an endpoint is set.

use std::time::Duration;

use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use crate::settings::Settings;
use crate::tasks::{self, TaskError};

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where spans go.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelSettings {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, such as `http://collector:4317`; `None` is off.
    pub endpoint: Option<String>,
    /// `OTEL_SERVICE_NAME`, else the component's name.
    pub service_name: String,
    /// `OTEL_TRACES_SAMPLER_ARG`: the fraction of new traces that is kept, from 0 to 1. A caller's
    /// decision is always followed.
    pub sample_ratio: f64,
}

impl OtelSettings {
    /// Reads the standard variables; `component` names the service unless they do.
    #[must_use]
    pub fn read(settings: &Settings<'_>, component: &str) -> Self {
        let name = "OTEL_TRACES_SAMPLER_ARG";
        let accepted = "a fraction from 0 to 1";
        let mut sample_ratio = settings.parsed(name, accepted).unwrap_or(1.0);
        if !(0.0..=1.0).contains(&sample_ratio) {
            settings.reject(name, Some(sample_ratio.to_string()), accepted);
            sample_ratio = 1.0;
        }
        Self {
            endpoint: settings.optional("OTEL_EXPORTER_OTLP_ENDPOINT"),
            service_name: settings.string("OTEL_SERVICE_NAME", component),
            sample_ratio,
        }
    }
}

/// The exporter could not be set up: the endpoint is no URI.
#[derive(Debug, thiserror::Error)]
#[error("OTLP exporter for {endpoint:?}: {source}")]
pub struct OtelError {
    endpoint: String,
    source: opentelemetry_otlp::ExporterBuildError,
}

/// A running exporter. Spans wait in a bounded queue; a full queue drops spans, never requests.
#[derive(Clone, Debug)]
pub struct TraceExport {
    provider: SdkTracerProvider,
}

impl TraceExport {
    /// The provider to make tracers from.
    #[must_use]
    pub fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// Sends what is queued and ends the exporter.
    ///
    /// # Errors
    /// [`TaskError`] when what was queued could not be sent.
    pub async fn shutdown(self) -> Result<(), TaskError> {
        let name = "otlp shutdown";
        let ended = tasks::spawn_blocking(name, move || self.provider.shutdown()).await?;
        ended.map_err(|e| TaskError::Failed { name: name.into(), message: e.to_string() })
    }
}

/// Starts exporting if an endpoint is set. Call it inside a tokio runtime.
///
/// # Errors
/// [`OtelError`] when the endpoint is no URI.
pub fn start(settings: &OtelSettings) -> Result<Option<TraceExport>, OtelError> {
    let Some(endpoint) = settings.endpoint.clone() else { return Ok(None) };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.clone())
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| OtelError { endpoint, source })?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
    let resource = Resource::builder().with_service_name(settings.service_name.clone()).build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource)
        .build();
    Ok(Some(TraceExport { provider }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn off_without_endpoint_and_refuses_nonsense() {
        let source = [("OTEL_TRACES_SAMPLER_ARG", "2")];
        let settings = Settings::new(&source);
        let mut otel = OtelSettings::read(&settings, "pilot");
        assert_eq!(settings.finish().unwrap_err().0.len(), 1);
        assert_eq!((otel.service_name.as_str(), otel.sample_ratio), ("pilot", 1.0));
        assert!(start(&otel).unwrap().is_none());
        otel.endpoint = Some("not a uri".into());
        assert!(start(&otel).is_err());
    }
}
