//! Health and metrics of a role, told on a port.

use std::fmt::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::instance::server::OPEN_METRICS;

type NoLabels = [(&'static str, &'static str); 0];

/// A role as monitors see it.
pub(super) trait Role: Send + Sync + 'static {
    /// Whether it does its work.
    fn is_ready(&self) -> bool;

    /// What there is to measure.
    fn gauges(&self) -> Vec<Gauge>;

    /// More of it, as Prometheus reads it.
    fn more(&self) -> Option<String> {
        None
    }
}

/// A figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    name: &'static str,
    help: &'static str,
    figure: Figure,
}

#[derive(Clone, Copy, Debug)]
enum Figure {
    Now(f64),
    Count(u64),
}

impl Gauge {
    /// What is so now.
    pub(super) fn now(name: &'static str, help: &'static str, now: f64) -> Self {
        Self { name, help, figure: Figure::Now(now) }
    }

    /// What only grows.
    pub(super) fn count(name: &'static str, help: &'static str, count: u64) -> Self {
        Self { name, help, figure: Figure::Count(count) }
    }
}

/// Tells monitors how a role is, until the value returned is dropped; nothing where there is no
/// address.
pub(super) async fn serve(
    address: Option<SocketAddr>,
    role: Arc<impl Role>,
) -> Result<tokio::task::JoinSet<()>> {
    let mut serving = tokio::task::JoinSet::new();
    let Some(address) = address else { return Ok(serving) };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another for `metrics.listen`")
    })?;
    serving.spawn(async move {
        if let Err(error) = axum::serve(listener, routes(role)).await {
            tracing::warn!(%error, "monitors are told nothing any more");
        }
    });
    Ok(serving)
}

/// Where monitors ask.
pub(super) fn routes<R: Role>(role: Arc<R>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<R>))
        .route("/healthz/live", get(async || "alive\n"))
        .route("/healthz/ready", get(ready::<R>))
        .with_state(role)
}

async fn ready<R: Role>(State(role): State<Arc<R>>) -> (StatusCode, &'static str) {
    if role.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

async fn metrics<R: Role>(State(role): State<Arc<R>>) -> Response {
    let mut registry = Registry::with_prefix("footage");
    registry.register_collector(Box::new(Figures(role.gauges())));
    let mut text = String::new();
    // Writing to a string does not fail.
    if let Err(Error) = encode(&mut text, &registry) {
        text.clear();
    }
    if let Some(more) = role.more() {
        // Each text ends with a mark of its end, and there is to be one.
        text = format!("{}{more}", text.trim_end_matches("# EOF\n"));
    }
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

#[derive(Debug)]
struct Figures(Vec<Gauge>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        for Gauge { name, help, figure } in &self.0 {
            match figure {
                Figure::Now(now) => encoder
                    .encode_descriptor(name, help, None, MetricType::Gauge)?
                    .encode_gauge(now)?,
                Figure::Count(count) => encoder
                    .encode_descriptor(name, help, None, MetricType::Counter)?
                    .encode_counter::<NoLabels, _, u64>(count, None)?,
            }
        }
        Ok(())
    }
}
