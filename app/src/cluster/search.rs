//! The search role: answers, and changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use footage_index::{IndexError, ServerIndex};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::health::{self, Gauge, Role};
use super::sources::{Board, listed};
use super::{Cluster, definitions};
use crate::compose::{House, Store};
use crate::instance::server::{Failed, MOST_BYTES, Said, on_socket, stopped};
use crate::outcome::Outcome;
use crate::requests::Desk;
use crate::requests::coverage::{CoverageReply, CoverageRequest};
use crate::requests::found::SearchReply;
use crate::requests::search::SearchRequest;
use crate::requests::sources::SourcesReply;

/// How often an index that is not there yet is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Answers searches until stopped.
pub(crate) async fn run(house: &House, mut stop: watch::Receiver<bool>) -> Result<Outcome> {
    let cluster = Cluster::open(house)?;
    let settings = &house.settings;
    let counts = Arc::new(Counts::default());
    let _serving = health::serve(settings.metrics_listen, counts.clone()).await?;
    let mut mirror = cluster.mirror().await?;
    let ledger = mirror.ledger();
    let opening = async {
        mirror.catch_up().await?;
        let qdrant = settings.cluster.qdrant()?;
        loop {
            match ServerIndex::open_existing(&qdrant, &cluster.collection()).await {
                Ok(index) => return anyhow::Ok(index),
                Err(error @ (IndexError::Absent(_) | IndexError::Failed { .. })) => {
                    tracing::info!(%error, "waiting for an index to search");
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let index = tokio::select! {
        opened = opening => opened?,
        _ = stop.wait_for(|stopped| *stopped) => return Ok(Outcome::Done),
    };
    let indexed = mirror.indexed();
    let store = Arc::new(Store { index, ledger });
    let desk = Desk { house: cluster.house.clone(), model: cluster.model.clone(), store };
    let board = Board::default();
    let definitions = definitions::reader(house).await?;
    let answering = Answering { desk, board: board.clone(), counts: counts.clone() };
    let routes = routes(answering);
    let listener = match settings.cluster.listen {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}: choose another for `cluster.listen`")
        })?),
        None => None,
    };
    let on_port = async {
        let Some(listener) = listener else {
            stopped(stop.clone()).await;
            return Ok(());
        };
        axum::serve(listener, routes.clone())
            .with_graceful_shutdown(stopped(stop.clone()))
            .await
            .context("answering over HTTP ended")
    };
    counts.is_ready.store(1, Ordering::Relaxed);
    counts.indexed.set(indexed).ok();
    tokio::select! {
        ended = mirror.follow() => ended.map(|()| Outcome::Done),
        () = board.follow(definitions) => Ok(Outcome::Done),
        answered = async {
            tokio::try_join!(on_port, on_socket(&settings.data_dir, routes.clone(), stop.clone()))
        } => answered.map(|_| Outcome::Done),
    }
}

#[derive(Clone)]
struct Answering {
    desk: Desk<ServerIndex>,
    board: Board,
    counts: Arc<Counts>,
}

fn routes(answering: Answering) -> Router {
    let counts = answering.counts.clone();
    Router::new()
        .route("/v1/search", post(search))
        .route("/v1/coverage", post(coverage))
        .route("/v1/sources", get(sources))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(answering)
        .merge(health::routes(counts))
}

async fn search(
    State(answering): State<Answering>,
    Said(request): Said<SearchRequest>,
) -> Result<Json<SearchReply>, Failed> {
    let began = Instant::now();
    let answer = request.answer(&answering.desk).await;
    answering.counts.tell(began, answer.is_ok());
    Ok(Json(answer?))
}

async fn coverage(
    State(answering): State<Answering>,
    Said(request): Said<CoverageRequest>,
) -> Result<Json<CoverageReply>, Failed> {
    Ok(Json(request.answer(&answering.desk.store).await?))
}

async fn sources(State(answering): State<Answering>) -> Result<Json<SourcesReply>, Failed> {
    Ok(Json(listed(&answering.desk.store, &answering.board.wanted()).await?))
}

/// What monitors are told.
#[derive(Debug, Default)]
struct Counts {
    is_ready: AtomicU64,
    searches: AtomicU64,
    failures: AtomicU64,
    micros: AtomicU64,
    indexed: std::sync::OnceLock<watch::Receiver<u64>>,
}

impl Counts {
    fn tell(&self, began: Instant, is_answered: bool) {
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let count = if is_answered { &self.searches } else { &self.failures };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Role for Counts {
    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed) > 0
    }

    fn gauges(&self) -> Vec<Gauge> {
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let told = self.indexed.get().map_or(0, |indexed| *indexed.borrow());
        vec![
            Gauge::count("searches", "searches answered", self.searches.load(Ordering::Relaxed)),
            Gauge::count(
                "search_failures",
                "searches refused or failed",
                self.failures.load(Ordering::Relaxed),
            ),
            Gauge::now("search_seconds_sum", "time that searches took, together", seconds),
            Gauge::count("ledger_indexed_clips", "clips heard of since the start", told),
        ]
    }
}
