//! Pages that change the proxy's life: drain, health, counters, the end.

use http::StatusCode;
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::http_server::text;

use super::Pages;

/// `/drain_listeners`: the listeners drain, as at the end of the pod. They do not come back.
pub(super) fn drain(pages: &Pages, _: &AdminRequest) -> AdminReply {
    pages.process.tasks.trigger().start();
    done()
}

/// `/healthcheck/fail`: the proxy is not ready until `/healthcheck/ok`.
pub(super) fn fail(pages: &Pages, _: &AdminRequest) -> AdminReply {
    let mut failed = pages.0.failed.lock();
    failed.get_or_insert_with(|| pages.process.readiness.block("POST /healthcheck/ok"));
    done()
}

/// `/healthcheck/ok`.
pub(super) fn ok(pages: &Pages, _: &AdminRequest) -> AdminReply {
    pages.0.failed.lock().take();
    done()
}

/// `/reset_counters`: Envoy's counters and Istio's begin again; gauges and histograms do not.
pub(super) fn reset(pages: &Pages, _: &AdminRequest) -> AdminReply {
    pages.observed.traffic.reset();
    pages.upstreams.reset();
    pages.observed.standard.reset_counters();
    done()
}

/// `/quitquitquit`: the process ends at once.
pub(super) fn quit(pages: &Pages, _: &AdminRequest) -> AdminReply {
    pages.process.tasks.trigger().force();
    done()
}

fn done() -> AdminReply {
    text(StatusCode::OK, "OK\n")
}
