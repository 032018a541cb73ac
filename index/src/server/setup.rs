//! How a collection is made on a server, and how it is searched.

use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    BinaryQuantizationBuilder, CreateAliasBuilder, CreateCollectionBuilder,
    CreateFieldIndexCollectionBuilder, Distance, FieldType, IntegerIndexParamsBuilder,
    KeywordIndexParamsBuilder, Memory, QuantizationSearchParamsBuilder, QuantizationType,
    ScalarQuantizationBuilder, SearchParams, SearchParamsBuilder, TextIndexParamsBuilder,
    TokenizerType, VectorParamsBuilder,
};

use super::retry::retried;
use super::{Quantization, ServerIndex, ServerSettings};
use crate::payload::{CAPTION, SOURCE, TIMES};
use crate::words::LANGUAGE;
use crate::{Collection, IndexError};

/// For each hit asked for, so many clips are found by their rounded vectors and compared again.
const COMPARED_AGAIN: f64 = 3.0;

/// What a collection is called on a server.
pub(super) fn name_of(settings: &ServerSettings, collection: &Collection) -> String {
    format!("{}-{}", settings.alias, collection.model.fingerprint.as_str())
}

/// Makes the collection where there is none, and its payload indexes. Two processes may do so at once.
pub(super) async fn make(index: &ServerIndex) -> Result<(), IndexError> {
    if dimension(index).await?.is_none()
        && let Err(error) = create(index).await
        // Another process may have been quicker.
        && dimension(index).await?.is_none()
    {
        return Err(error);
    }
    check_dimension(index).await?;
    // Also in a collection that is there: whoever made it may have been killed before these.
    create_payload_indexes(index).await
}

/// Makes the alias where there is none.
pub(super) async fn make_readable(index: &ServerIndex) -> Result<(), IndexError> {
    if reads_from(index).await?.is_none()
        && let Err(error) = name(index).await
        && reads_from(index).await?.is_none()
    {
        return Err(error);
    }
    Ok(())
}

/// Makes the alias this collection's, whosever it was. Qdrant replaces an alias that is made again,
/// in one step.
pub(super) async fn name(index: &ServerIndex) -> Result<(), IndexError> {
    let alias = || CreateAliasBuilder::new(&index.name, &index.settings.alias);
    retried("naming the collection", &index.at, || index.client.create_alias(alias()))
        .await
        .map(drop)
}

/// Finds out whether the collection is there, and is the one to read.
pub(super) async fn check(index: &ServerIndex) -> Result<(), IndexError> {
    let held = reads_from(index).await?;
    let Some(held) = held else { return Err(IndexError::Absent(index.at.clone())) };
    if held != index.name {
        let wanted = &index.collection.model;
        let found = held.rsplit('-').next().unwrap_or_default().to_owned();
        let found = found.try_into().map_err(|_| {
            let alias = &index.settings.alias;
            index.damaged(format!("the alias {alias} is of {held}, which is not ours"))
        })?;
        return Err(IndexError::OtherModel {
            at: index.at.clone(),
            found_name: held,
            found,
            wanted_name: wanted.name.clone(),
            wanted: wanted.fingerprint.clone(),
        });
    }
    check_dimension(index).await
}

async fn check_dimension(index: &ServerIndex) -> Result<(), IndexError> {
    match dimension(index).await? {
        Some(found) if found == index.collection.dim as u64 => Ok(()),
        Some(found) => Err(index.damaged(format!(
            "it holds vectors of {found} values, model `{}` makes {}",
            index.collection.model.name, index.collection.dim
        ))),
        None => Err(IndexError::Absent(index.at.clone())),
    }
}

/// Values in each vector of the collection; none where it is not there.
pub(super) async fn dimension(index: &ServerIndex) -> Result<Option<u64>, IndexError> {
    let doing = "looking at the collection";
    let there = retried(doing, &index.at, || index.client.collection_exists(&index.name)).await?;
    if !there {
        return Ok(None);
    }
    let info = retried(doing, &index.at, || index.client.collection_info(&index.name)).await?;
    let config = info.result.and_then(|info| info.config?.params?.vectors_config?.config);
    match config {
        Some(Config::Params(params)) => Ok(Some(params.size)),
        _ => Err(index.damaged("its vectors have names, so it is not ours".into())),
    }
}

/// The collection that the alias is of.
pub(super) async fn reads_from(index: &ServerIndex) -> Result<Option<String>, IndexError> {
    let listed =
        retried("looking at the aliases", &index.at, || index.client.list_aliases()).await?;
    let of_ours = listed.aliases.into_iter().find(|alias| alias.alias_name == index.settings.alias);
    Ok(of_ours.map(|alias| alias.collection_name))
}

async fn create(index: &ServerIndex) -> Result<(), IndexError> {
    let settings = &index.settings;
    let memory = if settings.on_disk { Memory::Cold } else { Memory::Cached };
    // Vectors are of unit length already: a dot product is their cosine, and keeps their bits.
    let vectors =
        VectorParamsBuilder::new(index.collection.dim as u64, Distance::Dot).memory(memory);
    let request = CreateCollectionBuilder::new(&index.name)
        .vectors_config(vectors)
        .shard_number(settings.shards)
        .replication_factor(settings.replication)
        .write_consistency_factor(settings.write_consistency);
    let request = match settings.quantization {
        Quantization::None => request,
        Quantization::Scalar => request.quantization_config(
            ScalarQuantizationBuilder::default()
                .r#type(QuantizationType::Int8.into())
                .memory(Memory::Pinned),
        ),
        Quantization::Binary => {
            request.quantization_config(BinaryQuantizationBuilder::default().memory(Memory::Pinned))
        }
    };
    let request = request.build();
    let create = || index.client.create_collection(request.clone());
    retried("making the collection", &index.at, create).await.map(drop)
}

async fn create_payload_indexes(index: &ServerIndex) -> Result<(), IndexError> {
    let source = CreateFieldIndexCollectionBuilder::new(&index.name, SOURCE, FieldType::Keyword)
        .field_index_params(KeywordIndexParamsBuilder::default().is_tenant(true));
    let times = TIMES.into_iter().map(|field| {
        CreateFieldIndexCollectionBuilder::new(&index.name, field, FieldType::Integer)
            .field_index_params(IntegerIndexParamsBuilder::new(false, true))
    });
    // As `words::index` has it.
    let words = TextIndexParamsBuilder::new(TokenizerType::Word)
        .lowercase(true)
        .ascii_folding(true)
        .stopwords_language(LANGUAGE.to_owned())
        .snowball_stemmer(LANGUAGE.to_owned())
        .memory(Memory::Cold)
        .bm25_scoring();
    let words = CreateFieldIndexCollectionBuilder::new(&index.name, CAPTION, FieldType::Text)
        .field_index_params(words);
    for request in std::iter::once(source).chain(times).chain(std::iter::once(words)) {
        let request = request.wait(true).build();
        let create = || index.client.create_field_index(request.clone());
        retried("making a payload index", &index.at, create).await?;
    }
    Ok(())
}

/// How `limit` clips are searched for.
pub(super) fn search(settings: &ServerSettings, limit: usize) -> SearchParams {
    let rounded = QuantizationSearchParamsBuilder::default()
        .ignore(settings.quantization == Quantization::None)
        .rescore(true)
        .oversampling(COMPARED_AGAIN);
    SearchParamsBuilder::default()
        .hnsw_ef(settings.beam.max(limit) as u64)
        .quantization(rounded)
        .build()
}
