//! Collections, each a shard of the engine in a folder of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::{Context as _, Result};
use fs_err as fs;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_server::Points;
use qdrant_client::qdrant::query::Variant;
use qdrant_client::qdrant::vector_input::Variant as Wanted;
use qdrant_client::qdrant::{
    self as api, CountPoints, CountResponse, CountResult, CreateFieldIndexCollection, DeletePoints,
    GetPoints, GetResponse, PointsOperationResponse, QueryPoints, QueryResponse, RetrievedPoint,
    ScoredPoint, ScrollPoints, ScrollResponse, SetPayloadPoints, UpdateResult, UpdateStatus,
    UpsertPoints,
};
use qdrant_edge::{
    CountRequest, CreateIndex, DEFAULT_VECTOR_NAME, EdgeConfig, EdgeShard, EdgeVectorParams,
    FieldIndexOperations, NamedQuery, Payload, PayloadFieldSchema, PayloadOps,
    PointInsertOperations, PointOperations, QueryEnum, QueryRequestBuilder, RetrieveRequest,
    ScoringQuery, ScrollRequest, SetPayloadOp, TextQueryBuilder, UpdateOperation, VectorInternal,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tonic::{Request, Response, Status};

use crate::convert::{self, refuse};
use crate::faults::Faults;
use crate::refused::refused;

/// What the folder says of itself, beside its shards.
const STATE: &str = "state.json";

/// What there is besides points.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Values in each vector, by collection.
    pub(crate) dims: BTreeMap<String, u64>,
    /// Collections, by alias.
    pub(crate) aliases: BTreeMap<String, String>,
}

/// Every collection.
pub(crate) struct Shards {
    pub(crate) dir: PathBuf,
    pub(crate) faults: Faults,
    state: Mutex<State>,
    pub(crate) open: RwLock<BTreeMap<String, Arc<EdgeShard>>>,
}

impl Shards {
    /// Opens what lies in a folder.
    pub(crate) fn open(dir: &Path, faults: Faults) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let held = dir.join(STATE);
        let state: State = if held.try_exists()? {
            serde_json::from_slice(&fs::read(&held)?).context("state.json cannot be read")?
        } else {
            State::default()
        };
        let mut open = BTreeMap::new();
        for (name, dim) in &state.dims {
            let shard = EdgeShard::load(&dir.join(name), Some(config(*dim)))
                .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
            open.insert(name.clone(), Arc::new(shard));
        }
        Ok(Self { dir: dir.to_owned(), faults, state: Mutex::new(state), open: RwLock::new(open) })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, state: &State) -> Result<(), Status> {
        let write = || -> Result<()> {
            let unfinished = self.dir.join("state.json.new");
            fs::write(&unfinished, serde_json::to_vec_pretty(state)?)?;
            Ok(fs::rename(unfinished, self.dir.join(STATE))?)
        };
        write().map_err(internal)
    }

    /// The shard of a collection, by its name or an alias.
    fn shard(&self, name: &str) -> Result<Arc<EdgeShard>, Status> {
        let name = self.state().aliases.get(name).cloned().unwrap_or_else(|| name.to_owned());
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&name)
            .cloned()
            .ok_or_else(|| Status::not_found(format!("Collection `{name}` doesn't exist!")))
    }

    /// Calls the engine where blocking is allowed.
    async fn with_shard<R: Send + 'static>(
        &self,
        name: &str,
        call: impl FnOnce(&EdgeShard) -> Result<R, Status> + Send + 'static,
    ) -> Result<R, Status> {
        let shard = self.shard(name)?;
        tokio::task::spawn_blocking(move || call(&shard)).await.map_err(internal)?
    }

    async fn change(
        &self,
        name: &str,
        operation: UpdateOperation,
    ) -> Result<PointsOperationResponse, Status> {
        self.with_shard(name, |shard| shard.update(operation).map_err(internal)).await?;
        let result =
            UpdateResult { status: UpdateStatus::Completed.into(), ..UpdateResult::default() };
        Ok(PointsOperationResponse { result: Some(result), ..PointsOperationResponse::default() })
    }
}

pub(crate) fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

pub(crate) fn config(dim: u64) -> EdgeConfig {
    let dim = usize::try_from(dim).unwrap_or(usize::MAX);
    let vectors = EdgeVectorParams::builder(dim, qdrant_edge::Distance::Dot).build();
    EdgeConfig::builder().vector(DEFAULT_VECTOR_NAME, vectors).wal_enabled(true).build()
}

#[tonic::async_trait]
impl Points for Shards {
    async fn upsert(
        &self,
        request: Request<UpsertPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        let points: Vec<_> =
            request.points.into_iter().map(convert::point).collect::<Result<_, _>>()?;
        let insert = PointOperations::UpsertPoints(PointInsertOperations::PointsList(points));
        let operation = UpdateOperation::PointOperation(insert);
        answer.give(self.change(&request.collection_name, operation).await?)
    }

    async fn delete(
        &self,
        request: Request<DeletePoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        let delete = match request.points.and_then(|points| points.points_selector_one_of) {
            Some(PointsSelectorOneOf::Points(list)) => {
                let ids = list.ids.into_iter().map(|id| convert::id(Some(id)));
                PointOperations::DeletePoints { ids: ids.collect::<Result<_, _>>()? }
            }
            Some(PointsSelectorOneOf::Filter(filter)) => {
                let filter = convert::filter(Some(filter))?;
                let filter = filter.ok_or_else(|| refuse("nothing says what to delete"))?;
                PointOperations::DeletePointsByFilter(filter)
            }
            None => return Err(refuse("nothing says what to delete")),
        };
        let operation = UpdateOperation::PointOperation(delete);
        answer.give(self.change(&request.collection_name, operation).await?)
    }

    async fn set_payload(
        &self,
        request: Request<SetPayloadPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        let selected = request.points_selector.and_then(|points| points.points_selector_one_of);
        let Some(PointsSelectorOneOf::Points(list)) = selected else {
            return Err(refuse("points are named here to be given a payload"));
        };
        if request.key.is_some() {
            return Err(refuse("only whole fields are set here"));
        }
        let ids = list.ids.into_iter().map(|id| convert::id(Some(id)));
        let fields = request.payload.into_iter().map(|(key, value)| (key, value.into_json()));
        let set = PayloadOps::SetPayload(SetPayloadOp {
            payload: Payload(fields.collect()),
            points: Some(ids.collect::<Result<_, _>>()?),
            filter: None,
            key: None,
        });
        let operation = UpdateOperation::PayloadOperation(set);
        answer.give(self.change(&request.collection_name, operation).await?)
    }

    async fn create_field_index(
        &self,
        request: Request<CreateFieldIndexCollection>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        let schema = match request.field_index_params.and_then(|params| params.index_params) {
            Some(IndexParams::KeywordIndexParams(_)) => json!({ "type": "keyword" }),
            Some(IndexParams::IntegerIndexParams(params)) => {
                json!({ "type": "integer", "lookup": params.lookup, "range": params.range })
            }
            Some(IndexParams::TextIndexParams(params)) => convert::text_index(&params)?,
            _ => return Err(refuse("only keyword, integer and text indexes are made here")),
        };
        let schema: PayloadFieldSchema = serde_json::from_value(schema).map_err(internal)?;
        let field_name = request.field_name.parse().map_err(|()| refuse("no field's name"))?;
        let create = CreateIndex { field_name, field_schema: Some(schema) };
        let create = FieldIndexOperations::CreateIndex(create);
        let operation = UpdateOperation::FieldIndexOperation(create);
        answer.give(self.change(&request.collection_name, operation).await?)
    }

    async fn get(&self, request: Request<GetPoints>) -> Result<Response<GetResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        let ids = request.ids.into_iter().map(|id| convert::id(Some(id)));
        let retrieve = RetrieveRequest {
            point_ids: ids.collect::<Result<_, _>>()?,
            with_payload: Some(convert::with_payload(request.with_payload, true)?),
            with_vector: Some(convert::with_vector(request.with_vectors)?),
        };
        let get = |shard: &EdgeShard| shard.retrieve(retrieve).map_err(internal);
        let records = self.with_shard(&request.collection_name, get).await?;
        let points = records.into_iter().map(|record| {
            Ok(RetrievedPoint {
                id: Some(convert::id_back(record.id)),
                payload: convert::payload_back(record.payload),
                vectors: convert::vectors_back(record.vector)?,
                ..RetrievedPoint::default()
            })
        });
        let result = points.collect::<Result<_, Status>>()?;
        answer.give(GetResponse { result, ..GetResponse::default() })
    }

    async fn scroll(
        &self,
        request: Request<ScrollPoints>,
    ) -> Result<Response<ScrollResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        if request.order_by.is_some() {
            return Err(refuse("points come by id here"));
        }
        let scroll = ScrollRequest {
            offset: request.offset.map(|id| convert::id(Some(id))).transpose()?,
            limit: Some(request.limit.unwrap_or(10) as usize),
            filter: convert::filter(request.filter)?,
            with_payload: Some(convert::with_payload(request.with_payload, true)?),
            with_vector: convert::with_vector(request.with_vectors)?,
            order_by: None,
        };
        let call = |shard: &EdgeShard| shard.scroll(scroll).map_err(internal);
        let (records, next) = self.with_shard(&request.collection_name, call).await?;
        let points = records.into_iter().map(|record| {
            Ok(RetrievedPoint {
                id: Some(convert::id_back(record.id)),
                payload: convert::payload_back(record.payload),
                vectors: convert::vectors_back(record.vector)?,
                ..RetrievedPoint::default()
            })
        });
        answer.give(ScrollResponse {
            next_page_offset: next.map(convert::id_back),
            result: points.collect::<Result<_, Status>>()?,
            ..ScrollResponse::default()
        })
    }

    async fn count(
        &self,
        request: Request<CountPoints>,
    ) -> Result<Response<CountResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        let count = CountRequest {
            filter: convert::filter(request.filter)?,
            exact: request.exact.unwrap_or(true),
        };
        let call = |shard: &EdgeShard| shard.count(count).map_err(internal);
        let count = self.with_shard(&request.collection_name, call).await? as u64;
        answer
            .give(CountResponse { result: Some(CountResult { count }), ..CountResponse::default() })
    }

    async fn query(
        &self,
        request: Request<QueryPoints>,
    ) -> Result<Response<QueryResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        if !request.prefetch.is_empty() || request.offset.is_some() {
            return Err(refuse("only plain queries are answered here"));
        }
        let scoring = match (request.query.and_then(|query| query.variant), request.using) {
            (
                Some(Variant::Nearest(api::VectorInput { variant: Some(Wanted::Dense(dense)) })),
                None,
            ) => ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery {
                query: VectorInternal::Dense(dense.data),
                using: Some(DEFAULT_VECTOR_NAME.into()),
            })),
            (Some(Variant::Text(text)), Some(field)) if text.scoring.is_none() => {
                let field = field.parse().map_err(|()| refuse("no field's name"))?;
                TextQueryBuilder::new(field, text.query).build()
            }
            _ => {
                return Err(refuse(
                    "only the nearest to a dense vector, and texts, are found here",
                ));
            }
        };
        let limit = usize::try_from(request.limit.unwrap_or(10)).map_err(refuse)?;
        let mut query = QueryRequestBuilder::new(limit)
            .query(scoring)
            .with_payload(convert::with_payload(request.with_payload, false)?);
        if let Some(filter) = convert::filter(request.filter)? {
            query = query.filter(filter);
        }
        let query = query.build();
        let call = |shard: &EdgeShard| shard.query(query).map_err(internal);
        let points = self.with_shard(&request.collection_name, call).await?;
        let points = points.into_iter().map(|point| ScoredPoint {
            id: Some(convert::id_back(point.id)),
            payload: convert::payload_back(point.payload),
            score: point.score,
            ..ScoredPoint::default()
        });
        answer.give(QueryResponse { result: points.collect(), ..QueryResponse::default() })
    }

    refused! {
        update_vectors: UpdatePointVectors => PointsOperationResponse,
        delete_vectors: DeletePointVectors => PointsOperationResponse,
        overwrite_payload: SetPayloadPoints => PointsOperationResponse,
        delete_payload: DeletePayloadPoints => PointsOperationResponse,
        clear_payload: ClearPayloadPoints => PointsOperationResponse,
        delete_field_index: DeleteFieldIndexCollection => PointsOperationResponse,
        create_vector_name: CreateVectorNameRequest => PointsOperationResponse,
        delete_vector_name: DeleteVectorNameRequest => PointsOperationResponse,
        search: SearchPoints => SearchResponse,
        search_batch: SearchBatchPoints => SearchBatchResponse,
        search_groups: SearchPointGroups => SearchGroupsResponse,
        recommend: RecommendPoints => RecommendResponse,
        recommend_batch: RecommendBatchPoints => RecommendBatchResponse,
        recommend_groups: RecommendPointGroups => RecommendGroupsResponse,
        discover: DiscoverPoints => DiscoverResponse,
        discover_batch: DiscoverBatchPoints => DiscoverBatchResponse,
        update_batch: UpdateBatchPoints => UpdateBatchResponse,
        query_batch: QueryBatchPoints => QueryBatchResponse,
        query_groups: QueryPointGroups => QueryGroupsResponse,
        facet: FacetCounts => FacetResponse,
        search_matrix_pairs: SearchMatrixPoints => SearchMatrixPairsResponse,
        search_matrix_offsets: SearchMatrixPoints => SearchMatrixOffsetsResponse,
    }
}
