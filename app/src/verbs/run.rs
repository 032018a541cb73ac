//! `footage run`: one role of a cluster.

use anyhow::Result;
use clap::ValueEnum;

use super::watch::stopped_by_signals;
use crate::cluster;
use crate::compose::House;
use crate::outcome::Outcome;

/// Run one role of a cluster, until stopped
///
/// Roles are joined by Kafka and Qdrant, and each may run as often as there is work: pipelines share
/// the sources, indexers share the topic of clips, and searches answer alike. Each process needs a
/// data directory of its own. docs/cluster.md says how a cluster is set up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage run pipeline --config cluster.toml --data-dir /var/lib/footage/pipeline
  footage run indexer  --config cluster.toml --data-dir /var/lib/footage/indexer
  footage run search   --config cluster.toml --data-dir /var/lib/footage/search
  footage source add gate rtsp://10.0.0.5/stream1 --config cluster.toml
  footage search \"a red car turns left\" --data-dir /var/lib/footage/search")]
pub(crate) struct Args {
    /// What this process does
    #[arg(value_enum)]
    role: ClusterRole,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ClusterRole {
    /// Live sources to clips in Kafka
    Pipeline,
    /// Clips from Kafka into Qdrant
    Indexer,
    /// Answers searches
    Search,
}

#[tokio::main]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    let stop = stopped_by_signals()?;
    fs_err::create_dir_all(&house.settings.data_dir)?;
    match args.role {
        ClusterRole::Pipeline => cluster::run_pipeline(house, stop).await,
        ClusterRole::Indexer => cluster::run_indexer(house, stop).await,
        ClusterRole::Search => cluster::run_search(house, stop).await,
    }
}
