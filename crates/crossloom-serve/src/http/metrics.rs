//! What a server counts, for Prometheus.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use crossloom_run::engine::Client;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{Shared, text_of};
use crate::error::ApiError;

/// The type of what is written.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Paths that are not there are one.
const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    path: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    path: String,
}

/// Counts of requests, with those of the engine beside them.
pub(super) struct Metrics {
    registry: Registry,
    answered: Family<Answered, Counter>,
    seconds: Family<Of, Histogram>,
    open: Gauge<i64, AtomicI64>,
    streams: Gauge<i64, AtomicI64>,
}

/// One more of something until it is dropped.
pub(super) struct Counted(Gauge<i64, AtomicI64>);

impl Counted {
    fn new(gauge: &Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(super) fn new(client: Client) -> Self {
        let mut registry = Registry::with_prefix("crossloom");
        let (answered, open, streams) = (Family::default(), Gauge::default(), Gauge::default());
        // From five milliseconds to three minutes.
        let seconds = Family::new_with_constructor(
            (|| Histogram::new(exponential_buckets(0.005, 2.0, 16))) as fn() -> _,
        );
        registry.register("http_requests", "Requests by path and status", answered.clone());
        let help = "Seconds from a request to the head of its response";
        registry.register("http_response_seconds", help, seconds.clone());
        registry.register("http_open_requests", "Requests without a response yet", open.clone());
        registry.register("http_open_streams", "Responses that are being streamed", streams.clone());
        registry.register_collector(Box::new(OfEngine(client)));
        Self { registry, answered, seconds, open, streams }
    }

    /// One more stream, until it is dropped.
    pub(super) fn streaming(&self) -> Counted {
        Counted::new(&self.streams)
    }
}

/// Counts a request.
pub(super) async fn count(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let metrics = &shared.metrics;
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or(UNKNOWN, MatchedPath::as_str).to_owned();
    let (began, open) = (Instant::now(), Counted::new(&metrics.open));
    let response = next.run(request).await;
    drop(open);
    metrics.seconds.get_or_create(&Of { path: path.clone() }).observe(began.elapsed().as_secs_f64());
    let status = response.status().as_u16();
    metrics.answered.get_or_create(&Answered { path, status }).inc();
    response
}

/// All of it as text.
pub(super) async fn write(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let mut text = String::new();
    encode(&mut text, &shared.metrics.registry).map_err(|error| ApiError::Failed(error.to_string()))?;
    Ok(text_of(OPEN_METRICS, text))
}

/// What the engine did, asked when it is written.
#[derive(Debug)]
struct OfEngine(Client);

impl Collector for OfEngine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        let gauges = [
            ("slots", "Requests that are answered at once", stats.slots),
            ("live_requests", "Requests that are being answered", stats.live),
            ("waiting_requests", "Requests that wait", stats.waiting),
            ("queue_size", "The most requests that wait", stats.queue),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(&format!("engine_{name}"), help, None, kind)?)?;
        }
        let counters = [
            ("done_requests", "Requests that were answered", stats.done),
            ("cancelled_requests", "Requests whose client left", stats.cancelled),
            ("failed_requests", "Requests that failed", stats.failed),
            ("prompt_tokens", "Positions of prompts that were read", stats.tokens_in),
            ("answer_tokens", "Tokens of answers", stats.tokens_out),
            ("prompt_calls", "Calls that read prompts, or chunks of them", stats.prefills),
            ("rounds", "Decodes of all live requests", stats.rounds),
            ("encoded_pictures", "Pictures that the vision encoder saw", stats.pictures_encoded),
            ("held_pictures", "Pictures whose features were still held", stats.pictures_held),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor(&format!("engine_{name}"), help, None, kind)?)?;
        }
        let busy = ConstCounter::new(stats.busy_seconds);
        let kind = busy.metric_type();
        let help = "Seconds in which something was computed";
        busy.encode(encoder.encode_descriptor("engine_busy_seconds", help, None, kind)?)
    }
}
