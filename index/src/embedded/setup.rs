//! How the engine is set up: what a collection's shard is made of, and how it is searched.
//!
//! A segment with a search graph also holds its vectors rounded to a byte a value, a quarter of
//! their size. Graphs are built and walked on those; what they find is compared again by the vectors
//! themselves, so scores are exact.

use qdrant_edge::{
    DEFAULT_VECTOR_NAME, Distance, EdgeConfig, EdgeOptimizersConfig, EdgeVectorParams,
    HnswIndexConfig, Memory, QuantizationConfig, QuantizationSearchParams, SearchParams,
};
use serde_json::json;

use super::EmbeddedSettings;
use crate::Collection;

/// A filter that leaves fewer KiB of vectors than this is answered by comparing all of them: below,
/// that is quicker than walking a graph most of whose clips are filtered out.
const EXACT_BELOW_KIB: usize = 64 << 10;

/// How many times wider the beam is where a filter is given: clips that it refuses are walked over
/// as well.
const FILTERED_BEAMS: usize = 3;

/// For each hit asked for, so many clips are found by their rounded vectors and compared again.
const COMPARED_AGAIN: usize = 3;

/// How the engine keeps a collection. Nothing is read ahead when it is opened, so that opening takes
/// no longer the more it holds; [`super::warm`] does that beside.
pub(super) fn shard(
    collection: &Collection,
    settings: &EmbeddedSettings,
) -> Result<EdgeConfig, String> {
    // Vectors are of unit length already: a dot product is their cosine, and keeps their bits,
    // which the engine's own cosine would not.
    let vectors = EdgeVectorParams::builder(collection.dim, Distance::Dot)
        .memory(Memory::Cold)
        .quantization_config(rounded()?)
        .build();
    let graph = HnswIndexConfig {
        m: 16,
        ef_construct: 128,
        full_scan_threshold: EXACT_BELOW_KIB,
        max_indexing_threads: settings.optimize_threads,
        memory: Some(Memory::Cold),
        ..HnswIndexConfig::default()
    };
    let optimizers = EdgeOptimizersConfig {
        indexing_threshold: Some(settings.graph_from_kib),
        ..EdgeOptimizersConfig::default()
    };
    Ok(EdgeConfig::builder()
        .vector(DEFAULT_VECTOR_NAME, vectors)
        .hnsw_config(graph)
        .optimizers(optimizers)
        .payload_memory(Memory::Cold)
        .wal_enabled(true)
        .build())
}

/// Built as JSON, Qdrant's own public form of it: the engine's type has fields it calls deprecated.
fn rounded() -> Result<QuantizationConfig, String> {
    let config = json!({ "scalar": { "type": "int8", "memory": "cold" } });
    serde_json::from_value(config).map_err(|error| error.to_string())
}

/// How `limit` clips are searched for.
pub(super) fn search(beam: usize, limit: usize, is_filtered: bool) -> SearchParams {
    let beam = if is_filtered { beam * FILTERED_BEAMS } else { beam };
    SearchParams {
        hnsw_ef: Some(beam.max(limit)),
        quantization: Some(QuantizationSearchParams {
            ignore: false,
            rescore: Some(true),
            oversampling: Some(COMPARED_AGAIN as f64),
        }),
        ..SearchParams::default()
    }
}
