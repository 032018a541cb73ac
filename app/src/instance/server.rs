//! Answers other processes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use axum::extract::{DefaultBodyLimit, FromRequest, Path as InPath, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{DoneReply, ErrorReply, socket};
use crate::outcome::in_one_line;
use crate::requests::Desk;
use crate::requests::captions::{
    KeepCaptionsReply, KeepCaptionsRequest, MissingReply, MissingRequest,
};
use crate::requests::coverage::{CoverageReply, CoverageRequest};
use crate::requests::found::SearchReply;
use crate::requests::search::SearchRequest;
use crate::requests::sources::{RemoveReply, RemoveRequest, SourcesReply, States};
use crate::requests::stretch::{StretchReply, StretchRequest};
use crate::settings::sources::{SourceDefinition, named};
use crate::watching::Watching;

/// A picture to search by is the largest thing sent.
pub(crate) const MOST_BYTES: usize = 64 << 20;

/// The form that metrics are told in.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What answers are made of.
#[derive(Clone)]
pub(crate) struct Answering {
    pub desk: Desk,
    pub watching: Arc<Watching>,
}

/// Answers on the socket in the data directory until `stop` says so.
pub(crate) async fn answer(
    data_dir: &Path,
    answering: Answering,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let requests = Router::new()
        .merge(reading(answering.desk.clone()))
        .route("/v1/captions", post(keep_captions))
        .route("/v1/captions/missing", post(missing_captions))
        .route("/v1/sources", get(sources))
        .route("/v1/sources/{id}", put(add_source))
        .route("/v1/removals", post(remove_sources))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .merge(told())
        .with_state(answering);
    on_socket(data_dir, requests, stop).await
}

/// Answers on the socket in the data directory what changes nothing, until `stop` says so; all else is
/// refused with `busy`.
pub(crate) async fn answer_reading(
    data_dir: &Path,
    desk: Desk,
    busy: &'static str,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let refuse = async move || Failed { status: StatusCode::CONFLICT, error: anyhow!(busy) };
    let listed = async |State(desk): State<Desk>| -> Result<Json<SourcesReply>, Failed> {
        Ok(Json(SourcesReply::of(&desk.store, &States::new()).await?))
    };
    let requests = Router::new()
        .merge(reading(desk.clone()))
        .route("/v1/sources", get(listed))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .fallback(refuse)
        .method_not_allowed_fallback(refuse)
        .with_state(desk);
    on_socket(data_dir, requests, stop).await
}

/// What can be asked that changes nothing.
fn reading<S: Clone + Send + Sync + 'static>(desk: Desk) -> Router<S> {
    Router::new()
        .route("/v1/search", post(search))
        .route("/v1/coverage", post(coverage))
        .route("/v1/stretch", post(stretch))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(desk)
}

/// Answers on the socket in the data directory, which the caller has to itself, until `stop` says so.
pub(crate) async fn on_socket(
    data_dir: &Path,
    requests: Router,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let listener = socket::listen(data_dir)
        .with_context(|| format!("cannot listen on {}", socket::path(data_dir).display()))?;
    let served = axum::serve(listener, requests).with_graceful_shutdown(stopped(stop)).await;
    // The next one to listen takes the place of what is left there.
    drop(fs_err::remove_file(socket::path(data_dir)));
    served.context("answering other processes ended")
}

/// Tells monitors how things are, on a port: nothing that can be seen in the footage.
pub(crate) async fn tell_monitors(
    listener: TcpListener,
    answering: Answering,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let requests = told().with_state(answering);
    let served = axum::serve(listener, requests).with_graceful_shutdown(stopped(stop)).await;
    served.context("telling metrics ended")
}

fn told() -> Router<Answering> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz/live", get(async || "alive\n"))
        .route("/healthz/ready", get(ready))
}

pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // Whoever could say so is gone: that is a stop too.
    drop(stop.wait_for(|stopped| *stopped).await);
}

async fn search(
    State(desk): State<Desk>,
    Said(request): Said<SearchRequest>,
) -> Result<Json<SearchReply>, Failed> {
    Ok(Json(request.answer(&desk).await?))
}

async fn coverage(
    State(desk): State<Desk>,
    Said(request): Said<CoverageRequest>,
) -> Result<Json<CoverageReply>, Failed> {
    Ok(Json(request.answer(&desk.store).await?))
}

async fn stretch(
    State(desk): State<Desk>,
    Said(request): Said<StretchRequest>,
) -> Result<Json<StretchReply>, Failed> {
    Ok(Json(request.answer(&desk.house, &desk.store).await?))
}

async fn missing_captions(
    State(answering): State<Answering>,
    Json(request): Json<MissingRequest>,
) -> Result<Json<MissingReply>, Failed> {
    let Desk { house, store, .. } = &answering.desk;
    Ok(Json(request.answer(house, store).await?))
}

async fn keep_captions(
    State(answering): State<Answering>,
    Json(request): Json<KeepCaptionsRequest>,
) -> Result<Json<KeepCaptionsReply>, Failed> {
    Ok(Json(request.answer(&answering.desk.store).await?))
}

async fn sources(State(answering): State<Answering>) -> Result<Json<SourcesReply>, Failed> {
    let states = answering.watching.states();
    Ok(Json(SourcesReply::of(&answering.desk.store, &states).await?))
}

async fn add_source(
    State(answering): State<Answering>,
    InPath(id): InPath<String>,
    Said(source): Said<SourceDefinition>,
) -> Result<Json<DoneReply>, Failed> {
    answering.watching.add(named(&id)?, source).await?;
    Ok(Json(DoneReply {}))
}

async fn remove_sources(
    State(answering): State<Answering>,
    Said(request): Said<RemoveRequest>,
) -> Result<Json<RemoveReply>, Failed> {
    let Answering { desk, watching } = &answering;
    Ok(Json(request.answer(&desk.house, &desk.store, Some(watching)).await?))
}

async fn metrics(State(answering): State<Answering>) -> Response {
    let text = answering.watching.metrics();
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

/// Ready once every source has been tried: from then on, what is found is all there is.
async fn ready(State(answering): State<Answering>) -> (StatusCode, &'static str) {
    if answering.watching.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

/// What a request says, in JSON. What is no such thing is answered as every failure is.
pub(crate) struct Said<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Said<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failed> {
        match Json::from_request(request, state).await {
            Ok(Json(said)) => Ok(Self(said)),
            Err(refused) => Err(Failed {
                status: refused.status(),
                error: anyhow::anyhow!("{}", refused.body_text()),
            }),
        }
    }
}

/// A request that failed.
pub(crate) struct Failed {
    status: StatusCode,
    error: anyhow::Error,
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, error }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let reply = ErrorReply { error: in_one_line(&self.error) };
        (self.status, Json(reply)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};

    use super::*;

    #[tokio::test]
    async fn a_request_that_cannot_be_read_is_answered_as_every_failure_is() {
        for (content, body, words) in [
            ("application/json", "{", "JSON"),
            ("application/json", r#"{"sources": 1}"#, "sources"),
            ("text/plain", r#"{"sources": []}"#, "content-type"),
        ] {
            let request = Request::builder().header(header::CONTENT_TYPE, content);
            let request = request.body(Body::from(body)).unwrap();
            let Err(refused) = Said::<RemoveRequest>::from_request(request, &()).await else {
                panic!("{body} is taken");
            };
            let response = refused.into_response();
            assert!(response.status().is_client_error());
            let bytes = to_bytes(response.into_body(), 4096).await.unwrap();
            let reply: ErrorReply = serde_json::from_slice(&bytes).unwrap();
            assert!(reply.error.to_lowercase().contains(&words.to_lowercase()), "{}", reply.error);
        }
    }
}
