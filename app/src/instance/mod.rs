//! The process that has a data directory open, as other processes reach it.
//!
//! The embedded index belongs to one process at a time. While `footage watch` runs, searching,
//! listing and changing sources go through it: over HTTP on a socket in the data directory, which
//! only the same user may open.

pub(crate) mod server;
mod socket;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::requests::captions::{
    KeepCaptionsReply, KeepCaptionsRequest, MissingReply, MissingRequest,
};
use crate::requests::coverage::{CoverageReply, CoverageRequest};
use crate::requests::found::SearchReply;
use crate::requests::search::SearchRequest;
use crate::requests::sources::{RemoveReply, RemoveRequest, SourcesReply};
use crate::requests::stretch::{StretchReply, StretchRequest};
use crate::settings::sources::SourceDefinition;

/// Most bytes of a reply that are read.
const MOST_BYTES: usize = 256 << 20;

/// Another process, which has the data directory open.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    data_dir: PathBuf,
}

/// What a request that failed says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorReply {
    /// One line for people.
    pub error: String,
}

/// What a request that has nothing to say says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct DoneReply {}

impl Instance {
    /// The process that has the data directory open and answers; none where nobody does.
    pub(crate) async fn running(data_dir: &Path) -> Result<Option<Self>> {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        match socket::connect(data_dir).await {
            Ok(_) => Ok(Some(Self { data_dir: data_dir.to_owned() })),
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("cannot ask {}", socket::path(data_dir).display())),
        }
    }

    pub(crate) async fn search(&self, request: &SearchRequest) -> Result<SearchReply> {
        self.call(Method::POST, "/v1/search", Some(request)).await
    }

    pub(crate) async fn sources(&self) -> Result<SourcesReply> {
        self.call(Method::GET, "/v1/sources", None::<&()>).await
    }

    pub(crate) async fn coverage(&self, request: &CoverageRequest) -> Result<CoverageReply> {
        self.call(Method::POST, "/v1/coverage", Some(request)).await
    }

    pub(crate) async fn stretch(&self, request: &StretchRequest) -> Result<StretchReply> {
        self.call(Method::POST, "/v1/stretch", Some(request)).await
    }

    pub(crate) async fn missing_captions(&self, request: &MissingRequest) -> Result<MissingReply> {
        self.call(Method::POST, "/v1/captions/missing", Some(request)).await
    }

    pub(crate) async fn keep_captions(
        &self,
        request: &KeepCaptionsRequest,
    ) -> Result<KeepCaptionsReply> {
        self.call(Method::POST, "/v1/captions", Some(request)).await
    }

    pub(crate) async fn add_source(&self, id: &str, source: &SourceDefinition) -> Result<()> {
        let done: DoneReply =
            self.call(Method::PUT, &format!("/v1/sources/{id}"), Some(source)).await?;
        let DoneReply {} = done;
        Ok(())
    }

    pub(crate) async fn remove_sources(&self, request: &RemoveRequest) -> Result<RemoveReply> {
        self.call(Method::POST, "/v1/removals", Some(request)).await
    }

    /// One request on a connection of its own.
    async fn call<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<R> {
        let exchange = async {
            let stream = socket::connect(&self.data_dir).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            // Ends with the exchange; what goes wrong in it is told by the exchange.
            let connection = tokio::spawn(connection);
            let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "footage")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body)))?;
            let reply = sender.send_request(request).await?;
            let status = reply.status();
            let body = http_body_util::Limited::new(reply.into_body(), MOST_BYTES);
            let bytes = body.collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
            connection.abort();
            anyhow::Ok((status, bytes))
        };
        let (status, bytes) = exchange
            .await
            .context("the running `footage watch` does not answer: see what it says, or stop it")?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&bytes)
                .context("the running `footage watch` is of another release: restart it");
        }
        match serde_json::from_slice::<ErrorReply>(&bytes) {
            Ok(reply) => bail!("{}", reply.error),
            Err(_) => bail!("the running `footage watch` answers with status {status}"),
        }
    }
}
