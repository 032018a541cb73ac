//! A vector server for tests: Qdrant's gRPC interface over Qdrant's engine in this process.
//!
//! No Qdrant server can be had from a package registry, so this is what `ServerIndex` is tried
//! against where there is none: the real client, the real protocol over TCP, the real engine, its
//! state on disk. It is one shard and one replica, keeps no quantized vectors, and refuses every call
//! and every kind of condition that Footage does not use, so that nothing passes here by chance.

mod collections;
mod convert;
mod faults;
mod refused;
mod shards;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::faults::Faults;
use crate::shards::Shards;

/// Serve Qdrant's gRPC interface from a folder, for tests
#[derive(Debug, Parser)]
struct Cli {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Folder in which collections are kept
    #[arg(long)]
    dir: PathBuf,
    /// Refuse whoever does not give this key
    #[arg(long)]
    api_key: Option<String>,
    /// Answer every n-th call as unavailable: by turns before it was carried out, and after
    #[arg(long, default_value_t = 0)]
    unavailable_every: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let faults = Faults::new(cli.api_key, cli.unavailable_every);
    let shards = Arc::new(Shards::open(&cli.dir, faults)?);
    let listener = TcpListener::bind(cli.listen).await.context("cannot listen")?;
    println!("listening on http://{}", listener.local_addr()?);
    Server::builder()
        .add_service(
            PointsServer::from_arc(Arc::clone(&shards)).max_decoding_message_size(64 << 20),
        )
        .add_service(CollectionsServer::from_arc(shards))
        .serve_with_incoming(TcpIncoming::from(listener))
        .await
        .context("serving ended")
}
